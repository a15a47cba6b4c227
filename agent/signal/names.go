package signal

// Label keys: OpenTelemetry's attribute names, the one vocabulary inside the
// agent. Each vendor's folder has the table that translates them. Names of
// metrics stand in the files names_*.go, one per layer.
const (
	// Identity of the node, the cluster and the service.
	LabelHost          = "host.name"
	LabelHostID        = "host.id"
	LabelCluster       = "k8s.cluster.name"
	LabelNode          = "k8s.node.name"
	LabelNamespace     = "k8s.namespace.name"
	LabelPod           = "k8s.pod.name"
	LabelPodUID        = "k8s.pod.uid"
	LabelWorkloadKind  = "k8s.workload.kind" // Deployment, DaemonSet, StatefulSet, Job, CronJob, ReplicaSet: the topmost owner
	LabelWorkload      = "k8s.workload.name"
	LabelDeployment    = "k8s.deployment.name"
	LabelDaemonSet     = "k8s.daemonset.name"
	LabelStatefulSet   = "k8s.statefulset.name"
	LabelReplicaSet    = "k8s.replicaset.name"
	LabelJob           = "k8s.job.name"
	LabelCronJob       = "k8s.cronjob.name"
	LabelK8sContainer  = "k8s.container.name"
	LabelContainerID   = "container.id"
	LabelContainer     = "container.name"
	LabelRuntime       = "container.runtime"
	LabelImage         = "container.image.name"
	LabelImageTag      = "container.image.tag"
	LabelImageID       = "container.image.id"
	LabelCgroup        = "container.cgroup" // path of a cgroup that no runtime knows
	LabelEnv           = "deployment.environment.name"
	LabelService       = "service.name"
	LabelVersion       = "service.version"
	LabelCloudProvider = "cloud.provider"
	LabelCloudProject  = "cloud.account.id"
	LabelCloudZone     = "cloud.availability_zone"
	LabelCloudRegion   = "cloud.region"

	// What a host or container metric is about.
	LabelCPU             = "cpu.logical_number"
	LabelCPUMode         = "cpu.mode" // user, system, nice, idle, iowait, interrupt, softirq, steal
	LabelDevice          = "system.device"
	LabelMemoryState     = "system.memory.state"
	LabelPagingState     = "system.paging.state"
	LabelPagingType      = "system.paging.fault.type"
	LabelPagingDirection = "system.paging.direction" // in, out
	LabelDiskDirection   = "disk.io.direction"       // read, write
	LabelFSMode          = "system.filesystem.mode"
	LabelFSMount         = "system.filesystem.mountpoint"
	LabelFSState         = "system.filesystem.state" // used, free, reserved
	LabelFSType          = "system.filesystem.type"
	LabelInterface       = "network.interface.name"
	LabelNetDirection    = "network.io.direction" // receive, transmit
	LabelTransport       = "network.transport"
	LabelNetState        = "network.connection.state"
	LabelProcessState    = "process.state"
	LabelPressure        = "pressure.resource" // cpu, memory, io
	LabelPressureKind    = "pressure.kind"     // some, full
	LabelOSType          = "os.type"
	LabelOSName          = "os.name"
	LabelOSVersion       = "os.version"
	LabelOSDescription   = "os.description"
	LabelKernel          = "os.kernel.release"
	LabelArch            = "host.arch"

	// Log lines.
	LabelLogFile   = "log.file.path"
	LabelLogStream = "log.iostream" // stdout, stderr
	LabelLogSource = "log.source"   // the program that wrote it: nginx, java
	LabelLogCut    = "log.cut"      // of a line that was longer than allowed: how many bytes of it were left out
	LabelTraceID   = "trace_id"
	LabelSpanID    = "span_id"
	LabelFacility  = "syslog.facility"
	LabelAppName   = "syslog.appname"
	LabelProcID    = "syslog.procid"
	LabelMsgID     = "syslog.msgid"

	// LabelOverflow marks the one series that stands in for those above the
	// cardinality limit.
	LabelOverflow = "overflow"

	// The agent's own metrics.
	LabelSource      = "causeway.source"
	LabelDestination = "causeway.destination"
	LabelKind        = "causeway.kind"
	LabelReason      = "causeway.reason"
)
