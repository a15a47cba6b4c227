//go:build !linux

package tail

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
)

// watch is not there on this system: every folder is looked at once a second.
type watch struct{}

func openWatch(context.Context) (*watch, error)                 { return nil, nil }
func (w *watch) wake() <-chan struct{}                          { return nil }
func (w *watch) ready() bool                                    { return false }
func (w *watch) add(string) (int, error)                        { return -1, nil }
func (w *watch) remove(int)                                     {}
func (w *watch) drain(func(wd int, change change, name string)) {}
func (w *watch) close()                                         {}
func watchable(string) bool                                     { return false }

func timeOf(dir string) (ns int64, ok bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	return info.ModTime().UnixNano(), true
}

func nature(uintptr) (quick, isRemote bool) { return false, false }

func endOf(uintptr) (uint32, error) { return 0, errors.ErrUnsupported }

func sizeOf(fd uintptr) (int64, error) { return syscall.Seek(int(fd), 0, io.SeekEnd) }
