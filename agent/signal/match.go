package signal

import (
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
)

// Match is a condition on items, as a person writes it in agent.yaml:
//
//	name == "go_gc_*" && k8s.namespace.name != "kube-system"
//	level <= 4 || text =~ "(?i)panic"
//	!(service.name == "batch")
//
// The left side is name (of a metric), text (of a line or event), source, title,
// level (0 emergency … 7 debug), or a label's key. == and != compare with a glob
// of * and ?, =~ and !~ with a regular expression, < <= > >= numbers. A label that is not there is
// the empty string. && binds closer than ||. A Match is read-only and may be
// used by any number of goroutines.
type Match struct{ root node }

// ParseMatch reads a condition. Its error names the column, counted from 1.
func ParseMatch(expr string) (*Match, error) {
	p := matchParser{all: expr, rest: expr}
	n := p.or()
	if p.space(); p.err == nil && p.rest != "" {
		p.failf("unexpected %q", p.rest)
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Match{n}, nil
}

// Series reports whether samples of d match.
func (m *Match) Series(d Desc) bool {
	return m.root.eval(&subject{name: d.Name, labels: d.Labels, level: LevelUnknown})
}

// Line reports whether a line matches.
func (m *Match) Line(l LogLine) bool {
	return m.root.eval(&subject{labels: l.Block.Stream.Labels(), own: l.Attrs, text: l.Text, level: l.Level})
}

// Event reports whether an event matches.
func (m *Match) Event(e *EventItem) bool {
	return m.root.eval(&subject{labels: e.Labels, title: e.Title, source: e.Source, text: []byte(e.Text), level: e.Level})
}

// subject is one item as conditions see it.
type subject struct {
	name, title, source, labels string
	own, text                   []byte
	level                       uint8
}

func (s *subject) get(key string) string {
	switch key {
	case "name":
		return s.name
	case "title":
		return s.title
	case "source":
		return s.source
	case "text":
		return string(s.text)
	}
	for own := string(s.own); own != ""; {
		k, v, rest, ok := NextLabel(own)
		if !ok {
			break
		}
		if k == key {
			return v
		}
		own = rest
	}
	return Lookup(s.labels, key)
}

// node is one part of a condition: a conjunction or disjunction of others, or a comparison.
type node struct {
	op   string // "&&", "||", "!", or a comparison
	kids []node
	key  string
	want string
	re   *regexp.Regexp
	num  float64
}

func (n *node) eval(s *subject) bool {
	switch n.op {
	case "&&":
		for i := range n.kids {
			if !n.kids[i].eval(s) {
				return false
			}
		}
		return true
	case "||":
		for i := range n.kids {
			if n.kids[i].eval(s) {
				return true
			}
		}
		return false
	case "!":
		return !n.kids[0].eval(s)
	case "=~", "!~":
		var found bool
		if n.key == "text" {
			found = n.re.Match(s.text)
		} else {
			found = n.re.MatchString(s.get(n.key))
		}
		return found == (n.op == "=~")
	case "==", "!=":
		return Glob(n.want, s.get(n.key)) == (n.op == "==")
	}
	v := float64(s.level)
	if n.key == "level" {
		if s.level == LevelUnknown {
			return false
		}
	} else {
		var err error
		if v, err = strconv.ParseFloat(s.get(n.key), 64); err != nil {
			return false
		}
	}
	switch n.op {
	case "<":
		return v < n.num
	case "<=":
		return v <= n.num
	case ">":
		return v > n.num
	}
	return v >= n.num
}

// Glob reports whether s matches a pattern in which * stands for any run of
// characters and ? for one. It is what == means in a Match.
func Glob(pattern, s string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == s
	}
	at, star, mark := 0, -1, 0
	i := 0
	for i < len(s) {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			star, mark = at, i
			at++
		case at < len(pattern) && (pattern[at] == '?' || pattern[at] == s[i]):
			at++
			i++
		case star >= 0:
			mark++
			at, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[at:], "*") == ""
}

type matchParser struct {
	all, rest string
	depth     int
	err       error
}

func (p *matchParser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("column %d: %s", len(p.all)-len(p.rest)+1, fmt.Sprintf(format, args...))
	}
	p.rest = ""
}

func (p *matchParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\n") }

func (p *matchParser) take(s string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *matchParser) or() node  { return p.chain("||", p.and) }
func (p *matchParser) and() node { return p.chain("&&", p.unary) }

func (p *matchParser) chain(op string, part func() node) node {
	first := part()
	if !p.take(op) {
		return first
	}
	n := node{op: op, kids: []node{first, part()}}
	for p.take(op) {
		n.kids = append(n.kids, part())
	}
	return n
}

func (p *matchParser) unary() node {
	if p.depth++; p.depth > 100 {
		p.failf("nested too deeply")
	}
	defer func() { p.depth-- }()
	if p.err != nil {
		return node{}
	}
	if p.take("!") {
		return node{op: "!", kids: []node{p.unary()}}
	}
	if p.take("(") {
		n := p.or()
		if p.err == nil && !p.take(")") {
			p.failf("( without )")
		}
		return n
	}
	return p.comparison()
}

func (p *matchParser) comparison() node {
	p.space()
	end := strings.IndexAny(p.rest, " \t\n=!<>~()&|\"")
	if end < 0 {
		end = len(p.rest)
	}
	n := node{key: p.rest[:end]}
	if n.key == "" {
		p.failf("wanted name, text, level, source, title or a label's key")
		return n
	}
	p.rest = p.rest[end:]
	for _, op := range [...]string{"==", "!=", "=~", "!~", "<=", ">=", "<", ">"} {
		if p.take(op) {
			n.op = op
			break
		}
	}
	if n.op == "" {
		p.failf("wanted ==, !=, =~, !~, <, <=, > or >= behind %s", n.key)
		return n
	}
	p.space()
	if n.op[0] == '<' || n.op[0] == '>' {
		end := strings.IndexAny(p.rest, " \t\n()&|")
		if end < 0 {
			end = len(p.rest)
		}
		v, err := strconv.ParseFloat(p.rest[:end], 64)
		if err != nil {
			p.failf("%q is no number", p.rest[:end])
		}
		n.num = v
		p.rest = p.rest[min(end, len(p.rest)):]
		return n
	}
	q, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		p.failf("wanted a quoted string behind %s", n.op)
		return n
	}
	n.want, _ = strconv.Unquote(q)
	if strings.HasSuffix(n.op, "~") {
		if n.re, err = regexp.Compile(n.want); err != nil {
			p.failf("%v", err)
			return n
		}
	}
	p.rest = p.rest[len(q):]
	return n
}

// Filter removes the items from index at on that do not match, and returns how
// many they were. Lines keep their LogLine.ID: a block is cut in two where a
// line is taken out of its middle.
func (b *Batch) Filter(at int, keep *Match) (removed int) {
	switch b.Kind {
	case Metric:
		kept := b.Samples[:at]
		for _, s := range b.Samples[at:] {
			if keep.Series(s.Series.Desc()) {
				kept = append(kept, s)
			}
		}
		removed = len(b.Samples) - len(kept)
		b.Samples = kept
	case Event:
		kept := b.Events[:at]
		for _, e := range b.Events[at:] {
			if keep.Event(&e) {
				kept = append(kept, e)
			}
		}
		removed = len(b.Events) - len(kept)
		b.Events = kept
	case Log:
		var kept []LogBlock
		first := 0
		for _, blk := range b.Logs {
			lo := 0
			for i := range blk.Lines {
				if first+i >= at && !keep.Line(blk.Line(i)) {
					if i > lo {
						kept = append(kept, blk.slice(lo, i))
					}
					lo = i + 1
					removed++
				}
			}
			first += len(blk.Lines)
			if lo == 0 {
				kept = append(kept, blk)
			} else if lo < len(blk.Lines) {
				kept = append(kept, blk.slice(lo, len(blk.Lines)))
			}
		}
		b.Logs = kept
	}
	return removed
}

// Slice returns a batch of items lo to hi-1. It shares b's memory.
func (b *Batch) Slice(lo, hi int) *Batch {
	s := &Batch{Kind: b.Kind}
	switch b.Kind {
	case Metric:
		s.Samples = b.Samples[lo:hi:hi]
	case Event:
		s.Events = b.Events[lo:hi:hi]
	case Log:
		first := 0
		for _, blk := range b.Logs {
			from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
			first += len(blk.Lines)
			if from < to {
				s.Logs = append(s.Logs, blk.slice(from, to))
			}
		}
	}
	return s
}

// slice returns a block of lines lo to hi-1, which keep their IDs.
func (blk *LogBlock) slice(lo, hi int) LogBlock {
	part := LogBlock{Stream: blk.Stream, File: blk.File, Start: blk.Start + int64(lo), End: blk.End}
	var text, attrs uint32
	if lo > 0 {
		text, attrs = blk.Lines[lo-1].End, blk.Lines[lo-1].AttrEnd
	}
	part.Text = cut(blk.Text, text, blk.Lines[hi-1].End)
	part.Attrs = cut(blk.Attrs, attrs, blk.Lines[hi-1].AttrEnd)
	part.Lines = append([]Line(nil), blk.Lines[lo:hi]...)
	for i := range part.Lines {
		part.Lines[i].End -= text
		part.Lines[i].AttrEnd -= attrs
	}
	return part
}

// Times yields the times of items lo to hi-1 in order, in Unix milliseconds.
func (b *Batch) Times(lo, hi int) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		switch b.Kind {
		case Metric:
			for i := lo; i < hi; i++ {
				if !yield(b.Samples[i].Time) {
					return
				}
			}
		case Event:
			for i := lo; i < hi; i++ {
				if !yield(milliseconds(b.Events[i].Time)) {
					return
				}
			}
		case Log:
			for l := range b.LinesIn(lo, hi) {
				if !yield(milliseconds(l.Time)) {
					return
				}
			}
		}
	}
}
