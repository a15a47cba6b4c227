package spool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// faultPlan lets calls [at, at+calls) fail.
type faultPlan struct {
	op    string // "": any
	at    int
	calls int
	err   error
	part  int // of a write, how many hundredths are written all the same
	n     int // calls so far
	hit   bool
}

func (p *faultPlan) fault(op, name string, n int) (int, error) {
	if p.op != "" && p.op != op {
		return n, nil
	}
	p.n++
	if p.n <= p.at || p.n > p.at+p.calls {
		return n, nil
	}
	p.hit = true
	return n * p.part / 100, p.err
}

// faultRun plays a fixed script on a disk that fails according to plan, ends it
// by Close or by kill, and judges what a healthy disk then gives back.
func faultRun(t *testing.T, plan *faultPlan, policy Policy, kill bool) {
	m := newMemFS()
	m.fault = plan.fault
	o := Options{SegmentBytes: 400, SyncEvery: -1, WhenFull: policy, FS: m, MemoryBytes: 2000}
	accepted := map[Seq]int{}
	handed := map[Seq]bool{}
	var twice int64
	next := func(l *Lane) (Seq, bool) {
		for {
			seq, frame, ok, err := l.TryNext()
			if err != nil {
				if !plan.hit || errors.Is(err, ErrClosed) {
					t.Fatal(err)
				}
				continue // the third time the place counts as damaged
			}
			if ok && !bytes.Equal(frame, frameOf(seq, 100)) {
				t.Fatalf("frame %d reads %.60q", seq, frame)
			}
			if ok && handed[seq] {
				twice += int64(itemsOf(seq))
			}
			if ok {
				handed[seq] = true
			}
			return seq, ok
		}
	}
	put := func(s *Spool) {
		seq := s.Newest() + 1
		ctx := t.Context()
		got, err := s.Append(ctx, frameOf(seq, 100), itemsOf(seq))
		if err != nil || got != seq {
			t.Fatalf("Append: %d, %v", got, err)
		}
		accepted[seq] = itemsOf(seq)
	}

	s, err := Open("/spool", o)
	for try := 0; err != nil && try < 200; try++ {
		s, err = Open("/spool", o) // an Open that fails leaves nothing behind
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Cursor("a", From{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 14 {
		put(s)
		switch i % 5 {
		case 1:
			if seq, ok := next(c.Live()); ok {
				done(t, c.Live(), seq)
			}
		case 2:
			next(c.Live())
			s.Sync()
		case 3:
			c.Split()
		case 4:
			time.Sleep(1100 * time.Millisecond)
			if seq, ok := next(c.Backlog()); ok {
				done(t, c.Backlog(), seq)
			}
		}
		balanced(t, c)
	}
	inMemory := s.Stats().MemoryFrames > 0
	var closeErr error
	if kill {
		s.closed.Store(true)
		close(s.quit)
		s.done.Wait()
		m.kill()
	} else {
		closeErr = s.Close()
	}

	// Where not even HEAD or the cursor's file could be written, nobody can know
	// what was in memory only.
	in := inspector{fs: m.clone(), dir: "/spool"}
	known, _ := in.head()
	headless := known.head != s.head || m.names["/spool/a.cur"] == nil

	m.fault = nil
	s, err = Open("/spool", o)
	if err != nil {
		t.Fatalf("Open on a disk that has recovered: %v", err)
	}
	defer s.Close()
	c, err = s.Cursor("a", From{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	put(s)
	for _, l := range []*Lane{c.Backlog(), c.Live()} {
		for seq, ok := next(l); ok; seq, ok = next(l) {
			done(t, l, seq)
			balanced(t, c)
		}
	}
	l := balanced(t, c)
	if l.Waiting != 0 {
		t.Fatalf("drained, and yet %d items wait", l.Waiting)
	}
	var lost int64
	for seq, items := range accepted {
		if !handed[seq] {
			lost += int64(items)
		}
	}
	booked := l.Books.Items[Evicted] + l.Books.Items[Damaged]
	if lost > booked && !(headless && (inMemory || closeErr != nil)) {
		t.Fatalf("%d items are lost, but only %d are booked: %v", lost, booked, l.Books)
	}
	if lost > 0 && plan.op != "read" && plan.op != "open" && plan.op != "" && !inMemory && closeErr == nil {
		t.Fatalf("%d items are lost though the disk has taken all: %v", lost, l.Books)
	}
	if booked == 0 && !kill && l.Books.Twice > twice {
		t.Fatalf("%d items counted twice, of %d", l.Books.Twice, twice)
	}
}

// TestNoFaultLosesWhatWasAccepted lets each call of the script fail in turn, in
// each way, once and for a while.
func TestNoFaultLosesWhatWasAccepted(t *testing.T) {
	kinds := []struct {
		name  string
		plan  faultPlan
		calls []int
	}{
		{"EIO", faultPlan{err: syscall.EIO}, []int{1, 7}},
		{"ENOSPC", faultPlan{err: syscall.ENOSPC}, []int{1, 40}},
		{"EROFS", faultPlan{err: syscall.EROFS, op: "write"}, []int{100}},
		{"short write", faultPlan{err: syscall.ENOSPC, op: "write", part: 50}, []int{1, 9}},
		{"torn header", faultPlan{err: syscall.EIO, op: "write", part: 20}, []int{1}},
		{"whole write that says no", faultPlan{err: syscall.EIO, op: "write", part: 100}, []int{1, 5}},
		{"sync", faultPlan{err: syscall.EIO, op: "sync"}, []int{1, 50}},
		{"syncdir", faultPlan{err: syscall.EIO, op: "syncdir"}, []int{1, 50}},
		{"create", faultPlan{err: syscall.ENOSPC, op: "create"}, []int{1, 10}},
		{"open", faultPlan{err: syscall.EMFILE, op: "open"}, []int{1, 4}},
		{"remove", faultPlan{err: syscall.EIO, op: "remove"}, []int{1, 50}},
		{"rename", faultPlan{err: syscall.EIO, op: "rename"}, []int{1, 3}},
		{"read", faultPlan{err: syscall.EIO, op: "read"}, []int{1, 2, 3, 8}},
		{"truncate", faultPlan{err: syscall.EIO, op: "truncate"}, []int{5}},
	}
	for _, kind := range kinds {
		for _, calls := range kind.calls {
			for _, policy := range []Policy{DropOldest, Wait} {
				for _, kill := range []bool{false, true} {
					for at, hit := 0, true; hit; at++ {
						p := kind.plan
						p.at, p.calls = at, calls
						name := fmt.Sprintf("%s, %d calls from %d, policy %d, kill %v", kind.name, calls, at, policy, kill)
						ok := t.Run(name, func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) { faultRun(t, &p, policy, kill) })
						})
						if !ok {
							return
						}
						hit = p.hit
					}
				}
			}
		}
	}
}

func TestAFullDiskIsSaidAndSurvived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		s := open(t, "/spool", Options{FS: m, SegmentBytes: 500})
		c := cursor(t, s, "a", From{})
		put(t, s, 3)
		m.setRoom(50)
		put(t, s, 10)
		st := s.Stats()
		if st.MemoryFrames != 10 || st.Degraded == "" || st.WriteFailures == 0 {
			t.Fatalf("%+v", st)
		}
		for seq := Seq(1); seq <= 5; seq++ { // readers go on, from disk into memory
			take(t, c.Live(), seq)
			done(t, c.Live(), seq)
		}
		m.setRoom(-1)
		time.Sleep(2 * retryEvery)
		synctest.Wait()
		if st := s.Stats(); st.MemoryFrames != 0 || st.Degraded != "" || st.Newest.IsZero() {
			t.Fatalf("%+v", st)
		}
		m.kill() // what was in memory is on disk
		s.closed.Store(true)
		close(s.quit)
		s = open(t, "/spool", Options{FS: m, SegmentBytes: 500})
		c = cursor(t, s, "a", From{})
		for seq := Seq(6); seq <= 13; seq++ {
			take(t, c.Live(), seq)
			done(t, c.Live(), seq)
		}
		if l := balanced(t, c); l.Waiting != 0 || l.Books.Items[Sent] != l.In {
			t.Fatalf("%+v", l)
		}
	})
}

func TestFramesThatDieInMemoryAreBooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		s := open(t, "/spool", Options{FS: m})
		c := cursor(t, s, "a", From{})
		put(t, s, 3)
		m.setRoom(0)
		put(t, s, 4)
		in := c.Lag().In
		m.kill()
		s.closed.Store(true)
		close(s.quit)
		m.setRoom(-1)
		s = open(t, "/spool", Options{FS: m})
		c = cursor(t, s, "a", From{})
		take(t, c.Live(), 1, 2, 3)
		takeNone(t, c.Live())
		done(t, c.Live(), 1, 2, 3)
		var want int64
		for seq := Seq(4); seq <= 7; seq++ {
			want += int64(itemsOf(seq))
		}
		if l := balanced(t, c); l.In != in || l.Books.Items[Damaged] != want || l.Waiting != 0 {
			t.Fatalf("%+v, want %d damaged of %d", l, want, in)
		}
		if seq, err := s.Append(t.Context(), frameOf(8, 100), itemsOf(8)); err != nil || seq != 8 {
			t.Fatalf("the number of a lost frame is given out again: %d, %v", seq, err)
		}
	})
}

func TestMemoryGivesUpTheOldestOrWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		s := open(t, "/spool", Options{FS: m, MemoryBytes: 350})
		c := cursor(t, s, "a", From{})
		put(t, s, 2)
		m.fault = (&faultPlan{op: "write", calls: 1 << 30, err: syscall.EROFS}).fault
		put(t, s, 6) // three stay
		take(t, c.Live(), 1, 2, 6, 7, 8)
		done(t, c.Live(), 1, 2, 6, 7, 8)
		want := int64(itemsOf(3) + itemsOf(4) + itemsOf(5))
		if l := balanced(t, c); l.Books.Items[Evicted] != want || l.Waiting != 0 {
			t.Fatalf("%+v", l)
		}

		s.SetOptions(Options{WhenFull: Wait, SyncEvery: -1})
		put(t, s, 3) // what the cursor is past makes room
		full := make(chan error)
		go func() {
			_, err := s.Append(t.Context(), frameOf(12, 100), itemsOf(12))
			full <- err
		}()
		synctest.Wait()
		select {
		case err := <-full:
			t.Fatalf("Append does not wait: %v", err)
		default:
		}
		take(t, c.Live(), 9)
		done(t, c.Live(), 9)
		if err := <-full; err != nil {
			t.Fatal(err)
		}
		take(t, c.Live(), 10, 11, 12)
		balanced(t, c)
	})
}

// TestWhatMemoryGaveUpIsEvictedForThoseBehind: a cursor that still reads from
// disk meets the hole later, and by then it may be another process.
func TestWhatMemoryGaveUpIsEvictedForThoseBehind(t *testing.T) {
	for i := range 4 {
		// Whether the header of a new segment can be written, though no record can.
		reopen, headers := i&1 != 0, i&2 != 0
		synctest.Test(t, func(t *testing.T) {
			m := newMemFS()
			s := open(t, "/spool", Options{FS: m, MemoryBytes: 350})
			c := cursor(t, s, "a", From{})
			put(t, s, 2)
			m.mu.Lock()
			m.fault = func(op, name string, n int) (int, error) {
				if op == "write" && !(headers && n == headLen) {
					return 0, syscall.EROFS
				}
				return n, nil
			}
			m.mu.Unlock()
			put(t, s, 6) // three stay
			time.Sleep(2 * retryEvery)
			synctest.Wait()
			m.mu.Lock()
			m.fault = nil
			m.mu.Unlock()
			time.Sleep(2 * retryEvery)
			synctest.Wait()
			if reopen {
				killed(s, m)
				s = open(t, "/spool", Options{FS: m})
				c = cursor(t, s, "a", From{})
			}
			take(t, c.Live(), 1, 2, 6, 7, 8)
			done(t, c.Live(), 1, 2, 6, 7, 8)
			want := int64(itemsOf(3) + itemsOf(4) + itemsOf(5))
			if l := balanced(t, c); l.Books.Items[Evicted] != want || l.Waiting != 0 {
				t.Fatalf("reopen %v: %+v", reopen, l)
			}
		})
	}
}

func TestOnAFullDiskTheOldestSegmentMakesRoom(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m, MemoryBytes: 250, SegmentBytes: 500})
	c := cursor(t, s, "a", From{})
	put(t, s, 9) // three segments
	m.setRoom(0)
	put(t, s, 3) // which fit into one
	if st := s.Stats(); st.Degraded != "" || st.MemoryFrames != 0 || st.EvictedBytes == 0 {
		t.Fatalf("%+v", st)
	}
	take(t, c.Live(), 4, 5, 6, 7, 8, 9, 10, 11, 12)
	if l := balanced(t, c); l.Books.Items[Evicted] != itemsIn([]Seq{1, 2, 3}) {
		t.Fatalf("%+v", l)
	}
}

func TestAFailedSyncIsToldAndLeavesTheSegment(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m})
	put(t, s, 1)
	m.fault = (&faultPlan{op: "sync", calls: 1, err: syscall.EIO}).fault
	if err := s.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("%v", err)
	}
	m.fault = nil
	put(t, s, 1)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	if st.SyncFailures != 1 || st.Segments != 2 {
		t.Fatalf("%+v", st)
	}
	var got []Seq
	s.Scan(0, func(seq Seq, _ []byte) error { got = append(got, seq); return nil })
	if !slices.Equal(got, []Seq{1, 2}) {
		t.Fatalf("scan finds %v", got)
	}
}
