package kube

import (
	"fmt"
	"runtime"
	"syscall"
)

// mounts is a mount namespace, made of this process's, in which every mount is
// shared, as systemd makes them on a machine: without that the node refuses pods
// that mount a folder with propagation. Nothing that is mounted in it is seen
// outside, and it ends with the last process in it.
type mounts struct{ calls chan func() }

// newMounts makes one. The caller closes it.
func newMounts() (*mounts, error) {
	m := &mounts{make(chan func())}
	made := make(chan error)
	go func() {
		// A namespace is a thread's, and its children's. This thread is never
		// unlocked, and so goes with the goroutine.
		runtime.LockOSThread()
		err := syscall.Unshare(syscall.CLONE_NEWNS)
		for _, propagation := range []uintptr{syscall.MS_SLAVE, syscall.MS_SHARED} {
			if err == nil {
				err = syscall.Mount("", "/", "", syscall.MS_REC|propagation, "")
			}
		}
		made <- err
		for f := range m.calls {
			f()
		}
	}()
	if err := <-made; err != nil {
		m.close()
		return nil, fmt.Errorf("a mount namespace for the node: %w", err)
	}
	return m, nil
}

// do calls f in the namespace; a process that f starts is in it.
func (m *mounts) do(f func() error) error {
	done := make(chan error)
	m.calls <- func() { done <- f() }
	return <-done
}

func (m *mounts) close() { close(m.calls) }
