package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/influxdata/influxdb"
	"github.com/influxdata/influxdb/models"
	"github.com/klauspost/compress/gzip"
)

// serveWriteV1 is POST /write?db=&rp=&precision=.
func (s *Store) serveWriteV1(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	precision := q.Get("precision")
	switch precision {
	case "", "n", "ns", "u", "ms", "s", "m", "h":
	default:
		answerError(w, http.StatusBadRequest, fmt.Sprintf("invalid precision %q (use n, u, ms, s, m or h)", precision))
		return
	}
	if level := q.Get("consistency"); level != "" { // one node: it changes nothing, but a wrong word is still wrong
		if _, err := models.ParseConsistencyLevel(level); err != nil {
			answerError(w, http.StatusBadRequest, err.Error())
			return
		}
	}
	s.serveWrite(w, r, q.Get("db"), q.Get("rp"), precision)
}

// serveWriteV2 is POST /api/v2/write?bucket=db/rp&precision=, as 1.8 and later have it.
func (s *Store) serveWriteV2(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	precision := q.Get("precision")
	switch precision {
	case "", "ms", "s":
	case "ns":
		precision = "n"
	case "us":
		precision = "u"
	default:
		answerError(w, http.StatusBadRequest, fmt.Sprintf("invalid precision %q (use ns, us, ms or s)", precision))
		return
	}
	db, rp, _ := strings.Cut(q.Get("bucket"), "/")
	if db == "" {
		answerError(w, http.StatusNotFound, fmt.Sprintf("bucket name %q is not in \"database\" or \"database/retention-policy\" form", q.Get("bucket")))
		return
	}
	s.serveWrite(w, r, db, rp, precision)
}

// serveWrite stores a body of line protocol. The texts and codes are InfluxDB's:
// clients match on them.
func (s *Store) serveWrite(w http.ResponseWriter, r *http.Request, db, rp, precision string) {
	if db == "" {
		answerError(w, http.StatusBadRequest, "database is required")
		return
	}
	if s.engine.meta.Database(db) == nil {
		answerError(w, http.StatusNotFound, fmt.Sprintf("database not found: %q", db))
		return
	}
	body, err := readBody(r, s.cfg.MaxBody)
	if errors.Is(err, errOversize) {
		s.Stats.Oversize.Add(1)
		_, _ = io.CopyN(io.Discard, r.Body, 8*s.cfg.MaxBody) // a client cut off amid writing sees a reset, not the 413
		answerError(w, http.StatusRequestEntityTooLarge, http.StatusText(http.StatusRequestEntityTooLarge))
		return
	}
	if err != nil {
		answerError(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case s.writing <- struct{}{}:
		defer func() { <-s.writing }()
	case <-r.Context().Done():
		return // nobody is left to tell
	}
	status, text := s.store(db, rp, precision, body)
	if text != "" {
		answerError(w, status, text)
		return
	}
	w.WriteHeader(status)
}

// store parses and stores a body, and returns the answer; an empty text is good news.
func (s *Store) store(db, rp, precision string, body []byte) (status int, text string) {
	st := &s.Stats
	st.Writes.Add(1)
	st.Bytes.Add(int64(len(body)))
	points, malformed := models.ParsePointsWithPrecision(body, time.Now().UTC(), precision)
	if malformed != nil {
		st.Malformed.Add(1)
		if len(points) == 0 {
			return http.StatusBadRequest, malformed.Error()
		}
	}
	n := int64(len(points))
	st.Points.Add(n)
	booked := false
	defer func() {
		if !booked { // a panic
			st.Failed.Add(n)
		}
	}()
	refused, err := s.engine.write(db, rp, points)
	booked = true
	if err != nil {
		st.Failed.Add(n)
		if influxdb.IsClientError(err) {
			return http.StatusBadRequest, err.Error()
		}
		return http.StatusInternalServerError, err.Error()
	}
	st.Dropped.Add(int64(refused.dropped))
	st.Stored.Add(n - int64(refused.dropped))
	if malformed != nil {
		refused.reasons = append([]string{malformed.Error()}, refused.reasons...)
	}
	if len(refused.reasons) > 0 {
		return http.StatusBadRequest, refused.text(db, rp)
	}
	return http.StatusNoContent, ""
}

// errOversize means that a body is longer than it may be.
var errOversize = errors.New("body too large")

// readBody returns r's body, inflated if it says gzip. Both the bytes on the
// wire and what they inflate to may be limit long.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errOversize
	}
	wire := &io.LimitedReader{R: r.Body, N: limit + 1}
	var body io.Reader = wire
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		defer z.Close()
		body = z
	}
	var buf bytes.Buffer
	buf.Grow(int(max(r.ContentLength, 0)) + bytes.MinRead)
	n, err := buf.ReadFrom(io.LimitReader(body, limit+1))
	switch {
	case n > limit || wire.N == 0:
		return nil, errOversize
	case err != nil:
		return nil, fmt.Errorf("read body: %w", err)
	}
	return buf.Bytes(), nil
}
