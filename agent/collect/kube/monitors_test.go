package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

const webMonitor = `
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  endpoints: [{port: my-metrics}]`

const podMonitorText = `
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: pm, namespace: shop}
spec:
  selector: {matchLabels: {team: web}}
  podMetricsEndpoints: [{port: my-metrics}]`

func TestServiceMonitors(t *testing.T) {
	targets := targetsWith(t, webMonitor, agents, portsOfAPod.Replace(aPod), webService, webSlice, webSlice6)
	expect(t, "endpoints", endpoints(targets.Monitors), `
servicemonitor/shop/web/0 http:10.0.0.7:9090/metrics @n1 container.name=side namespace.name=shop pod.name=web-5d-x pod.uid=u1
servicemonitor/shop/web/0 http:10.0.0.9:9090/metrics @n9 zone=z9 host.id= host.name=n9 namespace.name=shop node.name=n9 pod.name=web-5d-z pod.uid=u3
servicemonitor/shop/web/0 http:10.0.0.6:9090/metrics @n1 
servicemonitor/shop/web/0 http:192.0.2.1:9090/metrics @ zone= host.id= host.name= node.name=`)
	expect(t, "what the operator makes of them", metaText(targets.Monitors, func(k string) bool { return !strings.HasPrefix(k, "__") }), `
container=side
endpoint=my-metrics
job=web
namespace=shop
pod=web-5d-x
service=web`)
	targets.conf.Monitors = "false"
	expect(t, "switched off", endpoints(targets.Monitors), "")
}

func TestMetaLabels(t *testing.T) {
	targets := targetsWith(t, webMonitor, agents, portsOfAPod.Replace(aPod), webService, webSlice)
	expect(t, "of a service's endpoint", metaText(targets.Monitors, func(k string) bool {
		return strings.HasPrefix(k, "__") && !strings.Contains(k, "_pod_label") && !strings.Contains(k, "_pod_annotation")
	}), `
~endpoint_address_target_kind=Pod
~endpoint_address_target_name=web-5d-x
~endpoint_node_name=n1
~endpoint_port_name=my-metrics
~endpoint_port_protocol=TCP
~endpoint_ready=true
~endpoints_label_app=web
~endpoints_labelpresent_app=true
~endpoints_name=web
~endpointslice_address_target_kind=Pod
~endpointslice_address_target_name=web-5d-x
~endpointslice_address_type=IPv4
~endpointslice_endpoint_conditions_ready=true
~endpointslice_endpoint_conditions_serving=true
~endpointslice_endpoint_conditions_terminating=false
~endpointslice_endpoint_node_name=n1
~endpointslice_name=web-1
~endpointslice_port=9090
~endpointslice_port_name=my-metrics
~endpointslice_port_protocol=TCP
~namespace=shop
~pod_container_id=s1
~pod_container_image=side
~pod_container_name=side
~pod_container_port_name=my-metrics
~pod_container_port_number=9090
~pod_controller_kind=ReplicaSet
~pod_controller_name=web-5d
~pod_ip=10.0.0.7
~pod_name=web-5d-x
~pod_node_name=n1
~pod_phase=Running
~pod_ready=true
~pod_uid=u1
~service_annotation_prometheus_io_scrape=true
~service_annotationpresent_prometheus_io_scrape=true
~service_label_app=web
~service_labelpresent_app=true
~service_name=web`)
}

func TestWhichServicesAMonitorSelects(t *testing.T) {
	f := func(spec string, want bool) {
		t.Helper()
		m := strings.Replace(webMonitor, "selector: {matchLabels: {app: web}}", spec, 1)
		targets := targetsWith(t, m, agents, webService, webSlice)
		if got := endpoints(targets.Monitors) != ""; got != want {
			t.Errorf("%s: %v; %v", spec, got, targets.Trouble())
		}
	}
	f("selector: {matchLabels: {app: web}}", true)
	f("selector: {matchLabels: {app: api}}", false)
	f("selector: {matchExpressions: [{key: app, operator: In, values: [api, web]}]}", true)
	f("selector: {matchExpressions: [{key: app, operator: Exists}, {key: app, operator: NotIn, values: [web]}]}", false)
	f("selector: {}", true) // all, as everywhere in Kubernetes
	f("namespaceSelector: {any: true}", true)
	f("namespaceSelector: {matchNames: [other]}", false)
	f("namespaceSelector: {matchNames: [other, shop]}", true)
}

func TestWhichPortsAMonitorMeans(t *testing.T) {
	pod := portsOfAPod.Replace(aPod)
	f := func(endpoint, want string) {
		t.Helper()
		m := strings.Replace(webMonitor, "{port: my-metrics}", endpoint, 1)
		targets := targetsWith(t, m, agents, pod, webService, strings.Replace(webSlice, "- {addresses: [10.0.0.8]", "#", 1))
		var got []string
		targets.Monitors(func(g *Group) bool {
			for _, e := range g.Endpoints {
				if strings.HasPrefix(e.Address, "10.0.0.7:") {
					got = append(got, e.Address[9:]+"="+e.Labels["endpoint"]+"/"+e.Labels["container"])
				}
			}
			return true
		})
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %q, want %q", endpoint, text, want)
		}
	}
	f("{port: http}", "8080=http/")
	f("{port: nope}", "")
	f("{targetPort: 9090}", "9090=9090/side")
	f("{targetPort: my-metrics}", "9090=my-metrics/side")
	f("{targetPort: extra}", "7070=extra/side") // a port of the pod that the service has not
	f("{targetPort: 7070}", "7070=7070/side")
	f("{targetPort: 1}", "")
	f("{port: http, targetPort: 7070}", "8080=http/") // port counts
	f("{}", "8080=/ 9090=/side")
}

func TestPodMonitors(t *testing.T) {
	pod := portsOfAPod.Replace(aPod)
	f := func(endpoint, podText, want string) {
		t.Helper()
		m := strings.Replace(podMonitorText, "{port: my-metrics}", endpoint, 1)
		targets := targetsWith(t, m, podText)
		var got []string
		targets.Monitors(func(g *Group) bool {
			for _, e := range g.Endpoints {
				l := e.Labels
				got = append(got, fmt.Sprintf("%s %s job=%s endpoint=%s container=%s pod=%s %s",
					g.Name, e.Address, l["job"], l["endpoint"], l["container"], l["pod"], labelText(e.Known)))
			}
			return true
		})
		expect(t, endpoint, strings.Join(got, "\n"), want)
	}
	const known = "container=side pod=web-5d-x k8s.container.name=side k8s.namespace.name=shop k8s.pod.name=web-5d-x k8s.pod.uid=u1"
	const metrics = "podmonitor/shop/pm/0 10.0.0.7:9090 job=shop/pm endpoint=my-metrics " + known
	f("{port: my-metrics}", pod, metrics)
	f("{portNumber: 7070}", pod, "podmonitor/shop/pm/0 10.0.0.7:7070 job=shop/pm endpoint=7070 "+known)
	f("{targetPort: extra}", pod, "podmonitor/shop/pm/0 10.0.0.7:7070 job=shop/pm endpoint=extra "+known)
	f("{port: nope}", pod, "")
	f("{port: my-metrics}", strings.Replace(pod, "team: web", "team: api", 1), "")
	f("{port: my-metrics}", strings.Replace(pod, "namespace: shop", "namespace: other", 1), "")
	f("{port: my-metrics}", strings.Replace(pod, "phase: Running", "phase: Failed", 1), "")
	f("{port: my-metrics, filterRunning: false}", strings.Replace(pod, "phase: Running", "phase: Failed", 1), metrics)
	f("{port: my-metrics}", strings.Replace(pod, "phase: Running", "phase: Pending", 1), metrics)
	f("{port: my-metrics}", strings.Replace(pod, "podIP: 10.0.0.7", "podIP: ''", 1), "")
	f("{port: my-metrics}", strings.Replace(pod, "owner: me", `causeway.dev/metrics: "false"`, 1), "")
}

func TestLabelsThatMonitorsTakeOver(t *testing.T) {
	f := func(spec, want string) {
		t.Helper()
		svc := strings.Replace(webService, "{app: web}", "{app: web, example.com/tier: front}", 1)
		targets := targetsWith(t, webMonitor+"\n  "+spec, agents, aPod, svc, webSlice)
		names := []string{"job", "example_com_tier", "team", "absent"}
		expect(t, spec, strings.ReplaceAll(metaText(targets.Monitors, func(k string) bool { return slices.Contains(names, k) }), "\n", " "), want)
	}
	f("jobLabel: example.com/tier", "job=front")
	f("jobLabel: absent", "job=web")
	f("targetLabels: [example.com/tier, absent]", "example_com_tier=front job=web")
	f("podTargetLabels: [team]", "job=web team=web")
}

func TestHowMonitorsScrape(t *testing.T) {
	f := func(endpoint, want string) {
		t.Helper()
		m := strings.Replace(webMonitor, "{port: my-metrics}", endpoint, 1) + "\n  sampleLimit: 7"
		targets := targetsWith(t, m, agents, webService, webSlice)
		got := ""
		targets.Monitors(func(g *Group) bool {
			got = fmt.Sprintf("%s %s %v %+v", g.Scheme, g.Path, g.Params, g.Scrape)
			return true
		})
		if got += strings.Join(targets.Trouble(), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s:\ngot  %s\nwant %s", endpoint, got, want)
		}
	}
	f("{}", "  map[] {Interval:0s Timeout:0s MaxSamples:7 HonorLabels:false HonorTimestamps: ")
	f("{scheme: HTTPS, path: /m, params: {a: [b, c]}, interval: 1m30s, scrapeTimeout: 500ms, honorLabels: true, honorTimestamps: false}",
		"https /m map[a:[b c]] {Interval:1m30s Timeout:500ms MaxSamples:7 HonorLabels:true HonorTimestamps:false ")
	f("{honorTimestamps: true}", "HonorTimestamps:true")
	f("{bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token}", "BearerTokenFile:/var/run/secrets/kubernetes.io/serviceaccount/token")
	f("{bearerTokenSecret: {key: ''}}", "MaxSamples:7") // as the API server fills it in
	f("{tlsConfig: {insecureSkipVerify: true, caFile: /ca, certFile: /c, keyFile: /k, serverName: s}}",
		"CAFile:/ca CertFile:/c KeyFile:/k ServerName:s SkipVerify:true")
	f("{tlsConfig: {insecureSkipVerify: true, ca: {secret: {name: s, key: k}}}}", "SkipVerify:true")
	f("{relabelings: [{sourceLabels: [a, b], separator: '-', targetLabel: c, regex: x, replacement: z, action: Replace, modulus: 2}]}",
		"Relabel:[{Action:replace SourceLabels:[a b] Separator:- Regex:x Modulus:2 TargetLabel:c Replacement:z}]")
	f("{metricRelabelings: [{action: drop, sourceLabels: [__name__], regex: go_.*}]}",
		"MetricRelabel:[{Action:drop SourceLabels:[__name__] Separator: Regex:go_.*")
}

func TestWhatAMonitorAsksForInVainIsNamed(t *testing.T) {
	f := func(endpoint, want string) {
		t.Helper()
		m := strings.Replace(webMonitor, "{port: my-metrics}", "{port: http}, "+endpoint, 1)
		targets := targetsWith(t, m, agents, webService, webSlice)
		var names []string
		targets.Monitors(func(g *Group) bool { names = append(names, g.Name); return true })
		if len(names) != 1 || names[0] != "servicemonitor/shop/web/0" { // its neighbour stays
			t.Errorf("%s: scraped: %v", endpoint, names)
		}
		if got := strings.Join(targets.Trouble(), "\n"); !strings.HasPrefix(got, "servicemonitor/shop/web/1: "+want) {
			t.Errorf("%s:\ngot  %s\nwant %s", endpoint, got, want)
		}
	}
	const secret = " refers to a secret or a config map, which the agent does not read; write the target in collect.prometheus.targets"
	f("{basicAuth: {username: {name: s, key: u}}}", "basicAuth:"+secret)
	f("{oauth2: {tokenUrl: x}}", "oauth2:"+secret)
	f("{authorization: {credentials: {name: s, key: u}}}", "authorization:"+secret)
	f("{bearerTokenSecret: {name: s, key: u}}", "bearerTokenSecret:"+secret)
	f("{tlsConfig: {ca: {configMap: {name: s, key: u}}}}", "tlsConfig.ca:"+secret)
	f("{tlsConfig: {cert: {secret: {name: s, key: u}}}}", "tlsConfig.cert:"+secret)
	f("{tlsConfig: {keySecret: {name: s, key: u}}}", "tlsConfig.keySecret:"+secret)
	f("{tlsConfig: {certFile: /c}}", "tlsConfig.certFile: and keyFile belong together")
	f("{proxyUrl: 'http://p'}", "proxyUrl: ")
	f("{bearerTokenFile: /etc/shadow}", `bearerTokenFile: must be under /var/run/secrets/, not "/etc/shadow"`)
	f("{bearerTokenFile: /var/run/secrets/../../../etc/shadow}", "bearerTokenFile: must be under /var/run/secrets/")
	f("{scheme: ftp}", `scheme: must be http or https, not "ftp"`)
	f("{interval: often}", "interval: ")
	f("{interval: 10ms}", "interval: must be between 1s and 1h, not 10ms")
	f("{scrapeTimeout: 2h}", "scrapeTimeout: must be between 1ms and 1h, not 2h")
	f("{relabelings: [{sourceLabels: [a, b], separator: ''}]}", "relabelings[0].separator: the agent knows no empty one")
	f("{basicAuth: {username: {}}, interval: often}", "basicAuth:"+secret+" with its credentials, or use bearerTokenFile and tlsConfig's files; interval: ")
}

func TestAMonitorThatCannotBeReadIsNamed(t *testing.T) {
	f := func(spec, want string, left int) {
		t.Helper()
		targets := targetsWith(t, "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: bad, namespace: shop}\nspec: "+spec,
			webMonitor, agents, webService, webSlice)
		n := 0
		targets.Monitors(func(*Group) bool { n++; return true })
		if got := strings.Join(targets.Trouble(), "\n"); n != left || !strings.HasPrefix(got, "servicemonitor/shop/bad: "+want) {
			t.Errorf("%s: %d groups, %s", spec, n, got)
		}
	}
	f("{endpoints: {}}", "not as monitoring.coreos.com/v1 has it: ", 1)
	f("{selector: {matchExpressions: [{key: a, operator: Like}]}}", "selector: ", 1)
	f("{endpoints: [{}], attachMetadata: {node: true}}", "attachMetadata.node: ", 2)
}

// An explicitly empty replacement takes the label away; ours is the default one then.
func TestAnEmptyReplacement(t *testing.T) {
	var list []Rule
	none := ""
	if err := rules(&list, "", []monitorRule{{TargetLabel: "a", Replacement: &none}}); err != nil {
		t.Fatal(err)
	}
	c := relabel.DefaultRelabelConfig
	c.TargetLabel, c.Replacement = list[0].TargetLabel, list[0].Replacement
	if err := c.Validate(model.UTF8Validation); err != nil {
		t.Fatal(err)
	}
	b := labels.NewBuilder(labels.FromStrings("a", "1", "b", "2"))
	if relabel.ProcessBuilder(b, &c); b.Labels().String() != `{b="2"}` {
		t.Error(b.Labels())
	}
}

func FuzzMonitor(f *testing.F) {
	f.Add(`{"selector":{"matchLabels":{"a":"b"}},"endpoints":[{"targetPort":"x","relabelings":[{"separator":""}],"tlsConfig":{"ca":{"secret":{}}}}]}`)
	f.Add(`{"podMetricsEndpoints":[{"portNumber":7,"filterRunning":false,"params":{"a":["b"]}}],"sampleLimit":18446744073709551615}`)
	f.Add(`null`)
	f.Fuzz(func(t *testing.T, spec string) {
		for _, sort := range []string{"servicemonitor", "podmonitor"} {
			m := parseMonitor(sort, "ns", "name", []byte(spec))
			if m.selector == nil && len(m.trouble) == 0 {
				t.Error("selects nothing, and says nothing")
			}
			m.selects("ns", map[string]string{"a": "b"})
			for _, e := range m.endpoints {
				if e.err == "" && (e.scrape.BearerTokenFile != "" && !strings.HasPrefix(e.scrape.BearerTokenFile, tokens) || e.scrape.MaxSamples < 0) {
					t.Errorf("%+v", e)
				}
			}
		}
	})
}
