package newrelic

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// Protobuf, appended. A message whose length is not known when it begins gets
// room for it: open leaves a place of some bytes, shut fills it with a varint
// that is as wide (0x85 0x00 is 5), which every parser takes. A message that
// outgrows its place is moved.

// open appends a field's tag and a place of width bytes, and returns where the
// message begins.
func open(dst []byte, tag byte, width int) ([]byte, int) {
	dst = append(append(dst, tag), "\x00\x00\x00\x00"[:width]...)
	return dst, len(dst)
}

// shut writes the length of the message that begins at at into the place of
// width bytes before it. moved reports that the place was too small.
func shut(dst []byte, at, width int) (_ []byte, moved bool) {
	n := len(dst) - at
	if wide := sizeVarint(uint64(n)); wide > width {
		dst = append(dst, "\x00\x00\x00\x00\x00"[:wide-width]...)
		copy(dst[at+wide-width:], dst[at:at+n])
		at, width, moved = at+wide-width, wide, true
	}
	for i := at - width; i < at-1; i++ {
		dst[i] = byte(n) | 0x80
		n >>= 7
	}
	dst[at-1] = byte(n)
	return dst, moved
}

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func appendFixed(dst []byte, tag byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, tag), v)
}

func appendDouble(dst []byte, tag byte, v float64) []byte {
	return appendFixed(dst, tag, math.Float64bits(v))
}

func appendVarint(dst []byte, tag byte, v uint64) []byte {
	return binary.AppendUvarint(append(dst, tag), v)
}

// appendText appends a string field. Strings of protobuf are UTF-8.
func appendText(dst []byte, tag byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return append(appendVarint(dst, tag, uint64(len(s))), s...)
}

// appendPair appends a KeyValue with a string (common.proto: key = 1, value = 2;
// of AnyValue string_value = 1) as field tag. key is prefix and name.
func appendPair(dst []byte, tag byte, prefix, name, value string) []byte {
	if !utf8.ValidString(value) {
		value = strings.ToValidUTF8(value, "\ufffd")
	}
	if !utf8.ValidString(name) {
		name = strings.ToValidUTF8(name, "\ufffd")
	}
	k, v := len(prefix)+len(name), len(value)
	any := 1 + sizeVarint(uint64(v)) + v
	if k < 0x80 && any < 0x7d { // nearly always: each length is one byte
		dst = append(dst, tag, byte(2+k+2+any))
		if 2+k+2+any >= 0x80 {
			dst[len(dst)-1] |= 0x80
			dst = append(dst, byte((2+k+2+any)>>7))
		}
		dst = append(append(append(dst, 0x0a, byte(k)), prefix...), name...)
		return append(append(dst, 0x12, byte(any), 0x0a, byte(v)), value...)
	}
	dst = appendVarint(dst, tag, uint64(1+sizeVarint(uint64(k))+k+1+sizeVarint(uint64(any))+any))
	dst = append(append(appendVarint(dst, 0x0a, uint64(k)), prefix...), name...)
	dst = appendVarint(dst, 0x12, uint64(any))
	return append(appendVarint(dst, 0x0a, uint64(v)), value...)
}

// appendPairNumber appends a KeyValue with a double (double_value = 4).
func appendPairNumber(dst []byte, tag byte, key string, v float64) []byte {
	dst = append(dst, tag, byte(2+len(key)+2+9))
	dst = append(append(dst, 0x0a, byte(len(key))), key...)
	return appendDouble(append(dst, 0x12, 9), 0x21, v)
}
