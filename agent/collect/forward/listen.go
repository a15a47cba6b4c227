package forward

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxConnections = 1000
	handshake      = 10 * time.Second
	answer         = 10 * time.Second // in which a sender must take an acknowledgement
)

// listener is one address that is listened at.
type listener struct {
	net.Listener
	address address
	secure  *tls.Config // nil: not encrypted
}

// bind listens at every address, or at none and returns why.
func (s *Source) bind(ctx context.Context) ([]*listener, error) {
	secure, err := s.conf.TLS.config()
	if err != nil {
		return nil, err
	}
	var ls []*listener
	var bound []string
	for _, text := range s.conf.Listen {
		a, err := parseAddress(text)
		if err != nil {
			panic("BUG: a Config that was not checked: " + err.Error())
		}
		l := &listener{address: a}
		if a.network == "tls" {
			l.secure = secure
		}
		if err := l.open(ctx); err != nil {
			for _, l := range ls {
				l.Close()
			}
			return nil, bindError(a, err)
		}
		ls = append(ls, l)
		bound = append(bound, a.network+"://"+l.Addr().String())
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

func bindError(a address, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %v: another program listens there, perhaps Fluentd or Fluent Bit: "+
			"stop it, or set another address in collect.logs.forward: %w", a, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %v: this machine has no such address: set one it has in collect.logs.forward, or 0.0.0.0: %w", a, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listen at %v: not allowed: choose a port above 1023, or a folder that the agent may write to: %w", a, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("listen at %v: make the folder first: %w", a, err)
	}
	return fmt.Errorf("listen at %v: %w", a, err)
}

// config returns what c asks for, nil for connections that are not encrypted.
func (c TLS) config() (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca: %w", err)
		}
		t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.client_ca: %s holds no PEM certificate", c.ClientCA)
		}
	}
	return t, nil
}

func (l *listener) open(ctx context.Context) (err error) {
	if l.address.network != "unix" {
		l.Listener, err = new(net.ListenConfig).Listen(ctx, "tcp", l.address.at)
		return err
	}
	if err := clearPath(ctx, l.address.at); err != nil {
		return err
	}
	if l.Listener, err = new(net.ListenConfig).Listen(ctx, "unix", l.address.at); err != nil {
		return err
	}
	// Programs of any user write to it; nobody else lists it.
	if err := os.Chmod(l.address.at, 0o722); err != nil {
		l.Close()
		return err
	}
	return nil
}

// clearPath removes a socket that a dead process left behind. What is no
// socket, or has a listener, stays.
func clearPath(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: remove it: %w", path, syscall.EADDRINUSE)
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket there is in use, or of another sort: %v: %w", err, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// accept serves connections until ctx ends, and after that those which wait to
// be accepted.
func (l *listener) accept(ctx context.Context, b *batcher) error {
	deadline := l.Listener.(interface{ SetDeadline(time.Time) error }) // *net.TCPListener, *net.UnixListener
	defer context.AfterFunc(ctx, func() { deadline.SetDeadline(time.Now().Add(goodbye)) })()
	st := &b.s.stats
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			time.Sleep(100 * time.Millisecond) // others hold the descriptors; they will let go
			continue
		case err != nil:
			return err
		}
		if st.Connections.Add(1) > maxConnections {
			st.Connections.Add(-1)
			st.Refused.Add(1)
			c.Close()
			continue
		}
		wg.Go(func() {
			defer st.Connections.Add(-1)
			defer c.Close()
			l.serve(ctx, c, b)
		})
	}
}

// serve reads one connection to its end.
func (l *listener) serve(ctx context.Context, c net.Conn, b *batcher) {
	st := &b.s.stats
	if l.secure != nil {
		t := tls.Server(c, l.secure)
		hctx, cancel := context.WithTimeout(ctx, handshake)
		err := t.HandshakeContext(hctx)
		cancel()
		if err != nil {
			st.Denied.Add(1)
			return
		}
		c = t
	}
	r := bufio.NewReaderSize(c, 16<<10)
	if key := b.s.conf.SharedKey.Reveal(); key != "" {
		c.SetDeadline(time.Now().Add(handshake))
		if err := greet(r, c, key); err != nil {
			st.Denied.Add(1)
			return
		}
		c.SetDeadline(time.Time{})
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(goodbye)) })()
	x := &conn{b: b, r: r, w: answerer{c}}
	for {
		switch err := x.next(); {
		case err == nil:
		case errors.Is(err, errBusy):
			st.Refused.Add(1)
			return
		case errors.Is(err, errProtocol), errors.Is(err, errMsgpack), errors.Is(err, errTooLong):
			st.Bad.Add(1)
			return
		default: // the end, or the Sink, or a sender that takes no acknowledgement
			return
		}
	}
}

// answerer writes with a deadline.
type answerer struct{ net.Conn }

func (a answerer) Write(p []byte) (int, error) {
	a.SetWriteDeadline(time.Now().Add(answer))
	return a.Conn.Write(p)
}

var errDenied = errors.New("the sender does not know shared_key")

// greet shakes hands: HELO with a nonce, PING with a digest that only who knows
// the key can make, PONG with ours.
func greet(r *bufio.Reader, w io.Writer, key string) error {
	nonce := rand.Text()
	hello := append([]byte{0x92}, packText(nil, "HELO")...)
	hello = append(hello, 0x83)
	hello = packText(packText(hello, "nonce"), nonce)
	hello = packText(packText(hello, "auth"), "")
	hello = packBool(packText(hello, "keepalive"), true)
	if _, err := w.Write(hello); err != nil {
		return err
	}
	p, err := copyValue(nil, r, 64<<10, func(int) bool { return true })
	if err != nil {
		return err
	}
	d := decoder{p: p}
	if !isArray(d.peek()) || d.count(false) != 6 || string(d.text()) != "PING" {
		return errProtocol
	}
	host, salt, digest := string(d.text()), string(d.text()), d.text()
	if d.bad {
		return errProtocol
	}
	ok := subtle.ConstantTimeCompare(digest, []byte(digestOf(salt, host, nonce, key))) == 1
	// Fluentd takes a server of its own name for itself, and refuses it.
	own, _ := os.Hostname()
	own = "causeway." + own
	reason, mine := "", digestOf(salt, own, nonce, key)
	if !ok {
		reason, mine = "shared_key mismatch", ""
	}
	pong := packBool(packText([]byte{0x95}, "PONG"), ok)
	pong = packText(packText(packText(pong, reason), own), mine)
	if _, err := w.Write(pong); err != nil {
		return err
	}
	if !ok {
		return errDenied
	}
	return nil
}

func digestOf(parts ...string) string {
	h := sha512.New()
	for _, p := range parts {
		io.WriteString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
