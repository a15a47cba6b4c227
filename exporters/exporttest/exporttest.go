// Package exporttest holds what every vendor must pass: a server that answers
// as badly as real ones do and keeps books of numbered items, and Run, which
// delivers to it through the real exporters.Delivery and compares the books.
//
// A vendor's own tests call Run, with a Vendor that says how to make the
// exporter, how to read a body, and how that vendor words its refusals. Server
// may also be used alone.
//
// What Run proves of a vendor, for every answer in its table:
//
//  1. Nothing is lost: each item the vendor does not refuse for good is stored.
//  2. The books are exact: sent is what the vendor stored, refused what it
//     refused, and together they are what was put in.
//  3. One bad item costs itself and not its neighbours.
//  4. The vendor is left alone as long as it asked to be.
//  5. What a person must mend (401, 403, 404, a redirect) drops nothing.
//  6. A body is what its Content-Encoding says, and every one of them can be
//     read without the rest; keys do not follow a redirect.
//
// All of it runs in testing/synctest bubbles, on pipes in memory: an hour's
// outage takes milliseconds and is the same each time. The server's goroutines
// end with Close.
//
// The package does not test what a vendor's fields are called: golden files do.
package exporttest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
)

// Vendor is what Run needs to know of one vendor and kind.
type Vendor struct {
	// New makes the exporter. All its connections go through hc, or through
	// s.Dial if it is no HTTP client.
	New func(s *Server, hc *http.Client) exporters.Exporter
	// Read returns the numbers of a body's items, in the body's order; Number
	// takes them out of what Batch puts in.
	Read func(r *http.Request, body []byte) ([]int, error)
	// Taken is how the vendor says that it has everything.
	Taken Reply
	// Refuse makes the vendor's reply to a body with items that it refuses for
	// good, given their places in the body and all items' numbers, and says
	// whether it has stored the good ones. There is one for each manner of the
	// vendor.
	Refuse map[string]func(places, items []int, body []byte) (r Reply, stored bool)
	// Speak is how the vendor words replies where it speaks no HTTP/1; see Server.
	Speak func(w http.ResponseWriter, r Reply)
	// Batch makes n items, numbered from first on; nil for the package's Batch.
	Batch func(kind signal.Kind, first, n int) *signal.Batch
}

// prefix stands before the number of an item, wherever it is.
const prefix = "item-"

// Batch makes n items of a kind, numbered from first on, of this moment: a
// sample of metric exporttest.item with label n="item-N" and N as its value, a
// line with body "item-N", an event with title and ID "item-N".
func Batch(kind signal.Kind, first, n int) *signal.Batch {
	b := &signal.Batch{Kind: kind}
	now := time.Now()
	host := signal.Labels(signal.LabelHost, "node-1", signal.LabelService, "exporttest")
	blk := signal.LogBlock{Stream: signal.InternStream(host), File: "exporttest", Start: int64(first)}
	for i := first; i < first+n; i++ {
		name := prefix + strconv.Itoa(i)
		switch kind {
		case signal.Metric:
			labels := signal.Merge(host, signal.Labels("n", name))
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "exporttest.item", Unit: "1", Type: signal.Gauge, Labels: labels}), Time: now.UnixMilli(), Value: float64(i)})
		case signal.Log:
			blk.Append(now.UnixNano()+int64(i), 6, []byte(name), nil)
		case signal.Event:
			b.Events = append(b.Events, signal.EventItem{Time: now.UnixNano(), Labels: host, Source: "exporttest", ID: name, Title: name, Level: 6, Count: 1})
		}
	}
	if kind == signal.Log {
		blk.End = int64(first + n)
		b.Logs = append(b.Logs, blk)
	}
	return b
}

// Number returns the number of an item, given the text that Batch wrote it as.
func Number(text string) (int, error) {
	if len(text) <= len(prefix) || text[:len(prefix)] != prefix {
		return 0, fmt.Errorf("%q names no item", text)
	}
	return strconv.Atoi(text[len(prefix):])
}

// frames and size of what each case puts in.
const (
	frames = 4
	size   = 50
)

// Run checks one vendor and kind against all answers.
func Run(t *testing.T, v Vendor) {
	t.Helper()
	n := frames * size
	all := want{sent: n}
	f := func(name string, w want, script ...Answer) {
		t.Helper()
		t.Run(name, func(t *testing.T) { report(t, deliver(t, v, &Server{}, w, script)) })
	}
	f("takes all", all)
	f("429", all, TooMany, TooMany, Take)
	f("429 with Retry-After", want{sent: n, wait: RetryAfter}, TooManyAfter)
	f("503 with Retry-After", want{sent: n, wait: RetryAfter}, Away)
	f("500", all, Broken, Broken, Broken)
	f("500 after storing", all, BrokenAfter)
	f("502 by a proxy", all, Proxy)
	f("never answers", all, Silent)
	f("never reads", all, Deaf)
	f("breaks off in the request", all, Reset, Reset)
	f("breaks off before the answer", all, Vanish)
	f("breaks off in the answer", all, Truncated)
	f("reads slowly", all, Slow, Slow)
	f("speaks gibberish", all, Gibberish)
	f("401", want{sent: n, wait: time.Minute}, Unauthorized)
	f("403", want{sent: n, wait: time.Minute}, Forbidden)
	f("404", want{sent: n, wait: time.Minute}, NotFound)
	f("redirects", all, Redirect)
	f("everything at once", all, TooMany, Reset, Broken, Silent, Unauthorized, Vanish, Slow, Away, Deaf, Gibberish, Truncated)

	t.Run("413 above 7 items", func(t *testing.T) {
		report(t, deliver(t, v, &Server{Most: 7}, all, nil))
	})
	for manner, refuse := range v.Refuse {
		for name, bad := range map[string]func(int) bool{
			"one bad item":             func(i int) bool { return i == 77 },
			"the first and the last":   func(i int) bool { return i == 0 || i == n-1 },
			"three neighbours":         func(i int) bool { return i >= 60 && i < 63 },
			"one in ten":               func(i int) bool { return i%10 == 3 },
			"a bad one during trouble": func(i int) bool { return i == 111 },
		} {
			w := want{}
			for i := range n {
				if bad(i) {
					w.refused++
				} else {
					w.sent++
				}
			}
			var script []Answer
			if name == "a bad one during trouble" {
				script = []Answer{Broken, Vanish, TooManyAfter}
			}
			t.Run(manner+"/"+name, func(t *testing.T) {
				report(t, deliver(t, v, &Server{Bad: bad, Refuse: refuse}, w, script))
			})
		}
	}
}

// want is what a case must end with.
type want struct {
	sent, refused int
	wait          time.Duration // before the second request, at least
}

func report(t *testing.T, faults []string) {
	t.Helper()
	for _, f := range faults {
		t.Error(f)
	}
}

// deliver runs one case and returns what is wrong.
func deliver(t *testing.T, v Vendor, s *Server, w want, script []Answer) (faults []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.Read, s.Taken, s.Speak = v.Read, v.Taken, v.Speak
		s.Start(script...)
		defer s.Close()
		e := v.New(s, s.Client)
		batch := v.Batch
		if batch == nil {
			batch = Batch
		}
		var batches []*signal.Batch
		for i := range frames {
			batches = append(batches, batch(e.Kind(), i*size, size))
		}
		q := newQueue(batches...)
		d := exporters.Delivery{Exporter: e, Live: q, Log: slog.New(slog.DiscardHandler)}
		// Less than the narrowest window in which a vendor takes old items.
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		select {
		case <-q.all:
		case <-ctx.Done():
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		faults = check(s, q, w)
	})
	return faults
}

// check compares the vendor's books with ours.
func check(s *Server, q *queue, w want) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	books, complaint := q.result()
	if complaint != "" {
		fault("%s", complaint)
	}
	for _, c := range s.Complaints() {
		fault("the vendor complains: %s", c)
	}
	expected := spool.Books{}
	expected.Items[spool.Sent], expected.Items[spool.Refused] = int64(w.sent), int64(w.refused)
	if books.Items != expected.Items {
		fault("booked %v, want %v", books.Items, expected.Items)
	}
	stored := s.Stored()
	var lost []int
	for i := range w.sent + w.refused {
		if bad := s.Bad != nil && s.Bad(i); !bad && stored[i] == 0 {
			lost = append(lost, i)
		}
		delete(stored, i)
	}
	if len(lost) > 0 {
		fault("lost %d items: %v", len(lost), lost[:min(len(lost), 20)])
	}
	for i := range stored {
		fault("item %d was never put in", i)
	}
	if at := s.Requests(); w.wait > 0 {
		slices.SortFunc(at, time.Time.Compare)
		if len(at) < 2 || at[1].Sub(at[0]) < w.wait {
			fault("came back too soon: asked was %v, requests came at %v", w.wait, at)
		}
	}
	return faults
}
