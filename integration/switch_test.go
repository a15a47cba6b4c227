package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

// intake is one vendor as the proof sees it: which lines a reader of its data
// finds, how often each came, and what was against its rules.
type intake struct {
	name        string
	destination string // its line in agent.yaml
	lines       func(w *Writer) (seqs map[int64]bool, again int)
	metrics     func() int // points, or series
	refused     func() []string
}

// intakes starts a strict stand-in for each vendor.
func intakes(t *testing.T) []intake {
	t.Helper()
	dd, nr := ddintake.New("0123"), &nrintake.Server{Key: "0123456789012345678901234567890123NRAL"}
	gcp, err := gcpintake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gcp.Close)
	influx := NewVendor(t)
	return []intake{
		{
			name: "datadog", destination: fmt.Sprintf("datadog: {type: datadog, url: %q, api_key: \"0123\"}", serveHTTP(t, dd)),
			lines: func(w *Writer) (map[int64]bool, int) {
				var texts []string
				for _, l := range dd.Logs() {
					texts = append(texts, l["message"].(string))
				}
				return numbers(texts, w)
			},
			metrics: func() int { return len(dd.Series("")) }, refused: dd.Refused,
		},
		{
			name: "google", destination: fmt.Sprintf("google: {type: googlecloud, project: my-project, location: global, url: %q, logs_url: %q}", gcp.Addr(), gcp.Addr()),
			lines: func(w *Writer) (map[int64]bool, int) {
				var texts []string
				for _, e := range gcp.Entries() {
					texts = append(texts, e.GetTextPayload())
				}
				return numbers(texts, w)
			},
			metrics: func() int { return len(gcp.Points()) }, refused: gcp.Refused,
		},
		{
			name: "newrelic", destination: fmt.Sprintf("newrelic: {type: newrelic, url: %q, license_key: %q, api: sdk}", serveHTTP(t, nr), nr.Key),
			lines: func(w *Writer) (map[int64]bool, int) {
				var texts []string
				for _, l := range nr.Logs() {
					texts = append(texts, l.Message)
				}
				return numbers(texts, w)
			},
			metrics: func() int { return len(nr.Metrics()) }, refused: nr.Errors,
		},
		{
			name: "influxdb", destination: Influx("influxdb", influx.URL, ""),
			lines:   influx.Lines,
			metrics: func() int { n, _ := influx.Metrics(); return int(n) }, refused: func() []string { return nil }, // its own Cleanup complains
		},
	}
}

// numbers returns those of w's lines in texts, each once, and how many came again.
func numbers(texts []string, w *Writer) (seqs map[int64]bool, again int) {
	seqs = map[int64]bool{}
	for _, text := range texts {
		if name, seq, _, ok := parseNumber(text); ok && name == w.Name {
			if seqs[seq] {
				again++
			}
			seqs[seq] = true
		}
	}
	return seqs, again
}

// Issue 4, item 8: the line `active: [x]` is edited twelve times, so that each
// vendor follows each other one, while a program goes on writing. Nothing is
// lost at any seam, and who comes back gets what it missed.
func TestSwitchingByOneLineForEachPairOfVendors(t *testing.T) {
	t.Parallel()
	n := node(t)
	all := intakes(t)
	plan := Plan{Host: 5 * time.Second} // Google's spacing
	for _, v := range all {
		plan.Destinations = append(plan.Destinations, v.destination)
	}
	text := func(active ...string) string {
		plan.Active = active
		return n.Text(plan)
	}
	// A walk that takes each of the twelve steps between four vendors once.
	walk := []int{0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3, 0}
	n.Configure(text(all[walk[0]].name))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	write := func() {
		w.Write(1 + rand.IntN(5))
		pause(t, 10*time.Millisecond)
	}
	arrived := func(v intake) {
		t.Helper()
		defer func() {
			if l, err := n.Ledger(); t.Failed() {
				t.Logf("the ledger: %+v, %v; refused: %q", l.Destinations, err, v.refused())
			}
		}()
		now := w.Written()
		n.Eventually(largest, v.name+" has a line that is new", func() bool {
			write()
			seqs, _ := v.lines(w)
			for seq := now + 1; seq <= w.Written(); seq++ {
				if seqs[seq] {
					return true
				}
			}
			return false
		})
		n.Eventually(largest, v.name+" has metrics", func() bool { write(); return v.metrics() > 0 })
	}
	arrived(all[walk[0]])
	pairs := map[string]bool{}
	for i := 1; i < len(walk); i++ {
		from, to := all[walk[i-1]], all[walk[i]]
		changed := text(to.name)
		if d := differing(text(from.name), changed); d != 1 {
			t.Fatalf("%d lines of agent.yaml changed, want one", d)
		}
		n.Configure(changed) // the agent notices by itself
		arrived(to)
		pairs[from.name+" to "+to.name] = true
	}
	if len(pairs) != 12 {
		t.Errorf("%d pairs were tried: %v", len(pairs), pairs)
	}
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = v.name
	}
	n.Configure(text(names...))
	for _, v := range all {
		n.Settled(largest, v.name, "log", 1)
		arrived(v)
	}
	total := w.Written()
	for _, v := range all {
		n.Eventually(largest, v.name+" has the last line", func() bool { seqs, _ := v.lines(w); return seqs[total] })
		n.Settled(largest, v.name, "log", 1)
		seqs, again := v.lines(w)
		first := int64(1)
		for ; first <= total && !seqs[first]; first++ {
		}
		missing := 0
		for seq := first; seq <= total; seq++ {
			if !seqs[seq] {
				missing++
			}
		}
		if missing > 0 || again > 0 {
			t.Errorf("%s: of the lines %d to %d, %d are missing and %d came again", v.name, first, total, missing, again)
		}
		// Who comes back to Google within five seconds does not remember when the
		// last points went there, and has the first ones refused as too near.
		r := slices.DeleteFunc(v.refused(), func(why string) bool { return v.name == "google" && strings.Contains(why, "more frequently") })
		if len(r) > 0 {
			t.Errorf("%s refused %d times; the first: %s", v.name, len(r), r[0])
		}
		row, _ := n.Ledger()
		t.Logf("%s: lines %d to %d, each once; the ledger: %+v", v.name, first, total, row.Row(v.name, "log"))
	}
	audit.Close(t)
}

// differing counts the lines in which two texts differ.
func differing(a, b string) (n int) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			n++
		}
	}
	return n
}
