package otlp

import (
	"encoding/hex"
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// mostLine is how much of one record's body is kept: the default of max_line.
const mostLine = 1 << 20

// logs reads an ExportLogsServiceRequest: one block for each resource and scope
// of it.
func (d *decoder) logs(req []byte, b *signal.Batch) bool {
	var of *resource
	return d.parts(req, func(r *resource, rec []byte) bool {
		if r != of {
			of = r
			b.Logs = append(b.Logs, signal.LogBlock{Stream: r.stream, File: d.life, Start: d.lines, End: d.lines})
		}
		blk := &b.Logs[len(b.Logs)-1]
		if len(blk.Text) > math.MaxUint32-2*mostLine { // cannot be: max_body is below it
			return false
		}
		if !d.record(rec, blk) {
			return false
		}
		d.lines++
		blk.End = d.lines
		return true
	})
}

// record reads one LogRecord.
func (d *decoder) record(msg []byte, blk *signal.LogBlock) bool {
	var at, observed, severity uint64
	var body, trace, span, event []byte
	r := reader{p: msg}
	for r.next() {
		switch {
		case r.is(1, 1):
			at = r.value
		case r.is(11, 1):
			observed = r.value
		case r.is(2, 0):
			severity = r.value
		case r.is(5, 2):
			body = r.bytes
		case r.is(9, 2):
			trace = r.bytes
		case r.is(10, 2):
			span = r.bytes
		case r.is(12, 2):
			event = r.bytes
		}
	}
	if r.bad {
		return false
	}
	attrs, ok := d.appendAttributes(d.attrs[:0], msg, 6, nil)
	if !ok {
		return false
	}
	d.attrs = attrs
	for _, id := range [...]struct {
		key   string
		bytes []byte
		size  int
	}{{signal.LabelTraceID, trace, 16}, {signal.LabelSpanID, span, 8}} {
		if len(id.bytes) == id.size {
			d.attrs = signal.AppendLabel(d.attrs, id.key, hex.EncodeToString(id.bytes))
		}
	}
	if len(event) > 0 {
		d.attrs = signal.AppendLabel(d.attrs, "event.name", text(event))
	}
	if d.value, ok = appendValue(d.value[:0], body, 0); !ok {
		return false
	}
	line := []byte(text(d.value[:min(len(d.value), mostLine)]))
	t := int64(at)
	if at == 0 || at > math.MaxInt64 {
		t = int64(observed)
	}
	if t <= 0 {
		t = d.now.UnixNano()
	}
	blk.Append(t, levelOf(severity), line, []byte(signal.Sorted(string(d.attrs))))
	return true
}

// levelOf turns a SeverityNumber into a syslog severity, as the table in the
// data model of logs has it (opentelemetry.io/docs/specs/otel/logs/data-model-appendix),
// but for FATAL: an application's end is critical, and no emergency of the machine.
func levelOf(n uint64) uint8 {
	switch {
	case n == 0 || n > 24:
		return signal.LevelUnknown
	case n <= 8: // TRACE, DEBUG
		return 7
	case n == 9: // INFO
		return 6
	case n <= 12: // INFO2 to INFO4
		return 5
	case n <= 16: // WARN
		return 4
	case n == 17: // ERROR
		return 3
	case n == 18:
		return 2
	case n <= 20:
		return 1
	}
	return 2 // FATAL
}
