package agent

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestExportPrintsWhatTheRunningAgentHas(t *testing.T) {
	n := startNode(t)
	if err := os.WriteFile(filepath.Join(n.dir, "x.log"), []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(k signal.Kind, since time.Time) (all []map[string]any) {
		t.Helper()
		var w bytes.Buffer
		if err := Export(&w, filepath.Join(n.dir, "data"), k, since); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(w.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil || m["kind"] != k.String() || m["time"] == nil || m["labels"] == nil {
				t.Errorf("%v: %s", err, line)
			}
			all = append(all, m)
		}
		return all
	}
	until(t, "two lines", func() bool { return len(f(signal.Log, time.Time{})) == 2 })
	if lines := f(signal.Log, time.Time{}); lines[0]["body"] != "one" || lines[1]["body"] != "two" {
		t.Errorf("%v", lines)
	}
	until(t, "the host's samples", func() bool { return len(f(signal.Metric, time.Time{})) > 100 })
	if m := f(signal.Metric, time.Time{}); m[0]["value"] == nil || m[0]["name"] == "" {
		t.Errorf("%v", m[0])
	}
	if late := f(signal.Metric, time.Now().Add(time.Hour)); len(late) != 0 {
		t.Errorf("of the future: %v", late)
	}
	if err := n.end(); err != nil {
		t.Error(err)
	}
	if lines := f(signal.Log, time.Time{}); len(lines) != 2 {
		t.Errorf("after the end: %v", lines)
	}
}

func TestOfAFrameOnlyItemsSinceAreExported(t *testing.T) {
	b, err := signal.Parse(signal.Log, "log {a=\"b\"} \"f\" 0..9\n@1 - \"x\" {}\n@5 - \"y\" {}\n@2 - \"z\" {}\n@6 - \"u\" {}\n@7 - \"v\" {}")
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]int
	for lo, hi := range runsSince(b, time.Unix(0, 5)) {
		got = append(got, [2]int{lo, hi})
	}
	if !slices.Equal(got, [][2]int{{1, 2}, {3, 5}}) {
		t.Errorf("%v", got)
	}
	for lo, hi := range runsSince(b, time.Time{}) {
		if lo != 0 || hi != 5 {
			t.Errorf("all: %d to %d", lo, hi)
		}
	}
}
