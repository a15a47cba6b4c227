package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// TargetsConfig says which objects may name targets.
type TargetsConfig struct {
	Services bool   // those with the annotation prometheus.io/scrape: "true"
	Monitors string // ServiceMonitor and PodMonitor objects: auto (where the cluster has them) | true | false
}

// Targets are what objects of the cluster name to be scraped. It is safe for any
// number of goroutines.
//
// While Run runs it watches, on each node, no more than it must:
//
//	services                    where Services is set, or there is a ServiceMonitor
//	endpointslices              of the services that are to be scraped, while there are any
//	pods of the agent, in its   while there are any: their agents agree on who scrapes what
//	own namespace
//	servicemonitors,            where the cluster has them; it is asked once a minute
//	podmonitors
//
// which takes list and watch of services ("") and endpointslices
// (discovery.k8s.io), of servicemonitors and podmonitors (monitoring.coreos.com)
// in the cluster, and of pods in the agent's own namespace, which the right to
// watch the node's pods includes. What is forbidden fails alone: Trouble names it.
//
// PodMonitors see the pods of this node; each node's agent does its own. A pod
// on a node without an agent is scraped through services only.
type Targets struct {
	k    *Kube
	conf TargetsConfig

	// The borders to the API server.
	kindOf func(resource, namespace, labels string) kind
	served func(context.Context, *clients) ([]string, error)

	version atomic.Uint64
	kick    chan struct{} // what is to be watched may be another now

	services        *shelf[*serviceRecord]
	slices          *shelf[*slice]
	serviceMonitors *shelf[*monitor]
	podMonitors     *shelf[*monitor]
	peers           *shelf[peer]
	all             atomic.Bool                     // services without the annotation are kept too
	wanted          atomic.Pointer[map[string]bool] // whose slices are kept: namespace/name of services

	mu      sync.Mutex
	feeds   map[string]*watching           // by resource; guarded by mu
	serves  []string                       // monitors' resources that the cluster has; guarded by mu
	failed  error                          // why it cannot be asked; guarded by mu
	trouble map[string]map[string][]string // by sort of object and its name; guarded by mu
}

// watching is a feed that runs.
type watching struct {
	feed   *feed
	params string // what it was started with
	stop   func()
	done   chan struct{}
}

// monitorsGroup is the API group of the Prometheus operator's objects.
const monitorsGroup = "monitoring.coreos.com"

// How long changes are gathered before what is watched is arranged anew, and
// how often, about, the cluster is asked whether it has monitors.
const (
	gather    = time.Second
	lookEvery = time.Minute
)

// longestSelector bounds a label selector, which is part of a URL. With more
// services than that holds all endpoint slices are read, and most left out.
const longestSelector = 4 << 10

// Targets returns what objects of the cluster name to be scraped. It watches
// nothing before its Run.
func (k *Kube) Targets(c TargetsConfig) *Targets {
	t := &Targets{
		k: k, conf: c, kindOf: targetKind, served: servedMonitors, kick: make(chan struct{}, 1),
		feeds: map[string]*watching{}, trouble: map[string]map[string][]string{},
	}
	bump := func() { t.version.Add(1) }
	both := func() {
		bump()
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
	t.services = newShelf(t.newService, both)
	t.slices = newShelf(t.newSlice, bump)
	t.serviceMonitors = newShelf(newServiceMonitor, both)
	t.podMonitors = newShelf(newPodMonitor, bump)
	t.peers = newShelf(t.newPeer, bump)
	return t
}

// Version changes whenever Services or Monitors may yield something else.
func (t *Targets) Version() uint64 { return t.version.Load() + t.k.pods.Changes() }

// Run watches until ctx ends, and returns nil then.
func (t *Targets) Run(ctx context.Context) error {
	c, err := t.connect(ctx)
	if err != nil || c == nil {
		return err
	}
	defer t.stop()
	var ask time.Time
	for {
		if !time.Now().Before(ask) {
			// All agents of a cluster start at the same moment.
			ask = time.Now().Add(lookEvery/2 + rand.N(lookEvery))
			t.look(ctx, c)
		}
		pause := time.Until(ask)
		if !t.arrange(ctx, c) {
			pause = gather
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-t.kick:
			wait(ctx, gather)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// connect waits for a connection. Nil without an error is for a ctx that has ended.
func (t *Targets) connect(ctx context.Context) (*clients, error) {
	for {
		c, err := t.k.connect(ctx)
		t.fail(err)
		if err == nil || !wait(ctx, mostPause) {
			return c, nil
		}
	}
}

func (t *Targets) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = err
}

// look asks which kinds of monitors the cluster has, unless it has them all and
// they can be read.
func (t *Targets) look(ctx context.Context, c *clients) {
	if t.conf.Monitors == "false" {
		return
	}
	t.mu.Lock()
	well := len(t.serves) == len(monitorResources)
	for _, r := range monitorResources {
		well = well && (t.feeds[r] == nil || t.feeds[r].feed.err() == nil)
	}
	t.mu.Unlock()
	if well {
		return
	}
	list, err := t.served(ctx, c)
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed = err; err == nil {
		t.serves = list
	}
}

var monitorResources = [...]string{"servicemonitors", "podmonitors"}

// arrange starts and stops feeds, so that what is to be watched is. It returns
// false as long as it is not known what that is.
func (t *Targets) arrange(ctx context.Context, c *clients) bool {
	want := map[string]bool{}
	begin := func(resource, params, namespace, labels string, s cache.ReflectorStore) {
		want[resource] = true
		t.begin(ctx, c, resource, params, t.kindOf(resource, namespace, labels), s)
	}
	t.mu.Lock()
	serves := t.serves
	t.mu.Unlock()
	settled := true // it is known whether there is a ServiceMonitor
	if slices.Contains(serves, "servicemonitors") {
		begin("servicemonitors", "", "", "", t.serviceMonitors)
		settled = t.serviceMonitors.ready() || t.err("servicemonitors") != nil
	}
	if slices.Contains(serves, "podmonitors") && t.k.conf.Pods {
		begin("podmonitors", "", "", "", t.podMonitors)
	}
	monitors, _ := t.serviceMonitors.list()
	all := len(monitors) > 0
	switch {
	case !settled && t.watches("services") == nil:
		return false // rather than to read all services twice
	case all || t.conf.Services:
		t.all.Store(all)
		begin("services", fmt.Sprint(all), "", "", t.services)
	}
	if names := t.toScrape(monitors); len(names) > 0 {
		t.slicesOf(names, begin)
		if ns, err := t.k.namespace(); err == nil { // else peersTrouble says so
			selector, _ := kinOf(t.self())
			begin("pods", selector, ns, selector, t.peers)
		}
	}
	t.end(want)
	return true
}

// slicesOf watches the endpoint slices of services. Those that fell away are
// left out at the next time that one is added.
func (t *Targets) slicesOf(names map[string]bool, begin func(resource, params, namespace, labels string, s cache.ReflectorStore)) {
	w := t.watches("endpointslices")
	if old := t.wanted.Load(); w != nil && old != nil && within(names, *old) {
		begin("endpointslices", w.params, "", w.feed.kind.labels, t.slices)
		return
	}
	t.wanted.Store(&names)
	begin("endpointslices", strings.Join(slices.Sorted(maps.Keys(names)), ","), "", sliceSelector(names), t.slices)
}

// within reports whether all of a is in b.
func within(a, b map[string]bool) bool {
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// sliceSelector selects the endpoint slices of services, those of services of
// the same names elsewhere included. Empty is all.
func sliceSelector(services map[string]bool) string {
	var names []string
	for key := range services {
		_, name, _ := strings.Cut(key, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	s := discoveryv1.LabelServiceName + " in (" + strings.Join(slices.Compact(names), ",") + ")"
	if len(s) > longestSelector {
		return ""
	}
	return s
}

// toScrape returns the services whose endpoints are to be known.
func (t *Targets) toScrape(monitors []*monitor) map[string]bool {
	names := map[string]bool{}
	list, _ := t.services.list()
	for _, s := range list {
		if t.conf.Services && s.annotated() || slices.ContainsFunc(monitors, func(m *monitor) bool { return m.selects(s.namespace, s.labels) }) {
			names[s.namespace+"/"+s.name] = true
		}
	}
	return names
}

// begin starts a feed, unless it runs with these params.
func (t *Targets) begin(ctx context.Context, c *clients, resource, params string, k kind, s cache.ReflectorStore) {
	if w := t.watches(resource); w != nil {
		if w.params == params {
			return
		}
		w.stop()
		<-w.done
	}
	ctx, stop := context.WithCancel(ctx)
	w := &watching{feed: &feed{kind: k, store: s, log: t.k.log}, params: params, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.feed.run(ctx, c)
	}()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feeds[resource] = w
}

// end stops the feeds that are not wanted, and forgets what they have read.
func (t *Targets) end(want map[string]bool) {
	t.mu.Lock()
	feeds := maps.Clone(t.feeds)
	maps.DeleteFunc(t.feeds, func(resource string, _ *watching) bool { return !want[resource] })
	t.mu.Unlock()
	stores := map[string]interface{ empty() }{
		"services": t.services, "endpointslices": t.slices, "pods": t.peers, "servicemonitors": t.serviceMonitors, "podmonitors": t.podMonitors,
	}
	for resource, w := range feeds {
		if !want[resource] {
			w.stop()
			<-w.done
			stores[resource].empty()
		}
	}
}

// stop ends all feeds. What they have read stays: a reload is no reason to
// forget it, and nobody asks after an end.
func (t *Targets) stop() {
	t.mu.Lock()
	feeds := t.feeds
	t.feeds = map[string]*watching{}
	t.mu.Unlock()
	for _, w := range feeds {
		w.stop()
		<-w.done
	}
}

func (t *Targets) watches(resource string) *watching {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.feeds[resource]
}

func (t *Targets) err(resource string) error {
	if w := t.watches(resource); w != nil {
		return w.feed.err()
	}
	return nil
}

// Trouble returns what is wrong now, with its remedy; nil if nothing is. It
// includes what an object asks for that the agent does not do, as of the last
// time that Services and Monitors were asked.
func (t *Targets) Trouble() []string {
	if err := t.k.absent(); err != nil {
		return nil // Status says so
	}
	var list []string
	t.mu.Lock()
	if t.failed != nil {
		list = append(list, "monitors: "+brief(t.failed))
	}
	if t.conf.Monitors == "true" && t.failed == nil && len(t.serves) == 0 {
		list = append(list, "monitors: this cluster has no "+monitorsGroup+"/v1; install the Prometheus operator's CRDs, or set collect.prometheus.monitors: auto")
	}
	feeds := maps.Clone(t.feeds)
	for _, sort := range slices.Sorted(maps.Keys(t.trouble)) {
		for _, name := range slices.Sorted(maps.Keys(t.trouble[sort])) {
			for _, text := range t.trouble[sort][name] {
				list = append(list, name+": "+text)
			}
		}
	}
	t.mu.Unlock()
	for _, resource := range slices.Sorted(maps.Keys(feeds)) {
		if err := feeds[resource].feed.err(); err != nil {
			if resource == "pods" {
				err = fmt.Errorf("the other agents are not known, so that this one scrapes only what is on its own node: %w", err)
			}
			list = append(list, brief(err))
		}
	}
	if text := t.peersTrouble(); text != "" {
		list = append(list, text)
	}
	return list
}

// targetKind is how a resource is read that names targets.
func targetKind(resource, namespace, labels string) kind {
	var k kind
	switch resource {
	case "services":
		k = of("", resource, func(c *clients) lister[*corev1.ServiceList] { return c.core.Services("") }, func(*rows, *corev1.Service) {})
	case "endpointslices":
		k = of("discovery.k8s.io", resource, func(c *clients) lister[*discoveryv1.EndpointSliceList] { return c.discovery.EndpointSlices("") },
			func(*rows, *discoveryv1.EndpointSlice) {})
	case "pods":
		k = of("", resource, func(c *clients) lister[*corev1.PodList] { return c.core.Pods(namespace) }, pod)
		k.fields = "status.phase=Running"
	default:
		k = monitorKind(resource)
	}
	k.labels = labels
	return k
}

// monitorKind is how ServiceMonitors or PodMonitors are read.
func monitorKind(resource string) kind {
	gvr := schema.GroupVersionResource{Group: monitorsGroup, Version: "v1", Resource: resource}
	return kind{
		group: monitorsGroup, resource: resource, example: &unstructured.Unstructured{},
		list: func(ctx context.Context, c *clients, o metav1.ListOptions) (runtime.Object, error) {
			return c.dynamic.Resource(gvr).List(ctx, o)
		},
		watch: func(ctx context.Context, c *clients, o metav1.ListOptions) (watch.Interface, error) {
			return c.dynamic.Resource(gvr).Watch(ctx, o)
		},
	}
}

// servedMonitors asks which kinds of monitors the cluster has. It takes the right
// to see what an API server serves, which everybody has unless it was taken away.
func servedMonitors(ctx context.Context, c *clients) ([]string, error) {
	const path = "/apis/" + monitorsGroup + "/v1"
	raw, err := c.core.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, explainPath(err, path)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New(path + ": the answer is no list of resources")
	}
	var names []string
	for _, r := range list.APIResources {
		if slices.Contains(monitorResources[:], r.Name) {
			names = append(names, r.Name)
		}
	}
	return names, nil
}
