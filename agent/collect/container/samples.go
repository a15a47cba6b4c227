package container

import (
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Reading is what a provider read of one container, pod or cgroup at one time.
type Reading struct {
	Name   string // what tells it from the others of one Read, the same in each: the cgroup's path
	Labels string // flat: its identity
	Pod    bool   // a pod's network; the numbers are not used
	Start  int64  // Unix ms: when its counters were zero; 0 if unknown
	Time   int64  // Unix ms: when it was read

	CPU         float64 // s: user, system and what could not be told apart; NaN if unknown
	Values      [NumValues]float64
	Disks       []Disk
	Filesystems []Filesystem
	Interfaces  []Interface
}

// Disk is a container's traffic with one block device.
type Disk struct {
	Device                          string
	Read, Write                     float64 // bytes since Start; NaN if unknown
	ReadOperations, WriteOperations float64
}

// Filesystem is what a container keeps on one file system.
type Filesystem struct {
	Device          string
	Usage, Capacity float64 // bytes
}

// Interface is the traffic over one network interface since Start.
type Interface struct {
	Name              string
	Receive, Transmit Traffic
}

// Traffic is one direction of an Interface; NaN if unknown.
type Traffic struct{ Bytes, Packets, Errors, Dropped float64 }

// Reset empties r for another container, keeping its memory: every number is
// unknown.
func (r *Reading) Reset() {
	*r = Reading{CPU: math.NaN(), Disks: r.Disks[:0], Filesystems: r.Filesystems[:0], Interfaces: r.Interfaces[:0]}
	for i := range r.Values {
		r.Values[i] = math.NaN()
	}
}

// Value is the place of one number in Reading.Values. names_container.go has
// the units.
type Value uint8

// The values. Those marked * the Sampler works out itself.
const (
	Uptime    Value = iota // *
	StartTime              // *
	CPUUser
	CPUSystem
	CPUUsage // *
	CPULimit
	CPUShares
	CPUQuota
	CPUPeriod
	Periods
	ThrottledPeriods
	ThrottledTime
	MemoryUsage
	MemoryUsageMax
	MemoryWorkingSet
	MemoryAvailable // *
	MemoryRSS
	MemoryCache
	MemorySwap
	MemoryLimit
	MemoryReservation
	MajorFaults
	MinorFaults
	OOMEvents
	CPUSome // pressure
	CPUFull
	MemorySome
	MemoryFull
	IOSome
	IOFull
	Processes
	Threads
	ThreadsLimit
	NumValues
)

// valueDescs says what each Value becomes. It is never written.
var valueDescs = [NumValues]struct {
	name, unit string
	typ        signal.Type
	labels     [4]string // pairs
}{
	Uptime:            {name: signal.ContainerUptime, unit: "s", typ: signal.Gauge},
	StartTime:         {name: signal.ContainerStartTime, unit: "s", typ: signal.Gauge},
	CPUUser:           {signal.ContainerCPUTime, "s", signal.Counter, [4]string{signal.LabelCPUMode, "user"}},
	CPUSystem:         {signal.ContainerCPUTime, "s", signal.Counter, [4]string{signal.LabelCPUMode, "system"}},
	CPUUsage:          {name: signal.ContainerCPUUsage, unit: "{cpu}", typ: signal.Gauge},
	CPULimit:          {name: signal.ContainerCPULimit, unit: "{cpu}", typ: signal.Gauge},
	CPUShares:         {name: signal.ContainerCPUShares, unit: "1", typ: signal.Gauge},
	CPUQuota:          {name: signal.ContainerCPUQuota, unit: "s", typ: signal.Gauge},
	CPUPeriod:         {name: signal.ContainerCPUPeriod, unit: "s", typ: signal.Gauge},
	Periods:           {name: signal.ContainerThrottlePeriods, unit: "{period}", typ: signal.Counter},
	ThrottledPeriods:  {name: signal.ContainerThrottledPeriods, unit: "{period}", typ: signal.Counter},
	ThrottledTime:     {name: signal.ContainerThrottledTime, unit: "s", typ: signal.Counter},
	MemoryUsage:       {name: signal.ContainerMemoryUsage, unit: "By", typ: signal.Gauge},
	MemoryUsageMax:    {name: signal.ContainerMemoryUsageMax, unit: "By", typ: signal.Gauge},
	MemoryWorkingSet:  {name: signal.ContainerMemoryWorkingSet, unit: "By", typ: signal.Gauge},
	MemoryAvailable:   {name: signal.ContainerMemoryAvailable, unit: "By", typ: signal.Gauge},
	MemoryRSS:         {name: signal.ContainerMemoryRSS, unit: "By", typ: signal.Gauge},
	MemoryCache:       {name: signal.ContainerMemoryCache, unit: "By", typ: signal.Gauge},
	MemorySwap:        {name: signal.ContainerMemorySwap, unit: "By", typ: signal.Gauge},
	MemoryLimit:       {name: signal.ContainerMemoryLimit, unit: "By", typ: signal.Gauge},
	MemoryReservation: {name: signal.ContainerMemoryRequest, unit: "By", typ: signal.Gauge},
	MajorFaults:       {signal.ContainerMemoryFaults, "{fault}", signal.Counter, [4]string{signal.LabelPagingType, "major"}},
	MinorFaults:       {signal.ContainerMemoryFaults, "{fault}", signal.Counter, [4]string{signal.LabelPagingType, "minor"}},
	OOMEvents:         {name: signal.ContainerMemoryOOM, unit: "{event}", typ: signal.Counter},
	CPUSome:           {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "cpu", signal.LabelPressureKind, "some"}},
	CPUFull:           {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "cpu", signal.LabelPressureKind, "full"}},
	MemorySome:        {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "memory", signal.LabelPressureKind, "some"}},
	MemoryFull:        {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "memory", signal.LabelPressureKind, "full"}},
	IOSome:            {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "io", signal.LabelPressureKind, "some"}},
	IOFull:            {signal.ContainerPressure, "s", signal.Counter, [4]string{signal.LabelPressure, "io", signal.LabelPressureKind, "full"}},
	Processes:         {name: signal.ContainerProcesses, unit: "{process}", typ: signal.Gauge},
	Threads:           {name: signal.ContainerThreads, unit: "{thread}", typ: signal.Gauge},
	ThreadsLimit:      {name: signal.ContainerThreadsLimit, unit: "{thread}", typ: signal.Gauge},
}

// series is what the Sampler keeps of one container: its interned series, and
// what the next reading is compared with.
type series struct {
	round  uint64 // the last Sample that saw it
	labels string
	start  int64   // the Start of all its counters
	time   int64   // of the last reading, 0 before the first
	cpu    float64 // Reading.CPU of the last reading

	values      [NumValues]signal.Series
	disks       map[string]*[4]signal.Series // bytes read, written, operations read, written
	filesystems map[string]*[2]signal.Series // usage, capacity
	interfaces  map[string]*[8]signal.Series // receive: bytes, packets, errors, dropped; transmit: the same
}

// appendTo appends the samples of r, if it is newer than the reading before.
func (k *series) appendTo(b *signal.Batch, r *Reading) {
	if r.Time <= k.time {
		return
	}
	if k.labels != r.Labels {
		*k = series{round: k.round, labels: r.Labels, start: k.start, time: k.time, cpu: k.cpu}
	}
	if restarted := r.CPU < k.cpu; k.time == 0 || restarted {
		// The provider's Start may be the age of an inode, which the kernel makes
		// anew at will: the first one counts. It cannot be after the reading.
		k.start = r.Start
		if k.start <= 0 || k.start > r.Time {
			k.start = r.Time
		}
		if restarted {
			k.start = max(k.start, k.time) // it still ran at the reading before
			k.time = 0
		}
	}
	if !r.Pod {
		k.workOut(r)
		for i, v := range r.Values {
			k.add(b, r, &k.values[i], Value(i), v)
		}
		k.appendDisks(b, r)
	}
	k.appendInterfaces(b, r)
	k.time, k.cpu = r.Time, r.CPU
}

// workOut fills the values that follow from others.
func (k *series) workOut(r *Reading) {
	v := &r.Values
	v[StartTime] = float64(k.start) / 1e3
	v[Uptime] = float64(r.Time-k.start) / 1e3
	if k.time != 0 {
		v[CPUUsage] = (r.CPU - k.cpu) / (float64(r.Time-k.time) / 1e3)
	}
	v[MemoryAvailable] = max(0, v[MemoryLimit]-v[MemoryWorkingSet]) // NaN if either is
}

func (k *series) add(b *signal.Batch, r *Reading, s *signal.Series, which Value, v float64) {
	if v != v {
		return
	}
	d := &valueDescs[which]
	if !s.Valid() {
		*s = k.intern(d.name, d.unit, d.typ, d.labels)
	}
	b.Add(signal.Sample{Series: *s, Start: k.startOf(d.typ), Time: r.Time, Value: v})
}

func (k *series) startOf(t signal.Type) int64 {
	if t == signal.Gauge {
		return 0
	}
	return k.start
}

// intern makes a series of the container's labels and up to two pairs.
func (k *series) intern(name, unit string, t signal.Type, pairs [4]string) signal.Series {
	return signal.Intern(signal.Desc{Name: name, Unit: unit, Type: t, Labels: signal.Merge(k.labels, signal.Labels(pairs[:]...))})
}

func (k *series) appendDisks(b *signal.Batch, r *Reading) {
	for i := range r.Disks {
		d := &r.Disks[i]
		s := entry(&k.disks, d.Device, len(r.Disks))
		if !s[0].Valid() {
			for j, name := range [...]string{signal.ContainerDiskIO, signal.ContainerDiskOperations} {
				unit := [...]string{"By", "{operation}"}[j]
				s[2*j] = k.intern(name, unit, signal.Counter, [4]string{signal.LabelDevice, d.Device, signal.LabelDiskDirection, "read"})
				s[2*j+1] = k.intern(name, unit, signal.Counter, [4]string{signal.LabelDevice, d.Device, signal.LabelDiskDirection, "write"})
			}
		}
		for j, v := range [...]float64{d.Read, d.Write, d.ReadOperations, d.WriteOperations} {
			k.addTo(b, r, s[j], signal.Counter, v)
		}
	}
	for i := range r.Filesystems {
		f := &r.Filesystems[i]
		s := entry(&k.filesystems, f.Device, len(r.Filesystems))
		if !s[0].Valid() {
			s[0] = k.intern(signal.ContainerFilesystemUsage, "By", signal.Gauge, [4]string{signal.LabelDevice, f.Device})
			s[1] = k.intern(signal.ContainerFilesystemCapacity, "By", signal.Gauge, [4]string{signal.LabelDevice, f.Device})
		}
		k.addTo(b, r, s[0], signal.Gauge, f.Usage)
		k.addTo(b, r, s[1], signal.Gauge, f.Capacity)
	}
}

func (k *series) appendInterfaces(b *signal.Batch, r *Reading) {
	for i := range r.Interfaces {
		n := &r.Interfaces[i]
		s := entry(&k.interfaces, n.Name, len(r.Interfaces))
		if !s[0].Valid() {
			names := [...]string{signal.ContainerNetworkIO, signal.ContainerNetworkPackets, signal.ContainerNetworkErrors, signal.ContainerNetworkDropped}
			if r.Pod {
				names = [...]string{signal.PodNetworkIO, signal.PodNetworkPackets, signal.PodNetworkErrors, signal.PodNetworkDropped}
			}
			for j, name := range names {
				unit := [...]string{"By", "{packet}", "{error}", "{packet}"}[j]
				s[j] = k.intern(name, unit, signal.Counter, [4]string{signal.LabelInterface, n.Name, signal.LabelNetDirection, "receive"})
				s[j+4] = k.intern(name, unit, signal.Counter, [4]string{signal.LabelInterface, n.Name, signal.LabelNetDirection, "transmit"})
			}
		}
		for j, t := range [...]*Traffic{&n.Receive, &n.Transmit} {
			k.addTo(b, r, s[4*j], signal.Counter, t.Bytes)
			k.addTo(b, r, s[4*j+1], signal.Counter, t.Packets)
			k.addTo(b, r, s[4*j+2], signal.Counter, t.Errors)
			k.addTo(b, r, s[4*j+3], signal.Counter, t.Dropped)
		}
	}
}

func (k *series) addTo(b *signal.Batch, r *Reading, s signal.Series, t signal.Type, v float64) {
	if v == v {
		b.Add(signal.Sample{Series: s, Start: k.startOf(t), Time: r.Time, Value: v})
	}
}

// entry returns the series of one device or interface, making room for them at
// first. now is how many there are at present: where the map remembers many
// more than that (interfaces that come and go), it is begun anew.
func entry[S any](m *map[string]*S, name string, now int) *S {
	if s := (*m)[name]; s != nil {
		return s
	}
	if *m == nil || len(*m) > 2*now+8 {
		*m = map[string]*S{}
	}
	s := new(S)
	(*m)[name] = s
	return s
}
