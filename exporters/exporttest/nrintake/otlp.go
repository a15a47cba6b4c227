package nrintake

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const delta = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA

// OTLPMetrics reads a body of /v1/metrics. (MetricsData is an
// ExportMetricsServiceRequest, without gRPC.) Cumulative sums are a complaint:
// New Relic takes them, but for what grows it recommends delta, and we send that.
func (in Intake) OTLPMetrics(body []byte) (good []Metric, bad []error, err error) {
	var msg metricspb.MetricsData
	if err := unmarshal(body, &msg); err != nil {
		return nil, nil, err
	}
	for _, rm := range msg.ResourceMetrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				g, b := in.otlpMetric(m, rm.Resource, sm.Scope)
				good, bad = append(good, g...), append(bad, b...)
			}
		}
	}
	return good, bad, nil
}

func (in Intake) otlpMetric(m *metricspb.Metric, resource *resourcepb.Resource, scope *commonpb.InstrumentationScope) (good []Metric, bad []error) {
	shared, sharedErr := flatten(nil, resource.GetAttributes())
	add := func(p Metric, start, end uint64, attrs []*commonpb.KeyValue, e error) {
		own, err := flatten(nil, attrs)
		p.Name, p.Unit, p.Attributes = m.Name, m.Unit, union(shared, own)
		p.Attributes["otel.library.name"] = scope.GetName()
		ms := int64(end / 1e6)
		if p.Type != "gauge" {
			if start == 0 || start >= end {
				e = errors.Join(e, fmt.Errorf("an interval from %d to %d", start, end))
			}
			ms, p.Interval = int64(start/1e6), int64(end/1e6)-int64(start/1e6)
		}
		if n := len(m.Name); n == 0 || n > mostKey {
			e = errors.Join(e, fmt.Errorf("a name of %d bytes", n))
		}
		if e = errors.Join(e, sharedErr, err, in.stamp(&p.Time, &ms), attributes(p.Attributes, mostMetricAttrs+1, m.Name)); e != nil {
			bad = append(bad, fmt.Errorf("metric %q: %w", m.Name, e))
			return
		}
		p.Attributes["newrelic.source"] = "api.metrics.otlp"
		good = append(good, p)
	}
	switch data := m.Data.(type) {
	case *metricspb.Metric_Gauge:
		for _, d := range data.Gauge.DataPoints {
			add(Metric{Type: "gauge", Value: d.GetAsDouble()}, d.StartTimeUnixNano, d.TimeUnixNano, d.Attributes, number(d))
		}
	case *metricspb.Metric_Sum:
		var e error
		if data.Sum.AggregationTemporality != delta || !data.Sum.IsMonotonic {
			e = fmt.Errorf("a sum that is %v, monotonic %v", data.Sum.AggregationTemporality, data.Sum.IsMonotonic)
		}
		for _, d := range data.Sum.DataPoints {
			if d.GetAsDouble() < 0 {
				e = errors.Join(e, errors.New("a count below zero"))
			}
			add(Metric{Type: "count", Value: d.GetAsDouble()}, d.StartTimeUnixNano, d.TimeUnixNano, d.Attributes, errors.Join(e, number(d)))
		}
	case *metricspb.Metric_Histogram:
		for _, d := range data.Histogram.DataPoints {
			p := Metric{Type: "histogram", Count: float64(d.Count), Sum: d.GetSum(), Min: d.Min, Max: d.Max, Bounds: d.ExplicitBounds, Counts: d.BucketCounts}
			err := errors.Join(histogram(data.Histogram, d), p.exemplify(d.Exemplars))
			add(p, d.StartTimeUnixNano, d.TimeUnixNano, d.Attributes, err)
		}
	case *metricspb.Metric_ExponentialHistogram:
		for _, d := range data.ExponentialHistogram.DataPoints {
			p := Metric{Type: "exponential", Count: float64(d.Count), Sum: d.GetSum(), Min: d.Min, Max: d.Max,
				Scale: d.Scale, Offset: d.Positive.GetOffset(), Counts: d.Positive.GetBucketCounts()}
			err := errors.Join(exponential(data.ExponentialHistogram, d), p.exemplify(d.Exemplars))
			add(p, d.StartTimeUnixNano, d.TimeUnixNano, d.Attributes, err)
		}
	default:
		bad = append(bad, fmt.Errorf("metric %q: %T", m.Name, m.Data))
	}
	return good, bad
}

// exemplify gives a point its exemplars.
func (p *Metric) exemplify(list []*metricspb.Exemplar) error {
	var errs []error
	for _, e := range list {
		x := Exemplar{Value: e.GetAsDouble(), Time: int64(e.TimeUnixNano / 1e6), Trace: hex.EncodeToString(e.TraceId), Span: hex.EncodeToString(e.SpanId)}
		var err error
		if len(e.FilteredAttributes) > 0 {
			x.Attributes, err = flatten(nil, e.FilteredAttributes)
		}
		if _, is := e.Value.(*metricspb.Exemplar_AsDouble); !is || math.IsNaN(x.Value) || math.IsInf(x.Value, 0) {
			err = errors.Join(err, fmt.Errorf("an exemplar of %v", e.Value))
		}
		if len(e.TraceId)%16 != 0 || len(e.SpanId)%8 != 0 || len(e.TraceId) > 16 || len(e.SpanId) > 8 {
			err = errors.Join(err, fmt.Errorf("an exemplar of trace %s, span %s", x.Trace, x.Span))
		}
		p.Exemplars, errs = append(p.Exemplars, x), append(errs, err)
	}
	return errors.Join(errs...)
}

func number(d *metricspb.NumberDataPoint) error {
	if _, ok := d.Value.(*metricspb.NumberDataPoint_AsDouble); !ok || math.IsNaN(d.GetAsDouble()) || math.IsInf(d.GetAsDouble(), 0) {
		return fmt.Errorf("a value of %v", d.Value)
	}
	return nil
}

func histogram(h *metricspb.Histogram, d *metricspb.HistogramDataPoint) error {
	var errs []error
	if h.AggregationTemporality != delta {
		errs = append(errs, fmt.Errorf("temporality %v", h.AggregationTemporality))
	}
	if n := len(d.BucketCounts); n > 0 && n != len(d.ExplicitBounds)+1 || n == 0 && len(d.ExplicitBounds) > 0 {
		errs = append(errs, fmt.Errorf("%d buckets and %d bounds", n, len(d.ExplicitBounds)))
	}
	sum := uint64(0)
	for _, n := range d.BucketCounts {
		sum += n
	}
	if len(d.BucketCounts) > 0 && sum != d.Count {
		errs = append(errs, fmt.Errorf("buckets hold %d of %d", sum, d.Count))
	}
	for i := 1; i < len(d.ExplicitBounds); i++ {
		if !(d.ExplicitBounds[i-1] < d.ExplicitBounds[i]) {
			errs = append(errs, errors.New("bounds are not in order"))
		}
	}
	return errors.Join(errs...)
}

func exponential(h *metricspb.ExponentialHistogram, d *metricspb.ExponentialHistogramDataPoint) error {
	var errs []error
	if h.AggregationTemporality != delta {
		errs = append(errs, fmt.Errorf("temporality %v", h.AggregationTemporality))
	}
	sum := d.ZeroCount
	for _, b := range [][]uint64{d.Positive.GetBucketCounts(), d.Negative.GetBucketCounts()} {
		if len(b) > 160 {
			errs = append(errs, fmt.Errorf("%d buckets", len(b)))
		}
		for _, n := range b {
			sum += n
		}
	}
	if sum != d.Count {
		errs = append(errs, fmt.Errorf("buckets hold %d of %d", sum, d.Count))
	}
	return errors.Join(errs...)
}

// OTLPLogs reads a body of /v1/logs. Records with newrelic.event.type become
// events.
func (in Intake) OTLPLogs(body []byte) (good []Log, events []Event, bad []error, err error) {
	var msg logspb.LogsData
	if err := unmarshal(body, &msg); err != nil {
		return nil, nil, nil, err
	}
	for _, rl := range msg.ResourceLogs {
		for _, sl := range rl.ScopeLogs {
			for _, r := range sl.LogRecords {
				shared, e := flatten(nil, rl.Resource.GetAttributes())
				own, e2 := flatten(nil, r.Attributes)
				l := Log{Message: r.Body.GetStringValue(), Attributes: union(shared, own)}
				ms := int64(r.TimeUnixNano / 1e6)
				e = errors.Join(e, e2, in.stamp(&l.Time, &ms), attributes(l.Attributes, mostAttrs, "timestamp", "message"))
				if len(l.Message) > mostMessage {
					e = errors.Join(e, fmt.Errorf("a message of %d bytes", len(l.Message)))
				}
				if n := len(r.TraceId); n != 0 && n != 16 {
					e = errors.Join(e, fmt.Errorf("a trace id of %d bytes", n))
				}
				if n := len(r.SpanId); n != 0 && n != 8 {
					e = errors.Join(e, fmt.Errorf("a span id of %d bytes", n))
				}
				if e != nil {
					bad = append(bad, fmt.Errorf("log %.40q: %w", l.Message, e))
					continue
				}
				set := func(k, v string) {
					if v != "" {
						l.Attributes[k] = v
					}
				}
				set("trace.id", hex.EncodeToString(r.TraceId))
				set("span.id", hex.EncodeToString(r.SpanId))
				set("severity.text", r.SeverityText)
				l.Attributes["severity.number"] = float64(r.SeverityNumber)
				l.Attributes["otel.library.name"] = sl.Scope.GetName()
				l.Attributes["newrelic.source"] = "api.logs.otlp"
				if kind, is := l.Attributes["newrelic.event.type"].(string); is {
					events = append(events, Event{Type: kind, Time: l.Time, Attributes: l.Attributes})
					continue
				}
				good = append(good, l)
			}
		}
	}
	return good, events, bad, nil
}

// unmarshal reads a message, and complains of fields that its types do not have.
func unmarshal(body []byte, msg proto.Message) error {
	if err := proto.Unmarshal(body, msg); err != nil {
		return err
	}
	return known(msg.ProtoReflect())
}

func known(msg protoreflect.Message) (err error) {
	if u := msg.GetUnknown(); len(u) > 0 {
		num, _, _ := protowire.ConsumeTag(u)
		return fmt.Errorf("%s has no field %d", msg.Descriptor().Name(), num)
	}
	msg.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				err = errors.Join(err, known(v.List().Get(i).Message()))
			}
		default:
			err = errors.Join(err, known(v.Message()))
		}
		return err == nil
	})
	return err
}

// flatten adds attributes to a map, and complains of a key that comes twice.
func flatten(m map[string]any, attrs []*commonpb.KeyValue) (map[string]any, error) {
	if m == nil {
		m = map[string]any{}
	}
	var errs []error
	for _, a := range attrs {
		if _, is := m[a.Key]; is {
			errs = append(errs, fmt.Errorf("key %q comes twice", a.Key))
		}
		switch v := a.Value.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			m[a.Key] = v.StringValue
		case *commonpb.AnyValue_DoubleValue:
			m[a.Key] = v.DoubleValue
		case *commonpb.AnyValue_IntValue:
			m[a.Key] = float64(v.IntValue)
		case *commonpb.AnyValue_BoolValue:
			m[a.Key] = v.BoolValue
		default:
			errs = append(errs, fmt.Errorf("%s: a value of type %T", a.Key, v))
		}
	}
	return m, errors.Join(errs...)
}
