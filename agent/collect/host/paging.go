package host

import (
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// vmstat is what is kept of /proc/vmstat's two hundred counters.
type vmstat struct {
	has                   vmHas
	faults, majorFaults   uint64
	swappedIn, swappedOut uint64 // pages
	pagedInKB, pagedOutKB uint64
	oomKills              uint64
}

type vmHas uint8

const (
	hasFaults vmHas = 1 << iota
	hasMajor
	hasSwapIn
	hasSwapOut
	hasPageIn
	hasPageOut
	hasOOMKills // since 4.13
)

// parseVMStat reads /proc/vmstat into v, which is empty. A bad line costs itself.
func parseVMStat(text []byte, v *vmstat) error {
	var bad faults
	for n, line := range lines(text) {
		key, rest := cutField(line)
		var to *uint64
		var bit vmHas
		switch string(key) {
		case "pgfault":
			to, bit = &v.faults, hasFaults
		case "pgmajfault":
			to, bit = &v.majorFaults, hasMajor
		case "pswpin":
			to, bit = &v.swappedIn, hasSwapIn
		case "pswpout":
			to, bit = &v.swappedOut, hasSwapOut
		case "pgpgin":
			to, bit = &v.pagedInKB, hasPageIn
		case "pgpgout":
			to, bit = &v.pagedOutKB, hasPageOut
		case "oom_kill":
			to, bit = &v.oomKills, hasOOMKills
		default:
			continue // a counter nobody asked for
		}
		number, _ := cutField(rest)
		u, err := parseUint(number)
		if err != nil {
			bad.add(atLine(n, line, err))
			continue
		}
		*to = u
		v.has |= bit
	}
	return bad.join()
}

// paging gives faults and traffic between memory and disks. The size and use of
// swap space are memory's.
type paging struct {
	path             string
	major, minor     signal.Series
	swapIn, swapOut  signal.Series
	readIn, writeOut signal.Series
	oomKills         signal.Series
}

func newPaging(t *tree) *paging {
	return &paging{
		path:     t.path("proc/vmstat"),
		major:    counterOf(signal.SystemPagingFaults, "{fault}", signal.LabelPagingType, "major"),
		minor:    counterOf(signal.SystemPagingFaults, "{fault}", signal.LabelPagingType, "minor"),
		swapIn:   counterOf(signal.SystemPagingOperations, "{operation}", signal.LabelPagingDirection, "in"),
		swapOut:  counterOf(signal.SystemPagingOperations, "{operation}", signal.LabelPagingDirection, "out"),
		readIn:   counterOf(signal.SystemPagingIO, "By", signal.LabelPagingDirection, "in"),
		writeOut: counterOf(signal.SystemPagingIO, "By", signal.LabelPagingDirection, "out"),
		oomKills: counterOf(signal.SystemMemoryOOMKills, "{process}"),
	}
}

func (g *paging) sample(_ context.Context, p *pass) error {
	text, err := p.tree.read(g.path)
	if text == nil {
		return err
	}
	var v vmstat
	err = inFile(g.path, parseVMStat(text, &v))
	add := func(bits vmHas, s signal.Series, value float64) {
		if v.has&bits == bits {
			p.counter(s, value)
		}
	}
	add(hasMajor, g.major, float64(v.majorFaults))
	add(hasMajor|hasFaults, g.minor, less(v.faults, v.majorFaults)) // pgfault counts both
	add(hasSwapIn, g.swapIn, float64(v.swappedIn))
	add(hasSwapOut, g.swapOut, float64(v.swappedOut))
	add(hasPageIn, g.readIn, float64(v.pagedInKB)*1024)
	add(hasPageOut, g.writeOut, float64(v.pagedOutKB)*1024)
	add(hasOOMKills, g.oomKills, float64(v.oomKills))
	return err
}
