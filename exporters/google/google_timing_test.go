package google

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	goproto "google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// nodeBatch is what a node of a cluster gives in one interval: pods with two
// containers each and what the host has per CPU and device, n samples in all.
func nodeBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	rng := rand.New(rand.NewPCG(1, 2))
	base := []string{signal.LabelHost, "gke-prod-pool-1-4f2a", signal.LabelNode, "gke-prod-pool-1-4f2a", signal.LabelCluster, "prod"}
	add := func(name, unit string, typ signal.Type, labels ...string) {
		s := signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Unit: unit, Type: typ, Labels: signal.Labels(append(labels, base...)...)}), Time: 1700000010000, Value: 1e6 * rng.Float64()}
		if typ == signal.Counter {
			s.Start, s.Prev, s.Delta = 1690000000000, 1700000000000, s.Value/1000
		}
		b.Add(s)
	}
	for pod := 0; b.Len() < n; pod++ {
		for _, ctr := range []string{"app", "istio-proxy"} {
			l := []string{signal.LabelNamespace, "checkout", signal.LabelPod, fmt.Sprintf("web-7d4b9c6f5-x%04d", pod), signal.LabelK8sContainer, ctr,
				signal.LabelWorkload, "web", signal.LabelWorkloadKind, "Deployment", signal.LabelImage, "eu.gcr.io/p/web"}
			for _, m := range []string{signal.ContainerMemoryRSS, signal.ContainerMemoryCache, signal.ContainerMemorySwap, signal.ContainerProcesses, signal.ContainerThreads} {
				add(m, "By", signal.Gauge, l...)
			}
			for _, dir := range []string{"read", "write"} {
				add(signal.ContainerDiskIO, "By", signal.Counter, append(l, signal.LabelDevice, "/dev/sda", signal.LabelDiskDirection, dir)...)
				add("http_server_requests_total", "1", signal.Counter, append(l, "code", "200", "handler", "/api/v1/"+dir)...)
			}
		}
		for _, mode := range []string{"user", "nice", "system", "idle"} {
			add(signal.SystemCPUCoreTime, "s", signal.Counter, signal.LabelCPU, fmt.Sprint(pod), signal.LabelCPUMode, mode)
		}
	}
	b.Samples = b.Samples[:n]
	return b
}

// logBatch is n lines of an access log, or of the same as JSON.
func logBatch(n int, json bool) *signal.Batch {
	b := &signal.Batch{Kind: signal.Log}
	blk := signal.LogBlock{File: "2049:1:2", Stream: signal.InternStream(signal.Labels(
		signal.LabelHost, "node-17", signal.LabelNode, "node-17", signal.LabelCluster, "prod", signal.LabelNamespace, "default",
		signal.LabelPod, "web-7d4b9c6f5-x2x9z", signal.LabelK8sContainer, "nginx", signal.LabelService, "web", signal.LabelLogStream, "stdout"))}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		text := fmt.Appendf(nil, `10.0.%d.%d - - [14/Nov/2023:22:13:30 +0000] "GET /api/v1/items/%d?page=%d HTTP/1.1" 200 %d "https://example.com/list" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36" rt=0.%03d id=%016x`,
			rng.IntN(250), rng.IntN(250), rng.IntN(100000), rng.IntN(13), 512+rng.IntN(9000), rng.IntN(1000), rng.Uint64())
		if json {
			text = fmt.Appendf(nil, `{"time":"2023-11-14T22:13:30Z","level":"info","remote":"10.0.%d.%d","request":{"method":"GET","path":"/api/v1/items/%d","page":%d},"status":200,"bytes":%d,"agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","rt":0.%03d,"ok":true,"id":"%016x"}`,
				rng.IntN(250), rng.IntN(250), rng.IntN(100000), rng.IntN(13), 512+rng.IntN(9000), rng.IntN(1000), rng.Uint64())
		}
		blk.Append(1700000010e9+int64(i)*1e6, 6, text, nil)
	}
	b.Logs = append(b.Logs, blk)
	return b
}

// benchmark reports what encoding all of a batch costs, request by request, and
// compressing it where encoding says how.
func benchmark(b *testing.B, e exporters.Exporter, batch *signal.Batch) {
	for _, encoding := range []string{"", "gzip"} {
		b.Run("encoding="+encoding, func(b *testing.B) {
			b.ReportAllocs()
			var body, packed []byte
			raw, out := 0, 0
			for b.Loop() {
				raw, out = 0, 0
				for lo := 0; lo < batch.Len(); {
					body, lo, _ = e.Encode(body[:0], batch, lo, batch.Len())
					packed = exporters.Pack(packed[:cap(packed)], body, encoding)
					raw, out = raw+len(body), out+len(packed)
				}
			}
			n := float64(batch.Len())
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
			b.ReportMetric(float64(raw)/n, "B/item")
			b.ReportMetric(float64(out)/n, "packedB/item")
			if batch.Kind == signal.Log {
				b.SetBytes(int64(len(batch.Logs[0].Text)))
			}
		})
	}
}

func BenchmarkSamples(b *testing.B) {
	benchmark(b, Metrics("m", Default(), gke, nil), nodeBatch(10000))
}
func BenchmarkText(b *testing.B) {
	c := Default()
	c.ContainerLogs = "true"
	benchmark(b, Logs("l", c, gke, nil), logBatch(5000, false))
}
func BenchmarkJSON(b *testing.B) {
	c := Default()
	c.ContainerLogs = "true"
	benchmark(b, Logs("l", c, gke, nil), logBatch(5000, true))
}

// BenchmarkSend compares ways to hand a body to gRPC: with our codec, and by
// decoding it into the message that gRPC's own codec then encodes.
func BenchmarkSend(b *testing.B) {
	batch := nodeBatch(200)
	body, _, _ := Metrics("m", Default(), gke, nil).Encode(nil, batch, 0, 200)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			data, err := written{body}.Marshal(nil)
			if err != nil {
				b.Fatal(err)
			}
			data.Free()
		}
	})
	b.Run("decoded", func(b *testing.B) {
		b.ReportAllocs()
		codec := encoding.GetCodecV2(proto.Name)
		for b.Loop() {
			var m monitoringpb.CreateTimeSeriesRequest
			if err := goproto.Unmarshal(body, &m); err != nil {
				b.Fatal(err)
			}
			data, err := codec.Marshal(&m)
			if err != nil {
				b.Fatal(err)
			}
			data.Free()
		}
	})
}

// Encoding allocates nothing per item.
func TestEncodeDoesNotAllocate(t *testing.T) {
	c := Default()
	c.ContainerLogs = "true"
	c.Tags = []string{"team:node"}
	f := func(e exporters.Exporter, batch *signal.Batch) {
		t.Helper()
		var body []byte
		pass := func() {
			for lo := 0; lo < batch.Len(); {
				body, lo, _ = e.Encode(body[:0], batch, lo, batch.Len())
			}
		}
		pass()
		if n := testing.AllocsPerRun(5, pass); n > float64(batch.Len())/20 { // a pool may be emptied in between, and under the race detector forgets at random
			t.Errorf("%s: %v allocations for %d items", e.Name(), n, batch.Len())
		}
	}
	f(Metrics("metrics", c, gke, nil), nodeBatch(1000))
	f(Logs("text", c, gke, nil), logBatch(1000, false))
	f(Logs("json", c, gke, nil), logBatch(1000, true))
	c.Prefix = "prometheus"
	f(Metrics("prometheus", c, gke, nil), nodeBatch(1000))
}

// BenchmarkDistributions encodes exponential histograms: of values that fit 200
// fine buckets, and of those that do not, whose percentiles' buckets are split.
func BenchmarkDistributions(b *testing.B) {
	for name, doublings := range map[string]int{"narrow": 2, "wide": 11} {
		b.Run(name, func(b *testing.B) {
			h := &signal.Hist{Min: math.NaN(), Max: math.NaN(), Exponential: true, Scale: 6}
			for i := range doublings << 6 {
				h.Pos.Counts, h.Count = append(h.Pos.Counts, uint64(i%7)), h.Count+uint64(i%7)
			}
			batch := &signal.Batch{Kind: signal.Metric}
			for i := range 100 {
				s := signal.Intern(signal.Desc{Name: "took", Type: signal.Dist, Labels: signal.Labels("n", fmt.Sprint(i))})
				batch.Add(signal.Sample{Series: s, Start: 1700000000000, Time: 1700000010000, Hist: h})
			}
			e := Metrics("m", Default(), gce, nil)
			var body []byte
			b.ReportAllocs()
			for b.Loop() {
				body, _, _ = e.Encode(body[:0], batch, 0, batch.Len())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/dist")
			b.ReportMetric(float64(len(body))/100, "B/dist")
		})
	}
}
