package signal

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// A draft is the same series before and after it is settled, and when what it was
// completed with changes.
func TestADraftIsItsDesc(t *testing.T) {
	f := func(labels, under string, settles bool) {
		t.Helper()
		d := Desc{Name: "drafted", Unit: "s", Type: Counter, Labels: labels}
		s := Draft(d)
		check := func(when string) {
			t.Helper()
			if got := s.Desc(); got != d || s.Type() != d.Type || Draft(d) != s || Intern(d) != s {
				t.Errorf("%s: %q under %q is %q", when, labels, under, got)
			}
			other := d
			for _, other.Labels = range []string{labels + Labels("zz", "1"), strings.ToUpper(labels) + "x", ""} {
				if other.Labels != labels && Draft(other) == s {
					t.Errorf("%s: %q is %q too", when, labels, other.Labels)
				}
			}
			other = d
			if other.Name = "Drafted"; Draft(other) == s {
				t.Errorf("%s: another name, and the same series", when)
			}
		}
		check("new")
		for i, u := range []string{under, Merge(under, Labels("extra", "e")), ""} {
			full := d
			full.Labels = Merge(u, labels)
			Settle(s, Intern(full), u)
			check("settled")
			if i == 0 && (draftOf(s.r).text.Load() == nil) != settles {
				t.Errorf("%q under %q: settled is %v", labels, u, !settles)
			}
		}
	}
	under := Labels("a", "1", "host.name", "n1", "z", "2")
	f(Labels("code", "200"), under, true)
	f(Labels("a", "own", "code", "200"), under, true)
	// Nothing was missing: the draft is the complete one as well.
	f(Labels("a", "1", "host.name", "n2", "z", "2", "zz", "3"), under, false)
	f(Labels("a", "0", "b", "1", "host.name", "n3", "z", "2"), "", false)
	f("", under, true)
	f(string(AppendLabel(nil, "a", "")), under, false) // Labels has none such, a page might
	var many []string
	for i := range 70 {
		many = append(many, fmt.Sprintf("k%02d", i), "v")
	}
	f(Labels("k00", "1", "k63", "2"), Labels(many...), true)
	f(Labels("k00", "1", "k64", "2"), Labels(many...), false) // more keys than bits
	f(Labels("code", "201"), Labels("x", strings.Repeat("long", 100)), true)

	// What is completed to something else altogether keeps its text.
	s := Draft(Desc{Name: "redacted", Type: Gauge, Labels: Labels("token", "secret")})
	Settle(s, Intern(Desc{Name: "redacted", Type: Gauge, Labels: Labels("token", "[REDACTED]")}), "")
	if got := Lookup(s.Desc().Labels, "token"); got != "secret" {
		t.Errorf("token is %q", got)
	}
}

// A settled draft takes no more than its own 48 bytes.
func TestASettledDraftLetsItsTextGo(t *testing.T) {
	const n = 20_000
	under := Labels("host.name", "n1")
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	var drafts, fulls [n]Series
	for i := range n { // the complete ones first, so that only the drafts are weighed
		fulls[i] = Intern(Desc{Name: "weighed", Type: Gauge, Labels: Merge(under, weighed(i))})
	}
	before := heap()
	for i := range n {
		drafts[i] = Draft(Desc{Name: "weighed", Type: Gauge, Labels: weighed(i)})
	}
	unsettled := heap() - before
	for i := range n {
		Settle(drafts[i], fulls[i], under)
	}
	settled := heap() - before
	if each := (unsettled - settled) / n; each < 150 { // the texts have 159 bytes
		t.Errorf("a draft let go %d bytes, of %d", each, unsettled/n)
	}
	runtime.KeepAlive(&drafts)
	runtime.KeepAlive(&fulls)
}

func weighed(i int) string {
	return Labels("instance", fmt.Sprintf("shop-%08d", i), "text", strings.Repeat("x", 120))
}

// Others look a draft up while the hub settles it.
func TestADraftIsSettledWhileItIsRead(t *testing.T) {
	const n = 500
	unders := []string{"", Labels("a", "1"), Labels("a", "1", "z", "2")}
	d := func(i int) Desc {
		return Desc{Name: "read", Type: Gauge, Labels: Labels("i", fmt.Sprint(i))}
	}
	var held [n]Series
	for i := range held {
		held[i] = Draft(d(i))
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			room := make([]byte, 0, 64)
			for i := range 10 * n {
				if want := d(i % n); Draft(want) != held[i%n] || held[i%n].DescIn(room) != want {
					t.Errorf("series %d is another", i%n)
					return
				}
			}
		})
	}
	for i := range 10 * n {
		u, full := unders[i/n%len(unders)], d(i%n)
		full.Labels = Merge(u, full.Labels)
		Settle(held[i%n], Intern(full), u)
	}
	wg.Wait()
}
