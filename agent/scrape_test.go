package agent

import (
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/config"
)

func TestTheScraperIsToldAllThatAnObjectSays(t *testing.T) {
	rule := []kube.Rule{{Action: "replace", SourceLabels: []string{"a"}, Separator: "-", Regex: "x", Modulus: 2, TargetLabel: "b", Replacement: "$1"}}
	f := func(tls prom.TLS, s kube.Scrape, want prom.Target) {
		t.Helper()
		g := &kube.Group{
			Name: "n", Scheme: "https", Path: "/p", Params: map[string][]string{"a": {"b"}}, Scrape: s,
			Endpoints: []kube.Endpoint{{Address: "h:1", Node: "n1", Labels: map[string]string{"job": "j"}, Known: "k"}},
		}
		named{each: func(f func(*kube.Group) bool) { f(g) }, tls: tls}.Each(func(got prom.Group) bool {
			all := prom.Group{Name: "n", Scheme: "https", Path: "/p", Params: g.Params, Scrape: want, Endpoints: []prom.Endpoint{prom.Endpoint(g.Endpoints[0])}}
			if !reflect.DeepEqual(got, all) {
				t.Errorf("got  %+v\nwant %+v", got, all)
			}
			return true
		})
	}
	f(prom.TLS{}, kube.Scrape{
		Interval: time.Second, Timeout: time.Minute, MaxSamples: 3, HonorLabels: true, HonorTimestamps: "false", BearerTokenFile: "t", CAFile: "ca",
		CertFile: "c", KeyFile: "k", ServerName: "s", SkipVerify: true, Relabel: rule, MetricRelabel: rule[:1],
	}, prom.Target{
		Interval: time.Second, Timeout: time.Minute, MaxSamples: 3, HonorLabels: true, HonorTimestamps: "false", BearerTokenFile: "t",
		TLS:     prom.TLS{CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "s", InsecureSkipVerify: true},
		Relabel: []prom.Rule{prom.Rule(rule[0])}, MetricRelabel: []prom.Rule{prom.Rule(rule[0])},
	})
	ca := prom.TLS{CAFile: "ours"}
	f(ca, kube.Scrape{}, prom.Target{TLS: ca})
	f(ca, kube.Scrape{SkipVerify: true}, prom.Target{TLS: prom.TLS{InsecureSkipVerify: true}})
}

func TestOnlyWhatIsSwitchedOnIsWatched(t *testing.T) {
	f := func(change func(*config.Config), want bool) {
		t.Helper()
		cfg := config.Default()
		change(&cfg)
		k := cluster{conf: cfg.Collect.Kubernetes, id: kube.Identity{Node: "n1", Role: cfg.Agent.Role}}
		k.room = kube.New(k.conf, k.id, t.TempDir(), slog.New(slog.DiscardHandler))
		if got := k.targets(cfg.Collect.Prometheus) != nil; got != want {
			t.Errorf("%+v: %v", cfg.Collect.Prometheus, got)
		}
	}
	f(func(*config.Config) {}, true)
	f(func(c *config.Config) { c.Collect.Prometheus.Services = false }, true)
	f(func(c *config.Config) { c.Collect.Prometheus.Monitors = "false" }, true)
	f(func(c *config.Config) { c.Collect.Prometheus.Services, c.Collect.Prometheus.Monitors = false, "false" }, false)
	f(func(c *config.Config) { c.Collect.Kubernetes.Enabled = "false" }, false)
	f(func(c *config.Config) { c.Agent.Role = "cluster" }, false)
}
