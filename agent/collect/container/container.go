// Package container is layer 2: what each container of this node uses of CPU,
// memory, disks and network, where it is held back, and by which limits.
//
// agent's wire.go makes a Sampler of a Config and a Provider and gives it to
// collect.Poll. The Sampler asks its Provider for one Reading per container and
// turns readings into samples. There are two providers behind that interface:
// Kubelet asks the node's kubelet and needs no privilege; package
// container/cadvisor reads the cgroups itself and needs no kubelet. What both
// know they report under the same names with the same labels (a test there
// feeds both from one cAdvisor); the kubelet adds pods, node, volumes and
// statuses. Auto takes the one that works. cAdvisor is in a package of its own
// because its library pulls in gRPC and Docker's client; nothing here imports
// it, so what is here compiles and is tested in a second.
//
// What always holds:
//
//  1. A counter's Start is when its container started and the same in every
//     sample, until the container starts again (its CPU time falls, or it was
//     gone from a Read in between).
//  2. A sample's Time is that of the reading, not of the call. A reading whose
//     time does not advance yields nothing: no point is written twice. File
//     systems may have been read at times of their own.
//  3. What a provider does not know is NaN in a Reading and makes no sample; a
//     limit that is not set makes none either. Zero is always a measured zero.
//  4. The infrastructure container of a pod (pause) is no container. Its
//     network is the pod's: k8s.pod.network.* with the pod's labels. A
//     container with a network of its own has container.network.*.
//  5. Containers are reported always; cgroups that no runtime made (systemd's
//     services, a batch scheduler's jobs) only where Config.Cgroups names them.
//     They carry container.cgroup in place of container.id.
//  6. Where nothing can be read, Sample returns an error that wraps
//     collect.ErrAbsent and says what to do; with enabled: true the same error
//     counts as a failure.
//
// Memory: a container's series are interned once, when it is first seen, and
// kept with it; a sample of a known container allocates nothing here. What is
// gone from a Read is forgotten with it. Readings belong to the provider and
// are valid until its next Read. The package starts no goroutines; a provider
// may, and Close ends them.
//
// It knows nothing of pods beyond what the runtime's labels, the cgroup's path
// and the kubelet say (the hub adds owners and the like), computes no
// percentages, and reads no logs. It never asks for nodes/proxy, unless told to.
package container

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is the section collect.containers of agent.yaml.
type Config struct {
	// Containers: auto (where any are found; their absence is no failure), true or false.
	Enabled string `yaml:"enabled"`

	// How often each container is read. cAdvisor's own reading follows it.
	Interval time.Duration `yaml:"interval"`

	// Who reads them: kubelet asks the node's kubelet, and needs no privilege; cadvisor reads the
	// cgroups itself. auto: the kubelet where it answers, else cadvisor.
	Provider string `yaml:"provider"`

	// How to reach the kubelet.
	Kubelet KubeletConfig `yaml:"kubelet"`

	// Cgroups to report that no container runtime made, by their path below the
	// hierarchy's root: "/system.slice/nginx.service", or "/system.slice/*" for
	// all its direct children. None by default: what systemd runs beside the
	// containers is mostly of no interest, and each costs as much as a container.
	Cgroups []string `yaml:"cgroups"`

	// Disk usage of each container's writable layer (Docker, CRI-O). Off, because
	// it walks all the files of that layer once a minute.
	DiskUsage bool `yaml:"disk_usage"`

	// Where containerd listens, and which of its namespaces to read: k8s.io is
	// Kubernetes'; ctr and nerdctl use default.
	ContainerdSocket    string `yaml:"containerd_socket"`
	ContainerdNamespace string `yaml:"containerd_namespace"`

	// Where Docker's daemon listens. CRI-O is looked for at /var/run/crio/crio.sock only.
	DockerSocket string `yaml:"docker_socket"`
}

// Default returns the configuration of an empty section.
func Default() Config {
	return Config{
		Enabled:             "auto",
		Interval:            10 * time.Second,
		Provider:            "auto",
		ContainerdSocket:    "/run/containerd/containerd.sock",
		ContainerdNamespace: "k8s.io",
		DockerSocket:        "/var/run/docker.sock",
	}
}

// Check returns all complaints about c, joined; each begins with its key.
func (c Config) Check() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.Enabled {
	case "auto", "true", "false":
	default:
		complain("enabled: %q is none of auto, true, false", c.Enabled)
	}
	if c.Interval < time.Second {
		complain("interval: must be at least 1s, is %v", c.Interval)
	}
	switch c.Provider {
	case "auto", "kubelet", "cadvisor":
	default:
		complain("provider: %q is none of auto, kubelet, cadvisor", c.Provider)
	}
	errs = append(errs, c.Kubelet.check()...)
	for i, g := range c.Cgroups {
		switch dir := strings.TrimSuffix(g, "/*"); {
		case !strings.HasPrefix(g, "/"):
			complain("cgroups[%d]: %q must begin with a slash: a path below the cgroup hierarchy's root", i, g)
		case dir != "" && (dir != path.Clean(dir) || dir == "/"):
			complain("cgroups[%d]: %q is not a clean path below the root, such as /system.slice/*", i, g)
		case strings.Contains(dir, "*"):
			complain("cgroups[%d]: %q: a star stands only for the last element, as in /system.slice/*", i, g)
		}
	}
	for _, p := range [...]struct{ key, path string }{
		{"containerd_socket", c.ContainerdSocket}, {"docker_socket", c.DockerSocket},
	} {
		if !path.IsAbs(p.path) {
			complain("%s: %q must be an absolute path of a Unix socket", p.key, p.path)
		}
	}
	if c.ContainerdNamespace == "" {
		complain("containerd_namespace: must not be empty; k8s.io is Kubernetes', default is ctr's")
	}
	return errors.Join(errs...)
}

// Listed reports whether Cgroups names the cgroup at path.
func (c Config) Listed(cgroup string) bool {
	for _, g := range c.Cgroups {
		if dir, ok := strings.CutSuffix(g, "*"); ok {
			if rest, below := strings.CutPrefix(cgroup, dir); below && rest != "" && !strings.Contains(rest, "/") {
				return true
			}
		} else if g == cgroup {
			return true
		}
	}
	return false
}

// Provider reads the containers of this node.
type Provider interface {
	// Read returns one Reading per container, in an order that does not change
	// by itself, and with it, perhaps, an error about those that are missing. An
	// error that wraps collect.ErrAbsent says that there is nothing to read on
	// this machine, and why. The readings are valid until the next Read.
	Read(ctx context.Context) ([]Reading, error)

	// Close ends what Read has started. It may be called while a Read is stuck.
	Close() error
}

// Sampler is the collect.Sampler of this layer.
type Sampler struct {
	conf Config
	from Provider

	round uint64             // counts calls of Sample
	known map[string]*series // by Reading.Name
}

// New returns a Sampler that reports what from reads. It does nothing until the
// first Sample.
func New(c Config, from Provider) *Sampler {
	return &Sampler{conf: c, from: from, known: map[string]*series{}}
}

// Sample appends the samples of every container whose reading is new.
func (s *Sampler) Sample(ctx context.Context, b *signal.Batch) error {
	readings, err := s.from.Read(ctx)
	s.round++
	for i := range readings {
		r := &readings[i]
		k := s.known[r.Name]
		if k == nil {
			k = &series{}
			s.known[r.Name] = k
		}
		k.round = s.round
		k.appendTo(b, r)
	}
	if len(s.known) > len(readings) {
		for name, k := range s.known {
			if k.round != s.round {
				delete(s.known, name)
			}
		}
	}
	if s.conf.Enabled == "true" && errors.Is(err, collect.ErrAbsent) {
		return errors.New(err.Error() + " (containers.enabled is true; auto would not mind)")
	}
	return err
}

// Close ends what the provider has started. Sample fails after it.
func (s *Sampler) Close() error { return s.from.Close() }
