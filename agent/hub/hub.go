// Package hub completes what the collectors gather, takes out what must not or
// need not reach the disk, and puts the rest there: Put is the one way from a
// collector to the spools.
//
// The collectors call Put; Put calls the enricher (kube.Pods), package logline
// for the form of lines, the spool of the batch's kind, and nobody else. The
// order of its steps matters:
//
//  1. Complete: the node's labels, the agent's tags and the enricher's labels
//     are merged into each label set; what the collector said itself counts more.
//  2. Guard: a series above the limits is folded into its metric's overflow.
//  3. Parse (lines): time, severity and trace are what the line itself says.
//  4. Rules: they see all of that, and what they drop costs nothing after.
//  5. Redact (lines, events): secrets are replaced by [redacted:NAME].
//  6. Convert (metrics): counters get Prev and Delta, running distributions get
//     Since. Dropped series are not converted, so they take no memory for it.
//  7. Encode as one frame, and append: on return the spool holds it.
//
// What always holds:
//
//  1. One log batch becomes one frame, or none: a file's offset in a frame
//     never runs ahead of the lines in it. A block that loses all its lines stays.
//  2. A counter that starts again yields its new total as increase, never a
//     negative one. A series that was born while we watched yields its first
//     total too: short-lived containers lose nothing.
//  3. The increases of a series add up to its total over restarts of the agent,
//     because Seed reads the last totals back from the spool's newest frames.
//  4. A sample that is not newer than the one before it, of a counter or a
//     running distribution, is dropped and counted: it would count twice.
//  5. Every item has a fate in Stats, and the equation there holds.
//  6. What is on the disk, in a tap or at a vendor has been redacted.
//
// Per series the hub holds one entry (its full name, its last reading), for
// Forget (15 minutes) after it was last seen, of at most cardinality.max_series.
// Per stream it holds a parser, the state of limits and of a private key that is
// being printed; that is lost at a restart. Put may be called from any number of
// goroutines; it owns the batch it is given and gives nothing back. Lines are
// worked on outside the hub's lock, one block of a stream at a time, so that
// metrics never wait for lines. There are no goroutines: what is due every ten
// seconds goes along with a Put of its kind, or with Flush.
//
// The hub does not know vendors, does not aggregate, keeps no samples, and does
// not redact labels of streams, series and events, nor what goes over several
// lines other than a private key.
package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// Forget is how long the last total of a series is kept after it was last seen.
const Forget = 15 * time.Minute

// mostSamples bounds one frame of metrics: a destination has a few frames in
// memory at once.
const mostSamples = 5000

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
//	In == Spooled + Dropped + Sampled + Limited + Skipped + Repeated + Folded + Failed
type Stats struct {
	In       atomic.Int64 // items given to Put, and lines the hub added itself
	Spooled  atomic.Int64 // items in the spool
	Dropped  atomic.Int64 // items left out by a rule to drop
	Sampled  atomic.Int64 // lines left out by a rule to sample
	Limited  atomic.Int64 // lines left out by a rule to limit
	Skipped  atomic.Int64 // lines of streams that nobody wants: LabelSkip
	Repeated atomic.Int64 // samples of counters not newer than the one before, or a third one of a second
	Folded   atomic.Int64 // samples that went into the one sample of an overflow
	Failed   atomic.Int64 // items the spool did not take: the agent was stopping

	Parsed   atomic.Int64 // lines that had the form of their stream
	Unparsed atomic.Int64 // lines that had not, and stay as they are
	Counted  atomic.Int64 // times a rule to count matched
	Resets   atomic.Int64 // counters that started again
	Series   atomic.Int64 // series held
	Unknown  atomic.Int64 // of Folded: samples of counters so many that even their last readings are not kept
}

// Left yields each reason why items are not in the spool, and how many they are.
func (s *Stats) Left() iter.Seq2[string, int64] {
	return func(yield func(string, int64) bool) {
		_ = yield("rule", s.Dropped.Load()) && yield("sampled", s.Sampled.Load()) && yield("limited", s.Limited.Load()) &&
			yield("skipped", s.Skipped.Load()) && yield("repeated", s.Repeated.Load()) && yield("folded", s.Folded.Load())
	}
}

// Hub is the one way to the spools.
type Hub struct {
	Stats [signal.Event + 1]Stats // by Kind

	// Log is told of changes worth a person's attention; nil is nobody. It is set
	// before the first Put.
	Log *slog.Logger

	// Fresh is shown each batch once its frame is in the spool, and must be done
	// with it when it returns; nil is nobody. It is set before the first Put.
	Fresh func(seq spool.Seq, b *signal.Batch)

	spools Spools
	born   int64 // Unix milliseconds; series that start later are known from their first moment

	leftDue   atomic.Int64 // Unix nanoseconds: when the lines about what a limit left out are due
	countsDue atomic.Int64 // Unix nanoseconds: when the samples of rules to count are due

	mu       sync.Mutex
	settled  settings                       // guarded by mu; what it points to is not
	series   map[signal.Series]*entry       // by what the collector calls it; guarded by mu
	seeds    map[signal.Series]seed         // by the complete series, from before the start; guarded by mu
	guard    guard                          // guarded by mu
	merged   [2][]byte                      // scratch; guarded by mu
	named    []byte                         // scratch; guarded by mu
	streams  map[signal.Stream]*streamEntry // guarded by mu
	redacted map[string]*atomic.Int64       // by the marker's name; guarded by mu
	swept    time.Time                      // guarded by mu
	taps     atomic.Pointer[[]*tap]         // read by Put, changed under mu
}

// settings are what a reload may change; they are replaced as a whole.
type settings struct {
	base     string // labels on everything
	nowhere  string // base without what says where this agent is
	rules    []*rule
	lines    *lineRules // the rules for lines; nil if there are none
	parse    logline.Format
	redact   *redactor
	limits   Cardinality
	enricher Enricher
	version  uint64 // of base and rules, joined with the enricher's below
}

// entry is what is known of one series.
type entry struct {
	full    signal.Series
	raw     signal.Series // its key; invalid once it is forgotten
	next    *entry        // what came behind it in the last batch, and nearly always does again
	extra   string        // what the enricher said
	version uint64        // of the settings full and drop were made with
	last    *seed         // nil for what is no counter or running distribution: most are not
	seen    uint32        // Unix seconds
	drop    bool
}

// seed is the last reading of a counter or running distribution.
type seed struct {
	time, start int64
	read        int64 // when it was read, if that is known; time may have been moved behind it
	value       float64
	hist        *signal.Hist
}

// New returns a hub that writes to spools. Configure must be called before Put.
func New(spools Spools, now time.Time) *Hub {
	return &Hub{
		spools:   spools,
		born:     now.UnixMilli(),
		series:   map[signal.Series]*entry{},
		seeds:    map[signal.Series]seed{},
		guard:    newGuard(),
		streams:  map[signal.Stream]*streamEntry{},
		redacted: map[string]*atomic.Int64{},
		swept:    now,
	}
}

// Configure sets the rules, the labels that everything gets, and the enricher,
// which may be nil. It may be called at any time; c must have passed Check.
func (h *Hub) Configure(c Config, base string, e Enricher) {
	parse, err := logline.ParseFormat(cmp.Or(c.Parse, "none"))
	if err != nil {
		panic("BUG: a format that did not pass Check: " + err.Error())
	}
	limits := Default().Cardinality
	limits.MaxSeries = cmp.Or(c.Cardinality.MaxSeries, limits.MaxSeries)
	limits.PerMetric = cmp.Or(c.Cardinality.PerMetric, limits.PerMetric)
	h.mu.Lock()
	defer h.mu.Unlock()
	rules := makeRules(c.Rules, h.settled.rules)
	h.settled = settings{
		base: base, nowhere: withoutPlace(base), rules: rules, lines: newLineRules(rules), parse: parse, limits: limits, enricher: e,
		redact:  newRedactor(c.Redact, h.redactedLocked),
		version: h.settled.version + 1,
	}
}

func (h *Hub) redactedLocked(name string) *atomic.Int64 {
	n := h.redacted[name]
	if n == nil {
		n = new(atomic.Int64)
		h.redacted[name] = n
	}
	return n
}

// Redacted returns how often each marker was set since the hub was made, by its
// name; those that were not are left out.
func (h *Hub) Redacted() map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]int64{}
	for name, n := range h.redacted {
		if v := n.Load(); v > 0 {
			all[name] = v
		}
	}
	return all
}

// Put completes b and appends it to the spool of its kind. It owns b. An error
// means that b is lost or in part: ctx ended or the spool is closed.
func (h *Hub) Put(ctx context.Context, b *signal.Batch) error {
	kind := b.Kind
	h.Complete(b)
	err := h.put(ctx, b)
	if err == nil {
		b.Release()
	}
	switch now := time.Now(); kind { // each kind waits for its own spool only
	case signal.Log:
		if due(&h.leftDue, now) {
			err = errors.Join(err, h.putLeft(ctx, now))
		}
	case signal.Metric:
		if due(&h.countsDue, now) {
			err = errors.Join(err, h.putCounts(ctx, now))
		}
	}
	return err
}

// flushEvery is how often the hub says what it counted and what it left out.
const flushEvery = 10 * time.Second

// due reports whether the time in at has come, and sets the next one.
func due(at *atomic.Int64, now time.Time) bool {
	old := at.Load()
	return now.UnixNano() >= old && at.CompareAndSwap(old, now.Add(flushEvery).UnixNano()) && old != 0
}

// Flush puts at once what Put would put within ten seconds: the lines about what
// a limit left out, and the samples of rules to count. The agent calls it when
// its sources have ended.
func (h *Hub) Flush(ctx context.Context) error {
	now := time.Now()
	return errors.Join(h.putLeft(ctx, now), h.putCounts(ctx, now))
}

// put shows a complete batch to the taps and appends it to its spool.
func (h *Hub) put(ctx context.Context, b *signal.Batch) error {
	st := &h.Stats[b.Kind]
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
	switch b.Kind {
	case signal.Metric:
		h.samples(b, st)
	case signal.Log:
		h.lines(b, st)
	case signal.Event:
		h.events(b, st)
	}
}

// sampleBytes is what a sample takes in a frame at most, usually, before it is compressed.
const sampleBytes = 64

// frames holds the buffers in which frames are built.
var frames = sync.Pool{New: func() any { return new([]byte) }}

func (h *Hub) append(ctx context.Context, b *signal.Batch, st *Stats) error {
	buf := frames.Get().(*[]byte)
	defer frames.Put(buf)
	if room := len(b.Samples) * sampleBytes; cap(*buf) < room { // grown by doubling it would be garbage twice over
		*buf = make([]byte, 0, room)
	}
	*buf = signal.AppendFrame((*buf)[:0], b)
	n := b.Len()
	seq, err := h.spools[b.Kind].Append(ctx, *buf, n)
	if err != nil {
		return err
	}
	st.Spooled.Add(int64(n))
	if h.Fresh != nil {
		h.Fresh(seq, b)
	}
	return nil
}

// enricherBits are those of a version that the enricher's takes.
const enricherBits = 40

// versionLocked identifies the present answers to "what labels, which rules".
func (h *Hub) versionLocked() uint64 {
	v := h.settled.version << enricherBits
	if e := h.settled.enricher; e != nil {
		v ^= e.Version()
	}
	return v
}

// completeLocked merges what the node and the enricher say into a label set.
func (h *Hub) completeLocked(labels string) string {
	extra := h.settled.under(labels)
	if e := h.settled.enricher; e != nil {
		extra = signal.Merge(extra, e.Labels(labels))
	}
	return signal.Merge(extra, labels)
}

// under returns the agent's labels that go under a label set.
func (s *settings) under(labels string) string {
	if signal.Lookup(labels, signal.LabelNowhere) != "" {
		return s.nowhere
	}
	return s.base
}

func withoutPlace(base string) string {
	var rest []byte
	for k, v := range signal.Walk(base) {
		switch k {
		case signal.LabelHost, signal.LabelHostID, signal.LabelNode, signal.LabelCloudZone:
		default:
			rest = signal.AppendLabel(rest, k, v)
		}
	}
	return string(rest)
}

func (h *Hub) samples(b *signal.Batch, st *Stats) {
	h.mu.Lock()
	h.samplesLocked(b, st)
	h.sweepLocked()
	news := h.guard.newsLocked()
	h.mu.Unlock()
	if news {
		h.tellOverflows()
	}
}

func (h *Hub) samplesLocked(b *signal.Batch, st *Stats) {
	version := h.versionLocked()
	now := time.Now().Unix()
	kept := b.Samples[:0]
	last := &entry{}
	for _, s := range b.Samples {
		e := last.next
		if e == nil || e.raw != s.Series { // to find one of 100,000 takes longer than all else here
			if e = h.series[s.Series]; e == nil {
				if e = h.admitLocked(s.Series, version); e == nil {
					h.foldLocked(&s, now, st)
					continue
				}
				st.Series.Add(1)
			}
			last.next = e
		}
		last = e
		e.seen = uint32(now)
		if e.version != version {
			h.refreshLocked(e, s.Series, version)
		}
		if e.drop {
			st.Dropped.Add(1)
			continue
		}
		s.Series = e.full
		switch s.Series.Type() {
		case signal.Counter, signal.CumDist:
			if e.last == nil {
				e.last = new(seed)
			}
			if !h.convert(e.last, &s, st) {
				st.Repeated.Add(1)
				continue
			}
		}
		kept = append(kept, s)
	}
	b.Samples = h.appendOverflowsLocked(kept, st)
}

// refreshLocked works out what a series is called, and whether it is dropped. If
// only the enricher has a new version and says the same as before, as for nearly
// every series when some pod changes, that is all that is asked.
func (h *Hub) refreshLocked(e *entry, raw signal.Series, version uint64) {
	d := raw.DescIn(h.named)
	if cap(h.named) < len(d.Labels) {
		h.named = make([]byte, 2*len(d.Labels))
	}
	extra := ""
	if h.settled.enricher != nil {
		extra = h.settled.enricher.Labels(d.Labels)
	}
	same := e.full.Valid() && e.version>>enricherBits == version>>enricherBits && extra == e.extra
	e.version = version
	if same {
		return
	}
	e.extra = extra
	// Intern keeps a copy, so what is merged may stand in memory that is used again:
	// a first page of 100,000 series would leave 60 MB of garbage otherwise.
	under := h.settled.under(d.Labels)
	if extra != "" {
		h.merged[0] = signal.AppendMerge(h.merged[0][:0], under, extra)
		under = view(h.merged[0])
	}
	h.merged[1] = signal.AppendMerge(h.merged[1][:0], under, d.Labels)
	d.Labels = stored(view(h.merged[1]))
	full := signal.Intern(d)
	signal.Settle(raw, full, under)
	if full != e.full {
		e.full = full
		if s, ok := h.seeds[full]; ok && e.last == nil {
			e.last = &s
			delete(h.seeds, full)
		}
	}
	e.drop = h.settled.drops(d)
}

// view returns b as a string, which holds until b is written to.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// drops reports whether a rule leaves the samples of d out.
func (s *settings) drops(d signal.Desc) bool {
	for _, r := range s.rules {
		if r.of(signal.Metric) && r.match.Series(d) {
			return r.action == drop
		}
	}
	return false
}

func (h *Hub) events(b *signal.Batch, st *Stats) {
	h.mu.Lock()
	settled := h.settled
	for i := range b.Events {
		b.Events[i].Labels = stored(h.completeLocked(b.Events[i].Labels))
	}
	h.mu.Unlock()
	kept := b.Events[:0]
	for _, e := range b.Events {
		if settled.dropsEvent(&e) {
			st.Dropped.Add(1)
			continue
		}
		e.Title, e.Text = settled.redact.string(e.Title), settled.redact.string(e.Text)
		kept = append(kept, e)
	}
	b.Events = kept
}

func (s *settings) dropsEvent(e *signal.EventItem) bool {
	for _, r := range s.rules {
		if r.of(signal.Event) && r.match.Event(e) {
			return r.action == drop
		}
	}
	return false
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
		if int64(e.seen) < old {
			h.guard.left(s)
			delete(h.series, s)
			e.raw, e.next = signal.Series{}, nil
		}
	}
	h.guard.sweep(old)
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
			if t := s.Series.Type(); (t == signal.Counter || t == signal.CumDist) && s.Time > h.seeds[s.Series].time {
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

// Replay calls f for the batch of each log frame after seq, oldest first, and with
// nil where frames are missing: a power cut may take some and leave younger ones.
// The batch is valid during the call only.
func (h *Hub) Replay(after uint64, f func(*signal.Batch)) error {
	var b signal.Batch
	next := after + 1
	return h.spools[signal.Log].Scan(after, func(seq spool.Seq, frame []byte) error {
		if seq != next && next > 1 { // of what was before the oldest nothing is known
			f(nil)
		}
		next = seq + 1
		b.Reset(signal.Log)
		if signal.AppendFromFrame(&b, frame) == nil {
			f(&b)
		} else {
			f(nil)
		}
		return nil
	})
}
