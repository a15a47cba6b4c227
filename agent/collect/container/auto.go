package container

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// retryKubelet is how long a kubelet that does not answer is left alone while
// cAdvisor does its work.
const retryKubelet = time.Minute

// auto is the Provider that takes the kubelet where it answers.
type auto struct {
	kubelet, cadvisor Provider
	log               *slog.Logger

	mu     sync.Mutex // guards the two below, for Close and From
	chosen Provider   // nil while the kubelet has not answered
	failed error      // what the kubelet said to the last try; changed by Read alone
	tried  time.Time
}

// Auto returns a Provider that reads from kubelet as soon as that has answered,
// and stays with it: a kubelet that fails later is a failure. Until then it
// reads from cadvisor, and asks the kubelet once a minute. Outside of clusters
// (the kubelet's error wraps collect.ErrAbsent) it is cadvisor's alone.
func Auto(kubelet, cadvisor Provider, log *slog.Logger) Provider {
	return &auto{kubelet: kubelet, cadvisor: cadvisor, log: log}
}

// Read implements Provider.
func (a *auto) Read(ctx context.Context) ([]Reading, error) {
	a.mu.Lock()
	chosen := a.chosen
	a.mu.Unlock()
	if chosen != nil {
		return chosen.Read(ctx)
	}
	if a.tried.IsZero() || time.Since(a.tried) >= retryKubelet {
		a.tried = time.Now()
		readings, err := a.kubelet.Read(ctx)
		switch {
		case len(readings) > 0:
			a.settle(a.kubelet)
			if err := a.cadvisor.Close(); err != nil {
				a.log.Warn("cAdvisor did not stop in time", "error", err)
			}
			a.log.Info("containers are read from the kubelet")
			return readings, err
		case errors.Is(err, collect.ErrAbsent):
			a.settle(a.cadvisor)
		case a.failed == nil:
			a.log.Warn("containers are read from their cgroups, since the kubelet does not tell", "error", err)
		}
		a.mu.Lock()
		a.failed = err
		a.mu.Unlock()
	}
	readings, err := a.cadvisor.Read(ctx)
	if len(readings) > 0 || err == nil {
		return readings, err
	}
	switch { // one that is absent says nothing about the other
	case errors.Is(a.failed, collect.ErrAbsent):
		return nil, err
	case errors.Is(err, collect.ErrAbsent) && a.failed != nil:
		return nil, a.failed
	}
	return nil, errors.Join(a.failed, err)
}

func (a *auto) settle(p Provider) {
	a.mu.Lock()
	a.chosen = p
	a.mu.Unlock()
}

// From returns where containers are read from; the error says why it is not the
// kubelet, where there is one.
func (a *auto) From() (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch k, ok := a.kubelet.(*Kubelet); {
	case ok && a.chosen == a.kubelet:
		return k.From()
	case errors.Is(a.failed, collect.ErrAbsent):
		return "cgroups", nil
	}
	return "cgroups", a.failed
}

// Close implements Provider.
func (a *auto) Close() error {
	a.mu.Lock()
	chosen := a.chosen
	a.mu.Unlock()
	if chosen == a.kubelet {
		return a.kubelet.Close() // cAdvisor is closed already
	}
	return errors.Join(a.kubelet.Close(), a.cadvisor.Close())
}
