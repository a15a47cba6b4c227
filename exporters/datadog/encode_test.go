package datadog

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares bodies with their file, one a line.
func golden(t *testing.T, name string, bodies ...[]byte) {
	t.Helper()
	got := append(bytes.Join(bodies, []byte("\n")), '\n')
	got = bytes.ReplaceAll(got, []byte("},{\""), []byte("},\n{\"")) // for people; in none of our texts
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

func read(t *testing.T, kind signal.Kind, name string) *signal.Batch {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, kind, string(text))
}

func tagged() Config {
	c := Default()
	c.Tags = []string{"env:test", "Team:Node Agents"}
	return c
}

func TestGolden(t *testing.T) {
	m := read(t, signal.Metric, "metrics")
	body, next, skipped := Metrics("t", tagged(), nil).Encode(nil, m, 0, m.Len())
	if _, err := (ddintake.Intake{}).Series(body); err != nil || next != m.Len() || skipped != 2 {
		t.Errorf("next %d of %d, skipped %d, %v", next, m.Len(), skipped, err)
	}
	golden(t, "metrics", body)

	l := read(t, signal.Log, "logs")
	body, next, skipped = Logs("t", tagged(), nil).Encode(nil, l, 0, l.Len())
	if _, err := (ddintake.Intake{}).Logs(body); err != nil || next != l.Len() || skipped != 0 {
		t.Errorf("next %d of %d, skipped %d, %v", next, l.Len(), skipped, err)
	}
	golden(t, "logs", body)

	v := read(t, signal.Event, "events")
	var bodies [][]byte
	e := Events("t", tagged(), nil)
	for lo := 0; lo < v.Len(); lo = next {
		body, next, _ = e.Encode(nil, v, lo, v.Len())
		var err error
		if body[0] == '[' {
			_, err = ddintake.Intake{}.Checks(body)
		} else {
			_, err = ddintake.Intake{}.Event(body)
		}
		if err != nil {
			t.Error(err)
		}
		bodies = append(bodies, body)
	}
	golden(t, "events", bodies...)
}

func TestTags(t *testing.T) {
	f := func(key, value, want string) {
		t.Helper()
		got := string(appendTag(nil, key, value))
		if got != want || got != "" && ddintake.CheckTags([]string{got}) != nil {
			t.Errorf("%q, %q gave %q, want %q", key, value, got, want)
		}
	}
	f("env", "prod", "env:prod")
	f("Env", "PROD", "env:prod")
	f("team", "Node Agents!", "team:node_agents")
	f("a", "b  c", "a:b_c")
	f("a", "_b", "a:_b")
	f("a", "b_", "a:b")
	f("a", "b:", "a:b")
	f("a", ":", "")
	f("a", "!", "")
	f("a", "", "")
	f("", "b", "")
	f("1a", "b", "a:b")
	f("_a", "b", "a:b")
	f("_1", "b", "")
	f("k8s.io/name", "x", "k8s.io/name:x")
	f("a:b", "c:d", "a_b:c:d")
	f("url", "http://x/y-z.w", "url:http://x/y-z.w")
	f("город", "Москва", "город:москва")
	f("a", "x\xffy", "a:x_y")
	f("a", "✓ok", "a:_ok")
	f("a", strings.Repeat("b", 300), "a:"+strings.Repeat("b", 198))
	f("a", strings.Repeat("ж", 300), "a:"+strings.Repeat("ж", 198))
	f("a", strings.Repeat("b", 197)+"_b", "a:"+strings.Repeat("b", 197))
	f(strings.Repeat("k", 300), "b", "")
	f(strings.Repeat("k", 198), "bcd", strings.Repeat("k", 198)+":b")
}

// Our labels and what Datadog groups by (the label map of its Kubernetes checks).
func TestLabels(t *testing.T) {
	f := func(want string, pairs ...string) {
		t.Helper()
		g := tagger{shut: ",", own: ownTags([]string{"env:test", "team:x"})}
		got := strings.TrimSuffix(string(g.append(nil, signal.Labels(pairs...), style{}, new(memo))), ",team:x,")
		if got != want {
			t.Errorf("%q gave\n%s, want\n%s", pairs, got, want)
		}
	}
	f("kube_namespace:n,env:test", "k8s.namespace.name", "n")
	f("pod_name:n,env:test", "k8s.pod.name", "n")
	f("kube_job:n,env:test", "k8s.job.name", "n")
	f("kube_cronjob:n,env:test", "k8s.cronjob.name", "n")
	f("kube_daemon_set:n,env:test", "k8s.daemonset.name", "n")
	f("kube_replica_set:n,env:test", "k8s.replicaset.name", "n")
	f("kube_stateful_set:n,env:test", "k8s.statefulset.name", "n")
	f("kube_deployment:n,env:test", "k8s.deployment.name", "n")
	f("kube_container_name:n,env:test", "k8s.container.name", "n")
	f("container_id:n,env:test", "container.id", "n")
	f("container_name:n,env:test", "container.name", "n")
	f("short_image:nginx,image_name:docker.io/library/nginx,env:test", "container.image.name", "docker.io/library/nginx")
	f("image_tag:n,env:test", "container.image.tag", "n")
	f("kube_region:n,env:test", "cloud.region", "n")
	f("kube_zone:n,env:test", "cloud.availability_zone", "n")
	f("cluster_name:n,kube_cluster_name:n,env:test", "k8s.cluster.name", "n")
	f("kube_node:n,env:test", "k8s.node.name", "n")
	f("env:prod", "deployment.environment.name", "prod")
	f("service:n,env:test", "service.name", "n")
	f("version:n,env:test", "service.version", "n")
	f("kube_deployment:w,env:test", "k8s.workload.kind", "Deployment", "k8s.workload.name", "w")
	f("kube_deployment:w,env:test", "k8s.workload.kind", "Deployment", "k8s.workload.name", "w", "k8s.deployment.name", "w")
	f("kube_workload:w,env:test", "k8s.workload.kind", "Rollout", "k8s.workload.name", "w")
	f("env:test", "host.name", "n", "host.id", "i")
	f("host_id:i,env:test", "host.id", "i")
	f("pod_name:p,env:test", "k8s.pod.name", "p", "k8s.pod.uid", "u")
	f("exported_host:n,env:test", "host", "n")
	f("env:test", "empty", "", "odd", "!")
	many := tagger{shut: ","}
	var pairs []string
	for i := range 150 {
		pairs = append(pairs, "k"+strings.Repeat("x", i), "v")
	}
	if got := strings.Count(string(many.append(nil, signal.Labels(pairs...), style{}, new(memo))), ","); got != 100 {
		t.Errorf("%d tags", got)
	}
}

func TestHistograms(t *testing.T) {
	f := func(in, want string, skips int) {
		t.Helper()
		list, skipped := encode(t, "native", parse(t, signal.Metric, in))
		if got := strings.ReplaceAll(show(list), "\n", "; "); got != want || skipped != skips {
			t.Errorf("%s\nskipped %d, got\n%s\nwant\n%s", in, skipped, got, want)
		}
	}
	const iv = " @1700000010000 from 1700000000000 hist "
	f(`d dist - 0`+iv+`(count=4 sum=10 min=1 max=4)`, "d.count count 4/10s; d.sum count 10/10s; d.min gauge 1; d.max gauge 4; d.avg gauge 2.5", 0)
	f(`d dist - 0`+iv+`(count=0 sum=0 min=NaN max=NaN)`, "d.count count 0/10s; d.sum count 0/10s", 0)
	f(`d dist - 0`+iv+`(count=10 sum=30 min=NaN max=NaN bounds=[1 2] counts=[5 4 1])`,
		"d.count count 10/10s; d.sum count 30/10s; d.avg gauge 3; d.median gauge 1; d.95percentile gauge 2; d.99percentile gauge 2", 0)
	f(`d dist - 0`+iv+`(count=1 sum=8 min=8 max=NaN bounds=[10] counts=[1 0])`,
		"d.count count 1/10s; d.sum count 8/10s; d.min gauge 8; d.avg gauge 8; d.median gauge 8; d.95percentile gauge 9.5; d.99percentile gauge 9.9", 0)
	f(`d dist s 0`+iv+`(count=1 sum=1 min=1 max=1 scale=0 zero=0 width=0 pos=0:[1] neg=0:[])`,
		"d.count count 1/10s; d.sum count 1/10s second; d.min gauge 1 second; d.max gauge 1 second; d.avg gauge 1 second; d.median gauge 1 second; d.95percentile gauge 1 second; d.99percentile gauge 1 second", 0)
	f(`d dist - 0`+iv+`(count=2 sum=3 min=NaN max=NaN q=[0.5:1 0.999:2])`,
		"d.count count 2/10s; d.sum count 3/10s; d.avg gauge 1.5; d.median gauge 1; d.99.9percentile gauge 2", 0)
	f(`d cumdist - 0 +0 since 1700000000000 @1700000010000 hist (count=9 sum=20 min=NaN max=NaN bounds=[1] counts=[9 0] since=(count=2 sum=1 min=NaN max=NaN bounds=[1] counts=[2 0]))`,
		"d.count count 2/10s; d.sum count 1/10s; d.avg gauge 0.5; d.median gauge 0.5; d.95percentile gauge 0.95; d.99percentile gauge 0.99", 0)
	f(`d cumdist - 0 @1700000010000 hist (count=9 sum=20 min=NaN max=NaN bounds=[1] counts=[9 0])`, "", 1)
}

// A line above 1 MB is cut, at a character, and takes nothing else down.
func TestLongLinesAreCut(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", 2_000_000), strings.Repeat("\x01", 1_000_000), strings.Repeat("ж", 1_000_000), strings.Repeat("\xff", 1_000_000), strings.Repeat(`"`, 1_000_000)} {
		b := &signal.Batch{Kind: signal.Log}
		blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels("host.name", "n1"))}
		attrs := []byte(signal.Labels("k", text, "message", "not this one", "status", "mine", "z", "last"))
		blk.Append(1e18, 6, []byte("before"), nil)
		blk.Append(1e18, 6, []byte(text), attrs)
		blk.Append(1e18, 6, []byte("after"), nil)
		b.Logs = append(b.Logs, blk)
		body, next, skipped := Logs("t", Default(), nil).Encode(nil, b, 0, 3)
		items, err := ddintake.Intake{}.Logs(body)
		if err != nil || next != 3 || skipped != 0 {
			t.Fatalf("next %d, skipped %d, %v", next, skipped, err)
		}
		if m := items[1]["message"].(string); items[0]["message"] != "before" || items[2]["message"] != "after" || len(m) < 10_000 || strings.Trim(m, text[:2]+"\ufffd") != "" {
			t.Errorf("%.10q: %d bytes of it were kept", text, len(m))
		}
		if len(body) < 900_000 || items[1]["status"] != "info" {
			t.Errorf("%.10q: body of %d bytes, status %v", text, len(body), items[1]["status"])
		}
	}
}

// Checks share a request if they are of one second; an event has its own.
func TestEventsPerRequest(t *testing.T) {
	b := parse(t, signal.Event, `
event @1000000000 - "probe" "" "" "" {} count=0 check="a" status=0
event @1999999999 - "probe" "" "" "" {} count=0 check="1" status=0
event @1999999999 - "probe" "" "" "" {} count=0 check="b" status=9
event @2000000000 - "probe" "" "" "" {} count=0 check="c" status=1
event @2000000000 - "x" "" "" "" {} count=0
event @2000000000 - "x" "" "t" "" {} count=0
event @2000000000 - "x" "" "" "u" {} count=0
event @2000000000 - "x" "" "" "" {} count=0
`)
	e := Events("t", Default(), nil)
	var got [][2]int
	for lo := 0; lo < b.Len(); {
		_, next, skipped := e.Encode(nil, b, lo, b.Len())
		got = append(got, [2]int{next, skipped})
		lo = next
	}
	if want := [][2]int{{3, 1}, {4, 0}, {6, 1}, {7, 0}, {8, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	hists := parse(t, signal.Metric, "a dist - 0 @1 hist (count=2 sum=3 min=NaN max=NaN q=[0.5:1 0.999:2])\nb dist - 0 @1 hist (count=1 sum=1 min=1 max=1 bounds=[1] counts=[1 0])")
	for _, c := range []struct {
		e exporters.Exporter
		b *signal.Batch
	}{
		{Metrics("m", tagged(), nil), hostBatch()}, {Metrics("m", tagged(), nil), ownBatch(100)}, {Metrics("m", tagged(), nil), kubeBatch(3)},
		{Metrics("m", tagged(), nil), hists}, {Logs("l", tagged(), nil), logBatch(100)},
	} {
		dst, _, _ := c.e.Encode(nil, c.b, 0, c.b.Len())
		if n := testing.AllocsPerRun(10, func() { c.e.Encode(dst[:0], c.b, 0, c.b.Len()) }); n > 0 {
			t.Errorf("%v: %v allocations for %d items", c.e.Kind(), n, c.b.Len())
		}
	}
}

// encoding/json reads back what it would have read of its own.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "\x00\x1f\n\r\t\x7f", "<&>", "ж✓\U0001f600", "\xff\xc3(\xed\xa0\x80", "12345678\"", "1234567\x80", "\u2028"} {
		f.Add(s, 12)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		want := strings.ToValidUTF8(s, "\ufffd")
		if own, err := json.Marshal(s); err != nil || json.Unmarshal(own, &want) != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != want {
			t.Fatalf("%q read back as %q: %v", s, got, err)
		}
		most = 2 + (most&0xff+0x100)&0xff
		cut, whole := appendUpTo([]byte("x"), s, most)
		if err := json.Unmarshal(cut[1:], &got); err != nil || len(cut)-1 > most || !strings.HasPrefix(want, got) || whole != (got == want) && s != "" {
			t.Fatalf("%q in %d bytes: %q, whole %v, %v", s, most, cut, whole, err)
		}
	})
}

func FuzzTag(f *testing.F) {
	f.Add("env", "prod")
	f.Add("Ünï", "_ __::\xff")
	f.Fuzz(func(t *testing.T, key, value string) {
		tag := string(appendTag(nil, key, value))
		if name := string(appendName(nil, key)); name != "" && !ddintake.GoodName(name) {
			t.Errorf("name %q", name)
		}
		if tag == "" || strings.HasPrefix(tag, "host:") {
			return
		}
		if !utf8.ValidString(tag) || ddintake.CheckTags([]string{tag}) != nil {
			t.Errorf("%q, %q gave %q: %v", key, value, tag, ddintake.CheckTags([]string{tag}))
		}
	})
}

// A body of many samples says of each what a body of its own says of it.
func TestWhatWasWrittenBeforeChangesNothing(t *testing.T) {
	b := kubeBatch(3)
	b.Samples = append(b.Samples, hostBatch().Samples...)
	b.Samples = append(b.Samples, ownBatch(50).Samples...)
	for i, set := range []string{"a=1,b=2,z=3", "a=1,b=2,z=3", "a=1,c=2", "a=1,b=2,team=x", "a=1,b=2,team=y", "a=1,b=2", "", "a=1", "é=É,b= _ ,c=_", "é=É,b= _ ,c=_", "é=É,b= _ ,d=9", "a=1,b=1", "a=1,b=2", "a=1,b=_", "a=2,b=_", "k8s.pod.name=p,k8s.pod.uid=u,a=1", "k8s.pod.name=p,k8s.pod.uid=u,a=2"} {
		var pairs []string
		for kv := range strings.SplitSeq(set, ",") {
			k, v, _ := strings.Cut(kv, "=")
			pairs = append(pairs, k, v)
		}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprint("memo.m", i), Type: signal.Gauge, Labels: signal.Labels(pairs...)}), Time: 1, Value: 1})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	for i := range 3000 {
		d := signal.Desc{Name: one("m", "m", "m", "n", "n!", "!!", "system.m", strings.Repeat("n", 210)), Unit: one("", "", "By"), Type: signal.Gauge}
		if rng.IntN(3) == 0 {
			d.Type = signal.Counter
		}
		var pairs []string
		for range rng.IntN(5) {
			pairs = append(pairs, one("a", "b", "team", "é", "A", "k:k", "!", strings.Repeat("k", 199), strings.Repeat("k", 250), signal.LabelImage, signal.LabelCPU, signal.LabelHost, signal.LabelCluster, signal.LabelPod),
				one("1", "1", "1", "2", " _ ", "_", "É", "x:y:", ":", "ab__c", strings.Repeat("v", 250), strings.Repeat("é", 199)))
		}
		d.Labels = signal.Labels(pairs...)
		at := int64(1000 + i/7*500)
		b.Add(signal.Sample{Series: signal.Intern(d), Prev: at - int64(rng.IntN(3))*1000, Time: at, Value: float64(i), Delta: float64(rng.IntN(9))})
	}
	for _, own := range [][]string{nil, {"team:own", "b:mine"}} {
		c := tagged()
		c.Tags = own
		e := Metrics("m", c, nil)
		whole, _, _ := e.Encode(nil, b, 0, b.Len())
		var each []byte
		for i := range b.Len() {
			if one, _, _ := e.Encode(nil, b, i, i+1); len(one) > 0 {
				each = append(append(each, one[len(`{"series":[`):len(one)-2]...), ',')
			}
		}
		if got := string(whole[len(`{"series":[`) : len(whole)-2]); got+"," != string(each) {
			at := 0
			for at < len(got) && got[at] == each[at] {
				at++
			}
			t.Errorf("tags %q: differs at %d:\n%.300s\n%.300s", own, at, got[max(0, at-200):], each[max(0, at-200):])
		}
	}
}

// A series that has more labels than Datadog has tags for keeps its host.
func TestAHostBehindTooManyTags(t *testing.T) {
	pairs := []string{signal.LabelHost, "far"}
	for i := range mostTags + 5 {
		pairs = append(pairs, fmt.Sprintf("a%03d", i), "1")
	}
	b := &signal.Batch{Kind: signal.Metric}
	b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m", Type: signal.Gauge, Labels: signal.Labels(pairs...)}), Time: 1, Value: 1})
	if body, _, _ := Metrics("m", Default(), nil).Encode(nil, b, 0, 1); !bytes.Contains(body, []byte(`"resources":[{"type":"host","name":"far"}]`)) {
		t.Errorf("%s", body)
	}
}
