package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/influxdata/influxdb"
	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/monitor"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxdb/services/retention"
	"github.com/influxdata/influxdb/toml"
	"github.com/influxdata/influxdb/tsdb"
	_ "github.com/influxdata/influxdb/tsdb/engine" // tsm1
	_ "github.com/influxdata/influxdb/tsdb/index"  // tsi1
)

// engine is InfluxDB's engine, put together as influxd does it, less what a
// node's own store does not need.
type engine struct {
	cfg     Config
	stats   *Stats
	log     *slog.Logger
	meta    *meta.Client
	shards  *tsdb.Store
	mapper  *coordinator.PointsWriter // for MapShards only: see write
	queries *query.Executor
	expiry  *retention.Service
	broken  atomic.Bool // a file takes no more: see func broken
}

// tuning returns the engine's options. They trade peak ingest, of which a node
// needs little, for memory: 59 MB resident with 2 M points instead of 124.
func tuning(cfg Config, dir string) tsdb.Config {
	c := tsdb.NewConfig()
	c.Dir = filepath.Join(dir, "data")
	c.WALDir = filepath.Join(dir, "wal")
	c.Index = tsdb.TSI1IndexName // on disk; the other one holds every series in memory
	c.QueryLogEnabled = false
	c.CacheMaxMemorySize = toml.Size(cfg.CacheSize)
	c.CacheSnapshotMemorySize = 4 << 20
	c.CacheSnapshotWriteColdDuration = toml.Duration(time.Minute)
	c.CompactThroughput = 16 << 20 // a node's disk has other users
	c.CompactThroughputBurst = 16 << 20
	c.MaxConcurrentCompactions = 1
	c.SeriesFileMaxConcurrentSnapshotCompactions = 1
	c.SeriesIDSetCacheSize = 20
	c.MaxIndexLogFileSize = 256 << 10
	return c
}

// openEngine opens what is kept in cfg.Dir.
func openEngine(cfg Config, stats *Stats, log *slog.Logger) (e *engine, err error) {
	defer func() {
		if v := recover(); v != nil { // damaged files
			err = fmt.Errorf("store: open %s: the engine panicked: %v; move the directory away to start anew, and keep it for a report", cfg.Dir, v)
		}
	}()
	zlog := zapTo(log)
	e = &engine{cfg: cfg, stats: stats, log: log}
	e.meta = meta.NewClient(&meta.Config{Dir: filepath.Join(cfg.Dir, "meta"), RetentionAutoCreate: true})
	e.meta.WithLogger(zlog)
	if err := makeDir(filepath.Join(cfg.Dir, "meta")); err != nil {
		return nil, err
	}
	if err := e.meta.Open(); err != nil {
		return nil, fmt.Errorf("store: read %s/meta/meta.db: %w; move %s away to start anew", cfg.Dir, err, cfg.Dir)
	}
	options := tuning(cfg, cfg.Dir)
	e.shards = tsdb.NewStore(options.Dir)
	e.shards.EngineOptions.Config = options
	e.shards.EngineOptions.EngineVersion = options.Engine
	e.shards.EngineOptions.IndexVersion = options.Index
	e.shards.WithLogger(zlog)
	if err := newSegments(options.WALDir); err != nil {
		return nil, err
	}
	if err := e.shards.Open(); err != nil {
		return nil, fmt.Errorf("store: open %s: %w; move the directory away to start anew", options.Dir, err)
	}
	e.mapper = coordinator.NewPointsWriter()
	e.mapper.MetaClient = e.meta

	diagnostics := monitor.New(e, monitor.Config{}, &options) // without one SHOW STATS panics
	diagnostics.Version = Version
	if err := diagnostics.Open(); err != nil {
		return nil, errors.Join(fmt.Errorf("store: open diagnostics: %w", err), e.shards.Close())
	}
	e.queries = query.NewExecutor()
	e.queries.WithLogger(zlog)
	e.queries.TaskManager.QueryTimeout = cfg.QueryTimeout
	e.queries.StatementExecutor = &statements{e, &coordinator.StatementExecutor{
		MetaClient:  e.meta,
		TaskManager: e.queries.TaskManager,
		TSDBStore:   e.shards,
		ShardMapper: &coordinator.LocalShardMapper{
			MetaClient: e.meta,
			TSDBStore:  coordinator.LocalTSDBStore{Store: e.shards},
		},
		Monitor:           diagnostics,
		PointsWriter:      e,
		MaxSelectPointN:   cfg.MaxPoints,
		MaxSelectBucketsN: 1_000_000, // 11 days by the second; a bucket costs memory even if empty
	}}

	e.expiry = retention.NewService(retention.NewConfig())
	e.expiry.SetOSSMetaClient(e.meta)
	e.expiry.TSDBStore = e.shards
	e.expiry.DropShardMetaRef = retention.OSSDropShardMetaRef(e.meta)
	e.expiry.WithLogger(zlog)

	if err := e.applyRetention(); err != nil {
		return nil, errors.Join(fmt.Errorf("store: database %q: %w", cfg.Database, err), e.shards.Close())
	}
	return e, nil
}

// newSegments puts an empty file behind the last one of each shard's write-ahead
// log, so that the engine begins a new file instead of going on in the last.
//
// It must, because the engine (1.13.2, tsm1's WAL.Open and CacheLoader.Load)
// first opens the last file for writing at its end and only then cuts a torn
// record off that end: the next record is written behind a hole, and at the next
// start all behind the hole is cut off too. A kill amid a write, and another
// some minutes later, would so take points that were acknowledged in between.
func newSegments(walDir string) error {
	files, err := filepath.Glob(filepath.Join(walDir, "*", "*", "*", "_*.wal")) // database, policy, shard
	if err != nil {
		return fmt.Errorf("store: list %s: %w", walDir, err)
	}
	last := map[string]int{} // number of the last file, by directory
	for _, f := range files {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "_"), ".wal"))
		if err == nil { // else it is none of the engine's
			last[filepath.Dir(f)] = max(last[filepath.Dir(f)], n)
		}
	}
	for dir, n := range last {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("_%05d.wal", n+1)), os.O_CREATE|os.O_WRONLY, 0o666)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return fmt.Errorf("store: begin a new log in %s: %w; free some space on this disk", dir, err)
		}
	}
	return nil
}

// broken says whether err means that a file of the engine can take no more. The
// writers of its logs (points, index, series) remember their first error, of a
// full disk say, for good: they take writes again only after they were opened
// anew. The engine wraps the cause as text, so text is all there is to go by.
func broken(err error) bool {
	text := err.Error()
	for _, mark := range [...]string{
		"error writing WAL", "error rolling WAL", "error syncing wal", ".wal: ",
		syscall.ENOSPC.Error(), syscall.EDQUOT.Error(), syscall.EIO.Error(), syscall.EROFS.Error(), syscall.EFBIG.Error(),
	} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}

// close ends the engine's goroutines and closes its files.
func (e *engine) close() error { return errors.Join(e.shards.Close(), e.meta.Close()) }

// ensure creates the database and its default policy where they are missing.
func (e *engine) ensure() error {
	spec := &meta.RetentionPolicySpec{Duration: &e.cfg.Retention}
	db := e.meta.Database(e.cfg.Database)
	if db == nil {
		_, err := e.meta.CreateDatabaseWithRetentionPolicy(e.cfg.Database, spec)
		return err
	}
	if db.RetentionPolicy(db.DefaultRetentionPolicy) == nil {
		_, err := e.meta.CreateRetentionPolicy(e.cfg.Database, spec, true)
		return err
	}
	return nil
}

// applyRetention makes the default policy keep data as long as configured.
func (e *engine) applyRetention() error {
	if err := e.ensure(); err != nil {
		return err
	}
	db := e.meta.Database(e.cfg.Database)
	rp := db.RetentionPolicy(db.DefaultRetentionPolicy)
	if rp.Duration == e.cfg.Retention {
		return nil
	}
	var auto time.Duration // zero: the length of a shard follows from the retention
	return e.meta.UpdateRetentionPolicy(db.Name, rp.Name, &meta.RetentionPolicyUpdate{Duration: &e.cfg.Retention, ShardGroupDuration: &auto}, true)
}

// expire drops shards past their retention.
func (e *engine) expire() { e.guarded(e.expiry.DeletionCheck) }

// guarded calls f and survives its panic.
func (e *engine) guarded(f func()) {
	defer func() {
		if v := recover(); v != nil {
			e.stats.Panics.Add(1)
			e.log.Error("the store's engine panicked", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	f()
}

// refusal is a write of which something was not stored and never will be.
type refusal struct {
	dropped int // parsed points that were not stored
	reasons []string
}

// text is the answer in the form InfluxDB gives it.
func (r refusal) text(db, rp string) string {
	return tsdb.PartialWriteError{
		Reason: strings.Join(r.reasons, "\n"), Dropped: r.dropped, Database: db, RetentionPolicy: rp,
	}.Error()
}

// write stores points. What the engine refuses is in the refusal; an error means
// that some or all of the rest was not stored, and all may be written again.
//
// It goes from shard to shard itself instead of calling PointsWriter.WritePoints,
// which writes each shard in a goroutine (whose panic nobody could catch),
// returns at the first refusal while others are still writing, and reports the
// count of that one alone.
func (e *engine) write(db, rp string, points []models.Point) (refused refusal, err error) {
	if rp == "" {
		info := e.meta.Database(db)
		if info == nil {
			return refused, influxdb.ErrDatabaseNotFound(db)
		}
		rp = info.DefaultRetentionPolicy
	}
	mapping, err := e.mapper.MapShards(&coordinator.WritePointsRequest{Database: db, RetentionPolicy: rp, Points: points})
	if err != nil {
		return refused, err
	}
	if n := mapping.Dropped(); n > 0 {
		refused.dropped = n
		refused.reasons = append(refused.reasons, "points beyond retention policy: "+mapping.SummariseDropped())
	}
	for _, id := range slices.Sorted(maps.Keys(mapping.Points)) {
		err := e.writeShard(db, rp, id, mapping.Points[id])
		var part tsdb.PartialWriteError
		switch {
		case err == nil:
		case errors.As(err, &part):
			refused.dropped += part.Dropped
			refused.reasons = append(refused.reasons, part.Reason)
		case errors.Is(err, tsdb.ErrShardDeletion): // it has just expired
			refused.dropped += len(mapping.Points[id])
			refused.reasons = append(refused.reasons, fmt.Sprintf("shard %d is pending deletion", id))
		default:
			if broken(err) && e.broken.CompareAndSwap(false, true) {
				e.log.Error("the store cannot write its files; writes are refused until it can", "dir", e.cfg.Dir, "error", err)
			}
			return refused, err
		}
	}
	return refused, nil
}

// writeShard stores points that belong to one shard, which is made if need be.
func (e *engine) writeShard(db, rp string, id uint64, points []models.Point) error {
	ctx := tsdb.WriteContext{UserId: tsdb.UnknownUser}
	err := e.shards.WriteToShard(ctx, id, points)
	if !errors.Is(err, tsdb.ErrShardNotFound) {
		return err
	}
	if err := e.shards.CreateShard(db, rp, id, true); err != nil {
		return fmt.Errorf("create shard %d: %w", id, err)
	}
	return e.shards.WriteToShard(ctx, id, points)
}

// WritePointsInto stores the result of SELECT … INTO.
func (e *engine) WritePointsInto(p *coordinator.IntoWriteRequest) error {
	refused, err := e.write(p.Database, p.RetentionPolicy, p.Points)
	if err == nil && len(refused.reasons) > 0 {
		err = errors.New(refused.text(p.Database, p.RetentionPolicy))
	}
	return err
}

// Statistics feeds SHOW STATS.
func (e *engine) Statistics(tags map[string]string) []models.Statistic {
	return slices.Concat(e.queries.Statistics(tags), e.shards.Statistics(tags), e.mapper.Statistics(tags))
}
