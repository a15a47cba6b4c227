package host

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fixture returns a Host over testdata/name, whose mounts answer as answers says.
func fixture(t testing.TB, name string, change func(*Config)) *Host {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return hostAt(root, change)
}

func hostAt(root string, change func(*Config)) *Host {
	c := Default()
	c.Root = root
	c.Connections = true
	if change != nil {
		change(&c)
	}
	h := New(c)
	h.filesystems().ask = func(path string) answer { return answers(strings.TrimPrefix(path, root)) }
	return h
}

func (h *Host) filesystems() *filesystems { return h.parts[len(h.parts)-1].part.(*filesystems) }

// answers is what the mounts of the fixtures say.
func answers(point string) answer {
	a := answer{total: 1000 << 20, free: 300 << 20, available: 250 << 20, inodes: 1000, inodesFree: 900}
	switch point {
	case "":
		a.major, a.minor = 8, 1
	case "/mnt/my disk\\one", "/srv/bound":
		a.major, a.minor = 8, 17
	case "/mnt/nfs":
		a.minor = 50
	case "/data/tab\tand \\040":
		a.major, a.minor = 259, 7
	case "/covered":
		a.major, a.minor = 259, 9
	case "/mnt/unseen":
		a.minor = 25 // the directory below it answers
	case "/mnt/private":
		a.err = unix.EACCES
	case "/mnt/broken":
		a.err = unix.EIO
	case "/mnt/empty":
		a = answer{minor: 63}
	default:
		a.err = errors.New("not in the fixture: " + point)
	}
	return a
}

// sample makes one call.
func sample(t testing.TB, h *Host) (*signal.Batch, error) {
	t.Helper()
	b := &signal.Batch{Kind: signal.Metric}
	err := h.Sample(t.Context(), b)
	return b, err
}

// values returns the samples by name and labels, as signal.Format writes them.
func values(b *signal.Batch) map[string]float64 {
	m := map[string]float64{}
	for _, s := range b.Samples {
		line := signal.Format(&signal.Batch{Kind: signal.Metric, Samples: []signal.Sample{s}})
		series, _, _ := strings.Cut(line, " "+s.Series.Desc().Type.String()+" ")
		m[series] = s.Value
	}
	return m
}

func TestGolden(t *testing.T) {
	for _, name := range []string{"linux-4.14", "linux-6.8"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // for the time
				h := fixture(t, name, func(c *Config) { c.PerCPU = true })
				b, err := sample(t, h)
				want := ""
				if name == "linux-6.8" {
					want = "ask /mnt/broken (ceph) for its use: input/output error"
				}
				if got := errorText(err); got != want {
					t.Errorf("error %q, want %q", got, want)
				}
				golden(t, filepath.Join("testdata", name+".golden"), b)
			})
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// golden compares b, sorted, with a file in the readable notation.
func golden(t *testing.T, path string, b *signal.Batch) {
	t.Helper()
	text := strings.Replace(signal.Format(b), `host.arch="`+runtime.GOARCH+`"`, `host.arch="ARCH"`, 1)
	got := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	slices.Sort(got)
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(file), "\n"), "\n")
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

func TestEverySeriesOccursOnceAndEveryCounterStartsAtBoot(t *testing.T) {
	for name, boot := range map[string]int64{"linux-4.14": 1700000000_000, "linux-6.8": 1760000000_000} {
		b, _ := sample(t, fixture(t, name, func(c *Config) { c.PerCPU = true; c.Disks.Partitions = true; c.Interfaces.Exclude = nil }))
		seen := map[signal.Series]bool{}
		for _, s := range b.Samples {
			d := s.Series.Desc()
			if seen[s.Series] {
				t.Errorf("%s: twice: %s %q", name, d.Name, d.Labels)
			}
			seen[s.Series] = true
			switch {
			case d.Type == signal.Counter && s.Start != boot:
				t.Errorf("%s: %s starts at %d, want boot, %d", name, d.Name, s.Start, boot)
			case d.Type == signal.Gauge && s.Start != 0:
				t.Errorf("%s: gauge %s has a start", name, d.Name)
			case s.Time != b.Samples[0].Time:
				t.Errorf("%s: %s has a time of its own", name, d.Name)
			}
		}
	}
}

func TestModesOfMemoryAndFilesystemsAddUpToTheLimit(t *testing.T) {
	b, _ := sample(t, fixture(t, "linux-4.14", nil))
	sums := map[string]float64{}
	for _, s := range b.Samples {
		d := s.Series.Desc()
		sums[d.Name+signal.Lookup(d.Labels, signal.LabelFSMount)] += s.Value
	}
	for _, key := range [][2]string{
		{signal.SystemMemoryUsage, signal.SystemMemoryLimit},
		{signal.SystemPagingUsage, signal.SystemPagingLimit},
		{signal.SystemFilesystemUsage + "/", signal.SystemFilesystemLimit + "/"},
		{signal.SystemFilesystemInodesUsage + "/", signal.SystemFilesystemInodesLimit + "/"},
	} {
		if sums[key[0]] != sums[key[1]] || sums[key[1]] == 0 {
			t.Errorf("sum of %s is %v, %s is %v", key[0], sums[key[0]], key[1], sums[key[1]])
		}
	}
}

func TestBootTimeStandsStillUnlessTheClockWasSet(t *testing.T) {
	h := &Host{}
	f := func(kernel, want int64) {
		t.Helper()
		if got := h.bootTime(kernel); got != want {
			t.Errorf("kernel says %d: got %d, want %d", kernel, got, want)
		}
	}
	f(0, 0)
	f(1_000_000, 1_000_000)
	f(1_001_000, 1_000_000) // NTP slews
	f(999_000, 1_000_000)
	f(0, 1_000_000) // not readable this time
	f(1_061_000, 1_061_000)
	f(900_000, 900_000)
}

func TestUtilizationIsTheShareSinceTheLastSample(t *testing.T) {
	root := copyTree(t, "linux-4.14")
	h := hostAt(root, nil)
	b, _ := sample(t, h)
	key := func(mode string) string { return `system.cpu.utilization{cpu.mode="` + mode + `"}` }
	if _, ok := values(b)[key("user")]; ok {
		t.Error("a first sample has no utilization")
	}
	// 30 ticks of user, 10 of idle, iowait runs backwards.
	rewrite(t, root, "proc/stat", "cpu  10132153 290696 3084719 46828483 16683", "cpu  10132183 290696 3084719 46828493 16680")
	b, _ = sample(t, h)
	v := values(b)
	if v[key("user")] != 0.75 || v[key("idle")] != 0.25 || v[key("iowait")] != 0 || v[key("steal")] != 0 {
		t.Errorf("user %v idle %v iowait %v steal %v", v[key("user")], v[key("idle")], v[key("iowait")], v[key("steal")])
	}
}

func TestAbsentFilesAreNoError(t *testing.T) {
	everything, _ := sample(t, fixture(t, "linux-6.8", nil))
	whole := values(everything)
	for _, rel := range []string{
		"proc/loadavg", "proc/meminfo", "proc/vmstat", "proc/diskstats", "proc/1/net/dev", "proc/1/net/snmp",
		"proc/1/net/netstat", "proc/1/net/snmp6", "proc/1/net/sockstat", "proc/1/net/sockstat6", "proc/1/net/tcp6",
		"proc/1/mountinfo", "proc/pressure/cpu", "proc/pressure", "proc/sys/fs/file-nr", "proc/sys", "proc/uptime", "sys", "etc",
	} {
		root := copyTree(t, "linux-6.8")
		if err := os.RemoveAll(filepath.Join(root, rel)); err != nil {
			t.Fatal(err)
		}
		if rel == "proc/1/net/dev" { // else the agent's own would be read instead
			os.RemoveAll(filepath.Join(root, "proc/net"))
		}
		b, err := sample(t, hostAt(root, nil))
		if got := errorText(err); got != "" && got != "ask /mnt/broken (ceph) for its use: input/output error" {
			t.Errorf("without %s: %v", rel, err)
		}
		if rel != "etc" && rel != "proc/1/net/tcp6" && (len(b.Samples) >= len(whole) || len(b.Samples) < len(whole)/3) {
			t.Errorf("without %s: %d of %d samples", rel, len(b.Samples), len(whole))
		}
	}
}

func TestNoProcAtAllIsAbsentAndNamesTheRemedy(t *testing.T) {
	b, err := sample(t, hostAt(t.TempDir(), nil))
	if !errors.Is(err, collect.ErrAbsent) || !strings.Contains(err.Error(), "set root") || len(b.Samples) != 0 {
		t.Errorf("%d samples, error %v", len(b.Samples), err)
	}
}

func TestARootThatMayNotBeReadIsSaidOnceWithTheRemedy(t *testing.T) {
	denied := &fs.PathError{Op: "open", Path: "/host/proc/stat", Err: unix.EACCES}
	if err := unusable("/host/proc/stat", nil, denied); errorText(err) != "open /host/proc/stat: permission denied: run the agent as root, or set root to where it may read the host's tree" {
		t.Errorf("denied: %v", err)
	}
	broken := &fs.PathError{Op: "read", Path: "/proc/stat", Err: unix.EIO}
	if err := unusable("/proc/stat", nil, broken); err != nil {
		t.Errorf("one broken file gives up the others: %v", err)
	}
}

func TestABadFileIsNamedAndTakesNothingElseDown(t *testing.T) {
	whole, _ := sample(t, fixture(t, "linux-4.14", nil))
	f := func(rel, old, bad string, lost int, want ...string) {
		t.Helper()
		root := copyTree(t, "linux-4.14")
		rewrite(t, root, rel, old, bad)
		b, err := sample(t, hostAt(root, nil))
		if n := len(whole.Samples) - len(b.Samples); n != lost {
			t.Errorf("%s with %q: %d samples are missing, want %d", rel, bad, n, lost)
		}
		for _, w := range append(want, filepath.Join(root, rel)) {
			if !strings.Contains(errorText(err), w) {
				t.Errorf("%s with %q: error %q does not name %q", rel, bad, errorText(err), w)
			}
		}
	}
	f("proc/stat", "ctxt 115315230", "ctxt", 1, "line 5")
	f("proc/stat", "cpu1 5066077", "cpu1 ?", 0, "line 3")
	f("proc/loadavg", "0.04", "much", 4, "line 1")
	f("proc/meminfo", "4045056", "x", 5, "line 1") // used needs it, and with it the other states
	f("proc/meminfo", "KernelStack:", "KernelStack: -", 1, "line 20")
	f("proc/vmstat", "pgmajfault 2345", "pgmajfault", 2, "line 7")
	f("proc/diskstats", "sda 25354", "sda x", 12, "line 1")
	f("proc/net/dev", "eth0:4245120567", "eth0:1 2 3\nxx", 8, "line 4", "line 5")
	f("proc/net/snmp", "Tcp: 1", "Tcpp: 1", 11, "line 6", "not the values")
	f("proc/net/netstat", "IpExt: 6286396970", "IpExt: ..", 0, "line 4")
	f("proc/net/sockstat", "orphan 1", "orphan ?", 4, "line 2")
	f("proc/net/tcp", "4: 0100007F:1F44 0100007F:0000 01", "4: 0100007F:1F44 0100007F:0000 0G", 11, "line 6")
	f("proc/sys/fs/file-nr", "1184", "", 3, "line 1")
	f("proc/sys/kernel/random/entropy_avail", "3754", "none", 1, "line 1")
	f("proc/sys/kernel/pid_max", "32768", "none", 1, "line 1")
	f("proc/uptime", "350735.47", "long", 1, "line 1")
	f("proc/310/stat", ") D", ") ?", 0, "unknown process state")
	f("proc/1/mountinfo", "40 22 8:17 / /mnt/my", "40 22 8:17 / mnt/my", 0, "line 7") // its bind mount stands in
}

func TestDevicesThatAreGoneAreForgotten(t *testing.T) {
	root := copyTree(t, "linux-6.8")
	h := hostAt(root, nil)
	sample(t, h)
	d := h.parts[slices.IndexFunc(h.parts, func(p *Part) bool { return p.Name == "disk" })].part.(*disks)
	if n := len(d.cache.known); n != 27 {
		t.Fatalf("%d disks known, want 27", n)
	}
	text, _ := os.ReadFile(filepath.Join(root, "proc/diskstats"))
	first, _, _ := bytes.Cut(text, []byte("\n"))
	write(t, root, "proc/diskstats", string(first)+"\n")
	sample(t, h)
	if n := len(d.cache.known); n != 1 {
		t.Errorf("%d disks known, want 1", n)
	}
}

func TestSampleStopsWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := &signal.Batch{Kind: signal.Metric}
	if err := fixture(t, "linux-4.14", nil).Sample(ctx, b); !errors.Is(err, context.Canceled) || b.Len() != 0 {
		t.Errorf("%d samples, error %v", b.Len(), err)
	}
}

func TestPartsKeepBooks(t *testing.T) {
	root := copyTree(t, "linux-4.14")
	write(t, root, "proc/loadavg", "x")
	h := hostAt(root, nil)
	b, _ := sample(t, h)
	items := int64(0)
	for _, p := range h.Parts() {
		bad := p.Name == "load"
		if p.Stats.Runs.Load() != 1 || (p.Stats.Err() != nil) != bad || (p.Stats.Failures.Load() == 1) != bad {
			t.Errorf("%s: runs %d, failures %d, error %v", p.Name, p.Stats.Runs.Load(), p.Stats.Failures.Load(), p.Stats.Err())
		}
		items += p.Stats.Items.Load()
	}
	if items != int64(b.Len()) {
		t.Errorf("parts account for %d samples, the batch has %d", items, b.Len())
	}
}

func TestDefaultIsValidAndCheckNamesEveryMistake(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Errorf("default: %v", err)
	}
	err := Config{
		Enabled: "yes", Interval: time.Millisecond, Root: "host",
		Filesystems: Filesystems{IncludeTypes: []string{""}, ExcludeTypes: []string{"a", ""}, IncludeMounts: []string{""}, ExcludeMounts: []string{""}},
		Disks:       Disks{Exclude: []string{""}}, Interfaces: Interfaces{Exclude: []string{""}},
	}.Check()
	lines := strings.Split(errorText(err), "\n")
	keys := []string{"enabled:", "interval:", "root:", "filesystems.include_types[0]:", "filesystems.exclude_types[1]:",
		"filesystems.include_mounts[0]:", "filesystems.exclude_mounts[0]:", "disks.exclude[0]:", "interfaces.exclude[0]:"}
	if len(lines) != len(keys) {
		t.Fatalf("%d complaints, want %d: %v", len(lines), len(keys), err)
	}
	for i, key := range keys {
		if !strings.HasPrefix(lines[i], key+" ") {
			t.Errorf("complaint %d is %q, want it to begin with %q", i, lines[i], key)
		}
	}
}

// copyTree returns a copy of a fixture that may be changed.
func copyTree(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t *testing.T, root, rel, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, rel), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// rewrite replaces old, which must be there, in one file of a copied fixture.
func rewrite(t *testing.T, root, rel, old, text string) {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(root, rel))
	if err != nil || !strings.Contains(string(p), old) {
		t.Fatalf("%q is not in %s (%v)", old, rel, err)
	}
	write(t, root, rel, strings.Replace(string(p), old, text, 1))
}
