package hub

import (
	"hash/maphash"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// The cardinality guard. A series above a limit gets no entry of its own: its
// samples of one batch are folded into one sample of one series of the metric,
// which has the agent's own labels and overflow:true. Increases of counters and
// deltas are added up, distributions are merged, of gauges the last value counts.
//
// To know a counter's increase one must know its last reading, so these are kept
// for folded counters too, without their names, for as many as max_series. What
// is beyond that adds nothing, and is counted as Unknown.

const (
	// mostOverflows bounds the metrics that have a series for their overflow. The
	// samples of any more are only counted, in overflowName.
	mostOverflows = 1000
	overflowName  = "causeway.hub.overflow"

	labelInstance = "service.instance.id" // OpenTelemetry's name of what was scraped, or of what sent

	mostLooked = 5000 // series of a metric that are looked at to name who is at fault
	tellEvery  = time.Minute
)

// metricKey is what a limit per metric counts.
type metricKey struct {
	name string
	typ  signal.Type
}

// guard counts series per metric, and holds the overflows. Hub.mu guards it.
type guard struct {
	by       map[metricKey]*metricGuard
	over     []*overflow // those of by, oldest first
	rest     *overflow   // of the metrics beyond mostOverflows
	touched  []*overflow // have samples of the present batch
	members  int         // last readings kept, over all metrics
	hash     maphash.Seed
	news     bool // something overflows that the log has not been told of
	nextNews time.Time
}

type metricGuard struct {
	series int
	over   *overflow
}

// overflow is the series that stands in for those above the limit.
type overflow struct {
	key     metricKey
	unit    string
	series  signal.Series
	version uint64 // of the base labels in series
	since   time.Time
	seen    int64 // Unix seconds
	members map[uint64]*member

	start int64 // Unix milliseconds; Counter, CumDist: since when total counts
	last  int64 // time of the sample before
	total float64
	dist  *signal.Hist

	now signal.Sample // of the present batch: Start, Time, and Value or Hist as a Delta or Dist has them
	n   int64         // samples folded into it
}

// member is the last reading of a folded counter.
type member struct {
	seed
	seen int64 // Unix seconds
}

func newGuard() guard {
	return guard{by: map[metricKey]*metricGuard{}, hash: maphash.MakeSeed()}
}

// left takes note that a series is forgotten.
func (g *guard) left(raw signal.Series) {
	d := raw.Desc()
	k := metricKey{d.Name, d.Type}
	if m := g.by[k]; m != nil {
		if m.series--; m.series == 0 && m.over == nil {
			delete(g.by, k)
		}
	}
}

// sweep forgets overflows and members that have not been seen since old.
func (g *guard) sweep(old int64) {
	g.over = slices.DeleteFunc(g.over, func(o *overflow) bool {
		for id, m := range o.members {
			if m.seen < old {
				delete(o.members, id)
				g.members--
			}
		}
		if o.seen >= old {
			return false
		}
		m := g.by[o.key]
		if m.over = nil; m.series == 0 {
			delete(g.by, o.key)
		}
		g.news = true
		return true
	})
}

// admitLocked makes the entry of a series that has none, or returns nil if that
// is above a limit.
func (h *Hub) admitLocked(raw signal.Series, version uint64) *entry {
	d := raw.Desc()
	k := metricKey{d.Name, d.Type}
	m := h.guard.by[k]
	if len(h.series) >= h.settled.limits.MaxSeries || m != nil && m.series >= h.settled.limits.PerMetric {
		return nil
	}
	if m == nil {
		k.name = strings.Clone(k.name) // a part of the series' text would hold all of it
		m = &metricGuard{}
		h.guard.by[k] = m
	}
	m.series++
	e := &entry{raw: raw, version: ^version}
	if m.over != nil { // there is room again: it goes on where it was folded
		id := maphash.String(h.guard.hash, d.Labels)
		if known := m.over.members[id]; known != nil {
			e.last = &known.seed
			delete(m.over.members, id)
			h.guard.members--
		}
	}
	h.series[raw] = e
	return e
}

// foldLocked adds a sample of a series without an entry to its metric's overflow.
func (h *Hub) foldLocked(s *signal.Sample, now int64, st *Stats) {
	d := s.Series.Desc()
	full := d
	if slices.ContainsFunc(h.settled.rules, func(r *rule) bool { return r.of(signal.Metric) }) {
		if full.Labels = h.completeLocked(d.Labels); h.settled.drops(full) {
			st.Dropped.Add(1)
			return
		}
	}
	o := h.overflowLocked(d)
	o.seen = now
	if o.n == 0 {
		h.guard.touched = append(h.guard.touched, o)
		o.now = signal.Sample{Start: s.Time, Time: s.Time}
	}
	o.n++
	one := *s
	if o == h.guard.rest {
		one = signal.Sample{Start: s.Time - 1, Time: s.Time, Value: 1}
	} else if t := d.Type; t == signal.Counter || t == signal.CumDist {
		if !h.increaseLocked(o, d, &one, now, st) {
			return
		}
	}
	o.now.Time = max(o.now.Time, one.Time)
	if one.Start > 0 {
		o.now.Start = min(o.now.Start, one.Start)
	}
	if one.Hist != nil {
		o.now.Hist = addHist(o.now.Hist, one.Hist)
	}
	if o.key.typ == signal.Gauge {
		o.now.Value = one.Value
		return
	}
	o.now.Value += one.Value
}

// increaseLocked makes of a running total its increase, as a Delta or a Dist. It
// returns false if it has none that we know.
func (h *Hub) increaseLocked(o *overflow, d signal.Desc, s *signal.Sample, now int64, st *Stats) bool {
	id := maphash.String(h.guard.hash, d.Labels)
	m := o.members[id]
	if m == nil {
		if h.guard.members >= h.settled.limits.MaxSeries {
			st.Unknown.Add(1)
			return false
		}
		m = &member{}
		o.members[id] = m
		h.guard.members++
	}
	m.seen = now
	if !h.convert(&m.seed, s, st) || s.Prev == 0 {
		return false // repeated, or a first reading that says nothing yet
	}
	s.Start, s.Value = s.Prev, s.Delta
	if s.Hist != nil {
		s.Hist = s.Hist.Since
	}
	return true
}

// overflowLocked returns the overflow of a metric, a new one if it has none.
func (h *Hub) overflowLocked(d signal.Desc) *overflow {
	g := &h.guard
	k := metricKey{d.Name, d.Type}
	m := g.by[k]
	if m != nil && m.over != nil {
		return m.over
	}
	if len(g.over) >= mostOverflows {
		if g.rest == nil {
			g.rest = &overflow{key: metricKey{overflowName, signal.Delta}, unit: "{sample}", since: time.Now()}
		}
		return g.rest
	}
	if m == nil {
		k.name = strings.Clone(k.name)
		m = &metricGuard{}
		g.by[k] = m
	}
	m.over = &overflow{key: k, unit: strings.Clone(d.Unit), since: time.Now(), members: map[uint64]*member{}}
	g.over = append(g.over, m.over)
	g.news = true
	return m.over
}

// appendOverflowsLocked appends the samples of the overflows that had a part in
// the present batch.
func (h *Hub) appendOverflowsLocked(to []signal.Sample, st *Stats) []signal.Sample {
	for _, o := range h.guard.touched {
		if o.version != h.settled.version {
			labels := signal.Merge(h.settled.base, signal.Labels(signal.LabelOverflow, "true"))
			o.series = signal.Intern(signal.Desc{Name: o.key.name, Unit: o.unit, Type: o.key.typ, Labels: labels})
			o.version = h.settled.version
		}
		to = append(to, o.sample())
		st.Folded.Add(o.n - 1) // one goes on
		o.n, o.now = 0, signal.Sample{}
	}
	clear(h.guard.touched)
	h.guard.touched = h.guard.touched[:0]
	return to
}

// sample returns what the samples folded into o amount to.
func (o *overflow) sample() signal.Sample {
	s := o.now
	s.Series = o.series
	s.Time = max(s.Time, o.last+1) // the batches of many collectors may be of one moment
	switch o.key.typ {
	case signal.Gauge:
		s.Start = 0
	case signal.Delta, signal.Dist:
		s.Start = min(s.Start, s.Time-1)
		if o.key.typ == signal.Dist && s.Hist == nil {
			s.Hist = &signal.Hist{Min: math.NaN(), Max: math.NaN()}
		}
	case signal.Counter, signal.CumDist:
		if o.last == 0 {
			o.start = min(s.Start, s.Time-1)
			o.last = o.start
		}
		s.Start, s.Prev = o.start, o.last
		o.total += s.Value
		s.Delta, s.Value = s.Value, o.total
		if o.key.typ == signal.CumDist {
			since := s.Hist
			if since == nil {
				since = &signal.Hist{Min: math.NaN(), Max: math.NaN()}
			}
			o.dist = addHist(o.dist, since)
			s.Hist = withSince(cloneHist(o.dist), sameShape(since, o.dist), since.Exemplars)
			s.Value, s.Delta = 0, 0
		}
	}
	o.last = s.Time
	return s
}

// Overflow is a metric of which series are folded into one.
type Overflow struct {
	Metric   string    `json:"metric"`
	Label    string    `json:"label"`              // the label with the most values
	Values   int       `json:"values"`             // how many it has, among at most 5,000 series
	Pod      string    `json:"pod,omitempty"`      // namespace/name of the pod with the most series
	Instance string    `json:"instance,omitempty"` // where none of them is of a pod: the service.instance.id with the most series
	Series   int       `json:"series"`             // of the metric, besides the folded ones
	Since    time.Time `json:"since"`
}

// Overflows returns the metrics that are above a limit, those with the most
// series first.
func (h *Hub) Overflows() []Overflow {
	h.mu.Lock()
	type looked struct {
		o      *overflow
		held   int
		series []signal.Series
	}
	by := map[metricKey]*looked{}
	var all []Overflow
	for _, o := range h.guard.over {
		by[o.key] = &looked{o: o, held: h.guard.by[o.key].series}
	}
	if len(by) > 0 {
		for raw, e := range h.series {
			d := raw.Desc()
			if l := by[metricKey{d.Name, d.Type}]; l != nil && len(l.series) < mostLooked && e.full.Valid() {
				l.series = append(l.series, e.full)
			}
		}
	}
	h.mu.Unlock()
	for k, l := range by {
		f := Overflow{Metric: k.name, Series: l.held, Since: l.o.since}
		f.Label, f.Values, f.Pod, f.Instance = atFault(l.series)
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Overflow) int {
		if a.Series != b.Series {
			return b.Series - a.Series
		}
		if a.Metric < b.Metric {
			return -1
		}
		return 1
	})
	return all
}

// atFault returns the label that has the most values in series, and the pod that
// has the most of them, or the instance where there is no pod.
func atFault(series []signal.Series) (label string, values int, pod, instance string) {
	seen := map[string]map[string]struct{}{}
	pods, instances := map[string]int{}, map[string]int{}
	for _, s := range series {
		labels := s.Desc().Labels
		for k, v := range signal.Walk(labels) {
			if seen[k] == nil {
				seen[k] = map[string]struct{}{}
			}
			seen[k][v] = struct{}{}
		}
		if name := signal.Lookup(labels, signal.LabelPod); name != "" {
			pods[signal.Lookup(labels, signal.LabelNamespace)+"/"+name]++
		}
		if id := signal.Lookup(labels, labelInstance); id != "" {
			instances[id]++
		}
	}
	for k, v := range seen {
		if len(v) > values || len(v) == values && k < label {
			label, values = k, len(v)
		}
	}
	if pod = largest(pods); pod == "" {
		instance = largest(instances)
	}
	return label, values, pod, instance
}

// largest returns the name with the largest number, the first of several; "" for none.
func largest(by map[string]int) (name string) {
	for n, v := range by {
		if v > by[name] || v == by[name] && n < name {
			name = n
		}
	}
	return name
}

// newsLocked reports whether the log is to be told of a change, at most once a minute.
func (g *guard) newsLocked() bool {
	if !g.news {
		return false
	}
	now := time.Now()
	if now.Before(g.nextNews) {
		return false
	}
	g.news, g.nextNews = false, now.Add(tellEvery)
	return true
}

// tellOverflows tells the log what overflows now.
func (h *Hub) tellOverflows() {
	log := h.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	all := h.Overflows()
	if len(all) == 0 {
		log.Info("all metrics are within their limits of series again")
		return
	}
	worst := all[0]
	whose, name := "pod", worst.Pod
	if name == "" {
		whose, name = "instance", worst.Instance
	}
	log.Warn("new series are folded into one: too many; drop or change the label, or raise process.cardinality",
		"metric", worst.Metric, "label", worst.Label, "values", worst.Values, whose, name, "series", worst.Series, "metrics", len(all))
}
