package datadog

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
)

// Each kind, and metrics in each compression, against every answer.
func TestConformance(t *testing.T) {
	// The zstd encoder makes a channel at its first use, which must not belong to a bubble.
	exporters.Pack(nil, []byte("x"), "zstd")
	run := func(name string, compression string, make func(string, Config, *http.Client) exporters.Exporter, batch func(signal.Kind, int, int) *signal.Batch) {
		t.Run(name, func(t *testing.T) {
			exporttest.Run(t, exporttest.Vendor{
				New: func(s *exporttest.Server, hc *http.Client) exporters.Exporter {
					c := Default()
					c.URL, c.APIKey, c.Compression = "http://127.0.0.1:8125", "0123abcd", compression
					c.Tags = []string{"env:test"}
					if err := c.Check(); err != nil {
						t.Fatal(err)
					}
					return make(name, c, hc)
				},
				Read:  readFor("127.0.0.1:8125"),
				Taken: exporttest.Reply{Status: http.StatusAccepted, Body: `{"errors":[]}`},
				Refuse: map[string]func(places, items []int, body []byte) (exporttest.Reply, bool){
					"400": func(places, items []int, body []byte) (exporttest.Reply, bool) {
						return exporttest.Reply{Status: http.StatusBadRequest, Body: fmt.Sprintf(`{"errors":["item %d is malformed"]}`, places[0])}, false
					},
				},
				Batch: batch,
			})
		})
	}
	run("series zstd", "zstd", Metrics, nil)
	run("series gzip", "gzip", Metrics, nil)
	run("series deflate", "deflate", Metrics, nil)
	run("points and series", "gzip", func(name string, c Config, hc *http.Client) exporters.Exporter {
		c.Distributions = "points"
		return Metrics(name, c, hc)
	}, func(kind signal.Kind, first, n int) *signal.Batch {
		b := exporttest.Batch(kind, first, n)
		for i := range b.Samples { // in runs of ten
			if s := &b.Samples[i]; i/10%2 == 0 {
				d := s.Series.Desc()
				d.Name, d.Type = "exporttest.took", signal.Dist
				s.Series, s.Start = signal.Intern(d), s.Time-1000
				s.Hist = &signal.Hist{Count: 3, Sum: 3, Min: 1, Max: 1, Exponential: true, Scale: 6, Pos: signal.Buckets{Offset: -1, Counts: []uint64{3}}}
			}
		}
		return b
	})
	run("logs zstd", "zstd", Logs, nil)
	run("logs deflate", "deflate", Logs, nil)
	run("events", "zstd", Events, nil)
	run("checks", "zstd", Events, func(kind signal.Kind, first, n int) *signal.Batch {
		b := exporttest.Batch(kind, first, n)
		for i := range b.Events {
			b.Events[i].Check, b.Events[i].Status = "exporttest.up", uint8(i%5)
		}
		return b
	})
}
