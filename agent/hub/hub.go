// Package hub completes what the collectors gather and puts it on disk: Put is
// the one way from a collector to the spools.
//
// The collectors call Put; Put calls the enricher (kube.Pods), the spool of the
// batch's kind, and nobody else. The order of its steps matters:
//
//  1. Complete: the node's labels, the agent's tags and the enricher's labels
//     are merged into each label set; what the collector said itself counts more.
//  2. Rules: they see complete labels, and what they drop costs nothing after.
//  3. Convert: counters get Prev and Delta, running distributions get Since.
//     Dropped series are not converted, so they take no memory for it.
//  4. Encode as one frame, and append: on return the spool holds it.
//
// What always holds:
//
//  1. One log batch becomes one frame, or none: a file's offset in a frame
//     never runs ahead of the lines in it.
//  2. A counter that starts again yields its new total as increase, never a
//     negative one. A series that was born while we watched yields its first
//     total too: short-lived containers lose nothing.
//  3. The increases of a series add up to its total over restarts of the agent,
//     because Seed reads the last totals back from the spool's newest frames.
//  4. A sample that is not newer than the one before it, of a counter or a
//     running distribution, is dropped and counted: it would count twice.
//
// Per series the hub holds one entry (its full name, its last reading), for Forget (15 minutes) after it was
// last seen. Put may be called from any number of goroutines; it owns the batch
// it is given and gives nothing back.
//
// The hub does not know vendors, does not aggregate, and keeps no samples.
package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Forget is how long the last total of a series is kept after it was last seen.
const Forget = 15 * time.Minute

// mostSamples bounds one frame of metrics: a destination has a few frames in
// memory at once.
const mostSamples = 10000

// Config is the `process:` section of agent.yaml.
type Config struct {
	// Rules leave items out before they reach the disk. The first one that
	// matches an item decides.
	Rules []Rule `yaml:"rules"`
}

// Rule is one line of process.rules.
type Rule struct {
	Kind   string `yaml:"kind"`   // metric, log, event; empty: all
	Match  string `yaml:"match"`  // a condition, see signal.Match
	Action string `yaml:"action"` // drop or keep
}

// Default returns the configuration of an agent that drops nothing.
func Default() Config { return Config{} }

// Check returns all complaints about c, each beginning with its key.
func (c Config) Check() error {
	var errs []error
	for i, r := range c.Rules {
		if !slices.Contains([]string{"", "metric", "log", "event"}, r.Kind) {
			errs = append(errs, fmt.Errorf("rules[%d].kind: %q is not metric, log or event", i, r.Kind))
		}
		if r.Action != "drop" && r.Action != "keep" {
			errs = append(errs, fmt.Errorf("rules[%d].action: %q is not drop or keep", i, r.Action))
		}
		if _, err := signal.ParseMatch(r.Match); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d].match: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Enricher knows more about what a label set names, such as the pod behind a
// container's id. kube.Pods implements it.
type Enricher interface {
	// Labels returns a flat label set to be added to set.
	Labels(set string) string
	// Version changes whenever an answer of Labels may have changed.
	Version() uint64
}

// Spools are the three logs, one per kind.
type Spools map[signal.Kind]*spool.Spool

// Stats counts what passed through a hub since it was made.
//
//	In == Spooled + Dropped + Repeated + Failed
type Stats struct {
	In       atomic.Int64 // items given to Put
	Spooled  atomic.Int64 // items in the spool
	Dropped  atomic.Int64 // items left out by a rule
	Repeated atomic.Int64 // samples of counters not newer than the one before
	Failed   atomic.Int64 // items the spool did not take: the agent was stopping
	Resets   atomic.Int64 // counters that started again
	Series   atomic.Int64 // series held
}

// Hub is the one way to the spools.
type Hub struct {
	Stats [signal.Event + 1]Stats // by Kind

	spools Spools
	born   int64 // Unix milliseconds; series that start later are known from their first moment

	mu      sync.Mutex
	settled settings                       // guarded by mu
	series  map[signal.Series]*entry       // by what the collector calls it; guarded by mu
	seeds   map[signal.Series]seed         // by the complete series, from before the start; guarded by mu
	streams map[signal.Stream]*streamEntry // guarded by mu
	swept   time.Time                      // guarded by mu
	taps    atomic.Pointer[[]*tap]         // read by Put, changed under mu
}

// settings are what a reload may change; they are replaced as a whole.
type settings struct {
	base     string // labels on everything
	rules    []rule
	enricher Enricher
	version  uint64 // of base and rules, joined with the enricher's below
}

type rule struct {
	kind  signal.Kind // 0: all
	match *signal.Match
	drop  bool
}

// entry is what is known of one series.
type entry struct {
	full    signal.Series
	version uint64 // of the settings full and drop were made with
	drop    bool
	seen    int64 // Unix seconds
	seed
}

// seed is the last reading of a counter or running distribution.
type seed struct {
	time, start int64
	value       float64
	hist        *signal.Hist
}

type streamEntry struct {
	full    signal.Stream
	version uint64
	seen    int64
}

// New returns a hub that writes to spools. Configure must be called before Put.
func New(spools Spools, now time.Time) *Hub {
	return &Hub{
		spools:  spools,
		born:    now.UnixMilli(),
		series:  map[signal.Series]*entry{},
		seeds:   map[signal.Series]seed{},
		streams: map[signal.Stream]*streamEntry{},
		swept:   now,
	}
}

// Configure sets the rules, the labels that everything gets, and the enricher,
// which may be nil. It may be called at any time; c must have passed Check.
func (h *Hub) Configure(c Config, base string, e Enricher) {
	var rules []rule
	for _, r := range c.Rules {
		m, err := signal.ParseMatch(r.Match)
		if err != nil {
			panic("BUG: a rule that did not pass Check: " + err.Error())
		}
		var kind signal.Kind
		for _, k := range signal.Kinds {
			if k.String() == r.Kind {
				kind = k
			}
		}
		rules = append(rules, rule{kind, m, r.Action == "drop"})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled = settings{base: base, rules: rules, enricher: e, version: h.settled.version + 1}
}

// Put completes b and appends it to the spool of its kind. It owns b. An error
// means that b is lost or in part: ctx ended or the spool is closed.
func (h *Hub) Put(ctx context.Context, b *signal.Batch) error {
	st := &h.Stats[b.Kind]
	h.Complete(b)
	if taps := h.taps.Load(); taps != nil {
		for _, t := range *taps {
			t.show(b)
		}
	}
	for lo := 0; lo < b.Len(); lo += mostSamples {
		part := b
		if b.Kind != signal.Log && b.Len() > mostSamples {
			part = b.Slice(lo, min(lo+mostSamples, b.Len()))
		}
		if err := h.append(ctx, part, st); err != nil {
			st.Failed.Add(int64(b.Len() - lo))
			return fmt.Errorf("spool %v batch of %d: %w", b.Kind, b.Len(), err)
		}
		if b.Kind == signal.Log {
			break
		}
	}
	return nil
}

// Complete does all of Put but the writing: it completes b in place.
func (h *Hub) Complete(b *signal.Batch) {
	st := &h.Stats[b.Kind]
	st.In.Add(int64(b.Len()))
	h.mu.Lock()
	defer h.mu.Unlock()
	switch b.Kind {
	case signal.Metric:
		h.samplesLocked(b, st)
	case signal.Log:
		h.linesLocked(b, st)
	case signal.Event:
		h.eventsLocked(b, st)
	}
	h.sweepLocked()
}

// frames holds the buffers in which frames are built.
var frames = sync.Pool{New: func() any { return new([]byte) }}

func (h *Hub) append(ctx context.Context, b *signal.Batch, st *Stats) error {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	*buf = signal.AppendFrame((*buf)[:0], b)
	n := b.Len()
	if _, err := h.spools[b.Kind].Append(ctx, *buf, n); err != nil {
		return err
	}
	st.Spooled.Add(int64(n))
	return nil
}

// versionLocked identifies the present answers to "what labels, which rules".
func (h *Hub) versionLocked() uint64 {
	v := h.settled.version << 40
	if e := h.settled.enricher; e != nil {
		v ^= e.Version()
	}
	return v
}

// completeLocked merges what the node and the enricher say into a label set.
func (h *Hub) completeLocked(labels string) string {
	extra := h.settled.base
	if e := h.settled.enricher; e != nil {
		extra = signal.Merge(extra, e.Labels(labels))
	}
	return signal.Merge(extra, labels)
}

func (h *Hub) samplesLocked(b *signal.Batch, st *Stats) {
	version := h.versionLocked()
	now := time.Now().Unix()
	kept := b.Samples[:0]
	for _, s := range b.Samples {
		e := h.series[s.Series]
		if e == nil {
			e = &entry{version: ^version}
			h.series[s.Series] = e
			st.Series.Add(1)
		}
		e.seen = now
		if e.version != version {
			h.refreshLocked(e, s.Series, version)
		}
		if e.drop {
			st.Dropped.Add(1)
			continue
		}
		s.Series = e.full
		switch e.typ() {
		case signal.Counter, signal.CumDist:
			if !h.convert(e, &s, st) {
				st.Repeated.Add(1)
				continue
			}
		}
		kept = append(kept, s)
	}
	b.Samples = kept
}

func (e *entry) typ() signal.Type { return e.full.Desc().Type }

// refreshLocked works out what a series is called, and whether it is dropped.
func (h *Hub) refreshLocked(e *entry, raw signal.Series, version uint64) {
	d := raw.Desc()
	d.Labels = h.completeLocked(d.Labels)
	full := signal.Intern(d)
	if full != e.full {
		e.full = full
		if s, ok := h.seeds[full]; ok && e.time == 0 {
			e.seed = s
			delete(h.seeds, full)
		}
	}
	e.version = version
	e.drop = false
	for _, r := range h.settled.rules {
		if (r.kind == 0 || r.kind == signal.Metric) && r.match.Series(d) {
			e.drop = r.drop
			return
		}
	}
}

// convert fills Prev and Delta, or Since. It returns false for a sample that
// is not newer than the one before.
func (h *Hub) convert(e *entry, s *signal.Sample, st *Stats) bool {
	last := e.seed
	if last.time != 0 && s.Time <= last.time {
		return false
	}
	e.seed = seed{time: s.Time, start: s.Start, value: s.Value, hist: s.Hist}
	if last.time == 0 {
		if s.Start >= h.born { // it began while we watched: all of it is new
			s.Prev, s.Delta = s.Start, s.Value
			if s.Hist != nil {
				s.Hist = withSince(s.Hist, s.Hist)
			}
		}
		return true
	}
	s.Prev = last.time
	if s.Hist != nil {
		since, ok := subtract(s.Hist, last.hist)
		if !ok {
			st.Resets.Add(1)
			since = s.Hist
		}
		s.Hist = withSince(s.Hist, since)
		return true
	}
	// Start wanders by a little where it is computed from an uptime; a real
	// restart sets it behind the last reading.
	if s.Delta = s.Value - last.value; s.Delta < 0 || s.Start > last.time {
		st.Resets.Add(1)
		s.Delta = s.Value
	}
	return true
}

// withSince returns a copy of total with the increase set; the hub keeps total
// itself, which must not refer to a chain of earlier ones.
func withSince(total, since *signal.Hist) *signal.Hist {
	t, s := *total, *since
	s.Since = nil
	t.Since = &s
	return &t
}

func (h *Hub) linesLocked(b *signal.Batch, st *Stats) {
	version := h.versionLocked()
	now := time.Now().Unix()
	lines := b.Len()
	for i := range b.Logs {
		blk := &b.Logs[i]
		e := h.streams[blk.Stream]
		if e == nil {
			e = &streamEntry{version: ^version}
			h.streams[blk.Stream] = e
		}
		e.seen = now
		if e.version != version {
			e.full, e.version = signal.InternStream(h.completeLocked(blk.Stream.Labels())), version
		}
		blk.Stream = e.full
	}
	if keep := h.keepLocked(signal.Log); keep != nil {
		b.Logs = dropLines(b.Logs, keep)
		st.Dropped.Add(int64(lines - b.Len()))
	}
}

// keepLocked returns a function that applies the rules of a kind, or nil if
// there are none.
func (h *Hub) keepLocked(k signal.Kind) func(matches func(*signal.Match) bool) bool {
	rules := h.settled.rules
	if !slices.ContainsFunc(rules, func(r rule) bool { return r.kind == 0 || r.kind == k }) {
		return nil
	}
	return func(matches func(*signal.Match) bool) bool {
		for _, r := range rules {
			if (r.kind == 0 || r.kind == k) && matches(r.match) {
				return !r.drop
			}
		}
		return true
	}
}

// dropLines rebuilds the blocks that lose a line. Unlike a destination's own
// filter it keeps each block in one piece: its End is what a restart goes on from.
func dropLines(blocks []signal.LogBlock, keep func(func(*signal.Match) bool) bool) []signal.LogBlock {
	for i := range blocks {
		blk := &blocks[i]
		var l signal.LogLine
		matches := func(m *signal.Match) bool { return m.Line(l) }
		rest := signal.LogBlock{Stream: blk.Stream, File: blk.File, Start: blk.Start, End: blk.End}
		same := true
		for j := range blk.Lines {
			l = blk.Line(j)
			k := keep(matches)
			if !k && same {
				same = false
				for before := range j {
					b := blk.Line(before)
					rest.Append(b.Time, b.Level, b.Text, b.Attrs)
				}
			}
			if k && !same {
				rest.Append(l.Time, l.Level, l.Text, l.Attrs)
			}
		}
		if !same {
			*blk = rest
		}
	}
	return blocks
}

func (h *Hub) eventsLocked(b *signal.Batch, st *Stats) {
	keep := h.keepLocked(signal.Event)
	kept := b.Events[:0]
	for _, e := range b.Events {
		e.Labels = h.completeLocked(e.Labels)
		if keep != nil && !keep(func(m *signal.Match) bool { return m.Event(&e) }) {
			st.Dropped.Add(1)
			continue
		}
		kept = append(kept, e)
	}
	b.Events = kept
}

// sweepLocked forgets what has not been seen for Forget.
func (h *Hub) sweepLocked() {
	now := time.Now()
	if now.Sub(h.swept) < Forget/3 {
		return
	}
	h.swept = now
	old := now.Add(-Forget).Unix()
	before := len(h.series)
	for s, e := range h.series {
		if e.seen < old {
			delete(h.series, s)
		}
	}
	for s, e := range h.streams {
		if e.seen < old {
			delete(h.streams, s)
		}
	}
	for s, sd := range h.seeds {
		if sd.time < old*1000 {
			delete(h.seeds, s)
		}
	}
	if len(h.series) < before/2 { // a Go map never shrinks: after a mass death it is made anew
		fresh := make(map[signal.Series]*entry, len(h.series))
		for s, e := range h.series {
			fresh[s] = e
		}
		h.series = fresh
	}
	h.Stats[signal.Metric].Series.Store(int64(len(h.series)))
}

// Seed reads the last totals of counters back from the newest frames of the
// metric spool, at most bytes of them. It is called once, before the first Put.
func (h *Hub) Seed(bytes int64) error {
	s := h.spools[signal.Metric]
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.born - Forget.Milliseconds()
	var b signal.Batch
	return s.Scan(s.Tail(bytes), func(_ spool.Seq, frame []byte) error {
		if hd, err := signal.ParseHeader(frame); err != nil || hd.Newest < oldest {
			return nil
		}
		b.Reset(signal.Metric)
		if signal.AppendFromFrame(&b, frame) != nil {
			return nil // the deliveries will say so
		}
		for _, s := range b.Samples {
			if t := s.Series.Desc().Type; (t == signal.Counter || t == signal.CumDist) && s.Time > h.seeds[s.Series].time {
				sd := seed{time: s.Time, start: s.Start, value: s.Value}
				if s.Hist != nil {
					total := *s.Hist
					total.Since = nil
					sd.hist = &total
				}
				h.seeds[s.Series] = sd
			}
		}
		return nil
	})
}

// Newest returns the number of the newest log frame in the spool.
func (h *Hub) Newest() uint64 { return h.spools[signal.Log].Newest() }

// Sync makes every log frame up to Newest survive a power cut.
func (h *Hub) Sync() error { return h.spools[signal.Log].Sync() }

// Replay calls f for the batch of each log frame after seq, oldest first. The
// batch is valid during the call only.
func (h *Hub) Replay(after uint64, f func(*signal.Batch)) error {
	var b signal.Batch
	return h.spools[signal.Log].Scan(after, func(_ spool.Seq, frame []byte) error {
		b.Reset(signal.Log)
		if signal.AppendFromFrame(&b, frame) == nil {
			f(&b)
		}
		return nil
	})
}

// subtract returns what total has more than last, false if it has not grown out
// of it: it started again, or its shape changed.
func subtract(total, last *signal.Hist) (*signal.Hist, bool) {
	if last == nil || total.Count < last.Count || total.Exponential != last.Exponential || total.Scale != last.Scale ||
		!slices.Equal(total.Bounds, last.Bounds) || len(total.Counts) != len(last.Counts) {
		return nil, false
	}
	d := *total
	d.Count -= last.Count
	d.Sum -= last.Sum
	d.Since = nil
	d.Counts = slices.Clone(total.Counts)
	for i, c := range last.Counts {
		if d.Counts[i] < c {
			return nil, false
		}
		d.Counts[i] -= c
	}
	if total.Zero < last.Zero {
		return nil, false
	}
	d.Zero -= last.Zero
	var ok bool
	if d.Pos, ok = subtractBuckets(total.Pos, last.Pos); !ok {
		return nil, false
	}
	if d.Neg, ok = subtractBuckets(total.Neg, last.Neg); !ok {
		return nil, false
	}
	return &d, true
}

func subtractBuckets(total, last signal.Buckets) (signal.Buckets, bool) {
	d := signal.Buckets{Offset: total.Offset, Counts: slices.Clone(total.Counts)}
	for i, c := range last.Counts {
		if c == 0 {
			continue
		}
		at := int(last.Offset) + i - int(total.Offset)
		if at < 0 || at >= len(d.Counts) || d.Counts[at] < c {
			return signal.Buckets{}, false
		}
		d.Counts[at] -= c
	}
	return d, true
}

// TagLabels turns the agent's tags, each key:value, into labels. A tag without a
// colon becomes a label of that name with the value "true".
func TagLabels(tags []string) string {
	var pairs []string
	for _, t := range tags {
		k, v, ok := strings.Cut(t, ":")
		if !ok {
			v = "true"
		}
		switch k {
		case "env":
			k = signal.LabelEnv
		case "service":
			k = signal.LabelService
		case "version":
			k = signal.LabelVersion
		}
		pairs = append(pairs, k, v)
	}
	return signal.Labels(pairs...)
}
