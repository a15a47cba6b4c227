package prom

import (
	"errors"
	"sync/atomic"
	"time"
)

// Stats counts what was scraped. At rest these hold:
//
//	Scrapes == Good + the sum of Failed
//	Samples == Plain + Folded + Born + Dropped + Twins + Old + NaN     of good scrapes
//	Plain + Dists + 3 * (Good + the sum of Failed) == Items + Lost     less those of targets that were stopped
type Stats struct {
	Targets atomic.Int64 // now
	Scrapes atomic.Int64
	Good    atomic.Int64          // given on
	Failed  [reasons]atomic.Int64 // by Reason; nothing of these was given on but up = 0
	Late    atomic.Int64          // scrapes left out because the one before was not done
	Bytes   atomic.Int64          // of pages, unpacked

	Samples   atomic.Int64 // in the pages
	Plain     atomic.Int64 // gauges and counters
	Folded    atomic.Int64 // parts of distributions
	Born      atomic.Int64 // _created
	Dropped   atomic.Int64 // by metric_relabel
	Twins     atomic.Int64 // name and labels of another line of the page
	Old       atomic.Int64 // with a timestamp not newer than the one before
	NaN       atomic.Int64 // value is none, or infinite
	Dists     atomic.Int64 // distributions made of Folded
	Broken    atomic.Int64 // distributions whose parts make none
	Malformed atomic.Int64 // lines that are none
	Exemplars atomic.Int64 // left out

	Items atomic.Int64 // samples the Sink took
	Lost  atomic.Int64 // those it did not take
}

func (s *Stats) add(t *tally) {
	s.Samples.Add(int64(t.Samples))
	s.Plain.Add(int64(t.Plain))
	s.Folded.Add(int64(t.Folded))
	s.Born.Add(int64(t.Born))
	s.Dropped.Add(int64(t.Dropped))
	s.Twins.Add(int64(t.Twins))
	s.Old.Add(int64(t.Old))
	s.NaN.Add(int64(t.NaN))
	s.Dists.Add(int64(t.Dists))
	s.Broken.Add(int64(t.Broken))
	s.Malformed.Add(int64(t.Malformed))
	s.Exemplars.Add(int64(t.Exemplars))
}

// Reason says why a scrape failed.
type Reason uint8

// The reasons, as Stats.Failed is indexed.
const (
	Unreachable Reason = 1 + iota // no connection, or it broke
	Timeout                       // not all of the page in time
	Refused                       // a status other than 200
	NoPage                        // not a page of metrics
	TooLarge                      // more bytes, or a longer line, than allowed
	TooMany                       // more samples than allowed
	Truncated                     // the page breaks off
	Packed                        // gzip that is none
	Untrusted                     // TLS: certificate or files
	reasons
)

// String returns the reason in a few words.
func (r Reason) String() string {
	switch r {
	case Unreachable:
		return "unreachable"
	case Timeout:
		return "timeout"
	case Refused:
		return "refused"
	case NoPage:
		return "no page of metrics"
	case TooLarge:
		return "too large"
	case TooMany:
		return "too many samples"
	case Truncated:
		return "truncated"
	case Packed:
		return "bad gzip"
	case Untrusted:
		return "tls"
	}
	return "none"
}

// remedy says what to do about a target that is down for err; "" if err says it.
func remedy(err error) string {
	var files *filesError
	var status *statusError
	switch {
	case errors.As(err, &files), errors.As(err, &status):
		return ""
	case untrusted(err):
		return "; set tls.ca_file or tls.server_name to what its certificate is made for"
	case errors.Is(err, errTooMany):
		return "; raise max_samples, or drop series at the target"
	case errors.Is(err, errNoPage), errors.Is(err, errFamily):
		return "; are port and path those of its metrics?"
	}
	return "; does it run, and may it be reached from this node (NetworkPolicy, firewall)?"
}

// TargetStatus is how one target fares.
type TargetStatus struct {
	URL     string
	From    string // configuration, pod/NAMESPACE/NAME, the name of a Group
	Labels  string // flat
	Scraped bool   // once at least
	Up      bool
	Err     error     // of the last scrape; also set for lines that were left out of a page that is up
	At      time.Time // of the last scrape
	Took    time.Duration
	Samples int // in the last good page
	Series  int // known
	Format  string
}
