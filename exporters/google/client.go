package google

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	logging "cloud.google.com/go/logging/apiv2"
	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/causeway-agent/causeway/exporters"
)

// Client holds the connections of one destination, one to each of the two
// services, which are made when they are first needed. Its methods may be
// called from several goroutines.
type Client struct {
	conf Config
	http exporters.HTTP
	dial func(ctx context.Context, addr string) (net.Conn, error) // nil: over the network

	mu      sync.Mutex
	metrics *conn // guarded by mu
	logs    *conn // guarded by mu
	closed  bool  // guarded by mu
}

// conn is a connection to one of the services; the other one's client is nil.
type conn struct {
	monitoring *monitoring.MetricClient
	logging    *logging.Client
	answers    atomic.Int64
}

func (c *conn) close() error {
	if c.monitoring != nil {
		return c.monitoring.Close()
	}
	return c.logging.Close()
}

// NewClient returns a Client for c, which has been checked. Of h it uses the
// proxy and the TLS files. It reads nothing and connects to nobody.
func NewClient(c Config, h exporters.HTTP) *Client {
	return &Client{conf: c, http: h}
}

// Close ends the connections; requests under way fail, and later ones too.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var errs []error
	for _, k := range []**conn{&c.metrics, &c.logs} {
		if *k != nil {
			errs = append(errs, (*k).close())
			*k = nil
		}
	}
	return errors.Join(errs...)
}

var errClosed = errors.New("the client is closed")

// forMetrics returns the connection to Cloud Monitoring.
func (c *Client) forMetrics(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.metrics == nil {
		opts, err := c.options(c.conf.URL)
		if err != nil {
			return nil, err
		}
		// What the client keeps of ctx is used for fetching tokens, for ever.
		m, err := monitoring.NewMetricClient(context.WithoutCancel(ctx), opts...)
		if err != nil {
			return nil, noCredentials(err)
		}
		m.CallOptions = &monitoring.MetricCallOptions{} // no timeout and no retry but ours
		c.metrics = &conn{monitoring: m}
	}
	return c.metrics, nil
}

// forLogs returns the connection to Cloud Logging.
func (c *Client) forLogs(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if c.logs == nil {
		opts, err := c.options(c.conf.LogsURL)
		if err != nil {
			return nil, err
		}
		l, err := logging.NewClient(context.WithoutCancel(ctx), opts...)
		if err != nil {
			return nil, noCredentials(err)
		}
		l.CallOptions = &logging.CallOptions{}
		c.logs = &conn{logging: l}
	}
	return c.logs, nil
}

// noCredentials is the error of a client that Google's library could not make.
func noCredentials(err error) error {
	return fmt.Errorf("no credentials, or none that can be used (credentials_file, or application default credentials): %w", err)
}

// drop closes a connection that has become mute, so that the next request has
// a new one: TCP may take a quarter of an hour to notice.
func (c *Client) drop(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range []**conn{&c.metrics, &c.logs} {
		if *p == k {
			*p = nil
			_ = k.close()
		}
	}
}

// mostBackoff bounds how long gRPC waits before it dials again: Delivery does
// the waiting, and must not find gRPC asleep when it has done it.
const mostBackoff = 5 * time.Second

// options returns the options of a client for the service at url.
func (c *Client) options(url string) ([]option.ClientOption, error) {
	backoffs := backoff.DefaultConfig
	backoffs.MaxDelay = mostBackoff
	dial := []grpc.DialOption{
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoffs, MinConnectTimeout: 10 * time.Second}),
	}
	if c.conf.Compression == "gzip" {
		//lint:ignore SA1019 its successor is one registry for the whole process, and compresses what is compressed
		dial = append(dial, grpc.WithCompressor(packed{}))
	}
	opts := []option.ClientOption{option.WithUserAgent("causeway"), option.WithTelemetryDisabled()}
	addr, plain := strings.CutPrefix(url, "http://")
	switch {
	case plain:
		opts = append(opts, option.WithEndpoint(addr), option.WithoutAuthentication())
		dial = append(dial, grpc.WithTransportCredentials(insecure.NewCredentials()))
	case url != "":
		opts = append(opts, option.WithEndpoint(addr))
	}
	if !plain {
		if c.conf.Credentials != "" {
			kind, err := credentialsType(c.conf.Credentials)
			if err != nil {
				return nil, err
			}
			opts = append(opts, option.WithAuthCredentialsFile(kind, c.conf.Credentials))
		}
		t, err := tlsConfig(c.http.TLS)
		if err != nil {
			return nil, err
		}
		if t != nil {
			dial = append(dial, grpc.WithTransportCredentials(credentials.NewTLS(t)))
		}
	}
	switch {
	case c.dial != nil:
		dial = append(dial, grpc.WithContextDialer(c.dial))
	case c.http.ProxyURL != "":
		proxy, err := proxyDialer(c.http.ProxyURL)
		if err != nil {
			return nil, err
		}
		dial = append(dial, grpc.WithContextDialer(proxy))
	}
	for _, d := range dial {
		opts = append(opts, option.WithGRPCDialOption(d))
	}
	return opts, nil
}

// tlsConfig returns what the files say, nil if there are none.
func tlsConfig(f exporters.TLS) (*tls.Config, error) {
	if f == (exporters.TLS{}) {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.CAFile != "" {
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", f.CAFile)
		}
	}
	if f.CertFile != "" || f.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// proxyDialer returns a dialer that goes through an HTTP proxy. (A proxy of the
// environment gRPC finds by itself.)
func proxyDialer(proxy string) (func(context.Context, string) (net.Conn, error), error) {
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" || u.Scheme != "http" {
		return nil, errors.New("proxy_url: must be http://host:port for a destination of type googlecloud") // its text may hold a password
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", u.Host)
		if err != nil {
			return nil, fmt.Errorf("proxy_url: %w", err)
		}
		defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
		req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{"User-Agent": {"causeway"}}}
		if u.User != nil {
			password, _ := u.User.Password()
			req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
		}
		r := bufio.NewReader(c)
		if err = req.Write(c); err == nil {
			var resp *http.Response
			if resp, err = http.ReadResponse(r, req); err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("it answers %s to CONNECT %s", resp.Status, addr)
			}
		}
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("proxy_url: %s: %w", u.Host, err)
		}
		return buffered{c, r}, nil
	}, nil
}

// buffered reads first what came behind the proxy's answer.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// written is a codec for one request: it gives gRPC the bytes that Encode
// wrote, whatever the message is, and reads answers as gRPC's own does. The
// client's method gets a message with only what it makes headers of.
//
// Decoding the body into the message, so that gRPC can encode it again, would
// cost 1.7 ms a request and 21,000 allocations, where this copies (BenchmarkSend).
type written struct{ body []byte }

// Marshal returns the body. What is compressed is copied by the compressor
// before Send returns; what is not must be copied here, since gRPC may still
// hold it when the call was given up, and the body is Delivery's.
func (w written) Marshal(any) (mem.BufferSlice, error) {
	if isPacked(w.body) {
		return mem.BufferSlice{mem.SliceBuffer(w.body)}, nil
	}
	return mem.BufferSlice{mem.Copy(w.body, mem.DefaultBufferPool())}, nil
}

func (w written) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
}

func (w written) Name() string { return proto.Name }

// packed is a compressor for what is compressed already: Delivery did it, with
// a faster one than gRPC has. Small messages of our own it compresses.
type packed struct{}

func (packed) Do(w io.Writer, p []byte) error {
	if !isPacked(p) {
		p = exporters.Pack(nil, p, "gzip")
	}
	_, err := w.Write(p)
	return err
}

func (packed) Type() string { return "gzip" }

// isPacked reports whether p is gzip. A message cannot begin so: 0x1f would be
// a field of a type that there is not.
func isPacked(p []byte) bool { return len(p) > 2 && p[0] == 0x1f && p[1] == 0x8b }

// credentialsType reads from a key file which of Google's sorts it is.
func credentialsType(file string) (option.CredentialsType, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return option.ServiceAccount, fmt.Errorf("credentials_file: %w", err)
	}
	var key struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(p, &key); err != nil {
		return option.ServiceAccount, fmt.Errorf("credentials_file: %s is no JSON", file) // its text may hold the key
	}
	switch key.Type {
	case "service_account":
		return option.ServiceAccount, nil
	case "authorized_user":
		return option.AuthorizedUser, nil
	case "impersonated_service_account":
		return option.ImpersonatedServiceAccount, nil
	case "external_account":
		return option.ExternalAccount, nil
	}
	return option.ServiceAccount, fmt.Errorf(
		"credentials_file: %s is of type %q: must be a key of a service account, or a configuration of workload identity federation", file, key.Type)
}
