package kube

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// Config is the section collect.kubernetes of agent.yaml.
type Config struct {
	Enabled           string        `yaml:"enabled"`            // auto: in a pod with a service account, or with a kubeconfig | true | false
	Kubeconfig        string        `yaml:"kubeconfig"`         // file; "": the pod's own service account
	Interval          time.Duration `yaml:"interval"`           // of the state of pods and objects
	Pods              bool          `yaml:"pods"`               // watch this node's pods: enrichment, and their state
	Objects           string        `yaml:"objects"`            // state of the cluster's objects: leader | off
	Events            string        `yaml:"events"`             // leader | off
	APIServer         bool          `yaml:"api_server"`         // health and metrics of the API server, by the leader
	Cardinality       string        `yaml:"cardinality"`        // what enrichment adds: low: workload, image, service | orchestrator: and pod, replica set, job | high: and UIDs, ids
	Labels            []string      `yaml:"labels"`             // keys of labels to take over from pods and objects; * at the end for all that begin so
	Annotations       []string      `yaml:"annotations"`        // keys of annotations, likewise
	Exclude           []string      `yaml:"exclude"`            // resources to leave alone, by their plural: replicasets
	Secrets           bool          `yaml:"secrets"`            // count secrets and their types; needs the right to list secrets, that is to read them all
	EndpointAddresses bool          `yaml:"endpoint_addresses"` // a series per address and port of each service, not only their number
	Keep              time.Duration `yaml:"keep"`               // how long a deleted pod is remembered
	LeaseName         string        `yaml:"lease_name"`         // of the lease by which agents elect their leader
	LeaseNamespace    string        `yaml:"lease_namespace"`    // "": the agent's own
	EventFilter       EventFilter   `yaml:"event_filter"`       // which events to take
	QPS               float32       `yaml:"qps"`                // requests a second to the API server, at most; watches count once
	Burst             int           `yaml:"burst"`              // requests at once above that
}

// EventFilter says which events are taken: those that match each list that is
// not empty, and none of Exclude.
type EventFilter struct {
	Namespaces []string `yaml:"namespaces"`
	Types      []string `yaml:"types"`   // Normal, Warning
	Reasons    []string `yaml:"reasons"` // FailedScheduling, BackOff, …
	Exclude    []string `yaml:"exclude"` // reasons, or REASON/NAMESPACE
}

// Default finds out whether it runs in a pod, and then does everything.
func Default() Config {
	return Config{
		Enabled: "auto", Interval: 15 * time.Second, Pods: true, Objects: "leader", Events: "leader", APIServer: true,
		Cardinality: "orchestrator", Keep: 10 * time.Minute, LeaseName: "causeway", QPS: 20, Burst: 40,
	}
}

// nameForm is what Kubernetes accepts as a name, an RFC 1123 label.
var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(key, v string, words ...string) {
		if !slices.Contains(words, v) {
			bad("%s: must be one of %v, not %q", key, words, v)
		}
	}
	oneOf("enabled", c.Enabled, "auto", "true", "false")
	oneOf("objects", c.Objects, "leader", "off")
	oneOf("events", c.Events, "leader", "off")
	oneOf("cardinality", c.Cardinality, "low", "orchestrator", "high")
	if c.Kubeconfig != "" && !filepath.IsAbs(c.Kubeconfig) {
		bad("kubeconfig: must be an absolute path, not %q", c.Kubeconfig)
	}
	if c.Interval < time.Second || c.Interval > time.Hour || c.Interval%time.Second != 0 {
		bad("interval: must be whole seconds between 1s and 1h")
	}
	if c.Keep < 0 || c.Keep > time.Hour {
		bad("keep: must be between 0s and 1h")
	}
	if !nameForm.MatchString(c.LeaseName) {
		bad("lease_name: %q is no name for a lease: small letters, digits and -", c.LeaseName)
	}
	if c.LeaseNamespace != "" && !nameForm.MatchString(c.LeaseNamespace) {
		bad("lease_namespace: %q is no namespace", c.LeaseNamespace)
	}
	if c.QPS < 1 || c.QPS > 1000 {
		bad("qps: must be between 1 and 1000")
	}
	if c.Burst < 1 || c.Burst > 1000 {
		bad("burst: must be between 1 and 1000")
	}
	known := kinds(Config{Secrets: true})
	for i, e := range c.Exclude {
		if !slices.ContainsFunc(known, func(k kind) bool { return k.resource == e }) {
			bad("exclude[%d]: %q is no resource the agent reads", i, e)
		}
	}
	for i, t := range c.EventFilter.Types {
		if t != "Normal" && t != "Warning" {
			bad("event_filter.types[%d]: must be Normal or Warning, not %q", i, t)
		}
	}
	empty := func(key string, list []string) {
		if i := slices.Index(list, ""); i >= 0 {
			bad("%s[%d]: is empty", key, i)
		}
	}
	empty("labels", c.Labels)
	empty("annotations", c.Annotations)
	empty("event_filter.namespaces", c.EventFilter.Namespaces)
	empty("event_filter.reasons", c.EventFilter.Reasons)
	empty("event_filter.exclude", c.EventFilter.Exclude)
	return errors.Join(errs...)
}

// Identity is who this agent is, as its pod was told.
type Identity struct {
	Node      string // spec.nodeName
	Cluster   string // the cluster's name; "" where unknown
	PodName   string // metadata.name: the name under which it stands for election; "": Node
	Namespace string // metadata.namespace; "": as the service account's files say
	Role      string // auto: pods, and stands for election | node: pods only | cluster: election only
}
