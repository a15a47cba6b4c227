// Package gcpintake is a Google that keeps books: Cloud Monitoring and Cloud
// Logging as gRPC servers on this machine, which refuse whatever Google's
// documentation says is refused, in Google's own words, and remember the rest.
//
// Tests start one with New, point the exporter's url at it, and ask it what it
// has. Its rules alone are in rules.go, for whoever wants to check a request
// without a server.
//
// What always holds:
//
//  1. A request is judged series by series, and entry by entry: the good ones
//     are stored, the answer names the others, with CreateTimeSeriesSummary and
//     WriteLogEntriesPartialErrors as details.
//  2. What is stored obeys every rule in rules.go, and the order, spacing, kind
//     and value type that earlier points fixed.
//  3. Entries are returned as a reader sees them: those with the same log, time
//     and insert id once.
//
// Memory: it keeps all it was sent. Its goroutines end with Close.
//
// It does not do what no exporter needs: descriptors, queries, quotas.
package gcpintake

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	metricpb "google.golang.org/genproto/googleapis/api/metric"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // requests come compressed
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Server is both services. The hooks are called before anything is stored, with
// the server's lock held; an error they return is the answer.
type Server struct {
	// Project is the only one there is; "" for any.
	Project string
	// Now tells the time; nil for time.Now.
	Now func() time.Time
	// RefuseSeries and RefuseEntries answer a whole request; nil takes all.
	RefuseSeries  func(*monitoringpb.CreateTimeSeriesRequest) error
	RefuseEntries func(*loggingpb.WriteLogEntriesRequest) error
	// RefusePoint and RefuseEntry answer one item: the others are stored.
	RefusePoint func(*monitoringpb.TimeSeries) error
	RefuseEntry func(*loggingpb.LogEntry) error

	listener net.Listener
	server   *grpc.Server
	done     sync.WaitGroup

	mu       sync.Mutex
	series   map[string]*state     // guarded by mu
	metrics  map[string]descriptor // guarded by mu
	points   []Point               // guarded by mu
	entries  []*loggingpb.LogEntry // guarded by mu
	seen     map[string]bool       // entries by what tells them apart; guarded by mu
	requests Requests              // guarded by mu
	refused  []string              // guarded by mu
}

// Point is one point that was stored.
type Point struct {
	Key    string // metric, resource and labels: equal for points of one series
	Series *monitoringpb.TimeSeries
}

// Requests counts what came.
type Requests struct{ Series, Entries, Points, Lines int }

// state is what a series' next point must fit.
type state struct{ start, end time.Time }

// descriptor is what a metric's first point fixed, and all its labels.
type descriptor struct {
	kind   metricpb.MetricDescriptor_MetricKind
	value  metricpb.MetricDescriptor_ValueType
	labels map[string]bool
}

// New starts a server on a free port of this machine. Hooks may be set until
// the first request comes. Close must be called.
func New() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{}
	s.Serve(l)
	return s, nil
}

// Serve makes s answer on l until Close.
func (s *Server) Serve(l net.Listener) {
	s.listener, s.server = l, grpc.NewServer(grpc.MaxRecvMsgSize(64<<20))
	monitoringpb.RegisterMetricServiceServer(s.server, monitoringService{s: s})
	loggingpb.RegisterLoggingServiceV2Server(s.server, loggingService{s: s})
	s.done.Go(func() { _ = s.server.Serve(l) })
}

// Addr is what url and logs_url must be.
func (s *Server) Addr() string { return "http://" + s.listener.Addr().String() }

// Close ends the server and its connections.
func (s *Server) Close() {
	s.server.Stop()
	s.done.Wait()
}

// Points returns what was stored, in the order in which it came.
func (s *Server) Points() []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.points)
}

// Entries returns what a reader sees of the entries, in the order in which they came.
func (s *Server) Entries() []*loggingpb.LogEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// Requests returns how much came, taken or not.
func (s *Server) Requests() Requests {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Refused returns the words for all that was refused, but by hooks.
func (s *Server) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// The two services have methods of one name, so that one type cannot be both.
type monitoringService struct {
	monitoringpb.UnimplementedMetricServiceServer
	s *Server
}

func (m monitoringService) CreateTimeSeries(_ context.Context, r *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, m.s.CreateTimeSeries(r)
}

type loggingService struct {
	loggingpb.UnimplementedLoggingServiceV2Server
	s *Server
}

func (l loggingService) WriteLogEntries(_ context.Context, r *loggingpb.WriteLogEntriesRequest) (*loggingpb.WriteLogEntriesResponse, error) {
	return &loggingpb.WriteLogEntriesResponse{}, l.s.WriteLogEntries(r)
}

// CreateTimeSeries takes points as Cloud Monitoring does; the error is a gRPC
// status with details.
func (s *Server) CreateTimeSeries(r *monitoringpb.CreateTimeSeriesRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests.Series++
	s.requests.Points += len(r.GetTimeSeries())
	if s.RefuseSeries != nil {
		if err := s.RefuseSeries(r); err != nil {
			return err
		}
	}
	if s.Project != "" && r.GetName() != "projects/"+s.Project {
		return status.Errorf(codes.PermissionDenied, "Permission monitoring.timeSeries.create denied (or the resource may not exist).")
	}
	if err := CheckRequest(r); err != nil {
		s.refused = append(s.refused, err.Error())
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if s.series == nil {
		s.series, s.metrics = map[string]*state{}, map[string]descriptor{}
	}
	errs := map[int]error{}
	inRequest := map[string]bool{}
	for i, ts := range r.GetTimeSeries() {
		if err := s.point(ts, inRequest); err != nil {
			errs[i] = err
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return summary(r.GetTimeSeries(), errs)
}

// point stores one point or says why not.
func (s *Server) point(ts *monitoringpb.TimeSeries, inRequest map[string]bool) error {
	if s.RefusePoint != nil {
		if err := s.RefusePoint(ts); err != nil {
			return err
		}
	}
	key := Key(ts)
	err := CheckSeries(ts, s.now())
	if err == nil && inRequest[key] {
		err = refusal("Field timeSeries had an invalid value: Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request.")
	}
	inRequest[key] = true
	if err == nil {
		err = s.fits(key, ts)
	}
	if err != nil {
		s.refused = append(s.refused, err.Error())
		return status.Error(codes.InvalidArgument, err.Error())
	}
	s.points = append(s.points, Point{key, proto.CloneOf(ts)})
	return nil
}

// fits checks a point against what earlier ones fixed, and notes it.
func (s *Server) fits(key string, ts *monitoringpb.TimeSeries) error {
	typ := ts.GetMetric().GetType()
	d, ok := s.metrics[typ]
	if !ok {
		d = descriptor{ts.GetMetricKind(), ts.GetValueType(), map[string]bool{}}
	}
	if d.kind != ts.GetMetricKind() || d.value != ts.GetValueType() {
		return refusal("Value type for metric %s must be %v, but is %v; kind %v, but is %v.", typ, d.value, ts.GetValueType(), d.kind, ts.GetMetricKind())
	}
	labels := maps.Clone(d.labels)
	for k := range ts.GetMetric().GetLabels() {
		labels[k] = true
	}
	if len(labels) > MostLabels {
		return refusal("The metric %s would have %d labels; the limit is %d.", typ, len(labels), MostLabels)
	}
	in := ts.GetPoints()[0].GetInterval()
	next := state{in.GetStartTime().AsTime(), in.GetEndTime().AsTime()}
	if last := s.series[key]; last != nil {
		switch {
		case !next.end.After(last.end):
			return refusal("Points must be written in order. One or more of the points specified had an older end time than the most recent point.")
		case next.end.Sub(last.end) < Spacing:
			return refusal("One or more points were written more frequently than the maximum sampling period configured for the metric.")
		case ts.GetMetricKind() == metricpb.MetricDescriptor_CUMULATIVE && !next.start.Equal(last.start) && !next.start.After(last.end):
			return refusal("Points must be written in order. One or more of the points specified had an older start time than the most recent point.")
		}
	}
	d.labels = labels
	s.metrics[typ], s.series[key] = d, &next
	return nil
}

// summary makes the answer to a request of which a part failed.
func summary(all []*monitoringpb.TimeSeries, errs map[int]error) error {
	type group struct {
		code codes.Code
		text string
	}
	counts := map[group]int32{}
	var words []string
	worst := codes.InvalidArgument
	for _, i := range slices.Sorted(maps.Keys(errs)) {
		st := status.Convert(errs[i])
		counts[group{st.Code(), st.Message()}]++
		words = append(words, fmt.Sprintf("%s: %s{} timeSeries[%d]: %s", st.Message(), all[i].GetResource().GetType(), i, all[i].GetMetric().GetType()))
		if st.Code() != codes.InvalidArgument {
			worst = st.Code()
		}
	}
	d := &monitoringpb.CreateTimeSeriesSummary{TotalPointCount: int32(len(all)), SuccessPointCount: int32(len(all) - len(errs))}
	for g, n := range counts {
		d.Errors = append(d.Errors, &monitoringpb.CreateTimeSeriesSummary_Error{Status: &spb.Status{Code: int32(g.code), Message: g.text}, PointCount: n})
	}
	return withDetails(status.New(worst, "One or more TimeSeries could not be written: "+strings.Join(words, "; ")), d)
}

func withDetails(st *status.Status, d ...protoadapt.MessageV1) error {
	with, err := st.WithDetails(d...)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return with.Err()
}

// WriteLogEntries takes entries as Cloud Logging does; the error is a gRPC
// status with details.
func (s *Server) WriteLogEntries(r *loggingpb.WriteLogEntriesRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests.Entries++
	s.requests.Lines += len(r.GetEntries())
	if s.RefuseEntries != nil {
		if err := s.RefuseEntries(r); err != nil {
			return err
		}
	}
	if n := proto.Size(r); n > MostLogBytes || len(r.GetEntries()) == 0 {
		err := refusal("Log entries with %d bytes in %d entries: the limit is %d bytes.", n, len(r.GetEntries()), MostLogBytes)
		s.refused = append(s.refused, err.Error())
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	d := &loggingpb.WriteLogEntriesPartialErrors{LogEntryErrors: map[int32]*spb.Status{}}
	var good []*loggingpb.LogEntry
	for i, e := range r.GetEntries() {
		if err := s.entry(e); err != nil {
			d.LogEntryErrors[int32(i)] = status.Convert(err).Proto()
			continue
		}
		good = append(good, e)
	}
	if len(d.LogEntryErrors) > 0 && !r.GetPartialSuccess() {
		good = nil
	}
	for _, e := range good {
		if k := fmt.Sprint(e.GetLogName(), e.GetTimestamp().AsTime().UnixNano(), " ", e.GetInsertId()); !r.GetDryRun() && !s.seen[k] {
			s.seen[k] = true
			s.entries = append(s.entries, proto.CloneOf(e))
		}
	}
	if len(d.LogEntryErrors) == 0 {
		return nil
	}
	first := d.LogEntryErrors[slices.Min(slices.Collect(maps.Keys(d.LogEntryErrors)))]
	return withDetails(status.New(codes.Code(first.GetCode()), first.GetMessage()), d)
}

// entry says why an entry cannot be taken.
func (s *Server) entry(e *loggingpb.LogEntry) error {
	if s.RefuseEntry != nil {
		if err := s.RefuseEntry(e); err != nil {
			return err
		}
	}
	if s.Project != "" && !strings.HasPrefix(e.GetLogName(), "projects/"+s.Project+"/") {
		return status.Error(codes.PermissionDenied, "Permission 'logging.logEntries.create' denied on resource (or it may not exist).")
	}
	if err := CheckEntry(e, s.now()); err != nil {
		s.refused = append(s.refused, err.Error())
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}
