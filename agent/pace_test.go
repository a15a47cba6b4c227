package agent

import "testing"

func TestGarbageMayGrowWhereThereIsMuch(t *testing.T) {
	f := func(what string, percent int, cycles, live uint64, want int) {
		t.Helper()
		if got := garbage(percent, cycles, live); got != want {
			t.Errorf("%s: %d %%, want %d", what, got, want)
		}
	}
	f("at the start", 0, 0, 0, thrifty)
	f("idle", thrifty, 0, 10<<20, thrifty)
	f("at work, with little that lives", thrifty, 20, 10<<20, lavish)
	f("at work, with more", thrifty, 20, 32<<20, 200)
	f("at work, with much", thrifty, 20, 1<<30, thrifty)
	f("between: as it was", lavish, 2, 10<<20, lavish)
	f("calm again", lavish, 1, 10<<20, thrifty)
	f("nothing lives", thrifty, 9, 0, lavish)
}
