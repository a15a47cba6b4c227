//go:build kube

package kube

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// every is the interval of the contenders' state.
const every = 5 * time.Second

// contender is an agent that stands for election, and what it sent.
type contender struct {
	t                        *testing.T // of the whole test: agents outlive subtests
	name, bin, file, address string
	namespace                string // of its pod, if it has one

	cmd  *exec.Cmd
	read chan struct{}
	said *bytes.Buffer

	mu    sync.Mutex      // guards sent, state, names
	sent  map[string]int  // numbered events
	state map[int64]int   // state of the namespace default, by Unix milliseconds
	names map[string]bool // of metrics
}

// newContender writes the configuration of an agent with the given keys of the
// sections agent and collect.kubernetes, little else, and a data_dir that
// outlives its process.
func newContender(t *testing.T, a *agent, name, agentKeys, kubernetes string) *contender {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &contender{
		t: t, name: name, bin: a.bin, file: filepath.Join(dir, "agent.yaml"), address: fmt.Sprintf("127.0.0.1:%d", ports[0]),
		sent: map[string]int{}, state: map[int64]int{}, names: map[string]bool{},
	}
	text := fmt.Sprintf(`version: 1
active: [console]
agent: {cluster: test, %s, data_dir: %q, listen: %q}
spool: {sync: 100ms}
collect: {host: %[4]s, containers: %[4]s, statsd: %[4]s, prometheus: %[4]s, logs: {pods: %[4]s}, kubernetes: {enabled: "true", interval: %[5]v, %[6]s}}
destinations: {console: {type: stdout, format: text}}
`, agentKeys, filepath.Join(dir, "data"), p.address, `{enabled: "false"}`, every, kubernetes)
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

var numbered = regexp.MustCompile(`numbered event (\d+)\b`)

// start runs it until kill or stop, or the end of the test.
func (p *contender) start() {
	t := p.t
	t.Helper()
	p.cmd = exec.CommandContext(t.Context(), p.bin, "run", "-c", p.file)
	p.cmd.Env = append(os.Environ(), "POD_NAME="+p.name, "POD_NAMESPACE="+p.namespace)
	p.said = &bytes.Buffer{}
	p.cmd.Stderr = p.said
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
			p.note(lines.Text())
		}
	}(p.read)
}

// note keeps what the tests count of a line of the text form.
func (p *contender) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := numbered.FindStringSubmatch(line); m != nil {
		p.sent[m[1]]++
	}
	if name, _, ok := strings.Cut(line, "{"); ok {
		p.names[name] = true
	}
	if strings.HasPrefix(line, "kube_namespace_created{") && strings.Contains(line, `"default"`) {
		if b, err := signal.Parse(signal.Metric, line+"\n"); err == nil && len(b.Samples) == 1 {
			p.state[b.Samples[0].Time]++
		}
	}
}

// kill ends it as a crash does.
func (p *contender) kill() {
	p.cmd.Process.Kill()
	<-p.read
	p.cmd.Wait()
}

// stop ends it in order.
func (p *contender) stop() {
	p.t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.read
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s ends with %v:\n%s", p.name, err, p.said)
	}
}

func (p *contender) count(event int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent[fmt.Sprint(event)]
}

// has tells whether a metric of that name was ever sent.
func (p *contender) has(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names[name]
}

// intervals returns those whose state it sent, in order.
func (p *contender) intervals() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.state))
}

// room is what the tests read of the status of the Kubernetes room, and of the
// scraper.
type room struct {
	Absent    string
	Leader    string
	Leading   bool
	Election  string
	APIServer string `json:"api_server"`
	Pods      *struct {
		Synced bool
		Here   int
		Error  string
	}
	Events *struct {
		Taken, Repeated, Old, Lost, Relists int
		Error                               string
	}
	Resources []struct {
		Group, Resource string
		Synced          bool
		Objects, Series int
		Error           string
	}
	Scrapes struct {
		Targets []struct {
			From, URL string
			Up        bool
		}
		Trouble []string
	} `json:"-"`
	Warnings []string `json:"-"`
}

// status asks for the status, as a person does.
func (p *contender) status() (room, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + p.address + "/api/v1/status")
	if err != nil {
		return room{}, err
	}
	defer resp.Body.Close()
	var all struct {
		Sources []struct {
			Name   string
			Detail json.RawMessage
		}
		Warnings []string
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return room{}, err
	}
	r := room{Warnings: all.Warnings}
	err = errors.New("there is no collect/kubernetes in the status")
	for _, s := range all.Sources {
		switch s.Name {
		case "collect/kubernetes":
			err = json.Unmarshal(s.Detail, &r)
		case "collect/prometheus":
			if err := json.Unmarshal(s.Detail, &r.Scrapes); err != nil {
				return r, err
			}
		}
	}
	return r, err
}

// named is the resource of a right that is missing.
var named = regexp.MustCompile(`resources \["([a-z]+)"\]`)

// wrong returns what the status says is wrong, by feature.
func (r room) wrong() map[string]string {
	all := map[string]string{"": r.Absent, "lease": r.Election, "api_server": r.APIServer}
	if r.Pods != nil {
		all["own pods"] = r.Pods.Error
	}
	if r.Events != nil {
		all["events"] = r.Events.Error
	}
	for _, k := range r.Resources {
		all[k.Resource] = k.Error
	}
	for _, text := range r.Scrapes.Trouble {
		feature := text
		if m := named.FindStringSubmatch(text); m != nil {
			feature = m[1]
		}
		if feature == "pods" {
			feature = "own pods"
		}
		all[feature] = text
	}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all
}
