package spool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Sync makes everything appended so far survive a power cut, and the cursors'
// places with it. After an error the frames since the last good Sync may not
// survive one; they can be read all the same, and Sync does not try them again,
// because the kernel may have dropped what it could not write.
func (s *Spool) Sync() error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	head := s.head
	if len(s.mem) > 0 {
		head = s.mem[0].h.from()
	}
	names := s.names
	s.names, s.dirty = false, false
	var todo []*segment
	for _, g := range s.segs {
		if g.unsynced {
			g.unsynced = false
			todo = append(todo, g)
		}
	}
	memory := len(s.mem)
	// Frames that were accepted and are in no segment: only HEAD remembers that
	// their numbers are used up.
	ahead := len(s.segs) == 0 || s.segs[len(s.segs)-1].end != s.head
	s.mu.Unlock()

	var errs error
	for _, g := range todo {
		if err := g.read(s.fs, File.Sync); err != nil && s.listed(g) {
			errs = errors.Join(errs, fmt.Errorf("sync %s: %w", g.path, err))
			s.leaveSegment(g)
		}
	}
	if names {
		if err := s.fs.SyncDir(s.dir); err != nil {
			errs = errors.Join(errs, fmt.Errorf("sync %s: %w", s.dir, err))
			s.mu.Lock()
			s.names = true
			s.mu.Unlock()
		}
	}
	if errs == nil {
		s.mu.Lock()
		s.synced = max(s.synced, head.seq)
		s.mu.Unlock()
	} else {
		s.syncFailures.Add(1)
	}
	s.app.Lock()
	s.writeHead()
	s.app.Unlock()
	if ahead {
		if err := s.headFile.sync(); err != nil {
			s.syncFailures.Add(1)
			errs = errors.Join(errs, fmt.Errorf("sync %s of spool %s: %w", headName, s.dir, err))
		}
	}
	low, any, err := s.syncCursors()
	errs = errors.Join(errs, err)
	s.trim(low, any)
	if memory > 0 {
		errs = errors.Join(errs, fmt.Errorf("sync spool %s: %d frames are in memory only", s.dir, memory))
	}
	return errs
}

func (s *Spool) listed(g *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.segs, g)
}

// leaveSegment makes the next Append begin a new segment, away from one that
// could not be synced.
func (s *Spool) leaveSegment(g *segment) {
	s.log.Warn("spool segment could not be synced; the next one begins", "file", g.path)
	s.app.Lock()
	defer s.app.Unlock()
	if s.active == g {
		s.sealActive()
	}
}

// syncCursors makes the cursors' files survive a power cut. It returns the
// lowest frame that some cursor on disk has not done, and whether there is a
// cursor at all: what lies before may be deleted.
func (s *Spool) syncCursors() (low Seq, any bool, err error) {
	low = math.MaxUint64
	for _, c := range s.allCursors() {
		c.mu.Lock()
		if c.unsafe && !c.closed {
			if file, err := curName(c.name); err == nil {
				c.save(file)
			}
		}
		low, any = min(low, c.spans[0].lo.seq), true
		dirty := c.dirty
		c.dirty = false
		c.mu.Unlock()
		if !dirty {
			continue
		}
		if e := c.file.sync(); e != nil {
			s.syncFailures.Add(1)
			err = errors.Join(err, fmt.Errorf("sync cursor %q of spool %s: %w", c.name, s.dir, e))
		}
	}
	return low, any, err
}

// trim deletes what no cursor needs and Retain does not keep, and what is too old.
func (s *Spool) trim(low Seq, any bool) {
	s.app.Lock()
	defer s.app.Unlock()
	if any {
		s.mu.Lock()
		keep := s.now().Add(-s.o.Retain).UnixMilli()
		if s.o.Retain <= 0 {
			keep = math.MaxInt64
		}
		s.mu.Unlock()
		if s.removeBefore(low, keep) > 0 {
			s.signalRoom()
		}
	}
	s.evictAged()
	s.retrim()
}

// retrim computes how far a cursor must get for a segment to go. With Retain
// only time makes one go, and the background looks after that.
func (s *Spool) retrim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := uint64(math.MaxUint64)
	if len(s.segs) > 1 && s.o.Retain <= 0 {
		if at = s.segs[0].end.seq; at == 0 {
			at = s.segs[1].first
		}
	}
	s.trimAt.Store(at)
}

func (s *Spool) wakeBackground() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// background syncs, tries a failed disk again, and deletes, until Close.
func (s *Spool) background() {
	last := s.now()
	for {
		s.mu.Lock()
		every := s.o.SyncEvery
		s.mu.Unlock()
		if every == 0 {
			every = defaultSync
		}
		pause := retryEvery
		if every > 0 {
			pause = min(pause, every)
		}
		t := time.NewTimer(pause)
		kicked := false
		select {
		case <-s.quit:
			t.Stop()
			return
		case <-s.kick:
			kicked = true
		case <-t.C:
		}
		t.Stop()
		s.round(&last, every, kicked)
	}
}

// round is what the background does each time it wakes.
func (s *Spool) round(last *time.Time, every time.Duration, kicked bool) {
	now := s.now()
	s.app.Lock()
	if s.fail != nil && (now.Sub(s.lastTry) >= retryEvery || now.Before(s.lastTry)) && s.flush() {
		kicked = true
	}
	s.app.Unlock()
	if s.hungry.Load() { // whatever it was that left no room, it may be over
		s.signalRoom()
	}
	s.mu.Lock()
	dirty := s.dirty || s.names
	s.mu.Unlock()
	for _, c := range s.allCursors() {
		c.mu.Lock()
		dirty = dirty || c.dirty || c.unsafe
		c.mu.Unlock()
	}
	due := now.Sub(*last) >= every || now.Before(*last)
	if every > 0 && dirty && due {
		*last = now
		_ = s.Sync() // counted in Stats, and logged
		return
	}
	low, any := s.lowest()
	if kicked || s.idleTrim(low, any) {
		low, any, _ := s.syncCursors()
		s.trim(low, any)
	}
}

// idleTrim reports whether something may go without a cursor's having moved:
// for its age, or because of a restart or a new cursor.
func (s *Spool) idleTrim(low Seq, any bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segs) == 0 {
		return false
	}
	return s.o.MaxAge > 0 || any && len(s.segs) > 1 && low >= s.segs[1].first
}
