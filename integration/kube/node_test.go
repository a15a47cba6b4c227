//go:build kube

package kube

import (
	"testing"
)

const workloads = `
apiVersion: v1
kind: Namespace
metadata: {name: demo}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: registry.local/workload:1
        args: [serve=:8080, every=100ms, log=20, wait]
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: scratch, mountPath: /tmp}]
      volumes: [{name: scratch, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: demo}
spec:
  hostNetwork: true
  containers: [{name: app, image: registry.local/workload:1, args: [every=1s, wait]}]
---
apiVersion: v1
kind: Pod
metadata: {name: crash, namespace: demo}
spec:
  containers: [{name: app, image: registry.local/workload:1, args: [log=3, exit=3]}]
---
apiVersion: v1
kind: Pod
metadata: {name: hungry, namespace: demo}
spec:
  containers:
  - {name: app, image: registry.local/workload:1, args: [log=3, eat=100000000, wait], resources: {limits: {memory: 24Mi}}}
`

func TestNode(t *testing.T) {
	c := start(t, Options{Node: true})
	a := newAgent(t, c)
	apply(t, c, workloads)
	wants(t, c, "2", "-n", "demo", "get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}")
	wants(t, c, "OOMKilled", "-n", "demo", "get", "pod", "hungry", "-o", "jsonpath={.status.containerStatuses[0]}")
	wants(t, c, "True", "-n", "demo", "get", "pod", "host", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
	wants(t, c, `"exitCode":3`, "-n", "demo", "get", "pod", "crash", "-o", "jsonpath={.status.containerStatuses[0].lastState}")
	t.Run("the kubelet tells all there is", func(t *testing.T) { kubeletTellsAll(t, c, a) })
	t.Run("kubelet and cAdvisor say the same", func(t *testing.T) { sameFromBoth(t, c, a) })
	t.Run("each right is needed and enough", func(t *testing.T) { eachKubeletRightIsNeeded(t, c, a) })
	t.Run("vendors get all of it", func(t *testing.T) { vendorsGetAll(t, c, a) })
	t.Run("in a pod", func(t *testing.T) { agentInPod(t, c, a) })
}

func kubeletTellsAll(t *testing.T, c *Cluster, a *agent) {
	conf := a.containers("kubelet", account(t, c, "all", "nodes/metrics", "nodes/stats", "nodes/pods"))
	all := a.until(t, "the kubelet to tell all", conf, func(all found) error {
		for _, want := range [][]string{
			{"container.cpu.time", "k8s.container.name", "app", "container.runtime", "containerd", "container.image.name", "registry.local/workload"},
			{"container.cpu.throttling.throttled_time", "k8s.container.name", "app"},
			{"container.memory.limit", "k8s.container.name", "app"},
			{"k8s.pod.network.packet.count", "k8s.namespace.name", "demo", "network.io.direction", "receive"},
			{"k8s.pod.cpu.time", "k8s.namespace.name", "demo"},
			{"k8s.pod.filesystem.usage", "k8s.namespace.name", "demo"},
			{"k8s.node.cpu.time", "k8s.node.name", c.NodeName},
			{"k8s.node.filesystem.usage", "k8s.node.name", c.NodeName},
			{"k8s.volume.usage", "k8s.volume.name", "scratch"},
			{"k8s.container.cpu.request", "k8s.namespace.name", "demo"},
			{"k8s.container.restart.count", "k8s.pod.name", "crash"},
			{"k8s.container.status.last_terminated", "k8s.pod.name", "hungry", "k8s.container.status.last_terminated_reason", "OOMKilled"},
			{"k8s.container.status.reason", "k8s.pod.name", "crash"},
			{"k8s.container.probes", "k8s.probe.type", "readiness", "k8s.probe.result", "successful"},
		} {
			if _, err := all.has(want[0], want[1:]...); err != nil {
				return err
			}
		}
		return nil
	})
	if v, _ := all.has("k8s.container.restart.count", "k8s.pod.name", "crash"); v < 1 {
		t.Errorf("the crashing pod has restarted %v times", v)
	}
	if v, _ := all.has("k8s.container.status.last_exit_code", "k8s.pod.name", "crash"); v != 3 {
		t.Errorf("and its exit code was %v", v)
	}
	if _, err := all.has("k8s.pod.network.io", "k8s.pod.name", "host"); err == nil {
		t.Error("the node's network is reported as that of a pod on it")
	}
}

// agentInPod installs the agent as `causeway kubernetes manifest` prints it, and looks into its embedded
// store for what it has gathered of all layers.
func agentInPod(t *testing.T, c *Cluster, a *agent) {
	a.toNode(t)
	apply(t, c, a.manifest(t, podConfig, "--image="+podImage))
	wants(t, c, "1", "-n", "causeway", "get", "daemonset", "causeway", "-o", "jsonpath={.status.numberReady}")
	store := a.store(t, "daemonset/causeway")
	has := func(what, query string, wants ...string) {
		t.Helper()
		store.has(t, c, what, query, wants...)
	}
	t.Run("it sees the host", func(t *testing.T) { hostIsSeen(t, c, store) })
	const web = `namespace = 'demo' AND workload_kind = 'Deployment' AND workload_name = 'web'`
	has("layer 1", `SELECT last(usage_idle) FROM cpu WHERE host = 'node-1' AND cluster = 'test'`, `"last"`)
	has("layer 2, containers",
		`SELECT last(memory_working_set_bytes) FROM kubernetes_pod_container WHERE container_image = 'registry.local/workload' AND `+web, `"last"`)
	has("layer 2, throttling", `SELECT last(cpu_throttling_throttled_periods) FROM kubernetes_pod_container WHERE `+web, `"last"`)
	has("layer 2, volumes", `SELECT last(used_bytes) FROM kubernetes_pod_volume WHERE volume_name = 'scratch' AND `+web, `"last"`)
	has("layer 2, restarts", `SELECT last(restarts_total) FROM kubernetes_pod_container WHERE pod_name = 'crash' AND restarts_total > 0`, `"last"`)
	has("layer 2, what ended a container", `SELECT last(last_terminated) FROM kubernetes_pod_container_reason WHERE pod_name = 'hungry' GROUP BY *`, "OOMKilled")
	has("layer 4, from the leader", `SELECT last(replicas_available) FROM kubernetes_deployment WHERE deployment_name = 'web'`, `,2]`)
	has("layer 4, of this node's pods", `SELECT last(value) FROM kube_pod_status_phase WHERE pod_name = 'host' GROUP BY *`, "Running")
	has("logs", `SELECT count(message) FROM syslog WHERE namespace = 'demo' AND workload_kind = 'Deployment' AND workload_name = 'web'`, `"count"`)
	has("the log of a pod that crashes", `SELECT message FROM syslog WHERE pod_name = 'crash' LIMIT 1`, "line 1")
	has("errors", `SELECT message FROM syslog WHERE stream = 'stderr' AND namespace = 'demo' LIMIT 1`, "something is wrong")
	has("events of a pod that crashes", `SELECT title FROM events WHERE pod_name = 'crash' AND reason = 'BackOff'`, "BackOff")

	kubectl := func(args ...string) {
		t.Helper()
		if _, err := c.Kubectl(t.Context(), "", append([]string{"-n", "demo"}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	kubectl("scale", "deployment", "web", "--replicas=3")
	has("a Deployment that scales", `SELECT last(replicas_available) FROM kubernetes_deployment WHERE deployment_name = 'web'`, `,3]`)
	kubectl("set", "env", "deployment/web", "ROLLED=yes")
	has("a Deployment that rolls", `SELECT title, text FROM events WHERE reason = 'ScalingReplicaSet'`, "Scaled down replica set web-") // the vendors have seen others
	kubectl("delete", "pod", "host", "--wait=false")
	has("a pod that is deleted", `SELECT title FROM events WHERE pod_name = 'host' AND reason = 'Killing'`, "Killing")
	has("and what it said before it ended", `SELECT last(message) FROM syslog WHERE pod_name = 'host'`, "line")
}

// nodeData is where an agent of the rendered DaemonSet keeps its data.
const nodeData = "/var/lib/causeway"

// podConfig is agent.yaml of the agent in a pod: all that is on by default, and a
// store to look into.
const podConfig = `
version: 1
active: [local]
agent: {cluster: test}
collect:
  kubernetes: {interval: 5s}
destinations:
  local: {type: influxdb, embedded: true, listen: 127.0.0.1:8086, database: causeway}
`
