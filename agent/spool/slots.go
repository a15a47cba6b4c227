package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync"
)

const (
	slotLen    = 512  // one sector, which disks write whole or not at all
	slotEvery  = 4096 // the two slots lie in pages of their own
	slotHead   = 24
	slotMagic  = 0x4c535743 // "CWSL", little endian
	maxSpans   = 8
	headName   = "HEAD"
	lockName   = "LOCK"
	curSuffix  = ".cur"
	badSuffix  = ".bad"
	tmpSuffix  = ".tmp"
	maxNameLen = 200 // of a cursor, escaped; file systems take 255 with the suffix
)

// slots is a small file of two slots, written in turn: a write that is torn
// spoils one of them, and the other still holds what stood before.
//
// Its owner's lock guards it; smu is taken beside it where f changes, so that
// sync can do without the owner's lock.
type slots struct {
	gen uint64
	buf [slotLen]byte
	smu sync.Mutex
	f   File // nil if there is none
}

func (t *slots) set(f File) {
	t.smu.Lock()
	defer t.smu.Unlock()
	t.f = f
}

// close closes the file. What matters of its bytes was written, and synced if
// anybody asked for it.
func (t *slots) close() {
	t.smu.Lock()
	defer t.smu.Unlock()
	if t.f != nil {
		_ = t.f.Close()
		t.f = nil
	}
}

// sync makes what was written survive a power cut. No other lock is needed.
func (t *slots) sync() error {
	t.smu.Lock()
	defer t.smu.Unlock()
	if t.f == nil {
		return nil
	}
	return t.f.Sync()
}

// payload is where the caller of write puts what is to be written.
func (t *slots) payload() []byte { return t.buf[slotHead:slotHead] }

// write writes the first n bytes of the payload into the older slot.
func (t *slots) write(n int) error {
	if t.f == nil {
		return os.ErrClosed
	}
	sealSlot(t.buf[:slotHead+n], t.gen+1)
	// The whole slot, whatever it holds: later ones must need no more space.
	if _, err := t.f.WriteAt(t.buf[:], int64((t.gen+1)%2)*slotEvery); err != nil {
		return err
	}
	t.gen++
	return nil
}

// create makes the file with both slots filled, in one step as far as a crash
// can see, so that later writes need no new space on the disk.
func (t *slots) create(fs FS, dir, name string, n int) error {
	path := dir + "/" + name
	f, err := fs.Open(path+tmpSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	t.set(f)
	err = errors.Join(f.Truncate(0), t.write(n), t.write(n))
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fs.Rename(path+tmpSuffix, path)
	}
	if err == nil {
		if err = fs.SyncDir(dir); err == nil {
			return nil
		}
	}
	t.close()
	return fmt.Errorf("create %s: %w", path, err)
}

// open reads the newer valid slot. ok is false if there is none.
func (t *slots) open(f File) (payload []byte, ok bool) {
	t.set(f)
	var best [slotLen]byte
	for i := range int64(2) {
		n, _ := f.ReadAt(t.buf[:], i*slotEvery) // a short slot fails its checksum
		gen, valid := parseSlot(t.buf[:n])
		if valid && (!ok || gen > t.gen) {
			t.gen, ok = gen, true
			copy(best[:], t.buf[:n])
			payload = best[slotHead : slotHead+binary.LittleEndian.Uint32(best[20:])]
		}
	}
	return payload, ok
}

// sealSlot fills in the head of p. Its layout: magic u32, crc32c of the rest
// u32, generation u64, version u32, length of the payload u32.
func sealSlot(p []byte, gen uint64) []byte {
	binary.LittleEndian.PutUint32(p, slotMagic)
	binary.LittleEndian.PutUint64(p[8:], gen)
	binary.LittleEndian.PutUint32(p[16:], version)
	binary.LittleEndian.PutUint32(p[20:], uint32(len(p)-slotHead))
	binary.LittleEndian.PutUint32(p[4:], crc32.Checksum(p[8:], castagnoli))
	return p
}

func parseSlot(p []byte) (gen uint64, ok bool) {
	if len(p) < slotHead || binary.LittleEndian.Uint32(p) != slotMagic || binary.LittleEndian.Uint32(p[16:]) != version {
		return 0, false
	}
	n := binary.LittleEndian.Uint32(p[20:])
	if n > slotLen-slotHead || int(n) > len(p)-slotHead {
		return 0, false
	}
	sum := crc32.Checksum(p[8:slotHead+n], castagnoli)
	return binary.LittleEndian.Uint64(p[8:]), sum == binary.LittleEndian.Uint32(p[4:])
}

// place is what a cursor's slot holds: where it stands, and its books.
type place struct {
	start mark // where the cursor began
	reset bool // its file was damaged once
	books Books
	spans []spanPlace
}

// spanPlace is one run of frames not done: [lo, hi), where hi.seq 0 stands for
// no end. Frames before seen were handed out.
type spanPlace struct{ lo, hi, seen mark }

func appendMark(dst []byte, m mark) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, m.seq)
	return binary.LittleEndian.AppendUint64(dst, m.total)
}

func appendPlace(dst []byte, p *place) []byte {
	dst = appendMark(dst, p.start)
	for _, n := range p.books.Items {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.books.Twice))
	flags := uint32(0)
	if p.reset {
		flags = 1
	}
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p.spans)))
	for _, sp := range p.spans {
		dst = appendMark(appendMark(appendMark(dst, sp.lo), sp.hi), sp.seen)
	}
	return dst
}

// fields reads fixed-width fields; bad sticks once there are too few bytes.
type fields struct {
	p   []byte
	bad bool
}

func (r *fields) u64() uint64 {
	if len(r.p) < 8 {
		r.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint64(r.p)
	r.p = r.p[8:]
	return v
}

func (r *fields) u32() uint32 {
	if len(r.p) < 4 {
		r.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint32(r.p)
	r.p = r.p[4:]
	return v
}

func (r *fields) mark() mark {
	m := mark{r.u64(), r.u64()}
	if m.total > maxTotal || m.seq > maxTotal {
		r.bad = true
	}
	return m
}

// parsePlace reads a cursor's slot. It accepts only places whose books balance:
// what began at start is booked or lies in a span, as far as closed spans tell.
func parsePlace(p []byte) (place, bool) {
	r := fields{p: p}
	var c place
	c.start = r.mark()
	for i := range c.books.Items {
		c.books.Items[i] = int64(r.u64())
		r.bad = r.bad || c.books.Items[i] < 0 || c.books.Items[i] > maxTotal
	}
	c.books.Twice = int64(r.u64())
	c.reset = r.u32()&1 != 0
	n := r.u32()
	if n < 1 || n > maxSpans {
		return place{}, false
	}
	end := c.start
	booked := uint64(c.books.Sum())
	for i := range n {
		sp := spanPlace{r.mark(), r.mark(), r.mark()}
		last := i == n-1
		switch {
		case sp.lo.seq < end.seq || sp.lo.total < end.total:
			r.bad = true
		case last && sp.hi != mark{}:
			r.bad = true
		case !last && (sp.hi.seq < sp.lo.seq || sp.hi.total < sp.lo.total):
			r.bad = true
		}
		// What lies between two spans is done, so it is in the books.
		booked -= sp.lo.total - end.total
		end = sp.hi
		c.spans = append(c.spans, sp)
	}
	return c, !r.bad && len(r.p) == 0 && booked == 0 && c.start.seq > 0
}

// headPlace is what the HEAD file holds.
type headPlace struct {
	head    mark   // everything before it was acknowledged to somebody
	removed mark   // everything before it was removed by the spool itself
	synced  uint64 // frames before it were fsynced
}

func appendHeadPlace(dst []byte, h headPlace) []byte {
	dst = appendMark(appendMark(dst, h.head), h.removed)
	return binary.LittleEndian.AppendUint64(dst, h.synced)
}

func parseHeadPlace(p []byte) (headPlace, bool) {
	r := fields{p: p}
	h := headPlace{head: r.mark(), removed: r.mark(), synced: r.u64()}
	ok := !r.bad && len(r.p) == 0 && h.head.seq > 0 && h.removed.seq <= h.head.seq && h.removed.total <= h.head.total
	return h, ok
}

// curName turns a cursor's name into a file's: letters, digits, '-', '_' and
// '.' stand for themselves, every other byte becomes %XX.
func curName(name string) (string, error) {
	if name == "" {
		return "", errors.New("cursor without a name: give it one")
	}
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() > maxNameLen {
		return "", fmt.Errorf("cursor name %.40q… is %d bytes long as a file name: use at most %d", name, b.Len(), maxNameLen)
	}
	return b.String() + curSuffix, nil
}

// parseCurName is the inverse of curName.
func parseCurName(file string) (name string, ok bool) {
	esc, ok := strings.CutSuffix(file, curSuffix)
	if !ok || esc == "" {
		return "", false
	}
	var b []byte
	for i := 0; i < len(esc); i++ {
		if esc[i] != '%' {
			b = append(b, esc[i])
			continue
		}
		var c byte
		if i+2 >= len(esc) {
			return "", false
		}
		if _, err := fmt.Sscanf(esc[i+1:i+3], "%02X", &c); err != nil {
			return "", false
		}
		b = append(b, c)
		i += 2
	}
	back, err := curName(string(b))
	return string(b), err == nil && back == file
}
