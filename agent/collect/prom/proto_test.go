package prom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func delimited(t testing.TB, families ...*dto.MetricFamily) []byte {
	t.Helper()
	var b []byte
	for _, f := range families {
		m, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		b = append(binary.AppendUvarint(b, uint64(len(m))), m...)
	}
	return b
}

func histogramFamily(name string, h *dto.Histogram) *dto.MetricFamily {
	return &dto.MetricFamily{Name: proto.String(name), Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: h}}}
}

func protoSeed() []byte {
	f := histogramFamily("n", &dto.Histogram{
		SampleCount: proto.Uint64(7), SampleSum: proto.Float64(9), Schema: proto.Int32(2), ZeroThreshold: proto.Float64(0.001), ZeroCount: proto.Uint64(1),
		PositiveSpan:  []*dto.BucketSpan{{Offset: proto.Int32(-1), Length: proto.Uint32(2)}, {Offset: proto.Int32(2), Length: proto.Uint32(1)}},
		PositiveDelta: []int64{1, 2, -1}, CreatedTimestamp: &timestamppb.Timestamp{Seconds: 3},
	})
	b, err := proto.Marshal(f)
	if err != nil {
		panic(err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

func TestProtobufBecomesSamples(t *testing.T) {
	r := newReader(t, spec{honorTimestamps: true})
	label := []*dto.LabelPair{{Name: proto.String("a"), Value: proto.String("b")}}
	page := delimited(t,
		&dto.MetricFamily{Name: proto.String("c"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{
			{Label: label, Counter: &dto.Counter{Value: proto.Float64(5), CreatedTimestamp: &timestamppb.Timestamp{Seconds: 2}, Exemplar: &dto.Exemplar{}}},
		}},
		&dto.MetricFamily{Name: proto.String("g_bytes"), Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{
			{Gauge: &dto.Gauge{Value: proto.Float64(1.5)}, TimestampMs: proto.Int64(4000)}, {Gauge: &dto.Gauge{Value: proto.Float64(9)}},
		}},
		&dto.MetricFamily{Name: proto.String("s"), Type: dto.MetricType_SUMMARY.Enum(), Metric: []*dto.Metric{{Summary: &dto.Summary{
			SampleCount: proto.Uint64(4), SampleSum: proto.Float64(8),
			Quantile: []*dto.Quantile{{Quantile: proto.Float64(0.5), Value: proto.Float64(2)}, {Quantile: proto.Float64(0.9), Value: proto.Float64(math.NaN())}},
		}}}},
		histogramFamily("h", &dto.Histogram{SampleCount: proto.Uint64(4), SampleSum: proto.Float64(3), Bucket: []*dto.Bucket{
			{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1)}, {UpperBound: proto.Float64(2), CumulativeCount: proto.Uint64(3)},
		}}),
	)
	trace := []*dto.LabelPair{{Name: proto.String("trace_id"), Value: proto.String("0af7651916cd43dd8448eb211c80319c")}, {Name: proto.String("a"), Value: proto.String("b")}}
	at := &timestamppb.Timestamp{Seconds: 4, Nanos: 5e6}
	page = append(page, delimited(t,
		histogramFamily("classic", &dto.Histogram{SampleCount: proto.Uint64(1), Bucket: []*dto.Bucket{
			{UpperBound: proto.Float64(1), CumulativeCount: proto.Uint64(1), Exemplar: &dto.Exemplar{Label: trace, Value: proto.Float64(0.5), Timestamp: at}},
		}}),
		histogramFamily("native", &dto.Histogram{SampleCount: proto.Uint64(1), ZeroThreshold: proto.Float64(1), ZeroCount: proto.Uint64(1),
			Bucket:    []*dto.Bucket{{UpperBound: proto.Float64(math.Inf(1)), CumulativeCount: proto.Uint64(1), Exemplar: &dto.Exemplar{Value: proto.Float64(0.75)}}},
			Exemplars: []*dto.Exemplar{{Label: trace, Value: proto.Float64(0.25), Timestamp: at}, {Value: proto.Float64(math.NaN())}, {Label: trace[1:], Value: proto.Float64(0.75)}}}),
	)...)
	r.want(5000, "protobuf", string(append(page, protoSeed()...)), `c{a="b"} counter - 5 @5000 from 2000
g_bytes gauge By 1.5 @4000
s cumdist - 0 @5000 hist (count=4 sum=8 min=NaN max=NaN q=[0.5:2])
h cumdist - 0 @5000 hist (count=4 sum=3 min=NaN max=NaN bounds=[1 2] counts=[1 2 1])
classic cumdist - 0 @5000 hist (count=1 sum=0 min=NaN max=NaN bounds=[1] counts=[1 0] exemplar=0.5 @4005 0af7651916cd43dd8448eb211c80319c - {a="b"})
native cumdist - 0 @5000 hist (count=1 sum=0 min=NaN max=NaN scale=0 zero=1 width=1 pos=0:[] neg=0:[] exemplar=0.25 @4005 0af7651916cd43dd8448eb211c80319c - {a="b"} exemplar=0.75 @0 - - {a="b"})
n cumdist - 0 @5000 from 3000 hist (count=7 sum=9 min=NaN max=NaN scale=2 zero=1 width=0.001 pos=-2:[1 3 0 0 2] neg=0:[])`)
	if !r.p.native || r.p.tally.Twins != 1 || r.p.tally.Exemplars != 2 { // the counter's, and the one without a number
		t.Errorf("native %v, %+v", r.p.native, r.p.tally)
	}
}

// Rules and limits hold for protobuf too, by the parts that text would have.
func TestProtobufIsRelabelledAndLimited(t *testing.T) {
	f := histogramFamily("h", &dto.Histogram{SampleCount: proto.Uint64(2), Bucket: []*dto.Bucket{{UpperBound: proto.Float64(1)}}})
	g := histogramFamily("g", f.Metric[0].Histogram)
	r := newReader(t, spec{maxSamples: 4, rules: []Rule{{Action: "drop", SourceLabels: []string{"__name__"}, Regex: "g"}}})
	r.want(1000, "protobuf", string(delimited(t, g, f, g)), "h cumdist - 0 @1000 hist (count=2 sum=0 min=NaN max=NaN bounds=[1] counts=[0 2])")
	if r.p.tally.Dropped != 8 {
		t.Errorf("%+v", r.p.tally)
	}
	r = newReader(t, spec{maxSamples: 3})
	if _, err := r.read(1000, "protobuf", string(delimited(t, f))); !errors.Is(err, errTooMany) {
		t.Error(err)
	}
}

// What a metric holds counts, whatever its family is said to be.
func TestProtobufThatContradictsItself(t *testing.T) {
	r := newReader(t, spec{})
	value := &dto.Metric{Gauge: &dto.Gauge{Value: proto.Float64(1)}}
	f := histogramFamily("h", &dto.Histogram{SampleCount: proto.Uint64(2)})
	f.Metric = append(f.Metric, value, &dto.Metric{})
	g := &dto.MetricFamily{Name: proto.String("g"), Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{f.Metric[0], value}}
	const hist = "cumdist - 0 @1000 hist (count=2 sum=0 min=NaN max=NaN bounds=[] counts=[2])\n"
	r.want(1000, "protobuf", string(delimited(t, f, g)), "h gauge - 1 @1000\ng gauge - 1 @1000\nh "+hist+"g "+hist)
	if r.p.tally.Malformed != 1 {
		t.Errorf("%+v", r.p.tally)
	}
}

// A native histogram whose parts do not fit together, or that says it has
// billions of buckets, is left out and counted; its neighbours are not touched.
func TestNativeHistogramsThatLie(t *testing.T) {
	span := func(offset int32, length uint32) []*dto.BucketSpan {
		return []*dto.BucketSpan{{Offset: &offset, Length: &length}}
	}
	for name, h := range map[string]*dto.Histogram{
		"too long":       {PositiveSpan: span(0, math.MaxUint32)},
		"no deltas":      {PositiveSpan: span(0, 3)},
		"below zero":     {PositiveSpan: span(0, 1), PositiveDelta: []int64{-1}},
		"far away":       {PositiveSpan: span(math.MinInt32, 1), PositiveDelta: []int64{1}},
		"gap":            {NegativeSpan: append(span(0, 1), span(math.MaxInt32, 1)...), NegativeDelta: []int64{1, 1}},
		"gap backwards":  {PositiveSpan: append(span(0, 1), span(-1, 1)...), PositiveDelta: []int64{1, 1}},
		"schema":         {PositiveSpan: span(0, 1), PositiveDelta: []int64{1}, Schema: proto.Int32(9)},
		"float infinite": {PositiveSpan: span(0, 1), PositiveCount: []float64{math.Inf(1)}, SampleCountFloat: proto.Float64(1)},
	} {
		r := newReader(t, spec{})
		other := &dto.MetricFamily{Name: proto.String("g"), Metric: []*dto.Metric{{Untyped: &dto.Untyped{Value: proto.Float64(1)}}}}
		page := delimited(t, histogramFamily("h", h), other)
		r.want(1000, "protobuf", string(page), "g gauge - 1 @1000")
		if r.p.tally.Broken != 1 {
			t.Errorf("%s: %+v", name, r.p.tally)
		}
	}
}

func TestProtobufThatBreaksOff(t *testing.T) {
	whole := protoSeed()
	for n := 1; n < len(whole); n++ {
		if _, err := newReader(t, spec{}).read(1000, "protobuf", string(whole[:n])); err == nil {
			t.Errorf("%d of %d bytes passed", n, len(whole))
		}
	}
	f := func(b []byte, want error) {
		t.Helper()
		if _, err := newReader(t, spec{}).read(1000, "protobuf", string(b)); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	f(binary.AppendUvarint(nil, 1<<40), errTooLarge)
	f(bytes.Repeat([]byte{0xff}, 20), errFamily)
	f([]byte{2, 0xff, 0xff}, errFamily)
	f([]byte{1, 0}, errFamily)
}
