package google

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Unix(1700000020, 0)

// golden compares messages with their file, one a line as compact JSON.
func golden[M proto.Message](t *testing.T, name string, requests ...[]M) {
	t.Helper()
	var w bytes.Buffer
	for i, r := range requests {
		fmt.Fprintf(&w, "# request %d\n", i+1)
		for _, m := range r {
			p, err := protojson.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Compact(&w, p); err != nil {
				t.Fatal(err)
			}
			w.WriteByte('\n')
		}
	}
	file := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(file, w.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("%s differs (go test -update rewrites it):\n%s", file, w.Bytes())
	}
}

func file(t *testing.T, kind signal.Kind, name string) *signal.Batch {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, kind, string(text))
}

// series encodes all of a batch, checks each request, and returns its series.
func series(t testing.TB, e exporters.Exporter, b *signal.Batch) (requests [][]*monitoringpb.TimeSeries, skipped int) {
	t.Helper()
	for lo := 0; lo < b.Len(); {
		body, next, n := e.Encode([]byte("before"), b, lo, b.Len())
		if next <= lo {
			t.Fatalf("item %d fits no request", lo)
		}
		if n < next-lo {
			var r monitoringpb.CreateTimeSeriesRequest
			if err := proto.Unmarshal(body[len("before"):], &r); err != nil {
				t.Fatal(err)
			}
			if err := gcpintake.CheckRequest(&r); err != nil {
				t.Error(err)
			}
			for _, ts := range r.GetTimeSeries() {
				if err := gcpintake.CheckSeries(ts, now); err != nil {
					t.Errorf("%v: %v", err, ts)
				}
			}
			items := itemsOf(body[len("before"):])
			if len(items) != len(r.GetTimeSeries()) || itemCount(items) != next-lo-n {
				t.Errorf("%d series of %d items: itemsOf says %v", len(r.GetTimeSeries()), next-lo-n, items)
			}
			requests = append(requests, r.GetTimeSeries())
		} else if len(body) != len("before") {
			t.Errorf("all skipped, and %d bytes written", len(body)-len("before"))
		}
		lo, skipped = next, skipped+n
	}
	return requests, skipped
}

// entries does the same for lines and events.
func entries(t testing.TB, e exporters.Exporter, b *signal.Batch) (list []*loggingpb.LogEntry, skipped int) {
	t.Helper()
	body, next, skipped := e.Encode(nil, b, 0, b.Len())
	if next != b.Len() {
		t.Errorf("%d of %d", next, b.Len())
	}
	var r loggingpb.WriteLogEntriesRequest
	if err := proto.Unmarshal(body, &r); err != nil {
		t.Fatal(err)
	}
	for _, entry := range r.GetEntries() {
		if err := gcpintake.CheckEntry(entry, now); err != nil {
			t.Errorf("%v: %.500v", err, entry)
		}
	}
	if len(r.GetEntries()) != b.Len()-skipped || len(body) > 0 && !r.GetPartialSuccess() {
		t.Errorf("%d entries of %d, %d skipped; partial success %v", len(r.GetEntries()), b.Len(), skipped, r.GetPartialSuccess())
	}
	return r.GetEntries(), skipped
}

func tagged(prefix string) Config {
	c := Default()
	c.Prefix, c.Tags = prefix, []string{"team:node", "tier:1"}
	return c
}

func TestGolden(t *testing.T) {
	for name, f := range map[string]struct {
		conf    Config
		place   Place
		skipped int
	}{
		"metrics-gke":        {tagged("workload"), gke, 6},
		"metrics-gce":        {tagged("custom"), gce, 5},
		"metrics-prometheus": {tagged("prometheus"), gke, 6},
	} {
		requests, skipped := series(t, Metrics("m", f.conf, f.place, nil), file(t, signal.Metric, "metrics"))
		if skipped != f.skipped {
			t.Errorf("%s: %d skipped, want %d", name, skipped, f.skipped)
		}
		golden(t, name, requests...)
	}
	c := tagged("workload")
	c.ContainerLogs = "true"
	lines, _ := entries(t, Logs("l", c, gke, nil), file(t, signal.Log, "logs"))
	golden(t, "logs", lines)
	list, _ := entries(t, Events("e", c, gke, nil), file(t, signal.Event, "events"))
	golden(t, "events", list)
}

func TestShowIsReadable(t *testing.T) {
	b := parse(t, signal.Metric, `a{host.name="h"} gauge 1 1 @1700000010000`)
	e := Metrics("m", Default(), gce, nil).(*metrics)
	body, _, _ := e.Encode(nil, b, 0, 1)
	if got := e.Show(body); !strings.Contains(got, "\n      \"metric\": {\n        \"type\": \"workload.googleapis.com/a\"\n      }") {
		t.Error(got)
	}
	if got := e.Show([]byte("\xff")); !strings.Contains(got, "no request") {
		t.Error(got)
	}
	if got := Logs("l", Default(), gce, nil).(*logs).Target(); got != "logging.googleapis.com:443/google.logging.v2.LoggingServiceV2/WriteLogEntries" {
		t.Error(got)
	}
}
