package otlp

import (
	"math"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// decoder turns requests into batches. It remembers what the parts of a series
// were sent as: in the steady state a point costs one look-up by its attributes'
// bytes.
type decoder struct {
	keepHost bool

	resources map[string]*resource // by the bytes of resource and scope
	series    int
	swept     time.Time
	now       time.Time
	lines     int64  // ever taken: what tells the lines of one life apart
	life      string // names this life in LogBlock.File

	rejected, empty, exemplars int64 // of this request
	why                        string

	key, value, attrs []byte // scratch
}

// resource is a resource and scope that was sent.
type resource struct {
	labels  string
	stream  signal.Stream
	metrics map[string]*metric // by name, unit and type as they were sent
	seen    time.Time
}

// metric is a metric of a resource.
type metric struct {
	name, unit string
	typ        signal.Type
	series     map[string]signal.Series // by the bytes of a point's attributes
}

// mostSeries bounds what is remembered; above, all of it is forgotten, which
// costs time and loses nothing. The hub's guard is what bounds series.
const mostSeries = 500_000

func (d *decoder) begin(now time.Time) {
	d.now = now
	d.rejected, d.empty, d.exemplars, d.why = 0, 0, 0, ""
	if d.resources == nil {
		d.resources, d.swept = map[string]*resource{}, now
		d.life = "otlp:" + now.UTC().Format("20060102T150405.000000000")
	}
	if d.series > mostSeries {
		clear(d.resources)
		d.series = 0
	}
	if now.Sub(d.swept) < Forget/3 {
		return
	}
	d.swept = now
	for k, r := range d.resources {
		if now.Sub(r.seen) >= Forget {
			for _, m := range r.metrics {
				d.series -= len(m.series)
			}
			delete(d.resources, k)
		}
	}
}

// done moves the counts of this request to st.
func (d *decoder) done(st *Stats) result {
	st.Empty.Add(d.empty)
	st.Exemplars.Add(d.exemplars)
	st.Series.Store(int64(d.series))
	return result{d.rejected, d.why}
}

func (d *decoder) reject(why string) {
	if d.rejected++; d.why == "" {
		d.why = why
	}
}

// dropped reports whether an attribute of a resource does not become a label.
func (d *decoder) dropped(key string) bool {
	switch {
	case strings.HasPrefix(key, "telemetry."), strings.HasPrefix(key, "process."), strings.HasPrefix(key, "os."):
		return true
	case strings.HasPrefix(key, "host."):
		return !d.keepHost
	}
	return false
}

// resourceOf finds or makes the resource of a request's part. part is a
// ResourceMetrics or ResourceLogs, scoped a ScopeMetrics or ScopeLogs in it.
func (d *decoder) resourceOf(res, scope []byte) (*resource, bool) {
	d.key = append(append(append(d.key[:0], res...), 0), scope...)
	if r := d.resources[string(d.key)]; r != nil {
		r.seen = d.now
		return r, true
	}
	set, ok := d.appendAttributes(nil, res, 1, d.dropped)
	if !ok {
		return nil, false
	}
	sc := reader{p: scope}
	for sc.next() {
		switch {
		case sc.is(1, 2) && len(sc.bytes) > 0:
			set = signal.AppendLabel(set, labelScope, text(sc.bytes))
		case sc.is(2, 2) && len(sc.bytes) > 0:
			set = signal.AppendLabel(set, labelScopeVersion, text(sc.bytes))
		}
	}
	if sc.bad {
		return nil, false
	}
	labels := signal.Sorted(string(set))
	if env := signal.Lookup(labels, oldEnv); env != "" {
		var kept []byte
		for k, v := range signal.Walk(labels) {
			if k != oldEnv {
				kept = signal.AppendLabel(kept, k, v)
			}
		}
		labels = signal.Merge(signal.Labels(signal.LabelEnv, env), string(kept))
	}
	r := &resource{labels: labels, stream: signal.InternStream(labels), metrics: map[string]*metric{}, seen: d.now}
	d.resources[string(d.key)] = r
	return r, true
}

// oldEnv is what semantic conventions before 1.27 call signal.LabelEnv.
const oldEnv = "deployment.environment"

// Labels of the instrumentation scope, as OpenTelemetry's own exporters for
// formats without scopes name them.
const (
	labelScope        = "otel.scope.name"
	labelScopeVersion = "otel.scope.version"
)

// metrics reads an ExportMetricsServiceRequest.
func (d *decoder) metrics(req []byte, b *signal.Batch) bool {
	return d.parts(req, func(r *resource, m []byte) bool { return d.metric(m, r, b) })
}

// parts walks a request down to its metrics or log records: field 1 holds the
// resources' parts, there field 1 the resource and 2 the scopes' parts, there 1
// the scope and 2 what is looked for. Fields may come in any order.
func (d *decoder) parts(req []byte, each func(r *resource, item []byte) bool) bool {
	top := reader{p: req}
	for top.next() {
		if !top.is(1, 2) {
			continue
		}
		res, bad := field(top.bytes, 1)
		if bad {
			return false
		}
		part := reader{p: top.bytes}
		for part.next() {
			if !part.is(2, 2) {
				continue
			}
			scope, bad := field(part.bytes, 1)
			if bad {
				return false
			}
			r, ok := d.resourceOf(res, scope)
			if !ok {
				return false
			}
			items := reader{p: part.bytes}
			for items.next() {
				if items.is(2, 2) && !each(r, items.bytes) {
					return false
				}
			}
			if items.bad {
				return false
			}
		}
		if part.bad {
			return false
		}
	}
	return !top.bad
}

// The fields of Metric that hold its data.
const (
	gaugeField     = 5
	sumField       = 7
	histogramField = 9
	expField       = 10
	summaryField   = 11
)

// AggregationTemporality.
const (
	delta      = 1
	cumulative = 2
)

// metric reads one Metric.
func (d *decoder) metric(msg []byte, res *resource, b *signal.Batch) bool {
	var name, unit, data []byte
	kind := 0
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(1, 2):
			name = r.bytes
		case r.is(3, 2):
			unit = r.bytes
		case r.typ == 2 && (r.num == gaugeField || r.num == sumField || r.num == histogramField || r.num == expField || r.num == summaryField):
			kind, data = r.num, r.bytes
		}
	}
	temporality, monotonic := uint64(0), false
	head := reader{p: data}
	for head.next() {
		switch {
		case head.is(2, 0):
			temporality = head.value
		case head.is(3, 0):
			monotonic = head.value != 0
		}
	}
	if r.bad || head.bad {
		return false
	}
	if kind == 0 {
		return true // of a sort that is newer than we are, or empty
	}
	typ, why := typeOf(kind, temporality, monotonic)
	if why == "" && len(name) == 0 {
		why = "a metric without a name"
	}
	points := reader{p: data}
	if why != "" {
		for points.next() {
			if points.is(1, 2) {
				d.reject(why)
			}
		}
		return !points.bad
	}
	d.key = append(append(append(append(d.key[:0], name...), 0), unit...), byte(typ))
	m := res.metrics[string(d.key)]
	if m == nil {
		m = &metric{name: text(name), unit: text(unit), typ: typ, series: map[string]signal.Series{}}
		res.metrics[string(d.key)] = m
	}
	for points.next() {
		if points.is(1, 2) && !d.point(points.bytes, kind, m, res, b) {
			return false
		}
	}
	return !points.bad
}

// typeOf is our type for a Metric, or why there is none.
func typeOf(kind int, temporality uint64, monotonic bool) (signal.Type, string) {
	switch kind {
	case gaugeField:
		return signal.Gauge, ""
	case summaryField:
		return signal.CumDist, ""
	case sumField:
		switch {
		case temporality == delta:
			return signal.Delta, ""
		case temporality == cumulative && monotonic:
			return signal.Counter, ""
		case temporality == cumulative:
			return signal.Gauge, ""
		}
	default:
		switch temporality {
		case delta:
			return signal.Dist, ""
		case cumulative:
			return signal.CumDist, ""
		}
	}
	return 0, "the aggregation temporality is unspecified"
}

// attributesField is where each sort of point has its attributes.
func attributesField(kind int) int {
	switch kind {
	case histogramField:
		return 9
	case expField:
		return 1
	}
	return 7
}

// exemplarsField is where each sort of point has its exemplars; 0: nowhere.
func exemplarsField(kind int) int {
	switch kind {
	case histogramField:
		return 8
	case expField:
		return 11
	case summaryField:
		return 0
	}
	return 5
}

// flagsField is where each sort of point has its flags.
func flagsField(kind int) int {
	if kind == histogramField || kind == expField {
		return 10
	}
	return 8
}

// point reads one data point.
func (d *decoder) point(msg []byte, kind int, m *metric, res *resource, b *signal.Batch) bool {
	var s signal.Sample
	var h *signal.Hist
	if kind == histogramField || kind == expField || kind == summaryField {
		h = &signal.Hist{Sum: math.NaN(), Min: math.NaN(), Max: math.NaN(), Exponential: kind == expField}
	}
	attrs, exemplars, flagged := attributesField(kind), exemplarsField(kind), flagsField(kind)
	d.attrs = d.attrs[:0]
	var flags uint64
	whole := true
	valued := h != nil
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(attrs, 2):
			d.attrs = append(append(d.attrs, byte(len(r.bytes)), byte(len(r.bytes)>>8), byte(len(r.bytes)>>16)), r.bytes...)
		case r.is(2, 1):
			s.Start = int64(r.value / 1e6)
		case r.is(3, 1):
			s.Time = int64(r.value / 1e6)
		case exemplars > 0 && r.is(exemplars, 2):
			whole = whole && d.exemplar(h, r.bytes)
		case r.is(flagged, 0):
			flags = r.value
		case h != nil:
			whole = whole && histField(h, kind, &r)
		case r.is(4, 1):
			s.Value, valued = r.double(), true
		case r.is(6, 1):
			s.Value, valued = float64(int64(r.value)), true
		}
	}
	switch {
	case r.bad || !whole:
		return false
	case flags&1 != 0: // no recorded value
		d.empty++
		return true
	case s.Time == 0:
		d.reject("a point of " + m.name + " without a time")
		return true
	case !valued:
		d.reject("a point of " + m.name + " without a value")
		return true
	}
	if h != nil {
		if why := finish(h); why != "" {
			d.reject("a point of " + m.name + ": " + why)
			return true
		}
		s.Hist = h
	}
	if m.typ == signal.Gauge {
		s.Start = 0
	}
	series, ok := m.series[string(d.attrs)]
	if !ok {
		set, fine := d.appendAttributes(nil, msg, attrs, nil)
		if !fine {
			return false
		}
		series = signal.Intern(signal.Desc{Name: m.name, Unit: m.unit, Type: m.typ, Labels: signal.Merge(res.labels, signal.Sorted(string(set)))})
		m.series[string(d.attrs)] = series
		d.series++
	}
	s.Series = series
	b.Samples = append(b.Samples, s)
	return true
}

// exemplar reads one Exemplar; false where it is malformed. One of a number (h
// is nil) is left out.
func (d *decoder) exemplar(h *signal.Hist, msg []byte) bool {
	var e signal.Exemplar
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(2, 1):
			e.Time = max(int64(r.value/1e6), 0)
		case r.is(3, 1):
			e.Value = r.double()
		case r.is(6, 1):
			e.Value = float64(int64(r.value))
		case r.is(4, 2) && len(r.bytes) == len(e.Span):
			copy(e.Span[:], r.bytes)
		case r.is(5, 2) && len(r.bytes) == len(e.Trace):
			copy(e.Trace[:], r.bytes)
		}
	}
	set, ok := d.appendAttributes(nil, msg, 7, nil)
	if r.bad || !ok {
		return false
	}
	e.Labels, ok = signal.Sorted(string(set)), h != nil
	if ok {
		h.Exemplars, ok = signal.AppendExemplar(h.Exemplars, e)
	}
	if !ok {
		d.exemplars++
	}
	return true
}

// histField takes one field of a histogram's, exponential histogram's or
// summary's point; false where it is malformed.
func histField(h *signal.Hist, kind int, r *reader) (ok bool) {
	ok = true
	switch {
	case r.is(4, 1):
		h.Count = r.value
	case r.is(5, 1):
		h.Sum = r.double()
	case kind == summaryField && r.is(6, 2):
		var q signal.Quantile
		v := reader{p: r.bytes}
		for v.next() {
			switch {
			case v.is(1, 1):
				q.Q = v.double()
			case v.is(2, 1):
				q.Value = v.double()
			}
		}
		h.Quantiles = append(h.Quantiles, q)
		return !v.bad
	case kind == histogramField && r.is(6, 2):
		h.Counts, ok = fixed64s(h.Counts, r.bytes, same)
	case kind == histogramField && r.is(6, 1): // not packed: allowed, though nobody does
		h.Counts = append(h.Counts, r.value)
	case kind == histogramField && r.is(7, 2):
		h.Bounds, ok = fixed64s(h.Bounds, r.bytes, math.Float64frombits)
	case kind == histogramField && r.is(7, 1):
		h.Bounds = append(h.Bounds, r.double())
	case kind == histogramField && r.is(11, 1), kind == expField && r.is(12, 1):
		h.Min = r.double()
	case kind == histogramField && r.is(12, 1), kind == expField && r.is(13, 1):
		h.Max = r.double()
	case kind == expField && r.is(6, 0):
		h.Scale = zigzag(r.value)
	case kind == expField && r.is(7, 1):
		h.Zero = r.value
	case kind == expField && r.is(8, 2):
		h.Pos, ok = buckets(r.bytes)
	case kind == expField && r.is(9, 2):
		h.Neg, ok = buckets(r.bytes)
	case kind == expField && r.is(14, 1):
		h.ZeroWidth = r.double()
	}
	return ok
}

// buckets reads the Buckets of an exponential histogram.
func buckets(msg []byte) (b signal.Buckets, ok bool) {
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(1, 0):
			b.Offset = zigzag(r.value)
		case r.is(2, 0):
			b.Counts = append(b.Counts, r.value)
		case r.is(2, 2):
			run := reader{p: r.bytes}
			for len(run.p) > 0 && !run.bad {
				b.Counts = append(b.Counts, run.varint())
			}
			r.bad = r.bad || run.bad
		}
	}
	return b, !r.bad
}

// mostBuckets is how many buckets a histogram may have: SDKs make 160 at most.
const mostBuckets = 10_000

// finish checks a histogram and fills what a sender may leave out. It returns
// what is wrong with it.
func finish(h *signal.Hist) string {
	n := len(h.Pos.Counts) + len(h.Neg.Counts)
	switch {
	case len(h.Counts) > mostBuckets || n > mostBuckets:
		return "too many buckets"
	case len(h.Counts) > 0 && len(h.Counts) != len(h.Bounds)+1:
		return "there must be one more count than bounds"
	case h.Exponential && (h.Scale < -10 || h.Scale > 20):
		return "the scale is not between -10 and 20"
	}
	var sum uint64
	for i, c := range h.Counts {
		sum += c
		if i > 0 && i < len(h.Bounds) && !(h.Bounds[i] > h.Bounds[i-1]) {
			return "the bounds do not grow"
		}
	}
	if len(h.Counts) > 0 && sum != h.Count {
		return "the buckets do not add up to the count"
	}
	if math.IsNaN(h.Sum) { // left out where values may be negative: what the buckets say is the best there is
		h.Sum = guess(h)
	}
	return ""
}

// guess estimates the sum of a histogram that has none from its buckets' middles.
func guess(h *signal.Hist) (sum float64) {
	for i, c := range h.Counts {
		switch {
		case c == 0 || len(h.Bounds) == 0:
		case i == 0:
			sum += float64(c) * h.Bounds[0]
		case i == len(h.Bounds):
			sum += float64(c) * h.Bounds[i-1]
		default:
			sum += float64(c) * (h.Bounds[i-1] + h.Bounds[i]) / 2
		}
	}
	base := math.Exp2(math.Exp2(-float64(h.Scale)))
	side := func(b signal.Buckets, sign float64) {
		for i, c := range b.Counts {
			if c > 0 {
				sum += sign * float64(c) * math.Pow(base, float64(b.Offset)+float64(i)+0.5)
			}
		}
	}
	side(h.Pos, 1)
	side(h.Neg, -1)
	if math.IsInf(sum, 0) || math.IsNaN(sum) {
		return 0
	}
	return sum
}
