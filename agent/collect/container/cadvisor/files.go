package cadvisor

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/causeway-agent/causeway/agent/collect/container"
)

// files reads the few files of a cgroup that cAdvisor does not, or not cheaply.
// A file that is not there, or not as expected, is a number not known.
type files struct {
	mounts map[string]string // controller to mount point; "" alone on cgroup v2
	proc   string            // where the host's /proc is: /proc or /rootfs/proc
}

// path returns the path of a file of one cgroup, "" if its controller is not
// mounted.
func (f files) path(controller, cgroup, file string) string {
	mount, v2 := f.mounts[""]
	if !v2 {
		mount = f.mounts[controller]
	}
	if mount == "" {
		return ""
	}
	return filepath.Join(mount, cgroup, file)
}

// fill sets the values of r that come from here.
func (f files) fill(r *container.Reading, cgroup string) {
	v := &r.Values
	v[container.Threads] = readNumber(f.path("pids", cgroup, "pids.current"))
	v[container.ThreadsLimit] = readNumber(f.path("pids", cgroup, "pids.max"))
	if p, err := os.ReadFile(f.path("cpu", cgroup, "cgroup.procs")); err == nil {
		v[container.Processes] = float64(bytes.Count(p, []byte("\n")))
	}
	events := f.path("memory", cgroup, "memory.oom_control")
	if _, v2 := f.mounts[""]; v2 {
		events = f.path("memory", cgroup, "memory.events")
	}
	if p, err := os.ReadFile(events); err == nil {
		v[container.OOMEvents] = parseKey(p, "oom_kill")
	}
}

// hostNetwork reports whether a cgroup's processes use the machine's own
// network: all its interfaces would be counted as the container's. It is false
// where that cannot be told.
func (f files) hostNetwork(cgroup string) bool {
	p, err := os.ReadFile(f.path("cpu", cgroup, "cgroup.procs"))
	if err != nil {
		return false
	}
	pid, _, _ := bytes.Cut(p, []byte("\n"))
	if len(pid) == 0 {
		return false
	}
	theirs, err := os.Readlink(filepath.Join(f.proc, string(pid), "ns/net"))
	if err != nil {
		return false
	}
	ours, err := os.Readlink(filepath.Join(f.proc, "1/ns/net"))
	return err == nil && ours == theirs
}

func readNumber(path string) float64 {
	p, err := os.ReadFile(path)
	if err != nil {
		return math.NaN()
	}
	return parseNumber(bytes.TrimSpace(p))
}

// parseNumber reads a whole number; NaN for "max" and whatever else is none.
func parseNumber(p []byte) float64 {
	n, err := strconv.ParseUint(string(p), 10, 64)
	if err != nil {
		return math.NaN()
	}
	return float64(n)
}

// parseKey returns the number after key in lines of "key number", NaN if it is
// not there (oom_kill came to cgroup v1 with Linux 4.13).
func parseKey(p []byte, key string) float64 {
	for line := range bytes.Lines(p) {
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			if n, spaced := bytes.CutPrefix(rest, []byte(" ")); spaced {
				return parseNumber(bytes.TrimSpace(n))
			}
		}
	}
	return math.NaN()
}
