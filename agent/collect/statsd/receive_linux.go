package statsd

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// receiver reads up to batchPackets datagrams with one system call, into memory
// of its own: of its 4 MiB only the pages that datagrams have reached are there.
type receiver struct {
	msgs [batchPackets]mmsghdr
	iovs [batchPackets]unix.Iovec
	bufs []byte
	fds  [2]unix.PollFd
	heap bool // bufs is Go's
}

// socket is a datagram socket outside of the runtime's poller. The poller wakes
// a thread for each datagram that arrives, read or not, and this costs more
// than all the rest: 1.2 of 2.2 CPU-seconds per million (BenchmarkUDP).
type socket struct {
	fd   int
	wake int // an eventfd: readable once interrupted
}

// newSocket takes c over; c is closed in any case.
func newSocket(c packetConn) (*socket, error) {
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{fd: -1, wake: -1}
	var dupErr error
	if err := raw.Control(func(fd uintptr) {
		s.fd, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(s.fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	return s, nil
}

// interrupt makes wait return, now and ever after.
func (s *socket) interrupt() {
	_, _ = unix.Write(s.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (s *socket) close() {
	unix.Close(s.fd)
	unix.Close(s.wake)
}

// newReceiver returns a receiver with room for a batch of the largest datagrams.
// The room is four megabytes of which a few pages are used, so it does not lie in
// Go's heap, where it would let the garbage grow by as much again.
func newReceiver() *receiver {
	r := &receiver{}
	var err error
	if r.bufs, err = unix.Mmap(-1, 0, batchPackets*packetSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
		r.bufs, r.heap = make([]byte, batchPackets*packetSize), true
	}
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i*packetSize]
		r.iovs[i].SetLen(packetSize)
		r.msgs[i].hdr.Iov = &r.iovs[i]
		r.msgs[i].hdr.SetIovlen(1)
	}
	return r
}

// release gives the room back; nothing that packet returned may be used any more.
func (r *receiver) release() {
	if !r.heap {
		_ = unix.Munmap(r.bufs)
	}
	r.bufs = nil
}

// wait reads datagrams, waiting for the first one. It returns none once s is
// interrupted.
func (r *receiver) wait(s *socket) (int, error) {
	for {
		if n, err := r.poll(s); n > 0 || err != nil {
			return n, err
		}
		r.fds = [2]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(r.fds[:], -1); err != nil && err != unix.EINTR {
			return 0, os.NewSyscallError("poll", err)
		}
		if r.fds[1].Revents != 0 {
			return 0, nil
		}
	}
}

// poll reads what datagrams there are.
func (r *receiver) poll(s *socket) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.msgs)), batchPackets, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("recvmmsg", errno)
		}
	}
}

// packet returns datagram i of the last call; it is overwritten by the next.
func (r *receiver) packet(i int) ([]byte, bool) {
	at := i * packetSize
	return r.bufs[at : at+int(r.msgs[i].len)], r.msgs[i].hdr.Flags&unix.MSG_TRUNC != 0
}

// setBuffer asks for a receive buffer of size bytes and returns what there is.
func setBuffer(s *socket, size int) int {
	if have, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || have/2 < size {
		// The first needs CAP_NET_ADMIN; the second is bounded by net.core.rmem_max.
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
	}
	have, _ := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return have / 2 // socket(7): the kernel doubles what it is asked for
}

// dropped returns how many datagrams the kernel had no room for since the
// socket was made: SK_MEMINFO_DROPS, the count that SO_RXQ_OVFL attaches to
// datagrams and /proc/net/udp shows. ok is false where it is not to be had
// (before Linux 4.12), and for Unix sockets, whose senders wait instead.
func (l *listener) dropped() (n uint32, ok bool) {
	if l.Address.Network != "udp" {
		return 0, false
	}
	const drops = 8 // linux/sock_diag.h
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(l.sock.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[drops], errno == 0 && size == uint32(unsafe.Sizeof(info))
}
