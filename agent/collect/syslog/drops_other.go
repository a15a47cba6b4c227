//go:build !linux

package syslog

import "net"

// setBuffer asks for a receive buffer of size bytes; what there is nobody says.
func setBuffer(c *net.UDPConn, size int) int {
	_ = c.SetReadBuffer(size)
	return 0
}

func dropped(*net.UDPConn) (uint32, bool) { return 0, false }
