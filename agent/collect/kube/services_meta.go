package kube

import (
	"net"
	"strconv"
)

// What Prometheus' discovery of Kubernetes says of a target, by its names:
// prometheus.io, "Configuration", kubernetes_sd_config. Rules of monitors are
// written against them.
const metaPrefix = "__meta_kubernetes_"

// meta collects labels by Prometheus' names. What is empty is left out: to
// Prometheus' rules that is the same.
type meta map[string]string

func (m meta) set(name, value string) {
	if value != "" {
		m[metaPrefix+name] = value
	}
}

// all sets a label for each pair, and one that says that it is there.
func (m meta) all(prefix string, pairs map[string]string) {
	for k, v := range pairs {
		k = snake(k)
		m.set(prefix+"_"+k, v)
		m.set(prefix+"present_"+k, "true")
	}
}

func (m meta) service(s *serviceRecord) {
	m.set("namespace", s.namespace)
	m.set("service_name", s.name)
	m.all("service_label", s.labels)
	m.all("service_annotation", s.annotations)
	m.set("endpoints_name", s.name)
	m.all("endpoints_label", s.labels) // Endpoints get their service's
}

// endpoint sets what is known of an endpoint and its port, under the names for
// Endpoints as well as those for EndpointSlices: the operator's default is the
// former, and rules may be written for either.
func (m meta) endpoint(sl *slice, e *sliceEndpoint, p slicePort) {
	m.set("endpoint_ready", truth(e.ready))
	m.set("endpoint_port_name", p.name)
	m.set("endpoint_port_protocol", p.protocol)
	m.set("endpoint_address_target_kind", e.ref.kind)
	m.set("endpoint_address_target_name", e.ref.name)
	m.set("endpoint_node_name", e.node)
	m.set("endpoint_hostname", e.hostname)

	m.set("endpointslice_name", sl.name)
	m.set("endpointslice_address_type", sl.family)
	m.set("endpointslice_address_target_kind", e.ref.kind)
	m.set("endpointslice_address_target_name", e.ref.name)
	m.set("endpointslice_endpoint_conditions_ready", truth(e.ready))
	m.set("endpointslice_endpoint_conditions_serving", truth(e.serving))
	m.set("endpointslice_endpoint_conditions_terminating", truth(e.terminating))
	m.set("endpointslice_endpoint_hostname", e.hostname)
	m.set("endpointslice_endpoint_node_name", e.node)
	m.set("endpointslice_endpoint_zone", e.zone)
	m.set("endpointslice_port", strconv.Itoa(p.number))
	m.set("endpointslice_port_name", p.name)
	m.set("endpointslice_port_protocol", p.protocol)
	m.set("endpointslice_port_app_protocol", p.app)
}

// pod sets what is known of a pod, and of one of its containers and ports if
// they are not nil.
func (m meta) pod(p *Pod, c *Container, port *Port) {
	m.set("namespace", p.Namespace)
	m.set("pod_name", p.Name)
	m.set("pod_ip", p.IP)
	m.set("pod_ready", truth(p.Ready))
	m.set("pod_phase", p.Phase)
	m.set("pod_node_name", p.Node)
	m.set("pod_host_ip", p.HostIP)
	m.set("pod_uid", p.UID)
	m.set("pod_controller_kind", p.OwnerKind)
	m.set("pod_controller_name", p.OwnerName)
	m.all("pod_label", p.Labels)
	m.all("pod_annotation", p.Annotations)
	if c == nil {
		return
	}
	m.set("pod_container_name", c.Name)
	m.set("pod_container_id", c.ID)
	m.set("pod_container_image", c.Image)
	if port != nil {
		m.set("pod_container_port_name", port.Name)
		m.set("pod_container_port_number", strconv.Itoa(int(port.Number)))
		m.set("pod_container_port_protocol", port.Protocol)
	}
}

// portOf returns the port of that number.
func (c *Container) portOf(number int) *Port {
	if c == nil {
		return nil
	}
	for i := range c.Ports {
		if int(c.Ports[i].Number) == number {
			return &c.Ports[i]
		}
	}
	return nil
}

// address is host:port.
func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
