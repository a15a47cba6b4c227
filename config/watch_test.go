package config

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bench runs watch over one made-up file in a bubble of made-up time.
type bench struct {
	nudges  chan struct{}
	content atomic.Int32
	changes atomic.Int32
}

func watched(t *testing.T, facts func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{nudges: make(chan struct{}, 1)}
		look := func() map[string]digest { return map[string]digest{"f": {byte(b.content.Load())}} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, b.nudges, look(), look, func() { b.changes.Add(1) })
		}()
		synctest.Wait()
		facts(b)
		cancel()
		<-done
	})
}

// pass lets made-up time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestChangeIsToldOnceWritingHasSettled(t *testing.T) {
	watched(t, func(b *bench) {
		for range 5 {
			b.content.Add(1)
			b.nudges <- struct{}{}
			pass(settle / 2)
		}
		if b.changes.Load() != 0 {
			t.Errorf("told %d changes in the middle of writing", b.changes.Load())
		}
		pass(settle)
		if b.changes.Load() != 1 {
			t.Errorf("told %d changes after it, want 1", b.changes.Load())
		}
	})
}

func TestTouchIsNoChange(t *testing.T) {
	watched(t, func(b *bench) {
		b.nudges <- struct{}{}
		pass(3 * pollEvery)
		if b.changes.Load() != 0 {
			t.Errorf("told %d changes of nothing", b.changes.Load())
		}
	})
}

func TestChangeIsFoundWithoutTheKernelsHelp(t *testing.T) {
	watched(t, func(b *bench) {
		b.content.Add(1)
		pass(pollEvery)
		if b.changes.Load() != 1 {
			t.Errorf("told %d changes, want 1", b.changes.Load())
		}
		pass(pollEvery)
		if b.changes.Load() != 1 {
			t.Errorf("told the same change %d times", b.changes.Load())
		}
	})
}

// TestChangeDuringAReloadIsNotMissed writes f after the reload has read it, and g,
// which the reload made part of the list, later on.
func TestChangeDuringAReloadIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f, g, changes atomic.Int32
		f.Store(1)
		look := func() map[string]digest {
			d := map[string]digest{"f": {byte(f.Load())}}
			if changes.Load() > 1 {
				d["g"] = digest{byte(g.Load())}
			}
			return d
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, nil, map[string]digest{"f": {}}, look, func() {
				if changes.Add(1) == 1 {
					f.Store(2)
				}
			})
		}()
		pass(2 * pollEvery)
		if changes.Load() != 2 {
			t.Errorf("told %d changes, want 2", changes.Load())
		}
		g.Store(1)
		pass(pollEvery)
		if changes.Load() != 3 {
			t.Errorf("told %d changes, want 3", changes.Load())
		}
		cancel()
		<-done
	})
}

func TestNewPathIsNoChange(t *testing.T) {
	if differ(map[string]digest{"a": {1}}, map[string]digest{"a": {1}, "b": {2}}) {
		t.Error("a path that joined the list counts as a change")
	}
	if !differ(map[string]digest{"a": {1}}, map[string]digest{"a": {}}) {
		t.Error("a file that vanished does not count")
	}
}

// write replaces a file as an editor does, and fails the test if it cannot.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestWatchSeesRealFilesChange waits for what Watch tells, however long it takes.
func TestWatchSeesRealFilesChange(t *testing.T) {
	dir := t.TempDir()
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "agent.yaml"), version)
	}
	link("..1", "..data") // as Kubernetes mounts a ConfigMap
	link("..data/agent.yaml", "agent.yaml")
	secrets := t.TempDir()
	write(t, filepath.Join(secrets, "token"), "a")

	told := make(chan struct{})
	ready := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, func() []string {
			ready <- struct{}{}
			return []string{filepath.Join(dir, "agent.yaml"), filepath.Join(secrets, "token")}
		}, func() { told <- struct{}{} })
	}()
	<-ready
	<-ready // it has looked once; what changes from here on is told

	link("..2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	<-told
	write(t, filepath.Join(secrets, "token"), "b")
	<-told
	if err := os.Remove(filepath.Join(secrets, "token")); err != nil {
		t.Fatal(err)
	}
	<-told
	cancel()
	<-done
}

func TestPipeIsNotRead(t *testing.T) {
	if d := digestOf(os.DevNull); d != (digest{}) {
		t.Error("a device was read")
	}
	if d := digestOf(filepath.Join(t.TempDir(), "none")); d != (digest{}) {
		t.Error("a missing file has a content")
	}
}
