package manifest

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// warden returns what GKE Autopilot refuses of a pod
// (cloud.google.com/kubernetes-engine/docs/concepts/autopilot-security and
// autopilot-resource-requests, read 2026-11).
func warden(pod corev1.PodTemplateSpec) []string {
	var bad []string
	s := pod.Spec
	refuse := func(is bool, what string) {
		if is {
			bad = append(bad, what)
		}
	}
	refuse(s.HostNetwork, "hostNetwork")
	refuse(s.HostPID, "hostPID")
	refuse(s.HostIPC, "hostIPC")
	refuse(strings.HasPrefix(s.PriorityClassName, "system-"), "a system's priority class")
	writable := map[string]bool{}
	for _, c := range append(s.InitContainers, s.Containers...) {
		for _, m := range c.VolumeMounts {
			writable[m.Name] = writable[m.Name] || !m.ReadOnly
			refuse(m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationBidirectional, "mounts that the node sees")
		}
		for _, p := range c.Ports {
			refuse(p.HostPort != 0, "hostPort")
		}
		if sc := c.SecurityContext; sc != nil {
			refuse(sc.Privileged != nil && *sc.Privileged, "privileged")
			if sc.Capabilities != nil {
				for _, a := range sc.Capabilities.Add {
					refuse(a != "SYS_PTRACE", "capability "+string(a))
				}
			}
		}
		for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
			request, limit := c.Resources.Requests[r], c.Resources.Limits[r]
			refuse(request.IsZero(), "no request of "+string(r))
			refuse(!request.Equal(limit), "a limit of "+string(r)+" that is not its request")
		}
		storage := c.Resources.Requests[corev1.ResourceEphemeralStorage]
		refuse(storage.Value() > 10<<30, "more than 10 GiB of ephemeral storage")
	}
	for _, v := range s.Volumes {
		if v.HostPath != nil {
			refuse(!underVarLog(v.HostPath.Path), "hostPath "+v.HostPath.Path)
			refuse(writable[v.Name], "writing to hostPath "+v.HostPath.Path)
			refuse(v.HostPath.Type != nil && strings.HasSuffix(string(*v.HostPath.Type), "OrCreate"), "creating hostPath "+v.HostPath.Path)
		}
	}
	return bad
}

func TestAutopilotTakesItsManifests(t *testing.T) {
	pods := templates(shippedPlan(t, "autopilot")) // which its file is, by another test
	if len(pods) != 2 {
		t.Fatalf("%d workloads", len(pods))
	}
	for name, pod := range pods {
		for _, b := range warden(pod) {
			t.Errorf("%s: %s", name, b)
		}
	}
}

// What stays in the pod's own folder fits it, beside the container's log.
func TestAutopilotSpoolFitsItsFolder(t *testing.T) {
	for name, pod := range templates(planOf(t, "", autopilot, apart)) {
		sum, limit := int64(0), int64(0)
		for _, e := range pod.Spec.Containers[0].Env {
			switch e.Name + "=" + e.Value {
			case "CAUSEWAY_SPOOL__METRICS__MAX_SIZE=512MiB":
				sum += 512 << 20
			case "CAUSEWAY_SPOOL__LOGS__MAX_SIZE=1024MiB":
				sum += 1 << 30
			}
		}
		sum += 64 << 20 // events: the default
		for _, v := range pod.Spec.Volumes {
			if v.Name == "data" {
				limit = v.EmptyDir.SizeLimit.Value()
			}
		}
		request := pod.Spec.Containers[0].Resources.Requests[corev1.ResourceEphemeralStorage]
		if sum != 512<<20+1<<30+64<<20 || limit < sum+64<<20 || request.Value() < limit+64<<20 {
			t.Errorf("%s: spool %d, folder %d, request %d", name, sum, limit, request.Value())
		}
	}
}

func TestWardenRefusesWhatStandardHas(t *testing.T) {
	bad := strings.Join(warden(templates(planOf(t, "", func(o *Options) { o.HostPorts = true }))["causeway"]), "\n")
	for _, want := range []string{"hostPath /\n", "writing to hostPath /var/lib/causeway", "hostPort", "creating", "a limit of cpu"} {
		if !strings.Contains(bad+"\n", want) {
			t.Errorf("%q is not refused:\n%s", want, bad)
		}
	}
}
