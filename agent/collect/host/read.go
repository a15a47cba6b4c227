package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/causeway-agent/causeway/agent/signal"
)

// tree reads files below one root, all into one buffer.
type tree struct {
	root string
	buf  []byte
	net  string // path of the network namespace's files; "" until found
}

// path returns where rel, a path without a leading slash, lies below the root.
func (t *tree) path(rel string) string { return filepath.Join(t.root, rel) }

// read returns the content of a file, or nil and no error if there is none. It
// is valid until the next read. It makes bare system calls: os.ReadFile's
// os.File, its finalizer and its poller cost more than most of these files.
func (t *tree) read(path string) ([]byte, error) { return t.readUpTo(path, 1<<30) }

// readUpTo is read for at most calls read(2) calls. One is enough for a file
// that the kernel writes as a single record shorter than the buffer.
func (t *tree) readUpTo(path string, calls int) ([]byte, error) {
	fd, err := open(path)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if t.buf == nil {
		t.buf = make([]byte, 0, 16<<10)
	}
	p := t.buf[:0]
	for range calls {
		if len(p) == cap(p) {
			p = append(p, 0)[:len(p)]
		}
		n, err := unix.Read(fd, p[len(p):cap(p)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil && absent(err):
			return nil, nil
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		p = p[:len(p)+n]
		if n == 0 {
			break
		}
	}
	t.buf = p
	return p, nil
}

func open(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// absent reports whether err says that this kernel has no such thing: no file,
// a subsystem switched off (PSI answers EOPNOTSUPP), or a process that is gone.
func absent(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.EOPNOTSUPP || err == unix.ENODEV || err == unix.ESRCH
}

// netPath returns where a file of proc/net lies. proc/net itself shows the
// reader's own network namespace, which in a container is not the host's, so
// process 1's is preferred; where only the agent may not look into process 1,
// and stands in the host's tree, the two are the same.
func (t *tree) netPath(name string) string {
	if t.net == "" {
		t.net = t.path("proc/1/net")
		err := unix.Access(t.net+"/dev", unix.R_OK)
		if err != nil && (absent(err) || filepath.Clean(t.root) == "/") {
			t.net = t.path("proc/net")
		}
	}
	return t.net + "/" + name
}

// pass is one call of Sample under way.
type pass struct {
	b    *signal.Batch
	tree *tree
	now  int64 // ms, of every sample
	boot int64 // ms, Start of every counter; 0 if unknown
	stat *stat // proc/stat, which several parts need
}

func (p *pass) gauge(s signal.Series, v float64) {
	p.b.Add(signal.Sample{Series: s, Time: p.now, Value: v})
}

func (p *pass) counter(s signal.Series, v float64) {
	p.b.Add(signal.Sample{Series: s, Start: p.boot, Time: p.now, Value: v})
}

// gaugeOf and counterOf make the Series of a metric; pairs are its labels.
func gaugeOf(name, unit string, pairs ...string) signal.Series {
	return signal.Intern(signal.Desc{Name: name, Unit: unit, Type: signal.Gauge, Labels: signal.Labels(pairs...)})
}

func counterOf(name, unit string, pairs ...string) signal.Series {
	return signal.Intern(signal.Desc{Name: name, Unit: unit, Type: signal.Counter, Labels: signal.Labels(pairs...)})
}

// cache keeps what a part knows by name, for as long as the name is seen.
type cache[T any] struct {
	known map[string]*cached[T]
	turn  uint64
	seen  int // names asked for in this turn
}

type cached[T any] struct {
	turn  uint64
	value T
}

// get returns what is known of name; learn says it for a name not seen before,
// whose bytes get makes printable first.
func (c *cache[T]) get(name []byte, learn func(name string) T) *T {
	e := c.known[string(name)]
	if e == nil {
		if c.known == nil {
			c.known = map[string]*cached[T]{}
		}
		e = &cached[T]{value: learn(printable(name))}
		e.turn = c.turn - 1
		c.known[string(name)] = e
	}
	if e.turn != c.turn {
		e.turn = c.turn
		c.seen++
	}
	return &e.value
}

// sweep ends a turn: names not asked for since the last one are forgotten.
func (c *cache[T]) sweep() {
	if c.seen != len(c.known) {
		for name, e := range c.known {
			if e.turn != c.turn {
				delete(c.known, name)
			}
		}
	}
	c.turn++
	c.seen = 0
}

// printable returns name as a label's value: valid UTF-8, as vendors demand.
func printable(name []byte) string { return strings.ToValidUTF8(string(name), "\uFFFD") }

// errShort and errNumber are what most files can get wrong.
var (
	errShort  = errors.New("too few fields")
	errNumber = errors.New("not a number")
)

// faults collects what is wrong in one file. It keeps the first few, because a
// file that is garbage is so in every line.
type faults struct {
	kept []error
	more int
}

func (f *faults) add(err error) {
	if len(f.kept) < 4 {
		f.kept = append(f.kept, err)
		return
	}
	f.more++
}

// join returns nil if there were none.
func (f *faults) join() error {
	if f.more > 0 {
		return fmt.Errorf("%w\nand %d more like it", errors.Join(f.kept...), f.more)
	}
	return errors.Join(f.kept...)
}

// inFile names the file err is about; nil stays nil.
func inFile(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// atLine names the line, counted from 1, and shows the beginning of it.
func atLine(n int, line []byte, err error) error {
	return fmt.Errorf("line %d: %w in %q", n, err, line[:min(len(line), 80)])
}

// lines yields the lines of p and their numbers, counted from 1. Empty lines
// are counted and left out.
func lines(p []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for n := 1; len(p) > 0; n++ {
			var line []byte
			line, p, _ = bytes.Cut(p, []byte{'\n'})
			if len(line) > 0 && !yield(n, line) {
				return
			}
		}
	}
}

// cutField splits the first word off p; it is empty at the end.
func cutField(p []byte) (field, rest []byte) {
	i := 0
	for i < len(p) && (p[i] == ' ' || p[i] == '\t') {
		i++
	}
	j := i
	for j < len(p) && p[j] != ' ' && p[j] != '\t' {
		j++
	}
	return p[i:j], p[j:]
}

// parseUint reads a whole decimal number. Those above 2^64 are refused.
func parseUint(p []byte) (v uint64, err error) {
	if len(p) == 0 {
		return 0, errShort
	}
	for _, c := range p {
		d := uint64(c - '0')
		if d > 9 || v > (1<<64-1-d)/10 {
			return 0, errNumber
		}
		v = v*10 + d
	}
	return v, nil
}

// parseDecimal reads a number such as 1943.15 or -1. The kernel writes no exponents.
func parseDecimal(p []byte) (float64, error) {
	negative := len(p) > 0 && p[0] == '-'
	if negative {
		p = p[1:]
	}
	whole, frac, dotted := bytes.Cut(p, []byte{'.'})
	u, err := parseUint(whole)
	if err != nil {
		return 0, err
	}
	v := float64(u)
	if dotted {
		f, err := parseUint(frac)
		if err != nil {
			return 0, errNumber
		}
		scale := 1.0
		for range frac {
			scale *= 10
		}
		v += float64(f) / scale
	}
	if negative {
		v = -v
	}
	return v, nil
}

// parseUints fills dst with the numbers of p, and returns how many there were.
// What follows the last of dst is not looked at.
func parseUints(dst []uint64, p []byte) (int, error) {
	for i := range dst {
		var f []byte
		f, p = cutField(p)
		if len(f) == 0 {
			return i, nil
		}
		v, err := parseUint(f)
		if err != nil {
			return i, err
		}
		dst[i] = v
	}
	return len(dst), nil
}

// readUint reads a file that holds one number; ok is false if there is no file.
func (t *tree) readUint(path string) (v uint64, ok bool, err error) {
	text, err := t.read(path)
	if text == nil {
		return 0, false, err
	}
	f, _ := cutField(bytes.TrimSpace(text))
	v, err = parseUint(f)
	if err != nil {
		return 0, false, inFile(path, atLine(1, text, err))
	}
	return v, true, nil
}

// matchAny reports whether name matches one of the patterns.
func matchAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if match(p, name) {
			return true
		}
	}
	return false
}

// match reports whether all of name matches pattern: * stands for any run of
// bytes, slashes included, ? for one. It takes at most len(pattern) * len(name) steps.
func match(pattern, name string) bool {
	star, mark := -1, 0 // the last * and where in name its run ended so far
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
