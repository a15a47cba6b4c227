package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// FS is the file system a spool lives on. The real one is used unless Options
// say otherwise; tests put one in its place that fails, tears writes and
// forgets what was not synced.
type FS interface {
	// MkdirAll makes dir and its parents, if they do not exist.
	MkdirAll(dir string) error
	// ReadDir lists the plain files of dir in no particular order.
	ReadDir(dir string) ([]Entry, error)
	// Open opens a file; flag is made of os.O_RDONLY, O_RDWR, O_CREATE, O_EXCL.
	Open(name string, flag int) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	// SyncDir makes the names in dir survive a power cut.
	SyncDir(dir string) error
	// Free returns how many bytes we may still write to dir's file system.
	Free(dir string) (int64, error)
	// Lock takes the lock file name, or says which process has it (*HeldError).
	Lock(name string) (io.Closer, error)
}

// File is what a spool needs of an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
	Close() error
}

// Entry is one file of a directory.
type Entry struct {
	Name string
	Size int64
}

// HeldError says that another process, or another part of this one, has the
// spool's directory. PID is 0 where it is not known.
type HeldError struct {
	Dir string
	PID int
}

// Error names the holder and the remedy.
func (e *HeldError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = "process " + strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("spool %s is in use by %s: stop it, or give this agent a data_dir of its own", e.Dir, who)
}

// disk is the operating system's file system.
type disk struct{}

type diskFile struct{ *os.File }

func (disk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o750) }

func (disk) ReadDir(dir string) ([]Entry, error) {
	des, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	out := make([]Entry, 0, len(des))
	for _, de := range des {
		info, err := de.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			out = append(out, Entry{Name: de.Name(), Size: info.Size()})
		}
	}
	return out, nil
}

func (disk) Open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (disk) Remove(name string) error     { return os.Remove(name) }
func (disk) Rename(from, to string) error { return os.Rename(from, to) }

func (disk) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (disk) Free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Lock uses flock, which the kernel releases when the process dies, however it
// dies. The pid in the file is for people only.
func (disk) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(name) // a lock needs no right to write
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		held := &HeldError{Dir: filepath.Dir(name)}
		p := make([]byte, 32)
		n, _ := f.ReadAt(p, 0)
		held.PID, _ = strconv.Atoi(strings.TrimSpace(string(p[:n])))
		return nil, errors.Join(held, f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	// A full disk must not keep the agent from starting: the pid is a courtesy.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}
