package probe

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
	"slices"
	"sync/atomic"
	"time"
)

// mostBody is how much of an answer is read.
const mostBody = 1 << 20

// Stats counts what was found. At rest Runs == Good + Warned + Failed.
type Stats struct {
	Runs   atomic.Int64
	Good   atomic.Int64
	Warned atomic.Int64 // a certificate that expires soon
	Failed atomic.Int64
	Items  atomic.Int64 // samples and events the Sink took
	Lost   atomic.Int64 // those it did not take
}

// Status is how one probe fares.
type Status struct {
	Name, Type, Target string
	Ran                bool // once at least
	Up                 bool
	Err                error // why it is down, or what is about to go wrong
	At                 time.Time
	Took               time.Duration
	Status             int       // of the HTTP answer; 0 if there was none
	Expires            time.Time // of the first certificate; zero if there is none
}

// expiry is when the first certificate of the last connection expires: Unix
// seconds, 0 if there was none. A dial that was given up may still set it.
type expiry struct{ atomic.Int64 }

// ask does what the probe is for.
func (r *runner) ask(ctx context.Context) (o outcome) {
	var e expiry
	switch r.p.Type {
	case "http":
		o.status, o.err = r.call(ctx, &e)
	case "tcp":
		var c net.Conn
		if c, o.err = new(net.Dialer).DialContext(ctx, "tcp", r.p.Address); o.err == nil {
			c.Close()
		}
	default:
		var c net.Conn
		if c, o.err = r.dialTLS(ctx, "tcp", r.p.Address, &e); o.err == nil {
			c.Close()
		}
	}
	if at := e.Load(); at != 0 {
		o.expires = time.Unix(at, 0)
	}
	return o
}

// call makes one request and compares its answer with what is expected.
func (r *runner) call(ctx context.Context, e *expiry) (status int, err error) {
	transport := &http.Transport{
		DialContext: new(net.Dialer).DialContext,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return r.dialTLS(ctx, network, address, e)
		},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 256 << 10,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: r.redirect}
	req, err := http.NewRequestWithContext(ctx, r.p.Method, r.p.URL, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "causeway")
	for _, h := range r.p.Headers {
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value.Reveal()
		}
		req.Header.Set(h.Name, h.Value.Reveal())
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it repeats the URL, whose query may hold a token
			err = ue.Err
		}
		return 0, err
	}
	defer resp.Body.Close()
	status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	switch expected := r.p.ExpectStatus; {
	case len(expected) > 0 && !slices.Contains(expected, status):
		err = fmt.Errorf("answers %d %s, not one of %v", status, http.StatusText(status), expected)
	case len(expected) == 0 && status/100 != 2:
		err = fmt.Errorf("answers %d %s", status, http.StatusText(status))
	case err != nil:
		err = fmt.Errorf("the answer breaks off: %w", err)
	case r.body != nil && !r.body.Match(body):
		err = fmt.Errorf("the answer does not match %q", r.p.ExpectBody)
	}
	return status, err
}

// redirect keeps the headers of the configuration, which may be keys, from
// other hosts: net/http does that only for those it knows.
func (r *runner) redirect(req *http.Request, via []*http.Request) error {
	if r.p.Redirects == "stop" {
		return http.ErrUseLastResponse
	}
	if len(via) >= 10 {
		return errors.New("points elsewhere ten times")
	}
	if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		for _, h := range r.p.Headers {
			req.Header.Del(h.Name)
		}
	}
	return nil
}

// dialTLS connects, notes when the first certificate expires, and only then
// looks whether it is one to trust.
func (r *runner) dialTLS(ctx context.Context, network, address string, e *expiry) (net.Conn, error) {
	conf, err := r.p.TLS.load()
	if err != nil {
		return nil, err
	}
	if conf.ServerName == "" {
		if conf.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, err
		}
	}
	// Of the library's own check nothing would be known but that it failed.
	conf.InsecureSkipVerify = true
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		first := time.Time{}
		for _, c := range cs.PeerCertificates {
			if first.IsZero() || c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if !first.IsZero() {
			e.Store(first.Unix())
		}
		if r.p.TLS.InsecureSkipVerify {
			return nil
		}
		return verify(conf, cs.PeerCertificates)
	}
	d := tls.Dialer{NetDialer: new(net.Dialer), Config: conf}
	return d.DialContext(ctx, network, address)
}

// verify is what crypto/tls does with a server's certificates.
func verify(conf *tls.Config, certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errors.New("the server presents no certificate")
	}
	opts := x509.VerifyOptions{Roots: conf.RootCAs, DNSName: conf.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range certs[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := certs[0].Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	return nil
}

// load reads the files that c names, at each run: certificates are renewed.
func (c TLS) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no PEM certificate", c.CAFile)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
