package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDashboards(t *testing.T) {
	written := map[string]string{}
	grafana := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid := strings.TrimPrefix(r.URL.Path, "/api/dashboards/uid/")
		if r.Method == http.MethodGet && written[uid] == "" {
			http.NotFound(w, r)
			return
		}
		var v struct{ Dashboard struct{ UID, Title string } }
		if r.Method == http.MethodPost && json.NewDecoder(r.Body).Decode(&v) == nil {
			written[v.Dashboard.UID] = v.Dashboard.Title
		}
		_, _ = w.Write([]byte("{}"))
	}))
	defer grafana.Close()
	yaml := good + "destinations: {dd: {type: datadog, api_key: k}, g: {type: googlecloud, project: my-project}, " +
		"nr: {type: newrelic, license_key: k}, out: {type: stdout}}\n"
	dir := t.TempDir()
	f := func(want int, words string, args ...string) {
		t.Helper()
		code, out, errs := call(t, yaml, append([]string{"dashboards"}, args...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%v: %d, want %d with %q\n%.300s%s", args, code, want, words, out, errs)
		}
	}
	f(0, `"uid": "causeway-host"`, "render", "host")
	f(0, "avg:system.cpu.user{", "render", "--destination", "dd", "host")
	f(0, "workload.googleapis.com/system.uptime", "render", "--destination", "g")
	f(0, "FROM Metric WHERE metricName = ", "render", "--destination", "nr")
	f(2, "has no dashboards", "render", "--destination", "out")
	f(2, "has no such destination", "render", "--destination", "x")
	f(2, "there is none", "render", "nothing")
	f(0, "", "render", "-o", filepath.Join(dir, "new"))
	if files, err := os.ReadDir(filepath.Join(dir, "new")); err != nil || len(files) != 5 {
		t.Errorf("render -o: %d files, %v", len(files), err)
	}
	f(1, "--url: is required", "apply")
	f(1, "app_key: is required", "apply", "--destination", "dd")
	f(0, "host: made causeway-host", "apply", "--url", grafana.URL)
	f(0, "host: renewed causeway-host", "apply", "--url", grafana.URL, "host")
	if len(written) != 5 || written["causeway-logs"] != "Causeway: Logs" {
		t.Errorf("Grafana has %v", written)
	}
}
