package exporters

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// HTTP is how a destination is reached: keys that every destination has.
type HTTP struct {
	ProxyURL string        `yaml:"proxy_url"` // http, https or socks5; default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	TLS      TLS           `yaml:"tls"`
	Timeout  time.Duration `yaml:"timeout"` // of one request, its answer included; default 30s
}

// TLS names the files a connection is secured with. All are optional.
type TLS struct {
	CAFile   string `yaml:"ca_file"`   // PEM; trusted instead of the system's roots
	CertFile string `yaml:"cert_file"` // PEM; our own certificate, with KeyFile
	KeyFile  string `yaml:"key_file"`
}

// DefaultTimeout bounds one request where the configuration does not.
const DefaultTimeout = 30 * time.Second

// Client returns an http.Client for c, whose Transport is a Transport, of which each destination has its own:
// a slow vendor must not use up another one's connections. It reads the TLS
// files, and fails if one cannot be read or used.
func (c HTTP) Client(inFlight int) (*http.Client, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   max(inFlight, 2),
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // answers are short, and what they say they weigh must be what we read
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if c.ProxyURL != "" {
		u, err := url.Parse(c.ProxyURL)
		if err != nil {
			return nil, fmt.Errorf("proxy_url: %w", err)
		}
		t.Proxy = http.ProxyURL(u)
	}
	if c.TLS.CAFile != "" {
		pem, err := os.ReadFile(c.TLS.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", c.TLS.CAFile)
		}
	}
	if c.TLS.CertFile != "" || c.TLS.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &http.Client{
		Transport: Transport{t},
		Timeout:   timeout,
		// A redirect would carry the key to a host nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Transport is a transport that is done with a request's body once an error is
// returned or the answer closed. A transport by itself may go on reading for a
// moment, if the vendor answers before it has all or the time is over; by then the
// buffer may hold another request.
type Transport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return t.Transport.RoundTrip(req)
	}
	var open sync.WaitGroup
	watch := func(body io.ReadCloser) io.ReadCloser {
		open.Add(1)
		return closing{body, sync.OnceFunc(open.Done)}
	}
	watched := req.WithContext(req.Context())
	watched.Body = watch(req.Body)
	if again := req.GetBody; again != nil {
		watched.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err == nil {
				body = watch(body)
			}
			return body, err
		}
	}
	resp, err := t.Transport.RoundTrip(watched)
	if err != nil {
		open.Wait()
		return nil, err
	}
	resp.Body = closing{resp.Body, open.Wait}
	return resp, nil
}

// closing calls then once it is closed.
type closing struct {
	io.ReadCloser
	then func()
}

func (c closing) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}

// Post makes one request and reads at most read bytes of the answer. The error
// is an *Error of class Retry: the request got no answer, or not all of it.
func Post(ctx context.Context, client *http.Client, req *http.Request, read int64) (status int, header http.Header, answer []byte, err error) {
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		// url.Error repeats the URL, which may carry a key; its cause does not.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return 0, nil, nil, &Error{Class: Retry, Unsent: unsent(err), Err: fmt.Errorf("%s %s: %w", req.Method, req.URL.Host, err)}
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, read))
	if err != nil && resp.StatusCode/100 == 2 {
		// The vendor said yes and then broke off: a yes all the same, unless
		// the answer itself matters, and then its reader will find it wanting.
		err = nil
	}
	if err != nil {
		return resp.StatusCode, resp.Header, answer, &Error{Class: Retry, Status: resp.StatusCode, Err: fmt.Errorf("reading the answer of %s: %w", req.URL.Host, err)}
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	return resp.StatusCode, resp.Header, answer, nil
}

// unsent reports whether err shows that the vendor cannot have seen the request.
func unsent(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dns) || errors.As(err, &cert) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// Classify says what an answer means where the vendor's documentation says
// nothing else (vendors differ only in details; the table is the same for all):
//
//	2xx                      nil
//	408, 429, 5xx            Retry, not before Retry-After or X-RateLimit-Reset
//	401, 403, 404, 407, 3xx  Hold: the key, the permission or the address is wrong, not the data
//	413                      Permanent: halved until it fits
//	anything else            Permanent
func Classify(status int, header http.Header, answer []byte) *Error {
	if status/100 == 2 {
		return nil
	}
	e := &Error{Class: Permanent, Status: status, Words: Words(answer)}
	switch {
	case status == http.StatusRequestTimeout || status >= 500:
		e.Class, e.After = Retry, RetryAfter(header, time.Now())
		e.Unsent = status == http.StatusServiceUnavailable
	case status == http.StatusTooManyRequests:
		e.Class, e.After, e.Unsent = Retry, RetryAfter(header, time.Now()), true
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusProxyAuthRequired:
		e.Class, e.Unsent = Hold, true
	case status/100 == 3:
		e.Class, e.Unsent = Hold, true
		e.Err = fmt.Errorf("redirected to %q: set url to the right address", header.Get("Location"))
	case status < 200:
		e.Class = Retry
	}
	return e
}

// maxAfter bounds what a vendor's header can make us wait: one wrong digit
// there must not silence a destination for a year.
const maxAfter = 15 * time.Minute

// RetryAfter reads Retry-After (seconds or a date) or, without it,
// X-RateLimit-Reset (seconds), as of now. 0 means that the vendor said nothing.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	var after time.Duration
	if v := h.Get("Retry-After"); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			after = seconds(s)
		} else if t, err := http.ParseTime(v); err == nil {
			after = t.Sub(now)
		}
	} else if s, err := strconv.ParseFloat(h.Get("X-RateLimit-Reset"), 64); err == nil {
		after = seconds(s)
	}
	return min(max(after, 0), maxAfter)
}

func seconds(s float64) time.Duration {
	if !(s > 0) { // NaN too
		return 0
	}
	return time.Duration(min(s, maxAfter.Seconds()) * float64(time.Second))
}

// Words returns a vendor's answer fit to be shown: one line of valid UTF-8, at
// most 1 KiB.
func Words(answer []byte) string {
	const most = 1024
	s := strings.ToValidUTF8(string(answer[:min(len(answer), most)]), "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == utf8.RuneError }), " ")
	return strings.TrimSpace(s)
}
