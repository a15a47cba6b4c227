package google

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
)

// gke is a node of a cluster, and gce a machine without one.
var (
	gke = Place{Project: "my-project", Location: "europe-west1", Zone: "europe-west1-b", Cluster: "prod", Instance: "gke-prod-1", InstanceID: "4711", Node: "n1"}
	gce = Place{Project: "my-project", Zone: "europe-west1-b", Instance: "vm-1", InstanceID: "4712", Node: "vm-1"}
)

func parse(t testing.TB, kind signal.Kind, text string) *signal.Batch {
	t.Helper()
	b, err := signal.Parse(kind, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// intake starts a Google and returns a configuration for it, and a client.
func intake(t testing.TB, change func(*Config)) (*gcpintake.Server, Config, *Client) {
	t.Helper()
	s, err := gcpintake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Project = "my-project"
	s.Now = func() time.Time { return time.Unix(1700000020, 0) }
	c := Default()
	c.URL, c.LogsURL = s.Addr(), s.Addr()
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	client := NewClient(c, exporters.HTTP{})
	t.Cleanup(func() { client.Close() })
	return s, c, client
}

// send encodes and sends all of b and returns how many items were skipped.
func send(t testing.TB, e exporters.Exporter, b *signal.Batch) (skipped int) {
	t.Helper()
	for lo := 0; lo < b.Len(); {
		body, next, n := e.Encode(nil, b, lo, b.Len())
		if next <= lo {
			t.Fatalf("item %d fits no request", lo)
		}
		if n < next-lo {
			if err := e.Send(t.Context(), exporters.Pack(nil, body, e.Limits().Encoding)); err != nil {
				t.Fatal(err)
			}
		}
		lo, skipped = next, skipped+n
	}
	return skipped
}

func TestCheckNamesTheKey(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Check()
		if (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", func(*Config) {})
	f("", func(c *Config) { c.Project = "my-project-123456" })
	f("", func(c *Config) { c.Project = "example.com:my-project" })
	f("", func(c *Config) { c.Project = "123456789012" })
	f("project: ", func(c *Config) { c.Project = "" })
	f("project: ", func(c *Config) { c.Project = "My Project" })
	f("project: ", func(c *Config) { c.Project = "projects/p" })
	f("location: ", func(c *Config) { c.Location = "" })
	f("cluster: ", func(c *Config) { c.Cluster = "projects/p/locations/l/clusters/c" })
	f("", func(c *Config) { c.URL, c.LogsURL = "monitoring.example.com:443", "http://[::1]:8080" })
	f("url: must be without http://", func(c *Config) { c.URL = "http://monitoring.example.com:80" })
	f("url: must be host:port", func(c *Config) { c.URL = "https://monitoring.googleapis.com" })
	f("url: must be host:port", func(c *Config) { c.URL = "monitoring.googleapis.com" })
	f("logs_url: must be host:port", func(c *Config) { c.LogsURL = "http://u:p@127.0.0.1:80" })
	f("prefix: ", func(c *Config) { c.Prefix = "external" })
	f("container_logs: ", func(c *Config) { c.ContainerLogs = "" })
	f("compression: ", func(c *Config) { c.Compression = "zstd" })
	f("in_flight: ", func(c *Config) { c.InFlight = 0 })
	f("timeout: ", func(c *Config) { c.Timeout = time.Millisecond })
	f("spacing: ", func(c *Config) { c.Spacing = -1 })
	f("tags[1]: ", func(c *Config) { c.Tags = []string{"a:b", "a"} })
	c := Default()
	c.Prefix, c.Timeout = "", 0
	if err := c.Check(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two mistakes are told as %v", err)
	}
}

func TestWithoutProjectNothingIsLost(t *testing.T) {
	_, c, client := intake(t, nil)
	b := parse(t, signal.Metric, `a{host.name="h"} gauge 1 1 @1700000010000`)
	e := Metrics("m", c, Place{}, client)
	body, _, _ := e.Encode(nil, b, 0, 1)
	var x *exporters.Error
	if err := e.Send(t.Context(), body); !errors.As(err, &x) || x.Class != exporters.Hold || !strings.Contains(err.Error(), "set project") {
		t.Errorf("%v", err)
	}
}

func TestPointsArrive(t *testing.T) {
	for _, compression := range []string{"gzip", ""} {
		s, c, client := intake(t, func(c *Config) { c.Compression = compression })
		e := Metrics("m", c, gce, client)
		if n := send(t, e, parse(t, signal.Metric, `a.b{host.name="vm-1",x="y"} gauge By 1.5 @1700000010000`)); n != 0 {
			t.Error("skipped", n)
		}
		p := s.Points()
		want := `workload.googleapis.com/a.b{x="y"} gce_instance{instance_id="4712",zone="europe-west1-b"}`
		if len(p) != 1 || p[0].Key != want || p[0].Series.GetPoints()[0].GetValue().GetDoubleValue() != 1.5 || p[0].Series.GetUnit() != "By" {
			t.Errorf("%q: stored %v, refused %v", compression, p, s.Refused())
		}
	}
}
