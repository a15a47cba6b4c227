// Package statsd receives what applications measure of themselves and send
// unasked: StatsD and DogStatsD over UDP and Unix sockets.
//
// The agent runs a Source; it hands batches of metrics and events to the Sink at
// each flush, and calls nobody else. The grammar, lines divided by newlines:
//
//	metric = NAME:VALUE{:VALUE}|TYPE{|FIELD}       TYPE: c g ms h d s
//	event  = _e{TITLE BYTES,TEXT BYTES}:TITLE|TEXT{|FIELD}
//	check  = _sc|NAME|STATUS{|FIELD}               STATUS: 0 to 3
//	FIELD  = @RATE · #KEY:VALUE,… · c:CONTAINER · e:EXTERNAL DATA · TUNIX SECONDS (c, g);
//	         of events and checks also d:UNIX SECONDS h:HOST k:KEY p:PRIORITY s:SOURCE t:ALERT m:MESSAGE
//
// What always holds:
//
//  1. A line is taken whole or not at all, and counted either way: Stats has
//     the equation. No line, however malformed, harms another one.
//  2. A flush lies on a multiple of the interval. c becomes a Delta of the
//     interval, g a Gauge, s a Gauge of how many different values there were,
//     ms, h and d a Dist. A value with a timestamp of its own keeps it.
//  3. A quantile read from a Dist is within 1 % of a value at that rank.
//  4. A series without values says 0 (c) or its last value (g), and ends after
//     Config.Expire. A set or Dist without values says nothing.
//  5. Above Config.MaxSeries a new series is folded into one of its name
//     labelled overflow=true.
//  6. When Run is told to stop it reads what the kernel has taken already, and
//     flushes the open interval.
//
// A datagram that the kernel has no room for is lost: that is UDP. It is
// counted in Stats.Dropped, and Trouble names the remedy. A Put that blocks
// makes the interval longer and loses nothing.
//
// Tags become labels: env, service, version and host become ours, a tag without
// a value gets true, of equal keys the last one counts. A container is known by
// its id, its cgroup's inode, or external data (pod uid, container name).
//
// Memory: one table of series under one mutex, which readers hold for a batch of
// datagrams and a flush while it writes samples. In the steady state a datagram
// allocates nothing. One goroutine per address and stream connection; Run waits
// for all. The package does not answer senders, keeps nothing over a restart,
// and asks no Kubernetes who a pod is: the hub completes labels.
package statsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is the section collect.statsd of agent.yaml.
type Config struct {
	Enabled     string        `yaml:"enabled"`     // true | false
	Listen      []string      `yaml:"listen"`      // udp://host:port, unixgram:///path (datagrams), unix:///path (stream)
	Flush       time.Duration `yaml:"flush"`       // the interval, aligned to the clock
	Percentiles []float64     `yaml:"percentiles"` // 0 to 100: computed here besides the histogram, for destinations that take none
	Expire      time.Duration `yaml:"expire"`      // a series ends after so long without a value
	Signs       string        `yaml:"signs"`       // +1 and -1 of a gauge: relative: a change (StatsD) | absolute: the sign (DogStatsD) | auto: absolute in a line with a field only DogStatsD knows
	MaxSeries   int           `yaml:"max_series"`  // above: folded into one series of the metric, labelled overflow=true
	Buffer      int64         `yaml:"buffer"`      // bytes the kernel may hold per UDP socket; net.core.rmem_max bounds it
	Cgroups     string        `yaml:"cgroups"`     // the host's cgroup file system, where inodes sent as origin are looked up
}

// Default listens on the loopback interface's StatsD port.
func Default() Config {
	return Config{
		Enabled: "true", Listen: []string{"udp://127.0.0.1:8125"}, Flush: 10 * time.Second, Expire: 5 * time.Minute,
		Signs: "auto", MaxSeries: 100_000, Buffer: 4 << 20, Cgroups: "/sys/fs/cgroup",
	}
}

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Enabled != "true" && c.Enabled != "false" {
		bad("enabled: must be true or false, not %q", c.Enabled)
	}
	if len(c.Listen) == 0 && c.Enabled == "true" {
		bad("listen: must name an address, udp://127.0.0.1:8125 for instance, or enabled be false")
	}
	_, wrong := inlet().Check(c.Listen)
	errs = append(errs, wrong...)
	if c.Flush < time.Second || c.Flush%time.Second != 0 || c.Flush > time.Hour {
		bad("flush: must be whole seconds between 1s and 1h")
	}
	for i, p := range c.Percentiles {
		if !(p >= 0 && p <= 100) {
			bad("percentiles[%d]: must be between 0 and 100", i)
		}
	}
	if c.Expire < c.Flush {
		bad("expire: must be at least flush")
	}
	if !slices.Contains([]string{"auto", "relative", "absolute"}, c.Signs) {
		bad("signs: must be auto, relative or absolute, not %q", c.Signs)
	}
	if c.MaxSeries < 1 || c.MaxSeries > 10_000_000 {
		bad("max_series: must be between 1 and 10000000")
	}
	if c.Buffer < 4<<10 || c.Buffer > 1<<30 {
		bad("buffer: must be between 4KiB and 1GiB")
	}
	if !filepath.IsAbs(c.Cgroups) {
		bad("cgroups: must be an absolute path, not %q", c.Cgroups)
	}
	return errors.Join(errs...)
}

// inlet is where it can be listened.
func inlet() collect.Inlet {
	return collect.Inlet{
		Networks: []string{"udp", "unixgram", "unix"}, Host: "127.0.0.1:8125", Path: "/run/causeway/statsd.sock", Key: "collect.statsd.listen",
		Taken: func(network string) string {
			if network == "udp" {
				return "another program has the port, perhaps another StatsD server: stop it, or set another address in collect.statsd.listen"
			}
			return "another program listens there: stop it, or set another path in collect.statsd.listen"
		},
	}
}

// Source is the collector. It implements collect.Source.
type Source struct {
	conf  Config
	stats Stats
	table *table

	trouble collect.Troubles

	mu    sync.Mutex
	bound []string // guarded by mu
}

var _ collect.Source = (*Source)(nil)

// New returns a Source for a Config that has passed Check. It does no I/O.
func New(c Config, log *slog.Logger) *Source {
	s := &Source{conf: c, trouble: collect.Troubles{Log: log, Began: "trouble with statsd", Ended: "statsd is in order again"}}
	s.table = newTable(c, &s.stats)
	return s
}

// Run listens until ctx ends. It returns nil then, and an error if an address
// cannot be listened at or a socket fails; what was received before is flushed.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	ls, err := s.bind(ctx)
	if err != nil {
		return err
	}
	return s.serve(ctx, ls, out)
}

// serve reads from ls and flushes until ctx ends, and closes ls.
func (s *Source) serve(ctx context.Context, ls []*listener, out collect.Sink) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for _, l := range ls {
		wg.Go(func() {
			if err := l.read(reading, s.table); err != nil {
				stop(fmt.Errorf("read from %v: %w", l.Address, err))
			}
		})
	}
	s.table.begin(time.Now().UnixMilli())
	for s.wait(reading) {
		s.flush(ctx, time.Now().Truncate(s.conf.Flush).UnixMilli(), ls, out)
	}
	wg.Wait()
	// The interval that is open now must not be lost with the context that ended it.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.flush(last, time.Now().UnixMilli(), ls, out)
	for _, l := range ls {
		l.close()
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(reading)
}

// wait returns true at the next multiple of the interval, false when ctx ends.
func (s *Source) wait(ctx context.Context) bool {
	now := time.Now()
	t := time.NewTimer(now.Truncate(s.conf.Flush).Add(s.conf.Flush).Sub(now))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// batchItems is how many items a batch is given at most.
const batchItems = 2000

func (s *Source) flush(ctx context.Context, at int64, ls []*listener, out collect.Sink) {
	s.watchDrops(ls)
	samples, events, bad := s.table.flush(at)
	s.sayMalformed(bad)
	for part := range slices.Chunk(samples, batchItems) {
		s.put(ctx, out, &signal.Batch{Kind: signal.Metric, Samples: slices.Clip(part)})
	}
	for part := range slices.Chunk(events, batchItems) {
		s.put(ctx, out, &signal.Batch{Kind: signal.Event, Events: slices.Clip(part)})
	}
}

func (s *Source) put(ctx context.Context, out collect.Sink, b *signal.Batch) {
	n := int64(b.Len())
	s.stats.Flushed.Add(n)
	if err := out.Put(ctx, b); err != nil { // the Sink says why
		s.stats.Lost.Add(n)
		return
	}
	s.stats.Items.Add(n)
}
