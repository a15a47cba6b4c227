// Package store is the embedded store of the offline mode: InfluxDB's storage
// and query engine inside the agent, speaking InfluxDB 1.x's HTTP API, so that
// metrics, logs and events can be kept and asked for with nothing installed.
//
// The agent opens it for a destination of `type: influxdb, embedded: true`; the
// influx exporter then writes to it by HTTP, as to any other InfluxDB, and the
// `influx` command line and Grafana read from it unchanged. It calls the engine
// of github.com/influxdata/influxdb (tsdb, meta, query, coordinator) and nothing
// of ours. The way of a write: guard.go, write.go, engine.go; of a query:
// guard.go, query.go, statements.go, answer.go.
//
// What always holds:
//
//  1. A point is answered with 204 only after it is in the engine's write-ahead
//     log and fsynced: no kill -9 takes it back.
//  2. A refused point is counted exactly: `dropped=N` in an answer is the number
//     of parsed points of that request that were not stored, whatever the mix of
//     reasons (InfluxDB itself reports one reason's count and forgets the rest).
//  3. The store answers on loopback only, without passwords, and answers no page
//     of a foreign web site.
//  4. Nothing a client sends makes memory grow past the limits of Config: bodies
//     are measured after inflating, queries are bounded in number, time, points,
//     rows and depth.
//  5. The configured database exists, with a default retention policy, at all
//     times: dropping it empties it.
//  6. One process per directory, by lock.
//  7. A full disk costs the writes that come meanwhile (500, to be sent again)
//     and nothing else: once there is space, the store takes writes again by
//     itself. The engine alone would need a restart.
//
// Goroutines: Run owns the server and the retention check and waits for both;
// the engine has its own and Close waits for them. A body belongs to the
// request: the points parsed from it point into it, so it is never pooled. A
// panic while serving becomes an answer and a counter; the one exception is a
// panic in a goroutine the engine starts itself, which nobody can catch.
//
// It deliberately has no users, no TLS, no Flux, no subscriptions, no continuous
// queries and no back-up: who needs those has outgrown it, and changes `active`
// to a real InfluxDB. It does not touch the process's garbage collector: the
// agent does, once, for all rooms.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/influxdata/influxdb/services/meta"
)

// Version is the version of InfluxDB whose engine and HTTP API this is; clients
// are told it in X-Influxdb-Version.
const Version = "1.13.2"

// Config says where the store keeps its data, where it answers and what it may
// cost the node.
type Config struct {
	// Dir is where the data is kept. The agent sets it to a folder of its
	// data_dir; nothing else may live in it.
	Dir string `yaml:"dir"`

	// Listen is the address of the HTTP API. Loopback only: there are no passwords.
	Listen string `yaml:"listen"`

	// Database is created if it does not exist, and again if it is dropped.
	Database string `yaml:"database"`

	// Retention is how long data is kept: at least 1h, or 0 to keep it for ever.
	// Data goes by the shard (an hour's worth below two days, else a day's), so
	// it may live longer by that much. A change applies at the next start.
	Retention time.Duration `yaml:"retention"`

	// MaxBody bounds one written body, before and after inflating. A body past
	// it is answered with 413.
	MaxBody int64 `yaml:"max_body"`

	// CacheSize bounds the points of one shard that are not in a data file yet.
	// When it is full, writes are answered with 500 and are to be sent again.
	CacheSize int64 `yaml:"cache_size"`

	// MaxQueries is how many queries run at once; more of them wait their turn.
	MaxQueries int `yaml:"max_queries"`

	// QueryTimeout ends a query that takes longer, its wait included.
	QueryTimeout time.Duration `yaml:"query_timeout"`

	// MaxPoints is how many points one SELECT may read.
	MaxPoints int `yaml:"max_points"`

	// MaxRows is how many rows one answer may hold; it is cut there and says so.
	// Answers asked for with chunked=true have no such limit.
	MaxRows int `yaml:"max_rows"`
}

// Default returns the configuration of a store that stays below 100 MiB on a
// busy node. Dir has no default.
func Default() Config {
	return Config{
		Listen:       "127.0.0.1:8086", // where every InfluxDB client looks first
		Database:     "causeway",
		Retention:    168 * time.Hour,
		MaxBody:      8 << 20, // InfluxDB's own is 25e6; 8 MiB of line protocol is 50,000 points and more
		CacheSize:    64 << 20,
		MaxQueries:   4,
		QueryTimeout: 30 * time.Second,
		MaxPoints:    50_000_000, // about 10 s of reading on one core
		MaxRows:      100_000,
	}
}

// Check returns all complaints about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkListen(c.Listen); err != nil {
		add("listen: %w", err)
	}
	if c.Database == "_internal" || !meta.ValidName(c.Database) {
		add("database: %q cannot name a database; use letters, digits, - and _", c.Database)
	}
	if c.Retention != 0 && c.Retention < meta.MinRetentionPolicyDuration {
		add("retention: must be at least 1h, or 0 to keep everything")
	}
	if c.MaxBody < 64<<10 || c.MaxBody > 256<<20 {
		add("max_body: must be between 64KiB and 256MiB")
	}
	if c.CacheSize < 4<<20 {
		add("cache_size: must be at least 4MiB")
	}
	if c.MaxQueries < 1 {
		add("max_queries: must be at least 1")
	}
	if c.QueryTimeout < time.Second {
		add("query_timeout: must be at least 1s")
	}
	if c.MaxPoints < 1 {
		add("max_points: must be at least 1")
	}
	if c.MaxRows < 1 {
		add("max_rows: must be at least 1")
	}
	return errors.Join(errs...)
}

// checkListen says whether addr is a loopback address with a port.
func checkListen(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q is not an address; write 127.0.0.1:8086", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port; write a number from 1 to 65535", port)
	} else if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s is not loopback, and the embedded store has no passwords; write 127.0.0.1:%d, or run a real InfluxDB and name it by url", addr, n)
	}
	return nil
}

// Store is an open store. Its methods may be called from several goroutines.
type Store struct {
	// Stats counts what the store did; read it at any time.
	Stats Stats

	cfg     Config
	log     *slog.Logger
	lock    *os.File
	handler http.Handler

	running chan struct{} // one place per query that runs
	writing chan struct{} // one place per body that is being parsed and stored
	begun   time.Time

	// life is held for reading while a request is served. It guards closed, and
	// engine, which is exchanged when a broken one is reopened.
	life   sync.RWMutex
	closed bool
	engine *engine // nil only if Open failed

	// mu guards ln.
	mu sync.Mutex
	ln net.Listener // nil while Run has it
}

// Open locks cfg.Dir, takes the port and opens what is kept there, which may
// take seconds after a crash. It creates the database, and changes its retention
// to the configured one. The error is one sentence that names the remedy. The
// caller must Close the store, and calls Run to have it answer; requests that
// come in between wait.
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if cfg.Dir == "" {
		return nil, errors.New("store: dir: must be set")
	}
	if err := makeDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, log: log, lock: lock, begun: time.Now(),
		running: make(chan struct{}, cfg.MaxQueries),
		writing: make(chan struct{}, 2), // one parses while the other waits for its fsync
	}
	if s.ln, err = listen(cfg.Listen); err == nil {
		s.engine, err = openEngine(cfg, &s.Stats, log)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	s.handler = s.guard(s.routes())
	return s, nil
}

// makeDir creates dir and proves that it can be written.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		err = probe(dir, 1)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("store: directory %s cannot be written: the disk is full; free some space or set another data_dir", dir)
	}
	if err != nil {
		return fmt.Errorf("store: directory %s cannot be written: %w; let the agent's user (uid %d) own it, or set another data_dir", dir, cause(err), os.Getuid())
	}
	return nil
}

// probe writes a file of size bytes to dir and removes it.
func probe(dir string, size int) error {
	f := filepath.Join(dir, ".probe")
	return errors.Join(os.WriteFile(f, make([]byte, size), 0o600), os.Remove(f))
}

// cause takes the path off an error that is about to be printed beside it.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// listen takes the port.
func listen(addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("store: the port of %s is taken: stop what listens there (another InfluxDB, another agent?), or set listen to a free port", addr)
	case err != nil:
		return nil, fmt.Errorf("store: listen on %s: %w; set listen to an address of this machine's loopback", addr, err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // a hosts file may send localhost anywhere
		return nil, errors.Join(fmt.Errorf("store: %s resolves to %v, which is not loopback; write 127.0.0.1 instead of the name", addr, ln.Addr()), ln.Close())
	}
	return ln, nil
}

// Addr returns the address the store listens on, with the real port if the
// configured one is 0, or nil if it does not listen.
func (s *Store) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return nil
	}
	return s.ln.Addr()
}

// Handler returns the HTTP API. It answers 503 after Close.
func (s *Store) Handler() http.Handler { return s.handler }

// Run answers requests and drops what is past its retention until ctx ends, and
// returns nil then, after giving requests under way some seconds. It returns an
// error only if the port was lost. It may be called again after it returned.
func (s *Store) Run(ctx context.Context) error {
	ln, err := s.listener()
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.tend(stop) })
	failed := make(chan error, 1)
	wg.Go(func() { failed <- srv.Serve(ln) })
	select {
	case err := <-failed:
		return fmt.Errorf("store: serve on %s: %w", s.cfg.Listen, err)
	case <-ctx.Done():
	}
	patience, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if srv.Shutdown(patience) != nil {
		srv.Close() // hangs up; the handlers see their contexts end
	}
	return nil
}

// listener hands the listener over to Run, and listens again if Run had it before.
func (s *Store) listener() (net.Listener, error) {
	if !s.enter() {
		return nil, errClosed
	}
	defer s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	ln := s.ln
	if ln == nil {
		var err error
		if ln, err = listen(s.cfg.Listen); err != nil {
			return nil, err
		}
	}
	s.ln = nil
	return ln, nil
}

// enter begins the service of one request, unless the store is closed. The
// caller calls leave when it is through, and does not enter again before.
func (s *Store) enter() bool {
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return false
	}
	return true
}

// leave ends the service of one request.
func (s *Store) leave() { s.life.RUnlock() }

// tend drops what is past its retention, at once and then every ten minutes, and
// mends a broken engine, until ctx ends. (The engine's own loop would make its
// first check half an hour after a start.)
func (s *Store) tend(ctx context.Context) {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for n := 0; ; n++ {
		if n%120 == 0 && s.enter() {
			s.engine.expire()
			s.leave()
		}
		s.mend()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// mend reopens the engine if it is broken and the disk can be written again.
// Requests wait meanwhile; running queries are ended.
func (s *Store) mend() {
	if !s.enter() {
		return
	}
	e := s.engine
	s.leave()
	if !e.broken.Load() || probe(s.cfg.Dir, 4<<20) != nil {
		return
	}
	_ = e.queries.Close() // never errs
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return
	}
	_ = e.close() // it is broken: what is acknowledged is in the log
	again, err := openEngine(s.cfg, &s.Stats, s.log)
	if err != nil {
		s.log.Error("the store cannot be reopened", "error", err) // every five seconds, but the disk was just probed
		return
	}
	s.engine = again
	s.log.Info("the store takes writes again", "dir", s.cfg.Dir)
}

// Close ends running queries, waits for requests under way and releases the
// directory. Nothing acknowledged depends on it. Run must have returned. Close
// may be called twice.
func (s *Store) Close() error {
	s.life.RLock()
	if s.engine != nil {
		_ = s.engine.queries.Close() // never errs
	}
	s.life.RUnlock()
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	if s.ln != nil {
		errs = append(errs, s.ln.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.close())
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store: close %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// lockDir locks dir for this process; the lock dies with it.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		var pid [16]byte
		n, _ := f.ReadAt(pid[:], 0) // for the message only
		f.Close()
		return nil, fmt.Errorf("store: directory %s is in use by process %s: stop it, or give this agent another data_dir", dir, pid[:n])
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0) // for the message only
	return f, nil
}
