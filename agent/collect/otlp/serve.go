package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // what SDKs compress with
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causeway-agent/causeway/agent/collect"
)

// again is when a sender that was turned away may come back.
const again = 2 * time.Second

// noTraces answers who sends traces.
const noTraces = "causeway takes metrics and logs, and no traces: send them to your tracing backend, or switch the trace exporter off (OTEL_TRACES_EXPORTER=none)"

// handle takes the body of one request.
type handle func(ctx context.Context, body []byte, out collect.Sink) (result, error)

// Run listens until ctx ends, and then returns nil once the requests that are
// under way are answered. It returns an error if it cannot listen.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	secure, err := s.conf.TLS.Config()
	if err != nil {
		return err
	}
	if secure != nil {
		secure.NextProtos = []string{"h2", "http/1.1"}
	}
	var listeners []net.Listener
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	var bound []string
	listen := func(scheme, at string) (net.Listener, error) {
		if at == "" {
			return nil, nil
		}
		l, err := net.Listen("tcp", at)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: another program has the port, perhaps an OpenTelemetry collector: stop it, or set another one in collect.otlp.%s", err, scheme)
		}
		if err != nil {
			closeAll()
			return nil, fmt.Errorf("listen for OTLP: %w", err)
		}
		listeners = append(listeners, l)
		bound = append(bound, scheme+"://"+l.Addr().String())
		return l, nil
	}
	g, err := listen("grpc", s.conf.GRPC)
	if err != nil {
		return err
	}
	h, err := listen("http", s.conf.HTTP)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()

	var serving sync.WaitGroup
	defer serving.Wait()
	failed := make(chan error, 2)
	if g != nil {
		server := s.grpc(secure, out)
		serving.Go(func() { failed <- server.Serve(g) })
		defer func() { // what is under way is answered, but a sender that does not finish is not waited for
			late := time.AfterFunc(Patience, server.Stop)
			server.GracefulStop()
			late.Stop()
		}()
	}
	if h != nil {
		if secure != nil {
			h = tls.NewListener(h, secure)
		}
		server := s.http(ctx, out)
		serving.Go(func() { failed <- server.Serve(h) })
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
			defer cancel()
			if server.Shutdown(end) != nil {
				server.Close()
			}
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		closeAll()
		return fmt.Errorf("serve OTLP: %w", err)
	}
}

// allowed reports whether a request may pass that bears the given Authorization.
func (s *Source) allowed(authorization string) bool {
	token := s.conf.Token.Reveal()
	if token == "" {
		return true
	}
	got, ok := strings.CutPrefix(authorization, "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(token)) == 1
}

// rejected is an Export…PartialSuccess, which metrics and logs write alike:
// field 1 how many, field 2 why.
func (r result) rejectedMessage() []byte {
	if r.rejected == 0 {
		return nil
	}
	var p []byte
	p = protowire.AppendVarint(protowire.AppendTag(p, 1, protowire.VarintType), uint64(r.rejected))
	return protowire.AppendString(protowire.AppendTag(p, 2, protowire.BytesType), r.why)
}

// response is an Export…ServiceResponse.
func (r result) response() []byte {
	p := r.rejectedMessage()
	if p == nil {
		return nil
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), p)
}

// raw is a message that nobody decodes but us.
type raw struct{ bytes []byte }

// rawCodec gives the server requests as they came.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*raw).bytes)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*raw).bytes = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawCodec{}

// grpc returns the gRPC server.
func (s *Source) grpc(secure *tls.Config, out collect.Sink) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(int(s.conf.MaxBody)),
		grpc.MaxConcurrentStreams(128),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute}),
		//lint:ignore SA1019 its successor is a registry for the whole process, to be written before any client of it runs
		grpc.RPCDecompressor(unzstd{s.conf.MaxBody}),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			s.stats.Refused.Add(1)
			method, _ := grpc.MethodFromServerStream(stream)
			if strings.HasPrefix(method, "/opentelemetry.proto.collector.trace.") {
				return status.Error(codes.Unimplemented, noTraces)
			}
			return status.Errorf(codes.Unimplemented, "%s: causeway takes OTLP's metrics and logs", method)
		}),
	}
	if secure != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(secure)))
	}
	server := grpc.NewServer(options...)
	for service, take := range map[string]handle{
		"opentelemetry.proto.collector.metrics.v1.MetricsService": s.metrics,
		"opentelemetry.proto.collector.logs.v1.LogsService":       s.logs,
	} {
		server.RegisterService(&grpc.ServiceDesc{ServiceName: service, Methods: []grpc.MethodDesc{{
			MethodName: "Export",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return s.export(ctx, decode, take, out)
			},
		}}}, nil)
	}
	return server
}

// export answers one gRPC request.
func (s *Source) export(ctx context.Context, decode func(any) error, take handle, out collect.Sink) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if !s.allowed(strings.Join(md.Get("authorization"), "")) {
		s.stats.Refused.Add(1)
		return nil, status.Error(codes.Unauthenticated, "this agent asks for collect.otlp.token: authorization: Bearer …")
	}
	busy := func() error {
		st, err := status.New(codes.Unavailable, errBusy.Error()).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(again)})
		if err != nil {
			return status.Error(codes.Unavailable, errBusy.Error())
		}
		return st.Err()
	}
	if !s.enter() {
		return nil, busy()
	}
	defer s.leave()
	var req raw
	if err := decode(&req); err != nil {
		s.stats.Malformed.Add(1)
		return nil, err
	}
	r, err := take(ctx, req.bytes, out)
	switch {
	case errors.Is(err, errBusy):
		return nil, busy()
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &raw{r.response()}, nil
}

// unzstd is zstd for gRPC, bounded.
type unzstd struct{ most int64 }

func (unzstd) Type() string { return "zstd" }

func (z unzstd) Do(r io.Reader) ([]byte, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(z.most)))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	p, err := io.ReadAll(io.LimitReader(d, z.most+1))
	if err == nil && int64(len(p)) > z.most {
		err = status.Errorf(codes.ResourceExhausted, "the request unpacks to more than %d bytes", z.most)
	}
	return p, err
}

// http returns the HTTP server.
func (s *Source) http(ctx context.Context, out collect.Sink) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/metrics", s.post(out, s.metrics, func() (proto.Message, func()) {
		m := &metricspb.ExportMetricsServiceRequest{}
		return m, func() { mendExemplars(m) }
	}, "rejectedDataPoints"))
	mux.HandleFunc("POST /v1/logs", s.post(out, s.logs, func() (proto.Message, func()) {
		m := &logspb.ExportLogsServiceRequest{}
		return m, func() { mendIDs(m) }
	}, "rejectedLogRecords"))
	mux.HandleFunc("/v1/traces", func(w http.ResponseWriter, r *http.Request) {
		s.stats.Refused.Add(1)
		s.refuse(w, r, http.StatusNotFound, codes.Unimplemented, noTraces)
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 10 * time.Minute, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }, // a stop answers what it has begun
	}
}

const (
	protobufType = "application/x-protobuf"
	jsonType     = "application/json"
)

// post answers one HTTP request. message makes what JSON is read into, and mend
// what its decoder does not know.
func (s *Source) post(out collect.Sink, take handle, message func() (m proto.Message, mend func()), rejected string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.allowed(r.Header.Get("Authorization")) {
			s.stats.Refused.Add(1)
			s.refuse(w, r, http.StatusUnauthorized, codes.Unauthenticated, "this agent asks for collect.otlp.token: Authorization: Bearer …")
			return
		}
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if kind != protobufType && kind != jsonType {
			s.stats.Refused.Add(1)
			s.refuse(w, r, http.StatusUnsupportedMediaType, codes.InvalidArgument, "Content-Type must be "+protobufType+" or "+jsonType)
			return
		}
		if !s.enter() {
			s.busy(w, r)
			return
		}
		defer s.leave()
		body, code, err := s.read(w, r)
		if err == nil && kind == jsonType {
			code = http.StatusBadRequest
			m, mend := message()
			if err = (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err == nil {
				mend()
				body, err = proto.Marshal(m)
			}
		}
		if err != nil {
			s.stats.Malformed.Add(1)
			s.refuse(w, r, code, codes.InvalidArgument, err.Error())
			return
		}
		done, err := take(r.Context(), body, out)
		switch {
		case errors.Is(err, errBusy):
			s.busy(w, r)
			return
		case err != nil:
			s.refuse(w, r, http.StatusBadRequest, codes.InvalidArgument, err.Error())
			return
		}
		w.Header().Set("Content-Type", kind)
		if kind == protobufType {
			_, _ = w.Write(done.response()) // a sender that has gone sends again
			return
		}
		if done.rejected == 0 {
			_, _ = io.WriteString(w, "{}")
			return
		}
		fmt.Fprintf(w, `{"partialSuccess":{%q:"%d","errorMessage":%s}}`, rejected, done.rejected, appendString(nil, []byte(done.why)))
	}
}

// read reads a body, unpacked. On an error code is the status that says so.
func (s *Source) read(w http.ResponseWriter, r *http.Request) (body []byte, code int, err error) {
	most := s.conf.MaxBody
	var from io.Reader = http.MaxBytesReader(w, r.Body, most)
	switch e := r.Header.Get("Content-Encoding"); e {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
		}
		from = z
	case "zstd":
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
		if err != nil {
			return nil, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
		}
		defer z.Close()
		from = z
	default:
		return nil, http.StatusUnsupportedMediaType, fmt.Errorf("Content-Encoding %q is not gzip, zstd or identity", e)
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n < most {
		buf.Grow(int(n) + bytes.MinRead)
	}
	_, err = buf.ReadFrom(io.LimitReader(from, most+1))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), int64(buf.Len()) > most:
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the request is larger than %d bytes, which collect.otlp.max_body allows", most)
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
	}
	return buf.Bytes(), 0, nil
}

func (s *Source) busy(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", strconv.Itoa(int(again/time.Second)))
	s.refuse(w, r, http.StatusServiceUnavailable, codes.Unavailable, errBusy.Error())
}

// refuse answers with a google.rpc.Status in the request's own form, as
// "Failures" of the protocol's specification wants it.
func (s *Source) refuse(w http.ResponseWriter, r *http.Request, code int, grpcCode codes.Code, why string) {
	st := &rpcstatus.Status{Code: int32(grpcCode), Message: strings.ToValidUTF8(why, "\ufffd")}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	marshal := protojson.Marshal
	if kind == protobufType {
		marshal = proto.Marshal
	} else {
		kind = jsonType
	}
	body, err := marshal(st)
	if err != nil {
		body = nil // the code says enough
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

// mendID undoes what protojson makes of an id of size bytes: OTLP's JSON writes
// it in hexadecimal where protobuf's has base64, and each hexadecimal id happens
// to be good base64 of another length.
func mendID(id []byte, size int) []byte {
	if len(id) != size*2/4*3 {
		return id
	}
	p, err := hex.DecodeString(base64.StdEncoding.EncodeToString(id))
	if err != nil {
		return id
	}
	return p
}

func mendIDs(m *logspb.ExportLogsServiceRequest) {
	for _, rl := range m.GetResourceLogs() {
		for _, sl := range rl.GetScopeLogs() {
			for _, rec := range sl.GetLogRecords() {
				rec.TraceId, rec.SpanId = mendID(rec.GetTraceId(), 16), mendID(rec.GetSpanId(), 8)
			}
		}
	}
}

// mendExemplars does the same in the exemplars of histograms: no other is kept.
func mendExemplars(m *metricspb.ExportMetricsServiceRequest) {
	mend := func(exemplars []*metricpb.Exemplar) {
		for _, e := range exemplars {
			e.TraceId, e.SpanId = mendID(e.GetTraceId(), 16), mendID(e.GetSpanId(), 8)
		}
	}
	for _, rm := range m.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, metric := range sm.GetMetrics() {
				for _, p := range metric.GetHistogram().GetDataPoints() {
					mend(p.GetExemplars())
				}
				for _, p := range metric.GetExponentialHistogram().GetDataPoints() {
					mend(p.GetExemplars())
				}
			}
		}
	}
}
