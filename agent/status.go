package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
)

// Status is what the agent tells about itself: GET /api/v1/status.
type Status struct {
	Agent        StatusAgent         `json:"agent"`
	Sources      []StatusSource      `json:"sources"`
	Spools       []StatusSpool       `json:"spools"`
	Destinations []StatusDestination `json:"destinations"`
	Hub          StatusHub           `json:"hub"`
	Overflows    []hub.Overflow      `json:"overflows,omitempty"` // metrics with too many series
	Balanced     bool                `json:"balanced"`            // the ledger's line
	Warnings     []string            `json:"warnings"`            // each with its remedy
}

// StatusAgent is about the agent as a whole.
type StatusAgent struct {
	Version       string    `json:"version"`
	Commit        string    `json:"commit"`
	Started       time.Time `json:"started"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	Config        string    `json:"config"`      // path
	ConfigHash    string    `json:"config_hash"` // of what is in force, without secrets
	Node          string    `json:"node"`
	Cluster       string    `json:"cluster"`
	Tags          []string  `json:"tags"`
	Active        []string  `json:"active"`
	LastReload    time.Time `json:"last_reload,omitzero"`
	ReloadError   string    `json:"reload_error"`
	Goroutines    int       `json:"goroutines"`
}

// StatusSource is one source, or another part of the agent that runs.
type StatusSource struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // running, waiting (to be started again), stopped, absent (nothing to read here)
	Runs     int64     `json:"runs"`
	Failures int64     `json:"failures"`
	Items    int64     `json:"items"`
	LastRun  time.Time `json:"last_run,omitzero"`
	TookMS   float64   `json:"took_ms"`
	Restarts int       `json:"restarts"`
	Error    string    `json:"error"`
	Detail   any       `json:"detail,omitempty"`

	wrong []string // the errors of which Error is made
}

// StatusHub is what became of items on their way to the spools, since the start.
type StatusHub struct {
	Kinds    map[string]StatusHubKind `json:"kinds"`
	Parsed   int64                    `json:"parsed"`   // lines that had the form of their stream
	Unparsed int64                    `json:"unparsed"` // lines that had not, and stay as they are
	Redacted map[string]int64         `json:"redacted"` // by the marker's name
	Series   int64                    `json:"series"`
	Resets   int64                    `json:"resets"` // counters that started again
}

// StatusHubKind is one kind of items.
type StatusHubKind struct {
	In      int64            `json:"in"`
	Spooled int64            `json:"spooled"`
	Left    map[string]int64 `json:"left"` // out before the disk, by reason
}

// StatusSpool is one kind's spool.
type StatusSpool struct {
	Kind        string    `json:"kind"`
	Items       int64     `json:"items"`
	Bytes       int64     `json:"bytes"`
	MaxBytes    int64     `json:"max_bytes"`
	Segments    int       `json:"segments"`
	Oldest      time.Time `json:"oldest,omitzero"`
	FreeDisk    int64     `json:"free_disk"`
	Degraded    string    `json:"degraded"`
	MemoryBytes int64     `json:"memory_bytes"`
	BadRecords  int64     `json:"bad_records"`
	BadSegments int64     `json:"bad_segments"`
}

// StatusDestination is one kind of one destination.
type StatusDestination struct {
	LedgerRow
	Type         string           `json:"type"`
	Key          string           `json:"key,omitempty"` // the last four characters
	InFlight     int64            `json:"in_flight"`
	Requests     int64            `json:"requests"`
	Failures     int64            `json:"failures"`
	LastSuccess  time.Time        `json:"last_success,omitzero"`
	Codes        map[string]int64 `json:"codes"`
	RawBytes     int64            `json:"raw_bytes"`
	PackedBytes  int64            `json:"packed_bytes"`
	BacklogParts int              `json:"backlog_parts"` // runs of frames behind the live one
}

// status gathers the Stats of every package.
func (a *Agent) status() Status {
	cfg := a.config()
	ledger := a.ledger()
	s := Status{Balanced: ledger.Balanced, Sources: []StatusSource{}, Warnings: []string{}}
	a.mu.Lock()
	last, hash := a.last, a.hash
	a.mu.Unlock()
	s.Agent = StatusAgent{
		Version: a.opts.Version, Commit: a.opts.Commit, Started: a.start, UptimeSeconds: time.Since(a.start).Seconds(),
		Config: a.opts.ConfigPath, ConfigHash: hash, Node: signal.Lookup(a.baseLabels(cfg), signal.LabelHost), Cluster: cfg.Agent.Cluster,
		Tags: cfg.Agent.Tags, Active: cfg.Active, LastReload: last.At, Goroutines: runtime.NumGoroutine(),
	}
	if last.Err != nil {
		s.Agent.ReloadError = words(last.Err)
		s.Warnings = append(s.Warnings, "the last configuration was not used: "+words(last.Err))
	}
	for _, r := range a.all() {
		if r.sort == deliveryUnit && r.failure() == "" {
			continue // has a line of its own below
		}
		s.Sources = append(s.Sources, r.status())
	}
	slices.SortFunc(s.Sources, func(x, y StatusSource) int { return strings.Compare(x.Name, y.Name) })
	for _, src := range s.Sources {
		s.Warnings = append(s.Warnings, src.warnings()...)
	}
	for _, k := range signal.Kinds {
		st := a.spools[k].Stats()
		s.Spools = append(s.Spools, StatusSpool{
			Kind: k.String(), Items: st.Items, Bytes: st.Bytes, MaxBytes: spoolOptions(cfg, k).MaxBytes, Segments: st.Segments, Oldest: st.Oldest,
			FreeDisk: st.FreeDisk, Degraded: st.Degraded, MemoryBytes: st.MemoryBytes, BadRecords: st.BadRecords, BadSegments: st.BadSegments,
		})
		if st.Degraded != "" {
			s.Warnings = append(s.Warnings, "spool "+k.String()+": "+st.Degraded)
		}
		if st.BadSegments+st.BadCursors > 0 {
			s.Warnings = append(s.Warnings, "spool "+k.String()+": damaged files were set aside as *.bad; `causeway spool verify` says what they cost")
		}
	}
	for _, row := range ledger.Destinations {
		row.LastError = line(row.LastError)
		d := StatusDestination{LedgerRow: row, Type: cfg.Destinations[row.Name].Type, Key: keyOf(cfg.Destinations[row.Name]), Codes: map[string]int64{}}
		if r := a.row(row.Name + "/" + row.Kind); r != nil {
			st := &r.delivery.Stats
			d.InFlight, d.Requests, d.Failures = st.InFlight.Load(), st.Requests.Load(), st.Failures.Load()
			d.RawBytes, d.PackedBytes = st.Raw.Load(), st.Packed.Load()
			if ms := st.LastOK.Load(); ms > 0 {
				d.LastSuccess = time.UnixMilli(ms)
			}
			for c, n := range st.Codes() {
				d.Codes[strconv.Itoa(c)] = n
			}
			d.BacklogParts = max(r.cursor.Lag().Ranges-1, 0)
			if r.down() {
				s.Warnings = append(s.Warnings, fmt.Sprintf("destination %s does not take %ss: %s (everything is kept)", row.Name, row.Kind, row.LastError))
			}
		}
		s.Destinations = append(s.Destinations, d)
	}
	s.Hub = a.hubStatus()
	s.Overflows = a.hub.Overflows()
	for _, o := range s.Overflows {
		w := fmt.Sprintf("metric %s has more series than process.cardinality allows: new ones are folded into one with overflow:true; label %s has %d values or more", o.Metric, o.Label, o.Values)
		switch {
		case o.Pod != "":
			w += ", most of them from pod " + o.Pod
		case o.Instance != "":
			w += ", most of them from " + o.Instance
		}
		s.Warnings = append(s.Warnings, w+"; drop or change that label, or raise process.cardinality")
	}
	if !ledger.Balanced {
		s.Warnings = append(s.Warnings, "the ledger does not balance: this is a defect of Causeway; please report it with the output of `causeway reconcile`")
	}
	return s
}

// hubStatus gathers what the hub counts.
func (a *Agent) hubStatus() StatusHub {
	lines := &a.hub.Stats[signal.Log]
	metrics := &a.hub.Stats[signal.Metric]
	s := StatusHub{
		Kinds: map[string]StatusHubKind{}, Parsed: lines.Parsed.Load(), Unparsed: lines.Unparsed.Load(), Redacted: a.hub.Redacted(),
		Series: metrics.Series.Load(), Resets: metrics.Resets.Load(),
	}
	for _, k := range signal.Kinds {
		st := &a.hub.Stats[k]
		s.Kinds[k.String()] = StatusHubKind{In: st.In.Load(), Spooled: st.Spooled.Load(), Left: maps.Collect(st.Left())}
	}
	return s
}

// keyOf tells the key of a destination from others: its last four characters.
func keyOf(d config.Destination) string {
	switch d.Type {
	case "datadog":
		return d.Datadog.APIKey.Last4()
	case "newrelic":
		return d.NewRelic.LicenseKey.Last4()
	case "influxdb":
		return d.Influx.Token.Last4()
	}
	return "" // Google's are files, which say themselves whose they are
}

// hashOf returns the beginning of a hash of the effective configuration, secrets masked.
func hashOf(cfg *config.Config) string {
	h := sha256.New()
	if cfg.Print(h, false) != nil {
		return "" // Print writes what Load has read
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// failure returns why a unit is not running, "" if it is.
func (r *running) failure() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == "waiting" && r.err != nil {
		return r.err.Error()
	}
	return ""
}

func (r *running) status() StatusSource {
	r.mu.Lock()
	s := StatusSource{Name: r.name, State: r.state, Restarts: r.restarts}
	if r.state == "waiting" && r.err != nil {
		s.wrong = each(r.err)
	}
	r.mu.Unlock()
	if st := r.stats; st != nil {
		s.Runs, s.Failures, s.Items = st.Runs.Load(), st.Failures.Load(), st.Items.Load()
		s.TookMS = float64(st.Took.Load()) / 1e6
		if ms := st.Last.Load(); ms > 0 {
			s.LastRun = time.UnixMilli(ms)
		}
		if err := st.Err(); err != nil && s.wrong == nil {
			s.wrong = each(err)
			if errors.Is(err, collect.ErrAbsent) {
				s.State = "absent"
			}
		}
	}
	if r.look != nil {
		s.Detail = r.look()
	}
	s.Error = strings.Join(s.wrong, "; ")
	if s.State == "running" && r.absent != nil && r.absent() {
		s.State = "absent"
	}
	return s
}

// handler is what agent.listen answers. With a token everything but /livez and
// /readyz asks for it.
func (a *Agent) handler(token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.serveReady)
	private := http.NewServeMux()
	private.HandleFunc("GET /metrics", a.serveMetrics)
	private.HandleFunc("POST /-/reload", a.serveReload)
	private.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.status()) })
	private.HandleFunc("GET /api/v1/ledger", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.ledger()) })
	private.HandleFunc("GET /api/v1/tap", a.serveTap)
	private.HandleFunc("POST /api/v1/dlq/{id}/replay", a.serveReplay)
	private.HandleFunc("DELETE /api/v1/dlq/{id}", a.serveDiscard)
	private.HandleFunc("GET /debug/pprof/", pprof.Index)
	private.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	private.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	private.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	private.HandleFunc("GET /{$}", serveIndex)
	mux.Handle("/", guard(token, private))
	return mux
}

// guard asks for the token, if there is one, and without one refuses what a
// web page of another site makes a browser send.
func guard(token string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token != "" {
			got := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if subtle.ConstantTimeCompare([]byte(got), []byte(token)) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="causeway"`)
				http.Error(w, "this agent asks for agent.token: Authorization: Bearer …", http.StatusUnauthorized)
				return
			}
		} else if o := r.Header.Get("Origin"); r.Method == http.MethodPost && o != "" && o != "http://"+r.Host {
			http.Error(w, "refused: sent by a page of another site", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the reader has gone
}

// serveReady says whether the agent does its work: the configuration is
// loaded, everything started, the spools writable.
func (a *Agent) serveReady(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	ready, stopping := a.ready, a.stopping
	a.mu.Unlock()
	type check struct {
		name string
		err  string
	}
	checks := []check{{"started", ""}}
	if !ready {
		checks[0].err = "not everything is started yet"
	}
	if stopping {
		checks[0].err = "stopping"
	}
	for _, k := range signal.Kinds {
		checks = append(checks, check{"spool/" + k.String(), a.spools[k].Stats().Degraded})
	}
	status := http.StatusOK
	for _, c := range checks {
		if c.err != "" {
			status = http.StatusServiceUnavailable
		}
	}
	w.WriteHeader(status)
	if _, verbose := r.URL.Query()["verbose"]; !verbose {
		fmt.Fprintln(w, map[bool]string{true: "ok", false: "not ready; ask /readyz?verbose"}[status == http.StatusOK])
		return
	}
	for _, c := range checks {
		if c.err == "" {
			fmt.Fprintf(w, "[+] %s ok\n", c.name)
		} else {
			fmt.Fprintf(w, "[-] %s: %s\n", c.name, c.err)
		}
	}
}

func (a *Agent) serveReload(w http.ResponseWriter, _ *http.Request) {
	err := a.reload("request")
	var invalid config.Errors
	switch {
	case err == nil:
		fmt.Fprintln(w, "ok")
	case errors.As(err, &invalid):
		http.Error(w, invalid.Error(), http.StatusBadRequest)
	default:
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

// serveReplay sends a dead letter once more, and discards it if the vendor takes it now.
func (a *Agent) serveReplay(w http.ResponseWriter, r *http.Request) {
	l, b, err := exporters.ReadDead(DeadDir(a.config().Agent.DataDir), r.PathValue("id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	row := a.row(l.Destination + "/" + l.Kind)
	switch {
	case b == nil:
		http.Error(w, "the vendor did not say which items it refused, so there is nothing to send", http.StatusConflict)
		return
	case row == nil || row.delivery.Exporter == nil:
		http.Error(w, "destination "+l.Destination+" is not in use", http.StatusConflict)
		return
	}
	if err := row.delivery.Replay(r.Context(), b); err != nil {
		http.Error(w, "refused again: "+err.Error(), http.StatusBadGateway)
		return
	}
	if err := a.dead.Discard(l.ID); err != nil {
		http.Error(w, "sent, but still listed: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%d items sent to %s\n", b.Len(), l.Destination)
}

// serveDiscard removes a dead letter.
func (a *Agent) serveDiscard(w http.ResponseWriter, r *http.Request) {
	if err := a.dead.Discard(r.PathValue("id")); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	fmt.Fprintln(w, "discarded")
}

// serveTap streams a live sample of what passes the hub as server-sent events.
func (a *Agent) serveTap(w http.ResponseWriter, r *http.Request) {
	var kind signal.Kind
	q := r.URL.Query()
	if want := q.Get("kind"); want != "" {
		for _, k := range signal.Kinds {
			if k.String() == want {
				kind = k
			}
		}
		if kind == 0 {
			http.Error(w, "kind: must be metric, log or event", http.StatusBadRequest)
			return
		}
	}
	var match *signal.Match
	if expr := q.Get("match"); expr != "" {
		var err error
		if match, err = signal.ParseMatch(expr); err != nil {
			http.Error(w, "match: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := bufio.NewWriter(w)
	flush := http.NewResponseController(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	items := a.hub.Tap(ctx, kind, match)
	for {
		fmt.Fprint(out, ": \n\n") // tells a reader, and us, that the line is alive
		if out.Flush() != nil || flush.Flush() != nil {
			return
		}
		t := time.NewTimer(15 * time.Second)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case text := <-items:
			for line := range strings.Lines(text) {
				fmt.Fprintf(out, "data: %s\n\n", strings.TrimSuffix(line, "\n"))
			}
		case <-t.C:
		}
		t.Stop()
	}
}

// serveIndex says what there is, for a person who opens the address in a browser.
func serveIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, `<!doctype html><meta charset=utf-8><title>Causeway</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}code{background:#eee;padding:.1em .3em}</style>
<h1>Causeway</h1><p>This node's agent. What it tells:</p><ul>
<li><a href="/api/v1/status">/api/v1/status</a>: sources, spools, destinations, warnings (<code>causeway status</code>)
<li><a href="/api/v1/ledger">/api/v1/ledger</a>: what became of each item (<code>causeway reconcile</code>)
<li><a href="/metrics">/metrics</a>: the same for Prometheus
<li><a href="/readyz?verbose">/readyz?verbose</a>, <a href="/livez">/livez</a>
<li><a href="/debug/pprof/">/debug/pprof</a></ul>`)
}
