package logline

import (
	"bytes"

	"github.com/causeway-agent/causeway/agent/signal"
)

// LabelSyslogHost is the attribute that holds the host a syslog message names,
// which need not be the one that sent it.
const LabelSyslogHost = "syslog.hostname"

// facilities lists the names of syslog's facilities, by number.
var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// syslog reads lines of files that syslog daemons write, and messages as they
// come by network; see message for the forms.
func (p *Parser) syslog(b []byte, at int64) (r Record, ok bool) {
	r, _, ok = p.message(b, at, false)
	return r, ok
}

// ParseSyslog reads one message of a syslog sender, of RFC 5424, RFC 3164, or
// whatever else comes with a <PRI> in front. body points into msg; out is
// attrs with what the header says merged in, and is the caller's. If ok is
// false the message has no header: body is msg, and out is attrs.
func ParseSyslog(msg []byte, at int64, attrs []byte) (r Record, body, out []byte, ok bool) {
	var p Parser
	return p.ParseSyslog(msg, at, attrs)
}

// ParseSyslog is the function of that name without its allocations: out is
// valid until p is used again.
func (p *Parser) ParseSyslog(msg []byte, at int64, attrs []byte) (r Record, body, out []byte, ok bool) {
	p.wake()
	for len(msg) > 0 && (msg[len(msg)-1] == '\n' || msg[len(msg)-1] == 0) { // as some senders end it
		msg = msg[:len(msg)-1]
	}
	r, body, ok = p.message(msg, at, true)
	if !ok {
		p.fields.reset()
		return Record{Level: unknown}, msg, attrs, false
	}
	return r, body, p.fields.merge(attrs), true
}

// message reads
//
//	<165>1 2026-11-23T13:21:01.123Z host app 42 ID7 [id@32473 k="v"] text   RFC 5424
//	<34>Nov 23 13:21:01 host app[42]: text                                  RFC 3164
//	Nov 23 13:21:01 host app[42]: text                                      files
//	2026-11-23T13:21:01.123456+00:00 host app[42]: text                     rsyslog's files
//	<6>text                                                                 the kernel, systemd
//
// body is the text. If network is set, the host becomes an attribute; in a file
// it is this one.
func (p *Parser) message(b []byte, at int64, network bool) (r Record, body []byte, ok bool) {
	r.Level = unknown
	pri, n := priority(b)
	if n > 0 {
		r.Level = uint8(pri & 7)
		p.fields.put(signal.LabelFacility, facilities[pri>>3])
		b = b[n:]
		if has(b, "1 ") {
			mark := p.fields.n
			if t, body, ok := p.rfc5424(b[2:], at, network); ok {
				r.Time = t
				return r, body, true
			}
			p.fields.back(mark)
		}
	}
	ns, w := syslogStamp(b, at)
	if w == 0 {
		if ns, w = isoAt(b); w > 0 && bytes.IndexByte(b[:w], ' ') >= 0 {
			w = 0 // no syslog daemon writes it so
		}
	}
	if w == 0 || w >= len(b) || b[w] != ' ' {
		if n > 0 && len(b) > 0 && tag(b) > 0 { // <30>app[42]: text, as programs send it to /dev/log
			b = p.program(b)
		}
		return r, b, n > 0
	}
	rest := b[w+1:]
	if n > 0 && tag(rest) > 0 { // no host, as glibc's syslog() sends it to the daemon
		r.Time = believe(ns, at)
		return r, p.program(rest), true
	}
	host, tail := word(rest)
	if len(host) == 0 || len(host) > 255 || len(tail) < 2 || n == 0 && !tagged(host, tail[1:]) {
		if n == 0 {
			return r, nil, false
		}
		r.Time = believe(ns, at)
		return r, rest, true
	}
	if network {
		p.fields.add(LabelSyslogHost, host)
	}
	r.Time = believe(ns, at)
	return r, p.program(tail[1:]), true
}

// priority reads <0> … <191>.
func priority(b []byte) (pri, n int) {
	if len(b) < 3 || b[0] != '<' {
		return 0, 0
	}
	for n = 1; n < len(b) && n < 4 && isDigit(b[n]); n++ {
		pri = pri*10 + int(b[n]-'0')
	}
	if n == 1 || n >= len(b) || b[n] != '>' || pri > 191 {
		return 0, 0
	}
	return pri, n + 1
}

// tag returns the length of app[42]: or app: at the start of b, 0 if there is
// none. RFC 3164 allows 32 bytes; programs write more.
func tag(b []byte) int {
	for i := 0; i < len(b) && i < 128; i++ {
		switch c := b[i]; {
		case c == ':':
			if i > 0 && (i+1 == len(b) || b[i+1] == ' ') {
				return i + 1
			}
		case c == '[':
			end := bytes.IndexByte(b[i:], ']')
			if i > 0 && end > 1 && has(b[i+end+1:], ":") {
				return i + end + 2
			}
			return 0
		case c <= ' ' || c == '"' || c == '{' || c == '=':
			return 0
		}
	}
	return 0
}

// tagged reports whether host and b look as if a syslog daemon had written
// them, and not a program a severity and a name.
func tagged(host, b []byte) bool {
	n := tag(b)
	return n > 0 && levelOf(host) == unknown && levelOf(b[:n-1]) == unknown
}

// program takes the tag off, notes it, and returns the text.
func (p *Parser) program(b []byte) (body []byte) {
	n := tag(b)
	if n == 0 {
		return b
	}
	name, id, found := bytes.Cut(b[:n-1], []byte("["))
	p.fields.add(signal.LabelAppName, name)
	if found {
		p.fields.add(signal.LabelProcID, bytes.TrimSuffix(id, []byte("]")))
	}
	b = b[n:]
	if has(b, " ") {
		b = b[1:]
	}
	return b
}

// rfc5424 reads what lies behind the version.
func (p *Parser) rfc5424(b []byte, at int64, network bool) (ns int64, body []byte, ok bool) {
	stamp, b := word(b)
	if string(stamp) != "-" {
		t, n := isoAt(stamp)
		if n != len(stamp) || n == 0 {
			return 0, nil, false
		}
		ns = believe(t, at)
	}
	host, b := word(b)
	app, b := word(b)
	proc, b := word(b)
	id, b := word(b)
	if len(id) == 0 || len(b) < 2 {
		return 0, nil, false
	}
	b, ok = p.structured(b[1:])
	if !ok {
		return 0, nil, false
	}
	if network {
		p.named(LabelSyslogHost, host)
	}
	p.named(signal.LabelAppName, app)
	p.named(signal.LabelProcID, proc)
	p.named(signal.LabelMsgID, id)
	if has(b, " ") {
		b = b[1:]
	}
	return ns, bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), true
}

// named adds a field of the header, in which - stands for nothing.
func (p *Parser) named(key string, v []byte) {
	if string(v) != "-" {
		p.fields.add(key, v)
	}
}

// structured reads [id name="value" …]…, or -, and returns what lies behind it.
// An element's value becomes an attribute called id.name.
func (p *Parser) structured(b []byte) (rest []byte, ok bool) {
	if has(b, "-") {
		return b[1:], len(b) == 1 || b[1] == ' '
	}
	if !has(b, "[") {
		return nil, false
	}
	for has(b, "[") {
		n := 1
		for n < len(b) && b[n] > ' ' && b[n] != ']' && b[n] != '=' && b[n] != '"' {
			n++
		}
		id := b[1:n]
		if len(id) == 0 || n == len(b) {
			return nil, false
		}
		b = b[n:]
		for has(b, " ") {
			if b, ok = p.parameter(id, b[skipSpace(b, 0):]); !ok {
				return nil, false
			}
		}
		if !has(b, "]") {
			return nil, false
		}
		b = b[1:]
	}
	return b, len(b) == 0 || b[0] == ' '
}

// parameter reads name="value".
func (p *Parser) parameter(id, b []byte) (rest []byte, ok bool) {
	if has(b, "]") {
		return b, true // a space before the bracket
	}
	eq := bytes.IndexByte(b, '=')
	if eq < 1 || eq+1 >= len(b) || b[eq+1] != '"' || bytes.IndexByte(b[:eq], ' ') >= 0 {
		return nil, false
	}
	end, escaped := stringEnd(b, eq+2)
	if end >= len(b) {
		return nil, false
	}
	v := b[eq+2 : end]
	if escaped {
		v = p.unslashed(v)
	}
	if key := p.fields.room(len(id) + 1 + eq); key != nil {
		copy(key, id)
		key[len(id)] = '.'
		copy(key[len(id)+1:], b[:eq])
		p.fields.add(view(key), v)
	}
	return b[end+1:], true
}

// unslashed returns v with \", \\ and \] as the byte behind the backslash.
func (p *Parser) unslashed(v []byte) []byte {
	dst := p.fields.room(len(v))
	if dst == nil {
		return v
	}
	n := 0
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) && (v[i+1] == '"' || v[i+1] == '\\' || v[i+1] == ']') {
			i++
		}
		dst[n] = v[i]
		n++
	}
	return dst[:n]
}
