package manifest

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rule is a right, and the feature of agent.yaml that needs it.
type rule struct {
	rbacv1.PolicyRule
	feature string
}

func reading(feature, group string, resources []string, verbs ...string) rule {
	return rule{rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}, feature}
}

// groups are the resources that the leader reads for collect.kubernetes.objects,
// by their API group; agent/collect/kube has the list they must equal.
func groups() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{
			"limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods", "replicationcontrollers",
			"resourcequotas", "serviceaccounts", "services",
		}},
		{APIGroups: []string{"apps"}, Resources: []string{"daemonsets", "deployments", "replicasets", "statefulsets"}},
		{APIGroups: []string{"autoscaling"}, Resources: []string{"horizontalpodautoscalers"}},
		{APIGroups: []string{"batch"}, Resources: []string{"cronjobs", "jobs"}},
		{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}},
		{APIGroups: []string{"networking.k8s.io"}, Resources: []string{"ingresses"}},
		{APIGroups: []string{"policy"}, Resources: []string{"poddisruptionbudgets"}},
		{APIGroups: []string{"storage.k8s.io"}, Resources: []string{"storageclasses"}},
	}
}

// nodeRules are the rights of every agent on a node.
func (p *Plan) nodeRules() []rule {
	var rules []rule
	if p.pods() {
		rules = append(rules, reading("kubernetes.pods: the pods of the agent's own node, for enrichment and their state", "", []string{"pods"}, "list", "watch"))
	}
	if p.scrapesServices() {
		rules = append(rules,
			reading("prometheus.services and monitors: which services are to be scraped", "", []string{"services"}, "list", "watch"),
			reading("prometheus.services and monitors: and where they are", "discovery.k8s.io", []string{"endpointslices"}, "list", "watch"))
	}
	if p.monitors() {
		monitors := []string{"podmonitors", "servicemonitors"}
		if !p.pods() { // a PodMonitor's targets are pods of the node
			monitors = monitors[1:]
		}
		rules = append(rules, reading("prometheus.monitors: what the Prometheus operator's objects name, where the cluster has them",
			"monitoring.coreos.com", monitors, "list", "watch"))
	}
	if p.cfgKubelet() {
		rules = append(rules, reading("containers: the kubelet's /metrics/cadvisor, /metrics/resource, /metrics/probes and /stats/summary",
			"", []string{"nodes/metrics", "nodes/stats"}, "get"))
		if !p.pods() {
			rules = append(rules, reading("containers: the kubelet's /pods, since the API server is not asked about them", "", []string{"nodes/pods"}, "get"))
		}
		if p.cfg.Collect.Containers.Kubelet.AllowProxy {
			rules = append(rules, reading("containers.kubelet.allow_proxy: with this one may run commands in every pod of the node", "", []string{"nodes/proxy"}, "get"))
		}
	}
	return rules
}

// clusterRules are the rights of who leads.
func (p *Plan) clusterRules() []rule {
	if !p.leads() {
		return nil
	}
	var rules []rule
	c := p.cfg.Collect.Kubernetes
	if p.objects() {
		for _, g := range groups() {
			left := slices.DeleteFunc(g.Resources, func(r string) bool { return slices.Contains(c.Exclude, r) })
			if len(left) > 0 {
				rules = append(rules, reading("kubernetes.objects: their state, by the leader alone", g.APIGroups[0], left, "list", "watch"))
			}
		}
		if c.Secrets && !slices.Contains(c.Exclude, "secrets") {
			rules = append(rules, reading("kubernetes.secrets: to count them; this is the right to read them all", "", []string{"secrets"}, "list", "watch"))
		}
	}
	if p.events() {
		rules = append(rules, reading("kubernetes.events: by the leader alone", "", []string{"events"}, "list", "watch"))
	}
	if c.APIServer {
		rules = append(rules, rule{
			rbacv1.PolicyRule{NonResourceURLs: []string{"/livez", "/metrics", "/readyz"}, Verbs: []string{"get"}},
			"kubernetes.api_server: its health and its metrics, by the leader alone",
		})
	}
	return rules
}

// leaseRules are the rights of who stands for election, in the lease's namespace.
func (p *Plan) leaseRules() []rule {
	lease := reading("the election of the leader", "coordination.k8s.io", []string{"leases"}, "get", "update")
	lease.ResourceNames = []string{p.cfg.Collect.Kubernetes.LeaseName}
	// A right to create cannot be bound to a name: kubernetes.io, "Using RBAC Authorization".
	return []rule{lease, reading("the election of the leader: its first lease", "coordination.k8s.io", []string{"leases"}, "create")}
}

// peersRules are the rights of who shares the endpoints of services with other
// agents, in their namespace. Who may watch all pods has them already.
func (p *Plan) peersRules() []rule {
	return []rule{reading("prometheus.services and monitors: the agents on other nodes, so that each target has one", "", []string{"pods"}, "list", "watch")}
}

// leader is the name of the account that stands for election.
func (p *Plan) leader() string {
	if p.standsApart() {
		return p.Name + "-cluster"
	}
	return p.Name
}

// accounts returns the service accounts. No token is mounted but where a pod asks.
func (p *Plan) accounts() []Object {
	account := func(name string) Object {
		no := false
		return Object{Object: &corev1.ServiceAccount{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: p.meta(name), AutomountServiceAccountToken: &no,
		}}
	}
	var all []Object
	if p.onNode() {
		all = append(all, account(p.Name))
	}
	if p.standsApart() {
		all = append(all, account(p.leader()))
	}
	return all
}

// rights returns roles and bindings. A role without a rule is left out.
func (p *Plan) rights() []Object {
	var all []Object
	if p.onNode() {
		all = append(all, p.clusterRole(p.Name+"-node", p.Name, "What the agent of a node may do.", p.nodeRules())...)
	}
	if p.scrapesServices() && !p.pods() {
		all = append(all, p.role(p.Name+"-peers", p.Namespace, p.Name, p.peersRules())...)
	}
	if !p.leads() {
		return all
	}
	all = append(all, p.clusterRole(p.Name+"-cluster", p.leader(), "What the leader may do.", p.clusterRules())...)
	namespace := p.cfg.Collect.Kubernetes.LeaseNamespace
	if namespace == "" {
		namespace = p.Namespace
	}
	return append(all, p.role(p.Name+"-lease", namespace, p.leader(), p.leaseRules())...)
}

// role returns rights in one namespace.
func (p *Plan) role(name, namespace, account string, list []rule) []Object {
	rules, notes := split(list)
	m := p.meta(name)
	m.Namespace = namespace
	return []Object{
		{&rbacv1.Role{TypeMeta: rbac("Role"), ObjectMeta: m, Rules: rules}, "", notes},
		{Object: &rbacv1.RoleBinding{
			TypeMeta: rbac("RoleBinding"), ObjectMeta: m, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects: p.subject(account),
		}},
	}
}

func (p *Plan) clusterRole(name, account, comment string, list []rule) []Object {
	if len(list) == 0 {
		return nil
	}
	rules, notes := split(list)
	m := p.meta(name)
	m.Namespace = ""
	return []Object{
		{&rbacv1.ClusterRole{TypeMeta: rbac("ClusterRole"), ObjectMeta: m, Rules: rules}, comment, notes},
		{Object: &rbacv1.ClusterRoleBinding{
			TypeMeta: rbac("ClusterRoleBinding"), ObjectMeta: m, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
			Subjects: p.subject(account),
		}},
	}
}

func (p *Plan) subject(account string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: p.Namespace}}
}

func split(list []rule) (rules []rbacv1.PolicyRule, notes map[string]string) {
	notes = map[string]string{}
	for i, r := range list {
		rules = append(rules, r.PolicyRule)
		notes[fmt.Sprintf("rules[%d]", i)] = r.feature
	}
	return rules, notes
}

func rbac(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: kind}
}
