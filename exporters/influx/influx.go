// Package influx sends metrics, lines and events to an InfluxDB: version 1
// (/write), 2 (/api/v2/write) or 3 (/api/v3/write_lp), to what speaks like one
// (VictoriaMetrics, Telegraf), and to the agent's own store.
//
// The agent's table of vendors calls Metrics, Logs and Events; each gives an
// exporters.Exporter, which Delivery drives. The package calls nobody of ours
// but exporters.Post and exporters.Classify.
//
// How data is named:
//
//	host and containers   Telegraf's measurements, fields and tags: one line per
//	                      entity and time with many fields (topics.go)
//	kubelet, objects of   the same, in the words of Telegraf's kubernetes and
//	the cluster           kube_inventory; families of kube-state-metrics that
//	                      have no place there as every other metric (topics_kube.go)
//	every other metric    measurement = the metric's name; fields:
//	                      gauge     value
//	                      counter   total (since its start), increase (since the
//	                                sample before; not in the first one)
//	                      delta     increase
//	                      dist      count sum min max, le_BOUND or p50 p90 p95 p99
//	                      cumdist   the same since its start, and count_increase,
//	                                sum_increase since the sample before (hist.go)
//	lines                 measurement syslog, as Telegraf's plugin has it (logs.go)
//	events                measurement events, for Grafana's annotations (events.go)
//	labels                tags: host, node_name, namespace, pod_name,
//	                      container_name, workload_name, … (tags.go), of metrics,
//	                      lines and events alike; others under their own name
//
// What always holds:
//
//  1. Encode depends on the batch alone, and what it writes of an item on
//     neither end of the body: an item sent again overwrites itself.
//  2. A field has one type for ever: float, but for the integers of syslog and
//     for texts. NaN and infinities are skipped and counted. (Telegraf writes
//     many as integers, so the two must not share a database.)
//  3. Two lines of one stream have different times (spread.go).
//  4. What is written reads back as what was meant, by every reader (line.go).
//  5. A partial write is booked as what the server's words prove; where they do
//     not, Delivery is asked to halve the body, which is free of harm by 1.
//
// Memory: Encode writes to the caller's buffer and keeps nothing; per sample
// and line it allocates nothing. The package starts no goroutine.
//
// It does not queue, retry, compress or time out: that is Delivery's and the
// http.Client's work. It writes no unsigned integers (InfluxDB 1 refuses them),
// creates no buckets and no retention policies, and drops no tags to save
// cardinality beyond those that follow from another one.
package influx

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
)

// Config is one destination of type influxdb.
type Config struct {
	// URL of the server, without the path of the write API: http://127.0.0.1:8086.
	URL string `yaml:"url"`
	// API is the dialect: v1, v2 or v3.
	API string `yaml:"api"`
	// Database to write to; v1 and v3.
	Database string `yaml:"database"`
	// RetentionPolicy of the database; v1 only, empty for the database's default.
	RetentionPolicy string `yaml:"retention_policy"`
	// Username for v1; empty if the server asks for none.
	Username string `yaml:"username"`
	// Password for v1.
	Password secret.String `yaml:"password"`
	// Org is the organization's name or id; v2 only, and not needed by every server.
	Org string `yaml:"org"`
	// Bucket to write to; v2 only.
	Bucket string `yaml:"bucket"`
	// Token for v2 and v3.
	Token secret.String `yaml:"token"`
	// CreateDatabase says whether a missing database is created; v1 only.
	// auto: only on a server on this machine.
	CreateDatabase string `yaml:"create_database"`
	// Compression of requests: gzip or none.
	Compression string `yaml:"compression"`
	// InFlight is how many requests may be under way at once, per kind.
	InFlight int `yaml:"in_flight"`
	// Timeout of one request, its answer included.
	Timeout time.Duration `yaml:"timeout"`
	// Retention is how long the server keeps data: what is older is not sent and
	// counted as too old. The embedded store keeps its data so long. 0: for ever, or not known.
	Retention time.Duration `yaml:"retention"`
	// Embedded makes the agent itself the server: nothing to install.
	Embedded bool `yaml:"embedded"`
	// Listen is the embedded store's address; loopback only.
	Listen string `yaml:"listen"`

	// Tags on everything sent, as key:value. The key belongs to destinations of
	// every type; the agent copies it here.
	Tags []string `yaml:"-"`
}

// Default returns the configuration of a server on this machine.
func Default() Config {
	return Config{
		URL: "http://127.0.0.1:8086", API: "v1", Database: "causeway", CreateDatabase: "auto",
		Compression: "gzip", InFlight: 4, Timeout: exporters.DefaultTimeout, Listen: "127.0.0.1:8086",
	}
}

// Check returns every complaint about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Embedded {
		if !loopback(c.Listen) {
			bad("listen: %q must be an address of this machine only, such as 127.0.0.1:8086; to serve others, install an InfluxDB and set url", c.Listen)
		}
		if c.API != "v1" {
			bad("api: the embedded store speaks v1")
		}
	} else if u, err := url.Parse(c.URL); err != nil {
		bad("url: is no URL") // its text may hold a password
	} else if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		bad("url: must begin with http:// or https:// and name a server")
	} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		bad("url: must hold no password and no query; use username, password, token")
	} else if p := strings.TrimSuffix(u.Path, "/"); strings.HasSuffix(p, "/write") || strings.HasSuffix(p, "/write_lp") {
		bad("url: must end before the path of the write API: leave %s out", p)
	}
	switch c.API {
	case "v1", "v3":
		if c.Database == "" {
			bad("database: is required with api: %s", c.API)
		}
		if c.Bucket != "" || c.Org != "" {
			bad("bucket: and org belong to api: v2")
		}
	case "v2":
		if c.Bucket == "" {
			bad("bucket: is required with api: v2")
		}
	default:
		bad("api: must be v1, v2 or v3")
	}
	if c.API != "v1" && (c.Username != "" || c.Password != "") {
		bad("username: and password belong to api: v1; use token")
	}
	if c.API != "v1" && c.RetentionPolicy != "" {
		bad("retention_policy: belongs to api: v1")
	}
	if c.API == "v1" && c.Token != "" {
		bad("token: belongs to api: v2 and v3; use username and password")
	}
	if c.Password != "" && c.Username == "" {
		bad("username: is missing beside password")
	}
	if strings.ContainsAny(c.Token.Reveal(), "\r\n") {
		bad("token: must be one line")
	}
	if c.CreateDatabase != "auto" && c.CreateDatabase != "true" && c.CreateDatabase != "false" {
		bad("create_database: must be auto, true or false")
	}
	if c.Compression != "gzip" && c.Compression != "none" {
		bad("compression: must be gzip or none")
	}
	if c.InFlight < 1 || c.InFlight > 64 {
		bad("in_flight: must be 1 to 64")
	}
	if c.Timeout < time.Second {
		bad("timeout: must be at least 1s")
	}
	if c.Retention < 0 || c.Retention > 0 && c.Retention < time.Hour {
		bad("retention: must be at least 1h, or 0")
	}
	for i, t := range c.Tags {
		if k, v, ok := strings.Cut(t, ":"); !ok || k == "" || v == "" {
			bad("tags[%d]: must be key:value", i)
		}
	}
	return errors.Join(errs...)
}

// loopback reports whether addr (host:port) can be reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Limits of one request. InfluxDB 1 and VictoriaMetrics take 25e6 and 32 MiB,
// InfluxDB 3 takes 10 MiB unless configured otherwise, all after decompression
// (max-body-size, influxdata/influxdb 1.13.2, services/httpd/config.go); 5,000
// to 10,000 lines are advised. Ours is lower, since bodies are held in memory.
const (
	mostItems = 10000
	mostBytes = 4 << 20
)

type metrics struct {
	client
	table *table
}
type logs struct{ client }
type events struct{ client }

// Metrics returns the Exporter of metrics. c has been checked; hc must not
// follow redirects (exporters.HTTP.Client makes such a one).
func Metrics(name string, c Config, hc *http.Client) exporters.Exporter {
	return &metrics{newClient(name, signal.Metric, c, hc), newTable()}
}

// Logs returns the Exporter of log lines; see Metrics.
func Logs(name string, c Config, hc *http.Client) exporters.Exporter {
	return &logs{newClient(name, signal.Log, c, hc)}
}

// Events returns the Exporter of events; see Metrics.
func Events(name string, c Config, hc *http.Client) exporters.Exporter {
	return &events{newClient(name, signal.Event, c, hc)}
}
