package datadog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// hostBatch is what a node with 32 cores, 8 disks and 8 interfaces gives in one
// interval, in the order its samplers give it.
func hostBatch() *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	rng := rand.New(rand.NewPCG(1, 2))
	host := []string{signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelEnv, "prod"}
	add := func(name string, typ signal.Type, v float64, labels ...string) {
		s := signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: typ, Labels: signal.Labels(append(labels, host...)...)}), Time: 1700000010000, Value: v * (1 + rng.Float64())}
		if typ == signal.Counter {
			s.Prev, s.Delta = 1700000000000, s.Value/1000
		}
		b.Add(s)
	}
	for core := range 32 {
		for i, mode := range []string{"user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"} {
			add(signal.SystemCPUCoreTime, signal.Counter, 12345.67+float64(core*i), signal.LabelCPU, fmt.Sprint(core), signal.LabelCPUMode, mode)
		}
	}
	for i := range 8 {
		d := "nvme" + fmt.Sprint(i) + "n1"
		for _, dir := range []string{"read", "write"} {
			for _, m := range []string{signal.SystemDiskIO, signal.SystemDiskOperations, signal.SystemDiskMerged, signal.SystemDiskOperationTime} {
				add(m, signal.Counter, 987654321+float64(i), signal.LabelDevice, d, signal.LabelDiskDirection, dir)
			}
			for _, m := range []string{signal.SystemNetworkIO, signal.SystemNetworkPackets, signal.SystemNetworkErrors, signal.SystemNetworkDropped} {
				add(m, signal.Counter, 987654321+float64(i), signal.LabelInterface, "eth"+fmt.Sprint(i), signal.LabelNetDirection, map[string]string{"read": "receive", "write": "transmit"}[dir])
			}
		}
	}
	return b
}

// ownBatch is n scraped series.
func ownBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "http_server_requests_total", Type: signal.Counter, Labels: signal.Labels(
			signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelNamespace, "default",
			signal.LabelPod, "web-7d4b9c6f5-x2x9z", signal.LabelK8sContainer, "app", "code", "200", "handler", fmt.Sprint("/api/v1/", i))}),
			Prev: 1700000000000, Time: 1700000010000, Value: 123456 + float64(i), Delta: float64(rng.IntN(10000))})
	}
	return b
}

// logBatch is n lines of an access log.
func logBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Log}
	blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels(
		signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelNamespace, "default",
		signal.LabelPod, "web-7d4b9c6f5-x2x9z", signal.LabelK8sContainer, "nginx", signal.LabelService, "web", signal.LabelLogStream, "stdout"))}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		blk.Append(1700000010e9+int64(i)*1e6, 6, fmt.Appendf(nil,
			`10.0.%d.%d - - [14/Nov/2023:22:13:30 +0000] "GET /api/v1/items/%d?page=%d HTTP/1.1" 200 %d "https://example.com/list" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36" rt=0.%03d id=%016x`,
			rng.IntN(250), rng.IntN(250), rng.IntN(100000), rng.IntN(13), 512+rng.IntN(9000), rng.IntN(1000), rng.Uint64()), nil)
	}
	b.Logs = append(b.Logs, blk)
	return b
}

// benchmark reports what encoding and compressing costs; for lines, B/op and
// MB/s are of what was put in.
func benchmark(b *testing.B, e exporters.Exporter, batch *signal.Batch) {
	for _, encoding := range []string{"plain", "zstd", "gzip", "deflate"} {
		b.Run(encoding, func(b *testing.B) {
			b.ReportAllocs()
			if encoding == "plain" {
				encoding = ""
			}
			var body, packed []byte
			for b.Loop() {
				body, _, _ = e.Encode(body[:0], batch, 0, batch.Len())
				packed = exporters.Pack(packed[:cap(packed)], body, encoding)
			}
			n := float64(batch.Len())
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
			b.ReportMetric(float64(len(body))/n, "B/item")
			b.ReportMetric(float64(len(packed))/n, "packedB/item")
			in := len(body)
			if batch.Kind == signal.Log {
				in = len(batch.Logs[0].Text)
			}
			b.SetBytes(int64(in))
		})
	}
}

func BenchmarkHost(b *testing.B)  { benchmark(b, Metrics("m", Default(), nil), hostBatch()) }
func BenchmarkOwn(b *testing.B)   { benchmark(b, Metrics("m", Default(), nil), ownBatch(5000)) }
func BenchmarkLines(b *testing.B) { benchmark(b, Logs("l", Default(), nil), logBatch(1000)) }

// kubeBatch is what n pods of two containers give of layer 4 in one interval.
func kubeBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	for i := range n {
		id := []string{signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelNode, "node-17.example.internal",
			signal.LabelNamespace, "default", signal.LabelPod, fmt.Sprint("web-7d4b9c6f5-", i), signal.LabelPodUID, fmt.Sprint("0b6e7a52-8a0e-4c55-9f6b-", i)}
		add := func(name string, typ signal.Type, v float64, labels ...string) {
			series := signal.Intern(signal.Desc{Name: name, Type: typ, Labels: signal.Labels(append(labels, id...)...)})
			b.Add(signal.Sample{Series: series, Time: 1700000010000, Value: v})
		}
		add("kube_pod_created", signal.Gauge, 1699999000)
		add("kube_pod_start_time", signal.Gauge, 1699999001)
		add("kube_pod_status_phase", signal.Gauge, 1, "phase", "Running")
		add("kube_pod_status_ready", signal.Gauge, 1, "condition", "true")
		add("kube_pod_status_scheduled", signal.Gauge, 1, "condition", "true")
		for _, c := range []string{"app", "proxy"} {
			for _, res := range [][2]string{{"cpu", "core"}, {"memory", "byte"}, {"ephemeral_storage", "byte"}} {
				add("kube_pod_container_resource_requests", signal.Gauge, 1e8, signal.LabelK8sContainer, c, "resource", res[0], "unit", res[1])
				add("kube_pod_container_resource_limits", signal.Gauge, 2e8, signal.LabelK8sContainer, c, "resource", res[0], "unit", res[1])
			}
			for _, name := range []string{"waiting", "running", "terminated", "ready"} {
				add("kube_pod_container_status_"+name, signal.Gauge, 1, signal.LabelK8sContainer, c)
			}
			add("kube_pod_container_status_restarts_total", signal.Counter, 7, signal.LabelK8sContainer, c)
			add("k8s.container.cpu.request", signal.Gauge, 0.5, signal.LabelK8sContainer, c)
			add("k8s.container.status.state", signal.Gauge, 1, signal.LabelK8sContainer, c, labelState, "waiting")
			add("k8s.container.status.reason", signal.Gauge, 1, signal.LabelK8sContainer, c, labelReason, "CrashLoopBackOff")
		}
	}
	return b
}

func BenchmarkKube(b *testing.B) { benchmark(b, Metrics("m", Default(), nil), kubeBatch(110)) }
