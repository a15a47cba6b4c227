package exporttest

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Answer is one way of a vendor to take a request, or not to take it.
type Answer int

// The answers a script may hold. What is not said here is the vendor's own
// wording, which its Vendor gives.
const (
	Take         Answer = iota // stores the items and says so
	TooMany                    // 429 without a word of when to come back
	TooManyAfter               // 429 with Retry-After: 90
	Broken                     // 500, and nothing stored
	BrokenAfter                // 500, but the items are stored
	Away                       // 503 with Retry-After: 90
	Silent                     // reads the request and never answers
	Deaf                       // never reads the request
	Reset                      // breaks the connection off in the middle of the request
	Vanish                     // stores the items and breaks the connection off before the answer
	Truncated                  // stores the items, says so, and breaks off in the answer's body
	Slow                       // takes the request by the byte and with pauses, then as Take
	Gibberish                  // answers in no protocol at all
	Unauthorized               // 401
	Forbidden                  // 403
	NotFound                   // 404
	Redirect                   // 307 to another host, which must not see a request
	Proxy                      // 502 with a page of HTML
)

// RetryAfter is what TooManyAfter and Away ask for.
const RetryAfter = 90 * time.Second

// Elsewhere is the host that Redirect points to.
const Elsewhere = "elsewhere.invalid"

// Reply is an answer in a vendor's own words.
type Reply struct {
	Status int
	Type   string // Content-Type; default application/json
	Body   string
}

// Server is a vendor that keeps books. It answers as its script says, one
// answer a request, and with Take when the script is over. It listens on pipes
// in memory, so that a whole outage fits in a testing/synctest bubble.
//
// It complains, by Complaints, of what no vendor would stand: a body that is
// not in the encoding its header names, or that the vendor's own reader cannot
// read, or a request to a place that is none of its.
type Server struct {
	// URL and Client reach the server; set by Start.
	URL    string
	Client *http.Client

	// Read returns the numbers of a body's items, in the body's order.
	Read func(r *http.Request, body []byte) ([]int, error)
	// Taken is how the vendor says that it has everything.
	Taken Reply
	// Bad says which items the vendor refuses for good; nil: none.
	Bad func(item int) bool
	// Refuse makes the reply to a body with bad items, given their places in the
	// body, and says whether the vendor has stored the good ones.
	Refuse func(places, items []int, body []byte) (r Reply, stored bool)
	// Most is how many items a request may hold before it gets a 413; 0: any number.
	Most int
	// Speak writes a reply in a protocol that lies on top of HTTP/2, which the
	// server then speaks (gRPC); nil: in plain HTTP/1.
	Speak func(w http.ResponseWriter, r Reply)

	mu         sync.Mutex
	script     []Answer    // guarded by mu
	stored     map[int]int // how often by item; guarded by mu
	requests   []time.Time // guarded by mu
	complaints []string    // guarded by mu
	elsewhere  int         // connections to other hosts; guarded by mu
	cleanup    []func()    // guarded by mu

	http  http.Server
	conns chan net.Conn
	done  chan struct{}
	stop  sync.Once
	ended sync.WaitGroup
}

// Start makes the server listen; Close must be called. script is what it
// answers first.
func (s *Server) Start(script ...Answer) {
	s.script, s.stored = script, map[int]int{}
	s.conns, s.done = make(chan net.Conn), make(chan struct{})
	s.URL = "http://vendor.invalid"
	s.Client = &http.Client{
		Transport: &http.Transport{DialContext: s.dial, DisableCompression: true},
		Timeout:   30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	s.http.Handler = http.HandlerFunc(s.serve)
	s.http.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	if s.Speak != nil {
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetUnencryptedHTTP2(true)
	}
	s.ended.Go(func() { _ = s.http.Serve(listener{s}) })
}

// connKey is under what a request's context has its connection.
type connKey struct{}

// OnClose makes Close call f first: for a client that must be closed.
func (s *Server) OnClose(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanup = append(s.cleanup, f)
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	s.mu.Lock()
	cleanup := s.cleanup
	s.cleanup = nil
	s.mu.Unlock()
	for _, f := range cleanup {
		f()
	}
	s.stop.Do(func() { close(s.done) })
	s.Client.CloseIdleConnections()
	_ = s.http.Close()
	s.ended.Wait()
}

// Dial connects to the server: for clients that are not http.Clients.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case s.conns <- theirs:
		return ours, nil
	case <-s.done:
		return nil, errors.New("the server is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Server) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	if host, _, _ := net.SplitHostPort(addr); host == Elsewhere {
		s.mu.Lock()
		s.elsewhere++
		s.mu.Unlock()
		return nil, fmt.Errorf("dial %s: not ours", addr)
	}
	return s.Dial(ctx)
}

// listener hands the server its ends of the pipes.
type listener struct{ s *Server }

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.s.conns:
		return c, nil
	case <-l.s.done:
		return nil, net.ErrClosed
	}
}
func (l listener) Close() error   { l.s.stop.Do(func() { close(l.s.done) }); return nil }
func (l listener) Addr() net.Addr { return &net.IPAddr{} }

// Stored returns how often each item was stored.
func (s *Server) Stored() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.stored)
}

// Requests returns when each request came.
func (s *Server) Requests() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Complaints returns what no vendor would stand.
func (s *Server) Complaints() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := slices.Clone(s.complaints)
	if s.elsewhere > 0 {
		c = append(c, fmt.Sprintf("%d connections to the host of a redirect: the key went with them", s.elsewhere))
	}
	return c
}

func (s *Server) complain(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complaints = append(s.complaints, fmt.Sprintf(format, args...))
}

// next takes one answer off the script.
func (s *Server) next() Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, time.Now())
	if len(s.script) == 0 {
		return Take
	}
	a := s.script[0]
	s.script = s.script[1:]
	return a
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.ended.Add(1) // HTTP/2 leaves its handlers behind
	defer s.ended.Done()
	answer := s.next()
	switch answer {
	case Deaf:
		<-s.done
		return
	case Reset:
		_, _ = io.CopyN(io.Discard, r.Body, max(1, r.ContentLength/2))
		hangUp(r)
		return
	case Slow:
		r.Body = io.NopCloser(slow{r.Body})
	}
	packed, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	items, body, ok := s.open(w, r, packed)
	if !ok {
		return
	}
	header := w.Header()
	switch answer {
	case Silent:
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
	case TooMany, TooManyAfter:
		if answer == TooManyAfter {
			header.Set("Retry-After", strconv.Itoa(int(RetryAfter.Seconds())))
		}
		s.reply(w, Reply{Status: http.StatusTooManyRequests, Body: `{"error":"slow down"}`})
	case Away:
		header.Set("Retry-After", strconv.Itoa(int(RetryAfter.Seconds())))
		s.reply(w, Reply{Status: http.StatusServiceUnavailable})
	case BrokenAfter:
		s.take(items)
		fallthrough
	case Broken:
		s.reply(w, Reply{Status: http.StatusInternalServerError, Body: `{"error":"timeout"}`})
	case Vanish:
		s.take(items)
		hangUp(r)
	case Truncated:
		s.take(items)
		header.Set("Content-Length", "1000")
		w.WriteHeader(http.StatusAccepted) // a 204 has no body to break off in
		_, _ = io.WriteString(w, `{"`)
		_ = http.NewResponseController(w).Flush()
		hangUp(r)
	case Gibberish:
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			_, _ = c.Write([]byte("\x00\x01\x02 this is no HTTP\r\n\r\n"))
			_ = c.Close()
		}
	case Unauthorized:
		s.reply(w, Reply{Status: http.StatusUnauthorized, Body: `{"error":"authorization failed"}`})
	case Forbidden:
		s.reply(w, Reply{Status: http.StatusForbidden, Body: `{"error":"forbidden"}`})
	case NotFound:
		s.reply(w, Reply{Status: http.StatusNotFound, Body: `{"error":"not found"}`})
	case Redirect:
		header.Set("Location", "http://"+Elsewhere+r.URL.RequestURI())
		s.reply(w, Reply{Status: http.StatusTemporaryRedirect})
	case Proxy:
		s.reply(w, Reply{Status: http.StatusBadGateway, Type: "text/html", Body: "<html><h1>Bad Gateway</h1></html>"})
	default:
		s.judge(w, items, body)
	}
}

// open undoes a body's compression and reads its items.
func (s *Server) open(w http.ResponseWriter, r *http.Request, packed []byte) (items []int, body []byte, ok bool) {
	body, err := unpack(packed, r.Header.Get("Content-Encoding"))
	if err == nil {
		items, err = s.Read(r, body)
	}
	if err == nil && len(items) == 0 {
		err = errors.New("a request without items")
	}
	if err != nil {
		s.complain("%s %s: %v", r.Method, r.URL.Path, err)
		s.reply(w, Reply{Status: http.StatusBadRequest, Body: strconv.Quote(err.Error())})
		return nil, nil, false
	}
	return items, body, true
}

func unpack(packed []byte, encoding string) ([]byte, error) {
	var r io.Reader = bytes.NewReader(packed)
	var err error
	switch encoding {
	case "":
	case "gzip": // the standard library's: not the one that packed it
		r, err = gzip.NewReader(r)
	case "deflate":
		r, err = zlib.NewReader(r)
	case "zstd", "zstd1":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	default:
		err = errors.New("no vendor knows it")
	}
	if err == nil {
		packed, err = io.ReadAll(r)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding %q: %w", encoding, err)
	}
	return packed, nil
}

// judge takes a body, or refuses it for its size or for bad items.
func (s *Server) judge(w http.ResponseWriter, items []int, body []byte) {
	if s.Most > 0 && len(items) > s.Most {
		s.reply(w, Reply{Status: http.StatusRequestEntityTooLarge, Body: `{"error":"too large"}`})
		return
	}
	var bad, good []int
	for place, item := range items {
		if s.Bad != nil && s.Bad(item) {
			bad = append(bad, place)
		} else {
			good = append(good, item)
		}
	}
	if len(bad) == 0 {
		s.take(items)
		s.reply(w, s.Taken)
		return
	}
	r, stored := s.Refuse(bad, items, body)
	if stored {
		s.take(good)
	}
	s.reply(w, r)
}

// take stores items, but the bad ones.
func (s *Server) take(items []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range items {
		if s.Bad == nil || !s.Bad(n) {
			s.stored[n]++
		}
	}
}

func (s *Server) reply(w http.ResponseWriter, r Reply) {
	if s.Speak != nil {
		s.Speak(w, r)
		return
	}
	if r.Type == "" {
		r.Type = "application/json"
	}
	w.Header().Set("Content-Type", r.Type)
	if r.Status == 0 {
		r.Status = http.StatusOK
	}
	w.WriteHeader(r.Status)
	if r.Status != http.StatusNoContent {
		_, _ = io.WriteString(w, r.Body)
	}
}

// hangUp breaks the connection off.
func hangUp(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		_ = c.Close()
	}
}

// slow reads a byte at a time, a thousand a second.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) {
	<-time.After(time.Millisecond)
	return s.r.Read(p[:min(1, len(p))])
}
