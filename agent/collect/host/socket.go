package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/causeway-agent/causeway/agent/signal"
)

// tcpStates are the values of network.connection.state by the kernel's number
// less one (include/net/tcp_states.h). The twelfth, for a request that is being
// answered, counts as syn_received.
func tcpStates() [11]string {
	return [...]string{"established", "syn_sent", "syn_received", "fin_wait_1", "fin_wait_2", "time_wait",
		"closed", "close_wait", "last_ack", "listen", "closing"}
}

// sockets gives the number of sockets, their memory, and TCP connections by
// state.
type sockets struct {
	total  signal.Series
	series map[string]socketSeries // by protocol and field of sockstat: "TCP:inuse"
	states [11]signal.Series       // empty unless connections are wanted
	wanted bool
	key    []byte
	buf    []byte
}

// socketSeries is a series, and what its value is in units of the field's.
type socketSeries struct {
	series signal.Series
	scale  float64
}

func newSockets(connections bool, _ *tree) *sockets {
	s := &sockets{
		total:  gaugeOf(signal.SystemNetworkSocketsTotal, "{socket}"),
		series: map[string]socketSeries{},
		wanted: connections,
	}
	count := func(key, transport, family, state string) {
		s.series[key] = socketSeries{gaugeOf(signal.SystemNetworkSockets, "{socket}",
			signal.LabelTransport, transport, signal.LabelNetType, family, signal.LabelSocketState, state), 1}
	}
	memory := func(key, transport string) {
		s.series[key] = socketSeries{gaugeOf(signal.SystemNetworkSocketMemory, "By", signal.LabelTransport, transport), float64(os.Getpagesize())}
	}
	count("TCP:inuse", "tcp", "ipv4", "inuse")
	count("TCP6:inuse", "tcp", "ipv6", "inuse")
	count("TCP:orphan", "tcp", "", "orphan") // of both families, like the next two
	count("TCP:tw", "tcp", "", "time_wait")
	count("TCP:alloc", "tcp", "", "alloc")
	count("UDP:inuse", "udp", "ipv4", "inuse")
	count("UDP6:inuse", "udp", "ipv6", "inuse")
	count("RAW:inuse", "raw", "ipv4", "inuse")
	count("RAW6:inuse", "raw", "ipv6", "inuse")
	memory("TCP:mem", "tcp")
	memory("UDP:mem", "udp")
	for i, state := range tcpStates() {
		s.states[i] = gaugeOf(signal.SystemNetworkConnections, "{connection}", signal.LabelTransport, "tcp", signal.LabelNetState, state)
	}
	return s
}

func (s *sockets) sample(ctx context.Context, p *pass) error {
	var errs []error
	for _, name := range [...]string{"sockstat", "sockstat6"} {
		path := p.tree.netPath(name)
		text, err := p.tree.read(path)
		if err == nil {
			err = inFile(path, parseSockstat(text, func(proto, field []byte, v uint64) { s.append(p, proto, field, v) }))
		}
		errs = append(errs, err)
	}
	if s.wanted {
		errs = append(errs, s.connections(ctx, p))
	}
	return errors.Join(errs...)
}

func (s *sockets) append(p *pass, proto, field []byte, v uint64) {
	s.key = append(append(append(s.key[:0], proto...), ':'), field...)
	if f, ok := s.series[string(s.key)]; ok {
		p.gauge(f.series, float64(v)*f.scale)
	} else if string(s.key) == "sockets:used" {
		p.gauge(s.total, float64(v))
	}
}

// parseSockstat reads lines like "TCP: inuse 1 orphan 0". A bad line costs
// what follows in it.
func parseSockstat(text []byte, each func(proto, field []byte, v uint64)) error {
	var bad faults
	for n, line := range lines(text) {
		proto, rest, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			bad.add(atLine(n, line, errShort))
			continue
		}
		for {
			var field, value []byte
			field, rest = cutField(rest)
			if len(field) == 0 {
				break
			}
			value, rest = cutField(rest)
			v, err := parseUint(value)
			if err != nil {
				bad.add(atLine(n, line, err))
				break
			}
			each(proto, field, v)
		}
	}
	return bad.join()
}

// connections counts both families' connections; it appends nothing if either
// could not be read to the end, since half a count would look like a drop.
func (s *sockets) connections(ctx context.Context, p *pass) error {
	var c tcpCounter
	found := false
	for _, name := range [...]string{"tcp", "tcp6"} {
		path := p.tree.netPath(name)
		ok, err := s.countFile(ctx, path, &c)
		if err != nil {
			return inFile(path, err)
		}
		found = found || ok
	}
	if found {
		for i, series := range s.states {
			p.gauge(series, float64(c.states[i]))
		}
	}
	return nil
}

// countFile reads a table piece by piece: it may be many megabytes long.
func (s *sockets) countFile(ctx context.Context, path string, c *tcpCounter) (found bool, err error) {
	fd, err := open(path)
	if err != nil {
		if absent(err) {
			return false, nil
		}
		return false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if s.buf == nil {
		s.buf = make([]byte, 16<<10)
	}
	c.begin()
	for ctx.Err() == nil {
		n, err := unix.Read(fd, s.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return false, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return true, c.end()
		}
		c.add(s.buf[:n])
	}
	return false, ctx.Err()
}

// tcpCounter counts the states in the text of /proc/net/tcp, which may come in
// pieces of any size. The state is the fourth field: two hexadecimal digits.
type tcpCounter struct {
	states [11]int

	line  int // counted from 1
	field int // of the line; 0 before the first
	blank bool
	width int // digits of the state so far
	value byte
	bad   error // the first line that was none
}

// begin starts a new table.
func (c *tcpCounter) begin() { c.line, c.field, c.blank, c.width, c.value = 1, 0, true, 0, 0 }

func (c *tcpCounter) add(piece []byte) {
	for len(piece) > 0 {
		if c.field > 4 || c.line == 1 { // nothing of interest before the next line
			i := bytes.IndexByte(piece, '\n')
			if i < 0 {
				return
			}
			piece = piece[i:]
		}
		ch := piece[0]
		piece = piece[1:]
		switch {
		case ch == '\n':
			c.endLine()
			c.line++
			c.field, c.blank, c.width, c.value = 0, true, 0, 0
		case ch == ' ':
			c.blank = true
		default:
			if c.blank {
				c.field++
				c.blank = false
			}
			if c.field == 4 {
				c.width++
				c.value = c.value<<4 | hex(ch)
			}
		}
	}
}

// endLine books the line that ends.
func (c *tcpCounter) endLine() {
	if c.line == 1 || c.field == 0 {
		return // headings, or nothing
	}
	state := int(c.value)
	if state == 12 {
		state = 3
	}
	if c.width != 2 || state < 1 || state > len(c.states) {
		if c.bad == nil {
			c.bad = atLine(c.line, nil, errors.New("no connection state as fourth field"))
		}
		return
	}
	c.states[state-1]++
}

// end ends a table and returns what was wrong with it.
func (c *tcpCounter) end() error {
	c.endLine()
	return c.bad
}

// hex returns the value of a digit, 15 for what is none: no state has a 15.
func hex(ch byte) byte {
	switch {
	case ch >= '0' && ch <= '9':
		return ch - '0'
	case ch >= 'A' && ch <= 'F':
		return ch - 'A' + 10
	}
	return 15
}
