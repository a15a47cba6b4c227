package kube

import (
	"context"
	"errors"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// PodSpec is what a pod of this node asks for, and how its containers are. It
// is read-only.
type PodSpec struct {
	Namespace, Name string
	UID             string // of a static pod the kubelet's own, under which its cgroups lie
	HostNetwork     bool
	Start           int64 // Unix ms, 0 before the kubelet took it
	Containers      []ContainerSpec
}

// ContainerSpec is one container of a PodSpec. Amounts that are not set are NaN.
type ContainerSpec struct {
	Name, Image   string
	ID            string // runtime://id of the one that runs, or ran last; "" before the first
	CPURequest    float64
	CPULimit      float64 // cores
	MemoryRequest float64
	MemoryLimit   float64 // bytes
	StorageRequest,
	StorageLimit float64 // bytes of ephemeral storage
	Restarts      float64
	Ready         bool
	State         string // running, waiting, terminated; "" if the status says nothing yet
	Reason        string // why it waits or has terminated
	Last          string // why it terminated the last time, "" if it never did
	LastExitCode  float64
	LastFinished  int64 // Unix s
	Uninteresting bool  // an init container that has done its work
}

// Specs calls yield with each pod there is on this node, in the order of their
// names. What yield gets may be kept. The error says why the pods cannot be
// read, as long as they have not been read once; afterwards what was last known
// of them holds.
func (p *Pods) Specs(_ context.Context, yield func(*PodSpec)) error {
	if !p.Synced() {
		if err := p.k.absent(); err != nil {
			return err
		}
		if err := p.feed.err(); err != nil {
			return err
		}
		return errors.New("the pods of this node have not been read yet")
	}
	for _, e := range p.live() {
		yield(&e.spec)
	}
	return nil
}

func newPodSpec(o *corev1.Pod) PodSpec {
	p := PodSpec{Namespace: o.Namespace, Name: o.Name, UID: first(o.Annotations[staticPodUID], string(o.UID)), HostNetwork: o.Spec.HostNetwork}
	if t := o.Status.StartTime; t != nil && !t.IsZero() {
		p.Start = t.UnixMilli()
	}
	for i := range o.Spec.Containers {
		p.Containers = append(p.Containers, newContainerSpec(&o.Spec.Containers[i], o.Status.ContainerStatuses, false))
	}
	for i := range o.Spec.InitContainers {
		c := &o.Spec.InitContainers[i]
		ends := c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways
		p.Containers = append(p.Containers, newContainerSpec(c, o.Status.InitContainerStatuses, ends))
	}
	return p
}

// newContainerSpec puts a container's specification and status together; ends
// says that it is there to do some work first, and then to end.
func newContainerSpec(c *corev1.Container, statuses []corev1.ContainerStatus, ends bool) ContainerSpec {
	req, lim := c.Resources.Requests, c.Resources.Limits
	s := ContainerSpec{
		Name: c.Name, Image: c.Image,
		CPURequest: amount(req, corev1.ResourceCPU), CPULimit: amount(lim, corev1.ResourceCPU),
		MemoryRequest: amount(req, corev1.ResourceMemory), MemoryLimit: amount(lim, corev1.ResourceMemory),
		StorageRequest: amount(req, corev1.ResourceEphemeralStorage), StorageLimit: amount(lim, corev1.ResourceEphemeralStorage),
	}
	for i := range statuses {
		st := &statuses[i]
		if st.Name != c.Name {
			continue
		}
		s.ID, s.Ready, s.Restarts = st.ContainerID, st.Ready, float64(st.RestartCount)
		last := st.LastTerminationState.Terminated
		switch {
		case st.State.Running != nil:
			s.State = "running"
		case st.State.Terminated != nil:
			// One that is not started again, if ever, has its last termination here.
			last = st.State.Terminated
			s.State, s.Reason = "terminated", last.Reason
			s.Uninteresting = ends && last.ExitCode == 0
		case st.State.Waiting != nil:
			s.State, s.Reason = "waiting", st.State.Waiting.Reason
		}
		if last != nil {
			s.Last, s.LastExitCode, s.LastFinished = last.Reason, float64(last.ExitCode), last.FinishedAt.Unix()
		}
	}
	return s
}

// amount is an amount in cores or bytes, NaN where none is set.
func amount(list corev1.ResourceList, name corev1.ResourceName) float64 {
	q, ok := list[name]
	if !ok {
		return math.NaN()
	}
	if name == corev1.ResourceCPU && q.Cmp(resource.MustParse("1M")) < 0 {
		return float64(q.MilliValue()) / 1000 // 700m is 0.7, not 0.7000…1
	}
	return q.AsApproximateFloat64()
}
