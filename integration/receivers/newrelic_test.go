//go:build receivers

package receivers

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/causeway-agent/causeway/integration"
)

func newRelicTo(c *Collector, kinds, more string) string {
	return fmt.Sprintf("newrelic: {type: newrelic, api: otlp, url: \"http://%s\", license_key: %q, kinds: [%s]%s}", c.HTTP, key, kinds, more)
}

// point is one of a collector's, with what its resource says.
type point struct {
	name, unit string
	attributes map[string]string
	number     *metricspb.NumberDataPoint // of gauges and sums
	sum        *metricspb.Sum
	histogram  *metricspb.ExponentialHistogramDataPoint
	delta      bool
}

// points flattens what a collector got.
func points(t *testing.T, all *metricspb.MetricsData) (found []point) {
	t.Helper()
	for _, r := range all.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				add := func(p point, attributes []*commonpb.KeyValue) {
					p.name, p.unit, p.attributes = m.Name, m.Unit, map[string]string{}
					for _, kv := range append(r.Resource.Attributes, attributes...) {
						p.attributes[kv.Key] = text(kv.Value)
					}
					found = append(found, p)
				}
				switch d := m.Data.(type) {
				case *metricspb.Metric_Gauge:
					for _, p := range d.Gauge.DataPoints {
						add(point{number: p}, p.Attributes)
					}
				case *metricspb.Metric_Sum:
					for _, p := range d.Sum.DataPoints {
						add(point{number: p, sum: d.Sum, delta: d.Sum.AggregationTemporality == 1}, p.Attributes)
					}
				case *metricspb.Metric_ExponentialHistogram:
					for _, p := range d.ExponentialHistogram.DataPoints {
						add(point{histogram: p, delta: d.ExponentialHistogram.AggregationTemporality == 1}, p.Attributes)
					}
				default:
					t.Errorf("%s came as %T", m.Name, m.Data)
				}
			}
		}
	}
	return found
}

func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	}
	return fmt.Sprint(v)
}

// Every sample of the host arrives at a real collector's OTLP receiver, and
// beside them only what New Relic's table of names adds.
func TestHostSamplesReachACollectorAsOTLP(t *testing.T) {
	t.Parallel()
	c := StartCollector(t, "", "")
	a := start(t, setup{host: true, active: []string{"console", "newrelic"}, destinations: []string{newRelicTo(c, "metrics", "")}})
	eventually(t, "five seconds of the host are there", func() bool {
		n := 0
		for _, p := range points(t, c.Metrics(t)) {
			if p.name == "system.uptime" {
				n++
			}
		}
		return n >= 5
	})
	a.finish(t)

	want, got := map[string]int{}, map[string]int{}
	for _, i := range a.collected(t) {
		v := i.Value
		if i.Type == "counter" {
			if i.Increase == nil {
				continue
			}
			v = *i.Increase
		}
		if theirs := renamed[i.Name]; theirs != "" {
			i.Name = theirs
		}
		want[series(i.Name, i.Time.UnixMilli(), v, i.Labels)]++
	}
	for _, p := range points(t, c.Metrics(t)) {
		if derived[p.name] {
			continue
		}
		if p.attributes["host.name"] != "proof" || p.attributes["instrumentation.provider"] != "opentelemetry" {
			t.Errorf("%s has %v", p.name, p.attributes)
		}
		for _, k := range []string{"instrumentation.provider", "host.id"} {
			delete(p.attributes, k)
		}
		if p.sum != nil && (!p.delta || p.number.StartTimeUnixNano >= p.number.TimeUnixNano) {
			t.Errorf("%s is a sum of no interval: %v", p.name, p.number)
		}
		got[series(p.name, int64(p.number.TimeUnixNano/1e6), p.number.GetAsDouble(), p.attributes)]++
	}
	if len(want) < 500 {
		t.Errorf("only %d samples were collected", len(want))
	}
	differ(t, "samples", got, want)
	t.Logf("%d samples compared", len(want))
}

// What the collector's hostmetrics receiver calls otherwise, and New Relic with it.
var renamed = map[string]string{
	"system.network.packet.count": "system.network.packets", "system.network.packet.dropped": "system.network.dropped",
	"system.network.connection.count": "system.network.connections", "system.process.count": "system.processes.count",
	"system.process.created": "system.processes.created",
}

// What New Relic's pages want to have been worked out.
var derived = map[string]bool{
	"system.memory.utilization": true, "system.paging.utilization": true, "system.filesystem.utilization": true, "k8s.cluster.info": true,
}

// What was sent as StatsD is read back from what a real collector received.
func TestStatsDReachesACollectorAsOTLP(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"gzip", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			t.Parallel()
			c := StartCollector(t, "", "")
			a := start(t, setup{active: []string{"newrelic"}, destinations: []string{newRelicTo(c, "metrics", ", compression: "+compression)}})
			a.send(t, script()...)
			eventually(t, "the users are there", func() bool {
				for _, p := range points(t, c.Metrics(t)) {
					if p.name == "shop.users" {
						return true
					}
				}
				return false
			})
			a.finish(t)
			readsLikeTheScript(t, points(t, c.Metrics(t)))
		})
	}
}

func readsLikeTheScript(t *testing.T, all []point) {
	t.Helper()
	f := func(name string, labels []string, fold func([]float64) float64, want float64, monotonic bool) {
		t.Helper()
		var values []float64
		for _, p := range all {
			if p.name != name || p.number == nil || !has(p.attributes, labels) {
				continue
			}
			if sums := p.sum != nil && p.sum.IsMonotonic; sums != monotonic {
				t.Errorf("%s is a monotonic sum: %v", name, sums)
			}
			values = append(values, p.number.GetAsDouble())
		}
		if len(values) == 0 || fold(values) != want {
			t.Errorf("%s with %v: %v, want %v", name, labels, values, want)
		}
	}
	f("shop.orders", []string{"route", "/buy", "deployment.environment.name", "prod", "service.version", "1.2.3", "host.name", "proof", "k8s.cluster.name", "none"}, sum, 199, true)
	f("shop.sampled", []string{"route", "/buy"}, sum, 400, true)
	f("shop.temperature", []string{"room", "cellar"}, last, 21.5, false)
	f("shop.temperature", []string{"room", "roof"}, last, -3.25, false)
	f("shop.users", nil, largest, 3, false)

	merged := map[string]*counts{}
	for _, p := range all {
		if h := p.histogram; h != nil {
			if !p.delta || p.attributes["route"] != "/buy" {
				t.Errorf("%s: delta %v, %v", p.name, p.delta, p.attributes)
			}
			if merged[p.name] == nil {
				merged[p.name] = &counts{min: math.Inf(1), max: math.Inf(-1)}
			}
			merged[p.name].add(h)
		}
	}
	for name, unit := range map[string]float64{"shop.time": 1, "shop.size": 1000} {
		m := merged[name]
		if m == nil {
			t.Errorf("no histogram %s", name)
			continue
		}
		if m.count != 100 || !near(m.sum, 5050*unit, 1e-9) || m.min != unit || m.max != 100*unit {
			t.Errorf("%s: %+v", name, m)
		}
		for _, rank := range []int{1, 25, 50, 75, 95, 99, 100} {
			if got, want := m.at(rank), float64(rank)*unit; !near(got, want, m.error) {
				t.Errorf("%s: value %d of 100 is %v, want %v within %v", name, rank, got, want, m.error)
			}
		}
	}
}

// counts is what exponential histograms of several intervals have together.
type counts struct {
	count         uint64
	sum, min, max float64
	values        []weighted // the middle of each bucket
	error         float64    // how far that may be from any value in it, as a share
}

type weighted struct {
	value float64
	n     uint64
}

// add takes positive values only: there are no others in these tests.
func (c *counts) add(h *metricspb.ExponentialHistogramDataPoint) {
	c.count += h.Count
	c.sum += h.GetSum()
	if h.Min != nil {
		c.min, c.max = min(c.min, *h.Min), max(c.max, *h.Max)
	}
	// New Relic takes 160 buckets: with values from 1 to 100 that leaves 2.2 %.
	base := math.Exp2(math.Exp2(-float64(h.Scale)))
	c.error = max(c.error, math.Sqrt(base)-1+1e-9)
	for i, n := range h.GetPositive().GetBucketCounts() {
		if n > 0 {
			c.values = append(c.values, weighted{math.Pow(base, float64(int(h.Positive.Offset)+i)+0.5), n})
		}
	}
}

// at returns the value of a rank, counted from 1.
func (c *counts) at(rank int) float64 {
	slices.SortFunc(c.values, func(a, b weighted) int { return cmp.Compare(a.value, b.value) })
	seen := uint64(0)
	for _, v := range c.values {
		if seen += v.n; seen >= uint64(rank) {
			return v.value
		}
	}
	return math.NaN()
}

// Lines arrive at a real collector with text, time, severity and who wrote them.
func TestLinesReachACollectorAsOTLP(t *testing.T) {
	t.Parallel()
	c := StartCollector(t, "", "")
	a := start(t, setup{active: []string{"console", "newrelic"}, files: `, service: shop, source: nodejs, parse: auto`,
		destinations: []string{newRelicTo(c, "logs", "")}})
	const numbered = 500
	integration.NewWriter(t, a.Logs, "app").Write(numbered)
	writeLines(t, a.Logs+"/odd.log", []string{
		`{"level":"error","msg":"it broke","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"}`, "umlauts äöü and 日本語 😀",
	})
	eventually(t, "all lines are there", func() bool {
		n := 0
		for _, r := range c.Logs(t).ResourceLogs {
			for _, s := range r.ScopeLogs {
				n += len(s.LogRecords)
			}
		}
		return n >= numbered+2
	})
	a.finish(t)

	want, got := map[string]int{}, map[string]int{}
	for _, i := range a.collected(t) {
		if i.Kind == "log" {
			want[fmt.Sprintf("%q at %v", i.Body, i.Time.UnixNano())]++
		}
	}
	for _, r := range c.Logs(t).ResourceLogs {
		about := map[string]string{}
		for _, kv := range r.Resource.Attributes {
			about[kv.Key] = text(kv.Value)
		}
		if !has(about, []string{"service.name", "shop", "host.name", "proof", "k8s.cluster.name", "none"}) {
			t.Errorf("lines of %v", about)
		}
		for _, s := range r.ScopeLogs {
			for _, l := range s.LogRecords {
				got[fmt.Sprintf("%q at %v", text(l.Body), l.TimeUnixNano)]++
				if broke := strings.Contains(text(l.Body), "it broke"); broke && l.SeverityNumber != 17 {
					t.Errorf("an error has severity %v", l.SeverityNumber)
				}
			}
		}
	}
	if len(want) != numbered+2 {
		t.Errorf("%d different lines were collected, %d written", len(want), numbered+2)
	}
	differ(t, "lines", got, want)
}
