package datadog

import (
	"math"
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// hist appends the series of a distribution of one interval, named as the
// histograms of Datadog's own agent are:
//
//	.count .sum                         counts over the interval, so that sums over time hold
//	.avg .min .max                      gauges
//	.median .95percentile .99percentile gauges; from buckets they are estimates
//	.99.9percentile …                   ready-made quantiles
//
// Datadog adds up no percentiles: over several series it can only average them.
func (w *writer) hist(h *signal.Hist, ms int64) {
	w.one(".count", countType, ms, float64(h.Count))
	w.stat(".sum", countType, ms, h.Sum)
	w.stat(".min", gaugeType, 0, h.Min)
	w.stat(".max", gaugeType, 0, h.Max)
	if h.Count == 0 {
		return
	}
	w.stat(".avg", gaugeType, 0, h.Sum/float64(h.Count))
	if h.Exponential || len(h.Bounds) > 0 && len(h.Counts) == len(h.Bounds)+1 {
		w.stat(".median", gaugeType, 0, quantile(h, 0.5))
		w.stat(".95percentile", gaugeType, 0, quantile(h, 0.95))
		w.stat(".99percentile", gaugeType, 0, quantile(h, 0.99))
	}
	for _, q := range h.Quantiles {
		if !(q.Q >= 0 && q.Q <= 1) {
			continue
		}
		if q.Q == 0.5 {
			w.stat(".median", gaugeType, 0, q.Value)
			continue
		}
		var room [40]byte
		// 0.999*100 is 99.9 only after rounding.
		name := strconv.AppendFloat(append(room[:0], '.'), math.Round(q.Q*1e8)/1e6, 'f', -1, 64)
		w.stat(view(append(name, "percentile"...)), gaugeType, 0, q.Value)
	}
}

func (w *writer) stat(suffix string, typ byte, ms int64, v float64) {
	if fine(v) {
		w.one(suffix, typ, ms, v)
	}
}

// quantile estimates the q-quantile: within explicit bounds as if values were
// spread evenly, within an exponential bucket by its geometric middle. Above
// the last bound the bound itself is all that is known. NaN if nothing is.
func quantile(h *signal.Hist, q float64) float64 {
	v := math.NaN()
	if h.Exponential {
		v = exponential(h, q)
	} else {
		v = explicit(h, q)
	}
	if v < h.Min { // not if Min is NaN
		return h.Min
	}
	if v > h.Max {
		return h.Max
	}
	return v
}

func explicit(h *signal.Hist, q float64) float64 {
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

func exponential(h *signal.Hist, q float64) float64 {
	rank, seen := q*float64(h.Count), 0.0
	base := math.Exp2(math.Exp2(-float64(h.Scale)))
	middle := func(b *signal.Buckets, i int) float64 { return math.Pow(base, float64(b.Offset)+float64(i)+0.5) }
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
