package signal

import "sync"

// Room. What a collector fills is given away with Put, and is garbage once the
// spool has it: at 100 MB of lines a second that is what the garbage collector
// would be busy with. So the bulk of it, where a collector has asked for it here,
// goes round: Reserve or NewSamples, Put, Release by the hub. What was not asked
// for here is left alone by Release, and what is never released is garbage as ever.

// room is what a block was given by Reserve.
type room struct {
	text  []byte
	lines []Line
	attrs []byte // see SpareAttrs
}

var (
	rooms   = sync.Pool{New: func() any { return new(room) }}
	samples = sync.Pool{New: func() any { return new([]Sample) }}
)

// Reserve gives an empty block room for so many bytes of text and lines. They may
// turn out to be more.
func (blk *LogBlock) Reserve(text, lines int) {
	r := rooms.Get().(*room)
	if cap(r.text) < text {
		r.text = make([]byte, 0, text)
	}
	if cap(r.lines) < lines {
		r.lines = make([]Line, 0, lines)
	}
	blk.Text, blk.Lines, blk.room = r.text[:0], r.lines[:0], r
}

// SpareAttrs returns an empty slice with room for n bytes, for who rebuilds the
// Attrs of the block; once at most.
func (blk *LogBlock) SpareAttrs(n int) []byte {
	if blk.room == nil {
		return make([]byte, 0, n)
	}
	if cap(blk.room.attrs) < n {
		blk.room.attrs = make([]byte, 0, n)
	}
	return blk.room.attrs[:0]
}

// NewSamples returns an empty slice with room for n samples. A Batch of them says
// so in Pooled.
func NewSamples(n int) []Sample {
	p := samples.Get().(*[]Sample)
	if cap(*p) < n {
		*p = make([]Sample, 0, n)
	}
	return (*p)[:0]
}

// Release gives the room of a batch back that nobody refers to any more. The batch
// is empty then.
func (b *Batch) Release() {
	if b.Pooled && cap(b.Samples) > 0 {
		clear(b.Samples[:cap(b.Samples)]) // series and distributions are not held by what is free
		s := b.Samples[:0]
		samples.Put(&s)
	}
	for i := range b.Logs {
		if r := b.Logs[i].room; r != nil {
			rooms.Put(r)
		}
	}
	*b = Batch{Kind: b.Kind}
}
