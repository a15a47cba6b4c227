package signal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/s2"
)

// A frame is one batch in bytes, complete in itself: nothing outside of it is
// needed to read it, so that any frame can be lost without harm to the others.
//
//	frame  = version u8 (1) | kind u8 | codec u8 | 0 u8 | items u32 |
//	         oldest i64 | newest i64 | body                         little endian
//	codec  = 0: body as it is · 1: body is one S2 block
//	oldest, newest: the least and greatest time of the items, Unix milliseconds
//
//	metric = { sample }                       (items times)
//	sample = flags uvarint | [name] [labels] [time] [start] [prev] value [delta] [hist]
//	name   = shared uvarint | string | unit string | type u8
//	labels = shared uvarint | string          shared: bytes in common with the one before
//	time, start, gap = varint, difference to the sample before (gap: Time - Prev)
//	value, delta     = varint where the flags say so, else float64
//	hist   = count uvarint | sum, min, max f64 | bounds | counts | exponential u8 [buckets] |
//	         quantiles | what u8 [hist] [exemplars]
//	what   = 1: the increase follows · 2: exemplars follow · 3: both
//	exemplars = uvarint { value f64 | time varint | trace 16 bytes | span 8 bytes | labels string }
//
//	log    = blocks uvarint { block }
//	block  = labels string | file string | start varint | end-start varint | lines uvarint |
//	         { time varint (difference) | length uvarint | attrs uvarint | level u8 } |
//	         text string | attrs string
//
//	event  = { time varint | labels, source, id, title, text, check string |
//	           level u8 | status u8 | count uvarint }
//
//	string = uvarint(length) bytes · varint is zigzag
//
// The encoder and the decoder of each part are neighbours below.

// HeaderSize is the length of a frame's header.
const HeaderSize = 24

// maxBody bounds what a compressed body may claim to inflate to. The hub makes
// frames of a few MiB; anything near this is damage, not data.
const maxBody = 64 << 20

const (
	codecNone = 0
	codecS2   = 1
)

// codecOf says how bodies of a kind are kept. Metrics shrink to half and cost
// little; for logs the disk is cheaper than the CPU (ARCHITECTURE.md,
// "Compression inside frames", has the figures).
func codecOf(k Kind) byte {
	if k == Metric {
		return codecS2
	}
	return codecNone
}

// ErrFrame is wrapped by every error of AppendFromFrame and ParseHeader.
var ErrFrame = errors.New("bad frame")

// Header is what can be known of a frame without decoding it.
type Header struct {
	Kind   Kind
	Items  int
	Oldest int64 // Unix milliseconds
	Newest int64 // Unix milliseconds
}

// ParseHeader reads the header of a frame.
func ParseHeader(frame []byte) (Header, error) {
	if len(frame) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes are no header", ErrFrame, len(frame))
	}
	if frame[0] != 1 {
		return Header{}, fmt.Errorf("%w: version %d, this agent reads 1", ErrFrame, frame[0])
	}
	h := Header{
		Kind:   Kind(frame[1]),
		Items:  int(binary.LittleEndian.Uint32(frame[4:])),
		Oldest: int64(binary.LittleEndian.Uint64(frame[8:])),
		Newest: int64(binary.LittleEndian.Uint64(frame[16:])),
	}
	if h.Kind < Metric || h.Kind > Event {
		return Header{}, fmt.Errorf("%w: kind %d", ErrFrame, frame[1])
	}
	return h, nil
}

// bodies holds the buffers in which bodies are built before they are compressed.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// AppendFrame appends b as one frame to dst.
func AppendFrame(dst []byte, b *Batch) []byte {
	return appendFrame(dst, b, codecOf(b.Kind))
}

func appendFrame(dst []byte, b *Batch, codec byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	var oldest, newest int64
	if codec == codecS2 {
		buf := bodies.Get().(*[]byte)
		*buf, oldest, newest = appendBody((*buf)[:0], b)
		n := s2.MaxEncodedLen(len(*buf))
		dst = slices.Grow(dst, n)
		dst = dst[:len(dst)+len(s2.Encode(dst[len(dst):len(dst)+n], *buf))]
		bodies.Put(buf)
	} else {
		dst, oldest, newest = appendBody(dst, b)
	}
	h := dst[at:]
	h[0], h[1], h[2] = 1, byte(b.Kind), codec
	binary.LittleEndian.PutUint32(h[4:], uint32(b.Len()))
	binary.LittleEndian.PutUint64(h[8:], uint64(oldest))
	binary.LittleEndian.PutUint64(h[16:], uint64(newest))
	return dst
}

func appendBody(dst []byte, b *Batch) (_ []byte, oldest, newest int64) {
	switch b.Kind {
	case Metric:
		return appendSamples(dst, b.Samples)
	case Log:
		return appendBlocks(dst, b.Logs)
	case Event:
		return appendEvents(dst, b.Events)
	}
	panic("BUG: a batch without a kind")
}

// AppendFromFrame appends the items of a frame to b, whose kind must be the
// frame's; a batch of no kind takes the frame's. Text, Attrs and the strings of
// events point into frame, or into memory of b's own where the frame is
// compressed. After an error b is as it was.
func AppendFromFrame(b *Batch, frame []byte) error {
	h, err := ParseHeader(frame)
	if err != nil {
		return err
	}
	if b.Kind == 0 {
		b.Kind = h.Kind
	}
	if b.Kind != h.Kind {
		return fmt.Errorf("%w: a %v frame for a batch of kind %v", ErrFrame, h.Kind, b.Kind)
	}
	body := frame[HeaderSize:]
	switch frame[2] {
	case codecNone:
	case codecS2:
		n, err := s2.DecodedLen(body)
		if err != nil || n > maxBody {
			return fmt.Errorf("%w: length of the compressed body", ErrFrame)
		}
		at := len(b.scratch)
		b.scratch = slices.Grow(b.scratch, n)[:at+n] // bytes handed out before stay valid in the old array
		if body, err = s2.Decode(b.scratch[at:at+n:at+n], body); err != nil {
			return fmt.Errorf("%w: %w", ErrFrame, err)
		}
	default:
		return fmt.Errorf("%w: codec %d", ErrFrame, frame[2])
	}
	r := reader{p: body}
	samples, logs, events := len(b.Samples), len(b.Logs), len(b.Events)
	switch h.Kind {
	case Metric:
		r.samples(b, h.Items)
	case Log:
		r.blocks(b, h.Items)
	case Event:
		r.events(b, h.Items)
	}
	if r.bad || len(r.p) != 0 {
		b.Samples, b.Logs, b.Events = b.Samples[:samples], b.Logs[:logs], b.Events[:events]
		return fmt.Errorf("%w: %v body of %d items", ErrFrame, h.Kind, h.Items)
	}
	return nil
}

// reader consumes a body. After a failure every read gives zero and bad stays set.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.p = true, nil }

func (r *reader) byte() byte {
	if len(r.p) == 0 {
		r.fail()
		return 0
	}
	b := r.p[0]
	r.p = r.p[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	if len(r.p) > 0 && r.p[0] < 0x80 {
		v := r.p[0]
		r.p = r.p[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of things of which each takes at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.p)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.p)) {
		r.fail()
		return nil
	}
	b := r.p[:n:n]
	r.p = r.p[n:]
	return b
}

// view reads a string without copying it: it lives as long as the body does.
func (r *reader) view() string {
	b := r.bytes()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (r *reader) float() float64 {
	if len(r.p) < 8 {
		r.fail()
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.p))
	r.p = r.p[8:]
	return v
}

func (r *reader) fixed(dst []byte) {
	if len(r.p) < len(dst) {
		r.fail()
		return
	}
	r.p = r.p[copy(dst, r.p):]
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendFloat(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// Flags of a sample. Those for what nearly always is so cost one byte.
const (
	hasLabels = 1 << iota // labels differ from the sample before
	hasName               // name, unit or type differ
	intValue              // the value is a varint
	hasPrev               // Prev is not 0
	intDelta              // the delta is a varint; without it and hasFloatDelta it is 0
	hasTime               // Time differs
	hasStart              // Start differs
	hasGap                // Time-Prev differs from that of the last sample that had a Prev
	hasFloatDelta
	hasHist
)

func appendSamples(dst []byte, samples []Sample) (_ []byte, oldest, newest int64) {
	var (
		last             Desc
		time, start, gap int64
	)
	for i := range samples {
		s := &samples[i]
		d := s.Series.Desc()
		flags := uint64(0)
		if d.Labels != last.Labels {
			flags |= hasLabels
		}
		if d.Name != last.Name || d.Type != last.Type || d.Unit != last.Unit {
			flags |= hasName
		}
		if s.Time != time {
			flags |= hasTime
		}
		if s.Start != start {
			flags |= hasStart
		}
		if s.Prev != 0 {
			flags |= hasPrev
			if s.Time-s.Prev != gap {
				flags |= hasGap
			}
		}
		iv, isInt := integer(s.Value)
		if isInt {
			flags |= intValue
		}
		id, deltaInt := integer(s.Delta)
		switch {
		case deltaInt && id == 0:
		case deltaInt:
			flags |= intDelta
		default:
			flags |= hasFloatDelta
		}
		if s.Hist != nil {
			flags |= hasHist
		}

		dst = binary.AppendUvarint(dst, flags)
		if flags&hasName != 0 {
			dst = appendSuffix(dst, last.Name, d.Name)
			dst = appendString(dst, d.Unit)
			dst = append(dst, byte(d.Type))
		}
		if flags&hasLabels != 0 {
			dst = appendSuffix(dst, last.Labels, d.Labels)
		}
		if flags&hasTime != 0 {
			dst = binary.AppendVarint(dst, s.Time-time)
		}
		if flags&hasStart != 0 {
			dst = binary.AppendVarint(dst, s.Start-start)
		}
		if flags&hasGap != 0 {
			gap = s.Time - s.Prev
			dst = binary.AppendVarint(dst, gap)
		}
		if isInt {
			dst = binary.AppendVarint(dst, iv)
		} else {
			dst = appendFloat(dst, s.Value)
		}
		if flags&intDelta != 0 {
			dst = binary.AppendVarint(dst, id)
		} else if flags&hasFloatDelta != 0 {
			dst = appendFloat(dst, s.Delta)
		}
		if s.Hist != nil {
			dst = appendHist(dst, s.Hist)
		}
		last, time, start = d, s.Time, s.Start
		if i == 0 {
			oldest, newest = s.Time, s.Time
		}
		oldest, newest = min(oldest, s.Time), max(newest, s.Time)
	}
	return dst, oldest, newest
}

func (r *reader) samples(b *Batch, items int) {
	if items > len(r.p)/2 { // flags and value take at least a byte each
		r.fail()
		return
	}
	b.Samples = slices.Grow(b.Samples, items)
	var (
		name, labels     []byte // the strings of the sample before, rebuilt in place
		unit             string
		typ              Type
		series           Series
		time, start, gap int64
	)
	for range items {
		flags := r.uvarint()
		if flags&hasName != 0 {
			name = r.suffix(name)
			unit = r.view()
			typ = Type(r.byte())
		}
		if flags&hasLabels != 0 {
			labels = r.suffix(labels)
		}
		if r.bad || typ < Gauge || typ > CumDist {
			r.fail()
			return
		}
		if flags&(hasName|hasLabels) != 0 {
			series = Intern(Desc{
				Name: unsafe.String(unsafe.SliceData(name), len(name)), Unit: unit, Type: typ,
				Labels: unsafe.String(unsafe.SliceData(labels), len(labels)),
			})
		}
		s := Sample{Series: series}
		if flags&hasTime != 0 {
			time += r.varint()
		}
		if flags&hasStart != 0 {
			start += r.varint()
		}
		if flags&hasGap != 0 {
			gap = r.varint()
		}
		s.Time, s.Start = time, start
		if flags&hasPrev != 0 {
			s.Prev = time - gap
		}
		if flags&intValue != 0 {
			s.Value = float64(r.varint())
		} else {
			s.Value = r.float()
		}
		if flags&intDelta != 0 {
			s.Delta = float64(r.varint())
		} else if flags&hasFloatDelta != 0 {
			s.Delta = r.float()
		}
		if flags&hasHist != 0 {
			s.Hist = r.hist(0)
		}
		b.Samples = append(b.Samples, s)
	}
}

// integer returns v as an integer if a varint of at most seven bytes says it
// exactly. Minus zero is none: its sign would be lost.
func integer(v float64) (int64, bool) {
	i := int64(v)
	return i, float64(i) == v && i > -1<<48 && i < 1<<48 && (i != 0 || !math.Signbit(v))
}

// appendSuffix writes s as what it has in common with the string before, and the rest.
func appendSuffix(dst []byte, before, s string) []byte {
	n := 0
	for n+8 <= len(before) && n+8 <= len(s) && before[n:n+8] == s[n:n+8] {
		n += 8
	}
	for n < len(before) && n < len(s) && before[n] == s[n] {
		n++
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	return appendString(dst, s[n:])
}

func (r *reader) suffix(before []byte) []byte {
	n := r.uvarint()
	rest := r.bytes()
	if n > uint64(len(before)) {
		r.fail()
		return nil
	}
	return append(before[:n], rest...)
}

func appendBlocks(dst []byte, blocks []LogBlock) (_ []byte, oldest, newest int64) {
	oldest, newest = math.MaxInt64, math.MinInt64
	dst = binary.AppendUvarint(dst, uint64(len(blocks)))
	for i := range blocks {
		blk := &blocks[i]
		dst = appendString(dst, blk.Stream.Labels())
		dst = appendString(dst, blk.File)
		dst = binary.AppendVarint(dst, blk.Start)
		dst = binary.AppendVarint(dst, blk.End-blk.Start)
		dst = binary.AppendUvarint(dst, uint64(len(blk.Lines)))
		var last Line
		for _, l := range blk.Lines {
			dst = binary.AppendVarint(dst, l.Time-last.Time)
			dst = binary.AppendUvarint(dst, uint64(l.End-last.End))
			dst = binary.AppendUvarint(dst, uint64(l.AttrEnd-last.AttrEnd))
			dst = append(dst, l.Level)
			last = l
			oldest, newest = min(oldest, l.Time), max(newest, l.Time)
		}
		dst = appendString(dst, blk.Text)
		dst = appendString(dst, blk.Attrs)
	}
	if oldest > newest { // no lines at all
		return dst, 0, 0
	}
	return dst, milliseconds(oldest), milliseconds(newest)
}

func (r *reader) blocks(b *Batch, items int) {
	n := r.count(7) // labels, file, start, end, lines, text, attrs
	for range n {
		blk := LogBlock{Stream: InternStream(r.view()), File: r.view(), Start: r.varint()}
		blk.End = blk.Start + r.varint()
		lines := r.count(4)
		if lines > items {
			r.fail()
			return
		}
		items -= lines
		if lines > 0 {
			at := len(b.lines)
			b.lines = slices.Grow(b.lines, lines)[:at+lines] // as with scratch
			blk.Lines = b.lines[at : at+lines : at+lines]
		}
		var (
			time         int64
			end, attrEnd uint64 // wider than Line.End, so that they cannot wrap
		)
		for i := range blk.Lines {
			time += r.varint()
			end += r.uvarint()
			attrEnd += r.uvarint()
			if end > math.MaxUint32 || attrEnd > math.MaxUint32 {
				r.fail()
				return
			}
			blk.Lines[i] = Line{Time: time, End: uint32(end), AttrEnd: uint32(attrEnd), Level: r.byte()}
		}
		blk.Text, blk.Attrs = r.bytes(), r.bytes()
		if r.bad || end != uint64(len(blk.Text)) || attrEnd != uint64(len(blk.Attrs)) {
			r.fail()
			return
		}
		b.Logs = append(b.Logs, blk)
	}
	if items != 0 {
		r.fail()
	}
}

func appendEvents(dst []byte, events []EventItem) (_ []byte, oldest, newest int64) {
	for i := range events {
		e := &events[i]
		dst = binary.AppendVarint(dst, e.Time)
		for _, s := range [...]string{e.Labels, e.Source, e.ID, e.Title, e.Text, e.Check} {
			dst = appendString(dst, s)
		}
		dst = append(dst, e.Level, e.Status)
		dst = binary.AppendUvarint(dst, uint64(e.Count))
		if i == 0 {
			oldest, newest = e.Time, e.Time
		}
		oldest, newest = min(oldest, e.Time), max(newest, e.Time)
	}
	return dst, milliseconds(oldest), milliseconds(newest)
}

func (r *reader) events(b *Batch, items int) {
	if items > len(r.p)/10 {
		r.fail()
		return
	}
	for range items {
		b.Events = append(b.Events, EventItem{
			Time: r.varint(), Labels: r.view(), Source: r.view(), ID: r.view(), Title: r.view(), Text: r.view(),
			Check: r.view(), Level: r.byte(), Status: r.byte(), Count: uint32(r.uvarint()),
		})
	}
}

// milliseconds rounds Unix nanoseconds down to Unix milliseconds.
func milliseconds(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}
