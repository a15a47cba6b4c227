package google

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
)

// message takes the message out of a gRPC request.
func message(r *http.Request, body []byte) ([]byte, error) {
	if ct := r.Header.Get("Content-Type"); r.Method != http.MethodPost || !strings.HasPrefix(ct, "application/grpc") {
		return nil, fmt.Errorf("%s %s", r.Method, ct)
	}
	if len(body) < 5 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-5 {
		return nil, errors.New("no single message")
	}
	if body[0] == 0 {
		return body[5:], nil
	}
	if enc := r.Header.Get("Grpc-Encoding"); enc != "gzip" {
		return nil, fmt.Errorf("compressed as %q", enc)
	}
	z, err := gzip.NewReader(bytes.NewReader(body[5:]))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// read returns the numbers of a request's items, which must obey all rules.
func read(r *http.Request, body []byte) (items []int, err error) {
	m, err := message(r, body)
	if err != nil {
		return nil, err
	}
	add := func(text string) error {
		n, err := exporttest.Number(text)
		items = append(items, n)
		return err
	}
	switch r.URL.Path {
	case "/google.monitoring.v3.MetricService/CreateTimeSeries":
		var req monitoringpb.CreateTimeSeriesRequest
		if err := errors.Join(proto.Unmarshal(m, &req), gcpintake.CheckRequest(&req)); err != nil {
			return nil, err
		}
		if got := r.Header.Get("X-Goog-Request-Params"); got != "name=projects%2Fmy-project" {
			return nil, fmt.Errorf("header for routing %q", got)
		}
		for _, ts := range req.GetTimeSeries() {
			if err := errors.Join(gcpintake.CheckSeries(ts, time.Now()), add(ts.GetMetric().GetLabels()["n"])); err != nil {
				return nil, err
			}
		}
	case "/google.logging.v2.LoggingServiceV2/WriteLogEntries":
		var req loggingpb.WriteLogEntriesRequest
		if err := proto.Unmarshal(m, &req); err != nil || !req.GetPartialSuccess() {
			return nil, fmt.Errorf("%w; partial success %v", err, req.GetPartialSuccess())
		}
		for _, e := range req.GetEntries() {
			text := e.GetTextPayload()
			if f := e.GetJsonPayload().GetFields(); f != nil {
				text = f["title"].GetStringValue()
			}
			if err := errors.Join(gcpintake.CheckEntry(e, time.Now()), add(text)); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("no such method: %s", r.URL.Path)
	}
	return items, nil
}

// grpcType marks a Reply whose body is a google.rpc.Status.
const grpcType = "application/grpc"

func statusReply(code codes.Code, text string, details ...protoadapt.MessageV1) exporttest.Reply {
	st, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	p, err := proto.Marshal(st.Proto())
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return exporttest.Reply{Type: grpcType, Body: string(p)}
}

// speak words a reply as a server of gRPC does, Google's codes for HTTP's.
func speak(w http.ResponseWriter, r exporttest.Reply) {
	codesByStatus := map[int]codes.Code{
		400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound,
		413: codes.InvalidArgument, 429: codes.ResourceExhausted, 500: codes.Internal, 503: codes.Unavailable,
	}
	if r.Type != grpcType && r.Status != 0 {
		code, ok := codesByStatus[r.Status]
		if !ok { // a proxy, which knows nothing of gRPC
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(r.Status)
			return
		}
		var details []protoadapt.MessageV1
		if s, err := strconv.Atoi(w.Header().Get("Retry-After")); err == nil {
			details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Duration(s) * time.Second)})
		}
		r = statusReply(code, r.Body, details...)
	}
	h := w.Header()
	h.Set("Content-Type", grpcType)
	w.WriteHeader(http.StatusOK)
	var st spb.Status
	if r.Type == grpcType {
		if err := proto.Unmarshal([]byte(r.Body), &st); err != nil {
			panic("BUG: " + err.Error())
		}
	} else {
		_, _ = w.Write(make([]byte, 5)) // an empty message
	}
	h.Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(int(st.GetCode())))
	h.Set(http.TrailerPrefix+"Grpc-Message", strings.ReplaceAll(st.GetMessage(), "\n", " "))
	if r.Type == grpcType {
		h.Set(http.TrailerPrefix+"Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString([]byte(r.Body)))
	}
}

// refuseSeries is the answer to series of which some are refused, each named.
func refuseSeries(places, items []int, _ []byte) (exporttest.Reply, bool) {
	var words []string
	for _, p := range places {
		words = append(words, fmt.Sprintf("Value is malformed: generic_node{} timeSeries[%d]: exporttest.item{}", p))
	}
	return statusReply(codes.InvalidArgument, "One or more TimeSeries could not be written: "+strings.Join(words, "; "), &monitoringpb.CreateTimeSeriesSummary{
		TotalPointCount: int32(len(items)), SuccessPointCount: int32(len(items) - len(places)),
		Errors: []*monitoringpb.CreateTimeSeriesSummary_Error{{Status: &spb.Status{Code: 3, Message: "Value is malformed"}, PointCount: int32(len(places))}},
	}), true
}

// refuseEntries is the answer to entries of which some are refused.
func refuseEntries(places, _ []int, _ []byte) (exporttest.Reply, bool) {
	d := &loggingpb.WriteLogEntriesPartialErrors{LogEntryErrors: map[int32]*spb.Status{}}
	for _, p := range places {
		d.LogEntryErrors[int32(p)] = &spb.Status{Code: 3, Message: "malformed"}
	}
	return statusReply(codes.InvalidArgument, "malformed", d), true
}

// refuseAll is an answer without details: nothing is stored.
func refuseAll(_, _ []int, _ []byte) (exporttest.Reply, bool) {
	return statusReply(codes.InvalidArgument, "something is malformed"), false
}

// Each kind against every answer, over gRPC on pipes in memory.
func TestConformance(t *testing.T) {
	run := func(name, compression string, make func(string, Config, Place, *Client) exporters.Exporter, partly func(places, items []int, body []byte) (exporttest.Reply, bool)) {
		t.Run(name, func(t *testing.T) {
			exporttest.Run(t, exporttest.Vendor{
				New: func(s *exporttest.Server, _ *http.Client) exporters.Exporter {
					c := Default()
					c.URL, c.LogsURL, c.Compression = "http://127.0.0.1:1", "http://127.0.0.1:1", compression
					c.Tags = []string{"team:node"}
					if err := c.Check(); err != nil {
						t.Fatal(err)
					}
					client := NewClient(c, exporters.HTTP{})
					client.dial = func(ctx context.Context, _ string) (net.Conn, error) { return s.Dial(ctx) }
					s.OnClose(func() { client.Close() })
					return make(name, c, Place{Project: "my-project", Node: "node-1"}, client)
				},
				Read:  read,
				Speak: speak,
				Refuse: map[string]func(places, items []int, body []byte) (exporttest.Reply, bool){
					"by item": partly, "all or nothing": refuseAll,
				},
			})
		})
	}
	run("metrics", "gzip", Metrics, refuseSeries)
	run("metrics plain", "", Metrics, refuseSeries)
	run("logs", "gzip", Logs, refuseEntries)
	run("logs plain", "", Logs, refuseEntries)
	run("events", "gzip", Events, refuseEntries)
}
