package cadvisor

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cadvisor/lib/model"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/signal"
)

// converter turns what cAdvisor has of a container into a Reading.
type converter struct {
	conf     container.Config
	files    files
	memory   uint64 // of the machine: cAdvisor puts it where a limit is 0
	pressure bool   // the kernel accounts for stalls; without that, cAdvisor reads zeroes

	round   uint64
	known   map[string]*known // by the cgroup's path
	missing []string          // cgroups without a reading for patience rounds
}

// patience is how many Reads a container may be without a reading before that
// is an error (it is being made, or on its way out), and after how many a
// runtime is asked a second time.
const patience = 3

// known is what does not change while a container lives.
type known struct {
	round  uint64 // the last one that saw it
	age    uint64 // rounds that saw it
	unread uint64 // rounds in a row without a reading

	runtime, id string // what cAdvisor said, to notice when it learns more
	labels      string
	named       bool // a runtime has said what it is
	container   bool // as opposed to a listed cgroup
	pod         bool // a pod's sandbox
	hostNetwork bool
}

func newConverter(c container.Config, mounts map[string]string, memory uint64) *converter {
	proc := "/proc"
	if _, err := os.Stat("/rootfs/proc"); err == nil {
		proc = "/rootfs/proc" // cAdvisor looks there, too
	}
	_, v2 := mounts[""]
	_, err := os.Stat(proc + "/pressure/cpu")
	return &converter{
		conf: c, files: files{mounts, proc}, memory: memory, pressure: v2 && err == nil,
		known: map[string]*known{},
	}
}

// begin starts a round, in which convert is called for every container there is.
func (c *converter) begin() {
	c.round++
	c.missing = c.missing[:0]
}

// end forgets who was not there, and complains about those who were but could
// not be read.
func (c *converter) end() error {
	for name, k := range c.known {
		if k.round != c.round {
			delete(c.known, name)
		}
	}
	if n := len(c.missing); n > 0 {
		return fmt.Errorf("cAdvisor has no reading of %d of %d containers, of cgroup %s for one; the log tells more at level debug", n, len(c.known), c.missing[0])
	}
	return nil
}

// nameless returns the containers that no runtime has spoken for: all of them,
// if there is a new runtime to ask, else those that are due for a second try,
// because their runtime may have been too busy at the first.
func (c *converter) nameless(all bool) []string {
	var names []string
	for name, k := range c.known {
		if k.container && !k.named && (all || k.age == patience) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// convert fills r with the reading of info. It returns false where there is
// nothing to report.
func (c *converter) convert(r *container.Reading, info *model.ContainerInfo) bool {
	name := info.Name
	if name == "" || name == "/" {
		return false
	}
	k := c.known[name]
	if k == nil || k.runtime != info.Namespace || k.id != info.Id {
		if k = c.identify(info); k == nil {
			return false
		}
		c.known[name] = k
	}
	k.round = c.round
	k.age++
	if len(info.Stats) == 0 {
		if k.unread++; k.unread >= patience {
			c.missing = append(c.missing, name)
		}
		return false
	}
	k.unread = 0
	stats := info.Stats[len(info.Stats)-1]
	r.Reset()
	r.Name, r.Labels = name, k.labels
	if k.pod {
		r.Scope = container.OfPod
	}
	r.Time = stats.Timestamp.UnixMilli()
	r.Start = started(info)
	if !k.hostNetwork {
		c.network(r, stats.Network)
	}
	if k.pod {
		return len(r.Interfaces) > 0
	}
	c.cpu(r, &info.Spec, stats)
	c.memoryOf(r, &info.Spec, stats)
	c.disks(r, stats)
	c.files.fill(r, name)
	return true
}

// started returns when a container's counters were zero. Docker starts the
// same container again and again, and says when; the others make a new one.
func started(info *model.ContainerInfo) int64 {
	t := info.Spec.CreationTime
	if info.Namespace == "docker" && !info.Spec.StartTime.IsZero() {
		t = info.Spec.StartTime
	}
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// identify returns what is to be known of a new container, nil if it is none
// that is wanted.
func (c *converter) identify(info *model.ContainerInfo) *known {
	k := &known{runtime: info.Namespace, id: info.Id, named: info.Namespace != "", hostNetwork: c.files.hostNetwork(info.Name)}
	path, isContainer := container.Identify(info.Name)
	switch {
	case isContainer || k.named:
		k.container = true
	case c.conf.Listed(info.Name):
		k.labels = signal.Labels(signal.LabelCgroup, info.Name)
		return k
	default:
		return nil
	}
	l := info.Spec.Labels
	kube := [...]string{
		signal.LabelPod, l["io.kubernetes.pod.name"],
		signal.LabelNamespace, l["io.kubernetes.pod.namespace"],
		signal.LabelPodUID, either(l["io.kubernetes.pod.uid"], path.Pod),
	}
	if k.pod = isSandbox(l); k.pod {
		k.labels = signal.Labels(kube[:]...)
		return k
	}
	runtime := path.Runtime
	switch info.Namespace {
	case "":
	case "crio":
		runtime = "cri-o"
	default:
		runtime = info.Namespace
	}
	inPod := l["io.kubernetes.container.name"]
	image, tag, digest := container.SplitImage(info.Spec.Image)
	k.labels = signal.Labels(append(kube[:],
		signal.LabelK8sContainer, inPod,
		signal.LabelContainer, either(inPod, l["nerdctl/name"], alias(info)),
		signal.LabelContainerID, either(path.Container, info.Id),
		signal.LabelRuntime, runtime,
		signal.LabelImage, image,
		signal.LabelImageTag, tag,
		signal.LabelImageID, digest,
	)...)
	return k
}

// isSandbox reports whether a container with these labels only holds its pod's
// namespaces.
func isSandbox(l map[string]string) bool {
	return l["io.cri-containerd.kind"] == "sandbox" || // containerd
		l["io.kubernetes.container.name"] == "POD" || // CRI-O
		l["io.kubernetes.docker.type"] == "podsandbox" // cri-dockerd
}

// alias returns the name a user gave to a container, "" if none did.
func alias(info *model.ContainerInfo) string {
	for _, a := range info.Aliases {
		if a != info.Id && !strings.Contains(a, "/") {
			return a
		}
	}
	return ""
}

func either(s ...string) string {
	for _, s := range s {
		if s != "" {
			return s
		}
	}
	return ""
}

func (c *converter) cpu(r *container.Reading, spec *model.ContainerSpec, stats *model.ContainerStats) {
	v := &r.Values
	cpu := stats.Cpu
	if !spec.HasCpu || cpu == nil { // a controller that is not on reads as zeroes
		return
	}
	v[container.CPUShares] = float64(spec.Cpu.Limit)
	if period := spec.Cpu.Period; period > 0 {
		v[container.CPUPeriod] = float64(period) / 1e6
		if quota := spec.Cpu.Quota; quota > 0 && quota < noLimit {
			v[container.CPUQuota] = float64(quota) / 1e6
			v[container.CPULimit] = float64(quota) / float64(period)
		}
	}
	r.CPU = float64(cpu.Usage.Total) / 1e9
	v[container.CPUUser] = float64(cpu.Usage.User) / 1e9
	v[container.CPUSystem] = float64(cpu.Usage.System) / 1e9
	v[container.Periods] = float64(cpu.CFS.Periods)
	v[container.ThrottledPeriods] = float64(cpu.CFS.ThrottledPeriods)
	v[container.ThrottledTime] = float64(cpu.CFS.ThrottledTime) / 1e9
	c.stalled(v, container.CPUSome, container.CPUFull, &cpu.PSI)
}

// stalled sets two values from PSI totals. Those are microseconds, as the
// kernel writes them, whatever the model's comment says.
func (c *converter) stalled(v *[container.NumValues]float64, some, full container.Value, psi *model.PSIStats) {
	if c.pressure {
		v[some] = float64(psi.Some.Total) / 1e6
		v[full] = float64(psi.Full.Total) / 1e6
	}
}

// noLimit is about what the kernel shows where there is none: the largest
// multiple of a page in 63 bits on cgroup v1, "max" on v2, which becomes the
// largest number. No machine has as much.
const noLimit = 1 << 60

func (c *converter) memoryOf(r *container.Reading, spec *model.ContainerSpec, stats *model.ContainerStats) {
	v, m := &r.Values, stats.Memory
	if !spec.HasMemory || m == nil {
		return
	}
	if limit := spec.Memory.Limit; limit > 0 && limit < noLimit && limit != c.memory {
		v[container.MemoryLimit] = float64(limit)
	}
	if low := spec.Memory.Reservation; low > 0 && low < noLimit {
		v[container.MemoryReservation] = float64(low)
	}
	v[container.MemoryUsage] = float64(m.Usage)
	if m.MaxUsage > 0 { // memory.peak came to v2 with Linux 5.19
		v[container.MemoryUsageMax] = float64(m.MaxUsage)
	}
	v[container.MemoryWorkingSet] = float64(m.WorkingSet)
	v[container.MemoryRSS] = float64(m.RSS)
	v[container.MemoryCache] = float64(m.Cache)
	v[container.MemoryMapped] = float64(m.MappedFile)
	if m.Swap < noLimit { // v2 subtracts usage from a sum that may be missing
		v[container.MemorySwap] = float64(m.Swap)
	}
	// The kernel counts major faults among all.
	major := m.ContainerData.Pgmajfault
	v[container.MajorFaults] = float64(major)
	v[container.MinorFaults] = float64(m.ContainerData.Pgfault - min(major, m.ContainerData.Pgfault))
	c.stalled(v, container.MemorySome, container.MemoryFull, &m.PSI)
}

func (c *converter) disks(r *container.Reading, stats *model.ContainerStats) {
	if io := stats.DiskIo; io != nil {
		for _, d := range io.IoServiceBytes {
			r.Disks = append(r.Disks, container.Disk{
				Device: deviceName(&d),
				Read:   number(d.Stats, "Read"), Write: number(d.Stats, "Write"),
				ReadOperations: math.NaN(), WriteOperations: math.NaN(),
			})
		}
		for _, d := range io.IoServiced {
			name := deviceName(&d)
			i := slices.IndexFunc(r.Disks, func(have container.Disk) bool { return have.Device == name })
			if i < 0 {
				i = len(r.Disks)
				r.Disks = append(r.Disks, container.Disk{Device: name, Read: math.NaN(), Write: math.NaN()})
			}
			r.Disks[i].ReadOperations, r.Disks[i].WriteOperations = number(d.Stats, "Read"), number(d.Stats, "Write")
		}
		slices.SortFunc(r.Disks, func(a, b container.Disk) int { return strings.Compare(a.Device, b.Device) })
		c.stalled(&r.Values, container.IOSome, container.IOFull, &io.PSI)
	}
	for i := range stats.Filesystem {
		f := &stats.Filesystem[i]
		r.Filesystems = append(r.Filesystems, container.Filesystem{
			Device: strings.TrimPrefix(f.Device, "/dev/"), Usage: float64(f.Usage), Capacity: float64(f.Limit),
			Available: math.NaN(), Inodes: math.NaN(), InodesFree: math.NaN(), InodesUsed: math.NaN(),
		})
	}
}

func number(stats map[string]uint64, key string) float64 {
	if v, ok := stats[key]; ok {
		return float64(v)
	}
	return math.NaN()
}

// deviceName returns the name layer 1 has for a block device, or its numbers.
func deviceName(d *model.PerDiskStats) string {
	if d.Device != "" {
		return strings.TrimPrefix(d.Device, "/dev/")
	}
	return strconv.FormatUint(d.Major, 10) + ":" + strconv.FormatUint(d.Minor, 10)
}

func (c *converter) network(r *container.Reading, n *model.NetworkStats) {
	if n == nil {
		return
	}
	for i := range n.Interfaces {
		f := &n.Interfaces[i]
		r.Interfaces = append(r.Interfaces, container.Interface{
			Name:     f.Name,
			Receive:  container.Traffic{Bytes: float64(f.RxBytes), Packets: float64(f.RxPackets), Errors: float64(f.RxErrors), Dropped: float64(f.RxDropped)},
			Transmit: container.Traffic{Bytes: float64(f.TxBytes), Packets: float64(f.TxPackets), Errors: float64(f.TxErrors), Dropped: float64(f.TxDropped)},
		})
	}
}
