package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

func testRedactor(items ...string) *redactor {
	return newRedactor(items, func(string) *atomic.Int64 { return new(atomic.Int64) })
}

// secrets are lines with what must not be left of each. The secrets are made up.
func secrets() []struct{ line, want, secret string } {
	long := strings.Repeat("aB3", 14)
	return []struct{ line, want, secret string }{
		{"using AKIAIOSFODNN7EXAMPLE now", "using [redacted:aws_access_key] now", "AKIAIOSFODNN7EXAMPLE"},
		{`"ASIAIOSFODNN7EXAMPLE"`, `"[redacted:aws_access_key]"`, "IOSFODNN7"},
		{"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY=[redacted:aws_secret_key]", "wJalrXUtnFEMI"},
		{`{"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/b"}`, `{"SecretAccessKey": "[redacted:aws_secret_key]"}`, "wJalrXUtnFEMI"},
		{"clone with ghp_" + long, "clone with [redacted:github_token]", long},
		{"github_pat_11ABCDEFG0abcdefghijkl_XYZ!", "[redacted:github_token]!", "11ABCDEFG0"},
		{"(glpat-ABCdef123456_-xyz7890)", "([redacted:gitlab_token])", "ABCdef123456"},
		{"xoxb-123456789012-abcdefGHIJ, then", "[redacted:slack_token], then", "123456789012"},
		{"POST https://hooks.slack.com/services/T0001/B0001/abcDEF123456 200", "POST https://[redacted:slack_webhook] 200", "abcDEF123456"},
		{"sk_live_4eC39HqLyjWDarjtT1zdp7dc.", "[redacted:stripe_key].", "4eC39HqLyjWDarjtT1zdp7dc"},
		{"key AIzaSyA1234567890abcdefghijklmnopqrstuv ok", "key [redacted:google_api_key] ok", "SyA1234567890"},
		{"npm_" + long, "[redacted:npm_token]", long},
		{"hvs.CAESIJ0123456789abcdefghij end", "[redacted:api_token] end", "CAESIJ"},
		{"got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl.", "got [redacted:jwt].", "eyJzdWIiOiIxMjM0In0"},
		{"unsigned eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0. end", "unsigned [redacted:jwt]. end", "eyJzdWIiOiIxMjM0In0"},
		{"Authorization: Bearer abc", "Authorization: Bearer [redacted:authorization]", "Bearer abc"},
		{`"authorization":"Basic dXNlcjpwYXNz","x":1`, `"authorization":"Basic [redacted:authorization]","x":1`, "dXNlcjpwYXNz"},
		{"authorization: Token 4711abc", "authorization: Token [redacted:authorization]", "4711abc"},
		{`Authorization: Digest username="u", response="6629fae4"`, "Authorization: Digest [redacted:authorization]", "6629fae4"},
		{"Authorization:[Bearer abcdef0123456789ZZ]", "Authorization:[Bearer [redacted:authorization]]", "abcdef0123456789ZZ"},
		{`"Authorization":["Bearer q"]`, `"Authorization":["Bearer [redacted:authorization]"]`, "Bearer q"},
		{"sent bearer abcdefgh12345678-x, ok", "sent bearer [redacted:authorization], ok", "abcdefgh12345678"},
		{"header Basic dXNlcjpwYXNzd29yZA== sent", "header Basic [redacted:authorization] sent", "dXNlcjpwYXNzd29yZA"},
		{"password=hunter2 user=x", "password=[redacted:password] user=x", "hunter2"},
		{"db_password: hunter2", "db_password: [redacted:password]", "hunter2"},
		{`{"password":"a \"b\" c","n":1}`, `{"password":"[redacted:password]","n":1}`, `b\"`},
		{`{"msg":"{\"password\":\"hunter2\",\"a\":1}"}`, `{"msg":"{\"password\":\"[redacted:password]\",\"a\":1}"}`, "hunter2"},
		{`{"Password" : 1234, "b": 2}`, `{"Password" : "[redacted:password]", "b": 2}`, "1234"},
		{"{'passwd': 'hunter2'}", "{'passwd': '[redacted:password]'}", "hunter2"},
		{":password=>\"hunter2\", :x=>1", ":password=>\"[redacted:password]\", :x=>1", "hunter2"},
		{"user[password]=hunter2&x=1", "user[password]=[redacted:password]&x=1", "hunter2"},
		{`"password_confirmation"=>"hunter2"`, `"password_confirmation"=>"[redacted:password]"`, "hunter2"},
		{"Server=db;Uid=sa;Pwd=hunter2;", "Server=db;Uid=sa;Pwd=[redacted:password];", "hunter2"},
		{"mysql --password hunter2 db", "mysql --password [redacted:password] db", "hunter2"},
		{"--client-secret=abc123", "--client-secret=[redacted:secret]", "abc123"},
		{"<soap:Password>hunter2</soap:Password>", "<soap:Password>[redacted:password]</soap:Password>", "hunter2"},
		{"passphrase = 'correct horse battery'", "passphrase = '[redacted:password]'", "horse"},
		{"GET /x?access_token=abc.DEF-1&y=2 200", "GET /x?access_token=[redacted:token]&y=2 200", "abc.DEF"},
		{`X-Api-Key: 0a1b2c3d4e`, `X-Api-Key: [redacted:api_key]`, "0a1b2c3d4e"},
		{"api_key=x", "api_key=[redacted:api_key]", "=x"},
		{`"apiKey":"k-1"`, `"apiKey":"[redacted:api_key]"`, "k-1"},
		{`msg="secret=abc\nnext line"`, `msg="secret=[redacted:secret]\nnext line"`, "abc"},
		{`url=http://h/?token=abc\u0026x=1`, `url=http://h/?token=[redacted:token]\u0026x=1`, "abc"},
		{"Config(user=x, password=abc)", "Config(user=x, password=[redacted:password])", "abc"},
		{"AccountKey=abc/def==;EndpointSuffix=x", "AccountKey=[redacted:api_key];EndpointSuffix=x", "abc/def"},
		{`{"password":"cut off in the mid`, `{"password":"[redacted:password]`, "cut off"},
		{"-----BEGIN RSA PRIVATE KEY-----\\nMIIEow\\n-----END RSA PRIVATE KEY----- tail", "[redacted:private_key] tail", "MIIEow"},
		{`{"k":"-----BEGIN PRIVATE KEY-----\nMIIEow\n-----END PRIVATE KEY-----\n","x":1}`, `{"k":"[redacted:private_key]\n","x":1}`, "MIIEow"},
		{"-----BEGIN PGP PRIVATE KEY BLOCK-----", "[redacted:private_key]", "BEGIN"},
		{"card 4111111111111111 charged", "card [redacted:card] charged", "4111111111111111"},
		{"card=4111-1111-1111-1111;", "card=[redacted:card];", "1111-1111"},
		{"5500 0000 0000 0004", "[redacted:card]", "0000 0004"},
		{`"pan":"378282246310005"`, `"pan":"[redacted:card]"`, "378282246310005"},
		{"amex 3782 822463 10005.", "amex [redacted:card].", "822463"},
		{"x 6011111111111117, y", "x [redacted:card], y", "6011111111111117"},
		{`{"card":4111111111111111}`, `{"card":"[redacted:card]"}`, "4111111111111111"},
		{`{"m":"{\"card\": 4111111111111111,\"pin_password\":1234}"}`, `{"m":"{\"card\": [redacted:card],\"pin_password\":[redacted:password]}"}`, "4111111111111111"},
		{`{"to":"\u003cjane@example.com\u003e","token":-5.1e3}`, `{"to":"\u003c[redacted:email]\u003e","token":"[redacted:token]"}`, "jane"},
		{`{"h":{"X-Api-Key":["k1","k2"]},"n":[1]}`, `{"h":{"X-Api-Key":["[redacted:api_key]","k2"]},"n":[1]}`, "k1"},
		{"mail to jane.doe+x@mail.example.com now", "mail to [redacted:email] now", "jane.doe"},
		{`<a@b.io>`, `<[redacted:email]>`, "a@b"},
		{`line\njane@example.com`, `line\n[redacted:email]`, "jane"},
		{"postgres://app:hunter2@db.example.com:5432/x", "postgres://app:[redacted:url_password]@db.example.com:5432/x", "hunter2"},
		{"redis://:p@ss@cache:6379/0", "redis://:[redacted:url_password]@cache:6379/0", "p@ss"},
		{"amqp://u:p%40x@mq, amqp://u:q@mq", "amqp://u:[redacted:url_password]@mq, amqp://u:[redacted:url_password]@mq", "p%40x"},
	}
}

func TestSecretsAreReplacedAndTheirNeighboursAreNot(t *testing.T) {
	r := testRedactor("default")
	for _, c := range secrets() {
		if got := string(r.bytes([]byte(c.line))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.line, got, c.want)
		}
		if json.Valid([]byte(c.line)) && !json.Valid([]byte(c.want)) {
			t.Errorf("%s is no JSON any more", c.want)
		}
	}
}

func TestWhatIsNoSecretIsLeftAlone(t *testing.T) {
	r := testRedactor("default")
	for _, line := range []string{
		"",
		"a plain sentence about nothing",
		"550e8400-e29b-41d4-a716-446655440000",
		"41111111-1111-1111-1111-111111111111 is a UUID",
		"2026-11-23T10:00:00.123456789Z 2026-11-23 10:00:00,123 20261123100000123",
		"1700000000 1700000000000 1700000000000000 1700000000000000000",
		"sha256:4111111111111111e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934c",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"da39a3ee5e6b4b0d3255bfef95601890afd80709 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7",
		"10.0.0.1:8080 192.168.100.200 fe80::1ff:fe23:4567:890a 2001:db8:85a3::8a2e:370:7334",
		"kube-system/coredns-5d78c9869d-abcde coredns-5d78c9869d",
		"registry.example.com/app@sha256:e3b0c44298fc1c149afbf4c8996fb924",
		"pkg@1.2.3 @scope/pkg@1.0.0-rc.beta user@host getty@tty1.service user@1000.service icon@2x.png git@github.com:a/b.git",
		"ssh://deploy@build.example.com:22/x root@db.shop.svc.cluster.local ops@ip-10-0-0-1.ec2.internal",
		"http://host:8080/path?q=a@b http://host:80/x@y",
		"4111111111111112 1234567890123456 9999999999999999 0000000000000000", // no check digit, no issuer
		"0.4111111111111111 4111111111111111.5 x4111111111111111 4111111111111111x",
		"the password is wrong; token expired; secret \"a\" not found; no api key",
		"token: unexpected end of input; secret: default/tls; token == nil; token::Kind",
		"max_tokens=4096 tokens=12 token_type=x tokenizer: y secretName=tls next_tokens: 5 passwords=3",
		`"token":null,"secret":{"name":"tls"},"password":"","apiKey":true`,
		"password=******** token=*** PWD=/home/u pwd=/srv OLDPWD=/",
		"Bearer authentication required; basic auth failed; Basic authorization; bearer token invalid",
		"akiaiosfodnn7example AKIASHORT ghp_short xoxb-1 sk_live_x AIzaShort eyJhbGciOiJIUzI1NiJ9 eyJ.eyJ.x",
		"-----BEGIN CERTIFICATE----- -----BEGIN PUBLIC KEY-----",
		"authorization.k8s.io/v1 authorization mode=RBAC authorizationPolicy=x",
		"[redacted:token]: something [redacted:password]=x [redacted:card]",
		"12345678 12345678 2026 11 23 10 20 30 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6",
	} {
		if got := string(r.bytes([]byte(line))); got != line {
			t.Errorf("%s\n got %s", line, got)
		}
	}
}

// block makes one block of lines.
func block(lines ...string) *signal.LogBlock {
	blk := &signal.LogBlock{}
	for i, l := range lines {
		blk.Append(int64(i), signal.LevelUnknown, []byte(l), nil)
	}
	return blk
}

func linesOf(blk *signal.LogBlock) []string {
	var all []string
	for i := range blk.Lines {
		all = append(all, string(blk.Line(i).Text))
	}
	return all
}

func TestNoSecretSurvivesWhereverItStands(t *testing.T) {
	r := testRedactor("default")
	for _, c := range secrets() {
		for pad := range 40 {
			for _, around := range []string{" ", `"`, "\t", "é "} {
				before, behind := strings.Repeat("x", pad)+around, around[:1]
				if around == "é " {
					behind = " é"
				}
				blk := block("first", strings.Repeat("y", pad%13), before+c.line+behind, "", before+c.line)
				r.block(blk, &keyState{})
				got := linesOf(blk)
				if len(got) != 5 || got[0] != "first" || got[1] != strings.Repeat("y", pad%13) || got[3] != "" {
					t.Fatalf("%q %d: neighbours became %q", c.line, pad, got)
				}
				for _, l := range []string{got[2], got[4]} {
					if strings.Contains(l, c.secret) || !strings.HasPrefix(l, before) {
						t.Fatalf("%q behind %d bytes: %q is left", c.line, len(before), l)
					}
				}
			}
		}
	}
}

func TestShortLinesAroundASecretStayWhatTheyAre(t *testing.T) {
	r := testRedactor("default")
	short := []string{"token", "1", "", "ab", "0060", "basic ", "4", "@", "key"}
	for _, c := range secrets() {
		if strings.Contains(c.line, "PGP") { // its key goes on
			continue
		}
		for shift := range 24 {
			in := append([]string{strings.Repeat(".", shift)}, short...)
			in = append(append(in, c.line), short...)
			blk := block(in...)
			r.block(blk, &keyState{})
			in[1+len(short)] = c.want
			if got := linesOf(blk); !slices.Equal(got, in) {
				t.Fatalf("got %q\nwant %q", got, in)
			}
		}
	}
}

func TestNothingIsFoundAcrossLines(t *testing.T) {
	r := testRedactor("default")
	lines := []string{"AKIAIOSF", "ODNN7EXAMPLE", "password", "=hunter2", "4111111", "111111111", "jane", "@example.com", "x", "411111111111111", "1", "5"}
	blk := block(lines...)
	r.block(blk, &keyState{})
	if got := linesOf(blk); !slices.Equal(got, lines) {
		t.Errorf("%q", got)
	}
}

func TestAPrivateKeyOfSeveralLinesIsReplacedLineByLine(t *testing.T) {
	r := testRedactor("default")
	var st keyState
	f := func(in, want []string) {
		t.Helper()
		blk := block(in...)
		r.block(blk, &st)
		if got := linesOf(blk); !slices.Equal(got, want) {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	const m = "[redacted:private_key]"
	f([]string{"a", "key: -----BEGIN EC PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", "MHcCAQEE"}, []string{"a", "key: " + m, m, "", m})
	f([]string{"AwEHoUQDQgAE==", "-----END EC PRIVATE KEY----- x", "plain"}, []string{m, m + " x", "plain"})
	f([]string{"plain"}, []string{"plain"})
	f([]string{"-----BEGIN PRIVATE KEY-----", "MHcC", "an ordinary line", "MHcC"}, []string{m, m, "an ordinary line", "MHcC"})
	f([]string{"-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----", "MHcC"}, []string{m, m, m})
}

func TestOwnPatterns(t *testing.T) {
	r := testRedactor("acme=ACME-[0-9]{4,}", `user=user=(\w+)`, "short=z[0-9]z", "either=(?i)(?:badge|ticket)#[0-9]+", "greedy=<.*>")
	f := func(in, want string) {
		t.Helper()
		if got := string(r.bytes([]byte(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	f("x ACME-12345 y ACME-9999", "x [redacted:acme] y [redacted:acme]")
	f("acme-12345 ACME-12", "acme-12345 ACME-12")
	f("user=jane x", "user=[redacted:user] x")
	f("z1z", "[redacted:short]")
	f("BADGE#12 Ticket#7 badge", "[redacted:either] [redacted:either] badge")
	f("a <b ACME-12345> c", "a [redacted:greedy] c") // what begins first counts
	f("password=x a@b.com", "password=x a@b.com")    // no default pack
	f("<[redacted:acme]>", "[redacted:greedy]")
	f("[redacted:acme] [redacted:other]", "[redacted:acme] [redacted:other]")
}

func TestAPatternsWordIsOneThatEveryMatchHas(t *testing.T) {
	f := func(expr, want string) {
		t.Helper()
		if got := fmt.Sprint(required(expr)); got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
	f("ACME-[0-9]+", "[{ACME- false}]")
	f("(?i)acme-[0-9]+x", "[{acme- true}]")
	f("(foobar|bazquux)=.*", "[{foobar false} {bazquux false}]")
	f("(foobar|x)[a-z]", "[]")
	f("a?bcdef*", "[{bcde false}]")
	f("(abcdef)+", "[{abcdef false}]")
	f("(abcdef){2,3}", "[{abcdef false}]")
	f("(abcdef){0,3}", "[]")
	f("[0-9]{16}", "[]")
	f("abc", "[]")
	f(`^key: (\S+)$`, "[{key:  false}]")
}

func TestOwnPatternsAreChecked(t *testing.T) {
	err := Config{Redact: []string{"default", "x", "A=b", "jwt=x", "p=(", "e="}}.Check()
	want := `redact[1]: "x" is neither default nor name=REGEXP
redact[2]: the name "A" must be of 1 to 40 small letters, digits, _ and -: it stands in [redacted:…]
redact[3]: the name "jwt" is one of the default pack: choose another
redact[4]: pattern p: error parsing regexp: missing closing ): ` + "`(`" + `
redact[5]: no regular expression behind e=`
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestLabelsOfLinesAreRedacted(t *testing.T) {
	r := testRedactor("default")
	blk := &signal.LogBlock{}
	blk.Append(1, 6, []byte("a"), []byte(signal.Labels("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")))
	blk.Append(2, 6, []byte("b"), []byte(signal.Labels("client", "jane@example.com", "db.password", "hunter2", "n", "1")))
	blk.Append(3, 6, []byte("c"), nil)
	r.block(blk, &keyState{})
	want := "log {} \"\" 0..0\n  @1 6 \"a\" {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"}\n" +
		"  @2 6 \"b\" {client=\"[redacted:email]\",db.password=\"[redacted:password]\",n=\"1\"}\n  @3 6 \"c\" {}\n"
	f := func() {
		t.Helper()
		expect(t, signal.Format(&signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{*blk}}), want)
	}
	f()
	r.block(blk, &keyState{})
	f()
}

func TestEveryWordIsFoundAtEvenAndOddPlaces(t *testing.T) {
	r := testRedactor("default")
	for i, w := range r.words {
		for pad := range 30 {
			s := r.scanner()
			text := []byte(strings.Repeat(".", pad) + w.text + "A")
			if w.fold && pad%2 == 0 {
				text = bytes.ToUpper(text)
			}
			if s.probe(text, []signal.Line{{End: uint32(len(text))}}); len(s.suspects) == 0 {
				t.Errorf("word %d %q is not found behind %d bytes", i, w.text, pad)
			}
			s.release()
		}
	}
}

// Each of these was read once for each of its words when finders did not say how
// far they had looked: minutes, for a line of 1 MiB.
func TestALineOfNothingButWordsIsReadOnce(t *testing.T) {
	r := testRedactor("default", "acme=ACME-(.*)")
	var all []string
	for _, w := range r.words {
		all = append(all, w.text)
	}
	all = append(all, "eyJeyJ.", "token-", "token: ", "password=", `password="`, `password=\"`, "a@", "a:b@", "@", "://a:b@", "[redacted:", "[redacted:email]", "[redacted:email]a@b.cd",
		`\`, "4", "4 ", "4111 ", "4111111111111111 ", "bearer a", "Basic ", "<token>", "-----BEGIN PRIVATE KEY-----", "--token ", "authorization: digest ")
	for _, w := range all {
		for _, head := range []string{"", "http://u:p", `token="`} {
			line := head + strings.Repeat(w, (1<<15)/len(w))
			once := r.bytes([]byte(line))
			if twice := r.bytes(once); !bytes.Equal(once, twice) {
				t.Errorf("%q, often: redacting twice is not redacting once", head+w)
			}
		}
	}
}

func TestAFinderIsAskedOnceForWhatItHasLookedAt(t *testing.T) {
	for _, w := range []string{"eyJ", "glpat-", "password=", "token=", "-----BEGIN PRIVATE KEY-----", "xoxb-"} {
		r := testRedactor("default")
		calls := 0
		for i, f := range r.finders {
			r.finders[i] = func(line []byte, at, n int) (int, int, manner) {
				calls++
				return f(line, at, n)
			}
		}
		r.bytes([]byte(strings.Repeat(w, 1000)))
		if calls > 10 {
			t.Errorf("%q, a thousand times: %d looks", w, calls)
		}
	}
}

func TestWhatIsFoundIsCountedByName(t *testing.T) {
	h := newHub(t, Config{Redact: []string{"default", "acme=ACME-[0-9]+"}}, "", nil)
	h.Complete(parse(t, signal.Log, "log {} \"f\" 0..9\n@1 - \"a@b.com c@d.com ACME-1\" {}\n@2 - \"password=x\" {}"))
	h.Complete(parse(t, signal.Event, `event @1 - "" "" "for a@b.com" "token=abc" {} count=1`))
	h.Configure(Config{Redact: []string{"default"}}, "", nil)
	if got := fmt.Sprint(h.Redacted()); got != "map[acme:1 email:3 password:1 token:1]" {
		t.Error(got)
	}
}

func TestRedactingWithoutAFindAllocatesNothing(t *testing.T) {
	r := testRedactor("default", "acme=ACME-[0-9]+")
	blk := block(slices.Repeat([]string{jsonLine}, 100)...)
	var st keyState
	if n := testing.AllocsPerRun(50, func() { r.block(blk, &st) }); n > 10 { // for 100 lines: the pool forgets on purpose under the race detector
		t.Errorf("%v allocations for %d lines", n, len(blk.Lines))
	}
}

const jsonLine = `{"ts":"2026-11-23T10:00:00.123456Z","level":"info","msg":"request served","path":"/api/v1/items/4711","status":200,"took_ms":17,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","user":"u-0815","bytes":5120,"host":"a"}`

// variedLines are lines of services as one meets them, none with a secret.
func variedLines(n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, [...]string{
			jsonLine,
			fmt.Sprintf(`{"time":"2026-11-23T10:%02d:00Z","severity":"WARNING","message":"slow query took %dms","sql":"select * from orders where id = $1","rows":%d,"span_id":"00f067aa0ba902b7","service":"checkout","pod":"checkout-5d78c9869d-abcde"}`, i%60, i, i*7),
			fmt.Sprintf(`10.1.2.%d - - [23/Nov/2026:10:00:00 +0000] "GET /static/app.%d.js HTTP/1.1" 200 %d "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"`, i%256, i, i*331),
			fmt.Sprintf(`time=2026-11-23T10:00:00.000Z level=info msg="cache refreshed" keys=%d took=%dms component=store version=1.2.3 caller=store/cache.go:%d request=550e8400-e29b-41d4-a716-446655440000`, i, i%90, i%500),
		}[i%4])
	}
	return lines
}

func BenchmarkRedact(b *testing.B) {
	r := testRedactor("default")
	f := func(name string, r *redactor, lines []string) {
		b.Run(name, func(b *testing.B) {
			blk := block(lines...)
			var st keyState
			var lines []signal.Line
			b.SetBytes(int64(len(blk.Text)))
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				one := *blk
				lines = append(lines[:0], blk.Lines...)
				one.Lines = lines
				r.block(&one, &st)
			}
			b.ReportMetric(float64(len(blk.Text)*b.N)/1e6/(cpu(b)-before), "MB/cpu-s")
		})
	}
	f("json", r, slices.Repeat([]string{jsonLine}, 4000))
	f("varied", r, variedLines(4000))
	f("varied+own", testRedactor("default", "acme=ACME-[0-9]+", "badge=(?i)badge#[0-9]+"), variedLines(4000))
	secret := variedLines(1000)
	secret[500] += " password=hunter2"
	f("1-in-1000", r, secret)
}

// For scale: the same default pack as one regular expression, roughly.
func BenchmarkRedactByRegexp(b *testing.B) {
	re := regexp.MustCompile(`AKIA[0-9A-Z]{16}|gh[pousr]_\w{30,}|xox[abp]-[\w-]{10,}|eyJ[\w-]+\.[\w-]+\.[\w-]+|(?i:password|secret|token|api_?key)"?\s*[:=]\s*"?[^"\s]+|[\w.+-]+@[\w.-]+\.[a-z]{2,}|\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b`)
	lines := variedLines(100)
	n := 0
	for _, l := range lines {
		n += len(l)
	}
	b.SetBytes(int64(n))
	for b.Loop() {
		for _, l := range lines {
			if re.MatchString(l) {
				b.Fatal(l)
			}
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, c := range secrets() {
		f.Add([]byte(c.line), uint16(3), uint16(20))
	}
	f.Add([]byte("a@b.c0\n[redacted:email]@x.yz4111111111111111"), uint16(1), uint16(9))
	f.Add([]byte("006011114111111117"), uint16(2), uint16(47)) // a word behind the window of digits moved on to the next line
	f.Add([]byte("password=a[redacted:email]b,token:[[redacted:x]"), uint16(9), uint16(9))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----abc-----BEGIN A PRIVATE KEY"), uint16(27), uint16(30))
	pack := testRedactor("default")
	both := testRedactor("default", "w=[a-z]+[0-9]", "acme=ACME-(.*)")
	f.Fuzz(func(t *testing.T, text []byte, cut1, cut2 uint16) {
		a := min(int(cut1), len(text))
		b := max(a, min(int(cut2), len(text)))
		for _, r := range []*redactor{pack, both} {
			blk := block(string(text[:a]), string(text[a:b]), string(text[b:]))
			r.block(blk, &keyState{})
			once := linesOf(blk)
			if len(once) != 3 || int(blk.Lines[2].End) != len(blk.Text) {
				t.Fatalf("%q", once)
			}
			r.block(blk, &keyState{})
			if twice := linesOf(blk); !slices.Equal(once, twice) {
				t.Fatalf("%q\nonce  %q\ntwice %q", text, once, twice)
			}
			for i, l := range []string{string(text[:a]), string(text[a:b]), string(text[b:])} {
				if alone := string(r.bytes([]byte(l))); alone != once[i] && !bytes.Contains(text, []byte("PRIVATE KEY")) {
					t.Fatalf("line %q alone is %q, between others %q", l, alone, once[i])
				}
			}
		}
	})
}
