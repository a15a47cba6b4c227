package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Report is what List and Verify find.
type Report struct {
	Segments []SegmentReport // oldest first
	Cursors  []CursorReport  // by name
	Damage   []Damage        // Verify: all of it; List: only what names and headers show
	Bad      []string        // files set aside as *.bad
	Newest   Seq             // of the newest frame
	Items    int64           // appended over the life of the directory
}

// SegmentReport describes one segment.
type SegmentReport struct {
	File      string
	First     Seq
	Frames    int64 // that can be read; of a sealed segment, List takes all for readable
	Items     int64
	Bytes     int64
	FirstTime time.Time
	LastTime  time.Time // List: of a sealed segment, that of the next one's beginning
}

// CursorReport describes one cursor as its file has it.
type CursorReport struct {
	Name    string
	Next    Seq // lowest frame not done
	In      int64
	Waiting int64
	Books   Books
	Ranges  int
	Reset   bool
}

// Damage is one place that cannot be read, and what it costs a cursor that had
// not read it.
type Damage struct {
	File   string
	Offset int64
	What   string
	Frames int64
	Items  int64
}

// List describes the spool in dir without reading its frames. It takes no lock
// and writes nothing, so it is safe beside a running agent.
func List(dir string) (Report, error) { return inspect(disk{}, dir, false) }

// Verify reads the whole spool in dir and checks every checksum. It takes no
// lock and writes nothing, so it is safe beside a running agent.
func Verify(dir string) (Report, error) { return inspect(disk{}, dir, true) }

// inspector goes through a directory, segment by segment.
type inspector struct {
	fs   FS
	dir  string
	deep bool
	pool chunks
	rep  Report
	at   mark // behind the newest frame seen; seq 0 before the first
	// where and what the last damage was, if the cost of it is not known yet
	file string
	off  int64
	what string
}

func inspect(fsys FS, dir string, deep bool) (Report, error) {
	in := inspector{fs: fsys, dir: dir, deep: deep}
	// HEAD first, then the cursors, then the segments: what is appended in
	// between only makes the later ones know more.
	head, err := in.head()
	if err != nil {
		return Report{}, err
	}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return Report{}, fmt.Errorf("list spool %s: %w", dir, err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	var segs []*segment
	var low mark
	top := head.head
	for _, e := range entries {
		if name, ok := parseCurName(e.Name); ok {
			p, ok, err := in.cursor(name, e.Name)
			if err != nil {
				return Report{}, err
			}
			if !ok {
				continue
			}
			if lo := p.spans[0].lo; low.seq == 0 || lo.before(low) {
				low = lo
			}
			for _, sp := range p.spans {
				top = later(later(top, sp.lo), later(sp.hi, sp.seen))
			}
		}
		if first, ok := parseSegName(e.Name); ok {
			g := newSegment(dir, first)
			g.size = e.Size
			segs = append(segs, g)
		}
		if strings.HasSuffix(e.Name, badSuffix) {
			in.rep.Bad = append(in.rep.Bad, dir+"/"+e.Name)
		}
	}
	for i, g := range segs {
		limit := uint64(maxTotal)
		if i+1 < len(segs) {
			limit = segs[i+1].first
		}
		// What the spool itself removed is not missing. A cursor that is not
		// past the rest misses it.
		if in.at.seq == 0 && low.seq != 0 {
			in.at = later(low, head.removed)
			if in.at.seq > g.first {
				in.at = mark{}
			}
		}
		if err := in.segment(g, limit, i+1 == len(segs)); err != nil {
			return Report{}, err
		}
	}
	in.cost(top, "frames that HEAD or a cursor knows of are missing; or the running agent has them in memory")
	in.at = later(in.at, top)
	in.finish()
	return in.rep, nil
}

func (in *inspector) head() (headPlace, error) {
	p, ok, err := in.slots(headName)
	if errors.Is(err, fs.ErrNotExist) {
		return headPlace{}, nil
	}
	if err != nil {
		return headPlace{}, err
	}
	h, valid := parseHeadPlace(p)
	if !ok || !valid {
		in.damage(in.dir+"/"+headName, 0, "both slots are damaged; the segments say where the spool ends", 0, 0)
		return headPlace{}, nil
	}
	return h, nil
}

// slots reads a file of slots. A running agent may be writing one of the two;
// then the other is whole, and once more is enough to see either.
func (in *inspector) slots(name string) (payload []byte, ok bool, err error) {
	f, err := in.fs.Open(in.dir+"/"+name, os.O_RDONLY)
	if err != nil {
		return nil, false, err
	}
	var t slots
	defer t.close()
	for try := 0; try < 2 && !ok; try++ {
		payload, ok = t.open(f)
	}
	for slot := range int64(2) {
		if !ok {
			break
		}
		n, _ := f.ReadAt(t.buf[:], slot*slotEvery)
		if _, good := parseSlot(t.buf[:n]); !good {
			in.damage(in.dir+"/"+name, slot*slotEvery, "one of the two slots is damaged; the other one serves", 0, 0)
		}
	}
	return payload, ok, nil
}

func (in *inspector) cursor(name, file string) (place, bool, error) {
	p, ok, err := in.slots(file)
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, false, nil // forgotten since
	}
	if err != nil {
		return place{}, false, fmt.Errorf("list spool %s: %w", in.dir, err)
	}
	c, valid := parsePlace(p)
	if !ok || !valid {
		in.damage(in.dir+"/"+file, 0, "both slots are damaged; the cursor will begin anew at the oldest frame", 0, 0)
		return place{}, false, nil
	}
	in.rep.Cursors = append(in.rep.Cursors, CursorReport{
		Name: name, Next: c.spans[0].lo.seq, Books: c.books, Ranges: len(c.spans), Reset: c.reset,
		In: int64(c.start.total), // for now: finish needs it
		// The open range's part follows in finish, too.
		Waiting: waitingClosed(c) - int64(c.spans[len(c.spans)-1].lo.total),
	})
	return c, true, nil
}

func waitingClosed(c place) (n int64) {
	for _, sp := range c.spans[:len(c.spans)-1] {
		n += int64(sp.hi.total - sp.lo.total)
	}
	return n
}

// finish fills in what depends on where the spool ends.
func (in *inspector) finish() {
	end := later(in.at, mark{seq: 1})
	in.rep.Newest, in.rep.Items = end.seq-1, int64(end.total)
	for i := range in.rep.Cursors {
		c := &in.rep.Cursors[i]
		c.In = int64(end.total) - c.In
		c.Waiting += int64(end.total)
	}
	slices.SortFunc(in.rep.Cursors, func(a, b CursorReport) int { return strings.Compare(a.Name, b.Name) })
}

func (in *inspector) damage(file string, off int64, what string, frames, items int64) {
	in.rep.Damage = append(in.rep.Damage, Damage{File: file, Offset: off, What: what, Frames: frames, Items: items})
}

// suspect remembers damage until the next good place tells its cost.
func (in *inspector) suspect(file string, off int64, what string) {
	if in.what == "" {
		in.file, in.off, in.what = file, off, what
	}
}

// cost settles what was missing before to; what is said if nothing was suspected.
func (in *inspector) cost(to mark, what string) {
	frames, items := int64(0), int64(0)
	if in.at.seq != 0 && in.at.before(to) {
		frames, items = int64(to.seq-in.at.seq), int64(to.total-in.at.total)
		if in.what == "" {
			in.suspect(in.file, in.off, what)
		}
	}
	if in.what != "" {
		in.damage(in.file, in.off, in.what, frames, items)
		in.what = ""
	}
}

func (in *inspector) segment(g *segment, limit Seq, newest bool) error {
	f, err := in.fs.Open(g.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		in.at = mark{} // the agent has deleted it meanwhile; what is behind it is as it should be
		return nil
	}
	if err != nil {
		return fmt.Errorf("read spool segment: %w", err)
	}
	defer f.Close()
	if newest { // it may have grown
		if size, err := f.Size(); err == nil {
			g.size = size
		}
	}
	top := mark{limit, maxTotal}
	h, bad, err := readSegHeader(f, g, g.size, top, &in.pool)
	if err != nil {
		if newest && (g.size <= headLen || isZero(f, g.size)) {
			return nil // being made, or cut off by a crash while it was
		}
		in.suspect(g.path, 0, "nothing in the segment can be read")
		return nil
	}
	if bad {
		in.suspect(g.path, 0, "the segment's header is damaged")
	}
	if h.evicts {
		in.at = h.start
	}
	if in.what == "" {
		in.file, in.off = g.path, 0
	}
	if !bad || in.at.seq != 0 {
		in.cost(h.start, "the frames before this segment are missing")
	} else if in.what != "" {
		in.damage(in.file, in.off, in.what, 0, 0)
		in.what = ""
	}
	in.at = h.start
	if n := len(in.rep.Segments); n > 0 && !in.deep {
		prev := &in.rep.Segments[n-1]
		prev.LastTime = timeOf(h.created)
	}
	in.rep.Segments = append(in.rep.Segments, SegmentReport{File: g.path, First: g.first, Bytes: g.size, FirstTime: timeOf(h.created), LastTime: timeOf(h.created)})
	sr := &in.rep.Segments[len(in.rep.Segments)-1]
	if !in.deep && !newest {
		in.shallow(sr, limit)
		return nil
	}
	in.walk(f, g, top, sr, newest)
	return nil
}

// shallow takes the frames of a sealed segment for whole. The next segment's
// header tells how many items they hold.
func (in *inspector) shallow(sr *SegmentReport, limit Seq) {
	sr.Frames = int64(limit - sr.First)
	g := newSegment(in.dir, limit)
	f, err := in.fs.Open(g.path, os.O_RDONLY)
	if err != nil {
		in.at = mark{}
		return
	}
	defer f.Close()
	size, _ := f.Size()
	h, _, err := readSegHeader(f, g, size, mark{maxTotal, maxTotal}, &in.pool)
	if err != nil {
		in.at = mark{}
		return
	}
	sr.Items = int64(h.start.total - in.at.total)
	in.at = h.start
}

// walk reads the records of one segment.
func (in *inspector) walk(f File, g *segment, top mark, sr *SegmentReport, newest bool) {
	w := newWalker(&in.pool, g.first)
	w.f, w.size, w.max = f, g.size, top
	defer w.win.drop()
	for {
		off := w.off
		h, is, err := w.header()
		if err != nil {
			in.suspect(g.path, off, "cannot be read: "+err.Error())
			is = w.resync()
		}
		switch is {
		case isHole:
			in.suspect(g.path, off, "a record's header is damaged")
			continue
		case isJunk:
			in.suspect(g.path, off, "no record can be read from here to the segment's end")
			return
		case isTorn:
			if !newest && h.seq != 0 {
				// Written anew in the next segment, if it was ever acknowledged;
				// else the next segment's beginning tells what it cost.
				in.file, in.off = g.path, off
			}
			return
		case isEnd:
			return
		}
		if in.what == "" {
			in.file, in.off = g.path, off
		}
		in.cost(h.from(), "frames are missing")
		in.at = h.to()
		if in.deep {
			if _, ok, err := w.body(h); !ok || err != nil {
				in.damage(g.path, off, "the frame's checksum is wrong", 1, int64(h.items))
				w.pass(h)
				continue
			}
		}
		sr.Frames++
		sr.Items += int64(h.items)
		sr.LastTime = timeOf(h.time)
		w.pass(h)
	}
}
