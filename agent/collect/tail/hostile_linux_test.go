package tail

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// A file of 1 GiB without a newline, of which the disk holds nothing: it becomes
// one line, cut, and takes the memory of a chunk and of what is kept of the line.
func TestAGibibyteWithoutNewline(t *testing.T) {
	h := newHost(t, File{Path: "a.log"})
	h.start().looks(1)
	const size = 1 << 30
	h.write("a.log", "first\n")
	h.looks(1)
	h.must(os.Truncate(h.path("a.log"), size))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h.looks(1)
	h.write("a.log", "\nlast\n")
	h.looks(1)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d MiB were allocated", n>>20)
	}
	h.balance()
	got := h.spool.text()
	if len(got) != 3 || got[0] != "first" || len(got[1]) != 1<<20 || strings.Trim(got[1], "\x00") != "" || got[2] != "last" {
		t.Fatalf("%d lines", len(got))
	}
	if n := h.Stats().Cut.Load(); n != size-int64(len("first\n"))-1<<20 || h.Stats().CutLines.Load() != 1 {
		t.Errorf("%d bytes were cut", n)
	}
}

// A disk fails in the middle of one file. Others go on; the status tells, and
// counts; once the disk is well, every line is there once.
func TestADiskErrorInTheMiddleOfAReadHoldsUpNothingElse(t *testing.T) {
	for _, at := range []int64{0, 1, 700, 1023, 1024, 3000} {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		bad := at
		h.find.rules[0].faulty = func(path string, r io.ReaderAt) io.ReaderAt {
			if filepath.Base(path) != "a.log" {
				return r
			}
			return readerFunc(func(p []byte, off int64) (int, error) {
				if end := off + int64(len(p)); bad < 0 || bad >= end {
					return r.ReadAt(p, off)
				}
				n, _ := r.ReadAt(p[:max(0, bad-off)], off)
				return n, syscall.EIO
			})
		}
		w, other := &writer{host: h, name: "a.log"}, &writer{host: h, name: "b.log"}
		for range 5 {
			w.lines(40)
			other.lines(40)
			h.looks(1)
		}
		other.check()
		status := func() string { return h.Files()[0].Err }
		if n := h.Stats().Failures.Load(); n < 3 || status() != "input/output error" {
			t.Errorf("at %d: %d failures, status %q", at, n, status())
		}
		bad = -1
		w.lines(40)
		h.looks(2)
		w.check()
		if status() != "" || strings.Count(h.log.String(), "cannot read") != 1 {
			t.Errorf("at %d: status %q, log:\n%s", at, status(), h.log.String())
		}
	}
}

// An error that stops a turn leaves everything as it was.
func TestAFailedTurnTakesNothing(t *testing.T) {
	var p position
	var sum tally
	blk := signal.LogBlock{}
	buf := make([]byte, 64)
	out := &plain{blk: &blk, maxLine: 9, clock: &clock{}, sum: &sum}
	bad := errors.New("input/output error")
	if _, err := turn(readerFunc(func([]byte, int64) (int, error) { return 5, bad }), &p, buf, out, 9, 9, &sum); !errors.Is(err, bad) || p != (position{}) || sum != (tally{}) {
		t.Errorf("%v, at %+v, %+v", err, p, sum)
	}
}

type readerFunc func(p []byte, off int64) (int, error)

func (f readerFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

// A file that was closed, and one that is new, cannot be opened any more: others
// go on, the status tells, and when they may be read again nothing is missing.
func TestPermissionsThatVanish(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.must(os.Chmod(filepath.Dir(h.logs), 0o755)) // of the test's own
	h.start().looks(1)
	a, b := &writer{host: h, name: "a.log"}, &writer{host: h, name: "b.log"}
	a.lines(1)
	b.lines(1)
	h.looks(1)
	for _, f := range h.files {
		if f.path == h.path("a.log") {
			h.close(f) // as one that was idle
		}
	}
	a.lines(1)
	n := &writer{host: h, name: "new.log"}
	n.lines(1)
	h.must(os.Chmod(h.path("a.log"), 0))
	h.must(os.Chmod(h.path("new.log"), 0))
	b.lines(1)
	asNobody(t, func() { h.looks(3) })
	b.check()
	var bad []string
	for _, f := range h.Files() {
		if strings.Contains(f.Err, "permission denied") {
			bad = append(bad, filepath.Base(f.Path))
		}
	}
	if want := []string{"a.log", "new.log"}; !slices.Equal(bad, want) || h.Stats().Failures.Load() < 4 || strings.Count(h.log.String(), "cannot read") != 2 {
		t.Errorf("%q cannot be read, want %q; %d failures\n%s", bad, want, h.Stats().Failures.Load(), h.log.String())
	}
	h.must(os.Chmod(h.path("a.log"), 0o644))
	h.must(os.Chmod(h.path("new.log"), 0o644))
	asNobody(t, func() { h.looks(2) })
	for _, w := range []*writer{a, b, n} {
		w.check()
	}
	for _, f := range h.Files() {
		if f.Err != "" {
			t.Errorf("status %+v", f)
		}
	}
}

// asNobody calls f as one whom the file system does not let read everything. It
// changes the one thread that f runs on.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Setfsuid(65534)
	defer func() { _ = syscall.Setfsuid(0) }()
	f()
}
