package hub

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is the `process:` section of agent.yaml.
type Config struct {
	// Rules leave items out before they reach the disk, or count them. The first
	// one that matches an item decides; a count only counts, and the next is asked.
	Rules []Rule `yaml:"rules"`
	// Parse is the form of containers' lines of which neither the pod nor the
	// configuration of the logs says otherwise: none, auto, json, logfmt, … Lines
	// of plain files are parsed only where their own entry says so.
	Parse string `yaml:"parse"`
	// Redact lists what is replaced by [redacted:NAME] before anything reaches the
	// disk: default is the pack of keys, tokens, passwords, cards and addresses;
	// NAME=REGEXP (RE2) a pattern of your own, of which the first group is
	// replaced if it has one. A pattern that has a word of four letters which must
	// be there, such as "acme-", costs next to nothing.
	Redact []string `yaml:"redact"`
	// Cardinality bounds the series of metrics.
	Cardinality Cardinality `yaml:"cardinality"`
}

// Cardinality bounds the series held at one time. Above a limit new series of a
// metric are folded into one, with the agent's labels and overflow:true.
type Cardinality struct {
	// MaxSeries bounds all series together.
	MaxSeries int `yaml:"max_series"`
	// PerMetric bounds the series of one metric.
	PerMetric int `yaml:"per_metric"`
}

// Rule is one line of process.rules.
type Rule struct {
	Kind      string   `yaml:"kind"`       // metric, log, event; empty: all
	Match     string   `yaml:"match"`      // a condition, see signal.Match
	Action    string   `yaml:"action"`     // drop, keep; for lines also sample, limit, count
	Rate      float64  `yaml:"rate"`       // sample: the share that is kept, above 0 and below 1
	PerSecond float64  `yaml:"per_second"` // limit: lines of each stream and second
	Burst     int64    `yaml:"burst"`      // limit: lines at once; 0: those of one second
	Name      string   `yaml:"name"`       // count: the metric's name
	Labels    []string `yaml:"labels"`     // count: labels of a line or its stream, or level, that the metric gets
}

// Default returns the configuration of an agent that drops nothing.
func Default() Config {
	return Config{
		Parse:       "auto",
		Redact:      []string{defaultPack},
		Cardinality: Cardinality{MaxSeries: 200000, PerMetric: 20000},
	}
}

// Check returns all complaints about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	for i, r := range c.Rules {
		for _, complaint := range r.complaints() {
			errs = append(errs, fmt.Errorf("rules[%d].%w", i, complaint))
		}
	}
	if _, err := logline.ParseFormat(c.Parse); c.Parse != "" && err != nil {
		errs = append(errs, fmt.Errorf("parse: %w", err))
	}
	for i, item := range c.Redact {
		if item == defaultPack {
			continue
		}
		if _, _, err := parseOwn(item); err != nil {
			errs = append(errs, fmt.Errorf("redact[%d]: %w", i, err))
		}
	}
	if c.Cardinality.MaxSeries < 0 {
		errs = append(errs, errors.New("cardinality.max_series: must not be negative; 0 is the default"))
	}
	if c.Cardinality.PerMetric < 0 {
		errs = append(errs, errors.New("cardinality.per_metric: must not be negative; 0 is the default"))
	}
	return errors.Join(errs...)
}

// complaints returns what is wrong with a rule, each beginning with its key.
func (r Rule) complaints() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{"", "metric", "log", "event"}, r.Kind) {
		add("kind: %q is not metric, log or event", r.Kind)
	}
	switch r.Action {
	case "drop", "keep":
	case "sample", "limit", "count":
		if r.Kind != "log" {
			add("kind: must be log, since only lines can be %s", map[string]string{"sample": "sampled", "limit": "limited", "count": "counted"}[r.Action])
		}
	default:
		add("action: %q is not drop, keep, sample, limit or count", r.Action)
	}
	only := func(action, key string, set, good bool, want string) {
		switch {
		case r.Action == action && !good:
			add("%s: must be %s", key, want)
		case r.Action != action && set:
			add("%s: is for action %s", key, action)
		}
	}
	only("sample", "rate", r.Rate != 0, r.Rate > 0 && r.Rate < 1, "above 0 and below 1")
	only("limit", "per_second", r.PerSecond != 0, r.PerSecond > 0 && !math.IsInf(r.PerSecond, 0), "above 0")
	only("limit", "burst", r.Burst != 0, r.Burst >= 0, "at least 0")
	only("count", "name", r.Name != "", r.Name != "" && !strings.ContainsAny(r.Name, " {}\"\n"), "a metric's name, such as app.errors")
	only("count", "labels", len(r.Labels) > 0, !slices.Contains(r.Labels, ""), "without empty names")
	if _, err := signal.ParseMatch(r.Match); err != nil {
		add("match: %w", err)
	}
	return errs
}

// TagLabels turns the agent's tags, each key:value, into labels. A tag without a
// colon becomes a label of that name with the value "true".
func TagLabels(tags []string) string {
	var pairs []string
	for _, t := range tags {
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
	return signal.Labels(pairs...)
}
