package tail

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// cpu is the time this process has computed, user and system.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports the megabytes of input per second of CPU.
func reportCPU(b *testing.B, since time.Duration, n int64) {
	used := cpu() - since
	b.ReportMetric(float64(n)/1e6/used.Seconds(), "MB/cpu-s")
}

func benchTailer(b *testing.B, cfg Config, want int) {
	b.Helper()
	b.ReportAllocs()
	began, dir := cpu(), b.TempDir()
	for i := range b.N {
		n := 0
		ctx, cancel := context.WithCancel(b.Context())
		t := New(cfg, &spool{forgets: true}, filepath.Join(dir, fmt.Sprint(i)), slog.New(slog.DiscardHandler))
		err := t.Run(ctx, sinkFunc(func(_ context.Context, batch *signal.Batch) error {
			if n += batch.Len(); n >= want {
				cancel()
			}
			return nil
		}))
		if err != nil || n != want {
			b.Fatalf("%v, %d lines, want %d", err, n, want)
		}
	}
	b.StopTimer()
	var size int64
	_ = filepath.Walk(filepath.Dir(cfg.dirOfAll()), func(_ string, info os.FileInfo, _ error) error {
		if info != nil && info.Mode().IsRegular() && strings.HasSuffix(info.Name(), ".log") {
			size += info.Size()
		}
		return nil
	})
	b.SetBytes(size)
	b.ReportMetric(float64(want), "lines/op")
	reportCPU(b, began, size*int64(b.N))
}

// dirOfAll is the folder that holds the logs, with a name behind it.
func (c Config) dirOfAll() string {
	if len(c.Files) > 0 {
		return c.Files[0].Path
	}
	return filepath.Join(c.Pods.Path, "x")
}

// BenchmarkPlain reads files of 200-byte lines into a Sink that discards them.
func BenchmarkPlain(b *testing.B) {
	for _, files := range []int{1, 50} {
		b.Run(fmt.Sprint("files=", files), func(b *testing.B) {
			dir := b.TempDir()
			line := strings.Repeat("x", 199) + "\n"
			lines := 1_000_000 / files
			for i := range files {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".log")), bytes.Repeat([]byte(line), lines), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			cfg := Default()
			cfg.Pods.Enabled, cfg.Docker.Enabled = "false", "false"
			cfg.Files = []File{{Path: filepath.Join(dir, "*.log"), Start: "beginning"}}
			b.ResetTimer()
			benchTailer(b, cfg, files*lines)
		})
	}
}

// BenchmarkContainers is the same with records of a container runtime, with and
// without the joining of lines.
func BenchmarkContainers(b *testing.B) {
	cri := "2026-11-23T10:00:00.123456789Z stdout F {" + strings.Repeat("y", 217) + "}\n"
	text := "2026-11-23T10:00:00.123456789Z stdout F I1123 " + strings.Repeat("y", 213) + "\n"
	docker := `{"log":"{` + strings.Repeat("y", 217) + `}\n","stream":"stdout","time":"2026-11-23T10:00:00.123456789Z"}` + "\n"
	for _, c := range []struct{ name, rec, join string }{
		{"cri,join=none", cri, "none"}, {"cri,join=auto", cri, "auto"},
		{"text,join=none", text, "none"}, {"text,join=auto", text, "auto"}, {"docker,join=none", docker, "none"},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			const files, lines = 50, 20_000
			for i := range files {
				p := filepath.Join(dir, fmt.Sprintf("ns_pod-%d_uid", i), "app")
				if err := os.MkdirAll(p, 0o755); err != nil {
					b.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(p, "0.log"), bytes.Repeat([]byte(c.rec), lines), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			cfg := Default()
			cfg.Docker.Enabled = "false"
			cfg.Pods.Path, cfg.Pods.Multiline = dir, c.join
			b.ResetTimer()
			benchTailer(b, cfg, files*lines)
		})
	}
}

// BenchmarkSteady is a minute of 10,000 lines a second, in 50 containers' files,
// looked at ten times a second; the writing is in the figure.
func BenchmarkSteady(b *testing.B) {
	const files, lines = 50, 20
	dir := b.TempDir()
	rec := "2026-11-23T10:00:00.123456789Z stdout F {" + strings.Repeat("y", 217) + "}\n"
	text := strings.Repeat(rec, lines)
	var logs []*os.File
	for i := range files {
		p := filepath.Join(dir, fmt.Sprintf("ns_pod-%d_uid", i), "app")
		if err := os.MkdirAll(p, 0o755); err != nil {
			b.Fatal(err)
		}
		f, err := os.Create(filepath.Join(p, "0.log"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		logs = append(logs, f)
	}
	cfg := Default()
	cfg.Docker.Enabled = "false"
	cfg.Pods.Path = dir
	mem, now := &spool{forgets: true}, time.Now()
	t := New(cfg, mem, b.TempDir(), slog.New(slog.DiscardHandler))
	if err := t.begin(b.Context(), now); err != nil {
		b.Fatal(err)
	}
	defer t.closeAll()
	look := func() {
		for _, f := range logs {
			if _, err := f.WriteString(text); err != nil {
				b.Fatal(err)
			}
		}
		now = now.Add(gap)
		for more := true; more; {
			var err error
			if more, err = t.step(b.Context(), now, mem); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range 20 {
		look() // the files are known
	}
	first := mem.lines
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu()
	for range b.N {
		for range 600 {
			look()
		}
	}
	b.ReportMetric(100*(cpu()-began).Seconds()/float64(60*b.N), "%core")
	if n := mem.lines - first; n != 600*files*lines*b.N {
		b.Fatalf("%d lines, want %d", n, 600*files*lines*b.N)
	}
}

// heap is how much is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what had a cleanup goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a file costs that is open and idle, in bytes of the heap: 10,000 of them
// are to leave room in 120 MiB for all else. Of containers' files a line of each
// stream is half written.
func TestAnIdleFileTakesLittleMemory(t *testing.T) {
	const files = 1000
	f := func(name, first string, cfg func(dir string) Config, path func(i int) string) {
		t.Helper()
		dir := t.TempDir()
		for i := range files {
			p := filepath.Join(dir, path(i))
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(first), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		before := heap()
		now, mem := time.Now(), &spool{forgets: true}
		tail := New(cfg(dir), mem, t.TempDir(), slog.New(slog.DiscardHandler))
		if err := tail.begin(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		defer tail.closeAll()
		for more := true; more; {
			var err error
			if more, err = tail.step(t.Context(), now, mem); err != nil {
				t.Fatal(err)
			}
		}
		used := (heap() - before) / files
		t.Logf("%s: %d bytes a file", name, used)
		if tail.opened != files || used > 6<<10 {
			t.Errorf("%s: %d files are open, %d bytes each", name, tail.opened, used)
		}
	}
	f("plain", "a line\n", func(dir string) Config {
		c := Default()
		c.Pods.Enabled, c.Docker.Enabled = "false", "false"
		c.Files = []File{{Path: filepath.Join(dir, "*.log")}}
		return c
	}, func(i int) string { return fmt.Sprint(i, ".log") })
	half := "2026-11-23T10:00:00.123456789Z stdout F a line\n2026-11-23T10:00:00.123456789Z stdout P half a line\n" +
		"2026-11-23T10:00:00.123456789Z stderr P half a line\n"
	f("containers", half, func(dir string) Config {
		c := Default()
		c.Docker.Enabled, c.Pods.Enabled, c.Pods.Path = "false", "true", dir
		return c
	}, func(i int) string { return fmt.Sprintf("ns_pod-%d_uid/app/0.log", i) })
}

// BenchmarkIdle is a minute with ten thousand files, of which a hundred or none
// get a line each second; the writing of these is in the figure.
func BenchmarkIdle(b *testing.B) {
	for _, c := range []struct {
		watched bool
		busy    int
	}{{true, 0}, {true, 100}, {false, 0}} {
		watched := c.watched
		b.Run(fmt.Sprintf("watched=%v,busy=%d", watched, c.busy), func(b *testing.B) {
			dir := b.TempDir()
			for i := range 10_000 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".log")), []byte("old\n"), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			cfg := Default()
			cfg.Pods.Enabled, cfg.Docker.Enabled = "false", "false"
			cfg.Files = []File{{Path: filepath.Join(dir, "*.log")}}
			before := heap()
			mem, now := &spool{}, time.Now()
			t := New(cfg, mem, b.TempDir(), slog.New(slog.DiscardHandler))
			if err := t.begin(b.Context(), now); err != nil {
				b.Fatal(err)
			}
			defer t.closeAll()
			if !watched {
				t.find.watch.close()
				t.find.watch = nil
			}
			look := func() {
				for i := range c.busy {
					f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i, ".log")), os.O_APPEND|os.O_WRONLY, 0)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = f.WriteString("a new line\n")
					f.Close()
				}
				now = now.Add(sweepEvery)
				if _, err := t.step(b.Context(), now, mem); err != nil {
					b.Fatal(err)
				}
			}
			look()
			look()
			used := heap() - before
			b.ReportAllocs()
			b.ResetTimer()
			began := cpu()
			for range b.N {
				for range 60 {
					look()
				}
			}
			b.ReportMetric(100*(cpu()-began).Seconds()/float64(60*b.N), "%core")
			b.ReportMetric(float64(used)/(1<<20), "heap-MiB")
		})
	}
}

// The same of containers: of each stream two, and what is rare takes little room.
func TestARecordAllocatesNothing(t *testing.T) {
	for _, join := range []string{"none", "auto"} {
		way, err := logline.ParseJoin(join)
		if err != nil {
			t.Fatal(err)
		}
		f := func(lines int) float64 {
			out := bytes.Repeat([]byte("2026-11-23T10:00:00.123456789Z stdout F a line of some length\n"), lines)
			text := append(out, "2026-11-23T10:00:00.123456789Z stderr F rare\n"...)
			buf := make([]byte, edgeBytes+len(text)+1)
			s := newLanes(formCRI, way, 0, 0, nil)
			var to laneTaker
			look := func() {
				var p position
				var sum tally
				to = laneTaker{s: s, maxLine: 1 << 20, clock: &clock{}, sum: &sum}
				_, err := turn(bytes.NewReader(text), &p, buf[:len(text)+1], &to, 1<<20, 1<<20, &sum)
				for i := range s.lane {
					if s.lane[i].rec.open() {
						to.endRec(i)
					}
				}
				if to.close(); err != nil || len(to.blks[0].Lines) != lines || len(to.blks[1].Lines) != 1 {
					t.Fatal(err, len(to.blks[0].Lines), len(to.blks[1].Lines))
				}
			}
			look() // the first turn does not know yet how rare they are
			n := testing.AllocsPerRun(20, look)
			if rare := cap(to.blks[1].Text); rare > 512 {
				t.Errorf("%d lines, join %s: %d bytes for a line of 4", lines, join, rare)
			}
			return n
		}
		if one, many := f(1), f(5000); many > one {
			t.Errorf("join %s: %v allocations for a record, %v for 5000", join, one, many)
		}
	}
}

// One more line costs no more allocations: a block is two, however many it holds.
func TestALineAllocatesNothing(t *testing.T) {
	f := func(lines int) float64 {
		text := bytes.Repeat([]byte("a line of some length\n"), lines)
		buf := make([]byte, edgeBytes+len(text))
		return testing.AllocsPerRun(20, func() {
			var p position
			var sum tally
			blk := signal.LogBlock{}
			out := &plain{blk: &blk, maxLine: 1 << 20, clock: &clock{}, sum: &sum}
			if _, err := turn(bytes.NewReader(text), &p, buf[:len(text)+1], out, 1<<20, 1<<20, &sum); err != nil || len(blk.Lines) != lines {
				t.Fatal(err, len(blk.Lines))
			}
		})
	}
	if one, many := f(1), f(5000); many > one {
		t.Errorf("%v allocations for a line, %v for 5000", one, many)
	}
}
