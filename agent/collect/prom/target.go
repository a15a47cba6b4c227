package prom

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// target scrapes one URL.
type target struct {
	spec *spec
	src  *Source
	stop context.CancelFunc
	page *page
	own  [3]signal.Series // up and the like
	ask  string           // Accept

	mu     sync.Mutex
	status TargetStatus // guarded by mu
}

// Metrics about a scrape, by Prometheus' own names.
const (
	metricUp       = "up"
	metricDuration = "scrape_duration_seconds"
	metricSamples  = "scrape_samples_scraped"
)

// What we ask for. Text before OpenMetrics: client_golang calls a counter foo in
// text and in protobuf, and foo_total in OpenMetrics, and a metric's name must
// not depend on which of them was asked for this time.
const (
	acceptText = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5," +
		"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.1"
	acceptProto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.9," + acceptText
)

var errTooLarge = errors.New("the page is larger than max_body")

func (s *Source) newTarget(sp *spec) *target {
	rules, err := compile("metric_relabel", sp.rules)
	if err != nil {
		panic("BUG: a target that was not resolved: " + err.Error())
	}
	t := &target{spec: sp, src: s, page: newPage(sp, rules), ask: acceptText}
	if sp.native != "false" {
		t.ask = acceptProto
	}
	for i, m := range [...][2]string{{metricUp, "1"}, {metricDuration, "s"}, {metricSamples, "{sample}"}} {
		t.own[i] = signal.Intern(signal.Desc{Name: m[0], Unit: m[1], Type: signal.Gauge, Labels: sp.labels})
	}
	t.status = TargetStatus{URL: sp.url, From: sp.from, Labels: sp.labels}
	return t
}

// run scrapes at each interval until ctx ends. The first scrape is within three
// seconds: whoever starts an agent looks at it right away.
func (t *target) run(ctx context.Context, out collect.Sink) {
	spread := time.Duration(score("", t.spec.url) % uint64(t.spec.interval))
	wait := spread % (3 * time.Second)
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		planned := time.Now()
		select {
		case <-ctx.Done():
			return
		case t.src.slots <- struct{}{}:
		}
		t.scrape(ctx, out)
		<-t.src.slots
		t.src.stats.Late.Add(int64(time.Since(planned) / t.spec.interval))
		now := time.Now()
		next := now.Truncate(t.spec.interval).Add(spread)
		if !next.After(now) {
			next = next.Add(t.spec.interval)
		}
		wait = next.Sub(now)
	}
}

// rest lies between two batches of a page. A page of 100,000 samples given on at
// once would be in memory several times over, as batches, frames, parcels and
// bodies, until the last of it is delivered; like this most of it is only held.
const rest = 5 * time.Millisecond

// scrape reads the page once and gives it on.
func (t *target) scrape(ctx context.Context, out collect.Sink) {
	sctx, cancel := context.WithTimeout(ctx, t.spec.timeout)
	defer cancel()
	start := time.Now()
	p := t.page
	p.begin(start.UnixMilli())
	format, err := t.read(sctx)
	if ctx.Err() != nil {
		return // stopped: that says nothing about the target
	}
	took := time.Since(start)
	st := &t.src.stats
	st.Scrapes.Add(1)
	up, scraped := 0.0, 0.0
	if err == nil {
		up, scraped = 1, float64(p.tally.Samples)
		st.Good.Add(1)
		st.add(&p.tally)
	} else {
		st.Failed[reason(sctx, err)].Add(1)
	}
	t.negotiate(err)
	t.note(start, took, format, err)
	for b := range p.batches(
		signal.Sample{Series: t.own[0], Time: p.at, Value: up},
		signal.Sample{Series: t.own[1], Time: p.at, Value: took.Seconds()},
		signal.Sample{Series: t.own[2], Time: p.at, Value: scraped},
	) {
		n := int64(b.Len())
		if err := out.Put(ctx, b); err != nil {
			st.Lost.Add(n) // the Sink says why
			continue
		}
		st.Items.Add(n)
		if len(p.held) > 0 {
			select {
			case <-time.After(rest):
			case <-ctx.Done():
			}
		}
	}
}

// negotiate decides what to ask for next. Protobuf costs more than text, so it
// is asked for only where native histograms were found, and once after a
// failure: the application may have been replaced.
func (t *target) negotiate(err error) {
	if t.spec.native != "auto" {
		return
	}
	t.ask = acceptText
	if err != nil || t.page.native {
		t.ask = acceptProto
	}
}

// note keeps the outcome for status and logs a change.
func (t *target) note(at time.Time, took time.Duration, format string, err error) {
	p := t.page
	t.mu.Lock()
	was := t.status
	s := &t.status
	s.Scraped, s.Up, s.Err, s.At, s.Took = true, err == nil, err, at, took
	if err == nil {
		s.Samples, s.Series, s.Format = p.tally.Samples, len(p.owner)+len(p.groups), format
		if p.bad != nil {
			s.Err = fmt.Errorf("%d lines left out, the first: %w", p.tally.Malformed, p.bad)
		}
	}
	now := *s
	t.mu.Unlock()
	switch {
	case !now.Up && (was.Up || !was.Scraped):
		t.src.log.Warn("target is down", "url", now.URL, "from", now.From, "error", now.Err)
	case now.Up && was.Scraped && !was.Up:
		t.src.log.Info("target is up again", "url", now.URL)
	case now.Up && now.Err != nil && was.Err == nil:
		t.src.log.Warn("target shows malformed lines", "url", now.URL, slog.Any("error", now.Err))
	}
}

func (t *target) look() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

// read fetches the page, which has no samples after an error. A panic is an error
// of this target: what it sends must not end the agent.
func (t *target) read(ctx context.Context) (format string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: reading it panicked: %v\n%s", errNoPage, v, debug.Stack())
			t.page.forget()
		}
		if err != nil {
			t.page.drop()
		}
	}()
	if format, err = t.fetch(ctx); err != nil {
		return format, err
	}
	t.page.end()
	return format, nil
}

// fetch asks for the page and reads it.
func (t *target) fetch(ctx context.Context) (format string, err error) {
	resp, err := t.get(ctx)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", &statusError{resp.StatusCode, resp.Header.Get("Location")}
	}
	if resp.ContentLength > t.spec.maxBody {
		return "", fmt.Errorf("%w: %d bytes", errTooLarge, resp.ContentLength)
	}
	var body io.Reader = resp.Body
	if strings.EqualFold(resp.Header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(body)
		if err != nil {
			return "", packedError(err)
		}
		defer z.Close()
		body = unpacked{z}
	}
	limited := &bounded{r: body, left: t.spec.maxBody, bytes: &t.src.stats}
	if format, err = formatOf(resp.Header.Get("Content-Type")); err != nil {
		return "", err
	}
	t.page.speak(format)
	if format == "protobuf" {
		return format, t.page.readProto(bufio.NewReaderSize(limited, firstBuffer), t.spec.maxBody)
	}
	buf := t.src.buffers.Get().(*[]byte)
	defer t.src.buffers.Put(buf)
	grown, err := t.page.readText(limited, format == "openmetrics", *buf)
	if len(grown) <= 4*firstBuffer { // one with a huge line does not stay
		*buf = grown
	}
	return format, err
}

// get sends the request.
func (t *target) get(ctx context.Context) (*http.Response, error) {
	client, err := t.src.wires.client(t.spec.tls)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.spec.url, nil)
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set("Accept", t.ask)
	h.Set("User-Agent", "causeway")
	h.Set("X-Prometheus-Scrape-Timeout-Seconds", strconv.FormatFloat(t.spec.timeout.Seconds(), 'g', -1, 64))
	h.Set("Accept-Encoding", "identity")
	if t.spec.gzip {
		h.Set("Accept-Encoding", "gzip")
	}
	for _, l := range t.spec.headers {
		if strings.EqualFold(l.Name, "host") {
			req.Host = l.Value.Reveal()
		}
		h.Set(l.Name, l.Value.Reveal())
	}
	if t.spec.basic.User != "" {
		req.SetBasicAuth(t.spec.basic.User, t.spec.basic.Password.Reveal())
	}
	if t.spec.token != "" {
		token, err := readToken(t.spec.token)
		if err != nil {
			return nil, err
		}
		h.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.src.wires.failed(t.spec.tls, err)
	}
	return resp, err
}

// formatOf tells the format by what the target says. One that says nothing
// means text, as it did before Prometheus asked for more.
func formatOf(contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		media = strings.TrimSpace(strings.Split(contentType, ";")[0])
	}
	switch media {
	case "application/openmetrics-text":
		return "openmetrics", nil
	case "application/vnd.google.protobuf":
		if e := params["encoding"]; e != "" && e != "delimited" {
			return "", fmt.Errorf("%w: protobuf with encoding %q", errNoPage, e)
		}
		return "protobuf", nil
	case "", "text/plain", "application/octet-stream":
		return "text", nil
	}
	return "", fmt.Errorf("%w but %q; is the path right?", errNoPage, media)
}

// bounded reads no more than it may.
type bounded struct {
	r     io.Reader
	left  int64
	bytes *Stats
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte more tells a page of just that size from a larger one.
		var one [1]byte
		if n, err := b.r.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.bytes.Bytes.Add(int64(n))
	return n, err
}

// unpacked marks the errors of a gzip stream that are not the connection's.
type unpacked struct{ z *gzip.Reader }

func (u unpacked) Read(p []byte) (int, error) {
	n, err := u.z.Read(p)
	if err != nil && err != io.EOF {
		err = packedError(err)
	}
	return n, err
}
