package tail

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// readAll reads text through a buffer of chunk bytes, while it appears in steps
// of the given lengths (over and over), and takes the last line without its end.
func readAll(text []byte, steps []byte, chunk, maxLine, limit int, enc encoding) (lines []string, sum tally, err error) {
	p := position{enc: enc}
	var c clock
	buf := make([]byte, edgeBytes+chunk)
	shown := 0
	for i := 0; ; i++ {
		if shown < len(text) && len(steps) > 0 {
			shown = min(len(text), shown+int(steps[i%len(steps)]))
		} else {
			shown = len(text)
		}
		if i > 3*len(text) {
			shown = len(text) // steps of nothing
		}
		for more := true; more; {
			blk := signal.LogBlock{Start: p.off}
			var out taker = &plain{blk: &blk, maxLine: maxLine, clock: &c, sum: &sum}
			if enc.recoded() {
				out = &recoder{enc: enc, to: out, maxLine: maxLine, sum: &sum}
			}
			o, err := turn(bytes.NewReader(text[:shown]), &p, buf[:p.edgeN+chunk], out, maxLine, limit, &sum)
			if err != nil || o.replaced {
				return nil, sum, fmt.Errorf("%w, replaced %v", err, o.replaced)
			}
			more = o.more
			if !more && shown == len(text) {
				if err := rest(bytes.NewReader(text), &p, out, maxLine, &sum); err != nil {
					return nil, sum, err
				}
			}
			for i := range blk.Lines {
				l := blk.Line(i)
				lines = append(lines, string(l.Text)+signal.Lookup(string(l.Attrs), signal.LabelLogCut))
			}
		}
		if shown == len(text) {
			return lines, sum, nil
		}
	}
}

// wantLines is what the lines of text are, said in another way.
func wantLines(text string, maxLine int) []string {
	var want []string
	for line := range strings.Lines(text) {
		if body, ok := strings.CutSuffix(line, "\n"); ok {
			line = body
			if b, ok := strings.CutSuffix(body, "\r"); ok && len(b) <= maxLine {
				line = b
			}
		}
		cut := ""
		if len(line) > maxLine {
			n := maxLine
			for n > 0 && n > maxLine-3 && !utf8.RuneStart(line[n]) {
				n--
			}
			cut = fmt.Sprint(len(line) - n)
			line = line[:n]
		}
		want = append(want, strings.ToValidUTF8(line, "\uFFFD")+cut)
	}
	return want
}

func checkRead(t *testing.T, text, steps []byte, chunk, maxLine, limit int) {
	t.Helper()
	got, sum, err := readAll(text, steps, chunk, maxLine, limit, encAuto)
	if err != nil {
		t.Fatalf("text %q: %v", text, err)
	}
	if want := wantLines(string(text), maxLine); !slices.Equal(got, want) {
		t.Fatalf("text %q, steps %v, chunk %d, max %d, limit %d:\n got %q\nwant %q", text, steps, chunk, maxLine, limit, got, want)
	}
	if sum.read != int64(len(text)) || sum.read != sum.body+sum.ends+sum.cut || sum.lines != int64(len(got)) {
		t.Fatalf("text %q: the books do not balance: %+v", text, sum)
	}
}

func TestAnyChunkingGivesTheSameLines(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	for _, text := range []string{
		"", "\n", "a", "a\n", "\r\n\r\n", "a\r\nb\nc", "a\rb\n\r", "ä€😀\n\xff\xfe\x80\n", "\x00\x00\na\x00\n",
		long + "\nshort\n" + long + "\r\n", long, strings.Repeat("\n", 300), strings.Repeat("€", 5000) + "\nx",
	} {
		for _, steps := range [][]byte{nil, {1}, {7, 0, 250}} {
			for _, chunk := range []int{1, 5, 64, 6000} {
				for _, maxLine := range []int{3, 8, 1 << 20} {
					for _, limit := range []int{1, 2, 1000} {
						if len(text)/chunk > 2000 || len(steps) == 1 && len(text) > 1000 {
							continue
						}
						checkRead(t, []byte(text), steps, chunk, maxLine, limit)
					}
				}
			}
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("one\r\ntwo\n\xff\n\nlast"), []byte{1, 3}, uint16(4), uint16(3), uint8(2))
	f.Add([]byte(strings.Repeat("€", 3000)+"\n"), []byte{255}, uint16(64), uint16(7), uint8(9))
	f.Fuzz(func(t *testing.T, text, steps []byte, chunk, maxLine uint16, limit uint8) {
		if len(text) > 1<<14 || len(steps) > 64 {
			return
		}
		checkRead(t, text, steps, 1+int(chunk), 1+int(maxLine), 1+int(limit))
	})
}

// Nothing downstream may take the time a line was read for one of a clock that
// tells microseconds: lines so stamped are spread over the microsecond, and meet
// their neighbours there.
func TestFewLinesHaveNoRoundTimes(t *testing.T) {
	var c clock
	f := func(now int64, n int, want int64) {
		t.Helper()
		last := c.last
		got := c.from(now, n)
		if got != want || got <= last || c.last != got+int64(n)-1 {
			t.Errorf("%d lines from %d on: %d, want %d; the last is %d", n, now, got, want, c.last)
		}
	}
	f(5_000, 1, 5_001)
	f(5_000, 1, 5_002)
	f(5_999, 1, 5_999)
	f(5_999, 1, 6_001)
	f(6_500, 500, 6_500) // up to 6,999
	f(7_501, 500, 8_001) // would have held 8,000
	f(8_999, 2, 9_001)
	f(9_990, 999, 10_001)
	f(20_000, 5_000, 20_000) // among so many it is no sign of anything
}
