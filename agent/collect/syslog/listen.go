package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
)

const (
	maxConnections = 1000
	handshake      = 10 * time.Second
	packetSize     = 1 << 16 // the largest datagram is shorter
)

// listener is one address that is listened at.
type listener struct {
	address address
	secure  *tls.Config   // nil: not encrypted
	udp     *net.UDPConn  // one of these three
	unix    *net.UnixConn //
	stream  *net.TCPListener
	max     int    // bytes of a message
	buffer  int    // bytes that the kernel granted
	drops   uint32 // the kernel's count at the last look
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
		l := &listener{address: a, max: int(s.conf.MaxMessage)}
		if a.network == "tls" {
			l.secure = secure
		}
		at, err := l.open(ctx, int(s.conf.Buffer))
		if err != nil {
			for _, l := range ls {
				l.close()
			}
			return nil, bindError(a, err)
		}
		ls = append(ls, l)
		bound = append(bound, a.network+"://"+at)
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

func bindError(a address, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %v: another program listens there, perhaps a syslog daemon: stop it, or set another address in collect.logs.syslog: %w", a, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %v: this machine has no such address: set one it has in collect.logs.syslog, or 0.0.0.0: %w", a, err)
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

// open listens, and returns the address with the port the kernel chose.
func (l *listener) open(ctx context.Context, buffer int) (string, error) {
	switch l.address.network {
	case "udp":
		c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", l.address.at)
		if err != nil {
			return "", err
		}
		l.udp = c.(*net.UDPConn)
		l.buffer = setBuffer(l.udp, buffer)
		return l.udp.LocalAddr().String(), nil
	case "unixgram":
		if err := clearPath(ctx, l.address.at); err != nil {
			return "", err
		}
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: l.address.at})
		if err != nil {
			return "", err
		}
		l.unix = c
		// Programs of any user write to it, as to /dev/log; nobody else reads it.
		if err := os.Chmod(l.address.at, 0o722); err != nil {
			l.close()
			return "", err
		}
		return l.address.at, nil
	}
	c, err := new(net.ListenConfig).Listen(ctx, "tcp", l.address.at)
	if err != nil {
		return "", err
	}
	l.stream = c.(*net.TCPListener)
	return c.Addr().String(), nil
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
	c, err := new(net.Dialer).DialContext(ctx, "unixgram", path)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket there is in use, or of another sort: %v: %w", err, syscall.EADDRINUSE)
	}
	return os.Remove(path)
}

// close ends listening. Nobody reads any more.
func (l *listener) close() {
	if l.udp != nil {
		l.udp.Close()
	}
	if l.unix != nil {
		l.unix.Close()
		os.Remove(l.address.at)
	}
	if l.stream != nil {
		l.stream.Close()
	}
}

// read gives b everything that arrives until ctx ends, and then what the kernel
// has taken already. It returns an error if the socket fails.
func (l *listener) read(ctx context.Context, b *batcher) error {
	switch {
	case l.udp != nil:
		return l.datagrams(ctx, b, l.udp, func(p []byte) (int, netip.Addr, error) {
			n, from, err := l.udp.ReadFromUDPAddrPort(p)
			return n, from.Addr().Unmap().WithZone(""), err
		})
	case l.unix != nil:
		return l.datagrams(ctx, b, l.unix, func(p []byte) (int, netip.Addr, error) {
			n, err := l.unix.Read(p)
			return n, netip.Addr{}, err
		})
	}
	return l.accept(ctx, b)
}

// datagrams takes each as one message. When ctx ends it reads on for as long as
// there is something to read, at most for the time of a goodbye.
func (l *listener) datagrams(ctx context.Context, b *batcher, c net.Conn, read func([]byte) (int, netip.Addr, error)) error {
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(goodbye)) })()
	p := make([]byte, packetSize)
	parser := logline.NewParser(logline.Syslog)
	for {
		n, from, err := read(p)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		cut := max(0, n-l.max)
		if cut > 0 {
			b.s.stats.Cut.Add(1)
			b.s.stats.CutBytes.Add(int64(cut))
			n = l.max
		}
		b.take(parser, p[:n], cut, from, time.Now().UnixNano())
	}
}

// accept serves connections until ctx ends, and after that those which wait to
// be accepted.
func (l *listener) accept(ctx context.Context, b *batcher) error {
	defer context.AfterFunc(ctx, func() { l.stream.SetDeadline(time.Now().Add(goodbye)) })()
	st := &b.s.stats
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.stream.AcceptTCP()
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
func (l *listener) serve(ctx context.Context, tcp *net.TCPConn, b *batcher) {
	var c net.Conn = tcp
	if l.secure != nil {
		t := tls.Server(tcp, l.secure)
		hctx, cancel := context.WithTimeout(ctx, handshake)
		err := t.HandshakeContext(hctx)
		cancel()
		if err != nil {
			b.s.stats.Handshakes.Add(1)
			return
		}
		c = t
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(goodbye)) })()
	from := netip.Addr{}
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		from = a.AddrPort().Addr().Unmap().WithZone("")
	}
	f := newFramer(c, l.max, &b.s.stats)
	parser := logline.NewParser(logline.Syslog)
	for {
		msg, err := f.next()
		if err != nil {
			return
		}
		b.take(parser, msg, f.cut, from, time.Now().UnixNano())
	}
}
