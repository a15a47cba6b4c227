package datadog

import (
	"strconv"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends samples [lo, hi) of b as a body of series v2. It skips what is
// no finite number, has no name, or has no increase yet; see the package for
// what becomes of each type.
func (e *metrics) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	start := len(dst)
	w := writer{dst: append(dst, `{"series":[`...), tags: &e.tags}
	empty := len(w.dst)
	var name string // of the sample before
	var rows []row  // for it
	values := lo < hi && e.valued(&b.Samples[lo])
	for i := lo; i < hi; i++ {
		s := &b.Samples[i]
		if e.valued(s) != values {
			hi = i
			break
		}
		w.desc, w.time = s.Series.Desc(), s.Time
		before := len(w.dst)
		if values {
			if w.points(s.Hist); len(w.dst) == before {
				skipped++
			}
			continue
		}
		known, told := false, false
		key, is := "", "" // of the label looked up last
		if i == lo || w.desc.Name != name {
			name, rows = w.desc.Name, e.rows[w.desc.Name]
		}
		for j := range rows {
			r := &rows[j]
			if r.key != key {
				key, is = r.key, signal.Lookup(w.desc.Labels, r.key)
			}
			switch {
			case !r.applies(&w.desc, is) || r.where.metric != "" && !r.stands(b, i, &w.desc):
			case r.to == "":
				known, told = true, true
			default:
				known = true
				w.row(b, i, r)
			}
		}
		if !known {
			w.own(s)
		}
		if len(w.dst) == before && !told {
			skipped++
		}
	}
	if len(w.dst) == empty {
		return w.dst[:start], hi, hi - lo
	}
	w.dst[len(w.dst)-1] = ']' // over the last comma
	return append(w.dst, '}'), hi, skipped
}

// applies reports whether the row is for a series of this kind, whose label
// r.key is is.
func (r *row) applies(d *signal.Desc, is string) bool {
	switch {
	case r.how < rate && d.Type != signal.Gauge && d.Type != signal.Counter,
		r.how >= rate && d.Type != signal.Counter && d.Type != signal.Delta:
		return false
	case is != r.is && r.is != every:
		return false
	case r.also[0] != "" && signal.Lookup(d.Labels, r.also[0]) != r.also[1]:
		return false
	}
	return r.has == "" || signal.Lookup(d.Labels, r.has) != ""
}

// stands reports whether what the row asks for stands beside sample i.
func (r *row) stands(b *signal.Batch, i int, d *signal.Desc) bool {
	// There is one state at a time: the first that is found tells.
	other := sibling(b, i, d, [2]string{r.key, r.where.key}, term{r.where.metric, every})
	if other == nil || other.Value != 1 {
		return false
	}
	is := other.Series.Desc()
	return signal.Lookup(is.Labels, r.where.key) == r.where.is
}

// increase returns by how much a counter or delta grew, and in how many
// milliseconds (0 if unknown).
func increase(s *signal.Sample, typ signal.Type) (v float64, ms int64, ok bool) {
	switch typ {
	case signal.Counter:
		return s.Delta, s.Time - s.Prev, s.Prev != 0 && s.Time > s.Prev
	case signal.Delta:
		if s.Start != 0 && s.Start < s.Time {
			ms = s.Time - s.Start
		}
		return s.Value, ms, true
	}
	return 0, 0, false
}

// row appends the series that row r makes of sample i, if there is a value.
func (w *writer) row(b *signal.Batch, i int, r *row) {
	s := &b.Samples[i]
	if r.only == ones && s.Value != 1 || r.only == zeros && s.Value != 0 {
		return
	}
	v, ok := w.worth(b, i, r)
	_, ms, _ := increase(s, w.desc.Type)
	if r.how == rate {
		v, ok = v*1000/float64(ms), ok && ms > 0
	}
	if len(r.per) > 0 {
		whole := 0.0
		for _, t := range r.per {
			other := sibling(b, i, &w.desc, [2]string{r.key, r.key}, t)
			if other == nil {
				return
			}
			part, _ := r.reading(other, w.desc.Type)
			whole += part
		}
		switch {
		case whole > 0:
			v /= whole
		case r.how == level:
			return // nothing there, and no share of it
		default:
			v = 0 // nothing was done, and took no time
		}
	}
	if !ok || !fine(v*r.scale) {
		return
	}
	typ := gaugeType
	if r.how == count && len(r.per) == 0 {
		typ = countType
	} else {
		ms = 0
	}
	start := len(w.dst)
	w.dst = append(append(w.dst, `{"metric":"`...), r.to...)
	if r.word != "" && !w.word(r, start+len(`{"metric":"`)) {
		w.dst = w.dst[:start]
		return
	}
	w.describe("", typ, ms)
	w.stamp(s.Time)
	w.number(v*r.scale, r.scale != 1 || r.how != level || len(r.per) > 0)
	st := style{skip: [2]string{r.key, r.also[0]}, add: r.add, nic: r.nic, kube: r.kube}
	if r.keep {
		st.skip[0] = ""
	}
	w.end(st)
}

// reading returns the number of s that r is about.
func (r *row) reading(s *signal.Sample, typ signal.Type) (float64, bool) {
	if r.how < rate {
		return s.Value, true
	}
	v, _, ok := increase(s, typ)
	return v, ok
}

// worth returns what r makes of sample i and those that belong to it.
func (w *writer) worth(b *signal.Batch, i int, r *row) (v float64, ok bool) {
	s := &b.Samples[i]
	v, ok = r.reading(s, w.desc.Type)
	switch r.how {
	case one:
		v = 1
	case age:
		end := float64(floorDiv(s.Time, 1000))
		if r.until != "" {
			if other := sibling(b, i, &w.desc, [2]string{}, term{r.until, ""}); other != nil {
				end = other.Value
			}
		}
		v = end - v
	}
	for _, is := range r.plus {
		if other := sibling(b, i, &w.desc, [2]string{r.key, r.key}, term{w.desc.Name, is}); other != nil && ok {
			more, _ := r.reading(other, w.desc.Type)
			v += more
		}
	}
	return v, ok
}

// word appends the value of r.word to a name that begins at at, and r.tail. It
// reports whether there is such a value.
func (w *writer) word(r *row, at int) bool {
	from := len(w.dst)
	if w.dst = appendName(w.dst, signal.Lookup(w.desc.Labels, r.word)); len(w.dst) == from {
		return false
	}
	if most := at + mostName - len(r.tail); len(w.dst) > most {
		w.dst = w.dst[:most]
	}
	w.dst = append(w.dst, r.tail...)
	return true
}

// Samplers put what belongs together side by side: this far we look for it. The
// number of CPUs stands further from the load, one sample of each mode of each
// CPU between them.
const (
	near = 40
	far  = 1200
)

// sibling returns the sample of t beside sample i, whose description is d: of
// the same time, with the same labels but for keys, of which the second has
// t's value. nil if there is none, the nearest if there are several.
func sibling(b *signal.Batch, i int, d *signal.Desc, keys [2]string, t term) *signal.Sample {
	reach := near
	if t.metric == signal.SystemCPULogicalCount {
		reach = far
	}
	back, on := true, true
	for step := 0; step <= reach && (back || on); step++ {
		for _, j := range [2]int{i - step, i + step} {
			if j < i && !back || j >= i && !on {
				continue
			}
			if j < 0 || j >= len(b.Samples) || b.Samples[j].Time != b.Samples[i].Time {
				if j < i {
					back = false
				} else {
					on = false
				}
				continue
			}
			other := b.Samples[j].Series.Desc()
			if other.Name == t.metric && other.Type == d.Type && sameBut(d.Labels, other.Labels, keys) &&
				(keys[1] == "" || t.is == every || signal.Lookup(other.Labels, keys[1]) == t.is) {
				return &b.Samples[j]
			}
		}
	}
	return nil
}

// sameBut reports whether two label sets are the same but for two keys.
func sameBut(a, b string, keys [2]string) bool {
	if a == b {
		return true
	}
	for {
		ak, av, arest, aok := signal.NextLabel(a)
		if aok && (ak == keys[0] || ak == keys[1]) {
			a = arest
			continue
		}
		bk, bv, brest, bok := signal.NextLabel(b)
		if bok && (bk == keys[0] || bk == keys[1]) {
			b = brest
			continue
		}
		if aok != bok || ak != bk || av != bv {
			return false
		}
		if !aok {
			return true
		}
		a, b = arest, brest
	}
}

// own appends a sample under its metric's own name.
func (w *writer) own(s *signal.Sample) {
	d := &w.desc
	switch d.Type {
	case signal.Gauge:
		if fine(s.Value) {
			w.one("", gaugeType, 0, s.Value)
		}
	case signal.Counter, signal.Delta:
		if v, ms, ok := increase(s, d.Type); ok && fine(v) {
			w.one("", countType, ms, v)
		}
	case signal.Dist:
		if s.Hist != nil {
			var ms int64
			if s.Start != 0 && s.Start < s.Time {
				ms = s.Time - s.Start
			}
			w.hist(s.Hist, ms)
		}
	case signal.CumDist:
		if s.Hist != nil && s.Hist.Since != nil && s.Prev != 0 && s.Time > s.Prev {
			w.hist(s.Hist.Since, s.Time-s.Prev)
		}
	}
}

// The types of series v2.
const (
	countType byte = '1'
	gaugeType byte = '3'
)

// writer writes series, each with a comma behind it.
type writer struct {
	dst  []byte
	tags *tagger
	desc signal.Desc // of the sample at hand
	time int64       // its time, in ms

	// What was written last behind a point: where, and what for.
	tail   [2]int
	labels string
	style  style

	memo memo

	// What one wrote last in front of a number: where, and what for.
	head [2]int
	of   told
}

// told is what one tells in front of a number, of a metric without a suffix.
type told struct {
	name, unit string
	typ        byte
	ms, time   int64
}

// one appends a series of the metric's own name, with suffix behind it.
func (w *writer) one(suffix string, typ byte, ms int64, v float64) {
	start := len(w.dst)
	if t := (told{w.desc.Name, w.desc.Unit, typ, ms, w.time}); suffix == "" && w.of == t {
		w.dst = append(w.dst, w.dst[w.head[0]:w.head[1]]...)
	} else if !w.begin(suffix, typ, ms) {
		w.dst = w.dst[:start]
		return
	} else if suffix == "" {
		w.of, w.head = t, [2]int{start, len(w.dst)}
	}
	w.number(v, suffix != "")
	w.end(style{})
}

// begin appends what stands in front of a number, if the metric has a name.
func (w *writer) begin(suffix string, typ byte, ms int64) bool {
	w.dst = append(w.dst, `{"metric":"`...)
	at := len(w.dst)
	name := w.desc.Name
	if strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "process.") {
		w.dst = append(w.dst, "otel."...)
	}
	from := len(w.dst)
	if w.dst = appendName(w.dst, name); len(w.dst) == from {
		return false
	}
	if most := at + mostName - len(suffix); len(w.dst) > most {
		w.dst = w.dst[:most]
	}
	w.dst = append(w.dst, suffix...)
	unit := ""
	if suffix != ".count" {
		unit = unitOf(w.desc.Unit)
	}
	w.describe(unit, typ, ms)
	w.stamp(w.time)
	return true
}

// describe appends what stands between name and point. An interval in milliseconds
// is written in whole seconds.
func (w *writer) describe(unit string, typ byte, ms int64) {
	w.dst = append(append(w.dst, `","type":`...), typ)
	if ms > 0 {
		w.dst = append(w.dst, `,"interval":`...)
		w.dst = strconv.AppendInt(w.dst, max(1, (ms+500)/1000), 10)
	}
	if unit != "" {
		w.dst = append(append(append(w.dst, `,"unit":"`...), unit...), '"')
	}
	w.dst = append(w.dst, `,"points":[{"timestamp":`...)
}

func (w *writer) stamp(ms int64) {
	w.dst = strconv.AppendInt(w.dst, floorDiv(ms, 1000), 10)
	w.dst = append(w.dst, `,"value":`...)
}

func (w *writer) number(v float64, rounded bool) {
	if rounded {
		w.dst = appendRounded(w.dst, v)
	} else {
		w.dst = appendFloat(w.dst, v)
	}
}

// end appends tags and host. Samples in succession mostly have those of the
// one before: then they are copied.
func (w *writer) end(st style) {
	if w.tail[1] != 0 && w.labels == w.desc.Labels && w.style == st {
		w.dst = append(w.dst, w.dst[w.tail[0]:w.tail[1]]...)
		return
	}
	w.tail[0] = len(w.dst)
	w.dst = append(w.dst, `}],"tags":[`...)
	none := len(w.dst)
	if w.dst = w.tags.append(w.dst, w.desc.Labels, st, &w.memo); len(w.dst) > none {
		w.dst = w.dst[:len(w.dst)-1]
	}
	w.dst = append(w.dst, ']')
	if host := w.memo.host; host != "" {
		w.dst = append(w.dst, `,"resources":[{"type":"host","name":`...)
		w.dst, _ = appendUpTo(w.dst, host, mostHost+2)
		w.dst = append(w.dst, `}]`...)
	}
	w.dst = append(w.dst, `},`...)
	w.tail[1], w.labels, w.style = len(w.dst), w.desc.Labels, st
}

// floorDiv divides by b > 0, rounding down below zero, too.
func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}
