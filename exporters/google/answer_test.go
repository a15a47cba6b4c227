package google

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
)

// three is a batch of three series at one time.
const three = "a{host.name=\"vm-1\"} gauge 1 1 @1700000010000\nb{host.name=\"vm-1\"} gauge 1 2 @1700000010000\nc{host.name=\"vm-1\"} gauge 1 3 @1700000010000\n"

// try sends all of a batch as one body and returns the error.
func try(t testing.TB, e exporters.Exporter, b *signal.Batch) *exporters.Error {
	t.Helper()
	body, next, _ := e.Encode(nil, b, 0, b.Len())
	if next != b.Len() {
		t.Fatalf("only %d of %d fit", next, b.Len())
	}
	err := e.Send(t.Context(), exporters.Pack(nil, body, e.Limits().Encoding))
	var x *exporters.Error
	if err != nil && !errors.As(err, &x) {
		t.Fatalf("%v is no *exporters.Error", err)
	}
	return x
}

func TestCodesAreClassified(t *testing.T) {
	f := func(code codes.Code, want exporters.Class, says string) {
		t.Helper()
		s, c, client := intake(t, nil)
		s.RefuseSeries = func(*monitoringpb.CreateTimeSeriesRequest) error { return status.Error(code, "its words") }
		s.RefuseEntries = func(*loggingpb.WriteLogEntriesRequest) error { return status.Error(code, "its words") }
		m := try(t, Metrics("m", c, gce, client), parse(t, signal.Metric, three))
		l := try(t, Logs("l", c, gce, client), parse(t, signal.Log, "log {} \"f\" 0..1\n@1700000010000000000 6 \"x\" {}"))
		for _, x := range []*exporters.Error{m, l} {
			if x == nil || x.Class != want || x.Status != int(code) || !strings.Contains(x.Error(), "its words") || !strings.Contains(x.Error(), says) {
				t.Errorf("%v: %v, want %v with %q", code, x, want, says)
			}
		}
	}
	f(codes.InvalidArgument, exporters.Permanent, "")
	f(codes.OutOfRange, exporters.Permanent, "")
	f(codes.FailedPrecondition, exporters.Permanent, "")
	f(codes.Unauthenticated, exporters.Hold, "credentials_file")
	f(codes.PermissionDenied, exporters.Hold, "Writer")
	f(codes.NotFound, exporters.Hold, "my-project")
	f(codes.Unimplemented, exporters.Hold, "check url")
	f(codes.ResourceExhausted, exporters.Retry, "")
	f(codes.Unavailable, exporters.Retry, "")
	f(codes.DeadlineExceeded, exporters.Retry, "")
	f(codes.Internal, exporters.Retry, "")
	f(codes.Aborted, exporters.Retry, "")
	f(codes.Unknown, exporters.Retry, "")
	f(codes.DataLoss, exporters.Retry, "")
}

func TestRefusalsAreExplained(t *testing.T) {
	f := func(reason, want string) {
		t.Helper()
		st, err := status.New(codes.PermissionDenied, "denied").WithDetails(&errdetails.ErrorInfo{Reason: reason})
		if err != nil {
			t.Fatal(err)
		}
		if got := classify(st.Err(), "p-1", "metrics", "roles/monitoring.metricWriter").Error(); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %q", reason, got, want)
		}
	}
	f("", "lacks roles/monitoring.metricWriter (gcloud projects add-iam-policy-binding p-1")
	f("SERVICE_DISABLED", "gcloud services enable monitoring.googleapis.com --project p-1")
	f("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "access scopes")
	f("BILLING_DISABLED", "billing is off")
}

func TestWaitsAsLongAsGoogleAsks(t *testing.T) {
	f := func(code codes.Code, delay, want time.Duration) {
		t.Helper()
		st := status.New(code, "slow down")
		if delay != 0 {
			var err error
			if st, err = st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}); err != nil {
				t.Fatal(err)
			}
		}
		if x := classify(st.Err(), "p", "", ""); x.Class != exporters.Retry || x.After != want {
			t.Errorf("%v after %v: %v", code, delay, x.After)
		}
	}
	f(codes.ResourceExhausted, 0, quotaWait)
	f(codes.ResourceExhausted, time.Minute, time.Minute)
	f(codes.ResourceExhausted, time.Second, quotaWait)
	f(codes.Unavailable, time.Second, time.Second)
	f(codes.Unavailable, -time.Second, 0)
	f(codes.Unavailable, 1000*time.Hour, mostWait)
	if x := classify(status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), "p", "", ""); x.Class != exporters.Permanent {
		t.Errorf("a body that is too large: %v", x)
	}
}

// refusing makes the intake answer some series with a code.
func refusing(code codes.Code, names ...string) func(*monitoringpb.TimeSeries) error {
	return func(ts *monitoringpb.TimeSeries) error {
		for _, n := range names {
			if strings.HasSuffix(ts.GetMetric().GetType(), "/"+n) {
				return status.Error(code, "refused: "+n)
			}
		}
		return nil
	}
}

func TestPartOfAMetricRequestFails(t *testing.T) {
	f := func(text string, refuse func(*monitoringpb.TimeSeries) error, dropped int, again ...exporters.Range) {
		t.Helper()
		s, c, client := intake(t, nil)
		s.RefusePoint = refuse
		e := Metrics("m", c, gce, client).(*metrics)
		e.replay.clean()
		x := try(t, e, parse(t, signal.Metric, text))
		if x == nil || x.Class != exporters.Partial || x.Dropped != dropped || !slices.Equal(x.Again, again) {
			t.Errorf("%+v, want %d dropped and %v again", x, dropped, again)
		}
	}
	f(three, refusing(codes.InvalidArgument, "b"), 1)
	f(three, refusing(codes.InvalidArgument, "a", "c"), 2)
	f(three, refusing(codes.FailedPrecondition, "a", "b", "c"), 3)
	f(three, refusing(codes.Unavailable, "b"), 0, exporters.Range{Lo: 1, Hi: 2})
	f(three, refusing(codes.Internal, "a", "b"), 0, exporters.Range{Lo: 0, Hi: 2})
	f(three, refusing(codes.Internal, "a", "c"), 0, exporters.Range{Lo: 0, Hi: 1}, exporters.Range{Lo: 2, Hi: 3})
	// Some may pass and some not: the answer does not tell them apart, and what comes twice is not taken twice.
	f(three, func(ts *monitoringpb.TimeSeries) error {
		return errors.Join(refusing(codes.InvalidArgument, "a")(ts), refusing(codes.Unavailable, "b")(ts))
	}, 0, exporters.Range{Lo: 0, Hi: 3})
	// A summary is one item of four series.
	gc := "s{host.name=\"vm-1\"} cumdist s 0 @1700000010000 from 1690000000000 hist (count=3 sum=6 min=NaN max=NaN q=[0.5:1 0.9:3])\n"
	f(gc+three, refusing(codes.InvalidArgument, "s.sum", "s.quantile"), 1)
	f(gc+three, refusing(codes.Unavailable, "s.sum", "b"), 0, exporters.Range{Lo: 0, Hi: 1}, exporters.Range{Lo: 2, Hi: 3})
}

// Points of which nobody knows whether they arrived come again; that Google has
// them is no loss. Points that are too old for another reason are.
func TestRepeatedPointsAreNotRefused(t *testing.T) {
	s, c, client := intake(t, nil)
	b := parse(t, signal.Metric, three)
	e := Metrics("m", c, gce, client)
	if x := try(t, e, b); x != nil {
		t.Fatal(x)
	}
	if x := try(t, e, b); x == nil || x.Class != exporters.Partial || x.Dropped != 3 {
		t.Errorf("the same points once more: %v", x)
	}
	if x := try(t, Metrics("m", c, gce, client), b); x != nil {
		t.Errorf("after a restart: %v", x)
	}
	s.RefuseSeries = func(*monitoringpb.CreateTimeSeriesRequest) error { return status.Error(codes.Unavailable, "") }
	if x := try(t, e, b); x == nil || x.Class != exporters.Retry {
		t.Errorf("%v", x)
	}
	s.RefuseSeries = nil
	if x := try(t, e, b); x != nil {
		t.Errorf("after an answer that says nothing: %v", x)
	}
	if x := try(t, e, b); x == nil || x.Dropped != 3 {
		t.Errorf("and after that: %v", x)
	}
	later := parse(t, signal.Metric, strings.ReplaceAll(three, "1700000010000", "1700000012000"))
	if x := try(t, e, later); x == nil || x.Dropped != 3 || !strings.Contains(x.Words, "more frequently") {
		t.Errorf("two seconds later: %v", x)
	}
	if n := len(s.Points()); n != 3 {
		t.Errorf("%d points stored", n)
	}
}

func TestPartOfALogRequestFails(t *testing.T) {
	f := func(refuse map[string]codes.Code, class exporters.Class, dropped, again, stored int) {
		t.Helper()
		s, c, client := intake(t, nil)
		s.RefuseEntry = func(e *loggingpb.LogEntry) error {
			if code, ok := refuse[e.GetTextPayload()]; ok {
				return status.Error(code, "refused")
			}
			return nil
		}
		x := try(t, Logs("l", c, gce, client), parse(t, signal.Log, "log {} \"f\" 0..3\n@1700000010000000000 6 \"a\" {}\n@1700000010000000000 6 \"b\" {}\n@1700000010000000000 6 \"c\" {}"))
		if x == nil || x.Class != class || x.Dropped != dropped || len(x.Again) != again || len(s.Entries()) != stored {
			t.Errorf("%v: %+v, %d stored", refuse, x, len(s.Entries()))
		}
	}
	f(map[string]codes.Code{"b": codes.InvalidArgument}, exporters.Partial, 1, 0, 2)
	f(map[string]codes.Code{"a": codes.InvalidArgument, "b": codes.Unavailable}, exporters.Partial, 1, 1, 1)
	f(map[string]codes.Code{"a": codes.Internal, "b": codes.Unavailable}, exporters.Partial, 0, 2, 1)
	f(map[string]codes.Code{"a": codes.PermissionDenied, "b": codes.PermissionDenied, "c": codes.PermissionDenied}, exporters.Hold, 0, 0, 0)
}

// Lines sent again are shown once, events too; another line of the same text
// and time is another line.
func TestRepeatedEntriesAreShownOnce(t *testing.T) {
	s, c, client := intake(t, nil)
	lines := parse(t, signal.Log, "log {} \"f\" 0..3\n@1700000010000000000 6 \"a\" {}\n@1700000010000000000 6 \"a\" {}\nlog {} \"g\" 0..3\n@1700000010000000000 6 \"a\" {}")
	evs := parse(t, signal.Event, `event @1700000010000000000 6 "kubernetes" "id" "t" "x" {} count=1
event @1700000010000000000 6 "kubernetes" "id" "t" "x" {} count=2`)
	for range 3 {
		send(t, Logs("l", c, gce, client), lines)
		send(t, Events("e", c, gce, client), evs)
	}
	if n := len(s.Entries()); n != 5 {
		t.Errorf("%d entries are shown, want 5", n)
	}
}

func TestFailedReadsPlaces(t *testing.T) {
	f := func(message string, n int, want ...int) {
		t.Helper()
		if got := failed(message, n); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", message, got, want)
		}
	}
	f("One or more TimeSeries could not be written: x: global{} timeSeries[3]: t{l:v}; x: timeSeries[0,5-7]: t", 10, 0, 3, 5, 6, 7)
	f("Field timeSeries[16] had an invalid value: Duplicate TimeSeries encountered.: timeSeries[16]", 20, 16)
	f("timeSeries[5-100]", 7, 5, 6)
	f("timeSeries[x,-1,2-,3", 10)
	f("timeSeries[x,-1,2-,3]", 10, 3)
	f("timeSeries[9223372036854775808] timeSeries[0-9223372036854775807]", 2, 0, 1)
	f("", 3)
}

func FuzzFailed(f *testing.F) {
	f.Add("timeSeries[3]: t{l:v}; timeSeries[0,5-7]")
	f.Add("timeSeries[5-999999999999] timeSeries[")
	f.Fuzz(func(t *testing.T, message string) {
		got := failed(message, 200)
		if !slices.IsSorted(got) || len(got) > 200 || len(got) > 0 && (got[0] < 0 || got[len(got)-1] >= 200) {
			t.Error(got)
		}
	})
}

func FuzzItemsOf(f *testing.F) {
	body, _, _ := Metrics("m", Default(), gce, nil).Encode(nil, parse(f, signal.Metric, three), 0, 3)
	f.Add(body)
	f.Add(exporters.Pack(nil, body, "gzip"))
	f.Fuzz(func(t *testing.T, body []byte) {
		items := itemsOf(body)
		if !slices.IsSorted(items) || itemCount(items) > len(items) {
			t.Error(items)
		}
		rangesOf(items, failed("timeSeries[0-50]", len(items)))
	})
}

// What many intervals, a broken answer and bad points come to, through the real
// Delivery: each point is stored once, and the books say so.
func TestDeliveryAccountsForEveryPoint(t *testing.T) {
	s, c, client := intake(t, nil)
	calls := 0
	s.RefuseSeries = func(*monitoringpb.CreateTimeSeriesRequest) error {
		if calls++; calls == 3 {
			return status.Error(codes.Internal, "try again")
		}
		return nil
	}
	s.Now = time.Now
	s.RefusePoint = refusing(codes.InvalidArgument, "m7")
	begin := time.Now().Add(-time.Hour).UnixMilli()
	q := &lane{all: make(chan struct{})}
	const intervals, metrics = 10, 30
	for i := range int64(intervals) {
		b := &signal.Batch{Kind: signal.Metric}
		for m := range metrics {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m" + string(rune('0'+m/10)) + string(rune('0'+m%10)), Type: signal.Counter, Labels: signal.Labels(signal.LabelHost, "vm-1")}),
				Start: begin - 1000, Time: begin + 10_000*i, Value: float64(i)})
		}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m7", Type: signal.Gauge}), Time: begin + 10_000*i, Value: 1})
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "nan", Type: signal.Gauge}), Time: begin, Value: math.NaN()})
		q.frames = append(q.frames, signal.AppendFrame(nil, b))
	}
	d := exporters.Delivery{Exporter: Metrics("m", c, gce, client), Live: q, Log: slog.New(slog.DiscardHandler), Linger: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-q.all
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if got := q.books.Items; got[spool.Sent] != intervals*metrics || got[spool.Refused] != intervals || got[spool.Unsupported] != intervals || q.books.Twice != 0 {
		t.Errorf("booked %v", q.books)
	}
	if n := len(s.Points()); n != intervals*metrics {
		t.Errorf("%d points stored: %v", n, s.Refused())
	}
}

// lane is a queue in memory that says when all of it is done.
type lane struct {
	frames [][]byte
	all    chan struct{}

	mu    sync.Mutex
	next  int         // guarded by mu
	done  int         // guarded by mu
	books spool.Books // guarded by mu
}

func (q *lane) TryNext() (uint64, []byte, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == len(q.frames) {
		return 0, nil, false, nil
	}
	q.next++
	return uint64(q.next), q.frames[q.next-1], true, nil
}

func (q *lane) Next(ctx context.Context) (uint64, []byte, error) {
	if seq, frame, ok, _ := q.TryNext(); ok {
		return seq, frame, nil
	}
	<-ctx.Done()
	return 0, nil, ctx.Err()
}

func (q *lane) Done(_ uint64, b spool.Books) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.books.Add(b)
	if q.done++; q.done == len(q.frames) {
		close(q.all)
	}
	return nil
}

func TestConnect(t *testing.T) {
	connect := func(e exporters.Exporter) error {
		return e.(interface{ Connect(context.Context) error }).Connect(t.Context())
	}
	s, c, client := intake(t, nil)
	s.Now = nil
	for _, e := range []exporters.Exporter{Metrics("m", c, gke, client), Logs("l", c, gke, client), Events("e", c, gke, client)} {
		if err := connect(e); err != nil {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
	if len(s.Points())+len(s.Entries()) != 0 {
		t.Error("Connect left something behind")
	}
	other := gke
	other.Project = "other-project"
	err := connect(Metrics("m", c, other, client))
	if err == nil || !strings.Contains(err.Error(), "roles/monitoring.metricWriter") || !strings.Contains(err.Error(), "roles/logging.logWriter") {
		t.Errorf("another project: %v", err)
	}
	c.Logs = false
	if err := connect(Metrics("m", c, other, client)); err == nil || strings.Contains(err.Error(), "logWriter") {
		t.Errorf("metrics only: %v", err)
	}
	c.URL = "http://127.0.0.1:1" // nobody listens there
	nobody := NewClient(c, exporters.HTTP{})
	defer nobody.Close()
	if err := connect(Metrics("m", c, gke, nobody)); err == nil || !strings.Contains(err.Error(), "no good answer from 127.0.0.1:1: check url") {
		t.Errorf("without a server: %v", err)
	}
}

func TestCredentialsAreExplained(t *testing.T) {
	f := func(file, want string) {
		t.Helper()
		c := Default()
		c.Credentials = file
		client := NewClient(c, exporters.HTTP{})
		defer client.Close()
		x := try(t, Metrics("m", c, gce, client), parse(t, signal.Metric, three))
		if x == nil || x.Class != exporters.Hold || !x.Unsent || !strings.Contains(x.Error(), want) || strings.Contains(x.Error(), "s3cret") {
			t.Errorf("%v, want %q", x, want)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f(filepath.Join(dir, "none"), "no such file")
	f(write("text", "s3cret"), "is no JSON")
	f(write("other", `{"type":"gdch","k":"s3cret"}`), `is of type "gdch"`)
}
