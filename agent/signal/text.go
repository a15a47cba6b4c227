package signal

import (
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The readable notation of a batch, one item a line, which `causeway once`
// prints and in which tests state what they put in and expect:
//
//	NAME{key="value",…} TYPE UNIT VALUE [+DELTA since PREV] @TIME [from START] [hist (…)]
//	log {labels} "file" START..END
//	  @TIME LEVEL "body" {labels}
//	event @TIME LEVEL "source" "id" "title" "text" {labels} count=N [check="name" status=N]
//
// UNIT is - where there is none. Times are numbers in the model's own units.
// LEVEL is 0 to 7, or - for unknown. Blank lines and lines from # on are passed over.

// BlockText is how a line of the notation begins that is no item: the head of a
// LogBlock, whose lines follow.
const BlockText = "log {"

// Format writes b in the readable notation, in the batch's order.
func Format(b *Batch) string {
	var w []byte
	for i := range b.Samples {
		w = append(appendSampleText(w, &b.Samples[i]), '\n')
	}
	for i := range b.Logs {
		blk := &b.Logs[i]
		w = fmt.Appendf(w, "log %s %q %d..%d\n", labelText(blk.Stream.Labels()), blk.File, blk.Start, blk.End)
		for j := range blk.Lines {
			l := blk.Line(j)
			w = fmt.Appendf(w, "  @%d %s %q %s\n", l.Time, levelText(l.Level), l.Text, labelText(string(l.Attrs)))
		}
	}
	for i := range b.Events {
		e := &b.Events[i]
		w = fmt.Appendf(w, "event @%d %s %q %q %q %q %s count=%d", e.Time, levelText(e.Level), e.Source, e.ID, e.Title, e.Text, labelText(e.Labels), e.Count)
		if e.Check != "" {
			w = fmt.Appendf(w, " check=%q status=%d", e.Check, e.Status)
		}
		w = append(w, '\n')
	}
	return string(w)
}

func appendSampleText(w []byte, s *Sample) []byte {
	d := s.Series.Desc()
	unit := d.Unit
	if unit == "" {
		unit = "-"
	}
	w = append(w, d.Name...)
	if d.Labels != "" {
		w = append(w, labelText(d.Labels)...)
	}
	w = fmt.Appendf(w, " %s %s %s", d.Type, unit, number(s.Value))
	if s.Prev != 0 {
		w = fmt.Appendf(w, " +%s since %d", number(s.Delta), s.Prev)
	}
	w = fmt.Appendf(w, " @%d", s.Time)
	if s.Start != 0 {
		w = fmt.Appendf(w, " from %d", s.Start)
	}
	if s.Hist != nil {
		w = append(append(w, " hist "...), histText(s.Hist)...)
	}
	return w
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func labelText(set string) string {
	w := []byte{'{'}
	for k, v := range Walk(set) {
		if len(w) > 1 {
			w = append(w, ',')
		}
		w = append(w, k...)
		w = append(w, '=')
		w = strconv.AppendQuote(w, v)
	}
	return string(append(w, '}'))
}

func levelText(l uint8) string {
	if l == LevelUnknown {
		return "-"
	}
	return strconv.Itoa(int(l))
}

func histText(h *Hist) string {
	var w strings.Builder
	fmt.Fprintf(&w, "(count=%d sum=%s min=%s max=%s", h.Count, number(h.Sum), number(h.Min), number(h.Max))
	if len(h.Bounds) > 0 || len(h.Counts) > 0 {
		fmt.Fprintf(&w, " bounds=%s counts=%s", join(h.Bounds, number), join(h.Counts, whole))
	}
	if h.Exponential {
		fmt.Fprintf(&w, " scale=%d zero=%d width=%s pos=%d:%s neg=%d:%s", h.Scale, h.Zero, number(h.ZeroWidth),
			h.Pos.Offset, join(h.Pos.Counts, whole), h.Neg.Offset, join(h.Neg.Counts, whole))
	}
	if len(h.Quantiles) > 0 {
		fmt.Fprintf(&w, " q=%s", join(h.Quantiles, func(q Quantile) string { return number(q.Q) + ":" + number(q.Value) }))
	}
	for i := range h.Exemplars {
		e := &h.Exemplars[i]
		fmt.Fprintf(&w, " exemplar=%s @%d %s %s %s", number(e.Value), e.Time, idText(e.Trace[:]), idText(e.Span[:]), labelText(e.Labels))
	}
	if h.Since != nil {
		fmt.Fprintf(&w, " since=%s", histText(h.Since))
	}
	return w.String() + ")"
}

// idText is an id in hexadecimal, or - for none.
func idText(id []byte) string {
	if s := hex.EncodeToString(id); strings.Trim(s, "0") != "" {
		return s
	}
	return "-"
}

func whole(v uint64) string { return strconv.FormatUint(v, 10) }

func join[T any](values []T, text func(T) string) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = text(v)
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// Parse reads a batch of kind k in the readable notation. Its errors name the
// line, counted from 1.
func Parse(k Kind, text string) (*Batch, error) {
	b := &Batch{Kind: k}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		p := textParser{rest: line}
		p.item(b)
		if p.err == nil && p.rest != "" {
			p.failf("unexpected %q", p.rest)
		}
		if p.err != nil {
			return nil, fmt.Errorf("line %d: %w", n, p.err)
		}
	}
	return b, nil
}

// textParser reads one line; after an error every read gives zero.
type textParser struct {
	rest string
	err  error
}

func (p *textParser) failf(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
	p.rest = ""
}

func (p *textParser) item(b *Batch) {
	switch {
	case b.Kind == Metric:
		b.Samples = append(b.Samples, p.sample())
	case b.Kind == Event && p.take("event "):
		b.Events = append(b.Events, p.event())
	case b.Kind == Log && p.take("log "):
		blk := LogBlock{Stream: InternStream(p.labels()), File: p.quoted()}
		blk.Start = p.integerUpTo("..")
		blk.End = p.integerUpTo("")
		b.Logs = append(b.Logs, blk)
	case b.Kind == Log && len(b.Logs) > 0 && p.take("@"):
		t, l := p.integerUpTo(" "), p.level()
		body, attrs := p.quoted(), p.labels()
		b.Logs[len(b.Logs)-1].Append(t, l, []byte(body), []byte(attrs))
	default:
		p.failf("%q is no %v", p.rest, b.Kind)
	}
}

func (p *textParser) sample() Sample {
	var d Desc
	end := strings.IndexAny(p.rest, "{ ")
	if end < 0 {
		p.failf("no type behind the name")
		return Sample{}
	}
	d.Name, p.rest = p.rest[:end], strings.TrimLeft(p.rest[end:], " ")
	if strings.HasPrefix(p.rest, "{") {
		d.Labels = p.labels()
	}
	typ := p.word()
	for t := Gauge; t <= CumDist; t++ {
		if typ == t.String() {
			d.Type = t
		}
	}
	if d.Type == 0 {
		p.failf("%q is no type", typ)
		return Sample{}
	}
	if d.Unit = p.word(); d.Unit == "-" {
		d.Unit = ""
	}
	s := Sample{Series: Intern(d), Value: p.float()}
	if p.take("+") {
		s.Delta = p.float()
		p.want("since ")
		s.Prev = p.integerUpTo(" ")
	}
	p.want("@")
	s.Time = p.integerUpTo(" ")
	if p.take("from ") {
		s.Start = p.integerUpTo(" ")
	}
	if p.take("hist ") {
		s.Hist = p.hist()
	}
	return s
}

func (p *textParser) event() EventItem {
	p.want("@")
	e := EventItem{
		Time: p.integerUpTo(" "), Level: p.level(), Source: p.quoted(), ID: p.quoted(), Title: p.quoted(), Text: p.quoted(),
		Labels: p.labels(),
	}
	p.want("count=")
	e.Count = uint32(p.integerUpTo(" "))
	if p.take("check=") {
		e.Check = p.quoted()
		p.want("status=")
		e.Status = uint8(p.integerUpTo(" "))
	}
	return e
}

func (p *textParser) hist() *Hist {
	h := &Hist{}
	p.want("(count=")
	h.Count = uint64(p.integerUpTo(" "))
	p.want("sum=")
	h.Sum = p.float()
	p.want("min=")
	h.Min = p.float()
	p.want("max=")
	h.Max = p.float()
	if p.take("bounds=") {
		h.Bounds = list(p, parseFloat)
		p.want("counts=")
		h.Counts = list(p, parseCount)
	}
	if p.take("scale=") {
		h.Exponential = true
		h.Scale = int32(p.integerUpTo(" "))
		p.want("zero=")
		h.Zero = uint64(p.integerUpTo(" "))
		p.want("width=")
		h.ZeroWidth = p.float()
		p.want("pos=")
		h.Pos = Buckets{int32(p.integerUpTo(":")), list(p, parseCount)}
		p.want("neg=")
		h.Neg = Buckets{int32(p.integerUpTo(":")), list(p, parseCount)}
	}
	if p.take("q=") {
		h.Quantiles = list(p, func(s string) (Quantile, error) {
			q, v, _ := strings.Cut(s, ":")
			quantile, err := parseFloat(q)
			if err != nil {
				return Quantile{}, err
			}
			value, err := parseFloat(v)
			return Quantile{quantile, value}, err
		})
	}
	for p.take("exemplar=") {
		e := Exemplar{Value: p.float()}
		p.want("@")
		e.Time = p.integerUpTo(" ")
		p.id(e.Trace[:])
		p.id(e.Span[:])
		e.Labels = p.labels()
		h.Exemplars = append(h.Exemplars, e)
	}
	if p.take("since=") {
		h.Since = p.hist()
	}
	p.want(")")
	return h
}

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
func parseCount(s string) (uint64, error)  { return strconv.ParseUint(s, 10, 64) }

// list reads [a b c].
func list[T any](p *textParser, parse func(string) (T, error)) []T {
	p.want("[")
	inner, rest, ok := strings.Cut(p.rest, "]")
	if !ok {
		p.failf("[ without ]")
		return nil
	}
	p.rest = strings.TrimLeft(rest, " ")
	var values []T
	for f := range strings.FieldsSeq(inner) {
		v, err := parse(f)
		if err != nil {
			p.failf("%q in a list: %w", f, err)
			return nil
		}
		values = append(values, v)
	}
	return values
}

func (p *textParser) take(prefix string) bool {
	rest, ok := strings.CutPrefix(p.rest, prefix)
	if ok {
		p.rest = rest
	}
	return ok
}

func (p *textParser) want(prefix string) {
	if !p.take(prefix) {
		p.failf("wanted %q at %q", prefix, p.rest)
	}
}

// id reads an id in hexadecimal, or -.
func (p *textParser) id(dst []byte) {
	w := p.word()
	if id, err := hex.DecodeString(w); err == nil && len(id) == len(dst) {
		copy(dst, id)
	} else if w != "-" {
		p.failf("%q is no id of %d bytes", w, len(dst))
	}
}

// word reads up to the next space.
func (p *textParser) word() string {
	w, rest, _ := strings.Cut(p.rest, " ")
	p.rest = strings.TrimLeft(rest, " ")
	return w
}

// float reads a number, which ends at a space or a closing parenthesis.
func (p *textParser) float() float64 {
	end := strings.IndexAny(p.rest, " )")
	if end < 0 {
		end = len(p.rest)
	}
	v, err := parseFloat(p.rest[:end])
	if err != nil {
		p.failf("%q is no number", p.rest[:end])
		return math.NaN()
	}
	p.rest = strings.TrimLeft(p.rest[end:], " ")
	return v
}

// integerUpTo reads an integer that ends before stop, or at the line's end.
func (p *textParser) integerUpTo(stop string) int64 {
	w, rest := p.rest, ""
	if stop != "" {
		w, rest, _ = strings.Cut(p.rest, stop)
	}
	v, err := strconv.ParseInt(w, 10, 64)
	if err != nil {
		if u, uerr := strconv.ParseUint(w, 10, 64); uerr == nil {
			v, err = int64(u), nil
		}
	}
	if err != nil {
		p.failf("%q is no whole number", w)
		return 0
	}
	p.rest = strings.TrimLeft(rest, " ")
	return v
}

func (p *textParser) level() uint8 {
	w := p.word()
	if w == "-" {
		return LevelUnknown
	}
	v, err := strconv.ParseUint(w, 10, 8)
	if err != nil {
		p.failf("%q is no level", w)
	}
	return uint8(v)
}

func (p *textParser) quoted() string {
	q, err := strconv.QuotedPrefix(p.rest)
	if err != nil {
		p.failf("wanted a quoted string at %q", p.rest)
		return ""
	}
	p.rest = strings.TrimLeft(p.rest[len(q):], " ")
	s, err := strconv.Unquote(q)
	if err != nil {
		p.failf("%s: %w", q, err)
	}
	return s
}

func (p *textParser) labels() string {
	p.want("{")
	var set []byte
	for p.err == nil && !p.take("}") {
		if len(set) > 0 {
			p.want(",")
		}
		k, rest, ok := strings.Cut(p.rest, "=")
		if !ok {
			p.failf("a label without = at %q", p.rest)
			return ""
		}
		p.rest = rest
		set = AppendLabel(set, k, p.quoted())
	}
	p.rest = strings.TrimLeft(p.rest, " ")
	return Sorted(string(set))
}
