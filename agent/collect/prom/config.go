package prom

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/causeway-agent/causeway/config/secret"
)

// Config is the section collect.prometheus of agent.yaml.
type Config struct {
	// Enabled is auto (if there is anything to scrape), true or false.
	Enabled string `yaml:"enabled"`
	// Interval is how often a target is scraped that says nothing else.
	Interval time.Duration `yaml:"interval"`
	// Timeout bounds one scrape; at most the interval.
	Timeout time.Duration `yaml:"timeout"`
	// Annotations: scrape this node's pods that have prometheus.io/scrape: "true".
	Annotations bool `yaml:"annotations"`
	// Services: scrape the endpoints of services that have prometheus.io/scrape: "true".
	Services bool `yaml:"services"`
	// Monitors: scrape what ServiceMonitor and PodMonitor objects name: auto (where the cluster has them), true or false.
	Monitors string `yaml:"monitors"`
	// Targets are scraped whatever else is found.
	Targets []Target `yaml:"targets"`
	// MaxSamples of one scrape; more is an error, not a flood.
	MaxSamples int `yaml:"max_samples"`
	// MaxBody bounds one page, unpacked.
	MaxBody int64 `yaml:"max_body"`
	// Native asks for native histograms: auto (asks once, goes on if there are any), true or false.
	Native string `yaml:"native_histograms"`
	// Compression asks targets for gzip: auto (if they are on another machine), true or false.
	Compression string `yaml:"compression"`
	// TLS is for targets that are found by annotations.
	TLS TLS `yaml:"tls"`
	// MetricRelabel is applied to every series, before a target's own rules.
	MetricRelabel []Rule `yaml:"metric_relabel"`
}

// Target is one page to scrape.
type Target struct {
	URL             string        `yaml:"url"`               // http://host:port/metrics
	Interval        time.Duration `yaml:"interval"`          // instead of the section's
	Timeout         time.Duration `yaml:"timeout"`           // instead of the section's
	Tags            []string      `yaml:"tags"`              // labels, written key:value
	Headers         []Header      `yaml:"headers"`           // sent with each scrape
	BearerTokenFile string        `yaml:"bearer_token_file"` // read at each scrape
	Basic           Basic         `yaml:"basic"`
	TLS             TLS           `yaml:"tls"`
	MaxSamples      int           `yaml:"max_samples"`      // instead of the section's
	Relabel         []Rule        `yaml:"relabel"`          // of the target's labels, once: Prometheus' relabel_configs
	MetricRelabel   []Rule        `yaml:"metric_relabel"`   // of each series: metric_relabel_configs
	HonorLabels     bool          `yaml:"honor_labels"`     // of equal labels, the page's counts
	HonorTimestamps string        `yaml:"honor_timestamps"` // true (default) or false: the page's timestamps count
}

// Header is one line of a request.
type Header struct {
	Name  string        `yaml:"name"`
	Value secret.String `yaml:"value"`
}

// Basic is HTTP's basic authentication.
type Basic struct {
	User     string        `yaml:"user"`
	Password secret.String `yaml:"password"`
}

// TLS secures the connection to a target. All is optional.
type TLS struct {
	CAFile             string `yaml:"ca_file"`              // PEM; trusted instead of the system's roots
	CertFile           string `yaml:"cert_file"`            // PEM; our own certificate, with KeyFile
	KeyFile            string `yaml:"key_file"`             //
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify"` // take any certificate
	ServerName         string `yaml:"server_name"`          // expect this name in the certificate
}

// Rule is one of Prometheus' relabelling rules, with its words and its meaning,
// except that an empty replacement, regex or separator is the default one. To
// take a label away, use labeldrop, or replace with a regex that has no group.
type Rule struct {
	Action       string   `yaml:"action"` // replace (default), keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase
	SourceLabels []string `yaml:"source_labels"`
	Separator    string   `yaml:"separator"` // default ;
	Regex        string   `yaml:"regex"`     // default (.*); of the whole value
	Modulus      uint64   `yaml:"modulus"`
	TargetLabel  string   `yaml:"target_label"`
	Replacement  string   `yaml:"replacement"` // default $1
}

// Default scrapes this node's annotated pods, and what monitors name.
func Default() Config {
	return Config{
		Enabled: "auto", Interval: 30 * time.Second, Timeout: 10 * time.Second, Annotations: true, Services: true, Monitors: "auto",
		MaxSamples: 200_000, MaxBody: 64 << 20, Native: "auto", Compression: "auto",
	}
}

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(key, v string, words ...string) {
		if !slices.Contains(words, v) {
			bad("%s: must be %s, not %q", key, strings.Join(words, ", "), v)
		}
	}
	oneOf("enabled", c.Enabled, "auto", "true", "false")
	oneOf("monitors", c.Monitors, "auto", "true", "false")
	oneOf("native_histograms", c.Native, "auto", "true", "false")
	oneOf("compression", c.Compression, "auto", "true", "false")
	if c.Interval < time.Second || c.Interval > time.Hour {
		bad("interval: must be between 1s and 1h")
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > time.Hour {
		bad("timeout: must be between 100ms and 1h")
	}
	if c.MaxSamples < 1 || c.MaxSamples > 10_000_000 {
		bad("max_samples: must be between 1 and 10000000")
	}
	if c.MaxBody < 64<<10 || c.MaxBody > 4<<30 {
		bad("max_body: must be between 64KiB and 4GiB")
	}
	c.TLS.check("tls", bad)
	_, err := compile("metric_relabel", c.MetricRelabel)
	errs = append(errs, err)
	for i, t := range c.Targets {
		at := fmt.Sprintf("targets[%d].", i)
		errs = append(errs, t.check(at))
		if slices.ContainsFunc(c.Targets[:i], func(o Target) bool { return o.URL == t.URL }) {
			bad("%surl: %q is there already", at, t.URL)
		}
	}
	return errors.Join(errs...)
}

func (t Target) check(at string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(at+format, args...)) }
	u, err := url.Parse(t.URL)
	switch {
	case err != nil:
		bad("url: is none: write http://host:port/metrics")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		bad("url: must be http:// or https:// with a host, not %q", u.Redacted())
	case u.User != nil:
		bad("url: must not hold a password: use basic")
	}
	if t.Interval != 0 && (t.Interval < time.Second || t.Interval > time.Hour) {
		bad("interval: must be between 1s and 1h")
	}
	if t.Timeout < 0 || t.Timeout > time.Hour {
		bad("timeout: must be at most 1h")
	}
	for i, h := range t.Headers {
		if h.Name == "" || strings.ContainsAny(h.Name, " :\r\n") || strings.ContainsAny(h.Value.Reveal(), "\r\n") {
			bad("headers[%d]: must have a name without spaces and a value of one line", i)
		}
	}
	if t.BearerTokenFile != "" && t.Basic.User != "" {
		bad("basic: cannot be used with bearer_token_file")
	}
	if t.Basic.User == "" && t.Basic.Password != "" {
		bad("basic.user: is missing")
	}
	if t.MaxSamples < 0 {
		bad("max_samples: must not be negative")
	}
	if !slices.Contains([]string{"", "true", "false"}, t.HonorTimestamps) {
		bad("honor_timestamps: must be true or false, not %q", t.HonorTimestamps)
	}
	t.TLS.check("tls", bad)
	_, err = compile(at+"relabel", t.Relabel)
	errs = append(errs, err)
	_, err = compile(at+"metric_relabel", t.MetricRelabel)
	return errors.Join(append(errs, err)...)
}

func (t TLS) check(key string, bad func(string, ...any)) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		bad("%s.cert_file: and key_file belong together", key)
	}
	if t.InsecureSkipVerify && t.CAFile != "" {
		bad("%s.insecure_skip_verify: makes ca_file useless; leave one of them out", key)
	}
}

// compile makes Prometheus' rules of ours. Its errors begin with key.
func compile(key string, rules []Rule) ([]*relabel.Config, error) {
	var errs []error
	var list []*relabel.Config
	for i, r := range rules {
		c := relabel.DefaultRelabelConfig
		c.Action = relabel.Replace
		if r.Action != "" {
			c.Action = relabel.Action(strings.ToLower(r.Action))
			if !slices.Contains([]relabel.Action{
				relabel.Replace, relabel.Keep, relabel.Drop, relabel.KeepEqual, relabel.DropEqual, relabel.HashMod,
				relabel.LabelMap, relabel.LabelDrop, relabel.LabelKeep, relabel.Lowercase, relabel.Uppercase,
			}, c.Action) {
				errs = append(errs, fmt.Errorf("%s[%d].action: %q is none of Prometheus' relabel actions", key, i, r.Action))
				continue
			}
		}
		for _, l := range r.SourceLabels {
			c.SourceLabels = append(c.SourceLabels, model.LabelName(l))
		}
		if r.Separator != "" {
			c.Separator = r.Separator
		}
		if r.Regex != "" {
			re, err := relabel.NewRegexp(r.Regex)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s[%d].regex: %w", key, i, err))
				continue
			}
			c.Regex = re
		}
		if r.Replacement != "" {
			c.Replacement = r.Replacement
		}
		c.Modulus, c.TargetLabel = r.Modulus, r.TargetLabel
		if err := c.Validate(model.UTF8Validation); err != nil {
			errs = append(errs, fmt.Errorf("%s[%d]: %w", key, i, err))
			continue
		}
		list = append(list, &c)
	}
	return list, errors.Join(errs...)
}
