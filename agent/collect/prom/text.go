package prom

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// The grammar, of which OpenMetrics 1.0 text and the text format 0.0.4 are both
// parts. Where the two differ this takes either, since what is read is what an
// application says, not what it should have said:
//
//	page   = { entry LF }
//	entry  = series value [time] [" # {" labels "} " value [time]] | meta | comment | nothing
//	series = name [labels] | "{" quoted name {"," label} "}"
//	labels = "{" [label {"," label} [","]] "}"      label = name "=" quoted
//	meta   = "# TYPE" name type | "# UNIT" name unit | "# HELP" name text | "# EOF"
//	quoted = '"' with \\ \" \n inside; a line feed stands for itself
//	time   = milliseconds (text) | seconds (OpenMetrics)

// errShort says that a buffer ends before the entry does.
var errShort = errors.New("the entry goes on")

// The ways in which an entry can be wrong.
var (
	errNoSeries = errors.New("begins with no metric name")
	errLabels   = errors.New("labels are not name=\"value\" between braces")
	errTwice    = errors.New("a label is there twice")
	errUTF8     = errors.New("text is no UTF-8")
	errValue    = errors.New("value is no number")
	errTime     = errors.New("timestamp is no number")
	errMeta     = errors.New("TYPE names no known type")
	errMore     = errors.New("something stands behind the value")
)

// point is what stands behind a series.
type point struct {
	value    float64
	time     int64 // Unix milliseconds, if timed
	timed    bool
	exemplar uint32 // of the line's last bytes before the line feed so many are one, from its # on
}

// parsePoint reads up to and with the line feed. n is what it took.
func parsePoint(b []byte, om bool) (pt point, n int, err error) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	// Nearly all values are a few digits, perhaps with a fraction; up to 15 of
	// them a float64 holds exactly, and one division rounds as ParseFloat does.
	start, point0 := i, -1
	m := uint64(0)
	for i < len(b) {
		c := b[i] - '0'
		if c > 9 {
			if b[i] != '.' || point0 >= 0 {
				break
			}
			point0 = i
			i++
			continue
		}
		m = m*10 + uint64(c)
		i++
	}
	digits := i - start
	if i < len(b) && b[i] == '\n' && digits > 0 && digits <= 15 {
		if point0 < 0 {
			pt.value = float64(m)
			return pt, i + 1, nil
		}
		if digits > 1 {
			pt.value = float64(m) / powers[i-point0-1]
			return pt, i + 1, nil
		}
	}
	end := bytes.IndexByte(b[start:], '\n')
	if end < 0 {
		return pt, 0, errShort
	}
	pt, err = parseFields(b[start:start+end], om)
	return pt, start + end + 1, err
}

// powers of ten that a float64 holds exactly, as far as parsePoint needs them.
var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// parseFields reads value, time and exemplar from the rest of a line.
func parseFields(line []byte, om bool) (pt point, err error) {
	whole := line
	line = bytes.TrimRight(line, " \t\r")
	value, rest := field(line)
	if pt.value, err = parseFloat(value); err != nil {
		return pt, errValue
	}
	if len(rest) > 0 && rest[0] != '#' {
		var at []byte
		at, rest = field(rest)
		pt.timed = true
		if om {
			s, err := parseFloat(at)
			if err != nil || math.IsNaN(s) || math.IsInf(s, 0) {
				return pt, errTime
			}
			pt.time = int64(s * 1000)
		} else if pt.time, err = strconv.ParseInt(view(at), 10, 64); err != nil {
			return pt, errTime
		}
	}
	if len(rest) > 0 {
		if rest[0] != '#' || !om {
			return pt, errMore
		}
		pt.exemplar = uint32(len(rest) + len(whole) - len(line)) // a line has 1 MiB at most
	}
	return pt, nil
}

// field cuts the first word off a line, and the space behind it.
func field(line []byte) (word, rest []byte) {
	end := 0
	for end < len(line) && line[end] != ' ' && line[end] != '\t' {
		end++
	}
	return line[:end], bytes.TrimLeft(line[end:], " \t")
}

// parseFloat is strconv's without what the formats do not have: hexadecimal
// numbers and underscores.
func parseFloat(p []byte) (float64, error) {
	if bytes.ContainsAny(p, "pP_xX") {
		return 0, errValue
	}
	return strconv.ParseFloat(view(p), 64)
}

// view is p as a string that lives as long as p stays as it is.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// scanSeries finds where the series at the beginning of b ends. What it
// returned is the key of the cache; only an unknown one is parsed further.
func scanSeries(b []byte) (series []byte, err error) {
	i := nameEnd(b)
	end := i
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	if i == len(b) {
		return nil, errShort
	}
	if b[i] != '{' {
		if end == 0 {
			return nil, errNoSeries
		}
		return b[:end], nil
	}
	for i++; i < len(b); i++ {
		switch b[i] {
		case '}':
			return b[:i+1], nil
		case '\n':
			return nil, errLabels
		case '"':
			n := quotedEnd(b[i:])
			if n == 0 {
				return nil, errShort
			}
			i += n - 1
		}
	}
	return nil, errShort
}

// nameEnd returns the length of the metric name at the beginning of b.
func nameEnd(b []byte) int {
	i := 0
	for i < len(b) && (isLetter(b[i]) || b[i] == ':' || i > 0 && isDigit(b[i])) {
		i++
	}
	return i
}

// labelEnd is nameEnd for a label, whose name has no colon.
func labelEnd(b []byte) int {
	i := 0
	for i < len(b) && (isLetter(b[i]) || i > 0 && isDigit(b[i])) {
		i++
	}
	return i
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// quotedEnd returns the length of the quoted text at the beginning of b, both
// quotes included, 0 if it does not end there.
func quotedEnd(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// pair is one label as the page has it.
type pair struct{ name, value string }

// parseSeries splits what scanSeries found into strings that lie in it, where
// they hold no escape. Labels are appended to pairs in the
// page's order, without those that are empty: to Prometheus they are not there.
func parseSeries(b []byte, pairs []pair) (name string, _ []pair, err error) {
	i := nameEnd(b)
	name = view(b[:i])
	named := i > 0
	b = bytes.TrimLeft(b[i:], " \t")
	if len(b) == 0 {
		return name, pairs, nil
	}
	b = bytes.TrimLeft(b[1:], " \t")
	for {
		if len(b) == 0 {
			return "", nil, errLabels
		}
		if b[0] == '}' {
			break
		}
		var key string
		quoted := b[0] == '"'
		if quoted {
			n := quotedEnd(b)
			if n == 0 {
				return "", nil, errLabels
			}
			key, b = unescape(b[1:n-1]), b[n:]
		} else {
			n := labelEnd(b)
			if n == 0 {
				return "", nil, errLabels
			}
			key, b = view(b[:n]), b[n:]
		}
		if b = bytes.TrimLeft(b, " \t"); len(b) == 0 {
			return "", nil, errLabels
		}
		if quoted && (b[0] == ',' || b[0] == '}') { // the name of the metric
			if named || !utf8.ValidString(key) {
				return "", nil, errNoSeries
			}
			name, named = key, true
			b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(",")), " \t")
			continue
		}
		if b[0] != '=' {
			return "", nil, errLabels
		}
		b = bytes.TrimLeft(b[1:], " \t")
		n := 0
		if len(b) > 0 && b[0] == '"' {
			n = quotedEnd(b)
		}
		if n == 0 {
			return "", nil, errLabels
		}
		if !utf8.Valid(b[:n]) || !utf8.ValidString(key) {
			return "", nil, errUTF8
		}
		if key == "__name__" && named { // the metric's name is one label
			return "", nil, errTwice
		}
		value := unescape(b[1 : n-1])
		for _, p := range pairs {
			if p.name == key {
				return "", nil, errTwice
			}
		}
		if value != "" {
			pairs = append(pairs, pair{key, value})
		}
		b = bytes.TrimLeft(b[n:], " \t")
		b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte(",")), " \t")
	}
	if !named || name == "" {
		return "", nil, errNoSeries
	}
	return name, pairs, nil
}

// unescape returns quoted text, a view of p if it holds no escape. A backslash
// before anything but \, " and n stays.
func unescape(p []byte) string {
	if bytes.IndexByte(p, '\\') < 0 {
		return view(p)
	}
	dst := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '\\' && i+1 < len(p) {
			switch p[i+1] {
			case '\\', '"':
				i++
			case 'n':
				dst = append(dst, '\n')
				i++
				continue
			}
		}
		dst = append(dst, p[i])
	}
	return string(dst)
}

// meta is a line that begins with #.
type meta struct {
	word string // TYPE, EOF, or empty for one that says nothing to us
	name []byte // the metric family
	text []byte
}

// parseMeta reads a line that begins with #. n is its length, line feed included.
func parseMeta(b []byte) (m meta, n int, err error) {
	i := 1
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	word := b[i:min(i+4, len(b))]
	skip := 0
	if known := string(word) == "TYPE" || string(word) == "UNIT" || string(word) == "HELP"; known && i > 1 {
		at := i + 4
		for at < len(b) && (b[at] == ' ' || b[at] == '\t') {
			at++
		}
		if at < len(b) && b[at] == '"' && at > i+4 { // a quoted name may hold a line feed
			if skip = quotedEnd(b[at:]); skip == 0 {
				return m, 0, errShort
			}
			skip += at
		}
	}
	end := bytes.IndexByte(b[skip:], '\n')
	if end < 0 {
		return m, 0, errShort
	}
	line := b[i : skip+end]
	n = skip + end + 1
	switch {
	case i == 1:
	case string(line) == "EOF":
		m.word = "EOF"
	case len(line) > 4 && string(line[:4]) == "TYPE" && (line[4] == ' ' || line[4] == '\t'):
		m.word = "TYPE"
		line = bytes.TrimLeft(line[4:], " \t")
		if len(line) > 0 && line[0] == '"' {
			q := quotedEnd(line)
			m.name, m.text = line[1:q-1], line[q:]
			if bytes.IndexByte(m.name, '\\') >= 0 {
				m.name = []byte(unescape(m.name))
			}
		} else {
			k := nameEnd(line)
			if k == 0 {
				return m, n, errNoSeries
			}
			m.name, m.text = line[:k], line[k:]
		}
		if len(m.text) > 0 {
			m.text = bytes.TrimSpace(m.text[1:]) // whatever divides them: so does Prometheus
		}
	}
	return m, n, nil
}

// badLine is the first line of a page that could not be read.
type badLine struct {
	number int
	text   string // its beginning
	err    error
}

func (b *badLine) Error() string { return fmt.Sprintf("line %d, %q: %v", b.number, b.text, b.err) }
func (b *badLine) Unwrap() error { return b.err }
