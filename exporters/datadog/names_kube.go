package datadog

import "github.com/causeway-agent/causeway/agent/signal"

// The names that are agent/collect/container's and agent/collect/kube's own.
const (
	labelState      = "k8s.container.status.state"  // a metric of this name has it, of value 1
	labelReason     = "k8s.container.status.reason" // so has one of this name
	labelLastReason = "k8s.container.status.last_terminated_reason"
	labelSystem     = "k8s.system_container.name"
	labelProbe      = "k8s.probe.type"
	labelResult     = "k8s.probe.result"
	labelVolume     = "k8s.volume.name"

	jobStart      = "kube_job_status_start_time"
	jobCompletion = "kube_job_status_completion_time"
)

// kubeletRows is what the kubelet check says of specifications and states of
// containers, of volumes, and of the kubelet itself. What that check counts
// over the containers of a node, we send of each: the sums are the same.
func kubeletRows() []row {
	waits, ended := state{labelState, labelState, "waiting"}, state{labelState, labelState, "terminated"}
	rows := []row{
		{from: "k8s.container.cpu.request", to: "kubernetes.cpu.requests"},
		{from: "k8s.container.cpu.limit", to: "kubernetes.cpu.limits"},
		{from: "k8s.container.memory.request", to: "kubernetes.memory.requests"},
		{from: "k8s.container.memory.limit", to: "kubernetes.memory.limits"},
		{from: "k8s.container.ephemeral_storage.request", to: "kubernetes.ephemeral_storage.requests"},
		{from: "k8s.container.ephemeral_storage.limit", to: "kubernetes.ephemeral_storage.limits"},
		{from: "k8s.container.restart.count", to: "kubernetes.containers.restarts"},
		{from: labelState, key: labelState, is: "running", to: "kubernetes.containers.running"},
		{from: labelState, key: labelState, is: "waiting"}, // its reason says it
		{from: labelState, key: labelState, is: "terminated"},
		{from: labelReason, key: labelReason, is: every, keep: true, to: "kubernetes.containers.state.waiting", where: waits},
		{from: labelReason, key: labelReason, is: every, keep: true, to: "kubernetes.containers.state.terminated", where: ended},
		{from: "k8s.container.status.last_terminated", to: "kubernetes.containers.last_state.terminated"},
		{from: "kube_pod_status_phase", key: "phase", is: "Running", only: ones, to: "kubernetes.pods.running"},

		{from: "k8s.node.image.filesystem.usage", to: "kubernetes.node.image.filesystem.usage"},
		{from: "k8s.node.image.filesystem.usage", to: "kubernetes.node.image.filesystem.usage_pct", per: []term{{"k8s.node.image.filesystem.capacity", ""}}},
		{from: signal.SystemCPULogicalCount, to: "kubernetes.cpu.capacity", has: signal.LabelNode},
		{from: signal.SystemMemoryLimit, to: "kubernetes.memory.capacity", has: signal.LabelNode},

		// The kubelet has numbers of volumes with a claim only.
		{from: "k8s.volume.usage", to: "kubernetes.kubelet.volume.stats.used_bytes", has: signal.LabelVolumeClaim},
		{from: "k8s.volume.capacity", to: "kubernetes.kubelet.volume.stats.capacity_bytes", has: signal.LabelVolumeClaim},
		{from: "k8s.volume.available", to: "kubernetes.kubelet.volume.stats.available_bytes", has: signal.LabelVolumeClaim},
		{from: "k8s.volume.inodes", to: "kubernetes.kubelet.volume.stats.inodes", has: signal.LabelVolumeClaim},
		{from: "k8s.volume.inodes.free", to: "kubernetes.kubelet.volume.stats.inodes_free", has: signal.LabelVolumeClaim},
		{from: "k8s.volume.inodes.used", to: "kubernetes.kubelet.volume.stats.inodes_used", has: signal.LabelVolumeClaim},
	}
	for _, who := range []string{"kubelet", "runtime"} {
		rows = append(rows,
			row{from: "k8s.node.system_container.cpu.usage", key: labelSystem, is: who, to: "kubernetes." + who + ".cpu.usage", scale: nano},
			row{from: "k8s.node.system_container.memory.usage", key: labelSystem, is: who, to: "kubernetes." + who + ".memory.usage"},
			row{from: "k8s.node.system_container.memory.rss", key: labelSystem, is: who, to: "kubernetes." + who + ".memory.rss"})
	}
	for _, probe := range []string{"liveness", "readiness", "startup"} {
		for _, r := range [][2]string{{"successful", "success"}, {"failed", "failure"}} {
			rows = append(rows, row{from: "k8s.container.probes", key: labelProbe, is: probe, also: [2]string{labelResult, r[0]},
				to: "kubernetes." + probe + "_probe." + r[1] + ".total"})
		}
	}
	return rows
}

// stateNames is what the kubernetes_state_core check only renames: a family of
// kube-state-metrics, and its name behind kubernetes_state.
const stateNames = `
kube_daemonset_status_current_number_scheduled daemonset.scheduled
kube_daemonset_status_desired_number_scheduled daemonset.desired
kube_daemonset_status_number_misscheduled daemonset.misscheduled
kube_daemonset_status_number_ready daemonset.ready
kube_daemonset_status_updated_number_scheduled daemonset.updated
kube_daemonset_status_number_unavailable daemonset.daemons_unavailable
kube_daemonset_status_number_available daemonset.daemons_available
kube_deployment_spec_paused deployment.paused
kube_deployment_spec_replicas deployment.replicas_desired
kube_deployment_spec_strategy_rollingupdate_max_unavailable deployment.rollingupdate.max_unavailable
kube_deployment_spec_strategy_rollingupdate_max_surge deployment.rollingupdate.max_surge
kube_deployment_status_replicas deployment.replicas
kube_deployment_status_replicas_ready deployment.replicas_ready
kube_deployment_status_replicas_available deployment.replicas_available
kube_deployment_status_replicas_unavailable deployment.replicas_unavailable
kube_deployment_status_replicas_updated deployment.replicas_updated
kube_deployment_status_condition deployment.condition
kube_endpoint_address_available endpoint.address_available
kube_endpoint_address_not_ready endpoint.address_not_ready
kube_pod_container_status_terminated container.terminated
kube_pod_container_status_waiting container.waiting
kube_pod_container_status_ready container.ready
kube_pod_container_status_restarts_total container.restarts
kube_pod_container_status_running container.running
kube_pod_init_container_status_restarts_total initcontainer.restarts
kube_pod_init_container_status_waiting initcontainer.waiting
kube_persistentvolumeclaim_status_phase persistentvolumeclaim.status
kube_persistentvolumeclaim_access_mode persistentvolumeclaim.access_mode
kube_persistentvolumeclaim_resource_requests_storage_bytes persistentvolumeclaim.request_storage
kube_persistentvolume_capacity_bytes persistentvolume.capacity
kube_pod_status_ready pod.ready
kube_pod_status_scheduled pod.scheduled
kube_pod_spec_volumes_persistentvolumeclaims_readonly pod.volumes.persistentvolumeclaims_readonly
kube_pod_status_unschedulable pod.unschedulable
kube_poddisruptionbudget_status_current_healthy pdb.pods_healthy
kube_poddisruptionbudget_status_desired_healthy pdb.pods_desired
kube_poddisruptionbudget_status_pod_disruptions_allowed pdb.disruptions_allowed
kube_poddisruptionbudget_status_expected_pods pdb.pods_total
kube_secret_type secret.type
kube_replicaset_spec_replicas replicaset.replicas_desired
kube_replicaset_status_fully_labeled_replicas replicaset.fully_labeled_replicas
kube_replicaset_status_ready_replicas replicaset.replicas_ready
kube_replicaset_status_replicas replicaset.replicas
kube_replicationcontroller_spec_replicas replicationcontroller.replicas_desired
kube_replicationcontroller_status_available_replicas replicationcontroller.replicas_available
kube_replicationcontroller_status_fully_labeled_replicas replicationcontroller.fully_labeled_replicas
kube_replicationcontroller_status_ready_replicas replicationcontroller.replicas_ready
kube_replicationcontroller_status_replicas replicationcontroller.replicas
kube_statefulset_replicas statefulset.replicas_desired
kube_statefulset_status_replicas statefulset.replicas
kube_statefulset_status_replicas_current statefulset.replicas_current
kube_statefulset_status_replicas_ready statefulset.replicas_ready
kube_statefulset_status_replicas_updated statefulset.replicas_updated
kube_horizontalpodautoscaler_spec_min_replicas hpa.min_replicas
kube_horizontalpodautoscaler_spec_max_replicas hpa.max_replicas
kube_horizontalpodautoscaler_spec_target_metric hpa.spec_target_metric
kube_horizontalpodautoscaler_status_condition hpa.condition
kube_horizontalpodautoscaler_status_desired_replicas hpa.desired_replicas
kube_horizontalpodautoscaler_status_current_replicas hpa.current_replicas
kube_horizontalpodautoscaler_status_target_metric hpa.status_target_metric
kube_cronjob_spec_suspend cronjob.spec_suspend
kube_ingress_path ingress.path
kube_apiservice_status_condition apiservice.condition
kube_customresourcedefinition_status_condition crd.condition
`

// stateRows is layer 4: the names of the kubernetes_state_core check. Families
// it has no name for, and reasons it does not count, keep their own names.
//
// The check sums amounts up over containers and nodes as .total; we send .total
// of each container and node, so that its sum over any tags is the same.
func stateRows() (rows []row) {
	add := func(r row) {
		r.to, r.kube = "kubernetes_state."+r.to, true
		rows = append(rows, r)
	}
	pairs(stateNames, func(from, to string) { add(row{from: from, to: to}) })

	rows = append(rows, row{from: jobCompletion}) // the end of its duration
	add(row{from: "kube_pod_created", how: age, to: "pod.age"})
	add(row{from: "kube_pod_start_time", how: age, to: "pod.uptime"})
	add(row{from: "kube_node_created", how: age, to: "node.age"})
	add(row{from: "kube_cronjob_status_last_schedule_time", how: age, to: "cronjob.duration_since_last_schedule"})
	add(row{from: jobStart, how: age, until: jobCompletion, to: "job.duration"})
	add(row{from: "kube_pod_status_phase", only: ones, to: "pod.status_phase"})
	add(row{from: "kube_persistentvolume_status_phase", only: ones, to: "persistentvolume.by_phase"})
	add(row{from: "kube_service_spec_type", only: ones, to: "service.type"})
	add(row{from: "kube_node_status_condition", only: ones, to: "node.by_condition"})
	add(row{from: "kube_node_spec_unschedulable", how: one, only: zeros, add: "status:schedulable", to: "node.status"})
	add(row{from: "kube_node_spec_unschedulable", how: one, only: ones, add: "status:unschedulable", to: "node.status"})
	add(row{from: "kube_job_complete", key: "condition", is: "true", to: "job.completion.succeeded"})
	add(row{from: "kube_job_failed", key: "condition", is: "true", to: "job.completion.failed"})
	add(row{from: "kube_job_status_failed", key: "reason", is: every, to: "job.failed"})
	add(row{from: "kube_job_status_succeeded", to: "job.succeeded"})

	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "ContainerCreating", "CreateContainerError", "InvalidImageName"} {
		add(row{from: "kube_pod_container_status_waiting_reason", key: "reason", is: reason, keep: true, to: "container.status_report.count.waiting"})
	}
	for _, reason := range []string{"OOMKilled", "ContainerCannotRun", "Error"} {
		add(row{from: "kube_pod_container_status_terminated_reason", key: "reason", is: reason, keep: true, to: "container.status_report.count.terminated"})
	}

	for _, amount := range []struct{ from, kind, tail string }{
		{"kube_pod_container_resource_requests", "container.", "_requested"}, {"kube_pod_container_resource_limits", "container.", "_limit"},
		{"kube_node_status_allocatable", "node.", "_allocatable"}, {"kube_node_status_capacity", "node.", "_capacity"},
	} {
		for _, res := range []struct {
			ours, name  string
			nodes, sums bool // of nodes only; has a .total
		}{
			{ours: "cpu", name: "cpu", sums: true}, {ours: "memory", name: "memory", sums: true},
			{ours: "nvidia_com_gpu", name: "gpu", sums: true}, {ours: "amd_com_gpu", name: "gpu", sums: true}, {ours: "gpu_intel_com_i915", name: "gpu", sums: true},
			{ours: "kubernetes_io_network_bandwidth", name: "network_bandwidth"},
			{ours: "pods", name: "pods", nodes: true}, {ours: "ephemeral_storage", name: "ephemeral_storage", nodes: true},
		} {
			if res.nodes && amount.kind != "node." {
				continue
			}
			r := row{from: amount.from, key: "resource", is: res.ours, keep: true, to: amount.kind + res.name + amount.tail}
			add(r)
			if res.sums {
				r.to += ".total"
				add(r)
			}
		}
	}

	add(row{from: "kube_resourcequota", key: "type", is: "hard", keep: true, to: "resourcequota.", word: "resource", tail: ".limit"})
	add(row{from: "kube_resourcequota", key: "type", is: "used", keep: true, to: "resourcequota.", word: "resource", tail: ".used"})
	for _, c := range [][2]string{
		{"min", "min"}, {"max", "max"}, {"default", "default"},
		{"defaultRequest", "default_request"}, {"maxLimitRequestRatio", "max_limit_request_ratio"},
	} {
		add(row{from: "kube_limitrange", key: "constraint", is: c[0], keep: true, to: "limitrange.", word: "resource", tail: "." + c[1]})
	}

	for _, kind := range []string{
		"pod", "deployment", "daemonset", "statefulset", "replicaset", "job", "cronjob",
		"node", "namespace", "service", "ingress", "secret",
	} {
		add(row{from: signal.KubeObjects, key: signal.LabelObjectKind, is: kind, to: kind + ".count"})
	}
	add(row{from: signal.KubeObjects, key: signal.LabelObjectKind, is: "horizontalpodautoscaler", to: "hpa.count"})
	return rows
}

// stateTag returns the check's tag for a label of kube-state-metrics, "" where
// they are the same, and the label of ours that says the same.
func stateTag(label string) (key, ours string) {
	switch label {
	case "namespace":
		return "kube_namespace", signal.LabelNamespace
	case "job_name":
		return "kube_job", signal.LabelJob
	case "cronjob":
		return "kube_cronjob", signal.LabelCronJob
	case "pod":
		return "pod_name", signal.LabelPod
	case "phase":
		return "pod_phase", ""
	case "priority_class":
		return "kube_priority_class", ""
	case "daemonset":
		return "kube_daemon_set", signal.LabelDaemonSet
	case "replicationcontroller":
		return "kube_replication_controller", signal.LabelReplicationController
	case "replicaset":
		return "kube_replica_set", signal.LabelReplicaSet
	case "statefulset":
		return "kube_stateful_set", signal.LabelStatefulSet
	case "deployment":
		return "kube_deployment", signal.LabelDeployment
	case "endpoint":
		return "kube_endpoint", signal.LabelEndpoint
	case "container":
		return "kube_container_name", signal.LabelK8sContainer
	case "image":
		return "image_name", signal.LabelImage
	case "ingress":
		return "kube_ingress", signal.LabelIngress
	case "service":
		return "kube_service", signal.LabelKubeService
	// Of an ingress, where the check has no label for a host of the cluster.
	case "host":
		return "kube_ingress_host", ""
	case "path":
		return "kube_ingress_path", ""
	case "service_name":
		return "kube_service", signal.LabelKubeService
	case "service_port":
		return "kube_service_port", ""
	}
	return "", ""
}

// standardTag returns the tag of a label that Kubernetes recommends, as
// enrichment has it of a pod; "" for others.
func standardTag(label string) string {
	switch label {
	case "app.kubernetes.io/name":
		return "kube_app_name"
	case "app.kubernetes.io/instance":
		return "kube_app_instance"
	case "app.kubernetes.io/version":
		return "kube_app_version"
	case "app.kubernetes.io/component":
		return "kube_app_component"
	case "app.kubernetes.io/part-of":
		return "kube_app_part_of"
	case "app.kubernetes.io/managed-by":
		return "kube_app_managed_by"
	case "helm.sh/chart":
		return "helm_chart"
	}
	return ""
}
