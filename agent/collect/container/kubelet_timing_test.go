package container

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// bigNode returns a kubelet with as many pods, each the one of testdata anew
// (two containers' worth of cgroups, a volume), and the lines that cAdvisor
// writes beside them and nobody wants.
func bigNode(t testing.TB, pods int) *fakeKubelet {
	t.Helper()
	f := newFakeKubelet(t)
	const uid, name = "baeeda07-b833-4513-9f2c-7cac59e946e1", "web-f68975988-gjxvh"
	like := func(i int) *strings.Replacer {
		return strings.NewReplacer(uid, fmt.Sprintf("%08x%s", i, uid[8:]), name, fmt.Sprintf("web-f68975988-%05d", i))
	}
	var page strings.Builder
	unwanted := []string{"container_ulimits_soft", "container_sockets", "container_last_seen", "container_tasks_state", "container_memory_failcnt",
		"container_memory_kernel_usage", "container_memory_total_active_file_bytes", "container_file_descriptors", "container_health_state"}
	for line := range strings.Lines(f.pages["/metrics/cadvisor"]) { // lines of one name stand together, as in a real page
		if !strings.Contains(line, uid) {
			page.WriteString(line)
			continue
		}
		for i := range pods {
			like(i).WriteString(&page, line)
		}
		if strings.HasPrefix(line, "container_memory_rss") {
			for _, n := range unwanted {
				for i := range pods {
					like(i).WriteString(&page, strings.Replace(line, "container_memory_rss", n, 1))
				}
			}
		}
	}
	f.pages["/metrics/cadvisor"] = page.String()

	var sum, list map[string]any
	for path, into := range map[string]*map[string]any{"/stats/summary": &sum, "/pods": &list} {
		if err := json.Unmarshal([]byte(f.pages[path]), into); err != nil {
			t.Fatal(err)
		}
	}
	for path, v := range map[string]struct {
		doc map[string]any
		key string
	}{"/stats/summary": {sum, "pods"}, "/pods": {list, "items"}} {
		var one []byte
		for _, p := range v.doc[v.key].([]any) {
			if text, _ := json.Marshal(p); strings.Contains(string(text), uid) {
				one = text
			}
		}
		var all []any
		for i := range pods {
			var p any
			if err := json.Unmarshal([]byte(like(i).Replace(string(one))), &p); err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
		}
		v.doc[v.key] = all
		text, err := json.MarshalIndent(v.doc, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		f.pages[path] = string(text)
	}
	return f
}

// BenchmarkKubelet is one round of a node with 110 pods, TLS on both ends
// included: the kubelet's end costs as much as ours. The share is of one core,
// at a round each 15 s.
func BenchmarkKubelet(b *testing.B) {
	f := bigNode(b, 110)
	k := f.provider(b)
	s := New(Default(), k)
	batch := &signal.Batch{Kind: signal.Metric}
	if err := s.Sample(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(f.pages["/metrics/cadvisor"])), "page-B")
	b.ReportMetric(float64(len(batch.Samples)), "samples")
	b.ReportAllocs()
	for b.Loop() {
		batch.Samples = batch.Samples[:0]
		for _, known := range s.known {
			known.time = 0 // the pages are the same each time; let them be new
		}
		if err := s.Sample(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*b.Elapsed().Seconds()/float64(b.N)/(15*time.Second).Seconds(), "%core@15s")
}

// BenchmarkKubeletPage is what reading cAdvisor's page costs, without the way here.
func BenchmarkKubeletPage(b *testing.B) {
	f := bigNode(b, 110)
	k := f.provider(b)
	page := f.pages["/metrics/cadvisor"]
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		k.round++
		clear(k.byName)
		if err := k.readPage(strings.NewReader(page)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(strings.Count(page, "\n")), "ns/line")
}

func TestKubeletKnownPageAllocatesLittle(t *testing.T) {
	f := bigNode(t, 20)
	k := f.provider(t)
	page := strings.NewReader("")
	got := testing.AllocsPerRun(10, func() {
		k.round++
		clear(k.byName)
		page.Reset(f.pages["/metrics/cadvisor"])
		if err := k.readPage(page); err != nil {
			t.Fatal(err)
		}
	})
	// Names of disks and interfaces: three per container and two per pod.
	if limit := math.Ceil(20*5 + 40); got > limit {
		t.Errorf("%v allocations, want %v at most", got, limit)
	}
}
