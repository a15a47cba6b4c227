// Package nrintake is a New Relic that takes nothing that its documentation
// says it refuses, drops, cuts or overwrites, and keeps books of what it took:
// Metric, Log and Event API, OTLP over HTTP, and the rules by which entities
// are made of OTLP metrics.
//
// The tests of exporters/newrelic read bodies with an Intake; the tests of the
// whole agent start a Server, deliver to it, and ask it what a query would find
// and which hosts, pods and containers New Relic would show.
//
// What always holds:
//
//  1. A body whose structure is wrong is refused with 400. An item that breaks a
//     limit is what New Relic drops without a word to the sender: the answer is a
//     yes all the same, and the item is in Errors, like an NrIntegrationError.
//  2. Whatever would be cut or overwritten there is an error here.
//  3. Nothing here is shared with the exporter: encoding/json, OpenTelemetry's
//     own types and the standard library's gzip read what ours wrote.
//  4. Counts add up: an item that comes twice is there twice.
//
// A Server may be used from anywhere; its handler runs in net/http's goroutines.
// The package does not answer queries, and of NerdGraph it knows one question.
package nrintake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// Intake reads bodies as New Relic documents them. Each method returns what it
// would keep; bad are the items that it would drop, and err says that the body
// as a whole is refused.
type Intake struct {
	Now time.Time // zero: ages are not looked at
}

// Metric is one data point as a query finds it.
type Metric struct {
	Name       string
	Type       string         // gauge, count, summary; OTLP: gauge, count, histogram, exponential
	Value      float64        `json:",omitempty"`
	Count      float64        `json:",omitempty"` // summary and histograms
	Sum        float64        `json:",omitempty"`
	Min, Max   *float64       `json:",omitempty"`
	Time       int64          // ms; where the interval begins
	Interval   int64          `json:",omitempty"` // ms
	Unit       string         `json:",omitempty"`
	Bounds     []float64      `json:",omitempty"` // histogram
	Counts     []uint64       `json:",omitempty"` // histogram; exponential: of the positive buckets
	Scale      int32          `json:",omitempty"` // exponential
	Offset     int32          `json:",omitempty"`
	Exemplars  []Exemplar     `json:",omitempty"` // histogram and exponential
	Attributes map[string]any // those of the group, too, and newrelic.source
}

// Exemplar is one value of a distribution and its trace, in hexadecimal.
type Exemplar struct {
	Value       float64
	Time        int64          `json:",omitempty"` // ms
	Trace, Span string         `json:",omitempty"`
	Attributes  map[string]any `json:",omitempty"`
}

// Log is one line as a query finds it.
type Log struct {
	Time       int64 // ms
	Message    string
	Attributes map[string]any
}

// Event is one event as a query finds it.
type Event struct {
	Type       string
	Time       int64 // ms
	Attributes map[string]any
}

// Limits: docs.newrelic.com, metric-api-limits-restricted-attributes (older
// copies: 100 attributes), introduction-log-api, introduction-event-api,
// opentelemetry-otlp (4095 characters); read 2026-11.
const (
	mostBody        = 1_000_000
	mostMetricAttrs = 100
	mostAttrs       = 255
	mostKey         = 255
	mostValue       = 4095
	mostMessage     = 128 << 10
	mostAge         = 48 * time.Hour
	mostFuture      = 24 * time.Hour
)

var (
	goodKey       = regexp.MustCompile(`^[A-Za-z0-9:._]+$`)
	goodEventType = regexp.MustCompile(`^[A-Za-z0-9:_ ]{1,255}$`)
)

// Metrics reads a body of /metric/v1.
func (in Intake) Metrics(body []byte) (good []Metric, bad []error, err error) {
	type common struct {
		Timestamp  *int64         `json:"timestamp"`
		Interval   *int64         `json:"interval.ms"`
		Attributes map[string]any `json:"attributes"`
	}
	var groups []struct {
		Common  common `json:"common"`
		Metrics []struct {
			common
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Value json.RawMessage `json:"value"`
		} `json:"metrics"`
	}
	if err := decode(body, &groups); err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		if g.Metrics == nil {
			return nil, nil, errors.New("a group without metrics")
		}
		for i := range g.Metrics {
			m := &g.Metrics[i]
			p := Metric{Name: m.Name, Type: m.Type, Attributes: union(g.Common.Attributes, m.Attributes)}
			if p.Type == "" {
				p.Type = "gauge"
			}
			e := in.stamp(&p.Time, first(m.Timestamp, g.Common.Timestamp))
			if ms := first(m.Interval, g.Common.Interval); p.Type != "gauge" {
				if ms == nil || *ms <= 0 {
					e = errors.Join(e, errors.New("interval.ms is required"))
				} else {
					p.Interval = *ms
				}
			}
			e = errors.Join(e, p.read(m.Value), metricAttributes(p.Name, p.Attributes))
			if e != nil {
				bad = append(bad, fmt.Errorf("metric %q: %w", p.Name, e))
				continue
			}
			p.Attributes["newrelic.source"] = "metricAPI" // whatever was there
			good = append(good, p)
		}
	}
	return good, bad, nil
}

// read reads the value of a metric of the Metric API.
func (p *Metric) read(value json.RawMessage) error {
	switch p.Type {
	case "gauge", "count":
		if err := json.Unmarshal(value, &p.Value); err != nil || string(value) == "null" {
			return fmt.Errorf("value %s is no number", value)
		}
		if p.Type == "count" && p.Value < 0 {
			return fmt.Errorf("a count of %v", p.Value)
		}
		return nil
	case "summary":
		var s struct {
			Count *float64 `json:"count"`
			Sum   *float64 `json:"sum"`
			Min   *float64 `json:"min"`
			Max   *float64 `json:"max"`
		}
		if err := decode(value, &s); err != nil {
			return err
		}
		if s.Count == nil || s.Sum == nil || *s.Count < 0 {
			return errors.New("a summary has count and sum")
		}
		p.Count, p.Sum, p.Min, p.Max = *s.Count, *s.Sum, s.Min, s.Max
		return nil
	}
	return fmt.Errorf("type %q", p.Type)
}

// Logs reads a body of /log/v1, in its detailed form.
func (in Intake) Logs(body []byte) (good []Log, bad []error, err error) {
	var groups []struct {
		Common struct {
			Timestamp  *int64         `json:"timestamp"`
			Attributes map[string]any `json:"attributes"`
		} `json:"common"`
		Logs []struct {
			Timestamp  *int64         `json:"timestamp"`
			Message    *string        `json:"message"`
			Attributes map[string]any `json:"attributes"`
		} `json:"logs"`
	}
	if err := decode(body, &groups); err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		for i := range g.Logs {
			l := Log{Attributes: union(g.Common.Attributes, g.Logs[i].Attributes)}
			if g.Logs[i].Message == nil {
				return nil, nil, errors.New("a log without message")
			}
			l.Message = *g.Logs[i].Message
			e := in.stamp(&l.Time, first(g.Logs[i].Timestamp, g.Common.Timestamp))
			if len(l.Message) > mostMessage {
				e = errors.Join(e, fmt.Errorf("a message of %d bytes", len(l.Message)))
			}
			if e = errors.Join(e, attributes(l.Attributes, mostAttrs, "timestamp", "message")); e != nil {
				bad = append(bad, fmt.Errorf("log %.40q: %w", l.Message, e))
				continue
			}
			l.Attributes["newrelic.source"] = "api.logs"
			good = append(good, l)
		}
	}
	return good, bad, nil
}

// Events reads a body of /v1/accounts/N/events.
func (in Intake) Events(body []byte) (good []Event, bad []error, err error) {
	var list []map[string]any
	if err := decode(body, &list); err != nil {
		return nil, nil, err
	}
	for _, attrs := range list {
		ev := Event{Attributes: attrs}
		ev.Type, _ = attrs["eventType"].(string)
		at, ok := attrs["timestamp"].(float64)
		ms := int64(at)
		e := in.stamp(&ev.Time, &ms)
		if !ok {
			e = errors.New("no timestamp")
		}
		delete(attrs, "eventType")
		delete(attrs, "timestamp")
		if !goodEventType.MatchString(ev.Type) {
			e = errors.Join(e, fmt.Errorf("eventType %q", ev.Type))
		}
		if e = errors.Join(e, attributes(attrs, mostAttrs-2, "accountId", "appId")); e != nil {
			bad = append(bad, fmt.Errorf("event %q: %w", ev.Type, e))
			continue
		}
		good = append(good, ev)
	}
	return good, bad, nil
}

// stamp reads a time, in milliseconds.
func (in Intake) stamp(to, ms *int64) error {
	if ms == nil {
		return errors.New("no timestamp")
	}
	*to = *ms
	if in.Now.IsZero() {
		return nil
	}
	if age := in.Now.Sub(time.UnixMilli(*ms)); age > mostAge || age < -mostFuture {
		return fmt.Errorf("timestamp %d is %v old", *ms, age)
	}
	return nil
}

// metricAttributes checks the attributes of a metric of the Metric API.
func metricAttributes(name string, attrs map[string]any) error {
	if n := utf8.RuneCountInString(name); n == 0 || n > mostKey {
		return fmt.Errorf("a name of %d characters", n)
	}
	err := attributes(attrs, mostMetricAttrs, name, "interval.ms", "timestamp", "value", "common", "min", "max", "count", "sum", "metrics")
	for k := range attrs {
		if !goodKey.MatchString(k) {
			err = errors.Join(err, fmt.Errorf("key %q", k))
		}
	}
	return err
}

// attributes checks what holds for all attributes; none may be called like one
// of not, or be what New Relic overwrites.
func attributes(attrs map[string]any, most int, not ...string) error {
	var errs []error
	if len(attrs) > most {
		errs = append(errs, fmt.Errorf("%d attributes", len(attrs)))
	}
	for _, k := range append(not, "newrelic.source", "entity.guid", "entity.name", "entity.type") {
		if _, is := attrs[k]; is {
			errs = append(errs, fmt.Errorf("key %q is reserved", k))
		}
	}
	for k, v := range attrs {
		if n := utf8.RuneCountInString(k); n == 0 || n > mostKey {
			errs = append(errs, fmt.Errorf("a key of %d characters", n))
		}
		switch v := v.(type) {
		case string:
			if n := utf8.RuneCountInString(v); n > mostValue {
				errs = append(errs, fmt.Errorf("%s: a value of %d characters", k, n))
			}
		case float64, bool:
		default:
			errs = append(errs, fmt.Errorf("%s: a value of type %T", k, v))
		}
	}
	return errors.Join(errs...)
}

// decode reads JSON strictly: known fields, UTF-8, no key twice, nothing behind it.
func decode(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errors.New("no UTF-8")
	}
	if err := twice(json.NewDecoder(bytes.NewReader(body))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something behind the end")
	}
	return nil
}

// twice reads one value and complains of a key that comes twice in an object.
func twice(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			k, err := d.Token()
			if err != nil {
				return err
			}
			if key := k.(string); seen[key] {
				return fmt.Errorf("key %q comes twice", key)
			}
			seen[k.(string)] = true
		}
		if err := twice(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func first[T any](list ...*T) *T {
	for _, p := range list {
		if p != nil {
			return p
		}
	}
	return nil
}

// union returns both maps in one; over counts.
func union(base, over map[string]any) map[string]any {
	m := map[string]any{}
	for k, v := range base {
		m[k] = v
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

// String returns what of a metric a person wants to see.
func (p Metric) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s @%d", p.Name, p.Type, p.Time)
	if p.Interval != 0 {
		fmt.Fprintf(&s, " for %d", p.Interval)
	}
	switch p.Type {
	case "gauge", "count":
		fmt.Fprintf(&s, " %v", p.Value)
	default:
		fmt.Fprintf(&s, " count %v sum %v", p.Count, p.Sum)
	}
	return s.String()
}
