package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
)

// kept is a Sink that keeps everything.
type kept struct {
	values map[string]float64
	labels string
	events []signal.EventItem
}

func (k *kept) Put(_ context.Context, b *signal.Batch) error {
	if k.values == nil {
		k.values = map[string]float64{}
	}
	for _, s := range b.Samples {
		d := s.Series.Desc()
		k.values[d.Name], k.labels = s.Value, d.Labels
	}
	k.events = append(k.events, b.Events...)
	return nil
}

// probe runs p once and returns what it gave.
func probe(t *testing.T, p Probe) (*kept, Status) {
	t.Helper()
	p.Name = "n"
	c := Config{p}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s, out := New(c, slog.New(slog.DiscardHandler)), &kept{}
	s.probes[0].once(t.Context(), out)
	if st := s.Stats(); st.Runs.Load() != 1 || st.Good.Load()+st.Warned.Load()+st.Failed.Load() != 1 || st.Lost.Load() != 0 {
		t.Errorf("counted %d runs, %d good, %d warned, %d failed", st.Runs.Load(), st.Good.Load(), st.Warned.Load(), st.Failed.Load())
	}
	return out, s.Status()[0]
}

// certificate is a self-signed one for 127.0.0.1 with so much time left.
func certificate(t *testing.T, left time.Duration) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour * 24 * 365), NotAfter: time.Now().Add(left),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"here.example"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func secure(t *testing.T, cert tls.Certificate, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// expect runs p and compares success, status of the check and what its text says.
func expect(t *testing.T, p Probe, success float64, status uint8, says string) *kept {
	t.Helper()
	out, st := probe(t, p)
	if len(out.events) != 1 || out.values[metricSuccess] != success || out.events[0].Status != status || !strings.Contains(out.events[0].Text, says) {
		t.Errorf("%s%s: %v, %+v; want success %v, status %d that says %q", p.URL, p.Address, out.values, out.events, success, status, says)
	}
	if d, ok := out.values[metricDuration]; !ok || d <= 0 || d > 60 {
		t.Errorf("it took %v s", d)
	}
	if st.Up != (success == 1) || (st.Err == nil) != (status == 0) || !st.Ran {
		t.Errorf("status %+v", st)
	}
	return out
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"status":"UP"}`) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.Handle("/moved", http.RedirectHandler("/ok", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.HandleFunc("/key", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+r.Host+r.Header.Get("X-Key")) })
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for block := strings.Repeat("x", 1<<16); r.Context().Err() == nil; {
			if _, err := io.WriteString(w, block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "short")
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	gone := httptest.NewServer(mux)
	gone.Close()
	f := func(path string, p Probe, success float64, says string) *kept {
		t.Helper()
		p.Type, p.URL = "http", s.URL+path
		if says == "refused" {
			p.URL = gone.URL
		}
		return expect(t, p, success, uint8(2-2*success), says)
	}
	out := f("/ok?token=geheim", Probe{Tags: []string{"env:prod", "team:x"}}, 1, "answered in")
	want := signal.Labels(signal.LabelEnv, "prod", "team", "x", "probe.name", "n", "probe.type", "http", "url.full", s.URL+"/ok")
	if out.labels != want || out.events[0].Labels != want {
		t.Errorf("labels %q", out.labels)
	}
	e := out.events[0]
	if out.values[metricStatus] != 200 || e.Source != "probe" || e.Check != "n" || e.ID == "" || e.Title != "n is up" ||
		strings.Contains(fmt.Sprint(e), "geheim") {
		t.Errorf("%v, %+v", out.values, e)
	}
	if _, ok := out.values[metricRemaining]; ok {
		t.Error("a certificate without TLS")
	}
	if out := f("/broken", Probe{}, 0, "answers 500 Internal Server Error"); out.values[metricStatus] != 500 {
		t.Errorf("%v", out.values)
	}
	f("/broken", Probe{ExpectStatus: []int{200, 500}}, 1, "")
	f("/ok", Probe{ExpectStatus: []int{204}}, 0, "not one of [204]")
	f("/ok", Probe{ExpectBody: `"status":\s*"UP"`}, 1, "")
	f("/ok", Probe{ExpectBody: "DOWN"}, 0, "does not match")
	f("/ok", Probe{Method: "HEAD"}, 1, "")
	f("/moved", Probe{}, 1, "")
	f("/moved", Probe{Redirects: "stop"}, 0, "answers 302")
	f("/moved", Probe{Redirects: "stop", ExpectStatus: []int{302}}, 1, "")
	f("/round", Probe{}, 0, "ten times")
	f("/key", Probe{Headers: []Header{{"X-Key", "k"}, {"Host", "h"}}, ExpectBody: "^GEThk$"}, 1, "")
	f("/hang", Probe{Timeout: 50 * time.Millisecond}, 0, "no answer within 50ms")
	f("/endless", Probe{ExpectBody: "^x"}, 1, "")
	f("/cut", Probe{}, 0, "breaks off")
	f("/", Probe{}, 0, "refused")
}

// A redirect to another host does not get the keys that were meant for the first.
func TestKeysStayWithTheirHost(t *testing.T) {
	var got string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("X-Key") }))
	defer other.Close()
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer first.Close()
	got = "not asked"
	expect(t, Probe{Type: "http", URL: first.URL, Headers: []Header{{"X-Key", secret.String("k")}}}, 1, 0, "")
	if got != "" {
		t.Errorf("the other host got %q", got)
	}
}

func TestTCP(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := expect(t, Probe{Type: "tcp", Address: l.Addr().String()}, 1, 0, "answered in")
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil || out.labels != signal.Labels("probe.name", "n", "probe.type", "tcp", "server.address", host, "server.port", port) {
		t.Errorf("labels %q", out.labels)
	}
	l.Close()
	expect(t, Probe{Type: "tcp", Address: l.Addr().String()}, 0, 2, "refused")
}

// What remains of a certificate is known whether it is trusted or not.
func TestCertificates(t *testing.T) {
	const day = 24 * time.Hour
	f := func(left time.Duration, change func(p *Probe, ca string), success float64, status uint8, says string) {
		t.Helper()
		cert, ca := certificate(t, left)
		s := secure(t, cert, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
		for _, p := range []Probe{{Type: "tls", Address: s.Listener.Addr().String()}, {Type: "http", URL: s.URL}} {
			p.TLS.CAFile = ca
			if change != nil {
				change(&p, ca)
			}
			out := expect(t, p, success, status, says)
			if got, ok := out.values[metricRemaining]; !ok || math.Abs(got-left.Seconds()) > 120 {
				t.Errorf("%s: %v s remain (known: %v), want %v", p.Type, got, ok, left.Seconds())
			}
		}
	}
	f(90*day, nil, 1, 0, "answered in")
	f(3*day, nil, 1, 1, "expires in 7") // 71h59m
	f(3*day, func(p *Probe, _ string) { p.WarnExpiry = day }, 1, 0, "")
	f(-day, nil, 0, 2, "expired")
	f(-day, func(p *Probe, _ string) { p.TLS = TLS{InsecureSkipVerify: true} }, 1, 1, "expires in -24h")
	f(90*day, func(p *Probe, _ string) { p.TLS.CAFile = "" }, 0, 2, "unknown authority")
	f(90*day, func(p *Probe, _ string) { _, p.TLS.CAFile = certificate(t, day) }, 0, 2, "certificate")
	f(90*day, func(p *Probe, _ string) { p.TLS.ServerName = "here.example" }, 1, 0, "")
	f(90*day, func(p *Probe, _ string) { p.TLS.ServerName = "there.example" }, 0, 2, "there.example")
	// Of all that the server presents, the first to expire counts.
	for _, left := range [][2]time.Duration{{3 * day, 90 * day}, {90 * day, 3 * day}} {
		cert, _ := certificate(t, left[0])
		more, _ := certificate(t, left[1])
		cert.Certificate = append(cert.Certificate, more.Certificate...)
		s := secure(t, cert, nil)
		out := expect(t, Probe{Type: "tls", Address: s.Listener.Addr().String(), TLS: TLS{InsecureSkipVerify: true}}, 1, 1, "expires in 7")
		if got := out.values[metricRemaining]; got > (3 * day).Seconds() {
			t.Errorf("of %v, %v s remain", left, got)
		}
	}
	out, _ := probe(t, Probe{Type: "tls", Address: "127.0.0.1:1", TLS: TLS{CAFile: filepath.Join(t.TempDir(), "none")}})
	if out.values[metricSuccess] != 0 || !strings.HasPrefix(out.events[0].Text, "tls.ca_file: ") {
		t.Errorf("%+v", out.events)
	}
}

func TestConfigComplaints(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		var got []string
		if err := c.Check(); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(want) {
			t.Errorf("%q, want %q", got, want)
			return
		}
		for i := range got {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
	f(Default())
	f(Config{{Name: "a", Type: "http", URL: "http://a"}, {Name: "b", Type: "tcp", Address: "a:1"}})
	f(Config{{}}, "probes[0].name: ", "probes[0].type: ")
	f(Config{{Name: "a", Type: "tls", Address: "a:1"}, {Name: "a", Type: "tls", Address: "a", URL: "x"}},
		"probes[1].name: ", "probes[1].address: ", "probes[1].type: ")
	f(Config{{
		Name: "a", Type: "http", URL: "http://u:p@a", Address: "x", Interval: 1, Timeout: -1, Method: "POST", Redirects: "no", Headers: []Header{{}},
		ExpectStatus: []int{1}, ExpectBody: "(", WarnExpiry: -1, TLS: TLS{CertFile: "x", CAFile: "y", InsecureSkipVerify: true},
	}},
		"probes[0].url: ", "probes[0].address: ", "probes[0].interval: ", "probes[0].timeout: ", "probes[0].method: ",
		"probes[0].redirects: ", "probes[0].headers[0]: ",
		"probes[0].expect_status[0]: ", "probes[0].expect_body: ", "probes[0].warn_expiry: ", "probes[0].tls.cert_file: ", "probes[0].tls.insecure_skip_verify: ")
	f(Config{{Name: "a", Type: "http", URL: "http://a", Method: "HEAD", ExpectBody: "x"}}, "probes[0].expect_body: ")
}

// The service check is told at once, at a change, and every five minutes; its ID
// is the same until it changes. Run ends when it is told to.
func TestTheServiceCheckIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := New(Config{{Name: "a", Type: "tcp", Address: "127.0.0.1:1"}}, slog.New(slog.DiscardHandler)), &kept{}
		r := s.probes[0]
		judge := func(err error) {
			r.judge(t.Context(), out, time.Now(), time.Second, outcome{err: err})
			timer := time.NewTimer(time.Minute)
			<-timer.C
		}
		down := io.ErrUnexpectedEOF
		for _, err := range []error{nil, nil, nil, nil, nil, nil, nil, down, down, nil} {
			judge(err)
		}
		var told []string
		for _, e := range out.events {
			told = append(told, fmt.Sprint(e.Status))
		}
		if strings.Join(told, " ") != "0 0 2 0" {
			t.Errorf("told %v", told)
		}
		if e := out.events; e[0].ID != e[1].ID || e[1].ID == e[2].ID || e[3].ID == e[0].ID {
			t.Errorf("%+v", e)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	at := l.Addr().String()
	s := New(Config{{Name: "a", Type: "tcp", Address: at}, {Name: "b", Type: "tcp", Address: at, Interval: time.Second}}, slog.New(slog.DiscardHandler))
	out := until(cancel)
	if err := s.Run(ctx, out); err != nil || s.Stats().Runs.Load() == 0 {
		t.Errorf("%v after %d runs", err, s.Stats().Runs.Load())
	}
}

// until is a Sink that calls a function at the first batch.
type until func()

func (u until) Put(context.Context, *signal.Batch) error { u(); return nil }
