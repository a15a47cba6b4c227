package datadog

import (
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Limits of an event, in bytes though Datadog counts characters
// (docs.datadoghq.com/api/latest/events, read 2026-11).
const (
	mostTitle = 500
	mostText  = 4000
	mostKey   = 100
)

// checkStart begins a body of service checks; Send finds their second behind it.
const checkStart = `[{"timestamp":`

// Encode appends the event at lo as a body of /api/v1/events, which takes one
// at a time, or the service checks from lo on that are of the same second as a
// body of /api/v1/check_run. An event without title and text is skipped, and so
// is a check whose name has no letter.
func (e *events) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	start := len(dst)
	for next = lo; next < hi; next++ {
		ev := &b.Events[next]
		switch {
		case ev.Check == "" && ev.Title == "" && ev.Text == "":
			skipped++
		case ev.Check != "" && len(appendName(dst[:len(dst):len(dst)], ev.Check)) == len(dst):
			skipped++
		case ev.Check != "":
			dst, next, skipped = e.checks(dst, b, next, hi, skipped)
			return dst, next, skipped
		default:
			return e.event(dst, ev), next + 1, skipped
		}
	}
	return dst[:start], hi, skipped
}

// event appends one event.
func (e *events) event(dst []byte, ev *signal.EventItem) []byte {
	title, text, key := ev.Title, ev.Text, ev.ID
	st := style{}
	if uid := signal.Lookup(ev.Labels, signal.LabelObjectUID); uid != "" {
		// As the kubernetes_apiserver check has it: events of an object are one story.
		title, key, st.add = objectTitle(ev), "kubernetes_apiserver:"+uid, "orchestrator:kubernetes"
	}
	if title == "" {
		title = text
	}
	if text == "" {
		text = title
	}
	dst, _ = appendUpTo(append(dst, `{"title":`...), title, mostTitle+2)
	dst, whole := appendUpTo(append(dst, `,"text":`...), text, mostText-26)
	if ev.Count > 1 && whole {
		dst = append(dst[:len(dst)-1], " (seen "...)
		dst = append(strconv.AppendUint(dst, uint64(ev.Count), 10), ` times)"`...)
	}
	dst = append(dst, `,"date_happened":`...)
	dst = strconv.AppendInt(dst, floorDiv(ev.Time, 1e9), 10)
	if host := signal.Lookup(ev.Labels, signal.LabelHost); host != "" {
		dst, _ = appendUpTo(append(dst, `,"host":`...), host, mostHost+2)
	}
	if key != "" {
		dst, _ = appendUpTo(append(dst, `,"aggregation_key":`...), key, mostKey+2)
	}
	if ev.Source != "" {
		dst, _ = appendUpTo(append(dst, `,"source_type_name":`...), ev.Source, mostKey+2)
	}
	alert := "info"
	switch {
	case ev.Level <= 3:
		alert = "error"
	case ev.Level == 4:
		alert = "warning"
	}
	dst = append(append(append(dst, `,"alert_type":"`...), alert...), '"')
	return append(e.list(dst, ev.Labels, st), '}')
}

// objectTitle is the title that Datadog's agent gives an event of a Kubernetes
// object: Pod default/web-1: BackOff.
func objectTitle(ev *signal.EventItem) string {
	kind, name := signal.Lookup(ev.Labels, signal.LabelObjectKind), signal.Lookup(ev.Labels, signal.LabelObjectName)
	reason := signal.Lookup(ev.Labels, signal.LabelEventReason)
	if kind == "" || name == "" || reason == "" {
		return ev.Title
	}
	if ns := signal.Lookup(ev.Labels, signal.LabelNamespace); ns != "" {
		name = ns + "/" + name
	}
	return kind + " " + name + ": " + reason
}

// checks appends the service checks from lo on that are of the same second.
func (e *events) checks(dst []byte, b *signal.Batch, lo, hi, skipped int) (body []byte, next, left int) {
	second := floorDiv(b.Events[lo].Time, 1e9)
	open := checkStart
	for next = lo; next < hi; next++ {
		ev := &b.Events[next]
		if ev.Check == "" || floorDiv(ev.Time, 1e9) != second {
			break
		}
		at := len(dst)
		dst = append(dst, open...)
		dst = strconv.AppendInt(dst, second, 10)
		dst = append(dst, `,"check":"`...)
		name := len(dst)
		if dst = appendName(dst, ev.Check); len(dst) == name {
			dst = dst[:at]
			skipped++
			continue
		}
		dst = append(dst, `","status":`...)
		dst = strconv.AppendUint(dst, uint64(min(ev.Status, 3)), 10)
		dst, _ = appendUpTo(append(dst, `,"host_name":`...), signal.Lookup(ev.Labels, signal.LabelHost), mostHost+2)
		message := ev.Text
		if message == "" {
			message = ev.Title
		}
		if message != "" {
			dst, _ = appendUpTo(append(dst, `,"message":`...), message, mostText)
		}
		dst = append(e.list(dst, ev.Labels, style{}), '}')
		open = `,{"timestamp":`
	}
	return append(dst, ']'), next, skipped
}

// list appends the labels as a field of tags, which check_run wants even if
// there are none.
func (e *events) list(dst []byte, labels string, st style) []byte {
	dst = append(dst, `,"tags":[`...)
	none := len(dst)
	if dst = e.tags.append(dst, labels, st, new(memo)); len(dst) > none {
		dst = dst[:len(dst)-1]
	}
	return append(dst, ']')
}
