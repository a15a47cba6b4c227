package kube

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Group is what one object names to be scraped: endpoints that are scraped alike.
type Group struct {
	Name      string // service/NAMESPACE/NAME, servicemonitor/NAMESPACE/NAME/INDEX, podmonitor/…
	Scheme    string // http if empty
	Path      string // /metrics if empty
	Params    url.Values
	Scrape    Scrape
	Endpoints []Endpoint
}

// Scrape is how the endpoints of a group are scraped. What is zero is left to
// the configuration.
type Scrape struct {
	Interval, Timeout time.Duration
	MaxSamples        int
	HonorLabels       bool
	HonorTimestamps   string // "", true, false
	BearerTokenFile   string
	CAFile            string
	CertFile, KeyFile string
	ServerName        string
	SkipVerify        bool
	Relabel           []Rule // of the endpoint's labels
	MetricRelabel     []Rule // of each series
}

// Rule is one of Prometheus' relabelling rules; what is empty is the default.
type Rule struct {
	Action       string
	SourceLabels []string
	Separator    string
	Regex        string
	Modulus      uint64
	TargetLabel  string
	Replacement  string
}

// Endpoint is one target of a group.
type Endpoint struct {
	Address string            // host:port
	Node    string            // where it runs, if that is known
	Labels  map[string]string // by Prometheus' names, __meta_kubernetes_… among them
	Known   string            // flat label set of ours
}

// Annotations of services that are honoured: those of pods.
const (
	annotationScrape   = "prometheus.io/scrape"
	annotationPort     = "prometheus.io/port"
	annotationPath     = "prometheus.io/path"
	annotationScheme   = "prometheus.io/scheme"
	annotationInterval = "prometheus.io/interval"
)

// serviceRecord is what is kept of a service.
type serviceRecord struct {
	namespace, name     string
	family              string // that of its first address: IPv4, IPv6, or "" for none
	labels, annotations map[string]string
}

// annotated reports whether the service asks to be scraped.
func (s *serviceRecord) annotated() bool {
	return s.annotations[annotationScrape] == "true" && !isFalse(s.annotations[metricsAnnotation])
}

func (t *Targets) newService(o any) (*serviceRecord, bool) {
	svc, ok := o.(*corev1.Service)
	if !ok {
		return nil, false
	}
	s := &serviceRecord{namespace: svc.Namespace, name: svc.Name, labels: svc.Labels}
	for k, v := range svc.Annotations {
		if !unused(k) {
			if s.annotations == nil {
				s.annotations = make(map[string]string, len(svc.Annotations))
			}
			s.annotations[k] = v
		}
	}
	if len(svc.Spec.IPFamilies) > 0 {
		s.family = string(svc.Spec.IPFamilies[0])
	}
	return s, s.annotated() || t.all.Load()
}

// slice is what is kept of an endpoint slice.
type slice struct {
	namespace, name string
	service         string
	family          string // IPv4, IPv6, FQDN
	ports           []slicePort
	endpoints       []sliceEndpoint
}

type slicePort struct {
	name, protocol, app string
	number              int
}

type sliceEndpoint struct {
	address, hostname, node, zone string
	ref                           targetRef
	ready, serving, terminating   bool
}

// targetRef is the object behind an endpoint: a pod, if any.
type targetRef struct{ kind, namespace, name, uid string }

func (t *Targets) newSlice(o any) (*slice, bool) {
	es, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, false
	}
	s := &slice{namespace: es.Namespace, name: es.Name, service: es.Labels[discoveryv1.LabelServiceName], family: string(es.AddressType)}
	if w := t.wanted.Load(); w == nil || !(*w)[s.namespace+"/"+s.service] {
		return nil, false
	}
	for _, p := range es.Ports {
		if p.Port == nil || at(p.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
			continue
		}
		s.ports = append(s.ports, slicePort{at(p.Name, ""), string(at(p.Protocol, corev1.ProtocolTCP)), at(p.AppProtocol, ""), int(*p.Port)})
	}
	for _, e := range es.Endpoints {
		if len(e.Addresses) == 0 {
			continue
		}
		// Addresses beyond the first have no meaning, and a condition that is not
		// stated is the good one: the type's comments.
		k := sliceEndpoint{
			address: e.Addresses[0], hostname: at(e.Hostname, ""), node: at(e.NodeName, ""), zone: at(e.Zone, ""),
			ready: at(e.Conditions.Ready, true), terminating: at(e.Conditions.Terminating, false),
		}
		k.serving = at(e.Conditions.Serving, k.ready)
		if r := e.TargetRef; r != nil {
			k.ref = targetRef{r.Kind, first(r.Namespace, es.Namespace), r.Name, string(r.UID)}
		}
		s.endpoints = append(s.endpoints, k)
	}
	return s, true
}

// at is what p points at, or def.
func at[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// scene is what is known of the cluster at one moment.
type scene struct {
	self     string
	alive    map[string]bool // nodes that have an agent
	known    bool            // alive can be relied upon
	pods     map[string]*Pod // of this node, by namespace/name
	services []*serviceRecord
	slices   map[string][]*slice // by namespace/name of the service
}

func (t *Targets) scene() *scene {
	s := &scene{self: t.k.id.Node, pods: map[string]*Pod{}, slices: map[string][]*slice{}}
	s.alive, s.known = t.alive()
	t.k.pods.Each(func(p *Pod) bool {
		s.pods[p.Namespace+"/"+p.Name] = p
		return true
	})
	s.services, _ = t.services.list()
	list, _ := t.slices.list()
	for _, sl := range list {
		key := sl.namespace + "/" + sl.service
		s.slices[key] = append(s.slices[key], sl)
	}
	return s
}

// others reports whether what runs on node is certainly not ours to scrape:
// another agent is there, or may be.
func (s *scene) others(node string) bool {
	return node != s.self && (!s.known || s.alive[node])
}

// of returns the slices of a service. One with addresses of both families has
// each pod twice: those of its first family count.
func (s *scene) of(svc *serviceRecord) []*slice {
	list := s.slices[svc.namespace+"/"+svc.name]
	second := func(sl *slice) bool { return sl.family != svc.family }
	if !slices.ContainsFunc(list, func(sl *slice) bool { return !second(sl) }) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), second)
}

// Services calls f for each service that asks to be scraped by its annotations,
// in the order of their names, until f returns false. Of their endpoints those
// are left out that are not ready or that another agent has on its node, and,
// as long as the other agents are not known, all that are not on this node.
func (t *Targets) Services(f func(*Group) bool) {
	if !t.conf.Services {
		return
	}
	s := t.scene()
	trouble := map[string][]string{}
	var groups []*Group
	for _, svc := range s.services {
		if !svc.annotated() {
			continue
		}
		g, err := s.annotatedGroup(svc)
		if err != nil {
			trouble[g.Name] = []string{err.Error()}
		}
		groups = append(groups, g)
	}
	t.say("service", trouble)
	each(groups, f)
}

func (t *Targets) say(sort string, trouble map[string][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trouble[sort] = trouble
}

// each calls f for those of groups that have endpoints.
func each(groups []*Group, f func(*Group) bool) {
	for _, g := range groups {
		if len(g.Endpoints) > 0 && !f(g) {
			return
		}
	}
}

// annotatedGroup is what a service's annotations name.
func (s *scene) annotatedGroup(svc *serviceRecord) (*Group, error) {
	a := svc.annotations
	g := &Group{Name: "service/" + svc.namespace + "/" + svc.name, Scheme: a[annotationScheme]}
	if g.Scheme != "" && g.Scheme != "http" && g.Scheme != "https" {
		return g, fmt.Errorf("annotation %s must be http or https, not %q", annotationScheme, g.Scheme)
	}
	if text := a[annotationInterval]; text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second || d > time.Hour {
			return g, fmt.Errorf("annotation %s must be between 1s and 1h, not %q", annotationInterval, text)
		}
		g.Scrape.Interval = d
	}
	path, query, _ := strings.Cut(a[annotationPath], "?")
	g.Path = path
	var err error
	if g.Params, err = url.ParseQuery(query); err != nil {
		return g, fmt.Errorf("annotation %s: %w", annotationPath, err)
	}
	for _, sl := range s.of(svc) {
		p, perr := sl.annotatedPort(a[annotationPort])
		if perr != nil {
			err = perr
			continue
		}
		for i := range sl.endpoints {
			e := &sl.endpoints[i]
			if !e.ready || s.others(e.node) {
				continue
			}
			pod := s.pod(e)
			g.Endpoints = append(g.Endpoints, Endpoint{
				Address: address(e.address, p.number), Node: e.node,
				Known: s.endpointLabels(e, pod, containerAt(pod, p.number), signal.LabelKubeService, svc.name),
			})
		}
	}
	return g, err
}

// annotatedPort is the annotated port, by its number on the pods or its name;
// else the one that is called after metrics, else the first.
func (sl *slice) annotatedPort(text string) (slicePort, error) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 {
		return slicePort{number: int(n)}, nil
	}
	for _, p := range sl.ports {
		if text != "" && p.name == text || text == "" && strings.Contains(p.name, "metrics") {
			return p, nil
		}
	}
	switch {
	case text != "":
		return slicePort{}, fmt.Errorf("annotation %s: %q is no port of it", annotationPort, text)
	case len(sl.ports) == 0:
		return slicePort{}, fmt.Errorf("it has no port: set annotation %s", annotationPort)
	}
	return sl.ports[0], nil
}

// pod is the pod behind an endpoint, if it is on this node and known.
func (s *scene) pod(e *sliceEndpoint) *Pod {
	if e.ref.kind != "Pod" {
		return nil
	}
	p := s.pods[e.ref.namespace+"/"+e.ref.name]
	if p == nil || e.ref.uid != "" && p.UID != e.ref.uid {
		return nil
	}
	return p
}

// containerAt returns which container of a pod declares a port, nil if none does.
func containerAt(p *Pod, number int) *Container {
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		for _, o := range p.Containers[i].Ports {
			if int(o.Number) == number {
				return &p.Containers[i]
			}
		}
	}
	return nil
}

// endpointLabels is what our own labels say of an endpoint; more are further pairs.
// Host, node and zone are among them where the endpoint is on no node, or on one
// without an agent: its series must not change with who scrapes it, and would if
// the hub put its own node there.
func (s *scene) endpointLabels(e *sliceEndpoint, p *Pod, c *Container, more ...string) string {
	if e.ref.kind == "Pod" {
		more = append(more, signal.LabelPodUID, e.ref.uid, signal.LabelPod, e.ref.name, signal.LabelNamespace, e.ref.namespace)
	}
	if p != nil {
		more = append(more, signal.LabelPodUID, p.UID)
	}
	if c != nil {
		more = append(more, signal.LabelK8sContainer, c.Name)
	}
	set := signal.Labels(more...)
	if e.node == s.self && e.node != "" {
		return set
	}
	var where []byte
	for _, l := range [][2]string{{signal.LabelHost, e.node}, {signal.LabelHostID, ""}, {signal.LabelNode, e.node}, {signal.LabelCloudZone, e.zone}} {
		where = signal.AppendLabel(where, l[0], l[1])
	}
	return signal.Merge(signal.Sorted(string(where)), set)
}
