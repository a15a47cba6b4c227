package newrelic

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

const hexDigits = "0123456789abcdef"

// cut returns s, or as much of it as fits into most bytes without half a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	if r, size := utf8.DecodeRuneInString(s[end:]); r == utf8.RuneError && size <= 1 {
		end = most // it was no character to begin with
	}
	return s[:end]
}

// appendString appends s as a JSON string with its quotes; <, > and & stay as
// they are, and bytes that are no UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; s == "" {
			break
		}
		size := 1
		switch c := s[0]; {
		case c >= utf8.RuneSelf:
			var r rune
			r, size = utf8.DecodeRuneInString(s)
			dst = utf8.AppendRune(dst, r)
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		s = s[size:]
	}
	return append(dst, '"')
}

// plain returns how many bytes at the beginning of s can stand in a JSON string
// as they are, and are ASCII. It looks at eight at once.
func plain(s string) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(s); n += 8 {
		x := binary.LittleEndian.Uint64(bytesOf(s[n : n+8]))
		// The high bit of a byte shows: no ASCII; less than a space; a quote; a
		// backslash. A borrow may show one too many behind a true one: the loop
		// below looks again.
		quote, slash := x^('"'*ones), x^('\\'*ones)
		if (x|(x-' '*ones)|(quote-ones)|(slash-ones))&high != 0 {
			break
		}
	}
	for ; n < len(s); n++ {
		if c := s[n]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return n
}

// appendKeyOf appends a metric attribute's key in the syntax of the Metric API:
// ASCII letters, digits, colon, full stop and underscore; anything else is an
// underscore. clean is false if there was anything else.
func appendKeyOf(dst []byte, key string) (_ []byte, clean bool) {
	for i := 0; i < len(key); i++ {
		c := key[i]
		if !(c|0x20-'a' < 26 || c-'0' < 10 || c == '.' || c == '_' || c == ':') {
			return appendCleaned(dst, key), false
		}
	}
	return append(dst, key...), true
}

func appendCleaned(dst []byte, key string) []byte {
	for _, r := range key {
		if !(r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == ':') {
			r = '_'
		}
		dst = append(dst, byte(r))
	}
	return dst
}

// bytesOf and view turn one into the other without copying.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
func view(p []byte) string    { return unsafe.String(unsafe.SliceData(p), len(p)) }

// fine reports whether JSON can hold v.
func fine(v float64) bool { return v-v == 0 }

// appendFloat appends v, which must be fine, with as few digits as tell it from
// every other: New Relic refuses numbers that it would have to round.
func appendFloat(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// floorDiv divides by b > 0, rounding down below zero, too.
func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}
