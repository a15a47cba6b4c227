// Package stdout is the destination that is no vendor: it writes what would be
// sent to the agent's standard output, one item a line, for a look at what is
// collected, or for a pipe into another program.
//
// The agent makes one exporter per kind, all on the same writer, and
// exporters.Delivery drives them as it drives a vendor's.
//
// What always holds:
//
//  1. A line is whole: bodies of different kinds are written in one call each.
//  2. A writer that takes nothing is retried; what was cut off in the middle
//     of a body is begun again with the body.
//
// Bodies belong to Delivery. The package starts no goroutine. The text form is
// the notation of signal.Format, which signal.Parse reads back, with a line's
// stream before it; the JSON form is for other programs.
package stdout

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// Config is a destination of type stdout.
type Config struct {
	// Format is text (the notation of causeway once) or json.
	Format string `yaml:"format"`
}

// Default returns the configuration of an empty section.
func Default() Config { return Config{Format: "text"} }

// Check returns all complaints about c, each beginning with its key.
func (c Config) Check() error {
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("format: %q is not text or json", c.Format)
	}
	return nil
}

// Writer is where all kinds of all such destinations write: one body at a time.
type Writer struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

type exporter struct {
	name string
	kind signal.Kind
	json bool
	to   *Writer
}

// New returns the exporter of one kind. name names its cursor.
func New(name string, kind signal.Kind, c Config, to *Writer) exporters.Exporter {
	return &exporter{name, kind, c.Format == "json", to}
}

func (e *exporter) Name() string      { return e.name }
func (e *exporter) Kind() signal.Kind { return e.kind }
func (e *exporter) Target() string    { return "standard output" }

// Limits: an hour of history is no use to anybody who watches, but nothing is
// refused; one writer has no use for two requests at once.
func (e *exporter) Limits() exporters.Limits {
	return exporters.Limits{Items: 1000, InFlight: 1, Ordered: true}
}

// Encode writes items [lo, hi) of b, one a line.
func (e *exporter) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	part := b.Slice(lo, hi)
	if !e.json {
		return append(dst, signal.Format(part)...), hi, 0
	}
	line := func(v any) {
		p, err := json.Marshal(v)
		if err != nil {
			panic("BUG: " + err.Error()) // strings, maps of them and finite numbers
		}
		dst = append(append(dst, p...), '\n')
	}
	for _, s := range part.Samples {
		d := s.Series.Desc()
		m := map[string]any{"kind": "metric", "time": time.UnixMilli(s.Time).UTC(), "name": d.Name, "type": d.Type.String(), "unit": d.Unit, "labels": labels(d.Labels)}
		if s.Hist != nil {
			m["count"], m["sum"] = s.Hist.Count, number(s.Hist.Sum)
		} else {
			m["value"] = number(s.Value)
		}
		if s.Prev != 0 && s.Hist == nil {
			m["increase"], m["since"] = number(s.Delta), time.UnixMilli(s.Prev).UTC()
		}
		line(m)
	}
	for l := range part.LinesIn(0, part.Len()) {
		line(map[string]any{"kind": "log", "time": time.Unix(0, l.Time).UTC(), "level": level(l.Level), "body": string(l.Text),
			"labels": labels(signal.Merge(l.Block.Stream.Labels(), string(l.Attrs)))})
	}
	for _, v := range part.Events {
		m := map[string]any{"kind": "event", "time": time.Unix(0, v.Time).UTC(), "level": level(v.Level), "source": v.Source, "id": v.ID,
			"title": v.Title, "text": v.Text, "labels": labels(v.Labels), "count": max(v.Count, 1)}
		if v.Check != "" {
			m["check"], m["status"] = v.Check, v.Status
		}
		line(m)
	}
	return dst, hi, 0
}

// number is v, or its name where JSON has no number for it.
func number(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprint(v)
	}
	return v
}

// level is a severity, or nil where nobody stated one.
func level(l uint8) any {
	if l == signal.LevelUnknown {
		return nil
	}
	return l
}

func labels(set string) map[string]string {
	m := map[string]string{}
	for k, v := range signal.Walk(set) {
		m[k] = v
	}
	return m
}

// Send writes the body.
func (e *exporter) Send(_ context.Context, body []byte) error {
	e.to.mu.Lock()
	defer e.to.mu.Unlock()
	if _, err := e.to.w.Write(body); err != nil {
		return &exporters.Error{Class: exporters.Retry, Err: fmt.Errorf("write to standard output: %w", err)}
	}
	return nil
}
