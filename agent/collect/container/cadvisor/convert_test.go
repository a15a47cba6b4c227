package cadvisor

import (
	"context"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/cadvisor/lib/model"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/signal"
)

var update = flag.Bool("update", false, "rewrite testdata/golden.txt")

const (
	idA = "3f9a5c1d2e4b6a798897a6b5c4d3e2f10f1e2d3c4b5a69788796a5b4c3d2e1f0"
	idB = "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf"
	idC = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"
	uid = "6f0c2a3b-1d2e-4f50-8a61-9b8c7d6e5f40"
)

// at is a moment in the life of all containers below, s seconds after their start.
func at(s int) time.Time {
	return time.UnixMilli(1_700_000_000_000).Add(time.Duration(s) * time.Second)
}

// v2 returns a converter for a cgroup v2 hierarchy made of files, with pressure.
func v2(t *testing.T, c container.Config, cgroupFiles map[string]string) *converter {
	t.Helper()
	root := t.TempDir()
	for name, text := range cgroupFiles {
		write(t, filepath.Join(root, name), text)
	}
	return &converter{conf: c, files: files{map[string]string{"": root}, t.TempDir()}, memory: 8 << 30, pressure: true, known: map[string]*known{}}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// convertAll is a Provider that converts infos at each Read.
type convertAll struct {
	c     *converter
	infos []model.ContainerInfo
}

func (p convertAll) Read(context.Context) (readings []container.Reading, err error) {
	p.c.begin()
	for i := range p.infos {
		var r container.Reading
		if p.c.convert(&r, &p.infos[i]) {
			readings = append(readings, r)
		}
	}
	return readings, p.c.end()
}

func (p convertAll) Close() error { return nil }

// podContainer is one container of a Kubernetes pod as containerd's handler
// shows it on cgroup v2.
func podContainer(s int) model.ContainerInfo {
	stats := &model.ContainerStats{
		Timestamp: at(s),
		Cpu: &model.CpuStats{
			Usage: model.CpuUsage{Total: 5_500_000_000, User: 4_000_000_000, System: 1_500_000_000},
			CFS:   model.CpuCFS{Periods: 600, ThrottledPeriods: 25, ThrottledTime: 1_250_000_000},
			PSI:   model.PSIStats{Some: model.PSIData{Total: 2_000_000}, Full: model.PSIData{Total: 1_000_000}},
		},
		Memory: &model.MemoryStats{
			Usage: 50 << 20, MaxUsage: 60 << 20, WorkingSet: 40 << 20, RSS: 30 << 20, Cache: 15 << 20, Swap: 1 << 20,
			ContainerData: model.MemoryStatsMemoryData{Pgfault: 1000, Pgmajfault: 10},
			PSI:           model.PSIStats{Some: model.PSIData{Total: 400_000}, Full: model.PSIData{Total: 300_000}},
		},
		DiskIo: &model.DiskIoStats{
			IoServiceBytes: []model.PerDiskStats{
				{Device: "/dev/sdb", Major: 8, Minor: 16, Stats: map[string]uint64{"Read": 4096, "Write": 8192, "Discard": 0}},
				{Device: "/dev/sda", Major: 8, Stats: map[string]uint64{"Read": 1024, "Write": 2048}},
				{Major: 259, Minor: 3, Stats: map[string]uint64{"Total": 7}},
			},
			IoServiced: []model.PerDiskStats{
				{Device: "/dev/sda", Major: 8, Stats: map[string]uint64{"Read": 1, "Write": 2}},
				{Device: "/dev/sdb", Major: 8, Minor: 16, Stats: map[string]uint64{"Read": 3, "Write": 4}},
			},
			PSI: model.PSIStats{Some: model.PSIData{Total: 20_000}, Full: model.PSIData{Total: 10_000}},
		},
	}
	return model.ContainerInfo{
		ContainerReference: model.ContainerReference{
			Id: idA, Namespace: "containerd",
			Name: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + idA + ".scope",
		},
		Spec: model.ContainerSpec{
			CreationTime: at(0), StartTime: at(1),
			Labels: map[string]string{
				"io.cri-containerd.kind": "container", "io.kubernetes.container.name": "web",
				"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": uid,
			},
			Image:  "registry.local:5000/shop/web:1.2@sha256:abcd",
			HasCpu: true, Cpu: model.CpuSpec{Limit: 512, Quota: 150_000, Period: 100_000},
			HasMemory: true, Memory: model.MemorySpec{Limit: 64 << 20, Reservation: 16 << 20, SwapLimit: math.MaxUint64},
		},
		Stats: []*model.ContainerStats{stats},
	}
}

// sandbox is that pod's infrastructure container.
func sandbox(s int) model.ContainerInfo {
	info := podContainer(s)
	info.Id = idB
	info.Name = strings.ReplaceAll(info.Name, idA, idB)
	info.Spec.Labels = map[string]string{
		"io.cri-containerd.kind": "sandbox",
		"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": uid,
	}
	info.Stats[0].Network = &model.NetworkStats{Interfaces: []model.InterfaceStats{{
		Name: "eth0", RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 5, TxPackets: 6, TxErrors: 7, TxDropped: 8,
	}}}
	return info
}

// dockerContainer has no limits and a network of its own; it was started anew
// long after it was made.
func dockerContainer(s int) model.ContainerInfo {
	info := sandbox(s)
	info.ContainerReference = model.ContainerReference{
		Id: idC, Namespace: "docker", Aliases: []string{"db", idC}, Name: "/system.slice/docker-" + idC + ".scope",
	}
	info.Spec = model.ContainerSpec{
		CreationTime: at(-3600), StartTime: at(0), Image: "postgres",
		HasCpu: true, Cpu: model.CpuSpec{Limit: 1024, Period: 100_000},
		HasMemory: true, Memory: model.MemorySpec{Limit: math.MaxUint64},
	}
	info.Stats[0].DiskIo = nil
	info.Stats[0].Memory.MaxUsage, info.Stats[0].Memory.Swap = 0, 1<<64-50<<20
	info.Stats[0].Filesystem = []model.FsStats{{Device: "/dev/sda1", Usage: 77, Limit: 1 << 30}}
	return info
}

func bare(name string, s int) model.ContainerInfo {
	return model.ContainerInfo{
		ContainerReference: model.ContainerReference{Name: name},
		Spec:               model.ContainerSpec{CreationTime: at(0), HasCpu: true},
		Stats:              []*model.ContainerStats{{Timestamp: at(s), Cpu: &model.CpuStats{}, Memory: &model.MemoryStats{}}},
	}
}

// TestGolden shows what becomes of each sort of container, from cAdvisor's
// structures to samples.
func TestGolden(t *testing.T) {
	conf := container.Default()
	conf.Cgroups = []string{"/system.slice/*"}
	web := podContainer(60)
	c := v2(t, conf, map[string]string{
		web.Name + "/pids.current":              "12\n",
		web.Name + "/pids.max":                  "100\n",
		web.Name + "/cgroup.procs":              "101\n102\n103\n",
		web.Name + "/memory.events":             "low 0\nhigh 0\nmax 5\noom 3\noom_kill 2\noom_group_kill 0\n",
		"system.slice/ssh.service/pids.current": "1\n",
		"system.slice/ssh.service/pids.max":     "max\n",
	})
	infos := []model.ContainerInfo{
		bare("/", 60),
		web,
		sandbox(60),
		dockerContainer(60),
		bare("/machine.slice/libpod-"+idA+".scope", 60), // no runtime speaks for it
		bare("/system.slice/ssh.service", 60),
		bare("/system.slice/ssh.service/sub", 60),
		bare("/user.slice", 60),
	}
	b := &signal.Batch{Kind: signal.Metric}
	if err := container.New(conf, convertAll{c, infos}).Sample(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := signal.Format(b)
	const file = "testdata/golden.txt"
	if *update {
		write(t, file, got)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; go test -update writes\n%s", file, got)
	}
}

func TestWithoutPressureAccountingThereAreNoZeroesOfIt(t *testing.T) {
	c := v2(t, container.Default(), nil)
	c.pressure = false
	info := podContainer(60)
	var r container.Reading
	if !c.convert(&r, &info) {
		t.Fatal("no reading")
	}
	for v := container.CPUSome; v <= container.IOFull; v++ {
		if x := r.Values[v]; x == x {
			t.Errorf("value %d is %v", v, x)
		}
	}
}

func TestMachinesMemoryIsNoLimit(t *testing.T) {
	f := func(limit uint64, want float64) {
		t.Helper()
		c := v2(t, container.Default(), nil)
		info := podContainer(60)
		info.Spec.Memory.Limit = limit
		var r container.Reading
		c.convert(&r, &info)
		if got := r.Values[container.MemoryLimit]; got != want && (got == got || want == want) {
			t.Errorf("limit %d becomes %v, want %v", limit, got, want)
		}
	}
	none := math.NaN()
	f(64<<20, 64<<20)
	f(0, none)
	f(8<<30, none) // what cAdvisor puts in place of 0
	f(9223372036854771712, none)
	f(math.MaxUint64, none)
}

func TestHostNetworkIsNotThePods(t *testing.T) {
	f := func(own string, want int) {
		t.Helper()
		info := sandbox(60)
		c := v2(t, container.Default(), map[string]string{info.Name + "/cgroup.procs": "4711\n4712\n"})
		for pid, ns := range map[string]string{"1": "net:[1]", "4711": own} {
			if err := os.MkdirAll(filepath.Join(c.files.proc, pid, "ns"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(ns, filepath.Join(c.files.proc, pid, "ns/net")); err != nil {
				t.Fatal(err)
			}
		}
		var r container.Reading
		c.convert(&r, &info)
		if len(r.Interfaces) != want {
			t.Errorf("network %s: %d interfaces, want %d", own, len(r.Interfaces), want)
		}
	}
	f("net:[2]", 1)
	f("net:[1]", 0)
}

func TestSandboxesOfEveryRuntime(t *testing.T) {
	f := func(key, value string, want bool) {
		t.Helper()
		if got := isSandbox(map[string]string{key: value}); got != want {
			t.Errorf("%s=%s: %v", key, value, got)
		}
	}
	f("io.cri-containerd.kind", "sandbox", true)
	f("io.cri-containerd.kind", "container", false)
	f("io.kubernetes.container.name", "POD", true)
	f("io.kubernetes.container.name", "web", false)
	f("io.kubernetes.docker.type", "podsandbox", true)
}

func TestContainerGetsItsNameWhenItsRuntimeSpeaks(t *testing.T) {
	named := podContainer(60)
	unnamed := named
	unnamed.Id, unnamed.Namespace, unnamed.Spec = "", "", model.ContainerSpec{}
	c := v2(t, container.Default(), nil)
	read := func(info model.ContainerInfo) string {
		t.Helper()
		readings, err := convertAll{c, []model.ContainerInfo{info}}.Read(t.Context())
		if err != nil || len(readings) != 1 {
			t.Fatal(len(readings), err)
		}
		return readings[0].Labels
	}
	labels := read(unnamed)
	if signal.Lookup(labels, signal.LabelContainerID) != idA || signal.Lookup(labels, signal.LabelPodUID) != uid {
		t.Errorf("a path alone gives %q", labels)
	}
	if got := c.nameless(true); !slices.Equal(got, []string{named.Name}) {
		t.Errorf("nameless: %q", got)
	}
	due := 0
	for range 10 {
		due += len(c.nameless(false))
		read(unnamed)
	}
	if due != 1 {
		t.Errorf("it was due for a second try %d times", due)
	}
	if got := signal.Lookup(read(named), signal.LabelK8sContainer); got != "web" {
		t.Errorf("named %q", got)
	}
	if got := c.nameless(true); len(got) != 0 {
		t.Errorf("nameless: %q", got)
	}
}

func TestContainerWithoutReadingsIsAnErrorAfterAWhile(t *testing.T) {
	info := podContainer(60)
	info.Stats = nil
	p := convertAll{v2(t, container.Default(), nil), []model.ContainerInfo{info}}
	for i := range patience + 2 {
		_, err := p.Read(t.Context())
		if want := i+1 >= patience; (err != nil) != want {
			t.Errorf("Read %d: %v", i, err)
		}
	}
	p.infos = nil
	if _, err := p.Read(t.Context()); err != nil || len(p.c.known) != 0 {
		t.Errorf("gone: %v, %d kept", err, len(p.c.known))
	}
}

func TestSplitImage(t *testing.T) {
	f := func(ref, name, tag, digest string) {
		t.Helper()
		if n, g, d := container.SplitImage(ref); n != name || g != tag || d != digest {
			t.Errorf("SplitImage(%q) = %q, %q, %q", ref, n, g, d)
		}
	}
	f("", "", "", "")
	f("nginx", "nginx", "", "")
	f("nginx:1.25", "nginx", "1.25", "")
	f("docker.io/library/nginx:1.25", "docker.io/library/nginx", "1.25", "")
	f("registry:5000/nginx", "registry:5000/nginx", "", "")
	f("registry:5000/nginx:1", "registry:5000/nginx", "1", "")
	f("nginx@sha256:abcd", "nginx", "", "sha256:abcd")
	f("nginx:1@sha256:abcd", "nginx", "1", "sha256:abcd")
	f("sha256:abcd", "", "", "sha256:abcd")
}

func TestParseKey(t *testing.T) {
	f := func(text, key string, want float64) {
		t.Helper()
		if got := parseKey([]byte(text), key); got != want && (got == got || want == want) {
			t.Errorf("parseKey(%q, %q) = %v, want %v", text, key, got, want)
		}
	}
	none := math.NaN()
	f("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill", 3) // cgroup v1
	f("oom 5\noom_kill 2\n", "oom_kill", 2)                           // v2
	f("oom_kill 2", "oom_kill", 2)
	f("oom_kill_disable 0\nunder_oom 0\n", "oom_kill", none)
	f("oom_kill x\n", "oom_kill", none)
	f("oom_kill -1\n", "oom_kill", none)
	f("", "oom_kill", none)
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), "oom_kill")
	f.Add([]byte("12\n"), "")
	f.Fuzz(func(t *testing.T, text []byte, key string) {
		if v := parseKey(text, key); v < 0 {
			t.Errorf("parseKey(%q, %q) = %v", text, key, v)
		}
	})
}

func FuzzSplitImage(f *testing.F) {
	f.Add("registry:5000/nginx:1@sha256:abcd")
	f.Add("sha256:abcd")
	f.Fuzz(func(t *testing.T, ref string) {
		name, tag, digest := container.SplitImage(ref)
		if n := len(name) + len(tag) + len(digest); n > len(ref) || n < len(ref)-2 {
			t.Errorf("SplitImage(%q) = %q, %q, %q", ref, name, tag, digest)
		}
	})
}
