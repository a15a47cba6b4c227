package signal

import (
	"math"
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	nan := math.NaN()
	f := func(h Hist, q, want float64) {
		t.Helper()
		if got := h.Quantile(q); math.Abs(got-want) > 1e-9 && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%s, %v: %v, want %v", histText(&h), q, got, want)
		}
	}
	buckets := Hist{Count: 10, Min: nan, Max: nan, Bounds: []float64{1, 2, 4}, Counts: []uint64{5, 0, 4, 1}}
	f(buckets, 0.25, 0.5) // in the middle of the first bucket, which begins at 0
	f(buckets, 0.5, 1)
	f(buckets, 0.7, 3)
	f(buckets, 1, 4) // above the last bound that is all we know
	f(Hist{Count: 1, Min: nan, Max: nan, Bounds: []float64{-1}, Counts: []uint64{1, 0}}, 0.5, -1)
	f(Hist{Count: 4, Min: nan, Max: 2.5, Bounds: []float64{1, 4}, Counts: []uint64{0, 4, 0}}, 0.9, 2.5)
	f(Hist{Min: nan, Max: nan}, 0.5, nan)
	below := Hist{Count: 3, Min: nan, Max: nan, Bounds: []float64{-5, 0, 5}, Counts: []uint64{1, 1, 0, 1}}
	f(below, 0.1, -5)
	f(below, 0.5, -2.5)
	f(below, 1, 5)
	f(Hist{Count: 3, Min: nan, Max: nan, Bounds: []float64{1}, Counts: []uint64{0, 0}}, 0.5, nan)

	// Scale 0: base 2, so that bucket i holds (2^i, 2^(i+1)].
	e := Hist{Count: 8, Min: nan, Max: nan, Exponential: true, Zero: 2, Pos: Buckets{Offset: 1, Counts: []uint64{0, 4}}, Neg: Buckets{Offset: 0, Counts: []uint64{2}}}
	f(e, 0.1, -math.Sqrt2)
	f(e, 0.5, 0)
	f(e, 0.9, 4*math.Sqrt2)
	e.Max = 5
	f(e, 0.9, 5)
}

func TestTheNewestExemplarsStay(t *testing.T) {
	var held []Exemplar
	for i := range 2 * MaxExemplars {
		time := int64(i * 7 % 20) // each from 0 to 19, in no order
		var there bool
		if held, there = AppendExemplar(held, Exemplar{Value: float64(time), Time: time}); there != (i < MaxExemplars) {
			t.Errorf("exemplar %d: %v", i, there)
		}
	}
	oldest, seen := int64(99), map[int64]bool{}
	for _, e := range held {
		oldest, seen[e.Time] = min(oldest, e.Time), true
	}
	if len(seen) != MaxExemplars || oldest != MaxExemplars {
		t.Errorf("%d are left, the oldest of %d", len(seen), oldest)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		if held, there := AppendExemplar(nil, Exemplar{Value: v}); there || len(held) != 0 {
			t.Errorf("%v was taken", v)
		}
	}
	if held, _ = AppendExemplar(nil, Exemplar{Labels: Labels("k", strings.Repeat("v", 600))}); held[0].Labels != "" {
		t.Error("600 bytes of labels were taken")
	}
}
