package prom

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// otherCertificate is a self-signed one that nobody uses.
func otherCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestConfigComplaints(t *testing.T) {
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Check()
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(want) {
			t.Errorf("%q, want %q", got, want)
			return
		}
		for i := range got {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
	f(func(*Config) {})
	f(func(c *Config) { *c = Config{} },
		"enabled: ", "monitors: ", "native_histograms: ", "compression: ", "interval: ", "timeout: ", "max_samples: ", "max_body: ")
	f(func(c *Config) { c.TLS = TLS{CertFile: "x"} }, "tls.cert_file: ")
	f(func(c *Config) { c.TLS = TLS{CAFile: "x", InsecureSkipVerify: true} }, "tls.insecure_skip_verify: ")
	f(func(c *Config) { c.MetricRelabel = []Rule{{Action: "dorp"}, {Action: "drop", Regex: "("}, {}} },
		"metric_relabel[0].action: ", "metric_relabel[1].regex: ", "metric_relabel[2]: ")
	f(func(c *Config) {
		c.Targets = []Target{
			{URL: "http://a:1"}, {URL: "http://a:1"}, {URL: "a:1"}, {URL: "http://u:p@a:1", Basic: Basic{Password: "p"}, BearerTokenFile: "x"},
			{URL: "https://b", HonorTimestamps: "no", Interval: time.Millisecond, Timeout: -1, MaxSamples: -1, Headers: []Header{{"a b", ""}}},
			{URL: "https://c", Basic: Basic{User: "u"}, BearerTokenFile: "x", Relabel: []Rule{{Action: "hashmod"}}},
		}
	}, "targets[1].url: ", "targets[2].url: ", "targets[3].url: ", "targets[3].basic.user: ", "targets[4].interval: ", "targets[4].timeout: ",
		"targets[4].headers[0]: ", "targets[4].max_samples: ", "targets[4].honor_timestamps: ", "targets[5].basic: ", "targets[5].relabel[0]: ")
	if err := (Config{Targets: []Target{{URL: "http://u:secret@a"}}}).Check(); strings.Contains(err.Error(), "secret") {
		t.Error("a password is printed")
	}
}

// fixed is Pods and Groups that a test says.
type fixed struct {
	groups []Group

	mu      sync.Mutex
	pods    []Pod  // guarded by mu
	version uint64 // guarded by mu
}

func (f *fixed) set(pods ...Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = pods
	f.version++
}

func (f *fixed) Version() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version
}

type fixedPods struct{ *fixed }

func (f fixedPods) Each(fn func(Pod) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pods {
		fn(p)
	}
}

type fixedGroups struct{ *fixed }

func (f fixedGroups) Each(fn func(Group) bool) {
	for _, g := range f.groups {
		fn(g)
	}
}

func TestPodsAreFoundByAnnotation(t *testing.T) {
	ports := []Port{{"http", "web", 8080}, {"http-metrics", "side", 9090}}
	f := func(annotations string, phase string, ports []Port, want, wantLabels string) {
		t.Helper()
		a := map[string]string{}
		for kv := range strings.FieldsSeq(annotations) {
			k, v, _ := strings.Cut(kv, "=")
			a[k] = v
		}
		s := newSource(t, Default(), Sources{Pods: fixedPods{&fixed{pods: []Pod{{
			Namespace: "ns", Name: "p", UID: "u1", IP: "10.0.0.1", Phase: phase, Annotations: a, Ports: ports,
		}}}}})
		specs, excluded := s.discover(nil)
		got, labels := strings.Join(excluded, ";"), ""
		for u, sp := range specs {
			got = u
			for k, v := range signal.Walk(sp.labels) {
				labels += " " + k + "=" + v
			}
			if sp.gzip {
				t.Error("a pod of this node is asked for gzip")
			}
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" || wantLabels != "" && labels != wantLabels {
			t.Errorf("%s: %q%s", annotations, got, labels)
		}
	}
	const yes = "prometheus.io/scrape=true "
	f(yes+"prometheus.io/port=8080", "Running", ports, "http://10.0.0.1:8080/metrics",
		" k8s.container.name=web k8s.namespace.name=ns k8s.pod.name=p k8s.pod.uid=u1 service.instance.id=10.0.0.1:8080")
	f(yes+"prometheus.io/port=7 prometheus.io/path=/x?a=b prometheus.io/scheme=https", "Running", ports, "https://10.0.0.1:7/x?a=b",
		" k8s.namespace.name=ns k8s.pod.name=p k8s.pod.uid=u1 service.instance.id=10.0.0.1:7")
	f(yes+"prometheus.io/port=http", "Running", ports, "http://10.0.0.1:8080/metrics", "")
	f(yes, "Running", ports, "http://10.0.0.1:9090/metrics", "")
	f(yes, "Running", ports[:1], "http://10.0.0.1:8080/metrics", "")
	f(yes, "Running", nil, "pod/ns/p: it declares no port", "")
	f(yes+"prometheus.io/port=x", "Running", ports, "pod/ns/p: annotation prometheus.io/port", "")
	f(yes+"prometheus.io/scheme=ftp", "Running", ports, "pod/ns/p: annotation prometheus.io/scheme", "")
	f(yes+"prometheus.io/interval=1x", "Running", ports, "pod/ns/p: annotation prometheus.io/interval", "")
	f(yes+"causeway.dev/metrics=false", "Running", ports, "", "")
	f(yes, "Pending", ports, "", "")
	f(yes, "Succeeded", ports, "", "")
	f("prometheus.io/scrape=false", "Running", ports, "", "")
	f("", "Running", ports, "", "")
}

func TestGroupsAreRelabelled(t *testing.T) {
	g := Group{
		Name: "servicemonitor/ns/m", Path: "/probe", Params: url.Values{"module": {"m"}},
		Scrape: Target{Interval: 5 * time.Second, Tags: []string{"team:x"}, Relabel: []Rule{
			{Action: "drop", SourceLabels: []string{"__meta_kubernetes_pod_name"}, Regex: "skip"},
			{SourceLabels: []string{"__meta_kubernetes_pod_name"}, TargetLabel: "pod"},
			{SourceLabels: []string{"__address__"}, TargetLabel: "__param_target"},
			{TargetLabel: "instance", Replacement: "me"},
			{TargetLabel: "job", Replacement: "j"},
		}},
		Endpoints: []Endpoint{
			{Address: "10.0.0.1:80", Labels: map[string]string{"__meta_kubernetes_pod_name": "p"}, Known: signal.Labels(signal.LabelPodUID, "u")},
			{Address: "10.0.0.2:80", Labels: map[string]string{"__meta_kubernetes_pod_name": "skip"}},
		},
	}
	s := newSource(t, Default(), Sources{Monitors: fixedGroups{&fixed{groups: []Group{g}}}})
	specs, excluded := s.discover(nil)
	sp := specs["http://10.0.0.1:80/probe?module=m&target=10.0.0.1%3A80"]
	want := signal.Labels("job", "j", "pod", "p", "team", "x", signal.LabelPodUID, "u", labelInstance, "me")
	if len(specs) != 1 || len(excluded) != 0 || sp == nil || sp.labels != want || sp.interval != 5*time.Second || sp.timeout != 5*time.Second {
		t.Errorf("%+v, %v", sp, excluded)
	}
	g.Scrape.Relabel = []Rule{{Action: "what"}}
	s = newSource(t, Default(), Sources{Monitors: fixedGroups{&fixed{groups: []Group{g}}}})
	if specs, excluded := s.discover(nil); len(specs) != 0 || len(excluded) != 2 || !strings.HasPrefix(excluded[0], "servicemonitor/ns/m: relabel[0].action: ") {
		t.Errorf("%v, %q", specs, excluded)
	}
}

// Of two ways to one URL the configuration's counts most, then a monitor's, a
// pod's, a service's: no page is scraped twice.
func TestOneURLIsScrapedOnce(t *testing.T) {
	group := func(name string) fixedGroups {
		return fixedGroups{&fixed{groups: []Group{{Name: name, Endpoints: []Endpoint{{Address: "10.0.0.1:80"}}}}}}
	}
	from := Sources{
		Services: group("service/a/b"), Monitors: group("podmonitor/a/b"),
		Pods: fixedPods{&fixed{pods: []Pod{{
			Namespace: "a", Name: "p", IP: "10.0.0.1", Phase: "Running", Annotations: map[string]string{annotationScrape: "true", annotationPort: "80"},
		}}}},
	}
	c := conf(Target{URL: "http://10.0.0.1/metrics"})
	for _, want := range []string{"configuration", "podmonitor/a/b", "pod/a/p", "service/a/b"} {
		specs, _ := newSource(t, c, from).discover(nil)
		if len(specs) != 1 || specs["http://10.0.0.1:80/metrics"].from != want {
			t.Errorf("%v, want it from %s", specs, want)
		}
		switch want {
		case "configuration":
			c.Targets = nil
		case "podmonitor/a/b":
			c.Monitors = "false"
		case "pod/a/p":
			c.Annotations = false
		}
	}
}

// Every target of a group has one agent, whoever lives; those of a dead agent
// move and no others.
func TestEveryTargetHasOneAgent(t *testing.T) {
	peers := []string{"n1", "n2", "n3", "n4"}
	owner := func(e Endpoint, peers []string) string {
		t.Helper()
		var owners []string
		for _, p := range []string{"n1", "n2", "n3", "n4"} {
			if (&Source{from: Sources{Self: p}}).ours(e, peers) {
				owners = append(owners, p)
			}
		}
		if len(owners) != 1 {
			t.Fatalf("%v has %v", e, owners)
		}
		return owners[0]
	}
	share := map[string]int{}
	for i := range 1000 {
		e := Endpoint{Address: fmt.Sprintf("10.0.%d.%d:9100", i/256, i%256)}
		all := owner(e, peers)
		share[all]++
		if less := owner(e, peers[:3]); all != "n4" && less != all {
			t.Fatalf("%v moved from %s to %s", e, all, less)
		}
		if got := owner(Endpoint{Address: e.Address, Node: "n2"}, peers); got != "n2" {
			t.Fatalf("a target on n2 is scraped by %s", got)
		}
		owner(Endpoint{Address: e.Address, Node: "n4"}, peers[:3])
	}
	for _, p := range peers {
		if share[p] < 180 || share[p] > 320 {
			t.Errorf("shares %v", share)
		}
	}
	if !(&Source{}).ours(Endpoint{}, nil) {
		t.Error("alone, we scrape nothing")
	}
}

// pipes is a network in memory: all connections lead to one server.
type pipes struct{ conns chan net.Conn }

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// counting is a Sink that counts scrapes by instance.
type counting struct {
	mu sync.Mutex
	up map[string][]int64 // times; guarded by mu
}

func (c *counting) Put(_ context.Context, b *signal.Batch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range b.Samples {
		if d := s.Series.Desc(); d.Name == metricUp && s.Value == 1 {
			i := signal.Lookup(d.Labels, labelInstance)
			c.up[i] = append(c.up[i], s.Time)
		}
	}
	return nil
}

// times returns when targets were up, by instance.
func (c *counting) times() map[string][]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := map[string][]int64{}
	for i, t := range c.up {
		m[i] = slices.Clone(t)
	}
	return m
}

// Run scrapes each target once an interval, spread over it, starts and stops
// targets as they come and go, and returns when it is told to.
func TestRunFollowsItsTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipes{make(chan net.Conn)}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "x 1\n") })}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := server.Serve(p); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		c := Default()
		c.Native = "false"
		for i := range 20 {
			c.Targets = append(c.Targets, Target{URL: fmt.Sprintf("http://10.0.0.%d:80/metrics", i)})
		}
		pods := &fixed{}
		s := newSource(t, c, Sources{Pods: fixedPods{pods}})
		s.wires.dial = func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			p.conns <- b
			return a, nil
		}
		out := &counting{up: map[string][]int64{}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx, out) }()
		advance := func(d time.Duration) {
			timer := time.NewTimer(d)
			<-timer.C
			synctest.Wait()
		}
		advance(4 * time.Second)
		if up := out.times(); len(up) != 20 {
			t.Errorf("%d of 20 targets were scraped in the first seconds", len(up))
		}
		advance(10 * time.Minute)
		var phases []int64
		for i, times := range out.times() {
			if len(times) < 20 || len(times) > 22 {
				t.Errorf("%s was scraped %d times in ten minutes", i, len(times))
			}
			phases = append(phases, times[len(times)-1]%30_000/3000)
		}
		slices.Sort(phases)
		if n := len(slices.Compact(phases)); n < 6 {
			t.Errorf("scrapes fall on %d tenths of the interval", n)
		}
		const pod = "10.9.9.9:80"
		pods.set(Pod{Namespace: "a", Name: "p", IP: "10.9.9.9", Phase: "Running", Annotations: map[string]string{annotationScrape: "true", annotationPort: "80"}})
		advance(time.Minute)
		if times := out.times()[pod]; len(times) < 1 || len(s.Status()) != 21 || s.Stats().Targets.Load() != 21 {
			t.Errorf("a new pod: scraped at %v, %d targets", times, len(s.Status()))
		}
		pods.set()
		advance(10 * time.Second)
		n := len(out.times()[pod])
		advance(2 * time.Minute)
		if len(out.times()[pod]) != n || len(s.Status()) != 20 || len(s.Trouble()) != 0 {
			t.Errorf("a pod that is gone is scraped: %q", s.Trouble())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if late := s.stats.Late.Load(); late != 0 || s.stats.Scrapes.Load() != s.stats.Good.Load() {
			t.Errorf("%d late, %d of %d good", late, s.stats.Good.Load(), s.stats.Scrapes.Load())
		}
		if st := s.Stats(); st.Items.Load()+st.Lost.Load() != st.Plain.Load()+st.Dists.Load()+3*st.Scrapes.Load() {
			t.Errorf("%d items of %d scrapes", st.Items.Load(), st.Scrapes.Load())
		}
		close(p.conns)
		wg.Wait()
		server.Close()
	})
}
