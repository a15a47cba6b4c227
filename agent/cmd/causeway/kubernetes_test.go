package main

import (
	"strings"
	"testing"
)

func TestKubernetesManifest(t *testing.T) {
	f := func(want int, words, yaml string, args ...string) {
		t.Helper()
		code, out, errs := call(t, yaml, append([]string{"kubernetes", "manifest"}, args...)...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%v: %d, want %d with %q\n%s%s", args, code, want, words, out, errs)
		}
		if want == 0 && strings.Contains(out, "warning:") {
			t.Errorf("%v: what is to be applied holds a warning", args)
		}
	}
	const yaml = "version: 1\nactive: [d]\ndestinations: {d: {type: datadog, api_key: \"${DD_API_KEY}\"}}\n"
	f(0, "kind: DaemonSet", yaml)
	f(0, "kind: PodDisruptionBudget", yaml, "--role", "all")
	f(0, "namespace: prod", yaml, "-n", "prod")
	f(0, "image: registry.example/causeway:7", yaml, "--image", "registry.example/causeway:7")
	f(0, "causeway: warning: destination local is a store of its own", "version: 1\n")
	f(0, "ephemeral-storage: 2Gi", yaml, "--autopilot")
	f(2, "role: must be one of", yaml, "--role", "leader")
	f(2, "unknown flag", yaml, "--bogus")
	f(4, "not below /var/log", yaml+"collect: {logs: {files: [{path: /srv/x.log}]}}\n", "--autopilot")
	f(78, "agent.yaml:2:9: agent.lisen: unknown key", "version: 1\nagent: {lisen: x}\n")
}
