package integration

import (
	"slices"
	"testing"
	"time"
)

// Every destination is down while a large amount is spooled; then they come back.
// The agent's memory does not notice; everything arrives; and when the outage was
// longer than a minute, what is new does not wait for what is old.
func TestOutageCostsNoMemoryAndNoLine(t *testing.T) {
	t.Parallel()
	n, a, b := node(t), NewVendor(t), NewVendor(t)
	n.Configure(n.Text(Plan{
		Active: []string{"a", "b"}, Destinations: []string{Influx("a", a.URL, ""), Influx("b", b.URL, "")}, Host: time.Second,
		Spool: "logs: {max_size: " + either("4GiB", "32GiB") + ", max_age: 48h, when_full: wait}",
	}))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Pad = 150
	const step = 5000
	spooled := func() {
		t.Helper()
		n.Eventually(largest, "the lines are spooled", func() bool {
			l, err := n.Ledger()
			return err == nil && l.Kinds["log"].In == w.Written()
		})
	}
	for range 20 { // warm: the heap has grown to what delivering at this pace takes
		w.Write(step)
		spooled()
	}
	n.Settled(largest, "a", "log", w.Written())
	n.Settled(largest, "b", "log", w.Written())

	a.Close()
	b.Close()
	began := time.Now()
	before := n.CPU()
	var rss []int64
	first := w.Written()
	for w.Written() < first+either[int64](300_000, 36_000_000) { // an hour at 10,000 lines a second
		w.Write(step)
		spooled()
		rss = append(rss, n.Own())
	}
	most := n.Status().Spools
	in := w.Written() - first
	spooling := n.CPU() - before
	for time.Since(began) < 65*time.Second { // an outage that is long enough for a live lane, and quiet at its end
		rss = append(rss, n.Own())
		pause(t, 500*time.Millisecond)
	}
	// The first tenth still grows what the outage needs: buffers that wait to be
	// sent. What goes back to the kernel while nothing is written is no matter.
	plateau := rss[len(rss)/10:]
	lo, hi := slices.Min(plateau), slices.Max(plateau)
	// In the short form the heap's own swing between two collections is more than a
	// tenth of so little; what is spooled is more than three times that.
	swing := either[int64](24<<20, 0)
	if level := slices.Max(plateau[:len(plateau)/10]); float64(hi-swing) > 1.1*float64(level) {
		t.Errorf("resident memory went from %d to %d MiB during the outage: more than 10 %%", level>>20, hi>>20)
	}

	before = n.CPU()
	a.Always(func(x *Exchange) { // slow enough that there is an order to be seen
		pause(t, time.Second)
		Take(x)
	})
	a.Open()
	b.Open()
	n.Eventually(2*largest, "what waited is split off", func() bool { return n.Status().Parts("a", "log") > 0 })
	w.Write(100) // the live edge
	edge := w.Written()
	n.Eventually(2*largest, "the live edge has come", func() bool { return a.Has("w", edge) })
	behind := edge - a.Distinct()
	if behind == 0 {
		t.Error("what is new came behind all that is old")
	}
	a.Always(Take)
	ra := n.Settled(10*largest, "a", "log", edge)
	rb := n.Settled(10*largest, "b", "log", edge)
	catching := n.CPU() - before
	for name, v := range map[string]*Vendor{"a": a, "b": b} {
		Judge(v, w).Flawless(t)
		t.Logf("%s: %v", name, Judge(v, w))
	}
	if ra.Sent != edge || rb.Sent != edge || ra.Lost()+rb.Lost() != 0 {
		t.Errorf("the ledger: %+v %+v", ra, rb)
	}
	audit.Close(t)
	t.Logf("spooled %d lines (%.1f MB on disk) at %.0f lines per CPU second; resident %d to %d MiB; caught up for two destinations at %.0f lines per CPU second, sending %.0f; the live edge came with %d lines still to come",
		in, float64(most[1].Bytes)/1e6, float64(in)/spooling.Seconds(), lo>>20, hi>>20,
		float64(in)/catching.Seconds(), 2*float64(in)/catching.Seconds(), behind)
}

// One destination is a black hole: it takes connections and never answers. The
// other one does not notice.
func TestBlackHoleDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	n, good, hole := node(t), NewVendor(t), NewVendor(t)
	n.Configure(n.Text(Plan{Active: []string{"good", "hole"}, Destinations: []string{Influx("good", good.URL, ""), Influx("hole", hole.URL, "timeout: 5s")}}))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	rounds, length := either(4, 20), either(5*time.Second, 30*time.Second)
	// p99 of the time from writing a line to the vendor's having it.
	round := func() time.Duration {
		good.Lags()
		end := time.Now().Add(length)
		for time.Now().Before(end) {
			w.Write(3)
			pause(t, 7*time.Millisecond)
		}
		n.Settled(largest, "good", "log", w.Written())
		lags := good.Lags()
		slices.Sort(lags)
		return lags[len(lags)*99/100]
	}
	round() // warm
	var calm, disturbed []time.Duration
	for range rounds {
		hole.Always(Take)
		n.Settled(2*largest, "hole", "log", w.Written())
		calm = append(calm, round())
		hole.Always(Hang)
		disturbed = append(disturbed, round())
	}
	hole.Always(Take)
	n.Settled(2*largest, "hole", "log", w.Written())
	Judge(good, w).Flawless(t)
	Judge(hole, w).Flawless(t)
	audit.Close(t)
	x, y := median(calm), median(disturbed)
	moved := float64(y-x) / float64(x)
	// The law is 5 %, and the long form holds it. Beside other tests on two CPUs the
	// scheduler alone moves p99 by more at times, so the short form allows 25 %.
	if limit := either(0.25, 0.05); moved > limit {
		t.Errorf("p99 moved by %.1f %%, from %v to %v: %v, %v", 100*moved, x, y, calm, disturbed)
	}
	t.Logf("p99 %v beside a good destination, %v beside a black hole: %+.1f %%", x.Round(time.Millisecond), y.Round(time.Millisecond), 100*moved)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return (d[(len(d)-1)/2] + d[len(d)/2]) / 2
}
