package hub

import (
	"bytes"
	"encoding/base64"
)

// The names of the default pack that code refers to; the others stand in prefixes
// and keys only.
const (
	nameCard = iota
	nameEmail
	nameURL
	namePrivateKey
	firstOther
)

// packNames are the markers of the default pack.
func packNames() []string {
	names := []string{nameCard: "card", nameEmail: "email", nameURL: "url_password", namePrivateKey: "private_key"}
	return append(names, "aws_access_key", "aws_secret_key", "github_token", "gitlab_token", "slack_token", "slack_webhook",
		"stripe_key", "google_api_key", "npm_token", "api_token", "jwt", "authorization", "api_key", "password", "secret", "token")
}

// prefixes are secrets that say by their first letters what they are: the prefix
// in its case, then at least so many bytes of an alphabet.
func prefixes() []struct {
	name, prefix string
	least        int
	of           func(c byte) bool
} {
	return []struct {
		name, prefix string
		least        int
		of           func(c byte) bool
	}{
		// docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html: AKIA long-term, ASIA temporary,
		// ABIA bearer, ACCA context-specific; 20 characters in all.
		{"aws_access_key", "AKIA", 16, upperAlnum}, {"aws_access_key", "ASIA", 16, upperAlnum},
		{"aws_access_key", "ABIA", 16, upperAlnum}, {"aws_access_key", "ACCA", 16, upperAlnum},
		// docs.github.com "About authentication to GitHub": token formats.
		{"github_token", "ghp_", 30, alnum}, {"github_token", "gho_", 30, alnum}, {"github_token", "ghu_", 30, alnum},
		{"github_token", "ghs_", 30, alnum}, {"github_token", "ghr_", 30, alnum}, {"github_token", "github_pat_", 22, ident},
		// docs.gitlab.com/security/tokens: token prefixes.
		{"gitlab_token", "glpat-", 20, dashed}, {"gitlab_token", "gldt-", 20, dashed}, {"gitlab_token", "glrt-", 20, dashed},
		{"gitlab_token", "glcbt-", 20, dashed}, {"gitlab_token", "glptt-", 20, dashed}, {"gitlab_token", "glsoat-", 20, dashed},
		{"gitlab_token", "glft-", 20, dashed}, {"gitlab_token", "glagent-", 20, dashed}, {"gitlab_token", "glimt-", 20, dashed},
		// api.slack.com/authentication/token-types
		{"slack_token", "xoxb-", 10, dashed}, {"slack_token", "xoxp-", 10, dashed}, {"slack_token", "xoxa-", 10, dashed},
		{"slack_token", "xoxr-", 10, dashed}, {"slack_token", "xoxs-", 10, dashed}, {"slack_token", "xoxe-", 10, dashed},
		{"slack_token", "xoxe.", 10, dotted}, {"slack_token", "xoxo-", 10, dashed}, {"slack_token", "xoxd-", 10, dashed},
		{"slack_token", "xoxc-", 10, dashed}, {"slack_token", "xapp-", 10, dashed},
		{"slack_webhook", "hooks.slack.com/services/", 20, func(c byte) bool { return alnum(c) || c == '/' }},
		// docs.stripe.com/keys; a publishable key (pk_) is public.
		{"stripe_key", "sk_live_", 16, alnum}, {"stripe_key", "sk_test_", 16, alnum}, {"stripe_key", "rk_live_", 16, alnum},
		{"stripe_key", "rk_test_", 16, alnum}, {"stripe_key", "whsec_", 16, base64Byte},
		{"google_api_key", "AIza", 35, dashed}, {"google_api_key", "GOCSPX-", 20, dashed}, {"google_api_key", "ya29.", 20, dotted},
		{"npm_token", "npm_", 36, alnum},
		{"api_token", "pypi-AgEI", 20, dashed}, {"api_token", "sk-ant-", 20, dashed}, {"api_token", "sk-proj-", 20, dashed},
		{"api_token", "dop_v1_", 40, alnum}, {"api_token", "shpat_", 30, alnum}, {"api_token", "hvs.", 24, dashed},
		{"api_token", "NRAK-", 27, alnum}, {"api_token", "AGE-SECRET-KEY-1", 50, upperAlnum},
	}
}

// keys are the names whose values are secret, in any case; what stands before
// them in the name does not matter: db_password, X-Auth-Token, accessToken.
func keys() []struct{ name, key string } {
	return []struct{ name, key string }{
		{"aws_secret_key", "secret_access_key"}, {"aws_secret_key", "secretaccesskey"}, {"aws_secret_key", "aws_secret_key"},
		{"password", "password"}, {"password", "passwd"}, {"password", "passphrase"},
		{"password", "pwd="}, {"password", "pwd:"}, {"password", `pwd"`}, {"password", `pwd\`}, {"password", "pwd'"},
		{"secret", "secret"}, {"secret", "secret_key"}, {"secret", "secret-key"}, {"secret", "secretkey"},
		{"token", "token"},
		{"api_key", "apikey"}, {"api_key", "api_key"}, {"api_key", "api-key"}, {"api_key", "app_key"}, {"api_key", "appkey"},
		{"api_key", "access_key"}, {"api_key", "accesskey"}, {"api_key", "access-key"},
		{"api_key", "account_key"}, {"api_key", "accountkey"}, {"api_key", "license_key"}, {"api_key", "licensekey"},
		{"secret", "private_key"}, {"secret", "privatekey"}, {"secret", "private-key"},
		{"secret", "signing_key"}, {"secret", "signingkey"}, {"secret", "encryption_key"}, {"secret", "encryptionkey"},
	}
}

func digit(c byte) bool      { return c-'0' < 10 }
func alnum(c byte) bool      { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' }
func upperAlnum(c byte) bool { return digit(c) || c >= 'A' && c <= 'Z' }
func ident(c byte) bool      { return alnum(c) || c == '_' }
func dashed(c byte) bool     { return alnum(c) || c == '_' || c == '-' }
func dotted(c byte) bool     { return alnum(c) || c == '_' || c == '-' || c == '.' }
func base64Byte(c byte) bool { return alnum(c) || c == '+' || c == '/' || c == '=' }
func credential(c byte) bool { return base64Byte(c) || c == '_' || c == '-' || c == '.' || c == '~' }
func blank(c byte) bool      { return c == ' ' || c == '\t' }

// run returns where the bytes that are of an alphabet end, from at on.
func run(line []byte, at int, of func(byte) bool) int {
	for at < len(line) && of(line[at]) {
		at++
	}
	return at
}

// prefixed finds a prefix and at least so many bytes of an alphabet behind it.
func prefixed(least int, of func(byte) bool) finder {
	return func(line []byte, at, n int) (int, int, manner) {
		if end := run(line, at+n, of); end-at-n >= least {
			return at, end, plain
		}
		return 0, 0, plain
	}
}

// jwt finds a JSON web token: two parts of base64 and a signature, which an
// unsigned one leaves empty; or the five parts of an encrypted one.
func jwt(line []byte, at, _ int) (int, int, manner) {
	const least = 10 // bytes of a part: {"alg":1} are 12
	header := run(line, at, dashed)
	if header-at < least || header == len(line) || line[header] != '.' {
		return header, header, plain
	}
	body := run(line, header+1, dashed)
	if body == len(line) || line[body] != '.' || body-header-1 < least && body != header+1 {
		return header, header, plain
	}
	end := run(line, body, dotted)
	for line[end-1] == '.' {
		end--
	}
	return at, end, plain
}

// privateKey finds the beginning of a PEM block with a private key, and its end.
func privateKey(line []byte, at, n int) (int, int, manner) {
	head := line[at+n : min(at+n+48, len(line))]
	i := bytes.Index(head, []byte("PRIVATE KEY"))
	if i < 0 || bytes.IndexByte(head[:i], '"') >= 0 {
		return 0, 0, plain
	}
	rest := line[at+n:]
	if i := bytes.Index(rest, []byte("-----END")); i >= 0 {
		return at, at + n + endOfPEM(rest, i), plain
	}
	if i := bytes.IndexByte(rest, '"'); i >= 0 { // cut off within a string of JSON
		return at, at + n + i, plain
	}
	return at, len(line), opened
}

// endOfPEM returns where the line of -----END…----- ends, which begins at i.
func endOfPEM(p []byte, i int) int {
	from := i + len("-----END")
	if j := bytes.Index(p[from:min(from+60, len(p))], []byte("-----")); j >= 0 {
		return from + j + len("-----")
	}
	return from
}

// keyLine looks at a line behind the beginning of a private key: how much of it
// belongs to the key, and whether the next line may.
func keyLine(line []byte) (end int, goesOn bool) {
	if i := bytes.Index(line, []byte("-----END")); i >= 0 {
		return endOfPEM(line, i), false
	}
	if bytes.HasPrefix(line, []byte(markerHead)) {
		return 0, true
	}
	text := bytes.TrimSpace(line)
	if len(text) == 0 {
		return 0, true
	}
	if run(text, 0, base64Byte) == len(text) && len(text) <= 128 {
		return len(line), true
	}
	for _, h := range [...]string{"Proc-Type:", "DEK-Info:", "Version:", "Comment:"} {
		if bytes.HasPrefix(text, []byte(h)) {
			return len(line), true
		}
	}
	return 0, false
}

// bearer finds the credential behind the word, which must look like one: a long
// word with a digit in it.
func bearer(line []byte, at, n int) (int, int, manner) {
	end := run(line, at+n, credential)
	if word := line[at+n : end]; len(word) < 16 || bytes.IndexFunc(word, func(r rune) bool { return r >= '0' && r <= '9' }) < 0 {
		return 0, 0, plain
	}
	return at + n, end, plain
}

// basic finds the credential behind the word: base64 of user:password.
func basic(line []byte, at, n int) (int, int, manner) {
	end := run(line, at+n, base64Byte)
	word := bytes.TrimRight(line[at+n:end], "=")
	var plainText [192]byte
	head := word[:min(len(word), 256)]
	if m, err := base64.RawStdEncoding.Decode(plainText[:], head); err != nil || bytes.IndexByte(plainText[:m], ':') < 0 {
		return 0, 0, plain
	}
	return at + n, end, plain
}

// email finds the address around an @.
func email(line []byte, at int) (from, to int) {
	local := func(c byte) bool { return alnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-' }
	from = at
	for from > 0 && at-from < 64 && local(line[from-1]) {
		from--
	}
	from = behindEscape(line, from)
	for from < at && line[from] == '.' {
		from++
	}
	if from >= at || bytes.HasSuffix(line[:from], []byte("://")) || string(line[from:at]) == "git" { // ssh's users, and git's
		return 0, 0
	}
	to = run(line, at+1, func(c byte) bool { return alnum(c) || c == '.' || c == '-' })
	for to > at+1 && (line[to-1] == '.' || line[to-1] == '-') {
		to--
	}
	domain := line[at+1 : to]
	dot := bytes.LastIndexByte(domain, '.')
	if dot < 1 {
		return 0, 0
	}
	top := domain[dot+1:]
	if len(top) < 2 || len(top) > 24 || run(top, 0, func(c byte) bool { return alnum(c) && !digit(c) }) < len(top) || notTop(top) {
		return 0, 0
	}
	if first := bytes.IndexByte(domain, '.'); run(domain[:first], 0, digit) == first || domain[0] == '-' { // package@1.2.rc, user@1000.service
		return 0, 0
	}
	return from, to
}

// notTop reports whether the last part of what looks like a domain is none:
// a unit of systemd, a file's ending, a name within a cluster.
func notTop(top []byte) bool {
	for _, s := range [...]string{
		"service", "socket", "slice", "scope", "target", "timer", "mount", "swap", "path", "device",
		"png", "jpg", "jpeg", "gif", "svg", "webp", "js", "css", "ts", "html", "json", "go", "py", "java", "jar",
		"local", "internal", "localdomain", "lan",
	} {
		if string(top) == s {
			return true
		}
	}
	return false
}

// behindEscape moves on over the letters of an escape sequence that from stands in.
func behindEscape(line []byte, from int) int {
	n := 0
	for n < from && line[from-1-n] == '\\' {
		n++
	}
	switch {
	case n%2 == 0 || from >= len(line):
		return from
	case line[from] == 'u':
		return min(from+5, len(line))
	case bytes.IndexByte([]byte("nrtbf"), line[from]) >= 0:
		return from + 1
	}
	return from
}

// urlPassword finds the password in scheme://user:password@host, by its @. A
// password may have an @ itself: the last one before the host counts.
func urlPassword(line []byte, at int) (from, to int) {
	const mostUserinfo = 256
	colon, begin := -1, -1
	for i := at - 1; i >= 0 && at-i <= mostUserinfo; i-- {
		c := line[i]
		if c == '/' && i > 1 && line[i-1] == '/' && line[i-2] == ':' {
			begin = i + 1
			break
		}
		if c <= ' ' || c == '/' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' {
			return 0, 0
		}
		if c == ':' {
			colon = i
		}
	}
	if begin < 0 || colon < begin {
		return 0, 0
	}
	for i := at + 1; i < len(line); i++ {
		c := line[i]
		if c == '@' {
			at = i
		}
		if c <= ' ' || c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == ',' || c == '\\' {
			break
		}
	}
	return colon + 1, at
}

// A card's number has 13 to 19 digits, ISO/IEC 7812. 13 were given out by Visa
// alone, long ago.
const (
	shortestCard = 13
	longestCard  = 19
)

func ofCard(c byte) bool { return digit(c) || c == ' ' || c == '-' }

// cards yields the card numbers in line[from:to], which is of digits, blanks and
// dashes: whole groups of digits, or several in one of the usual layouts with
// the same separator between them.
func cards(line []byte, from, to int, yield func(from, to int)) {
	type group struct{ from, to int }
	var groups [5]group // the latest last
	for i := from; i < to; {
		if !digit(line[i]) {
			i++
			continue
		}
		g := group{i, min(run(line, i, digit), to)}
		i = g.to
		copy(groups[:], groups[1:])
		groups[len(groups)-1] = g
		if g.to-g.from >= shortestCard && g.to-g.from <= longestCard && alone(line, g.from, g.to) && isCard(line[g.from:g.to]) {
			yield(g.from, g.to)
		}
		for _, layout := range [...][]int{{4, 4, 4, 4, 3}, {4, 4, 4, 4}, {4, 6, 5}, {4, 6, 4}} {
			parts := groups[len(groups)-len(layout):]
			fits := true
			for n, want := range layout {
				fits = fits && parts[n].to-parts[n].from == want
				fits = fits && (n == 0 || parts[n].from == parts[n-1].to+1 && line[parts[n-1].to] == line[parts[0].to])
			}
			if fits && alone(line, parts[0].from, g.to) && isCard(line[parts[0].from:g.to]) {
				yield(parts[0].from, g.to)
				break
			}
		}
	}
}

// numberOfJSON says how a number is replaced that begins at from: where it is the
// value of a member of an object, by a string.
func numberOfJSON(line []byte, from int) manner {
	for from > 0 && blank(line[from-1]) {
		from--
	}
	if from > 2 && line[from-1] == ':' && line[from-2] == '"' && line[from-3] != '\\' {
		return quoted
	}
	return plain
}

// alone reports whether what stands in line[from:to] is no part of a longer word
// or number.
func alone(line []byte, from, to int) bool {
	from = min(from, len(line))
	if from > 0 {
		if c := line[from-1]; ident(c) && behindEscape(line, from-1) != from || c == '.' && from > 1 && digit(line[from-2]) {
			return false
		}
	}
	if to < len(line) {
		if c := line[to]; ident(c) || c == '.' && to+1 < len(line) && digit(line[to+1]) {
			return false
		}
	}
	return true
}

// isCard reports whether digits, with separators between them, are a number that
// an issuer gives out and whose check digit is right.
func isCard(p []byte) bool {
	var d [longestCard]byte
	n := 0
	for _, c := range p {
		if !digit(c) {
			continue
		}
		if n == len(d) {
			return false
		}
		d[n] = c - '0'
		n++
	}
	if n < shortestCard || !issued(d[:n]) {
		return false
	}
	sum := 0
	for i := range n {
		v := int(d[n-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// issued reports whether the first digits are an issuer's, and the length one
// that it uses.
func issued(d []byte) bool {
	first := int(d[0])*1000 + int(d[1])*100 + int(d[2])*10 + int(d[3])
	in := func(lo, hi int) bool { return first >= lo && first <= hi }
	n := len(d)
	switch {
	case in(4000, 4999): // Visa
		return n == 13 || n == 16 || n == 19
	case in(5100, 5599), in(2221, 2720): // Mastercard
		return n == 16
	case in(3400, 3499), in(3700, 3799): // American Express
		return n == 15
	case in(3000, 3059), in(3600, 3699), in(3800, 3899): // Diners Club
		return n == 14 || n == 16 || n == 19
	case in(6011, 6011), in(6440, 6599), in(3528, 3589), in(6200, 6299): // Discover, JCB, UnionPay
		return n >= 16
	}
	return false
}
