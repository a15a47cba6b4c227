package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Process states, in the order of their series.
const (
	procRunning = iota
	procSleeping
	procBlocked // uninterruptible: waiting for a disk or for NFS
	procIdle    // kernel threads with nothing to do
	procStopped
	procDefunct
	procStates
)

// processes gives the number of processes by state, of threads on run queues,
// of forks, and the limits of all that.
type processes struct {
	dir, pidMax, threadsMax   string
	count                     [procStates]signal.Series
	created, running, blocked signal.Series
	processLimit, threadLimit signal.Series
}

func newProcesses(t *tree) *processes {
	s := &processes{
		dir:          t.path("proc"),
		pidMax:       t.path("proc/sys/kernel/pid_max"),
		threadsMax:   t.path("proc/sys/kernel/threads-max"),
		created:      counterOf(signal.SystemProcessCreated, "{process}"),
		running:      gaugeOf(signal.SystemProcessRunning, "{thread}"),
		blocked:      gaugeOf(signal.SystemProcessBlocked, "{thread}"),
		processLimit: gaugeOf(signal.SystemProcessLimit, "{process}"),
		threadLimit:  gaugeOf(signal.SystemThreadLimit, "{thread}"),
	}
	for i, state := range [procStates]string{"running", "sleeping", "blocked", "idle", "stopped", "defunct"} {
		s.count[i] = gaugeOf(signal.SystemProcessCount, "{process}", signal.LabelProcessState, state)
	}
	return s
}

func (s *processes) sample(ctx context.Context, p *pass) error {
	if p.stat.has&hasForks != 0 {
		p.counter(s.created, float64(p.stat.forks))
	}
	if p.stat.has&hasRunning != 0 {
		p.gauge(s.running, float64(p.stat.running))
	}
	if p.stat.has&hasBlocked != 0 {
		p.gauge(s.blocked, float64(p.stat.blocked))
	}
	var errs []error
	limit := func(series signal.Series, path string) {
		v, ok, err := p.tree.readUint(path)
		if ok {
			p.gauge(series, float64(v))
		}
		errs = append(errs, err)
	}
	limit(s.processLimit, s.pidMax)
	limit(s.threadLimit, s.threadsMax)
	counts, err := s.scan(ctx, p.tree)
	if counts != [procStates]int{} {
		for i, series := range s.count {
			p.gauge(series, float64(counts[i]))
		}
	}
	return errors.Join(append(errs, err)...)
}

// scan counts the processes by state. One that ends while being looked at is
// not counted.
func (s *processes) scan(ctx context.Context, t *tree) (counts [procStates]int, err error) {
	dir, err := os.Open(s.dir)
	if err != nil {
		return counts, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	var bad faults
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if name[0] < '1' || name[0] > '9' {
				continue
			}
			state, err := s.state(t, name)
			if err != nil {
				bad.add(err)
			}
			if state >= 0 {
				counts[state]++
			}
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == io.EOF {
			return counts, bad.join()
		}
		if err != nil { // a partial count would look like processes ending
			return [procStates]int{}, fmt.Errorf("list processes: %w", err)
		}
	}
}

// state returns the state of a process, -1 if it cannot be known.
func (s *processes) state(t *tree, pid string) (int, error) {
	path := s.dir + "/" + pid + "/stat"
	text, err := t.readUpTo(path, 1) // one record, shorter than a page
	switch {
	case errors.Is(err, fs.ErrPermission): // hidepid: it is no business of ours
		return -1, nil
	case text == nil:
		return -1, err
	}
	state, err := parseProcState(text)
	return state, inFile(path, err)
}

// parseProcState reads "1 (name) S …", where name may hold spaces and brackets.
func parseProcState(text []byte) (int, error) {
	i := bytes.LastIndexByte(text, ')')
	if i < 0 || i+2 >= len(text) || text[i+1] != ' ' {
		return -1, atLine(1, text, errShort)
	}
	switch text[i+2] {
	case 'R':
		return procRunning, nil
	case 'S':
		return procSleeping, nil
	case 'D':
		return procBlocked, nil
	case 'I': // since 4.14
		return procIdle, nil
	case 'T', 't':
		return procStopped, nil
	case 'Z', 'X', 'x':
		return procDefunct, nil
	case 'W', 'P', 'K': // waking or parked, on kernels of the 3rd series
		return procSleeping, nil
	}
	return -1, atLine(1, text, errors.New("unknown process state"))
}
