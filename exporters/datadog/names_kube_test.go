package datadog

import (
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// claimedKube continues claimed with layer 4 and what the kubelet says of it:
// metadata.csv of the checks kubelet and kubernetes_state_core. The names of
// quotas hold their resource; these stand for all.
const claimedKube = `
kubernetes.containers.last_state.terminated gauge -
kubernetes.containers.restarts gauge -
kubernetes.containers.running gauge -
kubernetes.containers.state.terminated gauge -
kubernetes.containers.state.waiting gauge -
kubernetes.cpu.capacity gauge core
kubernetes.cpu.limits gauge core
kubernetes.cpu.requests gauge core
kubernetes.ephemeral_storage.limits gauge byte
kubernetes.ephemeral_storage.requests gauge byte
kubernetes.kubelet.cpu.usage gauge nanocore
kubernetes.kubelet.memory.rss gauge byte
kubernetes.kubelet.memory.usage gauge byte
kubernetes.kubelet.volume.stats.available_bytes gauge byte
kubernetes.kubelet.volume.stats.capacity_bytes gauge byte
kubernetes.kubelet.volume.stats.inodes gauge inode
kubernetes.kubelet.volume.stats.inodes_free gauge inode
kubernetes.kubelet.volume.stats.inodes_used gauge inode
kubernetes.kubelet.volume.stats.used_bytes gauge byte
kubernetes.liveness_probe.failure.total gauge -
kubernetes.liveness_probe.success.total gauge -
kubernetes.memory.capacity gauge byte
kubernetes.memory.limits gauge byte
kubernetes.memory.requests gauge byte
kubernetes.node.image.filesystem.usage gauge byte
kubernetes.node.image.filesystem.usage_pct gauge fraction
kubernetes.pods.running gauge -
kubernetes.readiness_probe.failure.total gauge -
kubernetes.readiness_probe.success.total gauge -
kubernetes.runtime.cpu.usage gauge nanocore
kubernetes.runtime.memory.rss gauge byte
kubernetes.runtime.memory.usage gauge byte
kubernetes.startup_probe.failure.total gauge -
kubernetes.startup_probe.success.total gauge -
kubernetes_state.apiservice.condition gauge -
kubernetes_state.container.cpu_limit gauge -
kubernetes_state.container.cpu_limit.total gauge -
kubernetes_state.container.cpu_requested gauge -
kubernetes_state.container.cpu_requested.total gauge -
kubernetes_state.container.gpu_limit gauge -
kubernetes_state.container.gpu_limit.total gauge -
kubernetes_state.container.gpu_requested gauge -
kubernetes_state.container.gpu_requested.total gauge -
kubernetes_state.container.memory_limit gauge -
kubernetes_state.container.memory_limit.total gauge -
kubernetes_state.container.memory_requested gauge -
kubernetes_state.container.memory_requested.total gauge -
kubernetes_state.container.network_bandwidth_limit gauge -
kubernetes_state.container.network_bandwidth_requested gauge -
kubernetes_state.container.ready gauge -
kubernetes_state.container.restarts gauge -
kubernetes_state.container.running gauge -
kubernetes_state.container.status_report.count.terminated gauge -
kubernetes_state.container.status_report.count.waiting gauge -
kubernetes_state.container.terminated gauge -
kubernetes_state.container.waiting gauge -
kubernetes_state.crd.condition gauge -
kubernetes_state.cronjob.count gauge -
kubernetes_state.cronjob.duration_since_last_schedule gauge -
kubernetes_state.cronjob.spec_suspend gauge -
kubernetes_state.daemonset.count gauge -
kubernetes_state.daemonset.daemons_available gauge -
kubernetes_state.daemonset.daemons_unavailable gauge -
kubernetes_state.daemonset.desired gauge -
kubernetes_state.daemonset.misscheduled gauge -
kubernetes_state.daemonset.ready gauge -
kubernetes_state.daemonset.scheduled gauge -
kubernetes_state.daemonset.updated gauge -
kubernetes_state.deployment.condition gauge -
kubernetes_state.deployment.count gauge -
kubernetes_state.deployment.paused gauge -
kubernetes_state.deployment.replicas gauge -
kubernetes_state.deployment.replicas_available gauge -
kubernetes_state.deployment.replicas_desired gauge -
kubernetes_state.deployment.replicas_ready gauge -
kubernetes_state.deployment.replicas_unavailable gauge -
kubernetes_state.deployment.replicas_updated gauge -
kubernetes_state.deployment.rollingupdate.max_surge gauge -
kubernetes_state.deployment.rollingupdate.max_unavailable gauge -
kubernetes_state.endpoint.address_available gauge -
kubernetes_state.endpoint.address_not_ready gauge -
kubernetes_state.hpa.condition gauge -
kubernetes_state.hpa.count gauge -
kubernetes_state.hpa.current_replicas gauge -
kubernetes_state.hpa.desired_replicas gauge -
kubernetes_state.hpa.max_replicas gauge -
kubernetes_state.hpa.min_replicas gauge -
kubernetes_state.hpa.spec_target_metric gauge -
kubernetes_state.hpa.status_target_metric gauge -
kubernetes_state.ingress.count gauge -
kubernetes_state.ingress.path gauge -
kubernetes_state.initcontainer.restarts gauge -
kubernetes_state.initcontainer.waiting gauge -
kubernetes_state.job.completion.failed gauge -
kubernetes_state.job.completion.succeeded gauge -
kubernetes_state.job.count gauge -
kubernetes_state.job.duration gauge -
kubernetes_state.job.failed gauge -
kubernetes_state.job.succeeded gauge -
kubernetes_state.limitrange.cpu.default gauge -
kubernetes_state.limitrange.cpu.default_request gauge -
kubernetes_state.limitrange.cpu.max gauge -
kubernetes_state.limitrange.cpu.max_limit_request_ratio gauge -
kubernetes_state.limitrange.cpu.min gauge -
kubernetes_state.namespace.count gauge -
kubernetes_state.node.age gauge second
kubernetes_state.node.by_condition gauge -
kubernetes_state.node.count gauge -
kubernetes_state.node.cpu_allocatable gauge -
kubernetes_state.node.cpu_allocatable.total gauge -
kubernetes_state.node.cpu_capacity gauge -
kubernetes_state.node.cpu_capacity.total gauge -
kubernetes_state.node.ephemeral_storage_allocatable gauge -
kubernetes_state.node.ephemeral_storage_capacity gauge -
kubernetes_state.node.gpu_allocatable gauge -
kubernetes_state.node.gpu_allocatable.total gauge -
kubernetes_state.node.gpu_capacity gauge -
kubernetes_state.node.gpu_capacity.total gauge -
kubernetes_state.node.memory_allocatable gauge -
kubernetes_state.node.memory_allocatable.total gauge -
kubernetes_state.node.memory_capacity gauge -
kubernetes_state.node.memory_capacity.total gauge -
kubernetes_state.node.network_bandwidth_allocatable gauge -
kubernetes_state.node.network_bandwidth_capacity gauge -
kubernetes_state.node.pods_allocatable gauge -
kubernetes_state.node.pods_capacity gauge -
kubernetes_state.node.status gauge -
kubernetes_state.pdb.disruptions_allowed gauge -
kubernetes_state.pdb.pods_desired gauge -
kubernetes_state.pdb.pods_healthy gauge -
kubernetes_state.pdb.pods_total gauge -
kubernetes_state.persistentvolume.by_phase gauge -
kubernetes_state.persistentvolume.capacity gauge -
kubernetes_state.persistentvolumeclaim.access_mode gauge -
kubernetes_state.persistentvolumeclaim.request_storage gauge -
kubernetes_state.persistentvolumeclaim.status gauge -
kubernetes_state.pod.age gauge second
kubernetes_state.pod.count gauge -
kubernetes_state.pod.ready gauge -
kubernetes_state.pod.scheduled gauge -
kubernetes_state.pod.status_phase gauge -
kubernetes_state.pod.unschedulable gauge -
kubernetes_state.pod.uptime gauge -
kubernetes_state.pod.volumes.persistentvolumeclaims_readonly gauge -
kubernetes_state.replicaset.count gauge -
kubernetes_state.replicaset.fully_labeled_replicas gauge -
kubernetes_state.replicaset.replicas gauge -
kubernetes_state.replicaset.replicas_desired gauge -
kubernetes_state.replicaset.replicas_ready gauge -
kubernetes_state.replicationcontroller.fully_labeled_replicas gauge -
kubernetes_state.replicationcontroller.replicas gauge -
kubernetes_state.replicationcontroller.replicas_available gauge -
kubernetes_state.replicationcontroller.replicas_desired gauge -
kubernetes_state.replicationcontroller.replicas_ready gauge -
kubernetes_state.resourcequota.cpu.limit gauge -
kubernetes_state.resourcequota.cpu.used gauge -
kubernetes_state.secret.count gauge -
kubernetes_state.secret.type gauge -
kubernetes_state.service.count gauge -
kubernetes_state.service.type gauge -
kubernetes_state.statefulset.count gauge -
kubernetes_state.statefulset.replicas gauge -
kubernetes_state.statefulset.replicas_current gauge -
kubernetes_state.statefulset.replicas_desired gauge -
kubernetes_state.statefulset.replicas_ready gauge -
kubernetes_state.statefulset.replicas_updated gauge -
`

// facts is a table of samples at 1700000010 and what becomes of each.
func facts(t *testing.T) func(in string, skips int, want ...string) {
	return func(in string, skips int, want ...string) {
		t.Helper()
		list, skipped := encode(t, "native", parse(t, signal.Metric, strings.TrimSpace(in)))
		if got := show(list); got != strings.Join(want, "\n") || skipped != skips {
			t.Errorf("skipped %d, got\n%s\nwant\n%s", skipped, got, strings.Join(want, "\n"))
		}
	}
}

// What the kubelet says of a container's specification and state.
func TestKubeletNames(t *testing.T) {
	f := facts(t)
	const c = `{k8s.container.name="c",k8s.namespace.name="d",k8s.node.name="n",k8s.pod.name="p",k8s.pod.uid="u"}`
	const tags = " kube_container_name:c,kube_namespace:d,kube_node:n,pod_name:p"
	f(`k8s.container.cpu.request`+c+` gauge {cpu} 0.25`+at, 0, "kubernetes.cpu.requests gauge 0.25"+tags) // cores, not nanocores
	f(`k8s.container.cpu.limit`+c+` gauge {cpu} 2`+at, 0, "kubernetes.cpu.limits gauge 2"+tags)
	f(`k8s.container.memory.request`+c+` gauge By 1048576`+at, 0, "kubernetes.memory.requests gauge 1.048576e+06"+tags)
	f(`k8s.container.memory.limit`+c+` gauge By 2048`+at, 0, "kubernetes.memory.limits gauge 2048"+tags)
	f(`k8s.container.ephemeral_storage.limit`+c+` gauge By 9`+at, 0, "kubernetes.ephemeral_storage.limits gauge 9"+tags)
	f(`k8s.container.restart.count`+c+` gauge {restart} 3`+at, 0, "kubernetes.containers.restarts gauge 3"+tags)
	f(`k8s.container.ready`+c+` gauge 1 1`+at, 0, "k8s.container.ready gauge 1"+tags) // has no name there

	// A state has a name of its own, and its reason is a tag.
	in := func(label, value string) string {
		return label + `{k8s.container.name="c",` + label + `="` + value + `",k8s.pod.name="p"} gauge 1 1` + at
	}
	const reason, tag = "k8s.container.status.reason", " kube_container_name:c,pod_name:p"
	f(in("k8s.container.status.state", "running"), 0, "kubernetes.containers.running gauge 1"+tag)
	f(in("k8s.container.status.state", "waiting")+in(reason, "CrashLoopBackOff"), 0,
		"kubernetes.containers.state.waiting gauge 1 kube_container_name:c,reason:crashloopbackoff,pod_name:p")
	f(in(reason, "Completed")+in("k8s.container.status.state", "terminated"), 0,
		"kubernetes.containers.state.terminated gauge 1 kube_container_name:c,reason:completed,pod_name:p")
	f(in(reason, "Error"), 0, "k8s.container.status.reason gauge 1 kube_container_name:c,reason:error,pod_name:p") // of a state unknown
	f(strings.ReplaceAll(in("k8s.container.status.state", "waiting"), `"p"`, `"q"`)+in(reason, "Error"), 0,
		"k8s.container.status.reason gauge 1 kube_container_name:c,reason:error,pod_name:p")
	f(`k8s.container.status.last_terminated{k8s.container.status.last_terminated_reason="OOMKilled",k8s.pod.name="p"} gauge 1 1`+at, 0,
		"kubernetes.containers.last_state.terminated gauge 1 reason:oomkilled,pod_name:p")

	probe := func(kind, result string) string {
		return `k8s.container.probes{k8s.pod.name="p",k8s.probe.result="` + result + `",k8s.probe.type="` + kind + `"} counter {probe} 70 +1` + since
	}
	f(probe("liveness", "successful")+probe("readiness", "failed")+probe("startup", "unknown"), 0,
		"kubernetes.liveness_probe.success.total gauge 70 pod_name:p", "kubernetes.readiness_probe.failure.total gauge 70 pod_name:p",
		"k8s.container.probes count 1/10s pod_name:p,k8s.probe.result:unknown,k8s.probe.type:startup")

	const volume = `{k8s.namespace.name="d",k8s.persistentvolumeclaim.name="data",k8s.volume.name="v"} gauge - 5` + at
	const vtags = " kube_namespace:d,persistentvolumeclaim:data,volume:v"
	f(`k8s.volume.usage`+volume+`k8s.volume.inodes.free`+volume, 0,
		"kubernetes.kubelet.volume.stats.used_bytes gauge 5"+vtags, "kubernetes.kubelet.volume.stats.inodes_free gauge 5"+vtags)
	f(`k8s.volume.usage{k8s.volume.name="v"} gauge By 5`+at, 0, "k8s.volume.usage gauge 5 byte volume:v") // no claim
	f(`k8s.node.system_container.cpu.usage{k8s.system_container.name="kubelet"} gauge {cpu} 0.5`+at, 0, "kubernetes.kubelet.cpu.usage gauge 5e+08")
	f(`k8s.node.system_container.memory.rss{k8s.system_container.name="runtime"} gauge By 7`+at, 0, "kubernetes.runtime.memory.rss gauge 7")
	f(`k8s.node.system_container.memory.rss{k8s.system_container.name="misc"} gauge By 7`+at, 0,
		"k8s.node.system_container.memory.rss gauge 7 byte k8s.system_container.name:misc")
	f(`k8s.node.image.filesystem.usage gauge By 1`+at+`k8s.node.image.filesystem.capacity gauge By 4`+at, 0,
		"kubernetes.node.image.filesystem.usage gauge 1", "kubernetes.node.image.filesystem.usage_pct gauge 0.25", "k8s.node.image.filesystem.capacity gauge 4 byte")
	f(`system.memory.limit{k8s.node.name="n"} gauge By 1048576`+at, 0,
		"system.mem.total gauge 1 kube_node:n", "kubernetes.memory.capacity gauge 1.048576e+06 kube_node:n")
}

// Families of kube-state-metrics, one of each rule.
func TestStateNames(t *testing.T) {
	f := facts(t)
	const pod, ptags = `k8s.namespace.name="d",k8s.node.name="n",k8s.pod.name="p",k8s.pod.uid="u"`, "kube_namespace:d,node:n,kube_node:n,pod_name:p"
	f(`kube_deployment_status_replicas_ready{host.name="",k8s.deployment.name="web",k8s.namespace.name="d",k8s.node.name=""} gauge 1 3`+at, 0,
		"kubernetes_state.deployment.replicas_ready gauge 3 kube_deployment:web,kube_namespace:d")
	f(`kube_deployment_status_condition{condition="Available",k8s.deployment.name="web",reason="MinimumReplicasAvailable",status="true"} gauge 1 1`+at, 0,
		"kubernetes_state.deployment.condition gauge 1 condition:available,kube_deployment:web,reason:minimumreplicasavailable,status:true")
	f(`kube_pod_container_status_restarts_total{k8s.container.name="c",`+pod+`} counter 1 9`+at, 0,
		"kubernetes_state.container.restarts gauge 9 kube_container_name:c,"+ptags) // its first reading, too

	// Moments become ages.
	f(`kube_pod_created{`+pod+`} gauge s 1699999900`+at, 0, "kubernetes_state.pod.age gauge 110 "+ptags)
	f(`kube_pod_start_time{`+pod+`} gauge s 1699999905 @1700000010900`, 0, "kubernetes_state.pod.uptime gauge 105 "+ptags)
	f(`kube_cronjob_status_last_schedule_time{k8s.cronjob.name="j"} gauge s 1700000000`+at, 0,
		"kubernetes_state.cronjob.duration_since_last_schedule gauge 10 kube_cronjob:j")
	f(`kube_job_status_start_time{k8s.job.name="j"} gauge s 1700000000`+at, 0, "kubernetes_state.job.duration gauge 10 kube_job:j") // runs
	f(`kube_job_status_start_time{k8s.job.name="j"} gauge s 1700000000`+at+`kube_job_status_completion_time{k8s.job.name="j"} gauge s 1700000004`+at, 0,
		"kubernetes_state.job.duration gauge 4 kube_job:j")

	// Of an enumeration the state that holds.
	f(`kube_pod_status_phase{`+pod+`,phase="Running"} gauge 1 1`+at, 0,
		"kubernetes.pods.running gauge 1 kube_namespace:d,kube_node:n,pod_name:p", "kubernetes_state.pod.status_phase gauge 1 "+ptags+",pod_phase:running")
	f(`kube_pod_status_phase{`+pod+`,phase="Failed"} gauge 1 1`+at, 0, "kubernetes_state.pod.status_phase gauge 1 "+ptags+",pod_phase:failed")
	f(`kube_pod_status_phase{`+pod+`,phase="Running"} gauge 1 0`+at, 1)
	f(`kube_persistentvolume_status_phase{k8s.persistentvolume.name="v",phase="Bound"} gauge 1 1`+at, 0,
		"kubernetes_state.persistentvolume.by_phase gauge 1 persistentvolume:v,phase:bound,pod_phase:bound")
	f(`kube_node_status_condition{condition="Ready",k8s.node.name="n",status="true"} gauge 1 1`+at, 0,
		"kubernetes_state.node.by_condition gauge 1 condition:ready,node:n,kube_node:n,status:true")
	f(`kube_node_status_condition{condition="Ready",k8s.node.name="n",status="false"} gauge 1 0`+at, 1)
	f(`kube_node_spec_unschedulable{k8s.node.name="n"} gauge 1 0`+at, 0, "kubernetes_state.node.status gauge 1 status:schedulable,node:n,kube_node:n")
	f(`kube_node_spec_unschedulable{k8s.node.name="n"} gauge 1 1`+at, 0, "kubernetes_state.node.status gauge 1 status:unschedulable,node:n,kube_node:n")
	f(`kube_node_spec_unschedulable{k8s.node.name="n"} gauge 1 2`+at, 1)
	f(`kube_service_spec_type{k8s.namespace.name="d",k8s.service.name="s",type="ClusterIP",uid="u"} gauge 1 1`+at, 0,
		"kubernetes_state.service.type gauge 1 kube_namespace:d,kube_service:s,type:clusterip")
	f(`kube_job_complete{condition="true",k8s.cronjob.name="j",k8s.job.name="j-1"} gauge 1 1`+at, 0,
		"kubernetes_state.job.completion.succeeded gauge 1 kube_cronjob:j,kube_job:j-1")
	f(`kube_job_status_failed{k8s.job.name="j",reason="BackoffLimitExceeded"} gauge 1 2`+at+`kube_job_status_failed{k8s.job.name="k"} gauge 1 0`+at, 0,
		"kubernetes_state.job.failed gauge 2 kube_job:j", "kubernetes_state.job.failed gauge 0 kube_job:k")

	// Reasons that the check counts, and others.
	f(`kube_pod_container_status_waiting_reason{`+pod+`,reason="CrashLoopBackOff"} gauge 1 1`+at, 0,
		"kubernetes_state.container.status_report.count.waiting gauge 1 "+ptags+",reason:crashloopbackoff")
	f(`kube_pod_container_status_terminated_reason{k8s.pod.name="p",reason="Completed"} gauge 1 1`+at, 0,
		"kube_pod_container_status_terminated_reason gauge 1 pod_name:p,reason:completed")

	// Amounts: the resource is part of the name.
	f(`kube_pod_container_resource_requests{`+pod+`,resource="cpu",unit="core"} gauge {cpu} 0.5`+at, 0,
		"kubernetes_state.container.cpu_requested gauge 0.5 "+ptags+",resource:cpu,unit:core",
		"kubernetes_state.container.cpu_requested.total gauge 0.5 "+ptags+",resource:cpu,unit:core")
	f(`kube_pod_container_resource_limits{k8s.pod.name="p",resource="nvidia_com_gpu",unit="integer"} gauge 1 1`+at, 0,
		"kubernetes_state.container.gpu_limit gauge 1 pod_name:p,resource:nvidia_com_gpu,unit:integer",
		"kubernetes_state.container.gpu_limit.total gauge 1 pod_name:p,resource:nvidia_com_gpu,unit:integer")
	f(`kube_pod_container_resource_limits{k8s.pod.name="p",resource="hugepages_2Mi",unit="byte"} gauge By 1`+at, 0,
		"kube_pod_container_resource_limits gauge 1 byte pod_name:p,resource:hugepages_2mi,unit:byte")
	f(`kube_node_status_allocatable{k8s.node.name="n",resource="pods",unit="integer"} gauge 1 110`+at, 0,
		"kubernetes_state.node.pods_allocatable gauge 110 node:n,kube_node:n,resource:pods,unit:integer")
	f(`kube_resourcequota{k8s.namespace.name="d",k8s.resourcequota.name="q",resource="requests.cpu",type="hard"} gauge 1 4`+at, 0,
		"kubernetes_state.resourcequota.requests.cpu.limit gauge 4 kube_namespace:d,resourcequota:q,resource:requests.cpu,type:hard")
	f(`kube_resourcequota{resource="count/configmaps",type="used"} gauge 1 4`+at, 0,
		"kubernetes_state.resourcequota.count_configmaps.used gauge 4 resource:count/configmaps,type:used")
	f(`kube_resourcequota{resource="`+strings.Repeat("x", 300)+`",type="used"} gauge 1 4`+at, 0,
		"kubernetes_state.resourcequota."+strings.Repeat("x", 164)+".used gauge 4 resource:"+strings.Repeat("x", 191)+",type:used")
	f(`kube_resourcequota{resource="//",type="used"} gauge 1 4`+at, 1)
	f(`kube_limitrange{constraint="defaultRequest",k8s.limitrange.name="l",resource="cpu",type="Container"} gauge 1 0.1`+at, 0,
		"kubernetes_state.limitrange.cpu.default_request gauge 0.1 constraint:defaultrequest,limitrange:l,resource:cpu,type:container")
	f(`k8s.object.count{k8s.namespace.name="d",k8s.object.kind="horizontalpodautoscaler"} gauge {object} 2`+at, 0,
		"kubernetes_state.hpa.count gauge 2 kube_namespace:d")
	f(`k8s.object.count{k8s.object.kind="endpointslice"} gauge {object} 2`+at, 0, "k8s.object.count gauge 2 kube_kind:endpointslice")
	f(`kube_ingress_path{host="h",k8s.ingress.name="i",path="/p",service_name="s",service_port="80"} gauge 1 1`+at, 0,
		"kubernetes_state.ingress.path gauge 1 kube_ingress_host:h,kube_ingress:i,kube_ingress_path:/p,kube_service:s,kube_service_port:80")
	f(`kube_pod_info{created_by_kind="ReplicaSet",`+pod+`} gauge 1 1`+at, 0,
		"kube_pod_info gauge 1 created_by_kind:replicaset,kube_namespace:d,kube_node:n,pod_name:p") // no name there
}

// The tags of the kubernetes_state_core check, for the labels of
// kube-state-metrics and for those of ours that say the same.
func TestStateTags(t *testing.T) {
	f := func(want string, pairs ...string) {
		t.Helper()
		g := tagger{shut: ","}
		if got := strings.TrimSuffix(string(g.append(nil, signal.Labels(pairs...), style{kube: true}, new(memo))), ","); got != want {
			t.Errorf("%v gave %s, want %s", pairs, got, want)
		}
	}
	for ksm, want := range map[string][2]string{
		"namespace": {"kube_namespace", "k8s.namespace.name"}, "job_name": {"kube_job", "k8s.job.name"}, "cronjob": {"kube_cronjob", "k8s.cronjob.name"},
		"pod": {"pod_name", "k8s.pod.name"}, "daemonset": {"kube_daemon_set", "k8s.daemonset.name"},
		"replicationcontroller": {"kube_replication_controller", "k8s.replicationcontroller.name"},
		"replicaset":            {"kube_replica_set", "k8s.replicaset.name"}, "statefulset": {"kube_stateful_set", "k8s.statefulset.name"},
		"deployment": {"kube_deployment", "k8s.deployment.name"},
		"endpoint":   {"kube_endpoint", "k8s.endpoint.name"}, "container": {"kube_container_name", "k8s.container.name"},
		"container_id": {"container_id", "container.id"},
		"ingress":      {"kube_ingress", "k8s.ingress.name"}, "service": {"kube_service", "k8s.service.name"},
		"horizontalpodautoscaler": {"horizontalpodautoscaler", "k8s.hpa.name"}, "persistentvolume": {"persistentvolume", "k8s.persistentvolume.name"},
		"persistentvolumeclaim": {"persistentvolumeclaim", "k8s.persistentvolumeclaim.name"}, "storageclass": {"storageclass", "k8s.storageclass.name"},
		"resourcequota": {"resourcequota", "k8s.resourcequota.name"}, "limitrange": {"limitrange", "k8s.limitrange.name"},
		"poddisruptionbudget": {"poddisruptionbudget", "k8s.poddisruptionbudget.name"}, "secret": {"secret", "k8s.secret.name"},
	} {
		f(want[0]+":x", ksm, "x")
		f(want[0]+":x", want[1], "x")
	}
	f("image_name:x", "image", "x")
	f("node:x", "node", "x")
	f("node:x,kube_node:x", "k8s.node.name", "x")
	f("kube_node:agent,node:x", "node", "x", "k8s.node.name", "agent")
	f("kube_namespace:agent,namespace:x", "namespace", "x", "k8s.namespace.name", "agent")
	f("kube_priority_class:x", "priority_class", "x")
	f("pod_name:p,pod_phase:x", "phase", "x", "k8s.pod.name", "p")
	f("kube_region:r", "cloud.region", "r")
	f("kube_zone:z", "cloud.availability_zone", "z")
	for label, want := range map[string]string{
		"app.kubernetes.io/name": "kube_app_name", "app.kubernetes.io/instance": "kube_app_instance", "app.kubernetes.io/version": "kube_app_version",
		"app.kubernetes.io/component": "kube_app_component", "app.kubernetes.io/part-of": "kube_app_part_of", "app.kubernetes.io/managed-by": "kube_app_managed_by",
		"helm.sh/chart": "helm_chart", "team": "k8s.pod.label.team",
	} {
		f(want+":x", "k8s.pod.label."+label, "x")
	}
}

// An event of an object is titled, grouped and tagged as Datadog's agent does it.
func TestObjectEvents(t *testing.T) {
	event := func(level, id, title, text, labels, count string) string {
		return "event @1000000000 " + level + ` "kubernetes" "` + id + `" "` + title + `" "` + text + `" {` + labels + "} count=" + count + "\n"
	}
	b := parse(t, signal.Event, event("4", "ev-3", "BackOff: Pod d/p", "Back-off", `host.name="n",k8s.event.component="kubelet",`+
		`k8s.event.reason="BackOff",k8s.event.type="Warning",k8s.namespace.name="d",k8s.node.name="n",k8s.object.kind="Pod",`+
		`k8s.object.name="p",k8s.object.uid="u",k8s.pod.name="p",k8s.pod.uid="u"`, "3")+
		event("6", "ev-1", "Starting: Node n", "", `k8s.event.reason="Starting",k8s.object.kind="Node",k8s.object.name="n",k8s.object.uid="v"`, "1")+
		event("6", "ev-1", "as it came", "", `k8s.object.uid="w"`, "1"))
	e := Events("t", Default(), nil)
	for i, want := range []string{
		`{"title":"Pod d/p: BackOff","text":"Back-off (seen 3 times)","date_happened":1,"host":"n",` +
			`"aggregation_key":"kubernetes_apiserver:u","source_type_name":"kubernetes","alert_type":"warning",` +
			`"tags":["orchestrator:kubernetes","reporting_controller:kubelet","source_component:kubelet","event_reason:backoff",` +
			`"event_type:warning","kube_namespace:d","kube_node:n","kube_kind:pod","kube_name:p","pod_name:p"]}`,
		`{"title":"Node n: Starting","text":"Node n: Starting","date_happened":1,` +
			`"aggregation_key":"kubernetes_apiserver:v","source_type_name":"kubernetes","alert_type":"info",` +
			`"tags":["orchestrator:kubernetes","event_reason:starting","kube_kind:node","kube_name:n"]}`,
		`{"title":"as it came","text":"as it came","date_happened":1,` +
			`"aggregation_key":"kubernetes_apiserver:w","source_type_name":"kubernetes","alert_type":"info","tags":["orchestrator:kubernetes"]}`,
	} {
		if body, _, _ := e.Encode(nil, b, i, b.Len()); string(body) != want {
			t.Errorf("got\n%s\nwant\n%s", body, want)
		}
	}
}
