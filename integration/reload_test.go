package integration

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// 500 reloads under load: by a changed file alone, by SIGHUP, by POST; valid and
// invalid ones mixed. Nothing is lost; an invalid one changes nothing and says
// where it is wrong; what did not change is not touched.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(41, 1))
	n, a, b, c := node(t), NewVendor(t), NewVendor(t), NewVendor(t)
	// a stays as it is; b changes; c comes and goes. Limits change, and tags.
	text := func() string {
		p := Plan{
			Active: []string{"a", "b"},
			Destinations: []string{
				Influx("a", a.URL, ""), Influx("b", b.URL, fmt.Sprintf("in_flight: %d", 1+rng.IntN(4))), Influx("c", c.URL, "backfill: 1h"),
			},
			Spool: fmt.Sprintf("sync: %dms, forget_after: 1h", 100+rng.IntN(100)),
			Host:  time.Second,
		}
		if rng.IntN(2) == 0 {
			p.Active = append(p.Active, "c")
		}
		if rng.IntN(2) == 0 {
			p.Agent = fmt.Sprintf("tags: [\"round:%d\"]", rng.IntN(3))
		}
		return n.Text(p)
	}
	broken := func() string {
		good := text()
		switch rng.IntN(5) {
		case 0:
			return strings.Replace(good, "version: 1", "version: 7", 1)
		case 1:
			return strings.Replace(good, "active: [", "active: [nobody, ", 1)
		case 2:
			return good[:len(good)*2/3] + "\n\t: {"
		case 3:
			return strings.Replace(good, "collect:", "colect:", 1)
		}
		return strings.Replace(good, "data_dir: ", "data_dir: /elsewhere # ", 1)
	}
	n.Configure(text())
	n.Start()
	audit := Audit(n)
	l := newLoad(t, n, 10, rng)
	// Only files that are neither renamed nor truncated can be watched for staying open.
	sockets, files := n.listening(), ""
	n.Eventually(largest, "the steady file is open", func() bool {
		files = n.openAs("steady.log")
		return files != ""
	})
	located := regexp.MustCompile(`agent\.yaml:\d+:\d+: `)
	want, posted, refused := either(500, 5000), 0, 0
	for range want {
		bad := rng.IntN(2) == 0
		if bad {
			n.Configure(broken())
		} else {
			n.Configure(text())
		}
		switch rng.IntN(5) {
		case 0:
			n.Signal(syscall.SIGHUP)
		case 1: // the change of the file is found by itself
			pause(t, 20*time.Millisecond)
		default:
			posted++
			code, body := n.Post("/-/reload")
			switch {
			case bad && (code != 400 || !located.MatchString(body) && !strings.Contains(body, "data_dir")):
				t.Errorf("a broken file was answered with %d: %s", code, body)
			case !bad && code != 200:
				t.Errorf("a good file was answered with %d: %s", code, body)
			}
			if bad {
				refused++
				if s := n.Status(); s.Agent.ReloadError == "" {
					t.Error("status does not tell of the broken file")
				}
			}
		}
	}
	if now := n.listening(); now != sockets {
		t.Errorf("the agent listens on %s now, and did on %s", now, sockets)
	}
	if now := n.openAs("steady.log"); now != files {
		t.Errorf("the steady file is open as %s now, and was as %s", now, files)
	}
	// In the end all three are in use, and have everything from the beginning:
	// what was there before c came is in its backfill.
	final := Plan{Active: []string{"a", "b", "c"}, Destinations: []string{Influx("a", a.URL, ""), Influx("b", b.URL, ""), Influx("c", c.URL, "backfill: 1h")}, Host: time.Second}
	n.Configure(n.Text(final))
	if code, body := n.Post("/-/reload"); code != 200 {
		t.Fatalf("the last reload: %d %s", code, body)
	}
	l.end()
	total := sum(l.writers...)
	for name, v := range map[string]*Vendor{"a": a, "b": b, "c": c} {
		row := n.Settled(2*largest, name, "log", 1)
		if name != "c" {
			row = n.Settled(largest, name, "log", total)
		}
		d := Judge(v, l.writers...)
		if d.Lost != 0 || d.Mixed+d.Foreign != 0 || row.Lost() != 0 {
			t.Errorf("%s: %v, and the ledger says %+v", name, d, row)
		}
		t.Logf("%s: %v", name, d)
	}
	audit.Close(t)
	t.Logf("%d reloads, %d by POST, of which %d were refused; %d ledgers", want, posted, refused, audit.Answers())
}

// listening returns the socket the agent listens with, as its inode.
func (n *Node) listening() string {
	n.Helper()
	_, port, _ := strings.Cut(n.Listen, ":")
	var number int
	fmt.Sscan(port, &number)
	table := readText(n, "/proc/net/tcp")
	for _, line := range strings.Split(table, "\n") {
		f := strings.Fields(line)
		if len(f) > 9 && f[1] == fmt.Sprintf("0100007F:%04X", number) && f[3] == "0A" {
			return "socket:[" + f[9] + "] as " + n.openAs("socket:["+f[9]+"]")
		}
	}
	n.Fatalf("nobody listens on %s", n.Listen)
	return ""
}

// openAs returns under which number the agent has a file open.
func (n *Node) openAs(name string) string {
	for fd, to := range n.Descriptors() {
		if strings.HasSuffix(to, name) {
			return fd
		}
	}
	return ""
}

// Changing the destination is changing one line: the new one gets what is kept of
// the past it asks for, the old one's place is kept, and taken up again.
func TestSwitchingThereAndBack(t *testing.T) {
	t.Parallel()
	n, a, b := node(t), NewVendor(t), NewVendor(t)
	plan := func(active string) string {
		return n.Text(Plan{
			Active: []string{active}, Destinations: []string{Influx("a", a.URL, "backfill: 2h"), Influx("b", b.URL, "backfill: 2h")},
			Spool: "sync: 100ms, forget_after: 1h",
		})
	}
	use := func(active string) {
		t.Helper()
		n.Configure(plan(active))
		if code, body := n.Post("/-/reload"); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	n.Configure(plan("a"))
	n.Start()
	Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Write(1000)
	n.Settled(largest, "a", "log", 1000)
	a.Close()
	w.Write(500)
	n.Eventually(largest, "a has not had 500", func() bool {
		l, err := n.Ledger()
		return err == nil && l.Row("a", "log").Waiting == 500
	})

	use("b")
	w.Write(500)
	n.Settled(largest, "b", "log", 2000)
	Judge(b, w).Flawless(t) // its backfill holds all that was before it
	l, err := n.Ledger()
	must(t, err)
	if r := l.Row("a", "log"); r.State != "removed" || r.Waiting != 1000 || r.Sent != 1000 {
		t.Errorf("the one that was removed: %+v", r)
	}

	a.Open()
	use("a") // in time: it goes on where it was
	row := n.Settled(largest, "a", "log", 2000)
	d := Judge(a, w)
	d.Flawless(t)
	if row.Sent != 2000 || d.Hidden != 0 {
		t.Errorf("it did not go on where it was: %v %+v", d, row)
	}
}

// A destination that does not come back in time is forgotten, and what it had
// not had is booked as evicted, for good.
func TestForgottenDestinationIsBooked(t *testing.T) {
	t.Parallel()
	n, a, b := node(t), NewVendor(t), NewVendor(t)
	a.Always(Refuse(503, ""))
	plan := func(active string) string {
		return n.Text(Plan{Active: []string{active}, Destinations: []string{Influx("a", a.URL, ""), Influx("b", b.URL, "")}, Spool: "sync: 100ms, forget_after: 1s"})
	}
	n.Configure(plan("a"))
	n.Start()
	w := NewWriter(t, n.Logs, "w")
	w.Write(300)
	n.Eventually(largest, "300 lines wait for a", func() bool {
		l, err := n.Ledger()
		return err == nil && l.Row("a", "log").Waiting == 300
	})
	n.Configure(plan("b"))
	if code, body := n.Post("/-/reload"); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	pause(t, 1100*time.Millisecond) // forget_after
	n.Stop()
	n.Start() // which looks at once who is to be forgotten; a running agent does so each minute
	forgotten := func() Row {
		l, err := n.Ledger()
		if err == nil && l.Check() != nil {
			t.Error(l.Check())
		}
		return l.Row("a", "log")
	}
	n.Eventually(largest, "a is forgotten", func() bool { return forgotten().State == "forgotten" })
	if r := forgotten(); r.In != 300 || r.Dropped["evicted"] != 300 || r.Waiting != 0 {
		t.Errorf("the books: %+v", r)
	}
	if code, out := n.Command("reconcile"); code != 0 || !strings.Contains(out, "forgotten") {
		t.Errorf("reconcile: %d %s", code, out)
	}
}
