package integration

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// smallDisk makes the node's data_dir a file system of its own, of a few MiB,
// and returns how to take up and give back what is free of it. It needs root,
// which CI is; without, the test fails and says so, because a proof that is left
// out looks like one that passed.
func smallDisk(t *testing.T, n *Node, size string) (fill, free func()) {
	t.Helper()
	must(t, os.MkdirAll(n.Data, 0o755))
	if err := syscall.Mount("causeway-proof", n.Data, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a small tmpfs on %s: %v; run this test as root in a container that may mount", n.Data, err)
	}
	t.Cleanup(func() {
		n.Kill()
		if err := syscall.Unmount(n.Data, 0); err != nil {
			t.Errorf("unmount %s: %v", n.Data, err)
		}
	})
	ballast := filepath.Join(n.Data, "ballast")
	fill = func() {
		f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		must(t, err)
		defer f.Close()
		for p := make([]byte, 4096); err == nil; {
			_, err = f.Write(p)
		}
	}
	return fill, func() { must(t, os.Remove(ballast)) }
}

// The disk runs full in the middle of writes. The agent goes on, says so, counts
// right, and when there is space again everything is as if nothing had been.
func TestFullDiskIsSurvived(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	fill, free := smallDisk(t, n, "12m")
	v.Close()
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")}, Host: 1e9}))
	n.Start()
	audit := Audit(n)
	w := NewWriter(t, n.Logs, "w")
	w.Pad = 400

	// Once by the spool itself, with nobody to send to.
	degraded := func() bool {
		w.Write(200)
		return n.Status().Degraded("log") != ""
	}
	n.Eventually(largest, "the spool fills its disk", degraded)
	before := n.Status()
	if code, body, err := n.ask("GET", "/readyz?verbose"); err != nil || code != 503 || !contains(body, "[-] spool/log: ") {
		t.Errorf("readyz on a full disk: %d %s %v", code, body, err)
	}
	if code, _, err := n.ask("GET", "/livez"); err != nil || code != 200 {
		t.Errorf("livez on a full disk: %d %v", code, err)
	}
	w.Write(2000) // goes to memory, or stays in the file
	v.Open()
	n.Eventually(largest, "what was delivered makes room", func() bool {
		s := n.Status()
		return s.Degraded("log") == "" && s.Degraded("metric") == ""
	})
	n.Settled(largest, "a", "log", w.Written())
	Judge(v, w).Flawless(t)

	// And again and again by somebody else, with a destination that takes all.
	for range either(3, 30) {
		fill()
		n.Eventually(largest, "the disk is full", degraded)
		free()
		n.Eventually(largest, "the spool is well again", func() bool { return n.Status().Degraded("log") == "" })
	}
	n.Settled(largest, "a", "log", w.Written())
	Judge(v, w).Flawless(t)

	// A crash while lines are in memory only: they are still in their file.
	fill()
	n.Eventually(largest, "the disk is full", degraded)
	v.Always(Refuse(503, ""))
	w.Write(500)
	audit.Close(t) // what is in memory is not in the books of the next life
	n.Kill()
	v.Rest()
	free()
	v.Always(Take)
	n.Start()
	again := Audit(n)
	n.Eventually(largest, "every line has come", func() bool { return v.Distinct() == w.Written() })
	d := Judge(v, w)
	if d.Lost+d.Foreign != 0 {
		t.Errorf("after a crash on a full disk: %v", d)
	}
	again.Close(t)
	t.Logf("full: %q; in the end %v", before.Degraded("log"), d)
}
