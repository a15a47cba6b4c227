package nrintake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Entity is something that New Relic shows a page of.
type Entity struct {
	Type string // HOST, CONTAINER, KUBERNETES_POD, …
	ID   string // the values of the identifying attributes, with colons between them
	Name string
}

// rule is one rule of synthesis, in our words (github.com/newrelic/entity-definitions,
// entity-types/*/definition.yml, read 2026-11). All of a rule's conditions hold.
type rule struct {
	entity   string
	prefix   []string // the metric's name begins with one of these
	metric   string   // or is this
	id       []string // must be there; together they identify it
	name     string
	absent   []string
	provider string // instrumentation.provider
	source   string // newrelic.source
}

const otlp = "api.metrics.otlp"

func rules() []rule {
	const cluster, namespace, pod, container = "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name"
	service := []string{"service.name"}
	all := []rule{
		{entity: "HOST", prefix: []string{"system.", "process."}, id: []string{"host.id"}, name: "host.name", absent: []string{"service.name",
			"container.id"}, source: otlp},
		{entity: "HOST", prefix: []string{"node_"}, id: []string{"instance"}, name: "instance", provider: "prometheus"},
		{entity: "CONTAINER", prefix: []string{"container.", "container_", "kube_pod_container_"}, id: []string{cluster, namespace, pod, container},
			name: container, absent: service, source: otlp},
		{entity: "KUBERNETES_POD", prefix: []string{"kube_pod_"}, id: []string{cluster, namespace, pod}, name: pod, absent: []string{"service.name",
			container}, source: otlp},
		{entity: "KUBERNETES_NAMESPACE", prefix: []string{"kube_namespace_"}, id: []string{cluster, namespace}, name: namespace, absent: service, source: otlp},
		{entity: "KUBERNETES_REPLICASET", metric: "kube_replicaset_owner", id: []string{cluster, namespace, "k8s.replicaset.name"},
			name: "k8s.replicaset.name", absent: service, source: otlp},
		{entity: "KUBERNETESCLUSTER", metric: "k8s.cluster.info", id: []string{cluster}, name: cluster, absent: service, source: otlp},
		{entity: "EXT-SERVICE", prefix: []string{""}, id: []string{"service.name"}, name: "service.name", provider: "opentelemetry"},
	}
	for _, kind := range []string{"deployment", "daemonset", "statefulset", "job", "cronjob"} {
		key := "k8s." + kind + ".name"
		all = append(all, rule{entity: "KUBERNETES_" + strings.ToUpper(kind), prefix: []string{"kube_" + kind + "_"}, id: []string{cluster, namespace, key},
			name: key, absent: service, source: otlp})
	}
	return all
}

// Entities returns what New Relic would make of the metrics, sorted, each once.
func Entities(metrics []Metric) []Entity {
	found := map[Entity]bool{}
	all := rules()
	for i := range metrics {
		for j := range all {
			if e, ok := all[j].match(&metrics[i]); ok {
				found[e] = true
			}
		}
	}
	return sorted(found)
}

func sorted(found map[Entity]bool) []Entity {
	return slices.SortedFunc(maps.Keys(found), func(a, b Entity) int { return strings.Compare(a.String(), b.String()) })
}

// EventEntities returns the entities that events by OTLP are shown with, sorted,
// each once.
func EventEntities(events []Event) []Entity {
	found := map[Entity]bool{}
	for i := range events {
		value := func(key string) string { s, _ := events[i].Attributes[key].(string); return s }
		cluster, namespace, kind, name := value("k8s.cluster.name"), value("k8s.namespace.name"), value("k8s.object.kind"), value("k8s.object.name")
		if events[i].Type != "OtlpInfrastructureEvent" || cluster == "" || kind == "" || value("service.name") != "" {
			continue
		}
		switch {
		case kind == "Cluster":
			found[Entity{"KUBERNETESCLUSTER", cluster, cluster}] = true
		case namespace != "" && name != "":
			found[Entity{"KUBERNETES_" + strings.ToUpper(kind), cluster + ":" + namespace + ":" + name, name}] = true
		}
	}
	return sorted(found)
}

// String returns "TYPE id name".
func (e Entity) String() string { return fmt.Sprintf("%s %s %s", e.Type, e.ID, e.Name) }

func (r *rule) match(m *Metric) (Entity, bool) {
	value := func(key string) string { s, _ := m.Attributes[key].(string); return s }
	named := r.metric != "" && m.Name == r.metric
	for _, p := range r.prefix {
		named = named || strings.HasPrefix(m.Name, p)
	}
	if !named || r.source != "" && value("newrelic.source") != r.source || r.provider != "" && value("instrumentation.provider") != r.provider {
		return Entity{}, false
	}
	for _, k := range r.absent {
		if _, is := m.Attributes[k]; is {
			return Entity{}, false
		}
	}
	var id []string
	for _, k := range r.id {
		if value(k) == "" {
			return Entity{}, false
		}
		id = append(id, value(k))
	}
	return Entity{Type: r.entity, ID: strings.Join(id, ":"), Name: value(r.name)}, true
}
