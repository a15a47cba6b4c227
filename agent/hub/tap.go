package hub

import (
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// tap is one onlooker.
type tap struct {
	kind  signal.Kind // 0: all
	match *signal.Match
	out   chan string
}

// Tap shows a live sample of what passes the hub, in the readable notation,
// after completion and rules, until ctx ends. kind 0 is every kind, a nil match
// every item. Who reads too slowly misses batches: nothing ever waits for a tap.
func (h *Hub) Tap(ctx context.Context, kind signal.Kind, match *signal.Match) <-chan string {
	t := &tap{kind, match, make(chan string, 16)}
	h.changeTaps(func(taps []*tap) []*tap { return append(taps, t) })
	context.AfterFunc(ctx, func() {
		h.changeTaps(func(taps []*tap) []*tap {
			var others []*tap
			for _, o := range taps {
				if o != t {
					others = append(others, o)
				}
			}
			return others
		})
	})
	return t.out
}

func (h *Hub) changeTaps(change func([]*tap) []*tap) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var now []*tap
	if taps := h.taps.Load(); taps != nil {
		now = append(now, *taps...)
	}
	if now = change(now); len(now) == 0 {
		h.taps.Store(nil)
		return
	}
	h.taps.Store(&now)
}

// show offers the matching items of b to the onlooker.
func (t *tap) show(b *signal.Batch) {
	if t.kind != 0 && t.kind != b.Kind || len(t.out) == cap(t.out) {
		return
	}
	seen := *b
	if t.match != nil {
		seen = *b.Slice(0, b.Len()) // Filter moves items about in the slice it is given
		seen.Samples = append([]signal.Sample(nil), seen.Samples...)
		seen.Events = append([]signal.EventItem(nil), seen.Events...)
		seen.Filter(0, t.match)
	}
	if seen.Len() == 0 {
		return
	}
	select {
	case t.out <- signal.Format(&seen):
	default:
	}
}
