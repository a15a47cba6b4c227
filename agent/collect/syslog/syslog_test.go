package syslog

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// sink keeps the lines it is given, or refuses them.
type sink struct {
	mu    sync.Mutex
	lines []string // stream, level, text and labels
	ids   map[string]bool
	err   error
	gate  chan struct{} // if not nil, each Put waits for it
	got   chan int      // told of the lines of each Put
}

func newSink() *sink { return &sink{ids: map[string]bool{}, got: make(chan int, 1000)} }

func (s *sink) Put(ctx context.Context, b *signal.Batch) error {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	for l := range b.LinesIn(0, b.Len()) {
		id := fmt.Sprint(l.Block.File, l.ID)
		if s.ids[id] || l.ID >= l.Block.End {
			return fmt.Errorf("BUG: the id %s comes twice", id)
		}
		s.ids[id] = true
		s.lines = append(s.lines, fmt.Sprintf("%s %d %s %s", labels(l.Block.Stream.Labels()), l.Level, l.Text, labels(string(l.Attrs))))
	}
	s.got <- b.Len()
	return nil
}

// wait waits until n lines more have arrived, and returns all in order.
func (s *sink) wait(t *testing.T, n int) []string {
	t.Helper()
	for n > 0 {
		select {
		case k := <-s.got:
			n -= k
		case <-t.Context().Done():
			t.Fatal("the lines did not come")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.lines)
	slices.Sort(list)
	return list
}

func labels(set string) string {
	var w []string
	for k, v := range signal.Walk(set) {
		w = append(w, k+"="+v)
	}
	return "{" + strings.Join(w, " ") + "}"
}

// start runs a Source that listens at the given addresses.
func start(t *testing.T, c Config, out *sink) (s *Source, stop func()) {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s = New(c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ls, err := s.bind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, ls, out) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		st := s.Stats()
		if st.Messages.Load() != st.Lines.Load()+st.Empty.Load() || st.Lines.Load() != st.Items.Load()+st.Lost.Load() {
			t.Errorf("the books do not balance: %d messages, %d lines, %d empty, %d items, %d lost",
				st.Messages.Load(), st.Lines.Load(), st.Empty.Load(), st.Items.Load(), st.Lost.Load())
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func dial(t *testing.T, s *Source, i int) net.Conn {
	t.Helper()
	network, at, _ := strings.Cut(s.Addresses()[i], "://")
	c, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesArriveFromEverywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	out := newSink()
	s, _ := start(t, Config{Listen: []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0", "unixgram://" + path}, Tags: []string{"team:infra"}}, out)
	write(t, dial(t, s, 0), "<34>1 2026-11-23T13:21:01.5Z web01 su 42 ID47 [ex@1 k=\"v\"] by UDP")
	tcp := dial(t, s, 1)
	write(t, tcp, "<11>Nov 23 13:21:01 web02 cron[7]: by TCP\n31 <30>dhcpd: by TCP with a length")
	write(t, dial(t, s, 2), "<6>app: by Unix")
	want := []string{
		"{log.source=app service.name=app team=infra} 6 by Unix {syslog.appname=app syslog.facility=kern}",
		"{log.source=cron service.name=cron source.address=127.0.0.1 team=infra} 3 by TCP " +
			"{syslog.appname=cron syslog.facility=user syslog.hostname=web02 syslog.procid=7}",
		"{log.source=dhcpd service.name=dhcpd source.address=127.0.0.1 team=infra} 6 by TCP with a length {syslog.appname=dhcpd syslog.facility=daemon}",
		"{log.source=su service.name=su source.address=127.0.0.1 team=infra} 2 by UDP " +
			"{ex@1.k=v syslog.appname=su syslog.facility=auth syslog.hostname=web01 syslog.msgid=ID47 syslog.procid=42}",
	}
	if got := out.wait(t, 4); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheConfigurationNamesTheService(t *testing.T) {
	out := newSink()
	s, _ := start(t, Config{Listen: []string{"tcp://127.0.0.1:0"}, Service: "shop", Source: "nginx"}, out)
	write(t, dial(t, s, 0), "<11>app: text\n")
	want := "{log.source=nginx service.name=shop source.address=127.0.0.1} 3 text {syslog.appname=app syslog.facility=user}"
	if got := out.wait(t, 1); got[0] != want {
		t.Errorf("got  %s\nwant %s", got[0], want)
	}
	// Then programs make no streams.
	b := s.newBatcher(t.Context(), out)
	for i := range 10 {
		b.take(logline.NewParser(logline.Syslog), fmt.Appendf(nil, "<1>a%d: x", i), 0, netip.Addr{}, 1)
	}
	if len(b.streams) != 1 {
		t.Errorf("%d streams", len(b.streams))
	}
	b.flush()
}

func TestMessagesThatAreNone(t *testing.T) {
	out := newSink()
	s, stop := start(t, Config{Listen: []string{"tcp://127.0.0.1:0"}, MaxMessage: 1 << 10}, out)
	write(t, dial(t, s, 0), "hello\n<34>\n<34>1 - - - - - -\n<13>a: \xff\xfe\n<13>a: "+strings.Repeat("x", 2000)+"\n")
	got := out.wait(t, 3)
	stop()
	want := []string{
		"{log.source=a service.name=a source.address=127.0.0.1} 5 " + strings.Repeat("x", 1024-7) + " {log.cut=983 syslog.appname=a syslog.facility=user}",
		"{log.source=a service.name=a source.address=127.0.0.1} 5 \uFFFD {syslog.appname=a syslog.facility=user}",
		"{source.address=127.0.0.1} 255 hello {}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	st := s.Stats()
	if st.Malformed.Load() != 1 || st.Empty.Load() != 2 || st.Repaired.Load() != 1 || st.Cut.Load() != 1 || st.CutBytes.Load() != 983 {
		t.Errorf("malformed %d, empty %d, repaired %d, cut %d by %d", st.Malformed.Load(), st.Empty.Load(), st.Repaired.Load(), st.Cut.Load(), st.CutBytes.Load())
	}
}

// A sender by TCP is held up by a Sink that takes nothing, and loses nothing.
func TestAFullSinkHoldsUpTheSender(t *testing.T) {
	out := newSink()
	out.gate = make(chan struct{})
	s, stop := start(t, Config{Listen: []string{"tcp://127.0.0.1:0"}}, out)
	c := dial(t, s, 0)
	line := "<13>a: " + strings.Repeat("x", 1000) + "\n"
	// More than all the buffers between hold: a write runs into its deadline.
	c.SetWriteDeadline(time.Now().Add(time.Second))
	sent, n := 0, 0
	var err error
	for ; err == nil && sent < 1_000_000; sent++ {
		n, err = io.WriteString(c, line)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d lines were taken while the Sink took none: %v", sent, err)
	}
	if got := s.Stats().Messages.Load(); got > 2*batchLines {
		t.Errorf("%d messages were read while the Sink took none", got)
	}
	close(out.gate)
	c.SetWriteDeadline(time.Time{})
	write(t, c, line[n:])
	c.Close()
	out.wait(t, sent)
	stop()
	if got := s.Stats().Items.Load(); got != int64(sent) {
		t.Errorf("%d lines of %d arrived", got, sent)
	}
}

func TestWhatTheSinkRefusesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Listen: []string{"udp://x:1"}}, slog.New(slog.DiscardHandler))
		out := newSink()
		out.err = errors.New("closed")
		b := s.newBatcher(t.Context(), out)
		b.take(logline.NewParser(logline.Syslog), []byte("<1>a"), 0, netip.Addr{}, 1)
		b.flush()
		if s.Stats().Lost.Load() != 1 || s.Stats().Items.Load() != 0 {
			t.Error("a line that the Sink refused is not lost")
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	s := New(Config{Listen: []string{"udp://x:1"}}, slog.New(slog.DiscardHandler))
	out := newSink()
	b := s.newBatcher(t.Context(), out)
	p := logline.NewParser(logline.Syslog)
	for i := range maxStreams + 10 {
		b.take(p, fmt.Appendf(nil, "<1>a%d: x", i), 0, netip.Addr{}, 1)
	}
	b.flush()
	if got := s.Stats().Folded.Load(); got != 10 || len(b.streams) != maxStreams {
		t.Errorf("%d lines folded, %d streams; want 10, %d", got, len(b.streams), maxStreams)
	}
	late := int64(forget) * 2
	b.take(p, []byte("<1>new: x"), 0, netip.Addr{}, late)
	if got := s.Stats().Folded.Load(); got != 10 || len(b.streams) != 1 {
		t.Errorf("streams of ten minutes ago are still there: %d", len(b.streams))
	}
}

func TestAFullBatchDoesNotWait(t *testing.T) {
	s := New(Config{Listen: []string{"udp://x:1"}}, slog.New(slog.DiscardHandler))
	out := newSink()
	b := s.newBatcher(t.Context(), out)
	p := logline.NewParser(logline.Syslog)
	for range batchLines {
		b.take(p, []byte("<1>a: x"), 0, netip.Addr{}, 1)
	}
	if n := <-out.got; n != batchLines {
		t.Errorf("%d lines", n)
	}
}

func TestLinesThatWaitAreHandedOverAtTheEnd(t *testing.T) {
	out := newSink()
	s, stop := start(t, Config{Listen: []string{"tcp://127.0.0.1:0", "udp://127.0.0.1:0"}}, out)
	write(t, dial(t, s, 0), "<1>a\n<2>half")
	write(t, dial(t, s, 1), "<3>datagram")
	stop()
	if got := s.Stats().Items.Load(); got != 3 {
		t.Errorf("%d lines, want 3", got)
	}
}

func TestDatagramsTheKernelDropsAreCounted(t *testing.T) {
	s := New(Config{Listen: []string{"udp://127.0.0.1:0"}, Buffer: 4 << 10}, slog.New(slog.DiscardHandler))
	ls, err := s.bind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ls[0].close()
	c := dial(t, s, 0)
	for range 100 { // nobody reads
		write(t, c, strings.Repeat("x", 1000))
	}
	s.watch(ls)
	if n := s.Stats().Dropped.Load(); n == 0 || n >= 100 {
		t.Errorf("%d dropped", n)
	}
	if tr := s.Trouble(); len(tr) != 1 || !strings.Contains(tr[0], "raise buffer") {
		t.Errorf("trouble: %q", tr)
	}
	s.watch(ls)
	if tr := s.Trouble(); len(tr) != 0 {
		t.Errorf("trouble after nothing more was dropped: %q", tr)
	}
}

func TestTLS(t *testing.T) {
	cert, key, pool := certificate(t)
	out := newSink()
	s, stop := start(t, Config{Listen: []string{"tls://127.0.0.1:0"}, TLS: TLS{CertFile: cert, KeyFile: key, ClientCA: cert}}, out)
	_, at, _ := strings.Cut(s.Addresses()[0], "://")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	write(t, plain, "<1>a plain sender\n")
	io.ReadAll(plain) // until it is closed
	plain.Close()
	if c, err := tls.Dial("tcp", at, &tls.Config{RootCAs: pool}); err == nil { // TLS 1.3 tells of it at the first read
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("a sender without a certificate was let in")
		}
		c.Close()
	}
	c, err := tls.Dial("tcp", at, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, c, "<1>a: secret\n")
	c.Close()
	if got := out.wait(t, 1); !strings.Contains(got[0], "secret") {
		t.Errorf("%q", got)
	}
	stop()
	if got := s.Stats().Handshakes.Load(); got != 2 {
		t.Errorf("%d handshakes failed, want 2", got)
	}
}

// certificate makes a certificate that is its own authority, in files.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, typ string, p []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: p}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certFile, keyFile = file("cert.pem", "CERTIFICATE", der), file("key.pem", "PRIVATE KEY", secret)
	pool = x509.NewCertPool()
	text, _ := os.ReadFile(certFile)
	pool.AppendCertsFromPEM(text)
	return certFile, keyFile, pool
}

func TestASocketFileThatIsInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	try := func() error {
		s := New(Config{Listen: []string{"unixgram://" + path}}, slog.New(slog.DiscardHandler))
		ls, err := s.bind(t.Context())
		for _, l := range ls {
			l.close()
		}
		return err
	}
	if err := try(); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("a socket somebody listens at: %v", err)
	}
	left.Close() // a unixgram socket's file stays
	if err := try(); err != nil {
		t.Errorf("a socket that is left over: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := try(); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
}

func TestConfigComplaints(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		text := fmt.Sprint(c.Check())
		if len(want) == 0 && text != "<nil>" {
			t.Errorf("%+v: %s", c, text)
		}
		for _, w := range want {
			if !strings.Contains("\n"+text, "\n"+w) {
				t.Errorf("%+v: %s\nhas no complaint that begins with %s", c, text, w)
			}
		}
	}
	f(Config{}, "listen: ")
	f(Config{Listen: []string{"udp://:514", "tcp://[::1]:1", "unixgram:///x"}})
	f(Config{Listen: []string{"514", "udp://x", "unixgram://x", "udp://x"}}, "listen[0]: ", "listen[1]: ", "listen[2]: ", "listen[3]: \"udp://x\" is there")
	f(Config{Listen: []string{"udp://:1"}, Tags: []string{"a:b", "c"}, MaxMessage: 1, Buffer: 1}, "tags[1]: ", "max_message: ", "buffer: ")
	f(Config{Listen: []string{"tls://:1"}}, "tls.cert_file: must be set")
	f(Config{Listen: []string{"tls://:1"}, TLS: TLS{CertFile: "a"}}, "tls.cert_file: a certificate and")
	f(Config{Listen: []string{"tcp://:1"}, TLS: TLS{CertFile: "a", KeyFile: "b"}}, "tls: is set")
}

func BenchmarkTake(b *testing.B) {
	s := New(Config{Listen: []string{"udp://x:1"}}, slog.New(slog.DiscardHandler))
	bt := s.newBatcher(b.Context(), discard{})
	p := logline.NewParser(logline.Syslog)
	msg := []byte("<34>1 2026-11-23T13:21:01.5Z web01 su 42 ID47 [ex@1 k=\"v\"] " + strings.Repeat("x", 150))
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		bt.take(p, msg, 0, netip.Addr{}, 1_795_000_000_000_000_000)
	}
}

type discard struct{}

func (discard) Put(context.Context, *signal.Batch) error { return nil }
