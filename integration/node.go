// Package integration proves, against the real binary, that what the agent has
// accepted reaches every active destination, and that its ledger says exactly
// what became of each item.
//
// Its tests call it, and nobody else: node.go runs the binary on a made-up node,
// vendor.go plays a destination that keeps books per item, ledger.go judges. The
// package calls the binary through its command line, its files and its HTTP
// interface only; of the project's packages it imports spool and signal, to
// prepare data that would take too long to collect.
//
// What always holds:
//
//  1. Every log line is numbered by its writer, and a vendor keeps for each
//     number how often it came and under which identity, so that "lost" and
//     "doubled" are counted and not concluded.
//  2. The ledger is asked while a test runs, and each answer must balance, also
//     between two kills.
//  3. Nothing waits for a length of time where it could wait for an event; every
//     wait has an end, and says what it waited for.
//  4. A process is ended by its id, and only by the Node that started it. No
//     test outlives its processes.
//  5. Ports are of 127.0.0.1 and below the range the kernel hands out, so that
//     a restarted agent finds its own again.
//
// Each test owns its nodes, vendors and writers; they end with it. A Vendor's
// books may be read while it serves.
//
// The package does not measure speed to pass or fail by it: figures are logged.
// It does not change the machine: no clock, no limits, no mounts outside a
// test's own folder.
package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Node is a made-up node with one agent on it. Its methods fail the test when
// the agent does not do what they ask.
type Node struct {
	testing.TB
	Dir     string   // holds agent.yaml, data and logs
	Listen  string   // the agent's address
	Config  string   // path of agent.yaml
	Data    string   // the agent's data_dir
	Logs    string   // where writers write; *.log is tailed
	Pods    string   // where containers write
	Environ []string // added to the agent's environment

	bin  string
	cmd  *exec.Cmd
	exit chan error // the end of the process that cmd started
	log  journal
}

// NewNode makes a node in a folder of the test's own. bin is the agent's binary.
func NewNode(t testing.TB, bin string) *Node {
	t.Helper()
	dir := t.TempDir()
	n := &Node{
		TB: t, bin: bin, Dir: dir, Listen: freeAddress(t), Config: filepath.Join(dir, "agent.yaml"),
		Data: filepath.Join(dir, "data"), Logs: filepath.Join(dir, "logs"), Pods: filepath.Join(dir, "pods"),
	}
	for _, d := range [...]string{n.Logs, n.Pods} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("the end of the agent's log:\n%s", n.log.tail(12<<10))
		}
	})
	return n
}

// freeAddress returns an address of this machine that nobody listens on. Its
// port is below the ephemeral ones, so that no connection takes it while the
// agent is down.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 200 {
		addr := "127.0.0.1:" + strconv.Itoa(12000+rand.IntN(18000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

// Plan is what a test sets of agent.yaml; the rest is the least a node needs.
type Plan struct {
	Active       []string
	Destinations []string // one "name: {…}" per line of the section
	Spool        string   // lines of the section spool, in flow style: "logs: {max_size: 8MiB}"
	Drain        time.Duration
	Host         time.Duration // interval of host metrics; 0: none are collected
	Agent        string        // more keys of the section agent, in flow style
	Scrape       string        // URL of a page of metrics, scraped every second; "": none
}

// Influx returns one destination of type influxdb at url, with more keys in
// flow style.
func Influx(name, url, more string) string {
	if more != "" {
		more = ", " + more
	}
	return fmt.Sprintf("%s: {type: influxdb, url: %q, api: v1, database: books, create_database: \"false\"%s}", name, url, more)
}

// Text returns the agent.yaml of p on n.
func (n *Node) Text(p Plan) string {
	if p.Drain == 0 {
		p.Drain = 5 * time.Second
	}
	if p.Spool == "" {
		p.Spool = "sync: 100ms"
	}
	if p.Agent != "" {
		p.Agent = ", " + p.Agent
	}
	host := "{enabled: \"false\"}"
	if p.Host > 0 {
		host = fmt.Sprintf("{enabled: \"true\", interval: %v}", p.Host)
	}
	scrape := "{enabled: \"false\"}"
	if p.Scrape != "" {
		scrape = fmt.Sprintf("{enabled: \"true\", interval: 1s, timeout: 1s, targets: [{url: %q}]}", p.Scrape)
	}
	return fmt.Sprintf(`version: 1
active: [%s]
agent: {node: proof, listen: %q, data_dir: %q, drain: %v%s}
spool: {%s}
collect:
  host: %s
  containers: {enabled: "false"}
  statsd: {enabled: "false"}
  kubernetes: {enabled: "false"}
  prometheus: %s
  logs:
    pods: {enabled: "true", path: %q}
    docker: {enabled: "false"}
    files:
      - {path: %q, start: beginning}
destinations:
  %s
`, strings.Join(p.Active, ", "), n.Listen, n.Data, p.Drain, p.Agent, p.Spool, host, scrape, n.Pods, filepath.Join(n.Logs, "*.log"), strings.Join(p.Destinations, "\n  "))
}

// Configure puts agent.yaml in place, whole.
func (n *Node) Configure(text string) {
	n.Helper()
	tmp := n.Config + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
	if err := os.Rename(tmp, n.Config); err != nil {
		n.Fatal(err)
	}
}

// Launch starts the agent and does not wait for anything.
func (n *Node) Launch() {
	n.Helper()
	if n.cmd != nil {
		n.Fatal("the agent runs already")
	}
	cmd := exec.Command(n.bin, "run", "-c", n.Config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.Dir, &n.log, &n.log
	cmd.Env = append(os.Environ(), n.Environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		n.Fatal(err)
	}
	exit := make(chan error, 1)
	go func() { exit <- cmd.Wait() }()
	n.cmd, n.exit = cmd, exit
}

// Start starts the agent and waits until it listens and has started everything.
// It returns how long that took.
func (n *Node) Start() time.Duration {
	n.Helper()
	began := time.Now()
	n.Launch()
	n.Eventually(time.Minute, "the agent is up", n.Up)
	return time.Since(began)
}

// Up reports whether /readyz answers: 200, or 503 with a spool that is degraded.
func (n *Node) Up() bool {
	n.Helper()
	select {
	case err := <-n.exit:
		n.exit <- err
		n.Fatalf("the agent ended by itself: %v", err)
	default:
	}
	code, body, err := n.ask(http.MethodGet, "/readyz?verbose")
	return err == nil && (code == http.StatusOK || strings.Contains(body, "[+] started"))
}

// Alive reports whether the agent's process runs.
func (n *Node) Alive() bool {
	select {
	case err := <-n.exit:
		n.exit <- err
		return false
	default:
		return n.cmd != nil
	}
}

// PID returns the id of the agent's process.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Signal sends the agent a signal.
func (n *Node) Signal(s syscall.Signal) {
	n.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.Fatal(err)
	}
}

// Kill ends the agent as a crash would. It is no error if there is none.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.exit
	n.cmd = nil
}

// Stop asks the agent to end, waits for it, and returns its exit code.
func (n *Node) Stop() int {
	n.Helper()
	n.Signal(syscall.SIGTERM)
	select {
	case <-n.exit:
	case <-time.After(time.Minute):
		n.Fatal("the agent did not end within a minute of SIGTERM")
	}
	code := n.cmd.ProcessState.ExitCode()
	n.cmd = nil
	return code
}

// Eventually waits until f holds, and fails the test if it never does.
func (n *Node) Eventually(most time.Duration, what string, f func() bool) {
	n.Helper()
	eventually(n, most, what, f)
}

func eventually(t testing.TB, most time.Duration, what string, f func() bool) {
	t.Helper()
	end := time.NewTimer(most)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("waited %v in vain until %s", most, what)
		case <-t.Context().Done():
			t.FailNow()
		}
	}
}

// pause lets the agent work on for a while.
func pause(t testing.TB, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// largest is how long anything may take that has nothing to wait for but the CPU.
const largest = time.Minute

// asking is how this package asks agents; an answer that takes longer is none.
var asking = &http.Client{Timeout: 10 * time.Second}

func (n *Node) ask(method, path string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(n.Context(), method, "http://"+n.Listen+path, nil)
	if err != nil {
		return 0, "", err
	}
	req.Close = true // a kill would leave connections that are none
	resp, err := asking.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(p), err
}

// Post asks the running agent to do something; it returns code and answer.
func (n *Node) Post(path string) (code int, body string) {
	n.Helper()
	code, body, err := n.ask(http.MethodPost, path)
	if err != nil {
		n.Fatal(err)
	}
	return code, body
}

// Ledger asks for the ledger; err says that nobody answered.
func (n *Node) Ledger() (l Ledger, err error) {
	code, body, err := n.ask(http.MethodGet, "/api/v1/ledger")
	if err != nil {
		return l, err
	}
	if code != http.StatusOK {
		return l, fmt.Errorf("the ledger: status %d", code)
	}
	err = json.Unmarshal([]byte(body), &l)
	return l, err
}

// Status asks for the status.
func (n *Node) Status() (s Status) {
	n.Helper()
	code, body, err := n.ask(http.MethodGet, "/api/v1/status")
	if err != nil || code != http.StatusOK {
		n.Fatalf("status: %d %v", code, err)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		n.Fatalf("status: %v in %s", err, body)
	}
	return s
}

// Command runs another command of the binary beside the agent, or without one.
func (n *Node) Command(args ...string) (code int, stdout string) {
	n.Helper()
	cmd := exec.CommandContext(n.Context(), n.bin, append(args, "-c", n.Config)...)
	cmd.Dir = n.Dir
	cmd.Env = append(os.Environ(), n.Environ...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		n.Fatal(err)
	}
	if complaints.Len() > 0 {
		n.Logf("causeway %s: %s", strings.Join(args, " "), complaints.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// Journal returns what the agent has logged so far, in all its lives.
func (n *Node) Journal() string { return n.log.tail(1 << 30) }

// RSS returns the agent's resident memory in bytes.
func (n *Node) RSS() int64 { return n.memory("VmRSS") }

// Own is what RSS has besides pages of the binary, which come and go with the
// kernel's page cache.
func (n *Node) Own() int64 { return n.memory("RssAnon") }

// Peak returns the most that it has been.
func (n *Node) Peak() int64 { return n.memory("VmHWM") }

func (n *Node) memory(field string) int64 {
	n.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		n.Fatal(err)
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(p)
	if m == nil {
		n.Fatalf("no %s in %s", field, p)
	}
	kib, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		n.Fatal(err)
	}
	return kib << 10
}

// CPU returns the time the agent's process has worked so far, user and system.
func (n *Node) CPU() time.Duration {
	n.Helper()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	if err != nil {
		n.Fatal(err)
	}
	// Behind the name, which may hold anything, fields 14 and 15 of the line
	// count hundredths of a second: proc_pid_stat(5).
	fields := strings.Fields(string(p[bytes.LastIndexByte(p, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	sys, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		n.Fatalf("no CPU time in %s", p)
	}
	return time.Duration(user+sys) * 10 * time.Millisecond
}

// Descriptors returns what the agent has open: number and target of each.
func (n *Node) Descriptors() map[string]string {
	n.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", n.PID())
	entries, err := os.ReadDir(dir)
	if err != nil {
		n.Fatal(err)
	}
	open := map[string]string{}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open[e.Name()] = to
		}
	}
	return open
}

// journal keeps the end of what a process says.
type journal struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

const mostJournal = 4 << 20

// Write keeps p, and drops the oldest half of what is too much.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.text = append(j.text, p...); len(j.text) > mostJournal {
		j.text = append([]byte(nil), j.text[len(j.text)/2:]...)
	}
	return len(p), nil
}

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text[max(0, len(j.text)-n):])
}

// contains is strings.Contains, for conditions that are long enough.
func contains(s, part string) bool { return strings.Contains(s, part) }

// readText returns what a file holds.
func readText(t testing.TB, path string) string {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}
