package signal

// Metrics of layer 2, about containers, pods and the node as the kubelet sees
// it. Names are OpenTelemetry's semantic conventions where those have one; the
// others follow their pattern. Counters count since the container's start.
// Each comment gives unit, type and the labels a series has beside its
// container's or pod's identity.
const (
	ContainerUptime    = "container.uptime"     // s, gauge: age of the reading's container
	ContainerStartTime = "container.start_time" // s, gauge: Unix time of its start

	ContainerCPUTime          = "container.cpu.time"                         // s, counter {cpu.mode: user, system}
	ContainerCPUUsage         = "container.cpu.usage"                        // {cpu}, gauge: cores in use since the reading before
	ContainerCPULimit         = "container.cpu.limit"                        // {cpu}, gauge: cores it may use; none where unlimited
	ContainerCPUShares        = "container.cpu.shares"                       // 1, gauge: relative weight, in cgroup v1's scale (1024 is one)
	ContainerCPUQuota         = "container.cpu.quota"                        // s, gauge: CPU time it may use per period; none where unlimited
	ContainerCPUPeriod        = "container.cpu.period"                       // s, gauge
	ContainerThrottlePeriods  = "container.cpu.throttling.periods"           // {period}, counter: enforcement periods that passed
	ContainerThrottledPeriods = "container.cpu.throttling.throttled_periods" // {period}, counter: those in which it was held back
	ContainerThrottledTime    = "container.cpu.throttling.throttled_time"    // s, counter

	ContainerMemoryUsage      = "container.memory.usage"         // By, gauge: all of it, page cache included
	ContainerMemoryUsageMax   = "container.memory.usage.max"     // By, gauge: the highest usage so far
	ContainerMemoryWorkingSet = "container.memory.working_set"   // By, gauge: usage less inactive file pages; what the OOM killer looks at
	ContainerMemoryAvailable  = "container.memory.available"     // By, gauge: limit less working set; none where unlimited
	ContainerMemoryRSS        = "container.memory.rss"           // By, gauge: anonymous memory
	ContainerMemoryCache      = "container.memory.cache"         // By, gauge: page cache
	ContainerMemorySwap       = "container.memory.swap"          // By, gauge
	ContainerMemoryLimit      = "container.memory.limit"         // By, gauge; none where unlimited
	ContainerMemoryRequest    = "container.memory.reservation"   // By, gauge: soft limit (v1) or guaranteed minimum (v2); none where unset
	ContainerMemoryFaults     = "container.memory.paging.faults" // {fault}, counter {system.paging.fault.type: major, minor}
	ContainerMemoryOOM        = "container.memory.oom_events"    // {event}, counter: processes the OOM killer ended in it

	ContainerDiskIO         = "container.disk.io"         // By, counter {system.device, disk.io.direction}
	ContainerDiskOperations = "container.disk.operations" // {operation}, counter {system.device, disk.io.direction}

	ContainerFilesystemUsage    = "container.filesystem.usage"    // By, gauge {system.device}: its writable layer and logs
	ContainerFilesystemCapacity = "container.filesystem.capacity" // By, gauge {system.device}

	ContainerNetworkIO      = "container.network.io"             // By, counter {network.interface.name, network.io.direction}
	ContainerNetworkPackets = "container.network.packet.count"   // {packet}, counter, the same labels
	ContainerNetworkDropped = "container.network.packet.dropped" // {packet}, counter, the same labels
	ContainerNetworkErrors  = "container.network.errors"         // {error}, counter, the same labels

	ContainerPressure = "container.pressure.time" // s, counter {pressure.resource, pressure.kind}: time stalled

	ContainerProcesses    = "container.processes"     // {process}, gauge
	ContainerThreads      = "container.threads"       // {thread}, gauge
	ContainerThreadsLimit = "container.threads.limit" // {thread}, gauge; none where unlimited

	// A pod's containers share one network, so its traffic belongs to the pod:
	// these have the pod's labels and no container's.
	PodNetworkIO      = "k8s.pod.network.io"             // By, counter {network.interface.name, network.io.direction}
	PodNetworkPackets = "k8s.pod.network.packet.count"   // {packet}, counter, the same labels
	PodNetworkDropped = "k8s.pod.network.packet.dropped" // {packet}, counter, the same labels
	PodNetworkErrors  = "k8s.pod.network.errors"         // {error}, counter, the same labels

	// The kubelet's own sums over a pod and over the node.
	PodUptime              = "k8s.pod.uptime"               // s, gauge
	PodCPUTime             = "k8s.pod.cpu.time"             // s, counter
	PodCPUUsage            = "k8s.pod.cpu.usage"            // {cpu}, gauge
	PodMemoryUsage         = "k8s.pod.memory.usage"         // By, gauge
	PodMemoryWorkingSet    = "k8s.pod.memory.working_set"   // By, gauge
	PodMemoryAvailable     = "k8s.pod.memory.available"     // By, gauge
	PodMemoryRSS           = "k8s.pod.memory.rss"           // By, gauge
	PodMemoryFaults        = "k8s.pod.memory.paging.faults" // {fault}, counter {system.paging.fault.type}
	PodFilesystemUsage     = "k8s.pod.filesystem.usage"     // By, gauge: ephemeral storage
	PodFilesystemCapacity  = "k8s.pod.filesystem.capacity"  // By, gauge
	PodFilesystemAvailable = "k8s.pod.filesystem.available" // By, gauge

	NodeUptime              = "k8s.node.uptime"               // s, gauge
	NodeCPUTime             = "k8s.node.cpu.time"             // s, counter
	NodeCPUUsage            = "k8s.node.cpu.usage"            // {cpu}, gauge
	NodeMemoryUsage         = "k8s.node.memory.usage"         // By, gauge
	NodeMemoryWorkingSet    = "k8s.node.memory.working_set"   // By, gauge
	NodeMemoryAvailable     = "k8s.node.memory.available"     // By, gauge
	NodeMemoryRSS           = "k8s.node.memory.rss"           // By, gauge
	NodeMemoryFaults        = "k8s.node.memory.paging.faults" // {fault}, counter {system.paging.fault.type}
	NodeFilesystemUsage     = "k8s.node.filesystem.usage"     // By, gauge
	NodeFilesystemCapacity  = "k8s.node.filesystem.capacity"  // By, gauge
	NodeFilesystemAvailable = "k8s.node.filesystem.available" // By, gauge
	NodeNetworkIO           = "k8s.node.network.io"           // By, counter {network.interface.name, network.io.direction}
	NodeNetworkErrors       = "k8s.node.network.errors"       // {error}, counter, the same labels
)
