package journald

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

// The format of a journal file, as systemd.io/JOURNAL_FILE_FORMAT has it (read
// 2026-11), as far as it is used here. All numbers are little endian.
//
//	header  0 signature "LPKSHHRH" · 8 compatible u32 · 12 incompatible u32 · 16 state u8 · 24 file id 16
//	        72 seqnum id 16 · 88 header size · 152 entries · 160 tail seqnum · 168 head seqnum · 176 entry array
//	object  0 type u8 · 1 flags u8 · 8 size
//	entry   16 seqnum · 24 realtime µs · 64 items: {object u64, hash u64}, compact {object u32}
//	array   16 next · 24 items: entry u64, compact u32
//	data    64 payload, compact 72: NAME=VALUE, perhaps compressed
const (
	headerSize = 208 // of the oldest writers; what is used ends at 184

	typeData  = 1
	typeEntry = 3
	typeArray = 6

	incompatXZ      = 1
	incompatLZ4     = 2
	incompatKeyed   = 4 // hashes are not looked at
	incompatZstd    = 8
	incompatCompact = 16
	incompatKnown   = incompatXZ | incompatLZ4 | incompatKeyed | incompatZstd | incompatCompact

	flagXZ   = 1
	flagLZ4  = 2
	flagZstd = 4

	stateArchived = 2
	maxItems      = 1024 // fields of an entry: journald itself takes as many
	nameBytes     = 64   // of a field's name: as many as journald takes
)

var (
	errFormat  = errors.New("not a journal file, or of a format that is not known here")
	errDamaged = errors.New("journal file is damaged")
)

// id is a seqnum id or a file id.
type id [16]byte

func (i id) String() string { return hex.EncodeToString(i[:]) }

// header is what changes and what does not in the first bytes of a file.
type header struct {
	file, seqnums id
	flags         uint32
	archived      bool
	size          uint64 // of the header
	entries       uint64
	head, tail    uint64 // seqnums
	array         uint64 // of entries, the first
}

func parseHeader(p []byte) (h header, err error) {
	le := binary.LittleEndian
	if len(p) < headerSize || string(p[:8]) != "LPKSHHRH" {
		return h, errFormat
	}
	h.flags = le.Uint32(p[12:])
	if h.flags&^incompatKnown != 0 {
		return h, fmt.Errorf("%w (flags %#x)", errFormat, h.flags)
	}
	h.archived = p[16] == stateArchived
	copy(h.file[:], p[24:])
	copy(h.seqnums[:], p[72:])
	h.size, h.entries, h.tail, h.head, h.array = le.Uint64(p[88:]), le.Uint64(p[152:]), le.Uint64(p[160:]), le.Uint64(p[168:]), le.Uint64(p[176:])
	if h.size < headerSize || h.size > 1<<20 {
		return h, errFormat
	}
	return h, nil
}

// reader goes through the entries of one file in order. No file makes it
// panic, loop or take more memory than a line and an entry may be long. A file
// that is written meanwhile has more entries after the next refresh.
type reader struct {
	r       io.ReaderAt
	h       header
	compact bool
	max     int // bytes of a value

	array uint64 // the entry array it stands in, 0 before the first
	index uint64 // in that array
	count uint64 // entries passed in all

	buf   []byte
	plain []byte // what was decompressed
	items []uint64
	zstd  *zstd.Decoder
	names map[uint64]bool // data objects of names that nobody asks for
}

func openReader(r io.ReaderAt, max int) (*reader, error) {
	d := &reader{r: r, max: max, names: map[uint64]bool{}}
	if err := d.refresh(); err != nil {
		return nil, err
	}
	d.compact = d.h.flags&incompatCompact != 0
	return d, nil
}

// refresh looks how many entries there are now.
func (d *reader) refresh() error {
	var p [headerSize]byte
	if _, err := d.r.ReadAt(p[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return errFormat
		}
		return err
	}
	h, err := parseHeader(p[:])
	if err != nil {
		return err
	}
	d.h = h
	return nil
}

// object reads the first want bytes of an object of the given type, or the
// whole object if want is 0. It is valid until the next call.
func (d *reader) object(at uint64, typ byte, want uint64) (p []byte, size uint64, err error) {
	if at < d.h.size || at%8 != 0 || at > 1<<62 {
		return nil, 0, errDamaged
	}
	const guess = 512
	if cap(d.buf) < guess {
		d.buf = make([]byte, guess)
	}
	p = d.buf[:guess]
	n, err := d.r.ReadAt(p, int64(at))
	if n < 24 {
		if err == nil || errors.Is(err, io.EOF) {
			err = errDamaged
		}
		return nil, 0, err
	}
	p = p[:n]
	size = binary.LittleEndian.Uint64(p[8:])
	if p[0] != typ || size < 24 || size > 1<<40 {
		return nil, 0, errDamaged
	}
	if want == 0 || want > size {
		want = size
	}
	if want > uint64(n) {
		if want > uint64(d.max)+1<<16 {
			return nil, 0, errDamaged
		}
		if uint64(cap(d.buf)) < want {
			d.buf = make([]byte, want)
		}
		p = d.buf[:want]
		if _, err := d.r.ReadAt(p, int64(at)); err != nil {
			if errors.Is(err, io.EOF) {
				err = errDamaged
			}
			return nil, 0, err
		}
	}
	return p[:want], size, nil
}

// entryArray returns where the array at ends, and how many entries fit it.
func (d *reader) entryArray(at uint64) (next, room uint64, err error) {
	p, size, err := d.object(at, typeArray, 24)
	if err != nil {
		return 0, 0, err
	}
	next = binary.LittleEndian.Uint64(p[16:])
	if next != 0 && next <= at { // they are appended: one that points back would be a circle
		return 0, 0, errDamaged
	}
	return next, (size - 24) / d.width(), nil
}

// width is the length of an item of an entry array.
func (d *reader) width() uint64 {
	if d.compact {
		return 4
	}
	return 8
}

// entryAt returns the place of entry i of the array at.
func (d *reader) entryAt(at, i uint64) (uint64, error) {
	var p [8]byte
	w := d.width()
	if _, err := d.r.ReadAt(p[:w], int64(at+24+i*w)); err != nil {
		if errors.Is(err, io.EOF) {
			err = errDamaged
		}
		return 0, err
	}
	return binary.LittleEndian.Uint64(p[:]), nil // the rest of p is 0
}

// entry is one, without its fields.
type entry struct {
	seqnum   uint64
	realtime int64 // µs
}

func (d *reader) entryHead(at uint64) (e entry, err error) {
	p, _, err := d.object(at, typeEntry, 64)
	if err != nil {
		return e, err
	}
	if len(p) < 64 {
		return e, errDamaged
	}
	return entry{binary.LittleEndian.Uint64(p[16:]), int64(binary.LittleEndian.Uint64(p[24:]) &^ (1 << 63))}, nil
}

// settle moves to the array in which the next entry is; false if there is none.
func (d *reader) settle() (bool, error) {
	if d.count >= d.h.entries {
		return false, nil
	}
	if d.array == 0 {
		if d.h.array == 0 {
			return false, nil
		}
		d.array, d.index = d.h.array, 0
	}
	next, room, err := d.entryArray(d.array)
	if err != nil {
		return false, err
	}
	for d.index >= room {
		if next == 0 {
			return false, errDamaged
		}
		d.array, d.index = next, 0
		if next, room, err = d.entryArray(next); err != nil {
			return false, err
		}
	}
	return true, nil
}

// peek returns the next entry and its place, and stays before it. ok is false
// if there is none by now.
func (d *reader) peek() (e entry, at uint64, ok bool, err error) {
	if ok, err = d.settle(); !ok || err != nil {
		return e, 0, false, err
	}
	if at, err = d.entryAt(d.array, d.index); err != nil {
		return e, 0, false, err
	}
	e, err = d.entryHead(at)
	return e, at, err == nil, err
}

// skip passes the next entry.
func (d *reader) skip() {
	d.index++
	d.count++
}

// seek moves to the first entry for which past holds; it holds for all behind
// one for which it does.
func (d *reader) seek(past func(entry) bool) error {
	test := func(array, i uint64) (bool, error) {
		at, err := d.entryAt(array, i)
		if err != nil {
			return false, err
		}
		e, err := d.entryHead(at)
		return past(e), err
	}
	d.array, d.index, d.count = 0, 0, 0
	for at := d.h.array; at != 0 && d.count < d.h.entries; {
		next, room, err := d.entryArray(at)
		if err != nil {
			return err
		}
		used := min(room, d.h.entries-d.count)
		d.array, d.index = at, 0
		if used > 0 {
			last, err := test(at, used-1)
			if err != nil {
				return err
			}
			if last {
				lo, hi := uint64(0), used-1
				for lo < hi {
					mid := lo + (hi-lo)/2
					ok, err := test(at, mid)
					if err != nil {
						return err
					}
					if ok {
						hi = mid
					} else {
						lo = mid + 1
					}
				}
				d.index, d.count = lo, d.count+lo
				return nil
			}
		}
		d.index, d.count = used, d.count+used
		at = next
	}
	return nil
}

// fields calls f for each field of the entry at; what it is given is valid
// during the call. want says whether a name is asked for at all. A field that
// cannot be read is left out, and bad counts them.
func (d *reader) fields(at uint64, want func(name []byte) bool, f func(name, value []byte)) (bad int, err error) {
	p, _, err := d.object(at, typeEntry, 0)
	if err != nil {
		return 0, err
	}
	if len(p) < 64 {
		return 0, errDamaged
	}
	w := 16
	if d.compact {
		w = 4
	}
	d.items = d.items[:0]
	for p = p[64:]; len(p) >= w && len(d.items) < maxItems; p = p[w:] {
		if d.compact {
			d.items = append(d.items, uint64(binary.LittleEndian.Uint32(p)))
		} else {
			d.items = append(d.items, binary.LittleEndian.Uint64(p))
		}
	}
	for _, item := range d.items {
		if d.names[item] {
			continue
		}
		name, value, err := d.data(item, want)
		switch {
		case err != nil:
			bad++
		case name == nil:
			if len(d.names) >= 1<<14 {
				clear(d.names)
			}
			d.names[item] = true // entries share the data objects of what they have in common
		default:
			f(name, value)
		}
	}
	return bad, nil
}

// data reads one field; name is nil if nobody wants it. A value is cut at max
// bytes where that is possible.
func (d *reader) data(at uint64, want func([]byte) bool) (name, value []byte, err error) {
	from := uint64(64)
	if d.compact {
		from = 72
	}
	p, size, err := d.object(at, typeData, from+nameBytes+1)
	if err != nil || size < from || uint64(len(p)) < from {
		return nil, nil, errors.Join(err, errIf(err == nil))
	}
	flags := p[1] & (flagXZ | flagLZ4 | flagZstd)
	if flags == 0 {
		name, _, ok := bytes.Cut(p[from:], []byte("="))
		if !ok {
			return nil, nil, errDamaged
		}
		if !want(name) {
			return nil, nil, nil
		}
		n := uint64(len(name))
		if p, _, err = d.object(at, typeData, min(size, from+n+1+uint64(d.max))); err != nil {
			return nil, nil, err
		}
		return p[from : from+n], p[from+n+1:], nil
	}
	if p, _, err = d.object(at, typeData, 0); err != nil {
		return nil, nil, err
	}
	if p, err = d.inflate(flags, p[from:]); err != nil {
		return nil, nil, err
	}
	name, value, ok := bytes.Cut(p, []byte("="))
	if !ok {
		return nil, nil, errDamaged
	}
	if !want(name) {
		return nil, nil, nil
	}
	return name, value, nil
}

func errIf(bad bool) error {
	if bad {
		return errDamaged
	}
	return nil
}

// inflate returns at most max bytes, and those of a name, of what was compressed.
func (d *reader) inflate(flags byte, p []byte) ([]byte, error) {
	limit := d.max + nameBytes + 1
	var from io.Reader
	switch flags {
	case flagLZ4: // the length, and one block, which has to be unpacked whole
		if len(p) < 8 {
			return nil, errDamaged
		}
		n := binary.LittleEndian.Uint64(p)
		if n > uint64(limit) || n > 256*uint64(len(p)) { // no block of LZ4 grows more than 255 times
			return nil, errDamaged
		}
		if uint64(cap(d.plain)) < n {
			d.plain = make([]byte, n)
		}
		got, err := lz4.UncompressBlock(p[8:], d.plain[:n])
		if err != nil || uint64(got) != n {
			return nil, errDamaged
		}
		return d.plain[:n], nil
	case flagZstd:
		if d.zstd == nil {
			z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxMemory(64<<20), zstd.WithDecoderMaxWindow(16<<20))
			if err != nil {
				return nil, err
			}
			d.zstd = z
		}
		if err := d.zstd.Reset(bytes.NewReader(p)); err != nil {
			return nil, errDamaged
		}
		from = d.zstd
	case flagXZ:
		z, err := xz.ReaderConfig{DictCap: 1 << 20}.NewReader(bytes.NewReader(p))
		if err != nil {
			return nil, errDamaged
		}
		from = z
	default:
		return nil, errDamaged
	}
	b := bytes.NewBuffer(d.plain[:0])
	_, err := io.Copy(b, io.LimitReader(from, int64(limit)))
	d.plain = b.Bytes()
	if err != nil {
		return nil, errDamaged
	}
	return d.plain, nil
}

// close lets go of the memory for decompression.
func (d *reader) close() {
	if d.zstd != nil {
		d.zstd.Close()
		d.zstd = nil
	}
}
