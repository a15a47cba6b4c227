package exporters

import (
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// thinner leaves out points that are nearer to the one before than a vendor
// takes. It belongs to a destination with strict order, which has one sender, so
// it needs no lock. What it knows is lost at a restart: then the vendor refuses
// the first points, if they are too near.
type thinner struct {
	last  map[signal.Series]spaced
	swept int64
}

// spaced is what is known of one series.
type spaced struct {
	time int64 // of the last point that goes out

	// What points that were left out said of increases since: a counter whose
	// beginning nobody knows is sent as the increase since the point before.
	prev  int64
	delta float64
}

// thinFor is how long a series that says nothing is remembered.
const thinFor = 10 * 60 * 1000 // ms

// nothingYet reports whether s is a first reading of which nothing can be sent:
// nobody knows since when it counts, or it is a total that the vendor takes as
// increases only. It must not keep the next one, which is the first to be sent, back.
func nothingYet(s *signal.Sample) bool {
	switch s.Series.Desc().Type {
	case signal.Counter:
		return s.Prev == 0 && s.Start == 0
	case signal.CumDist:
		return s.Prev == 0 && (s.Start == 0 || s.Hist != nil && s.Hist.Exponential)
	}
	return false
}

// out decides on the points of p that are too near; the others get the
// increases of those before them: of counters. Of a distribution whose beginning
// nobody knows, or that is exponential, the increase goes with its point.
func (t *thinner) out(p *parcel, spacing int64) {
	if p.batch.Kind != signal.Metric {
		return
	}
	if t.last == nil {
		t.last = map[signal.Series]spaced{}
	}
	var now int64
	for i := range p.batch.Samples {
		s := &p.batch.Samples[i]
		now = max(now, s.Time)
		switch s.Series.Desc().Type {
		case signal.Gauge, signal.Counter, signal.CumDist:
		default:
			continue // the growth of an interval is said once
		}
		if nothingYet(s) {
			continue
		}
		of, known := t.last[s.Series]
		if known && s.Time > of.time && s.Time-of.time < spacing {
			p.fate[i] = spool.Unsupported
			if s.Prev != 0 {
				if of.prev == 0 {
					of.prev = s.Prev
				}
				of.delta += s.Delta
				t.last[s.Series] = of
			}
			continue
		}
		if of.prev != 0 && s.Prev != 0 {
			s.Prev, s.Delta = of.prev, s.Delta+of.delta
		}
		t.last[s.Series] = spaced{time: max(s.Time, of.time)}
	}
	if now-t.swept < thinFor/2 {
		return
	}
	t.swept = now
	for series, of := range t.last {
		if now-of.time > thinFor {
			delete(t.last, series)
		}
	}
}
