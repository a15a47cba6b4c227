package config

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const shipped = "../agent.yaml"

func TestShippedFileShowsTheDefaults(t *testing.T) {
	c, err := Load(shipped, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	for name, typ := range map[string]string{"influxdb": "influxdb", "datadog": "datadog", "google": "googlecloud", "newrelic": "newrelic", "console": "stdout"} {
		want.Destinations[name] = newDestination(typ)
	}
	same(t, c, &want)
	if !slices.Equal(c.Active, []string{"local"}) || !c.Destinations["local"].Influx.Embedded {
		t.Error("the shipped file is not the offline mode")
	}
}

// TestShippedFileExplainsItself wants a comment for each key: its own, or that
// of the line or the section it stands in.
func TestShippedFileExplainsItself(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	commented := func(line int) bool { return strings.Contains(lines[line-1], "# ") }
	var walk func(n *yaml.Node, path string, explained bool)
	walk = func(n *yaml.Node, path string, explained bool) {
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			own := commented(key.Line) || key.HeadComment != "" || key.FootComment != ""
			leaf := value.Kind != yaml.MappingNode
			if leaf && !own && !explained {
				t.Errorf("%s:%d: %s has no comment", shipped, key.Line, join(path, key.Value))
			}
			// What a section says covers the quotas, which are alike, and one line's keys.
			walk(value, join(path, key.Value), own && (value.Style&yaml.FlowStyle != 0 || path == "") || explained && path == "spool")
		}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	walk(doc.Content[0], "", false)
}

// TestShippedFileExamplesAreValid wants every example in a comment to be
// valid where it stands.
func TestShippedFileExamplesAreValid(t *testing.T) {
	text, err := os.ReadFile(shipped)
	if err != nil {
		t.Fatal(err)
	}
	c := good(t, strings.NewReplacer(
		"files: []                   # - {", "files:\n    - {",
		"rules: []                     # - {", "rules:\n  - {",
		"cgroups: []                 # without a container: [", "cgroups: [",
		"tags: []                      # on everything; written as key:value: [", "tags: [",
	).Replace(string(text)))
	if len(c.Collect.Logs.Files) != 1 || len(c.Process.Rules) != 1 || len(c.Collect.Containers.Cgroups) != 2 || len(c.Agent.Tags) != 2 {
		t.Errorf("the examples are not where the test looks for them: %+v", c)
	}
	good(t, `destinations: {x: {type: influxdb, kinds: [metrics, logs, events], match: 'k8s.namespace.name == "prod"', tags: ["via:causeway"], backfill: 0s,
  create_database: auto, compression: gzip, in_flight: 4, timeout: 30s, retention_policy: x, tls: {ca_file: a, cert_file: b, key_file: c}}}
active: [x]`)
}
