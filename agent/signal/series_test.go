package signal

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

func TestASeriesIsItsDesc(t *testing.T) {
	all := map[Series]Desc{}
	for _, d := range []Desc{
		{}, {Type: Gauge}, {Type: Counter}, {Name: "a", Type: Gauge}, {Unit: "a", Type: Gauge}, {Labels: "a", Type: Gauge},
		{Name: "ab", Unit: "c", Type: Gauge}, {Name: "a", Unit: "bc", Type: Gauge}, {Name: "b", Unit: "c", Type: Gauge, Labels: "a"},
		{Name: "12345678", Unit: "12345678", Type: Gauge, Labels: "12345678"},
	} {
		s := Intern(d)
		if other, ok := all[s]; ok {
			t.Errorf("%q is the series of %q", d, other)
		}
		all[s] = d
	}
	for s, d := range all {
		if s.Desc() != d || s.Type() != d.Type || Intern(d) != s || !s.Valid() {
			t.Errorf("%q came back as %q", d, s.Desc())
		}
	}
	if (Series{}).Valid() {
		t.Error("a series that nobody made is valid")
	}
}

// Of series that nobody holds any more nothing is left but places in the table,
// and these are used again.
func TestWhatNobodyHoldsIsDropped(t *testing.T) {
	const rounds, each = 50, 2000
	held := Intern(Desc{Name: "held", Type: Gauge})
	labels := held.Desc().Name // a string of it holds it too
	for round := range rounds {
		for i := range each {
			Intern(Desc{Name: "dropped", Labels: fmt.Sprint(round, " ", i), Type: Gauge})
		}
		runtime.GC()
	}
	places := 0
	for i := range interned.shards {
		s := &interned.shards[i]
		s.mu.Lock()
		places += len(s.hashes)
		s.mu.Unlock()
	}
	if places > rounds*each/2 {
		t.Errorf("%d places after %d series of which one is held", places, rounds*each)
	}
	if held != Intern(Desc{Name: labels, Type: Gauge}) {
		t.Error("the one that is held is another now")
	}
}

func TestInterningFromManySides(t *testing.T) {
	const sides, series = 4, 5000
	var got [sides][series]Series
	var wg sync.WaitGroup
	for side := range sides {
		wg.Go(func() {
			for i := range series {
				got[side][i] = Intern(Desc{Name: "many", Labels: fmt.Sprint(i), Type: Gauge})
				if i%1000 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wg.Wait()
	for i := range series {
		if want := fmt.Sprint(i); got[0][i] != got[1][i] || got[0][i] != got[2][i] || got[0][i] != got[3][i] || got[0][i].Desc().Labels != want {
			t.Fatalf("series %d is not the same from all sides", i)
		}
	}
}

// BenchmarkIntern is what a series costs that is known, and what one takes.
func BenchmarkIntern(b *testing.B) {
	batch := cadvisorLike(100_000)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			Intern(batch.Samples[i%len(batch.Samples)].Series.Desc())
			i += 97
		}
	})
	b.Run("new", func(b *testing.B) {
		var held []Series
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for b.Loop() {
			held = make([]Series, 100_000)
			for i := range held {
				d := batch.Samples[i].Series.Desc()
				d.Type = Delta
				held[i] = Intern(d)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(held)), "B/series")
		b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/float64(len(held)), "objects/series")
		runtime.KeepAlive(held)
	})
}
