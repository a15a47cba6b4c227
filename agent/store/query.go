package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxql"
)

// Limits of one query's text. The parser recurses by the parenthesis, the
// compiler by the level, and a Go program whose stack overflows cannot be saved;
// and the compiler's time grows with the third power of the depth (2 s at a
// thousand levels, two minutes at four thousand), which no timeout interrupts.
const (
	maxQueryText = 256 << 10
	maxForm      = 1 << 20
	maxOpen      = 1000 // opening parentheses in all: a bound of their depth that no quoting can deceive
	maxDepth     = 1000 // levels of the syntax tree: a thousand alternatives joined by OR
)

// maxChunk is how many rows the engine hands over at a time; InfluxDB's own default.
const maxChunk = 10000

// request is a query as asked for.
type request struct {
	statements *influxql.Query
	options    query.ExecutionOptions
	epoch      time.Duration // unit of time stamps; 0: RFC 3339
	chunked    bool
	async      bool
}

// serveQuery is GET or POST /query?q=&db=&rp=&epoch=&pretty=&chunked=&chunk_size=&params=&async=.
func (s *Store) serveQuery(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	q, err := parseRequest(r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.Stats.Queries.Add(1)
	if !s.wait(r.Context()) {
		s.Stats.QueryErrors.Add(1)
		answerError(w, http.StatusServiceUnavailable, fmt.Sprintf("no place for another query within %v: %d are running", s.cfg.QueryTimeout, s.cfg.MaxQueries))
		return
	}
	if q.async {
		go func() { // ends when its query does, which Close brings about
			defer func() { <-s.running }()
			if !s.enter() {
				return
			}
			defer s.leave()
			_ = s.run(context.WithoutCancel(r.Context()), q, func(*query.Result) error { return nil }) // asked not to know
		}()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	defer func() { <-s.running }()
	a := newReply(w, r)
	if q.chunked {
		err = s.run(r.Context(), q, func(r *query.Result) error {
			return errors.Join(a.write([]*query.Result{r}), a.flush())
		})
	} else {
		whole := gathered{left: s.cfg.MaxRows}
		err = s.run(r.Context(), q, whole.add)
		if errors.Is(err, errEnough) {
			s.Stats.QueryCuts.Add(1)
			err = nil
		}
		if err == nil {
			err = a.write(whole.results)
		}
	}
	if err = errors.Join(err, a.close()); err != nil {
		panic(http.ErrAbortHandler) // the client has gone
	}
}

// wait takes a place among the running queries, and says whether it got one in
// time. The caller gives it back.
func (s *Store) wait(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.QueryTimeout)
	defer cancel()
	s.Stats.QueryWaiting.Add(1)
	defer s.Stats.QueryWaiting.Add(-1)
	select {
	case s.running <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// run executes q and calls each for every result, until each returns an error,
// which run returns. It waits for the query's end in any case: ctx's end and
// each's error make it come soon.
func (s *Store) run(ctx context.Context, q *request, each func(*query.Result) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	context.AfterFunc(ctx, func() { close(gone) })
	results := s.engine.queries.ExecuteQuery(q.statements, q.options, gone)
	var failed bool
	var err error
	for r := range results { // to the end: the engine waits for us to take each
		if r == nil || err != nil {
			continue
		}
		if r.Err != nil && !failed {
			failed = true
			s.Stats.QueryErrors.Add(1)
		}
		if r.StatementID == -1 { // so the engine marks a panic it survived
			s.Stats.Panics.Add(1)
			r.StatementID = 0
		}
		toEpoch(r, q.epoch)
		if err = each(r); err != nil {
			cancel()
		}
	}
	return err
}

// parseRequest reads the form of a query.
func parseRequest(r *http.Request) (*request, error) {
	text, err := queryText(r)
	if err != nil {
		return nil, err
	}
	if strings.Count(text, "(") > maxOpen {
		return nil, fmt.Errorf("error parsing query: more than %d opening parentheses; split the query", maxOpen)
	}
	parser := influxql.NewParser(strings.NewReader(text))
	if raw := r.FormValue("params"); raw != "" {
		params, err := parseParams(raw)
		if err != nil {
			return nil, fmt.Errorf("error parsing query parameters: %w", err)
		}
		parser.SetParams(params)
	}
	q := &request{epoch: epochUnit(strings.TrimSpace(r.FormValue("epoch")))}
	if q.statements, err = parser.ParseQuery(); err != nil {
		return nil, fmt.Errorf("error parsing query: %w", err)
	}
	var depth int
	influxql.Walk(level{deepest: &depth}, q.statements)
	if depth > maxDepth {
		return nil, fmt.Errorf("error parsing query: expressions nest %d levels deep, %d is the limit; use a regular expression instead of many alternatives", depth, maxDepth)
	}
	q.async = r.FormValue("async") == "true"
	q.chunked = r.FormValue("chunked") == "true"
	q.options = query.ExecutionOptions{
		Database:         r.FormValue("db"),
		RetentionPolicy:  r.FormValue("rp"),
		ChunkSize:        maxChunk,
		ReadOnly:         r.Method == http.MethodGet,
		Authorizer:       query.OpenAuthorizer,
		CoarseAuthorizer: query.OpenCoarseAuthorizer,
		Host:             r.RemoteAddr,
		Quiet:            true, // queries are nobody's news
	}
	if n, err := strconv.Atoi(r.FormValue("chunk_size")); err == nil && q.chunked && n > 0 {
		q.options.ChunkSize = min(n, maxChunk)
	}
	return q, nil
}

// level measures the depth of a syntax tree on influxql.Walk's way down.
type level struct {
	n       int
	deepest *int
}

// Visit notes the level and goes one deeper.
func (l level) Visit(influxql.Node) influxql.Visitor {
	*l.deepest = max(*l.deepest, l.n)
	return level{l.n + 1, l.deepest}
}

// queryText returns q, which is a form value or, in a multipart form, a file.
func queryText(r *http.Request) (string, error) {
	err := r.ParseForm() // ParseMultipartForm would hide its error
	if err == nil {
		err = r.ParseMultipartForm(maxForm)
	}
	if err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return "", fmt.Errorf("read form: %w", err)
	}
	text := strings.TrimSpace(r.FormValue("q"))
	if text == "" && r.MultipartForm != nil && len(r.MultipartForm.File["q"]) > 0 {
		f, err := r.MultipartForm.File["q"][0].Open()
		if err != nil {
			return "", fmt.Errorf("read file q: %w", err)
		}
		defer f.Close()
		p, err := io.ReadAll(f)
		if err != nil {
			return "", fmt.Errorf("read file q: %w", err)
		}
		text = strings.TrimSpace(string(p))
	}
	if text == "" {
		return "", errors.New(`missing required parameter "q"`)
	}
	if len(text) > maxQueryText {
		return "", fmt.Errorf("error parsing query: %d bytes of text, %d is the limit; split the query", len(text), maxQueryText)
	}
	return text, nil
}

// parseParams reads the values of a query's $names. Whole numbers stay whole.
func parseParams(raw string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(raw))
	d.UseNumber() // influxql knows json.Number
	var params map[string]any
	if err := d.Decode(&params); err != nil {
		return nil, err
	}
	return params, nil
}

// epochUnit returns the unit in which time stamps are asked for; an unknown one
// means nanoseconds, as in InfluxDB.
func epochUnit(s string) time.Duration {
	switch s {
	case "":
		return 0
	case "u", "µ":
		return time.Microsecond
	case "ms":
		return time.Millisecond
	case "s":
		return time.Second
	case "m":
		return time.Minute
	case "h":
		return time.Hour
	}
	return time.Nanosecond
}

// toEpoch turns the time stamps of r into numbers.
func toEpoch(r *query.Result, unit time.Duration) {
	if unit == 0 {
		return
	}
	for _, row := range r.Series {
		for _, v := range row.Values {
			if len(v) == 0 {
				continue
			}
			if t, ok := v[0].(time.Time); ok {
				v[0] = t.UnixNano() / int64(unit)
			}
		}
	}
}

// errEnough ends a query whose answer is as long as it may be.
var errEnough = errors.New("enough rows")

// gathered joins results into one answer: the engine hands them over in chunks.
type gathered struct {
	results []*query.Result
	left    int // rows that still fit
}

// add appends r, and returns errEnough when nothing more fits.
func (g *gathered) add(r *query.Result) error {
	for i, row := range r.Series {
		if len(row.Values) > g.left {
			row.Values, row.Partial = row.Values[:g.left], true
			r.Series = r.Series[:i+1]
			r.Partial = false // means that more is to come, and it is not
			r.Messages = append(r.Messages, &query.Message{Level: query.WarningLevel,
				Text: "the answer was cut at the limit of rows (max_rows): ask for less, or with chunked=true"})
			g.merge(r)
			return errEnough
		}
		g.left -= len(row.Values)
	}
	g.merge(r)
	return nil
}

// merge appends r to the result of its statement, and its rows to their series.
func (g *gathered) merge(r *query.Result) {
	if len(g.results) == 0 || g.results[len(g.results)-1].StatementID != r.StatementID {
		g.results = append(g.results, r)
		return
	}
	last := g.results[len(g.results)-1]
	if r.Err != nil {
		*last = *r // half an answer is no answer
		return
	}
	series := r.Series
	if len(last.Series) > 0 && len(series) > 0 && last.Series[len(last.Series)-1].SameSeries(series[0]) {
		row := last.Series[len(last.Series)-1]
		row.Values = append(row.Values, series[0].Values...)
		row.Partial = series[0].Partial
		series = series[1:]
	}
	last.Series = append(last.Series, series...)
	last.Messages = append(last.Messages, r.Messages...)
	last.Partial = r.Partial
}
