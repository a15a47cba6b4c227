// Package journald follows the journal of systemd by reading its files, so that
// neither journalctl nor libsystemd has to be in the agent's image.
//
// The agent starts one Source; it hands batches of lines to its collect.Sink, the
// hub, and asks the hub's Memory what the spool still holds of it. file.go reads
// one journal file (with and without compact mode; XZ, LZ4, Zstandard), follow.go
// goes through all of them, fields.go makes lines of entries, cursor.go keeps the
// place.
//
// Entries are numbered by journald through all files that share a seqnum id: the
// system's, the users', and those it has rotated away. The place in a journal is
// the number of the next entry, so a rotation, which only renames, changes nothing.
//
// What always holds:
//
//  1. Entries of one seqnum id are taken in the order of their numbers, each once.
//     LogBlock.File is "journal:" and the seqnum id, and the ranges Start to End of
//     a batch's blocks are the numbers it passed over: a crash at any moment loses
//     and repeats nothing between journal and spool.
//  2. An entry is taken only once all before it are visible: the headers of all
//     files are read twice, and what is newer than the first look waits.
//  3. No file, however damaged, makes the reader panic, loop, or take more memory
//     than max_line and a bit. A field that cannot be read is left out of its
//     line (Damaged); a file whose structure is damaged is read up to that place,
//     and said (Trouble), until journald replaces it, which it does at once.
//  4. A Put that blocks stops the reading: that is the back-pressure. journald
//     waits for nobody: what it deletes meanwhile is lost if its file was not open,
//     which it is from the moment it is seen until it is read to its end.
//
// A stream is a unit, an identifier and a container: service.name is the unit
// without its .service, or the container, or the identifier; log.source is the
// identifier. The time is that of the sender where it said one (to the
// microsecond), the level PRIORITY. Facility, process, code place and message id
// are the line's own labels; other fields are left out.
//
// Files are looked at four times a second, folders once. Memory: one reader of
// some KiB per file that is not read to its end. Run works in the caller's
// goroutine alone; Stats and Trouble may be called from anywhere.
//
// The package does not verify seals or hashes, writes to no journal, and reads
// nothing of namespaces unless path names their folder.
package journald

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Config is the section collect.logs.journald of agent.yaml.
type Config struct {
	Enabled  string   `yaml:"enabled"`  // auto: if there is a journal | true | false
	Path     string   `yaml:"path"`     // the folder of journals or of their machine ids; /var/log/journal stands for /run/log/journal where it is not there
	Units    []string `yaml:"units"`    // patterns of units (ssh.service, ssh, kube*); empty: all entries
	Priority string   `yaml:"priority"` // the least severe that is taken: emerg, alert, crit, err, warning, notice, info, debug, or 0 to 7
	Since    string   `yaml:"since"`    // of a journal that is new to the agent: now | beginning | a duration, 1h for instance
	MaxLine  int64    `yaml:"max_line"` // bytes; what is longer is cut
}

const (
	persistent = "/var/log/journal"
	volatile   = "/run/log/journal"
)

// Default reads nothing: the journal of a node holds what its users did not ask
// to be sent.
func Default() Config {
	return Config{Enabled: "false", Path: persistent, Priority: "debug", Since: "now", MaxLine: 256 << 10}
}

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"auto", "true", "false"}, c.Enabled) {
		bad("enabled: must be auto, true or false, not %q", c.Enabled)
	}
	if !filepath.IsAbs(c.Path) {
		bad("path: must be an absolute path, not %q", c.Path)
	}
	for i, u := range c.Units {
		if _, err := path.Match(u, ""); err != nil || u == "" {
			bad("units[%d]: %q is no pattern of units", i, u)
		}
	}
	if _, ok := parsePriority(c.Priority); !ok {
		bad("priority: must be one of %s, or 0 to 7, not %q", strings.Join(priorities[:], ", "), c.Priority)
	}
	if _, ok := parseSince(c.Since); !ok {
		bad("since: must be now, beginning or a duration like 1h, not %q", c.Since)
	}
	if c.MaxLine < 1<<10 || c.MaxLine > 16<<20 {
		bad("max_line: must be between 1KiB and 16MiB")
	}
	return errors.Join(errs...)
}

// priorities are the names syslog has for severities, by number.
var priorities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

func parsePriority(s string) (uint8, bool) {
	if i := slices.Index(priorities[:], s); i >= 0 {
		return uint8(i), true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil && n <= 7
}

// parseSince returns how far back to begin; beginning is negative.
func parseSince(s string) (time.Duration, bool) {
	switch s {
	case "now":
		return 0, true
	case "beginning":
		return -1, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

// Stats counts for status; each field may be read at any time. After every Put
// Entries == Lines + Filtered + Empty.
type Stats struct {
	Entries  atomic.Int64 // passed over
	Lines    atomic.Int64 // that the Sink took
	Filtered atomic.Int64 // entries of other units, or less severe
	Empty    atomic.Int64 // entries without a message
	Cut      atomic.Int64 // lines longer than max_line
	Repaired atomic.Int64 // lines that were no UTF-8
	Damaged  atomic.Int64 // fields and entries that cannot be read
	Files    atomic.Int64 // journal files that are there now
	Open     atomic.Int64 // of which are open
}

// The causes of trouble, in the order of Source.trouble.
const (
	troubleAbsent = iota
	troubleOpen
	troubleDamaged
	troubleSave
	troubles
)

// Source follows the journal. It is a collect.Source.
type Source struct {
	conf     Config
	mem      Memory
	dir      string
	log      *slog.Logger
	priority uint8
	stats    Stats

	mu      sync.Mutex
	trouble [troubles]string // guarded by mu; "" is none
}

var _ collect.Source = (*Source)(nil)

// New returns a Source for a Config that has passed Check. It keeps its cursors
// in dir, and does no I/O.
func New(c Config, mem Memory, dir string, log *slog.Logger) *Source {
	p, _ := parsePriority(c.Priority)
	return &Source{conf: c, mem: mem, dir: dir, log: log, priority: p}
}

// Stats returns the counters.
func (s *Source) Stats() *Stats { return &s.stats }

// Trouble returns what is wrong now, with its remedy; nil if nothing is.
func (s *Source) Trouble() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.trouble[:]), func(t string) bool { return t == "" })
}

// setTrouble notes what is wrong, "" if nothing is, and logs a change.
func (s *Source) setTrouble(cause int, text string) {
	s.mu.Lock()
	was := s.trouble[cause]
	s.trouble[cause] = text
	s.mu.Unlock()
	switch {
	case was == "" && text != "":
		s.log.Warn("trouble with the journal", "what", text)
	case was != "" && text == "":
		s.log.Info("the journal is in order again", "was", was)
	}
}

const (
	lookEvery = 250 * time.Millisecond
	listEvery = time.Second
	saveEvery = 5 * time.Second
)

// Run follows the journal until ctx ends, and then returns nil. It returns an
// error if the place of an earlier run cannot be read, or if the Sink refuses a
// batch; run again, it goes on behind the last line the spool holds.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return fmt.Errorf("keep journal cursors: %w", err)
	}
	c, damaged, err := load(s.dir, s.mem)
	if err != nil {
		return err
	}
	if damaged != "" {
		s.log.Error("the journal cursors are damaged and set aside; going on from what the spool holds", "path", damaged)
	}
	f := newFollower(s, c.Next, out)
	defer f.closeAll()
	var listed, saved time.Time
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		now := time.Now()
		if now.Sub(listed) >= listEvery {
			f.list(now)
			listed = now
		}
		if err := f.look(ctx); err != nil {
			if ctx.Err() != nil {
				return nil // what the last Put held is read again
			}
			return fmt.Errorf("put journal lines: %w", err)
		}
		if f.moved && (now.Sub(saved) >= saveEvery || ctx.Err() != nil) {
			s.save(f)
			saved = now
		}
		select {
		case <-ctx.Done():
			if f.moved {
				s.save(f)
			}
			return nil
		case <-t.C:
		}
	}
}

func (s *Source) save(f *follower) {
	if err := save(s.dir, s.mem, f.next); err != nil {
		s.setTrouble(troubleSave, err.Error())
		return
	}
	f.moved = false
	s.setTrouble(troubleSave, "")
}

// folder is where the journals are.
func (c Config) folder() string {
	if c.Path == persistent {
		if _, err := os.Stat(persistent); err != nil {
			return volatile
		}
	}
	return c.Path
}

// match reports whether a unit is asked for.
func (c Config) match(unit string) bool {
	return len(c.Units) == 0 || slices.ContainsFunc(c.Units, func(p string) bool {
		if ok, _ := path.Match(p, unit); ok {
			return true
		}
		ok, _ := path.Match(p, strings.TrimSuffix(unit, ".service"))
		return ok
	})
}
