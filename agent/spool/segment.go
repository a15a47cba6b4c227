package spool

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// segment is one file of consecutive records.
type segment struct {
	first Seq
	path  string
	seal  uint32

	hmu  sync.Mutex // guards the handle
	f    File
	refs int

	// Guarded by Spool.mu.
	size     int64 // bytes that readers may look at
	start    mark  // zero until known: see Spool.load
	end      mark  // zero unless known: behind the last record
	created  int64 // Unix ms, 0 unless start is known
	youngest int64 // Unix ms of the youngest record; 0 unless known
	gap      Fate  // of what is missing before start: Damaged or Evicted
	unsynced bool
	bad      []int64 // offsets of damage met
}

func newSegment(dir string, first Seq) *segment {
	return &segment{first: first, path: dir + "/" + segName(first), seal: sealOf(first), gap: Damaged}
}

// acquire returns the segment's file, open until the matching release. It is
// the same file for all, so that a segment costs one descriptor.
func (g *segment) acquire(fs FS) (File, error) {
	g.hmu.Lock()
	defer g.hmu.Unlock()
	if g.f == nil {
		f, err := fs.Open(g.path, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		g.f = f
	}
	g.refs++
	return g.f, nil
}

func (g *segment) release() {
	g.hmu.Lock()
	defer g.hmu.Unlock()
	if g.refs--; g.refs == 0 {
		_ = g.f.Close() // what matters was reported by Sync
		g.f = nil
	}
}

// read calls f with the segment's file.
func (g *segment) read(fs FS, f func(File) error) error {
	h, err := g.acquire(fs)
	if err != nil {
		return err
	}
	defer g.release()
	return f(h)
}

// errUnreadable says that nothing in a segment can be read.
var errUnreadable = errors.New("nothing in the segment can be read")

// load makes sure that start, created and gap of g are known, from its header
// or else from the first record that can be read. A segment that is gone or
// holds nothing readable is taken off the list, and load returns false; other
// errors are worth another try.
func (s *Spool) load(g *segment) (bool, error) {
	s.mu.Lock()
	known, size, top := g.start.seq != 0, g.size, mark{s.limit(g), s.head.total}
	s.mu.Unlock()
	if known {
		return true, nil
	}
	var h segHeader
	var bad bool
	err := g.read(s.fs, func(f File) (err error) {
		h, bad, err = readSegHeader(f, g, size, top, &s.pool)
		return err
	})
	switch {
	case errors.Is(err, errUnreadable), errors.Is(err, fs.ErrNotExist):
		s.setAside(g, err)
		return false, nil
	case err != nil:
		s.readFailures.Add(1)
		return false, err
	}
	if bad {
		s.noteBad(g, 0)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.start, g.created = h.start, h.created
	if h.evicts {
		g.gap = Evicted
	}
	return true, nil
}

// readSegHeader reads the header of g, or makes one up from its first record,
// in which case bad is true.
func readSegHeader(f File, g *segment, size int64, top mark, pool *chunks) (h segHeader, bad bool, err error) {
	p := make([]byte, headLen)
	if size >= headLen {
		// A header that cannot be read is as good as one that is damaged.
		if _, err = f.ReadAt(p, 0); err == nil {
			if h, ok := parseSegHeader(p, g.first); ok {
				return h, false, nil
			}
		}
	}
	w := newWalker(pool, g.first)
	w.f, w.size, w.max = f, size, top
	defer w.win.drop()
	for {
		r, is, err := w.header()
		if err != nil {
			is = w.resync()
		}
		switch is {
		case isRecord:
			return segHeader{start: r.from(), created: r.time}, true, nil
		case isHole:
		default:
			return segHeader{}, true, errUnreadable
		}
	}
}

// limit returns the number at or behind which no frame of g can be.
// The caller holds s.mu.
func (s *Spool) limit(g *segment) Seq {
	if i := slices.Index(s.segs, g); i >= 0 && i+1 < len(s.segs) {
		return s.segs[i+1].first
	}
	if len(s.mem) > 0 {
		return s.mem[0].h.seq
	}
	return s.head.seq
}

// noteBad counts damage at off, once for all readers that meet it.
func (s *Spool) noteBad(g *segment, off int64) {
	s.mu.Lock()
	news := !slices.Contains(g.bad, off)
	if news {
		g.bad = append(g.bad, off)
	}
	n := len(g.bad)
	s.mu.Unlock()
	if news {
		s.badRecords.Add(1)
	}
	if news && n == 1 {
		s.log.Warn("spool segment is damaged; what can be read of it is read, the rest is booked as damaged", "file", g.path, "offset", off)
	}
}

// unlist takes g off the list, and in the same breath says that the spool
// removed all before removed, if that is a place. It returns false if somebody
// else has taken g off.
func (s *Spool) unlist(g *segment, removed mark) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.segs, g)
	if i < 0 {
		return false
	}
	s.segs = slices.Delete(s.segs, i, i+1)
	s.bytes -= g.size
	s.removed = later(s.removed, removed)
	return true
}

// setAside takes a segment off the list of which nothing can be read, and
// keeps its file under another name, for somebody with better tools.
func (s *Spool) setAside(g *segment, why error) {
	if !s.unlist(g, mark{}) {
		return
	}
	s.badSegments.Add(1)
	s.log.Warn("spool segment cannot be read; its frames are booked as damaged", "file", g.path, "error", why)
	if !errors.Is(why, fs.ErrNotExist) {
		s.renameBad(g.path, g.size)
	}
}

// renameBad keeps what cannot be read out of the way without deleting it.
func (s *Spool) renameBad(path string, size int64) {
	if err := s.fs.Rename(path, path+badSuffix); err != nil {
		s.writeFailures.Add(1)
		return
	}
	s.badBytes.Add(size)
}

// discard deletes the file of a segment that is off the list; a damaged one is
// kept under another name, because deleting it would delete what was not read.
func (s *Spool) discard(g *segment) {
	s.mu.Lock()
	bad, size := len(g.bad) > 0, g.size
	s.mu.Unlock()
	if bad {
		s.badSegments.Add(1)
		s.renameBad(g.path, size)
		return
	}
	if err := s.fs.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.writeFailures.Add(1)
		s.log.Warn("spool segment that is no longer needed cannot be removed; remove it by hand once the agent has stopped", "file", g.path, "error", err)
	}
}
