package hub

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// cpu returns the CPU seconds this process has used.
func cpu(b testing.TB) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// podTable is an Enricher of 110 pods.
type podTable struct {
	labels  map[string]string
	version uint64
}

func newPodTable() *podTable {
	p := &podTable{labels: map[string]string{}}
	for i := range 110 {
		p.labels[fmt.Sprint("uid-", i)] = signal.Labels(
			signal.LabelPod, fmt.Sprintf("checkout-5d78c9869d-%05d", i), signal.LabelNamespace, "shop", signal.LabelDeployment, "checkout",
			signal.LabelNode, "gke-prod-pool-1-abcd", signal.LabelService, "checkout", signal.LabelImage, "registry.example.com/shop/checkout", signal.LabelImageTag, "1.2.3")
	}
	return p
}

func (p *podTable) Version() uint64          { return p.version }
func (p *podTable) Labels(set string) string { return p.labels[signal.Lookup(set, signal.LabelPodUID)] }

// Lines on their way through the hub, in blocks of 256 KiB from 50 streams:
// Complete alone, and Put with frame, checksum and the write to the spool.
func BenchmarkLines(b *testing.B) {
	f := func(name string, c Config, put bool, lines []string) {
		b.Run(name, func(b *testing.B) {
			sp, err := spool.Open(b.TempDir(), spool.Options{MaxBytes: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer sp.Close()
			h := New(Spools{signal.Log: sp}, time.Now())
			h.Configure(c, signal.Labels(signal.LabelHost, "n1", signal.LabelCluster, "prod"), newPodTable())
			var blocks []*signal.LogBlock
			for i := range 50 {
				blk := block(lines...)
				blk.Stream = signal.InternStream(signal.Labels(signal.LabelPodUID, fmt.Sprint("uid-", i), signal.LabelLogFile, fmt.Sprint("/var/log/pods/", i)))
				for j := range blk.Lines {
					blk.Lines[j].Time = time.Now().UnixNano()
				}
				blocks = append(blocks, blk)
			}
			var state []signal.Line
			size := len(blocks[0].Text)
			b.SetBytes(int64(size))
			n := 0
			before := cpu(b)
			for b.Loop() {
				one := *blocks[n%len(blocks)]
				state = append(state[:0], one.Lines...)
				one.Lines = state
				n++
				batch := &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{one}}
				if !put {
					h.Complete(batch)
				} else if err := h.Put(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size*n)/1e6/(cpu(b)-before), "MB/cpu-s")
		})
	}
	json := slices.Repeat([]string{jsonLine}, 1200)
	all := Default()
	f("nothing", Config{}, false, json)
	f("parse", Config{Parse: "auto"}, false, json)
	f("redact", Config{Redact: all.Redact}, false, json)
	f("all", all, false, json)
	f("all/varied", all, false, variedLines(1200))
	f("all/put", all, true, json)
	ruled := all
	ruled.Rules = []Rule{{Kind: "log", Match: `level >= 7`, Action: "drop"}, {Kind: "log", Match: `level <= 3`, Action: "count", Name: "errors"}}
	f("all/rules", ruled, false, json)
}

// What a change of some pod costs the series that it does not concern: with a new
// version at every batch, and for scale with none.
func BenchmarkVersions(b *testing.B) {
	for name, every := range map[string]uint64{"none": 0, "each": 1} {
		b.Run(name, func(b *testing.B) {
			pods := newPodTable()
			h := New(nil, time.Now())
			h.Configure(Default(), signal.Labels(signal.LabelHost, "n1"), pods)
			raw := make([]signal.Sample, 5000)
			for i := range raw {
				raw[i] = signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprint("m", i%50), Type: signal.Gauge,
					Labels: signal.Labels(signal.LabelPodUID, fmt.Sprint("uid-", i%110), "path", strings.Repeat("x", i%30))}), Time: 1}
			}
			batch := &signal.Batch{Kind: signal.Metric}
			before, n := cpu(b), 0
			for b.Loop() {
				pods.version += every
				batch.Samples = append(batch.Samples[:0], raw...)
				h.Complete(batch)
				n++
			}
			b.ReportMetric((cpu(b)-before)*1e9/float64(n*len(raw)), "cpu-ns/series")
		})
	}
}

// What one more new series costs when its metric is above its limit.
func BenchmarkFold(b *testing.B) {
	h := New(nil, time.Now())
	c := Default()
	c.Cardinality = Cardinality{MaxSeries: 200000, PerMetric: 100}
	h.Configure(c, "", nil)
	batch := &signal.Batch{Kind: signal.Metric}
	raw := make([]signal.Sample, 5000)
	for i := range raw {
		raw[i] = signal.Sample{Series: signal.Intern(signal.Desc{Name: "m", Type: signal.Counter, Labels: signal.Labels("user", fmt.Sprint(i))})}
	}
	now := int64(0)
	before, n := cpu(b), 0
	for b.Loop() {
		now++
		batch.Samples = append(batch.Samples[:0], raw...)
		for i := range batch.Samples {
			batch.Samples[i].Time = now
		}
		h.Complete(batch)
		n++
	}
	b.ReportMetric((cpu(b)-before)*1e9/float64(n*len(raw)), "cpu-ns/sample")
}
