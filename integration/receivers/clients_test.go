//go:build receivers

package receivers

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// nodePackages returns a copy of testdata/node with its packages installed.
func nodePackages(ctx context.Context) (string, error) {
	return cached(ctx, "node", "testdata/node", func(to string) error {
		if err := os.CopyFS(to, os.DirFS("testdata/node")); err != nil {
			return err
		}
		// Scripts of packages are not run: nothing here has a part in C that it needs.
		return run(ctx, to, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
	})
}

// node returns how to run one of the Node.js programs.
func node(t *testing.T, program string, args ...string) (string, []string) {
	t.Helper()
	dir, err := nodePackages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return "node", append([]string{filepath.Join(dir, program)}, args...)
}

// runs runs a client to its end; it must not complain.
func runs(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// serving starts a client that serves and returns its port.
func serving(t *testing.T, program string, args ...string) (*Process, string) {
	t.Helper()
	name, args := node(t, program, args...)
	p := Start(t, name, args...)
	port := ""
	p.serves(t, func() bool {
		m := regexp.MustCompile(`port (\d+)`).FindStringSubmatch(p.Said())
		if m != nil {
			port = m[1]
		}
		return m != nil
	})
	return p, port
}

// Datadog's client for Go, over UDP and a Unix socket, as it comes and with its
// own aggregation: what it was told is what the store says.
func TestDatadogGoIntoEveryDestination(t *testing.T) {
	t.Parallel()
	v := startStandins(t)
	a := start(t, setup{active: v.active, destinations: v.destinations, flush: "5s"}) // Google takes a point every five seconds
	for name, way := range map[string]struct {
		to      string
		options []statsd.Option
	}{
		"udp":        {a.statsd, []statsd.Option{statsd.WithoutClientSideAggregation()}},
		"aggregated": {a.statsd, []statsd.Option{statsd.WithExtendedClientSideAggregation()}},
		"unix":       {"unix://" + a.socket, []statsd.Option{statsd.WithoutClientSideAggregation()}},
	} {
		c, err := statsd.New(way.to, append(way.options, statsd.WithNamespace("go."),
			statsd.WithTags([]string{"way:" + name, "env:prod", "version:1.2.3"}), statsd.WithoutTelemetry())...)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			do(t, c.Count("orders", int64(1+i%3), []string{"route:/buy"}, 1))
			do(t, c.Timing("time", time.Duration(i+1)*time.Millisecond, nil, 1))
			do(t, c.Histogram("size", float64(i+1)*1000, nil, 1))
			do(t, c.Distribution("wait", float64(i+1)/8, nil, 1))
		}
		do(t, c.Gauge("temperature", -3.25, []string{"room:roof"}, 1))
		do(t, c.GaugeWithTimestamp("late", 7, nil, 1, time.Now().Add(-time.Minute)))
		for _, user := range []string{"anna", "bert", "anna"} {
			do(t, c.Set("users", user, nil, 1))
		}
		do(t, c.Event(&statsd.Event{Title: "deployed " + name, Text: "version 1.2.3\nis out", AlertType: statsd.Warning}))
		do(t, c.ServiceCheck(&statsd.ServiceCheck{Name: "database", Status: statsd.Critical, Message: "gone", Tags: []string{"db:" + name}}))
		do(t, c.Close())

		where := fmt.Sprintf(` WHERE way = '%s' AND env = 'prod' AND version = '1.2.3' AND host = 'proof'`, name)
		a.becomes(t, 199, `SELECT sum(increase) FROM "go.orders"`+where+` AND route = '/buy'`)
		a.becomes(t, 100, `SELECT sum("count") FROM "go.time"`+where)
		a.becomes(t, 5050, `SELECT sum("sum") FROM "go.time"`+where)
		a.becomes(t, 1, `SELECT min("min") FROM "go.time"`+where)
		a.becomes(t, 100, `SELECT max("max") FROM "go.time"`+where)
		a.becomes(t, 5050e3, `SELECT sum("sum") FROM "go.size"`+where)
		a.becomes(t, 5050./8, `SELECT sum("sum") FROM "go.wait"`+where)
		a.becomes(t, -3.25, `SELECT last(value) FROM "go.temperature"`+where+` AND room = 'roof'`)
		a.becomes(t, 7, `SELECT last(value) FROM "go.late"`+where)
		a.becomes(t, 2, `SELECT max(value) FROM "go.users"`+where)
		a.becomes(t, 1, `SELECT count(title) FROM events WHERE title = 'deployed `+name+`' AND text =~ /1.2.3\nis out/ AND severity = 'warning'`)
		a.becomes(t, 2, `SELECT last(status) FROM events WHERE "check" = 'database' AND db = '`+name+`'`)

		of := "way=" + name
		v.grew(t, 199, "go.orders", of, "route=/buy")
		v.counted(t, 100, 5050, "go.time", of)
		v.counted(t, 100, 5050e3, "go.size", of)
		v.counted(t, 100, 5050./8, "go.wait", of)
		v.holds(t, -3.25, "go.temperature", of, "room=roof")
		v.holds(t, 7, "go.late", of)
		v.holds(t, 2, "go.users", of)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// Node.js' most used client of StatsD.
func TestHotShotsIntoEveryDestination(t *testing.T) {
	t.Parallel()
	v := startStandins(t)
	a := start(t, setup{active: v.active, destinations: v.destinations, flush: "5s"}) // Google takes a point every five seconds
	_, port, _ := strings.Cut(a.statsd, ":")
	name, args := node(t, "hotshots.js", port)
	runs(t, name, args...)
	const who = ` WHERE env = 'prod' AND version = '1.2.3' AND host = 'proof'`
	a.becomes(t, 199, `SELECT sum(increase) FROM "node.orders"`+who+` AND route = '/buy'`)
	a.becomes(t, -5, `SELECT sum(increase) FROM "node.stock"`+who)
	a.becomes(t, 100, `SELECT sum("count") FROM "node.time"`+who+` AND route = '/buy'`)
	a.becomes(t, 5050, `SELECT sum("sum") FROM "node.time"`+who)
	a.becomes(t, 5050e3, `SELECT sum("sum") FROM "node.size"`+who)
	a.becomes(t, 5050./8, `SELECT sum("sum") FROM "node.wait"`+who)
	a.becomes(t, 21.5, `SELECT last(value) FROM "node.temperature"`+who+` AND room = 'cellar'`)
	a.becomes(t, -3.25, `SELECT last(value) FROM "node.temperature"`+who+` AND room = 'roof'`)
	a.becomes(t, 3, `SELECT max(value) FROM "node.users"`+who)
	a.becomes(t, 1, `SELECT count(title) FROM events WHERE title = 'node.deployed' AND text =~ /1.2.3\nis out/ AND route = '/buy'`)
	a.becomes(t, 1, `SELECT last(status) FROM events WHERE "check" = 'node.database' AND route = '/buy'`)

	v.grew(t, 199, "node.orders", "route=/buy")
	v.counted(t, 100, 5050, "node.time", "route=/buy")
	v.counted(t, 100, 5050e3, "node.size")
	v.counted(t, 100, 5050./8, "node.wait")
	v.holds(t, 21.5, "node.temperature", "room=cellar")
	v.holds(t, -3.25, "node.temperature", "room=roof")
	v.holds(t, 3, "node.users")
}

// Node.js' client of Prometheus, in both of its formats. Its page counts one
// round more each time it is asked for.
func TestPromClientIntoEveryDestination(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"prometheus", "openmetrics"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			p, port := serving(t, "promclient.js", format)
			v := startStandins(t)
			a := start(t, setup{active: v.active, destinations: v.destinations, scrape: "http://127.0.0.1:" + port + "/metrics", every: "6s"})
			eventually(t, "three scrapes are in the store", func() bool { return len(a.column(t, `SELECT total FROM orders_total`)) >= 3 })
			do(t, p.cmd.Process.Kill())
			a.becomes(t, 0, `SELECT last(value) FROM up`) // what was scraped before is stored now

			total, _ := a.total(t, `SELECT last(total) FROM orders_total WHERE route = '/buy' AND host = 'proof'`)
			first, _ := a.total(t, `SELECT first(total) FROM orders_total`)
			n := (total - 1000) / 100 // rounds
			if n < 3 || n != float64(int(n)) {
				t.Fatalf("orders_total is %v", total)
			}
			a.becomes(t, total-first, `SELECT sum(increase) FROM orders_total`)
			a.becomes(t, 21.5, `SELECT last(value) FROM temperature WHERE room =~ /a "cellar"/`)
			a.becomes(t, -3.25, `SELECT last(value) FROM temperature WHERE room = 'roof'`)
			a.becomes(t, 100*n, `SELECT last("count") FROM time_ms WHERE route = '/buy'`)
			a.becomes(t, 5050*n, `SELECT last("sum") FROM time_ms`)
			a.becomes(t, 10*n, `SELECT last(le_10) FROM time_ms`)
			a.becomes(t, 50*n, `SELECT last(le_50) FROM time_ms`)
			a.becomes(t, 100*n, `SELECT last(le_100) FROM time_ms`)
			a.becomes(t, 100*n, `SELECT last(le_500) FROM time_ms`)
			a.becomes(t, 5050e3*n, `SELECT last("sum") FROM size_bytes`)
			if p50, _ := a.total(t, `SELECT last(p50) FROM size_bytes`); !near(p50, 50500, 0.02) {
				t.Errorf("the median of 1000 to 100000 is %v", p50)
			}
			if v, n := a.total(t, `SELECT last(value) FROM process_resident_memory_bytes`); n != 1 || v < 1<<20 {
				t.Errorf("process_resident_memory_bytes is %v", v)
			}

			// Of what was there before the agent nobody knows since when: not these vendors'.
			v.grew(t, total-first, "orders_total", "route=/buy")
			v.counted(t, total-first, 5050*(total-first)/100, "time_ms", "route=/buy")
			v.holds(t, -3.25, "temperature", "room=roof")
		})
	}
}

// Prometheus' own client, in whatever format the agent asks it for: native
// histograms come by protobuf only.
func TestPrometheusGoIntoEveryDestination(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	orders := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "go_orders_total"}, []string{"route"})
	classic := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "go_time_ms", Buckets: []float64{10, 50, 100}})
	native := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "go_native_ms", NativeHistogramBucketFactor: 1.005})
	quantiles := prometheus.NewSummary(prometheus.SummaryOpts{Name: "go_summary_ms", Objectives: map[float64]float64{0.5: 0.001, 0.99: 0.001}})
	registry.MustRegister(orders, classic, native, quantiles)
	orders.WithLabelValues("/buy").Add(199)
	for i := 1; i <= 100; i++ {
		classic.Observe(float64(i))
		quantiles.Observe(float64(i))
	}
	server := httptest.NewServer(http.Handler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true})))
	t.Cleanup(server.Close)
	v := startStandins(t)
	a := start(t, setup{active: v.active, destinations: v.destinations, scrape: server.URL + "/metrics", every: "6s"})
	a.becomes(t, 199, `SELECT last(total) FROM go_orders_total WHERE route = '/buy'`)
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for i := 1; i < 1000; i++ { // between two pages
		native.Observe(float64(i))
	}
	native.(prometheus.ExemplarObserver).ObserveWithExemplar(1000, prometheus.Labels{"trace_id": trace, "span_id": span, "user": "anna"})
	a.becomes(t, 1000, `SELECT sum(count_increase) FROM go_native_ms`)
	a.becomes(t, 500500, `SELECT last("sum") FROM go_native_ms`)
	a.becomes(t, 100, `SELECT last("count") FROM go_time_ms`)
	a.becomes(t, 10, `SELECT last(le_10) FROM go_time_ms`)
	a.becomes(t, 50, `SELECT last(le_50) FROM go_time_ms`)
	a.becomes(t, 5050, `SELECT last("sum") FROM go_summary_ms`)
	a.becomes(t, 50, `SELECT last(p50) FROM go_summary_ms`)
	a.becomes(t, 99, `SELECT last(p99) FROM go_summary_ms`)
	v.counted(t, 1000, 500500, "go_native_ms")
	v.exemplar(t, "go_native_ms", fmt.Sprintf("1000 of trace %s, span %s, user anna", trace, span))
}
