//go:build receivers

package receivers

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/genproto/googleapis/api/distribution"

	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
)

// What the client of a Node.js service saw, by wrk's own count, is what arrives
// of the service's own measuring: p50, p95 and p99 within 1 %, as Datadog's
// series, as InfluxDB's lines, as a distribution of Google's and as an OTLP
// histogram, whichever way they came.
//
// All values are of one interval, so that a percentile is of all of them. wrk
// corrects what it sees for what it could not ask while it waited, which shifts
// nothing as long as no answer takes twice the mean: they take 600 to 1200 ms.
func TestPercentilesAreThoseOfTheServicesClient(t *testing.T) {
	vm := StartVictoriaMetrics(t)
	c := StartCollector(t, "", "")
	gcp, err := gcpintake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gcp.Close)
	a := start(t, setup{active: []string{"datadog", "influxdb", "newrelic", "google"}, flush: "1h", destinations: []string{
		datadogTo("datadog", vm.URL+"/datadog", "metrics", ", compression: gzip"), influxTo("influxdb", vm.URL), newRelicTo(c, "metrics", ""),
		fmt.Sprintf("google: {type: googlecloud, project: my-project, location: global, url: %q, logs_url: %q}", gcp.Addr(), gcp.Addr()),
	}})
	_, statsd, _ := strings.Cut(a.statsd, ":")
	service, port := serving(t, "service.js", statsd, a.otlpHTTP)
	script, err := filepath.Abs("testdata/node/quantiles.lua")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "wrk", "-t1", "-c128", "-d20s", "--timeout", "10s", "-s", script, "http://127.0.0.1:"+port+"/").CombinedOutput()
	if err != nil {
		t.Fatalf("wrk (Debian: apt-get install wrk): %v\n%s", err, out)
	}
	seen := map[string]float64{}
	for _, m := range regexp.MustCompile(`q (\d+) ([0-9.]+)`).FindAllStringSubmatch(string(out), -1) {
		if seen[m[1]], err = strconv.ParseFloat(m[2], 64); err != nil {
			t.Fatal(err)
		}
	}
	n := regexp.MustCompile(`requests (\d+) errors 0`).FindSubmatch(out)
	if len(seen) != 3 || n == nil {
		t.Fatalf("wrk said:\n%s", out)
	}
	requests, err := strconv.ParseFloat(string(n[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	do(t, service.cmd.Process.Signal(syscall.SIGTERM)) // it says what it measured
	<-service.gone
	a.finish(t)

	// What wrk did not wait for any more, the service has answered all the same.
	whole := func(what string, count float64) {
		t.Helper()
		if count < requests || count > requests+128 {
			t.Errorf("%s: %v of %v requests", what, count, requests)
		}
	}
	f := func(what, q string, got, share float64) {
		t.Helper()
		t.Logf("%-34s p%s %8.2f ms, the client saw %8.2f: %+.2f %%", what, q, got, seen[q], 100*(got/seen[q]-1))
		if !near(got, seen[q], share) {
			t.Errorf("%s: p%s is %v, the client saw %v", what, q, got, seen[q])
		}
	}
	one := func(name string) float64 {
		t.Helper()
		found := vm.Export(t, `{__name__="`+name+`"}`)
		if len(found) != 1 || len(found[0].Values) != 1 {
			t.Errorf("%s: %v, want one value of one series", name, found)
			return 0
		}
		return found[0].Values[0]
	}
	for _, metric := range []string{"service.statsd", "service.otel"} {
		whole("Datadog "+metric, one(metric+".count"))
		whole("InfluxDB "+metric, one(metric+"_count"))
		for q, name := range map[string]string{"50": ".median", "95": ".95percentile", "99": ".99percentile"} {
			f("Datadog "+metric, q, one(metric+name), 0.01)
			f("InfluxDB "+metric, q, one(metric+"_p"+q), 0.01)
		}
		m := &counts{}
		for _, p := range points(t, c.Metrics(t)) {
			if p.name == metric && p.histogram != nil {
				m.add(p.histogram)
			}
		}
		whole("New Relic "+metric, float64(m.count))
		for q := range seen {
			rank, err := strconv.Atoi(q)
			do(t, err)
			f("New Relic "+metric, q, m.at((int(m.count)*rank+99)/100), 0.01)
		}
		var dist *distribution.Distribution
		for _, p := range gcp.Points() {
			if strings.HasSuffix(p.Series.GetMetric().GetType(), "/"+metric) {
				dist = p.Series.GetPoints()[0].GetValue().GetDistributionValue()
			}
		}
		whole("Google "+metric, float64(dist.GetCount()))
		for q := range seen {
			rank, err := strconv.ParseFloat(q, 64)
			do(t, err)
			f("Google "+metric, q, gcpintake.Quantile(dist, rank/100), 0.01)
		}
	}
}
