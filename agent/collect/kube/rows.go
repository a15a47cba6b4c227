package kube

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

// reading is one series of an object and its present value.
type reading struct {
	series signal.Series
	start  int64 // of counters: Unix milliseconds
	value  float64
}

// rows collects what is said of one object. Objects become readings when they
// change, and an interval only adds the time: neither do the objects stay in
// memory, nor is a label set ever built twice.
type rows struct {
	labels, annotations allow
	addresses           bool // of endpoints, each a series
	nowhere             bool // the object lies on no node: see anywhere

	id   string    // the object's identity
	each []reading // a series of its own
	sums []reading // to be added up over all objects
}

// anywhere is what the readings of the cluster say of host and node: nothing.
// Without it the hub would complete them with the node of whichever agent leads
// at the time, and each hand-over would begin new series.
var anywhere = signal.Labels(signal.LabelNowhere, "1")

// of begins an object: its identity as key, value, … pairs, its namespace and
// kind for the count.
func (r *rows) of(kind, namespace string, identity ...string) {
	r.id = signal.Labels(append(identity, signal.LabelNamespace, namespace)...)
	r.sum(signal.KubeObjects, "{object}", 1, signal.LabelObjectKind, kind, signal.LabelNamespace, namespace)
}

func (r *rows) intern(name, unit string, t signal.Type, set string) signal.Series {
	if r.nowhere {
		set = signal.Merge(anywhere, set)
	}
	return signal.Intern(signal.Desc{Name: name, Unit: unit, Type: t, Labels: set})
}

// gauge adds a value; pairs are labels beside the object's identity.
func (r *rows) gauge(name, unit string, v float64, pairs ...string) {
	set := signal.Merge(r.id, signal.Labels(pairs...))
	r.each = append(r.each, reading{series: r.intern(name, unit, signal.Gauge, set), value: v})
}

// count adds a whole number without a unit.
func (r *rows) count(name string, n int32, pairs ...string) {
	r.gauge(name, "1", float64(n), pairs...)
}

// number adds a whole number that may be unset; then it adds nothing.
func (r *rows) number(name string, n *int32, pairs ...string) {
	if n != nil {
		r.gauge(name, "1", float64(*n), pairs...)
	}
}

// large is count for 64 bits.
func (r *rows) large(name string, n int64, pairs ...string) {
	r.gauge(name, "1", float64(n), pairs...)
}

// flag adds 1 or 0.
func (r *rows) flag(name string, on bool, pairs ...string) {
	v := 0.0
	if on {
		v = 1
	}
	r.gauge(name, "1", v, pairs...)
}

// holds adds 1: for what is known by its labels alone.
func (r *rows) holds(name string, pairs ...string) { r.gauge(name, "1", 1, pairs...) }

// at adds a moment in Unix seconds, if there is one.
func (r *rows) at(name string, t metav1.Time, pairs ...string) {
	if !t.IsZero() {
		r.gauge(name, "s", float64(t.Unix()), pairs...)
	}
}

// when is at for a moment that may be unset.
func (r *rows) when(name string, t *metav1.Time, pairs ...string) {
	if t != nil {
		r.at(name, *t, pairs...)
	}
}

// counter adds a total since start.
func (r *rows) counter(name string, v float64, start time.Time, pairs ...string) {
	set := signal.Merge(r.id, signal.Labels(pairs...))
	rd := reading{series: r.intern(name, "1", signal.Counter, set), value: v}
	if !start.IsZero() {
		rd.start = start.UnixMilli()
	}
	r.each = append(r.each, rd)
}

// sum adds v to a series that objects share; the object's identity is no part
// of it.
func (r *rows) sum(name, unit string, v float64, pairs ...string) {
	r.sums = append(r.sums, reading{series: r.intern(name, unit, signal.Gauge, signal.Labels(pairs...)), value: v})
}

// resource adds a quantity with the labels kube-state-metrics gives it: the
// resource's name in snake form, and its unit.
func (r *rows) resource(name string, res corev1.ResourceName, q resource.Quantity, pairs ...string) {
	word := snake(string(res))
	unit, word2 := "1", "integer"
	switch {
	case res == corev1.ResourceCPU:
		unit, word2 = "{cpu}", "core"
	case res == corev1.ResourceMemory, res == corev1.ResourceStorage, res == corev1.ResourceEphemeralStorage,
		strings.HasPrefix(string(res), corev1.ResourceHugePagesPrefix), strings.HasPrefix(string(res), corev1.ResourceAttachableVolumesPrefix):
		unit, word2 = "By", "byte"
	}
	r.gauge(name, unit, q.AsApproximateFloat64(), append(pairs, "resource", word, "unit", word2)...)
}

// own adds the object's own labels and annotations, as far as the
// configuration asks for them, in the families kube_KIND_labels and
// kube_KIND_annotations; nothing where it asks for none.
func (r *rows) own(kind string, o metav1.ObjectMeta) {
	if pairs := r.labels.pick("label_", o.Labels); len(pairs) > 0 {
		r.holds("kube_"+kind+"_labels", pairs...)
	}
	if pairs := r.annotations.pick("annotation_", o.Annotations); len(pairs) > 0 {
		r.holds("kube_"+kind+"_annotations", pairs...)
	}
}

// owners adds one series per owner of the object.
func (r *rows) owners(name string, refs []metav1.OwnerReference) {
	for _, o := range refs {
		controller := o.Controller != nil && *o.Controller
		r.holds(name, "owner_kind", o.Kind, "owner_name", o.Name, "owner_is_controller", truth(controller))
	}
}

// append adds what was collected to b, at t in Unix milliseconds.
func (r reading) append(b *signal.Batch, t int64) {
	b.Add(signal.Sample{Series: r.series, Start: r.start, Time: t, Value: r.value})
}

func truth(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// status is a condition's status as kube-state-metrics writes it.
func status(s corev1.ConditionStatus) string { return strings.ToLower(string(s)) }

// snake is a name as kube-state-metrics puts it into a label: what is no letter
// or digit becomes an underscore.
func snake(s string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			return c
		}
		return '_'
	}, s)
}

// allow is a list of keys to be let through; an entry that ends with * stands
// for all that begin like it.
type allow []string

func (a allow) has(key string) bool {
	for _, e := range a {
		if prefix, ok := strings.CutSuffix(e, "*"); ok && strings.HasPrefix(key, prefix) || e == key {
			return true
		}
	}
	return false
}

// pick returns key, value, … of those pairs in m that are allowed. The keys are
// put into kube-state-metrics' form behind a prefix of its own, and as they are
// behind one of ours, which ends with a dot.
func (a allow) pick(prefix string, m map[string]string) []string {
	var pairs []string
	if len(a) == 0 {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		if !a.has(k) {
			continue
		}
		if !strings.HasSuffix(prefix, ".") {
			k = snake(k)
		}
		pairs = append(pairs, prefix+k, v)
	}
	return pairs
}
