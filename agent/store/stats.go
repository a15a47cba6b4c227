package store

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Stats counts what a store did since it was opened. For writes that are over,
//
//	Points == Stored + Dropped + Failed
//
// where Points are those that could be parsed; lines that could not are told to
// the client, and their bodies counted in Malformed.
type Stats struct {
	Writes    atomic.Int64 // bodies taken
	Bytes     atomic.Int64 // of bodies, after inflating
	Points    atomic.Int64 // parsed
	Stored    atomic.Int64
	Dropped   atomic.Int64 // refused for good: beyond retention, type conflict, reserved name
	Failed    atomic.Int64 // not known to be stored; the client was told to write them again
	Malformed atomic.Int64 // bodies with lines that could not be parsed
	Oversize  atomic.Int64 // bodies past the limit, answered with 413

	Queries      atomic.Int64 // query requests that were parsed
	QueryErrors  atomic.Int64 // those with an error in the answer
	QueryCuts    atomic.Int64 // those whose answer was cut at the limit of rows
	QueryWaiting atomic.Int64 // now waiting for a place

	Foreign atomic.Int64 // requests of foreign web pages, refused
	Panics  atomic.Int64 // survived
}

// Usage is what a store holds.
type Usage struct {
	Shards int
	Series int64 // of the configured database
	Bytes  int64 // on disk, without the write-ahead log
}

// Usage asks the engine; it walks the shards, so ask by the minute, not by the second.
func (s *Store) Usage(ctx context.Context) (Usage, error) {
	if !s.enter() {
		return Usage{}, errClosed
	}
	defer s.leave()
	bytes, err := s.engine.shards.DiskSize()
	if err != nil {
		return Usage{}, fmt.Errorf("store: disk size: %w", err)
	}
	series, err := s.engine.shards.SeriesCardinality(ctx, s.cfg.Database)
	if err != nil {
		return Usage{}, fmt.Errorf("store: count series: %w", err)
	}
	return Usage{Shards: s.engine.shards.ShardN(), Series: series, Bytes: bytes}, nil
}
