//go:build receivers

package receivers

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/integration"
)

const key = "0123456789abcdef0123456789abcdef" // of the form that Datadog's have

func datadogTo(name, url, kind, more string) string {
	return fmt.Sprintf("%s: {type: datadog, url: %q, api_key: %q, kinds: [%s], tags: [\"via:%s\"]%s}", name, url, key, kind, name, more)
}

func influxTo(name, url string) string {
	return fmt.Sprintf("%s: {type: influxdb, url: %q, api: v1, database: books, create_database: \"false\", kinds: [metrics], tags: [\"via:%s\"]}",
		name, url, name)
}

// Every sample of the host arrives at a VictoriaMetrics that takes it for
// Datadog's agent: under its name, at its time, with its value, with every label.
func TestHostSamplesReachVictoriaMetricsAsDatadogSeries(t *testing.T) {
	t.Parallel()
	vm := StartVictoriaMetrics(t)
	a := start(t, setup{host: true, active: []string{"console", "datadog"},
		destinations: []string{datadogTo("datadog", vm.URL+"/datadog", "metrics", ", names: otel, compression: gzip")}})
	eventually(t, "five seconds of the host are there", func() bool {
		found := vm.Export(t, `{__name__="otel.system.uptime"}`)
		return len(found) == 1 && len(found[0].Values) >= 5
	})
	a.finish(t)

	want := map[string]int{}
	for _, i := range a.collected(t) {
		v := i.Value
		switch i.Type {
		case "counter": // what Datadog counts is the increase
			if i.Increase == nil {
				continue // the first: nothing before it
			}
			v = *i.Increase
		case "gauge", "delta":
		default:
			t.Errorf("%s is a %s, which this test does not know", i.Name, i.Type)
			continue
		}
		name := i.Name
		if strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "process.") {
			name = "otel." + name // kept apart from those of Datadog's own agent
		}
		want[series(name, i.Time.Unix(), v, i.Labels)]++
	}
	got := map[string]int{}
	for _, s := range vm.Export(t, `{via="datadog"}`) {
		name := s.Metric["__name__"]
		if s.Metric["host"] != "proof" || s.Metric["kube_cluster_name"] != "none" {
			t.Errorf("%v is not of this host and cluster", s.Metric)
		}
		for _, twin := range []string{"__name__", "via", "cluster_name", "device_name"} {
			delete(s.Metric, twin)
		}
		for n, v := range s.Values {
			got[series(name, s.Timestamps[n]/1000, v, s.Metric)]++
		}
	}
	if len(want) < 500 {
		t.Errorf("only %d samples were collected", len(want))
	}
	differ(t, "samples", got, want)
	t.Logf("%d samples compared", len(want))
}

// series names a sample by what must survive any vendor's rules for names of
// tags: the values of its labels, as Datadog keeps them. Numbers that were
// rounded to ten digits on the way are the same.
func series(name string, seconds int64, v float64, labels map[string]string) string {
	var values []string
	for k, text := range labels {
		if k == "cpu" && !strings.HasPrefix(text, "cpu") {
			text = "cpu" + text
		}
		text = strings.Map(func(r rune) rune {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-:./", r) {
				return r
			}
			return '_'
		}, strings.ToLower(text))
		for strings.Contains(text, "__") {
			text = strings.ReplaceAll(text, "__", "_")
		}
		if text = strings.TrimRight(text, "_:"); text != "" {
			values = append(values, text)
		}
	}
	slices.Sort(values)
	return fmt.Sprintf("%s %v at %d = %s", name, values, seconds, strconv.FormatFloat(v, 'e', 8, 64))
}

// Packages of StatsD whose outcome is known to the digit. A set is in one
// datagram, so that no flush parts it.
func script() []string {
	var all []string
	for i := range 100 {
		all = append(all,
			fmt.Sprintf("shop.orders:%d|c|#route:/buy,env:prod,version:1.2.3", 1+i%3),
			"shop.sampled:1|c|@0.25|#route:/buy",
			fmt.Sprintf("shop.time:%d|ms|#route:/buy", i+1),
			fmt.Sprintf("shop.size:%d|d|#route:/buy", (i+1)*1000))
	}
	return append(all, "shop.temperature:21.5|g|#room:cellar", "shop.temperature:-3.25|g|#room:roof",
		"shop.users:anna|s\nshop.users:bert|s\nshop.users:anna|s\nshop.users:carl|s")
}

// What was sent as StatsD is read back from a VictoriaMetrics that got it as
// Datadog's series, packed in each way it can unpack, and as InfluxDB's lines.
func TestStatsDReachesVictoriaMetricsAsDatadogAndAsInfluxDB(t *testing.T) {
	t.Parallel()
	vm := StartVictoriaMetrics(t)
	a := start(t, setup{active: []string{"gzip", "deflate", "influxdb"}, percentiles: "[75]", destinations: []string{
		datadogTo("gzip", vm.URL+"/datadog", "metrics", ", compression: gzip"),
		datadogTo("deflate", vm.URL+"/datadog", "metrics", ", compression: deflate"),
		influxTo("influxdb", vm.URL),
	}})
	a.send(t, script()...)
	eventually(t, "three destinations have three users", func() bool {
		return len(vm.Export(t, `{__name__=~"shop.users.*"}`)) == 3
	})
	a.finish(t)

	all := vm.Export(t, `{__name__=~"shop[.].*"}`)
	// f reads one series of one destination: its values over time become one.
	f := func(via, name string, labels []string, fold func(values []float64) float64, want, share float64) {
		t.Helper()
		found := 0
		for _, s := range all {
			if s.Metric["via"] != via || s.Metric["__name__"] != name || !has(s.Metric, labels) {
				continue
			}
			found++
			if got := fold(s.Values); !near(got, want, share) {
				t.Errorf("%s: %s %v is %v, want %v: %v", via, name, labels, got, want, s)
			}
		}
		if found != 1 {
			t.Errorf("%s: %d series %s with %v, want 1", via, found, name, labels)
		}
	}
	for _, via := range []string{"gzip", "deflate"} {
		f(via, "shop.orders", []string{"route", "/buy", "env", "prod", "version", "1.2.3", "host", "proof", "cluster_name", "none"}, sum, 199, 0)
		f(via, "shop.sampled", []string{"route", "/buy"}, sum, 400, 0)
		f(via, "shop.temperature", []string{"room", "cellar"}, last, 21.5, 0)
		f(via, "shop.temperature", []string{"room", "roof"}, last, -3.25, 0)
		f(via, "shop.users", nil, slices.Max[[]float64], 3, 0)
		f(via, "shop.time.count", []string{"route", "/buy"}, sum, 100, 0)
		f(via, "shop.time.sum", []string{"route", "/buy"}, sum, 5050, 1e-9)
		f(via, "shop.time.min", []string{"route", "/buy"}, slices.Min[[]float64], 1, 0)
		f(via, "shop.time.max", []string{"route", "/buy"}, slices.Max[[]float64], 100, 0)
		f(via, "shop.size.sum", []string{"route", "/buy"}, sum, 5050e3, 1e-9)
	}
	f("influxdb", "shop.orders_increase", []string{"route", "/buy", "env", "prod", "version", "1.2.3", "host", "proof", "cluster", "none", "db", "books"}, sum, 199, 0)
	f("influxdb", "shop.sampled_increase", []string{"route", "/buy"}, sum, 400, 0)
	f("influxdb", "shop.temperature_value", []string{"room", "cellar"}, last, 21.5, 0)
	f("influxdb", "shop.temperature_value", []string{"room", "roof"}, last, -3.25, 0)
	f("influxdb", "shop.users_value", nil, slices.Max[[]float64], 3, 0)
	f("influxdb", "shop.time_count", []string{"route", "/buy"}, sum, 100, 0)
	f("influxdb", "shop.time_sum", []string{"route", "/buy"}, sum, 5050, 1e-9)
	f("influxdb", "shop.time_min", []string{"route", "/buy"}, slices.Min[[]float64], 1, 0)
	f("influxdb", "shop.time_max", []string{"route", "/buy"}, slices.Max[[]float64], 100, 0)
	f("influxdb", "shop.size_sum", []string{"route", "/buy"}, sum, 5050e3, 1e-9)

	// A percentile is of one flush. Where all hundred came in one, it is known.
	for _, s := range all {
		if n := s.Metric["__name__"]; s.Metric["route"] != "/buy" || len(s.Values) != 1 {
			continue
		} else if want, known := map[string]float64{
			"shop.time.median": 50, "shop.time.75percentile": 75, "shop.time.95percentile": 95, "shop.time.99percentile": 99,
			"shop.time_p50": 50, "shop.time_p75": 75, "shop.time_p95": 95, "shop.time_p99": 99,
		}[n]; known && math.Abs(s.Values[0]-want) > 1+want/100 { // 1: the value beside it is as right
			t.Errorf("%s of 1 to 100 is %v", n, s.Values[0])
		}
	}
}

// Lines arrive at a VictoriaLogs that takes them for Datadog's: every one, once,
// with its text, its time and who wrote it.
func TestLinesReachVictoriaLogsAsDatadogLogs(t *testing.T) {
	t.Parallel()
	vl := StartVictoriaLogs(t)
	a := start(t, setup{active: []string{"console", "logs"}, files: `, service: shop, source: nodejs, tags: ["team:web"]`,
		destinations: []string{datadogTo("logs", vl.URL+"/insert/datadog", "logs", "")}})
	const numbered = 2000
	w := integration.NewWriter(t, a.Logs, "app")
	w.Write(numbered)
	odd := []string{`quotes "and" \backslashes\`, "umlauts äöü and 日本語 😀", "\ttab and trailing space ", `{"level":"error","msg":"it broke","n":1}`, "a,b=c d"}
	writeLines(t, a.Logs+"/odd.log", odd)
	eventually(t, "all lines are there", func() bool { return len(vl.Query(t, "* | fields _msg")) >= numbered+len(odd) })
	a.finish(t)

	want, got := map[string]int{}, map[string]int{}
	for _, i := range a.collected(t) {
		if i.Kind == "log" {
			want[fmt.Sprintf("%q at %v", i.Body, i.Time.UnixMilli())]++
		}
	}
	for _, l := range vl.Query(t, "*") {
		at, err := parseTime(l["_time"])
		if err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%q at %v", l["_msg"], at.UnixMilli())]++
		if !has(l, []string{"service", "shop", "ddsource", "nodejs", "hostname", "proof", "team", "web", "cluster_name", "none"}) {
			t.Errorf("not all is said of %v", l)
		}
	}
	n := 0
	for _, times := range want {
		n += times
	}
	if n != numbered+len(odd) {
		t.Errorf("%d lines were collected, %d written", n, numbered+len(odd))
	}
	differ(t, "lines", got, want)
	for _, text := range odd {
		if n := len(vl.Query(t, "_msg:="+strconv.Quote(text))); n != 1 {
			t.Errorf("%d lines %q, want 1", n, text)
		}
	}
}

func has(labels map[string]string, pairs []string) bool {
	for i := 0; i < len(pairs); i += 2 {
		if labels[pairs[i]] != pairs[i+1] {
			return false
		}
	}
	return true
}

func sum(values []float64) (s float64) {
	for _, v := range values {
		s += v
	}
	return s
}

func last(values []float64) float64 { return values[len(values)-1] }
