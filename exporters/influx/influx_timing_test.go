package influx

import (
	"fmt"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// hostBatch is what a node with 32 cores, 8 disks and 8 interfaces gives in one
// interval, in the order its samplers give it.
func hostBatch() *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	host := []string{signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelEnv, "prod"}
	add := func(name string, typ signal.Type, v float64, labels ...string) {
		s := signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: typ, Labels: signal.Labels(append(labels, host...)...)}), Time: 1700000010000, Value: v}
		if typ == signal.Counter {
			s.Prev, s.Delta = 1700000000000, v/1000
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

// kubeBatch is what layer 4 gives in one interval of n Deployments and as many
// containers, in the order it gives it.
func kubeBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	add := func(name string, v float64, labels ...string) {
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: signal.Gauge,
			Labels: signal.Labels(append(labels, signal.LabelCluster, "production", signal.LabelNamespace, "default")...)}), Time: 1700000010000, Value: v})
	}
	for i := range n {
		id := []string{signal.LabelDeployment, fmt.Sprint("web-", i)}
		for _, family := range []string{"created", "metadata_generation", "status_observed_generation", "status_replicas", "status_replicas_ready",
			"status_replicas_available", "status_replicas_unavailable", "status_replicas_updated", "spec_replicas", "spec_paused"} {
			add("kube_deployment_"+family, float64(i), id...)
		}
		add("kube_deployment_status_condition", 1, append(id, "condition", "Available", "status", "true", "reason", "MinimumReplicasAvailable")...)
		id = []string{signal.LabelHost, "node-17", signal.LabelNode, "node-17", signal.LabelPod, fmt.Sprint("web-7d4b9c6f5-", i),
			signal.LabelPodUID, fmt.Sprint("u", i), signal.LabelK8sContainer, "app", signal.LabelWorkloadKind, "Deployment", signal.LabelWorkload, "web", signal.LabelDeployment, "web"}
		for _, family := range []string{"requests", "limits"} {
			add("kube_pod_container_resource_"+family, 0.25, append(id, "resource", "cpu", "unit", "core")...)
			add("kube_pod_container_resource_"+family, 1<<28, append(id, "resource", "memory", "unit", "byte")...)
		}
		for _, family := range []string{"waiting", "running", "terminated", "ready", "restarts_total"} {
			add("kube_pod_container_status_"+family, float64(i%2), id...)
		}
	}
	return b
}

// ownBatch is n scraped series, each a line of its own.
func ownBatch(n int) *signal.Batch {
	b := &signal.Batch{Kind: signal.Metric}
	for i := range n {
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "http_server_requests_total", Type: signal.Counter, Labels: signal.Labels(
			signal.LabelHost, "node-17.example.internal", signal.LabelCluster, "production", signal.LabelNamespace, "default",
			signal.LabelPod, "web-7d4b9c6f5-x2x9z", signal.LabelK8sContainer, "app", "code", "200", "handler", fmt.Sprint("/api/v1/", i))}),
			Prev: 1700000000000, Time: 1700000010000, Value: 123456 + float64(i), Delta: float64(i % 100)})
	}
	return b
}

func benchmark(b *testing.B, e exporters.Exporter, batch *signal.Batch) {
	for _, encoding := range []string{"", "gzip"} {
		b.Run(map[string]string{"": "plain", "gzip": "gzip"}[encoding], func(b *testing.B) {
			b.ReportAllocs()
			var body, packed []byte
			for b.Loop() {
				body, _, _ = e.Encode(body[:0], batch, 0, batch.Len())
				packed = exporters.Pack(packed[:cap(packed)], body, encoding)
			}
			n := float64(batch.Len())
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/item")
			b.ReportMetric(float64(len(body))/n, "B/item")
			b.ReportMetric(float64(len(packed))/n, "packedB/item")
			b.SetBytes(int64(len(body)))
		})
	}
}

func BenchmarkHost(b *testing.B)  { benchmark(b, Metrics("m", Default(), nil), hostBatch()) }
func BenchmarkKube(b *testing.B)  { benchmark(b, Metrics("m", Default(), nil), kubeBatch(250)) }
func BenchmarkOwn(b *testing.B)   { benchmark(b, Metrics("m", Default(), nil), ownBatch(5000)) }
func BenchmarkLines(b *testing.B) { benchmark(b, Logs("l", Default(), nil), logBatch(5000)) }
