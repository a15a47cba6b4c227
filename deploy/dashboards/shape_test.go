package dashboards

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/monitoring/dashboard/apiv1/dashboardpb"
	"google.golang.org/protobuf/encoding/protojson"
)

// render returns a dashboard of each name for a product.
func render(t *testing.T, typ string, each func(name string, p []byte)) {
	t.Helper()
	v := target(t, destination(typ))
	for _, name := range Names() {
		p, err := v.Render(load(t, name))
		if err != nil {
			t.Error(err)
			continue
		}
		each(name, p)
	}
}

// strict decodes JSON into v, which must know every key.
func strict(p []byte, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(p)))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// overlap complains of the first two boxes that overlap, or one that is wider
// than the grid.
func overlap(boxes []box, width int) error {
	for i, a := range boxes {
		if a.x < 0 || a.y < 0 || a.w <= 0 || a.h <= 0 || a.x+a.w > width {
			return fmt.Errorf("%+v does not fit %d columns", a, width)
		}
		for _, b := range boxes[:i] {
			if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
				return fmt.Errorf("%+v and %+v overlap", a, b)
			}
		}
	}
	return nil
}

func TestGoogleTakesTheShape(t *testing.T) {
	render(t, "googlecloud", func(name string, p []byte) {
		var d dashboardpb.Dashboard
		if err := protojson.Unmarshal(p, &d); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if d.Name != "projects/my-project/dashboards/causeway-"+name {
			t.Errorf("%s: name %q", name, d.Name)
		}
		if len(d.DashboardFilters) == 0 {
			t.Errorf("%s: no filters", name)
		}
		var boxes []box
		for _, tile := range d.GetMosaicLayout().GetTiles() {
			boxes = append(boxes, box{int(tile.XPos), int(tile.YPos), int(tile.Width), int(tile.Height)})
			if n := len(tile.Widget.GetXyChart().GetDataSets()); n > 50 { // the editor's limit of queries in a chart
				t.Errorf("%s, %s: %d queries", name, tile.Widget.Title, n)
			}
		}
		if err := overlap(boxes, int(d.GetMosaicLayout().GetColumns())); err != nil || len(boxes) < 4 {
			t.Errorf("%s: %d tiles: %v", name, len(boxes), err)
		}
	})
}

// datadogBoard is what we use of the body of POST /api/v1/dashboard
// (docs.datadoghq.com/api/latest/dashboards, read 2026-11).
type datadogBoard struct {
	Title             string `json:"title"`
	Description       string `json:"description"`
	LayoutType        string `json:"layout_type"`
	TemplateVariables []struct {
		Name     string   `json:"name"`
		Prefix   string   `json:"prefix"`
		Defaults []string `json:"defaults"`
	} `json:"template_variables"`
	Widgets []struct {
		Definition struct {
			Type       string `json:"type"`
			LayoutType string `json:"layout_type"`
			Title      string `json:"title"`
			ShowTitle  bool   `json:"show_title"`
			Widgets    []struct {
				Definition json.RawMessage `json:"definition"`
				Layout     struct {
					X      int `json:"x"`
					Y      int `json:"y"`
					Width  int `json:"width"`
					Height int `json:"height"`
				} `json:"layout"`
			} `json:"widgets"`
		} `json:"definition"`
	} `json:"widgets"`
}

type datadogWidget struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Autoscale    bool   `json:"autoscale"`
	Precision    int    `json:"precision"`
	ShowLegend   bool   `json:"show_legend"`
	LegendLayout string `json:"legend_layout"`
	Requests     []struct {
		ResponseFormat string `json:"response_format"`
		DisplayType    string `json:"display_type"`
		Style          struct {
			Palette string `json:"palette"`
		} `json:"style"`
		Queries []struct {
			Name       string `json:"name"`
			DataSource string `json:"data_source"`
			Query      string `json:"query"`
			Aggregator string `json:"aggregator"`
			Compute    struct {
				Aggregation string `json:"aggregation"`
			} `json:"compute"`
			Search struct {
				Query string `json:"query"`
			} `json:"search"`
			Indexes []string `json:"indexes"`
			GroupBy []struct {
				Facet string `json:"facet"`
				Limit int    `json:"limit"`
				Sort  struct {
					Aggregation string `json:"aggregation"`
					Order       string `json:"order"`
				} `json:"sort"`
			} `json:"group_by"`
		} `json:"queries"`
		Formulas []struct {
			Formula      string `json:"formula"`
			Alias        string `json:"alias"`
			NumberFormat struct {
				Unit struct {
					Type        string `json:"type"`
					UnitName    string `json:"unit_name"`
					PerUnitName string `json:"per_unit_name"`
				} `json:"unit"`
			} `json:"number_format"`
		} `json:"formulas"`
		Sort struct {
			Count   int `json:"count"`
			OrderBy []struct {
				Type  string `json:"type"`
				Index int    `json:"index"`
				Order string `json:"order"`
			} `json:"order_by"`
		} `json:"sort"`
	} `json:"requests"`

	// log_stream
	Query             string   `json:"query"`
	Indexes           []string `json:"indexes"`
	Columns           []string `json:"columns"`
	MessageDisplay    string   `json:"message_display"`
	ShowDateColumn    bool     `json:"show_date_column"`
	ShowMessageColumn bool     `json:"show_message_column"`
	Sort              struct {
		Column string `json:"column"`
		Order  string `json:"order"`
	} `json:"sort"`
}

func TestDatadogTakesTheShape(t *testing.T) {
	render(t, "datadog", func(name string, p []byte) {
		var d datadogBoard
		if err := strict(p, &d); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if !strings.HasSuffix(d.Description, "[causeway:"+name+"]") || d.Title == "" || d.LayoutType != "ordered" {
			t.Errorf("%s: %q, %q, %s", name, d.Title, d.Description, d.LayoutType)
		}
		for _, g := range d.Widgets {
			var boxes []box
			for _, w := range g.Definition.Widgets {
				boxes = append(boxes, box{w.Layout.X, w.Layout.Y, w.Layout.Width, w.Layout.Height})
				var def datadogWidget
				if err := strict(w.Definition, &def); err != nil {
					t.Errorf("%s: %v in %s", name, err, w.Definition)
				}
				for _, r := range def.Requests {
					if len(r.Queries) == 0 || len(r.Queries) != len(r.Formulas) {
						t.Errorf("%s, %s: %d queries and %d formulas", name, def.Title, len(r.Queries), len(r.Formulas))
					}
					if (r.ResponseFormat == "timeseries") != (def.Type == "timeseries") {
						t.Errorf("%s, %s: %s in a %s", name, def.Title, r.ResponseFormat, def.Type)
					}
				}
			}
			if err := overlap(boxes, columns); err != nil {
				t.Errorf("%s, %s: %v", name, g.Definition.Title, err)
			}
		}
	})
}

// newrelicBoard is NerdGraph's DashboardInput as far as we use it
// (docs.newrelic.com/docs/apis/nerdgraph/examples/nerdgraph-dashboards, read 2026-11).
type newrelicBoard struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Permissions string `json:"permissions"`
	Variables   []struct {
		Name                string `json:"name"`
		Title               string `json:"title"`
		Type                string `json:"type"`
		IsMultiSelection    bool   `json:"isMultiSelection"`
		ReplacementStrategy string `json:"replacementStrategy"`
		DefaultValues       []struct {
			Value struct {
				String string `json:"string"`
			} `json:"value"`
		} `json:"defaultValues"`
		NRQLQuery struct {
			AccountIDs []int64 `json:"accountIds"`
			Query      string  `json:"query"`
		} `json:"nrqlQuery"`
	} `json:"variables"`
	Pages []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Widgets     []struct {
			Title         string `json:"title"`
			Visualization struct {
				ID string `json:"id"`
			} `json:"visualization"`
			Layout struct {
				Column int `json:"column"`
				Row    int `json:"row"`
				Width  int `json:"width"`
				Height int `json:"height"`
			} `json:"layout"`
			RawConfiguration struct {
				Text        string `json:"text"`
				NRQLQueries []struct {
					AccountIDs []int64 `json:"accountIds"`
					Query      string  `json:"query"`
				} `json:"nrqlQueries"`
				PlatformOptions struct {
					IgnoreTimeRange bool `json:"ignoreTimeRange"`
				} `json:"platformOptions"`
				Units struct {
					Unit string `json:"unit"`
				} `json:"units"`
				Legend struct {
					Enabled bool `json:"enabled"`
				} `json:"legend"`
			} `json:"rawConfiguration"`
		} `json:"widgets"`
	} `json:"pages"`
}

func TestNewRelicTakesTheShape(t *testing.T) {
	render(t, "newrelic", func(name string, p []byte) {
		var d newrelicBoard
		if err := strict(p, &d); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if len(d.Pages) != 1 || d.Permissions != "PUBLIC_READ_WRITE" {
			t.Errorf("%s: %d pages, %s", name, len(d.Pages), d.Permissions)
			return
		}
		var boxes []box
		for _, w := range d.Pages[0].Widgets {
			l := w.Layout
			boxes = append(boxes, box{l.Column - 1, l.Row - 1, l.Width, l.Height})
			if (len(w.RawConfiguration.NRQLQueries) == 0) != (w.Visualization.ID == "viz.markdown") {
				t.Errorf("%s, %s: %d queries in a %s", name, w.Title, len(w.RawConfiguration.NRQLQueries), w.Visualization.ID)
			}
			for _, q := range w.RawConfiguration.NRQLQueries {
				if err := nrql(q.Query); err != nil || len(q.AccountIDs) != 1 || q.AccountIDs[0] != 7 {
					t.Errorf("%s, %s: %v, accounts %d\n%s", name, w.Title, err, q.AccountIDs, q.Query)
				}
			}
		}
		if err := overlap(boxes, columns); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// nrql looks for what NerdGraph refuses a query for: quotes and brackets that
// do not pair, more than five facets, more than 4096 characters.
func nrql(q string) error {
	if len(q) > 4096 {
		return fmt.Errorf("%d characters", len(q))
	}
	depth, quote := 0, byte(0)
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '`':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return fmt.Errorf("a bracket too many at %d", i)
			}
		}
	}
	if depth != 0 || quote != 0 {
		return fmt.Errorf("%d brackets are open, and quote %q", depth, quote)
	}
	for _, m := range nrqlFacet.FindAllStringSubmatch(q, -1) {
		if n := strings.Count(m[1], ",") + 1; n > 5 {
			return fmt.Errorf("%d facets", n)
		}
	}
	return nil
}

func TestGrafanaPanelsDoNotOverlap(t *testing.T) {
	render(t, "influxdb", func(name string, p []byte) {
		var d struct {
			UID    string
			Panels []struct {
				ID      int
				GridPos struct{ X, Y, W, H int }
			}
		}
		if err := json.Unmarshal(p, &d); err != nil {
			t.Fatal(err)
		}
		var boxes []box
		for i, w := range d.Panels {
			boxes = append(boxes, box{w.GridPos.X, w.GridPos.Y, w.GridPos.W, w.GridPos.H})
			if w.ID != i+1 {
				t.Errorf("%s: panel %d has id %d", name, i, w.ID)
			}
		}
		if err := overlap(boxes, 24); err != nil || d.UID != "causeway-"+name || len(d.UID) > 40 { // Grafana's limit of a uid
			t.Errorf("%s, uid %s: %v", name, d.UID, err)
		}
	})
}
