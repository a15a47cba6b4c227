package newrelic

import (
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends events [lo, hi) of b as a body of the Event API, an array of
// flat objects, or as log records of OTLP. An event has
//
//	eventType       KubernetesEvent, ServiceCheck, CausewayEvent; as a log
//	                record: newrelic.event.type, OtlpInfrastructureEvent for the first
//	timestamp       milliseconds
//	title, text, source, level, count, event.id; of Kubernetes: category, event.source.host
//	check, status   of a service check: its name, and ok, warning, critical, unknown
//	others          its labels, under their own names
//
// An event without title and text that is no check is skipped.
func (e *events) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	w := pen{dst: dst, otlp: e.otlp, lines: true, events: true}
	start := len(dst)
	if !w.otlp {
		w.dst = append(w.dst, '[')
	}
	empty := len(w.dst)
	for i := lo; i < hi; i++ {
		ev := &b.Events[i]
		switch {
		case ev.Title == "" && ev.Text == "" && ev.Check == "":
			skipped++
		case e.otlp:
			w.eventRecord(e.own, ev)
		default:
			w.dst = append(append(append(w.dst, `{"eventType":"`...), eventType(ev, false)...), `","timestamp":`...)
			w.dst = append(strconv.AppendInt(w.dst, floorDiv(ev.Time, 1e6), 10), ',')
			w.begin(0, mostLineAttrs)
			w.event(e.own, ev)
			w.dst = append(w.dst[:len(w.dst)-1], `},`...)
		}
	}
	if len(w.dst) == empty {
		return w.dst[:start], hi, hi - lo
	}
	if !w.otlp {
		w.dst[len(w.dst)-1] = ']' // over the last comma
	}
	return w.dst, hi, skipped
}

// eventRecord appends one event as a ResourceLogs of one record.
func (w *pen) eventRecord(own []ownTag, ev *signal.EventItem) {
	at := w.openScope(func(tag byte) {
		w.begin(tag, mostLineAttrs)
		w.add("", "instrumentation.provider", "opentelemetry")
	})
	text := ev.Text
	if text == "" {
		text = ev.Title
	}
	severity := signal.Lookup(ev.Labels, signal.LabelEventType) // Normal, Warning: as the collector's receiver has it
	if severity == "" {
		severity = levelOf(ev.Level)
	}
	r := w.record(ev.Time, ev.Level, severity, message(text))
	w.begin(0x32, mostLineAttrs-3)
	w.family = other
	if ev.Source == "kubernetes" {
		w.family = kube
	}
	w.add("", "newrelic.event.type", eventType(ev, true))
	w.event(own, ev)
	w.dst, _ = shut(w.dst, r, widePoint)
	w.shutScope(at)
}

// event appends what an event is, as attributes.
func (w *pen) event(own []ownTag, ev *signal.EventItem) {
	field := func(key, value string) {
		if value != "" {
			w.add("", key, value)
		}
	}
	field("title", ev.Title)
	field("text", ev.Text)
	field("source", ev.Source)
	field("event.id", ev.ID)
	field("level", levelOf(ev.Level))
	if ev.Source == "kubernetes" {
		field("category", "kubernetes")
		field("event.source.host", signal.Lookup(ev.Labels, signal.LabelNode))
	}
	if ev.Check != "" {
		field("check", ev.Check)
		field("status", statusOf(ev.Status))
	}
	if w.otlp {
		w.dst = appendPairNumber(w.dst, w.tag, "count", float64(max(ev.Count, 1)))
	} else {
		w.dst = append(strconv.AppendUint(append(w.dst, `"count":`...), uint64(max(ev.Count, 1)), 10), ',')
	}
	w.n++
	w.set = ev.Labels
	for rest := ev.Labels; ; {
		k, v, next, ok := signal.NextLabel(rest)
		if !ok {
			break
		}
		rest = next
		w.label(k, v)
	}
	for i := range own {
		if t := &own[i]; signal.Lookup(ev.Labels, t.key) == "" {
			w.own(t)
		}
	}
}
