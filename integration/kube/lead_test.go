//go:build kube

package kube

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// contender is an agent that stands for election, and what it sent.
type contender struct {
	name, bin, file string

	cmd  *exec.Cmd
	read chan struct{}

	mu     sync.Mutex // guards sent
	sent   map[string]int
	events *regexp.Regexp
}

// newContender writes the configuration of an agent that has the cluster's
// part alone, and a data_dir that outlives its process.
func newContender(t *testing.T, a *agent, name string) *contender {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &contender{name: name, bin: a.bin, file: filepath.Join(dir, "agent.yaml"), sent: map[string]int{}, events: regexp.MustCompile(`numbered event (\d+)\b`)}
	text := fmt.Sprintf(`version: 1
active: [console]
agent: {node: %s, cluster: test, role: cluster, data_dir: %q, listen: "127.0.0.1:%d"}
spool: {sync: 100ms}
collect: {kubernetes: {enabled: "true", kubeconfig: %q, interval: 5s, lease_namespace: default}}
destinations: {console: {type: stdout, format: text}}
`, name, filepath.Join(dir, "data"), ports[0], a.c.Kubeconfig)
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs it until kill, or the end of the test.
func (p *contender) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.CommandContext(t.Context(), p.bin, "run", "-c", p.file)
	p.cmd.Env = append(os.Environ(), "POD_NAME="+p.name)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.read = make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := p.events.FindStringSubmatch(lines.Text()); m != nil {
				p.mu.Lock()
				p.sent[m[1]]++
				p.mu.Unlock()
			}
		}
	}(p.read)
}

// kill ends it as a crash does.
func (p *contender) kill() {
	p.cmd.Process.Kill()
	<-p.read
	p.cmd.Wait()
}

func (p *contender) count(event string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[event]
}

// happen makes events from to to-1.
func happen(t *testing.T, c *Cluster, from, to int) {
	t.Helper()
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Event
metadata: {name: numbered-%[1]d, namespace: default}
involvedObject: {kind: Namespace, name: default, namespace: default, apiVersion: v1}
reason: Numbered
message: numbered event %[1]d
type: Normal
count: 1
source: {component: test}
`, i)
	}
	apply(t, c, b.String())
}

// TestLeaderKilledLosesNoEvent kills the leader of two agents while events go
// on; all of them arrive, and those the dead one had not sent come from its spool
// when it is back.
func TestLeaderKilledLosesNoEvent(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	one, two := newContender(t, a, "one"), newContender(t, a, "two")
	holder := func(want string) {
		t.Helper()
		until(t, c, want+" to lead", func() error {
			out, err := c.Kubectl(t.Context(), "", "-n", "default", "get", "lease", "causeway", "-o", "jsonpath={.spec.holderIdentity}")
			if err == nil && !strings.HasPrefix(out, want) {
				err = fmt.Errorf("%q leads", out)
			}
			return err
		})
	}
	one.start(t)
	holder("one")
	two.start(t)
	const all = 120
	happen(t, c, 0, 40)
	until(t, c, "the leader to see the first", func() error {
		if one.count("39") == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	happen(t, c, 40, 80)
	one.kill()
	happen(t, c, 80, all)
	holder("two")
	one.start(t) // what it had spooled and not sent
	defer two.kill()
	defer one.kill()
	doubled := 0
	until(t, c, "every event", func() error {
		doubled = 0
		for i := range all {
			n := one.count(fmt.Sprint(i)) + two.count(fmt.Sprint(i))
			if n == 0 {
				return fmt.Errorf("event %d has not come", i)
			}
			doubled += n - 1
		}
		return nil
	})
	t.Logf("%d events, %d of them twice, under one ID", all, doubled)
}
