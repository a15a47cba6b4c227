package spool

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// cpu reports CPU time (user and system) per operation and, given bytes per
// operation, MB per CPU-second: on a shared machine, wall time says little.
func cpu(b *testing.B, bytes int) func() {
	b.Helper()
	var was syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &was)
	b.ResetTimer()
	return func() {
		b.StopTimer()
		var is syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &is)
		ns := float64(is.Utime.Nano() + is.Stime.Nano() - was.Utime.Nano() - was.Stime.Nano())
		b.ReportMetric(ns/float64(b.N), "cpu-ns/op")
		b.ReportMetric(float64(bytes)*float64(b.N)/ns*1000, "MB/cpu-s")
	}
}

var frameSizes = []int{256, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}

// BenchmarkAppend keeps 256 MiB at most, so it includes what evicting costs.
func BenchmarkAppend(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{MaxBytes: 256 << 20})
			frame := make([]byte, size)
			b.ReportAllocs()
			defer cpu(b, size)()
			for b.Loop() {
				if _, err := s.Append(b.Context(), frame, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead is Next and Done, each with its write of the cursor's slot.
func BenchmarkRead(b *testing.B) {
	for _, size := range frameSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{Retain: time.Hour})
			frame := make([]byte, size)
			const spooled = 128 << 20
			for range spooled / size {
				if _, err := s.Append(b.Context(), frame, 1); err != nil {
					b.Fatal(err)
				}
			}
			var books Books
			books.Items[Sent] = 1
			n := 0
			c := cursor(b, s, "c", From{Oldest: true})
			b.ReportAllocs()
			defer cpu(b, size)()
			for b.Loop() {
				seq, _, ok, err := c.Live().TryNext()
				if err != nil {
					b.Fatal(err)
				}
				if !ok { // again from the start
					n++
					c = cursor(b, s, fmt.Sprint("c", n), From{Oldest: true})
					continue
				}
				if err := c.Live().Done(seq, books); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkThrough appends, hands out and settles each frame for four cursors.
func BenchmarkThrough(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			var cs []*Cursor
			for i := range 4 {
				cs = append(cs, cursor(b, s, fmt.Sprint(i), From{}))
			}
			frame := make([]byte, size)
			var books Books
			books.Items[Sent] = 1
			b.ReportAllocs()
			defer cpu(b, size)()
			for b.Loop() {
				if _, err := s.Append(b.Context(), frame, 1); err != nil {
					b.Fatal(err)
				}
				for _, c := range cs {
					seq, _, ok, err := c.Live().TryNext()
					if !ok || err != nil {
						b.Fatal(ok, err)
					}
					if err := c.Live().Done(seq, books); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkOpen opens a spool that holds 10 GiB, mostly holes, in 640 segments
// with four cursors spread over them; the newest segment is full and real.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, Options{})
	frame := make([]byte, 64<<10)
	for i := range frame {
		frame[i] = byte(i * i)
	}
	var first Seq
	const segs, perSeg = 640, 255
	for i := range 4 {
		cursor(b, s, fmt.Sprint(i), From{Oldest: true})
	}
	s.Close()
	var total uint64
	for i := range segs {
		first = Seq(i*perSeg + 1)
		name := filepath.Join(dir, segName(first))
		p := appendSegHeader(nil, segHeader{start: mark{first, total}, created: time.Now().UnixMilli()})
		n := 1
		if i == segs-1 {
			n = perSeg
		}
		for j := range n {
			p = appendRecord(p, sealOf(first), header{seq: first + Seq(j), total: total + uint64(j), items: 1}, frame)
		}
		if err := os.WriteFile(name, p, 0o640); err != nil {
			b.Fatal(err)
		}
		if err := os.Truncate(name, max(int64(len(p)), 16<<20)); i < segs-1 && err != nil {
			b.Fatal(err)
		}
		total += perSeg
	}
	b.ReportAllocs()
	defer cpu(b, 0)()
	for b.Loop() {
		s, err := Open(dir, Options{SyncEvery: -1})
		if err != nil {
			b.Fatal(err)
		}
		if st := s.Stats(); st.Bytes < 10<<30-16<<20 || st.Frames != segs*perSeg {
			b.Fatalf("%+v", st)
		}
		b.StopTimer()
		s.closed.Store(true) // without Close, which syncs
		close(s.quit)
		s.done.Wait()
		s.closeFiles()
		s.lock.Close()
		b.StartTimer()
	}
}
