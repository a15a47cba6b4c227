package signal

// Names of layer 1, the host. Those marked * are OpenTelemetry's (semantic
// conventions 1.43.0, package systemconv); ° are those of OpenTelemetry's
// hostmetrics receiver; the rest are chosen in the same style. After each name:
// unit, type, and the labels that tell its series apart.
const (
	// CPU. The modes are disjoint and add up to the time that passed, times the
	// number of CPUs; time spent running guests is within user and nice.
	SystemCPUTime          = "system.cpu.time"           // * s, counter: cpu.mode; all CPUs together
	SystemCPUCoreTime      = "system.cpu.core.time"      // s, counter: cpu.logical_number, cpu.mode; a name of its own, so that no sum counts time twice
	SystemCPUGuestTime     = "system.cpu.guest.time"     // s, counter: cpu.mode (user, nice)
	SystemCPUUtilization   = "system.cpu.utilization"    // * 1, gauge: cpu.mode; share of all CPUs' time since the last sample
	SystemCPULogicalCount  = "system.cpu.logical.count"  // * {cpu}, gauge
	SystemCPUPhysicalCount = "system.cpu.physical.count" // * {cpu}, gauge: cores
	SystemLoad1            = "system.cpu.load_average.1m"
	SystemLoad5            = "system.cpu.load_average.5m"
	SystemLoad15           = "system.cpu.load_average.15m" // ° {thread}, gauge

	// Memory. used + free + buffers + cached is the limit.
	SystemMemoryUsage       = "system.memory.usage"                     // * By, gauge: system.memory.state
	SystemMemoryLimit       = "system.memory.limit"                     // * By, gauge
	SystemMemoryAvailable   = "system.memory.linux.available"           // * By, gauge
	SystemMemoryShared      = "system.memory.linux.shared"              // * By, gauge
	SystemMemorySlab        = "system.memory.linux.slab.usage"          // * By, gauge: system.memory.linux.slab.state
	SystemMemoryActive      = "system.memory.linux.active"              // By, gauge
	SystemMemoryInactive    = "system.memory.linux.inactive"            // By, gauge
	SystemMemoryAnonymous   = "system.memory.linux.anonymous"           // By, gauge
	SystemMemoryMapped      = "system.memory.linux.mapped"              // By, gauge
	SystemMemoryDirty       = "system.memory.linux.dirty"               // By, gauge
	SystemMemoryWriteback   = "system.memory.linux.writeback"           // By, gauge
	SystemMemoryPageTables  = "system.memory.linux.page_tables"         // By, gauge
	SystemMemoryKernelStack = "system.memory.linux.kernel_stack"        // By, gauge
	SystemMemoryCommitted   = "system.memory.linux.committed"           // By, gauge
	SystemMemoryCommitLimit = "system.memory.linux.commit_limit"        // By, gauge
	SystemMemorySwapCached  = "system.memory.linux.swap_cached"         // By, gauge
	SystemMemoryOOMKills    = "system.memory.linux.oom_kills"           // {process}, counter
	SystemHugePagesLimit    = "system.memory.linux.hugepages.limit"     // * {page}, gauge
	SystemHugePagesUsage    = "system.memory.linux.hugepages.usage"     // * {page}, gauge: system.memory.linux.hugepages.state
	SystemHugePagesReserved = "system.memory.linux.hugepages.reserved"  // * {page}, gauge
	SystemHugePagesSurplus  = "system.memory.linux.hugepages.surplus"   // * {page}, gauge
	SystemHugePagesPageSize = "system.memory.linux.hugepages.page_size" // * By, gauge

	// Paging and swap.
	SystemPagingUsage      = "system.paging.usage"      // * By, gauge: system.paging.state
	SystemPagingLimit      = "system.paging.limit"      // By, gauge
	SystemPagingFaults     = "system.paging.faults"     // * {fault}, counter: system.paging.fault.type
	SystemPagingOperations = "system.paging.operations" // * {operation}, counter: system.paging.direction; pages swapped
	SystemPagingIO         = "system.paging.io"         // By, counter: system.paging.direction; all that the block layer paged

	// Filesystems. used + free + reserved is the limit.
	SystemFilesystemUsage       = "system.filesystem.usage"        // * By, gauge: system.filesystem.state and the mount
	SystemFilesystemLimit       = "system.filesystem.limit"        // * By, gauge: the mount
	SystemFilesystemInodesUsage = "system.filesystem.inodes.usage" // ° {inode}, gauge: system.filesystem.state and the mount
	SystemFilesystemInodesLimit = "system.filesystem.inodes.limit" // {inode}, gauge: the mount
	HostMountsLeftOut           = "causeway.host.mounts.left_out"  // {filesystem}, gauge: causeway.reason

	// Disks.
	SystemDiskIO             = "system.disk.io"                 // * By, counter: system.device, disk.io.direction
	SystemDiskOperations     = "system.disk.operations"         // * {operation}, counter: the same
	SystemDiskOperationTime  = "system.disk.operation_time"     // * s, counter: the same
	SystemDiskMerged         = "system.disk.merged"             // * {operation}, counter: the same
	SystemDiskIOTime         = "system.disk.io_time"            // * s, counter: system.device
	SystemDiskWeightedIOTime = "system.disk.weighted_io_time"   // ° s, counter: system.device; queue length times time
	SystemDiskPending        = "system.disk.pending_operations" // ° {operation}, gauge: system.device
	SystemDiskLimit          = "system.disk.limit"              // * By, gauge: system.device

	// Network interfaces.
	SystemNetworkIO      = "system.network.io"             // * By, counter: network.interface.name, network.io.direction
	SystemNetworkPackets = "system.network.packet.count"   // * {packet}, counter: the same
	SystemNetworkErrors  = "system.network.errors"         // * {error}, counter: the same
	SystemNetworkDropped = "system.network.packet.dropped" // * {packet}, counter: the same

	// Connections and sockets. Protocol counters are SystemNetworkPrefix, the
	// protocol (ip, icmp, tcp, udp), and the name of the kernel's MIB counter in
	// snake case: "system.network.tcp.retrans_segs"; host/protocol.go has the list.
	SystemNetworkPrefix       = "system.network."
	SystemNetworkConnections  = "system.network.connection.count" // * {connection}, gauge: network.transport, network.connection.state
	SystemNetworkSockets      = "system.network.socket.count"     // {socket}, gauge: network.transport, network.socket.state
	SystemNetworkSocketsTotal = "system.network.socket.total"     // {socket}, gauge: of every family
	SystemNetworkSocketMemory = "system.network.socket.memory"    // By, gauge: network.transport

	// Processes and threads.
	SystemProcessCount   = "system.process.count"   // * {process}, gauge: process.state
	SystemProcessCreated = "system.process.created" // * {process}, counter: forks, threads included
	SystemProcessLimit   = "system.process.limit"   // {process}, gauge: pid_max
	SystemProcessRunning = "system.process.running" // {thread}, gauge: on a run queue
	SystemProcessBlocked = "system.process.blocked" // {thread}, gauge: waiting for I/O
	SystemThreadCount    = "system.thread.count"    // {thread}, gauge
	SystemThreadLimit    = "system.thread.limit"    // {thread}, gauge: threads-max

	// Kernel.
	SystemFileHandlesAllocated = "system.file_handle.allocated" // {file_handle}, gauge
	SystemFileHandlesUnused    = "system.file_handle.unused"    // {file_handle}, gauge: of the allocated ones
	SystemFileHandlesLimit     = "system.file_handle.limit"     // {file_handle}, gauge
	SystemContextSwitches      = "system.context_switches"      // {context_switch}, counter
	SystemInterrupts           = "system.interrupts"            // {interrupt}, counter
	SystemSoftIRQs             = "system.softirqs"              // {interrupt}, counter: system.softirq.type
	SystemEntropy              = "system.entropy.available"     // bit, gauge
	SystemUptime               = "system.uptime"                // * s, gauge
	SystemBootTime             = "system.boot_time"             // s, gauge: Unix time
	SystemInfo                 = "system.info"                  // 1, gauge, always 1: os.*, host.arch, os.kernel.release

	// Pressure (PSI).
	SystemPressureTime   = "system.pressure.time"   // s, counter: pressure.resource, pressure.kind; time lost
	SystemPressureAvg10  = "system.pressure.avg10"  // 1, gauge: the same; share of the last 10 s
	SystemPressureAvg60  = "system.pressure.avg60"  // 1, gauge: the same
	SystemPressureAvg300 = "system.pressure.avg300" // 1, gauge: the same
)

// Label keys that only the host needs.
const (
	LabelSlabState      = "system.memory.linux.slab.state"      // reclaimable, unreclaimable
	LabelHugePagesState = "system.memory.linux.hugepages.state" // used, free
	LabelSoftIRQ        = "system.softirq.type"                 // hi, timer, net_tx, …
	LabelNetType        = "network.type"                        // ipv4, ipv6
	LabelSocketState    = "network.socket.state"                // inuse, orphan, time_wait, alloc
)
