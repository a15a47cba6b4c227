// Package prom scrapes: it reads the pages on which applications show their
// metrics in Prometheus' formats, the text format, OpenMetrics and protobuf.
//
// The agent runs a Source; it asks Pods, Services, Monitors and Peers what
// there is to scrape, hands batches of metrics to the Sink, and calls nobody else.
//
// What always holds:
//
//  1. A page is given on whole or not at all. One that does not come in time,
//     breaks off, is too large or has too many samples leaves up = 0 and an
//     error in Status, and has no effect on any other target.
//  2. A line that is none is left out, counted and named by its number; the
//     others stay. If there are more such lines than samples, it is no page.
//  3. Each sample of a page has one fate; tally has the equation.
//  4. No two samples of a page have the same name, labels and type.
//  5. Names and labels of a page stay as they are. The target's labels are added:
//     pod uid, names of pod, namespace and container, service.instance.id
//     (host:port), tags. Of a label that both have, the page's is renamed
//     exported_…, or counts if honor_labels says so.
//  6. A histogram or summary becomes one CumDist, a native histogram an
//     exponential one. Counters are Counter with the Start that the page names
//     (_created), or the time of the page before where a series is new or fell;
//     0 on the first page of a target. All else, untyped too, is Gauge.
//  7. A target that several agents see is scraped by one of them: by that on its
//     node, else by the one that rendezvous hashing over Peers picks. While an
//     agent comes or goes two may do it for a few seconds.
//
// A series that a page has no more simply ends: nothing here needs a marker,
// since every sample stands for its own moment, and the hub forgets its total.
// For ten pages its counter is remembered, so that one that only paused does not
// count as begun anew. Values that are no number are left out and counted: no
// vendor takes them. Exemplars of histograms are kept, the ten newest of each;
// others are left out and counted: no vendor has a place for them.
//
// One goroutine per target, which Run waits for, at most 128 of them at work; a
// target keeps its cache of series, a page being read its samples and a buffer.
// Scrapes are spread over their interval by a hash of the target. Put owns the
// batches it is given, except that bounds of histograms are shared: they are
// read-only. The package keeps nothing over a restart, does not watch Kubernetes,
// follows no redirect to another host, and sends no credential twice.
package prom

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Sources are where targets come from beside the configuration. Each may be nil.
type Sources struct {
	Pods     Pods
	Services Groups
	Monitors Groups
	Peers    Peers
	Self     string // our name among Peers, which are names of nodes
}

// Source is the collector. It implements collect.Source.
type Source struct {
	conf  Config
	from  Sources
	log   *slog.Logger
	stats Stats

	slots   chan struct{} // scrapes at work
	buffers sync.Pool
	wires   wires

	mu       sync.Mutex
	targets  map[string]*target // by URL; guarded by mu
	excluded []string           // what is not scraped and why; guarded by mu
}

var _ collect.Source = (*Source)(nil)

// atOnce bounds the scrapes at work. One that hangs holds its slot until its
// timeout, a third of the usual interval, so it takes three times as many
// hanging targets to be felt by the others; a node has 256 pods at most.
const atOnce = 128

// refresh is how often the sources of targets are asked whether they changed.
const refresh = 5 * time.Second

// New returns a Source for a Config that has passed Check. It does no I/O.
func New(c Config, from Sources, log *slog.Logger) *Source {
	s := &Source{conf: c, from: from, log: log, slots: make(chan struct{}, atOnce), targets: map[string]*target{}}
	s.buffers.New = func() any { b := make([]byte, firstBuffer); return &b }
	return s
}

// Run scrapes until ctx ends, and returns nil then.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	var wg sync.WaitGroup
	defer s.wires.close()
	defer wg.Wait()
	defer s.replace(ctx, &wg, out, nil, nil)
	var last state
	t := time.NewTicker(refresh)
	defer t.Stop()
	for {
		if now := s.state(); !now.equal(last) {
			last = now
			specs, excluded := s.discover(now.peers)
			s.replace(ctx, &wg, out, specs, excluded)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// state is what the list of targets depends on.
type state struct {
	read                     bool
	pods, services, monitors uint64
	peers                    []string
}

func (a state) equal(b state) bool {
	return a.read == b.read && a.pods == b.pods && a.services == b.services && a.monitors == b.monitors && slices.Equal(a.peers, b.peers)
}

func (s *Source) state() state {
	now := state{read: true}
	if s.from.Pods != nil {
		now.pods = s.from.Pods.Version()
	}
	if s.from.Services != nil {
		now.services = s.from.Services.Version()
	}
	if s.from.Monitors != nil {
		now.monitors = s.from.Monitors.Version()
	}
	if s.from.Peers != nil {
		now.peers = slices.Sorted(slices.Values(s.from.Peers.Peers()))
	}
	return now
}

// replace stops the targets that are not among specs, leaves those alone that
// are there as they were, and starts the others.
func (s *Source) replace(ctx context.Context, wg *sync.WaitGroup, out collect.Sink, specs map[string]*spec, excluded []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excluded = excluded
	for url, t := range s.targets {
		if sp := specs[url]; sp == nil || !reflect.DeepEqual(sp, t.spec) {
			t.stop()
			delete(s.targets, url)
		}
	}
	for url, sp := range specs {
		if s.targets[url] == nil {
			t := s.newTarget(sp)
			tctx, stop := context.WithCancel(ctx)
			t.stop = stop
			s.targets[url] = t
			wg.Go(func() { t.run(tctx, out) })
		}
	}
	s.stats.Targets.Store(int64(len(s.targets)))
}

// Stats returns the counters.
func (s *Source) Stats() *Stats { return &s.stats }

// Status returns how each target fares, sorted by URL.
func (s *Source) Status() []TargetStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []TargetStatus
	for _, t := range s.targets {
		list = append(list, t.look())
	}
	slices.SortFunc(list, func(a, b TargetStatus) int { return strings.Compare(a.URL, b.URL) })
	return list
}

// Trouble returns what is wrong now, with its remedy; nil if nothing is.
func (s *Source) Trouble() []string {
	var list []string
	for _, t := range s.Status() {
		if t.Err != nil {
			if t.Up { // some lines were left out
				list = append(list, fmt.Sprintf("target %s (%s): %v; mend what it shows", t.URL, t.From, t.Err))
				continue
			}
			list = append(list, fmt.Sprintf("target %s (%s) is down: %v%s", t.URL, t.From, t.Err, remedy(t.Err)))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(list, s.excluded...)
}
