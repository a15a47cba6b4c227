package kube

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

func node(r *rows, o *corev1.Node) {
	r.of("node", "", signal.LabelNode, o.Name)
	r.at("kube_node_created", o.CreationTimestamp)
	i := o.Status.NodeInfo
	internal := ""
	for _, a := range o.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && internal == "" {
			internal = a.Address
		}
	}
	r.holds("kube_node_info", "kernel_version", i.KernelVersion, "os_image", i.OSImage, "container_runtime_version", i.ContainerRuntimeVersion,
		"kubelet_version", i.KubeletVersion, "pod_cidr", o.Spec.PodCIDR, "provider_id", o.Spec.ProviderID, "system_uuid", i.SystemUUID,
		"internal_ip", internal)
	for k := range o.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			r.holds("kube_node_role", "role", role)
		}
	}
	r.flag("kube_node_spec_unschedulable", o.Spec.Unschedulable)
	for _, t := range o.Spec.Taints {
		r.holds("kube_node_spec_taint", "key", t.Key, "value", t.Value, "effect", string(t.Effect))
	}
	for res, q := range o.Status.Capacity {
		r.resource("kube_node_status_capacity", res, q)
	}
	for res, q := range o.Status.Allocatable {
		r.resource("kube_node_status_allocatable", res, q)
	}
	for _, c := range o.Status.Conditions {
		r.holds("kube_node_status_condition", "condition", string(c.Type), "status", status(c.Status))
	}
	r.own("node", o.ObjectMeta)
}
