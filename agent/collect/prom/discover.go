package prom

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Pods are the pods of this node.
type Pods interface {
	// Each calls f for every pod until it returns false.
	Each(f func(Pod) bool)
	// Version changes whenever Each may yield something else.
	Version() uint64
}

// Pod is what is known of one pod.
type Pod struct {
	Namespace, Name, UID string
	Node                 string
	IP                   string
	Phase                string // Pending, Running, Succeeded, Failed, Unknown
	Labels, Annotations  map[string]string
	Ports                []Port
}

// Port is one that a container declares.
type Port struct {
	Name      string
	Container string
	Number    int
}

// Groups are targets that objects of the cluster name: services, or
// ServiceMonitor and PodMonitor objects.
type Groups interface {
	// Each calls f for every group until it returns false.
	Each(f func(Group) bool)
	// Version changes whenever Each may yield something else.
	Version() uint64
}

// Group is what one object names: endpoints that are scraped alike.
type Group struct {
	Name      string // servicemonitor/NAMESPACE/NAME, for people
	Scheme    string // http if empty
	Path      string // /metrics if empty
	Params    url.Values
	Scrape    Target // how; its URL is not used
	Endpoints []Endpoint
}

// Endpoint is one target of a group.
type Endpoint struct {
	Address string            // host:port
	Node    string            // where it runs, if that is known
	Labels  map[string]string // by Prometheus' names: rules see all, the target keeps those that do not begin with __
	Known   string            // flat label set of ours: pod uid, namespace
}

// Peers are the agents that are alive.
type Peers interface {
	// Peers returns their names, which are names of nodes, our own included. None
	// means that we are alone.
	Peers() []string
}

// Annotations that are honoured. The first five are what most charts set.
const (
	annotationScrape   = "prometheus.io/scrape"
	annotationPort     = "prometheus.io/port"
	annotationPath     = "prometheus.io/path"
	annotationScheme   = "prometheus.io/scheme"
	annotationInterval = "prometheus.io/interval"
	annotationOurs     = "causeway.dev/metrics" // "false": leave this pod alone
)

// spec is one target, resolved: everything a scrape needs to know.
type spec struct {
	from            string // where it comes from, for people
	url             string
	labels          string // flat
	interval        time.Duration
	timeout         time.Duration
	maxSamples      int
	maxBody         int64
	honorLabels     bool
	honorTimestamps bool
	native          string
	gzip            bool
	rules           []Rule
	headers         []Header
	token           string // file
	basic           Basic
	tls             TLS
}

// discover returns all targets by URL, and what is not scraped and why. Of two
// with one URL the configuration's counts more than a monitor's, that more than
// a pod's annotations, and those more than a service's.
func (s *Source) discover(peers []string) (map[string]*spec, []string) {
	specs := map[string]*spec{}
	var excluded []string
	add := func(sp *spec, err error) {
		if err != nil {
			excluded = append(excluded, err.Error())
		} else if sp != nil && specs[sp.url] == nil {
			specs[sp.url] = sp
		}
	}
	for _, t := range s.conf.Targets {
		add(s.static(t))
	}
	if s.from.Monitors != nil && s.conf.Monitors != "false" {
		s.groups(s.from.Monitors, peers, add)
	}
	if s.from.Pods != nil && s.conf.Annotations {
		s.from.Pods.Each(func(p Pod) bool {
			add(s.pod(p))
			return true
		})
	}
	if s.from.Services != nil && s.conf.Services {
		s.groups(s.from.Services, peers, add)
	}
	return specs, excluded
}

func (s *Source) groups(from Groups, peers []string, add func(*spec, error)) {
	from.Each(func(g Group) bool {
		for _, e := range g.Endpoints {
			if s.ours(e, peers) {
				add(s.endpoint(g, e))
			}
		}
		return true
	})
}

// ours reports whether this agent is the one that scrapes e: the one on its
// node, where there is one, else the one with the highest score.
func (s *Source) ours(e Endpoint, peers []string) bool {
	if len(peers) == 0 {
		return true
	}
	if e.Node != "" && slices.Contains(peers, e.Node) {
		return e.Node == s.from.Self
	}
	return slices.MaxFunc(peers, func(a, b string) int {
		return cmp.Or(cmp.Compare(score(a, e.Address), score(b, e.Address)), strings.Compare(a, b))
	}) == s.from.Self
}

// score is the rendezvous hash of an agent and a target.
func score(peer, address string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(peer))
	h.Write([]byte{0})
	h.Write([]byte(address))
	v := h.Sum64() // FNV's high bits hardly depend on the last bytes: mix (Murmur3's finalizer)
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	return v ^ v>>33
}

// static is a target of the configuration.
func (s *Source) static(t Target) (*spec, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		panic("BUG: a Config that was not checked: " + err.Error())
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/metrics"
	}
	return s.resolve("configuration", t, u.Scheme, u.Host, path, u.Query(), nil, "")
}

func (s *Source) endpoint(g Group, e Endpoint) (*spec, error) {
	sp, err := s.resolve(g.Name, g.Scrape, cmp.Or(g.Scheme, "http"), e.Address, cmp.Or(g.Path, "/metrics"), g.Params, e.Labels, e.Known)
	if sp != nil && s.conf.Compression == "auto" && e.Node != "" && e.Node == s.from.Self {
		sp.gzip = false
	}
	return sp, err
}

// pod is the target that a pod's annotations name, nil if they name none.
func (s *Source) pod(p Pod) (*spec, error) {
	a := p.Annotations
	if a[annotationScrape] != "true" || a[annotationOurs] == "false" || p.Phase != "Running" || p.IP == "" {
		return nil, nil
	}
	name := "pod/" + p.Namespace + "/" + p.Name
	port, err := podPort(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	scheme := cmp.Or(a[annotationScheme], "http")
	if scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("%s: annotation %s must be http or https, not %q", name, annotationScheme, scheme)
	}
	t := Target{TLS: s.conf.TLS}
	if text := a[annotationInterval]; text != "" {
		if t.Interval, err = time.ParseDuration(text); err != nil || t.Interval < time.Second || t.Interval > time.Hour {
			return nil, fmt.Errorf("%s: annotation %s must be between 1s and 1h, not %q", name, annotationInterval, text)
		}
	}
	path, query, _ := strings.Cut(cmp.Or(a[annotationPath], "/metrics"), "?")
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("%s: annotation %s: %w", name, annotationPath, err)
	}
	known := signal.Labels(signal.LabelPodUID, p.UID, signal.LabelPod, p.Name, signal.LabelNamespace, p.Namespace, signal.LabelK8sContainer, port.Container)
	sp, err := s.resolve(name, t, scheme, net.JoinHostPort(p.IP, strconv.Itoa(port.Number)), path, params, nil, known)
	if sp != nil && s.conf.Compression == "auto" {
		sp.gzip = false // it is on this node
	}
	return sp, err
}

// podPort is the annotated port, else the one that is called after metrics, else the first.
func podPort(p Pod) (Port, error) {
	if text := p.Annotations[annotationPort]; text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			i := slices.IndexFunc(p.Ports, func(o Port) bool { return o.Name == text })
			if i < 0 {
				return Port{}, fmt.Errorf("annotation %s: %q is no port", annotationPort, text)
			}
			return p.Ports[i], nil
		}
		port := Port{Number: int(n)}
		for _, o := range p.Ports {
			if o.Number == port.Number {
				port = o
			}
		}
		return port, nil
	}
	for _, o := range p.Ports {
		if strings.Contains(o.Name, "metrics") {
			return o, nil
		}
	}
	if len(p.Ports) == 0 {
		return Port{}, fmt.Errorf("it declares no port: set annotation %s", annotationPort)
	}
	return p.Ports[0], nil
}

// resolve applies a target's rules and fills in what it leaves open. It returns
// nil for one that the rules drop.
func (s *Source) resolve(from string, t Target, scheme, address, path string, params url.Values, meta map[string]string, known string) (*spec, error) {
	rules, err := compile("relabel", t.Relabel)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if _, err := compile("metric_relabel", t.MetricRelabel); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	for k, v := range meta {
		b.Set(k, v)
	}
	for _, tag := range t.Tags {
		k, v, ok := strings.Cut(tag, ":")
		if !ok {
			v = "true"
		}
		b.Set(tagKey(k), v)
	}
	b.Set("__scheme__", scheme)
	b.Set("__address__", address)
	b.Set("__metrics_path__", path)
	for k, v := range params {
		b.Set("__param_"+k, v[0])
	}
	if !relabel.ProcessBuilder(b, rules...) {
		return nil, nil
	}
	u := url.URL{Scheme: b.Get("__scheme__"), Host: b.Get("__address__")}
	if u.Path, err = url.PathUnescape(b.Get("__metrics_path__")); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%s: %s://%s%s is no URL to scrape", from, b.Get("__scheme__"), u.Host, b.Get("__metrics_path__"))
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path = "/" + u.Path
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		port := "80"
		if u.Scheme == "https" {
			port = "443"
		}
		u.Host = net.JoinHostPort(strings.Trim(u.Host, "[]"), port)
	}
	query := url.Values{}
	for k, v := range params {
		query[k] = slices.Clone(v)
	}
	var set []byte
	b.Range(func(l labels.Label) {
		switch {
		case strings.HasPrefix(l.Name, "__param_"):
			if name := strings.TrimPrefix(l.Name, "__param_"); len(query[name]) > 0 {
				query[name][0] = l.Value
			} else {
				query.Set(name, l.Value)
			}
		case strings.HasPrefix(l.Name, "__"):
		case l.Name == "instance":
			set = signal.AppendLabel(set, labelInstance, l.Value)
		default:
			set = signal.AppendLabel(set, l.Name, l.Value)
		}
	})
	u.RawQuery = query.Encode()
	sp := &spec{
		from: from, url: u.String(), interval: cmp.Or(t.Interval, s.conf.Interval), timeout: cmp.Or(t.Timeout, s.conf.Timeout),
		maxSamples: cmp.Or(t.MaxSamples, s.conf.MaxSamples), maxBody: s.conf.MaxBody, honorLabels: t.HonorLabels,
		honorTimestamps: t.HonorTimestamps != "false", native: s.conf.Native, headers: t.Headers, token: t.BearerTokenFile, basic: t.Basic, tls: t.TLS,
		rules: slices.Concat(s.conf.MetricRelabel, t.MetricRelabel),
	}
	sp.labels = signal.Merge(signal.Merge(signal.Labels(labelInstance, u.Host), known), signal.Sorted(string(set)))
	sp.timeout = min(sp.timeout, sp.interval)
	sp.gzip = s.conf.Compression == "true" || s.conf.Compression == "auto" && !loopback(u.Hostname())
	return sp, nil
}

// labelInstance is what Prometheus calls instance: host and port of the target
// (OpenTelemetry's compatibility page maps one to the other).
const labelInstance = "service.instance.id"

// tagKey translates the tags that the agent knows by another name.
func tagKey(k string) string {
	switch k {
	case "env":
		return signal.LabelEnv
	case "service":
		return signal.LabelService
	case "version":
		return signal.LabelVersion
	}
	return k
}

// loopback reports whether a host is this machine: packing there costs both
// sides and saves nothing.
func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
