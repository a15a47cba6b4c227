package kube

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apimachinery/pkg/watch"
)

// targetAPI is an API server as Targets sees it.
type targetAPI struct {
	mu        sync.Mutex
	objects   map[string][]runtime.Object
	forbidden map[string]bool
	served    []string
	down      error
	lists     map[string]int    // how often a resource was listed
	selector  map[string]string // of the newest list
	open      map[string]chan watch.Event
}

func newTargetAPI() *targetAPI {
	return &targetAPI{
		objects: map[string][]runtime.Object{}, forbidden: map[string]bool{}, lists: map[string]int{}, selector: map[string]string{},
		open: map[string]chan watch.Event{},
	}
}

func (a *targetAPI) kind(resource, namespace, selector string) kind {
	k := targetKind(resource, namespace, selector)
	k.list = func(_ context.Context, _ *clients, o metav1.ListOptions) (runtime.Object, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		gr := schema.GroupResource{Group: k.group, Resource: resource}
		if a.forbidden[resource] {
			return nil, apierrors.NewForbidden(gr, "", errors.New("no"))
		}
		if k.group == monitorsGroup && !slices.Contains(a.served, resource) {
			return nil, apierrors.NewNotFound(gr, "")
		}
		a.lists[resource]++
		a.selector[resource] = namespace + "|" + o.LabelSelector
		l := &metav1.List{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
		for _, o := range a.objects[resource] {
			l.Items = append(l.Items, runtime.RawExtension{Object: o})
		}
		return l, nil
	}
	k.watch = func(ctx context.Context, _ *clients, o metav1.ListOptions) (watch.Interface, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if o.SendInitialEvents != nil { // an old server
			return nil, apierrors.NewInvalid(schema.GroupKind{}, "", nil)
		}
		c := make(chan watch.Event)
		if k.group == monitorsGroup && !slices.Contains(a.served, resource) {
			return nil, apierrors.NewNotFound(schema.GroupResource{Group: k.group, Resource: resource}, "")
		}
		a.open[resource] = c
		context.AfterFunc(ctx, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.open[resource] == c {
				delete(a.open, resource)
			}
		})
		return watchOf{c}, nil
	}
	return k
}

// happens sends what a watch of a resource tells.
func (a *targetAPI) happens(resource string, what watch.EventType, o runtime.Object) {
	a.mu.Lock()
	c := a.open[resource]
	a.mu.Unlock()
	o.(metav1.Object).SetResourceVersion("2")
	c <- watch.Event{Type: what, Object: o}
	synctest.Wait()
}

// watched returns what is watched, in order.
func (a *targetAPI) watched() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(a.open)), " ")
}

func (a *targetAPI) serves(names ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.served = names
}

func monitorObject(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	js, err := yaml.ToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(js); err != nil {
		t.Fatal(err)
	}
	return u
}

// runTargets runs Targets against a until the test is over. The lease is not
// where the agents are.
func runTargets(t *testing.T, a *targetAPI, conf TargetsConfig) *Targets {
	t.Helper()
	return runTargetsOf(t, newTestKube(t, func(c *Config) { c.LeaseNamespace = "kube-system" }), a, conf)
}

func runTargetsOf(t *testing.T, k *Kube, a *targetAPI, conf TargetsConfig) *Targets {
	t.Helper()
	k.clients = &clients{}
	if err := k.pods.Add(objects(t, strings.TrimPrefix(agents, "\n"))[0]); err != nil {
		t.Fatal(err)
	}
	targets := k.Targets(conf)
	targets.kindOf = a.kind
	targets.served = func(context.Context, *clients) ([]string, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.served, a.down
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- targets.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	settleTargets()
	return targets
}

// settleTargets lets pass what it takes to arrange things anew.
func settleTargets() {
	for range 5 {
		time.Sleep(gather + time.Millisecond)
		synctest.Wait()
	}
}

func TestOnlyWhatIsNeededIsWatched(t *testing.T) {
	f := func(name, want string, conf TargetsConfig, fill func(*targetAPI)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newTargetAPI()
				fill(a)
				runTargets(t, a, conf)
				if got := a.watched(); got != want {
					t.Errorf("watches %q, want %q", got, want)
				}
			})
		})
	}
	yes := TargetsConfig{Services: true, Monitors: "auto"}
	plain := object[*corev1.Service](t, strings.Replace(webService, "true", "false", 1))
	web := object[*corev1.Service](t, webService)
	f("no service asks", "services", yes, func(a *targetAPI) { a.objects["services"] = []runtime.Object{plain} })
	f("one asks", "endpointslices pods services", yes, func(a *targetAPI) { a.objects["services"] = []runtime.Object{web} })
	f("services are off", "", TargetsConfig{Monitors: "auto"}, func(a *targetAPI) { a.objects["services"] = []runtime.Object{web} })
	f("CRDs without objects", "podmonitors servicemonitors", TargetsConfig{Monitors: "auto"}, func(a *targetAPI) { a.serves("servicemonitors", "podmonitors") })
	f("a monitor that selects nothing", "servicemonitors services", TargetsConfig{Monitors: "auto"}, func(a *targetAPI) {
		a.serves("servicemonitors")
		a.objects["servicemonitors"] = []runtime.Object{monitorObject(t, webMonitor)}
	})
	f("a monitor that selects a service", "endpointslices pods servicemonitors services", TargetsConfig{Monitors: "auto"}, func(a *targetAPI) {
		a.serves("servicemonitors")
		a.objects["services"] = []runtime.Object{plain}
		a.objects["servicemonitors"] = []runtime.Object{monitorObject(t, webMonitor)}
	})
	f("monitors are off", "services", TargetsConfig{Services: true, Monitors: "false"}, func(a *targetAPI) { a.serves("servicemonitors", "podmonitors") })
}

func TestWhatIsWatchedFollowsTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTargetAPI()
		a.objects["services"] = []runtime.Object{}
		a.objects["endpointslices"] = []runtime.Object{objects(t, strings.TrimPrefix(webSlice, "\n"))[0]}
		a.objects["pods"] = objects(t, strings.TrimPrefix(agents, "\n"))
		targets := runTargets(t, a, TargetsConfig{Services: true, Monitors: "auto"})
		n := func(from func(func(*Group) bool)) (n int) {
			from(func(g *Group) bool { n += len(g.Endpoints); return true })
			return n
		}

		web := object[*corev1.Service](t, webService)
		a.happens("services", watch.Added, web.DeepCopy())
		settleTargets()
		if got := n(targets.Services); got != 3 || a.watched() != "endpointslices pods services" {
			t.Errorf("after a service came: %d endpoints, watches %s", got, a.watched())
		}
		const agentLabels = "app.kubernetes.io/component=agent,app.kubernetes.io/name=causeway"
		if a.selector["endpointslices"] != "|kubernetes.io/service-name in (web)" || a.selector["pods"] != "causeway|"+agentLabels {
			t.Errorf("selectors: %v", a.selector)
		}

		// One that falls away costs no new list of slices, one that comes does.
		api := web.DeepCopy()
		api.Name = "api"
		a.happens("services", watch.Added, api)
		settleTargets()
		if a.selector["endpointslices"] != "|kubernetes.io/service-name in (api,web)" || a.lists["endpointslices"] != 2 || a.lists["pods"] != 1 {
			t.Errorf("lists: %v, selectors: %v", a.lists, a.selector)
		}
		a.happens("services", watch.Deleted, api)
		settleTargets()
		if a.lists["endpointslices"] != 2 || n(targets.Services) != 3 {
			t.Errorf("lists: %v, endpoints: %d", a.lists, n(targets.Services))
		}

		// The CRDs are installed, with a monitor; and taken away.
		a.mu.Lock()
		a.objects["services"] = []runtime.Object{web}
		a.objects["servicemonitors"] = []runtime.Object{monitorObject(t, webMonitor)}
		a.mu.Unlock()
		a.serves("servicemonitors", "podmonitors")
		time.Sleep(lookEvery * 3 / 2) // the longest that it is not asked
		settleTargets()
		if n(targets.Monitors) == 0 || a.watched() != "endpointslices podmonitors pods servicemonitors services" || a.lists["services"] != 2 {
			t.Errorf("with the CRDs: %d endpoints, watches %s, lists %v", n(targets.Monitors), a.watched(), a.lists)
		}
		a.serves()
		a.mu.Lock()
		for _, r := range monitorResources {
			close(a.open[r])
		}
		a.mu.Unlock()
		time.Sleep(4 * lookEvery)
		settleTargets()
		if n(targets.Monitors) != 0 || n(targets.Services) != 3 || a.watched() != "endpointslices pods services" {
			t.Errorf("without them: %d and %d endpoints, watches %s", n(targets.Monitors), n(targets.Services), a.watched())
		}
		if got := targets.Trouble(); got != nil {
			t.Errorf("trouble: %v", got)
		}

		// The last that asked to be scraped takes it back.
		a.happens("services", watch.Modified, object[*corev1.Service](t, strings.Replace(webService, "true", "false", 1)))
		settleTargets()
		if n(targets.Services) != 0 || a.watched() != "services" {
			t.Errorf("nobody asks: %d endpoints, watches %s", n(targets.Services), a.watched())
		}
	})
}

func TestWhatIsForbiddenFailsAlone(t *testing.T) {
	f := func(resource, want string, services, monitors int) {
		t.Run(resource, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newTargetAPI()
				a.serves("servicemonitors", "podmonitors")
				a.objects["services"] = []runtime.Object{object[*corev1.Service](t, webService)}
				a.objects["servicemonitors"] = []runtime.Object{monitorObject(t, webMonitor)}
				a.objects["endpointslices"] = []runtime.Object{objects(t, strings.TrimPrefix(webSlice, "\n"))[0]}
				a.objects["pods"] = objects(t, strings.TrimPrefix(agents, "\n"))
				a.forbidden[resource] = true
				targets := runTargets(t, a, TargetsConfig{Services: true, Monitors: "auto"})
				s, m := 0, 0
				targets.Services(func(g *Group) bool { s += len(g.Endpoints); return true })
				targets.Monitors(func(g *Group) bool { m += len(g.Endpoints); return true })
				trouble := strings.Join(targets.Trouble(), "\n")
				if s != services || m != monitors || !strings.Contains(trouble, want) || strings.Count(trouble, "\n") != 0 {
					t.Errorf("%d and %d endpoints; %s", s, m, trouble)
				}
				a.mu.Lock()
				delete(a.forbidden, resource)
				a.mu.Unlock()
				time.Sleep(3 * mostPause)
				if got := targets.Trouble(); got != nil {
					t.Errorf("allowed, but %v", got)
				}
			})
		})
	}
	rule := func(group, resource string) string {
		return `list ` + resource + `: forbidden; a rule of the agent's role must have apiGroups ["` + group + `"], resources ["` + resource + `"], verbs ["list"]`
	}
	f("services", rule("", "services"), 0, 0)
	f("endpointslices", rule("discovery.k8s.io", "endpointslices"), 0, 0)
	f("servicemonitors", rule(monitorsGroup, "servicemonitors"), 3, 0)
	f("podmonitors", rule(monitorsGroup, "podmonitors"), 3, 4)
	f("pods", "the other agents are not known, so that this one scrapes only what is on its own node: "+rule("", "pods"), 1, 2)
}

// Outside of a pod an agent has no place to look for the others.
func TestWithoutANamespaceTheOtherAgentsAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTargetAPI()
		a.objects["services"] = []runtime.Object{object[*corev1.Service](t, webService)}
		a.objects["endpointslices"] = []runtime.Object{objects(t, strings.TrimPrefix(webSlice, "\n"))[0]}
		k := newTestKube(t, func(c *Config) { c.LeaseNamespace = "kube-system" })
		k.id.Namespace = ""
		targets := runTargetsOf(t, k, a, TargetsConfig{Services: true, Monitors: "auto"})
		if got := targets.Trouble(); len(got) != 1 || !strings.Contains(got[0], "set POD_NAMESPACE") {
			t.Errorf("trouble: %q", got)
		}
		if got := strings.Join(targets.Peers(), " "); got != "n1" || a.watched() != "endpointslices services" {
			t.Errorf("peers: %s; watches %s", got, a.watched())
		}
	})
}

func TestMonitorsThatMustBeThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTargetAPI()
		targets := runTargets(t, a, TargetsConfig{Monitors: "true"})
		expect(t, "without CRDs", strings.Join(targets.Trouble(), "\n"),
			"monitors: this cluster has no monitoring.coreos.com/v1; install the Prometheus operator's CRDs, or set collect.prometheus.monitors: auto")
		a.mu.Lock()
		a.down = errors.New("get /apis: no")
		a.mu.Unlock()
		time.Sleep(3 * lookEvery)
		expect(t, "unknown", strings.Join(targets.Trouble(), "\n"), "monitors: get /apis: no")
	})
}

func TestWhichAgentsAreAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := targetsWith(t, agents)
		two := strings.Split(agents, "\n---\n")[1]
		f := func(what, manifest, want string) {
			t.Helper()
			targets.read(t, manifest)
			if got := strings.Join(targets.Peers(), " "); got != want {
				t.Errorf("%s: %s", what, got)
			}
		}
		f("both", agents, "n1 n2")
		f("one that is not ready", strings.Replace(two, `"True"`, `"False"`, 1), "n1 n2")
		time.Sleep(unreadyFor / 2)
		f("still, and its pod changed", strings.Replace(two, `"True"`, `"False", reason: x`, 1), "n1 n2")
		time.Sleep(unreadyFor / 2)
		f("for a minute", strings.Replace(two, `"True"`, `"False"`, 1), "n1")
		f("ready again", two, "n1 n2")
		f("on its way out", strings.Replace(two, "uid: a2", "uid: a2, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [a]", 1), "n1")
		f("another's", strings.Replace(two, "name: causeway, uid: d", "name: causeway-cluster, uid: e", 1), "n1")
		f("finished", strings.Replace(two, "phase: Running", "phase: Failed", 1), "n1")
		f("on no node yet", strings.Replace(two, "nodeName: n2", "", 1), "n1")

		lost := targetsWith(t, two, webService, webSlice)
		const want = "this agent's pod is not among those it looks for (labels app.kubernetes.io/name=causeway, on node n1)"
		if got := lost.Trouble(); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("ours is not among them: %v", got)
		}
		expect(t, "then it keeps to its own node", endpoints(lost.Services),
			"service/shop/web http:10.0.0.7:9090/metrics @n1 namespace.name=shop pod.name=web-5d-x pod.uid=u1 service.name=web")
	})
}
