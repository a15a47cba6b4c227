package logline

import "bytes"

// nginxError reads
//
//	2026/11/23 13:21:01 [error] 42#43: *7 text, client: 10.0.0.1, server: x, request: "GET /x HTTP/1.1", …
func (p *Parser) nginxError(b []byte, at int64) (r Record, ok bool) {
	ns, n := isoAt(b)
	if n == 0 || b[4] != '/' || !has(b[n:], " [") {
		return Record{Level: unknown}, false
	}
	rest := b[n+2:]
	end := bytes.IndexByte(rest, ']')
	level := levelOf(rest[:max(end, 0)])
	if level == unknown || !has(rest[end+1:], " ") {
		return Record{Level: unknown}, false
	}
	rest = rest[end+2:]
	pid, tail, found := bytes.Cut(rest, []byte("#"))
	tid, tail, colon := bytes.Cut(tail, []byte(":"))
	if !found || !colon || !allDigits(pid) || !allDigits(tid) {
		return Record{Level: unknown}, false
	}
	p.fields.add("process.pid", pid)
	p.fields.add("thread.id", tid)
	if v := between(tail, ", client: ", ','); v != nil {
		p.fields.add("client.address", v)
		p.fields.add("server.address", between(tail, ", server: ", ','))
		p.request(between(tail, `, request: "`, '"'))
	}
	return Record{Time: believe(ns, at), Level: level}, true
}

// apacheError reads
//
//	[Mon Nov 23 13:21:01.123456 2026] [core:error] [pid 42:tid 43] [client 10.0.0.1:5678] AH00124: text
func (p *Parser) apacheError(b []byte, at int64) (r Record, ok bool) {
	if !has(b, "[") {
		return Record{Level: unknown}, false
	}
	ns, n := ctimeAt(b[1:])
	if n == 0 || !has(b[1+n:], "] [") {
		return Record{Level: unknown}, false
	}
	rest := b[n+4:]
	end := bytes.IndexByte(rest, ']')
	if end < 0 {
		return Record{Level: unknown}, false
	}
	level := levelOf(rest[bytes.IndexByte(rest[:end], ':')+1 : end])
	if level == unknown {
		return Record{Level: unknown}, false
	}
	rest = rest[end+1:]
	for has(rest, " [") {
		if end = bytes.IndexByte(rest, ']'); end < 0 {
			break
		}
		p.apachePart(rest[2:end])
		rest = rest[end+1:]
	}
	return Record{Time: believe(ns, at), Level: level}, true
}

func (p *Parser) apachePart(b []byte) {
	switch {
	case has(b, "pid "):
		pid, tid, _ := bytes.Cut(b[4:], []byte(":tid "))
		p.fields.add("process.pid", pid)
		p.fields.add("thread.id", tid)
	case has(b, "client "), has(b, "remote "):
		client := b[7:]
		if i := bytes.LastIndexByte(client, ':'); i > 0 && allDigits(client[i+1:]) {
			client = client[:i]
		}
		p.fields.add("client.address", client)
	}
}

// between returns what stands behind the last mark, up to stop or the end; nil without a mark.
func between(b []byte, mark string, stop byte) []byte {
	i := bytes.LastIndex(b, []byte(mark))
	if i < 0 {
		return nil
	}
	b = b[i+len(mark):]
	if end := bytes.IndexByte(b, stop); end >= 0 {
		b = b[:end]
	}
	return b
}
