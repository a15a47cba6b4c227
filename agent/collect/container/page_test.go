package container

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
)

// readAll returns every line of a page, readably.
func readAll(t testing.TB, page string) (lines []string, malformed int) {
	t.Helper()
	malformed, err := eachLine(bufio.NewReaderSize(strings.NewReader(page), longestLine), func([]byte) bool { return true }, func(l *pageLine) {
		var b strings.Builder
		b.Write(l.name)
		for _, p := range l.labels {
			fmt.Fprintf(&b, " %s=%q", p.name, p.value)
		}
		lines = append(lines, fmt.Sprintf("%s %v @%d", &b, l.value, l.time))
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, malformed
}

func TestPageLines(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		for _, end := range []string{"\n", "", "\r\n"} { // the last line may lack its end
			if got, bad := readAll(t, line+end); len(got) != 1 || bad != 0 || got[0] != want {
				t.Errorf("%q: %q, %d malformed, want %q", line+end, got, bad, want)
			}
		}
	}
	f(`a 1`, `a 1 @0`)
	f(`a{} 1`, `a 1 @0`)
	f(`a{b="c"} 1.5e+06 1700000000123`, `a b="c" 1.5e+06 @1700000000123`)
	f(`a{b="c",d="e"} 1`, `a b="c" d="e" 1 @0`)
	f(`a{b="c",} 1`, `a b="c" 1 @0`)
}

func TestPageLinesWithEscapes(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if got, bad := readAll(t, line+"\n"); len(got) != 1 || bad != 0 || got[0] != want {
			t.Errorf("%q: %q, %d malformed, want %q", line, got, bad, want)
		}
	}
	f(`a{b="x\"y",c="\\",d="\n",e="plain"} 1`, `a b="x\"y" c="\\" d="\n" e="plain" 1 @0`)
	f(`a{b="}"} 1`, `a b="}" 1 @0`)
	f(`a{b="",c="a=b,c"} +Inf`, `a b="" c="a=b,c" +Inf @0`)
}

func TestPageCountsWhatItCannotRead(t *testing.T) {
	f := func(line string) {
		t.Helper()
		got, bad := readAll(t, "good 1\n"+line+"\ngood 2\n")
		if bad != 1 || len(got) != 2 {
			t.Errorf("%.40q: %d malformed, read %q", line, bad, got)
		}
	}
	f(`a`)
	f(`a{`)
	f(`a{b}`)
	f(`a{b="c} 1`)
	f(`a{b="c\"} 1`)
	f(`a{b=c} 1`)
	f(`a{b="c"} x`)
	f(`a 1 x`)
	f(`a 1 2 3`)
	f(`a{b="` + strings.Repeat("x", longestLine) + `"} 1`)
	f(`a{b="` + strings.Repeat("x", 3*longestLine) + `"} 1`)
}

func TestPageLeavesOutWhatIsNotWanted(t *testing.T) {
	n := 0
	malformed, err := eachLine(bufio.NewReader(strings.NewReader("# HELP b\nb{x 1\na 1\nb 2\n\na 3\n")),
		func(name []byte) bool { return string(name) == "a" }, func(*pageLine) { n++ })
	if n != 2 || malformed != 0 || err != nil {
		t.Errorf("%d lines, %d malformed, %v", n, malformed, err)
	}
}

func FuzzPage(f *testing.F) {
	f.Add("a{b=\"c\",d=\"\\\"\"} 1.5 1700000000000\n# x\nb 2\n")
	f.Add("a{")
	f.Add("container_cpu_usage_seconds_total{cpu=\"total\",id=\"/\"} 1 2")
	f.Fuzz(func(t *testing.T, page string) {
		lines, malformed := readAll(t, page)
		if n := strings.Count(page, "\n") + 1; len(lines)+malformed > n {
			t.Errorf("%d lines and %d malformed of %d", len(lines), malformed, n)
		}
		k := NewKubelet(Default(), "n", func(string) string { return "" }, nil, quiet())
		_ = k.readPage(strings.NewReader(page)) // an error says that a line was malformed
		_ = k.readResource(strings.NewReader(page))
		_ = k.readProbes(strings.NewReader(page))
	})
}
