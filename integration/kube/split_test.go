//go:build kube

package kube

import (
	"bufio"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestNodeAndClusterApart installs the DaemonSet and the Deployment of two, as
// they are rendered: the agent of the node gives layer 2 and never has the
// lease, one of the Deployment's gives layer 4 and the events, and when its pod
// is deleted the other does.
func TestNodeAndClusterApart(t *testing.T) {
	c := start(t, Options{Node: true})
	a := newAgent(t, c)
	a.toNode(t)
	apply(t, c, workloads)
	manifest := a.manifest(t, podConfig, "--image="+podImage, "--role=all")
	apply(t, c, manifest[:strings.Index(manifest, "\n---\n")]) // the namespace, so that nobody is missed
	leaders := watchLeases(t, c)
	apply(t, c, manifest)
	wants(t, c, "1", "-n", "causeway", "get", "daemonset", "causeway", "-o", "jsonpath={.status.numberReady}")
	wants(t, c, "2", "-n", "causeway", "get", "deployment", "causeway-cluster", "-o", "jsonpath={.status.readyReplicas}")

	const (
		layer2   = `SELECT last(memory_working_set_bytes) FROM kubernetes_pod_container WHERE namespace = 'demo' AND workload_name = 'web'`
		ownPods  = `SELECT last(value) FROM kube_pod_status_phase WHERE pod_name = 'host' GROUP BY *`
		layer4   = `SELECT last(replicas_available) FROM kubernetes_deployment WHERE deployment_name = 'web'`
		happened = `SELECT title FROM events WHERE pod_name = 'crash' AND reason = 'BackOff'`
	)
	node := a.store(t, "daemonset/causeway")
	node.has(t, c, "layer 2 from the node", layer2, `"last"`)
	node.has(t, c, "the state of its pods from the node", ownPods, "Running")
	first := leads(t, c)
	leader := a.store(t, "pod/"+first)
	leader.has(t, c, "layer 4 from the leader", layer4, `,2]`)
	leader.has(t, c, "events from the leader", happened, "BackOff")

	second := other(t, c, first)
	waiting := a.store(t, "pod/"+second)
	for _, query := range []string{layer4, happened} {
		if answer, err := waiting(query); err != nil || strings.Contains(answer, `"series"`) {
			t.Errorf("who only waits has %s, %v", answer, err)
		}
	}
	kubectl := func(args ...string) {
		t.Helper()
		if _, err := c.Kubectl(t.Context(), "", args...); err != nil {
			t.Fatal(err)
		}
	}
	kubectl("cordon", c.NodeName) // the pod that replaces the first may be as quick as the second, and lead as well
	kubectl("-n", "causeway", "delete", "pod", first, "--wait=false")
	wants(t, c, second, "-n", "causeway", "get", "lease", "causeway", "-o", "jsonpath={.spec.holderIdentity}")
	waiting.has(t, c, "layer 4 from who took over", layer4, `,2]`)
	kubectl("uncordon", c.NodeName)
	kubectl("-n", "demo", "scale", "deployment", "web", "--replicas=3")
	waiting.has(t, c, "a Deployment that scales", layer4, `,3]`)
	waiting.has(t, c, "the event of it", `SELECT text FROM events WHERE reason = 'ScalingReplicaSet'`, "from 2 to 3")
	wants(t, c, "2", "-n", "causeway", "get", "deployment", "causeway-cluster", "-o", "jsonpath={.status.readyReplicas}")

	for store, queries := range map[string][]string{"daemonset/causeway": {layer4, happened}, "pod/" + second: {layer2, ownPods}} {
		for _, query := range queries {
			if answer, err := a.store(t, store)(query); err != nil || strings.Contains(answer, `"series"`) {
				t.Errorf("%s has what is the other's: %s, %v", store, answer, err)
			}
		}
	}
	if out, _ := c.Kubectl(t.Context(), "", "-n", "causeway", "auth", "can-i", "update", "leases/causeway",
		"--as=system:serviceaccount:causeway:causeway"); strings.TrimSpace(out) != "no" {
		t.Errorf("may the agent of a node take the lease? %q", out)
	}
	all := leaders()
	for _, who := range all {
		if !strings.HasPrefix(who, "causeway-cluster-") {
			t.Errorf("%q led", who)
		}
	}
	if !slices.Contains(all, first) || !slices.Contains(all, second) {
		t.Errorf("%q led; %s and %s are missing", all, first, second)
	}
	t.Logf("%s led, and when it was deleted %s; nobody else: %q", first, second, all)
}

// leads waits until somebody has the lease, and returns who.
func leads(t *testing.T, c *Cluster) (who string) {
	t.Helper()
	until(t, c, "somebody to lead", func() (err error) {
		who, err = c.Kubectl(t.Context(), "", "-n", "causeway", "get", "lease", "causeway", "-o", "jsonpath={.spec.holderIdentity}")
		if err == nil && who == "" {
			err = fmt.Errorf("nobody has the lease")
		}
		return err
	})
	return who
}

// other returns the Deployment's other pod.
func other(t *testing.T, c *Cluster, than string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", "-n", "causeway", "get", "pods", "-l", "app.kubernetes.io/component=cluster", "-o", "jsonpath={.items[*].metadata.name}")
	pods := strings.Fields(out)
	if err != nil || len(pods) != 2 || !slices.Contains(pods, than) {
		t.Fatalf("the Deployment has %q, and %s leads: %v", pods, than, err)
	}
	return pods[1-slices.Index(pods, than)]
}

// watchLeases returns a way to ask who has ever had a lease of the agents.
func watchLeases(t *testing.T, c *Cluster) func() []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), c.bin.Path("kubectl"), "--kubeconfig="+c.Kubeconfig, "-n", "causeway", "get", "leases", "--watch",
		"-o", `jsonpath={.spec.holderIdentity}{"\n"}`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards who
	who := map[string]bool{}
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() != "" { // given back
				mu.Lock()
				who[lines.Text()] = true
				mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		read.Wait()
		cmd.Wait()
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(maps.Keys(who))
	}
}
