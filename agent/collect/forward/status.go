package forward

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// Stats counts everything that arrives; each field may be read at any time. At
// rest these hold:
//
//	Records == Lines + Malformed + Empty
//	Lines   == Items + Lost
type Stats struct {
	Messages  atomic.Int64 // of all modes
	Chunks    atomic.Int64 // of which asked for an acknowledgement
	Acked     atomic.Int64 // of which got one
	Records   atomic.Int64 // in messages
	Lines     atomic.Int64
	Malformed atomic.Int64 // records that are no map, or have no time
	Empty     atomic.Int64 // records without a text
	Repaired  atomic.Int64 // lines that were no UTF-8
	Cut       atomic.Int64 // lines longer than max_line
	Left      atomic.Int64 // fields for which a line's labels had no room
	Folded    atomic.Int64 // lines that went into the stream labelled overflow=true
	Foreign   atomic.Int64 // messages of metrics or traces, passed over

	Connections atomic.Int64 // open now
	Refused     atomic.Int64 // connections closed because there were too many, or held too much
	Bad         atomic.Int64 // connections closed because they did not speak the protocol
	Denied      atomic.Int64 // connections closed in the handshake

	Items atomic.Int64 // lines that the Sink took
	Lost  atomic.Int64 // lines that it did not take; those of chunks come again
}

// Kinds of trouble, each of which is there or not.
const (
	troubleRefused = iota
	troubleBad
	troubleDenied
	troubleFolded
	troubles
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

// watch looks what went wrong since the last look.
func (s *Source) watch() {
	st := &s.stats
	for kind, c := range [troubles]struct {
		n      int64
		format string
	}{
		{st.Refused.Load(), "%d connections closed, as there are 1000, or as they hold 256 MiB together: have fewer senders, or smaller chunks (chunk_limit_size)"},
		{st.Bad.Load(), "%d connections closed: their senders do not speak Fluent Forward, or send chunks longer than max_chunk"},
		{st.Denied.Load(), "%d connections closed in the handshake: compare shared_key, and TLS, with the sender's"},
		{st.Folded.Load(), "%d lines went into the stream labelled overflow=true: more than 4096 pairs of tag and origin"},
	} {
		text := ""
		if n := c.n - s.seen[kind]; n > 0 {
			text = fmt.Sprintf(c.format, n)
		}
		s.seen[kind] = c.n
		s.trouble.Set(kind, text)
	}
}
