// Package manifest says what Causeway needs in a Kubernetes cluster: the objects
// of an installation, with the rights, mounts and ports that one agent.yaml
// makes necessary, and no others.
//
// The command `causeway kubernetes manifest` calls Read, which reads an
// agent.yaml that is meant for another machine, and Plan.Objects; Write prints
// them. The tests hold the files in deploy/kubernetes and the Helm chart in
// deploy/helm to what comes out here, so that there is one place where a right
// is granted.
//
// What always holds:
//
//  1. Nothing is granted, mounted or opened but for a feature that agent.yaml has
//     switched on; every rule of a role names its feature in a comment.
//  2. nodes/proxy, secrets, host networks, host processes and privileged mode are
//     never part of it, but the first two if a key of agent.yaml asks for them
//     by name; Plan.Warnings says so.
//  3. agent.yaml goes into the ConfigMap byte by byte. What depends on the pod,
//     such as where the host is mounted, is set by CAUSEWAY_ variables of
//     the pod, and only where agent.yaml has a default that no pod can use.
//  4. No secret passes through here: Read takes none from the environment or the
//     disk. The Secret that is printed is empty, and applying it again leaves
//     alone what was put in.
//  5. The same input gives the same bytes.
//  6. On Autopilot nothing is mounted but folders below /var/log, for reading.
//
// Everything here is built anew for the caller, and belongs to it. There are no
// goroutines. Read makes a temporary folder and removes it.
//
// The package talks to no cluster, applies nothing, and knows nothing of
// kustomize or Helm; the dashboards are deploy/dashboards' affair.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/causeway-agent/causeway/config"
)

// Which of the two workloads an installation has.
const (
	RoleAuto    = "auto"    // a DaemonSet alone, whose agents elect who reads the cluster's objects
	RoleNode    = "node"    // the DaemonSet alone, and nobody reads the cluster's objects
	RoleCluster = "cluster" // the Deployment alone
	RoleAll     = "all"     // the DaemonSet for the nodes, a Deployment of two for the cluster
)

// Options are what agent.yaml does not say.
type Options struct {
	Name      string // of every object, and of the Secret; "": causeway
	Namespace string // "": causeway
	Image     string // with its tag; "": DefaultImage
	Role      string // one of the Role constants; "": RoleAuto
	Autopilot bool   // GKE Autopilot: no mounts of the host but logs, the spool goes with the pod
	HostRoot  bool   // the whole file system of the node is seen, for reading, so that file systems are measured; else /proc and /sys
	HostPorts bool   // DogStatsD and OTLP answer on the node's address too
}

// DefaultImage is what is installed where nobody says otherwise.
const DefaultImage = "ghcr.io/causeway-agent/causeway:latest"

// DefaultOptions are those of the command.
func DefaultOptions() Options {
	return Options{Name: "causeway", Namespace: "causeway", Image: DefaultImage, Role: RoleAuto, HostRoot: true}
}

// nameForm is what Kubernetes accepts as a namespace's name, an RFC 1123 label;
// shorter than its 63, since suffixes are added.
var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$`)

// Check returns all complaints, joined; each begins with the flag's name.
func (o Options) Check() error {
	var errs []error
	if !nameForm.MatchString(o.Name) {
		errs = append(errs, fmt.Errorf("name: %q is no name: at most 50 small letters, digits and -", o.Name))
	}
	if !nameForm.MatchString(o.Namespace) {
		errs = append(errs, fmt.Errorf("namespace: %q is no name: at most 50 small letters, digits and -", o.Namespace))
	}
	if o.Image == "" {
		errs = append(errs, errors.New("image: is empty"))
	}
	if roles := []string{RoleAuto, RoleNode, RoleCluster, RoleAll}; !slices.Contains(roles, o.Role) {
		errs = append(errs, fmt.Errorf("role: must be one of %v, not %q", roles, o.Role))
	}
	if o.Autopilot && o.HostPorts {
		errs = append(errs, errors.New("host-ports: Autopilot has none; use the Service"))
	}
	return errors.Join(errs...)
}

// Plan is one installation.
type Plan struct {
	Options
	// Warnings are for the person who asked, a line each.
	Warnings []string

	cfg  *config.Config
	text string   // of agent.yaml
	vars []string // variables that agent.yaml names and that are taken from the Secret
}

// Object is one object and what is to be said about it.
type Object struct {
	runtime.Object
	Comment string            // above it
	Notes   map[string]string // by path, such as rules[0]: a comment above that item
}

// New returns the plan for an agent.yaml that was read. The Options have passed Check.
func New(s *Source, o Options) (*Plan, error) {
	p := &Plan{Options: o, cfg: s.Config, text: s.Text, vars: s.Variables}
	if err := p.possible(); err != nil {
		return nil, err
	}
	p.warn()
	return p, nil
}

// possible returns what agent.yaml asks for and the chosen kind of cluster refuses.
func (p *Plan) possible() error {
	if !p.Autopilot {
		return nil
	}
	var errs []error
	c := p.cfg.Collect
	if p.provider() == "cadvisor" {
		errs = append(errs, errors.New("collect.containers.provider: cadvisor needs the node's cgroups, which Autopilot does not show; use kubelet"))
	}
	for i, dir := range p.logFolders() {
		if !underVarLog(dir) {
			errs = append(errs, fmt.Errorf("collect.logs: folder %d, %s, is not below /var/log, and Autopilot shows no other", i, dir))
		}
	}
	for _, dir := range p.socketFolders() {
		errs = append(errs, fmt.Errorf("collect.statsd.listen: a socket in %s needs a folder of the node, which Autopilot does not show; use udp", dir))
	}
	if c.Containers.Kubelet.AllowProxy {
		errs = append(errs, errors.New("collect.containers.kubelet.allow_proxy: Autopilot's kubelets answer without it"))
	}
	return errors.Join(errs...)
}

// warn collects what is worth a second look.
func (p *Plan) warn() {
	say := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	c := p.cfg.Collect
	if p.onNode() && p.cfgKubelet() && c.Containers.Kubelet.AllowProxy {
		say("containers.kubelet.allow_proxy grants nodes/proxy: with it one may run commands in every pod")
	}
	if c.Containers.Kubelet.InsecureSkipVerify {
		say("containers.kubelet.insecure_skip_verify: whoever takes over a kubelet's address gets the agent's token")
	}
	if p.leads() && p.objects() && c.Kubernetes.Secrets {
		say("kubernetes.secrets grants list on secrets: that is the right to read all of them")
	}
	if s := p.store(); s != "" {
		say("destination %s is a store of its own in every agent; what the nodes share is a server: type influxdb without embedded", s)
	}
	if c.Kubernetes.Enabled == "false" {
		say("kubernetes.enabled is false: metrics and logs will not say which pod they are of")
	}
	if p.provider() == "cadvisor" {
		say("containers.provider is cadvisor, which needs mounts of the node; kubelet needs none")
	}
}

// Objects returns the objects in the order in which they are to be applied.
func (p *Plan) Objects() []Object {
	all := []Object{p.namespace(), p.priority()}
	all = append(all, p.accounts()...)
	all = append(all, p.rights()...)
	all = append(all, p.configMap(), p.secret())
	if p.onNode() {
		all = append(all, p.daemonSet())
	}
	if p.standsApart() {
		all = append(all, p.deployment(), p.budget())
	}
	if s, ok := p.service(); ok {
		all = append(all, s)
	}
	return append(all, p.networkPolicy())
}

// onNode reports whether there is a DaemonSet.
func (p *Plan) onNode() bool { return p.Role != RoleCluster }

// standsApart reports whether there is a Deployment.
func (p *Plan) standsApart() bool { return p.Role == RoleCluster || p.Role == RoleAll }

// leads reports whether any agent stands for election.
func (p *Plan) leads() bool {
	return p.Role != RoleNode && p.kubernetes() && (p.objects() || p.events() || p.cfg.Collect.Kubernetes.APIServer)
}

func (p *Plan) kubernetes() bool { return p.cfg.Collect.Kubernetes.Enabled != "false" }
func (p *Plan) objects() bool    { return p.cfg.Collect.Kubernetes.Objects == "leader" }
func (p *Plan) events() bool     { return p.cfg.Collect.Kubernetes.Events == "leader" }
func (p *Plan) pods() bool       { return p.kubernetes() && p.cfg.Collect.Kubernetes.Pods }

// scrapes reports whether pages of metrics are fetched.
func (p *Plan) scrapes() bool { return p.onNode() && p.cfg.Collect.Prometheus.Enabled != "false" }

func (p *Plan) monitors() bool {
	return p.scrapes() && p.kubernetes() && p.cfg.Collect.Prometheus.Monitors != "false"
}

func (p *Plan) scrapesServices() bool {
	return p.monitors() || p.scrapes() && p.kubernetes() && p.cfg.Collect.Prometheus.Services
}

// provider is who reads the containers: "" if nobody does.
func (p *Plan) provider() string {
	switch c := p.cfg.Collect.Containers; {
	case c.Enabled == "false":
		return ""
	case c.Provider == "cadvisor":
		return "cadvisor"
	default:
		return "kubelet" // auto's other choice finds nothing in a pod, and needs nothing
	}
}

func (p *Plan) cfgKubelet() bool { return p.provider() == "kubelet" }

// store is the name of the active destination that is embedded, "" if none is.
func (p *Plan) store() string {
	for _, name := range p.cfg.Active {
		if d := p.cfg.Destinations[name]; d.Type == "influxdb" && d.Influx.Embedded {
			return name
		}
	}
	return ""
}

// checksum changes with agent.yaml. An agent takes up a new ConfigMap by itself;
// a new Pod is needed for what only a start can change.
func (p *Plan) checksum() string {
	sum := sha256.Sum256([]byte(p.text))
	return hex.EncodeToString(sum[:8])
}
