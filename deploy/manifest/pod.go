package manifest

import (
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Where things are in the pod.
const (
	hostDir    = "/host"
	configDir  = "/etc/causeway"
	accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// statusPort is that of probes, of the agent's own metrics and of its console.
const statusPort = 9580

// nonRoot is the user of distroless images who is not root.
const nonRoot int64 = 65532

// meta is the metadata of a namespaced object.
func (p *Plan) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: p.Namespace, Labels: map[string]string{
		"app.kubernetes.io/name": "causeway", "app.kubernetes.io/instance": p.Name, "app.kubernetes.io/part-of": "causeway",
	}}
}

// selector are the labels by which a workload knows its pods; it can never be changed.
func (p *Plan) selector(component string) map[string]string {
	return map[string]string{
		"app.kubernetes.io/name": "causeway", "app.kubernetes.io/instance": p.Name, "app.kubernetes.io/component": component,
	}
}

// pod is what a workload's pod is made of, while it is being put together.
type pod struct {
	env     []corev1.EnvVar
	ports   []corev1.ContainerPort
	volumes []corev1.Volume
	mounts  []corev1.VolumeMount
}

func (b *pod) set(name, value string) {
	b.env = append(b.env, corev1.EnvVar{Name: name, Value: value})
}

func (b *pod) field(name, of string) {
	b.env = append(b.env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: of}}})
}

func (b *pod) mount(v corev1.Volume, at string, readOnly bool) *corev1.VolumeMount {
	b.volumes = append(b.volumes, v)
	b.mounts = append(b.mounts, corev1.VolumeMount{Name: v.Name, MountPath: at, ReadOnly: readOnly})
	return &b.mounts[len(b.mounts)-1]
}

func ofHost(name, dir string, typ corev1.HostPathType) corev1.Volume {
	v := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}
	if typ != corev1.HostPathUnset {
		v.HostPath.Type = &typ
	}
	return v
}

func empty(name, size string, medium corev1.StorageMedium) corev1.Volume {
	limit := resource.MustParse(size)
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit, Medium: medium}}}
}

// common is what the pods of both workloads have: who they are, agent.yaml, the
// secrets, a token of their own, somewhere to write.
func (p *Plan) common(role string) *pod {
	b := &pod{}
	b.field("NODE_NAME", "spec.nodeName")
	b.field("NODE_IP", "status.hostIP")
	b.field("POD_NAME", "metadata.name")
	b.field("POD_NAMESPACE", "metadata.namespace")
	b.field("POD_UID", "metadata.uid")
	b.set("CAUSEWAY_AGENT__ROLE", role)
	if host, port, err := net.SplitHostPort(p.cfg.Agent.Listen); err == nil && local(host) {
		b.set("CAUSEWAY_AGENT__LISTEN", ":"+port) // probes come from the node
	}
	if p.cfg.Agent.Token == "" { // whoever may read the pod may ask the agent
		b.set("CAUSEWAY_AGENT__TOKEN", "$(POD_UID)")
	}
	for _, name := range p.vars {
		yes := true
		b.env = append(b.env, corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: p.Name}, Key: name, Optional: &yes,
		}}})
	}
	b.ports = append(b.ports, corev1.ContainerPort{Name: "status", ContainerPort: p.statusPort(), Protocol: corev1.ProtocolTCP})

	yes := true
	var hour int64 = 3600
	b.mount(corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: p.Name},
	}}}, configDir, true)
	b.mount(corev1.Volume{Name: "secrets", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: p.Name, Optional: &yes,
	}}}, strings.TrimSuffix(SecretDir, "/"), true)
	b.mount(corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &hour}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}},
		}}},
	}}}}, accountDir, true)
	b.mount(empty("tmp", "16Mi", corev1.StorageMediumMemory), "/tmp", false)
	return b
}

// local tells whether only the pod itself reaches host.
func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (p *Plan) statusPort() int32 {
	if _, port, err := net.SplitHostPort(p.cfg.Agent.Listen); err == nil {
		if n, err := strconv.ParseInt(port, 10, 32); err == nil {
			return int32(n)
		}
	}
	return statusPort
}

// What a spool that goes with its pod may take, and the folder it is in with
// everything else the agent keeps.
const (
	smallMetrics, smallLogs, smallEvents = 512 << 20, 1 << 30, 64 << 20
	smallFolder                          = "1792Mi"
	smallRequest                         = "2Gi" // with the container's own log and what is not the spool
)

// passing gives the pod a data folder that goes with it, and holds the spool to it.
func (p *Plan) passing(b *pod) {
	b.mount(empty("data", smallFolder, ""), p.cfg.Agent.DataDir, false)
	s := p.cfg.Spool
	for _, q := range []struct {
		kind      string
		has, most int64
	}{{"METRICS", s.Metrics.MaxSize, smallMetrics}, {"LOGS", s.Logs.MaxSize, smallLogs}, {"EVENTS", s.Events.MaxSize, smallEvents}} {
		if q.has > q.most {
			b.set("CAUSEWAY_SPOOL__"+q.kind+"__MAX_SIZE", strconv.FormatInt(q.most>>20, 10)+"MiB")
		}
	}
}

// logFolders are the folders of the node that the log reader needs, none inside
// another, sorted.
func (p *Plan) logFolders() []string {
	var dirs []string
	logs := p.cfg.Collect.Logs
	if logs.Pods.Enabled != "false" {
		dirs = append(dirs, path.Clean(logs.Pods.Path))
	}
	for _, f := range logs.Files {
		dir := path.Dir(f.Path)
		if i := strings.IndexAny(dir, "*?["); i >= 0 {
			dir = path.Dir(dir[:i] + "x")
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	var outer []string
	for _, d := range dirs {
		if !slices.ContainsFunc(outer, func(o string) bool { return inside(d, o) }) {
			outer = append(outer, d)
		}
	}
	return outer
}

func inside(dir, of string) bool {
	return dir == of || strings.HasPrefix(dir, strings.TrimSuffix(of, "/")+"/")
}

func underVarLog(dir string) bool { return inside(dir, "/var/log") }

// socketFolders are the folders of the node in which StatsD's sockets are to be.
func (p *Plan) socketFolders() []string {
	var dirs []string
	if s := p.cfg.Collect.StatsD; s.Enabled != "false" {
		for _, l := range s.Listen {
			scheme, file, _ := strings.Cut(l, "://")
			if dir := path.Dir(file); strings.HasPrefix(scheme, "unix") && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// receiver is a port at which applications of the node send.
type receiver struct {
	name     string
	port     int32
	protocol corev1.Protocol
}

// receivers are those that agent.yaml has switched on. What agent.yaml leaves
// at the loopback address, which no other pod reaches, is opened by variables.
func (p *Plan) receivers(set func(name, value string)) []receiver {
	var all []receiver
	add := func(name, address string, protocol corev1.Protocol) (open string, changed bool) {
		host, port, err := net.SplitHostPort(address)
		n, perr := strconv.ParseInt(port, 10, 32)
		if err != nil || perr != nil {
			return address, false
		}
		all = append(all, receiver{name, int32(n), protocol})
		if !local(host) {
			return address, false
		}
		return ":" + port, true
	}
	if s := p.cfg.Collect.StatsD; s.Enabled != "false" {
		var listen []string
		changed := false
		for i, l := range s.Listen {
			if address, udp := strings.CutPrefix(l, "udp://"); udp {
				name := "statsd"
				if i > 0 {
					name += strconv.Itoa(i)
				}
				open, c := add(name, address, corev1.ProtocolUDP)
				l, changed = "udp://"+open, changed || c
			}
			listen = append(listen, l)
		}
		if changed {
			set("CAUSEWAY_COLLECT__STATSD__LISTEN", strings.Join(listen, ","))
		}
	}
	if o := p.cfg.Collect.OTLP; o.Enabled != "false" {
		for _, l := range []struct{ name, key, address string }{{"otlp-grpc", "GRPC", o.GRPC}, {"otlp-http", "HTTP", o.HTTP}} {
			if open, changed := add(l.name, l.address, corev1.ProtocolTCP); changed {
				set("CAUSEWAY_COLLECT__OTLP__"+l.key, open)
			}
		}
	}
	return all
}

// probe asks for a path on the status port.
func probe(of string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: of, Port: intstr.FromString("status")}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 5,
	}
}

// template makes the pod's template. root is for what only root may read.
func (p *Plan) template(b *pod, component, account string, root bool, res corev1.ResourceRequirements) corev1.PodTemplateSpec {
	no, yes := false, true
	user := nonRoot
	podSecurity := &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	if root {
		user = 0
	} else {
		podSecurity.RunAsNonRoot, podSecurity.FSGroup = &yes, &user
	}
	podSecurity.RunAsUser, podSecurity.RunAsGroup = &user, &user
	grace := int64(60)
	labels := p.meta("").Labels
	labels["app.kubernetes.io/component"] = component
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: labels,
			Annotations: map[string]string{
				"causeway.dev/config":                            p.checksum(),
				"cluster-autoscaler.kubernetes.io/safe-to-evict": "true",
			},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, AutomountServiceAccountToken: &no,
			EnableServiceLinks: &no, // a Service called causeway would make CAUSEWAY_ variables
			HostNetwork:        false, DNSPolicy: corev1.DNSClusterFirst,
			PriorityClassName:             p.Name,
			TerminationGracePeriodSeconds: &grace,
			SecurityContext:               podSecurity,
			NodeSelector:                  map[string]string{"kubernetes.io/os": "linux"},
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: "kubernetes.io/arch", Operator: corev1.NodeSelectorOpIn, Values: []string{"amd64", "arm64"}},
				}}},
			}}},
			Containers: []corev1.Container{{
				Name: "causeway", Image: p.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Args: []string{"run", "-c", configDir + "/agent.yaml"},
				Env:  b.env, Ports: b.ports, VolumeMounts: b.mounts, Resources: res,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: &no, Privileged: &no, ReadOnlyRootFilesystem: &yes,
					Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				StartupProbe:             probe("/livez", 2, 30),
				LivenessProbe:            probe("/livez", 15, 6),
				ReadinessProbe:           probe("/readyz", 15, 6),
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
			}},
			Volumes: b.volumes,
		},
	}
}

func quantities(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}
