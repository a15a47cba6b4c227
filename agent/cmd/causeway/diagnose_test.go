package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/deploy/manifest"
)

// diagnosed runs diagnose, and returns its checks by name.
func diagnosed(t *testing.T, want int, yaml string) map[string]agent.Check {
	t.Helper()
	code, out, errs := call(t, yaml, "diagnose", "-o", "json")
	var all struct {
		OK     bool
		Checks []agent.Check
	}
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != want || all.OK != (want == 0) {
		t.Fatalf("%d, %v\n%s%s", code, err, out, errs)
	}
	by := map[string]agent.Check{}
	for _, c := range all.Checks {
		by[c.Name] = c
	}
	return by
}

func (f *finding) has(name, verdict, words string) {
	f.t.Helper()
	if c := f.by[name]; c.Verdict != verdict || !regexp.MustCompile(words).MatchString(c.Found+" "+c.Remedy) {
		f.t.Errorf("%s: want %s with %q: %+v", name, verdict, words, c)
	}
}

type finding struct {
	t  *testing.T
	by map[string]agent.Check
}

func TestDiagnoseLooksAtTheWayToADestination(t *testing.T) {
	late := 0 * time.Second
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-late).UTC().Format(http.TimeFormat))
		w.Header().Set("X-Influxdb-Version", "1.8.10")
		if r.URL.Path == "/query" {
			fmt.Fprint(w, `{"results":[{"statement_id":0}]}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer vendor.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	yaml := func(url string) string {
		return "version: 1\nactive: [a]\nagent: {data_dir: " + dir + "/data, listen: '127.0.0.1:1'}\n" +
			"spool: {metrics: {max_size: 16MiB}, logs: {max_size: 16MiB}, events: {max_size: 16MiB}}\n" +
			"collect: {containers: {enabled: false}, kubernetes: {enabled: false}, logs: {pods: {enabled: false}, docker: {enabled: false}, files: [{path: " + dir + "/*.log}, {path: " + dir + "/*.txt}, {path: " + dir + "}]}}\n" +
			"destinations: {a: {type: influxdb, url: '" + url + "'}}\n"
	}
	f := finding{t, diagnosed(t, 0, yaml(vendor.URL))}
	f.has("data_dir", agent.Pass, "can be made")
	f.has("data_dir/space", agent.Pass, "48")
	f.has("agent", agent.Warn, "causeway run")
	f.has("destination/a/dns", agent.Pass, "127.0.0.1")
	f.has("destination/a/connect", agent.Pass, "without TLS")
	f.has("destination/a/clock", agent.Pass, "agrees")
	f.has("destination/a/key", agent.Pass, "would take")
	f.has("logs/files/0", agent.Pass, "1 files can be read")
	f.has("logs/files/1", agent.Warn, "names no file")
	f.has("logs/files/2", agent.Warn, "and no file name them in exclude")
	if _, err := os.Stat(dir + "/data"); err == nil {
		t.Error("diagnose made the data directory")
	}
	late = time.Minute
	f.by = diagnosed(t, 0, yaml(vendor.URL))
	f.has("destination/a/clock", agent.Warn, "is (59|1m0)s ahead of the server's.*chrony")
	late = -time.Hour
	f.by = diagnosed(t, 4, yaml(vendor.URL))
	f.has("destination/a/clock", agent.Fail, "behind the server's")
	f.by = diagnosed(t, 4, yaml("http://"+closed.Addr().String()))
	f.has("destination/a/tls", agent.Fail, "connection refused.*firewall")
	f.by = diagnosed(t, 4, strings.Replace(yaml(vendor.URL), dir+"/*.txt", "/nowhere/*.txt", 1))
	f.has("logs/files/1", agent.Fail, "no such file.*mount it")
}

// cluster is an API server that knows nothing but what may be done.
func cluster(t *testing.T, forbidden string) (kubeconfig string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	seen := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a authorizationv1.SelfSubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil || r.URL.Path != "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" {
			http.NotFound(w, r)
			return
		}
		what := ""
		if n := a.Spec.NonResourceAttributes; n != nil {
			what = n.Verb + " " + n.Path
		} else {
			s := a.Spec.ResourceAttributes
			what = s.Verb + " " + s.Group + " " + s.Resource
			if s.Subresource != "" {
				what += "/" + s.Subresource
			}
		}
		mu.Lock()
		seen[what] = true
		mu.Unlock()
		a.Status.Allowed = what != forbidden
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: '" + server.URL + "'}}]\n" +
		"users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Sorted(maps.Keys(seen))
	}
}

// What diagnose asks for is what the roles that we ship grant.
func TestDiagnoseAsksForEachRightThatTheManifestGrants(t *testing.T) {
	t.Setenv("NODE_NAME", "") // no kubelet is asked, only for the right to
	t.Setenv("POD_NAMESPACE", "causeway")
	dir := t.TempDir()
	const yaml = "version: 1\nactive: [a]\nagent: {data_dir: %s, listen: '127.0.0.1:1'}\ncollect: {kubernetes: {%s}, logs: {pods: {enabled: false}, docker: {enabled: false}}}\n" +
		"destinations: {a: {type: stdout}}\n"
	kubeconfig, asked := cluster(t, "watch apps deployments")
	f := finding{t, diagnosed(t, 4, fmt.Sprintf(yaml, dir, "kubeconfig: "+kubeconfig))}
	f.has("rights/watch deployments.apps", agent.Fail, `forbidden, and kubernetes.objects, while this agent leads, needs it.*apiGroups \["apps"\], resources \["deployments"\], verbs \["watch"\]`)
	f.has("rights/list pods", agent.Pass, "kubernetes.pods")
	f.has("rights/get leases.coordination.k8s.io causeway in causeway", agent.Pass, "election")
	f.has("rights/get /livez", agent.Pass, "api_server")

	path := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(path, []byte(fmt.Sprintf(yaml, "/var/lib/causeway", "enabled: auto")), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := manifest.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := manifest.New(source, manifest.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	granted := map[string]bool{}
	for _, o := range plan.Objects() {
		var rules []rbacv1.PolicyRule
		switch role := o.Object.(type) {
		case *rbacv1.ClusterRole:
			rules = role.Rules
		case *rbacv1.Role:
			rules = role.Rules
		}
		for _, r := range rules {
			for _, verb := range r.Verbs {
				for _, path := range r.NonResourceURLs {
					granted[verb+" "+path] = true
				}
				for _, resource := range r.Resources {
					granted[verb+" "+r.APIGroups[0]+" "+resource] = true
				}
			}
		}
	}
	if want := slices.Sorted(maps.Keys(granted)); !slices.Equal(asked(), want) {
		t.Errorf("asked for\n%q\ngranted\n%q", asked(), want)
	}
}
