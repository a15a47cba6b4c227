package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// labelText is a label set as one reads it.
func labelText(set string) string {
	var parts []string
	for k, v := range signal.Walk(set) {
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, " ")
}

const aPod = `
apiVersion: v1
kind: Pod
metadata:
  name: web-5d-x
  namespace: shop
  uid: u1
  labels:
    pod-template-hash: 5d
    team: web
    tags.datadoghq.com/env: prod
    tags.datadoghq.com/service: shop
    tags.datadoghq.com/side.service: proxy
    app.kubernetes.io/name: web
    app.kubernetes.io/version: "1.2"
    app.kubernetes.io/part-of: store
  annotations:
    causeway.dev/tags: "tier:front, k8s.namespace.name:kube-system"
    causeway.dev/parse.side: nginx
    owner: me
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-5d, uid: r, controller: true}]
spec:
  nodeName: n1
  containers: [{name: app, image: "reg.example.com:5000/shop/web:1.2@sha256:abc"}, {name: side, image: side}]
status:
  phase: Running
  podIP: 10.0.0.7
  conditions: [{type: Ready, status: "True"}]
  containerStatuses:
  - {name: app, containerID: "containerd://c2", imageID: "sha256:abc", lastState: {terminated: {containerID: "containerd://c1"}}}
  - {name: side, containerID: "containerd://s1"}
`

func podsWith(t testing.TB, change func(*Config), manifests ...string) *Pods {
	t.Helper()
	p := newTestKube(t, change).Pods()
	var list []any
	for _, m := range manifests {
		list = append(list, object[*corev1.Pod](t, m))
	}
	if err := p.Replace(list, "1"); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLabelsOfAPod(t *testing.T) {
	p := podsWith(t, nil, aPod)
	f := func(want string, pairs ...string) {
		t.Helper()
		if got := labelText(p.Labels(signal.Labels(pairs...))); got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", pairs, got, want)
		}
	}
	const pod = "deployment.environment.name=prod k8s.deployment.name=web k8s.namespace.name=shop k8s.pod.name=web-5d-x " +
		"k8s.replicaset.name=web-5d k8s.workload.kind=Deployment k8s.workload.name=web service.name=shop service.namespace=store service.version=1.2 tier=front"
	const app = "container.image.name=reg.example.com:5000/shop/web container.image.tag=1.2 deployment.environment.name=prod k8s.container.name=app " +
		"k8s.deployment.name=web k8s.namespace.name=shop k8s.pod.name=web-5d-x " +
		"k8s.replicaset.name=web-5d k8s.workload.kind=Deployment k8s.workload.name=web service.name=shop service.namespace=store service.version=1.2 tier=front"
	f(pod, signal.LabelPodUID, "u1")
	f(pod, signal.LabelNamespace, "shop", signal.LabelPod, "web-5d-x")
	f(app, signal.LabelPodUID, "u1", signal.LabelK8sContainer, "app")
	f(app, signal.LabelContainerID, "c2")
	f(app, signal.LabelContainerID, "c1") // the one that crashed before
	f(pod, signal.LabelPodUID, "u1", signal.LabelK8sContainer, "unheard-of")
	f("", signal.LabelPodUID, "u2")
	f("", signal.LabelPodUID, "u2", signal.LabelNamespace, "shop", signal.LabelPod, "web-5d-x") // its successor of that name
	f("", signal.LabelContainerID, "c9")
	f("", signal.LabelNamespace, "shop")
	f("")
	if got := p.Labels(signal.Labels(signal.LabelContainerID, "s1")); signal.Lookup(got, signal.LabelService) != "proxy" {
		t.Errorf("a container's own service: %s", labelText(got))
	}
}

func TestOnlyLogsAreToldTheirParser(t *testing.T) {
	p := podsWith(t, nil, aPod)
	f := func(want string, pairs ...string) {
		t.Helper()
		if got := signal.Lookup(p.Labels(signal.Labels(append(pairs, signal.LabelPodUID, "u1")...)), signal.LabelParse); got != want {
			t.Errorf("%q: %q, want %q", pairs, got, want)
		}
	}
	f("nginx", signal.LabelK8sContainer, "side", signal.LabelLogStream, "stdout")
	f("nginx", signal.LabelK8sContainer, "side", signal.LabelLogFile, "/var/log/x")
	f("", signal.LabelK8sContainer, "side")
	f("", signal.LabelK8sContainer, "app", signal.LabelLogStream, "stdout")
}

func TestCardinalityLevels(t *testing.T) {
	f := func(level string, with, without string) {
		t.Helper()
		p := podsWith(t, func(c *Config) {
			c.Cardinality, c.Labels, c.Annotations = level, []string{"team"}, []string{"owner"}
		}, aPod)
		got := p.Labels(signal.Labels(signal.LabelContainerID, "c2"))
		const always = " k8s.namespace.name k8s.container.name k8s.deployment.name service.name container.image.name " +
			"k8s.pod.label.team k8s.pod.annotation.owner"
		for k := range strings.FieldsSeq(with + always) {
			if signal.Lookup(got, k) == "" {
				t.Errorf("%s: no %s", level, k)
			}
		}
		for k := range strings.FieldsSeq(without) {
			if v := signal.Lookup(got, k); v != "" {
				t.Errorf("%s: %s=%s", level, k, v)
			}
		}
	}
	f("low", "", "k8s.pod.name k8s.pod.uid k8s.replicaset.name container.id container.image.id")
	f("orchestrator", "k8s.pod.name k8s.replicaset.name", "k8s.pod.uid container.id container.image.id")
	f("high", "k8s.pod.name k8s.replicaset.name k8s.pod.uid container.id container.image.id", "")
}

func TestWorkloads(t *testing.T) {
	f := func(kind, owner, labels, want string) {
		t.Helper()
		o := object[*corev1.Pod](t, fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {%s}, "+
			"ownerReferences: [{apiVersion: v1, kind: %s, name: %s, uid: u, controller: true}]}", labels, kind, owner))
		if got := labelText(signal.Labels(namer{level: orchestrator}.workload(o)...)); got != want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", kind, owner, got, want)
		}
	}
	f("ReplicaSet", "web-5d", "pod-template-hash: 5d", "k8s.deployment.name=web k8s.replicaset.name=web-5d k8s.workload.kind=Deployment k8s.workload.name=web")
	f("ReplicaSet", "by-hand", "", "k8s.replicaset.name=by-hand k8s.workload.kind=ReplicaSet k8s.workload.name=by-hand")
	f("ReplicaSet", "web-5d", "pod-template-hash: other", "k8s.replicaset.name=web-5d k8s.workload.kind=ReplicaSet k8s.workload.name=web-5d")
	f("Job", "nightly-29000000", "", "k8s.cronjob.name=nightly k8s.job.name=nightly-29000000 k8s.workload.kind=CronJob k8s.workload.name=nightly")
	f("Job", "import-2024", "", "k8s.job.name=import-2024 k8s.workload.kind=Job k8s.workload.name=import-2024")
	f("Job", "a-1234567x", "", "k8s.job.name=a-1234567x k8s.workload.kind=Job k8s.workload.name=a-1234567x")
	f("DaemonSet", "agent", "", "k8s.daemonset.name=agent k8s.workload.kind=DaemonSet k8s.workload.name=agent")
	f("StatefulSet", "db", "", "k8s.statefulset.name=db k8s.workload.kind=StatefulSet k8s.workload.name=db")
	f("Rollout", "r", "", "k8s.workload.kind=Rollout k8s.workload.name=r")
	f("Node", "n1", "", "")
}

func TestImages(t *testing.T) {
	f := func(image, name, tag string) {
		t.Helper()
		if n, tg := splitImage(image); n != name || tg != tag {
			t.Errorf("%s: %q %q", image, n, tg)
		}
	}
	f("nginx", "nginx", "")
	f("nginx:1.2", "nginx", "1.2")
	f("host:5000/nginx", "host:5000/nginx", "")
	f("host:5000/a/nginx:1@sha256:ff", "host:5000/a/nginx", "1")
	f("nginx@sha256:ff", "nginx", "")
}

func TestVersionChangesWithTheAnswersOnly(t *testing.T) {
	p := podsWith(t, nil, aPod)
	change := func(what string, want bool, f func(*corev1.Pod)) {
		t.Helper()
		o := object[*corev1.Pod](t, aPod)
		f(o)
		was := p.Version()
		if err := p.Update(o); err != nil {
			t.Fatal(err)
		}
		if got := p.Version() != was; got != want {
			t.Errorf("%s: changed %v", what, got)
		}
		if err := p.Update(object[*corev1.Pod](t, aPod)); err != nil {
			t.Fatal(err)
		}
	}
	change("the same", false, func(*corev1.Pod) {})
	change("readiness", false, func(o *corev1.Pod) { o.Status.Conditions[0].Status = corev1.ConditionFalse })
	change("restarts", false, func(o *corev1.Pod) { o.Status.ContainerStatuses[0].RestartCount = 9 })
	change("a label nobody asked for", false, func(o *corev1.Pod) { o.Labels["x"] = "y" })
	change("the environment", true, func(o *corev1.Pod) { o.Labels[unifiedTags+"env"] = "test" })
	change("a parser", true, func(o *corev1.Pod) { o.Annotations[annotationParse] = "json" })
	change("a new container", true, func(o *corev1.Pod) { o.Status.ContainerStatuses[0].ContainerID = "containerd://c3" })
	was := p.Version()
	if err := p.Delete(object[*corev1.Pod](t, aPod)); err != nil {
		t.Fatal(err)
	}
	if p.Version() != was {
		t.Error("a pod that is gone is still answered for")
	}
}

func TestAPodIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := podsWith(t, nil, aPod)
		if err := p.Delete(object[*corev1.Pod](t, aPod)); err != nil {
			t.Fatal(err)
		}
		known := func() bool { return p.Labels(signal.Labels(signal.LabelContainerID, "c2")) != "" }
		here := func() (n int) {
			p.Each(func(*Pod) bool { n++; return true })
			return n
		}
		if !known() || here() != 0 {
			t.Errorf("after its deletion: known %v, here %d", known(), here())
		}
		time.Sleep(9 * time.Minute)
		state(t, p)
		if !known() {
			t.Error("forgotten after 9 minutes")
		}
		was := p.Version()
		time.Sleep(time.Minute)
		state(t, p)
		if known() || p.Version() == was {
			t.Errorf("after 10 minutes: known %v, version changed %v", known(), p.Version() != was)
		}
	})
}

func TestASuccessorOfTheSameNameIsNotForgottenWithItsPredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := podsWith(t, nil, aPod)
		next := strings.NewReplacer("uid: u1", "uid: u2", "c2", "d2", "c1", "d1", "s1", "e1").Replace(aPod)
		if err := p.Replace([]any{object[*corev1.Pod](t, next)}, "2"); err != nil {
			t.Fatal(err)
		}
		var uids []string
		p.Each(func(o *Pod) bool { uids = append(uids, o.UID); return true })
		if !slices.Equal(uids, []string{"u2"}) {
			t.Errorf("here: %v", uids)
		}
		time.Sleep(11 * time.Minute)
		state(t, p)
		if p.Labels(signal.Labels(signal.LabelNamespace, "shop", signal.LabelPod, "web-5d-x")) == "" || p.Labels(signal.Labels(signal.LabelContainerID, "d2")) == "" {
			t.Error("the successor is forgotten")
		}
		if p.Labels(signal.Labels(signal.LabelPodUID, "u1")) != "" {
			t.Error("the predecessor is not")
		}
	})
}

func TestDeletedPodsAreBounded(t *testing.T) {
	p := podsWith(t, nil)
	for i := range mostGone + 10 {
		o := object[*corev1.Pod](t, strings.ReplaceAll(aPod, "u1", fmt.Sprintf("u%d", i)))
		o.Name = fmt.Sprintf("p%d", i)
		if err := p.Add(o); err != nil {
			t.Fatal(err)
		}
		if err := p.Delete(o); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.gone); n != mostGone || len(p.byName) != mostGone || len(p.byID) != mostGone {
		t.Errorf("%d gone, %d names, %d uids", n, len(p.byName), len(p.byID))
	}
}

func TestContainersOfAPodAreBounded(t *testing.T) {
	p := podsWith(t, nil, aPod)
	for i := range 100 {
		o := object[*corev1.Pod](t, aPod)
		o.Status.ContainerStatuses[0].ContainerID = fmt.Sprintf("containerd://n%d", i)
		if err := p.Update(o); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.byCont); n > mostIDs {
		t.Errorf("%d containers", n)
	}
	for _, id := range []string{"n99", "n98", "s1"} {
		if p.Labels(signal.Labels(signal.LabelContainerID, id)) == "" {
			t.Errorf("%s is forgotten", id)
		}
	}
}

func TestAStaticPodIsKnownByTheKubeletsUID(t *testing.T) {
	const manifest = `
apiVersion: v1
kind: Pod
metadata: {name: etcd-n1, namespace: kube-system, uid: mirror, annotations: {kubernetes.io/config.hash: static}}
spec: {containers: [{name: etcd, image: etcd}]}`
	p := podsWith(t, nil, manifest)
	for _, uid := range []string{"mirror", "static"} {
		if p.Labels(signal.Labels(signal.LabelPodUID, uid)) == "" {
			t.Errorf("%s is not known", uid)
		}
	}
	// Its mirror in the API is made anew, and the first one's place is taken.
	next := object[*corev1.Pod](t, manifest)
	next.UID = "mirror2"
	if err := p.Replace([]any{next}, "2"); err != nil {
		t.Fatal(err)
	}
	p.k.conf.Keep = 0
	state(t, p)
	if p.Labels(signal.Labels(signal.LabelPodUID, "static")) == "" || p.Labels(signal.Labels(signal.LabelPodUID, "mirror")) != "" {
		t.Error("after its mirror was made anew the wrong one is known")
	}
}

func TestLogAdvice(t *testing.T) {
	f := func(annotations map[string]string, want LogAdvice) {
		t.Helper()
		o := object[*corev1.Pod](t, aPod)
		o.Annotations = annotations
		p := podsWith(t, nil)
		if err := p.Add(o); err != nil {
			t.Fatal(err)
		}
		got, known := p.Logs("u1", "app")
		if got != want || !known {
			t.Errorf("%v: %+v, want %+v", annotations, got, want)
		}
	}
	type a = map[string]string
	f(nil, LogAdvice{})
	f(a{"causeway.dev/logs": "false"}, LogAdvice{Skip: true})
	f(a{"causeway.dev/logs.app": "false"}, LogAdvice{Skip: true})
	f(a{"causeway.dev/logs.side": "false"}, LogAdvice{})
	f(a{"causeway.dev/logs": "false", "causeway.dev/logs.app": "true"}, LogAdvice{})
	f(a{"causeway.dev/logs": "perhaps"}, LogAdvice{})
	f(a{"causeway.dev/parse": "json", "causeway.dev/multiline": "java"}, LogAdvice{Parse: "json", Multiline: "java"})
	f(a{"fluentbit.io/exclude": "true"}, LogAdvice{Skip: true})
	f(a{"fluentbit.io/exclude-app": "true"}, LogAdvice{Skip: true})
	f(a{"fluentbit.io/exclude": "true", "causeway.dev/logs": "true"}, LogAdvice{})
	f(a{"fluentbit.io/parser": "nginx"}, LogAdvice{Parse: "nginx"})
	f(a{"fluentbit.io/parser": "nginx", "causeway.dev/parse": "json"}, LogAdvice{Parse: "json"})
	f(a{"ad.datadoghq.com/app.logs_exclude": "true"}, LogAdvice{Skip: true})
	f(a{"ad.datadoghq.com/app.logs": `[{"source":"java","service":"pay","log_processing_rules":[
		{"type":"exclude_at_match","pattern":"x"},{"type":"multi_line","name":"n","pattern":"\\d{4}-"}]}]`},
		LogAdvice{Source: "java", Service: "pay", Multiline: `\d{4}-`})
	f(a{"ad.datadoghq.com/app.logs": `{"no":"list"}`}, LogAdvice{})
	f(a{"ad.datadoghq.com/app.logs": `[]`}, LogAdvice{})
	f(a{"ad.datadoghq.com/side.logs": `[{"source":"java"}]`}, LogAdvice{})
	if _, known := podsWith(t, nil).Logs("u1", "app"); known {
		t.Error("a pod nobody has seen is known")
	}
}

func FuzzAnnotations(f *testing.F) {
	f.Add(`[{"source":"a","log_processing_rules":[{"type":"multi_line","pattern":"b"}]}]`, "a:b,c:d")
	f.Add(`{"env":"x","n":1}`, "k8s.pod.name:x,:y,z")
	f.Fuzz(func(t *testing.T, json, list string) {
		datadogAdvice(json)
		for _, text := range []string{json, list} {
			pairs := tags(map[string]string{annotationTags: list, datadogTags: text})
			for i := 0; i < len(pairs); i += 2 {
				if reserved(pairs[i]) {
					t.Errorf("%q is set by an annotation", pairs[i])
				}
			}
		}
	})
}

func TestWhatOtherRoomsAreTold(t *testing.T) {
	p := podsWith(t, nil, aPod)
	var got *Pod
	p.Each(func(o *Pod) bool { got = o; return true })
	if got.Namespace != "shop" || got.Name != "web-5d-x" || got.UID != "u1" || got.Node != "n1" || got.IP != "10.0.0.7" || got.Phase != "Running" || !got.Ready {
		t.Errorf("%+v", got)
	}
	if len(got.Containers) != 2 || got.Containers[0].ID != "c2" || got.Containers[0].Name != "app" || got.Labels["team"] != "web" || got.NoMetrics() {
		t.Errorf("%+v", got)
	}
	got.Annotations[metricsAnnotation] = "false"
	if !got.NoMetrics() {
		t.Error("causeway.dev/metrics: \"false\" is not heeded")
	}
}

// state samples the pods' state.
func state(t testing.TB, p *Pods) *signal.Batch {
	t.Helper()
	b := &signal.Batch{Kind: signal.Metric}
	if err := (podState{p}).Sample(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPodStateIsOfThePodsThatAreHere(t *testing.T) {
	p := podsWith(t, nil, aPod, strings.NewReplacer("uid: u1", "uid: u2", "web-5d-x", "web-5d-y").Replace(aPod))
	count := func() (series int, pods float64) {
		for _, s := range state(t, p).Samples {
			if s.Series.Desc().Name == signal.KubeObjects {
				pods += s.Value
			}
			series++
		}
		return series, pods
	}
	two, pods := count()
	if pods != 2 || two < 30 {
		t.Errorf("%d series of %v pods", two, pods)
	}
	if err := p.Delete(object[*corev1.Pod](t, aPod)); err != nil {
		t.Fatal(err)
	}
	if one, pods := count(); pods != 1 || one != two/2+1 {
		t.Errorf("%d series of %v pods, after %d", one, pods, two)
	}
}

func TestEnrichmentAllocatesNothing(t *testing.T) {
	p := podsWith(t, nil, aPod)
	set := signal.Labels(signal.LabelContainerID, "c2", signal.LabelDevice, "sda")
	if n := testing.AllocsPerRun(100, func() { p.Labels(set) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var (
	_ interface {
		Labels(string) string
		Version() uint64
	} = (*Pods)(nil)
	_ collect.Sampler = podState{}
)
