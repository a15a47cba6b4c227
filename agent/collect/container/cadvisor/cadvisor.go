// Package cadvisor reads the containers of this node with cAdvisor's library,
// inside the agent's own process. It is one provider of package container.
//
// agent's wire.go makes a Provider and hands it to container.New; nobody else
// calls it. It calls cAdvisor, which watches the cgroup hierarchies, reads the
// cgroups' files, and asks containerd, CRI-O and Docker over their sockets what
// the containers are called. It is a package of its own because that library
// and its clients take most of a minute to compile.
//
// What always holds:
//
//  1. New does nothing; the first Read starts cAdvisor, and Close ends its
//     goroutines. (One inotify descriptor per start stays open, and a goroutine
//     that reads it: the library has no way to close it.)
//  2. The process's command line is not cAdvisor's: its flags are set where
//     needed, and never parsed. What it logs is debug output, once the agent
//     has called QuietKlog.
//  3. Only cgroups that are a container by their path, or that the
//     configuration lists, are read; cAdvisor is told to ignore the rest, the
//     root included (layer 1 measures the machine).
//  4. Metrics are those that cost a few small files per container: CPU, memory,
//     network, disk I/O, pressure. Processes, threads and OOM kills are read
//     here, because cAdvisor's process metrics list every open file and it has
//     no OOM count without reading the kernel's log.
//  5. A runtime that is not there is looked for at each Read by one connect(2)
//     and is no error. One that starts later than the agent is taken up, and
//     its containers get their names.
//  6. A Read brings every container up to date, so that all readings are of one
//     moment. Where a runtime hangs, Read returns after a part of the interval
//     with what there is; the containers of the others are up to date.
//
// What it needs: /sys/fs/cgroup of the host at that path, the host's process
// IDs (hostPID) or the host's root at /rootfs, and the sockets. Without root it
// reads what the files' modes allow: the sockets of runtimes mostly refuse, and
// containers then have their id but no name. cgroup v1 and v2.
//
// Memory: readings and what is known of each container are kept and used again;
// what is gone is dropped. cAdvisor keeps the last two readings of each, and one
// goroutine. Global state: cAdvisor has one set of factories, flags and clients
// per process, so there can be one open Provider at a time, and a changed socket
// takes effect with the next start of the process.
//
// It deliberately has no per-CPU, NUMA, TCP, huge page or perf metrics, no
// machine metrics and no events.
package cadvisor

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/cadvisor/lib/cache/memory"
	ccontainer "github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/container/libcontainer"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/utils/sysfs"
	"github.com/google/cadvisor/lib/watcher"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
)

// Provider is a container.Provider.
type Provider struct {
	conf container.Config

	mu     sync.Mutex // guards the fields down to the blank line
	closed bool
	m      manager.Manager // nil until started
	plugin *plugin
	conv   *converter
	failed error // why the last start went wrong
	retry  time.Time

	busy     atomic.Bool // a refresh has not come back yet
	readings []container.Reading
}

// New returns a Provider for a Config that has passed Check.
func New(c container.Config) *Provider { return &Provider{conf: c} }

const (
	cgroupRoot = "/sys/fs/cgroup" // fixed in the libraries
	retryStart = time.Minute      // after a start that failed
	stopWithin = 5 * time.Second  // for Close: cAdvisor asks runtimes on the way out
)

// Read returns a reading of each container. See container.Provider.
func (p *Provider) Read(ctx context.Context) ([]container.Reading, error) {
	m, plug, conv, err := p.started()
	if err != nil {
		return nil, err
	}
	if names := conv.nameless(plug.connect()); plug.any() {
		plug.reopen(ctx, names)
	}
	infos, err := p.refresh(ctx, m)
	if len(infos) == 0 && err != nil {
		return nil, fmt.Errorf("ask cAdvisor for all containers: %w", err)
	}
	// cAdvisor's partial failures always name the root, whose reading is off;
	// convert notices what is really missing.
	names := make([]string, 0, len(infos))
	for name := range infos {
		names = append(names, name)
	}
	slices.Sort(names)
	p.readings = p.readings[:0]
	conv.begin()
	for _, name := range names {
		info := infos[name]
		if cap(p.readings) == len(p.readings) {
			p.readings = append(p.readings, container.Reading{})
		} else {
			p.readings = p.readings[:len(p.readings)+1] // with the slices it has
		}
		if !conv.convert(&p.readings[len(p.readings)-1], &info) {
			p.readings = p.readings[:len(p.readings)-1]
		}
	}
	return p.readings, cmp.Or(conv.end(), p.nothing(plug))
}

// nothing says so where there is no container, and nobody who could run one.
func (p *Provider) nothing(plug *plugin) error {
	if len(p.readings) > 0 || len(p.conf.Cgroups) > 0 || plug.any() {
		return nil
	}
	return fmt.Errorf("no container runtime answers (containerd at %s, Docker at %s, CRI-O) and no cgroup is a container's; "+
		"mount the runtime's socket into the agent's container, or set containers.enabled to false: %w",
		p.conf.ContainerdSocket, p.conf.DockerSocket, collect.ErrAbsent)
}

// refresh makes cAdvisor read every container now, and returns what it has. It
// waits for half the interval at most, and not at all while an earlier refresh
// hangs: cAdvisor reads in the background, too.
func (p *Provider) refresh(ctx context.Context, m manager.Manager) (map[string]model.ContainerInfo, error) {
	type answer struct {
		infos map[string]model.ContainerInfo
		err   error
	}
	query := model.RequestOptions{IdType: model.TypeName, Count: 1, Recursive: true}
	if p.busy.CompareAndSwap(false, true) {
		done := make(chan answer, 1)
		fresh := query
		age := p.conf.Interval / 2
		fresh.MaxAge = &age
		go func() { // nobody waits for it for ever: a runtime that hangs may hold it
			defer p.busy.Store(false)
			infos, err := m.GetContainerInfoV2("/", fresh)
			done <- answer{infos, err}
		}()
		wait := time.NewTimer(p.conf.Interval / 2)
		defer wait.Stop()
		select {
		case a := <-done:
			return a.infos, a.err
		case <-wait.C:
		case <-ctx.Done():
		}
	}
	return m.GetContainerInfoV2("/", query)
}

// started returns the running cAdvisor, starting it if need be.
func (p *Provider) started() (manager.Manager, *plugin, *converter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, nil, nil, errors.New("the cAdvisor provider is closed")
	case p.m != nil:
		return p.m, p.plugin, p.conv, nil
	case time.Now().Before(p.retry):
		return nil, nil, nil, p.failed
	}
	if p.failed = p.startLocked(); p.failed != nil {
		p.retry = time.Now().Add(retryStart)
		p.stopLocked()
		return nil, nil, nil, p.failed
	}
	return p.m, p.plugin, p.conv, nil
}

func (p *Provider) startLocked() error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	if err := setFlags(p.conf.Interval); err != nil {
		return err
	}
	kinds := ccontainer.MetricSet{
		ccontainer.CpuUsageMetrics:     {},
		ccontainer.MemoryUsageMetrics:  {},
		ccontainer.NetworkUsageMetrics: {},
		ccontainer.DiskIOMetrics:       {},
		ccontainer.PressureMetrics:     {},
	}
	if p.conf.DiskUsage {
		kinds[ccontainer.DiskUsageMetrics] = struct{}{}
		registerFilesystems()
	}
	p.plugin = newPlugin(p.conf)
	if err := ccontainer.RegisterPlugin(p.plugin.name(), p.plugin); err != nil {
		return fmt.Errorf("start cAdvisor: %w", err)
	}
	dynamic := false
	m, err := manager.New(
		memory.New(2*p.conf.Interval, nil), sysfs.NewRealSysFs(),
		manager.HousekeepingConfig{Interval: &p.conf.Interval, AllowDynamic: &dynamic},
		kinds,
		[]string{"/"}, // the plugin's gate decides instead
		nil, "", 0)
	if err != nil {
		return fmt.Errorf("start cAdvisor: %w; it needs the host's /sys and /proc", err)
	}
	p.m = m
	if err := m.Start(); err != nil {
		return fmt.Errorf("start cAdvisor: %w", err)
	}
	machine, err := m.GetMachineInfo()
	if err != nil {
		return fmt.Errorf("start cAdvisor: %w", err)
	}
	p.conv = newConverter(p.conf, mounts, machine.MemoryCapacity)
	return nil
}

// setFlags sets the two flags of cAdvisor that New has no parameters for. It
// writes only what differs: goroutines of a cAdvisor before this one may read
// them in their last moments.
func setFlags(interval time.Duration) error {
	if *manager.HousekeepingInterval != interval {
		*manager.HousekeepingInterval = interval
	}
	// Root's reading would stat every file system of the machine, dead network
	// mounts included.
	const noRoot = "disable_root_cgroup_stats"
	if f := flag.CommandLine.Lookup(noRoot); f != nil && f.Value.String() == "true" {
		return nil
	}
	if err := flag.CommandLine.Set(noRoot, "true"); err != nil {
		return fmt.Errorf("start cAdvisor: %w", err)
	}
	return nil
}

// cgroupMounts returns where each controller of cgroup v1 is mounted, or the
// one hierarchy of v2 under the name "".
func cgroupMounts() (map[string]string, error) {
	if _, err := os.ReadDir(cgroupRoot); err != nil {
		return nil, fmt.Errorf("read the cgroup file system: %w; mount the host's %s read-only into the agent's container: %w", err, cgroupRoot, collect.ErrAbsent)
	}
	mounts, err := libcontainer.GetCgroupSubsystems(nil)
	if err != nil {
		return nil, fmt.Errorf("find the cgroup file system: %w; mount the host's %s read-only into the agent's container: %w", err, cgroupRoot, collect.ErrAbsent)
	}
	return mounts, usable(mounts)
}

// usable complains if mounts lacks what no container can be measured without.
func usable(mounts map[string]string) error {
	if _, v2 := mounts[""]; v2 {
		return nil
	}
	for _, c := range [...]string{"cpu", "cpuacct", "memory"} {
		if mounts[c] == "" {
			return fmt.Errorf("the cgroup controller %q is not mounted below %s; mount the host's %s read-only into the agent's container, "+
				"or switch the controller on at boot: %w", c, cgroupRoot, cgroupRoot, collect.ErrAbsent)
		}
	}
	return nil
}

// Close ends cAdvisor. It returns an error if that takes longer than a few
// seconds, because a runtime hangs; its goroutines are then left to end by
// themselves.
func (p *Provider) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	done := make(chan error, 1)
	go func() { done <- p.stopLocked() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopWithin):
		return fmt.Errorf("cAdvisor has not stopped within %v; a container runtime may hang", stopWithin)
	}
}

// stopLocked ends everything that startLocked began, however far that came.
func (p *Provider) stopLocked() error {
	if p.plugin == nil {
		return nil
	}
	m, plug := p.m, p.plugin
	p.m, p.plugin, p.conv = nil, nil, nil
	plug.close()
	defer ccontainer.ClearContainerHandlerFactories()
	if m == nil {
		return nil
	}
	// Manager.Stop leaves the containers' goroutines running; only the removal
	// of a container ends its own. The root goes first: without it cAdvisor
	// looks for no new ones.
	infos, _ := m.GetContainerSpec("/", model.RequestOptions{IdType: model.TypeName, Recursive: true})
	plug.send(watcher.ContainerDelete, "/")
	for name := range infos {
		plug.send(watcher.ContainerDelete, name)
	}
	plug.flush()
	if err := m.Stop(); err != nil {
		return fmt.Errorf("stop cAdvisor: %w", err)
	}
	return nil
}
