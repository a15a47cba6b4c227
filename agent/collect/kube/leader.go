package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Times of the election. A leader that cannot renew stops after renewDeadline,
// well before anybody may take the lease from it.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// Annotations of the lease: how far the leader has come.
const (
	markSampled = "causeway.dev/sampled" // the newest interval that was handed on, Unix milliseconds
	markEvents  = "causeway.dev/events"  // where to go on reading events: see eventMark
)

// cluster is the source of everything that is on no node.
type cluster struct {
	k      *Kube
	leases *leases
	events *events
	kinds  []kind // of objects; none where they are off

	mu      sync.Mutex
	leader  string       // who leads; guarded by mu
	leading bool         // guarded by mu
	since   time.Time    // of leader; guarded by mu
	tables  []*feedTable // of the present lead; guarded by mu
	server  *apiServer   // of the present lead; guarded by mu

	work sync.Mutex // held while leading
}

type feedTable struct {
	feed  *feed
	table *table
}

func newCluster(k *Kube) *cluster {
	c := &cluster{k: k, leases: &leases{k: k}}
	c.events = newEvents(k, c.leases)
	if k.conf.Objects == "leader" {
		c.kinds = kinds(k.conf)
	}
	return c
}

var _ collect.Source = (*cluster)(nil)

// idle reports whether there is nothing to lead for.
func (c *cluster) idle() bool {
	conf := c.k.conf
	return c.k.id.Role == "node" || conf.Objects == "off" && conf.Events == "off" && !conf.APIServer
}

// Run stands for election until ctx ends, and does the leader's work while it
// is elected.
func (c *cluster) Run(ctx context.Context, out collect.Sink) error {
	if c.idle() {
		<-ctx.Done()
		return nil
	}
	cs, err := c.k.connect(ctx)
	if err != nil || cs == nil {
		return err
	}
	ns, err := c.k.leaseNamespace()
	if err != nil {
		return err
	}
	me, err := c.name()
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := c.term(ctx, cs, ns, me, out); err != nil {
			return err
		}
	}
	return nil
}

// name is under what name this agent stands for election: no other agent's.
func (c *cluster) name() (string, error) {
	if n := first(c.k.id.PodName, c.k.id.Node); n != "" {
		return n, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("a name to stand for election; set POD_NAME from metadata.name: %w", err)
	}
	return host, nil
}

// term waits to be elected, leads, and returns when it leads no more, or ctx ends.
func (c *cluster) term(ctx context.Context, cs *clients, namespace, me string, out collect.Sink) error {
	c.leases.begin(cs.coordination, namespace, me)
	// The elector gives the lease back when its context ends. That must not be
	// before the work has ended, so it gets a context that ends later.
	electing, release := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), klog.Logger{}))
	defer release()
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: namespace, Name: c.k.conf.LeaseName},
			Client:     c.leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: me},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: c.k.conf.LeaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(elected context.Context) { c.lead(ctx, elected, cs, out) },
			OnStoppedLeading: func() {},
			OnNewLeader:      c.newLeader,
		},
	})
	if err != nil {
		return fmt.Errorf("election: %w", err)
	}
	defer context.AfterFunc(ctx, func() {
		c.work.Lock() // the work ends with ctx too
		defer c.work.Unlock()
		release()
	})()
	e.Run(electing)
	c.work.Lock()
	defer c.work.Unlock()
	return nil
}

// newLeader is told who leads.
func (c *cluster) newLeader(name string) {
	c.mu.Lock()
	was := c.leader
	c.leader, c.since = name, time.Now()
	c.mu.Unlock()
	if was != name && name != "" {
		c.k.log.Info("the agents have a leader", "leader", name)
	}
}

// lead does the leader's work until ctx or elected ends.
func (c *cluster) lead(ctx, elected context.Context, cs *clients, out collect.Sink) {
	c.work.Lock()
	defer c.work.Unlock()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(elected, stop)()
	if ctx.Err() != nil || elected.Err() != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	tables := c.begin(cs)
	for _, t := range tables {
		wg.Go(func() { t.feed.run(ctx, cs) })
	}
	if len(tables) > 0 || c.k.conf.APIServer {
		wg.Go(func() { c.sample(ctx, tables, out) })
	}
	if c.k.conf.Events == "leader" {
		wg.Go(func() { c.events.run(ctx, cs.core.Events(""), out) })
	}
	<-ctx.Done()
	c.end()
}

// begin makes the stores of a lead; they are given up with it.
func (c *cluster) begin(cs *clients) []*feedTable {
	conf := c.k.conf
	fresh := func() rows {
		return rows{labels: conf.Labels, annotations: conf.Annotations, addresses: conf.EndpointAddresses, nowhere: true}
	}
	var tables []*feedTable
	for _, k := range c.kinds {
		t := newTable(k, fresh)
		tables = append(tables, &feedTable{feed: &feed{kind: k, store: t, log: c.k.log}, table: t})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leading, c.tables = true, tables
	if conf.APIServer {
		c.server = &apiServer{rest: cs.core.RESTClient()}
	}
	return tables
}

func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leading, c.tables, c.server = false, nil, nil
}

// leases is the client of the election. It writes how far this agent has come
// on the lease each time the lease is renewed, so that no right and hardly ever
// a request is needed for it.
type leases struct {
	k *Kube

	mu        sync.Mutex
	client    coordinationclient.LeasesGetter // guarded by mu
	namespace string                          // of the lease; guarded by mu
	me        string                          // guarded by mu
	found     map[string]string               // annotations of the lease when it was last read; guarded by mu
	holder    string                          // who had it then; guarded by mu
	marks     map[string]string               // to be written; guarded by mu
	written   map[string]string               // those on the lease; never changed, only replaced; guarded by mu
	last      error                           // guarded by mu
}

func (l *leases) begin(c coordinationclient.LeasesGetter, namespace, me string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.client, l.namespace, l.me, l.marks, l.written = c, namespace, me, map[string]string{}, nil
}

// mark sets what the next renewal writes.
func (l *leases) mark(key, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks[key] = value
}

// write writes the marks now, unless that of key is on the lease, or somebody
// else has it. It does not renew it. What goes wrong is left to the next renewal.
func (l *leases) write(ctx context.Context, key string) {
	ctx, cancel := context.WithTimeout(ctx, retryPeriod)
	defer cancel()
	for range 3 { // a renewal may come between
		l.mu.Lock()
		written, me, namespace := l.written[key] == l.marks[key], l.me, l.namespace
		l.mu.Unlock()
		if written {
			return
		}
		c := l.Leases(namespace)
		lease, err := c.Get(ctx, l.k.conf.LeaseName, metav1.GetOptions{})
		if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != me {
			return
		}
		if _, err := c.Update(ctx, lease, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return
		}
	}
}

// before returns what the leader before this one wrote, and who it was; it is
// this agent itself after a restart.
func (l *leases) before(key string) (value, holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found[key], l.holder
}

// name returns under what name this agent stands for election.
func (l *leases) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.me
}

// err returns why the lease cannot be had, nil if it can.
func (l *leases) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *leases) note(verb string, err error) {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || errors.Is(err, context.Canceled) {
		return // what an election is made of
	}
	err = explain(err, verb, "coordination.k8s.io", "leases")
	l.mu.Lock()
	was := l.last
	l.last = err
	l.mu.Unlock()
	switch {
	case err != nil && was == nil:
		l.k.log.Warn("cannot stand for election; trying again", "error", brief(err))
	case err == nil && was != nil:
		l.k.log.Info("can stand for election again")
	}
}

// Leases is part of the interface of client-go's clients.
func (l *leases) Leases(namespace string) coordinationclient.LeaseInterface {
	l.mu.Lock()
	defer l.mu.Unlock()
	return leaseClient{l.client.Leases(namespace), l}
}

type leaseClient struct {
	coordinationclient.LeaseInterface
	l *leases
}

// Get notes what the lease says.
func (c leaseClient) Get(ctx context.Context, name string, o metav1.GetOptions) (*coordinationv1.Lease, error) {
	lease, err := c.LeaseInterface.Get(ctx, name, o)
	c.l.note("get", err)
	if err == nil {
		c.l.see(lease)
	}
	return lease, err
}

// see keeps what others have written. What this agent has written itself in
// this term is no news.
func (l *leases) see(lease *coordinationv1.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marks) > 0 {
		return
	}
	l.found = maps.Clone(lease.Annotations)
	if h := lease.Spec.HolderIdentity; h != nil && *h != "" { // empty: it was given back
		l.holder = *h
	}
}

// Create is Create.
func (c leaseClient) Create(ctx context.Context, lease *coordinationv1.Lease, o metav1.CreateOptions) (*coordinationv1.Lease, error) {
	lease, err := c.LeaseInterface.Create(ctx, lease, o)
	c.l.note("create", err)
	return lease, err
}

// Update writes the marks too.
func (c leaseClient) Update(ctx context.Context, lease *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	c.l.mu.Lock()
	marks := maps.Clone(c.l.marks)
	c.l.mu.Unlock()
	if lease.Annotations == nil {
		lease.Annotations = map[string]string{}
	}
	maps.Copy(lease.Annotations, marks)
	lease, err := c.LeaseInterface.Update(ctx, lease, o)
	if err == nil {
		c.l.mu.Lock()
		c.l.written = marks
		c.l.mu.Unlock()
	}
	c.l.note("update", err)
	return lease, err
}
