package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/datadog"
)

// forDatadog draws Datadog's dashboards: the body of POST /api/v1/dashboard
// (docs.datadoghq.com/api/latest/dashboards, read 2026-11).
type forDatadog struct {
	conf config.Destination
	url  string
}

func newDatadog(d config.Destination, o Options) *forDatadog {
	url := o.URL
	if url == "" {
		url = d.Datadog.URL
	}
	if url == "" {
		url = "https://api." + d.Datadog.Site
	}
	return &forDatadog{conf: d, url: strings.TrimSuffix(url, "/")}
}

func (t *forDatadog) sources() []source {
	c := t.conf.Datadog
	c.Tags = nil
	return []source{{datadog.Metrics("datadog", c, http.DefaultClient), readDatadog}}
}

// readDatadog reads a body of series v2. The host comes first: its tag is the
// one that Datadog's own pages group by.
func readDatadog(body []byte) ([]point, error) {
	var v struct {
		Series []struct {
			Metric    string
			Tags      []string
			Points    []struct{ Value float64 }
			Resources []struct{ Type, Name string }
		}
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("datadog's body: %w", err)
	}
	var points []point
	for _, s := range v.Series {
		p := point{name: s.Metric}
		for _, r := range s.Resources {
			p.tags = append(p.tags, tag{key: r.Type, value: r.Name})
		}
		for _, t := range s.Tags {
			k, v, _ := strings.Cut(t, ":")
			p.tags = append(p.tags, tag{key: k, value: v})
		}
		if len(s.Points) > 0 {
			p.value = s.Points[0].Value
		}
		points = append(points, p)
	}
	return points, nil
}

func (t *forDatadog) draw(d *Dashboard, asked [][][]column) (object, error) {
	var groups []any
	prefixes := map[string]string{} // of variables, by label
	for _, row := range asked {
		for _, columns := range row {
			for _, c := range columns {
				for _, f := range c.at {
					for _, l := range d.Variables {
						if k := f.keys[l].key; k != "" && prefixes[l] == "" {
							prefixes[l] = k
						}
					}
				}
			}
		}
	}
	for i := range d.Rows {
		r := &d.Rows[i]
		var widgets []any
		err := r.panels(asked[i], func(p *Panel, cs []column, at box) error {
			w, err := t.widget(d, p, cs, prefixes)
			widgets = append(widgets, object{"definition": w, "layout": object{"x": at.x, "y": at.y, "width": at.w, "height": (at.h + 1) / 2}})
			return err
		})
		if err != nil {
			return nil, err
		}
		groups = append(groups, object{"definition": object{
			"type": "group", "layout_type": "ordered", "title": r.Title, "show_title": true, "widgets": widgets,
		}})
	}
	variables := []any{}
	for _, l := range d.Variables {
		if prefixes[l] == "" {
			prefixes[l] = tagOfLines(l)
		}
		variables = append(variables, object{"name": short(l), "prefix": prefixes[l], "defaults": []string{"*"}})
	}
	return object{
		"title": d.Title, "description": d.Description + "\n\n" + ownMark(d), "layout_type": "ordered",
		"template_variables": variables, "widgets": groups,
	}, nil
}

// ownMark is by what a dashboard of ours is found again, where a product lets us
// choose no id.
func ownMark(d *Dashboard) string { return "[causeway:" + d.Name + "]" }

// tagOfLines returns the tag or attribute by which Datadog finds lines with a
// label: as series have it, and for the host the reserved attribute.
func tagOfLines(label string) string {
	c := datadog.Default()
	s := source{datadog.Metrics("datadog", c, http.DefaultClient), readDatadog}
	f, err := s.find(&Query{Metric: "x", By: []string{label}}, []string{label})
	if err != nil {
		return label
	}
	return f.keys[label].key
}

// widget returns the definition of a panel.
func (t *forDatadog) widget(d *Dashboard, p *Panel, cs []column, prefixes map[string]string) (object, error) {
	if p.Kind == logs {
		search, err := t.search(d, p.Level)
		return object{
			"type": "log_stream", "title": p.Title, "query": search, "indexes": []string{}, "columns": []string{"host", "service"},
			"message_display": "inline", "show_date_column": true, "show_message_column": true, "sort": object{"column": "time", "order": "desc"},
		}, err
	}
	types := map[string]string{timeseries: "timeseries", value: "query_value", table: "query_table", toplist: "toplist"}
	var requests []any
	var all, formulas []any
	flush := func(display bool) {
		if len(all) == 0 {
			return
		}
		r := object{"queries": all, "formulas": formulas, "response_format": "scalar"}
		if display {
			r["response_format"], r["display_type"], r["style"] = "timeseries", "line", object{"palette": "dog_classic"}
		}
		if p.Kind == toplist {
			r["sort"] = object{"count": 10, "order_by": []any{object{"type": "formula", "index": 0, "order": "desc"}}}
		}
		requests = append(requests, r)
		all, formulas = nil, nil
	}
	for i := range cs {
		c := &cs[i]
		places := c.at
		if c.Metric == lines {
			places = []*found{{scale: 1}}
		} else if p.Kind != timeseries {
			places = places[:1] // a number or a column has one query
		}
		for _, f := range places {
			name := fmt.Sprintf("query%d", len(all)+1)
			q := t.query(d, p, c, f, prefixes)
			q["name"] = name
			u, _ := unitOf(p.Unit)
			by := c.factor() / f.scale
			if u.percent {
				by *= 100
			}
			formula := object{"formula": times(name, by), "alias": p.label(c.Query)}
			if len(u.datadog) > 0 {
				unit := object{"type": "canonical_unit", "unit_name": u.datadog[0]}
				if len(u.datadog) > 1 {
					unit["per_unit_name"] = u.datadog[1]
				}
				formula["number_format"] = object{"unit": unit}
			}
			all, formulas = append(all, q), append(formulas, formula)
		}
	}
	flush(p.Kind == timeseries)
	o := object{"type": types[p.Kind], "title": p.Title, "requests": requests}
	switch p.Kind {
	case timeseries:
		o["show_legend"], o["legend_layout"] = true, "auto"
	case value:
		o["autoscale"], o["precision"] = true, 2
	}
	return o, nil
}

// query returns one query: of metrics, or of the number of lines.
func (t *forDatadog) query(d *Dashboard, p *Panel, c *column, f *found, prefixes map[string]string) object {
	if c.Metric == lines {
		search, _ := t.search(d, "")
		groups := []any{}
		for _, l := range c.By {
			facet := "status"
			if l != lineLevel {
				facet = tagOfLines(l)
			}
			groups = append(groups, object{"facet": facet, "limit": 10, "sort": object{"aggregation": "count", "order": "desc"}})
		}
		return object{
			"data_source": "logs", "compute": object{"aggregation": "count"}, "search": object{"query": search}, "indexes": []string{"*"},
			"group_by": groups,
		}
	}
	var where []string
	for _, l := range d.Variables {
		if k := f.keys[l].key; k != "" && k == prefixes[l] {
			where = append(where, "$"+short(l))
		}
	}
	for _, tag := range f.fixed {
		where = append(where, tag.key+":"+tag.value)
	}
	if len(where) == 0 {
		where = []string{"*"}
	}
	q := c.Agg + ":" + f.name + "{" + strings.Join(where, ",") + "}"
	if len(c.By) > 0 {
		var by []string
		for _, l := range c.By {
			by = append(by, f.keys[l].key)
		}
		q += " by {" + strings.Join(by, ",") + "}"
	}
	switch f.means {
	case increase:
		q += ".as_rate()"
	case total:
		q = "clamp_min(per_second(" + q + "), 0)"
	}
	o := object{"data_source": "metrics", "query": q}
	if p.Kind != timeseries {
		o["aggregator"] = "last"
		if f.means == increase {
			o["aggregator"] = "avg"
		}
	}
	return o
}

// search returns the search for lines of a severity and graver ones.
func (t *forDatadog) search(d *Dashboard, least string) (string, error) {
	var parts []string
	for _, l := range d.Variables {
		parts = append(parts, "$"+short(l))
	}
	if least != "" {
		c := t.conf.Datadog
		all, err := words(datadog.Logs("datadog", c, http.DefaultClient), slices.Index(levels(), least), statusIn)
		if err != nil {
			return "", err
		}
		parts = append(parts, "status:("+strings.Join(all, " OR ")+")")
	}
	return strings.Join(parts, " "), nil
}

// lineLevel stands for a line's severity among the labels of a query for lines.
const lineLevel = "level"

// statusIn returns the status of the line in a body of logs v2.
func statusIn(body []byte) (string, error) {
	var v []struct{ Status string }
	if err := json.Unmarshal(body, &v); err != nil || len(v) != 1 || v[0].Status == "" {
		return "", fmt.Errorf("no status in datadog's body %q", body)
	}
	return v[0].Status, nil
}

func (t *forDatadog) client(context.Context) (*http.Client, error) { return client(t.conf) }

// client returns a client with the destination's own settings.
func client(d config.Destination) (*http.Client, error) {
	h := exporters.HTTP{ProxyURL: d.ProxyURL.Reveal(), TLS: exporters.TLS{CAFile: d.TLS.CAFile, CertFile: d.TLS.CertFile, KeyFile: d.TLS.KeyFile}}
	return h.Client(2)
}
