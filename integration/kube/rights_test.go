//go:build kube

package kube

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// role is a Role or ClusterRole as it is rendered.
type role struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Rules             []rbacv1.PolicyRule `json:"rules"`
}

func (r role) text(t *testing.T) string {
	t.Helper()
	text, err := yaml.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// installation is what the renderer prints about rights under one name, and an
// agent that has no other.
type installation struct {
	name    string
	feature string // that one right is for, by the words of room.wrong; "" where none is missing
	says    string // what status must say is missing
	rest    string // accounts and bindings
	roles   []role
	broken  role // the one without that right
	kind    string

	agent *contender
}

// right is one thing that a rule allows: a verb on a lease, a path, or a resource.
type right struct{ role, rule, item int }

// rights returns those of the rendered roles that matter without a kubelet.
func rights(roles []role) []right {
	var all []right
	for i, r := range roles {
		for j, rule := range r.Rules {
			for k, item := range *itemsOf(&rule) {
				if !strings.HasPrefix(item, "nodes/") { // TestNode has a kubelet
					all = append(all, right{i, j, k})
				}
			}
		}
	}
	return all
}

// itemsOf is the list of a rule whose items are rights of their own.
func itemsOf(r *rbacv1.PolicyRule) *[]string {
	switch {
	case len(r.NonResourceURLs) > 0:
		return &r.NonResourceURLs
	case r.Resources[0] == "leases":
		return &r.Verbs
	}
	return &r.Resources
}

// without returns the roles' one that loses a right, what feature that is, and
// what status must name.
func (w right) without(roles []role) (broken role, feature, says string) {
	r := roles[w.role]
	r.Rules = slices.Clone(r.Rules)
	rule := &r.Rules[w.rule]
	list := itemsOf(rule)
	item := (*list)[w.item]
	feature, says = item, fmt.Sprintf("[%q]", item)
	switch {
	case item == "/livez" || item == "/readyz":
		feature = "" // an API server answers these to everybody, unless --authorization-always-allow-paths says otherwise
	case len(rule.NonResourceURLs) > 0:
		feature = "api_server"
	case r.Kind == "Role":
		feature = "lease"
	case strings.HasSuffix(r.Name, "-node"):
		feature = "own pods"
	}
	*list = slices.Delete(slices.Clone(*list), w.item, w.item+1)
	if len(*list) == 0 {
		r.Rules = slices.Delete(r.Rules, w.rule, w.rule+1)
	}
	return r, feature, says
}

// install renders an installation that has only its rights.
func (a *agent) install(t *testing.T, name string) *installation {
	t.Helper()
	in := &installation{name: name, kind: "cluster"}
	const conf = `{version: 1, active: [local], destinations: {local: {type: influxdb, embedded: true}},
 collect: {prometheus: {enabled: "false"}, kubernetes: {secrets: true}}}`
	for doc := range strings.SplitSeq(a.manifest(t, conf, "--role=all", "--name="+name, "--namespace="+name), "\n---\n") {
		var r role
		if err := yaml.Unmarshal([]byte(doc), &r); err != nil {
			t.Fatal(err)
		}
		switch r.Kind {
		case "Role", "ClusterRole":
			in.roles = append(in.roles, r)
		case "Namespace", "ServiceAccount", "RoleBinding", "ClusterRoleBinding":
			in.rest += "---\n" + doc + "\n"
		}
	}
	return in
}

// start starts the agent with its service account's token for its only right.
func (in *installation) start(t *testing.T, c *Cluster, a *agent) {
	t.Helper()
	account := in.name
	if in.kind == "cluster" {
		account += "-cluster"
	}
	token, err := c.Kubectl(t.Context(), "", "-n", in.name, "create", "token", account)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: k, contexts: [{name: k, context: {cluster: k, user: me}}],
 clusters: [{name: k, cluster: {server: %q, certificate-authority: %q}}], users: [{name: me, user: {token: %s}}]}
`, c.Server, c.CA, token), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf("kubeconfig: %q, secrets: true, lease_namespace: %s, lease_name: causeway, qps: 100, burst: 100", file, in.name)
	who := "node: somewhere, role: cluster"
	if in.kind == "node" { // a role that also has the status
		keys, who = keys+`, objects: "off", events: "off", api_server: false`, "node: node-1, role: auto"
	}
	if in.feature != "api_server" && in.feature != "" && in.kind == "cluster" { // its answer is megabytes, for each of thirty
		keys += ", api_server: false"
	}
	in.agent = newContender(t, a, in.name, who, keys)
	in.agent.start()
}

// is waits until status names the missing feature and no other, and all others
// are there. Nothing is missing where feature is "".
func (in *installation) is(t *testing.T, c *Cluster, feature string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			roles, _ := c.Kubectl(t.Context(), "", "get", "clusterroles", in.name+"-node", in.name+"-cluster", "-o", "jsonpath={.items[*].rules}")
			t.Logf("its roles:\n%s\nthe agent says:\n%s", roles, in.agent.said)
		}
	}()
	until(t, c, fmt.Sprintf("%s to lack %q", in.name, feature), func() error {
		r, err := in.agent.status()
		if err != nil {
			return err
		}
		wrong := r.wrong()
		if keys := slices.Sorted(maps.Keys(wrong)); len(keys) > 1 || feature == "" && len(keys) > 0 || feature != "" && wrong[feature] == "" {
			return fmt.Errorf("wrong are %q", wrong)
		}
		if feature != "" && (!strings.Contains(wrong[feature], "forbidden; a rule of") || !strings.Contains(wrong[feature], in.says)) {
			t.Errorf("%s: status does not say that %s is missing: %s", in.name, in.says, wrong[feature])
		}
		if in.kind == "node" {
			if r.Pods == nil || r.Pods.Synced != (feature == "") {
				return fmt.Errorf("the pods: %+v", r.Pods)
			}
			return nil
		}
		if r.Leading != (feature != "lease") {
			return fmt.Errorf("leading: %v", r.Leading)
		}
		if r.Leading && (len(r.Resources) < 22 || r.Events == nil || feature != "events" && r.Events.Relists == 0) {
			return fmt.Errorf("%d resources, events %+v", len(r.Resources), r.Events)
		}
		for _, k := range r.Resources {
			if k.Synced != (k.Resource != feature) {
				return fmt.Errorf("%s: synced is %v", k.Resource, k.Synced)
			}
		}
		return nil
	})
}

// TestEachRightIsNeededAndEnough runs agents whose service accounts have exactly
// the rendered roles: one has all of them and lacks nothing; each other lacks one
// right, its status names that and nothing else, and it recovers by itself when
// the right is given. The kubelet's rights are TestNode's.
func TestEachRightIsNeededAndEnough(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	whole := a.install(t, "whole")
	all := []*installation{whole}
	for i, w := range rights(whole.roles) {
		in := a.install(t, fmt.Sprintf("less-%d", i))
		in.broken, in.feature, in.says = w.without(in.roles)
		in.roles[w.role], in.broken = in.broken, in.roles[w.role] // broken is the whole one from here on
		if in.feature == "own pods" {
			in.kind = "node"
		}
		all = append(all, in)
	}
	var b strings.Builder
	for _, in := range all {
		b.WriteString(in.rest)
		for _, r := range in.roles {
			b.WriteString("---\n" + r.text(t))
		}
		if in.feature == "lease" && in.says != `["create"]` { // that is needed once
			fmt.Fprintf(&b, "---\n{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: causeway, namespace: %s}}\n", in.name)
		}
	}
	apply(t, c, b.String())
	t.Cleanup(func() {
		for _, in := range all {
			if in.agent != nil && in.agent.cmd != nil {
				in.agent.kill()
			}
		}
	})
	for _, in := range all {
		in.start(t, c, a)
	}
	features := map[string]int{}
	for _, in := range all {
		in.is(t, c, in.feature)
		features[in.feature]++
	}
	b.Reset()
	for _, in := range all[1:] {
		b.WriteString("---\n" + in.broken.text(t))
	}
	apply(t, c, b.String())
	for _, in := range all {
		in.is(t, c, "")
	}
	if features["lease"] != 3 || features["api_server"] != 1 || features[""] != 3 || features["events"] != 1 || features["own pods"] != 1 {
		t.Errorf("rights of each feature: %v", features)
	}
	t.Logf("%d rights, %d of which a default API server does not ask for", len(all)-1, features[""]-1)
}
