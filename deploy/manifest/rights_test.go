package manifest

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// grants returns every right of a plan, one "verb group/resource" each, with /NAME where it is bound to one.
func grants(p *Plan) map[string]bool {
	all := map[string]bool{}
	add := func(o metav1.Object, rules []rbacv1.PolicyRule) {
		for _, r := range rules {
			for _, v := range r.Verbs {
				for _, u := range r.NonResourceURLs {
					all[v+" "+u] = true
				}
				for _, g := range r.APIGroups {
					for _, res := range r.Resources {
						names := r.ResourceNames
						if len(names) == 0 {
							names = []string{""}
						}
						if o.GetNamespace() != "" && res == "pods" {
							res = "pods of " + o.GetNamespace()
						}
						for _, n := range names {
							all[strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%s %s/%s/%s", v, g, res, n), " "), "/")] = true
						}
					}
				}
			}
		}
	}
	for _, o := range p.Objects() {
		switch o := o.Object.(type) {
		case *rbacv1.ClusterRole:
			add(o, o.Rules)
		case *rbacv1.Role:
			add(o, o.Rules)
		}
	}
	return all
}

// TestRightsFollowFeatures switches each feature off, and wants exactly its
// rights to be gone. What two features need stays with the other.
func TestRightsFollowFeatures(t *testing.T) {
	all := grants(planOf(t, ""))
	f := func(text string, gone ...string) {
		t.Helper()
		want := map[string]bool{}
		for g := range all {
			if !slices.ContainsFunc(gone, func(p string) bool { return regexp.MustCompile("^(" + p + ")$").MatchString(g) }) {
				want[g] = true
			}
		}
		if len(want) == len(all) {
			t.Errorf("%s: nothing is named that would go", text)
		}
		got := grants(planOf(t, text))
		for g := range want {
			if !got[g] {
				t.Errorf("%s: %q is gone too", text, g)
			}
		}
		for g := range got {
			if !want[g] {
				t.Errorf("%s: %q is still granted", text, g)
			}
		}
	}
	f("collect: {containers: {enabled: false}}", "get /nodes/(metrics|stats)")
	f("collect: {containers: {provider: cadvisor}}", "get /nodes/(metrics|stats)")
	f("collect: {prometheus: {monitors: false}}", ".* monitoring.coreos.com/.*")
	f("collect: {kubernetes: {events: off}}", ".* /events")
	f("collect: {kubernetes: {api_server: false}}", "get /(livez|readyz|metrics)")
	f("collect: {kubernetes: {exclude: [replicasets, ingresses]}}", ".* apps/replicasets", ".* networking.k8s.io/ingresses")
	// The pods of this node stay, those that wait for one go.
	const objects = ".* (apps|autoscaling|batch|networking.k8s.io|policy|storage.k8s.io)/.*|" +
		".* /(limitranges|namespaces|nodes|persistentvolumeclaims|persistentvolumes|replicationcontrollers|resourcequotas|serviceaccounts)"
	const scraped = ".* /services|.* discovery.k8s.io/endpointslices"
	f("collect: {kubernetes: {objects: off}}", objects)
	f("collect: {kubernetes: {objects: off}, prometheus: {services: false, monitors: false}}", objects, scraped, ".* monitoring.coreos.com/.*")
	f("collect: {kubernetes: {objects: off, events: off, api_server: false}}", objects, ".* /events", "get /(livez|readyz|metrics)", ".* coordination.k8s.io/.*")
}

func TestDangerousRightsAreAskedForByName(t *testing.T) {
	f := func(text, right, warning string) {
		t.Helper()
		if grants(planOf(t, ""))[right] {
			t.Errorf("%q is granted to everybody", right)
		}
		p := planOf(t, text)
		if !grants(p)[right] || !strings.Contains(strings.Join(p.Warnings, "\n"), warning) {
			t.Errorf("%s: %v, warnings %q", text, grants(p)[right], p.Warnings)
		}
	}
	f("collect: {containers: {kubelet: {allow_proxy: true}}}", "get /nodes/proxy", "commands in every pod")
	f("collect: {kubernetes: {secrets: true}}", "list /secrets", "read all of them")
	for name := range shipped() {
		for g := range grants(shippedPlan(t, name)) {
			verb, what, _ := strings.Cut(g, " ")
			lease := strings.HasPrefix(what, "coordination.k8s.io/leases")
			if strings.Contains(g, "*") || strings.Contains(what, "secrets") || strings.Contains(what, "proxy") ||
				!slices.Contains([]string{"get", "list", "watch"}, verb) && !lease {
				t.Errorf("%s grants %q", name, g)
			}
		}
	}
}

// Who reads the cluster's objects has an account of its own where it has pods of its own.
func TestNodeAgentsCannotReadTheClusterBesideADeployment(t *testing.T) {
	bound := map[string]string{}
	for _, o := range planOf(t, "", apart).Objects() {
		if b, ok := o.Object.(*rbacv1.ClusterRoleBinding); ok {
			bound[b.RoleRef.Name] = b.Subjects[0].Name
		}
	}
	if len(bound) != 2 || bound["causeway-node"] != "causeway" || bound["causeway-cluster"] != "causeway-cluster" {
		t.Errorf("bound: %v", bound)
	}
	few := []string{"get /nodes/metrics", "get /nodes/stats", "list /pods", "watch /pods"}
	if got := slices.Sorted(maps.Keys(grants(planOf(t, "collect: {prometheus: {services: false, monitors: false}}", nodes)))); !slices.Equal(got, few) {
		t.Errorf("a node's agent may %q, and should %q", got, few)
	}
}

// Who watches the node's pods at the API server needs not ask the kubelet for
// them; who does not has nobody else to ask.
func TestOneOfTwoTellsAboutPods(t *testing.T) {
	f := func(text string, api, kubelet bool) {
		t.Helper()
		if g := grants(planOf(t, text, nodes)); g["watch /pods"] != api || g["get /nodes/pods"] != kubelet {
			t.Errorf("%s: %v", text, g)
		}
	}
	f("", true, false)
	f("collect: {kubernetes: {pods: false}}", false, true)
	f("collect: {kubernetes: {enabled: false}}", false, true)
	f("collect: {kubernetes: {pods: false}, containers: {enabled: false}}", false, false)
}

// Services are found by either of two keys.
func TestScrapingOfServicesIsAskedFor(t *testing.T) {
	f := func(prometheus string, want bool) {
		t.Helper()
		g := grants(planOf(t, "collect: {prometheus: "+prometheus+"}", nodes))
		if g["watch /services"] != want || g["list discovery.k8s.io/endpointslices"] != want {
			t.Errorf("%s: %v", prometheus, g)
		}
	}
	f("{}", true)
	f("{services: false}", true)
	f("{monitors: false}", true)
	f("{services: false, monitors: false}", false)
	f("{enabled: false}", false)
}

// Who scrapes services shares them with the agents of other nodes, and must see
// their pods; a PodMonitor is of no use to who does not watch the node's.
func TestWithoutTheNodesPodsOnlyTheAgentsAreSeen(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		p := planOf(t, "collect: {containers: {enabled: false}, "+text+"}", nodes)
		if got := slices.Sorted(maps.Keys(grants(p))); !slices.Equal(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
	f("kubernetes: {pods: false}",
		"list /pods of causeway", "list /services", "list discovery.k8s.io/endpointslices", "list monitoring.coreos.com/servicemonitors",
		"watch /pods of causeway", "watch /services", "watch discovery.k8s.io/endpointslices", "watch monitoring.coreos.com/servicemonitors")
	f("kubernetes: {pods: false}, prometheus: {monitors: false, services: false}")
	f("prometheus: {monitors: false, services: false}", "list /pods", "watch /pods")
}

func TestEveryRuleNamesItsFeature(t *testing.T) {
	for _, o := range planOf(t, "collect: {kubernetes: {secrets: true}, containers: {kubelet: {allow_proxy: true}}}").Objects() {
		rules := 0
		switch o := o.Object.(type) {
		case *rbacv1.ClusterRole:
			rules = len(o.Rules)
		case *rbacv1.Role:
			rules = len(o.Rules)
		default:
			continue
		}
		text, err := o.yaml()
		if err != nil {
			t.Fatal(err)
		}
		if n := len(regexp.MustCompile(`(?m)^  # \S.*\n  - `).FindAllString(text, -1)); n != rules {
			t.Errorf("%d of %d rules have a comment:\n%s", n, rules, text)
		}
	}
}

// The leader's table of resources is not exported, so the roles' is held to its source.
func TestObjectsAreThoseTheLeaderReads(t *testing.T) {
	source, err := os.ReadFile("../../agent/collect/kube/kinds.go")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"/pods": true} // podsOf
	for _, m := range regexp.MustCompile(`of\("([a-z0-9.]*)", "([a-z]+)"`).FindAllStringSubmatch(string(source), -1) {
		if m[2] != "secrets" {
			want[m[1]+"/"+m[2]] = true
		}
	}
	if len(want) < 20 {
		t.Fatalf("the test does not find the table: %v", want)
	}
	for _, g := range groups() {
		for _, r := range g.Resources {
			if key := g.APIGroups[0] + "/" + r; !want[key] {
				t.Errorf("%s is granted and not read", key)
			} else {
				delete(want, key)
			}
		}
	}
	for key := range want {
		t.Errorf("%s is read and not granted", key)
	}
}
