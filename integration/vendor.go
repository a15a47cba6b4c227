package integration

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mostBody is what InfluxDB 1 takes of one body, decompressed: max-body-size,
// influxdata/influxdb 1.x, services/httpd/config.go.
const mostBody = 25e6

// Vendor is an InfluxDB 1 that is stricter than the real one, takes nothing for
// granted, and keeps books: how often each numbered line came, and whether a
// reader of its data would see it twice. What a request breaks of the protocol
// fails the test at its end.
type Vendor struct {
	URL string

	t      testing.TB
	addr   string
	secure bool
	seed   maphash.Seed
	end    context.Context // of the test

	mu          sync.Mutex // guards what follows
	server      *httptest.Server
	script      []Answer
	always      Answer
	lines       map[string]*book  // by writer
	at          map[uint64]uint64 // a line's series and time: which line it is
	fields      map[uint64]uint64 // a metric's series, time and field: its value
	types       map[string]byte   // measurement and field: its one type
	distinct    int64             // lines, each counted once
	foreign     int64
	overwritten int64 // lines whose place another line took
	points      int64 // of metrics, distinct
	changed     int64 // fields of metrics that came again with another value
	bodies      []int // lines in each body of lines that was taken, in order
	requests    int
	serving     int
	violations  []string
	lags        []time.Duration
}

// book holds one writer's lines by number; place 0 is not used.
type book struct{ items []item }

type item struct {
	at      int64 // the time of its first point
	id      uint64
	nth     int64 // of all lines that came, each counted once
	came    uint16
	visible uint16 // times it came under another identity
}

// NewVendor starts a vendor that takes everything.
func NewVendor(t testing.TB) *Vendor {
	t.Helper()
	v := newVendor(t)
	v.Open()
	return v
}

// NewSecureVendor starts one that speaks TLS with a certificate that no system
// trusts; Authority says whom to trust.
func NewSecureVendor(t testing.TB) *Vendor {
	t.Helper()
	v := newVendor(t)
	v.secure = true
	v.URL = "https://" + v.addr
	v.Open()
	return v
}

func newVendor(t testing.TB) *Vendor {
	addr := freeAddress(t)
	v := &Vendor{
		t: t, addr: addr, URL: "http://" + addr, seed: maphash.MakeSeed(), end: t.Context(), always: Take,
		lines: map[string]*book{}, at: map[uint64]uint64{}, fields: map[uint64]uint64{}, types: map[string]byte{},
	}
	t.Cleanup(func() {
		v.Close()
		v.mu.Lock()
		defer v.mu.Unlock()
		for i, s := range v.violations {
			if i == 5 {
				t.Errorf("and %d more", len(v.violations)-i)
				break
			}
			t.Errorf("a request broke the protocol: %s", s)
		}
	})
	return v
}

// Open listens, again if it was closed.
func (v *Vendor) Open() {
	v.t.Helper()
	var l net.Listener
	eventually(v.t, 10*time.Second, "the vendor's port is free", func() bool {
		var err error
		l, err = net.Listen("tcp", v.addr)
		return err == nil
	})
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: v, ErrorLog: nil}}
	s.Config.ErrorLog = quiet()
	if v.secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	v.mu.Lock()
	v.server = s
	v.mu.Unlock()
}

// Close stops listening and cuts every connection: the next one is refused.
func (v *Vendor) Close() {
	v.mu.Lock()
	s := v.server
	v.server = nil
	v.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

// Authority writes the certificate to trust to a file and returns its path.
func (v *Vendor) Authority() string {
	v.t.Helper()
	path := filepath.Join(v.t.TempDir(), "ca.pem")
	p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.server.Certificate().Raw})
	if err := os.WriteFile(path, p, 0o600); err != nil {
		v.t.Fatal(err)
	}
	return path
}

// Always sets what is answered once the script has ended.
func (v *Vendor) Always(a Answer) *Vendor {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.always = a
	return v
}

// Script sets the answers to the next requests that carry lines, one each.
func (v *Vendor) Script(answers ...Answer) *Vendor {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.script = answers
	return v
}

// Scripted returns how many answers of the script are left.
func (v *Vendor) Scripted() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.script)
}

// Distinct returns how many different lines have come.
func (v *Vendor) Distinct() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.distinct
}

// Requests returns how many requests have come.
func (v *Vendor) Requests() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests
}

// Has reports whether a line has come.
func (v *Vendor) Has(writer string, seq int64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	b := v.lines[writer]
	return b != nil && seq < int64(len(b.items)) && b.items[seq].came > 0
}

// Lines returns the numbers of w's lines that came, and how often one came
// where a reader would see it again.
func (v *Vendor) Lines(w *Writer) (seqs map[int64]bool, again int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	seqs = map[int64]bool{}
	if b := v.lines[w.Name]; b != nil {
		for i, it := range b.items {
			if it.came > 0 {
				seqs[int64(i)] = true
				again += int(it.visible)
			}
		}
	}
	return seqs, again
}

// Metrics returns how many different values of metrics have come, and how many
// came again with another value.
func (v *Vendor) Metrics() (values, changed int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.points, v.changed
}

// Newest returns how many lines the n newest bodies since the last call held: as
// much as can have been on its way, and not yet acknowledged, if at most n
// requests were.
func (v *Vendor) Newest(n int) (lines int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.bodies[max(0, len(v.bodies)-n):] {
		lines += int64(k)
	}
	v.bodies = nil
	return lines
}

// Lags returns how long each line was on its way since the last call.
func (v *Vendor) Lags() []time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.lags
	v.lags = nil
	return l
}

// ServeHTTP answers one request as the script has it.
func (v *Vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/write" || r.Method != http.MethodPost {
		v.violate("%s %s is asked for", r.Method, r.URL)
		http.NotFound(w, r)
		return
	}
	x := &Exchange{W: w, R: r, vendor: v, lines: r.URL.Query().Get("precision") == "ns"}
	v.mu.Lock()
	v.requests++
	a := v.always
	if x.lines && len(v.script) > 0 {
		a, v.script = v.script[0], v.script[1:]
	}
	v.serving++
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.serving--
	}()
	a(x)
}

// Rest waits until no request is being served: after a kill, until all that was
// under way is booked.
func (v *Vendor) Rest() {
	v.t.Helper()
	eventually(v.t, time.Minute, "the vendor rests", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.serving == 0
	})
}

func (v *Vendor) violate(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.violations = append(v.violations, fmt.Sprintf(format, args...))
}

// Exchange is one request and its answer.
type Exchange struct {
	W http.ResponseWriter
	R *http.Request

	vendor *Vendor
	lines  bool // it carries log lines
}

// Points reads the body and checks it to the letter. ok is false if it cannot
// be had, because the sender has gone.
func (x *Exchange) Points() (points []Point, ok bool) {
	v, h := x.vendor, x.R.Header
	body := io.Reader(x.R.Body)
	if h.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, false
		}
		body = z
	}
	p, err := io.ReadAll(io.LimitReader(body, mostBody+1))
	if err != nil {
		if x.R.Context().Err() == nil && x.R.ContentLength > 0 && h.Get("Content-Encoding") == "gzip" && strings.Contains(err.Error(), "gzip: invalid") {
			v.violate("the gzip is damaged: %v", err)
		}
		return nil, false
	}
	if t := h.Get("Content-Type"); t != "text/plain; charset=utf-8" {
		v.violate("Content-Type is %q", t)
	}
	if h.Get("User-Agent") == "" {
		v.violate("no User-Agent")
	}
	if q := x.R.URL.Query(); q.Get("db") != "books" || q.Get("precision") != "ns" && q.Get("precision") != "ms" {
		v.violate("the query is %s", x.R.URL.RawQuery)
	}
	if len(p) > mostBody {
		v.violate("a body of more than %d bytes", int(mostBody))
	}
	if len(p) == 0 {
		v.violate("an empty body")
	}
	for rest := p; len(rest) > 0; {
		pt, n, err := ParsePoint(rest)
		if err != nil {
			v.violate("%v in %.300q", err, rest)
			return points, true
		}
		points = append(points, pt)
		rest = rest[n:]
	}
	return points, true
}

// Take books points.
func (x *Exchange) Take(points []Point) {
	v := x.vendor
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for _, p := range points {
		for _, f := range p.Fields {
			key := p.Measurement + "\x00" + f.Key
			if t, ok := v.types[key]; ok && t != f.Type {
				v.violations = append(v.violations, fmt.Sprintf("field %q changes its type from %c to %c", key, t, f.Type))
			}
			v.types[key] = f.Type
		}
		if x.lines {
			v.takeLine(p, now)
		} else {
			v.takeMetric(p)
		}
	}
	if x.lines {
		v.bodies = append(v.bodies, len(points))
	}
}

// takeLine books one log line. The caller holds mu.
func (v *Vendor) takeLine(p Point, now time.Time) {
	writer, seq, sent, ok := parseNumber(p.Field("message"))
	if !ok {
		v.foreign++
		return
	}
	b := v.lines[writer]
	if b == nil {
		b = &book{}
		v.lines[writer] = b
	}
	for int64(len(b.items)) <= seq {
		b.items = append(b.items, item{})
	}
	id := maphash.String(v.seed, p.Series+"\x00"+strconv.FormatInt(p.Time, 10))
	who := maphash.String(v.seed, writer) ^ uint64(seq)
	if other, taken := v.at[id]; taken && other != who {
		v.overwritten++
	}
	v.at[id] = who
	it := &b.items[seq]
	if it.came == 0 {
		v.distinct++
		it.at, it.id, it.nth = p.Time, id, v.distinct
		v.lags = append(v.lags, now.Sub(sent))
	} else if id != it.id {
		it.visible++
	}
	it.came++
}

// takeMetric books the fields of one point. The caller holds mu.
func (v *Vendor) takeMetric(p Point) {
	for _, f := range p.Fields {
		id := maphash.String(v.seed, p.Series+"\x00"+strconv.FormatInt(p.Time, 10)+"\x00"+f.Key)
		value := maphash.String(v.seed, f.Value)
		old, came := v.fields[id]
		if !came {
			v.points++
		} else if old != value {
			v.changed++
		}
		v.fields[id] = value
	}
}

// Say answers.
func (x *Exchange) Say(code int, body string, header ...string) {
	for i := 0; i < len(header); i += 2 {
		x.W.Header().Set(header[i], header[i+1])
	}
	x.W.Header().Set("X-Influxdb-Version", "1.8.10")
	if body != "" {
		x.W.Header().Set("Content-Type", "application/json")
	}
	x.W.WriteHeader(code)
	_, _ = io.WriteString(x.W, body) // the sender may have gone
}

// Break writes p as it is, and cuts the connection: with a reset, or in order.
func (x *Exchange) Break(p string, reset bool) {
	c, w, err := http.NewResponseController(x.W).Hijack()
	if err != nil {
		return // gone already
	}
	_, _ = w.WriteString(p)
	_ = w.Flush()
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// Answer is how a vendor treats one request.
type Answer func(x *Exchange)

// Take takes everything.
func Take(x *Exchange) {
	if points, ok := x.Points(); ok {
		x.Take(points)
		x.Say(http.StatusNoContent, "")
	}
}

// Refuse takes nothing, and answers with a code, words, and headers in pairs.
func Refuse(code int, words string, header ...string) Answer {
	return func(x *Exchange) {
		if _, ok := x.Points(); ok {
			x.Say(code, words, header...)
		}
	}
}

// TakeBut takes everything and denies it.
func TakeBut(code int) Answer {
	return func(x *Exchange) {
		if points, ok := x.Points(); ok {
			x.Take(points)
			x.Say(code, `{"error":"timeout"}`)
		}
	}
}

// Hang takes nothing and never answers.
func Hang(x *Exchange) {
	x.Points()
	select {
	case <-x.R.Context().Done():
	case <-x.vendor.end.Done():
	}
}

// ResetEarly reads half of the body and resets the connection.
func ResetEarly(x *Exchange) {
	_, _ = io.CopyN(io.Discard, x.R.Body, x.R.ContentLength/2)
	x.Break("", true)
}

// ResetLate takes everything, and resets in the middle of the answer.
func ResetLate(x *Exchange) {
	if points, ok := x.Points(); ok {
		x.Take(points)
		x.Break("HTTP/1.1 20", true)
	}
}

// Truncate takes everything, says yes, and breaks off in the words that follow.
func Truncate(x *Exchange) {
	if points, ok := x.Points(); ok {
		x.Take(points)
		x.Break("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"results\":", false)
	}
}

// TruncateRefusal takes nothing, and breaks off while saying so.
func TruncateRefusal(x *Exchange) {
	if _, ok := x.Points(); ok {
		x.Break("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 1000\r\n\r\n{\"error\":", false)
	}
}

// ReadSlowly takes everything, at a kilobyte every few milliseconds.
func ReadSlowly(x *Exchange) {
	x.R.Body = struct {
		io.Reader
		io.Closer
	}{&trickle{x.R.Body, x.R.Context()}, x.R.Body}
	Take(x)
}

type trickle struct {
	r   io.Reader
	ctx context.Context
}

// Read returns at most a kilobyte, and not at once.
func (s *trickle) Read(p []byte) (int, error) {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
	return s.r.Read(p[:min(len(p), 1<<10)])
}

// AtMost takes bodies of up to n points; larger ones are 413.
func AtMost(n int) Answer {
	return func(x *Exchange) {
		points, ok := x.Points()
		switch {
		case !ok:
		case len(points) > n:
			x.Say(http.StatusRequestEntityTooLarge, `{"error":"Request Entity Too Large"}`)
		default:
			x.Take(points)
			x.Say(http.StatusNoContent, "")
		}
	}
}

// Loathe refuses every body that holds a line for which bad holds, whole, and
// does not say which it was.
func Loathe(bad func(writer string, seq int64) bool) Answer {
	return func(x *Exchange) {
		points, ok := x.Points()
		if !ok {
			return
		}
		for _, p := range points {
			if w, seq, _, ok := parseNumber(p.Field("message")); ok && bad(w, seq) {
				x.Say(http.StatusBadRequest, `{"error":"one of these points is of no use"}`)
				return
			}
		}
		x.Take(points)
		x.Say(http.StatusNoContent, "")
	}
}

// Expire stores all but the n oldest points of a body, as InfluxDB 1 does with
// what lies beyond its retention, and says how many that were.
func Expire(n int) Answer {
	return func(x *Exchange) {
		points, ok := x.Points()
		if !ok {
			return
		}
		k := min(n, len(points)) // a body is in the order of time
		x.Take(points[k:])
		x.Say(http.StatusBadRequest, fmt.Sprintf(`{"error":"partial write: points beyond retention policy dropped=%d"}`, k))
	}
}

// Misread stores all but the points for which bad holds, and repeats those as
// InfluxDB 1 does with lines it cannot parse.
func Misread(bad func(writer string, seq int64) bool) Answer {
	return func(x *Exchange) {
		points, ok := x.Points()
		if !ok {
			return
		}
		var good []Point
		var words []string
		for _, p := range points {
			if w, seq, _, ok := parseNumber(p.Field("message")); ok && bad(w, seq) {
				words = append(words, fmt.Sprintf("unable to parse '%s': bad timestamp", p.Raw))
				continue
			}
			good = append(good, p)
		}
		x.Take(good)
		if len(words) == 0 {
			x.Say(http.StatusNoContent, "")
			return
		}
		text := strings.Join(words, "\\n")
		text = strings.ReplaceAll(text, `"`, `\"`)
		x.Say(http.StatusBadRequest, `{"error":"partial write: `+text+` dropped=0"}`)
	}
}
