// Package spool: see FORMAT.md. (The API stands; the works follow.)
package spool

import (
	"context"
	"errors"
	"log/slog"
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

// ErrClosed is what calls on a closed spool return, and on a cursor that was
// forgotten or opened anew.
var ErrClosed = errors.New("spool is closed")

var errTodo = errors.New("spool: not built yet")

// Spool is one log of opaque frames with any number of cursors.
type Spool struct{}

// Open recovers the spool in dir, or makes it.
func Open(dir string, o Options) (*Spool, error) { return nil, errTodo }

// Append writes one frame of so many items and returns its number.
func (s *Spool) Append(ctx context.Context, frame []byte, items int) (Seq, error) { return 0, errTodo }

// Sync makes everything appended so far survive a power cut.
func (s *Spool) Sync() error { return errTodo }

// Newest returns the number of the newest frame, 0 if there was none yet.
func (s *Spool) Newest() Seq { return 0 }

// Scan calls f for every frame that can be read behind after, oldest first. A
// frame is valid during the call only. An error of f ends the scan and is returned.
func (s *Spool) Scan(after Seq, f func(seq Seq, frame []byte) error) error { return errTodo }

// Tail returns the number behind which at most bytes of frames follow: where a
// Scan of about the newest so many bytes begins.
func (s *Spool) Tail(bytes int64) Seq { return 0 }

// From says where a new cursor begins. The zero From is now: only frames
// appended from here on.
type From struct {
	At     time.Time // the first frame appended at or after At
	Oldest bool      // the oldest frame there is
}

// Cursor opens the cursor of that name where it was, or a new one at from.
func (s *Spool) Cursor(name string, from From) (*Cursor, error) { return nil, errTodo }

// Cursors returns the names of all cursors, open or not, in order.
func (s *Spool) Cursors() []string { return nil }

// Forget deletes a cursor. It returns the cursor's final books, in which all
// that was waiting is Evicted, and its In.
func (s *Spool) Forget(name string) (Books, int64, error) { return Books{}, 0, errTodo }

// SetOptions changes MaxBytes, MaxAge, Retain, WhenFull and SyncEvery.
func (s *Spool) SetOptions(o Options) {}

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

	WriteFailures  int64 // segments or frames that could not be written at once
	SyncFailures   int64
	ReadFailures   int64
	CursorFailures int64 // slots of cursors that could not be written at once
	BadRecords     int64 // damaged places met
	BadSegments    int64 // files set aside as *.bad, over the life of this process
	BadCursors     int64 // cursor files set aside as *.bad; such a cursor began anew at the oldest frame
	BadBytes       int64 // of all *.bad files; no part of Bytes
	EvictedBytes   int64 // of segments removed before every cursor had read them
}

// Stats returns how the spool stands.
func (s *Spool) Stats() Stats { return Stats{} }

// Close syncs, and gives the directory up.
func (s *Spool) Close() error { return errTodo }

// Cursor is one reader's place in the spool, and its books.
type Cursor struct{ live, backlog Lane }

// Lane hands out frames of one part of what waits for a cursor.
type Lane struct{}

// Lag says how far behind a cursor is and what became of the rest.
//
//	In == Books.Sum() + Waiting
type Lag struct {
	In      int64     // items appended since the cursor began
	Waiting int64     // items not done yet, those handed out included
	Frames  int64     // frames not done yet
	Bytes   int64     // estimate of what is still to be read from disk
	Oldest  time.Time // append time of the oldest frame not done, to within a segment; zero if none
	Books   Books     // of all frames done, those done out of order included
	Ranges  int       // runs of frames not done: 1, and one more for each Split that is not worked off
	Reset   bool      // the cursor's file was damaged: the books began anew at the oldest frame
}

// Name returns the name the cursor was opened under.
func (c *Cursor) Name() string { return "" }

// Live returns the lane of what came since the last Split; of everything, if there was none.
func (c *Cursor) Live() *Lane { return &c.live }

// Backlog returns the lane of what was waiting at each Split, oldest first.
func (c *Cursor) Backlog() *Lane { return &c.backlog }

// Next returns the next frame, waiting for one if need be. The frame is
// read-only and valid until its Done.
func (l *Lane) Next(ctx context.Context) (seq Seq, frame []byte, err error) { return 0, nil, errTodo }

// TryNext is Next without the waiting.
func (l *Lane) TryNext() (seq Seq, frame []byte, ok bool, err error) { return 0, nil, false, errTodo }

// Done settles one frame, in any order, from any goroutine: b says what became of its items.
func (l *Lane) Done(seq Seq, b Books) error { return errTodo }

// Split moves all that waits in the live lane to the backlog lane.
func (c *Cursor) Split() bool { return false }

// Lag returns how the cursor stands.
func (c *Cursor) Lag() Lag { return Lag{} }

// AddTwice books n items as perhaps sent twice.
func (c *Cursor) AddTwice(n int64) {}

// Report is what List and Verify find.
type Report struct {
	Segments []SegmentReport
	Cursors  []CursorReport
	Damage   []Damage
}

// SegmentReport describes one segment.
type SegmentReport struct {
	File                 string
	First                Seq
	Frames, Items, Bytes int64
	FirstTime, LastTime  time.Time
}

// CursorReport describes one cursor.
type CursorReport struct {
	Name    string
	Next    Seq // lowest frame not done
	In      int64
	Waiting int64
	Books   Books
	Ranges  int
}

// Damage is one place that cannot be read, and what it costs.
type Damage struct {
	File          string
	Offset        int64
	What          string
	Frames, Items int64
}

// List describes the spool in dir without reading its frames.
func List(dir string) (Report, error) { return Report{}, errTodo }

// Verify reads the whole spool in dir and checks every checksum.
func Verify(dir string) (Report, error) { return Report{}, errTodo }
