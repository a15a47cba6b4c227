package nrintake

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"
)

// Server is New Relic's ingest: an http.Handler for all its APIs, to stand
// behind the url of a destination. The zero Server takes every key.
type Server struct {
	Key     string           // license key; "" takes any
	UserKey string           // of NerdGraph
	Account string           // number of the account; "" takes any
	Clock   func() time.Time // nil: ages are not looked at

	mu       sync.Mutex
	script   []int // guarded by mu
	metrics  []Metric
	logs     []Log
	events   []Event
	errors   []string
	requests map[string]int
}

// Answer makes the server answer the next requests with these statuses, one
// each, storing nothing: 408, 413, 429 (with Retry-After), 5xx, and so on.
func (s *Server) Answer(statuses ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = append(s.script, statuses...)
}

// Metrics returns every data point taken, in the order they came.
func (s *Server) Metrics() []Metric { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.metrics) }

// Logs returns every line taken.
func (s *Server) Logs() []Log { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.logs) }

// Events returns every event taken.
func (s *Server) Events() []Event { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.events) }

// Errors returns what a query for NrIntegrationError would: items that were
// received with a yes, and dropped.
func (s *Server) Errors() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.errors) }

// Requests returns how many requests came to a path.
func (s *Server) Requests(path string) int { s.mu.Lock(); defer s.mu.Unlock(); return s.requests[path] }

// Entities returns what New Relic would show pages of, made of metrics.
func (s *Server) Entities() []Entity { return Entities(s.Metrics()) }

// ServeHTTP answers as New Relic does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	api := s.api(r.URL.Path)
	if status := s.scripted(r.URL.Path); status != 0 {
		refuse(w, api, status, "as the test wants it")
		return
	}
	if status, why := s.admit(api, r); status != 0 {
		refuse(w, api, status, why)
		return
	}
	packed, err := io.ReadAll(io.LimitReader(r.Body, mostBody+1))
	if err != nil {
		return // the client went away
	}
	if len(packed) > mostBody {
		refuse(w, api, http.StatusRequestEntityTooLarge, "payload is larger than 1000000 bytes")
		return
	}
	body, err := unpack(packed, r.Header.Get("Content-Encoding"))
	if err == nil {
		err = s.take(api, body)
	}
	if err != nil {
		refuse(w, api, http.StatusBadRequest, err.Error())
		return
	}
	w.Header().Set("Content-Type", contentType(api))
	switch api {
	case "metric", "log":
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"requestId":"f0e7bfff-001a-b000-0000-01682bcf4565"}`)
	case "event":
		_, _ = io.WriteString(w, `{"success":true,"uuid":"4af3b7ff-0001-b000-0000-016f86e2bb29"}`)
	case "graph":
		_, _ = io.WriteString(w, `{"data":{"actor":{"user":{"name":"test"}}}}`)
	default: // OTLP: an empty response, everything taken
		w.WriteHeader(http.StatusOK)
	}
}

// api names the API of a path; "" if there is none.
func (s *Server) api(path string) string {
	switch path {
	case "/metric/v1":
		return "metric"
	case "/log/v1":
		return "log"
	case "/v1/metrics":
		return "otlp metrics"
	case "/v1/logs":
		return "otlp logs"
	case "/graphql":
		return "graph"
	case "/v1/accounts/events":
		return "event"
	}
	account, is := strings.CutPrefix(path, "/v1/accounts/")
	account, ends := strings.CutSuffix(account, "/events")
	if is && ends && account != "" && strings.Trim(account, "0123456789") == "" && (s.Account == "" || s.Account == account) {
		return "event"
	}
	return ""
}

func contentType(api string) string {
	if strings.HasPrefix(api, "otlp") {
		return "application/x-protobuf"
	}
	return "application/json"
}

func (s *Server) scripted(path string) (status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests = map[string]int{}
	}
	s.requests[path]++
	if len(s.script) > 0 {
		status, s.script = s.script[0], s.script[1:]
	}
	return status
}

// admit looks at a request before its body; 0 lets it in.
func (s *Server) admit(api string, r *http.Request) (status int, why string) {
	key := s.Key
	if api == "graph" {
		key = s.UserKey
	}
	got := r.Header.Values("Api-Key")
	encoding := r.Header.Get("Content-Encoding")
	switch {
	case len(r.URL.RequestURI()) > 8192:
		return http.StatusRequestURITooLong, "URI too long"
	case api == "":
		return http.StatusNotFound, "no such path"
	case r.Method != http.MethodPost:
		return http.StatusMethodNotAllowed, "POST"
	case len(got) != 1 || got[0] == "" || key != "" && got[0] != key:
		return http.StatusForbidden, "no such key"
	case r.ContentLength < 0:
		return http.StatusLengthRequired, "Content-Length"
	case r.ContentLength > mostBody:
		return http.StatusRequestEntityTooLarge, "payload is larger than 1000000 bytes"
	case r.Header.Get("Content-Type") != contentType(api):
		return http.StatusUnsupportedMediaType, "Content-Type"
	case encoding != "" && encoding != "gzip" && !(encoding == "zstd" && strings.HasPrefix(api, "otlp")):
		return http.StatusUnsupportedMediaType, "Content-Encoding"
	}
	return 0, ""
}

func unpack(packed []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "gzip": // the standard library's: not the one that packed it
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	case "zstd":
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return d.DecodeAll(packed, nil)
	}
	return packed, nil
}

// take reads a body and enters it into the books. A body with a part that
// cannot be read is not stored.
func (s *Server) take(api string, body []byte) error {
	in := Intake{}
	if s.Clock != nil {
		in.Now = s.Clock()
	}
	var metrics []Metric
	var logs []Log
	var events []Event
	var bad []error
	var err error
	switch api {
	case "metric":
		metrics, bad, err = in.Metrics(body)
	case "log":
		logs, bad, err = in.Logs(body)
	case "event":
		events, bad, err = in.Events(body)
	case "otlp metrics":
		metrics, bad, err = in.OTLPMetrics(body)
	case "otlp logs":
		logs, events, bad, err = in.OTLPLogs(body)
	case "graph":
		var q struct {
			Query string `json:"query"`
		}
		if err := json.Unmarshal(body, &q); err != nil || !strings.HasPrefix(q.Query, "{actor{") {
			return errors.New("no such question")
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics, s.logs, s.events = append(s.metrics, metrics...), append(s.logs, logs...), append(s.events, events...)
	for _, e := range bad {
		s.errors = append(s.errors, e.Error())
	}
	return nil
}

// refuse answers no, in the shape of the API.
func refuse(w http.ResponseWriter, api string, status int, why string) {
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "60")
	}
	w.Header().Set("Content-Type", contentType(api))
	w.WriteHeader(status)
	if strings.HasPrefix(api, "otlp") { // google.rpc.Status
		body := protowire.AppendTag(nil, 1, protowire.VarintType)
		body = protowire.AppendVarint(body, 3)
		body = protowire.AppendTag(body, 2, protowire.BytesType)
		_, _ = w.Write(protowire.AppendString(body, why))
		return
	}
	_, _ = fmt.Fprintf(w, `{"error":{"message":%q}}`, why)
}
