package prom

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// line is a sample as a page has it.
type line struct {
	name   string
	labels string // k=v, sorted, without empty ones
	value  uint64 // bits; every NaN is the same
	time   int64
	timed  bool
}

func lineOf(name string, pairs []pair, pt point) line {
	var set []string
	for _, p := range pairs {
		v := p.value
		if f, err := strconv.ParseFloat(v, 64); err == nil && (p.name == "le" || p.name == "quantile") {
			v = labels.FormatOpenMetricsFloat(f) // as textparse makes it, sometimes
		}
		set = append(set, strconv.Quote(p.name)+"="+strconv.Quote(v))
	}
	slices.Sort(set)
	if math.IsNaN(pt.value) {
		pt.value = math.NaN()
	}
	if !pt.timed {
		pt.time = 0
	}
	return line{strings.Trim(name, " \t"), strings.Join(set, ","), math.Float64bits(pt.value), pt.time, pt.timed}
}

// ours reads a page with this package's scanner alone.
func ours(b []byte, om bool) (lines []line, bad int) {
	p := newPage(&spec{maxSamples: math.MaxInt}, nil)
	p.begin(1)
	b = append(slices.Clone(b), '\n')
	for len(b) > 0 {
		n, err := p.entry(b, om)
		if err != nil {
			bad++
			n = bytes.IndexByte(b, '\n') + 1
		} else if c := p.last; c != &p.head && p.tally.Samples > len(lines) {
			entry := bytes.TrimLeft(b, " \t\r")
			series, _ := scanSeries(entry)
			name, pairs, _ := parseSeries(series, nil)
			pt, _, _ := parsePoint(entry[len(series):], om)
			lines = append(lines, lineOf(name, pairs, pt))
		}
		b = b[n:]
	}
	return lines, bad
}

// theirs reads it with Prometheus' parser, up to its first error.
func theirs(b []byte, om bool) (lines []line, err error) {
	st := labels.NewSymbolTable()
	var p textparse.Parser = textparse.NewPromParser(slices.Clone(b), st, false)
	if om {
		p = textparse.NewOpenMetricsParser(slices.Clone(b), st)
	}
	for {
		e, err := p.Next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		if e != textparse.EntrySeries {
			continue
		}
		_, ts, v := p.Series()
		var set labels.Labels
		p.Labels(&set)
		pt := point{value: v, timed: ts != nil}
		if ts != nil {
			pt.time = *ts
		}
		var pairs []pair
		set.Range(func(l labels.Label) {
			if l.Name != model.MetricNameLabel && l.Value != "" {
				pairs = append(pairs, pair{l.Name, l.Value})
			}
		})
		lines = append(lines, lineOf(set.Get(model.MetricNameLabel), pairs, pt))
	}
}

// FuzzTextAgainstPrometheus holds the scanner to Prometheus' own: what that one
// reads, this one reads, and reads the same.
func FuzzTextAgainstPrometheus(f *testing.F) {
	for _, s := range seeds() {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(agree)
}

// agree fails the test where the two read a page differently.
func agree(t *testing.T, b []byte, om bool) {
	t.Helper()
	// A NUL ends a page there, without an error: an accident of its scanner.
	if bytes.IndexByte(b, 0) >= 0 {
		return
	}
	want, err := theirs(b, om)
	got, bad := ours(b, om)
	if om && err != nil && len(want) > 0 {
		want = want[:len(want)-1] // it gives a line on before it finds fault with its end
	}
	if err == nil && bad > 0 {
		// A label or metric name that is given twice passes there and is
		// refused by the scrape behind it.
		if doubtful(b) {
			return
		}
		t.Fatalf("%d bad lines of %q; Prometheus found none", bad, b)
	}
	if doubtful(b) {
		return
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Fatalf("of %q\n got %+v\nwant %+v", b, got, want)
	}
	if err == nil && len(got) != len(want) {
		t.Fatalf("of %q %d lines, want %d", b, len(got), len(want))
	}
}

// doubtful reports whether a page names a label twice or holds a metric name
// that is none: Prometheus' parser passes both, and its scrape loop does not.
func doubtful(b []byte) bool {
	b = append(slices.Clone(b), '\n')
	for len(b) > 0 {
		s, err := scanSeries(bytes.TrimLeft(b, " \t\r"))
		if err == nil {
			if _, _, err := parseSeries(s, nil); errors.Is(err, errTwice) || errors.Is(err, errNoSeries) || errors.Is(err, errUTF8) {
				return true
			}
		}
		b = b[bytes.IndexByte(b, '\n')+1:]
	}
	return false
}

// seeds are pages from the specifications, and what is odd in them.
func seeds() []string {
	return []string{
		"# HELP http_requests_total The total number of HTTP requests.\n# TYPE http_requests_total counter\n" +
			"http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\nhttp_requests_total{method=\"post\",code=\"400\"}    3 1395066363000\n",
		"msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"FILE.TXT\\\"\"} 1.458255915e9\n",
		"metric_without_timestamp_and_labels 12.47\nsomething_weird{problem=\"division by zero\"} +Inf -3982045\n",
		"a 1\nb{c=\"d\"} NaN\nc -Inf\nd +Inf\ne 1e3\nf .5\ng 5.\nh 0.30000000000000004\ni 123456789012345678\n",
		"{\"my.metric\",label=\"v\"} 1\n{label=\"v\",\"my.metric\"} 2\n{\"only\"} 3\n{\"q\\\"uote\",\"la bel\"=\"x\"} 4\n",
		"  spaced   {  a = \"b\" , } \t 1 \t 2 \n\n\n# just a comment\n#\n#TYPE x counter\n# TYPE\n# TYPE \"a\\\"b\" gauge\n",
		"x{a=\"line\nfeed\"} 1\ny{a=\"}\"} 2\nz{a=\",\\\\\"} 3\nz{a=\"1\"b=\"2\"} 4\nz{a=\"1\"}5\n",
		"bad{a=\"b} 1\nworse 1 2 3\nno value\n{} 1\nname{a=b} 1\n1abc 1\nhex 0x1p4\nunder 1_0\nx{a=\"\xff\"} 1\nrange 1e999\n",
		"# TYPE foo counter\nfoo_total 17.0 1520879607.789 # {id=\"counter-test\"} 5\nfoo_created 1520872607.123\n# EOF\n",
		"# TYPE h histogram\n# UNIT h seconds\nh_bucket{le=\"+Inf\"} 1 # {trace_id=\"a\"} 0.67 1520879607.789\nh_count 1\nh_sum 0.67\n# EOF\n",
		"# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\ns_created 4\n# TYPE i info\ni_info{a=\"b\"} 1\n# EOF\n",
		"no_line_feed_at_the_end 1", "cr 1\r\n", "# TYPE A!summary\nA 1\n", "x{le=\"1e5\"} 1 99999999999999999999\n", "-1 2\n", "x{,} 1\nx{a=\"1\",,} 1\nx{} 2\n",
	}
}

func TestTextReadsWhatTheSpecificationsShow(t *testing.T) {
	for _, s := range seeds() {
		for _, om := range []bool{false, true} {
			want, err := theirs([]byte(s), om)
			got, bad := ours([]byte(s), om)
			if err == nil && (bad > 0 || !slices.Equal(got, want)) {
				t.Errorf("om=%v %q\n got %+v, %d bad\nwant %+v", om, s, got, bad, want)
			}
		}
	}
}

// Wherever a page is cut into reads, the same comes of it.
func TestTextReadInAnyPieces(t *testing.T) {
	for _, s := range seeds() {
		whole := newPage(&spec{maxSamples: 1000}, nil)
		whole.begin(1)
		_, werr := whole.readText(strings.NewReader(s), false, make([]byte, firstBuffer))
		for name, r := range map[string]io.Reader{
			"byte by byte": iotest.OneByteReader(strings.NewReader(s)),
			"halves":       iotest.HalfReader(strings.NewReader(s)),
			"error at end": iotest.DataErrReader(strings.NewReader(s)),
		} {
			p := newPage(&spec{maxSamples: 1000}, nil)
			p.begin(1)
			_, err := p.readText(r, false, make([]byte, 64))
			if (err == nil) != (werr == nil) || p.tally != whole.tally {
				t.Errorf("%q %s: %+v, %v; in one piece %+v, %v", s, name, p.tally, err, whole.tally, werr)
			}
		}
	}
}

func TestFloatsAreReadAsStrconvReadsThem(t *testing.T) {
	for _, s := range []string{
		"0", "1", "12", "999999999999999", "9999999999999999", "123456789012345678901", "0.1", "0.3", "1.5", "12.47", "0.000000000001", ".5", "5.", "1234567.1234567",
		"99999999999999.9", "4.35", "0.30000000000000004", "1e10", "-1", "+1", "-0", "00012", "1458255915.5", "Inf", "-Inf", "+Inf", "inf", "1e-320",
	} {
		want, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		pt, n, err := parsePoint([]byte(" "+s+"\n"), false)
		if err != nil || n != len(s)+2 || math.Float64bits(pt.value) != math.Float64bits(want) {
			t.Errorf("%q is %v, took %d, %v", s, pt.value, n, err)
		}
	}
	for _, s := range []string{"", ".", "-", "1.2.3", "0x10", "1_0", "abc", "1e999", "{a=\"b\"} 1"} {
		if _, _, err := parsePoint([]byte(" "+s+"\n"), false); !errors.Is(err, errValue) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
