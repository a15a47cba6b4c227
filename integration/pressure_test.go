package integration

import (
	"testing"
	"time"
)

// when_full: wait holds the files back, and only them: metrics go on.
func TestWaitStopsTheFilesAndNotTheMetrics(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	v.Close()
	n.Configure(n.Text(Plan{
		Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")}, Host: time.Second,
		Spool: "logs: {max_size: 2MiB, max_age: 48h, when_full: wait}, sync: 100ms",
	}))
	n.Start()
	Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Pad = 200
	w.Write(50_000) // 12 MB

	var in, stood int64
	since := time.Now()
	n.Eventually(largest, "the files are held back", func() bool {
		l, err := n.Ledger()
		if err != nil || l.Kinds["log"].In != in || in == 0 {
			in, since = l.Kinds["log"].In, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
	l, err := n.Ledger()
	must(t, err)
	stood = l.Kinds["metric"].In
	if in >= w.Written() || l.Kinds["log"].SpooledBytes > 2<<20 {
		t.Errorf("%d of %d lines are in a spool of 2 MiB: %+v", in, w.Written(), l.Kinds["log"])
	}
	n.Eventually(largest, "metrics go on", func() bool {
		l, err := n.Ledger()
		return err == nil && l.Kinds["metric"].In > stood+100
	})
	v.Open()
	row := n.Settled(2*largest, "a", "log", w.Written())
	Judge(v, w).Flawless(t)
	if row.In != w.Written() || row.Lost() != 0 {
		t.Errorf("the ledger: %+v", row)
	}
	t.Logf("held back at %d of %d lines", in, w.Written())
}

// when_full: drop_oldest books what it drops, for the destination that had not
// had it, and for no other.
func TestDropOldestBooksWhatItDrops(t *testing.T) {
	t.Parallel()
	n, up, down := node(t), NewVendor(t), NewVendor(t)
	down.Close()
	n.Configure(n.Text(Plan{
		Active: []string{"up", "down"}, Destinations: []string{Influx("up", up.URL, ""), Influx("down", down.URL, "")},
		Spool: "logs: {max_size: 2MiB, max_age: 48h, when_full: drop_oldest}, sync: 100ms",
	}))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Pad = 200
	for range 12 { // no faster than the one that is up can follow
		w.Write(2500)
		n.Settled(largest, "up", "log", w.Written())
	}
	l, err := n.Ledger()
	must(t, err)
	if r := l.Row("down", "log"); r.Dropped["evicted"] == 0 || r.Waiting == 0 {
		t.Errorf("30,000 lines in 2 MiB, and none was dropped: %+v", r)
	}
	down.Open()
	row := n.Settled(largest, "down", "log", w.Written())
	Judge(up, w).Flawless(t)
	d := Judge(down, w)
	if d.Lost == 0 || d.Lost != row.Dropped["evicted"] || row.Lost() != d.Lost || d.Visible+d.Mixed+d.Foreign != 0 {
		t.Errorf("%v, and the ledger says %+v", d, row)
	}
	audit.Close(t)
	t.Logf("%v", d)
}

// SIGTERM delivers what it can within drain, and leaves the rest on disk.
func TestStopDrainsAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	slow := func(x *Exchange) { // a tenth of a second for a body
		pause(t, 100*time.Millisecond)
		AtMost(100)(x)
	}
	v.Close()
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "in_flight: 1")}, Drain: 4 * time.Second}))
	n.Start()
	Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Write(20_000)
	n.Eventually(largest, "all is spooled", func() bool {
		l, err := n.Ledger()
		return err == nil && l.Kinds["log"].In == w.Written()
	})
	v.Always(slow)
	v.Open()
	n.Eventually(largest, "it is being delivered", func() bool { return v.Distinct() > 0 })
	began := time.Now()
	if code := n.Stop(); code != 0 {
		t.Errorf("a stop in good order ended with %d", code)
	}
	took := time.Since(began)
	got := v.Distinct()
	code, out := n.Command("reconcile")
	if code != 0 {
		t.Errorf("the books of a stopped agent: %d %s", code, out)
	}
	if got == 0 || got == w.Written() || took < 3*time.Second || took > 20*time.Second {
		t.Errorf("in %v %d of %d lines were delivered", took, got, w.Written())
	}
	v.Always(Take)
	n.Start()
	row := n.Settled(largest, "a", "log", w.Written())
	Judge(v, w).Flawless(t)
	if row.In != w.Written() || row.Sent != row.In {
		t.Errorf("the ledger: %+v", row)
	}
	t.Logf("%d of %d lines within %v", got, w.Written(), took.Round(time.Millisecond))
}

// With a destination that keeps up, nothing is left behind by a stop.
func TestStopDeliversWhatIsThere(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")}}))
	n.Start()
	w := NewWriter(t, n.Logs, "w")
	for range either(5, 50) {
		w.Write(1000)
		n.Eventually(largest, "all is spooled", func() bool {
			l, err := n.Ledger()
			return err == nil && l.Kinds["log"].In == w.Written()
		})
		if code := n.Stop(); code != 0 {
			t.Errorf("a stop in good order ended with %d", code)
		}
		Judge(v, w).Flawless(t)
		n.Start()
	}
}
