package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metricscol "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/collect/otlp"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/influx"
)

// cpu returns the CPU seconds this process has used.
func cpu(b testing.TB) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func openSpools(b testing.TB, dir string) hub.Spools {
	s := hub.Spools{}
	for _, k := range signal.Kinds {
		sp, err := spool.Open(filepath.Join(dir, k.String()), spool.Options{MaxBytes: 8 << 30})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { sp.Close() })
		s[k] = sp
	}
	return s
}

// From a file to the spool: read, split, complete, frame, checksum, write.
func BenchmarkFilesIntoTheSpool(b *testing.B) {
	const fileBytes = 64 << 20
	line := []byte(`{"ts":"2026-11-23T10:00:00.123456Z","level":"info","msg":"request served","path":"/api/v1/items/4711","status":200,"took_ms":17,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","user":"u-0815","bytes":5120,"host":"a"}` + "\n")
	data := bytes.Repeat(line, fileBytes/len(line))
	b.SetBytes(int64(len(data)))
	used := 0.0
	for range b.N {
		b.StopTimer()
		dir := b.TempDir()
		path := filepath.Join(dir, "app.log")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			b.Fatal(err)
		}
		spools := openSpools(b, filepath.Join(dir, "spool"))
		h := hub.New(spools, time.Now())
		h.Configure(hub.Default(), signal.Labels(signal.LabelHost, "n1"), nil)
		cfg := tail.Default()
		cfg.Pods.Enabled = "false"
		cfg.Files = []tail.File{{Path: path, Start: "beginning"}}
		t := tail.New(cfg, h, filepath.Join(dir, "tail"), slog.New(slog.DiscardHandler))
		before := cpu(b)
		b.StartTimer()
		ctx, cancel := context.WithCancel(b.Context())
		go func() {
			for h.Stats[signal.Log].Spooled.Load() < int64(len(data)/len(line)) {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
		if err := t.Run(ctx, h); err != nil {
			b.Fatal(err)
		}
		used += cpu(b) - before
	}
	b.ReportMetric(float64(len(data)*b.N)/1e6/used, "MB/cpu-s")
}

// sink is a destination that takes everything and looks at nothing.
func sink(b *testing.B) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(s.Close)
	return s
}

func appSamples(n int) *signal.Batch {
	batch := &signal.Batch{Kind: signal.Metric}
	for i := range n {
		batch.Add(signal.Sample{
			Series: signal.Intern(signal.Desc{Name: fmt.Sprintf("app.metric.%d", i%50), Type: signal.Gauge, Labels: signal.Labels("pod", fmt.Sprint("pod-", i/50), "namespace", "shop")}),
			Time:   time.Now().UnixMilli(), Value: float64(i) / 3,
		})
	}
	return batch
}

// How fast an outage is worked off: what lies in the spool, lines and samples in
// equal numbers, to one destination, in items per CPU-second. The live rate it is
// held against is 10,000 lines and 10,000 samples a second.
func BenchmarkCatchUp(b *testing.B) {
	const frames, lines = 20, 1000
	server := sink(b)
	logs := &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{{Stream: signal.InternStream(signal.Labels(signal.LabelLogFile, "/var/log/app.log")), File: "f"}}}
	body := bytes.Repeat([]byte("x"), 220)
	for i := range lines {
		logs.Logs[0].Append(time.Now().UnixNano()+int64(i), 6, body, nil)
	}
	used := 0.0
	for range b.N {
		spools := openSpools(b, b.TempDir())
		for range frames {
			for _, batch := range []*signal.Batch{appSamples(lines), logs} {
				if _, err := spools[batch.Kind].Append(b.Context(), signal.AppendFrame(nil, batch), lines); err != nil {
					b.Fatal(err)
				}
			}
		}
		conf := influx.Default()
		conf.URL = server.URL
		client, err := exporters.HTTP{}.Client(4)
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		before := cpu(b)
		var cursors []*spool.Cursor
		for k, e := range map[signal.Kind]exporters.Exporter{signal.Metric: influx.Metrics("m", conf, client), signal.Log: influx.Logs("l", conf, client)} {
			c, err := spools[k].Cursor("d", spool.From{Oldest: true})
			if err != nil {
				b.Fatal(err)
			}
			cursors = append(cursors, c)
			d := &exporters.Delivery{Exporter: e, Live: c.Live(), Linger: time.Millisecond}
			go func() { _ = d.Run(ctx) }()
		}
		for _, c := range cursors {
			for c.Lag().Waiting > 0 {
				time.Sleep(time.Millisecond)
			}
		}
		used += cpu(b) - before
		cancel()
	}
	rate := float64(2*frames*lines*b.N) / used
	b.ReportMetric(rate, "items/cpu-s")
	b.ReportMetric(rate/20000, "times-live")
}

// What one more destination costs: the same metric frames to one, and to four.
// Collecting and spooling are shared by all, decoding by those that read the
// same frame; encoding and compression each destination pays for itself.
func BenchmarkDestinations(b *testing.B) {
	const samples, frames = 10000, 20
	server := sink(b)
	batch := appSamples(samples)
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			used := 0.0
			for range b.N {
				spools := openSpools(b, b.TempDir())
				sp := spools[signal.Metric]
				feed := exporters.NewFeed(sharedFrames)
				ctx, cancel := context.WithCancel(b.Context())
				var cursors []*spool.Cursor
				before := cpu(b)
				for i := range n {
					c, err := sp.Cursor(fmt.Sprint("d", i), spool.From{Oldest: true})
					if err != nil {
						b.Fatal(err)
					}
					cursors = append(cursors, c)
					conf := influx.Default()
					conf.URL = server.URL
					client, err := exporters.HTTP{}.Client(4)
					if err != nil {
						b.Fatal(err)
					}
					d := &exporters.Delivery{Exporter: influx.Metrics(fmt.Sprint("d", i), conf, client), Live: c.Live(), Feed: feed, Linger: time.Millisecond}
					go func() { _ = d.Run(ctx) }()
				}
				for range frames {
					if _, err := sp.Append(ctx, signal.AppendFrame(nil, batch), samples); err != nil {
						b.Fatal(err)
					}
				}
				for _, c := range cursors {
					for c.Lag().Waiting > 0 {
						time.Sleep(time.Millisecond)
					}
				}
				used += cpu(b) - before
				cancel()
			}
			b.ReportMetric(used*1e9/float64(b.N*frames*samples), "cpu-ns/sample")
		})
	}
}

// owner completes every label set with what a pod's owner would be told by, as
// the room of Kubernetes does.
type owner struct{}

func (owner) Version() uint64 { return 1 }

func (owner) Labels(set string) string {
	if signal.Lookup(set, signal.LabelPodUID) == "" {
		return ""
	}
	return signal.Labels(signal.LabelDeployment, "shop", signal.LabelWorkload, "shop", signal.LabelWorkloadKind, "Deployment", signal.LabelService, "shop",
		signal.LabelVersion, "1.4.2", signal.LabelEnv, "prod", signal.LabelImage, "registry.example/shop", signal.LabelImageTag, "1.4.2")
}

// podLogs writes the files of n containers below dir, as the kubelet has them:
// lines of JSON, 220 bytes each, no two alike, size bytes in all. It returns how
// many lines, and how many bytes, of them those of the lines' text.
func podLogs(b *testing.B, dir string, n, size int) (lines, read, body int64) {
	for f := range n {
		at := filepath.Join(dir, fmt.Sprintf("shop_shop-7d4b9c-%05d_%08x-0000-4000-8000-000000000000", f, f), "app")
		if err := os.MkdirAll(at, 0o755); err != nil {
			b.Fatal(err)
		}
		var w bytes.Buffer
		for i := 0; w.Len() < size/n; i++ {
			id := uint64(f*1_000_003+i) * 0x9e3779b97f4a7c15
			text := fmt.Sprintf(`{"ts":"2026-11-23T10:%02d:%02d.%06dZ","level":"info","msg":"request served","path":"/api/v1/items/%d","status":200,"took_ms":%d,"trace_id":"%016x%016x","user":"u-%04d"`,
				i/60%60, i%60, id%1e6, id%10_000, id%500, id, ^id, id%10_000)
			text += `,"pad":"` + "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[:max(0, 220-len(text)-10)] + `"}`
			fmt.Fprintf(&w, "2026-11-23T10:%02d:%02d.%09dZ stdout F %s\n", i/60%60, i%60, id%1e9, text)
			lines++
			body += int64(len(text))
		}
		read += int64(w.Len())
		if err := os.WriteFile(filepath.Join(at, "0.log"), w.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return lines, read, body
}

// The whole way of a container's line: CRI files of 50 containers, joined, parsed,
// redacted, completed by the pod, framed, on disk, read back, Datadog's JSON,
// gzip, HTTP. MB/cpu-s counts the bytes of the files, text-MB/cpu-s those of the
// lines' text alone. Of the cases each leaves one thing out, so that the
// difference is its cost.
func BenchmarkPodsToDatadog(b *testing.B) {
	for _, c := range []struct {
		name string
		set  func(p *hub.Config, d *datadog.Config)
	}{
		{"all", func(*hub.Config, *datadog.Config) {}},
		{"redact=off", func(p *hub.Config, _ *datadog.Config) { p.Redact = nil }},
		{"parse=off", func(p *hub.Config, _ *datadog.Config) { p.Parse = "none" }},
		{"deflate", func(_ *hub.Config, d *datadog.Config) { d.Compression = "deflate" }},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := sink(b)
			used, read, text := 0.0, int64(0), int64(0)
			for range b.N {
				b.StopTimer()
				dir := b.TempDir()
				lines, size, body := podLogs(b, filepath.Join(dir, "pods"), 50, 128<<20)
				read, text = read+size, text+body
				spools := openSpools(b, filepath.Join(dir, "spool"))
				process, conf := hub.Default(), datadog.Default()
				conf.URL, conf.APIKey = server.URL, "0123"
				c.set(&process, &conf)
				h := hub.New(spools, time.Now())
				h.Configure(process, signal.Labels(signal.LabelHost, "n1", signal.LabelCluster, "prod"), owner{})
				cfg := tail.Default()
				cfg.Pods.Enabled, cfg.Pods.Path = "true", filepath.Join(dir, "pods")
				t := tail.New(cfg, h, filepath.Join(dir, "tail"), slog.New(slog.DiscardHandler))
				client, err := exporters.HTTP{}.Client(4)
				if err != nil {
					b.Fatal(err)
				}
				cursor, err := spools[signal.Log].Cursor("d", spool.From{Oldest: true})
				if err != nil {
					b.Fatal(err)
				}
				e := datadog.Logs("d/log", conf, client)
				d := &exporters.Delivery{Exporter: e, Live: cursor.Live(), Linger: 10 * time.Millisecond}
				before := cpu(b)
				b.StartTimer()
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				go func() {
					for h.Stats[signal.Log].Spooled.Load() < lines || cursor.Lag().Waiting > 0 {
						time.Sleep(time.Millisecond)
					}
					cancel()
				}()
				if err := t.Run(ctx, h); err != nil {
					b.Fatal(err)
				}
				<-done
				used += cpu(b) - before
				if n := d.Stats.Sent.Load(); n != lines || h.Stats[signal.Log].Unparsed.Load() > 0 {
					b.Fatalf("%d of %d lines were sent", n, lines)
				}
			}
			b.ReportMetric(float64(read)/1e6/used, "MB/cpu-s")
			b.ReportMetric(float64(text)/1e6/used, "text-MB/cpu-s")
		})
	}
}

// What applications send by OTLP, into the spool: a request is answered once its
// points are there.
func BenchmarkOTLPIntoTheSpool(b *testing.B) {
	const points, requests = 10_000, 50
	var p []*metricspb.NumberDataPoint
	for i := range points {
		p = append(p, &metricspb.NumberDataPoint{Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: float64(i)}, Attributes: []*commonpb.KeyValue{
			{Key: "http.route", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: fmt.Sprint("/api/v1/items/", i%100)}}},
			{Key: "http.request.method", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "GET"}}},
			{Key: "shard", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: fmt.Sprint(i / 100)}}},
		}})
	}
	used := 0.0
	for range b.N {
		spools := openSpools(b, b.TempDir())
		h := hub.New(spools, time.Now())
		h.Configure(hub.Default(), signal.Labels(signal.LabelHost, "n1"), nil)
		conf := otlp.Default()
		conf.Enabled, conf.GRPC, conf.HTTP = "true", "", "127.0.0.1:0"
		s := otlp.New(conf, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, h) }()
		for len(s.Bound()) == 0 {
			time.Sleep(time.Millisecond)
		}
		url := s.Bound()[0] + "/v1/metrics"
		for i := range requests {
			for _, point := range p {
				point.TimeUnixNano = uint64(time.Now().UnixNano()) + uint64(i)*1e9
			}
			body, err := proto.Marshal(&metricscol.ExportMetricsServiceRequest{ResourceMetrics: []*metricspb.ResourceMetrics{{ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: []*metricspb.Metric{{
				Name: "http.server.requests", Unit: "1", Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{AggregationTemporality: 2, IsMonotonic: true, DataPoints: p}},
			}}}}}}})
			if err != nil {
				b.Fatal(err)
			}
			before := cpu(b)
			resp, err := http.Post(url, "application/x-protobuf", bytes.NewReader(body)) //nolint:noctx // a benchmark's own client
			if err != nil {
				b.Fatal(err)
			}
			_ = resp.Body.Close()
			used += cpu(b) - before
			if resp.StatusCode != http.StatusOK {
				b.Fatal(resp.Status)
			}
		}
		cancel()
		<-done
		if n := h.Stats[signal.Metric].Spooled.Load(); n != points*requests {
			b.Fatalf("%d of %d points are in the spool", n, points*requests)
		}
	}
	b.ReportMetric(float64(points*requests*b.N)/1e6/used, "Mpoints/cpu-s")
}

// A page of 100,000 samples, scraped, parsed, completed, converted, on disk,
// read back, Datadog's JSON, zstd, HTTP. The server of the page is in the figure.
func BenchmarkScrapeToDatadog(b *testing.B) {
	const samples = 100_000
	// The page is made once; each answer writes another number over the last one's
	// digits, so that serving it costs next to nothing.
	var text []byte
	var at []int
	for i := range samples {
		if i%100 == 0 {
			text = fmt.Appendf(text, "# HELP http_requests_%d_total Requests by handler.\n# TYPE http_requests_%d_total counter\n", i/100, i/100)
		}
		text = fmt.Appendf(text, "http_requests_%d_total{handler=\"/api/v1/items/%d\",method=\"GET\",code=\"200\",instance=\"shop-7d4b9c-%05d\",zone=\"europe-west3-a\"} ", i/100, i%100, i%100)
		at = append(at, len(text))
		text = fmt.Appendf(text, "%08d\n", i)
	}
	rounds, last := 0, time.Time{}
	var late atomic.Int64 // scrapes that came more than a tenth of the interval after they were due
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rounds++
		now := time.Now()
		if rounds > 2 && now.Sub(last) > 1100*time.Millisecond {
			late.Add(1)
		}
		last = now
		digits := fmt.Sprintf("%08d", rounds)
		for _, i := range at {
			copy(text[i:], digits)
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(text)
	}))
	b.Cleanup(page.Close)
	server := sink(b)
	spools := openSpools(b, b.TempDir())
	h := hub.New(spools, time.Now())
	h.Configure(hub.Default(), signal.Labels(signal.LabelHost, "n1"), nil)
	feed := exporters.NewFeed(sharedFrames)
	h.Fresh = feed.Offer
	conf := prom.Default()
	conf.Enabled, conf.Interval, conf.Timeout = "true", time.Second, time.Second
	conf.Targets = []prom.Target{{URL: page.URL + "/metrics"}}
	s := prom.New(conf, prom.Sources{}, slog.New(slog.DiscardHandler))
	client, err := exporters.HTTP{}.Client(4)
	if err != nil {
		b.Fatal(err)
	}
	cursor, err := spools[signal.Metric].Cursor("d", spool.From{Oldest: true})
	if err != nil {
		b.Fatal(err)
	}
	dd := datadog.Default()
	dd.URL, dd.APIKey = server.URL, "0123"
	d := &exporters.Delivery{Exporter: datadog.Metrics("d/metric", dd, client), Live: cursor.Live(), Feed: feed, Linger: 100 * time.Millisecond}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 2)
	go func() { done <- d.Run(ctx) }()
	go func() { done <- s.Run(ctx, h) }()
	scraped := func(n int64) {
		for h.Stats[signal.Metric].Spooled.Load() < n || cursor.Lag().Waiting > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	scraped(2 * samples) // series are known
	first, before := h.Stats[signal.Metric].Spooled.Load(), cpu(b)
	scraped(first + 10*samples)
	used, n := cpu(b)-before, h.Stats[signal.Metric].Spooled.Load()-first
	cancel()
	<-done
	<-done
	b.ReportMetric(used*1e6/float64(n), "cpu-s/Msample")
	b.ReportMetric(float64(late.Load()), "late/op")
}
