package manifest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	jsonyaml "sigs.k8s.io/yaml"

	"github.com/causeway-agent/causeway/config"
)

var update = flag.Bool("update", false, "rewrite the files in deploy/kubernetes")

// planOf makes the plan of an agent.yaml with the given text.
func planOf(t *testing.T, text string, change ...func(*Options)) *Plan {
	t.Helper()
	p, err := tryPlan(t, text, change...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryPlan(t *testing.T, text string, change ...func(*Options)) (*Plan, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, []byte("version: 1\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Read(file)
	if err != nil {
		return nil, err
	}
	o := DefaultOptions()
	for _, c := range change {
		c(&o)
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	return New(s, o)
}

func autopilot(o *Options) { o.Autopilot = true }
func apart(o *Options)     { o.Role = RoleAll }
func nodes(o *Options)     { o.Role = RoleNode }
func bare(o *Options)      { o.HostRoot = false }

// shipped are the installations in deploy/kubernetes: folder and options.
func shipped() map[string]func(*Options) {
	return map[string]func(*Options){
		"base":      func(*Options) {},
		"gke":       apart,
		"autopilot": func(o *Options) { apart(o); autopilot(o) },
		"offline":   func(*Options) {},
	}
}

func shippedPlan(t *testing.T, name string) *Plan {
	t.Helper()
	s, err := Read("../kubernetes/" + name + "/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	shipped()[name](&o)
	p, err := New(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func printed(t *testing.T, p *Plan) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, p.Objects()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestShippedManifestsAreWhatIsRendered(t *testing.T) {
	f := func(name, file string) {
		t.Helper()
		p := shippedPlan(t, name)
		want := fmt.Sprintf("# Made by `make golden` from deploy/kubernetes/%s/agent.yaml: change that, or deploy/manifest.\n%s", name, printed(t, p))
		path := filepath.Join("../kubernetes", file)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the renderer gives; `make golden` rewrites it", file)
		}
	}
	for name := range shipped() {
		f(name, name+"/causeway.yaml")
	}
	f("base", "causeway.yaml") // for kubectl apply -f
}

// A kustomization that forgets a file installs half.
func TestKustomizationsNameEveryFile(t *testing.T) {
	for name := range shipped() {
		dir := filepath.Join("../kubernetes", name)
		text, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			base := filepath.Base(f)
			if base != "kustomization.yaml" && base != "agent.yaml" && !strings.Contains(string(text), "  - "+base+"\n") {
				t.Errorf("%s/kustomization.yaml does not name %s", name, base)
			}
		}
		if !strings.Contains(string(text), "  - causeway.yaml\n") {
			t.Errorf("%s/kustomization.yaml does not name causeway.yaml", name)
		}
	}
}

// templates returns the pods of a plan by the name of their workload.
func templates(p *Plan) map[string]corev1.PodTemplateSpec {
	all := map[string]corev1.PodTemplateSpec{}
	for _, o := range p.Objects() {
		switch o := o.Object.(type) {
		case *appsv1.DaemonSet:
			all[o.Name] = o.Spec.Template
		case *appsv1.Deployment:
			all[o.Name] = o.Spec.Template
		}
	}
	return all
}

// TestPodsStartWithTheirVariables reads agent.yaml as the agent in the pod does.
func TestPodsStartWithTheirVariables(t *testing.T) {
	f := func(p *Plan) {
		t.Helper()
		for name, pod := range templates(p) {
			s := sourceAt(t, p.text)
			env := []string{"DD_API_KEY=" + standIn}
			for _, e := range pod.Spec.Containers[0].Env {
				if e.ValueFrom != nil {
					continue
				}
				env = append(env, e.Name+"="+strings.ReplaceAll(e.Value, "$(POD_UID)", "uid-of-the-pod"))
			}
			c, err := config.Load(s, env)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c.Agent.Token.Reveal() != "uid-of-the-pod" || c.Agent.Listen != ":9580" {
				t.Errorf("%s: listens on %s", name, c.Agent.Listen)
			}
		}
	}
	for name := range shipped() {
		f(shippedPlan(t, name))
	}
	f(planOf(t, "active: [datadog]\ndestinations: {datadog: {type: datadog, api_key: \"${DD_API_KEY:-}\"}}\ncollect: {otlp: {enabled: true}}", apart))
	f(planOf(t, "", bare))
}

// sourceAt writes an agent.yaml whose secrets are there, and returns its path.
func sourceAt(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir() + "/"
	_, files := references([]byte(text))
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "agent.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, SecretDir, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPodsAreConfined(t *testing.T) {
	f := func(p *Plan) {
		t.Helper()
		for name, pod := range templates(p) {
			s, c := pod.Spec, pod.Spec.Containers[0]
			sc := c.SecurityContext
			if s.HostNetwork || s.HostPID || s.HostIPC || *sc.Privileged || *sc.AllowPrivilegeEscalation || !*sc.ReadOnlyRootFilesystem ||
				!slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(sc.Capabilities.Add) > 0 ||
				s.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
				t.Errorf("%s is not confined: %+v %+v", name, s.SecurityContext, sc)
			}
			if *s.AutomountServiceAccountToken || *s.EnableServiceLinks || *s.TerminationGracePeriodSeconds != 60 {
				t.Errorf("%s: token, links or grace", name)
			}
			for _, m := range c.VolumeMounts {
				i := slices.IndexFunc(s.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
				writable := s.Volumes[i].EmptyDir != nil || m.Name == "data" || strings.HasPrefix(m.Name, "sockets-")
				if m.ReadOnly == writable {
					t.Errorf("%s: %s is read-only: %v", name, m.MountPath, m.ReadOnly)
				}
			}
			if strings.HasSuffix(name, "-cluster") && (*s.SecurityContext.RunAsUser == 0 || !*s.SecurityContext.RunAsNonRoot) {
				t.Errorf("%s is root, and reads nothing of the node", name)
			}
		}
	}
	for name := range shipped() {
		f(shippedPlan(t, name))
	}
	f(planOf(t, "collect: {statsd: {listen: [\"unixgram:///run/causeway/dsd.socket\"]}}"))
}

func TestMountsFollowFeatures(t *testing.T) {
	f := func(text string, want string, change ...func(*Options)) {
		t.Helper()
		var got []string
		for _, v := range templates(planOf(t, text, change...))["causeway"].Spec.Volumes {
			if v.HostPath != nil {
				got = append(got, v.HostPath.Path)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: mounts %q, want %q", text, got, want)
		}
	}
	f("", "/ /var/lib/causeway /var/log/pods")
	f("", "/proc /sys /var/lib/causeway /var/log/pods", bare)
	f("collect: {host: {enabled: false}}", "/var/lib/causeway /var/log/pods")
	f("collect: {host: {enabled: false}, logs: {pods: {enabled: false}}}", "/var/lib/causeway")
	f("agent: {data_dir: /mnt/fast}\ncollect: {host: {enabled: false}, logs: {pods: {enabled: false}}}", "/mnt/fast")
	f("collect: {host: {enabled: false}, logs: {pods: {enabled: false}, "+
		"files: [{path: /var/log/nginx/*.log}, {path: /srv/a*/x.log}, {path: /var/log/nginx/old/y.log}]}}",
		"/srv /var/lib/causeway /var/log/nginx")
	f("collect: {host: {enabled: false}, logs: {files: [{path: /var/log/syslog}]}}", "/var/lib/causeway /var/log")
	f("collect: {host: {enabled: false}, logs: {pods: {enabled: false}}, statsd: {listen: [\"unix:///run/cw/dsd\"]}}", "/run/cw /var/lib/causeway")
	f("collect: {host: {enabled: false}, logs: {pods: {enabled: false}}, containers: {provider: cadvisor}}", "/run/containerd /sys/fs/cgroup /var/lib/causeway")
	f("", "/var/log/pods", autopilot)
	f("collect: {logs: {pods: {enabled: false}}}", "", autopilot)
}

func TestWhoReadsNothingOfTheNodeIsNotRoot(t *testing.T) {
	f := func(text, level string, user int64, change ...func(*Options)) {
		t.Helper()
		p := planOf(t, text, change...)
		got := p.namespace().Object.(*corev1.Namespace).Labels["pod-security.kubernetes.io/enforce"]
		if u := *templates(p)["causeway"].Spec.SecurityContext.RunAsUser; got != level || u != user {
			t.Errorf("%s: %s as user %d, want %s as %d", text, got, u, level, user)
		}
	}
	f("", "privileged", 0)
	f("", "privileged", 0, autopilot)
	f("collect: {logs: {pods: {enabled: false}}}", "restricted", 65532, autopilot)
}

func TestPortsFollowFeatures(t *testing.T) {
	f := func(text, want string, change ...func(*Options)) {
		t.Helper()
		p := planOf(t, text, change...)
		var got []string
		if o, ok := p.service(); ok {
			for _, s := range o.Object.(*corev1.Service).Spec.Ports {
				got = append(got, fmt.Sprintf("%s/%d", s.Protocol, s.Port))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	f("", "UDP/8125")
	f("collect: {statsd: {enabled: false}}", "")
	f("collect: {otlp: {enabled: true}}", "UDP/8125 TCP/4317 TCP/4318")
	f("collect: {otlp: {enabled: true, http: \"\"}, statsd: {listen: [\"udp://:9125\"]}}", "UDP/9125 TCP/4317")
	f("collect: {otlp: {enabled: true}}", "", func(o *Options) { o.Role = RoleCluster })
}

func TestNetworkPolicyLetsOutToEveryDestination(t *testing.T) {
	f := func(text string, want ...int32) {
		t.Helper()
		if got := planOf(t, text).outward(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	f("", 443, 6443, 10250)
	f("destinations: {x: {type: influxdb, url: http://influxdb:8086}}", 443, 6443, 8086, 10250)
	f("destinations: {x: {type: datadog, proxy_url: \"http://proxy:3128\"}}", 443, 3128, 6443, 10250)
	f("collect: {probes: [{name: a, type: http, url: \"http://shop:8080/\"}, {name: b, type: tcp, address: \"db:5432\"}]}", 443, 5432, 6443, 8080, 10250)
	f("collect: {containers: {enabled: false}, prometheus: {targets: [{url: http://db:9100/metrics}, {url: http://plain/metrics}]}}", 80, 443, 6443, 9100)
}

func TestVariablesAreKeysOfTheSecret(t *testing.T) {
	text := "# ${COMMENT}\nactive: [d]\nagent: {node: \"${NODE_NAME}\", tags: [\"price:$${no}\"]}\n" +
		"destinations: {d: {type: datadog, api_key: \"${DD_API_KEY}\", site: \"${SITE:-datadoghq.eu}\"}}"
	p := planOf(t, text)
	if !slices.Equal(p.vars, []string{"DD_API_KEY", "SITE"}) {
		t.Errorf("variables %v", p.vars)
	}
	for _, e := range templates(p)["causeway"].Spec.Containers[0].Env {
		if e.Name == "DD_API_KEY" && (e.ValueFrom.SecretKeyRef.Name != "causeway" || e.ValueFrom.SecretKeyRef.Key != "DD_API_KEY") {
			t.Errorf("%+v", e)
		}
	}
}

// Each of these was taken for something that a key is not.
func TestStandInsHaveTheFormOfWhatIsAskedFor(t *testing.T) {
	f := func(destination string) {
		t.Helper()
		if _, err := tryPlan(t, "active: [d]\ndestinations: {d: {"+destination+"}}"); err != nil {
			t.Errorf("%s: %v", destination, err)
		}
	}
	f(`type: datadog, api_key: "${K}", proxy_url: "${PROXY}"`)
	f(`type: datadog, api_key_file: /var/run/secrets/causeway/K, proxy_url_file: /var/run/secrets/causeway/PROXY`)
	f(`type: newrelic, license_key: "${K}"`)
	f(`type: influxdb, url: "${URL}", api: v2, org: o, bucket: b, token: "${T:?is the token}"`)
	f(`type: influxdb, url: "${URL:-http://influxdb:8086}", username: u, password_file: /var/run/secrets/causeway/pass.word`)
	f(`type: googlecloud, project: my-project-1, location: europe-west3, cluster: "${C:-}", credentials_file: /var/run/secrets/causeway/key.json`)
}

func TestNoSecretOfThisMachineIsPrinted(t *testing.T) {
	t.Setenv("DD_API_KEY", "0123456789abcdef0123456789abcdef")
	p := planOf(t, "active: [d]\ndestinations: {d: {type: datadog, api_key: \"${DD_API_KEY}\"}}")
	if out := printed(t, p); strings.Contains(out, "0123456789abcdef") || strings.Contains(out, standIn) {
		t.Error("a key is printed")
	}
}

func TestComplaintsNameTheFileThatWasGiven(t *testing.T) {
	f := func(text, want string, change ...func(*Options)) {
		t.Helper()
		_, err := tryPlan(t, text, change...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "causeway-manifest-") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	f("agent: {lisen: x}", "agent.yaml:2:9: agent.lisen: unknown key")
	f("active: [d]\ndestinations: {d: {type: datadog, api_key_file: /nowhere}}", "destinations.d.api_key_file: read the secret's file")
	f("collect: {containers: {provider: cadvisor}}", "provider: cadvisor needs", autopilot)
	f("collect: {logs: {files: [{path: /srv/x.log}]}}", "not below /var/log", autopilot)
	f("collect: {statsd: {listen: [\"unix:///run/x/s\"]}}", "use udp", autopilot)
	f("", "host-ports: Autopilot has none", autopilot, func(o *Options) { o.HostPorts = true })
	f("", "role: must be one of", func(o *Options) { o.Role = "leader" })
	f("", "namespace:", func(o *Options) { o.Namespace = "Causeway" })
	if _, err := Read(filepath.Join(t.TempDir(), "none.yaml")); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("no file: %v", err)
	}
}

// A Service called causeway would otherwise put CAUSEWAY_PORT into the pod, and
// the agent takes CAUSEWAY_ variables for keys.
func TestServiceLinksDoNotReachTheConfiguration(t *testing.T) {
	for name, pod := range templates(planOf(t, "", apart)) {
		if *pod.Spec.EnableServiceLinks {
			t.Errorf("%s has service links", name)
		}
	}
}

func TestSameInputSameBytes(t *testing.T) {
	text := "destinations: {x: {type: influxdb, url: http://b:8086}, y: {type: influxdb, url: http://a:8087}, z: {type: datadog, proxy_url: \"http://c:1\"}}"
	first := printed(t, planOf(t, text, apart))
	for range 5 {
		if printed(t, planOf(t, text, apart)) != first {
			t.Fatal("two runs differ")
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"version: 1", "version: 1\nactive: [${X}]", "a: &a [*a]", "version: 1\ncollect: {logs: {files: [{path: \"/${Y}[\"}]}}",
		"x: /var/run/secrets/causeway/..", "${",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Read(file)
		if err != nil {
			return
		}
		for _, change := range []func(*Options){autopilot, apart} {
			o := DefaultOptions()
			change(&o)
			if p, err := New(s, o); err == nil {
				if err := Write(&bytes.Buffer{}, p.Objects()); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// What docker-compose mounts is there, and its agent starts with its variables.
// The dashboards' folder has a test of its own.
func TestComposeHoldsTogether(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Environment map[string]string `json:"environment"`
			Volumes     []string          `json:"volumes"`
		} `json:"services"`
	}
	if err := jsonyaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	mounted := 0
	for name, s := range compose.Services {
		for _, v := range s.Volumes {
			file, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(file, "./compose/") {
				mounted++
				if _, err := os.Stat(filepath.Join("..", file)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	var env []string
	for k, v := range compose.Services["causeway"].Environment {
		env = append(env, k+"="+v)
	}
	c, err := config.Load("../compose/agent.yaml", env)
	if err != nil || mounted != 3 || c.Agent.Listen != ":9580" || c.Collect.Host.Root != "/host" {
		t.Errorf("%d files mounted; %v", mounted, err)
	}
}
