package prom

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// reader reads pages one after another as a target does.
type reader struct {
	t *testing.T
	p *page
}

func newReader(t *testing.T, sp spec) *reader {
	t.Helper()
	if sp.maxSamples == 0 {
		sp.maxSamples = 1000
	}
	rules, err := compile("metric_relabel", sp.rules)
	if err != nil {
		t.Fatal(err)
	}
	return &reader{t, newPage(&sp, rules)}
}

// read reads a page at a time and returns what it gave, or the error.
func (r *reader) read(at int64, format, text string) (string, error) {
	r.t.Helper()
	r.p.begin(at)
	r.p.speak(format)
	var err error
	if format == "protobuf" {
		err = r.p.readProto(bufio.NewReader(strings.NewReader(text)), 1<<20)
	} else {
		_, err = r.p.readText(strings.NewReader(text), format == "openmetrics", make([]byte, 64))
	}
	if err != nil {
		return "", err
	}
	b := &signal.Batch{Kind: signal.Metric}
	r.p.end()
	for part := range r.p.batches() {
		b.Samples = append(b.Samples, part.Samples...)
	}
	c := r.p.tally
	if c.Samples != c.Plain+c.Folded+c.Born+c.Dropped+c.Twins+c.Old+c.NaN {
		r.t.Errorf("the books do not balance: %+v", c)
	}
	return signal.Format(b), nil
}

// want reads a page and compares what it gave.
func (r *reader) want(at int64, format, text, want string) {
	r.t.Helper()
	got, err := r.read(at, format, text)
	if err != nil {
		r.t.Errorf("at %d: %v", at, err)
		return
	}
	b, err := signal.Parse(signal.Metric, want)
	if err != nil {
		r.t.Fatalf("the test itself: %v", err)
	}
	if want = signal.Format(b); got != want {
		r.t.Errorf("at %d got\n%swant\n%s", at, got, want)
	}
}

func TestTextBecomesSamples(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		newReader(t, spec{honorTimestamps: true}).want(5000, "text", text, want)
	}
	// Types come from # TYPE; what has none is a gauge, whatever it is called.
	f("# TYPE a counter\na 1\n# TYPE b gauge\nb 2\n# TYPE c untyped\nc 3\nd_total 4\n",
		"a counter - 1 @5000\nb gauge - 2 @5000\nc gauge - 3 @5000\nd_total gauge - 4 @5000")
	// Units from the end of the name.
	f("x_seconds 1\nx_bytes_total 2\nx_ratio 3\nseconds_x 4\nuptime_days 5\n",
		"x_seconds gauge s 1 @5000\nx_bytes_total gauge By 2 @5000\nx_ratio gauge 1 3 @5000\nseconds_x gauge - 4 @5000\nuptime_days gauge d 5 @5000")
	// Labels stay as they are, escapes undone, empty ones left out.
	f("x{b=\"2\",a=\"1\",empty=\"\",pod=\"x\"} 1\ny{a=\"\\\\ \\\" \\n \\t\"} 2\n",
		`x{a="1",b="2",pod="x"} gauge - 1 @5000`+"\n"+`y{a="\\ \" \n \\t"} gauge - 2 @5000`)
	f(`{"http.server.duration","http.route"="/"} 7`, `http.server.duration{http.route="/"} gauge - 7 @5000`)
	// Times of the page count; NaN and the infinite are nobody's.
	f("x 1 4000\ny NaN\nz +Inf\nw 1\n", "x gauge - 1 @4000\nw gauge - 1 @5000")
	// The same series twice, in another order of labels too: the first one counts.
	f("x{a=\"1\",b=\"2\"} 1\nx{a=\"1\",b=\"2\"} 2\nx{b=\"2\",a=\"1\"} 3\n", `x{a="1",b="2"} gauge - 1 @5000`)
	// The last line may lack its line feed.
	f("x 1\ny 12", "x gauge - 1 @5000\ny gauge - 12 @5000")
	f("", "")
	// What prom-client for Node.js writes where others write NaN.
	f("nodejs_gc_seconds Nan\nnodejs_version_info{version=\"v20.1.0\",major=\"20\"} 1\n", `nodejs_version_info{major="20",version="v20.1.0"} gauge - 1 @5000`)
}

func TestHistogramsAndSummariesBecomeOneSample(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		newReader(t, spec{}).want(5000, "text", text, want)
	}
	f(`# TYPE h_seconds histogram
h_seconds_bucket{a="b",le="0.1"} 1
h_seconds_bucket{a="b",le="1"} 3
h_seconds_bucket{a="b",le="+Inf"} 6
h_seconds_sum{a="b"} 9.5
h_seconds_count{a="b"} 6
`, `h_seconds{a="b"} cumdist s 0 @5000 hist (count=6 sum=9.5 min=NaN max=NaN bounds=[0.1 1] counts=[1 2 3])`)
	f(`# TYPE s summary
s{quantile="0.5"} 1.5
s{quantile="0.99"} NaN
s_sum 20
s_count 10
`, `s cumdist - 0 @5000 hist (count=10 sum=20 min=NaN max=NaN q=[0.5:1.5])`)
	// Buckets in any order, parts of several mixed, the count missing, buckets
	// that ran ahead of each other while they were written.
	f(`# TYPE h histogram
h_bucket{a="1",le="+Inf"} 4
h_bucket{a="2",le="1"} 5
h_bucket{a="1",le="2"} 2
h_bucket{a="1",le="1"} 3
h_bucket{a="2",le="+Inf"} 4
h_sum{a="1"} 1
h_count{a="2"} 4
`, `h{a="1"} cumdist - 0 @5000 hist (count=4 sum=1 min=NaN max=NaN bounds=[1 2] counts=[3 0 1])
h{a="2"} cumdist - 0 @5000 hist (count=4 sum=0 min=NaN max=NaN bounds=[1] counts=[4 0])`)
	// A summary without quantiles; what only looks like a part stays a gauge.
	f("# TYPE s summary\ns_sum 2\ns_count 1\ns 7\n# TYPE h histogram\nh_bucket 3\nh_max 9\n",
		"s gauge - 7 @5000\nh_bucket gauge - 3 @5000\nh_max gauge - 9 @5000\ns cumdist - 0 @5000 hist (count=1 sum=2 min=NaN max=NaN)")
}

func TestPartsThatMakeNoDistributionAreCounted(t *testing.T) {
	r := newReader(t, spec{})
	r.want(5000, "text", "# TYPE h histogram\nh_bucket{le=\"1\"} -1\nh_count 2\n# TYPE s summary\ns_sum 1\n", "")
	if r.p.tally.Broken != 2 || r.p.tally.Folded != 3 {
		t.Errorf("%+v", r.p.tally)
	}
}

func TestOpenMetricsSaysWhenACounterWasZero(t *testing.T) {
	r := newReader(t, spec{honorTimestamps: true})
	page := "# TYPE foo counter\n# UNIT foo seconds\nfoo_total{a=\"b\"} 17.0 # {id=\"x\"} 5 1.5\nfoo_created{a=\"b\"} 1.25\n" +
		"# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2 # {} 7\nh_sum 3\nh_count 2\nh_created 2.5\n" +
		"# TYPE i info\ni_info{v=\"1\"} 1\n# TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 4\n# EOF\n"
	rest := "i_info{v=\"1\"} gauge - 1 @%\ng_bucket{le=\"+Inf\"} gauge - 4 @%\n" +
		"h cumdist - 0 @% from 2500 hist (count=2 sum=3 min=NaN max=NaN bounds=[1] counts=[1 1] exemplar=7 @0 - - {})"
	at := func(ms string) string {
		return "foo_total{a=\"b\"} counter - 17 @" + ms + " from 1250\n" + strings.ReplaceAll(rest, "%", ms)
	}
	r.want(5000, "openmetrics", page, at("5000"))
	r.want(6000, "openmetrics", page, at("6000"))
	if r.p.tally.Exemplars != 1 || r.p.tally.Born != 2 { // the counter's has no place
		t.Errorf("%+v", r.p.tally)
	}
	r.want(9000, "openmetrics", "x 1 7.5\n# EOF\n", "x gauge - 1 @7500")
	if _, err := r.read(9500, "openmetrics", "x 1\n"); !errors.Is(err, errTruncated) {
		t.Errorf("without # EOF: %v", err)
	}
}

// Exemplars of buckets are kept, ten of a histogram; trace and span become ids
// where they are some. What is none is left out, and its line is not.
func TestExemplarsOfBuckets(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	r := newReader(t, spec{})
	f := func(exemplar, want string, left int) {
		t.Helper()
		page := "# TYPE h histogram\nh_bucket{le=\"1\"} 1" + exemplar + "\nh_bucket{le=\"+Inf\"} 2\n# EOF\n"
		for at := range int64(2) { // one that is not known, and one that is
			r.want(5000+at, "openmetrics", page, fmt.Sprintf("h cumdist - 0 @%d hist (count=2 sum=0 min=NaN max=NaN bounds=[1] counts=[1 1]%s)", 5000+at, want))
			if r.p.tally.Exemplars != left || r.p.tally.Malformed != 0 {
				t.Errorf("%q: %+v", exemplar, r.p.tally)
			}
		}
	}
	f(` # {trace_id="`+trace+`",span_id="`+span+`",user="a # b"} 0.5 1.25`, ` exemplar=0.5 @1250 `+trace+` `+span+` {user="a # b"}`, 0)
	f(" # {} 0.5\t\r", " exemplar=0.5 @0 - - {}", 0)
	f(` # {trace_id="x",span_id="`+trace+`"} -1e3 2`, ` exemplar=-1000 @2000 - - {span_id="`+trace+`",trace_id="x"}`, 0)
	f(` # {trace_id="zz`+trace[2:]+`"} 1 2`, ` exemplar=1 @2000 - - {trace_id="zz`+trace[2:]+`"}`, 0)
	for _, bad := range []string{"", "0.5", "{} x", "{} NaN", "{a} 1", "{a=\"b} 1", "{} 1 2 3", "{} 1 x", "{} 1 2 # {} 1", "{} 1 -5", "{a=\"1\",a=\"2\"} 1"} {
		f(" # "+bad, "", 1)
	}

	var page strings.Builder
	page.WriteString("# TYPE h histogram\n")
	for i := range 15 {
		fmt.Fprintf(&page, "h_bucket{le=\"%d\"} %d # {} 0.5 %d\n", i, i+1, i+1)
	}
	out, err := r.read(9000, "openmetrics", page.String()+"h_count 15 # {} 1\n# EOF\n")
	if err != nil || strings.Count(out, "exemplar=") != 10 || strings.Contains(out, "@5000 ") || !strings.Contains(out, "@15000 ") || r.p.tally.Exemplars != 6 {
		t.Errorf("%s, %v, %+v", out, err, r.p.tally)
	}
}

// The Start of a counter: unknown on the first page, the page before where it
// is new or fell, and kept while it pauses.
func TestCountersStart(t *testing.T) {
	r := newReader(t, spec{})
	const typ = "# TYPE c counter\n"
	r.want(1000, "text", typ+"c{a=\"1\"} 5\n", `c{a="1"} counter - 5 @1000`)
	r.want(2000, "text", typ+"c{a=\"1\"} 6\nc{a=\"2\"} 1\n", `c{a="1"} counter - 6 @2000`+"\n"+`c{a="2"} counter - 1 @2000 from 1000`)
	r.want(3000, "text", typ+"c{a=\"1\"} 2\nc{a=\"2\"} 1\n", `c{a="1"} counter - 2 @3000 from 2000`+"\n"+`c{a="2"} counter - 1 @3000 from 1000`)
	r.want(4000, "text", typ+"c{a=\"1\"} 3\n", `c{a="1"} counter - 3 @4000 from 2000`)
	r.want(5000, "text", typ+"c{a=\"2\"} 4\n", `c{a="2"} counter - 4 @5000 from 1000`) // paused, did not begin anew
	// Behind a failed page nobody knows when it began.
	if _, err := r.read(6000, "openmetrics", ""); err == nil {
		t.Error("a truncated page passed")
	}
	r.want(7000, "text", typ+"c{a=\"3\"} 1\n", `c{a="3"} counter - 1 @7000`)
	h := func(n string) string {
		return "# TYPE h histogram\nh_bucket{le=\"+Inf\"} " + n + "\nh_count " + n + "\n"
	}
	hist := func(rest string) string { return "h cumdist - 0 " + rest }
	r = newReader(t, spec{})
	r.want(1000, "text", h("5"), hist("@1000 hist (count=5 sum=0 min=NaN max=NaN bounds=[] counts=[5])"))
	r.want(2000, "text", h("2"), hist("@2000 from 1000 hist (count=2 sum=0 min=NaN max=NaN bounds=[] counts=[2])"))
}

func TestAVanishedSeriesIsForgotten(t *testing.T) {
	r := newReader(t, spec{})
	page := "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\n# TYPE c counter\nc 1\nx 1\n"
	if _, err := r.read(1000, "text", page); err != nil {
		t.Fatal(err)
	}
	for i := range int64(grace) {
		if _, err := r.read(2000+i, "text", "x 1\n"); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.p.cells) != 1 || len(r.p.owner) != 1 || len(r.p.groups) != 0 || len(r.p.families) != 0 {
		t.Errorf("%d cells, %d owners, %d groups, %d families are left", len(r.p.cells), len(r.p.owner), len(r.p.groups), len(r.p.families))
	}
}

// A target that names each of its series anew must not fill the memory.
func TestChurnIsForgottenAtOnce(t *testing.T) {
	r := newReader(t, spec{maxSamples: 5000})
	for i := range 5 {
		var b strings.Builder
		for j := range 3000 {
			b.WriteString("x{id=\"" + strings.Repeat("i", i+1) + strings.Repeat("j", j%50) + string(rune('a'+j/50%26)) + string(rune('a'+j/1300)) + "\"} 1\n")
		}
		if _, err := r.read(int64(i)*1000, "text", b.String()); err != nil {
			t.Fatal(err)
		}
		if len(r.p.cells) > 7000 {
			t.Fatalf("%d cells after page %d", len(r.p.cells), i)
		}
	}
}

// A page whose labels come in another order each time loses nothing.
func TestLabelsInAnotherOrderAreTheSameSeries(t *testing.T) {
	r := newReader(t, spec{})
	const typ = "# TYPE c counter\n"
	r.want(1000, "text", typ+"c{a=\"1\",b=\"2\"} 1\n", `c{a="1",b="2"} counter - 1 @1000`)
	r.want(2000, "text", typ+"c{b=\"2\",a=\"1\"} 2\n", `c{a="1",b="2"} counter - 2 @2000`)
	r.want(3000, "text", typ+"c{a=\"1\",b=\"2\"} 3\nc{b=\"2\",a=\"1\"} 9\n", `c{a="1",b="2"} counter - 3 @3000`)
}

// The same of a bucket, whose bound may also be written in two ways; a histogram
// whose buckets change has those of the page; one of too many is cut.
func TestBucketsThatChange(t *testing.T) {
	r := newReader(t, spec{maxSamples: 5000})
	const typ = "# TYPE h histogram\n"
	hist := func(at, rest string) string {
		return "h{a=\"1\"} cumdist - 0 @" + at + " hist (count=9 sum=0 min=NaN max=NaN " + rest + ")"
	}
	const count = "h_count{a=\"1\"} 9\n"
	r.want(1000, "text", typ+"h_bucket{a=\"1\",le=\"1\"} 2\nh_bucket{a=\"1\",le=\"1.0\"} 3\n"+count, hist("1000", "bounds=[1] counts=[2 7]"))
	if r.p.tally.Twins != 1 {
		t.Errorf("%+v", r.p.tally)
	}
	r.want(2000, "text", typ+"h_bucket{le=\"1\",a=\"1\"} 4\nh_bucket{le=\"2\",a=\"1\"} 5\n"+count, hist("2000", "bounds=[1 2] counts=[4 1 4]"))
	r.want(3000, "text", typ+"h_bucket{le=\"2\",a=\"1\"} 5\n"+count, hist("3000", "bounds=[2] counts=[5 4]"))
	r.want(4000, "text", typ+"h_bucket{a=\"1\",le=\"1\"} 4\nh_bucket{a=\"1\",le=\"2\"} 6\n"+count, hist("4000", "bounds=[1 2] counts=[4 2 3]"))
	r.want(4500, "text", typ+"h_bucket{le=\"1\",a=\"1\"} 4\nh_bucket{a=\"1\",le=\"1\"} 8\n"+count, hist("4500", "bounds=[1] counts=[4 5]"))
	var many strings.Builder
	for i := range maxSlots + 5 {
		fmt.Fprintf(&many, "h_bucket{a=\"1\",le=\"%d\"} 1\n", i)
	}
	if _, err := r.read(5000, "text", typ+many.String()+count); err != nil || r.p.tally.Dropped != 5 {
		t.Errorf("%v, %+v", err, r.p.tally)
	}
}

// A type that changes means another application: nothing that was known holds.
func TestATypeThatChanges(t *testing.T) {
	r := newReader(t, spec{})
	r.want(1000, "text", "# TYPE x gauge\nx 1\n", "x gauge - 1 @1000")
	r.want(2000, "text", "# TYPE x counter\nx 2\n", "x counter - 2 @2000")
	r.want(3000, "text", "# TYPE x counter\nx 3\n", "x counter - 3 @3000")
	// The formats write a series differently; it stays one series. What goes by
	// another name in another format did not begin with that page.
	r.want(4000, "openmetrics", "# TYPE x gauge\nx 3.0\n# EOF\n", "x gauge - 3 @4000")
	r.want(5000, "text", "# TYPE c counter\nc 7\n", "c counter - 7 @5000")
	r.want(6000, "openmetrics", "# TYPE c counter\nc_total 8.0\n# EOF\n", "c_total counter - 8 @6000")
}

func TestTargetLabelsAndThePages(t *testing.T) {
	labels := signal.Labels("service.instance.id", "h:1", "env", "prod")
	r := newReader(t, spec{labels: labels})
	r.want(1000, "text", "x{env=\"dev\",exported_env=\"y\",a=\"b\"} 1\n", `x{a="b",env="prod",exported_env="y",service.instance.id="h:1"} gauge - 1 @1000`)
	r.want(1000, "text", "x{env=\"dev\"} 1\n", `x{env="prod",exported_env="dev",service.instance.id="h:1"} gauge - 1 @1000`)
	r = newReader(t, spec{labels: labels, honorLabels: true})
	r.want(1000, "text", "x{env=\"dev\"} 1\n", `x{env="dev",service.instance.id="h:1"} gauge - 1 @1000`)
}

func TestPrometheusRulesApplyToEverySeries(t *testing.T) {
	r := newReader(t, spec{labels: signal.Labels("env", "prod"), rules: []Rule{
		{Action: "drop", SourceLabels: []string{"__name__"}, Regex: "go_.*"},
		{Action: "labeldrop", Regex: "id"},
		{SourceLabels: []string{"path"}, Regex: "/api/(.*)", TargetLabel: "route"},
		{Action: "drop", SourceLabels: []string{"__name__", "le"}, Regex: "h_bucket;2.0"},
		{SourceLabels: []string{"__name__"}, Regex: "old_(.*)", TargetLabel: "__name__", Replacement: "new_$1"},
	}})
	page := "go_x 1\ny{id=\"1\",path=\"/api/v1\"} 2\ny{id=\"2\",path=\"/api/v1\"} 3\n" +
		"# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_count 3\nh_sum 4\n" +
		"# TYPE old_h histogram\nold_h_bucket{le=\"+Inf\"} 1\nold_h_count 1\n"
	for _, at := range []string{"1000", "2000"} {
		ms := int64(1000)
		if at == "2000" {
			ms = 2000
		}
		r.want(ms, "text", page, `y{env="prod",path="/api/v1",route="v1"} gauge - 2 @`+at+`
h{env="prod"} cumdist - 0 @`+at+` hist (count=3 sum=4 min=NaN max=NaN bounds=[1] counts=[1 2])
new_h{env="prod"} cumdist - 0 @`+at+` hist (count=1 sum=0 min=NaN max=NaN bounds=[] counts=[1])`)
	}
	if r.p.tally.Dropped != 2 || r.p.tally.Twins != 1 {
		t.Errorf("%+v", r.p.tally)
	}
}

func TestTimesOfAPageThatDoesNotMove(t *testing.T) {
	r := newReader(t, spec{honorTimestamps: true})
	r.want(5000, "text", "x 1 4000\n", "x gauge - 1 @4000")
	r.want(6000, "text", "x 1 4000\n", "")
	r.want(7000, "text", "x 2 6500\n", "x gauge - 2 @6500")
	r = newReader(t, spec{})
	r.want(5000, "text", "x 1 4000\n", "x gauge - 1 @5000")
	r.want(6000, "text", "x 1 4000\n", "x gauge - 1 @6000")
}

func TestMalformedLinesAreNamedAndTheOthersStay(t *testing.T) {
	r := newReader(t, spec{})
	r.want(1000, "text", "a 1\nb{x=\"1\" 2\nc 3\nd four\ne 5\n# TYPE f thing\nf 6\ng{a=\"1\",a=\"2\"} 7\n",
		"a gauge - 1 @1000\nc gauge - 3 @1000\ne gauge - 5 @1000\nf gauge - 6 @1000")
	if r.p.tally.Malformed != 4 || r.p.bad.number != 2 || !errors.Is(r.p.bad, errLabels) {
		t.Errorf("%d malformed, the first %v", r.p.tally.Malformed, r.p.bad)
	}
	// A quote that does not end takes its own line with it and no other.
	r = newReader(t, spec{})
	r.want(1000, "text", "a{x=\"1} 1\nb 2\nc 3\n", "b gauge - 2 @1000\nc gauge - 3 @1000")
	if _, err := r.read(2000, "text", "<html>\n<body>\nx 1\n"); !errors.Is(err, errNoPage) {
		t.Errorf("a page of HTML: %v", err)
	}
	if _, err := r.read(2000, "text", "x{a=\""+strings.Repeat("y", 2<<20)+"\"} 1\n"); !errors.Is(err, errTooLong) {
		t.Errorf("a line of 2 MiB: %v", err)
	}
}

// FuzzPage feeds whatever an application may send, twice, in each format: no
// panic, and the books balance.
func FuzzPage(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s), byte(1))
	}
	f.Add(protoSeed(), byte(2))
	f.Fuzz(func(t *testing.T, b []byte, format byte) {
		name := []string{"text", "openmetrics", "protobuf"}[format%3]
		r := newReader(t, spec{honorTimestamps: true, labels: signal.Labels("env", "prod")})
		for at := range int64(3) {
			if _, err := r.read((at+1)*1000, name, string(b)); err != nil {
				return
			}
			if n := len(r.p.cells); n > r.p.tally.Samples {
				t.Fatalf("%d cells of %d samples", n, r.p.tally.Samples)
			}
		}
		if !bytes.Contains(b, []byte("\"")) && name == "text" && r.p.tally.Twins > r.p.tally.Samples {
			t.Fatal("more twins than samples")
		}
	})
}

// A counter whose own time lies before the page in which it was not yet: it did
// not begin after its own reading.
func TestACounterBeginsNoLaterThanItIsRead(t *testing.T) {
	r := newReader(t, spec{honorTimestamps: true})
	if _, err := r.read(1000, "text", "x 1\n"); err != nil {
		t.Fatal(err)
	}
	r.p.begin(5000)
	if _, err := r.p.readText(strings.NewReader("# TYPE a counter\nx 1\na 3 500\n"), false, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	r.p.end()
	for b := range r.p.batches() {
		for _, s := range b.Samples {
			if s.Series.Type() == signal.Counter && (s.Time != 500 || s.Start != 500) {
				t.Errorf("from %d to %d", s.Start, s.Time)
			}
		}
	}
}
