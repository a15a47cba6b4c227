package statsd

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// fed returns a Source of 10 s intervals, the first of which begins at 0.
func fed(t *testing.T, change func(*Config)) *Source {
	t.Helper()
	c := Default()
	c.Cgroups = "/nonexistent"
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	return New(c, slog.New(slog.DiscardHandler))
}

func (s *Source) feed(packets ...string) {
	s.table.take(len(packets), func(i int) ([]byte, bool) { return []byte(packets[i]), false })
}

// flushed ends an interval and returns it in the readable notation.
func (s *Source) flushed(at int64) string {
	samples, events, _ := s.table.flush(at)
	return signal.Format(&signal.Batch{Kind: signal.Metric, Samples: samples}) +
		signal.Format(&signal.Batch{Kind: signal.Event, Events: events})
}

// balanced fails the test if the books of s do not.
func balanced(t *testing.T, s *Source) {
	t.Helper()
	st := &s.stats
	sum := st.Metrics.Load() + st.Events.Load() + st.Checks.Load() + st.Refused.Load()
	for i := range st.Malformed {
		sum += st.Malformed[i].Load()
	}
	if got := st.Lines.Load(); got != sum {
		t.Errorf("%d lines, %d accounted for", got, sum)
	}
	if got := st.Items.Load() + st.Lost.Load(); got != st.Flushed.Load() {
		t.Errorf("%d items flushed, %d accounted for", st.Flushed.Load(), got)
	}
}

func TestLinesBecomeSamplesOfTheInterval(t *testing.T) {
	f := func(packet, want string) {
		t.Helper()
		s := fed(t, nil)
		s.feed(packet)
		if got := s.flushed(10_000); got != want {
			t.Errorf("%q:\n got %s\nwant %s", packet, got, want)
		}
		balanced(t, s)
	}
	f("jobs:3|c", "jobs delta - 3 @10000\n")
	f("jobs:3|c\njobs:4|c\n", "jobs delta - 7 @10000\n")
	f("jobs:3|c\r\n\n\njobs:-1|c", "jobs delta - 2 @10000\n")
	f("jobs:3|c|@0.5", "jobs delta - 6 @10000\n")
	f("jobs:1:2:3|c|@0.1", "jobs delta - 60 @10000\n")
	f("jobs:1e3|c", "jobs delta - 1000 @10000\n")
	f("jobs:0.25|c|zz:later|!", "jobs delta - 0.25 @10000\n")
	f("jobs:1|c||#a:b|", "jobs{a=\"b\"} delta - 1 @10000\n")
	f("jobs:1|c|#b:2,a:1\njobs:1|c|#a:1,b:2", "jobs{a=\"1\",b=\"2\"} delta - 2 @10000\n")
	f("jobs:1|c|#canary,,:x, q:http://h:1/", "jobs{canary=\"true\",q=\"http://h:1/\"} delta - 1 @10000\n")
	f("jobs:1|c|#a:1,a:2", "jobs{a=\"2\"} delta - 1 @10000\n")
	f("jobs:1|c|#env:prod,service:shop,version:3,host:h1", "jobs{deployment.environment.name=\"prod\",host.name=\"h1\",service.name=\"shop\",service.version=\"3\"} delta - 1 @10000\n")
	f("jobs:1|c|#dd.internal.entity_id:u-1,dd.internal.card:low", "jobs{k8s.pod.uid=\"u-1\"} delta - 1 @10000\n")
	f("a b{}:1|c", "a_b__ delta - 1 @10000\n")
	f("temp:5|g\ntemp:3.5|g", "temp gauge - 3.5 @10000\n")
	f("temp:5|g\ntemp:+3|g\ntemp:-1|g", "temp gauge - 7 @10000\n")
	f("temp:-4|g", "temp gauge - -4 @10000\n")
	f("temp:-4|g|#a:b\ntemp:-4|g|#a:b", "temp{a=\"b\"} gauge - -4 @10000\n")
	f("temp:-4|g|card:low\ntemp:-4|g|card:low", "temp gauge - -4 @10000\n")
	f("users:a|s\nusers:b|s\nusers:a|s\nusers:x:y|s", "users gauge {element} 3 @10000\n")
	f("took:2|ms", "took dist ms 0 @10000 hist (count=1 sum=2 min=2 max=2 scale=6 zero=0 width=0 pos=63:[1] neg=0:[])\n")
	f("size:2:4|h|@0.5", "size dist - 0 @10000 hist (count=4 sum=12 min=2 max=4 scale=6 zero=0 width=0 pos=63:[2"+strings.Repeat(" 0", 63)+" 2] neg=0:[])\n")
	f("size:0|d\nsize:-2|d", "size dist - 0 @10000 hist (count=2 sum=-2 min=-2 max=0 scale=6 zero=1 width=0 pos=0:[] neg=63:[1])\n")
	f("jobs:2|c|T1700000000\njobs:3|c|T1700000000\njobs:1|c", "jobs delta - 1 @10000\njobs delta - 5 @1700000000000 from 1699999999000\n")
	f("temp:2|g|T1700000000\ntemp:3|g|T1700000001", "temp gauge - 2 @1700000000000\ntemp gauge - 3 @1700000001000\n")
	f("jobs:1|c|c:abc", "jobs{container.id=\"abc\"} delta - 1 @10000\n")
	f("jobs:1|c|c:ci-abc", "jobs{container.id=\"abc\"} delta - 1 @10000\n")
	f("jobs:1|c|e:it-false,cn-web-1,pu-75a2-b6", "jobs{k8s.container.name=\"web-1\",k8s.pod.uid=\"75a2-b6\"} delta - 1 @10000\n")
	f("_e{5,7}:title|a\\nb|cd|d:5|h:h1|k:key|p:low|s:src|t:error|#a:b|c:ci-x",
		"event @5000000000 3 \"statsd\" \"key\" \"title\" \"a\\nb|cd\" {a=\"b\",container.id=\"x\",host.name=\"h1\",log.source=\"src\",priority=\"low\"} count=0\n")
	f("_sc|db.up|2|d:5|h:h1|#a:b|m:no\\nm\\:answer|c:ci-x",
		"event @5000000000 3 \"statsd\" \"db.up\" \"db.up\" \"no\\nm:answer\" {a=\"b\",container.id=\"x\",host.name=\"h1\"} count=0 check=\"db.up\" status=2\n")
	f("_edge:1|c", "_edge delta - 1 @10000\n")
	f("caf\xff:1|c|#a:\xff", "caf\uFFFD{a=\"\uFFFD\"} delta - 1 @10000\n")
}

func TestMalformedLinesAreCountedByReasonAndHarmNoOther(t *testing.T) {
	f := func(line string, want Reason) {
		t.Helper()
		s := fed(t, nil)
		s.feed("before:1|c\n" + line + "\nafter:1|c")
		if n := s.stats.Malformed[want].Load(); n != 1 {
			t.Errorf("%q: %d lines malformed for their %v", line, n, want)
		}
		if got, want := s.flushed(10_000), "before delta - 1 @10000\nafter delta - 1 @10000\n"; got != want {
			t.Errorf("%q: its neighbours became %s", line, got)
		}
		balanced(t, s)
	}
	f("x", BadName)
	f(":1|c", BadName)
	f("a|b:1|c", BadName)
	f("a\x01:1|c", BadName)
	f(strings.Repeat("n", 513)+":1|c", BadName)
	f("x:|c", BadValue)
	f("x:1:|c", BadValue)
	f("x:1:y:2|c", BadValue)
	f("x:NaN|g", BadValue)
	f("x:Inf|g", BadValue)
	f("x:0x10|g", BadValue)
	f("x:1_0|g", BadValue)
	f("x:1e300|g", BadValue)
	f("x:1-1|g", BadValue)
	f("x:"+strings.Repeat("1", 65)+"|g", BadValue)
	f("x:|s", BadValue)
	f("x:1", BadType)
	f("x:1|", BadType)
	f("x:1|q", BadType)
	f("x:1|c:2|c", BadType)
	f("x:1|c|@0", BadRate)
	f("x:1|c|@1.1", BadRate)
	f("x:1|c|@-1", BadRate)
	f("x:1|c|@1e-10", BadRate)
	f("x:1|c|@", BadRate)
	f("x:1|c|T", BadStamp)
	f("x:1|c|T-5", BadStamp)
	f("x:1|c|T0", BadStamp)
	f("x:1|c|T9999999999", BadStamp)
	f("x:1|ms|T1700000000", BadStamp)
	f("_e{5,4}:title", BadEvent)
	f("_e{5,9}:title|text", BadEvent)
	f("_e{0,4}:|text", BadEvent)
	f("_e{4,4}:title|text", BadEvent)
	f("_e{5,3}:title|text", BadEvent)
	f("_e{-1,4}:title|text", BadEvent)
	f("_e{5}:title|text", BadEvent)
	f("_e{5,4}:title|text|d:x", BadEvent)
	f("_sc|x", BadCheck)
	f("_sc|x|4", BadCheck)
	f("_sc||1", BadCheck)
	f("_sc|x|1|d:x", BadCheck)
}

func TestTheEndOfALongDatagramIsNotTakenForALine(t *testing.T) {
	s := fed(t, nil)
	s.table.take(1, func(int) ([]byte, bool) { return []byte("a:1|c\nb:12"), true })
	s.table.take(1, func(int) ([]byte, bool) { return []byte("a:1|c\n"), true })
	if got := s.flushed(10_000); got != "a delta - 2 @10000\n" || s.stats.Malformed[Truncated].Load() != 1 {
		t.Errorf("got %s, %d truncated", got, s.stats.Malformed[Truncated].Load())
	}
	balanced(t, s)
}

func TestSignsAreAsConfigured(t *testing.T) {
	f := func(signs, line string, want float64) {
		t.Helper()
		s := fed(t, func(c *Config) { c.Signs = signs })
		s.feed(line, line)
		samples, _, _ := s.table.flush(10_000)
		if samples[0].Value != want {
			t.Errorf("%s, %s twice: %v, want %v", signs, line, samples[0].Value, want)
		}
	}
	f("auto", "x:-2|g", -4)
	f("auto", "x:-2|g|#a:b", -2)
	f("relative", "x:-2|g|#a:b", -4)
	f("absolute", "x:-2|g", -2)
	f("relative", "x:2|g", 2)
}

func TestIdleSeriesSayZeroOrTheirLastAndEnd(t *testing.T) {
	s := fed(t, func(c *Config) { c.Expire = 20e9 })
	s.feed("n:1|c\ng:5|g\nu:a|s\nh:1|h")
	f := func(at int64, want string) {
		t.Helper()
		if got := s.flushed(at); got != want {
			t.Errorf("at %d:\n got %s\nwant %s", at, got, want)
		}
	}
	f(10_000, "n delta - 1 @10000\ng gauge - 5 @10000\nu gauge {element} 1 @10000\n"+
		"h dist - 0 @10000 hist (count=1 sum=1 min=1 max=1 scale=6 zero=0 width=0 pos=-1:[1] neg=0:[])\n")
	f(20_000, "n delta - 0 @20000 from 10000\ng gauge - 5 @20000\n")
	s.feed("g:+1|g")
	f(30_000, "n delta - 0 @30000 from 20000\ng gauge - 6 @30000\n")
	f(40_000, "g gauge - 6 @40000\n")
	f(50_000, "g gauge - 6 @50000\n")
	f(60_000, "")
	if s.stats.Series.Load() != 0 || s.stats.Expired.Load() != 4 || len(s.table.alias)+len(s.table.known) != 0 {
		t.Errorf("%d series left, %d expired, %d aliases", s.stats.Series.Load(), s.stats.Expired.Load(), len(s.table.alias))
	}
	s.feed("g:+1|g")
	f(70_000, "g gauge - 1 @70000\n")
}

func TestAClockSetBackMakesNoIntervalThatEndsBeforeItBegins(t *testing.T) {
	s := fed(t, nil)
	s.feed("n:1|c")
	s.flushed(100_000)
	s.feed("n:2|c")
	if got, want := s.flushed(50_000), "n delta - 2 @50000 from 40000\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSeriesAboveTheLimitFoldIntoOneAndTheCulpritIsNamed(t *testing.T) {
	s := fed(t, func(c *Config) { c.MaxSeries = 2 })
	s.feed("n:1|c|#id:1\nn:1|c|#id:2\nn:1|c|#id:3\nn:1|c|#id:4\nn:1|c|#id:1")
	samples, events, bad := s.table.flush(10_000)
	got := signal.Format(&signal.Batch{Kind: signal.Metric, Samples: samples})
	if want := "n{id=\"1\"} delta - 2 @10000\nn{id=\"2\"} delta - 1 @10000\nn{overflow=\"true\"} delta - 2 @10000\n"; got != want || len(events) != 0 {
		t.Errorf("got %s, want %s", got, want)
	}
	s.sayMalformed(bad)
	if tr := s.Trouble(); len(tr) != 1 || !strings.Contains(tr[0], `"n"`) || !strings.Contains(tr[0], "id:4") {
		t.Errorf("trouble %q", tr)
	}
	if s.stats.Folded.Load() != 2 {
		t.Errorf("%d lines folded", s.stats.Folded.Load())
	}
	for i := range maxFolds + 10 { // too many names even for that
		s.feed(fmt.Sprintf("n%d:1|c", i))
	}
	if got := s.stats.Refused.Load(); got != 11 {
		t.Errorf("%d lines refused, want 11", got)
	}
	balanced(t, s)
}

func TestAWeightThatIsNoWholeNumberAddsUp(t *testing.T) {
	s := fed(t, nil)
	for range 300 {
		s.feed("h:1|h|@0.3")
	}
	samples, _, _ := s.table.flush(10_000)
	if n := samples[0].Hist.Count; n != 1000 {
		t.Errorf("300 values at a rate of 0.3 count as %d", n)
	}
}

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := map[string]func() float64{
		"lognormal": func() float64 { return math.Exp(rng.NormFloat64()*2 + 3) },
		"uniform":   func() float64 { return rng.Float64() * 1000 },
		"negative":  func() float64 { return rng.NormFloat64() * 100 },
		"wide":      func() float64 { return math.Pow(10, rng.Float64()*18-9) },
	}
	for name, draw := range shapes {
		s := fed(t, func(c *Config) { c.Percentiles = []float64{1, 25, 50, 75, 90, 95, 99, 99.9} })
		var all []float64
		for range 20_000 {
			v := draw()
			all = append(all, v)
			s.feed(fmt.Sprintf("x:%v|d", v))
		}
		slices.Sort(all)
		samples, _, _ := s.table.flush(10_000)
		h := samples[0].Hist
		total := h.Zero
		for _, n := range slices.Concat(h.Pos.Counts, h.Neg.Counts) {
			total += n
		}
		if total != h.Count || h.Count != 20_000 || h.Min != all[0] || h.Max != all[len(all)-1] {
			t.Errorf("%s: %d of %d values in buckets", name, total, h.Count)
		}
		for _, q := range h.Quantiles {
			want := all[int(math.Ceil(q.Q*float64(len(all))))-1]
			if math.Abs(q.Value-want) > 0.01*math.Abs(want) {
				t.Errorf("%s: p%v is %v, want %v", name, q.Q*100, q.Value, want)
			}
		}
	}
}

func TestValuesOutOfRangeOfTheBucketsCountAsZeroAndAreNotLost(t *testing.T) {
	f := func(values ...float64) {
		t.Helper()
		var h histogram
		for _, v := range values {
			h.add(v, 1)
		}
		out := h.take(nil)
		total := out.Zero
		for _, n := range slices.Concat(out.Pos.Counts, out.Neg.Counts) {
			total += n
		}
		if total != uint64(len(values)) || len(out.Pos.Counts) > maxBuckets {
			t.Errorf("%v: %d counted in %d buckets", values, total, len(out.Pos.Counts))
		}
		for _, v := range values {
			i := int(math.Ceil(math.Log2(v)*64)) - 1 - int(out.Pos.Offset)
			inBucket := i >= 0 && i < len(out.Pos.Counts) && out.Pos.Counts[i] > 0
			if !inBucket && !(v <= out.ZeroWidth) {
				t.Errorf("%v: %v is in no bucket, and zero is ±%v", values, v, out.ZeroWidth)
			}
		}
	}
	f(1e-20, 1e-19, 1e20)
	f(1e20, 1e-20, 1e-19)
	f(1e-20, 1, 1e20, 1e290)
	f(1e-200, 1e200)
	f(1, 5, 2, 1e-5, 1e5)
	f(1e-300, 1)
}

func TestSetsAreExactAndThenWithinTwoPercent(t *testing.T) {
	f := func(n int, tolerance float64) {
		t.Helper()
		s := fed(t, nil)
		for range 2 {
			for i := range n {
				s.feed(fmt.Sprintf("u:user%d|s", i))
			}
		}
		samples, _, _ := s.table.flush(10_000)
		if got := samples[0].Value; math.Abs(got-float64(n)) > tolerance*float64(n) {
			t.Errorf("%d members count as %v", n, got)
		}
	}
	f(1, 0)
	f(maxMembers, 0)
	f(300_000, 0.02) // a standard error of 0.4 to 0.6 %
}

func TestAnInodeIsLookedUpAmongTheCgroups(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	s := fed(t, func(c *Config) { c.Cgroups = t.TempDir() })
	dir := filepath.Join(s.conf.Cgroups, "kubepods.slice", "cri-containerd-"+id+".scope")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	s.feed(fmt.Sprintf("n:1|c|c:in-%d", inode), "n:1|c|c:in-1")
	want := fmt.Sprintf("n{container.id=%q} delta - 1 @10000\nn delta - 1 @10000\n", id)
	if got := s.flushed(10_000); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if n := s.stats.Unresolved.Load(); n != 1 {
		t.Errorf("%d unresolved", n)
	}
}

func TestEventsBeyondTheBoundAreRefusedAndCounted(t *testing.T) {
	s := fed(t, nil)
	for range maxEvents + 3 {
		s.feed("_e{1,1}:a|b")
	}
	if s.stats.Refused.Load() != 3 || s.stats.Events.Load() != maxEvents {
		t.Errorf("%d refused of %d", s.stats.Refused.Load(), s.stats.Lines.Load())
	}
	balanced(t, s)
}

func TestAPacketCostsNoAllocation(t *testing.T) {
	s := fed(t, nil)
	packet := []byte("jobs:3|c|@0.5|#env:prod,zone:a\ntemp:21.5|g|#room:1\ntook:12.75:13.5|ms|#a:b|c:ci-abc\nsize:12|d\nusers:u1|s\n")
	give := func(int) ([]byte, bool) { return packet, false }
	if n := testing.AllocsPerRun(1000, func() { s.table.take(1, give) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCheckNamesEveryComplaint(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	f := func(key string, change func(*Config)) {
		t.Helper()
		c := Default()
		change(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
	f("enabled", func(c *Config) { c.Enabled = "auto" })
	f("listen", func(c *Config) { c.Listen = nil })
	f("listen[0]", func(c *Config) { c.Listen = []string{"127.0.0.1:8125"} })
	f("listen[0]", func(c *Config) { c.Listen = []string{"udp://8125"} })
	f("listen[0]", func(c *Config) { c.Listen = []string{"unix://run/x.sock"} })
	f("listen[0]", func(c *Config) { c.Listen = []string{"unixgram:///" + strings.Repeat("x", 107)} })
	f("listen[1]", func(c *Config) { c.Listen = []string{"udp://:1", "udp://:1"} })
	f("flush", func(c *Config) { c.Flush = 1500e6 })
	f("percentiles[1]", func(c *Config) { c.Percentiles = []float64{50, math.NaN()} })
	f("expire", func(c *Config) { c.Expire = 1e9 })
	f("signs", func(c *Config) { c.Signs = "" })
	f("max_series", func(c *Config) { c.MaxSeries = 0 })
	f("buffer", func(c *Config) { c.Buffer = 1 })
	f("cgroups", func(c *Config) { c.Cgroups = "x" })
	c := Default()
	c.Signs, c.Buffer = "", 0
	var joined interface{ Unwrap() []error }
	if !errors.As(c.Check(), &joined) || len(joined.Unwrap()) != 2 {
		t.Errorf("two complaints: %v", c.Check())
	}
}

func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		"jobs:1:2|c|@0.1|#a:b,c|c:ci-x|e:cn-a,pu-b|T1700000000|card:low\n", "t:-1.5e3|ms\nu:a:b|s", "_e{5,4}:title|text|d:1|#a:b",
		"_sc|n|0|d:1|m:x\\nm\\:", "x:+1|g\nx:-1|g", "h:1e-300:1e290|h|@1e-9", "\r\n||:::|||",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		s := fed(t, func(c *Config) { c.MaxSeries, c.Percentiles = 3, []float64{50} })
		kept := slices.Clone(p)
		s.feed(string(p))
		s.table.take(1, func(int) ([]byte, bool) { return p, true })
		if !slices.Equal(p, kept) {
			t.Error("the packet was written to")
		}
		balanced(t, s)
		samples, events, _ := s.table.flush(10_000)
		for _, b := range []*signal.Batch{{Kind: signal.Metric, Samples: samples}, {Kind: signal.Event, Events: events}} {
			var back signal.Batch
			if err := signal.AppendFromFrame(&back, signal.AppendFrame(nil, b)); err != nil {
				t.Fatal(err)
			}
			if got, want := signal.Format(&back), signal.Format(b); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		for i := range samples {
			x := &samples[i]
			if d := x.Series.Desc(); d.Name == "" || signal.Sorted(d.Labels) != d.Labels {
				t.Errorf("series %+v", d)
			}
			if math.IsNaN(x.Value) || math.IsInf(x.Value, 0) || x.Hist != nil && math.IsInf(x.Hist.Sum, 0) {
				t.Errorf("no finite value: %+v", x)
			}
		}
	})
}
