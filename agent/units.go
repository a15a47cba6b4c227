package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Sorts of units, by which they are started and stopped in order.
type sort uint8

const (
	serverUnit sort = iota
	storeUnit
	deliveryUnit
	sourceUnit
)

// unit is anything that runs and that a reload can replace.
type unit struct {
	name  string // "collect/host", "exporters/datadog/log"; unique
	sort  sort
	conf  any                         // compared with reflect.DeepEqual
	open  func() error                // called before run, before any unit that is started later; may be nil
	run   func(context.Context) error // restarted with back-off
	stats *collect.Stats              // of a source; may be nil
	look  func() any                  // what else status shows of it; may be nil
	heard func() []string             // where it listens by now; nil for what does not listen

	counts func(yield) // what else the agent counts of it; nil for nothing
	absent func() bool // whether there is nothing for it here, and need not be; nil for what looks for itself
}

// running is a unit that was started.
type running struct {
	unit
	stop func()
	done chan struct{} // closed when run has returned for good

	mu       sync.Mutex
	state    string // guarded by mu: running, waiting (to be started again), stopped
	err      error  // guarded by mu: why it ended the last time
	restarts int    // guarded by mu
	since    time.Time
}

// The back-off of a unit that ended on its own.
const (
	firstBackoff = time.Second
	mostBackoff  = time.Minute
)

// begin starts u under ctx.
func (a *Agent) begin(ctx context.Context, u unit) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{unit: u, stop: cancel, done: make(chan struct{}), state: "running", since: time.Now()}
	go func() {
		defer close(r.done)
		backoff := firstBackoff
		for {
			started := time.Now()
			err := r.guarded(ctx)
			if ctx.Err() != nil {
				r.set("stopped", nil)
				return
			}
			if err == nil {
				err = errors.New("ended without being asked to")
			}
			if time.Since(started) > 5*mostBackoff {
				backoff = firstBackoff
			}
			if r.set("waiting", err) {
				a.log.Error("a part of the agent has failed, and is started again", "part", u.name, "error", err, "in", backoff)
			}
			t := time.NewTimer(backoff)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				r.set("stopped", err)
				return
			}
			backoff = min(2*backoff, mostBackoff)
			r.mu.Lock()
			r.state, r.restarts = "running", r.restarts+1
			r.mu.Unlock()
		}
	}()
	return r
}

// guarded runs the unit once and turns a panic into an error.
func (r *running) guarded(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, stack())
		}
	}()
	return r.run(ctx)
}

// set records a change of state; it reports whether the error is another one.
func (r *running) set(state string, err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = err != nil && (r.err == nil || r.err.Error() != err.Error())
	r.state = state
	if err != nil {
		r.err = err
	}
	return news
}

// same reports whether u is what r runs already.
func (r *running) same(u unit) bool { return reflect.DeepEqual(r.conf, u.conf) }

// wait waits for all units of a sort whose context has ended.
func (a *Agent) wait(s sort) {
	for _, r := range a.all() {
		if r.sort == s {
			<-r.done
		}
	}
}

// stopUnits ends all units of the given sorts and waits for them, in order.
func (a *Agent) stopUnits(sorts ...sort) {
	for _, s := range sorts {
		for _, r := range a.all() {
			if r.sort == s {
				r.stop()
			}
		}
		a.wait(s)
	}
}

// all returns the units there are.
func (a *Agent) all() []*running {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*running, 0, len(a.units))
	for _, r := range a.units {
		all = append(all, r)
	}
	return all
}

// listening waits until every unit that listens does, has failed to, or has had
// two seconds: who is told that the agent is ready may send to it.
func (a *Agent) listening(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		waits := false
		for _, r := range a.all() {
			waits = waits || r.heard != nil && len(r.heard()) == 0 && r.failure() == ""
		}
		if !waits {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
