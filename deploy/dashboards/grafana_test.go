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
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/store"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/influx"
)

// grafana is what is needed of a dashboard to ask what its panels ask.
type grafana struct {
	Panels []struct {
		Title, Type string
		Targets     []struct{ Query, RefID string }
	}
	Templating struct {
		List []struct{ Name, Query, Type string }
	}
	Annotations struct{ List []struct{ Query string } }
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

func TestGrafanaShowsWhatWasCollected(t *testing.T) {
	d := filled(t)
	f := func(dashboard, panel string, query int, want float64) {
		t.Helper()
		for _, p := range rendered(t, dashboard).Panels {
			if p.Title != panel {
				continue
			}
			rows, err := d.ask(p.Targets[query].Query)
			if err != nil || len(rows) == 0 {
				t.Errorf("%s, %s: %d rows, %v", dashboard, panel, len(rows), err)
				return
			}
			got, _ := rows[len(rows)-1][1].(float64)
			if math.Abs(got-want) > 1e-6*math.Abs(want) {
				t.Errorf("%s, %s: %v, want %v\n%s\n%v", dashboard, panel, got, want, p.Targets[query].Query, rows)
			}
			return
		}
		t.Errorf("%s has no panel %q", dashboard, panel)
	}
	f("host", "CPUs of all hosts", 0, 8)
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
