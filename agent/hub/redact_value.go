package hub

import "bytes"

// What stands behind a key: password=x, "password":"x", \"password\":\"x\",
// password: x, :password=>"x", user[password]=x, --password x, <password>x<.

// value is where a value stands.
type value struct {
	from, to int
	inQuotes bool // the value is quoted
	keyed    byte // the quote around the key, 0 if there is none
	escaped  bool // that quote has a backslash: the value is JSON within a string
	sep      byte // '=', ':', ' ' (behind a flag), '>' (in XML)
	spaced   bool // there is a blank behind the separator
}

// keyValue returns the finder of values of a key; prose says that the key also
// stands in sentences, where "token: unexpected" is no secret.
func keyValue(prose bool) finder {
	return func(line []byte, at, n int) (int, int, manner) {
		end := at + n
		if c := line[end-1]; !alnum(c) { // the key came with what stands behind it
			end--
			for !alnum(line[end-1]) {
				end--
			}
		}
		v, ok := valueBehind(line, at, confirmed(line, end))
		if !ok {
			return 0, 0, plain
		}
		text := line[v.from:v.to]
		if len(text) == 0 || masked(text) {
			return 0, 0, plain
		}
		if v.inQuotes {
			return v.from, v.to, plain
		}
		switch string(text) {
		case "null", "true", "false", "nil", "none", "None", "undefined":
			return 0, 0, plain
		}
		if v.keyed == '"' && v.sep == ':' && !v.escaped {
			return v.from, v.to, quoted
		}
		if prose && v.keyed == 0 && v.sep == ':' && v.spaced && (len(text) < 8 || !bytes.ContainsAny(text, "0123456789")) {
			return 0, 0, plain
		}
		if end-at == len("pwd") && text[0] == '/' {
			return 0, 0, plain // the working directory
		}
		return v.from, v.to, plain
	}
}

// confirmed returns where a key ends that has one of the usual endings.
func confirmed(line []byte, end int) int {
	for _, s := range [...]string{"_confirmation", "Confirmation", "_confirm", "Confirm", "_hash", "1", "2"} {
		if bytes.HasPrefix(line[end:], []byte(s)) {
			return end + len(s)
		}
	}
	return end
}

// masked reports whether a value has been made unreadable by who wrote it.
func masked(p []byte) bool {
	for _, c := range p {
		if c != '*' {
			return false
		}
	}
	return true
}

// valueBehind finds the value of the key that has its word at at and ends at end.
func valueBehind(line []byte, at, end int) (v value, ok bool) {
	if end < len(line) && ident(line[end]) {
		return v, false
	}
	begin := at
	for begin > 0 && at-begin < 64 && dashed(line[begin-1]) {
		begin--
	}
	if bytes.HasSuffix(line[:begin], []byte(markerHead)) {
		return v, false // what we put there ourselves
	}
	i := run(line, end, func(c byte) bool { return c == '\\' })
	if i < len(line) && quote(line[i]) {
		v.keyed, v.escaped = line[i], i > end
		end = i + 1
	}
	switch {
	case bytes.HasPrefix(line[end:], []byte("]")):
		end++
	case bytes.HasPrefix(line[end:], []byte("%5D")):
		end += 3
	}
	i = min(run(line, end, blank), end+4)
	if i >= len(line) {
		return v, false
	}
	rest := line[i:]
	switch {
	case bytes.HasPrefix(rest, []byte("=>")):
		v.sep, i = '=', i+2
	case bytes.HasPrefix(rest, []byte(":=")):
		v.sep, i = '=', i+2
	case bytes.HasPrefix(rest, []byte("==")), bytes.HasPrefix(rest, []byte("::")), bytes.HasPrefix(rest, []byte("=~")):
		return v, false
	case rest[0] == '=' || rest[0] == ':':
		v.sep, i = rest[0], i+1
	case bytes.HasPrefix(rest, []byte("%3D")):
		v.sep, i = '=', i+3
	case rest[0] == '>' && i == end && begin > 0 && (line[begin-1] == '<' || line[begin-1] == ':'):
		v.sep, i = '>', i+1
	case i > end && v.keyed == 0 && begin+2 < at+1 && bytes.HasPrefix(line[begin:], []byte("--")):
		v.sep = ' '
	default:
		return v, false
	}
	from := i
	i = min(run(line, i, blank), i+4)
	v.spaced = i > from
	if i < len(line) && line[i] == '[' && !bytes.HasPrefix(line[i:], []byte(markerHead)) { // the first of a list
		i++
	}
	v.extent(line, i)
	return v, v.from < v.to
}

func quote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// extent finds where the value that begins at i ends.
func (v *value) extent(line []byte, i int) {
	v.from, v.to = i, i
	escapes := run(line, i, func(c byte) bool { return c == '\\' }) - i
	if open := i + escapes; open < len(line) && quote(line[open]) {
		v.inQuotes = true
		v.from = open + 1
		v.to = closing(line, v.from, line[open], escapes)
		return
	}
	if i < len(line) && line[i] == '{' {
		return // its own keys say what is secret
	}
	if v.sep == '>' {
		v.to = len(line)
		if n := bytes.IndexByte(line[i:], '<'); n >= 0 {
			v.to = i + n
		}
		return
	}
	v.to = bare(line, i)
}

// closing returns where the string ends that was opened by a quote with so many
// backslashes before it; the end of the line if it is cut off.
func closing(line []byte, i int, q byte, escapes int) int {
	for i < len(line) {
		n := run(line, i, func(c byte) bool { return c == '\\' }) - i
		if i+n == len(line) {
			break
		}
		if line[i+n] != q {
			i += n + 1
			continue
		}
		switch {
		case escapes == 0 && n%2 == 0:
			return i + n
		case escapes > 0 && n <= escapes:
			return i
		}
		i += n + 1
	}
	return len(line)
}

// bare returns where a value without quotes ends: at a blank, a quote, or what
// separates it from the next; closing brackets at its end are not its own.
func bare(line []byte, i int) int {
	from := i
	for i < len(line) {
		c := line[i]
		if bytes.HasPrefix(line[i:], []byte(markerHead)) {
			if n := bytes.IndexByte(line[i:min(len(line), i+len(markerHead)+mostName+1)], ']'); n > 0 {
				i += n + 1
				from = i
				continue
			}
		}
		if c <= ' ' || quote(c) || c == ',' || c == ';' || c == '&' || c == '|' {
			break
		}
		if c == '\\' && i+1 < len(line) {
			if next := line[i+1]; quote(next) || next == '\\' && i+2 < len(line) && (line[i+2] == 'n' || line[i+2] == '"') || bytes.IndexByte([]byte("nrt"), next) >= 0 {
				break
			}
			if bytes.HasPrefix(line[i:], []byte(`\u0026`)) || bytes.HasPrefix(line[i:], []byte(`\u003c`)) || bytes.HasPrefix(line[i:], []byte(`\u003e`)) {
				break
			}
			i++
		}
		i++
	}
	for i > from && bytes.IndexByte([]byte(")]}>"), line[i-1]) >= 0 {
		i--
	}
	return i
}

// authorization finds the credential of an Authorization header, behind the
// scheme's name if it has one.
func authorization(line []byte, at, n int) (int, int, manner) {
	v, ok := valueBehind(line, at, at+n)
	if !ok || masked(line[v.from:v.to]) {
		return 0, 0, plain
	}
	end := run(line, v.from, dashed)
	if end >= len(line) || line[end] != ' ' || !scheme(line[v.from:end]) {
		return v.from, v.to, plain
	}
	from := end + 1
	to := v.to
	if !v.inQuotes {
		switch line[v.from] | 0x20 {
		case 'd': // Digest: parameters with quotes
			to = len(line)
		case 'a': // AWS4-HMAC-SHA256: parameters without
			if to = bytes.IndexByte(line[from:], '"'); to < 0 {
				to = len(line) - from
			}
			to += from
		default:
			to = bare(line, from)
		}
	}
	return from, to, plain
}

// scheme reports whether word names a way of authorization.
func scheme(word []byte) bool {
	for _, s := range [...]string{"basic", "bearer", "token", "digest", "negotiate", "ntlm", "apikey", "aws4-hmac-sha256", "hmac", "key"} {
		if bytes.EqualFold(word, []byte(s)) {
			return true
		}
	}
	return false
}
