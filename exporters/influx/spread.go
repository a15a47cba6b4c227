package influx

import "github.com/causeway-agent/causeway/agent/signal"

// spread gives the lines of a block times that no two of them share: InfluxDB
// keeps one point per series and time, and lines come stamped by the second.
//
// A line's time is moved within what its clock could not tell apart. If its
// stamp is a whole second, millisecond or microsecond, and so are others of its
// block, then the digits below are free, and hold
//
//	(hash(File) + ID) mod resolution
//
// ID is the line's place in the file, so lines of other blocks stay apart too,
// and the order within a block is kept. Stamps to the nanosecond stay as they
// are. What would meet an earlier line of the block goes right behind it.
//
// All of it follows from the block alone. A block is in one frame and never
// changes, so a line that is sent again has the same time, wherever the bodies
// begin and end: it overwrites itself and nothing else.
//
// Why the block, and not the line alone, says what the resolution is: one in a
// thousand nanosecond stamps ends in 000, and moving those would put them on
// their neighbours.
type spread struct {
	blk  *signal.LogBlock
	hash uint64
	free [3]bool // whether stamps in whole s, ms, µs are stamps of a coarse clock
	last int64   // the greatest time given so far; meaningless before the first
	seen map[int64]bool
}

// resolutions of clocks, coarsest first.
var resolutions = [3]int64{1e9, 1e6, 1e3}

// resolutionOf returns the place of t's resolution in resolutions, 3 for 1 ns.
func resolutionOf(t int64) int {
	for i, r := range resolutions {
		if t%r == 0 {
			return i
		}
	}
	return len(resolutions)
}

func newSpread(blk *signal.LogBlock) spread {
	sp := spread{blk: blk, hash: hash(14695981039346656037, blk.File)}
	var n [4]int
	for i := range blk.Lines {
		n[resolutionOf(blk.Lines[i].Time)]++
	}
	// A stamp in whole seconds says as much for a clock of milliseconds.
	n[1] += n[0]
	n[2] += n[1]
	all := len(blk.Lines)
	for i := range sp.free {
		sp.free[i] = n[i] > all/50 && (n[i] > 1 || all == 1)
	}
	return sp
}

// hash is FNV-1a, 64 bits, continued from h.
func hash(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// next returns the time of line i. It is called for each line in turn, from 0 on.
func (sp *spread) next(i int) int64 {
	t := sp.blk.Lines[i].Time
	res := int64(1)
	for j := resolutionOf(t); j < len(resolutions); j++ {
		if sp.free[j] {
			res = resolutions[j]
			break
		}
	}
	at := t
	if res > 1 && t < 1<<63-1-1e9 {
		at += int64((sp.hash + uint64(sp.blk.Start) + uint64(i)) % uint64(res))
	}
	switch {
	case i == 0 || at > sp.last:
		sp.last = at
	case sp.last-at < max(res, 1e6):
		// The digits ran over, or the stamps did not move on: right behind the
		// line before, which keeps the order.
		sp.last++
		at = sp.last
	default:
		// Far out of order: any earlier line may have this time.
		if sp.seen == nil {
			sp.recall(i)
		}
		for sp.seen[at] {
			at++
		}
	}
	if sp.seen != nil {
		sp.seen[at] = true
		sp.last = max(sp.last, at)
	}
	return at
}

// recall fills seen with the times of lines 0 to n-1, of which none was far out
// of order.
func (sp *spread) recall(n int) {
	again := spread{blk: sp.blk, hash: sp.hash, free: sp.free}
	seen := make(map[int64]bool, len(sp.blk.Lines))
	for i := range n {
		seen[again.next(i)] = true
	}
	sp.seen = seen
}
