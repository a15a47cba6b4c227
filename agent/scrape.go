package agent

import (
	"context"
	"sync"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/prom"
)

// specified tells the reader of containers what the pods of this node ask for,
// in its words.
type specified struct{ pods *kube.Pods }

func (s specified) Pods(ctx context.Context, yield func(*container.PodSpec)) error {
	return s.pods.Specs(ctx, func(p *kube.PodSpec) {
		q := container.PodSpec{Namespace: p.Namespace, Name: p.Name, UID: p.UID, HostNetwork: p.HostNetwork, Start: p.Start}
		for _, c := range p.Containers {
			q.Containers = append(q.Containers, container.ContainerSpec(c))
		}
		yield(&q)
	})
}

// specs returns who tells what the pods of this node ask for; nil, which lets
// the kubelet be asked, where nobody watches them or there is no cluster to ask.
// It is only asked once the pods were waited for.
func (c cluster) specs() container.PodSpecs {
	if !c.watched() || c.room.Status().Absent != "" {
		return nil
	}
	return specified{c.room.Pods()}
}

// targets returns what objects of the cluster name to be scraped; nil where
// nobody asks for it.
func (c cluster) targets(conf prom.Config) *kube.Targets {
	if c.room == nil || c.conf.Enabled == "false" || c.id.Role == "cluster" || !conf.Services && conf.Monitors == "false" {
		return nil
	}
	return c.room.Targets(kube.TargetsConfig{Services: conf.Services, Monitors: conf.Monitors})
}

// scrapeFrom is where the scraper finds targets; t may be nil.
func (c cluster) scrapeFrom(t *kube.Targets, conf prom.Config) prom.Sources {
	from := prom.Sources{Self: c.id.Node}
	if c.watched() {
		from.Pods = scraped{c.room.Pods()}
	}
	if t != nil {
		from.Services, from.Monitors, from.Peers = named{t, t.Services, conf.TLS}, named{t, t.Monitors, prom.TLS{}}, t
	}
	return from
}

// scrape runs a scraper, and what finds its targets, until ctx ends.
func scrape(ctx context.Context, s *prom.Source, t *kube.Targets, out collect.Sink) error {
	if t != nil {
		var wg sync.WaitGroup
		defer wg.Wait()
		watching, stop := context.WithCancel(ctx)
		defer stop()
		wg.Go(func() { _ = t.Run(watching) }) // what goes wrong is its Trouble
	}
	return s.Run(ctx, out)
}

// named shows the scraper what objects name, in its words.
type named struct {
	t    *kube.Targets
	each func(func(*kube.Group) bool)
	tls  prom.TLS // where an object cannot say anything of it
}

func (n named) Version() uint64 { return n.t.Version() }

func (n named) Each(f func(prom.Group) bool) {
	n.each(func(g *kube.Group) bool {
		s := &g.Scrape
		q := prom.Group{Name: g.Name, Scheme: g.Scheme, Path: g.Path, Params: g.Params, Scrape: prom.Target{
			Interval: s.Interval, Timeout: s.Timeout, MaxSamples: s.MaxSamples, HonorLabels: s.HonorLabels, HonorTimestamps: s.HonorTimestamps,
			BearerTokenFile: s.BearerTokenFile, Relabel: rulesOf(s.Relabel), MetricRelabel: rulesOf(s.MetricRelabel),
			TLS: prom.TLS{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: s.ServerName, InsecureSkipVerify: s.SkipVerify},
		}}
		if q.Scrape.TLS == (prom.TLS{}) {
			q.Scrape.TLS = n.tls
		}
		for _, e := range g.Endpoints {
			q.Endpoints = append(q.Endpoints, prom.Endpoint(e))
		}
		return f(q)
	})
}

func rulesOf(list []kube.Rule) []prom.Rule {
	var all []prom.Rule
	for _, r := range list {
		all = append(all, prom.Rule(r))
	}
	return all
}
