package exporttest

import (
	"context"
	"fmt"
	"sync"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// queue is a lane of a cursor, in memory and filled beforehand.
type queue struct {
	frames [][]byte // by sequence number less one

	mu       sync.Mutex
	next     int            // guarded by mu
	done     map[uint64]int // by frame, how often; guarded by mu
	books    spool.Books    // guarded by mu
	complain string         // guarded by mu
	all      chan struct{}  // closed when every frame is done
}

func newQueue(batches ...*signal.Batch) *queue {
	q := &queue{done: map[uint64]int{}, all: make(chan struct{})}
	for _, b := range batches {
		q.frames = append(q.frames, signal.AppendFrame(nil, b))
	}
	return q
}

func (q *queue) TryNext() (uint64, []byte, bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next == len(q.frames) {
		return 0, nil, false, nil
	}
	q.next++
	return uint64(q.next), q.frames[q.next-1], true, nil
}

func (q *queue) Next(ctx context.Context) (uint64, []byte, error) {
	if seq, frame, ok, _ := q.TryNext(); ok {
		return seq, frame, nil
	}
	<-ctx.Done()
	return 0, nil, ctx.Err()
}

func (q *queue) Done(seq uint64, b spool.Books) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.done[seq]++; q.done[seq] > 1 {
		q.complain = fmt.Sprintf("frame %d was acknowledged twice", seq)
	}
	q.books.Add(b)
	if len(q.done) == len(q.frames) && q.done[seq] == 1 {
		close(q.all)
	}
	return nil
}

// result returns what was booked, and what was wrong.
func (q *queue) result() (books spool.Books, complaint string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.complain == "" && len(q.done) < len(q.frames) {
		q.complain = fmt.Sprintf("%d of %d frames were acknowledged", len(q.done), len(q.frames))
	}
	return q.books, q.complain
}
