// Package probe asks from outside whether something works: it calls a URL,
// connects to a port, or looks at a certificate, at intervals.
//
// The agent runs a Source, one goroutine per probe; it hands batches of metrics
// and events to the Sink, and calls nobody else.
//
// What always holds:
//
//  1. Each run gives probe.success (1 or 0) and probe.duration, and, as far as
//     it got, probe.http.status, probe.tls.remaining (seconds until the first
//     certificate that the server presents expires, negative behind that).
//  2. The certificate is measured before it is judged: one that is expired or
//     that nobody trusts is a failure, and its remaining time is known all the same.
//  3. The outcome is a service check, Source "probe", Check the probe's name:
//     Status 0 good, 1 its certificate expires within warn_expiry, 2 failed. It is
//     an event at the first run, at each change, and every five minutes in
//     between, so that a vendor's "no data" means no data. Until the next change
//     all have one ID.
//  4. A probe that hangs ends with its timeout and holds up no other one.
//
// A run uses a connection of its own, so that it measures what a new client
// meets, and reads at most 1 MiB of an answer. Runs are spread over the interval
// by a hash of the name. Nothing is kept over a restart. The package does not
// use proxies, sends no body, and resolves names as the machine does.
package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
)

// Config is the section collect.probes of agent.yaml: the list of probes.
type Config []Probe

// Probe is one thing to ask, again and again.
type Probe struct {
	Name         string        `yaml:"name"`          // of the service check; unique
	Type         string        `yaml:"type"`          // http: call url | tcp: connect to address | tls: and look at the certificate
	URL          string        `yaml:"url"`           // http only: http:// or https://
	Address      string        `yaml:"address"`       // tcp and tls: host:port
	Interval     time.Duration `yaml:"interval"`      // default 30s
	Timeout      time.Duration `yaml:"timeout"`       // of one run; default 10s, at most the interval
	Method       string        `yaml:"method"`        // http: GET (default) or HEAD
	Headers      []Header      `yaml:"headers"`       // http: sent with the request
	Redirects    string        `yaml:"redirects"`     // http: follow (default) or stop: the answer that points elsewhere is the answer
	ExpectStatus []int         `yaml:"expect_status"` // http: one of these; default any from 200 to 299
	ExpectBody   string        `yaml:"expect_body"`   // http: a regular expression that the first MiB of the answer must match
	WarnExpiry   time.Duration `yaml:"warn_expiry"`   // a certificate with less time left is a warning; default 336h, two weeks
	TLS          TLS           `yaml:"tls"`
	Tags         []string      `yaml:"tags"` // labels, written key:value
}

// Header is one line of a request.
type Header struct {
	Name  string        `yaml:"name"`
	Value secret.String `yaml:"value"`
}

// TLS says how the server is identified. All is optional.
type TLS struct {
	CAFile             string `yaml:"ca_file"`              // PEM; trusted instead of the system's roots
	CertFile           string `yaml:"cert_file"`            // PEM; our own certificate, with KeyFile
	KeyFile            string `yaml:"key_file"`             //
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"` // take any certificate
	ServerName         string `yaml:"server_name"`          // ask for, and expect, this name
}

// Default returns the configuration of an agent that probes nothing.
func Default() Config { return nil }

// complete returns p with its defaults.
func (p Probe) complete() Probe {
	p.Interval = cmp.Or(p.Interval, 30*time.Second)
	p.Timeout = min(cmp.Or(p.Timeout, 10*time.Second), p.Interval)
	p.Method = cmp.Or(p.Method, http.MethodGet)
	p.WarnExpiry = cmp.Or(p.WarnExpiry, 14*24*time.Hour)
	return p
}

// Check returns all complaints, joined. Since the room is a list, each begins
// with the list's own key: probes[0].name: is missing.
func (c Config) Check() error {
	var errs []error
	for i, p := range c {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("probes[%d].%w", i, fmt.Errorf(format, args...)))
		}
		if p.Name == "" {
			bad("name: is missing")
		} else if slices.ContainsFunc(c[:i], func(o Probe) bool { return o.Name == p.Name }) {
			bad("name: %q is there already", p.Name)
		}
		p.check(bad)
	}
	return errors.Join(errs...)
}

func (p Probe) check(bad func(string, ...any)) {
	switch p.Type {
	case "http":
		u, err := url.Parse(p.URL)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			bad("url: must be http:// or https:// with a host")
		case u.User != nil:
			bad("url: must not hold a password: use headers")
		}
		if p.Address != "" {
			bad("address: belongs to tcp and tls; http has url")
		}
	case "tcp", "tls":
		if host, port, err := net.SplitHostPort(p.Address); err != nil || host == "" || port == "" {
			bad("address: must be host:port, not %q", p.Address)
		}
		if p.URL != "" || p.Method != "" || len(p.Headers) > 0 || p.Redirects != "" || len(p.ExpectStatus) > 0 || p.ExpectBody != "" {
			bad("type: %s has no url, method, headers, redirects, expect_status or expect_body", p.Type)
		}
	default:
		bad("type: must be http, tcp or tls, not %q", p.Type)
	}
	if p.Interval != 0 && (p.Interval < time.Second || p.Interval > 24*time.Hour) {
		bad("interval: must be between 1s and 24h")
	}
	if p.Timeout < 0 || p.Timeout > time.Hour {
		bad("timeout: must be at most 1h")
	}
	if !slices.Contains([]string{"", http.MethodGet, http.MethodHead}, p.Method) {
		bad("method: must be GET or HEAD, not %q", p.Method)
	}
	if !slices.Contains([]string{"", "follow", "stop"}, p.Redirects) {
		bad("redirects: must be follow or stop, not %q", p.Redirects)
	}
	for i, h := range p.Headers {
		if h.Name == "" || strings.ContainsAny(h.Name, " :\r\n") || strings.ContainsAny(h.Value.Reveal(), "\r\n") {
			bad("headers[%d]: must have a name without spaces and a value of one line", i)
		}
	}
	for i, s := range p.ExpectStatus {
		if s < 100 || s > 599 {
			bad("expect_status[%d]: must be between 100 and 599", i)
		}
	}
	if _, err := regexp.Compile(p.ExpectBody); err != nil {
		bad("expect_body: %w", err)
	}
	if p.ExpectBody != "" && p.Method == http.MethodHead {
		bad("expect_body: an answer to HEAD has none")
	}
	if p.WarnExpiry < 0 {
		bad("warn_expiry: must not be negative")
	}
	if (p.TLS.CertFile == "") != (p.TLS.KeyFile == "") {
		bad("tls.cert_file: and key_file belong together")
	}
	if p.TLS.InsecureSkipVerify && p.TLS.CAFile != "" {
		bad("tls.insecure_skip_verify: makes ca_file useless; leave one of them out")
	}
}

// Names of the metrics, each labelled probe.name and probe.type, and with
// url.full (http) or server.address and server.port (tcp, tls).
const (
	metricSuccess   = "probe.success"       // 1, gauge: 1 if it is as expected
	metricDuration  = "probe.duration"      // s, gauge: from the name's look-up to the end of the answer
	metricStatus    = "probe.http.status"   // 1, gauge: of the last answer
	metricRemaining = "probe.tls.remaining" // s, gauge: until the first certificate expires
)

// repeat is how often an outcome is told that has not changed.
const repeat = 5 * time.Minute

// Source runs the probes. It implements collect.Source.
type Source struct {
	log    *slog.Logger
	stats  Stats
	probes []*runner
}

var _ collect.Source = (*Source)(nil)

// New returns a Source for a Config that has passed Check. It does no I/O.
func New(c Config, log *slog.Logger) *Source {
	s := &Source{log: log}
	for _, p := range c {
		s.probes = append(s.probes, newRunner(s, p.complete()))
	}
	return s
}

// Run probes until ctx ends, and returns nil then.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	var wg sync.WaitGroup
	for _, r := range s.probes {
		wg.Go(func() { r.run(ctx, out) })
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}

// Stats returns the counters.
func (s *Source) Stats() *Stats { return &s.stats }

// Status returns how each probe fares, in the order of the configuration.
func (s *Source) Status() []Status {
	list := make([]Status, len(s.probes))
	for i, r := range s.probes {
		r.mu.Lock()
		list[i] = r.status
		r.mu.Unlock()
	}
	return list
}

// runner is one probe at work.
type runner struct {
	src    *Source
	p      Probe
	body   *regexp.Regexp // nil if any will do
	labels string
	series [4]signal.Series // in the order of the metric names

	told    time.Time // when the last event was given on
	changed time.Time // when the outcome became what it is
	state   uint8     // status of that event

	mu     sync.Mutex
	status Status // guarded by mu
}

func newRunner(s *Source, p Probe) *runner {
	r := &runner{src: s, p: p}
	where := p.Address
	if p.ExpectBody != "" {
		r.body = regexp.MustCompile(p.ExpectBody)
	}
	var pairs []string
	for _, t := range p.Tags {
		k, v, ok := strings.Cut(t, ":")
		if !ok {
			v = "true"
		}
		switch k {
		case "env":
			k = signal.LabelEnv
		case "service":
			k = signal.LabelService
		case "version":
			k = signal.LabelVersion
		}
		pairs = append(pairs, k, v)
	}
	pairs = append(pairs, "probe.name", p.Name, "probe.type", p.Type)
	if p.Type == "http" {
		u, err := url.Parse(p.URL)
		if err != nil {
			panic("BUG: a Config that was not checked: " + err.Error())
		}
		u.RawQuery, u.Fragment = "", "" // may hold a token
		where = u.String()
		pairs = append(pairs, "url.full", where)
	} else if host, port, err := net.SplitHostPort(p.Address); err == nil {
		pairs = append(pairs, "server.address", host, "server.port", port)
	}
	r.labels = signal.Labels(pairs...)
	for i, m := range [...][2]string{{metricSuccess, "1"}, {metricDuration, "s"}, {metricStatus, "1"}, {metricRemaining, "s"}} {
		r.series[i] = signal.Intern(signal.Desc{Name: m[0], Unit: m[1], Type: signal.Gauge, Labels: r.labels})
	}
	r.status = Status{Name: p.Name, Type: p.Type, Target: where}
	return r
}

// run probes at each interval until ctx ends, the first time within three seconds.
func (r *runner) run(ctx context.Context, out collect.Sink) {
	h := fnv.New64a()
	h.Write([]byte(r.p.Name))
	spread := time.Duration(h.Sum64() % uint64(r.p.Interval))
	wait := spread % (3 * time.Second)
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		r.once(ctx, out)
		now := time.Now()
		next := now.Truncate(r.p.Interval).Add(spread)
		if !next.After(now) {
			next = next.Add(r.p.Interval)
		}
		wait = next.Sub(now)
	}
}

// outcome is what one run found.
type outcome struct {
	err     error
	status  int       // of the HTTP answer; 0 if there was none
	expires time.Time // of the first certificate; zero if there was none
}

// once runs the probe and gives its outcome on.
func (r *runner) once(ctx context.Context, out collect.Sink) {
	pctx, cancel := context.WithTimeout(ctx, r.p.Timeout)
	defer cancel()
	start := time.Now()
	o := r.ask(pctx)
	if ctx.Err() != nil {
		return // stopped: that says nothing about the target
	}
	if o.err != nil && pctx.Err() != nil {
		o.err = fmt.Errorf("no answer within %v: %w", r.p.Timeout, o.err)
	}
	took := time.Since(start)
	ms := start.UnixMilli()
	b := &signal.Batch{Kind: signal.Metric}
	add := func(i int, v float64) { b.Add(signal.Sample{Series: r.series[i], Time: ms, Value: v}) }
	good := 1.0
	if o.err != nil {
		good = 0
	}
	add(0, good)
	add(1, took.Seconds())
	if o.status != 0 {
		add(2, float64(o.status))
	}
	if !o.expires.IsZero() {
		add(3, o.expires.Sub(start).Seconds())
	}
	r.src.put(ctx, out, b)
	r.judge(ctx, out, start, took, o)
}

// judge keeps the outcome for status, and tells it as a service check if it is
// new or was told long ago.
func (r *runner) judge(ctx context.Context, out collect.Sink, at time.Time, took time.Duration, o outcome) {
	st := &r.src.stats
	st.Runs.Add(1)
	e := signal.EventItem{
		Time: at.UnixNano(), Labels: r.labels, Source: "probe", Level: 6, Count: 1, Check: r.p.Name,
		Title: r.p.Name + " is up", Text: fmt.Sprintf("%s answered in %v", r.status.Target, took.Round(time.Millisecond)),
	}
	var warning error
	switch left := o.expires.Sub(at); {
	case o.err != nil:
		st.Failed.Add(1)
		e.Status, e.Level, e.Title, e.Text = 2, 3, r.p.Name+" is down", o.err.Error()
	case !o.expires.IsZero() && left < r.p.WarnExpiry:
		st.Warned.Add(1)
		warning = fmt.Errorf("its certificate expires in %v, at %s: renew it", left.Round(time.Minute), o.expires.UTC().Format(time.RFC3339))
		e.Status, e.Level, e.Title, e.Text = 1, 4, r.p.Name+": certificate", warning.Error()
	default:
		st.Good.Add(1)
	}
	r.mu.Lock()
	s := &r.status
	s.Ran, s.Up, s.Err, s.At, s.Took, s.Expires, s.Status = true, o.err == nil, cmp.Or(o.err, warning), at, took, o.expires, o.status
	r.mu.Unlock()
	change := r.changed.IsZero() || e.Status != r.state
	if change {
		if r.changed.IsZero() && e.Status == 0 {
			r.src.log.Debug("probe is good", "probe", r.p.Name)
		} else {
			r.src.log.Info("probe has another outcome", "probe", r.p.Name, "status", e.Status, "text", e.Text)
		}
		r.changed, r.state = at, e.Status
	}
	if !change && at.Sub(r.told) < repeat {
		return
	}
	r.told = at
	e.ID = "probe/" + r.p.Name + "/" + strconv.FormatInt(r.changed.UnixMilli(), 10)
	r.src.put(ctx, out, &signal.Batch{Kind: signal.Event, Events: []signal.EventItem{e}})
}

func (s *Source) put(ctx context.Context, out collect.Sink, b *signal.Batch) {
	n := int64(b.Len())
	if err := out.Put(ctx, b); err != nil { // the Sink says why
		s.stats.Lost.Add(n)
		return
	}
	s.stats.Items.Add(n)
}
