package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent"
)

// look is a status after so many seconds, at ten items a second from source to vendor.
func look(started time.Time, seconds int64) agent.Status {
	return agent.Status{
		Agent:        agent.StatusAgent{Version: "v1", Node: "n1", Started: started, UptimeSeconds: float64(seconds)},
		Sources:      []agent.StatusSource{{Name: "collect/logs", State: "running", Runs: 1, Items: 10 * seconds, Failures: 2}, {Name: "server", State: "running"}},
		Spools:       []agent.StatusSpool{{Kind: "log", Items: 1000 + 10*seconds, Bytes: 2048, MaxBytes: 4096}},
		Destinations: []agent.StatusDestination{{LedgerRow: agent.LedgerRow{Name: "dd", Kind: "log", State: "retrying", Sent: 500 + 10*seconds, Waiting: 7, LagSeconds: 3, LastError: strings.Repeat("x", 80), Dropped: map[string]int64{"refused": 4}}, PackedBytes: 100 * seconds, Failures: 9}},
		Balanced:     true, Warnings: []string{"1", "2", "3", "4", "5", "6", "7"},
	}
}

func TestTopShowsWhatASecondBrought(t *testing.T) {
	started := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f := func(was, now agent.Status, want ...string) {
		t.Helper()
		var w strings.Builder
		writeTop(&w, &was, &now)
		for _, re := range want {
			if !regexp.MustCompile(re).MatchString(w.String()) {
				t.Errorf("no %s in\n%s", re, &w)
			}
		}
		if strings.Contains(w.String(), "server") {
			t.Errorf("what runs nothing has a row:\n%s", &w)
		}
	}
	f(look(started, 10), look(started, 12), `causeway v1 on n1, up 12s; the ledger balances; 7 warnings`, `collect/logs +running +10\.0 +120 +2 `,
		`log +10\.0 +2\.0 KiB +4\.0 KiB`, `dd +log +retrying +10\.0 +620 +7 +3s +100\.0 +9 +4 refused +x{59}…`, `! 5\n! and 2 more: causeway status\n$`)
	f(look(started, 100), look(started.Add(time.Hour), 5), `collect/logs +running +10\.0 +50 `, `log +0\.0 +2\.0 KiB`, `dd +log +retrying +0\.0 +550`)
}

func TestTopOnceEndsByItself(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(look(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), asked.Add(1)))
	}))
	defer server.Close()
	code, out, errs := call(t, strings.Replace(good, "127.0.0.1:1", strings.TrimPrefix(server.URL, "http://"), 1), "top", "--once")
	if code != 0 || asked.Load() != 2 || !strings.Contains(out, "collect/logs  running  10.0") || strings.Contains(out, "\x1b") {
		t.Error(fmt.Sprint(code, asked.Load()), out, errs)
	}
	if code, _, errs := call(t, good, "top"); code != 1 || !strings.Contains(errs, "no agent answers") {
		t.Errorf("%d %s", code, errs)
	}
}
