package logline

import "bytes"

// klog reads what Kubernetes' programs write (and glog, which klog is from):
//
//	I1123 13:21:01.123456    1234 controller.go:42] text
//
// The stamp has no year and no zone: it is the one nearest to the time of
// reading, in UTC.
func (p *Parser) klog(b []byte, at int64) (r Record, ok bool) {
	if len(b) < 24 || !isDigit(b[1]) || b[5] != ' ' {
		return Record{Level: unknown}, false
	}
	level := uint8(unknown)
	switch b[0] {
	case 'I':
		level = info
	case 'W':
		level = warning
	case 'E':
		level = failure
	case 'F':
		level = critical
	}
	d := date{month: two(b[1:]), day: two(b[3:])}
	if level == unknown || !d.clockAt(b[6:]) || uint(d.month-1) > 11 || d.day < 1 || d.day > 31 || d.hour > 23 || d.min > 59 {
		return Record{Level: unknown}, false
	}
	frac, n := fraction(b[14:])
	n = skipSpace(b, n+14)
	rest := b[n:]
	end := bytes.IndexByte(rest, ']')
	colon := bytes.IndexByte(rest[:max(end, 0)], ':')
	space := bytes.IndexByte(rest[:max(colon, 0)], ' ')
	if space < 0 || !allDigits(rest[:space]) || !allDigits(rest[colon+1:end]) {
		return Record{Level: unknown}, false
	}
	p.fields.add("thread.id", rest[:space])
	p.fields.add("code.file.path", rest[space+1:colon])
	p.fields.add("code.line.number", rest[colon+1:end])
	return Record{Time: believe(d.nearest(at, frac), at), Level: level}, true
}
