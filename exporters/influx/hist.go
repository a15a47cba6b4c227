package influx

import (
	"math"
	"slices"
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// appendHist appends the fields of a distribution, each with a comma behind it:
//
//	count sum min max             what always holds; of a CumDist, since its start
//	count_increase sum_increase   of a CumDist, since the sample before
//	le_0.5 le_1 …                 explicit bounds: how many values were not above it
//	p50 p90 p95 p99               exponential buckets: estimates, of the last interval
//	p50 p99.9 …                   ready-made quantiles
//
// Exponential buckets are not written one by one: there may be 160 of them,
// whose bounds change with the scale, and each would be a field for ever.
func appendHist(dst []byte, h *signal.Hist, cumulative bool) []byte {
	dst = append(dst, "count="...)
	dst = append(appendFloat(dst, float64(h.Count)), ',')
	dst = appendStat(dst, "sum", h.Sum)
	dst = appendStat(dst, "min", h.Min)
	dst = appendStat(dst, "max", h.Max)
	recent := h
	if cumulative {
		if recent = h.Since; recent != nil {
			dst = appendStat(dst, "count_increase", float64(recent.Count))
			dst = appendStat(dst, "sum_increase", recent.Sum)
		}
	}
	if len(h.Counts) == len(h.Bounds)+1 {
		below := uint64(0)
		for i, bound := range h.Bounds {
			below += h.Counts[i]
			if !fine(bound) { // le_+Inf is count
				continue
			}
			dst = append(dst, "le_"...)
			dst = strconv.AppendFloat(dst, bound, 'g', -1, 64)
			dst = append(dst, '=')
			dst = append(appendDerived(dst, float64(below)), ',')
		}
	}
	if recent != nil && recent.Exponential && recent.Count > 0 {
		for _, q := range [...]float64{0.5, 0.9, 0.95, 0.99} {
			if !slices.ContainsFunc(h.Quantiles, func(made signal.Quantile) bool { return made.Q == q }) {
				dst = appendQuantile(dst, q, recent.Quantile(q))
			}
		}
	}
	for _, q := range h.Quantiles {
		dst = appendQuantile(dst, q.Q, q.Value)
	}
	return dst
}

func appendStat(dst []byte, name string, v float64) []byte {
	if !fine(v) {
		return dst
	}
	dst = append(append(dst, name...), '=')
	return append(appendDerived(dst, v), ',')
}

func appendQuantile(dst []byte, q, v float64) []byte {
	if !fine(v) || !(q >= 0 && q <= 1) {
		return dst
	}
	dst = append(dst, 'p')
	// 0.999*100 is 99.9 only after rounding.
	dst = strconv.AppendFloat(dst, math.Round(q*1e8)/1e6, 'f', -1, 64)
	dst = append(dst, '=')
	return append(appendDerived(dst, v), ',')
}
