package dashboards

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/influxdata/influxdb/models"

	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/influx"
)

// forGrafana draws Grafana's dashboards with InfluxQL, which versions 1 and 3
// of InfluxDB and the embedded store read, and version 2 by its compatibility
// API (grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model,
// read 2026-11).
type forGrafana struct {
	conf    config.Destination
	options Options
}

func newGrafana(d config.Destination, o Options) *forGrafana {
	o.URL = strings.TrimSuffix(o.URL, "/")
	return &forGrafana{d, o}
}

func (t *forGrafana) sources() []source {
	c := t.conf.Influx
	c.Tags = nil
	return []source{{influx.Metrics("influxdb", c, http.DefaultClient), readInflux}}
}

// readInflux reads a body of lines.
func readInflux(body []byte) ([]point, error) {
	parsed, err := models.ParsePoints(body)
	if err != nil {
		return nil, fmt.Errorf("influx's body: %w", err)
	}
	var points []point
	for _, l := range parsed {
		p := point{name: string(l.Name())}
		for _, t := range l.Tags() {
			p.tags = append(p.tags, tag{key: string(t.Key), value: string(t.Value)})
		}
		for it := l.FieldIterator(); it.Next(); {
			p.field = string(it.FieldKey())
			switch it.Type() {
			case models.Float:
				p.value, err = it.FloatValue()
			case models.Integer:
				var n int64
				n, err = it.IntegerValue()
				p.value = float64(n)
			case models.Unsigned:
				var n uint64
				n, err = it.UnsignedValue()
				p.value = float64(n)
			default:
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("influx's field %s: %w", p.field, err)
			}
			points = append(points, p)
		}
	}
	return points, nil
}

// Grafana's grid is twice as fine as ours across.
const fine = 2

func (t *forGrafana) draw(d *Dashboard, asked [][][]column) (object, error) {
	source := object{"type": "influxdb", "uid": "${datasource}"}
	if t.options.Datasource != "" {
		source["uid"] = t.options.Datasource
	}
	var panels []any
	y, id := 0, 0
	for i := range d.Rows {
		r := &d.Rows[i]
		id++
		panels = append(panels, object{"id": id, "type": "row", "title": r.Title, "collapsed": false, "panels": []any{}, "gridPos": grid(box{0, y, columns, 1})})
		y++
		err := r.panels(asked[i], func(p *Panel, cs []column, at box) error {
			id++
			at.y += y
			w, err := t.panel(d, p, cs)
			w["id"], w["datasource"], w["gridPos"] = id, source, grid(at)
			for _, target := range w["targets"].([]any) {
				target.(object)["datasource"] = source
			}
			panels = append(panels, w)
			return err
		})
		if err != nil {
			return nil, err
		}
		_, y = r.place(y)
	}
	return object{
		"uid": "causeway-" + d.Name, "title": d.Title, "description": d.Description, "tags": []string{"causeway"}, "schemaVersion": 39,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "time": object{"from": "now-1h", "to": "now"}, "timezone": "", "version": 0,
		"templating": object{"list": t.variables(d, asked, source)}, "annotations": object{"list": []any{t.events(source)}}, "panels": panels, "links": []any{},
	}, nil
}

func grid(b box) object { return object{"x": b.x * fine, "y": b.y, "w": b.w * fine, "h": b.h} }

// events shows what the agent sends as events over every chart.
func (t *forGrafana) events(source object) object {
	return object{
		"name": "Events", "datasource": source, "enable": true, "iconColor": "orange", "textColumn": "text", "titleColumn": "title", "tagsColumn": "tags",
		"query": `SELECT "title", "text", "tags" FROM "events" WHERE $timeFilter ORDER BY time DESC LIMIT 100`,
	}
}

func (t *forGrafana) variables(d *Dashboard, asked [][][]column, source object) []any {
	list := []any{}
	if t.options.Datasource == "" {
		list = append(list, object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "influxdb", "hide": 0})
	}
	for _, l := range d.Variables {
		q := `SHOW TAG VALUES WITH KEY = "` + t.key(l) + `"`
		list = append(list, object{
			"name": short(l), "label": short(l), "type": "query", "datasource": source, "query": q, "definition": q, "refresh": 2, "sort": 1,
			"multi": true, "includeAll": true, "allValue": ".*", "current": object{"selected": true, "text": []string{"All"}, "value": []string{"$__all"}},
		})
	}
	return list
}

// key returns the tag of a label.
func (t *forGrafana) key(label string) string {
	s := t.sources()[0]
	if f, err := s.find(&Query{Metric: "x", By: []string{label}}, []string{label}); err == nil {
		return f.keys[label].key
	}
	return label
}

func (t *forGrafana) panel(d *Dashboard, p *Panel, cs []column) (object, error) {
	types := map[string]string{timeseries: "timeseries", value: "stat", table: "table", toplist: "bargauge", logs: "logs"}
	var targets []any
	add := func(query, format, alias string) {
		targets = append(targets, object{"refId": string(rune('A' + len(targets))), "query": query, "rawQuery": true, "resultFormat": format, "alias": alias})
	}
	o := object{"type": types[p.Kind], "title": p.Title, "targets": targets}
	if p.Kind == logs {
		where, err := t.lines(d, p.Level)
		add(`SELECT "message", "severity", "host", "pod_name", "container_name" FROM "syslog" WHERE `+where+`$timeFilter ORDER BY time DESC LIMIT 500`, "logs", "")
		o["targets"] = targets
		o["options"] = object{"showTime": true, "wrapLogMessage": true, "enableLogDetails": true, "sortOrder": "Descending", "dedupStrategy": "none"}
		return o, err
	}
	format := "time_series"
	if p.Kind == table {
		format = "table"
	}
	for i := range cs {
		c := &cs[i]
		if c.Metric == lines {
			where, _ := t.lines(d, "")
			add(`SELECT count("message") FROM "syslog" WHERE `+where+`$timeFilter GROUP BY time($__interval)`+t.by(c, nil)+` fill(0)`, format, t.alias(p, c, nil))
			continue
		}
		for _, f := range c.at {
			add(t.query(d, p, c, f), format, t.alias(p, c, f))
		}
	}
	u, _ := unitOf(p.Unit)
	defaults := object{"unit": u.grafana}
	switch p.Kind {
	case timeseries:
		defaults["custom"] = object{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": 90_000}
		o["options"] = object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}}
		o["interval"] = "30s"
	case value:
		o["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "graphMode": "none", "colorMode": "value"}
	case toplist:
		o["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": true}
		o["transformations"] = []any{}
	case table:
		o["transformations"] = []any{object{"id": "merge", "options": object{}}, object{"id": "organize", "options": object{"excludeByName": object{"Time": true}}}}
	}
	if p.Kind != timeseries {
		o["interval"] = "1m"
	}
	o["targets"], o["fieldConfig"] = targets, object{"defaults": defaults, "overrides": []any{}}
	return o, nil
}

// by returns the tags of a query, each behind a comma.
func (t *forGrafana) by(c *column, f *found) string {
	s := ""
	for _, l := range c.By {
		s += `, "` + t.tagOf(l, f) + `"`
	}
	return s
}

func (t *forGrafana) tagOf(label string, f *found) string {
	switch {
	case f != nil:
		return f.keys[label].key
	case label == lineLevel:
		return "severity"
	}
	return t.key(label)
}

func (t *forGrafana) alias(p *Panel, c *column, f *found) string {
	s := p.label(c.Query)
	for _, l := range c.By {
		s += " $tag_" + t.tagOf(l, f)
	}
	return s
}

// query returns one InfluxQL query. Each series is taken by itself first, a
// counter's growth per second worked out, and then they are put together: a sum
// of totals would fall when a series ends. Where a panel shows numbers and no
// curve, the last value of each series counts.
func (t *forGrafana) query(d *Dashboard, p *Panel, c *column, f *found) string {
	where := ""
	for _, g := range f.fixed {
		where += name(g.key) + ` = ` + text(g.value) + ` AND `
	}
	for _, l := range d.Variables {
		if k := f.keys[l].key; k != "" {
			where += name(k) + ` =~ /^${` + short(l) + `:regex}$/ AND `
		}
	}
	agg := c.Agg
	if agg == "avg" {
		agg = "mean"
	}
	one := `mean(` + name(f.field) + `)`
	if f.means == total {
		one = `non_negative_derivative(last(` + name(f.field) + `), 1s)`
	}
	from := ` FROM ` + name(f.point.name) + ` WHERE ` + where + `$timeFilter`
	number := times(agg+`("v")`, c.factor()/f.scale) + ` AS ` + name(p.label(c.Query))
	each := `SELECT ` + one + ` AS "v"` + from + ` GROUP BY time($__interval), *`
	if len(c.Once) > 0 {
		each = `SELECT max("v") AS "v" FROM (` + each + `) WHERE $timeFilter GROUP BY time($__interval)`
		for _, l := range c.Once {
			each += `, ` + name(f.keys[l].key)
		}
	}
	if p.Kind == timeseries {
		return `SELECT ` + number + ` FROM (` + each + `) WHERE $timeFilter GROUP BY time($__interval)` + t.by(c, f) + ` fill(none)`
	}
	last := `SELECT last(` + name(f.field) + `) AS "v"` + from + ` GROUP BY *`
	if f.means == total {
		last = `SELECT last("v") AS "v" FROM (` + each + `) WHERE $timeFilter GROUP BY *`
	}
	q := `SELECT ` + number + ` FROM (` + last + `) WHERE $timeFilter`
	if by := t.by(c, f); by != "" {
		q += ` GROUP BY ` + strings.TrimPrefix(by, ", ")
	}
	return q
}

// name and text return an identifier and a string as InfluxQL reads them.
func name(s string) string { return strconv.Quote(s) }

func text(s string) string { return `'` + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + `'` }

// lines returns the condition for lines of a severity and graver ones, with AND
// behind it.
func (t *forGrafana) lines(d *Dashboard, least string) (string, error) {
	where := ""
	for _, l := range d.Variables {
		where += name(t.key(l)) + ` =~ /^${` + short(l) + `:regex}$/ AND `
	}
	if least == "" {
		return where, nil
	}
	c := t.conf.Influx
	c.Tags = nil
	all, err := words(influx.Logs("influxdb", c, http.DefaultClient), slices.Index(levels(), least), severityTag)
	if err != nil {
		return "", err
	}
	return where + `"severity" =~ /^(` + strings.Join(all, "|") + `)$/ AND `, nil
}

// severityTag returns the severity of the line in a body.
func severityTag(body []byte) (string, error) {
	points, err := models.ParsePoints(body)
	if err != nil || len(points) != 1 {
		return "", errors.Join(errors.New("no line in influx's body"), err)
	}
	if s := points[0].Tags().GetString("severity"); s != "" {
		return s, nil
	}
	return "", errors.New("no severity in influx's body")
}

func (t *forGrafana) client(context.Context) (*http.Client, error) { return client(t.conf) }
