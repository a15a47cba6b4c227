package spool

import (
	"errors"
	"slices"
	"syscall"
)

// degrade begins, or goes on, to keep frames in memory. The caller holds app.
func (s *Spool) degrade(err error) {
	first := s.fail == nil
	s.fail, s.lastTry = err, s.now()
	why := "the disk takes no frames: " + err.Error() + ": "
	switch {
	case errors.Is(err, errFull):
		why = err.Error() + ": mend it, or raise max_size"
	case isFull(err):
		why += "free some space, or lower max_size"
	case errors.Is(err, syscall.EROFS):
		why += "mount the file system writable"
	default:
		why += "look at the disk and its permissions"
	}
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	if first {
		s.log.Warn("spool goes on in memory", "dir", s.dir, "reason", why)
	}
}

// remember keeps a frame in memory and counts it in HEAD, which needs no new
// space on the disk, so that it is booked should the process die.
func (s *Spool) remember(h header, frame []byte) {
	frame = slices.Clone(frame)
	s.mu.Lock()
	s.mem = append(s.mem, memFrame{h, frame})
	s.memSize += int64(len(frame))
	s.newest = h.time
	s.head = h.to()
	s.ring()
	s.mu.Unlock()
	s.writeHead()
}

func (s *Spool) memoryLimit() int64 {
	if s.o.MemoryBytes > 0 {
		return s.o.MemoryBytes
	}
	return defaultMemory
}

// makeMemoryRoom frees memory until n more bytes fit, or the disk takes frames
// again. One frame always fits, however long. The caller holds app.
func (s *Spool) makeMemoryRoom(n int) bool {
	for s.fail != nil && len(s.mem) > 0 && s.memSize+int64(n) > s.memoryLimit() {
		low, any := s.lowest()
		s.mu.Lock()
		wait := s.o.WhenFull == Wait
		var oldest *segment
		if len(s.segs) > 0 {
			oldest = s.segs[0]
		}
		s.mu.Unlock()
		switch {
		case any && s.mem[0].h.seq < low: // everybody has done it
			s.evictMemory()
		case any && wait:
			return false
		case oldest != nil && isFull(s.fail) && s.evict(oldest):
			s.flush()
		default:
			s.evictMemory()
		}
	}
	return true
}

// evictMemory gives up the oldest frame in memory. The caller holds app.
func (s *Spool) evictMemory() {
	s.mu.Lock()
	r := s.mem[0]
	s.popMemory()
	s.tailGap = Evicted
	if len(s.segs) == 0 {
		s.removed = later(s.removed, r.h.to())
	}
	s.mu.Unlock()
	if s.book(r.h.from(), r.h.to()) {
		s.evicted.Add(int64(len(r.frame)))
	}
}

// popMemory takes the oldest frame off the memory. The caller holds app and mu.
func (s *Spool) popMemory() {
	s.memSize -= int64(len(s.mem[0].frame))
	s.mem[0] = memFrame{}
	s.mem = s.mem[1:]
	if len(s.mem) == 0 {
		s.mem = nil
	}
}

// flush writes what is in memory to the disk, in order, and reports whether the
// disk has taken it all. The caller holds app.
func (s *Spool) flush() bool {
	s.lastTry = s.now()
	for len(s.mem) > 0 {
		r := s.mem[0]
		if !s.makeRoom(r.h.size()) {
			s.degrade(errFull)
			return false
		}
		if err := s.write(r.h, r.frame); err != nil {
			s.degrade(err)
			return false
		}
		s.publish(r.h, false)
		s.mu.Lock()
		s.popMemory()
		s.mu.Unlock()
	}
	if s.fail != nil {
		s.fail = nil
		s.mu.Lock()
		s.why = ""
		s.mu.Unlock()
		s.log.Info("spool writes to disk again", "dir", s.dir)
		s.signalRoom()
	}
	return true
}
