//go:build !linux

package statsd

import (
	"errors"
	"syscall"
)

// receiver reads one datagram at a time: enough to develop on.
type receiver struct {
	buf []byte
	n   int
	err error
}

func newReceiver() *receiver { return &receiver{buf: make([]byte, packetSize)} }

func (r *receiver) try(fd uintptr) bool {
	n, _, err := syscall.Recvfrom(int(fd), r.buf, 0)
	if err == syscall.EAGAIN {
		return false
	}
	r.n, r.err = n, err
	return true
}

func (r *receiver) wait(c syscall.RawConn) (int, error) {
	r.n, r.err = -1, nil
	if err := errors.Join(c.Read(r.try), r.err); err != nil || r.n < 0 {
		return 0, err
	}
	return 1, nil
}

func (r *receiver) poll(c syscall.RawConn) int {
	r.n, r.err = -1, nil
	if err := c.Control(func(fd uintptr) { r.try(fd) }); err != nil || r.err != nil || r.n < 0 {
		return 0
	}
	return 1
}

func (r *receiver) packet(int) ([]byte, bool) { return r.buf[:r.n], false }

func setBuffer(syscall.RawConn, int) int { return 0 }

func (l *listener) dropped() (uint32, bool) { return 0, false }
