package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"

	"github.com/causeway-agent/causeway/agent/signal"
)

// apiServer asks the API server how it is. Behind its address there may be
// several processes, and a request meets any of them: their counters are told
// apart by the moment the process started.
type apiServer struct {
	rest rest.Interface

	mu   sync.Mutex
	errs [3]error // of livez, readyz, metrics; guarded by mu
}

func (s *apiServer) note(i int, err error) {
	s.mu.Lock()
	s.errs[i] = err
	s.mu.Unlock()
}

func (s *apiServer) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs[:]...)
}

// askFor bounds each question.
const askFor = 5 * time.Second

// sample appends the server's health and, if metrics is set, its metrics.
func (s *apiServer) sample(ctx context.Context, b *signal.Batch, metrics bool) {
	for i, check := range []string{"livez", "readyz"} {
		up, took, err := s.check(ctx, "/"+check)
		s.note(i, err)
		if ctx.Err() != nil {
			return
		}
		now := time.Now().UnixMilli()
		set := signal.Merge(anywhere, signal.Labels("check", check))
		add := func(name, unit string, v float64) {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Unit: unit, Type: signal.Gauge, Labels: set}), Time: now, Value: v})
		}
		add(signal.KubeAPIServerUp, "1", up)
		add(signal.KubeAPIServerTook, "s", took.Seconds())
	}
	if metrics {
		s.note(2, s.scrape(ctx, b))
	}
}

func (s *apiServer) check(ctx context.Context, path string) (up float64, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	began := time.Now()
	body, err := s.rest.Get().AbsPath(path).DoRaw(ctx)
	took = time.Since(began)
	if err != nil {
		return 0, took, explainPath(err, path)
	}
	if strings.TrimSpace(string(body)) == "ok" {
		up = 1
	}
	return up, took, nil
}

func (s *apiServer) scrape(ctx context.Context, b *signal.Batch) error {
	ctx, cancel := context.WithTimeout(ctx, 4*askFor)
	defer cancel()
	body, err := s.rest.Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").Stream(ctx)
	if err != nil {
		return explainPath(err, "/metrics")
	}
	defer body.Close()
	if err := readMetrics(body, time.Now(), b); err != nil {
		return fmt.Errorf("get /metrics: %w", err)
	}
	return nil
}

// family is one of the server's families that we take: its type, and the labels
// that are kept; over all others it is summed. A server has thousands of series
// per family, by resource, group, version, scope, …
type family struct {
	typ    signal.Type
	unit   string
	labels [2]string
}

func families(name string) (family, bool) {
	switch name {
	case "apiserver_request_total":
		return family{signal.Counter, "{request}", [2]string{"code", "verb"}}, true
	case "apiserver_request_duration_seconds_sum":
		return family{signal.Counter, "s", [2]string{"verb"}}, true
	case "apiserver_request_duration_seconds_count":
		return family{signal.Counter, "{request}", [2]string{"verb"}}, true
	case "apiserver_request_terminations_total":
		return family{signal.Counter, "{request}", [2]string{"code"}}, true
	case "apiserver_current_inflight_requests":
		return family{signal.Gauge, "{request}", [2]string{"request_kind"}}, true
	case "apiserver_longrunning_requests":
		return family{signal.Gauge, "{request}", [2]string{"verb"}}, true
	case "apiserver_storage_objects":
		return family{signal.Gauge, "{object}", [2]string{"resource"}}, true
	case "etcd_request_duration_seconds_sum":
		return family{signal.Counter, "s", [2]string{"operation"}}, true
	case "etcd_request_duration_seconds_count":
		return family{signal.Counter, "{request}", [2]string{"operation"}}, true
	case "rest_client_requests_total":
		return family{signal.Counter, "{request}", [2]string{"code", "method"}}, true
	case "process_resident_memory_bytes":
		return family{typ: signal.Gauge, unit: "By"}, true
	case "process_cpu_seconds_total":
		return family{typ: signal.Counter, unit: "s"}, true
	case "go_goroutines":
		return family{typ: signal.Gauge, unit: "{goroutine}"}, true
	case "go_threads":
		return family{typ: signal.Gauge, unit: "{thread}"}, true
	}
	return family{}, false
}

const startFamily = "process_start_time_seconds"

// mostSums bounds the series taken from one answer.
const mostSums = 5000

// readMetrics reads Prometheus' text format, line by line, and appends the sums
// of the families above. A line that does not fit the format is passed over;
// an error is one of reading.
func readMetrics(r io.Reader, now time.Time, b *signal.Batch) error {
	type key struct{ name, v0, v1 string }
	sums := map[key]float64{}
	var order []key // as they came
	start := 0.0
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) { // a line so long is none of ours
			line = nil
			_, err = in.ReadSlice('\n')
		}
		if name, rest := metricName(line); name != nil {
			if f, ours := families(string(name)); ours && len(order) < mostSums {
				k := key{name: string(name)}
				if v, ok := readLine(rest, f.labels, &k.v0, &k.v1); ok {
					if _, there := sums[k]; !there {
						order = append(order, k)
					}
					sums[k] += v
				}
			} else if string(name) == startFamily {
				var none string
				if v, ok := readLine(rest, [2]string{}, &none, &none); ok {
					start = v
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	began := int64(0)
	instance := ""
	if start > 0 && start < 1e11 {
		began = int64(start * 1000)
		instance = time.UnixMilli(began).UTC().Format(time.RFC3339)
	}
	for _, k := range order {
		f, _ := families(k.name)
		pairs := []string{signal.LabelAPIServer, instance}
		if f.labels[0] != "" {
			pairs = append(pairs, f.labels[0], k.v0)
		}
		if f.labels[1] != "" {
			pairs = append(pairs, f.labels[1], k.v1)
		}
		s := signal.Sample{Time: now.UnixMilli(), Value: sums[k]}
		if f.typ == signal.Counter {
			s.Start = began
		}
		s.Series = signal.Intern(signal.Desc{Name: k.name, Unit: f.unit, Type: f.typ, Labels: signal.Merge(anywhere, signal.Labels(pairs...))})
		b.Add(s)
	}
	return nil
}

// metricName splits the name off a line; nil for comments and blank lines.
func metricName(line []byte) (name, rest []byte) {
	i := bytes.IndexAny(line, "{ ")
	if i <= 0 || line[0] == '#' {
		return nil, nil
	}
	return line[:i], line[i:]
}

// readLine reads what follows the name: labels, of which those wanted are
// stored, and the value. A timestamp behind it is passed over.
func readLine(rest []byte, want [2]string, v0, v1 *string) (value float64, ok bool) {
	if rest[0] == '{' {
		rest = rest[1:]
		for {
			rest = bytes.TrimLeft(rest, ", ")
			if len(rest) == 0 {
				return 0, false
			}
			if rest[0] == '}' {
				rest = rest[1:]
				break
			}
			eq := bytes.IndexByte(rest, '=')
			if eq < 0 || eq+1 >= len(rest) || rest[eq+1] != '"' {
				return 0, false
			}
			key := rest[:eq]
			end := closing(rest[eq+2:])
			if end < 0 {
				return 0, false
			}
			text := rest[eq+2 : eq+2+end]
			switch {
			case want[0] != "" && string(key) == want[0]:
				*v0 = unescape(text)
			case want[1] != "" && string(key) == want[1]:
				*v1 = unescape(text)
			}
			rest = rest[eq+2+end+1:]
		}
	}
	f := bytes.Fields(rest)
	if len(f) == 0 {
		return 0, false
	}
	value, err := strconv.ParseFloat(string(f[0]), 64)
	return value, err == nil && !math.IsNaN(value) && !math.IsInf(value, 0)
}

// closing returns where the quote is that ends a value.
func closing(p []byte) int {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func unescape(p []byte) string {
	if bytes.IndexByte(p, '\\') < 0 {
		return string(p)
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(string(p))
}
