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
	spare  [2][]signal.Sample  // of the frames forgotten last, empty; guarded by mu
}

type decoded struct {
	once  sync.Once
	batch signal.Batch // samples are never written to after once
	err   error
	users int  // who copies from it now; guarded by Feed.mu
	gone  bool // from Feed.frames; guarded by Feed.mu
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
	d := f.hold(seq)
	defer f.leave(d)
	d.once.Do(func() {
		d.batch.Kind = b.Kind
		d.batch.Samples = append(f.room(len(b.Samples)), b.Samples...)
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
		d := f.hold(seq)
		defer f.leave(d)
		d.once.Do(func() {
			d.batch.Samples = f.room(min(h.Items, len(frame)/2))
			d.err = signal.AppendFromFrame(&d.batch, frame)
		})
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

// hold returns what is remembered of frame seq, and keeps its samples from being
// used again until leave.
func (f *Feed) hold(seq uint64) *decoded {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.frames[seq]
	if d == nil {
		if len(f.order) >= f.keep {
			old := f.frames[f.order[0]]
			delete(f.frames, f.order[0])
			f.order = append(f.order[:0], f.order[1:]...)
			old.gone = true
			f.reuseLocked(old)
		}
		d = &decoded{}
		f.frames[seq] = d
		f.order = append(f.order, seq)
	}
	d.users++
	return d
}

func (f *Feed) leave(d *decoded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.users--
	f.reuseLocked(d)
}

// reuseLocked takes the samples of a frame that nobody can ask for any more.
func (f *Feed) reuseLocked(d *decoded) {
	if !d.gone || d.users > 0 || cap(d.batch.Samples) == 0 {
		return
	}
	clear(d.batch.Samples)
	f.spare[1], f.spare[0] = f.spare[0], d.batch.Samples[:0]
	d.batch.Samples = nil
}

// room returns an empty slice for n samples.
func (f *Feed) room(n int) []signal.Sample {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.spare {
		if cap(s) >= max(n, 1) {
			f.spare[i] = nil
			return s
		}
	}
	return make([]signal.Sample, 0, n)
}
