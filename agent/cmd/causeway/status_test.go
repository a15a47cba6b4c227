package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent"
	"github.com/causeway-agent/causeway/agent/collect/kube"
	"github.com/causeway-agent/causeway/agent/collect/tail"
	"github.com/causeway-agent/causeway/agent/spool"
)

// The sections of the status, in a person's words, after the way over the wire.
func TestStatusShowsWhatThereIs(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	st := agent.Status{
		Agent: agent.StatusAgent{Version: "v1", Node: "n1", Config: "agent.yaml", ConfigHash: "abc123", Active: []string{"dd"}, LastReload: ago(time.Minute), ReloadError: "x"},
		Sources: []agent.StatusSource{
			{Name: "collect/containers", State: "absent", Error: "no container runtime answers", Detail: agent.StatusContainers{From: "https://10.0.0.1:10250"}},
			{Name: "collect/kubernetes", State: "running", Detail: agent.StatusKubernetes{Status: kube.Status{
				Server: "https://10.96.0.1:443", Leader: "causeway-x", Since: ago(time.Hour), Pods: &kube.PodsStatus{Synced: true, Here: 3},
				Resources: []kube.ResourceStatus{{Resource: "nodes", Synced: true, Objects: 2, Series: 9}, {Resource: "jobs"}},
			}}},
			{Name: "collect/logs", State: "running", Items: 7, Runs: 2, Detail: agent.StatusLogs{Lines: 7, Rotations: 2, Truncations: 1, Missed: 0, Files: []tail.FileStatus{
				{Path: "/a.log", Open: true}, {Path: "/b\x1b[2J\t.log", Behind: 2048, UnreadSince: ago(3 * time.Second)},
			}}},
			{Name: "collect/prometheus", State: "running", Detail: agent.StatusScrapes{Targets: []agent.StatusTarget{
				{URL: "http://up/metrics", From: "configuration", Up: true, Samples: 5, Series: 4, TookSeconds: 0.002, LastRun: ago(2 * time.Second)},
				{URL: "http://down/metrics", From: "pod/shop/web", LastRun: ago(time.Second)},
			}}},
			{Name: "collect/probes", State: "running", Detail: agent.StatusProbes{Probes: []agent.StatusProbe{
				{Name: "shop", Target: "http://shop/", Up: true, LastRun: ago(time.Second), Expires: now.AddDate(0, 1, 0)},
			}}},
			{Name: "collect/kubernetes/pods", State: "absent", Detail: kube.Status{Absent: "this is no pod"}},
			{Name: "place", State: "running", Detail: agent.StatusPlace{State: "waiting for the metadata server since 2026-11-23T11:59:50Z"}},
		},
		Spools: []agent.StatusSpool{{Kind: "metric", Items: 1, MaxBytes: 1 << 30, FreeDisk: 5 << 30}},
		Destinations: []agent.StatusDestination{{
			LedgerRow: agent.LedgerRow{Name: "dd", Kind: "log", State: "ok", In: 5, Sent: 5}, InFlight: 2, LastSuccess: ago(4 * time.Second),
			Codes: map[string]int64{"0": 1, "202": 5, "429": 2}, Key: "c0de",
		}},
		Balanced: true, Warnings: []string{"something; do this"},
	}
	raw, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var got agent.Status
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	var w strings.Builder
	writeStatus(&w, &got, now)
	for _, want := range []string{
		`  place +waiting for the metadata server since`, `  configuration +agent.yaml \(abc123\), active: dd`, `  last reload +1m0s ago, refused`,
		`collect/kubernetes/pods +absent .* this is no pod`, `collect/containers +absent .* no container runtime answers`, `collect/logs +running +7 +2 `,
		`  API server +https://10\.96\.0\.1:443`, `  pods +all read, 3 here`, `  leader +causeway-x, since 1h0m ago`, `  caches +1 of 2 resources read, 2 objects, 9 series`,
		`  containers from +https://10\.0\.0\.1:10250`,
		`LOG FILES +OPEN +BEHIND +OLDEST UNREAD.*LINES LOST`, `2 +1 +2\.0 KiB +3s ago +7 +2 +1 +0 +0`, `  /b \[2J \.log +2\.0 KiB +3s ago +0`,
		`TARGET \(1 of 2 up\)`, `http://down/metrics +DOWN +0 +0 .*\nhttp://up/metrics +up +5 +4 +2\.0 ms +2s ago +configuration`,
		`shop +up .*2026-12-23 +http://shop/`, `metric +1 .* 5\.0 GiB`, `dd +log +ok +5 +5 +0 +0 .* 2 +4s ago +1× none, 5× 202, 2× 429 +…c0de`,
		`The ledger balances\.\n! something; do this`,
	} {
		if !regexp.MustCompile(want).MatchString(w.String()) {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() || strings.Contains(w.String(), "/a.log") {
		t.Errorf("\n%s", &w)
	}
}

func TestOnlySoManyRowsAreShown(t *testing.T) {
	if rows, more := first(make([]int, mostRows+3)); len(rows) != mostRows || !strings.Contains(more, "3 more") {
		t.Errorf("%d rows, %q", len(rows), more)
	}
	if rows, more := first(make([]int, mostRows)); len(rows) != mostRows || more != "" {
		t.Errorf("%d rows, %q", len(rows), more)
	}
}

func TestReportsOfTheSpoolAreSnakeCase(t *testing.T) {
	raw, err := json.Marshal(jsonReports(map[string]spool.Report{"log": {
		Segments: []spool.SegmentReport{{File: "a.seg", First: 1}}, Cursors: []spool.CursorReport{{Name: "dd", Books: spool.Books{Items: [spool.NFates]int64{3}}}},
		Damage: []spool.Damage{{File: "a.seg", What: "torn"}},
	}}))
	if err != nil || regexp.MustCompile(`"[A-Z][A-Za-z]*":|0001-`).Match(raw) || !strings.Contains(string(raw), `"fates":{"damaged":0,"evicted":0,`) || !strings.Contains(string(raw), `"sent":3`) {
		t.Errorf("%v: %s", err, raw)
	}
}
