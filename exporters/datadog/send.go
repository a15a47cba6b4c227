package datadog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/DataDog/datadog-api-client-go/v2/api/datadog"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// client is what the exporters of the three kinds have in common: where
// requests go, and what answers mean.
type client struct {
	name   string
	kind   signal.Kind
	limits exporters.Limits
	conf   Config
	api    *datadog.APIClient
}

func newClient(name string, kind signal.Kind, c Config, lim exporters.Limits, hc *http.Client) client {
	conf := datadog.NewConfiguration()
	conf.HTTPClient = attaching(hc)
	conf.UserAgent = "causeway"
	conf.Compress = false // of answers: they are short
	conf.RetryConfiguration.EnableRetry = false
	return client{name: name, kind: kind, limits: lim, conf: c, api: datadog.NewAPIClient(conf)}
}

// bodyKey is the key of a request's body in its context.
type bodyKey struct{}

// attached gives a request its body on its way to the wire. The client would copy
// it twice (PrepareRequest, CallAPI), in buffers that grow to four times its size.
type attached struct{ http.RoundTripper }

func attaching(hc *http.Client) *http.Client {
	if hc == nil { // for what only encodes
		return nil
	}
	c := *hc
	c.Transport = attached{cmp.Or(hc.Transport, http.DefaultTransport)}
	return &c
}

func (t attached) RoundTrip(req *http.Request) (*http.Response, error) {
	if body, ok := req.Context().Value(bodyKey{}).([]byte); ok {
		req = req.WithContext(req.Context())
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
	}
	return t.RoundTripper.RoundTrip(req)
}

// Name returns the name the exporter was made with.
func (c *client) Name() string { return c.name }

// Kind returns the kind of signal the exporter takes.
func (c *client) Kind() signal.Kind { return c.kind }

// Limits returns the limits of one request.
func (c *client) Limits() exporters.Limits { return c.limits }

// call is one of the client's operations: its name decides the host.
type call struct{ method, operation, path string }

var (
	submitSeries = call{http.MethodPost, "v2.MetricsApi.SubmitMetrics", "/api/v2/series"}
	submitPoints = call{http.MethodPost, "v1.MetricsApi.SubmitDistributionPoints", "/api/v1/distribution_points"}
	submitLogs   = call{http.MethodPost, "v2.LogsApi.SubmitLog", "/api/v2/logs"}
	createEvent  = call{http.MethodPost, "v1.EventsApi.CreateEvent", "/api/v1/events"}
	submitChecks = call{http.MethodPost, "v1.ServiceChecksApi.SubmitServiceCheck", "/api/v1/check_run"}
	validate     = call{http.MethodGet, "v1.AuthenticationApi.Validate", "/api/v1/validate"}
)

// Target returns the URL that requests go to; for events, that of events.
func (c *client) Target() string {
	what := submitSeries
	switch c.kind {
	case signal.Log:
		what = submitLogs
	case signal.Event:
		what = createEvent
	}
	to, err := c.address(what)
	if err != nil {
		return c.conf.URL
	}
	return to
}

// address returns the URL of a call, from the client's own table of servers.
func (c *client) address(what call) (string, error) {
	// Index 2 is "any deployment": 0 refuses sites that are newer than the client.
	index, vars := 2, map[string]string{"site": c.conf.Site}
	path := what.path
	if c.conf.URL != "" {
		u, err := url.Parse(c.conf.URL)
		if err != nil {
			return "", errors.New("url cannot be used")
		}
		index, vars = 1, map[string]string{"protocol": u.Scheme, "name": u.Host}
		path = strings.TrimSuffix(u.Path, "/") + path
	}
	servers, ok := c.api.Cfg.OperationServers[what.operation]
	if !ok {
		servers = c.api.Cfg.Servers
	}
	base, err := servers.URL(index, vars)
	return base + path, err
}

// Send makes one request.
func (c *client) Send(ctx context.Context, body []byte) error {
	what := submitSeries
	switch {
	case c.kind == signal.Metric && c.conf.Distributions == "points" && holdsPoints(body):
		what = submitPoints
	case c.kind == signal.Log:
		what = submitLogs
	case c.kind == signal.Event && bytes.HasPrefix(body, []byte("[")):
		what = submitChecks
		if old(body, time.Now()) {
			return &exporters.Error{Class: exporters.Permanent, Whole: true, Unsent: true,
				Err: errors.New("service checks of more than 10 minutes ago, which Datadog does not take")}
		}
	case c.kind == signal.Event:
		what = createEvent
	}
	status, header, answer, err := c.do(ctx, what, body)
	if err != nil {
		return err
	}
	if e := exporters.Classify(status, header, answer); e != nil {
		return e
	}
	return nil
}

// mostAnswer bounds what is read of an answer.
const mostAnswer = 64 << 10

// do makes one request through the client. The error is an *exporters.Error.
func (c *client) do(ctx context.Context, what call, body []byte) (int, http.Header, []byte, error) {
	if c.conf.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.conf.Timeout)
		defer cancel()
	}
	unusable := &exporters.Error{Class: exporters.Hold, Unsent: true, Err: errors.New("site or url cannot be used")}
	to, err := c.address(what)
	if err != nil {
		return 0, nil, nil, unusable
	}
	headers := map[string]string{"Accept": "application/json"}
	if body != nil {
		headers["Content-Type"] = "application/json"
		switch c.limits.Encoding {
		case "":
		case "zstd":
			// In lower case: at "Content-Encoding" the client compresses, once more.
			headers["content-encoding"] = "zstd1"
		default:
			headers["content-encoding"] = c.limits.Encoding
		}
		ctx = context.WithValue(ctx, bodyKey{}, body)
	}
	ctx = context.WithValue(ctx, datadog.ContextAPIKeys, map[string]datadog.APIKey{"apiKeyAuth": {Key: c.conf.APIKey.Reveal()}})
	datadog.SetAuthKeys(ctx, &headers, [2]string{"apiKeyAuth", "DD-API-KEY"})
	req, err := c.api.PrepareRequest(ctx, to, what.method, nil, headers, url.Values{}, url.Values{}, nil)
	if err != nil {
		return 0, nil, nil, unusable
	}
	resp, err := c.api.CallAPI(req)
	if err != nil {
		// url.Error repeats the URL; its cause is enough.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, nil, nil, &exporters.Error{Class: exporters.Retry, Unsent: unsent(err), Err: fmt.Errorf("%s %s: %w", what.method, req.URL.Host, err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	if err != nil && resp.StatusCode/100 != 2 { // after a yes the rest does not matter
		return 0, nil, nil, &exporters.Error{Class: exporters.Retry, Status: resp.StatusCode, Err: fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)}
	}
	return resp.StatusCode, resp.Header, answer, nil
}

// unsent reports whether err shows that Datadog cannot have seen the request.
func unsent(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dns) || errors.As(err, &cert) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// old reports whether a body of service checks, all of one second, is too old.
func old(body []byte, now time.Time) bool {
	digits, _, _ := bytes.Cut(bytes.TrimPrefix(body, []byte(checkStart)), []byte(","))
	at, err := strconv.ParseInt(string(digits), 10, 64)
	return err == nil && now.Sub(time.Unix(at, 0)) > checkAge
}

// Connect asks Datadog whether the key is good, without sending data. The error
// says what a person must mend. "validate --connect" calls it.
func (c *client) Connect(ctx context.Context) error {
	to, err := c.address(validate)
	if err != nil {
		return err
	}
	host := to[:len(to)-len(validate.path)]
	status, header, answer, err := c.do(ctx, validate, nil)
	if err != nil {
		return fmt.Errorf("no answer from %s: check site, and whether this machine may reach it (proxy_url): %w", host, err)
	}
	words := exporters.Words(answer)
	switch {
	case status/100 == 2 && !bytes.Contains(bytes.ReplaceAll(answer, []byte(" "), nil), []byte(`"valid":true`)):
		return fmt.Errorf("%s answered %d, but not as Datadog does: check url: %s", host, status, words)
	case status/100 == 2:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		key := "the API key"
		if last := c.conf.APIKey.Last4(); last != "" {
			key += " that ends in " + last
		}
		return fmt.Errorf("%s does not know %s (%d): check that api_key is an API key, not an application key, "+
			"that it was not revoked, and that it belongs to site %s: %s", host, key, status, c.conf.Site, words)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%s answers too many requests (429); try again later: %s", host, words)
	case status/100 == 3:
		return fmt.Errorf("%s redirects to %q: set url or site to the right address", host, header.Get("Location"))
	}
	return fmt.Errorf("%s answered %d: %s", host, status, words)
}
