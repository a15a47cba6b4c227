package host

import (
	"bytes"
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Fields of /proc/meminfo that are kept.
const (
	memTotal = iota
	memFree
	memAvailable
	memBuffers
	memCached
	memShared
	memReclaimable
	memUnreclaimable
	memActive
	memInactive
	memAnonymous
	memMapped
	memDirty
	memWriteback
	memPageTables
	memKernelStack
	memCommitted
	memCommitLimit
	memSwapCached
	memSwapTotal
	memSwapFree
	memHugeTotal
	memHugeFree
	memHugeReserved
	memHugeSurplus
	memHugeSize
	memFields
)

// memField returns which field a key of /proc/meminfo is, or -1.
func memField(key []byte) int {
	switch string(key) {
	case "MemTotal":
		return memTotal
	case "MemFree":
		return memFree
	case "MemAvailable":
		return memAvailable
	case "Buffers":
		return memBuffers
	case "Cached":
		return memCached
	case "Shmem":
		return memShared
	case "SReclaimable":
		return memReclaimable
	case "SUnreclaim":
		return memUnreclaimable
	case "Active":
		return memActive
	case "Inactive":
		return memInactive
	case "AnonPages":
		return memAnonymous
	case "Mapped":
		return memMapped
	case "Dirty":
		return memDirty
	case "Writeback":
		return memWriteback
	case "PageTables":
		return memPageTables
	case "KernelStack":
		return memKernelStack
	case "Committed_AS":
		return memCommitted
	case "CommitLimit":
		return memCommitLimit
	case "SwapCached":
		return memSwapCached
	case "SwapTotal":
		return memSwapTotal
	case "SwapFree":
		return memSwapFree
	case "HugePages_Total":
		return memHugeTotal
	case "HugePages_Free":
		return memHugeFree
	case "HugePages_Rsvd":
		return memHugeReserved
	case "HugePages_Surp":
		return memHugeSurplus
	case "Hugepagesize":
		return memHugeSize
	}
	return -1
}

// meminfo is /proc/meminfo: bytes, and pages for the HugePages_ fields.
type meminfo struct {
	has   uint64 // bit i: field i was there
	value [memFields]uint64
}

func (m *meminfo) all(fields ...int) bool {
	for _, f := range fields {
		if m.has>>f&1 == 0 {
			return false
		}
	}
	return true
}

// parseMeminfo reads /proc/meminfo into m, which is empty. A bad line costs itself.
func parseMeminfo(text []byte, m *meminfo) error {
	var bad faults
	for n, line := range lines(text) {
		key, rest, _ := bytes.Cut(line, []byte{':'})
		field := memField(key)
		if field < 0 {
			continue // a field nobody asked for
		}
		number, rest := cutField(rest)
		v, err := parseUint(number)
		if unit, _ := cutField(rest); string(unit) == "kB" && err == nil {
			if v > 1<<53 {
				err = errNumber
			}
			v *= 1024
		}
		if err != nil {
			bad.add(atLine(n, line, err))
			continue
		}
		m.value[field] = v
		m.has |= 1 << field
	}
	return bad.join()
}

// memory gives the machine's memory by use, and its swap space, which stands in
// the same file.
type memory struct {
	path                        string
	used, free, buffers, cached signal.Series
	swapUsed, swapFree          signal.Series
	hugeUsed, hugeFree          signal.Series
	plain                       []memSeries
	huge                        []memSeries
	hugeSeen                    bool // huge pages existed: from then on their numbers are of interest, zero included
	info                        meminfo
}

// memSeries is a series whose value is one field as it stands.
type memSeries struct {
	field  int
	series signal.Series
}

func newMemory(t *tree) *memory {
	state := func(s string) signal.Series {
		return gaugeOf(signal.SystemMemoryUsage, "By", signal.LabelMemoryState, s)
	}
	swap := func(s string) signal.Series {
		return gaugeOf(signal.SystemPagingUsage, "By", signal.LabelPagingState, s)
	}
	slab := func(s string) signal.Series {
		return gaugeOf(signal.SystemMemorySlab, "By", signal.LabelSlabState, s)
	}
	huge := func(s string) signal.Series {
		return gaugeOf(signal.SystemHugePagesUsage, "{page}", signal.LabelHugePagesState, s)
	}
	return &memory{
		path: t.path("proc/meminfo"),
		used: state("used"), free: state("free"), buffers: state("buffers"), cached: state("cached"),
		swapUsed: swap("used"), swapFree: swap("free"),
		hugeUsed: huge("used"), hugeFree: huge("free"),
		plain: []memSeries{
			{memTotal, gaugeOf(signal.SystemMemoryLimit, "By")},
			{memAvailable, gaugeOf(signal.SystemMemoryAvailable, "By")},
			{memShared, gaugeOf(signal.SystemMemoryShared, "By")},
			{memReclaimable, slab("reclaimable")},
			{memUnreclaimable, slab("unreclaimable")},
			{memActive, gaugeOf(signal.SystemMemoryActive, "By")},
			{memInactive, gaugeOf(signal.SystemMemoryInactive, "By")},
			{memAnonymous, gaugeOf(signal.SystemMemoryAnonymous, "By")},
			{memMapped, gaugeOf(signal.SystemMemoryMapped, "By")},
			{memDirty, gaugeOf(signal.SystemMemoryDirty, "By")},
			{memWriteback, gaugeOf(signal.SystemMemoryWriteback, "By")},
			{memPageTables, gaugeOf(signal.SystemMemoryPageTables, "By")},
			{memKernelStack, gaugeOf(signal.SystemMemoryKernelStack, "By")},
			{memCommitted, gaugeOf(signal.SystemMemoryCommitted, "By")},
			{memCommitLimit, gaugeOf(signal.SystemMemoryCommitLimit, "By")},
			{memSwapCached, gaugeOf(signal.SystemMemorySwapCached, "By")},
			{memSwapTotal, gaugeOf(signal.SystemPagingLimit, "By")},
		},
		huge: []memSeries{
			{memHugeTotal, gaugeOf(signal.SystemHugePagesLimit, "{page}")},
			{memHugeReserved, gaugeOf(signal.SystemHugePagesReserved, "{page}")},
			{memHugeSurplus, gaugeOf(signal.SystemHugePagesSurplus, "{page}")},
			{memHugeSize, gaugeOf(signal.SystemHugePagesPageSize, "By")},
		},
	}
}

func (m *memory) sample(_ context.Context, p *pass) error {
	text, err := p.tree.read(m.path)
	if text == nil {
		return err
	}
	m.info = meminfo{}
	err = inFile(m.path, parseMeminfo(text, &m.info))
	info, v := &m.info, &m.info.value

	if info.all(memTotal, memFree, memBuffers, memCached) {
		p.gauge(m.used, less(v[memTotal], v[memFree], v[memBuffers], v[memCached]))
		p.gauge(m.free, float64(v[memFree]))
		p.gauge(m.buffers, float64(v[memBuffers]))
		p.gauge(m.cached, float64(v[memCached]))
	}
	m.append(p, m.plain)
	if info.all(memSwapTotal, memSwapFree) {
		p.gauge(m.swapUsed, less(v[memSwapTotal], v[memSwapFree]))
		p.gauge(m.swapFree, float64(v[memSwapFree]))
	}
	if info.all(memHugeTotal, memHugeFree) {
		m.hugeSeen = m.hugeSeen || v[memHugeTotal] > 0
		if m.hugeSeen {
			p.gauge(m.hugeUsed, less(v[memHugeTotal], v[memHugeFree]))
			p.gauge(m.hugeFree, float64(v[memHugeFree]))
			m.append(p, m.huge)
		}
	}
	return err
}

func (m *memory) append(p *pass, series []memSeries) {
	for _, s := range series {
		if m.info.all(s.field) {
			p.gauge(s.series, float64(m.info.value[s.field]))
		}
	}
}

// less returns v less the others, and 0 where they are more: the kernel does not
// read all of them at the same moment.
func less(v uint64, others ...uint64) float64 {
	for _, o := range others {
		if o > v {
			return 0
		}
		v -= o
	}
	return float64(v)
}
