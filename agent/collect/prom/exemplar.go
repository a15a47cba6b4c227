package prom

import (
	"bytes"
	"encoding/hex"

	dto "github.com/prometheus/client_model/go"

	"github.com/causeway-agent/causeway/agent/signal"
)

// exemplarOf makes an exemplar of its parts. Trace and span are the labels that
// OpenTelemetry's "Prometheus and OpenMetrics Compatibility" names so, read
// 2026-11; where they hold no such id they are labels like others.
func exemplarOf(value float64, ms int64, pairs []pair) signal.Exemplar {
	e := signal.Exemplar{Value: value, Time: ms}
	var set []byte
	for _, p := range pairs {
		switch {
		case p.name == "trace_id" && isID(p.value, e.Trace[:]), p.name == "span_id" && isID(p.value, e.Span[:]):
		default:
			set = signal.AppendLabel(set, p.name, p.value)
		}
	}
	e.Labels = signal.Sorted(string(set))
	return e
}

// isID reports whether s is an id in hexadecimal, which it puts into id.
func isID(s string, id []byte) bool {
	if len(s) != 2*len(id) {
		return false
	}
	if _, err := hex.Decode(id, []byte(s)); err != nil {
		clear(id)
		return false
	}
	return true
}

// exemplify appends the exemplar of the line at hand to a distribution's. What
// is none costs its line nothing.
func (p *page) exemplify(dst []signal.Exemplar) []signal.Exemplar {
	e, ok := p.parseExemplar()
	if !ok {
		return dst
	}
	if dst, ok = signal.AppendExemplar(dst, e); ok {
		p.tally.Exemplars--
	}
	return dst
}

// parseExemplar reads "# {labels} value [time]".
func (p *page) parseExemplar() (e signal.Exemplar, ok bool) {
	// With a name in front it is a series.
	p.key = append(append(p.key[:0], 'x'), bytes.Trim(p.exemplar[1:], " \t\r")...)
	series, err := scanSeries(p.key)
	if err != nil || len(series) < 3 {
		return e, false
	}
	_, pairs, err := parseSeries(series, p.pairs[:0])
	if err != nil {
		return e, false
	}
	p.pairs = pairs[:0]
	pt, err := parseFields(bytes.TrimLeft(p.key[len(series):], " \t"), true)
	if err != nil || pt.exemplar != 0 || pt.timed && pt.time <= 0 {
		return e, false
	}
	return exemplarOf(pt.value, pt.time, pairs), true
}

// protoExemplar gives an exemplar of protobuf to h.
func (p *page) protoExemplar(h *signal.Hist, x *dto.Exemplar) {
	if x == nil {
		return
	}
	pairs := p.pairs[:0]
	for _, l := range x.GetLabel() {
		pairs = append(pairs, pair{l.GetName(), l.GetValue()})
	}
	p.pairs = pairs[:0]
	ms := int64(0)
	if at := x.GetTimestamp(); at != nil {
		ms = max(at.AsTime().UnixMilli(), 0)
	}
	var ok bool
	if h.Exemplars, ok = signal.AppendExemplar(h.Exemplars, exemplarOf(x.GetValue(), ms, pairs)); !ok {
		p.tally.Exemplars++
	}
}
