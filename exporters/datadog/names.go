package datadog

import (
	"strings"

	"github.com/causeway-agent/causeway/agent/signal"
)

// how says which of a sample's numbers a row sends.
type how uint8

const (
	level how = iota // the reading itself, as a gauge
	age              // the seconds since the moment that the reading is, as a gauge
	one              // 1, as a gauge: its tags say the rest
	rate             // the increase per second, as a gauge: so do Datadog's own checks
	count            // the increase, as a count over its interval
)

// only says which readings a row sends; of others it sends nothing.
type only uint8

const (
	all only = iota
	ones
	zeros
)

// every as row.is stands for each value of row.key, and for none.
const every = "*"

// row says what one metric of ours is called at Datadog. A metric may have
// several rows, and each that applies sends a series. What no row applies to
// keeps its own name (see writer.own).
type row struct {
	from  string    // our name
	key   string    // applies only to series with this label; it is no tag then, unless keep
	is    string    // and only where it has this value
	also  [2]string // and only where this label has this value; it is no tag either
	has   string    // and only where this label is there
	where state     // and only beside this
	only  only

	to    string // Datadog's name; "" if the value is part of another row's
	word  string // a label whose value goes on with the name
	tail  string // and what goes on behind that
	how   how
	scale float64 // to Datadog's unit; 0 counts as 1

	plus  []string // values of key whose series are added to this one
	per   []term   // the sum of these divides it
	until string   // of an age: the metric beside it that says when it ended

	add  string // a tag
	keep bool   // key is a tag, too
	nic  bool   // the interface is called device: as the network check has it
	kube bool   // labels of kube-state-metrics become the kubernetes_state_core check's tags
}

// term is a series beside a sample: of metric, with the value is of the row's
// key, all other labels being equal.
type term struct{ metric, is string }

// state is a series beside a sample that has a label key of its own, with the
// value is; all labels but that and the row's being equal.
type state struct{ metric, key, is string }

// The units that bite: memory and swap are in MiB, disks' use and traffic in
// KiB (whatever Datadog's metadata says), CPUs of containers in nanocores.
const (
	mib     = 1.0 / (1 << 20)
	kib     = 1.0 / 1024
	nano    = 1e9
	milli   = 1e3
	percent = 100.0
)

// hostRows is layer 1. The names are those of the core checks (cpu, memory, io,
// load, uptime, file_handle) and of disk.py and network.py.
func hostRows() []row {
	const (
		mode, state, swap  = signal.LabelCPUMode, signal.LabelMemoryState, signal.LabelPagingState
		dir, net, fs, slab = signal.LabelDiskDirection, signal.LabelNetDirection, signal.LabelFSState, signal.LabelSlabState
		util, core         = signal.SystemCPUUtilization, signal.SystemCPUCoreTime
		mem, disk, inodes  = signal.SystemMemoryUsage, signal.SystemFilesystemUsage, signal.SystemFilesystemInodesUsage
		ops, spent, io     = signal.SystemDiskOperations, signal.SystemDiskOperationTime, signal.SystemDiskIO
	)
	perCore := []term{{signal.SystemCPULogicalCount, ""}}
	diskAll := []term{{disk, "used"}, {disk, "free"}}
	inodesAll := []term{{inodes, "used"}, {inodes, "free"}}
	reads, writes, both := []term{{ops, "read"}}, []term{{ops, "write"}}, []term{{ops, "read"}, {ops, "write"}}
	return []row{
		{from: util, key: mode, is: "user", to: "system.cpu.user", scale: percent, plus: []string{"nice"}},
		{from: util, key: mode, is: "system", to: "system.cpu.system", scale: percent, plus: []string{"interrupt", "softirq"}},
		{from: util, key: mode, is: "idle", to: "system.cpu.idle", scale: percent},
		{from: util, key: mode, is: "iowait", to: "system.cpu.iowait", scale: percent},
		{from: util, key: mode, is: "steal", to: "system.cpu.stolen", scale: percent},
		{from: util, key: mode, is: "interrupt", to: "system.cpu.interrupt", scale: percent, plus: []string{"softirq"}},
		{from: util, key: mode, is: "nice"},
		{from: util, key: mode, is: "softirq"},
		{from: core, key: mode, is: "user", to: "system.cpu.user.total"},
		{from: core, key: mode, is: "nice", to: "system.cpu.nice.total"},
		{from: core, key: mode, is: "system", to: "system.cpu.system.total"},
		{from: core, key: mode, is: "idle", to: "system.cpu.idle.total"},
		{from: core, key: mode, is: "iowait", to: "system.cpu.iowait.total"},
		{from: core, key: mode, is: "interrupt", to: "system.cpu.irq.total"},
		{from: core, key: mode, is: "softirq", to: "system.cpu.softirq.total"},
		{from: core, key: mode, is: "steal", to: "system.cpu.steal.total"},
		{from: signal.SystemCPULogicalCount, to: "system.cpu.num_cores"},
		{from: signal.SystemContextSwitches, to: "system.cpu.context_switches", how: count},
		{from: signal.SystemLoad1, to: "system.load.1"},
		{from: signal.SystemLoad5, to: "system.load.5"},
		{from: signal.SystemLoad15, to: "system.load.15"},
		{from: signal.SystemLoad1, to: "system.load.norm.1", per: perCore},
		{from: signal.SystemLoad5, to: "system.load.norm.5", per: perCore},
		{from: signal.SystemLoad15, to: "system.load.norm.15", per: perCore},
		{from: signal.SystemUptime, to: "system.uptime"},

		// Datadog's used is total less free: page cache and buffers are in it.
		{from: mem, key: state, is: "used", to: "system.mem.used", scale: mib, plus: []string{"buffers", "cached"}},
		{from: mem, key: state, is: "free", to: "system.mem.free", scale: mib},
		{from: mem, key: state, is: "buffers", to: "system.mem.buffered", scale: mib},
		{from: mem, key: state, is: "cached", to: "system.mem.cached", scale: mib},
		{from: signal.SystemMemoryLimit, to: "system.mem.total", scale: mib},
		{from: signal.SystemMemoryAvailable, to: "system.mem.usable", scale: mib},
		{from: signal.SystemMemoryAvailable, to: "system.mem.pct_usable", per: []term{{signal.SystemMemoryLimit, ""}}},
		{from: signal.SystemMemoryShared, to: "system.mem.shared", scale: mib},
		{from: signal.SystemMemorySlab, key: slab, is: "reclaimable", to: "system.mem.slab_reclaimable", scale: mib},
		{from: signal.SystemMemorySlab, key: slab, is: "unreclaimable", to: "system.mem.slab", scale: mib, plus: []string{"reclaimable"}},
		{from: signal.SystemMemoryPageTables, to: "system.mem.page_tables", scale: mib},
		{from: signal.SystemMemoryCommitted, to: "system.mem.committed_as", scale: mib},
		{from: signal.SystemMemoryCommitLimit, to: "system.mem.commit_limit", scale: mib},
		{from: signal.SystemMemorySwapCached, to: "system.swap.cached", scale: mib},
		{from: signal.SystemPagingLimit, to: "system.swap.total", scale: mib},
		{from: signal.SystemPagingUsage, key: swap, is: "used", to: "system.swap.used", scale: mib},
		{from: signal.SystemPagingUsage, key: swap, is: "free", to: "system.swap.free", scale: mib},
		{from: signal.SystemPagingUsage, key: swap, is: "free", to: "system.swap.pct_free", per: []term{{signal.SystemPagingLimit, ""}}},
		{from: signal.SystemPagingIO, key: signal.LabelPagingDirection, is: "in", to: "system.io.block_in", how: rate, scale: kib},
		{from: signal.SystemPagingIO, key: signal.LabelPagingDirection, is: "out", to: "system.io.block_out", how: rate, scale: kib},

		{from: disk, key: fs, is: "used", to: "system.disk.used", scale: kib},
		{from: disk, key: fs, is: "used", to: "system.disk.in_use", per: diskAll},
		{from: disk, key: fs, is: "used", to: "system.disk.utilized", scale: percent, per: diskAll},
		{from: disk, key: fs, is: "free", to: "system.disk.free", scale: kib},
		{from: disk, key: fs, is: "reserved"}, // total less used and free
		{from: signal.SystemFilesystemLimit, to: "system.disk.total", scale: kib},
		{from: inodes, key: fs, is: "used", to: "system.fs.inodes.used"},
		{from: inodes, key: fs, is: "used", to: "system.fs.inodes.in_use", per: inodesAll},
		{from: inodes, key: fs, is: "used", to: "system.fs.inodes.utilized", scale: percent, per: inodesAll},
		{from: inodes, key: fs, is: "free", to: "system.fs.inodes.free"},
		{from: signal.SystemFilesystemInodesLimit, to: "system.fs.inodes.total"},
		{from: signal.SystemFileHandlesAllocated, to: "system.fs.file_handles.allocated"},
		{from: signal.SystemFileHandlesUnused, to: "system.fs.file_handles.allocated_unused"},
		{from: signal.SystemFileHandlesLimit, to: "system.fs.file_handles.max"},
		// Less the unused ones, of which Linux has had none since 2.6.
		{from: signal.SystemFileHandlesAllocated, to: "system.fs.file_handles.in_use", per: []term{{signal.SystemFileHandlesLimit, ""}}},

		{from: io, key: dir, is: "read", to: "system.io.rkb_s", how: rate, scale: kib},
		{from: io, key: dir, is: "write", to: "system.io.wkb_s", how: rate, scale: kib},
		{from: io, key: dir, is: "read", to: "system.io.avg_rq_sz", how: count, scale: 1.0 / 512, plus: []string{"write"}, per: both},
		{from: ops, key: dir, is: "read", to: "system.io.r_s", how: rate},
		{from: ops, key: dir, is: "write", to: "system.io.w_s", how: rate},
		{from: signal.SystemDiskMerged, key: dir, is: "read", to: "system.io.rrqm_s", how: rate},
		{from: signal.SystemDiskMerged, key: dir, is: "write", to: "system.io.wrqm_s", how: rate},
		{from: spent, key: dir, is: "read", to: "system.io.r_await", how: count, scale: milli, per: reads},
		{from: spent, key: dir, is: "write", to: "system.io.w_await", how: count, scale: milli, per: writes},
		{from: spent, key: dir, is: "read", to: "system.io.await", how: count, scale: milli, plus: []string{"write"}, per: both},
		{from: spent, key: dir, is: "read", to: "system.disk.read_time", how: count, scale: milli},
		{from: spent, key: dir, is: "write", to: "system.disk.write_time", how: count, scale: milli},
		{from: signal.SystemDiskIOTime, to: "system.io.util", how: rate, scale: percent},
		// The io check divides milliseconds by its constant for a kB, 1024.
		{from: signal.SystemDiskWeightedIOTime, to: "system.io.avg_q_sz", how: rate, scale: milli / 1024},

		{from: signal.SystemNetworkIO, key: net, is: "receive", to: "system.net.bytes_rcvd", how: rate, nic: true},
		{from: signal.SystemNetworkIO, key: net, is: "transmit", to: "system.net.bytes_sent", how: rate, nic: true},
		{from: signal.SystemNetworkPackets, key: net, is: "receive", to: "system.net.packets_in.count", how: rate, nic: true},
		{from: signal.SystemNetworkPackets, key: net, is: "transmit", to: "system.net.packets_out.count", how: rate, nic: true},
		{from: signal.SystemNetworkErrors, key: net, is: "receive", to: "system.net.packets_in.error", how: rate, nic: true},
		{from: signal.SystemNetworkErrors, key: net, is: "transmit", to: "system.net.packets_out.error", how: rate, nic: true},
		{from: signal.SystemNetworkDropped, key: net, is: "receive", to: "system.net.packets_in.drop", how: rate, nic: true},
		{from: signal.SystemNetworkDropped, key: net, is: "transmit", to: "system.net.packets_out.drop", how: rate, nic: true},
		{from: signal.SystemNetworkPrefix + "tcp.curr_estab", to: "system.net.tcp.current_established"},
	}
}

// protocolRows is the kernel's counters of IP, TCP and UDP. The network check
// sends each as a rate and, with .count behind the name, as a count. It reads
// IPv4 only; IPv6 keeps its own names.
func protocolRows() (rows []row) {
	for _, p := range []struct {
		key, is string
		names   [][2]string // ours and Datadog's
	}{
		{"", "", [][2]string{
			{"tcp.active_opens", "tcp.active_opens"}, {"tcp.passive_opens", "tcp.passive_opens"}, {"tcp.attempt_fails", "tcp.attempt_fails"},
			{"tcp.estab_resets", "tcp.established_resets"}, {"tcp.in_segs", "tcp.in_segs"}, {"tcp.out_segs", "tcp.out_segs"},
			{"tcp.retrans_segs", "tcp.retrans_segs"}, {"tcp.in_errs", "tcp.in_errors"}, {"tcp.in_csum_errors", "tcp.in_csum_errors"},
			{"tcp.out_rsts", "tcp.out_resets"}, {"tcp.listen_overflows", "tcp.listen_overflows"}, {"tcp.listen_drops", "tcp.listen_drops"},
		}},
		{signal.LabelNetType, "ipv4", [][2]string{
			{"udp.in_datagrams", "udp.in_datagrams"}, {"udp.out_datagrams", "udp.out_datagrams"}, {"udp.no_ports", "udp.no_ports"},
			{"udp.in_errors", "udp.in_errors"}, {"udp.rcvbuf_errors", "udp.rcv_buf_errors"}, {"udp.sndbuf_errors", "udp.snd_buf_errors"},
			{"udp.in_csum_errors", "udp.in_csum_errors"},
			{"ip.in_receives", "ip.in_receives"}, {"ip.in_delivers", "ip.in_delivers"}, {"ip.out_requests", "ip.out_requests"},
			{"ip.in_hdr_errors", "ip.in_header_errors"}, {"ip.in_addr_errors", "ip.in_addr_errors"}, {"ip.in_unknown_protos", "ip.in_unknown_protos"},
			{"ip.in_discards", "ip.in_discards"}, {"ip.out_discards", "ip.out_discards"}, {"ip.out_no_routes", "ip.out_no_routes"},
			{"ip.reasm_reqds", "ip.reassembly_requests"}, {"ip.reasm_oks", "ip.reassembly_oks"}, {"ip.reasm_fails", "ip.reassembly_fails"},
			{"ip.reasm_timeout", "ip.reassembly_timeouts"}, {"ip.frag_oks", "ip.fragmentation_oks"}, {"ip.frag_fails", "ip.fragmentation_fails"},
			{"ip.frag_creates", "ip.fragmentation_creates"}, {"ip.forw_datagrams", "ip.forwarded_datagrams"}, {"ip.reverse_path_filter", "ip.reverse_path_filter"},
		}},
	} {
		for _, n := range p.names {
			from, to := signal.SystemNetworkPrefix+n[0], "system.net."+n[1]
			rows = append(rows, row{from: from, key: p.key, is: p.is, to: to, how: rate}, row{from: from, key: p.key, is: p.is, to: to + ".count", how: count})
		}
	}
	return rows
}

// containerRows is layer 2, usage: the container check's names for every
// container, and the kubelet check's for those of a pod, for pods and for the
// node.
func containerRows() []row {
	const mode, dir, net, fault = signal.LabelCPUMode, signal.LabelDiskDirection, signal.LabelNetDirection, signal.LabelPagingType
	perLimit := []term{{signal.ContainerMemoryLimit, ""}}
	perCapacity := []term{{signal.ContainerFilesystemCapacity, ""}}
	return []row{
		{from: signal.ContainerUptime, to: "container.uptime"},
		{from: signal.ContainerCPUUsage, to: "container.cpu.usage", scale: nano},
		{from: signal.ContainerCPUUsage, to: "kubernetes.cpu.usage.total", scale: nano, has: signal.LabelPod},
		{from: signal.ContainerCPULimit, to: "container.cpu.limit", scale: nano},
		{from: signal.ContainerCPUTime, key: mode, is: "user", to: "container.cpu.user", how: rate, scale: nano},
		{from: signal.ContainerCPUTime, key: mode, is: "system", to: "container.cpu.system", how: rate, scale: nano},
		{from: signal.ContainerCPUTime, key: mode, is: "user", to: "kubernetes.cpu.user.total", how: rate, has: signal.LabelPod},
		{from: signal.ContainerCPUTime, key: mode, is: "system", to: "kubernetes.cpu.system.total", how: rate, has: signal.LabelPod},
		{from: signal.ContainerThrottlePeriods, to: "kubernetes.cpu.cfs.periods", how: rate, has: signal.LabelPod},
		{from: signal.ContainerThrottledPeriods, to: "container.cpu.throttled.periods", how: rate},
		{from: signal.ContainerThrottledPeriods, to: "kubernetes.cpu.cfs.throttled.periods", how: rate, has: signal.LabelPod},
		{from: signal.ContainerThrottledTime, to: "container.cpu.throttled", how: rate, scale: nano},
		{from: signal.ContainerThrottledTime, to: "kubernetes.cpu.cfs.throttled.seconds", how: rate, has: signal.LabelPod},

		{from: signal.ContainerMemoryUsage, to: "container.memory.usage"},
		{from: signal.ContainerMemoryUsage, to: "kubernetes.memory.usage", has: signal.LabelPod},
		{from: signal.ContainerMemoryUsage, to: "kubernetes.memory.usage_pct", per: perLimit, has: signal.LabelPod},
		{from: signal.ContainerMemoryUsageMax, to: "container.memory.usage.peak"},
		{from: signal.ContainerMemoryWorkingSet, to: "container.memory.working_set"},
		{from: signal.ContainerMemoryWorkingSet, to: "kubernetes.memory.working_set", has: signal.LabelPod},
		{from: signal.ContainerMemoryRSS, to: "container.memory.rss"},
		{from: signal.ContainerMemoryRSS, to: "kubernetes.memory.rss", has: signal.LabelPod},
		{from: signal.ContainerMemoryCache, to: "container.memory.cache"},
		{from: signal.ContainerMemoryCache, to: "kubernetes.memory.cache", has: signal.LabelPod},
		{from: signal.ContainerMemorySwap, to: "container.memory.swap"},
		{from: signal.ContainerMemorySwap, to: "kubernetes.memory.swap", has: signal.LabelPod},
		{from: signal.ContainerMemoryLimit, to: "container.memory.limit"},
		{from: signal.ContainerMemoryRequest, to: "container.memory.soft_limit"},
		{from: signal.ContainerMemoryOOM, to: "container.memory.oom_events"},
		{from: signal.ContainerMemoryFaults, key: fault, is: "major", to: "container.memory.major_page_faults", how: count},
		{from: signal.ContainerMemoryFaults, key: fault, is: "minor", to: "container.memory.page_faults", how: count, plus: []string{"major"}},

		{from: signal.ContainerDiskIO, key: dir, is: "read", to: "container.io.read", how: rate},
		{from: signal.ContainerDiskIO, key: dir, is: "write", to: "container.io.write", how: rate},
		{from: signal.ContainerDiskIO, key: dir, is: "read", to: "kubernetes.io.read_bytes", how: rate, has: signal.LabelPod},
		{from: signal.ContainerDiskIO, key: dir, is: "write", to: "kubernetes.io.write_bytes", how: rate, has: signal.LabelPod},
		{from: signal.ContainerDiskOperations, key: dir, is: "read", to: "container.io.read.operations", how: rate},
		{from: signal.ContainerDiskOperations, key: dir, is: "write", to: "container.io.write.operations", how: rate},
		{from: signal.ContainerFilesystemUsage, to: "kubernetes.filesystem.usage", has: signal.LabelPod},
		{from: signal.ContainerFilesystemUsage, to: "kubernetes.filesystem.usage_pct", per: perCapacity, has: signal.LabelPod},
		{from: signal.ContainerNetworkIO, key: net, is: "receive", to: "container.net.rcvd", how: rate},
		{from: signal.ContainerNetworkIO, key: net, is: "transmit", to: "container.net.sent", how: rate},
		{from: signal.ContainerNetworkPackets, key: net, is: "receive", to: "container.net.rcvd.packets", how: rate},
		{from: signal.ContainerNetworkPackets, key: net, is: "transmit", to: "container.net.sent.packets", how: rate},
		{from: signal.ContainerThreads, to: "container.pid.thread_count"},
		{from: signal.ContainerThreadsLimit, to: "container.pid.thread_limit"},

		{from: signal.PodNetworkIO, key: net, is: "receive", to: "kubernetes.network.rx_bytes", how: rate},
		{from: signal.PodNetworkIO, key: net, is: "transmit", to: "kubernetes.network.tx_bytes", how: rate},
		{from: signal.PodNetworkErrors, key: net, is: "receive", to: "kubernetes.network.rx_errors", how: rate},
		{from: signal.PodNetworkErrors, key: net, is: "transmit", to: "kubernetes.network.tx_errors", how: rate},
		{from: signal.PodNetworkDropped, key: net, is: "receive", to: "kubernetes.network.rx_dropped", how: rate},
		{from: signal.PodNetworkDropped, key: net, is: "transmit", to: "kubernetes.network.tx_dropped", how: rate},
		{from: signal.PodFilesystemUsage, to: "kubernetes.ephemeral_storage.usage"},
		{from: signal.NodeFilesystemUsage, to: "kubernetes.node.filesystem.usage"},
		{from: signal.NodeFilesystemUsage, to: "kubernetes.node.filesystem.usage_pct", per: []term{{signal.NodeFilesystemCapacity, ""}}},
	}
}

// rowsByName returns all rows by the name of our metric, in the order above.
func rowsByName() map[string][]row {
	m := map[string][]row{}
	for _, rows := range [][]row{hostRows(), protocolRows(), containerRows(), kubeletRows(), stateRows()} {
		for _, r := range rows {
			if r.scale == 0 {
				r.scale = 1
			}
			m[r.from] = append(m[r.from], r)
		}
	}
	return m
}

// pairs calls f with the two words of each line.
func pairs(text string, f func(from, to string)) {
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) == 2 {
			f(w[0], w[1])
		}
	}
}

// unitOf returns Datadog's word for a UCUM unit, "" where it has none or where
// the name says it. Units of native names Datadog knows already.
func unitOf(ucum string) string {
	switch ucum {
	case "By":
		return "byte"
	case "s":
		return "second"
	case "ms":
		return "millisecond"
	case "us":
		return "microsecond"
	case "ns":
		return "nanosecond"
	case "%":
		return "percent"
	case "Cel":
		return "degree celsius"
	case "Hz":
		return "hertz"
	}
	return ""
}
