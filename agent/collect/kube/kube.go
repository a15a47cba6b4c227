// Package kube watches a Kubernetes cluster: which pods run on this node, what
// state the cluster's objects are in, and what happens to them.
//
// The agent runs its parts and gives them the hub as Sink: Pods, which also is
// the hub's Enricher and tells other rooms of the pods; PodState, polled for
// the state of this node's pods; Cluster, which stands for election and, while
// it leads, speaks for everything that is on no node; and Targets, which tells
// the scraper what services and the Prometheus operator's monitors name. It
// calls the API server through client-go, and nobody else.
//
// What always holds:
//
//  1. No agent holds the cluster's pods: each watches its own node's, and the
//     leader those that have no node yet.
//  2. Of an object only its readings are kept, series and value, made when it
//     changes; an interval adds the time. Metric names are kube-state-metrics',
//     and of an enumeration only the state that holds is a series.
//  3. A resource that may not be read fails alone: Status names the rule that
//     is missing, and it is tried again. So does one that breaks: what was last
//     known of it stays, and is sent, until it can be read again.
//  4. One agent leads at a time, but for an overlap of seconds. What it does
//     ends before its lease does. How far it has come is written on the lease
//     with each renewal, and before an interval is handed on where the one
//     before is not there yet. So the next one goes on there, however soon
//     this one died: it makes up intervals that fell between with the state it
//     finds, and repeats at most one.
//  5. An event is given to the Sink at least once per change of its count, and
//     its EventItem.ID is the same each time: a hand-over that was not
//     orderly, or a kill, repeats what came since the lease was last written:
//     two seconds of events, and what a leader that died sooner had made up.
//     None is lost that the API server still has.
//  6. Pods.Version changes only when an answer of Pods.Labels may have changed.
//  7. Targets watches only what is needed to name targets, and keeps of it only
//     what is scraped. What it says of an endpoint does not depend on which agent
//     asks; as long as it does not know the other agents it names only endpoints
//     on its own node, so that no agents scrape the same.
//
// Series of the cluster carry empty labels for host and node: they must not
// change with the leader, and the hub's own labels do not replace a label that
// is there.
//
// Memory: each store has one mutex, held for a map access or, by a sample, for
// the copying of numbers. A Pod handed out is never changed. A goroutine per
// resource; Run of each part waits for all of its own.
//
// The package changes nothing in the cluster but its lease, asks no kubelet,
// reads no secret unless told to count them, so monitors that refer to one are
// not scraped but named, and scrapes nothing itself.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Kube is the room: one connection to an API server and the parts that use it.
type Kube struct {
	conf Config
	id   Identity
	dir  string
	log  *slog.Logger

	pods    *Pods
	cluster *cluster

	mu      sync.Mutex
	clients *clients // guarded by mu; nil before the first connect
	address string   // the API server's; guarded by mu
	missing error    // why there is no cluster; guarded by mu
}

// New returns the room for a Config that has passed Check. dir is a folder of
// its own in which it keeps how far it has read the events. New does no I/O.
func New(c Config, id Identity, dir string, log *slog.Logger) *Kube {
	k := &Kube{conf: c, id: id, dir: dir, log: log}
	k.pods = newPods(k)
	k.cluster = newCluster(k)
	return k
}

// Pods returns the pods of this node: a collect.Source, a hub.Enricher.
func (k *Kube) Pods() *Pods { return k.pods }

// PodState returns the sampler of the state of this node's pods, to be polled
// every Config.Interval. It has nothing to say unless Pods runs.
func (k *Kube) PodState() collect.Sampler { return podState{k.pods} }

// Cluster returns the source of the cluster's objects and events. It stands
// for election and is silent while another agent leads; in the role node, and
// with objects, events and api_server all off, it is always silent.
func (k *Kube) Cluster() collect.Source { return k.cluster }

// connect returns the clients. They are nil with no error if there is no
// cluster and there need not be one; connect returns then when ctx ends.
func (k *Kube) connect(ctx context.Context) (*clients, error) {
	c, err := k.open()
	if k.Absent() {
		<-ctx.Done()
		return nil, nil
	}
	return c, err
}

func (k *Kube) open() (*clients, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.clients != nil {
		return k.clients, nil
	}
	rc, err := restConfig(k.conf)
	if err == nil {
		k.address = rc.Host
		k.clients, err = newClients(rc)
	}
	k.missing = err
	return k.clients, err
}

// absent returns why there is no cluster to be read, nil if there is one or
// nobody has looked yet.
func (k *Kube) absent() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.missing
}

// Absent reports whether there is no cluster here, and there need not be one.
func (k *Kube) Absent() bool {
	return k.conf.Enabled != "true" && errors.Is(k.absent(), collect.ErrAbsent)
}

// namespaceFile is where Kubernetes tells a pod its namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// namespace is where this agent's pod is: as it was told, as the service
// account's files say.
func (k *Kube) namespace() (string, error) {
	if k.id.Namespace != "" {
		return k.id.Namespace, nil
	}
	p, err := os.ReadFile(namespaceFile)
	return strings.TrimSpace(string(p)), err
}

// leaseNamespace is where the lease is: as configured, else beside the pod.
func (k *Kube) leaseNamespace() (string, error) {
	if k.conf.LeaseNamespace != "" {
		return k.conf.LeaseNamespace, nil
	}
	ns, err := k.namespace()
	if err != nil {
		return "", fmt.Errorf("no namespace for the lease; set collect.kubernetes.lease_namespace: %w", err)
	}
	return ns, nil
}
