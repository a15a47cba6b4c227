package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/host"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// Once collects from the samplers that cfg asks for, or from the one called
// source, twice, one second apart so that counters have an increase. It returns
// the newest sample of each series, complete as the hub would spool it: a
// kubelet reads its containers when it likes, and mostly has nothing new after
// a second. Errors of samplers are joined, and come beside what the others gave.
func Once(ctx context.Context, cfg *config.Config, source string) (*signal.Batch, error) {
	a := &Agent{log: slog.Default()}
	samplers := map[string]collect.Sampler{}
	if cfg.Collect.Host.Enabled != "false" {
		samplers["host"] = host.New(cfg.Collect.Host)
	}
	if cfg.Collect.Containers.Enabled != "false" {
		s := container.New(cfg.Collect.Containers, a.containers(cfg.Collect.Containers, nodeName(cfg), nil))
		defer s.Close()
		samplers["containers"] = s
	}
	if source != "" {
		s, ok := samplers[source]
		if !ok {
			return nil, fmt.Errorf("no source %q is enabled; once knows host and containers, causeway tap shows the others", source)
		}
		samplers = map[string]collect.Sampler{source: s}
	}
	h := hub.New(nil, time.Now())
	h.Configure(cfg.Process, a.baseLabels(cfg), nil)
	return twice(ctx, h, samplers)
}

// twice returns the newest sample of each series from two rounds of samplers,
// and the errors of the second round.
func twice(ctx context.Context, h *hub.Hub, samplers map[string]collect.Sampler) (*signal.Batch, error) {
	first, _ := round(ctx, h, samplers)
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, err := round(ctx, h, samplers)
	newer := make(map[signal.Series]bool, b.Len())
	for _, s := range b.Samples {
		newer[s.Series] = true
	}
	for _, s := range first.Samples {
		if !newer[s.Series] {
			b.Add(s)
		}
	}
	return b, err
}

// round asks each sampler once, in the order of their names.
func round(ctx context.Context, h *hub.Hub, samplers map[string]collect.Sampler) (*signal.Batch, error) {
	var errs []error
	b := &signal.Batch{Kind: signal.Metric}
	for _, name := range slices.Sorted(maps.Keys(samplers)) {
		if err := samplers[name].Sample(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	h.Complete(b)
	return b, errors.Join(errs...)
}

// Requests writes the bodies that the destination of that name would be sent
// for b, before compression, each under a line that says where it would go.
func Requests(ctx context.Context, w io.Writer, name string, cfg *config.Config, b *signal.Batch) error {
	d := cfg.Destinations[name]
	e, done, err := vendor(name, d, b.Kind, surroundings(ctx, d, cfg, w))
	if err != nil {
		return err
	}
	defer done()
	for n, lo := 1, 0; lo < b.Len(); n++ {
		hi := b.Len()
		if most := e.Limits().Items; most > 0 {
			hi = min(hi, lo+most)
		}
		body, next, skipped := e.Encode(nil, b, lo, hi)
		if s, ok := e.(interface{ Show(body []byte) string }); ok { // of one that speaks in bytes
			body = []byte(s.Show(body))
		}
		if next <= lo {
			fmt.Fprintf(w, "# item %d fits no request\n", lo)
			next = lo + 1
		}
		fmt.Fprintf(w, "# request %d: %s\n# %d items, %d without a place there, %d bytes\n%s\n", n, target(e), next-lo, skipped, len(body), body)
		lo = next
	}
	return nil
}

// target says where an exporter's requests go, if it can.
func target(e exporters.Exporter) string {
	if t, ok := e.(interface{ Target() string }); ok {
		return t.Target()
	}
	return e.Name()
}

// Connect asks a destination whether it would take our data.
func Connect(ctx context.Context, name string, cfg *config.Config) error {
	d := cfg.Destinations[name]
	e, done, err := vendor(name, d, signal.Metric, surroundings(ctx, d, cfg, io.Discard))
	if err != nil {
		return err
	}
	defer done()
	c, ok := e.(interface{ Connect(context.Context) error })
	if !ok {
		return nil
	}
	return c.Connect(ctx)
}

// surroundings is what a command knows that has no running agent to ask.
func surroundings(ctx context.Context, d config.Destination, cfg *config.Config, w io.Writer) around {
	r := around{out: stdout.NewWriter(w), node: nodeName(cfg), cluster: cfg.Agent.Cluster}
	if !isGoogle(d) || d.Google.Project != "auto" && d.Google.Location != "auto" {
		return r
	}
	if at, err := (home{cfg.Agent.DataDir}).place(); err == nil {
		r.place = at
		return r
	}
	if at, err := askPlace(ctx, metadata.NewClient(&http.Client{Timeout: placeAnswer})); err == nil {
		r.place = at // without an answer, vendor says what to set
	}
	return r
}
