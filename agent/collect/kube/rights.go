package kube

import (
	"context"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// Right is one verb on one resource, or on one path that is none, that the agent
// needs for a feature.
type Right struct {
	Verb     string
	Group    string
	Resource string // with its subresource behind a slash
	Path     string // instead of Group and Resource

	Namespace string // "": in all of them
	Name      string // of the only object; "": of all

	Leader  bool // only who leads needs it
	Feature string
}

// String names what is asked for: list pods, get leases causeway in monitoring.
func (r Right) String() string {
	s := r.Verb + " " + r.Path
	if r.Path == "" {
		s = r.Verb + " " + r.Resource
		if r.Group != "" {
			s += "." + r.Group
		}
	}
	if r.Name != "" {
		s += " " + r.Name
	}
	if r.Namespace != "" {
		s += " in " + r.Namespace
	}
	return s
}

// Rule is what a role must hold for r.
func (r Right) Rule() string {
	if r.Path != "" {
		return fmt.Sprintf("nonResourceURLs [%q], verbs [%q]", r.Path, r.Verb)
	}
	return fmt.Sprintf("apiGroups [%q], resources [%q], verbs [%q]", r.Group, r.Resource, r.Verb)
}

// Rights returns what this room needs to be allowed; those of t, if it is not
// nil, are for targets. deploy/manifest writes the roles that grant them.
func (k *Kube) Rights(t *TargetsConfig) []Right {
	var all []Right
	add := func(leader bool, feature, group, resource string, verbs ...string) {
		for _, v := range verbs {
			all = append(all, Right{Verb: v, Group: group, Resource: resource, Leader: leader, Feature: feature})
		}
	}
	c := k.conf
	if k.id.Role != "cluster" {
		if c.Pods {
			add(false, "kubernetes.pods", "", "pods", "list", "watch")
		}
		if t != nil && (t.Services || t.Monitors != "false") {
			add(false, "prometheus.services", "", "services", "list", "watch")
			add(false, "prometheus.services", "discovery.k8s.io", "endpointslices", "list", "watch")
			if namespace, _ := k.namespace(); !c.Pods { // to see the other agents, among which targets are shared
				for _, v := range []string{"list", "watch"} {
					all = append(all, Right{Verb: v, Resource: "pods", Namespace: namespace, Feature: "prometheus.services"})
				}
			}
		}
		if t != nil && t.Monitors != "false" {
			for _, resource := range monitorResources {
				if resource != "podmonitors" || c.Pods { // without the node's pods they are of no use
					add(false, "prometheus.monitors", monitorsGroup, resource, "list", "watch")
				}
			}
		}
	}
	if k.cluster.idle() {
		return all
	}
	for _, kind := range k.cluster.kinds {
		add(true, "kubernetes.objects", kind.group, kind.resource, "list", "watch")
	}
	if c.Events != "off" {
		add(true, "kubernetes.events", "", "events", "list", "watch")
	}
	if c.APIServer {
		for _, path := range []string{"/livez", "/metrics", "/readyz"} {
			all = append(all, Right{Verb: "get", Path: path, Leader: true, Feature: "kubernetes.api_server"})
		}
	}
	namespace, _ := k.leaseNamespace() // without one, Cluster says so
	lease := Right{Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace, Feature: "the election of the leader"}
	for _, v := range []string{"get", "update", "create"} {
		lease.Verb, lease.Name = v, c.LeaseName
		if v == "create" {
			lease.Name = "" // cannot be bound to a name: kubernetes.io, "Using RBAC Authorization"
		}
		all = append(all, lease)
	}
	return all
}

// Review asks the API server about each of rights, and calls f with its answer.
// An error that wraps collect.ErrAbsent says that there is no cluster here.
func (k *Kube) Review(ctx context.Context, rights []Right, f func(r Right, allowed bool, reason string)) error {
	rc, err := restConfig(k.conf)
	if err != nil {
		return err
	}
	rc.QPS, rc.Burst = 50, 100 // once, and a person waits
	rc.ContentType, rc.AcceptContentTypes = "application/json", "application/json"
	c, err := authorizationclient.NewForConfig(rc)
	if err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	for _, r := range rights {
		var spec authorizationv1.SelfSubjectAccessReviewSpec
		if r.Path != "" {
			spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: r.Path, Verb: r.Verb}
		} else {
			resource, sub, _ := strings.Cut(r.Resource, "/")
			spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
				Namespace: r.Namespace, Verb: r.Verb, Group: r.Group, Resource: resource, Subresource: sub, Name: r.Name,
			}
		}
		a, err := c.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("ask the API server at %s whether the agent may %v: %w", rc.Host, r, err)
		}
		f(r, a.Status.Allowed, a.Status.Reason)
	}
	return nil
}
