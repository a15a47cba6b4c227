package prom

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// generated is a page of about n samples such as services show: of each 20 lines
// 12 belong to a histogram, 6 are counters and 2 gauges, at 138 bytes a line.
func generated(n int, step float64) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	lines := 0
	for family := 0; lines < n; family++ {
		labels := func(i int) string {
			method, code := []string{"GET", "POST", "PUT"}[i%3], []string{"200", "404", "500"}[i/3%3]
			return fmt.Sprintf("method=%q,path=\"/api/v1/resource/%04d/items\",code=%q,zone=\"europe-west%d\"", method, i, code, i%7)
		}
		switch family % 3 {
		case 0:
			fmt.Fprintf(&b, "# HELP http_request_duration_seconds_%d How long requests took.\n# TYPE http_request_duration_seconds_%d histogram\n", family, family)
			for i := 0; i < 100 && lines < n; i++ {
				total := 0
				for _, le := range []string{"0.005", "0.01", "0.05", "0.1", "0.5", "1", "2.5", "5", "10", "+Inf"} {
					total += rnd.IntN(1000)
					fmt.Fprintf(&b, "http_request_duration_seconds_%d_bucket{%s,le=%q} %d\n", family, labels(i), le, total+int(step))
				}
				fmt.Fprintf(&b, "http_request_duration_seconds_%d_sum{%s} %.6f\n", family, labels(i), rnd.Float64()*1e4+step)
				fmt.Fprintf(&b, "http_request_duration_seconds_%d_count{%s} %d\n", family, labels(i), total+int(step))
				lines += 12
			}
		case 1:
			fmt.Fprintf(&b, "# HELP application_requests_handled_total_%d Requests.\n# TYPE application_requests_handled_total_%d counter\n", family, family)
			for i := 0; i < 600 && lines < n; i++ {
				fmt.Fprintf(&b, "application_requests_handled_total_%d{%s,instance_group=\"backend\"} %d\n", family, labels(i), rnd.IntN(1e9)+int(step))
				lines++
			}
		default:
			fmt.Fprintf(&b, "# HELP application_queue_length_bytes_%d Bytes waiting.\n# TYPE application_queue_length_bytes_%d gauge\n", family, family)
			for i := 0; i < 200 && lines < n; i++ {
				fmt.Fprintf(&b, "application_queue_length_bytes_%d{%s,instance_group=\"backend\"} %.3f\n", family, labels(i), rnd.Float64()*1e6+step)
				lines++
			}
		}
	}
	return b.Bytes()
}

// cpu is what this process has used so far, in seconds.
func cpu() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// BenchmarkPage reads a page of 100,000 known samples from memory.
func BenchmarkPage(b *testing.B) {
	page := generated(100_000, 0)
	p := newPage(&spec{maxSamples: 1 << 30, labels: "\x03env\x04prod"}, nil)
	buf := make([]byte, firstBuffer)
	read := func(at int64) {
		p.begin(at)
		p.speak("text")
		if _, err := p.readText(bytes.NewReader(page), false, buf); err != nil {
			b.Fatal(err)
		}
		p.end()
		for b := range p.batches() {
			b.Release()
		}
	}
	read(1)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	at, used := int64(1), cpu()
	for b.Loop() {
		at++
		read(at * 1000)
	}
	b.ReportMetric((cpu()-used)/float64(b.N)/float64(p.tally.Samples)*1e6, "cpu-s/Msample")
	b.ReportMetric(float64(len(page))/float64(p.tally.Samples), "B/sample")
}

// BenchmarkFirstPage reads 100,000 samples of which none is known yet.
func BenchmarkFirstPage(b *testing.B) {
	text := generated(100_000, 0)
	buf := make([]byte, firstBuffer)
	b.ReportAllocs()
	used, samples := cpu(), 0
	for b.Loop() {
		p := newPage(&spec{maxSamples: 1 << 30, labels: "\x03env\x04prod"}, nil)
		p.begin(1)
		p.speak("text")
		if _, err := p.readText(bytes.NewReader(text), false, buf); err != nil {
			b.Fatal(err)
		}
		p.end()
		for b := range p.batches() {
			b.Release()
		}
		samples = p.tally.Samples
	}
	b.ReportMetric((cpu()-used)/float64(b.N)/float64(samples)*1e6, "cpu-s/Msample")
}

// discard is a Sink that keeps nothing.
type discard struct{ items int }

func (d *discard) Put(_ context.Context, b *signal.Batch) error {
	d.items += b.Len()
	return nil
}

// BenchmarkScrape scrapes 100,000 samples over HTTP. The CPU time is that of the
// whole process, the server's included, which writes bytes that it has already.
func BenchmarkScrape(b *testing.B) {
	text := generated(100_000, 0)
	for _, packed := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", packed), func(b *testing.B) {
			body := text
			if packed {
				var z bytes.Buffer
				w := gzip.NewWriter(&z)
				w.Write(text)
				w.Close()
				body = z.Bytes()
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain; version=0.0.4")
				if packed {
					w.Header().Set("Content-Encoding", "gzip")
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
				w.Write(body)
			}))
			defer server.Close()
			c := Default()
			c.Targets, c.Native = []Target{{URL: server.URL}}, "false"
			s := New(c, Sources{}, slog.New(slog.DiscardHandler))
			defer s.wires.close()
			specs, _ := s.discover(nil)
			var tg *target
			for _, sp := range specs {
				tg = s.newTarget(sp)
			}
			out := &discard{}
			tg.scrape(b.Context(), out)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			used := cpu()
			for b.Loop() {
				tg.scrape(b.Context(), out)
			}
			if st := tg.look(); !st.Up {
				b.Fatal(st.Err)
			}
			b.ReportMetric((cpu()-used)/float64(b.N)/float64(tg.page.tally.Samples)*1e6, "cpu-s/Msample")
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			pages := len(text)
			if packed {
				pages += len(body)
			}
			b.ReportMetric(float64(int(m.HeapAlloc)-pages)/1e6, "MB-live")
			b.ReportMetric(float64(len(tg.page.owner)+len(tg.page.groups)), "series")
			runtime.KeepAlive(s)
		})
	}
}
