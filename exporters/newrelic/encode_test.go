package newrelic

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares lines with their file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", file, got)
	}
}

// forPeople breaks a body of JSON into lines.
func forPeople(body []byte) []byte {
	body = bytes.ReplaceAll(body, []byte("},{\""), []byte("},\n{\""))
	return append(bytes.ReplaceAll(body, []byte(":[{\""), []byte(":[\n{\"")), '\n')
}

// list writes what an intake read, one item a line.
func list[T any](t *testing.T, items []T) []byte {
	t.Helper()
	var w bytes.Buffer
	for _, item := range items {
		p, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		w.Write(append(p, '\n'))
	}
	return w.Bytes()
}

func parse(t testing.TB, kind signal.Kind, text string) *signal.Batch {
	t.Helper()
	b, err := signal.Parse(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t *testing.T, kind signal.Kind, name string) *signal.Batch {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, kind, string(text))
}

func config(api string) Config {
	c := Default()
	c.API, c.LicenseKey = api, "0123abcd"
	return c
}

func tagged(api string) Config {
	c := config(api)
	c.Tags = []string{"env:test", "team:Node Agents", "deployment.environment.name:test"}
	return c
}

// readAs reads a body; an item that New Relic would drop is an error.
func readAs(api string, kind signal.Kind, body []byte) (metrics []nrintake.Metric, logs []nrintake.Log, events []nrintake.Event, err error) {
	var bad []error
	in := nrintake.Intake{}
	switch {
	case kind == signal.Metric && api == "otlp":
		metrics, bad, err = in.OTLPMetrics(body)
	case kind == signal.Metric:
		metrics, bad, err = in.Metrics(body)
	case api == "otlp":
		logs, events, bad, err = in.OTLPLogs(body)
	case kind == signal.Log:
		logs, bad, err = in.Logs(body)
	default:
		events, bad, err = in.Events(body)
	}
	return metrics, logs, events, errors.Join(err, errors.Join(bad...))
}

// take encodes all of a batch and reads it; nothing may be wrong.
func take(t testing.TB, c Config, b *signal.Batch) (metrics []nrintake.Metric, logs []nrintake.Log, events []nrintake.Event, body []byte, skipped int) {
	t.Helper()
	make, api := Metrics, c.API
	switch b.Kind {
	case signal.Log:
		make = Logs
	case signal.Event:
		make = Events
		if c.AccountID != 0 {
			api = "sdk"
		}
	}
	body, next, skipped := make("t", c, nil).Encode(nil, b, 0, b.Len())
	if next != b.Len() {
		t.Fatalf("next %d of %d", next, b.Len())
	}
	if skipped == b.Len() {
		return
	}
	var err error
	if metrics, logs, events, err = readAs(api, b.Kind, body); err != nil {
		t.Fatalf("%v %v: %q\n%v", c.API, b.Kind, body[:min(len(body), 2000)], err)
	}
	return metrics, logs, events, body, skipped
}

func TestGolden(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		m, _, _, body, skipped := take(t, tagged(api), read(t, signal.Metric, "metrics"))
		if skipped != 3 {
			t.Errorf("%s: skipped %d", api, skipped)
		}
		_, l, _, lines, skipped := take(t, tagged(api), read(t, signal.Log, "logs"))
		if skipped != 0 {
			t.Errorf("%s: skipped %d lines", api, skipped)
		}
		_, _, e, events, skipped := take(t, tagged(api), read(t, signal.Event, "events"))
		if skipped != 0 {
			t.Errorf("%s: skipped %d events", api, skipped)
		}
		if api == "sdk" {
			golden(t, "sdk-metrics", forPeople(body))
			golden(t, "sdk-logs", forPeople(lines))
			golden(t, "sdk-events", forPeople(events))
			continue
		}
		golden(t, "otlp-metrics", list(t, m))
		golden(t, "otlp-logs", list(t, l))
		golden(t, "otlp-events", list(t, e))
	}
}

// What New Relic makes of the golden batch.
func TestEntities(t *testing.T) {
	b := read(t, signal.Metric, "metrics")
	m, _, _, _, _ := take(t, tagged("otlp"), b)
	var got strings.Builder
	for _, e := range nrintake.Entities(m) {
		fmt.Fprintln(&got, e)
	}
	const want = `CONTAINER prod:default:web-0:app app
EXT-SERVICE web web
HOST n1 n1
KUBERNETESCLUSTER prod prod
KUBERNETES_DAEMONSET prod:default:agent agent
KUBERNETES_DEPLOYMENT prod:default:web web
KUBERNETES_NAMESPACE prod:default default
KUBERNETES_POD prod:default:web-0 web-0
`
	if got.String() != want {
		t.Errorf("by OTLP:\n%s\nwant\n%s", got.String(), want)
	}
	_, _, events, _, _ := take(t, tagged("otlp"), read(t, signal.Event, "events"))
	if got := fmt.Sprint(nrintake.EventEntities(events)); got != "[KUBERNETES_POD prod:default:web-1 web-1]" {
		t.Errorf("events: %s", got)
	}
	m, _, _, _, _ = take(t, tagged("sdk"), b)
	if e := nrintake.Entities(m); len(e) != 0 {
		t.Errorf("the Metric API makes no entities, and these would be half ones: %v", e)
	}
}

// show says what of the points matters here.
func show(metrics []nrintake.Metric) string {
	var parts []string
	for _, m := range metrics {
		s := m.Name
		var keys []string
		for k := range m.Attributes {
			if k != "instrumentation.provider" && k != "newrelic.source" && k != "otel.library.name" {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			s += fmt.Sprintf(" %s=%v", k, m.Attributes[k])
		}
		s += " " + m.Type
		switch m.Type {
		case "gauge", "count":
			s += fmt.Sprintf(" %v", m.Value)
		case "exponential":
			s += fmt.Sprintf(" n=%v scale=%d %d:%v", m.Count, m.Scale, m.Offset, m.Counts)
		case "histogram":
			s += fmt.Sprintf(" n=%v sum=%v %v:%v", m.Count, m.Sum, m.Bounds, m.Counts)
		default:
			s += fmt.Sprintf(" n=%v sum=%v", m.Count, m.Sum)
			if m.Min != nil {
				s += fmt.Sprintf(" min=%v", *m.Min)
			}
			if m.Max != nil {
				s += fmt.Sprintf(" max=%v", *m.Max)
			}
		}
		if m.Interval != 0 {
			s += fmt.Sprintf(" from %d for %d", m.Time, m.Interval)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// Row by row: the host's names are those that New Relic's pages read.
func TestNames(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		in = strings.ReplaceAll(strings.ReplaceAll(in, "T", "@1700000010000"), "+", "+1 since 1700000000000 ")
		for _, api := range []string{"sdk", "otlp"} {
			m, _, _, _, _ := take(t, config(api), parse(t, signal.Metric, in))
			if got := strings.ReplaceAll(show(m), " from 1700000000000 for 10000", ""); got != want {
				t.Errorf("%s: %s\ngave %s\nwant %s", api, in, got, want)
			}
		}
	}
	f(`system.cpu.utilization{cpu.mode="idle"} gauge 1 0.5 T`, "system.cpu.utilization state=idle gauge 0.5")
	f(`system.cpu.core.time{cpu.logical_number="3",cpu.mode="user"} counter s 9 + T`, "system.cpu.core.time cpu=3 state=user count 1")
	f(`system.memory.usage{system.memory.state="free"} gauge By 1 T`, "system.memory.usage state=free gauge 1")
	f("system.memory.limit gauge By 8 T\nsystem.memory.usage{system.memory.state=\"used\"} gauge By 2 T",
		"system.memory.limit gauge 8; system.memory.utilization state=used gauge 0.25; system.memory.usage state=used gauge 2")
	f("system.paging.limit gauge By 8 T\nsystem.paging.usage{system.paging.state=\"used\"} gauge By 2 T",
		"system.paging.limit gauge 8; system.paging.utilization state=used gauge 0.25; system.paging.usage state=used gauge 2")
	f("system.paging.limit gauge By 0 T\nsystem.paging.usage{system.paging.state=\"used\"} gauge By 0 T",
		"system.paging.limit gauge 0; system.paging.usage state=used gauge 0")
	f("system.filesystem.usage{system.filesystem.state=\"free\"} gauge By 6 T\nsystem.filesystem.usage{system.filesystem.state=\"used\"} gauge By 2 T",
		"system.filesystem.usage state=free gauge 6; system.filesystem.utilization gauge 0.25; system.filesystem.usage state=used gauge 2")
	f(`system.filesystem.usage{system.device="d",system.filesystem.mode="rw",system.filesystem.mountpoint="/",`+
		`system.filesystem.state="reserved",system.filesystem.type="ext4"} gauge By 1 T`,
		"system.filesystem.usage device=d mode=rw mountpoint=/ state=reserved type=ext4 gauge 1")
	f(`system.disk.io{disk.io.direction="read",system.device="sda"} counter By 9 + T`, "system.disk.io device=sda direction=read count 1")
	f(`system.network.io{network.interface.name="eth0",network.io.direction="transmit"} counter By 9 + T`,
		"system.network.io device=eth0 direction=transmit count 1")
	f(`system.network.packet.count{network.interface.name="eth0"} counter - 9 + T`, "system.network.packets device=eth0 count 1")
	f(`system.network.packet.dropped{network.interface.name="eth0"} counter - 9 + T`, "system.network.dropped device=eth0 count 1")
	f(`system.network.connection.count{network.connection.state="listen",network.transport="tcp"} gauge - 1 T`,
		"system.network.connections protocol=tcp state=listen gauge 1")
	f(`system.paging.faults{system.paging.fault.type="major"} counter - 9 + T`, "system.paging.faults type=major count 1")
	f(`system.paging.operations{system.paging.direction="in"} counter - 9 + T`, "system.paging.operations direction=in count 1")
	f(`system.process.count{process.state="running"} gauge - 1 T`, "system.processes.count status=running gauge 1")
	f(`system.process.created counter - 9 + T`, "system.processes.created count 1")
	f("container.cpu.usage{k8s.container.name=\"a\"} gauge - 1 T\ncontainer.cpu.limit{k8s.container.name=\"a\"} gauge - 4 T",
		"k8s.container.cpu_limit_utilization k8s.container.name=a gauge 0.25; "+
			"container.cpu.usage k8s.container.name=a gauge 1; container.cpu.limit k8s.container.name=a gauge 4")
	f("container.cpu.usage{container.id=\"a\"} gauge - 1 T\ncontainer.cpu.limit{container.id=\"a\"} gauge - 4 T",
		"container.cpu.usage container.id=a gauge 1; container.cpu.limit container.id=a gauge 4")
	f(`container.network.io{network.interface.name="eth0",network.io.direction="receive"} counter - 9 + T`,
		"container.network.io direction=receive interface=eth0 count 1")
	f(`system.uptime{k8s.cluster.name="c",team="x"} gauge s 5 T`, "k8s.cluster.info k8s.cluster.name=c gauge 1; system.uptime k8s.cluster.name=c team=x gauge 5")

	// service.name would make a service of a host or a pod.
	f(`system.uptime{service.name="s"} gauge s 5 T`, "system.uptime service=s gauge 5")
	f(`kube_pod_info{k8s.pod.name="p",service.name="s"} gauge - 1 T`, "kube_pod_info k8s.pod.name=p service=s gauge 1")
	f(`app.up{k8s.pod.name="p",service.name="s"} gauge - 1 T`, "app.up k8s.pod.name=p service.name=s gauge 1")
	// Keys that mean something else there, and keys that come to the same.
	f(`app.up{app.up="x",sum="y",timestamp="z"} gauge - 1 T`, "app.up attr.app.up=x attr.sum=y attr.timestamp=z gauge 1")
	f(`app.up{attr.sum="x",sum="y"} gauge - 1 T`, "app.up attr.sum=x gauge 1")
	f(`system.network.io{device="mine",network.interface.name="eth0"} counter - 9 + T`, "system.network.io device=mine count 1")
	f(`app.up{type="x"} gauge - 1 T`+"\n"+`app.up{type="x"} gauge - 2 T`+"\n"+`type{type="x"} gauge - 3 T`,
		"app.up type=x gauge 1; app.up type=x gauge 2; type attr.type=x gauge 3")
	f(`host.name{host.name="x"} gauge - 1 T`, "")
}

// Identity, row by row: the attribute that an entity is made or tagged by, and
// the tag, which is called after the field of New Relic's own K8s…Samples
// (nri-kubernetes' field names) that says the same.
func TestIdentity(t *testing.T) {
	for _, row := range [][3]string{
		{signal.LabelCluster, "k8s.cluster.name", "k8s.clusterName"},
		{signal.LabelNamespace, "k8s.namespace.name", "k8s.namespaceName"},
		{signal.LabelNode, "k8s.node.name", "k8s.nodeName"},
		{signal.LabelPod, "k8s.pod.name", "k8s.podName"},
		{signal.LabelK8sContainer, "k8s.container.name", "k8s.containerName"},
		{signal.LabelDeployment, "k8s.deployment.name", "k8s.deploymentName"},
		{signal.LabelDaemonSet, "k8s.daemonset.name", "k8s.daemonsetName"},
		{signal.LabelStatefulSet, "k8s.statefulset.name", "k8s.statefulsetName"},
		{signal.LabelReplicaSet, "k8s.replicaset.name", "k8s.replicasetName"},
		{signal.LabelJob, "k8s.job.name", "k8s.jobName"},
		{signal.LabelCronJob, "k8s.cronjob.name", "k8s.cronjobName"},
		{signal.LabelHost, "host.name", ""},
		{signal.LabelHostID, "host.id", ""},
		{signal.LabelContainerID, "container.id", ""},
		{signal.LabelImage, "container.image.name", ""},
		{signal.LabelEnv, "deployment.environment.name", ""},
		{signal.LabelVersion, "service.version", ""},
		{signal.LabelCloudProvider, "cloud.provider", ""},
		{signal.LabelCloudProject, "cloud.account.id", ""},
		{signal.LabelCloudRegion, "cloud.region", ""},
		{signal.LabelCloudZone, "cloud.availability_zone", ""},
	} {
		for _, name := range []string{"system.uptime", "container.uptime", "kube_pod_info", "app.up"} {
			if got := attribute(familyOf(name), row[0]); got != row[1] || !isResource(got) {
				t.Errorf("%s of %s became %s, want %s", row[0], name, got, row[1])
			}
		}
		parts := strings.Split(row[1], ".")
		if tag := "k8s." + parts[1] + "Name"; row[2] != "" && tag != row[2] {
			t.Errorf("%s is tagged %s", row[1], row[2])
		}
	}
}

// What is shared between points, or copied from the one before, is only what they share.
func TestNeighbours(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		for i, api := range []string{"sdk", "otlp"} {
			m, _, _, _, _ := take(t, config(api), parse(t, signal.Metric, in))
			if got := show(m); got != want[min(i, len(want)-1)] {
				t.Errorf("%s: %s\ngave %s\nwant %s", api, in, got, want[min(i, len(want)-1)])
			}
		}
	}
	f("type{type=\"x\"} gauge - 3 @9000\napp.up{type=\"x\"} gauge - 1 @9000", "type attr.type=x gauge 3; app.up type=x gauge 1")
	f("a_b{a-b=\"x\"} gauge - 3 @9000\nb{a-b=\"x\"} gauge - 1 @9000\na_b{a-b=\"x\"} gauge - 3 @9000",
		"a_b gauge 3; b a_b=x gauge 1; a_b gauge 3", "a_b a-b=x gauge 3; b a-b=x gauge 1; a_b a-b=x gauge 3")
	f("a{x=\"y\"} counter - 9 +1 since 1000 @9000\nb{x=\"y\"} counter - 9 +1 since 1000 @5000\nc{x=\"y\"} counter - 9 +1 since 4000 @9000",
		"a x=y count 1 from 1000 for 8000; b x=y count 1 from 1000 for 4000; c x=y count 1 from 4000 for 5000")
	f("a{x=\"y\"} dist - 0 @9000 from 1000 hist (count=1 sum=1 min=1 max=1)\nb{x=\"y\"} gauge - 1 @9000",
		"a x=y summary n=1 sum=1 min=1 max=1 from 1000 for 8000; b x=y gauge 1",
		"a x=y histogram n=1 sum=1 []:[] from 1000 for 8000; b x=y gauge 1")
	f("system.load{host.name=\"n\",service.name=\"s\"} gauge - 1 @9000\n"+
		"app{host.name=\"n\",service.name=\"s\"} gauge - 2 @9000\nsystem.load{host.name=\"n\",service.name=\"s\"} gauge - 3 @9000",
		"system.load host.id=n host.name=n service=s gauge 1; app host.name=n service.name=s gauge 2; system.load host.id=n host.name=n service=s gauge 3")
	f("a{k8s.pod.name=\"p\",x=\"1\"} gauge - 1 @9000\na{k8s.pod.name=\"q\",x=\"1\"} gauge - 2 @9000\na{x=\"1\"} gauge - 3 @9000",
		"a k8s.pod.name=p x=1 gauge 1; a k8s.pod.name=q x=1 gauge 2; a x=1 gauge 3")
}

// A tag of the configuration never stands beside a label that came to its key.
func TestTagsYield(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		c := config(api)
		c.Tags = []string{"service:mine", "host.id:mine", "hostname:mine", "title:mine", "env:mine", "zone:mine", "zone:last"}
		m, _, _, _, _ := take(t, c, parse(t, signal.Metric, `system.uptime{env="own",host.name="n",service.name="s"} gauge s 5 @9000`))
		if got := show(m); got != "system.uptime env=own host.id=n host.name=n hostname=mine service=s title=mine zone=last gauge 5" {
			t.Errorf("%s: %s", api, got)
		}
		_, l, _, _, _ := take(t, c, parse(t, signal.Log, "log {host.name=\"n\"} \"f\" 0..1\n @1 6 \"x\" {}"))
		if a := l[0].Attributes; a["hostname"] != "n" || a["host.id"] != "mine" || a["zone"] != "last" {
			t.Errorf("%s: %v", api, a)
		}
		_, _, e, _, _ := take(t, c, parse(t, signal.Event, `event @1 6 "kubernetes" "" "t" "" {k8s.pod.name="p",service.name="s"} count=1`))
		if a := e[0].Attributes; a["title"] != "t" || a["attr.title"] != "mine" || a["zone"] != "last" {
			t.Errorf("%s: %v", api, a)
		}
	}
}

// Labels of pods have keys that the Metric API does not take: each arrives all the same.
func TestManyKeysAreMended(t *testing.T) {
	var pairs []string
	for i := range 30 {
		pairs = append(pairs, fmt.Sprintf("k8s.pod.label.example.com/a-%d", i), "v", fmt.Sprintf("b-%d", i), "v")
	}
	b := &signal.Batch{Kind: signal.Metric}
	b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "up", Type: signal.Gauge, Labels: signal.Labels(pairs...)}), Time: 1})
	m, _, _, _, _ := take(t, config("sdk"), b)
	if n := len(m[0].Attributes); n != 62 || m[0].Attributes["k8s.pod.label.example.com_a_29"] != "v" || m[0].Attributes["b_29"] != "v" {
		t.Errorf("%d attributes: %v", n, show(m))
	}
}

func TestPairs(t *testing.T) {
	for k := range 300 {
		for _, v := range []int{0, 1, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 200, 300, 16383, 16384} {
			key, value := strings.Repeat("k", k), strings.Repeat("v", v)
			msg := field(appendPair(nil, 0x0a, key[:k/2], key[k/2:], value), 1)
			if string(field(msg, 1)) != key || string(field(field(msg, 2), 1)) != value {
				t.Fatalf("a key of %d and a value of %d bytes: %q", k, v, msg)
			}
		}
	}
}

func TestHostHasAnID(t *testing.T) {
	f := func(in, id string) {
		t.Helper()
		m, _, _, _, _ := take(t, config("otlp"), parse(t, signal.Metric, in))
		if got, _ := m[0].Attributes["host.id"].(string); got != id {
			t.Errorf("%s has host.id %q", in, got)
		}
	}
	f(`system.uptime{host.name="n"} gauge s 5 @1`, "n")
	f(`system.uptime{host.id="i",host.name="n"} gauge s 5 @1`, "i")
	f(`app.up{host.name="n"} gauge s 5 @1`, "")
	f(`k8s.node.uptime{host.name="n"} gauge s 5 @1`+"\n"+`system.uptime{host.name="n"} gauge s 5 @1`, "n") // one group
}

func TestTypes(t *testing.T) {
	f := func(in, sdk, otlp string) {
		t.Helper()
		for api, want := range map[string]string{"sdk": sdk, "otlp": otlp} {
			m, _, _, _, _ := take(t, config(api), parse(t, signal.Metric, in))
			if got := show(m); got != want {
				t.Errorf("%s: %s\ngave %s\nwant %s", api, in, got, want)
			}
		}
	}
	both := func(in, want string) { t.Helper(); f(in, want, want) }
	const iv = " @1700000010000 from 1700000000000 hist "
	both("a gauge - 1.5 @1700000010000 from 5", "a gauge 1.5")
	both("a gauge - NaN @1700000010000", "")
	both("a counter - 9 @1700000010000 from 5", "") // the first sample has no increase
	both("a counter - 9 +2 since 1700000000000 @1700000010000", "a count 2 from 1700000000000 for 10000")
	both("a counter - 9 +2 since 1700000010000 @1700000010000", "")
	both("a delta - 3 @1700000010000 from 1700000000000", "a count 3 from 1700000000000 for 10000")
	both("a delta - 3 @1700000010000", "a count 3 from 1700000009000 for 1000")
	both("a delta - -3 @1700000010000 from 1700000000000", "") // a count is not negative
	f("a dist - 0"+iv+"(count=4 sum=10 min=1 max=4)", "a summary n=4 sum=10 min=1 max=4 from 1700000000000 for 10000",
		"a histogram n=4 sum=10 []:[] from 1700000000000 for 10000")
	f("a dist - 0"+iv+"(count=0 sum=0 min=NaN max=NaN bounds=[1] counts=[0 0])", "a summary n=0 sum=0 from 1700000000000 for 10000",
		"a histogram n=0 sum=0 [1]:[0 0] from 1700000000000 for 10000")
	f("a dist - 0"+iv+"(count=10 sum=30 min=NaN max=NaN bounds=[1 2] counts=[5 4 1])",
		"a summary n=10 sum=30 from 1700000000000 for 10000; "+
			"a.percentiles percentile=50 gauge 1; a.percentiles percentile=95 gauge 2; a.percentiles percentile=99 gauge 2",
		"a histogram n=10 sum=30 [1 2]:[5 4 1] from 1700000000000 for 10000")
	f("a dist - 0"+iv+"(count=1 sum=1 min=1 max=1 scale=0 zero=0 width=0 pos=0:[1] neg=0:[])",
		"a summary n=1 sum=1 min=1 max=1 from 1700000000000 for 10000; "+
			"a.percentiles percentile=50 gauge 1; a.percentiles percentile=95 gauge 1; a.percentiles percentile=99 gauge 1",
		"a exponential n=1 scale=0 0:[1] from 1700000000000 for 10000")
	f("a dist - 0"+iv+"(count=2 sum=3 min=NaN max=NaN q=[0.5:1 0.999:2 7:1])",
		"a summary n=2 sum=3 from 1700000000000 for 10000; a.percentiles percentile=50 gauge 1; a.percentiles percentile=99.9 gauge 2",
		"a histogram n=2 sum=3 []:[] from 1700000000000 for 10000; a.percentiles percentile=50 gauge 1; a.percentiles percentile=99.9 gauge 2")
	both("a dist - 0"+iv+"(count=2 sum=NaN min=NaN max=NaN)", "")
	f("a cumdist - 0 +0 since 1700000000000 @1700000010000 hist (count=9 sum=20 min=NaN max=NaN bounds=[1] counts=[9 0] since=(count=2 sum=1 min=NaN max=NaN))",
		"a summary n=2 sum=1 from 1700000000000 for 10000", "a histogram n=2 sum=1 []:[] from 1700000000000 for 10000")
	// Buckets that New Relic would refuse the point for.
	for _, bad := range []string{"count=3 sum=1 min=1 max=1 bounds=[1] counts=[1 1]", "count=3 sum=1 min=1 max=1 bounds=[2 1] counts=[1 1 1]",
		"count=3 sum=1 min=1 max=1 bounds=[1 NaN] counts=[1 1 1]",
		"count=3 sum=1 min=1 max=1 scale=0 zero=0 width=0 pos=0:[1] neg=0:[]", "count=3 sum=1 min=1 max=1 scale=0 zero=0 width=0 pos=2147483647:[3] neg=0:[]"} {
		f("a dist - 0"+iv+"("+bad+")", "a summary n=3 sum=1 min=1 max=1 from 1700000000000 for 10000", "a histogram n=3 sum=1 []:[] from 1700000000000 for 10000")
	}
	both("a cumdist - 0 @1700000010000 hist (count=9 sum=20 min=NaN max=NaN bounds=[1] counts=[9 0])", "")
}

// Above 160 buckets the resolution is halved, until they fit; no value is lost.
func TestExponentialHistogramsAreDownscaled(t *testing.T) {
	f := func(offset int32, counts []uint64, scale, wantOffset int32, first, last uint64, size int) {
		t.Helper()
		h := &signal.Hist{Exponential: true, Scale: 7, Pos: signal.Buckets{Offset: offset, Counts: counts}, Min: math.NaN(), Max: math.NaN()}
		for _, n := range counts {
			h.Count += n
		}
		b := &signal.Batch{Kind: signal.Metric}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "a", Type: signal.Dist}), Start: 1, Time: 10, Hist: h})
		m, _, _, _, _ := take(t, config("otlp"), b) // which adds the buckets up
		got := m[0]
		if got.Scale != scale || got.Offset != wantOffset || len(got.Counts) != size || got.Counts[0] != first || got.Counts[size-1] != last {
			t.Errorf("%d buckets from %d: scale %d, %d buckets from %d: %v", len(counts), offset, got.Scale, len(got.Counts), got.Offset, got.Counts)
		}
	}
	ones := func(n int) []uint64 { return slices.Repeat([]uint64{1}, n) }
	f(0, ones(160), 7, 0, 1, 1, 160)
	f(0, ones(161), 6, 0, 2, 1, 81)
	f(-161, ones(322), 5, -41, 1, 1, 82)
	f(-1, ones(320), 5, -1, 1, 3, 81)
	f(3, append(make([]uint64, 1000), 5), 7, 1003, 5, 5, 1)
	f(3, slices.Concat([]uint64{5}, make([]uint64, 1000), []uint64{6}, make([]uint64, 1000)), 4, 0, 5, 6, 126)
}

func TestShow(t *testing.T) {
	m := parse(t, signal.Metric, `app.up{host.name="n"} gauge s 5 @1700000010000`)
	l := parse(t, signal.Log, "log {} \"f\" 0..1\n @1 6 \"hello\" {}")
	f := func(api string, b *signal.Batch, want string) {
		t.Helper()
		make := Metrics
		if b.Kind == signal.Log {
			make = Logs
		}
		e := make("n", config(api), nil)
		body, _, _ := e.Encode(nil, b, 0, 1)
		if got := e.(interface{ Show([]byte) string }).Show(body); !strings.Contains(got, want) {
			t.Errorf("%s: %s", api, got)
		}
	}
	f("sdk", m, `{"name":"app.up","type":"gauge","value":5}`)
	f("otlp", m, `"name": "app.up"`)
	f("otlp", m, `"asDouble": 5`)
	f("otlp", l, `"stringValue": "hello"`)
	if got := Metrics("n", config("otlp"), nil).(interface{ Show([]byte) string }).Show([]byte("\xff")); got != `"\xff"` {
		t.Errorf("no message: %s", got)
	}
}
