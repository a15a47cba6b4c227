package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	logscol "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricscol "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecol "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
)

func attr(k, v string) *common.KeyValue {
	return &common.KeyValue{Key: k, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: v}}}
}

const ms = uint64(1e6)

// request holds one metric of a service.
func request(m ...*metrics.Metric) *metricscol.ExportMetricsServiceRequest {
	return &metricscol.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: []*common.KeyValue{
			attr("service.name", "shop"), attr("deployment.environment", "prod"), attr("host.name", "pod-7"), attr("telemetry.sdk.name", "x"), attr("process.command_line", "--password=1"),
		}},
		ScopeMetrics: []*metrics.ScopeMetrics{{Scope: &common.InstrumentationScope{Name: "http", Version: "1"}, Metrics: m}},
	}}}
}

func encode(t testing.TB, m proto.Message) []byte {
	t.Helper()
	p, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// decoded returns what the decoder makes of m, and how many points it rejects.
func decoded(t *testing.T, m *metricscol.ExportMetricsServiceRequest) (string, *decoder) {
	t.Helper()
	d := &decoder{}
	d.begin(time.Unix(100, 0))
	b := &signal.Batch{Kind: signal.Metric}
	if !d.metrics(encode(t, m), b) {
		t.Fatal("the request does not decode")
	}
	return signal.Format(b), d
}

func number(v float64, at uint64) *metrics.NumberDataPoint {
	return &metrics.NumberDataPoint{StartTimeUnixNano: 1 * ms, TimeUnixNano: at, Value: &metrics.NumberDataPoint_AsDouble{AsDouble: v}, Attributes: []*common.KeyValue{attr("k", "v")}}
}

func sum(temporality metrics.AggregationTemporality, monotonic bool, p ...*metrics.NumberDataPoint) *metrics.Metric {
	return &metrics.Metric{Name: "m", Unit: "By", Data: &metrics.Metric_Sum{Sum: &metrics.Sum{DataPoints: p, AggregationTemporality: temporality, IsMonotonic: monotonic}}}
}

const set = `{deployment.environment.name="prod",k="v",otel.scope.name="http",otel.scope.version="1",service.name="shop"}`

func TestEachSortOfMetricBecomesItsType(t *testing.T) {
	const cum, del = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	f := func(what string, m *metrics.Metric, want string) {
		t.Helper()
		if got, _ := decoded(t, request(m)); got != want {
			t.Errorf("%s:\n%s want\n%s", what, got, want)
		}
	}
	f("a gauge has no start", &metrics.Metric{Name: "m", Unit: "By", Data: &metrics.Metric_Gauge{Gauge: &metrics.Gauge{DataPoints: []*metrics.NumberDataPoint{number(1.5, 9*ms)}}}},
		"m"+set+" gauge By 1.5 @9\n")
	f("a cumulative monotonic sum is a counter", sum(cum, true, number(3, 9*ms)), "m"+set+" counter By 3 @9 from 1\n")
	f("a cumulative sum that may fall is a gauge", sum(cum, false, number(3, 9*ms)), "m"+set+" gauge By 3 @9\n")
	f("a delta sum", sum(del, true, number(3, 9*ms)), "m"+set+" delta By 3 @9 from 1\n")
	f("an integer", sum(del, true, &metrics.NumberDataPoint{StartTimeUnixNano: ms, TimeUnixNano: 9 * ms, Value: &metrics.NumberDataPoint_AsInt{AsInt: -7}, Attributes: []*common.KeyValue{attr("k", "v")}}),
		"m"+set+" delta By -7 @9 from 1\n")
	lo, hi, total := 1.0, 9.0, 12.0
	f("a histogram", &metrics.Metric{Name: "m", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{AggregationTemporality: cum, DataPoints: []*metrics.HistogramDataPoint{{
		StartTimeUnixNano: ms, TimeUnixNano: 9 * ms, Count: 3, Sum: &total, Min: &lo, Max: &hi, BucketCounts: []uint64{1, 2}, ExplicitBounds: []float64{5}, Attributes: []*common.KeyValue{attr("k", "v")},
	}}}}}, "m"+set+" cumdist - 0 @9 from 1 hist (count=3 sum=12 min=1 max=9 bounds=[5] counts=[1 2])\n")
	f("an exponential histogram", &metrics.Metric{Name: "m", Data: &metrics.Metric_ExponentialHistogram{ExponentialHistogram: &metrics.ExponentialHistogram{AggregationTemporality: del, DataPoints: []*metrics.ExponentialHistogramDataPoint{{
		StartTimeUnixNano: ms, TimeUnixNano: 9 * ms, Count: 4, Sum: &total, Scale: -1, ZeroCount: 1, ZeroThreshold: 0.5, Attributes: []*common.KeyValue{attr("k", "v")},
		Positive: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: -2, BucketCounts: []uint64{1, 300}}, Negative: &metrics.ExponentialHistogramDataPoint_Buckets{Offset: 1, BucketCounts: []uint64{1}},
	}}}}}, "m"+set+" dist - 0 @9 from 1 hist (count=4 sum=12 min=NaN max=NaN scale=-1 zero=1 width=0.5 pos=-2:[1 300] neg=1:[1])\n")
	f("a summary", &metrics.Metric{Name: "m", Data: &metrics.Metric_Summary{Summary: &metrics.Summary{DataPoints: []*metrics.SummaryDataPoint{{
		StartTimeUnixNano: ms, TimeUnixNano: 9 * ms, Count: 2, Sum: 7, Attributes: []*common.KeyValue{attr("k", "v")},
		QuantileValues: []*metrics.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 3}},
	}}}}}, "m"+set+" cumdist - 0 @9 from 1 hist (count=2 sum=7 min=NaN max=NaN q=[0.5:3])\n")
}

// Exemplars of histograms are kept, the newest ten; those of numbers have no place.
func TestExemplarsOfHistograms(t *testing.T) {
	trace, span := bytes.Repeat([]byte{0xab}, 16), bytes.Repeat([]byte{1}, 8)
	list := []*metrics.Exemplar{
		{TimeUnixNano: 7 * ms, Value: &metrics.Exemplar_AsDouble{AsDouble: 0.5}, TraceId: trace, SpanId: span, FilteredAttributes: []*common.KeyValue{attr("z", "1"), attr("a", "2")}},
		{Value: &metrics.Exemplar_AsInt{AsInt: -3}, TraceId: span},
		{Value: &metrics.Exemplar_AsDouble{AsDouble: math.NaN()}},
	}
	const kept = ` exemplar=0.5 @7 abababababababababababababababab 0101010101010101 {a="2",z="1"} exemplar=-3 @0 - - {}`
	f := func(what string, m *metrics.Metric, want string, left int64) {
		t.Helper()
		if got, d := decoded(t, request(m)); got != "m"+set+want+"\n" || d.exemplars != left {
			t.Errorf("%s:\n%s want\n%s; %d are left out, want %d", what, got, want, d.exemplars, left)
		}
	}
	number := number(3, 9*ms)
	number.Exemplars = list
	f("a number", sum(1, true, number), " delta By 3 @9 from 1", 3)
	labels, total := []*common.KeyValue{attr("k", "v")}, 2.0
	hist := &metrics.HistogramDataPoint{TimeUnixNano: 9 * ms, Count: 1, Sum: &total, Attributes: labels, Exemplars: list}
	histogram := &metrics.Metric{Name: "m", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{AggregationTemporality: 1, DataPoints: []*metrics.HistogramDataPoint{hist}}}}
	f("a histogram", histogram, " dist - 0 @9 hist (count=1 sum=2 min=NaN max=NaN"+kept+")", 1)
	f("an exponential one", &metrics.Metric{Name: "m", Data: &metrics.Metric_ExponentialHistogram{ExponentialHistogram: &metrics.ExponentialHistogram{AggregationTemporality: 2, DataPoints: []*metrics.ExponentialHistogramDataPoint{
		{TimeUnixNano: 9 * ms, Count: 1, Sum: &total, ZeroCount: 1, Attributes: labels, Exemplars: list},
	}}}}, " cumdist - 0 @9 hist (count=1 sum=2 min=NaN max=NaN scale=0 zero=1 width=0 pos=0:[] neg=0:[]"+kept+")", 1)
	hist.Exemplars = nil
	for i := range 12 {
		hist.Exemplars = append(hist.Exemplars, &metrics.Exemplar{TimeUnixNano: uint64(i) * ms, Value: &metrics.Exemplar_AsInt{}})
	}
	got, d := decoded(t, request(histogram))
	if strings.Count(got, "exemplar=") != 10 || d.exemplars != 2 {
		t.Errorf("%s, %d are left out", got, d.exemplars)
	}
}

func TestAPointWithADefectIsRejectedAlone(t *testing.T) {
	const cum = metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	f := func(what, why string, m *metrics.Metric) {
		t.Helper()
		got, d := decoded(t, request(m, sum(cum, true, number(1, 9*ms))))
		if d.rejected != 1 || !strings.Contains(d.why, why) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %d rejected (%s), left\n%s", what, d.rejected, d.why, got)
		}
	}
	total := 1.0
	hist := func(bounds []float64, counts []uint64, n uint64) *metrics.Metric {
		return &metrics.Metric{Name: "h", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{AggregationTemporality: cum, DataPoints: []*metrics.HistogramDataPoint{{TimeUnixNano: ms, Count: n, Sum: &total, BucketCounts: counts, ExplicitBounds: bounds}}}}}
	}
	f("no time", "without a time", sum(cum, true, number(1, 0)))
	f("no value", "without a value", sum(cum, true, &metrics.NumberDataPoint{TimeUnixNano: ms}))
	f("no temporality", "unspecified", sum(0, true, number(1, 9*ms)))
	f("too few counts", "one more count", hist([]float64{1, 2}, []uint64{1, 1}, 2))
	f("counts that do not add up", "add up", hist([]float64{1}, []uint64{1, 1}, 3))
	f("bounds that fall", "grow", hist([]float64{2, 1}, []uint64{1, 1, 1}, 3))
	if _, d := decoded(t, request(sum(cum, true, &metrics.NumberDataPoint{TimeUnixNano: ms, Flags: 1}))); d.rejected != 0 || d.empty != 1 {
		t.Errorf("a point that says there is no value: %d rejected, %d empty", d.rejected, d.empty)
	}
}

func TestAHistogramWithoutASumGetsTheBucketsBestGuess(t *testing.T) {
	h := &signal.Hist{Count: 4, Sum: math.NaN(), Bounds: []float64{10, 20}, Counts: []uint64{1, 2, 1}}
	if why := finish(h); why != "" || h.Sum != 10+2*15+20 {
		t.Errorf("%s, sum %v", why, h.Sum)
	}
}

func TestAttributesOfAllSortsAreText(t *testing.T) {
	v := func(x *common.AnyValue, want string) {
		t.Helper()
		got, ok := appendValue(nil, encode(t, x), 0)
		if !ok || string(got) != want {
			t.Errorf("%v became %q, %v; want %q", x, got, ok, want)
		}
	}
	str := func(s string) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
	}
	v(str("a\"b"), `a"b`)
	v(&common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}}, "true")
	v(&common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: -3}}, "-3")
	v(&common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: 0.5}}, "0.5")
	v(&common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte{1, 2}}}, "AQI=")
	list := &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: []*common.AnyValue{str("a\"\n"), {Value: &common.AnyValue_IntValue{IntValue: 1}}, {}}}}}
	v(list, `["a\"\u000a",1,null]`)
	v(&common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: []*common.KeyValue{{Key: "k", Value: list}, attr("x", "y")}}}}, `{"k":["a\"\u000a",1,null],"x":"y"}`)
	deep := str("end")
	for range 100 {
		deep = &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: []*common.AnyValue{deep}}}}
	}
	if got, ok := appendValue(nil, encode(t, deep), 0); !ok || !strings.Contains(string(got), "null") {
		t.Errorf("a hundred lists in one another: %s, %v", got, ok)
	}
}

func TestRecordsKeepTimeSeverityAndTrace(t *testing.T) {
	rec := &logs.LogRecord{
		TimeUnixNano: 5, SeverityNumber: 17, Body: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: "it broke"}}, Attributes: []*common.KeyValue{attr("z", "1"), attr("a", "2")},
		TraceId: bytes.Repeat([]byte{0xab}, 16), SpanId: bytes.Repeat([]byte{1}, 8), EventName: "e",
	}
	late := &logs.LogRecord{ObservedTimeUnixNano: 7, Body: &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: []*common.KeyValue{attr("m", "x")}}}}}
	req := &logscol.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{Resource: &resourcepb.Resource{Attributes: []*common.KeyValue{attr("service.name", "shop")}}, ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{rec, late, {}}}}}}}
	d := &decoder{}
	d.begin(time.Unix(100, 0).UTC())
	b := &signal.Batch{Kind: signal.Log}
	if !d.logs(encode(t, req), b) {
		t.Fatal("the request does not decode")
	}
	const want = `log {service.name="shop"} "otlp:19700101T000140.000000000" 0..3
  @5 3 "it broke" {a="2",event.name="e",span_id="0101010101010101",trace_id="abababababababababababababababab",z="1"}
  @7 - "{\"m\":\"x\"}" {}
  @100000000000 - "" {}
`
	if got := signal.Format(b); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for n, want := range map[uint64]uint8{0: 255, 1: 7, 8: 7, 9: 6, 10: 5, 13: 4, 17: 3, 18: 2, 19: 1, 21: 2, 24: 2, 25: 255} {
		if levelOf(n) != want {
			t.Errorf("severity %d is level %d", n, levelOf(n))
		}
	}
}

// sink keeps what it is given, or does what block and err say.
type sink struct {
	mu    sync.Mutex
	items int
	text  string
	err   error
}

func (s *sink) Put(_ context.Context, b *signal.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.items += b.Len()
	s.text += signal.Format(b)
	return nil
}

// serving starts a Source, and returns its addresses.
func serving(t *testing.T, c Config, out *sink) (s *Source, grpcAt, httpAt string) {
	t.Helper()
	c.Enabled, c.GRPC, c.HTTP = "true", "127.0.0.1:0", "127.0.0.1:0"
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s = New(c, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, out) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	for len(s.Bound()) < 2 {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	return s, strings.TrimPrefix(s.Bound()[0], "grpc://"), "http://" + strings.TrimPrefix(s.Bound()[1], "http://")
}

func dial(t *testing.T, at string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var good = request(sum(1, true, number(3, 9*ms)))

func TestGRPCTakesAndAnswersAsTheProtocolSays(t *testing.T) {
	out := &sink{}
	s, at, _ := serving(t, Default(), out)
	conn := dial(t, at)
	client := metricscol.NewMetricsServiceClient(conn)
	for _, opt := range []grpc.CallOption{grpc.EmptyCallOption{}, grpc.UseCompressor(grpcgzip.Name)} {
		r, err := client.Export(t.Context(), good, opt)
		if err != nil || r.GetPartialSuccess() != nil {
			t.Errorf("a good request: %v, %v", r, err)
		}
	}
	if out.items != 2 || !strings.Contains(out.text, `service.name="shop"`) {
		t.Errorf("the sink got %d items: %s", out.items, out.text)
	}
	r, err := client.Export(t.Context(), request(sum(1, true, number(3, 0), number(4, 9*ms))))
	if p := r.GetPartialSuccess(); err != nil || p.GetRejectedDataPoints() != 1 || p.GetErrorMessage() == "" || out.items != 3 {
		t.Errorf("one point of two has no time: %v, %v; the sink has %d", r, err, out.items)
	}
	if _, err := tracecol.NewTraceServiceClient(conn).Export(t.Context(), &tracecol.ExportTraceServiceRequest{}); status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "no traces") {
		t.Errorf("traces: %v", err)
	}
	lr, err := logscol.NewLogsServiceClient(conn).Export(t.Context(), &logscol.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{TimeUnixNano: 1}}}}}}})
	if err != nil || lr.GetPartialSuccess() != nil || out.items != 4 {
		t.Errorf("a line: %v, %v", lr, err)
	}

	out.mu.Lock()
	out.err = errors.New("full")
	out.mu.Unlock()
	_, err = client.Export(t.Context(), good)
	st := status.Convert(err)
	retry := false
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.RetryInfo); ok && i.GetRetryDelay().AsDuration() == again {
			retry = true
		}
	}
	if st.Code() != codes.Unavailable || !retry {
		t.Errorf("a spool that does not take it: %v, %v", err, st.Details())
	}
	if st := s.Stats(); st.Items.Load() != 4 || st.Failed.Load() != 1 || st.Rejected.Load() != 1 || st.Refused.Load() != 1 {
		t.Errorf("books: %d taken, %d failed, %d rejected, %d refused", st.Items.Load(), st.Failed.Load(), st.Rejected.Load(), st.Refused.Load())
	}
}

// answer posts a body and returns status, headers and the answer.
func answer(t *testing.T, url, kind, encoding string, body []byte, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(p)
}

func zipped(t *testing.T, p []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestHTTPTakesAndAnswersAsTheProtocolSays(t *testing.T) {
	out := &sink{}
	c := Default()
	c.MaxBody = 64 << 10
	s, _, at := serving(t, c, out)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := encode(t, good)
	f := func(what, path, kind, encoding string, body []byte, code int, in string) {
		t.Helper()
		if resp, got := answer(t, at+path, kind, encoding, body); resp.StatusCode != code || !strings.Contains(got, in) {
			t.Errorf("%s: %d %q, want %d with %q", what, resp.StatusCode, got, code, in)
		}
	}
	const pb, js = "application/x-protobuf", "application/json"
	f("protobuf", "/v1/metrics", pb, "", body, 200, "")
	f("gzip", "/v1/metrics", pb, "gzip", zipped(t, body), 200, "")
	f("zstd", "/v1/metrics", pb, "zstd", enc.EncodeAll(body, nil), 200, "")
	f("JSON", "/v1/metrics", js, "", []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"j","unknown":1,"gauge":{"dataPoints":[{"asInt":"7","timeUnixNano":"5000000"}]}}]}]}]}`), 200, "{}")
	f("JSON with a defect", "/v1/metrics", js, "", []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"j","gauge":{"dataPoints":[{"asInt":"7"}]}}]}]}]}`), 200, `{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"a point of j without a time"}}`)
	f("ids in JSON are hexadecimal", "/v1/logs", js+"; charset=utf-8", "", []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","body":{"stringValue":"x"}}]}]}]}`), 200, "{}")
	if !strings.Contains(out.text, `span_id="eee19b7ec3c1b174",trace_id="5b8efff798038103d269b633813fc60c"`) || out.items != 5 {
		t.Errorf("the sink has %d items:\n%s", out.items, out.text)
	}
	f("those of exemplars, too", "/v1/metrics", js, "", []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
		{"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"5000000","count":"1","sum":2,"exemplars":[{"asDouble":2,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}},
		{"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"5000000","count":"1","sum":2,"zeroCount":1,"exemplars":[{"asDouble":3,"traceId":"5b8efff798038103d269b633813fc60c"}]}]}}]}]}]}`), 200, "{}")
	if !strings.Contains(out.text, "exemplar=2 @0 5b8efff798038103d269b633813fc60c eee19b7ec3c1b174 {}") || !strings.Contains(out.text, "exemplar=3 @0 5b8efff798038103d269b633813fc60c - {}") {
		t.Errorf("the sink has\n%s", out.text)
	}
	f("no protobuf", "/v1/metrics", pb, "", []byte{0xff}, 400, "not a protobuf")
	f("no JSON", "/v1/metrics", js, "", []byte(`{"resourceMetrics":7}`), 400, `"code":3`)
	f("another type", "/v1/metrics", "text/plain", "", body, 415, "Content-Type must be")
	f("another encoding", "/v1/metrics", pb, "br", body, 415, "br")
	f("gzip that is none", "/v1/metrics", pb, "gzip", body, 400, "read the body")
	f("too large", "/v1/metrics", pb, "", make([]byte, 65<<10), 413, "max_body")
	f("a bomb of gzip", "/v1/metrics", pb, "gzip", zipped(t, make([]byte, 8<<20)), 413, "max_body")
	f("a bomb of zstd", "/v1/metrics", pb, "zstd", enc.EncodeAll(make([]byte, 8<<20), nil), 413, "max_body")
	f("traces", "/v1/traces", js, "", nil, 404, "no traces")
	out.mu.Lock()
	out.err = errors.New("full")
	out.mu.Unlock()
	resp, _ := answer(t, at+"/v1/metrics", pb, "", body)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("a spool that does not take it: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	if n := s.Stats().Malformed.Load(); n != 7 {
		t.Errorf("%d requests booked as malformed, want 7", n)
	}
}

func TestATokenIsAskedForOnBothTransports(t *testing.T) {
	out := &sink{}
	c := Default()
	c.Token = secret.String("s3cret")
	_, g, h := serving(t, c, out)
	client := metricscol.NewMetricsServiceClient(dial(t, g))
	if _, err := client.Export(t.Context(), good); status.Code(err) != codes.Unauthenticated {
		t.Errorf("gRPC without a token: %v", err)
	}
	if _, err := client.Export(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer s3cret"), good); err != nil {
		t.Errorf("gRPC with it: %v", err)
	}
	body := encode(t, good)
	if r, _ := answer(t, h+"/v1/metrics", protobufType, "", body); r.StatusCode != 401 {
		t.Errorf("HTTP without a token: %d", r.StatusCode)
	}
	if r, _ := answer(t, h+"/v1/metrics", protobufType, "", body, "Authorization", "Bearer s3cret"); r.StatusCode != 200 {
		t.Errorf("HTTP with it: %d", r.StatusCode)
	}
}

func TestTooManyRequestsAtOnceAreAskedToComeAgain(t *testing.T) {
	s := New(Default(), slog.New(slog.DiscardHandler))
	for range atOnce {
		if !s.enter() {
			t.Fatal("no place for one of those that there are places for")
		}
	}
	if s.enter() {
		t.Error("there is a place too many")
	}
	s.leave()
	if !s.enter() {
		t.Error("a place that was given back cannot be had")
	}
}

func TestAPortThatIsTakenIsNamed(t *testing.T) {
	out := &sink{}
	_, g, _ := serving(t, Default(), out)
	c := Default()
	c.Enabled, c.GRPC, c.HTTP = "true", g, ""
	err := New(c, slog.New(slog.DiscardHandler)).Run(t.Context(), out)
	if err == nil || !strings.Contains(err.Error(), "collect.otlp.grpc") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNotSentIsForgotten(t *testing.T) {
	d := &decoder{}
	b := &signal.Batch{Kind: signal.Metric}
	now := time.Unix(1000, 0)
	d.begin(now)
	d.metrics(encode(t, good), b)
	if d.series != 1 || len(d.resources) != 1 {
		t.Fatalf("%d series of %d resources are known", d.series, len(d.resources))
	}
	d.begin(now.Add(2 * Forget))
	if d.series != 0 || len(d.resources) != 0 {
		t.Errorf("%d series of %d resources are known after %v", d.series, len(d.resources), 2*Forget)
	}
}

func TestAKnownSeriesAllocatesNothing(t *testing.T) {
	body := page(100)
	d := &decoder{}
	b := &signal.Batch{Kind: signal.Metric, Samples: make([]signal.Sample, 0, 100)}
	run := func() {
		b.Samples = b.Samples[:0]
		d.begin(time.Unix(1000, 0))
		d.metrics(body, b)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 || len(b.Samples) != 100 {
		t.Errorf("%v allocations for %d points", n, len(b.Samples))
	}
}

func TestConfigComplainsOfEverythingAtOnce(t *testing.T) {
	c := Config{Enabled: "yes", GRPC: "x", HTTP: "x", MaxBody: 1, TLS: TLS{CertFile: "a", ClientCA: "b"}}
	err := c.Check()
	for _, key := range []string{"enabled:", "grpc:", "http:", "max_body:", "tls.cert_file:"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("no complaint about %s in: %v", key, err)
		}
	}
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
}

// page is a request of n points with five attributes each.
func page(n int) []byte {
	var points []*metrics.NumberDataPoint
	for i := range n {
		points = append(points, &metrics.NumberDataPoint{StartTimeUnixNano: ms, TimeUnixNano: 9 * ms, Value: &metrics.NumberDataPoint_AsDouble{AsDouble: float64(i)}, Attributes: []*common.KeyValue{
			attr("http.request.method", "GET"), attr("http.route", "/api/v1/items/"+strings.Repeat("x", i%7)), attr("http.response.status_code", "200"), attr("server.address", "shop"), attr("n", string(rune('a'+i%26))+string(rune('a'+i/26%26))),
		}})
	}
	p, err := proto.Marshal(request(sum(2, true, points...)))
	if err != nil {
		panic(err)
	}
	return p
}

// FuzzMetrics holds the decoder against protobuf's own: what that refuses, ours
// may take (it does not look where it need not), but never the other way round,
// and of what both take ours gives a sample or books a fate for each point.
func FuzzMetrics(f *testing.F) {
	f.Add(page(3))
	f.Add(encode(f, request(sum(0, true, number(1, 0)))))
	f.Add([]byte{0x0a, 0x00})
	f.Fuzz(func(t *testing.T, p []byte) {
		d := &decoder{}
		d.begin(time.Unix(1, 0))
		b := &signal.Batch{Kind: signal.Metric}
		ok := d.metrics(p, b)
		for _, s := range b.Samples {
			if set := s.Series.Desc().Labels; signal.Sorted(set) != set {
				t.Fatalf("labels out of order: %q", set)
			}
		}
		if frame := signal.AppendFrame(nil, b); signal.AppendFromFrame(&signal.Batch{Kind: signal.Metric}, frame) != nil {
			t.Fatal("what was decoded makes no good frame")
		}
		var want metricscol.ExportMetricsServiceRequest
		if proto.Unmarshal(p, &want) != nil {
			return
		}
		again, err := proto.Marshal(&want)
		if err != nil || !ok {
			return // groups and the like, which protobuf passes over and we refuse
		}
		points := int64(0)
		for _, rm := range want.GetResourceMetrics() {
			for _, sm := range rm.GetScopeMetrics() {
				for _, m := range sm.GetMetrics() {
					points += int64(len(m.GetGauge().GetDataPoints()) + len(m.GetSum().GetDataPoints()) + len(m.GetHistogram().GetDataPoints()) + len(m.GetExponentialHistogram().GetDataPoints()) + len(m.GetSummary().GetDataPoints()))
				}
			}
		}
		d.begin(time.Unix(1, 0))
		b.Samples = b.Samples[:0]
		if !d.metrics(again, b) || int64(len(b.Samples))+d.rejected+d.empty != points {
			t.Fatalf("%d samples, %d rejected, %d empty of %d points", len(b.Samples), d.rejected, d.empty, points)
		}
	})
}

// FuzzLogs holds the decoder of records against protobuf's own.
func FuzzLogs(f *testing.F) {
	f.Add(encode(f, &logscol.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{TimeUnixNano: 1, Attributes: []*common.KeyValue{attr("a", "b")}}}}}}}}))
	f.Fuzz(func(t *testing.T, p []byte) {
		d := &decoder{}
		d.begin(time.Unix(1, 0))
		b := &signal.Batch{Kind: signal.Log}
		d.logs(p, b)
		for l := range b.LinesIn(0, b.Len()) {
			if set := string(l.Attrs); signal.Sorted(set) != set || l.Time < 0 {
				t.Fatalf("line %+v", l)
			}
		}
		if frame := signal.AppendFrame(nil, b); signal.AppendFromFrame(&signal.Batch{Kind: signal.Log}, frame) != nil {
			t.Fatal("what was decoded makes no good frame")
		}
	})
}

// FuzzJSON: whatever a client sends as JSON is answered with yes or with
// "malformed", and what is given on is whole. Ids of one record or exemplar, be
// they hexadecimal of the right length, come out as they went in.
func FuzzJSON(f *testing.F) {
	const trace, span = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
	record := func(trace, span string) string {
		return `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","traceId":"` + trace + `","spanId":"` + span + `","body":{"stringValue":"x"}}]}]}]}`
	}
	histogram := func(trace, span string) string {
		return `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[` +
			`{"timeUnixNano":"5000000","count":"1","sum":2,"exemplars":[{"asDouble":2,"traceId":"` + trace + `","spanId":"` + span + `"}]}]}}]}]}]}`
	}
	f.Add(record(trace, span), trace, span)
	f.Add(histogram(trace, span), trace, span)
	f.Add(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"j","unknown":1,"gauge":{"dataPoints":[{"asInt":"7","timeUnixNano":"5000000"}]}}]}]}]}`, "", "AAAA")
	f.Add(`{"resourceLogs":7}`, strings.ToUpper(trace), "0")
	c := Default()
	if err := c.Check(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, trace, span string) {
		post := func(path, body string) (int, string) {
			t.Helper()
			out := &sink{}
			s := New(c, slog.New(slog.DiscardHandler))
			rec := httptest.NewRecorder()
			req := httptest.NewRequest("POST", path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			s.http(t.Context(), out).Handler.ServeHTTP(rec, req)
			if rec.Code != 200 && rec.Code != 400 || !json.Valid(rec.Body.Bytes()) {
				t.Fatalf("%s %q: %d %s", path, body, rec.Code, rec.Body)
			}
			return rec.Code, out.text
		}
		post("/v1/metrics", body)
		post("/v1/logs", body)
		id := func(s string, size int) string { // as it must come out, "" if it is none
			if p, err := hex.DecodeString(s); err == nil && len(p) == size {
				return strings.ToLower(s)
			}
			return ""
		}
		if id(trace, 16) == "" || id(span, 8) == "" {
			return
		}
		if code, got := post("/v1/logs", record(trace, span)); code != 200 || !strings.Contains(got, `span_id="`+id(span, 8)+`",trace_id="`+id(trace, 16)+`"`) {
			t.Errorf("%d, %s", code, got)
		}
		show := func(s string) string { // none, if it is all zeros
			if strings.Trim(s, "0") == "" {
				return "-"
			}
			return s
		}
		if code, got := post("/v1/metrics", histogram(trace, span)); code != 200 || !strings.Contains(got, "exemplar=2 @0 "+show(id(trace, 16))+" "+show(id(span, 8))+" {}") {
			t.Errorf("%d, %s", code, got)
		}
	})
}

func BenchmarkMetrics(b *testing.B) {
	body := page(10_000)
	d := &decoder{}
	batch := &signal.Batch{Kind: signal.Metric, Samples: make([]signal.Sample, 0, 10_000)}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		batch.Samples = batch.Samples[:0]
		d.begin(time.Unix(1000, 0))
		d.metrics(body, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/point")
}
