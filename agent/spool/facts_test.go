package spool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// killed ends the process that has s, without Close.
func killed(s *Spool, m *memFS) {
	s.closed.Store(true)
	close(s.quit)
	s.done.Wait()
	m.kill()
}

func TestSplitGivesTheLiveLaneWhatComesNow(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m})
	c := cursor(t, s, "a", From{})
	if c.Split() {
		t.Fatal("split of nothing")
	}
	put(t, s, 4)
	take(t, c.Live(), 1)
	if !c.Split() {
		t.Fatal("no split")
	}
	takeNone(t, c.Live())
	put(t, s, 2)
	take(t, c.Live(), 5)
	take(t, c.Backlog(), 2, 3)
	done(t, c.Live(), 5, 3, 1)
	if !c.Split() {
		t.Fatal("no second split")
	}
	if l := balanced(t, c); l.Ranges != 3 || l.Frames != 3 {
		t.Fatalf("%+v", l)
	}
	killed(s, m)

	s = open(t, "/spool", Options{FS: m})
	c = cursor(t, s, "a", From{})
	put(t, s, 1)
	take(t, c.Live(), 7)
	take(t, c.Backlog(), 2, 3, 4, 6) // 3 was done, but 2 before it was not
	takeNone(t, c.Backlog())
	done(t, c.Backlog(), 6, 7, 4, 3, 2)
	if l := balanced(t, c); l.Ranges != 1 || l.Waiting != 0 || l.Books.Twice != itemsIn([]Seq{2, 3}) {
		t.Fatalf("%+v", l)
	}
	for range 20 {
		put(t, s, 1)
		c.Split()
	}
	if l := balanced(t, c); l.Ranges != maxSpans {
		t.Fatalf("%d ranges", l.Ranges)
	}
}

func TestASplitWakesTheBacklogLane(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	c := cursor(t, s, "a", From{})
	put(t, s, 1)
	got := make(chan Seq)
	go func() {
		seq, _, err := c.Backlog().Next(context.Background())
		if err != nil {
			t.Error(err)
		}
		got <- seq
	}()
	c.Split()
	if seq := <-got; seq != 1 {
		t.Fatalf("frame %d", seq)
	}
}

func TestDoneThatDoesNotAddUpIsABug(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	c := cursor(t, s, "a", From{})
	put(t, s, 4)
	take(t, c.Live(), 1, 2, 3, 4)
	f := func(seq Seq, sent, filtered int64) {
		t.Helper()
		var b Books
		b.Items[Sent], b.Items[Filtered] = sent, filtered
		if err := c.Live().Done(seq, b); err == nil || !strings.HasPrefix(err.Error(), "BUG") {
			t.Fatalf("frame %d: %v", seq, err)
		}
		balanced(t, c)
	}
	f(1, 0, 0)  // one item unaccounted for
	f(2, 2, 1)  // one too many
	f(3, 4, -1) // adds up, and yet
	f(1, 1, 0)  // done before
	f(9, 1, 0)  // never handed out
	done(t, c.Live(), 4)
	if l := balanced(t, c); l.Books.Items[Damaged] != 1+2+3 || l.Books.Items[Sent] != 4 {
		t.Fatalf("%+v", l)
	}
}

// TestCursorsAreSyncedBeforeASegmentGoes: otherwise a power cut could bring back
// a cursor that needs it.
func TestCursorsAreSyncedBeforeASegmentGoes(t *testing.T) {
	// f runs do, which makes segments go, on a spool whose cursor is past them.
	f := func(what string, maxBytes int64, do func(m *memFS, s *Spool)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			m := newMemFS()
			s := open(t, "/spool", Options{FS: m, SegmentBytes: 200, MaxBytes: maxBytes, WhenFull: Wait, Retain: time.Hour})
			c := cursor(t, s, "a", From{})
			put(t, s, 5)
			take(t, c.Live(), 1, 2, 3, 4, 5)
			done(t, c.Live(), 1, 2, 3, 4, 5)
			gone := 0
			m.mu.Lock()
			m.fault = func(op, name string, n int) (int, error) {
				if op == "remove" && name < segName(6) { // not one that could not be begun
					gone++
					if len(m.names["/spool/a.cur"].pending) > 0 {
						t.Errorf("%s: a segment goes before the cursor's place is safe", what)
					}
				}
				return n, nil
			}
			m.mu.Unlock()
			do(m, s)
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			m.fault = nil
			if gone == 0 {
				t.Fatalf("%s: no segment goes", what)
			}
		})
	}
	f("for want of room", 1000, func(_ *memFS, s *Spool) { put(t, s, 2) })
	f("on a full disk", 0, func(m *memFS, s *Spool) {
		m.setRoom(0)
		put(t, s, 1)
	})
	f("because nobody needs it", 0, func(_ *memFS, s *Spool) { s.SetOptions(Options{SyncEvery: -1}) })
	f("at a sync", 0, func(_ *memFS, s *Spool) {
		s.mu.Lock()
		s.o.Retain = 0
		s.mu.Unlock()
		s.Sync()
	})
}

func TestDropOldestBooksWhatNobodyWasHanded(t *testing.T) {
	m := newMemFS()
	o := Options{FS: m, SegmentBytes: 500, MaxBytes: 2000} // three frames to a segment
	s := open(t, "/spool", o)
	slow := cursor(t, s, "slow", From{})
	put(t, s, 2)
	seq, frame, _, _ := slow.Live().TryNext()
	copied := string(frame)
	fast := cursor(t, s, "fast", From{Oldest: true})
	for range 30 {
		put(t, s, 1)
		for {
			seq, _, ok, err := fast.Live().TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			done(t, fast.Live(), seq)
		}
		balanced(t, slow)
	}
	if l := balanced(t, fast); l.Waiting != 0 || l.Books.Items[Evicted] != 0 {
		t.Fatalf("the fast one pays for the slow one: %+v", l)
	}
	if string(frame) != copied {
		t.Fatal("a frame handed out has changed")
	}
	st := s.Stats()
	if st.Bytes > 2000 || st.EvictedBytes == 0 {
		t.Fatalf("%+v", st)
	}
	first := s.segs[0].first
	var lost int64
	for q := Seq(2); q < first; q++ {
		lost += int64(itemsOf(q))
	}
	if l := balanced(t, slow); l.Books.Items[Evicted] != lost {
		t.Fatalf("%+v, lost %d", l, lost)
	}
	take(t, slow.Live(), first)
	killed(s, m) // frame 1, in flight, is on disk no more
	if rep, err := inspect(m, "/spool", true); err != nil || len(rep.Damage) != 0 {
		t.Fatalf("verify takes for damage what was evicted: %+v, %v", rep.Damage, err)
	}

	s = open(t, "/spool", o)
	slow = cursor(t, s, "slow", From{})
	take(t, slow.Live(), first)
	if l := balanced(t, slow); l.Books.Items[Evicted] != lost+int64(itemsOf(seq)) || l.Books.Items[Damaged] != 0 || l.Books.Twice != int64(itemsOf(first)) {
		t.Fatalf("%+v", l)
	}
}

func TestWaitWaitsForTheSlowest(t *testing.T) {
	s := open(t, t.TempDir(), Options{SegmentBytes: 500, MaxBytes: 1000, WhenFull: Wait})
	put(t, s, 20) // nobody reads: the oldest go
	c := cursor(t, s, "a", From{})
	for s.Stats().Bytes+140 <= 1000 {
		put(t, s, 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := s.Newest()
	// What no cursor needs goes before anybody waits.
	for {
		if _, err := s.Append(ctx, frameOf(n+1, 100), itemsOf(n+1)); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
		n++
	}
	full := make(chan Seq)
	go func() {
		seq, err := s.Append(context.Background(), frameOf(n+1, 100), itemsOf(n+1))
		if err != nil {
			t.Error(err)
		}
		full <- seq
	}()
	for last := Seq(0); last <= n; {
		seq, _, err := c.Live().Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done(t, c.Live(), seq)
		balanced(t, c)
		last = seq
	}
	if seq := <-full; seq != n+1 {
		t.Fatalf("frame %d", seq)
	}
	if l := balanced(t, c); l.Books.Items[Evicted] != 0 {
		t.Fatalf("%+v", l)
	}
	if _, err := s.Append(t.Context(), make([]byte, 1000), 1); err == nil || !strings.Contains(err.Error(), "raise it") {
		t.Fatalf("a frame that can never fit: %v", err)
	}
	if _, err := s.Append(t.Context(), make([]byte, MaxFrame+1), 1); err == nil {
		t.Fatal("a frame above the limit passes")
	}
}

func TestAgeAndRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		var ahead atomic.Int64
		o := Options{FS: m, SegmentBytes: 200, MaxAge: time.Hour, WhenFull: Wait, Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}
		s := open(t, "/spool", o)
		c := cursor(t, s, "a", From{})
		put(t, s, 2)
		time.Sleep(50 * time.Minute)
		put(t, s, 1)
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		take(t, c.Live(), 3) // the others are older than an hour
		done(t, c.Live(), 3)
		if l := balanced(t, c); l.Books.Items[Evicted] != itemsIn([]Seq{1, 2}) {
			t.Fatalf("%+v", l)
		}

		ahead.Store(int64(24 * time.Hour)) // a clock that is wrong for a moment
		put(t, s, 1)
		ahead.Store(0)
		put(t, s, 1)
		time.Sleep(30 * time.Minute)
		put(t, s, 1)
		if l := balanced(t, c); l.Frames != 3 {
			t.Fatalf("%+v", l)
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		take(t, c.Live(), 6) // the one from the future goes with the one behind it
		done(t, c.Live(), 6)

		o.Retain, o.MaxAge = 2*time.Hour, 0
		s.SetOptions(o)
		put(t, s, 3)
		take(t, c.Live(), 7, 8, 9)
		done(t, c.Live(), 7, 8, 9)
		begin := time.Now()
		time.Sleep(time.Minute)
		put(t, s, 1)
		late := cursor(t, s, "late", From{At: begin.Add(-time.Second)})
		take(t, late.Live(), 7, 8, 9, 10)
		later := cursor(t, s, "later", From{At: begin.Add(time.Second)})
		take(t, later.Live(), 10)
		never := cursor(t, s, "never", From{At: begin.Add(time.Hour)})
		takeNone(t, never.Live())
		done(t, late.Live(), 7, 8, 9, 10)
		done(t, later.Live(), 10)
		take(t, c.Live(), 10)
		done(t, c.Live(), 10)
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := s.Stats(); st.Segments < 4 {
			t.Fatalf("%d segments are kept of what is younger than Retain", st.Segments)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := s.Stats(); st.Segments != 1 {
			t.Fatalf("%d segments are kept beyond Retain", st.Segments)
		}
	})
}

func TestForgetBooksWhatWasWaiting(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{SegmentBytes: 500})
	c := cursor(t, s, "a", From{})
	put(t, s, 10)
	take(t, c.Live(), 1, 2)
	done(t, c.Live(), 2)
	books, in, err := s.Forget("a")
	if err != nil || in != 20 || books.Sum() != in || books.Items[Sent] != 2 || books.Items[Evicted] != 18 {
		t.Fatalf("%v of %d, %v", books, in, err)
	}
	if _, _, err := c.Live().Next(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	if err := c.Live().Done(1, sent(1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("%v", err)
	}
	if _, _, err := s.Forget("a"); err == nil {
		t.Fatal("forgotten twice")
	}
	s.Close()
	s = open(t, dir, Options{})
	if got := s.Cursors(); len(got) != 0 {
		t.Fatalf("%q", got)
	}
}

func TestScanAndTailFindTheNewest(t *testing.T) {
	s := open(t, t.TempDir(), Options{SegmentBytes: 1000})
	if s.Tail(1000) != 0 {
		t.Fatal("an empty spool has a tail")
	}
	put(t, s, 40)
	scan := func(after Seq) (got []Seq) {
		t.Helper()
		err := s.Scan(after, func(seq Seq, frame []byte) error {
			if string(frame) != string(frameOf(seq, 100)) {
				t.Fatalf("frame %d reads %.40q", seq, frame)
			}
			got = append(got, seq)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, after := range []Seq{0, 1, 6, 7, 8, 39, 40, 41} {
		var want []Seq
		for seq := after + 1; seq <= 40; seq++ {
			want = append(want, seq)
		}
		if got := scan(after); !slices.Equal(got, want) {
			t.Fatalf("behind %d: %v", after, got)
		}
	}
	for _, bytes := range []int64{0, 100, 140, 500, 1500, 3000, 1 << 30} {
		n := int64(len(scan(s.Tail(bytes))))
		if n*140 > bytes || n < 40 && (n+2)*140+3*headLen*(bytes/1000+1) < bytes {
			t.Fatalf("the last %d bytes are %d frames", bytes, n)
		}
	}
	stop := errors.New("stop")
	if err := s.Scan(0, func(Seq, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("%v", err)
	}
}

func TestADiskThatCannotBeReadNowIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemFS()
		s := open(t, "/spool", Options{FS: m, SegmentBytes: 200})
		c := cursor(t, s, "a", From{})
		put(t, s, 3)
		m.mu.Lock()
		m.fault = (&faultPlan{op: "open", calls: 5, err: syscall.EMFILE}).fault
		m.mu.Unlock()
		for want := Seq(1); want <= 3; want++ {
			seq, _, err := c.Live().Next(t.Context())
			if err != nil || seq != want {
				t.Fatalf("%d, %v; want %d", seq, err, want)
			}
			done(t, c.Live(), seq)
		}
		if l, st := balanced(t, c), s.Stats(); l.Books.Items[Damaged] != 0 || st.ReadFailures == 0 {
			t.Fatalf("%+v, %+v", l, st)
		}
	})
}

func TestLagKnowsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "/spool", Options{FS: newMemFS()})
		c := cursor(t, s, "a", From{})
		var at []time.Time
		for range 3 {
			at = append(at, time.Now())
			put(t, s, 1)
			time.Sleep(time.Minute)
		}
		f := func(want time.Time) {
			t.Helper()
			if l := c.Lag(); !l.Oldest.Equal(want) {
				t.Fatalf("oldest %v, want %v", l.Oldest, want)
			}
		}
		f(at[0])
		take(t, c.Live(), 1, 2)
		f(at[0])
		done(t, c.Live(), 1)
		f(at[1])
		done(t, c.Live(), 2)
		f(at[2])
		if l := c.Lag(); l.Bytes < 100 || l.Bytes > 200 {
			t.Fatalf("one frame of 140 bytes is estimated at %d", l.Bytes)
		}
		take(t, c.Live(), 3)
		done(t, c.Live(), 3)
		if l := c.Lag(); !l.Oldest.IsZero() || l.Bytes != 0 {
			t.Fatalf("%+v", l)
		}
	})
}

func TestCloseEndsAllWaiting(t *testing.T) {
	s := open(t, t.TempDir(), Options{SegmentBytes: 500, MaxBytes: 700, WhenFull: Wait})
	c := cursor(t, s, "a", From{})
	ends := make(chan error)
	go func() {
		_, _, err := c.Backlog().Next(context.Background())
		ends <- err
	}()
	go func() {
		for {
			if _, err := s.Append(context.Background(), make([]byte, 100), 1); err != nil {
				ends <- err
				return
			}
		}
	}()
	for !s.hungry.Load() {
		c.Lag()
	}
	s.Close()
	for range 2 {
		if err := <-ends; !errors.Is(err, ErrClosed) {
			t.Fatalf("%v", err)
		}
	}
}

// TestManyAtOnceLoseNothing is for the race detector: an appender, four
// cursors with two lanes each, splits, syncs and statistics.
func TestManyAtOnceLoseNothing(t *testing.T) {
	const frames = 3000
	s := open(t, t.TempDir(), Options{SegmentBytes: 20000, MaxBytes: 100000, WhenFull: Wait, SyncEvery: time.Millisecond})
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		c := cursor(t, s, name, From{})
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		seen := map[Seq]bool{}
		read := func(l *Lane) {
			for {
				seq, frame, err := l.Next(ctx)
				if err != nil {
					return
				}
				if string(frame) != string(frameOf(seq, 100)) {
					t.Errorf("frame %d reads %.40q", seq, frame)
				}
				mu.Lock()
				if seen[seq] {
					t.Errorf("frame %d is handed out twice", seq)
				}
				seen[seq] = true
				n := len(seen)
				mu.Unlock()
				if err := l.Done(seq, sent(seq)); err != nil {
					t.Error(err)
				}
				if seq%50 == 0 {
					c.Split()
					c.Lag()
					s.Stats()
				}
				if n == frames {
					cancel()
				}
			}
		}
		wg.Go(func() { read(c.Live()) })
		wg.Go(func() { read(c.Backlog()) })
	}
	put(t, s, frames)
	wg.Wait()
	for _, c := range s.allCursors() {
		if l := balanced(t, c); l.Waiting != 0 || l.Books.Items[Sent] != l.In || l.Books.Twice != 0 {
			t.Fatalf("%+v", l)
		}
	}
}

// TestEvictionRacesWithReaders is for the race detector too.
func TestEvictionRacesWithReaders(t *testing.T) {
	const frames = 3000
	s := open(t, t.TempDir(), Options{SegmentBytes: 2000, MaxBytes: 8000})
	c := cursor(t, s, "a", From{})
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for ended := false; ; {
			select {
			case <-end:
				ended = true
			default:
			}
			seq, frame, ok, err := c.Live().TryNext()
			if err != nil {
				t.Error(err)
				return
			}
			if !ok && ended {
				return
			}
			if ok {
				if string(frame) != string(frameOf(seq, 100)) {
					t.Errorf("frame %d reads %.40q", seq, frame)
				}
				if err := c.Live().Done(seq, sent(seq)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	put(t, s, frames)
	close(end)
	wg.Wait()
	if l := balanced(t, c); l.Waiting != 0 || l.Books.Items[Damaged] != 0 || l.Books.Items[Sent]+l.Books.Items[Evicted] != l.In {
		t.Fatalf("%+v", l)
	}
}

func TestFramesOfAllLengthsComeBack(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	c := cursor(t, s, "a", From{})
	var want [][]byte
	for i := range 600 {
		n := i * 7919 % 500
		switch {
		case i%50 == 0:
			n = i * 800
		case i%7 == 0:
			n = i * 50
		}
		frame := frameOf(Seq(i+1), n)
		want = append(want, frame)
		if _, err := s.Append(t.Context(), frame, 0); err != nil {
			t.Fatal(err)
		}
	}
	got := map[Seq][]byte{}
	for range want {
		seq, frame, ok, err := c.Live().TryNext()
		if err != nil || !ok || string(frame) != string(want[seq-1]) {
			t.Fatalf("frame %d reads %.40q, %v, %v", seq, frame, ok, err)
		}
		got[seq] = frame
		if seq > 20 { // not at once, and not in order
			old := seq - 20 + seq%3
			if got[old] != nil {
				if string(got[old]) != string(want[old-1]) {
					t.Fatalf("frame %d has changed while it was handed out", old)
				}
				if err := c.Live().Done(old, Books{}); err != nil {
					t.Fatal(err)
				}
				delete(got, old)
			}
		}
	}
	for seq, frame := range got {
		if string(frame) != string(want[seq-1]) {
			t.Fatalf("frame %d has changed while it was handed out", seq)
		}
	}
}

func TestNothingIsAllocatedPerFrame(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	c := cursor(t, s, "a", From{})
	frame := make([]byte, 1000)
	var b Books
	b.Items[Sent] = 1
	ctx := t.Context()
	round := func() {
		if _, err := s.Append(ctx, frame, 1); err != nil {
			t.Fatal(err)
		}
		seq, _, err := c.Live().Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Live().Done(seq, b); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		round()
	}
	// One chunk in 64 frames may be new, if the collector has emptied the pool.
	if n := testing.AllocsPerRun(1000, round); n >= 0.5 {
		t.Fatalf("%v allocations per frame", n)
	}
}
