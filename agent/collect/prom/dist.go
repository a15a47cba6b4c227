package prom

import (
	"cmp"
	"math"
	"slices"

	"github.com/causeway-agent/causeway/agent/signal"
)

// group gathers the lines of one classic histogram or summary.
type group struct {
	series  signal.Series
	summary bool
	seen    uint32    // page
	bounds  []float64 // le or quantile, by slot: in the order in which they came
	cells   []*cell   // by slot
	order   []uint16  // slots, ascending by bound; nil after a new one
	shared  []float64 // the finite bounds, ascending: never written again
	values  []float64 // NaN if it was not in this page
	sum     float64   // NaN if it was not in this page
	count   float64   // NaN if it was not in this page
	time    int64     // of its own; 0 if it has none
	start   int64     // when it was zero; 0 if unknown
	last    float64   // count in the page before

	exemplars []signal.Exemplar // of this page
}

// maxSlots bounds the buckets of one histogram: more is a mistake at the target.
const maxSlots = 1000

// join makes c a part of the group of that Series.
func (p *page) join(c *cell, s signal.Series, summary bool, bound float64) {
	g := p.groups[s]
	if g == nil {
		g = &group{series: s, summary: summary, start: c.start}
		p.groups[s] = g
	}
	c.group = g
	if c.role != roleBucket && c.role != roleQuantile {
		return
	}
	slot := slices.Index(g.bounds, bound)
	switch {
	case slot >= 0:
		if old := g.cells[slot]; old.seen == p.number {
			c.role = roleTwin
			return
		} else if old.role != roleGone {
			p.retire(old)
		}
		g.cells[slot] = c
	case len(g.bounds) == maxSlots:
		c.role = roleDropped
		return
	default:
		slot = len(g.bounds)
		g.bounds = append(g.bounds, bound)
		g.cells = append(g.cells, c)
		g.values = append(g.values, math.NaN())
		g.order = nil
	}
	c.slot = uint16(slot)
}

// take gives a part's value to its group.
func (g *group) take(p *page, c *cell, pt point) {
	if g.seen != p.number {
		g.seen = p.number
		g.sum, g.count, g.time, g.exemplars = math.NaN(), math.NaN(), 0, nil
		for i := range g.values {
			g.values[i] = math.NaN()
		}
		p.touched = append(p.touched, g)
	}
	if pt.timed && p.timed {
		g.time = pt.time
	}
	switch c.role {
	case roleSum:
		g.sum = pt.value
	case roleCount:
		g.count = pt.value
	default:
		g.values[c.slot] = pt.value
		if pt.exemplar > 0 && c.role == roleBucket {
			g.exemplars = p.exemplify(g.exemplars)
		}
	}
}

// fold gives the distribution on that a group's parts make.
func (p *page) fold(g *group) {
	if g.order == nil {
		p.sortBounds(g)
	}
	h := p.newHist()
	ok := false
	if g.summary {
		ok = p.foldSummary(h, g)
	} else {
		ok = p.foldHistogram(h, g)
	}
	if !ok {
		p.tally.Broken++
		p.tally.Exemplars += len(g.exemplars)
		return
	}
	h.Exemplars = g.exemplars
	if finite(g.sum) { // a histogram with negative values has none (OpenMetrics 1.0)
		h.Sum = g.sum
	}
	at := p.at
	if g.time != 0 {
		at = g.time
	}
	p.dist(g.series, h, &g.start, &g.last, at)
}

// sortBounds notes how a group's bounds ascend. Nearly all histograms of a page
// have the same ones, and share them.
func (p *page) sortBounds(g *group) {
	g.order = make([]uint16, len(g.bounds))
	for i := range g.order {
		g.order[i] = uint16(i)
	}
	slices.SortFunc(g.order, func(a, b uint16) int { return cmp.Compare(g.bounds[a], g.bounds[b]) })
	g.shared = nil
	for _, slot := range g.order {
		if !math.IsInf(g.bounds[slot], 0) {
			g.shared = append(g.shared, g.bounds[slot])
		}
	}
	if slices.Equal(g.shared, p.bounds) {
		g.shared = p.bounds
	}
	p.bounds = g.shared
}

// finite reports whether v is a number, and not an infinite one.
func finite(v float64) bool { return v-v == 0 }

// foldHistogram fills in what is between the bounds. Buckets count all values
// up to their bound; while they are written they may run ahead of each other.
func (p *page) foldHistogram(h *signal.Hist, g *group) bool {
	total, buckets := g.count, 0
	for _, slot := range g.order {
		v := g.values[slot]
		switch {
		case math.IsNaN(v): // not in this page
		case !isCount(v):
			return false
		case math.IsInf(g.bounds[slot], 0):
			total = max(v, total)
			if math.IsNaN(g.count) {
				total = v
			}
		default:
			buckets++
		}
	}
	if !isCount(total) {
		return false
	}
	h.Count = uint64(total + 0.5)
	h.Counts = p.newCounts(buckets + 1)
	h.Bounds = g.shared
	if buckets != len(g.shared) {
		h.Bounds = make([]float64, 0, buckets)
	}
	before, i := 0.0, 0
	for _, slot := range g.order {
		v := g.values[slot]
		if math.IsNaN(v) || math.IsInf(g.bounds[slot], 0) {
			continue
		}
		if buckets != len(g.shared) {
			h.Bounds = append(h.Bounds, g.bounds[slot])
		}
		v = min(max(v, before), total)
		h.Counts[i] = uint64(v+0.5) - uint64(before+0.5)
		before = v
		i++
	}
	h.Counts[i] = h.Count - uint64(before+0.5)
	return true
}

// isCount reports whether v can be a number of values.
func isCount(v float64) bool { return v >= 0 && v < 1<<63 }

func (p *page) foldSummary(h *signal.Hist, g *group) bool {
	if !isCount(g.count) {
		return false
	}
	h.Count = uint64(g.count + 0.5)
	for _, slot := range g.order {
		if v := g.values[slot]; finite(v) {
			if h.Quantiles == nil {
				h.Quantiles = make([]signal.Quantile, 0, len(g.order))
			}
			h.Quantiles = append(h.Quantiles, signal.Quantile{Q: g.bounds[slot], Value: v})
		}
	}
	return true
}

// dist gives a distribution on. start and last are what is kept of it from page
// to page.
func (p *page) dist(s signal.Series, h *signal.Hist, start *int64, last *float64, at int64) {
	count := float64(h.Count)
	if count < *last && *start < p.before {
		*start = p.before
	}
	*last = count
	p.tally.Dists++
	p.dists = append(p.dists, signal.Sample{Series: s, Start: min(*start, at), Time: at, Hist: h})
}

// Distributions of a page share slabs, since one by one they would be most of
// what is allocated. The hub keeps the last distribution of a series, so a slab
// is small: a series that ends holds no more than one for that long.
const (
	histSlab  = 64
	countSlab = 1024
)

func (p *page) newHist() *signal.Hist {
	if len(p.hists) == 0 {
		p.hists = make([]signal.Hist, min(histSlab, max(len(p.touched), 1)))
	}
	h := &p.hists[0]
	p.hists = p.hists[1:]
	h.Min, h.Max = math.NaN(), math.NaN()
	return h
}

func (p *page) newCounts(n int) []uint64 {
	if len(p.counts) < n {
		p.counts = make([]uint64, max(n, min(countSlab, n*len(p.touched))))
	}
	c := p.counts[:n:n]
	p.counts = p.counts[n:]
	return c
}
