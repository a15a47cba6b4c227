package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// bench runs watch over one made-up file in a bubble of made-up time.
type bench struct {
	nudges  chan struct{}
	content byte
	changes int
}

func watched(t *testing.T, facts func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{nudges: make(chan struct{}, 1)}
		look := func() map[string]digest { return map[string]digest{"f": {b.content}} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, b.nudges, look(), look, func() { b.changes++ })
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
			b.content++
			b.nudges <- struct{}{}
			pass(settle / 2)
		}
		if b.changes != 0 {
			t.Errorf("told %d changes in the middle of writing", b.changes)
		}
		pass(settle)
		if b.changes != 1 {
			t.Errorf("told %d changes after it, want 1", b.changes)
		}
	})
}

func TestTouchIsNoChange(t *testing.T) {
	watched(t, func(b *bench) {
		b.nudges <- struct{}{}
		pass(3 * pollEvery)
		if b.changes != 0 {
			t.Errorf("told %d changes of nothing", b.changes)
		}
	})
}

func TestChangeIsFoundWithoutTheKernelsHelp(t *testing.T) {
	watched(t, func(b *bench) {
		b.content++
		pass(pollEvery)
		if b.changes != 1 {
			t.Errorf("told %d changes, want 1", b.changes)
		}
		pass(pollEvery)
		if b.changes != 1 {
			t.Errorf("told the same change %d times", b.changes)
		}
	})
}

func TestChangeDuringAReloadIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		content, changes := byte(1), 0
		look := func() map[string]digest { return map[string]digest{"f": {content}} }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, nil, map[string]digest{"f": {}}, look, func() {
				changes++
				if changes == 1 {
					content++ // written after the reload read it
				}
			})
		}()
		pass(2 * pollEvery)
		if changes != 2 {
			t.Errorf("told %d changes, want 2", changes)
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
	<-ready // the folders are being watched from about here on; the poll finds what they miss

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
