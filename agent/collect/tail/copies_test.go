package tail

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

// beforeReading makes f run before each of the next n times that the file's
// fingerprint is taken.
func (h *host) beforeReading(name string, n int, f func()) {
	busy := false
	h.find.rules[0].faulty = func(p string, r io.ReaderAt) io.ReaderAt {
		if p != h.path(name) {
			return r
		}
		return readerFunc(func(b []byte, off int64) (int, error) {
			if off == 0 && len(b) == headBytes && n > 0 && !busy {
				n, busy = n-1, true
				f()
				busy = false
			}
			return r.ReadAt(b, off)
		})
	}
}

func (h *host) text(name string) string {
	h.Helper()
	text, err := os.ReadFile(h.path(name))
	h.must(err)
	return string(text)
}

func (h *host) truncate(name string) { h.Helper(); h.must(os.Truncate(h.path(name), 0)) }

// The file is copied, truncated and written anew behind the scan that put it in
// its place and before its first bytes are read, more often than a folder is
// waited for that never comes to rest: while copies of it appear, they come first.
func TestCopiesMadeBeforeTheFirstReadComeFirst(t *testing.T) {
	for _, known := range []string{"never", "truncated", "restart"} {
		for _, times := range []int{1, 2, 3 * maxTries} {
			for _, watched := range []bool{true, false} {
				t.Run(fmt.Sprintf("known=%v,times=%d,watched=%v", known, times, watched), func(t *testing.T) {
					h := newHost(t, File{Path: "a.log"})
					start := func() {
						if h.start(); !watched {
							h.unwatched()
						}
					}
					start()
					h.looks(1)
					w := &writer{host: h, name: "a.log"}
					if known != "never" {
						w.lines(40)
						h.looks(1)
					}
					if known == "restart" {
						h.stop()
						w.lines(4)
						w.rotateByCopy(99)
						w.lines(40)
						start()
					}
					if known == "truncated" {
						w.rotateByCopy(99)
					}
					if known != "restart" {
						w.lines(40)
					}
					h.beforeReading("a.log", times, func() {
						w.rotateByCopy(99)
						w.lines(40)
					})
					h.looks(8 + times) // one scan in each
					w.check()
				})
			}
		}
	}
}

// A file that is written anew each time it is looked at, in a folder where names
// change all the time, is read all the same.
func TestAFileThatNeverComesToRestIsRead(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	n := 0
	anew := func() {
		n++
		h.truncate("a.log")
		h.write("a.log", fmt.Sprintf("%d\n", n))
		h.write(fmt.Sprint("other", n), "")
	}
	h.write("a.log", "0\n")
	h.beforeReading("a.log", 1000, anew)
	h.looks(2 * maxTries)
	if len(h.spool.text()) == 0 {
		t.Error("nothing was read")
	}
}

// Names that come and go without end hold up a file by one scan, not by many.
func TestABusyFolderHoldsUpAFileByOneScan(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	n := 0
	h.beforeReading("a.log", 1000, func() {
		n++
		h.write(fmt.Sprint("other", n), "")
	})
	h.write("a.log", "0\n")
	h.looks(2).want("0")
}

// A copy that was empty when it was seen first is like any file, and repeats none.
func TestACopyThatWasSeenEmptyComesBeforeItsOriginal(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	h.tick = 20 * time.Millisecond // so that they stay open
	for range 40 {                 // other files that it is like
		w.lines(4)
		h.looks(1)
		w.rotateByCopy(99)
		h.looks(1)
	}
	w.lines(40)
	h.looks(1)
	w.check()
	w.shift(99)
	h.write("a.log.1", "")
	h.looks(1)
	w.lines(5) // the original is looked at before the copy
	h.write("a.log.1", h.text("a.log"))
	h.truncate("a.log")
	w.lines(40)
	h.looks(4)
	w.check()
}

// The original did not wait for the copy, which held nothing, or what it held
// itself; when its first bytes are read, it holds what comes after the copy.
func TestACopyThatIsFilledBeforeTheFirstReadComesFirst(t *testing.T) {
	for _, lines := range []int{3, 300} {
		for _, full := range []bool{true, false} {
			h := newHost(t, File{Path: "a.log"}).start().looks(1)
			w := &writer{host: h, name: "a.log"}
			w.lines(40)
			h.looks(1)
			w.rotateByCopy(9)
			h.looks(1)
			w.lines(lines)
			w.shift(9)
			text := ""
			if full {
				text = h.text("a.log")
			}
			h.write("a.log.1", text)
			h.beforeReading("a.log", 1, func() {
				h.write("a.log.1", h.text("a.log")[len(text):])
				h.truncate("a.log")
				w.lines(lines)
			})
			h.looks(8)
			w.check()
		}
	}
}

// The original was let past an empty copy, and held nothing when it was read. The
// next copies wait for the first one all the same.
func TestCopiesWaitForOneThatTheOriginalPassed(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(40)
	h.looks(1)
	w.rotateByCopy(99)
	w.lines(40)
	w.shift(99)
	h.write("a.log.1", "")
	h.beforeReading("a.log", 1, func() {
		h.write("a.log.1", h.text("a.log"))
		h.truncate("a.log")
	})
	h.looks(2)
	for range 3 {
		w.lines(40)
		w.rotateByCopy(99)
	}
	w.lines(1)
	h.looks(8)
	w.check()
}

// A copy is made of what nobody has read, and nothing is truncated: the original
// does not wait for ever, and the copy is not read beside it, after a start neither.
func TestACopyOfAnUnreadFileThatIsNotTruncated(t *testing.T) {
	for _, restart := range []bool{false, true} {
		h := newHost(t, File{Path: "a.log"}).start().looks(1)
		w := &writer{host: h, name: "a.log"}
		w.lines(400)
		h.looks(1)
		if restart {
			h.stop()
		}
		h.truncate("a.log")
		w.lines(300)
		h.write("a.log.1", h.text("a.log"))
		if restart {
			h.start()
		}
		h.looks(3)
		w.check()
		h.looks(20)
		w.lines(3)
		w.rotateByCopy(4)
		w.lines(1)
		h.looks(20)
		w.check()
	}
}

// Two files that hold the same are no copies if the rotated one is the older.
func TestEqualFilesOfARenameRotationAreBothRead(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(300)
	w.rotate(9)
	h.must(os.Chtimes(h.path("a.log.1"), h.now.Add(-time.Hour), h.now.Add(-time.Hour)))
	h.write("a.log", h.text("a.log.1"))
	w.want = append(w.want, w.want...)
	h.looks(3)
	w.check()
}

// A copy grows, and its original is truncated, while the two are compared.
func TestACopyThatGrowsWhileItIsCompared(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(1)
	h.looks(1)
	w.lines(2)
	h.looks(1)
	text := h.text("a.log")
	h.beforeReading("a.log.1", 1, func() {
		h.write("a.log.1", text[20:])
		h.truncate("a.log")
		w.lines(1)
	})
	h.write("a.log.1", text[:20])
	h.looks(8)
	w.check()
}
