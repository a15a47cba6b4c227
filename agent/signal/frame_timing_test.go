package signal

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// cadvisorLike makes a batch of n distinct series as a kubelet's cAdvisor page
// has them: long label sets, counters with prev, values of all sizes.
func cadvisorLike(n int) *Batch {
	rng := rand.New(rand.NewPCG(1, 1))
	b := &Batch{Kind: Metric}
	for i := range n {
		pod := i / 25
		b.Add(Sample{
			Series: Intern(Desc{
				Name: fmt.Sprintf("container.metric.%d.total", i%25), Unit: "By", Type: Counter,
				Labels: Labels(LabelContainerID, fmt.Sprintf("%064x", pod*7919), LabelImage, "registry.example/team/service", LabelPod, fmt.Sprintf("service-%d-7c9f", pod), LabelNamespace, "production", LabelK8sContainer, "main"),
			}),
			Start: 1690000000000, Prev: 1700000000000, Time: 1700000010000,
			Value: float64(rng.IntN(1 << 40)), Delta: float64(rng.IntN(1 << 20)),
		})
	}
	return b
}

func BenchmarkAppendFrameSamples(b *testing.B) {
	for _, codec := range []byte{codecNone, codecS2} {
		b.Run([]string{"none", "s2"}[codec], func(b *testing.B) {
			batch := cadvisorLike(10000)
			var frame []byte
			b.ReportAllocs()
			for range b.N {
				frame = appendFrame(frame[:0], batch, codec)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch.Len()), "ns/sample")
			b.ReportMetric(float64(len(frame))/float64(batch.Len()), "B/sample")
		})
	}
}

func BenchmarkAppendFromFrameSamples(b *testing.B) {
	for _, codec := range []byte{codecNone, codecS2} {
		b.Run([]string{"none", "s2"}[codec], func(b *testing.B) {
			batch := cadvisorLike(10000)
			frame := appendFrame(nil, batch, codec)
			var got Batch
			b.ReportAllocs()
			for range b.N {
				got.Reset(Metric)
				if err := AppendFromFrame(&got, frame); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch.Len()), "ns/sample")
		})
	}
}

func logLike(lines int) *Batch {
	rng := rand.New(rand.NewPCG(1, 1))
	b := &Batch{Kind: Log, Logs: make([]LogBlock, 1)}
	blk := &b.Logs[0]
	blk.Stream = InternStream(Labels(LabelPod, "a", LabelNamespace, "b"))
	for i := range lines {
		line := fmt.Sprintf(`{"ts":"2026-11-23T10:00:00.%06dZ","level":"info","msg":"request served","path":"/api/v1/items/%d","status":200,"took_ms":%d,"trace_id":"%016x%016x"%s}`,
			i, rng.IntN(1e6), rng.IntN(500), rng.Uint64(), rng.Uint64(), strings.Repeat(" ", 60)[:rng.IntN(60)])
		blk.Append(1700000000000000000+int64(i), 6, []byte(line), nil)
	}
	return b
}

func BenchmarkAppendFrameLines(b *testing.B) {
	for _, codec := range []byte{codecNone, codecS2} {
		b.Run([]string{"none", "s2"}[codec], func(b *testing.B) {
			batch := logLike(5000)
			var frame []byte
			b.SetBytes(int64(len(batch.Logs[0].Text)))
			b.ReportAllocs()
			for range b.N {
				frame = appendFrame(frame[:0], batch, codec)
			}
			b.ReportMetric(float64(len(frame))/float64(len(batch.Logs[0].Text)), "ratio")
		})
	}
}

func BenchmarkAppendFromFrameLines(b *testing.B) {
	for _, codec := range []byte{codecNone, codecS2} {
		b.Run([]string{"none", "s2"}[codec], func(b *testing.B) {
			batch := logLike(5000)
			frame := appendFrame(nil, batch, codec)
			var got Batch
			b.SetBytes(int64(len(batch.Logs[0].Text)))
			b.ReportAllocs()
			for range b.N {
				got.Reset(Log)
				if err := AppendFromFrame(&got, frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestCodingSamplesAllocatesNothing(t *testing.T) {
	batch := cadvisorLike(1000)
	frame := AppendFrame(nil, batch)
	if n := testing.AllocsPerRun(20, func() { frame = AppendFrame(frame[:0], batch) }); n > 50 { // the pool forgets on purpose under the race detector
		t.Errorf("AppendFrame: %v allocations for a batch of 1000", n)
	}
	var got Batch
	if n := testing.AllocsPerRun(20, func() {
		got.Reset(Metric)
		if err := AppendFromFrame(&got, frame); err != nil {
			t.Fatal(err)
		}
	}); n > 20 { // the growing name and label buffers, per frame and not per sample
		t.Errorf("AppendFromFrame: %v allocations for a frame of 1000", n)
	}
}
