package dashboards

import (
	"os"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
)

// destination returns the destination of a type, as its room's defaults have
// it, with keys.
func destination(typ string) config.Destination {
	d := config.Destination{Type: typ, Datadog: datadog.Default(), Google: google.Default(), Influx: influx.Default(), NewRelic: newrelic.Default()}
	d.Datadog.APIKey, d.Datadog.AppKey = "api-key", "app-key"
	d.NewRelic.LicenseKey, d.NewRelic.UserKey, d.NewRelic.AccountID = "license-key", "NRAK-user", 7
	d.Google.Project = "my-project"
	return d
}

func types() []string { return []string{"datadog", "googlecloud", "influxdb", "newrelic"} }

func target(t testing.TB, d config.Destination) *Target {
	t.Helper()
	v, err := New(d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func load(t testing.TB, name string) *Dashboard {
	t.Helper()
	d, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// from is when the world below begins; it lasts some minutes.
const (
	from = instant
	step = 30_000
	many = 6
)

// world is everything that our collectors send, as their own golden files have
// it, of a node of a cluster and of a host outside of one: many samples of each
// series, with counters that grow by what the series' place in the file says.
func world(t testing.TB) *signal.Batch {
	t.Helper()
	inside := signal.Labels(signal.LabelHost, "n1", signal.LabelNode, "n1", signal.LabelCluster, "c1")
	outside := signal.Labels(signal.LabelHost, "h1")
	all := &signal.Batch{Kind: signal.Metric}
	// What is told twice in reality is of two pods in the golden files.
	not := func(name, base string) bool {
		return strings.HasPrefix(name, "k8s.container.") || strings.HasPrefix(name, "container.network.") && signal.Lookup(base, signal.LabelNode) != ""
	}
	add := func(file, base string, strip ...string) {
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, err := signal.Parse(signal.Metric, string(p))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for n := range int64(many) {
			for i, s := range b.Samples {
				d := s.Series.Desc()
				if not(d.Name, base) {
					continue
				}
				var pairs []string
				for k, v := range signal.Walk(d.Labels) {
					pairs = append(pairs, k, v)
					for _, no := range strip {
						if k == no {
							pairs = pairs[:len(pairs)-2]
						}
					}
				}
				d.Labels = signal.Merge(base, signal.Labels(pairs...))
				s.Series, s.Time = signal.Intern(d), from+n*step
				if d.Type == signal.Counter {
					s.Start, s.Prev, s.Delta = from-step, from+(n-1)*step, float64(i%7+1)*30
					s.Value += float64(n+1) * s.Delta
				}
				all.Add(s)
			}
		}
	}
	const collect = "../../agent/collect/"
	for _, base := range []string{inside, outside} {
		add(collect+"host/testdata/linux-6.8.golden", base)
		add("testdata/second.txt", base)
		add("testdata/agent.txt", base)
	}
	add(collect+"container/testdata/kubelet/golden.txt", inside)
	add("testdata/second-kubelet.txt", inside)
	add(collect+"container/testdata/golden.txt", signal.Merge(inside, signal.Labels(signal.LabelK8sContainer, "web")))
	add(collect+"container/testdata/golden.txt", outside, signal.LabelNamespace, signal.LabelPod)
	add(collect+"kube/testdata/objects.golden", signal.Labels(signal.LabelCluster, "c1"))
	return all
}

// points returns what an exporter makes of the world, as its vendor gets it.
func points(t testing.TB, s source, b *signal.Batch) []point {
	t.Helper()
	var all []point
	for lo := 0; lo < b.Len(); {
		hi := b.Len()
		if most := s.exporter.Limits().Items; most > 0 {
			hi = min(hi, lo+most)
		}
		body, next, _ := s.exporter.Encode(nil, b, lo, hi)
		if next <= lo {
			t.Fatalf("%s: item %d cannot be encoded", s.exporter.Name(), lo)
		}
		if lo = next; len(body) == 0 {
			continue
		}
		got, err := s.read(body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	return all
}

// someLines returns lines of every severity, of a container in a pod.
func someLines() *signal.Batch {
	b := &signal.Batch{Kind: signal.Log}
	blk := signal.LogBlock{File: "1:2:3", End: 100, Stream: signal.InternStream(signal.Labels(
		signal.LabelHost, "n1", signal.LabelNode, "n1", signal.LabelCluster, "c1", signal.LabelNamespace, "shop", signal.LabelPod, "web-0",
		signal.LabelK8sContainer, "web", signal.LabelLogStream, "stdout"))}
	for l := range levels() {
		blk.Append((from+step)*1e6+int64(l)*1e9, uint8(l), []byte("of severity "+levels()[l]), nil)
	}
	b.Logs = append(b.Logs, blk)
	return b
}
