package statsd

import (
	"errors"
	"os"
	"syscall"
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
	n    int
	err  error
	try  func(fd uintptr) bool // made once, so that a call allocates nothing
}

func newReceiver() *receiver {
	r := &receiver{bufs: make([]byte, batchPackets*packetSize)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.bufs[i*packetSize]
		r.iovs[i].SetLen(packetSize)
		r.msgs[i].hdr.Iov = &r.iovs[i]
		r.msgs[i].hdr.SetIovlen(1)
	}
	r.try = func(fd uintptr) bool {
		for {
			n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs)), batchPackets, unix.MSG_DONTWAIT, 0, 0)
			switch errno {
			case 0:
				r.n, r.err = int(n), nil
				return true
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				r.n, r.err = 0, nil
				return false
			default:
				r.n, r.err = 0, os.NewSyscallError("recvmmsg", errno)
				return true
			}
		}
	}
	return r
}

// wait reads datagrams, waiting for the first one.
func (r *receiver) wait(c syscall.RawConn) (int, error) {
	r.n, r.err = 0, nil
	err := c.Read(r.try)
	return r.n, errors.Join(err, r.err)
}

// poll reads what datagrams there are.
func (r *receiver) poll(c syscall.RawConn) int {
	r.n = 0
	_ = c.Control(func(fd uintptr) { r.try(fd) })
	return r.n
}

// packet returns datagram i of the last call; it is overwritten by the next.
func (r *receiver) packet(i int) ([]byte, bool) {
	at := i * packetSize
	return r.bufs[at : at+int(r.msgs[i].len)], r.msgs[i].hdr.Flags&unix.MSG_TRUNC != 0
}

// setBuffer asks for a receive buffer of size bytes and returns what there is.
func setBuffer(c syscall.RawConn, size int) (granted int) {
	_ = c.Control(func(fd uintptr) {
		if have, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF); err != nil || have/2 < size {
			// The first needs CAP_NET_ADMIN; the second is bounded by net.core.rmem_max.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
			}
		}
		have, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		granted = have / 2 // socket(7): the kernel doubles what it is asked for
	})
	return granted
}

// dropped returns how many datagrams the kernel had no room for since the
// socket was made: SK_MEMINFO_DROPS, the count that SO_RXQ_OVFL attaches to
// datagrams and /proc/net/udp shows. ok is false where it is not to be had
// (before Linux 4.12), and for Unix sockets, whose senders wait instead.
func (l *listener) dropped() (n uint32, ok bool) {
	if l.address.network != "udp" {
		return 0, false
	}
	const drops = 8 // linux/sock_diag.h
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_ = l.raw.Control(func(fd uintptr) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size == uint32(unsafe.Sizeof(info))
	})
	return info[drops], ok
}
