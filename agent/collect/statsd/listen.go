package statsd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

const (
	batchPackets = 64      // datagrams per system call
	packetSize   = 1 << 16 // the largest UDP datagram is shorter; a frame of a stream may not be longer
)

// linger is how long a reader lets datagrams gather once it has seen them all:
// a waking for each costs more than reading it. It is what 200,000 datagrams a
// second need to fill a quarter of a kernel buffer of the given bytes, at the 768
// bytes that a short one takes of twice the buffer, and at most 5 ms.
func linger(buffer int) time.Duration {
	return min(time.Duration(2*buffer/768/4)*time.Second/200_000, 5*time.Millisecond)
}

// listener is one address that is listened at: datagrams or a stream.
type listener struct {
	*collect.Socket
	sock   *socket // nil for a stream
	buffer int     // bytes that the kernel granted
	drops  uint32  // the kernel's count at the last look
}

// packetConn is what *net.UDPConn and *net.UnixConn have in common.
type packetConn interface {
	syscall.Conn
	io.Closer
}

// bind listens at every address, or at none and returns why.
func (s *Source) bind(ctx context.Context) ([]*listener, error) {
	sockets, err := inlet().Listen(ctx, s.conf.Listen, collect.ServerTLS{})
	if err != nil {
		return nil, err
	}
	ls := make([]*listener, len(sockets))
	for i, k := range sockets {
		ls[i] = &listener{Socket: k}
	}
	var bound []string
	for _, l := range ls {
		if l.Packets != nil {
			if l.sock, err = newSocket(l.Packets); err != nil {
				for _, l := range ls {
					l.close()
				}
				return nil, fmt.Errorf("listen at %v: %w", l.Address, err)
			}
			l.buffer = setBuffer(l.sock, int(s.conf.Buffer))
		}
		bound = append(bound, l.Bound)
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

// close ends listening. Nobody reads any more.
func (l *listener) close() {
	if l.sock != nil {
		l.sock.close()
	}
	l.Close()
}

// read gives t everything that arrives until ctx ends, and then what the
// kernel has taken already. It returns an error if the socket fails.
func (l *listener) read(ctx context.Context, t *table) error {
	if l.Stream != nil {
		return l.Accept(ctx, &t.stats.Connections, t.closed, func(c net.Conn) { readStream(ctx, c, t) })
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		l.sock.interrupt()
	})
	defer func() {
		if !stop() {
			<-woken // the socket must not be closed before that
		}
	}()
	r := newReceiver()
	defer r.release()
	// A Unix socket holds as few as ten datagrams (net.unix.max_dgram_qlen), and
	// its senders wait meanwhile.
	pause := time.Duration(0)
	if l.Address.Network == "udp" {
		pause = linger(l.buffer)
	}
	for {
		n, err := r.wait(l.sock)
		if err != nil {
			return err
		}
		t.take(n, r.packet)
		if ctx.Err() != nil {
			break
		}
		if n < batchPackets {
			time.Sleep(pause)
		}
	}
	for range 1000 { // who never stops sending must not keep us
		n, err := r.poll(l.sock)
		if n == 0 {
			return err
		}
		t.take(n, r.packet)
	}
	return nil
}

// readStream reads one connection to its end.
func readStream(ctx context.Context, c net.Conn, t *table) {
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(collect.Goodbye)) })()
	if err := readFrames(c, t); err != nil {
		t.closed()
	}
}

var errFrame = errors.New("a frame longer than 64 KiB: not the framing of DogStatsD")

// readFrames reads length u32 little endian | lines, again and again, until the
// connection ends. It returns an error if a length cannot be.
func readFrames(c io.Reader, t *table) error {
	r := bufio.NewReaderSize(c, 16<<10)
	var head [4]byte
	var frame []byte
	packet := func(int) ([]byte, bool) { return frame, false }
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil
		}
		n := binary.LittleEndian.Uint32(head[:])
		if n > packetSize {
			return errFrame
		}
		if cap(frame) < int(n) {
			frame = make([]byte, n)
		}
		frame = frame[:n]
		got, err := io.ReadFull(r, frame)
		if err != nil { // whole lines are good, however the connection ended
			frame = frame[:got]
			t.take(1, func(int) ([]byte, bool) { return frame, true })
			return nil
		}
		t.take(1, packet)
	}
}
