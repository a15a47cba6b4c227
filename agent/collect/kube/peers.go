package kube

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// unreadyFor is how long an agent may be not ready and still count as alive: a
// restart takes less, and what it scrapes need not go to others and back.
const unreadyFor = time.Minute

// peer is the pod of an agent on some node.
type peer struct {
	pod, node, owner string
	ready            bool
	since            time.Time // when it was first seen not ready
}

// kinOf says which pods are agents like the one in pod me: by their labels, as
// a selector, and by who made them, which also tells the node agents from those
// that only stand for election. me may be nil: then all that are labelled as the
// agent's manifests do.
func kinOf(me *Pod) (selector, owner string) {
	set := labels.Set{appPrefix + "name": "causeway"}
	if me != nil {
		for _, key := range []string{"name", "instance", "component"} {
			if v := me.Labels[appPrefix+key]; v != "" {
				set[appPrefix+key] = v
			}
		}
		if me.OwnerName != "" {
			owner = me.OwnerKind + "/" + me.OwnerName
		}
	}
	return set.String(), owner
}

// newPeer is the shelf's reading of an agent's pod.
func (t *Targets) newPeer(o any) (peer, bool) {
	p, ok := o.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" || p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning {
		return peer{}, false
	}
	q := peer{pod: p.Name, node: p.Spec.NodeName}
	if c := metav1.GetControllerOfNoCopy(p); c != nil {
		q.owner = c.Kind + "/" + c.Name
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			q.ready = c.Status == corev1.ConditionTrue
		}
	}
	if !q.ready { // by our own clock: the node's may be another
		q.since = t.unready(p.Name)
	}
	return q, true
}

// unready returns since when the agent in a pod has been seen not ready.
func (t *Targets) unready(pod string) time.Time {
	peers, _ := t.peers.list()
	for _, q := range peers {
		if q.pod == pod && !q.ready {
			return q.since
		}
	}
	return time.Now()
}

// alive returns the nodes that have an agent which is alive, ours included;
// known is false as long as that cannot be told.
func (t *Targets) alive() (nodes map[string]bool, known bool) {
	peers, filled := t.peers.list()
	self := t.k.id.Node
	nodes = map[string]bool{}
	seen := false
	_, owner := kinOf(t.self())
	for _, p := range peers {
		if owner != "" && p.owner != owner {
			continue
		}
		seen = seen || p.node == self
		if p.ready || time.Since(p.since) < unreadyFor {
			nodes[p.node] = true
		}
	}
	nodes[self] = true
	return nodes, filled && seen
}

// self is the pod this agent runs in, nil where that is not known.
func (t *Targets) self() *Pod {
	ns, err := t.k.namespace()
	if err != nil || t.k.id.PodName == "" {
		return nil
	}
	return t.k.pods.named(ns + "/" + t.k.id.PodName)
}

// Peers returns the names of the nodes that have an agent which is alive, in
// their order, ours among them. It is ours alone while the others are not
// known; Services and Monitors then yield only what is on this node, so that
// nothing is scraped by every agent of the cluster.
func (t *Targets) Peers() []string {
	nodes, known := t.alive()
	if !known {
		return []string{t.k.id.Node}
	}
	return slices.Sorted(maps.Keys(nodes))
}

// peersTrouble says what is wrong with knowing the other agents, "" if nothing is.
func (t *Targets) peersTrouble() string {
	if !t.peers.ready() {
		if _, err := t.k.namespace(); err != nil && t.watches("endpointslices") != nil {
			return "the other agents are not known, so that this one scrapes only what is on its own node: set POD_NAMESPACE from metadata.namespace: " + brief(err)
		}
		return "" // its feed says why
	}
	if _, known := t.alive(); known {
		return ""
	}
	selector, _ := kinOf(t.self())
	return fmt.Sprintf("this agent's pod is not among those it looks for (labels %s, on node %s), so that it scrapes only what is on its own node: "+
		"set POD_NAME, POD_NAMESPACE and NODE_NAME, and label its pods app.kubernetes.io/name=causeway", selector, t.k.id.Node)
}
