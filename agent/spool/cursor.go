package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// From says where a new cursor begins. The zero From is now: only frames
// appended from here on.
type From struct {
	At     time.Time // the first frame appended at or after At
	Oldest bool      // the oldest frame there is
}

// Cursor is one reader's place in the spool, and its books. Its methods may be
// called from any goroutine.
type Cursor struct {
	s             *Spool
	name          string
	live, backlog Lane
	file          *slots

	mu     sync.Mutex // guards the rest
	closed bool
	start  mark
	reset  bool
	books  Books  // of all that lies before the spans, or between them
	spans  []span // runs of frames not done, in order; the last has no end
	buf    place  // what is being written
	unsafe bool   // the file lags behind: writing it did not work
	dirty  bool   // written since the last fsync
	peeked mark   // the place of which peekedAt is known
	peekAt int64  // Unix ms
}

// span is a run of frames not done, [lo, hi), of which [lo, at) are handed out
// or known to be gone. Tiles cover [lo, at) without gaps.
type span struct {
	lo, hi, at, seen mark // hi.seq is 0 while there is no end; frames before seen were handed out
	tiles            []tile
}

// tile is one frame handed out, or one stretch that will never be.
type tile struct {
	from, to mark
	time     int64
	done     bool
	b        Books
	ch       *chunk
}

// Cursor opens the cursor of that name where it was, whatever from says, or a
// new one at from. A new one is on disk when Cursor returns, unless the disk
// takes nothing; Stats counts that. Opening a name anew closes the *Cursor opened
// before: what it had handed out and not done is handed out again.
func (s *Spool) Cursor(name string, from From) (*Cursor, error) {
	file, err := curName(name)
	if err != nil {
		return nil, fmt.Errorf("spool %s: %w", s.dir, err)
	}
	s.app.Lock()
	defer s.app.Unlock()
	if s.closed.Load() {
		return nil, ErrClosed
	}
	s.mu.Lock()
	old := s.cursors[name]
	s.mu.Unlock()
	var c *Cursor
	if old != nil {
		c = old.successor()
	} else {
		at, err := s.markOf(from)
		if err != nil {
			return nil, fmt.Errorf("find where cursor %q of spool %s begins: %w", name, s.dir, err)
		}
		c = s.newCursor(name, place{start: at, spans: []spanPlace{{lo: at}}})
		c.unsafe = true
	}
	c.mu.Lock()
	c.save(file)
	c.mu.Unlock()
	s.mu.Lock()
	s.cursors[name] = c
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	return c, nil
}

func (s *Spool) newCursor(name string, p place) *Cursor {
	c := &Cursor{s: s, name: name, file: new(slots), start: p.start, reset: p.reset, books: p.books}
	for _, sp := range p.spans {
		c.spans = append(c.spans, span{lo: sp.lo, hi: sp.hi, at: sp.lo, seen: sp.seen})
	}
	c.live = Lane{c: c, live: true, bell: make(chan struct{}, 1)}
	c.backlog = Lane{c: c, bell: make(chan struct{}, 1)}
	return c
}

// successor takes over from c: it stands where c's file says.
func (c *Cursor) successor() *Cursor {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	n := c.s.newCursor(c.name, *c.fill())
	n.file, n.unsafe, n.dirty = c.file, c.unsafe, c.dirty
	return n
}

func (c *Cursor) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for _, l := range []*Lane{&c.live, &c.backlog} {
		l.wake()
		l.mu.Lock()
		l.rd.leave()
		l.mu.Unlock()
	}
}

// recoverCursor reads a cursor's file at Open. One that is damaged is set aside.
func (s *Spool) recoverCursor(name, path string, size int64) error {
	f, err := s.openSlots(path)
	if err != nil {
		return err
	}
	c := s.newCursor(name, place{})
	p, ok := c.file.open(f)
	pl, valid := parsePlace(p)
	if ok && valid {
		file := c.file
		c = s.newCursor(name, pl)
		c.file = file
	} else {
		c.file.close()
		c.file = new(slots)
		c.unsafe, c.reset = true, true
		s.badCursors.Add(1)
		s.renameBad(path, size)
		s.log.Warn("spool cursor is damaged; it begins anew at the oldest frame, and its books with it", "cursor", name, "file", path)
	}
	s.cursors[name] = c
	return nil
}

// recoverPlaces settles where the spool ends, now that all who know are heard:
// a power cut may leave a cursor ahead of the segments, and no number is ever
// given out twice.
func (s *Spool) recoverPlaces() error {
	end := s.head
	if s.active != nil {
		end = s.active.end
	}
	for _, c := range s.cursors {
		for _, sp := range c.spans {
			s.head = later(later(s.head, later(sp.lo, sp.hi)), sp.seen)
		}
	}
	if s.active != nil && end != s.head {
		s.active.release()
		s.active = nil
	}
	for name, c := range s.cursors {
		if len(c.spans) > 0 {
			continue
		}
		at, err := s.markOf(From{Oldest: true})
		if err != nil {
			return err
		}
		c.start = at
		c.spans = []span{{lo: at, at: at}}
		file, err := curName(name)
		if err != nil {
			return err
		}
		c.save(file)
	}
	if n := len(s.segs); n > 0 && s.active == nil && s.segs[n-1].first >= s.head.seq {
		// Nothing in it counts, and its name is the next segment's.
		s.setAside(s.segs[n-1], errUnreadable)
	}
	return nil
}

// markOf returns where a new cursor begins.
func (s *Spool) markOf(from From) (mark, error) {
	s.mu.Lock()
	head := s.head
	segs := slices.Clone(s.segs)
	mem := s.mem
	s.mu.Unlock()
	if !from.Oldest && from.At.IsZero() {
		return head, nil
	}
	ms := from.At.UnixMilli()
	at := head
	if len(mem) > 0 {
		at = mem[0].h.from()
	}
	for i, g := range segs {
		// The first segment that may hold such a frame: the one behind it
		// begins no earlier.
		if !from.Oldest && i+1 < len(segs) {
			ok, err := s.load(segs[i+1])
			if err != nil {
				return mark{}, err
			}
			if ok && segs[i+1].created < ms {
				continue
			}
		}
		ok, err := s.load(g)
		if err != nil {
			return mark{}, err
		}
		if ok {
			at = g.start
			break
		}
	}
	if from.Oldest {
		return at, nil
	}
	r := reader{s: s}
	defer r.leave()
	for at.seq < head.seq {
		f, err := r.read(at)
		switch {
		case err != nil:
			return mark{}, err
		case f.is == foundNothing:
			return head, nil
		case f.is == foundFrame && f.h.time >= ms:
			return f.h.from(), nil
		}
		at = f.to
	}
	return head, nil
}

// Forget deletes a cursor, open or not. It returns the cursor's final books, in
// which all that was waiting is Evicted, and its In. What only this cursor kept
// on disk goes with it.
func (s *Spool) Forget(name string) (Books, int64, error) {
	s.app.Lock()
	defer s.app.Unlock()
	if s.closed.Load() {
		return Books{}, 0, ErrClosed
	}
	s.mu.Lock()
	c := s.cursors[name]
	s.mu.Unlock()
	if c == nil {
		return Books{}, 0, fmt.Errorf("spool %s has no cursor %q to forget", s.dir, name)
	}
	lag := c.Lag()
	lag.Books.Items[Evicted] += lag.Waiting
	file, err := curName(name)
	if err == nil {
		err = s.fs.Remove(s.dir + "/" + file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Books{}, 0, fmt.Errorf("forget cursor %q of spool %s: %w", name, s.dir, err)
	}
	c.close()
	c.file.close()
	s.mu.Lock()
	delete(s.cursors, name)
	s.names = true
	s.mu.Unlock()
	s.signalRoom()
	s.wakeBackground()
	return lag.Books, lag.In, nil
}

// Name returns the name the cursor was opened under.
func (c *Cursor) Name() string { return c.name }

// Live returns the lane of what came since the last Split; of everything, if
// there was none.
func (c *Cursor) Live() *Lane { return &c.live }

// Backlog returns the lane of what was waiting at each Split, oldest first.
func (c *Cursor) Backlog() *Lane { return &c.backlog }

// Split moves all that waits in the live lane to the backlog lane, so that the
// live lane goes on with what comes from now on. It reports whether it did:
// there must be something not handed out yet, and fewer than 8 ranges.
func (c *Cursor) Split() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	head := c.s.headMark()
	last := &c.spans[len(c.spans)-1]
	if c.closed || len(c.spans) >= maxSpans || last.at.seq >= head.seq {
		return false
	}
	last.hi = head
	c.spans = append(c.spans, span{lo: head, at: head})
	c.persist()
	c.backlog.wake()
	return true
}

// AddTwice books n items as perhaps sent twice, for a repetition that the spool
// cannot see.
func (c *Cursor) AddTwice(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.books.Twice += n
	c.persist()
}

// Lag says how far behind a cursor is and what became of the rest.
//
//	In == Books.Sum() + Waiting
type Lag struct {
	In      int64     // items appended since the cursor began
	Waiting int64     // items not done yet, those handed out included
	Frames  int64     // frames not done yet
	Bytes   int64     // estimate of what is still to be read
	Oldest  time.Time // append time of the oldest frame not done; zero if there is none
	Books   Books     // of all frames done, those done out of order included
	Ranges  int       // runs of frames not done: 1, and one more for each Split that is not worked off
	Reset   bool      // the cursor's file was damaged once: In and Books count from then, at the oldest frame
}

// Lag returns how the cursor stands.
func (c *Cursor) Lag() Lag {
	c.mu.Lock()
	head := c.s.headMark()
	l := Lag{In: int64(head.total - c.start.total), Books: c.books, Ranges: len(c.spans), Reset: c.reset}
	var oldest int64
	var ask mark // the place whose time must be read
	var unread [maxSpans][2]Seq
	for i := range c.spans {
		sp := &c.spans[i]
		end := sp.end(head)
		l.Waiting += int64(end.total - sp.lo.total)
		l.Frames += int64(end.seq - sp.lo.seq)
		unread[i] = [2]Seq{sp.at.seq, end.seq}
		for j := range sp.tiles {
			t := &sp.tiles[j]
			if t.done {
				l.Waiting -= int64(t.to.total - t.from.total)
				l.Frames -= int64(t.to.seq - t.from.seq)
				l.Books.Add(t.b)
			} else if oldest == 0 && ask.seq == 0 {
				oldest = t.time
			}
		}
		if oldest == 0 && ask.seq == 0 && sp.at.seq < end.seq {
			ask = sp.at
		}
	}
	if ask.seq != 0 && ask == c.peeked {
		oldest = c.peekAt
	}
	c.mu.Unlock()
	for _, u := range unread[:l.Ranges] {
		l.Bytes += c.s.bytesBetween(u[0], u[1])
	}
	if oldest == 0 && ask.seq != 0 {
		oldest = c.s.timeAt(ask)
		c.mu.Lock()
		c.peeked, c.peekAt = ask, oldest
		c.mu.Unlock()
	}
	l.Oldest = timeOf(oldest)
	return l
}

// end returns where the span ends, given where the spool does.
func (sp *span) end(head mark) mark {
	if sp.hi.seq != 0 {
		return sp.hi
	}
	return head
}

// low returns the lowest frame not done.
func (c *Cursor) low() Seq {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[0].lo.seq
}

// skip lets the spans that stand in [from, to) go on at to, and books what they
// leave out as evicted. Frames handed out are in memory and keep their fate.
func (c *Cursor) skip(from, to mark) (any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.spans {
		sp := &c.spans[i]
		if sp.at.seq < from.seq || sp.at.seq >= to.seq || sp.hi.seq != 0 && sp.at.seq >= sp.hi.seq {
			continue
		}
		sp.leaveOut(to, Evicted)
		any = true
	}
	if any && !c.closed {
		c.settle()
	}
	return any
}

// leaveOut books what lies between at and to, as far as it belongs to the span.
func (sp *span) leaveOut(to mark, fate Fate) {
	if sp.hi.seq != 0 && to.seq >= sp.hi.seq {
		to = sp.hi
	}
	t := tile{from: sp.at, to: to, done: true}
	t.b.Items[fate] = int64(to.total - sp.at.total)
	sp.tiles = append(sp.tiles, t)
	sp.at = to
}

// settle moves what is done at the front of each span into the books, and
// writes the file if anything moved. The caller holds c.mu.
func (c *Cursor) settle() (moved bool) {
	for i := 0; i < len(c.spans); i++ {
		sp := &c.spans[i]
		n := 0
		for ; n < len(sp.tiles) && sp.tiles[n].done; n++ {
			c.books.Add(sp.tiles[n].b)
			sp.lo = sp.tiles[n].to
		}
		if n == 0 {
			continue
		}
		moved = true
		sp.tiles = slices.Delete(sp.tiles, 0, n)
		if sp.hi.seq != 0 && sp.lo.seq >= sp.hi.seq {
			c.spans = slices.Delete(c.spans, i, i+1)
			i--
		}
	}
	if moved {
		c.persist()
	}
	return moved
}

// find returns the tile of a frame that is handed out.
func (c *Cursor) find(seq Seq) *tile {
	for i := range c.spans {
		sp := &c.spans[i]
		if seq < sp.lo.seq || seq >= sp.at.seq {
			continue
		}
		j, ok := slices.BinarySearchFunc(sp.tiles, seq, func(t tile, seq Seq) int {
			switch {
			case t.from.seq < seq:
				return -1
			case t.from.seq > seq:
				return 1
			}
			return 0
		})
		for ; ok && j < len(sp.tiles) && sp.tiles[j].from.seq == seq; j++ {
			if !sp.tiles[j].done {
				return &sp.tiles[j]
			}
		}
	}
	return nil
}

// settleFrame is Lane.Done.
func (c *Cursor) settleFrame(seq Seq, b Books) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	t := c.find(seq)
	if t == nil {
		c.mu.Unlock()
		return fmt.Errorf("BUG: cursor %q is done with frame %d, which it does not have", c.name, seq)
	}
	var err error
	items := int64(t.to.total - t.from.total)
	if err = b.check(items); err != nil {
		err = fmt.Errorf("BUG: cursor %q, frame %d: %w", c.name, seq, err)
		if missing := items - b.Sum(); missing >= 0 && slices.Min(b.Items[:]) >= 0 {
			b.Items[Damaged] += missing
		} else {
			b = Books{Twice: b.Twice}
			b.Items[Damaged] = items
		}
		b.Twice = max(b.Twice, 0)
	}
	ch := t.ch
	t.ch, t.done, t.b = nil, true, b
	moved := c.settle()
	low := c.spans[0].lo.seq
	c.mu.Unlock()
	c.s.pool.put(ch)
	if moved && c.s.hungry.Load() {
		c.s.signalRoom()
	}
	if moved && low >= c.s.trimAt.Load() {
		c.s.wakeBackground()
	}
	return err
}

// check says whether b accounts for exactly so many items.
func (b *Books) check(items int64) error {
	if n := b.Sum(); n != items || slices.Min(b.Items[:]) < 0 || b.Twice < 0 {
		return fmt.Errorf("the books account for %d of %d items: %v", n, items, b.Items)
	}
	return nil
}

// fill brings buf up to date. The caller holds c.mu.
func (c *Cursor) fill() *place {
	c.buf.start, c.buf.reset, c.buf.books = c.start, c.reset, c.books
	c.buf.spans = c.buf.spans[:0]
	for i := range c.spans {
		sp := &c.spans[i]
		c.buf.spans = append(c.buf.spans, spanPlace{sp.lo, sp.hi, sp.seen})
	}
	return &c.buf
}

// persist writes the slot. If that fails it is tried again at the next sync; a
// crash before that hands out again what was done since. The caller holds c.mu.
func (c *Cursor) persist() {
	n := len(appendPlace(c.file.payload(), c.fill()))
	if err := c.file.write(n); err != nil {
		c.unsafe = true
		c.s.cursorFailures.Add(1)
		return
	}
	c.unsafe = false
	c.dirty = true
}

// save brings a file up to date that lags behind, making it if need be. The
// caller holds c.mu.
func (c *Cursor) save(file string) {
	if !c.unsafe {
		return
	}
	if c.file.f != nil {
		c.persist()
		return
	}
	n := len(appendPlace(c.file.payload(), c.fill()))
	if err := c.file.create(c.s.fs, c.s.dir, file, n); err != nil {
		c.s.cursorFailures.Add(1)
		c.s.log.Warn("spool cursor is not on disk; after a crash it would begin anew", "cursor", c.name, "error", err)
		return
	}
	c.unsafe = false
}
