package exporters

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// fakeQueue is a lane in memory.
type fakeQueue struct {
	mu     sync.Mutex
	frames [][]byte // by seq-1; guarded by mu
	next   int
	done   map[uint64]spool.Books
	more   chan struct{} // closed when a frame came
}

func newQueue() *fakeQueue {
	return &fakeQueue{done: map[uint64]spool.Books{}, more: make(chan struct{})}
}

func (q *fakeQueue) put(b *signal.Batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames = append(q.frames, signal.AppendFrame(nil, b))
	close(q.more)
	q.more = make(chan struct{})
}

func (q *fakeQueue) TryNext() (uint64, []byte, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == len(q.frames) {
		return 0, nil, false, nil
	}
	q.next++
	return uint64(q.next), q.frames[q.next-1], true, nil
}

func (q *fakeQueue) Next(ctx context.Context) (uint64, []byte, error) {
	for {
		q.mu.Lock()
		more := q.more
		q.mu.Unlock()
		if seq, f, ok, _ := q.TryNext(); ok {
			return seq, f, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}

func (q *fakeQueue) Done(seq uint64, b spool.Books) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, twice := q.done[seq]; twice {
		return fmt.Errorf("frame %d acknowledged twice", seq)
	}
	h, _ := signal.ParseHeader(q.frames[seq-1])
	if int64(h.Items) != b.Sum() {
		return fmt.Errorf("frame %d of %d items: %v", seq, h.Items, b)
	}
	q.done[seq] = b
	return nil
}

// books returns the sum of all that was acknowledged, and whether that is all.
func (q *fakeQueue) books() (total spool.Books, all bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.done {
		total.Add(b)
	}
	return total, len(q.done) == len(q.frames)
}

// fakeVendor takes numbered samples, 4 bytes each, and does as its script says.
type fakeVendor struct {
	lim         Limits
	unsupported func(id uint32) bool
	huge        func(id uint32) bool
	most        int // items Encode takes at once; 0: no limit
	send        func(ids []uint32) error

	mu   sync.Mutex
	took map[uint32]int // guarded by mu
}

func (v *fakeVendor) Name() string      { return "fake/metric" }
func (v *fakeVendor) Kind() signal.Kind { return signal.Metric }
func (v *fakeVendor) Limits() Limits    { return v.lim }

func (v *fakeVendor) Encode(dst []byte, b *signal.Batch, lo, hi int) ([]byte, int, int) {
	skipped, taken := 0, 0
	for i := lo; i < hi; i++ {
		id := uint32(b.Samples[i].Value)
		if v.huge != nil && v.huge(id) {
			return dst, i, skipped
		}
		if v.most > 0 && taken == v.most {
			return dst, i, skipped
		}
		if v.unsupported != nil && v.unsupported(id) {
			skipped++
			continue
		}
		dst = binary.LittleEndian.AppendUint32(dst, id)
		taken++
	}
	return dst, hi, skipped
}

func (v *fakeVendor) Send(_ context.Context, body []byte) error {
	var ids []uint32
	for ; len(body) > 0; body = body[4:] {
		ids = append(ids, binary.LittleEndian.Uint32(body))
	}
	if v.send != nil {
		return v.send(ids)
	}
	v.take(ids)
	return nil
}

func (v *fakeVendor) take(ids []uint32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.took == nil {
		v.took = map[uint32]int{}
	}
	for _, id := range ids {
		v.took[id]++
	}
}

// numbered makes a batch of samples with values from first on, at time at.
func numbered(first, n int, at time.Time) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	for i := range n {
		b.Add(signal.Sample{
			Series: signal.Intern(signal.Desc{Name: fmt.Sprint("m", (first+i)%7), Type: signal.Gauge}),
			Time:   at.UnixMilli(), Value: float64(first + i),
		})
	}
	return b
}

// run delivers what is in q until all of it is acknowledged, or for at most 1000 hours.
func run(t *testing.T, d *Delivery, q *fakeQueue) {
	t.Helper()
	d.Live, d.Log = q, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(t.Context(), 1000*time.Hour)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	for {
		synctest.Wait()
		if _, all := q.books(); all || ctx.Err() != nil {
			break
		}
		time.Sleep(time.Second) // of the bubble's clock
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The accounting law: whatever a vendor answers, every item ends in one fate,
// and what is booked as sent is what the vendor took.
func TestDeliveryAccountsForEveryItem(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex // for rng
			chance := func(percent int) bool {
				mu.Lock()
				defer mu.Unlock()
				return rng.IntN(100) < percent
			}
			bad := func(id uint32) bool { return id%97 == 13 }
			v := &fakeVendor{
				lim: Limits{
					Items: []int{0, 1, 10, 500}[rng.IntN(4)], Bytes: []int{0, 4, 100, 3000}[rng.IntN(4)], Packed: []int{0, 60, 900}[rng.IntN(3)],
					InFlight: 1 + rng.IntN(4), Ordered: rng.IntN(3) == 0,
					MaxAge: []time.Duration{0, time.Hour}[rng.IntN(2)],
				},
				most: []int{0, 3}[rng.IntN(2)],
				huge: func(id uint32) bool { return id%101 == 50 },
			}
			if seed%2 == 0 {
				v.unsupported = func(id uint32) bool { return id%31 == 7 }
			}
			v.send = func(ids []uint32) error {
				if chance(15) {
					return &Error{Class: Retry, Status: 503, Unsent: true, After: time.Second}
				}
				if chance(5) {
					return &Error{Class: Hold, Status: 403, Unsent: true}
				}
				if chance(5) {
					return errors.New("what is this")
				}
				refused := 0
				for _, id := range ids {
					if bad(id) {
						refused++
					}
				}
				if refused > 0 && chance(50) {
					return &Error{Class: Permanent, Status: 400}
				}
				if len(ids) > 1 && chance(5) {
					return &Error{Class: Permanent, Status: 413}
				}
				var good []uint32
				for _, id := range ids {
					if !bad(id) {
						good = append(good, id)
					}
				}
				if refused == 0 && len(ids) > 2 && chance(10) {
					v.take(ids[:1])
					v.take(ids[2:])
					return &Error{Class: Partial, Again: []Range{{1, 2}}}
				}
				v.take(good)
				if refused > 0 {
					return &Error{Class: Partial, Dropped: refused}
				}
				return nil
			}
			q := newQueue()
			total := 0
			for range 1 + rng.IntN(20) {
				n := rng.IntN(200)
				at := time.Now()
				if rng.IntN(5) == 0 {
					at = at.Add(-2 * time.Hour)
				}
				q.put(numbered(total, n, at))
				total += n
			}
			keep, err := signal.ParseMatch(`name != "m3"`)
			if err != nil {
				t.Fatal(err)
			}
			d := &Delivery{Exporter: v, Keep: keep}
			run(t, d, q)
			books, all := q.books()
			if !all || books.Sum() != int64(total) {
				t.Fatalf("seed %d: %v of %d items, all: %v", seed, books, total, all)
			}
			st := &d.Stats
			if sum := st.Sent.Load() + st.Filtered.Load() + st.TooOld.Load() + st.Refused.Load() + st.Oversize.Load() + st.Unsupported.Load(); sum != st.Taken.Load() || sum != int64(total) {
				t.Errorf("seed %d: taken %d, accounted for %d, put %d", seed, st.Taken.Load(), sum, total)
			}
			took, doubled := 0, 0
			for _, n := range v.took {
				took++
				doubled += n - 1
			}
			if int64(took) != books.Items[spool.Sent] {
				t.Errorf("seed %d: the vendor took %d, booked as sent %d", seed, took, books.Items[spool.Sent])
			}
			// A part that is sent again because the numbering of the body is
			// not ours (some were skipped) may double what was taken.
			if doubled > 0 && v.unsupported == nil {
				t.Errorf("seed %d: %d items arrived twice", seed, doubled)
			}
		})
	}
}

func TestEveryBodyFitsTheLimitsAndNothingIsDroppedForIt(t *testing.T) {
	for _, lim := range []Limits{{Bytes: 100}, {Packed: 60}, {Items: 7}, {Items: 50, Bytes: 100, Packed: 60}} {
		synctest.Test(t, func(t *testing.T) {
			v := &fakeVendor{lim: lim}
			v.send = func(ids []uint32) error {
				if n := 4 * len(ids); lim.Bytes > 0 && n > lim.Bytes || lim.Packed > 0 && n > lim.Packed || lim.Items > 0 && len(ids) > lim.Items {
					t.Errorf("%+v: a body of %d items", lim, len(ids))
				}
				v.take(ids)
				return nil
			}
			q := newQueue()
			q.put(numbered(0, 500, time.Now()))
			q.put(numbered(500, 500, time.Now()))
			run(t, &Delivery{Exporter: v}, q)
			if books, _ := q.books(); books.Items[spool.Sent] != 1000 || len(v.took) != 1000 {
				t.Errorf("%+v: %v", lim, books)
			}
		})
	}
}

func TestOnlyTheCulpritIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVendor{lim: Limits{Items: 1000}}
		v.send = func(ids []uint32) error {
			for _, id := range ids {
				if id == 337 {
					return &Error{Class: Permanent, Status: 400, Words: "337 is not a number we like"}
				}
			}
			v.take(ids)
			return nil
		}
		var buried []float64
		q := newQueue()
		q.put(numbered(0, 1000, time.Now()))
		d := &Delivery{Exporter: v, Bury: func(b *signal.Batch, e *Error) {
			for _, s := range b.Samples {
				buried = append(buried, s.Value)
			}
			if e.Words == "" {
				t.Error("buried without the vendor's words")
			}
		}}
		run(t, d, q)
		books, _ := q.books()
		if books.Items[spool.Sent] != 999 || books.Items[spool.Refused] != 1 || len(buried) != 1 || buried[0] != 337 {
			t.Errorf("books %v, buried %v", books, buried)
		}
		if n := d.Stats.Requests.Load(); n > 25 {
			t.Errorf("%d requests to find one of 1000", n)
		}
	})
}

func TestAVendorThatRefusesAllCostsABoundedNumberOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVendor{lim: Limits{Items: 1000}, send: func([]uint32) error { return &Error{Class: Permanent, Status: 400} }}
		q := newQueue()
		q.put(numbered(0, 1000, time.Now()))
		d := &Delivery{Exporter: v}
		run(t, d, q)
		if books, _ := q.books(); books.Items[spool.Refused] != 1000 || d.Stats.Requests.Load() > 2*mostRefusals {
			t.Errorf("%v after %d requests", books, d.Stats.Requests.Load())
		}
	})
}

func TestOneProbeWhileADestinationIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		under, most, tries := 0, 0, 0
		v := &fakeVendor{lim: Limits{Items: 10, InFlight: 8}}
		v.send = func(ids []uint32) error {
			mu.Lock()
			under++
			if time.Since(start) > time.Minute { // the first eight went out together, before anybody knew
				most = max(most, under)
				tries++
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			under--
			mu.Unlock()
			if time.Since(start) < 20*time.Minute {
				return &Error{Class: Retry, Status: 503, Unsent: true}
			}
			v.take(ids)
			return nil
		}
		q := newQueue()
		for i := range 40 {
			q.put(numbered(i*10, 10, start))
		}
		d := &Delivery{Exporter: v, Live: q, Log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(19 * time.Minute)
		if mu.Lock(); most != 1 || tries < 15 || tries > 200 {
			t.Errorf("%d requests at once, %d in 18 minutes", most, tries)
		}
		mu.Unlock()
		if state, words := d.Stats.State(); state != Retrying || words == "" {
			t.Errorf("state %q, %q", state, words)
		}
		time.Sleep(5 * time.Minute)
		if books, all := q.books(); !all || books.Items[spool.Sent] != 400 {
			t.Errorf("after recovery %v", books)
		}
		if state, _ := d.Stats.State(); state != OK {
			t.Errorf("state %q", state)
		}
		cancel()
		<-ended
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times []time.Time
		v := &fakeVendor{}
		v.send = func(ids []uint32) error {
			if times = append(times, time.Now()); len(times) == 1 {
				return &Error{Class: Retry, Status: 429, After: 42 * time.Second, Unsent: true}
			}
			v.take(ids)
			return nil
		}
		q := newQueue()
		q.put(numbered(0, 1, time.Now()))
		run(t, &Delivery{Exporter: v}, q)
		if len(times) != 2 || times[1].Sub(times[0]) < 42*time.Second || times[1].Sub(times[0]) > 44*time.Second {
			t.Errorf("asked at %v", times)
		}
	})
}

func TestWhatExpiresWhileWaitingIsBookedTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		v := &fakeVendor{lim: Limits{MaxAge: 10 * time.Minute}}
		v.send = func(ids []uint32) error {
			if time.Since(start) < 6*time.Minute {
				return &Error{Class: Retry, Status: 503, Unsent: true}
			}
			v.take(ids)
			return nil
		}
		q := newQueue()
		old := numbered(0, 3, start.Add(-5*time.Minute)) // expires 5 minutes from now
		mixed := numbered(3, 4, start)
		mixed.Samples[1].Time = start.Add(-5 * time.Minute).UnixMilli()
		q.put(old)
		q.put(mixed)
		q.put(numbered(100, 50, start.Add(-time.Hour))) // by its header alone
		run(t, &Delivery{Exporter: v}, q)
		books, _ := q.books()
		if books.Items[spool.TooOld] != 54 || books.Items[spool.Sent] != 3 || v.took[3] != 1 || v.took[4] != 0 {
			t.Errorf("%v, took %v", books, v.took)
		}
	})
}

func TestWhatIsTooFarAheadIsKeptAsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVendor{lim: Limits{Future: 10 * time.Minute, MaxAge: time.Hour}}
		b := numbered(0, 5, time.Now())
		b.Samples[1].Time = time.Now().Add(11 * time.Minute).UnixMilli()
		b.Samples[3].Time = time.Now().Add(-2 * time.Hour).UnixMilli()
		var buried []float64
		q := newQueue()
		q.put(b)
		run(t, &Delivery{Exporter: v, Bury: func(b *signal.Batch, e *Error) {
			for _, s := range b.Samples {
				buried = append(buried, s.Value)
			}
		}}, q)
		books, _ := q.books()
		if books.Items[spool.Sent] != 3 || books.Items[spool.Refused] != 1 || books.Items[spool.TooOld] != 1 || len(buried) != 1 || buried[0] != 1 {
			t.Errorf("%v, buried %v", books, buried)
		}
	})
}

func TestARequestUnderWayMayComeBackAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVendor{}
		started := make(chan bool)
		v.send = func(ids []uint32) error {
			close(started)
			time.Sleep(2 * time.Second)
			v.take(ids)
			return nil
		}
		q := newQueue()
		q.put(numbered(0, 5, time.Now()))
		ctx, cancel := context.WithCancel(t.Context())
		d := &Delivery{Exporter: v, Live: q}
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		<-started
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if books, all := q.books(); !all || books.Items[spool.Sent] != 5 {
			t.Errorf("%v", books)
		}
	})
}

// A vendor that wants order gets it, through failures too.
func TestAnOrderedVendorGetsItemsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []uint32
		n := 0
		v := &fakeVendor{lim: Limits{Ordered: true, InFlight: 8, Items: 7}}
		v.send = func(ids []uint32) error {
			if n++; n%3 == 0 {
				return &Error{Class: Retry, Status: 503, Unsent: true}
			}
			order = append(order, ids...)
			return nil
		}
		q := newQueue()
		for i := range 20 {
			q.put(numbered(i*10, 10, time.Now()))
		}
		run(t, &Delivery{Exporter: v}, q)
		if len(order) != 200 || !slices.IsSorted(order) {
			t.Errorf("%d items, in order: %v", len(order), slices.IsSorted(order))
		}
	})
}

func TestTwoLanesBothDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVendor{}
		live, past := newQueue(), newQueue()
		past.put(numbered(0, 10, time.Now()))
		live.put(numbered(10, 10, time.Now()))
		d := &Delivery{Exporter: v, Live: live, Backlog: past}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if len(v.took) != 20 {
			t.Errorf("took %d of 20", len(v.took))
		}
	})
}

// feedOf returns a Feed for so many deliveries that run.
func feedOf(keep, readers int) *Feed {
	f := NewFeed(keep)
	f.join(readers)
	return f
}

// reads asks for a frame and returns how many samples came, none where the frame,
// of which there is but a header, would have had to be decoded.
func reads(t *testing.T, f *Feed, seq uint64, frame []byte) int {
	t.Helper()
	var b signal.Batch
	var books spool.Books
	if f.decode(&b, nil, &books, seq, frame[:signal.HeaderSize]) != nil {
		return 0
	}
	for _, s := range b.Samples {
		if !s.Series.Valid() {
			t.Errorf("frame %d has samples of no series", seq)
		}
	}
	return len(b.Samples)
}

func TestAFeedDecodesOnce(t *testing.T) {
	f := feedOf(2, 3)
	frame := signal.AppendFrame(nil, numbered(0, 10, time.UnixMilli(1)))
	var a, b signal.Batch
	var books spool.Books
	if err := errors.Join(f.decode(&a, nil, &books, 1, frame), f.decode(&b, nil, &books, 1, []byte("never looked at... but for its header"))); err == nil {
		t.Error("a bad header passed")
	}
	bad := append([]byte(nil), frame[:signal.HeaderSize]...)
	if err := f.decode(&b, nil, &books, 1, bad); err != nil || len(b.Samples) != 10 || &a.Samples[0] == &b.Samples[0] {
		t.Errorf("%v, %d samples", err, len(b.Samples))
	}
	for seq := range uint64(5) {
		if err := f.decode(&a, nil, &books, 2+seq, frame); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.decode(&b, nil, &books, 1, bad); err == nil {
		t.Error("frame 1 was still remembered behind five others")
	}
}

// What the hub has just made need not be taken to pieces again.
func TestAFeedTakesWhatItIsOffered(t *testing.T) {
	f := feedOf(2, 1)
	batch := numbered(0, 10, time.UnixMilli(1))
	frame := signal.AppendFrame(nil, batch)
	f.Offer(1, batch)
	clear(batch.Samples) // its owner goes on with it
	if n := reads(t, f, 1, frame); n != 10 {
		t.Errorf("%d samples", n)
	}
	pooled := numbered(0, 10, time.UnixMilli(1))
	pooled.Pooled = true
	f.Offer(2, pooled)
	if pooled.Len() != 0 {
		t.Error("pooled samples have two owners")
	}
	if n := reads(t, f, 2, frame); n != 10 {
		t.Errorf("%d samples", n)
	}
}

// A frame is remembered for those who have yet to read it, and for nobody else.
func TestAFeedForgetsWhatAllHaveRead(t *testing.T) {
	frame := signal.AppendFrame(nil, numbered(0, 10, time.UnixMilli(1)))
	offer := func(f *Feed, seq uint64) { f.Offer(seq, numbered(0, 10, time.UnixMilli(1))) }
	f := feedOf(8, 2)
	offer(f, 1)
	offer(f, 2)
	for range 2 {
		if n := reads(t, f, 1, frame); n != 10 {
			t.Errorf("%d samples of frame 1", n)
		}
	}
	if reads(t, f, 2, frame) != 10 || len(f.frames) != 1 || f.frames[2] == nil {
		t.Errorf("%d frames are remembered, not frame 2 alone", len(f.frames))
	}
	// One delivery ended: the other has read frame 2, but that is seen at the next
	// frames only, and no later than keep of them.
	f.join(-1)
	for seq := range uint64(8) {
		offer(f, 3+seq)
	}
	if len(f.frames) > 8 {
		t.Errorf("%d frames are remembered, not 8", len(f.frames))
	}
	// A delivery that woke before the offer came has decoded the frame by itself.
	late := feedOf(8, 1)
	var b signal.Batch
	var books spool.Books
	if err := late.decode(&b, nil, &books, 5, frame); err != nil {
		t.Fatal(err)
	}
	offer(late, 5)
	if len(late.frames) != 0 {
		t.Error("a frame that was read already is kept")
	}
	nobody := feedOf(8, 0)
	offer(nobody, 1)
	if len(nobody.frames) != 0 {
		t.Error("a frame is kept though no delivery runs")
	}
}

// The buffer in which a body is made is not another's before the body is packed.
func TestBodiesMadeSideBySideAreTheirOwn(t *testing.T) {
	const sides, rounds, items = 4, 200, 5000
	var all sync.WaitGroup
	for side := range sides {
		all.Go(func() {
			d := &Delivery{Exporter: &fakeVendor{lim: Limits{Encoding: "deflate"}}}
			p := &parcel{batch: *numbered(side*items, items, time.UnixMilli(1))}
			want, _, _ := d.Exporter.Encode(nil, &p.batch, 0, items)
			for range rounds {
				req := d.encode(p, Range{0, items})
				z, err := zlib.NewReader(bytes.NewReader(req.body))
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(z); err != nil || !bytes.Equal(got, want) {
					t.Errorf("side %d got another body: %v", side, err)
					return
				}
				req.release()
			}
		})
	}
	all.Wait()
}
