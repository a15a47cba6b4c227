package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Issue 6: 5,000 containers that live two seconds at most, 200 at a time, with a
// kill of the agent in the middle: each line of each is at the vendor, once. A
// folder goes as soon as the agent has its file open, read or not: what is deleted
// before anybody looked is nobody's to read.
func TestFiveThousandShortLivedContainers(t *testing.T) {
	t.Parallel()
	const at = 200
	rounds := either(25, 100)
	n, v := node(t), NewVendor(t)
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "in_flight: 2")}}))
	n.Start()
	rng := rand.New(rand.NewPCG(41, 1))
	var all []*Writer
	var flying int64
	var longest time.Duration
	for round := range rounds {
		down := round == rounds/2
		if down { // what is deleted and was read by nobody dies with who has it open
			n.Settled(largest, "a", "log", sum(all...))
		}
		var lives sync.WaitGroup
		began := time.Now()
		for i := range at {
			w := NewContainer(t, n.Pods, fmt.Sprintf("c%02d-%03d", round, i))
			w.Pad = 10
			all = append(all, w)
			lines, life := 1+rng.IntN(5), time.Duration(200+rng.IntN(600))*time.Millisecond
			lives.Go(func() {
				w.Write(lines)
				pause(t, life)
				w.Write(lines)
				w.Close()
			})
		}
		if down {
			n.Kill()
			v.Rest()
			flying = v.Newest(2)
		}
		lives.Wait()
		if down {
			n.Start()
		}
		n.Eventually(largest, "their files are open", func() bool { return n.open(all[len(all)-at:]) })
		for _, w := range all[len(all)-at:] {
			if err := os.RemoveAll(filepath.Dir(filepath.Dir(w.Path))); err != nil {
				t.Fatal(err)
			}
		}
		longest = max(longest, time.Since(began))
	}
	total := sum(all...)
	row := n.Settled(largest, "a", "log", total)
	d := Judge(v, all...)
	d.Flawless(t)
	if d.Hidden > flying || row.In != total {
		t.Errorf("%d lines came again of %d in flight at the kill; %d are in the spool of %d", d.Hidden, flying, row.In, total)
	}
	n.Eventually(largest, "nothing of them is kept open", func() bool {
		for _, to := range n.Descriptors() {
			if strings.HasPrefix(to, n.Pods+"/") { // inotify has no path
				return false
			}
		}
		return true
	})
	t.Logf("%d containers, a round took %.1fs at most: %v", len(all), longest.Seconds(), d)
}

// open reports whether the agent has the files of all of them open.
func (n *Node) open(writers []*Writer) bool {
	n.Helper()
	have := map[string]bool{}
	for _, to := range n.Descriptors() {
		have[to] = true
	}
	for _, w := range writers {
		if !have[w.Path] {
			return false
		}
	}
	return true
}
