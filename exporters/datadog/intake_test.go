package datadog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/exporters/exporttest"
)

// intake is a Datadog that takes nothing that the documentation says it
// refuses, cuts or changes. It returns what identifies each item, in order.
type intake struct {
	now time.Time // zero: ages are not looked at
}

type point struct {
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

func checkTags(tags []string) error {
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

func (in intake) age(at time.Time, past, future time.Duration) error {
	if d := in.now.Sub(at); !in.now.IsZero() && (d > past || d < -future) {
		return fmt.Errorf("of %v ago", d)
	}
	return nil
}

// series reads a body of /api/v2/series.
func (in intake) series(body []byte) ([]point, error) {
	var m struct {
		Series []point `json:"series"`
	}
	if err := strict(body, &m); err != nil {
		return nil, err
	}
	if len(body) > 5_242_880 || len(m.Series) == 0 {
		return nil, fmt.Errorf("%d bytes, %d series", len(body), len(m.Series))
	}
	for _, s := range m.Series {
		err := checkTags(s.Tags)
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
		if !goodName.MatchString(s.Metric) || s.Type != 1 && s.Type != 3 || s.Interval != nil && (s.Type != 1 || *s.Interval < 1) {
			err = errors.New("has no good name, type or interval")
		}
		if err != nil {
			return nil, fmt.Errorf("series %+v: %w", s, err)
		}
	}
	return m.Series, nil
}

// logs reads a body of /api/v2/logs.
func (in intake) logs(body []byte) ([]map[string]any, error) {
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
			if err := checkTags(strings.Split(tags, ",")); err != nil {
				return nil, err
			}
		}
		items = append(items, l)
	}
	return items, nil
}

type event struct {
	Title  *string  `json:"title"`
	Text   *string  `json:"text"`
	Date   int64    `json:"date_happened"`
	Host   string   `json:"host"`
	Key    string   `json:"aggregation_key"`
	Source string   `json:"source_type_name"`
	Alert  string   `json:"alert_type"`
	Tags   []string `json:"tags"`
}

// event reads a body of /api/v1/events.
func (in intake) event(body []byte) (event, error) {
	var e event
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
	return e, errors.Join(checkTags(e.Tags), in.age(time.Unix(e.Date, 0), 18*time.Hour, time.Hour))
}

type check struct {
	Timestamp int64    `json:"timestamp"`
	Check     string   `json:"check"`
	Status    int      `json:"status"`
	Host      *string  `json:"host_name"`
	Message   string   `json:"message"`
	Tags      []string `json:"tags"`
}

// checks reads a body of /api/v1/check_run.
func (in intake) checks(body []byte) ([]check, error) {
	var list []check
	if err := strict(body, &list); err != nil {
		return nil, err
	}
	for _, c := range list {
		if !goodName.MatchString(c.Check) || c.Status < 0 || c.Status > 3 || c.Host == nil || c.Tags == nil {
			return nil, fmt.Errorf("check %+v", c)
		}
		if err := errors.Join(checkTags(c.Tags), in.age(time.Unix(c.Timestamp, 0), 10*time.Minute, 10*time.Minute)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// read checks request and body, and returns the numbers of its items.
func (in intake) read(site string) func(r *http.Request, body []byte) ([]int, error) {
	return func(r *http.Request, body []byte) (items []int, err error) {
		in := intake{time.Now()} // of the bubble
		if r.Method != http.MethodPost || r.Header.Get("Dd-Api-Key") != "0123abcd" || r.Header.Get("Content-Type") != "application/json" || r.Host != site {
			return nil, fmt.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
		}
		add := func(text string) {
			n, e := exporttest.Number(text)
			items, err = append(items, n), errors.Join(err, e)
		}
		encoding := r.Header.Get("Content-Encoding")
		switch r.URL.Path {
		case "/api/v2/series":
			if r.ContentLength > 512_000 || encoding != "gzip" && encoding != "zstd1" && encoding != "deflate" {
				return nil, fmt.Errorf("%d bytes packed as %q", r.ContentLength, encoding)
			}
			series, err := in.series(body)
			if err != nil {
				return nil, err
			}
			for _, s := range series {
				for _, t := range s.Tags {
					if text, ok := strings.CutPrefix(t, "n:"); ok {
						add(text)
					}
				}
			}
		case "/api/v2/logs":
			if encoding != "gzip" && encoding != "deflate" {
				return nil, fmt.Errorf("packed as %q", encoding)
			}
			list, err := in.logs(body)
			if err != nil {
				return nil, err
			}
			for _, l := range list {
				add(l["message"].(string))
			}
		case "/api/v1/events":
			if encoding != "" {
				return nil, fmt.Errorf("packed as %q", encoding)
			}
			e, err := in.event(body)
			if err != nil {
				return nil, err
			}
			add(*e.Title)
		case "/api/v1/check_run":
			list, err := in.checks(body)
			if err != nil {
				return nil, err
			}
			for _, c := range list {
				add(c.Message)
			}
		default:
			return nil, fmt.Errorf("no such place: %s", r.URL.Path)
		}
		return items, err
	}
}
