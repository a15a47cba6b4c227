// Package receivers proves that others understand what the agent says, and that
// the agent understands what others say: real receivers behind it, real clients
// before it, none of them ours.
//
// Its tests call it, and nobody else; they have the build tag receivers, since
// the first run builds what it needs from the modules under testdata:
// VictoriaMetrics, VictoriaLogs, an OpenTelemetry Collector, a program with
// OpenTelemetry's SDK for Go, and a folder of Node.js packages. The agent is the
// real binary, run by integration.Node.
//
// What always holds:
//
//  1. Versions and checksums of everything are in this repository: go.sum and
//     package-lock.json decide what runs, not the day.
//  2. What is built is kept under the user's cache directory by a checksum of
//     what it was built from, and never built twice.
//  3. Every process listens on 127.0.0.1 alone, has a folder of its own, and
//     ends with its test.
//  4. Values are compared with what was sent or, where the agent collects by
//     itself, with what it writes to a destination of type stdout, item by item
//     and in both directions: what is missing fails a test, and so does what
//     nobody sent.
//
// Each test owns its processes. Nothing here measures speed.
package receivers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Program is one that is built from a Go module of its own.
type Program struct {
	Name    string // of the binary, and of its module's folder under testdata
	Package string // what is built in that module
	Tags    string
}

// Path returns where the program is, having built it if need be.
func (p Program) Path(ctx context.Context) (string, error) {
	return cached(ctx, p.Name, filepath.Join("testdata", p.Name), func(to string) error {
		return run(ctx, filepath.Join("testdata", p.Name), "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false",
			"-ldflags", "-s -w", "-tags", p.Tags, "-o", to, p.Package)
	})
}

// cached returns the path of what is made from the files in source, and has
// make make it if it is not there. Tests in several processes may ask at once.
func cached(ctx context.Context, name, source string, make func(to string) error) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(os.DirFS(source), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(source, path))
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", err
	}
	home, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(home, "causeway", "receivers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%s-%x", name, sum.Sum(nil)[:6]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	partial := path + ".new"
	if err := os.RemoveAll(partial); err != nil {
		return "", err
	}
	if err := make(partial); err != nil {
		return "", err
	}
	return path, os.Rename(partial, path)
}

func run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out[max(0, len(out)-4000):])
	}
	return nil
}

// Process is a program that runs until its test ends.
type Process struct {
	cmd  *exec.Cmd
	said *journal
	gone chan struct{} // closed when it has ended
}

// Start runs a program in a folder of its own; what it says is shown if the
// test fails.
func Start(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	p := &Process{said: &journal{}, gone: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = t.TempDir(), p.said, p.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.gone)
		_ = p.cmd.Wait() // whether it may end is the test's to say
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.gone
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(path), p.said.tail(4<<10))
		}
	})
	return p
}

// serves waits until f holds, and fails the test if the process ends before.
func (p *Process) serves(t testing.TB, f func() bool) {
	t.Helper()
	eventually(t, filepath.Base(p.cmd.Path)+" serves", func() bool {
		select {
		case <-p.gone:
			t.Fatalf("%s ended by itself: %v", p.cmd.Path, p.cmd.ProcessState)
		default:
		}
		return f()
	})
}

// Said returns what the process wrote so far.
func (p *Process) Said() string { return p.said.tail(1 << 30) }

// Address returns an address of 127.0.0.1 that nobody listens on.
func Address(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits until f holds, and fails the test if it never does.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	const most = time.Minute
	end := time.NewTimer(most)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatalf("waited %v in vain until %s", most, what)
		case <-t.Context().Done():
			t.FailNow()
		}
	}
}

// journal keeps what a process says.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) tail(n int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := j.text.String()
	return text[max(0, len(text)-n):]
}
