package exporters

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

func TestClassify(t *testing.T) {
	f := func(status int, want Class, unsent bool) {
		t.Helper()
		e := Classify(status, http.Header{}, []byte(" their\nwords "))
		if e == nil || e.Class != want || e.Unsent != unsent || e.Status != status || e.Words != "their words" {
			t.Errorf("%d: %+v, want %v, unsent %v", status, e, want, unsent)
		}
	}
	for _, ok := range []int{200, 201, 202, 204} {
		if e := Classify(ok, nil, nil); e != nil {
			t.Errorf("%d: %v", ok, e)
		}
	}
	f(400, Permanent, false)
	f(405, Permanent, false)
	f(413, Permanent, false)
	f(422, Permanent, false)
	f(401, Hold, true)
	f(403, Hold, true)
	f(404, Hold, true)
	f(407, Hold, true)
	f(301, Hold, true)
	f(307, Hold, true)
	f(408, Retry, false)
	f(429, Retry, true)
	f(500, Retry, false)
	f(502, Retry, false)
	f(503, Retry, true)
	f(504, Retry, false)
	f(599, Retry, false)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	f := func(key, value string, want time.Duration) {
		t.Helper()
		if got := RetryAfter(http.Header{key: {value}}, now); got != want {
			t.Errorf("%s: %s is %v, want %v", key, value, got, want)
		}
	}
	f("Retry-After", "7", 7*time.Second)
	f("Retry-After", "0.5", 500*time.Millisecond)
	f("Retry-After", "Mon, 23 Nov 2026 10:01:00 GMT", time.Minute)
	f("Retry-After", "Mon, 23 Nov 2026 09:00:00 GMT", 0)
	f("Retry-After", "999999999999999999999", maxAfter)
	f("Retry-After", "-5", 0)
	f("Retry-After", "NaN", 0)
	f("Retry-After", "soon", 0)
	f("X-Ratelimit-Reset", "30", 30*time.Second)
	f("X-Other", "30", 0)
}

func TestWordsAreOneLineOfValidText(t *testing.T) {
	got := Words([]byte("a\x00b\n\n{\"error\":\"\xff ü\"}" + strings.Repeat("x", 5000)))
	if strings.ContainsAny(got, "\n\x00") || len(got) > 1024 || !strings.HasPrefix(got, `a b {"error":" ü"}`) {
		t.Errorf("%q", got[:40])
	}
}

func TestPackIsReadBackByTheStandardLibrary(t *testing.T) {
	body := []byte(strings.Repeat("some,tag=x value=1 1700000000000000000\n", 1000))
	f := func(encoding string, open func(io.Reader) (io.Reader, error)) {
		t.Helper()
		var dst []byte
		for range 3 { // the compressors are used again
			dst = Pack(dst, body, encoding)
			r, err := open(bytes.NewReader(dst))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %d bytes of %d, %v", encoding, len(got), len(body), err)
			}
			if len(dst) > len(body)/5 {
				t.Errorf("%s: %d bytes became %d", encoding, len(body), len(dst))
			}
		}
	}
	f("gzip", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
	f("deflate", func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) })
	f("zstd", func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) })
	if got := Pack(nil, body, ""); &got[0] != &body[0] {
		t.Error("no encoding copies")
	}
}

// Under the race detector the pool forgets one in four on purpose, which makes 5, seldom 8; so the bound
// lies between that and the 17 of a compressor made anew for each body.
func TestPackUsesItsCompressorsAgain(t *testing.T) {
	body := []byte(strings.Repeat("some,tag=x value=1 1700000000000000000\n", 1000))
	for _, encoding := range []string{"gzip", "deflate", "zstd"} {
		dst := Pack(nil, body, encoding)
		if n := testing.AllocsPerRun(50, func() { dst = Pack(dst, body, encoding) }); n > 12 {
			t.Errorf("%s: %v allocations a body", encoding, n)
		}
	}
}

// What a broken connection says about whether the vendor has the body.
func TestPostTellsUnsentFromUnclear(t *testing.T) {
	post := func(url string) *Error {
		t.Helper()
		client, err := HTTP{Timeout: 2 * time.Second}.Client(1)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = Post(t.Context(), client, req, 1024)
		var e *Error
		if !errors.As(err, &e) || e.Class != Retry {
			t.Fatalf("%v", err)
		}
		return e
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if e := post("http://" + addr + "/?key=hidden"); !e.Unsent || strings.Contains(e.Error(), "hidden") {
		t.Errorf("refused: %+v", e)
	}
	reset := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		panic(http.ErrAbortHandler)
	}))
	defer reset.Close()
	if e := post(reset.URL); e.Unsent {
		t.Errorf("reset in the answer: %+v", e)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	secure.StartTLS()
	defer secure.Close()
	if e := post(secure.URL); !e.Unsent {
		t.Errorf("a certificate nobody signed: %+v", e)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the key went to another host") }))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	client, err := HTTP{}.Client(1)
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, s.URL, strings.NewReader("x"))
	status, header, answer, err := Post(t.Context(), client, req, 1024)
	if e := Classify(status, header, answer); err != nil || e.Class != Hold || !strings.Contains(e.Error(), other.URL) {
		t.Errorf("%v, %v", err, e)
	}
}

func TestClientNamesTheFileItCannotUse(t *testing.T) {
	f := func(c HTTP, want string) {
		t.Helper()
		if _, err := c.Client(1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f(HTTP{TLS: TLS{CAFile: "/nowhere.pem"}}, "tls.ca_file: open /nowhere.pem")
	f(HTTP{TLS: TLS{CertFile: "/nowhere.pem"}}, "tls.cert_file")
	f(HTTP{ProxyURL: "http://a b/"}, "proxy_url")
}

// The buffer of a body is used again once Post has returned, so by then nobody
// may read it any more: not when the vendor answered in the middle, nor when the
// time was over.
func TestABodyIsNotReadBehindItsRequest(t *testing.T) {
	over := make(chan struct{})
	for name, answer := range map[string]http.HandlerFunc{
		"answers at once": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) },
		"never answers":   func(http.ResponseWriter, *http.Request) { <-over },
		"takes a part": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			w.WriteHeader(http.StatusBadRequest)
		},
	} {
		server := httptest.NewServer(answer)
		client, err := HTTP{Timeout: 300 * time.Millisecond}.Client(1)
		if err != nil {
			t.Fatal(err)
		}
		late := 0
		for range 20 {
			body := &lateReader{left: 64 << 20}
			req, _ := http.NewRequest(http.MethodPost, server.URL, body)
			_, _, _, _ = Post(t.Context(), client, req, 100)
			body.done.Store(true)
			if !body.closed.Load() {
				late++
			}
			if name == "never answers" {
				break
			}
		}
		if late > 0 {
			t.Errorf("%s: %d bodies may still be read", name, late)
		}
		if name == "never answers" {
			close(over)
		}
		client.CloseIdleConnections()
		server.Close()
	}
}

// lateReader is a body that knows whether it was closed.
type lateReader struct {
	left         int
	closed, done atomic.Bool
}

func (r *lateReader) Read(p []byte) (int, error) {
	if r.done.Load() {
		panic("a body is read behind its request")
	}
	if r.left -= len(p); r.left < 0 {
		return 0, io.EOF
	}
	return len(p), nil
}

func (r *lateReader) Close() error {
	r.closed.Store(true)
	return nil
}
