package prom

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// wires are the HTTP clients, one for each way of securing a connection.
type wires struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error) // how tests reach targets; nil is the network

	mu      sync.Mutex
	clients map[TLS]*http.Client // guarded by mu
}

// client returns the client for c, and makes it if it is not there: it reads
// the files of c.
func (w *wires) client(c TLS) (*http.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if client := w.clients[c]; client != nil {
		return client, nil
	}
	conf, err := c.load()
	if err != nil {
		return nil, &filesError{err}
	}
	dial := w.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	client := &http.Client{
		Transport: &http.Transport{
			// No proxy: what is scraped is near, and its addresses are not for others.
			DialContext:            dial,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        2 * time.Minute,
			DisableCompression:     true, // we unpack, and bound, it ourselves
			MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig:        conf,
			ForceAttemptHTTP2:      true,
		},
		// A pod must not send us to another one's address, least of all with credentials.
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme || len(via) > 5 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	if w.clients == nil {
		w.clients = map[TLS]*http.Client{}
	}
	w.clients[c] = client
	return client, nil
}

// load reads the files that c names.
func (c TLS) load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify}
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

// failed gives a client up whose connection was not trusted: certificates are
// replaced under the same names, and are read again with the next scrape.
func (w *wires) failed(c TLS, err error) {
	if c == (TLS{}) || !untrusted(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if client := w.clients[c]; client != nil {
		client.CloseIdleConnections()
		delete(w.clients, c)
	}
}

func (w *wires) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		c.CloseIdleConnections()
	}
	w.clients = nil
}

// maxToken bounds a bearer token: the file may be another one by mistake.
const maxToken = 64 << 10

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &filesError{fmt.Errorf("bearer_token_file: %w", err)}
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return "", &filesError{fmt.Errorf("bearer_token_file: %w", err)}
	}
	if p = bytes.TrimSpace(p); len(p) == 0 || bytes.ContainsAny(p, "\r\n") {
		return "", &filesError{fmt.Errorf("bearer_token_file: %s holds no token of one line", path)}
	}
	return string(p), nil
}

// filesError is trouble with files of ours that a connection needs.
type filesError struct{ err error }

func (e *filesError) Error() string { return e.err.Error() }
func (e *filesError) Unwrap() error { return e.err }

// statusError is an answer other than 200.
type statusError struct {
	status   int
	location string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("answers %d %s", e.status, http.StatusText(e.status))
	switch {
	case e.location != "":
		text += fmt.Sprintf(" and points at %q, another host: scrape that one", e.location)
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		text += ": set basic, bearer_token_file or tls for it"
	case e.status == http.StatusNotFound:
		text += ": is the path right?"
	}
	return text
}

// errPacked marks a gzip stream that is none.
var errPacked = errors.New("bad gzip")

// packedError marks err if it is about the stream and not the connection.
func packedError(err error) error {
	var corrupt flate.CorruptInputError
	var internal flate.InternalError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &corrupt) || errors.As(err, &internal) {
		return fmt.Errorf("%w: %w", errPacked, err)
	}
	return err
}

func untrusted(err error) bool {
	var verify *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &name) || errors.As(err, &alert)
}

// reason says which of the reasons an error is. ctx is the scrape's.
func reason(ctx context.Context, err error) Reason {
	var files *filesError
	var status *statusError
	var netErr net.Error
	switch {
	case errors.Is(err, errTooMany):
		return TooMany
	case errors.Is(err, errTooLarge), errors.Is(err, errTooLong):
		return TooLarge
	case errors.Is(err, errNoPage), errors.Is(err, errFamily):
		return NoPage
	case errors.As(err, &status):
		return Refused
	case errors.As(err, &files), untrusted(err):
		return Untrusted
	case ctx.Err() != nil, errors.As(err, &netErr) && netErr.Timeout():
		return Timeout
	case errors.Is(err, errPacked):
		return Packed
	case errors.Is(err, errTruncated), errors.Is(err, io.ErrUnexpectedEOF):
		return Truncated
	}
	return Unreachable
}
