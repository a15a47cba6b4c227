package prom

import (
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/causeway-agent/causeway/agent/signal"
)

// What is done once for each series: here nothing needs to be fast.

// learn makes the cell of a series that is not known. It keeps none of the
// strings it is given, which may lie in the page.
func (p *page) learn(raw []byte, name string, pairs []pair) *cell {
	f, base, suffix := familyOf(p.families, name)
	c := p.newCell(raw)
	part := ""
	switch f.sort {
	case counter:
		c.role = roleCounter
		if suffix == "_created" {
			c.role = roleBorn
		}
	case histogram:
		c.role, part = partOf(suffix, "le", "_bucket", roleBucket)
	case summary:
		c.role, part = partOf(suffix, "quantile", "", roleQuantile)
	}
	var bound float64
	if part != "" {
		var ok bool
		if bound, pairs, ok = cutPart(pairs, part); !ok {
			c.role = roleGauge // a bucket without a bound is a number like another
		}
	}
	if c.role == roleGauge {
		c.start = 0
	}
	folded := c.role >= roleBucket && c.role <= roleBorn && f.sort != counter
	if folded {
		name = base
	} else if c.role == roleBorn {
		name = strings.TrimSuffix(base, "_total") + "_total"
	}
	set, name, keep := p.relabel(name, suffix, part, bound, pairs, folded)
	if !keep {
		c.role = roleDropped
		return c
	}
	d := signal.Desc{Name: name, Unit: unitOf(name), Type: signal.Gauge, Labels: set}
	switch {
	case folded:
		d.Type = signal.CumDist
		p.join(c, signal.Draft(d), f.sort == summary, bound)
	case c.role == roleBorn:
		d.Type = signal.Counter
		c.series = signal.Draft(d)
	default:
		if c.role == roleCounter {
			d.Type = signal.Counter
		}
		c.series = signal.Draft(d)
		p.own(c)
	}
	return c
}

// newCell puts a cell for what stands in the page into the cache.
func (p *page) newCell(raw []byte) *cell {
	c := &cell{hash: maphash.Bytes(p.seed, raw), length: uint32(len(raw))}
	p.cells[c.hash] = c
	if p.good == p.number-1 {
		c.start = p.before // it was not in the page before: it began since
	}
	return c
}

// own makes c the one line of its Series, unless this page has another one. A
// cell that this page has not had is replaced: a target may write the same
// labels in another order each time.
func (p *page) own(c *cell) {
	if old := p.owner[c.series]; old != nil {
		if old.seen == p.number {
			c.role = roleTwin
			return
		}
		c.value, c.start = old.value, old.start
		p.retire(old)
	}
	p.owner[c.series] = c
}

// retire takes c out of the cache. Others may still name it as their next.
func (p *page) retire(c *cell) {
	delete(p.cells, c.hash)
	if p.owner[c.series] == c {
		delete(p.owner, c.series)
	}
	c.role = roleGone
}

// partOf says what part of a distribution a line is by its name's ending. part
// is the label that it must have.
func partOf(suffix, label, ending string, r role) (role, string) {
	switch suffix {
	case ending:
		return r, label
	case "_sum":
		return roleSum, ""
	case "_count":
		return roleCount, ""
	case "_created":
		return roleBorn, ""
	}
	return roleGauge, ""
}

// cutPart takes the label of a bucket's bound or a quantile out of pairs.
func cutPart(pairs []pair, label string) (v float64, rest []pair, ok bool) {
	for i, l := range pairs {
		if l.name == label {
			v, err := parseFloat(unsafe.Slice(unsafe.StringData(l.value), len(l.value)))
			if err != nil || math.IsNaN(v) {
				return 0, pairs, false
			}
			copy(pairs[i:], pairs[i+1:])
			return v, pairs[:len(pairs)-1], true
		}
	}
	return 0, pairs, false
}

// exported is put before a page's label that the target has too. It is
// Prometheus' own word for it.
const exported = "exported_"

// merge returns the label set of a series: the pairs of the page and the flat
// set of the target. Of a key that both have the target's counts, and the
// page's is kept under another name; with honor it is the page's that counts.
// The set is valid until the next call; Intern makes a copy.
func (p *page) merge(pairs []pair) string {
	for i := range pairs {
		for !p.honor && has(p.labels, pairs[i].name) {
			pairs[i].name = exported + pairs[i].name
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.name, b.name) })
	p.flat = p.flat[:0]
	for i, l := range pairs {
		if i+1 == len(pairs) || pairs[i+1].name != l.name {
			p.flat = signal.AppendLabel(p.flat, l.name, l.value)
		}
	}
	p.set = signal.AppendMerge(p.set[:0], p.labels, view(p.flat))
	return view(p.set)
}

func has(set, key string) bool {
	for k := range signal.Walk(set) {
		if k >= key {
			return k == key
		}
	}
	return false
}

// relabel returns labels and name of a series as the rules leave them. The
// rules see each line by the name and labels it has in the page.
func (p *page) relabel(name, suffix, part string, bound float64, pairs []pair, folded bool) (set, as string, keep bool) {
	set = p.merge(pairs)
	if len(p.rules) == 0 {
		return set, name, true
	}
	if !folded {
		suffix = ""
	}
	b := p.builder
	b.Reset(labels.EmptyLabels())
	for k, v := range signal.Walk(set) {
		b.Set(k, v)
	}
	b.Set(model.MetricNameLabel, name+suffix)
	if part != "" {
		b.Set(part, labels.FormatOpenMetricsFloat(bound))
	}
	if !relabel.ProcessBuilder(b, p.rules...) {
		return "", "", false
	}
	if part != "" {
		b.Del(part)
	}
	p.key = p.key[:0]
	b.Labels().Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			name = l.Value
			if folded && len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
				name = name[:len(name)-len(suffix)]
			}
			return
		}
		p.key = signal.AppendLabel(p.key, l.Name, l.Value)
	})
	return signal.Sorted(string(p.key)), name, true
}

// sweep drops what no page has had for some time; at once if it is more than
// what is alive, as behind a target that names each of its series anew.
func (p *page) sweep() {
	if len(p.cells) <= p.alive {
		return
	}
	keep := uint32(grace)
	if len(p.cells) > 2*p.alive+1000 {
		keep = 1
	}
	owners := len(p.owner)
	for _, c := range p.cells {
		if p.number-c.seen >= keep {
			p.retire(c)
		}
	}
	if len(p.owner) < owners { // a twin of one of them may be its successor: the next page decides
		for _, c := range p.cells {
			if c.role == roleTwin {
				p.retire(c)
			}
		}
	}
	for s, g := range p.groups {
		if p.number-g.seen >= keep {
			delete(p.groups, s)
		}
	}
	for n, f := range p.families {
		if p.number-f.seen >= keep {
			delete(p.families, n)
		}
	}
}
