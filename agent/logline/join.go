package logline

import (
	"fmt"
	"regexp"
	"strings"
)

// Join says which lines of a stream form one record. The zero Join joins none.
type Join struct {
	auto  bool
	start *regexp.Regexp
}

// ParseJoin reads "none", "auto" (stack traces), or "start:REGEXP", in which a
// line that REGEXP matches begins a record and every other goes on with it.
func ParseJoin(s string) (Join, error) {
	switch {
	case s == "none":
		return Join{}, nil
	case s == "auto":
		return Join{auto: true}, nil
	}
	expr, ok := strings.CutPrefix(s, "start:")
	if !ok {
		return Join{}, fmt.Errorf("%q is no way to join lines; there are none, auto, and start:REGEXP", s)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return Join{}, fmt.Errorf("join lines by %q: %w", s, err)
	}
	return Join{start: re}, nil
}

// Active reports whether j ever joins anything.
func (j Join) Active() bool { return j.auto || j.start != nil }

// Joiner returns a joiner for one stream.
func (j Join) Joiner() *Joiner { return &Joiner{join: j} }

// Joiner looks at the lines of one stream, one after the other. It belongs to
// one goroutine and keeps no line.
type Joiner struct {
	join Join
	open bool // there was a line before
	in   within
}

// Continues reports whether line, which has no line end, belongs to the record
// of the line before. It must be called for every line, in order.
func (j *Joiner) Continues(line []byte) bool {
	open := j.open
	j.open = true
	switch {
	case j.join.auto:
		if len(line) == 0 {
			return j.trace(line) && open
		}
		c := line[0]
		if c == '{' { // JSON: nothing goes on with it, and it with nothing
			j.open, j.in = false, calm
			return false
		}
		if j.in != calm || startsTrace(c) {
			return j.trace(line) && open
		}
		if c < 'a' || c > 'z' {
			return false // nearly always
		}
		next, goesOn := small(line)
		j.in = next
		return goesOn && open
	case j.join.start != nil:
		return open && !j.join.start.Match(line)
	}
	return false
}

// Reset forgets the lines before: the next line begins a record.
func (j *Joiner) Reset() { j.open, j.in = false, calm }
