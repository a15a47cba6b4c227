package kube

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// mostGone bounds how many deleted pods are remembered, mostIDs how many
// containers of one pod: one that crashes for a week has had thousands.
const (
	mostGone = 1000
	mostIDs  = 16
)

// Pods knows the pods of this node: for the hub, which completes labels with
// what it says, and for other rooms. It is safe for any number of goroutines.
type Pods struct {
	k     *Kube
	feed  *feed
	namer namer

	version atomic.Uint64
	changes atomic.Uint64

	mu     sync.RWMutex
	byID   map[string]*podEntry // by UID, and by the kubelet's own UID of a static pod; guarded by mu
	byName map[string]*podEntry // by namespace/name; guarded by mu
	byCont map[string]contEntry // by container id; guarded by mu
	gone   []*podEntry          // deleted, oldest first; guarded by mu
	filled bool                 // guarded by mu
}

// podEntry is what is known of one pod. It is never changed but for gone.
type podEntry struct {
	pod        *Pod
	spec       PodSpec
	alias      string // another UID
	labels     string
	logLabels  string
	containers map[string]contLabels // by name
	ids        []contID              // containers there are and were, newest last
	own, sums  []reading
	gone       time.Time // zero while it is there; guarded by Pods.mu
}

// contLabels is what is said of one container.
type contLabels struct {
	labels    string // for its metrics
	logLabels string // for its log
	advice    LogAdvice
}

type contID struct{ id, name string }

type contEntry struct {
	pod  *podEntry
	name string
}

func newPods(k *Kube) *Pods {
	lvl, _ := parseLevel(k.conf.Cardinality)
	p := &Pods{
		k:      k,
		namer:  namer{level: lvl, labels: k.conf.Labels, annotations: k.conf.Annotations},
		byID:   map[string]*podEntry{},
		byName: map[string]*podEntry{},
		byCont: map[string]contEntry{},
	}
	// A name that no node has stands for the missing one: never all pods of the cluster.
	p.feed = &feed{kind: podsOf("spec.nodeName=" + first(k.id.Node, "-")), store: p, log: k.log}
	return p
}

var (
	_ collect.Source       = (*Pods)(nil)
	_ cache.ReflectorStore = (*Pods)(nil)
)

// Run watches the pods of this node until ctx ends. It produces no signals
// itself: PodState does.
func (p *Pods) Run(ctx context.Context, _ collect.Sink) error {
	if !p.k.conf.Pods || p.k.id.Role == "cluster" {
		<-ctx.Done()
		return nil
	}
	c, err := p.k.connect(ctx)
	if err != nil || c == nil {
		return err
	}
	if p.k.id.Node == "" {
		return fmt.Errorf("watch pods: the agent does not know its node; set NODE_NAME from spec.nodeName, or agent.node")
	}
	p.feed.run(ctx, c)
	return nil
}

// Labels returns what is known of the pod, or the container, that a label set
// names: by container.id, k8s.pod.uid, or namespace and name of the pod.
// Nothing where it names none, or one that is not on this node. A label in set
// itself is to count before one of the answer's.
func (p *Pods) Labels(set string) string {
	var id, uid, ns, name, cont string
	isLog := false
	for rest := set; ; {
		k, v, more, ok := signal.NextLabel(rest)
		if !ok {
			break
		}
		switch k {
		case signal.LabelContainerID:
			id = v
		case signal.LabelPodUID:
			uid = v
		case signal.LabelNamespace:
			ns = v
		case signal.LabelPod:
			name = v
		case signal.LabelK8sContainer:
			cont = v
		case signal.LabelLogFile, signal.LabelLogStream:
			isLog = true
		}
		rest = more
	}
	if id == "" && uid == "" && name == "" {
		return ""
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	e := p.byID[uid]
	if c, ok := p.byCont[id]; ok {
		e, cont = c.pod, c.name
	}
	if e == nil && uid == "" && ns != "" && name != "" {
		e = p.byName[ns+"/"+name]
	}
	if e == nil {
		return ""
	}
	if c, ok := e.containers[cont]; ok {
		if isLog {
			return c.logLabels
		}
		return c.labels
	}
	if isLog {
		return e.logLabels
	}
	return e.labels
}

// Version changes whenever an answer of Labels may have changed.
func (p *Pods) Version() uint64 { return p.version.Load() }

// Changes changes whenever Each may yield something else; Version does not, as
// most of what happens to a pod concerns no label.
func (p *Pods) Changes() uint64 { return p.changes.Load() }

// Logs returns what the pod's annotations say about the log of a container;
// known is false where there is no such pod on this node, or not yet.
func (p *Pods) Logs(podUID, container string) (advice LogAdvice, known bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	e := p.byID[podUID]
	if e == nil {
		return LogAdvice{}, false
	}
	c, ok := e.containers[container]
	return c.advice, ok
}

// Each calls f for each pod there is on this node, in the order of their names,
// until f returns false. The pods are read-only and may be kept.
func (p *Pods) Each(f func(*Pod) bool) {
	for _, e := range p.live() {
		if !f(e.pod) {
			return
		}
	}
}

// named returns the pod namespace/name if it is there, else nil.
func (p *Pods) named(key string) *Pod {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if e := p.byName[key]; e != nil && e.gone.IsZero() {
		return e.pod
	}
	return nil
}

// live returns the pods that are not gone, in the order of their names.
func (p *Pods) live() []*podEntry {
	p.mu.RLock()
	all := make([]*podEntry, 0, len(p.byName))
	for _, e := range p.byName {
		if e.gone.IsZero() {
			all = append(all, e)
		}
	}
	p.mu.RUnlock()
	slices.SortFunc(all, func(a, b *podEntry) int {
		if c := strings.Compare(a.pod.Namespace, b.pod.Namespace); c != 0 {
			return c
		}
		return strings.Compare(a.pod.Name, b.pod.Name)
	})
	return all
}

// Synced reports whether all pods of the node have been read once.
func (p *Pods) Synced() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.filled
}

// entry makes what is kept of a pod.
func (p *Pods) entry(o *corev1.Pod) *podEntry {
	r := rows{labels: p.k.conf.Labels, annotations: p.k.conf.Annotations}
	pod(&r, o)
	e := &podEntry{pod: newPod(o), spec: newPodSpec(o), alias: o.Annotations[staticPodUID], own: r.each, sums: r.sums, containers: map[string]contLabels{}}
	base := p.namer.pod(o)
	e.labels = signal.Labels(append(slices.Clone(base), unified(o, "")...)...)
	e.logLabels = e.labels
	add := func(specs []corev1.Container, statuses []corev1.ContainerStatus) {
		for i := range specs {
			c := &specs[i]
			var st *corev1.ContainerStatus
			for j := range statuses {
				if statuses[j].Name == c.Name {
					st = &statuses[j]
				}
			}
			pairs := append(slices.Clone(base), p.namer.container(o, c, st)...)
			l := contLabels{labels: signal.Labels(pairs...), advice: adviceFor(o, c.Name)}
			l.logLabels = signal.Merge(l.labels, signal.Labels(signal.LabelParse, l.advice.Parse,
				signal.LabelLogSource, l.advice.Source, signal.LabelService, l.advice.Service))
			e.containers[c.Name] = l
			if st == nil {
				continue
			}
			if t := st.LastTerminationState.Terminated; t != nil {
				e.remember(bareID(t.ContainerID), c.Name)
			}
			e.remember(bareID(st.ContainerID), c.Name)
		}
	}
	add(o.Spec.InitContainers, o.Status.InitContainerStatuses)
	add(o.Spec.Containers, o.Status.ContainerStatuses)
	for i := range o.Spec.EphemeralContainers {
		add([]corev1.Container{corev1.Container(o.Spec.EphemeralContainers[i].EphemeralContainerCommon)}, o.Status.EphemeralContainerStatuses)
	}
	return e
}

func (e *podEntry) remember(id, name string) {
	if c := (contID{id, name}); id != "" && !slices.Contains(e.ids, c) {
		e.ids = append(e.ids, c)
	}
}

// Add is part of cache.ReflectorStore.
func (p *Pods) Add(o any) error {
	obj, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("BUG: a %T among the pods", o)
	}
	e := p.entry(obj)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addLocked(e)
	p.sweepLocked()
	return nil
}

// Update is part of cache.ReflectorStore.
func (p *Pods) Update(o any) error { return p.Add(o) }

func (p *Pods) addLocked(e *podEntry) {
	old := p.byID[e.pod.UID]
	if old != nil {
		for _, c := range old.ids { // what an earlier container leaves behind is still its pod's
			e.remember(c.id, c.name)
		}
		if n := len(e.ids) - mostIDs; n > 0 {
			e.dropIDs(n)
		}
		for _, c := range old.ids {
			if !slices.Contains(e.ids, c) {
				delete(p.byCont, c.id)
			}
		}
		if !old.gone.IsZero() {
			p.gone = slices.DeleteFunc(p.gone, func(g *podEntry) bool { return g == old })
		}
	}
	p.byID[e.pod.UID] = e
	if e.alias != "" {
		p.byID[e.alias] = e
	}
	p.byName[e.pod.Namespace+"/"+e.pod.Name] = e
	for _, c := range e.ids {
		p.byCont[c.id] = contEntry{e, c.name}
	}
	if old == nil || !old.says(e) {
		p.version.Add(1)
	}
	if old == nil || !old.gone.IsZero() || !reflect.DeepEqual(old.pod, e.pod) {
		p.changes.Add(1)
	}
}

// dropIDs forgets the n containers that are longest over: the old entry's come
// behind those that the pod names itself, in their order.
func (e *podEntry) dropIDs(n int) { e.ids = e.ids[:max(len(e.ids)-n, 0)] }

// says reports whether every answer from e and from n is the same.
func (e *podEntry) says(n *podEntry) bool {
	if e.labels != n.labels || e.alias != n.alias || len(e.containers) != len(n.containers) {
		return false
	}
	for name, c := range n.containers {
		if e.containers[name] != c {
			return false
		}
	}
	for _, c := range n.ids {
		if !slices.Contains(e.ids, c) {
			return false
		}
	}
	return true
}

// Delete is part of cache.ReflectorStore.
func (p *Pods) Delete(o any) error {
	if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = t.Obj
	}
	obj, ok := o.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("BUG: a %T among the pods", o)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.goneLocked(p.byID[string(obj.UID)])
	p.sweepLocked()
	return nil
}

func (p *Pods) goneLocked(e *podEntry) {
	if e == nil || !e.gone.IsZero() {
		return
	}
	e.gone = time.Now()
	p.changes.Add(1)
	p.gone = append(p.gone, e)
}

// sweepLocked forgets the pods that have been gone for long enough.
func (p *Pods) sweepLocked() {
	n := 0
	for _, e := range p.gone {
		if time.Since(e.gone) < p.k.conf.Keep && len(p.gone)-n <= mostGone {
			break
		}
		p.forgetLocked(e)
		n++
	}
	if n > 0 {
		p.gone = slices.Delete(p.gone, 0, n)
		p.version.Add(1)
	}
}

// forgetLocked takes a pod out of the indexes, where no later one has its place.
func (p *Pods) forgetLocked(e *podEntry) {
	for _, id := range []string{e.pod.UID, e.alias} {
		if p.byID[id] == e {
			delete(p.byID, id)
		}
	}
	if key := e.pod.Namespace + "/" + e.pod.Name; p.byName[key] == e {
		delete(p.byName, key)
	}
	for _, c := range e.ids {
		if p.byCont[c.id].pod == e {
			delete(p.byCont, c.id)
		}
	}
}

// Replace is part of cache.ReflectorStore.
func (p *Pods) Replace(list []any, _ string) error {
	fresh := make([]*podEntry, 0, len(list))
	there := make(map[string]bool, len(list))
	for _, o := range list {
		obj, ok := o.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("BUG: a %T among the pods", o)
		}
		fresh = append(fresh, p.entry(obj))
		there[string(obj.UID)] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range fresh {
		p.addLocked(e)
	}
	for _, e := range p.byID {
		if !there[e.pod.UID] {
			p.goneLocked(e)
		}
	}
	p.filled = true
	p.sweepLocked()
	return nil
}

// Resync is part of cache.ReflectorStore.
func (p *Pods) Resync() error { return nil }

// podState is the Sampler of the state of this node's pods.
type podState struct{ p *Pods }

// Sample appends the kube_pod_* families of this node's pods.
func (s podState) Sample(_ context.Context, b *signal.Batch) error {
	p := s.p
	if p.k.absent() != nil {
		return nil // where that is wrong, Run of Pods says so
	}
	if !p.Synced() {
		return p.feed.err() // nil while the first list is on its way
	}
	p.mu.Lock()
	p.sweepLocked()
	p.mu.Unlock()
	now := time.Now().UnixMilli()
	total := adder{}
	for _, e := range p.live() {
		for _, r := range e.own {
			r.append(b, now)
		}
		total.add(e.sums)
	}
	total.append(b, now)
	return p.feed.err()
}

// adder adds up readings of the same series.
type adder map[signal.Series]float64

func (a adder) add(readings []reading) {
	for _, r := range readings {
		a[r.series] += r.value
	}
}

func (a adder) append(b *signal.Batch, t int64) {
	for s, v := range a {
		b.Add(signal.Sample{Series: s, Time: t, Value: v})
	}
}
