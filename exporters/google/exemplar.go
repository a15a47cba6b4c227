package google

import (
	"encoding/hex"

	"github.com/causeway-agent/causeway/agent/signal"
)

// What may be attached to an exemplar, at most one of each
// (google/api/distribution.proto, read 2026-11).
const (
	spanContext   = "type.googleapis.com/google.monitoring.v3.SpanContext"
	droppedLabels = "type.googleapis.com/google.monitoring.v3.DroppedLabels"
)

// exemplars appends those of a distribution, in the order of their values, as
// Google wants them: value 1, timestamp 2, attachments 3.
func (w *writer) exemplars(list []signal.Exemplar) {
	var order [signal.MaxExemplars]*signal.Exemplar
	n := 0
	for i := range list[:min(len(list), len(order))] {
		e := &list[i]
		if !fine(e.Value) {
			continue
		}
		at := n
		for ; at > 0 && order[at-1].Value > e.Value; at-- {
			order[at] = order[at-1]
		}
		order[at] = e
		n++
	}
	for _, e := range order[:n] {
		var at int
		w.dst, at = openField(w.dst, 10)
		w.dst = appendDouble(w.dst, 1, e.Value)
		if e.Time > 0 {
			w.dst = appendMillis(w.dst, 2, e.Time)
		}
		w.attachments(e)
		w.dst = shut(w.dst, at)
	}
}

// attachments appends the span, and the labels as those that were dropped on the
// way. A trace without a span has no name with Google: it stays a label.
func (w *writer) attachments(e *signal.Exemplar) {
	traced, spanned := e.Trace != [16]byte{}, e.Span != [8]byte{}
	if traced && spanned {
		var any, value, name int
		w.dst, any = openField(w.dst, 3)
		w.dst = appendText(w.dst, 1, spanContext, mostValue)
		w.dst, value = openField(w.dst, 2)
		w.dst, name = openField(w.dst, 1)
		w.dst = append(append(w.dst, w.e.where.parent...), "/traces/"...)
		w.dst = hex.AppendEncode(w.dst, e.Trace[:])
		w.dst = hex.AppendEncode(append(w.dst, "/spans/"...), e.Span[:])
		w.dst = shut(w.dst, name)
		w.dst = shut(w.dst, value)
		w.dst = shut(w.dst, any)
	}
	if e.Labels == "" && traced == spanned {
		return
	}
	var any, value int
	w.dst, any = openField(w.dst, 3)
	w.dst = appendText(w.dst, 1, droppedLabels, mostValue)
	w.dst, value = openField(w.dst, 2)
	for k, v := range signal.Walk(e.Labels) {
		w.dst = appendPair(w.dst, 1, k, v)
	}
	id := func(name string, id []byte) {
		var text [32]byte
		w.dst = appendPair(w.dst, 1, name, view(hex.AppendEncode(text[:0], id)))
	}
	switch {
	case traced && !spanned:
		id("trace_id", e.Trace[:])
	case spanned && !traced:
		id("span_id", e.Span[:])
	}
	w.dst = shut(w.dst, value)
	w.dst = shut(w.dst, any)
}
