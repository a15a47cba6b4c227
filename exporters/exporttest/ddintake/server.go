package ddintake

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// The limits of one request to /api/v2/series as it travels, and of any body
// once it is unpacked (docs.datadoghq.com/api/latest/metrics/#submit-metrics).
const (
	mostPacked = 512_000
	mostBody   = 6 << 20
)

// Series is what a reader of Datadog's data sees of one series.
type Series struct {
	Metric string
	Host   string
	Tags   []string // sorted
	Type   int      // 1 count, 3 gauge
	Unit   string
	Points map[int64]float64 // by Unix seconds; the last one that came counts
}

// Log is one log as it came.
type Log map[string]any

// Server is an Intake with an address of its own, one key, and books. The zero
// value is not one: see New.
type Server struct {
	key string

	mu       sync.Mutex
	series   map[string]*Series // by identity; guarded by mu, as all below
	values   []Values
	logs     []Log
	events   []Event
	checks   []Check
	requests map[string]int // by path; only those that were taken
	bodies   []int          // logs in each body of logs that was taken
	refused  []string
	doubled  int // counts that came again with another value
	answer   func(r *http.Request) int
}

// New returns a Server that takes what bears the key. It is an http.Handler.
func New(key string) *Server {
	return &Server{key: key, series: map[string]*Series{}, requests: map[string]int{}}
}

// Answer makes f answer each request before the Server looks at it, with a
// status of its own; 0 leaves it to the Server. nil takes f away.
func (s *Server) Answer(f func(r *http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// ServeHTTP answers as Datadog does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if code := answer(r); code != 0 {
			http.Error(w, `{"errors":["as told"]}`, code)
			return
		}
	}
	if r.Header.Get("Dd-Api-Key") != s.key {
		http.Error(w, `{"status":"error","code":403,"errors":["Forbidden"]}`, http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == "/api/v1/validate" {
		fmt.Fprint(w, `{"valid":true}`)
		return
	}
	body, err := unpack(r)
	if err == nil {
		err = s.take(r, body)
	}
	if err != nil {
		s.mu.Lock()
		s.refused = append(s.refused, r.URL.Path+": "+err.Error())
		s.mu.Unlock()
		http.Error(w, `{"errors":[`+strconv.Quote(err.Error())+`]}`, http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprint(w, `{"errors":[]}`)
}

// unpack reads a body as its Content-Encoding says.
func unpack(r *http.Request) ([]byte, error) {
	packed, err := io.ReadAll(io.LimitReader(r.Body, mostBody))
	if err != nil {
		return nil, err
	}
	var from io.Reader = bytes.NewReader(packed)
	switch e := r.Header.Get("Content-Encoding"); e {
	case "":
	case "gzip":
		from, err = gzip.NewReader(from)
	case "deflate":
		from, err = zlib.NewReader(from)
	case "zstd1":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(from); err == nil {
			defer d.Close()
			from = d
		}
	default:
		err = fmt.Errorf("no such Content-Encoding: %q", e)
	}
	if err != nil {
		return nil, err
	}
	if r.URL.Path == "/api/v2/series" && len(packed) > mostPacked {
		return nil, fmt.Errorf("%d bytes packed", len(packed))
	}
	return io.ReadAll(io.LimitReader(from, mostBody))
}

// take reads a body and books it.
func (s *Server) take(r *http.Request, body []byte) error {
	in := Intake{Now: time.Now()}
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		return fmt.Errorf("Content-Type %q", ct)
	}
	switch r.URL.Path {
	case "/api/v2/series":
		list, err := in.Series(body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range list {
			s.bookLocked(p)
		}
	case "/api/v1/distribution_points":
		if e := r.Header.Get("Content-Encoding"); e != "" && e != "deflate" {
			return fmt.Errorf("Content-Encoding %q, and only deflate is documented", e)
		}
		list, err := in.Distributions(body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.values = append(s.values, list...)
	case "/api/v2/logs":
		list, err := in.Logs(body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range list {
			s.logs = append(s.logs, l)
		}
		s.bodies = append(s.bodies, len(list))
	case "/api/v1/events":
		e, err := in.Event(body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	case "/api/v1/check_run":
		list, err := in.Checks(body)
		if err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.checks = append(s.checks, list...)
	default:
		return errors.New("no such place")
	}
	s.requests[r.URL.Path]++
	return nil
}

func (s *Server) bookLocked(p Point) {
	host := ""
	if len(p.Resources) > 0 {
		host = p.Resources[0].Name
	}
	tags := slices.Sorted(slices.Values(p.Tags))
	key := p.Metric + "\x00" + host + "\x00" + strings.Join(tags, ",")
	of := s.series[key]
	if of == nil {
		of = &Series{Metric: p.Metric, Host: host, Tags: tags, Points: map[int64]float64{}}
		s.series[key] = of
	}
	if of.Type = p.Type; p.Unit != nil {
		of.Unit = *p.Unit
	}
	at, v := *p.Points[0].Timestamp, *p.Points[0].Value
	if old, ok := of.Points[at]; ok && old != v && p.Type == 1 {
		s.doubled++
	}
	of.Points[at] = v
}

// Series returns what there is of the metric, copied; of all metrics if it is "".
func (s *Server) Series(metric string) []Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Series
	for _, of := range s.series {
		if metric != "" && of.Metric != metric {
			continue
		}
		c := *of
		c.Points = make(map[int64]float64, len(of.Points))
		for at, v := range of.Points {
			c.Points[at] = v
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Series) int {
		return strings.Compare(a.Metric+a.Host+strings.Join(a.Tags, ","), b.Metric+b.Host+strings.Join(b.Tags, ","))
	})
	return list
}

// Values returns the distribution points that came, each as often as it came:
// Datadog counts them all.
func (s *Server) Values() []Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values)
}

// Logs returns the logs that came, each as often as it came, in their order.
func (s *Server) Logs() []Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logs)
}

// Newest says how many logs the newest n bodies of logs held, together: no more
// than that can have been on their way at this moment in n requests.
func (s *Server) Newest(n int) (logs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bodies[max(0, len(s.bodies)-n):] {
		logs += int64(b)
	}
	return logs
}

// Events returns the events that came.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Checks returns the outcomes of checks that came.
func (s *Server) Checks() []Check {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.checks)
}

// Requests says how many requests to a path were taken.
func (s *Server) Requests(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// Refused returns what was refused and why, in order. An exporter that keeps
// the rules has nothing here.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

// Overwritten says how many counts came again for the same second with another
// value: the increase that was there is lost to a reader. A gauge that comes
// again within its second is only newer.
func (s *Server) Overwritten() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.doubled
}
