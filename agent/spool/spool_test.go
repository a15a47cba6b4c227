package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// open opens the spool in dir and closes it with the test.
func open(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	if o.SyncEvery == 0 {
		o.SyncEvery = -1 // tests sync when they mean it
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// frameOf is a frame of so many bytes that nobody takes for another one.
func frameOf(seq Seq, n int) []byte {
	b := fmt.Appendf(nil, "frame %d ", seq)
	for len(b) < n {
		b = append(b, byte(seq*31+uint64(len(b))))
	}
	return b
}

// itemsOf is how many items tests put into a frame.
func itemsOf(seq Seq) int { return int(seq % 5) }

func put(t testing.TB, s *Spool, n int) {
	t.Helper()
	for range n {
		seq := s.Newest() + 1
		got, err := s.Append(t.Context(), frameOf(seq, 100), itemsOf(seq))
		if err != nil || got != seq {
			t.Fatalf("Append: %d, %v; want %d", got, err, seq)
		}
	}
}

func cursor(t testing.TB, s *Spool, name string, from From) *Cursor {
	t.Helper()
	c, err := s.Cursor(name, from)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sent(seq Seq) (b Books) {
	b.Items[Sent] = int64(itemsOf(seq))
	return b
}

// take checks that the next frames of l are those numbered, and returns.
func take(t testing.TB, l *Lane, want ...Seq) {
	t.Helper()
	for _, w := range want {
		seq, frame, ok, err := l.TryNext()
		if err != nil || !ok || seq != w {
			t.Fatalf("TryNext: frame %d, %v, %v; want %d", seq, ok, err, w)
		}
		if !bytes.Equal(frame, frameOf(seq, 100)) {
			t.Fatalf("frame %d reads %.40q…", seq, frame)
		}
	}
}

func takeNone(t testing.TB, l *Lane) {
	t.Helper()
	if seq, _, ok, err := l.TryNext(); ok || err != nil {
		t.Fatalf("TryNext: frame %d, %v; want none", seq, err)
	}
}

func done(t testing.TB, l *Lane, seqs ...Seq) {
	t.Helper()
	for _, seq := range seqs {
		if err := l.Done(seq, sent(seq)); err != nil {
			t.Fatal(err)
		}
	}
}

// balanced checks the law of the ledger, and returns the lag for more.
func balanced(t testing.TB, c *Cursor) Lag {
	t.Helper()
	l := c.Lag()
	if l.In != l.Books.Sum()+l.Waiting || l.Waiting < 0 {
		t.Fatalf("cursor %s: in %d, booked %d, waiting %d", c.Name(), l.In, l.Books.Sum(), l.Waiting)
	}
	return l
}

func TestFramesComeBackInOrderAcrossSegmentsAndReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{SegmentBytes: 1000})
	c := cursor(t, s, "datadog/log", From{})
	put(t, s, 50)
	take(t, c.Live(), 1, 2, 3)
	done(t, c.Live(), 2, 1)
	if l := balanced(t, c); l.Books.Items[Sent] != 3 || l.Frames != 48 {
		t.Fatalf("%+v", l)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir, Options{SegmentBytes: 1000})
	if got := s.Newest(); got != 50 {
		t.Fatalf("newest is %d", got)
	}
	c = cursor(t, s, "datadog/log", From{})
	put(t, s, 5)
	for seq := Seq(3); seq <= 55; seq++ {
		take(t, c.Live(), seq)
		done(t, c.Live(), seq)
		balanced(t, c)
	}
	takeNone(t, c.Live())
	l := balanced(t, c)
	if l.Waiting != 0 || l.Books.Twice != int64(itemsOf(3)) || l.In != 110 || l.Books.Items[Sent] != 110 {
		t.Fatalf("%+v", l)
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Segments != 1 {
		t.Fatalf("%d segments stay though every cursor is past them", st.Segments)
	}
}

func TestASecondOpenSaysWhoHasTheDirectory(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	_, err := Open(dir, Options{})
	var held *HeldError
	if !errors.As(err, &held) || held.PID == 0 || !strings.Contains(err.Error(), "stop it, or give") {
		t.Fatalf("%v", err)
	}
}

func TestNextWaitsForAnAppend(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	c := cursor(t, s, "a", From{})
	got := make(chan Seq)
	go func() {
		for range 3 {
			seq, _, err := c.Live().Next(context.Background())
			if err != nil {
				t.Error(err)
			}
			got <- seq
		}
	}()
	for want := Seq(1); want <= 3; want++ {
		put(t, s, 1)
		if seq := <-got; seq != want {
			t.Fatalf("frame %d, want %d", seq, want)
		}
	}
}
