package influx

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Line protocol, as InfluxDB 1, 2 and 3 and VictoriaMetrics agree to read it:
//
//	name,tag=value,tag=value field=1.5,field=3i,field="text" 1700000000000000000\n
//
// Three things are read differently by different servers, and so are not
// written at all: a backslash in a name or tag that stands before a backslash, a
// quote or a byte that is escaped, or at the end (it becomes a slash); a control
// byte in a name or tag (it becomes a space); bytes that are no UTF-8 (each
// becomes U+FFFD; InfluxDB 3 refuses a whole body for one).

// maxKey bounds measurement and tags of one line. Source: MaxKeyLength in
// influxdata/influxdb 1.13.2, models/points.go, less room for a field's name,
// which counts too.
const maxKey = 65535 - 1024

// maxText bounds one string field. Source: MaxFieldValueLength in
// influxdata/influxdb 1.13.2, tsdb/field_validator.go.
const maxText = 1 << 20

// appendMeasurement appends a measurement's name. A name that servers keep for
// themselves (_internal) or take for a comment (#) gets an x before it.
func appendMeasurement(dst []byte, s string) []byte {
	if s != "" && (s[0] == '_' || s[0] == '#') {
		dst = append(dst, 'x')
	}
	return appendEscaped(dst, s, false)
}

// appendKey appends a tag's value, or the key of a tag or field that tidyKey
// has gone over.
func appendKey(dst []byte, s string) []byte { return appendEscaped(dst, s, true) }

// tidyKey returns the key of a tag or field as it is written, before escaping:
// control bytes and broken UTF-8 replaced, the reserved ones renamed. It
// allocates only where there is something to change.
func tidyKey(s string) string {
	if s == "time" { // servers refuse the point, or strip it
		return "time_"
	}
	clean := s != "" && s[0] != '_' && s[0] != '#'
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f && s[i] != '\\'
	}
	if clean || s == "" {
		return s
	}
	raw := appendMeasurement(nil, s)
	// What is wanted here is the name as a reader will see it.
	return strings.NewReplacer(`\,`, ",", `\ `, " ").Replace(string(raw))
}

// ordinary is true for each byte that stands for itself wherever it is.
var ordinary = func() (t [256]bool) {
	for c := '!'; c < 0x7f; c++ {
		t[c] = c != ',' && c != '=' && c != '\\'
	}
	return t
}()

func appendEscaped(dst []byte, s string, equals bool) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if ordinary[c] {
			continue // nearly always
		}
		switch {
		case c == ',' || c == ' ' || c == '=' && equals:
			dst = append(append(dst, s[from:i]...), '\\', c)
		case c == '=':
			continue
		case c < ' ' || c == 0x7f:
			dst = append(append(dst, s[from:i]...), '\\', ' ')
		case c == '\\':
			if i+1 < len(s) && s[i+1] > ' ' && s[i+1] != '"' && s[i+1] != ',' && s[i+1] != '=' && s[i+1] != '\\' && s[i+1] != 0x7f {
				continue
			}
			dst = append(append(dst, s[from:i]...), '/')
		default: // not ASCII
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n - 1
				continue
			}
			dst = append(append(dst, s[from:i]...), "\uFFFD"...)
		}
		from = i + 1
	}
	return append(dst, s[from:]...)
}

// appendText appends a string field's value with its quotes, cut to maxText.
// Text is a string or bytes, so that bodies of lines need no copy.
func appendText[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from, room := 0, maxText
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if room == 0 {
				return append(append(dst, s[from:i]...), '"')
			}
			room--
			if c == '"' || c == '\\' {
				dst = append(append(dst, s[from:i]...), '\\')
				from = i
			}
			i++
			continue
		}
		n, good := runeLen(s, i)
		if !good {
			n = 3 // what takes its place
		}
		if room < n {
			return append(append(dst, s[from:i]...), '"')
		}
		room -= n
		if good {
			i += n
			continue
		}
		dst = append(append(dst, s[from:i]...), "\uFFFD"...)
		i++
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

// runeLen returns the length of the rune at s[i], and whether there is one.
func runeLen[T string | []byte](s T, i int) (n int, good bool) {
	var buf [utf8.UTFMax]byte
	copy(buf[:], s[i:min(i+utf8.UTFMax, len(s))])
	r, n := utf8.DecodeRune(buf[:min(utf8.UTFMax, len(s)-i)])
	return n, r != utf8.RuneError || n > 1
}

// appendFloat appends a finite number as a float, never as an integer: a field
// that was a float once is refused as anything else. The shortest form that
// reads back as the same value is used, and it never ends in "e0".
func appendFloat(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// derived marks the value of a field that is no item of its own: "12.5e0" is
// the number 12.5 to every reader, and tells Send, which sees only the body,
// that the field came with the one before it. That keeps the books exact when
// a server refuses some lines of a body.
const derived = "e0"

// appendDerived appends a number of a field that is no item of its own.
func appendDerived(dst []byte, v float64) []byte {
	n := len(dst)
	dst = appendFloat(dst, v)
	if slices.Contains(dst[n:], 'e') { // 1e+21: an exponent stands there already
		dst = strconv.AppendFloat(dst[:n], v, 'f', -1, 64)
	}
	return append(dst, derived...)
}

// fine reports whether v can be written at all.
func fine(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
