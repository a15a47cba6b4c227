package tail

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestIdleFilesAreClosedAboveTheBudget(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start()
	h.budget = 10
	h.looks(1)
	var want []string
	for round := range 3 {
		for i := range 35 {
			line := fmt.Sprintf("%d of %02d", round, i)
			h.write(fmt.Sprintf("%02d.log", i), line+"\n")
			want = append(want, line)
		}
		h.looks(2)
		if h.opened > h.budget {
			t.Errorf("%d files are open, allowed are %d", h.opened, h.budget)
		}
	}
	got := h.spool.text()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines, want %d", len(got), len(want))
	}
}

// One file that never ends being written, and 200 that get a line now and then:
// these wait for one turn of the loud one at most, which is one chunk, and have
// one each; the loud one waits for one turn of each of them. Also where more files
// are followed than may be open.
func TestALoudFileDelaysQuietOnesByOneTurn(t *testing.T) {
	for _, budget := range []int{1 << 16, 20} {
		for _, join := range []string{"none", "auto"} {
			h := newHost(t, File{Path: "*.log", Start: "beginning", Multiline: join})
			h.start()
			h.budget, h.chunk = budget, 4<<10
			feed := strings.Repeat(strings.Repeat("x", 99)+"\n", 100) // more than a chunk, and not a whole number of them
			h.write("loud.log", feed)
			turns, seen := 0, map[string]int{} // of the loud one; lines of the others
			out := sinkFunc(func(_ context.Context, b *signal.Batch) error {
				for l := range b.LinesIn(0, b.Len()) {
					if what := string(l.Text); strings.HasPrefix(what, "Quiet") {
						seen[what]++
					} else if l.Index == 0 {
						turns++
					}
				}
				h.write("loud.log", feed) // before the tailer can have seen its end
				return nil
			})
			for round := range 20 {
				for i := range 200 {
					h.write(fmt.Sprint(i, ".log"), fmt.Sprint("Quiet ", round, "\n"))
				}
				turns = 0
				if more, err := h.step(t.Context(), h.now, out); err != nil || !more {
					t.Fatalf("round %d: %v, more %v", round, err, more)
				}
				whole := round
				if join == "auto" {
					whole-- // the next line tells that this one is a record
				}
				if n := seen[fmt.Sprint("Quiet ", whole)]; round > 1 && (n != 200 || turns != 1) { // at first they are looked for
					t.Fatalf("budget %d, join %s, round %d: lines of %d quiet files, %d turns of the loud one", budget, join, round, n, turns)
				}
			}
			if h.looks(3); h.opened > budget { // what is pending goes out first
				t.Errorf("join %s: %d files are open, allowed are %d", join, h.opened, budget)
			}
		}
	}
}

func TestALoudFileDoesNotStarveAQuietOne(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start().looks(1)
	h.write("a.log", strings.Repeat(strings.Repeat("x", 99)+"\n", 100_000)) // 40 chunks
	h.write("b.log", "quiet\n")
	h.now = h.now.Add(time.Second)
	for range 2 {
		if _, err := h.step(t.Context(), h.now, h.spool); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Contains(h.spool.text(), "quiet") {
		t.Error("the quiet file waits for the loud one")
	}
	for _, b := range h.spool.frames {
		if b.Len() > batchLines {
			t.Errorf("a batch of %d lines", b.Len())
		}
	}
	h.looks(1)
	if n := h.Stats().Lines.Load(); n != 100_001 {
		t.Errorf("%d lines", n)
	}
}
