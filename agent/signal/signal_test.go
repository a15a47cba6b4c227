package signal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

const everyMetric = `
# each type, each shape, everything that may be left out left out once
system.memory.usage{system.memory.state="used"} gauge By 1.5 @1700000000000
system.cpu.time{cpu.mode="user"} counter s 12.25 +2.5 since 1699999990000 @1700000000000 from 1690000000000
system.cpu.time{cpu.mode="idle"} counter s 13 @1700000000000 from 1690000000000
requests delta {request} 17 @1700000000000 from 1699999990000
plain gauge - -0 @-5
nan gauge - NaN @0
huge gauge - 1.7976931348623157e+308 @9223372036854775807
tiny gauge - 281474976710656 @1
latency{a="",b="ü\n\"",c="x"} dist s 0 @1700000000000 from 1699999990000 hist (count=3 sum=4.5 min=1 max=NaN bounds=[1 2] counts=[1 1 1])
latency2 cumdist s 0 +0 since 5 @9 hist (count=18446744073709551615 sum=1 min=NaN max=NaN scale=-3 zero=4 width=0.5 pos=-2:[1 2] neg=7:[3] since=(count=1 sum=1 min=NaN max=NaN scale=-3 zero=0 width=0.5 pos=-2:[1] neg=0:[]))
latency3 dist s 0 @1 hist (count=2 sum=3 min=1 max=2 q=[0.5:1 0.99:2])
latency4 dist s 0 @1 hist (count=1 sum=1 min=1 max=1 exemplar=1 @-3 0102030405060708090a0b0c0d0e0f10 1112131415161718 {user="a ) b",zone="1"} exemplar=0.5 @0 - - {})
latency5 cumdist s 0 +0 since 5 @9 hist (count=2 sum=1 min=NaN max=NaN exemplar=2 @7 - 0000000000000001 {} since=(count=1 sum=1 min=NaN max=NaN exemplar=3 @8 00000000000000000000000000000001 - {a="b"}))
`

const everyLog = `
log {k8s.pod.name="a",log.iostream="stdout"} "2049:7:1" 0..17
  @1700000000123456789 3 "ENOSPC\x00\xff" {trace_id="abc"}
  @1700000000123456790 - "" {}
log {} "" -1..-1
log {k8s.pod.name="b"} "f" 9..1000
  @-1 7 "before the epoch" {}
`

const everyEvent = `
event @1700000000000000001 4 "kubernetes" "uid/3" "BackOff" "Back-off restarting\n" {k8s.pod.name="a"} count=3
event @5 - "probe" "" "" "" {} count=0 check="http.up" status=2
`

func parse(t testing.TB, k Kind, text string) *Batch {
	t.Helper()
	b, err := Parse(k, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func every(t testing.TB) []*Batch {
	return []*Batch{parse(t, Metric, everyMetric), parse(t, Log, everyLog), parse(t, Event, everyEvent), {Kind: Metric}, {Kind: Log}, {Kind: Event}}
}

func TestNotationRoundTrips(t *testing.T) {
	for _, b := range every(t) {
		text := Format(b)
		if again := Format(parse(t, b.Kind, text)); again != text {
			t.Errorf("%v: Parse and Format changed\n%s to\n%s", b.Kind, text, again)
		}
	}
}

func TestNotationNamesTheBadLine(t *testing.T) {
	f := func(k Kind, text, want string) {
		t.Helper()
		_, err := Parse(k, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want %q", text, err, want)
		}
	}
	f(Metric, "a gauge - 1 @1\nb gouge - 1 @1", `line 2: "gouge" is no type`)
	f(Metric, "a gauge - x @1", `"x" is no number`)
	f(Metric, "a gauge - 1 @1 later", `unexpected "later"`)
	f(Metric, "a dist - 0 @1 hist (count=0 sum=0 min=0 max=0 exemplar=1 @1 abc - {})", `"abc" is no id of 16 bytes`)
	f(Metric, `a{b} gauge - 1 @1`, `a label without =`)
	f(Log, `  @1 - "x" {}`, `is no log`)
	f(Event, `log {}`, `is no event`)
}

// Invariant 4, for what each codec makes of each kind.
func TestFrameRoundTrips(t *testing.T) {
	for _, codec := range []byte{codecNone, codecS2} {
		for _, b := range every(t) {
			frame := appendFrame([]byte("before"), b, codec)[len("before"):]
			h, err := ParseHeader(frame)
			if err != nil || h.Kind != b.Kind || h.Items != b.Len() {
				t.Fatalf("header %+v, %v", h, err)
			}
			var got Batch
			if err := AppendFromFrame(&got, frame); err != nil {
				t.Fatalf("codec %d, %v: %v", codec, b.Kind, err)
			}
			if Format(&got) != Format(b) || got.Kind != b.Kind {
				t.Errorf("codec %d: got\n%swant\n%s", codec, Format(&got), Format(b))
			}
		}
	}
}

func TestHeaderHasTheTimesOfItsItems(t *testing.T) {
	f := func(b *Batch, oldest, newest int64) {
		t.Helper()
		h, err := ParseHeader(AppendFrame(nil, b))
		if err != nil || h.Oldest != oldest || h.Newest != newest {
			t.Errorf("%v: %d to %d, %v; want %d to %d", b.Kind, h.Oldest, h.Newest, err, oldest, newest)
		}
	}
	f(parse(t, Metric, "a gauge - 1 @30\nb gauge - 1 @10\nc gauge - 1 @20"), 10, 30)
	f(parse(t, Log, "log {} \"\" 0..1\n@1999999 - \"x\" {}\n@-1 - \"x\" {}"), -1, 1)
	f(parse(t, Event, `event @7000000 - "" "" "" "" {} count=0`), 7, 7)
	f(&Batch{Kind: Log}, 0, 0)
}

func TestFramesAppendToOneBatch(t *testing.T) {
	for _, b := range every(t)[:3] {
		for _, codec := range []byte{codecNone, codecS2} {
			var got Batch
			frame := appendFrame(nil, b, codec)
			for range 3 {
				if err := AppendFromFrame(&got, frame); err != nil {
					t.Fatal(err)
				}
			}
			if want := strings.Repeat(Format(b), 3); Format(&got) != want {
				t.Errorf("three frames gave\n%swant\n%s", Format(&got), want)
			}
			got.Reset(b.Kind)
			if got.Len() != 0 || AppendFromFrame(&got, frame) != nil || Format(&got) != Format(b) {
				t.Errorf("after Reset: %s", Format(&got))
			}
		}
	}
}

// What was decoded first stays what it is when the next frame is decoded.
func TestOneFramesTextIsNotAnothers(t *testing.T) {
	var got Batch
	want := ""
	for i := range 20 {
		b := parse(t, Log, fmt.Sprintf("log {} \"f\" 0..9\n@1 - \"line %d\" {}", i))
		if err := AppendFromFrame(&got, appendFrame(nil, b, codecS2)); err != nil {
			t.Fatal(err)
		}
		want += Format(b)
	}
	if Format(&got) != want {
		t.Errorf("got\n%swant\n%s", Format(&got), want)
	}
}

func TestABadFrameLeavesTheBatchAlone(t *testing.T) {
	for _, b := range every(t)[:3] {
		frame := appendFrame(nil, b, codecNone)
		var got Batch
		if err := AppendFromFrame(&got, frame); err != nil {
			t.Fatal(err)
		}
		before := Format(&got)
		for n := range frame {
			if err := AppendFromFrame(&got, frame[:n]); !errors.Is(err, ErrFrame) {
				t.Fatalf("%v cut to %d bytes of %d: %v", b.Kind, n, len(frame), err)
			}
		}
		if err := AppendFromFrame(&got, append(slices.Clone(frame), 0)); !errors.Is(err, ErrFrame) {
			t.Errorf("a byte too many: %v", err)
		}
		other := Batch{Kind: b.Kind%3 + 1}
		if err := AppendFromFrame(&other, frame); !errors.Is(err, ErrFrame) {
			t.Errorf("a frame of another kind: %v", err)
		}
		if Format(&got) != before {
			t.Errorf("%v: bad frames changed the batch", b.Kind)
		}
	}
}

// The decoder hands over strings that point into memory it will reuse. For streams
// that is right only as long as package unique clones them, which its documentation
// does not promise. If this test fails, clone in reader.blocks.
func TestInternedStringsOutliveTheirFrame(t *testing.T) {
	frame := AppendFrame(nil, parse(t, Metric, `clone.test.name{key="value of clone test"} gauge - 1 @1`))
	var b Batch
	if err := AppendFromFrame(&b, frame); err != nil {
		t.Fatal(err)
	}
	labels := []byte(Labels("clone.key", "clone.value"))
	st := InternStream(unsafe.String(&labels[0], len(labels)))
	clear(frame)
	clear(b.scratch[:cap(b.scratch)])
	clear(labels)
	want := Desc{Name: "clone.test.name", Type: Gauge, Labels: Labels("key", "value of clone test")}
	if d := b.Samples[0].Series.Desc(); d != want {
		t.Errorf("interned %q changed with its frame", d)
	}
	if Lookup(st.Labels(), "clone.key") != "clone.value" {
		t.Errorf("interned stream %q changed with its bytes", st.Labels())
	}
}

func TestLabels(t *testing.T) {
	set := Labels("b", "2", "a", "1", "c", "", "b", "3", "long", strings.Repeat("x", 300))
	var keys []string
	for k := range Walk(set) {
		keys = append(keys, k)
	}
	if !slices.Equal(keys, []string{"a", "b", "long"}) || Lookup(set, "b") != "3" || Lookup(set, "long") != strings.Repeat("x", 300) || Lookup(set, "c") != "" {
		t.Errorf("keys %v in %q", keys, set)
	}
	merged := Merge(Labels("a", "1", "c", "3", "e", "5"), Labels("b", "2", "c", "over", "f", "6"))
	if want := Labels("a", "1", "b", "2", "c", "over", "e", "5", "f", "6"); merged != want {
		t.Errorf("Merge gave %s, want %s", labelText(merged), labelText(want))
	}
	if Merge("", set) != set || Merge(set, "") != set {
		t.Error("Merge with nothing changes a set")
	}
}

func TestMergeIsTheUnion(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		m := map[string]string{}
		var sets [2]string
		for i := range sets {
			var pairs []string
			for range rng.IntN(6) {
				k, v := string(rune('a'+rng.IntN(8))), string(rune('0'+rng.IntN(8)))
				pairs = append(pairs, k, v)
				m[k] = v
			}
			sets[i] = Labels(pairs...)
		}
		var pairs []string
		for k, v := range m {
			pairs = append(pairs, k, v)
		}
		if got, want := Merge(sets[0], sets[1]), Labels(pairs...); got != want {
			t.Fatalf("Merge(%s, %s) = %s, want %s", labelText(sets[0]), labelText(sets[1]), labelText(got), labelText(want))
		}
	}
}

func TestLinesInCountsThroughBlocks(t *testing.T) {
	b := parse(t, Log, `
log {} "a" 100..200
  @1 - "one" {}
  @2 - "two" {k="v"}
log {} "b" 0..0
log {} "c" 7..9
  @3 - "three" {}
`)
	for lo := range 4 {
		for hi := lo; hi < 5; hi++ {
			var got []string
			for l := range b.LinesIn(lo, hi) {
				got = append(got, string(l.Text))
			}
			want := []string{"one", "two", "three"}[min(lo, 3):min(hi, 3)]
			if !slices.Equal(got, want) {
				t.Errorf("LinesIn(%d, %d) = %q, want %q", lo, hi, got, want)
			}
		}
	}
	for l := range b.LinesIn(1, 2) {
		if l.ID != 101 || l.Block.File != "a" || !bytes.Equal(l.Attrs, []byte(Labels("k", "v"))) {
			t.Errorf("line %+v", l)
		}
	}
}

func TestIntegersKeepEveryBit(t *testing.T) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1, 1 << 47, 1 << 48, -1 << 48, 1<<53 + 1, 0.1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 1e300} {
		b := Batch{Kind: Metric, Samples: []Sample{{Series: Intern(Desc{Name: "x", Type: Counter}), Value: v, Delta: v, Prev: 1, Time: 2}}}
		var got Batch
		if err := AppendFromFrame(&got, AppendFrame(nil, &b)); err != nil {
			t.Fatal(err)
		}
		s := got.Samples[0]
		if math.Float64bits(s.Value) != math.Float64bits(v) || math.Float64bits(s.Delta) != math.Float64bits(v) {
			t.Errorf("%v became %v and %v", v, s.Value, s.Delta)
		}
	}
}

func FuzzAppendFromFrame(f *testing.F) {
	for _, b := range every(f) {
		f.Add(appendFrame(nil, b, codecNone))
		f.Add(appendFrame(nil, b, codecS2))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var b Batch
		if AppendFromFrame(&b, frame) != nil {
			return
		}
		// Accepted input must survive a walk and a round trip.
		text := Format(&b)
		var again Batch
		if err := AppendFromFrame(&again, AppendFrame(nil, &b)); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if Format(&again) != text {
			t.Fatalf("round trip changed\n%s to\n%s", text, Format(&again))
		}
	})
}

func FuzzLabels(f *testing.F) {
	f.Add(Labels("a", "1", "b", strings.Repeat("y", 200)), "a")
	f.Add("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "")
	f.Fuzz(func(t *testing.T, set, key string) {
		Lookup(set, key)
		m := Merge(Sorted(set), Labels(key, "v"))
		if key != "" && len(set) == 0 && Lookup(m, key) != "v" {
			t.Fatalf("%q not found in %q", key, m)
		}
		var prev string
		n := 0
		for k := range Walk(Sorted(m)) {
			if n > 0 && k <= prev {
				t.Fatalf("%q behind %q in %q", k, prev, m)
			}
			prev = k
			n++
		}
	})
}

func TestParseIsTheInverseOfFormatForRandomBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		b := RandomMetrics(rng, 50)
		var got Batch
		if err := AppendFromFrame(&got, AppendFrame(nil, b)); err != nil {
			t.Fatal(err)
		}
		got.scratch = nil
		if !reflect.DeepEqual(&got, b) {
			t.Fatalf("frame changed\n%s to\n%s", Format(b), Format(&got))
		}
		if back := parse(t, Metric, Format(b)); Format(back) != Format(b) {
			t.Fatalf("text changed\n%s to\n%s", Format(b), Format(back))
		}
	}
}

// RandomMetrics makes a batch of n samples of every type but distributions.
func RandomMetrics(rng *rand.Rand, n int) *Batch {
	b := &Batch{Kind: Metric}
	for range n {
		typ := Gauge + Type(rng.IntN(3))
		s := Sample{
			Series: Intern(Desc{
				Name: "m." + string(rune('a'+rng.IntN(5))), Type: typ, Unit: []string{"", "s", "By"}[rng.IntN(3)],
				Labels: Labels("a", strings.Repeat("v", rng.IntN(20)), "b", string(rune('a'+rng.IntN(3)))),
			}),
			Time: 1700000000000 + rng.Int64N(3), Value: float64(rng.IntN(100)) / float64(1+rng.IntN(2)),
		}
		if typ == Counter && rng.IntN(2) == 0 {
			s.Start, s.Prev, s.Delta = 5, s.Time-rng.Int64N(2)*1000-1, rng.Float64()
		}
		b.Add(s)
	}
	return b
}

// A frame of before there were exemplars is, byte by byte, what one without any is now.
func TestFramesWithoutExemplarsAreWhatTheyWere(t *testing.T) {
	b := parse(t, Metric, `
latency{a="b"} dist s 0 @1700000000000 from 1699999990000 hist (count=3 sum=4.5 min=1 max=NaN bounds=[1 2] counts=[1 1 1])
latency2 cumdist s 0 +0 since 5 @9 hist (count=4 sum=1 min=NaN max=NaN scale=-3 zero=4 width=0.5 pos=-2:[1 2] neg=7:[3] since=(count=1 sum=1 min=NaN max=NaN scale=-3 zero=0 width=0.5 pos=-2:[1] neg=0:[]))
`)
	const before = "" +
		"010100000200000009000000000000000068e5cf8b010000e70400076c6174656e637901730400040161016280a0abfef962e083aafef9620003" +
		"0000000000001240000000000000f03f010000000000f87f02000000000000f03f000000000000004003010101000000ef050701320173050000" +
		"ed9fabfef962df83aafef962080004000000000000f03f010000000000f87f010000000000f87f0000010504000000000000e03f030201020e01" +
		"03000101000000000000f03f010000000000f87f010000000000f87f0000010500000000000000e03f03010100000000"
	if got := hex.EncodeToString(appendFrame(nil, b, codecNone)); got != before {
		t.Errorf("it is now\n%s", got)
	}
}
