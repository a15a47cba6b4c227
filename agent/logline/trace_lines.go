package logline

import "bytes"

// within says in what kind of a trace the line before stood.
type within uint8

const (
	calm        within = iota
	javaHead           // a line that is an exception's name and message
	frames             // of Java, .NET, Node, Ruby
	nodeSource         // FILE.js:N, with which Node begins to say why it ends; its source follows
	nodeCaret          // the line of the source
	nodeReason         // the caret below it, and what follows up to the reason
	nodeFrames         // frames behind such a beginning
	python             // frames of a traceback
	pythonEnd          // the exception behind them
	pythonBlank        // an empty line behind that
	pythonChain        // "During handling …", "The above exception …"
	goDump             // a panic and its goroutines
	goFrames           // function, tab file.go:N, as zap and pkg/errors write them
	rustHead           // a panic whose message is on the next line
	rust               // what follows
	php                // a fatal error and its frames
	dotnet             // info: Category[0], whose text follows indented
)

// startsTrace reports whether a line that begins with c can begin or be part of
// a trace while none is open, small letters apart: space and tab, and a few others.
func startsTrace(c byte) bool {
	const (
		low  = 1<<'\t' | 1<<' ' | 1<<'-' | 1<<'/'
		high = 1<<('T'-64) | 1<<('C'-64) | 1<<('S'-64) | 1<<('P'-64) | 1<<('F'-64) | 1<<('U'-64) | 1<<('E'-64) | 1<<('['-64)
	)
	if c < 64 {
		return low>>c&1 != 0
	}
	return c < 128 && uint64(high)>>(c-64)&1 != 0
}

// trace reports whether line goes on with the record before, and notes what it
// says about the next one.
func (j *Joiner) trace(line []byte) bool {
	was := j.in
	if was != calm {
		if next := after(was, line); next != calm {
			j.in = next
			return true
		}
	}
	next, goesOn := begins(line)
	j.in = next
	if next == javaHead && (was == frames || was == javaHead || was == goFrames) {
		return false // a second trace, with no line of a logger before it
	}
	return goesOn
}

// begins looks at a line that goes on with no trace that is open.
func begins(line []byte) (next within, goesOn bool) {
	if len(line) == 0 {
		return calm, false
	}
	switch line[0] {
	case ' ', '\t':
		return indented(line)
	case 'T':
		if has(line, "Traceback (most recent call last)") {
			return python, true
		}
	case 'C':
		if has(line, "Caused by: ") {
			return frames, true
		}
	case 'E':
		if has(line, "Exception in thread ") {
			return frames, false
		}
	case 'U':
		if has(line, "Unhandled exception. ") || has(line, "Unhandled Exception: ") {
			return frames, false
		}
	case '-':
		if has(line, "--- End of ") {
			return frames, true
		}
	case '[':
		if has(line, "[stacktrace]") {
			return php, true
		}
	case 'S':
		if has(line, "Stack trace:") {
			return php, true
		}
		if has(line, "SIGQUIT: ") || has(line, "SIGABRT: ") || has(line, "SIGSEGV: ") || has(line, "SIGBUS: ") {
			return goDump, false
		}
	case 'P':
		if has(line, "PHP Stack trace:") {
			return php, true
		}
		if has(line, "PHP Fatal error:") {
			return php, false
		}
	case 'F':
		if has(line, "Fatal error: Uncaught ") {
			return php, false
		}
	default:
		return small(line)
	}
	return calm, false
}

// indented is begins for lines that begin with a space or a tab.
func indented(line []byte) (next within, goesOn bool) {
	t := bytes.TrimLeft(line, " \t")
	if len(t) < 4 {
		return calm, false
	}
	switch t[0] {
	case 'a':
		if has(t, "at ") {
			return frames, true
		}
	case '.':
		if has(t, "... ") && len(t) > 4 && isDigit(t[4]) {
			return frames, true
		}
	case 'C', 'S', 'W':
		if has(t, "Caused by: ") || has(t, "Suppressed: ") || has(t, "Wrapped by: ") {
			return frames, true
		}
	case '-':
		if has(t, "--- End of ") || has(t, "---> ") {
			return frames, true
		}
	case 'f':
		if has(t, "from ") && bytes.Contains(t, []byte(":in ")) {
			return frames, true
		}
	case 'F':
		if has(t, `File "`) {
			return python, true
		}
	case '+':
		if has(t, "+ Exception Group Traceback ") {
			return python, true
		}
	case 't':
		if has(t, "thrown in ") {
			return calm, true
		}
	}
	if line[0] == '\t' && goFile(t) {
		return goFrames, true
	}
	return calm, false
}

// small is begins for lines that begin with a small letter or a slash.
func small(line []byte) (next within, goesOn bool) {
	switch line[0] {
	case 'p':
		if has(line, "panic: ") {
			return goDump, false
		}
	case 'f':
		if has(line, "fatal error: ") {
			return goDump, false
		}
	case 'u':
		if has(line, "unexpected fault address ") {
			return goDump, false
		}
	case 'g':
		if goroutine(line) {
			return goDump, true
		}
	case 's':
		if has(line, "stack backtrace:") {
			return rust, true
		}
	case 't':
		if has(line, "thread '") && bytes.Contains(line, []byte(" panicked at ")) {
			if line[len(line)-1] == ':' {
				return rustHead, false
			}
			return rust, false
		}
	}
	// What remains begins with a name: up to the first byte that is in none.
	n := 0
	for n < len(line) && inName(line[n]) {
		n++
	}
	if n < len(line) && line[n] != ':' && line[n] != '(' {
		return calm, false // nearly always
	}
	dot, slash := bytes.LastIndexByte(line[:n], '.'), bytes.LastIndexByte(line[:n], '/')
	switch {
	case n == len(line):
		if dot > 0 && exception(line) {
			return javaHead, true
		}
		// A function of Go alone on a line. One with a small letter could as well
		// be example.com/index.html.
		if dot > slash+1 && dot+1 < n && (has(line, "main.") || slash > 0 && line[0] != '/' && 'A' <= line[dot+1] && line[dot+1] <= 'Z') {
			return goFrames, true
		}
	case line[n] == ':':
		if has(line, "node:internal/") || has(line, "file:///") {
			return position(line, bytes.LastIndexByte(line, ':'))
		}
		if n == 4 && line[len(line)-1] == ']' && dotnetLevel(line[:4]) {
			return dotnet, false
		}
		if dot > 0 && (n+1 == len(line) || line[n+1] == ' ') && exception(line[:n]) {
			return javaHead, true
		}
		if dot > 0 {
			return position(line, n)
		}
	case line[n] == '(' && dot == n-1 && bytes.IndexByte(line, ' ') < 0 && bytes.Contains(line, []byte(").")):
		return goFrames, true // path/pkg.(*Type).Method
	}
	return calm, false
}

// position looks at FILE:…, where FILE is line[:colon].
func position(line []byte, colon int) (next within, goesOn bool) {
	n := colon + 1
	for n < len(line) && isDigit(line[n]) {
		n++
	}
	file := line[:colon]
	switch {
	case n == colon+1 || bytes.IndexByte(file, ' ') >= 0:
	case n == len(line):
		switch string(file[bytes.LastIndexByte(file, '.')+1:]) {
		case "js", "mjs", "cjs", "ts", "mts", "cts", "jsx", "tsx":
			return nodeSource, false
		}
		if has(line, "node:internal/") {
			return nodeSource, false
		}
	case line[len(line)-1] == '\'' && has(line[n:], ":in ") && bytes.Count(line[n:], []byte("'")) <= 2:
		return frames, true // app.rb:3:in 'Object#foo', and nothing behind it
	}
	return calm, false
}

// after looks at a line behind one that stood in a trace, and returns calm if
// it does not belong to it.
func after(was within, line []byte) within {
	blank := len(bytes.TrimLeft(line, " \t")) == 0
	space := len(line) > 0 && (line[0] == ' ' || line[0] == '\t')
	switch was {
	case javaHead, frames:
		if space && !blank || was == frames && closing(line) {
			return frames
		}
	case nodeFrames:
		if space || blank || closing(line) || has(line, "Node.js v") || has(line, "Require stack:") || has(line, "- /") {
			return nodeFrames
		}
	case nodeSource:
		if !blank && !dated(line) {
			return nodeCaret
		}
	case nodeCaret:
		if t := bytes.TrimLeft(line, " \t"); len(t) > 0 && t[0] == '^' {
			return nodeReason
		}
	case nodeReason:
		if blank {
			return nodeReason
		}
		if !dated(line) {
			return nodeFrames
		}
	case dotnet:
		if has(line, "      ") {
			return dotnet
		}
	case python, pythonEnd, pythonBlank, pythonChain:
		return afterPython(was, line, blank, space)
	case goDump:
		if blank || line[0] == '\t' || goLine(line) {
			return goDump
		}
	case goFrames:
		if len(line) > 0 && line[0] == '\t' || goName(line) && bytes.IndexByte(line, ' ') < 0 {
			return goFrames
		}
	case rustHead:
		if !dated(line) {
			return rust
		}
	case rust:
		if blank || space || has(line, "stack backtrace:") || has(line, "note: ") {
			return rust
		}
	case php:
		if blank || space || line[0] == '#' && len(line) > 1 && isDigit(line[1]) || has(line, "PHP  ") || has(line, "Stack trace:") ||
			has(line, "Next ") || has(line, `"}`) || has(line, "[stacktrace]") {
			return php
		}
	}
	return calm
}

func afterPython(was within, line []byte, blank, space bool) within {
	switch {
	case was == python:
		if space && !blank {
			return python
		}
		n := 0
		for n < len(line) && inName(line[n]) {
			n++
		}
		if n > 0 && !isDigit(line[0]) && (n == len(line) || line[n] == ':') {
			return pythonEnd
		}
	case blank:
		if was == pythonEnd {
			return pythonBlank
		}
		return was
	case was == pythonBlank:
		if has(line, "During handling of the above exception") || has(line, "The above exception was the direct cause") {
			return pythonChain
		}
	case was == pythonChain:
		if has(line, "Traceback (most recent call last)") {
			return python
		}
	}
	return calm
}

// goLine reports whether the Go runtime writes such a line in its dumps.
func goLine(line []byte) bool {
	switch line[0] {
	case 'g':
		if goroutine(line) {
			return true
		}
	case 'c':
		if has(line, "created by ") {
			return true
		}
	case 'p':
		if has(line, "panic: ") {
			return true
		}
	case '[':
		return has(line, "[signal ") || has(line, "[originating from goroutine ")
	case 'P':
		return has(line, "PC=")
	case '.':
		return has(line, "...additional frames elided...") || has(line, "...") && bytes.Contains(line, []byte(" frames elided..."))
	}
	if has(line, "exit status ") || has(line, "runtime stack:") || has(line, "runtime: ") || has(line, "fatal error: ") {
		return true
	}
	if i := bytes.IndexByte(line, '('); i > 0 && line[len(line)-1] == ')' {
		return bytes.IndexByte(line[:i], ' ') < 0 // pkg.Func(0x1, {0x2, 0x3})
	}
	// A register: rax    0x0
	i := bytes.IndexByte(line, ' ')
	if i < 2 || i > 6 {
		return false
	}
	rest := bytes.TrimLeft(line[i:], " ")
	return has(rest, "0x") && bytes.IndexByte(rest, ' ') < 0
}

func goroutine(line []byte) bool {
	const head = "goroutine "
	return has(line, head) && len(line) > len(head) && isDigit(line[len(head)]) && line[len(line)-1] == ':'
}

// goFile reports whether t begins as path/file.go:N.
func goFile(t []byte) bool {
	i := bytes.Index(t, []byte(".go:"))
	return i > 0 && i+4 < len(t) && isDigit(t[i+4]) && bytes.IndexByte(t[:i], ' ') < 0
}

// goName reports whether b is a package's name, a dot, and a function's.
func goName(b []byte) bool {
	b = b[bytes.LastIndexByte(b, '/')+1:]
	i := bytes.IndexByte(b, '.')
	if i < 1 || i+1 >= len(b) || !isLetter(b[0]) {
		return false
	}
	c := b[i+1]
	return c == '(' || isLetter(c) || c == '_'
}

// exception reports whether a name is that of something thrown.
func exception(name []byte) bool {
	return bytes.HasSuffix(name, []byte("Exception")) || bytes.HasSuffix(name, []byte("Error")) || bytes.HasSuffix(name, []byte("Throwable"))
}

// dotnetLevel reports whether .NET's console logger begins its lines so.
func dotnetLevel(b []byte) bool {
	switch string(b) {
	case "trce", "dbug", "info", "warn", "fail", "crit":
		return true
	}
	return false
}

// closing reports whether Node ends an error's properties so.
func closing(line []byte) bool { return string(line) == "}" || string(line) == "]" }

// dated reports whether line begins with a date, as no line of a trace does.
func dated(line []byte) bool {
	return len(line) > 4 && isDigit(line[0]) && (line[4] == '-' || line[4] == '/')
}

// inName reports whether c may stand in a qualified name or a path.
func inName(c byte) bool {
	const (
		low  = (1<<10-1)<<'0' | 1<<'.' | 1<<'/' | 1<<'$' | 1<<'-'
		high = (1<<26-1)<<('a'-64) | (1<<26-1)<<('A'-64) | 1<<('_'-64)
	)
	bits := uint64(low)
	if c >= 64 {
		bits = high
	}
	return bits>>(c&63)&1 != 0 && c < 128
}

func has(line []byte, prefix string) bool {
	return len(line) >= len(prefix) && string(line[:len(prefix)]) == prefix
}
