package container

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fakeKubelet is a kubelet that answers with what a test puts in.
type fakeKubelet struct {
	*httptest.Server
	pages  map[string]string // by path
	status map[string]int    // by path: refused with it
	tokens []string          // as they were shown
	asked  []string          // paths
}

// newFakeKubelet returns a kubelet with the pages of testdata, which a real one gave.
func newFakeKubelet(t testing.TB) *fakeKubelet {
	t.Helper()
	f := &fakeKubelet{pages: map[string]string{}, status: map[string]int{}}
	for _, p := range []string{"/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/stats/summary", "/pods"} {
		text, err := os.ReadFile(filepath.Join("testdata", "kubelet", path.Base(p)))
		if err != nil {
			t.Fatal(err)
		}
		f.pages[p] = string(text)
	}
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.tokens = append(f.tokens, r.Header.Get("Authorization"))
		f.asked = append(f.asked, r.URL.Path)
		if code := f.status[r.URL.Path]; code != 0 {
			http.Error(w, "Forbidden (user=system:serviceaccount:a:b, verb=get, resource=nodes)", code)
			return
		}
		io.WriteString(w, f.pages[r.URL.Path])
	}))
	f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(f.Close)
	return f
}

// config returns a configuration that reaches f.
func (f *fakeKubelet) config(t testing.TB) Config {
	t.Helper()
	c := Default()
	c.Kubelet.URL = f.URL
	c.Kubelet.CAFile = filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, c.Kubelet.CAFile, string(pemOf(f)))
	return c
}

// provider returns a Kubelet that asks f.
func (f *fakeKubelet) provider(t testing.TB) *Kubelet {
	t.Helper()
	k := NewKubelet(f.config(t), "node-a", noEnv, nil, quiet())
	t.Cleanup(func() { k.Close() })
	return k
}

func noEnv(string) string { return "" }

func pemOf(f *fakeKubelet) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// names returns how many samples b has of each metric.
func names(b *signal.Batch) map[string]int {
	n := map[string]int{}
	for i := range b.Samples {
		n[b.Samples[i].Series.Desc().Name]++
	}
	return n
}

// kubeletTimes returns the samples of b in the readable notation, sorted; where
// a time is that of the call, without it.
func kubeletTimes(b *signal.Batch) string {
	kept := &signal.Batch{Kind: signal.Metric}
	for _, s := range b.Samples {
		if strings.HasPrefix(s.Series.Desc().Name, "k8s.container.") { // statuses and probes: the time of the call
			s.Time, s.Start = 0, 0
		}
		kept.Add(s)
	}
	lines := slices.Sorted(strings.Lines(signal.Format(kept)))
	return strings.Join(lines, "")
}

func TestKubeletGolden(t *testing.T) {
	f := newFakeKubelet(t)
	s := New(Default(), f.provider(t))
	got := kubeletTimes(sample(t, s))
	const file = "testdata/kubelet/golden.txt"
	if *update {
		writeFile(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; go test -update writes\n%s", file, got)
	}
	if slices.Contains(f.asked, "/metrics/resource") {
		t.Error("asked for /metrics/resource though the page has it all")
	}
}

func TestKubeletKeepsTheKubeletsTimes(t *testing.T) {
	f := newFakeKubelet(t)
	s := New(Default(), f.provider(t))
	if b := sample(t, s); len(b.Samples) < 100 {
		t.Fatalf("%d samples", len(b.Samples))
	}
	for name := range names(sample(t, s)) { // the same pages again
		if !strings.HasPrefix(name, "k8s.container.") {
			t.Errorf("%s was written twice with one time", name)
		}
	}
}

// everySample returns the last of as many samples as it takes for one source to
// stand in for another, and its error. Times of the pages advance with each.
func everySample(t *testing.T, f *fakeKubelet, k *Kubelet) (*signal.Batch, error) {
	t.Helper()
	var err error
	b := &signal.Batch{Kind: signal.Metric}
	for range patiencePages + 1 {
		b.Samples = b.Samples[:0]
		err = New(Default(), k).Sample(t.Context(), b)
	}
	return b, err
}

func TestKubeletEachSourceFailsAloneAndNamesItsRule(t *testing.T) {
	f := func(refuse, rules, want, without []string) {
		t.Helper()
		kubelet := newFakeKubelet(t)
		for _, p := range refuse {
			kubelet.status[p] = http.StatusForbidden
		}
		b, err := everySample(t, kubelet, kubelet.provider(t))
		got := names(b)
		for _, n := range want {
			if got[n] == 0 {
				t.Errorf("without %q: no %s among %v", refuse, n, slices.Sorted(maps.Keys(got)))
			}
		}
		for _, n := range without {
			if got[n] != 0 {
				t.Errorf("without %q: %s", refuse, n)
			}
		}
		for _, rule := range []string{"nodes/metrics", "nodes/stats", "nodes/pods"} {
			said := strings.Count(fmt.Sprint(err), "resources: ["+rule+"]")
			if wanted := slices.Contains(rules, rule); said > 1 || (said == 1) != wanted {
				t.Errorf("without %q: %v, which names %s %d times", refuse, err, rule, said)
			}
		}
	}
	page, summary, pods, probes, resource := "/metrics/cadvisor", "/stats/summary", "/pods", "/metrics/probes", "/metrics/resource"
	f(nil, nil, []string{signal.ContainerCPUTime, signal.ContainerThrottledTime, signal.PodCPUTime, signal.NodeCPUTime, signal.PodNetworkPackets,
		signal.PodFilesystemUsage, signal.ContainerFilesystemUsage, signal.NodeFilesystemUsage, signal.NodeImagesUsage,
		signal.K8sRestarts, signal.K8sProbes, signal.KubeSystemCPUTime}, nil)
	f([]string{summary}, []string{"nodes/stats"}, []string{signal.ContainerCPUTime, signal.PodNetworkIO, signal.NodeCPUTime, signal.K8sRestarts, signal.K8sProbes},
		[]string{signal.PodFilesystemUsage, signal.NodeImagesUsage})
	f([]string{pods}, []string{"nodes/pods"}, []string{signal.ContainerCPUTime, signal.PodFilesystemUsage, signal.K8sProbes}, []string{signal.K8sRestarts})
	f([]string{page, probes, resource}, []string{"nodes/metrics"},
		[]string{signal.ContainerCPUTime, signal.ContainerMemoryWorkingSet, signal.ContainerMemoryFaults, signal.PodCPUTime, signal.PodMemoryRSS,
			signal.PodNetworkIO, signal.NodeCPUTime, signal.PodFilesystemUsage, signal.K8sRestarts},
		[]string{signal.ContainerThrottledTime, signal.K8sProbes})
	f([]string{page, probes, resource, summary, pods}, []string{"nodes/metrics", "nodes/stats", "nodes/pods"}, nil, []string{signal.ContainerCPUTime})
	f([]string{probes}, []string{"nodes/metrics"}, []string{signal.ContainerCPUTime, signal.K8sRestarts}, []string{signal.K8sProbes})
}

// A kubelet that asks its runtime for containers may have none on cAdvisor's page.
func TestKubeletWithoutContainersOnThePage(t *testing.T) {
	f := newFakeKubelet(t)
	f.pages["/metrics/cadvisor"] = ""
	b := sample(t, New(Default(), f.provider(t)))
	got := signal.Format(b)
	for _, want := range []string{
		// CPU and memory with the exact time of /metrics/resource, the rest beside them.
		`container.cpu.time{container.id="`, `@1795441423384`, `k8s.pod.cpu.time{`, `container.memory.usage{`, `container.memory.paging.faults{`,
		`container.runtime="containerd"`, `container.image.name="registry.example/shop/web"`, `k8s.node.cpu.time{`, `k8s.pod.network.io{`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if n := names(b)[signal.ContainerCPUTime]; n != 1 { // user and system are not told apart
		t.Errorf("%d samples of container.cpu.time, want one", n)
	}
}

func TestKubeletPageThatFailsOnceChangesNothing(t *testing.T) {
	f := newFakeKubelet(t)
	k := f.provider(t)
	read := func() (found []string) {
		t.Helper()
		readings, _ := k.Read(t.Context())
		for i := range readings {
			if r := &readings[i]; r.CPU == r.CPU && r.Scope == OfContainer {
				found = append(found, r.Name)
			}
		}
		return found
	}
	before := read()
	f.status["/metrics/cadvisor"] = http.StatusInternalServerError
	for range patiencePages {
		if got := read(); len(got) != 0 {
			t.Errorf("%q stand in at once for %q", got, before)
		}
	}
	if got := read(); len(got) != len(before) {
		t.Errorf("%q stand in for %q in the end", got, before)
	}
	f.status["/metrics/cadvisor"] = 0
	if got := read(); !slices.Equal(got, before) || len(got) == 0 {
		t.Errorf("%q, and before %q", got, before)
	}
}

func TestKubeletReadsTheTokenAnewAndShowsIt(t *testing.T) {
	f := newFakeKubelet(t)
	c := f.config(t)
	c.Kubelet.TokenFile = filepath.Join(t.TempDir(), "token")
	writeFile(t, c.Kubelet.TokenFile, "first\n")
	k := NewKubelet(c, "node-a", noEnv, nil, quiet())
	defer k.Close()
	if _, err := k.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeFile(t, c.Kubelet.TokenFile, "second")
	if _, err := k.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.tokens[0] != "Bearer first" || f.tokens[len(f.tokens)-1] != "Bearer second" {
		t.Errorf("%q", f.tokens)
	}
	os.Remove(c.Kubelet.TokenFile)
	if _, err := k.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "token_file") {
		t.Errorf("without the file: %v", err)
	}
}

func TestKubeletErrorsSayWhatToDo(t *testing.T) {
	f := func(what string, change func(*fakeKubelet, *Config), want string, asked int) {
		t.Helper()
		kubelet := newFakeKubelet(t)
		c := kubelet.config(t)
		change(kubelet, &c)
		k := NewKubelet(c, "node-a", noEnv, nil, quiet())
		defer k.Close()
		readings, err := k.Read(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || len(readings) != 0 {
			t.Errorf("%s: %v with %d readings, want %q", what, err, len(readings), want)
		}
		if len(kubelet.asked) > asked {
			t.Errorf("%s: asked for %q", what, kubelet.asked)
		}
	}
	unauthorized := func(k *fakeKubelet, c *Config) {
		for p := range k.pages {
			k.status[p] = http.StatusUnauthorized
		}
	}
	f("no token", unauthorized, "401", 1) // asked once: the other paths would say the same
	f("another's certificate", func(_ *fakeKubelet, c *Config) { c.Kubelet.CAFile = "" }, "containers.kubelet.ca_file", 0)
	f("certificate for another name", func(k *fakeKubelet, c *Config) {
		c.Kubelet.URL = strings.Replace(k.URL, "127.0.0.1", "localhost", 1)
	}, "containers.kubelet.url", 0)
	f("nobody there", func(k *fakeKubelet, c *Config) { k.Close() }, "10250", 0)
	f("no such file", func(_ *fakeKubelet, c *Config) { c.Kubelet.CAFile += "x" }, "ca_file", 0)
	f("no certificate in it", func(_ *fakeKubelet, c *Config) { writeFile(t, c.Kubelet.CAFile, "x") }, "PEM", 0)
}

func TestKubeletSkipsVerificationOnlyIfTold(t *testing.T) {
	f := newFakeKubelet(t)
	c := f.config(t)
	c.Kubelet.CAFile, c.Kubelet.InsecureSkipVerify = "", true
	var said bytes.Buffer
	k := NewKubelet(c, "node-a", noEnv, nil, slog.New(slog.NewTextHandler(&said, nil)))
	defer k.Close()
	for range 2 {
		if _, err := k.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "not verified"); n != 1 {
		t.Errorf("warned %d times: %s", n, &said)
	}
}

func TestKubeletAddress(t *testing.T) {
	f := func(conf, node, env, want string) {
		t.Helper()
		vars := map[string]string{}
		for _, v := range strings.Fields(env) {
			name, value, _ := strings.Cut(v, "=")
			vars[name] = value
		}
		c := newKubeletClient(KubeletConfig{URL: conf}, node, func(n string) string { return vars[n] }, quiet())
		if got := c.address(); got != want {
			t.Errorf("url %q, node %q, %s: %q, want %q", conf, node, env, got, want)
		}
	}
	const in = " KUBERNETES_SERVICE_HOST=10.0.0.1"
	f("https://n:1/", "n", in, "https://n:1")
	f("", "n", "NODE_IP=10.0.0.7"+in, "https://10.0.0.7:10250")
	f("", "n", "HOST_IP=fd00::7", "https://[fd00::7]:10250")
	f("", "n", "NODE_NAME=node-a", "https://node-a:10250")
	f("", "n", in, "https://n:10250")
	f("", "n", "", "") // a laptop: nothing says that there is a kubelet
}

func TestKubeletOutsideOfAClusterIsAbsent(t *testing.T) {
	k := NewKubelet(Default(), "n", noEnv, nil, quiet())
	if _, err := k.Read(t.Context()); !errors.Is(err, collect.ErrAbsent) {
		t.Error(err)
	}
}

func TestKubeletGoesThroughTheAPIServerOnlyIfAllowed(t *testing.T) {
	f := func(allow bool, want bool) {
		t.Helper()
		var said bytes.Buffer
		vars := map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
		c := newKubeletClient(KubeletConfig{URL: "https://127.0.0.1:1", AllowProxy: allow}, "node-a", func(n string) string { return vars[n] },
			slog.New(slog.NewTextHandler(&said, nil)))
		if got := c.throughProxy(); got != want {
			t.Errorf("allow_proxy %v: %v", allow, got)
		}
		if want && (c.base != "https://10.0.0.1:443/api/v1/nodes/node-a/proxy" || !strings.Contains(said.String(), "WARN")) {
			t.Errorf("%s, said %q", c.base, &said)
		}
	}
	f(false, false)
	f(true, true)
}

// someSpecs is a PodSpecs that says what a test puts in.
type someSpecs []PodSpec

func (s *someSpecs) Pods(_ context.Context, yield func(*PodSpec)) error {
	for i := range *s {
		yield(&(*s)[i])
	}
	return nil
}

func unset() ContainerSpec {
	nan := math.NaN()
	return ContainerSpec{Name: "app", CPURequest: nan, CPULimit: nan, MemoryRequest: nan, MemoryLimit: nan, StorageRequest: nan, StorageLimit: nan}
}

func TestKubeletCountsOOMKillsAndTellsTheLastTermination(t *testing.T) {
	kubelet := newFakeKubelet(t)
	c := unset()
	c.State, c.Last, c.LastExitCode, c.LastFinished = "running", "Error", 2, 100
	specs := &someSpecs{{Namespace: "shop", Name: "a", UID: "u", Containers: []ContainerSpec{c}}}
	k := NewKubelet(kubelet.config(t), "node-a", noEnv, specs, quiet())
	clock := int64(1_800_000_000_000)
	k.now = func() int64 { clock++; return clock }
	s := New(Default(), k)
	at := func(change func(*ContainerSpec), kills, last string) {
		t.Helper()
		change(&(*specs)[0].Containers[0])
		got := signal.Format(sample(t, s))
		for _, want := range []string{
			`k8s.container.oom_kills{container.name="app",k8s.container.name="app",k8s.namespace.name="shop",k8s.pod.name="a",k8s.pod.uid="u"} counter {kill} ` + kills + ` @`,
			`k8s.container.status.last_terminated_reason="` + last + `"`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
	}
	oom := func(at int64) func(*ContainerSpec) {
		return func(c *ContainerSpec) { c.Last, c.LastExitCode, c.LastFinished = "OOMKilled", 137, at }
	}
	at(func(*ContainerSpec) {}, "0", "Error")
	at(oom(200), "1", "OOMKilled")
	at(oom(200), "1", "OOMKilled") // the same one
	at(oom(300), "2", "OOMKilled")
	at(func(c *ContainerSpec) { c.Last, c.LastFinished = "Completed", 400 }, "2", "Completed")
}

func TestKubeletTerminationBeforeTheAgentIsNotCounted(t *testing.T) {
	kubelet := newFakeKubelet(t)
	c := unset()
	c.State, c.Last, c.LastFinished = "running", "OOMKilled", 100
	specs := &someSpecs{{Namespace: "shop", Name: "a", UID: "u", Containers: []ContainerSpec{c}}}
	b := sample(t, New(Default(), NewKubelet(kubelet.config(t), "node-a", noEnv, specs, quiet())))
	if got := lines(b, signal.K8sOOMKills); len(got) != 1 || !strings.HasPrefix(got[0], "counter {kill} 0 ") {
		t.Errorf("%q", got)
	}
}

func TestQuantity(t *testing.T) {
	f := func(s string, want float64) {
		t.Helper()
		if got := quantity(s); got != want && (got == got || want == want) {
			t.Errorf("quantity(%q) = %v, want %v", s, got, want)
		}
	}
	none := math.NaN()
	f("1", 1)
	f("100m", 0.1)
	f("1500m", 1.5)
	f("0.5", 0.5)
	f("250000000n", 0.25)
	f("500u", 0.0005)
	f("64Mi", 64<<20)
	f("1.5Gi", 1.5*(1<<30))
	f("1Ki", 1024)
	f("2k", 2000)
	f("128M", 128e6)
	f("1e3", 1000)
	f("1E", 1e18)
	f("1Ei", 1<<60)
	f("0", 0)
	f("", none)
	f("m", none)
	f("1x", none)
	f("x1", none)
	f("1 Mi", none)
}

func FuzzQuantity(f *testing.F) {
	f.Add("100m")
	f.Add("1.5Gi")
	f.Fuzz(func(t *testing.T, s string) {
		if v := quantity(s); math.IsInf(v, 0) && len(s) < 300 {
			t.Errorf("quantity(%q) = %v", s, v)
		}
	})
}

// A pod on the node's network shows the node's interfaces: they are not its own.
func TestKubeletHostNetworkIsNotThePods(t *testing.T) {
	const id = "/kubepods/besteffort/pod11111111-1111-1111-1111-111111111111/"
	line := func(b *strings.Builder, container, pod, id string, at int, values [4]int) {
		for i, name := range []string{"receive_bytes", "receive_packets", "transmit_bytes", "transmit_packets"} {
			fmt.Fprintf(b, "container_network_%s_total{container=%q,id=%q,interface=\"eth0\",namespace=\"n\",pod=%q} %d %d\n", name, container, id, pod, values[i], at)
		}
	}
	f := func(what string, specs PodSpecs, rounds [][2][4]int, want ...int) {
		t.Helper()
		kubelet := newFakeKubelet(t)
		delete(kubelet.pages, "/metrics/probes")
		kubelet.pages["/stats/summary"] = "{}"
		kubelet.status["/pods"] = http.StatusForbidden
		k := NewKubelet(kubelet.config(t), "node-a", noEnv, specs, quiet())
		for i, r := range rounds {
			var b strings.Builder
			line(&b, "", "", "/", 1000+i*10000, r[0])
			line(&b, "", "p", id+strings.Repeat("a", 64), 2000+i*10000, r[1])
			kubelet.pages["/metrics/cadvisor"] = b.String()
			readings, _ := k.Read(t.Context())
			got := 0
			for j := range readings {
				if readings[j].Scope == OfPod {
					got += len(readings[j].Interfaces)
				}
			}
			if got != want[i] {
				t.Errorf("%s, round %d: %d interfaces, want %d", what, i, got, want[i])
			}
		}
	}
	node := func(n int) [4]int { return [4]int{n * 1000000000, n * 1000000, n * 500000000, n * 500000} }
	shared := [][2][4]int{{node(1), node(1)}, {node(2), node(2)}, {node(3), node(9)}}
	own := [][2][4]int{{node(3), node(1)}, {node(4), node(1)}, {node(5), node(2)}}
	f("shared, by the counters", nil, shared, 0, 0, 0) // once known it stays so
	f("its own, by the counters", nil, own, 0, 1, 1)   // at first nobody can tell
	say := func(host bool) PodSpecs { return &someSpecs{{Namespace: "n", Name: "p", HostNetwork: host}} }
	f("shared, as specified", say(true), own, 0, 0, 0)
	f("its own, as specified", say(false), shared, 1, 1, 1)
}

func TestKubeletForgetsWhatIsGone(t *testing.T) {
	f := newFakeKubelet(t)
	k := f.provider(t)
	if _, err := k.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(k.entries) == 0 || len(k.specs.known) == 0 {
		t.Fatal("nothing is kept")
	}
	f.pages["/metrics/cadvisor"], f.pages["/stats/summary"], f.pages["/pods"], f.pages["/metrics/resource"] = "", "{}", "{}", ""
	for range patiencePages + 2 {
		if _, err := k.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.entries) != 0 || len(k.specs.known) != 0 {
		t.Errorf("%d entries, %d statuses are kept", len(k.entries), len(k.specs.known))
	}
}

// The kubelet's list of pods is long: it is read when containers come or go.
func TestKubeletReadsPodsWhenContainersChange(t *testing.T) {
	f := newFakeKubelet(t)
	k := f.provider(t)
	asked := func() (n int) {
		t.Helper()
		f.asked = nil
		if _, err := k.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, p := range f.asked {
			if p == "/pods" {
				n++
			}
		}
		return n
	}
	if asked() != 1 {
		t.Error("not at first")
	}
	asked() // the first round's containers were new
	if asked() != 0 {
		t.Error("though nothing has changed")
	}
	const id = "/kubepods/besteffort/pod11111111-1111-1111-1111-111111111111/"
	f.pages["/metrics/cadvisor"] += "container_memory_rss{container=\"c\",id=\"" + id + strings.Repeat("b", 64) + "\",namespace=\"n\",pod=\"p\"} 1 2\n"
	asked()
	if asked() != 1 {
		t.Error("not after a container came")
	}
}
