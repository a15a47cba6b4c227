package logline

import (
	"bytes"

	"github.com/causeway-agent/causeway/agent/signal"
)

// ids are the trace and the span of a line, as lower-case hexadecimal: 32
// digits (16 where the tracer has 64 bits only), and 16.
type ids struct {
	trace     [32]byte
	span      [16]byte
	traceLen  uint8
	spanLen   uint8
	traceRank uint8
	spanRank  uint8
}

// take reads a value that has the role of m. What is no id is left alone.
func (x *ids) take(v []byte, m member) {
	switch m.role {
	case roleTrace, roleTraceObject:
		x.setTrace(v, m.rank, false)
	case roleDatadogTrace:
		x.setTrace(v, m.rank, true)
	case roleGoogleTrace: // projects/PROJECT/traces/ID
		x.setTrace(v[bytes.LastIndexByte(v, '/')+1:], m.rank, false)
	case roleSpan, roleSpanObject:
		x.setSpan(v, m.rank, false)
	case roleDatadogSpan:
		x.setSpan(v, m.rank, true)
	case roleTraceparent: // 00-TRACE-SPAN-FLAGS, w3.org/TR/trace-context
		if len(v) >= 55 && v[2] == '-' && v[35] == '-' && v[52] == '-' {
			x.setTrace(v[3:35], m.rank, false)
			x.setSpan(v[36:52], m.rank, false)
		}
	}
}

func (x *ids) setTrace(v []byte, rank uint8, datadog bool) {
	if rank < x.traceRank {
		return
	}
	var id [32]byte
	n := normal(&id, v, datadog)
	if n != 0 {
		x.trace, x.traceLen, x.traceRank = id, n, rank
	}
}

func (x *ids) setSpan(v []byte, rank uint8, datadog bool) {
	if rank < x.spanRank {
		return
	}
	var id [32]byte
	if n := normal(&id, v, datadog); n == 16 {
		copy(x.span[:], id[:])
		x.spanLen, x.spanRank = 16, rank
	}
}

// normal writes v as 16 or 32 hexadecimal digits and returns how many; 0 if v
// is no id, or is all zero, which means that there is none. It knows
// OpenTelemetry's, UUIDs, X-Ray's 1-SECONDS-REST, Jaeger's without zeros in
// front, and Datadog's decimals of 64 bits.
func normal(dst *[32]byte, v []byte, datadog bool) uint8 {
	if len(v) == 32 { // nearly always OpenTelemetry's own form
		bad, some := byte(0), byte(0)
		for i, c := range v {
			bad, some = bad|notLowerHex[c], some|c^'0'
			dst[i] = c
		}
		if bad == 0 && some != 0 {
			return 32
		}
	}
	if len(v) < 8 && !datadog || len(v) > 36 {
		return 0
	}
	if datadog && len(v) < 32 || len(v) >= 17 && len(v) <= 20 {
		if n, ok := decimal(v); ok {
			return hex64(dst, n)
		}
		if datadog && len(v) != 16 {
			return 0
		}
	}
	if len(v) == 35 && v[0] == '1' && v[1] == '-' && v[10] == '-' {
		v = v[2:]
	}
	n, some := 0, byte(0)
	for i, c := range v {
		if c == '-' && (len(v) == 36 && (i == 8 || i == 13 || i == 18 || i == 23) || len(v) == 33 && i == 8) {
			continue
		}
		h := hexDigit(c)
		if h > 15 || n == len(dst) {
			return 0
		}
		dst[n] = "0123456789abcdef"[h]
		some |= h
		n++
	}
	if some == 0 || len(v) > 32 && n != 32 {
		return 0
	}
	width := 32
	if n <= 16 {
		width = 16
	}
	if pad := width - n; pad > 0 {
		copy(dst[pad:width], dst[:n])
		for i := range pad {
			dst[i] = '0'
		}
	}
	return uint8(width)
}

// notLowerHex is 1 for each byte that is no lower-case hexadecimal digit.
var notLowerHex = func() (t [256]byte) {
	for c := range t {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			t[c] = 1
		}
	}
	return t
}()

func decimal(v []byte) (n uint64, ok bool) {
	for _, c := range v {
		if !isDigit(c) || n > (1<<64-1-uint64(c-'0'))/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, len(v) > 0
}

func hex64(dst *[32]byte, n uint64) uint8 {
	if n == 0 {
		return 0
	}
	for i := 15; i >= 0; i-- {
		dst[i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
	return 16
}

// add notes the ids that were found.
func (x *ids) add(f *fields) {
	if x.traceLen > 0 {
		f.add(signal.LabelTraceID, x.trace[:x.traceLen])
	}
	if x.spanLen > 0 {
		f.add(signal.LabelSpanID, x.span[:])
	}
}
