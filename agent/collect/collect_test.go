package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// sampler is a Sampler made of a function.
type sampler func(ctx context.Context, b *signal.Batch) error

func (f sampler) Sample(ctx context.Context, b *signal.Batch) error { return f(ctx, b) }

// sink keeps what it is given.
type sink struct {
	mu      sync.Mutex
	batches []string
	refuse  error
}

func (s *sink) Put(_ context.Context, b *signal.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.batches = append(s.batches, signal.Format(b))
	return nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.batches...)
}

// poll runs a Poller for d of the bubble's time.
func poll(t *testing.T, every, d time.Duration, f sampler) (*Poller, *sink) {
	t.Helper()
	p, out := Poll("x", every, f), &sink{}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := p.Run(ctx, out); err != nil {
		t.Error(err)
	}
	synctest.Wait() // for a call that was left behind
	return p, out
}

func TestPollAsksAtOnceAndThenEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		p, out := poll(t, 10*time.Second, 61*time.Second, func(_ context.Context, b *signal.Batch) error {
			at = append(at, time.Since(start))
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m", Type: signal.Gauge})})
			return nil
		})
		if len(at) < 7 || len(at) > 8 || at[0] != 0 {
			t.Errorf("asked at %v", at)
		}
		for i := 2; i < len(at); i++ {
			if at[i]-at[i-1] != 10*time.Second {
				t.Errorf("asked at %v", at)
			}
		}
		if b := out.all()[0]; !strings.Contains(b, "m gauge - 0 @0") || !strings.Contains(b, `causeway.source.success{causeway.source="x"} gauge 1 1 `) || !strings.Contains(b, `causeway.source.items{causeway.source="x"} gauge {item} 1 `) {
			t.Errorf("first batch:\n%s", b)
		}
		if p.Stats.Runs.Load() != int64(len(at)) || p.Stats.Items.Load() != int64(len(at)) || p.Stats.Failures.Load() != 0 || p.Stats.Err() != nil {
			t.Errorf("%d runs, %d items, %d failures", p.Stats.Runs.Load(), p.Stats.Items.Load(), p.Stats.Failures.Load())
		}
	})
}

func TestWhatWasAppendedBeforeAnErrorIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out := poll(t, time.Hour, time.Minute, func(_ context.Context, b *signal.Batch) error {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "m", Type: signal.Gauge})})
			return errors.New("half of it is missing")
		})
		if got := out.all(); len(got) != 1 || !strings.Contains(got[0], "m gauge") || !strings.Contains(got[0], `success{causeway.source="x"} gauge 1 0 `) {
			t.Errorf("%v", got)
		}
		if p.Stats.Failures.Load() != 1 || p.Stats.Err() == nil {
			t.Errorf("%d failures, %v", p.Stats.Failures.Load(), p.Stats.Err())
		}
	})
}

func TestAPanicBecomesAnErrorOfThatCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p, out := poll(t, time.Second, 2500*time.Millisecond, func(context.Context, *signal.Batch) error {
			if n++; n == 1 {
				panic("out of cheese")
			}
			return nil
		})
		if len(out.all()) < 2 || p.Stats.Failures.Load() != 1 || p.Stats.Err() != nil {
			t.Errorf("%d batches, %d failures, %v", len(out.all()), p.Stats.Failures.Load(), p.Stats.Err())
		}
	})
}

func TestNothingToReadIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out := poll(t, time.Hour, time.Minute, func(context.Context, *signal.Batch) error {
			return fmt.Errorf("no such thing: %w", ErrAbsent)
		})
		if p.Stats.Failures.Load() != 0 || !errors.Is(p.Stats.Err(), ErrAbsent) || !strings.Contains(out.all()[0], "gauge 1 1 ") {
			t.Errorf("%d failures, %v, %v", p.Stats.Failures.Load(), p.Stats.Err(), out.all())
		}
	})
}

// A call that ignores its context: it is reported, never doubled, and a stop
// does not wait for it.
func TestACallThatHangsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		calls := 0
		p, out := poll(t, time.Second, 10*time.Second, func(context.Context, *signal.Batch) error {
			calls++
			<-release
			return nil
		})
		if calls != 1 || p.Stats.Failures.Load() != 1 || p.Stats.Err() == nil || len(out.all()) != 0 {
			t.Errorf("%d calls, %d failures, %v", calls, p.Stats.Failures.Load(), p.Stats.Err())
		}
		close(release)
	})
}

func TestACallEndsWithItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		poll(t, time.Second, 3500*time.Millisecond, func(ctx context.Context, _ *signal.Batch) error {
			start := time.Now()
			<-ctx.Done()
			took = append(took, time.Since(start))
			return ctx.Err()
		})
		if len(took) == 0 || took[0] != time.Second {
			t.Errorf("calls took %v", took)
		}
	})
}

func TestASinkThatRefusesDoesNotEndTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, out := Poll("x", time.Second, sampler(func(context.Context, *signal.Batch) error { return nil })), &sink{refuse: errors.New("full")}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := p.Run(ctx, out); err != nil || p.Stats.Runs.Load() < 4 {
			t.Errorf("%v after %d runs", err, p.Stats.Runs.Load())
		}
	})
}

func TestWhatGoesAtItsOwnPaceIsCounted(t *testing.T) {
	out := &sink{}
	st := &Stats{}
	to := st.Counted(out)
	put := func() error {
		b := &signal.Batch{Kind: signal.Metric}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "a"}), Time: 1})
		return to.Put(t.Context(), b)
	}
	for range 2 {
		if err := put(); err != nil {
			t.Error(err)
		}
	}
	if st.Items.Load() != 2 || st.Runs.Load() != 2 || st.Failures.Load() != 0 || st.Last.Load() == 0 {
		t.Errorf("%d items, %d runs, %d failures", st.Items.Load(), st.Runs.Load(), st.Failures.Load())
	}
	out.refuse = errors.New("full")
	if put() == nil || st.Items.Load() != 2 || st.Runs.Load() != 3 || st.Failures.Load() != 1 {
		t.Errorf("refused: %d items, %d runs, %d failures", st.Items.Load(), st.Runs.Load(), st.Failures.Load())
	}
}
