package datadog

import (
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends lines [lo, hi) of b as an array of logs v2:
//
//	ddsource   the program that wrote it, else its container
//	ddtags     the stream's labels as tags, as metrics have them
//	hostname, service, status, timestamp (milliseconds)
//	dd.trace_id, dd.span_id   in decimal, as Datadog's tracers write them;
//	           otel.trace_id, otel.span_id as they came
//	message    the line; cut where it would make the item larger than 1 MB
//	others     each attribute of the line, under its own name
//
// No line is skipped.
func (e *logs) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	start := len(dst)
	dst = append(dst, '[')
	first := 0
	for i := range b.Logs {
		blk := &b.Logs[i]
		from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
		if from < to {
			dst = e.block(dst, blk, from, to)
		}
		if first += len(blk.Lines); first >= hi {
			break
		}
	}
	if len(dst) == start+1 {
		return dst[:start], hi, hi - lo
	}
	dst[len(dst)-1] = ']' // over the last comma
	return dst, hi, 0
}

// block appends lines [from, to) of one block. What is the same for lines of
// one level is written once and copied.
func (e *logs) block(dst []byte, blk *signal.LogBlock, from, to int) []byte {
	labels := blk.Stream.Labels()
	var head [2]int // where in dst the head of level was written
	level := uint8(0)
	for i := from; i < to; i++ {
		l := blk.Line(i)
		start := len(dst)
		if head[1] != 0 && l.Level == level {
			dst = append(dst, dst[head[0]:head[1]]...)
		} else {
			dst = e.head(dst, labels, l.Level)
			head, level = [2]int{start, len(dst)}, l.Level
		}
		dst = strconv.AppendInt(dst, floorDiv(l.Time, 1e6), 10)
		if len(l.Attrs) > 0 {
			dst = attributes(dst, view(l.Attrs), mostLine/2-(len(dst)-start))
		}
		dst = append(dst, `,"message":`...)
		// One byte is the brace.
		dst, _ = appendUpTo(dst, view(l.Text), mostLine-(len(dst)-start)-1)
		dst = append(dst, "},"...)
	}
	return dst
}

// statusOf returns a severity's name at Datadog.
func statusOf(level uint8) string {
	names := [...]string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}
	if int(level) < len(names) {
		return names[level]
	}
	return ""
}

// head appends an item up to the digits of its timestamp.
func (e *logs) head(dst []byte, labels string, level uint8) []byte {
	source := ""
	for _, key := range [...]string{signal.LabelLogSource, signal.LabelAppName, signal.LabelK8sContainer, signal.LabelContainer, signal.LabelService} {
		if source == "" {
			source = signal.Lookup(labels, key)
		}
	}
	dst = append(dst, '{')
	field := func(name, value string) {
		if value != "" {
			dst = append(append(dst, '"'), name...)
			dst = append(dst, `":`...)
			dst, _ = appendUpTo(dst, value, mostHost+2)
			dst = append(dst, ',')
		}
	}
	field("ddsource", source)
	field("hostname", signal.Lookup(labels, signal.LabelHost))
	service := signal.Lookup(labels, signal.LabelService)
	if service == "" {
		service = source // as Datadog's agent has it
	}
	field("service", service)
	field("status", statusOf(level))
	at := len(dst)
	dst = append(dst, `"ddtags":"`...)
	none := len(dst)
	if dst = e.tags.append(dst, labels, style{skip: [2]string{signal.LabelLogSource}}, new(memo)); len(dst) > none {
		dst[len(dst)-1] = '"' // over the last comma
		dst = append(dst, ',')
	} else {
		dst = dst[:at]
	}
	return append(dst, `"timestamp":`...)
}

// attributes appends a line's own labels, each with a comma before it, in at
// most most bytes.
func attributes(dst []byte, set string, most int) []byte {
	end := len(dst) + max(most, 0)
	for {
		k, v, rest, ok := signal.NextLabel(set)
		if !ok {
			return dst
		}
		set = rest
		prefix := ""
		switch k {
		case signal.LabelTraceID, signal.LabelSpanID:
			// Datadog's ids are the lower 64 bits, in decimal.
			prefix = "dd."
			if n, err := strconv.ParseUint(v[max(0, len(v)-16):], 16, 64); err == nil && (len(v) == 16 || len(v) == 32) {
				dst = append(append(append(dst, `,"dd.`...), k...), `":"`...)
				dst = append(strconv.AppendUint(dst, n, 10), '"')
				prefix = "otel."
			}
		case "ddsource", "ddtags", "hostname", "host", "service", "status", "timestamp", "date", "message", "msg", "level", "severity",
			"dd.trace_id", "dd.span_id", "otel.trace_id", "otel.span_id":
			prefix = "attr." // it would take the place of what we know
		}
		at := len(dst)
		if at+6*len(k)+64 > end || k == "" {
			continue
		}
		dst = append(dst, ',')
		key := len(dst)
		dst = appendString(append(dst, prefix...), k)
		if prefix != "" { // move the quote before the prefix
			copy(dst[key+1:], prefix)
			dst[key] = '"'
		}
		dst = append(dst, ':')
		dst, _ = appendUpTo(dst, v, end-len(dst))
	}
}
