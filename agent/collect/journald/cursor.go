package journald

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Memory is what the spool still knows of what this package read: hub.Hub
// implements it. It holds only if the spool keeps every log frame that is newer
// than the newest snapshot, delivered or not.
type Memory interface {
	// Newest returns the number of the newest log frame in the spool, 0 if there never was one.
	Newest() uint64
	// Sync makes everything up to Newest survive a power cut.
	Sync() error
	// Replay calls f for each log batch in frames after seq, oldest first. The
	// batch is only valid during the call.
	Replay(after uint64, f func(*signal.Batch)) error
}

const (
	cursorName = "cursors.json"
	filePrefix = "journal:" // of LogBlock.File; the seqnum id follows
)

// cursors says where to go on in each sequence of entries: behind all of them
// that were handed over.
type cursors struct {
	After uint64            `json:"after"` // all lines up to this frame of the spool are accounted for
	Next  map[string]uint64 `json:"next"`  // by seqnum id
}

// load reads the last snapshot, and what the spool knows beyond it. damaged is
// the path of a snapshot that cannot be read and was set aside.
func load(dir string, mem Memory) (c cursors, damaged string, err error) {
	p := filepath.Join(dir, cursorName)
	text, err := os.ReadFile(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, "", fmt.Errorf("read journal cursors: %w", err)
	}
	if err == nil && json.Unmarshal(text, &c) != nil {
		c = cursors{}
		damaged = p + ".damaged"
		if err := os.Rename(p, damaged); err != nil {
			return c, "", fmt.Errorf("set damaged journal cursors aside: %w", err)
		}
	}
	if c.Next == nil {
		c.Next = map[string]uint64{}
	}
	err = mem.Replay(c.After, func(b *signal.Batch) {
		for i := range b.Logs {
			blk := &b.Logs[i]
			key, ok := strings.CutPrefix(blk.File, filePrefix)
			if raw, err := hex.DecodeString(key); !ok || err != nil || len(raw) != len(id{}) || blk.End < 0 {
				continue
			}
			c.Next[strings.Clone(key)] = max(c.Next[key], uint64(blk.End))
		}
	})
	if err != nil {
		return c, "", fmt.Errorf("read the spool for journal cursors: %w", err)
	}
	return c, damaged, nil
}

// save writes a snapshot so that after a crash the old or the new one is there.
func save(dir string, mem Memory, next map[string]uint64) error {
	c := cursors{After: mem.Newest(), Next: next}
	if err := mem.Sync(); err != nil { // it never knows more than a spool that survives a power cut
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	p := filepath.Join(dir, cursorName)
	f, err := os.OpenFile(p+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write journal cursors: %w", err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(p+".tmp", p)
	}
	if err != nil {
		return fmt.Errorf("write journal cursors: %w", err)
	}
	return nil
}
