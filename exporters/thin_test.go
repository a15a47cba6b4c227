package exporters

import (
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
)

// thinned says what of a batch goes out: its notation, without what is left out.
func thinned(t *testing.T, th *thinner, text string) string {
	t.Helper()
	b, err := signal.Parse(signal.Metric, text)
	if err != nil {
		t.Fatal(err)
	}
	p := &parcel{batch: *b, fate: make([]spool.Fate, b.Len())}
	for i := range p.fate {
		p.fate[i] = undecided
	}
	th.out(p, 5000)
	left := &signal.Batch{Kind: signal.Metric}
	for i, s := range p.batch.Samples {
		switch p.fate[i] {
		case undecided:
			left.Add(s)
		case spool.Unsupported:
		default:
			t.Errorf("sample %d is booked as %v", i, p.fate[i])
		}
	}
	return signal.Format(left)
}

func TestPointsTooNearEachOtherAreLeftOut(t *testing.T) {
	var th thinner
	f := func(what, in, want string) {
		t.Helper()
		if got := thinned(t, &th, in); got != want {
			t.Errorf("%s:\n%swant\n%s", what, got, want)
		}
	}
	f("of one parcel the first", "g gauge - 1 @1000\ng gauge - 2 @2000\ng gauge - 3 @6000\n", "g gauge - 1 @1000\ng gauge - 3 @6000\n")
	f("over parcels too", "g gauge - 4 @10999\nother gauge - 1 @10999\n", "other gauge - 1 @10999\n")
	f("exactly as far as allowed", "g gauge - 5 @11000\n", "g gauge - 5 @11000\n")
	f("what lies behind is the vendor's to refuse", "g gauge - 6 @9000\n", "g gauge - 6 @9000\n")
	f("an interval's growth is never left out", "d delta - 1 @1000 from 0\nd delta - 1 @2000 from 1000\n", "d delta - 1 @1000\nd delta - 1 @2000 from 1000\n")
}

func TestIncreasesOfWhatIsLeftOutGoIntoTheNext(t *testing.T) {
	var th thinner
	got := thinned(t, &th, `c counter - 1 @1000
c counter - 3 +2 since 1000 @2000
c counter - 6 +3 since 2000 @3000
c counter - 10 +4 since 3000 @6000
c counter - 21 +11 since 6000 @7000
`)
	const want = `c counter - 1 @1000
c counter - 3 +2 since 1000 @2000
c counter - 21 +18 since 2000 @7000
`
	if got != want {
		t.Errorf("%swant\n%s", got, want)
	}
}

// Of the first reading of a total without a beginning nothing is sent, so the
// second is not too near.
func TestAFirstReadingKeepsNoOtherBack(t *testing.T) {
	f := func(in string) {
		t.Helper()
		var th thinner
		if got := thinned(t, &th, in); got != in {
			t.Errorf("%swant\n%s", got, in)
		}
	}
	f("c counter - 1 @1000\nc counter - 3 +2 since 1000 @2000\n")
	f("h cumdist - 0 @1000 hist (count=1 sum=1 min=NaN max=NaN)\nh cumdist - 0 +0 since 1000 @2000 hist (count=1 sum=1 min=NaN max=NaN since=(count=0 sum=0 min=NaN max=NaN))\n")
	const e = "sum=1 min=NaN max=NaN scale=0 zero=0 width=0 pos=0:[1] neg=0:[]"
	f("h cumdist - 0 @1000 from 500 hist (count=1 " + e + ")\nh cumdist - 0 +0 since 1000 @2000 from 500 hist (count=1 " + e + " since=(count=1 " + e + "))\n")
	var th thinner
	if got := thinned(t, &th, "c counter - 1 @1000 from 500\nc counter - 3 +2 since 1000 @2000 from 500\n"); got != "c counter - 1 @1000 from 500\n" {
		t.Errorf("a total that was sent: %s", got)
	}
}

func TestASeriesThatEndedIsForgotten(t *testing.T) {
	var th thinner
	thinned(t, &th, "a gauge - 1 @1000\nb gauge - 1 @1000\n")
	thinned(t, &th, "b gauge - 1 @700000\n")
	if len(th.last) != 1 {
		t.Errorf("%d series are remembered, want the one that still speaks", len(th.last))
	}
}
