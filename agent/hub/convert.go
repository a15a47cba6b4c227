package hub

import (
	"slices"

	"github.com/causeway-agent/causeway/agent/signal"
)

// convert fills Prev and Delta, or Since, from the last reading, which it replaces.
// It returns false for a sample that is not newer than the one before.
//
// A second sample of the same second is moved to the next one: Datadog keeps one
// point a second, so of two increases it would keep the later. A third one is left
// out, so that no time runs ahead by more than a second; the next carries both.
func (h *Hub) convert(known *seed, s *signal.Sample, st *Stats) bool {
	last := *known
	read := s.Time
	if read <= max(last.read, 0) || last.read == 0 && read <= last.time {
		return false
	}
	if s.Time/1000 <= last.time/1000 {
		s.Time = (last.time/1000 + 1) * 1000
		if s.Time-read > 1000 {
			return false
		}
	}
	*known = seed{time: s.Time, read: read, start: s.Start, value: s.Value, hist: s.Hist}
	if last.time == 0 {
		if s.Start >= h.born { // it began while we watched: all of it is new
			s.Prev, s.Delta = min(s.Start, s.Time-1), s.Value // to a vendor an increase has an interval
			if s.Hist != nil {
				s.Hist = withSince(s.Hist, s.Hist, s.Hist.Exemplars)
			}
		}
		return true
	}
	s.Prev = last.time
	if s.Hist != nil {
		since, ok := subtract(s.Hist, last.hist)
		if !ok {
			st.Resets.Add(1)
			since = s.Hist
		}
		s.Hist = withSince(s.Hist, since, newExemplars(s.Hist, last.hist, s.Prev))
		return true
	}
	// Start wanders by a little where it is computed from an uptime; a real
	// restart sets it behind the last reading.
	if s.Delta = s.Value - last.value; s.Delta < 0 || s.Start > last.time {
		st.Resets.Add(1)
		s.Delta = s.Value
	}
	return true
}

// withSince returns a copy of total with the increase and its exemplars set; the
// hub keeps total itself, which must not refer to a chain of earlier ones.
func withSince(total, since *signal.Hist, exemplars []signal.Exemplar) *signal.Hist {
	t, s := *total, *since
	s.Since, t.Exemplars, s.Exemplars = nil, nil, exemplars
	t.Since = &s
	return &t
}

// newExemplars returns the exemplars of total that are of the interval since
// prev. A program shows one until it has another: of those without a time, what
// was there at the last reading is none.
func newExemplars(total, last *signal.Hist, prev int64) (fresh []signal.Exemplar) {
	for i := range total.Exemplars {
		e := &total.Exemplars[i]
		if e.Time > prev || e.Time == 0 && (last == nil || !slices.Contains(last.Exemplars, *e)) {
			fresh = append(fresh, *e)
		}
	}
	return fresh
}

// subtract returns what total has more than last, false if it has not grown out
// of it: it started again, or its shape changed.
func subtract(total, last *signal.Hist) (*signal.Hist, bool) {
	if last == nil || total.Count < last.Count || total.Exponential != last.Exponential || total.Scale != last.Scale ||
		!slices.Equal(total.Bounds, last.Bounds) || len(total.Counts) != len(last.Counts) {
		return nil, false
	}
	d := *total
	d.Count -= last.Count
	d.Sum -= last.Sum
	d.Since = nil
	d.Counts = slices.Clone(total.Counts)
	for i, c := range last.Counts {
		if d.Counts[i] < c {
			return nil, false
		}
		d.Counts[i] -= c
	}
	if total.Zero < last.Zero {
		return nil, false
	}
	d.Zero -= last.Zero
	var ok bool
	if d.Pos, ok = subtractBuckets(total.Pos, last.Pos); !ok {
		return nil, false
	}
	if d.Neg, ok = subtractBuckets(total.Neg, last.Neg); !ok {
		return nil, false
	}
	return &d, true
}

func subtractBuckets(total, last signal.Buckets) (signal.Buckets, bool) {
	d := signal.Buckets{Offset: total.Offset, Counts: slices.Clone(total.Counts)}
	for i, c := range last.Counts {
		if c == 0 {
			continue
		}
		at := int(last.Offset) + i - int(total.Offset)
		if at < 0 || at >= len(d.Counts) || d.Counts[at] < c {
			return signal.Buckets{}, false
		}
		d.Counts[at] -= c
	}
	return d, true
}
