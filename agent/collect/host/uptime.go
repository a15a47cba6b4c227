package host

import (
	"bytes"
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// uptime gives how long the machine is up, and since when.
type uptime struct {
	path     string
	up, boot signal.Series
}

func newUptime(t *tree) *uptime {
	return &uptime{t.path("proc/uptime"), gaugeOf(signal.SystemUptime, "s"), gaugeOf(signal.SystemBootTime, "s")}
}

func (u *uptime) sample(_ context.Context, p *pass) error {
	if p.boot != 0 {
		p.gauge(u.boot, float64(p.boot)/1000)
	}
	text, err := p.tree.read(u.path)
	if text == nil {
		return err
	}
	v, err := parseUptime(text)
	if err != nil {
		return inFile(u.path, err)
	}
	p.gauge(u.up, v)
	return nil
}

// parseUptime reads "1943.15 3810.76": seconds up, seconds idle.
func parseUptime(text []byte) (float64, error) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	f, _ := cutField(line)
	v, err := parseDecimal(f)
	if err != nil {
		return 0, atLine(1, line, err)
	}
	return v, nil
}
