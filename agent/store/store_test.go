package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

// quiet is a log nobody reads.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// config is the default configuration with a directory and port of its own.
func config(t testing.TB) Config {
	t.Helper()
	cfg := Default()
	cfg.Dir, cfg.Listen = t.TempDir(), "127.0.0.1:0"
	return cfg
}

// server is a store that answers on a port of its own until the test ends.
type server struct {
	t     testing.TB
	store *Store
	url   string
}

func start(t testing.TB, cfg Config) *server {
	t.Helper()
	s, err := Open(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	v := &server{t, s, "http://" + s.Addr().String()}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return v
}

// answer is what a test looks at of an answer.
type answer struct {
	status int
	header http.Header
	body   string
}

func (v *server) do(method, path string, body io.Reader, header ...string) answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, v.url+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true, DisableCompression: true}).RoundTrip(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(p)}
}

// write posts lines to the configured database.
func (v *server) write(lines string) answer {
	v.t.Helper()
	return v.do("POST", "/write?db=causeway", strings.NewReader(lines))
}

// query posts q with more form values, given in pairs.
func (v *server) query(q string, more ...string) answer {
	v.t.Helper()
	form := url.Values{"q": {q}, "db": {"causeway"}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return v.do("POST", "/query", strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// wants fails unless a has the status and contains all texts.
func (a answer) wants(t testing.TB, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d; body: %.400s", a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("body does not contain %s\nbody: %.400s", text, a.body)
		}
	}
}

func zipped(t testing.TB, p []byte) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// noise returns n bytes that do not compress, the same every time.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(p) // never errs
	return p
}

// The texts and codes below are those of InfluxDB 1.6.7 (Debian's) and 1.13.2,
// tried against the former; clients match on them.
func TestWriteAnswersAsInfluxDB(t *testing.T) {
	v := start(t, config(t))
	f := func(path, body string, status int, texts ...string) {
		t.Helper()
		a := v.do("POST", path, strings.NewReader(body))
		a.wants(t, status, texts...)
		if status >= 400 && a.header.Get("X-Influxdb-Error") == "" {
			t.Errorf("%s: no X-Influxdb-Error", path)
		}
	}
	f("/write?db=causeway", "cpu,h=a v=1", 204)
	f("/write?db=causeway", "", 204)
	f("/write?db=causeway", "# a comment", 204)
	f("/write?db=causeway&rp=autogen&consistency=any", "cpu,h=a v=1", 204)
	f("/write", "cpu v=1", 400, `database is required`)
	f("/write?db=nodb", "cpu v=1", 404, `database not found: \"nodb\"`)
	f("/write?db=causeway&rp=nope", "cpu v=1", 500, `retention policy not found: nope`)
	f("/write?db=causeway&precision=q", "cpu v=1", 400, `invalid precision \"q\"`)
	f("/write?db=causeway&consistency=q", "cpu v=1", 400, `invalid consistency level`)
	f("/write?db=causeway", "bad\nworse", 400, `{"error":"unable to parse 'bad': missing fields`, `'worse'`)
	f("/write?db=causeway", "cpu v=NaN", 400, `unable to parse 'cpu v=NaN': invalid number`)
	f("/write?db=causeway", "cpu v=+Inf", 400, `unable to parse 'cpu v=+Inf': invalid boolean`)
	f("/write?db=causeway", "cpu v=3u", 400, `unable to parse 'cpu v=3u': invalid number`)
	f("/write?db=causeway", "cpu,h=p v=1\nbad\ncpu,h=q v=2", 400, `partial write: unable to parse 'bad': missing fields dropped=0`)
	f("/write?db=causeway", "cpu,h=s v=\"s\"\ncpu,h=t v=3", 400, `partial write: field type conflict: input field \"v\" on measurement \"cpu\" is type string, already exists as type float dropped=1`)
	f("/write?db=causeway", "cpu v=1 1000\ncpu v=1 2000\ncpu,h=r v=5", 400, `partial write: points beyond retention policy`, `dropped=2`)
	f("/write?db=causeway", "cpu,time=x v=1", 400, `partial write: invalid tag key: input tag \"time\"`, `dropped=1`)
	f("/api/v2/write?bucket=causeway", "v2 v=1 100", 400, `points beyond retention policy`)
	f("/api/v2/write?bucket=causeway/autogen&precision=s", fmt.Sprintf("v2 v=1 %d", time.Now().Unix()), 204)
	f("/api/v2/write?bucket=", "v2 v=1", 404, `bucket name`)
	f("/api/v2/write?bucket=causeway&precision=m", "v2 v=1", 400, `invalid precision \"m\"`)
	f("/api/v2/query", "from(bucket:)", 403, `Flux`)

	// What was good in a partial write is stored.
	v.query("SELECT v FROM cpu GROUP BY h").wants(t, 200, `"h":"p"`, `"h":"q"`, `"h":"r"`, `"h":"t"`)

	st := &v.store.Stats
	if p, n := st.Points.Load(), st.Stored.Load()+st.Dropped.Load()+st.Failed.Load(); p != n || p == 0 {
		t.Errorf("%d points, %d accounted for", p, n)
	}
}

// InfluxDB reports the conflict alone and says dropped=1 here.
func TestDroppedCountsEveryReasonAndEveryShard(t *testing.T) {
	v := start(t, config(t))
	now := time.Now()
	two := fmt.Sprintf("m v=1 %d\nm v=1 %d\n", now.UnixNano(), now.Add(-48*time.Hour).UnixNano())
	v.write(two).wants(t, 204)
	bad := strings.ReplaceAll(two, "v=1", `v="s"`) // one conflict in each of two shards
	a := v.write(bad + "m v=1 1000\nm,h=new v=2\nrubbish")
	a.wants(t, 400, "unable to parse 'rubbish'", "points beyond retention policy", "field type conflict", "dropped=3")
	v.query("SELECT count(v) FROM m").wants(t, 200, ",3]")
	st := &v.store.Stats
	if st.Stored.Load() != 3 || st.Dropped.Load() != 3 || st.Malformed.Load() != 1 {
		t.Errorf("stored %d, dropped %d, malformed %d", st.Stored.Load(), st.Dropped.Load(), st.Malformed.Load())
	}
}

func TestBodiesAreMeasuredBeforeAndAfterInflating(t *testing.T) {
	cfg := config(t)
	cfg.MaxBody = 64 << 10
	v := start(t, cfg)
	line := func(n int) []byte { return fmt.Appendf(nil, "m s=\"%s\"", strings.Repeat("x", n)) }
	f := func(body io.Reader, status int, header ...string) {
		t.Helper()
		v.do("POST", "/write?db=causeway", body, header...).wants(t, status)
	}
	f(zipped(t, line(10)), 204, "Content-Encoding", "gzip")
	f(bytes.NewReader(line(60<<10)), 204)
	f(bytes.NewReader(line(64<<10)), 413)
	f(io.MultiReader(bytes.NewReader(line(64<<10))), 413) // chunked: no Content-Length
	f(zipped(t, line(60<<10)), 204, "Content-Encoding", "gzip")
	f(zipped(t, line(64<<10)), 413, "Content-Encoding", "gzip")
	f(zipped(t, line(16<<20)), 413, "Content-Encoding", "gzip")
	f(io.MultiReader(zipped(t, noise(96<<10))), 413, "Content-Encoding", "gzip") // too long before it is inflated
	f(strings.NewReader("m v=1"), 400, "Content-Encoding", "gzip")
	if n := v.store.Stats.Oversize.Load(); n != 5 {
		t.Errorf("%d oversize bodies counted, want 5", n)
	}
}

func TestQueryAnswersAsInfluxDB(t *testing.T) {
	v := start(t, config(t))
	at := time.Now().Add(-time.Hour).Truncate(time.Minute)
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, "cpu,host=h%d usage=%d,n=%di %d\n", i%2, i, i, at.Add(time.Duration(i)*time.Second).UnixNano())
	}
	v.write(lines.String()).wants(t, 204)

	v.query("SHOW DATABASES").wants(t, 200, `"values":[["causeway"]]`)
	v.query("SHOW MEASUREMENTS").wants(t, 200, `"name":"measurements"`, `[["cpu"]]`)
	v.query("SHOW TAG KEYS").wants(t, 200, `"columns":["tagKey"],"values":[["host"]]`)
	v.query("SHOW TAG VALUES WITH KEY = host").wants(t, 200, `["host","h0"],["host","h1"]`)
	v.query("SHOW FIELD KEYS").wants(t, 200, `["n","integer"],["usage","float"]`)
	v.query("SHOW SERIES").wants(t, 200, `cpu,host=h0`, `cpu,host=h1`)
	v.query("SHOW RETENTION POLICIES").wants(t, 200, `["autogen","168h0m0s","24h0m0s",1,`)
	v.query("SHOW STATS; SHOW DIAGNOSTICS; SHOW STATS FOR 'indexes'; SHOW QUERIES; SHOW SHARDS; SHOW USERS; SHOW SUBSCRIPTIONS; SHOW CONTINUOUS QUERIES").
		wants(t, 200, `"statement_id":7`, `"name":"runtime"`, `"name":"queryExecutor"`, `"name":"build"`)

	where := fmt.Sprintf(" WHERE time >= %d AND time < %d ", at.UnixNano(), at.Add(time.Minute).UnixNano())
	v.query("SELECT mean(usage), max(n) FROM cpu"+where+"GROUP BY time(30s), host", "epoch", "s").
		wants(t, 200, `"tags":{"host":"h0"}`, `"columns":["time","mean","max"]`, fmt.Sprintf(`[%d,14,28],[%d,44,58]`, at.Unix(), at.Unix()+30))
	v.query("SELECT usage FROM cpu LIMIT 1", "epoch", "ms").wants(t, 200, fmt.Sprintf("[[%d,0]]", at.UnixMilli()))
	v.query("SELECT usage FROM cpu LIMIT 1", "epoch", "ns").wants(t, 200, fmt.Sprintf("[[%d,0]]", at.UnixNano()))
	v.query("SELECT usage FROM cpu LIMIT 1").wants(t, 200, `[["`+at.UTC().Format(time.RFC3339)+`",0]]`)
	v.query("SELECT usage FROM cpu LIMIT 1", "pretty", "true").wants(t, 200, "{\n    \"results\": [\n")
	v.query("SELECT count(usage) FROM cpu WHERE host = $h AND n > $n", "params", `{"h":"h1","n":29}`).wants(t, 200, `,15]`)
	v.query("SELECT count(usage) FROM cpu WHERE host = $h").wants(t, 400, "missing parameter: h")
	v.query("SELECT count(usage) FROM cpu WHERE host = $h", "params", `{"h":`).wants(t, 400, "error parsing query parameters")

	v.query("SELECT mean(usage) AS usage INTO cpu_mean FROM cpu"+where+"GROUP BY host").wants(t, 200, `"written"]`, `,2]`)
	v.query("SELECT usage FROM cpu_mean GROUP BY host").wants(t, 200, `,29]`, `,30]`)
	v.query("SELECT mean(usage) AS usage INTO nodb..x FROM cpu").wants(t, 200, `database not found: nodb`)

	v.query("SELECT * FROM x", "db", "nodb").wants(t, 200, `"error":"database not found: nodb"`)
	v.query("SELEKT").wants(t, 400, `error parsing query: found SELEKT`)
	v.query("").wants(t, 400, `missing required parameter \"q\"`)
	v.query("SELECT nothing FROM nowhere").wants(t, 200, `{"results":[{"statement_id":0}]}`)
	v.query("CREATE DATABASE causeway").wants(t, 200, `{"results":[{"statement_id":0}]}`)
	v.query("CREATE DATABASE causeway WITH DURATION 5h NAME other").wants(t, 200, `"error":"retention policy conflicts with an existing policy"`)
	v.write("big v=1e308").wants(t, 204)
	v.query("SELECT v*10.0 FROM big").wants(t, 200, `"error":"json: unsupported value: +Inf"`)
	v.do("GET", "/query?db=causeway&q=SELECT+count(n)+FROM+cpu", nil).wants(t, 200, `,60]`)
	v.do("GET", "/query?q=CREATE+DATABASE+byget", nil).wants(t, 200, `deprecated use`) // executed all the same: so does InfluxDB
	v.do("PUT", "/query", nil).wants(t, 405)
	v.do("GET", "/nothere", nil).wants(t, 404)
	v.query("SELECT n INTO later FROM cpu", "async", "true").wants(t, 204)
}

func TestChunkedAnswersAreOneDocumentALine(t *testing.T) {
	v := start(t, config(t))
	var lines strings.Builder
	for i := range 25 {
		fmt.Fprintf(&lines, "m v=%di %d\n", i, time.Now().UnixNano()+int64(i))
	}
	v.write(lines.String()).wants(t, 204)
	for _, enc := range []string{"", "gzip"} {
		a := v.do("GET", "/query?db=causeway&chunked=true&chunk_size=10&q=SELECT+v+FROM+m", nil, "Accept-Encoding", enc)
		if enc == "gzip" {
			z, err := gzip.NewReader(strings.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			p, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			a.body = string(p)
		}
		var sizes []int
		d := json.NewDecoder(strings.NewReader(a.body))
		for d.More() {
			var doc struct {
				Results []struct {
					Partial bool
					Series  []struct{ Values [][]any }
				}
			}
			if err := d.Decode(&doc); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, len(doc.Results[0].Series[0].Values))
			if more := len(sizes) < 3; doc.Results[0].Partial != more {
				t.Errorf("chunk %d: partial is %v", len(sizes), !more)
			}
		}
		if got := fmt.Sprint(sizes); got != "[10 10 5]" {
			t.Errorf("chunks of %s rows, want [10 10 5]", got)
		}
	}
}

// An answer that is not chunked is put together from the engine's chunks.
func TestWholeAnswersAreJoined(t *testing.T) {
	v := start(t, config(t))
	var lines strings.Builder
	now := time.Now().UnixNano()
	for i := range 2 * maxChunk {
		fmt.Fprintf(&lines, "m,h=%d v=%di %d\n", i%2, i, now+int64(i))
	}
	v.write(lines.String()).wants(t, 204)
	var doc struct {
		Results []struct {
			Series []struct {
				Partial bool
				Values  [][]any
			}
		}
	}
	a := v.query("SELECT v FROM m; SELECT v FROM m GROUP BY h")
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Results) != 2 || len(doc.Results[0].Series) != 1 || len(doc.Results[1].Series) != 2 {
		t.Fatalf("series do not hang together: %.300s", a.body)
	}
	if n := len(doc.Results[0].Series[0].Values); n != 2*maxChunk || doc.Results[0].Series[0].Partial {
		t.Errorf("%d rows, want %d", n, 2*maxChunk)
	}
}

func TestAnswersAreCutAtMaxRowsAndSaySo(t *testing.T) {
	cfg := config(t)
	cfg.MaxRows = 5
	v := start(t, cfg)
	var lines strings.Builder
	for i := range 8 {
		fmt.Fprintf(&lines, "m v=%di %d\n", i, time.Now().UnixNano()+int64(i))
	}
	v.write(lines.String()).wants(t, 204)
	a := v.query("SELECT v FROM m; SELECT v FROM m")
	a.wants(t, 200, `"partial":true`, `max_rows`)
	if n := strings.Count(a.body, "Z\""); n != 5 {
		t.Errorf("%d rows, want 5: %s", n, a.body)
	}
	a = v.query("SELECT v FROM m LIMIT 5")
	if strings.Contains(a.body, "partial") {
		t.Errorf("an answer that fits is marked as cut: %s", a.body)
	}
	if n := v.store.Stats.QueryCuts.Load(); n != 1 {
		t.Errorf("%d cuts counted, want 1", n)
	}
	v.query("SELECT v FROM m", "chunked", "true").wants(t, 200, `,7]`)

	a = v.query("SHOW STATS") // one result of many series
	a.wants(t, 200, `max_rows`)
	if n := strings.Count(a.body, `"columns"`); n > 6 {
		t.Errorf("%d series for 5 rows", n)
	}
}

func TestCSV(t *testing.T) {
	v := start(t, config(t))
	v.write(fmt.Sprintf("m,h=a v=1.5,s=\"x,y\",b=true %d\nm,h=b v=2 %[1]d", time.Now().UnixNano())).wants(t, 204)
	form := url.Values{"db": {"causeway"}, "epoch": {"h"}, "q": {"SELECT v,s,b FROM m GROUP BY h; SHOW MEASUREMENTS; SELECT x FROM nodb..x"}}
	a := v.do("GET", "/query?"+form.Encode(), nil, "Accept", "application/csv")
	hour := time.Now().Unix() / 3600
	want := fmt.Sprintf("name,tags,time,v,s,b\nm,h=a,%d,1.5,\"x,y\",true\nm,h=b,%[1]d,2,,\n\nname,tags,name\nmeasurements,,m\nerror\ndatabase not found: nodb\n", hour)
	if a.body != want {
		t.Errorf("got\n%s\nwant\n%s", a.body, want)
	}
	if got := a.header.Get("Content-Type"); got != "application/csv" {
		t.Errorf("content type %q", got)
	}
}

func TestSmallEndpoints(t *testing.T) {
	v := start(t, config(t))
	a := v.do("GET", "/ping", nil)
	a.wants(t, 204)
	if got := a.header.Get("X-Influxdb-Version"); got != Version {
		t.Errorf("version header %q", got)
	}
	v.do("HEAD", "/ping", nil).wants(t, 204)
	v.do("GET", "/ping?verbose=true", nil).wants(t, 200, `{"version":"`+Version+`"}`)
	v.do("GET", "/status", nil).wants(t, 204)
	v.do("GET", "/health", nil).wants(t, 200, `"status":"pass"`)
	v.do("GET", "/", nil).wants(t, 200, "embedded store", "for 168h")
	if got := v.query("SHOW DATABASES").header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("Access-Control-Allow-Origin %q", got)
	}
}

func TestVersionIsTheEngines(t *testing.T) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("no build information")
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/influxdata/influxdb" && m.Version != "v"+Version {
			t.Errorf("the engine is %s, Version says %s", m.Version, Version)
		}
	}
}

func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	v := start(t, config(t))
	own := strings.TrimPrefix(v.url, "http://")
	f := func(path string, status int, header ...string) {
		t.Helper()
		v.do("POST", path, strings.NewReader("m v=1"), header...).wants(t, status)
	}
	f("/write?db=causeway", 204)
	f("/write?db=causeway", 204, "Host", "localhost:8086")
	f("/write?db=causeway", 204, "Host", "[::1]:8086")
	f("/write?db=causeway", 204, "Host", "host.docker.internal:8086")
	f("/write?db=causeway", 204, "Origin", v.url, "Host", own)
	f("/write?db=causeway", 204, "Sec-Fetch-Site", "none")
	f("/write?db=causeway", 403, "Host", "evil.example:8086") // DNS rebinding
	f("/write?db=causeway", 403, "Host", "localhost.evil.example")
	f("/write?db=causeway", 403, "Origin", "https://evil.example")
	f("/write?db=causeway", 403, "Origin", "null")
	f("/write?db=causeway", 403, "Sec-Fetch-Site", "cross-site")
	f("/write?db=causeway", 403, "Sec-Fetch-Site", "same-site") // another port of this machine
	v.do("GET", "/query?q=DROP+DATABASE+causeway", nil, "Sec-Fetch-Site", "cross-site").wants(t, 403)
	v.do("GET", "/", nil, "Sec-Fetch-Site", "cross-site").wants(t, 200)
	if n := v.store.Stats.Foreign.Load(); n != 7 {
		t.Errorf("%d foreign requests counted, want 7", n)
	}
}

func TestStatementsThatWouldDoNothingAreRefused(t *testing.T) {
	v := start(t, config(t))
	f := func(q, text string) {
		t.Helper()
		v.query(q).wants(t, 200, `"error":"`, text)
	}
	f("CREATE CONTINUOUS QUERY c ON causeway BEGIN SELECT mean(v) INTO x FROM m GROUP BY time(1m) END", "does not run continuous queries")
	f("CREATE SUBSCRIPTION s ON causeway.autogen DESTINATIONS ALL 'udp://127.0.0.1:9'", "sends nothing to subscribers")
	f("CREATE USER u WITH PASSWORD 'p'", "knows no users")
	f("GRANT ALL ON causeway TO u", "knows no users")
}

func TestTheDatabaseOutlivesItsDropping(t *testing.T) {
	v := start(t, config(t))
	v.write("m v=1").wants(t, 204)
	v.query("DROP DATABASE causeway").wants(t, 200, `{"results":[{"statement_id":0}]}`)
	v.write("m v=2").wants(t, 204)
	v.query("SELECT count(v) FROM m").wants(t, 200, ",1]")
	v.query("DROP RETENTION POLICY autogen ON causeway").wants(t, 200)
	v.write("m v=3").wants(t, 204)
	v.query("SHOW RETENTION POLICIES").wants(t, 200, `["autogen","168h0m0s"`)
}

func TestReopeningKeepsDataAndAppliesRetention(t *testing.T) {
	cfg := config(t)
	cfg.Retention = 24 * time.Hour
	open := func() *Store {
		t.Helper()
		s, err := Open(cfg, quiet())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	count := func(s *Store) string {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/query?db=causeway&q=SELECT+count(v)+FROM+m", nil)
		w := &recorder{header: http.Header{}}
		s.Handler().ServeHTTP(w, r)
		return w.String()
	}
	s := open()
	now := time.Now()
	_, text := s.store("causeway", "", "", fmt.Appendf(nil, "m v=1 %d\nm v=2 %d", now.UnixNano(), now.Add(-5*time.Hour).UnixNano()))
	if text != "" {
		t.Fatal(text)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Retention = time.Hour
	s = open()
	defer s.Close()
	if got := count(s); !strings.Contains(got, ",2]") {
		t.Errorf("after reopening: %s", got)
	}
	db := s.engine.meta.Database("causeway")
	if rp := db.RetentionPolicy("autogen"); rp.Duration != time.Hour {
		t.Errorf("retention %v, want 1h", rp.Duration)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.tend(ended) // checks once
	if got := count(s); !strings.Contains(got, ",1]") {
		t.Errorf("after expiry: %s", got)
	}
	u, err := s.Usage(t.Context())
	if err != nil || u.Shards != 1 || u.Series != 1 {
		t.Errorf("usage %+v, %v", u, err)
	}
}

// recorder is an http.ResponseWriter that keeps the body.
type recorder struct {
	bytes.Buffer
	header http.Header
}

func (w *recorder) Header() http.Header { return w.header }
func (w *recorder) WriteHeader(int)     {}

func TestOpenSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	cfg := config(t)
	s, err := Open(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f := func(change func(*Config), texts ...string) {
		t.Helper()
		c := cfg
		c.Dir = t.TempDir()
		change(&c)
		s, err := Open(c, quiet())
		if err == nil {
			s.Close()
			t.Fatalf("opened; want an error with %q", texts)
		}
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q does not contain %q", err, text)
			}
		}
	}
	f(func(c *Config) { c.Dir = cfg.Dir }, "is in use by process "+fmt.Sprint(os.Getpid()), "another data_dir")
	f(func(c *Config) { c.Listen = s.Addr().String() }, "is taken", "set listen")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(func(c *Config) { c.Dir = file }, "cannot be written: not a directory", "data_dir")
	f(func(c *Config) { c.Dir = "" }, "dir: must be set")
	f(func(c *Config) { c.Listen = "0.0.0.0:8086" }, "not loopback", "real InfluxDB")
	f(func(c *Config) {
		if err := os.MkdirAll(filepath.Join(c.Dir, "meta"), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(c.Dir, "meta", "meta.db"), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
	}, "meta.db", "move")

	// A failed Open leaves the directory free.
	c := cfg
	c.Dir, c.Listen = t.TempDir(), s.Addr().String()
	if _, err := Open(c, quiet()); err == nil {
		t.Fatal("opened on a port that is taken")
	}
	c.Listen = cfg.Listen
	s2, err := Open(c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s2.Close(), s2.Close()); err != nil {
		t.Error(err)
	}
}

func TestConfigCheck(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	f := func(change func(*Config), want string) {
		t.Helper()
		c := Default()
		change(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s…", err, want)
		}
	}
	f(func(c *Config) { c.Listen = "8086" }, "listen: \"8086\" is not an address")
	f(func(c *Config) { c.Listen = "192.168.0.1:8086" }, "listen: 192.168.0.1:8086 is not loopback")
	f(func(c *Config) { c.Listen = ":8086" }, "listen: :8086 is not loopback")
	f(func(c *Config) { c.Listen = "127.0.0.1:http" }, "listen: \"http\" is not a port")
	f(func(c *Config) { c.Database = "a/b" }, "database: ")
	f(func(c *Config) { c.Database = "" }, "database: ")
	f(func(c *Config) { c.Retention = time.Minute }, "retention: must be at least 1h")
	f(func(c *Config) { c.MaxBody = 1 }, "max_body: ")
	f(func(c *Config) { c.CacheSize = 1 }, "cache_size: ")
	f(func(c *Config) { c.MaxQueries = 0 }, "max_queries: ")
	f(func(c *Config) { c.QueryTimeout = 0 }, "query_timeout: ")
	f(func(c *Config) { c.MaxPoints = 0 }, "max_points: ")
	f(func(c *Config) { c.MaxRows = 0 }, "max_rows: ")
	for _, good := range []string{"localhost:8086", "[::1]:8086", "127.0.0.53:1"} {
		c := Default()
		c.Listen, c.Retention = good, 0
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
}

// The engine appends to its last log file where that ended, even after cutting a
// torn record off that end; the hole between hides all that follows at the next start.
func TestATornLogHidesNothingThatFollows(t *testing.T) {
	cfg := config(t)
	for round := range 3 {
		s, err := Open(cfg, quiet())
		if err != nil {
			t.Fatal(err)
		}
		if status, text := s.store("causeway", "", "", fmt.Appendf(nil, "m,round=%d v=1", round)); status != 204 {
			t.Fatal(text)
		}
		if _, out := ask(t, s, "GET", "/query?db=causeway&q=SELECT+count(v)+FROM+m", nil); !strings.Contains(string(out), fmt.Sprintf(",%d]", round+1)) {
			t.Errorf("round %d: %s", round, out)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		logs, err := filepath.Glob(filepath.Join(cfg.Dir, "wal", "causeway", "autogen", "*", "*.wal"))
		if err != nil || len(logs) == 0 {
			t.Fatalf("no logs: %v", err)
		}
		f, err := os.OpenFile(logs[len(logs)-1], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write([]byte{1, 0, 0, 4, 0, 'o', 'n', 'l', 'y'}) // a record of 1,024 bytes, it says
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
