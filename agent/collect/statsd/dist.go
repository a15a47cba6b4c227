package statsd

import (
	"hash/maphash"
	"math"
	"slices"

	"github.com/causeway-agent/causeway/agent/signal"
)

// scale of the exponential buckets: 64 to each doubling, so that a bucket's
// middle is within 0.55 % of all its values. A vendor's folder may make it coarser.
const scale = 6

// maxBuckets bounds one side: 64 doublings, nineteen decimal orders between
// the smallest and the largest value. What is smaller counts as zero.
const maxBuckets = 4096

// histogram gathers the values of one interval.
type histogram struct {
	count     uint64
	sum       float64
	min, max  float64
	zero      uint64
	zeroWidth float64
	pos, neg  buckets
}

// buckets is a run of exponential buckets that grows at both ends.
type buckets struct {
	offset int // index of counts[0]
	counts []uint64
}

func (h *histogram) add(v float64, n uint64) {
	if h.count == 0 {
		h.min, h.max = v, v
	}
	h.min, h.max = min(h.min, v), max(h.max, v)
	h.count += n
	h.sum += v * float64(n)
	side, size := &h.pos, v
	if v < 0 {
		side, size = &h.neg, -v
	}
	// 1e-290 is far below anything measured, and keeps subnormals out.
	if size < 1e-290 {
		h.zero += n
		h.zeroWidth = max(h.zeroWidth, size)
		return
	}
	// Bucket i holds (base^i, base^(i+1)]. Log2 is exact at powers of two.
	i := int(math.Ceil(math.Log2(size)*(1<<scale))) - 1
	if gone, upTo := side.add(i, n); gone > 0 {
		h.zero += gone
		h.zeroWidth = max(h.zeroWidth, math.Exp2(float64(upTo)/(1<<scale)))
	}
}

// add counts n at index i. gone is what had to leave at the low end, all of it
// below base^upTo.
func (b *buckets) add(i int, n uint64) (gone uint64, upTo int) {
	at := i - b.offset
	if uint(at) < uint(len(b.counts)) { // nearly always
		b.counts[at] += n
		return 0, 0
	}
	if len(b.counts) == 0 {
		b.offset = i
		b.counts = append(b.counts, n)
		return 0, 0
	}
	if at >= len(b.counts) {
		if cut := at + 1 - maxBuckets; cut > 0 {
			cut = min(cut, len(b.counts))
			for _, c := range b.counts[:cut] {
				gone += c
			}
			upTo = b.offset + cut
			b.counts = slices.Delete(b.counts, 0, cut)
			b.offset += cut
		}
		if len(b.counts) == 0 {
			b.offset = i
		}
		for i-b.offset >= len(b.counts) {
			b.counts = append(b.counts, 0)
		}
		b.counts[i-b.offset] += n
		return gone, upTo
	}
	if len(b.counts)-at > maxBuckets {
		return n, i + 1
	}
	old := len(b.counts)
	b.counts = slices.Grow(b.counts, -at)[:old-at]
	copy(b.counts[-at:], b.counts[:old])
	clear(b.counts[:-at])
	b.offset = i
	b.counts[0] += n
	return 0, 0
}

// take returns the interval's distribution and begins a new one, for which it
// keeps the memory and the range of buckets.
func (h *histogram) take(percentiles []float64) *signal.Hist {
	out := &signal.Hist{
		Count: h.count, Sum: h.sum, Min: h.min, Max: h.max,
		Exponential: true, Scale: scale, Zero: h.zero, ZeroWidth: h.zeroWidth, Pos: h.pos.take(), Neg: h.neg.take(),
	}
	for _, p := range percentiles {
		out.Quantiles = append(out.Quantiles, signal.Quantile{Q: p / 100, Value: out.Quantile(p / 100)})
	}
	*h = histogram{pos: h.pos, neg: h.neg}
	return out
}

// take returns a copy without the empty buckets at both ends, and empties b. A
// range that was used for less than a quarter is given up.
func (b *buckets) take() signal.Buckets {
	lo, hi := 0, len(b.counts)
	for lo < hi && b.counts[lo] == 0 {
		lo++
	}
	for hi > lo && b.counts[hi-1] == 0 {
		hi--
	}
	if lo == hi {
		*b = buckets{}
		return signal.Buckets{}
	}
	out := signal.Buckets{Offset: int32(b.offset + lo), Counts: slices.Clone(b.counts[lo:hi])}
	if (hi-lo)*4 < len(b.counts) {
		*b = buckets{}
	}
	clear(b.counts)
	return out
}

// maxMembers is how many hashes a set keeps before it begins to sample them:
// up to that it is exact, beyond within about 1 %.
const maxMembers = 1 << 16

// members counts different values: it keeps those hashes that end in level
// zeros, and each stands for 2^level values (Wegman's adaptive sampling).
type members struct {
	hashes map[uint64]struct{}
	level  uint
}

func (m *members) add(seed maphash.Seed, value []byte) {
	h := maphash.Bytes(seed, value)
	if h&(1<<m.level-1) != 0 {
		return
	}
	m.hashes[h] = struct{}{}
	for len(m.hashes) > maxMembers {
		m.level++
		for h := range m.hashes {
			if h&(1<<m.level-1) != 0 {
				delete(m.hashes, h)
			}
		}
	}
}

// take returns how many values there were and begins a new interval.
func (m *members) take() float64 {
	n := float64(len(m.hashes)) * math.Exp2(float64(m.level))
	if m.level > 0 {
		m.hashes = map[uint64]struct{}{} // a map does not shrink
	}
	clear(m.hashes)
	m.level = 0
	return n
}
