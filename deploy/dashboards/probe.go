package dashboards

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// scopes returns the sets of labels that a metric of a kind has besides its
// own: a container has others in a pod than without one, and a panel about
// containers shows both. The first is the one of Kubernetes.
func scopes(about string) [][]string {
	host := []string{signal.LabelHost}
	node := []string{signal.LabelHost, signal.LabelNode, signal.LabelCluster}
	pod := append(slices.Clone(node), signal.LabelNamespace, signal.LabelPod)
	switch about {
	case "host":
		return [][]string{node, host}
	case "node":
		return [][]string{node}
	case "pod":
		return [][]string{pod}
	case "container":
		return [][]string{append(slices.Clone(pod), signal.LabelK8sContainer, signal.LabelContainer), {signal.LabelHost, signal.LabelContainer}}
	case "cluster": // an object without a namespace
		return [][]string{{signal.LabelCluster}}
	case "object":
		return [][]string{{signal.LabelCluster, signal.LabelNamespace}}
	case "object of a pod":
		return [][]string{{signal.LabelCluster, signal.LabelNamespace, signal.LabelPod}}
	case "object of a container":
		return [][]string{{signal.LabelCluster, signal.LabelNamespace, signal.LabelPod, signal.LabelK8sContainer}}
	}
	return nil
}

// point is one value in a body, as the reader of a vendor's bodies finds it.
type point struct {
	name, field, resource string // field: Influx; resource: Google
	value                 float64
	tags                  []tag
}

type tag struct {
	key, value string
	resource   bool // Google: a label of the resource
}

// meaning says what a number of a vendor's means.
type meaning uint8

const (
	level    meaning = iota // the reading
	total                   // of a counter: the reading
	increase                // of a counter: its growth since the point before
	perSec                  // of a counter: the same, per second
)

// found is where a vendor keeps what a query asks for.
type found struct {
	point
	means meaning
	scale float64        // its numbers are ours times this
	keys  map[string]tag // by label: the tag that has its value
	fixed []tag          // tags that are the same in all of it, and tell it from others of its name
}

// source is an exporter and a reader of its bodies.
type source struct {
	exporter exporters.Exporter
	read     func(body []byte) ([]point, error)
}

// The probe: a reading, a growth in some seconds, and when. They stay short
// numbers in any unit, binary ones and decimal ones: rounding does not hide them.
const (
	probed  = 1000 << 20
	grown   = probed * seconds
	seconds = 8
	instant = 1_800_000_000_000
	begun   = instant - 64_000
)

// mark returns the value that a label has in a probe. Labels that in practice
// have the same value have the same here: a node's two names, a container's.
func mark(label string) string {
	switch label {
	case signal.LabelNode:
		label = signal.LabelHost
	case signal.LabelContainer:
		label = signal.LabelK8sContainer
	}
	return "zq" + strings.Map(func(r rune) rune {
		if r == '.' || r == '_' {
			return 'x'
		}
		return r
	}, label) + "qz"
}

// find asks the exporter where the metric of q arrives, for series with those
// labels. Of several series that an exporter makes of one sample the first
// counts that is the reading in another unit and has each label of q.By.
func (s *source) find(q *Query, labels []string) (*found, error) {
	set := labelsOf(q, labels)
	base := signal.Sample{Time: instant, Value: probed}
	typ := signal.Gauge
	if q.Rate {
		typ = signal.Counter
		base = signal.Sample{Time: instant, Prev: instant - seconds*1000, Start: begun, Value: 4 * grown, Delta: grown}
	}
	base.Series = signal.Intern(signal.Desc{Name: q.Metric, Type: typ, Labels: set})
	once, err := s.encode(base)
	if err != nil {
		return nil, err
	}
	if len(once) == 0 && !q.Rate {
		return s.findState(q, labels, base)
	}
	more, long := base, base
	more.Value *= 2
	long.Prev -= seconds * 1000
	twice, err := s.encode(more)
	if err != nil {
		return nil, err
	}
	var grew, slow []point
	if q.Rate {
		faster := base
		faster.Delta *= 2
		if grew, err = s.encode(faster); err == nil {
			slow, err = s.encode(long)
		}
		if err != nil {
			return nil, err
		}
	}
	return s.choose(q, labels, once, func(f *found, i int) bool { return f.classify(q, i, once, twice, grew, slow) })
}

// findState is find for a metric of which an exporter takes only a 1: the state
// of an enumeration that holds.
func (s *source) findState(q *Query, labels []string, base signal.Sample) (*found, error) {
	base.Value = 1
	once, err := s.encode(base)
	if err != nil {
		return nil, err
	}
	return s.choose(q, labels, once, func(f *found, i int) bool {
		f.means, f.scale = level, 1
		return once[i].value == 1
	})
}

// choose returns the first of the points that means what q asks for, and has
// its labels.
func (s *source) choose(q *Query, labels []string, points []point, fits func(f *found, i int) bool) (*found, error) {
	missing := ""
	for i := range points {
		f := found{point: points[i], keys: map[string]tag{}}
		if !fits(&f, i) {
			continue
		}
		for _, l := range append(slices.Clone(q.By), labels...) {
			for _, t := range f.tags {
				// A label that keeps its name is that tag, whatever else says the same.
				if _, known := f.keys[l]; strings.Contains(t.value, mark(l)) && (!known || t.key == l) {
					f.keys[l] = t
				}
			}
		}
		if at := slices.IndexFunc(q.By, func(l string) bool { return f.keys[l].key == "" }); at >= 0 {
			missing = q.By[at]
			continue
		}
		for _, t := range f.tags {
			if !strings.Contains(t.value, "zq") && !t.resource {
				f.fixed = append(f.fixed, t)
			}
		}
		slices.SortFunc(f.fixed, func(a, b tag) int { return cmp.Compare(a.key, b.key) })
		return &f, nil
	}
	if missing != "" {
		return nil, fmt.Errorf("%s has no label %s at %s", q.Metric, missing, s.exporter.Name())
	}
	return nil, fmt.Errorf("%s does not arrive at %s with labels %s", q.Metric, s.exporter.Name(), strings.Join(labels, ", "))
}

// classify finds out what point i means and in what unit it is; false if it is
// something else than the reading (an age, a constant).
func (f *found) classify(q *Query, i int, once, twice, grew, slow []point) bool {
	v := once[i].value
	same := func(other []point, ratio float64) bool {
		return i < len(other) && other[i].name == once[i].name && other[i].field == once[i].field &&
			math.Abs(other[i].value-v*ratio) <= 1e-9*math.Abs(v)
	}
	switch {
	case v == 0:
		return false
	case !q.Rate && same(twice, 2):
		f.means, f.scale = level, v/probed
	case !q.Rate:
		return false
	case same(twice, 2) && same(grew, 1):
		f.means, f.scale = total, v/(4*grown)
	case !same(twice, 1) || !same(grew, 2):
		return false
	case same(slow, 1):
		f.means, f.scale = increase, v/grown
	case same(slow, 0.5):
		f.means, f.scale = perSec, v/(grown/seconds)
	default:
		return false
	}
	return true
}

// labelsOf returns the flat label set of a probe.
func labelsOf(q *Query, labels []string) string {
	var pairs []string
	for _, l := range append(slices.Clone(labels), q.By...) {
		pairs = append(pairs, l, mark(l))
	}
	for _, l := range slices.Sorted(maps.Keys(q.Filter)) {
		pairs = append(pairs, l, q.Filter[l])
	}
	return signal.Labels(pairs...)
}

func (s *source) encode(sample signal.Sample) ([]point, error) {
	b := &signal.Batch{Kind: signal.Metric, Samples: []signal.Sample{sample}}
	body, _, _ := s.exporter.Encode(nil, b, 0, 1)
	if len(body) == 0 {
		return nil, nil
	}
	return s.read(body)
}

// words returns the values by which a vendor's lines tell severities apart, of
// severity least and graver ones, and the names of their attributes for labels.
// word finds the severity in a body.
func words(e exporters.Exporter, least int, word func(body []byte) (string, error)) ([]string, error) {
	var all []string
	for l := range least + 1 {
		blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels(signal.LabelHost, "h")), File: "f", End: 1}
		blk.Append(instant*1e6, uint8(l), []byte("x"), nil)
		body, _, _ := e.Encode(nil, &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}}, 0, 1)
		w, err := word(body)
		if err != nil {
			return nil, fmt.Errorf("a line of severity %s: %w", levels()[l], err)
		}
		all = append(all, w)
	}
	return all, nil
}
