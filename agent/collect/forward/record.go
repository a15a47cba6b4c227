package forward

import (
	"bytes"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-agent/causeway/agent/signal"
)

// LabelTag holds the tag that records were sent with.
const LabelTag = "fluent.tag"

// Bounds of a line's own labels, as package logline has them.
const (
	maxPairs = 32
	maxAttrs = 4 << 10
	maxKey   = 64
	maxValue = 1 << 10
)

// texts are the fields that may hold the line, the first that is there counts:
// of Docker and Fluent Bit's tail, of most loggers.
var texts = [...]string{"log", "message", "msg"}

// known maps fields of Docker's log driver and Fluent Bit to labels of the
// stream (docs.docker.com/engine/logging/drivers/fluentd,
// docs.fluentbit.io/manual/pipeline/filters/kubernetes).
func known(parent, key string) string {
	switch parent + key {
	case "container_id", "kubernetes.docker_id":
		return signal.LabelContainerID
	case "container_name":
		return signal.LabelContainer
	case "source", "stream":
		return signal.LabelLogStream
	case "kubernetes.pod_name":
		return signal.LabelPod
	case "kubernetes.pod_id":
		return signal.LabelPodUID
	case "kubernetes.namespace_name":
		return signal.LabelNamespace
	case "kubernetes.container_name":
		return signal.LabelK8sContainer
	case "kubernetes.host":
		return signal.LabelNode
	case "kubernetes.container_image":
		return signal.LabelImage
	}
	return ""
}

// levels are the words for severities.
func levelOf(p []byte) uint8 {
	if len(p) > 16 {
		return signal.LevelUnknown
	}
	switch strings.ToLower(string(p)) {
	case "emerg", "emergency":
		return 0
	case "alert":
		return 1
	case "crit", "critical", "fatal", "panic":
		return 2
	case "err", "error":
		return 3
	case "warn", "warning":
		return 4
	case "notice":
		return 5
	case "info", "information":
		return 6
	case "debug", "trace", "verbose":
		return 7
	}
	return signal.LevelUnknown
}

// line is one record as it becomes a line. Its memory is used again.
type line struct {
	text   []byte // points into the record, or into own
	level  uint8
	labels []byte // of the stream: not sorted
	attrs  []byte // of the line: not sorted, each key as often as it was sent
	pairs  int
	left   int // fields for which there was no room
	value  []byte
	own    []byte
}

// read takes a record apart; false if it is no map.
func (l *line) read(record []byte) bool {
	l.text, l.level, l.labels, l.attrs, l.pairs, l.left = nil, signal.LevelUnknown, l.labels[:0], l.attrs[:0], 0, 0
	d := decoder{p: record}
	if !isMap(d.peek()) {
		return false
	}
	at := -1 // of the text in texts
	for range d.count(true) {
		if !isText(d.peek()) {
			d.skip()
			d.skip()
			continue
		}
		key := d.text()
		if i := textField(key); i >= 0 && isText(d.peek()) {
			if v := d.text(); at < 0 || i < at {
				at, l.text = i, v
			}
			continue
		}
		l.field(&d, "", key, 0)
	}
	if d.bad {
		return false
	}
	if at < 0 { // the record is the line, and says all in itself
		d = decoder{p: record}
		l.own = d.appendJSON(l.own[:0], 0)
		l.text, l.attrs, l.left = l.own, l.attrs[:0], 0
	}
	return true
}

func textField(key []byte) int {
	for i, name := range texts {
		if string(key) == name {
			return i
		}
	}
	return -1
}

// field makes labels of one field.
func (l *line) field(d *decoder, parent string, key []byte, depth int) {
	if isMap(d.peek()) && depth < 3 && len(parent)+len(key) < maxKey {
		if parent == "kubernetes." && (string(key) == "labels" || string(key) == "annotations") {
			d.skip() // the hub knows those that are asked for
			return
		}
		inner := parent + string(key) + "."
		for range d.count(true) {
			if !isText(d.peek()) {
				d.skip()
				d.skip()
				continue
			}
			l.field(d, inner, d.text(), depth+1)
		}
		return
	}
	if d.peek() == 0xc0 {
		d.skip()
		return
	}
	l.value = d.appendText(l.value[:0])
	if d.bad || len(l.value) == 0 {
		return
	}
	if len(l.value) > maxValue {
		l.value = l.value[:maxValue]
	}
	if !utf8.Valid(l.value) {
		l.value = bytes.ToValidUTF8(l.value, []byte("\uFFFD"))
	}
	name := string(key)
	if label := known(parent, name); label != "" && (label != signal.LabelLogStream || string(l.value) == "stdout" || string(l.value) == "stderr") {
		l.labels = signal.AppendLabel(l.labels, label, strings.TrimPrefix(view(l.value), "/"))
		return
	}
	if parent == "kubernetes." {
		return
	}
	if parent == "" && (name == "level" || name == "severity" || name == "lvl") {
		if n := levelOf(l.value); n != signal.LevelUnknown {
			l.level = n
			return
		}
	}
	name = strings.ToValidUTF8(parent+name, "\uFFFD")
	if name == "" || len(name) > maxKey || l.pairs >= maxPairs || len(l.attrs)+len(name)+len(l.value) > maxAttrs {
		l.left++
		return
	}
	l.pairs++
	l.attrs = signal.AppendLabel(l.attrs, name, view(l.value))
}

// view is p as a string, for as long as p does not change.
func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
