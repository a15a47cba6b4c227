package datadog

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Limits of a tag, docs.datadoghq.com/getting_started/tagging, read 2026-11.
// That of their number is documented for events only; we keep it everywhere.
const (
	mostTag  = 200 // characters of key and value together
	mostTags = 100
	mostHost = 255
	mostName = 200 // characters of a metric's name
)

// tagKey returns Datadog's key for a label, and whether it is a tag at all.
// The host is a resource (metrics) or a field (logs, events) of its own.
func tagKey(label string) (key string, ok bool) {
	switch label {
	case signal.LabelHost, signal.LabelWorkloadKind, signal.LabelObjectUID:
		return "", false
	case signal.LabelHostID:
		return "host_id", true
	case signal.LabelCluster:
		return "kube_cluster_name", true // and cluster_name, see tagger.label
	case signal.LabelNode:
		return "kube_node", true
	case signal.LabelNamespace:
		return "kube_namespace", true
	case signal.LabelPod:
		return "pod_name", true
	case signal.LabelPodUID:
		return "pod_uid", true
	case signal.LabelWorkload:
		return "kube_workload", true // or kube_deployment and the like, see tagger.label
	case signal.LabelDeployment:
		return "kube_deployment", true
	case signal.LabelDaemonSet:
		return "kube_daemon_set", true
	case signal.LabelStatefulSet:
		return "kube_stateful_set", true
	case signal.LabelReplicaSet:
		return "kube_replica_set", true
	case signal.LabelJob:
		return "kube_job", true
	case signal.LabelCronJob:
		return "kube_cronjob", true
	case signal.LabelK8sContainer:
		return "kube_container_name", true
	case signal.LabelContainer:
		return "container_name", true
	case signal.LabelContainerID:
		return "container_id", true
	case signal.LabelRuntime:
		return "runtime", true
	case signal.LabelImage:
		return "image_name", true // and short_image, see tagger.label
	case signal.LabelImageTag:
		return "image_tag", true
	case signal.LabelImageID:
		return "image_id", true
	case signal.LabelEnv:
		return "env", true
	case signal.LabelService:
		return "service", true
	case signal.LabelVersion:
		return "version", true
	case signal.LabelCloudProvider:
		return "cloud_provider", true
	case signal.LabelCloudProject:
		return "project_id", true
	case signal.LabelCloudZone:
		return "kube_zone", true
	case signal.LabelCloudRegion:
		return "kube_region", true
	case signal.LabelDevice:
		return "device", true // and device_name, see tagger.label
	case signal.LabelInterface:
		return "interface", true
	case signal.LabelCPU:
		return "core", true
	case signal.LabelFSMount:
		return "mount_point", true
	case signal.LabelFSType:
		return "filesystem", true
	case signal.LabelReplicationController:
		return "kube_replication_controller", true
	case signal.LabelHPA:
		return "horizontalpodautoscaler", true
	case signal.LabelKubeService:
		return "kube_service", true
	case signal.LabelEndpoint:
		return "kube_endpoint", true
	case signal.LabelEndpointSlice:
		return "endpointslice", true
	case signal.LabelIngress:
		return "kube_ingress", true
	case signal.LabelPersistentVolume:
		return "persistentvolume", true
	case signal.LabelVolumeClaim:
		return "persistentvolumeclaim", true
	case signal.LabelStorageClass:
		return "storageclass", true
	case signal.LabelResourceQuota:
		return "resourcequota", true
	case signal.LabelLimitRange:
		return "limitrange", true
	case signal.LabelDisruptionBudget:
		return "poddisruptionbudget", true
	case signal.LabelSecret:
		return "secret", true
	case labelVolume:
		return "volume", true
	case labelReason, labelLastReason:
		return "reason", true
	case signal.LabelObjectKind:
		return "kube_kind", true
	case signal.LabelObjectName:
		return "kube_name", true
	case signal.LabelEventReason:
		return "event_reason", true
	case signal.LabelEventType:
		return "event_type", true
	case signal.LabelEventComponent:
		return "source_component", true // and reporting_controller, see tagger.label
	case "host", "device_name":
		return "exported_" + label, true // a scraped label must not take over a key that means something here
	}
	if name, ok := strings.CutPrefix(label, signal.LabelPodLabelPrefix); ok {
		if key := standardTag(name); key != "" {
			return key, true
		}
	}
	return label, true
}

// workloadLabel returns the label that a workload of a kind has as well.
func workloadLabel(kind string) string {
	switch kind {
	case "Deployment":
		return signal.LabelDeployment
	case "DaemonSet":
		return signal.LabelDaemonSet
	case "StatefulSet":
		return signal.LabelStatefulSet
	case "ReplicaSet":
		return signal.LabelReplicaSet
	case "Job":
		return signal.LabelJob
	case "CronJob":
		return signal.LabelCronJob
	}
	return ""
}

// ownTag is a tag of the configuration, ready to be written.
type ownTag struct {
	key  string
	text string // normalised, "key:value"
}

func ownTags(pairs []string) (tags []ownTag) {
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, ":")
		if text := appendTag(nil, k, v); len(text) > 0 {
			key, _, _ := strings.Cut(string(text), ":")
			tags = append(tags, ownTag{key, string(text)})
		}
	}
	return tags
}

// style is how a label set is written.
type style struct {
	skip [2]string // labels that are no tags
	add  string    // one more tag, ready to be written
	nic  bool      // an interface is called a device
	kube bool      // labels of kube-state-metrics are called as the kubernetes_state_core check does
}

// tagger writes a label set as tags: each one through appendTag, between open
// and shut.
type tagger struct {
	open, shut string // around each tag: quotes and a comma in JSON, a comma in ddtags
	own        []ownTag
}

// memo is what was written for the labels of the set before: sets in succession
// mostly differ in one label or two, and the others are copied. It goes with one
// buffer, from which nothing is taken away.
type memo struct {
	host   string // of this set
	places [24]struct {
		label, value string
		from, to     int    // of the text written for them
		own          uint64 // bit i: own[i] is overruled by it

		// Where all of the text is one tag, so much of it stands before the value,
		// in which the key has so many characters; 0 otherwise.
		head, chars int
	}
}

// append appends the tags of a label set, and those of the configuration whose
// keys no label has.
func (g *tagger) append(dst []byte, labels string, st style, m *memo) []byte {
	n, pod := 0, false // pod: its name came by
	if st.add != "" {
		dst = append(append(append(dst, g.open...), st.add...), g.shut...)
		n++
	}
	var own uint64 // bit i: own[i] is overruled
	m.host = ""
	for rest, place := labels, 0; ; place++ {
		if n == mostTags {
			m.host = signal.Lookup(labels, signal.LabelHost)
			break
		}
		k, v, next, ok := signal.NextLabel(rest)
		if !ok {
			break
		}
		rest = next
		if v == "" || k == st.skip[0] || k == st.skip[1] || st.kube && k == "uid" { // an object made anew is the same series
			continue
		}
		last := &m.places[min(place, len(m.places)-1)]
		if last.value == v && last.label == k && !st.kube {
			if last.from < last.to {
				dst = append(dst, dst[last.from:last.to]...)
				dst[len(dst)-1] = ',' // which was taken off if it was the last
				n++
			}
			own |= last.own
			continue
		}
		if last.head > 0 && last.label == k && !st.kube {
			at := len(dst)
			dst = append(dst, dst[last.from:last.from+last.head]...)
			text := len(dst)
			last.value = v
			if dst = appendValue(dst, last.chars+1, v); len(dst) == text {
				dst, last.to = dst[:at], last.from
			} else {
				dst = append(dst, g.shut...)
				last.from, last.to = at, len(dst)
				n++
			}
			own |= last.own
			continue
		}
		key, ok := tagKey(k)
		if !ok {
			if k == signal.LabelHost {
				m.host = v
			}
			continue
		}
		if st.kube {
			key = kubeKey(labels, k, key)
		}
		var overruled uint64
		for i := range min(len(g.own), 64) {
			if g.own[i].key == key {
				overruled |= 1 << i
			}
		}
		own |= overruled
		at := len(dst)
		switch {
		case k == signal.LabelPod:
			pod = true
		case k == signal.LabelPodUID && pod:
			continue // the name says it, and the uid would make each restart a new series
		case st.kube && k == signal.LabelNode && signal.Lookup(rest, "node") == "":
			dst = g.tag(dst, "node", v) // so the check calls it; everything else says kube_node
		case st.kube && k == "phase" && !pod:
			// Of a pod it is pod_phase; of volumes the documentation has phase, where
			// the check's table has pod_phase for all.
			dst = g.tag(dst, k, v)
		}
		dst = g.label(dst, labels, k, key, v, st)
		if len(dst) > at {
			n++
		}
		if !st.kube && byItself(k) {
			again := last.label == k // and is likely to be once more
			last.label, last.value, last.from, last.to, last.own, last.head = k, v, at, len(dst), overruled, 0
			if again && len(dst) > at && oneTag(k) {
				key := dst[at+len(g.open):]
				key = key[:bytes.IndexByte(key, ':')]
				last.head, last.chars = len(g.open)+len(key)+1, utf8.RuneCount(key)
			}
		}
	}
	for i := range min(len(g.own), 64) {
		if own>>i&1 == 0 && n < mostTags {
			dst = append(append(append(dst, g.open...), g.own[i].text...), g.shut...)
			n++
		}
	}
	return dst
}

// byItself reports whether what is written for a label depends on nothing but its
// value.
func byItself(label string) bool {
	switch label {
	case signal.LabelPod, signal.LabelPodUID, signal.LabelHostID, signal.LabelWorkload, signal.LabelInterface:
		return false
	}
	return true
}

// oneTag reports whether a label that is written by itself is its key and its
// value, and nothing else.
func oneTag(label string) bool {
	switch label {
	case signal.LabelCluster, signal.LabelImage, signal.LabelDevice, signal.LabelEventComponent, signal.LabelCPU:
		return false
	}
	return true
}

// kubeKey returns the kubernetes_state_core check's tag for a label, whose tag
// otherwise is key. A label that says the same as one of our identity gives way
// to it.
func kubeKey(labels, label, key string) string {
	is, ours := stateTag(label)
	if is == "" || ours != "" && signal.Lookup(labels, ours) != "" {
		return key
	}
	return is
}

// label appends the one or two tags of a label.
func (g *tagger) label(dst []byte, labels, k, key, v string, st style) []byte {
	switch k {
	case signal.LabelHostID:
		if signal.Lookup(labels, signal.LabelHost) != "" {
			return dst
		}
	case signal.LabelCluster:
		dst = g.tag(dst, "cluster_name", v)
	case signal.LabelWorkload:
		kind := workloadLabel(signal.Lookup(labels, signal.LabelWorkloadKind))
		if kind != "" {
			if signal.Lookup(labels, kind) == v {
				return dst
			}
			key, _ = tagKey(kind)
		}
	case signal.LabelImage:
		dst = g.tag(dst, "short_image", v[strings.LastIndexByte(v, '/')+1:])
	case signal.LabelDevice:
		dst = g.tag(dst, "device_name", v[strings.LastIndexByte(v, '/')+1:])
	case signal.LabelInterface:
		if st.nic {
			dst = g.tag(dst, "device_name", v)
			key = "device"
		}
	case signal.LabelEventComponent:
		dst = g.tag(dst, "reporting_controller", v)
	case signal.LabelCPU:
		var room [32]byte
		return g.tag(dst, key, string(append(append(room[:0], "cpu"...), v...)))
	}
	return g.tag(dst, key, v)
}

func (g *tagger) tag(dst []byte, key, value string) []byte {
	at := len(dst)
	dst = append(dst, g.open...)
	text := len(dst)
	if dst = appendTag(dst, key, value); len(dst) == text {
		return dst[:at]
	}
	return append(dst, g.shut...)
}

// appendTag appends "key:value" as Datadog would keep it: it begins with a
// letter; letters are in lower case; what is no letter, digit or one of _-:./
// is _; there are no two _ in succession and none at the end; at most 200
// characters. Nothing is appended for what has no key or no value. What it
// writes needs no escapes in JSON.
func appendTag(dst []byte, key, value string) []byte {
	at := len(dst)
	dst, n := appendPart(dst, at, key, 0, true)
	if len(dst) == at {
		return dst
	}
	if n >= mostTag {
		return dst[:at] // no room for a value
	}
	dst = append(dst, ':')
	begin := len(dst)
	if dst = appendValue(dst, n+1, value); len(dst) == begin {
		return dst[:at]
	}
	return dst
}

// appendValue appends what stands behind a key and a colon of n characters.
func appendValue(dst []byte, n int, value string) []byte {
	begin := len(dst)
	dst, _ = appendPart(dst, begin, value, n, false)
	for len(dst) > begin && (dst[len(dst)-1] == '_' || dst[len(dst)-1] == ':') {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// appendPart appends a key or a value, of which n characters stand before it.
func appendPart(dst []byte, begin int, s string, n int, key bool) ([]byte, int) {
	for i := 0; i < len(s) && n < mostTag; {
		if whole := clean(s[i:min(len(s), i+mostTag-n)]); whole > 0 && (!key || len(dst) > begin || s[i]-'a' < 26) {
			if key {
				if colon := strings.IndexByte(s[i:i+whole], ':'); colon >= 0 {
					whole = colon
				}
			}
			dst = append(dst, s[i:i+whole]...)
			n += whole
			if i += whole; i == len(s) || n == mostTag {
				break
			}
		}
		c := s[i]
		i++
		switch {
		case c-'a' < 26:
		case c-'A' < 26:
			c |= 0x20
		case c-'0' < 10 || c == '.' || c == '-' || c == '/' || c == ':' && !key:
			if key && len(dst) == begin {
				continue
			}
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i-1:])
			i += size - 1
			if unicode.IsLetter(r) {
				dst = utf8.AppendRune(dst, unicode.ToLower(r))
				n++
				continue
			}
			if unicode.IsDigit(r) && !(key && len(dst) == begin) {
				dst = utf8.AppendRune(dst, r)
				n++
				continue
			}
			c = '_'
		default:
			c = '_'
		}
		if c == '_' && (len(dst) == begin && key || len(dst) > begin && dst[len(dst)-1] == '_') {
			continue
		}
		dst = append(dst, c)
		n++
	}
	return dst, n
}

// clean returns how many bytes of s a value of a tag may have as they are. No _
// is the first of them, nor stands behind another.
func clean(s string) int {
	for i := range len(s) {
		switch c := cleanBytes[s[i]]; {
		case c == 1, c == '_' && i > 0 && s[i-1] != '_':
		default:
			return i
		}
	}
	return len(s)
}

// cleanBytes has 1 for what a tag may have as it is, and _ for itself.
var cleanBytes = func() (t [256]byte) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyz0123456789.-/:") {
		t[c] = 1
	}
	t['_'] = '_'
	return t
}()

// appendName appends a metric's name as Datadog keeps it: it begins with a
// letter, and what is no ASCII letter, digit, _ or . is _. Nothing is appended
// if there is no letter in it.
func appendName(dst []byte, name string) []byte {
	begin := len(dst)
	for i := 0; i < len(name) && len(dst)-begin < mostName; i++ {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case letter:
		case len(dst) == begin:
			continue
		case c == '.' || c-'0' < 10:
		case dst[len(dst)-1] == '_':
			continue
		default:
			c = '_'
		}
		dst = append(dst, c)
	}
	for len(dst) > begin && (dst[len(dst)-1] == '_' || dst[len(dst)-1] == '.') {
		dst = dst[:len(dst)-1]
	}
	return dst
}
