package tail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// headBytes is how much of a file's beginning tells it from others.
const headBytes = 1 << 10

// FNV-1a: needs no table, may be continued at any byte.
const (
	fnvBasis = 14695981039346656037
	fnvPrime = 1099511628211
)

// head is the fingerprint of the first n bytes of a file. It grows with the
// file up to headBytes; that of an empty file fits every file.
type head struct {
	n   int
	sum uint64
}

// heads holds the fingerprints of all beginnings of one file: sums[i] is that of
// its first i bytes.
type heads struct {
	n    int
	sums [headBytes + 1]uint64
	buf  [headBytes]byte
}

// read fills h from r.
func (h *heads) read(r io.ReaderAt) error {
	n, err := r.ReadAt(h.buf[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	h.n = n
	sum := uint64(fnvBasis)
	h.sums[0] = sum
	for i, c := range h.buf[:n] {
		sum = (sum ^ uint64(c)) * fnvPrime
		h.sums[i+1] = sum
	}
	return nil
}

// generation reads a file that may be truncated and written anew between two
// looks at it, or while it is read: what it returns was there while the file
// began as head says. The edge before a position does not tell that: lines that
// are of one length often end alike.
type generation struct {
	io.ReaderAt
	head head
	buf  [headBytes]byte
}

var errReplaced = errors.New("the file was truncated and written anew")

func (g *generation) ReadAt(p []byte, off int64) (int, error) {
	n, err := g.ReaderAt.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	first := p[:n]
	if off > 0 || len(p) < g.head.n {
		m, err := g.ReaderAt.ReadAt(g.buf[:g.head.n], 0)
		if err != nil && err != io.EOF {
			return 0, err
		}
		first = g.buf[:m]
	}
	if !g.head.begins(first) {
		return 0, errReplaced
	}
	return n, err
}

// begins reports whether a file that begins with p begins as h says.
func (h head) begins(p []byte) bool {
	return h.n == 0 || h.n <= len(p) && fingerprint(p[:h.n]) == h.sum
}

// fingerprint is the sum of a head whose bytes are p.
func fingerprint(p []byte) uint64 {
	sum := uint64(fnvBasis)
	for _, c := range p {
		sum = (sum ^ uint64(c)) * fnvPrime
	}
	return sum
}

func (h *heads) head() head { return head{h.n, h.sums[h.n]} }

// fits reports whether the file that h was read from begins as p says.
func (h *heads) fits(p head) bool { return p.n == 0 || p.n <= h.n && h.sums[p.n] == p.sum }

// family is the files that took the same path one after another: app.log and
// what it was rotated to. Their lines are one stream.
type family struct {
	root   string
	rule   *rule         // the first that named it
	stream signal.Stream // zero until lines without a lane of their own ask for it
	newest *file         // of those whose place is known
	files  []*file       // all that there are now
	unsure []*file       // found, and not read before their place among the others is certain
	shaken int32         // the last scan in which a name came, went or led elsewhere
	tries  int32         // scans that left the place of unsure uncertain

	rotations, truncations atomic.Int64

	taken atomic.Int64 // lines
	lost  atomic.Int64 // unfinished lines that a truncation took away
}

// lines is the stream of the family's lines.
func (fam *family) lines() signal.Stream {
	if fam.stream == (signal.Stream{}) {
		fam.stream = fam.rule.stream(fam.root)
	}
	return fam.stream
}

// file is one inode that is read, or would be. There are thousands: what is small
// stands together.
type file struct {
	key    key
	rule   *rule
	family *family
	path   string    // where it is now; the last known place if gone
	found  time.Time // first
	grown  time.Time // the last look that saw new bytes
	size   int64     // when it was opened or closed
	mtime  int64     // likewise, Unix ns
	listed struct {  // as the last scan found it
		size, mtime int64
	}

	fh    *os.File // nil: closed, because idle, rotated or not yet readable
	fd    uintptr  // of fh, which asks the kernel each time it is asked
	z     *inflater
	bad   error  // what is damaged in it
	gen   int64  // when this generation was first seen, Unix ns; no two are equal
	id    string // LogBlock.File; "" as long as the file is empty
	head  head
	pos   position
	done  position // pos as of the last successful Put
	lanes *lanes   // nil for a plain file whose lines are not joined
	join  logline.Join

	after  *file  // an older file of the family that is to be read first
	prev   *file  // the same, until settled
	like   *file  // the file of which this seemed to be a copy; nothing is read until that is decided
	likeID string // its id then: "" if nothing had been read of it
	alike  int64  // how many bytes were equal

	glimpse head // what this began with when names changed before its first bytes were taken; see stirs

	calm    int32 // its place in Tailer.calm, from 1 on; 0: none
	round   int32 // of the last scan that saw it
	stirs   uint8 // how often names changed before the first bytes of this generation were taken
	awake   bool  // in Tailer.awake
	queued  bool  // in the queue of files to be looked at
	poll    bool  // a link: neither an event nor the folder's listing tells of its growth
	gone    bool  // no path leads to it that the rules know
	rotated bool  // its path is not the one its lines are labelled with
	ignored bool  // left out on purpose
	skipped bool  // because its pod asks for that; guarded by Tailer.mu
	advised bool  // the Advisor was asked, or there is none to ask
	first   bool  // it was there when the rule was new: start decides
	quick   bool  // where it ends is answered out of memory, at once
	remote  bool  // it is on a file system that others write to as well
	gz      bool  // compressed: offsets are those of its text
	settled bool  // pos is decided
	asked   bool  // after was sent to its end once more since this one has bytes
	placed  bool  // its place in the family is certain
	sure    bool  // no name changed while the last scan looked at its folder
	sibling bool  // only the name that a rotation gave it makes it ours
	follows bool  // the family had a newest file when this one came
	repeats bool  // as of the last look nothing in it comes before other files: it is empty, or equal to like by more than accident
	eof     bool  // the last look saw the end
	ended   bool  // one did
	busy    bool  // it grew after that, or came after us: what it held at a start says nothing of how it grows

	was encoding // of the bytes before, for those that have no mark; see decode

	err      atomic.Pointer[string]
	offset   atomic.Int64 // pos.off, for status
	caught   atomic.Int64 // when all of it had been read, Unix ns; before that when it was found
	isClosed atomic.Bool
}

var errMoved = errors.New("the path leads to another file now")

// openFile opens a regular file for reading, and makes sure that it is the one
// with that key. It never blocks on a FIFO that took the file's place.
func openFile(path string, want key) (*os.File, fs.FileInfo, error) {
	fh, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := fh.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular() || keyOf(info) != want:
		err = fmt.Errorf("open %s: %w", path, errMoved)
	default:
		return fh, info, nil
	}
	fh.Close()
	return nil, nil, err
}

// open makes sure that f is open, closing idle files above the budget.
func (t *Tailer) open(f *file, now time.Time) error {
	if f.fh != nil {
		return nil
	}
	if info, err := os.Stat(f.path); err != nil {
		return err
	} else if !info.Mode().IsRegular() { // opening a FIFO would let its writer go on
		return fmt.Errorf("open %s: %w", f.path, errMoved)
	}
	t.room() // or above the budget for now: it is its turn
	fh, info, err := openFile(f.path, f.key)
	if err != nil {
		return err
	}
	f.fd = fh.Fd()
	f.quick, f.remote = nature(f.fd)
	if f.fh, f.size, f.mtime = fh, info.Size(), info.ModTime().UnixNano(); f.gz {
		f.z = &inflater{fh: fh}
		t.inflating++
	}
	f.isClosed.Store(false)
	t.opened++
	return nil
}

func (t *Tailer) close(f *file) {
	if f.fh == nil {
		return
	}
	if info, err := f.fh.Stat(); err == nil {
		if f.size, f.mtime = f.pos.scan, info.ModTime().UnixNano(); f.gz {
			f.size = info.Size()
		}
	}
	if f.z != nil {
		t.inflating--
	}
	f.fh.Close()
	f.fh, f.z, f.quick = nil, nil, false // its number will be another file's
	f.isClosed.Store(true)
	t.opened--
	t.rouse(f)
}

// local is an open file on a file system that nature calls quick: that a read gives
// less than was asked for says that the file ended, so that it need not be asked
// again.
type local uintptr

func (fd local) ReadAt(p []byte, off int64) (int, error) {
	for {
		n, err := syscall.Pread(int(fd), p, off)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, err
		case n < len(p):
			return n, io.EOF
		}
		return n, nil
	}
}

// newGen returns a number for a generation, larger than all before.
func (t *Tailer) newGen(now time.Time) int64 {
	t.lastGen = max(t.lastGen+1, now.UnixNano())
	return t.lastGen
}

// identify gives f its name in log blocks, once it has a first byte. The name
// stays for the whole generation, though the fingerprint grows.
func (t *Tailer) identify(f *file) error {
	if f.id != "" {
		return nil
	}
	if err := t.heads.read(f.src()); err != nil {
		return err
	}
	if t.heads.n == 0 {
		return nil
	}
	f.head = t.heads.head()
	if f.pos.enc == encAuto {
		f.decode(t.heads.buf[:t.heads.n], f.was)
	}
	f.id = identity{f.key, f.gen, f.head, f.pos.enc}.String()
	return nil
}

// grow extends the fingerprint of a file that was short when it was taken. It
// reports whether the file still begins as before.
func (t *Tailer) grow(f *file) (same bool, err error) {
	if f.head.n >= headBytes || f.id == "" || f.pos.off <= int64(f.head.n) {
		return true, nil
	}
	if err := t.heads.read(f.src()); err != nil {
		return true, err
	}
	if !t.heads.fits(f.head) {
		return false, nil
	}
	f.head = t.heads.head()
	return true, nil
}

// identity is what a LogBlock's File says of its file.
type identity struct {
	key  key
	gen  int64
	head head     // as of the first block
	enc  encoding // if its lines are recoded: after a crash there may be nothing else to tell it by
}

const identityPrefix = "ino:"

// String returns ino:<device>:<inode>:<generation>:<length of head>:<its sum>, in
// hexadecimal digits, and :<encoding> behind it if that is not UTF-8.
func (id identity) String() string {
	b := append(make([]byte, 0, 80), identityPrefix...)
	for i, v := range [...]uint64{id.key.dev, id.key.ino, uint64(id.gen), uint64(id.head.n), id.head.sum} {
		if i > 0 {
			b = append(b, ':')
		}
		b = strconv.AppendUint(b, v, 16)
	}
	if id.enc.recoded() {
		b = strconv.AppendUint(append(b, ':'), uint64(id.enc), 16)
	}
	return string(b)
}

// parseIdentity is the inverse of String. lane is what follows a slash.
func parseIdentity(s string) (id identity, lane string, ok bool) {
	s, ok = strings.CutPrefix(s, identityPrefix)
	if !ok {
		return id, "", false
	}
	s, lane, _ = strings.Cut(s, "/")
	var err error
	var v [6]uint64
	n := strings.Count(s, ":") + 1
	if n < len(v)-1 || n > len(v) {
		return id, "", false
	}
	for i := range n {
		part, rest, _ := strings.Cut(s, ":")
		if v[i], err = strconv.ParseUint(part, 16, 64); err != nil {
			return id, "", false
		}
		s = rest
	}
	enc := encoding(v[5])
	if v[3] > headBytes || v[2] > 1<<63-1 || v[5] >= uint64(encEnd) || enc.recoded() != (n == len(v)) {
		return id, "", false
	}
	return identity{key{v[0], v[1]}, int64(v[2]), head{int(v[3]), v[4]}, enc}, lane, true
}
