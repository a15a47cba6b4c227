package google

import (
	"encoding/binary"
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// mostBuckets is how many buckets a distribution may have, the outermost two
// included (cloud.google.com/monitoring/quotas, read 2026-11).
const mostBuckets = 200

// hist appends a distribution, or, where h has no buckets, its numbers.
func (w *writer) hist(h *signal.Hist, exemplars []signal.Exemplar, from, end int64) {
	var d shape
	switch {
	case h.Exponential:
		d = exponentialShape(h)
	case len(h.Bounds) > 0 || len(h.Counts) > 0:
		d = explicitShape(h)
	default:
		w.summary(h, from, end)
		return
	}
	if !d.ok {
		return
	}
	at := w.head("", "/histogram", "", cumulativeKind, distributionType, from, end)
	var dist int
	w.dst, dist = openField(w.dst, 5)
	w.dst = appendVarint(w.dst, 1, d.total)
	if mean := d.mean(h); mean != 0 {
		w.dst = appendDouble(w.dst, 2, mean)
	}
	var e edges
	switch {
	case h.Exponential && e.refine(h, &d):
		w.refined(h, &e)
	case h.Exponential:
		w.exponential(h, &d)
	default:
		w.explicit(h, &d)
	}
	w.exemplars(exemplars)
	w.dst = shut(w.dst, dist)
	w.tail(at)
}

// shape is how a histogram of ours fits into one of Google's.
type shape struct {
	ok    bool
	total uint64 // sum of all buckets: Google wants count to be exactly that

	stride int // explicit: every stride-th bound is kept
	bounds int // explicit: finite bounds there are

	shift  uint // exponential: by how much the scale is lowered
	first  int  // exponential: index of the first bucket at that scale
	finite int  // exponential: buckets from there on
	base   float64
	lowest float64 // lower bound of the first
}

// mean returns the mean of the values; of a sum that is no number the median
// is the best estimate.
func (d *shape) mean(h *signal.Hist) float64 {
	if d.total == 0 {
		return 0
	}
	mean := h.Sum / float64(d.total)
	if !fine(mean) {
		mean = h.Quantile(0.5)
	}
	if !fine(mean) {
		return 0
	}
	return mean
}

// sum adds up counts; ok is false where they do not fit Google's int64.
func sum(counts []uint64) (total uint64, ok bool) {
	for _, n := range counts {
		if total += n; n > math.MaxInt64 || total > math.MaxInt64 {
			return 0, false
		}
	}
	return total, true
}

// explicitShape checks bounds and counts. Bounds must rise and be finite, but
// that the last one may be +Inf.
func explicitShape(h *signal.Hist) (d shape) {
	if len(h.Counts) != len(h.Bounds)+1 {
		return d
	}
	d.bounds = len(h.Bounds)
	if d.bounds > 0 && math.IsInf(h.Bounds[d.bounds-1], 1) {
		d.bounds--
	}
	for i, v := range h.Bounds[:d.bounds] {
		if !fine(v) || i > 0 && v <= h.Bounds[i-1] {
			return d
		}
	}
	d.stride = max(1, (d.bounds+mostBuckets-2)/(mostBuckets-1))
	d.total, d.ok = sum(h.Counts)
	return d
}

// explicit appends bucket_options and bucket_counts.
func (w *writer) explicit(h *signal.Hist, d *shape) {
	kept := d.bounds / d.stride
	var at, inner int
	w.dst, at = openField(w.dst, 6)
	w.dst, inner = openField(w.dst, 3)
	if kept > 0 {
		w.dst = binary.AppendUvarint(appendTag(w.dst, 1, bytesType), uint64(8*kept))
		for i := range kept {
			w.dst = binary.LittleEndian.AppendUint64(w.dst, math.Float64bits(h.Bounds[(i+1)*d.stride-1]))
		}
	}
	w.dst = shut(w.dst, inner)
	w.dst = shut(w.dst, at)

	w.dst, at = openField(w.dst, 7)
	for i := range kept + 1 {
		to := (i + 1) * d.stride
		if i == kept {
			to = len(h.Counts)
		}
		n, _ := sum(h.Counts[i*d.stride : to])
		w.dst = binary.AppendUvarint(w.dst, n)
	}
	w.dst = shut(w.dst, at)
}

// exponentialShape lowers the scale until the positive buckets fit. Zero and
// negative values go below the first bucket: Google has none for them.
func exponentialShape(h *signal.Hist) (d shape) {
	neg, ok := sum(h.Neg.Counts)
	pos, fits := sum(h.Pos.Counts)
	d.total = neg + pos + h.Zero
	if !ok || !fits || h.Zero > math.MaxInt64 || d.total > math.MaxInt64 || h.Scale < -10 || h.Scale > 20 {
		return d
	}
	from, to := 0, len(h.Pos.Counts)
	for from < to && h.Pos.Counts[from] == 0 {
		from++
	}
	for from < to && h.Pos.Counts[to-1] == 0 {
		to--
	}
	first, last := int(h.Pos.Offset)+from, int(h.Pos.Offset)+to-1
	if from == to {
		first, last = 0, 0
	}
	for (last>>d.shift)-(first>>d.shift)+1 > mostBuckets-2 {
		d.shift++
	}
	d.first, d.finite = first>>d.shift, (last>>d.shift)-(first>>d.shift)+1
	exponent := math.Exp2(float64(d.shift) - float64(h.Scale)) // of two, for one bucket
	d.base, d.lowest = math.Exp2(exponent), math.Exp2(exponent*float64(d.first))
	d.ok = d.base > 1 && fine(d.base) && d.lowest > 0 && fine(d.lowest)
	return d
}

// exponential appends bucket_options and bucket_counts.
func (w *writer) exponential(h *signal.Hist, d *shape) {
	var at, inner int
	w.dst, at = openField(w.dst, 6)
	w.dst, inner = openField(w.dst, 2)
	w.dst = appendVarint(w.dst, 1, uint64(d.finite))
	w.dst = appendDouble(w.dst, 2, d.base)
	w.dst = appendDouble(w.dst, 3, d.lowest)
	w.dst = shut(w.dst, inner)
	w.dst = shut(w.dst, at)

	w.dst, at = openField(w.dst, 7)
	below, _ := sum(h.Neg.Counts)
	w.dst = binary.AppendUvarint(w.dst, below+h.Zero)
	bucket, n := d.first, uint64(0)
	for i, c := range h.Pos.Counts {
		at := (int(h.Pos.Offset) + i) >> d.shift
		if c == 0 && (at < d.first || at >= d.first+d.finite) {
			continue
		}
		for ; bucket < at; bucket++ {
			w.dst = binary.AppendUvarint(w.dst, n)
			n = 0
		}
		n += c
	}
	w.dst = binary.AppendUvarint(w.dst, n) // what is not written is 0
	w.dst = shut(w.dst, at)
}
