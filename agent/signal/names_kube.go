package signal

// The vocabulary of layer 4, the objects of a Kubernetes cluster.
//
// The state of objects keeps the metric names of kube-state-metrics, verbatim:
// everybody's dashboards know them, and OpenTelemetry has names for few. They
// stand in agent/collect/kube, one file per kind, and nowhere else on this side
// of the spool. What identifies an object is a label of OpenTelemetry's
// vocabulary, below and in names.go; other labels are kube-state-metrics' own
// (condition, phase, resource, unit, reason, …). Of an enumeration only the
// state that holds is a series.
const (
	LabelReplicationController = "k8s.replicationcontroller.name"
	LabelHPA                   = "k8s.hpa.name"
	LabelKubeService           = "k8s.service.name"
	LabelEndpoint              = "k8s.endpoint.name"
	LabelEndpointSlice         = "k8s.endpointslice.name"
	LabelIngress               = "k8s.ingress.name"
	LabelPersistentVolume      = "k8s.persistentvolume.name"
	LabelVolumeClaim           = "k8s.persistentvolumeclaim.name"
	LabelStorageClass          = "k8s.storageclass.name"
	LabelResourceQuota         = "k8s.resourcequota.name"
	LabelLimitRange            = "k8s.limitrange.name"
	LabelDisruptionBudget      = "k8s.poddisruptionbudget.name"
	LabelSecret                = "k8s.secret.name"

	// What enrichment adds beside the identity of the pod.
	LabelServiceNamespace    = "service.namespace"
	LabelPodLabelPrefix      = "k8s.pod.label."
	LabelPodAnnotationPrefix = "k8s.pod.annotation."

	// LabelNowhere says to the hub that what has it is of no host and node, and goes
	// no further: a hundred thousand series of a leader have it, so it is short.
	LabelNowhere = "-"

	// LabelParse names the parser that a pod's annotation asks for. It is a word
	// from one part of the agent to another, and leaves with no line.
	LabelParse = "causeway.log.parse"

	// What an object or event is about.
	LabelObjectKind     = "k8s.object.kind"
	LabelObjectName     = "k8s.object.name"
	LabelObjectUID      = "k8s.object.uid"
	LabelEventReason    = "k8s.event.reason"
	LabelEventType      = "k8s.event.type"      // Normal, Warning
	LabelEventComponent = "k8s.event.component" // who reported it: kubelet, default-scheduler

	// LabelAPIServer tells the processes of the API server apart, by when they
	// started: they share one address, and each has counters of its own.
	LabelAPIServer = "k8s.apiserver.instance"
)

// Metrics of layer 4 that kube-state-metrics has no name for.
const (
	KubeObjects       = "k8s.object.count"       // {object}, gauge {k8s.object.kind, k8s.namespace.name}
	KubeAPIServerUp   = "k8s.apiserver.up"       // 1, gauge {check: livez, readyz}: 1 if it answered ok
	KubeAPIServerTook = "k8s.apiserver.duration" // s, gauge {check}: how long the answer took
)
