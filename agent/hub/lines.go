package hub

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// labelSkip is a label of a stream that the enricher sets for the hub alone, as it
// does signal.LabelParse: "true" says that nobody wants its lines. Neither is stored.
const labelSkip = "causeway.log.skip"

// streamEntry is what is known of one stream.
type streamEntry struct {
	// Guarded by Hub.mu.
	full    signal.Stream
	version uint64
	seen    int64
	skip    bool
	format  logline.Format

	limited atomic.Bool // a bucket has something to say

	work    sync.Mutex // one block of a stream at a time
	parser  *logline.Parser
	parses  logline.Format
	key     keyState
	rules   *lineRules // the configuration that buckets belong to
	buckets []*bucket
}

// job is the work on one block, which is done without Hub.mu: a batch of metrics
// must not wait for 1 MiB of lines.
type job struct {
	e      *streamEntry
	full   signal.Stream
	skip   bool
	format logline.Format
}

func (h *Hub) lines(b *signal.Batch, st *Stats) {
	now := time.Now()
	jobs := make([]job, len(b.Logs))
	h.mu.Lock()
	version := h.versionLocked()
	settled := h.settled
	for i := range b.Logs {
		raw := b.Logs[i].Stream
		e := h.streams[raw]
		if e == nil {
			e = &streamEntry{version: ^version}
			h.streams[raw] = e
		}
		e.seen = now.Unix()
		if e.version != version {
			h.refreshStreamLocked(e, raw, version)
		}
		jobs[i] = job{e, e.full, e.skip, e.format}
	}
	h.sweepLocked()
	h.mu.Unlock()
	for i := range b.Logs {
		blk, j := &b.Logs[i], &jobs[i]
		blk.Stream = j.full
		if j.skip {
			st.Skipped.Add(int64(len(blk.Lines)))
			blk.Text, blk.Lines, blk.Attrs = nil, nil, nil
			continue
		}
		j.e.work.Lock()
		j.block(blk, &settled, now, st)
		j.e.work.Unlock()
	}
}

func (h *Hub) refreshStreamLocked(e *streamEntry, raw signal.Stream, version uint64) {
	labels := h.completeLocked(raw.Labels())
	e.version = version
	e.skip = signal.Lookup(labels, labelSkip) == "true"
	e.format = logline.None
	if name := signal.Lookup(labels, signal.LabelParse); name != "" {
		// What nobody can parse stays as it is; package kube says so of an annotation.
		e.format, _ = logline.ParseFormat(name)
	} else if signal.Lookup(labels, signal.LabelPodUID) != "" || signal.Lookup(labels, signal.LabelContainerID) != "" {
		e.format = h.settled.parse
	}
	e.full = signal.InternStream(stored(labels))
}

// stored returns a label set without what is for the hub alone, and without
// empty values: a collector says so that a label of the agent's is not its own.
func stored(labels string) string {
	ours := func(k, v string) bool {
		return v == "" || k == signal.LabelParse || k == labelSkip || k == signal.LabelNowhere
	}
	clean := true
	for k, v := range signal.Walk(labels) {
		clean = clean && !ours(k, v)
	}
	if clean {
		return labels
	}
	var kept []byte
	for k, v := range signal.Walk(labels) {
		if !ours(k, v) {
			kept = signal.AppendLabel(kept, k, v)
		}
	}
	return string(kept)
}

// block does all that is done with the lines of one block. The order matters:
// rules see time, severity and labels that the lines themselves state, and what
// they drop is not searched for secrets.
func (j *job) block(blk *signal.LogBlock, s *settings, now time.Time, st *Stats) {
	if j.format != logline.None && len(blk.Lines) > 0 {
		if j.e.parser == nil || j.e.parses != j.format {
			j.e.parser, j.e.parses = logline.NewParser(j.format), j.format
		}
		parseLines(j.e.parser, blk, st)
	}
	if s.lines != nil {
		j.judge(blk, s, now, st)
	}
	s.redact.block(blk, &j.e.key)
}

// parseLines sets what each line says of itself: time, severity, labels.
func parseLines(p *logline.Parser, blk *signal.LogBlock, st *Stats) {
	attrs := blk.SpareAttrs(len(blk.Attrs) + 64*len(blk.Lines))
	parsed := 0
	lo, attrLo := uint32(0), uint32(0)
	for i := range blk.Lines {
		l := &blk.Lines[i]
		r, out, ok := p.Parse(blk.Text[lo:l.End:l.End], l.Time, blk.Attrs[attrLo:l.AttrEnd:l.AttrEnd])
		if ok {
			parsed++
			if r.Time != 0 {
				l.Time = r.Time
			}
			if r.Level != signal.LevelUnknown {
				l.Level = r.Level
			}
		}
		lo, attrLo = l.End, l.AttrEnd
		attrs = append(attrs, out...)
		l.AttrEnd = uint32(len(attrs))
	}
	p.Rest() // thousands of streams say nothing most of the time
	blk.Attrs = attrs
	st.Parsed.Add(int64(parsed))
	st.Unparsed.Add(int64(len(blk.Lines) - parsed))
}

// judge applies the rules, and rebuilds a block that loses a line. Unlike a
// destination's own filter it keeps each block in one piece: its End is what a
// restart goes on from.
func (j *job) judge(blk *signal.LogBlock, s *settings, now time.Time, st *Stats) {
	if j.e.rules != s.lines { // what was left out by rules of before is still to be told
		j.e.rules = s.lines
		j.e.buckets = slices.DeleteFunc(j.e.buckets, func(b *bucket) bool { return b.left == 0 })
	}
	verdict := judge{e: j.e, l: s.lines, redact: s.redact, st: st, now: now, file: hashOf(blk.File)}
	rest := signal.LogBlock{Stream: blk.Stream, File: blk.File, Start: blk.Start, End: blk.End}
	same := true
	for i := range blk.Lines {
		l := blk.Line(i)
		keeps := verdict.keeps(l)
		if !keeps && same {
			same = false
			for before := range i {
				b := blk.Line(before)
				rest.Append(b.Time, b.Level, b.Text, b.Attrs)
			}
		}
		if keeps && !same {
			rest.Append(l.Time, l.Level, l.Text, l.Attrs)
		}
	}
	if !same {
		*blk = rest
	}
	if slices.ContainsFunc(j.e.buckets, func(b *bucket) bool { return b.left > 0 }) {
		j.e.limited.Store(true)
	}
}
