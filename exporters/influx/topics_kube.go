package influx

import "github.com/causeway-agent/causeway/agent/signal"

// podFields returns the rows of pods, of containers in them, and of the node as
// the kubelet sees it, in the words of Telegraf's kubernetes plugin.
func podFields() []field {
	const container = "kubernetes_pod_container"
	mode := [2]string{signal.LabelCPUMode}
	disk := [2]string{signal.LabelDiskDirection}
	fault := [2]string{signal.LabelPagingType}
	const faults = "major=major_page minor=minor_page"
	rows := []field{
		{metric: signal.ContainerUptime, measurement: container, name: "uptime_ns", scale: 1e9},
		{metric: signal.ContainerStartTime, measurement: container, name: "started_at", scale: 1e9},
		{metric: signal.ContainerProcesses, measurement: container, name: "processes"},
		{metric: signal.ContainerThreads, measurement: container, name: "threads"},
		{metric: signal.ContainerThreadsLimit, measurement: container, name: "threads_limit"},

		{metric: signal.ContainerCPUTime, measurement: container, name: "cpu_*_core_nanoseconds", fold: mode, scale: 1e9, sum: "cpu_usage_core_nanoseconds"},
		{metric: signal.ContainerCPUUsage, measurement: container, name: "cpu_usage_nanocores", scale: 1e9},
		{metric: signal.ContainerCPULimit, measurement: container, name: "cpu_limit_nanocores", scale: 1e9},
		{metric: signal.ContainerCPUShares, measurement: container, name: "cpu_shares"},
		{metric: signal.ContainerCPUQuota, measurement: container, name: "cpu_quota_nanoseconds", scale: 1e9},
		{metric: signal.ContainerCPUPeriod, measurement: container, name: "cpu_period_nanoseconds", scale: 1e9},
		{metric: signal.ContainerThrottlePeriods, measurement: container, name: "cpu_throttling_periods"},
		{metric: signal.ContainerThrottledPeriods, measurement: container, name: "cpu_throttling_throttled_periods"},
		{metric: signal.ContainerThrottledTime, measurement: container, name: "cpu_throttling_throttled_nanoseconds", scale: 1e9},

		{metric: signal.ContainerMemoryUsage, measurement: container, name: "memory_usage_bytes"},
		{metric: signal.ContainerMemoryUsageMax, measurement: container, name: "memory_max_usage_bytes"},
		{metric: signal.ContainerMemoryWorkingSet, measurement: container, name: "memory_working_set_bytes"},
		{metric: signal.ContainerMemoryAvailable, measurement: container, name: "memory_available_bytes"},
		{metric: signal.ContainerMemoryRSS, measurement: container, name: "memory_rss_bytes"},
		{metric: signal.ContainerMemoryCache, measurement: container, name: "memory_cache_bytes"},
		{metric: signal.ContainerMemorySwap, measurement: container, name: "memory_swap_bytes"},
		{metric: signal.ContainerMemoryMapped, measurement: container, name: "memory_mapped_bytes"},
		{metric: signal.ContainerMemoryLimit, measurement: container, name: "memory_limit_bytes"},
		{metric: signal.ContainerMemoryRequest, measurement: container, name: "memory_reservation_bytes"},
		{metric: signal.ContainerMemoryFaults, measurement: container, name: "memory_*_faults", fold: fault, words: faults, sum: "memory_page_faults"},
		{metric: signal.ContainerMemoryOOM, measurement: container, name: "memory_oom_events"},

		{metric: signal.ContainerDiskIO, measurement: "kubernetes_pod_container_blkio", name: "io_service_bytes_recursive_*", fold: disk},
		{metric: signal.ContainerDiskOperations, measurement: "kubernetes_pod_container_blkio", name: "io_serviced_recursive_*", fold: disk},
		{metric: signal.ContainerFilesystemUsage, measurement: container, name: "rootfs_used_bytes"},
		{metric: signal.ContainerFilesystemCapacity, measurement: container, name: "rootfs_capacity_bytes"},
		{metric: signal.ContainerPressure, measurement: "kubernetes_pod_container_pressure", name: "total", scale: 1e6},

		{metric: signal.PodUptime, measurement: "kubernetes_pod", name: "uptime_ns", scale: 1e9},
		{metric: signal.PodCPUTime, measurement: "kubernetes_pod", name: "cpu_usage_core_nanoseconds", scale: 1e9},
		{metric: signal.PodCPUUsage, measurement: "kubernetes_pod", name: "cpu_usage_nanocores", scale: 1e9},
		{metric: signal.PodMemoryUsage, measurement: "kubernetes_pod", name: "memory_usage_bytes"},
		{metric: signal.PodMemoryWorkingSet, measurement: "kubernetes_pod", name: "memory_working_set_bytes"},
		{metric: signal.PodMemoryAvailable, measurement: "kubernetes_pod", name: "memory_available_bytes"},
		{metric: signal.PodMemoryRSS, measurement: "kubernetes_pod", name: "memory_rss_bytes"},
		{metric: signal.PodMemorySwap, measurement: "kubernetes_pod", name: "memory_swap_bytes"},
		{metric: signal.PodMemoryFaults, measurement: "kubernetes_pod", name: "memory_*_faults", fold: fault, words: faults, sum: "memory_page_faults"},
		{metric: signal.PodFilesystemUsage, measurement: "kubernetes_pod", name: "fs_used_bytes"},
		{metric: signal.PodFilesystemCapacity, measurement: "kubernetes_pod", name: "fs_capacity_bytes"},
		{metric: signal.PodFilesystemAvailable, measurement: "kubernetes_pod", name: "fs_available_bytes"},

		{metric: signal.NodeUptime, measurement: "kubernetes_node", name: "uptime_ns", scale: 1e9},
		{metric: signal.NodeCPUTime, measurement: "kubernetes_node", name: "cpu_usage_core_nanoseconds", scale: 1e9},
		{metric: signal.NodeCPUUsage, measurement: "kubernetes_node", name: "cpu_usage_nanocores", scale: 1e9},
		{metric: signal.NodeMemoryUsage, measurement: "kubernetes_node", name: "memory_usage_bytes"},
		{metric: signal.NodeMemoryWorkingSet, measurement: "kubernetes_node", name: "memory_working_set_bytes"},
		{metric: signal.NodeMemoryAvailable, measurement: "kubernetes_node", name: "memory_available_bytes"},
		{metric: signal.NodeMemoryRSS, measurement: "kubernetes_node", name: "memory_rss_bytes"},
		{metric: signal.NodeMemorySwap, measurement: "kubernetes_node", name: "memory_swap_bytes"},
		{metric: signal.NodeMemoryFaults, measurement: "kubernetes_node", name: "memory_*_faults", fold: fault, words: faults, sum: "memory_page_faults"},
		{metric: signal.NodeFilesystemUsage, measurement: "kubernetes_node", name: "fs_used_bytes"},
		{metric: signal.NodeFilesystemCapacity, measurement: "kubernetes_node", name: "fs_capacity_bytes"},
		{metric: signal.NodeFilesystemAvailable, measurement: "kubernetes_node", name: "fs_available_bytes"},
		{metric: signal.NodeImagesUsage, measurement: "kubernetes_node", name: "runtime_image_fs_used_bytes"},
		{metric: signal.NodeImagesCapacity, measurement: "kubernetes_node", name: "runtime_image_fs_capacity_bytes"},
		{metric: signal.NodeImagesAvailable, measurement: "kubernetes_node", name: "runtime_image_fs_available_bytes"},
	}
	nic := [2]string{signal.LabelNetDirection}
	const rxtx = "receive=rx transmit=tx"
	rows = append(rows, traffic("kubernetes_pod_network", [2]string{},
		signal.PodNetworkIO, signal.PodNetworkPackets, signal.PodNetworkErrors, signal.PodNetworkDropped)...)
	rows = append(rows, traffic("kubernetes_pod_network", [2]string{},
		signal.ContainerNetworkIO, signal.ContainerNetworkPackets, signal.ContainerNetworkErrors, signal.ContainerNetworkDropped)...)
	rows = append(rows, kubeletFields()...)
	return append(rows,
		field{metric: signal.NodeNetworkIO, measurement: "kubernetes_node", name: "network_*_bytes", fold: nic, words: rxtx},
		field{metric: signal.NodeNetworkErrors, measurement: "kubernetes_node", name: "network_*_errors", fold: nic, words: rxtx},
	)
}

// kubeletFields returns the rows of what only the kubelet tells. What it says
// of a container's specification and fate stands in the fields that the same
// facts have when the API server tells them (kubeFields): they are equal, and
// one of the two is enough for a dashboard.
func kubeletFields() []field {
	const (
		container = "kubernetes_pod_container"
		reason    = "kubernetes_pod_container_reason"
		system    = "kubernetes_system_container"
		volume    = "kubernetes_pod_volume"
	)
	name := [2]string{signal.LabelSystemContainer, "container_name"}
	probe := [2]string{signal.LabelProbe, signal.LabelProbeResult}
	return []field{
		{metric: signal.K8sCPURequest, measurement: container, name: "resource_requests_cpu_units", with: inMillis},
		{metric: signal.K8sCPULimit, measurement: container, name: "resource_limits_cpu_units", with: inMillis},
		{metric: signal.K8sMemoryRequest, measurement: container, name: "resource_requests_memory_bytes"},
		{metric: signal.K8sMemoryLimit, measurement: container, name: "resource_limits_memory_bytes"},
		{metric: signal.K8sStorageRequest, measurement: container, name: "resource_requests_ephemeral_storage_bytes"},
		{metric: signal.K8sStorageLimit, measurement: container, name: "resource_limits_ephemeral_storage_bytes"},
		{metric: signal.K8sRestarts, measurement: container, name: "restarts_total"},
		{metric: signal.K8sReady, measurement: container, name: "ready"},
		{metric: signal.K8sState, measurement: container, name: "state_code", fold: [2]string{signal.LabelContainerState}, code: stateCodes},
		{metric: signal.K8sLastExitCode, measurement: container, name: "last_terminated_exitcode"},
		{metric: signal.K8sOOMKills, measurement: container, name: "oom_kills"},
		{metric: signal.K8sProbes, measurement: container, name: "probe_*_*", fold: probe},
		// Telegraf has the reason as a text. A tag can be asked for by every reader,
		// and VictoriaMetrics keeps no texts.
		{metric: signal.K8sReason, measurement: reason, name: "state", rename: [2]string{signal.LabelContainerReason, "reason"}},
		{metric: signal.K8sLastTerminated, measurement: reason, name: "last_terminated", rename: [2]string{signal.LabelLastTerminated, "reason"}},

		{metric: signal.KubeSystemCPUTime, measurement: system, name: "cpu_usage_core_nanoseconds", scale: 1e9, rename: name},
		{metric: signal.KubeSystemCPUUsage, measurement: system, name: "cpu_usage_nanocores", scale: 1e9, rename: name},
		{metric: signal.KubeSystemMemoryUsage, measurement: system, name: "memory_usage_bytes", rename: name},
		{metric: signal.KubeSystemMemoryWorkingSet, measurement: system, name: "memory_working_set_bytes", rename: name},
		{metric: signal.KubeSystemMemoryRSS, measurement: system, name: "memory_rss_bytes", rename: name},

		{metric: signal.VolumeUsage, measurement: volume, name: "used_bytes"},
		{metric: signal.VolumeCapacity, measurement: volume, name: "capacity_bytes"},
		{metric: signal.VolumeAvailable, measurement: volume, name: "available_bytes"},
		{metric: signal.VolumeInodes, measurement: volume, name: "inodes"},
		{metric: signal.VolumeInodesFree, measurement: volume, name: "inodes_free"},
		{metric: signal.VolumeInodesUsed, measurement: volume, name: "inodes_used"},
	}
}

// stateCodes are Telegraf's of a container's state, in order from 0.
const stateCodes = "running terminated waiting unknown"

// kubeFields returns the rows of layer 4: the numbers of those objects that
// Telegraf's kube_inventory has a measurement for. What it tells by a tag that
// changes over the life of an object (phase, state, readiness, a condition's
// status) is a field here, so that an object remains one series. Families
// without a row go under their own names: objects that Telegraf does not know,
// and what a family says by a label (info, labels, reasons, owners).
func kubeFields() []field {
	const ns = 1e9 // Telegraf's moments count nanoseconds
	of := func(measurement, prefix string, rows ...field) []field {
		for i := range rows {
			rows[i].measurement, rows[i].metric = measurement, prefix+rows[i].metric
		}
		return rows
	}
	resource := [2]string{"resource", "unit"}
	quota := [2]string{signal.LabelResourceQuota, "resource"}
	const unit = "core=_cores byte=_bytes integer="
	const units = "core=_units byte=_bytes integer="
	var rows []field
	add := func(more []field) { rows = append(rows, more...) }
	add(of("kubernetes_daemonset", "kube_daemonset_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "metadata_generation", name: "generation"},
		field{metric: "status_observed_generation", name: "observed_generation"},
		field{metric: "status_current_number_scheduled", name: "current_number_scheduled"},
		field{metric: "status_desired_number_scheduled", name: "desired_number_scheduled"},
		field{metric: "status_number_available", name: "number_available"},
		field{metric: "status_number_misscheduled", name: "number_misscheduled"},
		field{metric: "status_number_ready", name: "number_ready"},
		field{metric: "status_number_unavailable", name: "number_unavailable"},
		field{metric: "status_updated_number_scheduled", name: "updated_number_scheduled"},
	))
	add(of("kubernetes_deployment", "kube_deployment_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "metadata_generation", name: "generation"},
		field{metric: "status_observed_generation", name: "observed_generation"},
		field{metric: "status_replicas", name: "replicas"},
		field{metric: "status_replicas_available", name: "replicas_available"},
		field{metric: "status_replicas_ready", name: "replicas_ready"},
		field{metric: "status_replicas_unavailable", name: "replicas_unavailable"},
		field{metric: "status_replicas_updated", name: "replicas_updated"},
		field{metric: "spec_replicas", name: "spec_replicas"},
		field{metric: "spec_paused", name: "spec_paused"},
		field{metric: "spec_strategy_rollingupdate_max_unavailable", name: "rollingupdate_max_unavailable"},
		field{metric: "spec_strategy_rollingupdate_max_surge", name: "rollingupdate_max_surge"},
	))
	add(of("kubernetes_statefulset", "kube_statefulset_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "metadata_generation", name: "generation"},
		field{metric: "status_observed_generation", name: "observed_generation"},
		field{metric: "replicas", name: "spec_replicas"},
		field{metric: "status_replicas", name: "replicas"},
		field{metric: "status_replicas_available", name: "replicas_available"},
		field{metric: "status_replicas_current", name: "replicas_current"},
		field{metric: "status_replicas_ready", name: "replicas_ready"},
		field{metric: "status_replicas_updated", name: "replicas_updated"},
	))
	add(of("kubernetes_node", "kube_node_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "spec_unschedulable", name: "spec_unschedulable"},
		field{metric: "status_capacity", name: "capacity_**", fold: resource, words: unit, with: inMillis},
		field{metric: "status_allocatable", name: "allocatable_**", fold: resource, words: unit, with: inMillis},
		field{metric: "status_condition", name: "status_condition", fold: [2]string{"status"}, code: "false true unknown"},
	))
	add(of("kubernetes_persistentvolume", "kube_persistentvolume_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "capacity_bytes", name: "capacity_bytes"},
		field{metric: "status_phase", name: "phase_type", fold: [2]string{"phase"}, code: "Bound Failed Pending Released Available Unknown"},
	))
	add(of("kubernetes_persistentvolumeclaim", "kube_persistentvolumeclaim_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "resource_requests_storage_bytes", name: "resource_requests_storage_bytes"},
		field{metric: "status_phase", name: "phase_type", fold: [2]string{"phase"}, code: "Bound Lost Pending Unknown"},
	))
	add(of("kubernetes_pod_container", "kube_pod_container_",
		field{metric: "resource_requests", name: "resource_requests_**", fold: resource, words: units, with: inMillis},
		field{metric: "resource_limits", name: "resource_limits_**", fold: resource, words: units, with: inMillis},
		field{metric: "status_running", name: "status_running", words: "0", with: codeOfState},
		field{metric: "status_terminated", name: "status_terminated", words: "1", with: codeOfState},
		field{metric: "status_waiting", name: "status_waiting", words: "2", with: codeOfState},
		field{metric: "status_ready", name: "ready"},
		field{metric: "status_restarts_total", name: "restarts_total"},
		field{metric: "state_started", name: "state_started_at", scale: ns},
		field{metric: "status_last_terminated_exitcode", name: "last_terminated_exitcode"},
		field{metric: "status_last_terminated_timestamp", name: "last_terminated_at", scale: ns},
	))
	add(of("kubernetes_resourcequota", "kube_resourcequota",
		field{metric: "_created", name: "created", scale: ns, rename: quota},
		field{name: "*_*", fold: [2]string{"type", "resource"}, rename: quota,
			words: "limits.cpu=cpu_limits requests.cpu=cpu_requests limits.memory=memory_limits requests.memory=memory_requests"},
	))
	add(of("kubernetes_service", "kube_service_", field{metric: "created", name: "created", scale: ns, fold: [2]string{"uid"}}))
	add(of("kubernetes_ingress", "kube_ingress_", field{metric: "created", name: "created", scale: ns}))
	add(of("kubernetes_endpoints", "kube_endpoint_",
		field{metric: "created", name: "created", scale: ns},
		field{metric: "address_available", name: "address_available"},
		field{metric: "address_not_ready", name: "address_not_ready"},
	))
	return rows
}

// scraped reports whether a series of kube-state-metrics' name comes from
// kube-state-metrics itself, and so has its labels. It lists every state of an
// enumeration, and which of the labels say what the series is about is not
// ours to guess: such a one goes under its own name.
func scraped(labels string) bool {
	for {
		k, _, rest, ok := signal.NextLabel(labels)
		if !ok || k > "persistentvolume" {
			return false
		}
		if k == "namespace" || k == "node" || k == "persistentvolume" {
			return true
		}
		labels = rest
	}
}
