package influx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
)

// sends one body to a server that answers as told, and returns the requests it
// saw, one a line, and what Send made of it.
func sends(t *testing.T, change func(*Config), answers map[string]string) (seen string, err error) {
	t.Helper()
	e, log := against(t, change, answers)
	err = e.Send(t.Context(), []byte("m value=1 1\n"))
	return log(), err
}

// against returns an exporter of metrics for a server on this machine. answers
// are "STATUS BODY" by path.
func against(t *testing.T, change func(*Config), answers map[string]string) (e exporters.Exporter, log func() string) {
	t.Helper()
	var mu sync.Mutex
	var seen strings.Builder
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&seen, "%s %s auth=%q encoding=%q %q\n", r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Content-Encoding"), body)
		status := 204
		text := ""
		if a, ok := answers[r.URL.Path]; ok {
			fmt.Sscan(a, &status)
			_, text, _ = strings.Cut(a, " ")
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	c := Default()
	c.URL, c.Compression = s.URL+"/", "none"
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return Metrics("influx/metric", c, s.Client()), func() string {
		mu.Lock()
		defer mu.Unlock()
		return seen.String()
	}
}

func TestRequestsOfEachDialect(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		seen, err := sends(t, change, nil)
		if err != nil {
			t.Error(err)
		}
		if seen != want+"\n" {
			t.Errorf("sent\n%swant\n%s", seen, want)
		}
	}
	f(nil, `POST /write?db=causeway&precision=ms auth="" encoding="" "m value=1 1\n"`)
	f(func(c *Config) {
		c.Database, c.RetentionPolicy, c.Username, c.Password = "a b", "year", "me", "pw"
	}, `POST /write?db=a+b&precision=ms&rp=year auth="Basic bWU6cHc=" encoding="" "m value=1 1\n"`)
	f(func(c *Config) {
		c.API, c.Org, c.Bucket, c.Token = "v2", "acme", "k8s/autogen", "tok"
	}, `POST /api/v2/write?bucket=k8s%2Fautogen&org=acme&precision=ms auth="Token tok" encoding="" "m value=1 1\n"`)
	f(func(c *Config) {
		c.API, c.Token = "v3", "tok"
	}, `POST /api/v3/write_lp?accept_partial=true&db=causeway&precision=millisecond auth="Bearer tok" encoding="" "m value=1 1\n"`)
	if got := writePath(Default(), signal.Log); got != "/write?db=causeway&precision=ns" {
		t.Errorf("lines go to %s", got)
	}
}

func TestAMissingDatabaseIsCreatedOnce(t *testing.T) {
	missing := `404 {"error":"database not found: \"causeway\""}`
	e, log := against(t, nil, map[string]string{"/write": missing, "/query": `200 {"results":[{"statement_id":0}]}`})
	var first, second *exporters.Error
	if err := e.Send(t.Context(), []byte("m value=1 1\n")); !errors.As(err, &first) || first.Class != exporters.Retry {
		t.Errorf("after creating it: %v, want retry", err)
	}
	if err := e.Send(t.Context(), []byte("m value=1 1\n")); !errors.As(err, &second) || second.Class != exporters.Hold {
		t.Errorf("if it is missing again: %v, want hold", err)
	}
	if seen := log(); strings.Count(seen, "/query") != 1 || !strings.Contains(seen, `"q=CREATE+DATABASE+%22causeway%22"`) {
		t.Errorf("sent\n%s", seen)
	}

	seen, err := sends(t, nil, map[string]string{"/write": missing, "/query": `200 {"results":[{"statement_id":0,"error":"not allowed"}]}`})
	var refused *exporters.Error
	if !errors.As(err, &refused) || refused.Class != exporters.Hold || !strings.Contains(err.Error(), "not allowed") {
		t.Errorf("if it may not be created: %v\n%s", err, seen)
	}
	seen, err = sends(t, func(c *Config) { c.CreateDatabase = "false" }, map[string]string{"/write": missing})
	if !errors.As(err, &refused) || refused.Class != exporters.Hold || strings.Contains(seen, "/query") {
		t.Errorf("if it must not be created: %v\n%s", err, seen)
	}
	far := Default()
	far.URL = "http://influx.example.com:8086"
	if c := newClient("x", signal.Metric, far, nil); c.create {
		t.Error("auto creates a database on another machine")
	}
}

func TestConnectSaysWhatToMend(t *testing.T) {
	f := func(change func(*Config), path, answer, want string) {
		t.Helper()
		e, _ := against(t, change, map[string]string{path: answer})
		err := e.(interface{ Connect(context.Context) error }).Connect(t.Context())
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", answer, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret-token") {
			t.Errorf("the token is shown: %v", err)
		}
	}
	v2 := func(c *Config) { c.API, c.Bucket, c.Token = "v2", "b", "secret-token-abcd" }
	v3 := func(c *Config) { c.API, c.Token = "v3", "secret-token-abcd" }
	f(nil, "/write", "204", "")
	f(v2, "/api/v2/write", `400 {"code":"invalid","message":"writing requires points"}`, "")
	f(v3, "/api/v3/write_lp", "204", "")
	f(nil, "/write", `401 {"error":"authorization failed"}`, "check username and password")
	f(v2, "/api/v2/write", `401 {"message":"unauthorized access"}`, "the token that ends in abcd")
	f(nil, "/write", `403 {"error":"not authorized"}`, "grant WRITE")
	f(nil, "/write", `404 {"error":"database not found: \"causeway\""}`, "")
	f(func(c *Config) { c.CreateDatabase = "false" }, "/write", `404 {"error":"database not found: \"causeway\""}`, "create_database: true")
	f(v2, "/api/v2/write", `404 {"message":"bucket \"b\" not found"}`, "check org and bucket")
	f(nil, "/write", "404 page not found", "set api to what the server speaks")
	f(v3, "/api/v3/write_lp", "405", "set api to what the server speaks")
	f(nil, "/write", "307", "set url to that address")
	f(nil, "/write", "502 <html>", "answered 502")

	c := Default()
	c.URL = "http://127.0.0.1:1"
	err := Metrics("x", c, &http.Client{}).(*metrics).Connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is the server running there") {
		t.Errorf("nobody there: %v", err)
	}
}

// Lines that hold several items: a conflict of one field costs that item alone.
func TestOneFieldInConflictCostsItselfOnly(t *testing.T) {
	exporttest.Run(t, exporttest.Vendor{
		New: func(s *exporttest.Server, hc *http.Client) exporters.Exporter {
			c := Default()
			c.URL = s.URL
			return Metrics("influx/metric", c, hc)
		},
		Taken: exporttest.Reply{Status: http.StatusNoContent},
		// Items of one time and host, all fields of kernel: one line a batch.
		Batch: func(_ signal.Kind, first, n int) *signal.Batch {
			b := exporttest.Batch(signal.Metric, first, n)
			for i := range b.Samples {
				b.Samples[i].Series = signal.Intern(signal.Desc{Name: signal.SystemSoftIRQs, Type: signal.Gauge,
					Labels: signal.Labels(signal.LabelHost, "n", signal.LabelSoftIRQ, fmt.Sprint("item-", first+i))})
			}
			return b
		},
		Read: func(_ *http.Request, body []byte) ([]int, error) {
			points, err := readLines(string(body))
			if err != nil {
				return nil, err
			}
			var items []int
			for _, p := range points {
				for _, f := range p.fields {
					n, err := exporttest.Number(strings.TrimPrefix(f[0], "softirq_"))
					if err != nil {
						return nil, err
					}
					items = append(items, n)
				}
			}
			return items, nil
		},
		Refuse: map[string]func(places, items []int, body []byte) (exporttest.Reply, bool){
			// The whole line is refused, here the whole body.
			"conflict": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return exporttest.Reply{Status: 400, Body: fmt.Sprintf(
					`{"error":"partial write: field type conflict: input field \"softirq_item-%d\" on measurement \"kernel\" is type float, already exists as type integer dropped=%d"}`,
					items[places[0]], strings.Count(string(body), "\n"))}, false
			},
		},
	})
}
