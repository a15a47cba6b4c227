package google

import (
	"math"
	"strconv"
	"sync"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Kinds and value types of metrics (google.api.MetricDescriptor).
const (
	gaugeKind      = 1
	cumulativeKind = 3

	doubleType       = 3
	distributionType = 5
)

// Encode appends samples from lo on as a CreateTimeSeriesRequest. It stops
// before a series that the request has already, and at 200 series. It skips
// what is no finite number, what GKE has itself, a counter's sample that has no
// interval yet, and a sample that has a newer one of its series in [lo, hi),
// closer than Google wants them.
//
// A sample that becomes several series (a summary) has its first one begin with
// the field metric and the others with the field resource: the order of fields
// means nothing to Google, and tells itemsOf where an item begins.
func (e *metrics) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	start := len(dst)
	p := plans.Get().(*plan)
	defer plans.Put(p)
	hi = p.make(b, lo, min(hi, lo+mostSeries), e.spacing)

	w := writer{e: e, dst: appendText(dst, 3, e.where.parent, mostValue)}
	for i := lo; i < hi; i++ {
		s := &b.Samples[i]
		w.desc = s.Series.Desc()
		if p.skip[i-lo] || w.desc.Name == "" || e.gke[w.desc.Name] {
			skipped++
			continue
		}
		need := 1
		if s.Hist != nil {
			need = 2 + min(len(s.Hist.Quantiles), mostQuantiles)
		}
		if w.n > 0 && w.n+need > mostSeries { // those of a summary before it were several
			hi = i
			break
		}
		before := w.n
		w.identify()
		w.sample(s)
		if w.n == before {
			skipped++
		}
	}
	if w.n == 0 {
		return w.dst[:start], hi, hi - lo
	}
	return w.dst, hi, skipped
}

// plan says which samples of a range have a newer one too close behind them.
type plan struct {
	last map[signal.Series]int
	skip [mostSeries]bool
}

var plans = sync.Pool{New: func() any { return &plan{last: make(map[signal.Series]int, mostSeries)} }}

// make looks at samples [lo, hi) and returns where the request must end.
func (p *plan) make(b *signal.Batch, lo, hi int, spacing int64) int {
	clear(p.last)
	clear(p.skip[:])
	for i := lo; i < hi; i++ {
		s := &b.Samples[i]
		if j, again := p.last[s.Series]; again {
			switch gap := s.Time - b.Samples[j].Time; {
			case gap < 0: // Google takes nothing older than what it has
				p.skip[i-lo] = true
				continue
			case gap > 0 && gap >= spacing:
				return i
			default:
				p.skip[j-lo] = true
			}
		}
		p.last[s.Series] = i
	}
	return hi
}

// writer writes series. What neighbours have in common is copied.
type writer struct {
	e    *metrics
	dst  []byte
	desc signal.Desc
	id   identity
	res  resource
	n    int // series

	resAt, labelsAt [2]int // where in dst the last resource and the last labels are
	lastID          identity
	lastRes         resource
	lastLabels      string
	item            bool // a series of this sample was written

	known, ofCluster bool // id and res are those of idLabels, and of a metric that is about the cluster or not
	idLabels         string
}

// identify finds out whom the sample is about.
func (w *writer) identify() {
	w.item = false
	cluster := ofCluster(w.desc.Name)
	if w.known && w.desc.Labels == w.idLabels && w.ofCluster == cluster {
		return
	}
	w.known, w.idLabels, w.ofCluster = true, w.desc.Labels, cluster
	w.id.read(w.desc.Labels)
	if w.e.prometheus {
		w.res = prometheusTarget
		w.e.where.forPrometheus(&w.id, cluster)
		return
	}
	w.res = w.e.where.resourceOf(w.desc.Name, &w.id)
}

// sample appends the series of one sample, if it has a value.
func (w *writer) sample(s *signal.Sample) {
	switch w.desc.Type {
	case signal.Gauge:
		w.number("", "/gauge", gaugeKind, 0, s.Time, s.Value)
	case signal.Counter:
		from, v, ok := s.Start, s.Value, s.Start != 0
		if !ok { // nobody knows since when it counts
			from, v, ok = after(s.Prev, s.Time), s.Delta, s.Prev != 0
		}
		if ok && from < s.Time {
			w.number("", "/counter", cumulativeKind, from, s.Time, v)
		}
	case signal.Delta:
		w.number("", "/counter", cumulativeKind, after(s.Start, s.Time), s.Time, s.Value)
	case signal.Dist:
		if s.Hist != nil {
			w.hist(s.Hist, s.Hist.Exemplars, after(s.Start, s.Time), s.Time)
		}
	case signal.CumDist:
		switch h := s.Hist; {
		case h == nil:
		case s.Start == s.Time && !h.Exponential: // the next point has all of it, and begins here
		case s.Start != 0 && s.Start < s.Time && !h.Exponential:
			exemplars := h.Exemplars
			if h.Since != nil {
				exemplars = h.Since.Exemplars
			}
			w.hist(h, exemplars, s.Start, s.Time)
		case h.Since != nil && s.Prev != 0 && s.Prev < s.Time:
			// Buckets of an exponential histogram grow and move from one reading to
			// the next; to Google that would be a reset each time.
			w.hist(h.Since, h.Since.Exemplars, after(s.Prev, s.Time), s.Time)
		}
	}
}

// after returns when an interval begins for Google, that began for us at from:
// intervals must not touch, and last a millisecond at least.
func after(from, end int64) int64 {
	if from <= 0 || from+1 >= end {
		return end - 1
	}
	return from + 1
}

// number appends a series with a number, if it is finite.
func (w *writer) number(suffix, promSuffix string, kind uint64, from, end int64, v float64) {
	if !fine(v) {
		return
	}
	at := w.head(suffix, promSuffix, "", kind, doubleType, from, end)
	w.dst = appendDouble(w.dst, 3, v)
	w.tail(at)
}

// levels is where the open messages of a series begin: the series, its point,
// the point's value.
type levels struct{ series, point, value int }

// head appends a series up to its value. quantile is a label of its own.
func (w *writer) head(suffix, promSuffix, quantile string, kind, valueType uint64, from, end int64) (at levels) {
	w.dst, at.series = openField(w.dst, 2)
	if w.item {
		w.resource()
		w.metric(suffix, promSuffix, quantile)
	} else {
		w.metric(suffix, promSuffix, quantile)
		w.resource()
		w.item = true
	}
	w.dst = append(w.dst, 3<<3|varintType, byte(kind), 4<<3|varintType, byte(valueType))
	if suffix != ".count" {
		w.dst = appendText(w.dst, 8, w.desc.Unit, mostKey)
	}
	w.dst, at.point = openField(w.dst, 5)
	var interval int
	w.dst, interval = openField(w.dst, 1)
	if from != 0 {
		w.dst = appendMillis(w.dst, 1, from)
	}
	w.dst = appendMillis(w.dst, 2, end)
	w.dst = shut(w.dst, interval)
	w.dst, at.value = openField(w.dst, 2)
	w.n++
	return at
}

func (w *writer) tail(at levels) {
	w.dst = shut(w.dst, at.value)
	w.dst = shut(w.dst, at.point)
	n := len(w.dst)
	w.dst = shut(w.dst, at.series)
	if len(w.dst) != n { // a very short or long series moved: what lay in it is elsewhere now
		w.resAt, w.labelsAt = [2]int{}, [2]int{}
	}
}

// metric appends type and labels.
func (w *writer) metric(suffix, promSuffix, quantile string) {
	var at int
	w.dst, at = openField(w.dst, 1)
	w.name(suffix, promSuffix)
	if quantile != "" {
		w.dst = appendPair(w.dst, 2, "quantile", quantile)
	}
	if w.labelsAt[1] > 0 && w.lastLabels == w.desc.Labels && w.lastRes == w.res && quantile == "" {
		w.dst = append(w.dst, w.dst[w.labelsAt[0]:w.labelsAt[1]]...)
		w.dst = shut(w.dst, at)
		return
	}
	labels, most := len(w.dst), mostLabels
	if quantile != "" {
		most--
	}
	w.dst = appendLabels(w.dst, 2, w.desc.Labels, w.res, &w.id, w.e.own, most)
	n := len(w.dst)
	w.dst = shut(w.dst, at)
	moved := len(w.dst) - n
	w.labelsAt, w.lastLabels = [2]int{labels + moved, n + moved}, w.desc.Labels
	if quantile != "" {
		w.labelsAt = [2]int{} // one label fewer may be among them
	}
}

// resource appends the resource.
func (w *writer) resource() {
	if w.resAt[1] > 0 && w.lastRes == w.res && w.lastID == w.id {
		w.dst = append(w.dst, w.dst[w.resAt[0]:w.resAt[1]]...)
		return
	}
	from := len(w.dst)
	w.dst = w.e.where.append(w.dst, 2, w.res, &w.id)
	w.resAt, w.lastRes, w.lastID = [2]int{from, len(w.dst)}, w.res, w.id
}

// name appends the metric's type: letters, digits and _./- after the prefix; in
// a name for Prometheus letters, digits, _ and : (prometheus.io/docs/concepts/data_model).
func (w *writer) name(suffix, promSuffix string) {
	w.dst = append(w.dst, 3<<3|bytesType)
	var at int
	w.dst, at = open(w.dst)
	from := len(w.dst)
	w.dst = append(w.dst, w.e.typePrefix...)
	name := w.desc.Name
	tail := suffix
	if w.e.prometheus {
		tail = promSuffix
	}
	name = name[:min(len(name), mostType-len(w.e.typePrefix)-len(suffix)-len(tail))]
	for i := range len(name) {
		c := name[i]
		if wordByte[c] != c && (w.e.prometheus || c != '.' && c != '/' && c != '-') && (!w.e.prometheus || c != ':') {
			c = '_'
		}
		w.dst = append(w.dst, c)
	}
	if c := w.dst[from+len(w.e.typePrefix)]; c == '.' || c == '/' || c == '-' || w.e.prometheus && c >= '0' && c <= '9' {
		w.dst[from+len(w.e.typePrefix)] = '_' // a name cannot begin so
	}
	if w.e.prometheus {
		if suffix == ".count" || suffix == ".sum" {
			w.dst = append(append(w.dst, '_'), suffix[1:]...)
		}
	}
	w.dst = append(w.dst, tail...)
	w.dst = shut(w.dst, at)
}

// summary appends what has no buckets: a gauge per ready-made quantile, and
// count and sum.
func (w *writer) summary(h *signal.Hist, from, end int64) {
	w.number(".count", "/summary", cumulativeKind, from, end, float64(h.Count))
	w.number(".sum", "/summary:counter", cumulativeKind, from, end, h.Sum)
	for i := range min(len(h.Quantiles), mostQuantiles) {
		q := h.Quantiles[i]
		if !(q.Q >= 0 && q.Q <= 1) || !fine(q.Value) {
			continue
		}
		var room [32]byte
		text := strconv.AppendFloat(room[:0], math.Round(q.Q*1e9)/1e9, 'f', -1, 64)
		at := w.head(".quantile", "/summary", view(text), gaugeKind, doubleType, 0, end)
		w.dst = appendDouble(w.dst, 3, q.Value)
		w.tail(at)
	}
}
