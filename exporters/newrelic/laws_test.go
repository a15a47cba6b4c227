package newrelic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

// Wherever a body begins and ends, it says the same of an item.
func TestPiecesSayWhatTheWholeSays(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		for kind, name := range map[signal.Kind]string{signal.Metric: "metrics", signal.Log: "logs", signal.Event: "events"} {
			b := read(t, kind, name)
			whole := func(m []nrintake.Metric, l []nrintake.Log, e []nrintake.Event) string {
				return string(list(t, m)) + string(list(t, l)) + string(list(t, e))
			}
			m, l, e, _, _ := take(t, tagged(api), b)
			want := whole(m, l, e)
			for _, size := range []int{1, 2, 7} {
				m, l, e := m[:0:0], l[:0:0], e[:0:0]
				ex := map[signal.Kind]exporters.Exporter{signal.Metric: Metrics("t", tagged(api), nil), signal.Log: Logs("t", tagged(api), nil),
					signal.Event: Events("t", tagged(api), nil)}[kind]
				skips := 0
				for lo := 0; lo < b.Len(); lo += size {
					hi := min(lo+size, b.Len())
					body, next, skipped := ex.Encode([]byte("before"), b, lo, hi)
					if next != hi || !bytes.HasPrefix(body, []byte("before")) {
						t.Fatalf("%s %v: [%d, %d) gave %d", api, kind, lo, hi, next)
					}
					if skips += skipped; skipped == hi-lo {
						continue
					}
					pm, pl, pe, err := readAs(api, kind, body[len("before"):])
					if err != nil {
						t.Fatal(err)
					}
					m, l, e = append(m, pm...), append(l, pl...), append(e, pe...)
				}
				if got := whole(m, l, e); got != want {
					t.Errorf("%s %v by %d: %s\nwant %s", api, kind, size, got, want)
				}
			}
		}
	}
}

func TestLimits(t *testing.T) {
	long := strings.Repeat("ж", 5000)
	labels := []string{"k" + long, "v", "long", long, "odd", "\xff" + strings.Repeat("x", 4092) + "é"}
	for i := range 200 {
		labels = append(labels, fmt.Sprintf("n%d", i), "v")
	}
	for i := range 80 {
		labels = append(labels, fmt.Sprintf("host.n%d", i), "v")
	}
	for _, api := range []string{"sdk", "otlp"} {
		b := &signal.Batch{Kind: signal.Metric}
		for _, name := range []string{strings.Repeat("n", 300), "b"} {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: signal.Gauge, Labels: signal.Labels(labels...)}), Time: 1})
		}
		m, _, _, _, _ := take(t, config(api), b)
		if len(m) != 2 || len(m[0].Name) != 255 || len(m[1].Attributes) < 99 {
			t.Errorf("%s: %v", api, show(m)[:300])
		}
		l := &signal.Batch{Kind: signal.Log}
		blk := signal.LogBlock{Stream: signal.InternStream(signal.Labels(labels...))}
		blk.Append(1e18, 6, []byte(strings.Repeat(`"`, 200_000)), []byte(signal.Labels(labels...)))
		blk.Append(1e18, 6, []byte(strings.Repeat("é", 200_000)), nil)
		blk.Append(1e18, 6, []byte(strings.Repeat("\xff", 200_000)), nil) // each of them is three bytes there
		blk.Append(1e18, 6, []byte("after"), nil)
		l.Logs = append(l.Logs, blk)
		_, lines, _, body, _ := take(t, config(api), l)
		if len(lines) != 4 || len(lines[0].Message) != 128<<10 || len(lines[1].Message) != 128<<10 || len(lines[2].Message) < 128<<10-3 ||
			lines[3].Message != "after" {
			t.Errorf("%s: %d lines in %d bytes", api, len(lines), len(body))
		}
		e := &signal.Batch{Kind: signal.Event, Events: []signal.EventItem{{Time: 1e18, Title: long, Text: long, Labels: signal.Labels(labels...)}}}
		for _, account := range []int64{0, 7} {
			c := config(api)
			c.AccountID = account
			if _, _, events, _, _ := take(t, c, e); len(events) != 1 || len(events[0].Attributes["title"].(string)) != 4094 {
				t.Errorf("%s: %v", api, events)
			}
		}
	}
}

// A line is cut between two characters, and only if it is too long as it arrives.
func TestMessage(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		if got := message(line); got != want {
			t.Errorf("%d bytes became %d, want %d", len(line), len(got), len(want))
		}
	}
	whole, half := strings.Repeat("x", 128<<10), strings.Repeat("x", 64<<10)
	f("", "")
	f(whole, whole)
	f(whole+"x", whole)
	f(whole[1:]+"é", whole[1:])
	f("\xff"+half+"é", "\xff"+half+"é")
	f(whole[2:]+"\xff", whole[2:])
	f(whole[3:]+"\xff", whole[3:]+"\xff")
}

// Lengths that outgrow the place left for them.
func TestPlacesGrow(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 16383, 16384, 2<<20 - 1, 2 << 20} {
		for width := 1; width <= 4; width++ {
			want := bytes.Repeat([]byte("7"), n)
			dst, at := open([]byte("x"), 0x0a, width)
			dst, moved := shut(append(dst, want...), at, width)
			if got := field(dst[1:], 1); !bytes.Equal(got, want) || moved != (n >= 1<<(7*width)) {
				t.Errorf("%d bytes in a place of %d: read back %d, moved %v", n, width, len(got), moved)
			}
		}
	}
}

func TestEncodeDoesNotAllocate(t *testing.T) {
	hists := parse(t, signal.Metric,
		"a dist - 0 @1 hist (count=2 sum=3 min=NaN max=NaN q=[0.5:1 0.999:2])\nb dist - 0 @1 hist (count=1 sum=1 min=1 max=1 bounds=[1] counts=[1 0])")
	for _, api := range []string{"sdk", "otlp"} {
		for _, c := range []struct {
			e exporters.Exporter
			b *signal.Batch
		}{{Metrics("m", tagged(api), nil), hostBatch()}, {Metrics("m", tagged(api), nil), ownBatch(100)}, {Metrics("m", tagged(api), nil), containerBatch(10)},
			{Metrics("m", tagged(api), nil), hists}, {Logs("l", tagged(api), nil), logBatch(100)}} {
			dst, _, _ := c.e.Encode(nil, c.b, 0, c.b.Len())
			if n := testing.AllocsPerRun(10, func() { c.e.Encode(dst[:0], c.b, 0, c.b.Len()) }); n > 0 {
				t.Errorf("%s %v: %v allocations for %d items", api, c.e.Kind(), n, c.b.Len())
			}
		}
	}
}

// encoding/json reads back what it would have read of its own.
func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "\x00\x1f\n\r\t\x7f", "<&>", "ж✓\U0001f600", "\xff\xc3(\xed\xa0\x80", "12345678\"", "1234567\x80",
		"\u2028"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		var want, got string
		if own, err := json.Marshal(s); err != nil || json.Unmarshal(own, &want) != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil || got != want {
			t.Fatalf("%q read back as %q: %v", s, got, err)
		}
		most &= 0xff
		if c := cut(s, most); len(c) > most || !strings.HasPrefix(s, c) || len(s) <= most && c != s || len(s) > most && len(c) < most-3 ||
			utf8.ValidString(s) && !utf8.ValidString(c) {
			t.Fatalf("%q cut at %d: %q", s, most, c)
		}
	})
}

// Whatever a distribution is, what is sent of it holds together.
func FuzzHist(f *testing.F) {
	f.Add(uint64(4), 1.5, 0.5, 3.0, int32(3), int32(-2), []byte{1, 2, 0, 1}, uint64(0), 0.0, true)
	f.Add(uint64(4), 1.5, 0.5, 3.0, int32(3), int32(-2), bytes.Repeat([]byte{1}, 400), uint64(0), 0.0, true)
	f.Add(uint64(7), 1.5, math.NaN(), math.Inf(1), int32(-20), int32(math.MaxInt32), []byte{7}, uint64(0), 1e-9, true)
	f.Add(uint64(3), -1.5, 0.5, 3.0, int32(0), int32(0), []byte{1, 2}, uint64(0), 1.0, false)
	f.Fuzz(func(t *testing.T, count uint64, sum, lo, hi float64, scale, offset int32, buckets []byte, zero uint64, width float64, exponential bool) {
		h := &signal.Hist{Count: count, Sum: sum, Min: lo, Max: hi, Exponential: exponential, Scale: scale, Zero: zero, ZeroWidth: width}
		counts := make([]uint64, len(buckets))
		for i, n := range buckets {
			counts[i] = uint64(n)
		}
		if exponential {
			h.Pos, h.Neg = signal.Buckets{Offset: offset, Counts: counts}, signal.Buckets{Offset: -offset, Counts: counts[len(counts)/2:]}
			if zero%2 == 0 {
				h.Count = total(total(h.Zero, h.Pos.Counts), h.Neg.Counts)
			}
		} else {
			h.Counts = counts
			for i := range len(counts) - 1 {
				h.Bounds = append(h.Bounds, lo+width*float64(i))
			}
			if zero%2 == 0 {
				h.Count = total(0, counts)
			}
		}
		b := &signal.Batch{Kind: signal.Metric}
		b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: "a", Type: signal.Dist}), Start: 1e12, Time: 1e12 + 1, Hist: h})
		for _, api := range []string{"sdk", "otlp"} {
			take(t, config(api), b)
		}
	})
}

// Whatever labels there are, both bodies are whole, and no attribute breaks a limit.
func FuzzAttributes(f *testing.F) {
	f.Add("system.network.io", "device", "x", "network.interface.name", "eth0")
	f.Add("up", "a-b", "1", "a/b", "2")
	f.Add("up", "a_b", "1", "a/b", "2")
	f.Add("timestamp", "timestamp", "1", "attr.timestamp", "2")
	f.Add("\xff", "\xff", "\xff", "ж", "\x00")
	f.Add("host.name", "host.name", "a", "message", "b")
	f.Add("\xfe", "\xff", "1", "\xfd", "2") // three that become one
	f.Add("a_b", "a-b", "1", "a/b", "2")
	f.Add("env", "k", "1", "env", "2") // env is a tag of the configuration
	f.Fuzz(func(t *testing.T, name, k1, v1, k2, v2 string) {
		labels := signal.Labels(k1, v1, k2, v2)
		b := &signal.Batch{Kind: signal.Metric}
		for range 2 {
			b.Add(signal.Sample{Series: signal.Intern(signal.Desc{Name: name, Type: signal.Gauge, Labels: labels}), Time: 1e12})
		}
		l := &signal.Batch{Kind: signal.Log}
		blk := signal.LogBlock{Stream: signal.InternStream(labels)}
		blk.Append(1e18, 6, []byte(v1), []byte(labels))
		l.Logs = append(l.Logs, blk)
		e := &signal.Batch{Kind: signal.Event, Events: []signal.EventItem{{Time: 1e18, Title: "t" + v1, ID: v2, Labels: labels}}}
		for _, api := range []string{"sdk", "otlp"} {
			take(t, tagged(api), b)
			take(t, tagged(api), l)
			take(t, tagged(api), e)
		}
	})
}
