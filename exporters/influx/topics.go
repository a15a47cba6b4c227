package influx

import (
	"math"
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// field says how one metric of the host or of a container is written in
// Telegraf's words: as a field of a measurement that has one line per entity.
// Names were read in the README of Telegraf's plugins cpu, mem, swap, disk,
// diskio, net, netstat, system, processes, kernel, kernel_vmstat,
// linux_sysctl_fs, docker, kubernetes and kube_inventory (2026-11); what
// Telegraf does not have is named in the same manner.
type field struct {
	metric      string // OpenTelemetry's name
	measurement string
	name        string    // each * stands for the value of the label of the same place in fold
	fold        [2]string // labels that become part of the field's name, and are no tags
	words       string    // what values of folded labels are called here: "in=recv out=sent"
	code        string    // values of the first folded label, in order: the place of the sample's is written, not its number
	scale       float64   // Telegraf's unit: value*scale, rounded; 0: the value itself
	percent     bool      // a share, written in percent
	tag         tag       // one that the line has besides, unless a label gives it
	rename      [2]string // a label that has another name in this measurement
	with        companion // what else is written beside the value
	sum         string    // name of the sum over the metric's samples in a line, written beside the first of them
}

// cpuTag holds "cpu-total" or, of one core, "cpu0": the label's value alone is
// a number, and appendTagged puts the word before it.
const cpuTag = "cpu"

// companion is a field that Telegraf computes from several metrics. It is
// written beside the one it is closest to, from the whole run of samples that
// share a line, wherever a body begins or ends.
type companion uint8

const (
	alone            companion = iota
	usageOfMode                // usage_MODE: increase of this mode, of all modes' together
	usedOfLimit                // used_percent: of the run's limit
	availableOfLimit           // available_percent
	usedOfBoth                 // used_percent: used / (used + free), as df has it
	inodesOfBoth               // inodes_used_percent
	inMillis                   // the same with milli before cpu, in thousandths; nothing of other resources
	codeOfState                // state_code: the row's words, where the flag is up
)

// hostFields returns the rows of layer 1. What has no row here is written
// under its own name: system.info and whatever else comes.
func hostFields() []field {
	var (
		mode   = [2]string{signal.LabelCPUMode}
		state  = [2]string{signal.LabelMemoryState}
		paging = [2]string{signal.LabelPagingDirection}
		fs     = [2]string{signal.LabelFSState}
		disk   = [2]string{signal.LabelDiskDirection}
		name   = [2]string{signal.LabelDevice, "name"}
		nic    = [2]string{signal.LabelNetDirection}
		core   = [2]string{signal.LabelCPU, cpuTag}
		total  = tag{key: cpuTag, value: "cpu-total"}
	)
	const (
		modes = "interrupt=irq"
		sent  = "receive=recv transmit=sent"
		inout = "receive=in transmit=out"
	)
	return []field{
		{metric: signal.SystemCPUTime, measurement: "cpu", name: "time_*", fold: mode, words: modes, rename: core, tag: total},
		{metric: signal.SystemCPUGuestTime, measurement: "cpu", name: "time_*", fold: mode, words: "user=guest nice=guest_nice", rename: core, tag: total},
		{metric: signal.SystemCPUUtilization, measurement: "cpu", name: "usage_*", fold: mode, words: modes, rename: core, tag: total, percent: true},
		{metric: signal.SystemCPUCoreTime, measurement: "cpu", name: "time_*", fold: mode, words: modes, rename: core, with: usageOfMode},
		{metric: signal.SystemCPULogicalCount, measurement: "system", name: "n_cpus"},
		{metric: signal.SystemCPUPhysicalCount, measurement: "system", name: "n_physical_cpus"},
		{metric: signal.SystemLoad1, measurement: "system", name: "load1"},
		{metric: signal.SystemLoad5, measurement: "system", name: "load5"},
		{metric: signal.SystemLoad15, measurement: "system", name: "load15"},
		{metric: signal.SystemUptime, measurement: "system", name: "uptime"},

		{metric: signal.SystemMemoryUsage, measurement: "mem", name: "*", fold: state, words: "buffers=buffered", with: usedOfLimit},
		{metric: signal.SystemMemoryLimit, measurement: "mem", name: "total"},
		{metric: signal.SystemMemoryAvailable, measurement: "mem", name: "available", with: availableOfLimit},
		{metric: signal.SystemMemoryShared, measurement: "mem", name: "shared"},
		{metric: signal.SystemMemorySlab, measurement: "mem", name: "*", fold: [2]string{signal.LabelSlabState}, words: "reclaimable=sreclaimable unreclaimable=sunreclaim", sum: "slab"},
		{metric: signal.SystemMemoryActive, measurement: "mem", name: "active"},
		{metric: signal.SystemMemoryInactive, measurement: "mem", name: "inactive"},
		{metric: signal.SystemMemoryAnonymous, measurement: "mem", name: "anonymous"},
		{metric: signal.SystemMemoryMapped, measurement: "mem", name: "mapped"},
		{metric: signal.SystemMemoryDirty, measurement: "mem", name: "dirty"},
		{metric: signal.SystemMemoryWriteback, measurement: "mem", name: "write_back"},
		{metric: signal.SystemMemoryPageTables, measurement: "mem", name: "page_tables"},
		{metric: signal.SystemMemoryKernelStack, measurement: "mem", name: "kernel_stack"},
		{metric: signal.SystemMemoryCommitted, measurement: "mem", name: "committed_as"},
		{metric: signal.SystemMemoryCommitLimit, measurement: "mem", name: "commit_limit"},
		{metric: signal.SystemMemorySwapCached, measurement: "mem", name: "swap_cached"},
		{metric: signal.SystemHugePagesLimit, measurement: "mem", name: "huge_pages_total"},
		{metric: signal.SystemHugePagesUsage, measurement: "mem", name: "huge_pages_*", fold: [2]string{signal.LabelHugePagesState}},
		{metric: signal.SystemHugePagesReserved, measurement: "mem", name: "huge_pages_rsvd"},
		{metric: signal.SystemHugePagesSurplus, measurement: "mem", name: "huge_pages_surp"},
		{metric: signal.SystemHugePagesPageSize, measurement: "mem", name: "huge_page_size"},

		{metric: signal.SystemPagingUsage, measurement: "swap", name: "*", fold: [2]string{signal.LabelPagingState}, with: usedOfLimit},
		{metric: signal.SystemPagingLimit, measurement: "swap", name: "total"},
		{metric: signal.SystemPagingFaults, measurement: "kernel_vmstat", name: "pg*fault", fold: [2]string{signal.LabelPagingType}, words: "major=maj minor=min", sum: "pgfault"},
		{metric: signal.SystemPagingOperations, measurement: "kernel_vmstat", name: "pswp*", fold: paging},
		{metric: signal.SystemPagingIO, measurement: "kernel_vmstat", name: "pgpg*", fold: paging, scale: 1.0 / 1024},
		{metric: signal.SystemMemoryOOMKills, measurement: "kernel_vmstat", name: "oom_kill"},

		{metric: signal.SystemFilesystemUsage, measurement: "disk", name: "*", fold: fs, with: usedOfBoth},
		{metric: signal.SystemFilesystemLimit, measurement: "disk", name: "total"},
		{metric: signal.SystemFilesystemInodesUsage, measurement: "disk", name: "inodes_*", fold: fs, with: inodesOfBoth},
		{metric: signal.SystemFilesystemInodesLimit, measurement: "disk", name: "inodes_total"},

		{metric: signal.SystemDiskIO, measurement: "diskio", name: "*_bytes", fold: disk, rename: name},
		{metric: signal.SystemDiskOperations, measurement: "diskio", name: "*s", fold: disk, rename: name},
		{metric: signal.SystemDiskOperationTime, measurement: "diskio", name: "*_time", fold: disk, rename: name, scale: 1000},
		{metric: signal.SystemDiskMerged, measurement: "diskio", name: "merged_*s", fold: disk, rename: name},
		{metric: signal.SystemDiskIOTime, measurement: "diskio", name: "io_time", rename: name, scale: 1000},
		{metric: signal.SystemDiskWeightedIOTime, measurement: "diskio", name: "weighted_io_time", rename: name, scale: 1000},
		{metric: signal.SystemDiskPending, measurement: "diskio", name: "iops_in_progress", rename: name},
		{metric: signal.SystemDiskLimit, measurement: "diskio", name: "size_bytes", rename: name},

		{metric: signal.SystemNetworkIO, measurement: "net", name: "bytes_*", fold: nic, words: sent},
		{metric: signal.SystemNetworkPackets, measurement: "net", name: "packets_*", fold: nic, words: sent},
		{metric: signal.SystemNetworkErrors, measurement: "net", name: "err_*", fold: nic, words: inout},
		{metric: signal.SystemNetworkDropped, measurement: "net", name: "drop_*", fold: nic, words: inout},
		{metric: signal.SystemNetworkConnections, measurement: "netstat", name: "*_*", fold: [2]string{signal.LabelTransport, signal.LabelNetState}},
		{metric: signal.SystemNetworkSockets, measurement: "netstat", name: "*_sockets_*", fold: [2]string{signal.LabelTransport, signal.LabelSocketState}},
		{metric: signal.SystemNetworkSocketsTotal, measurement: "netstat", name: "sockets"},
		{metric: signal.SystemNetworkSocketMemory, measurement: "netstat", name: "*_socket_memory", fold: [2]string{signal.LabelTransport}},

		{metric: signal.SystemProcessCount, measurement: "processes", name: "*", fold: [2]string{signal.LabelProcessState}, words: "defunct=zombies zombie=zombies", sum: "total"},
		{metric: signal.SystemProcessLimit, measurement: "processes", name: "pid_max"},
		{metric: signal.SystemThreadCount, measurement: "processes", name: "total_threads"},
		{metric: signal.SystemThreadLimit, measurement: "processes", name: "threads_max"},
		{metric: signal.SystemProcessCreated, measurement: "kernel", name: "processes_forked"},
		{metric: signal.SystemProcessRunning, measurement: "kernel", name: "procs_running"},
		{metric: signal.SystemProcessBlocked, measurement: "kernel", name: "procs_blocked"},
		{metric: signal.SystemFileHandlesAllocated, measurement: "linux_sysctl_fs", name: "file-nr"},
		{metric: signal.SystemFileHandlesUnused, measurement: "linux_sysctl_fs", name: "file-unused"},
		{metric: signal.SystemFileHandlesLimit, measurement: "linux_sysctl_fs", name: "file-max"},
		{metric: signal.SystemContextSwitches, measurement: "kernel", name: "context_switches"},
		{metric: signal.SystemInterrupts, measurement: "kernel", name: "interrupts"},
		{metric: signal.SystemSoftIRQs, measurement: "kernel", name: "softirq_*", fold: [2]string{signal.LabelSoftIRQ}},
		{metric: signal.SystemEntropy, measurement: "kernel", name: "entropy_avail"},
		{metric: signal.SystemBootTime, measurement: "kernel", name: "boot_time"},

		{metric: signal.SystemPressureTime, measurement: "pressure", name: "total", scale: 1e6},
		{metric: signal.SystemPressureAvg10, measurement: "pressure", name: "avg10", percent: true},
		{metric: signal.SystemPressureAvg60, measurement: "pressure", name: "avg60", percent: true},
		{metric: signal.SystemPressureAvg300, measurement: "pressure", name: "avg300", percent: true},
	}
}

// dockerFields returns the rows of a container that belongs to no pod, in the
// words of Telegraf's docker plugin.
func dockerFields() []field {
	total := tag{key: cpuTag, value: "cpu-total"}
	mode := [2]string{signal.LabelCPUMode}
	disk := [2]string{signal.LabelDiskDirection}
	rows := []field{
		{metric: signal.ContainerUptime, measurement: "docker_container_status", name: "uptime_ns", scale: 1e9},
		{metric: signal.ContainerStartTime, measurement: "docker_container_status", name: "started_at", scale: 1e9},
		{metric: signal.ContainerProcesses, measurement: "docker_container_status", name: "processes"},
		{metric: signal.ContainerThreads, measurement: "docker_container_status", name: "threads"},
		{metric: signal.ContainerThreadsLimit, measurement: "docker_container_status", name: "threads_limit"},

		{metric: signal.ContainerCPUTime, measurement: "docker_container_cpu", name: "usage_in_*mode", fold: mode, words: "system=kernel", scale: 1e9, tag: total, sum: "usage_total"},
		{metric: signal.ContainerCPUUsage, measurement: "docker_container_cpu", name: "usage_percent", percent: true, tag: total},
		{metric: signal.ContainerCPULimit, measurement: "docker_container_cpu", name: "limit_cores", tag: total},
		{metric: signal.ContainerCPUShares, measurement: "docker_container_cpu", name: "shares", tag: total},
		{metric: signal.ContainerCPUQuota, measurement: "docker_container_cpu", name: "quota", scale: 1e9, tag: total},
		{metric: signal.ContainerCPUPeriod, measurement: "docker_container_cpu", name: "period", scale: 1e9, tag: total},
		{metric: signal.ContainerThrottlePeriods, measurement: "docker_container_cpu", name: "throttling_periods", tag: total},
		{metric: signal.ContainerThrottledPeriods, measurement: "docker_container_cpu", name: "throttling_throttled_periods", tag: total},
		{metric: signal.ContainerThrottledTime, measurement: "docker_container_cpu", name: "throttling_throttled_time", scale: 1e9, tag: total},

		{metric: signal.ContainerMemoryUsage, measurement: "docker_container_mem", name: "usage"},
		{metric: signal.ContainerMemoryUsageMax, measurement: "docker_container_mem", name: "max_usage"},
		{metric: signal.ContainerMemoryWorkingSet, measurement: "docker_container_mem", name: "working_set"},
		{metric: signal.ContainerMemoryAvailable, measurement: "docker_container_mem", name: "available"},
		{metric: signal.ContainerMemoryRSS, measurement: "docker_container_mem", name: "rss"},
		{metric: signal.ContainerMemoryCache, measurement: "docker_container_mem", name: "cache"},
		{metric: signal.ContainerMemorySwap, measurement: "docker_container_mem", name: "swap"},
		{metric: signal.ContainerMemoryMapped, measurement: "docker_container_mem", name: "mapped_file"},
		{metric: signal.ContainerMemoryLimit, measurement: "docker_container_mem", name: "limit"},
		{metric: signal.ContainerMemoryRequest, measurement: "docker_container_mem", name: "reservation"},
		{metric: signal.ContainerMemoryFaults, measurement: "docker_container_mem", name: "pg*fault", fold: [2]string{signal.LabelPagingType}, words: "major=maj minor=min", sum: "pgfault"},
		{metric: signal.ContainerMemoryOOM, measurement: "docker_container_mem", name: "oom_events"},

		{metric: signal.ContainerDiskIO, measurement: "docker_container_blkio", name: "io_service_bytes_recursive_*", fold: disk},
		{metric: signal.ContainerDiskOperations, measurement: "docker_container_blkio", name: "io_serviced_recursive_*", fold: disk},
		{metric: signal.ContainerFilesystemUsage, measurement: "docker_container_fs", name: "used"},
		{metric: signal.ContainerFilesystemCapacity, measurement: "docker_container_fs", name: "total"},
		{metric: signal.ContainerPressure, measurement: "docker_container_pressure", name: "total", scale: 1e6},
	}
	return append(rows, traffic("docker_container_net", [2]string{signal.LabelInterface, "network"},
		signal.ContainerNetworkIO, signal.ContainerNetworkPackets, signal.ContainerNetworkErrors, signal.ContainerNetworkDropped)...)
}

// traffic returns the four rows of a network that has rx_ and tx_ fields.
func traffic(measurement string, rename [2]string, io, packets, errs, dropped string) []field {
	row := func(metric, name string) field {
		return field{metric: metric, measurement: measurement, name: name, rename: rename,
			fold: [2]string{signal.LabelNetDirection}, words: "receive=rx transmit=tx"}
	}
	return []field{row(io, "*_bytes"), row(packets, "*_packets"), row(errs, "*_errors"), row(dropped, "*_dropped")}
}

// table finds the row of a metric. It is built once and never written again.
type table struct {
	host, docker, pod, kube map[string]*field

	// Of system.network.PROTOCOL.COUNTER, whose names the kernel chooses: without
	// and with the label that tells IPv4 from IPv6.
	protocol, protocolOf field
}

func newTable() *table {
	index := func(rows []field) map[string]*field {
		m := make(map[string]*field, len(rows))
		for i := range rows {
			m[rows[i].metric] = &rows[i]
		}
		return m
	}
	t := &table{host: index(hostFields()), docker: index(dockerFields()), pod: index(podFields()), kube: index(kubeFields())}
	t.protocol = field{measurement: "net", tag: tag{key: "interface", value: "all"}}
	t.protocolOf = t.protocol
	t.protocolOf.fold[0] = signal.LabelNetType
	return t
}

// place is where a sample is written: its row, and what became of its folded
// labels. One that goes under its own name has no row.
type place struct {
	*field
	values [2]string // of the folded labels, by their place in fold
	cuts   [2]cut    // where they stand in the label set, in its order
}

// cut is a part of a label set: from the byte at to the one before end.
type cut struct{ at, end int }

// of returns the place of a sample of d with value v. One whose labels do not
// say what the row needs goes under its own name.
func (t *table) of(d *signal.Desc, v float64) (p place) {
	if d.Type != signal.Gauge && d.Type != signal.Counter {
		return place{}
	}
	switch {
	case strings.HasPrefix(d.Name, "system."):
		if p.field = t.host[d.Name]; p.field == nil && protocolCounter(d.Name) != "" && signal.Lookup(d.Labels, signal.LabelInterface) == "" {
			p.field = &t.protocol
			if signal.Lookup(d.Labels, signal.LabelNetType) != "" {
				p.field = &t.protocolOf
			}
		}
	case strings.HasPrefix(d.Name, "container."):
		if signal.Lookup(d.Labels, signal.LabelPod) == "" {
			p.field = t.docker[d.Name]
		} else {
			p.field = t.pod[d.Name]
		}
	case strings.HasPrefix(d.Name, "k8s."):
		p.field = t.pod[d.Name]
	case strings.HasPrefix(d.Name, "kube_"):
		if p.field = t.kube[d.Name]; p.field != nil && scraped(d.Labels) {
			return place{}
		}
	}
	if p.field == nil || p.fold[0] == "" {
		return p
	}
	if p.code != "" && v != 1 { // a state that does not hold, as some sources list them all
		return place{}
	}
	want, found := 1, 0
	if p.fold[1] != "" {
		want = 2
	}
	for set := d.Labels; found < want; {
		k, v, rest, ok := signal.NextLabel(set)
		if !ok {
			return place{}
		}
		if k == p.fold[0] || k == p.fold[1] {
			i := 0
			if k == p.fold[1] {
				i = 1
			}
			if v == "" {
				return place{}
			}
			p.values[i] = v
			p.cuts[found] = cut{len(d.Labels) - len(set), len(d.Labels) - len(rest)}
			found++
		}
		set = rest
	}
	return p
}

// value returns what is written of the value v.
func (p *place) value(v float64) float64 {
	switch {
	case p.code != "":
		code := 0.0
		word, rest, more := strings.Cut(p.code, " ")
		for ; more && word != p.values[0]; code++ { // what is none of the words is as the last
			word, rest, more = strings.Cut(rest, " ")
		}
		return code
	case p.percent:
		return percent(v)
	case p.scale != 0:
		return math.Round(v * p.scale)
	}
	return v
}

// kept returns what is left of a label set without its folded labels, in up to
// three pieces. Two sets in one line have the same pieces.
func (p *place) kept(set string) [3]string {
	switch {
	case p.fold[0] == "":
		return [3]string{set}
	case p.fold[1] == "":
		return [3]string{set[:p.cuts[0].at], set[p.cuts[0].end:]}
	}
	return [3]string{set[:p.cuts[0].at], set[p.cuts[0].end:p.cuts[1].at], set[p.cuts[1].end:]}
}

// protocolCounter returns "tcp.retrans_segs" of
// "system.network.tcp.retrans_segs", and nothing of other names.
func protocolCounter(name string) string {
	rest, ok := strings.CutPrefix(name, signal.SystemNetworkPrefix)
	if !ok {
		return ""
	}
	switch p, counter, _ := strings.Cut(rest, "."); p {
	case "ip", "icmp", "icmpmsg", "tcp", "udp", "udplite", "ip6", "icmp6", "udp6", "udplite6", "ipext", "tcpext":
		if counter != "" {
			return rest
		}
	}
	return ""
}

// appendName appends the name of d's field: the row's, with the values of the
// folded labels in their places.
func (p *place) appendName(dst []byte, d *signal.Desc) []byte {
	if p.name == "" { // Telegraf writes tcp_retranssegs; ip6_inreceives is in its manner
		proto, counter, _ := strings.Cut(protocolCounter(d.Name), ".")
		dst = append(dst, proto...)
		if p.values[0] == "ipv6" {
			dst = append(dst, '6')
		}
		dst = append(dst, '_')
		for i := 0; i < len(counter); i++ {
			switch c := counter[i]; c {
			case '_', '.':
			default:
				dst = append(dst, c)
			}
		}
		return dst
	}
	name, fold := p.name, 0
	for {
		star := strings.IndexByte(name, '*')
		if star < 0 {
			return append(dst, name...)
		}
		dst = append(dst, name[:star]...)
		dst = appendKey(dst, p.word(p.values[fold]))
		name = name[star+1:]
		fold++
	}
}

// word returns what a folded label's value is called in Telegraf's name.
func (f *field) word(value string) string {
	for list := f.words; list != ""; {
		var pair string
		pair, list, _ = strings.Cut(list, " ")
		if from, to, _ := strings.Cut(pair, "="); from == value {
			return to
		}
	}
	return value
}
