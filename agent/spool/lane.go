package spool

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Lane hands out frames of one part of what waits for a cursor. Next and TryNext
// are for one goroutine at a time; Done is for any.
type Lane struct {
	c    *Cursor
	live bool
	bell chan struct{} // of one token

	mu sync.Mutex // guards the reader, during its I/O too
	rd reader
}

func (l *Lane) wake() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// Next returns the next frame, waiting for one if need be. The frame is
// read-only and valid until its Done; for ever, if that never comes. Next
// returns an error only if ctx ends (its error) or the cursor is closed
// (ErrClosed). Damage is booked and passed over; a disk that cannot be read at
// the moment is tried again each second, and counted.
func (l *Lane) Next(ctx context.Context) (seq Seq, frame []byte, err error) {
	for enrolled := false; ; {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		seq, frame, ok, err := l.TryNext()
		if ok || errors.Is(err, ErrClosed) {
			return seq, frame, err
		}
		if err != nil {
			t := time.NewTimer(retryEvery)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			continue
		}
		if !enrolled {
			// Enroll, and look again: a frame may have come in between.
			l.enroll()
			enrolled = true
			continue
		}
		select {
		case <-l.bell:
		case <-ctx.Done():
		}
		enrolled = false
	}
}

// enroll asks for a ring at the next Append. The backlog lane needs none: what
// is for it comes by Split, which rings.
func (l *Lane) enroll() {
	if !l.live {
		return
	}
	s := l.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		if w == l {
			return
		}
	}
	s.waiting = append(s.waiting, l)
}

// TryNext is Next without the waiting: ok is false if there is no frame now. An
// error other than ErrClosed means that the disk could not be read; the same
// frame is tried again at the next call, and given up as damaged at the third.
func (l *Lane) TryNext() (seq Seq, frame []byte, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.c
	for {
		c.mu.Lock()
		sp := c.pick(l.live)
		if c.closed || sp == nil {
			closed := c.closed
			c.mu.Unlock()
			if closed {
				return 0, nil, false, ErrClosed
			}
			l.rd.leave() // an idle lane keeps no deleted segment open
			return 0, nil, false, nil
		}
		at := sp.at
		c.mu.Unlock()

		l.rd.s = c.s
		f, err := l.rd.read(at)
		if err != nil {
			c.s.readFailures.Add(1)
			return 0, nil, false, err
		}
		if f.is == foundNothing {
			return 0, nil, false, nil
		}
		if c.take(at, &f) && f.is == foundFrame {
			return f.h.seq, f.frame, true, nil
		}
	}
}

// pick returns the span the lane reads from; nil if there is none. The caller
// holds c.mu.
func (c *Cursor) pick(live bool) *span {
	last := len(c.spans) - 1
	if live {
		return &c.spans[last]
	}
	for i := range c.spans[:last] {
		if sp := &c.spans[i]; sp.at.seq < sp.hi.seq {
			return sp
		}
	}
	return nil
}

// take books what a reader found at at. It returns false if the span has moved
// on meanwhile, because the place was evicted or another lane was faster.
func (c *Cursor) take(at mark, f *found) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	var sp *span
	for i := range c.spans {
		if s := &c.spans[i]; s.at == at && (s.hi.seq == 0 || at.seq < s.hi.seq) {
			sp = s
		}
	}
	if sp == nil {
		return false
	}
	if f.is == foundGap {
		sp.leaveOut(f.to, f.fate)
		c.settle()
		return true
	}
	if f.ch != nil {
		f.ch.refs.Add(1)
	}
	sp.tiles = append(sp.tiles, tile{from: at, to: f.to, time: f.h.time, ch: f.ch})
	sp.at = f.to
	if at.seq < sp.seen.seq {
		c.books.Twice += int64(f.h.items) // handed out before a restart, and never done
	} else {
		sp.seen = f.to
	}
	// Written at once, so that after a crash it is known what may have been sent.
	c.persist()
	return true
}

// Done settles one frame, in any order, from any goroutine, through any lane of
// its cursor: b says what became of its items. What it says is on disk, without
// fsync, once every frame before it is done too. An error that begins with BUG
// means that b does not account for each item once (the frame is settled all
// the same, with what is missing as Damaged), or that the frame was not handed
// out. The frame must not be used any more.
func (l *Lane) Done(seq Seq, b Books) error { return l.c.settleFrame(seq, b) }
