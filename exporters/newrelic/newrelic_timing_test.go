package newrelic

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
	node := []string{signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelEnv, "prod"}
	add := func(name string, v float64, labels ...string) {
		s := signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: signal.Counter, Labels: signal.Labels(append(labels, node...)...)}),
			Time: 1700000010000, Value: v * (1 + rng.Float64())}
		s.Prev, s.Delta = 1700000000000, s.Value/1000
		b.Add(s)
	}
	for core := range 32 {
		for i, mode := range []string{"user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"} {
			add(signal.SystemCPUCoreTime, 12345.67+float64(core*i), signal.LabelCPU, fmt.Sprint(core), signal.LabelCPUMode, mode)
		}
	}
	for i := range 8 {
		for _, dir := range []string{"read", "write"} {
			for _, m := range []string{signal.SystemDiskIO, signal.SystemDiskOperations, signal.SystemDiskMerged, signal.SystemDiskOperationTime} {
				add(m, 987654321+float64(i), signal.LabelDevice, fmt.Sprintf("nvme%dn1", i), signal.LabelDiskDirection, dir)
			}
			for _, m := range []string{signal.SystemNetworkIO, signal.SystemNetworkPackets, signal.SystemNetworkErrors, signal.SystemNetworkDropped} {
				add(m, 987654321+float64(i), signal.LabelInterface, fmt.Sprintf("eth%d", i), signal.LabelNetDirection, map[string]string{"read": "receive",
					"write": "transmit"}[dir])
			}
		}
	}
	return b
}

// containerBatch is n containers of as many pods.
func containerBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	rng := rand.New(rand.NewPCG(1, 2))
	for range n {
		labels := signal.Labels(signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelNamespace, "default",
			signal.LabelNode, "node-17",
			signal.LabelPod, fmt.Sprintf("web-7d4b9c6f5-%05x", rng.Uint32()), signal.LabelPodUID, fmt.Sprintf("%032x", rng.Uint64()), signal.LabelK8sContainer, "app",
			signal.LabelContainerID, fmt.Sprintf("%016x%016x%016x%016x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()), signal.LabelImage,
			"registry.example.com/web", signal.LabelDeployment, "web")
		for _, m := range []string{signal.ContainerCPUUsage, signal.ContainerCPULimit, signal.ContainerCPUShares, signal.ContainerMemoryUsage,
			signal.ContainerMemoryWorkingSet,
			signal.ContainerMemoryRSS, signal.ContainerMemoryCache, signal.ContainerMemoryLimit, signal.ContainerProcesses, signal.ContainerThreads,
			signal.ContainerUptime, signal.ContainerStartTime} {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: m, Type: signal.Gauge, Labels: labels}), Time: 1700000010000,
				Value: float64(rng.IntN(1 << 30))})
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

// clusterBatch is what kube-state-metrics' families give: each sample of
// another pod than the one before.
func clusterBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	for _, m := range []string{"kube_pod_info", "kube_pod_status_ready", "kube_pod_created", "kube_pod_start_time", "kube_pod_status_scheduled"} {
		for i := range n {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: m, Type: signal.Gauge, Labels: signal.Labels(
				signal.LabelCluster, "production", signal.LabelNamespace, "default", signal.LabelPod, fmt.Sprintf("web-7d4b9c6f5-%05x", i),
				signal.LabelNode, fmt.Sprintf("node-%d", i%50), signal.LabelDeployment, "web", "condition", "true")}), Time: 1700000010000, Value: 1})
		}
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
			`10.0.%d.%d - - [14/Nov/2023:22:13:30 +0000] "GET /api/v1/items/%d?page=%d HTTP/1.1" 200 %d "https://example.com/list" `+
				`"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36" rt=0.%03d id=%016x`,
			rng.IntN(250), rng.IntN(250), rng.IntN(100000), rng.IntN(13), 512+rng.IntN(9000), rng.IntN(1000), rng.Uint64()), nil)
	}
	b.Logs = append(b.Logs, blk)
	return b
}

// benchmark reports what encoding and compressing costs, for both APIs; for
// lines, MB/s are of what was put in.
func benchmark(b *testing.B, make func(api string) exporters.Exporter, batch *signal.Batch) {
	for _, api := range []string{"sdk", "otlp"} {
		for _, encoding := range []string{"plain", "gzip", "zstd"} {
			if api == "sdk" && encoding == "zstd" {
				continue
			}
			b.Run(api+"/"+encoding, func(b *testing.B) {
				b.ReportAllocs()
				if encoding == "plain" {
					encoding = ""
				}
				e := make(api)
				var body, packed []byte
				for b.Loop() {
					body, _, _ = e.Encode(body[:0], batch, 0, batch.Len())
					packed = exporters.Pack(packed[:cap(packed)], body, encoding)
				}
				n := float64(batch.Len())
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
				b.ReportMetric(float64(len(body))/n, "B/item")
				b.ReportMetric(float64(len(packed))/n, "packedB/item")
				if batch.Kind == signal.Log {
					b.SetBytes(int64(len(batch.Logs[0].Text)))
				}
			})
		}
	}
}

func newMetrics(api string) exporters.Exporter { return Metrics("m", config(api), nil) }
func newLogs(api string) exporters.Exporter    { return Logs("l", config(api), nil) }

func BenchmarkHost(b *testing.B)       { benchmark(b, newMetrics, hostBatch()) }
func BenchmarkContainers(b *testing.B) { benchmark(b, newMetrics, containerBatch(200)) }
func BenchmarkOwn(b *testing.B)        { benchmark(b, newMetrics, ownBatch(5000)) }
func BenchmarkCluster(b *testing.B)    { benchmark(b, newMetrics, clusterBatch(1000)) }
func BenchmarkLines(b *testing.B)      { benchmark(b, newLogs, logBatch(1000)) }
