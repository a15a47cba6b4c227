package container

import "github.com/causeway-agent/causeway/agent/signal"

// desc says what one Value, or one direction of an Interface, becomes.
type desc struct {
	name, unit string
	typ        signal.Type
	labels     [4]string // pairs; of a Part keys, whose values the Part has
}

// valueDescs has a row per scope and, in it, what each Value becomes there.
// What has no name makes no sample. It is never written.
var valueDescs = [NumScopes][NumValues]desc{
	OfContainer: {
		Uptime:            gauge(signal.ContainerUptime, "s"),
		StartTime:         gauge(signal.ContainerStartTime, "s"),
		CPUUser:           counter(signal.ContainerCPUTime, "s", signal.LabelCPUMode, "user"),
		CPUSystem:         counter(signal.ContainerCPUTime, "s", signal.LabelCPUMode, "system"),
		CPUTime:           counter(signal.ContainerCPUTime, "s"),
		CPUUsage:          gauge(signal.ContainerCPUUsage, "{cpu}"),
		CPULimit:          gauge(signal.ContainerCPULimit, "{cpu}"),
		CPUShares:         gauge(signal.ContainerCPUShares, "1"),
		CPUQuota:          gauge(signal.ContainerCPUQuota, "s"),
		CPUPeriod:         gauge(signal.ContainerCPUPeriod, "s"),
		Periods:           counter(signal.ContainerThrottlePeriods, "{period}"),
		ThrottledPeriods:  counter(signal.ContainerThrottledPeriods, "{period}"),
		ThrottledTime:     counter(signal.ContainerThrottledTime, "s"),
		MemoryUsage:       gauge(signal.ContainerMemoryUsage, "By"),
		MemoryUsageMax:    gauge(signal.ContainerMemoryUsageMax, "By"),
		MemoryWorkingSet:  gauge(signal.ContainerMemoryWorkingSet, "By"),
		MemoryAvailable:   gauge(signal.ContainerMemoryAvailable, "By"),
		MemoryRSS:         gauge(signal.ContainerMemoryRSS, "By"),
		MemoryCache:       gauge(signal.ContainerMemoryCache, "By"),
		MemorySwap:        gauge(signal.ContainerMemorySwap, "By"),
		MemoryMapped:      gauge(signal.ContainerMemoryMapped, "By"),
		MemoryLimit:       gauge(signal.ContainerMemoryLimit, "By"),
		MemoryReservation: gauge(signal.ContainerMemoryRequest, "By"),
		MajorFaults:       counter(signal.ContainerMemoryFaults, "{fault}", signal.LabelPagingType, "major"),
		MinorFaults:       counter(signal.ContainerMemoryFaults, "{fault}", signal.LabelPagingType, "minor"),
		OOMEvents:         counter(signal.ContainerMemoryOOM, "{event}"),
		CPUSome:           counter(signal.ContainerPressure, "s", signal.LabelPressure, "cpu", signal.LabelPressureKind, "some"),
		CPUFull:           counter(signal.ContainerPressure, "s", signal.LabelPressure, "cpu", signal.LabelPressureKind, "full"),
		MemorySome:        counter(signal.ContainerPressure, "s", signal.LabelPressure, "memory", signal.LabelPressureKind, "some"),
		MemoryFull:        counter(signal.ContainerPressure, "s", signal.LabelPressure, "memory", signal.LabelPressureKind, "full"),
		IOSome:            counter(signal.ContainerPressure, "s", signal.LabelPressure, "io", signal.LabelPressureKind, "some"),
		IOFull:            counter(signal.ContainerPressure, "s", signal.LabelPressure, "io", signal.LabelPressureKind, "full"),
		Processes:         gauge(signal.ContainerProcesses, "{process}"),
		Threads:           gauge(signal.ContainerThreads, "{thread}"),
		ThreadsLimit:      gauge(signal.ContainerThreadsLimit, "{thread}"),
	},
	OfPod: {
		Uptime:           gauge(signal.PodUptime, "s"),
		CPUTime:          counter(signal.PodCPUTime, "s"),
		CPUUsage:         gauge(signal.PodCPUUsage, "{cpu}"),
		MemoryUsage:      gauge(signal.PodMemoryUsage, "By"),
		MemoryWorkingSet: gauge(signal.PodMemoryWorkingSet, "By"),
		MemoryAvailable:  gauge(signal.PodMemoryAvailable, "By"),
		MemoryRSS:        gauge(signal.PodMemoryRSS, "By"),
		MemorySwap:       gauge(signal.PodMemorySwap, "By"),
		MajorFaults:      counter(signal.PodMemoryFaults, "{fault}", signal.LabelPagingType, "major"),
		MinorFaults:      counter(signal.PodMemoryFaults, "{fault}", signal.LabelPagingType, "minor"),
	},
	OfNode: {
		Uptime:           gauge(signal.NodeUptime, "s"),
		CPUTime:          counter(signal.NodeCPUTime, "s"),
		CPUUsage:         gauge(signal.NodeCPUUsage, "{cpu}"),
		MemoryUsage:      gauge(signal.NodeMemoryUsage, "By"),
		MemoryWorkingSet: gauge(signal.NodeMemoryWorkingSet, "By"),
		MemoryAvailable:  gauge(signal.NodeMemoryAvailable, "By"),
		MemoryRSS:        gauge(signal.NodeMemoryRSS, "By"),
		MemorySwap:       gauge(signal.NodeMemorySwap, "By"),
		MajorFaults:      counter(signal.NodeMemoryFaults, "{fault}", signal.LabelPagingType, "major"),
		MinorFaults:      counter(signal.NodeMemoryFaults, "{fault}", signal.LabelPagingType, "minor"),
	},
	OfSystem: {
		CPUTime:          counter(signal.KubeSystemCPUTime, "s"),
		CPUUsage:         gauge(signal.KubeSystemCPUUsage, "{cpu}"),
		MemoryUsage:      gauge(signal.KubeSystemMemoryUsage, "By"),
		MemoryWorkingSet: gauge(signal.KubeSystemMemoryWorkingSet, "By"),
		MemoryRSS:        gauge(signal.KubeSystemMemoryRSS, "By"),
	},
	OfStatus: {
		CPURequest:     gauge(signal.K8sCPURequest, "{cpu}"),
		CPULimit:       gauge(signal.K8sCPULimit, "{cpu}"),
		MemoryRequest:  gauge(signal.K8sMemoryRequest, "By"),
		MemoryLimit:    gauge(signal.K8sMemoryLimit, "By"),
		StorageRequest: gauge(signal.K8sStorageRequest, "By"),
		StorageLimit:   gauge(signal.K8sStorageLimit, "By"),
		Restarts:       gauge(signal.K8sRestarts, "{restart}"),
		Ready:          gauge(signal.K8sReady, "1"),
		OOMKills:       counter(signal.K8sOOMKills, "{kill}"),
		LastExitCode:   gauge(signal.K8sLastExitCode, "1"),
		State:          gauge(signal.K8sState, "1", signal.LabelContainerState, ""),
		Reason:         gauge(signal.K8sReason, "1", signal.LabelContainerReason, ""),
		LastTerminated: gauge(signal.K8sLastTerminated, "1", signal.LabelLastTerminated, ""),
	},
	OfProbes: {
		Probes: counter(signal.K8sProbes, "{probe}", signal.LabelProbe, "", signal.LabelProbeResult, ""),
	},
}

// diskDescs has what bytes and operations become.
var diskDescs = [...]desc{counter(signal.ContainerDiskIO, "By"), counter(signal.ContainerDiskOperations, "{operation}")}

// networkDescs has what bytes, packets, errors and dropped packets become.
var networkDescs = [NumScopes][4]desc{
	OfContainer: {
		counter(signal.ContainerNetworkIO, "By"), counter(signal.ContainerNetworkPackets, "{packet}"),
		counter(signal.ContainerNetworkErrors, "{error}"), counter(signal.ContainerNetworkDropped, "{packet}"),
	},
	OfPod: {
		counter(signal.PodNetworkIO, "By"), counter(signal.PodNetworkPackets, "{packet}"),
		counter(signal.PodNetworkErrors, "{error}"), counter(signal.PodNetworkDropped, "{packet}"),
	},
	OfNode: {0: counter(signal.NodeNetworkIO, "By"), 2: counter(signal.NodeNetworkErrors, "{error}")},
}

// filesystemDescs has what usage, capacity, available bytes, and all, free and
// used inodes become.
var filesystemDescs = [NumScopes][6]desc{
	OfContainer: {gauge(signal.ContainerFilesystemUsage, "By"), gauge(signal.ContainerFilesystemCapacity, "By")},
	OfPod:       {gauge(signal.PodFilesystemUsage, "By"), gauge(signal.PodFilesystemCapacity, "By"), gauge(signal.PodFilesystemAvailable, "By")},
	OfNode:      {gauge(signal.NodeFilesystemUsage, "By"), gauge(signal.NodeFilesystemCapacity, "By"), gauge(signal.NodeFilesystemAvailable, "By")},
	OfImages:    {gauge(signal.NodeImagesUsage, "By"), gauge(signal.NodeImagesCapacity, "By"), gauge(signal.NodeImagesAvailable, "By")},
	OfVolume: {
		gauge(signal.VolumeUsage, "By"), gauge(signal.VolumeCapacity, "By"), gauge(signal.VolumeAvailable, "By"),
		gauge(signal.VolumeInodes, "{inode}"), gauge(signal.VolumeInodesFree, "{inode}"), gauge(signal.VolumeInodesUsed, "{inode}"),
	},
}

func gauge(name, unit string, labels ...string) desc {
	return described(name, unit, signal.Gauge, labels)
}
func counter(name, unit string, labels ...string) desc {
	return described(name, unit, signal.Counter, labels)
}

func described(name, unit string, t signal.Type, labels []string) desc {
	d := desc{name: name, unit: unit, typ: t}
	copy(d.labels[:], labels)
	return d
}
