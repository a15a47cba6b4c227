package newrelic

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// pen writes attributes, in JSON, each with a comma behind it, or as KeyValues
// of OTLP.
type pen struct {
	dst    []byte
	otlp   bool
	events bool   // lines, and of events
	family family // whose names its labels get
	lines  bool   // of lines and events: other keys are reserved, and any character may be in one

	of string // the name of the point's metric

	tag   byte // otlp: the field that the attributes are
	n     int  // attributes written since begin
	most  int
	taken [64]string // keys since begin that are not their label's own; what has no room here is left out
	took  int
	odd   bool      // a key since begin is not what its label's is everywhere
	set   string    // the labels at hand,
	keys  *labelSet // or the same in pieces
}

// kv is one label.
type kv struct{ k, v string }

// labelSet is a label set in pieces: labels are looked at many times.
type labelSet struct {
	labels string
	known  bool
	res    []kv // what says whose metric it is
	att    []kv // and what of it
	room   [2][40]kv
}

// read takes a label set to pieces, unless it was the last one, too.
func (s *labelSet) read(labels string) {
	if s.known && s.labels == labels {
		return
	}
	s.labels, s.known = labels, true
	s.res, s.att = s.room[0][:0], s.room[1][:0]
	for {
		k, v, rest, ok := signal.NextLabel(labels)
		if !ok {
			return
		}
		labels = rest
		if isResource(k) {
			s.res = append(s.res, kv{k, v})
		} else {
			s.att = append(s.att, kv{k, v})
		}
	}
}

// get returns the value of a key in a list, or "".
func get(list []kv, key string) string {
	for i := range list {
		if list[i].k == key {
			return list[i].v
		}
	}
	return ""
}

// same reports whether two lists are the same.
func same(a, b []kv) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// begin starts a set of at most most attributes.
func (w *pen) begin(tag byte, most int) { w.tag, w.n, w.most, w.took, w.odd = tag, 0, most, 0, false }

// label appends a label under the key it has at New Relic. Where two labels
// come to the same key, the one whose own name it is counts, then the first.
// Nor may a point's attribute be called like its metric.
func (w *pen) label(k, v string) {
	key, prefix := k, ""
	switch {
	case !w.lines:
		key = attribute(w.family, k)
	case w.family != other && k == signal.LabelService: // an event about a pod would be one of a service
		key = "service"
	}
	if !utf8.ValidString(key) {
		key = strings.ToValidUTF8(key, "\ufffd")
	}
	switch {
	case key == w.of:
		prefix, w.odd = "attr.", true
	case w.lines && reservedInLogs(key), w.events && reservedInEvents(key), !w.lines && reserved(key):
		prefix = "attr."
	}
	if v == "" || key == "" || w.n >= w.most {
		return
	}
	if len(key) > mostKey-len(prefix) {
		key = cut(key, mostKey-len(prefix))
	}
	if (prefix != "" || key != k) && !w.take(prefix, key) {
		return
	}
	w.add(prefix, key, v)
}

// take notes a key that is not its label's own, if it is free.
func (w *pen) take(prefix, key string) bool {
	whole := key
	if prefix != "" {
		whole = prefix + key // rare
	}
	if w.took == len(w.taken) || w.lookup(whole) != "" {
		return false
	}
	if w.isTaken(whole) {
		return false
	}
	w.taken[w.took] = whole
	w.took++
	return true
}

func (w *pen) isTaken(key string) bool { return slices.Contains(w.taken[:w.took], key) }

// own appends a tag of the configuration, unless a label came to its key.
func (w *pen) own(t *ownTag) {
	if !w.isTaken(t.key) {
		w.label(t.key, t.value)
	}
}

// lookup returns the value of one of the labels at hand, or "".
func (w *pen) lookup(key string) string {
	if w.keys == nil {
		return signal.Lookup(w.set, key)
	}
	if isResource(key) {
		return get(w.keys.res, key)
	}
	return get(w.keys.att, key)
}

// add appends one attribute.
func (w *pen) add(prefix, key, value string) {
	value = cut(value, mostValue)
	w.n++
	if w.otlp {
		w.dst = appendPair(w.dst, w.tag, prefix, key, value)
		return
	}
	w.dst = append(append(w.dst, '"'), prefix...)
	if w.lines {
		at := len(w.dst)
		w.dst = appendString(w.dst, key)
		copy(w.dst[at:], w.dst[at+1:]) // without its first quote
		w.dst = append(w.dst[:len(w.dst)-1], ':')
	} else {
		at, clean := len(w.dst), false
		if w.dst, clean = appendKeyOf(w.dst, key); !clean {
			w.odd = true
			if as := view(w.dst[at-len(prefix):]); as == w.of || !w.take("", as) {
				w.dst = w.dst[:at-len(prefix)-1]
				w.n--
				return
			}
		}
		w.dst = append(w.dst, '"', ':')
	}
	w.dst = append(appendString(w.dst, value), ',')
}
