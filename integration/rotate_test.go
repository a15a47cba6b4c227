package integration

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Issue 6: a thousand rotations in each style, under a load that never rests,
// with a kill in the middle: every line arrives, whole, once, and in order. So
// many rotated files are kept at a time, and none is deleted whose lines have not
// arrived, so that nothing is asked of the agent that nobody could do. One request
// at a time is on its way, so that lines arrive as they stand in the spool: a
// container's have times of their own, which tell nothing of the reading.
func TestAThousandRotationsInEachStyle(t *testing.T) {
	rotations, keep := either(1000, 10_000), 60
	for seed, c := range []struct {
		style  string
		rotate func(*Writer)
	}{
		{"rename", (*Writer).Rotate}, {"copytruncate", (*Writer).CopyTruncate}, {"kubelet", (*Writer).Kubelet},
	} {
		t.Run(c.style, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(31, uint64(seed)))
			n, v := node(t), NewVendor(t)
			n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "in_flight: 1")}}))
			n.Start()
			w := NewWriter(t, n.Logs, "w")
			if c.style == "kubelet" {
				w = NewContainer(t, n.Pods, "w")
			}
			w.Write(1)
			n.Settled(largest, "a", "log", 1) // it is known: what is rotated away before it ever was is not the agent's to read

			var flying int64
			var held []int64 // the last line in each rotated file
			began := time.Now()
			for i := range rotations {
				for range 1 + rng.IntN(4) {
					w.Write(1 + rng.IntN(20))
				}
				if i == rotations/2 {
					n.Kill()
					v.Rest()
					flying = v.Newest(1)
					n.Launch() // and the load goes on while it starts
				}
				c.rotate(w)
				if held = append(held, w.Written()); len(held) > keep {
					n.Eventually(largest, "the lines of the oldest file have arrived", func() bool { return v.Has("w", held[0]) })
					w.Forget()
					held = held[1:]
				}
			}
			took := time.Since(began)
			total := w.Written()
			row := n.Settled(largest, "a", "log", total)
			d := Judge(v, w)
			if d.Lost+d.Visible+d.Mixed+d.Late+d.Foreign != 0 {
				t.Errorf("verdict: %v", d)
			}
			if d.Hidden > flying || row.In != total {
				t.Errorf("%d lines came again of %d in flight at the kill; %d are in the spool of %d", d.Hidden, flying, row.In, total)
			}
			if strings.Contains(n.Journal(), "cannot read") {
				t.Error("a file could not be read")
			}
			t.Logf("%d rotations in %.1fs: %v", rotations, took.Seconds(), d)
		})
	}
}
