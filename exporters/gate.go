package exporters

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Waiting between attempts: exponential with full jitter, so that the agents of
// a cluster do not come back at the same moment.
const (
	firstWait = 500 * time.Millisecond
	mostWait  = time.Minute
	holdFor   = time.Minute // what a person must mend takes a person's time
)

// verdict is what an attempt says about the destination.
type verdict uint8

const (
	opened verdict = iota // it answers
	closed                // it does not, or not yet
	pass                  // the attempt was not made
)

// gate lets requests through while the destination takes them. After a failure
// all of a Delivery's senders wait, and when the time has come one of them
// probes; only its success opens the gate for the others.
type gate struct {
	mu       sync.Mutex
	failures int           // in a row; 0: open
	until    time.Time     // not before
	probing  bool          // one request is on its way
	changed  chan struct{} // closed at the next change; nil while nobody waits
}

// enter returns when the caller may make a request, and whether that is the
// probe; the caller must tell leave.
func (g *gate) enter(ctx context.Context) (probe bool, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		g.mu.Lock()
		if g.failures == 0 {
			g.mu.Unlock()
			return false, nil
		}
		left := time.Until(g.until) // by the monotonic clock: steps of the other one do not matter
		if left <= 0 && !g.probing {
			g.probing = true
			g.mu.Unlock()
			return true, nil
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed, probing := g.changed, g.probing
		g.mu.Unlock()

		if probing {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// leave says how the attempt went, and, of a failed one, how long to wait at least.
func (g *gate) leave(probe bool, v verdict, after time.Duration) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if probe {
		g.probing = false
	}
	switch v {
	case opened:
		g.failures = 0
	case closed:
		// Requests that were under way together fail together: that is one failure.
		if g.failures == 0 || probe {
			g.failures++
		}
		w := mostWait
		if n := g.failures - 1; n < 7 {
			w = min(mostWait, firstWait<<n)
		}
		w = time.Duration(rand.Int64N(int64(w))) + time.Millisecond
		if until := now.Add(max(w, after)); until.After(g.until) {
			g.until = until
		}
	}
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
