//go:build receivers

package receivers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/integration"
)

// agentBinary returns the path of the agent, built once per run. CAUSEWAY_BIN
// names one that is built already.
var agentBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CAUSEWAY_BIN"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "causeway", "receivers", "causeway")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-o", path, "./agent/cmd/causeway")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	return path, nil
})

// agent is a running one, and what it listens on.
type agent struct {
	*integration.Node
	statsd, otlpGRPC, otlpHTTP, store string
	socket                            string // StatsD's datagrams, too
}

// setup is what a test wants of an agent.
type setup struct {
	active       []string
	host         bool     // collect the host's metrics
	percentiles  string   // of collect.statsd
	flush        string   // of collect.statsd; 1s
	ip           string   // StatsD on its port 8125, OTLP on its port 4318; "": 127.0.0.1, and any port
	scrape       string   // URL of a page of metrics
	every        string   // how often it is asked for; 1s
	files        string   // more keys of the one entry of collect.logs.files
	destinations []string // one "name: {…}" each; local is there already
}

// start runs an agent that collects what was asked for, every second.
func start(t *testing.T, s setup) *agent {
	t.Helper()
	bin, err := agentBinary()
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{Node: integration.NewNode(t, bin), statsd: Address(t), otlpGRPC: Address(t), otlpHTTP: Address(t), store: Address(t)}
	a.socket = filepath.Join(a.Dir, "dsd.sock")
	if s.ip != "" {
		a.statsd, a.otlpHTTP = s.ip+":8125", s.ip+":4318"
	}
	if s.flush == "" {
		s.flush = "1s"
	}
	if s.percentiles == "" {
		s.percentiles = "[]"
	}
	if s.every == "" {
		s.every = "1s"
	}
	scrape := `{enabled: "false"}`
	if s.scrape != "" {
		scrape = fmt.Sprintf(`{enabled: "true", interval: %s, timeout: 1s, targets: [{url: %q}]}`, s.every, s.scrape)
	}
	a.Configure(fmt.Sprintf(`version: 1
active: [%s]
agent: {node: proof, cluster: none, listen: %q, data_dir: %q, drain: 30s, log: {level: error, format: json}}
spool: {sync: 100ms}
collect:
  host: {enabled: "%v", interval: 1s}
  containers: {enabled: "false"}
  kubernetes: {enabled: "false"}
  statsd: {enabled: "true", listen: ["udp://%s", "unixgram://%s"], flush: %s, expire: 2h, percentiles: %s}
  otlp: {enabled: "true", grpc: %q, http: %q}
  prometheus: %s
  logs:
    pods: {enabled: "false"}
    docker: {enabled: "false"}
    files: [{path: %q, start: beginning%s}]
destinations:
  local: {type: influxdb, embedded: true, listen: %q, database: causeway}
  console: {type: stdout, format: json}
  %s
`, strings.Join(s.active, ", "), a.Listen, a.Data, s.host, a.statsd, a.socket, s.flush, s.percentiles, a.otlpGRPC, a.otlpHTTP, scrape,
		filepath.Join(a.Logs, "*.log"), s.files, a.store, strings.Join(s.destinations, "\n  ")))
	a.Start()
	return a
}

// finish stops the agent; it delivers what it has first.
func (a *agent) finish(t *testing.T) {
	t.Helper()
	if code := a.Stop(); code != 0 {
		t.Fatalf("the agent ended with %d", code)
	}
}

// send sends datagrams of StatsD.
func (a *agent) send(t *testing.T, datagrams ...string) {
	t.Helper()
	c, err := net.Dial("udp", a.statsd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, d := range datagrams {
		if _, err := c.Write([]byte(d)); err != nil {
			t.Fatal(err)
		}
	}
}

// item is one that the agent wrote to its console: what was collected.
type item struct {
	Kind     string
	Name     string
	Type     string
	Unit     string
	Time     time.Time
	Since    time.Time
	Value    float64
	Increase *float64
	Labels   map[string]string
	Body     string
	Count    uint64
	Sum      float64
}

// collected returns everything the agent wrote to the destination console.
func (a *agent) collected(t *testing.T) (all []item) {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(a.Journal()))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), `"kind":"`) {
			continue // the agent's own log
		}
		var i item
		if err := json.Unmarshal(lines.Bytes(), &i); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, i)
	}
	if len(all) == 0 {
		t.Fatal("the agent wrote nothing to its console")
	}
	return all
}

// column asks the embedded store for the values of one field, in their order.
func (a *agent) column(t *testing.T, query string) (values []any) {
	t.Helper()
	resp, err := http.Get("http://" + a.store + "/query?" + url.Values{"db": {"causeway"}, "q": {query}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	for _, r := range answer.Results {
		if r.Error != "" {
			t.Fatalf("%s: %s", query, r.Error)
		}
		for _, s := range r.Series {
			for _, row := range s.Values {
				values = append(values, row[1])
			}
		}
	}
	if answer.Error != "" {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	return values
}

// total returns the sum of a field's values, and how many there are.
func (a *agent) total(t *testing.T, query string) (sum float64, n int) {
	t.Helper()
	for _, v := range a.column(t, query) {
		if f, ok := v.(float64); ok {
			sum += f
			n++
		}
	}
	return sum, n
}

// becomes waits until the sum of what a query finds is as wanted.
func (a *agent) becomes(t *testing.T, want float64, query string) {
	t.Helper()
	got := math.NaN()
	defer func() {
		if !near(got, want, 1e-9) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}()
	eventually(t, fmt.Sprintf("%s is %v", query, want), func() bool {
		sum, n := a.total(t, query)
		if n > 0 {
			got = sum
		}
		return near(got, want, 1e-9)
	})
}

// near reports whether two numbers differ by no more than a share of them.
func near(got, want, share float64) bool {
	return got == want || math.Abs(got-want) <= share*math.Abs(want)
}

// differ says in how far two sets of things are not the same.
func differ(t *testing.T, what string, got, want map[string]int) {
	t.Helper()
	var wrong []string
	for k, n := range want {
		if got[k] != n {
			wrong = append(wrong, fmt.Sprintf("%d instead of %d of %s", got[k], n, k))
		}
	}
	for k, n := range got {
		if want[k] == 0 {
			wrong = append(wrong, fmt.Sprintf("%d that nobody sent of %s", n, k))
		}
	}
	slices.Sort(wrong)
	if len(wrong) > 0 {
		t.Errorf("%s: %d differences:\n%s", what, len(wrong), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
	}
}

// parseTime reads RFC 3339, as vendors write it.
func parseTime(s string) (time.Time, error) { return time.Parse(time.RFC3339Nano, s) }

// writeLines writes a file of lines, whole.
func writeLines(t *testing.T, path string, lines []string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func largest(values []float64) float64 { return slices.Max(values) }

func readFile(t *testing.T, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}
