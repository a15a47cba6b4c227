package exporters

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Queue is what Delivery needs of one lane of a cursor. *spool.Lane implements it.
type Queue interface {
	// Next returns the next frame, waiting for one if need be; TryNext does not
	// wait. The frame is read-only and valid until its Done.
	Next(ctx context.Context) (seq uint64, frame []byte, err error)
	TryNext() (seq uint64, frame []byte, ok bool, err error)
	// Done acknowledges one frame, in any order, with what became of its items.
	Done(seq uint64, b spool.Books) error
}

// Delivery takes one kind of signal to one destination.
type Delivery struct {
	Exporter Exporter
	Live     Queue // the newest frames; all of them, as long as nothing is split off
	Backlog  Queue // what Split cut off; nil for a destination that wants strict order

	// Split, if not nil, is called when the live lane is about to read a frame
	// that is older than Behind; it cuts what waits off into the backlog.
	Split  func() bool
	Behind time.Duration

	Feed   *Feed                       // shares decoded frames with other deliveries of metrics; nil: decodes by itself
	Keep   *signal.Match               // items that do not match are booked as filtered; nil keeps all
	Bury   func(*signal.Batch, *Error) // gets each refused item, for the dead-letter log; may be nil
	Linger time.Duration               // how long a request waits to fill up; default 1s
	Grace  time.Duration               // how long a request under way may go on after ctx ends; default 3s
	Log    *slog.Logger                // default slog.Default()

	Stats Stats

	gate gate
	fit  fitter
	thin thinner // of the one sender that Limits.Ordered leaves
}

// Stats accounts for every item a Delivery took from its queue:
//
//	Taken == Sent + Filtered + TooOld + Refused + Oversize + Unsupported
//
// once nothing is in flight. The same numbers, per frame, go to the cursor's
// books, which survive a restart; these here count since the Delivery began.
type Stats struct {
	Taken       atomic.Int64
	Sent        atomic.Int64
	Filtered    atomic.Int64
	TooOld      atomic.Int64
	Refused     atomic.Int64
	Oversize    atomic.Int64
	Unsupported atomic.Int64

	Twice    atomic.Int64 // items in requests repeated although the vendor may have had them
	Requests atomic.Int64
	Failures atomic.Int64 // requests that did not get a 2xx
	Raw      atomic.Int64 // bytes of bodies before compression
	Packed   atomic.Int64 // bytes of bodies as sent
	InFlight atomic.Int64 // requests under way
	LastOK   atomic.Int64 // Unix milliseconds of the last good answer; 0: none yet

	mu    sync.Mutex
	state State         // guarded by mu
	last  string        // guarded by mu; the last error in the vendor's own words
	codes map[int]int64 // guarded by mu; answers by code, 0 for none
}

// State is how a destination is doing, for people.
type State string

// The states.
const (
	Idle     State = ""         // nothing sent yet
	OK       State = "ok"       // the last request was taken
	Retrying State = "retrying" // the last request failed in a way that passes
	Held     State = "held"     // the last request failed in a way that a person must mend; nothing is dropped
)

// State returns the state, and the last error in words.
func (s *Stats) State() (State, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.last
}

// Codes returns a copy of the count of answers by code; 0 stands for requests
// without an answer.
func (s *Stats) Codes() map[int]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := make(map[int]int64, len(s.codes))
	for c, n := range s.codes {
		m[c] = n
	}
	return m
}

// answered books one answer and returns the state before it.
func (s *Stats) answered(state State, code int, words string) (before State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.codes == nil {
		s.codes = map[int]int64{}
	}
	s.codes[code]++
	before, s.state = s.state, state
	if words != "" {
		s.last = words
	}
	return before
}

// Run delivers until ctx ends. It acknowledges a frame when Stats accounts for
// each of its items, so a crash repeats what was in flight and loses nothing.
// Requests under way when ctx ends get Grace to come back. The error is that of
// a queue that cannot be read, nil otherwise.
func (d *Delivery) Run(ctx context.Context) error {
	if d.Linger == 0 {
		d.Linger = time.Second
	}
	if d.Grace == 0 {
		d.Grace = 3 * time.Second
	}
	if d.Log == nil {
		d.Log = slog.Default()
	}
	if d.Feed == nil {
		d.Feed = NewFeed(0)
	}
	d.Feed.join(1)
	defer d.Feed.join(-1)
	// Requests outlive ctx by Grace: cutting one off in the middle would leave
	// open whether the vendor has it.
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		t := time.NewTimer(d.Grace)
		defer t.Stop()
		select {
		case <-t.C:
			stop()
		case <-sending.Done():
		}
	})()

	n := max(1, d.Exporter.Limits().InFlight)
	if d.Exporter.Limits().Ordered {
		n = 1
	}
	if d.Backlog == nil {
		return d.lane(ctx, sending, d.Live, n)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var past error
	var lanes sync.WaitGroup
	lanes.Go(func() {
		past = d.lane(ctx, sending, d.Backlog, n)
		cancel()
	})
	err := d.lane(ctx, sending, d.Live, n)
	cancel()
	lanes.Wait()
	return errors.Join(err, past)
}

// lane takes parcels from q, and has up to n of them in hand at once.
func (d *Delivery) lane(ctx, sending context.Context, q Queue, n int) error {
	var senders sync.WaitGroup
	defer senders.Wait()
	slots := make(chan struct{}, n)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		p, err := d.gather(ctx, q)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: %w", d.Exporter.Name(), err)
		}
		senders.Go(func() {
			defer func() { <-slots }()
			if err := d.send(ctx, sending, p); err == nil {
				d.settle(q, p)
				p.release()
			}
		})
	}
}

// parcel is what one sender has in hand: the items of a few frames.
type parcel struct {
	batch signal.Batch
	fate  []spool.Fate // of each item in batch; undecided until it has one
	twice int64
	parts []part // in the order of the frames
}

// parcels holds those that are done, for the room they have.
var parcels = sync.Pool{New: func() any { return new(parcel) }}

func (p *parcel) reset() {
	p.batch.Reset(0)
	*p = parcel{batch: p.batch, fate: p.fate[:0], parts: p.parts[:0]}
}

func (p *parcel) release() {
	p.reset()
	parcels.Put(p)
}

// part is one frame's share of a parcel.
type part struct {
	seq   uint64
	end   int         // its items are those of batch from the part before's end to here
	books spool.Books // of the items that never came into batch
}

// undecided is the fate of an item that has none yet.
const undecided = spool.NFates

// gather waits for a frame and joins to it what else is there, or comes within
// Linger, until a request is full.
func (d *Delivery) gather(ctx context.Context, q Queue) (*parcel, error) {
	lim := d.Exporter.Limits()
	p := parcels.Get().(*parcel)
	var full context.Context // nil until there is something that can wait
	for {
		seq, frame, ok, err := q.TryNext()
		if err != nil {
			return nil, err
		}
		if !ok {
			wait := ctx
			if full != nil {
				wait = full
			}
			seq, frame, err = q.Next(wait)
			if err != nil && full != nil && (full.Err() != nil || ctx.Err() != nil) {
				return p, nil // what we have goes out
			}
			if err != nil {
				return nil, err
			}
		}
		if d.Split != nil && d.Behind > 0 && q == d.Live {
			if h, err := signal.ParseHeader(frame); err == nil && time.Now().UnixMilli()-h.Newest > d.Behind.Milliseconds() {
				d.Split()
			}
		}
		d.add(p, seq, frame, lim)
		if len(p.fate) == 0 {
			// Nothing of it is to be sent: settle at once, so that a long run
			// of expired frames is passed at the speed of reading headers.
			d.settle(q, p)
			p.reset()
			continue
		}
		if p.full(lim, d.fit.bytesPerItem()) {
			return p, nil
		}
		if full == nil {
			var cancel context.CancelFunc
			full, cancel = context.WithTimeout(ctx, d.Linger)
			defer cancel()
		}
	}
}

// full reports whether a parcel is worth a request of its own.
func (p *parcel) full(lim Limits, bytesPerItem float64) bool {
	n := len(p.fate)
	return lim.Items > 0 && n >= lim.Items || float64(n)*bytesPerItem >= 0.9*float64(lim.body()) || n >= 10000
}

// add takes one frame into the parcel: what is too old for the vendor, or not
// for this destination, is booked and left out.
func (d *Delivery) add(p *parcel, seq uint64, frame []byte, lim Limits) {
	prt := part{seq: seq, end: len(p.fate)}
	h, err := signal.ParseHeader(frame)
	if err == nil {
		d.Stats.Taken.Add(int64(h.Items))
		if lim.MaxAge > 0 && h.Newest < time.Now().Add(-lim.MaxAge).UnixMilli() {
			prt.books.Items[spool.TooOld] = int64(h.Items)
			p.parts = append(p.parts, prt)
			return
		}
		err = d.Feed.decode(&p.batch, d.Keep, &prt.books, seq, frame)
	}
	if err != nil {
		// The record's checksum was right, so this is a frame of another
		// version of the agent. The queue books the items as damaged.
		d.Log.Error("a frame cannot be read", "destination", d.Exporter.Name(), "frame", seq, "error", err)
		d.Stats.Taken.Add(-int64(h.Items))
		p.parts = append(p.parts, part{seq: seq, end: len(p.fate), books: damaged(h.Items)})
		return
	}
	prt.end = p.batch.Len()
	for len(p.fate) < prt.end {
		p.fate = append(p.fate, undecided)
	}
	p.parts = append(p.parts, prt)
}

func damaged(items int) spool.Books {
	var b spool.Books
	b.Items[spool.Damaged] = int64(items)
	return b
}

// settle books each item's fate and acknowledges the parcel's frames.
func (d *Delivery) settle(q Queue, p *parcel) {
	at := 0
	for i, prt := range p.parts {
		b := prt.books
		for ; at < prt.end; at++ {
			b.Items[p.fate[at]]++
		}
		if i == 0 {
			b.Twice += p.twice
		}
		d.Stats.book(b)
		if err := q.Done(prt.seq, b); err != nil {
			d.Log.Error("a cursor cannot be moved", "destination", d.Exporter.Name(), "frame", prt.seq, "error", err)
		}
	}
}

func (s *Stats) book(b spool.Books) {
	s.Sent.Add(b.Items[spool.Sent])
	s.Filtered.Add(b.Items[spool.Filtered])
	s.TooOld.Add(b.Items[spool.TooOld])
	s.Refused.Add(b.Items[spool.Refused])
	s.Oversize.Add(b.Items[spool.Oversize])
	s.Unsupported.Add(b.Items[spool.Unsupported])
	s.Twice.Add(b.Twice)
}

// send gives every item of p a fate. It returns an error only when ctx ends
// first; then the parcel stays unacknowledged and comes back after a restart.
func (d *Delivery) send(ctx, sending context.Context, p *parcel) error {
	if lim := d.Exporter.Limits(); lim.Spacing > 0 {
		d.thin.out(p, lim.Spacing.Milliseconds())
	}
	work := []Range{{0, len(p.fate)}} // the last one is next
	refusals := 0                     // in a row, without an accepted request between
	for len(work) > 0 {
		r := work[len(work)-1]
		work = work[:len(work)-1]
		r, rest := d.expire(p, r)
		if rest.Lo < rest.Hi {
			work = append(work, rest)
		}
		if r.Lo >= r.Hi {
			continue
		}
		req := d.encode(p, r)
		if req.next < r.Hi {
			work = append(work, Range{req.next, r.Hi})
		}
		r.Hi = req.next
		if req.oversize {
			d.drop(p, r, spool.Oversize, &Error{Class: Permanent, Err: errors.New("one item is larger than a request may be")})
			continue
		}
		if req.skipped == r.Hi-r.Lo {
			p.mark(r, spool.Unsupported, 0)
			continue
		}
		again, err := d.try(ctx, sending, p, r, req)
		req.release()
		var e *Error
		switch {
		case err == nil:
			refusals = 0
		case errors.As(err, &e) && e.Class == Permanent:
			refusals++
			if r.Hi-r.Lo == 1 || e.Whole || refusals > mostRefusals {
				d.drop(p, r, refusedOrOversize(e), e)
				continue
			}
			mid := r.Lo + (r.Hi-r.Lo)/2
			again = []Range{{r.Lo, mid}, {mid, r.Hi}}
		default:
			return err
		}
		for i := len(again) - 1; i >= 0; i-- {
			work = append(work, again[i])
		}
	}
	return nil
}

// mostRefusals bounds the requests spent on finding the culprits in a parcel of
// which nothing is accepted: after that many refusals in a row what is left of
// the range at hand is taken to be as bad, and goes to the dead-letter log.
const mostRefusals = 64

func refusedOrOversize(e *Error) spool.Fate {
	if e.Status == 413 {
		return spool.Oversize
	}
	return spool.Refused
}

// drop books the undecided items of r as lost, and buries them.
func (d *Delivery) drop(p *parcel, r Range, f spool.Fate, e *Error) {
	if d.Bury != nil {
		d.Bury(p.batch.Slice(r.Lo, r.Hi), e)
	}
	p.mark(r, f, 0)
}

// mark gives the items of r the fate f, but the first skipped of them
// unsupported: Encode says how many it left out, and which is of no matter.
func (p *parcel) mark(r Range, f spool.Fate, skipped int) {
	for i := r.Lo; i < r.Hi; i++ {
		if skipped > 0 {
			p.fate[i] = spool.Unsupported
			skipped--
			continue
		}
		p.fate[i] = f
	}
}

var errAhead = errors.New("its time is further ahead of the clock than the vendor accepts")

// expire takes the first run of items in r that lie in the vendor's window of
// time by now, decides on those before it, and returns the rest behind it.
func (d *Delivery) expire(p *parcel, r Range) (run, rest Range) {
	lim := d.Exporter.Limits()
	if lim.MaxAge == 0 && lim.Future == 0 && lim.Spacing == 0 {
		return r, Range{}
	}
	oldest, newest := int64(math.MinInt64), int64(math.MaxInt64)
	if lim.MaxAge > 0 {
		oldest = time.Now().Add(-lim.MaxAge).UnixMilli()
	}
	if lim.Future > 0 {
		newest = time.Now().Add(lim.Future).UnixMilli()
	}
	i := r.Lo
	run = Range{-1, -1}
	for t := range p.batch.Times(r.Lo, r.Hi) {
		out := t < oldest || t > newest || p.fate[i] != undecided
		switch {
		case out && run.Lo >= 0:
			return Range{run.Lo, i}, Range{i, r.Hi}
		case !out && run.Lo < 0:
			run.Lo = i
		case t < oldest && p.fate[i] == undecided:
			p.fate[i] = spool.TooOld
		case t > newest && p.fate[i] == undecided:
			// Many vendors take such items with a nod and throw them away. As a
			// dead letter it can be sent again when its time has come.
			d.drop(p, Range{i, i + 1}, spool.Refused, &Error{Class: Permanent, Err: errAhead})
		}
		i++
	}
	if run.Lo < 0 {
		return Range{}, Range{}
	}
	return Range{run.Lo, r.Hi}, Range{}
}

// try sends one body until the vendor has decided on it. It returns what has to
// be sent again as another body, or a Permanent error, or ctx's.
func (d *Delivery) try(ctx, sending context.Context, p *parcel, r Range, req request) (again []Range, err error) {
	items := int64(r.Hi - r.Lo - req.skipped)
	for attempt := 0; ; attempt++ {
		probe, err := d.gate.enter(ctx)
		if err != nil {
			return nil, err
		}
		if attempt > 0 {
			if run, _ := d.expire(p, r); run != r {
				d.gate.leave(probe, pass, 0)
				return []Range{r}, nil // some of it expired while we waited: encode what is left
			}
		}
		d.Stats.Requests.Add(1)
		d.Stats.InFlight.Add(1)
		err = d.Exporter.Send(sending, req.body)
		d.Stats.InFlight.Add(-1)
		d.Stats.Raw.Add(int64(req.raw))
		d.Stats.Packed.Add(int64(len(req.body)))
		if err == nil {
			d.answer(probe, OK, 0, nil)
			p.mark(r, spool.Sent, req.skipped)
			return nil, nil
		}
		d.Stats.Failures.Add(1)
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Class: Retry, Err: err}
		}
		switch e.Class {
		case Permanent:
			d.answer(probe, OK, 0, e) // the vendor answers: the way is free for others
			return nil, e
		case Partial:
			if len(e.Again) > 0 {
				d.answer(probe, Retrying, e.After, e)
			} else {
				d.answer(probe, OK, 0, e)
			}
			return d.partial(p, r, req, e), nil
		}
		if sending.Err() != nil {
			d.gate.leave(probe, pass, 0)
			return nil, sending.Err()
		}
		if !e.Unsent && !d.Exporter.Limits().Idempotent {
			p.twice += items
		}
		if e.Class == Hold {
			d.answer(probe, Held, max(e.After, holdFor), e)
		} else {
			d.answer(probe, Retrying, e.After, e)
		}
	}
}

// partial books a Partial answer and returns what to send again.
func (d *Delivery) partial(p *parcel, r Range, req request, e *Error) (again []Range) {
	redo := make([]bool, r.Hi-r.Lo)
	for _, a := range e.Again {
		if req.skipped > 0 { // the body's numbering is not ours then: all of it again
			a = Range{0, len(redo)}
		}
		for i := max(a.Lo, 0); i < min(a.Hi, len(redo)); i++ {
			redo[i] = true
		}
	}
	if len(e.Again) == 0 {
		p.mark(r, spool.Sent, req.skipped)
	}
	refused := e.Dropped
	for i, again := range redo {
		if at := r.Lo + i; !again && p.fate[at] != spool.Unsupported {
			p.fate[at] = spool.Sent
			if refused > 0 {
				p.fate[at] = spool.Refused
				refused--
			}
		}
	}
	if e.Dropped > 0 && d.Bury != nil {
		d.Bury(nil, e) // which items they were the vendor does not say; its words are kept
	}
	for i := 0; i < len(redo); i++ {
		if !redo[i] {
			continue
		}
		from := i
		for i < len(redo) && redo[i] {
			i++
		}
		again = append(again, Range{r.Lo + from, r.Lo + i})
	}
	return again
}

// answer books what came back, opens or closes the gate, and logs a change of state.
func (d *Delivery) answer(probe bool, state State, after time.Duration, e *Error) {
	code, words := 0, ""
	if e != nil {
		code, words = e.Status, e.Error()
	} else {
		code = 200
	}
	switch state {
	case OK:
		d.Stats.LastOK.Store(time.Now().UnixMilli())
		d.gate.leave(probe, opened, 0)
	default:
		d.gate.leave(probe, closed, after)
	}
	before := d.Stats.answered(state, code, words)
	if before == state {
		return
	}
	switch state {
	case OK:
		if before != Idle {
			d.Log.Info("destination takes data again", "destination", d.Exporter.Name())
		}
	case Held:
		d.Log.Error("destination refuses us; everything is kept, and asked again once a minute", "destination", d.Exporter.Name(), "error", words)
	default:
		d.Log.Warn("destination does not take data; everything is kept, and tried again", "destination", d.Exporter.Name(), "error", words)
	}
}
