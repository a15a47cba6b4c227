// Package collect gathers: it holds the two small interfaces every source of
// signals fits, and the loop that drives those which are asked at intervals.
//
// The agent runs Sources; the rooms below this folder implement them, layer by
// layer: host, container, prom, statsd, otlp, kube, tail. A Source hands its
// batches to a Sink, which is the hub; nothing lies between them, no channel
// and no goroutine, so what a Sink refuses to take is felt at once by the one
// who gathers it. That is the back-pressure.
//
// What Poll guarantees a Sampler:
//
//  1. One call at a time; a call that outlasts its interval makes the next one
//     late, never concurrent.
//  2. The context of a call ends with the interval. A Sampler that ignores it
//     is left behind after a second interval: it is reported, and asked again
//     only when that call has come back. Its neighbours do not notice.
//  3. A panic inside Sample becomes an error of that Sample.
//  4. What was appended before an error is delivered.
//
// Ownership: a batch handed to Put is gone. Poll gives each Sample a batch of
// its own; a Sampler keeps none of it.
//
// The package knows no vendor and no disk, and keeps nothing between calls but
// the numbers in Stats.
package collect

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Sink accepts finished batches. hub.Hub implements it.
type Sink interface {
	// Put takes ownership of b and returns once the spool holds it. It blocks
	// when the spool is full and its policy is to wait: that is the back-pressure.
	// An error means that b is lost, or will be: ctx ended, or the spool is closed.
	Put(ctx context.Context, b *signal.Batch) error
}

// Source produces signals until ctx ends. Listeners, tailers and watchers
// implement it directly; samplers get it from Poll.
type Source interface {
	// Run returns nil when ctx ends, and an error only if the source cannot go
	// on; the agent then restarts it with back-off.
	Run(ctx context.Context, out Sink) error
}

// Sampler reads one thing once: a file of /proc, a kubelet endpoint, a target.
type Sampler interface {
	// Sample appends to b. What it appended before an error is kept. An error
	// that wraps ErrAbsent says that there is nothing to read here and why; it is
	// shown in status and not counted as a failure.
	Sample(ctx context.Context, b *signal.Batch) error
}

// ErrAbsent marks the error of a Sampler that finds nothing to read on this
// machine. Wrap it with the remedy: fmt.Errorf("…: %w", collect.ErrAbsent).
var ErrAbsent = errors.New("not available here")

// Stats is what is known of one source; status shows it. Every field may be
// read while the source runs.
type Stats struct {
	Runs     atomic.Int64 // calls of Sample; of a Source that is not polled, batches handed to the Sink
	Failures atomic.Int64 // calls that returned an error, panicked or did not come back; batches the Sink did not take
	Items    atomic.Int64 // items the Sink took
	Last     atomic.Int64 // Unix milliseconds of the last call's or batch's end
	Took     atomic.Int64 // nanoseconds the last call took; of a batch, the Sink

	mu      sync.Mutex
	lastErr error // guarded by mu; nil after a good call
}

// Err returns the error of the last call, nil if it was good.
func (s *Stats) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// SetErr records the outcome of a call; nil is a good one.
func (s *Stats) SetErr(err error) {
	s.mu.Lock()
	s.lastErr = err
	s.mu.Unlock()
}

// Counted returns out for a Source that is not polled: what goes through it is
// counted in s.
func (s *Stats) Counted(out Sink) Sink { return counted{s, out} }

type counted struct {
	st  *Stats
	out Sink
}

// Put implements Sink.
func (c counted) Put(ctx context.Context, b *signal.Batch) error {
	n, start := int64(b.Len()), time.Now() // b is not ours after Put
	err := c.out.Put(ctx, b)
	c.st.Runs.Add(1)
	c.st.Took.Store(int64(time.Since(start)))
	c.st.Last.Store(time.Now().UnixMilli())
	if err != nil {
		c.st.Failures.Add(1)
		return err
	}
	c.st.Items.Add(n)
	return nil
}

// Poller is the Source that Poll returns.
type Poller struct {
	Stats *Stats

	name  string
	every time.Duration
	s     Sampler
}

// Poll returns a Source that calls s every interval, each call bounded by the
// interval, and reports its duration and success as metrics of the agent.
// Calls of different names are spread over the interval, so that not all of an
// agent's work falls on the same moment.
func Poll(name string, every time.Duration, s Sampler) *Poller {
	return PollInto(&Stats{}, name, every, s)
}

// PollInto is Poll with Stats that outlive the Source: those of a sampler that
// is made anew for each run.
func PollInto(st *Stats, name string, every time.Duration, s Sampler) *Poller {
	return &Poller{Stats: st, name: name, every: every, s: s}
}

// Run calls the Sampler until ctx ends. It returns nil.
func (p *Poller) Run(ctx context.Context, out Sink) error {
	// The first call is at once: whoever starts an agent looks at it right away.
	// The ones after it are aligned to the clock, plus an offset of the name's.
	h := fnv.New64a()
	h.Write([]byte(p.name))
	offset := time.Duration(h.Sum64() % uint64(p.every))
	for {
		if !p.once(ctx, out) {
			return nil
		}
		now := time.Now()
		next := now.Truncate(p.every).Add(offset)
		for !next.After(now) {
			next = next.Add(p.every)
		}
		t := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// once makes one call and delivers what it gave. It returns false when ctx
// ended. The call has a goroutine of its own that nobody waits for at the end:
// a read of a dead network mount may never come back, and must not hold up a stop.
func (p *Poller) once(ctx context.Context, out Sink) bool {
	type result struct {
		b   *signal.Batch
		err error
	}
	done := make(chan result, 1) // one place, so that a late call can always leave
	cctx, cancel := context.WithTimeout(ctx, p.every)
	defer cancel()
	start := time.Now()
	go func() {
		b := &signal.Batch{Kind: signal.Metric}
		err := p.sample(cctx, b)
		done <- result{b, err}
	}()
	var r result
	late := time.NewTimer(2 * p.every)
	defer late.Stop()
	select {
	case r = <-done:
	case <-ctx.Done():
		return false
	case <-late.C:
		p.Stats.Failures.Add(1)
		p.Stats.SetErr(fmt.Errorf("%s: no answer for %v; waiting for it", p.name, 2*p.every))
		select {
		case r = <-done:
		case <-ctx.Done():
			return false
		}
	}
	took := time.Since(start)
	p.Stats.Runs.Add(1)
	p.Stats.Took.Store(int64(took))
	p.Stats.Last.Store(time.Now().UnixMilli())
	p.Stats.SetErr(r.err)
	ok := 1.0
	if r.err != nil && !errors.Is(r.err, ErrAbsent) {
		p.Stats.Failures.Add(1)
		ok = 0
	}
	items := len(r.b.Samples)
	p.report(r.b, start, took, ok, items)
	if err := out.Put(ctx, r.b); err != nil {
		return ctx.Err() == nil // the Sink says why; the next call may fare better
	}
	p.Stats.Items.Add(int64(items))
	return true
}

// sample calls the Sampler and turns a panic into an error.
func (p *Poller) sample(ctx context.Context, b *signal.Batch) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s panicked: %v\n%s", p.name, v, debug.Stack())
		}
	}()
	return p.s.Sample(ctx, b)
}

// report appends the agent's own metrics about this call.
func (p *Poller) report(b *signal.Batch, at time.Time, took time.Duration, ok float64, items int) {
	labels := signal.Labels(signal.LabelSource, p.name)
	add := func(name, unit string, v float64) {
		b.Add(signal.Sample{
			Series: signal.Intern(signal.Desc{Name: name, Unit: unit, Type: signal.Gauge, Labels: labels}),
			Time:   at.UnixMilli(), Value: v,
		})
	}
	add(signal.SourceDuration, "s", took.Seconds())
	add(signal.SourceSuccess, "1", ok)
	add(signal.SourceItems, "{item}", float64(items))
}
