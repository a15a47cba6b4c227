package forward

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// The part of MessagePack that is used here (github.com/msgpack/msgpack, spec.md,
// read 2026-11). There are two readers: copyValue finds the end of a value in a
// stream without decoding it, decoder takes apart what was copied.

var (
	errMsgpack = errors.New("not MessagePack")
	errTooLong = errors.New("a message longer than max_chunk")
	errBusy    = errors.New("all connections together hold too much")
)

const maxDepth = 32 // of maps and arrays in a record

// shape says what begins with the byte c: length is the number of bytes behind
// it that hold a length, payload those that follow that are no values, children
// how many values follow. If length is not 0, what it counts is unit.
func shape(c byte) (length, payload, children int, unit byte, ok bool) {
	switch {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // small integers, nil, bool
		return 0, 0, 0, 0, true
	case c <= 0x8f: // map
		return 0, 0, 2 * int(c&15), 0, true
	case c <= 0x9f: // array
		return 0, 0, int(c & 15), 0, true
	case c <= 0xbf: // string
		return 0, int(c & 31), 0, 0, true
	}
	switch c {
	case 0xcc, 0xd0:
		return 0, 1, 0, 0, true
	case 0xcd, 0xd1:
		return 0, 2, 0, 0, true
	case 0xca, 0xce, 0xd2:
		return 0, 4, 0, 0, true
	case 0xcb, 0xcf, 0xd3:
		return 0, 8, 0, 0, true
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8: // ext with its type
		return 0, 1 + 1<<(c-0xd4), 0, 0, true
	case 0xc4, 0xd9:
		return 1, 0, 0, 'b', true
	case 0xc5, 0xda:
		return 2, 0, 0, 'b', true
	case 0xc6, 0xdb:
		return 4, 0, 0, 'b', true
	case 0xc7:
		return 1, 1, 0, 'b', true
	case 0xc8:
		return 2, 1, 0, 'b', true
	case 0xc9:
		return 4, 1, 0, 'b', true
	case 0xdc:
		return 2, 0, 0, 'a', true
	case 0xdd:
		return 4, 0, 0, 'a', true
	case 0xde:
		return 2, 0, 0, 'm', true
	case 0xdf:
		return 4, 0, 0, 'm', true
	}
	return 0, 0, 0, 0, false // 0xc1
}

// lengthOf reads 1, 2 or 4 bytes.
func lengthOf(p []byte) uint32 {
	var n uint32
	for _, c := range p {
		n = n<<8 | uint32(c)
	}
	return n
}

// copyValue appends the next value of r to dst, at most max bytes. Memory grows
// with what arrives, not with what is announced; grow is asked for each MiB.
func copyValue(dst []byte, r *bufio.Reader, max int, grow func(int) bool) ([]byte, error) {
	asked := len(dst)
	for todo := uint64(1); todo > 0; todo-- {
		c, err := r.ReadByte()
		if err != nil {
			return dst, err
		}
		dst = append(dst, c)
		length, payload, children, unit, ok := shape(c)
		if !ok {
			return dst, errMsgpack
		}
		if length > 0 {
			p, err := r.Peek(length)
			if err != nil {
				return dst, err
			}
			n := lengthOf(p)
			dst = append(dst, p...)
			_, _ = r.Discard(length)
			switch unit {
			case 'b':
				payload += int(n)
			case 'a':
				children = int(n)
			case 'm':
				children = 2 * int(n)
			}
		}
		// Each value that follows takes a byte at least.
		if len(dst)+payload+children > max {
			return dst, errTooLong
		}
		for payload > 0 {
			p, err := r.Peek(min(payload, 4096, r.Size()))
			dst = append(dst, p...)
			_, _ = r.Discard(len(p))
			payload -= len(p)
			if len(dst)-asked > 1<<20 {
				if !grow(len(dst) - asked) {
					return dst, errBusy
				}
				asked = len(dst)
			}
			if err != nil {
				return dst, err
			}
		}
		todo += uint64(children)
	}
	return dst, nil
}

// decoder takes values apart; bad sticks. What it returns points into p.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.p = true, nil }

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.p) {
		d.fail()
		return nil
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

// peek returns the first byte of the next value; 0xc1, which is none, at the end.
func (d *decoder) peek() byte {
	if len(d.p) == 0 {
		return 0xc1
	}
	return d.p[0]
}

// count reads the head of an array or a map, and how many values or pairs follow.
func (d *decoder) count(isMap bool) int {
	c := d.peek()
	length, _, children, unit, _ := shape(c)
	fix := c >= 0x90 && c <= 0x9f
	want := byte('a')
	if isMap {
		fix, want = c >= 0x80 && c <= 0x8f, 'm'
		children /= 2
	}
	if !fix && unit != want {
		d.fail()
		return 0
	}
	d.take(1)
	if !fix {
		children = int(lengthOf(d.take(length)))
	}
	if children > len(d.p) {
		d.fail()
		return 0
	}
	return children
}

func isArray(c byte) bool { return c >= 0x90 && c <= 0x9f || c == 0xdc || c == 0xdd }
func isMap(c byte) bool   { return c >= 0x80 && c <= 0x8f || c == 0xde || c == 0xdf }

// isText says whether a string or bytes come next: old senders know no difference.
func isText(c byte) bool {
	return c >= 0xa0 && c <= 0xbf || c >= 0xd9 && c <= 0xdb || c >= 0xc4 && c <= 0xc6
}

func (d *decoder) text() []byte {
	c := d.peek()
	if !isText(c) {
		d.fail()
		return nil
	}
	length, payload, _, _, _ := shape(c)
	d.take(1)
	if length > 0 {
		payload = int(lengthOf(d.take(length)))
	}
	return d.take(payload)
}

// skip passes one value.
func (d *decoder) skip() {
	for todo := uint64(1); todo > 0 && !d.bad; todo-- {
		length, payload, children, unit, ok := shape(d.peek())
		if !ok {
			d.fail()
			return
		}
		d.take(1)
		if length > 0 {
			n := int(lengthOf(d.take(length)))
			switch unit {
			case 'b':
				payload += n
			case 'a':
				children = n
			case 'm':
				children = 2 * n
			}
		}
		d.take(payload)
		todo += uint64(children)
	}
}

// number reads an integer or a float; ok is false if neither comes.
func (d *decoder) number() (i int64, f float64, isFloat, ok bool) {
	c := d.peek()
	switch {
	case c <= 0x7f:
		d.take(1)
		return int64(c), 0, false, true
	case c >= 0xe0:
		d.take(1)
		return int64(int8(c)), 0, false, true
	case c < 0xca || c > 0xd3:
		return 0, 0, false, false
	}
	_, n, _, _, _ := shape(c)
	d.take(1)
	p := d.take(n)
	if d.bad {
		return 0, 0, false, false
	}
	switch c {
	case 0xca:
		return 0, float64(math.Float32frombits(binary.BigEndian.Uint32(p))), true, true
	case 0xcb:
		return 0, math.Float64frombits(binary.BigEndian.Uint64(p)), true, true
	case 0xcc, 0xcd, 0xce:
		return int64(lengthOf(p)), 0, false, true
	case 0xcf:
		v := binary.BigEndian.Uint64(p)
		if v > math.MaxInt64 {
			return 0, float64(v), true, true
		}
		return int64(v), 0, false, true
	case 0xd0:
		return int64(int8(p[0])), 0, false, true
	case 0xd1:
		return int64(int16(binary.BigEndian.Uint16(p))), 0, false, true
	case 0xd2:
		return int64(int32(binary.BigEndian.Uint32(p))), 0, false, true
	}
	return int64(binary.BigEndian.Uint64(p)), 0, false, true
}

// appendText appends the next value as people read it: text as it is, scalars as
// in JSON, and all else as JSON.
func (d *decoder) appendText(dst []byte) []byte {
	if isText(d.peek()) {
		return append(dst, d.text()...)
	}
	return d.appendJSON(dst, 0)
}

// appendJSON appends the next value as JSON. Of what lies deeper than maxDepth
// nothing is said but null; bytes that are no UTF-8 and ext are base64.
func (d *decoder) appendJSON(dst []byte, depth int) []byte {
	c := d.peek()
	switch {
	case depth >= maxDepth && (isMap(c) || isArray(c)):
		d.skip()
		return append(dst, "null"...)
	case isMap(c):
		dst = append(dst, '{')
		for i := range d.count(true) {
			if d.bad {
				break
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			if isText(d.peek()) {
				dst = appendString(dst, d.text())
			} else { // JSON has only strings there
				dst = appendString(dst, d.appendJSON(nil, depth+1))
			}
			dst = d.appendJSON(append(dst, ':'), depth+1)
		}
		return append(dst, '}')
	case isArray(c):
		dst = append(dst, '[')
		for i := range d.count(false) {
			if d.bad {
				break
			}
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = d.appendJSON(dst, depth+1)
		}
		return append(dst, ']')
	case isText(c):
		return appendString(dst, d.text())
	case c == 0xc2, c == 0xc3:
		d.take(1)
		return strconv.AppendBool(dst, c == 0xc3)
	}
	if i, f, isFloat, ok := d.number(); ok {
		if !isFloat {
			return strconv.AppendInt(dst, i, 10)
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return append(dst, "null"...)
		}
		return strconv.AppendFloat(dst, f, 'g', -1, 64)
	}
	if c != 0xc0 && !d.bad {
		if ext := d.ext(); !d.bad {
			return appendString(dst, ext)
		}
	}
	d.skip()
	return append(dst, "null"...)
}

// ext returns the bytes of an ext without its type; it fails for anything else.
func (d *decoder) ext() []byte {
	c := d.peek()
	length, payload, _, _, _ := shape(c)
	if (c < 0xd4 || c > 0xd8) && (c < 0xc7 || c > 0xc9) {
		d.fail()
		return nil
	}
	d.take(1)
	if length > 0 {
		payload += int(lengthOf(d.take(length)))
	}
	p := d.take(payload)
	if len(p) == 0 {
		return nil
	}
	return p[1:]
}

// appendString appends a JSON string.
func appendString(dst, p []byte) []byte {
	if !utf8.Valid(p) {
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, p)
		return append(dst, '"')
	}
	plain := true
	for _, c := range p {
		plain = plain && c >= ' ' && c != '"' && c != '\\' && c != 0x7f
	}
	if plain {
		dst = append(append(append(dst, '"'), p...), '"')
		return dst
	}
	text, _ := json.Marshal(string(p)) // of a string: no error
	return append(dst, text...)
}

// Appenders, for what is sent.

func packText(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = append(dst, 0xda, byte(n>>8), byte(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
	}
	return append(dst, s...)
}

func packBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 0xc3)
	}
	return append(dst, 0xc2)
}
