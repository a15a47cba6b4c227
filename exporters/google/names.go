package google

import (
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// This file is the one table of identity: what our labels, metrics and
// severities are called at Google.

// labelKey returns the key that a label of ours has as a metric's label, before
// what Google does not allow is replaced. Where the resource names it (see
// resource.go) it is no label. The short ones are those of Google's resources.
func labelKey(key string) string {
	switch key {
	case signal.LabelNode:
		return "node_name"
	case signal.LabelCluster:
		return "cluster_name"
	case signal.LabelNamespace:
		return "namespace_name"
	case signal.LabelPod:
		return "pod_name"
	case signal.LabelPodUID:
		return "pod_uid"
	case signal.LabelK8sContainer:
		return "container_name"
	case signal.LabelWorkload:
		return "top_level_controller_name"
	case signal.LabelWorkloadKind:
		return "top_level_controller_type"
	case signal.LabelEnv:
		return "env"
	case signal.LabelService:
		return "service"
	case signal.LabelVersion:
		return "version"
	}
	return key
}

// gkeRow is a metric of ours that GKE's own collection has, always on and free
// of charge, and Google's name for it. With system_metrics: true it is sent all
// the same, under our own name: kubernetes.io/ takes points from Google alone
// (cloud.google.com/kubernetes-engine/docs/how-to/monitoring, read 2026-11).
type gkeRow struct{ ours, googles string }

func gkeRows() []gkeRow {
	return []gkeRow{
		{signal.ContainerUptime, "kubernetes.io/container/uptime"},
		{signal.ContainerCPUTime, "kubernetes.io/container/cpu/core_usage_time"},
		{signal.ContainerCPUUsage, "kubernetes.io/container/cpu/core_usage_time"},
		{signal.ContainerCPULimit, "kubernetes.io/container/cpu/limit_cores"},
		{signal.ContainerMemoryUsage, "kubernetes.io/container/memory/used_bytes"},
		{signal.ContainerMemoryWorkingSet, "kubernetes.io/container/memory/used_bytes"},
		{signal.ContainerMemoryLimit, "kubernetes.io/container/memory/limit_bytes"},
		{signal.ContainerMemoryFaults, "kubernetes.io/container/memory/page_fault_count"},
		{signal.ContainerFilesystemUsage, "kubernetes.io/container/ephemeral_storage/used_bytes"},
		{signal.PodNetworkIO, "kubernetes.io/pod/network/received_bytes_count"},
		{signal.NodeCPUTime, "kubernetes.io/node/cpu/core_usage_time"},
		{signal.NodeCPUUsage, "kubernetes.io/node/cpu/core_usage_time"},
		{signal.NodeMemoryUsage, "kubernetes.io/node/memory/used_bytes"},
		{signal.NodeMemoryWorkingSet, "kubernetes.io/node/memory/used_bytes"},
		{signal.NodeFilesystemUsage, "kubernetes.io/node/ephemeral_storage/used_bytes"},
		{signal.NodeFilesystemCapacity, "kubernetes.io/node/ephemeral_storage/total_bytes"},
		{signal.NodeNetworkIO, "kubernetes.io/node/network/received_bytes_count"},
	}
}

func gkeNames() map[string]bool {
	names := map[string]bool{}
	for _, r := range gkeRows() {
		names[r.ours] = true
	}
	return names
}

// severity returns Google's LogSeverity for a syslog severity: EMERGENCY 800,
// ALERT 700, … DEBUG 100, and DEFAULT 0 where nobody stated one.
func severity(level uint8) uint64 {
	if level > 7 {
		return 0
	}
	return uint64(8-level) * 100
}

// resource names the monitored resources that we write.
type resource uint8

const (
	genericNode resource = iota
	genericTask
	gceInstance
	k8sNode
	k8sPod
	k8sContainer
	k8sCluster
	prometheusTarget
)

func (r resource) String() string {
	return [...]string{"generic_node", "generic_task", "gce_instance", "k8s_node", "k8s_pod", "k8s_container", "k8s_cluster", "prometheus_target"}[r]
}

// said reports whether a resource says what a label says, so that the label
// would only repeat it. Ids of containers, pods and images are such as well:
// they would make each restart a series of its own.
func (r resource) said(key string, id *identity) bool {
	switch key {
	case signal.LabelCloudProvider, signal.LabelCloudProject, signal.LabelCloudZone, signal.LabelCloudRegion:
		return id.provider == "gcp"
	case signal.LabelCluster:
		return r == k8sNode || r == k8sPod || r == k8sContainer || r == k8sCluster || r == prometheusTarget
	case signal.LabelNode:
		return r == k8sNode || r == k8sCluster // whose objects any node may read
	case signal.LabelHost:
		switch r {
		case k8sCluster:
			return true
		case k8sNode:
			return id.host == id.node
		case k8sPod, k8sContainer:
			return id.node != "" // which is the same by another name, and is kept
		case genericNode, gceInstance:
			return true
		}
		return r == prometheusTarget && id.pod == ""
	case signal.LabelHostID:
		return id.host != ""
	case signal.LabelNamespace:
		return r == k8sPod || r == k8sContainer || r == prometheusTarget && id.namespace != ""
	case signal.LabelPod:
		return r == k8sPod || r == k8sContainer
	case signal.LabelK8sContainer:
		return r == k8sContainer
	case signal.LabelContainer:
		return r == k8sContainer
	case signal.LabelPodUID, signal.LabelContainerID, signal.LabelImageID:
		return id.pod != ""
	case signal.LabelService:
		return r == genericTask || r == prometheusTarget && id.job != "causeway"
	case "job", "instance":
		return r == prometheusTarget
	}
	return false
}

// ofCluster reports whether a metric is about an object of the cluster rather
// than about the node that it was read on: deployments, services and so on.
func ofCluster(name string) bool {
	if rest, ok := strings.CutPrefix(name, "kube_"); ok { // kube-state-metrics' families
		return !strings.HasPrefix(rest, "pod_") && !strings.HasPrefix(rest, "node_")
	}
	rest, ok := strings.CutPrefix(name, "k8s.")
	return ok && !strings.HasPrefix(rest, "node.") && !strings.HasPrefix(rest, "pod.") && !strings.HasPrefix(rest, "container.") &&
		!strings.HasPrefix(rest, "kubelet.") && !strings.HasPrefix(rest, "volume.")
}
