package statsd

import (
	"bufio"
	"context"
	"encoding/binary"
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
	batchPackets = 64      // datagrams per system call
	packetSize   = 1 << 16 // the largest UDP datagram is shorter; a frame of a stream may not be longer

	maxConnections = 1000
	goodbye        = 100 * time.Millisecond // in which streams may hand over what they have written
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
	address address
	bound   string            // with the port the kernel chose
	sock    *socket           // nil for a stream
	stream  *net.UnixListener // nil for datagrams
	buffer  int               // bytes that the kernel granted
	drops   uint32            // the kernel's count at the last look
}

// packetConn is what *net.UDPConn and *net.UnixConn have in common.
type packetConn interface {
	syscall.Conn
	io.Closer
}

// bind listens at every address, or at none and returns why.
func (s *Source) bind(ctx context.Context) ([]*listener, error) {
	var ls []*listener
	var bound []string
	for _, text := range s.conf.Listen {
		a, err := parseAddress(text)
		if err != nil {
			panic("BUG: a Config that was not checked: " + err.Error())
		}
		l, err := listen(ctx, a, int(s.conf.Buffer))
		if err != nil {
			for _, l := range ls {
				l.close()
			}
			return nil, bindError(a, err)
		}
		ls = append(ls, l)
		bound = append(bound, l.bound)
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

func bindError(a address, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && a.network == "udp":
		return fmt.Errorf("listen at %v: another program has the port, perhaps another StatsD server: stop it, or set another address in collect.statsd.listen: %w", a, err)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %v: another program listens there: stop it, or set another path in collect.statsd.listen: %w", a, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %v: this machine has no such address: set one it has in collect.statsd.listen, or 0.0.0.0: %w", a, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listen at %v: not allowed: choose a port above 1023, or a folder that the agent may write to: %w", a, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("listen at %v: make the folder first: %w", a, err)
	}
	return fmt.Errorf("listen at %v: %w", a, err)
}

func listen(ctx context.Context, a address, buffer int) (*listener, error) {
	l := &listener{address: a, bound: a.String()}
	if a.network != "udp" {
		if err := clearPath(ctx, a); err != nil {
			return nil, err
		}
	}
	var packets packetConn
	switch a.network {
	case "unix":
		c, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: a.at})
		if err != nil {
			return nil, err
		}
		l.stream = c
	case "unixgram":
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: a.at})
		if err != nil {
			return nil, err
		}
		packets = c
	default:
		c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", a.at)
		if err != nil {
			return nil, err
		}
		l.bound = "udp://" + c.LocalAddr().String()
		packets = c.(*net.UDPConn)
	}
	if packets != nil {
		sock, err := newSocket(packets)
		if err != nil {
			return nil, err
		}
		l.sock = sock
		l.buffer = setBuffer(sock, buffer)
	}
	if a.network != "udp" {
		// Applications of any user write to it; nobody else reads or lists it.
		if err := os.Chmod(a.at, 0o722); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// clearPath removes a socket that a dead process left behind. What is no
// socket, or has a listener, stays.
func clearPath(ctx context.Context, a address) error {
	info, err := os.Lstat(a.at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: remove it: %w", a.at, syscall.EADDRINUSE)
	}
	c, err := new(net.Dialer).DialContext(ctx, a.network, a.at)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket there is in use, or of another sort: %v: %w", err, syscall.EADDRINUSE)
	}
	return os.Remove(a.at)
}

// close ends listening. Nobody reads any more.
func (l *listener) close() {
	if l.stream != nil {
		l.stream.Close() // removes the path
	}
	if l.sock != nil {
		l.sock.close()
		if l.address.network == "unixgram" {
			os.Remove(l.address.at)
		}
	}
}

// read gives t everything that arrives until ctx ends, and then what the
// kernel has taken already. It returns an error if the socket fails.
func (l *listener) read(ctx context.Context, t *table) error {
	if l.stream != nil {
		return l.accept(ctx, t)
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
	if l.address.network == "udp" {
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

// accept serves stream connections until ctx ends, and after that those which
// wait to be accepted.
func (l *listener) accept(ctx context.Context, t *table) error {
	defer context.AfterFunc(ctx, func() { l.stream.SetDeadline(time.Now().Add(goodbye)) })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.stream.AcceptUnix()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			time.Sleep(100 * time.Millisecond) // others hold the descriptors; they will let go
			continue
		case err != nil:
			return err
		}
		if t.stats.Connections.Add(1) > maxConnections {
			t.stats.Connections.Add(-1)
			c.Close()
			t.closed()
			continue
		}
		wg.Go(func() {
			defer t.stats.Connections.Add(-1)
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(goodbye)) })()
			if err := readFrames(c, t); err != nil {
				t.closed()
			}
		})
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
