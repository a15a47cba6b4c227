package logline

import "bytes"

// How far behind the stamp a severity is looked for. The words of a text that
// happen to be severities lie behind that, mostly.
const (
	textBytes = 160
	textWords = 12
)

// text reads lines that begin with a stamp, a severity word, or both, in
// whatever order and brackets. A severity counts where it stands alone in
// capitals, in brackets or between tabs, or, among the first two words, before a colon.
func text(b []byte, at int64) (r Record, ok bool) {
	r.Level = unknown
	i := opening(b, 0)
	switch {
	case i+3 < len(b) && b[i] >= 'A' && b[i] <= 'Z' && b[i+1] == ',' && b[i+2] == ' ' && b[i+3] == '[': // I, [2026-…: Ruby
		if r.Level = levelOf(b[i : i+1]); r.Level != unknown {
			i += 4
		}
	case i > 0 && b[i-1] == '[' && i+8 < len(b) && b[i+1] == ' ' && isDigit(b[i+2]): // [I 2026-…: Tornado
		if r.Level = levelOf(b[i : i+1]); r.Level != unknown {
			i += 2
		}
	}
	if j, role := redisRole(b[i:]); role {
		i += j
		if ns, n := stampAt(b[i:], at); n > 0 {
			return Record{Time: believe(ns, at), Level: redisMark(b[i+n:])}, true
		}
		return r, false
	}
	ns, n := stampAt(b[i:], at)
	if n == 0 {
		if n = clockOnly(b[i:]); n > 0 { // a time of no day: only the severity counts
			r.Level, _ = severity(b[i+n:], textWords)
			return r, r.Level != unknown
		}
		if cry := outcry(b[i:]); cry != unknown {
			return Record{Level: cry}, true
		}
		level, end := severity(b, 2)
		if r.Level == unknown {
			r.Level = level
		}
		if level != unknown { // INFO [2026-…, WARNING 2026-…
			i = opening(b, end)
			ns, n = stampAt(b[i:], at)
		}
		r.Time = believe(ns, at)
		return r, r.Level != unknown || n > 0
	}
	r.Time = believe(ns, at)
	if r.Level == unknown {
		r.Level, _ = severity(b[i+n:], textWords)
	}
	return r, true
}

// outcry returns the severity of what a runtime says when a program ends, or
// nearly so; unknown if it is something else.
func outcry(b []byte) uint8 {
	if len(b) < 7 {
		return unknown
	}
	switch b[0] {
	case 'p', 'f', 'u':
		if has(b, "panic: ") || has(b, "fatal error: ") || has(b, "unexpected fault address ") {
			return critical
		}
	case 't':
		if has(b, "thread '") && bytes.Contains(b, []byte(" panicked at ")) {
			return critical
		}
	case 'E', 'U', 'P', 'F':
		if has(b, "Exception in thread ") || has(b, "Unhandled exception. ") || has(b, "PHP Fatal error: ") || has(b, "Fatal error: ") {
			return critical
		}
	case 'T':
		if has(b, "Traceback (most recent call last)") {
			return failure
		}
	}
	return unknown
}

// clockOnly returns the length of 13:21:01.123 or 1:21PM at the start of b, 0
// if there is none.
func clockOnly(b []byte) (n int) {
	var d date
	if d.clockAt(b) {
		_, n = fraction(b[8:])
		return n + 8
	}
	for n < len(b) && n < 2 && isDigit(b[n]) {
		n++
	}
	if n == 0 || n+5 > len(b) || b[n] != ':' || two(b[n+1:]) > 59 || b[n+4] != 'M' || b[n+3] != 'A' && b[n+3] != 'P' {
		return 0
	}
	return n + 5
}

// opening returns the first byte at or behind b[i] that is no space, bracket or colour.
func opening(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\t', '[', '(', ']', ':':
			i++
		case '\x1b':
			i = colour(b, i)
		default:
			return i
		}
	}
	return i
}

// colour returns what lies behind the escape sequence at b[i].
func colour(b []byte, i int) int {
	for i++; i < len(b); i++ {
		if isLetter(b[i]) {
			return i + 1
		}
	}
	return i
}

// severity returns the first severity among the first words of b, and what lies
// behind it.
func severity(b []byte, words int) (level uint8, end int) {
	b = b[:min(len(b), textBytes)]
	prev := byte(' ')
	for i, n := 0, 0; i < len(b); {
		c := b[i]
		if c == '\x1b' {
			i, prev = colour(b, i), ' '
			continue
		}
		if !isLetter(c) && !isDigit(c) {
			prev = c
			i++
			continue
		}
		lo, capitals := i, true
		for i < len(b) && (isLetter(b[i]) || isDigit(b[i]) || b[i] == '_') {
			capitals = capitals && b[i] < 'a'
			i++
		}
		next := byte(' ')
		if i < len(b) {
			next = b[i]
		}
		if isLetter(c) && i-lo <= 13 && stands(prev, next, i-lo, n, capitals) {
			if level = levelOf(b[lo:i]); level != unknown && (next == ':' || next == ']' || next == '>' || !ordinary(b[lo:i])) {
				return level, i
			}
		}
		if n++; n == words {
			break
		}
	}
	return unknown, len(b)
}

// stands reports whether a word between prev and next, the nth of the line, is
// set apart as severities are.
func stands(prev, next byte, length, n int, capitals bool) bool {
	switch {
	case (prev == '[' || prev == '<' || prev == '/') && (next == ']' || next == '>'), prev == '\t' && next == '\t':
		return true
	case length < 3:
		return false
	case next == ':' && n < 2:
		return true
	case !capitals:
		return false
	}
	switch prev {
	case ' ', '\t', '[', '(', '<', '|', '/', ':', '=', '.':
	default:
		return false
	}
	switch next {
	case ' ', '\t', ']', ')', '>', '|', '/', ':', '[', ',', '\x1b', '+', ';':
		return true
	}
	return false
}

// ordinary reports whether a word in capitals is as often something else.
func ordinary(w []byte) bool {
	switch string(w) {
	case "LOG", "NOTE", "SYSTEM", "AUDIT", "CONFIG", "FINE", "FAIL":
		return true
	}
	return false
}

// redisRole reads PID:ROLE and a space, as in 1:M 23 Nov 2026 13:21:01.123 * text.
func redisRole(b []byte) (n int, ok bool) {
	for n < len(b) && n < 8 && isDigit(b[n]) {
		n++
	}
	if n == 0 || n+3 > len(b) || b[n] != ':' || b[n+2] != ' ' {
		return 0, false
	}
	switch b[n+1] {
	case 'M', 'S', 'C', 'X':
		return n + 3, true
	}
	return 0, false
}

// redisMark returns the severity of the mark between Redis' stamp and its text.
func redisMark(b []byte) uint8 {
	if len(b) < 2 || b[0] != ' ' {
		return unknown
	}
	switch b[1] {
	case '.':
		return debug
	case '-':
		return info
	case '*':
		return notice
	case '#':
		return warning
	}
	return unknown
}
