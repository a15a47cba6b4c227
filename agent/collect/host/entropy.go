package host

import (
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// entropy gives what the kernel has gathered. Since 5.18 it is 256 for ever.
type entropy struct {
	path   string
	series signal.Series
}

func newEntropy(t *tree) *entropy {
	return &entropy{t.path("proc/sys/kernel/random/entropy_avail"), gaugeOf(signal.SystemEntropy, "bit")}
}

func (e *entropy) sample(_ context.Context, p *pass) error {
	v, ok, err := p.tree.readUint(e.path)
	if ok {
		p.gauge(e.series, float64(v))
	}
	return err
}
