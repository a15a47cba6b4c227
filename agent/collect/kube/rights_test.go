package kube

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/collect"
)

func TestARightNamesItsRule(t *testing.T) {
	f := func(r Right, text, rule string) {
		t.Helper()
		if r.String() != text || r.Rule() != rule {
			t.Errorf("%v: %s", r, r.Rule())
		}
	}
	f(Right{Verb: "list", Resource: "pods"}, "list pods", `apiGroups [""], resources ["pods"], verbs ["list"]`)
	f(Right{Verb: "get", Group: "coordination.k8s.io", Resource: "leases", Namespace: "ns", Name: "causeway"},
		"get leases.coordination.k8s.io causeway in ns", `apiGroups ["coordination.k8s.io"], resources ["leases"], verbs ["get"]`)
	f(Right{Verb: "get", Path: "/livez"}, "get /livez", `nonResourceURLs ["/livez"], verbs ["get"]`)
}

func TestRightsFollowTheConfiguration(t *testing.T) {
	f := func(change func(*Config), targets *TargetsConfig, want, not string) {
		t.Helper()
		var all []string
		for _, r := range newTestKube(t, change).Rights(targets) {
			all = append(all, r.String())
		}
		if want != "" && !slices.Contains(all, want) || slices.Contains(all, not) {
			t.Errorf("want %q and not %q: %q", want, not, all)
		}
	}
	f(nil, nil, "watch jobs.batch", "list secrets")
	f(func(c *Config) { c.Secrets = true }, nil, "list secrets", "")
	f(func(c *Config) { c.Exclude = []string{"jobs"} }, nil, "watch cronjobs.batch", "watch jobs.batch")
	f(func(c *Config) { c.APIServer = false }, nil, "list events", "get /livez")
	f(nil, &TargetsConfig{Services: true, Monitors: "false"}, "list services", "list podmonitors."+monitorsGroup)
	f(nil, &TargetsConfig{Monitors: "auto"}, "list podmonitors."+monitorsGroup, "")
	f(func(c *Config) { c.Objects, c.Events, c.APIServer = "off", "off", false }, nil, "list pods", "list events")
}

func TestStatusNamesTheAPIServer(t *testing.T) {
	k := apiServerFor(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "because", http.StatusTeapot) }, nil)
	if k.Status().Server != "" {
		t.Error("before the first connect")
	}
	if _, err := k.open(); err != nil {
		t.Fatal(err)
	}
	if s := k.Status().Server; !strings.HasPrefix(s, "http://127.0.0.1:") {
		t.Errorf("server %q", s)
	}
	asked := func(Right, bool, string) { t.Error("an answer") }
	if err := k.Review(t.Context(), []Right{{Verb: "list", Resource: "pods"}}, asked); err == nil || !strings.Contains(err.Error(), "whether the agent may list pods") {
		t.Errorf("an API server that does not say: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if err := newTestKube(t, nil).Review(t.Context(), nil, asked); !errors.Is(err, collect.ErrAbsent) {
		t.Errorf("no cluster: %v", err)
	}
}
