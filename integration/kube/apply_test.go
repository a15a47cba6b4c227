//go:build kube

package kube

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAPIServerTakesAllThatIsInstalled has the API server judge every way to
// install: strictly, with each field known, and a warning as bad as an error.
func TestAPIServerTakesAllThatIsInstalled(t *testing.T) {
	c := start(t, Options{})
	a := newAgent(t, c)
	apply(t, c, "{apiVersion: v1, kind: Namespace, metadata: {name: causeway}}") // a dry run makes none for those after it
	judge := func(name, manifest string, args ...string) {
		t.Run(name, func(t *testing.T) {
			out, err := c.Kubectl(t.Context(), manifest, append([]string{"apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors"}, args...)...)
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d objects", strings.Count(out, "(server dry run)"))
			if !strings.Contains(out, "serviceaccount/causeway") {
				t.Errorf("there is not even an account in\n%s", out)
			}
		})
	}
	deploy := filepath.Join("..", "..", "deploy")
	judge("the one file", "", "-f", filepath.Join(deploy, "kubernetes", "causeway.yaml"))
	for _, overlay := range []string{"base", "gke", "autopilot", "offline"} {
		judge("overlay "+overlay, "", "-k", filepath.Join(deploy, "kubernetes", overlay))
	}
	for _, conf := range []struct{ name, text string }{
		{"store", `{version: 1, active: [local], destinations: {local: {type: influxdb, embedded: true}}}`},
		{"cAdvisor and secrets", `{version: 1, active: [dd], destinations: {dd: {type: datadog, api_key: "${DD_API_KEY}"}},
 collect: {containers: {provider: cadvisor}, kubernetes: {secrets: true}}}`},
		{"no Kubernetes", `{version: 1, active: [nr], destinations: {nr: {type: newrelic, license_key_file: /var/run/secrets/causeway/KEY}},
 collect: {kubernetes: {enabled: "false"}}}`},
		{"less", `{version: 1, active: [gcp], destinations: {gcp: {type: googlecloud}},
 collect: {kubernetes: {events: "off", exclude: [jobs, cronjobs], lease_namespace: kube-system}, otlp: {enabled: true}}}`},
	} {
		for _, flags := range [][]string{nil, {"--role=all"}, {"--role=node", "--host-ports"}, {"--role=cluster"}, {"--host-root=false"}, {"--autopilot"}} {
			if conf.name == "cAdvisor and secrets" && slices.Contains(flags, "--autopilot") {
				continue // refused before
			}
			judge(strings.Join(append([]string{conf.name}, flags...), " "), a.manifest(t, conf.text, flags...), "-f", "-")
		}
	}
	chart := newChart(t)
	judge("chart", chart(), "-f", "-")
	cases, _ := filepath.Glob(filepath.Join(deploy, "helm", "charttest", "testdata", "*", "values.yaml"))
	for _, values := range cases {
		dir := filepath.Dir(values)
		judge("chart "+filepath.Base(dir), chart(values, filepath.Join(dir, "agent.yaml")), "-f", "-")
	}
	if len(cases) < 8 {
		t.Errorf("%d cases of the chart", len(cases))
	}
}

// manifest returns what `causeway kubernetes manifest` prints for an agent.yaml.
func (a *agent) manifest(t *testing.T, text string, flags ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t.Context(), "", nil, a.bin, append([]string{"kubernetes", "manifest", "-c", file}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// newChart builds Helm, and returns what prints the chart with files of values.
func newChart(t *testing.T) func(files ...string) string {
	t.Helper()
	abs := func(p string) string {
		p, err := filepath.Abs(p)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	helm, src := filepath.Join(t.TempDir(), "helm"), abs("testdata/helm/main.go")
	if _, err := run(t.Context(), "../../deploy/helm/charttest", goEnv(), "go", "build", "-o", helm, src); err != nil {
		t.Fatal(err)
	}
	chart := abs("../../deploy/helm/causeway")
	return func(files ...string) string {
		t.Helper()
		out, err := run(t.Context(), "", nil, helm, append([]string{chart}, files...)...)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
}
