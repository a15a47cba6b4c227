package tail

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// duringListing makes f run between the listing of a folder and the looks at its
// files, the next n times.
func (h *host) duringListing(n int, f func()) {
	h.find.listed = func(string) {
		if n--; n >= 0 {
			f()
		}
	}
}

func TestARotationWhileTheFolderIsListed(t *testing.T) {
	for _, watched := range []bool{true, false} {
		for _, restart := range []bool{true, false} {
			for _, times := range []int{1, 2, 5, 9} {
				t.Run(fmt.Sprintf("watched=%v,restart=%v,times=%d", watched, restart, times), func(t *testing.T) {
					h := newHost(t, File{Path: "a.log"}).start()
					if !watched {
						h.unwatched()
					}
					w := &writer{host: h, name: "a.log"}
					h.looks(1)
					w.lines(3)
					h.looks(1)
					w.lines(3)
					if restart {
						h.stop()
						if h.start(); !watched {
							h.unwatched()
						}
					} else {
						w.rotate(20)
						w.lines(1)
					}
					h.duringListing(times, func() {
						w.lines(2)
						w.rotate(20)
						w.lines(2)
					})
					h.looks(3)
					w.check()
					h.looks(20)
					w.check()
				})
			}
		}
	}
}

// Files that were deleted one after another before the place of any was certain are
// read in the order in which they were there, whatever their times say.
func TestFilesThatWereDeletedKeepTheirOrder(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(3)
	h.looks(1)
	at := h.now
	h.duringListing(6, func() {
		w.remove("a.log")
		w.lines(2)
		at = at.Add(-time.Hour)
		h.must(os.Chtimes(h.path("a.log"), at, at))
	})
	w.write("other", "")
	h.looks(20)
	w.check()
}

// What a copy holds of lines that were not read before the truncation comes
// before what was written after it.
func TestTheRestOfACopyComesBeforeTheNewLines(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		for _, lines := range []int{3, 60, 300} {
			w.lines(lines)
			h.looks(1)
			w.lines(7)
			w.rotateByCopy(9)
			w.lines(5)
			h.looks(2)
			w.check()
		}
	})
}

// A file of which it is not yet known where it goes on holds up the younger ones
// of its family.
func TestACopyThatIsNotDecidedHoldsUpItsOriginal(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(300)
	h.looks(1).stop()
	w.lines(10)
	text, err := os.ReadFile(h.path("a.log"))
	h.must(err)
	h.write("a.log.1", string(text[:len(text)/3]))
	h.must(os.Truncate(h.path("a.log"), 0))
	w.lines(3)
	h.start().looks(2)
	h.write("a.log.1", string(text[len(text)/3:]))
	h.looks(10)
	w.check()
}

// A file that cannot be read, or repeats another one, holds up nobody for ever.
func TestNothingWaitsForWhatNeverComes(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(300)
	h.looks(1)
	text, err := os.ReadFile(h.path("a.log"))
	h.must(err)
	h.write("a.log-20261122", string(text)) // someone keeps a copy, and truncates nothing
	h.looks(1)
	w.rotate(3)
	w.lines(3)
	h.looks(2)
	w.check()
}

// The end of the older file was seen when the younger one was still empty.
func TestTheOlderFileIsAskedOnceMore(t *testing.T) {
	eachWay(t, func(t *testing.T, h *host) {
		w := &writer{host: h, name: "a.log"}
		w.lines(2)
		h.looks(1)
		w.rotate(3)
		h.looks(2)
		for range 5 { // both get lines between two looks
			w.n++
			line := fmt.Sprintf("a.log line %d", w.n)
			w.want = append(w.want, line)
			h.write("a.log.1", line+"\n")
		}
		w.lines(2)
		h.looks(1)
		w.check()
	})
}
