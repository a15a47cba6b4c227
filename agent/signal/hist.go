package signal

import "math"

// MaxExemplars bounds the exemplars of one distribution, and maxExemplarLabels
// the bytes of the labels of each: OpenMetrics 1.0 allows 128 characters.
const (
	MaxExemplars      = 10
	maxExemplarLabels = 512
)

// AppendExemplar appends one to those of a distribution, of which at most
// MaxExemplars stay, the newest. It returns false where one, this or an older
// one, is left out for that, or because its value is no number. Labels beyond
// all measure are left out.
func AppendExemplar(dst []Exemplar, e Exemplar) ([]Exemplar, bool) {
	if e.Value-e.Value != 0 {
		return dst, false
	}
	if len(e.Labels) > maxExemplarLabels {
		e.Labels = ""
	}
	if len(dst) < MaxExemplars {
		return append(dst, e), true
	}
	oldest := 0
	for i := range dst {
		if dst[i].Time < dst[oldest].Time {
			oldest = i
		}
	}
	if e.Time > dst[oldest].Time {
		dst[oldest] = e
	}
	return dst, false
}

// Quantile estimates the q-quantile (q from 0 to 1) from the buckets of h: within explicit bounds as if values were
// spread evenly, within an exponential bucket by its geometric middle. Above
// the last bound the bound itself is all that is known. NaN if nothing is.
func (h *Hist) Quantile(q float64) float64 {
	estimate := h.explicit
	if h.Exponential {
		estimate = h.exponential
	}
	v := estimate(q)
	if v < h.Min { // not if Min is NaN
		return h.Min
	}
	if v > h.Max {
		return h.Max
	}
	return v
}

func (h *Hist) explicit(q float64) float64 {
	rank, seen := q*float64(h.Count), 0.0
	for i, n := range h.Counts {
		if n == 0 || seen+float64(n) < rank {
			seen += float64(n)
			continue
		}
		if i == len(h.Bounds) {
			return h.Bounds[i-1]
		}
		hi, lo := h.Bounds[i], 0.0
		switch {
		case i > 0:
			lo = h.Bounds[i-1]
		case hi <= 0:
			return hi
		}
		return lo + (hi-lo)*(rank-seen)/float64(n)
	}
	return math.NaN()
}

func (h *Hist) exponential(q float64) float64 {
	rank, seen := q*float64(h.Count), 0.0
	base := math.Exp2(math.Exp2(-float64(h.Scale)))
	middle := func(b *Buckets, i int) float64 { return math.Pow(base, float64(b.Offset)+float64(i)+0.5) }
	for i := len(h.Neg.Counts) - 1; i >= 0; i-- {
		if seen += float64(h.Neg.Counts[i]); seen >= rank && h.Neg.Counts[i] > 0 {
			return -middle(&h.Neg, i)
		}
	}
	if seen += float64(h.Zero); seen >= rank && h.Zero > 0 {
		return 0
	}
	for i, n := range h.Pos.Counts {
		if seen += float64(n); seen >= rank && n > 0 {
			return middle(&h.Pos, i)
		}
	}
	return math.NaN()
}
