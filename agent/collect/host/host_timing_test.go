package host

import (
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// budget is what a Sample of the larger fixture may allocate once its series are
// known: one for the path of each of its 50 files, a few for each of its 5
// processes and 7 mounts, its one error, and nothing for any of its 500 samples.
const budget = 140

func TestASteadySampleAllocatesNothingPerSeries(t *testing.T) {
	h := fixture(t, "linux-6.8", nil)
	b := &signal.Batch{Kind: signal.Metric}
	once := func() {
		b.Reset(signal.Metric)
		_ = h.Sample(t.Context(), b) // one mount is broken
	}
	once()
	if n := testing.AllocsPerRun(20, once); n > budget {
		t.Errorf("%v allocations for %d samples, the budget is %d", n, b.Len(), budget)
	}
}

// BenchmarkSample measures one call on the machine at hand, whole and by part.
func BenchmarkSample(b *testing.B) {
	h := New(Default())
	batch := &signal.Batch{Kind: signal.Metric}
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			batch.Reset(signal.Metric)
			_ = h.Sample(b.Context(), batch)
		}
		b.ReportMetric(float64(batch.Len()), "samples")
	})
	for _, part := range h.Parts() {
		b.Run(part.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset(signal.Metric)
				_ = part.sample(b.Context(), &pass{b: batch, tree: h.tree, stat: &h.stat, now: 1, boot: h.boot})
			}
		})
	}
}

func TestThisMachine(t *testing.T) {
	h := New(Default())
	b, err := sample(t, h)
	t.Logf("%d samples, error: %v\n%s", b.Len(), err, signal.Format(b))
	v := values(b)
	for _, name := range []string{`system.cpu.time{cpu.mode="user"}`, "system.memory.limit", "system.uptime", "system.cpu.logical.count"} {
		if v[name] <= 0 {
			t.Errorf("%s is %v", name, v[name])
		}
	}
	for _, s := range b.Samples {
		if s.Start < 0 || s.Start > time.Now().UnixMilli()+60_000 {
			t.Errorf("%s starts at %d", s.Series.Desc().Name, s.Start)
		}
	}
}
