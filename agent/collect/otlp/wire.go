package otlp

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// reader reads the fields of one protobuf message
// (protobuf.dev/programming-guides/encoding). Its failure is sticky: bad is
// looked at once, at the end.
type reader struct {
	p   []byte
	bad bool

	// The field that next found.
	num   int
	typ   byte   // 0 varint, 1 fixed64, 2 bytes, 5 fixed32
	value uint64 // of types 0, 1 and 5
	bytes []byte // of type 2
}

// next moves to the next field. It returns false at the end, and at a field
// that is none.
func (r *reader) next() bool {
	if len(r.p) == 0 || r.bad {
		return false
	}
	tag := r.varint()
	r.num, r.typ = int(tag>>3), byte(tag&7)
	if r.num == 0 || tag>>32 != 0 {
		r.bad = true
	}
	switch r.typ {
	case 0:
		r.value = r.varint()
	case 1:
		if len(r.p) < 8 {
			r.bad = true
			break
		}
		r.value, r.p = binary.LittleEndian.Uint64(r.p), r.p[8:]
	case 2:
		n := r.varint()
		if n > uint64(len(r.p)) {
			r.bad = true
			break
		}
		r.bytes, r.p = r.p[:n], r.p[n:]
	case 5:
		if len(r.p) < 4 {
			r.bad = true
			break
		}
		r.value, r.p = uint64(binary.LittleEndian.Uint32(r.p)), r.p[4:]
	default: // groups are of protobuf's first years
		r.bad = true
	}
	return !r.bad
}

func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.p = r.p[n:]
	return v
}

// is reports whether the field has that number and type.
func (r *reader) is(num int, typ byte) bool { return r.num == num && r.typ == typ }

func (r *reader) double() float64 { return math.Float64frombits(r.value) }

// field returns the last occurrence of a field of type bytes in a message.
func field(msg []byte, num int) (p []byte, bad bool) {
	r := reader{p: msg}
	for r.next() {
		if r.is(num, 2) {
			p = r.bytes
		}
	}
	return p, r.bad
}

// fixed64s appends a packed run of fixed64 to dst.
func fixed64s[T any](dst []T, p []byte, as func(uint64) T) ([]T, bool) {
	if len(p)%8 != 0 {
		return dst, false
	}
	for ; len(p) > 0; p = p[8:] {
		dst = append(dst, as(binary.LittleEndian.Uint64(p)))
	}
	return dst, true
}

func same(v uint64) uint64 { return v }

// zigzag undoes the encoding of a sint32.
func zigzag(v uint64) int32 { return int32(uint32(v)>>1) ^ -int32(uint32(v)&1) }

// mostDepth is how deep lists and maps may lie in one another in an attribute.
const mostDepth = 16

// appendValue appends an AnyValue as text: a string as it is, lists and maps as
// JSON, bytes as base64. ok is false where the message is none.
func appendValue(dst, msg []byte, depth int) (out []byte, ok bool) {
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(1, 2):
			dst = append(dst, r.bytes...)
		case r.is(2, 0):
			dst = strconv.AppendBool(dst, r.value != 0)
		case r.is(3, 0):
			dst = strconv.AppendInt(dst, int64(r.value), 10)
		case r.is(4, 1):
			dst = strconv.AppendFloat(dst, r.double(), 'g', -1, 64)
		case r.is(5, 2), r.is(6, 2):
			if dst, ok = appendJSON(dst, msg, depth+1); !ok {
				return dst, false
			}
		case r.is(7, 2):
			dst = base64.StdEncoding.AppendEncode(dst, r.bytes)
		}
	}
	return dst, !r.bad
}

// appendJSON appends an AnyValue as JSON.
func appendJSON(dst, msg []byte, depth int) (out []byte, ok bool) {
	if depth > mostDepth {
		return append(dst, "null"...), true
	}
	r := reader{p: msg}
	empty := true
	for r.next() {
		empty = false
		switch {
		case r.is(1, 2):
			dst = appendString(dst, r.bytes)
		case r.is(4, 1) && (math.IsNaN(r.double()) || math.IsInf(r.double(), 0)):
			dst = appendString(dst, strconv.AppendFloat(nil, r.double(), 'g', -1, 64))
		case r.is(5, 2):
			dst = append(dst, '[')
			list := reader{p: r.bytes}
			for n := 0; list.next(); n++ {
				if n > 0 {
					dst = append(dst, ',')
				}
				if dst, ok = appendJSON(dst, list.bytes, depth+1); !ok {
					return dst, false
				}
			}
			dst, r.bad = append(dst, ']'), r.bad || list.bad
		case r.is(6, 2):
			dst = append(dst, '{')
			list := reader{p: r.bytes}
			for n := 0; list.next(); n++ {
				if n > 0 {
					dst = append(dst, ',')
				}
				k, v, bad := keyValue(list.bytes)
				dst = append(appendString(dst, k), ':')
				if dst, ok = appendJSON(dst, v, depth+1); !ok || bad {
					return dst, false
				}
			}
			dst, r.bad = append(dst, '}'), r.bad || list.bad
		case r.is(7, 2):
			dst = append(dst, '"')
			dst = base64.StdEncoding.AppendEncode(dst, r.bytes)
			dst = append(dst, '"')
		default:
			if dst, ok = appendValue(dst, msg, depth); !ok {
				return dst, false
			}
		}
	}
	if empty {
		dst = append(dst, "null"...)
	}
	return dst, !r.bad
}

// appendString appends p as a JSON string.
func appendString(dst, p []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for len(p) > 0 {
		c := p[0]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(p)
			dst = utf8.AppendRune(dst, r)
			p = p[n:]
			continue
		}
		p = p[1:]
	}
	return append(dst, '"')
}

// keyValue takes a KeyValue apart.
func keyValue(msg []byte) (key, value []byte, bad bool) {
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(1, 2):
			key = r.bytes
		case r.is(2, 2):
			value = r.bytes
		}
	}
	return key, value, r.bad
}

// appendAttributes appends every KeyValue that field num of msg holds to a flat
// label set, which is not sorted yet. An attribute without a value is left out.
func (d *decoder) appendAttributes(dst, msg []byte, num int, leave func(key string) bool) ([]byte, bool) {
	r := reader{p: msg}
	for r.next() {
		if !r.is(num, 2) {
			continue
		}
		k, v, bad := keyValue(r.bytes)
		var ok bool
		if d.value, ok = appendValue(d.value[:0], v, 0); !ok || bad {
			return dst, false
		}
		if key := text(k); key != "" && len(d.value) > 0 && (leave == nil || !leave(key)) {
			dst = signal.AppendLabel(dst, key, text(d.value))
		}
	}
	return dst, !r.bad
}

// text is p as a string that is UTF-8.
func text(p []byte) string {
	if utf8.Valid(p) {
		return string(p)
	}
	return string([]rune(string(p)))
}
