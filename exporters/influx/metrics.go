package influx

import (
	"bytes"
	"math"
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// manyTags is how many tags a line may have without an allocation.
const manyTags = 32

// Encode appends items [lo, hi) of b as line protocol with times in
// milliseconds. Samples in succession that belong in one line (one measurement,
// the same tags, the same time) share it; a sampler's batch has them side by
// side. It skips what is no finite number, what has no name, and what a line
// cannot hold.
func (e *metrics) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	var room [manyTags]tag
	for i := lo; i < hi; {
		s := &b.Samples[i]
		d := s.Series.Desc()
		at := e.table.of(&d, s.Value)
		if at.field == nil {
			n := len(dst)
			if dst = e.appendOwn(dst, s, &d, room[:0]); len(dst) == n {
				skipped++
			}
			i++
			continue
		}
		end, left := 0, 0
		dst, end, left = e.appendTopic(dst, b, i, hi, at, room[:0])
		skipped += left
		i = end
	}
	return dst, hi, skipped
}

// appendTopic appends the line that begins with sample i, whose place is p, and
// returns the first sample that is not in it and how many of those before that
// were left out.
func (e *metrics) appendTopic(dst []byte, b *signal.Batch, i, hi int, p place, tags []tag) (line []byte, end, skipped int) {
	start := len(dst)
	d := b.Samples[i].Series.Desc()
	dst = append(dst, p.measurement...)
	tags = appendTags(tags, d.Labels, p.fold, p.rename, e.tags)
	if p.tag.key != "" {
		if at, found := search(tags, p.tag.key); !found {
			tags = append(tags, tag{})
			copy(tags[at+1:], tags[at:])
			tags[at] = p.tag
		}
	}
	dst = appendTagged(dst, tags)
	long := len(dst)-start > maxKey
	dst = append(dst, ' ')
	fields := len(dst)

	r := run{table: e.table, b: b, first: i}
	for end = i; end < hi; end++ {
		s := &b.Samples[end]
		if end > i {
			if r.hi != 0 && end == r.hi {
				break
			}
			next := s.Series.Desc()
			at := e.table.of(&next, s.Value)
			if r.hi == 0 && !joins(&b.Samples[end-1], s, &d, &next, &p, &at) {
				break
			}
			d, p = next, at
		}
		v := p.value(s.Value)
		if long || !fine(v) || !inTime(s.Time) {
			skipped++
			continue
		}
		dst = p.appendName(dst, &d)
		dst = append(dst, '=')
		dst = appendFloat(dst, v)
		dst = append(dst, ',')
		if p.with != alone || p.sum != "" {
			dst = r.appendCompanion(dst, end, &d, &p)
		}
	}
	if len(dst) == fields {
		return dst[:start], end, skipped
	}
	dst[len(dst)-1] = ' '
	dst = strconv.AppendInt(dst, b.Samples[i].Time, 10)
	return append(dst, '\n'), end, skipped
}

// percent returns a share in percent, to four decimals: what is below is noise
// and costs ten bytes.
func percent(share float64) float64 { return math.Round(share*1e6) / 1e4 }

// inTime reports whether a server can hold the time: it counts in nanoseconds.
func inTime(ms int64) bool { return ms > -9e12 && ms < 9e12 }

// joins reports whether sample s, at b, stands in the same line as the one
// before it, prev at a.
func joins(prev, s *signal.Sample, pd, d *signal.Desc, a, b *place) bool {
	if b.field == nil || prev.Time != s.Time {
		return false
	}
	if a.field != b.field && (a.measurement != b.measurement || a.tag != b.tag || a.rename != b.rename) {
		return false
	}
	if a.fold == b.fold {
		return a.kept(pd.Labels) == b.kept(d.Labels)
	}
	x, y := pd.Labels, d.Labels
	for {
		xk, xv, xrest := nextKept(x, &a.fold)
		yk, yv, yrest := nextKept(y, &b.fold)
		if xk != yk || xv != yv {
			return false
		}
		if xk == "" {
			return true
		}
		x, y = xrest, yrest
	}
}

// nextKept returns the next label of set that is not folded, "" at the end.
func nextKept(set string, fold *[2]string) (k, v, rest string) {
	for {
		k, v, rest, ok := signal.NextLabel(set)
		if !ok {
			return "", "", ""
		}
		if k != fold[0] && k != fold[1] {
			return k, v, rest
		}
		set = rest
	}
}

// run is the samples around one that would share its line if the body had no
// ends. What is computed from several samples is computed from all of them, so
// that it is the same wherever a batch is split.
type run struct {
	table  *table
	b      *signal.Batch
	first  int // a sample of it
	lo, hi int // of the run; hi 0 until it was looked for

	metric string // of what increase returned last
	prev   int64
	sum    float64
	summed bool
}

func (r *run) find() {
	if r.hi != 0 {
		return
	}
	all := r.b.Samples
	joined := func(i int) bool { // sample i and the one before it
		pd, d := all[i-1].Series.Desc(), all[i].Series.Desc()
		a, b := r.table.of(&pd, all[i-1].Value), r.table.of(&d, all[i].Value)
		return a.field != nil && joins(&all[i-1], &all[i], &pd, &d, &a, &b)
	}
	for r.lo = r.first; r.lo > 0 && joined(r.lo); {
		r.lo--
	}
	d := all[r.first].Series.Desc()
	a := r.table.of(&d, all[r.first].Value)
	for r.hi = r.first + 1; r.hi < len(all); r.hi++ {
		next := all[r.hi].Series.Desc()
		b := r.table.of(&next, all[r.hi].Value)
		if !joins(&all[r.hi-1], &all[r.hi], &d, &next, &a, &b) {
			break
		}
		d, a = next, b
	}
}

// appendCompanion appends what belongs beside sample i, with a comma behind it;
// nothing if the run does not have what it takes.
func (r *run) appendCompanion(dst []byte, i int, d *signal.Desc, f *place) []byte {
	n := len(dst)
	v := r.b.Samples[i].Value
	switch f.with {
	case inMillis:
		if f.fold[0] != "" && f.values[0] != "cpu" {
			return dst
		}
		dst = f.appendName(append(dst, "milli"...), d)
		at := bytes.Index(dst[n:], []byte("cpu"))
		copy(dst[n:], dst[n+len("milli"):n+at])
		copy(dst[n+at-len("milli"):], "milli")
		dst = append(dst, '=')
		return append(appendDerived(dst, math.Round(v*1000)), ',')
	case codeOfState:
		if v != 1 {
			return dst
		}
		dst = append(append(dst, "state_code="...), f.words...)
		return append(append(dst, derived...), ',')
	}
	r.find()
	switch {
	case f.sum != "":
		for j := i - 1; j >= r.lo; j-- {
			if r.b.Samples[j].Series.Desc().Name == d.Name {
				return dst // not the first of them
			}
		}
		dst = append(dst, f.sum...)
		v, _ = r.total(d.Name, "", "")
		v = f.value(v)
	case f.with == usageOfMode:
		dst = append(dst, "usage_"...)
		dst = append(dst, f.word(f.values[0])...)
		all, ok := r.increase(i, d.Name)
		if !ok || all <= 0 {
			return dst[:n]
		}
		v = percent(r.b.Samples[i].Delta / all)
	case f.with == usedOfLimit || f.with == availableOfLimit:
		word, limit := "available", signal.SystemMemoryLimit
		if f.with == usedOfLimit {
			if word = "used"; f.values[0] != word {
				return dst
			}
			if d.Name == signal.SystemPagingUsage {
				limit = signal.SystemPagingLimit
			}
		}
		all, _ := r.total(limit, "", "")
		if all <= 0 {
			return dst
		}
		dst = append(append(dst, word...), "_percent"...)
		v = percent(r.b.Samples[i].Value / all)
	default:
		if f.values[0] != "used" {
			return dst
		}
		free, ok := r.total(d.Name, f.fold[0], "free")
		all := r.b.Samples[i].Value + free
		if !ok || all <= 0 {
			return dst
		}
		if f.with == inodesOfBoth {
			dst = append(dst, "inodes_"...)
		}
		dst = append(dst, "used_percent"...)
		v = percent(r.b.Samples[i].Value / all)
	}
	if !fine(v) {
		return dst[:n]
	}
	dst = append(dst, '=')
	return append(appendDerived(dst, v), ',')
}

// total returns the sum of the run's samples of a metric, those with the value
// given if there is a key, and whether there was any.
func (r *run) total(metric, key, value string) (sum float64, any bool) {
	for j := r.lo; j < r.hi; j++ {
		d := r.b.Samples[j].Series.Desc()
		if d.Name == metric && (key == "" || signal.Lookup(d.Labels, key) == value) {
			sum += r.b.Samples[j].Value
			any = true
		}
	}
	return sum, any
}

// increase returns the sum of the increases of a metric's samples in the run,
// if all of them are over the interval of sample i.
func (r *run) increase(i int, metric string) (sum float64, ok bool) {
	prev := r.b.Samples[i].Prev
	if r.metric == metric && r.prev == prev {
		return r.sum, r.summed
	}
	r.metric, r.prev, r.sum, r.summed = metric, prev, 0, prev != 0
	for j := r.lo; j < r.hi; j++ {
		if s := &r.b.Samples[j]; s.Series.Desc().Name == metric {
			r.summed = r.summed && s.Prev == prev
			r.sum += s.Delta
		}
	}
	return r.sum, r.summed
}

// appendOwn appends the line of a sample that has its metric's own name.
// Nothing is appended if there is nothing that could be written.
func (e *metrics) appendOwn(dst []byte, s *signal.Sample, d *signal.Desc, tags []tag) []byte {
	start := len(dst)
	if d.Name == "" || !inTime(s.Time) {
		return dst
	}
	dst = appendMeasurement(dst, d.Name)
	dst = appendTagged(dst, appendTags(tags, d.Labels, [2]string{}, [2]string{}, e.tags))
	if len(dst)-start > maxKey {
		return dst[:start]
	}
	dst = append(dst, ' ')
	fields := len(dst)
	switch d.Type {
	case signal.Gauge, signal.Delta, signal.Counter:
		if !fine(s.Value) {
			return dst[:start]
		}
		switch d.Type {
		case signal.Gauge:
			dst = append(dst, "value="...)
		case signal.Delta:
			dst = append(dst, "increase="...)
		default:
			dst = append(dst, "total="...)
		}
		dst = append(appendFloat(dst, s.Value), ',')
		if d.Type == signal.Counter && s.Prev != 0 && fine(s.Delta) {
			dst = append(appendDerived(append(dst, "increase="...), s.Delta), ',')
		}
	case signal.Dist, signal.CumDist:
		if s.Hist == nil {
			return dst[:start]
		}
		dst = appendHist(dst, s.Hist, d.Type == signal.CumDist)
	}
	if len(dst) == fields {
		return dst[:start]
	}
	dst[len(dst)-1] = ' '
	dst = strconv.AppendInt(dst, s.Time, 10)
	return append(dst, '\n')
}
