package google

import (
	"encoding/binary"
	"math"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// The four sorts of fields of protocol buffers, appended by hand: a message is
// written once, from its first byte to its last, into the request's buffer. All
// fields used have numbers below 16, or are given with two bytes of tag.

const (
	varintType = 0
	fixedType  = 1
	bytesType  = 2
)

// appendTag appends the tag of a field.
func appendTag(dst []byte, field, typ int) []byte {
	v := field<<3 | typ
	if v < 0x80 {
		return append(dst, byte(v))
	}
	return append(dst, byte(v)|0x80, byte(v>>7))
}

// appendVarint appends a varint field; zero is left out, as proto3 has it.
func appendVarint(dst []byte, field int, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return binary.AppendUvarint(appendTag(dst, field, varintType), v)
}

// appendDouble appends a double field, zero too.
func appendDouble(dst []byte, field int, v float64) []byte {
	return binary.LittleEndian.AppendUint64(appendTag(dst, field, fixedType), math.Float64bits(v))
}

// appendText appends a string field of at most most bytes; bytes that are no
// UTF-8 become U+FFFD. An empty one is left out.
func appendText(dst []byte, field int, s string, most int) []byte {
	if s == "" {
		return dst
	}
	return appendString(appendTag(dst, field, bytesType), s, most)
}

// appendString appends length and bytes of a string.
func appendString(dst []byte, s string, most int) []byte {
	if len(s) > most {
		s = clip(s, most)
	}
	if ascii(s) || utf8.ValidString(s) {
		return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	dst, at := open(dst)
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if len(dst)-at-2+max(size, 3) > most {
			break
		}
		if r == utf8.RuneError {
			dst = append(dst, "\ufffd"...)
		} else {
			dst = append(dst, s[i:i+size]...)
		}
		i += size
	}
	return shut(dst, at)
}

// clip cuts s to at most n bytes, between two characters.
func clip(s string, n int) string {
	n = max(n, 0)
	for back := 0; n > 0 && back < utf8.UTFMax && !utf8.RuneStart(s[n]); back++ {
		n--
	}
	return s[:n]
}

// ascii reports whether all of s is; eight bytes at once.
func ascii(s string) bool {
	const high = 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		if word(s[i:])&high != 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// word returns the first eight bytes of s, of which there must be as many.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// open leaves room for the length of what is appended next, which shut fills
// in. Two bytes hold what nearly all messages need; else the message is moved.
func open(dst []byte) (_ []byte, at int) { return append(dst, 0, 0), len(dst) }

func shut(dst []byte, at int) []byte {
	n := len(dst) - at - 2
	switch {
	case n >= 0x80 && n < 1<<14:
		dst[at], dst[at+1] = byte(n)|0x80, byte(n>>7)
		return dst
	case n < 0x80:
		dst[at] = byte(n)
		copy(dst[at+1:], dst[at+2:])
		return dst[:len(dst)-1]
	}
	var room [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(room[:], uint64(n))
	dst = append(dst, room[:w-2]...)
	copy(dst[at+w:], dst[at+2:at+2+n])
	copy(dst[at:], room[:w])
	return dst
}

// openField is appendTag and open.
func openField(dst []byte, field int) (_ []byte, at int) {
	return open(appendTag(dst, field, bytesType))
}

// uvarintLen returns how many bytes v takes.
func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// appendPair appends one entry of a map of strings.
func appendPair(dst []byte, field int, key, value string) []byte {
	dst, at := openField(dst, field)
	dst = appendText(dst, 1, key, mostValue)
	dst = appendText(dst, 2, value, mostValue)
	return shut(dst, at)
}

// appendTime appends a google.protobuf.Timestamp.
func appendTime(dst []byte, field int, sec, nanos int64) []byte {
	dst = appendTag(dst, field, bytesType)
	n := 0
	if sec != 0 {
		n += 1 + uvarintLen(uint64(sec))
	}
	if nanos != 0 {
		n += 1 + uvarintLen(uint64(nanos))
	}
	dst = append(dst, byte(n))
	dst = appendVarint(dst, 1, uint64(sec))
	return appendVarint(dst, 2, uint64(nanos))
}

// appendMillis appends a Timestamp of Unix milliseconds.
func appendMillis(dst []byte, field int, ms int64) []byte {
	sec, rest := floorDiv(ms, 1000)
	return appendTime(dst, field, sec, rest*1e6)
}

// floorDiv divides by b > 0 rounding down, below zero too, and returns the rest.
func floorDiv(a, b int64) (q, rest int64) {
	q, rest = a/b, a%b
	if rest < 0 {
		q, rest = q-1, rest+b
	}
	return q, rest
}

// fine reports whether v is a finite number.
func fine(v float64) bool { return v-v == 0 }

// view returns p as a string without copying it.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
