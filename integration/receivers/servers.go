package receivers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// build returns the path of a program, building it if need be.
func build(t testing.TB, p Program) string {
	t.Helper()
	path, err := p.Path(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// VictoriaMetrics is a real one.
type VictoriaMetrics struct{ URL string }

// StartVictoriaMetrics starts one that keeps names as they come.
func StartVictoriaMetrics(t testing.TB) VictoriaMetrics {
	t.Helper()
	at := Address(t)
	p := Start(t, build(t, Program{"victoria-metrics", "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics", "pure"}),
		"-httpListenAddr="+at, "-storageDataPath=data", "-retentionPeriod=1y", "-search.latencyOffset=0s",
		"-datadog.sanitizeMetricName=false", "-memory.allowedBytes=64MiB", "-loggerLevel=WARN")
	v := VictoriaMetrics{"http://" + at}
	p.serves(t, func() bool { return up(v.URL + "/health") })
	return v
}

// Series is one of VictoriaMetrics, with all its points.
type Series struct {
	Metric     map[string]string `json:"metric"` // labels; the name is __name__
	Values     []float64         `json:"values"`
	Timestamps []int64           `json:"timestamps"` // ms
}

// Export returns all series that a selector finds.
func (v VictoriaMetrics) Export(t testing.TB, selector string) (found []Series) {
	t.Helper()
	get(t, v.URL+"/internal/force_flush")
	// A counter's second sample of one second is stamped with the next one, which may
	// lie ahead; without an end nothing ahead is told.
	end := strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)
	for line := range strings.Lines(get(t, v.URL+"/api/v1/export?end="+end+"&match[]="+url.QueryEscape(selector))) {
		var s Series
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("VictoriaMetrics: %v in %s", err, line)
		}
		found = append(found, s)
	}
	return found
}

// VictoriaLogs is a real one.
type VictoriaLogs struct{ URL string }

// StartVictoriaLogs starts one.
func StartVictoriaLogs(t testing.TB) VictoriaLogs {
	t.Helper()
	at := Address(t)
	p := Start(t, build(t, Program{"victoria-logs", "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-logs", "pure"}),
		"-httpListenAddr="+at, "-storageDataPath=data", "-memory.allowedBytes=64MiB", "-loggerLevel=WARN")
	v := VictoriaLogs{"http://" + at}
	p.serves(t, func() bool { return up(v.URL + "/health") })
	return v
}

// Query returns the lines that a query of LogsQL finds, field by field.
func (v VictoriaLogs) Query(t testing.TB, query string) (found []map[string]string) {
	t.Helper()
	get(t, v.URL+"/internal/force_flush")
	for line := range strings.Lines(get(t, v.URL+"/select/logsql/query?query="+url.QueryEscape(query))) {
		var m map[string]string
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("VictoriaLogs: %v in %s", err, line)
		}
		found = append(found, m)
	}
	return found
}

// Collector is a real OpenTelemetry Collector.
type Collector struct {
	GRPC, HTTP string // where it receives OTLP, host:port

	file string // what its exporter lines wrote
}

// StartCollector starts one that writes what it receives to a file. If one of
// grpc and http is not empty, it forwards it there too: host:port, and a URL.
func StartCollector(t testing.TB, grpc, http string) *Collector {
	t.Helper()
	c := &Collector{GRPC: Address(t), HTTP: Address(t), file: filepath.Join(t.TempDir(), "received.jsonl")}
	exporters, names := "", "lines"
	if grpc != "" {
		exporters += fmt.Sprintf("  otlp_grpc: {endpoint: %q, tls: {insecure: true}, sending_queue: {enabled: false}}\n", grpc)
		names += ", otlp_grpc"
	}
	if http != "" {
		exporters += fmt.Sprintf("  otlp_http: {endpoint: %q, compression: zstd, sending_queue: {enabled: false}}\n", http)
		names += ", otlp_http"
	}
	config := fmt.Sprintf(`receivers:
  otlp: {protocols: {grpc: {endpoint: %q}, http: {endpoint: %q}}}
exporters:
  lines: {path: %q}
%sservice:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [%s]}
    logs: {receivers: [otlp], exporters: [%s]}
`, c.GRPC, c.HTTP, c.file, exporters, names, names)
	path := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Start(t, build(t, Program{"collector", ".", ""}), "--config", "file:"+path)
	p.serves(t, func() bool { return strings.Contains(p.Said(), "Everything is ready") })
	return c
}

// Metrics returns what came of metrics so far, in the order it came.
func (c *Collector) Metrics(t testing.TB) *metricspb.MetricsData {
	all := &metricspb.MetricsData{}
	for line := range c.lines(t, "resourceMetrics") {
		var m metricspb.MetricsData
		if err := protojson.Unmarshal(line, &m); err != nil {
			t.Fatalf("the collector: %v in %s", err, line)
		}
		all.ResourceMetrics = append(all.ResourceMetrics, m.ResourceMetrics...)
	}
	return all
}

// Logs returns what came of logs so far.
func (c *Collector) Logs(t testing.TB) *logspb.LogsData {
	all := &logspb.LogsData{}
	for line := range c.lines(t, "resourceLogs") {
		var m logspb.LogsData
		if err := protojson.Unmarshal(line, &m); err != nil {
			t.Fatalf("the collector: %v in %s", err, line)
		}
		all.ResourceLogs = append(all.ResourceLogs, m.ResourceLogs...)
	}
	return all
}

// lines yields the whole lines of the file that hold what is named.
func (c *Collector) lines(t testing.TB, what string) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		f, err := os.Open(c.file)
		if os.IsNotExist(err) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for r := bufio.NewReader(f); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return // what has no end yet comes next time
			}
			if strings.HasPrefix(string(line), `{"`+what) && !yield(line) {
				return
			}
		}
	}
}

func up(at string) bool {
	resp, err := http.Get(at)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func get(t testing.TB, at string) string {
	t.Helper()
	resp, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %s", at, resp.StatusCode, err, body)
	}
	return string(body)
}
