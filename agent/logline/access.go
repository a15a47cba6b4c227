package logline

import "bytes"

// access reads the lines of web servers and proxies: common and combined,
//
//	10.0.0.1 - ann [23/Nov/2026:13:21:01 +0000] "GET /x?y=1 HTTP/1.1" 200 5123 "referrer" "agent" …
//
// with a virtual host in front of it or without, and Envoy's,
//
//	[2026-11-23T13:21:01.123Z] "GET /x HTTP/1.1" 200 - 0 5123 12 11 "-" "agent" …
//
// A status of 500 and more is an error, of 400 and more a warning, what is
// below is information.
func (p *Parser) access(b []byte, at int64) (r Record, ok bool) {
	bracket := bytes.IndexByte(b, '[')
	if bracket < 0 || bracket > 512 {
		return Record{Level: unknown}, false
	}
	front := b[:bracket]
	ns, n := stampAt(b[bracket+1:], at)
	if n == 0 {
		return Record{Level: unknown}, false
	}
	rest := b[bracket+1+n:]
	if !has(rest, `] "`) {
		return Record{Level: unknown}, false
	}
	request, rest, whole := quoted(rest[2:])
	status, rest := word(rest)
	if !whole || len(status) != 3 || !allDigits(status) {
		return Record{Level: unknown}, false
	}
	if bracket == 0 {
		rest = received(rest)
	} else if !p.accessClient(front) {
		return Record{Level: unknown}, false
	}
	size, rest := bareWord(rest)
	p.request(request)
	p.fields.add("http.response.status_code", status)
	if allDigits(size) {
		p.fields.add("http.response.body.size", size)
	}
	if bracket == 0 {
		_, rest = bareWord(rest) // two durations
		_, rest = bareWord(rest)
	}
	_, rest, whole = quoted(rest) // referrer; Envoy: x-forwarded-for
	if whole {
		if agent, _, whole := quoted(rest); whole && string(agent) != "-" {
			p.fields.add("user_agent.original", agent)
		}
	}
	level := uint8(info)
	switch {
	case status[0] >= '5':
		level = failure
	case status[0] == '4':
		level = warning
	}
	return Record{Time: believe(ns, at), Level: level}, true
}

// received passes over what Envoy says between the status and the bytes it
// sent: flags, reasons, and, the first number, the bytes it received.
func received(b []byte) []byte {
	for range 5 {
		w, rest := bareWord(b)
		if w == nil {
			_, rest, _ = quoted(b)
		}
		if b = rest; allDigits(w) {
			break
		}
	}
	return b
}

// accessClient reads [VHOST ]CLIENT IDENT USER, where USER may hold spaces.
func (p *Parser) accessClient(front []byte) bool {
	client, rest := word(front)
	ident, user := word(rest)
	if len(client) == 0 || len(ident) == 0 || len(user) < 2 {
		return false
	}
	if bytes.IndexByte(client, ':') > 0 && string(ident) != "-" && bytes.IndexByte(client, '.') > 0 { // vhost:port first
		client, user = ident, user[min(2, len(user)):]
	}
	p.fields.add("client.address", client)
	if user = bytes.TrimSpace(user); string(user) != "-" && string(user) != `""` && string(user) != "- -" {
		p.fields.add("user.name", user)
	}
	return true
}

// request takes METHOD PATH[?QUERY] PROTOCOL apart; what is none is left alone.
func (p *Parser) request(b []byte) {
	method, rest := word(b)
	if len(method) < 3 || len(method) > 16 || len(rest) < 2 {
		return
	}
	for _, c := range method {
		if c < 'A' || c > 'Z' {
			return
		}
	}
	target, _ := word(rest)
	path, query, _ := bytes.Cut(target, []byte("?"))
	p.fields.add("http.request.method", method)
	p.fields.add("url.path", path)
	p.fields.add("url.query", query)
}

// quoted reads "text" behind spaces; a backslash keeps the quote behind it.
func quoted(b []byte) (text, rest []byte, whole bool) {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '"' {
		return nil, b, false
	}
	end, _ := stringEnd(b, i+1)
	if end >= len(b) {
		return nil, b, false
	}
	return b[i+1 : end], b[end+1:], true
}

// word reads what stands up to the next space, behind spaces.
func word(b []byte) (w, rest []byte) {
	i := skipSpace(b, 0)
	end := i
	for end < len(b) && b[end] != ' ' {
		end++
	}
	return b[i:end], b[end:]
}

// bareWord is word, but leaves what is quoted where it is.
func bareWord(b []byte) (w, rest []byte) {
	if i := skipSpace(b, 0); i < len(b) && b[i] == '"' {
		return nil, b
	}
	return word(b)
}
