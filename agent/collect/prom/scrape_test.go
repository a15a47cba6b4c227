package prom

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/causeway-agent/causeway/agent/signal"
)

// kept is a Sink that keeps everything.
type kept struct{ batches []*signal.Batch }

func (k *kept) Put(_ context.Context, b *signal.Batch) error {
	k.batches = append(k.batches, b)
	return nil
}

// values returns what was put, by name and labels, and forgets it.
func (k *kept) values() map[string]signal.Sample {
	m := map[string]signal.Sample{}
	for _, b := range k.batches {
		for _, s := range b.Samples {
			d := s.Series.Desc()
			key := d.Name
			for l, v := range signal.Walk(d.Labels) {
				if l != labelInstance {
					key += "," + l + "=" + v
				}
			}
			m[key] = s
		}
	}
	k.batches = nil
	return m
}

func newSource(t *testing.T, c Config, from Sources) *Source {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s := New(c, from, slog.New(slog.DiscardHandler))
	t.Cleanup(s.wires.close)
	return s
}

// only returns the one target of a configuration.
func only(t *testing.T, c Config) *target {
	t.Helper()
	s := newSource(t, c, Sources{})
	specs, excluded := s.discover(nil)
	if len(specs) != 1 || len(excluded) > 0 {
		t.Fatalf("%d targets, excluded %q", len(specs), excluded)
	}
	for _, sp := range specs {
		return s.newTarget(sp)
	}
	return nil
}

func conf(targets ...Target) Config {
	c := Default()
	c.Targets = targets
	return c
}

// page answers with a text page.
func answer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		io.WriteString(w, text)
	}
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/metrics"
}

// registry is a real application's.
func registry(native bool) *prometheus.Registry {
	r := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total", Help: "Requests.\nAll of them."}, []string{"path"})
	c.WithLabelValues("/a\"b\\c\n").(prometheus.ExemplarAdder).AddWithExemplar(3, prometheus.Labels{"trace_id": "x"})
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "temperature_celsius", ConstLabels: prometheus.Labels{"room": "é"}})
	g.Set(-1.25)
	o := prometheus.HistogramOpts{Name: "latency_seconds", Buckets: []float64{0.1, 1}}
	if native {
		o.NativeHistogramBucketFactor = 1.1
	}
	h := prometheus.NewHistogram(o)
	s := prometheus.NewSummary(prometheus.SummaryOpts{Name: "size_bytes", Objectives: map[float64]float64{0.5: 0.01}})
	for _, v := range []float64{0.05, 0.5, 0.7, 3} {
		h.Observe(v)
		s.Observe(v)
	}
	nan := prometheus.NewGauge(prometheus.GaugeOpts{Name: "nothing"})
	nan.Set(math.NaN())
	r.MustRegister(c, g, h, s, nan)
	return r
}

func TestClientGolangInEveryFormat(t *testing.T) {
	for _, format := range []string{"text", "openmetrics", "protobuf"} {
		accept := map[string]string{"text": "text/plain;version=0.0.4", "openmetrics": "application/openmetrics-text;version=1.0.0", "protobuf": acceptProto}[format]
		h := promhttp.HandlerFor(registry(false), promhttp.HandlerOpts{EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true})
		url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Accept", accept)
			h.ServeHTTP(w, r)
		}))
		for _, zip := range []string{"true", "false"} {
			c := conf(Target{URL: url, Tags: []string{"env:prod"}})
			c.Compression = zip
			tg, out := only(t, c), &kept{}
			tg.scrape(t.Context(), out)
			got := out.values()
			f := func(key string, want float64, typ signal.Type, unit string) {
				t.Helper()
				s, ok := got[key]
				if d := s.Series; !ok || s.Value != want || d.Desc().Type != typ || d.Desc().Unit != unit {
					t.Errorf("%s: %q is %v (there: %v), want %v", format, key, s, ok, want)
				}
			}
			env := "," + signal.LabelEnv + "=prod"
			f("requests_total"+env+",path=/a\"b\\c\n", 3, signal.Counter, "")
			f("temperature_celsius"+env+",room=é", -1.25, signal.Gauge, "Cel")
			f("latency_seconds"+env, 0, signal.CumDist, "s")
			f("size_bytes"+env, 0, signal.CumDist, "By")
			f("up"+env, 1, signal.Gauge, "1")
			f("scrape_samples_scraped"+env, float64(tg.page.tally.Samples), signal.Gauge, "{sample}")
			if h := got["latency_seconds"+env].Hist; h == nil || fmt.Sprint(h.Count, h.Sum, h.Bounds, h.Counts) != "4 4.25 [0.1 1] [1 2 1]" {
				t.Errorf("%s: histogram %+v", format, h)
			}
			if h := got["size_bytes"+env].Hist; h == nil || fmt.Sprint(h.Count, h.Sum, h.Quantiles) != "4 4.25 [{0.5 0.5}]" {
				t.Errorf("%s: summary %+v", format, h)
			}
			if len(got) != 7 || tg.page.tally.NaN != 1 || tg.look().Format != format {
				t.Errorf("%s as %s: %d series, %+v", format, tg.look().Format, len(got), tg.page.tally)
			}
			if start := got["requests_total"+env+",path=/a\"b\\c\n"].Start; (start != 0) != (format != "text") {
				t.Errorf("%s: the counter began at %d", format, start)
			}
		}
	}
}

// Native histograms are found without being asked for; a target that has none is
// asked for text from its second page on.
func TestNativeHistogramsAreFound(t *testing.T) {
	for _, native := range []bool{true, false} {
		tg, out := only(t, conf(Target{URL: serve(t, promhttp.HandlerFor(registry(native), promhttp.HandlerOpts{}))})), &kept{}
		want := "text"
		if native {
			want = "protobuf"
		}
		for range 2 {
			tg.scrape(t.Context(), out)
		}
		if tg.look().Format != want || tg.page.tally.Twins != 0 {
			t.Errorf("native %v: second page as %s, %+v", native, tg.look().Format, tg.page.tally)
		}
		if h := out.values()["latency_seconds"].Hist; h == nil || h.Exponential != native || h.Count != 4 {
			t.Errorf("native %v: %+v", native, h)
		}
	}
}

// raw is a server that says exactly text to each connection, and closes it.
func raw(t *testing.T, text string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			io.WriteString(c, text)
			c.Close()
		}
	}()
	return "http://" + l.Addr().String() + "/metrics"
}

// bomb is a page of 1 GiB in 1 MiB of gzip, in parts: unpacking goes on behind each.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(bytes.Repeat([]byte("#\n"), 1<<19)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(b.Bytes(), 1<<10)
}

// However a target misbehaves, the outcome is up = 0, one counted reason and an
// error that says what; nothing else of the page stays, and its neighbour's next
// scrape is as good as its last.
func TestTargetsThatMisbehave(t *testing.T) {
	packed := bomb(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	hang := func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "x 1\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		url    string
		reason Reason
		says   string
	}{
		"hangs":             {serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })), Timeout, "deadline"},
		"hangs in the page": {serve(t, http.HandlerFunc(hang)), Timeout, "deadline"},
		"byte by byte": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range time.Tick(time.Millisecond) {
				if _, err := io.WriteString(w, "x"); err != nil || r.Context().Err() != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		})), Timeout, "deadline"},
		"endless": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, "x{i=\"%d\"} 1\n", i); err != nil {
					return
				}
			}
		})), TooMany, "max_samples"},
		"endless line": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for block := strings.Repeat("x", 1<<16); ; {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		})), TooLarge, "longer than 1 MiB"},
		"endless comments": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for block := strings.Repeat("# x\n", 1<<14); ; {
				if _, err := io.WriteString(w, block); err != nil {
					return
				}
			}
		})), TooLarge, "max_body"},
		"10 GiB":           {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nx 1\n"), TooLarge, "10737418240"},
		"length too large": {raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx 1\n"), Truncated, "unexpected EOF"},
		"chunk breaks off": {raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nx 1\n"), Truncated, "unexpected EOF"},
		"gzip bomb": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed)
		})), TooLarge, "max_body"},
		"no gzip":     {raw(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 15\r\n\r\nx 1 and no gzip"), Packed, "bad gzip"},
		"cut gzip":    {raw(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"+string(packed[:100])), Truncated, "unexpected EOF"},
		"not found":   {serve(t, http.NotFoundHandler()), Refused, "404 Not Found: is the path right?"},
		"needs a key": {raw(t, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), Refused, "bearer_token_file"},
		"points away": {serve(t, http.RedirectHandler("http://192.0.2.1/latest/meta-data", http.StatusFound)), Refused, "another host"},
		"a web page": {serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "<html><body>x 1</body></html>")
		})), NoPage, "text/html"},
		"a web page as text": {serve(t, answer("<html>\n<body>\nx 1\n")), NoPage, "line 1"},
		"OpenMetrics cut":    {raw(t, "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text\r\nContent-Length: 4\r\n\r\nx 1\n"), Truncated, "# EOF"},
		"no HTTP":            {raw(t, "hello\n"), Unreachable, "malformed HTTP"},
		"nobody there":       {gone.URL, Unreachable, "refused"},
		"untrusted": {func() string {
			s := httptest.NewUnstartedServer(answer("x 1\n"))
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		}(), Untrusted, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			cf := conf(Target{URL: c.url, Timeout: 300 * time.Millisecond}, Target{URL: serve(t, answer("fine 1\n"))})
			cf.MaxBody, cf.MaxSamples = 2<<20, 50_000
			if c.reason != Timeout {
				cf.Targets[0].Timeout = time.Minute
			}
			s := newSource(t, cf, Sources{})
			specs, _ := s.discover(nil)
			out := &kept{}
			var bad, good *target
			for _, sp := range specs {
				if tg := s.newTarget(sp); strings.HasPrefix(sp.url, c.url) {
					bad = tg
				} else {
					good = tg
				}
			}
			bad.scrape(t.Context(), out)
			got := out.values()
			if up, ok := got["up"]; len(got) != 3 || !ok || up.Value != 0 || got["scrape_samples_scraped"].Value != 0 {
				t.Errorf("it left %v", got)
			}
			if n := s.stats.Failed[c.reason].Load(); n != 1 || s.stats.Scrapes.Load() != 1 || s.stats.Samples.Load() != 0 {
				for r := range reasons {
					t.Logf("%v: %d", r, s.stats.Failed[r].Load())
				}
				t.Errorf("%v is counted %d times", c.reason, n)
			}
			if st := bad.look(); st.Up || st.Err == nil || !strings.Contains(st.Err.Error(), c.says) {
				t.Errorf("status %+v does not say %q", st, c.says)
			}
			good.scrape(t.Context(), out)
			if got := out.values(); got["fine"].Value != 1 || got["up"].Value != 1 {
				t.Errorf("its neighbour: %v", got)
			}
		})
	}
}

func TestAPageOfJustTheLimitPasses(t *testing.T) {
	c := conf(Target{URL: serve(t, answer(strings.Repeat("# x\n", 1<<14)+"x 1\n"))})
	c.MaxBody = 1<<16 + 4
	tg, out := only(t, c), &kept{}
	tg.scrape(t.Context(), out)
	if err := tg.look().Err; err != nil || out.values()["x"].Value != 1 {
		t.Error(err)
	}
	c = conf(Target{URL: serve(t, answer("x 1\ny 1\n")), MaxSamples: 2})
	tg = only(t, c)
	tg.scrape(t.Context(), out)
	if err := tg.look().Err; err != nil || len(out.values()) != 5 {
		t.Error(err)
	}
}

// A large page comes in batches that are neither large nor small.
func TestALargePageComesInBatches(t *testing.T) {
	var page strings.Builder
	for i := range 6_000 {
		fmt.Fprintf(&page, "x{i=\"%d\"} %d\n", i, i)
	}
	tg, out := only(t, conf(Target{URL: serve(t, answer(page.String()))})), &kept{}
	tg.scrape(t.Context(), out)
	var sizes []int
	for _, b := range out.batches {
		sizes = append(sizes, len(b.Samples))
	}
	if fmt.Sprint(sizes) != "[5000 1003]" || len(out.values()) != 6_003 {
		t.Errorf("batches of %v", sizes)
	}
	st := &tg.src.stats
	if st.Plain.Load()+st.Dists.Load()+3 != st.Items.Load() || st.Lost.Load() != 0 {
		t.Errorf("%d items of %d", st.Items.Load(), st.Plain.Load())
	}
}

func TestCredentials(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got http.Header
	var host string
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		answer("x 1\n")(w, r)
	}))
	f := func(target Target, key, want string) {
		t.Helper()
		target.URL = url
		only(t, conf(target)).scrape(t.Context(), &kept{})
		if got.Get(key) != want {
			t.Errorf("%s: %q", key, got.Get(key))
		}
	}
	write("first\n")
	tg := only(t, conf(Target{URL: url, BearerTokenFile: token}))
	tg.scrape(t.Context(), &kept{})
	if got.Get("Authorization") != "Bearer first" {
		t.Errorf("%v", got)
	}
	write("second") // tokens are renewed: the file is read each time
	tg.scrape(t.Context(), &kept{})
	if got.Get("Authorization") != "Bearer second" {
		t.Errorf("%v", got)
	}
	write("")
	tg.scrape(t.Context(), &kept{})
	if err := tg.look().Err; err == nil || !strings.Contains(err.Error(), "bearer_token_file") || tg.src.stats.Failed[Untrusted].Load() != 1 {
		t.Errorf("an empty token: %v", err)
	}
	f(Target{Basic: Basic{User: "u", Password: "p"}}, "Authorization", "Basic dTpw")
	f(Target{Headers: []Header{{"X-Scope", "a"}}}, "X-Scope", "a")
	f(Target{}, "Authorization", "")
	f(Target{Timeout: 5 * time.Second}, "X-Prometheus-Scrape-Timeout-Seconds", "5")
	only(t, conf(Target{URL: url, Headers: []Header{{"Host", "other.example"}}})).scrape(t.Context(), &kept{})
	if host != "other.example" {
		t.Errorf("host %q", host)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(answer("x 1\n"))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		t.Helper()
		var b []byte
		for _, p := range blocks {
			b = append(b, pem.EncodeToMemory(p)...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := &pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}
	ca := write("ca.pem", cert)
	up := func(c TLS) float64 {
		out := &kept{}
		only(t, conf(Target{URL: server.URL, TLS: c})).scrape(t.Context(), out)
		return out.values()["up"].Value
	}
	for want, list := range map[float64][]TLS{
		1: {{CAFile: ca}, {InsecureSkipVerify: true}, {CAFile: ca, ServerName: "example.com"}},
		0: {{}, {CAFile: ca, ServerName: "other.org"}, {CAFile: filepath.Join(dir, "none")}, {CAFile: write("empty.pem")}, {CertFile: ca, KeyFile: ca}},
	} {
		for _, c := range list {
			if got := up(c); got != want {
				t.Errorf("%+v: up is %v", c, got)
			}
		}
	}
	// The server asks for a certificate.
	mutual := httptest.NewUnstartedServer(answer("x 1\n"))
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	mutual.Config.ErrorLog = server.Config.ErrorLog
	mutual.StartTLS()
	defer mutual.Close()
	server.URL = mutual.URL
	pair := TLS{CAFile: ca, CertFile: ca, KeyFile: write("key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: key})}
	if up(TLS{CAFile: ca}) != 0 || up(pair) != 1 {
		t.Error("a certificate of ours makes no difference")
	}
	// A new CA under the old name is taken with the scrape after the one that failed.
	pair.CAFile = write("ca2.pem", &pem.Block{Type: "CERTIFICATE", Bytes: otherCertificate(t)})
	tg, out := only(t, conf(Target{URL: mutual.URL, TLS: pair})), &kept{}
	tg.scrape(t.Context(), out)
	if out.values()["up"].Value != 0 {
		t.Error("another CA was trusted")
	}
	write("ca2.pem", cert)
	tg.scrape(t.Context(), out)
	if out.values()["up"].Value != 1 {
		t.Errorf("the new CA is not taken: %v", tg.look().Err)
	}
}

// A bug in reading a page is that target's failure and not the agent's end.
func TestAPanicIsAnErrorOfItsTarget(t *testing.T) {
	tg, out := only(t, conf(Target{URL: serve(t, answer("x 1\n"))})), &kept{}
	tg.page.owner = nil // to write to it panics
	tg.page.format = "text"
	tg.scrape(t.Context(), out)
	if err := tg.look().Err; err == nil || !strings.Contains(err.Error(), "panicked") || out.values()["up"].Value != 0 {
		t.Errorf("%v", err)
	}
	tg.scrape(t.Context(), out)
	if tg.look().Err != nil || out.values()["x"].Value != 1 {
		t.Error(tg.look().Err)
	}
}
