package google

import (
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// where is what all resources of one destination share.
type where struct {
	project  string // "" if nobody said
	parent   string // projects/PROJECT
	location string
	zone     string
	cluster  string // "" if only a label says
	instance string // the machine's number, "" outside Google's
	node     string
}

func whereOf(c Config, p Place) where {
	w := where{project: c.Project, location: c.Location, zone: p.Zone, cluster: c.Cluster, instance: p.InstanceID, node: p.Node}
	if w.project == "auto" {
		w.project = p.Project
	}
	w.parent = "projects/" + w.project
	if w.location == "auto" {
		w.location = p.Location
	}
	for _, next := range []string{p.Zone, "global"} {
		if w.location == "" {
			w.location = next
		}
	}
	if w.zone == "" {
		w.zone = w.location
	}
	if w.cluster == "" {
		w.cluster = p.Cluster
	}
	if w.node == "" {
		w.node = p.Instance
	}
	return w
}

// identity is what a label set says of whom it is about.
type identity struct {
	host, cluster, node, namespace, pod, container string
	service, job, instance, provider               string
}

// read fills id from a label set.
func (id *identity) read(labels string) {
	*id = identity{}
	for {
		k, v, rest, ok := signal.NextLabel(labels)
		if !ok {
			break
		}
		labels = rest
		switch k {
		case signal.LabelHost:
			id.host = v
		case signal.LabelCluster:
			id.cluster = v
		case signal.LabelNode:
			id.node = v
		case signal.LabelNamespace:
			id.namespace = v
		case signal.LabelPod:
			id.pod = v
		case signal.LabelK8sContainer:
			id.container = v
		case signal.LabelService:
			id.service = v
		case signal.LabelCloudProvider:
			id.provider = v
		case "job":
			id.job = v
		case "instance":
			id.instance = v
		}
	}
}

// resourceOf picks the resource for a metric of that name, or for a line or
// event where name is empty. The most exact one wins: container, pod, cluster
// object, node, machine, task.
func (w *where) resourceOf(name string, id *identity) resource {
	switch {
	case id.pod != "" && id.namespace != "" && id.container != "":
		return k8sContainer
	case id.pod != "" && id.namespace != "":
		return k8sPod
	case ofCluster(name) && (id.cluster != "" || w.cluster != ""):
		return k8sCluster
	case id.node != "":
		return k8sNode
	case w.instance != "" && (id.host == "" || id.host == w.node):
		return gceInstance
	case id.host != "":
		return genericNode
	case id.cluster != "":
		return k8sCluster
	case id.service != "" && w.node != "":
		return genericTask
	}
	return genericNode
}

// forPrometheus fills job and instance, by which prometheus_target tells
// series apart: a scraped series has both, others get the best there is. An
// object of the cluster is no node's, whichever read it.
func (w *where) forPrometheus(id *identity, cluster bool) {
	if cluster && id.instance == "" && id.pod == "" {
		if id.instance = w.cluster; id.instance == "" {
			id.instance = id.cluster
		}
		id.node, id.host = "", ""
	}
	switch {
	case id.job != "":
	case id.service != "":
		id.job = id.service
	default:
		id.job = "causeway"
	}
	for _, v := range [...]string{id.pod, id.node, id.host, w.node} {
		if id.instance == "" {
			id.instance = v
		}
	}
}

// append appends a MonitoredResource as a field. Its labels are all there,
// empty or not, as Google wants them; project_id is implied by the request.
func (w *where) append(dst []byte, field int, r resource, id *identity) []byte {
	dst, at := openField(dst, field)
	dst = appendText(dst, 1, r.String(), mostValue)
	label := func(key, value string) { dst = appendResourceLabel(dst, key, value) }
	cluster := w.cluster
	if cluster == "" {
		cluster = id.cluster
	}
	switch r {
	case gceInstance:
		label("zone", w.zone)
		label("instance_id", w.instance)
	case k8sContainer, k8sPod, k8sNode, k8sCluster:
		label("location", w.location)
		label("cluster_name", cluster)
		switch r {
		case k8sContainer:
			label("namespace_name", id.namespace)
			label("pod_name", id.pod)
			label("container_name", id.container)
		case k8sPod:
			label("namespace_name", id.namespace)
			label("pod_name", id.pod)
		case k8sNode:
			label("node_name", id.node)
		}
	case genericTask:
		label("location", w.location)
		label("namespace", cluster)
		label("job", id.service)
		label("task_id", w.node)
	case prometheusTarget:
		label("location", w.location)
		label("cluster", cluster)
		label("namespace", id.namespace)
		label("job", id.job)
		label("instance", id.instance)
	default:
		node := id.host
		if node == "" {
			node = w.node
		}
		label("location", w.location)
		label("namespace", cluster)
		label("node_id", node)
	}
	return shut(dst, at)
}

// appendResourceLabel appends one label of a resource, empty ones too.
func appendResourceLabel(dst []byte, key, value string) []byte {
	dst = append(dst, 2<<3|bytesType)
	dst, at := open(dst)
	dst = append(append(dst, 1<<3|bytesType, byte(len(key))), key...)
	dst = appendString(append(dst, 2<<3|bytesType), value, mostValue)
	return shut(dst, at)
}

// ownLabel is a tag of the configuration as a label.
type ownLabel struct{ key, value string }

func ownLabels(tags []string) (own []ownLabel) {
	for _, t := range tags {
		k, v, _ := strings.Cut(t, ":")
		own = append(own, ownLabel{string(appendKey(nil, labelKey(k))), v})
	}
	return own
}

// appendKey appends a label's key as Google allows it: letters, digits and
// underscores, a letter first (label.proto, and the error text of the API);
// others become _.
func appendKey(dst []byte, key string) []byte {
	if len(key) > mostKey {
		key = key[:mostKey]
	}
	if c := key[0] | 0x20; c < 'a' || c > 'z' {
		dst = append(dst, "key_"...)
		key = key[:min(len(key), mostKey-4)]
	}
	for i := range len(key) {
		dst = append(dst, wordByte[key[i]])
	}
	return dst
}

// wordByte has _ for each byte that cannot stand in a key.
var wordByte = func() (t [256]byte) {
	for c := range t {
		t[c] = '_'
		if l := c | 0x20; l >= 'a' && l <= 'z' || c >= '0' && c <= '9' {
			t[c] = byte(c)
		}
	}
	return t
}()

// appendLabels appends a metric's labels that its resource does not say, as
// entries of a map, at most most of them, and those of the configuration whose
// keys none of them has.
func appendLabels(dst []byte, field int, labels string, r resource, id *identity, own []ownLabel, most int) []byte {
	var overruled uint64
	n := 0
	tag := byte(field<<3 | bytesType)
	for n < most {
		k, v, rest, ok := signal.NextLabel(labels)
		if !ok {
			break
		}
		labels = rest
		if v == "" || k == "" || r.said(k, id) {
			continue
		}
		name := labelKey(k)
		dst = append(dst, tag)
		var at int
		dst, at = open(dst)
		dst = append(dst, 1<<3|bytesType, 0)
		key := len(dst)
		dst = appendKey(dst, name)
		dst[key-1] = byte(len(dst) - key) // at most 104
		for i := range min(len(own), 64) {
			if own[i].key == view(dst[key:]) {
				overruled |= 1 << i
			}
		}
		if len(v) < 0x80 && ascii(v) { // nearly always
			dst = append(dst, 2<<3|bytesType, byte(len(v)))
			dst = append(dst, v...)
		} else {
			dst = appendString(append(dst, 2<<3|bytesType), v, mostValue)
		}
		dst = shut(dst, at)
		n++
	}
	for i := range min(len(own), 64) {
		if overruled>>i&1 == 0 && n < most {
			dst = appendPair(dst, field, own[i].key, own[i].value)
			n++
		}
	}
	return dst
}
