package syslog

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/logline"
)

const packetSize = 1 << 16 // the largest datagram is shorter

// listener is one address that is listened at.
type listener struct {
	*collect.Socket
	udp    *net.UDPConn // nil for other networks
	max    int          // bytes of a message
	buffer int          // bytes that the kernel granted
	drops  uint32       // the kernel's count at the last look
}

// bind listens at every address, or at none and returns why.
func (s *Source) bind(ctx context.Context) ([]*listener, error) {
	sockets, err := inlet().Listen(ctx, s.conf.Listen, s.conf.TLS)
	if err != nil {
		return nil, err
	}
	var ls []*listener
	var bound []string
	for _, k := range sockets {
		l := &listener{Socket: k, max: int(s.conf.MaxMessage)}
		if c, ok := k.Packets.(*net.UDPConn); ok {
			l.udp, l.buffer = c, setBuffer(c, int(s.conf.Buffer))
		}
		ls = append(ls, l)
		bound = append(bound, k.Bound)
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

// close ends listening. Nobody reads any more.
func (l *listener) close() { l.Close() }

// read gives b everything that arrives until ctx ends, and then what the kernel
// has taken already. It returns an error if the socket fails.
func (l *listener) read(ctx context.Context, b *batcher) error {
	switch {
	case l.udp != nil:
		return l.datagrams(ctx, b, l.udp, func(p []byte) (int, netip.Addr, error) {
			n, from, err := l.udp.ReadFromUDPAddrPort(p)
			return n, from.Addr().Unmap().WithZone(""), err
		})
	case l.Packets != nil:
		return l.datagrams(ctx, b, l.Packets, func(p []byte) (int, netip.Addr, error) {
			n, err := l.Packets.Read(p)
			return n, netip.Addr{}, err
		})
	}
	st := &b.s.stats
	return l.Accept(ctx, &st.Connections, func() { st.Refused.Add(1) }, func(c net.Conn) { l.serve(ctx, c, b) })
}

// datagrams takes each as one message. When ctx ends it reads on for as long as
// there is something to read, at most for the time of a goodbye.
func (l *listener) datagrams(ctx context.Context, b *batcher, c net.Conn, read func([]byte) (int, netip.Addr, error)) error {
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(collect.Goodbye)) })()
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

// serve reads one connection to its end.
func (l *listener) serve(ctx context.Context, c net.Conn, b *batcher) {
	c, err := l.Secure(ctx, c)
	if err != nil {
		b.s.stats.Handshakes.Add(1)
		return
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(collect.Goodbye)) })()
	from := netip.Addr{}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
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
