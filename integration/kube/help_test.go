//go:build kube

package kube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// start starts a cluster that ends with the test, or skips it.
func start(t *testing.T, o Options) *Cluster {
	t.Helper()
	if why := Missing(o); why != "" {
		t.Skip(why) // the one place where a test is left out: this machine cannot run it
	}
	o.Say = os.Stderr
	began := time.Now()
	c, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began).Round(time.Second))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs(15))
		}
		if err := c.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// apply applies a manifest, and fails the test if that is refused.
func apply(t *testing.T, c *Cluster, manifest string) {
	t.Helper()
	if _, err := c.Kubectl(t.Context(), manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// until waits for done to return nil, for 100 seconds at most: the kubelet
// measures volumes once a minute.
func until(t *testing.T, c *Cluster, what string, done func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	if err := c.Until(ctx, what, done); err != nil {
		t.Fatal(err)
	}
}

// wants waits until kubectl prints want.
func wants(t *testing.T, c *Cluster, want string, args ...string) {
	t.Helper()
	until(t, c, strings.Join(args, " "), func() error {
		out, err := c.Kubectl(t.Context(), "", args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("%q, not %q", out, want)
		}
		return err
	})
}

// account makes a service account in the namespace demo with the given rules
// and returns a file with its token.
func account(t *testing.T, c *Cluster, name string, resources ...string) string {
	t.Helper()
	apply(t, c, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: demo}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: %[1]s}
rules: [{apiGroups: [""], resources: [%[2]s], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s, namespace: demo}]
`, name, strings.Join(resources, ", ")))
	token, err := c.Kubectl(t.Context(), "", "-n", "demo", "create", "token", name)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// agent is the agent's binary, as the tests run it.
type agent struct {
	c   *Cluster
	bin string
	dir string
}

// newAgent builds the agent, or takes the binary that $CAUSEWAY_BIN names.
func newAgent(t *testing.T, c *Cluster) *agent {
	t.Helper()
	a := &agent{c: c, dir: t.TempDir(), bin: os.Getenv("CAUSEWAY_BIN")}
	if a.bin == "" {
		a.bin = filepath.Join(a.dir, "causeway")
		if err := BuildAgent(t.Context(), "../..", a.bin); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// containers returns the section collect.containers for a provider.
func (a *agent) containers(provider, token string) string {
	return fmt.Sprintf("{interval: 5s, provider: %s, kubelet: {url: \"https://%s:10250\", ca_file: %q, token_file: %q}}", provider, a.c.NodeIP, a.c.CA, token)
}

// config writes an agent.yaml with the given section collect.containers and
// nothing else to collect, and returns its path.
func (a *agent) config(t *testing.T, containers string) string {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "agent.yaml")
	off := `{enabled: "false"}`
	text := fmt.Sprintf(`version: 1
active: [console]
agent: {node: %s, cluster: test, data_dir: %q, listen: "127.0.0.1:%d"}
spool: {sync: 100ms}
collect: {host: %[4]s, statsd: %[4]s, kubernetes: %[4]s, prometheus: %[4]s, logs: {pods: %[4]s}, containers: %[5]s}
destinations: {console: {type: stdout, format: text}}
`, a.c.NodeName, filepath.Join(filepath.Dir(file), "data"), ports[0], off, containers)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// until runs the agent until what it has found is enough, and returns that.
func (a *agent) until(t *testing.T, what, containers string, enough func(found) error) found {
	t.Helper()
	r := a.run(t, containers)
	defer r.stop()
	until(t, a.c, what, func() error { return enough(r.found()) })
	return r.found()
}

// running is an agent that collects.
type running struct {
	stop func() // called at the end of the test if not before

	mu sync.Mutex // guards f
	f  found
}

// run starts the agent.
func (a *agent) run(t *testing.T, containers string) *running {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), a.bin, "run", "-c", a.config(t, containers))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{f: found{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if b, err := signal.Parse(signal.Metric, lines.Text()+"\n"); err == nil && len(b.Samples) == 1 {
				r.mu.Lock()
				d := b.Samples[0].Series.Desc()
				r.f[d] = append(r.f[d], reading{b.Samples[0].Time, b.Samples[0].Value})
				r.mu.Unlock()
			}
		}
	}()
	r.stop = sync.OnceFunc(func() {
		cmd.Process.Signal(os.Interrupt)
		<-read
		cmd.Wait()
		if t.Failed() {
			t.Logf("the agent says:\n%s", &said)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// found returns what it has found until now.
func (r *running) found() found {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.f)
}

// podImage is the image of the agent in pods.
const podImage = "registry.local/causeway:test"

// toNode puts the agent's image on the node, and has what its pods keep there
// go with the cluster: another's would be taken for its own.
func (a *agent) toNode(t *testing.T) {
	t.Helper()
	if err := a.c.Import(t.Context(), Image{Name: podImage, Entrypoint: []string{"/causeway"}, Files: map[string]string{"/causeway": a.bin}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(nodeData); errors.Is(err, os.ErrNotExist) {
		a.c.undo = append(a.c.undo, func() { os.RemoveAll(nodeData) })
	}
}

// database asks an embedded store.
type database func(query string) (string, error)

// store returns the embedded store of an agent's pod, such as daemonset/causeway.
func (a *agent) store(t *testing.T, of string) database {
	t.Helper()
	c := a.c
	cmd := exec.CommandContext(t.Context(), c.bin.Path("kubectl"), "--kubeconfig="+c.Kubeconfig, "-n", "causeway", "port-forward", of, ":8086")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:PORT -> 8086
	_, address, _ := strings.Cut(line, "from ")
	address, _, _ = strings.Cut(address, " ")
	if err != nil || address == "" {
		t.Fatalf("kubectl port-forward says %q, %v", line, err)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	return func(query string) (string, error) {
		resp, err := client.Get("http://" + address + "/query?db=causeway&q=" + url.QueryEscape(query))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && !json.Valid(text) {
			err = fmt.Errorf("%s: %.300s", resp.Status, text)
		}
		return string(text), err
	}
}

// has waits until the answer to query has all that is wanted, and returns it.
func (ask database) has(t *testing.T, c *Cluster, what, query string, wants ...string) (answer string) {
	t.Helper()
	until(t, c, what, func() (err error) {
		if answer, err = ask(query); err != nil {
			return err
		}
		for _, want := range wants {
			if !strings.Contains(answer, want) {
				return fmt.Errorf("no %s in %.2000s", want, answer)
			}
		}
		return nil
	})
	return answer
}

// found is what the agent collected, by series, in order.
type found map[signal.Desc][]reading

// reading is one sample's time, in Unix milliseconds, and value.
type reading struct {
	at int64
	v  float64
}

// has complains unless there is a series of that name with all these labels
// (key, value, …), and returns its last value otherwise.
func (f found) has(name string, labels ...string) (float64, error) {
	for d, all := range f {
		ok := d.Name == name
		for i := 0; i < len(labels); i += 2 {
			ok = ok && signal.Lookup(d.Labels, labels[i]) == labels[i+1]
		}
		if ok {
			return all[len(all)-1].v, nil
		}
	}
	return 0, fmt.Errorf("no %s with %q", name, labels)
}

// of returns the series in the namespace demo whose metric begins with prefix and
// whose pod's name begins with pod, as they are written.
func (f found) of(prefix, pod string) map[string][]reading {
	m := map[string][]reading{}
	for d, all := range f {
		if strings.HasPrefix(d.Name, prefix) && strings.HasPrefix(signal.Lookup(d.Labels, signal.LabelPod), pod) &&
			signal.Lookup(d.Labels, signal.LabelNamespace) == "demo" {
			b := &signal.Batch{Kind: signal.Metric}
			b.Add(signal.Sample{Series: signal.Intern(d)})
			text, _, _ := strings.Cut(signal.Format(b), "} ")
			m[text+"} "+d.Type.String()+" "+d.Unit] = all
		}
	}
	return m
}
