package gcpintake

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/protobuf/proto"
)

// The limits: cloud.google.com/monitoring/quotas, cloud.google.com/logging/quotas
// and the comments of monitoringpb v1.32.1 and loggingpb v1.21.1, read 2026-11.
const (
	MostSeries   = 200 // of a request
	MostLabels   = 30  // of a metric
	MostKey      = 100
	MostValue    = 1024
	MostType     = 200
	MostBuckets  = 200
	Spacing      = 5 * time.Second
	MaxAge       = 25 * time.Hour
	MaxAhead     = 5 * time.Minute
	MostLogBytes = 10_000_000
	MostEntry    = 256 << 10
)

var (
	labelKey   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]*$`)
	metricType = regexp.MustCompile(`^(custom|workload)\.googleapis\.com/[A-Za-z0-9_][A-Za-z0-9_./-]*$`)
	promType   = regexp.MustCompile(`^prometheus\.googleapis\.com/[a-zA-Z_:][a-zA-Z0-9_:]*/(gauge|counter|histogram|summary|summary:counter|unknown)$`)
	place      = regexp.MustCompile(`^(global|[a-z]+-[a-z]+[0-9]+(-[a-z])?)$`)
	logName    = regexp.MustCompile(`^projects/[a-z0-9.:-]+/logs/[A-Za-z0-9_.%-]{1,511}$`)
	traceName  = regexp.MustCompile(`^(projects/[a-z0-9.:-]+/traces/[0-9a-fA-F]{32})?$`)
	spanName   = regexp.MustCompile(`^projects/[a-z0-9.:-]+/traces/[0-9a-fA-F]{32}/spans/[0-9a-fA-F]{16}$`)
	spanID     = regexp.MustCompile(`^([0-9a-fA-F]{16})?$`)
)

// CheckRequest checks what holds for a request as a whole.
func CheckRequest(r *monitoringpb.CreateTimeSeriesRequest) error {
	switch n := len(r.GetTimeSeries()); {
	case !strings.HasPrefix(r.GetName(), "projects/") || len(r.GetName()) == len("projects/"):
		return refusal("Name %q must be projects/PROJECT", r.GetName())
	case n == 0:
		return refusal("Field timeSeries had an invalid value: at least one TimeSeries must be specified")
	case n > MostSeries:
		return refusal("Field timeSeries had an invalid value: a maximum of %d TimeSeries can be written with a single request, got %d", MostSeries, n)
	case len(r.ProtoReflect().GetUnknown()) > 0:
		return refusal("unknown fields")
	}
	return nil
}

// Key returns what tells a series from all others.
func Key(ts *monitoringpb.TimeSeries) string {
	return ts.GetMetric().GetType() + text(ts.GetMetric().GetLabels()) + " " + ts.GetResource().GetType() + text(ts.GetResource().GetLabels())
}

func text(labels map[string]string) string {
	var w strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&w, ",%s=%q", k, labels[k])
	}
	return "{" + strings.TrimPrefix(w.String(), ",") + "}"
}

// CheckSeries checks all that can be known of one series without the others.
func CheckSeries(ts *monitoringpb.TimeSeries, now time.Time) error {
	if len(ts.ProtoReflect().GetUnknown()) > 0 {
		return refusal("unknown fields in a series")
	}
	if len(ts.GetPoints()) != 1 {
		return refusal("Field points had an invalid value: %d points; exactly one is allowed", len(ts.GetPoints()))
	}
	p := ts.GetPoints()[0]
	return errors.Join(
		checkMetric(ts.GetMetric(), ts.GetResource().GetType()),
		CheckResource(ts.GetResource()),
		checkInterval(ts.GetMetricKind(), p.GetInterval(), now),
		checkValue(ts.GetMetricKind(), ts.GetValueType(), p.GetValue()),
	)
}

func checkMetric(m *metricpb.Metric, resource string) error {
	typ := m.GetType()
	prom := promType.MatchString(typ)
	if !prom && !metricType.MatchString(typ) || len(typ) > MostType {
		return refusal("Field metric.type had an invalid value of %q", typ)
	}
	if prom != (resource == "prometheus_target") {
		return refusal("The metric type %q cannot be written to resource %q", typ, resource)
	}
	if len(m.GetLabels()) > MostLabels {
		return refusal("%d labels: the limit is %d", len(m.GetLabels()), MostLabels)
	}
	for k, v := range m.GetLabels() {
		if !labelKey.MatchString(k) || len(k) > MostKey || len(v) > MostValue {
			return refusal("Field metric.labels[%q] had an invalid value of %d bytes", k, len(v))
		}
	}
	return nil
}

// resourceLabels returns the labels a resource of a type must have, all of
// them and no other (cloud.google.com/monitoring/api/resources).
func resourceLabels(typ string) []string {
	switch typ {
	case "gce_instance":
		return []string{"instance_id", "zone"}
	case "generic_node":
		return []string{"location", "namespace", "node_id"}
	case "generic_task":
		return []string{"job", "location", "namespace", "task_id"}
	case "k8s_cluster":
		return []string{"cluster_name", "location"}
	case "k8s_container":
		return []string{"cluster_name", "container_name", "location", "namespace_name", "pod_name"}
	case "k8s_node":
		return []string{"cluster_name", "location", "node_name"}
	case "k8s_pod":
		return []string{"cluster_name", "location", "namespace_name", "pod_name"}
	case "prometheus_target":
		return []string{"cluster", "instance", "job", "location", "namespace"}
	}
	return nil
}

// CheckResource checks a monitored resource.
func CheckResource(r *monitoredres.MonitoredResource) error {
	want := resourceLabels(r.GetType())
	if got := slices.Sorted(maps.Keys(r.GetLabels())); want == nil || !slices.Equal(got, want) {
		return refusal("The set of resource labels is incomplete or wrong for %q: %v, want %v", r.GetType(), got, want)
	}
	for k, v := range r.GetLabels() {
		if len(v) > MostValue || (k == "location" || k == "zone") && !place.MatchString(v) {
			return refusal("The resource label %s has an invalid value %.80q", k, v)
		}
	}
	return nil
}

func checkInterval(kind metricpb.MetricDescriptor_MetricKind, in *monitoringpb.TimeInterval, now time.Time) error {
	start, end := in.GetStartTime(), in.GetEndTime()
	if end.CheckValid() != nil || start != nil && start.CheckValid() != nil {
		return refusal("the interval %v is invalid", in)
	}
	at := end.AsTime()
	switch {
	case at.Before(now.Add(-MaxAge)):
		return refusal("Data points cannot be written more than 25h10s in the past.")
	case at.After(now.Add(MaxAhead)):
		return refusal("Data points cannot be written more than 5m in the future.")
	case kind == metricpb.MetricDescriptor_GAUGE && start != nil && !start.AsTime().Equal(at):
		return refusal("The start time must be equal to the end time for a gauge metric.")
	case kind == metricpb.MetricDescriptor_CUMULATIVE && (start == nil || !start.AsTime().Before(at)):
		return refusal("The start time must be before the end time for the non-gauge metric.")
	case kind != metricpb.MetricDescriptor_GAUGE && kind != metricpb.MetricDescriptor_CUMULATIVE:
		return refusal("The metric kind %v cannot be written.", kind)
	}
	return nil
}

func checkValue(kind metricpb.MetricDescriptor_MetricKind, typ metricpb.MetricDescriptor_ValueType, v *monitoringpb.TypedValue) error {
	switch x := v.GetValue().(type) {
	case *monitoringpb.TypedValue_DoubleValue:
		if typ != metricpb.MetricDescriptor_DOUBLE {
			return refusal("a double in a series of %v", typ)
		}
		if math.IsNaN(x.DoubleValue) || math.IsInf(x.DoubleValue, 0) {
			return refusal("Field doubleValue is not finite")
		}
		return nil
	case *monitoringpb.TypedValue_DistributionValue:
		if typ != metricpb.MetricDescriptor_DISTRIBUTION || kind == metricpb.MetricDescriptor_METRIC_KIND_UNSPECIFIED {
			return refusal("a distribution in a series of %v", typ)
		}
		return checkDistribution(x.DistributionValue)
	}
	return refusal("a value %T that is not ours", v.GetValue())
}

func checkDistribution(d *distribution.Distribution) error {
	total, buckets := int64(0), 0
	for _, n := range d.GetBucketCounts() {
		if n < 0 {
			return refusal("a bucket count below zero")
		}
		total += n
	}
	if d.GetCount() < 0 || total != d.GetCount() {
		return refusal("Field distributionValue.count is %d, but the sum of bucketCounts %d", d.GetCount(), total)
	}
	if m := d.GetMean(); math.IsNaN(m) || math.IsInf(m, 0) || d.GetCount() == 0 && (m != 0 || d.GetSumOfSquaredDeviation() != 0) || d.GetSumOfSquaredDeviation() < 0 {
		return refusal("Field distributionValue.mean is %v, of %d values", m, d.GetCount())
	}
	switch o := d.GetBucketOptions().GetOptions().(type) {
	case *distribution.Distribution_BucketOptions_ExplicitBuckets:
		b := o.ExplicitBuckets.GetBounds()
		buckets = len(b) + 1
		for i, v := range b {
			if math.IsNaN(v) || math.IsInf(v, 0) || i > 0 && v <= b[i-1] {
				return refusal("bounds must rise: %v", b)
			}
		}
	case *distribution.Distribution_BucketOptions_ExponentialBuckets:
		e := o.ExponentialBuckets
		buckets = int(e.GetNumFiniteBuckets()) + 2
		if e.GetNumFiniteBuckets() <= 0 || !(e.GetGrowthFactor() > 1) ||
			!(e.GetScale() > 0) ||
			math.IsInf(e.GetScale(), 0) || math.IsInf(e.GetGrowthFactor(), 0) {
			return refusal("exponential buckets %v", e)
		}
	default:
		return refusal("Field distributionValue.bucketOptions is missing")
	}
	if err := checkExemplars(d.GetExemplars()); err != nil {
		return err
	}
	if buckets > MostBuckets || len(d.GetBucketCounts()) > buckets {
		return refusal("%d buckets with %d counts: the limit is %d", buckets, len(d.GetBucketCounts()), MostBuckets)
	}
	return nil
}

// checkExemplars checks those of a distribution: in the order of their values,
// with at most one attachment of each type, which must be one that there is.
func checkExemplars(list []*distribution.Distribution_Exemplar) error {
	for i, e := range list {
		switch v := e.GetValue(); {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return refusal("an exemplar of %v", v)
		case i > 0 && v < list[i-1].GetValue():
			return refusal("exemplars must be in increasing order of value")
		case e.GetTimestamp() != nil && e.GetTimestamp().CheckValid() != nil, len(e.ProtoReflect().GetUnknown()) > 0:
			return refusal("an exemplar %v", e)
		}
		seen := map[string]bool{}
		for _, a := range e.GetAttachments() {
			m, err := a.UnmarshalNew()
			if err != nil || seen[a.GetTypeUrl()] || len(m.ProtoReflect().GetUnknown()) > 0 {
				return refusal("an exemplar's attachment %q: %v", a.GetTypeUrl(), err)
			}
			seen[a.GetTypeUrl()] = true
			switch m := m.(type) {
			case *monitoringpb.SpanContext:
				if !spanName.MatchString(m.GetSpanName()) {
					return refusal("an exemplar's span %q", m.GetSpanName())
				}
			case *monitoringpb.DroppedLabels:
				if len(m.GetLabel()) == 0 {
					return refusal("no labels were dropped")
				}
			default:
				return refusal("an exemplar's attachment %q", a.GetTypeUrl())
			}
		}
	}
	return nil
}

// CheckEntry checks a log entry.
func CheckEntry(e *loggingpb.LogEntry, now time.Time) error {
	if n := proto.Size(e); n > MostEntry {
		return refusal("Log entry with size %d exceeds maximum size of %d", n, MostEntry)
	}
	at := e.GetTimestamp()
	switch {
	case !logName.MatchString(e.GetLogName()):
		return refusal("Name %q is not a log's", e.GetLogName())
	case e.GetPayload() == nil:
		return refusal("an entry without payload")
	case len(e.ProtoReflect().GetUnknown()) > 0:
		return refusal("unknown fields in an entry")
	case at != nil && (at.CheckValid() != nil || at.AsTime().After(now.Add(24*time.Hour))):
		return refusal("Log entry timestamp is more than a day in the future")
	case at != nil && at.AsTime().Before(now.Add(-30*24*time.Hour)):
		return refusal("Log entry timestamp is older than the retention")
	case len(e.GetInsertId()) > 512:
		return refusal("insert_id is too long")
	case len(e.GetLabels()) > 64:
		return refusal("%d labels: the limit is 64", len(e.GetLabels()))
	case !traceName.MatchString(e.GetTrace()), !spanID.MatchString(e.GetSpanId()):
		return refusal("trace %q, span %q", e.GetTrace(), e.GetSpanId())
	case e.GetSeverity()%100 != 0 || e.GetSeverity() < 0 || e.GetSeverity() > 800:
		return refusal("severity %d", e.GetSeverity())
	}
	for k, v := range e.GetLabels() {
		if k == "" || len(k) > 512 || len(v) > 64<<10 {
			return refusal("label %.80q with %d bytes", k, len(v))
		}
	}
	return CheckResource(e.GetResource())
}

// words is an error in Google's own words, capitals and all.
type words string

func (w words) Error() string { return string(w) }

func refusal(format string, args ...any) error { return words(fmt.Sprintf(format, args...)) }
