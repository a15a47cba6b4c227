package signal

import (
	"fmt"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	d := Desc{Name: "go_gc_seconds", Labels: Labels("k8s.namespace.name", "shop", "replicas", "3")}
	f := func(expr string, want bool) {
		t.Helper()
		m, err := ParseMatch(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			return
		}
		if got := m.Series(d); got != want {
			t.Errorf("%s is %v", expr, got)
		}
	}
	f(`name == "go_gc_*"`, true)
	f(`name == "*gc*"`, true)
	f(`name == "*gc*s"`, true)
	f(`name == "*gc*x"`, false)
	f(`name == "go_gc_second?"`, true)
	f(`name == "go_gc_seconds?"`, false)
	f(`name != "go_gc_*"`, false)
	f(`name =~ "^go_.*s$"`, true)
	f(`name !~ "gc"`, false)
	f(`k8s.namespace.name == "shop" && name == "x"`, false)
	f(`k8s.namespace.name == "shop" || name == "x"`, true)
	f(`name == "x" && name == "x" || replicas >= 3`, true)
	f(`name == "x" && (name == "x" || replicas >= 3)`, false)
	f(`!(replicas < 3)`, true)
	f(`missing == ""`, true)
	f(`missing > 1`, false)
	f(`level <= 7`, false)
}

func TestMatchErrorsNameTheColumn(t *testing.T) {
	f := func(expr, want string) {
		t.Helper()
		if _, err := ParseMatch(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", expr, err, want)
		}
	}
	f(``, "column 1: wanted name")
	f(`name = "x"`, "column 6: wanted ==")
	f(`name == x`, "column 9: wanted a quoted string")
	f(`name == "x" and`, `column 13: unexpected "and"`)
	f(`(name == "x"`, "( without )")
	f(`name =~ "("`, "column 9: error parsing regexp")
	f(`level < high`, `"high" is no number`)
	f(strings.Repeat("!", 200)+`name == "x"`, "nested too deeply")
}

const sixLines = `
log {s="a"} "f" 100..200
  @1000000 3 "one" {k="1"}
  @2000000 6 "two" {}
  @3000000 3 "three" {k="3"}
log {s="b"} "g" 7..9
  @4000000 6 "four" {}
  @5000000 3 "five" {}
  @6000000 6 "six" {}
`

func TestFilterKeepsTheIdentityOfLines(t *testing.T) {
	ids := func(b *Batch) string {
		var w strings.Builder
		for l := range b.LinesIn(0, b.Len()) {
			w.WriteString(string(l.Text) + "@" + l.Block.File + "/" + whole(uint64(l.ID)) + string(Lookup(string(l.Attrs), "k")) + " ")
		}
		return w.String()
	}
	f := func(at int, expr string, removed int, want string) {
		t.Helper()
		b := parse(t, Log, sixLines)
		m, err := ParseMatch(expr)
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Filter(at, m); n != removed || ids(b) != want {
			t.Errorf("%s: removed %d, kept %s; want %d, %s", expr, n, ids(b), removed, want)
		}
	}
	f(0, `level == "x" || level <= 4`, 3, "one@f/1001 three@f/1023 five@g/8 ")
	f(0, `text == "t*"`, 4, "two@f/101 three@f/1023 ")
	f(2, `text == "f*"`, 2, "one@f/1001 two@f/101 four@g/7 five@g/8 ")
	f(0, `k == "3" && s == "a"`, 5, "three@f/1023 ")
	f(0, `text =~ "."`, 0, "one@f/1001 two@f/101 three@f/1023 four@g/7 five@g/8 six@g/9 ")

	b := parse(t, Log, sixLines)
	for lo := range 6 {
		for hi := lo; hi <= 6; hi++ {
			s := b.Slice(lo, hi)
			if s.Len() != hi-lo || lo < hi && !strings.Contains(ids(b), ids(s)) {
				t.Errorf("Slice(%d, %d) = %s", lo, hi, ids(s))
			}
		}
	}
}

func TestTimes(t *testing.T) {
	f := func(b *Batch, want string) {
		t.Helper()
		got := ""
		for ms := range b.Times(1, b.Len()) {
			got += fmt.Sprint(ms, " ")
		}
		if got != want {
			t.Errorf("%v: %s, want %s", b.Kind, got, want)
		}
	}
	f(parse(t, Log, sixLines), "2 3 4 5 6 ")
	f(parse(t, Metric, "a gauge - 1 @2\na gauge - 1 @3\na gauge - 1 @1"), "3 1 ")
	f(parse(t, Event, "event @1 - \"\" \"\" \"\" \"\" {} count=1\nevent @2999999 - \"\" \"\" \"\" \"\" {} count=1"), "2 ")
}

func FuzzParseMatch(f *testing.F) {
	f.Add(`name == "go_gc_*" && !(level <= 4) || k8s.pod.name =~ "a"`)
	f.Fuzz(func(t *testing.T, expr string) {
		if m, err := ParseMatch(expr); err == nil {
			m.Series(Desc{Name: "x", Labels: Labels("a", "b")})
		}
	})
}
