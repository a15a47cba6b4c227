package integration

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// largePage is a page of 100,000 counters, 13.8 MB, that notes when it is asked for.
type largePage struct {
	text []byte

	mu    sync.Mutex
	asked []time.Time // guarded by mu
}

func newLargePage() *largePage {
	p := &largePage{}
	for i := range 100_000 {
		if i%100 == 0 {
			p.text = fmt.Appendf(p.text, "# HELP http_requests_%d_total Requests by handler.\n# TYPE http_requests_%d_total counter\n", i/100, i/100)
		}
		p.text = fmt.Appendf(p.text, "http_requests_%d_total{handler=\"/api/v1/items/%d\",method=\"GET\",code=\"200\",instance=\"shop-7d4b9c-%05d\",zone=\"europe-west3-a\"} %08d\n", i/100, i%100, i%100, i)
	}
	return p
}

func (p *largePage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, time.Now())
	p.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(p.text) // who goes away is asked for elsewhere
}

// times returns how often the page was asked for, and how many of these came
// more than a tenth of the interval of a second after they were due.
func (p *largePage) times() (n, late int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 2; i < len(p.asked); i++ { // the first two are as far apart as the page's place in the second
		if p.asked[i].Sub(p.asked[i-1]) > 1100*time.Millisecond {
			late++
		}
	}
	return len(p.asked), late
}

// Issue 7: a page of 100,000 samples every second, all the way to Datadog: the
// most memory that the whole agent ever has, its goal being 130 MiB, and no
// scrape late. The long form holds the agent to the second; the short one shares
// its CPUs with the other tests.
func TestALargePageEverySecond(t *testing.T) {
	pages := either(10, 50)
	page, n := newLargePage(), node(t)
	n.Configure(n.Text(Plan{
		Active: []string{"dd"}, Scrape: serveHTTP(t, page) + "/metrics",
		Destinations: []string{fmt.Sprintf("dd: {type: datadog, url: %q, api_key: \"0123\"}", serveHTTP(t, taking{}))},
	}))
	n.Start()
	began := n.CPU()
	n.Eventually(largest, "the pages are scraped", func() bool { got, _ := page.times(); return got >= pages })
	used := n.CPU() - began
	got, late := page.times()
	p, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(p)
	if m == nil {
		t.Fatalf("no VmHWM in %s", p)
	}
	peak, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d pages of %.1f MB, %d late; at most %.0f MiB; %.2f CPU-seconds a million samples", got, float64(len(page.text))/1e6, late, peak/1024, used.Seconds()*10/float64(got))
	if peak/1024 > either(160.0, 130.0) {
		t.Errorf("the agent had %.0f MiB", peak/1024)
	}
	if long() && late > 0 {
		t.Errorf("%d of %d scrapes were late", late, got)
	}
	// The page goes on, so there is always something on its way.
	n.Eventually(largest, "all but the last pages are delivered", func() bool {
		l, err := n.Ledger()
		row := l.Row("dd", "metric")
		return err == nil && row.Sent >= int64(got-2)*100_000 && row.Lost() == row.Dropped["unsupported"]
	})
}
