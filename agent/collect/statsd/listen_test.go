package statsd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	client "github.com/DataDog/datadog-go/v5/statsd"

	"github.com/causeway-agent/causeway/agent/signal"
)

// sink keeps what it is given, or refuses it.
type sink struct {
	mu      sync.Mutex
	batches []*signal.Batch
	err     error
	put     chan struct{} // told of each Put, if not nil
}

func (s *sink) Put(ctx context.Context, b *signal.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != nil {
		s.put <- struct{}{}
	}
	if s.err != nil {
		return s.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.batches = append(s.batches, b)
	return nil
}

// totals adds up what arrived: values of deltas and gauges, counts of the
// others, by name and labels.
func (s *sink) totals() map[string]float64 {
	m := map[string]float64{}
	for _, b := range s.batches {
		for i := range b.Samples {
			x := &b.Samples[i]
			key := x.Series.Desc().Name + flat(x.Series.Desc().Labels)
			switch x.Series.Desc().Type {
			case signal.Dist:
				m[key] += float64(x.Hist.Count)
			case signal.Delta:
				m[key] += x.Value
			default:
				m[key] = x.Value
			}
		}
		for _, e := range b.Events {
			m["event "+e.Title+" "+e.Text+flat(e.Labels)]++
		}
	}
	return m
}

func flat(labels string) string {
	var parts []string
	for k, v := range signal.Walk(labels) {
		if k != signal.LabelContainerID { // the client may tell that of the machine the test runs on
			parts = append(parts, k+"="+v)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// running is a Source that listens.
type running struct {
	*Source
	out  *sink
	stop func() // ends it and returns when it has flushed
}

func run(t *testing.T, listen string, change func(*Config)) *running {
	t.Helper()
	s := fed(t, func(c *Config) {
		c.Listen = []string{listen}
		c.Flush, c.Expire = time.Hour, time.Hour // nothing is flushed but the open interval at the end
		if change != nil {
			change(c)
		}
	})
	ls, err := s.bind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Source: s, out: &sink{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, ls, r.out) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func TestTheDatadogClientIsUnderstoodOverEverySocket(t *testing.T) {
	dir := t.TempDir()
	f := func(listen string, options ...client.Option) {
		t.Helper()
		r := run(t, listen, nil)
		at := strings.TrimPrefix(r.Addresses()[0], "udp://")
		at = strings.Replace(at, "unix://", "unixstream://", 1)
		at = strings.Replace(at, "unixgram://", "unixgram://", 1)
		c, err := client.New(at, append(options, client.WithNamespace("shop"), client.WithTags([]string{"env:test"}), client.WithoutTelemetry())...)
		if err != nil {
			t.Fatal(err)
		}
		const n = 500
		for i := range n {
			_ = c.Count("orders", 2, []string{"zone:a"}, 1)
			_ = c.Gauge("debt", -4, nil, 1)
			_ = c.Timing("took", time.Duration(i)*time.Millisecond, nil, 1)
			_ = c.Histogram("size", float64(i), nil, 1)
			_ = c.Distribution("width", float64(i), nil, 1)
			_ = c.Set("users", string(rune('a'+i%7)), nil, 1)
		}
		_ = c.CountWithTimestamp("old", 3, nil, 1, time.Unix(1_700_000_000, 0))
		_ = c.GaugeWithTimestamp("oldgauge", 4, nil, 1, time.Unix(1_700_000_000, 0))
		_ = c.Event(&client.Event{Title: "deployed", Text: "one\ntwo", AlertType: client.Warning, Tags: []string{"v:2"}})
		_ = c.ServiceCheck(&client.ServiceCheck{Name: "db.up", Status: client.Critical, Message: "m: no\nanswer"})
		if err := c.Close(); err != nil { // sends what is left
			t.Fatal(err)
		}
		r.stop()
		got := r.out.totals()
		const env = "deployment.environment.name=test"
		for key, want := range map[string]float64{
			"shop.orders{" + env + ",zone=a}": 2 * n, "shop.debt{" + env + "}": -4, "shop.took{" + env + "}": n,
			"shop.size{" + env + "}": n, "shop.width{" + env + "}": n, "shop.users{" + env + "}": 7,
			"shop.old{" + env + "}": 3, "shop.oldgauge{" + env + "}": 4,
			"event deployed one\ntwo{" + env + ",v=2}": 1, "event db.up m: no\nanswer{" + env + "}": 1,
		} {
			if got[key] != want {
				t.Errorf("%s: %s is %v, want %v", listen, key, got[key], want)
			}
			delete(got, key)
		}
		if len(got) != 0 {
			t.Errorf("%s: nobody sent %v", listen, got)
		}
		if tr := r.Trouble(); tr != nil {
			t.Errorf("%s: trouble %q", listen, tr)
		}
		balanced(t, r.Source)
	}
	for _, mode := range []client.Option{client.WithoutClientSideAggregation(), client.WithExtendedClientSideAggregation()} {
		f("udp://127.0.0.1:0", mode)
		f("unixgram://"+filepath.Join(dir, "d.sock"), mode)
		f("unix://"+filepath.Join(dir, "s.sock"), mode)
	}
}

func TestAPortThatIsTakenIsAnErrorWithARemedy(t *testing.T) {
	first := run(t, "udp://127.0.0.1:0", nil)
	f := func(listen string, words ...string) {
		t.Helper()
		s := fed(t, func(c *Config) { c.Listen = []string{"udp://127.0.0.1:0", listen} })
		err := s.Run(t.Context(), &sink{})
		for _, w := range append(words, listen) {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", listen, err, w)
			}
		}
	}
	f(first.Addresses()[0], "another program has the port", "collect.statsd.listen")
	dir := t.TempDir()
	f("unix://"+filepath.Join(dir, "no", "s.sock"), "make the folder first")
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("unixgram://"+plain, "is no socket", "remove it")
	if p, err := os.ReadFile(plain); string(p) != "precious" {
		t.Errorf("the file is now %q, %v", p, err)
	}
	live := run(t, "unixgram://"+filepath.Join(dir, "live.sock"), nil)
	f(live.Addresses()[0], "another program listens there")
	f("unix://"+filepath.Join(dir, "live.sock"), "another program listens there")
}

func TestASocketLeftBehindIsReplacedAndOursIsRemoved(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		path := filepath.Join(t.TempDir(), "x.sock")
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		syscall.Close(fd)
		r := run(t, network+"://"+path, nil)
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o722 {
			t.Errorf("%s: %v, %v", network, info, err)
		}
		r.stop()
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the socket is still there: %v", network, err)
		}
	}
}

func TestAStreamWithAnImpossibleLengthIsClosedAndItsNeighbourIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	r := run(t, "unix://"+path, nil)
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	frame := func(lines string) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(lines))), lines...)
	}
	good, bad, half := dial(), dial(), dial()
	bad.Write(frame("a:1|c"))
	bad.Write([]byte("jobs:1|c\n")) // plain lines
	if n, err := bad.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the connection is still open: %d, %v", n, err)
	}
	half.Write(frame("a:1|c\na:1|c")[:12])
	half.Close()
	good.Write(frame("a:1|c\na:1|c"))
	good.Close()
	r.stop()
	if got := r.out.totals()["a{}"]; got != 4 {
		t.Errorf("%v counted, want 4", got)
	}
	if st := r.Stats(); st.Cut.Load() != 1 || st.Malformed[Truncated].Load() != 1 || st.Connections.Load() != 0 {
		t.Errorf("%d cut, %d truncated, %d open", st.Cut.Load(), st.Malformed[Truncated].Load(), st.Connections.Load())
	}
	if tr := r.Trouble(); len(tr) != 2 || !slices.ContainsFunc(tr, func(s string) bool { return strings.Contains(s, "frames wrongly") }) {
		t.Errorf("trouble %q", tr)
	}
	balanced(t, r.Source)
}

func TestFlushesLieOnMultiplesOfTheIntervalAndTheLastOneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fed(t, nil)
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		out := &sink{}
		done := make(chan error)
		start := time.Now()
		go func() { done <- s.serve(ctx, nil, out) }()
		synctest.Wait()
		for range 2 {
			s.feed("n:1|c")
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		s.feed("n:5|c\nbad")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		var got []int64
		for _, b := range out.batches {
			for _, x := range b.Samples {
				got = append(got, x.Start-start.UnixMilli(), x.Time-start.UnixMilli(), int64(x.Value))
			}
		}
		if want := []int64{0, 7000, 1, 7000, 17000, 1, 17000, 20000, 5}; !slices.Equal(got, want) {
			t.Errorf("start, time and value are %v, want %v", got, want)
		}
		balanced(t, s)
	})
}

func TestWhatTheSinkRefusesIsCountedAsLost(t *testing.T) {
	s := fed(t, nil)
	s.feed("n:1|c\n_sc|x|0")
	s.flush(t.Context(), 10_000, nil, &sink{err: errors.New("full")})
	if st := &s.stats; st.Lost.Load() != 2 || st.Items.Load() != 0 {
		t.Errorf("%d lost, %d given", st.Lost.Load(), st.Items.Load())
	}
	balanced(t, s)
}

func TestTroubleIsLoggedWhenItComesAndWhenItGoes(t *testing.T) {
	var log strings.Builder
	s := New(fed(t, nil).conf, slog.New(slog.NewTextHandler(&log, nil)))
	for _, packet := range []string{"x:1|q", "x:1|q", "x:1|c", "x:1|c"} {
		s.feed(packet)
		s.flush(t.Context(), 10_000, nil, &sink{})
	}
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "for its type") {
		t.Errorf("%d lines of log:\n%s", n, log.String())
	}
}

// FuzzFrames: whatever a stream says, each frame's lines count as if they had
// come in a datagram, however the stream is cut into reads, and it ends with an
// error only at a length that cannot be.
func FuzzFrames(f *testing.F) {
	frame := func(lines string) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, uint32(len(lines))), lines...)
	}
	f.Add(slices.Concat(frame("a:1|c\na:2|c"), frame("b:1|g"), frame("")))
	f.Add(frame("a:1|c\na:1|c")[:12])
	f.Add([]byte("jobs:1|c\n"))
	f.Add([]byte{0xff, 0xff, 0, 0, 'a'})
	f.Add([]byte{0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		want, bad := fed(t, nil), false
		for rest := p; len(rest) >= 4 && !bad; {
			n := int(binary.LittleEndian.Uint32(rest))
			if bad = n > packetSize; bad {
				break
			}
			rest = rest[4:]
			lines, cut := rest[:min(n, len(rest))], n > len(rest)
			want.table.take(1, func(int) ([]byte, bool) { return lines, cut })
			rest = rest[len(lines):]
		}
		metrics := func(s *Source) string { // an event's time may be that of its coming
			samples, _, _ := s.table.flush(10_000)
			return signal.Format(&signal.Batch{Kind: signal.Metric, Samples: samples})
		}
		wanted := metrics(want)
		for _, r := range []io.Reader{bytes.NewReader(p), iotest.OneByteReader(bytes.NewReader(p)), iotest.DataErrReader(bytes.NewReader(p))} {
			s := fed(t, nil)
			if err := readFrames(r, s.table); (err != nil) != bad {
				t.Fatalf("%v, want an error: %v", err, bad)
			}
			balanced(t, s)
			if a, b := s.stats.Packets.Load(), want.stats.Packets.Load(); a != b {
				t.Errorf("%d frames, want %d", a, b)
			}
			if got := metrics(s); got != wanted {
				t.Errorf("got\n%swant\n%s", got, wanted)
			}
		}
	})
}
