package dashboards

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/causeway-agent/causeway/config"
)

// object is a piece of a product's JSON. encoding/json sorts its keys.
type object = map[string]any

// Options is what a destination's configuration does not say.
type Options struct {
	// Project is Google's, where the configuration leaves it to the machine.
	Project string
	// URL replaces the address of the product's API: Grafana's own, which no
	// configuration has, or a test's.
	URL string
	// Token is Grafana's, of a service account that may write dashboards.
	Token string
	// Datasource is the uid of Grafana's InfluxDB; empty: who looks chooses.
	Datasource string
}

// Target is a product that dashboards are rendered for: the one that a
// destination sends to. Its methods may be called from several goroutines.
type Target struct {
	product
	options Options
}

// product is what the four differ in.
type product interface {
	// sources returns the exporters to ask, the likeliest first.
	sources() []source
	// draw returns a dashboard of widgets that are ready to be written.
	draw(d *Dashboard, asked [][][]column) (object, error)
	// apply makes the dashboard, or renews the one of its identity.
	apply(ctx context.Context, call caller, d *Dashboard, o object) (Result, error)
	// client returns what carries the requests.
	client(ctx context.Context) (*http.Client, error)
}

// New returns the target of a destination, whose configuration has been
// checked. A destination of type stdout has no dashboards.
func New(d config.Destination, o Options) (*Target, error) {
	switch d.Type {
	case "datadog":
		return &Target{newDatadog(d, o), o}, nil
	case "googlecloud", "stackdriver":
		g, err := newGoogle(d, o)
		if err != nil {
			return nil, err
		}
		return &Target{g, o}, nil
	case "newrelic":
		return &Target{newNewRelic(d, o), o}, nil
	case "influxdb":
		return &Target{newGrafana(d, o), o}, nil
	}
	return nil, fmt.Errorf("type %s: has no dashboards; datadog, googlecloud, newrelic and influxdb have", d.Type)
}

// Render returns the dashboard in the product's own JSON. The error names the
// panel whose query has no place at the product.
func (t *Target) Render(d *Dashboard) ([]byte, error) {
	o, err := t.object(d)
	if err != nil {
		return nil, err
	}
	var w bytes.Buffer
	enc := json.NewEncoder(&w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(o); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", d.Name, err)
	}
	return w.Bytes(), nil
}

func (t *Target) object(d *Dashboard) (object, error) {
	asked := make([][][]column, len(d.Rows))
	sources := t.sources()
	for i, r := range d.Rows {
		asked[i] = make([][]column, len(r.Panels))
		for j := range r.Panels {
			columns, err := ask(sources, &r.Panels[j])
			if err != nil {
				return nil, fmt.Errorf("dashboard %s, panel %q: %w", d.Name, r.Panels[j].Title, err)
			}
			asked[i][j] = columns
		}
	}
	o, err := t.draw(d, asked)
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", d.Name, err)
	}
	return o, nil
}

// column is a query and the places where its data is.
type column struct {
	*Query
	at []*found
}

// ask finds the places of a panel's queries. A scope that lacks a label which
// another scope has is passed over: a container without a pod is in no
// namespace.
func ask(sources []source, p *Panel) ([]column, error) {
	var columns []column
	for i := range p.Queries {
		q := &p.Queries[i]
		c := column{Query: q}
		if q.Metric == lines {
			columns = append(columns, c)
			continue
		}
		all := scopes(p.About)
		var failed error
		seen := map[string]bool{}
		for s := range sources {
			for _, scope := range all {
				if lacks(all, scope, q.By) {
					continue
				}
				f, err := sources[s].find(q, scope)
				if err != nil {
					failed = err
					continue
				}
				if at := slices.IndexFunc(q.Once, func(l string) bool { return f.keys[l].key == "" }); at >= 0 {
					return nil, fmt.Errorf("%s has no label %s at %s", q.Metric, q.Once[at], sources[s].exporter.Name())
				}
				if key := f.identity(q.By); !seen[key] {
					seen[key] = true
					c.at = append(c.at, f)
				}
			}
		}
		if len(c.at) == 0 {
			return nil, failed
		}
		columns = append(columns, c)
	}
	return columns, nil
}

// lacks reports whether a label of by belongs to another scope, and not to this.
func lacks(all [][]string, scope, by []string) bool {
	return slices.ContainsFunc(by, func(l string) bool {
		return !slices.Contains(scope, l) && slices.ContainsFunc(all, func(other []string) bool { return slices.Contains(other, l) })
	})
}

// identity is the same for two places that make the same query. Variables do
// not count: where a vendor has containers in pods and without under one name,
// the query of the first finds both.
func (f *found) identity(by []string) string {
	s := fmt.Sprint(f.name, f.field, f.resource, f.means, f.scale, f.fixed)
	for _, l := range by {
		s += fmt.Sprint(l, f.keys[l].key, f.keys[l].resource)
	}
	return s
}

// times returns an expression in our unit, or in that of the panel.
func times(expr string, by float64) string {
	switch {
	case math.Abs(by-1) < 1e-9:
		return expr
	case by < 1:
		return expr + " / " + decimal(1/by)
	}
	return expr + " * " + decimal(by)
}

// decimal writes a number without an exponent, which not every query language
// reads, and without the last digits, which are the division's.
func decimal(v float64) string {
	if short, err := strconv.ParseFloat(strconv.FormatFloat(v, 'e', 11, 64), 64); err == nil {
		v = short
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// short is what people call a label: the name of its variable.
func short(label string) string {
	for _, prefix := range []string{"k8s.", "causeway.", "system."} {
		label = strings.TrimPrefix(label, prefix)
	}
	return strings.NewReplacer(".", "_").Replace(strings.TrimSuffix(label, ".name"))
}

// panels yields each panel of a dashboard with its columns and its place below
// its row's heading.
func (r *Row) panels(asked [][]column, yield func(p *Panel, cs []column, at box) error) error {
	boxes, _ := r.place(0)
	for i := range r.Panels {
		if err := yield(&r.Panels[i], asked[i], boxes[i]); err != nil {
			return fmt.Errorf("panel %q: %w", r.Panels[i].Title, err)
		}
	}
	return nil
}
