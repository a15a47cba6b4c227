//go:build kube

package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

// shelf is one Deployment more, whose pods say a line each second.
const shelf = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: shelf, namespace: demo}
spec:
  replicas: 1
  selector: {matchLabels: {app: shelf}}
  template:
    metadata: {labels: {app: shelf}}
    spec:
      containers: [{name: app, image: registry.local/workload:1, args: [every=1s, wait]}]
`

// books are what a vendor shows of the namespace demo.
type books struct {
	name   string
	state  func(deployment string) (newest int64, available float64) // Unix seconds, 0 if there is none
	lines  func(pod string) int
	events func() []happening
}

// happening is an event: of which object, and what its text is.
type happening struct{ object, text string }

// deedsAreSeen scales, rolls and deletes a Deployment, and looks for that at each vendor.
func deedsAreSeen(t *testing.T, c *Cluster, v vendors) {
	all := []books{v.atDatadog(), v.atNewRelic(), v.atGoogle()}
	kubectl := func(args ...string) {
		t.Helper()
		if _, err := c.Kubectl(t.Context(), "", append([]string{"-n", "demo"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	each := func(what string, lacks func(b books) error) {
		t.Helper()
		for _, b := range all {
			until(t, c, b.name+" to have "+what, func() error { return lacks(b) })
		}
	}
	happened := func(b books, object, text string) error {
		events := b.events()
		if !slices.ContainsFunc(events, func(h happening) bool { return strings.HasPrefix(h.object, object) && strings.Contains(h.text, text) }) {
			return fmt.Errorf("no %q of %s among %q", text, object, events)
		}
		return nil
	}
	available := func(n float64) func(b books) error {
		return func(b books) error {
			if at, has := b.state("shelf"); at == 0 || has != n {
				return fmt.Errorf("%v available, at %d", has, at)
			}
			return nil
		}
	}
	pods := func() []string {
		t.Helper()
		out, err := c.Kubectl(t.Context(), "", "-n", "demo", "get", "pods", "-l", "app=shelf", "-o", "jsonpath={.items[*].metadata.name}")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(out)
	}

	apply(t, c, shelf)
	each("a Deployment", available(1))
	before := pods()
	each("what its pod says", func(b books) error {
		if b.lines(before[0]) == 0 {
			return fmt.Errorf("no line of %s", before[0])
		}
		return nil
	})

	kubectl("scale", "deployment", "shelf", "--replicas=2")
	each("one that scales", func(b books) error {
		return errors.Join(available(2)(b), happened(b, "shelf", "from 1 to 2"))
	})

	kubectl("set", "env", "deployment/shelf", "ROLLED=yes")
	kubectl("rollout", "status", "deployment/shelf", "--timeout=60s")
	after := slices.DeleteFunc(pods(), func(pod string) bool { return strings.HasPrefix(pod, before[0][:strings.LastIndex(before[0], "-")]) })
	if len(after) != 2 {
		t.Fatalf("the new pods are %q, and the first was of %q", after, before)
	}
	each("one that rolls", func(b books) error {
		if b.lines(after[0]) == 0 {
			return fmt.Errorf("no line of %s", after[0])
		}
		return errors.Join(happened(b, "shelf", "Scaled down replica set shelf-"), happened(b, before[0], "Stopping container app"))
	})

	kubectl("delete", "deployment", "shelf")
	each("one that is deleted", func(b books) error {
		last, _ := b.state("shelf")
		others, _ := b.state("web")
		if others < last+30 { // three intervals
			return fmt.Errorf("its state is %d s older than that of others", others-last)
		}
		return errors.Join(happened(b, after[0], "Stopping container app"), happened(b, after[1], "Stopping container app"))
	})
	for _, b := range all {
		t.Logf("%s: scaled, rolled and deleted, among %d events", b.name, len(b.events()))
	}
}

func (v vendors) atDatadog() books {
	return books{
		name: "Datadog",
		state: func(deployment string) (newest int64, available float64) {
			for _, s := range v.dd.Series("kubernetes_state.deployment.replicas_available") {
				if !hasAll(s.Tags, []string{"kube_namespace:demo", "kube_deployment:" + deployment}) {
					continue
				}
				for at, n := range s.Points {
					if at > newest {
						newest, available = at, n
					}
				}
			}
			return newest, available
		},
		lines: func(pod string) (n int) {
			for _, l := range v.dd.Logs() {
				if tags, _ := l["ddtags"].(string); hasAll(strings.Split(tags, ","), []string{"kube_namespace:demo", "pod_name:" + pod}) {
					n++
				}
			}
			return n
		},
		events: func() (all []happening) {
			for _, e := range v.dd.Events() {
				if hasAll(e.Tags, []string{"kube_namespace:demo"}) {
					all = append(all, happening{ddTag(e, "kube_name:"), *e.Text})
				}
			}
			return all
		},
	}
}

func ddTag(e ddintake.Event, prefix string) string {
	for _, tag := range e.Tags {
		if v, ok := strings.CutPrefix(tag, prefix); ok {
			return v
		}
	}
	return ""
}

func (v vendors) atNewRelic() books {
	return books{
		name: "New Relic",
		state: func(deployment string) (newest int64, available float64) {
			for _, m := range v.nr.Metrics() {
				if m.Name == "kube_deployment_status_replicas_available" && m.Attributes["k8s.namespace.name"] == "demo" &&
					m.Attributes["k8s.deployment.name"] == deployment && m.Time/1000 > newest {
					newest, available = m.Time/1000, m.Value
				}
			}
			return newest, available
		},
		lines: func(pod string) (n int) {
			for _, l := range v.nr.Logs() {
				if l.Attributes["k8s.namespace.name"] == "demo" && l.Attributes["k8s.pod.name"] == pod {
					n++
				}
			}
			return n
		},
		events: func() (all []happening) {
			for _, e := range v.nr.Events() {
				if e.Attributes["k8s.namespace.name"] == "demo" {
					all = append(all, happening{fmt.Sprint(e.Attributes["k8s.object.name"]), fmt.Sprint(e.Attributes["text"])})
				}
			}
			return all
		},
	}
}

func (v vendors) atGoogle() books {
	return books{
		name: "Google",
		state: func(deployment string) (newest int64, available float64) {
			for _, p := range v.gcp.Points() {
				m := p.Series.GetMetric()
				if !strings.HasSuffix(m.GetType(), "/kube_deployment_status_replicas_available") || m.GetLabels()["namespace_name"] != "demo" ||
					m.GetLabels()["k8s_deployment_name"] != deployment {
					continue
				}
				for _, point := range p.Series.GetPoints() {
					if at := point.GetInterval().GetEndTime().GetSeconds(); at > newest {
						newest, available = at, point.GetValue().GetDoubleValue()
					}
				}
			}
			return newest, available
		},
		lines: func(pod string) (n int) {
			for _, e := range v.gcp.Entries() {
				r := e.GetResource()
				if r.GetType() == "k8s_container" && r.GetLabels()["namespace_name"] == "demo" && r.GetLabels()["pod_name"] == pod {
					n++
				}
			}
			return n
		},
		events: func() (all []happening) {
			for _, e := range v.gcp.Entries() {
				if !strings.HasSuffix(e.GetLogName(), "/logs/causeway-events") {
					continue
				}
				r := e.GetResource()
				h := happening{r.GetLabels()["pod_name"], e.GetJsonPayload().GetFields()["text"].GetStringValue()}
				switch { // an event is shown with the pod or, where it is of no pod, the cluster it is of
				case r.GetType() == "k8s_cluster" && e.GetLabels()["k8s.namespace.name"] == "demo":
					h.object = e.GetLabels()["k8s.object.name"]
				case r.GetLabels()["namespace_name"] != "demo":
					continue
				}
				all = append(all, h)
			}
			return all
		},
	}
}
