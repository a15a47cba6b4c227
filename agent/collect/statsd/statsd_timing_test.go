package statsd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sendTo names the variable that makes the test binary a sender of datagrams:
// its CPU time is not to be the receiver's.
const sendTo = "STATSD_SEND_TO"

func TestMain(m *testing.M) {
	if to := os.Getenv(sendTo); to != "" {
		send(to)
		return
	}
	os.Exit(m.Run())
}

// send reads "address packed count pace" and sends count lines of 5,000 series,
// packed to a datagram, at most pace datagrams a second.
func send(to string) {
	f := strings.Fields(to)
	packed, _ := strconv.Atoi(f[1])
	count, _ := strconv.Atoi(f[2])
	pace, _ := strconv.Atoi(f[3])
	c, err := net.Dial("udp", f[0])
	if err != nil {
		panic(err)
	}
	packets := benchPackets(packed)
	start := time.Now()
	for i := range count / packed {
		if i%100 == 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(pace))))
		}
		_, _ = c.Write(packets[i%len(packets)])
	}
}

// benchPackets returns 5,000 series' lines, a fifth each of the types.
func benchPackets(packed int) [][]byte {
	types := [...]string{"3|c", "21.5|g", "12.75|ms", "340|d", "17.25|h"}
	var packets [][]byte
	var p []byte
	for i := range 5000 {
		p = fmt.Appendf(p, "shop.checkout.step%d:%s|#env:prod,zone:europe-west1-%c,pod:shop-%d", i%50, types[i%5], 'a'+i%3, i/50)
		if (i+1)%packed == 0 {
			packets = append(packets, p)
			p = nil
			continue
		}
		p = append(p, '\n')
	}
	return packets
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// blast sends n metrics to a source of its own, packed to a datagram, at the pace
// of 100,000 datagrams a second, and returns what receiving them took.
func blast(tb testing.TB, packed, n int) (*Source, time.Duration) {
	tb.Helper()
	c := Default()
	c.Listen = []string{"udp://127.0.0.1:0"}
	s := New(c, slog.New(slog.DiscardHandler))
	ls, err := s.bind(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, ls, &sink{}) }()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d 100000", sendTo, strings.TrimPrefix(s.Addresses()[0], "udp://"), packed, n))
	before := cpu()
	if out, err := child.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	stop()
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return s, cpu() - before
}

// 100,000 datagrams a second, for twenty seconds: the kernel drops none. The
// short form is a fifth of a second beside other tests, and holds nobody to it.
func TestTheKernelDropsNothingAtAHundredThousandDatagramsASecond(t *testing.T) {
	n := 20_000
	if os.Getenv("CAUSEWAY_SOAK") != "" {
		n = 2_000_000
	}
	began := time.Now()
	s, spent := blast(t, 1, n)
	took, got, dropped := time.Since(began), s.stats.Packets.Load(), s.stats.Dropped.Load()
	t.Logf("%d datagrams at %.0f a second, %d dropped, %.2f CPU-seconds a million", got, float64(n)/took.Seconds(), dropped, spent.Seconds()*1e6/float64(n))
	if got == 0 || got+dropped > int64(n) || n > 20_000 && (got != int64(n) || dropped > 0) {
		t.Errorf("%d datagrams came and %d were dropped, of %d", got, dropped, n)
	}
}

// BenchmarkUDP measures user and system time of receiving, aggregating and
// flushing, per million metrics, at the pace of 100,000 datagrams a second. It
// is meant for -benchtime=2000000x.
func BenchmarkUDP(b *testing.B) {
	for _, packed := range []int{1, 20} {
		b.Run(fmt.Sprintf("packed=%d", packed), func(b *testing.B) {
			b.ResetTimer()
			s, spent := blast(b, packed, max(b.N/packed, 1)*packed)
			if s.stats.Metrics.Load() == 0 || s.stats.Series.Load() > 5000 {
				b.Fatalf("%d lines of %d series", s.stats.Metrics.Load(), s.stats.Series.Load())
			}
			b.ReportMetric(spent.Seconds()*1e6/float64(s.stats.Metrics.Load()), "cpu-s/Mmetric")
			b.ReportMetric(float64(s.stats.Dropped.Load()), "dropped")
			b.ReportMetric(float64(s.stats.Packets.Load())/b.Elapsed().Seconds(), "datagrams/s")
		})
	}
}

// BenchmarkTake is the parser and the table alone: one line per operation.
func BenchmarkTake(b *testing.B) {
	for _, packed := range []int{1, 20} {
		b.Run(fmt.Sprintf("packed=%d", packed), func(b *testing.B) {
			s := New(Default(), slog.New(slog.DiscardHandler))
			packets := benchPackets(packed)
			s.table.take(len(packets), func(i int) ([]byte, bool) { return packets[i], false })
			i := 0
			one := func(int) ([]byte, bool) { return packets[i%len(packets)], false }
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += packed {
				s.table.take(1, one)
				i++
			}
		})
	}
}

// BenchmarkFlush ends an interval of 5,000 series with a value each.
func BenchmarkFlush(b *testing.B) {
	s := New(Default(), slog.New(slog.DiscardHandler))
	packets := benchPackets(20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.table.take(len(packets), func(i int) ([]byte, bool) { return packets[i], false })
		s.table.flush(int64(i+1) * 10_000)
	}
}
