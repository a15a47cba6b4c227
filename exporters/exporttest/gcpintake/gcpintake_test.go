package gcpintake

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var now = time.Unix(1700000000, 0)

// good returns a series that obeys all rules.
func good() *monitoringpb.TimeSeries {
	return &monitoringpb.TimeSeries{
		Metric:     &metricpb.Metric{Type: "custom.googleapis.com/a", Labels: map[string]string{"k": "v"}},
		Resource:   &monitoredres.MonitoredResource{Type: "k8s_cluster", Labels: map[string]string{"location": "europe-west1", "cluster_name": "c"}},
		MetricKind: metricpb.MetricDescriptor_CUMULATIVE, ValueType: metricpb.MetricDescriptor_DOUBLE,
		Points: []*monitoringpb.Point{{
			Interval: &monitoringpb.TimeInterval{StartTime: timestamppb.New(now.Add(-time.Hour)), EndTime: timestamppb.New(now)},
			Value:    &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: 1}},
		}},
	}
}

// dist makes ts one of distributions.
func dist(ts *monitoringpb.TimeSeries, d *distribution.Distribution) {
	ts.ValueType = metricpb.MetricDescriptor_DISTRIBUTION
	ts.Points[0].Value.Value = &monitoringpb.TypedValue_DistributionValue{DistributionValue: d}
}

func bounds(b ...float64) *distribution.Distribution_BucketOptions {
	return &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_ExplicitBuckets{ExplicitBuckets: &distribution.Distribution_BucketOptions_Explicit{Bounds: b}}}
}

func exponential(n int32, growth, scale float64) *distribution.Distribution_BucketOptions {
	return &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_ExponentialBuckets{ExponentialBuckets: &distribution.Distribution_BucketOptions_Exponential{NumFiniteBuckets: n, GrowthFactor: growth, Scale: scale}}}
}

func TestRulesOfSeries(t *testing.T) {
	f := func(want string, change func(ts *monitoringpb.TimeSeries)) {
		t.Helper()
		ts := good()
		change(ts)
		if err := CheckSeries(ts, now); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	type ts = monitoringpb.TimeSeries
	end := func(d time.Duration) func(*ts) {
		return func(s *ts) { s.Points[0].Interval.EndTime = timestamppb.New(now.Add(d)) }
	}
	f("", func(*ts) {})
	f("exactly one", func(s *ts) { s.Points = append(s.Points, s.Points[0]) })
	f("exactly one", func(s *ts) { s.Points = nil })
	f("metric.type", func(s *ts) { s.Metric.Type = "kubernetes.io/container/uptime" })
	f("metric.type", func(s *ts) { s.Metric.Type = "custom.googleapis.com/a b" })
	f("metric.type", func(s *ts) { s.Metric.Type = "custom.googleapis.com/" + strings.Repeat("a", 200) })
	f("metric.type", func(s *ts) { s.Metric.Type = "prometheus.googleapis.com/a.b/gauge" })
	f("cannot be written to resource", func(s *ts) { s.Metric.Type = "prometheus.googleapis.com/a/gauge" })
	f("metric.labels", func(s *ts) { s.Metric.Labels["a.b"] = "" })
	f("metric.labels", func(s *ts) { s.Metric.Labels["_a"] = "" })
	f("metric.labels", func(s *ts) { s.Metric.Labels[strings.Repeat("a", 101)] = "" })
	f("metric.labels", func(s *ts) { s.Metric.Labels["a"] = strings.Repeat("a", 1025) })
	f("the limit is 30", func(s *ts) {
		for i := range 30 {
			s.Metric.Labels[fmt.Sprint("l", i)] = ""
		}
	})
	f("incomplete or wrong", func(s *ts) { delete(s.Resource.Labels, "location") })
	f("incomplete or wrong", func(s *ts) { s.Resource.Labels["project_id"] = "p" })
	f("incomplete or wrong", func(s *ts) { s.Resource.Type = "node" })
	f("resource label location", func(s *ts) { s.Resource.Labels["location"] = "" })
	f("resource label location", func(s *ts) { s.Resource.Labels["location"] = "here" })
	f("25h10s in the past", end(-26*time.Hour))
	f("5m in the future", end(6*time.Minute))
	f("start time must be before", end(-time.Hour))
	f("start time must be before", func(s *ts) { s.Points[0].Interval.StartTime = nil })
	f("start time must be equal", func(s *ts) { s.MetricKind = metricpb.MetricDescriptor_GAUGE })
	f("cannot be written", func(s *ts) { s.MetricKind = metricpb.MetricDescriptor_DELTA })
	f("is invalid", func(s *ts) { s.Points[0].Interval.EndTime = nil })
	f("a double in a series of", func(s *ts) { s.ValueType = metricpb.MetricDescriptor_INT64 })
	f("not finite", func(s *ts) { s.Points[0].Value.Value = &monitoringpb.TypedValue_DoubleValue{DoubleValue: math.NaN()} })
	f("that is not ours", func(s *ts) { s.Points[0].Value = nil })
	f("", func(s *ts) {
		dist(s, &distribution.Distribution{Count: 3, Mean: 1, BucketOptions: bounds(1, 2), BucketCounts: []int64{1, 2}})
	})
	f("sum of bucketCounts", func(s *ts) {
		dist(s, &distribution.Distribution{Count: 4, BucketOptions: bounds(1), BucketCounts: []int64{1, 2}})
	})
	f("below zero", func(s *ts) {
		dist(s, &distribution.Distribution{BucketOptions: bounds(1), BucketCounts: []int64{1, -1}})
	})
	f("mean", func(s *ts) { dist(s, &distribution.Distribution{Mean: 1, BucketOptions: bounds(1)}) })
	f("must rise", func(s *ts) { dist(s, &distribution.Distribution{BucketOptions: bounds(1, 1)}) })
	f("the limit is 200", func(s *ts) { dist(s, &distribution.Distribution{BucketOptions: exponential(199, 2, 1)}) })
	f("the limit is 200", func(s *ts) {
		dist(s, &distribution.Distribution{BucketOptions: bounds(1), BucketCounts: []int64{0, 0, 0}})
	})
	f("exponential buckets", func(s *ts) { dist(s, &distribution.Distribution{BucketOptions: exponential(1, 1, 1)}) })
	exemplars := func(e ...*distribution.Distribution_Exemplar) func(*ts) {
		return func(s *ts) { dist(s, &distribution.Distribution{BucketOptions: bounds(1), Exemplars: e}) }
	}
	attached := func(m ...proto.Message) *distribution.Distribution_Exemplar {
		e := &distribution.Distribution_Exemplar{}
		for _, m := range m {
			a, err := anypb.New(m)
			if err != nil {
				t.Fatal(err)
			}
			e.Attachments = append(e.Attachments, a)
		}
		return e
	}
	span := &monitoringpb.SpanContext{SpanName: "projects/p/traces/0af7651916cd43dd8448eb211c80319c/spans/b7ad6b7169203331"}
	f("", exemplars(attached(span, &monitoringpb.DroppedLabels{Label: map[string]string{"a": "b"}}), &distribution.Distribution_Exemplar{Value: 1}))
	f("increasing order", exemplars(&distribution.Distribution_Exemplar{Value: 1}, attached(span)))
	f("an exemplar of NaN", exemplars(&distribution.Distribution_Exemplar{Value: math.NaN()}))
	f("an exemplar's attachment", exemplars(attached(span, span)))
	f("an exemplar's attachment", exemplars(attached(timestamppb.New(now))))
	f("no labels", exemplars(attached(&monitoringpb.DroppedLabels{})))
	f("an exemplar's span", exemplars(attached(&monitoringpb.SpanContext{SpanName: "projects/p/traces/1/spans/b7ad6b7169203331"})))
	f("exponential buckets", func(s *ts) { dist(s, &distribution.Distribution{BucketOptions: exponential(1, 2, 0)}) })
	f("bucketOptions is missing", func(s *ts) { dist(s, &distribution.Distribution{}) })
	f("a distribution in a series of", func(s *ts) {
		dist(s, &distribution.Distribution{})
		s.ValueType = metricpb.MetricDescriptor_DOUBLE
	})
}

func TestRulesOfRequests(t *testing.T) {
	f := func(want, name string, n int) {
		t.Helper()
		err := CheckRequest(&monitoringpb.CreateTimeSeriesRequest{Name: name, TimeSeries: make([]*monitoringpb.TimeSeries, n)})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s with %d: %v, want %q", name, n, err, want)
		}
	}
	f("", "projects/p", 200)
	f("maximum of 200", "projects/p", 201)
	f("at least one", "projects/p", 0)
	f("projects/PROJECT", "p", 1)
	f("projects/PROJECT", "projects/", 1)
}

func TestRulesOfEntries(t *testing.T) {
	f := func(want string, change func(e *loggingpb.LogEntry)) {
		t.Helper()
		e := &loggingpb.LogEntry{
			LogName: "projects/p/logs/stdout", Resource: good().Resource, Timestamp: timestamppb.New(now), InsertId: "1",
			Payload: &loggingpb.LogEntry_TextPayload{TextPayload: "x"}, Labels: map[string]string{"a.b/c": "v"},
		}
		change(e)
		if err := CheckEntry(e, now); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	type entry = loggingpb.LogEntry
	f("", func(*entry) {})
	f("exceeds maximum size", func(e *entry) {
		e.Payload = &loggingpb.LogEntry_TextPayload{TextPayload: strings.Repeat("x", MostEntry)}
	})
	f("is not a log's", func(e *entry) { e.LogName = "projects/p/logs/a b" })
	f("is not a log's", func(e *entry) { e.LogName = "stdout" })
	f("without payload", func(e *entry) { e.Payload = nil })
	f("a day in the future", func(e *entry) { e.Timestamp = timestamppb.New(now.Add(25 * time.Hour)) })
	f("older than the retention", func(e *entry) { e.Timestamp = timestamppb.New(now.Add(-31 * 24 * time.Hour)) })
	f("insert_id", func(e *entry) { e.InsertId = strings.Repeat("x", 513) })
	f("the limit is 64", func(e *entry) {
		for i := range 65 {
			e.Labels[fmt.Sprint(i)] = ""
		}
	})
	f("trace", func(e *entry) { e.Trace = "4bf92f3577b34da6a3ce929d0e0e4736" })
	f("span", func(e *entry) { e.SpanId = "x" })
	f("severity", func(e *entry) { e.Severity = 150 })
	f("label", func(e *entry) { e.Labels[strings.Repeat("x", 513)] = "" })
	f("incomplete or wrong", func(e *entry) { e.Resource = nil })
}

// What earlier points fixed holds for later ones; the good ones of a request
// are stored, and the answer counts the others.
func TestTheServerRemembers(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Project, s.Now = "p", func() time.Time { return now }
	f := func(want string, stored int, change func(ts *monitoringpb.TimeSeries)) {
		t.Helper()
		bad := good()
		change(bad)
		other := good()
		other.Metric.Type += fmt.Sprint("/other", s.Requests().Series)
		before := len(s.Points())
		err := s.CreateTimeSeries(&monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{bad, other}})
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "timeSeries[0]")) {
			t.Errorf("%v, want %q", err, want)
		}
		if n := len(s.Points()) - before; n != stored {
			t.Errorf("%d stored, want %d", n, stored)
		}
		if err == nil {
			return
		}
		d, ok := status.Convert(err).Details()[0].(*monitoringpb.CreateTimeSeriesSummary)
		if !ok || d.GetTotalPointCount() != 2 || d.GetSuccessPointCount() != 1 || d.GetErrors()[0].GetPointCount() != 1 || d.GetErrors()[0].GetStatus().GetCode() != int32(codes.InvalidArgument) {
			t.Errorf("details %v", d)
		}
	}
	type ts = monitoringpb.TimeSeries
	move := func(start, end time.Duration) func(*ts) {
		return func(s *ts) {
			s.Points[0].Interval = &monitoringpb.TimeInterval{StartTime: timestamppb.New(now.Add(start)), EndTime: timestamppb.New(now.Add(end))}
		}
	}
	f("", 2, move(-time.Hour, -time.Minute))
	f("must be written in order", 1, move(-time.Hour, -time.Minute))
	f("must be written in order", 1, move(-time.Hour, -2*time.Minute))
	f("more frequently", 1, move(-time.Hour, -58*time.Second))
	f("older start time", 1, move(-30*time.Minute, -50*time.Second))
	f("", 2, move(-time.Minute+time.Millisecond, -50*time.Second))
	f("Value type", 1, func(s *ts) {
		s.MetricKind, s.Points[0].Interval.StartTime = metricpb.MetricDescriptor_GAUGE, nil
	})
	f("the limit is 30", 1, func(s *ts) {
		s.Metric.Labels = map[string]string{}
		for i := range 30 {
			s.Metric.Labels[fmt.Sprint("l", i)] = ""
		}
	})
	twice := &monitoringpb.CreateTimeSeriesRequest{Name: "projects/p", TimeSeries: []*monitoringpb.TimeSeries{good(), good()}}
	if err := s.CreateTimeSeries(twice); err == nil || !strings.Contains(err.Error(), "Duplicate TimeSeries") {
		t.Errorf("the same series twice: %v", err)
	}
	if err := s.CreateTimeSeries(&monitoringpb.CreateTimeSeriesRequest{Name: "projects/q", TimeSeries: twice.TimeSeries}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("another project: %v", err)
	}
}

func TestEntriesAreShownOnce(t *testing.T) {
	s := &Server{Now: func() time.Time { return now }}
	entry := func(id string) *loggingpb.LogEntry {
		return &loggingpb.LogEntry{LogName: "projects/p/logs/l", Resource: good().Resource, Timestamp: timestamppb.New(now), InsertId: id, Payload: &loggingpb.LogEntry_TextPayload{}}
	}
	bad := entry("bad")
	bad.Payload = nil
	f := func(r *loggingpb.WriteLogEntriesRequest, failed, shown int) {
		t.Helper()
		err := s.WriteLogEntries(r)
		n := 0
		if err != nil {
			n = len(status.Convert(err).Details()[0].(*loggingpb.WriteLogEntriesPartialErrors).GetLogEntryErrors())
		}
		if n != failed || len(s.Entries()) != shown {
			t.Errorf("%v: %d shown, want %d failed and %d shown", err, len(s.Entries()), failed, shown)
		}
	}
	f(&loggingpb.WriteLogEntriesRequest{PartialSuccess: true, DryRun: true, Entries: []*loggingpb.LogEntry{entry("1")}}, 0, 0)
	f(&loggingpb.WriteLogEntriesRequest{PartialSuccess: true, Entries: []*loggingpb.LogEntry{entry("1"), bad, entry("2")}}, 1, 2)
	f(&loggingpb.WriteLogEntriesRequest{PartialSuccess: true, Entries: []*loggingpb.LogEntry{entry("1"), entry("3")}}, 0, 3)
	f(&loggingpb.WriteLogEntriesRequest{Entries: []*loggingpb.LogEntry{entry("4"), bad}}, 1, 3)
	if err := s.WriteLogEntries(&loggingpb.WriteLogEntriesRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no entries: %v", err)
	}
}
