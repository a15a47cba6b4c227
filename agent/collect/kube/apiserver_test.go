package kube

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

const someMetrics = `# HELP apiserver_request_total Counter of requests
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",group="",resource="pods",verb="LIST"} 7
apiserver_request_total{code="200",component="apiserver",group="apps",resource="deployments",verb="LIST"} 3
apiserver_request_total{code="429",resource="a \"quoted\", {odd} one",verb="GET"} 1 1767323045000
apiserver_request_total_of_another{code="200"} 9
apiserver_current_inflight_requests{request_kind="mutating"} 2
apiserver_storage_objects{resource="pods"} 31
apiserver_storage_objects{resource="odd\nname"} NaN
apiserver_request_total{code="200" 5
apiserver_request_total{code=200} 5
apiserver_request_total{code="200"
apiserver_request_total
go_goroutines 900
process_resident_memory_bytes 3.5e+08
process_start_time_seconds 1.767323045e+09
`

func TestMetricsOfTheServerAreSummed(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		b := &signal.Batch{Kind: signal.Metric}
		if err := readMetrics(iotest.HalfReader(strings.NewReader(text)), time.UnixMilli(5), b); err != nil {
			t.Fatal(err)
		}
		got := withoutNode(sorted(b))
		if strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	f(someMetrics, `
apiserver_current_inflight_requests{k8s.apiserver.instance="2026-01-02T03:04:05Z",request_kind="mutating"} gauge {request} 2 @5
apiserver_request_total{code="200",k8s.apiserver.instance="2026-01-02T03:04:05Z",verb="LIST"} counter {request} 10 @5 from 1767323045000
apiserver_request_total{code="429",k8s.apiserver.instance="2026-01-02T03:04:05Z",verb="GET"} counter {request} 1 @5 from 1767323045000
apiserver_storage_objects{k8s.apiserver.instance="2026-01-02T03:04:05Z",resource="pods"} gauge {object} 31 @5
go_goroutines{k8s.apiserver.instance="2026-01-02T03:04:05Z"} gauge {goroutine} 900 @5
process_resident_memory_bytes{k8s.apiserver.instance="2026-01-02T03:04:05Z"} gauge By 3.5e+08 @5`)
	f("", "")
	f("go_threads{x=\""+strings.Repeat("y", 200<<10)+"\"} 1\ngo_threads 7", "go_threads{} gauge {thread} 7 @5")
	if err := readMetrics(iotest.ErrReader(io.ErrUnexpectedEOF), time.UnixMilli(5), &signal.Batch{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that fails: %v", err)
	}
}

func FuzzServerMetrics(f *testing.F) {
	f.Add(someMetrics)
	f.Add("go_threads{")
	f.Add("go_threads{a=\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		b := &signal.Batch{Kind: signal.Metric}
		if err := readMetrics(strings.NewReader(text), time.UnixMilli(5), b); err != nil {
			t.Error(err)
		}
		if n := strings.Count(text, "\n") + 1; len(b.Samples) > n {
			t.Errorf("%d samples of %d lines", len(b.Samples), n)
		}
	})
}

func TestTheServersHealth(t *testing.T) {
	k := apiServerFor(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/livez":
			_, _ = io.WriteString(w, "ok")
		case "/readyz":
			http.Error(w, "[-]etcd failed", http.StatusInternalServerError)
		case "/metrics":
			http.Error(w, "no", http.StatusForbidden)
		}
	}, nil)
	c, err := k.open()
	if err != nil {
		t.Fatal(err)
	}
	s := &apiServer{rest: c.core.RESTClient()}
	b := &signal.Batch{Kind: signal.Metric}
	s.sample(t.Context(), b, true)
	got := map[string]float64{}
	for _, v := range b.Samples {
		if d := v.Series.Desc(); d.Name == signal.KubeAPIServerUp {
			got[signal.Lookup(d.Labels, "check")] = v.Value
		}
	}
	if len(got) != 2 || got["livez"] != 1 || got["readyz"] != 0 || len(b.Samples) != 4 {
		t.Errorf("%v in\n%s", got, signal.Format(b))
	}
	if e := text(s.err()); !strings.Contains(e, `nonResourceURLs ["/metrics"]`) || !strings.Contains(e, "get /readyz") {
		t.Error(e)
	}
}
