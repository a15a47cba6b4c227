// Package google sends metrics to Cloud Monitoring, and lines and events to
// Cloud Logging, so that each stands under the monitored resource it is about.
//
// The agent's table of vendors calls Metrics, Logs and Events with one Client,
// which holds the connections of a destination; each gives an
// exporters.Exporter, which Delivery drives. Requests are written here, byte by
// byte as protocol buffers have it (wire.go); Google's own clients carry them,
// with their headers, credentials and connections (client.go).
//
// How data is named:
//
//	metric types        PREFIX.googleapis.com/ and the metric's own name (names.go)
//	gauge               GAUGE, DOUBLE
//	counter             CUMULATIVE, DOUBLE, from the counter's own start; without
//	                    one, each increase is a CUMULATIVE of its own interval
//	delta               CUMULATIVE of its own interval: DELTA cannot be written
//	dist, cumdist       CUMULATIVE, DISTRIBUTION (hist.go)
//	summaries           NAME.quantile as gauges, NAME.count and .sum CUMULATIVE
//	lines               entries of log stdout, stderr or their source's; a line
//	                    that is one JSON object as jsonPayload (logs.go, json.go)
//	events, checks      entries of log causeway-events (events.go)
//	labels              the resource's, then the metric's (resource.go, names.go)
//
// What always holds:
//
//  1. Encode depends on the batch alone. A request holds one point of a series,
//     and of points of a series that Google would find too close the newest.
//  2. Kind and value type of a metric depend on its type alone: Google fixes
//     them for ever with the first point.
//  3. What Google refused for good is not sent again; what it took is not
//     counted as refused, although it refuses it when it comes again.
//  4. A line sent again has the same time and insertId: it is shown once.
//  5. Every request is a valid message and UTF-8, whatever the data is.
//
// Memory: Encode writes to the caller's buffer and keeps nothing; per sample
// and line it allocates nothing. The only goroutines are gRPC's, which Close ends.
//
// It does not queue or retry: that is Delivery's work, and the clients' own
// retries are off. It creates no metric descriptors: Google does, with the
// first point. It asks no metadata server: who makes an exporter says the Place.
package google

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// Config is one destination of type googlecloud.
type Config struct {
	// Project that everything is sent to; auto: the one this machine belongs to.
	Project string `yaml:"project"`
	// Location (region or zone) of the resources; auto: of the cluster, or the
	// zone of this machine, or global.
	Location string `yaml:"location"`
	// Cluster is the name of the Kubernetes cluster; default: what the metadata
	// server says, or agent.cluster.
	Cluster string `yaml:"cluster"`
	// URL replaces monitoring.googleapis.com:443 (host:port, gRPC). With http://
	// before it: plain text and no credentials, on this machine only.
	URL string `yaml:"url"`
	// LogsURL replaces logging.googleapis.com:443 in the same way.
	LogsURL string `yaml:"logs_url"`
	// Logs sends lines and events to Cloud Logging; false: metrics only.
	Logs bool `yaml:"logs"`
	// Prefix says which metrics ours are: custom, workload or prometheus. With
	// prometheus they can be asked for in PromQL, as those of Google's own
	// collector for Prometheus.
	Prefix string `yaml:"prefix"`
	// SystemMetrics sends what GKE collects itself under kubernetes.io/, too.
	SystemMetrics bool `yaml:"system_metrics"`
	// ContainerLogs: auto leaves lines of pods to GKE's own logging where there
	// is one; true sends them always, false never.
	ContainerLogs string `yaml:"container_logs"`
	// Credentials is a key file; default: application default credentials.
	Credentials string `yaml:"credentials_file"`
	// Compression of requests: gzip, or none if empty.
	Compression string `yaml:"compression"`
	// InFlight is how many requests of lines may be under way at once. Metrics
	// have one: their order matters.
	InFlight int `yaml:"in_flight"`
	// Timeout of one request, its answer included.
	Timeout time.Duration `yaml:"timeout"`
	// Spacing is how far apart Google wants the points of a series to be.
	Spacing time.Duration `yaml:"spacing"`

	// Tags on everything sent, as key:value. The key belongs to destinations of
	// every type; the agent copies it here.
	Tags []string `yaml:"-"`
}

// Default returns a configuration that is complete on a machine of Google's.
func Default() Config {
	return Config{
		Project: "auto", Location: "auto", Logs: true, Prefix: "workload", ContainerLogs: "auto", Compression: "gzip",
		InFlight: 4, Timeout: exporters.DefaultTimeout, Spacing: 5 * time.Second,
	}
}

// Place is where the agent runs, as the metadata server says; what it does not
// say is empty.
type Place struct {
	Project    string // its id: my-project
	Location   string // of the GKE cluster: instance/attributes/cluster-location
	Zone       string // of the machine: europe-west1-b
	Cluster    string // instance/attributes/cluster-name; not empty: this is GKE
	Instance   string // the machine's name
	InstanceID string // its number
	Node       string // the name the agent reports as, where the machine has no other
}

var (
	projectID = regexp.MustCompile(`^([a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$|^[0-9]{1,20}$`)
	location  = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
)

// Check returns every complaint about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Project != "auto" && !projectID.MatchString(c.Project) {
		bad("project: must be auto or the id of a project, such as my-project-123456")
	}
	if c.Location != "auto" && !location.MatchString(c.Location) {
		bad("location: must be auto, a region or zone such as europe-west1, or global")
	}
	if strings.ContainsAny(c.Cluster, "/\n") || len(c.Cluster) > mostValue {
		bad("cluster: must be the name of a cluster, without a path")
	}
	if err := checkAddress(c.URL); err != nil {
		bad("url: %w", err)
	}
	if err := checkAddress(c.LogsURL); err != nil {
		bad("logs_url: %w", err)
	}
	if c.Prefix != "custom" && c.Prefix != "workload" && c.Prefix != "prometheus" {
		bad("prefix: must be custom, workload or prometheus")
	}
	if c.ContainerLogs != "auto" && c.ContainerLogs != "true" && c.ContainerLogs != "false" {
		bad("container_logs: must be auto, true or false")
	}
	if c.Compression != "gzip" && c.Compression != "" {
		bad("compression: must be gzip, or empty for none")
	}
	if c.InFlight < 1 || c.InFlight > 64 {
		bad("in_flight: must be 1 to 64")
	}
	if c.Timeout < time.Second {
		bad("timeout: must be at least 1s")
	}
	if c.Spacing < 0 || c.Spacing > time.Minute {
		bad("spacing: must be 0s to 1m")
	}
	for i, t := range c.Tags {
		if k, v, ok := strings.Cut(t, ":"); !ok || k == "" || v == "" {
			bad("tags[%d]: must be key:value", i)
		}
	}
	return errors.Join(errs...)
}

// checkAddress checks one of the two addresses.
func checkAddress(s string) error {
	if s == "" {
		return nil
	}
	addr, plain := strings.CutPrefix(s, "http://")
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil || host == "" || port == "" || strings.ContainsAny(addr, "/@?# "):
		return errors.New("must be host:port of a gRPC server, or http://127.0.0.1:port without credentials")
	case plain && !loopback(host):
		return errors.New("must be without http://, since credentials go there; http:// is for this machine only")
	}
	return nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Limits. Monitoring: 200 series of one point a request, points of at most 25
// hours ago and 5 minutes ahead (comments of CreateTimeSeriesRequest and
// TimeInterval in monitoringpb v1.32.1); 30 labels of 100 and 1024 bytes
// (cloud.google.com/monitoring/quotas); a series is one descriptor of at most
// 200 characters. Logging: 256 KiB an entry, 10 MB a request, 64 labels of 512
// bytes and 64 KiB, 30 days back and 1 day ahead (cloud.google.com/logging/quotas).
// Read 2026-11; ours leave room.
const (
	mostSeries     = 200
	mostLabels     = 30
	mostKey        = 100
	mostValue      = 1024
	mostType       = 200
	mostQuantiles  = 50
	metricAge      = 25 * time.Hour
	metricFuture   = 5 * time.Minute
	mostEntries    = 5000
	mostLogBytes   = 9_500_000
	mostEntry      = 250_000
	mostLogLabels  = 60
	mostLogKey     = 512
	mostLogValue   = 16 << 10
	logAge         = 30 * 24 * time.Hour
	logFuture      = 24 * time.Hour
	eventLog       = "causeway-events"
	mostLogName    = 500
	mostJSONDepth  = 90
	mostMetricByte = 8 << 20
)

// exporter is what the three kinds have in common.
type exporter struct {
	name   string
	kind   signal.Kind
	limits exporters.Limits
	conf   Config
	client *Client
	where  where
	own    []ownLabel
}

func newExporter(name string, k signal.Kind, c Config, p Place, client *Client, lim exporters.Limits) exporter {
	lim.Encoding = c.Compression
	// A point that comes again is refused, a line shown once.
	lim.Idempotent = true
	return exporter{name: name, kind: k, limits: lim, conf: c, client: client, where: whereOf(c, p), own: ownLabels(c.Tags)}
}

// Name returns the name the exporter was made with.
func (e *exporter) Name() string { return e.name }

// Kind returns the kind of signal the exporter takes.
func (e *exporter) Kind() signal.Kind { return e.kind }

// Limits returns the limits of one request.
func (e *exporter) Limits() exporters.Limits { return e.limits }

type metrics struct {
	exporter
	typePrefix string
	prometheus bool
	spacing    int64           // ms
	gke        map[string]bool // names that GKE has itself, and that are left out
	replay     replay
}

type logs struct {
	exporter
	pods bool // lines of pods, too
}

type events struct{ exporter }

// Metrics returns the Exporter of metrics. c has been checked; the client is
// shared by the exporters of one destination and closed by who made it.
func Metrics(name string, c Config, p Place, client *Client) exporters.Exporter {
	m := &metrics{
		exporter: newExporter(name, signal.Metric, c, p, client, exporters.Limits{
			Items: mostSeries, Bytes: mostMetricByte, InFlight: 1, MaxAge: metricAge, Future: metricFuture, Ordered: true, Spacing: c.Spacing,
		}),
		typePrefix: c.Prefix + ".googleapis.com/",
		prometheus: c.Prefix == "prometheus",
		spacing:    c.Spacing.Milliseconds(),
	}
	if p.Cluster != "" && !c.SystemMetrics {
		m.gke = gkeNames()
	}
	m.replay.left = mostReplays // what a crash left in flight comes again
	return m
}

// Logs returns the Exporter of log lines; see Metrics.
func Logs(name string, c Config, p Place, client *Client) exporters.Exporter {
	return &logs{
		exporter: newExporter(name, signal.Log, c, p, client, logLimits(c)),
		pods:     c.ContainerLogs == "true" || c.ContainerLogs == "auto" && p.Cluster == "",
	}
}

// Events returns the Exporter of events and service checks; see Metrics.
func Events(name string, c Config, p Place, client *Client) exporters.Exporter {
	return &events{newExporter(name, signal.Event, c, p, client, logLimits(c))}
}

func logLimits(c Config) exporters.Limits {
	return exporters.Limits{Items: mostEntries, Bytes: mostLogBytes, InFlight: c.InFlight, MaxAge: logAge, Future: logFuture}
}
