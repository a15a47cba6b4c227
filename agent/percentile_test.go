package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/collect/statsd"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
)

// timed sends values to StatsD, and returns what the spool has of them: the
// distributions of one interval.
func timed(t *testing.T, values []float64) *signal.Batch {
	t.Helper()
	conf := statsd.Default()
	socket := filepath.Join(t.TempDir(), "s") // a sender waits where there is no room: nothing is lost
	conf.Listen, conf.Flush, conf.Expire = []string{"unixgram://" + socket}, time.Hour, 2*time.Hour
	s := statsd.New(conf, slog.New(slog.DiscardHandler))
	spools := openSpools(t, t.TempDir())
	h := hub.New(spools, time.Now())
	h.Configure(hub.Default(), signal.Labels(signal.LabelHost, "n1"), nil)
	cursor, err := spools[signal.Metric].Cursor("d", spool.From{Oldest: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, h) }()
	var c net.Conn
	for c == nil {
		if c, err = net.Dial("unixgram", socket); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
	defer c.Close()
	var packet []byte
	for i, v := range values {
		packet = append(strconv.AppendFloat(append(packet, "took:"...), v, 'g', -1, 64), "|ms|#route:/buy\n"...)
		if len(packet) > 1000 || i == len(values)-1 {
			if _, err := c.Write(packet); err != nil {
				t.Fatal(err)
			}
			packet = packet[:0]
		}
	}
	for s.Stats().Metrics.Load() < int64(len(values)) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_, frame, err := cursor.Live().Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := &signal.Batch{}
	if err := signal.AppendFromFrame(b, frame); err != nil {
		t.Fatal(err)
	}
	return b
}

// A service that answers in 1 ms to 2 s, log-normally: p50, p95 and p99 in the
// best form each vendor has, against the values themselves. Each form's bound is
// in README's table. What comes of one interval is one distribution.
func TestPercentilesOfALongTailArriveWithinOnePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	values := make([]float64, 50_000)
	for i := range values {
		values[i] = min(max(45*math.Exp(1.15*rng.NormFloat64()), 1), 2000)
	}
	b := timed(t, values)
	if b.Samples[0].Hist.Count != uint64(len(values)) { // the hour, and so the interval, ended between two packets
		b = timed(t, values)
	}
	slices.Sort(values)
	body := func(e exporters.Exporter) []byte {
		t.Helper()
		body, next, skipped := e.Encode(nil, b, 0, b.Len())
		if next != b.Len() || skipped != 0 {
			t.Fatalf("%s: %d of %d, %d skipped", e.Name(), next, b.Len(), skipped)
		}
		return body
	}
	f := func(form string, bound float64, quantile func(percent float64) float64) {
		t.Helper()
		for _, p := range []float64{50, 95, 99} {
			want := values[int(math.Ceil(p/100*float64(len(values))))-1]
			got := quantile(p)
			t.Logf("%-34s p%v %8.2f ms, it was %8.2f: %+.2f %%", form, p, got, want, 100*(got/want-1))
			if !(math.Abs(got/want-1) <= bound) {
				t.Errorf("%s: p%v is %v, it was %v", form, p, got, want)
			}
		}
	}
	const fine = 0.0055 // of the exponential buckets, by their middle

	lines := body(influx.Metrics("i", influx.Default(), nil))
	f("InfluxDB's fields", fine, func(p float64) float64 {
		m := regexp.MustCompile(fmt.Sprintf(`[ ,]p%v=([^, ]+)`, p)).FindSubmatch(lines)
		if m == nil {
			return math.NaN()
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	})

	points, err := ddintake.Intake{}.Series(body(datadog.Metrics("d", datadog.Default(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	f("Datadog's series", fine, func(p float64) float64 {
		name := fmt.Sprintf("took.%vpercentile", p)
		if p == 50 {
			name = "took.median"
		}
		for _, s := range points {
			if s.Metric == name {
				return *s.Points[0].Value
			}
		}
		return math.NaN()
	})
	conf := datadog.Default()
	conf.Distributions = "points"
	dists, err := ddintake.Intake{}.Distributions(body(datadog.Metrics("d", conf, nil)))
	if err != nil {
		t.Fatal(err)
	}
	f("Datadog's distribution points", fine, func(p float64) float64 {
		slices.Sort(dists[0].Values)
		return dists[0].Values[int(math.Ceil(p/100*float64(len(dists[0].Values))))-1]
	})

	var request monitoringpb.CreateTimeSeriesRequest
	if err := proto.Unmarshal(body(google.Metrics("g", google.Default(), google.Place{Project: "p", Location: "global"}, nil)), &request); err != nil {
		t.Fatal(err)
	}
	dist := request.GetTimeSeries()[0].GetPoints()[0].GetValue().GetDistributionValue()
	f("Google's distribution", 2*fine, func(p float64) float64 { return gcpintake.Quantile(dist, p/100) })

	for _, api := range []string{"sdk", "otlp"} {
		conf := newrelic.Default()
		conf.API = api
		sent := body(newrelic.Metrics("n", conf, nil))
		take := nrintake.Intake{}.Metrics
		if api == "otlp" {
			take = nrintake.Intake{}.OTLPMetrics
		}
		taken, bad, err := take(bytes.Clone(sent))
		if err != nil || len(bad) > 0 {
			t.Fatal(bad, err)
		}
		f("New Relic's percentiles, "+api, fine, func(p float64) float64 {
			for _, m := range taken {
				if m.Name == "took.percentiles" && m.Attributes["percentile"] == p {
					return m.Value
				}
			}
			return math.NaN()
		})
		for _, m := range taken {
			if m.Type == "exponential" { // eight buckets to a doubling: 160 do not reach further
				h := &signal.Hist{Count: uint64(m.Count), Min: *m.Min, Max: *m.Max, Exponential: true, Scale: m.Scale, Pos: signal.Buckets{Offset: m.Offset, Counts: m.Counts}}
				f("New Relic's exponential histogram", 0.044, func(p float64) float64 { return h.Quantile(p / 100) })
			}
		}
	}
}
