package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"
)

// Ledger is the answer of /api/v1/ledger, as cli.md has it. It is declared here
// and not taken from the agent: the names are part of what is proved.
type Ledger struct {
	Balanced bool `json:"balanced"`
	Kinds    map[string]struct {
		In           int64 `json:"in"`
		SpooledBytes int64 `json:"spooled_bytes"`
	} `json:"kinds"`
	Destinations []Row `json:"destinations"`
}

// Row is one kind of one destination.
type Row struct {
	Name      string           `json:"name"`
	Kind      string           `json:"kind"`
	In        int64            `json:"in"`
	Sent      int64            `json:"sent"`
	Waiting   int64            `json:"waiting"`
	Dropped   map[string]int64 `json:"dropped"`
	Twice     int64            `json:"resent_possibly_twice"`
	State     string           `json:"state"`
	LastError string           `json:"last_error"`
}

// Lost returns the sum of what was dropped, whatever for.
func (r Row) Lost() (n int64) {
	for _, d := range r.Dropped {
		n += d
	}
	return n
}

// Row returns the row of a kind of a destination; its zero value if there is none.
func (l Ledger) Row(name, kind string) Row {
	for _, r := range l.Destinations {
		if r.Name == name && r.Kind == kind {
			return r
		}
	}
	return Row{}
}

// Check returns every row whose items are not all accounted for, and a complaint
// if the agent thinks otherwise about it than we do.
func (l Ledger) Check() error {
	var errs []error
	for _, r := range l.Destinations {
		if r.In != r.Sent+r.Waiting+r.Lost() {
			errs = append(errs, fmt.Errorf("%s/%s: in %d is not sent %d + waiting %d + dropped %v", r.Name, r.Kind, r.In, r.Sent, r.Waiting, r.Dropped))
		}
		for reason, n := range r.Dropped {
			if n < 0 {
				errs = append(errs, fmt.Errorf("%s/%s: %d dropped as %s", r.Name, r.Kind, n, reason))
			}
		}
		if r.In < 0 || r.Sent < 0 || r.Waiting < 0 {
			errs = append(errs, fmt.Errorf("%s/%s: a count below zero: %+v", r.Name, r.Kind, r))
		}
	}
	if l.Balanced != (len(errs) == 0) {
		errs = append(errs, fmt.Errorf("the agent says balanced: %v", l.Balanced))
	}
	return errors.Join(errs...)
}

// Status is what the proof reads of /api/v1/status.
type Status struct {
	Agent struct {
		Started     time.Time `json:"started"`
		LastReload  time.Time `json:"last_reload"`
		ReloadError string    `json:"reload_error"`
	} `json:"agent"`
	Spools []struct {
		Kind        string `json:"kind"`
		Items       int64  `json:"items"`
		Bytes       int64  `json:"bytes"`
		Segments    int    `json:"segments"`
		Degraded    string `json:"degraded"`
		MemoryBytes int64  `json:"memory_bytes"`
	} `json:"spools"`
	Destinations []struct {
		Name         string `json:"name"`
		Kind         string `json:"kind"`
		BacklogParts int    `json:"backlog_parts"`
	} `json:"destinations"`
	Warnings []string `json:"warnings"`
}

// Parts returns how many runs of frames a destination has behind its live one.
func (s Status) Parts(name, kind string) int {
	for _, d := range s.Destinations {
		if d.Name == name && d.Kind == kind {
			return d.BacklogParts
		}
	}
	return 0
}

// Degraded returns what a kind's spool says of a disk that takes nothing, "" if
// it is well.
func (s Status) Degraded(kind string) string {
	for _, sp := range s.Spools {
		if sp.Kind == kind {
			return sp.Degraded
		}
	}
	return ""
}

// Auditor asks a node for its ledger again and again. Every answer must balance,
// and no count of what came in, was sent or was dropped may ever fall, whatever
// happens to the agent between two answers.
type Auditor struct {
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	answers int             // guarded by mu
	errs    map[string]bool // guarded by mu
	last    map[string]Row  // guarded by mu; by destination/kind
}

// Audit begins to ask. The test fails at its end if an answer was wrong, or if
// there was none at all.
func Audit(n *Node) *Auditor {
	ctx, stop := context.WithCancel(n.Context())
	a := &Auditor{stop: stop, done: make(chan struct{}), errs: map[string]bool{}, last: map[string]Row{}}
	go func() {
		defer close(a.done)
		tick := time.NewTicker(30 * time.Millisecond)
		defer tick.Stop()
		for {
			if l, err := n.Ledger(); err == nil {
				a.see(l)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	n.Cleanup(func() { a.Close(n) })
	return a
}

// Close ends the audit and reports.
func (a *Auditor) Close(t testing.TB) {
	t.Helper()
	a.stop()
	<-a.done
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, e := range slices.Sorted(maps.Keys(a.errs)) {
		if i == 10 {
			t.Errorf("and %d more", len(a.errs)-i)
			break
		}
		t.Errorf("while it ran: %s", e)
	}
	clear(a.errs)
	if a.answers == 0 {
		t.Error("the agent never answered about its ledger")
	}
}

// Answers returns how many ledgers were seen.
func (a *Auditor) Answers() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answers
}

// Restart forgets what was seen of a row, which may begin anew.
func (a *Auditor) Restart(name, kind string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.last, name+"/"+kind)
}

func (a *Auditor) see(l Ledger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers++
	complain := func(format string, args ...any) {
		if len(a.errs) < 100 {
			a.errs[fmt.Sprintf(format, args...)] = true
		}
	}
	if err := l.Check(); err != nil {
		complain("%v", err)
	}
	for _, r := range l.Destinations {
		if r.State == "forgotten" {
			continue // closed books, of which a destination may have several
		}
		key := r.Name + "/" + r.Kind
		before := a.last[key]
		// Sent may fall at a kill: what was done before a frame in front of it was
		// counts as sent at once, and is handed out again in the next life.
		if r.In < before.In || r.Sent+r.Waiting < before.Sent {
			complain("%s: in fell from %d to %d, or sent from %d to %d with %d waiting", key, before.In, r.In, before.Sent, r.Sent, r.Waiting)
		}
		for reason, n := range before.Dropped {
			if r.Dropped[reason] < n {
				complain("%s: %s fell from %d to %d", key, reason, n, r.Dropped[reason])
			}
		}
		a.last[key] = r
	}
}

// Verdict is what became of the numbered lines of all writers at one vendor.
type Verdict struct {
	Lines   int64 // written
	Lost    int64 // never arrived
	Visible int64 // surplus copies that a reader of the vendor's data sees
	Hidden  int64 // surplus copies that overwrote themselves
	Mixed   int64 // lines whose place in time is not behind the line before: where times are those of the reading, the order of the reading
	Late    int64 // lines that came behind a later one of their writer: the order of delivery, which is that of the spool if requests are one at a time
	Foreign int64 // lines that nobody wrote, or that were overwritten by another line
	First   string
}

// Judge compares what was written with what arrived.
func Judge(v *Vendor, writers ...*Writer) Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	d := Verdict{Foreign: v.foreign + v.overwritten}
	note := func(format string, args ...any) {
		if d.First == "" {
			d.First = fmt.Sprintf(format, args...)
		}
	}
	late := ""
	for _, w := range writers {
		n := w.Written()
		d.Lines += n
		book := v.lines[w.Name]
		var last, nth int64
		for i := int64(1); i <= n; i++ {
			if book == nil || i >= int64(len(book.items)) || book.items[i].came == 0 {
				d.Lost++
				note("%s seq=%d never arrived", w.Name, i)
				continue
			}
			it := book.items[i]
			d.Visible += int64(it.visible)
			d.Hidden += int64(it.came) - 1 - int64(it.visible)
			if it.visible > 0 {
				note("%s seq=%d came %d times, %d of them visible", w.Name, i, it.came, it.visible)
			}
			if it.at <= last {
				d.Mixed++
				note("%s seq=%d at %d is not behind %d", w.Name, i, it.at, last)
			}
			if it.nth <= nth {
				d.Late++
				late = fmt.Sprintf("%s seq=%d came behind a later one", w.Name, i)
			}
			last, nth = max(last, it.at), max(nth, it.nth)
		}
		if book != nil && int64(len(book.items)) > n+1 {
			d.Foreign += int64(len(book.items)) - n - 1
			note("%s: there are lines beyond seq=%d", w.Name, n)
		}
	}
	if late != "" { // with requests side by side that is no trouble
		note("%s", late)
	}
	return d
}

// String tells the verdict in one line.
func (d Verdict) String() string {
	return fmt.Sprintf("%d lines: %d lost, %d doubled visibly, %d doubled invisibly, %d out of order, %d delivered behind later ones, %d foreign; first trouble: %s",
		d.Lines, d.Lost, d.Visible, d.Hidden, d.Mixed, d.Late, d.Foreign, d.First)
}

// Flawless fails the test unless every line arrived, visible once, in order.
func (d Verdict) Flawless(t testing.TB) {
	t.Helper()
	if d.Lines == 0 || d.Lost != 0 || d.Visible != 0 || d.Mixed != 0 || d.Foreign != 0 {
		t.Errorf("verdict: %v", d)
	}
}

// Settled waits until nothing waits for the destination's kind, and returns its
// row.
func (n *Node) Settled(most time.Duration, name, kind string, in int64) Row {
	n.Helper()
	var r Row
	var err error
	done := false
	defer func() {
		if !done {
			n.Logf("the last row of %s/%s: %+v %v", name, kind, r, err)
		}
	}()
	n.Eventually(most, fmt.Sprintf("%s has all %d %ss", name, in, kind), func() bool {
		var l Ledger
		l, err = n.Ledger()
		r = l.Row(name, kind)
		return err == nil && r.In >= in && r.Waiting == 0
	})
	done = true
	return r
}
