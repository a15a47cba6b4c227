// Package host is layer 1: it samples the machine itself, from the text files
// of /proc and /sys and from statfs.
//
// The agent calls New and gives the Host to collect.Poll; Identity tells the
// agent which machine this is. The room calls nothing of ours but package
// signal; github.com/prometheus/procfs serves the CPU topology, which is read
// once. What is read every few seconds has parsers of our own, which keep the
// few numbers wanted and allocate nothing.
//
// The parts (cpu, memory, disk, …) stand in the table below, each in the file of
// its name, reading apart from parsing. To add one, write its file and its line.
//
// What always holds:
//
//  1. A file that this kernel does not have is no data and no error. A file that
//     cannot be read or parsed is an error that names file and line; whatever
//     else is readable, in that file and in others, is delivered all the same.
//  2. Every counter is cumulative, and its Start is the boot of the machine. The
//     boot time is read once and kept, because the kernel computes it from the
//     clock and moves it a little with every adjustment; only a clock that was
//     really set (by more than a minute) moves Start.
//  3. All samples of one call carry the same Time.
//  4. A mount that does not answer costs one goroutine, however long it hangs,
//     and delays nothing but the call in which it began to hang, by two seconds.
//  5. What is remembered is bounded by what the machine has: the series of a
//     disk, interface or mount that is gone are forgotten at the next call.
//
// Root: every path is taken below Config.Root, so an agent in a container reads
// the host's tree where that is mounted, say at /host. Interfaces, protocols and
// mounts are those of process 1 below that root, not the agent's own; mount
// points are shown as process 1 sees them, without the root. A mount that is not
// visible below the root is left out and counted, never answered for by the
// directory in its place.
//
// Memory and goroutines: one call at a time, as Poll promises; one read buffer,
// reused, into which nothing that is kept points. The only goroutines are the
// questions to mounts, one each.
//
// Left out on purpose: values per process, sensors, and everything a container
// has (layer 2 knows those). No rates: the hub and the vendors' folders have
// both readings of each counter.
package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config says what is sampled, and below which root. A list that is given
// replaces the default one. Patterns are matched against the whole name; * stands
// for any run of characters, slashes included, and ? for one byte.
type Config struct {
	// Enabled is true, false or auto, which is true.
	Enabled string `yaml:"enabled"`
	// Interval is how often the host is sampled; at least 1s.
	Interval time.Duration `yaml:"interval"`
	// Root is where the host's / is seen by the agent: / or, in a container, the
	// path it is mounted at.
	Root string `yaml:"root"`
	// PerCPU adds the times of every logical CPU to those of all together.
	PerCPU bool `yaml:"per_cpu"`
	// Connections counts TCP connections by state. The kernel walks its whole
	// hash table for that, twice, however few there are: some milliseconds a call,
	// more than everything else together. The number of sockets and of
	// established connections is there without it.
	Connections bool `yaml:"connections"`
	// Filesystems chooses among the mounts.
	Filesystems Filesystems `yaml:"filesystems"`
	// Disks chooses among the block devices.
	Disks Disks `yaml:"disks"`
	// Interfaces chooses among the network interfaces.
	Interfaces Interfaces `yaml:"interfaces"`
}

// Filesystems chooses mounts by type and by mount point; a mount has to pass
// both. An include list that is not empty decides alone: its exclude list is not
// looked at.
type Filesystems struct {
	// IncludeTypes are patterns of filesystem types, e.g. ext4, nfs*.
	IncludeTypes []string `yaml:"include_types"`
	// ExcludeTypes are, by default, those without a store of their own.
	ExcludeTypes []string `yaml:"exclude_types"`
	// IncludeMounts are patterns of mount points as the host sees them.
	IncludeMounts []string `yaml:"include_mounts"`
	// ExcludeMounts are, by default, the mounts of containers and pods.
	ExcludeMounts []string `yaml:"exclude_mounts"`
}

// Disks chooses block devices by name.
type Disks struct {
	// Exclude are patterns of names as in /proc/diskstats.
	Exclude []string `yaml:"exclude"`
	// Partitions adds the partitions of disks, whose traffic is also in their disk's.
	Partitions bool `yaml:"partitions"`
}

// Interfaces chooses network interfaces by name.
type Interfaces struct {
	// Exclude are patterns of names; by default the loopback and the host's ends
	// of pods' interfaces, whose traffic layer 2 knows by pod.
	Exclude []string `yaml:"exclude"`
}

// Default returns the configuration in force where the file says nothing.
func Default() Config {
	return Config{
		Enabled:  "true",
		Interval: 10 * time.Second,
		Root:     "/",
		Filesystems: Filesystems{
			ExcludeTypes: []string{
				// No store of their own.
				"autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
				"efivarfs", "fusectl", "fuse.lxcfs", "fuse.portal", "fuse.gvfsd-fuse", "hugetlbfs", "mqueue", "nsfs",
				"proc", "pstore", "ramfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tmpfs", "tracefs",
				// Layers over another filesystem that is shown itself, and images that are full by nature.
				"aufs", "overlay", "iso9660", "squashfs", "erofs",
			},
			ExcludeMounts: []string{
				"/dev", "/dev/*", "/proc", "/proc/*", "/sys", "/sys/*", "/run/credentials/*", "/run/user/*",
				"/run/containerd/*", "/var/lib/containerd/*", "/var/lib/containers/*", "/var/lib/docker/*",
				"/var/lib/kubelet/pods/*", "/var/lib/kubelet/plugins/*", "/home/kubernetes/containerized_mounter/*",
			},
		},
		Disks: Disks{Exclude: []string{"loop*", "ram*", "zram*", "fd*", "sr*"}},
		Interfaces: Interfaces{Exclude: []string{
			"lo",
			"veth*", "cali*", "lxc*", "eni*", "azv*", "gke*", // bridge CNIs, Calico, Cilium, AWS, Azure, GKE: one end per pod
		}},
	}
}

// Check returns everything that is wrong with c, each beginning with the key.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	switch c.Enabled {
	case "true", "false", "auto":
	default:
		bad("enabled: must be true, false or auto, not %q", c.Enabled)
	}
	if c.Interval < time.Second {
		bad("interval: must be at least 1s, not %v", c.Interval)
	}
	if !filepath.IsAbs(c.Root) {
		bad("root: must be an absolute path, / or where the host's / is mounted, not %q", c.Root)
	}
	patterns := func(key string, list []string) {
		for i, p := range list {
			if p == "" {
				bad("%s[%d]: an empty pattern matches nothing; remove it", key, i)
			}
		}
	}
	patterns("filesystems.include_types", c.Filesystems.IncludeTypes)
	patterns("filesystems.exclude_types", c.Filesystems.ExcludeTypes)
	patterns("filesystems.include_mounts", c.Filesystems.IncludeMounts)
	patterns("filesystems.exclude_mounts", c.Filesystems.ExcludeMounts)
	patterns("disks.exclude", c.Disks.Exclude)
	patterns("interfaces.exclude", c.Interfaces.Exclude)
	return errors.Join(errs...)
}

// part reads one thing of the machine and appends its samples to p. It returns
// what went wrong, and has appended what did not.
type part interface {
	sample(ctx context.Context, p *pass) error
}

// Part is one line of the table, with what is known of its calls: status shows
// which part is slow or fails, without costing a series.
type Part struct {
	Name  string
	Stats collect.Stats

	part
}

// parts is the table: all that is read, in this order. The filesystems come
// last, because they may take time.
func parts(c Config, t *tree) []*Part {
	return []*Part{
		{Name: "cpu", part: newCPU(c, t)},
		{Name: "load", part: newLoad(t)},
		{Name: "memory", part: newMemory(t)},
		{Name: "paging", part: newPaging(t)},
		{Name: "disk", part: newDisks(c.Disks, t)},
		{Name: "network", part: newInterfaces(c.Interfaces, t)},
		{Name: "protocol", part: newProtocols(t)},
		{Name: "socket", part: newSockets(c.Connections, t)},
		{Name: "process", part: newProcesses(t)},
		{Name: "file_handle", part: newFileHandles(t)},
		{Name: "kernel", part: newKernel()},
		{Name: "pressure", part: newPressure(t)},
		{Name: "entropy", part: newEntropy(t)},
		{Name: "uptime", part: newUptime(t)},
		{Name: "identity", part: newInfo(c.Root)},
		{Name: "filesystem", part: newFilesystems(c.Filesystems, t)},
	}
}

// Host samples one machine. It is a collect.Sampler.
type Host struct {
	tree  *tree
	parts []*Part
	boot  int64 // ms; 0 until known
	items int   // of the last call, to size the next batch
	stat  stat  // kept for its memory
}

// New returns the Host that c describes; c has passed Check. It reads nothing.
// Whether the host is sampled at all, and how often, is the caller's to do.
func New(c Config) *Host {
	t := &tree{root: c.Root}
	return &Host{tree: t, parts: parts(c, t)}
}

// Parts returns the parts in the order of their calls. Their Stats may be read
// at any time.
func (h *Host) Parts() []*Part { return h.parts }

// Sample appends the machine's samples to b. Its error joins those of the parts;
// it wraps collect.ErrAbsent if there is no /proc below the root.
func (h *Host) Sample(ctx context.Context, b *signal.Batch) error {
	p := &pass{b: b, tree: h.tree, now: time.Now().UnixMilli(), stat: &h.stat}
	b.Samples = slices.Grow(b.Samples, h.items+h.items/8)
	before := len(b.Samples)

	var errs []error
	path := h.tree.path("proc/stat")
	text, err := h.tree.read(path)
	if err := unusable(path, text, err); err != nil {
		return err
	}
	h.stat.reset()
	if err == nil {
		err = inFile(path, parseStat(text, &h.stat))
	}
	if err != nil {
		errs = append(errs, err)
	}
	p.boot = h.bootTime(h.stat.boot * 1000)

	for _, part := range h.parts {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("stopped before %s: %w", part.Name, err))
			break
		}
		if err := part.call(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	h.items = len(b.Samples) - before
	return errors.Join(errs...)
}

// unusable returns an error if reading proc/stat, which every kernel has and
// everyone may read, shows that there is nothing to be had below the root.
func unusable(path string, text []byte, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission): // it is the way there that is closed
		return fmt.Errorf("%w: run the agent as root, or set root to where it may read the host's tree", err)
	case text == nil && err == nil:
		return fmt.Errorf("no %s: mount the host's / into the agent's container and set root to that path: %w", path, collect.ErrAbsent)
	}
	return nil
}

// bootTime returns the time of boot to use, given the kernel's current opinion
// (0 for none): the first one, unless the clock was set since.
func (h *Host) bootTime(now int64) int64 {
	const step = 60_000 // ms; slewing and the rounding to seconds stay far below
	if now != 0 && (h.boot == 0 || now-h.boot > step || h.boot-now > step) {
		h.boot = now
	}
	return h.boot
}

// call makes one call of the part and books it.
func (part *Part) call(ctx context.Context, p *pass) error {
	start, before := time.Now(), len(p.b.Samples)
	err := part.sample(ctx, p)
	end := time.Now()
	st := &part.Stats
	st.Runs.Add(1)
	if err != nil {
		st.Failures.Add(1)
	}
	st.Items.Add(int64(len(p.b.Samples) - before))
	st.Last.Store(end.UnixMilli())
	st.Took.Store(int64(end.Sub(start)))
	st.SetErr(err)
	return err
}
