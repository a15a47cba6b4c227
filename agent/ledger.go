package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters"
)

// row is one delivery and its place in the spool.
type row struct {
	dest     string
	kind     signal.Kind
	cursor   *spool.Cursor
	delivery *exporters.Delivery
}

// down reports whether the destination did not take the last request.
func (r *row) down() bool {
	s, _ := r.delivery.Stats.State()
	return s == exporters.Retrying || s == exporters.Held
}

func (a *Agent) row(key string) *row {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rows[key]
}

// allRows returns the deliveries in order of their names.
func (a *Agent) allRows() []*row {
	a.mu.Lock()
	defer a.mu.Unlock()
	rows := make([]*row, 0, len(a.rows))
	for _, r := range a.rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(x, y *row) int {
		if c := strings.Compare(x.dest, y.dest); c != 0 {
			return c
		}
		return int(x.kind) - int(y.kind)
	})
	return rows
}

// Ledger says what became of each item: GET /api/v1/ledger.
type Ledger struct {
	Balanced     bool                  `json:"balanced"`
	Kinds        map[string]LedgerKind `json:"kinds"`
	Destinations []LedgerRow           `json:"destinations"`
}

// LedgerKind is one spool.
type LedgerKind struct {
	In            int64   `json:"in"` // items ever appended to the spool in data_dir
	SpooledBytes  int64   `json:"spooled_bytes"`
	OldestSeconds float64 `json:"oldest_seconds"`
}

// LedgerRow is one kind of one destination. In == Sent + Waiting + sum of Dropped.
type LedgerRow struct {
	Name       string           `json:"name"`
	Kind       string           `json:"kind"`
	In         int64            `json:"in"`
	Sent       int64            `json:"sent"`
	Waiting    int64            `json:"waiting"`
	Dropped    map[string]int64 `json:"dropped"`
	Twice      int64            `json:"resent_possibly_twice"`
	LagSeconds float64          `json:"lag_seconds"`
	State      string           `json:"state"`
	LastError  string           `json:"last_error"`
	Restarted  bool             `json:"books_restarted,omitempty"` // the cursor's file was damaged; the books began anew
}

// newRow fills a row from books.
func newRow(name, kind string, in, waiting int64, b spool.Books) LedgerRow {
	r := LedgerRow{Name: name, Kind: kind, In: in, Waiting: waiting, Sent: b.Items[spool.Sent], Twice: b.Twice, Dropped: map[string]int64{}}
	for f := spool.Sent + 1; f < spool.NFates; f++ {
		r.Dropped[f.String()] = b.Items[f]
	}
	return r
}

// balanced reports whether every item of the row is accounted for.
func (r LedgerRow) balanced() bool {
	sum := r.Sent + r.Waiting
	for _, n := range r.Dropped {
		sum += n
	}
	return sum == r.In
}

// newLedger puts rows together.
func newLedger(kinds map[string]LedgerKind, rows []LedgerRow) Ledger {
	l := Ledger{Balanced: true, Kinds: kinds, Destinations: rows}
	for _, r := range rows {
		l.Balanced = l.Balanced && r.balanced()
	}
	return l
}

// ledger returns the books of the running agent: a row for each kind of each
// destination in use, for what was removed and may come back, and for what was
// forgotten.
func (a *Agent) ledger() Ledger {
	kinds := map[string]LedgerKind{}
	now := time.Now()
	for _, k := range signal.Kinds {
		st := a.spools[k].Stats()
		lk := LedgerKind{In: st.Items, SpooledBytes: st.Bytes + st.MemoryBytes}
		if !st.Oldest.IsZero() {
			lk.OldestSeconds = now.Sub(st.Oldest).Seconds()
		}
		kinds[k.String()] = lk
	}
	rows := []LedgerRow{}
	for _, r := range a.allRows() {
		lag := r.cursor.Lag()
		lr := newRow(r.dest, r.kind.String(), lag.In, lag.Waiting, lag.Books)
		lr.Restarted = lag.Reset
		if !lag.Oldest.IsZero() && lag.Waiting > 0 {
			lr.LagSeconds = now.Sub(lag.Oldest).Seconds()
		}
		state, words := r.delivery.Stats.State()
		lr.State, lr.LastError = string(state), words
		if state == exporters.Idle {
			lr.State = "idle"
		}
		rows = append(rows, lr)
	}
	rows = append(rows, a.inactiveRows()...)
	return newLedger(kinds, rows)
}

// inactiveRows are the books of destinations that are not in use.
func (a *Agent) inactiveRows() []LedgerRow {
	a.reloading.Lock() // so that no delivery begins on a cursor that is opened here
	defer a.reloading.Unlock()
	var rows []LedgerRow
	for _, k := range signal.Kinds {
		for _, name := range a.spools[k].Cursors() {
			if a.row(name+"/"+k.String()) != nil {
				continue
			}
			cursor, err := a.spools[k].Cursor(name, spool.From{})
			if err != nil {
				a.log.Warn("the books of a removed destination cannot be read", "destination", name, "kind", k, "error", err)
				continue
			}
			lag := cursor.Lag()
			r := newRow(name, k.String(), lag.In, lag.Waiting, lag.Books)
			r.State = "removed"
			rows = append(rows, r)
		}
	}
	closed, err := a.home.closedBooks()
	if err != nil {
		a.log.Warn("the books of forgotten destinations cannot be read", "error", err)
	}
	for _, b := range closed {
		r := newRow(b.Name, b.Kind, b.In, 0, b.Books)
		r.State = "forgotten"
		rows = append(rows, r)
	}
	return rows
}

// LedgerOf reads the books of an agent that is not running from its data directory.
func LedgerOf(dataDir string) (Ledger, error) {
	kinds := map[string]LedgerKind{}
	rows := []LedgerRow{}
	for _, k := range signal.Kinds {
		rep, err := spool.List(spoolDir(dataDir, k))
		if errors.Is(err, fs.ErrNotExist) {
			return Ledger{}, fmt.Errorf("no agent runs, and none has run with agent.data_dir %s", dataDir)
		}
		if err != nil {
			return Ledger{}, err
		}
		var lk LedgerKind
		for _, s := range rep.Segments {
			lk.SpooledBytes += s.Bytes
			lk.In += s.Items
		}
		kinds[k.String()] = lk
		for _, c := range rep.Cursors {
			r := newRow(c.Name, k.String(), c.In, c.Waiting, c.Books)
			r.State = "not running"
			rows = append(rows, r)
		}
	}
	closed, err := home{dataDir}.closedBooks()
	if err != nil {
		return Ledger{}, err
	}
	for _, b := range closed {
		r := newRow(b.Name, b.Kind, b.In, 0, b.Books)
		r.State = "forgotten"
		rows = append(rows, r)
	}
	return newLedger(kinds, rows), nil
}
