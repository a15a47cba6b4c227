// Package otlp receives metrics and logs by OTLP, over gRPC and HTTP, from
// applications with an OpenTelemetry SDK and from collectors.
//
// The agent runs a Source; each request is decoded into one batch per kind and
// handed to the Sink, and answered when the Sink has it. serve.go speaks the two
// transports, wire.go reads protobuf, metrics.go and logs.go turn what it says
// into samples and lines. (opentelemetry.io/docs/specs/otlp 1.8,
// opentelemetry-proto 1.11.)
//
// What always holds:
//
//  1. A request is answered with success only when the Sink has taken it: what
//     the sender was told is safe is on disk.
//  2. A request that does not decode is refused whole and for good (the sender
//     must not repeat it); a point or record with a defect of its own is
//     rejected alone, counted, and named in the partial success.
//  3. A Sink that does not take anything within Patience, or too many requests
//     at once, is answered as the protocol wants it: 503 or UNAVAILABLE, with
//     the time after which to try again. Nothing of such a request is lost, for
//     the sender has it; parts of it may come twice.
//  4. Bodies are bounded before and after they are unpacked.
//  5. Traces are refused with a word that says so.
//
// What becomes of what: a cumulative monotonic sum is a Counter with its start,
// a delta sum (monotonic or not) a Delta, any other sum and a gauge a Gauge;
// histograms are Dist or CumDist, exponential ones as they are, summaries
// CumDist with quantiles. A point without a value (no-recorded-value flag) is
// taken and left out. Exemplars of histograms are kept, the ten newest of each;
// others are left out and counted. Attributes of the resource become labels under their own names, as OpenTelemetry's names are our
// vocabulary already, but for those of dropped(): what describes the SDK or the
// process would only make series of each restart, and the host is this node.
//
// Memory: one decoder, used by one request at a time, remembers series by the
// bytes they were sent as, so that a known series allocates nothing; what was
// not sent for Forget is forgotten. Requests run in the transports' goroutines;
// Run waits for them. The package samples nothing, converts no counters and asks
// no Kubernetes.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
)

// Patience is how long one request may wait for the spool before its sender is
// asked to come again. SDKs give up after 10 s (OTEL_EXPORTER_OTLP_TIMEOUT).
const Patience = 8 * time.Second

// Forget is how long a series that is not sent any more is remembered.
const Forget = 15 * time.Minute

// atOnce is how many requests are worked on at the same time; one more is asked
// to come again.
const atOnce = 32

// Config is the section collect.otlp of agent.yaml.
type Config struct {
	Enabled  string        `yaml:"enabled"`   // true | false
	GRPC     string        `yaml:"grpc"`      // host:port; empty: no gRPC
	HTTP     string        `yaml:"http"`      // host:port; empty: no HTTP
	MaxBody  int64         `yaml:"max_body"`  // bytes of one request, unpacked
	KeepHost bool          `yaml:"keep_host"` // take host.* from the sender: for what other machines send here
	Token    secret.String `yaml:"token"`     // senders must bear it: "Authorization: Bearer …"; empty: anybody may send
	TLS      TLS           `yaml:"tls"`
}

// TLS names PEM files; without them connections are not encrypted.
type TLS = collect.ServerTLS

// Default listens nowhere, and at OTLP's own ports once it is enabled.
func Default() Config {
	return Config{Enabled: "false", GRPC: "127.0.0.1:4317", HTTP: "127.0.0.1:4318", MaxBody: 20 << 20}
}

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Enabled != "true" && c.Enabled != "false" {
		bad("enabled: must be true or false, not %q", c.Enabled)
	}
	if c.Enabled == "true" && c.GRPC == "" && c.HTTP == "" {
		bad("grpc: must be host:port, or http, or enabled be false")
	}
	if c.GRPC != "" && c.GRPC == c.HTTP && !strings.HasSuffix(c.GRPC, ":0") {
		bad("http: %q is grpc's already; each needs a port of its own", c.HTTP)
	}
	for _, a := range [...]struct{ key, at string }{{"grpc", c.GRPC}, {"http", c.HTTP}} {
		if a.at == "" {
			continue
		}
		_, port, err := net.SplitHostPort(a.at)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			bad("%s: %q must be host:port, such as 127.0.0.1:4317, or empty", a.key, a.at)
		}
	}
	if c.MaxBody < 64<<10 || c.MaxBody > 256<<20 {
		bad("max_body: must be between 64KiB and 256MiB")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		bad("tls.cert_file: a certificate and its key_file are set together")
	}
	if c.TLS.ClientCA != "" && c.TLS.CertFile == "" {
		bad("tls.client_ca: asks senders for certificates, and there is no cert_file of our own")
	}
	return errors.Join(errs...)
}

// Stats counts what came. Of items:
//
//	points + lines received == Items + Rejected + Empty + Failed
type Stats struct {
	Requests  atomic.Int64 // that decoded
	Items     atomic.Int64 // points and lines handed to the Sink
	Rejected  atomic.Int64 // points with a defect, named in a partial success
	Empty     atomic.Int64 // points that say that there is no value
	Failed    atomic.Int64 // items the Sink did not take in time; their sender has them
	Exemplars atomic.Int64 // left out: of numbers, and beyond signal.MaxExemplars
	Malformed atomic.Int64 // requests that did not decode, or were too large
	Refused   atomic.Int64 // requests without the token, of a wrong content type, or traces
	Busy      atomic.Int64 // requests that were asked to come again
	Series    atomic.Int64 // remembered
}

// Source is the OTLP receiver. It is a collect.Source.
type Source struct {
	conf  Config
	log   *slog.Logger
	stats Stats

	slots chan struct{} // one for each request that is worked on; see atOnce
	mu    sync.Mutex
	dec   decoder  // guarded by mu
	bound []string // guarded by mu: where it listens
}

// New returns a Source. c must have passed Check.
func New(c Config, log *slog.Logger) *Source {
	s := &Source{conf: c, log: log, slots: make(chan struct{}, atOnce)}
	s.dec.keepHost = c.KeepHost
	return s
}

// Stats may be read while the Source runs.
func (s *Source) Stats() *Stats { return &s.stats }

// Bound returns where the Source listens: "grpc://127.0.0.1:4317" and the like.
func (s *Source) Bound() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bound
}

// errBusy answers a request that has to come again.
var errBusy = errors.New("the agent cannot take more at the moment; send it again")

// result is what became of a request that decoded.
type result struct {
	rejected int64
	why      string // of the first that was rejected
}

// metrics takes one ExportMetricsServiceRequest.
func (s *Source) metrics(ctx context.Context, body []byte, out collect.Sink) (result, error) {
	b := &signal.Batch{Kind: signal.Metric}
	s.mu.Lock()
	s.dec.begin(time.Now())
	ok := s.dec.metrics(body, b)
	r := s.dec.done(&s.stats)
	s.mu.Unlock()
	return s.put(ctx, b, ok, r, out)
}

// logs takes one ExportLogsServiceRequest.
func (s *Source) logs(ctx context.Context, body []byte, out collect.Sink) (result, error) {
	b := &signal.Batch{Kind: signal.Log}
	s.mu.Lock()
	s.dec.begin(time.Now())
	ok := s.dec.logs(body, b)
	r := s.dec.done(&s.stats)
	s.mu.Unlock()
	return s.put(ctx, b, ok, r, out)
}

// errMalformed answers a request that is not what it should be.
var errMalformed = errors.New("the request is not a protobuf message of OTLP's")

func (s *Source) put(ctx context.Context, b *signal.Batch, ok bool, r result, out collect.Sink) (result, error) {
	if !ok {
		s.stats.Malformed.Add(1)
		return result{}, errMalformed
	}
	s.stats.Requests.Add(1)
	s.stats.Rejected.Add(r.rejected)
	n := int64(b.Len())
	if n == 0 {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if err := out.Put(ctx, b); err != nil {
		s.stats.Failed.Add(n)
		return r, errBusy
	}
	s.stats.Items.Add(n)
	return r, nil
}

// enter takes a place among the requests that are worked on; leave gives it back.
func (s *Source) enter() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		s.stats.Busy.Add(1)
		return false
	}
}

func (s *Source) leave() { <-s.slots }
