package container

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

func TestDefaultPassesCheck(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
}

func TestCheckNamesEachBadKeyAndAllAtOnce(t *testing.T) {
	f := func(change func(*Config), want ...string) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Check()
		if err == nil {
			t.Errorf("no complaint, want %q", want)
			return
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(want) {
			t.Errorf("%q, want %q", lines, want)
			return
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]+": ") {
				t.Errorf("%q, want a complaint about %q", lines[i], want[i])
			}
		}
	}
	f(func(c *Config) { c.Enabled = "yes" }, "enabled")
	f(func(c *Config) { c.Interval = 999 * time.Millisecond }, "interval")
	f(func(c *Config) { c.Kubelet.URL = "10.0.0.1:10250" }, "kubelet.url")
	f(func(c *Config) { c.Kubelet.URL = "http://10.0.0.1:10255" }, "kubelet.url")
	f(func(c *Config) { c.Kubelet.InsecureSkipVerify, c.Kubelet.CAFile = true, "/ca.crt" }, "kubelet.insecure_skip_verify")
	f(func(c *Config) { c.Provider = "docker" }, "provider")
	f(func(c *Config) { c.Cgroups = []string{"/a", "system.slice"} }, "cgroups[1]")
	f(func(c *Config) { c.Cgroups = []string{"/a/"} }, "cgroups[0]")
	f(func(c *Config) { c.Cgroups = []string{"/"} }, "cgroups[0]")
	f(func(c *Config) { c.Cgroups = []string{"/a/../b"} }, "cgroups[0]")
	f(func(c *Config) { c.Cgroups = []string{"/*/b"} }, "cgroups[0]")
	f(func(c *Config) { c.Cgroups = []string{"/a*"} }, "cgroups[0]")
	f(func(c *Config) { c.ContainerdSocket = "containerd.sock" }, "containerd_socket")
	f(func(c *Config) { c.DockerSocket = "unix:///var/run/docker.sock" }, "docker_socket")
	f(func(c *Config) { c.ContainerdNamespace = "" }, "containerd_namespace")
	f(func(c *Config) { c.Enabled, c.Interval, c.Cgroups = "", 0, []string{"x"} }, "enabled", "interval", "cgroups[0]")

	c := Default()
	c.Cgroups = []string{"/*", "/system.slice/*", "/user.slice"}
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestListedTakesPathsAndDirectChildren(t *testing.T) {
	f := func(listed []string, path string, want bool) {
		t.Helper()
		if got := (Config{Cgroups: listed}).Listed(path); got != want {
			t.Errorf("Listed(%q) with %q = %v", path, listed, got)
		}
	}
	f(nil, "/a", false)
	f([]string{"/a"}, "/a", true)
	f([]string{"/a"}, "/a/b", false)
	f([]string{"/a"}, "/ab", false)
	f([]string{"/a/*"}, "/a/b", true)
	f([]string{"/a/*"}, "/a/b/c", false)
	f([]string{"/a/*"}, "/a", false)
	f([]string{"/*"}, "/a", true)
	f([]string{"/*"}, "/", false)
	f([]string{"/x", "/a/*"}, "/a/b", true)
}

// node is a Provider that says what a test puts in.
type node struct {
	readings []Reading
	err      error
	closed   bool
}

func (n *node) Read(context.Context) ([]Reading, error) { return n.readings, n.err }
func (n *node) Close() error                            { n.closed = true; return nil }

// reading returns a container's reading with the given CPU seconds and nothing else.
func reading(name string, start, time int64, cpu float64) Reading {
	var r Reading
	r.Reset()
	r.Name, r.Labels, r.Start, r.Time = name, signal.Labels(signal.LabelContainerID, name), start, time
	r.CPU, r.Values[CPUUser] = cpu, cpu
	return r
}

// sample returns what one Sample gives, and fails the test if that is an error.
func sample(t *testing.T, s *Sampler) *signal.Batch {
	t.Helper()
	b := &signal.Batch{Kind: signal.Metric}
	if err := s.Sample(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return b
}

// lines returns the samples of b whose name is name, in the readable notation
// from the type on.
func lines(b *signal.Batch, name string) (found []string) {
	for line := range strings.Lines(signal.Format(b)) {
		if rest, ok := strings.CutPrefix(line, name+"{"); ok {
			_, rest, _ = strings.Cut(rest, "} ")
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

func wantLines(t *testing.T, b *signal.Batch, name string, want ...string) {
	t.Helper()
	if got := lines(b, name); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestStartIsTheContainersAndStaysUntilItStartsAgain(t *testing.T) {
	n := &node{}
	s := New(Default(), n)
	at := func(start, time int64, cpu float64, want string) {
		t.Helper()
		n.readings = []Reading{reading("a", start, time, cpu)}
		wantLines(t, sample(t, s), signal.ContainerCPUTime, want)
	}
	at(1000, 5000, 2, "counter s 2 @5000 from 1000")
	at(4000, 6000, 3, "counter s 3 @6000 from 1000") // the inode's age has changed: nothing has happened
	at(6500, 7000, 1, "counter s 1 @7000 from 6500") // it has been started again
	at(6500, 8000, 1, "counter s 1 @8000 from 6500") // and did nothing
	at(1000, 9000, 0, "counter s 0 @9000 from 8000") // again, with a start that cannot be: it ran at 8000
	at(1000, 9500, 0.5, "counter s 0.5 @9500 from 8000")

	n.readings = nil
	sample(t, s)
	at(9600, 9700, 4, "counter s 4 @9700 from 9600") // gone and back is started again

	f := func(name string, start, time int64, want string) {
		t.Helper()
		n.readings = []Reading{reading(name, start, time, 1)}
		wantLines(t, sample(t, s), signal.ContainerCPUTime, want)
	}
	f("unknown", 0, 5000, "counter s 1 @5000 from 5000")
	f("future", 7000, 5000, "counter s 1 @5000 from 5000")
}

func TestReadingThatDoesNotAdvanceYieldsNothing(t *testing.T) {
	n := &node{readings: []Reading{reading("a", 1000, 5000, 2)}}
	s := New(Default(), n)
	if b := sample(t, s); len(b.Samples) == 0 {
		t.Fatal("no samples of the first reading")
	}
	if b := sample(t, s); len(b.Samples) != 0 {
		t.Errorf("the same reading again:\n%s", signal.Format(b))
	}
	n.readings = []Reading{reading("a", 1000, 4999, 2)}
	if b := sample(t, s); len(b.Samples) != 0 {
		t.Errorf("an older reading:\n%s", signal.Format(b))
	}
	n.readings = []Reading{reading("a", 1000, 5001, 2)}
	if b := sample(t, s); len(b.Samples) == 0 {
		t.Error("no samples of a newer reading")
	}
}

func TestUsageIsCoresSinceTheReadingBefore(t *testing.T) {
	n := &node{}
	s := New(Default(), n)
	at := func(time int64, cpu float64, want ...string) {
		t.Helper()
		n.readings = []Reading{reading("a", 1000, time, cpu)}
		wantLines(t, sample(t, s), signal.ContainerCPUUsage, want...)
	}
	at(10_000, 4)
	at(20_000, 9, "gauge {cpu} 0.5 @20000")
	at(22_000, 13, "gauge {cpu} 2 @22000")
	at(32_000, 0) // started again
	at(42_000, 0, "gauge {cpu} 0 @42000")
}

func TestUnknownNumbersMakeNoSamplesAndZeroesDo(t *testing.T) {
	r := reading("a", 1000, 5000, math.NaN())
	r.Values[CPUUser] = math.NaN()
	r.Values[MemoryLimit] = 100
	r.Disks = []Disk{{Device: "sda", Read: 0, Write: math.NaN(), ReadOperations: math.NaN(), WriteOperations: 3}}
	b := sample(t, New(Default(), &node{readings: []Reading{r}}))
	for i := range b.Samples {
		if v := b.Samples[i].Value; v != v {
			t.Errorf("NaN got out: %s", signal.Format(b))
		}
	}
	wantLines(t, b, signal.ContainerCPUTime)
	wantLines(t, b, signal.ContainerCPUUsage)
	wantLines(t, b, signal.ContainerMemoryAvailable) // a limit, but no working set
	wantLines(t, b, signal.ContainerDiskIO, "counter By 0 @5000 from 1000")
	wantLines(t, b, signal.ContainerDiskOperations, "counter {operation} 3 @5000 from 1000")
}

func TestAvailableMemoryIsNeverNegative(t *testing.T) {
	r := reading("a", 1000, 5000, 0)
	r.Values[MemoryLimit], r.Values[MemoryWorkingSet] = 100, 130
	wantLines(t, sample(t, New(Default(), &node{readings: []Reading{r}})), signal.ContainerMemoryAvailable, "gauge By 0 @5000")
}

func TestNewLabelsMakeNewSeriesWithTheSameStart(t *testing.T) {
	r := reading("a", 1000, 5000, 1)
	n := &node{readings: []Reading{r}}
	s := New(Default(), n)
	sample(t, s)
	n.readings[0].Labels, n.readings[0].Start, n.readings[0].Time = signal.Labels(signal.LabelContainer, "web"), 2000, 6000
	b := sample(t, s)
	if got := signal.Format(b); !strings.Contains(got, `container.cpu.time{container.name="web",cpu.mode="user"} counter s 1 @6000 from 1000`) {
		t.Errorf("%s", got)
	}
}

func TestPodHasItsNetworkAndNothingElse(t *testing.T) {
	r := reading("a", 1000, 5000, 1)
	r.CPU = math.NaN()
	r.Scope, r.Labels = OfPod, signal.Labels(signal.LabelPod, "web-0")
	r.Interfaces = []Interface{{Name: "eth0", Receive: Traffic{1, 2, 3, 4}, Transmit: Traffic{5, 6, 7, 8}}}
	b := sample(t, New(Default(), &node{readings: []Reading{r}}))
	if len(b.Samples) != 8 {
		t.Errorf("%d samples:\n%s", len(b.Samples), signal.Format(b))
	}
	wantLines(t, b, signal.PodNetworkIO, "counter By 1 @5000 from 1000", "counter By 5 @5000 from 1000")
	wantLines(t, b, signal.PodNetworkPackets, "counter {packet} 2 @5000 from 1000", "counter {packet} 6 @5000 from 1000")
	wantLines(t, b, signal.PodNetworkErrors, "counter {error} 3 @5000 from 1000", "counter {error} 7 @5000 from 1000")
	wantLines(t, b, signal.PodNetworkDropped, "counter {packet} 4 @5000 from 1000", "counter {packet} 8 @5000 from 1000")
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	n := &node{}
	s := New(Default(), n)
	for i := range 50 { // containers come and go
		n.readings = []Reading{reading("stays", 1000, int64(5000+i), 1), reading(fmt.Sprint("job-", i), 1000, 5000, 1)}
		sample(t, s)
	}
	if len(s.known) != 2 {
		t.Errorf("%d containers are kept, want 2", len(s.known))
	}
	for i := range 500 { // and so do one container's interfaces
		n.readings = []Reading{reading("stays", 1000, int64(6000+i), 1)}
		n.readings[0].Interfaces = []Interface{{Name: fmt.Sprint("veth", i)}}
		sample(t, s)
	}
	if got := len(s.known["stays"].interfaces); got > 11 {
		t.Errorf("%d interfaces are kept", got)
	}
}

func TestErrorKeepsWhatWasReadAndAbsenceCountsWhereEnabledIsTrue(t *testing.T) {
	f := func(enabled string, from error, absent bool) {
		t.Helper()
		c := Default()
		c.Enabled = enabled
		b := &signal.Batch{Kind: signal.Metric}
		err := New(c, &node{readings: []Reading{reading("a", 1000, 5000, 1)}, err: from}).Sample(t.Context(), b)
		if err == nil || !strings.Contains(err.Error(), from.Error()) || errors.Is(err, collect.ErrAbsent) != absent {
			t.Errorf("enabled %s: %v", enabled, err)
		}
		if len(b.Samples) == 0 {
			t.Error("what was read is lost")
		}
	}
	none := fmt.Errorf("no cgroups: %w", collect.ErrAbsent)
	f("auto", none, true)
	f("true", none, false)
	f("auto", errors.New("broken"), false)
	f("true", errors.New("broken"), false)
}

func TestCloseClosesTheProvider(t *testing.T) {
	n := &node{}
	if err := New(Default(), n).Close(); err != nil || !n.closed {
		t.Errorf("closed %v, %v", n.closed, err)
	}
}

// full returns a reading that knows everything, each number another.
func full(name string) Reading {
	r := reading(name, 1_000_000, 1_060_000, 30)
	r.Labels = signal.Labels(signal.LabelContainerID, name, signal.LabelContainer, "web", signal.LabelPod, "web-0", signal.LabelNamespace, "shop")
	for v := range NumValues {
		r.Values[v] = float64(v) + 0.5
	}
	r.Values[CPUTime], r.Values[CPUUsage], r.Values[MemoryAvailable] = math.NaN(), math.NaN(), math.NaN() // told apart; worked out
	r.Disks = []Disk{{Device: "sda", Read: 101, Write: 102, ReadOperations: 103, WriteOperations: 104}, {Device: "253:1", Read: 111, Write: 112, ReadOperations: 113, WriteOperations: 114}}
	r.Filesystems = []Filesystem{{Device: "sda1", Usage: 121, Capacity: 122}}
	r.Interfaces = []Interface{{Name: "eth0", Receive: Traffic{131, 132, 133, 134}, Transmit: Traffic{135, 136, 137, 138}}}
	return r
}

// TestGolden shows every metric with its unit, type and labels, at the second
// of two readings.
func TestGolden(t *testing.T) {
	n := &node{readings: []Reading{full("c0ffee")}}
	s := New(Default(), n)
	sample(t, s)
	n.readings = []Reading{full("c0ffee")}
	n.readings[0].Time += 10_000
	n.readings[0].CPU += 5
	got := signal.Format(sample(t, s))
	const file = "testdata/golden.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; go test -update writes\n%s", file, got)
	}
}

func TestKnownContainersAllocateNothing(t *testing.T) {
	n := &node{readings: []Reading{full("a"), full("b")}}
	s := New(Default(), n)
	b := sample(t, s)
	b.Samples = make([]signal.Sample, 0, 2*len(b.Samples))
	ctx := t.Context()
	if got := testing.AllocsPerRun(100, func() {
		for i := range n.readings {
			n.readings[i].Time++
		}
		b.Samples = b.Samples[:0]
		if err := s.Sample(ctx, b); err != nil || len(b.Samples) < 80 {
			t.Fatal(len(b.Samples), err)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkSample(b *testing.B) {
	n := &node{}
	for i := range 100 {
		n.readings = append(n.readings, full(fmt.Sprint("container-", i)))
	}
	s := New(Default(), n)
	batch := &signal.Batch{Kind: signal.Metric}
	b.ReportAllocs()
	for b.Loop() {
		for i := range n.readings {
			n.readings[i].Time++
		}
		batch.Samples = batch.Samples[:0]
		if err := s.Sample(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch.Samples)), "ns/sample")
}
