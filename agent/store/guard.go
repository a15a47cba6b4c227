package store

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"
)

// errClosed answers requests that come after Close.
var errClosed = errors.New("the embedded store is closed")

// routes is the HTTP API of InfluxDB 1.x, as far as clients of a node's store use it.
func (s *Store) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", s.servePing)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /health", s.serveHealth)
	mux.HandleFunc("POST /write", s.serveWriteV1)
	mux.HandleFunc("POST /api/v2/write", s.serveWriteV2)
	mux.HandleFunc("GET /query", s.serveQuery)
	mux.HandleFunc("POST /query", s.serveQuery)
	mux.HandleFunc("POST /api/v2/query", func(w http.ResponseWriter, _ *http.Request) {
		answerError(w, http.StatusForbidden, "Flux query service disabled: the embedded store speaks InfluxQL, on /query")
	})
	mux.HandleFunc("GET /{$}", s.serveLanding)
	return mux
}

// guard is what every request passes first.
func (s *Store) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Influxdb-Version", Version)
		h.Set("X-Influxdb-Build", "Causeway")
		h.Set("X-Content-Type-Options", "nosniff")
		if !s.enter() {
			answerError(w, http.StatusServiceUnavailable, errClosed.Error())
			return
		}
		defer s.leave()
		if why := foreign(r); why != "" {
			s.Stats.Foreign.Add(1)
			answerError(w, http.StatusForbidden, why)
			return
		}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v) // net/http's own way to hang up
			}
			s.Stats.Panics.Add(1)
			s.log.Error("a request to the store panicked", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			h.Del("Content-Encoding")
			answerError(w, http.StatusInternalServerError, fmt.Sprintf("internal error: %v", v))
		}()
		next.ServeHTTP(w, r)
	})
}

// foreign says why r must not be served: it comes from a page of some web site
// that a browser on this machine has open. There are no passwords, so whatever a
// page could send us by way of the browser, we would do.
//
// A page that reaches us under a name of its own (DNS rebinding) is known by the
// Host header: only addresses and names that cannot be bought are taken. A page
// that posts or links across sites is known by Origin or Sec-Fetch-Site, which
// browsers set and pages cannot.
func foreign(r *http.Request) string {
	if !private(hostOnly(r.Host)) {
		return fmt.Sprintf("host %q is not a name of this machine: ask for http://127.0.0.1 or http://localhost", r.Host)
	}
	if r.URL.Path == "/" || r.URL.Path == "/ping" {
		return "" // nothing to be had or done there; a link may lead here
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		return "requests of other web pages are refused: use Grafana's server access mode, or a client outside the browser"
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return fmt.Sprintf("origin %q is refused: use Grafana's server access mode, or a client outside the browser", origin)
		}
	}
	return ""
}

// hostOnly takes the port off a Host header.
func hostOnly(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return strings.Trim(hostport, "[]")
}

// private says whether host is an address, or a name nobody can register.
func private(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if net.ParseIP(host) != nil || !strings.Contains(host, ".") {
		return true
	}
	for _, suffix := range []string{".localhost", ".local", ".internal", ".home.arpa"} { // RFC 6761, 6762, 8375; ICANN 2024 for .internal
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

func (s *Store) servePing(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Query().Get("verbose") {
	case "", "0", "false":
		w.WriteHeader(http.StatusNoContent)
	default:
		answerJSON(w, http.StatusOK, map[string]string{"version": Version})
	}
}

func (s *Store) serveHealth(w http.ResponseWriter, _ *http.Request) {
	answerJSON(w, http.StatusOK, map[string]any{
		"name": "influxdb", "message": "ready for queries and writes", "status": "pass", "checks": []string{}, "version": Version,
	})
}

// serveLanding tells a person who opens the address what this is.
func (s *Store) serveLanding(w http.ResponseWriter, r *http.Request) {
	keep := "for ever"
	if s.cfg.Retention > 0 {
		keep = "for " + strings.TrimSuffix(s.cfg.Retention.String(), "0m0s")
	}
	db, host := html.EscapeString(s.cfg.Database), html.EscapeString(r.Host)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, `<!doctype html><title>Causeway: embedded store</title>
<h1>Causeway's embedded store</h1>
<p>This is the database inside the Causeway agent on this machine. It speaks the HTTP API of InfluxDB `+Version+`
and keeps what the agent collects in the database <code>`+db+`</code>, `+keep+`. It has answered since `+s.begun.UTC().Format(time.RFC3339)+`.</p>
<pre>influx -host 127.0.0.1 -database `+db+` -precision rfc3339 -execute 'SHOW MEASUREMENTS'
curl -G http://`+host+`/query --data-urlencode db=`+db+` --data-urlencode 'q=SELECT mean(usage_user) FROM cpu WHERE time &gt; now() - 1h GROUP BY time(1m)'</pre>
<p>Grafana: a data source of type InfluxDB, query language InfluxQL, URL http://`+host+`, database `+db+`, no user.</p>
`)
}
