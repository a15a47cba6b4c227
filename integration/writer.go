package integration

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Writer writes numbered lines to a log file and rotates it, as a program and
// its logrotate would, or a container and its kubelet. One goroutine writes;
// Written may be called from any.
type Writer struct {
	Name string
	Path string
	Pad  int // bytes that make each line longer

	t       testing.TB
	f       *os.File
	n       atomic.Int64
	cri     bool     // lines are records of a container runtime
	stamp   int64    // of the last record
	rotated int      // how often
	aside   []string // what it was rotated to, oldest first; the kubelet has compressed all but the last
}

// NewWriter begins a log file in dir.
func NewWriter(t testing.TB, dir, name string) *Writer {
	t.Helper()
	w := &Writer{Name: name, Path: filepath.Join(dir, name+".log"), Pad: 60, t: t}
	w.open()
	t.Cleanup(w.Close)
	return w
}

// Close ends the writing, once or more often.
func (w *Writer) Close() { w.f.Close() }

// NewContainer begins the log of a pod of that name in the folder that the
// kubelet keeps them in.
func NewContainer(t testing.TB, pods, name string) *Writer {
	t.Helper()
	dir := filepath.Join(pods, "proof_"+name+"_0000-"+name, "app")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := NewWriter(t, dir, "0")
	w.Name, w.cri = name, true
	return w
}

func (w *Writer) open() {
	f, err := os.OpenFile(w.Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		w.t.Error(err)
		return
	}
	w.f = f
}

// Written returns how many lines the writer has written: they are numbered from
// 1 to that.
func (w *Writer) Written() int64 { return w.n.Load() }

// Write writes n lines. They reach the file in pieces that do not end where
// lines do.
func (w *Writer) Write(n int) {
	var p []byte
	seq := w.n.Load()
	at := time.Now().UnixNano()
	pad := strings.Repeat("x", w.Pad)
	for range n {
		seq++
		if w.cri {
			// A runtime and a program stamp each line by itself, so none shares a microsecond.
			w.stamp = max(at/1000*1000+7, w.stamp+1000)
			p = appendRecords(p, w.stamp, fmt.Sprintf("seq=%09d w=%s t=%d pad=%s.", seq, w.Name, w.stamp, pad), seq)
			continue
		}
		p = fmt.Appendf(p, "seq=%09d w=%s t=%d pad=%s.\n", seq, w.Name, at, pad)
	}
	w.n.Store(seq) // before: what is written may arrive before Write returns
	const piece = 48<<10 + 17
	for len(p) > 0 {
		k := min(len(p), piece)
		if _, err := w.f.Write(p[:k]); err != nil {
			w.t.Error(err)
			return
		}
		p = p[k:]
	}
}

// appendRecords appends a line as a container runtime writes it; every seventh
// one in two pieces.
func appendRecords(p []byte, at int64, line string, seq int64) []byte {
	stamp := time.Unix(0, at).UTC().Format("2006-01-02T15:04:05.000000000Z")
	if seq%7 == 0 {
		half := len(line) / 2
		p = fmt.Appendf(p, "%s stdout P %s\n", stamp, line[:half])
		line = line[half:]
	}
	return fmt.Appendf(p, "%s stdout F %s\n", stamp, line)
}

// Rotate renames the file and begins a new one.
func (w *Writer) Rotate() {
	w.f.Close()
	if err := os.Rename(w.Path, w.next()); err != nil {
		w.t.Error(err)
	}
	w.open()
}

// next names the next rotated file: by number, or by a time as the kubelet does,
// though it comes more often than once a second.
func (w *Writer) next() string {
	w.rotated++
	name := fmt.Sprintf("%s-%08d", w.Path, w.rotated)
	if w.cri {
		name = w.Path + time.Unix(1.75e9+int64(w.rotated), 0).UTC().Format(".20060102-150405")
	}
	w.aside = append(w.aside, name)
	return name
}

// Kubelet rotates as the kubelet does (pkg/kubelet/logs): what was rotated before
// is compressed, beside it first, then the file is renamed, and the runtime
// writes to it until it is told to open a new one.
func (w *Writer) Kubelet() {
	if n := len(w.aside); n > 0 {
		plain := w.aside[n-1]
		if err := compress(plain); err != nil {
			w.t.Error(err)
		}
		w.aside[n-1] = plain + ".gz"
	}
	if err := os.Rename(w.Path, w.next()); err != nil {
		w.t.Error(err)
	}
	w.Write(1)
	w.f.Close()
	w.open()
}

func compress(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(text) // to memory
	_ = z.Close()
	if err := os.WriteFile(path+".tmp", b.Bytes(), 0o644); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}

// Forget deletes the oldest of the rotated files.
func (w *Writer) Forget() {
	if err := os.Remove(w.aside[0]); err != nil {
		w.t.Error(err)
	}
	w.aside = w.aside[1:]
}

// CopyTruncate copies the file and empties it. Nothing is written meanwhile: what
// a program writes between the two, no copytruncate keeps.
func (w *Writer) CopyTruncate() {
	from, err := os.Open(w.Path)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer from.Close()
	to, err := os.Create(w.next())
	if err != nil {
		w.t.Error(err)
		return
	}
	_, err = io.Copy(to, from)
	if cerr := to.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.f.Truncate(0)
	}
	if err != nil {
		w.t.Error(err)
	}
}

// Run writes n lines every so often until ctx ends, and calls each, if it is not
// nil, between two writes with the number of the round.
func (w *Writer) Run(ctx context.Context, n int, every time.Duration, each func(round int)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.Write(n)
		if each != nil {
			each(round)
		}
	}
}

// parseNumber reads a numbered line.
func parseNumber(text string) (writer string, seq int64, at time.Time, ok bool) {
	text, pad, _ := strings.Cut(text, " pad=")
	if strings.TrimLeft(pad, "x") != "." {
		return "", 0, at, false // not whole
	}
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return "", 0, at, false
	}
	n, ok1 := strings.CutPrefix(fields[0], "seq=")
	writer, ok2 := strings.CutPrefix(fields[1], "w=")
	ns, ok3 := strings.CutPrefix(fields[2], "t=")
	if !ok1 || !ok2 || !ok3 || len(n) != 9 {
		return "", 0, at, false
	}
	seq, err := strconv.ParseInt(n, 10, 64)
	if err != nil || seq < 1 || seq > 1e8 {
		return "", 0, at, false
	}
	t, err := strconv.ParseInt(ns, 10, 64)
	return writer, seq, time.Unix(0, t), err == nil
}

// sum adds up what the writers wrote.
func sum(writers ...*Writer) (n int64) {
	for _, w := range writers {
		n += w.Written()
	}
	return n
}
