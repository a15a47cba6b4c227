package tail

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writer is a program that numbers its lines. It knows nothing of the tailer.
type writer struct {
	*host
	name string
	n    int
	want []string
}

func (w *writer) lines(n int) {
	w.Helper()
	var b strings.Builder
	for range n {
		w.n++
		line := fmt.Sprintf("%s line %d", w.name, w.n)
		w.want = append(w.want, line)
		b.WriteString(line)
		b.WriteByte('\n')
	}
	w.write(w.name, b.String())
}

// check compares what the spool got of this writer: each line once, in order.
func (w *writer) check() {
	w.Helper()
	got := slices.DeleteFunc(w.spool.text(), func(s string) bool { return !strings.HasPrefix(s, w.name+" ") })
	for i := range min(len(got), len(w.want)) {
		if got[i] != w.want[i] {
			w.Fatalf("line %d of %d is %q, want %q", i, len(got), got[i], w.want[i])
		}
	}
	if len(got) != len(w.want) {
		w.Fatalf("%d lines, want %d", len(got), len(w.want))
	}
	w.balance()
}

// shift rotates as logrotate does: NAME.2 to NAME.3, NAME.1 to NAME.2, and so on.
func (w *writer) shift(keep int) {
	w.Helper()
	_ = os.Remove(w.path(fmt.Sprint(w.name, ".", keep)))
	for i := keep - 1; i > 0; i-- {
		_ = os.Rename(w.path(fmt.Sprint(w.name, ".", i)), w.path(fmt.Sprint(w.name, ".", i+1)))
	}
}

func (w *writer) rotate(keep int) {
	w.Helper()
	w.shift(keep)
	w.rename(w.name, w.name+".1")
	w.write(w.name, "")
}

func (w *writer) rotateByCopy(keep int) {
	w.Helper()
	w.shift(keep)
	w.copyTruncate(w.name, w.name+".1")
}

// eachWay runs f with and without inotify, and with the rotated files inside
// and outside of the pattern.
func eachWay(t *testing.T, f func(t *testing.T, h *host)) {
	for _, pattern := range []string{"a.log", "a.log*"} {
		for _, watched := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,watched=%v", pattern, watched), func(t *testing.T) {
				h := newHost(t, File{Path: pattern}).start()
				if !watched {
					h.unwatched()
				}
				f(t, h.looks(1))
			})
		}
	}
}

func TestRenameRotation(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		w.lines(3)
		h.looks(1)
		w.lines(3) // not seen before the rotation
		w.rotate(3)
		w.lines(3)
		h.looks(2)
		w.check()
		w.rotate(3)
		h.write("a.log.1", "a.log line 10\n") // the program still has the old file open
		w.n, w.want = 10, append(w.want, "a.log line 10")
		h.looks(10)
		w.lines(1)
		h.looks(1)
		w.check()
		if n := h.Stats().Rotations.Load(); n != 2 {
			t.Errorf("%d rotations counted, want 2", n)
		}
	})
}

func TestAWriterThatKeepsTheRotatedFileForLong(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		w.lines(1)
		h.looks(1)
		w.rotate(3)
		h.looks(20) // long let go
		h.write("a.log.1", "a.log line 2\n")
		h.looks(1)
		w.n, w.want = 2, append(w.want, "a.log line 2")
		w.lines(1)
		h.looks(1)
		w.check()
	})
}

func TestSeveralRotationsBetweenTwoLooks(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		for range 5 {
			for range 4 {
				w.lines(7)
				w.rotate(9)
			}
			w.lines(1)
			h.looks(1)
		}
		h.looks(1)
		w.check()
		if n := h.Stats().Rotations.Load(); n != 20 {
			t.Errorf("%d rotations counted, want 20", n)
		}
		for _, b := range h.spool.frames {
			for i := range b.Logs {
				if b.Logs[i].Stream != h.spool.frames[0].Logs[0].Stream {
					t.Fatalf("a rotated file is a stream of its own: %q", b.Logs[i].Stream.Labels())
				}
			}
		}
	})
}

func TestCopyTruncate(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		for i := range 20 {
			w.lines(3 + 40*(i%2)) // below and above the length of the fingerprint
			h.looks(1)
			w.lines(2) // only the copy has these
			w.rotateByCopy(3)
			h.looks(1)
			w.lines(5)
			h.looks(1)
		}
		h.looks(5)
		w.check()
		if n := h.Stats().Truncations.Load(); n != 20 {
			t.Errorf("%d truncations counted, want 20", n)
		}
	})
}

func TestACopyThatIsSeenBeforeTheTruncation(t *testing.T) {
	for _, lines := range []int{3, 300} {
		h := newHost(t, File{Path: "a.log*"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.lines(lines)
		h.looks(1)
		text, err := os.ReadFile(h.path("a.log"))
		h.must(err)
		for i, part := range [][]byte{{}, text[:len(text)/3], text[len(text)/3:]} {
			h.write("a.log.1", string(part))
			h.looks(1 + i%2)
		}
		w.check()
		h.must(os.Truncate(h.path("a.log"), 0))
		w.lines(1)
		h.looks(10)
		w.check()
	}
}

func TestACopyUnderTheGlobIsNotReadAgain(t *testing.T) {
	h := newHost(t, File{Path: "*.log*"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(100)
	h.looks(1)
	h.copyTruncate("a.log", "old-a.log.bak")
	w.lines(100)
	h.looks(1)
	h.copyTruncate("a.log", "a.log.bak")
	h.looks(10)
	w.lines(1)
	h.looks(10)
	w.check()
}

func TestLinesBetweenTheCopyAndTheTruncation(t *testing.T) {
	for _, lines := range []int{30, 300} {
		h := newHost(t, File{Path: "a.log*"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.lines(lines)
		h.looks(1)
		text, err := os.ReadFile(h.path("a.log"))
		h.must(err)
		w.lines(1)
		h.looks(1)
		h.write("a.log.1", string(text))
		h.must(os.Truncate(h.path("a.log"), 0))
		w.lines(1)
		h.looks(10)
		w.check()
	}
}

// A file that was empty, or of which nothing was taken, at the last look, and was
// copied and truncated several times since: what the copies hold comes first.
func TestCopiesOfWhatWasNeverSeen(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		w.lines(40)
		h.looks(1)
		for range 5 {
			w.rotateByCopy(20)
			h.looks(2) // it is empty
			for range 3 {
				w.lines(40)
				w.rotateByCopy(20)
			}
			w.lines(40)
			h.looks(4)
		}
		w.check()
	})
}

// A copy is under way when it is seen first, and of what it copies nothing was
// taken when that is truncated.
func TestACopyWhoseOriginalWasNeverRead(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(40)
	h.looks(1)
	w.rotateByCopy(9)
	h.looks(1)
	w.lines(300)
	text, err := os.ReadFile(h.path("a.log"))
	h.must(err)
	h.find.listed = func(string) { // between the listing and the looks at the files
		h.find.listed = nil
		h.write("a.log.0", string(text[:2000]))
	}
	h.write("other", "")
	h.looks(1)
	h.write("a.log.0", string(text[2000:]))
	h.must(os.Truncate(h.path("a.log"), 0))
	w.lines(40)
	h.looks(8)
	w.check()
}

// The file is truncated and written anew after the scan that found it in its
// place: the copy that was made before is noticed before its first bytes count.
func TestATruncationBetweenAScanAndTheRead(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(40)
	h.looks(1)
	w.rotateByCopy(9)
	w.lines(40)
	scans := 0
	h.find.listed = func(string) {
		if scans++; scans == 3 { // the one that puts it behind its first copy
			w.rotateByCopy(9)
			w.lines(40)
		}
	}
	h.looks(8)
	w.check()
}

func TestFilesThatBeginAlikeAreNoCopies(t *testing.T) {
	banner := strings.Repeat("welcome to the program\n", 3)
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("run-1.log", banner)
	h.looks(1)
	h.write("run-1b.log", banner)
	h.looks(10)
	h.write("run-1c.log", banner+"other\n")
	h.looks(10)
	if n := len(h.spool.text()); n != 10 {
		t.Errorf("%d lines, want 10", n)
	}
}

func TestTruncation(t *testing.T) {
	f := func(before, after string) {
		t.Helper()
		h := newHost(t, File{Path: "a.log"}).start().looks(1)
		h.write("a.log", before)
		h.looks(1)
		h.must(os.Truncate(h.path("a.log"), 0))
		h.write("a.log", after)
		h.looks(2)
		want := strings.Split(strings.TrimSuffix(before, "\n")+"\n"+strings.TrimSuffix(after, "\n"), "\n")
		h.want(want...)
		if n := h.Stats().Truncations.Load(); n != 1 {
			t.Errorf("%d truncations, want 1", n)
		}
	}
	f("one\ntwo\n", "3\n")                                      // shorter
	f("one\ntwo\n", "six\nten\n")                               // of the same length
	f("one\ntwo\n", "three\nfour\nfive\n")                      // longer
	f(strings.Repeat("x\n", 9000), strings.Repeat("y\n", 9000)) // longer than the fingerprint
	f(strings.Repeat("x\n", 9000), strings.Repeat("y\n", 9001))
}

func TestAWriterThatLeavesAHole(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	fh, err := os.Create(h.path("a.log")) // not O_APPEND
	h.must(err)
	defer fh.Close()
	fh.WriteString(strings.Repeat("x", 300_000) + "\n")
	h.looks(1)
	h.must(os.Truncate(h.path("a.log"), 0))
	fh.WriteString("after\n")
	h.looks(2).want(strings.Repeat("x", 300_000), "after")
	if n := h.Stats().Holes.Load(); n != 300_001 {
		t.Errorf("a hole of %d bytes, want 300001", n)
	}
}

func TestDeletedFilesAreReadToTheirEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		w.lines(2)
		h.looks(1)
		fh, err := os.OpenFile(h.path("a.log"), os.O_APPEND|os.O_WRONLY, 0)
		h.must(err)
		defer fh.Close()
		w.lines(2)
		h.remove("a.log")
		h.looks(3)
		fh.WriteString("a.log line 5\n")
		w.want = append(w.want, "a.log line 5")
		h.looks(1)
		w.check()
		h.looks(10)
		if n := h.opened; n != 0 {
			t.Errorf("%d files are open", n)
		}
	})
}

func TestAnInodeThatIsUsedAgain(t *testing.T) {
	h := newHost(t, File{Path: "*.log*"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	reused := 0
	for range 50 {
		before := h.inode("a.log.3")
		w.lines(5)
		w.rotate(3) // the file system gives the deleted NAME.3's inode to the new NAME
		if before != 0 && before == h.inode("a.log") {
			reused++
		}
		w.lines(5)
		h.looks(7) // all rotated files are closed
	}
	w.check()
	if reused == 0 {
		t.Log("this file system used no inode again")
	}
}

func (h *host) inode(name string) uint64 {
	info, err := os.Stat(h.path(name))
	if err != nil {
		return 0
	}
	return keyOf(info).ino
}

func TestAFileMovedOutOfSightIsReadToItsEnd(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.must(os.Mkdir(h.path("old"), 0o755))
	w := &writer{host: h, name: "a.log"}
	w.lines(3)
	h.looks(1)
	w.lines(3)
	h.rename("a.log", "old/a.log")
	h.looks(10)
	w.check()
}

func TestAFolderThatComesBackIsNotReadTwice(t *testing.T) {
	h := newHost(t, File{Path: "x/*.log"})
	h.must(os.Mkdir(h.path("x"), 0o755))
	h.start().looks(1)
	h.write("x/a.log", "one\n")
	h.looks(1)
	h.rename("x", "away")
	h.looks(60)
	h.write("away/a.log", "two\n")
	h.rename("away", "x")
	h.looks(60).want("one", "two")
}

// storm writes, rotates and looks at random.
func (w *writer) storm(rng *rand.Rand, rotations int, rotate func()) {
	w.tick = 50 * time.Millisecond
	for range rotations {
		for range 1 + rng.IntN(3) {
			w.lines(rng.IntN(30))
			if rng.IntN(2) == 0 {
				w.looks(1)
			}
		}
		if rng.IntN(20) == 0 {
			w.looks(1) // what was deleted already nobody sees after a restart
			w.stop()
			w.start()
		}
		rotate()
	}
	w.tick = time.Second
	w.looks(8)
	w.check()
}

func TestAThousandRotations(t *testing.T) {
	rotations := 150
	if os.Getenv("CAUSEWAY_SOAK") != "" {
		rotations = 1500
	}
	rng := rand.New(rand.NewPCG(1, 2))
	t.Run("rename", func(t *testing.T) {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.storm(rng, rotations, func() {
			for range 1 + rng.IntN(3) {
				w.rotate(30)
				w.lines(rng.IntN(30))
			}
		})
	})
	t.Run("copytruncate", func(t *testing.T) {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.lines(1)
		w.storm(rng, rotations, func() {
			w.lines(1)
			w.looks(1) // a copy of a file that nobody has looked at has no original
			w.lines(rng.IntN(30))
			w.rotateByCopy(30)
			w.looks(1)
		})
	})
	t.Run("delete", func(t *testing.T) {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.storm(rng, rotations, func() {
			w.lines(1)
			w.looks(1) // what is written and deleted between two looks nobody sees
			w.lines(rng.IntN(30))
			w.remove("a.log")
		})
	})
	t.Run("kubelet", func(t *testing.T) {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		k := &kubelet{writer: &writer{host: h, name: "0.log"}}
		k.storm(rng, rotations, func() {
			k.lines(1)
			k.rotate()
			if k.n > 4 {
				_ = os.Remove(k.path(fmt.Sprintf("0.log.20261123-%06d.gz", k.n-4)))
			}
			k.looks(rng.IntN(2))
		})
	})
}

func TestEveryRotationIsFollowedAcrossARestart(t *testing.T) {
	for _, style := range []string{"rename", "copytruncate"} {
		for lines := range 4 {
			h := newHost(t, File{Path: "a.log"}).start().looks(1)
			w := &writer{host: h, name: "a.log"}
			w.lines(50)
			h.looks(1)
			w.lines(lines)
			h.stop()
			for range 3 {
				w.lines(lines)
				if style == "rename" {
					w.rotate(9)
				} else if lines > 0 {
					w.rotateByCopy(9)
					h.start().looks(1).stop()
				}
				w.lines(10)
			}
			h.start().looks(8)
			w.check()
		}
	}
}

// The program has not begun the next file when the agent starts.
func TestARotatedFileIsReadAtAStartThoughItHasNoSuccessor(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(3)
	h.looks(1).stop()
	w.lines(3)
	h.rename("a.log", "a.log.1")
	h.start().looks(2)
	w.check()
	h.stop()
	h.start().looks(2)
	w.lines(3)
	h.looks(2)
	w.check()
}

func TestSiblingsFromBeforeOurTimeAreLeftAlone(t *testing.T) {
	h := newHost(t, File{Path: filepath.Join("*.log"), Start: "beginning"})
	w := &writer{host: h, name: "a.log"}
	w.lines(3)
	w.rotate(3)
	w.want = nil
	w.lines(3)
	h.start().looks(2)
	w.check()
	h.stop()
	w.rotate(3)
	w.lines(2)
	h.start().looks(2)
	w.check()
}

// Lines of one length that end alike: where one ended, one ends after a truncation,
// and the bytes before it are the same.
func TestATruncationIsSeenThoughLinesEndAlike(t *testing.T) {
	for _, first := range []int{1, 3, 40} { // shorter and longer than the fingerprint
		for _, copied := range []bool{false, true} {
			h := newHost(t, File{Path: "a.log"}).start().looks(1)
			n, want := 0, []string(nil)
			lines := func(k int) {
				for range k {
					n++
					line := fmt.Sprintf("%04d %s", n, strings.Repeat("x", 60))
					want = append(want, line)
					h.write("a.log", line+"\n")
				}
			}
			lines(first)
			h.looks(1)
			for range 3 {
				if copied {
					lines(2)
					h.copyTruncate("a.log", fmt.Sprintf("a.log.%d", 1000+n))
				} else {
					h.must(os.Truncate(h.path("a.log"), 0))
				}
				lines(first + 5)
				h.looks(4)
			}
			h.want(want...)
		}
	}
}
