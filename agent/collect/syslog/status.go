package syslog

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
)

// Stats counts everything that arrives; each field may be read at any time. At
// rest these hold:
//
//	Messages == Lines + Empty
//	Lines    == Items + Lost
type Stats struct {
	Messages atomic.Int64 // datagrams, and frames of connections
	Bytes    atomic.Int64 // in them, without framing and what was cut
	Empty    atomic.Int64 // messages without a text
	Lines    atomic.Int64 // messages that became lines

	Malformed atomic.Int64 // lines without a header, taken as they are
	Repaired  atomic.Int64 // lines that were no UTF-8
	Folded    atomic.Int64 // lines that went into the stream labelled overflow=true
	Cut       atomic.Int64 // messages longer than max_message
	CutBytes  atomic.Int64 // of which so much was passed over
	Partial   atomic.Int64 // messages within which their connection ended

	Reframed    atomic.Int64 // messages without a length behind one that had one
	BadFrames   atomic.Int64 // connections closed for a length that cannot be
	Connections atomic.Int64 // open now
	Refused     atomic.Int64 // connections closed because there were too many
	Handshakes  atomic.Int64 // connections with which no TLS came about
	Dropped     atomic.Int64 // UDP datagrams for which the kernel had no room

	Items atomic.Int64 // lines that the Sink took
	Lost  atomic.Int64 // lines that it did not take
}

// Kinds of trouble, each of which is there or not.
const (
	troubleDrops = iota
	troubleFrames
	troubleRefused
	troubleHandshakes
	troubleStreams
)

// Stats returns the counters.
func (s *Source) Stats() *Stats { return &s.stats }

// Trouble returns what was wrong in the last ten seconds, with its remedy; nil
// if nothing was.
func (s *Source) Trouble() []string { return s.trouble.List() }

// Lately returns the same, and what was wrong within ten minutes.
func (s *Source) Lately() []string { return s.trouble.Lately() }

// Addresses returns where the Source listens, with the ports it was given.
func (s *Source) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bound)
}

// seen is what watch saw the last time.
type seen struct{ frames, refused, handshakes, folded int64 }

// watch looks what went wrong since the last look.
func (s *Source) watch(ls []*listener) {
	text := ""
	for _, l := range ls {
		if l.udp == nil {
			continue
		}
		now, ok := dropped(l.udp)
		if !ok {
			continue
		}
		n := now - l.drops // both wrap alike
		l.drops = now
		s.stats.Dropped.Add(int64(n))
		if n > 0 {
			text = fmt.Sprintf("the kernel dropped %d messages at %v, its buffer of %d bytes was full: %s", n, l.Address, l.buffer, s.dropRemedy(l))
		}
	}
	s.trouble.Set(troubleDrops, text)
	now := seen{s.stats.BadFrames.Load(), s.stats.Refused.Load(), s.stats.Handshakes.Load(), s.stats.Folded.Load()}
	was := s.seen
	s.seen = now
	say := func(kind int, n int64, format string) {
		text := ""
		if n > 0 {
			text = fmt.Sprintf(format, n)
		}
		s.trouble.Set(kind, text)
	}
	say(troubleFrames, now.frames-was.frames, "%d connections closed for a length that cannot be: their senders speak no syslog")
	say(troubleRefused, now.refused-was.refused, "%d connections closed, as there are 1000 already: have a relay gather them, or use UDP")
	say(troubleHandshakes, now.handshakes-was.handshakes, "%d connections without a TLS handshake: the sender does not speak TLS, "+
		"or has no certificate that tls.client_ca knows, or does not trust ours")
	say(troubleStreams, now.folded-was.folded, "%d lines went into the stream labelled overflow=true: more than 4096 pairs of sender and program; "+
		"set service and source, so that programs' names make no streams")
}

func (s *Source) dropRemedy(l *listener) string {
	if int64(l.buffer) < s.conf.Buffer {
		limit := "unknown"
		if p, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err == nil {
			limit = strings.TrimSpace(string(p))
		}
		return fmt.Sprintf("set sysctl net.core.rmem_max (now %s) to %d on the node and restart the agent; or send by TCP", limit, s.conf.Buffer)
	}
	return "raise buffer; or send by TCP, where senders wait"
}
