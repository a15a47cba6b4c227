package dashboards

import (
	"bytes"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What docker-compose and the offline installation load into Grafana.
func TestGrafanaGolden(t *testing.T) {
	v := target(t, destination("influxdb"))
	for _, name := range Names() {
		got, err := v.Render(load(t, name))
		if err != nil {
			t.Error(err)
			continue
		}
		file := "grafana/" + name + ".json"
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("differs from %s (%v): make golden, and look at the difference", file, err)
		}
	}
}

func TestEveryDashboardRendersForEveryProduct(t *testing.T) {
	for _, typ := range types() {
		for _, name := range Names() {
			v := target(t, destination(typ))
			once, err := v.Render(load(t, name))
			if err != nil {
				t.Errorf("%s: %v", typ, err)
				continue
			}
			if again, _ := v.Render(load(t, name)); !bytes.Equal(once, again) {
				t.Errorf("%s %s: differs from one time to the next", typ, name)
			}
		}
	}
}
