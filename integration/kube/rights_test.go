//go:build kube

package kube

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	broken  role   // the one without that right
	kind    string // cluster: the leader's | node | blind: a node's that does not watch the node's pods
	kubelet bool   // there is one to read

	agent *contender
	shop  *shop
}

// right is one thing that a rule allows: a verb on a lease, a path, or a resource.
type right struct{ role, rule, item int }

func forKubelet(item string) bool { return strings.HasPrefix(item, "nodes/") }
func forOthers(item string) bool  { return !forKubelet(item) }

// rights returns those of the rendered roles that are for something.
func rights(roles []role, is func(item string) bool) []right {
	var all []right
	for i, r := range roles {
		for j, rule := range r.Rules {
			for k, item := range *itemsOf(&rule) {
				if is(item) {
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
	case rule.Resources[0] == "leases":
		feature = "lease"
	case item == "pods" && !strings.HasSuffix(r.Name, "-cluster"):
		feature = "own pods"
	}
	*list = slices.Delete(slices.Clone(*list), w.item, w.item+1)
	if len(*list) == 0 {
		r.Rules = slices.Delete(r.Rules, w.rule, w.rule+1)
	}
	return r, feature, says
}

// install renders an installation that has only its rights.
func (a *agent) install(t *testing.T, s *shop, name, kind string) *installation {
	t.Helper()
	in := &installation{name: name, kind: kind, shop: s}
	keys, as := "secrets: true", "--role=all"
	if kind == "blind" {
		keys, as = "pods: false", "--role=node"
	}
	conf := `{version: 1, active: [local], destinations: {local: {type: influxdb, embedded: true}}, collect: {kubernetes: {` + keys + `}}}`
	for doc := range strings.SplitSeq(a.manifest(t, conf, as, "--name="+name, "--namespace="+name), "\n---\n") {
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
	dir := t.TempDir()
	file, tokenFile := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: k, contexts: [{name: k, context: {cluster: k, user: me}}],
 clusters: [{name: k, cluster: {server: %q, certificate-authority: %q}}], users: [{name: me, user: {tokenFile: %q}}]}
`, c.Server, c.CA, tokenFile), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf("kubeconfig: %q, secrets: true, lease_namespace: %s, lease_name: causeway, qps: 100, burst: 100", file, in.name)
	who := "node: somewhere, role: cluster"
	if in.kind != "cluster" { // a role that also has the status
		keys, who = keys+`, objects: "off", events: "off", api_server: false`, "node: node-1, role: auto"
	}
	if in.kind == "blind" {
		keys += ", pods: false"
	}
	if in.feature != "api_server" && in.feature != "" && in.kind == "cluster" { // its answer is megabytes, for each of thirty
		keys += ", api_server: false"
	}
	in.agent = newContender(t, a, in.name, who, keys)
	in.agent.namespace = in.name
	if in.kind != "cluster" {
		in.agent.rewrite(`prometheus: {enabled: "false"}`, `prometheus: {interval: 1s}`)
	}
	if in.kubelet {
		in.agent.rewrite(`containers: {enabled: "false"}`, "containers: "+a.containers("kubelet", tokenFile))
	}
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
	var r room
	until(t, c, fmt.Sprintf("%s to lack %q", in.name, feature), func() (err error) {
		r, err = in.agent.status()
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
		for _, w := range r.Warnings {
			if feature == "" || !strings.Contains(w, in.says) {
				return fmt.Errorf("a warning of %q", w)
			}
		}
		if feature != "" && len(r.Warnings) == 0 {
			return errors.New("no warning")
		}
		if in.kind != "cluster" {
			if (r.Pods != nil) != (in.kind == "node") || r.Pods != nil && r.Pods.Synced != (feature != "own pods") {
				return fmt.Errorf("the pods: %+v", r.Pods)
			}
			if got, want := in.shop.scraped(r), in.scrapes(feature); !slices.Equal(got, want) {
				return fmt.Errorf("scraped are %q, not %q", got, want)
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
	if feature != "" && in.kind != "cluster" {
		t.Logf("%s, %s: scraped are %q; %.230q", in.name, in.kind, in.shop.scraped(r), r.Warnings)
	}
}

// shop is a namespace with something to scrape: a service with an endpoint on
// node-1 and one on another node, which has no agent, a ServiceMonitor that
// selects it, and a PodMonitor that selects a pod on node-1.
type shop struct{ here, elsewhere *url.URL }

// newShop opens one. Its pages are this process's, at an address that may be an endpoint's.
func newShop(t *testing.T, c *Cluster) *shop {
	t.Helper()
	ip := "127.0.0.1"
	addresses, _ := net.InterfaceAddrs()
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			ip = n.IP.String()
		}
	}
	page := func() *url.URL {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "open 1") }))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		t.Cleanup(server.Close)
		u, err := url.Parse(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	s := &shop{page(), page()}
	crds, err := os.ReadFile(filepath.Join("testdata", "monitors.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	apply(t, c, string(crds))
	for _, name := range []string{"servicemonitors", "podmonitors"} {
		wants(t, c, "True", "get", "crd", name+".monitoring.coreos.com", "-o", `jsonpath={.status.conditions[?(@.type=="Established")].status}`)
	}
	slice := func(node string, at *url.URL) string {
		return fmt.Sprintf(`---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-%[1]s, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: metrics, port: %[3]s}]
endpoints: [{addresses: [%[2]s], nodeName: %[1]s}]
`, node, at.Hostname(), at.Port())
	}
	apply(t, c, fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {app: web}, annotations: {prometheus.io/scrape: "true", prometheus.io/path: /service}}
spec: {ports: [{name: metrics, port: 80}]}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, endpoints: [{port: metrics, path: /servicemonitor}]}
---
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: web, namespace: shop}
spec: {selector: {matchLabels: {app: web}}, podMetricsEndpoints: [{portNumber: %s, path: /podmonitor}]}
`, s.here.Port())+slice("node-1", s.here)+slice("node-2", s.elsewhere))
	s.place(t, c, "shop", "web", "app: web")
	return s
}

// place makes a pod that seems to run on node-1, which has no kubelet.
func (s *shop) place(t *testing.T, c *Cluster, namespace, name, label string) {
	t.Helper()
	apply(t, c, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[2]s, namespace: %[1]s, labels: {%[3]s}}
spec:
  nodeName: node-1
  serviceAccountName: %[2]s
  automountServiceAccountToken: false
  containers: [{name: web, image: web, ports: [{name: metrics, containerPort: %[4]s}]}]
`, namespace, name, label, s.here.Port()))
	ip := s.here.Hostname()
	status := fmt.Sprintf(`{"status": {"phase": "Running", "podIP": %q, "podIPs": [{"ip": %q}], "conditions": [{"type": "Ready", "status": "True"}]}}`, ip, ip)
	if _, err := c.Kubectl(t.Context(), "", "-n", namespace, "patch", "pod", name, "--subresource=status", "-p", status); err != nil {
		t.Fatal(err)
	}
}

// scraped returns what an agent scrapes with success, and whether it is elsewhere.
func (s *shop) scraped(r room) []string {
	var all []string
	for _, target := range r.Scrapes.Targets {
		if !target.Up {
			continue
		}
		if u, err := url.Parse(target.URL); err == nil && u.Host == s.elsewhere.Host {
			target.From += " elsewhere"
		}
		all = append(all, target.From)
	}
	slices.Sort(all)
	return all
}

// scrapes is what the agent scrapes in the shop without a right.
func (in *installation) scrapes(without string) []string {
	all := []string{"podmonitor/shop/web/0", "service/shop/web", "service/shop/web elsewhere", "servicemonitor/shop/web/0", "servicemonitor/shop/web/0 elsewhere"}
	return slices.DeleteFunc(all, func(name string) bool {
		ofPods := strings.HasPrefix(name, "podmonitor/")
		switch without {
		case "services", "endpointslices":
			return !ofPods || in.kind == "blind"
		case "servicemonitors":
			return strings.HasPrefix(name, "servicemonitor/") || ofPods && in.kind == "blind"
		case "podmonitors":
			return ofPods
		case "own pods": // nor is it known that the other node has no agent
			return ofPods || strings.HasSuffix(name, " elsewhere")
		}
		return ofPods && in.kind == "blind"
	})
}

// TestEachRightIsNeededAndEnough runs agents whose service accounts have exactly
// the rendered roles: one has all of them and lacks nothing; each other lacks one
// right, its status names that and nothing else, and it recovers by itself when
// the right is given. What the agents of a node scrape says what a right is for.
// The kubelet's rights are TestNode's.
func TestEachRightIsNeededAndEnough(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	shop := newShop(t, c)
	all := []*installation{a.install(t, shop, "whole", "cluster"), a.install(t, shop, "whole-node", "node"), a.install(t, shop, "whole-blind", "blind")}
	whole := len(all)
	less := func(kind string, w right) {
		in := a.install(t, shop, fmt.Sprintf("less-%d", len(all)-whole), kind)
		in.broken, in.feature, in.says = w.without(in.roles)
		in.roles[w.role], in.broken = in.broken, in.roles[w.role] // broken is the whole one from here on
		all = append(all, in)
	}
	for _, w := range rights(all[0].roles, forOthers) {
		kind := "cluster"
		if strings.HasSuffix(all[0].roles[w.role].Name, "-node") {
			kind = "node"
		}
		less(kind, w)
	}
	for _, w := range rights(all[2].roles, forOthers) {
		less("blind", w)
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
	for _, in := range all {
		if in.kind != "cluster" {
			shop.place(t, c, in.name, in.name, "app.kubernetes.io/name: causeway")
		}
	}
	c.stopNamed("kube-controller-manager") // it would say that the node is dead
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
	for _, in := range all[whole:] {
		b.WriteString("---\n" + in.broken.text(t))
	}
	apply(t, c, b.String())
	for _, in := range all {
		in.is(t, c, "")
	}
	want := map[string]int{ // services and endpoint slices are read for three reasons
		"": whole + 2, "lease": 3, "api_server": 1, "events": 1, "own pods": 2, "services": 3, "endpointslices": 3, "servicemonitors": 2, "podmonitors": 1,
	}
	for feature, n := range want {
		if features[feature] != n {
			t.Errorf("%d rights are for %q", features[feature], feature)
		}
	}
	t.Logf("%d rights, %d of which a default API server does not ask for: %v", len(all)-whole, features[""]-whole, features)
}
