package newrelic

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends lines [lo, hi) of b as one body of the Log API, or of OTLP.
// Each block is a group: its stream's labels are written once, under their own
// names and those of New Relic's own forwarders (hostname, pod_name, …). A line
// has
//
//	timestamp  milliseconds; OTLP: nanoseconds
//	message    its body, cut at 128 KB; New Relic parses what is JSON
//	level      error, warning, info, …; OTLP: the severity, too
//	trace.id, span.id, and every other attribute under its own name
//
// No line is skipped.
func (e *logs) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	w := pen{dst: dst, otlp: e.otlp, lines: true}
	start := len(dst)
	if !e.otlp {
		w.dst = append(w.dst, '[')
	}
	empty := len(w.dst)
	first := 0
	for i := range b.Logs {
		blk := &b.Logs[i]
		from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
		if from < to {
			if e.otlp {
				w.records(e.own, blk, from, to)
			} else {
				w.block(e.own, blk, from, to)
			}
		}
		if first += len(blk.Lines); first >= hi {
			break
		}
	}
	if len(w.dst) == empty {
		return w.dst[:start], hi, hi - lo
	}
	if !e.otlp {
		w.dst[len(w.dst)-1] = ']' // over the last comma
	}
	return w.dst, hi, 0
}

// stream appends the attributes that a stream's lines share.
func (w *pen) stream(own []ownTag, labels string, tag byte) {
	w.begin(tag, mostLineAttrs/2)
	w.set = labels
	for rest := labels; ; {
		k, v, next, ok := signal.NextLabel(rest)
		if !ok {
			break
		}
		rest = next
		w.label(k, v)
		if as := inLogs(k); as != "" && v != "" && signal.Lookup(labels, as) == "" && w.n < w.most {
			w.add("", as, v)
		}
	}
	for i := range own {
		if t := &own[i]; signal.Lookup(labels, t.key) == "" && !isAlias(labels, t.key) {
			w.own(t)
		}
	}
	if w.otlp {
		w.add("", "instrumentation.provider", "opentelemetry")
	}
	w.add("", "plugin.type", "causeway")
}

// isAlias reports whether key is the second key of one of the labels.
func isAlias(labels, key string) bool {
	for _, k := range [...]string{signal.LabelHost, signal.LabelCluster, signal.LabelNamespace, signal.LabelPod, signal.LabelK8sContainer} {
		if inLogs(k) == key {
			return signal.Lookup(labels, k) != ""
		}
	}
	return false
}

// block appends lines [from, to) of one block in JSON:
//
//	{"common":{"attributes":{…}},"logs":[{"timestamp":ms,"message":"…","attributes":{…}}]}
func (w *pen) block(own []ownTag, blk *signal.LogBlock, from, to int) {
	w.dst = append(w.dst, `{"common":{"attributes":{`...)
	w.stream(own, blk.Stream.Labels(), 0)
	w.dst = append(w.dst[:len(w.dst)-1], `}},"logs":[`...)
	shared := w.n
	for i := from; i < to; i++ {
		l := blk.Line(i)
		w.dst = append(w.dst, `{"timestamp":`...)
		w.dst = strconv.AppendInt(w.dst, floorDiv(l.Time, 1e6), 10)
		w.dst = append(w.dst, `,"message":`...)
		w.dst = appendString(w.dst, message(view(l.Text)))
		level := levelOf(l.Level)
		if level == "" && len(l.Attrs) == 0 {
			w.dst = append(w.dst, `},`...)
			continue
		}
		w.dst = append(w.dst, `,"attributes":{`...)
		none := len(w.dst)
		w.begin(0, mostLineAttrs-shared)
		if level != "" {
			w.dst = append(append(append(w.dst, `"level":"`...), level...), `",`...)
			w.n++
		}
		w.lineAttrs(view(l.Attrs))
		if len(w.dst) > none {
			w.dst = w.dst[:len(w.dst)-1]
		}
		w.dst = append(w.dst, `}},`...)
	}
	w.dst = append(w.dst[:len(w.dst)-1], `]},`...)
}

// message returns a line, cut. A byte that is no UTF-8 will be three.
func message(s string) string {
	if s = cut(s, mostLine); len(s) <= mostLine/3 || utf8.ValidString(s) {
		return s
	}
	size := 0
	for i, r := range s {
		if size += utf8.RuneLen(r); size > mostLine {
			return s[:i]
		}
	}
	return s
}

// lineAttrs appends a line's own labels; trace and span as New Relic calls them.
func (w *pen) lineAttrs(set string) {
	w.set = set
	for rest := set; ; {
		k, v, next, ok := signal.NextLabel(rest)
		if !ok {
			return
		}
		rest = next
		switch {
		case w.n >= w.most || v == "":
		case k == signal.LabelTraceID && !w.otlp && signal.Lookup(set, "trace.id") == "":
			w.add("", "trace.id", v)
		case k == signal.LabelSpanID && !w.otlp && signal.Lookup(set, "span.id") == "":
			w.add("", "span.id", v)
		case w.otlp && (k == signal.LabelTraceID && isID(v, 16) || k == signal.LabelSpanID && isID(v, 8)):
			// It has a field of its own.
		default:
			w.label(k, v)
		}
	}
}

// isID reports whether v is an id of so many bytes, in hexadecimal.
func isID(v string, size int) bool {
	if len(v) != 2*size {
		return false
	}
	for i := range len(v) {
		if c := v[i]; c-'0' > 9 && (c|0x20)-'a' > 5 {
			return false
		}
	}
	return true
}

// appendID appends label key of a line as a field of bytes, if it is such an id.
func appendID(dst []byte, tag byte, set, key string, size int) []byte {
	v := signal.Lookup(set, key)
	if !isID(v, size) {
		return dst
	}
	dst = append(dst, tag, byte(size))
	dst = append(dst, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[:size]...)
	_, _ = hex.Decode(dst[len(dst)-size:], bytesOf(v)) // isID has looked
	return dst
}

// severity returns OTLP's number of a syslog level (the logs data model's
// appendix on syslog); 0 is unspecified.
func severity(level uint8) byte {
	numbers := [...]byte{21, 19, 18, 17, 13, 10, 9, 5}
	if int(level) < len(numbers) {
		return numbers[level]
	}
	return 0
}

// openScope appends the beginning of a ResourceLogs (resource 1, scope_logs 2)
// up to its records (ScopeLogs: scope 1, log_records 2).
func (w *pen) openScope(resource func(tag byte)) (at [2]int) {
	w.dst, at[0] = open(w.dst, 0x0a, wideOuter)
	var r int
	w.dst, r = open(w.dst, 0x0a, wideMetric)
	resource(0x0a)
	w.dst, _ = shut(w.dst, r, wideMetric)
	w.dst, at[1] = open(w.dst, 0x12, wideOuter)
	w.dst = append(w.dst, scope...)
	return at
}

func (w *pen) shutScope(at [2]int) {
	w.dst, _ = shut(w.dst, at[1], wideOuter)
	w.dst, _ = shut(w.dst, at[0], wideOuter)
}

// record appends the first fields of a LogRecord: time_unix_nano 1,
// severity_number 2, severity_text 3 (name), body 5, observed_time_unix_nano 11.
func (w *pen) record(time int64, level uint8, name, text string) (at int) {
	w.dst, at = open(w.dst, 0x12, widePoint)
	w.dst = appendFixed(w.dst, 0x09, uint64(max(time, 0)))
	w.dst = appendFixed(w.dst, 0x59, uint64(max(time, 0)))
	if n := severity(level); n != 0 {
		w.dst = append(w.dst, 0x10, n)
	}
	if name != "" {
		w.dst = appendText(w.dst, 0x1a, name)
	}
	switch n := uint64(len(text)); {
	case n == 0:
	case utf8.ValidString(text):
		w.dst = appendVarint(w.dst, 0x2a, 1+uint64(sizeVarint(n))+n)
		w.dst = append(appendVarint(w.dst, 0x0a, n), text...) // AnyValue.string_value
	default:
		var body, value int
		w.dst, body = open(w.dst, 0x2a, wideMetric)
		w.dst, value = open(w.dst, 0x0a, wideMetric)
		for _, r := range text {
			w.dst = utf8.AppendRune(w.dst, r)
		}
		w.dst, _ = shut(w.dst, value, wideMetric)
		w.dst, _ = shut(w.dst, body, wideMetric)
	}
	return at
}

// records appends lines [from, to) of one block as a ResourceLogs.
func (w *pen) records(own []ownTag, blk *signal.LogBlock, from, to int) {
	labels := blk.Stream.Labels()
	scope := w.openScope(func(tag byte) { w.stream(own, labels, tag) })
	shared := w.n
	for i := from; i < to; i++ {
		l := blk.Line(i)
		at := w.record(l.Time, l.Level, levelOf(l.Level), message(view(l.Text)))
		w.begin(0x32, mostLineAttrs-shared)
		if level := levelOf(l.Level); level != "" {
			w.add("", "level", level)
		}
		if len(l.Attrs) > 0 {
			set := view(l.Attrs)
			w.lineAttrs(set)
			w.dst = appendID(w.dst, 0x4a, set, signal.LabelTraceID, 16)
			w.dst = appendID(w.dst, 0x52, set, signal.LabelSpanID, 8)
		}
		w.dst, _ = shut(w.dst, at, widePoint)
	}
	w.shutScope(scope)
}
