package container

import (
	"bytes"
	"io"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// family is what one name of /metrics/cadvisor means.
type family struct {
	value Value
	kind  familyKind
}

type familyKind uint8

const (
	plain familyKind = iota
	cpuTotal
	startTime
	faults
	diskBytes
	diskReads
	diskWrites
	network // value counts: receive 0..3, transmit 4..7; bytes, packets, errors, dropped
	machineMemory
)

// families are the names wanted of /metrics/cadvisor, as cAdvisor's own
// exporter writes them (github.com/google/cadvisor/lib/metrics). Never written.
var families = map[string]family{
	"container_cpu_usage_seconds_total":                {kind: cpuTotal},
	"container_cpu_user_seconds_total":                 {value: CPUUser},
	"container_cpu_system_seconds_total":               {value: CPUSystem},
	"container_cpu_cfs_periods_total":                  {value: Periods},
	"container_cpu_cfs_throttled_periods_total":        {value: ThrottledPeriods},
	"container_cpu_cfs_throttled_seconds_total":        {value: ThrottledTime},
	"container_spec_cpu_shares":                        {value: CPUShares},
	"container_spec_cpu_quota":                         {value: CPUQuota},
	"container_spec_cpu_period":                        {value: CPUPeriod},
	"container_memory_usage_bytes":                     {value: MemoryUsage},
	"container_memory_max_usage_bytes":                 {value: MemoryUsageMax},
	"container_memory_working_set_bytes":               {value: MemoryWorkingSet},
	"container_memory_rss":                             {value: MemoryRSS},
	"container_memory_cache":                           {value: MemoryCache},
	"container_memory_swap":                            {value: MemorySwap},
	"container_memory_mapped_file":                     {value: MemoryMapped},
	"container_spec_memory_limit_bytes":                {value: MemoryLimit},
	"container_spec_memory_reservation_limit_bytes":    {value: MemoryReservation},
	"container_memory_failures_total":                  {kind: faults},
	"container_oom_events_total":                       {value: OOMEvents},
	"container_processes":                              {value: Processes},
	"container_threads":                                {value: Threads},
	"container_threads_max":                            {value: ThreadsLimit},
	"container_pressure_cpu_waiting_seconds_total":     {value: CPUSome},
	"container_pressure_cpu_stalled_seconds_total":     {value: CPUFull},
	"container_pressure_memory_waiting_seconds_total":  {value: MemorySome},
	"container_pressure_memory_stalled_seconds_total":  {value: MemoryFull},
	"container_pressure_io_waiting_seconds_total":      {value: IOSome},
	"container_pressure_io_stalled_seconds_total":      {value: IOFull},
	"container_blkio_device_usage_total":               {kind: diskBytes},
	"container_fs_reads_total":                         {kind: diskReads},
	"container_fs_writes_total":                        {kind: diskWrites},
	"container_network_receive_bytes_total":            {kind: network, value: 0},
	"container_network_receive_packets_total":          {kind: network, value: 1},
	"container_network_receive_errors_total":           {kind: network, value: 2},
	"container_network_receive_packets_dropped_total":  {kind: network, value: 3},
	"container_network_transmit_bytes_total":           {kind: network, value: 4},
	"container_network_transmit_packets_total":         {kind: network, value: 5},
	"container_network_transmit_errors_total":          {kind: network, value: 6},
	"container_network_transmit_packets_dropped_total": {kind: network, value: 7},
	"container_start_time_seconds":                     {kind: startTime},
	"machine_memory_bytes":                             {kind: machineMemory},
}

// readPage reads /metrics/cadvisor into the entries.
func (k *Kubelet) readPage(r io.Reader) error {
	var f family
	err := k.lines(r,
		func(name []byte) (ok bool) { f, ok = families[string(name)]; return ok },
		func(l *pageLine) {
			if f.kind == machineMemory {
				k.memory = l.value
				return
			}
			if id := l.label("id"); len(id) > 0 {
				if e := k.entry(id, func(id string) *entryOf { return k.identify(id, l) }); e.kind != ignored {
					e.take(f, l)
				}
			}
		})
	for _, e := range k.entries {
		if e.round == k.round && e.kind != ignored {
			e.finish(k.memory, k.now)
		}
	}
	return err
}

// identify returns what is to be known of the cgroup id, whose first line l is.
func (k *Kubelet) identify(id string, l *pageLine) *entryOf {
	e := &entryOf{r: Reading{Name: id}}
	e.who = podContainer{string(l.label("namespace")), string(l.label("pod")), string(l.label("container"))}
	at, isContainer := Identify(id)
	switch {
	case id == "/":
		e.kind, e.r.Scope = aNode, OfNode
		e.labels = signal.Labels(signal.LabelNode, k.node)
	case isContainer && e.who.Pod != "" && (e.who.Container == "" || e.who.Container == "POD"): // the latter is CRI-O's
		e.kind, e.r.Scope = aSandbox, OfPod
		e.who.Container = ""
		e.labels = k.podLabels(e.who, at.Pod, "", "", "")
	case isContainer:
		e.kind = aContainer
		runtime := at.Runtime
		if runtime == "" {
			runtime = k.runtime
		}
		e.labels = k.podLabels(e.who, at.Pod, at.Container, runtime, string(l.label("image")))
	case at.Pod != "" && podUID(path.Base(id)) != "":
		e.kind, e.r.Scope = aPod, OfPod
		e.labels = k.podLabels(e.who, at.Pod, "", "", "")
	case k.conf.Listed(id):
		e.kind = aContainer
		e.labels = signal.Labels(signal.LabelCgroup, id)
	}
	return e
}

// take enters one line.
func (e *entryOf) take(f family, l *pageLine) {
	r := &e.r
	if l.time != 0 && r.Time == 0 {
		r.Time = l.time
	}
	switch f.kind {
	case plain:
		r.Values[f.value] = l.value
	case startTime:
		r.Start = int64(l.value) * 1000
	case cpuTotal:
		if cpu := l.label("cpu"); len(cpu) == 0 || string(cpu) == "total" {
			r.CPU = l.value
		}
	case faults:
		e.takeFaults(l)
	case diskBytes, diskReads, diskWrites:
		e.takeDisk(f.kind, l)
	case network:
		e.takeNetwork(int(f.value), l)
	}
}

// takeFaults enters page faults: a container's own, a pod's and the node's with
// those of all below. finish subtracts the major ones from all.
func (e *entryOf) takeFaults(l *pageLine) {
	scope := "hierarchy"
	if e.kind == aContainer {
		scope = "container"
	}
	if string(l.label("scope")) != scope {
		return
	}
	switch string(l.label("failure_type")) {
	case "pgfault":
		e.r.Values[MinorFaults] = l.value
	case "pgmajfault":
		e.r.Values[MajorFaults] = l.value
	}
}

// takeDisk enters bytes or operations of one block device.
func (e *entryOf) takeDisk(kind familyKind, l *pageLine) {
	if e.kind != aContainer {
		return
	}
	name := l.label("device")
	if len(name) == 0 && kind == diskBytes {
		name = slices.Concat(l.label("major"), []byte(":"), l.label("minor"))
	}
	name = bytes.TrimPrefix(name, []byte("/dev/"))
	at := slices.IndexFunc(e.r.Disks, func(d Disk) bool { return d.Device == string(name) })
	if len(name) == 0 { // operations tell no numbers: they are of the one device without a name, if it is one
		at = e.nameless()
	}
	if at < 0 {
		if len(name) == 0 {
			return
		}
		at = len(e.r.Disks)
		nan := math.NaN()
		e.r.Disks = append(e.r.Disks, Disk{string(name), nan, nan, nan, nan})
	}
	d := &e.r.Disks[at]
	switch {
	case kind == diskReads:
		d.ReadOperations = l.value
	case kind == diskWrites:
		d.WriteOperations = l.value
	case string(l.label("operation")) == "Read":
		d.Read = l.value
	case string(l.label("operation")) == "Write":
		d.Write = l.value
	}
}

// nameless returns the place of the only disk that has numbers for a name.
func (e *entryOf) nameless() int {
	at := -1
	for i := range e.r.Disks {
		if major, _, ok := strings.Cut(e.r.Disks[i].Device, ":"); ok {
			if _, err := strconv.Atoi(major); err == nil {
				if at >= 0 {
					return -1
				}
				at = i
			}
		}
	}
	return at
}

// takeNetwork enters one number of one interface.
func (e *entryOf) takeNetwork(which int, l *pageLine) {
	name := l.label("interface")
	if len(name) == 0 {
		return
	}
	at := slices.IndexFunc(e.r.Interfaces, func(n Interface) bool { return n.Name == string(name) })
	if at < 0 {
		at = len(e.r.Interfaces)
		nan := math.NaN()
		unknown := Traffic{nan, nan, nan, nan}
		e.r.Interfaces = append(e.r.Interfaces, Interface{string(name), unknown, unknown})
	}
	t := &e.r.Interfaces[at].Receive
	if which >= 4 {
		t = &e.r.Interfaces[at].Transmit
	}
	*[...]*float64{&t.Bytes, &t.Packets, &t.Errors, &t.Dropped}[which%4] = l.value
}

// finish makes of a page's numbers what the cAdvisor provider would have made.
// memory is the machine's.
func (e *entryOf) finish(memory float64, now func() int64) {
	v := &e.r.Values
	quota, period := v[CPUQuota], v[CPUPeriod] // microseconds
	v[CPUQuota], v[CPUPeriod] = quota/1e6, period/1e6
	if quota > 0 && period > 0 {
		v[CPULimit] = quota / period
	} else {
		v[CPUQuota] = math.NaN()
		if v[CPUPeriod] == v[CPUPeriod] && v[Periods] != v[Periods] { // no quota: nothing is enforced, and the page says nothing
			v[Periods], v[ThrottledPeriods], v[ThrottledTime] = 0, 0, 0
		}
	}
	for _, none := range [...]Value{MemoryLimit, MemoryReservation, MemoryUsageMax, ThreadsLimit, CPUPeriod} {
		if v[none] == 0 { // unset, or a kernel that does not count it
			v[none] = math.NaN()
		}
	}
	if v[MemorySwap] > 1<<60 { // cgroup v2 subtracts usage from a sum that may be missing
		v[MemorySwap] = math.NaN()
	}
	if v[MemoryLimit] == memory {
		v[MemoryLimit] = math.NaN()
	}
	if e.kind == aNode && memory > 0 {
		v[MemoryLimit] = memory
	}
	v[MinorFaults] = max(0, v[MinorFaults]-v[MajorFaults])
	if e.kind != aContainer || v[CPUUser] != v[CPUUser] {
		v[CPUTime] = e.r.CPU
	}
	if e.r.Time == 0 && e.r.CPU == e.r.CPU { // a page without times
		e.r.Time = now()
	}
	slices.SortFunc(e.r.Disks, func(a, b Disk) int { return strings.Compare(a.Device, b.Device) })
	slices.SortFunc(e.r.Interfaces, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	if e.kind == aSandbox { // the pause process's own numbers are nobody's
		for i := range v {
			v[i] = math.NaN()
		}
		e.r.CPU = math.NaN()
	}
}

// resources are the names wanted of /metrics/resource. Never written.
var resources = map[string]struct {
	value Value
	kind  entryKind
}{
	"node_cpu_usage_seconds_total":       {CPUTime, aNode},
	"node_memory_working_set_bytes":      {MemoryWorkingSet, aNode},
	"node_swap_usage_bytes":              {MemorySwap, aNode},
	"pod_cpu_usage_seconds_total":        {CPUTime, aPod},
	"pod_memory_working_set_bytes":       {MemoryWorkingSet, aPod},
	"pod_swap_usage_bytes":               {MemorySwap, aPod},
	"container_cpu_usage_seconds_total":  {CPUTime, aContainer},
	"container_memory_working_set_bytes": {MemoryWorkingSet, aContainer},
	"container_swap_usage_bytes":         {MemorySwap, aContainer},
	"container_start_time_seconds":       {StartTime, aContainer},
}

// readResource reads /metrics/resource into entries of their own.
func (k *Kubelet) readResource(r io.Reader) error {
	f := resources[""]
	var name []byte
	return k.lines(r,
		func(name []byte) (ok bool) { f, ok = resources[string(name)]; return ok },
		func(l *pageLine) {
			if k.onPage(f.kind, l) {
				return
			}
			name = append(name[:0], "resource"...)
			for _, label := range [...]string{"namespace", "pod", "container"} {
				name = append(append(name, '/'), l.label(label)...)
			}
			e := k.entry(name, func(name string) *entryOf {
				return k.named(name, f.kind, podContainer{string(l.label("namespace")), string(l.label("pod")), string(l.label("container"))})
			})
			if e.r.Time == 0 {
				e.r.Time = l.time
			}
			switch f.value {
			case StartTime:
				e.r.Start = int64(l.value * 1000)
			case CPUTime:
				e.r.CPU = l.value
				fallthrough
			default:
				e.r.Values[f.value] = l.value
			}
		})
}

// onPage reports whether this round's page of cAdvisor's has what l is about.
func (k *Kubelet) onPage(kind entryKind, l *pageLine) bool {
	if kind == aNode {
		e := k.entries["/"]
		return e != nil && e.round == k.round
	}
	e := k.byName[podContainer{text(l.label("namespace")), text(l.label("pod")), text(l.label("container"))}]
	return e != nil && !e.thin
}

// named returns a new entry of a container, pod or node that is known by its
// name alone; what else there is to know the specifications tell.
func (k *Kubelet) named(name string, kind entryKind, who podContainer) *entryOf {
	e := &entryOf{r: Reading{Name: name}, kind: kind, who: who, thin: true}
	switch kind {
	case aNode:
		e.r.Scope = OfNode
	case aPod:
		e.r.Scope = OfPod
	}
	e.labels = k.namedLabels(e)
	return e
}

// namedLabels returns the labels of a thin entry, as far as they are known now.
func (k *Kubelet) namedLabels(e *entryOf) string {
	f := k.specs.pods[e.who]
	uid := e.uid
	if uid == "" {
		uid = f.uid
	}
	switch e.kind {
	case aNode:
		return signal.Labels(signal.LabelNode, k.node)
	case aPod:
		return k.podLabels(e.who, uid, "", "", "")
	}
	return k.podLabels(e.who, uid, f.id, k.runtime, f.image)
}
