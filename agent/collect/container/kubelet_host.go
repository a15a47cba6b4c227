package container

import "slices"

// A pod on the node's own network shows the node's interfaces, each as busy as
// the node's: reported as the pod's, the node's traffic would count once per
// such pod. Specifications tell which pods those are. Where there are none, the
// counters tell: two readings of the node's enclose what such a pod shows.

// hostNet is the node's interfaces, at this round and the one before.
type hostNet struct{ before, now []Interface }

// hostCheck is what is known about a sandbox's network; it never changes.
type hostCheck uint8

const (
	unsure hostCheck = iota
	hostsOwn
)

// watch takes the node's interfaces of this round.
func (h *hostNet) watch(now []Interface) {
	h.before = append(h.before[:0], h.now...)
	h.now = append(h.now[:0], now...)
}

// onHostNetwork reports whether the pod of e, with these interfaces, is on the
// node's network, or may be.
func (k *Kubelet) onHostNetwork(e *entryOf, pods []Interface) bool {
	if f, ok := k.specs.pods[podContainer{Namespace: e.who.Namespace, Pod: e.who.Pod}]; ok {
		return f.hostNetwork
	}
	if e.net == hostsOwn {
		return true
	}
	h := &k.root
	if !slices.EqualFunc(pods, h.now, sameName) {
		return false
	}
	if !slices.EqualFunc(pods, h.before, sameName) {
		return true // only the next round can tell
	}
	for i := range pods {
		if !pods[i].between(&h.before[i], &h.now[i]) {
			return false
		}
	}
	e.net = hostsOwn
	return true
}

func sameName(a, b Interface) bool { return a.Name == b.Name }

// between reports whether n may be the same interface, read between before and
// a while after now.
func (n *Interface) between(before, now *Interface) bool {
	return n.Receive.between(&before.Receive, &now.Receive) && n.Transmit.between(&before.Transmit, &now.Transmit)
}

func (t *Traffic) between(before, now *Traffic) bool {
	// The node may have been read before the pod: as much again may have come,
	// and a burst. What is not known excludes nothing.
	within := func(v, lo, hi, burst float64) bool { return !(v < lo) && !(v > hi+4*(hi-lo)+burst) }
	return within(t.Bytes, before.Bytes, now.Bytes, 1<<20) && within(t.Packets, before.Packets, now.Packets, 1<<10)
}
