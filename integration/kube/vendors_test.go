//go:build kube

package kube

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

// vendors are the three at once, as strict as their documentation.
type vendors struct {
	dd  *ddintake.Server
	nr  *nrintake.Server
	gcp *gcpintake.Server
}

// vendorsGetAll sends the workload's signals of all layers to the three vendors,
// and looks for what their own pages of Kubernetes are made of. None of them
// refuses anything.
func vendorsGetAll(t *testing.T, c *Cluster, a *agent) {
	v := vendors{dd: ddintake.New("0123"), nr: &nrintake.Server{Key: "0123456789012345678901234567890123NRAL"}}
	var err error
	if v.gcp, err = gcpintake.New(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.gcp.Close)
	url := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	token := account(t, c, "vendors", "nodes/metrics", "nodes/stats", "nodes/pods")
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	off := `{enabled: "false"}`
	text := fmt.Sprintf(`version: 1
active: [datadog, newrelic, google]
agent: {node: %s, cluster: test, data_dir: %q, listen: "127.0.0.1:%d"}
collect:
  host: {interval: 10s}
  statsd: %[4]s
  prometheus: %[4]s
  containers: {interval: 10s, provider: kubelet, kubelet: {url: "https://%[5]s:10250", ca_file: %[6]q, token_file: %[7]q}}
  kubernetes: {enabled: "true", interval: 10s, kubeconfig: %[8]q, lease_namespace: default, lease_name: vendors}
destinations:
  datadog: {type: datadog, url: %[9]q, api_key: "0123"}
  newrelic: {type: newrelic, url: %[10]q, license_key: %[11]q, api: otlp}
  google: {type: googlecloud, project: my-project, location: europe-west1, url: %[12]q, logs_url: %[12]q}
`, c.NodeName, filepath.Join(dir, "data"), ports[0], off, c.NodeIP, c.CA, token, c.Kubeconfig, url(v.dd), url(v.nr), v.nr.Key, v.gcp.Addr())
	file := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), a.bin, "run", "-c", file)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("the agent says:\n%s", &said)
		}
	})
	until(t, c, "Datadog to have it", v.datadog)
	until(t, c, "New Relic to have it", v.newRelic)
	until(t, c, "Google to have it", v.google)
	deedsAreSeen(t, c, v)
	for name, refused := range map[string][]string{"Datadog": v.dd.Refused(), "New Relic": v.nr.Errors(), "Google": v.gcp.Refused()} {
		if len(refused) > 0 {
			t.Errorf("%s refused %d, such as %s", name, len(refused), refused[0])
		}
	}
	t.Logf("%d series at Datadog, %d points at New Relic, %d at Google; none refused", len(v.dd.Series("")), len(v.nr.Metrics()), len(v.gcp.Points()))
}

// datadog returns what Datadog lacks.
func (v vendors) datadog() error {
	web := []string{"kube_namespace:demo", "kube_deployment:web", "kube_cluster_name:test"}
	for metric, tags := range map[string][]string{
		"kubernetes_state.deployment.replicas_available":            web,
		"kubernetes_state.pod.status_phase":                         {"kube_namespace:demo", "pod_name:host", "pod_phase:running"},
		"kubernetes_state.node.by_condition":                        {"condition:ready", "status:true"},
		"kubernetes.memory.working_set":                             append(web, "kube_container_name:app", "short_image:workload"),
		"kubernetes.cpu.usage.total":                                append(web, "kube_container_name:app"),
		"kubernetes.cpu.limits":                                     web,
		"kubernetes.containers.restarts":                            {"pod_name:crash"},
		"kubernetes.containers.last_state.terminated":               {"pod_name:hungry", "reason:oomkilled"},
		"kubernetes_state.container.status_report.count.terminated": nil,
		"system.cpu.idle":                                           nil,
	} {
		all := v.dd.Series(metric)
		if !slices.ContainsFunc(all, func(s ddintake.Series) bool { return hasAll(s.Tags, tags) }) {
			if len(all) > 3 {
				all = all[:3]
			}
			return fmt.Errorf("no %s with %q among %+v", metric, tags, all)
		}
	}
	if !slices.ContainsFunc(v.dd.Logs(), func(l ddintake.Log) bool {
		tags, _ := l["ddtags"].(string)
		return hasAll(strings.Split(tags, ","), web)
	}) {
		return fmt.Errorf("no line of web among %d", len(v.dd.Logs()))
	}
	if !slices.ContainsFunc(v.dd.Events(), func(e ddintake.Event) bool { return hasAll(e.Tags, []string{"kube_namespace:demo", "pod_name:crash"}) }) {
		return fmt.Errorf("no event of the pod that crashes among %d", len(v.dd.Events()))
	}
	return nil
}

func hasAll(tags, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(tags, w) })
}

// newRelic returns what New Relic lacks.
func (v vendors) newRelic() error {
	entities := v.nr.Entities()
	for _, want := range []string{"HOST ", "KUBERNETESCLUSTER test test", "KUBERNETES_NAMESPACE test:demo demo", "KUBERNETES_DEPLOYMENT test:demo:web web",
		"KUBERNETES_POD test:demo:crash crash", "CONTAINER test:demo:hungry:app app", "CONTAINER test:demo:web-"} {
		if !slices.ContainsFunc(entities, func(e nrintake.Entity) bool { return strings.HasPrefix(e.String(), want) }) {
			return fmt.Errorf("no %s among %v", want, entities)
		}
	}
	if !slices.ContainsFunc(v.nr.Logs(), func(l nrintake.Log) bool {
		return l.Attributes["k8s.pod.name"] == "crash" && l.Attributes["k8s.cluster.name"] == "test"
	}) {
		return fmt.Errorf("no line of the pod that crashes among %d", len(v.nr.Logs()))
	}
	if !slices.ContainsFunc(nrintake.EventEntities(v.nr.Events()), func(e nrintake.Entity) bool { return e.String() == "KUBERNETES_POD test:demo:crash crash" }) {
		return fmt.Errorf("no event of the pod that crashes among %d", len(v.nr.Events()))
	}
	return nil
}

// google returns what Google lacks.
func (v vendors) google() error {
	have := map[string]bool{}
	for _, p := range v.gcp.Points() {
		r := p.Series.GetResource()
		have[r.GetType()+" "+r.GetLabels()["namespace_name"]+" "+r.GetLabels()["pod_name"]+" "+r.GetLabels()["container_name"]] = true
		have[r.GetType()+" "+r.GetLabels()["node_name"]] = true
		have[r.GetType()+" in "+r.GetLabels()["cluster_name"]] = true
	}
	for _, want := range []string{"k8s_container demo crash app", "k8s_container demo hungry app",
		"k8s_pod demo host ", "k8s_node node-1", "k8s_cluster in test"} {
		if !have[want] {
			return fmt.Errorf("no point of %s among %v", want, have)
		}
	}
	lines := 0
	for _, e := range v.gcp.Entries() {
		r := e.GetResource()
		if r.GetType() == "k8s_container" && r.GetLabels()["namespace_name"] == "demo" &&
			r.GetLabels()["container_name"] == "app" && r.GetLabels()["cluster_name"] == "test" {
			lines++
		}
	}
	if lines == 0 {
		return fmt.Errorf("no line of a container of demo among %d entries", len(v.gcp.Entries()))
	}
	if events := v.atGoogle().events(); !slices.ContainsFunc(events, func(h happening) bool { return h.object == "crash" && strings.Contains(h.text, "Back-off") }) {
		return fmt.Errorf("no event of the pod that crashes among %q", events)
	}
	return nil
}
