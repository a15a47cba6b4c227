package agent

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/container/cadvisor"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/config"
)

// cluster is the room of Kubernetes as long as its configuration stays the same:
// what watches the pods serves several sources and the hub.
type cluster struct {
	conf kube.Config
	id   kube.Identity
	room *kube.Kube
}

// clusterOf returns the cluster for cfg: the one there is, if nothing changed.
func (a *Agent) clusterOf(cfg *config.Config) cluster {
	id := kube.Identity{
		Node: nodeName(cfg), Cluster: cfg.Agent.Cluster, PodName: os.Getenv("POD_NAME"), Namespace: os.Getenv("POD_NAMESPACE"), Role: cfg.Agent.Role,
	}
	if k := a.clusterNow(); k.room != nil && k.id == id && reflect.DeepEqual(k.conf, cfg.Collect.Kubernetes) {
		return k
	}
	dir := filepath.Join(cfg.Agent.DataDir, "kubernetes")
	return cluster{cfg.Collect.Kubernetes, id, kube.New(cfg.Collect.Kubernetes, id, dir, a.log.With("source", "kubernetes"))}
}

// clusterNow returns the cluster of the configuration in force.
func (a *Agent) clusterNow() cluster {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.in
}

// watched reports whether this agent watches its node's pods.
func (c cluster) watched() bool {
	return c.room != nil && c.conf.Enabled != "false" && c.conf.Pods && c.id.Role != "cluster"
}

// enricher is who completes labels by pods; nil where nobody watches them.
func (c cluster) enricher() hub.Enricher {
	if !c.watched() {
		return nil
	}
	return c.room.Pods()
}

// podsPatience is how long what needs to know the pods waits for them at a
// start. A series that begins under another name than it had before a restart
// would lose the increase between, and a line would lack its workload.
const podsPatience = 10 * time.Second

// wait waits until the pods are known, there is no cluster, ctx ends, or
// patience does.
func (c cluster) wait(ctx context.Context) {
	if !c.watched() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, podsPatience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st := c.room.Status()
		if st.Absent != "" || st.Pods != nil && (st.Pods.Synced || st.Pods.Error != "") {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// containers returns who reads the containers of this node; pods may be nil.
func (a *Agent) containers(c container.Config, node string, pods container.PodSpecs) container.Provider {
	log := a.log.With("source", "containers")
	switch c.Provider {
	case "cadvisor":
		return cadvisor.New(c)
	case "kubelet":
		return container.NewKubelet(c, node, os.Getenv, pods, log)
	}
	return container.Auto(container.NewKubelet(c, node, os.Getenv, pods, log), cadvisor.New(c), log)
}

// scraped shows the pods of this node to the scraper, in its words.
type scraped struct{ pods *kube.Pods }

func (s scraped) Version() uint64 { return s.pods.Changes() }

func (s scraped) Each(f func(prom.Pod) bool) {
	s.pods.Each(func(p *kube.Pod) bool {
		q := prom.Pod{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Node: p.Node, IP: p.IP, Phase: p.Phase, Labels: p.Labels, Annotations: p.Annotations}
		for _, c := range p.Containers {
			for _, port := range c.Ports {
				if cmp.Or(port.Protocol, "TCP") == "TCP" {
					q.Ports = append(q.Ports, prom.Port{Name: port.Name, Container: c.Name, Number: int(port.Number)})
				}
			}
		}
		return f(q)
	})
}

// advised tells the reader of logs what pods' annotations ask for. Where there
// is no cluster after all, nobody asks for anything.
type advised struct{ room *kube.Kube }

func (a advised) Advice(podUID, container string) (tail.Advice, bool) {
	advice, known := a.room.Pods().Logs(podUID, container)
	if !known && a.room.Status().Absent != "" {
		return tail.Advice{}, true
	}
	return tail.Advice{Skip: advice.Skip, Multiline: advice.Multiline}, known
}
