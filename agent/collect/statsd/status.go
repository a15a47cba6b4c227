package statsd

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/causeway-agent/causeway/agent/collect"
)

// Stats counts everything that arrives; each field may be read at any time. At
// rest these hold:
//
//	Lines   == Metrics + Events + Checks + Refused + the sum of Malformed
//	Flushed == Items + Lost
type Stats struct {
	Packets atomic.Int64 // datagrams, and frames of streams
	Bytes   atomic.Int64 // in them
	Lines   atomic.Int64 // that are not empty

	Metrics   atomic.Int64          // lines taken into a series
	Events    atomic.Int64          // lines taken as events
	Checks    atomic.Int64          // lines taken as service checks
	Refused   atomic.Int64          // good lines for which a bound left no room
	Malformed [reasons]atomic.Int64 // lines that are none of these, by Reason

	Values     atomic.Int64 // in Metrics: more than lines where values are packed
	Folded     atomic.Int64 // lines of Metrics that went into a series labelled overflow=true
	Unresolved atomic.Int64 // new series whose cgroup's inode was not found
	Series     atomic.Int64 // alive now
	Expired    atomic.Int64 // series that ended

	Dropped     atomic.Int64 // datagrams for which the kernel had no room
	Connections atomic.Int64 // of streams, open now
	Cut         atomic.Int64 // stream connections ended by us: bad length, or too many

	Flushed atomic.Int64 // samples and events given to the Sink
	Items   atomic.Int64 // those it took
	Lost    atomic.Int64 // those it did not take
}

// Reason says why a line is malformed.
type Reason uint8

// The reasons, as Stats.Malformed is indexed.
const (
	BadName   Reason = 1 + iota // none, too long, or with control characters
	BadValue                    // none, or no finite number
	BadType                     // none, or not one of c g ms h d s
	BadRate                     // not above 0 and up to 1
	BadStamp                    // no time, or of a type that takes none
	BadEvent                    // of a line that begins with _e
	BadCheck                    // of a line that begins with _sc
	Truncated                   // the end of a datagram longer than 64 KiB
	reasons
)

// String returns the reason in a few words.
func (r Reason) String() string {
	switch r {
	case BadName:
		return "name"
	case BadValue:
		return "value"
	case BadType:
		return "type"
	case BadRate:
		return "sample rate"
	case BadStamp:
		return "timestamp"
	case BadEvent:
		return "event"
	case BadCheck:
		return "service check"
	case Truncated:
		return "truncated"
	}
	return "none"
}

// Kinds of trouble, each of which is there or not.
const (
	troubleDrops = iota
	troubleMalformed
	troubleSeries
	troubleConnections
)

// Stats returns the counters.
func (s *Source) Stats() *Stats { return &s.stats }

// Trouble returns what is wrong now, with its remedy; nil if nothing is.
func (s *Source) Trouble() []string { return s.trouble.List() }

// Lately returns the same, and what was wrong within ten minutes.
func (s *Source) Lately() []string { return s.trouble.Lately() }

// Addresses returns where the Source listens, with the ports it was given.
func (s *Source) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bound)
}

// watchDrops looks what the kernel has dropped since the last look.
func (s *Source) watchDrops(ls []*listener) {
	text := ""
	for _, l := range ls {
		now, ok := l.dropped()
		if !ok {
			continue
		}
		n := now - l.drops // both wrap alike
		l.drops = now
		s.stats.Dropped.Add(int64(n))
		if n > 0 {
			text = fmt.Sprintf("the kernel dropped %d datagrams at %v in one interval, its buffer of %d bytes was full: %s",
				n, l.Address, l.buffer, s.dropRemedy(l))
		}
	}
	s.trouble.Set(troubleDrops, text)
}

func (s *Source) dropRemedy(l *listener) string {
	more := "pack several metrics into a datagram, sample (|@0.1), or use a unixgram socket, where senders wait"
	if int64(l.buffer) < s.conf.Buffer {
		limit := "unknown"
		if p, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err == nil {
			limit = strings.TrimSpace(string(p))
		}
		return fmt.Sprintf("set sysctl net.core.rmem_max (now %s) to %d on the node and restart the agent; or %s", limit, s.conf.Buffer, more)
	}
	return "raise collect.statsd.buffer; or " + more
}

// sayMalformed tells of the last interval's malformed and folded lines.
func (s *Source) sayMalformed(bad badLines) {
	text := ""
	if bad.count > 0 {
		text = fmt.Sprintf("%d malformed lines in one interval, the last for its %v: %q; mend the sender", bad.count, bad.reason, bad.line)
	}
	s.trouble.Set(troubleMalformed, text)
	text = ""
	if bad.folded > 0 {
		text = fmt.Sprintf("more than %d series: %d lines folded into overflow=true, the last of metric %q with tags %q; "+
			"take a tag with many values away at the sender, or raise collect.statsd.max_series", s.conf.MaxSeries, bad.folded, bad.metric, bad.tags)
	}
	s.trouble.Set(troubleSeries, text)
	text = ""
	if bad.connections > 0 {
		text = fmt.Sprintf("%d stream connections were closed: a client that frames wrongly, or more than %d of them", bad.connections, collect.MaxConnections)
	}
	s.trouble.Set(troubleConnections, text)
}
