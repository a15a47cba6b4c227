package nrintake

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

var now = time.UnixMilli(1700000000000)

// said joins what an intake complained of.
func said(bad []error, err error) string {
	if e := errors.Join(errors.Join(bad...), err); e != nil {
		return e.Error()
	}
	return ""
}

func complains(t *testing.T, what, got, want string) {
	t.Helper()
	if want == "" && got != "" || !strings.Contains(got, want) {
		t.Errorf("%.200s: complained %q, want %q", what, got, want)
	}
}

func TestMetricsAreStrict(t *testing.T) {
	f := func(metric, want string) {
		t.Helper()
		body := `[{"common":{"timestamp":1700000000000,"interval.ms":10000,"attributes":{"host.name":"n"}},"metrics":[` + metric + `]}]`
		good, bad, err := Intake{Now: now}.Metrics([]byte(body))
		complains(t, metric, said(bad, err), want)
		if (len(good) == 1) != (want == "") {
			t.Errorf("%.200s: took %v", metric, good)
		}
	}
	f(`{"name":"a","type":"gauge","value":1}`, "")
	f(`{"name":"a","value":1}`, "")
	f(`{"name":"a","type":"count","value":0,"attributes":{"x":"y","n":1,"b":true}}`, "")
	f(`{"name":"a","type":"summary","value":{"count":1,"sum":2,"min":null,"max":3}}`, "")
	f(`{"name":"a","type":"summary","value":{"count":1,"min":null,"max":3}}`, "count and sum")
	f(`{"name":"a","type":"summary","value":1}`, "cannot unmarshal")
	f(`{"name":"a","type":"count","value":-1}`, "a count of -1")
	f(`{"name":"a","type":"count","value":1,"interval.ms":0}`, "interval.ms is required")
	f(`{"name":"a","type":"gauge","value":"1"}`, "is no number")
	f(`{"name":"a","type":"gauge","value":null}`, "is no number")
	f(`{"name":"a","type":"gauge","value":NaN}`, "invalid character")
	f(`{"name":"a","type":"histogram","value":1}`, `type "histogram"`)
	f(`{"name":"","type":"gauge","value":1}`, "a name of 0 characters")
	f(`{"name":"`+strings.Repeat("x", 256)+`","type":"gauge","value":1}`, "a name of 256 characters")
	f(`{"name":"a","value":1,"timestamp":1699830000000}`, "") // 47 hours
	f(`{"name":"a","value":1,"timestamp":1699820000000}`, "is 50h0m0s old")
	f(`{"name":"a","value":1,"timestamp":1700090000000}`, "old")
	f(`{"name":"a","value":1,"attributes":{"a":"x"}}`, `key "a" is reserved`)
	f(`{"name":"a","value":1,"attributes":{"count":"x"}}`, `key "count" is reserved`)
	f(`{"name":"a","value":1,"attributes":{"newrelic.source":"x"}}`, "is reserved")
	f(`{"name":"a","value":1,"attributes":{"a-b":"x"}}`, `key "a-b"`)
	f(`{"name":"a","value":1,"attributes":{"x":"`+strings.Repeat("x", 4096)+`"}}`, "4096 characters")
	f(`{"name":"a","value":1,"attributes":{"`+strings.Repeat("x", 256)+`":"x"}}`, "256 characters")
	f(`{"name":"a","value":1,"attributes":{"x":["y"]}}`, "type []interface")
	f(`{"name":"a","value":1,"attributes":{"x":"1","x":"2"}}`, "comes twice")
	f(`{"name":"a","value":1,"unit":"s"}`, "unknown field")
	many := `"k0":"v"`
	for i := range 100 {
		many += fmt.Sprintf(`,"x%d":"v"`, i)
	}
	f(`{"name":"a","value":1,"attributes":{`+many+`}}`, "102 attributes")
	f("{\"name\":\"a\xff\",\"value\":1}", "no UTF-8")
	if _, _, err := (Intake{}).Metrics([]byte(`[{"common":{}}]`)); err == nil {
		t.Error("a group without metrics was taken")
	}
	if _, _, err := (Intake{}).Metrics([]byte(`[] []`)); err == nil {
		t.Error("something behind the end was taken")
	}
}

func TestLogsAndEventsAreStrict(t *testing.T) {
	logs := func(line, want string) {
		t.Helper()
		_, bad, err := Intake{Now: now}.Logs([]byte(`[{"common":{"attributes":{"a":"b"}},"logs":[` + line + `]}]`))
		complains(t, line, said(bad, err), want)
	}
	logs(`{"timestamp":1700000000000,"message":"","attributes":{"x-y":"z"}}`, "")
	logs(`{"message":""}`, "no timestamp")
	logs(`{"timestamp":1700000000000}`, "without message")
	logs(`{"timestamp":1,"message":""}`, "old")
	logs(`{"timestamp":1700000000000,"message":"","attributes":{"message":"z"}}`, "is reserved")
	logs(`{"timestamp":1700000000000,"message":"`+strings.Repeat("x", 131073)+`"}`, "a message of 131073")
	logs(`{"timestamp":1700000000000,"message":"","level":"info"}`, "unknown field")
	events := func(event, want string) {
		t.Helper()
		_, bad, err := Intake{Now: now}.Events([]byte(`[` + event + `]`))
		complains(t, event, said(bad, err), want)
	}
	events(`{"eventType":"A","timestamp":1700000000000,"x":"y","n":3}`, "")
	events(`{"timestamp":1700000000000}`, `eventType ""`)
	events(`{"eventType":"A-B","timestamp":1700000000000}`, `eventType "A-B"`)
	events(`{"eventType":"A"}`, "no timestamp")
	events(`{"eventType":"A","timestamp":1700000000000,"x":{"y":1}}`, "type map")
	events(`{"eventType":"A","timestamp":1700000000000,"accountId":1}`, "is reserved")
}

func TestOTLPIsStrict(t *testing.T) {
	const start, end = 1700000000000000000, 1700000010000000000
	attr := func(k, v string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
	}
	f := func(m *metricspb.Metric, want string) {
		t.Helper()
		body, err := proto.Marshal(&metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
			Resource:     &resourcepb.Resource{Attributes: []*commonpb.KeyValue{attr("host.id", "h")}},
			ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{m}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		good, bad, err := Intake{Now: now}.OTLPMetrics(body)
		complains(t, m.String(), said(bad, err), want)
		if (len(good) == 1) != (want == "") {
			t.Errorf("%v: took %v", m, good)
		}
	}
	sum := func(temporality metricspb.AggregationTemporality, monotonic bool, start uint64, v float64, attrs ...*commonpb.KeyValue) *metricspb.Metric {
		return &metricspb.Metric{Name: "a", Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{AggregationTemporality: temporality, IsMonotonic: monotonic,
			DataPoints: []*metricspb.NumberDataPoint{{StartTimeUnixNano: start, TimeUnixNano: end, Attributes: attrs,
				Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: v}}}}}}
	}
	f(sum(delta, true, start, 1), "")
	f(sum(2, true, start, 1), "a sum that is")
	f(sum(delta, false, start, 1), "monotonic false")
	f(sum(delta, true, 0, 1), "an interval from 0")
	f(sum(delta, true, start, -1), "below zero")
	f(sum(delta, true, start, 1, attr("x", "1"), attr("x", "2")), "comes twice")
	f(sum(delta, true, start, 1, attr("a", "1")), "is reserved")
	f(sum(delta, true, start, 1, attr("x", strings.Repeat("x", 4096))), "4096 characters")
	f(&metricspb.Metric{Name: "a"}, "<nil>")
	hist := func(counts []uint64, bounds []float64) *metricspb.Metric {
		return &metricspb.Metric{Name: "a", Data: &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{AggregationTemporality: delta,
			DataPoints: []*metricspb.HistogramDataPoint{{StartTimeUnixNano: start, TimeUnixNano: end, Count: 3, BucketCounts: counts, ExplicitBounds: bounds}}}}}
	}
	f(hist([]uint64{1, 2}, []float64{1}), "")
	f(hist(nil, nil), "")
	f(hist([]uint64{1, 1}, []float64{1}), "buckets hold 2 of 3")
	f(hist([]uint64{1, 2}, nil), "2 buckets and 0 bounds")
	f(hist([]uint64{1, 1, 1}, []float64{2, 1}), "not in order")
	exp := func(n int) *metricspb.Metric {
		return &metricspb.Metric{Name: "a",
			Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{AggregationTemporality: delta,
				DataPoints: []*metricspb.ExponentialHistogramDataPoint{{StartTimeUnixNano: start, TimeUnixNano: end, Count: 1, ZeroCount: 1,
					Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{BucketCounts: make([]uint64, n)}}}}}}
	}
	f(exp(160), "")
	f(exp(161), "161 buckets")

	body, err := proto.Marshal(&logspb.LogsData{ResourceLogs: []*logspb.ResourceLogs{{ScopeLogs: []*logspb.ScopeLogs{{LogRecords: []*logspb.LogRecord{
		{TimeUnixNano: start, TraceId: []byte("short")}, {TimeUnixNano: start, SpanId: []byte("12345678"), SeverityText: "info"}, {TimeUnixNano: 1},
		{TimeUnixNano: start, Attributes: []*commonpb.KeyValue{attr("newrelic.event.type", "E")}},
	}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	good, events, bad, err := Intake{Now: now}.OTLPLogs(body)
	if len(good) != 1 || good[0].Attributes["span.id"] != "3132333435363738" || len(events) != 1 || events[0].Type != "E" || len(bad) != 2 || err != nil {
		t.Errorf("%v %v %v %v", good, events, bad, err)
	}
	if _, _, err := (Intake{}).OTLPMetrics([]byte("\xff")); err == nil {
		t.Error("no message was taken")
	}
	if _, _, err := (Intake{}).OTLPMetrics([]byte("\x10\x01")); err == nil {
		t.Error("an unknown field was taken")
	}
	if _, _, err := (Intake{}).OTLPMetrics([]byte("\x0a\x04\x12\x02\x28\x01")); err == nil || !strings.Contains(err.Error(), "ScopeMetrics has no field 5") {
		t.Errorf("an unknown field of a scope: %v", err)
	}
}

// The rules, each with its conditions one by one.
func TestEntities(t *testing.T) {
	f := func(want, name string, pairs ...string) {
		t.Helper()
		m := Metric{Name: name, Attributes: map[string]any{"newrelic.source": otlp}}
		for i := 0; i < len(pairs); i += 2 {
			m.Attributes[pairs[i]] = pairs[i+1]
		}
		var got []string
		for _, e := range Entities([]Metric{m, m}) {
			got = append(got, e.String())
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s %v made %q, want %q", name, pairs, got, want)
		}
	}
	const c, ns, pod, ctr = "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name"
	f("HOST h n", "system.cpu.time", "host.id", "h", "host.name", "n")
	f("HOST h ", "process.cpu.time", "host.id", "h")
	f("", "system.cpu.time", "host.name", "n")
	f("", "system.cpu.time", "host.id", "h", "service.name", "s")
	f("", "system.cpu.time", "host.id", "h", "container.id", "c")
	f("", "system.cpu.time", "host.id", "h", "newrelic.source", "metricAPI")
	f("HOST i i", "node_load1", "instance", "i", "instrumentation.provider", "prometheus", "newrelic.source", "metricAPI")
	f("CONTAINER c:n:p:a a", "container.cpu.usage", c, "c", ns, "n", pod, "p", ctr, "a")
	f("CONTAINER c:n:p:a a", "kube_pod_container_info", c, "c", ns, "n", pod, "p", ctr, "a")
	f("", "container.cpu.usage", c, "c", ns, "n", pod, "p")
	f("", "container.cpu.usage", c, "c", ns, "n", pod, "p", ctr, "a", "service.name", "s")
	f("KUBERNETES_POD c:n:p p", "kube_pod_info", c, "c", ns, "n", pod, "p")
	f("", "kube_pod_info", c, "c", ns, "n", pod, "p", ctr, "a")
	f("", "kube_pod_info", ns, "n", pod, "p")
	f("KUBERNETES_DEPLOYMENT c:n:d d", "kube_deployment_created", c, "c", ns, "n", "k8s.deployment.name", "d")
	f("KUBERNETES_CRONJOB c:n:d d", "kube_cronjob_info", c, "c", ns, "n", "k8s.cronjob.name", "d")
	f("KUBERNETES_REPLICASET c:n:r r", "kube_replicaset_owner", c, "c", ns, "n", "k8s.replicaset.name", "r")
	f("", "kube_replicaset_created", c, "c", ns, "n", "k8s.replicaset.name", "r")
	f("KUBERNETES_NAMESPACE c:n n", "kube_namespace_created", c, "c", ns, "n")
	f("KUBERNETESCLUSTER c c", "k8s.cluster.info", c, "c")
	f("", "k8s.cluster.infos", c, "c")
	f("EXT-SERVICE s s", "x", "service.name", "s", "instrumentation.provider", "opentelemetry")
}

func TestEventEntities(t *testing.T) {
	f := func(want, kind string, pairs ...string) {
		t.Helper()
		e := Event{Type: kind, Attributes: map[string]any{"k8s.cluster.name": "c", "k8s.namespace.name": "n", "k8s.object.kind": "Pod", "k8s.object.name": "p"}}
		for i := 0; i < len(pairs); i += 2 {
			e.Attributes[pairs[i]] = pairs[i+1]
		}
		if got := strings.Trim(fmt.Sprint(EventEntities([]Event{e, e})), "[]"); got != want {
			t.Errorf("%s %v: %q, want %q", kind, pairs, got, want)
		}
	}
	f("KUBERNETES_POD c:n:p p", "OtlpInfrastructureEvent")
	f("KUBERNETESCLUSTER c c", "OtlpInfrastructureEvent", "k8s.object.kind", "Cluster")
	f("", "KubernetesEvent")
	f("", "OtlpInfrastructureEvent", "service.name", "s")
	f("", "OtlpInfrastructureEvent", "k8s.cluster.name", "")
}

func TestServerAnswersAsNewRelic(t *testing.T) {
	s := &Server{Key: "k", Account: "7", Clock: func() time.Time { return now }}
	pack := func(body string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(body))
		_ = w.Close()
		return b.String()
	}
	f := func(status int, method, path, key, contentType, encoding, body, want string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Api-Key", key)
		r.Header.Set("Content-Type", contentType)
		if encoding != "" {
			r.Header.Set("Content-Encoding", encoding)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s %s %.40q: %d %s, want %d %s", method, path, body, w.Code, w.Body, status, want)
		}
	}
	const j, p, one = "application/json", "application/x-protobuf", `[{"metrics":[{"name":"a","value":1,"timestamp":1700000000000}]}]`
	f(202, "POST", "/metric/v1", "k", j, "", one, `{"requestId":"`)
	f(202, "POST", "/metric/v1", "k", j, "gzip", pack(one), `{"requestId":"`)
	f(400, "POST", "/metric/v1", "k", j, "gzip", one, "")
	f(400, "POST", "/metric/v1", "k", j, "", `{`, "")
	f(403, "POST", "/metric/v1", "x", j, "", one, "no such key")
	f(403, "POST", "/metric/v1", "", j, "", one, "no such key")
	f(404, "POST", "/metric/v2", "k", j, "", one, "")
	f(405, "GET", "/metric/v1", "k", j, "", "", "")
	f(413, "POST", "/metric/v1", "k", j, "", strings.Repeat(" ", 1_000_001), "")
	f(414, "POST", "/metric/v1?"+strings.Repeat("x", 9000), "k", j, "", one, "")
	f(415, "POST", "/metric/v1", "k", "text/plain", "", one, "")
	f(415, "POST", "/metric/v1", "k", j, "zstd", one, "")
	f(200, "POST", "/v1/accounts/7/events", "k", j, "", `[{"eventType":"A","timestamp":1700000000000}]`, `"success":true`)
	f(404, "POST", "/v1/accounts/8/events", "k", j, "", `[]`, "")
	f(200, "POST", "/v1/metrics", "k", p, "", "", "")
	f(400, "POST", "/v1/logs", "k", p, "gzip", pack("\xff"), "")
	s.Answer(429, 503)
	f(429, "POST", "/log/v1", "k", j, "", "", "")
	f(503, "POST", "/log/v1", "k", j, "", "", "")
	// A yes, and then it is dropped.
	f(202, "POST", "/metric/v1", "k", j, "", `[{"metrics":[{"name":"a","value":1,"timestamp":1},{"name":"b","value":1,"timestamp":1700000000000}]}]`,
		"requestId")
	if m, e := s.Metrics(), s.Errors(); len(m) != 3 || len(e) != 1 || !strings.Contains(e[0], "old") || len(s.Events()) != 1 || s.Requests("/log/v1") != 2 {
		t.Errorf("%v %v", m, e)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/log/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Api-Key", "k")
	r.ContentLength = -1
	if status, _ := s.admit("log", r); status != http.StatusLengthRequired {
		t.Errorf("without a length: %d", status)
	}
}
