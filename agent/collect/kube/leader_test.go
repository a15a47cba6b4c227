package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// leaseServer keeps one lease as an API server does.
type leaseServer struct {
	coordinationclient.CoordinationV1Interface
	coordinationclient.LeaseInterface

	mu      sync.Mutex
	lease   *coordinationv1.Lease
	version int
	cut     string // who cannot reach it
}

// reach is the server as one agent reaches it.
type reach struct {
	*leaseServer
	who string
}

func (r reach) Leases(string) coordinationclient.LeaseInterface { return r }

func (r reach) lock() (func(), error) {
	r.mu.Lock()
	if r.cut == r.who {
		r.mu.Unlock()
		return nil, errors.New("no route to host")
	}
	return r.mu.Unlock, nil
}

func (r reach) Get(context.Context, string, metav1.GetOptions) (*coordinationv1.Lease, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r.lease == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "causeway")
	}
	return r.lease.DeepCopy(), nil
}

func (r reach) Create(_ context.Context, l *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	return r.keepLocked(l)
}

func (r reach) Update(_ context.Context, l *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	unlock, err := r.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if l.ResourceVersion != r.lease.ResourceVersion {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, "causeway", errors.New("changed"))
	}
	return r.keepLocked(l)
}

func (r reach) keepLocked(l *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	r.version++
	r.lease = l.DeepCopy()
	r.lease.ResourceVersion = fmt.Sprint(r.version)
	return r.lease.DeepCopy(), nil
}

// namespaces is a kind of which there is one object, and nothing happens.
func namespaces() kind {
	k := of("", "namespaces", func(*clients) lister[*corev1.NamespaceList] { return nil }, namespace)
	k.list = func(context.Context, *clients, metav1.ListOptions) (runtime.Object, error) {
		return &corev1.NamespaceList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.Namespace{{
			ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}}}, nil
	}
	k.watch = func(ctx context.Context, _ *clients, o metav1.ListOptions) (watch.Interface, error) {
		if o.SendInitialEvents != nil { // an old server
			return nil, apierrors.NewInvalid(schema.GroupKind{}, "", nil)
		}
		return watchOf{make(chan watch.Event)}, nil
	}
	return k
}

// runs is one agent that stands for election.
type runs struct {
	k    *Kube
	out  *sink
	stop func()
}

func stand(t *testing.T, s *leaseServer, name string, kinds ...kind) *runs {
	t.Helper()
	c := Default()
	c.Events, c.APIServer, c.LeaseNamespace = "off", false, "causeway"
	r := &runs{k: New(c, Identity{PodName: name, Role: "auto"}, t.TempDir(), slog.New(slog.DiscardHandler)), out: &sink{}}
	r.k.clients = &clients{coordination: reach{s, name}}
	r.k.cluster.kinds = kinds
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.k.Cluster().Run(ctx, r.out); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}()
	r.stop = func() { cancel(); <-done }
	return r
}

// intervals returns the times of which an agent has spoken, in seconds from at.
func (r *runs) intervals(at time.Time) []int {
	r.out.mu.Lock()
	defer r.out.mu.Unlock()
	var list []int
	for _, s := range r.out.samples {
		if s.Series.Desc().Name == "kube_namespace_status_phase" {
			list = append(list, int(s.Time/1000-at.Unix()))
		}
	}
	return list
}

// every15 reports whether list is 0, 15, 30, … without a gap, and how many
// times are there twice.
func every15(list []int) (gapless bool, twice int) {
	slices.Sort(list)
	n := len(list)
	list = slices.Compact(list)
	for i, v := range list {
		if v != 15*i {
			return false, n - len(list)
		}
	}
	return true, n - len(list)
}

func TestAHandOverLosesNoInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().Truncate(15 * time.Second)
		s := &leaseServer{}
		a := stand(t, s, "a", namespaces())
		time.Sleep(3 * time.Second)
		b := stand(t, s, "b", namespaces())
		time.Sleep(time.Minute)
		if st := b.k.Status(); st.Leader != "a" || st.Leading || !a.k.Status().Leading || len(b.intervals(began)) != 0 {
			t.Errorf("%+v leads with %v", st, b.intervals(began))
		}
		a.stop() // gives the lease back
		time.Sleep(10 * time.Second)
		if !b.k.Status().Leading {
			t.Error("nobody leads ten seconds after the lease was given back")
		}
		time.Sleep(time.Minute)
		b.stop()
		if ok, twice := every15(append(a.intervals(began), b.intervals(began)...)); !ok || twice != 0 {
			t.Errorf("%v, then %v", a.intervals(began), b.intervals(began))
		}
	})
}

func TestALeaderThatIsCutOffStopsBeforeItsLeaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().Truncate(15 * time.Second)
		s := &leaseServer{}
		a := stand(t, s, "a", namespaces())
		time.Sleep(time.Second)
		b := stand(t, s, "b", namespaces())
		time.Sleep(time.Minute)
		s.mu.Lock()
		s.cut = "a"
		s.mu.Unlock()
		time.Sleep(renewDeadline + retryPeriod + time.Second)
		if a.k.Status().Leading || b.k.Status().Leading {
			t.Errorf("after the renewal deadline a leads: %v, b: %v", a.k.Status().Leading, b.k.Status().Leading)
		}
		if e := a.k.Status().Election; !strings.Contains(e, "no route") {
			t.Errorf("a says of it %q", e)
		}
		time.Sleep(time.Minute)
		if st := b.k.Status(); !st.Leading || st.Leader != "b" {
			t.Errorf("%+v", st)
		}
		b.stop()
		ok, twice := every15(append(a.intervals(began), b.intervals(began)...))
		if !ok || twice > 1 {
			t.Errorf("%v, then %v", a.intervals(began), b.intervals(began))
		}
		s.mu.Lock()
		s.cut = ""
		s.mu.Unlock()
		a.stop()
	})
}

func TestAResourceThatIsForbiddenFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secrets := namespaces()
		secrets.resource = "widgets"
		secrets.group = "shop.example.com"
		allowed := false
		var mu sync.Mutex
		list, forbidden := secrets.list, apierrors.NewForbidden(schema.GroupResource{Group: "shop.example.com", Resource: "widgets"}, "", errors.New("no"))
		secrets.list = func(ctx context.Context, c *clients, o metav1.ListOptions) (runtime.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			if !allowed {
				return nil, forbidden
			}
			return list(ctx, c, o)
		}
		a := stand(t, &leaseServer{}, "a", secrets, namespaces())
		defer a.stop()
		time.Sleep(time.Second)
		st := a.k.Status().Resources
		if len(st) != 2 || st[0].Synced || !strings.Contains(st[0].Error, `apiGroups ["shop.example.com"], resources ["widgets"], verbs ["list"]`) {
			t.Errorf("%+v", st)
		}
		if !st[1].Synced || st[1].Error != "" || len(a.intervals(time.Now())) == 0 {
			t.Errorf("the other one: %+v, %v", st[1], a.intervals(time.Now()))
		}
		mu.Lock()
		allowed = true
		mu.Unlock()
		time.Sleep(2 * mostPause)
		if st := a.k.Status().Resources[0]; !st.Synced || st.Error != "" || st.Objects != 1 {
			t.Errorf("after the rule was added: %+v", st)
		}
	})
}

func TestWhereANewLeaderGoesOn(t *testing.T) {
	now := time.Unix(1_000_007, 0)
	f := func(mark string, want int64) {
		t.Helper()
		if got := resume(mark, now, 10*time.Second).Unix(); got != want {
			t.Errorf("%q: %d, want %d", mark, got, want)
		}
	}
	f("", 1_000_000)
	f("x", 1_000_000)
	f("999970000", 999_980)
	f("1000000000", 1_000_010)
	f("1000010000", 1_000_000) // from a clock that is ahead
	f("999000000", 1_000_000)  // long ago
	f("2000000000", 1_000_000) // another clock
	f("-99999999", 1_000_000)
}

func TestTheRoleSaysWhoStands(t *testing.T) {
	f := func(role, objects, events string, server, want bool) {
		t.Helper()
		c := Default()
		c.Objects, c.Events, c.APIServer = objects, events, server
		if got := !New(c, Identity{Role: role}, "", slog.New(slog.DiscardHandler)).cluster.idle(); got != want {
			t.Errorf("%s %s %s: stands %v", role, objects, events, got)
		}
	}
	f("auto", "leader", "leader", true, true)
	f("cluster", "leader", "off", false, true)
	f("node", "leader", "leader", true, false)
	f("auto", "off", "off", false, false)
	f("auto", "off", "leader", false, true)
	f("auto", "off", "off", true, true)
}

func TestWithoutAClusterThereIsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("KUBERNETES_SERVICE_HOST", "")
		k := newTestKube(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, s := range []collect.Source{k.Pods(), k.Cluster()} {
			wg.Go(func() {
				if err := s.Run(ctx, &sink{}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		err := k.PodState().Sample(ctx, &signal.Batch{Kind: signal.Metric})
		if err != nil || !k.Absent() || !strings.Contains(k.Status().Absent, "kubeconfig") {
			t.Errorf("%v; absent: %v, %+v", err, k.Absent(), k.Status())
		}
		cancel()
		wg.Wait()
		k.conf.Enabled = "true"
		if err := k.Pods().Run(t.Context(), &sink{}); !errors.Is(err, collect.ErrAbsent) || k.Absent() {
			t.Errorf("enabled: true: %v; absent: %v", err, k.Absent())
		}
	})
}

// apiServerFor is an API server that answers as h does, and a room that uses it.
func apiServerFor(t *testing.T, h http.HandlerFunc, change func(*Config)) *Kube {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nusers: [{name: u, user: {token: t}}]\n" +
		"clusters: [{name: k, cluster: {server: '" + s.URL + "'}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return newTestKube(t, func(c *Config) {
		c.Kubeconfig = file
		if change != nil {
			change(c)
		}
	})
}

func TestWhatAnswersOfTheServerMean(t *testing.T) {
	f := func(code int, want string) {
		t.Helper()
		k := apiServerFor(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "because", code) }, nil)
		c, err := k.open()
		if err != nil {
			t.Fatal(err)
		}
		for _, kd := range kinds(everything()) {
			_, err := kd.list(t.Context(), c, metav1.ListOptions{})
			got := text(explain(err, "list", kd.group, kd.resource))
			if !strings.Contains(got, strings.ReplaceAll(want, "RESOURCE", kd.resource)) {
				t.Errorf("%d of %s: %s", code, kd.resource, got)
			}
		}
	}
	f(403, `resources ["RESOURCE"], verbs ["list"]`)
	f(401, "does not accept the agent's token")
	f(404, "does not serve them")
	f(410, "list RESOURCE: ")
	f(503, "list RESOURCE: ")
}

func TestAServerThatHangsHoldsNothingUp(t *testing.T) {
	asked := make(chan struct{}, 100)
	k := apiServerFor(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- k.Pods().Run(ctx, &sink{}) }()
	go func() { done <- k.Cluster().Run(ctx, &sink{}) }()
	<-asked
	<-asked
	if b := (&signal.Batch{Kind: signal.Metric}); k.PodState().Sample(ctx, b) != nil || len(b.Samples) != 0 {
		t.Error("the state of pods nobody has read")
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestConfigComplaints(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Check()
		if err == nil || !strings.HasPrefix(err.Error(), want+": ") && !strings.HasPrefix(err.Error(), want+"[") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	f("enabled", func(c *Config) { c.Enabled = "yes" })
	f("objects", func(c *Config) { c.Objects = "all" })
	f("events", func(c *Config) { c.Events = "" })
	f("cardinality", func(c *Config) { c.Cardinality = "medium" })
	f("kubeconfig", func(c *Config) { c.Kubeconfig = "config" })
	f("interval", func(c *Config) { c.Interval = 0 })
	f("keep", func(c *Config) { c.Keep = 2 * time.Hour })
	f("lease_name", func(c *Config) { c.LeaseName = "A b" })
	f("lease_namespace", func(c *Config) { c.LeaseNamespace = "-" })
	f("qps", func(c *Config) { c.QPS = 0 })
	f("burst", func(c *Config) { c.Burst = 0 })
	f("exclude[0]", func(c *Config) { c.Exclude = []string{"widgets"} })
	f("event_filter.types[1]", func(c *Config) { c.EventFilter.Types = []string{"Normal", "Error"} })
	f("labels[0]", func(c *Config) { c.Labels = []string{""} })
	f("event_filter.reasons[0]", func(c *Config) { c.EventFilter.Reasons = []string{""} })
}

func TestAnExcludedResourceIsNotRead(t *testing.T) {
	c := Default()
	c.Exclude = []string{"replicasets"}
	for _, k := range kinds(c) {
		if k.resource == "replicasets" || k.resource == "secrets" {
			t.Errorf("%s is read", k.resource)
		}
	}
}
