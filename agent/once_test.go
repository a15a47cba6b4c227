package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/hub"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config"
)

// rounds gives one batch after another, in the notation of signal.Parse.
type rounds struct {
	t     *testing.T
	texts []string
}

func (r *rounds) Sample(_ context.Context, b *signal.Batch) error {
	text := r.texts[0]
	r.texts = r.texts[1:]
	if text == "broken" {
		return errors.New("broken")
	}
	got, err := signal.Parse(signal.Metric, text)
	if err != nil {
		r.t.Fatal(err)
	}
	b.Samples = append(b.Samples, got.Samples...)
	return nil
}

func TestOncePrintsTheNewestOfEachSeries(t *testing.T) {
	f := func(name, want, wantErr string, samplers map[string][]string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			all := map[string]collect.Sampler{}
			for name, texts := range samplers {
				all[name] = &rounds{t, texts}
			}
			h := hub.New(nil, time.Now())
			h.Configure(config.Default().Process, "", nil)
			b, err := twice(t.Context(), h, all)
			if got := signal.Format(b); got != want {
				t.Errorf("%s:\n%swant\n%s", name, got, want)
			}
			if err == nil && wantErr != "" || err != nil && err.Error() != wantErr {
				t.Errorf("%s: error %v, want %q", name, err, wantErr)
			}
		})
	}
	f("a counter has its increase", "c counter 1 7 +2 since 1000 @2000\n", "", map[string][]string{
		"host": {"c counter 1 5 @1000", "c counter 1 7 @2000"},
	})
	f("a kubelet that has nothing new after a second", "c counter 1 5 @1000\nm gauge By 9 @1000\n", "", map[string][]string{
		"containers": {"c counter 1 5 @1000\nm gauge By 9 @1000", "c counter 1 5 @1000"},
	})
	f("one container of two is new", "c counter 1 7 +2 since 1000 @2000\nm{k=\"v\"} gauge By 9 @1000\n", "", map[string][]string{
		"containers": {"m{k=\"v\"} gauge By 9 @1000\nc counter 1 5 @1000", "c counter 1 7 @2000"},
	})
	f("sources in the order of their names", "a gauge 1 2 @2000\nb gauge 1 2 @2000\n", "", map[string][]string{
		"host": {"b gauge 1 1 @1000", "b gauge 1 2 @2000"}, "containers": {"a gauge 1 1 @1000", "a gauge 1 2 @2000"},
	})
	f("an error of the first round only is none", "a gauge 1 2 @2000\n", "", map[string][]string{"host": {"broken", "a gauge 1 2 @2000"}})
	f("what was read before an error stays", "a gauge 1 1 @1000\n", "host: broken", map[string][]string{"host": {"a gauge 1 1 @1000", "broken"}})
}

func TestOnceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b, err := twice(ctx, hub.New(nil, time.Now()), nil); b != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", b, err)
		}
	})
}
