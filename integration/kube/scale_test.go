//go:build kube

package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const podsOnNode = 110 // of node-0, the kubelet's own limit

// goal is what the agents may take.
type goal struct {
	leader, node int     // MiB, at most ever
	cpu          float64 // of a core, by the node's agent
}

// sizes are what a made-up cluster has: each Deployment has ten pods and two
// replica sets, of which one is old, and every second one a Service.
type sizes struct{ nodes, pods int }

// TestScale measures agents beside a control plane with made-up nodes and pods:
// the leader's memory, and a full node's memory and time. The long form has the
// goals the agent is built to. The short form has a tenth of the objects, and the
// bounds that hold there.
func TestScale(t *testing.T) {
	size, over, want := sizes{100, 3000}, time.Minute, goal{leader: 110, node: 80, cpu: 0.02}
	if os.Getenv("CAUSEWAY_SOAK") != "" {
		size, over, want = sizes{1000, 30_000}, 2*time.Minute, goal{leader: 150, node: 60, cpu: 0.01}
	}
	c := start(t, Options{})
	c.stopNamed("kube-controller-manager") // it would say that the nodes are dead
	c.stopNamed("kube-scheduler")
	a := newAgent(t, c)
	began := time.Now()
	populate(t, c, size)
	t.Logf("%d nodes and %d pods made in %v", size.nodes, size.pods, time.Since(began).Round(time.Second))

	var bytes atomic.Int64
	drain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		bytes.Add(n)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(drain.Close)
	kubelet := fullKubelet(t, podsOnNode)
	keys := fmt.Sprintf("kubeconfig: %q, lease_namespace: default", c.Kubeconfig)
	leader := newContender(t, a, "leader", "node: somewhere, role: cluster", keys)
	node := newContender(t, a, "node", "node: node-0, role: auto", keys+`, objects: "off", events: "off", api_server: false`)
	for _, p := range []*contender{leader, node} {
		p.rewrite(`interval: 5s`, `interval: 15s`, `console: {type: stdout, format: text}`, fmt.Sprintf(`console: {type: influxdb, url: %q, database: d}`, drain.URL),
			`host: {enabled: "false"}`, `host: {interval: 15s}`, `containers: {enabled: "false"}`,
			fmt.Sprintf(`containers: {interval: 15s, provider: kubelet, kubelet: {url: %q, insecure_skip_verify: true, token_file: %q}}`, kubelet, c.CA))
		p.start()
	}
	defer func() {
		leader.stop()
		node.stop()
	}()
	until(t, c, "the leader to have read everything", func() error {
		r, err := leader.status()
		if err != nil {
			return err
		}
		if len(r.wrong()) > 0 || len(r.Resources) == 0 {
			return fmt.Errorf("wrong are %q", r.wrong())
		}
		for _, k := range r.Resources {
			if want := map[string]int{"nodes": size.nodes, "deployments": size.pods / 10}[k.Resource]; !k.Synced || k.Objects < want {
				return fmt.Errorf("%+v", k)
			}
		}
		return nil
	})
	until(t, c, "the node to know its pods", func() error {
		r, err := node.status()
		if err == nil && (r.Pods == nil || r.Pods.Here != podsOnNode) {
			err = fmt.Errorf("%+v", r.Pods)
		}
		return err
	})
	series := 0
	if r, err := leader.status(); err == nil {
		for _, k := range r.Resources {
			series += k.Series
		}
	}
	cpu := map[*contender]time.Duration{leader: leader.cpu(t), node: node.cpu(t)}
	most := map[*contender]int{}
	done := time.After(over)
	for tick := time.NewTicker(time.Second); ; {
		for p := range cpu {
			most[p] = max(most[p], p.resident(t, "VmRSS"))
		}
		select {
		case <-tick.C:
			continue
		case <-done:
		}
		tick.Stop()
		break
	}
	for _, p := range []*contender{leader, node} {
		cpu[p] = p.cpu(t) - cpu[p]
		t.Logf("%s: %d MiB at most once all is read (now %d of its own, %d of the binary), %d ever; %.2f %% of a core", p.name, most[p],
			p.resident(t, "RssAnon"), p.resident(t, "RssFile"), p.resident(t, "VmHWM"), 100*cpu[p].Seconds()/over.Seconds())
	}
	t.Logf("the leader has %d series; %d MB of line protocol came of both", series, bytes.Load()>>20)
	if hwm := leader.resident(t, "VmHWM"); hwm > want.leader {
		t.Errorf("the leader took %d MiB, want %d at most", hwm, want.leader)
	}
	if hwm := node.resident(t, "VmHWM"); hwm > want.node {
		t.Errorf("the node's agent took %d MiB, want %d at most", hwm, want.node)
	}
	if share := cpu[node].Seconds() / over.Seconds(); share > want.cpu {
		t.Errorf("the node's agent took %.2f %% of a core, want %v at most", 100*share, 100*want.cpu)
	}
}

// rewrite changes the configuration, old and new in turn.
func (p *contender) rewrite(oldNew ...string) {
	p.t.Helper()
	text, err := os.ReadFile(p.file)
	if err == nil {
		err = os.WriteFile(p.file, []byte(strings.NewReplacer(oldNew...).Replace(string(text))), 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// resident returns a line of /proc/PID/status in MiB.
func (p *contender) resident(t *testing.T, key string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), key+":")
	kib, err := strconv.Atoi(strings.Fields(rest + " ?")[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib >> 10
}

// cpu returns the time it has used, of user and system.
func (p *contender) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 everywhere
}

// populate makes the objects, by protobuf and sixteen at a time.
func populate(t *testing.T, c *Cluster, size sizes) {
	t.Helper()
	rc, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	rc.ContentType, rc.QPS = "application/vnd.kubernetes.protobuf", -1
	cs, err := kubernetes.NewForConfig(rc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	many(t, size.nodes, func(i int) error {
		_, err := cs.CoreV1().Nodes().Create(ctx, madeNode(i), metav1.CreateOptions{})
		return err
	})
	many(t, size.pods/10, func(i int) error {
		d, sets := madeDeployment(i)
		d, err := cs.AppsV1().Deployments("default").Create(ctx, d, metav1.CreateOptions{})
		for _, rs := range sets {
			if err == nil {
				rs.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}
				_, err = cs.AppsV1().ReplicaSets("default").Create(ctx, rs, metav1.CreateOptions{})
			}
		}
		if err == nil && i%2 == 0 {
			_, err = cs.CoreV1().Services("default").Create(ctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: d.Name}, Spec: corev1.ServiceSpec{ClusterIP: "None", Selector: d.Spec.Selector.MatchLabels},
			}, metav1.CreateOptions{})
		}
		return err
	})
	many(t, size.pods, func(i int) error {
		on := 0
		if i >= podsOnNode { // node-0 has the first ones
			on = 1 + i%(size.nodes-1)
		}
		p, err := cs.CoreV1().Pods("default").Create(ctx, madePod(i, on), metav1.CreateOptions{})
		if err != nil || on != 0 {
			return err
		}
		p.Status = runningStatus(i)
		_, err = cs.CoreV1().Pods("default").UpdateStatus(ctx, p, metav1.UpdateOptions{})
		return err
	})
}

// many calls f with 0 to n-1.
func many(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func madeNode(i int) *corev1.Node {
	capacity := corev1.ResourceList{"cpu": resource.MustParse("16"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110"),
		"ephemeral-storage": resource.MustParse("100Gi")}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i), Labels: map[string]string{
			"kubernetes.io/hostname": fmt.Sprintf("node-%d", i), "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3),
			"node.kubernetes.io/instance-type": "e2-standard-16", "cloud.google.com/gke-nodepool": fmt.Sprintf("pool-%d", i%5),
		}},
		Spec: corev1.NodeSpec{ProviderID: fmt.Sprintf("gce://project/zone/node-%d", i), PodCIDR: ""},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity,
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: Version, OSImage: "Container-Optimized OS"}},
	}
	for _, cond := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		status := corev1.ConditionFalse
		if cond == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: cond, Status: status, LastHeartbeatTime: metav1.Now()})
	}
	return n
}

func madeTemplate(i int) corev1.PodTemplateSpec {
	limits := corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")}
	container := func(name string) corev1.Container {
		return corev1.Container{Name: name, Image: "registry.local/workload:1", Resources: corev1.ResourceRequirements{Requests: limits, Limits: limits},
			Ports: []corev1.ContainerPort{{ContainerPort: 8080}}, Env: []corev1.EnvVar{{Name: "SOME_VARIABLE", Value: strings.Repeat("x", 200)}}}
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": fmt.Sprintf("app-%d", i), "app.kubernetes.io/version": "1.2.3", "team": "payments"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{container("app"), container("sidecar")}},
	}
}

func madeDeployment(i int) (*appsv1.Deployment, []*appsv1.ReplicaSet) {
	template, name := madeTemplate(i), fmt.Sprintf("app-%d", i)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	ten := int32(10)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: template.Labels},
		Spec: appsv1.DeploymentSpec{Replicas: &ten, Selector: selector, Template: template}}
	var sets []*appsv1.ReplicaSet
	for _, hash := range []string{"6457f869c6", "7d4b8c9f5d"} {
		sets = append(sets, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name + "-" + hash, Labels: template.Labels},
			Spec: appsv1.ReplicaSetSpec{Replicas: &ten, Selector: selector, Template: template}})
	}
	return d, sets
}

func madePod(i, on int) *corev1.Pod {
	template, owner := madeTemplate(i/10), fmt.Sprintf("app-%d-6457f869c6", i/10)
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%05d", owner, i), Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner, UID: "0", Controller: &yes}}},
		Spec: func() corev1.PodSpec {
			s := template.Spec
			s.NodeName = fmt.Sprintf("node-%d", on)
			return s
		}(),
	}
}

func runningStatus(i int) corev1.PodStatus {
	s := corev1.PodStatus{Phase: corev1.PodRunning, QOSClass: corev1.PodQOSGuaranteed,
		PodIP: fmt.Sprintf("10.0.0.%d", i), StartTime: &metav1.Time{Time: time.Now()}}
	for _, cond := range []corev1.PodConditionType{corev1.PodReady, corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: cond, Status: corev1.ConditionTrue})
	}
	for k, name := range []string{"app", "sidecar"} {
		s.ContainerStatuses = append(s.ContainerStatuses, corev1.ContainerStatus{Name: name, Ready: true, Image: "registry.local/workload:1",
			ContainerID: fmt.Sprintf("containerd://%064x", 2*i+k), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}})
	}
	return s
}

var (
	stampMS  = regexp.MustCompile(` 17\d{11}\n`)
	stampRFC = regexp.MustCompile(`"time":\s*"[^"]*"`)
)

// fullKubelet serves the pages that a real one wrote for one pod, repeated for
// as many pods, with the time of now. It returns its address.
func fullKubelet(t *testing.T, pods int) string {
	t.Helper()
	const dir, uid, name = "../../agent/collect/container/testdata/kubelet", "baeeda07-b833-4513-9f2c-7cac59e946e1", "web-f68975988-gjxvh"
	like := func(i int) *strings.Replacer {
		return strings.NewReplacer(uid, fmt.Sprintf("%08x%s", i, uid[8:]),
			name, fmt.Sprintf("app-%d-6457f869c6-%05d", i/10, i), `namespace="demo"`, `namespace="default"`)
	}
	pages := map[string]string{}
	for path, file := range map[string]string{"/metrics/cadvisor": "cadvisor", "/metrics/resource": "resource",
		"/metrics/probes": "probes", "/stats/summary": "summary", "/pods": "pods"} {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		pages[path] = string(text)
	}
	var page strings.Builder
	for line := range strings.Lines(pages["/metrics/cadvisor"]) { // lines of one name stand together, as in a real page
		if !strings.Contains(line, uid) {
			page.WriteString(line)
			continue
		}
		for i := range pods {
			like(i).WriteString(&page, line)
		}
	}
	pages["/metrics/cadvisor"] = page.String()
	for path, key := range map[string]string{"/stats/summary": "pods", "/pods": "items"} {
		var doc map[string]any
		if err := json.Unmarshal([]byte(pages[path]), &doc); err != nil {
			t.Fatal(err)
		}
		var all []json.RawMessage
		for _, p := range doc[key].([]any) {
			one, _ := json.Marshal(p)
			for i := 0; i < pods && strings.Contains(string(one), uid); i++ {
				all = append(all, json.RawMessage(like(i).Replace(string(one))))
			}
		}
		doc[key] = all
		text, _ := json.Marshal(doc)
		pages[path] = string(text)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		text := stampMS.ReplaceAllString(pages[r.URL.Path], fmt.Sprintf(" %d\n", now.UnixMilli()))
		io.WriteString(w, stampRFC.ReplaceAllString(text, fmt.Sprintf(`"time":%q`, now.UTC().Format(time.RFC3339))))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
