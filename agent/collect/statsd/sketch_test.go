package statsd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/DataDog/sketches-go/ddsketch"
)

// Datadog's own sketch, of the same relative error, is the measure: over
// distributions of all sorts our quantiles are as near to the values' as its are,
// with buckets of the same number. That ours are OpenTelemetry's exponential
// histograms is so that every vendor's form is made of them without a detour.
func TestQuantilesAreAsGoodAsThoseOfDatadogsSketch(t *testing.T) {
	const accuracy = 0.0055 // of a bucket's middle, at scale 6
	rng := rand.New(rand.NewPCG(5, 0))
	for name, value := range map[string]func() float64{
		"uniform":      func() float64 { return 600 + 600*rng.Float64() },
		"normal":       func() float64 { return 100 + 10*rng.NormFloat64() },
		"log-normal":   func() float64 { return math.Exp(3 + 1.2*rng.NormFloat64()) },
		"exponential":  func() float64 { return rng.ExpFloat64() / 7 },
		"pareto":       func() float64 { return math.Pow(1-rng.Float64(), -1/1.5) },
		"two peaks":    func() float64 { return []float64{5, 900}[rng.IntN(2)] * (1 + rng.Float64()/10) },
		"constant":     func() float64 { return 42 },
		"both signs":   func() float64 { return 50 * rng.NormFloat64() },
		"many zeros":   func() float64 { return max(0, rng.NormFloat64()) },
		"ten decades":  func() float64 { return math.Pow(10, 10*rng.Float64()-5) },
		"whole":        func() float64 { return float64(rng.IntN(1000)) },
		"microseconds": func() float64 { return 1e-6 * (1 + rng.ExpFloat64()) },
	} {
		theirs, err := ddsketch.LogUnboundedDenseDDSketch(accuracy)
		if err != nil {
			t.Fatal(err)
		}
		ours := &histogram{}
		values := make([]float64, 100_001)
		for i := range values {
			values[i] = value()
			ours.add(values[i], 1)
			if err := theirs.Add(values[i]); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(values)
		h := ours.take(nil)
		for _, q := range []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999} {
			got := h.Quantile(q)
			sketched, err := theirs.GetValueAtQuantile(q)
			if err != nil {
				t.Fatal(err)
			}
			// The two count ranks differently by one: a value beside the one asked for is as good.
			at := int(q * float64(len(values)-1))
			off := math.Inf(1)
			for _, want := range values[max(at-1, 0) : at+2] {
				off = min(off, math.Abs(got-want)/max(math.Abs(want), 1e-300))
				if got == want {
					off = 0
				}
			}
			if off > accuracy {
				t.Errorf("%s: quantile %v is %v, of the values %v, Datadog's sketch says %v", name, q, got, values[at], sketched)
			}
			if apart := math.Abs(got - sketched); apart > 2.02*accuracy*math.Abs(sketched)+1e-300 {
				t.Errorf("%s: quantile %v is %v, Datadog's sketch says %v", name, q, got, sketched)
			}
		}
		bins := 0
		theirs.ForEach(func(_, _ float64) bool { bins++; return false })
		mine := 0
		for _, n := range slices.Concat(h.Pos.Counts, h.Neg.Counts, []uint64{h.Zero}) {
			if n > 0 {
				mine++
			}
		}
		if mine > bins*11/10+2 {
			t.Errorf("%s: %d buckets, Datadog's sketch has %d", name, mine, bins)
		}
	}
}
