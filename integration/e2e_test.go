package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// query asks an InfluxDB for one number: the first value of the first row.
func query(t *testing.T, addr, q string) (v float64, ok bool) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/query?" + url.Values{"db": {"causeway"}, "q": {q}}.Encode())
	if err != nil {
		return 0, false // not up yet
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false
	}
	var a struct {
		Results []struct {
			Series []struct{ Values [][]any }
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: %v in %s", q, err, body)
	}
	if len(a.Results) != 1 || len(a.Results[0].Series) == 0 {
		return 0, false
	}
	v, ok = a.Results[0].Series[0].Values[0][1].(float64)
	return v, ok
}

// holds waits until an InfluxDB answers each query with a number that f accepts.
func holds(n *Node, t *testing.T, addr string, f func(v float64) bool, queries ...string) {
	t.Helper()
	for _, q := range queries {
		last := "no answer"
		n.Eventually(time.Minute, q, func() bool {
			v, ok := query(t, addr, q)
			if ok {
				last = fmt.Sprint(v)
			}
			return ok && f(v)
		})
		t.Logf("%s = %s", q, last)
	}
}

// Host metrics and lines arrive under the names that dashboards made for
// Telegraf ask for, and every line is there once.
func arrives(t *testing.T, n *Node, addr string) {
	t.Helper()
	positive := func(v float64) bool { return v > 0 }
	holds(n, t, addr, positive,
		"SELECT last(used_percent) FROM mem", "SELECT last(usage_idle) FROM cpu WHERE cpu = 'cpu-total'",
		"SELECT last(load1) + 1 FROM system", "SELECT last(total) FROM disk", "SELECT last(bytes_recv) + 1 FROM net",
		"SELECT last(uptime) FROM system", "SELECT last(total_threads) FROM processes")
	w := NewWriter(t, n.Logs, "app")
	w.Write(700)
	holds(n, t, addr, func(v float64) bool { return v == 700 }, "SELECT count(message) FROM syslog")

	n.Kill()
	w.Write(300)
	n.Start()
	holds(n, t, addr, func(v float64) bool { return v == 1000 }, "SELECT count(message) FROM syslog")
	l, err := n.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	if code := n.Stop(); code != 0 {
		t.Errorf("the agent ended with %d", code)
	}
}

func TestOfflineIntoTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	n := node(t)
	addr := freeAddress(t)
	n.Configure(n.Text(Plan{
		Active: []string{"local"}, Host: time.Second,
		Destinations: []string{fmt.Sprintf("local: {type: influxdb, embedded: true, listen: %q, database: causeway, retention: 24h}", addr)},
	}))
	n.Start()
	arrives(t, n, addr)
}

// A thousand numbered counts by UDP, half of them before a kill: what was
// flushed before it is kept, and what comes after it is added.
func TestStatsDIntoTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	n := node(t)
	addr, port := freeAddress(t), freeAddress(t)
	text := n.Text(Plan{
		Active:       []string{"local"},
		Destinations: []string{fmt.Sprintf("local: {type: influxdb, embedded: true, listen: %q, database: causeway, retention: 24h}", addr)},
	})
	n.Configure(strings.Replace(text, "statsd: {enabled: \"false\"}", fmt.Sprintf("statsd: {listen: [%q], flush: 1s}", "udp://"+port), 1))
	n.Start()
	conn, err := net.Dial("udp", port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	count := func(times int) {
		for range times {
			if _, err := fmt.Fprint(conn, "orders:2|c|#shop:a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	count(500)
	holds(n, t, addr, func(v float64) bool { return v == 1000 }, "SELECT sum(increase) FROM orders WHERE shop = 'a'")
	n.Kill()
	n.Start()
	count(500)
	holds(n, t, addr, func(v float64) bool { return v == 2000 }, "SELECT sum(increase) FROM orders WHERE shop = 'a'")
	if code := n.Stop(); code != 0 {
		t.Errorf("the agent ended with %d", code)
	}
}

// The same against an InfluxDB that others made. `make test` installs it where
// it can (Debian's influxdb); without it there is nothing to test here.
func TestIntoARealInfluxDB(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("influxd")
	if err != nil {
		t.Skip("influxd is not installed: apt-get install influxdb")
	}
	dir := t.TempDir()
	addr, rpc := freeAddress(t), freeAddress(t)
	conf := filepath.Join(dir, "influxd.conf")
	text := fmt.Sprintf("reporting-disabled = true\nbind-address = %q\n[meta]\ndir = %q\n[data]\ndir = %q\nwal-dir = %q\n[http]\nbind-address = %q\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
		rpc, dir+"/meta", dir+"/data", dir+"/wal", addr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-config", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	n := node(t)
	n.Configure(n.Text(Plan{
		Active: []string{"influxdb"}, Host: time.Second,
		Destinations: []string{fmt.Sprintf("influxdb: {type: influxdb, url: \"http://%s\", api: v1, database: causeway}", addr)},
	}))
	n.Start()
	code, out := n.Command("validate", "--connect")
	if code != 0 || !strings.Contains(out, "influxdb: ok") {
		t.Logf("validate --connect before the database is there: %d %s", code, out)
	}
	arrives(t, n, addr)
}
