package container

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Kubelet is the Provider that asks the node's kubelet over HTTPS. It needs no
// privilege but get on nodes/metrics, nodes/stats and nodes/pods.
//
// CPU, memory, disks and network of containers, pods and the node come from
// /metrics/cadvisor, whose times are exact; /stats/summary, whose times are
// whole seconds, has what is missing there: file systems, volumes, ephemeral
// storage, and everything where the page has no containers (a kubelet that asks
// its runtime for them). Then /metrics/resource helps out with exact times of
// CPU and memory. /metrics/probes has the probes. Each fails alone.
//
// What specifications and statuses say comes from a PodSpecs, or from the
// kubelet's /pods.
//
// Times are the kubelet's own, except those of statuses and probes, which have
// none: theirs is when the answer came.
type Kubelet struct {
	conf   Config
	client *kubeletClient
	node   string
	pods   PodSpecs
	log    *slog.Logger
	now    func() int64 // Unix ms: when an answer without times of its own came

	in       *bufio.Reader
	body     bytes.Buffer
	entries  map[string]*entryOf // by Reading.Name
	byName   map[podContainer]*entryOf
	specs    specs
	round    uint64
	noPage   int     // pages in a row that did not come
	thin     bool    // the page has no containers: others stand in for it
	memory   float64 // the machine's, which cAdvisor shows where there is no limit
	runtime  string  // the node's, as the pods' statuses tell it
	root     hostNet
	readings []Reading
}

// podContainer names a container by its pod; Container is empty for the pod.
type podContainer struct{ Namespace, Pod, Container string }

// entryOf is what the Kubelet keeps of one container, pod or the node.
type entryOf struct {
	round  uint64
	kind   entryKind
	who    podContainer
	uid    string // of its pod, where who is all the source tells
	thin   bool   // no page has it in full: the rest is the summary's and the specifications'
	labels string
	r      Reading
	net    hostCheck
}

type entryKind uint8

const (
	ignored entryKind = iota
	aContainer
	aSandbox // holds a pod's network
	aPod
	aNode
)

// NewKubelet returns a Provider for a Config that has passed Check. node is the
// node's name, env looks up the process's environment (os.Getenv); pods may be
// nil: the kubelet is asked then. It does nothing until the first Read.
func NewKubelet(c Config, node string, env func(string) string, pods PodSpecs, log *slog.Logger) *Kubelet {
	k := &Kubelet{
		conf: c, client: newKubeletClient(c.Kubelet, node, env, log), node: node, pods: pods, log: log,
		now: func() int64 { return time.Now().UnixMilli() },
		in:  bufio.NewReaderSize(nil, longestLine), entries: map[string]*entryOf{}, byName: map[podContainer]*entryOf{},
	}
	k.specs.known = map[statusKey]*status{}
	if pods == nil {
		k.pods = &kubeletPods{client: k.client}
	}
	return k
}

// From returns the kubelet's address.
func (k *Kubelet) From() (string, error) { return k.client.from(), nil }

// Close drops the connections.
func (k *Kubelet) Close() error {
	k.client.forget()
	return nil
}

// patiencePages is how many pages may fail before others stand in, and for how
// many rounds the history of what is gone is kept.
const patiencePages = 3

// Read asks the kubelet. See Provider.
func (k *Kubelet) Read(ctx context.Context) ([]Reading, error) {
	k.round++
	k.readings = k.readings[:0]
	clear(k.byName)

	podErr := k.readSpecs(ctx) // the first, since labels are made of it
	if hopeless(ctx, podErr) {
		return nil, podErr
	}
	pageErr := k.client.get(ctx, "/metrics/cadvisor", "nodes/metrics", k.readPage)
	if hopeless(ctx, pageErr) {
		return nil, pageErr
	}
	if k.noPage++; pageErr == nil {
		k.noPage = 0
	}
	var resErr error
	// Not for once: names of readings, and so their history, change with the source.
	if k.thin = !k.anyContainer() && (k.noPage == 0 || k.noPage > patiencePages); k.thin {
		resErr = k.client.get(ctx, "/metrics/resource", "nodes/metrics", k.readResource)
	}
	var sum summary
	sumErr := k.client.get(ctx, "/stats/summary", "nodes/stats", func(r io.Reader) error { return k.decode(r, &sum) })
	k.addSummary(&sum)
	k.dropHostNetworks()
	k.appendEntries()
	k.addStatuses()
	probeErr := k.client.get(ctx, "/metrics/probes", "nodes/metrics", k.readProbes)
	k.forget()
	return k.readings, errors.Join(pageErr, distinct(resErr, pageErr), sumErr, podErr, distinct(probeErr, pageErr))
}

// anyContainer reports whether this round's pages had a container.
func (k *Kubelet) anyContainer() bool {
	for who := range k.byName {
		if who.Container != "" {
			return true
		}
	}
	return false
}

// hopeless reports whether err means that no other path will fare better: a
// dead kubelet is asked once.
func hopeless(ctx context.Context, err error) bool {
	var off *refused
	return err != nil && (ctx.Err() != nil || errors.Is(err, errNoKubelet) || errors.Is(err, collect.ErrAbsent) ||
		errors.As(err, &off) && off.status == http.StatusUnauthorized)
}

// dropHostNetworks removes the interfaces of pods that are on the node's own.
func (k *Kubelet) dropHostNetworks() {
	for _, e := range k.entries {
		if e.kind == aNode && e.round == k.round && len(e.r.Interfaces) > 0 {
			k.root.watch(e.r.Interfaces)
		}
	}
	for _, e := range k.entries {
		if e.kind == aSandbox && e.round == k.round && k.onHostNetwork(e, e.r.Interfaces) {
			e.r.Interfaces = e.r.Interfaces[:0]
		}
	}
}

// distinct returns err, unless it says about nodes/metrics what was said already.
func distinct(err, said error) error {
	var a, b *refused
	if errors.As(err, &a) && errors.As(said, &b) && a.status == b.status {
		return nil
	}
	return err
}

// lines reads a page in the text format.
func (k *Kubelet) lines(r io.Reader, wanted func([]byte) bool, sample func(*pageLine)) error {
	k.in.Reset(r)
	malformed, err := eachLine(k.in, wanted, sample)
	if err != nil {
		return err
	}
	if malformed > 0 {
		return fmt.Errorf("%d lines are not Prometheus' text format", malformed)
	}
	return nil
}

// entry returns what is kept under name, which make makes at first.
func (k *Kubelet) entry(name []byte, make func(name string) *entryOf) *entryOf {
	e := k.entries[string(name)]
	if e == nil {
		e = make(string(name))
		k.entries[e.r.Name] = e
		k.specs.changed = true
	}
	if e.round != k.round {
		if e.thin && k.specs.fresh {
			e.labels = k.namedLabels(e)
		}
		e.begin(k.round)
		if e.kind == aContainer || e.kind == aPod {
			// A pod of the same name may still be on its way out, and a container
			// has the one before it beside it: the newest counts.
			if old := k.byName[e.who]; old == nil || old.round != k.round || old.r.Start <= e.r.Start {
				k.byName[e.who] = e
			}
		}
	}
	return e
}

// begin empties the entry's reading for a new round.
func (e *entryOf) begin(round uint64) {
	name, start, scope := e.r.Name, e.r.Start, e.r.Scope
	e.round = round
	e.r.Reset()
	e.r.Name, e.r.Labels, e.r.Start, e.r.Scope = name, e.labels, start, scope
}

// appendEntries appends this round's readings of containers, pods and the node, in
// the order of their names.
func (k *Kubelet) appendEntries() {
	from := len(k.readings)
	for _, e := range k.entries {
		if e.round == k.round && e.kind != ignored && e.r.Time != 0 {
			k.readings = append(k.readings, e.r)
		}
	}
	slices.SortFunc(k.readings[from:], func(a, b Reading) int { return strings.Compare(a.Name, b.Name) })
}

// forget drops what was not there for patiencePages rounds: one that did not
// come takes no history with it.
func (k *Kubelet) forget() {
	for name, e := range k.entries {
		if k.round-e.round == 1 {
			k.specs.changed = true
		}
		if k.round-e.round > patiencePages {
			delete(k.entries, name)
		}
	}
}

// podLabels returns the identity of a pod, and of a container in it if it has
// one, as the cAdvisor provider writes it.
func (k *Kubelet) podLabels(who podContainer, uid, id, runtime, image string) string {
	name, tag, digest := SplitImage(image)
	return signal.Labels(
		signal.LabelPod, who.Pod, signal.LabelNamespace, who.Namespace, signal.LabelPodUID, uid,
		signal.LabelK8sContainer, who.Container, signal.LabelContainer, who.Container, signal.LabelContainerID, id,
		signal.LabelRuntime, runtime, signal.LabelImage, name, signal.LabelImageTag, tag, signal.LabelImageID, digest,
	)
}
