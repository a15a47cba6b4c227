// Package config reads agent.yaml: it turns the file and the environment into
// one typed tree, or into the complete list of what is wrong with them.
//
// The commands call Load, at start and at every reload, and hand the tree's
// parts to the packages that own them; Watch tells the agent when to load again.
// Each room (a collector, a vendor) owns its Config type, its defaults and its
// Check; this package only hangs them in the tree and imports them for it.
//
// What always holds:
//
//  1. Precedence: the environment (CAUSEWAY_AGENT__CLUSTER=prod) over the file
//     over the defaults, key by key; a list is replaced whole. A destination
//     that the file defines starts from its type's defaults, not from those of
//     the shipped destination of the same name.
//  2. All or nothing: Load returns a tree that passed every check, or Errors
//     that name every complaint with its line and column, or the variable.
//     An unknown key is an error; so is a key of the contract that this version
//     does not know yet, in other words.
//  3. ${VAR} is expanded in the parsed scalars of the file, never in its text:
//     a variable's content can be no YAML. The environment's own values are
//     taken literally, and an empty variable counts as none.
//  4. No secret, and no content of a variable, appears in an error or in Print.
//  5. What Print writes loads again to an equal tree, secrets aside.
//  6. No input makes Load panic, read more than 1 MiB, or follow more aliases
//     than many times what a configuration needs.
//
// A destination that is not in active is read as strictly as one that is, but
// not asked for what it needs to run: its room's Check is called, and its secret
// files are read, once it is active.
//
// What a reload can change is everything but agent.data_dir, which the agent
// holds locked; the agent refuses that change and says so.
//
// Memory: a Config belongs to the caller, who must not write to it once it is
// shared. Load starts no goroutine; Watch runs in its caller's, and what it starts
// beside it has ended when it returns.
//
// The package starts nothing, opens no connection, and does not know what a
// room's keys mean. It uses reflection only to list a section's keys, which a
// decoder cannot do, so that a complaint can name a line and a suggestion.
package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// Config is the whole of agent.yaml. The comment of each field is the text that
// agent.yaml shows beside the key.
type Config struct {
	// Version of the file's format: 1.
	Version int `yaml:"version"`
	// Active names the destinations in use. Changing vendor is changing this line.
	Active []string `yaml:"active"`
	// Agent is about the agent as a whole.
	Agent Agent `yaml:"agent"`
	// Spool: one log per kind; every destination reads it at its own pace.
	Spool Spool `yaml:"spool"`
	// Collect says what is gathered.
	Collect Collect `yaml:"collect"`
	// Process says what becomes of an item before it reaches the disk.
	Process hub.Config `yaml:"process"`
	// Destinations by name: where it can go; Active says where it goes.
	Destinations map[string]Destination `yaml:"destinations"`

	from *provenance // where each value came from; nil for a Config that was not loaded
}

// Agent is the section agent.
type Agent struct {
	// Node is this node's name. Default: $NODE_NAME, else the host's name.
	Node string `yaml:"node"`
	// Cluster is the cluster's name; empty outside one.
	Cluster string `yaml:"cluster"`
	// Role is what this agent reports: auto (its node, and the cluster's objects if it is elected), node, or cluster (objects and events only).
	Role string `yaml:"role"`
	// Tags go on everything; written as key:value.
	Tags []string `yaml:"tags"`
	// DataDir holds spool, offsets and the embedded store; one agent at a time (locked).
	DataDir string `yaml:"data_dir"`
	// Listen is the host:port of status and metrics; anything but loopback needs a token.
	Listen string `yaml:"listen"`
	// Token is what a request to Listen must bear ("Authorization: Bearer …"); none on loopback by default.
	Token secret.String `yaml:"token"`
	// Log is about the agent's own log.
	Log Log `yaml:"log"`
	// Drain is how long a stop may spend delivering.
	Drain time.Duration `yaml:"drain"`
}

// Log is the section agent.log.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is auto (logfmt on a terminal, JSON otherwise), logfmt or json.
	Format string `yaml:"format"`
}

// Spool is the section spool.
type Spool struct {
	// Metrics is the quota of the metrics' log.
	Metrics Quota `yaml:"metrics"`
	// Logs is the quota of the log lines' log.
	Logs Quota `yaml:"logs"`
	// Events is the quota of the events' log.
	Events Quota `yaml:"events"`
	// Sync is what a power cut may cost; the death of the process costs nothing.
	Sync time.Duration `yaml:"sync"`
	// ForgetAfter is how long what a removed destination has not had yet is kept for it.
	ForgetAfter time.Duration `yaml:"forget_after"`
}

// Quota bounds the spool of one kind.
type Quota struct {
	// MaxSize in bytes on disk.
	MaxSize int64 `yaml:"max_size"`
	// MaxAge of a frame.
	MaxAge time.Duration `yaml:"max_age"`
	// WhenFull is drop_oldest, or wait: sources are held back.
	WhenFull string `yaml:"when_full"`
}

// The values of Quota.WhenFull.
const (
	DropOldest = "drop_oldest"
	Wait       = "wait"
)

// Destination is one entry of destinations: the keys every destination has, and
// the Config of the one room its type names. A key that both have, a room's url
// say, is set in both.
type Destination struct {
	// Type names the vendor: datadog, googlecloud (or stackdriver), influxdb, newrelic, stdout.
	Type string `yaml:"type"`
	// Kinds to send, of metrics, logs, events; empty: all.
	Kinds []string `yaml:"kinds"`
	// Match is an expression an item must satisfy to be sent; empty: all do.
	Match string `yaml:"match"`
	// Tags go on everything sent there; written as key:value.
	Tags []string `yaml:"tags"`
	// Backfill is how much of the retained past a new destination is sent.
	Backfill time.Duration `yaml:"backfill"`
	// ProxyURL of the HTTP proxy; it may hold a password, so it is not shown. Empty: $HTTPS_PROXY and its like.
	ProxyURL secret.String `yaml:"proxy_url"`
	// TLS replaces the system's certificates.
	TLS TLS `yaml:"tls"`

	// Datadog is the rest if Type is "datadog".
	Datadog datadog.Config `yaml:"-"`
	// Google is the rest if Type is "googlecloud" or "stackdriver".
	Google google.Config `yaml:"-"`
	// Influx is the rest if Type is "influxdb".
	Influx influx.Config `yaml:"-"`
	// NewRelic is the rest if Type is "newrelic".
	NewRelic newrelic.Config `yaml:"-"`
	// Stdout is the rest if Type is "stdout".
	Stdout stdout.Config `yaml:"-"`
}

// TLS names certificate files in PEM form; they are read when a connection is made.
type TLS struct {
	// CAFile holds the authorities to trust instead of the system's.
	CAFile string `yaml:"ca_file"`
	// CertFile holds the agent's own certificate, for servers that ask for one.
	CertFile string `yaml:"cert_file"`
	// KeyFile holds the certificate's private key.
	KeyFile string `yaml:"key_file"`
}

// Default returns the configuration of a file that sets nothing: this host, into
// the embedded store.
func Default() Config {
	local := newDestination("influxdb")
	local.Influx.Embedded, local.Influx.Retention = true, 7*24*time.Hour
	return Config{
		Version: 1,
		Active:  []string{"local"},
		Agent: Agent{
			Role: "auto", DataDir: "/var/lib/causeway", Listen: "127.0.0.1:9580",
			Log: Log{Level: "info", Format: "auto"}, Drain: 10 * time.Second,
		},
		Spool: Spool{
			Metrics: Quota{MaxSize: 1 << 30, MaxAge: 25 * time.Hour, WhenFull: DropOldest},
			Logs:    Quota{MaxSize: 4 << 30, MaxAge: 48 * time.Hour, WhenFull: Wait},
			Events:  Quota{MaxSize: 64 << 20, MaxAge: 48 * time.Hour, WhenFull: DropOldest},
			Sync:    time.Second, ForgetAfter: time.Hour,
		},
		Collect:      defaultCollect(),
		Process:      hub.Default(),
		Destinations: map[string]Destination{"local": local},
	}
}

// check returns every complaint about c, each "key: message". types names the
// type of each destination that was spoken of, "" for one that is unusable.
func (c *Config) check(types map[string]string) error {
	var errs []error
	if c.Version != 1 {
		errs = append(errs, errors.New("version: must be 1, the only version there is"))
	}
	errs = append(errs,
		under("agent", c.Agent.check()),
		under("spool", c.Spool.check()),
		under("collect", c.Collect.check()),
		under("process", c.Process.Check()),
	)
	if len(c.Active) == 0 {
		errs = append(errs, errors.New("active: names no destination; what is collected would go nowhere"))
	}
	embedded := ""
	for i, name := range c.Active {
		key := fmt.Sprintf("active[%d]", i)
		d, ok := c.Destinations[name]
		_, spokenOf := types[name]
		switch {
		case slices.Contains(c.Active[:i], name):
			errs = append(errs, errors.New(key+": names the same destination again"))
		case !ok && !spokenOf:
			all := slices.Sorted(maps.Keys(c.Destinations))
			errs = append(errs, hinted{key, "is no destination; there is: " + strings.Join(all, ", "), nearest(name, all)})
		case ok:
			path := join("destinations", name)
			errs = append(errs, under(path, d.check()), under(path, d.checkRoom()))
			if d.Type == "influxdb" && d.Influx.Embedded {
				if embedded != "" {
					errs = append(errs, fmt.Errorf("%s: is a second embedded store beside %s; the agent has room for one", key, embedded))
				}
				embedded = name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Destinations)) {
		if d := c.Destinations[name]; !slices.Contains(c.Active, name) {
			errs = append(errs, under(join("destinations", name), d.check()))
		}
	}
	return errors.Join(errs...)
}

// under puts a section's path before each of its complaints.
func under(path string, err error) error {
	var errs []error
	for _, e := range flat(err) {
		errs = append(errs, fmt.Errorf("%s.%w", path, e))
	}
	return errors.Join(errs...)
}

// oneOf complains if value is none of those allowed.
func oneOf(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return hinted{key, "must be one of " + strings.Join(allowed, ", "), nearest(value, allowed)}
}

// tags complains of what is not key:value.
func tags(list []string) error {
	var errs []error
	for i, tag := range list {
		if key, value, found := strings.Cut(tag, ":"); !found || key == "" || value == "" || strings.ContainsAny(tag, "\n\r\x00") {
			errs = append(errs, fmt.Errorf("tags[%d]: must be written as key:value", i))
		}
	}
	return errors.Join(errs...)
}

// check returns every complaint about the section agent.
func (a Agent) check() error {
	var errs []error
	errs = append(errs, oneOf("role", a.Role, "auto", "node", "cluster"))
	errs = append(errs, tags(a.Tags),
		oneOf("log.level", a.Log.Level, "debug", "info", "warn", "error"),
		oneOf("log.format", a.Log.Format, "auto", "logfmt", "json"))
	if a.DataDir == "" || strings.ContainsRune(a.DataDir, 0) {
		errs = append(errs, errors.New("data_dir: must name a folder"))
	}
	host, port, err := net.SplitHostPort(a.Listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	switch {
	case err != nil || port == "":
		errs = append(errs, errors.New("listen: must be host:port, like 127.0.0.1:9580"))
	case !loopback(host) && a.Token == "":
		errs = append(errs, errors.New("listen: is open to other machines and there is no agent.token; set one, or listen on 127.0.0.1"))
	}
	if a.Drain > 10*time.Minute {
		errs = append(errs, errors.New("drain: must be at most 10m"))
	}
	return errors.Join(errs...)
}

// loopback tells whether only this machine reaches host.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// check returns every complaint about the section spool.
func (s Spool) check() error {
	errs := []error{under("metrics", s.Metrics.check()), under("logs", s.Logs.check()), under("events", s.Events.check())}
	if s.Sync < 10*time.Millisecond || s.Sync > time.Hour {
		errs = append(errs, errors.New("sync: must be from 10ms to 1h"))
	}
	return errors.Join(errs...)
}

// check returns every complaint about one kind's quota.
func (q Quota) check() error {
	var errs []error
	if q.MaxSize < 1<<20 {
		errs = append(errs, errors.New("max_size: must be at least 1MiB"))
	}
	if q.MaxAge < time.Minute {
		errs = append(errs, errors.New("max_age: must be at least 1m"))
	}
	return errors.Join(append(errs, oneOf("when_full", q.WhenFull, DropOldest, Wait))...)
}

// check returns every complaint about the keys all destinations have.
func (d Destination) check() error {
	var errs []error
	for i, kind := range d.Kinds {
		key := fmt.Sprintf("kinds[%d]", i)
		errs = append(errs, oneOf(key, kind, "metrics", "logs", "events"))
		if slices.Contains(d.Kinds[:i], kind) {
			errs = append(errs, errors.New(key+": names the same kind again"))
		}
	}
	if d.Match != "" {
		if _, err := signal.ParseMatch(d.Match); err != nil {
			errs = append(errs, fmt.Errorf("match: %w", err))
		}
	}
	errs = append(errs, tags(d.Tags))
	if p := d.ProxyURL.Reveal(); p != "" {
		if u, err := url.Parse(p); err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) {
			errs = append(errs, errors.New("proxy_url: must be the http://, https:// or socks5:// URL of a proxy"))
		}
	}
	if (d.TLS.CertFile == "") != (d.TLS.KeyFile == "") {
		errs = append(errs, errors.New("tls: cert_file and key_file go together"))
	}
	return errors.Join(errs...)
}

// Origin returns where the value at a key path came from: "default",
// "agent.yaml:12", "env NAME" or "file PATH".
func (c *Config) Origin(key string) string {
	if c.from == nil {
		return origin{}.String()
	}
	return c.from.origins[key].String()
}

// Files returns the paths to watch: the file itself and the secret files it
// names, in that order.
func (c *Config) Files() []string {
	if c.from == nil {
		return nil
	}
	return append([]string{c.from.file}, c.from.secrets...)
}
