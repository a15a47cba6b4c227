package newrelic

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends samples [lo, hi) of b as one body of the Metric API, or of
// OTLP. It skips what is no finite number, has no name, has no increase yet, or
// decreased; see the package for what becomes of each type.
func (e *metrics) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	sets, _ := e.sets.Get().(*[2]labelSet)
	if sets == nil {
		sets = new([2]labelSet)
	}
	defer e.sets.Put(sets)
	w := points{pen: pen{dst: dst, otlp: e.otlp}, tags: e.own, sets: sets}
	start := len(dst)
	if !w.otlp {
		w.dst = append(w.dst, '[')
	}
	empty := len(w.dst)
	for i := lo; i < hi; i++ {
		s := &b.Samples[i]
		w.desc = s.Series.Desc()
		w.labels, w.family = w.desc.Labels, familyOf(w.desc.Name)
		name, before := w.desc.Name, w.written
		if rows, known := e.rows[name]; known {
			for j := range rows {
				if rows[j].how == instead {
					name = rows[j].to
				} else {
					w.row(b, i, &rows[j])
				}
			}
			w.labels, w.family, w.skip = w.desc.Labels, familyOf(name), ""
		}
		w.sample(s, name)
		if w.written == before {
			skipped++
		}
	}
	w.endGroup()
	if len(w.dst) == empty {
		return w.dst[:start], hi, hi - lo
	}
	if !w.otlp {
		w.dst[len(w.dst)-1] = ']' // over the last comma
	}
	return w.dst, hi, skipped
}

// kind is what a point is to New Relic.
type kind uint8

const (
	gauge kind = iota
	count
	summary // and OTLP's histogram
	exponential
)

// point is one value on its way out.
type point struct {
	name, suffix string
	kind         kind
	value        float64
	start, end   int64        // ms; of a gauge they are the same
	hist         *signal.Hist // of summary and exponential
	buckets      bool         // whose buckets are good
	percentile   float64      // an attribute; NaN: none
	derived      bool         // a share, or 1
}

// points writes points, grouped by resource. Samples mostly follow others of
// the same resource, so a group is simply a run of them.
type points struct {
	pen
	tags    []ownTag
	desc    signal.Desc // of the sample at hand
	labels  string      // its labels, or those of them that a row keeps
	skip    string      // a label that is no attribute
	written int

	// The group that is open. Its labels are in one of the sets, those of the
	// sample at hand in the other, or in the same.
	sets     *[2]labelSet
	group    int
	infra    bool
	grouped  bool
	inGroup  int   // attributes of the group
	time, ms int64 // sdk: what its points share
	at       [2]int
	metric   openMetric

	// The attributes that were written last: where, and what for.
	tail       [2]int
	tailLabels string
	tailSkip   string
	tailFamily family
	tailTag    byte
}

// sample appends what a sample is under a name.
func (w *points) sample(s *signal.Sample, name string) {
	p := point{name: name, start: s.Time, end: s.Time, value: s.Value, percentile: math.NaN()}
	if name == "" {
		return
	}
	if !utf8.ValidString(name) {
		p.name = strings.ToValidUTF8(name, "\ufffd")
	}
	switch w.desc.Type {
	case signal.Gauge:
		w.point(&p)
	case signal.Counter:
		if s.Prev != 0 && s.Prev < s.Time && s.Delta >= 0 {
			p.kind, p.start, p.value = count, s.Prev, s.Delta
			w.point(&p)
		}
	case signal.Delta:
		if s.Value >= 0 {
			p.kind, p.start = count, beginning(s)
			w.point(&p)
		}
	case signal.Dist:
		if s.Hist != nil {
			p.start = beginning(s)
			w.hist(&p, s.Hist)
		}
	case signal.CumDist:
		if s.Hist != nil && s.Hist.Since != nil && s.Prev != 0 && s.Prev < s.Time {
			p.start = s.Prev
			w.hist(&p, s.Hist.Since)
		}
	}
}

// beginning returns when the interval of a sample began. One whose beginning
// nobody knows counts as a second, the unit of New Relic's rates: an interval is
// required.
func beginning(s *signal.Sample) int64 {
	if s.Start != 0 && s.Start < s.Time {
		return s.Start
	}
	return s.Time - 1000
}

// hist appends a distribution of one interval. Buckets that do not fit its
// count or are out of order, which New Relic refuses, are left out. What its
// form does not tell as finely as h does goes beside it, as percentiles.
func (w *points) hist(p *point, h *signal.Hist) {
	if !fine(h.Sum) {
		return
	}
	p.kind, p.hist, p.buckets = summary, h, explicit(h)
	if !p.buckets && exponentials(h) {
		p.buckets = true
		if w.otlp {
			p.kind = exponential
		}
	}
	w.point(p)
	q := point{name: p.name, suffix: ".percentiles", start: p.end, end: p.end}
	for _, given := range h.Quantiles {
		if given.Q >= 0 && given.Q <= 1 {
			q.percentile, q.value = math.Round(given.Q*1e8)/1e6, given.Value // 0.999*100 is 99.9 only after rounding
			w.point(&q)
		}
	}
	if h.Count == 0 || !p.buckets || w.otlp && (p.kind != exponential || !coarse(h)) {
		return
	}
	for _, of := range [...]float64{50, 95, 99} {
		q.percentile, q.value = of, h.Quantile(of/100)
		w.point(&q)
	}
}

// explicit reports whether h has explicit buckets that hold together.
func explicit(h *signal.Hist) bool {
	if len(h.Bounds) == 0 || len(h.Counts) != len(h.Bounds)+1 || h.Exponential {
		return false
	}
	for i, v := range h.Bounds {
		if !fine(v) || i > 0 && !(h.Bounds[i-1] < v) {
			return false
		}
	}
	return total(0, h.Counts) == h.Count
}

// exponentials reports whether h has exponential buckets that hold together,
// and whose indices stay in 32 bits.
func exponentials(h *signal.Hist) bool {
	small := func(b *signal.Buckets) bool {
		return max(b.Offset, -b.Offset) < 1<<30 && b.Offset > -1<<30 && len(b.Counts) < 1<<20
	}
	return h.Exponential && max(h.Scale, -h.Scale) <= 32 && small(&h.Pos) && small(&h.Neg) && total(total(h.Zero, h.Pos.Counts), h.Neg.Counts) == h.Count
}

func total(sum uint64, counts []uint64) uint64 {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// point appends one point, if its value can be.
func (w *points) point(p *point) {
	if !fine(p.value) {
		return
	}
	if len(p.name)+len(p.suffix) > mostName {
		p.name = cut(p.name, mostName-len(p.suffix))
	}
	infra, group := w.family != other, &w.sets[w.group]
	w.keys = group
	if group.labels != w.labels || !group.known {
		w.keys = &w.sets[1-w.group]
		w.keys.read(w.labels)
	}
	if w.inResource(p.name) {
		return // New Relic keeps no point of whose attributes one is called like itself
	}
	if !w.grouped || infra != w.infra || w.keys != group && !same(w.keys.res, group.res) {
		w.endGroup()
		if w.keys != group {
			w.group = 1 - w.group
		}
		w.beginGroup(p, infra)
	}
	if w.otlp {
		w.otlpPoint(p)
	} else {
		w.jsonPoint(p)
	}
	w.written++
}

// inResource reports whether a group's attribute has this name.
func (w *points) inResource(name string) bool {
	for i := range w.tags {
		if w.tags[i].key == name {
			return true
		}
	}
	return get(w.keys.res, name) != ""
}

// resource appends the attributes of the group that begins: its labels, the
// tags of the configuration, and where all of it comes from.
func (w *points) resource(tag byte) {
	w.of = ""
	w.begin(tag, mostAttrs*2/3)
	for _, l := range w.keys.res {
		w.label(l.k, l.v)
	}
	if w.family != other { // of the group's, whichever of its metrics comes first
		if name := get(w.keys.res, signal.LabelHost); name != "" && get(w.keys.res, signal.LabelHostID) == "" {
			w.take("", signal.LabelHostID)
			w.add("", signal.LabelHostID, name) // without one there is no HOST
		}
	}
	for i := range w.tags {
		// What a point has itself stands above what its group has.
		if t := &w.tags[i]; get(w.keys.res, t.key) == "" {
			w.pen.own(t)
		}
	}
	provider := "causeway"
	if w.otlp {
		provider = "opentelemetry"
	}
	w.add("", "instrumentation.provider", provider)
	w.inGroup = w.n
}

// attributes appends those of a point, each as field tag. Points in succession
// often have those of the one before: then they are copied.
func (w *points) attributes(tag byte, p *point) {
	odd := get(w.keys.att, p.name) != "" // a label may be called like this one metric
	if !odd && w.tail[1] != 0 && w.labels == w.tailLabels && w.tailTag == tag && w.tailSkip == w.skip && w.tailFamily == w.family {
		w.dst = append(w.dst, w.dst[w.tail[0]:w.tail[1]]...)
		return
	}
	from := len(w.dst)
	w.of = p.name
	w.begin(tag, mostAttrs-w.inGroup-1) // and the percentile
	for i := range w.keys.att {
		if l := &w.keys.att[i]; l.k != w.skip {
			w.label(l.k, l.v)
		}
	}
	w.tail = [2]int{from, len(w.dst)}
	w.tailLabels, w.tailSkip, w.tailFamily, w.tailTag = w.labels, w.skip, w.family, tag
	if w.odd {
		w.tail = [2]int{}
	}
}

// row appends what is worked out of sample i by a row.
func (w *points) row(b *signal.Batch, i int, r *row) {
	s, d := &b.Samples[i], &w.desc
	if d.Type != signal.Gauge || r.need != "" && signal.Lookup(d.Labels, r.need) == "" ||
		r.is != "" && signal.Lookup(d.Labels, r.key) != r.is {
		return
	}
	p := point{name: r.to, start: s.Time, end: s.Time, value: 1, percentile: math.NaN(), derived: true}
	w.labels, w.family, w.skip = d.Labels, familyOf(r.to), ""
	if r.how == one {
		w.labels = pair(d.Labels, signal.LabelCluster)
		w.point(&p)
		return
	}
	whole := 0.0
	if r.per != "" {
		of := sibling(b, i, d, r.per, r.key, "")
		if of == nil {
			return
		}
		whole = of.Value
	}
	for _, is := range r.all {
		of := sibling(b, i, d, d.Name, r.key, is)
		if of == nil {
			return
		}
		whole += of.Value
	}
	if r.is != "" {
		w.skip = r.key
	}
	if whole > 0 {
		p.value = s.Value / whole
		w.point(&p)
	}
}

// near is how far a sibling may be: samplers put what belongs together side by side.
const near = 40

// sibling returns the gauge called name beside sample i, or that itself, of the
// same time and with the same labels but for key, which is is. nil if there is none.
func sibling(b *signal.Batch, i int, d *signal.Desc, name, key, is string) *signal.Sample {
	for step := range 2*near + 2 {
		j := i + step/2
		if step%2 == 1 {
			j = i - step/2 - 1
		}
		if j < 0 || j >= len(b.Samples) || b.Samples[j].Time != b.Samples[i].Time {
			continue
		}
		o := b.Samples[j].Series.Desc()
		if o.Name == name && o.Type == signal.Gauge && sameBut(d.Labels, o.Labels, key) && (key == "" || signal.Lookup(o.Labels, key) == is) {
			return &b.Samples[j]
		}
	}
	return nil
}

// sameBut reports whether two label sets are the same but for one key.
func sameBut(a, b, key string) bool {
	if a == b {
		return true
	}
	for {
		ak, av, arest, aok := signal.NextLabel(a)
		if aok && ak == key {
			a = arest
			continue
		}
		bk, bv, brest, bok := signal.NextLabel(b)
		if bok && bk == key {
			b = brest
			continue
		}
		if aok != bok || ak != bk || av != bv {
			return false
		}
		if !aok {
			return true
		}
		a, b = arest, brest
	}
}

// pair returns the part of a flat label set that is key and its value.
func pair(labels, key string) string {
	for rest := labels; ; {
		k, _, next, ok := signal.NextLabel(rest)
		if !ok {
			return ""
		}
		if k == key {
			return rest[:len(rest)-len(next)]
		}
		rest = next
	}
}
