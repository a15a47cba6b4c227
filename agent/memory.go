package agent

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// setMemoryLimit makes Go heed the memory limit of the agent's cgroup: at 90 % of
// it the collector works harder rather than let the kernel kill the process.
// GOMEMLIMIT, if set, is left as it is.
func setMemoryLimit() error {
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	limit, err := cgroupMemoryLimit()
	if err != nil || limit == 0 {
		return err
	}
	debug.SetMemoryLimit(limit / 10 * 9)
	return nil
}

// heapRoom is how many bytes a large heap may grow before it is collected again.
const heapRoom = 16 << 20

// paceCollector has a large heap collected before it has doubled, which is what Go
// does by itself: what an agent with 100,000 series holds is nearly all of it there
// for days, so room for as much again would never be of use. A heap of no more
// than heapRoom is left to Go. GOGC, if set, is left as it is.
var paceCollector = sync.OnceFunc(func() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := 100
	var pace func()
	pace = func() {
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p != set { // to set it stops the world for a moment
			set = p
			debug.SetGCPercent(p)
		}
		runtime.AddCleanup(&[2]*byte{}, func(next func()) { next() }, pace) // once after each collection
	}
	pace()
})

// gcPercent is by how much a heap of live bytes may grow, in steps of ten.
func gcPercent(live uint64) int {
	return int(min(100, max(10, 10*(10*heapRoom/max(live, 1)))))
}

// trim gives back what only the start needed of the program's own pages. A
// kernel that keeps files in large pieces maps two megabytes of a binary at each
// touch, so that all of it is resident after a few seconds, used or not. Asked not
// to, it maps what is touched; what is needed comes back from the page cache at
// its next use.
func trim() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the pages of the program: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("find the pages of the program: %w", err)
	}
	defer f.Close()
	for _, m := range programText(f, exe) {
		for _, advice := range [...]uintptr{unix.MADV_NOHUGEPAGE, unix.MADV_DONTNEED} {
			if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, advice); errno != 0 && advice == unix.MADV_DONTNEED {
				return fmt.Errorf("give back pages of the program: %w", errno)
			}
		}
	}
	return nil
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// programText reads what /proc/self/smaps says, and returns the parts of exe that
// cannot be written to and never were (proc_pid_smaps(5)): only those are the same
// when they are read again. What the linker made read-only after writing to it
// has dirty pages.
func programText(smaps io.Reader, exe string) (all []mapping) {
	var of mapping
	inside := false
	for sc := bufio.NewScanner(smaps); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"): // the first line of a mapping
			lo, hi, _ := strings.Cut(fields[0], "-")
			a, errA := strconv.ParseUint(lo, 16, 64)
			b, errB := strconv.ParseUint(hi, 16, 64)
			perms := fields[1]
			inside = errA == nil && errB == nil && a < b && len(fields) > 5 && strings.Join(fields[5:], " ") == exe &&
				len(perms) == 4 && perms[0] == 'r' && perms[1] == '-' && perms[3] == 'p'
			of = mapping{uintptr(a), uintptr(b)}
		case inside && len(fields) > 1 && fields[0] == "Private_Dirty:":
			if fields[1] == "0" {
				all = append(all, of)
			}
			inside = false
		}
	}
	return all
}
