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
	"syscall"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
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
