package store

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ask serves one request to a path with a raw query string, and returns status and body.
func ask(t testing.TB, s *Store, method, target string, body io.Reader, header ...string) (int, []byte) {
	t.Helper()
	path, params, _ := strings.Cut(target, "?")
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.RawQuery = params
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := &statusRecorder{recorder: recorder{header: http.Header{}}, status: 200}
	s.Handler().ServeHTTP(w, r)
	return w.status, w.Bytes()
}

type statusRecorder struct {
	recorder
	status int
}

func (w *statusRecorder) WriteHeader(status int) { w.status = status }

func fuzzStore(f *testing.F) *Store {
	cfg := config(f)
	cfg.QueryTimeout = time.Second
	cfg.MaxBody = 64 << 10
	s, err := Open(cfg, quiet())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s
}

// Whatever is written: no panic, an answer of a known kind, balanced books.
func FuzzWrite(f *testing.F) {
	for _, line := range []string{
		"cpu,host=a usage=1.5,n=3i,ok=true,s=\"a b\" 1700000000000000000", "m v=1", "# x", "", "m,time=x v=1", "m time=1",
		"m v=NaN", "m v=3u", "a\\ b,c\\=d=e\\,f g\\ h=\"i\\\"j\" 1", "m v=\"line\nbreak\"\nm v=2", "m,=x v=1", "m,x= v=1", ",,, =", "m v=1 99999999999999999999",
	} {
		f.Add([]byte(line), "db=causeway", "")
		f.Add([]byte(line), "db=causeway&precision=s&rp=autogen", "")
	}
	f.Add(zipped(f, []byte("m v=1")).Bytes(), "db=causeway", "gzip")
	f.Add([]byte{0x1f, 0x8b, 8}, "db=causeway", "gzip")
	f.Add([]byte("m v=1"), "bucket=causeway/autogen&precision=us", "")
	s := fuzzStore(f)
	f.Fuzz(func(t *testing.T, body []byte, params, encoding string) {
		path := "/write?"
		if strings.Contains(params, "bucket") {
			path = "/api/v2/write?"
		}
		status, out := ask(t, s, "POST", path+params, bytes.NewReader(body), "Content-Encoding", encoding)
		switch status {
		case 204:
			if len(out) != 0 {
				t.Errorf("204 with a body: %q", out)
			}
		case 400, 404, 413, 500:
			var doc struct{ Error string }
			if err := json.Unmarshal(out, &doc); err != nil || doc.Error == "" {
				t.Errorf("%d: %q, %v", status, out, err)
			}
			if status == 500 && !strings.Contains(doc.Error, "retention policy not found") {
				t.Errorf("500: %s", out)
			}
		default:
			t.Errorf("status %d", status)
		}
		st := &s.Stats
		if st.Panics.Load() != 0 || st.Points.Load() != st.Stored.Load()+st.Dropped.Load()+st.Failed.Load() {
			t.Errorf("%d panics; %d points, %d stored, %d dropped, %d failed", st.Panics.Load(), st.Points.Load(), st.Stored.Load(), st.Dropped.Load(), st.Failed.Load())
		}
	})
}

// Whatever is asked: no panic, and JSON or CSV for an answer.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{
		"SELECT * FROM cpu", "SELECT mean(usage) FROM cpu WHERE time > now() - 1h GROUP BY time(1m), host fill(previous)",
		"SHOW MEASUREMENTS", "SHOW TAG VALUES WITH KEY = host", "SHOW FIELD KEYS", "SHOW STATS", "SHOW DIAGNOSTICS", "SELEKT",
		"SELECT derivative(max(n), 1s) FROM (SELECT n FROM cpu) GROUP BY *", "SELECT top(n, 2), host FROM cpu", "EXPLAIN ANALYZE SELECT n FROM cpu",
		"SELECT n FROM /c.*/ WHERE host =~ /a|b/ ORDER BY time DESC LIMIT 3 SLIMIT 1 tz('Europe/Berlin')", "SELECT $x FROM cpu",
		"SELECT holt_winters(mean(n), 2, 2) FROM cpu GROUP BY time(1m)", "SELECT percentile(n, 99) INTO x FROM cpu", "DELETE FROM cpu", "CREATE DATABASE d WITH DURATION 1h", "-- x",
	} {
		f.Add(q, `{"x":1}`, "ms", false)
		f.Add(q, "", "", true)
	}
	s := fuzzStore(f)
	if status, out := ask(f, s, "POST", "/write?db=causeway", strings.NewReader("cpu,host=a usage=1.5,n=3i\ncpu,host=b usage=2,n=4i,s=\"x\",ok=true")); status != 204 {
		f.Fatalf("%d %s", status, out)
	}
	f.Fuzz(func(t *testing.T, q, params, epoch string, sheet bool) {
		accept := "application/json"
		if sheet {
			accept = "text/csv"
		}
		form := url.Values{"q": {q}, "db": {"causeway"}, "params": {params}, "epoch": {epoch}}
		status, out := ask(t, s, "POST", "/query?"+form.Encode(), nil, "Accept", accept)
		if status != 200 && status != 400 {
			t.Errorf("status %d", status)
		}
		if (status != 200 || !sheet) && !json.Valid(out) {
			t.Errorf("no JSON: %q", out)
		}
		if n := s.Stats.Panics.Swap(0); n != 0 {
			t.Errorf("the engine panicked: %s", out)
		}
	})
}
