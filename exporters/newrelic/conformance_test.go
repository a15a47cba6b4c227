package newrelic

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

// Each kind by both APIs, and in each compression, against every answer.
func TestConformance(t *testing.T) {
	// The zstd encoder makes a channel at its first use, which must not belong to a bubble.
	exporters.Pack(nil, []byte("x"), "zstd")
	const host = "127.0.0.1:4318"
	run := func(name, api, compression, path string, make func(string, Config, *http.Client) exporters.Exporter, change func(*Config)) {
		t.Run(name, func(t *testing.T) {
			c := config(api)
			c.URL, c.Compression, c.Tags = "http://"+host, compression, []string{"env:test"}
			if change != nil {
				change(&c)
			}
			if err := c.Check(); err != nil {
				t.Fatal(err)
			}
			v := exporttest.Vendor{
				New:    func(s *exporttest.Server, hc *http.Client) exporters.Exporter { return make(name, c, hc) },
				Read:   readFor(host, path),
				Taken:  exporttest.Reply{Status: http.StatusAccepted, Body: `{"requestId":"x"}`},
				Refuse: map[string]func(places, items []int, body []byte) (exporttest.Reply, bool){"400": refuseWhole},
			}
			if strings.HasPrefix(path, "/v1/m") || path == "/v1/logs" {
				v.Taken = exporttest.Reply{Status: http.StatusOK, Type: "application/x-protobuf"}
				v.Refuse["partial success"] = refuseSome
			}
			exporttest.Run(t, v)
		})
	}
	run("metrics sdk", "sdk", "gzip", "/metric/v1", Metrics, nil)
	run("metrics otlp gzip", "otlp", "gzip", "/v1/metrics", Metrics, nil)
	run("metrics otlp zstd", "otlp", "zstd", "/v1/metrics", Metrics, nil)
	run("logs sdk", "sdk", "zstd", "/log/v1", Logs, nil)
	run("logs otlp", "otlp", "gzip", "/v1/logs", Logs, nil)
	run("events sdk", "sdk", "gzip", "/v1/accounts/events", Events, nil)
	run("events of an account", "otlp", "zstd", "/v1/accounts/12345/events", Events, func(c *Config) { c.AccountID = 12345 })
	run("events otlp", "otlp", "gzip", "/v1/logs", Events, nil)
}

func refuseWhole(places, items []int, body []byte) (exporttest.Reply, bool) {
	return exporttest.Reply{Status: http.StatusBadRequest, Body: fmt.Sprintf(`{"error":"item %d is malformed"}`, places[0])}, false
}

// refuseSome is a PartialSuccess: the number of what was rejected, and why.
func refuseSome(places, items []int, body []byte) (exporttest.Reply, bool) {
	p := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), uint64(len(places)))
	p = protowire.AppendString(protowire.AppendTag(p, 2, protowire.BytesType), "malformed")
	p = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), p)
	return exporttest.Reply{Status: http.StatusOK, Type: "application/x-protobuf", Body: string(p)}, true
}

// readFor checks request and body, and returns the numbers of its items.
func readFor(host, path string) func(r *http.Request, body []byte) ([]int, error) {
	return func(r *http.Request, body []byte) (items []int, err error) {
		in := nrintake.Intake{Now: time.Now()} // of the bubble
		otlp := strings.HasPrefix(path, "/v1/m") || path == "/v1/logs"
		want, agent := "application/json", "NewRelic-Go-TelemetrySDK/"
		if otlp {
			want, agent = "application/x-protobuf", "causeway"
		}
		encoding := r.Header.Get("Content-Encoding")
		if r.Method != http.MethodPost || r.URL.Path != path || r.Host != host || r.Header.Get("Api-Key") != "0123abcd" || r.Header.Get("Content-Type") != want ||
			r.ContentLength <= 0 || r.ContentLength > 1_000_000 || !strings.HasPrefix(r.UserAgent(), agent) || encoding != "gzip" && (!otlp || encoding != "zstd") {
			return nil, fmt.Errorf("%s %s %s %v, %d bytes", r.Method, r.Host, r.URL, r.Header, r.ContentLength)
		}
		add := func(text any) {
			s, _ := text.(string)
			n, e := exporttest.Number(s)
			items, err = append(items, n), errors.Join(err, e)
		}
		var bad []error
		var metrics []nrintake.Metric
		var logs []nrintake.Log
		var events []nrintake.Event
		switch {
		case path == "/metric/v1":
			metrics, bad, err = in.Metrics(body)
		case path == "/v1/metrics":
			metrics, bad, err = in.OTLPMetrics(body)
		case path == "/log/v1":
			logs, bad, err = in.Logs(body)
		case path == "/v1/logs":
			logs, events, bad, err = in.OTLPLogs(body)
		default:
			events, bad, err = in.Events(body)
		}
		for _, m := range metrics {
			add(m.Attributes["n"])
		}
		for _, l := range logs {
			add(l.Message)
		}
		for _, e := range events {
			add(e.Attributes["title"])
		}
		return items, errors.Join(err, errors.Join(bad...))
	}
}

// The whole way to the stand-in that others use: queue, delivery, HTTP.
func TestDeliveredToTheIntake(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		for _, make := range []func(string, Config, *http.Client) exporters.Exporter{Metrics, Logs, Events} {
			s := &nrintake.Server{Key: "0123abcd", Account: "7", Clock: time.Now}
			c, hc := served(t, s)
			c.API, c.AccountID = api, 7
			e := make("n", c, hc)
			b := exporttest.Batch(e.Kind(), 0, 300)
			body, _, _ := e.Encode(nil, b, 0, b.Len())
			if err := e.(sender).Send(t.Context(), exporters.Pack(nil, body, e.Limits().Encoding)); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Metrics()) + len(s.Logs()) + len(s.Events()); n != 300 || len(s.Errors()) != 0 {
				t.Errorf("%s %v: %d of 300, %v", api, e.Kind(), n, s.Errors())
			}
		}
	}
}
