package newrelic

import (
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// What New Relic calls things. Its entities (github.com/newrelic/entity-definitions,
// read 2026-11) are made of OTLP metrics whose names and attributes fit a rule:
//
//	HOST                   system.* or process.*, host.id; no service.name, no container.id
//	CONTAINER              container.*, container_* or kube_pod_container_* with
//	                       k8s.cluster.name, k8s.namespace.name, k8s.pod.name and
//	                       k8s.container.name; no service.name
//	KUBERNETES_POD         kube_pod_*, the same without k8s.container.name
//	KUBERNETES_DEPLOYMENT  kube_deployment_* with k8s.deployment.name; and so on for
//	                       daemonset, statefulset, job, cronjob, namespace, …
//	KUBERNETESCLUSTER      k8s.cluster.info with k8s.cluster.name; no service.name
//	EXT-SERVICE            service.name, instrumentation.provider = opentelemetry
//	of events              newrelic.event.type = OtlpInfrastructureEvent, k8s.object.kind,
//	                       k8s.object.name, k8s.namespace.name, k8s.cluster.name
//
// and their pages read the names of the OpenTelemetry collector's hostmetrics
// and kubeletstats receivers, which for hosts are older than ours.

// row says what one metric of ours is called at New Relic, or what is worked
// out of it. What has no row that is instead keeps its name.
type row struct {
	from string // our name
	to   string // New Relic's
	how  how

	per  string   // ratio: the metric that divides it
	key  string   // ratio: the label in which the two differ; "" if in none
	is   string   // ratio: only where key has this value; then it is no attribute
	all  []string // ratio: values of key whose series of the metric itself are added up to divide it
	need string   // only for series with this label
}

// how says what a row does.
type how uint8

const (
	instead how = iota // to is sent in place of from
	ratio              // to is from divided by per, beside from
	one                // to is 1, beside from, with the cluster's name and no other label
)

// table is the whole of it. The names are those of the receivers' metadata.yaml
// (opentelemetry-collector-contrib, hostmetricsreceiver and kubeletstatsreceiver).
func table() []row {
	const mem, fs = signal.LabelMemoryState, signal.LabelFSState
	return []row{
		{from: signal.SystemNetworkPackets, to: "system.network.packets"},
		{from: signal.SystemNetworkDropped, to: "system.network.dropped"},
		{from: signal.SystemNetworkConnections, to: "system.network.connections"},
		{from: signal.SystemProcessCount, to: "system.processes.count"},
		{from: signal.SystemProcessCreated, to: "system.processes.created"},

		// The host's golden signals are shares, as the receiver works them out.
		{from: signal.SystemMemoryUsage, to: "system.memory.utilization", how: ratio, per: signal.SystemMemoryLimit, key: mem},
		{from: signal.SystemPagingUsage, to: "system.paging.utilization", how: ratio, per: signal.SystemPagingLimit, key: signal.LabelPagingState},
		{from: signal.SystemFilesystemUsage, to: "system.filesystem.utilization", how: ratio, key: fs, is: "used", all: []string{"used", "free"}},

		// And the container's.
		{from: signal.ContainerCPUUsage, to: "k8s.container.cpu_limit_utilization", how: ratio, per: signal.ContainerCPULimit, need: signal.LabelK8sContainer},
		{from: signal.ContainerMemoryUsage, to: "k8s.container.memory_limit_utilization", how: ratio, per: signal.ContainerMemoryLimit,
			need: signal.LabelK8sContainer},

		// Any of these shows that the cluster is there.
		{from: signal.SystemUptime, to: clusterInfo, how: one, need: signal.LabelCluster},
		{from: signal.NodeUptime, to: clusterInfo, how: one, need: signal.LabelCluster},
		{from: "kube_node_info", to: clusterInfo, how: one, need: signal.LabelCluster},
	}
}

const clusterInfo = "k8s.cluster.info"

func rowsByName() map[string][]row {
	m := map[string][]row{}
	for _, r := range table() {
		m[r.from] = append(m[r.from], r)
	}
	return m
}

// family says which rules apply to a metric's attributes.
type family uint8

const (
	other family = iota // service.name stays: it is of a service
	host                // system.*, process.*: as hostmetrics has them
	kube                // container.*, container_*, k8s.*, kube_*: as kubeletstats has them
)

func familyOf(name string) family {
	has := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case len(name) == 0:
	case name[0] == 's' && has("system."), name[0] == 'p' && has("process."):
		return host
	case name[0] == 'c' && (has("container.") || has("container_")), name[0] == 'k' && (has("k8s.") || has("kube_")):
		return kube
	}
	return other
}

// attribute returns New Relic's key for a label of a metric; most are its own.
func attribute(f family, label string) string {
	if f == other {
		return label
	}
	switch label {
	case signal.LabelService:
		return "service" // with service.name it would be a service's metric, and make no host or pod
	case signal.LabelNetDirection:
		return "direction"
	case signal.LabelInterface:
		if f == kube {
			return "interface"
		}
		return "device"
	}
	if f == kube {
		return label
	}
	switch label {
	case signal.LabelCPU:
		return "cpu"
	case signal.LabelCPUMode, signal.LabelMemoryState, signal.LabelPagingState, signal.LabelFSState, signal.LabelNetState:
		return "state"
	case signal.LabelDevice:
		return "device"
	case signal.LabelDiskDirection, signal.LabelPagingDirection:
		return "direction"
	case signal.LabelPagingType, signal.LabelFSType:
		return "type"
	case signal.LabelFSMode:
		return "mode"
	case signal.LabelFSMount:
		return "mountpoint"
	case signal.LabelTransport:
		return "protocol"
	case signal.LabelProcessState:
		return "status"
	}
	return label
}

// inLogs returns the second key that New Relic's log pages know a label of a
// stream by: those of its own forwarders. "" for most.
func inLogs(label string) string {
	switch label {
	case signal.LabelHost:
		return "hostname"
	case signal.LabelCluster:
		return "cluster_name"
	case signal.LabelNamespace:
		return "namespace_name"
	case signal.LabelPod:
		return "pod_name"
	case signal.LabelK8sContainer:
		return "container_name"
	}
	return ""
}

// isResource reports whether a label says whose metric it is, and not what of
// it. Samples of one resource are grouped.
func isResource(label string) bool {
	if len(label) < 5 {
		return false
	}
	switch label[0] {
	case 'h':
		return label[:5] == "host."
	case 'k':
		return label[:4] == "k8s."
	case 'c':
		return label[:5] == "cloud" && strings.HasPrefix(label, "cloud.") || strings.HasPrefix(label, "container.")
	case 'd':
		return strings.HasPrefix(label, "deployment.")
	case 's':
		return strings.HasPrefix(label, "service.")
	}
	return false
}

// reserved reports whether a key of a metric's attribute means something else
// to New Relic, or is overwritten there (metric-api-limits-restricted-attributes).
func reserved(key string) bool {
	switch key {
	case "interval.ms", "timestamp", "endTimestamp", "value", "common", "min", "max", "count", "sum", "metrics", "metricName",
		"newrelic.source", "entity.guid", "entity.name", "entity.type", "entityGuid", "instrumentation.provider":
		return true
	}
	return false
}

// reservedInLogs is reserved for lines and events.
func reservedInLogs(key string) bool {
	switch key {
	case "timestamp", "message", "level", "eventType", "accountId", "appId", "newrelic.source", "newrelic.event.type",
		"entity.guid", "entity.name", "entity.type", "plugin.type", "instrumentation.provider":
		return true
	}
	return false
}

// reservedInEvents is what an event has beside.
func reservedInEvents(key string) bool {
	switch key {
	case "title", "text", "source", "category", "count", "check", "status", "event.id", "event.source.host":
		return true
	}
	return false
}

// eventType returns the type of event that an item is. By OTLP a Kubernetes
// event has the type that New Relic's own chart gives it (nr-k8s-otel-collector,
// read 2026-11): by it, the event is shown with the object that it is about.
func eventType(e *signal.EventItem, otlp bool) string {
	switch {
	case e.Check != "":
		return "ServiceCheck"
	case e.Source == "kubernetes" && otlp:
		return "OtlpInfrastructureEvent"
	case e.Source == "kubernetes":
		return "KubernetesEvent"
	}
	return "CausewayEvent"
}

// levelOf returns a severity's name; "" if it is unknown.
func levelOf(level uint8) string {
	names := [...]string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}
	if int(level) < len(names) {
		return names[level]
	}
	return ""
}

// statusOf returns the name of a check's outcome.
func statusOf(status uint8) string {
	return [...]string{"ok", "warning", "critical", "unknown"}[min(status, 3)]
}

// ownTag is a tag of the configuration.
type ownTag struct{ key, value string }

func ownTags(pairs []string) (tags []ownTag) {
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, ":")
		tags = slices.DeleteFunc(tags, func(t ownTag) bool { return t.key == k }) // of equal keys the last one counts
		if k != "" && v != "" {
			tags = append(tags, ownTag{k, v})
		}
	}
	return tags
}
