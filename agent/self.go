package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"runtime/metrics"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/collect/prom"
	"github.com/causeway-agent/causeway/agent/collect/statsd"
	"github.com/causeway-agent/causeway/agent/signal"
)

// selfEvery is how often the agent's own metrics go where all others go.
const selfEvery = 30 * time.Second

// counting is how a number of the agent's own behaves.
type counting uint8

const (
	gauge   counting = iota
	counted          // grows, from 0 at the start of the process
	lasting          // grows, and goes on after a restart
)

// yield takes one number of the agent's own.
type yield func(name, unit string, typ counting, value float64, labels ...string)

// measure yields everything the agent counts about itself: once as samples for
// the destinations, once as a page for Prometheus. A counter's value lives on
// across restarts (those of the spools and the books), or began with the process.
func (a *Agent) measure(yield yield) {
	kindOf := func(k signal.Kind) []string { return []string{signal.LabelKind, k.String()} }
	for _, k := range signal.Kinds {
		st := a.spools[k].Stats()
		yield(signal.SpoolItems, "{item}", lasting, float64(st.Items), kindOf(k)...)
		yield(signal.SpoolBytes, "By", gauge, float64(st.Bytes), kindOf(k)...)
		yield(signal.SpoolMemory, "By", gauge, float64(st.MemoryBytes), kindOf(k)...)
		yield(signal.SpoolBad, "{record}", counted, float64(st.BadRecords), kindOf(k)...)
		degraded := 0.0
		if st.Degraded != "" {
			degraded = 1
		}
		yield(signal.SpoolDegraded, "1", gauge, degraded, kindOf(k)...)
		h := &a.hub.Stats[k]
		yield(signal.HubItems, "{item}", counted, float64(h.In.Load()), kindOf(k)...)
		for reason, n := range h.Left() {
			if n > 0 || reason == "rule" || reason == "repeated" {
				yield(signal.HubDropped, "{item}", counted, float64(n), append(kindOf(k), signal.LabelReason, reason)...)
			}
		}
	}
	yield(signal.HubSeries, "{series}", gauge, float64(a.hub.Stats[signal.Metric].Series.Load()))
	lines := &a.hub.Stats[signal.Log]
	yield(signal.HubParsed, "{line}", counted, float64(lines.Parsed.Load()))
	yield(signal.HubUnparsed, "{line}", counted, float64(lines.Unparsed.Load()))
	for marker, n := range a.hub.Redacted() {
		yield(signal.HubRedacted, "{match}", counted, float64(n), signal.LabelReason, marker)
	}
	for _, r := range a.all() {
		if r.counts != nil {
			r.counts(yield)
		}
	}
	for _, r := range a.ledger().Destinations {
		of := []string{signal.LabelDestination, r.Name, signal.LabelKind, r.Kind}
		yield(signal.DeliveryIn, "{item}", lasting, float64(r.In), of...)
		yield(signal.DeliverySent, "{item}", lasting, float64(r.Sent), of...)
		yield(signal.DeliveryWaiting, "{item}", gauge, float64(r.Waiting), of...)
		yield(signal.DeliveryLag, "s", gauge, r.LagSeconds, of...)
		yield(signal.DeliveryTwice, "{item}", lasting, float64(r.Twice), of...)
		for reason, n := range r.Dropped {
			yield(signal.DeliveryDropped, "{item}", lasting, float64(n), append(of, signal.LabelReason, reason)...)
		}
		if row := a.row(r.Name + "/" + r.Kind); row != nil {
			st := &row.delivery.Stats
			yield(signal.DeliveryRequests, "{request}", counted, float64(st.Requests.Load()), of...)
			yield(signal.DeliveryFailures, "{request}", counted, float64(st.Failures.Load()), of...)
			yield(signal.DeliveryBytes, "By", counted, float64(st.Packed.Load()), of...)
		}
	}
	a.mu.Lock()
	configOK := 1.0
	if a.last.Err != nil {
		configOK = 0
	}
	a.mu.Unlock()
	yield(signal.ConfigOK, "1", gauge, configOK)
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		yield(signal.ProcessCPU, "s", counted, float64(use.Utime.Nano()+use.Stime.Nano())/1e9)
	}
	heap := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(heap)
	yield(signal.ProcessMemory, "By", gauge, float64(heap[0].Value.Uint64()-heap[1].Value.Uint64()))
	yield(signal.ProcessUptime, "s", gauge, time.Since(a.start).Seconds())
}

// scrapeCounts yields what the scraper counts.
func scrapeCounts(st *prom.Stats, yield yield) {
	yield(signal.ScrapeCount, "{scrape}", counted, float64(st.Scrapes.Load()))
	yield(signal.ScrapeLate, "{scrape}", counted, float64(st.Late.Load()))
	yield(signal.ScrapeExemplars, "{exemplar}", counted, float64(st.Exemplars.Load()))
	for r := range st.Failed {
		if n := st.Failed[r].Load(); n > 0 {
			yield(signal.ScrapeFailed, "{scrape}", counted, float64(n), signal.LabelReason, prom.Reason(r).String())
		}
	}
	for _, why := range []struct {
		reason string
		n      *atomic.Int64
	}{{"nan", &st.NaN}, {"old", &st.Old}, {"twin", &st.Twins}, {"rule", &st.Dropped}, {"malformed", &st.Malformed}} {
		yield(signal.ScrapeDropped, "{sample}", counted, float64(why.n.Load()), signal.LabelReason, why.reason)
	}
}

// statsdCounts yields what the StatsD listener counts.
func statsdCounts(st *statsd.Stats, yield yield) {
	yield(signal.StatsDLines, "{line}", counted, float64(st.Lines.Load()))
	yield(signal.StatsDRefused, "{line}", counted, float64(st.Refused.Load()))
	yield(signal.StatsDDropped, "{packet}", counted, float64(st.Dropped.Load()))
	for r := range st.Malformed {
		if n := st.Malformed[r].Load(); n > 0 {
			yield(signal.StatsDMalformed, "{line}", counted, float64(n), signal.LabelReason, statsd.Reason(r).String())
		}
	}
}

// self is the Sampler of the agent's own metrics.
type self struct{ a *Agent }

// Sample appends everything the agent counts about itself.
func (s self) Sample(_ context.Context, b *signal.Batch) error {
	now := time.Now().UnixMilli()
	s.a.measure(func(name, unit string, typ counting, value float64, labels ...string) {
		d := signal.Desc{Name: name, Unit: unit, Type: signal.Gauge, Labels: signal.Labels(labels...)}
		if typ != gauge {
			d.Type = signal.Counter
		}
		sm := signal.Sample{Series: signal.Intern(d), Time: now, Value: value}
		if typ == counted {
			sm.Start = s.a.start.UnixMilli()
		}
		b.Add(sm)
	})
	return nil
}

// serveMetrics is the page for Prometheus.
func (a *Agent) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	type line struct{ name, typ, labels, value string }
	var lines []line
	a.measure(func(name, unit string, typ counting, value float64, labels ...string) {
		n, t := strings.NewReplacer(".", "_").Replace(name), "gauge"
		switch unit {
		case "s":
			n += "_seconds"
		case "By":
			n += "_bytes"
		}
		if typ != gauge {
			n, t = n+"_total", "counter"
		}
		var set []string
		for i := 0; i < len(labels); i += 2 {
			set = append(set, fmt.Sprintf("%s=%q", labels[i][strings.LastIndexByte(labels[i], '.')+1:], labels[i+1]))
		}
		l := line{name: n, typ: t, value: fmt.Sprintf("%g", value)}
		if len(set) > 0 {
			l.labels = "{" + strings.Join(set, ",") + "}"
		}
		lines = append(lines, l)
	})
	slices.SortStableFunc(lines, func(x, y line) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(x.labels, y.labels))
	})
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	last := ""
	for _, l := range lines {
		if l.name != last {
			fmt.Fprintf(w, "# TYPE %s %s\n", l.name, l.typ)
			last = l.name
		}
		fmt.Fprintf(w, "%s%s %s\n", l.name, l.labels, l.value)
	}
}
