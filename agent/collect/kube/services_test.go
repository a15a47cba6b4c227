package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// The pod of the agent itself, which is on node n1, and another on n2.
const agents = `
apiVersion: v1
kind: Pod
metadata: {name: agent-1, namespace: causeway, uid: a1, labels: {app.kubernetes.io/name: causeway, app.kubernetes.io/component: agent},
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: causeway, uid: d, controller: true}]}
spec: {nodeName: n1}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent-2, namespace: causeway, uid: a2, labels: {app.kubernetes.io/name: causeway, app.kubernetes.io/component: agent},
  ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: causeway, uid: d, controller: true}]}
spec: {nodeName: n2}
status: {phase: Running, conditions: [{type: Ready, status: "True"}]}`

const webService = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web}, annotations: {prometheus.io/scrape: "true"}}
spec: {ipFamilies: [IPv4, IPv6]}`

// Its endpoints: a pod here, one on a node with an agent, one on a node without, one that
// is not ready, and one that is no pod.
const webSlice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: my-metrics, port: 9090}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- {addresses: [10.0.0.7], nodeName: n1, conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: web-5d-x, uid: u1}}
- {addresses: [10.0.0.8], nodeName: n2, conditions: {ready: true}, targetRef: {kind: Pod, namespace: shop, name: web-5d-y, uid: u2}}
- {addresses: [10.0.0.9], nodeName: n9, zone: z9, targetRef: {kind: Pod, namespace: shop, name: web-5d-z, uid: u3}}
- {addresses: [10.0.0.6], nodeName: n1, conditions: {ready: false}}
- {addresses: [192.0.2.1]}`

const webSlice6 = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: my-metrics, port: 9090}]
endpoints: [{addresses: ["fd00::7"], nodeName: n1}]`

var portsOfAPod = strings.NewReplacer(`name: side, image: side}`,
	`name: side, image: side, ports: [{name: my-metrics, containerPort: 9090}, {name: extra, containerPort: 7070}]}`)

// read puts objects, divided by ---, where a watch would.
func (t *Targets) read(tb testing.TB, text string) {
	tb.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.Contains(doc, monitorsGroup) {
			t.readMonitor(tb, doc)
			continue
		}
		o := object[runtime.Object](tb, doc)
		var err error
		switch o := o.(type) {
		case *corev1.Service:
			err = t.services.Add(o)
		case *corev1.Pod:
			if o.Spec.NodeName == "n1" {
				err = t.k.pods.Add(o)
			}
			if o.Namespace == "causeway" {
				t.peers.filled = true
				err = t.peers.Add(o)
			}
		default:
			monitors, _ := t.serviceMonitors.list()
			names := t.toScrape(monitors)
			t.wanted.Store(&names)
			err = t.slices.Add(o)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func (t *Targets) readMonitor(tb testing.TB, doc string) {
	tb.Helper()
	js, err := yaml.ToJSON([]byte(doc))
	if err != nil {
		tb.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(js); err != nil {
		tb.Fatal(err)
	}
	t.all.Store(true)
	shelf := t.serviceMonitors
	if u.GetKind() == "PodMonitor" {
		shelf = t.podMonitors
	}
	if err := shelf.Add(u); err != nil {
		tb.Fatal(err)
	}
}

func targetsWith(t testing.TB, manifests ...string) *Targets {
	t.Helper()
	targets := newTestKube(t, nil).Targets(TargetsConfig{Services: true, Monitors: "auto"})
	for _, m := range manifests {
		targets.read(t, m)
	}
	return targets
}

// endpoints is what groups name, a line each: address, node, our labels.
func endpoints(from func(func(*Group) bool)) string {
	var lines []string
	from(func(g *Group) bool {
		for _, e := range g.Endpoints {
			lines = append(lines, fmt.Sprintf("%s %s:%s%s @%s %s", g.Name, first(g.Scheme, "http"), e.Address, first(g.Path, "/metrics"), e.Node, labelText(e.Known)))
		}
		return true
	})
	return strings.NewReplacer("cloud.availability_zone", "zone", "k8s.", "").Replace(strings.Join(lines, "\n"))
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("%s:\ngot\n%s\nwant\n%s", what, got, want)
	}
}

func TestAnnotatedServices(t *testing.T) {
	pod := portsOfAPod.Replace(aPod)
	targets := targetsWith(t, agents, pod, webService, webSlice, webSlice6)
	expect(t, "with another agent on n2", endpoints(targets.Services), `
service/shop/web http:10.0.0.7:9090/metrics @n1 container.name=side namespace.name=shop pod.name=web-5d-x pod.uid=u1 service.name=web
service/shop/web http:10.0.0.9:9090/metrics @n9 zone=z9 host.id= host.name=n9 namespace.name=shop node.name=n9 pod.name=web-5d-z pod.uid=u3 service.name=web
service/shop/web http:192.0.2.1:9090/metrics @ zone= host.id= host.name= node.name= service.name=web`)
	if got := targets.Peers(); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("peers: %v", got)
	}
	if got := targets.Trouble(); got != nil {
		t.Errorf("trouble: %v", got)
	}
	alone := targetsWith(t, pod, webService, webSlice)
	expect(t, "as long as the other agents are not known", endpoints(alone.Services), `
service/shop/web http:10.0.0.7:9090/metrics @n1 container.name=side namespace.name=shop pod.name=web-5d-x pod.uid=u1 service.name=web`)
	if got := alone.Peers(); !slices.Equal(got, []string{"n1"}) {
		t.Errorf("peers: %v", got)
	}
	off := targetsWith(t, agents, pod, webService, webSlice)
	off.conf.Services = false
	expect(t, "switched off", endpoints(off.Services), "")
}

func TestAnnotationsOfServices(t *testing.T) {
	f := func(annotations, want string) {
		t.Helper()
		svc := strings.Replace(webService, `prometheus.io/scrape: "true"`, annotations, 1)
		targets := targetsWith(t, agents, svc, strings.Replace(webSlice, "- {addresses: [10.0.0.8]", "#", 1))
		var got []string
		targets.Services(func(g *Group) bool {
			got = append(got, fmt.Sprintf("%s %s %s %v %v", first(g.Scheme, "-"), g.Endpoints[0].Address, first(g.Path, "-"), g.Scrape.Interval, g.Params))
			return true
		})
		if text := strings.Join(append(got, targets.Trouble()...), "\n"); text != want {
			t.Errorf("%s:\ngot  %s\nwant %s", annotations, text, want)
		}
	}
	const yes = `prometheus.io/scrape: "true", `
	f(`prometheus.io/scrape: "yes"`, "")
	f(yes, "- 10.0.0.7:9090 - 0s map[]")
	f(yes+`causeway.dev/metrics: "false"`, "")
	f(yes+`prometheus.io/port: "1234"`, "- 10.0.0.7:1234 - 0s map[]")
	f(yes+`prometheus.io/port: http, prometheus.io/scheme: https, prometheus.io/path: "/m?a=1", prometheus.io/interval: 5s`,
		"https 10.0.0.7:8080 /m 5s map[a:[1]]")
	f(yes+`prometheus.io/port: grpc`, `service/shop/web: annotation prometheus.io/port: "grpc" is no port of it`)
	f(yes+`prometheus.io/scheme: ftp`, `service/shop/web: annotation prometheus.io/scheme must be http or https, not "ftp"`)
	f(yes+`prometheus.io/interval: soon`, `service/shop/web: annotation prometheus.io/interval must be between 1s and 1h, not "soon"`)
	f(yes+`prometheus.io/path: "/?%zz"`, `service/shop/web: annotation prometheus.io/path: invalid URL escape "%zz"`)
}

func TestASliceWithoutPorts(t *testing.T) {
	slice := strings.Replace(webSlice, "ports: [{name: http, port: 8080}, {name: my-metrics, port: 9090}, {name: dns, port: 53, protocol: UDP}]", "ports: []", 1)
	targets := targetsWith(t, agents, webService, slice)
	expect(t, "endpoints", endpoints(targets.Services), "")
	expect(t, "trouble", strings.Join(targets.Trouble(), "\n"), "service/shop/web: it has no port: set annotation prometheus.io/port")
}

func TestOnlyWhatIsScrapedIsKept(t *testing.T) {
	plain := strings.NewReplacer("name: web", "name: plain", "true", "false").Replace(webService)
	targets := targetsWith(t, agents, webService, plain, webSlice, strings.ReplaceAll(webSlice, "web", "plain"))
	services, _ := targets.services.list()
	slices, _ := targets.slices.list()
	if len(services) != 1 || len(slices) != 1 {
		t.Errorf("%d services, %d slices", len(services), len(slices))
	}
	// A service that takes its annotation back is forgotten.
	targets.read(t, strings.Replace(webService, "true", "false", 1))
	if services, _ := targets.services.list(); len(services) != 0 {
		t.Error("still there")
	}
}

func TestVersionOfTargetsChangesWithThem(t *testing.T) {
	targets := targetsWith(t, agents, aPod, webService, webSlice)
	f := func(what string, want bool, manifest string) {
		t.Helper()
		was := targets.Version()
		targets.read(t, manifest)
		if got := targets.Version() != was; got != want {
			t.Errorf("%s: changed %v", what, got)
		}
	}
	f("the same service", false, webService)
	f("a service's path", true, strings.Replace(webService, `"true"`, `"true", prometheus.io/path: /x`, 1))
	f("the same slice", false, webSlice)
	f("an annotation of a slice, as they have at each change", false,
		strings.Replace(webSlice, "metadata: {", "metadata: {annotations: {endpoints.kubernetes.io/last-change-trigger-time: x}, ", 1))
	f("an endpoint's readiness", true, strings.Replace(webSlice, "ready: false", "ready: true", 1))
	f("a pod's label", true, strings.Replace(aPod, "team: web", "team: shop", 1))
}

func TestSelectorOfSlices(t *testing.T) {
	if got := sliceSelector(map[string]bool{"b/web": true, "a/web": true, "a/api": true}); got != "kubernetes.io/service-name in (api,web)" {
		t.Error(got)
	}
	many := map[string]bool{}
	for i := range 1000 {
		many[fmt.Sprintf("shop/service-%d", i)] = true
	}
	if got := sliceSelector(many); got != "" {
		t.Errorf("%d bytes of a URL", len(got))
	}
}

// metaText is the labels of the first endpoint that groups name, without a prefix.
func metaText(from func(func(*Group) bool), keep func(string) bool) string {
	var lines []string
	from(func(g *Group) bool {
		for _, k := range slices.Sorted(maps.Keys(g.Endpoints[0].Labels)) {
			if keep(k) {
				lines = append(lines, k+"="+g.Endpoints[0].Labels[k])
			}
		}
		return false
	})
	return strings.ReplaceAll(strings.Join(lines, "\n"), metaPrefix, "~")
}

// A cluster of 1,000 services with 30 endpoints each and 100 monitors, as the
// agent of one of 1,000 nodes sees it. This happens at most every five seconds.
func BenchmarkTargetsOfALargeCluster(b *testing.B) {
	targets := newTestKube(b, nil).Targets(TargetsConfig{Services: true, Monitors: "auto"})
	targets.all.Store(true)
	wanted := map[string]bool{}
	targets.wanted.Store(&wanted)
	targets.read(b, agents)
	for i := range 1000 {
		name := fmt.Sprintf("s%d", i)
		wanted["shop/"+name] = true
		targets.services.items["shop/"+name] = &serviceRecord{
			namespace: "shop", name: name, family: "IPv4", labels: map[string]string{"app": fmt.Sprintf("a%d", i%100)},
		}
		sl := &slice{namespace: "shop", name: name + "-x", service: name, family: "IPv4", ports: []slicePort{{name: "metrics", number: 80}}}
		for j := range 30 {
			sl.endpoints = append(sl.endpoints, sliceEndpoint{
				address: fmt.Sprintf("10.%d.%d.%d", i/250, i%250, j), node: fmt.Sprintf("n%d", (30*i+j)%1000), ready: true,
			})
		}
		targets.slices.items["shop/"+sl.name] = sl
		targets.peers.items["causeway/p"+name] = peer{pod: "p" + name, node: fmt.Sprintf("n%d", i), owner: "DaemonSet/causeway", ready: true}
	}
	for i := range 100 {
		m := strings.NewReplacer("name: web", fmt.Sprintf("name: m%d", i), "app: web", fmt.Sprintf("app: a%d", i), "my-metrics", "metrics").Replace(webMonitor)
		targets.readMonitor(b, m)
	}
	b.ResetTimer()
	n := 0
	for b.Loop() {
		n = 0
		targets.Monitors(func(g *Group) bool { n += len(g.Endpoints); return true })
		targets.Services(func(g *Group) bool { n += len(g.Endpoints); return true })
	}
	b.ReportMetric(float64(n), "endpoints")
}
