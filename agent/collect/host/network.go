package host

import (
	"bytes"
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// netdev is one line of /proc/net/dev: eight columns received, eight transmitted.
type netdev struct {
	name []byte // within the text
	v    [16]uint64
}

// parseNetdev reads one line, "eth0: 1 2 …"; the two lines of headings hold a
// bar and are none (ok is false). An old name may hold a colon itself.
func parseNetdev(line []byte) (d netdev, ok bool, err error) {
	if bytes.IndexByte(line, '|') >= 0 {
		return d, false, nil
	}
	i := bytes.LastIndexByte(line, ':')
	if i < 0 {
		return d, false, errShort
	}
	d.name = bytes.TrimSpace(line[:i])
	n, err := parseUints(d.v[:], line[i+1:])
	if err == nil && (n < len(d.v) || len(d.name) == 0) {
		err = errShort
	}
	return d, err == nil, err
}

// interfaces gives the traffic of network interfaces.
type interfaces struct {
	exclude []string
	cache   cache[nic]
}

// nic is what is known of one interface; without series if it is left out.
type nic struct {
	wanted                          bool
	bytes, packets, errors, dropped [2]signal.Series // receive, transmit
}

func newInterfaces(c Interfaces, _ *tree) *interfaces { return &interfaces{exclude: c.Exclude} }

func (f *interfaces) sample(_ context.Context, p *pass) error {
	path := p.tree.netPath("dev")
	text, err := p.tree.read(path)
	if text == nil {
		return err
	}
	var bad faults
	for n, line := range lines(text) {
		d, ok, err := parseNetdev(line)
		if err != nil {
			bad.add(atLine(n, line, err))
		}
		if !ok {
			continue
		}
		i := f.cache.get(d.name, f.learn)
		if !i.wanted {
			continue
		}
		for direction := range 2 {
			v := d.v[8*direction:]
			p.counter(i.bytes[direction], float64(v[0]))
			p.counter(i.packets[direction], float64(v[1]))
			p.counter(i.errors[direction], float64(v[2]))
			p.counter(i.dropped[direction], float64(v[3]))
		}
	}
	f.cache.sweep()
	return inFile(path, bad.join())
}

// learn decides about an interface and makes its series.
func (f *interfaces) learn(name string) nic {
	if matchAny(f.exclude, name) {
		return nic{}
	}
	both := func(metric, unit string) (s [2]signal.Series) {
		for i, direction := range [2]string{"receive", "transmit"} {
			s[i] = counterOf(metric, unit, signal.LabelInterface, name, signal.LabelNetDirection, direction)
		}
		return s
	}
	return nic{
		wanted:  true,
		bytes:   both(signal.SystemNetworkIO, "By"),
		packets: both(signal.SystemNetworkPackets, "{packet}"),
		errors:  both(signal.SystemNetworkErrors, "{error}"),
		dropped: both(signal.SystemNetworkDropped, "{packet}"),
	}
}
