package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxql"
	"go.uber.org/zap"
)

// execute stands in for the engine's statement executor.
type execute func(ctx *query.ExecutionContext, stmt influxql.Statement) error

func (f execute) ExecuteStatement(ctx *query.ExecutionContext, stmt influxql.Statement) error {
	return f(ctx, stmt)
}

func TestAPanicInTheEngineIsAnAnswer(t *testing.T) {
	v := start(t, config(t))
	engine := v.store.engine.queries.StatementExecutor
	v.store.engine.queries.StatementExecutor = execute(func(ctx *query.ExecutionContext, stmt influxql.Statement) error {
		if stmt.String() == "SHOW STATS" {
			panic("broken engine")
		}
		return engine.ExecuteStatement(ctx, stmt)
	})
	for _, chunked := range []string{"false", "true"} {
		v.query("SHOW STATS", "chunked", chunked).wants(t, 200, `"error":"SHOW STATS [panic:broken engine]"`)
	}
	v.query("SHOW DATABASES").wants(t, 200, "causeway")
	if st := &v.store.Stats; st.Panics.Load() != 2 || st.QueryErrors.Load() != 2 {
		t.Errorf("%d panics, %d errors counted, want 2 and 2", st.Panics.Load(), st.QueryErrors.Load())
	}
}

func TestAPanicInAHandlerIsAnAnswer(t *testing.T) {
	v := start(t, config(t))
	h := v.store.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
	w := &recorder{header: http.Header{}}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/query", nil)
	h.ServeHTTP(w, r)
	if !strings.Contains(w.String(), "internal error: oops") || v.store.Stats.Panics.Load() != 1 {
		t.Errorf("answer %q, %d panics counted", w, v.store.Stats.Panics.Load())
	}
	v.store.engine.mapper = nil // a write that panics is accounted for
	a := v.write("m v=1\nm v=2")
	a.wants(t, 500, "internal error")
	if n := v.store.Stats.Failed.Load(); n != 2 {
		t.Errorf("%d points failed, want 2", n)
	}
}

// A stack that overflows ends the process, and deep trees take the compiler for
// ever: whoever raises a limit raises it against this test.
func TestNestingStopsAtALimit(t *testing.T) {
	v := start(t, config(t))
	nest := func(before string, n int, open, inner, end, after string) string {
		return before + strings.Repeat(open, n) + inner + strings.Repeat(end, n) + after
	}
	fits := maxDepth - 20
	v.query(nest("SELECT a FROM ", fits/6, "(SELECT a FROM ", "m", ")", "")).wants(t, 200)
	v.query(nest("SELECT a FROM m WHERE ", fits, "(", "a=1", ")", "")).wants(t, 200)
	v.query(nest("SELECT a FROM m WHERE a=1", fits, " OR a=1", "", "", "")).wants(t, 200)

	v.query(nest("SELECT a FROM m WHERE ", maxOpen+1, "(", "a=1", ")", "")).wants(t, 400, "opening parentheses")
	v.query(nest("SELECT a FROM ", maxDepth/2, "(SELECT a FROM ", "m", ")", "")).wants(t, 400, "levels deep")
	v.query(nest("SELECT a FROM m WHERE a=1", maxDepth, " OR a=1", "", "", "")).wants(t, 400, "levels deep")
	v.query(nest("SELECT a", 100_000, "+a", "", "", " FROM m")).wants(t, 400, "levels deep")
	v.query(nest("SELECT a FROM m WHERE a=1", maxQueryText/3, "!=1", "", "", "")).wants(t, 400, "split the query")
	v.query(nest("SELECT ", 100_000, "-", "a", "", " FROM m")).wants(t, 400)
	v.query(strings.Repeat("SHOW DATABASES;", 2*maxForm/15)).wants(t, 400, "request body too large")
}

func TestQueriesHaveLimits(t *testing.T) {
	cfg := config(t)
	cfg.MaxPoints, cfg.QueryTimeout = 10, 7*time.Second
	v := start(t, cfg)
	v.query("SELECT count(v) FROM m WHERE time > 0 GROUP BY time(1ns)").wants(t, 200, `"error":"max-select-buckets limit exceeded: (`)
	// The engine looks at the other two by the clock, once a second and later.
	q := v.store.engine.queries
	if got := q.StatementExecutor.(*statements).MaxSelectPointN; got != 10 {
		t.Errorf("points limited to %d, want 10", got)
	}
	if got := q.TaskManager.QueryTimeout; got != 7*time.Second {
		t.Errorf("time limited to %v, want 7s", got)
	}
}

// One query runs, the next waits and gives up, the third gets the place.
func TestQueriesWaitForAPlace(t *testing.T) {
	cfg := config(t)
	cfg.MaxQueries = 1
	v := start(t, cfg)
	entered, leave := make(chan struct{}), make(chan struct{})
	v.store.engine.queries.StatementExecutor = execute(func(ctx *query.ExecutionContext, _ influxql.Statement) error {
		entered <- struct{}{}
		select {
		case <-leave:
			return ctx.Send(&query.Result{})
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() { v.query("SHOW DATABASES").wants(t, 200) })
	<-entered
	v.store.cfg.QueryTimeout = time.Millisecond
	v.query("SHOW DATABASES").wants(t, 503, "no place for another query")
	v.store.cfg.QueryTimeout = time.Minute
	wg.Go(func() { v.query("SHOW DATABASES").wants(t, 200) })
	leave <- struct{}{}
	<-entered
	leave <- struct{}{}
	wg.Wait()

	// A query whose client has gone, and one that is killed, ends.
	wg.Go(func() { v.query("SHOW DATABASES").wants(t, 200, `"error":"query interrupted"`) })
	<-entered
	for _, q := range v.store.engine.queries.TaskManager.Queries() {
		if err := v.store.engine.queries.TaskManager.KillQuery(q.ID); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if n := len(v.store.running); n != 0 {
		t.Errorf("%d places taken after all queries ended", n)
	}
}

func TestCloseEndsQueriesAndRefusesRequests(t *testing.T) {
	cfg := config(t)
	s, err := Open(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	entered, leave := make(chan struct{}), make(chan struct{})
	s.engine.queries.StatementExecutor = execute(func(ctx *query.ExecutionContext, _ influxql.Statement) error {
		close(entered)
		<-ctx.Done()
		<-leave
		return ctx.Err()
	})
	ask := func() string {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/query?q=SHOW+DATABASES", nil)
		w := &recorder{header: http.Header{}}
		s.Handler().ServeHTTP(w, r)
		return w.String()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := ask(); !strings.Contains(got, "query engine shutdown") {
			t.Errorf("a query under way got %q", got)
		}
	})
	<-entered
	wg.Go(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for range 300 { // while the query lives, Close waits and the directory stays locked
		if s, err := Open(cfg, quiet()); err == nil {
			s.Close()
			t.Fatal("Close did not wait for the query")
		}
	}
	close(leave)
	wg.Wait()
	if got := ask(); !strings.Contains(got, "the embedded store is closed") {
		t.Errorf("after close: %q", got)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run after Close returned nil")
	}
	if _, err := s.Usage(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("Usage after Close: %v", err)
	}
}

func TestWritersAndReadersTogether(t *testing.T) {
	v := start(t, config(t))
	const writers, rounds, points = 4, 20, 50
	now := time.Now().UnixNano()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				var lines strings.Builder
				for i := range points {
					fmt.Fprintf(&lines, "m,w=%d v=%di %d\n", w, i, now+int64(r*points+i))
				}
				v.write(lines.String()).wants(t, 204)
			}
		})
		wg.Go(func() {
			for range rounds {
				v.query("SELECT count(v) FROM m GROUP BY w; SHOW STATS; SHOW TAG VALUES WITH KEY = w").wants(t, 200)
			}
		})
	}
	wg.Wait()
	v.query("SELECT count(v) FROM m").wants(t, 200, fmt.Sprintf(",%d]", writers*rounds*points))
}

func TestTheEnginesWarningsBecomeOurs(t *testing.T) {
	var out bytes.Buffer
	log := zapTo(slog.New(slog.NewTextHandler(&out, nil))).With(zap.String("service", "x"))
	log.Info("chatter")
	log.Warn("disk slow", zap.Int("shard", 7))
	log.Warn("disk slow", zap.Int("shard", 8)) // the same again: once a minute is enough
	log.Error("disk full")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 ||
		!strings.Contains(lines[0], `level=WARN msg="the store's engine reports" text="disk slow" service=x shard=7`) ||
		!strings.Contains(lines[1], `level=ERROR msg="the store's engine reports" text="disk full" service=x`) {
		t.Errorf("logged:\n%s", out.String())
	}
}

func TestABrokenEngineIsMended(t *testing.T) {
	for _, text := range []string{ // as seen on a full disk
		"engine: error writing WAL entry: write /d/wal/causeway/autogen/1/_00002.wal: no space left on device",
		"[shard 1] error rolling WAL segment: error opening new segment file",
		"open /d/data/causeway/_series/05/0001: no space left on device",
		"write /d/wal/causeway/autogen/1/_00002.wal: no space left on device",
	} {
		if !broken(errors.New(text)) {
			t.Errorf("not taken for broken: %s", text)
		}
	}
	if broken(errors.New("engine: cache-max-memory-size exceeded: (5/4)")) {
		t.Error("a full cache is taken for broken")
	}
	s, err := Open(config(t), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func() {
		t.Helper()
		if status, out := ask(t, s, "POST", "/write?db=causeway", strings.NewReader("m v=1")); status != 204 {
			t.Errorf("%d %s", status, out)
		}
	}
	write()
	old := s.engine
	s.mend()
	if s.engine != old {
		t.Error("a sound engine was reopened")
	}
	old.broken.Store(true)
	s.mend()
	if s.engine == old || s.engine.broken.Load() {
		t.Error("the broken engine was not reopened")
	}
	write()
	if _, out := ask(t, s, "GET", "/query?db=causeway&q=SELECT+count(v)+FROM+m", nil); !strings.Contains(string(out), ",2]") {
		t.Errorf("after mending: %s", out)
	}
}
