package syslog

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setBuffer asks for a receive buffer of size bytes and returns what there is.
func setBuffer(c *net.UDPConn, size int) (have int) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		// The first needs CAP_NET_ADMIN; the second is bounded by net.core.rmem_max.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
		have, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	})
	return have / 2 // socket(7): the kernel doubles what it is asked for
}

// dropped returns how many datagrams the kernel had no room for since the
// socket was made: SK_MEMINFO_DROPS, which /proc/net/udp shows too. ok is false
// where it is not to be had (before Linux 4.12).
func dropped(c *net.UDPConn) (n uint32, ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	const drops = 8 // linux/sock_diag.h
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_ = raw.Control(func(fd uintptr) {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		ok = errno == 0 && size == uint32(unsafe.Sizeof(info))
	})
	return info[drops], ok
}
