package host

import "bytes"

// ticks is the unit of times in /proc/stat, USER_HZ: 100 on every Linux that Go runs on.
const ticks = 100

// cpuTimes are the columns of a cpu line, in ticks; steal and the guests are
// missing, and zero, on the oldest kernels.
type cpuTimes [10]uint64

const (
	cpuUser = iota
	cpuNice
	cpuSystem
	cpuIdle
	cpuIOWait
	cpuInterrupt
	cpuSoftIRQ
	cpuSteal
	cpuGuest     // within cpuUser
	cpuGuestNice // within cpuNice
)

// core is one online logical CPU.
type core struct {
	number uint64
	times  cpuTimes
}

// stat is /proc/stat without the counts of single interrupts.
type stat struct {
	has        statHas
	all        cpuTimes
	cores      []core
	boot       int64 // Unix seconds; 0 if unknown
	contexts   uint64
	interrupts uint64
	forks      uint64
	running    uint64
	blocked    uint64
	softirqs   [16]uint64
	kinds      int // of softirqs
}

// statHas has a bit for each line that was there.
type statHas uint8

const (
	hasCPU statHas = 1 << iota
	hasContexts
	hasInterrupts
	hasForks
	hasRunning
	hasBlocked
	hasSoftIRQs
)

// reset empties s, keeping its memory.
func (s *stat) reset() { *s = stat{cores: s.cores[:0]} }

// parseStat reads /proc/stat into s, which is empty. A bad line costs itself.
func parseStat(text []byte, s *stat) error {
	var bad faults
	for n, line := range lines(text) {
		key, rest := cutField(line)
		if err := s.line(key, rest); err != nil {
			bad.add(atLine(n, line, err))
		}
	}
	return bad.join()
}

func (s *stat) line(key, rest []byte) (err error) {
	first, more := cutField(rest)
	switch string(key) {
	case "cpu":
		return s.note(hasCPU, s.all.parse(rest))
	case "ctxt":
		s.contexts, err = parseUint(first)
		return s.note(hasContexts, err)
	case "intr": // the total, then one number per interrupt line, thousands of them
		s.interrupts, err = parseUint(first)
		return s.note(hasInterrupts, err)
	case "softirq": // the total, then one number per kind
		s.kinds, err = parseUints(s.softirqs[:], more)
		return s.note(hasSoftIRQs, err)
	case "processes":
		s.forks, err = parseUint(first)
		return s.note(hasForks, err)
	case "procs_running":
		s.running, err = parseUint(first)
		return s.note(hasRunning, err)
	case "procs_blocked":
		s.blocked, err = parseUint(first)
		return s.note(hasBlocked, err)
	case "btime":
		v, err := parseUint(first)
		if err != nil || v > 1<<40 { // the year 36812: milliseconds still fit
			return errNumber
		}
		s.boot = int64(v)
		return nil
	}
	number, ok := bytes.CutPrefix(key, []byte("cpu"))
	if !ok {
		return nil
	}
	var c core
	if c.number, err = parseUint(number); err != nil {
		return nil // some other word that begins with cpu
	}
	if err = c.times.parse(rest); err == nil {
		s.cores = append(s.cores, c)
	}
	return err
}

// note remembers that a line was there, if err is nil, and returns err.
func (s *stat) note(bit statHas, err error) error {
	if err == nil {
		s.has |= bit
	}
	return err
}

// parse reads the columns of a cpu line; the first four have always been there.
func (c *cpuTimes) parse(p []byte) error {
	n, err := parseUints(c[:], p)
	if err == nil && n < 4 {
		err = errShort
	}
	return err
}
