package exporters

import (
	"slices"
	"sync"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Feed decodes metric frames once for all deliveries that read the spool of
// metrics at about the same place. Lines and events are not shared: decoding them costs
// next to nothing, since they point into their frame.
type Feed struct {
	mu      sync.Mutex
	keep    int                 // frames
	readers int                 // deliveries that run; guarded by mu
	passed  uint64              // the newest frame that all of them had; guarded by mu
	frames  map[uint64]*decoded // guarded by mu
	order   []uint64            // of frames, oldest first; guarded by mu
}

type decoded struct {
	seq   uint64
	once  sync.Once
	batch signal.Batch // samples are never written to after once
	err   error
	users int  // who copies from it now; guarded by Feed.mu
	reads int  // how many have; guarded by Feed.mu
	gone  bool // from Feed.frames; guarded by Feed.mu
}

// NewFeed returns a Feed that remembers the last keep frames, each until every
// delivery that runs has read it. keep 0 remembers nothing.
func NewFeed(keep int) *Feed { return &Feed{keep: keep, frames: map[uint64]*decoded{}} }

// Offer gives the Feed what frame seq holds, before anybody asks: the one who made
// the frame still has its samples, and to decode them means to look each series
// up again, which of a hundred thousand is the dearest part of the whole way.
// A batch whose samples are pooled gives them away, and is empty after it.
func (f *Feed) Offer(seq uint64, b *signal.Batch) {
	if f.keep == 0 || b.Kind != signal.Metric || !f.wanted(seq) {
		return
	}
	d := f.hold(seq)
	defer f.leave(d, 0)
	d.once.Do(func() {
		if b.Pooled {
			d.batch, *b = *b, signal.Batch{Kind: b.Kind}
			return
		}
		d.batch = signal.Batch{Kind: b.Kind, Samples: append(signal.NewSamples(len(b.Samples)), b.Samples...), Pooled: true}
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
		defer f.leave(d, 1)
		d.once.Do(func() {
			d.batch.Samples, d.batch.Pooled = signal.NewSamples(min(h.Items, len(frame)/2)), true
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

// join takes note of how many more deliveries run, or fewer.
func (f *Feed) join(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers += n
}

// wanted reports whether somebody has yet to read frame seq.
func (f *Feed) wanted(seq uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readers > 0 && seq > f.passed
}

// hold returns what is remembered of frame seq, and keeps its samples from being
// used again until leave.
func (f *Feed) hold(seq uint64) *decoded {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.frames[seq]
	if d == nil {
		if len(f.order) >= f.keep {
			f.forgetLocked(0)
		}
		d = &decoded{seq: seq}
		f.frames[seq] = d
		f.order = append(f.order, seq)
	}
	d.users++
	return d
}

// leave ends what hold began; reads is 1 for a delivery that has what it needs.
func (f *Feed) leave(d *decoded, reads int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.users--
	d.reads += reads
	if !d.gone && reads > 0 && d.reads >= f.readers {
		f.forgetLocked(slices.Index(f.order, d.seq))
		f.passed = max(f.passed, d.seq)
	}
	f.reuseLocked(d)
}

// forgetLocked forgets the frame at a place in order.
func (f *Feed) forgetLocked(at int) {
	d := f.frames[f.order[at]]
	delete(f.frames, d.seq)
	f.order = slices.Delete(f.order, at, at+1)
	d.gone = true
	f.reuseLocked(d)
}

// reuseLocked gives back the samples of a frame that nobody can ask for any more.
func (f *Feed) reuseLocked(d *decoded) {
	if d.gone && d.users == 0 {
		d.batch.Release()
	}
}
