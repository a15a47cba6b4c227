package google

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// Where requests go if the configuration does not say.
const (
	monitoringAddr = "monitoring.googleapis.com:443"
	loggingAddr    = "logging.googleapis.com:443"
)

// Target returns the address and the method that requests go to.
func (e *exporter) Target() string {
	addr, method, own := monitoringAddr, "/google.monitoring.v3.MetricService/CreateTimeSeries", e.conf.URL
	if e.kind != signal.Metric {
		addr, method, own = loggingAddr, "/google.logging.v2.LoggingServiceV2/WriteLogEntries", e.conf.LogsURL
	}
	if own != "" {
		addr = own
	}
	return addr + method
}

// Show returns a body of Encode's as JSON, for people.
func (e *exporter) Show(body []byte) string {
	var m proto.Message = &monitoringpb.CreateTimeSeriesRequest{}
	if e.kind != signal.Metric {
		m = &loggingpb.WriteLogEntriesRequest{}
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return fmt.Sprintf("%d bytes that are no request: %v", len(body), err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		return err.Error()
	}
	var w bytes.Buffer
	if err := json.Indent(&w, text, "", "  "); err != nil { // protojson's own spaces differ from one build to the next
		return err.Error()
	}
	return w.String()
}

// Send makes one CreateTimeSeries.
func (e *metrics) Send(ctx context.Context, body []byte) error {
	if err := e.noProject(); err != nil {
		return err
	}
	err := e.client.createTimeSeries(ctx, e.conf.Timeout, &monitoringpb.CreateTimeSeriesRequest{Name: e.where.parent}, written{body})
	return e.judgeMetrics(err, body)
}

// judgeMetrics says what the answer to a body means.
func (e *metrics) judgeMetrics(err error, body []byte) error {
	if err == nil {
		e.replay.clean()
		return nil
	}
	x := classify(err, e.where.project, "metrics", "roles/monitoring.metricWriter")
	if s := summaryOf(err); s != nil {
		if x = partialMetrics(s, status.Convert(err).Message(), x, body, e.replay.now()); x == nil {
			return nil
		}
	}
	if !x.Unsent && (x.Class == exporters.Retry || len(x.Again) > 0) {
		e.replay.unsure()
	}
	return x
}

// Send makes one WriteLogEntries.
func (e *exporter) Send(ctx context.Context, body []byte) error {
	if err := e.noProject(); err != nil {
		return err
	}
	err := e.client.writeLogEntries(ctx, e.conf.Timeout, &loggingpb.WriteLogEntriesRequest{}, written{body})
	if err == nil {
		return nil
	}
	x := classify(err, e.where.project, "log entries", "roles/logging.logWriter")
	if errs := entryErrors(err); len(errs) > 0 {
		return partialLogs(errs, x)
	}
	return x
}

// noProject returns the error for a configuration that names no project on a
// machine that belongs to none.
func (e *exporter) noProject() error {
	if e.where.project != "" {
		return nil
	}
	return &exporters.Error{Class: exporters.Hold, Unsent: true, Err: errors.New(
		"project: auto finds none, since this is no machine of Google's, or its metadata server does not answer: set project")}
}

// createTimeSeries makes one call, whose bytes are body's if it has any.
func (c *Client) createTimeSeries(ctx context.Context, timeout time.Duration, req *monitoringpb.CreateTimeSeriesRequest, body written) error {
	k, err := c.forMetrics(ctx)
	if err != nil {
		return unusable(err)
	}
	return c.call(ctx, timeout, k, body, func(ctx context.Context, opts ...gax.CallOption) error {
		return k.monitoring.CreateTimeSeries(ctx, req, opts...)
	})
}

// writeLogEntries makes one call, whose bytes are body's if it has any.
func (c *Client) writeLogEntries(ctx context.Context, timeout time.Duration, req *loggingpb.WriteLogEntriesRequest, body written) error {
	k, err := c.forLogs(ctx)
	if err != nil {
		return unusable(err)
	}
	return c.call(ctx, timeout, k, body, func(ctx context.Context, opts ...gax.CallOption) error {
		_, err := k.logging.WriteLogEntries(ctx, req, opts...)
		return err
	})
}

// unusable is the error of a client that cannot be made: the configuration, a
// file or the credentials are wrong or not there.
func unusable(err error) error {
	return &exporters.Error{Class: exporters.Hold, Unsent: true, Err: err}
}

// call makes one call on k within timeout. A connection on which a call ran out
// of time, and none had an answer meanwhile, is given up.
func (c *Client) call(ctx context.Context, timeout time.Duration, k *conn, body written, do func(context.Context, ...gax.CallOption) error) error {
	before := k.answers.Load()
	inner, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var opts []gax.CallOption
	if body.body != nil {
		opts = append(opts, gax.WithGRPCOptions(grpc.ForceCodecV2(body)))
	}
	err := do(inner, opts...)
	if inner.Err() == nil {
		k.answers.Add(1)
	} else if ctx.Err() == nil && k.answers.Load() == before {
		c.drop(k)
	}
	return err
}

// mostReplays is how many requests after a start may hold what a crash left in
// flight: those of the largest parcel, 10,000 items (exporters/deliver.go).
const mostReplays = 10_000/mostSeries + 1

// replay knows whether a request may hold points that Google has already: after
// a start, and after a request of which nobody knows what became. Google then
// refuses them as not newer than what it has, which is no loss.
type replay struct {
	mu   sync.Mutex
	left int // requests that may; guarded by mu
}

// clean notes that all of a request was new.
func (r *replay) clean() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = 0
}

// unsure notes a request that Google may have taken, or not.
func (r *replay) unsure() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = max(r.left, 1)
}

// now reports whether the request just answered may have been a repetition.
func (r *replay) now() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.left == 0 {
		return false
	}
	r.left--
	return true
}

// Connect asks Google whether it would take our data, without sending any. The
// error says what a person must mend. "validate --connect" calls it.
func (e *metrics) Connect(ctx context.Context) error {
	err := e.connectMetrics(ctx)
	if e.conf.Logs {
		err = errors.Join(err, e.connectLogs(ctx))
	}
	return err
}

// Connect asks Google whether it would take our entries, without storing any.
func (e *exporter) Connect(ctx context.Context) error { return e.connectLogs(ctx) }

// connectMetrics sends no series: Google looks at the permission first, and
// only then finds that there are none.
func (e *exporter) connectMetrics(ctx context.Context) error {
	if err := e.noProject(); err != nil {
		return err
	}
	err := e.client.createTimeSeries(ctx, e.conf.Timeout, &monitoringpb.CreateTimeSeriesRequest{Name: e.where.parent}, written{})
	if err == nil {
		return nil
	}
	x := classify(err, e.where.project, "metrics", "roles/monitoring.metricWriter")
	if x.Class == exporters.Permanent {
		return nil
	}
	return e.explain(x)
}

// connectLogs sends one entry that is to be looked at and thrown away.
func (e *exporter) connectLogs(ctx context.Context) error {
	if err := e.noProject(); err != nil {
		return err
	}
	var id identity
	dst := appendVarint(appendVarint(nil, 5, 1), 6, 1) // partial_success, dry_run
	dst, at := openField(dst, 4)
	dst = appendText(dst, 12, e.where.parent+"/logs/causeway", mostLogName)
	dst = e.where.append(dst, 8, e.where.resourceOf("", &id), &id)
	dst = appendText(dst, 3, "causeway validate --connect", mostEntry)
	var req loggingpb.WriteLogEntriesRequest
	if err := proto.Unmarshal(shut(dst, at), &req); err != nil {
		return fmt.Errorf("BUG: the request of Connect: %w", err)
	}
	err := e.client.writeLogEntries(ctx, e.conf.Timeout, &req, written{})
	if err == nil {
		return nil
	}
	return e.explain(classify(err, e.where.project, "log entries", "roles/logging.logWriter"))
}

// explain adds to an error what to do about it.
func (e *exporter) explain(x *exporters.Error) error {
	if x.Class == exporters.Retry {
		addr, _, _ := strings.Cut(strings.TrimPrefix(e.Target(), "http://"), "/")
		return fmt.Errorf("no good answer from %s: check url, and whether this machine may reach it (proxy_url): %w", addr, x)
	}
	return x
}
