package integration

import (
	"errors"
	"fmt"
	"io"
	"log"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Point is one line of line protocol. Texts are unescaped.
type Point struct {
	Raw         string // without its newline
	Series      string // measurement and tags as written
	Measurement string
	Tags        [][2]string
	Fields      []Field
	Time        int64
}

// Field is one field of a point. Type is f, i, s or b.
type Field struct {
	Key   string
	Type  byte
	Value string
}

// Field returns the value of the field of that name, "" if there is none.
func (p Point) Field(key string) string {
	for _, f := range p.Fields {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// ParsePoint reads the first point of body and returns how many bytes it takes,
// its newline included. It is stricter than any server: measurement, at least
// one field and the time must be there, tags are sorted and neither they nor
// fields repeat a key, nothing is empty, and a line ends with \n.
func ParsePoint(body []byte) (p Point, n int, err error) {
	s := scanner{p: body}
	p.Measurement = s.text(", ")
	if p.Measurement == "" {
		return p, 0, errors.New("no measurement")
	}
	for s.take(',') {
		k := s.text("=, ")
		if !s.take('=') {
			return p, 0, fmt.Errorf("tag %q has no value", k)
		}
		v := s.text(", =")
		if k == "" || v == "" {
			return p, 0, fmt.Errorf("an empty tag %q=%q", k, v)
		}
		if m := len(p.Tags); m > 0 && p.Tags[m-1][0] >= k {
			return p, 0, fmt.Errorf("tag %q comes behind %q", k, p.Tags[m-1][0])
		}
		p.Tags = append(p.Tags, [2]string{k, v})
	}
	p.Series = string(body[:s.i])
	if !s.take(' ') {
		return p, 0, errors.New("no fields")
	}
	seen := map[string]bool{}
	for more := true; more; more = s.take(',') {
		f := Field{Key: s.text("=, ")}
		if f.Key == "" || !s.take('=') {
			return p, 0, fmt.Errorf("field %q has no value", f.Key)
		}
		if seen[f.Key] {
			return p, 0, fmt.Errorf("field %q comes twice", f.Key)
		}
		seen[f.Key] = true
		if f.Type, f.Value, err = s.value(); err != nil {
			return p, 0, fmt.Errorf("field %q: %w", f.Key, err)
		}
		p.Fields = append(p.Fields, f)
	}
	if !s.take(' ') {
		return p, 0, errors.New("no time")
	}
	digits := s.until("\n")
	if p.Time, err = strconv.ParseInt(digits, 10, 64); err != nil || strconv.FormatInt(p.Time, 10) != digits {
		return p, 0, fmt.Errorf("time %q", digits)
	}
	p.Raw = string(body[:s.i])
	if !s.take('\n') {
		return p, 0, errors.New("the last line has no end")
	}
	if !utf8.ValidString(p.Raw) {
		return p, 0, errors.New("it is no UTF-8")
	}
	return p, s.i, nil
}

type scanner struct {
	p []byte
	i int
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.p) && s.p[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) until(ends string) string {
	from := s.i
	for s.i < len(s.p) && strings.IndexByte(ends, s.p[s.i]) < 0 {
		s.i++
	}
	return string(s.p[from:s.i])
}

// text reads a name up to one of ends, or a newline. A backslash escapes one of
// the characters that end a name, and stands for itself before all others.
func (s *scanner) text(ends string) string {
	var b strings.Builder
	for s.i < len(s.p) {
		c := s.p[s.i]
		if c == '\\' && s.i+1 < len(s.p) && strings.IndexByte(", =", s.p[s.i+1]) >= 0 {
			b.WriteByte(s.p[s.i+1])
			s.i += 2
			continue
		}
		if c == '\n' || strings.IndexByte(ends, c) >= 0 {
			break
		}
		b.WriteByte(c)
		s.i++
	}
	return b.String()
}

// value reads one field's value.
func (s *scanner) value() (typ byte, value string, err error) {
	if !s.take('"') {
		v := s.until(", \n")
		switch {
		case v == "true" || v == "false":
			return 'b', v, nil
		case strings.HasSuffix(v, "i"):
			_, err = strconv.ParseInt(strings.TrimSuffix(v, "i"), 10, 64)
			return 'i', v, err
		case strings.Trim(v, "0123456789.eE+-") != "":
			return 0, "", fmt.Errorf("%q is no number", v) // nor NaN, nor hexadecimal
		}
		_, err = strconv.ParseFloat(v, 64)
		return 'f', v, err
	}
	var b strings.Builder
	for s.i < len(s.p) {
		switch c := s.p[s.i]; {
		case c == '\\' && s.i+1 < len(s.p) && (s.p[s.i+1] == '"' || s.p[s.i+1] == '\\'):
			b.WriteByte(s.p[s.i+1])
			s.i += 2
		case c == '"':
			s.i++
			return 's', b.String(), nil
		default:
			b.WriteByte(c)
			s.i++
		}
	}
	return 0, "", errors.New("a text without its end")
}

// quiet is a log that says nothing: tests cut connections on purpose.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
