package hub

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

const born = 1700000000000 // Unix milliseconds at which the hubs of these tests are made

func open(t *testing.T, dir string) Spools {
	t.Helper()
	s := Spools{}
	for _, k := range signal.Kinds {
		sp, err := spool.Open(dir+"/"+k.String(), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sp.Close() })
		s[k] = sp
	}
	return s
}

func newHub(t *testing.T, c Config, base string, e Enricher) *Hub {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	h := New(open(t, t.TempDir()), time.UnixMilli(born))
	h.Configure(c, base, e)
	return h
}

func parse(t *testing.T, k signal.Kind, text string) *signal.Batch {
	t.Helper()
	b, err := signal.Parse(k, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spooled returns what the spool of a kind holds, in the readable notation.
func spooled(t *testing.T, h *Hub, k signal.Kind) string {
	t.Helper()
	var w strings.Builder
	err := h.spools[k].Scan(0, func(_ spool.Seq, frame []byte) error {
		var b signal.Batch
		if err := signal.AppendFromFrame(&b, frame); err != nil {
			return err
		}
		w.WriteString(signal.Format(&b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w.String()
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestCountersGetTheirIncrease(t *testing.T) {
	// f puts readings of one series one after the other and compares the last.
	f := func(want string, readings ...string) {
		t.Helper()
		h := newHub(t, Config{}, "", nil)
		var last *signal.Batch
		for _, r := range readings {
			last = parse(t, signal.Metric, r)
			h.Complete(last)
		}
		expect(t, signal.Format(last), want)
	}
	// The first reading of a counter that is older than we are says nothing yet.
	f("c counter s 5 @1700000010000 from 1600000000000", "c counter s 5 @1700000010000 from 1600000000000")
	f("c counter s 5 @1700000010000", "c counter s 5 @1700000010000")
	// One that began while we watched is new from its first value on.
	f("c counter s 5 +5 since 1700000005000 @1700000010000 from 1700000005000", "c counter s 5 @1700000010000 from 1700000005000")
	f("c counter s 8 +3 since 1700000010000 @1700000020000", "c counter s 5 @1700000010000", "c counter s 8 @1700000020000")
	f("c counter s 5 +0 since 1700000010000 @1700000020000", "c counter s 5 @1700000010000", "c counter s 5 @1700000020000")
	// Started again: seen by its value, or by its start.
	f("c counter s 2 +2 since 1700000010000 @1700000020000", "c counter s 5 @1700000010000", "c counter s 2 @1700000020000")
	f("c counter s 9 +9 since 1700000010000 @1700000020000 from 1700000015000", "c counter s 5 @1700000010000 from 1600000000000", "c counter s 9 @1700000020000 from 1700000015000")
	// A start that wanders a little is the same start.
	f("c counter s 9 +4 since 1700000010000 @1700000020000 from 1600000000020", "c counter s 5 @1700000010000 from 1600000000000", "c counter s 9 @1700000020000 from 1600000000020")
	// Not newer: left out, and the next one counts from the last good one.
	f("", "c counter s 5 @1700000010000", "c counter s 6 @1700000010000")
	f("", "c counter s 5 @1700000010000", "c counter s 6 @1700000009000")
	f("c counter s 8 +3 since 1700000010000 @1700000020000", "c counter s 5 @1700000010000", "c counter s 6 @1700000010000", "c counter s 8 @1700000020000")
	// Of the same second: moved to the next one, but not by more than a second.
	f("c counter s 6 +1 since 1700000010000 @1700000011000", "c counter s 5 @1700000010000", "c counter s 6 @1700000010999")
	f("", "c counter s 5 @1700000010000", "c counter s 6 @1700000010500", "c counter s 8 @1700000010999")
	f("c counter s 9 +3 since 1700000011000 @1700000012000", "c counter s 5 @1700000010000", "c counter s 6 @1700000010500", "c counter s 9 @1700000011200")
	f("", "c counter s 5 @1700000010000", "c counter s 6 @1700000010500", "c counter s 6 @1700000010500")
	// Read in the millisecond in which it began.
	f("c counter s 7 +7 since 1700000009999 @1700000010000 from 1700000010000", "c counter s 7 @1700000010000 from 1700000010000")
	// Others are not touched.
	f("g gauge s 5 @1700000010000", "g gauge s 5 @1700000010000", "g gauge s 5 @1700000010000")
	f("d delta s 5 @1700000010000 from 1", "d delta s 5 @1700000010000 from 1")
}

// What belongs to no node, though a node's agent reports it, says so.
func TestAnEmptyLabelTakesOneOfTheAgentsAway(t *testing.T) {
	h := newHub(t, Config{}, signal.Labels(signal.LabelHost, "n1", "team", "web"), nil)
	b := parse(t, signal.Metric, `g{host.name="",a="b"} gauge s 5 @1700000010000`)
	h.Complete(b)
	expect(t, signal.Format(b), `g{a="b",team="web"} gauge s 5 @1700000010000`)
}

func TestRunningDistributionsGetTheirIncrease(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	f := func(in, want string) {
		t.Helper()
		b := parse(t, signal.Metric, in)
		h.Complete(b)
		expect(t, signal.Format(b), want)
	}
	at := func(sec int, count, a, b int) string {
		return fmt.Sprintf("h cumdist s 0 @%d hist (count=%d sum=%d min=NaN max=NaN bounds=[1] counts=[%d %d])", born+1000*sec, count, count, a, b)
	}
	f(at(1, 3, 1, 2), "h cumdist s 0 @1700000001000 hist (count=3 sum=3 min=NaN max=NaN bounds=[1] counts=[1 2])")
	f(at(2, 7, 2, 5), "h cumdist s 0 +0 since 1700000001000 @1700000002000 hist (count=7 sum=7 min=NaN max=NaN bounds=[1] counts=[2 5] since=(count=4 sum=4 min=NaN max=NaN bounds=[1] counts=[1 3]))")
	f(at(3, 8, 1, 7), "h cumdist s 0 +0 since 1700000002000 @1700000003000 hist (count=8 sum=8 min=NaN max=NaN bounds=[1] counts=[1 7] since=(count=8 sum=8 min=NaN max=NaN bounds=[1] counts=[1 7]))")
	if n := h.Stats[signal.Metric].Resets.Load(); n != 1 {
		t.Errorf("%d resets: a bucket that shrinks is one", n)
	}
}

// A page shows an exemplar until it has a newer one: the increase has those that
// are of its interval, and of those without a time the ones that are new.
func TestExemplarsAreThoseOfTheInterval(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	f := func(sec int, exemplars, total, since string) {
		t.Helper()
		const head = "h cumdist s 0"
		hist := fmt.Sprintf("hist (count=%d sum=1 min=NaN max=NaN", sec)
		b := parse(t, signal.Metric, fmt.Sprintf("%s @%d %s%s)", head, born+1000*sec, hist, exemplars))
		h.Complete(b)
		want := fmt.Sprintf("%s @%d %s%s)", head, born+1000*sec, hist, total)
		if since != "-" {
			want = fmt.Sprintf("%s +0 since %d @%d %s since=(count=1 sum=0 min=NaN max=NaN%s))", head, born+1000*sec-1000, born+1000*sec, hist, since)
		}
		expect(t, signal.Format(b), want)
	}
	old, fresh := fmt.Sprintf(" exemplar=1 @%d - - {}", born+1500), fmt.Sprintf(" exemplar=2 @%d - - {}", born+2500)
	const timeless, another = ` exemplar=3 @0 - - {a="b"}`, ` exemplar=3 @0 - - {a="c"}`
	f(2, old+timeless, old+timeless, "-")
	f(3, old+timeless+fresh, "", fresh)
	f(4, old+timeless+fresh+another, "", another)
	f(5, "", "", "")
}

func TestExponentialBucketsAreSubtractedWhereTheyOverlap(t *testing.T) {
	f := func(total, last signal.Buckets, want string) {
		t.Helper()
		d, ok := subtractBuckets(total, last)
		if got := fmt.Sprint(d, ok); got != want {
			t.Errorf("%v - %v = %s, want %s", total, last, got, want)
		}
	}
	f(signal.Buckets{Offset: 0, Counts: []uint64{5, 6}}, signal.Buckets{Offset: 1, Counts: []uint64{2}}, "{0 [5 4]} true")
	f(signal.Buckets{Offset: -1, Counts: []uint64{1, 5, 6}}, signal.Buckets{Offset: 0, Counts: []uint64{5, 6}}, "{-1 [1 0 0]} true")
	f(signal.Buckets{Offset: 1, Counts: []uint64{5}}, signal.Buckets{Offset: 0, Counts: []uint64{1, 5}}, "{0 []} false")
	f(signal.Buckets{Offset: 1, Counts: []uint64{5}}, signal.Buckets{Offset: 0, Counts: []uint64{0, 5}}, "{1 [0]} true")
}

func TestIncreasesAddUpOverARestart(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	at := func(s int) int64 { return now.Add(time.Duration(s) * time.Second).UnixMilli() }
	base := signal.Labels(signal.LabelHost, "n1")
	first := Spools{}
	for _, k := range signal.Kinds {
		sp, err := spool.Open(dir+"/"+k.String(), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		first[k] = sp
	}
	h := New(first, now)
	h.Configure(Config{}, base, nil)
	for i, v := range []int{100, 110, 125} {
		if err := h.Put(t.Context(), parse(t, signal.Metric, fmt.Sprintf("c{a=\"b\"} counter s %d @%d from 1", v, at(i-30)))); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range first {
		s.Close()
	}
	h = New(open(t, dir), now)
	h.Configure(Config{}, base, nil)
	if err := h.Seed(1 << 20); err != nil {
		t.Fatal(err)
	}
	b := parse(t, signal.Metric, fmt.Sprintf("c{a=\"b\"} counter s 140 @%d from 1", at(5)))
	h.Complete(b)
	if s := b.Samples[0]; s.Delta != 15 || s.Prev != at(-28) {
		t.Errorf("after a restart: %s", signal.Format(b))
	}
}

func TestWhatTheCollectorSaysCountsMore(t *testing.T) {
	h := newHub(t, Config{}, signal.Labels("host.name", "n1", "env", "dev"), nil)
	for _, b := range []*signal.Batch{
		parse(t, signal.Metric, `m{env="prod"} gauge - 1 @1`),
		parse(t, signal.Log, "log {env=\"prod\"} \"f\" 0..5\n@1 - \"x\" {}"),
		parse(t, signal.Event, `event @1 - "" "" "" "" {env="prod"} count=1`),
	} {
		k := b.Kind
		if err := h.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if got := spooled(t, h, k); !strings.Contains(got, `{env="prod",host.name="n1"}`) {
			t.Errorf("%v: %s", k, got)
		}
	}
}

// pods is an Enricher that knows one container, after a while.
type pods struct{ version uint64 }

func (p *pods) Version() uint64 { return p.version }
func (p *pods) Labels(set string) string {
	if p.version > 0 && signal.Lookup(set, "container.id") == "c1" {
		return signal.Labels("k8s.pod.name", "p1")
	}
	return ""
}

func TestTheEnricherIsAskedAgainWhenItKnowsMore(t *testing.T) {
	e := &pods{}
	h := newHub(t, Config{}, "", e)
	get := func() string {
		m := parse(t, signal.Metric, `m{container.id="c1"} gauge - 1 @1`)
		l := parse(t, signal.Log, "log {container.id=\"c1\"} \"f\" 0..5\n@1 - \"x\" {}")
		h.Complete(m)
		h.Complete(l)
		return signal.Lookup(m.Samples[0].Series.Desc().Labels, "k8s.pod.name") + signal.Lookup(l.Logs[0].Stream.Labels(), "k8s.pod.name")
	}
	if got := get(); got != "" {
		t.Errorf("knows %q too early", got)
	}
	e.version++
	if got := get(); got != "p1p1" {
		t.Errorf("knows %q", got)
	}
}

// asked is an Enricher that counts what it is asked.
type asked struct {
	pods
	n int
}

func (a *asked) Labels(set string) string {
	a.n++
	return a.pods.Labels(set)
}

func TestAVersionIsAskedForOncePerSeries(t *testing.T) {
	e := &asked{}
	h := newHub(t, Config{}, "", e)
	put := func(want int) {
		t.Helper()
		m := &signal.Batch{Kind: signal.Metric}
		for i := range 100 {
			m.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m", Type: signal.Gauge, Labels: signal.Labels("container.id", fmt.Sprint("c", i%3), "i", fmt.Sprint(i))}), Time: 1})
		}
		h.Complete(m)
		named := 0
		for _, s := range m.Samples {
			if signal.Lookup(s.Series.Desc().Labels, "k8s.pod.name") != "" {
				named++
			}
		}
		if e.n != want || (named == 33) != (e.version > 0) {
			t.Errorf("asked %d times, want %d; %d have a pod", e.n, want, named)
		}
	}
	put(100)
	put(100)
	e.version += 5 // pods came and went between two batches
	put(200)
	put(200)
	e.version++
	put(300)
}

// held is an Enricher that tells when it has been asked.
type held struct{ once chan struct{} }

func (h held) Version() uint64 { return 0 }
func (h held) Labels(set string) string {
	if signal.Lookup(set, "a") != "" {
		close(h.once)
	}
	return ""
}

func TestMetricsDoNotWaitForLines(t *testing.T) {
	e := held{make(chan struct{})}
	h := newHub(t, Config{}, "", e)
	b := parse(t, signal.Log, "log {a=\"1\"} \"f\" 0..5\n@1 - \"x\" {}")
	busy := &streamEntry{version: 1}
	h.streams[b.Logs[0].Stream] = busy
	busy.work.Lock() // another block of the stream is being worked on
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Complete(b)
	}()
	<-e.once
	h.Complete(parse(t, signal.Metric, "m gauge - 1 @1"))
	busy.work.Unlock()
	<-done
}

func TestAnyNumberOfGoroutinesMayPut(t *testing.T) {
	c := Config{Parse: "auto", Redact: []string{"default", "acme=ACME-[0-9]+"}, Cardinality: Cardinality{MaxSeries: 50, PerMetric: 20}, Rules: []Rule{
		{Kind: "log", Match: `level <= 3`, Action: "count", Name: "errors", Labels: []string{"level"}},
		{Kind: "log", Match: `text =~ "x$"`, Action: "limit", PerSecond: 1},
		{Kind: "log", Match: `text =~ "y$"`, Action: "sample", Rate: 0.5},
	}}
	h := newHub(t, c, "", &pods{version: 1})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 50 {
				for _, b := range []*signal.Batch{
					parse(t, signal.Log, fmt.Sprintf("log {k8s.pod.uid=\"%d\"} \"f\" 0..5\n@1 3 \"oh a@b.com x\" {}\n@2 - \"ACME-1 y\" {}\n@3 - \"x\" {}", i%3)),
					parse(t, signal.Metric, fmt.Sprintf("m{i=\"%d\"} counter - 1 @%d\nm%d gauge - 1 @1", i, g*100+i, i)),
					parse(t, signal.Event, `event @1 - "" "" "for a@b.com" "token=abc" {} count=1`),
				} {
					if err := h.Put(t.Context(), b); err != nil {
						t.Error(err)
					}
				}
				switch i % 10 {
				case 3:
					h.Configure(c, "", &pods{version: uint64(i)})
				case 5:
					if err := h.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				case 7:
					h.Overflows()
					h.Redacted()
				}
			}
		})
	}
	wg.Wait()
	if err := h.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	balanced(t, h)
	if got := spooled(t, h, signal.Log); strings.Contains(got, "a@b.com") || strings.Contains(got, "ACME-1") {
		t.Error("a secret is on the disk")
	}
	st := &h.Stats[signal.Log]
	if st.Counted.Load() != 200 || h.Stats[signal.Metric].Series.Load() > 50 {
		t.Errorf("%d counted, %d series", st.Counted.Load(), h.Stats[signal.Metric].Series.Load())
	}
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	h := newHub(t, Config{Rules: []Rule{
		{Kind: "metric", Match: `name == "go_gc_pause"`, Action: "keep"},
		{Kind: "metric", Match: `name == "go_gc_*"`, Action: "drop"},
		{Kind: "log", Match: `level >= 7`, Action: "drop"},
		{Match: `team == "x"`, Action: "drop"},
	}}, "", nil)
	m := parse(t, signal.Metric, "go_gc_pause gauge - 1 @1\ngo_gc_x gauge - 1 @1\nother{team=\"x\"} gauge - 1 @1\nother gauge - 1 @1")
	h.Complete(m)
	expect(t, signal.Format(m), "go_gc_pause gauge - 1 @1\nother gauge - 1 @1")
	l := parse(t, signal.Log, `
log {} "f" 0..30
  @1 6 "one" {a="1"}
  @2 7 "two" {}
  @3 6 "three" {team="x"}
  @4 - "four" {a="4"}
`)
	h.Complete(l)
	expect(t, signal.Format(l), `
log {} "f" 0..30
  @1 6 "one" {a="1"}
  @4 - "four" {a="4"}
`)
	e := parse(t, signal.Event, "event @1 - \"\" \"\" \"a\" \"\" {team=\"x\"} count=1\nevent @1 - \"\" \"\" \"b\" \"\" {} count=1")
	h.Complete(e)
	expect(t, signal.Format(e), `event @1 - "" "" "b" "" {} count=1`)
	for k, want := range map[signal.Kind]int64{signal.Metric: 2, signal.Log: 2, signal.Event: 1} {
		if n := h.Stats[k].Dropped.Load(); n != want {
			t.Errorf("%v: %d dropped, want %d", k, n, want)
		}
	}
}

func TestCheckNamesEachBadRule(t *testing.T) {
	err := Config{Rules: []Rule{{Kind: "trace", Match: "x", Action: "burn"}, {Match: `name == "x"`, Action: "drop"}}}.Check()
	want := "rules[0].kind: \"trace\" is not metric, log or event\nrules[0].action: \"burn\" is not drop, keep, sample, limit or count\nrules[0].match: column 2: wanted ==, !=, =~, !~, <, <=, > or >= behind x"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestThePutsBooksBalance(t *testing.T) {
	h := newHub(t, Config{Rules: []Rule{{Match: `drop == "yes"`, Action: "drop"}}}, "", nil)
	big := &signal.Batch{Kind: signal.Metric}
	for i := range 2*mostSamples + 5 {
		labels := ""
		if i%3 == 0 {
			labels = signal.Labels("drop", "yes")
		}
		big.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprint("m", i%100), Type: signal.Counter, Labels: labels}), Time: int64(i/5000 + 1)})
	}
	total := int64(big.Len())
	if err := h.Put(t.Context(), big); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	h.spools[signal.Metric].Close()
	if err := h.Put(ended, parse(t, signal.Metric, "late gauge - 1 @1")); err == nil {
		t.Error("a closed spool took a batch")
	}
	st := &h.Stats[signal.Metric]
	if st.In.Load() != total+1 || st.In.Load() != st.Spooled.Load()+st.Dropped.Load()+st.Repeated.Load()+st.Failed.Load() || st.Failed.Load() != 1 {
		t.Errorf("in %d, spooled %d, dropped %d, repeated %d, failed %d", st.In.Load(), st.Spooled.Load(), st.Dropped.Load(), st.Repeated.Load(), st.Failed.Load())
	}
}

func TestReplayGivesTheBlocksBehindAFrame(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	for i := range 3 {
		if err := h.Put(t.Context(), parse(t, signal.Log, fmt.Sprintf("log {} \"f\" %d..%d\n@1 - \"x\" {}", i, i+1))); err != nil {
			t.Fatal(err)
		}
		if i == 0 && h.Newest() != 1 {
			t.Errorf("newest is %d", h.Newest())
		}
	}
	var ends []int64
	if err := h.Replay(1, func(b *signal.Batch) { ends = append(ends, b.Logs[0].End) }); err != nil || fmt.Sprint(ends) != "[2 3]" {
		t.Errorf("%v, %v", ends, err)
	}
}

func TestATapSeesWhatMatchesAndHoldsNothingUp(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	ctx, cancel := context.WithCancel(t.Context())
	m, err := signal.ParseMatch(`name == "a"`)
	if err != nil {
		t.Fatal(err)
	}
	out := h.Tap(ctx, signal.Metric, m)
	for range 100 {
		if err := h.Put(t.Context(), parse(t, signal.Metric, "b gauge - 1 @1\na gauge - 2 @1")); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-out; got != "a gauge - 2 @1\n" {
		t.Errorf("tap shows %q", got)
	}
	if got := spooled(t, h, signal.Metric); strings.Count(got, "b gauge") != 100 {
		t.Error("a tap changed what is spooled")
	}
	cancel()
	for h.taps.Load() != nil {
		runtime.Gosched()
	}
}

func TestConvertingAllocatesNothing(t *testing.T) {
	h := newHub(t, Config{}, signal.Labels("host.name", "n1"), nil)
	b := &signal.Batch{Kind: signal.Metric}
	for i := range 1000 {
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: fmt.Sprint("alloc.m", i), Type: signal.Counter}), Time: 1})
	}
	raw := append([]signal.Sample(nil), b.Samples...)
	now := int64(1)
	if n := testing.AllocsPerRun(20, func() {
		now++
		b.Samples = append(b.Samples[:0], raw...)
		for i := range b.Samples {
			b.Samples[i].Time = now
		}
		h.Complete(b)
	}); n > 1 {
		t.Errorf("%v allocations for 1000 samples", n)
	}
}

func TestWhatIsNowhereGetsNoPlace(t *testing.T) {
	base := signal.Labels(signal.LabelCluster, "c", signal.LabelHost, "leader", signal.LabelHostID, "1", signal.LabelNode, "leader", signal.LabelCloudZone, "z", "team", "x")
	h := newHub(t, Config{}, base, nil)
	for give, want := range map[string]string{
		`m{a="1"} gauge - 1 @1`:                                   `m{a="1",cloud.availability_zone="z",host.id="1",host.name="leader",k8s.cluster.name="c",k8s.node.name="leader",team="x"} gauge - 1 @1`,
		`m{-="1",a="1"} gauge - 1 @1`:                             `m{a="1",k8s.cluster.name="c",team="x"} gauge - 1 @1`,
		`m{-="1",k8s.node.name="n1"} gauge - 1 @1`:                `m{k8s.cluster.name="c",k8s.node.name="n1",team="x"} gauge - 1 @1`,
		`event @1 - "k" "" "t" "" {-="1",host.name="n1"} count=1`: `event @1 - "k" "" "t" "" {host.name="n1",k8s.cluster.name="c",team="x"} count=1`,
	} {
		kind := signal.Metric
		if strings.HasPrefix(give, "event") {
			kind = signal.Event
		}
		b := parse(t, kind, give)
		h.Complete(b)
		if got := strings.TrimSpace(signal.Format(b)); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", give, got, want)
		}
	}
}

// Samples are looked for behind those they stood behind before. Whatever their
// order is, and whatever was forgotten meanwhile, each keeps its own reading.
func TestSamplesInAnyOrderKeepTheirReadings(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	total, sum := map[string]float64{}, map[string]float64{}
	at := int64(1_000_000)
	for round, names := range []string{"abc", "abc", "cba", "aacb", "bd", "abcd", "", "abcd", "abcd"} {
		if names == "" { // one of them is forgotten
			h.mu.Lock()
			for raw, e := range h.series {
				if raw.Desc().Name == "in.order.b" {
					e.seen = 0
				}
			}
			h.swept = time.Time{}
			h.sweepLocked()
			left := len(h.series)
			h.mu.Unlock()
			if left != 3 || h.Stats[signal.Metric].Series.Load() != 3 {
				t.Fatalf("%d series are left, %d counted", left, h.Stats[signal.Metric].Series.Load())
			}
			delete(sum, "b")
			delete(total, "b")
			continue
		}
		b := &signal.Batch{Kind: signal.Metric}
		for i, c := range names {
			at += 2000
			total[string(c)] += float64(10*round + i)
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "in.order." + string(c), Type: signal.Counter}), Start: 1, Time: at, Value: total[string(c)]})
		}
		h.Complete(b)
		for _, s := range b.Samples {
			name := strings.TrimPrefix(s.Series.Desc().Name, "in.order.")
			if s.Prev == 0 {
				sum[name] = s.Value
			}
			if sum[name] += s.Delta; sum[name] != s.Value {
				t.Errorf("round %d: %s adds up to %v, its total is %v", round, name, sum[name], s.Value)
			}
		}
	}
	if n := h.Stats[signal.Metric].Series.Load(); n != 4 {
		t.Errorf("%d series", n)
	}
}

// What a collector calls a series is not kept beside what the hub completes it to.
func TestOneTextIsKeptOfASeries(t *testing.T) {
	const n, text = 10_000, 1000 // of one series
	h := newHub(t, Config{}, signal.Labels(signal.LabelHost, "n1"), nil)
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	b := &signal.Batch{Kind: signal.Metric}
	for i := range n {
		b.Add(signal.Sample{Series: signal.Draft(signal.Desc{
			Name: fmt.Sprint("named.once.", i/10), Type: signal.Gauge, Labels: signal.Labels("i", fmt.Sprint(i), "text", strings.Repeat("x", text)),
		}), Time: born, Value: 1})
	}
	h.Complete(b)
	if each := (heap() - before) / n; each > text*8/5 {
		t.Errorf("%d bytes are kept of a series whose text has %d", each, text)
	}
	runtime.KeepAlive(h)
	runtime.KeepAlive(b)
}
