package kube

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/causeway-agent/causeway/agent/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// objects reads manifests, divided by ---.
func objects(t testing.TB, text string) []runtime.Object {
	t.Helper()
	var list []runtime.Object
	for doc := range strings.SplitSeq(text, "\n---\n") {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		list = append(list, o)
	}
	return list
}

func object[T runtime.Object](t testing.TB, text string) T {
	t.Helper()
	return objects(t, text)[0].(T)
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	p, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// say returns what is said of objects, in the readable notation, an object at
// a time and the sums over all at the end.
func say(t testing.TB, c Config, list []runtime.Object) string {
	t.Helper()
	var w strings.Builder
	total := adder{}
	for _, o := range list {
		i := slices.IndexFunc(kinds(c), func(k kind) bool { return reflect.TypeOf(k.example) == reflect.TypeOf(o) })
		if i < 0 {
			t.Fatalf("no kind for a %T", o)
		}
		r := rows{labels: c.Labels, annotations: c.Annotations, addresses: c.EndpointAddresses}
		kinds(c)[i].rows(&r, o)
		var b signal.Batch
		seen := map[signal.Series]bool{}
		for _, rd := range r.each {
			rd.append(&b, 1)
			if seen[rd.series] {
				t.Errorf("%+v is there twice", rd.series.Desc())
			}
			seen[rd.series] = true
		}
		total.add(r.sums)
		w.WriteString(sorted(&b))
		w.WriteString("\n")
	}
	var b signal.Batch
	total.append(&b, 1)
	w.WriteString(sorted(&b))
	return w.String()
}

// sorted is b in the readable notation, its lines in order.
func sorted(b *signal.Batch) string {
	b.Kind = signal.Metric
	lines := strings.Split(strings.TrimSuffix(signal.Format(b), "\n"), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

func everything() Config {
	c := Default()
	c.Labels, c.Annotations, c.EndpointAddresses, c.Secrets = []string{"team", "app.kubernetes.io/*"}, []string{"owner"}, true, true
	return c
}

func TestObjectsSayWhatTheyAre(t *testing.T) {
	got := say(t, everything(), objects(t, readFile(t, "objects.yaml")))
	if *update {
		if err := os.WriteFile("testdata/objects.golden", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readFile(t, "objects.golden"); got != want {
		t.Errorf("differs from testdata/objects.golden; with -update the difference is in git diff:\n%s", firstDifference(got, want))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

func TestEveryFamilyThatVendorsUseIsThere(t *testing.T) {
	golden := readFile(t, "objects.golden")
	for f := range strings.FieldsSeq(strings.SplitN(readFile(t, "families.txt"), "\n", 2)[1]) {
		if !strings.Contains("\n"+golden, "\n"+f+"{") {
			t.Errorf("no %s", f)
		}
	}
}

// What the hub makes of it is tested there.
func TestNothingOfTheClusterIsOnTheLeadersNode(t *testing.T) {
	r := rows{nowhere: true}
	node(&r, object[*corev1.Node](t, "apiVersion: v1\nkind: Node\nmetadata: {name: n1}"))
	service(&r, object[*corev1.Service](t, "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: d}"))
	for _, rd := range append(r.each, r.sums...) {
		d := rd.series.Desc()
		if signal.Lookup(d.Labels, signal.LabelNowhere) == "" {
			t.Errorf("%s is on the leader's node", d.Name)
		}
		want := ""
		if strings.HasPrefix(d.Name, "kube_node_") {
			want = "n1"
		}
		if n := signal.Lookup(d.Labels, signal.LabelNode); n != want {
			t.Errorf("%s has the node %q, want %q", d.Name, n, want)
		}
	}
}

func TestLabelsAreTakenOverOnlyIfAskedFor(t *testing.T) {
	const text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: d, labels: {team: web}, annotations: {owner: me}}"
	if got := say(t, Default(), objects(t, text)); strings.Contains(got, "kube_namespace_labels") || strings.Contains(got, "annotations") {
		t.Errorf("said without being asked:\n%s", got)
	}
	f := func(list []string, key string, want bool) {
		t.Helper()
		if got := allow(list).has(key); got != want {
			t.Errorf("%q lets %q through: %v", list, key, got)
		}
	}
	f([]string{"team"}, "team", true)
	f([]string{"team"}, "teams", false)
	f([]string{"app.kubernetes.io/*"}, "app.kubernetes.io/name", true)
	f([]string{"*"}, "anything", true)
	f(nil, "team", false)
}

func TestCronSchedules(t *testing.T) {
	f := func(schedule, zone, from, want string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, from)
		if err != nil {
			t.Fatal(err)
		}
		got := "never"
		if next, ok := nextSchedule(schedule, zone, at); ok {
			got = next.UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q in %q after %s: %s, want %s", schedule, zone, from, got, want)
		}
	}
	f("0 3 * * *", "", "2026-01-02T03:00:00Z", "2026-01-03T03:00:00Z")
	f("*/15 * * * *", "", "2026-01-02T03:07:30Z", "2026-01-02T03:15:00Z")
	f("5/20 * * * *", "", "2026-01-02T03:26:00Z", "2026-01-02T03:45:00Z")
	f("0 0 1 jan *", "", "2026-01-02T00:00:00Z", "2027-01-01T00:00:00Z")
	f("0 0 29 2 *", "", "2026-01-02T00:00:00Z", "2028-02-29T00:00:00Z")
	f("0 0 30 2 *", "", "2026-01-02T00:00:00Z", "never")
	f("0 0 * * 7", "", "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z")
	f("0 0 * * MON-FRI", "", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z")
	f("0 0 13 * 5", "", "2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z") // either day
	f("0 0,12 1,15 * *", "", "2026-01-02T00:00:00Z", "2026-01-15T00:00:00Z")
	f("@hourly", "", "2026-01-02T03:04:05Z", "2026-01-02T04:00:00Z")
	f("@every 90m", "", "2026-01-02T03:00:00Z", "2026-01-02T04:30:00Z")
	f("0 3 * * *", "Europe/Berlin", "2026-07-02T03:00:00Z", "2026-07-03T01:00:00Z")
	f("TZ=Europe/Berlin 0 3 * * *", "", "2026-07-02T03:00:00Z", "2026-07-03T01:00:00Z")
	f("0 3 * * *", "Nowhere/Land", "2026-07-02T03:00:00Z", "never")
	f("60 * * * *", "", "2026-01-02T00:00:00Z", "never")
	f("* * * *", "", "2026-01-02T00:00:00Z", "never")
	f("*/0 * * * *", "", "2026-01-02T00:00:00Z", "never")
	f("5-1 * * * *", "", "2026-01-02T00:00:00Z", "never")
	f("@every -1h", "", "2026-01-02T00:00:00Z", "never")
}

func FuzzCron(f *testing.F) {
	for _, s := range []string{"0 3 * * *", "*/15 1-5,7 ? jan-mar mon", "@every 1h", "TZ=UTC 1 2 3 4 5", "0 0 31 2 *", "-1 * * * *"} {
		f.Add(s, "Europe/Berlin", int64(1767322800))
	}
	f.Fuzz(func(t *testing.T, schedule, zone string, from int64) {
		at := time.Unix(from%(1<<33), 0)
		if next, ok := nextSchedule(schedule, zone, at); ok && !next.After(at) {
			t.Errorf("%q: %v is not after %v", schedule, next, at)
		}
	})
}

func newTestKube(t testing.TB, change func(*Config)) *Kube {
	t.Helper()
	c := Default()
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return New(c, Identity{Node: "n1", PodName: "agent-1", Namespace: "causeway", Role: "auto"}, t.TempDir(), slog.New(slog.DiscardHandler))
}
