package integration

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
	"github.com/causeway-agent/causeway/exporters/exporttest/gcpintake"
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

// work is a program that counts what it does, and shows it as Prometheus has it:
// each page says more than the one before, by a number of its own.
type work struct {
	mu    sync.Mutex
	total int64 // guarded by mu
	pages int   // guarded by mu
	born  int64 // Unix s, said where it is not 0: an OpenMetrics page
	idle  bool  // guarded by mu: it does no more
}

func (w *work) ServeHTTP(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pages++; w.pages > 1 && !w.idle { // who sees it first sees it at 0, so that every increase has a page before it
		w.total += int64(w.pages)
	}
	if w.born != 0 {
		rw.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		fmt.Fprintf(rw, "# TYPE proof_work counter\nproof_work_total %d\nproof_work_created %d\n# EOF\n", w.total, w.born)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(rw, "# TYPE proof_work_total counter\nproof_work_total %d\n", w.total)
}

// seen returns how many pages were asked for.
func (w *work) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pages
}

// rest makes it do no more; it returns all that it did.
func (w *work) rest() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = true
	return w.total
}

// watching starts the agent once, and returns when a first line has gone all the
// way: what is rotated away before an agent has ever looked is not its to read.
func watching(n *Node, dest string) *Writer {
	n.Helper()
	w := NewWriter(n, n.Logs, "first")
	w.Write(1)
	n.Start()
	n.Settled(largest, dest, "log", 1)
	n.Kill()
	return w
}

// killed starts the agent again and again and kills it at random moments; each
// is called after each kill. At the end it runs, and has scraped what does shows.
func killed(t *testing.T, n *Node, does *work, kills int, rng *rand.Rand, each func()) {
	t.Helper()
	for range kills {
		n.Launch()
		if rng.IntN(5) > 0 {
			n.Eventually(time.Minute, "the agent is up", n.Up)
		}
		life := time.Duration(rng.IntN(900)) * time.Millisecond
		if rng.IntN(3) == 0 {
			life *= 3 // more than one page is scraped
		}
		pause(t, life)
		n.Kill()
		each()
	}
	n.Start()
	seen := does.seen()
	n.Eventually(largest, "pages are scraped again", func() bool { return does.seen() > seen+2 })
}

// Issue 3: kill -9 against Datadog. Every line is there; a line may be there
// again if its request was on its way at a kill, for Datadog keeps what it is
// given. Of series nothing is there twice, and the increases of a counter add up
// to all that was counted, over all restarts.
func TestKillsAgainstDatadogLoseNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(17, 0))
	dd, does, n := ddintake.New("0123"), &work{}, node(t)
	n.Configure(n.Text(Plan{
		Active: []string{"dd"}, Host: time.Second, Scrape: serveHTTP(t, does) + "/metrics",
		Destinations: []string{fmt.Sprintf("dd: {type: datadog, url: %q, api_key: \"0123\", in_flight: 4, names: otel}", serveHTTP(t, dd))},
	}))
	first := watching(n, "dd")
	l := newLoad(t, n, 20, rng)
	l.writers = append(l.writers, first)
	audit := Audit(n)
	var flying int64
	kills := either(20, 250)
	killed(t, n, does, kills, rng, func() { flying += dd.Newest(4) })
	l.end()
	total, done := sum(l.writers...), does.rest()
	row := n.Settled(largest, "dd", "log", total)
	var counted float64
	n.Eventually(largest, "the increases add up", func() bool {
		counted = 0
		for _, s := range dd.Series("proof_work_total") {
			for _, v := range s.Points {
				counted += v
			}
		}
		return counted >= float64(done)
	})
	if done == 0 || counted != float64(done) {
		t.Errorf("%d pieces of work were done, and Datadog has %v", done, counted)
	}
	lines, doubled, foreign := map[string]bool{}, int64(0), 0
	for _, log := range dd.Logs() {
		w, seq, _, ok := parseNumber(log["message"].(string))
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
	if dd.Overwritten() != 0 {
		t.Errorf("%d counts came again for the same second and were others", dd.Overwritten())
	}
	if r := dd.Refused(); len(r) > 0 {
		t.Errorf("%d requests broke Datadog's rules; the first: %s", len(r), r[0])
	}
	audit.Close(t)
	t.Logf("%d kills: %d lines, none lost, %d there twice (at most %d were in flight); the increases add up to %v of %d in %d series",
		kills, total, doubled, flying, counted, done, len(dd.Series("")))
}

// Issue 3: kill -9 against Google. A reader of the log sees every line once, in
// each stream's order; a counter's total is the program's.
func TestKillsAgainstGoogleShowEachLineOnce(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(19, 0))
	gcp, err := gcpintake.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gcp.Close)
	// Its beginning is known, so that a point that Google refuses as too near
	// to the one before costs nothing: the next has the same total, and more.
	does, n := &work{born: time.Now().Unix() - 60}, node(t)
	n.Configure(n.Text(Plan{
		Active: []string{"gcp"}, Host: 5 * time.Second, Scrape: serveHTTP(t, does) + "/metrics",
		Destinations: []string{fmt.Sprintf("gcp: {type: googlecloud, project: my-project, location: global, url: %q, logs_url: %q}", gcp.Addr(), gcp.Addr())},
	}))
	first := watching(n, "gcp")
	l := newLoad(t, n, 20, rng)
	l.writers = append(l.writers, first)
	audit := Audit(n)
	kills := either(20, 250)
	killed(t, n, does, kills, rng, func() {})
	l.end()
	total := sum(l.writers...)
	done := does.rest()
	row := n.Settled(largest, "gcp", "log", total)
	var last float64
	n.Eventually(largest, "the counter's total has come", func() bool {
		for _, p := range gcp.Points() {
			if strings.HasSuffix(p.Series.GetMetric().GetType(), "proof_work_total") {
				last = p.Series.GetPoints()[0].GetValue().GetDoubleValue()
			}
		}
		return last >= float64(done)
	})
	if last != float64(done) {
		t.Errorf("%d pieces of work were done, and Google has %v", done, last)
	}
	var texts []string
	for _, e := range gcp.Entries() {
		texts = append(texts, e.GetTextPayload())
	}
	for _, w := range l.writers {
		seqs, again := numbers(texts, w)
		if int64(len(seqs)) != w.Written() || again != 0 {
			t.Errorf("%s: of %d lines %d are there, and %d again", w.Name, w.Written(), len(seqs), again)
		}
	}
	if row.In != total || row.Sent != total || row.Lost() != 0 {
		t.Errorf("%d lines were written, and the ledger says %+v", total, row)
	}
	audit.Close(t)
	t.Logf("%d kills: %d lines, each shown once; %v of %d pieces of work; refused %d points", kills, total, last, done, len(gcp.Refused()))
}
