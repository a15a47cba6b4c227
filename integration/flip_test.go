package integration

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// verified is what the proof reads of `spool verify -o json`.
type verified map[string]struct {
	Items  int64
	Damage []struct {
		File          string
		Offset        int64
		What          string
		Frames, Items int64
	}
}

// One bit, anywhere in a segment, while nobody looks. Everything else arrives;
// what the bit costs is in the ledger to the line; and verify has said so before.
func TestFlippedBitCostsWhatTheLedgerSays(t *testing.T) {
	t.Parallel()
	n := node(t)
	dead := freeAddress(t)
	text := func(url string) string {
		return n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", url, "")}, Spool: "logs: {max_size: 1MiB, max_age: 48h, when_full: wait}, sync: 100ms"})
	}
	// Nothing takes the lines, so all of them lie in segments, of 64 KiB each.
	n.Configure(text("http://" + dead))
	w := NewWriter(t, n.Logs, "w")
	n.Start()
	rng := rand.New(rand.NewPCG(31, 1))
	for w.Written() < 3000 {
		w.Write(1 + rng.IntN(100))
		n.Eventually(largest, "the lines are spooled", func() bool {
			l, err := n.Ledger()
			return err == nil && l.Kinds["log"].In == w.Written()
		})
	}
	n.Stop()
	if code, _ := n.Command("spool", "verify"); code != 0 {
		t.Fatalf("verify finds damage where there is none: %d", code)
	}
	pristine := filepath.Join(n.Dir, "pristine")
	must(t, os.CopyFS(pristine, os.DirFS(n.Data)))

	flips, cost := either(25, 400), int64(0)
	for range flips {
		must(t, os.RemoveAll(n.Data))
		must(t, os.CopyFS(n.Data, os.DirFS(pristine)))
		path, at, bit := flip(t, n, rng)

		v := NewVendor(t)
		n.Configure(text(v.URL))
		code, out := n.Command("spool", "verify", "-o", "json")
		var report verified
		must(t, json.Unmarshal([]byte(out), &report))
		var said int64
		for _, d := range report["log"].Damage {
			said += d.Items
		}
		if code != 4 || len(report["log"].Damage) == 0 {
			t.Errorf("bit %d of byte %d of %s: verify ended with %d and said %s", bit, at, path, code, out)
		}
		n.Start()
		row := n.Settled(largest, "a", "log", 3000)
		d := Judge(v, w)
		damaged := row.Dropped["damaged"]
		if d.Lost != damaged || row.Lost() != damaged || d.Visible+d.Hidden+d.Mixed+d.Foreign != 0 {
			t.Errorf("bit %d of byte %d of %s: %v, and the ledger says %+v", bit, at, path, d, row)
		}
		if said != damaged {
			t.Errorf("bit %d of byte %d of %s: verify said it costs %d lines, and it cost %d", bit, at, path, said, damaged)
		}
		if damaged > 200 {
			t.Errorf("bit %d of byte %d of %s cost %d lines: more than a frame or two", bit, at, path, damaged)
		}
		cost += damaged
		n.Kill()
		v.Close()
	}
	t.Logf("%d flipped bits cost %d of %d lines each time, %.1f on average", flips, cost, w.Written(), float64(cost)/float64(flips))
}

// flip turns one random bit of one random segment of lines.
func flip(t *testing.T, n *Node, rng *rand.Rand) (path string, at int64, bit int) {
	t.Helper()
	segs, err := filepath.Glob(filepath.Join(n.Data, "spool", "log", "*.seg"))
	if err != nil || len(segs) < 3 {
		t.Fatalf("segments: %q %v", segs, err)
	}
	slices.Sort(segs)
	path = segs[rng.IntN(len(segs))]
	p, err := os.ReadFile(path)
	must(t, err)
	i := rng.IntN(len(p))
	if rng.IntN(4) == 0 {
		i = rng.IntN(min(len(p), 100)) // the header and the first record's deserve more than their share
	}
	bit = rng.IntN(8)
	p[i] ^= 1 << bit
	must(t, os.WriteFile(path, p, 0o640))
	return filepath.Base(path), int64(i), bit
}
