// Package charttest holds the Helm chart to the renderer of deploy/manifest: for
// each case of testdata, the chart with values.yaml must give the objects of
// want.yaml, which the renderer's own test writes. It is a module of its own,
// so that Helm is no dependency of the agent.
package charttest

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const chartDir = "../causeway"

// render returns what the chart gives for values, by file.
func render(t *testing.T, values map[string]any) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "causeway", Namespace: "causeway", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// objects splits YAML documents into objects by kind and name.
func objects(t *testing.T, texts ...string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, text := range texts {
		for _, doc := range strings.Split("\n"+text, "\n---\n") {
			var o map[string]any
			if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
				t.Fatalf("%v in\n%s", err, doc)
			}
			if len(o) == 0 {
				continue
			}
			meta := o["metadata"].(map[string]any)
			key := o["kind"].(string) + "/" + meta["name"].(string)
			if all[key] != nil {
				t.Errorf("%s comes twice", key)
			}
			all[key] = o
		}
	}
	return all
}

// plain takes from an object what the chart may say otherwise: labels that Helm
// adds, the text of agent.yaml but not its meaning, and the sum over that text.
func plain(t *testing.T, o map[string]any) map[string]any {
	t.Helper()
	if labels, ok := o["metadata"].(map[string]any)["labels"].(map[string]any); ok {
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
	}
	if data, ok := o["data"].(map[string]any); ok && o["kind"] == "ConfigMap" {
		var config map[string]any
		if err := yaml.Unmarshal([]byte(data["agent.yaml"].(string)), &config); err != nil {
			t.Error(err)
		}
		for _, key := range []string{"events", "objects"} {
			if collect, ok := config["collect"].(map[string]any); ok {
				if kube, ok := collect["kubernetes"].(map[string]any); ok && kube[key] == false {
					kube[key] = "off"
				}
			}
		}
		data["agent.yaml"] = config
	}
	spec, _ := o["spec"].(map[string]any)
	if template, ok := spec["template"].(map[string]any); ok {
		delete(template["metadata"].(map[string]any)["annotations"].(map[string]any), "causeway.dev/config")
		pod := template["spec"].(map[string]any)
		for _, c := range pod["containers"].([]any) {
			byName(c.(map[string]any)["env"])
		}
	}
	return o
}

// byName sorts a list whose order means nothing.
func byName(list any) {
	if l, ok := list.([]any); ok {
		slices.SortFunc(l, func(a, b any) int {
			return strings.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
		})
	}
}

func TestChartGivesWhatTheRendererGives(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/want.yaml")
	if err != nil || len(cases) < 8 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, file := range cases {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			values := map[string]any{}
			read := func(name string, into any) string {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if into != nil {
					if err := yaml.Unmarshal(text, into); err != nil {
						t.Fatal(err)
					}
				}
				return string(text)
			}
			read("values.yaml", &values)
			// Helm lays values over the chart's own, and config is to be agent.yaml alone.
			config := map[string]any{"collect": nil, "destinations": nil}
			read("agent.yaml", &config)
			for section, key := range map[string]string{"destinations": "local", "collect": "otlp"} {
				if m, ok := config[section].(map[string]any); ok && m[key] == nil {
					m[key] = nil
				}
			}
			values["config"] = config
			files, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for name, text := range files {
				if strings.HasSuffix(name, ".yaml") {
					texts = append(texts, text)
				}
			}
			got, want := objects(t, texts...), objects(t, read("want.yaml", nil))
			delete(want, "Namespace/causeway") // helm install --create-namespace
			for key, o := range want {
				if got[key] == nil {
					t.Errorf("the chart has no %s", key)
					continue
				}
				compare(t, key, plain(t, got[key]), plain(t, o))
			}
			for key := range got {
				if want[key] == nil {
					t.Errorf("the chart has a %s", key)
				}
			}
		})
	}
}

// compare names the innermost places at which two values differ.
func compare(t *testing.T, at string, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	g, gm := got.(map[string]any)
	w, wm := want.(map[string]any)
	if gm && wm {
		for key := range w {
			compare(t, at+"."+key, g[key], w[key])
		}
		for key := range g {
			if _, ok := w[key]; !ok {
				t.Errorf("%s.%s: the chart has %v", at, key, g[key])
			}
		}
		return
	}
	gl, gs := got.([]any)
	wl, ws := want.([]any)
	if gs && ws && len(gl) == len(wl) {
		for i := range wl {
			compare(t, at+"["+string(rune('0'+i%10))+"]", gl[i], wl[i])
		}
		return
	}
	t.Errorf("%s:\n chart    %v\n renderer %v", at, got, want)
}

// The word off, without quotes, is a false by the time that the chart has it;
// the agent refuses that.
func TestChartKeepsTheWordOff(t *testing.T) {
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte("config: {collect: {kubernetes: {events: off, objects: leader, enabled: false}}}"), &values); err != nil {
		t.Fatal(err)
	}
	files, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	text := files["causeway/templates/config.yaml"]
	for _, want := range []string{`events: "off"`, "objects: leader", "enabled: false"} {
		if !strings.Contains(text, want) {
			t.Errorf("agent.yaml has no %s:\n%s", want, text)
		}
	}
}

func TestChartRefuses(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			t.Fatal(err)
		}
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	f("autopilot: true\nhostPorts: true", "Autopilot has none")
	f("autopilot: true\nconfig: {collect: {logs: {files: [{path: /srv/x.log}]}}}", "not below /var/log")
	f("autopilot: true\nconfig: {collect: {statsd: {listen: [\"unix:///run/x\"]}}}", "use udp")
	f("autopilot: true\nconfig: {collect: {containers: {provider: cadvisor}}}", "use kubelet")
	f("role: leader", "role")
	f("agents: 3", "agents")
	f("config: {active: []}", "active")
	f("config: {destinations: {x: {type: splunk}}}", "type")
}

func TestNotesSayWhatIsToBeDone(t *testing.T) {
	f := func(text string, words ...string) {
		t.Helper()
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			t.Fatal(err)
		}
		files, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range words {
			if notes := files["causeway/templates/NOTES.txt"]; !strings.Contains(notes, want) {
				t.Errorf("%s: the notes do not say %q:\n%s", text, want, notes)
			}
		}
	}
	f("{}", "sends to: local\n\nIs every", "rollout status daemonset/causeway", "statsd: port 8125/UDP", "WARNING: a store of its own")
	f("config: {active: [d], destinations: {d: {type: datadog, api_key_file: /var/run/secrets/causeway/K}}}", "sends to: d", "patch secret causeway")
	f("config: {collect: {containers: {kubelet: {allow_proxy: true}}}}", "WARNING: nodes/proxy")
}
