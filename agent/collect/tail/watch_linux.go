package tail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watch is an inotify instance that watches folders, never files: one watch
// serves ten thousand files. The kernel's queue is the only buffer, and it folds
// equal neighbours, so a loud file costs a few bytes until the next look.
// It is written on x/sys and not on fsnotify because the queue must be left
// alone between two looks: fsnotify's goroutine would wake for every write. So
// would Go's own poller, which is told of every event of a file that it has once
// seen; the queue is waited for with poll(2) instead, in a thread of its own.
type watch struct {
	fd     int
	stop   int // an eventfd: close says so by it
	buf    []byte
	wakes  chan struct{} // holds one: there are events
	asked  chan struct{} // holds one: someone waits for events
	waiter sync.WaitGroup
}

const watchMask = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_ATTRIB | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// openWatch starts the goroutine that waits for events when it is asked to; close
// ends it.
func openWatch(ctx context.Context) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open inotify: %w; files are looked at once a second instead (fs.inotify.max_user_instances may be too small)", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("wait for inotify: %w", err)
	}
	w := &watch{fd: fd, stop: stop, buf: make([]byte, 64<<10), wakes: make(chan struct{}, 1), asked: make(chan struct{}, 1)}
	w.waiter.Go(func() { w.wait(ctx) })
	return w, nil
}

// wait tells wakes that the queue is not empty, once each time that it is asked. It
// reads nothing itself.
func (w *watch) wait(ctx context.Context) {
	for {
		select {
		case <-w.asked:
		case <-ctx.Done():
			return
		}
		ready := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}, {Fd: int32(w.stop), Events: unix.POLLIN}}
		for ready[0].Revents == 0 {
			if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) || ready[1].Revents != 0 {
				return
			}
		}
		select {
		case w.wakes <- struct{}{}:
		default:
		}
	}
}

// wake returns a channel that has something once there are events. It costs a
// thread that waits and wakes another, so ask ready first.
func (w *watch) wake() <-chan struct{} {
	select {
	case <-w.wakes: // of events that were drained since
	default:
	}
	select {
	case w.asked <- struct{}{}:
	default:
	}
	return w.wakes
}

// ready reports whether there are events.
func (w *watch) ready() bool {
	n, err := unix.IoctlGetInt(w.fd, unix.TIOCINQ)
	return err == nil && n > 0
}

// add watches a folder. Watching it again gives the same number.
func (w *watch) add(dir string) (int, error) {
	wd := -1
	err := w.control(func(fd int) (err error) {
		wd, err = unix.InotifyAddWatch(fd, dir, watchMask)
		return err
	})
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: fs.inotify.max_user_watches is used up", err)
	}
	return wd, err
}

func (w *watch) remove(wd int) {
	_ = w.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(wd))
		return err // the kernel has dropped it already if the folder is gone
	})
}

// drain calls f for each event in the queue. What comes while it is at it may be
// left to the next call: a writer that never rests does not hold it up. An event
// of wd -1 says that some were lost.
func (w *watch) drain(f func(wd int, change change, name string)) {
	for {
		n := 0
		err := w.control(func(fd int) (err error) {
			n, err = unix.Read(fd, w.buf)
			return err
		})
		if err != nil || n <= 0 {
			break
		}
		events(w.buf[:n], f)
		if n < len(w.buf)-unix.SizeofInotifyEvent-unix.NAME_MAX-1 {
			break // there was room for one more, so the queue was empty
		}
	}
}

// events walks the kernel's struct inotify_event: wd, mask, cookie, len, name.
func events(p []byte, f func(wd int, change change, name string)) {
	for len(p) >= unix.SizeofInotifyEvent {
		wd := int(int32(binary.NativeEndian.Uint32(p)))
		mask := binary.NativeEndian.Uint32(p[4:])
		size := int(binary.NativeEndian.Uint32(p[12:]))
		p = p[unix.SizeofInotifyEvent:]
		if size > len(p) {
			return
		}
		name, _, _ := bytes.Cut(p[:size], []byte{0})
		p = p[size:]
		switch {
		case mask&unix.IN_Q_OVERFLOW != 0:
			f(-1, changedNames, "")
		case mask&unix.IN_IGNORED != 0:
			f(wd, changedWatch, "")
		case mask&^unix.IN_MODIFY == 0:
			f(wd, changedBytes, string(name))
		default:
			f(wd, changedNames, string(name))
		}
	}
}

func (w *watch) control(f func(fd int) error) error {
	for {
		if err := f(w.fd); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// close ends the goroutine and the watches.
func (w *watch) close() {
	_, _ = unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	w.wake()
	w.waiter.Wait()
	_ = unix.Close(w.fd)
	_ = unix.Close(w.stop)
}

// watchable reports whether inotify tells of all changes in the folder: on file
// systems that others write to as well, it does not.
func watchable(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && !remote(&st)
}

func remote(st *unix.Statfs_t) bool {
	switch uint32(st.Type) { // statfs(2)
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC,
		unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC,
		0x0BD00BD0 /* lustre */, 0x47504653 /* gpfs */, 0x786F4256 /* vboxsf */, 0xBACBACBC /* vmhgfs */ :
		return true
	}
	return false
}

// nature tells of an open file whether endOf may be asked of it, and whether it is
// on a file system that others write to.
func nature(fd uintptr) (quick, isRemote bool) {
	var st unix.Statfs_t
	if unix.Fstatfs(int(fd), &st) != nil {
		return false, false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true, false
	}
	return false, remote(&st)
}

// timeOf is when names last came or went in a folder. It allocates nothing but
// the path, since it is asked of thousands.
func timeOf(dir string) (ns int64, ok bool) {
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return 0, false
	}
	return st.Mtim.Nano(), true
}

// sizeOf is where an open file ends: lseek(2) is the least that tells it. Nothing
// here reads at the place that it moves.
func sizeOf(fd uintptr) (int64, error) {
	return unix.Seek(int(fd), 0, unix.SEEK_END)
}

// endOf is the lower half of where an open file ends that was never sought in, of
// file systems that nature calls quick: these take no lock for it and wait for
// nothing, so that Go's scheduler need not know. FIONREAD touches less memory than
// any other call that tells, and of ten thousand files none is in a cache.
func endOf(fd uintptr) (uint32, error) {
	var n uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, fd, unix.TIOCINQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0, errno
	}
	return n, nil
}
