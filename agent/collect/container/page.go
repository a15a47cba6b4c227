package container

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"unsafe"
)

// pageLine is one sample of a page in Prometheus' text format, as far as the
// kubelet writes it. Its slices point into the line.
type pageLine struct {
	name   []byte
	labels []pageLabel
	value  float64
	time   int64 // Unix ms; 0 where the line has none

	unescaped []byte // what values with escapes became
}

type pageLabel struct{ name, value []byte }

// label returns the value of a label, nil if there is none.
func (l *pageLine) label(name string) []byte {
	for i := range l.labels {
		if string(l.labels[i].name) == name {
			return l.labels[i].value
		}
	}
	return nil
}

// longestLine is what a line of a page may have: names of pods, containers and
// images are a few hundred bytes at most.
const longestLine = 64 << 10

// eachLine calls sample with every line of the page whose name wanted says yes
// to. It returns how many of those could not be read, and the error that ended
// the page early.
//
// A page of a full node has some 20,000 lines, of which a quarter are wanted,
// and lines of one name stand together: so a name is looked up when it changes,
// and what is not wanted is not looked at further.
func eachLine(r *bufio.Reader, wanted func(name []byte) bool, sample func(*pageLine)) (malformed int, err error) {
	var line pageLine
	var last []byte
	want := false
	for {
		p, err := r.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, bufio.ErrBufferFull) {
				malformed++
				for errors.Is(err, bufio.ErrBufferFull) {
					_, err = r.ReadSlice('\n')
				}
				continue
			}
			if !errors.Is(err, io.EOF) {
				return malformed, err
			}
			if len(p) == 0 {
				return malformed, nil
			}
		}
		if p[0] == '#' || p[0] == '\n' {
			continue
		}
		if end := len(last); end == 0 || len(p) <= end || !isNameEnd(p[end]) || string(p[:end]) != string(last) {
			end = 0
			for end < len(p) && !isNameEnd(p[end]) {
				end++
			}
			last = append(last[:0], p[:end]...)
			want = wanted(last)
		}
		if !want {
			continue
		}
		if line.parse(p, len(last)) {
			sample(&line)
		} else {
			malformed++
		}
	}
}

func isNameEnd(c byte) bool { return c == '{' || isBlank(c) }

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// parse reads one line, whose name ends at end.
func (l *pageLine) parse(p []byte, end int) bool {
	l.name, l.labels, l.unescaped, l.time = p[:end], l.labels[:0], l.unescaped[:0], 0
	p = p[end:]
	if len(p) > 0 && p[0] == '{' {
		ok := false
		if p, ok = l.parseLabels(p[1:]); !ok {
			return false
		}
	}
	number, rest := word(p)
	v, err := strconv.ParseFloat(text(number), 64)
	if err != nil {
		return false
	}
	l.value = v
	if at, more := word(rest); len(at) > 0 {
		t, err := strconv.ParseInt(text(at), 10, 64)
		if tail, _ := word(more); err != nil || len(tail) > 0 {
			return false
		}
		l.time = t
	}
	return true
}

// parseLabels reads what stands behind the opening brace, and returns what
// follows the closing one.
func (l *pageLine) parseLabels(p []byte) (rest []byte, ok bool) {
	for {
		for len(p) > 0 && (p[0] == ',' || isBlank(p[0])) {
			p = p[1:]
		}
		if len(p) > 0 && p[0] == '}' {
			return p[1:], true
		}
		eq := bytes.IndexByte(p, '=')
		if eq <= 0 || eq+1 >= len(p) || p[eq+1] != '"' {
			return nil, false
		}
		name := p[:eq]
		p = p[eq+2:]
		quote := bytes.IndexByte(p, '"')
		if quote < 0 {
			return nil, false
		}
		value := p[:quote]
		if bytes.IndexByte(value, '\\') < 0 {
			p = p[quote+1:]
		} else if value, p, ok = l.unescape(p); !ok {
			return nil, false
		}
		l.labels = append(l.labels, pageLabel{name, value})
	}
}

// unescape reads a value with escapes up to its closing quote.
func (l *pageLine) unescape(p []byte) (value, rest []byte, ok bool) {
	from := len(l.unescaped)
	for i := 0; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			return l.unescaped[from:len(l.unescaped):len(l.unescaped)], p[i+1:], true
		case c == '\\' && i+1 < len(p):
			i++
			switch p[i] {
			case 'n':
				l.unescaped = append(l.unescaped, '\n')
			case '\\', '"':
				l.unescaped = append(l.unescaped, p[i])
			default: // not an escape: the backslash stands for itself
				l.unescaped = append(l.unescaped, '\\', p[i])
			}
		default:
			l.unescaped = append(l.unescaped, c)
		}
	}
	return nil, nil, false
}

// word splits the first word off p.
func word(p []byte) (first, rest []byte) {
	for len(p) > 0 && isBlank(p[0]) {
		p = p[1:]
	}
	for i, c := range p {
		if isBlank(c) {
			return p[:i], p[i:]
		}
	}
	return p, nil
}

// text returns p as a string that is valid as long as p is not written to.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
