package datadog

import (
	"math"
	"slices"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

// valuesOf encodes a batch with distributions: points, body by body: the values
// of each series, or how many series there are.
func valuesOf(t *testing.T, text string) (values []ddintake.Values, series int) {
	t.Helper()
	b, err := signal.Parse(signal.Metric, text)
	if err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Distributions = "points"
	e := Metrics("m", c, nil)
	for lo := 0; lo < b.Len(); {
		body, next, _ := e.Encode(nil, b, lo, b.Len())
		if next <= lo {
			t.Fatalf("item %d was not taken", lo)
		}
		lo = next
		if v, err := (ddintake.Intake{}).Distributions(body); err == nil {
			values = append(values, v...)
			continue
		}
		s, err := (ddintake.Intake{}).Series(body)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		series += len(s)
	}
	return values, series
}

func TestDistributionsGoOutAsTheirValues(t *testing.T) {
	// Base 2^(1/64): the bucket at offset 425 holds 100.
	values, series := valuesOf(t, `a gauge - 1 @5000
took{host.name="h",k="v"} dist ms 0 @5000 from 0 hist (count=5 sum=300 min=-2 max=101 scale=6 zero=1 width=0 pos=424:[2 1] neg=64:[1])
b gauge - 1 @5000
`)
	if len(values) != 1 || series != 2 {
		t.Fatalf("%d series of values, %d of numbers", len(values), series)
	}
	v := values[0]
	if v.Metric != "took" || v.Host != "h" || v.Time != 5 || !slices.Equal(v.Tags, []string{"k:v"}) {
		t.Errorf("%+v", v)
	}
	want := []float64{-2, 0, 99.6, 99.6, 100.7}
	if len(v.Values) != len(want) {
		t.Fatalf("%v", v.Values)
	}
	for i := range want {
		if math.Abs(v.Values[i]-want[i]) > 0.0111*math.Abs(want[i]) {
			t.Errorf("value %d is %v, want %v or nearly so", i, v.Values[i], want[i])
		}
	}
}

func TestWhatHasNoValuesGoesOutAsSeries(t *testing.T) {
	f := func(what, text string) {
		t.Helper()
		if values, series := valuesOf(t, text); len(values) != 0 || series == 0 {
			t.Errorf("%s: %d series of values, %d of numbers", what, len(values), series)
		}
	}
	f("bounds of its own", "h dist - 0 @5000 from 0 hist (count=2 sum=3 min=1 max=2 bounds=[1] counts=[1 1])\n")
	f("a running total", "h cumdist - 0 +0 since 1000 @5000 hist (count=2 sum=3 min=1 max=2 scale=6 zero=2 width=0 pos=0:[] neg=0:[] since=(count=2 sum=3 min=1 max=2 scale=6 zero=2 width=0 pos=0:[] neg=0:[]))\n")
	f("more values than a request may hold", "h dist - 0 @5000 from 0 hist (count=200001 sum=3 min=1 max=2 scale=6 zero=200001 width=0 pos=0:[] neg=0:[])\n")
	f("values that nobody kept", "h dist - 0 @5000 from 0 hist (count=9 sum=3 min=1 max=2 scale=6 zero=2 width=0 pos=0:[] neg=0:[])\n")
}

func TestPointsChangeWhatARequestPromises(t *testing.T) {
	c := Default()
	if l := Metrics("m", c, nil).Limits(); !l.Idempotent || l.Encoding != "zstd" {
		t.Errorf("series: %+v", l)
	}
	c.Distributions = "points"
	if l := Metrics("m", c, nil).Limits(); l.Idempotent || l.Encoding != "deflate" {
		t.Errorf("points: %+v", l)
	}
	c.Distributions = "sketches"
	if c.Check() == nil {
		t.Error("Check takes sketches")
	}
}
