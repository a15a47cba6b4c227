package integration

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Ready does not depend on how much is spooled: 10 GiB are there, in 640 segments,
// and a destination that has had none of it.
func TestStartWithTenGiBSpooled(t *testing.T) {
	t.Parallel()
	n, v := node(t), NewVendor(t)
	v.Close()
	n.Configure(n.Text(Plan{
		Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")},
		Spool: "logs: {max_size: 20GiB, max_age: 48h, when_full: wait}",
	}))
	n.Start()
	empty := n.Status()
	n.Stop()
	if empty.Spools[1].Segments > 1 {
		t.Fatalf("a new spool: %+v", empty.Spools)
	}

	// Frames of one long line of zeros, which take no space on a disk with holes.
	dir := filepath.Join(n.Data, "spool", "log")
	o := spool.Options{MaxBytes: 20 << 30, MaxAge: 48 * time.Hour, SyncEvery: -1, FS: holes{}}
	s, err := spool.Open(dir, o)
	must(t, err)
	blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels(signal.LabelLogFile, "/zeros"))}
	blk.Append(time.Now().UnixNano(), 6, make([]byte, 4<<20-4096), nil)
	frame := signal.AppendFrame(nil, &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{blk}})
	for s.Stats().Bytes < 10<<30 {
		_, err := s.Append(t.Context(), frame, 1)
		must(t, err)
	}
	stats := s.Stats()
	must(t, s.Close())
	if stats.Segments < 640 {
		t.Fatalf("%d segments for %d bytes", stats.Segments, stats.Bytes)
	}

	var full []time.Duration
	for range 5 {
		full = append(full, n.Start())
		if st := n.Status(); st.Spools[1].Bytes < 10<<30 || st.Spools[1].Items != stats.Items {
			t.Errorf("the spool after a start: %+v", st.Spools[1])
		}
		l, err := n.Ledger()
		must(t, err)
		if r := l.Row("a", "log"); r.In != stats.Items || r.Waiting != stats.Items || l.Check() != nil {
			t.Errorf("the ledger after a start: %+v %v", r, l.Check())
		}
		n.Kill()
	}
	took := median(full)
	// The law is 300 ms; a machine that is busy with other tests gets ten times that.
	if took > 3*time.Second {
		t.Errorf("ready after %v", full)
	}
	t.Logf("%.1f GiB in %d segments: ready after %v (median of %v)", float64(stats.Bytes)/(1<<30), stats.Segments, took.Round(time.Millisecond), full)
}

// holes is the operating system's file system, but for pages of zeros, which it
// does not write: a spool on it takes as much time to read as a real one, and no
// space. Nothing is synced and nothing is locked, because nobody else is there.
type holes struct{}

type holed struct{ *os.File }

func (holes) MkdirAll(dir string) error      { return os.MkdirAll(dir, 0o750) }
func (holes) Remove(name string) error       { return os.Remove(name) }
func (holes) Rename(from, to string) error   { return os.Rename(from, to) }
func (holes) SyncDir(string) error           { return nil }
func (holes) Free(string) (int64, error)     { return 1 << 40, nil }
func (holes) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }
func (holes) ReadDir(dir string) ([]spool.Entry, error) {
	entries, err := os.ReadDir(dir)
	var list []spool.Entry
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			list = append(list, spool.Entry{Name: e.Name(), Size: info.Size()})
		}
	}
	return list, err
}

func (holes) Open(name string, flag int) (spool.File, error) {
	f, err := os.OpenFile(name, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return holed{f}, nil
}

func (holed) Sync() error { return nil }

func (f holed) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// WriteAt writes p but for its pages of zeros, behind which something follows.
func (f holed) WriteAt(p []byte, off int64) (int, error) {
	const page = 64 << 10
	zeros := make([]byte, page)
	for i := 0; i < len(p); {
		n := min(page, len(p)-i)
		if i+n == len(p) || !bytes.Equal(p[i:i+n], zeros[:n]) {
			if _, err := f.File.WriteAt(p[i:i+n], off+int64(i)); err != nil {
				return i, err
			}
		}
		i += n
	}
	return len(p), nil
}
