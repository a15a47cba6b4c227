package manifest

import (
	"path"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hostMounts reports whether any folder of the node is mounted in the DaemonSet's pods.
func (p *Plan) hostMounts() bool {
	return p.onNode() && (!p.Autopilot || len(p.logFolders()) > 0)
}

// namespace says which of the Pod Security Standards the pods keep: a folder of
// the node is beyond all but the least strict.
func (p *Plan) namespace() Object {
	level, why := "restricted", "No folder of the node is mounted and nobody is root."
	if p.hostMounts() {
		level, why = "privileged", "The agent reads the node's files, which Pod Security allows at this level alone. Its containers are not privileged."
	}
	m := metav1.ObjectMeta{Name: p.Namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}
	return Object{Object: &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: m}, Comment: why}
}

// priority is a class of our own: system-node-critical is refused outside
// kube-system where quotas are set on it, as on GKE, and without any, a
// DaemonSet's pods stay pending on nodes that are full.
func (p *Plan) priority() Object {
	m := p.meta(p.Name)
	m.Namespace = ""
	lower := corev1.PreemptLowerPriority
	return Object{Object: &schedulingv1.PriorityClass{
		TypeMeta: metav1.TypeMeta{APIVersion: "scheduling.k8s.io/v1", Kind: "PriorityClass"}, ObjectMeta: m,
		Value: 1_000_000, PreemptionPolicy: &lower, Description: "Causeway's agents, which every node is to have.",
	}, Comment: "Every node is to have its agent, full or not."}
}

func (p *Plan) configMap() Object {
	return Object{Object: &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: p.meta(p.Name), Data: map[string]string{"agent.yaml": p.text},
	}, Comment: "The agents take up a change of it by themselves, within a minute or two. Keys that mounts, ports or\n" +
		"rights depend on need these manifests anew: causeway kubernetes manifest."}
}

func (p *Plan) secret() Object {
	keys := "the files that agent.yaml names in " + SecretDir
	if len(p.vars) > 0 {
		keys = "the variables that agent.yaml names (" + strings.Join(p.vars, ", ") + ") and " + keys
	}
	return Object{Object: &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: p.meta(p.Name), Type: corev1.SecretTypeOpaque,
	}, Comment: "Its keys are " + keys + ".\nApplying this again leaves alone what was put in:\n" +
		"kubectl -n " + p.Namespace + " patch secret " + p.Name + " -p '{\"stringData\":{\"KEY\":\"…\"}}'"}
}

// daemonSet is the agent of every node.
func (p *Plan) daemonSet() Object {
	role := RoleAuto
	if p.Role != RoleAuto {
		role = RoleNode
	}
	b := p.common(role)
	if p.Autopilot {
		p.hostInPod(b)
	} else {
		p.hostMounted(b)
	}
	for i, dir := range p.logFolders() {
		name := "pod-logs"
		if dir != path.Clean(p.cfg.Collect.Logs.Pods.Path) {
			name = "logs-" + strconv.Itoa(i)
		}
		b.mount(ofHost(name, dir, corev1.HostPathUnset), dir, true)
	}
	for i, dir := range p.socketFolders() {
		b.mount(ofHost("sockets-"+strconv.Itoa(i), dir, corev1.HostPathDirectoryOrCreate), dir, false)
	}
	for _, r := range p.receivers(b.set) {
		port := corev1.ContainerPort{Name: r.name, ContainerPort: r.port, Protocol: r.protocol}
		if p.HostPorts {
			port.HostPort = r.port
		}
		b.ports = append(b.ports, port)
	}
	if p.Autopilot {
		p.passing(b)
	} else {
		b.mount(ofHost("data", p.cfg.Agent.DataDir, corev1.HostPathDirectoryOrCreate), p.cfg.Agent.DataDir, false)
	}
	tenth, none := intstr.FromString("10%"), intstr.FromInt32(0)
	history := int32(3)
	t := p.template(b, "node", p.Name, p.hostMounts(), p.nodeResources())
	t.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	return Object{Object: &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"}, ObjectMeta: p.meta(p.Name),
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: p.selector("node")}, Template: t, RevisionHistoryLimit: &history,
			// No surge: two agents of one node would share a spool, which is locked.
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &tenth, MaxSurge: &none},
			},
		},
	}, Comment: p.userComment()}
}

func (p *Plan) userComment() string {
	if !p.hostMounts() {
		return "The agent of every node. It reads no file of the node, so it need not be root."
	}
	return "The agent of every node. It is root, without any capability, because the logs of containers and the\n" +
		"folder of the spool are root's. Logs of other users that others may not read take DAC_READ_SEARCH."
}

// hostMounted mounts what the host collector and cAdvisor read.
func (p *Plan) hostMounted(b *pod) {
	if p.cfg.Collect.Host.Enabled != "false" && p.cfg.Collect.Host.Root == "/" {
		b.set("CAUSEWAY_COLLECT__HOST__ROOT", hostDir)
		if p.HostRoot {
			toContainer := corev1.MountPropagationHostToContainer // what is mounted later is seen too
			b.mount(ofHost("host", "/", corev1.HostPathDirectory), hostDir, true).MountPropagation = &toContainer
		} else {
			b.mount(ofHost("proc", "/proc", corev1.HostPathDirectory), hostDir+"/proc", true)
			b.mount(ofHost("sys", "/sys", corev1.HostPathDirectory), hostDir+"/sys", true)
			b.set("CAUSEWAY_COLLECT__HOST__FILESYSTEMS__EXCLUDE_TYPES", "*") // they cannot be measured from here
		}
		if s := p.cfg.Collect.StatsD; s.Enabled != "false" && s.Cgroups == "/sys/fs/cgroup" {
			b.set("CAUSEWAY_COLLECT__STATSD__CGROUPS", hostDir+"/sys/fs/cgroup")
		}
	}
	if p.provider() == "cadvisor" {
		b.mount(ofHost("cgroups", "/sys/fs/cgroup", corev1.HostPathDirectory), "/sys/fs/cgroup", true)
		dir := path.Dir(p.cfg.Collect.Containers.ContainerdSocket)
		b.mount(ofHost("containerd", dir, corev1.HostPathDirectory), dir, true)
	}
}

// hostInPod has the host collector read what a pod sees of its node: processor,
// memory, load and disks are the node's there, file systems and network are not.
func (p *Plan) hostInPod(b *pod) {
	if p.cfg.Collect.Host.Enabled != "false" {
		b.set("CAUSEWAY_COLLECT__HOST__FILESYSTEMS__EXCLUDE_TYPES", "*")
		b.set("CAUSEWAY_COLLECT__HOST__INTERFACES__EXCLUDE", "*")
	}
}

// nodeResources have no limit of processor time: a throttled agent is late with
// what is wanted most when the node is busy. The agent holds Go to 90 % of its
// memory's limit itself. Autopilot makes limits of requests.
func (p *Plan) nodeResources() corev1.ResourceRequirements {
	memory, most := "64Mi", "256Mi"
	if p.store() != "" {
		memory, most = "128Mi", "768Mi"
	}
	if p.Autopilot {
		l := quantities("cpu", "100m", "memory", most, "ephemeral-storage", smallRequest)
		return corev1.ResourceRequirements{Requests: l, Limits: l}
	}
	return corev1.ResourceRequirements{
		Requests: quantities("cpu", "50m", "memory", memory, "ephemeral-storage", "64Mi"), Limits: quantities("memory", most),
	}
}

// deployment is the two agents of which one reads the cluster's objects.
func (p *Plan) deployment() Object {
	b := p.common(RoleCluster)
	p.passing(b)
	res := corev1.ResourceRequirements{
		Requests: quantities("cpu", "50m", "memory", "128Mi", "ephemeral-storage", smallRequest), Limits: quantities("memory", "512Mi"),
	}
	if p.Autopilot {
		l := quantities("cpu", "100m", "memory", "512Mi", "ephemeral-storage", smallRequest)
		res = corev1.ResourceRequirements{Requests: l, Limits: l}
	}
	t := p.template(b, "cluster", p.leader(), false, res)
	t.Spec.Affinity.PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
		Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
			TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: p.selector("cluster")},
		},
	}}}
	two, one, none := int32(2), intstr.FromInt32(1), intstr.FromInt32(0)
	history := int32(3)
	return Object{Object: &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: p.meta(p.Name + "-cluster"),
		Spec: appsv1.DeploymentSpec{
			Replicas: &two, Selector: &metav1.LabelSelector{MatchLabels: p.selector("cluster")}, Template: t, RevisionHistoryLimit: &history,
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &none},
			},
		},
	}, Comment: "Two agents for the cluster's objects and events: one leads, the other waits for its lease."}
}

func (p *Plan) budget() Object {
	one := intstr.FromInt32(1)
	return Object{Object: &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: p.meta(p.Name + "-cluster"),
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, Selector: &metav1.LabelSelector{MatchLabels: p.selector("cluster")}},
	}}
}
