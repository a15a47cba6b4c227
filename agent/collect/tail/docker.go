package tail

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// parseDocker takes a record of Docker's json-file driver apart:
//
//	{"log":"text\n","stream":"stdout","time":"2026-11-23T10:00:00.123456789Z"}
//
// (moby/moby, daemon/logger/jsonfilelog/jsonlog: also "attrs", an object.) A
// piece whose log lacks its newline is partial. The text points into p, or into
// scratch if there were escapes; scratch is returned, as it may have grown.
func parseDocker(p, scratch []byte, at *stamps) (rec piece, _ []byte, ok bool) {
	d := json{p: p}
	var stamp []byte
	var hasLog, hasTime bool
	rec.lane = -1
	d.want('{')
	for more := !d.has('}'); more; {
		key, _ := d.string(nil)
		d.want(':')
		switch string(key) {
		case "log":
			text, grown := d.string(scratch[:0])
			if rec.text, hasLog = text, true; grown {
				scratch = text
			}
		case "stream":
			s, _ := d.string(nil)
			rec.lane = laneOf(string(s))
		case "time":
			stamp, _ = d.string(nil)
			hasTime = true
		default:
			d.value(0)
		}
		if more = !d.has('}'); more {
			d.want(',')
		}
		if d.bad {
			return rec, scratch, false
		}
	}
	d.space()
	if d.bad || len(d.p) > 0 || !hasLog || !hasTime || rec.lane < 0 {
		return rec, scratch, false
	}
	if rec.time, ok = at.parse(stamp); !ok {
		return rec, scratch, false
	}
	text, whole := bytes.CutSuffix(rec.text, []byte{'\n'})
	if whole {
		text = bytes.TrimSuffix(text, []byte{'\r'}) // as terminals end lines
	}
	rec.text, rec.partial = text, !whole
	return rec, scratch, true
}

// json reads what a log driver writes, and skips what it does not know; bad
// sticks.
type json struct {
	p   []byte
	bad bool
}

const jsonDepth = 32

func (d *json) space() {
	for len(d.p) > 0 && (d.p[0] == ' ' || d.p[0] == '\t' || d.p[0] == '\r' || d.p[0] == '\n') {
		d.p = d.p[1:]
	}
}

// has takes c if it is next.
func (d *json) has(c byte) bool {
	d.space()
	if d.bad || len(d.p) == 0 || d.p[0] != c {
		return false
	}
	d.p = d.p[1:]
	return true
}

func (d *json) want(c byte) { d.bad = d.bad || !d.has(c) }

// string takes a string. It points into the input if it has no escapes, and else
// is appended to dst.
func (d *json) string(dst []byte) (s []byte, grown bool) {
	d.want('"')
	if d.bad {
		return nil, false
	}
	for {
		i := ordinary(d.p)
		switch {
		case i == len(d.p) || d.p[i] < ' ':
			d.bad = true
			return nil, false
		case d.p[i] == '"' && !grown:
			s, d.p = d.p[:i], d.p[i+1:]
			return s, false
		case d.p[i] == '"':
			dst, d.p = append(dst, d.p[:i]...), d.p[i+1:]
			return dst, true
		}
		dst, d.p, grown = append(dst, d.p[:i]...), d.p[i+1:], true
		if dst = d.escape(dst); d.bad {
			return nil, false
		}
	}
}

// ordinary is how many bytes at p's beginning stand for themselves in a string.
func ordinary(p []byte) int {
	i := 0
	for ; len(p)-i >= 8; i += 8 { // eight at a time: most of a record is one string
		const ones, tops = 0x0101010101010101, 0x8080808080808080
		x := binary.LittleEndian.Uint64(p[i:])
		quote, slash := x^ones*'"', x^ones*'\\'
		// The top bit of each byte that is below a blank, or 0 after the exclusive
		// or. A borrow spoils only bytes above the first one found.
		if found := ((x-ones*' ')&^x | (quote-ones)&^quote | (slash-ones)&^slash) & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(p) && p[i] != '"' && p[i] != '\\' && p[i] >= ' ' {
		i++
	}
	return i
}

// escape appends what stands behind a backslash.
func (d *json) escape(dst []byte) []byte {
	if len(d.p) == 0 {
		d.bad = true
		return dst
	}
	c := d.p[0]
	d.p = d.p[1:]
	switch c {
	case '"', '\\', '/':
		return append(dst, c)
	case 'b':
		return append(dst, '\b')
	case 'f':
		return append(dst, '\f')
	case 'n':
		return append(dst, '\n')
	case 'r':
		return append(dst, '\r')
	case 't':
		return append(dst, '\t')
	case 'u':
		r := d.hex()
		if utf16.IsSurrogate(r) {
			if pair := (json{p: d.p}); bytes.HasPrefix(pair.p, []byte(`\u`)) {
				pair.p = pair.p[2:]
				if both := utf16.DecodeRune(r, pair.hex()); both != utf8.RuneError {
					d.p = pair.p
					return utf8.AppendRune(dst, both)
				}
			}
		}
		return utf8.AppendRune(dst, r) // a lone half becomes U+FFFD
	}
	d.bad = true
	return dst
}

// hex takes four digits.
func (d *json) hex() (r rune) {
	if len(d.p) < 4 {
		d.bad = true
		return 0
	}
	for _, c := range d.p[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			d.bad = true
		}
		r = r<<4 | rune(c)
	}
	d.p = d.p[4:]
	return r
}

// value skips a value. What stands for a number or a word is not looked at.
func (d *json) value(depth int) {
	d.space()
	switch {
	case d.bad || len(d.p) == 0 || depth > jsonDepth:
		d.bad = true
	case d.p[0] == '"':
		d.string(nil)
	case d.p[0] == '{' || d.p[0] == '[':
		end := d.p[0] + 2 // ']' and '}' stand two behind their openers
		object := d.p[0] == '{'
		d.p = d.p[1:]
		if d.has(end) {
			return
		}
		for !d.bad {
			if object {
				d.string(nil)
				d.want(':')
			}
			d.value(depth + 1)
			if d.has(end) {
				return
			}
			d.want(',')
		}
	default:
		n := 0
		for n < len(d.p) && (d.p[n] >= '0' && d.p[n] <= '9' || d.p[n] >= 'a' && d.p[n] <= 'z' || bytes.IndexByte([]byte("+-.E"), d.p[n]) >= 0) {
			n++
		}
		d.bad = n == 0
		d.p = d.p[n:]
	}
}
