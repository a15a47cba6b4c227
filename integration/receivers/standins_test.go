//go:build receivers

package receivers

import (
	"fmt"
	"maps"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

// standins are the strict vendors, who keep books of what arrives: Datadog,
// Google, and New Relic by each of its APIs.
type standins struct {
	dd        *ddintake.Server
	gcp       *gcpintake.Server
	sdk, otlp *nrintake.Server

	active, destinations []string // of the agent
	mixed                string   // a metric that comes as two types: Google keeps to the first
}

func startStandins(t *testing.T) *standins {
	t.Helper()
	gcp, err := gcpintake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gcp.Close)
	v := &standins{dd: ddintake.New(key), gcp: gcp, sdk: &nrintake.Server{}, otlp: &nrintake.Server{}}
	dd, sdk, otlp := httptest.NewServer(v.dd), httptest.NewServer(v.sdk), httptest.NewServer(v.otlp)
	t.Cleanup(func() { dd.Close(); sdk.Close(); otlp.Close() })
	v.active = []string{"local", "dd", "gcp", "nr-sdk", "nr-otlp"}
	v.destinations = []string{
		fmt.Sprintf("dd: {type: datadog, url: %q, api_key: %q}", dd.URL, key),
		fmt.Sprintf("gcp: {type: googlecloud, project: my-project, location: global, url: %q, logs_url: %q}", gcp.Addr(), gcp.Addr()),
		fmt.Sprintf("nr-sdk: {type: newrelic, api: sdk, url: %q, license_key: %q, account_id: 12}", sdk.URL, key),
		fmt.Sprintf("nr-otlp: {type: newrelic, api: otlp, url: %q, license_key: %q}", otlp.URL, key),
	}
	t.Cleanup(func() {
		refused := slices.DeleteFunc(gcp.Refused(), func(s string) bool {
			return v.mixed != "" && strings.HasPrefix(s, "Value type for metric") && strings.Contains(s, "/"+v.mixed+" ")
		})
		for name, refused := range map[string][]string{"Datadog": v.dd.Refused(), "Google": refused, "New Relic, sdk": v.sdk.Errors(), "New Relic, otlp": v.otlp.Errors()} {
			if len(refused) > 0 {
				t.Errorf("%s refused %d; the first: %s", name, len(refused), refused[0])
			}
		}
	})
	return v
}

// reading is one point of a vendor's, in words that all have: of what grows the
// growth since start, of a distribution its count and sum.
type reading struct {
	series     string // all that tells it from others
	name       string
	labels     map[string]string
	start, end int64
	value      float64 // a gauge's reading, or a growth
	count, sum float64
}

// labels of the tests, as each vendor calls them.
var called = map[string]map[string]string{
	"dd":  {"service": "service", "way": "way", "route": "route", "room": "room"},
	"gcp": {"service": "service", "way": "way", "route": "route", "room": "room"},
	"nr":  {"service": "service.name", "way": "way", "route": "route", "room": "room"},
}

// datadog returns what a vendor has of a metric. A distribution is two counts.
func (v *standins) datadog(name string) (all []reading) {
	read := func(metric string, fill func(r *reading, v float64)) {
		for _, s := range v.dd.Series(metric) {
			labels := map[string]string{}
			for _, tag := range s.Tags {
				k, v, _ := strings.Cut(tag, ":")
				labels[k] = v
			}
			for _, at := range slices.Sorted(maps.Keys(s.Points)) {
				r := reading{series: fmt.Sprint(s.Metric, s.Host, s.Tags), name: name, labels: labels, start: at, end: at}
				fill(&r, s.Points[at])
				all = append(all, r)
			}
		}
	}
	read(name, func(r *reading, v float64) { r.value = v })
	read(name+".count", func(r *reading, v float64) { r.count = v })
	read(name+".sum", func(r *reading, v float64) { r.sum = v })
	return all
}

// google's points of one series and one beginning are totals: the last one counts.
func (v *standins) google(name string) (all []reading) {
	last := map[string]int{}
	for _, p := range v.gcp.Points() {
		if !strings.HasSuffix(p.Series.GetMetric().GetType(), ".googleapis.com/"+name) {
			continue
		}
		point := p.Series.GetPoints()[0]
		labels := maps.Clone(p.Series.GetMetric().GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, p.Series.GetResource().GetLabels())
		r := reading{series: p.Key, name: name, labels: labels,
			start: point.GetInterval().GetStartTime().AsTime().UnixMilli(), end: point.GetInterval().GetEndTime().AsTime().UnixMilli()}
		switch x := point.GetValue().GetValue().(type) {
		case *monitoringpb.TypedValue_DoubleValue:
			r.value = x.DoubleValue
		case *monitoringpb.TypedValue_DistributionValue:
			d := x.DistributionValue
			r.count, r.sum = float64(d.GetCount()), float64(d.GetCount())*d.GetMean()
		}
		total := fmt.Sprint(p.Key, r.start)
		if at, again := last[total]; again {
			all[at] = r
			continue
		}
		last[total] = len(all)
		all = append(all, r)
	}
	return all
}

func newRelic(s *nrintake.Server, name string) (all []reading) {
	for _, m := range s.Metrics() {
		if m.Name != name {
			continue
		}
		r := reading{series: fmt.Sprint(m.Attributes), name: name, labels: map[string]string{}, start: m.Time, end: m.Time + m.Interval, value: m.Value, count: m.Count, sum: m.Sum}
		for k, v := range m.Attributes {
			r.labels[k] = fmt.Sprint(v)
		}
		all = append(all, r)
	}
	return all
}

// each calls f with what every vendor has of a metric with these labels, "k=v".
func (v *standins) each(name string, where []string, f func(vendor string, found []reading)) {
	has := map[string][]reading{"dd": v.datadog(name), "gcp": v.google(name), "nr sdk": newRelic(v.sdk, name), "nr otlp": newRelic(v.otlp, name)}
	if name == v.mixed {
		delete(has, "gcp")
	}
	for vendor, all := range has {
		var found []reading
		for _, r := range all {
			if !slices.ContainsFunc(where, func(w string) bool {
				k, want, _ := strings.Cut(w, "=")
				family, _, _ := strings.Cut(vendor, " ")
				return r.labels[called[family][k]] != want
			}) {
				found = append(found, r)
			}
		}
		f(vendor, found)
	}
}

// all waits until what each vendor has, summed up by sum, is as wanted.
func (v *standins) all(t *testing.T, what string, want float64, name string, where []string, sum func([]reading) float64) {
	t.Helper()
	got := map[string]float64{}
	defer func() {
		for vendor, value := range got {
			if !near(value, want, 1e-9) {
				t.Errorf("%s: %s of %s %v is %v, want %v", vendor, what, name, where, value, want)
			}
		}
	}()
	eventually(t, fmt.Sprintf("all vendors have %v as %s of %s %v", want, what, name, where), func() bool {
		ok := true
		v.each(name, where, func(vendor string, found []reading) {
			got[vendor] = sum(found)
			ok = ok && near(got[vendor], want, 1e-9)
		})
		return ok
	})
}

// grew: all its growth. holds: what it said last, each series once, added up.
// counted and amounts: count and sum of a distribution.
func (v *standins) grew(t *testing.T, want float64, name string, where ...string) {
	t.Helper()
	v.all(t, "the growth", want, name, where, func(found []reading) (sum float64) {
		for _, r := range found {
			sum += r.value
		}
		return sum
	})
}

func (v *standins) holds(t *testing.T, want float64, name string, where ...string) {
	t.Helper()
	v.all(t, "the last value", want, name, where, func(found []reading) (sum float64) {
		last := map[string]reading{}
		for _, r := range found {
			if r.end >= last[r.series].end {
				last[r.series] = r
			}
		}
		if len(last) == 0 {
			return math.NaN()
		}
		for _, r := range last {
			sum += r.value
		}
		return sum
	})
}

func (v *standins) counted(t *testing.T, count, amount float64, name string, where ...string) {
	t.Helper()
	v.all(t, "the count", count, name, where, func(found []reading) (sum float64) {
		for _, r := range found {
			sum += r.count
		}
		return sum
	})
	v.all(t, "the sum", amount, name, where, func(found []reading) (sum float64) {
		for _, r := range found {
			sum += r.sum
		}
		return sum
	})
}

// lines compares how many lines with this text of a service each vendor has.
func (v *standins) lines(t *testing.T, want int, service, text string) {
	t.Helper()
	f := func(vendor string, got int) {
		if got != want {
			t.Errorf("%s: %d lines %q of %s, want %d", vendor, got, text, service, want)
		}
	}
	count := func() map[string]int {
		n := map[string]int{"dd": 0, "gcp": 0, "nr sdk": 0, "nr otlp": 0}
		for _, l := range v.dd.Logs() {
			if l["service"] == service && l["message"] == text {
				n["dd"]++
			}
		}
		for _, e := range v.gcp.Entries() {
			if e.GetLabels()["service.name"] == service && e.GetTextPayload() == text {
				n["gcp"]++
			}
		}
		for vendor, s := range map[string]*nrintake.Server{"nr sdk": v.sdk, "nr otlp": v.otlp} {
			for _, l := range s.Logs() {
				if l.Attributes["service.name"] == service && l.Message == text {
					n[vendor]++
				}
			}
		}
		return n
	}
	defer func() {
		for vendor, n := range count() {
			f(vendor, n)
		}
	}()
	eventually(t, fmt.Sprintf("all vendors have %d lines %q of %s", want, text, service), func() bool {
		for _, n := range count() {
			if n < want {
				return false
			}
		}
		return true
	})
}

// exemplar compares the one exemplar of a metric at the vendors that have a place for it.
func (v *standins) exemplar(t *testing.T, name, want string) {
	t.Helper()
	got := map[string][]string{}
	for _, p := range v.gcp.Points() {
		if !strings.HasSuffix(p.Series.GetMetric().GetType(), ".googleapis.com/"+name) {
			continue
		}
		for _, e := range p.Series.GetPoints()[0].GetValue().GetDistributionValue().GetExemplars() {
			var span monitoringpb.SpanContext
			var labels monitoringpb.DroppedLabels
			for _, a := range e.GetAttachments() {
				_, _ = a.UnmarshalTo(&span), a.UnmarshalTo(&labels) // each is one of the two
			}
			ids := strings.Split(span.GetSpanName(), "/") // projects/P/traces/T/spans/S
			got["gcp"] = append(got["gcp"], fmt.Sprintf("%v of trace %s, span %s, user %s", e.GetValue(), ids[3], ids[5], labels.GetLabel()["user"]))
		}
	}
	for _, m := range v.otlp.Metrics() {
		for _, e := range m.Exemplars {
			if m.Name == name {
				got["nr otlp"] = append(got["nr otlp"], fmt.Sprintf("%v of trace %s, span %s, user %v", e.Value, e.Trace, e.Span, e.Attributes["user"]))
			}
		}
	}
	for _, vendor := range []string{"gcp", "nr otlp"} {
		if len(got[vendor]) != 1 || got[vendor][0] != want {
			t.Errorf("%s: the exemplars of %s are %q, want one, %q", vendor, name, got[vendor], want)
		}
	}
}
