package newrelic

import (
	"strconv"
)

// The Metric API's body, docs.newrelic.com/docs/data-apis/ingest-apis/metric-api/report-metrics-metric-api:
//
//	[{"common":{"timestamp":ms,"interval.ms":n,"attributes":{…}},"metrics":[
//	  {"name":"…","type":"gauge|count|summary","value":…,"timestamp":ms,"interval.ms":n,"attributes":{…}}]}]
//
// timestamp is when the interval of a count or summary began.

func (w *points) jsonGroup(p *point) {
	w.time, w.ms = p.start, p.end-p.start
	w.dst = append(w.dst, `{"common":{"timestamp":`...)
	w.dst = strconv.AppendInt(w.dst, w.time, 10)
	if w.ms > 0 {
		w.dst = append(w.dst, `,"interval.ms":`...)
		w.dst = strconv.AppendInt(w.dst, w.ms, 10)
	}
	w.dst = append(w.dst, `,"attributes":{`...)
	w.resource(0)
	w.dst[len(w.dst)-1] = '}' // over the last comma
	w.dst = append(w.dst, `},"metrics":[`...)
}

func (w *points) jsonEnd() {
	w.dst[len(w.dst)-1] = ']' // over the last comma
	w.dst = append(w.dst, `},`...)
}

func (w *points) jsonPoint(p *point) {
	w.dst = append(w.dst, `{"name":`...)
	w.dst = appendString(w.dst, p.name)
	if p.suffix != "" {
		w.dst = append(append(w.dst[:len(w.dst)-1], p.suffix...), '"')
	}
	switch p.kind {
	case gauge:
		w.dst = append(w.dst, `,"type":"gauge","value":`...)
		w.dst = appendFloat(w.dst, p.value)
	case count:
		w.dst = append(w.dst, `,"type":"count","value":`...)
		w.dst = appendFloat(w.dst, p.value)
	default:
		w.jsonSummary(p)
	}
	if p.start != w.time {
		w.dst = append(w.dst, `,"timestamp":`...)
		w.dst = strconv.AppendInt(w.dst, p.start, 10)
	}
	if ms := p.end - p.start; p.kind != gauge && ms != w.ms {
		w.dst = append(w.dst, `,"interval.ms":`...)
		w.dst = strconv.AppendInt(w.dst, ms, 10)
	}
	at := len(w.dst)
	w.dst = append(w.dst, `,"attributes":{`...)
	none := len(w.dst)
	w.attributes(0, p)
	if p.percentile == p.percentile {
		if len(w.dst) > none {
			w.dst[len(w.dst)-1] = ',' // where they were copied from the set has ended, with a brace
		}
		w.dst = append(w.dst, `"percentile":`...)
		w.dst = append(appendFloat(w.dst, p.percentile), ',')
	}
	if len(w.dst) == none {
		w.dst = append(w.dst[:at], `},`...)
		w.tail = [2]int{} // it lay behind the end
		return
	}
	w.dst = append(w.dst[:len(w.dst)-1], `}},`...)
}

func (w *points) jsonSummary(p *point) {
	w.dst = append(w.dst, `,"type":"summary","value":{"count":`...)
	w.dst = strconv.AppendUint(w.dst, p.hist.Count, 10)
	w.dst = append(w.dst, `,"sum":`...)
	w.dst = appendFloat(w.dst, p.hist.Sum)
	w.dst = append(w.dst, `,"min":`...)
	w.dst = appendOrNull(w.dst, p.hist.Min)
	w.dst = append(w.dst, `,"max":`...)
	w.dst = append(appendOrNull(w.dst, p.hist.Max), '}')
}

// appendOrNull appends a bound, or null where it is unknown.
func appendOrNull(dst []byte, v float64) []byte {
	if !fine(v) {
		return append(dst, "null"...)
	}
	return appendFloat(dst, v)
}
