package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// folders makes n folders with a file each, of which all is read and idle.
func folders(t *testing.T, n int) *host {
	t.Helper()
	h := newHost(t, File{Path: "*/*.log"})
	for i := range n {
		h.must(os.Mkdir(h.path(fmt.Sprint(i)), 0o755))
		h.write(fmt.Sprint(i, "/a.log"), "old\n")
	}
	h.start().looks(12)
	return h
}

// unheard is a look that no event comes of.
func (h *host) unheard() {
	h.Helper()
	h.find.watch.drain(func(int, change, string) {})
	h.looks(1)
}

// lines is how many lines were taken.
func (h *host) lines() int { return len(h.spool.text()) }

func TestIdleFilesAreAskedInEachSweep(t *testing.T) {
	h := folders(t, 1500)
	if len(h.calm) != 1500 || len(h.awake) != 0 {
		t.Fatalf("%d files are calm, %d awake", len(h.calm), len(h.awake))
	}
	if n := testing.AllocsPerRun(5, func() { h.sweep(h.now) }); n > 3*turnMany {
		t.Errorf("a sweep of 1500 files makes %v allocations", n)
	}
	for i, n := range []int{0, 700, 1499} {
		h.write(fmt.Sprint(n, "/a.log"), "new\n")
		if h.unheard(); h.lines() != i+1 {
			t.Errorf("%d lines, want %d", h.lines(), i+1)
		}
	}
	h.must(os.Truncate(h.path("9/a.log"), 0))
	if h.unheard(); h.Stats().Truncations.Load() != 1 {
		t.Error("a truncation was not noticed")
	}
}

// Of more than that each has its turn, and all of them once an event did not come.
func TestIdleFilesHaveTheirTurn(t *testing.T) {
	const files = 2*calmMany + calmMany/2
	h := newHost(t, File{Path: "*.log"})
	for i := range files {
		h.write(fmt.Sprintf("%05d.log", i), "old\n")
	}
	h.start().looks(12)
	f := func(most int, names ...int) {
		t.Helper()
		for _, i := range names {
			h.write(fmt.Sprintf("%05d.log", i), "new\n")
		}
		want := h.lines() + len(names)
		for range most {
			h.unheard()
		}
		if h.lines() != want {
			t.Errorf("%d looks: %d lines, want %d", most, h.lines(), want)
		}
	}
	for _, i := range []int{0, calmMany, 2 * calmMany, files - 1} {
		h.find.deaf = time.Time{}
		f(3, i)
	}
	h.unheard()
	f(1, 1, 18, 19, calmMany+1, 2*calmMany+1, files-2)
	f(1, 2, calmMany+2, files-3)
}

// What a writer does without an event is found at once where it did something of
// late, and where it does something new beside what it wrote.
func TestNamesAreLookedForWhereFilesGrow(t *testing.T) {
	h := folders(t, 3*turnMany)
	h.write("7/a.log", "one\n")
	h.looks(1)
	h.rename("7/a.log", "7/a.log.1")
	h.write("7/a.log", "two\n")
	if h.unheard(); h.lines() != 2 {
		t.Errorf("lines %q", h.spool.text())
	}
	h.must(os.Mkdir(h.path("new"), 0o755)) // in the folder that the pattern names
	h.unheard()
	h.write("new/a.log", "three\n")
	if h.unheard(); h.lines() != 3 {
		t.Errorf("lines %q", h.spool.text())
	}
}

// Where inotify is silent, the first growth that nobody spoke of is noticed, and
// then all folders are looked at each second.
func TestSilentEventsAreNoticed(t *testing.T) {
	h := folders(t, 8*turnMany)
	f := func(name string) (looks int) {
		h.write(name, "new\n")
		for want := h.lines() + 1; h.lines() < want && looks < 10; looks++ {
			h.unheard()
		}
		return looks
	}
	if h.find.deaf != (time.Time{}) {
		t.Fatal("working events are taken for silent ones")
	}
	if n := f("1/a.log"); n != 1 {
		t.Errorf("an idle file's line took %d looks", n)
	}
	h.unheard() // the event did not come
	for _, name := range []string{"5/b.log", "500/b.log", "1000/b.log", "1500/b.log", "2000/b.log"} {
		if n := f(name); n != 1 {
			t.Errorf("the line of a new file took %d looks", n)
		}
	}
	if n := strings.Count(h.log.String(), "no event told of it"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	for h.now.Sub(h.find.deaf) < deafFor {
		h.now = h.now.Add(time.Minute)
	}
	h.looks(1)
	h.write("2/a.log", "heard\n")
	if h.looks(3); h.now.Sub(h.find.deaf) < deafFor {
		t.Error("it is not forgotten, though events come")
	}
}

// A write is seen before its event comes, if it falls between the two; an event
// that is later than the sweep is no missing one.
func TestEventsThatAreLateAreNotMissing(t *testing.T) {
	h := folders(t, 3)
	h.enc = encUTF16LE
	h.write("0/half.log", "x\n")
	h.enc = encAuto
	h.looks(1)
	h.write("0/half.log", "x") // half a character, which stays
	for i := range 20 {
		h.write(fmt.Sprint(i%3, "/a.log"), "x\n")
		h.now = h.now.Add(time.Second)
		h.sweep(h.now) // as if the event came after it
		h.looks(1 + i%3)
	}
	if h.find.deaf != (time.Time{}) || h.lines() != 21 {
		t.Errorf("missing events since %v, %d lines", h.find.deaf, h.lines())
	}
}

func TestWhereAFileEnds(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	other, err := os.Open(p) // the one that is asked out of memory is never sought in
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	quick, far := nature(other.Fd())
	if far {
		t.Error("a file of this machine is taken for one of another")
	}
	for _, size := range []int64{0, 1, 1 << 31, 1<<32 + 5, 7 << 40, 3} {
		if err := f.Truncate(size); err != nil {
			continue // too large for this file system
		}
		if resized(f.Fd(), false, size) || !resized(f.Fd(), false, size+1) || resized(other.Fd(), quick, size) || !resized(other.Fd(), quick, size+1) {
			t.Errorf("a file of %d bytes is said to end elsewhere", size)
		}
	}
	if quick {
		if n, err := local(other.Fd()).ReadAt(make([]byte, 9), 1); n != 2 || err == nil {
			t.Errorf("%d bytes of 2, %v", n, err)
		}
	}
}

// What was there at a start is calm once it is read: what grows is asked closely.
func TestWhatWasThereIsCalmAtOnce(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"})
	h.write("a.log", "one\n")
	h.write("b.log", "one\n")
	h.start().looks(3)
	if len(h.calm) != 2 || len(h.awake) != 0 {
		t.Errorf("%d files are calm, %d awake", len(h.calm), len(h.awake))
	}
	h.write("a.log", "two\n")
	h.write("c.log", "one\n")
	h.looks(3)
	if len(h.calm) != 1 || len(h.awake) != 2 {
		t.Errorf("%d files are calm, %d awake", len(h.calm), len(h.awake))
	}
	h.looks(12)
	if len(h.calm) != 3 || len(h.awake) != 0 {
		t.Errorf("%d files are calm, %d awake", len(h.calm), len(h.awake))
	}
}

func TestAClosedFileIsNotReadByItsOldNumber(t *testing.T) {
	h := newHost(t, File{Path: "a.log"})
	h.write("a.log", "mine\n")
	h.start().looks(1)
	f := h.files[first(h.files)]
	h.close(f)
	other, err := os.Open(h.path("a.log")) // the lowest number that is free
	h.must(err)
	defer other.Close()
	if n, err := f.src().ReadAt(make([]byte, 9), 0); n > 0 || err == nil {
		t.Errorf("%d bytes were read of a closed file, %v", n, err)
	}
}

// Looks lie further apart where little comes, but not where names change: what is
// rotated and compressed must be found in time.
func TestLooksAreFewerWhereLittleComes(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("a.log", "one\n")
	h.looks(3) // the file is known, and its place certain
	f := func(what string, lull bool) {
		t.Helper()
		if _, err := h.step(h.Context(), h.now, h.spool); err != nil {
			t.Fatal(err)
		}
		if h.lull != lull {
			t.Errorf("%s: looks are rare: %v", what, h.lull)
		}
		h.looks(3)
	}
	f("nothing", true)
	h.write("a.log", "two\n")
	f("a line", true)
	h.write("a.log", strings.Repeat("many\n", lullBytes/5+1))
	f("many lines", false)
	h.write("b.log", "")
	f("a new file", false)
	h.rename("a.log", "a.log.1")
	f("a rotation", false)
}
