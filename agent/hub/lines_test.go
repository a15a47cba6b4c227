package hub

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// logs completes a log batch in the readable notation and returns it.
func logs(t *testing.T, h *Hub, text string) string {
	t.Helper()
	b := parse(t, signal.Log, text)
	h.Complete(b)
	return signal.Format(b)
}

// many is one block of n lines, the first with the ID start.
func many(stream string, start, n int, text string) string {
	var w strings.Builder
	fmt.Fprintf(&w, "log %s \"f\" %d..%d\n", stream, start, start+n)
	for i := range n {
		fmt.Fprintf(&w, "  @%d - %q {}\n", i+1, text)
	}
	return w.String()
}

func balanced(t *testing.T, h *Hub) {
	t.Helper()
	for _, k := range signal.Kinds {
		st := &h.Stats[k]
		sum := st.Spooled.Load() + st.Failed.Load()
		for _, n := range st.Left() {
			sum += n
		}
		if st.In.Load() != sum {
			t.Errorf("%v: in %d, out %d", k, st.In.Load(), sum)
		}
	}
}

func TestLinesAreParsedAsTheirStreamSays(t *testing.T) {
	h := newHub(t, Config{Parse: "json"}, "", nil)
	const line = `"{\"level\":\"error\",\"time\":\"2023-11-14T22:13:20Z\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}"`
	f := func(stream, want string) {
		t.Helper()
		got := logs(t, h, "log "+stream+" \"f\" 0..9\n@1700000000000000005 - "+line+` {a="b"}`)
		expect(t, got, want)
	}
	asIs := ` "f" 0..9` + "\n  @1700000000000000005 - " + line + ` {a="b"}`
	read := ` "f" 0..9` + "\n  @1700000000000000000 3 " + line + ` {a="b",trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}`
	f("{}", "log {}"+asIs) // a plain file: only where its entry says so
	f(`{causeway.log.parse="json"}`, "log {}"+read)
	f(`{causeway.log.parse="none",k8s.pod.uid="u"}`, `log {k8s.pod.uid="u"}`+asIs)
	f(`{k8s.pod.uid="u"}`, `log {k8s.pod.uid="u"}`+read)
	f(`{container.id="c"}`, `log {container.id="c"}`+read)
	f(`{causeway.log.parse="no such form",k8s.pod.uid="v"}`, `log {k8s.pod.uid="v"}`+asIs)
	h.Configure(Config{}, "", nil)
	f(`{k8s.pod.uid="u"}`, `log {k8s.pod.uid="u"}`+asIs)
	if st := &h.Stats[signal.Log]; st.Parsed.Load() != 3 || st.Unparsed.Load() != 0 {
		t.Errorf("%d parsed, %d not", st.Parsed.Load(), st.Unparsed.Load())
	}
}

func TestALineThatDoesNotFitItsFormStaysAsItIs(t *testing.T) {
	h := newHub(t, Config{Parse: "json"}, "", nil)
	const in = "log {k8s.pod.uid=\"u\"} \"f\" 0..9\n  @5 6 \"no json\" {a=\"b\"}\n  @6 - \"{\" {}\n"
	expect(t, logs(t, h, in), in)
	if n := h.Stats[signal.Log].Unparsed.Load(); n != 2 {
		t.Errorf("%d counted", n)
	}
}

func TestAStreamThatNobodyWantsKeepsItsOffsetsOnly(t *testing.T) {
	h := newHub(t, Config{}, "", nil)
	if err := h.Put(t.Context(), parse(t, signal.Log, `log {a="b",causeway.log.skip="true"} "f" 3..9`+"\n@1 - \"x\" {}\n@2 - \"y\" {}\nlog {} \"g\" 0..1\n@1 - \"z\" {}")); err != nil {
		t.Fatal(err)
	}
	expect(t, spooled(t, h, signal.Log), `log {a="b"} "f" 3..9`+"\nlog {} \"g\" 0..1\n  @1 - \"z\" {}")
	if n := h.Stats[signal.Log].Skipped.Load(); n != 2 {
		t.Errorf("%d skipped", n)
	}
	balanced(t, h)
}

func TestRulesSeeWhatALineSaysOfItself(t *testing.T) {
	h := newHub(t, Config{Parse: "json", Rules: []Rule{
		{Kind: "log", Match: `level >= 7 || trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"`, Action: "drop"},
	}}, "", nil)
	got := logs(t, h, "log {k8s.pod.uid=\"u\"} \"f\" 0..9\n"+
		`@1 - "{\"level\":\"debug\"}" {}`+"\n"+`@2 - "{\"level\":\"info\",\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}" {}`+"\n"+`@3 - "{\"level\":\"info\"}" {}`)
	expect(t, got, "log {k8s.pod.uid=\"u\"} \"f\" 0..9\n"+`  @3 6 "{\"level\":\"info\"}" {}`)
}

func TestASampleIsTheSameWheneverItIsTaken(t *testing.T) {
	rules := []Rule{{Kind: "log", Match: `text == "x"`, Action: "sample", Rate: 0.1}}
	h := newHub(t, Config{Rules: rules}, "", nil)
	once := logs(t, h, many("{}", 0, 10000, "x"))
	kept := strings.Count(once, "@")
	if kept < 900 || kept > 1100 {
		t.Errorf("%d of 10000 are no tenth", kept)
	}
	if again := logs(t, newHub(t, Config{Rules: rules}, "", nil), many("{}", 0, 10000, "x")); again != once {
		t.Error("another hub takes another sample")
	}
	if other := logs(t, h, strings.Replace(many("{}", 0, 10000, "x"), `"f"`, `"g"`, 1)); strings.ReplaceAll(other, `"g"`, `"f"`) == once {
		t.Error("each file has the same sample")
	}
	if got := logs(t, h, many("{}", 0, 3, "y")); strings.Count(got, "@") != 3 {
		t.Error("what does not match is sampled")
	}
	if st := &h.Stats[signal.Log]; st.Sampled.Load() < 2*(10000-1100) {
		t.Errorf("%d counted", st.Sampled.Load())
	}
}

func TestALimitIsPerStreamAndSaysWhatItLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, Config{Rules: []Rule{{Kind: "log", Match: `text != "vital"`, Action: "limit", PerSecond: 2, Burst: 5}}}, "", nil)
		put := func(stream, text string, n int) {
			t.Helper()
			if err := h.Put(t.Context(), parse(t, signal.Log, many(stream, 0, n, text))); err != nil {
				t.Fatal(err)
			}
		}
		count := func(want string) {
			t.Helper()
			out := spooled(t, h, signal.Log)
			told := ""
			for l := range strings.Lines(out) {
				if i := strings.Index(l, "causeway: "); i >= 0 {
					told += strings.TrimSpace(l[i:])
				}
			}
			if got := fmt.Sprintf("%d %d %s", strings.Count(out, `"x"`), strings.Count(out, `"vital"`), told); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		put(`{a="1"}`, "x", 12)
		put(`{a="2"}`, "x", 3)
		put(`{a="1"}`, "vital", 4)
		count("8 4 ")
		time.Sleep(time.Second)
		put(`{a="1"}`, "x", 3)
		count("10 4 ")
		time.Sleep(flushEvery)
		put(`{a="2"}`, "vital", 1)
		const one = `causeway: 8 lines of this stream left out by rule text != \"vital\"" {}`
		count("10 5 " + one)
		put(`{a="1"}`, "x", 7) // 5 pass: the bucket is full again
		if err := h.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		count("15 5 " + one + strings.Replace(one, " 8 ", " 2 ", 1))
		if err := h.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		count("15 5 " + one + strings.Replace(one, " 8 ", " 2 ", 1))
		balanced(t, h)
	})
}

func TestANewConfigurationStillSaysWhatTheOldOneLeftOut(t *testing.T) {
	h := newHub(t, Config{Rules: []Rule{{Kind: "log", Match: `text == "x"`, Action: "limit", PerSecond: 0.001}}}, "", nil)
	if err := h.Put(t.Context(), parse(t, signal.Log, many("{}", 0, 5, "x"))); err != nil {
		t.Fatal(err)
	}
	h.Configure(Config{Rules: []Rule{{Kind: "log", Match: `text == "y"`, Action: "drop"}}}, "", nil)
	if err := h.Put(t.Context(), parse(t, signal.Log, many("{}", 0, 2, "x"))); err != nil {
		t.Fatal(err)
	}
	if err := h.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := spooled(t, h, signal.Log); !strings.Contains(got, "causeway: 4 lines of this stream left out") {
		t.Error(got)
	}
	h.Configure(Config{Rules: []Rule{{Kind: "log", Match: `text == "y"`, Action: "drop"}}}, "", nil)
	b := parse(t, signal.Log, many("{}", 0, 2, "x"))
	e := h.streams[b.Logs[0].Stream]
	if err := h.Put(t.Context(), b); err != nil || len(e.buckets) != 0 {
		t.Errorf("%d rules of before are still kept", len(e.buckets))
	}
	balanced(t, h)
}

func TestCountersWhoseLinesAreGoneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := Rule{Kind: "log", Match: `text == "x"`, Action: "count", Name: "n", Labels: []string{"a"}}
		again := rule
		again.Match = `text == "x" && a == "1"`
		h := newHub(t, Config{Rules: []Rule{rule, again}}, "", nil)
		put := func(stream, want string) {
			t.Helper()
			before := spooled(t, h, signal.Metric)
			logs(t, h, many(stream, 0, 2, "x"))
			if err := h.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := ""
			for l := range strings.Lines(strings.TrimPrefix(spooled(t, h, signal.Metric), before)) {
				got += strings.Join(strings.Fields(l)[:4], " ") + "\n"
			}
			expect(t, got, want)
		}
		put(`{a="1"}`, `n{a="1"} counter {line} 4`) // two rules count into one series
		time.Sleep(Forget / 2)
		put(`{a="2"}`, "n{a=\"1\"} counter {line} 4\nn{a=\"2\"} counter {line} 2")
		time.Sleep(Forget/2 + time.Second)
		put(`{a="2"}`, `n{a="2"} counter {line} 4`)
	})
}

func TestLinesAreCountedIntoAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Redact: []string{"default"}, Rules: []Rule{
			{Kind: "log", Match: `level <= 3`, Action: "count", Name: "app.errors", Labels: []string{"team", "user", "level", "nothing"}},
			{Kind: "log", Match: `text == "drop me"`, Action: "drop"},
		}}
		h := New(open(t, t.TempDir()), time.Now())
		h.Configure(c, signal.Labels("host.name", "n1"), nil)
		put := func(text string) {
			t.Helper()
			if err := h.Put(t.Context(), parse(t, signal.Log, text)); err != nil {
				t.Fatal(err)
			}
		}
		tick := func() {
			t.Helper()
			time.Sleep(flushEvery)
			if err := h.Put(t.Context(), parse(t, signal.Metric, "g gauge - 1 @1")); err != nil {
				t.Fatal(err)
			}
		}
		tick()
		start := time.Now().UnixMilli()
		lines := "log {team=\"a\"} \"f\" 0..9\n@1 3 \"x\" {}\n@1 4 \"x\" {}\n@1 3 \"drop me\" {}\n@1 2 \"x\" {user=\"jane@example.com\"}\nlog {team=\"b\"} \"f\" 0..9\n@1 3 \"x\" {}"
		put(lines)
		tick()
		h.Configure(c, signal.Labels("host.name", "n1"), nil) // totals go on
		put(lines)
		tick()
		got := spooled(t, h, signal.Metric)
		for _, want := range []string{
			fmt.Sprintf("app.errors{host.name=\"n1\",level=\"3\",team=\"a\"} counter {line} 4 +2 since %d @%d from %d", start+10000, start+20000, start),
			fmt.Sprintf("app.errors{host.name=\"n1\",level=\"2\",team=\"a\",user=\"[redacted:email]\"} counter {line} 2 +1 since %d @%d from %d", start+10000, start+20000, start),
			fmt.Sprintf("app.errors{host.name=\"n1\",level=\"3\",team=\"b\"} counter {line} 1 +1 since %d @%d from %d", start, start+10000, start),
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
		if out := spooled(t, h, signal.Log); strings.Count(out, "@1 ") != 8 {
			t.Errorf("a count decides nothing: %s", out)
		}
		balanced(t, h)
	})
}

func TestCountedLabelsAreBounded(t *testing.T) {
	h := newHub(t, Config{Rules: []Rule{{Kind: "log", Match: `text == "x"`, Action: "count", Name: "n", Labels: []string{"id"}}}}, "", nil)
	var w strings.Builder
	w.WriteString("log {} \"f\" 0..9\n")
	for i := range mostCounts + 7 {
		fmt.Fprintf(&w, "@1 - \"x\" {id=\"%d\"}\n", i)
	}
	logs(t, h, w.String())
	if err := h.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := spooled(t, h, signal.Metric)
	if strings.Count(got, "\n") != mostCounts+1 || !strings.Contains(got, `n{overflow="true"} counter {line} 7 `) {
		t.Errorf("%d series; %s", strings.Count(got, "\n"), got[:200])
	}
}

func TestRulesForLinesAreChecked(t *testing.T) {
	err := Config{Parse: "xml", Cardinality: Cardinality{MaxSeries: -1}, Rules: []Rule{
		{Match: `level < 1`, Action: "sample", Rate: 1.5},
		{Kind: "log", Match: `level < 1`, Action: "drop", Rate: 0.5, PerSecond: 1, Burst: 1, Name: "x", Labels: []string{"a"}},
		{Kind: "log", Match: `level < 1`, Action: "limit", Burst: -1},
		{Kind: "log", Match: `level < 1`, Action: "count", Labels: []string{""}},
		{Kind: "log", Match: `level < 1`, Action: "count", Name: "ok", Labels: []string{"a"}},
	}}.Check()
	if err == nil {
		t.Fatal("no complaint")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		"rules[0].kind: must be log, since only lines can be sampled", "rules[0].rate: must be above 0 and below 1",
		"rules[1].rate: is for action sample", "rules[1].per_second: is for action limit", "rules[1].burst: is for action limit",
		"rules[1].name: is for action count", "rules[1].labels: is for action count",
		"rules[2].per_second: must be above 0", "rules[2].burst: must be at least 0",
		"rules[3].name: must be a metric's name, such as app.errors", "rules[3].labels: must be without empty names",
		"parse: ", "cardinality.max_series: must not be negative; 0 is the default",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("got %q", got)
		}
	}
}

// Whatever the lines: each has one fate, offsets and order stay, and labels are
// valid label sets.
func FuzzLines(f *testing.F) {
	for _, c := range secrets() {
		f.Add(c.line+"\n"+jsonLine+"\n"+c.line, "client=\x01a@b.cd", uint8(3))
	}
	f.Add("level=debug msg=x\n\nlevel=error password=x", "", uint8(1))
	c := Config{Parse: "auto", Redact: []string{"default"}, Rules: []Rule{
		{Kind: "log", Match: `level >= 7`, Action: "drop"},
		{Kind: "log", Match: `level <= 3`, Action: "count", Name: "errors", Labels: []string{"client", "level"}},
		{Kind: "log", Match: `text =~ "x$"`, Action: "limit", PerSecond: 1, Burst: 2},
		{Kind: "log", Match: `text =~ "^[a-m]"`, Action: "sample", Rate: 0.5},
	}}
	f.Fuzz(func(t *testing.T, text, attrs string, level uint8) {
		h := New(nil, time.UnixMilli(born))
		h.Configure(c, signal.Labels("host.name", "n1"), nil)
		own := signal.Labels("client", attrs, "n", "1")
		blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels(signal.LabelPodUID, "u")), File: "f", Start: 5, End: 9}
		for i, l := range strings.Split(text, "\n") {
			blk.Append(born*1e6+int64(i), level, []byte(l), []byte(own))
		}
		n := int64(len(blk.Lines))
		b := &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}}
		h.Complete(b)
		st := &h.Stats[signal.Log]
		if n != int64(b.Len())+st.Dropped.Load()+st.Sampled.Load()+st.Limited.Load() || b.Logs[0].End != 9 || b.Logs[0].Start != 5 {
			t.Fatalf("%d lines became %d", n, b.Len())
		}
		for l := range b.LinesIn(0, b.Len()) {
			set := string(l.Attrs)
			if signal.Sorted(set) != set || signal.Lookup(set, "n") == "" {
				t.Fatalf("labels of %q: %q", l.Text, set)
			}
			for k, v := range signal.Walk(set) {
				set = strings.TrimPrefix(set, string(signal.AppendLabel(nil, k, v)))
			}
			if set != "" {
				t.Fatalf("labels of %q end in %q", l.Text, set)
			}
		}
	})
}
