package signal

// Metrics and labels of layer 2 that only the kubelet provider has. They follow
// OpenTelemetry's conventions for Kubernetes where those have a name
// (k8s.container.*, k8s.volume.* as its kubelet receiver writes it).
const (
	ContainerMemoryMapped = "container.memory.mapped_file" // By, gauge: files mapped into memory

	// What the pod's specification asks for, and what became of the container.
	// These belong to the name in the pod, over all its restarts: no container.id.
	K8sCPURequest     = "k8s.container.cpu.request"               // {cpu}, gauge
	K8sCPULimit       = "k8s.container.cpu.limit"                 // {cpu}, gauge
	K8sMemoryRequest  = "k8s.container.memory.request"            // By, gauge
	K8sMemoryLimit    = "k8s.container.memory.limit"              // By, gauge
	K8sStorageRequest = "k8s.container.ephemeral_storage.request" // By, gauge
	K8sStorageLimit   = "k8s.container.ephemeral_storage.limit"   // By, gauge
	K8sRestarts       = "k8s.container.restart.count"             // {restart}, gauge: as the kubelet counts; it may fall when old containers are removed
	K8sReady          = "k8s.container.ready"                     // 1, gauge: 1 or 0
	K8sState          = "k8s.container.status.state"              // 1, gauge {k8s.container.status.state: running, waiting, terminated}
	K8sReason         = "k8s.container.status.reason"             // 1, gauge {k8s.container.status.reason: CrashLoopBackOff, …}, unless it runs
	K8sLastTerminated = "k8s.container.status.last_terminated"    // 1, gauge {k8s.container.status.last_terminated_reason}; its exit code is the next
	K8sLastExitCode   = "k8s.container.status.last_exit_code"     // 1, gauge
	K8sOOMKills       = "k8s.container.oom_kills"                 // {kill}, counter: terminations for want of memory since the agent first saw it
	K8sProbes         = "k8s.container.probes"                    // {probe}, counter {k8s.probe.type, k8s.probe.result}

	PodMemorySwap = "k8s.pod.memory.swap" // By, gauge

	NodeMemorySwap      = "k8s.node.memory.swap"                // By, gauge
	NodeImagesUsage     = "k8s.node.image.filesystem.usage"     // By, gauge: the file system with the images
	NodeImagesCapacity  = "k8s.node.image.filesystem.capacity"  // By, gauge
	NodeImagesAvailable = "k8s.node.image.filesystem.available" // By, gauge

	// The kubelet, the runtime and what else the kubelet tells apart from pods.
	KubeSystemCPUTime          = "k8s.node.system_container.cpu.time"           // s, counter {k8s.system_container.name}
	KubeSystemCPUUsage         = "k8s.node.system_container.cpu.usage"          // {cpu}, gauge, the same label
	KubeSystemMemoryUsage      = "k8s.node.system_container.memory.usage"       // By, gauge, the same label
	KubeSystemMemoryWorkingSet = "k8s.node.system_container.memory.working_set" // By, gauge, the same label
	KubeSystemMemoryRSS        = "k8s.node.system_container.memory.rss"         // By, gauge, the same label

	VolumeUsage      = "k8s.volume.usage"       // By, gauge {k8s.volume.name, k8s.persistentvolumeclaim.name}
	VolumeCapacity   = "k8s.volume.capacity"    // By, gauge, the same labels
	VolumeAvailable  = "k8s.volume.available"   // By, gauge, the same labels
	VolumeInodes     = "k8s.volume.inodes"      // {inode}, gauge, the same labels
	VolumeInodesFree = "k8s.volume.inodes.free" // {inode}, gauge, the same labels
	VolumeInodesUsed = "k8s.volume.inodes.used" // {inode}, gauge, the same labels

	LabelVolume          = "k8s.volume.name"
	LabelSystemContainer = "k8s.system_container.name" // kubelet, runtime, misc, pods
	LabelContainerState  = "k8s.container.status.state"
	LabelContainerReason = "k8s.container.status.reason"
	LabelLastTerminated  = "k8s.container.status.last_terminated_reason"
	LabelProbe           = "k8s.probe.type"   // liveness, readiness, startup
	LabelProbeResult     = "k8s.probe.result" // successful, failed, unknown: the kubelet's words
)
