// Package dashboards holds the dashboards that come with the agent, each
// defined once, and renders them for four products: Datadog, Google Cloud
// Monitoring, New Relic, and Grafana on InfluxDB.
//
// The command "causeway dashboards" calls Load, New and Target.Render, or
// Target.Apply, which makes or renews the dashboards by the product's own API.
// The package calls the vendors' exporters, and nothing that sends data.
//
// A definition (*.yaml beside this file) speaks the agent's own vocabulary:
// metrics and labels of agent/signal, values in the metric's own unit. What a
// product calls them is written down nowhere here. It is asked of the exporter
// (probe.go): a sample of the metric is encoded, and the body says under which
// name, tags and unit it arrives. So a query and the data cannot differ, with
// native names as with OpenTelemetry's, and a label that does not arrive is an
// error of rendering rather than an empty panel.
//
// What always holds:
//
//  1. Rendering is a function of the definition and of the destination's
//     configuration; the same two give the same bytes.
//  2. A panel shows the unit that its definition names, whatever unit the
//     vendor's data is in.
//  3. Apply twice leaves one dashboard: each has an identity of its own at the
//     product (a uid, a resource name, a mark in its description, its name), and
//     only a dashboard with that identity is ever overwritten.
//  4. Keys are in headers, and in no error.
//
// Memory and goroutines: nothing is kept, and none is started.
//
// It deliberately has no editor, no import of what was changed in a product, no
// alerts, and deletes nothing: a dashboard that is no longer wanted is deleted
// where it is.
package dashboards

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed *.yaml
var definitions embed.FS

// Names lists the dashboards that come with the agent, in the order in which
// people are shown them.
func Names() []string { return []string{"host", "containers", "kubernetes", "logs", "causeway"} }

// Dashboard is one definition.
type Dashboard struct {
	Name        string   `yaml:"-"`           // of its file: part of its identity in each product
	Title       string   `yaml:"title"`       // for people
	Description string   `yaml:"description"` // one or two sentences
	About       string   `yaml:"about"`       // what its metrics are of, unless a panel says otherwise: a key of scopes
	Variables   []string `yaml:"variables"`   // labels that the whole dashboard can be narrowed by
	Rows        []Row    `yaml:"rows"`
}

// Row is panels under one heading.
type Row struct {
	Title  string  `yaml:"title"`
	Panels []Panel `yaml:"panels"`
}

// Panel is one picture.
type Panel struct {
	Title   string  `yaml:"title"`
	Kind    string  `yaml:"kind"`  // timeseries, value, table, toplist or logs
	Unit    string  `yaml:"unit"`  // a key of units
	Width   int     `yaml:"width"` // of 12; 0: as its kind has it
	About   string  `yaml:"about"` // in place of the dashboard's
	Queries []Query `yaml:"queries"`
	Level   string  `yaml:"level"` // logs: this severity and graver ones; empty: all
}

// Query is one number, or one for each value of By.
type Query struct {
	Name   string            `yaml:"name"`   // in the legend, or the column's
	Metric string            `yaml:"metric"` // our name; "logs" counts lines
	Agg    string            `yaml:"agg"`    // over series: sum, avg, max or min
	By     []string          `yaml:"by"`     // labels
	Filter map[string]string `yaml:"filter"` // label: value
	Rate   bool              `yaml:"rate"`   // of a counter: its growth per second
	Once   []string          `yaml:"once"`   // labels that name a thing: where a product has it from two who tell, it counts once
	Scale  float64           `yaml:"scale"`  // what the number is multiplied with; 0 counts as 1
}

// The kinds of panels.
const (
	timeseries = "timeseries"
	value      = "value"
	table      = "table"
	toplist    = "toplist"
	logs       = "logs"
)

// lines is the metric whose value is the number of log lines.
const lines = "logs"

// unit says what a unit of ours is called in each product, and what a number in
// it is multiplied with there.
type unit struct {
	grafana  string
	datadog  []string // the unit, and per what
	newrelic string
	google   string
	percent  bool // Datadog's and New Relic's percent has 100 where we have 1
}

// unitOf returns a unit of a definition.
func unitOf(name string) (unit, bool) {
	switch name {
	case "ratio":
		return unit{grafana: "percentunit", datadog: []string{"percent"}, newrelic: "PERCENTAGE", google: "10^2.%", percent: true}, true
	case "bytes":
		return unit{grafana: "bytes", datadog: []string{"byte"}, newrelic: "BYTES", google: "By"}, true
	case "bytes/s":
		return unit{grafana: "Bps", datadog: []string{"byte", "second"}, newrelic: "BYTES_PER_SECOND", google: "By/s"}, true
	case "seconds":
		return unit{grafana: "s", datadog: []string{"second"}, newrelic: "SECONDS", google: "s"}, true
	case "cores":
		return unit{grafana: "short", datadog: []string{"core"}, newrelic: "COUNT", google: "{cpu}"}, true
	case "count":
		return unit{grafana: "short", newrelic: "COUNT", google: "1"}, true
	case "per second":
		return unit{grafana: "cps", newrelic: "COUNT", google: "1/s"}, true
	}
	return unit{}, false
}

// levels are the severities by the names a definition has for them; the place
// is the syslog severity.
func levels() []string {
	return []string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}
}

// Load returns the definition of that name, checked.
func Load(name string) (*Dashboard, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("dashboard %q: there is none; there are %s", name, strings.Join(Names(), ", "))
	}
	p, err := definitions.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	return parse(name, p)
}

// parse reads one definition. A key that it does not know is an error.
func parse(name string, p []byte) (*Dashboard, error) {
	d := &Dashboard{}
	dec := yaml.NewDecoder(bytes.NewReader(p))
	dec.KnownFields(true)
	if err := dec.Decode(d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	d.Name = name
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", name, err)
	}
	return d, nil
}

// check returns every complaint, each beginning with the place.
func (d *Dashboard) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if d.Title == "" || d.Description == "" {
		bad("title and description: are required")
	}
	if len(d.Rows) == 0 {
		bad("rows: there are none")
	}
	seen := map[string]bool{}
	for i, r := range d.Rows {
		if r.Title == "" || len(r.Panels) == 0 {
			bad("rows[%d]: needs a title and panels", i)
		}
		for j := range r.Panels {
			p := &r.Panels[j]
			at := fmt.Sprintf("rows[%d].panels[%d]", i, j)
			if p.About == "" {
				p.About = d.About
			}
			if p.Title == "" || seen[p.Title] {
				bad("%s.title: must be there, and the only one of this name", at)
			}
			seen[p.Title] = true
			if err := p.check(); err != nil {
				bad("%s (%s): %w", at, p.Title, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (p *Panel) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{timeseries, value, table, toplist, logs}, p.Kind) {
		bad("kind: must be timeseries, value, table, toplist or logs")
	}
	if p.Width < 0 || p.Width > columns {
		bad("width: must be 1 to %d", columns)
	}
	if len(scopes(p.About)) == 0 {
		bad("about: %q is nothing we know", p.About)
	}
	if p.Kind == logs {
		if len(p.Queries) > 0 || p.Unit != "" {
			bad("a panel of logs has a level and no queries")
		}
		if p.Level != "" && !slices.Contains(levels(), p.Level) {
			bad("level: must be one of %s", strings.Join(levels(), ", "))
		}
		return errors.Join(errs...)
	}
	if _, ok := unitOf(p.Unit); !ok {
		bad("unit: %q is none we know", p.Unit)
	}
	if len(p.Queries) == 0 || p.Level != "" {
		bad("needs queries, and no level")
	}
	for i, q := range p.Queries {
		switch {
		case q.Metric == "":
			bad("queries[%d].metric: is required", i)
		case !slices.Contains([]string{"sum", "avg", "max", "min"}, q.Agg):
			bad("queries[%d].agg: must be sum, avg, max or min", i)
		case (q.Rate || q.Metric == lines) && q.Agg != "sum":
			bad("queries[%d].agg: must be sum: rates of several series are added up, and so are lines", i)
		case len(q.Once) > 0 && (q.Agg != "sum" || q.Rate || p.Kind != timeseries):
			bad("queries[%d].once: is for sums of readings in a timeseries", i)
		case p.Kind == value && (len(q.By) > 0 || len(p.Queries) != 1):
			bad("queries[%d]: a value is one number", i)
		case (p.Kind == table || p.Kind == toplist) && len(q.By) == 0:
			bad("queries[%d].by: a %s needs a label", i, p.Kind)
		case p.Kind == toplist && len(p.Queries) != 1:
			bad("queries: a toplist has one")
		case p.Kind == table && !slices.Equal(q.By, p.Queries[0].By):
			bad("queries[%d].by: must be the same for each column of a table", i)
		case len(p.Queries) > 1 && q.Name == "":
			bad("queries[%d].name: is required, where there are several", i)
		}
	}
	return errors.Join(errs...)
}

// factor is what a value in our unit is multiplied with for a panel.
func (q *Query) factor() float64 {
	if q.Scale == 0 {
		return 1
	}
	return q.Scale
}

// label is what a query is called in a panel.
func (p *Panel) label(q *Query) string {
	if q.Name != "" {
		return q.Name
	}
	return p.Title
}

// columns is the width of a dashboard in all four products; Google's and
// Grafana's finer grids are multiples of it.
const columns = 12

// box is where a panel stands, in columns and in rows of about 40 pixels.
type box struct{ x, y, w, h int }

// size returns width and height of a panel.
func (p *Panel) size() (w, h int) {
	w, h = 4, 6
	switch p.Kind {
	case value:
		w, h = 2, 3
	case table:
		w, h = 12, 8
	case logs:
		w, h = 12, 12
	}
	if p.Width > 0 {
		w = p.Width
	}
	return w, h
}

// place returns where the panels of a row stand, below y, and where it ends.
func (r *Row) place(y int) (boxes []box, end int) {
	x, tallest := 0, 0
	for i := range r.Panels {
		w, h := r.Panels[i].size()
		if x+w > columns {
			x, y, tallest = 0, y+tallest, 0
		}
		boxes = append(boxes, box{x, y, w, h})
		x, tallest = x+w, max(tallest, h)
	}
	return boxes, y + tallest
}
