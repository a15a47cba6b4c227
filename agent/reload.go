package agent

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
)

// watch reloads on a signal and on a change of the configuration's files, and
// forgets removed destinations in time, until ctx ends.
func (a *Agent) watch(ctx context.Context) {
	changed := make(chan struct{}, 1)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		config.Watch(ctx, func() []string { return a.config().Files() }, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { <-watching }()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	a.forget()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.opts.Reload:
			a.reload("signal")
		case <-changed:
			a.reload("file")
		case <-minute.C:
			a.forget()
		}
	}
}

// reload loads the configuration again and makes the agent follow it. An error
// leaves everything as it was.
func (a *Agent) reload(why string) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	err := a.tryReload()
	a.mu.Lock()
	a.last = reloadResult{time.Now(), err}
	a.mu.Unlock()
	if err != nil {
		a.log.Error("the new configuration is not used; the old one stays in force", "why", why, "error", err)
	} else {
		a.log.Info("configuration loaded", "why", why)
	}
	return err
}

func (a *Agent) tryReload() error {
	cfg, err := config.Load(a.opts.ConfigPath, a.opts.Environ)
	if err != nil {
		return err
	}
	old := a.config()
	if cfg.Agent.DataDir != old.Agent.DataDir {
		return config.Errors{{File: a.opts.ConfigPath, Key: "agent.data_dir", Message: "cannot change while the agent runs: restart it"}}
	}
	var listener net.Listener
	if cfg.Agent.Listen != old.Agent.Listen {
		if listener, err = net.Listen("tcp", cfg.Agent.Listen); err != nil {
			return fmt.Errorf("agent.listen: %w", err)
		}
	}
	if err := a.apply(cfg, listener); err != nil {
		if listener != nil {
			listener.Close()
		}
		return err
	}
	return nil
}

// apply makes the agent follow cfg: units with the same name and configuration
// are left alone, the others stop, and then the new ones start, deliveries
// before sources. listener is for agent.listen; nil if that did not change.
func (a *Agent) apply(cfg *config.Config, listener net.Listener) error {
	k := a.clusterOf(cfg)
	plan, err := a.plan(cfg, k, listener)
	if err != nil {
		return err
	}
	// From here on nothing can fail as a whole: a unit that cannot start says
	// so in status and is tried again.
	hash := hashOf(cfg)
	a.mu.Lock()
	a.cfg, a.in, a.hash = cfg, k, hash
	a.mu.Unlock()
	if a.opts.Level != nil {
		_ = a.opts.Level.UnmarshalText([]byte(cfg.Agent.Log.Level)) // Check has seen it
	}
	for _, k := range signal.Kinds {
		a.spools[k].SetOptions(spoolOptions(cfg, k))
	}
	a.label(cfg)

	wanted := map[string]unit{}
	for _, u := range plan {
		wanted[u.name] = u
	}
	var stopped []*running
	for _, r := range a.all() {
		if u, ok := wanted[r.name]; ok && r.same(u) {
			delete(wanted, r.name)
			continue
		}
		r.stop()
		stopped = append(stopped, r)
	}
	for _, r := range stopped {
		<-r.done
		a.mu.Lock()
		delete(a.units, r.name)
		if r.sort == deliveryUnit {
			delete(a.rows, strings.TrimPrefix(r.name, deliveryPrefix))
		}
		a.mu.Unlock()
	}
	slices.SortStableFunc(plan, func(x, y unit) int { return int(x.sort) - int(y.sort) })
	for _, u := range plan {
		if _, ok := wanted[u.name]; !ok {
			continue
		}
		if u.open != nil {
			if err := u.open(); err != nil {
				a.log.Error("a part of the agent cannot start yet, and is tried again", "part", u.name, "error", err)
			}
		}
		ctx := a.sendersCtx
		if u.sort == sourceUnit {
			ctx = a.sourcesCtx
		}
		r := a.begin(ctx, u)
		a.mu.Lock()
		a.units[u.name] = r
		a.mu.Unlock()
	}
	return a.remember(cfg)
}

// remember notes since when each cursor has no destination, so that a removed
// one has forget_after to come back, across restarts too.
func (a *Agent) remember(cfg *config.Config) error {
	removed, err := a.home.removed()
	if err != nil {
		a.log.Warn("what was removed when cannot be read; removed destinations get their time anew", "error", err)
	}
	now := time.Now()
	next := map[string]time.Time{}
	for _, k := range signal.Kinds {
		for _, name := range a.spools[k].Cursors() {
			key := name + "/" + k.String()
			if inUse(cfg, name, k) {
				continue
			}
			next[key] = now
			if since, ok := removed[key]; ok && since.Before(now) {
				next[key] = since
			}
		}
	}
	if err := a.home.setRemoved(next); err != nil {
		a.log.Warn("what was removed when cannot be written; it is tried again at the next change", "error", err)
	}
	return nil
}

// forget gives up the cursors whose destination has been gone for forget_after,
// and books what they had not had.
func (a *Agent) forget() {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	cfg := a.config()
	removed, err := a.home.removed()
	if err != nil {
		return // remember has said so
	}
	changed := false
	for key, since := range removed {
		if time.Since(since) < cfg.Spool.ForgetAfter {
			continue
		}
		name, kind, _ := strings.Cut(key, "/")
		for _, k := range signal.Kinds {
			if k.String() != kind || inUse(cfg, name, k) {
				continue
			}
			books, in, err := a.spools[k].Forget(name)
			if err != nil {
				a.log.Error("a removed destination cannot be forgotten; it is tried again", "destination", name, "kind", k, "error", err)
				continue
			}
			a.log.Info("a removed destination is forgotten, and what it had not had is booked", "destination", name, "kind", k, "in", in, "books", books.Items)
			err = a.home.bury(closedBook{Name: name, Kind: kind, In: in, Books: books, At: time.Now()})
			if err != nil {
				a.log.Error("the closed books of a removed destination cannot be kept", "destination", name, "error", err)
			}
		}
		delete(removed, key)
		changed = true
	}
	if changed {
		if err := a.home.setRemoved(removed); err != nil {
			a.log.Warn("what was removed when cannot be written", "error", err)
		}
	}
}
