package dashboards

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/newrelic"
)

// forNewRelic draws New Relic's dashboards: NerdGraph's DashboardInput, with
// one page (docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-dashboards,
// read 2026-11).
type forNewRelic struct {
	conf config.Destination
	url  string
}

func newNewRelic(d config.Destination, o Options) *forNewRelic {
	url := o.URL
	if url == "" {
		url = map[string]string{"us": "https://api.newrelic.com", "eu": "https://api.eu.newrelic.com", "gov": "https://gov-api.newrelic.com"}[d.NewRelic.Region]
	}
	return &forNewRelic{conf: d, url: strings.TrimSuffix(url, "/")}
}

// sources returns the Metric API's exporter: names and attributes are the same
// by OTLP, which a test holds it to.
func (t *forNewRelic) sources() []source {
	c := t.conf.NewRelic
	c.Tags, c.API = nil, "sdk"
	return []source{{newrelic.Metrics("newrelic", c, http.DefaultClient), readNewRelic}}
}

// readNewRelic reads a body of the Metric API.
func readNewRelic(body []byte) ([]point, error) {
	var groups []struct {
		Common  struct{ Attributes map[string]any }
		Metrics []struct {
			Name       string
			Value      json.RawMessage
			Attributes map[string]any
		}
	}
	if err := json.Unmarshal(body, &groups); err != nil {
		return nil, fmt.Errorf("newrelic's body: %w", err)
	}
	var points []point
	for _, g := range groups {
		for _, m := range g.Metrics {
			p := point{name: m.Name}
			if err := json.Unmarshal(m.Value, &p.value); err != nil {
				continue // a summary
			}
			all := maps.Clone(g.Common.Attributes)
			maps.Copy(all, m.Attributes)
			for _, k := range slices.Sorted(maps.Keys(all)) {
				if k != "instrumentation.provider" { // the same in all that we send one way, and not the other
					p.tags = append(p.tags, tag{key: k, value: fmt.Sprint(all[k])})
				}
			}
			points = append(points, p)
		}
	}
	return points, nil
}

func (t *forNewRelic) draw(d *Dashboard, asked [][][]column) (object, error) {
	var widgets []any
	y := 1
	keys := t.variables(d, asked)
	for i := range d.Rows {
		r := &d.Rows[i]
		widgets = append(widgets, object{
			"title": "", "visualization": object{"id": "viz.markdown"}, "layout": layout(box{1, y, columns, 1}),
			"rawConfiguration": object{"text": "## " + r.Title},
		})
		y++
		bottom := y
		err := r.panels(asked[i], func(p *Panel, cs []column, at box) error {
			at.h = (at.h + 1) / 2
			w, err := t.widget(d, p, cs, keys)
			w["layout"] = layout(box{at.x + 1, y + (at.y+1)/2, at.w, at.h})
			bottom = max(bottom, y+(at.y+1)/2+at.h)
			widgets = append(widgets, w)
			return err
		})
		if err != nil {
			return nil, err
		}
		y = bottom
	}
	variables := []any{}
	for _, l := range d.Variables {
		if keys[l] == "" {
			keys[l] = l
		}
		from := "Metric"
		if len(asked[0][0]) == 0 || asked[0][0][0].Metric == lines {
			from = "Log"
		}
		variables = append(variables, object{
			"name": short(l), "title": short(l), "type": "NRQL", "isMultiSelection": false, "replacementStrategy": "STRING",
			"defaultValues": []any{object{"value": object{"string": "%"}}},
			"nrqlQuery":     object{"accountIds": []any{t.conf.NewRelic.AccountID}, "query": "SELECT uniques(" + quoted(keys[l]) + ") FROM " + from},
		})
	}
	return object{
		"name": d.Title, "description": d.Description + " " + ownMark(d), "permissions": "PUBLIC_READ_WRITE", "variables": variables,
		"pages": []any{object{"name": d.Title, "description": d.Description, "widgets": widgets}},
	}, nil
}

// variables returns the attribute of each variable.
func (t *forNewRelic) variables(d *Dashboard, asked [][][]column) map[string]string {
	keys := map[string]string{}
	for _, l := range d.Variables {
		for _, row := range asked {
			for _, c := range slices.Concat(row...) {
				for _, f := range c.at {
					keys[l] = cmp.Or(keys[l], f.keys[l].key)
				}
			}
		}
	}
	return keys
}

func layout(b box) object {
	return object{"column": b.x, "row": b.y, "width": b.w, "height": b.h}
}

// quoted and literal return an attribute's name and a string as NRQL reads them.
func quoted(key string) string { return "`" + key + "`" }

func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

func (t *forNewRelic) widget(d *Dashboard, p *Panel, cs []column, keys map[string]string) (object, error) {
	ids := map[string]string{timeseries: "viz.line", value: "viz.billboard", table: "viz.table", toplist: "viz.bar", logs: "logger.log-table-widget"}
	var queries []any
	add := func(q string) {
		queries = append(queries, object{"accountIds": []any{t.conf.NewRelic.AccountID}, "query": q})
	}
	switch p.Kind {
	case logs:
		q, err := t.lines(d, p.Level)
		if err != nil {
			return object{}, err
		}
		add("SELECT `timestamp`, `level`, `hostname`, `pod_name`, `message` FROM Log" + q + " LIMIT 100")
	case table:
		add(t.columns(d, p, cs, keys))
	default:
		for i := range cs {
			c := &cs[i]
			if c.Metric == lines {
				q, _ := t.lines(d, "")
				add("SELECT count(*) AS " + literal(p.label(c.Query)) + " FROM Log" + q + facet(c, nil) + t.tail(p))
				continue
			}
			for _, f := range c.at {
				add(t.query(d, p, c, f, keys))
			}
		}
	}
	raw := object{"nrqlQueries": queries, "platformOptions": object{"ignoreTimeRange": false}}
	if u, ok := unitOf(p.Unit); ok {
		raw["units"] = object{"unit": u.newrelic}
	}
	if p.Kind == timeseries {
		raw["legend"] = object{"enabled": true}
	}
	return object{"title": p.Title, "visualization": object{"id": ids[p.Kind]}, "rawConfiguration": raw}, nil
}

// tail is what ends a query.
func (t *forNewRelic) tail(p *Panel) string {
	switch p.Kind {
	case timeseries:
		return " LIMIT MAX TIMESERIES"
	case toplist:
		return " LIMIT 10"
	case table:
		return " LIMIT 100"
	}
	return ""
}

// facet groups by the labels of a query.
func facet(c *column, f *found) string {
	var by []string
	for _, l := range c.By {
		if f == nil {
			by = append(by, quoted(l))
		} else {
			by = append(by, quoted(f.keys[l].key))
		}
	}
	if by == nil {
		return ""
	}
	return " FACET " + strings.Join(by, ", ")
}

// where is the condition of a query: its metric, and what tells its data apart.
func (t *forNewRelic) where(d *Dashboard, f *found, keys map[string]string) string {
	w := "metricName = " + literal(f.name)
	for _, g := range f.fixed {
		w += " AND " + quoted(g.key) + " = " + literal(g.value)
	}
	for _, l := range d.Variables {
		if k := f.keys[l].key; k != "" && k == keys[l] {
			w += " AND " + chosen(k, l)
		}
	}
	return w
}

// chosen is the condition that a variable sets. While it is at all, what lacks
// the label counts as well: a container without a pod is in no namespace.
func chosen(key, label string) string {
	v := "{{" + short(label) + "}}"
	return "(" + v + " = '%' OR " + quoted(key) + " LIKE " + v + ")"
}

// nrql is the expression for a query's number over the points of a metric.
func (c *column) nrql(p *Panel, f *found) string {
	u, _ := unitOf(p.Unit)
	by := c.factor() / f.scale
	if u.percent {
		by *= 100
	}
	m := quoted(f.name)
	switch {
	case f.means == increase:
		return times("rate(sum("+m+"), 1 second)", by)
	case c.Agg == "avg":
		return times("average("+m+")", by)
	case c.Agg == "sum":
		return times("sum(`v`)", by)
	}
	return times(c.Agg+"("+m+")", by)
}

// query returns one query. A sum over series takes the latest point of each: the
// sum of a gauge's points would grow with the time between two points.
func (t *forNewRelic) query(d *Dashboard, p *Panel, c *column, f *found, keys map[string]string) string {
	where := t.where(d, f, keys)
	as := " AS " + literal(p.label(c.Query))
	if c.Agg != "sum" || f.means == increase {
		return "SELECT " + c.nrql(p, f) + as + " FROM Metric WHERE " + where + facet(c, f) + t.tail(p)
	}
	inner := "SELECT latest(" + quoted(f.name) + ") AS `v` FROM Metric WHERE " + where + " FACET " + strings.Join(c.apart(p, f), ", ") + " LIMIT MAX"
	if p.Kind == timeseries {
		inner += " TIMESERIES"
	}
	return "SELECT " + c.nrql(p, f) + as + " FROM (" + inner + ")" + facet(c, f) + t.tail(p)
}

// apart returns the attributes that tell series apart, the query's own first.
// NRQL takes five (docs.newrelic.com, NRQL reference, FACET).
func (c *column) apart(p *Panel, f *found) []string {
	var keys []string
	for _, l := range c.By {
		keys = append(keys, quoted(f.keys[l].key))
	}
	for _, scope := range scopes(p.About) {
		for _, l := range slices.Backward(scope) {
			if k := f.keys[l].key; k != "" && !slices.Contains(keys, quoted(k)) && len(keys) < 5 {
				keys = append(keys, quoted(k))
			}
		}
	}
	return keys
}

// columns returns the one query of a table. Its columns are the same attribute's,
// so each is a sum, or an average, of the points that its condition filters.
func (t *forNewRelic) columns(d *Dashboard, p *Panel, cs []column, keys map[string]string) string {
	var parts, names []string
	for i := range cs {
		c := &cs[i]
		f := c.at[0]
		names = append(names, t.where(d, f, keys))
		u, _ := unitOf(p.Unit)
		by := c.factor() / f.scale
		if u.percent {
			by *= 100
		}
		expr := "latest(" + quoted(f.name) + ")"
		switch {
		case f.means == increase:
			expr = "rate(sum(" + quoted(f.name) + "), 1 second)"
		case c.Agg == "avg":
			expr = "average(" + quoted(f.name) + ")"
		case c.Agg != "sum":
			expr = c.Agg + "(" + quoted(f.name) + ")"
		}
		parts = append(parts, times("filter("+expr+", WHERE "+t.where(&Dashboard{}, f, keys)+")", by)+" AS "+literal(p.label(c.Query)))
	}
	return "SELECT " + strings.Join(parts, ", ") + " FROM Metric WHERE (" + strings.Join(names, ") OR (") + ")" + facet(&cs[0], cs[0].at[0]) + t.tail(p)
}

// lines returns the condition for lines of a severity and graver ones.
func (t *forNewRelic) lines(d *Dashboard, least string) (string, error) {
	var parts []string
	for _, l := range d.Variables {
		parts = append(parts, chosen(l, l))
	}
	if least != "" {
		c := t.conf.NewRelic
		c.Tags, c.API = nil, "sdk"
		all, err := words(newrelic.Logs("newrelic", c, http.DefaultClient), slices.Index(levels(), least), levelIn)
		if err != nil {
			return "", err
		}
		parts = append(parts, "`level` IN ('"+strings.Join(all, "', '")+"')")
	}
	if parts == nil {
		return "", nil
	}
	return " WHERE " + strings.Join(parts, " AND "), nil
}

// levelIn returns the level of the line in a body of the Log API.
func levelIn(body []byte) (string, error) {
	var v []struct {
		Logs []struct{ Attributes struct{ Level string } }
	}
	if err := json.Unmarshal(body, &v); err != nil || len(v) != 1 || len(v[0].Logs) != 1 || v[0].Logs[0].Attributes.Level == "" {
		return "", fmt.Errorf("no level in newrelic's body %q", body)
	}
	return v[0].Logs[0].Attributes.Level, nil
}

func (t *forNewRelic) client(context.Context) (*http.Client, error) { return client(t.conf) }
