package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

// chunk is a stretch of a segment in memory. Frames handed out point into it;
// it goes back to its pool once the reader and all of them have let it go.
type chunk struct {
	p     []byte
	class int
	refs  atomic.Int32
}

const (
	minChunk = 16 // log2: 64 KiB serve many small frames with one pread
	maxChunk = 27 // log2: MaxFrame and its neighbours fit
)

// chunks pools chunks by size. Sizes are powers of two plus a little, so that a
// frame of a round size fits together with the headers around it.
type chunks struct{ pools [maxChunk + 1]sync.Pool }

func (cs *chunks) get(n int) *chunk {
	class := max(minChunk, bits.Len(uint(max(n-4096, 1)-1)))
	c, _ := cs.pools[class].Get().(*chunk)
	if c == nil {
		c = &chunk{p: make([]byte, 1<<class+4096), class: class}
	}
	c.refs.Store(1)
	return c
}

func (cs *chunks) put(c *chunk) {
	if c != nil && c.refs.Add(-1) == 0 {
		cs.pools[c.class].Put(c)
	}
}

// window shows stretches of a file, reading ahead where frames are small.
type window struct {
	pool *chunks
	ch   *chunk
	lo   int64 // file offset of ch.p[0]
	n    int   // bytes of ch.p that are filled
}

// drop forgets what was read; frames handed out keep their chunk.
func (w *window) drop() {
	w.pool.put(w.ch)
	w.ch, w.n = nil, 0
}

// peek returns bytes [off, off+n) of f, of which size bytes may be read. What
// it returns is part of w.ch, and is never overwritten while that has refs.
func (w *window) peek(f io.ReaderAt, off int64, n int, size int64) ([]byte, error) {
	if off+int64(n) > size {
		return nil, io.ErrUnexpectedEOF
	}
	if w.ch != nil && off >= w.lo && off+int64(n) <= w.lo+int64(w.n) {
		i := off - w.lo
		return w.ch.p[i : i+int64(n)], nil
	}
	if w.ch == nil || off < w.lo || off > w.lo+int64(w.n) || off-w.lo+int64(n) > int64(len(w.ch.p)) {
		next := w.pool.get(n + headLen)
		kept := 0
		if w.ch != nil && off >= w.lo && off < w.lo+int64(w.n) {
			kept = copy(next.p, w.ch.p[off-w.lo:w.n])
		}
		w.pool.put(w.ch)
		w.ch, w.lo, w.n = next, off, kept
	}
	want := len(w.ch.p) - w.n
	if w.ch.class > minChunk {
		// A long frame: take just it and the header behind it, so that nothing
		// is read twice.
		want = min(want, int(off-w.lo)+n+headLen-w.n)
	}
	want = int(min(int64(want), size-w.lo-int64(w.n)))
	m, err := f.ReadAt(w.ch.p[w.n:w.n+want], w.lo+int64(w.n))
	w.n += m
	i := off - w.lo
	if int64(w.n) >= i+int64(n) {
		return w.ch.p[i : i+int64(n)], nil // an error behind what was asked for may wait
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}

// what a walker finds at its place.
type what uint8

const (
	isRecord what = iota
	isHole        // damage, and behind it, where the walker now stands, a record
	isJunk        // damage up to the end of the segment
	isTorn        // a record cut off by the end of the segment, or zeros up to it
	isEnd         // the clean end
)

// walker goes through one segment's records, in order, past damage.
type walker struct {
	f    io.ReaderAt
	seal uint32
	size int64 // bytes that may be read
	off  int64 // of the next record
	min  uint64
	max  mark // a record at or behind max.seq, or with more items, is implausible
	win  window
}

func newWalker(pool *chunks, first Seq) walker {
	return walker{seal: sealOf(first), min: first, win: window{pool: pool}, off: headLen}
}

// plausible reports whether h can stand at the walker's place. It is what keeps
// a stale header, valid in itself, from being taken for the next one.
func (w *walker) plausible(h header) bool {
	return h.seq >= w.min && h.seq < w.max.seq && h.to().total <= w.max.total
}

// header returns the header at the walker's place, after a hole if need be. An
// error means the bytes could not be read; the walker has not moved.
func (w *walker) header() (header, what, error) {
	if w.off >= w.size {
		return header{}, isEnd, nil
	}
	if w.size-w.off < headLen {
		return header{}, isTorn, nil
	}
	p, err := w.win.peek(w.f, w.off, headLen, w.size)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return header{}, isJunk, err
	}
	if err == nil {
		if h, ok := parseHeader(p, w.seal); ok && w.plausible(h) {
			if w.off+h.size() > w.size {
				return h, isTorn, nil
			}
			return h, isRecord, nil
		}
	}
	return header{}, w.resync(), nil
}

// body returns the frame behind the header h at the walker's place; ok is false
// if its checksum is wrong.
func (w *walker) body(h header) (frame []byte, ok bool, err error) {
	p, err := w.win.peek(w.f, w.off, int(h.size()), w.size)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	frame = p[headLen:len(p):len(p)]
	return frame, crc32.Checksum(frame, castagnoli) == h.sum, nil
}

// pass moves behind the record h.
func (w *walker) pass(h header) {
	w.off += h.size()
	w.min = h.seq + 1
}

// resync looks behind damage for the next header that is valid and plausible,
// byte by byte, and moves there. Pages that cannot be read count as damage.
func (w *walker) resync() what {
	const step = 64 << 10
	const page = 4 << 10
	buf := make([]byte, step+headLen)
	zero := true // so far
	for base := w.off; base < w.size; base += step {
		n := int(min(int64(len(buf)), w.size-base))
		if m, err := w.f.ReadAt(buf[:n], base); err != nil && m < n {
			clear(buf[m:n])
			for i := m; i < n; { // page by page, what can be had
				end := min(n, i+page-int((base+int64(i))%page))
				_, _ = w.f.ReadAt(buf[i:end], base+int64(i))
				i = end
			}
			zero = zero && errors.Is(err, io.EOF)
		}
		for _, b := range buf[:n] {
			zero = zero && b == 0
		}
		if zero {
			continue
		}
		for i := 0; i < step && i+headLen <= n; i++ {
			if seq := binary.LittleEndian.Uint64(buf[i+8:]); seq < w.min || seq >= w.max.seq {
				continue
			}
			h, ok := parseHeader(buf[i:n], w.seal)
			if ok && w.plausible(h) && base+int64(i)+h.size() <= w.size {
				w.off = base + int64(i)
				return isHole
			}
		}
	}
	if zero {
		return isTorn
	}
	return isJunk
}
