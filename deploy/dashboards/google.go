package dashboards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
	"github.com/causeway-agent/causeway/exporters/google"
)

// forGoogle draws dashboards of Cloud Monitoring: the resource Dashboard of
// monitoring.googleapis.com/v1 (cloud.google.com/monitoring/api/ref_v3/rest/v1/projects.dashboards).
type forGoogle struct {
	conf    config.Destination
	project string
	url     string
	bare    bool // a test's server: no credentials go there
}

func newGoogle(d config.Destination, o Options) (*forGoogle, error) {
	t := &forGoogle{conf: d, project: d.Google.Project, url: strings.TrimSuffix(o.URL, "/"), bare: strings.HasPrefix(o.URL, "http://")}
	if t.project == "auto" {
		t.project = o.Project
	}
	if t.project == "" {
		return nil, errors.New("project: no machine of Google's says which; set it in the configuration, or use --project")
	}
	if t.url == "" {
		t.url = "https://monitoring.googleapis.com"
	}
	return t, nil
}

// sources returns two: a host that is no node of Kubernetes is a machine of
// Google's, or another.
func (t *forGoogle) sources() []source {
	c := t.conf.Google
	c.Tags, c.Cluster, c.SystemMetrics, c.Project, c.Location = nil, "", true, "auto", "auto"
	host := mark(signal.LabelHost)
	return []source{
		{google.Metrics("googlecloud", c, google.Place{}, nil), readGoogle},
		{google.Metrics("googlecloud", c, google.Place{InstanceID: host, Node: host}, nil), readGoogle},
	}
}

// readGoogle reads a CreateTimeSeriesRequest.
func readGoogle(body []byte) ([]point, error) {
	var req monitoringpb.CreateTimeSeriesRequest
	if err := proto.Unmarshal(body, &req); err != nil {
		return nil, fmt.Errorf("google's body: %w", err)
	}
	var points []point
	for _, s := range req.TimeSeries {
		p := point{name: s.Metric.Type, resource: s.Resource.Type}
		for k, v := range s.Resource.Labels {
			p.tags = append(p.tags, tag{k, v, true})
		}
		for k, v := range s.Metric.Labels {
			p.tags = append(p.tags, tag{k, v, false})
		}
		slices.SortFunc(p.tags, func(a, b tag) int { // the resource's first
			if a.resource != b.resource {
				return strings.Compare(strconv.FormatBool(b.resource), strconv.FormatBool(a.resource))
			}
			return strings.Compare(a.key, b.key)
		})
		if len(s.Points) > 0 {
			p.value = s.Points[0].Value.GetDoubleValue()
		}
		points = append(points, p)
	}
	return points, nil
}

// Google's mosaic has 48 columns, four to one of ours, and rows half as high.
const (
	across = 48 / columns
	down   = 2
)

func (t *forGoogle) draw(d *Dashboard, asked [][][]column) (object, error) {
	var tiles []any
	add := func(at box, w object) {
		tiles = append(tiles, object{"xPos": at.x * across, "yPos": at.y * down, "width": at.w * across, "height": at.h * down, "widget": w})
	}
	y := 0
	for i := range d.Rows {
		r := &d.Rows[i]
		add(box{0, y, columns, 2}, object{"title": r.Title, "sectionHeader": object{"dividerBelow": true}})
		y += 2
		err := r.panels(asked[i], func(p *Panel, cs []column, at box) error {
			w, err := t.widget(p, cs)
			at.y += y
			add(at, w)
			return err
		})
		if err != nil {
			return nil, err
		}
		_, y = r.place(y)
	}
	return object{
		"name": "projects/" + t.project + "/dashboards/causeway-" + d.Name, "displayName": d.Title,
		"labels":           object{"causeway": ""},
		"dashboardFilters": t.filters(d, asked), "mosaicLayout": object{"columns": 48, "tiles": tiles},
	}, nil
}

// filters returns the filters above a dashboard. Google applies each to the
// charts whose data has the label.
func (t *forGoogle) filters(d *Dashboard, asked [][][]column) []any {
	filters := []any{}
	seen := map[tag]bool{}
	for _, l := range d.Variables {
		for _, row := range asked {
			for _, c := range slices.Concat(row...) {
				places := c.at
				if c.Metric == lines && strings.HasPrefix(l, "k8s.") { // the resources of containers name no host
					places = []*found{countedLines([]string{l})}
				}
				for _, f := range places {
					k, ok := f.keys[l]
					k.value = ""
					if !ok || seen[k] {
						continue
					}
					seen[k] = true
					typ := "METRIC_LABEL"
					if k.resource {
						typ = "RESOURCE_LABEL"
					}
					filters = append(filters, object{"labelKey": k.key, "filterType": typ, "stringValue": ""})
				}
			}
		}
	}
	return filters
}

func (t *forGoogle) widget(p *Panel, cs []column) (object, error) {
	w := object{"title": p.Title}
	if p.Kind == logs {
		filter, err := t.search(p.Level)
		w["logsPanel"] = object{"filter": filter, "resourceNames": []string{"projects/" + t.project}}
		return w, err
	}
	var sets []any
	for i := range cs {
		c := &cs[i]
		places := c.at
		if c.Metric == lines {
			places = []*found{countedLines(c.By)}
		}
		for _, f := range places {
			set := object{"timeSeriesQuery": t.query(p, c, f), "minAlignmentPeriod": "60s"}
			switch p.Kind {
			case value:
				set["sparkChartView"] = object{"sparkChartType": "SPARK_LINE"}
				delete(set, "minAlignmentPeriod")
				w["scorecard"] = set
				return w, nil // a scorecard has one query
			case timeseries:
				set["plotType"], set["targetAxis"] = "LINE", "Y1"
				set["legendTemplate"] = t.legend(p, c, f)
			case table, toplist:
				set["tableTemplate"] = p.label(c.Query)
				set["timeSeriesQuery"].(object)["outputFullDuration"] = true
			}
			sets = append(sets, set)
		}
	}
	switch p.Kind {
	case timeseries:
		w["xyChart"] = object{"dataSets": sets, "yAxis": object{"scale": "LINEAR"}, "chartOptions": object{"mode": "COLOR"}}
	case table:
		w["timeSeriesTable"] = object{"dataSets": sets, "metricVisualization": "NUMBER"}
	case toplist:
		w["timeSeriesTable"] = object{"dataSets": sets, "metricVisualization": "BAR"}
	}
	return w, nil
}

// countedLines is where the number of lines is: Cloud Logging counts the
// entries that it gets (cloud.google.com/monitoring/api/metrics_gcp, logging).
func countedLines(by []string) *found {
	f := &found{point: point{name: "logging.googleapis.com/log_entry_count"}, means: total, scale: 1, keys: map[string]tag{}}
	for _, l := range by {
		f.keys[l] = tag{key: short(l) + "_name", resource: true}
		if l == lineLevel {
			f.keys[l] = tag{key: "severity"}
		}
	}
	return f
}

func (t *forGoogle) query(p *Panel, c *column, f *found) object {
	where := []string{`metric.type="` + f.name + `"`}
	if f.resource != "" {
		where = append(where, `resource.type="`+f.resource+`"`)
	}
	for _, g := range f.fixed {
		where = append(where, full(g)+"="+strconv.Quote(g.value))
	}
	a := object{"alignmentPeriod": "60s", "perSeriesAligner": "ALIGN_MEAN"}
	if f.means == total {
		a["perSeriesAligner"] = "ALIGN_RATE"
	}
	a["crossSeriesReducer"] = map[string]string{"sum": "REDUCE_SUM", "avg": "REDUCE_MEAN", "max": "REDUCE_MAX", "min": "REDUCE_MIN"}[c.Agg]
	var by []string
	for _, l := range c.By {
		by = append(by, full(f.keys[l]))
	}
	if by != nil {
		a["groupByFields"] = by
	}
	filter := object{"filter": strings.Join(where, " "), "aggregation": a}
	if p.Kind == toplist {
		filter["pickTimeSeriesFilter"] = object{"rankingMethod": "METHOD_LATEST", "numTimeSeries": 10, "direction": "TOP"}
	}
	u, _ := unitOf(p.Unit)
	return object{"timeSeriesFilter": filter, "unitOverride": u.google}
}

// full returns the name of a label in filters.
func full(t tag) string {
	if t.resource {
		return "resource.label." + strconv.Quote(t.key)
	}
	return "metric.label." + strconv.Quote(t.key)
}

func (t *forGoogle) legend(p *Panel, c *column, f *found) string {
	legend := p.label(c.Query)
	for _, l := range c.By {
		k := f.keys[l]
		of := "metric"
		if k.resource {
			of = "resource"
		}
		legend += " ${" + of + ".labels." + k.key + "}"
	}
	return legend
}

// search returns the filter for our lines of a severity and graver ones.
func (t *forGoogle) search(least string) (string, error) {
	if least == "" {
		return `severity>=DEFAULT`, nil
	}
	c := t.conf.Google
	c.Tags, c.Project, c.Logs, c.ContainerLogs = nil, t.project, true, "true"
	all, err := words(google.Logs("googlecloud", c, google.Place{}, nil), slices.Index(levels(), least), severityIn)
	if err != nil {
		return "", err
	}
	return "severity>=" + all[len(all)-1], nil
}

// severityIn returns the name of the severity of the line in a
// WriteLogEntriesRequest.
func severityIn(body []byte) (string, error) {
	var req loggingpb.WriteLogEntriesRequest
	if err := proto.Unmarshal(body, &req); err != nil || len(req.Entries) != 1 {
		return "", fmt.Errorf("no entry in google's body: %w", err)
	}
	return req.Entries[0].Severity.String(), nil
}

func (t *forGoogle) client(ctx context.Context) (*http.Client, error) {
	c, err := client(t.conf)
	if err != nil || t.bare {
		return c, err
	}
	opts := []option.ClientOption{option.WithScopes("https://www.googleapis.com/auth/cloud-platform")}
	if file := t.conf.Google.Credentials; file != "" {
		kind, err := credentialsType(file)
		if err != nil {
			return nil, err
		}
		opts = append(opts, option.WithAuthCredentialsFile(kind, file))
	}
	rt, err := htransport.NewTransport(ctx, c.Transport, opts...)
	if err != nil {
		return nil, fmt.Errorf("google's credentials: %w", err)
	}
	c.Transport = rt
	return c, nil
}

// credentialsType reads from a key file which of Google's sorts it is. Those
// that may run a program are not taken.
func credentialsType(file string) (option.CredentialsType, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("credentials_file: %w", err)
	}
	var key struct {
		Type option.CredentialsType `json:"type"`
	}
	if json.Unmarshal(p, &key) != nil || !slices.Contains([]option.CredentialsType{
		option.ServiceAccount, option.AuthorizedUser, option.ImpersonatedServiceAccount, option.ExternalAccount}, key.Type) {
		return "", fmt.Errorf("credentials_file: %s is no key of Google's that can be used", file) // its text may hold the key
	}
	return key.Type, nil
}
