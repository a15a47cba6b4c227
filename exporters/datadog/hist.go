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
		for _, e := range [...]struct {
			q    float64
			name string
		}{{0.5, ".median"}, {0.95, ".95percentile"}, {0.99, ".99percentile"}} {
			if !ready(h, e.q) { // one series has one value: who made the quantile saw the values
				w.stat(e.name, gaugeType, 0, h.Quantile(e.q))
			}
		}
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

// ready reports whether h comes with quantile q ready-made.
func ready(h *signal.Hist, q float64) bool {
	for _, r := range h.Quantiles {
		if math.Abs(r.Q-q) < 1e-9 && fine(r.Value) {
			return true
		}
	}
	return false
}

func (w *writer) stat(suffix string, typ byte, ms int64, v float64) {
	if fine(v) {
		w.one(suffix, typ, ms, v)
	}
}
