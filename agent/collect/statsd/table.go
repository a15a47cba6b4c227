package statsd

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	maxFolds  = 1000   // series labelled overflow=true, one per metric; the names are many too then
	maxEvents = 10_000 // events and checks that wait for a flush
	maxLine   = 200    // bytes of a malformed line that are shown
)

// series is one metric with one label set.
type series struct {
	id      signal.Series
	kind    kind
	fold    bool     // stands in for those above the limit
	aliases []string // keys of table.alias that lead here

	seen int64 // interval of the last line
	fed  int64 // interval of the last value without a timestamp; 0 for none yet

	value float64 // counter: growth in this interval; gauge: the last value
	carry float64 // of a histogram's weight: the part of a value not yet counted
	hist  histogram
	set   members
}

// point names a sample with a timestamp of its own.
type point struct {
	id    signal.Series
	stamp int64
}

// badLines is what an interval had to complain of.
type badLines struct {
	count  int64
	reason Reason
	line   []byte // the last one, cut

	folded       int64
	metric, tags string // of the last one folded

	connections int64
}

// table holds every series. All its fields are guarded by mu, save the
// pointer to the Stats.
type table struct {
	stats *Stats

	mu          sync.Mutex
	percentiles []float64
	signs       string
	maxSeries   int
	expire      int64 // intervals
	seed        maphash.Seed

	alias   map[string]*series // by what a line says, byte by byte: no label is looked at twice
	known   map[signal.Series]*series
	list    []*series // in order of their first line
	folds   int       // of list, those labelled overflow=true
	ids     cgroups
	unfound []string // aliases whose container could not be found, and may be next time

	start  int64 // Unix milliseconds at which the interval began
	length int64 // milliseconds
	round  int64 // number of the interval, from 1

	stamped []signal.Sample
	points  map[point]int // index in stamped
	events  []signal.EventItem
	bad     badLines

	m     metric
	key   []byte
	count tally
}

// tally is what one batch of datagrams adds to the Stats.
type tally struct {
	packets, bytes, lines, metrics, values, events, checks, refused, folded int64
}

func newTable(c Config, st *Stats) *table {
	return &table{
		stats: st, percentiles: c.Percentiles, signs: c.Signs, maxSeries: c.MaxSeries,
		expire: int64(c.Expire / c.Flush), length: c.Flush.Milliseconds(), seed: maphash.MakeSeed(),
		alias: map[string]*series{}, known: map[signal.Series]*series{}, points: map[point]int{},
		ids: cgroups{root: c.Cgroups}, round: 1,
	}
}

// begin opens the first interval of a run.
func (t *table) begin(at int64) {
	t.mu.Lock()
	t.start = at
	t.mu.Unlock()
}

// take reads datagrams or frames; packet gives the i-th of n, and whether its
// end is missing. It keeps none of their bytes.
func (t *table) take(n int, packet func(i int) (p []byte, truncated bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range n {
		p, truncated := packet(i)
		t.count.packets++
		t.count.bytes += int64(len(p))
		t.lines(p, truncated)
	}
	t.count.moveTo(t.stats)
}

func (t *table) lines(p []byte, truncated bool) {
	for len(p) > 0 {
		line := p
		end := bytes.IndexByte(p, '\n')
		if end >= 0 {
			line, p = p[:end], p[end+1:]
		} else {
			p = nil
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			continue
		}
		t.count.lines++
		reason := Truncated
		if end >= 0 || !truncated {
			reason = t.line(line)
		}
		if reason != 0 {
			t.stats.Malformed[reason].Add(1)
			t.bad.count++
			t.bad.reason = reason
			t.bad.line = append(t.bad.line[:0], line[:min(len(line), maxLine)]...)
		}
	}
}

// line takes one line and counts it, unless it returns why it cannot.
func (t *table) line(line []byte) Reason {
	if line[0] == '_' {
		if bytes.HasPrefix(line, []byte("_e{")) {
			e, ok := parseEvent(line, &t.ids)
			if !ok {
				return BadEvent
			}
			t.event(e, &t.count.events)
			return 0
		}
		if bytes.HasPrefix(line, []byte("_sc|")) {
			e, ok := parseCheck(line, &t.ids)
			if !ok {
				return BadCheck
			}
			t.event(e, &t.count.checks)
			return 0
		}
	}
	m := &t.m
	if reason := parseMetric(line, m); reason != 0 {
		return reason
	}
	s, folded := t.find(m)
	if s == nil || m.stamp != 0 && !t.stamp(s, m) {
		t.count.refused++
		return 0
	}
	t.count.metrics++
	t.count.values += int64(max(len(m.nums), 1))
	if folded {
		t.count.folded++
	}
	s.seen = t.round
	if m.stamp == 0 {
		t.feed(s, m)
	}
	return 0
}

func (t *table) event(e signal.EventItem, count *int64) {
	if len(t.events) >= maxEvents {
		t.count.refused++
		return
	}
	if e.Time == 0 {
		e.Time = time.Now().UnixNano()
	}
	t.events = append(t.events, e)
	*count++
}

// find returns the series of a line; nil if there is no place left for it.
func (t *table) find(m *metric) (_ *series, folded bool) {
	// No field holds a |, so the key is as unambiguous as the line.
	k := append(t.key[:0], byte(m.kind))
	k = append(append(k, m.tags...), '|')
	k = append(append(k, m.container...), '|')
	k = append(append(k, m.external...), '|')
	k = append(k, m.name...)
	t.key = k
	if s, ok := t.alias[string(k)]; ok {
		return s, s.fold
	}
	d := signal.Desc{Name: strings.Map(underscore, clean(m.name))}
	switch m.kind {
	case counter:
		d.Type = signal.Delta
	case gauge:
		d.Type = signal.Gauge
	case timer:
		d.Type, d.Unit = signal.Dist, "ms"
	case dist:
		d.Type = signal.Dist
	case set:
		d.Type, d.Unit = signal.Gauge, "{element}"
	}
	var resolved bool
	d.Labels, resolved = m.labels(&t.ids)
	id := signal.Intern(d)
	s := t.known[id]
	if s == nil && len(t.list)-t.folds >= t.maxSeries {
		t.bad.folded++
		t.bad.metric, t.bad.tags = d.Name, clean(m.tags[:min(len(m.tags), maxLine)])
		d.Labels = signal.Labels(signal.LabelOverflow, "true")
		id = signal.Intern(d)
		if s = t.known[id]; s == nil {
			if t.folds >= maxFolds {
				return nil, false
			}
			s = t.add(id, m.kind)
			s.fold = true
			t.folds++
		}
		return s, true // without an alias: there is no end of them
	}
	if s == nil {
		s = t.add(id, m.kind)
		if !resolved {
			t.stats.Unresolved.Add(1)
		}
	}
	if len(t.alias) < 4*t.maxSeries {
		key := string(k)
		t.alias[key] = s
		if resolved {
			s.aliases = append(s.aliases, key)
		} else {
			t.unfound = append(t.unfound, key)
		}
	}
	return s, s.fold
}

func (t *table) add(id signal.Series, k kind) *series {
	s := &series{id: id, kind: k, seen: t.round}
	if k == set {
		s.set.hashes = map[uint64]struct{}{}
	}
	t.known[id] = s
	t.list = append(t.list, s)
	t.stats.Series.Store(int64(len(t.list)))
	return s
}

func underscore(r rune) rune {
	if r == ' ' || r == '{' || r == '}' || r == '"' {
		return '_'
	}
	return r
}

// feed adds a line's values to its series.
func (t *table) feed(s *series, m *metric) {
	s.fed = t.round
	switch s.kind {
	case counter:
		for _, v := range m.nums {
			s.value += v * m.weight
		}
	case gauge:
		for _, v := range m.nums {
			if t.relative(m) {
				v += s.value
			}
			s.value = v
		}
	case timer, dist:
		for _, v := range m.nums {
			// A rate of 0.3 stands for three and a third: the thirds add up.
			w := m.weight + s.carry
			n := uint64(w + 1e-6) // 1/0.1 may be just below ten
			s.carry = max(w-float64(n), 0)
			if n > 0 {
				s.hist.add(v, n)
			}
		}
	case set:
		s.set.add(t.seed, m.value)
	}
}

// relative says whether a gauge's values are changes. Config.Signs has the rule.
func (t *table) relative(m *metric) bool {
	return m.signed && (t.signs == "relative" || t.signs == "auto" && !m.dog)
}

// stamp takes values that have a time of their own: not aggregated over time,
// only with others of the same second. It returns false if there are too many.
func (t *table) stamp(s *series, m *metric) bool {
	p := point{s.id, m.stamp}
	i, ok := t.points[p]
	if !ok {
		if len(t.stamped) >= t.maxSeries {
			return false
		}
		i = len(t.stamped)
		t.points[p] = i
		sample := signal.Sample{Series: s.id, Time: m.stamp * 1000}
		if s.kind == counter { // a stamp has whole seconds, so such intervals never overlap
			sample.Start = sample.Time - 1000
		}
		t.stamped = append(t.stamped, sample)
	}
	for _, v := range m.nums {
		if s.kind == counter {
			t.stamped[i].Value += v * m.weight
		} else {
			t.stamped[i].Value = v
		}
	}
	return true
}

// flush ends the interval at a time in Unix milliseconds and returns what it
// held, in the order in which series came.
func (t *table) flush(at int64) ([]signal.Sample, []signal.EventItem, badLines) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at <= t.start { // the clock was set back
		t.start = at - t.length
	}
	out := make([]signal.Sample, 0, len(t.list)+len(t.stamped))
	keep := t.list[:0]
	for _, s := range t.list {
		if s.fed > 0 && t.round-s.fed <= t.expire {
			out = s.appendTo(out, t, at)
		}
		if t.round-s.seen < t.expire {
			keep = append(keep, s)
			continue
		}
		t.forget(s)
	}
	clear(t.list[len(keep):])
	t.list = keep
	t.stats.Series.Store(int64(len(keep)))
	for _, key := range t.unfound {
		delete(t.alias, key) // its next line looks again
	}
	out = append(out, t.stamped...)
	events, bad := t.events, t.bad
	t.bad.line = nil
	t.events, t.stamped, t.unfound, t.bad = nil, t.stamped[:0], nil, badLines{}
	clear(t.points)
	t.start = at
	t.round++
	return out, events, bad
}

func (s *series) appendTo(out []signal.Sample, t *table, at int64) []signal.Sample {
	sample := signal.Sample{Series: s.id, Time: at}
	switch s.kind {
	case counter:
		sample.Start, sample.Value = t.start, s.value
		s.value = 0
	case gauge:
		sample.Value = s.value
	case timer, dist:
		if s.hist.count == 0 {
			return out
		}
		sample.Start, sample.Hist = t.start, s.hist.take(t.percentiles)
	case set:
		if s.fed != t.round {
			return out
		}
		sample.Value = s.set.take()
	}
	return append(out, sample)
}

// forget ends a series.
func (t *table) forget(s *series) {
	for _, key := range s.aliases {
		delete(t.alias, key)
	}
	delete(t.known, s.id)
	if s.fold {
		t.folds--
	}
	t.stats.Expired.Add(1)
}

// closed notes a stream connection that we ended.
func (t *table) closed() {
	t.stats.Cut.Add(1)
	t.mu.Lock()
	t.bad.connections++
	t.mu.Unlock()
}

func (c *tally) moveTo(st *Stats) {
	st.Packets.Add(c.packets)
	st.Bytes.Add(c.bytes)
	st.Lines.Add(c.lines)
	st.Metrics.Add(c.metrics)
	st.Values.Add(c.values)
	for _, f := range [...]struct {
		n  int64
		to interface{ Add(int64) int64 }
	}{{c.events, &st.Events}, {c.checks, &st.Checks}, {c.refused, &st.Refused}, {c.folded, &st.Folded}} {
		if f.n != 0 {
			f.to.Add(f.n)
		}
	}
	*c = tally{}
}
