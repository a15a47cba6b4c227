package integration

import (
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
// its logrotate would. One goroutine writes; Written may be called from any.
type Writer struct {
	Name string
	Path string
	Pad  int // bytes that make each line longer

	t       testing.TB
	f       *os.File
	n       atomic.Int64
	rotated int
}

// NewWriter begins a log file in dir.
func NewWriter(t testing.TB, dir, name string) *Writer {
	t.Helper()
	w := &Writer{Name: name, Path: filepath.Join(dir, name+".log"), Pad: 60, t: t}
	w.open()
	t.Cleanup(func() { w.f.Close() })
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
		p = fmt.Appendf(p, "seq=%09d w=%s t=%d pad=%s\n", seq, w.Name, at, pad)
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

// Rotate renames the file and begins a new one.
func (w *Writer) Rotate() {
	w.f.Close()
	if err := os.Rename(w.Path, w.aside()); err != nil {
		w.t.Error(err)
	}
	w.open()
}

// aside names the next rotated file.
func (w *Writer) aside() string {
	w.rotated++
	return fmt.Sprintf("%s-%08d", w.Path, w.rotated)
}

// CopyTruncate copies the file and empties it.
func (w *Writer) CopyTruncate() {
	from, err := os.Open(w.Path)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer from.Close()
	to, err := os.Create(w.aside())
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
	text, _, _ = strings.Cut(text, " pad=")
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
