package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Seq numbers frames from 1 without gaps over the life of a spool directory.
type Seq = uint64

// Policy says what Append does when there is no room.
type Policy uint8

// The policies.
const (
	DropOldest Policy = iota // the oldest segment goes, and each cursor books what it had not read of it
	Wait                     // Append waits until the slowest cursor has moved on
)

// Options of a spool. The zero value of each field is usable.
type Options struct {
	MaxBytes     int64            // of all segments together; 0: no limit
	MaxAge       time.Duration    // frames older than this go, read or not; 0: no limit
	Retain       time.Duration    // how long frames stay after every cursor is past them, while there is room
	SegmentBytes int64            // size at which a new file begins; 0: 16 MiB, or a sixteenth of MaxBytes if that is less
	SyncEvery    time.Duration    // fsync at least this often; 0: 1 s; below 0: only when Sync is called
	WhenFull     Policy           // what Append does at MaxBytes
	MemoryBytes  int64            // frames kept in memory while the disk takes none; 0: 32 MiB
	FS           FS               // nil: the real one
	Now          func() time.Time // nil: time.Now
	Log          *slog.Logger     // nil: none
}

const (
	defaultSegment = 16 << 20
	minSegment     = 64 << 10 // below it, files would be mostly overhead
	defaultMemory  = 32 << 20
	defaultSync    = time.Second
	retryEvery     = time.Second // how often a disk that fails is tried again
)

// ErrClosed is what calls on a closed spool return, and on a cursor that was
// forgotten or opened anew.
var ErrClosed = errors.New("spool is closed")

// Spool is one log of opaque frames with any number of cursors. All methods may
// be called from any goroutine.
//
// Locks are taken in this order: app, Lane.mu, Cursor.mu, mu. I/O happens
// under app (writes), Lane.mu (reads) and Cursor.mu (slots), never under mu.
type Spool struct {
	dir  string
	fs   FS
	now  func() time.Time
	log  *slog.Logger
	lock io.Closer
	pool chunks

	closed atomic.Bool
	quit   chan struct{}
	done   sync.WaitGroup
	kick   chan struct{} // tells the background that a segment may go
	trimAt atomic.Uint64 // a cursor that gets this far frees a segment
	hungry atomic.Bool   // an Append waits for room

	app      sync.Mutex // the write side; guards:
	active   *segment   // takes the next record; nil: the next Append makes one
	scratch  []byte
	fail     error // why frames go to memory; nil: they go to disk
	lastTry  time.Time
	headFile slots
	headBad  bool // HEAD must be created yet

	syncing sync.Mutex // one Sync at a time

	mu      sync.Mutex // guards what writers and readers share:
	o       Options
	segs    []*segment
	bytes   int64 // of segs
	head    mark  // behind the newest frame
	removed mark  // frames before it were removed by the spool itself
	synced  Seq
	tailGap Fate // of what is missing between segs and mem, or head
	newest  int64
	dirty   bool // appended since the last Sync
	names   bool // files were made since the last Sync
	mem     []memFrame
	memSize int64
	why     string // Stats.Degraded
	cursors map[string]*Cursor
	waiting []*Lane       // to be rung at the next Append
	room    chan struct{} // closed when room may have come; nil if nobody waits

	writeFailures, syncFailures, readFailures, cursorFailures atomic.Int64
	badRecords, badSegments, badCursors, badBytes, evicted    atomic.Int64
}

// memFrame is a frame that the disk has not taken yet.
type memFrame struct {
	h     header
	frame []byte
}

// Open recovers the spool in dir, or makes it. It takes the directory's lock,
// reads the newest segment and the cursors, and nothing else, so it takes the
// same time whatever is spooled. Damage never makes it fail; a directory that
// cannot be used does, with a sentence that says what to do.
func Open(dir string, o Options) (*Spool, error) {
	s := &Spool{
		dir: dir, fs: o.FS, now: o.Now, log: o.Log, o: o,
		head: mark{seq: 1}, removed: mark{seq: 1}, tailGap: Damaged,
		cursors: map[string]*Cursor{},
		kick:    make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if s.fs == nil {
		s.fs = disk{}
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make spool directory %s: %w: give the agent a data_dir it may write to", dir, err)
	}
	lock, err := s.fs.Lock(dir + "/" + lockName)
	if err != nil {
		if held := (*HeldError)(nil); errors.As(err, &held) {
			return nil, held
		}
		return nil, fmt.Errorf("lock spool %s: %w: give the agent a data_dir it may write to", dir, err)
	}
	s.lock = lock
	if err := s.recover(); err != nil {
		s.closeFiles()
		return nil, errors.Join(fmt.Errorf("open spool %s: %w", dir, err), lock.Close())
	}
	s.app.Lock()
	s.writeHead() // made now, while there may be room, so that a full disk does not stop it later
	s.app.Unlock()
	s.retrim()
	s.done.Go(s.background)
	return s, nil
}

// recover finds out what the directory holds, and where it ends.
func (s *Spool) recover() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	s.headBad = true
	for _, e := range entries {
		path := s.dir + "/" + e.Name
		switch {
		case e.Name == headName:
			if err := s.recoverHead(path, e.Size); err != nil {
				return err
			}
		case strings.HasSuffix(e.Name, badSuffix):
			s.badBytes.Add(e.Size)
		case strings.HasSuffix(e.Name, tmpSuffix):
			_ = s.fs.Remove(path) // a file that was never finished; in the way of nobody
		case strings.HasSuffix(e.Name, segSuffix):
			first, ok := parseSegName(e.Name)
			if !ok {
				continue // not ours
			}
			g := newSegment(s.dir, first)
			g.size = e.Size
			s.segs = append(s.segs, g)
			s.bytes += e.Size
		case strings.HasSuffix(e.Name, curSuffix):
			if name, ok := parseCurName(e.Name); ok {
				if err := s.recoverCursor(name, path, e.Size); err != nil {
					return err
				}
			}
		}
	}
	if err := s.recoverTail(); err != nil {
		return err
	}
	for i, g := range s.segs { // what an earlier process had no time to sync
		g.unsynced = i+1 == len(s.segs) || s.segs[i+1].first > s.synced
		s.dirty, s.names = true, true // an earlier process may have died before it synced the directory
	}
	return s.recoverPlaces()
}

func (s *Spool) recoverHead(path string, size int64) error {
	f, err := s.openSlots(path)
	if err != nil {
		return err
	}
	p, ok := s.headFile.open(f)
	h, valid := parseHeadPlace(p)
	if !ok || !valid {
		s.headFile.close()
		s.renameBad(path, size)
		s.log.Warn("spool's HEAD file is damaged; the segments and cursors say where the spool ends", "file", path)
		return nil
	}
	s.headBad = false
	s.head, s.removed, s.synced = h.head, h.removed, h.synced
	return nil
}

// openSlots opens a file of slots; on a read-only disk for reading, so that an
// agent can at least tell what it holds.
func (s *Spool) openSlots(path string) (File, error) {
	f, err := s.fs.Open(path, os.O_RDWR)
	if errors.Is(err, syscall.EROFS) {
		f, err = s.fs.Open(path, os.O_RDONLY)
	}
	return f, err
}

// recoverTail finds the end of the newest segment that holds anything.
func (s *Spool) recoverTail() error {
	for len(s.segs) > 0 {
		g := s.segs[len(s.segs)-1]
		t, err := s.scanTail(g)
		if err != nil {
			return err
		}
		if t.empty {
			// A segment that was being made: it has held nothing yet.
			s.unlist(g, mark{})
			s.discard(g)
			continue
		}
		if t.start.seq == 0 {
			s.setAside(g, errUnreadable)
			continue
		}
		g.start, g.end, g.created, g.youngest = t.start, t.end, t.created, t.youngest
		if t.evicts {
			g.gap = Evicted
		}
		s.newest = t.youngest
		s.head = later(s.head, t.end)
		if t.clean {
			s.active = g
		} else {
			g.release()
		}
		return nil
	}
	return nil
}

func later(a, b mark) mark { return mark{max(a.seq, b.seq), max(a.total, b.total)} }

// tail is what scanTail finds.
type tail struct {
	segHeader
	end      mark
	youngest int64
	empty    bool // no record, and nothing that could have been one
	clean    bool // may be appended to; the segment's file is then acquired for writing
}

// scanTail reads the newest segment with all its checksums, and cuts a torn
// record off its end. Unless it is empty or has no start, g is acquired.
func (s *Spool) scanTail(g *segment) (t tail, err error) {
	f, err := s.fs.Open(g.path, os.O_RDWR)
	writable := err == nil
	if errors.Is(err, syscall.EROFS) {
		f, err = s.fs.Open(g.path, os.O_RDONLY)
	}
	if err != nil {
		return t, err
	}
	defer func() {
		if t.start.seq == 0 || t.empty {
			_ = f.Close()
			return
		}
		g.f, g.refs = f, 1
	}()
	top := mark{maxTotal, maxTotal}
	h, bad, err := readSegHeader(f, g, g.size, top, &s.pool)
	if bad {
		t.empty = isZero(f, g.size)
		if g.size > headLen && !t.empty {
			s.noteBad(g, 0)
		}
		t.empty = t.empty || g.size <= headLen
	}
	if err != nil {
		return t, nil // nothing in it can be read
	}
	t.segHeader, t.end, t.clean = h, h.start, !bad && writable
	w := newWalker(&s.pool, g.first)
	w.f, w.size, w.max = f, g.size, top
	defer w.win.drop()
	for {
		place := w.off
		r, is, err := w.header()
		if err != nil {
			s.readFailures.Add(1)
			is = w.resync()
		}
		switch is {
		case isRecord:
			_, ok, err := w.body(r)
			if !ok || err != nil {
				s.noteBad(g, place)
				t.clean = false
			}
			t.end = later(t.end, r.to())
			t.youngest = max(t.youngest, r.time)
			w.pass(r)
		case isHole:
			s.noteBad(g, place)
			t.clean = false
		case isJunk:
			s.noteBad(g, place)
			t.clean = false
			return t, nil
		case isTorn:
			if t.clean && f.Truncate(w.off) != nil {
				s.writeFailures.Add(1)
				t.clean = false
			}
			if t.clean {
				s.bytes -= g.size - w.off
				g.size = w.off
			}
			return t, nil
		case isEnd:
			return t, nil
		}
	}
}

// isZero reports whether the first size bytes of f are zeros, as after a power
// cut that kept a file's length and lost its bytes.
func isZero(f File, size int64) bool {
	p := make([]byte, 64<<10)
	for off := int64(0); off < size; off += int64(len(p)) {
		n := int(min(int64(len(p)), size-off))
		if m, _ := f.ReadAt(p[:n], off); m < n {
			return false
		}
		for _, b := range p[:n] {
			if b != 0 {
				return false
			}
		}
	}
	return true
}

// Newest returns the number of the newest frame, 0 if there was none yet.
func (s *Spool) Newest() Seq {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head.seq - 1
}

// Cursors returns the names of all cursors, open or not, in order.
func (s *Spool) Cursors() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.cursors))
}

// SetOptions changes MaxBytes, MaxAge, Retain, WhenFull and SyncEvery; the other
// fields of o are ignored. What is too much at once goes at once.
func (s *Spool) SetOptions(o Options) {
	s.app.Lock()
	s.mu.Lock()
	s.o.MaxBytes, s.o.MaxAge, s.o.Retain, s.o.WhenFull, s.o.SyncEvery = o.MaxBytes, o.MaxAge, o.Retain, o.WhenFull, o.SyncEvery
	s.mu.Unlock()
	if !s.closed.Load() {
		s.makeRoom(0)
		s.evictAged()
		s.retrim()
	}
	s.app.Unlock()
	s.signalRoom()
	s.wakeBackground()
}

// Stats describes the spool as it stands.
type Stats struct {
	Items        int64     // appended over the life of the directory
	Frames       int64     // the same, in frames
	Bytes        int64     // of all segments
	Segments     int       // files
	Oldest       time.Time // append time of the oldest frame, to within a segment; zero if there is none
	Newest       time.Time // append time of the newest frame; zero if there is none
	Degraded     string    // empty, or why frames are kept in memory and what to do about it
	MemoryBytes  int64     // frames in memory only
	MemoryFrames int64
	FreeDisk     int64 // bytes we may still write; -1 if unknown

	// Since Open:
	WriteFailures  int64 // segments or frames that could not be written at once, files that could not be removed
	SyncFailures   int64
	ReadFailures   int64
	CursorFailures int64 // slots of cursors that could not be written at once
	BadRecords     int64 // damaged places met
	BadSegments    int64 // segments kept as *.bad because of damage
	BadCursors     int64 // cursor files kept as *.bad; such a cursor began anew at the oldest frame
	EvictedBytes   int64 // of segments and memory given up before every cursor had read them

	BadBytes int64 // of all *.bad files; no part of Bytes, for nobody but a person deletes them
}

// Stats returns how the spool stands.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	var oldest *segment
	if len(s.segs) > 0 {
		oldest = s.segs[0]
	}
	s.mu.Unlock()
	if oldest != nil {
		_, _ = s.load(oldest) // if that does not work, the time stays unknown
	}
	free, err := s.fs.Free(s.dir)
	if err != nil {
		free = -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Items: int64(s.head.total), Frames: int64(s.head.seq - 1),
		Bytes: s.bytes, Segments: len(s.segs), Newest: timeOf(s.newest),
		Degraded: s.why, MemoryBytes: s.memSize, MemoryFrames: int64(len(s.mem)), FreeDisk: free,
		WriteFailures: s.writeFailures.Load(), SyncFailures: s.syncFailures.Load(),
		ReadFailures: s.readFailures.Load(), CursorFailures: s.cursorFailures.Load(),
		BadRecords: s.badRecords.Load(), BadSegments: s.badSegments.Load(), BadCursors: s.badCursors.Load(),
		EvictedBytes: s.evicted.Load(), BadBytes: s.badBytes.Load(),
	}
	switch {
	case oldest != nil && s.newest != 0:
		st.Oldest = timeOf(oldest.created)
	case len(s.mem) > 0:
		st.Oldest = timeOf(s.mem[0].h.time)
	}
	return st
}

// timeOf turns Unix ms into a time; 0 is the zero time.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Close syncs, and gives the directory up. Calls that wait return ErrClosed.
// Frames handed out stay valid. An error says what may not survive.
func (s *Spool) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.quit)
	s.done.Wait()
	s.app.Lock()
	var err error
	if !s.flush() {
		s.mu.Lock()
		items := s.head.total - s.mem[0].h.total
		err = fmt.Errorf("close spool %s: %d frames with %d items are in memory only and go with the process: %w", s.dir, len(s.mem), items, s.fail)
		s.mu.Unlock()
	}
	s.app.Unlock()
	err = errors.Join(err, s.Sync())
	s.app.Lock()
	s.writeHead()
	s.app.Unlock()
	s.signalRoom()
	for _, c := range s.allCursors() {
		c.close()
	}
	s.closeFiles()
	return errors.Join(err, s.lock.Close())
}

func (s *Spool) closeFiles() {
	s.app.Lock()
	defer s.app.Unlock()
	if s.active != nil {
		s.active.release()
		s.active = nil
	}
	s.headFile.close()
	for _, c := range s.allCursors() {
		c.mu.Lock()
		c.file.close()
		c.mu.Unlock()
	}
}

func (s *Spool) allCursors() []*Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.cursors))
}
