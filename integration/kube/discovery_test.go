//go:build kube

package kube

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// page is what a target shows, and how often it was asked for.
type page struct {
	name  string
	ip    string
	port  int
	asked atomic.Int64
}

func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.asked.Add(1)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "page_asked_total{page=%q} %d\n", p.name, p.asked.Load())
}

// newPage serves one on an address of this machine that is none of the loopback
// interface: an API server takes no other for an endpoint's.
func newPage(t *testing.T, name string) *page {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.To4() == nil || !ip.IP.IsGlobalUnicast() {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.IP.String(), "0"))
		if err != nil {
			continue
		}
		p := &page{name: name, ip: ip.IP.String(), port: l.Addr().(*net.TCPAddr).Port}
		s := &http.Server{Handler: p}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.Serve(l) // ends with Close
		}()
		t.Cleanup(func() {
			s.Close()
			<-done
		})
		return p
	}
	t.Fatalf("this machine has no address but %v", addresses)
	return nil
}

// scraper runs an agent on a made-up node that scrapes what it discovers, every
// two seconds, until the test ends.
func scraper(t *testing.T, a *agent, node string) {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "agent.yaml")
	text := fmt.Sprintf(`version: 1
active: [console]
agent: {node: %s, cluster: test, data_dir: %q, listen: "127.0.0.1:%d"}
spool: {sync: 100ms}
collect: {host: %[4]s, containers: %[4]s, statsd: %[4]s, logs: {pods: %[4]s}, kubernetes: {enabled: "true", kubeconfig: %[5]q},
  prometheus: {enabled: "true", interval: 2s, timeout: 1s}}
destinations: {console: {type: stdout, format: text}}
`, node, filepath.Join(dir, "data"), ports[0], `{enabled: "false"}`, a.c.Kubeconfig)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), a.bin, "run", "-c", file)
	cmd.Env = append(os.Environ(), "POD_NAME=agent-"+node, "POD_NAMESPACE=default", "NODE_NAME="+node)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the agent on %s:\n%s", node, said.String())
		}
	})
}

// aPod is a pod that runs on a node, as far as the API server knows: there is no kubelet.
func aPod(t *testing.T, c *Cluster, name, node, metadata, ip string) {
	t.Helper()
	apply(t, c, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default, %s}
spec: {nodeName: %s, automountServiceAccountToken: false, containers: [{name: app, image: app}]}
`, name, metadata, node))
	status := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%[1]q,"podIPs":[{"ip":%[1]q}],"conditions":[{"type":"Ready","status":"True"}],
"containerStatuses":[{"name":"app","image":"app","imageID":"app","ready":true,"restartCount":0,"state":{"running":{"startedAt":"2026-01-01T00:00:00Z"}}}]}}`, ip)
	if _, err := c.Kubectl(t.Context(), "", "patch", "pod", name, "--subresource=status", "--type=merge", "-p", status); err != nil {
		t.Fatal(err)
	}
}

// endpoint adds an address to a service; node may be "", who names a pod or "".
func endpoint(t *testing.T, c *Cluster, service, node, pod string, p *page) {
	t.Helper()
	more := ""
	if node != "" {
		more += ", nodeName: " + node
	}
	if pod != "" {
		more += fmt.Sprintf(", targetRef: {kind: Pod, namespace: default, name: %s}", pod)
	}
	apply(t, c, fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-%s, namespace: default, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
endpoints: [{addresses: [%[3]q], conditions: {ready: true}%[4]s}]
ports: [{name: http, port: %[5]d}]
`, service, p.name, p.ip, more, p.port))
}

// Two agents and a real API server: an annotated service with endpoints on either
// node, on one without an agent, and on none, a pod that is annotated itself and
// an endpoint besides, and a ServiceMonitor's service. Each is scraped once in each
// interval, by one of the two.
func TestEachDiscoveredTargetIsScrapedOnce(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	apply(t, c, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, listKind: ServiceMonitorList, plural: servicemonitors, singular: servicemonitor}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: v1
kind: Node
metadata: {name: one}
---
apiVersion: v1
kind: Node
metadata: {name: two}
---
apiVersion: v1
kind: Node
metadata: {name: three}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default, annotations: {prometheus.io/scrape: "true"}}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: watched, namespace: default, labels: {team: web}}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: silent, namespace: default}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
`)
	until(t, c, "ServiceMonitors are served", func() error {
		_, err := c.Kubectl(t.Context(), `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: watched, namespace: default}
spec: {selector: {matchLabels: {team: web}}, endpoints: [{port: http, interval: 2s}]}
`, "apply", "-f", "-")
		return err
	})
	for _, node := range []string{"one", "two"} {
		aPod(t, c, "agent-"+node, node, "labels: {app.kubernetes.io/name: causeway}", "10.9.9.9")
	}
	var pages []*page
	add := func(service, name, node, pod string) *page {
		p := newPage(t, name)
		endpoint(t, c, service, node, pod, p)
		pages = append(pages, p)
		return p
	}
	add("shop", "on-one", "one", "")
	add("shop", "on-two", "two", "")
	add("shop", "on-three", "three", "") // has no agent
	for i := range 4 {
		add("shop", fmt.Sprint("nowhere-", i), "", "")
	}
	add("watched", "watched-two", "two", "")
	add("watched", "watched-nowhere", "", "")
	own := newPage(t, "pod") // annotated, and an endpoint of the annotated service
	aPod(t, c, "annotated", "one", fmt.Sprintf(`annotations: {prometheus.io/scrape: "true", prometheus.io/port: "%d"}`, own.port), own.ip)
	endpoint(t, c, "shop", "one", "annotated", own)
	pages = append(pages, own)
	silent := newPage(t, "silent")
	endpoint(t, c, "silent", "one", "", silent)

	scraper(t, a, "one")
	scraper(t, a, "two")
	until(t, c, "all are scraped", func() error {
		var missing []string
		for _, p := range pages {
			if p.asked.Load() < 2 {
				missing = append(missing, p.name)
			}
		}
		if len(missing) > 0 {
			return fmt.Errorf("nobody scrapes %s", strings.Join(missing, ", "))
		}
		return nil
	})
	// The agents agree by now. Ten intervals, whose ends may lie within the first or behind the last scrape.
	before := make([]int64, len(pages))
	sleep := time.NewTimer(6 * time.Second)
	<-sleep.C
	for i, p := range pages {
		before[i] = p.asked.Load()
	}
	sleep.Reset(20 * time.Second)
	<-sleep.C
	for i, p := range pages {
		if n := p.asked.Load() - before[i]; n < 9 || n > 11 {
			t.Errorf("%s was scraped %d times in ten intervals", p.name, n)
		}
	}
	if n := silent.asked.Load(); n > 0 {
		t.Errorf("what nobody asked to be scraped was, %d times", n)
	}
}
