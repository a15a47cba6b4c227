package kube

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/causeway-agent/causeway/agent/signal"
)

// heap is what is in use, after everything that can go has gone.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

type nothing struct{}

func (nothing) Put(context.Context, *signal.Batch) error { return nil }

// BenchmarkNode is a node agent with 110 pods: what an interval costs, and what
// they take in memory.
func BenchmarkNode(b *testing.B) {
	before := heap()
	p := podsWith(b, nil)
	for i := range 110 {
		o := object[*corev1.Pod](b, aPod)
		o.Name, o.UID = fmt.Sprintf("web-%d", i), types.UID(fmt.Sprintf("uid-%d", i))
		for j := range o.Status.ContainerStatuses {
			o.Status.ContainerStatuses[j].ContainerID = fmt.Sprintf("containerd://%d-%d", i, j)
		}
		if err := p.Add(o); err != nil {
			b.Fatal(err)
		}
	}
	after := heap()
	batch := &signal.Batch{Kind: signal.Metric}
	for b.Loop() {
		batch.Samples = batch.Samples[:0]
		if err := (podState{p}).Sample(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((after-before)/(1<<20), "MiB")
	b.ReportMetric(float64(len(batch.Samples)), "series")
	runtime.KeepAlive(p)
}

// BenchmarkLeader is the leader of a cluster of 1,000 nodes and 30,000 pods:
// what an interval costs, and what the objects take in memory.
func BenchmarkLeader(b *testing.B) {
	before := heap()
	k := newTestKube(b, func(c *Config) { c.APIServer = false })
	tables := k.cluster.begin(&clients{})
	fill := func(resource string, n int, manifest string, change func(i int, o kruntime.Object)) {
		for _, t := range tables {
			if t.table.kind.resource != resource {
				continue
			}
			one := object[kruntime.Object](b, manifest)
			for i := range n {
				o := one.DeepCopyObject()
				change(i, o)
				if err := t.table.Add(o); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	fill("nodes", 1000, benchNode, func(i int, o kruntime.Object) { o.(*corev1.Node).Name = fmt.Sprintf("gke-pool-%05d", i) })
	fill("deployments", 3000, benchDeployment, func(i int, o kruntime.Object) { o.(*appsv1.Deployment).Name = fmt.Sprintf("app-%05d", i) })
	fill("replicasets", 30000, benchReplicaSet, func(i int, o kruntime.Object) {
		r := o.(*appsv1.ReplicaSet)
		r.Name = fmt.Sprintf("app-%05d-%d", i/10, i%10)
		if i%10 != 0 {
			zero := int32(0)
			r.Spec.Replicas, r.Status.Replicas = &zero, 0
		}
	})
	fill("services", 3000, benchService, func(i int, o kruntime.Object) { o.(*corev1.Service).Name = fmt.Sprintf("app-%05d", i) })
	fill("endpointslices", 3000, benchSlice, func(i int, o kruntime.Object) {
		s := o.(*discoveryv1.EndpointSlice)
		s.Name, s.Labels[discoveryv1.LabelServiceName] = fmt.Sprintf("app-%05d-x", i), fmt.Sprintf("app-%05d", i)
	})
	after := heap()
	series := 0
	for _, t := range tables {
		_, n, _ := t.table.size()
		series += n
	}
	for b.Loop() {
		if err := k.cluster.put(b.Context(), tables, nothing{}, time.UnixMilli(1)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((after-before)/(1<<20), "MiB")
	b.ReportMetric(float64(series), "series")
	runtime.KeepAlive(tables)
}

const benchNode = `
apiVersion: v1
kind: Node
metadata: {name: node, creationTimestamp: "2026-01-02T03:04:05Z"}
status:
  capacity: {cpu: "16", memory: 64Gi, pods: "110", ephemeral-storage: 100Gi, hugepages-2Mi: "0", hugepages-1Gi: "0"}
  allocatable: {cpu: 15890m, memory: 57Gi, pods: "110", ephemeral-storage: 50Gi, hugepages-2Mi: "0", hugepages-1Gi: "0"}
  addresses: [{type: InternalIP, address: 10.1.0.4}]
  conditions: [{type: Ready, status: "True"}, {type: MemoryPressure, status: "False"}, {type: DiskPressure, status: "False"}, {type: PIDPressure, status: "False"}]
  nodeInfo: {kernelVersion: 6.8.0, osImage: COS, containerRuntimeVersion: containerd://2.0, kubeletVersion: v1.37.2, systemUUID: abc}
`

const benchDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: shop, generation: 5, creationTimestamp: "2026-01-02T03:04:05Z"}
spec: {replicas: 10, selector: {matchLabels: {a: b}}, template: {}, strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%}}}
status: {observedGeneration: 5, replicas: 10, readyReplicas: 10, availableReplicas: 10, updatedReplicas: 10, conditions: [{type: Available, status: "True", reason: MinimumReplicasAvailable}, {type: Progressing, status: "True", reason: NewReplicaSetAvailable}]}
`

const benchReplicaSet = `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r, namespace: shop, generation: 1, creationTimestamp: "2026-01-02T03:04:05Z", ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: d, uid: u, controller: true}]}
spec: {replicas: 10, selector: {matchLabels: {a: b}}}
status: {observedGeneration: 1, replicas: 10, readyReplicas: 10, fullyLabeledReplicas: 10}
`

const benchService = `
apiVersion: v1
kind: Service
metadata: {name: s, namespace: shop, uid: 5f0c1c0e-0000-0000-0000-000000000000, creationTimestamp: "2026-01-02T03:04:05Z"}
spec: {type: ClusterIP, clusterIP: 10.2.0.9}
`

const benchSlice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e, namespace: shop, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}]
`
