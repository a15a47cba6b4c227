package google

import (
	"encoding/binary"
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// fineScale is the scale at which the middle of a bucket is within 0.55 % of all
// its values.
const fineScale = 6

// asked are the percentiles that Cloud Monitoring's aligners offer
// (ALIGN_PERCENTILE_05, 50, 95 and 99 of monitoringpb.Aggregation).
var asked = [...]float64{0.05, 0.5, 0.95, 0.99}

// edges are the bounds of buckets, as indices at the histogram's own scale.
type edges struct {
	n  int
	at [mostBuckets - 1]int
}

// refine lays out buckets for a histogram whose values spread too far for
// 200 fine ones: coarse everywhere, but where one of the percentiles lies that
// people ask for. It returns false where the coarse buckets are fine enough, or
// too many.
func (e *edges) refine(h *signal.Hist, d *shape) bool {
	if d.shift == 0 || int(h.Scale)-int(d.shift) >= fineScale {
		return false
	}
	var where [len(asked)]int
	for i := range where {
		where[i] = math.MinInt
	}
	below, _ := sum(h.Neg.Counts)
	seen, next := float64(below+h.Zero), 0
	for ; next < len(asked) && seen >= asked[next]*float64(d.total); next++ { // zero, or less
	}
	for i, n := range h.Pos.Counts {
		seen += float64(n)
		for ; next < len(asked) && seen >= asked[next]*float64(d.total); next++ {
			where[next] = int(h.Pos.Offset) + i
		}
	}
	fine := uint(max(int(h.Scale)-fineScale, 0))
	from, to := d.first<<d.shift, (d.first+d.finite)<<d.shift
	for shift := d.shift; shift <= d.shift+2; shift++ {
		if e.lay(from>>shift, (to-1)>>shift, shift, fine, where) {
			return true
		}
	}
	return false
}

// lay notes the edges of buckets first to last, each 2^shift wide, but those that
// hold an index of where 2^fine. It returns false if these are too many.
func (e *edges) lay(first, last int, shift, fine uint, where [len(asked)]int) bool {
	e.n = 0
	for c := first; c <= last; c++ {
		step := 1 << shift
		for _, i := range where {
			if i != math.MinInt && i>>shift == c {
				step = 1 << fine
			}
		}
		for i := c << shift; i < (c+1)<<shift; i += step {
			if e.n == len(e.at)-1 {
				return false
			}
			e.at[e.n] = i
			e.n++
		}
	}
	e.at[e.n] = (last + 1) << shift
	e.n++
	return true
}

// refined appends bucket_options and bucket_counts.
func (w *writer) refined(h *signal.Hist, e *edges) {
	var at, inner int
	w.dst, at = openField(w.dst, 6)
	w.dst, inner = openField(w.dst, 3)
	w.dst = binary.AppendUvarint(appendTag(w.dst, 1, bytesType), uint64(8*e.n))
	per := math.Exp2(-float64(h.Scale)) // of a doubling, one index
	for _, i := range e.at[:e.n] {
		w.dst = binary.LittleEndian.AppendUint64(w.dst, math.Float64bits(math.Exp2(float64(i)*per)))
	}
	w.dst = shut(w.dst, inner)
	w.dst = shut(w.dst, at)

	w.dst, at = openField(w.dst, 7)
	n, _ := sum(h.Neg.Counts)
	n += h.Zero
	edge := 0
	for i, c := range h.Pos.Counts {
		for ; c > 0 && edge < e.n && int(h.Pos.Offset)+i >= e.at[edge]; edge++ {
			w.dst = binary.AppendUvarint(w.dst, n)
			n = 0
		}
		n += c
	}
	w.dst = binary.AppendUvarint(w.dst, n) // what is not written is 0
	w.dst = shut(w.dst, at)
}
