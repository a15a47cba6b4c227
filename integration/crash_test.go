package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// load is a few programs that write logs and rotate them in different ways.
type load struct {
	writers []*Writer
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// newLoad begins to write: up to most lines per file, every few milliseconds.
func newLoad(t *testing.T, n *Node, most int, rng *rand.Rand) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	t.Cleanup(l.end)
	habits := []struct {
		name   string
		rotate func(w *Writer)
		every  int
	}{
		{"steady", func(*Writer) {}, 1 << 30},
		{"renamed", (*Writer).Rotate, 60},
		{"hasty", (*Writer).Rotate, 13},
		{"copied", (*Writer).CopyTruncate, 90},
		{"container", (*Writer).Kubelet, 17},
	}
	for _, h := range habits {
		w := NewWriter(t, n.Logs, h.name)
		if h.name == "container" {
			w = NewContainer(t, n.Pods, h.name)
		}
		l.writers = append(l.writers, w)
		own := rand.New(rand.NewPCG(rng.Uint64(), 1))
		l.done.Go(func() {
			for round := 1; ctx.Err() == nil; round++ {
				w.Write(1 + own.IntN(most))
				if round%h.every == 0 {
					h.rotate(w)
				}
				wait := time.NewTimer(time.Duration(5+own.IntN(15)) * time.Millisecond)
				select {
				case <-wait.C:
				case <-ctx.Done():
				}
				wait.Stop()
			}
		})
	}
	return l
}

// end stops the writers.
func (l *load) end() {
	l.stop()
	l.done.Wait()
}

// Issue 3, item 9: kill -9 at random moments, under load in metrics and logs.
// Nothing is lost; what is in flight at a kill may come again, where no reader
// sees it; between file and spool nothing is repeated at all.
func TestKillAtAnyMomentLosesNothing(t *testing.T) {
	kills := either(100, 500)
	for seed := range uint64(2) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(11, seed))
			n, v := node(t), NewVendor(t)
			n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "in_flight: 4")}, Host: time.Second}))
			first := watching(n, "a")
			l := newLoad(t, n, 20, rng)
			l.writers = append(l.writers, first)
			audit := Audit(n)

			var flying int64
			for range kills {
				n.Launch()
				if rng.IntN(5) > 0 { // or while it starts
					n.Eventually(time.Minute, "the agent is up", n.Up)
				}
				life := time.Duration(rng.IntN(400)) * time.Millisecond
				if rng.IntN(5) == 0 {
					life *= 5
				}
				pause(t, life)
				n.Kill()
				v.Rest()
				flying += v.Newest(4)
			}
			l.end()
			n.Start()
			total := sum(l.writers...)
			row := n.Settled(time.Minute, "a", "log", total)
			d := Judge(v, l.writers...)
			if d.Lost+d.Visible+d.Mixed+d.Foreign != 0 {
				t.Errorf("verdict: %v", d)
			}
			if d.Hidden > flying {
				t.Errorf("%d lines came again, and at most %d were in flight at the kills", d.Hidden, flying)
			}
			if row.In != total || row.Sent != total || row.Lost() != 0 {
				t.Errorf("%d lines were written, and the ledger says %+v", total, row)
			}
			values, changed := v.Metrics()
			if values == 0 || changed != 0 {
				t.Errorf("of %d values of metrics %d came again and were others", values, changed)
			}
			audit.Close(t)
			t.Logf("%d kills: %v; in flight at the kills: at most %d; ledgers seen: %d", kills, d, flying, audit.Answers())
		})
	}
}
