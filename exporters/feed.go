package exporters

import (
	"sync"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Feed decodes metric frames once for all deliveries that read the same spool
// at about the same place. Lines and events are not shared: decoding them costs
// next to nothing, since they point into their frame.
type Feed struct {
	mu     sync.Mutex
	keep   int                 // frames
	frames map[uint64]*decoded // guarded by mu
	order  []uint64            // of frames, oldest first; guarded by mu
}

type decoded struct {
	once  sync.Once
	batch signal.Batch // samples are never written to after once
	err   error
}

// NewFeed returns a Feed that remembers the last keep frames. One delivery
// alone needs none: keep 0 remembers nothing.
func NewFeed(keep int) *Feed { return &Feed{keep: keep, frames: map[uint64]*decoded{}} }

// Offer gives the Feed what frame seq holds, before anybody asks: the one who made
// the frame still has its samples, and to decode them means to look each series
// up again, which of a hundred thousand is the dearest part of the whole way.
// b may be changed after it.
func (f *Feed) Offer(seq uint64, b *signal.Batch) {
	if f.keep == 0 || b.Kind != signal.Metric {
		return
	}
	d := f.remember(seq)
	d.once.Do(func() {
		d.batch.Kind = b.Kind
		d.batch.Samples = append(make([]signal.Sample, 0, len(b.Samples)), b.Samples...)
	})
}

// decode appends the items of frame that match keep to b, and books the others.
func (f *Feed) decode(b *signal.Batch, keep *signal.Match, books *spool.Books, seq uint64, frame []byte) error {
	h, err := signal.ParseHeader(frame)
	if err != nil {
		return err
	}
	at := b.Len()
	if h.Kind == signal.Metric && f.keep > 0 {
		d := f.remember(seq)
		d.once.Do(func() { d.err = signal.AppendFromFrame(&d.batch, frame) })
		if d.err != nil {
			return d.err
		}
		b.Kind = h.Kind
		b.Samples = append(b.Samples, d.batch.Samples...)
	} else if err := signal.AppendFromFrame(b, frame); err != nil {
		return err
	}
	if keep != nil {
		books.Items[spool.Filtered] += int64(b.Filter(at, keep))
	}
	return nil
}

func (f *Feed) remember(seq uint64) *decoded {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.frames[seq]; d != nil {
		return d
	}
	if len(f.order) >= f.keep {
		delete(f.frames, f.order[0])
		f.order = append(f.order[:0], f.order[1:]...)
	}
	d := &decoded{}
	f.frames[seq] = d
	f.order = append(f.order, seq)
	return d
}
