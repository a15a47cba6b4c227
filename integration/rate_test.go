package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// taking is a Datadog that takes everything and looks at nothing, so that it
// takes no part of the CPU that is measured.
type taking struct{}

func (taking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"errors":[]}`)
}

// Issue 6: 10,000 lines a second of 50 containers, parsed, redacted, on disk, and
// to Datadog: at most 5 % of a core and 60 MiB. The long form holds the agent to
// it; the short one measures and delivers.
func TestTenThousandLinesASecond(t *testing.T) {
	t.Parallel()
	const files = 50
	length := either(3*time.Second, time.Minute)
	n := node(t)
	var open []*os.File
	for i := range files {
		dir := filepath.Join(n.Pods, fmt.Sprintf("shop_shop-%02d_%08d-0000-4000-8000-000000000000", i, i), "app")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, "0.log"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		open = append(open, f)
	}
	n.Configure(n.Text(Plan{
		Active:       []string{"dd"},
		Destinations: []string{fmt.Sprintf("dd: {type: datadog, url: %q, api_key: \"0123\"}", serveHTTP(t, taking{}))},
	}))
	n.Start()
	written := int64(0)
	line := func() string {
		written++
		now := time.Now().UTC().Format(time.RFC3339Nano)
		return fmt.Sprintf("%s stdout F {\"ts\":%q,\"level\":\"info\",\"msg\":\"request served\",\"path\":\"/api/v1/items/%d\",\"status\":200,\"took_ms\":%d,\"user\":\"u-%04d\",\"pad\":%q}\n",
			now, now, written%1000, written%77, written%10_000, strings.Repeat("x", 60))
	}
	second := func() { // a hundred strokes, each of two lines in every file
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range 100 {
			<-tick.C
			for _, f := range open {
				if _, err := f.WriteString(strings.Join([]string{line(), line()}, "")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	second() // warm
	var rss []int64
	began, before, first := time.Now(), n.CPU(), written
	for time.Since(began) < length {
		second()
		rss = append(rss, n.RSS())
	}
	used, took := n.CPU()-before, time.Since(began)
	row := n.Settled(largest, "dd", "log", written)
	if row.Sent != written || row.Lost() != 0 {
		t.Errorf("%d lines were written, and the ledger says %+v", written, row)
	}
	share, most := 100*used.Seconds()/took.Seconds(), slices.Max(rss)>>20
	if long() && (share > 5 || most > 60) {
		t.Errorf("%.1f %% of a core and %d MiB, of at most 5 and 60", share, most)
	}
	t.Logf("%.0f lines a second: %.1f %% of a core, %d MiB", float64(written-first)/took.Seconds(), share, most)
}
