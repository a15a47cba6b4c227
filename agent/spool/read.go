package spool

import (
	"errors"
	"io/fs"
	"slices"
)

type foundWhat uint8

const (
	foundNothing foundWhat = iota // the end of the spool
	foundFrame
	foundGap // frames that will never be read
)

// found is what a reader finds at a place.
type found struct {
	is    foundWhat
	h     header
	frame []byte
	ch    *chunk // what frame points into; nil if that is plain memory
	to    mark   // where to go on
	fate  Fate   // of a gap
}

const readTries = 3 // how often a place that cannot be read is tried before it counts as damaged

// reader finds frames by their numbers. It keeps its place in a segment, so
// that frames in order cost one look each. One goroutine at a time.
type reader struct {
	s     *Spool
	g     *segment // acquired; nil if none
	w     walker
	fails int // in a row, at the same place
}

// leave lets go of the reader's segment and buffer.
func (r *reader) leave() {
	if r.g != nil {
		r.g.release()
		r.g = nil
	}
	r.w.win.drop()
}

// enter makes g the reader's segment, with the walker at its beginning.
func (r *reader) enter(g *segment) error {
	f, err := g.acquire(r.s.fs)
	if err != nil {
		return err
	}
	r.leave()
	r.g = g
	r.w = newWalker(&r.s.pool, g.first)
	r.w.f, r.w.seal = f, g.seal
	return nil
}

// scene is the spool as a reader finds it, at one moment.
type scene struct {
	head, removed mark
	g             *segment // may hold the place
	size          int64
	end           mark     // of g, if known
	next          *segment // behind the place; nil if there is none
	mem           mark     // where memory begins; seq 0 if there is none
	limit         Seq      // frames of g are below it
	gap           Fate     // of what is missing at the end
	leave         bool     // the reader has no use for its segment now
}

// look finds out where at is. If it is in memory, or not there yet, f says so
// and is all there is to know.
func (r *reader) look(at mark) (sc scene, f found, ok bool) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	i, exact := slices.BinarySearchFunc(s.segs, at.seq, func(g *segment, seq Seq) int {
		switch {
		case g.first < seq:
			return -1
		case g.first > seq:
			return 1
		}
		return 0
	})
	if exact {
		i++
	}
	// A file that is deleted while it is open takes up its space as before. On a
	// full disk that would be for ever: no space, no new segment, no going on.
	sc.leave = r.g != nil && (len(s.mem) > 0 || i == 0 || s.segs[i-1] != r.g)
	if at.seq >= s.head.seq {
		// Wait at the end of the newest segment, where the next frame will be.
		if i > 0 && s.segs[i-1].end.seq == at.seq && (r.g != s.segs[i-1] || r.w.min != at.seq) && s.segs[i-1] == s.segs[len(s.segs)-1] {
			sc.g, sc.size = s.segs[i-1], s.segs[i-1].size
		}
		return sc, found{}, true
	}
	if len(s.mem) > 0 && at.seq >= s.mem[0].h.seq {
		m := s.mem[at.seq-s.mem[0].h.seq]
		f = found{is: foundFrame, h: m.h, frame: m.frame, to: m.h.to()}
		if m.h.total != at.total {
			f = found{is: foundGap, to: m.h.from(), fate: Damaged}
		}
		return sc, f, true
	}
	sc = scene{head: s.head, removed: s.removed, gap: s.tailGap, limit: s.head.seq}
	if len(s.mem) > 0 {
		sc.mem = s.mem[0].h.from()
		sc.limit = sc.mem.seq
	}
	if i < len(s.segs) {
		sc.next = s.segs[i]
		sc.limit = sc.next.first
	}
	if i > 0 {
		sc.g = s.segs[i-1]
		sc.size, sc.end = sc.g.size, sc.g.end
	}
	return sc, found{}, false
}

// read returns what is at at: a frame, a gap, or nothing yet. An error means
// that the disk could not be read; the same call may be tried again, and the
// third time the place counts as damaged.
func (r *reader) read(at mark) (found, error) {
	for {
		sc, f, ok := r.look(at)
		if ok {
			if sc.leave {
				r.leave()
			}
			if sc.g != nil && r.enter(sc.g) == nil {
				r.w.off, r.w.min = sc.size, at.seq
			}
			return f, nil
		}
		if sc.g == nil {
			if at.seq < sc.removed.seq {
				return found{is: foundGap, to: sc.removed, fate: Evicted}, nil
			}
			f, again, err := r.beyond(&sc)
			if again {
				continue
			}
			return f, err
		}
		if sc.end.seq == at.seq {
			f, again, err := r.beyond(&sc)
			if again {
				continue
			}
			return f, err
		}
		if r.g != sc.g || at.seq < r.w.min {
			if err := r.enter(sc.g); errors.Is(err, fs.ErrNotExist) {
				r.s.setAside(sc.g, err)
				continue
			} else if err != nil {
				return found{}, err
			}
		}
		f, here, err := r.within(&sc, at)
		if err != nil {
			return found{}, err
		}
		if here {
			return f, nil
		}
		f, again, err := r.beyond(&sc)
		if again {
			continue
		}
		return f, err
	}
}

// within looks for at in the reader's segment; here is false if nothing at or
// behind it is there.
func (r *reader) within(sc *scene, at mark) (f found, here bool, err error) {
	r.w.size = sc.size
	r.w.max = mark{sc.limit, sc.head.total}
	for {
		place := r.w.off
		h, is, err := r.w.header()
		if err != nil {
			if r.fails++; r.fails < readTries {
				return found{}, false, err
			}
			r.fails = 0
			is = r.w.resync()
		}
		switch is {
		case isHole:
			r.s.noteBad(r.g, place)
			continue
		case isJunk:
			r.s.noteBad(r.g, place)
			return found{}, false, nil
		case isTorn:
			if place == headLen {
				r.s.noteBad(r.g, 0) // a whole segment of zeros, or the like
			}
			return found{}, false, nil
		case isEnd:
			return found{}, false, nil
		}
		switch {
		case h.seq < at.seq:
			r.w.pass(h)
			continue
		case h.seq > at.seq || h.total > at.total:
			return found{is: foundGap, to: h.from(), fate: Damaged}, true, nil
		}
		frame, ok, err := r.w.body(h)
		if err != nil {
			if r.fails++; r.fails < readTries {
				return found{}, false, err
			}
			ok = false
		}
		r.fails = 0
		r.w.pass(h)
		if !ok || h.total < at.total {
			r.s.noteBad(r.g, place)
			return found{is: foundGap, to: later(at, h.to()), fate: Damaged}, true, nil
		}
		return found{is: foundFrame, h: h, frame: frame, ch: r.w.win.ch, to: h.to()}, true, nil
	}
}

// beyond returns the gap up to the next frame behind the scene's segment; again
// is true if the scene has changed.
func (r *reader) beyond(sc *scene) (f found, again bool, err error) {
	f = found{is: foundGap, to: sc.head, fate: sc.gap}
	switch {
	case sc.next != nil:
		ok, err := r.s.load(sc.next)
		if err != nil || !ok {
			return found{}, err == nil, err
		}
		r.s.mu.Lock()
		f.to, f.fate = sc.next.start, sc.next.gap
		r.s.mu.Unlock()
	case sc.mem.seq != 0:
		f.to = sc.mem
	}
	return f, false, nil
}

// Scan calls f for every frame behind after that can be read, oldest first, up
// to the newest at the time of the call. A frame is valid during the call of f
// only. An error of f ends the scan and is returned; frames that are damaged are
// left out.
func (s *Spool) Scan(after Seq, f func(seq Seq, frame []byte) error) error {
	if s.closed.Load() {
		return ErrClosed
	}
	head := s.headMark()
	at, err := s.markOf(From{Oldest: true})
	if err != nil {
		return err
	}
	r := reader{s: s}
	defer r.leave()
	if after >= at.seq {
		if at, err = r.markAfter(after); err != nil {
			return err
		}
	}
	for at.seq < head.seq {
		got, err := r.read(at)
		if err != nil {
			s.readFailures.Add(1)
			if r.fails > 0 { // it counts as damaged soon
				continue
			}
			return err
		}
		if got.is == foundNothing {
			return nil
		}
		if got.is == foundFrame {
			if err := f(got.h.seq, got.frame); err != nil {
				return err
			}
		}
		at = got.to
	}
	return nil
}

// markAfter returns the mark behind frame after, or behind the gap it is in.
func (r *reader) markAfter(after Seq) (mark, error) {
	// A total of 0 makes the reader report where it really is.
	at := mark{seq: after + 1}
	f, err := r.read(at)
	switch {
	case err != nil:
		return mark{}, err
	case f.is == foundNothing:
		return mark{seq: after + 1}, nil
	case f.is == foundGap:
		return f.to, nil
	}
	return f.h.from(), nil
}

// Tail returns the number behind which at most so many bytes of frames follow:
// where a Scan of the newest frames begins. It is 0 if that is all there is.
func (s *Spool) Tail(bytes int64) Seq {
	s.mu.Lock()
	head := s.head
	segs := slices.Clone(s.segs)
	left := bytes - s.memSize
	mem := s.mem
	s.mu.Unlock()
	if left < 0 {
		for i := len(mem) - 1; i >= 0; i-- {
			if bytes -= int64(len(mem[i].frame)); bytes < 0 {
				return mem[i].h.seq
			}
		}
	}
	for i := len(segs) - 1; i >= 0; i-- {
		size := s.size(segs[i])
		if left >= size {
			left -= size
			continue
		}
		limit := head.seq
		if i+1 < len(segs) {
			limit = segs[i+1].first
		}
		return s.cut(segs[i], size, size-left, mark{limit, head.total})
	}
	if len(segs) > 0 {
		return segs[0].first - 1
	}
	return 0
}

// cut returns the number of the last frame of g that begins before off.
func (s *Spool) cut(g *segment, size, off int64, top mark) Seq {
	last := g.first - 1
	err := g.read(s.fs, func(f File) error {
		w := newWalker(&s.pool, g.first)
		w.f, w.size, w.max = f, size, top
		defer w.win.drop()
		for w.off < off {
			h, is, err := w.header()
			if err != nil || is == isJunk || is == isTorn || is == isEnd {
				return err
			}
			if is == isRecord && w.off < off {
				last = h.seq
				w.pass(h)
			}
		}
		return nil
	})
	if err != nil {
		return top.seq - 1 // of a segment that cannot be read, nothing
	}
	return last
}

// timeAt returns the append time, Unix ms, of the frame at at, or of the next
// one that can be read; 0 if there is none.
func (s *Spool) timeAt(at mark) int64 {
	r := reader{s: s}
	defer r.leave()
	for range 4 { // a gap or two may come first
		f, err := r.read(at)
		if err != nil || f.is == foundNothing {
			return 0
		}
		if f.is == foundFrame {
			return f.h.time
		}
		at = f.to
	}
	return 0
}

// bytesBetween estimates the bytes of frames [a, b), as if the frames of one
// segment were all of one length.
func (s *Spool) bytesBetween(a, b Seq) int64 {
	if a >= b {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var sum float64
	part := func(lo, hi Seq, size int64) {
		from, to := max(a, lo), min(b, hi)
		if from < to {
			sum += float64(size) * float64(to-from) / float64(hi-lo)
		}
	}
	for i, g := range s.segs {
		hi := g.end.seq
		if hi == 0 && i+1 < len(s.segs) {
			hi = s.segs[i+1].first
		}
		if hi > g.first {
			part(g.first, hi, g.size)
		}
	}
	if len(s.mem) > 0 {
		part(s.mem[0].h.seq, s.head.seq, s.memSize)
	}
	return int64(sum)
}

func (s *Spool) headMark() mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head
}
