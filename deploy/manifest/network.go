package manifest

import (
	"net"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// service leads applications to the agent of their own node.
func (p *Plan) service() (Object, bool) {
	if !p.onNode() {
		return Object{}, false
	}
	var ports []corev1.ServicePort
	for _, r := range p.receivers(func(string, string) {}) {
		ports = append(ports, corev1.ServicePort{Name: r.name, Port: r.port, Protocol: r.protocol, TargetPort: intstr.FromString(r.name)})
	}
	if len(ports) == 0 {
		return Object{}, false
	}
	own := corev1.ServiceInternalTrafficPolicyLocal
	return Object{Object: &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: p.meta(p.Name),
		Spec: corev1.ServiceSpec{Selector: p.selector("node"), Ports: ports, InternalTrafficPolicy: &own},
	}, Comment: "Applications send to " + p.Name + "." + p.Namespace + ", which is the agent of their own node."}, true
}

// metadataServers are Google's: the machine's, and what GKE puts before it
// (cloud.google.com/kubernetes-engine/docs/how-to/network-policy, read 2026-11).
func metadataServers() []networkingv1.NetworkPolicyPeer {
	block := func(cidr string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}
	}
	return []networkingv1.NetworkPolicyPeer{block("169.254.169.252/32"), block("169.254.169.254/32")}
}

// networkPolicy lets in what applications send, and out what the agent asks and
// delivers. The node itself, and so probes, always get in.
func (p *Plan) networkPolicy() Object {
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	on := func(protocol *corev1.Protocol, n int32) networkingv1.NetworkPolicyPort {
		v := intstr.FromInt32(n)
		return networkingv1.NetworkPolicyPort{Protocol: protocol, Port: &v}
	}
	var in []networkingv1.NetworkPolicyIngressRule
	if p.onNode() {
		var ports []networkingv1.NetworkPolicyPort
		for _, r := range p.receivers(func(string, string) {}) {
			ports = append(ports, on(&r.protocol, r.port))
		}
		if len(ports) > 0 {
			in = append(in, networkingv1.NetworkPolicyIngressRule{Ports: ports})
		}
	}
	notes := map[string]string{}
	var out []networkingv1.NetworkPolicyEgressRule
	allow := func(why string, r networkingv1.NetworkPolicyEgressRule) {
		notes["spec.egress["+strconv.Itoa(len(out))+"]"] = why
		out = append(out, r)
	}
	allow("names", networkingv1.NetworkPolicyEgressRule{Ports: []networkingv1.NetworkPolicyPort{on(&udp, 53), on(&tcp, 53)}})
	var ports []networkingv1.NetworkPolicyPort
	for _, n := range p.outward() {
		ports = append(ports, on(&tcp, n))
	}
	allow("the API server, the kubelet, the destinations", networkingv1.NetworkPolicyEgressRule{Ports: ports})
	allow("the cloud's metadata server", networkingv1.NetworkPolicyEgressRule{
		To: metadataServers(), Ports: []networkingv1.NetworkPolicyPort{on(&tcp, 80), on(&tcp, 988), on(&tcp, 8080)},
	})
	if p.scrapesServices() || p.scrapes() && p.cfg.Collect.Prometheus.Annotations {
		allow("prometheus.annotations, services and monitors: pods, on the ports they name", networkingv1.NetworkPolicyEgressRule{
			To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}, Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp}},
		})
	}
	labels := p.selector("")
	delete(labels, "app.kubernetes.io/component")
	return Object{Object: &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: p.meta(p.Name),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: labels},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     in, Egress: out,
		},
	}, Comment: "In: what applications send. The console and the agent's own metrics are reached by kubectl port-forward.", Notes: notes}
}

// outward are the ports that the agent connects to, sorted: those of the API
// server, of the kubelet, of the destinations, of the fixed targets and of probes.
func (p *Plan) outward() []int32 {
	ports := []int32{443, 6443}
	add := func(address string) {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || local(u.Hostname()) {
			return
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		if n, err := strconv.ParseInt(port, 10, 32); err == nil {
			ports = append(ports, int32(n))
		}
	}
	if p.onNode() && p.cfgKubelet() {
		add("https://" + net.JoinHostPort("node", "10250"))
		add(p.cfg.Collect.Containers.Kubelet.URL)
	}
	for _, d := range p.cfg.Destinations { // active or not: changing vendor is changing one line of agent.yaml
		add(d.ProxyURL.Reveal())
		switch d.Type {
		case "influxdb":
			if !d.Influx.Embedded {
				add(d.Influx.URL)
			}
		case "datadog":
			add(d.Datadog.URL)
		case "newrelic":
			add(d.NewRelic.URL)
		}
	}
	if p.scrapes() {
		for _, t := range p.cfg.Collect.Prometheus.Targets {
			add(t.URL)
		}
	}
	for _, t := range p.cfg.Collect.Probes {
		if p.onNode() {
			add(t.URL)
			add("tcp://" + t.Address)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
