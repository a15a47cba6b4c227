package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/forward"
	"github.com/causeway-agent/causeway/agent/collect/host"
	"github.com/causeway-agent/causeway/agent/collect/journald"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/otlp"
	"github.com/causeway-agent/causeway/agent/collect/probe"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/statsd"
	"github.com/causeway-agent/causeway/agent/collect/syslog"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/agent/store"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// plan returns every unit that cfg asks for: the two tables of this file, the
// status server, and an embedded store where one is in use.
func (a *Agent) plan(cfg *config.Config, k cluster, listener net.Listener) ([]unit, error) {
	units := []unit{a.server(cfg, listener), a.locate(cfg)}
	units = append(units, a.sources(cfg, k)...)
	for _, name := range cfg.Active {
		d := cfg.Destinations[name]
		if d.Type == "influxdb" && d.Influx.Embedded {
			units = append(units, a.store(name, d.Influx, cfg.Agent.DataDir))
		}
		for _, k := range signal.Kinds {
			if wants(d, k) {
				units = append(units, a.delivery(name, d, k, cfg))
			}
		}
	}
	return units, nil
}

// sources is the table of what is collected.
func (a *Agent) sources(cfg *config.Config, k cluster) []unit {
	var units []unit
	poll := func(name string, every time.Duration, s collect.Sampler, conf any) {
		p := collect.Poll(name, every, s)
		units = append(units, unit{
			name: "collect/" + name, sort: sourceUnit, conf: conf, stats: p.Stats,
			run: func(ctx context.Context) error { return p.Run(ctx, a.hub) },
		})
	}
	// add adds a source that goes at its own pace. What it hands on is counted here.
	add := func(u unit, run func(ctx context.Context, out collect.Sink) error) {
		u.name, u.sort, u.stats = "collect/"+u.name, sourceUnit, &collect.Stats{}
		out := u.stats.Counted(a.hub)
		u.run = func(ctx context.Context) error { return run(ctx, out) }
		units = append(units, u)
	}
	c := cfg.Collect
	poll("agent", selfEvery, self{a}, nil)
	if k.conf.Enabled != "false" {
		// What the room is made of is in the conf of each that uses it.
		conf := any(struct {
			conf kube.Config
			id   kube.Identity
		}{k.conf, k.id})
		if k.watched() {
			add(unit{name: "kubernetes/pods", conf: conf, look: func() any { return k.room.Status() }, absent: k.room.Absent}, k.room.Pods().Run)
			poll("kubernetes/podstate", k.conf.Interval, k.room.PodState(), conf)
			units[len(units)-1].absent = k.room.Absent
		}
		if k.id.Role != "node" {
			look := func() any { return StatusKubernetes{k.room.Status()} }
			add(unit{name: "kubernetes", conf: conf, look: look, absent: k.room.Absent}, k.room.Cluster().Run)
		}
	}
	if cfg.Agent.Role == "cluster" { // the node's own things are its node agent's
		return units
	}
	if c.Host.Enabled != "false" {
		poll("host", c.Host.Interval, host.New(c.Host), c.Host)
	}
	if c.Containers.Enabled != "false" {
		// A sampler that was stopped cannot be used again, so each run has its own.
		stats := &collect.Stats{}
		var now atomic.Pointer[container.Provider]
		units = append(units, unit{
			name: "collect/containers", sort: sourceUnit, stats: stats,
			conf: struct {
				conf    container.Config
				cluster kube.Config
				id      kube.Identity
			}{c.Containers, k.conf, k.id},
			run: func(ctx context.Context) error {
				k.wait(ctx)
				from := a.containers(c.Containers, k.id.Node, k.specs())
				now.Store(&from)
				s := container.New(c.Containers, from)
				defer func() {
					if err := s.Close(); err != nil {
						a.log.Warn("cAdvisor did not stop in time", "error", err)
					}
				}()
				p := collect.PollInto(stats, "containers", c.Containers.Interval, s)
				return p.Run(ctx, a.hub)
			},
			look: func() any { return containerStatus(now.Load()) },
		})
	}
	if c.Prometheus.Enabled != "false" {
		t := k.targets(c.Prometheus)
		s := prom.New(c.Prometheus, k.scrapeFrom(t, c.Prometheus), a.log.With("source", "prometheus"))
		add(unit{
			name: "prometheus",
			conf: struct {
				conf    prom.Config
				cluster kube.Config
				id      kube.Identity
			}{c.Prometheus, k.conf, k.id},
			look: func() any { return scrapeStatus(s, t) }, counts: func(y yield) { scrapeCounts(s.Stats(), y) },
		}, func(ctx context.Context, out collect.Sink) error {
			k.wait(ctx)
			return scrape(ctx, s, t, out)
		})
	}
	if len(c.Probes) > 0 {
		s := probe.New(c.Probes, a.log.With("source", "probes"))
		add(unit{name: "probes", conf: c.Probes, look: func() any { return probeStatus(s) }}, s.Run)
	}
	if c.StatsD.Enabled != "false" {
		s := statsd.New(c.StatsD, a.log.With("source", "statsd"))
		add(unit{
			name: "statsd", conf: c.StatsD, heard: s.Addresses,
			look: func() any { return statsdStatus(s) }, counts: func(y yield) { statsdCounts(s.Stats(), y) },
		}, s.Run)
	}
	if c.OTLP.Enabled != "false" {
		s := otlp.New(c.OTLP, a.log.With("source", "otlp"))
		add(unit{name: "otlp", conf: c.OTLP, look: func() any { return otlpStatus(s) }, heard: s.Bound}, s.Run)
	}
	if c.Logs.Enabled() {
		t := tail.New(c.Logs.Config, a.hub, filepath.Join(cfg.Agent.DataDir, "tail"), a.log.With("source", "logs"))
		if k.watched() {
			t.Advise(advised{k.room})
		}
		add(unit{
			name: "logs",
			conf: struct {
				conf    tail.Config
				cluster kube.Config
				id      kube.Identity
			}{c.Logs.Config, k.conf, k.id},
			look: func() any { return logStatus(t) },
		}, func(ctx context.Context, out collect.Sink) error {
			k.wait(ctx)
			return t.Run(ctx, out)
		})
	}
	if j := c.Logs.Journald; j.Enabled != "false" {
		s := journald.New(j, a.hub, filepath.Join(cfg.Agent.DataDir, "journald"), a.log.With("source", "journald"))
		add(unit{name: "journald", conf: j, look: func() any { return inletStatus(s.Stats(), nil, s.Trouble()) }}, s.Run)
	}
	for i, conf := range c.Logs.Syslog {
		s := syslog.New(conf, a.log.With("source", "syslog"))
		look := func() any { return inletStatus(s.Stats(), s.Addresses(), s.Lately()) }
		add(unit{name: fmt.Sprintf("syslog/%d", i), conf: conf, look: look, heard: s.Addresses}, s.Run)
	}
	if f := c.Logs.Forward; f.Enabled() {
		s := forward.New(f, a.log.With("source", "forward"))
		look := func() any { return inletStatus(s.Stats(), s.Addresses(), s.Lately()) }
		add(unit{name: "forward", conf: f, look: look, heard: s.Addresses}, s.Run)
	}
	return units
}

// around is what a destination needs to know besides its own configuration.
type around struct {
	out     *stdout.Writer // where destinations of type stdout write
	place   Place          // where this node stands; only asked of Google's
	node    string
	cluster string // agent.cluster
}

// vendor is the table of destinations: it returns the exporter for one kind, and
// what ends its connections.
func vendor(name string, d config.Destination, k signal.Kind, r around) (exporters.Exporter, func(), error) {
	name += "/" + k.String()
	h := exporters.HTTP{ProxyURL: d.ProxyURL.Reveal(), TLS: exporters.TLS(d.TLS)}
	// one returns the exporter among three that is for this kind.
	one := func(timeout time.Duration, inFlight int, metrics, logs, events func(*http.Client) exporters.Exporter) (exporters.Exporter, func(), error) {
		h.Timeout = timeout
		client, err := h.Client(inFlight)
		if err != nil {
			return nil, nil, err
		}
		return map[signal.Kind]func(*http.Client) exporters.Exporter{signal.Metric: metrics, signal.Log: logs, signal.Event: events}[k](client), client.CloseIdleConnections, nil
	}
	switch d.Type {
	case "datadog":
		c := d.Datadog
		c.Tags = d.Tags
		return one(c.Timeout, c.InFlight,
			func(hc *http.Client) exporters.Exporter { return datadog.Metrics(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return datadog.Logs(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return datadog.Events(name, c, hc) })
	case "googlecloud", "stackdriver":
		c := d.Google
		c.Tags = d.Tags
		if c.Cluster == "" {
			c.Cluster = r.cluster
		}
		if c.Project == "auto" && r.place.Project == "" {
			return nil, nil, errors.New("project: auto finds none, as no metadata server answers; set the project's id")
		}
		at := google.Place{
			Project: r.place.Project, Location: r.place.Location, Zone: r.place.Zone, Cluster: r.place.Cluster,
			Instance: r.place.Instance, InstanceID: r.place.InstanceID, Node: r.node,
		}
		client := google.NewClient(c, h)
		done := func() { _ = client.Close() } // nothing is under way any more
		switch k {
		case signal.Metric:
			return google.Metrics(name, c, at, client), done, nil
		case signal.Log:
			return google.Logs(name, c, at, client), done, nil
		default:
			return google.Events(name, c, at, client), done, nil
		}
	case "influxdb":
		c := d.Influx
		c.Tags = d.Tags
		if c.Embedded {
			c.URL = "http://" + c.Listen
		}
		return one(c.Timeout, c.InFlight,
			func(hc *http.Client) exporters.Exporter { return influx.Metrics(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return influx.Logs(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return influx.Events(name, c, hc) })
	case "newrelic":
		c := d.NewRelic
		c.Tags = d.Tags
		return one(c.Timeout, c.InFlight,
			func(hc *http.Client) exporters.Exporter { return newrelic.Metrics(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return newrelic.Logs(name, c, hc) },
			func(hc *http.Client) exporters.Exporter { return newrelic.Events(name, c, hc) })
	case "stdout":
		return stdout.New(name, k, d.Stdout, r.out), func() {}, nil
	}
	return nil, nil, fmt.Errorf("BUG: no exporter for a destination of type %q", d.Type)
}

// isGoogle reports whether a destination is Google's, under either name.
func isGoogle(d config.Destination) bool { return d.Type == "googlecloud" || d.Type == "stackdriver" }

const deliveryPrefix = "exporters/"

// behind is how old the newest frame of the live lane may be before what waits
// is cut off into the backlog.
const behind = time.Minute

// delivery is the unit that brings one kind to one destination.
func (a *Agent) delivery(name string, d config.Destination, k signal.Kind, cfg *config.Config) unit {
	key := name + "/" + k.String()
	r := around{out: a.out}
	if isGoogle(d) { // the others must not be touched because a name changes that they do not use
		r.node, r.cluster = nodeName(cfg), cfg.Agent.Cluster
	}
	open := func(d *exporters.Delivery, backfill time.Duration) (*spool.Cursor, error) {
		from := spool.From{}
		if backfill > 0 {
			from.At = time.Now().Add(-backfill)
		}
		cursor, err := a.spools[k].Cursor(name, from)
		if err != nil {
			return nil, err
		}
		a.mu.Lock()
		a.rows[key] = &row{dest: name, kind: k, cursor: cursor, delivery: d}
		a.mu.Unlock()
		return cursor, nil
	}
	return unit{
		name: deliveryPrefix + key, sort: deliveryUnit,
		conf: struct {
			d             config.Destination
			node, cluster string
		}{d, r.node, r.cluster},
		open: func() error {
			_, err := open(&exporters.Delivery{}, d.Backfill)
			return err
		},
		run: func(ctx context.Context) error {
			r := r
			if isGoogle(d) {
				r.place = a.placer.wait(ctx)
			}
			e, done, err := vendor(name, d, k, r)
			if err != nil {
				return err
			}
			defer done()
			del := &exporters.Delivery{
				Exporter: e, Log: a.log,
				Bury: func(b *signal.Batch, e *exporters.Error) { a.dead.Bury(name, k, b, e) },
			}
			if k == signal.Metric {
				del.Feed = a.feed
			}
			if d.Match != "" {
				if del.Keep, err = signal.ParseMatch(d.Match); err != nil {
					return err
				}
			}
			// A cursor of its own for each run: what the last one had in hand
			// and did not settle comes again.
			cursor, err := open(del, d.Backfill)
			if err != nil {
				return err
			}
			del.Live = cursor.Live()
			if !e.Limits().Ordered {
				del.Backlog, del.Split, del.Behind = cursor.Backlog(), cursor.Split, behind
			}
			return del.Run(ctx)
		},
	}
}

// store is the unit of the embedded InfluxDB.
func (a *Agent) store(name string, c influx.Config, dataDir string) unit {
	conf := store.Default()
	conf.Dir = filepath.Join(dataDir, "store")
	conf.Listen, conf.Database = c.Listen, c.Database
	if c.Retention > 0 { // a store on the node's own disk never keeps everything for ever
		conf.Retention = c.Retention
	}
	return unit{
		name: "store/" + name, sort: storeUnit, conf: conf,
		run: func(ctx context.Context) error {
			s, err := store.Open(conf, a.log.With("part", "store"))
			if err != nil {
				return err
			}
			err = s.Run(ctx)
			if cerr := s.Close(); err == nil {
				err = cerr
			}
			return err
		},
	}
}

// server is the unit that answers on agent.listen. The first run uses the
// listener it is given, if any: whether the port can be had is known before
// anything is changed.
func (a *Agent) server(cfg *config.Config, listener net.Listener) unit {
	type conf struct{ Listen, Token string }
	c := conf{cfg.Agent.Listen, cfg.Agent.Token.Reveal()}
	return unit{
		name: "server", sort: serverUnit, conf: c,
		run: func(ctx context.Context) error {
			l := listener
			listener = nil
			if l == nil {
				var err error
				if l, err = net.Listen("tcp", c.Listen); err != nil {
					return fmt.Errorf("agent.listen: %w", err)
				}
			}
			return serve(ctx, l, a.handler(c.Token))
		},
	}
}

// serve answers on l until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

// wants reports whether a destination takes a kind.
func wants(d config.Destination, k signal.Kind) bool {
	if isGoogle(d) && !d.Google.Logs && k != signal.Metric {
		return false
	}
	return len(d.Kinds) == 0 || slices.Contains(d.Kinds, k.String()+"s")
}

// inUse reports whether cfg sends a kind to the destination of that name.
func inUse(cfg *config.Config, name string, k signal.Kind) bool {
	return slices.Contains(cfg.Active, name) && wants(cfg.Destinations[name], k)
}

// label has the hub complete everything with what cfg and the cloud say.
func (a *Agent) label(cfg *config.Config) {
	a.hub.Configure(cfg.Process, a.baseLabels(cfg), a.clusterNow().enricher())
}

// baseLabels are on everything: what agent.yaml says counts more than what the
// cloud does.
func (a *Agent) baseLabels(cfg *config.Config) string {
	node := nodeName(cfg)
	k8s := ""
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		k8s = node
	}
	cloud := ""
	if a.placer != nil {
		at, _ := a.placer.get()
		cloud = at.labels()
	}
	own := signal.Merge(signal.Labels(signal.LabelHost, node, signal.LabelCluster, cfg.Agent.Cluster, signal.LabelNode, k8s), hub.TagLabels(cfg.Agent.Tags))
	return signal.Merge(cloud, own)
}

// nodeName is the name this agent reports as: the configured one, the one
// Kubernetes gave, or the host's.
func nodeName(cfg *config.Config) string {
	if cfg.Agent.Node != "" {
		return cfg.Agent.Node
	}
	if n := os.Getenv("NODE_NAME"); n != "" {
		return n
	}
	if id, err := host.Identity(cfg.Collect.Host.Root); err == nil && id.Host != "" {
		return id.Host
	}
	n, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSuffix(n, ".")
}
