package kube

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

// pod says what there is to say of a pod, and of each of its containers. The
// hub adds which node it is on.
func pod(r *rows, o *corev1.Pod) {
	r.of("pod", o.Namespace, signal.LabelPod, o.Name, signal.LabelPodUID, string(o.UID))
	id := r.id
	info := []string{"host_ip", o.Status.HostIP, "pod_ip", o.Status.PodIP, "priority_class", o.Spec.PriorityClassName, "host_network", truth(o.Spec.HostNetwork)}
	if c := metav1.GetControllerOfNoCopy(o); c != nil {
		info = append(info, "created_by_kind", c.Kind, "created_by_name", c.Name)
	}
	r.holds("kube_pod_info", info...)
	r.owners("kube_pod_owner", o.OwnerReferences)
	r.at("kube_pod_created", o.CreationTimestamp)
	r.when("kube_pod_start_time", o.Status.StartTime)
	r.when("kube_pod_deletion_timestamp", o.DeletionTimestamp)
	if o.Status.Phase != "" {
		r.holds("kube_pod_status_phase", "phase", string(o.Status.Phase))
	}
	if o.Status.QOSClass != "" {
		r.holds("kube_pod_status_qos_class", "qos_class", string(o.Status.QOSClass))
	}
	if o.Status.Reason != "" { // Evicted, NodeLost, UnexpectedAdmissionError, …
		r.holds("kube_pod_status_reason", "reason", o.Status.Reason)
	}
	r.podConditions(o)
	r.podVolumes(o)
	r.own("pod", o.ObjectMeta)

	started := time.Time{}
	if o.Status.StartTime != nil {
		started = o.Status.StartTime.Time
	}
	for _, k := range []struct {
		prefix   string
		specs    []corev1.Container
		statuses []corev1.ContainerStatus
	}{
		{"kube_pod_container_", o.Spec.Containers, o.Status.ContainerStatuses},
		{"kube_pod_init_container_", o.Spec.InitContainers, o.Status.InitContainerStatuses},
	} {
		for i := range k.specs {
			r.id = signal.Merge(id, signal.Labels(signal.LabelK8sContainer, k.specs[i].Name))
			r.limits(k.prefix, &k.specs[i])
		}
		for i := range k.statuses {
			r.id = signal.Merge(id, signal.Labels(signal.LabelK8sContainer, k.statuses[i].Name))
			r.container(k.prefix, &k.statuses[i], started)
		}
	}
	r.id = id
}

func (r *rows) podConditions(o *corev1.Pod) {
	for _, c := range o.Status.Conditions {
		switch c.Type {
		case corev1.PodReady:
			r.holds("kube_pod_status_ready", "condition", status(c.Status))
			if c.Status == corev1.ConditionTrue {
				r.at("kube_pod_status_ready_time", c.LastTransitionTime)
			}
		case corev1.PodScheduled:
			r.holds("kube_pod_status_scheduled", "condition", status(c.Status))
			switch {
			case c.Status == corev1.ConditionTrue:
				r.at("kube_pod_status_scheduled_time", c.LastTransitionTime)
			case c.Reason == corev1.PodReasonUnschedulable:
				r.holds("kube_pod_status_unschedulable")
			}
		}
	}
}

func (r *rows) podVolumes(o *corev1.Pod) {
	for _, v := range o.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			r.flag("kube_pod_spec_volumes_persistentvolumeclaims_readonly", v.PersistentVolumeClaim.ReadOnly,
				"volume", v.Name, "persistentvolumeclaim", v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil: // its claim is named POD-VOLUME
			r.flag("kube_pod_spec_volumes_persistentvolumeclaims_readonly", false,
				"volume", v.Name, "persistentvolumeclaim", o.Name+"-"+v.Name, "ephemeral", "true")
		}
	}
}

func (r *rows) limits(prefix string, c *corev1.Container) {
	for res, q := range c.Resources.Requests {
		r.podResource(prefix+"resource_requests", res, q)
	}
	for res, q := range c.Resources.Limits {
		r.podResource(prefix+"resource_limits", res, q)
	}
}

func (r *rows) podResource(family string, res corev1.ResourceName, q resource.Quantity) {
	r.resource(family, res, q)
}

// container says in which of its three states a container is, and why.
func (r *rows) container(prefix string, s *corev1.ContainerStatus, started time.Time) {
	r.flag(prefix+"status_waiting", s.State.Waiting != nil)
	r.flag(prefix+"status_running", s.State.Running != nil)
	r.flag(prefix+"status_terminated", s.State.Terminated != nil)
	r.flag(prefix+"status_ready", s.Ready)
	r.counter(prefix+"status_restarts_total", float64(s.RestartCount), started)
	if w := s.State.Waiting; w != nil && w.Reason != "" {
		r.holds(prefix+"status_waiting_reason", "reason", w.Reason)
	}
	if n := s.State.Running; n != nil {
		r.at(prefix+"state_started", n.StartedAt)
	}
	if t := s.State.Terminated; t != nil {
		r.at(prefix+"state_started", t.StartedAt)
		r.holds(prefix+"status_terminated_reason", "reason", t.Reason)
	}
	if t := s.LastTerminationState.Terminated; t != nil {
		r.holds(prefix+"status_last_terminated_reason", "reason", t.Reason)
		r.count(prefix+"status_last_terminated_exitcode", t.ExitCode)
		r.at(prefix+"status_last_terminated_timestamp", t.FinishedAt)
	}
}

// Pod is what other rooms want to know of a pod on this node: whether to scrape
// it and where, which container is which. It is read-only, also its maps.
type Pod struct {
	Namespace, Name, UID string
	Node, IP, Phase      string
	HostIP               string
	Ready                bool
	OwnerKind, OwnerName string // its controller, if it has one
	Labels, Annotations  map[string]string
	Containers           []Container // init containers that keep running are among them
}

// Container is one container of a Pod.
type Container struct {
	Name  string
	ID    string // without the runtime's prefix; empty before it was started
	Image string // as the pod asks for it
	Ports []Port
}

// Port is one port that a container declares.
type Port struct {
	Name, Protocol string
	Number         int32
}

// metricsAnnotation says "false" where a pod wants none of its metrics scraped.
const metricsAnnotation = "causeway.dev/metrics"

// NoMetrics reports whether the pod's annotation forbids to scrape it.
func (p *Pod) NoMetrics() bool { return isFalse(p.Annotations[metricsAnnotation]) }

func isFalse(s string) bool {
	v, err := strconv.ParseBool(s)
	return err == nil && !v
}

func isTrue(s string) bool {
	v, err := strconv.ParseBool(s)
	return err == nil && v
}

// unusedAnnotations are the large ones that nobody reads.
func unused(annotation string) bool {
	return annotation == corev1.LastAppliedConfigAnnotation || strings.HasPrefix(annotation, "kubernetes.io/config.seen")
}

func newPod(o *corev1.Pod) *Pod {
	p := &Pod{
		Namespace: o.Namespace, Name: o.Name, UID: string(o.UID), Node: o.Spec.NodeName, IP: o.Status.PodIP, Phase: string(o.Status.Phase),
		HostIP: o.Status.HostIP, Labels: o.Labels,
	}
	if c := metav1.GetControllerOfNoCopy(o); c != nil {
		p.OwnerKind, p.OwnerName = c.Kind, c.Name
	}
	for k, v := range o.Annotations {
		if !unused(k) {
			if p.Annotations == nil {
				p.Annotations = make(map[string]string, len(o.Annotations))
			}
			p.Annotations[k] = v
		}
	}
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.PodReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	add := func(specs []corev1.Container, statuses []corev1.ContainerStatus) {
		for _, s := range specs {
			c := Container{Name: s.Name, Image: s.Image}
			for _, port := range s.Ports {
				c.Ports = append(c.Ports, Port{port.Name, string(port.Protocol), port.ContainerPort})
			}
			for _, st := range statuses {
				if st.Name == s.Name {
					c.ID = bareID(st.ContainerID)
				}
			}
			p.Containers = append(p.Containers, c)
		}
	}
	add(o.Spec.Containers, o.Status.ContainerStatuses)
	for i := range o.Spec.InitContainers {
		add(o.Spec.InitContainers[i:i+1], o.Status.InitContainerStatuses)
	}
	return p
}

// bareID takes the runtime's name off a container's id: containerd://…
func bareID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}
