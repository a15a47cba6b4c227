package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Answers of every kind, each from a destination of its own, all on one agent:
// nothing is lost but what the vendor refused for good, that is in the ledger to
// the line, and the destination that behaves notices nothing.
func TestEveryAnswerIsDealtWith(t *testing.T) {
	t.Parallel()
	n := node(t)
	bad := func(_ string, seq int64) bool { return seq%97 == 13 }
	again := func(a Answer, k int) []Answer { return slices.Repeat([]Answer{a}, k) }

	cases := []struct {
		name     string
		script   []Answer // of the first requests
		always   Answer   // of those after them; nil: Take
		more     string   // keys of the destination
		mend     string   // keys it gets by a reload once the script has ended: what a person would do
		refused  func(lines int64) int64
		oversize bool
		repeated bool // lines may come again, invisibly
	}{
		{name: "well"},
		{name: "r429", script: again(Refuse(429, "slow down"), 3)},
		{name: "r429after", script: again(Refuse(429, "slow down", "Retry-After", "1"), 2)},
		{name: "r500", script: again(Refuse(500, `{"error":"timeout"}`), 3)},
		{name: "r500taken", script: again(TakeBut(500), 3), repeated: true},
		{name: "r503", script: again(Refuse(503, "come back"), 2)},
		{name: "r503after", script: again(Refuse(503, "come back", "Retry-After", "2"), 2)},
		{name: "hang", script: again(Hang, 2), more: "timeout: 1s"},
		{name: "resetearly", script: again(ResetEarly, 3)},
		{name: "resetlate", script: again(ResetLate, 3), repeated: true},
		{name: "truncated", script: again(Truncate, 3)},
		{name: "truncatedrefusal", script: again(TruncateRefusal, 2)},
		{name: "slowreading", script: again(ReadSlowly, 5)},
		{name: "r413", always: AtMost(300)},
		{name: "onebad", always: Loathe(bad), refused: countBad(bad)},
		{name: "misread", always: Misread(bad), refused: countBad(bad)},
		{name: "expired", script: again(Expire(7), 3), refused: func(int64) int64 { return 21 }},
		{name: "allexpired", script: again(Expire(1<<30), 1), refused: func(int64) int64 { return -1 }},
		{name: "redirect", script: again(Refuse(307, "", "Location", "http://elsewhere.invalid/write"), 1), mend: "in_flight: 2"},
		{name: "r401", script: again(Refuse(401, `{"error":"authorization failed"}`), 1), mend: "username: u, password: p"},
		{name: "r403", script: again(Refuse(403, `{"error":"forbidden"}`), 1), mend: "in_flight: 2"},
		{name: "r404", script: again(Refuse(404, `{"error":"database not found: \"books\""}`), 1), mend: "in_flight: 2"},
		{name: "tls", mend: "tls: "},
		{name: "refused", mend: ""},
	}
	vendors := map[string]*Vendor{}
	plan := func(mended bool) Plan {
		p := Plan{}
		for _, c := range cases {
			more := c.more
			if mended && c.mend == "tls: " {
				more = "tls: {ca_file: " + vendors[c.name].Authority() + "}"
			} else if mended && c.mend != "" {
				more = c.mend
			}
			p.Active = append(p.Active, c.name)
			p.Destinations = append(p.Destinations, Influx(c.name, vendors[c.name].URL, more))
		}
		return p
	}
	for _, c := range cases {
		if c.name == "tls" {
			vendors[c.name] = NewSecureVendor(t)
		} else {
			vendors[c.name] = NewVendor(t).Script(c.script...)
		}
		if c.always != nil {
			vendors[c.name].Always(c.always)
		}
	}
	vendors["refused"].Close()
	n.Configure(n.Text(plan(false)))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Write(2000)
	write := func(name string) { // until the script has ended, so that each answer meets a request
		n.Eventually(3*time.Minute, "the script of "+name+" has ended", func() bool {
			if vendors[name].Scripted() == 0 {
				return true
			}
			w.Write(10)
			pause(t, 50*time.Millisecond)
			return false
		})
	}
	for _, c := range cases {
		write(c.name)
	}
	held := func(name string) bool {
		l, err := n.Ledger()
		r := l.Row(name, "log")
		return err == nil && r.Sent == 0 && r.Lost() == 0 && (r.State == "held" || r.State == "retrying")
	}
	for _, name := range []string{"redirect", "r401", "r403", "r404", "tls", "refused"} {
		n.Eventually(largest, name+" holds everything", func() bool { return held(name) })
	}
	vendors["refused"].Open()
	n.Configure(n.Text(plan(true)))
	if code, body := n.Post("/-/reload"); code != 200 {
		t.Fatalf("the remedy is refused: %d %s", code, body)
	}
	w.Write(500)
	total := w.Written()
	for _, c := range cases {
		row := n.Settled(3*time.Minute, c.name, "log", total)
		d := Judge(vendors[c.name], w)
		want := int64(0)
		if c.refused != nil {
			want = c.refused(total)
		}
		if want < 0 { // the vendor decides how many: all of one body
			want = d.Lost
			if want == 0 {
				t.Errorf("%s: nothing was refused", c.name)
			}
		}
		if d.Lost != want || row.Dropped["refused"] != want || row.Lost() != want {
			t.Errorf("%s: %v, want %d refused, and the ledger says %+v", c.name, d, want, row)
		}
		if d.Visible+d.Mixed+d.Foreign != 0 || d.Hidden > 0 != c.repeated {
			t.Errorf("%s: %v", c.name, d)
		}
	}
	audit.Close(t)
	t.Logf("%d kinds of answers, %d lines each, %d ledgers", len(cases), total, audit.Answers())
}

// countBad returns how many of the first lines are bad.
func countBad(bad func(string, int64) bool) func(lines int64) int64 {
	return func(lines int64) (n int64) {
		for seq := int64(1); seq <= lines; seq++ {
			if bad("w", seq) {
				n++
			}
		}
		return n
	}
}

// A destination that is told its key is wrong shows it, keeps everything, and
// the one beside it goes on.
func TestHeldDestinationIsShown(t *testing.T) {
	t.Parallel()
	n, good, locked := node(t), NewVendor(t), NewVendor(t).Always(Refuse(401, `{"error":"authorization failed"}`))
	n.Configure(n.Text(Plan{Active: []string{"good", "locked"}, Destinations: []string{Influx("good", good.URL, ""), Influx("locked", locked.URL, "")}}))
	n.Start()
	Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Write(100)
	n.Settled(largest, "good", "log", 100)
	n.Eventually(largest, "status says why", func() bool {
		l, err := n.Ledger()
		r := l.Row("locked", "log")
		return err == nil && r.State == "held" && r.Waiting == 100 && contains(r.LastError, "authorization failed")
	})
	if s := n.Status(); !slices.ContainsFunc(s.Warnings, func(w string) bool { return contains(w, "locked") && contains(w, "everything is kept") }) {
		t.Errorf("no warning names it: %q", s.Warnings)
	}
	code, out := n.Command("reconcile")
	if code != 0 || !contains(out, "locked") {
		t.Errorf("reconcile: %d %s", code, out)
	}
	Judge(good, w).Flawless(t)
	if fmt.Sprint(locked.Distinct()) != "0" {
		t.Error("it took something")
	}
}
