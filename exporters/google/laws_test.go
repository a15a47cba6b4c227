package google

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
)

// One point of a series a request; of points too close the newest.
func TestSpacing(t *testing.T) {
	f := func(times []int64, requests [][]int64, skipped int) {
		t.Helper()
		var text strings.Builder
		for _, at := range times {
			fmt.Fprintf(&text, "a gauge 1 1 @%d\n", 1700000000000+at)
		}
		got, n := series(t, Metrics("m", Default(), gce, nil), parse(t, signal.Metric, text.String()))
		var ends [][]int64
		for _, r := range got {
			var e []int64
			for _, ts := range r {
				e = append(e, ts.GetPoints()[0].GetInterval().GetEndTime().AsTime().UnixMilli()-1700000000000)
			}
			ends = append(ends, e)
		}
		if !slices.EqualFunc(ends, requests, slices.Equal) || n != skipped {
			t.Errorf("%v: %v and %d skipped, want %v and %d", times, ends, n, requests, skipped)
		}
	}
	f([]int64{0}, [][]int64{{0}}, 0)
	f([]int64{0, 5000, 10000}, [][]int64{{0}, {5000}, {10000}}, 0)
	f([]int64{0, 1000}, [][]int64{{1000}}, 1)
	f([]int64{0, 1000, 6000}, [][]int64{{1000}, {6000}}, 1)
	f([]int64{0, 0}, [][]int64{{0}}, 1)
	f([]int64{5000, 0}, [][]int64{{5000}}, 1)
}

func TestARequestHoldsTwoHundredSeries(t *testing.T) {
	b := &signal.Batch{Kind: signal.Metric}
	for i := range 450 {
		s := signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprintf("m%d", i), Type: signal.CumDist}), Start: 1690000000000, Time: 1700000010000, Hist: &signal.Hist{Count: 1, Sum: 2, Quantiles: []signal.Quantile{{Q: 0.5, Value: 1}}}}
		if i%3 == 0 {
			s = signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprintf("m%d", i), Type: signal.Gauge}), Time: 1700000010000}
		}
		b.Add(s)
	}
	requests, skipped := series(t, Metrics("m", Default(), gce, nil), b)
	n := 0
	for i, r := range requests {
		n += len(r)
		if i < len(requests)-1 && len(r) < 190 {
			t.Errorf("request %d has only %d series", i, len(r))
		}
	}
	if n != 150+300*3 || skipped != 0 {
		t.Errorf("%d series, %d skipped", n, skipped)
	}
}

// Kind and value type depend on the sample's type alone.
func TestKindsAreStable(t *testing.T) {
	f := func(sample, kind, value string) {
		t.Helper()
		r, _ := series(t, Metrics("m", Default(), gce, nil), parse(t, signal.Metric, sample))
		if len(r) != 1 || r[0][0].GetMetricKind().String() != kind || r[0][0].GetValueType().String() != value {
			t.Errorf("%s: %v, want %s %s", sample, r, kind, value)
		}
	}
	f("a gauge 1 1 @1700000010000", "GAUGE", "DOUBLE")
	f("a gauge 1 0.5 @1700000010000", "GAUGE", "DOUBLE")
	f("a counter 1 7 @1700000010000 from 1690000000000", "CUMULATIVE", "DOUBLE")
	f("a counter 1 7 +1 since 1700000000000 @1700000010000", "CUMULATIVE", "DOUBLE")
	f("a delta 1 7 @1700000010000 from 1700000000000", "CUMULATIVE", "DOUBLE")
	f("a dist 1 0 @1700000010000 hist (count=1 sum=1 min=1 max=1 bounds=[1] counts=[1 0])", "CUMULATIVE", "DISTRIBUTION")
	f("a dist 1 0 @1700000010000 hist (count=1 sum=1 min=1 max=1 scale=0 zero=1 width=0 pos=0:[] neg=0:[])", "CUMULATIVE", "DISTRIBUTION")
}

func TestLabelsAndNamesAreCutToSize(t *testing.T) {
	labels := []string{signal.LabelHost, "vm-1", strings.Repeat("k", 300), "v", "long", strings.Repeat("ж", 2000), "bad", strings.Repeat("\xff", 900)}
	for i := range 40 {
		labels = append(labels, fmt.Sprintf("l%02d", i), "v")
	}
	for _, prefix := range []string{"custom", "workload", "prometheus"} {
		b := &signal.Batch{Kind: signal.Metric}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: strings.Repeat("n", 500), Type: signal.Gauge, Labels: signal.Labels(labels...)}), Time: 1700000010000})
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: strings.Repeat("n", 500), Type: signal.CumDist, Labels: signal.Labels(labels...)}), Start: 1, Time: 1700000010000,
			Hist: &signal.Hist{Quantiles: []signal.Quantile{{Q: 0.123456789, Value: 1}}}})
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "1x", Type: signal.Gauge, Labels: signal.Labels(labels...)}), Time: 1700000010000})
		requests, skipped := series(t, Metrics("m", tagged(prefix), gce, nil), b)
		if skipped != 0 || len(requests) != 1 || len(requests[0][0].GetMetric().GetLabels()) != mostLabels {
			t.Errorf("%s: %d skipped, %v", prefix, skipped, requests)
		}
		// Behind a quantile, which is a label itself, there is room for one more.
		if last := requests[0][len(requests[0])-1]; len(last.GetMetric().GetLabels()) != mostLabels {
			t.Errorf("%s: the last one has %d labels", prefix, len(last.GetMetric().GetLabels()))
		}
	}
}

func TestDistributions(t *testing.T) {
	f := func(hist, want string) {
		t.Helper()
		b := parse(t, signal.Metric, "a dist 1 0 @1700000010000 from 1700000000000 hist "+hist)
		r, skipped := series(t, Metrics("m", Default(), gce, nil), b)
		got := ""
		if skipped == 0 {
			d := r[0][0].GetPoints()[0].GetValue().GetDistributionValue()
			got = fmt.Sprintf("%d of mean %g", d.GetCount(), d.GetMean())
			if e := d.GetBucketOptions().GetExponentialBuckets(); e != nil {
				got += fmt.Sprintf(" in %d from %.4g by %.4g:", e.GetNumFiniteBuckets(), e.GetScale(), e.GetGrowthFactor())
			} else {
				got += fmt.Sprint(" in ", d.GetBucketOptions().GetExplicitBuckets().GetBounds(), ":")
			}
			got += fmt.Sprint(d.GetBucketCounts())
		}
		if got != want {
			t.Errorf("%s: %s, want %s", hist, got, want)
		}
	}
	f("(count=3 sum=6 min=NaN max=NaN bounds=[1 2] counts=[1 1 1])", "3 of mean 2 in [1 2]:[1 1 1]")
	f("(count=9 sum=6 min=NaN max=NaN bounds=[1 2] counts=[1 1 1])", "3 of mean 2 in [1 2]:[1 1 1]")
	f("(count=3 sum=NaN min=NaN max=NaN bounds=[1 2] counts=[0 3 0])", "3 of mean 1.5 in [1 2]:[0 3 0]")
	f("(count=0 sum=5 min=NaN max=NaN bounds=[1] counts=[0 0])", "0 of mean 0 in [1]:[0 0]")
	f("(count=3 sum=6 min=NaN max=NaN bounds=[] counts=[3])", "3 of mean 2 in []:[3]")
	f("(count=3 sum=6 min=NaN max=NaN bounds=[+Inf] counts=[3 0])", "3 of mean 2 in []:[3]")
	f("(count=3 sum=6 min=NaN max=NaN bounds=[1 2] counts=[1 1])", "")
	f("(count=3 sum=6 min=NaN max=NaN bounds=[2 1] counts=[1 1 1])", "")
	f("(count=3 sum=6 min=NaN max=NaN bounds=[NaN] counts=[1 1])", "")
	f("(count=1 sum=6 min=NaN max=NaN bounds=[1] counts=[9223372036854775808 1])", "")
	f("(count=3 sum=6 min=NaN max=NaN scale=0 zero=1 width=0 pos=-1:[0 1 0 1 0] neg=0:[1])", "4 of mean 1.5 in 3 from 1 by 2:[2 1 0 1]")
	f("(count=2 sum=6 min=NaN max=NaN scale=0 zero=2 width=0 pos=0:[] neg=0:[])", "2 of mean 3 in 1 from 1 by 2:[2 0]")
	f("(count=2 sum=6 min=NaN max=NaN scale=0 zero=2 width=0 pos=2000:[1] neg=0:[])", "")
	f("(count=2 sum=6 min=NaN max=NaN scale=-20 zero=2 width=0 pos=0:[1] neg=0:[])", "")
	// 4096 buckets, 64 doublings, become 128 of 32 times the width: too many to split any.
	f("(count=4096 sum=4096 min=NaN max=NaN scale=6 zero=0 width=0 pos=0:["+strings.Repeat("1 ", 4096)+"] neg=0:[])",
		"4096 of mean 1 in 128 from 1 by 1.414:[0 "+strings.TrimSpace(strings.Repeat("32 ", 128))+"]")
	bounds, counts := "", "1"
	for i := range 398 {
		bounds, counts = bounds+fmt.Sprint(i, " "), counts+" 1"
	}
	b := parse(t, signal.Metric, "a dist 1 0 @1700000010000 from 1700000000000 hist (count=399 sum=1 min=0 max=1 bounds=["+bounds+"] counts=["+counts+"])")
	r, _ := series(t, Metrics("m", Default(), gce, nil), b)
	if d := r[0][0].GetPoints()[0].GetValue().GetDistributionValue(); d.GetCount() != 399 || len(d.GetBucketCounts()) != 200 || d.GetBucketOptions().GetExplicitBuckets().GetBounds()[0] != 1 {
		t.Errorf("%v", d)
	}
}

// Where 200 buckets of 0.55 % do not reach over all values, those that hold what
// people ask for are split: the four percentiles stay as good as they came.
func TestThePercentilesThatAreAskedForStayFine(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 0))
	for span := 1; span <= 36; span++ { // doublings: up to eleven decimal orders
		for _, scale := range []int32{6, 7, 8} {
			h := &signal.Hist{Min: math.NaN(), Max: math.NaN(), Exponential: true, Scale: scale, Zero: uint64(rng.IntN(50)), Pos: signal.Buckets{Offset: int32(rng.IntN(2000) - 1000)}}
			h.Count = h.Zero
			for range span << scale {
				n := uint64(rng.IntN(5))
				h.Pos.Counts, h.Count = append(h.Pos.Counts, n), h.Count+n
			}
			b := &signal.Batch{Kind: signal.Metric, Samples: []signal.Sample{{Series: signal.Intern(signal.Desc{Name: "a", Type: signal.Dist}), Start: 1700000000000, Time: 1700000010000, Hist: h}}}
			r, _ := series(t, Metrics("m", Default(), gce, nil), b)
			d := r[0][0].GetPoints()[0].GetValue().GetDistributionValue()
			if refined := d.GetBucketOptions().GetExplicitBuckets() != nil; refined != (span > 3) {
				t.Errorf("%d doublings: refined %v", span, refined)
				continue
			}
			for _, q := range asked {
				got, want := gcpintake.Quantile(d, q), h.Quantile(q)
				if want > 0 && !(math.Abs(got/want-1) < 0.0109) { // the width of one bucket
					t.Errorf("%d doublings at scale %d: p%v is %v, want %v", span, scale, 100*q, got, want)
				}
			}
		}
	}
}

func TestWhatGKEHasIsLeftToIt(t *testing.T) {
	metric := parse(t, signal.Metric, signal.ContainerCPUTime+" counter s 1 @1700000010000 from 1690000000000")
	line := parse(t, signal.Log, `log {k8s.namespace.name="d",k8s.pod.name="p"} "f" 0..1
@1700000010000000000 6 "x" {}`)
	f := func(place Place, change func(*Config), metrics, lines int) {
		t.Helper()
		c := Default()
		change(&c)
		if _, _, skipped := Metrics("m", c, place, nil).Encode(nil, metric, 0, 1); 1-skipped != metrics {
			t.Errorf("%d metrics are sent, want %d", 1-skipped, metrics)
		}
		if _, _, skipped := Logs("l", c, place, nil).Encode(nil, line, 0, 1); 1-skipped != lines {
			t.Errorf("%d lines are sent, want %d", 1-skipped, lines)
		}
	}
	f(gke, func(*Config) {}, 0, 0)
	f(gke, func(c *Config) { c.SystemMetrics, c.ContainerLogs = true, "true" }, 1, 1)
	f(gce, func(*Config) {}, 1, 1)
	f(gce, func(c *Config) { c.ContainerLogs = "false" }, 1, 0)
	f(gce, func(c *Config) { c.Logs = false }, 1, 0)
	seen := map[string]bool{}
	for _, r := range gkeRows() {
		if seen[r.ours] || !strings.HasPrefix(r.googles, "kubernetes.io/") || r.ours == "" {
			t.Errorf("row %v", r)
		}
		seen[r.ours] = true
	}
}

func TestResourcesAreWhoItIsAbout(t *testing.T) {
	f := func(place Place, name, labels, want string) {
		t.Helper()
		r, _ := series(t, Metrics("m", Default(), place, nil), parse(t, signal.Metric, name+labels+" gauge 1 1 @1700000010000"))
		_, got, _ := strings.Cut(gcpintake.Key(r[0][0]), " ")
		if got != want {
			t.Errorf("%s%s: %s, want %s", name, labels, got, want)
		}
	}
	nowhere := Place{Project: "my-project", Node: "n9"}
	f(gke, "a", `{k8s.container.name="c",k8s.namespace.name="ns",k8s.pod.name="p"}`, `k8s_container{cluster_name="prod",container_name="c",location="europe-west1",namespace_name="ns",pod_name="p"}`)
	f(gke, "a", `{k8s.namespace.name="ns",k8s.pod.name="p"}`, `k8s_pod{cluster_name="prod",location="europe-west1",namespace_name="ns",pod_name="p"}`)
	f(gke, "a", `{k8s.node.name="n1"}`, `k8s_node{cluster_name="prod",location="europe-west1",node_name="n1"}`)
	f(gke, "k8s.replicaset.available", `{k8s.node.name="n1"}`, `k8s_cluster{cluster_name="prod",location="europe-west1"}`)
	f(gce, "a", `{host.name="vm-1"}`, `gce_instance{instance_id="4712",zone="europe-west1-b"}`)
	f(gce, "a", `{host.name="vm-2"}`, `generic_node{location="europe-west1-b",namespace="",node_id="vm-2"}`)
	f(nowhere, "a", `{host.name="h"}`, `generic_node{location="global",namespace="",node_id="h"}`)
	f(nowhere, "a", `{service.name="s"}`, `generic_task{job="s",location="global",namespace="",task_id="n9"}`)
	f(nowhere, "a", `{k8s.cluster.name="c"}`, `k8s_cluster{cluster_name="c",location="global"}`)
	f(nowhere, "a", "", `generic_node{location="global",namespace="",node_id="n9"}`)
	f(nowhere, "a", `{k8s.cluster.name="c",k8s.namespace.name="ns",k8s.pod.name="p"}`, `k8s_pod{cluster_name="c",location="global",namespace_name="ns",pod_name="p"}`)
}

// Neighbours with the same labels may be about something else all the same.
func TestTheSameLabelsAreNotTheSameResource(t *testing.T) {
	const labels = `{host.name="h2",k8s.node.name="n1"} gauge 1 1 @1700000010000`
	r, _ := series(t, Metrics("m", Default(), gke, nil), parse(t, signal.Metric, "a"+labels+"\nk8s.deployment.desired"+labels+"\nb"+labels))
	var got []string
	for _, ts := range r[0] {
		got = append(got, ts.GetResource().GetType()+fmt.Sprint(ts.GetMetric().GetLabels()))
	}
	if want := []string{"k8s_node" + "map[host_name:h2]", "k8s_cluster" + "map[]", "k8s_node" + "map[host_name:h2]"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What lines have in common is copied, whatever the length of the one before.
func TestLinesOfOneStreamHaveOneHead(t *testing.T) {
	b := &signal.Batch{Kind: signal.Log}
	blk := signal.LogBlock{File: "f", Stream: signal.InternStream(signal.Labels(signal.LabelHost, "h", "x", "y"))}
	for _, n := range []int{20000, 1, 0, 100, 127, 128, 16000, 16384, 1 << 20, 5, 1} {
		blk.Append(1700000010e9, 6, bytes.Repeat([]byte("x"), n), nil)
	}
	b.Logs = append(b.Logs, blk)
	list, _ := entries(t, Logs("l", Default(), gce, nil), b)
	for _, e := range list {
		if e.GetLogName() != list[0].GetLogName() || !proto.Equal(e.GetResource(), list[0].GetResource()) || e.GetLabels()["x"] != "y" {
			t.Errorf("%.200v", e)
		}
	}
}

// An entry is never larger than Google takes it, whatever the line is.
func TestLongLinesAreCut(t *testing.T) {
	f := func(name string, line []byte, attrs string) {
		t.Helper()
		b := &signal.Batch{Kind: signal.Log}
		blk := signal.LogBlock{File: "f"}
		blk.Append(1700000010e9, 6, line, []byte(attrs))
		b.Logs = append(b.Logs, blk)
		list, _ := entries(t, Logs("l", tagged("custom"), gce, nil), b)
		if n := proto.Size(list[0]); n > mostEntry+64 || n < mostEntry/4 {
			t.Errorf("%s: %d bytes", name, n)
		}
	}
	f("ascii", bytes.Repeat([]byte("x"), 1<<20), "")
	f("two bytes", bytes.Repeat([]byte("ж"), 1<<19), "")
	f("no UTF-8", bytes.Repeat([]byte{0xff}, 1<<20), "")
	f("JSON", []byte(`{"a":"`+strings.Repeat("x", 1<<20)+`"}`), "")
	f("JSON that grows", []byte(`{"a":[`+strings.TrimSuffix(strings.Repeat("1,", 100_000), ",")+`]}`), "")
	f("attributes", bytes.Repeat([]byte("x"), 1<<20), signal.Labels("a", strings.Repeat("\xff", 1<<19), "b", strings.Repeat("y", 1<<19)))
}

// FuzzJSON compares with the standard library: what it takes as an object is
// taken with the same content, and nothing else is.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, ` {"a":1} `, `{"a":-0.5e+3,"b":[],"c":{"d":null}}`, `{"a":"\u00e9\ud83d\ude00\ud800x\n\/"}`, `{"a":1,"a":2}`, `{"":""}`,
		`{"a":123456789012345678901234567890}`, `{"a":1e999}`, `{"a":01}`, `{"a":1.}`, `{"a" : [ true , false ] }`, `{"a":"` + "\x01" + `"}`,
		`{"a":"ж` + "\xff" + `"}`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1}}`, `{"a":tru}`, strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200),
		`{"a":"` + strings.Repeat("x", 200) + `"}`, `{"a":"` + strings.Repeat("x", 20000) + `"}`, `{"a":"\ud83d\u0041"}`, `{"a":-0}`, `{"a":-}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, ok := appendJSON([]byte("x"), line)
		var want map[string]any
		err := json.Unmarshal(line, &want)
		good := err == nil && want != nil && utf8.Valid(line)
		if ok && !good {
			t.Fatalf("taken, though %v", err)
		}
		if !ok {
			if good && bytes.Count(line, []byte("{"))+bytes.Count(line, []byte("[")) < mostJSONDepth {
				t.Fatal("not taken")
			}
			return
		}
		var e loggingpb.LogEntry
		if err := proto.Unmarshal(append([]byte{6<<3 | bytesType}, got[1:]...), &e); err != nil {
			t.Fatal(err)
		}
		s, err := structpb.NewStruct(want)
		if err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(e.GetJsonPayload(), s) {
			t.Errorf("%v, want %v", e.GetJsonPayload(), s)
		}
	})
}

// FuzzEncode makes batches of the readable notation: whatever they hold, all
// requests obey Google's rules but for the ages.
func FuzzEncode(f *testing.F) {
	f.Add(three, uint8(0))
	f.Add("a{x=\"\xff\"} cumdist 1 0 @1 hist (count=1 sum=NaN min=1 max=1 scale=3 zero=1 width=0 pos=-5:[1 2] neg=3:[9])\n", uint8(1))
	f.Add(". gauge 0 0 @1", uint8(0)) // a name that begins with a point
	f.Add("1é{1=\"2\",host.name=\"\"} counter 1 1 +1 since -5 @7\n", uint8(2))
	f.Fuzz(func(t *testing.T, text string, how uint8) {
		b, err := signal.Parse(signal.Metric, text)
		if err != nil {
			return
		}
		prefix := []string{"custom", "workload", "prometheus"}[how%3]
		e := Metrics("m", tagged(prefix), gce, nil)
		for lo := 0; lo < b.Len(); {
			body, next, skipped := e.Encode(nil, b, lo, b.Len())
			if next <= lo {
				t.Fatal("no way on")
			}
			var r monitoringpb.CreateTimeSeriesRequest
			if err := proto.Unmarshal(body, &r); err != nil {
				t.Fatal(err)
			}
			if skipped < next-lo {
				if err := gcpintake.CheckRequest(&r); err != nil {
					t.Error(err)
				}
			}
			for _, ts := range r.GetTimeSeries() {
				if end := ts.GetPoints()[0].GetInterval().GetEndTime(); end.GetSeconds() < 1 || end.GetSeconds() > math.MaxUint32 {
					continue
				}
				if err := gcpintake.CheckSeries(ts, ts.GetPoints()[0].GetInterval().GetEndTime().AsTime()); err != nil {
					t.Errorf("%v: %v", err, ts)
				}
			}
			lo = next
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("a\xffb", 2)
	f.Add("жжж", 3)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most &= 0x3ff
		got := appendText(nil, 1, s, most+3)
		if len(got) == 0 {
			if s != "" {
				t.Error("left out")
			}
			return
		}
		e := loggingpb.LogEntry{}
		if err := proto.Unmarshal(append([]byte{4<<3 | bytesType}, got[1:]...), &e); err != nil || len(e.GetInsertId()) > most+3 {
			t.Errorf("%v, %d bytes of at most %d", err, len(e.GetInsertId()), most+3)
		}
		if utf8.ValidString(s) && !strings.HasPrefix(s, e.GetInsertId()) {
			t.Errorf("%q became %q", s, e.GetInsertId())
		}
	})
}

// A total that was read in the millisecond in which it began has no interval yet:
// a point of a made-up one would overlap the next, which has all of it.
func TestATotalReadWhenItBeganWaitsForTheNextPoint(t *testing.T) {
	const hist = "hist (count=1 sum=1 min=NaN max=NaN bounds=[5] counts=[1 0] since=(count=1 sum=1 min=NaN max=NaN bounds=[5] counts=[1 0]))"
	for _, in := range []string{
		"h cumdist - 0 +0 since 1700000009999 @1700000010000 from 1700000010000 " + hist,
		"c counter - 1 +1 since 1700000009999 @1700000010000 from 1700000010000",
	} {
		if requests, skipped := series(t, Metrics("m", Default(), gce, nil), parse(t, signal.Metric, in)); skipped != 1 || len(requests) != 0 {
			t.Errorf("%s: %v", in, requests)
		}
	}
}

// Gauges behind summaries: a request has 200 series, not 200 samples.
func TestARequestWithSummariesHasNoMoreThanItsSeries(t *testing.T) {
	var text strings.Builder
	for i := range 3 {
		fmt.Fprintf(&text, "s%d dist - 0 @1700000010000 from 1700000000000 hist (count=1 sum=1 min=NaN max=NaN q=[0.5:1 0.9:1 0.99:1])\n", i)
	}
	for i := range 400 {
		fmt.Fprintf(&text, "g%d gauge - 1 @1700000010000\n", i)
	}
	requests, skipped := series(t, Metrics("m", Default(), gce, nil), parse(t, signal.Metric, text.String())) // which checks each request
	n := 0
	for _, r := range requests {
		n += len(r)
	}
	if n != 3*5+400 || skipped != 0 || len(requests[0]) != 200 {
		t.Errorf("%d series, %d skipped, the first request has %d", n, skipped, len(requests[0]))
	}
}
