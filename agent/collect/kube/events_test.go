package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/causeway-agent/causeway/agent/signal"
)

// sink keeps what it is given.
type sink struct {
	mu      sync.Mutex
	refuse  error
	events  []signal.EventItem
	samples []signal.Sample
}

func (s *sink) Put(ctx context.Context, b *signal.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.events = append(s.events, b.Events...)
	s.samples = append(s.samples, b.Samples...)
	return ctx.Err()
}

func (s *sink) set(refuse error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = refuse
}

// ids returns the ids of the events so far, and forgets them.
func (s *sink) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, e := range s.events {
		ids = append(ids, e.ID)
	}
	s.events = nil
	return ids
}

// stream is an API server's events: a list, and a watch of what is added.
type stream struct {
	mu      sync.Mutex
	items   []corev1.Event // in the order of their versions
	expired int            // versions up to this one are forgotten
	lists   int
	paged   bool // the list has a page of one event, and one of all others
	broken  bool // whose second page cannot be had, once
	watches []chan watch.Event
}

// add adds an event or changes one.
func (s *stream) add(uid string, count int32, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(watch.Added, uid, count, at)
}

func (s *stream) addLocked(t watch.EventType, uid string, count int32, at time.Time) {
	e := corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "shop", Name: uid, UID: types.UID(uid), ResourceVersion: fmt.Sprint(len(s.items) + 1)},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web"},
		Reason:         "BackOff", Type: "Warning", Count: count, LastTimestamp: metav1.NewTime(at),
	}
	s.items = append(s.items, e)
	for _, w := range s.watches {
		w <- watch.Event{Type: t, Object: &e}
	}
}

// expire makes the server forget all versions, and end its watches by saying so.
func (s *stream) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expired = len(s.items)
	gone := apierrors.NewResourceExpired("too old").Status()
	for _, w := range s.watches {
		w <- watch.Event{Type: watch.Error, Object: &gone}
	}
}

func (s *stream) List(_ context.Context, o metav1.ListOptions) (*corev1.EventList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Continue != "" && s.broken {
		s.broken = false
		return nil, apierrors.NewInternalError(errors.New("a page is lost"))
	}
	s.lists++
	last := map[types.UID]corev1.Event{}
	for _, e := range s.items {
		last[e.UID] = e
	}
	l := &corev1.EventList{ListMeta: metav1.ListMeta{ResourceVersion: fmt.Sprint(len(s.items))}}
	for _, uid := range slices.Sorted(maps.Keys(last)) {
		l.Items = append(l.Items, last[uid])
	}
	switch {
	case s.paged && o.Continue == "":
		l.Items, l.Continue = l.Items[:1], "more"
	case s.paged:
		l.Items = l.Items[1:]
	}
	return l, nil
}

func (s *stream) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from := 0
	if _, err := fmt.Sscan(o.ResourceVersion, &from); err != nil {
		return nil, apierrors.NewBadRequest("a version of another server")
	}
	if from < s.expired {
		return nil, apierrors.NewResourceExpired("too old")
	}
	c := make(chan watch.Event, 1000)
	for i := from; i < len(s.items); i++ {
		c <- watch.Event{Type: watch.Modified, Object: &s.items[i]}
	}
	s.watches = append(s.watches, c)
	return watchOf{c}, nil
}

type watchOf struct{ c chan watch.Event }

func (w watchOf) Stop()                          {}
func (w watchOf) ResultChan() <-chan watch.Event { return w.c }

// agent is one agent's reader of events.
type agent struct {
	events *events
	out    *sink
	stop   func()
	server *leaseServer // nobody renews the lease
}

// start starts a reader whose folder is dir and to whom the lease says mark, by holder.
func start(t *testing.T, s *stream, dir, name, mark, holder string) *agent {
	t.Helper()
	k := New(Default(), Identity{PodName: name}, dir, slog.New(slog.DiscardHandler))
	server := &leaseServer{lease: &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &name}}}
	k.cluster.leases.begin(reach{server, name}, "causeway", name)
	k.cluster.leases.found, k.cluster.leases.holder = map[string]string{markEvents: mark}, holder
	ctx, cancel := context.WithCancel(t.Context())
	a := &agent{events: k.cluster.events, out: &sink{}, server: server}
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.events.run(ctx, s, a.out)
	}()
	a.stop = func() { cancel(); <-done }
	synctest.Wait()
	return a
}

func (a *agent) mark() string {
	a.events.leases.mu.Lock()
	defer a.events.leases.mu.Unlock()
	return a.events.leases.marks[markEvents]
}

func wantIDs(t *testing.T, what string, a *agent, want ...string) {
	t.Helper()
	synctest.Wait()
	got := a.out.ids()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestEventsAreTakenOncePerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		s.add("old", 1, time.Now().Add(-time.Hour))
		s.add("a", 3, time.Now())
		a := start(t, s, t.TempDir(), "one", "", "")
		defer a.stop()
		wantIDs(t, "the list, as far as it is new", a, "a-3")
		s.add("a", 4, time.Now())
		s.add("b", 1, time.Now())
		wantIDs(t, "a series goes on, another begins", a, "a-4", "b-1")
		s.add("b", 1, time.Now())
		wantIDs(t, "touched, but not repeated", a)
		st := &a.events.stats
		if st.Seen.Load() != 5 || st.Taken.Load() != 3 || st.Repeated.Load() != 1 || st.Old.Load() != 1 {
			t.Errorf("seen %d, taken %d, repeated %d, old %d", st.Seen.Load(), st.Taken.Load(), st.Repeated.Load(), st.Old.Load())
		}
	})
}

func TestEventsOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := &stream{}, t.TempDir()
		s.add("a", 1, time.Now())
		a := start(t, s, dir, "one", "", "")
		wantIDs(t, "first", a, "a-1")
		mark := a.mark()
		if got := a.server.lease.Annotations[markEvents]; got != mark || mark == "" {
			t.Errorf("after the first list the lease says %q, not %q", got, mark)
		}
		a.stop()
		s.add("b", 1, time.Now().Add(-time.Hour)) // late, and still the stream has it
		a = start(t, s, dir, "one", mark, "one")
		wantIDs(t, "what came between", a, "b-1")
		if s.lists != 1 {
			t.Errorf("%d lists", s.lists)
		}
		a.stop()
		s.expire()
		s.add("c", 1, time.Now())
		s.expired++
		a = start(t, s, dir, "one", a.mark(), "one")
		defer a.stop()
		wantIDs(t, "what came between, by the list", a, "c-1")
	})
}

func TestEventsOverAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := &stream{}, t.TempDir()
		s.add("a", 1, time.Now())
		a := start(t, s, t.TempDir(), "one", "", "")
		wantIDs(t, "the first leader", a, "a-1")
		a.stop()
		s.add("b", 1, time.Now())
		b := start(t, s, dir, "two", a.mark(), "one")
		wantIDs(t, "the second", b, "b-1")
		b.stop()
		s.add("c", 1, time.Now())
		a = start(t, s, t.TempDir(), "one", b.mark(), "two")
		wantIDs(t, "the first again", a, "c-1")
		a.stop()
		b = start(t, s, dir, "two", a.mark(), "one") // its own file is older than the lease
		wantIDs(t, "nothing was missed", b)
		b.stop()
		if s.lists != 1 {
			t.Errorf("%d lists", s.lists)
		}
	})
}

func TestEventsOverAnExpiredVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		s.add("a", 1, time.Now())
		a := start(t, s, t.TempDir(), "one", "", "")
		defer a.stop()
		wantIDs(t, "first", a, "a-1")
		time.Sleep(time.Hour)
		s.mu.Lock()
		s.watches = nil // the connection is lost, and nothing said
		s.mu.Unlock()
		s.add("a", 9, time.Now())
		s.add("b", 1, time.Now())
		s.mu.Lock()
		s.expired = len(s.items)
		s.mu.Unlock()
		a.stop()
		b := start(t, s, t.TempDir(), "two", a.mark(), "one")
		defer b.stop()
		wantIDs(t, "by the list", b, "a-9", "b-1")
		time.Sleep(time.Hour)
		s.expire()
		wantIDs(t, "nothing twice", b)
		s.add("c", 1, time.Now())
		wantIDs(t, "and on", b, "c-1")
	})
}

func TestEventsThatTheSinkDoesNotTakeComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		a := start(t, s, t.TempDir(), "one", "", "")
		defer a.stop()
		a.out.set(errors.New("full"))
		s.add("a", 1, time.Now())
		wantIDs(t, "refused", a)
		a.out.set(nil)
		time.Sleep(time.Minute)
		wantIDs(t, "taken", a, "a-1")
	})
}

func TestAClockThatIsAheadHidesNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{}
		s.add("ahead", 1, time.Now().Add(24*time.Hour))
		a := start(t, s, t.TempDir(), "one", "", "")
		defer a.stop()
		wantIDs(t, "first", a, "ahead-1")
		s.mu.Lock()
		s.watches = nil
		s.mu.Unlock()
		s.add("b", 1, time.Now())
		s.mu.Lock()
		s.expired = len(s.items)
		s.mu.Unlock()
		a.stop()
		b := start(t, s, t.TempDir(), "two", a.mark(), "one")
		defer b.stop()
		if got := b.out.ids(); !slices.Contains(got, "b-1") {
			t.Errorf("only %v", got)
		}
	})
}

// Pages come by name: the newest event of all may be on the first.
func TestAListThatBreaksOffLosesNoEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stream{paged: true, broken: true}
		s.add("a", 1, time.Now())
		s.add("b", 1, time.Now().Add(-30*time.Minute))
		a := start(t, s, t.TempDir(), "one", eventMark{newest: time.Now().Add(-time.Hour).UnixMilli()}.String(), "two")
		defer a.stop()
		wantIDs(t, "the first page", a, "a-1")
		time.Sleep(time.Minute)
		wantIDs(t, "the second, when it can be had", a, "b-1")
	})
}

func TestEventFilter(t *testing.T) {
	f := func(c EventFilter, want bool) {
		t.Helper()
		o := &corev1.Event{Reason: "BackOff", Type: "Warning", InvolvedObject: corev1.ObjectReference{Namespace: "shop"}}
		if got := c.takes(o); got != want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	f(EventFilter{}, true)
	f(EventFilter{Namespaces: []string{"shop"}, Types: []string{"Warning"}, Reasons: []string{"BackOff"}}, true)
	f(EventFilter{Namespaces: []string{"kube-system"}}, false)
	f(EventFilter{Types: []string{"Normal"}}, false)
	f(EventFilter{Reasons: []string{"Killing"}}, false)
	f(EventFilter{Exclude: []string{"BackOff"}}, false)
	f(EventFilter{Exclude: []string{"BackOff/shop"}}, false)
	f(EventFilter{Exclude: []string{"BackOff/other"}}, true)
}

func TestEventsAsTheyArePassedOn(t *testing.T) {
	f := func(manifest, want string) {
		t.Helper()
		b := &signal.Batch{Kind: signal.Event, Events: []signal.EventItem{eventItem(object[*corev1.Event](t, "apiVersion: v1\nkind: Event\n"+manifest))}}
		got := signal.Format(b)
		got = withoutNode(got)
		if strings.TrimSpace(got) != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	f(`
metadata: {name: e, namespace: shop, uid: u1}
involvedObject: {kind: Pod, namespace: shop, name: web-1, uid: p1, fieldPath: "spec.containers{app}"}
reason: BackOff
message: Back-off restarting
type: Warning
count: 7
firstTimestamp: "2026-01-02T03:00:00Z"
lastTimestamp: "2026-01-02T03:04:05Z"
source: {component: kubelet, host: n1}
`, `event @1767323045000000000 4 "kubernetes" "u1-7" "BackOff: Pod shop/web-1" "Back-off restarting" {host.name="n1",k8s.container.name="app",k8s.event.component="kubelet",k8s.event.reason="BackOff",k8s.event.type="Warning",k8s.namespace.name="shop",k8s.node.name="n1",k8s.object.kind="Pod",k8s.object.name="web-1",k8s.object.uid="p1",k8s.pod.name="web-1",k8s.pod.uid="p1"} count=7`)
	f(`
metadata: {name: e, namespace: default, uid: u2}
involvedObject: {kind: Node, name: n2}
reason: NodeNotReady
type: Normal
eventTime: "2026-01-02T03:00:00.000000Z"
reportingComponent: node-controller
series: {count: 3, lastObservedTime: "2026-01-02T03:04:05.500000Z"}
`, `event @1767323045500000000 6 "kubernetes" "u2-3" "NodeNotReady: Node n2" "" {host.name="n2",k8s.event.component="node-controller",k8s.event.reason="NodeNotReady",k8s.event.type="Normal",k8s.node.name="n2",k8s.object.kind="Node",k8s.object.name="n2"} count=3`)
	f(`
metadata: {name: e, namespace: shop, uid: u3, creationTimestamp: "2026-01-02T03:04:05Z"}
involvedObject: {kind: Deployment, namespace: shop, name: web}
reason: ScalingReplicaSet
type: Normal
`, `event @1767323045000000000 6 "kubernetes" "u3-1" "ScalingReplicaSet: Deployment shop/web" "" {k8s.deployment.name="web",k8s.event.reason="ScalingReplicaSet",k8s.event.type="Normal",k8s.namespace.name="shop",k8s.object.kind="Deployment",k8s.object.name="web"} count=1`)
}

func TestEventMarks(t *testing.T) {
	f := func(s string, ok bool) {
		t.Helper()
		if m, got := parseEventMark(s); got != ok || ok && m.String() != s {
			t.Errorf("%q: %v, %+v", s, got, m)
		}
	}
	f("1767323045000 4711", true)
	f("1767323045000 ", true) // the place is forgotten, the time is not
	f("", false)
	f("4711", false)
	f("-1 4711", false)
	f("99999999999999999999 1", false)
	f("1 "+strings.Repeat("x", 300), false)
}

func FuzzEventMark(f *testing.F) {
	f.Add("1767323045000 4711")
	f.Add("x")
	f.Fuzz(func(t *testing.T, s string) {
		if m, ok := parseEventMark(s); ok {
			if n, ok := parseEventMark(m.String()); !ok && m != (eventMark{}) || ok && n != m {
				t.Errorf("%q: %+v, then %+v", s, m, n)
			}
		}
	})
}

func TestADamagedEventFileIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, text := range []string{"", "{", `{"version":"a b","newest":1}`} {
			if err := os.WriteFile(filepath.Join(dir, "events.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := &stream{}
			s.add("a", 1, time.Now())
			a := start(t, s, dir, "one", "", "")
			wantIDs(t, fmt.Sprintf("%q", text), a, "a-1")
			a.stop()
		}
	})
}

func TestManyEventsAreRememberedWithinBounds(t *testing.T) {
	f := newEventFile(t.TempDir())
	for i := range 3 * mostKnown {
		f.took(fmt.Sprint(i), 1, time.Now())
	}
	if n := len(f.known) + len(f.older); n > 2*mostKnown || len(f.latest) != mostLatest {
		t.Errorf("%d known, %d kept", n, len(f.latest))
	}
	if !f.knows(fmt.Sprint(3*mostKnown-1), 1) || !f.knows(fmt.Sprint(2*mostKnown), 1) || f.knows("0", 1) || f.knows(fmt.Sprint(3*mostKnown-1), 2) {
		t.Error("the wrong ones are known")
	}
	if err := f.save(true); err != nil {
		t.Fatal(err)
	}
	g := &eventFile{path: f.path, known: map[string]int32{}}
	if err := g.load(); err != nil {
		t.Fatal(err)
	}
	if g.mark != f.mark || !g.knows(fmt.Sprint(3*mostKnown-mostLatest), 1) || g.knows(fmt.Sprint(3*mostKnown-mostLatest-1), 1) {
		t.Errorf("read back: %+v, %d known", g.mark, len(g.known))
	}
}

// withoutNode takes out what tells the hub that something is of no node; the hub takes
// it out as well.
func withoutNode(text string) string {
	return strings.NewReplacer(`{-="1",`, "{", `{-="1"}`, "{}").Replace(text)
}
