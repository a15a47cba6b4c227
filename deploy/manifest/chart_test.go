package manifest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestChartCasesAreWhatIsRendered keeps what the Helm chart is held to, in its
// own module's test: agent.yaml, the chart's other values, and our objects.
func TestChartCasesAreWhatIsRendered(t *testing.T) {
	f := func(name, agent, values string, change ...func(*Options)) {
		t.Helper()
		dir := filepath.Join("../helm/charttest/testdata", name)
		p := planOf(t, agent, change...)
		files := map[string]string{
			"agent.yaml":  p.text,
			"values.yaml": "# The chart's values beside config, which is agent.yaml.\n" + values,
			"want.yaml":   printed(t, p),
		}
		for file, want := range files {
			path := filepath.Join(dir, file)
			if *update {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != want {
				t.Errorf("%s is not what the renderer gives; `make golden` rewrites it: %v", path, err)
			}
		}
	}
	const datadog = "active: [datadog]\ndestinations:\n  datadog: {type: datadog, api_key: \"${DD_API_KEY}\", proxy_url: \"http://proxy:3128\"}\n"
	f("default", "active: [local]\n", "{}\n")
	f("all", datadog+"collect: {otlp: {enabled: true}}\n", "role: all\n", apart)
	f("nodes", datadog, "role: node\n", nodes)
	f("cluster", datadog, "role: cluster\n", func(o *Options) { o.Role = RoleCluster })
	f("autopilot", datadog+"collect: {otlp: {enabled: true, http: \"\"}}\n", "{role: all, autopilot: true}\n", apart, autopilot)
	f("autopilot-nothing-mounted", datadog+"collect: {logs: {pods: {enabled: false}}}\nspool: {metrics: {max_size: 100MiB}, events: {max_size: 1GiB}}\n",
		"{autopilot: true}\n", autopilot)
	f("less", datadog+"collect:\n  host: {enabled: false}\n  containers: {enabled: false}\n  statsd: {enabled: false}\n  prometheus: {enabled: false}\n"+
		"  kubernetes: {events: off, api_server: false, exclude: [replicasets, ingresses], lease_name: other, lease_namespace: kube-system}\n", "{}\n")
	f("nothing-of-kubernetes", datadog+"collect: {kubernetes: {enabled: false}, containers: {enabled: false}}\n", "{}\n")
	f("dangerous", datadog+"collect: {kubernetes: {secrets: true}, containers: {kubelet: {allow_proxy: true}}}\n", "{}\n")
	f("bare", datadog, "host: {root: false}\n", bare)
	f("cadvisor", datadog+"collect: {containers: {provider: cadvisor}, kubernetes: {objects: off}}\n", "{}\n")
	f("files", datadog+"collect:\n  logs:\n    files: [{path: /var/log/nginx/*.log}, {path: /srv/a*/x.log}, {path: /var/log/nginx/old/y.log}]\n", "{}\n")
	f("listeners", datadog+"collect:\n  statsd: {listen: [\"udp://127.0.0.1:9125\", \"unixgram:///run/causeway/dsd.socket\"], cgroups: /elsewhere}\n"+
		"  prometheus: {annotations: false, targets: [{url: http://db:9100/metrics}, {url: http://plain/metrics}, {url: http://127.0.0.1:1/metrics}]}\n",
		"hostPorts: true\n", func(o *Options) { o.HostPorts = true })
	f("probes", datadog+"collect:\n  kubernetes: {pods: false}\n"+
		"  probes: [{name: a, type: http, url: \"http://shop:8080/\"}, {name: b, type: tcp, address: \"db:5432\"}]\n", "{}\n")
	f("no-services", datadog+"collect: {prometheus: {services: false, monitors: \"false\"}}\n", "role: all\n", apart)
	f("own-agent", "active: [x, nr]\nagent: {data_dir: /mnt/fast, listen: \":9000\", token: \"${TOKEN}\", node: \"${NODE_NAME}\"}\n"+
		"destinations:\n  x: {type: influxdb, url: http://influxdb:8086}\n  nr: {type: newrelic, license_key_file: /var/run/secrets/causeway/NR}\n", "{}\n")
}
