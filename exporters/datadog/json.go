package datadog

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string with its quotes. Unlike
// encoding/json it leaves <, > and & as they are; bytes that are no UTF-8
// become U+FFFD, as there.
func appendString(dst []byte, s string) []byte {
	dst, _ = appendUpTo(dst, s, math.MaxInt)
	return dst
}

// appendUpTo is appendString for a string of at most most bytes, quotes and
// escapes included; whole is false if s was cut.
func appendUpTo(dst []byte, s string, most int) (_ []byte, whole bool) {
	if len(s) <= (most-2)/longestEscape {
		return appendWhole(dst, s), true
	}
	begin := len(dst)
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		i = plain(s, i)
		if i-from > most-2-(len(dst)-begin) {
			i = from + max(0, most-2-(len(dst)-begin)) // all ASCII: between two characters
			return append(append(dst, s[from:i]...), '"'), false
		}
		dst = append(dst, s[from:i]...)
		from = i
		if i == len(s) {
			break
		}
		if most-2-(len(dst)-begin) < longestEscape {
			return append(dst, '"'), false
		}
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, "\ufffd"...)
			} else {
				dst = append(dst, s[i:i+size]...)
			}
			i += size
			from = i
			continue
		}
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = appendControl(dst, c)
		}
		i++
		from = i
	}
	return append(dst, '"'), true
}

// longestEscape is how many bytes one byte may become: \u00XX.
const longestEscape = 6

// appendWhole is appendString for what certainly fits. It copies eight bytes and
// then looks whether one of them cannot stand as it is: a line of JSON has a quote
// every few bytes, and to look for each first and then copy what stands before it
// took twice as long.
func appendWhole(dst []byte, s string) []byte {
	const room = longestEscape + 8 + 1 // one escape, a word, the quote at the end
	n := len(dst)
	dst = slices.Grow(dst, len(s)+len(s)/4+2*room)
	dst = dst[:cap(dst)]
	dst[n] = '"'
	n++
	for i := 0; i < len(s); {
		if len(dst)-n < len(s)-i+room {
			dst = slices.Grow(dst[:n], 2*(len(s)-i)+2*room)
			dst = dst[:cap(dst)]
		}
		if i+8 <= len(s) {
			w := binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s[i:]), 8))
			binary.LittleEndian.PutUint64(dst[n:], w)
			hits := special(w)
			if hits == 0 {
				i, n = i+8, n+8
				continue
			}
			k := bits.TrailingZeros64(hits) / 8
			i, n = i+k, n+k
		} else if c := s[i]; c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			dst[n] = c
			i, n = i+1, n+1
			continue
		}
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst[n], dst[n+1] = '\\', c
			i, n = i+1, n+2
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			n = len(utf8.AppendRune(dst[:n], r)) // a byte that is no UTF-8 is U+FFFD
			i += size
		default:
			n = len(appendControl(dst[:n], c))
			i++
		}
	}
	dst[n] = '"'
	return dst[:n+1]
}

// appendControl appends the escape of a byte below ' '.
func appendControl(dst []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// special marks the bytes of a word that cannot stand in a JSON string as they
// are, or that are not ASCII, by their highest bit. The lowest mark is always
// right; a borrow may set one behind it too much.
func special(w uint64) uint64 {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	// A byte below ' ' borrows in w-0x20…, one equal to q in (w^q…)-0x01….
	quote, back := w^('"'*ones), w^('\\'*ones)
	return (w | (w - ' '*ones) | (quote - ones) | (back - ones)) & high
}

// plain returns the index of the first byte from i on that cannot stand in a
// JSON string as it is, or that is not ASCII. It looks at eight bytes at once.
func plain(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if hits := special(binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s[i:]), 8))); hits != 0 {
			return i + bits.TrailingZeros64(hits)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// view returns p as a string without copying it.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// fine reports whether JSON can hold v.
func fine(v float64) bool { return v-v == 0 }

// appendFloat appends v, which must be fine, with all its digits.
func appendFloat(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// appendRounded appends a number that was worked out with nine digits, which
// is more than Datadog keeps (32-bit floats, docs.datadoghq.com/metrics/custom_metrics).
func appendRounded(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e9 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', 9, 64)
}
