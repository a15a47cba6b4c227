package google

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// appendJSON appends a line that is one JSON object as the length and bytes of
// a google.protobuf.Struct, reading and writing at once. ok is false for what is
// no JSON object, is no UTF-8, has a number too large for a double, or is
// deeper than Google's own readers go; then what was appended is void.
//
// As with Google's own agents, numbers are doubles: digits beyond the 15th of
// whole numbers may change.
func appendJSON(dst, text []byte) (_ []byte, ok bool) {
	r := jsonReader{s: view(bytes.TrimRight(text, " \t\r\n"))}
	dst, at := open(dst)
	r.space()
	if r.next() != '{' {
		return dst, false
	}
	dst = r.object(dst, 1)
	if r.space(); r.bad || r.at != len(r.s) {
		return dst, false
	}
	return shut(dst, at), true
}

// jsonReader reads one value after another; once bad, nothing it gives counts.
type jsonReader struct {
	s   string
	at  int
	bad bool
}

func (r *jsonReader) space() {
	for r.at < len(r.s) && (r.s[r.at] == ' ' || r.s[r.at] == '\t' || r.s[r.at] == '\n' || r.s[r.at] == '\r') {
		r.at++
	}
}

// next takes the next byte, 0 at the end.
func (r *jsonReader) next() byte {
	if r.at >= len(r.s) {
		r.bad = true
		return 0
	}
	r.at++
	return r.s[r.at-1]
}

// object appends the fields of a Struct; the brace has been read.
func (r *jsonReader) object(dst []byte, depth int) []byte {
	r.space()
	if r.at < len(r.s) && r.s[r.at] == '}' {
		r.at++
		return dst
	}
	for !r.bad {
		r.space()
		if r.next() != '"' {
			break
		}
		dst = append(dst, 1<<3|bytesType)
		var at int
		dst, at = open(dst)
		dst = r.text(append(dst, 1<<3|bytesType))
		r.space()
		if r.next() != ':' {
			break
		}
		dst = r.value(append(dst, 2<<3|bytesType), depth)
		dst = shut(dst, at)
		r.space()
		switch r.next() {
		case ',':
			continue
		case '}':
			return dst
		}
		break
	}
	r.bad = true
	return dst
}

// array appends the values of a ListValue; the bracket has been read.
func (r *jsonReader) array(dst []byte, depth int) []byte {
	r.space()
	if r.at < len(r.s) && r.s[r.at] == ']' {
		r.at++
		return dst
	}
	for !r.bad {
		dst = r.value(append(dst, 1<<3|bytesType), depth)
		r.space()
		switch r.next() {
		case ',':
			continue
		case ']':
			return dst
		}
		break
	}
	r.bad = true
	return dst
}

// value appends length and bytes of a Value.
func (r *jsonReader) value(dst []byte, depth int) []byte {
	if r.space(); r.bad || depth > mostJSONDepth {
		r.bad = true
		return dst
	}
	var at, inner int
	switch c := r.next(); {
	case c == '"':
		dst, at = open(dst)
		return shut(r.text(append(dst, 3<<3|bytesType)), at)
	case c == '{' || c == '[':
		dst, at = open(dst)
		if c == '{' {
			dst, inner = openField(dst, 5)
			dst = r.object(dst, depth+1)
		} else {
			dst, inner = openField(dst, 6)
			dst = r.array(dst, depth+1)
		}
		if r.bad {
			return dst
		}
		return shut(shut(dst, inner), at)
	case c == 't' && r.word("rue"):
		return append(dst, 2, 4<<3|varintType, 1)
	case c == 'f' && r.word("alse"):
		return append(dst, 2, 4<<3|varintType, 0)
	case c == 'n' && r.word("ull"):
		return append(dst, 2, 1<<3|varintType, 0)
	case c == '-' || c >= '0' && c <= '9':
		dst = append(dst, 9, 2<<3|fixedType)
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(r.number(r.at-1)))
	}
	r.bad = true
	return dst
}

func (r *jsonReader) word(rest string) bool {
	if len(r.s)-r.at < len(rest) || r.s[r.at:r.at+len(rest)] != rest {
		return false
	}
	r.at += len(rest)
	return true
}

// number reads a number that begins at from.
func (r *jsonReader) number(from int) float64 {
	digits := func() (n int) {
		for r.at < len(r.s) && r.s[r.at] >= '0' && r.s[r.at] <= '9' {
			r.at++
			n++
		}
		return n
	}
	r.at = from
	if r.s[r.at] == '-' {
		r.at++
	}
	whole := r.at
	n := digits()
	if n == 0 || n > 1 && r.s[whole] == '0' {
		r.bad = true
		return 0
	}
	simple := true
	if r.at < len(r.s) && r.s[r.at] == '.' {
		simple = false
		if r.at++; digits() == 0 {
			r.bad = true
		}
	}
	if r.at < len(r.s) && r.s[r.at]|0x20 == 'e' {
		simple = false
		if r.at++; r.at < len(r.s) && (r.s[r.at] == '+' || r.s[r.at] == '-') {
			r.at++
		}
		if digits() == 0 {
			r.bad = true
		}
	}
	if simple && n <= 15 && whole == from { // most numbers in logs
		v := 0
		for _, c := range []byte(r.s[from:r.at]) {
			v = v*10 + int(c-'0')
		}
		return float64(v)
	}
	v, err := strconv.ParseFloat(r.s[from:r.at], 64)
	if err != nil {
		r.bad = true
	}
	return v
}

// text appends length and bytes of a string whose quote has been read.
func (r *jsonReader) text(dst []byte) []byte {
	from := r.at
	if r.plain(); r.at < len(r.s) && r.s[r.at] == '"' { // nearly always
		s := r.s[from:r.at]
		r.at++
		return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	dst, at := open(dst)
	for !r.bad {
		dst = append(dst, r.s[from:r.at]...)
		switch c := r.next(); {
		case c == '"':
			return shut(dst, at)
		case c == '\\':
			dst = r.escape(dst)
		case c >= utf8.RuneSelf:
			_, size := utf8.DecodeRuneInString(r.s[r.at-1:])
			if size == 1 {
				r.bad = true
				break
			}
			dst = append(dst, r.s[r.at-1:r.at-1+size]...)
			r.at += size - 1
		default:
			r.bad = true // a control character, or the end
		}
		from = r.at
		r.plain()
	}
	return dst
}

// plain goes to the next byte that does not stand for itself alone: a quote, a
// backslash, a control character, or one that is not ASCII. Eight at once.
func (r *jsonReader) plain() {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; r.at+8 <= len(r.s); r.at += 8 {
		w := word(r.s[r.at:])
		// A byte below ' ' borrows in w-0x20…, one equal to q in (w^q…)-0x01….
		quote, back := w^('"'*ones), w^('\\'*ones)
		if (w|(w-' '*ones)|(quote-ones)|(back-ones))&high != 0 {
			break
		}
	}
	for ; r.at < len(r.s); r.at++ {
		if c := r.s[r.at]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return
		}
	}
}

// escape appends what an escape stands for; the backslash has been read.
func (r *jsonReader) escape(dst []byte) []byte {
	switch c := r.next(); c {
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
		v := r.hex4()
		if utf16.IsSurrogate(v) {
			both := utf8.RuneError
			if r.word(`\u`) {
				if both = utf16.DecodeRune(v, r.hex4()); both == utf8.RuneError {
					r.at -= 6 // the second one may stand for itself
				}
			}
			v = both
		}
		return utf8.AppendRune(dst, v)
	}
	r.bad = true
	return dst
}

func (r *jsonReader) hex4() (v rune) {
	if len(r.s)-r.at < 4 {
		r.bad = true
		return 0
	}
	for _, c := range []byte(r.s[r.at : r.at+4]) {
		switch l := c | 0x20; {
		case c >= '0' && c <= '9':
			v = v<<4 | rune(c-'0')
		case l >= 'a' && l <= 'f':
			v = v<<4 | rune(l-'a'+10)
		default:
			r.bad = true
		}
	}
	r.at += 4
	return v
}
