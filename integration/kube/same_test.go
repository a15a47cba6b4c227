//go:build kube

package kube

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// sameFromBoth runs both providers side by side: they give the same series of the
// same containers, with the same values at the same time, but for file systems.
// Those are the kubelet's alone: cAdvisor does not measure a container's layer
// under containerd, and the kubelet asks its runtime for it.
func sameFromBoth(t *testing.T, c *Cluster, a *agent) {
	conf := func(provider string) string {
		often := strings.NewReplacer("interval: 5s", "interval: 2s") // the kubelet looks every ten seconds or so, whoever asks
		return often.Replace(a.containers(provider, account(t, c, "same", "nodes/metrics", "nodes/stats", "nodes/pods")))
	}
	kubelet, cAdvisor := a.run(t, conf("kubelet")), a.run(t, conf("cadvisor"))
	defer kubelet.stop()
	defer cAdvisor.stop()
	of := func(r *running) map[string][]reading { return r.found().of("container.", "web-") }
	until(t, c, "three readings of the kubelet's in cAdvisor's time", func() error {
		ours := of(cAdvisor)
		n := 0
		for series, theirs := range of(kubelet) {
			if !strings.HasPrefix(series, "container.cpu.usage{") { // of the second reading on
				continue
			}
			if compared, _ := compare(series, theirs, ours[series]); compared < 3 {
				return fmt.Errorf("%d readings of %s", compared, series)
			}
			n++
		}
		if n != 2 {
			return fmt.Errorf("%d containers, want 2", n)
		}
		return nil
	})
	fromKubelet, fromCAdvisor := of(kubelet), of(cAdvisor)
	files := 0
	maps.DeleteFunc(fromKubelet, func(series string, _ []reading) bool {
		is := strings.HasPrefix(series, "container.filesystem.")
		if is {
			files++
		}
		return is
	})
	if files == 0 {
		t.Error("no file system from the kubelet")
	}
	for _, series := range slices.Sorted(maps.Keys(fromCAdvisor)) {
		if fromKubelet[series] == nil {
			t.Errorf("only cAdvisor: %s", series)
		}
	}
	readings := 0
	for _, series := range slices.Sorted(maps.Keys(fromKubelet)) {
		if fromCAdvisor[series] == nil {
			t.Errorf("only the kubelet: %s", series)
			continue
		}
		n, err := compare(series, fromKubelet[series], fromCAdvisor[series])
		if err != nil {
			t.Errorf("%s: %v", series, err)
		}
		if n == 0 {
			t.Errorf("%s: never read by both at the same time", series)
		}
		readings += n
	}
	t.Logf("%d series from both, %d readings of the kubelet's are what cAdvisor says; %d series of file systems are the kubelet's alone", len(fromKubelet), readings, files)
}

// aside is how far a clock may be from what it stamps: it is read before the
// files of a cgroup are, one after the other.
const aside = int64(time.Second / time.Millisecond)

// compare holds each of the kubelet's readings to cAdvisor's around it: the last
// one a second before, the first one a second after, and those between. A
// counter must lie among them. A gauge that is no constant comes and goes
// between two looks, and may be 5 % beyond them. What is worked out of two
// readings is of the time between, which is longer for the kubelet's. It
// returns how many had such neighbours.
func compare(series string, kubelet, cAdvisor []reading) (compared int, err error) {
	counter := strings.Contains(series, "} counter ")
	for i, r := range kubelet {
		from, to := r.at-aside, r.at+aside
		if strings.HasPrefix(series, "container.cpu.usage{") {
			if i == 0 {
				continue
			}
			from = kubelet[i-1].at - aside
		}
		first, last := -1, -1
		for j, o := range cAdvisor {
			if o.at <= from {
				first = j
			}
			if o.at >= to && last < 0 {
				last = j
			}
		}
		if first < 0 || last < 0 {
			continue
		}
		least, most := math.Inf(1), math.Inf(-1)
		for _, o := range cAdvisor[first : last+1] {
			least, most = min(least, o.v), max(most, o.v)
		}
		slack := 0.0
		switch {
		case strings.HasPrefix(series, "container.start_time{"):
			slack = 1
		case !counter:
			slack = 0.05 * most
		}
		if r.v < least-slack || r.v > most+slack {
			return compared, fmt.Errorf("%v at %v, and cAdvisor says %v to %v within %d ms", r.v,
				time.UnixMilli(r.at).UTC().Format(time.TimeOnly), least, most, cAdvisor[last].at-cAdvisor[first].at)
		}
		compared++
	}
	return compared, nil
}

func TestCompareFindsWhatDiffers(t *testing.T) {
	around := []reading{{0, 10}, {2000, 12}, {4000, 13}, {6000, 20}}
	f := func(series string, at int64, v float64, compared int, same bool) {
		t.Helper()
		n, err := compare(series, []reading{{at, v}}, around)
		if n != compared || (err == nil) != same {
			t.Errorf("%s: %v at %d: compared %d, %v", series, v, at, n, err)
		}
	}
	const counter, gauge = `container.cpu.time{} counter s`, `container.memory.usage{} gauge By`
	f(counter, 3000, 12.5, 1, true)
	f(counter, 3000, 11.9, 0, false)
	f(counter, 3000, 13.1, 0, false)
	f(counter, 3500, 13.1, 1, true) // 4000 is too near
	f(gauge, 3000, 13.6, 1, true)
	f(gauge, 3000, 13.7, 0, false)
	f(counter, 500, 1, 0, true) // nobody looked before
	f(counter, 5500, 99, 0, true)
}
