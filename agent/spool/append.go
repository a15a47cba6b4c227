package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"syscall"
	"time"
)

const keepScratch = 4 << 20 // a longer frame's buffer is not worth keeping

// errFull is why frames stay in memory while a spool that waits has no room.
var errFull = errors.New("the spool has reached max_size and waits for its slowest destination")

// Append writes one frame and returns its number. On return the frame survives
// the death of the process; it survives the death of the machine after the next
// sync, which Sync forces. items is what the frame holds, for the books.
//
// With Wait it blocks while there is no room, until ctx ends. While the disk
// takes nothing, frames are kept in memory (Stats.Degraded says so), and then
// they do not survive the process. An error means that the frame is not in the
// spool and is in nobody's books. The caller may reuse frame at once.
func (s *Spool) Append(ctx context.Context, frame []byte, items int) (Seq, error) {
	if len(frame) > MaxFrame {
		return 0, fmt.Errorf("spool frame of %d bytes: the limit is %d", len(frame), MaxFrame)
	}
	if items < 0 || items > math.MaxUint32 {
		return 0, fmt.Errorf("BUG: spool frame of %d items", items)
	}
	for {
		s.app.Lock()
		seq, full, err := s.appendLocked(frame, items)
		s.app.Unlock()
		if full == nil {
			return seq, err
		}
		select {
		case <-full:
		case <-ctx.Done():
			return 0, fmt.Errorf("append to full spool %s: %w", s.dir, ctx.Err())
		}
	}
}

// appendLocked is one attempt. If there is no room, full is closed once there
// may be. The caller holds app.
func (s *Spool) appendLocked(frame []byte, items int) (seq Seq, full <-chan struct{}, err error) {
	if s.closed.Load() {
		return 0, nil, ErrClosed
	}
	now := s.now()
	s.mu.Lock()
	h := header{seq: s.head.seq, total: s.head.total, time: now.UnixMilli(), items: uint32(items), length: uint32(len(frame))}
	maxBytes := s.o.MaxBytes
	s.mu.Unlock()
	if maxBytes > 0 && headLen+h.size() > maxBytes {
		return 0, nil, fmt.Errorf("spool frame of %d bytes: max_size is only %d: raise it", len(frame), maxBytes)
	}
	if h.total > maxTotal-uint64(items) {
		return 0, nil, fmt.Errorf("spool %s has counted to its end", s.dir)
	}
	if s.fail != nil && (now.Sub(s.lastTry) >= retryEvery || now.Before(s.lastTry)) {
		s.flush()
	}
	if s.fail == nil {
		if !s.makeRoom(h.size()) {
			// The bell is hung up before the second look, so that no room that
			// comes in between is missed.
			full := s.hangBell()
			if !s.makeRoom(h.size()) {
				return 0, full, nil
			}
		}
		err := s.write(h, frame)
		if err == nil {
			s.publish(h, true)
			return h.seq, nil, nil
		}
		s.degrade(err)
	}
	if !s.makeMemoryRoom(len(frame)) {
		full := s.hangBell()
		if !s.makeMemoryRoom(len(frame)) {
			return 0, full, nil
		}
	}
	if s.fail == nil { // making room in memory has brought the disk back
		return s.appendLocked(frame, items)
	}
	s.remember(h, frame)
	return h.seq, nil, nil
}

// write writes one record behind the others, in a new segment if it must. If
// that fails it cuts off what it began, and tries once more in a new file,
// because the trouble may lie with the old one.
func (s *Spool) write(h header, frame []byte) error {
	var errs error
	for try := range 2 {
		if err := s.roll(h); err != nil {
			s.writeFailures.Add(1)
			errs = errors.Join(errs, err)
			if try == 0 && isFull(err) && s.dropConsumed() {
				continue
			}
			return errs
		}
		g := s.active
		s.scratch = appendRecord(s.scratch[:0], g.seal, h, frame)
		off := s.size(g)
		_, err := g.f.WriteAt(s.scratch, off)
		if cap(s.scratch) > keepScratch {
			s.scratch = nil
		}
		if err == nil {
			return nil
		}
		s.writeFailures.Add(1)
		errs = errors.Join(errs, fmt.Errorf("write %d bytes to %s: %w", h.size(), g.path, err))
		// What cannot be cut off stays behind the segment's end, where readers
		// of this process do not look and later ones find the record anew in
		// the next segment.
		_ = g.f.Truncate(off)
		s.sealActive()
		if isFull(err) && !s.dropConsumed() {
			return errs
		}
	}
	return errs
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func (s *Spool) size(g *segment) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return g.size
}

// roll makes sure that there is an active segment with room for h.
func (s *Spool) roll(h header) error {
	s.mu.Lock()
	limit, o := s.o.SegmentBytes, s.o
	g := s.active
	full := false
	if limit <= 0 {
		limit = defaultSegment
		if o.MaxBytes > 0 {
			limit = max(minSegment, min(limit, o.MaxBytes/16))
		}
	}
	if g != nil && g.size > headLen {
		full = g.size+h.size() > limit || rollAge(o) > 0 && h.time-g.created > rollAge(o).Milliseconds()
	}
	evicts := s.tailGap == Evicted
	s.mu.Unlock()
	if g != nil && !full {
		return nil
	}
	s.sealActive()
	g = newSegment(s.dir, h.seq)
	f, err := s.fs.Open(g.path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		// Numbers are never used twice, so what is there was never ours to lose;
		// still it is not ours to delete.
		s.renameBad(g.path, 0)
		f, err = s.fs.Open(g.path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	}
	if err != nil {
		return fmt.Errorf("create segment: %w", err)
	}
	p := appendSegHeader(nil, segHeader{start: h.from(), created: h.time, evicts: evicts})
	if _, err := f.WriteAt(p, 0); err != nil {
		_ = f.Close()
		_ = s.fs.Remove(g.path)
		return fmt.Errorf("begin segment %s: %w", g.path, err)
	}
	g.f, g.refs = f, 1
	g.size, g.start, g.end, g.created = headLen, h.from(), h.from(), h.time
	if evicts {
		g.gap = Evicted
	}
	s.active = g
	s.mu.Lock()
	s.segs = append(s.segs, g)
	s.bytes += headLen
	s.tailGap = Damaged
	s.names = true
	s.mu.Unlock()
	s.retrim()
	return nil
}

// rollAge is the age at which a segment ends though it is not full, so that
// MaxAge and Retain do not wait for a slow spool to fill one. 0: never.
func rollAge(o Options) time.Duration {
	age := o.MaxAge
	if o.Retain > 0 && (age == 0 || o.Retain < age) {
		age = o.Retain
	}
	if age <= 0 {
		return 0
	}
	return max(age/8, time.Minute)
}

// sealActive ends the active segment; one that holds nothing is removed.
func (s *Spool) sealActive() {
	g := s.active
	if g == nil {
		return
	}
	s.active = nil
	if s.size(g) <= headLen {
		s.unlist(g, mark{})
		s.discard(g)
		if g.gap == Evicted {
			s.mu.Lock()
			s.tailGap = Evicted // the next segment inherits what was missing before this one
			s.mu.Unlock()
		}
	}
	g.release()
}

// publish shows a record that was written to readers. fresh is false for one
// that they could read in memory before.
func (s *Spool) publish(h header, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.active
	g.size += h.size()
	g.end = h.to()
	g.youngest = max(g.youngest, h.time)
	g.unsynced = true
	s.bytes += h.size()
	s.dirty = true
	if fresh {
		s.newest = h.time
		s.head = h.to()
		s.ring()
	}
}

// ring wakes the lanes that wait for a frame. The caller holds mu.
func (s *Spool) ring() {
	for i, l := range s.waiting {
		l.wake()
		s.waiting[i] = nil
	}
	s.waiting = s.waiting[:0]
}

// hangBell returns a channel that is closed when there may be room again.
func (s *Spool) hangBell() <-chan struct{} {
	s.mu.Lock()
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	s.hungry.Store(true)
	return room
}

func (s *Spool) signalRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hungry.Store(false)
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// makeRoom frees segments until n more bytes fit, oldest first: those that
// every cursor is past, and with DropOldest, or without cursors, any. It
// reports whether they fit now. The caller holds app.
func (s *Spool) makeRoom(n int64) bool {
	for {
		s.mu.Lock()
		over := s.o.MaxBytes > 0 && s.bytes+n > s.o.MaxBytes
		wait := s.o.WhenFull == Wait && len(s.cursors) > 0
		var g *segment
		if len(s.segs) > 0 && (s.segs[0] != s.active || s.segs[0].size > headLen) {
			g = s.segs[0]
		}
		s.mu.Unlock()
		if !over || g == nil { // Append has checked that n fits into an empty spool
			return true
		}
		if wait && !s.passed(g) {
			return false
		}
		if g == s.active {
			s.sealActive()
		}
		if wait {
			s.syncCursors()
			s.drop(g)
		} else if !s.evict(g) {
			return false
		}
	}
}

// passed reports whether every cursor has done all frames of g, and there is one.
func (s *Spool) passed(g *segment) bool {
	low, any := s.lowest()
	return any && s.passedBy(g, low)
}

func (s *Spool) passedBy(g *segment, low Seq) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.end.seq != 0 {
		return low >= g.end.seq
	}
	return low >= s.limit(g)
}

// lowest returns the lowest frame that some cursor has not done.
func (s *Spool) lowest() (low Seq, any bool) {
	low = math.MaxUint64
	for _, c := range s.allCursors() {
		low, any = min(low, c.low()), true
	}
	return low, any
}

// dropConsumed removes sealed segments that every cursor is past, Retain or
// not. It reports whether there were any.
func (s *Spool) dropConsumed() bool {
	low, any := s.lowest()
	if !any {
		return false
	}
	s.syncCursors()
	return s.removeBefore(low, math.MaxInt64) > 0
}

// removeBefore removes the oldest segments that end at or before low, and whose
// youngest record is not younger than keep, Unix ms. The caller holds app.
func (s *Spool) removeBefore(low Seq, keep int64) (removed int) {
	for {
		s.mu.Lock()
		var g *segment
		if len(s.segs) > 0 && s.segs[0] != s.active {
			g = s.segs[0]
		}
		s.mu.Unlock()
		if g == nil || !s.passedBy(g, low) {
			return removed
		}
		if keep != math.MaxInt64 && s.youngest(g) > keep {
			return removed
		}
		s.drop(g)
		removed++
	}
}

// youngest returns the append time of the last record of g, or a time not much
// later: that of the first record behind it.
func (s *Spool) youngest(g *segment) int64 {
	for {
		s.mu.Lock()
		var next *segment
		t := g.youngest
		if i := slices.Index(s.segs, g); t == 0 && i >= 0 && i+1 < len(s.segs) {
			next = s.segs[i+1]
		} else if t == 0 {
			t = s.newest
		}
		if next != nil && next.start.seq != 0 {
			t, next = next.created, nil
		}
		s.mu.Unlock()
		if next == nil {
			return t
		}
		if _, err := s.load(next); err != nil {
			return math.MaxInt64 // unknown: keep it
		}
	}
}

// endOf returns the mark behind the last frame of g: as far as it is known, or
// else where the next segment begins. ok is false if that cannot be read now.
func (s *Spool) endOf(g *segment) (end mark, ok bool) {
	for {
		s.mu.Lock()
		var next *segment
		end = g.end
		if i := slices.Index(s.segs, g); end.seq == 0 && i >= 0 && i+1 < len(s.segs) {
			next = s.segs[i+1]
			end = next.start
		} else if end.seq == 0 && len(s.mem) > 0 {
			end = s.mem[0].h.from()
		} else if end.seq == 0 {
			end = s.head
		}
		s.mu.Unlock()
		if end.seq != 0 {
			return end, true
		}
		if _, err := s.load(next); err != nil {
			return mark{}, false
		}
	}
}

// drop deletes a sealed segment that every cursor on disk is past.
func (s *Spool) drop(g *segment) {
	if s.unlist(g, mark{}) {
		s.discard(g)
	}
	s.retrim()
}

// evict takes a sealed segment, the oldest, out of the spool. Cursors book what
// they had not been handed of it; for one that is past it nothing changes. The
// order is what makes it safe to die in between: first the cursors' books, then
// HEAD, which says that it was us, then the file. The caller holds app.
func (s *Spool) evict(g *segment) bool {
	end, ok := s.endOf(g)
	if !ok {
		return false
	}
	if !s.unlist(g, end) {
		return true // a reader has set it aside meanwhile
	}
	if s.book(mark{}, end) {
		s.evicted.Add(g.size)
	}
	s.writeHead()
	s.discard(g)
	s.retrim()
	return true
}

// book lets every cursor that stands in [from, to) go on at to, and book what
// it leaves out as evicted. It reports whether there was such a cursor.
func (s *Spool) book(from, to mark) (any bool) {
	for _, c := range s.allCursors() {
		if c.skip(from, to) {
			any = true
		}
	}
	return any
}

// evictAged takes out what is older than MaxAge, whoever has read it. A segment
// from the future, written before a clock was set back, is as old as the one
// behind it. The caller holds app.
func (s *Spool) evictAged() {
	s.mu.Lock()
	maxAge := s.o.MaxAge
	segs := slices.Clone(s.segs)
	s.mu.Unlock()
	if maxAge <= 0 {
		return
	}
	now := s.now().UnixMilli()
	due := 0
	for i, g := range segs {
		if s.size(g) <= headLen && g == s.active {
			break
		}
		t := s.youngest(g)
		if t > now {
			continue
		}
		if now-t <= maxAge.Milliseconds() {
			break
		}
		due = i + 1
	}
	for _, g := range segs[:due] {
		if g == s.active {
			s.sealActive()
		}
		if !s.evict(g) {
			return
		}
	}
	for len(segs) == due && len(s.mem) > 0 && now-s.mem[0].h.time > maxAge.Milliseconds() {
		s.evictMemory()
	}
}

// writeHead writes the HEAD file. If that fails, less is known after a crash
// about what was lost in it; nothing else depends on it. The caller holds app.
func (s *Spool) writeHead() {
	s.mu.Lock()
	h := headPlace{head: s.head, removed: s.removed, synced: s.synced}
	s.mu.Unlock()
	n := len(appendHeadPlace(s.headFile.payload(), h))
	var err error
	if s.headBad {
		err = s.headFile.create(s.fs, s.dir, headName, n)
		s.headBad = err != nil
	} else {
		err = s.headFile.write(n)
	}
	if err != nil {
		s.writeFailures.Add(1)
	}
}
