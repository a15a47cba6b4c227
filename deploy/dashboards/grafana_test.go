package dashboards

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/store"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/influx"
)

// grafana is what is needed of a dashboard to ask what its panels ask.
type grafana struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Query, Type string }
	}
	Annotations struct{ List []struct{ Query string } }
}

type panel struct {
	Title, Type string
	Targets     []struct{ Query, RefID string }
}

func rendered(t testing.TB, name string) (g grafana) {
	t.Helper()
	p, err := target(t, destination("influxdb")).Render(load(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(p, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// database is an InfluxDB that has the world in it.
type database struct {
	t       testing.TB
	handler http.Handler
}

func (d database) call(method, path, body string) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8086"
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// ask returns the rows of all series that a query yields, as Grafana asks it
// when all values of its variables are chosen.
func (d database) ask(query string) (rows [][]any, err error) {
	q := regexp.MustCompile(`\$\{[a-z_]+:regex\}`).ReplaceAllString(query, ".*")
	q = strings.NewReplacer("$timeFilter", fmt.Sprintf("time >= %dms and time <= %dms", from-step, from+many*step), "$__interval", "30s").Replace(q)
	code, answer := d.call(http.MethodGet, "/query?db=causeway&epoch=ms&q="+url.QueryEscape(q), "")
	var v struct {
		Error   string
		Results []struct {
			Error  string
			Series []struct{ Values [][]any }
		}
	}
	if err := json.Unmarshal([]byte(answer), &v); err != nil || code != http.StatusOK || v.Error != "" {
		return nil, fmt.Errorf("%s\n%d %s", q, code, answer)
	}
	for _, r := range v.Results {
		if r.Error != "" {
			return nil, fmt.Errorf("%s\n%s", q, r.Error)
		}
		for _, s := range r.Series {
			rows = append(rows, s.Values...)
		}
	}
	return rows, nil
}

// write sends a batch as an exporter encodes it.
func (d database) write(e exporters.Exporter, b *signal.Batch) {
	d.t.Helper()
	for lo := 0; lo < b.Len(); {
		body, next, _ := e.Encode(nil, b, lo, min(lo+1000, b.Len()))
		lo = next
		precision := "ns"
		if b.Kind == signal.Metric {
			precision = "ms"
		}
		if code, answer := d.call(http.MethodPost, "/write?db=causeway&precision="+precision, string(body)); len(body) > 0 && code != http.StatusNoContent {
			d.t.Fatalf("write: %d %s", code, answer)
		}
	}
}

// filled returns the embedded store with everything in it that our collectors send.
func filled(t testing.TB) database {
	t.Helper()
	c := store.Default()
	c.Dir, c.Listen, c.Retention = t.TempDir(), "127.0.0.1:0", 0
	s, err := store.Open(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	d := database{t, s.Handler()}
	d.fill()
	return d
}

func (d database) fill() {
	d.t.Helper()
	c := influx.Default()
	d.write(influx.Metrics("influxdb", c, http.DefaultClient), world(d.t))
	d.write(influx.Logs("influxdb", c, http.DefaultClient), someLines())
	d.write(influx.Events("influxdb", c, http.DefaultClient), &signal.Batch{Kind: signal.Event, Events: []signal.EventItem{
		{Time: from * 1e6, Source: "kubernetes", ID: "1", Title: "Pulled", Text: "an image", Labels: signal.Labels(signal.LabelHost, "n1")},
	}})
}

// every asks all that the dashboards ask.
func (d database) every(t *testing.T) {
	for _, name := range Names() {
		g := rendered(t, name)
		if len(g.Panels) == 0 {
			t.Errorf("%s has no panels", name)
		}
		for _, p := range g.Panels {
			for _, q := range p.Targets {
				rows, err := d.ask(q.Query)
				if err != nil {
					t.Errorf("%s, %s: %v", name, p.Title, err)
					continue
				}
				if !hasValue(rows) {
					t.Errorf("%s, %s: no data\n%s", name, p.Title, q.Query)
				}
			}
		}
		for _, v := range g.Templating.List {
			if v.Type != "query" {
				continue
			}
			if rows, err := d.ask(v.Query); err != nil || len(rows) == 0 {
				t.Errorf("%s, variable %s: %d values, %v", name, v.Name, len(rows), err)
			}
		}
		for _, a := range g.Annotations.List {
			if rows, err := d.ask(a.Query); err != nil || len(rows) == 0 {
				t.Errorf("%s, events: %d, %v", name, len(rows), err)
			}
		}
	}
}

func hasValue(rows [][]any) bool {
	for _, r := range rows {
		for _, v := range r[1:] {
			if v != nil {
				return true
			}
		}
	}
	return false
}

func TestEveryPanelOfGrafanaHasDataInTheEmbeddedStore(t *testing.T) { filled(t).every(t) }

// Each number of each panel is what was collected, in the unit of its
// definition: the sum, or the highest, over all curves of a query at the end of
// the world is that over all samples of it.
func TestGrafanaShowsWhatWasCollected(t *testing.T) {
	d, b := filled(t), world(t)
	for _, name := range Names() {
		drawn := rendered(t, name).Panels
		for _, r := range load(t, name).Rows {
			for _, p := range r.Panels {
				columns, err := ask(target(t, destination("influxdb")).sources(), &p)
				if err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(drawn, func(g panel) bool { return g.Title == p.Title && g.Type != "row" })
				targets := drawn[at].Targets
				for _, c := range columns {
					if c.Metric == lines {
						continue
					}
					var shown []float64
					for range c.at {
						shown = append(shown, d.atTheEnd(targets[0].Query)...)
						targets = targets[1:]
					}
					collected := atTheEnd(b, c.Query, scopes(p.About))
					if c.Agg == "avg" && len(c.By) > 0 {
						continue // an average of averages is neither
					}
					got, want := together(c.Agg, shown), together(c.Agg, collected)
					if math.Abs(got-want) > 1e-4*math.Abs(want) || len(shown) == 0 {
						t.Errorf("%s, %s, %s: %v shown, %v collected", name, p.Title, c.Name, got, want)
					}
				}
			}
		}
	}
}

// What a container asks for, the API server says and its kubelet.
func TestGrafanaCountsOnceWhatTwoTell(t *testing.T) {
	d := filled(t)
	pod := []string{signal.LabelCluster, "c1", signal.LabelNamespace, "only", signal.LabelPod, "p", signal.LabelK8sContainer, "c"}
	const text = "kube_pod_container_resource_requests gauge {cpu} 0.5 @%d\nk8s.container.cpu.request gauge {cpu} 0.5 @%[1]d"
	b, err := signal.Parse(signal.Metric, fmt.Sprintf(text, from))
	if err != nil {
		t.Fatal(err)
	}
	for i, more := range [][]string{{"resource", "cpu", "unit", "core"}, {signal.LabelHost, "n1", signal.LabelNode, "n1"}} {
		desc := b.Samples[i].Series.Desc()
		desc.Labels = signal.Labels(append(more, pod...)...)
		b.Samples[i].Series = signal.Intern(desc)
	}
	d.write(influx.Metrics("influxdb", influx.Default(), http.DefaultClient), b)
	for _, p := range rendered(t, "kubernetes").Panels {
		if p.Title != "CPU requested" {
			continue
		}
		rows, err := d.ask(strings.ReplaceAll(p.Targets[0].Query, "${namespace:regex}", "only"))
		if err != nil || len(rows) != 1 || rows[0][1] != 0.5 {
			t.Errorf("%v, %v; want 0.5 once", rows, err)
		}
	}
}

// atTheEnd returns the last value of each row that a query yields.
func (d database) atTheEnd(query string) (values []float64) {
	rows, err := d.ask(query)
	if err != nil {
		d.t.Fatal(err)
	}
	last := 0.0
	for _, r := range rows {
		last = max(last, r[0].(float64))
	}
	for _, r := range rows {
		if v, ok := r[len(r)-1].(float64); ok && r[0].(float64) == last {
			values = append(values, v)
		}
	}
	return values
}

// atTheEnd returns the last value, or growth per second, of each series that a
// query is about.
func atTheEnd(b *signal.Batch, q *Query, all [][]string) (values []float64) {
	for _, s := range b.Samples {
		fit := slices.ContainsFunc(all, func(scope []string) bool { return fits(s.Series.Desc(), q, scope) })
		switch {
		case !fit || s.Time != from+(many-1)*step:
		case q.Rate:
			values = append(values, s.Delta*1000/step)
		default:
			values = append(values, s.Value)
		}
	}
	return values
}

func together(agg string, values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	switch agg {
	case "max":
		return slices.Max(values)
	case "min":
		return slices.Min(values)
	case "avg":
		return sum / float64(len(values))
	}
	return sum
}

func TestGrafanaCountsEachLineOnce(t *testing.T) {
	d := filled(t)
	for _, p := range rendered(t, "logs").Panels {
		if p.Type == "row" {
			continue
		}
		rows, err := d.ask(p.Targets[0].Query)
		if err != nil {
			t.Fatal(err)
		}
		n := 0.0
		for _, r := range rows {
			if v, ok := r[1].(float64); ok && p.Type == "timeseries" {
				n += v
			} else if p.Type == "logs" {
				n++
			}
		}
		want := map[string]float64{"Lines by severity": 8, "Lines by namespace": 8, "Errors and graver lines": 4, "Lines": 8}[p.Title]
		if n != want {
			t.Errorf("%s: %v lines, want %v", p.Title, n, want)
		}
	}
}
