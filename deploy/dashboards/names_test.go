package dashboards

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/datadog"
	"github.com/causeway-agent/causeway/exporters/google"
	"github.com/causeway-agent/causeway/exporters/influx"
	"github.com/causeway-agent/causeway/exporters/newrelic"
)

// readOTLP reads a body of metrics as New Relic does: attributes of resource
// and point are one set.
func readOTLP(body []byte) (points []point, err error) {
	var data metricspb.MetricsData
	if err := proto.Unmarshal(body, &data); err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	tags := func(of ...[]*commonpb.KeyValue) (tags []tag) {
		for _, kv := range slices.Concat(of...) {
			tags = append(tags, tag{key: kv.Key, value: kv.Value.GetStringValue()})
		}
		return tags
	}
	for _, r := range data.ResourceMetrics {
		for _, s := range r.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range slices.Concat(m.GetGauge().GetDataPoints(), m.GetSum().GetDataPoints()) {
					points = append(points, point{name: m.Name, tags: tags(r.Resource.GetAttributes(), p.Attributes)})
				}
			}
		}
	}
	return points, nil
}

// sent is what a vendor gets of the world: of each name the sets of its tags.
type sent map[string][]map[string]string

// vendorGets returns what arrives at a destination. At Google a host outside of
// a cluster may be a machine of Google's, or not.
func vendorGets(t *testing.T, d config.Destination) sent {
	t.Helper()
	all := sent{}
	sources := map[string][]source{
		"datadog": {{datadog.Metrics("x", d.Datadog, http.DefaultClient), readDatadog}},
		"googlecloud": {{google.Metrics("x", d.Google, google.Place{}, nil), readGoogle},
			{google.Metrics("x", d.Google, google.Place{InstanceID: "4711", Node: "h1"}, nil), readGoogle}},
		"influxdb": {{influx.Metrics("x", d.Influx, http.DefaultClient), readInflux}},
		"newrelic": {{newrelic.Metrics("x", d.NewRelic, http.DefaultClient), readNewRelic}},
	}[d.Type]
	if d.NewRelic.API == "otlp" {
		sources[0].read = readOTLP
	}
	for _, s := range sources {
		for _, p := range points(t, s, world(t)) {
			name := p.name
			if p.field != "" {
				name += " " + p.field
			}
			tags := map[string]string{"resource.type": p.resource}
			for _, g := range p.tags {
				k := g.key
				if g.resource {
					k = "resource:" + k
				}
				tags[k] = g.value
			}
			all[name] = append(all[name], tags)
		}
	}
	return all
}

// has reports whether something of that name has all the tags, and those with
// a value that value.
func (s sent) has(name string, tags [][2]string) bool {
	return slices.ContainsFunc(s[name], func(have map[string]string) bool {
		return !slices.ContainsFunc(tags, func(want [2]string) bool {
			v, ok := have[want[0]]
			return !ok || want[1] != "" && v != want[1]
		})
	})
}

// asked is what one query of a rendered dashboard names.
type asked struct {
	text, name string
	tags       [][2]string
}

// queries finds the queries in a rendered dashboard, as their product reads them.
func queries(t *testing.T, typ string, p []byte) (all []asked) {
	t.Helper()
	var v any
	if err := json.Unmarshal(p, &v); err != nil {
		t.Fatal(err)
	}
	read := map[string]func(string, map[string]string) (asked, bool){
		"datadog": datadogAsks, "googlecloud": googleAsks, "influxdb": influxAsks, "newrelic": newrelicAsks,
	}[typ]
	variables := map[string]string{}
	var walk func(v any, groupBy []string)
	walk = func(v any, groupBy []string) {
		switch v := v.(type) {
		case map[string]any:
			if prefix, ok := v["prefix"].(string); ok {
				variables[v["name"].(string)] = prefix
			}
			if a, ok := v["aggregation"].(map[string]any); ok {
				groups, _ := a["groupByFields"].([]any)
				filter := v["filter"].(string)
				for _, g := range groups {
					filter += " " + g.(string) + "="
				}
				if q, ok := read(filter, nil); ok {
					all = append(all, q)
				}
				return
			}
			for k, e := range v {
				text, ok := e.(string)
				if !ok || k != "query" || v["type"] == "NRQL" || v["type"] == "query" {
					walk(e, nil)
				} else if q, ok := read(text, variables); ok {
					all = append(all, q)
				}
			}
		case []any:
			for _, e := range v {
				walk(e, nil)
			}
		}
	}
	walk(v.(map[string]any)["template_variables"], nil)
	walk(v, nil)
	return all
}

var (
	datadogQuery = regexp.MustCompile(`(?:sum|avg|max|min):([a-zA-Z0-9_.]+)\{([^}]*)\}(?: by \{([^}]*)\})?`)
	googleLabel  = regexp.MustCompile(`(metric|resource)\.label\."([^"]+)"=(?:"([^"]*)")?`)
	influxFrom   = regexp.MustCompile(`"([^"]+)"\)[^()]*?(?:, 1s\))? AS "v" FROM "([^"]+)" WHERE (.*?)\$timeFilter`)
	influxTag    = regexp.MustCompile(`"([^"]+)" (?:= '([^']*)'|=~)`)
	influxBy     = regexp.MustCompile(`GROUP BY ([^()]*?)(?: fill|$)`)
	nrqlMetric   = regexp.MustCompile("metricName = '([^']+)'((?: AND `[^`]+` = '[^']*'| AND \\([^)]*\\))*)")
	nrqlTag      = regexp.MustCompile("`([^`]+)` (?:= '([^']*)'|LIKE)")
	nrqlFacet    = regexp.MustCompile("FACET ((?:`[^`]+`(?:, )?)+)")
)

func datadogAsks(q string, variables map[string]string) (a asked, ok bool) {
	m := datadogQuery.FindStringSubmatch(q)
	if m == nil {
		return a, false
	}
	a = asked{text: q, name: m[1]}
	for _, w := range strings.Split(m[2], ",") {
		k, v, _ := strings.Cut(w, ":")
		if name, ok := strings.CutPrefix(k, "$"); ok {
			k = variables[name]
		}
		if k != "*" {
			a.tags = append(a.tags, [2]string{k, v})
		}
	}
	for _, k := range strings.Split(m[3], ",") {
		if k != "" {
			a.tags = append(a.tags, [2]string{k, ""})
		}
	}
	return a, true
}

func googleAsks(q string, _ map[string]string) (a asked, ok bool) {
	_, rest, _ := strings.Cut(q, `metric.type="`)
	name, rest, _ := strings.Cut(rest, `"`)
	if strings.HasPrefix(name, "logging.googleapis.com/") {
		return a, false // Google's own count of our lines
	}
	a = asked{text: q, name: name}
	if _, typ, ok := strings.Cut(rest, `resource.type="`); ok {
		typ, _, _ = strings.Cut(typ, `"`)
		a.tags = append(a.tags, [2]string{"resource.type", typ})
	}
	for _, m := range googleLabel.FindAllStringSubmatch(rest, -1) {
		k := m[2]
		if m[1] == "resource" {
			k = "resource:" + k
		}
		a.tags = append(a.tags, [2]string{k, m[3]})
	}
	return a, true
}

func influxAsks(q string, _ map[string]string) (a asked, ok bool) {
	m := influxFrom.FindStringSubmatch(q)
	if m == nil {
		return a, false
	}
	a = asked{text: q, name: m[2] + " " + m[1]}
	for _, w := range influxTag.FindAllStringSubmatch(m[3], -1) {
		a.tags = append(a.tags, [2]string{w[1], w[2]})
	}
	for _, by := range influxBy.FindAllStringSubmatch(q, -1) {
		for _, k := range strings.Split(by[1], ", ") {
			if strings.HasPrefix(k, `"`) {
				a.tags = append(a.tags, [2]string{strings.Trim(k, `"`), ""})
			}
		}
	}
	return a, true
}

func newrelicAsks(q string, _ map[string]string) (a asked, ok bool) {
	m := nrqlMetric.FindStringSubmatch(q)
	if m == nil {
		return a, false
	}
	a = asked{text: q, name: m[1]}
	for _, w := range nrqlTag.FindAllStringSubmatch(m[2], -1) {
		a.tags = append(a.tags, [2]string{w[1], w[2]})
	}
	for _, by := range nrqlFacet.FindAllStringSubmatch(q, -1) {
		for _, k := range strings.Split(strings.TrimSuffix(by[1], ", "), ", ") {
			a.tags = append(a.tags, [2]string{strings.Trim(k, "`"), ""})
		}
	}
	return a, true
}

// The other half of what rendering learns from one sample: that what our
// collectors send has the same name, with all the tags, at the same time.
func TestEveryQueryNamesOnlyWhatItsExporterSends(t *testing.T) {
	for _, typ := range types() {
		for _, change := range []string{"", "otel", "otlp", "prometheus", "custom"} {
			d := destination(typ)
			switch {
			case change == "":
			case typ == "datadog" && change == "otel":
				d.Datadog.Names = change
			case typ == "newrelic" && change == "otlp":
				d.NewRelic.API = change
			case typ == "googlecloud" && !strings.HasPrefix(change, "ot"):
				d.Google.Prefix = change
			default:
				continue
			}
			v := target(t, d)
			gets := vendorGets(t, d)
			for _, name := range Names() {
				p, err := v.Render(load(t, name))
				if err != nil {
					t.Error(err)
					continue
				}
				all := queries(t, typ, p)
				if len(all) == 0 && name != "logs" {
					t.Errorf("%s %s: the test finds no queries", typ, name)
				}
				for _, q := range all {
					if !gets.has(q.name, q.tags) {
						t.Errorf("%s %s %s: nothing that is sent is %s with %v\n%s", typ, change, name, q.name, q.tags, q.text)
					}
				}
			}
		}
	}
}

// A definition asks for metrics as collectors send them: the type that its rate
// says, and labels that they have.
func TestDefinitionsNameWhatCollectorsSend(t *testing.T) {
	b := world(t)
	for _, name := range Names() {
		for _, r := range load(t, name).Rows {
			for _, p := range r.Panels {
				for _, q := range p.Queries {
					if q.Metric == lines {
						continue
					}
					for _, scope := range scopes(p.About) {
						if lacks(scopes(p.About), scope, q.By) {
							continue
						}
						if !slices.ContainsFunc(b.Samples, func(s signal.Sample) bool { return fits(s.Series.Desc(), &q, scope) }) {
							t.Errorf("%s, %s: no collector sends %s with %v and %v, as a counter: %v", name, p.Title, q.Metric, scope, q.Filter, q.Rate)
						}
					}
				}
			}
		}
	}
}

func fits(d signal.Desc, q *Query, scope []string) bool {
	if d.Name != q.Metric || (d.Type == signal.Counter) != q.Rate {
		return false
	}
	for k, v := range q.Filter {
		if signal.Lookup(d.Labels, k) != v {
			return false
		}
	}
	return !slices.ContainsFunc(slices.Concat(scope, q.By), func(l string) bool { return signal.Lookup(d.Labels, l) == "" })
}

// What rendering takes for a vendor's unit is its unit: of what is collected,
// each number that arrives is ours times the scale, whatever it means there.
func TestUnitsAreTheVendors(t *testing.T) {
	b := world(t)
	for _, typ := range types() {
		sources := target(t, destination(typ)).sources()
		tried := 0
		for _, name := range Names() {
			for _, r := range load(t, name).Rows {
				for _, p := range r.Panels {
					columns, err := ask(sources, &p)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range columns {
						for _, f := range c.at {
							at := slices.IndexFunc(b.Samples, func(s signal.Sample) bool {
								return s.Value != 0 && s.Delta >= 0 && s.Time == from+2*step && fits(s.Series.Desc(), c.Query, scopes(p.About)[0])
							})
							if at < 0 {
								continue
							}
							s := b.Samples[at]
							got, err := sources[0].encode(s)
							if err != nil {
								t.Fatal(err)
							}
							ours := map[meaning]float64{level: s.Value, total: s.Value, increase: s.Delta, perSec: s.Delta * 1000 / step}[f.means]
							i := slices.IndexFunc(got, func(p point) bool { return p.name == f.name && p.field == f.field })
							if i < 0 {
								continue // of the other scope
							}
							// Whole numbers are rounded.
							if tried++; math.Abs(got[i].value-ours*f.scale) > 1e-4*math.Abs(ours*f.scale)+0.5 {
								t.Errorf("%s, %s: %s is %v there, and %v here, times %v", typ, p.Title, f.name, got[i].value, ours, f.scale)
							}
						}
					}
				}
			}
		}
		if tried < 60 {
			t.Errorf("%s: %d numbers were compared", typ, tried)
		}
	}
}
