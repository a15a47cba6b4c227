package logline

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// role is what a member of an object is good for.
type role uint8

const (
	idle role = iota
	roleTime
	roleLevel
	rolePythonLevel
	roleLogbackLevel
	roleOTelLevel
	roleShortLevel // "s", which means many things: one letter only
	roleTrace
	roleDatadogTrace
	roleGoogleTrace
	roleSpan
	roleDatadogSpan
	roleTraceparent
	roleLogObject // {"level": …}
	roleTraceObject
	roleSpanObject
	roleDatadogObject
	roleSeconds
	roleNanos
)

// member is a role and its rank: of two members that say the same thing the one
// with the higher rank counts, of equals the later one.
type member struct {
	role role
	rank uint8
}

// topMember says what a member of the object itself is good for.
func topMember(key string) member {
	switch key {
	case "time", "timestamp", "ts", "@timestamp", "@t", "datetime", "Timestamp", "Time":
		return member{roleTime, 3}
	case "eventTime", "event_time", "asctime", "timeMillis", "time_iso8601", "start_time", "TimeUnixNano", "timeUnixNano",
		"timestamp_ms", "instant":
		return member{roleTime, 2}
	case "date", "t", "created", "createdAt", "created_at":
		return member{roleTime, 1}
	case "level", "severity", "lvl", "loglevel", "logLevel", "log_level", "log.level", "levelname", "severity_text",
		"severityText", "SeverityText", "@level", "@l", "Level", "LogLevel", "Severity", "syslog.severity", "logging.level":
		return member{roleLevel, 3}
	case "levelno":
		return member{rolePythonLevel, 2}
	case "level_value":
		return member{roleLogbackLevel, 2}
	case "severity_number", "severityNumber", "SeverityNumber":
		return member{roleOTelLevel, 2}
	case "priority", "PRIORITY", "l", "L", "lev":
		return member{roleLevel, 1}
	case "s":
		return member{roleShortLevel, 1}
	case "trace_id", "traceId", "trace.id", "traceID", "TraceId", "otelTraceID", "otel.trace_id", "traceid", "TraceID", "X-B3-TraceId":
		return member{roleTrace, 3}
	case "logging.googleapis.com/trace":
		return member{roleGoogleTrace, 3}
	case "dd.trace_id":
		return member{roleDatadogTrace, 2}
	case "span_id", "spanId", "span.id", "spanID", "SpanId", "otelSpanID", "otel.span_id", "spanid", "SpanID", "X-B3-SpanId",
		"logging.googleapis.com/spanId":
		return member{roleSpan, 3}
	case "dd.span_id":
		return member{roleDatadogSpan, 2}
	case "traceparent":
		return member{roleTraceparent, 1}
	case "log":
		return member{roleLogObject, 0}
	case "trace":
		return member{roleTraceObject, 0}
	case "span":
		return member{roleSpanObject, 0}
	case "dd":
		return member{roleDatadogObject, 0}
	}
	return member{}
}

// innerMember says the same of a member of an object that had the role in.
func innerMember(in role, key string) member {
	switch in {
	case roleTime:
		switch key {
		case "$date":
			return member{roleTime, 2}
		case "seconds":
			return member{roleSeconds, 2}
		case "nanos":
			return member{roleNanos, 2}
		}
	case roleLogObject:
		if key == "level" {
			return member{roleLevel, 2}
		}
	case roleTraceObject:
		if key == "id" {
			return member{roleTrace, 2}
		}
	case roleSpanObject:
		if key == "id" {
			return member{roleSpan, 2}
		}
	case roleDatadogObject:
		switch key {
		case "trace_id":
			return member{roleDatadogTrace, 1}
		case "span_id":
			return member{roleDatadogSpan, 1}
		}
	}
	return member{}
}

// found is what one pass over an object has found so far.
type found struct {
	at        int64
	time      int64
	seconds   uint64
	level     uint8
	timeRank  uint8
	levelRank uint8
	ids       ids
	clock     *clock
}

// json reads an object. Of its text only what we look for is checked beyond
// where members begin and end; a line that encoding/json would refuse may be read.
func (p *Parser) json(line []byte, at int64) (r Record, ok bool) {
	f := &p.found
	*f = found{at: at, level: unknown, clock: &p.clock}
	i := skipSpace(line, 0)
	if i >= len(line) || line[i] != '{' {
		return Record{Level: unknown}, false
	}
	i = p.object(line, i+1, idle)
	if i < 0 || skipSpace(line, i) < len(line) {
		p.fields.reset()
		return Record{Level: unknown}, false
	}
	f.ids.add(&p.fields)
	return Record{Time: f.time, Level: f.level}, true
}

// object reads the members of an object whose brace stands before b[i], and
// returns what lies behind it, -1 if it has no end.
func (p *Parser) object(b []byte, i int, in role) int {
	if i = skipSpace(b, i); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		if i = skipSpace(b, i); i >= len(b) || b[i] != '"' {
			return -1
		}
		lo := i + 1
		hi, escaped := lo, false
		for hi < len(b) && b[hi] != '"' && b[hi] != '\\' { // keys are short, and the same ones come again
			hi++
		}
		if hi >= len(b) {
			return -1
		}
		if b[hi] == '\\' {
			if hi, escaped = stringEnd(b, lo); hi >= len(b) {
				return -1
			}
		}
		key := b[lo:hi]
		if i = hi + 1; i < len(b) && b[i] != ':' {
			i = skipSpace(b, i)
		}
		if i >= len(b) || b[i] != ':' {
			return -1
		}
		if escaped {
			key = p.unquote(key)
		}
		var m member
		if in == idle {
			m = topMember(view(key))
		} else {
			m = innerMember(in, view(key))
		}
		if i = skipSpace(b, i+1); i >= len(b) {
			return -1
		}
		if b[i] == '"' && m.role == idle { // nearly always
			if i, _ = stringEnd(b, i+1); i >= len(b) {
				return -1
			}
			i++
		} else if i = p.value(b, i, m, in); i < 0 {
			return -1
		}
		if i < len(b) && b[i] != ',' {
			i = skipSpace(b, i)
		}
		if i >= len(b) {
			return -1
		}
		if b[i] == '}' {
			return i + 1
		}
		if b[i] != ',' {
			return -1
		}
		i++
	}
}

// value reads the value at b[i], uses it as m says, and returns what lies
// behind it, or -1.
func (p *Parser) value(b []byte, i int, m member, in role) int {
	switch b[i] {
	case '"':
		lo := i + 1
		hi, escaped := stringEnd(b, lo)
		if hi >= len(b) {
			return -1
		}
		if m.role != idle {
			v := b[lo:hi]
			if escaped {
				v = p.unquote(v)
			}
			p.found.text(v, m)
		}
		return hi + 1
	case '{':
		inner := m.role == roleTime || m.role >= roleLogObject && m.role <= roleDatadogObject
		if inner && in == idle {
			return p.object(b, i+1, m.role)
		}
		return skipNested(b, i)
	case '[':
		return skipNested(b, i)
	}
	lo := i
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] > ' ' {
		i++
	}
	if i == lo {
		return -1
	}
	if m.role != idle {
		p.found.number(b[lo:i], m)
	}
	return i
}

// text uses a string.
func (f *found) text(v []byte, m member) {
	switch m.role {
	case roleTime:
		if m.rank < f.timeRank {
			return
		}
		if t := f.clock.stampIn(v, f.at); t != 0 {
			f.time, f.timeRank = t, m.rank
		}
	case roleLevel, roleShortLevel:
		if m.rank < f.levelRank || m.role == roleShortLevel && len(v) != 1 {
			return
		}
		l := levelOf(v)
		if l == unknown {
			l = levelOfNumber(v, byPino)
		}
		if l != unknown {
			f.level, f.levelRank = l, m.rank
		}
	case roleTrace, roleGoogleTrace, roleDatadogTrace, roleTraceparent, roleSpan, roleDatadogSpan, roleTraceObject, roleSpanObject:
		f.ids.take(v, m)
	}
}

// number uses a number, or another bare word.
func (f *found) number(v []byte, m member) {
	by := byPino
	switch m.role {
	case roleTime:
		if m.rank < f.timeRank {
			return
		}
		if t := believe(epoch(v), f.at); t != 0 {
			f.time, f.timeRank = t, m.rank
		}
		return
	case roleSeconds, roleNanos:
		f.parts(v, m)
		return
	case roleDatadogTrace, roleDatadogSpan:
		f.ids.take(v, m)
		return
	case rolePythonLevel:
		by = byPython
	case roleLogbackLevel:
		by = byLogback
	case roleOTelLevel:
		by = byOTel
	case roleLevel:
	default:
		return
	}
	if m.rank < f.levelRank {
		return
	}
	if l := levelOfNumber(v, by); l != unknown {
		f.level, f.levelRank = l, m.rank
	}
}

// parts uses one half of {"seconds": 1795440061, "nanos": 123000000}.
func (f *found) parts(v []byte, m member) {
	n := uint64(0)
	if len(v) > 10 {
		return
	}
	for _, c := range v {
		if !isDigit(c) {
			return
		}
		n = n*10 + uint64(c-'0')
	}
	if m.role == roleNanos {
		if f.seconds == 0 || n >= uint64(second) { // nanos come second, as protobuf's JSON writes them
			return
		}
	} else {
		f.seconds = n
		n = 0
	}
	if m.rank < f.timeRank || f.seconds < leastEpoch || f.seconds >= 1e10 {
		return
	}
	if t := believe(scaled(f.seconds, int64(n)), f.at); t != 0 {
		f.time, f.timeRank = t, m.rank
	}
}

// stampIn reads a string that is a stamp and, behind a space, perhaps more, as
// Go prints a time.Time.
func (c *clock) stampIn(v []byte, at int64) int64 {
	ns, end := c.iso(v)
	if end == 0 {
		ns, end = stampAt(v, at)
	}
	switch {
	case end == 0:
		ns = epoch(v)
	case end < len(v) && v[end] != ' ':
		return 0
	}
	return believe(ns, at)
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// stringEnd returns where the quote stands that ends the string whose first
// byte is b[i], len(b) or more if there is none, and whether a backslash came
// before. It looks at eight bytes at a time.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for {
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			q, s := w^'"'*ones, w^'\\'*ones
			m := ((q-ones)&^q | (s-ones)&^s) & tops // the lowest marked byte is right; those above it may not be
			if m == 0 {
				i += 8
				continue
			}
			if i += bits.TrailingZeros64(m) >> 3; b[i] == '"' {
				return i, escaped
			}
			escaped = true
			i += 2
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' {
			i++
		}
		if i >= len(b) || b[i] == '"' {
			return i, escaped
		}
		escaped = true
		i += 2
	}
}

// skipNested returns what lies behind the object or array at b[i], -1 if it has no end.
func skipNested(b []byte, i int) int {
	depth := 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			if i, _ = stringEnd(b, i+1); i >= len(b) {
				return -1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// unquote returns v without its escapes, valid until the next call; nil if v
// has a wrong one, or is longer than anything we look for.
func (p *Parser) unquote(v []byte) []byte {
	if len(v) > len(p.plain) {
		return nil
	}
	n, ok := unescape(p.plain[:], v)
	if !ok {
		return nil
	}
	return p.plain[:n]
}

// unescape writes v without its escapes to dst, which is as long as v or longer.
func unescape(dst, v []byte) (n int, ok bool) {
	for i := 0; i < len(v); {
		if v[i] != '\\' {
			dst[n] = v[i]
			n, i = n+1, i+1
			continue
		}
		r, w := escape(v[i:])
		if w == 0 {
			return 0, false
		}
		n += utf8.EncodeRune(dst[n:], r) // never longer than its escape
		i += w
	}
	return n, true
}

// escape reads the escape at the start of v; w is its length, 0 if it is none.
func escape(v []byte) (r rune, w int) {
	if len(v) < 2 {
		return 0, 0
	}
	switch v[1] {
	case '"', '\\', '/':
		return rune(v[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r = hex4(v[2:])
		if r < 0 {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			if len(v) >= 12 && v[6] == '\\' && v[7] == 'u' {
				if both := utf16.DecodeRune(r, hex4(v[8:])); both != utf8.RuneError {
					return both, 12
				}
			}
			return utf8.RuneError, 6
		}
		return r, 6
	}
	return 0, 0
}

func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	r := rune(0)
	for _, c := range b[:4] {
		h := hexDigit(c)
		if h > 15 {
			return -1
		}
		r = r<<4 | rune(h)
	}
	return r
}

func hexDigit(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 255
}
