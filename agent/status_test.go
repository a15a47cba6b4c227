package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
)

// troubledNode is an agent to which everything goes wrong that can on one
// machine, with what it was given to read.
func troubledNode(t *testing.T) *node {
	t.Helper()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "a 1\nb NaN\n")
	}))
	t.Cleanup(good.Close)
	n := &node{t: t, dir: t.TempDir(), addr: freeAddr(t)}
	n.write("a", "1h")
	n.edit("prometheus: {enabled: false}", "prometheus: {interval: 1s, targets: [{url: '"+good.URL+"'}, {url: 'http://"+freeAddr(t)+"/m', tags: ['team:web']}]}")
	n.edit("statsd: {enabled: false}", "statsd: {listen: ['udp://127.0.0.1:0'], flush: 1s}")
	n.edit("start: beginning}]}", "start: beginning, parse: json}, {path: "+n.dir+"/fifo}]}\n  probes: [{name: shop, type: tcp, address: '"+freeAddr(t)+"', interval: 1s}]")
	if err := syscall.Mkfifo(filepath.Join(n.dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "x.log"), []byte("mail to joe@example.com\n{\"level\":\"info\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	return n
}

// send sends lines to the node's StatsD listener.
func (n *node) send(lines string) {
	n.t.Helper()
	listen := source(n.status(), "collect/statsd").Detail.(map[string]any)["listen"].([]any)
	c, err := net.Dial("udp", strings.TrimPrefix(listen[0].(string), "udp://"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(lines)); err != nil {
		n.t.Fatal(err)
	}
}

// source returns the source of that name.
func source(st Status, name string) StatusSource {
	return st.Sources[slices.IndexFunc(st.Sources, func(s StatusSource) bool { return s.Name == name })]
}

// What the rooms know to be wrong, a person is told, with what to do.
func TestStatusWarnsOfWhatTheRoomsKnow(t *testing.T) {
	n := troubledNode(t)
	n.send("jobs:1|c\njobs:x|c")
	for _, want := range []string{
		`^collect/prometheus: target http://\S+/m \(configuration\S*\) is down: .*connection refused; does it run, and may it be reached`,
		`^collect/probes: probe shop \(\S+\) fails: .*connection refused; mend what it asks`,
		`^collect/logs: \S+/fifo is not read: is a FIFO and no file; .* exclude$`,
		`^collect/statsd: 1 malformed lines in one interval, .*; mend the sender`,
	} {
		until(t, want, func() bool { return slices.ContainsFunc(n.status().Warnings, regexp.MustCompile(want).MatchString) })
	}
	until(t, "the malformed line, after its interval", func() bool {
		return slices.ContainsFunc(n.status().Warnings, regexp.MustCompile(`mend the sender \(over since \d+s\)`).MatchString)
	})
}

// The status is for scripts: snake_case, no Go values, nothing that a terminal obeys.
func TestTheStatusIsPlain(t *testing.T) {
	n := troubledNode(t)
	n.send("jobs:1|c\njobs:x|c")
	var body string
	targets := func() string {
		all, _ := json.MarshalIndent(source(n.status(), "collect/prometheus").Detail.(map[string]any)["targets"], "", " ")
		return string(all)
	}
	until(t, "targets and probes were asked, lines and packets counted", func() bool {
		_, body = n.get("/api/v1/status")
		return regexp.MustCompile(`"malformed": \{\s*"value": 1`).MatchString(body) && strings.Contains(body, `"samples": 2`) && strings.Contains(body, "probe shop") &&
			regexp.MustCompile(`"error": ".*connection refused"`).MatchString(targets()) && strings.Contains(body, `"email": 1`) && source(n.status(), "collect/statsd").Items > 0
	})
	var all any
	if err := json.Unmarshal([]byte(body), &all); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if !strings.Contains(path, ".labels") && !regexp.MustCompile(`^[a-z0-9][a-z0-9_ ]*$`).MatchString(k) {
					t.Errorf("%s has the key %q", path, k)
				}
				walk(path+"."+k, e)
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), e)
			}
		case string:
			if v != line(v) || strings.HasPrefix(v, "0001-") {
				t.Errorf("%s is %q", path, v)
			}
		}
	}
	walk("", all)
	st := n.status()
	if all := targets(); !regexp.MustCompile(`"error": "[^,]*connection refused",\s*"from":[^{]*"labels": \{[^}]*"team": "web"`).MatchString(all) {
		t.Errorf("targets: %s", all)
	}
	for _, name := range []string{"collect/logs", "collect/prometheus", "collect/probes", "collect/statsd"} { // they go at their own pace
		if s := source(st, name); s.Items == 0 || s.Runs == 0 || s.LastRun.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	if h := st.Hub; h.Redacted["email"] != 1 || h.Kinds["log"].In != 2 || h.Parsed != 1 || h.Unparsed != 1 || h.Kinds["metric"].Left["rule"] != 0 {
		t.Errorf("hub: %+v", h)
	}
	if st.Agent.ConfigHash == "" || len(st.Spools) != 3 || st.Spools[0].FreeDisk == 0 {
		t.Errorf("agent %+v, spools %+v", st.Agent, st.Spools)
	}
	_, page := n.get("/metrics")
	for _, want := range []string{
		`causeway_hub_redacted_total\{reason="email"\} 1`, `causeway_hub_unparsed_total 1`, `causeway_hub_parsed_total 1`,
		`causeway_scrape_failed_total\{reason="unreachable"\} \d`, `causeway_scrape_dropped_total\{reason="nan"\} \d`, `causeway_scrape_late_total 0`,
		`causeway_statsd_malformed_total\{reason="value"\} 1`, `causeway_statsd_dropped_total 0`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(page) {
			t.Errorf("/metrics has no %s", want)
		}
	}
}

func TestTheHashOfAConfigurationFollowsIt(t *testing.T) {
	n := startNode(t)
	before := n.status().Agent.ConfigHash
	n.reload()
	if now := n.status().Agent.ConfigHash; now != before {
		t.Errorf("unchanged: %s became %s", before, now)
	}
	n.edit("env:test", "env:other")
	n.reload()
	if now := n.status().Agent.ConfigHash; now == before {
		t.Errorf("changed: still %s", now)
	}
}

func TestWarningsAreBoundedAndOneLineEach(t *testing.T) {
	f := func(s StatusSource, want ...string) {
		t.Helper()
		if got := s.warnings(); !slices.Equal(got, want) {
			t.Errorf("%+v: %q", s, got)
		}
	}
	cluster := kube.Status{
		Pods: &kube.PodsStatus{Error: "p"}, Election: "e", APIServer: "a",
		Resources: []kube.ResourceStatus{{Resource: "nodes"}, {Resource: "jobs", Error: "r"}}, Events: &kube.EventsStatus{Error: "v"},
	}
	f(StatusSource{Name: "k", Detail: StatusKubernetes{cluster}}, "k: e", "k: a", "k: r", "k: v")
	f(StatusSource{Name: "pods", Detail: cluster})
	f(StatusSource{Name: "s", State: "waiting", wrong: []string{"x\x1b[2J"}, Detail: StatusInlet{Trouble: []string{"y\nz"}}}, "s: x [2J", "s: y; z")
	f(StatusSource{Name: "s", State: "stopped", wrong: []string{"x"}})
	f(StatusSource{Name: "s", State: "absent", wrong: []string{"no runtime"}})
	f(StatusSource{Name: "s", Detail: StatusScrapes{Trouble: slices.Repeat([]string{"t"}, mostTrouble+2)}},
		append(slices.Repeat([]string{"s: t"}, mostTrouble), "s: and 2 more; `causeway status -o json` has them all in the source's detail")...)
	f(StatusSource{Name: "s", Detail: StatusLogs{Files: []tail.FileStatus{{Path: "/a"}, {Path: "/b", Err: "denied"}}, Refused: []tail.Refusal{{Path: "/c", Why: "is a FIFO"}}}},
		"s: cannot read /b: denied", "s: /c is not read: is a FIFO")
	f(StatusSource{Name: "s", Detail: StatusContainers{From: "cgroups", Error: "403"}}, "s: containers are read from their cgroups, as the kubelet does not tell: 403")
}

func TestJoinedErrorsAreALineEach(t *testing.T) {
	f := func(err error, want ...string) {
		t.Helper()
		if got := each(err); !slices.Equal(got, want) {
			t.Errorf("%q: %q", err, got)
		}
	}
	a, b := errors.New("a"), errors.New("b")
	f(a, "a")
	f(errors.Join(a, errors.Join(b, a)), "a", "b", "a")
	f(fmt.Errorf("%w of %w", a, b), "a of b")
	f(errors.New("panic: x\ngoroutine 1"), "panic: x")
}

func TestOfAKeyTheLastFourAreShown(t *testing.T) {
	const key = "0123456789abcdef"
	f := func(d config.Destination, want string) {
		t.Helper()
		if got := keyOf(d); got != want {
			t.Errorf("%s: %q", d.Type, got)
		}
	}
	f(config.Destination{Type: "datadog", Datadog: datadog.Config{APIKey: key}}, "cdef")
	f(config.Destination{Type: "newrelic", NewRelic: newrelic.Config{LicenseKey: key}}, "cdef")
	f(config.Destination{Type: "influxdb", Influx: influx.Config{Token: key}}, "cdef")
	f(config.Destination{Type: "influxdb", Influx: influx.Config{Password: key, Token: "short"}}, "")
}

func TestGoNamesBecomeSnakeCase(t *testing.T) {
	for name, want := range map[string]string{"Lines": "lines", "BadFrames": "bad_frames"} {
		if got := snake(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
