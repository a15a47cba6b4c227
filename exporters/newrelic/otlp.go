package newrelic

import (
	"encoding/binary"
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// OTLP's body (opentelemetry-proto v1: metrics.proto; tags are field<<3 | wire type):
//
//	ExportMetricsServiceRequest  resource_metrics 1
//	ResourceMetrics              resource 1 {attributes 1}, scope_metrics 2
//	ScopeMetrics                 scope 1 {name 1}, metrics 2
//	Metric                       name 1, unit 3, gauge 5, sum 7, histogram 9, exponential_histogram 10
//	Sum, …Histogram              data_points 1, aggregation_temporality 2, is_monotonic 3
//
// Everything that grows during an interval is sent as its growth: delta (1) is
// what New Relic recommends, and what it can add up over agents.

// Widths of the places for lengths: 2 MB are not reached by a metric, nor 256 MB
// by a resource; 16 KiB only by a point that is all attributes, and it is moved.
const (
	wideOuter  = 4
	wideMetric = 3
	widePoint  = 2
)

// openMetric is the metric whose points are being written.
type openMetric struct {
	open         bool
	name, suffix string
	unit         string
	kind         kind
	at           [2]int // the Metric and, in it, the Gauge, Sum or Histogram
}

func (w *points) beginGroup(p *point, infra bool) {
	w.infra, w.grouped = infra, true
	w.tail = [2]int{}
	if !w.otlp {
		w.jsonGroup(p)
		return
	}
	w.dst, w.at[0] = open(w.dst, 0x0a, wideOuter)
	var at int
	w.dst, at = open(w.dst, 0x0a, wideMetric)
	w.resource(0x0a)
	w.dst, _ = shut(w.dst, at, wideMetric)
	w.dst, w.at[1] = open(w.dst, 0x12, wideOuter)
	w.dst = append(w.dst, scope...)
}

// scope is the InstrumentationScope, which New Relic shows as otel.library.name.
const scope = "\x0a\x0a\x0a\x08causeway"

func (w *points) endGroup() {
	if !w.grouped {
		return
	}
	w.grouped = false
	if !w.otlp {
		w.jsonEnd()
		return
	}
	w.endMetric()
	w.dst, _ = shut(w.dst, w.at[1], wideOuter)
	w.dst, _ = shut(w.dst, w.at[0], wideOuter)
}

func (w *points) endMetric() {
	if w.metric.open {
		w.metric.open = false
		var a, b bool
		w.dst, a = shut(w.dst, w.metric.at[1], wideMetric)
		if w.dst, b = shut(w.dst, w.metric.at[0], wideMetric); a || b {
			w.tail = [2]int{}
		}
	}
}

func (w *points) otlpPoint(p *point) {
	unit := w.desc.Unit
	if p.derived {
		unit = "1"
	}
	if m := &w.metric; !m.open || m.kind != p.kind || m.name != p.name || m.suffix != p.suffix || m.unit != unit {
		w.endMetric()
		w.beginMetric(p, unit)
	}
	var at int
	w.dst, at = open(w.dst, 0x0a, widePoint)
	switch p.kind {
	case gauge, count:
		if p.kind == count {
			w.dst = appendFixed(w.dst, 0x11, nanos(p.start))
		}
		w.dst = appendDouble(appendFixed(w.dst, 0x19, nanos(p.end)), 0x21, p.value)
		w.attributes(0x3a, p)
		if p.percentile == p.percentile {
			w.dst = appendPairNumber(w.dst, 0x3a, "percentile", p.percentile)
		}
	case summary:
		w.attributes(0x4a, p)
		w.histogram(p)
	case exponential:
		w.attributes(0x0a, p)
		w.exponential(p)
	}
	var moved bool
	if w.dst, moved = shut(w.dst, at, widePoint); moved {
		w.tail = [2]int{}
	}
}

func (w *points) beginMetric(p *point, unit string) {
	m := &w.metric
	*m = openMetric{open: true, name: p.name, suffix: p.suffix, unit: unit, kind: p.kind}
	w.dst, m.at[0] = open(w.dst, 0x12, wideMetric)
	if p.suffix == "" {
		w.dst = appendText(w.dst, 0x0a, p.name)
	} else {
		var at int
		w.dst, at = open(w.dst, 0x0a, widePoint)
		name := len(w.dst)
		w.dst = appendText(w.dst, 0, p.name) // for its check; without tag and length
		_, n := binary.Uvarint(w.dst[name+1:])
		w.dst = append(w.dst[:name], w.dst[name+1+n:]...)
		w.dst = append(w.dst, p.suffix...)
		w.dst, _ = shut(w.dst, at, widePoint)
	}
	if unit != "" {
		w.dst = appendText(w.dst, 0x1a, unit)
	}
	w.dst, m.at[1] = open(w.dst, [...]byte{gauge: 0x2a, count: 0x3a, summary: 0x4a, exponential: 0x52}[p.kind], wideMetric)
	switch p.kind {
	case count:
		w.dst = append(w.dst, 0x10, 1, 0x18, 1) // delta, monotonic
	case summary, exponential:
		w.dst = append(w.dst, 0x10, 1)
	}
}

// nanos turns milliseconds into OTLP's nanoseconds, which do not go below 1970.
func nanos(ms int64) uint64 { return uint64(max(ms, 0)) * 1e6 }

// histogram appends the fields of a HistogramDataPoint: start 2, time 3, count
// 4, sum 5, bucket_counts 6, explicit_bounds 7, exemplars 8, min 11, max 12. What
// has no explicit buckets gets none.
func (w *points) histogram(p *point) {
	h := p.hist
	w.dst = appendFixed(appendFixed(w.dst, 0x11, nanos(p.start)), 0x19, nanos(p.end))
	w.dst = appendDouble(appendFixed(w.dst, 0x21, h.Count), 0x29, h.Sum)
	if p.buckets {
		w.dst = appendVarint(w.dst, 0x32, uint64(8*len(h.Counts)))
		for _, n := range h.Counts {
			w.dst = binary.LittleEndian.AppendUint64(w.dst, n)
		}
		w.dst = appendVarint(w.dst, 0x3a, uint64(8*len(h.Bounds)))
		for _, v := range h.Bounds {
			w.dst = binary.LittleEndian.AppendUint64(w.dst, math.Float64bits(v))
		}
	}
	w.exemplars(0x42, h.Exemplars)
	if fine(h.Min) {
		w.dst = appendDouble(w.dst, 0x59, h.Min)
	}
	if fine(h.Max) {
		w.dst = appendDouble(w.dst, 0x61, h.Max)
	}
}

// mostBuckets is how many buckets an exponential histogram may have on either
// side: the size OpenTelemetry's own have by default, which New Relic keeps.
const mostBuckets = 160

// fineScale is the scale at which the middle of a bucket is within 0.55 % of all
// its values.
const fineScale = 6

// coarse reports whether mostBuckets tell less of h than it came with, and less
// than 0.55 %.
func coarse(h *signal.Hist) bool {
	shift := shiftOf(h)
	return shift > 0 && h.Scale-shift < fineScale
}

// shiftOf returns by how much the scale of h must be lowered to fit mostBuckets.
func shiftOf(h *signal.Hist) int32 {
	shift := int32(0)
	for shift < 31 && (span(&h.Pos, shift) > mostBuckets || span(&h.Neg, shift) > mostBuckets) {
		shift++
	}
	return shift
}

// exponential appends the fields of an ExponentialHistogramDataPoint: start 2,
// time 3, count 4, sum 5, scale 6, zero_count 7, positive 8, negative 9,
// exemplars 11, min 12, max 13, zero_threshold 14.
func (w *points) exponential(p *point) {
	h := p.hist
	shift := shiftOf(h)
	w.dst = appendFixed(appendFixed(w.dst, 0x11, nanos(p.start)), 0x19, nanos(p.end))
	w.dst = appendDouble(appendFixed(w.dst, 0x21, h.Count), 0x29, h.Sum)
	w.dst = appendVarint(w.dst, 0x30, zigzag(h.Scale-shift))
	w.dst = appendFixed(w.dst, 0x39, h.Zero)
	w.buckets(0x42, &h.Pos, shift)
	w.buckets(0x4a, &h.Neg, shift)
	w.exemplars(0x5a, h.Exemplars)
	if fine(h.Min) {
		w.dst = appendDouble(w.dst, 0x61, h.Min)
	}
	if fine(h.Max) {
		w.dst = appendDouble(w.dst, 0x69, h.Max)
	}
	if h.ZeroWidth > 0 {
		w.dst = appendDouble(w.dst, 0x71, h.ZeroWidth)
	}
}

// exemplars appends each one as field tag: time 2, as_double 3, span_id 4,
// trace_id 5, filtered_attributes 7.
func (w *points) exemplars(tag byte, list []signal.Exemplar) {
	for i := range list {
		e := &list[i]
		if !fine(e.Value) {
			continue
		}
		var at int
		w.dst, at = open(w.dst, tag, widePoint)
		if e.Time > 0 {
			w.dst = appendFixed(w.dst, 0x11, nanos(e.Time))
		}
		w.dst = appendDouble(w.dst, 0x19, e.Value)
		if e.Span != [8]byte{} {
			w.dst = append(append(w.dst, 0x22, byte(len(e.Span))), e.Span[:]...)
		}
		if e.Trace != [16]byte{} {
			w.dst = append(append(w.dst, 0x2a, byte(len(e.Trace))), e.Trace[:]...)
		}
		for k, v := range signal.Walk(e.Labels) {
			w.dst = appendPair(w.dst, 0x3a, "", k, v)
		}
		w.dst, _ = shut(w.dst, at, widePoint)
	}
}

// filled returns the first and the last of b's buckets that hold anything.
func filled(b *signal.Buckets) (first, last int) {
	for last = len(b.Counts) - 1; last >= 0 && b.Counts[last] == 0; last-- {
	}
	for first < last && b.Counts[first] == 0 {
		first++
	}
	return first, last
}

// merged returns the index of bucket i when each 2^shift of them are one.
func merged(b *signal.Buckets, i int, shift int32) int64 {
	return (int64(b.Offset) + int64(i)) >> shift
}

func span(b *signal.Buckets, shift int32) int64 {
	first, last := filled(b)
	if last < 0 {
		return 0
	}
	return merged(b, last, shift) - merged(b, first, shift) + 1
}

// buckets appends Buckets: offset 1, bucket_counts 2. Halving the resolution
// (a scale less by one) makes one bucket of two.
func (w *points) buckets(tag byte, b *signal.Buckets, shift int32) {
	first, last := filled(b)
	if last < 0 {
		return
	}
	var at, counts int
	w.dst, at = open(w.dst, tag, widePoint)
	now := merged(b, first, shift)
	w.dst = appendVarint(w.dst, 0x08, zigzag(int32(now)))
	w.dst, counts = open(w.dst, 0x12, widePoint)
	sum := uint64(0)
	for i := first; i <= last; i++ {
		if to := merged(b, i, shift); to != now {
			w.dst = binary.AppendUvarint(w.dst, sum)
			sum, now = 0, to
		}
		sum += b.Counts[i]
	}
	w.dst = binary.AppendUvarint(w.dst, sum)
	w.dst, _ = shut(w.dst, counts, widePoint)
	w.dst, _ = shut(w.dst, at, widePoint)
}

func zigzag(v int32) uint64 { return uint64(uint32(v<<1) ^ uint32(v>>31)) }
