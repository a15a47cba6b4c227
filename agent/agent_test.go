package agent

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
)

// node is an agent that runs in this process, sending to a server of ours.
type node struct {
	t     *testing.T
	dir   string
	addr  string
	end   func() error // stops it, and returns what Run returned
	takes atomic.Int64 // requests the destination took

	poison atomic.Pointer[string] // the destination refuses bodies that hold it
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

const nodeYAML = `version: 1
active: [%s]
agent: {data_dir: %s, listen: %s, node: n1, tags: ["env:test"], drain: 5s}
spool: {forget_after: %s}
collect:
  host: {interval: 1s}
  containers: {enabled: false}
  statsd: {enabled: false}
  prometheus: {enabled: false}
  kubernetes: {enabled: false}
  logs: {pods: {enabled: false}, docker: {enabled: false}, files: [{path: %s/*.log, start: beginning}]}
destinations:
  a: {type: influxdb, url: %s}
  b: {type: influxdb, url: %s}
`

// startNode runs an agent with destination a in use.
func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	n.write("a", "1h")
	n.start()
	return n
}

// start runs the agent, for the first time or again after end.
func (n *node) start() {
	n.t.Helper()
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(context.WithoutCancel(n.t.Context()))
	ready := make(chan struct{})
	go func() {
		ended <- Run(ctx, Options{
			ConfigPath: n.path(), Log: slog.New(slog.DiscardHandler), Version: "v1",
			Ready: func(*config.Config) { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		stop()
		n.t.Fatalf("the agent did not start: %v", err)
	}
	n.end = sync.OnceValue(func() error {
		stop()
		return <-ended
	})
	n.t.Cleanup(func() { _ = n.end() })
}

func (n *node) path() string { return filepath.Join(n.dir, "agent.yaml") }

// write writes the configuration; each agent has a destination server of its own.
func (n *node) write(active, forget string) {
	n.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := gzip.NewReader(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		text, _ := io.ReadAll(body)
		if poison := n.poison.Load(); poison != nil && strings.Contains(string(text), *poison) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":"the word %s is not wanted"}`, *poison)
			return
		}
		n.takes.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	n.t.Cleanup(server.Close)
	text := fmt.Sprintf(nodeYAML, active, filepath.Join(n.dir, "data"), n.addr, forget, n.dir, server.URL, server.URL)
	if err := os.WriteFile(n.path(), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// edit changes the configuration.
func (n *node) edit(from, to string) {
	n.t.Helper()
	text, err := os.ReadFile(n.path())
	if err != nil || !strings.Contains(string(text), from) {
		n.t.Fatalf("no %s in %s, %v", from, text, err)
	}
	if err := os.WriteFile(n.path(), []byte(strings.Replace(string(text), from, to, 1)), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) get(path string) (int, string) {
	n.t.Helper()
	resp, err := http.Get("http://" + n.addr + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (n *node) reload() (int, string) {
	n.t.Helper()
	resp, err := http.Post("http://"+n.addr+"/-/reload", "", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func (n *node) status() Status {
	n.t.Helper()
	var st Status
	_, body := n.get("/api/v1/status")
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		n.t.Fatal(err)
	}
	return st
}

// until waits for a condition that the running agent brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestAnAgentDeliversAndAccounts(t *testing.T) {
	n := startNode(t)
	if err := os.WriteFile(filepath.Join(n.dir, "x.log"), []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	row := func(kind string) LedgerRow {
		var l Ledger
		_, body := n.get("/api/v1/ledger")
		if err := json.Unmarshal([]byte(body), &l); err != nil || !l.Balanced {
			t.Fatalf("%v, %s", err, body)
		}
		i := slices.IndexFunc(l.Destinations, func(r LedgerRow) bool { return r.Name == "a" && r.Kind == kind })
		return l.Destinations[i]
	}
	until(t, "three lines sent", func() bool { return row("log").Sent == 3 })
	until(t, "metrics sent", func() bool { return row("metric").Sent > 200 })
	if code, body := n.get("/livez"); code != 200 || body != "ok\n" {
		t.Errorf("livez: %d %q", code, body)
	}
	if code, body := n.get("/readyz?verbose"); code != 200 || !strings.Contains(body, "[+] spool/log ok") {
		t.Errorf("readyz: %d %q", code, body)
	}
	_, metrics := n.get("/metrics")
	for _, want := range []string{
		`causeway_delivery_sent_total{destination="a",kind="log"} 3`,
		`causeway_delivery_dropped_total{destination="a",kind="log",reason="evicted"} 0`,
		"# TYPE causeway_process_cpu_seconds_total counter", "causeway_config_ok 1",
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("/metrics has no %s", want)
		}
	}
	st := n.status()
	if st.Agent.Node != "n1" || st.Agent.Version != "v1" || !st.Balanced || len(st.Spools) != 3 {
		t.Errorf("%+v", st.Agent)
	}
	if err := n.end(); err != nil {
		t.Error(err)
	}
	l, err := LedgerOf(filepath.Join(n.dir, "data"))
	if err != nil || !l.Balanced || len(l.Destinations) != 3 {
		t.Errorf("the books of an agent that has ended: %+v, %v", l, err)
	}
	for _, r := range l.Destinations {
		if r.Waiting != 0 {
			t.Errorf("%s/%s: %d left after an orderly stop", r.Name, r.Kind, r.Waiting)
		}
	}
}

// A host that is in no cluster is told so, and that is no fault unless one was
// asked for.
func TestWithoutKubernetesAutoIsSilent(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	f := func(enabled, state string, warnings ...string) {
		t.Helper()
		n := &node{t: t, dir: t.TempDir(), addr: freeAddr(t)}
		n.write("a", "1h")
		n.edit("kubernetes: {enabled: false}", "kubernetes: {enabled: "+enabled+", interval: 1s}")
		n.start()
		defer n.end()
		var st Status
		until(t, enabled+": "+state, func() bool {
			st = n.status()
			states, asked := map[string]string{}, false
			for _, s := range st.Sources {
				states[s.Name] = s.State
				asked = asked || s.Name == "collect/kubernetes/podstate" && s.Runs > 0
			}
			return asked && states["collect/kubernetes"] == state && states["collect/kubernetes/pods"] == state
		})
		got := slices.DeleteFunc(st.Warnings, func(w string) bool { return !strings.Contains(w, "kubernetes") })
		if !slices.Equal(got, warnings) {
			t.Errorf("%s: warnings %q", enabled, got)
		}
	}
	const why = ": no Kubernetes: this is no pod; name a file in collect.kubernetes.kubeconfig: not available here"
	f("auto", "absent")
	f(`"true"`, "waiting", "collect/kubernetes"+why, "collect/kubernetes/pods"+why)
}

func TestWhatIsRefusedIsKeptAsADeadLetterAndCanBeSentAgain(t *testing.T) {
	n := startNode(t)
	poison := "spoilt"
	n.poison.Store(&poison)
	if err := os.WriteFile(filepath.Join(n.dir, "x.log"), []byte("one\nspoilt\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	logs := func() StatusDestination {
		for _, d := range n.status().Destinations {
			if d.Name == "a" && d.Kind == "log" {
				return d
			}
		}
		return StatusDestination{}
	}
	until(t, "two lines sent and one refused", func() bool { d := logs(); return d.Sent == 2 && d.Dropped["refused"] == 1 })
	dir := DeadDir(filepath.Join(n.dir, "data"))
	letters, err := exporters.ListDead(dir)
	if err != nil || len(letters) != 1 || letters[0].Items != 1 || !strings.Contains(letters[0].Words, "the word spoilt is not wanted") {
		t.Fatalf("%+v, %v", letters, err)
	}
	post := func(path string) int {
		resp, err := http.Post("http://"+n.addr+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	replay := "/api/v1/dlq/" + letters[0].ID + "/replay"
	if code := post(replay); code != http.StatusBadGateway {
		t.Errorf("still refused, and answered with %d", code)
	}
	n.poison.Store(nil)
	if code := post(replay); code != http.StatusOK {
		t.Errorf("replay: %d", code)
	}
	if letters, err := exporters.ListDead(dir); err != nil || len(letters) != 0 {
		t.Errorf("after the replay: %+v, %v", letters, err)
	}
	if d := logs(); d.Dropped["refused"] != 1 || d.Sent != 2 {
		t.Errorf("a replay changes the books: %+v", d.LedgerRow)
	}
	if code := post(replay); code != http.StatusNotFound {
		t.Errorf("replayed twice: %d", code)
	}
}

func TestTheLedgersKeysAreTheContracts(t *testing.T) {
	n := startNode(t)
	_, body := n.get("/api/v1/ledger")
	var l struct {
		Balanced     *bool
		Kinds        map[string]map[string]any
		Destinations []map[string]any
	}
	if err := json.Unmarshal([]byte(body), &l); err != nil || l.Balanced == nil {
		t.Fatal(err, body)
	}
	for _, k := range []string{"metric", "log", "event"} {
		for _, key := range []string{"in", "spooled_bytes", "oldest_seconds"} {
			if _, ok := l.Kinds[k][key]; !ok {
				t.Errorf("kinds.%s has no %s", k, key)
			}
		}
	}
	for _, key := range []string{"name", "kind", "in", "sent", "waiting", "dropped", "resent_possibly_twice", "lag_seconds", "state", "last_error"} {
		if _, ok := l.Destinations[0][key]; !ok {
			t.Errorf("destinations[0] has no %s", key)
		}
	}
	for _, key := range []string{"filtered", "too_old", "refused", "oversize", "unsupported", "evicted"} {
		if _, ok := l.Destinations[0]["dropped"].(map[string]any)[key]; !ok {
			t.Errorf("dropped has no %s", key)
		}
	}
}

func TestAReloadIsWholeOrNothing(t *testing.T) {
	n := startNode(t)
	before := n.status().Agent.Started
	if err := os.WriteFile(n.path(), []byte("version: 1\nactive: [a]\nagent: {lisen: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, body := n.reload()
	if code != 400 || !strings.Contains(body, "agent.yaml:3:9: agent.lisen: unknown key (did you mean listen?)") {
		t.Errorf("%d %s", code, body)
	}
	st := n.status()
	if !slices.Equal(st.Agent.Active, []string{"a"}) || st.Agent.ReloadError == "" || st.Agent.Started != before {
		t.Errorf("%+v", st.Agent)
	}
	if _, m := n.get("/metrics"); !strings.Contains(m, "causeway_config_ok 0\n") {
		t.Error("config_ok is not 0")
	}

	n.write("a, b", "1h")
	if code, body := n.reload(); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	st = n.status()
	if !slices.Equal(st.Agent.Active, []string{"a", "b"}) || st.Agent.ReloadError != "" {
		t.Errorf("%+v", st.Agent)
	}
	until(t, "b gets metrics", func() bool {
		return slices.ContainsFunc(n.status().Destinations, func(d StatusDestination) bool { return d.Name == "b" && d.Kind == "metric" && d.Sent > 0 })
	})

	// Where the data lies cannot change while it is in use.
	text, err := os.ReadFile(n.path())
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(text), "/data,", "/elsewhere,", 1)
	if err := os.WriteFile(n.path(), []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, body := n.reload(); code != 400 || !strings.Contains(body, "agent.data_dir: cannot change while the agent runs") {
		t.Errorf("%d %s", code, body)
	}
}

func TestARemovedDestinationIsForgottenInTime(t *testing.T) {
	n := startNode(t)
	until(t, "a gets metrics", func() bool { return n.takes.Load() > 0 })
	n.write("b", "0s")
	if code, body := n.reload(); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	state := func() string {
		for _, d := range n.status().Destinations {
			if d.Name == "a" && d.Kind == "metric" {
				return d.State
			}
		}
		return "gone"
	}
	if got := state(); got != "removed" {
		t.Errorf("right after the switch a is %q", got)
	}
	if err := n.end(); err != nil { // the next start looks at once
		t.Fatal(err)
	}
	n.start()
	until(t, "a is forgotten", func() bool {
		for _, d := range n.status().Destinations {
			if d.Name == "a" && d.Kind == "metric" {
				return d.State == "forgotten"
			}
		}
		return false
	})
}

func TestWhatIsTakenIsSaidInOneSentence(t *testing.T) {
	n := startNode(t)
	err := Run(t.Context(), Options{ConfigPath: n.path(), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "is in use by process") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a data_dir in use: %v", err)
	}
	text, err := os.ReadFile(n.path())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(n.dir, "other.yaml")
	if err := os.WriteFile(other, []byte(strings.Replace(string(text), "/data,", "/data2,", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Options{ConfigPath: other, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "agent.listen: ") || !strings.Contains(err.Error(), "set another address") {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestATokenIsAskedForEverywhereButForTheProbes(t *testing.T) {
	a := &Agent{}
	h := a.handler("s3cret")
	f := func(path, auth string, want int) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if auth != "" {
			r.Header.Set("Authorization", auth)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s with %q: %d, want %d", path, auth, w.Code, want)
		}
	}
	f("/", "", 401)
	f("/debug/pprof/", "", 401)
	f("/", "Bearer wrong", 401)
	f("/", "Bearer s3cret", 200)
	f("/livez", "", 200)
	r := httptest.NewRequest(http.MethodPost, "/-/reload", nil)
	r.Header.Set("Origin", "http://evil.example")
	w := httptest.NewRecorder()
	a.handler("").ServeHTTP(w, r)
	if w.Code != 403 {
		t.Errorf("a page of another site may reload: %d", w.Code)
	}
}

func TestAUnitThatFailsIsStartedAgain(t *testing.T) {
	a := &Agent{log: slog.New(slog.DiscardHandler)}
	runs := make(chan int, 10)
	n := 0
	ctx, cancel := context.WithCancel(t.Context())
	r := a.begin(ctx, unit{name: "x", run: func(ctx context.Context) error {
		n++
		runs <- n
		switch n {
		case 1:
			return errors.New("first")
		case 2:
			panic("second")
		}
		<-ctx.Done()
		return nil
	}})
	for want := 1; want <= 3; want++ {
		if got := <-runs; got != want {
			t.Errorf("run %d, want %d", got, want)
		}
	}
	if st := r.status(); st.State != "running" || st.Restarts != 2 || st.Error != "" {
		t.Errorf("%+v", st)
	}
	cancel()
	<-r.done
	if st := r.status(); st.State != "stopped" {
		t.Errorf("%+v", st)
	}
}
