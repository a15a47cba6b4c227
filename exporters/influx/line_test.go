package influx

import (
	"math"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestNamesAreEscapedAndReadBack(t *testing.T) {
	f := func(in, written string) {
		t.Helper()
		if got := string(appendKey(nil, in)); got != written {
			t.Errorf("%q is written %s, want %s", in, got, written)
		}
	}
	f("plain-Name_1.x/y:z", "plain-Name_1.x/y:z")
	f("a b", `a\ b`)
	f("a,b=c", `a\,b\=c`)
	f(`C:\dir`, `C:\dir`)
	f(`C:\`, `C:/`)    // would swallow what follows
	f(`a\,b`, `a/\,b`) // would be read as an escaped backslash by some
	f(`a\\b`, `a/\b`)  // one backslash or two, as the server likes
	f(`a\"b`, `a/"b`)
	f("a\nb\tc", `a\ b\ c`) // ends the line, or is refused
	f("a\x00\x7f", `a\ \ `)
	f("größe", "größe")
	f("a\xffb", "a\uFFFDb")
	f(`a"b`, `a"b`)
	if got := string(appendMeasurement(nil, "_internal")); got != "x_internal" {
		t.Error(got)
	}
	if got := string(appendMeasurement(nil, "#a=b c")); got != `x#a=b\ c` {
		t.Error(got)
	}
}

func TestTextsAreEscapedAndCut(t *testing.T) {
	f := func(in, written string) {
		t.Helper()
		if got := string(appendText(nil, in)); got != written {
			t.Errorf("%q is written %s, want %s", in, got, written)
		}
		if got := string(appendText(nil, []byte(in))); got != written {
			t.Errorf("bytes %q are written %s, want %s", in, got, written)
		}
	}
	f("", `""`)
	f(`say "hi" \o/`, `"say \"hi\" \\o/"`)
	f("two\nlines", "\"two\nlines\"")
	f("é\xc3", "\"é\uFFFD\"")
	long := strings.Repeat("é", maxText/2)
	if got := appendText(nil, "x"+long); len(got) != maxText-1+2 {
		t.Errorf("a text of %d bytes is written in %d", len(long)+1, len(got))
	}
	if got := appendText(nil, strings.Repeat(`"`, maxText+5)); len(got) != 2*maxText+2 {
		t.Errorf("quotes are written in %d bytes", len(got))
	}
}

func TestNumbersAreFloatsForEver(t *testing.T) {
	f := func(v float64, plain, marked string) {
		t.Helper()
		if got := string(appendFloat(nil, v)); got != plain {
			t.Errorf("%v is written %s, want %s", v, got, plain)
		}
		if got := string(appendDerived(nil, v)); got != marked {
			t.Errorf("%v beside another is written %s, want %s", v, got, marked)
		}
	}
	f(0, "0", "0e0")
	f(-3, "-3", "-3e0")
	f(12.5, "12.5", "12.5e0")
	f(1<<40, "1099511627776", "1099511627776e0")
	f(1e21, "1e+21", "1000000000000000000000e0")
	f(math.SmallestNonzeroFloat64, "5e-324", string(appendDerived(nil, math.SmallestNonzeroFloat64)))
}

// Whatever bytes come as names and texts, the line is one that all servers
// read, and read as the same.
func FuzzLine(f *testing.F) {
	f.Add("cpu", "host", "a", "state", "idle")
	f.Add("_x", "time", `a\`, "time_", "b,c=d e")
	f.Add("#", "a\\=b", "\xff", "a/=b", "\\\\")
	f.Add("a\\", "host", "x", "host.name", "y")
	f.Add("m\\ n\"", "_a", "\"", "x_a", "\n")
	f.Fuzz(func(t *testing.T, name, k1, v1, k2, v2 string) {
		if len(name)+len(k1)+len(v1)+len(k2)+len(v2) > 1000 {
			return
		}
		e := Metrics("t/metric", Default(), nil)
		b := &signal.Batch{Kind: signal.Metric}
		labels := signal.Labels(k1, v1, k2, v2)
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: signal.Counter, Labels: labels}), Prev: 1, Time: 2, Value: 3, Delta: 4})
		body, _, skipped := e.Encode(nil, b, 0, 1)
		if skipped == 1 {
			if name != "" {
				t.Errorf("%q was skipped", name)
			}
			return
		}
		points := agree(t, body, "ms")
		want := 0
		for k := range signal.Walk(labels) {
			if k != "" {
				want++
			}
		}
		if len(points) != 1 || len(points[0].tags) != want {
			t.Errorf("%q: %d points, tags %q", labels, len(points), points[0].tags)
		}
		if lines := splitLines(body, signal.Metric); len(lines) != 1 || lines[0].items != 1 || lines[0].time != 2 {
			t.Errorf("our own count of %q: %+v", body, lines)
		}

		l := Logs("t/log", Default(), nil)
		blk := signal.LogBlock{Stream: signal.InternStream(labels), File: name}
		blk.Append(1, 3, []byte(v1), []byte(signal.Labels(k2, v1)))
		blk.Append(1, 3, []byte(v2), nil)
		blk.Append(1, 3, []byte(name), nil)
		lb := &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}}
		body, _, skipped = l.Encode(nil, lb, 0, 3)
		points, err := readLines(string(body))
		if err != nil && !strings.Contains(err.Error(), "field ") || skipped != 0 { // an attribute twice under one tidied name
			t.Fatalf("%v, skipped %d: %q", err, skipped, body)
		}
		if lines := splitLines(body, signal.Log); len(lines) != 3 {
			t.Errorf("our own count of %q: %d lines", body, len(lines))
		}
		for i, text := range []string{v1, v2, name} {
			if err == nil && points[i].fields[0] != [2]string{"message", `"` + repaired(text)} {
				t.Errorf("text %q is read as %q", text, points[i].fields[0])
			}
		}
	})
}

// repaired returns s with each byte that is no UTF-8 replaced.
func repaired(s string) string {
	var w strings.Builder
	for _, r := range s {
		w.WriteRune(r)
	}
	return w.String()
}
