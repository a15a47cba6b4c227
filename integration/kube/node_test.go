//go:build kube

package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/container/cadvisor"
	"github.com/causeway-agent/causeway/agent/signal"
)

// start starts a cluster that ends with the test, or skips it.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	if why := Missing(o); why != "" {
		t.Skip(why) // the one place where a test is left out: this machine cannot run it
	}
	o.Say = os.Stderr
	began := time.Now()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began).Round(time.Second))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs(15))
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// apply applies a manifest, and fails the test if that is refused.
func apply(t *testing.T, c *Cluster, manifest string) {
	t.Helper()
	if _, err := c.Kubectl(t.Context(), manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// until waits for done to return nil, for two minutes at most.
func until(t *testing.T, c *Cluster, what string, done func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := c.Until(ctx, what, done); err != nil {
		t.Fatal(err)
	}
}

// wants waits until kubectl prints want.
func wants(t *testing.T, c *Cluster, want string, args ...string) {
	t.Helper()
	until(t, c, strings.Join(args, " "), func() error {
		out, err := c.Kubectl(t.Context(), "", args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("%q, not %q", out, want)
		}
		return err
	})
}

// account makes a service account in the namespace demo with the given rules
// and returns a file with its token.
func account(t *testing.T, c *Cluster, name string, resources ...string) string {
	t.Helper()
	apply(t, c, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: demo}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules: [{apiGroups: [""], resources: [%[2]s], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: demo}]
`, name, strings.Join(resources, ", ")))
	token, err := c.Kubectl(t.Context(), "", "-n", "demo", "create", "token", name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// kubelet returns a provider that asks c's kubelet with the token in file.
func kubelet(t *testing.T, c *Cluster, token string) *container.Kubelet {
	conf := container.Default()
	conf.Kubelet = container.KubeletConfig{URL: "https://" + c.NodeIP + ":10250", CAFile: c.CA, TokenFile: token}
	k := container.NewKubelet(conf, c.NodeName, os.Getenv, nil, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { k.Close() })
	return k
}

const workloads = `
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: registry.local/workload:1
        args: [serve=:8080, every=100ms, log=20, wait]
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: scratch, mountPath: /tmp}]
      volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: demo}
spec:
  hostNetwork: true
  containers: [{name: app, image: registry.local/workload:1, args: [every=1s, wait]}]
---
apiVersion: v1
kind: Pod
metadata: {name: crash, namespace: demo}
spec:
  containers: [{name: app, image: registry.local/workload:1, args: [log=3, exit=3]}]
---
apiVersion: v1
kind: Pod
metadata: {name: hungry, namespace: demo}
spec:
  containers:
  - {name: app, image: registry.local/workload:1, args: [log=3, eat=100000000, wait], resources: {limits: {memory: 24Mi}}}
`

// found is what a provider said, by series.
type found map[signal.Desc]float64

// read takes samples of s until enough says so.
func read(t *testing.T, c *Cluster, what string, p container.Provider, enough func(found) error) found {
	t.Helper()
	s := container.New(container.Default(), p)
	all := found{}
	until(t, c, what, func() error {
		b := &signal.Batch{Kind: signal.Metric}
		err := s.Sample(t.Context(), b)
		for i := range b.Samples {
			all[b.Samples[i].Series.Desc()] = b.Samples[i].Value
		}
		if err != nil {
			return err
		}
		return enough(all)
	})
	return all
}

// has complains unless there is a series of that name with all these labels
// (key, value, …), and returns its value otherwise.
func (f found) has(name string, labels ...string) (float64, error) {
	for d, v := range f {
		ok := d.Name == name
		for i := 0; i < len(labels); i += 2 {
			ok = ok && signal.Lookup(d.Labels, labels[i]) == labels[i+1]
		}
		if ok {
			return v, nil
		}
	}
	return 0, fmt.Errorf("no %s with %q", name, labels)
}

// of returns the series of containers in the namespace demo whose name begins
// with prefix, but for those that differ by nature.
func (f found) of(prefix string) map[string]float64 {
	m := map[string]float64{}
	for d, v := range f {
		if strings.HasPrefix(d.Name, prefix) && signal.Lookup(d.Labels, signal.LabelNamespace) == "demo" {
			b := &signal.Batch{Kind: signal.Metric}
			b.Add(signal.Sample{Series: signal.Intern(d)})
			text, _, _ := strings.Cut(signal.Format(b), " @")
			m[strings.TrimSuffix(strings.TrimSpace(text), " 0")] = v
		}
	}
	return m
}

func TestNode(t *testing.T) {
	c := start(t, Options{Node: true})
	apply(t, c, workloads)
	wants(t, c, "2", "-n", "demo", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	wants(t, c, "OOMKilled", "-n", "demo", "get", "pod", "hungry", "-o", "jsonpath={.status.containerStatuses[0]}")
	wants(t, c, "True", "-n", "demo", "get", "pod", "host", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	wants(t, c, `"exitCode":3`, "-n", "demo", "get", "pod", "crash", "-o", "jsonpath={.status.containerStatuses[0].lastState}")
	t.Run("the kubelet tells all there is", func(t *testing.T) { kubeletTellsAll(t, c) })
	t.Run("kubelet and cAdvisor say the same", func(t *testing.T) { sameFromBoth(t, c) })
	t.Run("each rule is needed", func(t *testing.T) { eachRuleIsNeeded(t, c) })
}

func kubeletTellsAll(t *testing.T, c *Cluster) {
	k := kubelet(t, c, account(t, c, "all", "nodes/metrics", "nodes/stats", "nodes/pods"))
	all := read(t, c, "the kubelet to tell all", k, func(f found) error {
		for _, want := range [][]string{
			{signal.ContainerCPUTime, signal.LabelK8sContainer, "app", signal.LabelRuntime, "containerd", signal.LabelImage, "registry.local/workload"},
			{signal.ContainerThrottledTime, signal.LabelK8sContainer, "app"},
			{signal.ContainerMemoryLimit, signal.LabelK8sContainer, "app"},
			{signal.ContainerCPUUsage, signal.LabelK8sContainer, "app"},
			{signal.PodNetworkPackets, signal.LabelNamespace, "demo", signal.LabelNetDirection, "receive"},
			{signal.PodCPUUsage, signal.LabelNamespace, "demo"},
			{signal.PodFilesystemUsage, signal.LabelNamespace, "demo"},
			{signal.NodeCPUUsage, signal.LabelNode, c.NodeName},
			{signal.NodeFilesystemUsage, signal.LabelNode, c.NodeName},
			{container.VolumeUsage, container.LabelVolume, "scratch"},
			{container.K8sCPURequest, signal.LabelNamespace, "demo"},
			{container.K8sRestarts, signal.LabelPod, "crash"},
			{container.K8sLastTerminated, signal.LabelPod, "hungry", container.LabelLastTerminated, "OOMKilled"},
			{container.K8sReason, signal.LabelPod, "crash"},
			{container.K8sProbes, container.LabelProbe, "readiness", container.LabelProbeResult, "successful"},
		} {
			if _, err := f.has(want[0], want[1:]...); err != nil {
				return err
			}
		}
		return nil
	})
	if v, _ := all.has(container.K8sRestarts, signal.LabelPod, "crash"); v < 1 {
		t.Errorf("the crashing pod has restarted %v times", v)
	}
	if v, _ := all.has(container.K8sLastExitCode, signal.LabelPod, "crash"); v != 3 {
		t.Errorf("and its exit code was %v", v)
	}
	if _, err := all.has(signal.PodNetworkIO, signal.LabelPod, "host"); err == nil {
		t.Error("the node's network is reported as that of a pod on it")
	}
}

func sameFromBoth(t *testing.T, c *Cluster) {
	k := kubelet(t, c, account(t, c, "same", "nodes/metrics", "nodes/stats", "nodes/pods"))
	web := func(f found) map[string]float64 {
		m := f.of("container.")
		maps.DeleteFunc(m, func(series string, _ float64) bool {
			return !strings.Contains(series, `k8s.pod.name="web-`) || strings.HasPrefix(series, "container.filesystem.") // the kubelet asks the runtime for those
		})
		return m
	}
	enough := func(f found) error {
		n := 0
		for series := range web(f) {
			if strings.HasPrefix(series, signal.ContainerCPUUsage) { // the second reading
				n++
			}
		}
		if n != 2 {
			return fmt.Errorf("%d containers of two", n)
		}
		return nil
	}
	fromKubelet := web(read(t, c, "the kubelet", k, enough))
	p := cadvisor.New(container.Default())
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	fromCAdvisor := web(read(t, c, "cAdvisor", p, enough))
	for _, series := range slices.Sorted(maps.Keys(fromCAdvisor)) {
		v, ok := fromKubelet[series]
		if !ok {
			t.Errorf("only cAdvisor: %s", series)
			continue
		}
		// They read at other moments; what does not change is equal.
		for _, fixed := range []string{"container.cpu.limit", "container.cpu.quota", "container.cpu.period", "container.cpu.shares", "container.memory.limit"} {
			if strings.HasPrefix(series, fixed) && v != fromCAdvisor[series] {
				t.Errorf("%s: %v, and cAdvisor says %v", series, v, fromCAdvisor[series])
			}
		}
	}
	for _, series := range slices.Sorted(maps.Keys(fromKubelet)) {
		if _, ok := fromCAdvisor[series]; !ok {
			t.Errorf("only the kubelet: %s", series)
		}
	}
	t.Logf("%d series from both", len(fromKubelet))
}

// eachRuleIsNeeded takes away one rule after the other: the error names it, and
// what the others give is still there.
func eachRuleIsNeeded(t *testing.T, c *Cluster) {
	rules := []string{"nodes/metrics", "nodes/stats", "nodes/pods"}
	gives := map[string]string{"nodes/metrics": signal.ContainerThrottledTime, "nodes/stats": container.VolumeUsage, "nodes/pods": container.K8sRestarts}
	for i, missing := range rules {
		rest := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return r == missing })
		k := kubelet(t, c, account(t, c, fmt.Sprint("without-", i), rest...))
		s := container.New(container.Default(), k)
		b := &signal.Batch{Kind: signal.Metric}
		err := s.Sample(t.Context(), b)
		for _, r := range rules {
			named := err != nil && strings.Contains(err.Error(), "["+r+"]")
			if named != (r == missing) {
				t.Errorf("without %s: %v", missing, err)
			}
		}
		names := map[string]bool{}
		for i := range b.Samples {
			names[b.Samples[i].Series.Desc().Name] = true
		}
		for r, name := range gives {
			if names[name] != (r != missing) {
				t.Errorf("without %s: %s is there: %v", missing, name, names[name])
			}
		}
	}
}
