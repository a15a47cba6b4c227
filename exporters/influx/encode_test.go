package influx

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func read(t *testing.T, kind signal.Kind, name string) *signal.Batch {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	b, err := signal.Parse(kind, string(text))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares a body with its file, after every reader has read it alike.
func golden(t *testing.T, name, precision string, body []byte) {
	t.Helper()
	agree(t, body, precision)
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(file, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", file, body)
	}
}

func TestMetricsGolden(t *testing.T) {
	b := read(t, signal.Metric, "metrics")
	c := Default()
	c.Tags = []string{"env:prod", "host:not this one"}
	body, next, skipped := Metrics("t/metric", c, nil).Encode(nil, b, 0, b.Len())
	if next != b.Len() || skipped != 2 {
		t.Errorf("took %d of %d, skipped %d", next, b.Len(), skipped)
	}
	golden(t, "metrics", "ms", body)
	items := 0
	for _, l := range splitLines(body, signal.Metric) {
		items += l.items
	}
	if items != b.Len()-2 {
		t.Errorf("our own count of the body's items is %d, of %d", items, b.Len()-2)
	}
}

func TestHistogramsGolden(t *testing.T) {
	b := &signal.Batch{Kind: signal.Metric}
	add := func(name string, typ signal.Type, h *signal.Hist) {
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: typ, Labels: signal.Labels("host.name", "n1")}), Time: 1700000010000, Hist: h})
	}
	nan := math.NaN()
	explicit := func(scale uint64) *signal.Hist {
		return &signal.Hist{Count: 6 * scale, Sum: 2.5, Min: nan, Max: nan, Bounds: []float64{0.5, 1}, Counts: []uint64{1 * scale, 2 * scale, 3 * scale}}
	}
	add("latency", signal.Dist, explicit(1))
	total := explicit(10)
	total.Since = explicit(1)
	add("http_seconds", signal.CumDist, total)
	add("exp", signal.Dist, &signal.Hist{Count: 10, Sum: 5, Min: 0, Max: 4, Exponential: true, Scale: 0, Zero: 1, Pos: signal.Buckets{Offset: 0, Counts: []uint64{5, 4}}})
	add("neg", signal.Dist, &signal.Hist{Count: 2, Sum: -5, Min: -4, Max: -1, Exponential: true, Neg: signal.Buckets{Counts: []uint64{1, 1}}})
	add("rpc_summary", signal.CumDist, &signal.Hist{Count: 2, Sum: 3, Min: nan, Max: nan, Quantiles: []signal.Quantile{{Q: 0.5, Value: 1}, {Q: 0.999, Value: 2}, {Q: 0.1, Value: nan}}})
	add("empty", signal.Dist, nil)
	body, _, skipped := Metrics("t/metric", Default(), nil).Encode(nil, b, 0, b.Len())
	if skipped != 1 {
		t.Errorf("skipped %d", skipped)
	}
	golden(t, "hist", "ms", body)
	for _, l := range splitLines(body, signal.Metric) {
		if l.items != 1 {
			t.Errorf("%d items in %s", l.items, l.text)
		}
	}
}

func TestLogsGolden(t *testing.T) {
	b := read(t, signal.Log, "logs")
	body, next, skipped := Logs("t/log", Default(), nil).Encode(nil, b, 0, b.Len())
	if next != b.Len() || skipped != 0 {
		t.Errorf("took %d of %d, skipped %d", next, b.Len(), skipped)
	}
	golden(t, "logs", "ns", body)
}

func TestEventsGolden(t *testing.T) {
	b := read(t, signal.Event, "events")
	body, _, skipped := Events("t/event", Default(), nil).Encode(nil, b, 0, b.Len())
	if skipped != 1 {
		t.Errorf("skipped %d", skipped)
	}
	golden(t, "events", "ns", body)
}

// What is written of an item does not depend on where bodies begin and end, so
// that an item sent again overwrites itself and nothing else (invariant 1).
func TestEncodeIsTheSameHoweverABatchIsSplit(t *testing.T) {
	for _, e := range []exporters.Exporter{Metrics("m", Default(), nil), Logs("l", Default(), nil), Events("e", Default(), nil)} {
		b := read(t, e.Kind(), e.Kind().String()+"s")
		whole := fieldsOf(t, e, b, []int{0, b.Len()})
		for seed := range uint64(50) {
			rng := rand.New(rand.NewPCG(seed, 2))
			cuts := []int{0}
			for at := 0; at < b.Len(); {
				at = min(b.Len(), at+1+rng.IntN(5))
				cuts = append(cuts, at)
			}
			split := fieldsOf(t, e, b, cuts)
			for k, v := range whole {
				if split[k] != v {
					t.Errorf("%s, split at %v: %s is %q, in one body %q", e.Name(), cuts, k, split[k], v)
				}
			}
			if len(split) != len(whole) {
				t.Errorf("%s, split at %v: %d fields, in one body %d", e.Name(), cuts, len(split), len(whole))
			}
		}
	}
}

// fieldsOf returns what a server would store: a value by series, time and field.
func fieldsOf(t *testing.T, e exporters.Exporter, b *signal.Batch, cuts []int) map[string]string {
	t.Helper()
	stored := map[string]string{}
	for i := range len(cuts) - 1 {
		body, _, _ := e.Encode(nil, b, cuts[i], cuts[i+1])
		points, err := readLines(string(body))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range points {
			id := p.name
			for _, tag := range p.tags {
				id += "," + tag[0] + "=" + tag[1]
			}
			for _, f := range p.fields {
				stored[id+" "+f[0]+" @"+strconv.FormatInt(p.time, 10)] = f[1]
			}
		}
	}
	return stored
}

// Each metric of the host's and the containers' layer has a row, or is one of
// those that go under their own names.
func TestEveryNameHasARow(t *testing.T) {
	own := map[string]bool{
		signal.SystemInfo: true, signal.HostMountsLeftOut: true,
		signal.SystemNetworkPrefix: true, // a prefix; see protocolCounter
	}
	tab := newTable()
	for _, file := range []string{"names_host.go", "names_container.go", "names_kubelet.go"} {
		tree, err := parser.ParseFile(token.NewFileSet(), "../../agent/signal/"+file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range tree.Decls {
			for _, spec := range decl.(*ast.GenDecl).Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || len(v.Values) == 0 || strings.HasPrefix(v.Names[0].Name, "Label") {
					continue
				}
				name, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				if tab.host[name] == nil && tab.pod[name] == nil && !own[name] {
					t.Errorf("%s (%s) has no row", name, v.Names[0].Name)
				}
			}
		}
	}
}

// No two metrics are written to the same field of the same measurement, with
// any value of their folded labels.
func TestRowsDoNotCollide(t *testing.T) {
	for layer, rows := range map[string][]field{"host": hostFields(), "docker": dockerFields(), "pod": podFields(), "kube": kubeFields()} {
		seen := map[string]string{}
		for _, f := range rows {
			n := strings.Count(f.name, "*")
			folded := f.fold[0] != "" && f.code == "" && f.fold[0] != "uid" // those are in no name
			if folded != (n > 0) || (f.fold[1] != "") != (n > 1) {
				t.Errorf("%s: %s has %d places for folded labels", layer, f.metric, n)
			}
			key := f.measurement + " " + f.name + " " + f.words
			if old := seen[key]; old != "" && old[:3] != f.metric[:3] && layer == "pod" {
				continue // a pod's network, by the pod's name or by the container's
			} else if old != "" && f.tag.key == cpuTag { // of all cores, or of one: another tag
				continue
			} else if old != "" && f.metric != signal.SystemCPUCoreTime {
				t.Errorf("%s: %s and %s are both %s", layer, old, f.metric, key)
			}
			seen[key] = f.metric
		}
	}
}

// Each family that layer 4 has of an object with a measurement of Telegraf's
// has a row, or is one of those that go under their own names; and no row names
// a family that nobody sends.
func TestEveryFamilyHasARow(t *testing.T) {
	own := regexp.MustCompile(`_(labels|annotations|info|reason|role|taint|revision)$|^kube_deployment_status_condition$` +
		`|^kube_persistentvolume_claim_ref$|^kube_persistentvolumeclaim_access_mode$|^kube_endpoint_address$|^kube_ingress_(path|tls)$` +
		`|^kube_service_(spec_type|spec_external_ip|status_load_balancer_ingress)$`)
	of := regexp.MustCompile(`^kube_(daemonset|deployment|statefulset|node|persistentvolume|persistentvolumeclaim` +
		`|pod_container|resourcequota|service|ingress|endpoint)(_|$)`)
	text, err := os.ReadFile("../../agent/collect/kube/testdata/objects.golden")
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable()
	sent := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, "{")
		sent[name] = true
		if of.MatchString(name) && (tab.kube[name] == nil) != own.MatchString(name) {
			t.Errorf("%s: has a row: %v, is to go under its own name: %v", name, tab.kube[name] != nil, own.MatchString(name))
		}
	}
	for name := range tab.kube {
		if !sent[name] {
			t.Errorf("%s has a row, and is no family of ours", name)
		}
	}
}

// Nothing of layer 4 is lost, twice in a line, or in another place than its row
// says, whatever order an object's families come in.
func TestEveryObjectIsWritten(t *testing.T) {
	text, err := os.ReadFile("../../agent/collect/kube/testdata/objects.golden")
	if err != nil {
		t.Fatal(err)
	}
	b, err := signal.Parse(signal.Metric, string(text))
	if err != nil {
		t.Fatal(err)
	}
	body, _, skipped := Metrics("m", Default(), nil).Encode(nil, b, 0, b.Len())
	if skipped != 0 {
		t.Errorf("%d skipped", skipped)
	}
	items := 0
	for _, l := range splitLines(body, signal.Metric) {
		items += l.items
	}
	if items != b.Len() {
		t.Errorf("%d of %d items are in the body", items, b.Len())
	}
	agree(t, body, "ms")
}

// A line's attribute never takes the name of a tag or field that a label of
// its stream is written as.
func TestAttributesDoNotMeetLabels(t *testing.T) {
	for _, label := range []string{signal.LabelHost, signal.LabelCluster, signal.LabelNode, signal.LabelNamespace, signal.LabelPod, signal.LabelPodUID,
		signal.LabelWorkloadKind, signal.LabelWorkload, signal.LabelDeployment, signal.LabelDaemonSet, signal.LabelStatefulSet,
		signal.LabelReplicaSet, signal.LabelReplicationController, signal.LabelJob, signal.LabelCronJob, signal.LabelK8sContainer,
		signal.LabelContainer, signal.LabelContainerID, signal.LabelRuntime, signal.LabelImage, signal.LabelImageTag, signal.LabelImageID,
		signal.LabelCgroup, signal.LabelEnv, signal.LabelService} {
		name, _, _ := tagName(label)
		blk := signal.LogBlock{File: "f", Stream: signal.InternStream(signal.Labels(label, "of the stream"))}
		blk.Append(1700000000123456789, 6, []byte("x"), []byte(signal.Labels(name, "of the line")))
		body, _, _ := Logs("l", Default(), nil).Encode(nil, &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}}, 0, 1)
		agree(t, body, "ns")
		for _, want := range []string{name + `=`, "attr_" + name + `="of the line"`} {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: no %s in %s", label, want, body)
			}
		}
	}
}

// Two lines of one stream never share a time, and a line keeps its own
// (invariant 3).
func TestLinesOfOneStreamHaveDifferentTimes(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		clock := []int64{1, 1, 1e3, 1e6, 1e9}[rng.IntN(5)] // its resolution
		step := []int64{0, 1, 20, 1500, 2e6, 3e9}[rng.IntN(6)]
		mixed, shuffled := rng.IntN(4) == 0, rng.IntN(4) == 0
		at, offset := now, int64(rng.IntN(1e6))
		b := &signal.Batch{Kind: signal.Log}
		for range 1 + rng.IntN(4) {
			blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels("host.name", "n")), File: "f", Start: offset}
			for range 1 + rng.IntN(1500) {
				at += 1 + rng.Int64N(step+1)
				offset += 1 + rng.Int64N(200)
				stamp := at
				if !mixed || rng.IntN(2) == 0 {
					stamp -= at % clock
				}
				if shuffled && rng.IntN(5) == 0 {
					stamp -= rng.Int64N(10) * clock
				}
				blk.Append(stamp, 6, []byte("x"), nil)
			}
			blk.End = offset
			at = max(at+1, at-at%clock+clock) // blocks end where reading paused
			b.Logs = append(b.Logs, blk)
		}
		e := Logs("l", Default(), nil)
		body, _, _ := e.Encode(nil, b, 0, b.Len())
		points, err := readLines(string(body))
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int64]int{}
		for i, p := range points {
			// A clock of microseconds leaves three digits: a thousand lines
			// within one tick, in several blocks, do not fit.
			if j, twice := seen[p.time]; twice && !shuffled && (clock != 1e3 || step >= 1500) {
				t.Fatalf("seed %d: lines %d and %d of %d share time %d (clock %d, step %d, mixed %v)", seed, j, i, len(points), p.time, clock, step, mixed)
			}
			seen[p.time] = i
		}
		first := 0
		for i := range b.Logs { // within a block without exception
			times := map[int64]bool{}
			for j := range b.Logs[i].Lines {
				times[points[first+j].time] = true
			}
			if len(times) != len(b.Logs[i].Lines) {
				t.Fatalf("seed %d: %d lines of a block have %d times", seed, len(b.Logs[i].Lines), len(times))
			}
			first += len(b.Logs[i].Lines)
		}
		lo := rng.IntN(b.Len())
		hi := lo + 1 + rng.IntN(b.Len()-lo)
		part, _, _ := e.Encode(nil, b, lo, hi)
		again, err := readLines(string(part))
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range again {
			if p.time != points[lo+i].time {
				t.Fatalf("seed %d: line %d has time %d in one body and %d in another", seed, lo+i, points[lo+i].time, p.time)
			}
		}
	}
}

// A thousand stamps in succession, as the tailer gives lines without a time of
// their own: none of them may be moved onto its neighbours.
func TestNanosecondStampsStayAsTheyAre(t *testing.T) {
	blk := signal.LogBlock{File: "f"}
	for i := range int64(5000) {
		blk.Append(1700000000123000000-2500+i, 6, []byte("x"), nil)
	}
	sp := newSpread(&blk)
	for i := range blk.Lines {
		if got := sp.next(i); got != blk.Lines[i].Time {
			t.Fatalf("line %d moved by %d ns", i, got-blk.Lines[i].Time)
		}
	}
}

func TestEncodeAllocatesNothingPerItem(t *testing.T) {
	dst := make([]byte, 0, 1<<20)
	for _, e := range []exporters.Exporter{Metrics("m", Default(), nil), Events("e", Default(), nil)} {
		b := read(t, e.Kind(), e.Kind().String()+"s")
		if n := testing.AllocsPerRun(20, func() { e.Encode(dst, b, 0, b.Len()) }); n > 1 { // one label needs another name: time, source
			t.Errorf("%s: %v allocations for %d items", e.Name(), n, b.Len())
		}
	}
	b := logBatch(1000)
	e := Logs("l", Default(), nil)
	if n := testing.AllocsPerRun(20, func() { e.Encode(dst, b, 0, b.Len()) }); n > 1 { // one per block, for the attributes
		t.Errorf("logs: %v allocations for %d lines", n, b.Len())
	}
}

// logBatch makes one block of n lines, every tenth with attributes.
func logBatch(n int) *signal.Batch {
	blk := signal.LogBlock{File: "8:17:aa", Stream: signal.InternStream(signal.Labels(
		signal.LabelHost, "node-1", signal.LabelNamespace, "default", signal.LabelPod, "web-7d4b9c6f5-x2x9z",
		signal.LabelK8sContainer, "app", signal.LabelLogStream, "stdout"))}
	attrs := []byte(signal.Labels("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736", "http.status", "200"))
	body := []byte(`10.0.0.1 - - [01/Nov/2026:00:00:00 +0000] "GET /api/v1/items?id=42 HTTP/1.1" 200 1234 "-" "curl/8.5.0" 0.003 upstream=10.2.3.4:8080`)
	for i := range n {
		var a []byte
		if i%10 == 0 {
			a = attrs
		}
		blk.Append(1700000000000000000+int64(i)*1e6, 6, body, a)
	}
	return &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}}
}
