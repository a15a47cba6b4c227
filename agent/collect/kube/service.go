package kube

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

// service says too what there is to say of the Endpoints of its name, which
// the API server keeps for old clients only: they are made together, and the
// endpoints get the service's labels.
func service(r *rows, o *corev1.Service) {
	r.of("service", o.Namespace, signal.LabelKubeService, o.Name)
	uid := string(o.UID)
	r.at("kube_service_created", o.CreationTimestamp, "uid", uid)
	r.holds("kube_service_info", "uid", uid, "cluster_ip", o.Spec.ClusterIP, "external_name", o.Spec.ExternalName,
		"external_traffic_policy", string(o.Spec.ExternalTrafficPolicy), "load_balancer_ip", o.Spec.LoadBalancerIP)
	r.holds("kube_service_spec_type", "uid", uid, "type", string(o.Spec.Type))
	for _, ip := range o.Spec.ExternalIPs {
		r.holds("kube_service_spec_external_ip", "uid", uid, "external_ip", ip)
	}
	for _, i := range o.Status.LoadBalancer.Ingress {
		r.holds("kube_service_status_load_balancer_ingress", "uid", uid, "ip", i.IP, "hostname", i.Hostname)
	}
	r.own("service", o.ObjectMeta)
	if o.Spec.Type != corev1.ServiceTypeExternalName {
		r.id = signal.Labels(signal.LabelNamespace, o.Namespace, signal.LabelEndpoint, o.Name)
		r.at("kube_endpoint_created", o.CreationTimestamp)
		r.own("endpoint", o.ObjectMeta)
	}
}

// endpointSlice counts a service's addresses; a large service has several
// slices. The addresses themselves are a series each only where the
// configuration asks for it: a cluster has as many as pods.
func endpointSlice(r *rows, o *discoveryv1.EndpointSlice) {
	r.of("endpointslice", o.Namespace)
	name := o.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return
	}
	r.id = signal.Labels(signal.LabelNamespace, o.Namespace, signal.LabelEndpoint, name)
	ready, notReady := 0, 0
	for _, e := range o.Endpoints {
		// What does not say is to be taken as ready: the type's comment.
		isReady := e.Conditions.Ready == nil || *e.Conditions.Ready
		if isReady {
			ready += len(e.Addresses)
		} else {
			notReady += len(e.Addresses)
		}
		if r.addresses {
			r.endpoint(o, e, isReady)
		}
	}
	pairs := []string{signal.LabelNamespace, o.Namespace, signal.LabelEndpoint, name}
	r.sum("kube_endpoint_address_available", "1", float64(ready), pairs...)
	r.sum("kube_endpoint_address_not_ready", "1", float64(notReady), pairs...)
}

// endpoint adds an address of a service, once per port.
func (r *rows) endpoint(o *discoveryv1.EndpointSlice, e discoveryv1.Endpoint, ready bool) {
	for _, ip := range e.Addresses {
		for _, p := range o.Ports {
			name, protocol, number := "", "", ""
			if p.Name != nil {
				name = *p.Name
			}
			if p.Protocol != nil {
				protocol = string(*p.Protocol)
			}
			if p.Port != nil {
				number = strconv.Itoa(int(*p.Port))
			}
			r.holds("kube_endpoint_address", "ip", ip, "port_name", name, "port_protocol", protocol, "port_number", number, "ready", truth(ready))
		}
	}
}

func ingress(r *rows, o *networkingv1.Ingress) {
	r.of("ingress", o.Namespace, signal.LabelIngress, o.Name)
	r.at("kube_ingress_created", o.CreationTimestamp)
	class := ""
	if o.Spec.IngressClassName != nil {
		class = *o.Spec.IngressClassName
	}
	r.holds("kube_ingress_info", "ingressclass", class)
	for _, rule := range o.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			pairs := []string{"host", rule.Host, "path", p.Path}
			if p.PathType != nil {
				pairs = append(pairs, "path_type", string(*p.PathType))
			}
			if s := p.Backend.Service; s != nil {
				port := s.Port.Name
				if port == "" {
					port = strconv.Itoa(int(s.Port.Number))
				}
				pairs = append(pairs, "service_name", s.Name, "service_port", port)
			}
			if res := p.Backend.Resource; res != nil {
				group := ""
				if res.APIGroup != nil {
					group = *res.APIGroup
				}
				pairs = append(pairs, "resource_api_group", group, "resource_kind", res.Kind, "resource_name", res.Name)
			}
			r.holds("kube_ingress_path", pairs...)
		}
	}
	for _, t := range o.Spec.TLS {
		for _, host := range t.Hosts {
			r.holds("kube_ingress_tls", "tls_host", host, "secret", t.SecretName)
		}
	}
	r.own("ingress", o.ObjectMeta)
}
