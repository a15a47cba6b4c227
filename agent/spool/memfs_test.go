package spool

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// memFS is a disk that can be full, fail, be killed and lose its power.
type memFS struct {
	mu     sync.Mutex
	life   int // handles of an earlier life are dead
	locked bool
	names  map[string]*inode
	safe   map[string]*inode // names as of the last SyncDir
	ops    []func(map[string]*inode)
	room   int64 // bytes that files may still grow by; below 0: any
	// fault may fail one call: it returns how many bytes to write all the same.
	fault func(op, name string, n int) (done int, err error)
	// reading bytes [badFrom, badTo) of a segment fails
	badFrom, badTo int64
}

type inode struct {
	data, safe []byte
	pending    []edit // since the last Sync
}

type edit struct {
	off  int64
	p    []byte
	trim bool // truncate to off
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*inode{}, safe: map[string]*inode{}, room: -1}
}

func (e edit) apply(b []byte) []byte {
	if e.trim {
		b = b[:min(int64(len(b)), e.off)]
	}
	if grow := e.off + int64(len(e.p)) - int64(len(b)); grow > 0 {
		b = append(b, make([]byte, grow)...)
	}
	copy(b[e.off:], e.p)
	return b
}

// kill ends the process: what was written stays.
func (m *memFS) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	m.locked = false
}

// powerCut keeps, of each file and of the directory, what was synced and a
// random first part of what was not.
func (m *memFS) powerCut(r *rand.Rand) {
	m.kill()
	m.mu.Lock()
	defer m.mu.Unlock()
	names := maps.Clone(m.safe)
	for _, op := range m.ops[:r.IntN(len(m.ops)+1)] {
		op(names)
	}
	m.names, m.safe, m.ops = names, maps.Clone(names), nil
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n := names[name]
		data := slices.Clone(n.safe)
		keep := r.IntN(len(n.pending) + 1)
		for _, e := range n.pending[:keep] {
			data = e.apply(data)
		}
		if keep < len(n.pending) && r.IntN(2) == 0 {
			e := n.pending[keep]
			e.p = e.p[:r.IntN(len(e.p)+1)]
			if len(e.p) > 0 {
				data = e.apply(data)
			}
		}
		n.data, n.safe, n.pending = data, slices.Clone(data), nil
	}
}

// clone returns a disk with the same files, all of them safe.
func (m *memFS) clone() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemFS()
	for name, n := range m.names {
		c.names[name] = &inode{data: slices.Clone(n.data), safe: slices.Clone(n.data)}
	}
	c.safe = maps.Clone(c.names)
	return c
}

func (m *memFS) setRoom(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.room = n
}

func (m *memFS) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room >= 0
}

func (m *memFS) op(f func(map[string]*inode)) {
	f(m.names)
	m.ops = append(m.ops, f)
}

func (m *memFS) try(op, name string, n int) (int, error) {
	if m.fault == nil {
		return n, nil
	}
	return m.fault(op, path.Base(name), n)
}

func (m *memFS) MkdirAll(string) error { return nil }

func (m *memFS) ReadDir(dir string) (out []Entry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.try("readdir", dir, 0); err != nil {
		return nil, err
	}
	for name, n := range m.names {
		if strings.HasPrefix(name, dir+"/") {
			out = append(out, Entry{path.Base(name), int64(len(n.data))})
		}
	}
	return out, nil
}

func (m *memFS) Open(name string, flag int) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	op := "open"
	if flag&os.O_CREATE != 0 {
		op = "create"
	}
	if _, err := m.try(op, name, 0); err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	n := m.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.EEXIST}
	case n == nil:
		n = &inode{}
		m.op(func(names map[string]*inode) { names[name] = n })
	}
	return &memFile{m: m, n: n, name: name, life: m.life}, nil
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.try("remove", name, 0); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	n := m.names[name]
	if n == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	}
	if m.room >= 0 {
		m.room += int64(len(n.data))
	}
	m.op(func(names map[string]*inode) { delete(names, name) })
	return nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.try("rename", from, 0); err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	n := m.names[from]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: syscall.ENOENT}
	}
	m.op(func(names map[string]*inode) {
		delete(names, from)
		names[to] = n
	})
	return nil
}

func (m *memFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.try("syncdir", dir, 0); err != nil {
		return err
	}
	m.safe, m.ops = maps.Clone(m.names), nil
	return nil
}

func (m *memFS) Free(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.room, nil
}

func (m *memFS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, &HeldError{Dir: path.Dir(name)}
	}
	m.locked = true
	return &memFile{m: m, name: name, life: m.life, lock: true}, nil
}

type memFile struct {
	m    *memFS
	n    *inode
	name string
	life int
	lock bool
}

func (f *memFile) alive() error {
	if f.life != f.m.life {
		return fmt.Errorf("%s: %w: its process is dead", f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive(); err != nil {
		return 0, err
	}
	if _, err := f.m.try("read", f.name, len(p)); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if strings.HasSuffix(f.name, segSuffix) && off < f.m.badTo && off+int64(len(p)) > f.m.badFrom {
		clear(p)
		return copy(p[:max(0, f.m.badFrom-off)], f.n.data[off:]), syscall.EIO
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive(); err != nil {
		return 0, err
	}
	n, err := f.m.try("write", f.name, len(p))
	if f.m.room >= 0 {
		grow := max(0, off+int64(n)-int64(len(f.n.data)))
		if grow > f.m.room {
			n, err = max(0, n-int(grow-f.m.room)), syscall.ENOSPC
			grow = min(grow, f.m.room)
		}
		f.m.room -= grow
	}
	if n > 0 {
		e := edit{off: off, p: slices.Clone(p[:n])}
		f.n.data = e.apply(f.n.data)
		f.n.pending = append(f.n.pending, e)
	}
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive(); err != nil {
		return err
	}
	if _, err := f.m.try("truncate", f.name, 0); err != nil {
		return err
	}
	if f.m.room >= 0 {
		f.m.room += max(0, int64(len(f.n.data))-size)
	}
	e := edit{off: size, trim: true}
	f.n.data = e.apply(f.n.data)
	f.n.pending = append(f.n.pending, e)
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive(); err != nil {
		return err
	}
	if _, err := f.m.try("sync", f.name, 0); err != nil {
		return err
	}
	f.n.safe, f.n.pending = slices.Clone(f.n.data), nil
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Close() error {
	if f.lock {
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		if f.life == f.m.life {
			f.m.locked = false
		}
	}
	return nil
}
