package kube

import (
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Annotations and labels that users write on their pods.
const (
	annotationService = "causeway.dev/service"
	annotationTags    = "causeway.dev/tags" // key:value,key:value

	unifiedTags = "tags.datadoghq.com/" // docs.datadoghq.com, unified service tagging, read 2026-11
	datadogTags = "ad.datadoghq.com/tags"
	otelPrefix  = "resource.opentelemetry.io/" // opentelemetry.io, semantic conventions for Kubernetes, read 2026-11
	appPrefix   = "app.kubernetes.io/"

	staticPodUID = "kubernetes.io/config.hash" // the kubelet's own UID of a static pod, under which its logs and cgroups lie
)

// level is how much of a pod's identity enrichment adds.
type level uint8

const (
	low          level = iota // what many pods share: namespace, workload, container name, image, service
	orchestrator              // also the pod's name, its replica set and job
	high                      // also the pod's UID, container and image id
)

func parseLevel(s string) (level, bool) {
	i := slices.Index([]string{"low", "orchestrator", "high"}, s)
	return level(max(i, 0)), i >= 0
}

// namer makes the label sets of pods and containers.
type namer struct {
	level               level
	labels, annotations allow
}

// pod returns the labels every series and line of a pod gets, as pairs.
func (n namer) pod(o *corev1.Pod) []string {
	// Tags come first: of equal keys the last counts, and nobody tags a pod into
	// another namespace.
	pairs := append(tags(o.Annotations), signal.LabelNamespace, o.Namespace)
	if n.level >= orchestrator {
		pairs = append(pairs, signal.LabelPod, o.Name)
	}
	if n.level >= high {
		pairs = append(pairs, signal.LabelPodUID, string(o.UID))
	}
	pairs = append(pairs, n.workload(o)...)
	pairs = append(pairs, n.labels.pick(signal.LabelPodLabelPrefix, o.Labels)...)
	pairs = append(pairs, n.annotations.pick(signal.LabelPodAnnotationPrefix, o.Annotations)...)
	return append(pairs, signal.LabelServiceNamespace, first(o.Annotations[otelPrefix+signal.LabelServiceNamespace], o.Labels[appPrefix+"part-of"]))
}

// container returns the labels a container has beside its pod's, as pairs.
func (n namer) container(o *corev1.Pod, c *corev1.Container, st *corev1.ContainerStatus) []string {
	image, tag := splitImage(c.Image)
	pairs := []string{signal.LabelK8sContainer, c.Name, signal.LabelImage, image, signal.LabelImageTag, tag}
	if n.level >= high && st != nil {
		pairs = append(pairs, signal.LabelContainerID, bareID(st.ContainerID), signal.LabelImageID, st.ImageID)
	}
	return append(pairs, unified(o, c.Name)...)
}

// unified returns service, environment and version: of each the first that is
// stated, from what is meant for us, for the container, for the pod, and last
// the labels that many charts set anyway.
func unified(o *corev1.Pod, container string) []string {
	l, a := o.Labels, o.Annotations
	of := func(tag, key, app string) string {
		name := ""
		if container != "" {
			name = l[unifiedTags+container+"."+tag]
		}
		return first(name, l[unifiedTags+tag], a[otelPrefix+key], l[appPrefix+app])
	}
	return []string{
		signal.LabelService, first(a[annotationService], of("service", signal.LabelService, "name")),
		signal.LabelEnv, of("env", signal.LabelEnv, "environment"),
		signal.LabelVersion, of("version", signal.LabelVersion, "version"),
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// workload names what a pod is part of: its owner, and the owner's owner, which
// the names of both give away without asking the API server.
func (n namer) workload(o *corev1.Pod) []string {
	c := metav1.GetControllerOfNoCopy(o)
	if c == nil {
		return nil
	}
	kind, name := c.Kind, c.Name
	var pairs []string
	switch c.Kind {
	case "ReplicaSet":
		if n.level >= orchestrator {
			pairs = append(pairs, signal.LabelReplicaSet, c.Name)
		}
		// A Deployment names its replica sets NAME-HASH, and labels their pods with the hash.
		hash := o.Labels["pod-template-hash"]
		if d, ok := strings.CutSuffix(c.Name, "-"+hash); ok && hash != "" && d != "" {
			kind, name = "Deployment", d
			pairs = append(pairs, signal.LabelDeployment, d)
		} else if n.level < orchestrator {
			pairs = append(pairs, signal.LabelReplicaSet, c.Name)
		}
	case "Job":
		if cron, ok := cronJobName(c.Name); ok {
			kind, name = "CronJob", cron
			pairs = append(pairs, signal.LabelCronJob, cron)
			if n.level >= orchestrator {
				pairs = append(pairs, signal.LabelJob, c.Name)
			}
		} else {
			pairs = append(pairs, signal.LabelJob, c.Name)
		}
	case "DaemonSet":
		pairs = append(pairs, signal.LabelDaemonSet, c.Name)
	case "StatefulSet":
		pairs = append(pairs, signal.LabelStatefulSet, c.Name)
	case "ReplicationController":
		pairs = append(pairs, signal.LabelReplicationController, c.Name)
	case "Node": // a static pod: its kubelet owns it
		return nil
	}
	return append(pairs, signal.LabelWorkloadKind, kind, signal.LabelWorkload, name)
}

// cronJobName takes the moment off the name that a cron job gives its jobs:
// NAME-MINUTES since 1970, which have had 8 digits since 1989 and will until 2160.
func cronJobName(job string) (string, bool) {
	i := strings.LastIndexByte(job, '-')
	if i < 1 || len(job)-i-1 != 8 && len(job)-i-1 != 10 { // 10: seconds, before Kubernetes 1.21
		return "", false
	}
	for _, c := range job[i+1:] {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return job[:i], true
}

// splitImage splits registry/name:tag@digest into name and tag.
func splitImage(image string) (name, tag string) {
	name, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// tags reads the tags that annotations ask for: ours, key:value,key:value, and
// Datadog's, a JSON object. What cannot be read is left out: the annotation is
// the user's, and no reason to lose the pod.
func tags(annotations map[string]string) []string {
	var pairs []string
	if text := annotations[datadogTags]; text != "" {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) == nil {
			for k, v := range m {
				if s, ok := v.(string); ok && !reserved(k) {
					pairs = append(pairs, tagKey(k), s)
				}
			}
		}
	}
	for t := range strings.SplitSeq(annotations[annotationTags], ",") {
		k, v, ok := strings.Cut(strings.TrimSpace(t), ":")
		if k = strings.TrimSpace(k); ok && !reserved(k) {
			pairs = append(pairs, tagKey(k), strings.TrimSpace(v))
		}
	}
	return pairs
}

// reserved reports whether a key is for the agent alone to set: one that says
// which machine, pod or container something comes from.
func reserved(k string) bool {
	for _, prefix := range []string{"k8s.", "host.", "container.", "causeway.", "cloud."} {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return k == ""
}

// tagKey is the label that a tag's key stands for.
func tagKey(k string) string {
	switch k {
	case "env":
		return signal.LabelEnv
	case "service":
		return signal.LabelService
	case "version":
		return signal.LabelVersion
	}
	return k
}
