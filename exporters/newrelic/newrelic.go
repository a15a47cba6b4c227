// Package newrelic sends metrics, lines and events to New Relic, so that its
// host, container, pod and cluster pages, its log browser and its queries work
// as with New Relic's own agents.
//
// The agent's table of vendors calls Metrics, Logs and Events; each gives an
// exporters.Exporter, which Delivery drives. There are two ways in, chosen by
// api:
//
//	sdk   Metric, Log and Event API. The request (address, headers, key) is made
//	      by the request factories of New Relic's telemetry SDK, once; the body,
//	      which would cost a dozen allocations a point there, is ours. Data can
//	      be queried, but New Relic makes no host, pod or container of it.
//	otlp  OTLP over HTTP. Only what comes this way becomes an entity there
//	      (newrelic.source = api.metrics.otlp): choose it for Kubernetes and hosts.
//
// How data is named is in names.go. What becomes of each type:
//
//	type            sdk                          otlp
//	gauge           gauge                        gauge
//	counter, delta  count of the interval        monotonic sum, delta
//	histogram       summary, and gauges          histogram, delta
//	exponential     NAME.percentiles             exponential histogram, delta, ≤ 160 buckets
//	                {percentile="99"}            (coarser than it came: NAME.percentiles, too)
//	summary         the same                     histogram without buckets, and NAME.percentiles
//	lines           Log API, detailed            log records
//	events, checks  Event API                    Event API if account_id is set, else log records
//	                                             with newrelic.event.type, stored as events
//
// What always holds:
//
//  1. Encode depends on the batch alone. A counter's first sample has no
//     increase, and a count cannot be negative: such samples are skipped, and so
//     are NaN and infinities.
//  2. Every body is valid, whatever the data is: JSON and UTF-8 in the limits of
//     the API, or a protobuf message. Values that are too long are cut between
//     two characters; attributes beyond the hundredth are left out.
//  3. A request is 1 MB at most, after compression.
//  4. The key is in one header, and in no error.
//
// New Relic answers 202 when it has received a body, and looks into it later:
// what it then rejects shows only in its NrIntegrationError events. So "sent"
// means received here, and this package is strict in its place. A count that is
// sent twice counts twice: metrics are not idempotent (Limits). Where OTLP's
// answer says that it rejected some points, that many items are booked as
// refused; which ones it does not say.
//
// Memory: Encode writes to the caller's buffer and keeps nothing; per sample
// and line it allocates nothing. The package starts no goroutine.
//
// It does not queue, retry or compress: that is Delivery's work, and the SDK's
// Harvester, which does it in memory, is not used.
package newrelic

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
)

// Config is one destination of type newrelic.
type Config struct {
	// Region is where the account is: us, eu, or gov (FedRAMP).
	Region string `yaml:"region"`
	// URL replaces the region's addresses, for a proxy or a test; http:// on
	// this machine only.
	URL string `yaml:"url"`
	// LicenseKey of the account: an ingest key, 40 characters, not one that
	// begins with NRAK-.
	LicenseKey secret.String `yaml:"license_key"`
	// AccountID is the account's number. Events go to its Event API; with api:
	// otlp and without a number they go as log records that New Relic stores as
	// events, and shows Kubernetes' own with the object they are about.
	AccountID int64 `yaml:"account_id"`
	// UserKey (NRAK-…) is needed for dashboards only, not for sending data.
	UserKey secret.String `yaml:"user_key"`
	// API is the way in: sdk (Metric, Log and Event API) or otlp, which alone
	// makes hosts, pods and containers in New Relic.
	API string `yaml:"api"`
	// Compression of requests: gzip, or zstd where the API takes it, which is
	// api: otlp; the others are sent with gzip.
	Compression string `yaml:"compression"`
	// InFlight is how many requests may be under way at once, per kind.
	InFlight int `yaml:"in_flight"`
	// Timeout of one request, its answer included.
	Timeout time.Duration `yaml:"timeout"`

	// Tags on everything sent, as key:value. The key belongs to destinations of
	// every type; the agent copies it here.
	Tags []string `yaml:"-"`
}

// Default returns a configuration that lacks the key only.
func Default() Config {
	return Config{Region: "us", API: "sdk", Compression: "gzip", InFlight: 4, Timeout: exporters.DefaultTimeout}
}

// Check returns every complaint about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, ok := regions(c.Region); !ok {
		bad("region: must be us, eu or gov")
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil {
			bad("url: is no URL") // its text may hold a password
		} else if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			bad("url: must begin with https:// and name a server")
		} else if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			bad("url: must hold no password and no query; use license_key")
		} else if strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v1") || strings.Contains(u.Path, "/v1/") {
			bad("url: must end before the path of the API: leave %s out", u.Path)
		} else if u.Scheme == "http" && !loopback(u.Hostname()) {
			bad("url: must begin with https://, since the key goes there; http:// is for this machine only")
		}
	}
	switch key := c.LicenseKey.Reveal(); {
	case key == "":
		bad("license_key: is required")
	case !oneWord(c.LicenseKey):
		bad("license_key: must be one line of letters and digits")
	case strings.HasPrefix(key, "NRAK-"):
		bad("license_key: is a user key (NRAK-…), which cannot send data: use a license key of type INGEST - LICENSE")
	case c.URL == "" && keyRegion(key) != c.Region && (keyRegion(key) == "eu" || c.Region == "eu"):
		// Keys of the EU begin with eu01xx; the other regions do not know them.
		bad("license_key: belongs to region %s, and region is %s", keyRegion(key), c.Region)
	}
	if !oneWord(c.UserKey) {
		bad("user_key: must be one line of letters and digits")
	}
	if c.AccountID < 0 {
		bad("account_id: must be the number of an account")
	}
	if c.API != "sdk" && c.API != "otlp" {
		bad("api: must be sdk or otlp")
	}
	if c.Compression != "gzip" && c.Compression != "zstd" {
		bad("compression: must be gzip or zstd")
	}
	if c.InFlight < 1 || c.InFlight > 64 {
		bad("in_flight: must be 1 to 64")
	}
	if c.Timeout < time.Second {
		bad("timeout: must be at least 1s")
	}
	for i, t := range c.Tags {
		if k, v, ok := strings.Cut(t, ":"); !ok || k == "" || v == "" || len(k) > mostKey {
			bad("tags[%d]: must be key:value", i)
		}
	}
	return errors.Join(errs...)
}

// keyRegion returns the region a license key names: letters, digits, and xx
// stand before a key of the EU. Keys of the US and of gov are not told apart.
func keyRegion(key string) string {
	if strings.HasPrefix(key, "eu") {
		if n, rest, ok := strings.Cut(key[2:], "xx"); ok && rest != "" {
			if _, err := strconv.Atoi(n); err == nil {
				return "eu"
			}
		}
	}
	return "us"
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

// Limits, from docs.newrelic.com (metric-api-limits-restricted-attributes,
// introduction-log-api, introduction-event-api, opentelemetry-otlp), read
// 2026-11. Ours leave room.
//
//   - 1,000,000 bytes a POST as sent; the raw bound is ours, against bodies that
//     take long to make.
//   - Metrics, lines and events of 48 hours back and 24 hours ahead.
//   - 150 attributes of a metric (older pages: 100), 255 of a line or event.
//   - Keys and names of 255 characters; values of 4096, or 4095 by OTLP. We count
//     bytes, which are never fewer.
//   - A line above 128 KB is cut there.
const (
	mostPacked    = 950_000
	mostRaw       = 8 << 20
	mostEvents    = 1000
	mostAttrs     = 100
	mostLineAttrs = 250
	mostKey       = 255
	mostName      = 255
	mostValue     = 4095
	mostLine      = 128 << 10
	mostAge       = 48*time.Hour - 10*time.Minute
	mostFuture    = 24*time.Hour - 10*time.Minute
)

type metrics struct {
	client
	rows map[string][]row // by name of ours
	own  []ownTag
	otlp bool
	sets sync.Pool // of *[2]labelSet: room for Encode, 5 KB
}

type logs struct {
	client
	own  []ownTag
	otlp bool
}

type events struct {
	client
	own  []ownTag
	otlp bool
}

// Metrics returns the Exporter of metrics. c has been checked; hc must not
// follow redirects (exporters.HTTP.Client makes such a one).
func Metrics(name string, c Config, hc *http.Client) exporters.Exporter {
	return &metrics{client: newClient(name, signal.Metric, c, hc), rows: rowsByName(), own: ownTags(c.Tags), otlp: c.API == "otlp"}
}

// Logs returns the Exporter of log lines; see Metrics.
func Logs(name string, c Config, hc *http.Client) exporters.Exporter {
	return &logs{client: newClient(name, signal.Log, c, hc), own: ownTags(c.Tags), otlp: c.API == "otlp"}
}

// Events returns the Exporter of events and service checks; see Metrics. With
// api: otlp and no account_id they are log records with newrelic.event.type.
func Events(name string, c Config, hc *http.Client) exporters.Exporter {
	return &events{client: newClient(name, signal.Event, c, hc), own: ownTags(c.Tags), otlp: c.API == "otlp" && c.AccountID == 0}
}
