// Package logline reads one log line: what form it has, when it was written,
// how bad it is, which trace it belongs to, and what else it names; and it says
// which lines belong together as one stack trace.
//
// The hub calls a Parser for each line of a stream, package tail a Joiner, and
// the syslog receiver ParseSyslog. It calls package signal alone.
//
// What always holds:
//
//  1. No line, however made, makes it panic, read outside the line, write to
//     it, or take more than time in proportion to its length.
//  2. The line stays whole: what is read is said in addition. A line that does
//     not have the form says nothing, and ok is false.
//  3. out is a valid flat label set if attrs was one; a line adds at most 32
//     pairs and 4 KiB to it, no key above 64 bytes and no value above 1 KiB.
//  4. A time is 0, or lies between 1970 and one day behind the time of reading. A
//     number below 1e8 is a duration and no time (of seconds, milli-, micro- and
//     nanoseconds its size decides). A stamp without a zone is in UTC; one without
//     a year has the year that brings it nearest; one whose zone has a name that
//     means several zones is no time.
//  5. JSON is read on its upper level only: a "level" inside a string or an object
//     is not the line's. Of two members that say the same the better known name
//     counts, of equals the last.
//  6. A Joiner looks at each line once and never ahead. A line that begins with a
//     brace is JSON, and never joined to anything.
//
// What becomes of a line: JSON gives time, severity, and ids of trace and span;
// vendors read the rest themselves. logfmt gives each of its pairs, klog,
// access logs, error logs and syslog their header, under OpenTelemetry's names:
// http.request.method, url.path, url.query, http.response.status_code,
// http.response.body.size, user_agent.original, user.name, client.address,
// server.address, code.file.path, code.line.number, process.pid, thread.id, and
// signal's for syslog, and trace_id and span_id in lower-case hexadecimal. An
// answer of 500 and more is an error, of 400 and more a warning. fatal and panic
// are critical, trace and verbose are debug.
//
// Memory: Parse keeps no reference to line or attrs; out is the caller's attrs,
// or lies in the Parser until its next call, and must not be given to it as
// attrs. A Parser costs about 2 KiB, a Joiner 40 bytes; each belongs to one
// goroutine, and nothing allocates once a stream runs (but ParseSyslog, the
// function, allocates its out). No goroutines.
//
// The package does not redact, count, or decide what is sent; it knows no time
// zones but those of the stamps; it joins no message of several lines that is
// not a trace, unless a pattern says so; and it reads nested JSON only where a
// library is known to put its severity or its ids there (log, trace, span, dd).
package logline

import (
	"fmt"
	"strings"
	"sync"
)

// Format is the form of a stream's lines.
type Format uint8

// The formats. The zero Format reads nothing.
const (
	None        Format = iota
	Auto               // whichever of the others fits
	JSON               // an object per line
	Logfmt             // key=value key="quoted value"
	Klog               // I1123 13:21:01.123456    1234 file.go:42] text
	Access             // nginx's and Apache's common and combined, Envoy's default
	NginxError         // 2026/11/23 13:21:01 [error] 42#42: *7 text
	ApacheError        // [Mon Nov 23 13:21:01.123456 2026] [core:error] [pid 42:tid 43] text
	Syslog             // RFC 5424 and 3164, with and without <PRI>
	Text               // a stamp, a severity word, or both, in front of a text
)

var formatNames = [...]string{
	None: "none", Auto: "auto", JSON: "json", Logfmt: "logfmt", Klog: "klog", Access: "access",
	NginxError: "nginx_error", ApacheError: "apache_error", Syslog: "syslog", Text: "text",
}

// String returns the format's name as it stands in a configuration.
func (f Format) String() string {
	if int(f) < len(formatNames) {
		return formatNames[f]
	}
	return "invalid"
}

// ParseFormat returns the format of that name; the error lists the names.
func ParseFormat(s string) (Format, error) {
	for f, name := range formatNames {
		if s == name {
			return Format(f), nil
		}
	}
	return None, fmt.Errorf("%q is no format of log lines; there are %s", s, strings.Join(formatNames[:], ", "))
}

// Record is what a line says about itself.
type Record struct {
	Time  int64 // Unix nanoseconds; 0: the line does not say, or nothing one could believe
	Level uint8 // syslog severity 0..7, signal.LevelUnknown otherwise
}

// Parser reads the lines of one stream. It belongs to one goroutine.
type Parser struct {
	format Format
	guess  guess // of Auto
	clock  clock
	*scratch
}

// scratch is what a parser needs while it has a line, which is most of it.
type scratch struct {
	fields fields
	found  found
	plain  [256]byte // a key or a value of JSON without its escapes
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Rest lets others use what the parser needs only while it has a line. What Parse
// returned is not valid after it.
func (p *Parser) Rest() {
	if p.scratch != nil {
		p.found.clock = nil
		scratches.Put(p.scratch)
		p.scratch = nil
	}
}

func (p *Parser) wake() {
	if p.scratch == nil {
		p.scratch = scratches.Get().(*scratch)
		p.fields.reset()
	}
}

// NewParser returns a parser of lines in the form f.
func NewParser(f Format) *Parser { return &Parser{format: f} }

// Parse reads one line, which has no line end. at is when it was read, in Unix
// nanoseconds. attrs is the line's flat label set so far; out is attrs with
// what the line says merged in, and is valid until the next Parse; it must not
// come back as attrs. If ok is false the line has not the parser's form, and
// out is attrs; so it is with None, but ok.
func (p *Parser) Parse(line []byte, at int64, attrs []byte) (r Record, out []byte, ok bool) {
	p.wake()
	switch p.format {
	case None:
		return Record{Level: unknown}, attrs, true
	case Auto:
		r, ok = p.auto(line, at)
	default:
		r, ok = p.as(p.format, line, at)
	}
	if !ok {
		p.fields.reset()
		return Record{Level: unknown}, attrs, false
	}
	return r, p.fields.merge(attrs), true
}

// as reads a line in the form f, and leaves what it finds in p.fields.
func (p *Parser) as(f Format, line []byte, at int64) (r Record, ok bool) {
	if len(line) == 0 {
		return Record{Level: unknown}, false
	}
	switch f {
	case JSON:
		r, ok = p.json(line, at)
	case Logfmt:
		r, ok = p.logfmt(line, at, p.format == Auto)
	case Klog:
		r, ok = p.klog(line, at)
	case Access:
		r, ok = p.access(line, at)
	case NginxError:
		r, ok = p.nginxError(line, at)
	case ApacheError:
		r, ok = p.apacheError(line, at)
	case Syslog:
		r, ok = p.syslog(line, at)
	case Text:
		r, ok = text(line, at)
	}
	if !ok {
		p.fields.reset()
	}
	return r, ok
}
