package logline

import "bytes"

// logfmt reads key=value key="quoted value" bare. Stamp, severity and ids go
// where they belong, caller becomes code.file.path and code.line.number, the
// message stays where it is, and the other pairs become attributes under their
// own names. Without strict a line is logfmt if it begins with a pair; with it,
// if there are two and one of them is a stamp, a severity or a message.
func (p *Parser) logfmt(b []byte, at int64, strict bool) (r Record, ok bool) {
	f := &p.found
	*f = found{at: at, level: unknown, clock: &p.clock}
	pairs, message := 0, false
	i := skipBlank(b, 0)
	for i < len(b) {
		lo := i
		for i < len(b) && b[i] > ' ' && b[i] != '=' && b[i] != '"' {
			i++
		}
		key := b[lo:i]
		if i >= len(b) || b[i] != '=' || len(key) == 0 { // a bare word, or something strange
			if pairs == 0 {
				return Record{Level: unknown}, false
			}
			for i < len(b) && b[i] > ' ' {
				i++
			}
			i = skipBlank(b, i)
			continue
		}
		var v []byte
		var whole bool
		if v, i, whole = p.logfmtValue(b, i+1); !whole && pairs == 0 {
			return Record{Level: unknown}, false
		}
		pairs++
		switch view(key) {
		case "msg", "message", "event":
			message = true
		default:
			p.logfmtPair(key, v)
		}
		i = skipBlank(b, i)
	}
	if pairs == 0 || strict && (pairs < 2 || !message && f.time == 0 && f.level == unknown) {
		return Record{Level: unknown}, false
	}
	f.ids.add(&p.fields)
	return Record{Time: f.time, Level: f.level}, true
}

// logfmtPair uses one pair.
func (p *Parser) logfmtPair(key, v []byte) {
	f := &p.found
	m := topMember(view(key))
	switch m.role {
	case idle, roleLogObject, roleTraceObject, roleSpanObject, roleDatadogObject, roleShortLevel:
		if k := view(key); k == "caller" || k == "source" {
			p.source(v)
		} else {
			p.fields.add(k, v)
		}
	case roleTime:
		if m.rank >= f.timeRank {
			if t := f.clock.stampIn(v, f.at); t != 0 {
				f.time, f.timeRank = t, m.rank
			}
		}
	case rolePythonLevel, roleLogbackLevel, roleOTelLevel:
		f.number(v, m)
	default:
		f.text(v, m)
	}
}

// source notes file.go:42, or the name alone.
func (p *Parser) source(v []byte) {
	if i := bytes.LastIndexByte(v, ':'); i > 0 && allDigits(v[i+1:]) {
		p.fields.add("code.file.path", v[:i])
		p.fields.add("code.line.number", v[i+1:])
		return
	}
	p.fields.add("code.file.path", v)
}

// logfmtValue reads the value at b[i]; whole is false if it is quoted and its
// end is missing.
func (p *Parser) logfmtValue(b []byte, i int) (v []byte, end int, whole bool) {
	if i >= len(b) || b[i] != '"' {
		end = i
		for end < len(b) && b[end] > ' ' {
			end++
		}
		return b[i:end], end, true
	}
	hi, escaped := stringEnd(b, i+1)
	if hi >= len(b) {
		return b[i+1:], len(b), false
	}
	v = b[i+1 : hi]
	if escaped {
		v = p.unescaped(v)
	}
	return v, hi + 1, true
}

// unescaped returns v without its escapes, in scratch; as it is if that is
// used up, or an escape is wrong.
func (p *Parser) unescaped(v []byte) []byte {
	dst := p.fields.room(len(v))
	if dst == nil {
		return v
	}
	n, ok := unescape(dst, v)
	if !ok {
		return v
	}
	return dst[:n]
}

// skipBlank is skipSpace for a grammar in which every control character ends a word.
func skipBlank(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' {
		i++
	}
	return i
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) {
			return false
		}
	}
	return len(b) > 0
}
