package syslog

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// messages cuts p into messages of at most max bytes.
func messages(r io.Reader, max int, st *Stats) (list []string, err error) {
	f := newFramer(r, max, st)
	for {
		msg, err := f.next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, string(msg))
	}
}

func TestFramesOfBothKinds(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	f := func(name, in string, want ...string) {
		t.Helper()
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
			var st Stats
			got, err := messages(r, 64<<10, &st)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) {
				t.Errorf("%s: got %.200q, %v; want %.200q", name, got, err, want)
			}
		}
	}
	f("newlines", "<1>a\n<2>b\r\n<3>c\n", "<1>a", "<2>b", "<3>c")
	f("lengths", "4 <1>a6 <2>b\nc4 <3>d", "<1>a", "<2>b\nc", "<3>d")
	f("lengths and newlines, as some senders write", "4 <1>a\n4 <2>b\n", "<1>a", "<2>b")
	f("both on one connection", "<1>a\n4 <2>b<3>c\n4 <4>d", "<1>a", "<2>b", "<3>c", "<4>d")
	f("a length once makes numbers lengths", "4 <1>a2 bc4 <2>d", "<1>a", "bc", "<2>d")
	f("a number that is text", "2026-11-23 text\n12 monkeys\n", "2026-11-23 text", "12 monkeys")
	f("empty lines", "\n\n<1>a\n\n\n", "<1>a")
	f("NUL as an end", "<1>a\n\x00<2>b\n\x00", "<1>a", "<2>b")
	f("the last without an end", "<1>a\n<2>b", "<1>a", "<2>b")
	f("the last shorter than its length", "4 <1>a9 <2>b", "<1>a", "<2>b")
	f("only digits", "123", "123")
	f("zero is no length", "0 <1>a\n", "0 <1>a")
	f("longer than the buffer", "<1>"+long+"\n<2>b\n", "<1>"+long, "<2>b")
	f("longer than the buffer, with its length", fmt.Sprintf("%d <1>%s4 <2>b", len(long)+3, long), "<1>"+long, "<2>b")
	f("a length that is short", "3 <1>abc\n4 <2>d", "<1>", "abc", "<2>d")
}

func TestWhatIsTooLongIsCutAndCounted(t *testing.T) {
	f := func(name, in string, cutBytes int64, want ...string) {
		t.Helper()
		var st Stats
		got, err := messages(strings.NewReader(in), 1<<10, &st)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %.200q, %v", name, got, err)
		}
		if st.Cut.Load() != 1 || st.CutBytes.Load() != cutBytes {
			t.Errorf("%s: cut %d messages by %d bytes, want 1 by %d", name, st.Cut.Load(), st.CutBytes.Load(), cutBytes)
		}
	}
	x := strings.Repeat("x", 1<<20)
	f("a line", x+"\n<2>b\n", 1<<20-1<<10, x[:1<<10], "<2>b")
	f("a line a bit too long", x[:1<<10+1]+"\n<2>b\n", 1, x[:1<<10], "<2>b")
	f("a line that never ends", x, 1<<20-1<<10, x[:1<<10])
	f("a message with its length", fmt.Sprintf("%d <1>%s4 <2>b", 1<<20+3, x), 1<<20+3-1<<10, "<1>"+x[:1<<10-3], "<2>b")
}

func TestALengthThatCannotBeEndsTheConnection(t *testing.T) {
	f := func(in string, before ...string) {
		t.Helper()
		var st Stats
		got, err := messages(strings.NewReader(in), 1<<10, &st)
		if !errors.Is(err, errFrame) || fmt.Sprint(got) != fmt.Sprint(before) || st.BadFrames.Load() != 1 {
			t.Errorf("%q: %v after %q, %d counted", in, err, got, st.BadFrames.Load())
		}
	}
	f("16777217 <1>a")
	f("999999999 <1>a")
	f("4 <1>a99999999 b", "<1>a")
}

func TestAWrongLengthIsToldFromTheNextMessage(t *testing.T) {
	var st Stats
	got, _ := messages(strings.NewReader("3 <1>abc\n4 <2>d"), 1<<10, &st)
	if len(got) != 3 || st.Reframed.Load() != 1 {
		t.Errorf("%q, reframed %d", got, st.Reframed.Load())
	}
	st = Stats{}
	got, _ = messages(strings.NewReader("9 <1>a"), 1<<10, &st)
	if len(got) != 1 || st.Partial.Load() != 1 {
		t.Errorf("%q, partial %d", got, st.Partial.Load())
	}
}

// FuzzFrames: however a stream is cut into reads, the messages are the same,
// none is longer than it may be, and all end.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"<1>a\n<2>b\n", "4 <1>a4 <2>b", "9999999 <1>a", "4 <1>a<2>b\n5 <1>", "12", "\x00\n\r"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var a, b Stats
		one, err1 := messages(strings.NewReader(string(p)), 8, &a)
		two, err2 := messages(iotest.OneByteReader(strings.NewReader(string(p))), 8, &b)
		if fmt.Sprint(one, err1) != fmt.Sprint(two, err2) {
			t.Errorf("%q, %v in one read, %q, %v in many", one, err1, two, err2)
		}
		for _, m := range one {
			if len(m) == 0 && !strings.Contains(string(p), "\n") || len(m) > 8 {
				t.Errorf("message %q", m)
			}
		}
	})
}
