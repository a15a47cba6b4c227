package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// action is what a rule does with an item that it matches.
type action uint8

const (
	keep action = iota
	drop
	sample
	limit
	count
)

// rule is one of process.rules, ready for use.
type rule struct {
	Rule
	kind   signal.Kind // 0: all
	match  *signal.Match
	action action
	burst  float64 // limit
	counts *counts // count
}

func (r *rule) of(k signal.Kind) bool { return r.kind == 0 || r.kind == k }

// makeRules makes rules of what has passed Check. A rule to count that was there
// before goes on with its totals.
func makeRules(from []Rule, before []*rule) []*rule {
	var rules []*rule
	for _, c := range from {
		m, err := signal.ParseMatch(c.Match)
		if err != nil {
			panic("BUG: a rule that did not pass Check: " + err.Error())
		}
		r := &rule{Rule: c, match: m, burst: max(1, c.PerSecond, float64(c.Burst))}
		if c.Burst > 0 {
			r.burst = float64(c.Burst)
		}
		r.action = action(slices.Index([]string{"keep", "drop", "sample", "limit", "count"}, c.Action))
		for _, k := range signal.Kinds {
			if k.String() == c.Kind {
				r.kind = k
			}
		}
		if r.action == count {
			r.counts = &counts{by: map[string]*tally{}}
			for _, old := range before {
				if old.action == count && old.Name == c.Name && old.Match == c.Match && slices.Equal(old.Labels, c.Labels) {
					r.counts = old.counts
				}
			}
		}
		rules = append(rules, r)
	}
	return rules
}

// lineRules are the rules for lines. Their address tells one configuration's from
// the next one's.
type lineRules struct{ rules []*rule }

func newLineRules(rules []*rule) *lineRules {
	l := &lineRules{}
	for _, r := range rules {
		if r.of(signal.Log) {
			l.rules = append(l.rules, r)
		}
	}
	if len(l.rules) == 0 {
		return nil
	}
	return l
}

// bucket is how much of a rule to limit a stream has used.
type bucket struct {
	rule   *rule
	tokens float64
	at     time.Time
	left   int64 // lines left out that nobody was told of yet
}

// take reports whether one more line passes.
func (b *bucket) take(now time.Time) bool {
	b.tokens = min(b.rule.burst, b.tokens+now.Sub(b.at).Seconds()*b.rule.PerSecond)
	b.at = now
	if b.tokens < 1 {
		b.left++
		return false
	}
	b.tokens--
	return true
}

// judge applies rules to the lines of one block of one stream.
type judge struct {
	e      *streamEntry
	l      *lineRules
	redact *redactor
	st     *Stats
	now    time.Time
	file   uint64 // hash of the block's File
	labels []byte
}

// keeps says whether a line stays, and counts what speaks for its fate.
func (j *judge) keeps(l signal.LogLine) bool {
	for _, r := range j.l.rules {
		if !r.match.Line(l) {
			continue
		}
		switch r.action {
		case drop:
			j.st.Dropped.Add(1)
			return false
		case sample:
			// The line's own identity decides: a second reading says the same.
			if float64(mix(j.file^mix(uint64(l.ID)))>>11) < r.Rate*(1<<53) {
				return true
			}
			j.st.Sampled.Add(1)
			return false
		case limit:
			if j.e.bucket(r, j.now).take(j.now) {
				return true
			}
			j.st.Limited.Add(1)
			return false
		case count:
			j.st.Counted.Add(1)
			j.count(r, l)
			continue
		}
		return true
	}
	return true
}

// bucket returns the stream's bucket of a rule, a full one at first.
func (e *streamEntry) bucket(r *rule, now time.Time) *bucket {
	for _, b := range e.buckets {
		if b.rule == r {
			return b
		}
	}
	b := &bucket{rule: r, tokens: r.burst, at: now}
	e.buckets = append(e.buckets, b)
	return b
}

// hashOf is FNV-1a of s: the same in every run of the agent.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads a number over all 64 bits: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// counts are the totals of one rule to count, one for each set of its labels.
type counts struct {
	mu sync.Mutex
	by map[string]*tally // guarded by mu
}

type tally struct {
	series signal.Series
	start  int64 // Unix milliseconds
	total  float64
	seen   int64 // Unix seconds
}

// mostCounts bounds the label sets of one rule to count; above it they are
// counted together.
const mostCounts = 1000

func (j *judge) count(r *rule, l signal.LogLine) {
	set := j.labels[:0]
	for _, key := range r.Labels {
		v := signal.Lookup(string(l.Attrs), key)
		switch {
		case key == "level" && l.Level != signal.LevelUnknown:
			v = strconv.Itoa(int(l.Level))
		case v == "":
			v = signal.Lookup(l.Block.Stream.Labels(), key)
		}
		if v != "" {
			set = signal.AppendLabel(set, key, v)
		}
	}
	j.labels = set
	r.counts.mu.Lock()
	defer r.counts.mu.Unlock()
	t := r.counts.by[string(set)]
	if t == nil {
		key, labels := string(set), signal.Sorted(string(j.redact.appendLabels(nil, string(set))))
		if len(r.counts.by) >= mostCounts {
			labels = signal.Labels(signal.LabelOverflow, "true")
			key = labels
		}
		if t = r.counts.by[key]; t == nil {
			d := signal.Desc{Name: r.Name, Unit: "{line}", Type: signal.Counter, Labels: labels}
			t = &tally{series: signal.Intern(d), start: j.now.UnixMilli()}
			r.counts.by[key] = t
		}
	}
	t.total++
	t.seen = j.now.Unix()
}

// putCounts puts a sample of every counter of the rules to count, and forgets
// those whose lines have not been seen for long.
func (h *Hub) putCounts(ctx context.Context, now time.Time) error {
	h.mu.Lock()
	rules := h.settled.rules
	h.mu.Unlock()
	b := &signal.Batch{Kind: signal.Metric}
	sums := map[signal.Series]int{} // two rules may count into one series
	for _, r := range rules {
		if r.action != count {
			continue
		}
		r.counts.mu.Lock()
		for _, key := range slices.Sorted(maps.Keys(r.counts.by)) {
			t := r.counts.by[key]
			if t.seen < now.Add(-Forget).Unix() {
				delete(r.counts.by, key)
				continue
			}
			if i, ok := sums[t.series]; ok {
				b.Samples[i].Value += t.total
				b.Samples[i].Start = min(b.Samples[i].Start, t.start)
				continue
			}
			sums[t.series] = len(b.Samples)
			b.Add(signal.Sample{Series: t.series, Start: t.start, Time: now.UnixMilli(), Value: t.total})
		}
		r.counts.mu.Unlock()
	}
	if b.Len() == 0 {
		return nil
	}
	h.Complete(b)
	return h.put(ctx, b)
}

// putLeft puts a line into each stream of which a limit has left lines out.
func (h *Hub) putLeft(ctx context.Context, now time.Time) error {
	h.mu.Lock()
	var limited []*streamEntry
	var streams []signal.Stream
	for _, e := range h.streams {
		if e.limited.Load() {
			limited, streams = append(limited, e), append(streams, e.full)
		}
	}
	h.mu.Unlock()
	b := &signal.Batch{Kind: signal.Log}
	for i, e := range limited {
		blk := signal.LogBlock{Stream: streams[i], File: "hub:limit", Start: now.UnixNano(), End: now.UnixNano()}
		e.work.Lock()
		e.limited.Store(false)
		for _, bk := range e.buckets {
			if bk.left > 0 {
				blk.Append(now.UnixNano(), 4, fmt.Appendf(nil, "causeway: %d lines of this stream left out by rule %s", bk.left, bk.rule.Match), nil)
				bk.left = 0
			}
		}
		e.work.Unlock()
		if len(blk.Lines) > 0 {
			blk.End += int64(len(blk.Lines))
			b.Logs = append(b.Logs, blk)
		}
	}
	if b.Len() == 0 {
		return nil
	}
	h.Stats[signal.Log].In.Add(int64(b.Len()))
	return h.put(ctx, b)
}
