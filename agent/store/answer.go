package store

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/query"
	"github.com/klauspost/compress/gzip"
)

// answerJSON writes one JSON value and a newline.
func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nothing to be done
}

// answerError answers the way InfluxDB does: the text in the body and, for
// clients that do not read it, in a header.
func answerError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("X-Influxdb-Error", text[:min(len(text), 1024)])
	answerJSON(w, status, map[string]string{"error": text})
}

// reply writes the results of one query in the form the client asked for.
type reply struct {
	w      http.ResponseWriter
	zip    *gzip.Writer // nil if the client does not take gzip
	out    io.Writer
	pretty bool
	csv    *sheet // nil for JSON
}

// newReply reads from r's headers and form how the client wants its answer.
func newReply(w http.ResponseWriter, r *http.Request) *reply {
	a := &reply{w: w, out: w, pretty: r.FormValue("pretty") == "true"}
	kind := "application/json"
	for _, accept := range strings.Split(r.Header.Get("Accept"), ",") {
		if t, _, _ := strings.Cut(strings.TrimSpace(accept), ";"); t == "text/csv" || t == "application/csv" {
			kind, a.csv = t, &sheet{statement: -1}
			break
		}
	}
	w.Header().Set("Content-Type", kind)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Vary", "Accept-Encoding")
		a.zip, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // errs on an unknown level only
		a.out = a.zip
	}
	return a
}

// response is the body of an answer to a query.
type response struct {
	Results []*query.Result `json:"results,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// write writes results as one JSON document or some lines of CSV.
func (a *reply) write(results []*query.Result) error {
	if a.csv != nil {
		return a.csv.write(a.out, results)
	}
	marshal := json.Marshal
	if a.pretty {
		marshal = func(v any) ([]byte, error) { return json.MarshalIndent(v, "", "    ") }
	}
	text, err := marshal(response{Results: results})
	if err != nil { // JSON has no NaN and no infinity; InfluxDB answers the same way
		if value, ok := errors.AsType[*json.UnsupportedValueError](err); ok {
			err = value
		}
		if text, err = marshal(response{Error: err.Error()}); err != nil {
			return err
		}
	}
	_, err = a.out.Write(append(text, '\n'))
	return err
}

// flush sends what was written so far.
func (a *reply) flush() error {
	if a.zip != nil {
		if err := a.zip.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(a.w).Flush()
}

// close ends the answer.
func (a *reply) close() error {
	if a.zip != nil {
		return a.zip.Close()
	}
	return nil
}

// sheet writes results as CSV: a header line whenever statement or columns change.
type sheet struct {
	statement int
	columns   []string
}

func (s *sheet) write(w io.Writer, results []*query.Result) error {
	out := csv.NewWriter(w)
	for _, r := range results {
		if r.Err != nil {
			_ = out.Write([]string{"error"})
			_ = out.Write([]string{r.Err.Error()})
			continue
		}
		for _, row := range r.Series {
			if r.StatementID != s.statement || !slices.Equal(row.Columns, s.columns) {
				if s.statement >= 0 {
					out.Flush()
					if _, err := io.WriteString(w, "\n"); err != nil {
						return err
					}
				}
				s.statement, s.columns = r.StatementID, row.Columns
				_ = out.Write(append([]string{"name", "tags"}, row.Columns...))
			}
			s.series(out, row)
		}
	}
	out.Flush()
	return out.Error()
}

// series writes the rows of one series.
func (s *sheet) series(out *csv.Writer, row *models.Row) {
	tags := ""
	if key := models.NewTags(row.Tags).HashKey(false); len(key) > 0 {
		tags = string(key[1:]) // without the comma in front
	}
	line := make([]string, 2+len(row.Columns))
	line[0], line[1] = row.Name, tags
	for _, values := range row.Values {
		for i, v := range values {
			line[i+2] = cell(v)
		}
		_ = out.Write(line) // the error stays in out
	}
}

// cell returns one value as text; nothing for a missing one.
func cell(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return strconv.FormatInt(v.UnixNano(), 10)
	}
	return ""
}
