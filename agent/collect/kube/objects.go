package kube

import (
	"context"
	"strconv"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	settleFor   = 20 * time.Second // how long a new leader waits for the first lists
	mostMakeUp  = 5 * time.Minute  // intervals longer ago are not made up
	batchItems  = 4000
	serverEvery = time.Minute // /metrics of an API server is megabytes
)

// sample hands on the state of the objects at each multiple of the interval,
// beginning with the one after the last that any leader handed on.
func (c *cluster) sample(ctx context.Context, tables []*feedTable, out collect.Sink) {
	if !settle(ctx, tables) {
		return
	}
	every := c.k.conf.Interval
	sampled, _ := c.leases.before(markSampled)
	next := resume(sampled, time.Now(), every)
	c.sampled(next.Add(-every)) // should this agent die at once, the next one begins where it began
	var asked time.Time
	for {
		for now := time.Now(); !next.After(now); next = next.Add(every) {
			if now.Sub(next) > mostMakeUp { // the Sink made us wait: what it missed has passed
				next = now.Truncate(every)
			}
			c.leases.write(ctx, markSampled) // the interval before, so that a successor repeats one at most
			if err := c.put(ctx, tables, out, next); err != nil {
				break // the Sink says why; the same interval comes again
			}
			c.sampled(next)
		}
		if c.k.conf.APIServer {
			full := time.Since(asked) >= serverEvery
			if full {
				asked = time.Now()
			}
			c.askServer(ctx, out, full)
		}
		if !wait(ctx, max(time.Until(next), time.Second)) {
			return
		}
	}
}

// sampled marks an interval as handed on.
func (c *cluster) sampled(at time.Time) {
	c.leases.mark(markSampled, strconv.FormatInt(at.UnixMilli(), 10))
}

// resume returns the first interval to hand on: the one after the mark of the
// leader before, or the present one where there is none, or none of use.
func resume(mark string, now time.Time, every time.Duration) time.Time {
	present := now.Truncate(every)
	ms, err := strconv.ParseInt(mark, 10, 64)
	if err != nil {
		return present
	}
	next := time.UnixMilli(ms).Truncate(every).Add(every)
	if next.After(present.Add(every)) || present.Sub(next) > mostMakeUp { // another clock, or long ago
		return present
	}
	return next
}

// settle waits until each table is filled or known to be out of reach.
func settle(ctx context.Context, tables []*feedTable) bool {
	deadline := time.Now().Add(settleFor)
	for time.Now().Before(deadline) {
		waiting := false
		for _, t := range tables {
			_, _, filled := t.table.size()
			waiting = waiting || !filled && t.feed.err() == nil
		}
		if !waiting {
			break
		}
		if !wait(ctx, 100*time.Millisecond) {
			return false
		}
	}
	return ctx.Err() == nil
}

// put hands on the state as it is now, as that of moment at.
func (c *cluster) put(ctx context.Context, tables []*feedTable, out collect.Sink, at time.Time) error {
	t := at.UnixMilli()
	newBatch := func() *signal.Batch {
		return &signal.Batch{Kind: signal.Metric, Samples: signal.NewSamples(batchItems + batchItems/8), Pooled: true}
	}
	b := newBatch()
	var failed error
	flush := func(atLeast int) {
		if failed == nil && len(b.Samples) >= atLeast {
			full := b
			b = newBatch()
			failed = out.Put(ctx, full)
		}
	}
	total := adder{}
	for _, ft := range tables {
		// Put may wait for a disk, and must not while the table is locked.
		for _, own := range ft.table.snapshot(total) {
			for _, r := range own {
				r.append(b, t)
			}
			flush(batchItems)
		}
	}
	total.append(b, t)
	flush(1)
	return failed
}

// snapshot returns each object's own readings, and adds the others to total.
// Readings of an object are never changed, only replaced.
func (t *table) snapshot(total adder) [][]reading {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([][]reading, 0, len(t.records))
	for _, rec := range t.records {
		all = append(all, rec.readings[:rec.sums])
		total.add(rec.readings[rec.sums:])
	}
	return all
}

// askServer hands on what the API server says of itself.
func (c *cluster) askServer(ctx context.Context, out collect.Sink, metrics bool) {
	c.mu.Lock()
	s := c.server
	c.mu.Unlock()
	if s == nil {
		return
	}
	b := &signal.Batch{Kind: signal.Metric}
	was := s.err()
	s.sample(ctx, b, metrics)
	switch err := s.err(); {
	case ctx.Err() != nil:
		return
	case err != nil && was == nil:
		c.k.log.Warn("the API server does not say how it is", "error", brief(err))
	case err == nil && was != nil:
		c.k.log.Info("the API server says again how it is")
	}
	if len(b.Samples) > 0 {
		_ = out.Put(ctx, b) // the Sink says why
	}
}
