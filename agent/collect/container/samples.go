package container

import (
	"math"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Scope is what a Reading is of. It decides which names its numbers get; a
// number that has no name in a scope makes no sample.
type Scope uint8

// The scopes.
const (
	OfContainer Scope = iota // a container, or a listed cgroup
	OfPod                    // a pod's sums, or its network
	OfNode                   // the node's sums, as the kubelet has them
	OfImages                 // the node's file system with the images
	OfSystem                 // the kubelet, the runtime
	OfVolume                 // a pod's volume
	OfStatus                 // what specification and status of a pod say of one of its containers
	OfProbes                 // the results of a container's probes
	NumScopes
)

// Reading is what a provider read of one container, pod or cgroup at one time.
type Reading struct {
	Name   string // what tells it from the others of one Read, the same in each: the cgroup's path
	Labels string // flat: its identity
	Scope  Scope
	Start  int64 // Unix ms: when its counters were zero; 0 if unknown
	Time   int64 // Unix ms: when it was read

	CPU         float64 // s: user, system and what could not be told apart; NaN if unknown. If it falls, all counters began anew
	Values      [NumValues]float64
	Disks       []Disk
	Filesystems []Filesystem
	Interfaces  []Interface
	Parts       []Part
}

// Disk is a container's traffic with one block device.
type Disk struct {
	Device                          string
	Read, Write                     float64 // bytes since Start; NaN if unknown
	ReadOperations, WriteOperations float64
}

// Filesystem is what a container, pod, node or volume keeps on one file system;
// NaN if unknown.
type Filesystem struct {
	Device                         string
	Time                           int64   // Unix ms, where it was not read together with the rest; 0: the Reading's
	Usage, Capacity, Available     float64 // bytes
	Inodes, InodesFree, InodesUsed float64 // pods and volumes
}

// Part is one number with labels of its own: A and B are the values of the
// label keys that Value's description names.
type Part struct {
	Value  Value
	A, B   string
	Number float64
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
	*r = Reading{CPU: math.NaN(), Disks: r.Disks[:0], Filesystems: r.Filesystems[:0], Interfaces: r.Interfaces[:0], Parts: r.Parts[:0]}
	for i := range r.Values {
		r.Values[i] = math.NaN()
	}
}

// Value is the place of one number in Reading.Values. names_container.go and
// names_kubelet.go have the units.
type Value uint8

// The values. Those marked * the Sampler works out itself, where the provider
// does not know them.
const (
	Uptime    Value = iota // *
	StartTime              // *
	CPUUser
	CPUSystem
	CPUTime  // where user and system are not told apart
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
	MemoryMapped
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
	CPURequest // OfStatus, down to LastTerminated; CPULimit and MemoryLimit are the specified ones there
	MemoryRequest
	StorageRequest
	StorageLimit
	Restarts
	Ready
	OOMKills
	LastExitCode
	State          // a Part, with the state
	Reason         // a Part, with the reason
	LastTerminated // a Part, with the reason
	Probes         // a Part, with type and result; OfProbes
	NumValues
)

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
	filesystems map[string]*filesystem
	interfaces  map[string]*[8]signal.Series // receive: bytes, packets, errors, dropped; transmit: the same
	parts       map[partKey]*signal.Series
}

// filesystem is one file system's series, as filesystemDescs has them, and when
// it was last reported.
type filesystem struct {
	series [6]signal.Series
	time   int64
}

type partKey struct {
	value Value
	a, b  string
}

// appendTo appends the samples of r, if it is newer than the reading before.
func (k *series) appendTo(b *signal.Batch, r *Reading) {
	if k.labels != r.Labels {
		*k = series{round: k.round, labels: r.Labels, start: k.start, time: k.time, cpu: k.cpu}
	}
	if r.Time > k.time {
		k.begin(r)
		k.workOut(r)
		descs := &valueDescs[r.Scope]
		for i, v := range r.Values {
			k.add(b, r, &k.values[i], &descs[i], v)
		}
		k.appendDisks(b, r)
		k.appendInterfaces(b, r)
		k.appendParts(b, r)
		k.time, k.cpu = r.Time, r.CPU
	}
	k.appendFilesystems(b, r)
}

// begin settles since when the counters of r count.
func (k *series) begin(r *Reading) {
	restarted := r.CPU < k.cpu
	if k.time != 0 && !restarted {
		return
	}
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

// workOut fills the values that follow from others.
func (k *series) workOut(r *Reading) {
	v := &r.Values
	if r.Scope == OfContainer || r.CPU == r.CPU { // a pod's network alone has no age: its sums have
		v[StartTime] = float64(k.start) / 1e3
		v[Uptime] = float64(r.Time-k.start) / 1e3
	}
	if k.time != 0 && v[CPUUsage] != v[CPUUsage] {
		v[CPUUsage] = (r.CPU - k.cpu) / (float64(r.Time-k.time) / 1e3)
	}
	if v[MemoryAvailable] != v[MemoryAvailable] {
		v[MemoryAvailable] = max(0, v[MemoryLimit]-v[MemoryWorkingSet]) // NaN if either is
	}
}

// add appends one sample, unless its number is not known or has no name.
func (k *series) add(b *signal.Batch, r *Reading, s *signal.Series, d *desc, v float64) {
	if v != v || d.name == "" {
		return
	}
	if !s.Valid() {
		*s = k.intern(d, d.labels)
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
func (k *series) intern(d *desc, pairs [4]string) signal.Series {
	return signal.Intern(signal.Desc{Name: d.name, Unit: d.unit, Type: d.typ, Labels: signal.Merge(k.labels, signal.Labels(pairs[:]...))})
}

func (k *series) appendDisks(b *signal.Batch, r *Reading) {
	for i := range r.Disks {
		d := &r.Disks[i]
		s := entry(&k.disks, d.Device, len(r.Disks))
		for j, v := range [...]float64{d.Read, d.Write, d.ReadOperations, d.WriteOperations} {
			if desc := &diskDescs[j/2]; !s[j].Valid() {
				s[j] = k.intern(desc, [4]string{signal.LabelDevice, d.Device, signal.LabelDiskDirection, [...]string{"read", "write"}[j%2]})
			}
			k.add(b, r, &s[j], &diskDescs[j/2], v)
		}
	}
}

// appendFilesystems appends what is kept on file systems. Those that are read at
// times of their own are new or not by themselves.
func (k *series) appendFilesystems(b *signal.Batch, r *Reading) {
	for i := range r.Filesystems {
		f := &r.Filesystems[i]
		at := f.Time
		if at == 0 {
			at = r.Time
		}
		s := entry(&k.filesystems, f.Device, len(r.Filesystems))
		if at <= s.time {
			continue
		}
		s.time = at
		for j, v := range [...]float64{f.Usage, f.Capacity, f.Available, f.Inodes, f.InodesFree, f.InodesUsed} {
			d := &filesystemDescs[r.Scope][j]
			if v != v || d.name == "" {
				continue
			}
			if !s.series[j].Valid() {
				s.series[j] = k.intern(d, [4]string{signal.LabelDevice, f.Device})
			}
			b.Add(signal.Sample{Series: s.series[j], Time: at, Value: v})
		}
	}
}

func (k *series) appendInterfaces(b *signal.Batch, r *Reading) {
	descs := &networkDescs[r.Scope]
	for i := range r.Interfaces {
		n := &r.Interfaces[i]
		s := entry(&k.interfaces, n.Name, len(r.Interfaces))
		for j, t := range [...]*Traffic{&n.Receive, &n.Transmit} {
			for l, v := range [...]float64{t.Bytes, t.Packets, t.Errors, t.Dropped} {
				s := &s[4*j+l]
				if !s.Valid() && descs[l].name != "" {
					*s = k.intern(&descs[l], [4]string{signal.LabelInterface, n.Name, signal.LabelNetDirection, [...]string{"receive", "transmit"}[j]})
				}
				k.add(b, r, s, &descs[l], v)
			}
		}
	}
}

func (k *series) appendParts(b *signal.Batch, r *Reading) {
	for i := range r.Parts {
		p := &r.Parts[i]
		d := &valueDescs[r.Scope][p.Value]
		if d.name == "" {
			continue
		}
		s := entry(&k.parts, partKey{p.Value, p.A, p.B}, len(r.Parts))
		if !s.Valid() {
			*s = k.intern(d, [4]string{d.labels[0], p.A, d.labels[2], p.B})
		}
		k.add(b, r, s, d, p.Number)
	}
}

// entry returns what is kept of one device, interface or part, making room for
// it at first. now is how many there are at present: where the map remembers
// many more than that (interfaces that come and go), it is begun anew.
func entry[K comparable, S any](m *map[K]*S, name K, now int) *S {
	if s := (*m)[name]; s != nil {
		return s
	}
	if *m == nil || len(*m) > 2*now+8 {
		*m = map[K]*S{}
	}
	s := new(S)
	(*m)[name] = s
	return s
}
