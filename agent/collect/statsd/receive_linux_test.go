package statsd

import (
	"context"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Datagrams sent before anyone reads are more than the buffer holds: what was
// dropped and what was read are together what was sent.
func TestDatagramsTheKernelDroppedAreCounted(t *testing.T) {
	s := fed(t, func(c *Config) {
		c.Listen = []string{"udp://127.0.0.1:0"}
		c.Flush, c.Expire, c.Buffer = time.Hour, time.Hour, 4<<10
	})
	ls, err := s.bind(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", strings.TrimPrefix(s.Addresses()[0], "udp://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// The smallest buffer a socket may have, so that a few thousand overfill it.
	if err := syscall.SetsockoptInt(ls[0].sock.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10); err != nil {
		t.Fatal(err)
	}
	const sent = 5000
	for range sent {
		if _, err := c.Write([]byte("n:1|c")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := &sink{}
	if err := s.serve(ctx, ls, out); err != nil {
		t.Fatal(err)
	}
	read, dropped := s.stats.Packets.Load(), s.stats.Dropped.Load()
	if dropped == 0 || read == 0 || read+dropped != sent {
		t.Errorf("%d read and %d dropped of %d", read, dropped, sent)
	}
	if got := out.totals()["n{}"]; got != float64(read) {
		t.Errorf("%v counted of %d read", got, read)
	}
	if tr := s.Trouble(); len(tr) != 1 || !strings.Contains(tr[0], "collect.statsd.buffer") {
		t.Errorf("trouble %q", tr)
	}
}
