package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func inletOf(networks ...string) Inlet {
	return Inlet{
		Networks: networks, Host: "127.0.0.1:5514", Path: "/run/causeway/x.sock", Key: "collect.x",
		Taken: func(network string) string { return "somebody has the " + network },
	}
}

func TestAnAddressIsParsedOrTheErrorSaysWhatToWrite(t *testing.T) {
	in := inletOf("udp", "tcp", "tls", "unixgram")
	long := "/" + strings.Repeat("x", 107)
	for text, want := range map[string]string{
		"udp://:514":             "",
		"tcp://[::1]:1":          "",
		"tls://host:name":        "",
		"unixgram:///x":          "",
		"unixgram://" + long:     `"unixgram://` + long + `" has no absolute path of at most 107 bytes: write unixgram:///run/causeway/x.sock`,
		"unixgram://x":           `"unixgram://x" has no absolute path of at most 107 bytes: write unixgram:///run/causeway/x.sock`,
		"tls://x":                `"tls://x" has no host:port: write tls://127.0.0.1:5514`,
		"514":                    `must be udp://host:port, tcp://host:port, tls://host:port or unixgram:///path, not "514"`,
		"unix:///x":              `must be udp://host:port, tcp://host:port, tls://host:port or unixgram:///path, not "unix:///x"`,
		"UDP://:514":             `must be udp://host:port, tcp://host:port, tls://host:port or unixgram:///path, not "UDP://:514"`,
		"unixgram://" + long[1:]: `"unixgram://` + long[1:] + `" has no absolute path of at most 107 bytes: write unixgram:///run/causeway/x.sock`,
	} {
		a, err := in.Parse(text)
		if want == "" && (err != nil || a.String() != text) || want != "" && (err == nil || err.Error() != want || a != Address{}) {
			t.Errorf("%q is %v, %v\nwant %s", text, a, err, want)
		}
	}
	if a, err := in.Parse("unixgram://" + long[:107]); err != nil || a.At != long[:107] {
		t.Errorf("107 bytes: %v, %v", a, err)
	}
}

func TestCheckComplainsOfEachAddressAndKeepsTheGoodOnes(t *testing.T) {
	good, errs := inletOf("udp", "tls").Check([]string{"x", "udp://:1", "tls://:2", "udp://:1", "x"})
	text := errors.Join(errs...).Error()
	for i, want := range []string{`listen[0]: must be `, `listen[3]: "udp://:1" is there already`, `listen[4]: must be `, `listen[4]: "x" is there already`} {
		if lines := strings.Split(text, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Errorf("complaint %d does not begin with %s:\n%s", i, want, text)
		}
	}
	if fmt.Sprint(good) != "[udp://:1 tls://:2 udp://:1]" {
		t.Errorf("good are %v", good)
	}
}

func TestACertificateFitsTheAddresses(t *testing.T) {
	open, encrypted := []Address{{"tcp", ":1"}}, []Address{{"tcp", ":1"}, {"tls", ":2"}}
	f := func(c ServerTLS, as []Address, want string) {
		t.Helper()
		if text := fmt.Sprint(c.Check(as)); !strings.HasPrefix(text, want) {
			t.Errorf("%+v for %v: %s, want %s", c, as, text, want)
		}
	}
	f(ServerTLS{}, open, "<nil>")
	f(ServerTLS{CertFile: "c", KeyFile: "k", ClientCA: "a"}, encrypted, "<nil>")
	f(ServerTLS{CertFile: "c"}, encrypted, "tls.cert_file: a certificate and its key_file")
	f(ServerTLS{KeyFile: "k"}, open, "tls.cert_file: a certificate and its key_file")
	f(ServerTLS{ClientCA: "a"}, encrypted, "tls.cert_file: must be set for tls://")
	f(ServerTLS{CertFile: "c", KeyFile: "k"}, open, "tls: is set, and no address")
	f(ServerTLS{ClientCA: "a"}, open, "tls: is set, and no address")
}

func TestListenFailsWithARemedyAndLeavesNothingOpen(t *testing.T) {
	in := inletOf("udp", "tcp", "tls", "unix", "unixgram")
	dir := t.TempDir()
	plain, live, first := filepath.Join(dir, "plain"), filepath.Join(dir, "live"), filepath.Join(dir, "first")
	if err := os.WriteFile(plain, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	others, err := in.Listen(t.Context(), []string{"tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unixgram://" + live}, ServerTLS{})
	if err != nil {
		t.Fatal(err)
	}
	f := func(listen string, words ...string) {
		t.Helper()
		ks, err := in.Listen(t.Context(), []string{"unix://" + first, listen}, ServerTLS{})
		for _, w := range append(words, "listen at "+listen+": ") {
			if ks != nil || err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, %v does not say %q", listen, ks, err, w)
			}
		}
		if _, err := os.Lstat(first); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: its neighbour is still there: %v", listen, err)
		}
	}
	f(others[0].Bound, "somebody has the tcp")
	f(others[1].Bound, "somebody has the udp")
	f(others[2].Bound, "somebody has the unixgram")
	f("unix://"+live, "somebody has the unix: ", "of another sort")
	f("unix://"+plain, "is no socket: remove it")
	f("tcp://192.0.2.1:0", "this machine has no such address: set one it has in collect.x, or 0.0.0.0") // RFC 5737
	f("unix://"+filepath.Join(dir, "no", "x"), "make the folder first")
	if p, err := os.ReadFile(plain); string(p) != "precious" {
		t.Errorf("the file is now %q, %v", p, err)
	}
	for _, k := range others {
		k.Close()
	}
	if err := in.remedy(Address{"tcp", ":1"}, os.ErrPermission); !strings.Contains(err.Error(), "choose a port above 1023") {
		t.Error(err)
	}
	if _, err := in.Listen(t.Context(), nil, ServerTLS{CertFile: plain, KeyFile: plain}); err == nil || !strings.HasPrefix(err.Error(), "tls.cert_file: ") {
		t.Errorf("a certificate that is none: %v", err)
	}
}

func TestASocketLeftBehindIsReplacedAndOursIsRemoved(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		path := filepath.Join(t.TempDir(), "s")
		left, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
		if err != nil {
			t.Fatal(err)
		}
		left.Close() // the file of a socket of datagrams stays
		ks, err := inletOf(network).Listen(t.Context(), []string{network + "://" + path}, ServerTLS{})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o722 {
			t.Errorf("%s: %v, %v", network, info, err)
		}
		if k := ks[0]; (k.Stream != nil) != (network == "unix") || (k.Packets != nil) != (network == "unixgram") {
			t.Errorf("%s has %v, %v", network, k.Stream, k.Packets)
		}
		ks[0].Close()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the socket is still there: %v", network, err)
		}
	}
}

// pipes is a listener whose connections are given to it.
type pipes struct {
	give chan any // net.Conn or error
	end  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case v := <-p.give:
		if err, ok := v.(error); ok {
			return nil, err
		}
		return v.(net.Conn), nil
	case <-p.end:
		return nil, os.ErrDeadlineExceeded
	}
}
func (p *pipes) SetDeadline(at time.Time) error {
	time.AfterFunc(time.Until(at), func() { close(p.end) })
	return nil
}
func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return nil }

func TestAcceptServesUntilTheGoodbyeAndWaitsForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{give: make(chan any), end: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var open atomic.Int64
		refused, served := 0, make(chan []byte, 10)
		done := make(chan error, 1)
		go func() {
			done <- (&Socket{Stream: p}).Accept(ctx, &open, func() { refused++ }, func(c net.Conn) {
				b, _ := io.ReadAll(c)
				served <- b
			})
		}()
		dial := func() net.Conn {
			ours, theirs := net.Pipe()
			p.give <- theirs
			synctest.Wait()
			return ours
		}
		p.give <- fmt.Errorf("accept: %w", syscall.EMFILE) // takes nothing down
		a := dial()
		if n := open.Load(); n != 1 {
			t.Errorf("%d connections are open", n)
		}
		open.Add(MaxConnections - 2)
		b := dial()
		above := dial()
		if _, err := above.Read(make([]byte, 1)); err != io.EOF || refused != 1 || open.Load() != MaxConnections {
			t.Errorf("one too many: %v, %d refused, %d open", err, refused, open.Load())
		}
		b.Close()
		<-served
		cancel()
		synctest.Wait()
		c := dial() // it had to wait to be accepted
		io.WriteString(c, "late")
		c.Close()
		if got := <-served; string(got) != "late" {
			t.Errorf("read %q", got)
		}
		<-p.end
		synctest.Wait()
		select {
		case err := <-done:
			t.Errorf("Accept did not wait for a connection: %v", err)
		default:
		}
		a.Close()
		if err := <-done; err != nil || open.Load() != MaxConnections-2 {
			t.Errorf("%v, %d open", err, open.Load())
		}
	})
}

func TestAcceptReturnsWhyASocketFails(t *testing.T) {
	p := &pipes{give: make(chan any, 1)}
	p.give <- syscall.EINVAL
	if err := (&Socket{Stream: p}).Accept(t.Context(), new(atomic.Int64), nil, nil); !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}

func TestAConnectionWithoutTLSIsItself(t *testing.T) {
	c, _ := net.Pipe()
	if got, err := new(Socket).Secure(t.Context(), c); got != c || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestATroubleThatHasPassedIsRememberedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &Troubles{Log: slog.New(slog.DiscardHandler)}
		f := func(want ...string) {
			t.Helper()
			if got := tr.Lately(); !slices.Equal(got, want) {
				t.Errorf("%q", got)
			}
		}
		tr.Set(1, "drops")
		f("drops")
		tr.Set(1, "")
		time.Sleep(time.Minute)
		tr.Set(0, "bad lines")
		f("bad lines", "drops (over since 1m0s)")
		time.Sleep(lately)
		f("bad lines")
	})
}

func TestTroubleIsLoggedWhenItComesAndWhenItGoes(t *testing.T) {
	var log strings.Builder
	tr := Troubles{Log: slog.New(slog.NewTextHandler(&log, nil)), Began: "began", Ended: "ended"}
	if tr.List() != nil {
		t.Error("there is trouble before any")
	}
	for _, text := range []string{"", "a", "b"} {
		tr.Set(2, text)
	}
	tr.Set(0, "c")
	if got := tr.List(); !slices.Equal(got, []string{"c", "b"}) {
		t.Errorf("%q", got)
	}
	tr.Set(2, "")
	tr.Set(2, "")
	tr.Set(0, "")
	if tr.List() != nil {
		t.Errorf("%q", tr.List())
	}
	var got []string
	for _, l := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		_, text, _ := strings.Cut(l, "level=")
		got = append(got, text)
	}
	if want := []string{"WARN msg=began what=a", "WARN msg=began what=c", "INFO msg=ended was=b", "INFO msg=ended was=c"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
