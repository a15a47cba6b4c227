package syslog

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	batchBytes = 1 << 20
	batchLines = 5000
	maxStreams = 4096
	maxApp     = 64 // bytes of a program's name that make a stream; RFC 5424 allows 48, RFC 3164 32
	forget     = 10 * time.Minute
)

// LabelAddress holds the address a message came from; OpenTelemetry's
// source.address.
const LabelAddress = "source.address"

// origin tells streams apart.
type origin struct {
	addr netip.Addr // none for Unix sockets
	app  string
}

// stream is one that lines came of lately.
type stream struct {
	stream signal.Stream
	block  int   // its block in the batch, -1 if it has none
	last   int64 // Unix nanoseconds
}

// batcher gathers messages of all listeners into one batch.
type batcher struct {
	s    *Source
	ctx  context.Context // of Put; ends farewell behind that of Run
	out  collect.Sink
	base string // labels of the configuration
	file string // names this life in LogBlock.File

	mu      sync.Mutex // held during Put: this is what stops all readers
	streams map[origin]*stream
	rest    *stream // for those above maxStreams
	batch   *signal.Batch
	bytes   int
	lines   int
	number  int64 // of lines before this batch
	swept   int64 // Unix nanoseconds
}

func (s *Source) newBatcher(ctx context.Context, out collect.Sink) *batcher {
	now := time.Now().UnixNano()
	b := &batcher{
		s: s, ctx: ctx, out: out, base: s.conf.labels(), streams: map[origin]*stream{},
		file: "syslog:" + strings.Join(s.conf.Listen, ",") + "#" + strconv.FormatInt(now, 36),
	}
	b.rest = &stream{stream: signal.InternStream(signal.Merge(b.base, signal.Labels(signal.LabelOverflow, "true"))), block: -1}
	b.batch = &signal.Batch{Kind: signal.Log}
	return b
}

// take makes a line of one message, which lacks cut bytes. p is the caller's;
// msg is not kept. It blocks as long as the Sink does.
func (b *batcher) take(p *logline.Parser, msg []byte, cut int, from netip.Addr, now int64) {
	st := &b.s.stats
	st.Messages.Add(1)
	st.Bytes.Add(int64(len(msg)))
	var attrs []byte
	if cut > 0 {
		attrs = signal.AppendLabel(nil, signal.LabelLogCut, strconv.Itoa(cut))
	}
	rec, body, attrs, ok := p.ParseSyslog(msg, now, attrs)
	body = bytes.TrimRight(body, "\r\n\x00")
	if len(body) == 0 {
		st.Empty.Add(1)
		return
	}
	if !ok {
		st.Malformed.Add(1)
	}
	if !utf8.Valid(body) {
		st.Repaired.Add(1)
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	if rec.Time == 0 {
		rec.Time = now
	}
	app := ""
	if len(attrs) > 0 {
		app = signal.Lookup(unsafe.String(&attrs[0], len(attrs)), signal.LabelAppName)
	}
	if len(app) > maxApp || b.s.conf.Service != "" && b.s.conf.Source != "" {
		app = ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	blk := b.blockLocked(origin{from, app}, now)
	blk.Append(rec.Time, rec.Level, body, attrs)
	b.bytes += len(body) + len(attrs)
	b.lines++
	st.Lines.Add(1)
	if b.bytes >= batchBytes || b.lines >= batchLines {
		b.flushLocked()
	}
}

// blockLocked returns the block of o's stream in the batch. o's string is not kept.
func (b *batcher) blockLocked(o origin, now int64) *signal.LogBlock {
	x := b.streams[o]
	if x == nil {
		if x = b.admitLocked(o, now); x == nil {
			b.s.stats.Folded.Add(1)
			x = b.rest
		}
	}
	x.last = now
	if x.block < 0 {
		x.block = len(b.batch.Logs)
		b.batch.Logs = append(b.batch.Logs, signal.LogBlock{Stream: x.stream, File: b.file})
	}
	return &b.batch.Logs[x.block]
}

// admitLocked makes a stream for o, nil if there are too many.
func (b *batcher) admitLocked(o origin, now int64) *stream {
	if len(b.streams) >= maxStreams && now-b.swept > int64(time.Second) {
		b.swept = now
		for k, x := range b.streams {
			if x.block < 0 && now-x.last > int64(forget) {
				delete(b.streams, k)
			}
		}
	}
	if len(b.streams) >= maxStreams {
		return nil
	}
	o.app = strings.Clone(o.app)
	own := []string{}
	if o.addr.IsValid() {
		own = append(own, LabelAddress, o.addr.String())
	}
	if o.app != "" {
		if b.s.conf.Service == "" {
			own = append(own, signal.LabelService, o.app)
		}
		if b.s.conf.Source == "" {
			own = append(own, signal.LabelLogSource, o.app)
		}
	}
	// Tags count more than what anybody sends.
	x := &stream{stream: signal.InternStream(signal.Merge(signal.Labels(own...), b.base)), block: -1}
	b.streams[o] = x
	return x
}

// flush hands over what there is.
func (b *batcher) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushLocked()
}

func (b *batcher) flushLocked() {
	if b.lines == 0 {
		return
	}
	for i := range b.batch.Logs {
		blk := &b.batch.Logs[i]
		blk.Start = b.number
		b.number += int64(len(blk.Lines))
		blk.End = b.number
	}
	for _, x := range b.streams {
		x.block = -1
	}
	b.rest.block = -1
	batch, n := b.batch, int64(b.lines)
	b.batch, b.bytes, b.lines = &signal.Batch{Kind: signal.Log}, 0, 0
	if err := b.out.Put(b.ctx, batch); err != nil { // the Sink says why
		b.s.stats.Lost.Add(n)
		return
	}
	b.s.stats.Items.Add(n)
}
