package cadvisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	ccontainer "github.com/google/cadvisor/lib/container"
	cfs "github.com/google/cadvisor/lib/fs"
	"github.com/google/cadvisor/lib/manager"
	"github.com/google/cadvisor/lib/model"
	"github.com/google/cadvisor/lib/watcher"
	"k8s.io/klog/v2"

	"github.com/causeway-agent/causeway/agent/collect/container"
)

func TestMain(m *testing.M) {
	QuietKlog() // as the agent does
	os.Exit(m.Run())
}

// logged puts what the default logger writes, from info on, into the returned
// buffer for the rest of the test.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &b
}

func TestGateKeepsOutWhatIsNoContainer(t *testing.T) {
	conf := container.Default()
	conf.Cgroups = []string{"/system.slice/*"}
	f := func(path string, kept bool) {
		t.Helper()
		handle, accept, err := gate{conf}.CanHandleAndAccept(path)
		if handle != kept || accept || err != nil {
			t.Errorf("%s: handle %v, accept %v, %v", path, handle, accept, err)
		}
	}
	f("/", false)
	f("/docker/"+idA, false)
	f("/kubepods/pod"+uid+"/"+idA, false)
	f("/system.slice/ssh.service", false)
	f("/system.slice/a/b", true)
	f("/kubepods/pod"+uid, true)
	f("/user.slice", true)
	f("/system.slice/var-lib.mount/x", true)
}

func TestRuntimeIsAskedOnlyOnceSomebodyListens(t *testing.T) {
	out := logged(t)
	socket := filepath.Join(t.TempDir(), "s")
	asked, answer := 0, errors.New("busy starting")
	p := &plugin{engines: []*engine{{name: "containerd", socket: socket, register: func(model.MachineInfoFactory, cfs.FsInfo, ccontainer.MetricSet) error {
		asked++
		return answer
	}}}}
	connect := func(wantFound, wantAny bool, wantAsked int) {
		t.Helper()
		if found := p.connect(); found != wantFound || p.any() != wantAny || asked != wantAsked {
			t.Errorf("found %v, any %v, asked %d times; want %v, %v, %d", found, p.any(), asked, wantFound, wantAny, wantAsked)
		}
	}
	connect(false, false, 0) // nobody there: no question, and no line in the log
	connect(false, false, 0)
	if out.Len() > 0 {
		t.Errorf("logged %s", out)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connect(false, false, 1)
	connect(false, false, 2)
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("the same failure is logged %d times: %s", n, out)
	}
	answer = nil
	connect(true, true, 3)
	connect(false, true, 3)
	if !strings.Contains(out.String(), "container runtime connected") {
		t.Errorf("logged %s", out)
	}
}

func TestReopenRemovesAndAddsAndWaitsUntilThatIsDone(t *testing.T) {
	p := &plugin{events: make(chan watcher.ContainerEvent, 4)}
	var got []watcher.ContainerEvent
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case e := <-p.events:
				got = append(got, e)
			case <-quit:
				return
			}
		}
	}()
	p.reopen(t.Context(), []string{"/a", "/b"})
	close(quit)
	<-gone
	want := []watcher.ContainerEvent{
		{EventType: watcher.ContainerDelete, Name: "/a", WatchSource: watcher.Raw}, {EventType: watcher.ContainerAdd, Name: "/a", WatchSource: watcher.Raw},
		{EventType: watcher.ContainerDelete, Name: "/b", WatchSource: watcher.Raw}, {EventType: watcher.ContainerAdd, Name: "/b", WatchSource: watcher.Raw},
	}
	if len(got) < 4 || !slices.Equal(got[:4], want) {
		t.Errorf("%+v", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.reopen(ctx, slices.Repeat([]string{"/a"}, 10)) // nobody listens any more: it comes back all the same
}

func TestCadvisorsLinesAreDebugAndOthersAreNot(t *testing.T) {
	out := logged(t)
	say := func(f any) string {
		t.Helper()
		out.Reset()
		h := slog.Handler(demote{}).WithGroup("g").WithAttrs([]slog.Attr{slog.Int("n", 1)})
		if err := h.Handle(t.Context(), slog.NewRecord(at(0), slog.LevelError, "oops", reflect.ValueOf(f).Pointer()+1)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := say(manager.New); got != "" {
		t.Errorf("cAdvisor's error came out: %s", got)
	}
	if got := say(io.Copy); !strings.Contains(got, "level=ERROR msg=oops g.n=1") {
		t.Errorf("another's error came out as %q", got)
	}
	out.Reset()
	klog.Errorf("disk %d", 7)
	if got := out.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "disk 7") {
		t.Errorf("klog's error came out as %q", got)
	}
}
