package cadvisor

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/google/cadvisor/container/docker"
	ccontainer "github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/containerd"
	"github.com/google/cadvisor/lib/container/crio"
	cfs "github.com/google/cadvisor/lib/fs"
	"github.com/google/cadvisor/lib/fs/btrfs"
	"github.com/google/cadvisor/lib/fs/overlay"
	"github.com/google/cadvisor/lib/fs/vfs"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/watcher"

	"github.com/causeway-agent/causeway/agent/collect/container"
)

// plugin is how this package gets into cAdvisor's start: cAdvisor calls it
// before it looks for containers. It brings in the runtimes that answer, a gate
// that keeps everything but containers out, and a line to cAdvisor's events.
//
// cAdvisor's own plugins are not used: registered by import, they would try
// each runtime exactly once, for seconds where it is absent, and remember a
// failure for ever.
type plugin struct {
	conf    container.Config
	engines []*engine
	closed  bool

	// From cAdvisor's start.
	factory model.MachineInfoFactory
	fsInfo  cfs.FsInfo
	kinds   ccontainer.MetricSet
	events  chan watcher.ContainerEvent
}

// engine is one container runtime, connected or not.
type engine struct {
	name, socket string
	register     func(model.MachineInfoFactory, cfs.FsInfo, ccontainer.MetricSet) error
	connected    bool
	complaint    string // the last one logged
}

func newPlugin(c container.Config) *plugin {
	*containerd.ArgContainerdEndpoint = c.ContainerdSocket
	*containerd.ArgContainerdNamespace = c.ContainerdNamespace
	*docker.ArgDockerEndpoint = "unix://" + c.DockerSocket
	// containerd comes before Docker, which shares its client but names its own
	// namespace in each call.
	return &plugin{conf: c, engines: []*engine{
		{name: "containerd", socket: c.ContainerdSocket, register: containerd.Register},
		{name: "cri-o", socket: crio.CrioSocket, register: crio.Register},
		{name: "docker", socket: c.DockerSocket, register: docker.Register},
	}}
}

// name is one that no plugin of this process has had: cAdvisor keeps them all.
func (p *plugin) name() string { return fmt.Sprintf("causeway %p", p) }

// close makes p do nothing if a later cAdvisor calls it.
func (p *plugin) close() { p.closed = true }

// InitializeFSContext is part of cAdvisor's Plugin. What it could say of image
// stores is not wanted.
func (p *plugin) InitializeFSContext(*cfs.Context) error { return nil }

// Register is part of cAdvisor's Plugin.
func (p *plugin) Register(factory model.MachineInfoFactory, fsInfo cfs.FsInfo, kinds ccontainer.MetricSet) (watcher.ContainerWatcher, error) {
	if p.closed {
		return nil, nil
	}
	p.factory, p.fsInfo, p.kinds = factory, fsInfo, kinds
	p.connect()
	ccontainer.RegisterContainerHandlerFactory(gate{p.conf}, []watcher.ContainerWatchSource{watcher.Raw})
	return p, nil
}

// Start is part of cAdvisor's ContainerWatcher: events is where cAdvisor hears
// of containers that come and go.
func (p *plugin) Start(events chan watcher.ContainerEvent) error {
	p.events = events
	return nil
}

// Stop is part of cAdvisor's ContainerWatcher.
func (p *plugin) Stop() error { return nil }

// connect brings in the runtimes that have begun to answer, and reports whether
// there are any.
func (p *plugin) connect() bool {
	found := false
	for _, r := range p.engines {
		if r.connected {
			continue
		}
		// Their clients try once in the life of the process; so nobody asks them
		// before somebody listens.
		conn, err := net.Dial("unix", r.socket)
		if err != nil {
			continue
		}
		conn.Close()
		if err := r.register(p.factory, p.fsInfo, p.kinds); err != nil {
			if r.complaint != err.Error() {
				r.complaint = err.Error()
				slog.Warn("container runtime listens but does not answer; its containers have no names", "runtime", r.name, "socket", r.socket, "err", err)
			}
			continue
		}
		r.connected, found = true, true
		slog.Info("container runtime connected", "runtime", r.name, "socket", r.socket)
	}
	return found
}

// any reports whether a runtime is connected.
func (p *plugin) any() bool {
	for _, r := range p.engines {
		if r.connected {
			return true
		}
	}
	return false
}

// reopen makes cAdvisor take up the named containers anew, so that a runtime
// that came late is asked about them.
func (p *plugin) reopen(ctx context.Context, names []string) {
	for _, name := range names {
		for _, what := range [...]watcher.ContainerEventType{watcher.ContainerDelete, watcher.ContainerAdd} {
			select {
			case p.events <- watcher.ContainerEvent{EventType: what, Name: name, WatchSource: watcher.Raw}:
			case <-ctx.Done():
				return // cAdvisor looks for what is missing every minute
			}
		}
	}
	p.flush()
}

// send tells cAdvisor of a container; it does nothing where cAdvisor's start
// did not come so far as to listen.
func (p *plugin) send(what watcher.ContainerEventType, name string) {
	if p.events != nil {
		p.events <- watcher.ContainerEvent{EventType: what, Name: name, WatchSource: watcher.Raw}
	}
}

// flush returns once cAdvisor has dealt with what was sent before: it takes
// event after event, and of one more than the channel holds, the first has been
// taken. Removing what does not exist is nothing to it.
func (p *plugin) flush() {
	for range cap(p.events) + 1 {
		p.send(watcher.ContainerDelete, "no such container")
	}
}

// gate is a factory of handlers that never makes one: it claims, and so keeps
// from cAdvisor's catch-all, each cgroup that is not to be read.
type gate struct{ conf container.Config }

// CanHandleAndAccept claims without accepting what is neither a container nor
// listed.
func (g gate) CanHandleAndAccept(name string) (handle, accept bool, err error) {
	_, ok := container.Identify(name)
	return !ok && name != "/" && !g.conf.Listed(name), false, nil
}

// NewContainerHandler is never called: nothing is accepted.
func (g gate) NewContainerHandler(name string, _ []string, _ bool) (ccontainer.ContainerHandler, error) {
	return nil, fmt.Errorf("cgroup %s is not read", name)
}

// String names the factory in cAdvisor's debug output.
func (g gate) String() string { return "causeway gate" }

// DebugInfo is part of cAdvisor's ContainerHandlerFactory.
func (g gate) DebugInfo() map[string][]string { return nil }

// registerFilesystems lets cAdvisor find the file system below a container's
// writable layer. A second time is an error that changes nothing.
func registerFilesystems() {
	_ = cfs.RegisterPlugin("overlay", overlay.NewPlugin())
	_ = cfs.RegisterPlugin("vfs", vfs.NewPlugin())
	_ = cfs.RegisterPlugin("btrfs", btrfs.NewPlugin())
}
