package influx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
)

// client is what the exporters of the three kinds have in common: where
// requests go, and what answers mean.
type client struct {
	name   string
	kind   signal.Kind
	limits exporters.Limits
	tags   []tag
	http   *http.Client
	conf   Config

	base, write string // URLs
	create      bool   // may create the database
	created     atomic.Bool
}

func newClient(name string, kind signal.Kind, c Config, hc *http.Client) client {
	base := strings.TrimSuffix(c.URL, "/")
	if c.Embedded {
		base = "http://" + c.Listen
	}
	lim := exporters.Limits{
		Items: mostItems, Bytes: mostBytes, InFlight: c.InFlight, MaxAge: c.Retention,
		Idempotent: true, // equal points overwrite each other
	}
	if c.Compression == "gzip" {
		lim.Encoding = "gzip"
	}
	create := c.CreateDatabase == "true"
	if u, err := url.Parse(base); err == nil && c.CreateDatabase == "auto" {
		create = loopback(u.Hostname()+":0") || loopback("["+u.Hostname()+"]:0")
	}
	return client{
		name: name, kind: kind, limits: lim, tags: ownTags(c.Tags), http: hc, conf: c,
		base: base, write: base + writePath(c, kind), create: create && c.API == "v1",
	}
}

// Target says where requests go.
func (c *client) Target() string { return "POST " + c.write }

// writePath returns path and query of the write API. Samples have times in
// milliseconds, and sending them so makes a line six bytes shorter.
func writePath(c Config, kind signal.Kind) string {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	unit, long := "ns", "nanosecond"
	if kind == signal.Metric {
		unit, long = "ms", "millisecond"
	}
	switch c.API {
	case "v2":
		set("org", c.Org)
		set("bucket", c.Bucket)
		set("precision", unit)
		return "/api/v2/write?" + q.Encode()
	case "v3":
		set("db", c.Database)
		set("precision", long)
		set("accept_partial", "true")
		return "/api/v3/write_lp?" + q.Encode()
	}
	set("db", c.Database)
	set("rp", c.RetentionPolicy)
	set("precision", unit)
	return "/write?" + q.Encode()
}

// Name returns the name the exporter was made with.
func (c *client) Name() string { return c.name }

// Kind returns the kind of signal the exporter takes.
func (c *client) Kind() signal.Kind { return c.kind }

// Limits returns the limits of one request.
func (c *client) Limits() exporters.Limits { return c.limits }

// mostAnswer bounds what is read of an answer. InfluxDB 1 repeats every line it
// cannot parse, InfluxDB 3 every line it refuses.
const mostAnswer = 8 << 20

// Send makes one request. What the answer means is in answer.go.
func (c *client) Send(ctx context.Context, body []byte) error {
	status, header, answer, err := c.post(ctx, c.write, "text/plain; charset=utf-8", body, c.limits.Encoding)
	if err != nil {
		return err
	}
	e := c.classify(status, header, answer, body)
	if e == nil {
		return nil
	}
	if e.Status == http.StatusNotFound && c.create && databaseMissing(answer) && c.created.CompareAndSwap(false, true) {
		if err := c.createDatabase(ctx); err != nil {
			e.Err = err
			return e
		}
		return &exporters.Error{Class: exporters.Retry, Status: status, Unsent: true, Err: errors.New("the database was missing and has been created")}
	}
	return e
}

func (c *client) post(ctx context.Context, to, contentType string, body []byte, encoding string) (int, http.Header, []byte, error) {
	if c.conf.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.conf.Timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, &exporters.Error{Class: exporters.Hold, Unsent: true, Err: errors.New("url cannot be used")}
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "causeway")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	switch {
	case c.conf.API == "v2" && c.conf.Token != "":
		req.Header.Set("Authorization", "Token "+c.conf.Token.Reveal())
	case c.conf.API == "v3" && c.conf.Token != "":
		req.Header.Set("Authorization", "Bearer "+c.conf.Token.Reveal())
	case c.conf.Username != "":
		req.SetBasicAuth(c.conf.Username, c.conf.Password.Reveal())
	}
	return exporters.Post(ctx, c.http, req, mostAnswer)
}

// createDatabase asks an InfluxDB 1 to create the database. It does so once in
// the exporter's life: who drops it again means it.
func (c *client) createDatabase(ctx context.Context) error {
	name := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.conf.Database)
	form := url.Values{"q": {`CREATE DATABASE "` + name + `"`}}
	status, _, answer, err := c.post(ctx, c.base+"/query", "application/x-www-form-urlencoded", []byte(form.Encode()), "")
	if err != nil {
		return fmt.Errorf("creating database %q: %w", c.conf.Database, err)
	}
	// Run-time errors of a query come with 200.
	if status != http.StatusOK || bytes.Contains(answer, []byte(`"error"`)) {
		return fmt.Errorf("creating database %q: the server answered %d: %s", c.conf.Database, status, exporters.Words(answer))
	}
	return nil
}

// Connect tries the destination without writing to it: it sends a comment. The
// error says what a person must mend. "validate --connect" calls it.
func (c *client) Connect(ctx context.Context) error {
	status, header, answer, err := c.post(ctx, c.write, "text/plain; charset=utf-8", []byte("# causeway was here\n"), "")
	if err != nil {
		return fmt.Errorf("no answer from %s: is the server running there, and may this machine reach it: %w", c.base, err)
	}
	words := exporters.Words(answer)
	switch {
	case status/100 == 2, status == http.StatusBadRequest && !strings.Contains(words, "required"), status == http.StatusUnprocessableEntity:
		return nil // it would rather have had a point, but it knows us and the place
	case status == http.StatusUnauthorized && c.conf.API == "v1":
		return fmt.Errorf("%s refuses username and password (401): check username and password: %s", c.base, words)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("%s refuses the token%s (401): check token: %s", c.base, tail(c.conf.Token), words)
	case status == http.StatusForbidden:
		return fmt.Errorf("%s knows us but does not let us write (403): grant WRITE on the database or bucket: %s", c.base, words)
	case status == http.StatusNotFound && databaseMissing(answer) && c.create:
		return nil // the first write creates it
	case status == http.StatusNotFound && databaseMissing(answer) && c.conf.API == "v1":
		return fmt.Errorf("%s has no database %q (404): create it, or set create_database: true: %s", c.base, c.conf.Database, words)
	case status == http.StatusNotFound && c.conf.API == "v2":
		return fmt.Errorf("%s answered 404: check org and bucket, or set api to what the server speaks: %s", c.base, words)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s answered %d: check database, or set api to what the server speaks (v1, v2 or v3): %s", c.base, status, words)
	case status/100 == 3:
		return fmt.Errorf("%s redirects to %q: set url to that address", c.base, header.Get("Location"))
	}
	return fmt.Errorf("%s answered %d: %s", c.base, status, words)
}

func tail(s secret.String) string {
	if last := s.Last4(); last != "" {
		return " that ends in " + last
	}
	return ""
}
