package dashboards

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
)

func TestEveryDefinitionHasAName(t *testing.T) {
	files, err := fs.Glob(definitions, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, n := range Names() {
		want = append(want, n+".yaml")
	}
	slices.Sort(want)
	if !slices.Equal(files, want) {
		t.Errorf("files %v, names %v", files, want)
	}
	if _, err := Load("none"); err == nil || !strings.Contains(err.Error(), "there are host, containers") {
		t.Errorf("a name that there is not: %v", err)
	}
}

func TestDefinitionsAreChecked(t *testing.T) {
	const good = "title: T\ndescription: D\nabout: host\nrows: [{title: R, panels: [{title: P, kind: KIND, QUERIES}]}]\n"
	f := func(panel, complaint string) {
		t.Helper()
		kind, rest, _ := strings.Cut(panel, ", ")
		_, err := parse("x", []byte(strings.NewReplacer("KIND", kind, "QUERIES", rest).Replace(good)))
		switch {
		case complaint == "" && err != nil:
			t.Errorf("%s: %v", panel, err)
		case complaint != "" && (err == nil || !strings.Contains(err.Error(), complaint)):
			t.Errorf("%s: %v, want one with %q", panel, err, complaint)
		}
	}
	f("timeseries, unit: count, queries: [{metric: m, agg: sum}]", "")
	f("pie, unit: count, queries: [{metric: m, agg: sum}]", "kind: must be")
	f("timeseries, unit: miles, queries: [{metric: m, agg: sum}]", `unit: "miles"`)
	f("timeseries, unit: count, queries: [{agg: sum}]", "metric: is required")
	f("timeseries, unit: count, queries: [{metric: m, agg: p99}]", "agg: must be")
	f("timeseries, unit: count, queries: [{metric: m, agg: avg, rate: true}]", "agg: must be sum")
	f("timeseries, unit: count, queries: [{metric: m, agg: sum, colour: red}]", "colour")
	f("timeseries, unit: count, width: 13, queries: [{metric: m, agg: sum}]", "width: must be")
	f("timeseries, unit: count, about: the weather, queries: [{metric: m, agg: sum}]", "about:")
	f("timeseries, unit: count, queries: [{metric: m, agg: sum}, {metric: n, agg: sum}]", "name: is required")
	f("value, unit: count, queries: [{metric: m, agg: sum, by: [host.name]}]", "a value is one number")
	f("toplist, unit: count, queries: [{metric: m, agg: sum}]", "by: a toplist needs a label")
	f("table, unit: count, queries: [{name: a, metric: m, agg: sum, by: [x]}, {name: b, metric: n, agg: sum, by: [y]}]", "same for each column")
	f("timeseries, unit: count, queries: [{metric: m, agg: max, once: [x]}]", "once: is for sums")
	f("logs, level: error", "")
	f("logs, level: loud", "level: must be")
	f("logs, unit: count", "a level and no queries")
}

// A label or a metric that a vendor does not get is named, and no dashboard made.
func TestWhatDoesNotArriveIsAnError(t *testing.T) {
	f := func(typ, query, words string) {
		t.Helper()
		text := "title: T\ndescription: D\nabout: host\nrows: [{title: R, panels: [{title: P, kind: timeseries, unit: count, queries: [" + query + "]}]}]\n"
		d, err := parse("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target(t, destination(typ)).Render(d); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s, %s: %v, want one with %q", typ, query, err, words)
		}
	}
	f("datadog", "{metric: system.disk.io, agg: sum, rate: true, filter: {disk.io.direction: read}, by: [disk.io.direction]}", `panel "P"`)
	f("influxdb", "{metric: system.memory.usage, agg: sum, by: [system.memory.state]}", "system.memory.state")
}
