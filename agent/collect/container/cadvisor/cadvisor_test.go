package cadvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/model"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/signal"
)

// alone returns a configuration that finds no runtime, whatever this machine runs.
func alone(t *testing.T) container.Config {
	c := container.Default()
	c.ContainerdSocket = filepath.Join(t.TempDir(), "containerd.sock")
	c.DockerSocket = filepath.Join(t.TempDir(), "docker.sock")
	return c
}

// makeCgroup makes a cgroup in each hierarchy and puts a process into it that
// waits until the returned function removes both. ok is false where this user
// may not make cgroups.
func makeCgroup(t *testing.T, mounts map[string]string, path string) (remove func(), ok bool) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var made []string
	remove = func() {
		stdin.Close()
		if cmd.ProcessState == nil {
			cmd.Wait()
		}
		for _, dir := range made {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("remove the test's cgroup: %v", err)
			}
		}
	}
	for _, mount := range mounts {
		dir := filepath.Join(mount, path)
		if os.MkdirAll(dir, 0o755) != nil {
			remove()
			return nil, false
		}
		made = append(made, dir)
		if filepath.Base(mount) == "cpuset" {
			continue // takes no process before it is given CPUs
		}
		if os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0) != nil {
			remove()
			return nil, false
		}
	}
	return remove, true
}

// eventually calls done until it returns true; cAdvisor hears of cgroups by
// inotify, some time after they are made.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestRealCgroups runs cAdvisor on this machine's cgroups: one that is there
// before, one that comes after, their end, and cAdvisor's. Where this user may
// not make cgroups it shows that Read then finds none.
func TestRealCgroups(t *testing.T) {
	mounts, err := cgroupMounts()
	if err != nil {
		t.Fatal(err)
	}
	out := logged(t)
	conf := alone(t)
	plain := fmt.Sprintf("/causeway-test-%d", os.Getpid())
	conf.Cgroups = []string{plain}
	conf.Interval = time.Hour // what comes, comes because it was asked for
	endPlain, ok := makeCgroup(t, mounts, plain)
	if ok {
		defer endPlain()
	}
	p := New(conf)
	s := container.New(conf, p)
	read := func() map[string]container.Reading {
		t.Helper()
		readings, err := p.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]container.Reading{}
		for _, r := range readings {
			byName[r.Name] = r
		}
		return byName
	}
	if !ok {
		if len(read()) != 0 {
			t.Error("readings of cgroups that could not be made")
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		return
	}

	r := read()[plain]
	now := time.Now().UnixMilli()
	if r.Labels != signal.Labels(signal.LabelCgroup, plain) || r.Time < now-5000 || r.Time > now || r.Start < now-60_000 || r.Start > now {
		t.Errorf("at %d: %+v", now, r)
	}
	if v := r.Values; v[container.Processes] != 1 || v[container.Threads] != 1 || v[container.OOMEvents] != 0 || !(v[container.MemoryUsage] >= 0) {
		t.Errorf("values %v", v)
	}
	b := &signal.Batch{Kind: signal.Metric}
	eventually(t, "samples of the cgroup", func() bool { return s.Sample(t.Context(), b) == nil && len(b.Samples) > 10 })

	inPod := plain + "/pod" + uid + "/" + idA // a container of no runtime, made while cAdvisor runs
	endPod, ok := makeCgroup(t, mounts, inPod)
	if !ok {
		t.Fatal("a second cgroup could not be made")
	}
	defer func() {
		endPod()
		for _, mount := range mounts {
			os.Remove(filepath.Join(mount, filepath.Dir(inPod)))
		}
		endPlain()
	}()
	eventually(t, "the new container", func() bool {
		r, there := read()[inPod]
		return there && r.Labels == signal.Labels(signal.LabelContainerID, idA, signal.LabelPodUID, uid)
	})
	endPod()
	eventually(t, "its end", func() bool { _, there := read()[inPod]; return !there })

	// A Read brings a newer reading as soon as the last is half an interval old.
	// cAdvisor goes by the interval of its start.
	before := read()[plain].Time
	p.conf.Interval = 10 * time.Millisecond
	eventually(t, "a newer reading", func() bool { return read()[plain].Time > before })

	if err := s.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of cAdvisor's goroutines", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "cadvisor/lib/")
	})
	if _, err := p.Read(t.Context()); err == nil {
		t.Error("a closed provider reads")
	}
	if out.Len() > 0 {
		t.Errorf("logged %s", out)
	}
}

func TestProviderCanBeReplaced(t *testing.T) {
	for range 2 {
		p := New(alone(t))
		if _, err := p.Read(t.Context()); err != nil && !errors.Is(err, collect.ErrAbsent) {
			t.Error(err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingToReadSaysWhatToDo(t *testing.T) {
	f := func(err error, words ...string) {
		t.Helper()
		if !errors.Is(err, collect.ErrAbsent) {
			t.Fatalf("%v", err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
	conf := alone(t)
	p := New(conf)
	f(p.nothing(newPlugin(conf)), conf.ContainerdSocket, conf.DockerSocket, "mount", "containers.enabled")
	f(usable(map[string]string{"cpu": "/x", "cpuacct": "/x"}), `"memory"`, "mount the host's /sys/fs/cgroup")
	f(usable(nil), `"cpu"`)
	if err := usable(map[string]string{"": "/sys/fs/cgroup"}); err != nil {
		t.Error(err)
	}
	if err := usable(map[string]string{"cpu": "/x", "cpuacct": "/x", "memory": "/y"}); err != nil {
		t.Error(err)
	}
	p.readings = make([]container.Reading, 1)
	if err := p.nothing(newPlugin(conf)); err != nil {
		t.Errorf("with a container: %v", err)
	}
	p.readings, p.conf.Cgroups = nil, []string{"/a"}
	if err := p.nothing(newPlugin(conf)); err != nil {
		t.Errorf("with a listed cgroup: %v", err)
	}
}

// hung is a cAdvisor in which a runtime does not answer: bringing containers up
// to date never ends, what is there can be had.
type hung struct {
	manager.Manager
	asked, forEver chan struct{}
}

func (h hung) GetContainerInfoV2(_ string, o model.RequestOptions) (map[string]model.ContainerInfo, error) {
	if o.MaxAge != nil {
		h.asked <- struct{}{}
		<-h.forEver
		return nil, io.EOF
	}
	return map[string]model.ContainerInfo{"/docker/" + idA: {}}, nil
}

func TestRuntimeThatHangsHoldsUpOneReadForHalfAnInterval(t *testing.T) {
	h := hung{asked: make(chan struct{}, 10), forEver: make(chan struct{})}
	defer close(h.forEver)
	p := New(alone(t))
	p.conf.Interval = 2 * time.Millisecond
	for range 3 {
		infos, err := p.refresh(t.Context(), h)
		if len(infos) != 1 || err != nil {
			t.Errorf("%d containers, %v", len(infos), err)
		}
	}
	if n := len(h.asked); n != 1 {
		t.Errorf("%d refreshes hang, want one", n)
	}
}
