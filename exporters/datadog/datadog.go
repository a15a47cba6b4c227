// Package datadog sends metrics, lines and events to Datadog, under the names
// that Datadog's own agent uses, so that its dashboards, its host list and the
// ways between logs and metrics work.
//
// The agent's table of vendors calls Metrics, Logs and Events; each gives an
// exporters.Exporter, which Delivery drives. Bodies are written here, since the
// client's models cost several allocations a point; addresses, keys and
// requests are the client's (package api/datadog; its packages of typed calls
// are never imported, they take minutes and gigabytes to compile).
//
// How data is named:
//
//	host and containers  names: native: as the core, network, disk, container
//	                     and kubelet checks name them (names.go)
//	Kubernetes           names: native: as the kubelet and kubernetes_state_core
//	                     checks name them, with their tags (names_kube.go); what
//	                     those checks do not send goes under its own name
//	every other metric   its own name; system.* and process.* with otel. before
//	                     it, since Datadog's mean something else
//	counter, delta       a count over its interval; a counter's first sample has
//	                     none and is skipped
//	gauge                a gauge
//	dist, cumdist        NAME.count and NAME.sum as counts of the interval,
//	                     NAME.min .max .avg .median .95percentile .99percentile
//	                     as gauges (hist.go)
//	lines                logs v2, trace and span as dd.trace_id, dd.span_id (logs.go)
//	events, checks       /api/v1/events and /api/v1/check_run (events.go); those of
//	                     Kubernetes' objects as the kubernetes_apiserver check has them
//	labels               kube_namespace, pod_name, … (tags.go), normalised as
//	                     Datadog does it; host.name is the host, not a tag
//
// What always holds:
//
//  1. Encode depends on the batch alone, and what it writes of an item on
//     neither end of the body: a point sent again overwrites itself. A value
//     that takes several samples looks for them in the whole batch.
//  2. Every body is valid JSON and UTF-8, whatever the data is. NaN and
//     infinities are skipped and counted.
//  3. A name, tag or host is written as Datadog would store it.
//  4. The key is in one header, and in no error.
//
// Memory: Encode writes to the caller's buffer and keeps nothing; per sample
// and line it allocates nothing. The package starts no goroutine.
//
// It does not queue, retry or compress: that is Delivery's work, and the
// client's own retries stay off. It does not send distributions as such
// (/api/v1/distribution_points): a request repeated there counts twice, and
// takes values where we have buckets. Of points of a series within one second,
// the unit of Datadog's clock, the last one counts there. It makes no service
// checks of samples (kubernetes_state.node.ready and the like): those are
// another request, and an item has one; node.by_condition says the same.
package datadog

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
)

// Config is one destination of type datadog.
type Config struct {
	// Site is the Datadog site: datadoghq.com, datadoghq.eu, us3.datadoghq.com, …
	Site string `yaml:"site"`
	// URL replaces the site's addresses, for a proxy, a private endpoint or a
	// test; http:// on this machine only.
	URL string `yaml:"url"`
	// APIKey of the organization.
	APIKey secret.String `yaml:"api_key"`
	// AppKey is needed for dashboards only, not for sending data.
	AppKey secret.String `yaml:"app_key"`
	// Names says what metrics are called: native, as Datadog's agent has them,
	// or otel, as they are.
	Names string `yaml:"names"`
	// Distributions says how timers and distributions go out: series (.count,
	// .avg, .95percentile …) or points, the values themselves, of which Datadog
	// makes percentiles over any tags. A request that comes twice counts them
	// twice. Points are packed by deflate, whatever compression says.
	Distributions string `yaml:"distributions"`
	// Compression of requests: zstd, gzip or deflate. Logs are sent with gzip
	// where it says zstd, which the logs API does not document; events with none.
	Compression string `yaml:"compression"`
	// InFlight is how many requests may be under way at once, per kind.
	InFlight int `yaml:"in_flight"`
	// Timeout of one request, its answer included.
	Timeout time.Duration `yaml:"timeout"`
	// SendLate sends metrics of more than an hour ago, too. Datadog keeps those
	// only of metrics for which historical ingestion was enabled.
	SendLate bool `yaml:"send_late"`

	// Tags on everything sent, as key:value. The key belongs to destinations of
	// every type; the agent copies it here.
	Tags []string `yaml:"-"`
}

// Default returns a configuration that lacks the key only.
func Default() Config {
	return Config{Site: "datadoghq.com", Names: "native", Distributions: "series", Compression: "zstd", InFlight: 4, Timeout: exporters.DefaultTimeout}
}

// Check returns every complaint about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	// A site becomes part of a host name that gets the key.
	if ok, _ := regexp.MatchString(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`, c.Site); !ok {
		bad("site: must be the name of a Datadog site, such as datadoghq.com or datadoghq.eu, without https:// and app.")
	} else if strings.HasPrefix(c.Site, "app.") || strings.HasPrefix(c.Site, "api.") || strings.HasPrefix(c.Site, "www.") {
		bad("site: must be %s, without %s", c.Site[4:], c.Site[:4])
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil {
			bad("url: is no URL") // its text may hold a password
		} else if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("url: must begin with https:// and name a server")
		} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			bad("url: must hold no password and no query; use api_key")
		} else if strings.HasPrefix(strings.TrimPrefix(u.Path, "/"), "api/") {
			bad("url: must end before the path of the API: leave %s out", u.Path)
		} else if u.Scheme == "http" && !loopback(u.Hostname()) {
			bad("url: must begin with https://, since the key goes there; http:// is for this machine only")
		}
	}
	if c.APIKey == "" {
		bad("api_key: is required")
	}
	if !oneWord(c.APIKey) {
		bad("api_key: must be one line of letters and digits")
	}
	if !oneWord(c.AppKey) {
		bad("app_key: must be one line of letters and digits")
	}
	if c.Distributions != "series" && c.Distributions != "points" {
		bad("distributions: must be series or points")
	}
	if c.Names != "native" && c.Names != "otel" {
		bad("names: must be native or otel")
	}
	if c.Compression != "gzip" && c.Compression != "zstd" && c.Compression != "deflate" {
		bad("compression: must be zstd, gzip or deflate")
	}
	if c.InFlight < 1 || c.InFlight > 64 {
		bad("in_flight: must be 1 to 64")
	}
	if c.Timeout < time.Second {
		bad("timeout: must be at least 1s")
	}
	for i, t := range c.Tags {
		if k, v, ok := strings.Cut(t, ":"); !ok || len(appendTag(nil, k, v)) == 0 {
			bad("tags[%d]: must be key:value, beginning with a letter", i)
		}
	}
	return errors.Join(errs...)
}

// oneWord reports whether a key can stand in a header as it is.
func oneWord(s secret.String) bool {
	return !strings.ContainsFunc(s.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' })
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Limits of one request.
//
// Series: 512,000 bytes compressed and 5,242,880 before (docs.datadoghq.com/api/latest/metrics/submit-metrics);
// Datadog's agent stops at 10,000 points, and a sample may be several.
// Logs: 1000 items, 5 MB before compression, 1 MB an item (…/api/latest/logs/send-logs).
// Ages: 1 hour back and 10 minutes ahead; 18 hours for logs and events; 10
// minutes for service checks. All read 2026-11; ours leave room for headers.
const (
	mostSamples      = 5000
	mostSeriesBytes  = 4 << 20
	mostSeriesPacked = 480_000
	mostLines        = 1000
	mostLinesBytes   = 4_800_000
	mostLine         = 990_000
	seriesAge        = time.Hour
	seriesFuture     = 10 * time.Minute
	logAge           = 18 * time.Hour
	checkAge         = 10 * time.Minute
)

type metrics struct {
	client
	rows map[string][]row // by name of ours; empty with names: otel
	tags tagger
}

type logs struct {
	client
	tags tagger
}

type events struct {
	client
	tags tagger
}

// Metrics returns the Exporter of metrics. c has been checked; hc must not
// follow redirects (exporters.HTTP.Client makes such a one).
func Metrics(name string, c Config, hc *http.Client) exporters.Exporter {
	lim := exporters.Limits{
		Items: mostSamples, Bytes: mostSeriesBytes, Packed: mostSeriesPacked, Encoding: c.Compression, InFlight: c.InFlight,
		MaxAge: seriesAge, Future: seriesFuture, Idempotent: true, // the last point of a series and second counts
	}
	if c.SendLate {
		lim.MaxAge = 0
	}
	if c.Distributions == "points" {
		// The only encoding that endpoint documents; and values add up.
		lim.Encoding, lim.Idempotent = "deflate", false
	}
	m := &metrics{client: newClient(name, signal.Metric, c, lim, hc), tags: tagger{open: `"`, shut: `",`, own: ownTags(c.Tags)}}
	if c.Names == "native" {
		m.rows = rowsByName()
	}
	return m
}

// Logs returns the Exporter of log lines; see Metrics.
func Logs(name string, c Config, hc *http.Client) exporters.Exporter {
	lim := exporters.Limits{Items: mostLines, Bytes: mostLinesBytes, Encoding: c.Compression, InFlight: c.InFlight, MaxAge: logAge}
	if c.Compression == "zstd" {
		lim.Encoding = "gzip"
	}
	return &logs{client: newClient(name, signal.Log, c, lim, hc), tags: tagger{shut: ",", own: ownTags(c.Tags)}}
}

// Events returns the Exporter of events and service checks; see Metrics. A
// request holds one event, or the checks of one second.
func Events(name string, c Config, hc *http.Client) exporters.Exporter {
	lim := exporters.Limits{Items: mostLines, InFlight: c.InFlight, MaxAge: logAge}
	return &events{client: newClient(name, signal.Event, c, lim, hc), tags: tagger{open: `"`, shut: `",`, own: ownTags(c.Tags)}}
}
