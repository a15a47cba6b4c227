package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

// serveHTTP serves h on an address of its own until the test ends.
func serveHTTP(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	addr := freeAddress(t)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ErrorLog: quiet()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends with Close
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return "http://" + addr
}

// Issue 3: kill -9 against Datadog. Every line is there; a line may be there
// again if its request was on its way at a kill, for Datadog keeps what it is
// given; of a series no reader sees anything twice or changed.
func TestKillsAgainstDatadogLoseNothing(t *testing.T) {
	t.Parallel()
	kills := either(20, 250)
	rng := rand.New(rand.NewPCG(17, 0))
	dd := ddintake.New("0123")
	n := node(t)
	n.Configure(n.Text(Plan{
		Active: []string{"dd"}, Host: time.Second,
		Destinations: []string{fmt.Sprintf("dd: {type: datadog, url: %q, api_key: \"0123\", in_flight: 4}", serveHTTP(t, dd))},
	}))
	l := newLoad(t, n.Logs, 20, rng)
	audit := Audit(n)
	var flying int64
	for range kills {
		n.Launch()
		if rng.IntN(5) > 0 {
			n.Eventually(time.Minute, "the agent is up", n.Up)
		}
		pause(t, time.Duration(rng.IntN(600))*time.Millisecond)
		n.Kill()
		flying += dd.Newest(4)
	}
	l.end()
	n.Start()
	total := sum(l.writers...)
	row := n.Settled(time.Minute, "dd", "log", total)
	lines, doubled, foreign := map[string]bool{}, int64(0), 0
	for _, log := range dd.Logs() {
		text := log["message"].(string)
		w, seq, _, ok := parseNumber(text)
		if !ok {
			foreign++
		}
		key := fmt.Sprint(w, seq)
		if lines[key] {
			doubled++
		}
		lines[key] = true
	}
	if int64(len(lines)) != total || foreign != 0 {
		t.Errorf("of %d lines %d are there, and %d that nobody wrote", total, len(lines), foreign)
	}
	if doubled > flying {
		t.Errorf("%d lines are there twice, and at most %d were in flight at the kills", doubled, flying)
	}
	if row.In != total || row.Sent != total || row.Lost() != 0 {
		t.Errorf("%d lines were written, and the ledger says %+v", total, row)
	}
	if s := dd.Series(""); len(s) == 0 || dd.Overwritten() != 0 {
		t.Errorf("of %d series %d points came again and were others", len(s), dd.Overwritten())
	}
	if r := dd.Refused(); len(r) > 0 {
		t.Errorf("%d requests broke Datadog's rules; the first: %s", len(r), r[0])
	}
	audit.Close(t)
	t.Logf("%d kills: %d lines, none lost, %d there twice (at most %d were in flight); %d series, no point changed", kills, total, doubled, flying, len(dd.Series("")))
}
