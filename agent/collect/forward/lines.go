package forward

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	batchBytes = 1 << 20
	batchLines = 5000
	maxStreams = 4096
)

// batcher gathers lines. The one that is shared holds those that nobody asked an
// acknowledgement for; a chunk has one of its own.
type batcher struct {
	s   *Source
	ctx context.Context // of Put; ends farewell behind that of Run
	out collect.Sink
	all *names

	mu     sync.Mutex // held during Put: this is what stops readers
	batch  *signal.Batch
	blocks map[signal.Stream]int
	bytes  int
	lines  int
}

// names are what all batchers of a life share.
type names struct {
	base string // labels of the configuration
	file string // names this life in LogBlock.File

	mu      sync.Mutex
	number  int64                    // guarded by mu: of lines ever
	streams map[string]signal.Stream // guarded by mu: by tag and labels as they were sent
	began   time.Time                // guarded by mu: since when streams are remembered
	rest    signal.Stream            // for those above maxStreams
}

func (s *Source) newBatcher(ctx context.Context, out collect.Sink) *batcher {
	now := time.Now()
	base := s.conf.labels()
	return (&batcher{s: s, ctx: ctx, out: out, all: &names{
		base: base, streams: map[string]signal.Stream{}, began: now,
		file: "forward:" + strings.Join(s.conf.Listen, ",") + "#" + strconv.FormatInt(now.UnixNano(), 36),
		rest: signal.InternStream(signal.Merge(base, signal.Labels(signal.LabelOverflow, "true"))),
	}}).own()
}

// own returns an empty batcher beside b.
func (b *batcher) own() *batcher {
	return &batcher{s: b.s, ctx: b.ctx, out: b.out, all: b.all, batch: &signal.Batch{Kind: signal.Log}, blocks: map[signal.Stream]int{}}
}

// stream returns that of a tag and the labels of a record, which are not sorted.
func (n *names) stream(key []byte, tag string, labels []byte, st *Stats) signal.Stream {
	n.mu.Lock()
	defer n.mu.Unlock()
	if x, ok := n.streams[string(key)]; ok {
		return x
	}
	if len(n.streams) >= maxStreams {
		if time.Since(n.began) < 10*time.Minute {
			st.Folded.Add(1)
			return n.rest
		}
		clear(n.streams)
		n.began = time.Now()
	}
	set := signal.Merge(signal.Sorted(string(labels)), signal.Labels(LabelTag, strings.ToValidUTF8(tag, "\uFFFD")))
	x := signal.InternStream(signal.Merge(set, n.base)) // tags count more than what anybody sends
	n.streams[string(key)] = x
	return x
}

// take adds one line, which is not kept. An error is the Sink's.
func (b *batcher) take(time int64, stream signal.Stream, l *line) error {
	st := &b.s.stats
	body := bytes.TrimRight(l.text, "\r\n")
	if len(body) == 0 {
		st.Empty.Add(1)
		return nil
	}
	st.Lines.Add(1)
	st.Left.Add(int64(l.left))
	if cut := len(body) - int(b.s.conf.MaxLine); cut > 0 {
		st.Cut.Add(1)
		body = body[:len(body)-cut]
		l.attrs = signal.AppendLabel(l.attrs, signal.LabelLogCut, strconv.Itoa(cut))
	}
	if !utf8.Valid(body) {
		st.Repaired.Add(1)
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	attrs := signal.Sorted(view(l.attrs))
	b.mu.Lock()
	defer b.mu.Unlock()
	i, ok := b.blocks[stream]
	if !ok {
		i = len(b.batch.Logs)
		b.blocks[stream] = i
		b.batch.Logs = append(b.batch.Logs, signal.LogBlock{Stream: stream, File: b.all.file})
	}
	b.batch.Logs[i].Append(time, l.level, body, []byte(attrs))
	b.bytes += len(body) + len(attrs)
	b.lines++
	if b.bytes >= batchBytes || b.lines >= batchLines {
		return b.flushLocked()
	}
	return nil
}

// flush hands over what there is. An error is the Sink's.
func (b *batcher) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushLocked()
}

func (b *batcher) flushLocked() error {
	if b.lines == 0 {
		return nil
	}
	n := int64(b.lines)
	b.all.mu.Lock()
	at := b.all.number
	b.all.number += n
	b.all.mu.Unlock()
	for i := range b.batch.Logs {
		blk := &b.batch.Logs[i]
		blk.Start = at
		at += int64(len(blk.Lines))
		blk.End = at
	}
	batch := b.batch
	b.batch, b.bytes, b.lines = &signal.Batch{Kind: signal.Log}, 0, 0
	clear(b.blocks)
	if err := b.out.Put(b.ctx, batch); err != nil { // the Sink says why
		b.s.stats.Lost.Add(n)
		return err
	}
	b.s.stats.Items.Add(n)
	return nil
}
