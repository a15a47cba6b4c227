package spool

import (
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// tight is the real file system, as it behaves on a full disk: segments take no
// bytes while it is full, and it knows which deleted files are still open, whose
// space is therefore not free.
type tight struct {
	disk

	mu   sync.Mutex
	full bool           // guarded by mu
	open map[string]int // handles by file; guarded by mu
	gone map[string]bool
}

type tightFile struct {
	File
	t    *tight
	name string
}

func (t *tight) Open(name string, flag int) (File, error) {
	f, err := t.disk.Open(name, flag)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[name]++
	return tightFile{f, t, name}, nil
}

func (t *tight) Remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone[name] = true
	return t.disk.Remove(name)
}

func (f tightFile) Close() error {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	f.t.open[f.name]--
	return f.File.Close()
}

func (f tightFile) WriteAt(p []byte, off int64) (int, error) {
	f.t.mu.Lock()
	full := f.t.full && filepath.Ext(f.name) == segSuffix
	f.t.mu.Unlock()
	if full {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(p, off)
}

// A reader that has gone on into memory lets go of the segment behind it: kept
// open, it would keep the space that the disk needs to be well again.
func TestAReaderInMemoryHoldsNoDeletedSegment(t *testing.T) {
	fs := &tight{open: map[string]int{}, gone: map[string]bool{}}
	s := open(t, t.TempDir(), Options{FS: fs})
	c := cursor(t, s, "a", From{})
	put(t, s, 3)
	take(t, c.Live(), 1, 2)
	fs.mu.Lock()
	fs.full = true
	fs.mu.Unlock()
	put(t, s, 3)
	take(t, c.Live(), 3, 4, 5)
	done(t, c.Live(), 1, 2, 3, 4, 5)
	s.app.Lock()
	s.dropConsumed()
	s.app.Unlock()
	if st := s.Stats(); st.Segments != 0 || st.MemoryFrames != 3 {
		t.Fatalf("%+v", st)
	}
	fs.mu.Lock()
	for name := range fs.gone {
		if fs.open[name] != 0 {
			t.Errorf("%s is deleted and still open", filepath.Base(name))
		}
	}
	fs.full = false
	fs.mu.Unlock()
	take(t, c.Live(), 6)
	done(t, c.Live(), 6)
	if l := balanced(t, c); l.Waiting != 0 || l.Books.Items[Sent] != l.In {
		t.Errorf("%+v", l)
	}
}
