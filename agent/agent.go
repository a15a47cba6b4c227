// Package agent is the program: it loads the configuration, builds what it asks
// for, runs it, changes it while it runs, and stops it without losing anything.
//
// cmd/causeway calls Run and the few functions behind its commands; Run calls
// everything else. Read agent.go from the top for the life of the agent, wire.go
// for what a configuration turns into, reload.go for how a running agent becomes
// another one, status.go, look.go and ledger.go for what it tells about itself,
// diagnose.go for what it needs around it.
//
// What always holds:
//
//  1. Deliveries are there before sources: nothing is collected that a
//     destination in use would not get.
//  2. A reload is whole or nothing: what is wrong with a file is found before
//     the first unit is touched.
//  3. A unit whose configuration did not change is not touched by a reload: a
//     listener keeps its socket, a reader its files, a delivery its place.
//  4. A unit that fails is started again, with back-off, and takes no other down.
//  5. At a stop the sources end first, then the spools are synced, then the
//     deliveries get `drain` to send what is there. What is left stays on disk.
//
// Each unit has one goroutine, which the agent waits for.
//
// The package holds no logic of collecting, spooling or sending.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// Options is what Run is told by its caller rather than by agent.yaml.
type Options struct {
	ConfigPath string
	Environ    []string // as os.Environ returns it
	Version    string
	Commit     string
	Log        *slog.Logger
	Level      *slog.LevelVar           // follows agent.log.level; may be nil
	Ready      func(cfg *config.Config) // called once everything is started; may be nil
	Reload     <-chan os.Signal         // SIGHUP; may be nil
	Out        io.Writer                // where destinations of type stdout write; nil: os.Stdout
}

// Agent is a running agent.
type Agent struct {
	opts   Options
	log    *slog.Logger
	start  time.Time
	spools hub.Spools
	hub    *hub.Hub
	feed   *exporters.Feed // of the metric spool; see exporters.Feed
	dead   *exporters.Dead // what vendors refused for good
	home   home            // the data directory
	placer *placer         // where the node stands in a cloud
	out    *stdout.Writer  // of all destinations of type stdout

	// reloading serialises reloads; it is held while units stop and start, and
	// mu is not, so that status can be asked meanwhile.
	reloading sync.Mutex

	mu         sync.Mutex
	cfg        *config.Config      // guarded by mu
	units      map[string]*running // guarded by mu
	rows       map[string]*row     // deliveries by "destination/kind"; guarded by mu
	hash       string              // of cfg; guarded by mu
	last       reloadResult        // guarded by mu
	ready      bool                // guarded by mu
	stopping   bool                // guarded by mu
	in         cluster             // guarded by mu; see clusterOf
	sourcesCtx context.Context
	sendersCtx context.Context
}

// reloadResult is what became of the last attempt to load the configuration.
type reloadResult struct {
	At  time.Time
	Err error
}

// Run runs an agent until ctx ends, and then stops it in order. It returns nil
// after an orderly stop; a config.Errors if the configuration is invalid; any
// other error means that the agent could not start.
func Run(ctx context.Context, o Options) error {
	cfg, err := config.Load(o.ConfigPath, o.Environ)
	if err != nil {
		return err
	}
	a := &Agent{
		opts: o, log: o.Log, start: time.Now(),
		units: map[string]*running{}, rows: map[string]*row{}, feed: exporters.NewFeed(sharedFrames),
		placer: newPlacer(), out: stdout.NewWriter(o.Out),
	}
	if o.Out == nil {
		a.out = stdout.NewWriter(os.Stdout)
	}
	if err := setMemoryLimit(); err != nil {
		a.log.Warn("the memory limit of the cgroup cannot be read; Go will not heed it", "error", err)
	}
	paceCollector()
	if err := a.open(cfg); err != nil {
		return err
	}
	defer a.close()

	listener, err := net.Listen("tcp", cfg.Agent.Listen)
	if err != nil {
		return fmt.Errorf("agent.listen: %w; set another address, or end the program that holds this one", err)
	}

	// Two contexts that outlive ctx: a stop ends sources first, senders later.
	sources, stopSources := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSources()
	senders, stopSenders := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSenders()
	a.sourcesCtx, a.sendersCtx = sources, senders

	if err := a.apply(cfg, listener); err != nil {
		listener.Close()
		return err
	}
	a.listening(ctx)
	a.mu.Lock()
	a.ready = true
	a.mu.Unlock()
	a.log.Info("running", "version", o.Version, "listen", cfg.Agent.Listen, "active", cfg.Active, "data_dir", cfg.Agent.DataDir, "took", time.Since(a.start).String())
	if o.Ready != nil {
		o.Ready(cfg)
	}
	// At once, too: the first reading, of ten thousand files or of a large page,
	// needs the room most.
	for _, after := range []time.Duration{0, settled / 5, settled} {
		late := time.AfterFunc(after, func() {
			if err := trim(); err != nil {
				a.log.Debug("the start's memory stays", "error", err)
			}
		})
		defer late.Stop()
	}
	a.watch(ctx) // until ctx ends

	a.log.Info("stopping", "drain", a.config().Agent.Drain.String())
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	stopSources()
	a.wait(sourceUnit)
	flushing, cancel := context.WithTimeout(senders, time.Second)
	if err := a.hub.Flush(flushing); err != nil { // a full spool that waits must not hold up the stop
		a.log.Error("what rules have counted cannot be spooled", "error", err)
	}
	cancel()
	for _, k := range signal.Kinds {
		if err := a.spools[k].Sync(); err != nil {
			a.log.Error("a spool cannot be synced; a power cut now would cost its newest frames", "kind", k, "error", err)
		}
	}
	a.drain(a.config().Agent.Drain)
	stopSenders()
	a.wait(deliveryUnit)
	a.stopUnits(storeUnit, serverUnit)
	a.log.Info("stopped")
	return nil
}

// open opens what lives as long as the agent: the data directory, the spools
// and the hub.
func (a *Agent) open(cfg *config.Config) (err error) {
	if a.home, err = openHome(cfg.Agent.DataDir); err != nil {
		return err
	}
	a.spools = hub.Spools{}
	for _, k := range signal.Kinds {
		o := spoolOptions(cfg, k)
		o.Log = a.log.With("spool", k.String())
		s, err := spool.Open(spoolDir(cfg.Agent.DataDir, k), o)
		if err != nil {
			a.close()
			return fmt.Errorf("agent.data_dir: %w", err)
		}
		a.spools[k] = s
	}
	if a.dead, err = exporters.OpenDead(DeadDir(cfg.Agent.DataDir), exporters.MaxDead); err != nil {
		a.close()
		return fmt.Errorf("agent.data_dir: %w", err)
	}
	a.hub = hub.New(a.spools, a.start)
	a.hub.Log = a.log
	a.hub.Fresh = a.feed.Offer
	if err := a.hub.Seed(seedBytes); err != nil {
		a.log.Warn("the last totals of counters cannot be read back; the first increases after this start are missing", "error", err)
	}
	return nil
}

// settled is how long after a start everything has run once.
const settled = 5 * time.Second

// seedBytes is how much of the metric spool's end is read at a start. 8 MiB hold
// about half a million samples: a quarter of an hour of a busy node.
const seedBytes = 8 << 20

// sharedFrames is how many decoded metric frames are kept for the next
// destination: those that keep up read within a few frames of each other.
const sharedFrames = 40

func (a *Agent) close() {
	for _, s := range a.spools {
		if err := s.Close(); err != nil {
			a.log.Error("a spool cannot be closed", "error", err)
		}
	}
	a.home.close()
}

// DeadDir is where the dead-letter log lies.
func DeadDir(dataDir string) string { return filepath.Join(dataDir, "dlq") }

// spoolDir is where the spool of a kind lies.
func spoolDir(dataDir string, k signal.Kind) string {
	return filepath.Join(dataDir, "spool", k.String())
}

// memory is how long frames stay in a spool at least, delivered or not: after a
// crash the log reader goes on from the frames behind its last snapshot, which is
// a second old, and the hub from the last reading of each counter.
const memory = 2 * time.Minute

// spoolOptions returns what the configuration says of one kind's spool. The
// spool keeps what destinations may want back as long as the longest backfill.
func spoolOptions(cfg *config.Config, k signal.Kind) spool.Options {
	q := map[signal.Kind]config.Quota{signal.Metric: cfg.Spool.Metrics, signal.Log: cfg.Spool.Logs, signal.Event: cfg.Spool.Events}[k]
	o := spool.Options{MaxBytes: q.MaxSize, MaxAge: q.MaxAge, SyncEvery: cfg.Spool.Sync, Retain: memory, WhenFull: spool.DropOldest}
	if q.WhenFull == config.Wait {
		o.WhenFull = spool.Wait
	}
	for _, d := range cfg.Destinations {
		o.Retain = max(o.Retain, d.Backfill)
	}
	return o
}

// config returns the configuration in force.
func (a *Agent) config() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// drain waits until every destination has everything, at most for d. A
// destination that does not answer is not waited for.
func (a *Agent) drain(d time.Duration) {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !a.delivered() {
		select {
		case <-deadline.C:
			a.log.Warn("not everything could be delivered in time; it stays on disk and goes out after the next start", "drain", d)
			return
		case <-tick.C:
		}
	}
}

// delivered reports whether nothing waits for a destination that takes data.
func (a *Agent) delivered() bool {
	for _, r := range a.allRows() {
		if lag := r.cursor.Lag(); lag.Waiting > 0 && !r.down() {
			return false
		}
	}
	return true
}

// home is the agent's data directory.
type home struct{ dir string }

// openHome makes the data directory and checks that it can be written.
func openHome(dir string) (home, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return home{}, fmt.Errorf("agent.data_dir: %w; choose a folder this user may write, or make it for it", bare(err))
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return home{}, fmt.Errorf("agent.data_dir: %w; choose a folder this user may write, or free space", bare(err))
	}
	f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return home{}, fmt.Errorf("agent.data_dir: %w", err)
	}
	return home{dir}, nil
}

// bare drops the name of a temporary file from an error, and keeps its cause.
func bare(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return fmt.Errorf("%s: %w", filepath.Dir(pe.Path), pe.Err)
	}
	return err
}

func (home) close() {}
