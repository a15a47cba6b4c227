package container

import (
	"encoding/json"
	"io"
	"math"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// summary is the part of /stats/summary that we use (k8s.io/kubelet's
// stats/v1alpha1). Times are whole seconds; numbers that are missing are nil.
type summary struct {
	Node struct {
		NodeName         string
		StartTime        time.Time
		SystemContainers []summaryContainer
		CPU              *summaryCPU
		Memory           *summaryMemory
		Network          *summaryNetwork
		Fs               *summaryFS
		Runtime          *struct{ ImageFs *summaryFS }
		Swap             *summarySwap
	}
	Pods []summaryPod
}

type summaryPod struct {
	PodRef           struct{ Name, Namespace, UID string }
	StartTime        time.Time
	Containers       []summaryContainer
	CPU              *summaryCPU
	Memory           *summaryMemory
	Network          *summaryNetwork
	Volume           []summaryVolume
	EphemeralStorage *summaryFS `json:"ephemeral-storage"`
	Swap             *summarySwap
}

type summaryContainer struct {
	Name         string
	StartTime    time.Time
	CPU          *summaryCPU
	Memory       *summaryMemory
	Rootfs, Logs *summaryFS
	Swap         *summarySwap
}

type summaryCPU struct {
	Time                                 time.Time
	UsageNanoCores, UsageCoreNanoSeconds *float64
}

type summaryMemory struct {
	Time                                                                               time.Time
	AvailableBytes, UsageBytes, WorkingSetBytes, RSSBytes, PageFaults, MajorPageFaults *float64
}

type summarySwap struct{ SwapUsageBytes *float64 }

type summaryNetwork struct {
	Time       time.Time
	Interfaces []struct {
		Name                                 string
		RxBytes, RxErrors, TxBytes, TxErrors *float64
	}
}

type summaryFS struct {
	Time                                                                     time.Time
	AvailableBytes, CapacityBytes, UsedBytes, InodesFree, Inodes, InodesUsed *float64
}

type summaryVolume struct {
	summaryFS
	Name   string
	PVCRef *struct{ Name, Namespace string }
}

// decode reads the summary, using the same memory each time.
func (k *Kubelet) decode(r io.Reader, s *summary) error {
	k.body.Reset()
	if _, err := k.body.ReadFrom(r); err != nil {
		return err
	}
	return json.Unmarshal(k.body.Bytes(), s)
}

// number is v or NaN.
func number(v *float64) float64 {
	if v == nil {
		return math.NaN()
	}
	return *v
}

// millis is t in Unix milliseconds, 0 if it is not set.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// filesystem is what f says.
func (f *summaryFS) filesystem() Filesystem {
	return Filesystem{
		Time: millis(f.Time), Usage: number(f.UsedBytes), Capacity: number(f.CapacityBytes), Available: number(f.AvailableBytes),
		Inodes: number(f.Inodes), InodesFree: number(f.InodesFree), InodesUsed: number(f.InodesUsed),
	}
}

// addSummary completes the entries with what only the summary has, and makes
// those that the pages lack.
func (k *Kubelet) addSummary(s *summary) {
	alone := k.thin && len(k.byName) == 0
	if s.Node.NodeName != "" && k.node == "" {
		k.node = s.Node.NodeName
	}
	k.addNode(s, alone)
	for i := range s.Pods {
		p := &s.Pods[i]
		who := podContainer{Namespace: p.PodRef.Namespace, Pod: p.PodRef.Name}
		if e := k.summed(who, p.PodRef.UID, alone, func(name string) *entryOf { return k.inSummary(name, aPod, who, p.PodRef.UID) }); e != nil {
			e.fill(alone, p.StartTime, p.CPU, p.Memory, p.Swap)
			if fs := p.EphemeralStorage; fs != nil {
				e.r.Filesystems = append(e.r.Filesystems, fs.filesystem())
			}
			if k.thin && p.Network != nil {
				k.addNetwork(e, p)
			}
		}
		for j := range p.Containers {
			c := &p.Containers[j]
			who.Container = c.Name
			if e := k.summed(who, p.PodRef.UID, alone, func(name string) *entryOf { return k.inSummary(name, aContainer, who, p.PodRef.UID) }); e != nil {
				e.fill(alone, c.StartTime, c.CPU, c.Memory, c.Swap)
				e.addFilesystems(c)
			}
		}
		who.Container = ""
		for j := range p.Volume {
			k.addVolume(who, p.PodRef.UID, &p.Volume[j])
		}
	}
}

// summed returns the entry of a container or pod: that of the pages or, where
// the summary stands alone, one of its own. nil if the pages merely lack it yet.
func (k *Kubelet) summed(who podContainer, uid string, alone bool, make func(string) *entryOf) *entryOf {
	if e := k.byName[who]; e != nil {
		return e
	}
	if !alone {
		return nil
	}
	return k.entry([]byte("summary/"+who.Namespace+"/"+who.Pod+"/"+uid+"/"+who.Container), make)
}

// inSummary returns a new entry that the summary alone knows.
func (k *Kubelet) inSummary(name string, kind entryKind, who podContainer, uid string) *entryOf {
	e := k.named(name, kind, who)
	if e.uid = uid; kind != aNode {
		e.labels = k.namedLabels(e)
	}
	return e
}

// fill enters CPU and memory: all of it where the summary is alone, and
// otherwise what is not known yet.
func (e *entryOf) fill(alone bool, start time.Time, cpu *summaryCPU, mem *summaryMemory, swap *summarySwap) {
	r := &e.r
	v := &r.Values
	set := func(at Value, n float64) {
		if v[at] != v[at] {
			v[at] = n
		}
	}
	if r.Start == 0 {
		r.Start = millis(start)
	}
	if swap != nil && e.kind != aContainer {
		set(MemorySwap, number(swap.SwapUsageBytes))
	}
	if !alone && !e.thin {
		return
	}
	if cpu != nil {
		if r.Time == 0 {
			r.Time = millis(cpu.Time)
			if n := number(cpu.UsageCoreNanoSeconds) / 1e9; n == n {
				r.CPU, v[CPUTime] = n, n
			}
			set(CPUUsage, number(cpu.UsageNanoCores)/1e9)
		}
	}
	if swap != nil {
		set(MemorySwap, number(swap.SwapUsageBytes))
	}
	if mem == nil {
		return
	}
	if r.Time == 0 {
		r.Time = millis(mem.Time)
	}
	set(MemoryUsage, number(mem.UsageBytes))
	set(MemoryWorkingSet, number(mem.WorkingSetBytes))
	set(MemoryAvailable, number(mem.AvailableBytes))
	set(MemoryRSS, number(mem.RSSBytes))
	set(MajorFaults, number(mem.MajorPageFaults))
	set(MinorFaults, max(0, number(mem.PageFaults)-number(mem.MajorPageFaults)))
}

// addFilesystems enters what a container keeps: its writable layer and its logs.
func (e *entryOf) addFilesystems(c *summaryContainer) {
	if c.Rootfs == nil {
		return
	}
	f := c.Rootfs.filesystem()
	if c.Logs != nil && c.Logs.UsedBytes != nil {
		f.Usage += *c.Logs.UsedBytes
	}
	e.r.Filesystems = append(e.r.Filesystems[:0], f)
}

// addNode enters the node's file systems and system containers, and its sums
// where no page has them.
func (k *Kubelet) addNode(s *summary, alone bool) {
	n := &s.Node
	e := k.entries["/"]
	if e == nil || e.round != k.round {
		if e = k.entries["resource///"]; e == nil || e.round != k.round {
			e = nil
		}
	}
	if e == nil && n.CPU != nil && (alone || k.noPage == 0) {
		e = k.entry([]byte("summary///"), func(name string) *entryOf { return k.inSummary(name, aNode, podContainer{}, "") })
	}
	if e != nil {
		e.fill(alone || e.thin, n.StartTime, n.CPU, n.Memory, n.Swap)
		if n.Fs != nil {
			e.r.Filesystems = append(e.r.Filesystems[:0], n.Fs.filesystem())
		}
		if len(e.r.Interfaces) == 0 && n.Network != nil {
			e.r.Interfaces = n.Network.interfaces(e.r.Interfaces)
		}
	}
	if n.Runtime != nil && n.Runtime.ImageFs != nil {
		f := n.Runtime.ImageFs.filesystem()
		r := k.extra("images", OfImages, signal.Labels(signal.LabelNode, k.node), f.Time)
		r.Filesystems = append(r.Filesystems, f)
	}
	for i := range n.SystemContainers {
		c := &n.SystemContainers[i]
		system := entryOf{}
		system.r.Reset()
		system.fill(true, c.StartTime, c.CPU, c.Memory, nil)
		r := k.extra("system/"+c.Name, OfSystem, signal.Labels(signal.LabelNode, k.node, signal.LabelSystemContainer, c.Name), system.r.Time)
		r.Start, r.CPU, r.Values = system.r.Start, system.r.CPU, system.r.Values
	}
}

// addVolume appends the reading of one volume. The one with the service
// account's token, which nearly every pod has under a name of its own, is 12 KiB
// for ever, and would be most of all volumes.
func (k *Kubelet) addVolume(pod podContainer, uid string, v *summaryVolume) {
	if strings.HasPrefix(v.Name, "kube-api-access-") {
		return
	}
	claim := ""
	if v.PVCRef != nil {
		claim = v.PVCRef.Name
	}
	labels := signal.Merge(k.podLabels(pod, uid, "", "", ""), signal.Labels(signal.LabelVolume, v.Name, signal.LabelVolumeClaim, claim))
	f := v.filesystem()
	r := k.extra("volume/"+uid+"/"+v.Name, OfVolume, labels, f.Time)
	r.Filesystems = append(r.Filesystems, f)
}

// addNetwork enters a pod's network as the summary has it.
func (k *Kubelet) addNetwork(e *entryOf, p *summaryPod) {
	r := k.extra("network/"+p.PodRef.UID, OfPod, e.labels, millis(p.Network.Time))
	r.Start = millis(p.StartTime)
	if r.Interfaces = p.Network.interfaces(r.Interfaces); k.onHostNetwork(e, r.Interfaces) {
		r.Interfaces = r.Interfaces[:0]
	}
}

func (n *summaryNetwork) interfaces(into []Interface) []Interface {
	nan := math.NaN()
	for i := range n.Interfaces {
		f := &n.Interfaces[i]
		into = append(into, Interface{
			f.Name, Traffic{number(f.RxBytes), nan, number(f.RxErrors), nan}, Traffic{number(f.TxBytes), nan, number(f.TxErrors), nan},
		})
	}
	return into
}

// extra appends an empty reading.
func (k *Kubelet) extra(name string, scope Scope, labels string, at int64) *Reading {
	if cap(k.readings) > len(k.readings) {
		k.readings = k.readings[:len(k.readings)+1]
	} else {
		k.readings = append(k.readings, Reading{})
	}
	r := &k.readings[len(k.readings)-1]
	*r = Reading{} // its slices may be an entry's
	r.Reset()
	r.Name, r.Scope, r.Labels, r.Time = name, scope, labels, at
	return r
}
