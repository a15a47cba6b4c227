// Package ddintake is a Datadog that takes nothing that the documentation says
// it refuses, cuts or changes (docs.datadoghq.com/api/latest: metrics, logs,
// events, service-checks), and keeps books of what it took.
//
// The tests of exporters/datadog read bodies with an Intake and its limits; the
// tests of the whole agent start a Server, deliver to it, and ask it what a
// reader of Datadog's data would see.
//
// What always holds:
//
//  1. A body with one item that Datadog would refuse is refused whole, as
//     Datadog does; what is cut or changed silently there is an error here.
//  2. The last point of a series and time wins, and is counted once
//     (docs.datadoghq.com/metrics/custom_metrics/historical_metrics).
//  3. Nothing here is shared with the exporter: another's JSON decoder reads
//     what ours wrote.
//
// A Server's methods may be called from anywhere; its handlers run in
// net/http's goroutines. The package knows nothing of retries, and does not
// draw, aggregate or query.
package ddintake

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Intake reads bodies as Datadog documents them.
type Intake struct {
	Now time.Time // zero: ages are not looked at
}

// Point is one series of a body of /api/v2/series, with its one point.
type Point struct {
	Metric    string   `json:"metric"`
	Type      int      `json:"type"`
	Interval  *int64   `json:"interval"`
	Unit      *string  `json:"unit"`
	Tags      []string `json:"tags"`
	Resources []struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"resources"`
	Points []struct {
		Timestamp *int64   `json:"timestamp"`
		Value     *float64 `json:"value"`
	} `json:"points"`
}

var (
	goodName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.]{0,199}$`)
	goodTag  = regexp.MustCompile(`^\p{L}[\p{L}\p{Nd}_\-./]*:[\p{L}\p{Nd}_\-:./]*[\p{L}\p{Nd}\-./]$`)
)

// CheckTags complains of tags that Datadog would change or drop, or that come twice.
func CheckTags(tags []string) error {
	if len(tags) > 100 {
		return fmt.Errorf("%d tags", len(tags))
	}
	seen := map[string]bool{}
	for _, t := range tags {
		if !goodTag.MatchString(t) || utf8.RuneCountInString(t) > 200 || strings.ToLower(t) != t || strings.Contains(t, "__") {
			return fmt.Errorf("tag %q", t)
		}
		if strings.HasPrefix(t, "host:") || seen[t] {
			return fmt.Errorf("tag %q is twice there, or overrules the host", t)
		}
		seen[t] = true
	}
	return nil
}

// GoodName reports whether Datadog takes a metric's name as it is.
func GoodName(name string) bool { return goodName.MatchString(name) }

// strict decodes JSON and refuses fields nobody knows.
func strict(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errors.New("no UTF-8")
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one value")
	}
	return nil
}

func (in Intake) age(at time.Time, past, future time.Duration) error {
	if d := in.Now.Sub(at); !in.Now.IsZero() && (d > past || d < -future) {
		return fmt.Errorf("of %v ago", d)
	}
	return nil
}

// Series reads a body of /api/v2/series.
func (in Intake) Series(body []byte) ([]Point, error) {
	var m struct {
		Series []Point `json:"series"`
	}
	if err := strict(body, &m); err != nil {
		return nil, err
	}
	if len(body) > 5_242_880 || len(m.Series) == 0 {
		return nil, fmt.Errorf("%d bytes, %d series", len(body), len(m.Series))
	}
	for _, s := range m.Series {
		err := CheckTags(s.Tags)
		if err == nil && (len(s.Points) != 1 || s.Points[0].Timestamp == nil || s.Points[0].Value == nil) {
			err = errors.New("has no point")
		}
		if err == nil {
			err = in.age(time.Unix(*s.Points[0].Timestamp, 0), time.Hour, 10*time.Minute)
		}
		for _, r := range s.Resources {
			if r.Type != "host" || r.Name == "" || len(r.Name) > 255 {
				err = errors.New("has no good host")
			}
		}
		if !GoodName(s.Metric) || s.Type != 1 && s.Type != 3 || s.Interval != nil && (s.Type != 1 || *s.Interval < 1) {
			err = errors.New("has no good name, type or interval")
		}
		if err != nil {
			return nil, fmt.Errorf("series %+v: %w", s, err)
		}
	}
	return m.Series, nil
}

// Values is one series of a body of /api/v1/distribution_points.
type Values struct {
	Metric string
	Host   string
	Tags   []string
	Time   int64 // Unix seconds
	Values []float64
}

// Distributions reads a body of /api/v1/distribution_points.
func (in Intake) Distributions(body []byte) (list []Values, err error) {
	var m struct {
		Series []struct {
			Metric string               `json:"metric"`
			Type   string               `json:"type"`
			Host   string               `json:"host"`
			Tags   []string             `json:"tags"`
			Points [][2]json.RawMessage `json:"points"`
		} `json:"series"`
	}
	if err := strict(body, &m); err != nil {
		return nil, err
	}
	if len(body) > 5_242_880 || len(m.Series) == 0 {
		return nil, fmt.Errorf("%d bytes, %d series", len(body), len(m.Series))
	}
	for _, s := range m.Series {
		v := Values{Metric: s.Metric, Host: s.Host, Tags: s.Tags}
		err := CheckTags(s.Tags)
		switch {
		case err != nil:
		case !goodName.MatchString(s.Metric) || s.Type != "distribution" || len(s.Points) != 1:
			err = errors.New("has no good name or type, or no point")
		default:
			err = errors.Join(json.Unmarshal(s.Points[0][0], &v.Time), json.Unmarshal(s.Points[0][1], &v.Values))
		}
		if err == nil && len(v.Values) == 0 {
			err = errors.New("has no values")
		}
		if err == nil {
			err = in.age(time.Unix(v.Time, 0), time.Hour, 10*time.Minute)
		}
		if err != nil {
			return nil, fmt.Errorf("series %s: %w", s.Metric, err)
		}
		list = append(list, v)
	}
	return list, nil
}

// Logs reads a body of /api/v2/logs.
func (in Intake) Logs(body []byte) ([]map[string]any, error) {
	var raw []json.RawMessage
	if err := strict(body, &raw); err != nil {
		return nil, err
	}
	if len(body) > 5_000_000 || len(raw) == 0 || len(raw) > 1000 {
		return nil, fmt.Errorf("%d bytes, %d logs", len(body), len(raw))
	}
	var items []map[string]any
	for _, r := range raw {
		var l map[string]any
		if err := json.Unmarshal(r, &l); err != nil {
			return nil, err
		}
		if _, ok := l["message"].(string); !ok || len(r) > 1_000_000 {
			return nil, fmt.Errorf("log of %d bytes with message %.20v", len(r), l["message"])
		}
		at, ok := l["timestamp"].(float64)
		if !ok {
			return nil, fmt.Errorf("timestamp %v", l["timestamp"])
		}
		if err := in.age(time.UnixMilli(int64(at)), 18*time.Hour, time.Hour); err != nil {
			return nil, err
		}
		switch l["status"] {
		case nil, "emergency", "alert", "critical", "error", "warning", "notice", "info", "debug":
		default:
			return nil, fmt.Errorf("status %v", l["status"])
		}
		if tags, ok := l["ddtags"].(string); ok {
			if err := CheckTags(strings.Split(tags, ",")); err != nil {
				return nil, err
			}
		}
		items = append(items, l)
	}
	return items, nil
}

// Event is a body of /api/v1/events.
type Event struct {
	Title  *string  `json:"title"`
	Text   *string  `json:"text"`
	Date   int64    `json:"date_happened"`
	Host   string   `json:"host"`
	Key    string   `json:"aggregation_key"`
	Source string   `json:"source_type_name"`
	Alert  string   `json:"alert_type"`
	Tags   []string `json:"tags"`
}

// Event reads a body of /api/v1/events.
func (in Intake) Event(body []byte) (Event, error) {
	var e Event
	if err := strict(body, &e); err != nil {
		return e, err
	}
	if e.Title == nil || e.Text == nil || *e.Title == "" || *e.Text == "" || len(*e.Title) > 500 || len(*e.Text) > 4000 || len(e.Key) > 100 || len(e.Host) > 255 {
		return e, fmt.Errorf("event %.300q", body)
	}
	switch e.Alert {
	case "error", "warning", "info", "success":
	default:
		return e, fmt.Errorf("alert_type %q", e.Alert)
	}
	return e, errors.Join(CheckTags(e.Tags), in.age(time.Unix(e.Date, 0), 18*time.Hour, time.Hour))
}

// Check is one item of a body of /api/v1/check_run.
type Check struct {
	Timestamp int64    `json:"timestamp"`
	Check     string   `json:"check"`
	Status    int      `json:"status"`
	Host      *string  `json:"host_name"`
	Message   string   `json:"message"`
	Tags      []string `json:"tags"`
}

// Checks reads a body of /api/v1/check_run.
func (in Intake) Checks(body []byte) ([]Check, error) {
	var list []Check
	if err := strict(body, &list); err != nil {
		return nil, err
	}
	for _, c := range list {
		if !GoodName(c.Check) || c.Status < 0 || c.Status > 3 || c.Host == nil || c.Tags == nil {
			return nil, fmt.Errorf("check %+v", c)
		}
		if err := errors.Join(CheckTags(c.Tags), in.age(time.Unix(c.Timestamp, 0), 10*time.Minute, 10*time.Minute)); err != nil {
			return nil, err
		}
	}
	return list, nil
}
