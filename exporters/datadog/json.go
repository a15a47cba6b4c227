package datadog

import (
	"math"
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
		if most-2-(len(dst)-begin) < 6 { // the longest escape
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
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	return append(dst, '"'), true
}

// plain returns the index of the first byte from i on that cannot stand in a
// JSON string as it is, or that is not ASCII. It looks at eight bytes at once.
func plain(s string, i int) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(s); i += 8 {
		p := s[i : i+8]
		w := uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 |
			uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
		// A byte below ' ' borrows in w-0x20…, one equal to q in (w^q…)-0x01….
		// A borrow may also mark a byte behind a true hit; the loop below tells.
		quote, back := w^('"'*ones), w^('\\'*ones)
		if (w|(w-' '*ones)|(quote-ones)|(back-ones))&high != 0 {
			break
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
