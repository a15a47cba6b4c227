package influx

import (
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// tag is one tag of a line. Its key is tidy, its value as it came.
type tag struct {
	key, value string
	label      string   // what it is translated from
	unless     identity // left out if the set has one of these
}

// identity is a set of what is known of a series' origin. A label that follows
// from another one is no tag of its own: an id beside a name would make a new
// series of each restart, and every tag is repeated in every line.
type identity uint8

const (
	hasHost identity = 1 << iota
	hasPod
	hasK8sContainer
	hasContainer
	hasWorkload
	hasImage
	hasObject
)

// tagName returns the tag a label is written as: Telegraf's name where
// Telegraf has one, the label's own otherwise. is says what the label proves,
// unless which proofs make it superfluous.
func tagName(label string) (name string, is, unless identity) {
	switch label {
	case signal.LabelHost:
		return "host", hasHost, 0
	case signal.LabelHostID:
		return "host_id", 0, hasHost
	case signal.LabelCluster:
		return "cluster", 0, 0
	case signal.LabelNode:
		return "node_name", 0, 0
	case signal.LabelNamespace:
		return "namespace", 0, 0
	case signal.LabelPod:
		return "pod_name", hasPod, 0
	case signal.LabelPodUID:
		return "pod_uid", 0, hasPod
	case signal.LabelWorkloadKind:
		return "workload_kind", 0, 0
	case signal.LabelWorkload:
		return "workload_name", hasWorkload, 0
	case signal.LabelDeployment:
		return "deployment_name", 0, hasWorkload
	case signal.LabelDaemonSet:
		return "daemonset_name", 0, hasWorkload
	case signal.LabelStatefulSet:
		return "statefulset_name", 0, hasWorkload
	case signal.LabelReplicaSet:
		return "replicaset_name", 0, hasWorkload | hasPod
	case signal.LabelReplicationController:
		return "replicationcontroller_name", 0, hasWorkload
	case signal.LabelJob:
		return "job_name", 0, hasWorkload
	case signal.LabelCronJob:
		return "cronjob_name", 0, hasWorkload
	case signal.LabelK8sContainer:
		return "container_name", hasK8sContainer, 0
	case signal.LabelContainer:
		return "container_name", hasContainer, hasK8sContainer
	case signal.LabelContainerID:
		return "container_id", 0, hasContainer | hasK8sContainer
	case signal.LabelRuntime:
		return "container_runtime", 0, 0
	case signal.LabelImage:
		return "container_image", hasImage, 0
	case signal.LabelImageTag:
		return "container_version", 0, 0
	case signal.LabelImageID:
		return "container_image_id", 0, hasImage
	case signal.LabelCgroup:
		return "cgroup", 0, 0
	case signal.LabelEnv:
		return "env", 0, 0
	case signal.LabelService:
		return "service", 0, 0
	case signal.LabelVersion:
		return "version", 0, 0
	case signal.LabelVolume:
		return "volume_name", 0, 0
	case signal.LabelVolumeClaim:
		return "pvc_name", 0, 0
	case signal.LabelPersistentVolume:
		return "pv_name", 0, 0
	case signal.LabelStorageClass:
		return "storageclass", 0, 0
	case signal.LabelKubeService:
		return "service_name", 0, 0
	case signal.LabelEndpoint:
		return "endpoint_name", 0, 0
	case signal.LabelEndpointSlice:
		return "endpointslice_name", 0, 0
	case signal.LabelIngress:
		return "ingress_name", 0, 0
	case signal.LabelHPA:
		return "hpa_name", 0, 0
	case signal.LabelResourceQuota:
		return "resourcequota_name", 0, 0
	case signal.LabelLimitRange:
		return "limitrange_name", 0, 0
	case signal.LabelDisruptionBudget:
		return "poddisruptionbudget_name", 0, 0
	case signal.LabelSecret:
		return "secret_name", 0, 0
	case signal.LabelAPIServer:
		return "apiserver_instance", 0, 0
	case signal.LabelObjectKind:
		return "object_kind", 0, 0
	case signal.LabelObjectName:
		return "object_name", hasObject, 0
	case signal.LabelObjectUID:
		return "object_uid", 0, hasObject
	case signal.LabelEventReason:
		return "reason", 0, 0
	case signal.LabelEventType:
		return "event_type", 0, 0
	case signal.LabelEventComponent:
		return "component", 0, 0
	case signal.LabelDevice:
		return "device", 0, 0
	case signal.LabelFSMount:
		return "path", 0, 0
	case signal.LabelFSType:
		return "fstype", 0, 0
	case signal.LabelFSMode:
		return "mode", 0, 0
	case signal.LabelInterface:
		return "interface", 0, 0
	case signal.LabelPressure:
		return "resource", 0, 0
	case signal.LabelPressureKind:
		return "type", 0, 0
	}
	return label, 0, 0
}

// appendTags appends the tags of a label set to tags, in ascending order of
// their keys, and those of extra that no label overrules. Labels in skip are
// left out. rename, if it has a name for a label, goes before tagName.
func appendTags(tags []tag, labels string, skip, rename [2]string, extra []tag) []tag {
	var has identity
	for {
		k, v, rest, ok := signal.NextLabel(labels)
		if !ok {
			break
		}
		labels = rest
		if v == "" || k == "" || k == skip[0] || k == skip[1] {
			continue
		}
		name, is, unless := tagName(k)
		has |= is
		switch {
		case k == rename[0]:
			name = rename[1]
		case name == k:
			name = tidyKey(k)
		}
		if k == signal.LabelDevice {
			v = strings.TrimPrefix(v, "/dev/") // Telegraf's dashboards look for sda1
		}
		tags = append(tags, tag{name, v, k, unless})
	}
	// An insertion sort: labels come in order, and translated they mostly still are.
	n := 0
	for _, t := range tags {
		if t.unless&has == 0 {
			tags = insertTag(tags, n, t)
			n++
		}
	}
	tags = tags[:n]
	for _, t := range extra {
		if at, found := search(tags, t.key); !found {
			tags = append(tags, tag{})
			copy(tags[at+1:], tags[at:])
			tags[at] = t
		}
	}
	return tags
}

// insertTag puts t in its place among tags[:n], which are in order; there is
// room for it behind them. Where two labels want one key (a scraped metric has
// a label "host" of its own), the one that is called so keeps it, and the other
// one is written under its label's name, or with underscores behind it: two
// tags of one key would cost the whole line.
func insertTag(tags []tag, n int, t tag) []tag {
	if n == 0 || tags[n-1].key < t.key { // nearly always
		tags[n] = t
		return tags
	}
	at, found := search(tags[:n], t.key)
	if found {
		if t.key == t.label && tags[at].key != tags[at].label {
			tags[at], t = t, tags[at]
		}
		if t.key = tidyKey(t.label); t.key == tags[at].key {
			t.key += "_"
		}
		for {
			if at, found = search(tags[:n], t.key); !found {
				break
			}
			t.key += "_"
		}
	}
	copy(tags[at+1:n+1], tags[at:n])
	tags[at] = t
	return tags
}

// search finds key in tags, looking from the end: labels come in order, and
// mostly stay so.
func search(tags []tag, key string) (at int, found bool) {
	at = len(tags)
	for at > 0 {
		c := strings.Compare(tags[at-1].key, key)
		if c < 0 {
			break
		}
		at--
		if c == 0 {
			return at, true
		}
	}
	return at, false
}

// appendTagged appends ",key=value" for each tag.
func appendTagged(dst []byte, tags []tag) []byte {
	for i := range tags {
		dst = append(dst, ',')
		dst = appendKey(dst, tags[i].key)
		dst = append(dst, '=')
		if tags[i].label == signal.LabelCPU {
			dst = append(dst, cpuTag...)
		}
		dst = appendKey(dst, tags[i].value)
	}
	return dst
}

// ownTags returns the tags that a configuration adds, in order; of equal keys
// the first counts.
func ownTags(pairs []string) []tag {
	var tags []tag
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, ":")
		k = tidyKey(k)
		if at, found := search(tags, k); !found && v != "" {
			tags = slices.Insert(tags, at, tag{key: k, value: v})
		}
	}
	return tags
}
