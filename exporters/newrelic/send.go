package newrelic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/newrelic/newrelic-telemetry-sdk-go/telemetry"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// region is where a region's APIs are.
type region struct{ metric, log, event, otlp, graph string }

// regions returns the hosts of a region (docs.newrelic.com: our-eu-us-region-data-centers,
// fedramp-compliant-endpoints, opentelemetry-otlp).
func regions(name string) (region, bool) {
	switch name {
	case "us":
		return region{"metric-api.newrelic.com", "log-api.newrelic.com", "insights-collector.newrelic.com", "otlp.nr-data.net", "api.newrelic.com"}, true
	case "eu":
		return region{"metric-api.eu.newrelic.com", "log-api.eu.newrelic.com", "insights-collector.eu01.nr-data.net", "otlp.eu01.nr-data.net",
			"api.eu.newrelic.com"}, true
	case "gov":
		return region{"gov-metric-api.newrelic.com", "gov-log-api.newrelic.com", "gov-insights-collector.newrelic.com", "gov-otlp.nr-data.net",
			"api.newrelic.com"}, true
	}
	return region{}, false
}

// client is what the exporters of the three kinds have in common: where
// requests go, and what answers mean.
type client struct {
	name   string
	kind   signal.Kind
	limits exporters.Limits
	conf   Config
	hc     *http.Client
	otlp   bool          // this kind goes by OTLP
	blank  *http.Request // a request without a body; nil if it could not be made
}

func newClient(name string, kind signal.Kind, c Config, hc *http.Client) client {
	lim := exporters.Limits{
		Bytes: mostRaw, Packed: mostPacked, Encoding: "gzip", InFlight: c.InFlight,
		MaxAge: mostAge, Future: mostFuture, // counts add up: Idempotent is false
	}
	cl := client{name: name, kind: kind, conf: c, hc: hc}
	cl.otlp = c.API == "otlp" && (kind != signal.Event || c.AccountID == 0)
	if cl.otlp {
		lim.Encoding = c.Compression
	}
	if kind == signal.Event {
		lim.Items = mostEvents
	}
	cl.limits = lim
	cl.blank = c.blank(kind, cl.otlp)
	return cl
}

// blank returns a request to the API of a kind: of the telemetry SDK's making,
// or, by OTLP, ours. nil if the configuration cannot be used.
func (c Config) blank(kind signal.Kind, otlp bool) *http.Request {
	r, _ := regions(c.Region)
	if otlp {
		to := "https://" + r.otlp
		if c.URL != "" {
			to = strings.TrimSuffix(c.URL, "/")
		}
		path := "/v1/logs"
		if kind == signal.Metric {
			path = "/v1/metrics"
		}
		u, err := url.Parse(to + path)
		if err != nil {
			return nil
		}
		return &http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{
			"Api-Key": {c.LicenseKey.Reveal()}, "Content-Type": {"application/x-protobuf"}, "User-Agent": {"causeway"},
		}}
	}
	// The key as an insert key: WithLicenseKey would name a header that the APIs
	// do not document. Never WithGzipCompressionLevel: its check is upside down.
	options := []telemetry.ClientOption{telemetry.WithInsertKey(c.LicenseKey.Reveal()), telemetry.WithUserAgent("causeway")}
	prefix := ""
	host := map[signal.Kind]string{signal.Metric: r.metric, signal.Log: r.log, signal.Event: r.event}[kind]
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil {
			return nil
		}
		host, prefix = u.Host, strings.TrimSuffix(u.Path, "/")
		if u.Scheme == "http" {
			options = append(options, telemetry.WithInsecure())
		}
	}
	make := telemetry.NewMetricRequestFactory
	switch kind {
	case signal.Log:
		make = telemetry.NewLogRequestFactory
	case signal.Event:
		make = telemetry.NewEventRequestFactory
	}
	factory, err := make(append(options, telemetry.WithEndpoint(host))...)
	if err != nil {
		return nil
	}
	req, err := factory.BuildRequest(new(http.Request).Context(), nil) // post gives each copy its own context
	if err != nil {
		return nil
	}
	if kind == signal.Event && c.AccountID != 0 { // the SDK leaves the account out
		req.URL.Path = "/v1/accounts/" + strconv.FormatInt(c.AccountID, 10) + "/events"
	}
	req.URL.Path = prefix + req.URL.Path
	return req
}

// Name returns the name the exporter was made with.
func (c *client) Name() string { return c.name }

// Kind returns the kind of signal the exporter takes.
func (c *client) Kind() signal.Kind { return c.kind }

// Limits returns the limits of one request.
func (c *client) Limits() exporters.Limits { return c.limits }

// Target returns the URL that requests go to.
func (c *client) Target() string {
	if c.blank == nil {
		return c.conf.URL
	}
	return c.blank.URL.String()
}

// mostAnswer bounds what is read of an answer.
const mostAnswer = 64 << 10

// Send makes one request. A nil error means that New Relic has received the
// body (202); whether it likes what is in it shows later, in NrIntegrationError.
func (c *client) Send(ctx context.Context, body []byte) error {
	status, header, answer, err := c.post(ctx, c.blank, body, c.limits.Encoding)
	if err != nil {
		return err
	}
	if e := c.classify(status, header, answer); e != nil {
		return e
	}
	return nil
}

// post sends a body with a copy of a request.
func (c *client) post(ctx context.Context, blank *http.Request, body []byte, encoding string) (int, http.Header, []byte, error) {
	if blank == nil {
		return 0, nil, nil, &exporters.Error{Class: exporters.Hold, Unsent: true, Err: errors.New("region, url or license_key cannot be used")}
	}
	if c.conf.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.conf.Timeout)
		defer cancel()
	}
	req := blank.Clone(ctx)
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.ContentLength = int64(len(body))
	req.Header.Del("Content-Encoding")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	return exporters.Post(ctx, c.hc, req, mostAnswer)
}

// classify says what an answer means. New Relic documents 400, 403, 404, 405,
// 408, 411, 413, 414, 415, 429 and 5xx; of these 405, 411, 414 and 415 speak of
// the request and its address, and no data would do better.
func (c *client) classify(status int, header http.Header, answer []byte) *exporters.Error {
	protobuf := strings.HasPrefix(header.Get("Content-Type"), "application/x-protobuf")
	e := exporters.Classify(status, header, answer)
	switch {
	case e == nil && c.otlp && protobuf:
		if rejected, words := partialSuccess(answer); rejected > 0 {
			return &exporters.Error{Class: exporters.Partial, Status: status, Dropped: int(min(rejected, 1<<30)), Words: exporters.Words([]byte(words))}
		}
		return nil
	case e == nil:
		return nil
	case protobuf:
		e.Words = exporters.Words(field(answer, 2)) // google.rpc.Status.message
	}
	switch status {
	case http.StatusMethodNotAllowed, http.StatusLengthRequired, http.StatusRequestURITooLong, http.StatusUnsupportedMediaType:
		e.Class, e.Unsent = exporters.Hold, true
	}
	return e
}

// partialSuccess reads the answer of OTLP: partial_success 1 {rejected 1,
// error_message 2}. Nothing is read of an answer that is none.
func partialSuccess(answer []byte) (rejected int64, words string) {
	p := field(answer, 1)
	for rest := p; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return 0, ""
		}
		rest = rest[n:]
		if num == 1 && typ == protowire.VarintType {
			v, n := protowire.ConsumeVarint(rest)
			if n < 0 {
				return 0, ""
			}
			rejected, rest = int64(v), rest[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, rest); n < 0 {
			return 0, ""
		}
		rest = rest[n:]
	}
	return rejected, string(field(p, 2))
}

// field returns the last length-delimited field of a number in a message.
func field(msg []byte, want protowire.Number) (value []byte) {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return nil
		}
		msg = msg[n:]
		if n = protowire.ConsumeFieldValue(num, typ, msg); n < 0 {
			return nil
		}
		if num == want && typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(msg)
		}
		msg = msg[n:]
	}
	return value
}

// Connect asks New Relic whether it takes our data, without sending any: there
// is no call that looks at a license key alone, but each API looks at it before
// it takes a body, and a body with no metric in it leaves nothing behind. With a
// user_key NerdGraph is asked whether that key may see the account. The error
// says what a person must mend. "validate --connect" calls it.
func (c *client) Connect(ctx context.Context) error {
	blank, probe := c.conf.blank(signal.Metric, false), []byte(`[{"metrics":[]}]`)
	if c.conf.API == "otlp" {
		blank, probe = c.conf.blank(signal.Metric, true), nil
	}
	status, header, answer, err := c.post(ctx, blank, exporters.Pack(nil, probe, "gzip"), "gzip")
	if err != nil {
		return fmt.Errorf("no answer: check region or url, and whether this machine may reach it (proxy_url): %w", err)
	}
	at, words := blank.URL.Host, exporters.Words(answer)
	switch {
	case status/100 == 2 && !ours(header, answer):
		return fmt.Errorf("%s answered %d, but not as New Relic does: check url: %s", at, status, words)
	case status/100 == 2:
		return c.connectUser(ctx)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		key := "the license key"
		if last := c.conf.LicenseKey.Last4(); last != "" {
			key += " that ends in " + last
		}
		return fmt.Errorf("%s does not take %s (%d): check that license_key is a key of type INGEST - LICENSE, that it was not deleted, "+
			"and that its account is in region %s: %s",
			at, key, status, c.conf.Region, words)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%s answers too many requests (429); try again later: %s", at, words)
	case status/100 == 3:
		return fmt.Errorf("%s redirects to %q: set url or region to the right address", at, header.Get("Location"))
	case status == http.StatusBadRequest:
		return fmt.Errorf("%s answered 400 to a body without metrics; it did not refuse the key: %s", at, words)
	}
	return fmt.Errorf("%s answered %d: %s", at, status, words)
}

// ours reports whether a yes looks like New Relic's: JSON with a requestId, or
// a protobuf message.
func ours(header http.Header, answer []byte) bool {
	if strings.HasPrefix(header.Get("Content-Type"), "application/x-protobuf") {
		return true
	}
	var said struct {
		RequestID string `json:"requestId"`
	}
	return json.Unmarshal(answer, &said) == nil && said.RequestID != ""
}

// connectUser asks NerdGraph about the user key, if there is one. It answers
// 200 even to what it refuses.
func (c *client) connectUser(ctx context.Context) error {
	if c.conf.UserKey == "" {
		return nil
	}
	r, _ := regions(c.conf.Region)
	to := "https://" + r.graph
	if c.conf.URL != "" {
		to = strings.TrimSuffix(c.conf.URL, "/")
	}
	query := `{"query":"{actor{user{name}}}"}`
	if c.conf.AccountID != 0 {
		query = fmt.Sprintf(`{"query":"{actor{account(id:%d){name}}}"}`, c.conf.AccountID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to+"/graphql", nil)
	if err != nil {
		return errors.New("url cannot be used")
	}
	req.Header.Set("Api-Key", c.conf.UserKey.Reveal())
	req.Header.Set("Content-Type", "application/json")
	status, _, answer, err := c.post(ctx, req, []byte(query), "")
	if err != nil {
		return fmt.Errorf("license_key is good, but NerdGraph gives no answer: %w", err)
	}
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(answer, &said); err != nil || status/100 != 2 || len(said.Errors) > 0 {
		return fmt.Errorf("license_key is good, but %s does not take user_key (%d): check that it is a user key (NRAK-…) that may see account_id: %s",
			req.URL.Host, status, exporters.Words(answer))
	}
	return nil
}
