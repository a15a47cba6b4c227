package host

import (
	"context"
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// softIRQKinds are the kernel's softirq vectors in the order of /proc/stat,
// unchanged since 2.6.32 (include/linux/interrupt.h).
func softIRQKinds() [10]string {
	return [...]string{"hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"}
}

// kernel gives the scheduler's and the interrupts' counters out of /proc/stat.
type kernel struct {
	contexts, interrupts signal.Series
	softirqs             [16]signal.Series
}

func newKernel() *kernel {
	k := &kernel{
		contexts:   counterOf(signal.SystemContextSwitches, "{context_switch}"),
		interrupts: counterOf(signal.SystemInterrupts, "{interrupt}"),
	}
	names := softIRQKinds()
	for i := range k.softirqs {
		kind := strconv.Itoa(i) // of a kernel newer than this list
		if i < len(names) {
			kind = names[i]
		}
		k.softirqs[i] = counterOf(signal.SystemSoftIRQs, "{interrupt}", signal.LabelSoftIRQ, kind)
	}
	return k
}

func (k *kernel) sample(_ context.Context, p *pass) error {
	if p.stat.has&hasContexts != 0 {
		p.counter(k.contexts, float64(p.stat.contexts))
	}
	if p.stat.has&hasInterrupts != 0 {
		p.counter(k.interrupts, float64(p.stat.interrupts))
	}
	if p.stat.has&hasSoftIRQs != 0 {
		for i := range p.stat.kinds {
			p.counter(k.softirqs[i], float64(p.stat.softirqs[i]))
		}
	}
	return nil
}
