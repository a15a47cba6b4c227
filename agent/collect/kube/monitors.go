package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// monitorSpec is the part of a ServiceMonitor's or a PodMonitor's specification
// that we use: prometheus-operator.dev, "API reference", monitoring.coreos.com/v1,
// read 2026-11.
type monitorSpec struct {
	JobLabel          string               `json:"jobLabel"`
	TargetLabels      []string             `json:"targetLabels"`
	PodTargetLabels   []string             `json:"podTargetLabels"`
	Selector          metav1.LabelSelector `json:"selector"`
	NamespaceSelector struct {
		Any        bool     `json:"any"`
		MatchNames []string `json:"matchNames"`
	} `json:"namespaceSelector"`
	SampleLimit    uint64              `json:"sampleLimit"`
	AttachMetadata struct{ Node bool } `json:"attachMetadata"`
	Endpoints      []monitorEndpoint   `json:"endpoints"`
	PodEndpoints   []monitorEndpoint   `json:"podMetricsEndpoints"`
}

type monitorEndpoint struct {
	Port            string              `json:"port"`
	PortNumber      int                 `json:"portNumber"`
	TargetPort      *intstr.IntOrString `json:"targetPort"`
	Path            string              `json:"path"`
	Scheme          string              `json:"scheme"`
	Params          map[string][]string `json:"params"`
	Interval        string              `json:"interval"`
	ScrapeTimeout   string              `json:"scrapeTimeout"`
	HonorLabels     bool                `json:"honorLabels"`
	HonorTimestamps *bool               `json:"honorTimestamps"`
	FilterRunning   *bool               `json:"filterRunning"`
	Relabelings     []monitorRule       `json:"relabelings"`
	MetricRelabel   []monitorRule       `json:"metricRelabelings"`
	BearerTokenFile string              `json:"bearerTokenFile"`
	TLS             *monitorTLS         `json:"tlsConfig"`

	BearerTokenSecret struct{ Name string } `json:"bearerTokenSecret"`
	Authorization     json.RawMessage       `json:"authorization"`
	BasicAuth         json.RawMessage       `json:"basicAuth"`
	OAuth2            json.RawMessage       `json:"oauth2"`
	ProxyURL          string                `json:"proxyUrl"`
}

type monitorTLS struct {
	CA                 objectRefs                  `json:"ca"`
	Cert               objectRefs                  `json:"cert"`
	KeySecret          *struct{ Name, Key string } `json:"keySecret"`
	CAFile             string                      `json:"caFile"`
	CertFile           string                      `json:"certFile"`
	KeyFile            string                      `json:"keyFile"`
	ServerName         string                      `json:"serverName"`
	InsecureSkipVerify bool                        `json:"insecureSkipVerify"`
}

// objectRefs is a reference to a key of a secret or a config map.
type objectRefs struct {
	Secret    *struct{ Name, Key string } `json:"secret"`
	ConfigMap *struct{ Name, Key string } `json:"configMap"`
}

func (r objectRefs) some() bool { return r.Secret != nil || r.ConfigMap != nil }

type monitorRule struct {
	SourceLabels []string `json:"sourceLabels"`
	Separator    *string  `json:"separator"`
	TargetLabel  string   `json:"targetLabel"`
	Regex        string   `json:"regex"`
	Modulus      uint64   `json:"modulus"`
	Replacement  *string  `json:"replacement"`
	Action       string   `json:"action"`
}

// monitor is what is kept of a ServiceMonitor or a PodMonitor.
type monitor struct {
	id              string // servicemonitor/NAMESPACE/NAME
	namespace, name string
	selector        labels.Selector
	anyNamespace    bool
	namespaces      []string
	jobLabel        string
	targetLabels    []string
	podTargetLabels []string
	endpoints       []monitored
	trouble         []string // of the whole
}

// monitored is one entry of a monitor's list of endpoints.
type monitored struct {
	port     string // its name; "" if it is not told by it
	target   intstr.IntOrString
	byTarget bool // the port is told by target: a container's
	finished bool // pods that have run to their end count too
	scheme   string
	path     string
	params   url.Values
	scrape   Scrape
	err      string // why it is not scraped
}

// selects reports whether an object is one of the monitor's.
func (m *monitor) selects(namespace string, set map[string]string) bool {
	return m.selector != nil && (m.anyNamespace || slices.Contains(m.namespaces, namespace)) && m.selector.Matches(labels.Set(set))
}

func newServiceMonitor(o any) (*monitor, bool) { return readMonitor("servicemonitor", o) }
func newPodMonitor(o any) (*monitor, bool)     { return readMonitor("podmonitor", o) }

func readMonitor(sort string, o any) (*monitor, bool) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil, false
	}
	raw, err := json.Marshal(u.Object["spec"])
	if err != nil {
		return nil, false // it came as JSON
	}
	return parseMonitor(sort, u.GetNamespace(), u.GetName(), raw), true
}

// parseMonitor reads a monitor's specification. What is wrong with it is kept
// with it, to be shown.
func parseMonitor(sort, namespace, name string, raw []byte) *monitor {
	m := &monitor{id: sort + "/" + namespace + "/" + name, namespace: namespace, name: name}
	var spec monitorSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		m.trouble = []string{"not as monitoring.coreos.com/v1 has it: " + err.Error()}
		return m
	}
	selector, err := metav1.LabelSelectorAsSelector(&spec.Selector)
	if err != nil {
		m.trouble = []string{"selector: " + err.Error()}
		return m
	}
	m.selector, m.anyNamespace, m.namespaces = selector, spec.NamespaceSelector.Any, spec.NamespaceSelector.MatchNames
	if len(m.namespaces) == 0 {
		m.namespaces = []string{namespace}
	}
	m.jobLabel, m.targetLabels, m.podTargetLabels = spec.JobLabel, spec.TargetLabels, spec.PodTargetLabels
	if spec.AttachMetadata.Node {
		m.trouble = append(m.trouble, "attachMetadata.node: the agent does not read nodes for this; rules find no __meta_kubernetes_node_… labels")
	}
	list := spec.Endpoints
	if sort == "podmonitor" {
		list = spec.PodEndpoints
	}
	for i := range list {
		e := newMonitored(&list[i])
		e.scrape.MaxSamples = int(min(spec.SampleLimit, math.MaxInt32))
		m.endpoints = append(m.endpoints, e)
	}
	return m
}

func newMonitored(e *monitorEndpoint) monitored {
	k := monitored{
		port: e.Port, finished: !at(e.FilterRunning, true), scheme: strings.ToLower(e.Scheme), path: e.Path, params: e.Params,
		scrape: Scrape{HonorLabels: e.HonorLabels, BearerTokenFile: e.BearerTokenFile},
	}
	if e.Port == "" && e.PortNumber != 0 {
		k.byTarget, k.target = true, intstr.FromInt(e.PortNumber)
	} else if e.Port == "" && e.TargetPort != nil {
		k.byTarget, k.target = true, *e.TargetPort
	}
	if e.HonorTimestamps != nil {
		k.scrape.HonorTimestamps = truth(*e.HonorTimestamps)
	}
	if t := e.TLS; t != nil {
		k.scrape.CAFile, k.scrape.CertFile, k.scrape.KeyFile = t.CAFile, t.CertFile, t.KeyFile
		k.scrape.ServerName, k.scrape.SkipVerify = t.ServerName, t.InsecureSkipVerify
	}
	err := errors.Join(e.unsupported(), e.schemeErr(),
		seconds(&k.scrape.Interval, "interval", e.Interval), seconds(&k.scrape.Timeout, "scrapeTimeout", e.ScrapeTimeout),
		rules(&k.scrape.Relabel, "relabelings", e.Relabelings), rules(&k.scrape.MetricRelabel, "metricRelabelings", e.MetricRelabel))
	if err != nil {
		k.err = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return k
}

func (e *monitorEndpoint) schemeErr() error {
	if s := strings.ToLower(e.Scheme); s != "" && s != "http" && s != "https" {
		return fmt.Errorf("scheme: must be http or https, not %q", e.Scheme)
	}
	return nil
}

// tokens is where a monitor's bearerTokenFile must be. Whoever may write
// monitors could otherwise have the agent send them any file of the node.
const tokens = "/var/run/secrets/"

// unsupported returns what the endpoint asks for that the agent does not do. It
// is not scraped then: without its credentials that would only fail.
func (e *monitorEndpoint) unsupported() error {
	var errs []error
	secret := func(asked bool, key string) {
		if asked {
			errs = append(errs, fmt.Errorf("%s: refers to a secret or a config map, which the agent does not read; "+
				"write the target in collect.prometheus.targets with its credentials, or use bearerTokenFile and tlsConfig's files", key))
		}
	}
	given := func(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" && string(raw) != "{}" }
	secret(e.BearerTokenSecret.Name != "", "bearerTokenSecret")
	secret(given(e.Authorization), "authorization")
	secret(given(e.BasicAuth), "basicAuth")
	secret(given(e.OAuth2), "oauth2")
	if t := e.TLS; t != nil {
		secret(t.CA.some() && !t.InsecureSkipVerify, "tlsConfig.ca")
		secret(t.Cert.some(), "tlsConfig.cert")
		secret(t.KeySecret != nil, "tlsConfig.keySecret")
		if (t.CertFile == "") != (t.KeyFile == "") {
			errs = append(errs, errors.New("tlsConfig.certFile: and keyFile belong together"))
		}
	}
	if e.ProxyURL != "" {
		errs = append(errs, errors.New("proxyUrl: the agent scrapes through no proxy"))
	}
	if f := e.BearerTokenFile; f != "" && (!strings.HasPrefix(f, tokens) || filepath.Clean(f) != f) {
		errs = append(errs, fmt.Errorf("bearerTokenFile: must be under %s, not %q", tokens, f))
	}
	return errors.Join(errs...)
}

// seconds reads a duration as Prometheus writes it: 30s, 1m30s, 500ms.
func seconds(into *time.Duration, key, text string) error {
	if text == "" {
		return nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	least := time.Second
	if key == "scrapeTimeout" {
		least = time.Millisecond
	}
	if time.Duration(d) < least || time.Duration(d) > time.Hour {
		return fmt.Errorf("%s: must be between %v and 1h, not %s", key, least, text)
	}
	*into = time.Duration(d)
	return nil
}

// emptyReplacement is one that comes out empty, as no regex has such a group.
// An empty Rule.Replacement is the default one.
const emptyReplacement = "${causeway_no_such_group}"

// rules translates the operator's rules.
func rules(into *[]Rule, key string, list []monitorRule) error {
	for i, r := range list {
		q := Rule{
			Action: strings.ToLower(r.Action), SourceLabels: r.SourceLabels, Separator: at(r.Separator, ""), Regex: r.Regex, Modulus: r.Modulus,
			TargetLabel: r.TargetLabel, Replacement: at(r.Replacement, ""),
		}
		if r.Replacement != nil && *r.Replacement == "" {
			q.Replacement = emptyReplacement
		}
		if r.Separator != nil && *r.Separator == "" && len(r.SourceLabels) > 1 {
			return fmt.Errorf("%s[%d].separator: the agent knows no empty one", key, i)
		}
		*into = append(*into, q)
	}
	return nil
}

// take adds the labels of an object that a monitor takes over, by the names they get.
func (m *monitor) take(into map[string]string, names []string, from map[string]string) {
	for _, n := range names {
		if v := from[n]; v != "" {
			into[snake(n)] = v
		}
	}
}

// Monitors calls f for each entry of each monitor that has endpoints, in the
// order of their names, until f returns false. Endpoints are left out as
// Services does it, except that those that are not ready count, as they do for
// Prometheus. Their labels are what the operator's configuration makes of them
// before the monitor's own rules: job, namespace, service, pod, container, endpoint.
func (t *Targets) Monitors(f func(*Group) bool) {
	if t.conf.Monitors == "false" {
		return
	}
	s := t.scene()
	trouble := map[string][]string{}
	var groups []*Group
	add := func(shelf *shelf[*monitor], endpoints func(*monitor, *monitored) []Endpoint) {
		list, _ := shelf.list()
		for _, m := range list {
			if len(m.trouble) > 0 {
				trouble[m.id] = m.trouble
			}
			for i := range m.endpoints {
				e := &m.endpoints[i]
				g := &Group{Name: fmt.Sprintf("%s/%d", m.id, i), Scheme: e.scheme, Path: e.path, Params: e.params, Scrape: e.scrape}
				if e.err != "" {
					trouble[g.Name] = []string{e.err}
					continue
				}
				g.Endpoints = endpoints(m, e)
				groups = append(groups, g)
			}
		}
	}
	add(t.serviceMonitors, s.ofServices)
	add(t.podMonitors, s.ofPods)
	t.say("monitor", trouble)
	each(groups, f)
}

// ofServices returns the endpoints that one entry of a ServiceMonitor names.
func (s *scene) ofServices(m *monitor, e *monitored) []Endpoint {
	var list []Endpoint
	for _, svc := range s.services {
		if !m.selects(svc.namespace, svc.labels) {
			continue
		}
		for _, sl := range s.of(svc) {
			for i := range sl.endpoints {
				if se := &sl.endpoints[i]; !s.others(se.node) {
					list = s.appendService(list, m, e, svc, sl, se)
				}
			}
		}
	}
	return list
}

func (s *scene) appendService(list []Endpoint, m *monitor, e *monitored, svc *serviceRecord, sl *slice, se *sliceEndpoint) []Endpoint {
	pod := s.pod(se)
	if pod != nil && !e.finished && done(pod) {
		return list
	}
	for _, p := range e.portsOf(sl, pod) {
		l := meta{}
		c := containerAt(pod, p.number)
		l.service(svc)
		l.endpoint(sl, se, p)
		if pod != nil {
			l.pod(pod, c, c.portOf(p.number))
		}
		l["job"], l["namespace"], l["service"] = first(svc.labels[m.jobLabel], svc.name), svc.namespace, svc.name
		switch se.ref.kind {
		case "Pod":
			l["pod"] = se.ref.name
		case "Node":
			l["node"] = se.ref.name
		}
		if c != nil {
			l["container"] = c.Name
		}
		if name := first(e.port, e.targetText()); name != "" {
			l["endpoint"] = name
		}
		m.take(l, m.targetLabels, svc.labels)
		if pod != nil {
			m.take(l, m.podTargetLabels, pod.Labels)
		}
		list = append(list, Endpoint{Address: address(se.address, p.number), Node: se.node, Labels: l, Known: s.endpointLabels(se, pod, c)})
	}
	return list
}

func (e *monitored) targetText() string {
	if !e.byTarget {
		return ""
	}
	return e.target.String()
}

// portsOf returns the ports of an endpoint that the entry names: the service's by
// their name, the pod's by what its containers declare, or else all.
func (e *monitored) portsOf(sl *slice, pod *Pod) []slicePort {
	var list []slicePort
	for _, p := range sl.ports {
		switch {
		case e.port != "" && p.name != e.port:
		case e.byTarget && (e.target.Type != intstr.Int || p.number != e.target.IntValue()):
		default:
			list = append(list, p)
		}
	}
	if !e.byTarget || len(list) > 0 || pod == nil {
		return list
	}
	for _, p := range e.declared(pod) {
		i := slices.IndexFunc(sl.ports, func(o slicePort) bool { return o.number == int(p.port.Number) })
		if i >= 0 {
			list = append(list, sl.ports[i])
		} else {
			list = append(list, slicePort{protocol: p.port.Protocol, number: int(p.port.Number)})
		}
	}
	return list
}

// containerPort is a port that a container declares.
type containerPort struct {
	container *Container
	port      *Port
}

// declared returns the ports of a pod's containers that the entry names.
func (e *monitored) declared(p *Pod) []containerPort {
	var list []containerPort
	for i := range p.Containers {
		c := &p.Containers[i]
		for j := range c.Ports {
			o := &c.Ports[j]
			switch {
			case o.Protocol != "" && o.Protocol != "TCP":
			case e.port != "" && o.Name != e.port:
			case e.byTarget && e.target.Type == intstr.Int && int(o.Number) != e.target.IntValue():
			case e.byTarget && e.target.Type == intstr.String && o.Name != e.target.StrVal:
			default:
				list = append(list, containerPort{c, o})
			}
		}
	}
	return list
}

// done reports whether a pod has run to its end.
func done(p *Pod) bool { return p.Phase == "Succeeded" || p.Phase == "Failed" }

// ofPods returns the endpoints that one entry of a PodMonitor names on this node.
func (s *scene) ofPods(m *monitor, e *monitored) []Endpoint {
	var list []Endpoint
	for _, key := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[key]
		if p.IP == "" || !e.finished && done(p) || p.NoMetrics() || !m.selects(p.Namespace, p.Labels) {
			continue
		}
		for _, o := range e.declared(p) {
			l := meta{}
			l.pod(p, o.container, o.port)
			l["job"] = first(p.Labels[m.jobLabel], m.namespace+"/"+m.name)
			l["namespace"], l["pod"], l["container"] = p.Namespace, p.Name, o.container.Name
			if name := first(e.port, e.targetText()); name != "" {
				l["endpoint"] = name
			}
			m.take(l, m.podTargetLabels, p.Labels)
			se := &sliceEndpoint{node: p.Node, ref: targetRef{"Pod", p.Namespace, p.Name, p.UID}}
			list = append(list, Endpoint{
				Address: address(p.IP, int(o.port.Number)), Node: p.Node, Labels: l, Known: s.endpointLabels(se, p, o.container),
			})
		}
	}
	return list
}
