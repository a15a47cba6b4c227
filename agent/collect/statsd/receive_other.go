//go:build !linux

package statsd

import (
	"errors"
	"syscall"
	"time"
)

// receiver reads one datagram at a time: enough to develop on.
type receiver struct {
	buf []byte
	n   int
	err error
}

// socket is a datagram socket.
type socket struct {
	conn packetConn
	raw  syscall.RawConn
}

func newSocket(c packetConn) (*socket, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		c.Close()
		return nil, err
	}
	return &socket{conn: c, raw: raw}, nil
}

func (s *socket) interrupt() {
	if c, ok := s.conn.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (s *socket) close() { s.conn.Close() }

func newReceiver() *receiver { return &receiver{buf: make([]byte, packetSize)} }

func (r *receiver) release() { r.buf = nil }

func (r *receiver) try(fd uintptr) bool {
	n, _, err := syscall.Recvfrom(int(fd), r.buf, 0)
	if err == syscall.EAGAIN {
		return false
	}
	r.n, r.err = n, err
	return true
}

func (r *receiver) wait(s *socket) (int, error) {
	r.n, r.err = -1, nil
	if err := s.raw.Read(r.try); err != nil {
		return 0, nil // interrupted
	}
	return min(r.n+1, 1), r.err
}

func (r *receiver) poll(s *socket) (int, error) {
	r.n, r.err = -1, nil
	err := s.raw.Control(func(fd uintptr) { r.try(fd) })
	return min(r.n+1, 1), errors.Join(err, r.err)
}

func (r *receiver) packet(int) ([]byte, bool) { return r.buf[:r.n], false }

func setBuffer(*socket, int) int { return 0 }

func (l *listener) dropped() (uint32, bool) { return 0, false }
