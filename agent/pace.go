package agent

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// pace sets how far the garbage may grow before it is collected, second by
// second, until ctx ends. A node agent is idle most of the time, and then memory
// is what it costs: the heap grows by half. When lines come by the hundred
// megabytes a second, a small heap is collected twenty times a second, which is a
// sixth of all the work: then it grows by up to roomForGarbage. The limit that the
// cgroup sets holds in either case (setMemoryLimit). Who sets GOGC has decided.
func pace(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	at := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, percent := uint64(0), 0
	for {
		metrics.Read(at)
		cycles := at[0].Value.Uint64() - last
		last += cycles
		if next := garbage(percent, cycles, at[1].Value.Uint64()); next != percent {
			percent = next
			debug.SetGCPercent(percent)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

const (
	thrifty        = 50 // percent of what lives
	lavish         = 400
	roomForGarbage = 64 << 20
	often          = 4 // collections in a second
)

// garbage returns by how many percent of what lives the heap may grow, after a
// second with so many collections. It changes when they are many or rare, not
// between: it would swing with its own effect.
func garbage(percent int, cycles, live uint64) int {
	switch {
	case cycles >= often:
		return int(min(max(roomForGarbage*100/max(live, 1), thrifty), lavish))
	case cycles <= 1 || percent == 0:
		return thrifty
	}
	return percent
}
