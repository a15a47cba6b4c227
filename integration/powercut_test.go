package integration

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// photo is what the data directory held at one moment.
type photo struct {
	files map[string][]byte // all but segments, by path
	sizes map[string]int64  // segments
	in    int64             // log lines in the spool by then, at least
}

// camera takes photos of a data directory, and knows which of them a disk would
// still hold after a power cut now: one is safe when a whole sync began and ended
// after it. The spool writes its HEAD at the end of each sync, so two changes of
// that file enclose one.
type camera struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex
	safe   *photo // guarded by mu; nil: none yet
	recent *photo // guarded by mu; one sync ended after it, maybe not a whole one
	head   time.Time
	taken  int
}

func newCamera(n *Node) *camera {
	ctx, stop := context.WithCancel(n.Context())
	c := &camera{stop: stop}
	c.done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			c.look(n)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	n.Cleanup(c.end)
	return c
}

func (c *camera) end() {
	c.stop()
	c.done.Wait()
}

func (c *camera) look(n *Node) {
	info, err := os.Stat(filepath.Join(n.Data, "spool", "log", "HEAD"))
	if err != nil || info.ModTime().Equal(c.head) {
		return
	}
	c.head = info.ModTime()
	p := &photo{files: map[string][]byte{}, sizes: map[string]int64{}}
	if l, err := n.Ledger(); err == nil {
		p.in = l.Kinds["log"].In
	}
	// Cursors and offsets first: they must not know of more than the segments.
	_ = filepath.WalkDir(n.Data, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Ext(path) != ".seg" && d.Name() != "LOCK" {
			if text, err := os.ReadFile(path); err == nil {
				p.files[path] = text
			}
		}
		return nil // what is gone meanwhile is not in the photo
	})
	_ = filepath.WalkDir(n.Data, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".seg" {
			if info, err := d.Info(); err == nil {
				p.sizes[path] = info.Size()
			}
		}
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken++
	c.safe, c.recent = c.recent, p
}

// A power cut, after the kernel has been told to keep nothing that was not
// synced: the segments lose any part of what came behind the safe photo, or keep
// its length and lose its bytes, or vanish if they are younger; the small files
// are those of the photo, or newer ones where that is allowed.
func (c *camera) cutPower(t *testing.T, n *Node, rng *rand.Rand) (*photo, bool) {
	t.Helper()
	c.mu.Lock()
	p := c.safe
	c.mu.Unlock()
	if p == nil {
		return nil, false
	}
	segs, err := filepath.Glob(filepath.Join(n.Data, "spool", "*", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(segs)
	for _, path := range segs {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		kept, old := p.sizes[path]
		if !old && rng.IntN(2) == 0 {
			must(t, os.Remove(path))
			continue
		}
		lose := info.Size() - kept
		if lose <= 0 {
			continue
		}
		to := kept + rng.Int64N(lose+1)
		must(t, os.Truncate(path, to))
		if rng.IntN(3) == 0 { // the length reached the disk, and the bytes did not
			must(t, os.Truncate(path, info.Size()))
		}
	}
	for path, text := range p.files {
		name := filepath.Base(path)
		if name != "offsets" && rng.IntN(2) == 0 && strings.Contains(path, "spool") {
			continue // a cursor that was written later, and reached the disk by itself
		}
		must(t, os.WriteFile(path, text, 0o600))
	}
	if _, had := p.files[filepath.Join(n.Data, "tail", "offsets")]; !had {
		_ = os.Remove(filepath.Join(n.Data, "tail", "offsets"))
	}
	return p, true
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the files still hold is read again: no line is lost to a power cut. Lines
// that were not synced may come twice, since nobody remembers that they came.
func TestPowerCutLosesNothingThatTheFilesHold(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(21, 1))
	n, v := node(t), NewVendor(t)
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "in_flight: 2")}, Host: time.Second, Spool: "sync: 50ms"}))
	first := watching(n, "a")
	l := newLoad(t, n, 20, rng)
	l.writers = append(l.writers, first)
	cuts, again := either(25, 200), int64(0)
	for done := 0; done < cuts; {
		n.Start()
		audit, c := Audit(n), newCamera(n)
		pause(t, time.Duration(200+rng.IntN(1300))*time.Millisecond)
		was := int64(0)
		if ledger, err := n.Ledger(); err == nil {
			was = ledger.Kinds["log"].In
		}
		n.Kill()
		c.end()
		audit.Close(t) // its memory of counts ends with the power
		if p, ok := c.cutPower(t, n, rng); ok {
			done++
			again += was - p.in
		}
	}
	l.end()
	n.Start()
	audit := Audit(n)
	total := sum(l.writers...)
	row := n.Settled(2*time.Minute, "a", "log", total)
	d := Judge(v, l.writers...)
	if d.Lost != 0 || d.Foreign != 0 {
		t.Errorf("after %d power cuts: %v", cuts, d)
	}
	// What was spooled between the photo and the kill is the most that can come
	// again; what was appended after the last look at the ledger is not in it.
	if again += int64(cuts) * 1000; d.Visible > again {
		t.Errorf("%d lines came again, and at most %d were not synced", d.Visible, again)
	}
	audit.Close(t)
	t.Logf("%d power cuts: %v; not synced: at most %d lines; the ledger: %+v", cuts, d, again, row)
}

// The offsets of log files are synced by themselves. They must never know of
// lines that the spool has not synced before: a power cut would take those lines
// from the spool, and nobody would read them again.
func TestOffsetsNeverKnowMoreThanTheSyncedSpool(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	v.Close()
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")}, Spool: "sync: 1h"})) // only who must syncs
	head, offsets := filepath.Join(n.Data, "spool", "log", "HEAD"), filepath.Join(n.Data, "tail", "offsets")
	// A file's time is that of the kernel's last tick, which may lie before a
	// time.Now() that was asked for first: only two of them can be compared.
	written := func(path string) (at time.Time) {
		if info, err := os.Stat(path); err == nil {
			at = info.ModTime()
		}
		return at
	}
	n.Start()
	w := NewWriter(t, n.Logs, "w")
	for range either(5, 50) {
		sizes := map[string]int64{} // what is synced, at least
		segs, err := filepath.Glob(filepath.Join(n.Data, "spool", "log", "*.seg"))
		must(t, err)
		for _, path := range segs {
			info, err := os.Stat(path)
			must(t, err)
			sizes[path] = info.Size()
		}
		headWas, offsetsWas := written(head), written(offsets)
		w.Write(500)
		n.Eventually(largest, "the lines are spooled", func() bool {
			l, err := n.Ledger()
			return err == nil && l.Kinds["log"].In == w.Written()
		})
		// The offsets are written once a second, if they changed: a second and a
		// half from here they know of the lines, if they ever will.
		spooled := time.Now()
		n.Eventually(largest, "the offsets are written", func() bool {
			return !written(offsets).Equal(offsetsWas) && time.Since(spooled) > 1500*time.Millisecond
		})
		n.Kill()
		if written(head).Equal(headWas) { // no sync has ended since
			segs, err := filepath.Glob(filepath.Join(n.Data, "spool", "log", "*.seg"))
			must(t, err)
			for _, path := range segs {
				must(t, os.Truncate(path, sizes[path]))
			}
		}
		n.Start()
	}
	v.Open()
	n.Settled(2*largest, "a", "log", w.Written())
	Judge(v, w).Flawless(t)
}
