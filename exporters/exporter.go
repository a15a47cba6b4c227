// Package exporters delivers: it holds the one small interface every vendor
// fits, and the loop that takes frames from a queue, fits them into that
// vendor's requests, sends them, repeats what failed, and accounts for each item.
//
// The agent starts one Delivery per destination and kind; the vendor's folder
// below this one gives it an Exporter. A vendor's folder says what a request
// looks like and what an answer means; only deliver.go says what to do then.
//
// The life of a parcel: frames are gathered from the queue until a request is
// worth sending, decoded, filtered by the destination's own rules and by age,
// encoded (Encode, pure), compressed (pack.go), sent (Send, all the I/O),
// and, once each of its items has a fate, acknowledged frame by frame.
//
// What always holds:
//
//  1. A frame is acknowledged when every item in it is sent or dropped for a
//     named reason, and never before: a crash repeats what was in flight and
//     loses nothing.
//  2. For each destination and kind, at every moment and across restarts,
//     in == sent + waiting + sum(dropped by reason).
//  3. An answer that we do not understand is retried: we do not throw away what
//     we do not understand.
//  4. One bad item costs itself and not its neighbours.
//
// Memory: a frame belongs to the queue until it is acknowledged; a body belongs
// to Delivery, and Send must not keep it.
//
// The package does not know names, tags or dialects, and decides nothing about
// what is kept on disk.
package exporters

import (
	"context"
	"fmt"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Exporter speaks to one endpoint of one vendor about one kind of signal.
// Encode is pure and Send is all the I/O; everything in between (splitting,
// compression, concurrency, retries, accounting) is Delivery's.
type Exporter interface {
	Name() string // unique in the process; names the cursor: "datadog/log"
	Kind() signal.Kind
	Limits() Limits

	// Encode appends one request body for items [lo, hi) of b to dst. It may
	// stop early where a vendor rule demands it (one point per series) and
	// returns the first item not taken: next > lo, unless the item at lo cannot
	// be encoded within the vendor's limits at all. skipped counts items in
	// [lo, next) that are left out because the vendor has no place for them.
	// If all of [lo, next) are skipped, no request is made for them. Encode is
	// called from several goroutines at once and keeps no state.
	Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int)

	// Send makes one request. The body is compressed as Limits().Encoding says.
	// A nil error means the vendor has the body. Errors that are not an *Error
	// count as Retry: what we do not understand, we do not throw away.
	Send(ctx context.Context, body []byte) error
}

// Limits of one request to one endpoint, from the vendor's documentation.
type Limits struct {
	Items    int           // 0: no limit
	Bytes    int           // before compression; 0: no limit
	Packed   int           // after compression; 0: no limit
	Encoding string        // "gzip", "zstd", "deflate" (zlib), "" for none
	InFlight int           // requests at once; 1 keeps order
	MaxAge   time.Duration // the vendor refuses older items; 0: never
	Future   time.Duration // the vendor refuses items further ahead of the clock; 0: never
	Ordered  bool          // items of a series must arrive in time order: one lane, one request at a time

	// Spacing is how far apart the points of a series must be at least; 0: as
	// near as they come. Gauges and running totals that come sooner are left out,
	// booked as unsupported: the next one says as much. It needs Ordered.
	Spacing time.Duration

	// Idempotent means that a request sent twice leaves no trace in the vendor's
	// data. It changes nothing in what Delivery does, only how a repetition is
	// booked.
	Idempotent bool
}

// Class says what a failed Send means for the items of its body.
type Class uint8

// The classes, as vendors' folders state them. The zero value is the safe one.
const (
	Retry     Class = iota // send the same body again, after a while
	Hold                   // the same, but it takes a person to mend (key, permission, missing database): ask once a minute, keep everything
	Permanent              // this body will never do; Delivery halves it until the culprit stands alone
	Partial                // all but Error.Again was dealt with
)

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case Retry:
		return "retry"
	case Hold:
		return "hold"
	case Permanent:
		return "permanent"
	case Partial:
		return "partial"
	}
	return "invalid"
}

// Error is a failed Send, classified by the vendor's package.
type Error struct {
	Class   Class
	Status  int           // HTTP or gRPC code, 0 if the request got no answer
	After   time.Duration // do not retry sooner; from Retry-After or the vendor's rate-limit headers
	Dropped int           // Partial: items refused for good
	Again   []Range       // Partial: items to send again, within the body's items
	Whole   bool          // Permanent: splitting cannot help (every item alone would get the same answer)
	Unsent  bool          // the vendor certainly has not taken the body, so that sending it again doubles nothing
	Words   string        // the vendor's own words, for the dead-letter log and for status; at most 1 KiB
	Err     error
}

// Range is a run of items, counted within one body: [Lo, Hi). Items that Encode
// skipped are not counted.
type Range struct{ Lo, Hi int }

// Error says what was tried and what came of it.
func (e *Error) Error() string {
	s := e.Class.String()
	if e.Status != 0 {
		s += fmt.Sprintf(" (%d)", e.Status)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Words != "" {
		s += ": " + e.Words
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
