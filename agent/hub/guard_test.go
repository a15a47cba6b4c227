package hub

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func guarded(t *testing.T, total, perMetric int, rules ...Rule) *Hub {
	t.Helper()
	return newHub(t, Config{Cardinality: Cardinality{MaxSeries: total, PerMetric: perMetric}, Rules: rules}, signal.Labels("host.name", "n1"), nil)
}

// metrics completes a batch and returns what becomes of it.
func metrics(t *testing.T, h *Hub, text string) string {
	t.Helper()
	b := parse(t, signal.Metric, text)
	h.Complete(b)
	h.Stats[signal.Metric].Spooled.Add(int64(b.Len())) // as Put would
	return signal.Format(b)
}

func TestSeriesAboveTheLimitFoldIntoOne(t *testing.T) {
	// f puts batches and compares what becomes of the last; each metric may have two series.
	f := func(want string, batches ...string) {
		t.Helper()
		h := guarded(t, 100, 2)
		got := ""
		for _, b := range batches {
			got = metrics(t, h, b)
		}
		expect(t, got, want)
		balanced(t, h)
	}
	four := func(typ, values string, at int) string {
		var w strings.Builder
		for i, v := range strings.Fields(values) {
			fmt.Fprintf(&w, "m{id=\"%d\"} %s - %s @%d", i, typ, v, born+1000*at)
			if typ == "delta" {
				fmt.Fprintf(&w, " from %d", born+1000*(at-10))
			}
			w.WriteString("\n")
		}
		return w.String()
	}
	// Gauges: the last value counts.
	f("m{host.name=\"n1\",id=\"0\"} gauge - 1 @1700000100000\nm{host.name=\"n1\",id=\"1\"} gauge - 2 @1700000100000\n"+
		"m{host.name=\"n1\",overflow=\"true\"} gauge - 4 @1700000100000", four("gauge", "1 2 3 4", 100))
	// Deltas add up.
	f("m{host.name=\"n1\",id=\"0\"} delta - 1 @1700000100000 from 1700000090000\nm{host.name=\"n1\",id=\"1\"} delta - 2 @1700000100000 from 1700000090000\n"+
		"m{host.name=\"n1\",overflow=\"true\"} delta - 7 @1700000100000 from 1700000090000", four("delta", "1 2 3 4", 100))
	// Increases of counters add up; a first reading of one that is older than we are says nothing.
	f("m{host.name=\"n1\",id=\"0\"} counter - 5 +4 since 1700000100000 @1700000200000\nm{host.name=\"n1\",id=\"1\"} counter - 5 +3 since 1700000100000 @1700000200000\n"+
		"m{host.name=\"n1\",overflow=\"true\"} counter - 30 +30 since 1700000100000 @1700000200000 from 1700000099999",
		four("counter", "1 2 3 4", 100), four("counter", "5 5 13 24", 200))
	f("m{host.name=\"n1\",id=\"0\"} counter - 6 +1 since 1700000200000 @1700000300000\nm{host.name=\"n1\",id=\"1\"} counter - 6 +1 since 1700000200000 @1700000300000\n"+
		"m{host.name=\"n1\",overflow=\"true\"} counter - 37 +7 since 1700000200000 @1700000300000 from 1700000099999",
		four("counter", "1 2 3 4", 100), four("counter", "5 5 13 24", 200), four("counter", "6 6 15 5", 300)) // the fourth started again
	// A counter that began while we watched adds its first value too.
	f("m{host.name=\"n1\",overflow=\"true\"} counter - 5 +5 since 1700000050000 @1700000100000 from 1700000050000",
		four("counter", "1 2", 100), "m{id=\"9\"} counter - 5 @1700000100000 from 1700000050000")
	// Two batches of one moment are two samples.
	f("m{host.name=\"n1\",overflow=\"true\"} gauge - 8 @1700000100001", four("gauge", "1 2 3", 100), "m{id=\"9\"} gauge - 8 @1700000100000")
	// Another metric, and another type of the same name, have room of their own.
	f("o{host.name=\"n1\",id=\"3\"} gauge - 1 @1\nm{host.name=\"n1\",id=\"3\"} delta - 1 @1", four("gauge", "1 2 3", 100), "o{id=\"3\"} gauge - 1 @1\nm{id=\"3\"} delta - 1 @1")
}

func TestFoldedDistributionsAreMerged(t *testing.T) {
	h := guarded(t, 100, 1)
	metrics(t, h, "h{id=\"0\"} dist - 0 @9 from 1 hist (count=1 sum=1 min=1 max=1)\nc{id=\"0\"} cumdist - 0 @9 hist (count=1 sum=1 min=1 max=1)")
	expect(t, metrics(t, h, `
h{id="1"} dist - 0 @20 from 10 hist (count=3 sum=3 min=1 max=2 bounds=[1] counts=[1 2] exemplar=2 @11 - - {})
h{id="2"} dist - 0 @20 from 10 hist (count=1 sum=9 min=9 max=9 bounds=[1] counts=[0 1] exemplar=9 @12 - - {})
`), `h{host.name="n1",overflow="true"} dist - 0 @20 from 10 hist (count=4 sum=12 min=1 max=9 bounds=[1] counts=[1 3] exemplar=2 @11 - - {} exemplar=9 @12 - - {})`)
	expect(t, metrics(t, h, `
h{id="1"} dist - 0 @30 from 20 hist (count=3 sum=3 min=1 max=2 bounds=[1] counts=[1 2])
h{id="2"} dist - 0 @30 from 20 hist (count=1 sum=9 min=9 max=9 bounds=[2] counts=[0 1])
`), `h{host.name="n1",overflow="true"} dist - 0 @30 from 20 hist (count=4 sum=12 min=1 max=9)`)
	metrics(t, h, `
c{id="1"} cumdist - 0 @20000 hist (count=3 sum=3 min=NaN max=NaN bounds=[1] counts=[1 2])
c{id="2"} cumdist - 0 @20000 hist (count=1 sum=9 min=NaN max=NaN bounds=[1] counts=[0 1])`)
	expect(t, metrics(t, h, `
c{id="1"} cumdist - 0 @30000 hist (count=5 sum=6 min=NaN max=NaN bounds=[1] counts=[1 4])
c{id="2"} cumdist - 0 @30000 hist (count=2 sum=10 min=NaN max=NaN bounds=[1] counts=[1 1])
`), `c{host.name="n1",overflow="true"} cumdist - 0 +0 since 20000 @30000 from 19999 hist (count=3 sum=4 min=NaN max=NaN bounds=[1] counts=[1 2] since=(count=3 sum=4 min=NaN max=NaN bounds=[1] counts=[1 2]))`)
	balanced(t, h)
}

func TestExponentialDistributionsAreAddedAtTheCoarserScale(t *testing.T) {
	f := func(a, b, want string) {
		t.Helper()
		one := func(s string) *signal.Hist {
			return parse(t, signal.Metric, "h dist - 0 @2 from 1 hist "+s).Samples[0].Hist
		}
		b0 := one(b)
		sum := addHist(one(a), b0)
		got := signal.Format(&signal.Batch{Kind: signal.Metric, Samples: []signal.Sample{{Series: signal.Intern(signal.Desc{Name: "h", Type: signal.Dist}), Time: 2, Start: 1, Hist: sum}}})
		expect(t, got, "h dist - 0 @2 from 1 hist "+want)
		if *b0 = (signal.Hist{}); sum == b0 {
			t.Error("the sum is one of the two")
		}
	}
	const rest = "sum=2 min=NaN max=NaN"
	f("(count=2 "+rest+" scale=1 zero=1 width=0 pos=4:[1 2 3] neg=0:[])", "(count=1 "+rest+" scale=0 zero=2 width=0.5 pos=1:[5] neg=-1:[7])",
		"(count=3 sum=4 min=NaN max=NaN scale=0 zero=3 width=0.5 pos=1:[5 3 3] neg=-1:[7])")
	f("(count=2 "+rest+" scale=3 zero=0 width=0 pos=-3:[1 1] neg=0:[])", "(count=2 "+rest+" scale=3 zero=0 width=0 pos=-2:[1 0 1] neg=0:[])",
		"(count=4 sum=4 min=NaN max=NaN scale=3 zero=0 width=0 pos=-3:[1 2 0 1] neg=0:[])")
	f("(count=2 "+rest+" scale=3 zero=0 width=0 pos=-100000:[1] neg=0:[])", "(count=2 "+rest+" scale=3 zero=0 width=0 pos=100000:[1] neg=0:[])", "(count=4 sum=4 min=NaN max=NaN)")
	f("(count=2 "+rest+" scale=2147483647 zero=0 width=0 pos=1:[1] neg=0:[])", "(count=2 "+rest+" scale=-2147483648 zero=0 width=0 pos=0:[1] neg=0:[])",
		"(count=4 sum=4 min=NaN max=NaN scale=-2147483648 zero=0 width=0 pos=0:[2] neg=0:[])")
	f("(count=2 "+rest+" scale=3 zero=0 width=0 pos=1:[1] neg=0:[])", "(count=2 "+rest+" bounds=[1] counts=[1 1])", "(count=4 sum=4 min=NaN max=NaN)")
	if v := known(math.Min, math.NaN(), 2); v != 2 {
		t.Error(v)
	}
}

func TestARuleDropsWhatWouldBeFolded(t *testing.T) {
	h := guarded(t, 100, 1, Rule{Kind: "metric", Match: `id == "2"`, Action: "drop"})
	expect(t, metrics(t, h, "m{id=\"1\"} gauge - 1 @1\nm{id=\"2\"} gauge - 2 @1\nm{id=\"3\"} gauge - 3 @1"),
		"m{host.name=\"n1\",id=\"1\"} gauge - 1 @1\nm{host.name=\"n1\",overflow=\"true\"} gauge - 3 @1")
	balanced(t, h)
}

func TestTheLimitOfAllSeriesHoldsForEachMetric(t *testing.T) {
	h := guarded(t, 3, 100)
	expect(t, metrics(t, h, "a{id=\"1\"} gauge - 1 @1\nb gauge - 1 @1\nc gauge - 1 @1\nd gauge - 1 @1\na{id=\"2\"} gauge - 1 @1\nb gauge - 2 @2"),
		"a{host.name=\"n1\",id=\"1\"} gauge - 1 @1\nb{host.name=\"n1\"} gauge - 1 @1\nc{host.name=\"n1\"} gauge - 1 @1\nb{host.name=\"n1\"} gauge - 2 @2\n"+
			"d{host.name=\"n1\",overflow=\"true\"} gauge - 1 @1\na{host.name=\"n1\",overflow=\"true\"} gauge - 1 @1")
	h.Configure(Config{Cardinality: Cardinality{MaxSeries: 3}}, signal.Labels("env", "dev"), nil)
	expect(t, metrics(t, h, "d{id=\"1\"} gauge - 1 @2"), `d{env="dev",overflow="true"} gauge - 1 @2`)
}

func TestMemoryIsBoundedWhateverTheNames(t *testing.T) {
	h := guarded(t, 50, 10)
	for i := range 40 {
		var w strings.Builder
		for j := range 100 {
			fmt.Fprintf(&w, "m%d{id=\"%d\"} counter - %d @%d\n", i*100+j, i, j, born+1)
			fmt.Fprintf(&w, "same{id=\"%d\"} counter - %d @%d\n", i*100+j, j, born+1)
		}
		metrics(t, h, w.String())
	}
	g := &h.guard
	if len(h.series) > 50 || len(g.over) > mostOverflows || len(g.by) > mostOverflows+50 || g.members > 50 {
		t.Errorf("%d series, %d overflows, %d metrics, %d last readings", len(h.series), len(g.over), len(g.by), g.members)
	}
	out := metrics(t, h, fmt.Sprintf("new1 counter - 1 @%d\nnew2 gauge - 1 @%d", born+5000, born+5000))
	expect(t, out, fmt.Sprintf(`causeway.hub.overflow{host.name="n1",overflow="true"} delta {sample} 2 @%d from %d`, born+5000, born+4999))
	if n := h.Stats[signal.Metric].Unknown.Load(); n == 0 {
		t.Error("counters without a last reading are not counted")
	}
	balanced(t, h)
}

func TestAFoldedCounterGoesOnWhereItWasWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(nil, time.Now())
		h.Configure(Config{Cardinality: Cardinality{MaxSeries: 100, PerMetric: 1}}, "", nil)
		at := func() int64 { return time.Now().UnixMilli() }
		metrics(t, h, fmt.Sprintf("m{id=\"1\"} counter - 1 @%d\nm{id=\"2\"} counter - 10 @%d", at(), at()))
		first := at()
		for range 4 {
			time.Sleep(Forget / 3)
			metrics(t, h, fmt.Sprintf("m{id=\"2\"} counter - 10 @%d", at()))
		}
		last := at()
		time.Sleep(Forget / 3)
		expect(t, metrics(t, h, fmt.Sprintf("m{id=\"2\"} counter - 15 @%d", at())), fmt.Sprintf(`m{id="2"} counter - 15 +5 since %d @%d`, last, at()))
		if last == first || h.guard.members != 0 {
			t.Errorf("%d last readings are kept", h.guard.members)
		}
		for range 5 {
			time.Sleep(Forget / 3)
			metrics(t, h, fmt.Sprintf("m{id=\"2\"} counter - 15 @%d", at()))
		}
		if o := h.Overflows(); len(o) != 0 || len(h.guard.by) != 1 {
			t.Errorf("%v after all is within the limits, %d metrics", o, len(h.guard.by))
		}
	})
}

func TestWhereThereIsNoPodTheInstanceIsAtFault(t *testing.T) {
	h := New(nil, time.Now())
	h.Configure(Config{Cardinality: Cardinality{MaxSeries: 100, PerMetric: 10}}, "", nil)
	for i := range 30 {
		metrics(t, h, fmt.Sprintf("m{service.instance.id=\"10.0.0.%d:80\",user=\"%d\"} gauge - 1 @1", min(i%3, 1), i))
	}
	if o := h.Overflows(); len(o) != 1 || o[0].Instance != "10.0.0.1:80" || o[0].Pod != "" || o[0].Label != "user" {
		t.Errorf("%+v", o)
	}
}

func TestWhoIsAtFaultIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		h := New(nil, time.Now())
		h.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		h.Configure(Config{Cardinality: Cardinality{MaxSeries: 100, PerMetric: 10}}, signal.Labels("host.name", "n1"), nil)
		for i := range 30 {
			pod := map[bool]string{true: "a", false: "b"}[i%3 == 0]
			metrics(t, h, fmt.Sprintf("m{k8s.namespace.name=\"shop\",k8s.pod.name=%q,path=\"/x\",user=\"%d\"} gauge - 1 @1\nok gauge - 1 @%d", pod, i, i))
		}
		o := h.Overflows()
		if len(o) != 1 || o[0] != (Overflow{Metric: "m", Label: "user", Values: 10, Pod: "shop/b", Series: 10, Since: time.Now()}) {
			t.Errorf("%+v", o)
		}
		want := `level=WARN msg="new series are folded into one: too many; drop or change the label, or raise process.cardinality" metric=m label=user values=10 pod=shop/b series=10 metrics=1` + "\n"
		if log.String() != want {
			t.Errorf("the log says %s", log.String())
		}
		for range 9 {
			time.Sleep(Forget / 4)
			metrics(t, h, fmt.Sprintf("ok gauge - 1 @%d", time.Now().UnixMilli()))
		}
		if want += `level=INFO msg="all metrics are within their limits of series again"` + "\n"; log.String() != want {
			t.Errorf("the log says %s", log.String())
		}
	})
}
