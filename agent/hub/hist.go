package hub

import (
	"math"
	"slices"

	"github.com/causeway-agent/causeway/agent/signal"
)

// mostBuckets bounds the exponential buckets of merged distributions: two that
// are worlds apart keep count, sum, least and greatest only.
const mostBuckets = 4096

// addHist adds h to sum, which it may change, and returns the result; a nil sum
// is an empty one. Distributions of different shapes keep what they have in
// common: count, sum, least and greatest. Ready-made quantiles cannot be added.
func addHist(sum, h *signal.Hist) *signal.Hist {
	if sum == nil || sum.Count == 0 && len(sum.Bounds) == 0 && !sum.Exponential {
		return cloneHist(h)
	}
	if h.Count == 0 {
		return sum
	}
	sum.Count += h.Count
	sum.Sum += h.Sum
	sum.Min, sum.Max = known(math.Min, sum.Min, h.Min), known(math.Max, sum.Max, h.Max)
	sum.Quantiles = nil
	for i := range h.Exemplars {
		sum.Exemplars, _ = signal.AppendExemplar(sum.Exemplars, h.Exemplars[i])
	}
	switch {
	case sum.Exponential && h.Exponential && addExponential(sum, h):
	case !sum.Exponential && !h.Exponential && slices.Equal(sum.Bounds, h.Bounds) && len(sum.Counts) == len(h.Counts):
		for i, n := range h.Counts {
			sum.Counts[i] += n
		}
	default:
		shapeless(sum)
	}
	return sum
}

// known combines two values of which either may be unknown.
func known(of func(a, b float64) float64, a, b float64) float64 {
	if math.IsNaN(a) {
		return b
	}
	if math.IsNaN(b) {
		return a
	}
	return of(a, b)
}

func shapeless(h *signal.Hist) {
	h.Bounds, h.Counts, h.Exponential, h.Scale, h.Zero, h.ZeroWidth = nil, nil, false, 0, 0, 0
	h.Pos, h.Neg = signal.Buckets{}, signal.Buckets{}
}

// addExponential adds the buckets of h to those of sum, at the coarser of the two
// scales. It returns false if that is too many buckets.
func addExponential(sum, h *signal.Hist) bool {
	scale := int64(min(sum.Scale, h.Scale))
	pos, ok1 := addBuckets(sum.Pos, int64(sum.Scale)-scale, h.Pos, int64(h.Scale)-scale)
	neg, ok2 := addBuckets(sum.Neg, int64(sum.Scale)-scale, h.Neg, int64(h.Scale)-scale)
	if !ok1 || !ok2 {
		return false
	}
	sum.Pos, sum.Neg, sum.Scale = pos, neg, int32(scale)
	sum.Zero += h.Zero
	sum.ZeroWidth = max(sum.ZeroWidth, h.ZeroWidth)
	return true
}

// addBuckets returns a and b added, each made coarser by so many steps: one step
// joins buckets 2i and 2i+1 into i.
func addBuckets(a signal.Buckets, coarserA int64, b signal.Buckets, coarserB int64) (signal.Buckets, bool) {
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	each := func(b signal.Buckets, coarser int64, f func(at int64, n uint64)) {
		for i, n := range b.Counts {
			f((int64(b.Offset)+int64(i))>>min(coarser, 63), n)
		}
	}
	extent := func(at int64, n uint64) {
		if n > 0 {
			lo, hi = min(lo, at), max(hi, at)
		}
	}
	each(a, coarserA, extent)
	each(b, coarserB, extent)
	if lo > hi {
		return signal.Buckets{}, true
	}
	if hi-lo >= mostBuckets || lo < math.MinInt32 || lo > math.MaxInt32 {
		return signal.Buckets{}, false
	}
	sum := signal.Buckets{Offset: int32(lo), Counts: make([]uint64, hi-lo+1)}
	add := func(at int64, n uint64) {
		if n > 0 {
			sum.Counts[at-lo] += n
		}
	}
	each(a, coarserA, add)
	each(b, coarserB, add)
	return sum, true
}

// sameShape returns since, without its buckets if total has lost its own.
func sameShape(since, total *signal.Hist) *signal.Hist {
	if since.Exponential == total.Exponential && slices.Equal(since.Bounds, total.Bounds) {
		return since
	}
	bare := *since
	shapeless(&bare)
	return &bare
}

func cloneHist(h *signal.Hist) *signal.Hist {
	c := *h
	c.Bounds, c.Counts, c.Quantiles = slices.Clone(h.Bounds), slices.Clone(h.Counts), slices.Clone(h.Quantiles)
	c.Pos.Counts, c.Neg.Counts = slices.Clone(h.Pos.Counts), slices.Clone(h.Neg.Counts)
	c.Exemplars = slices.Clone(h.Exemplars)
	c.Since = nil
	return &c
}
