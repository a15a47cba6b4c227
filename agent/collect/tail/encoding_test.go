package tail

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/causeway-agent/causeway/agent/signal"
)

// encoded writes text in e, without a mark.
func encoded(e encoding, text string) string {
	var p []byte
	switch e {
	case encUTF16LE:
		for _, u := range utf16.Encode([]rune(text)) {
			p = append(p, byte(u), byte(u>>8))
		}
	case encUTF16BE:
		for _, u := range utf16.Encode([]rune(text)) {
			p = append(p, byte(u>>8), byte(u))
		}
	case encLatin1:
		for _, r := range text {
			p = append(p, byte(r))
		}
	default:
		return text
	}
	return string(p)
}

func TestEncodings(t *testing.T) {
	f := func(enc, text string, want ...string) {
		t.Helper()
		for _, join := range []string{"none", "auto"} {
			for _, step := range []int{1 << 20, 1, 3} {
				h := newHost(t, File{Path: "a.log", Encoding: enc, Multiline: join})
				h.cfg.MaxLine = 1 << 10
				h.must(h.cfg.Check())
				h.start().looks(1)
				for rest := text; rest != ""; {
					n := min(step, len(rest))
					h.write("a.log", rest[:n])
					rest = rest[n:]
					h.looks(1)
				}
				h.looks(35).want(want...)
			}
		}
	}
	le := func(s string) string { return encoded(encUTF16LE, s) }
	be := func(s string) string { return encoded(encUTF16BE, s) }
	f("auto", "\xff\xfe"+le("one\r\nä€😀\n\nlast"), "one", "ä€😀", "", "last")
	f("", "\xfe\xff"+be("one\r\nä€😀\n\nlast"), "one", "ä€😀", "", "last")
	f("auto", "\xef\xbb\xbfone\r\nä\n\ufefftwo\n", "one", "ä", "\ufefftwo") // only the first is a mark
	f("utf-8", "\xef\xbb\xbfone\n\xff\xfe\n", "one", "\uFFFD")
	f("auto", "ein\xe4s\nzwei\n", "ein\uFFFDs", "zwei")
	f("auto", "\xff\n\xef\xbb\n", "\uFFFD", "\uFFFD")
	f("auto", "\xff", "\uFFFD") // half a mark, and nothing more
	f("latin1", "ein\xe4s\r\n\xff\xfe\n\x85\n", "einäs", "ÿþ", "\u0085")
	f("latin1", "\xef\xbb\xbfone\n", "ï»¿one")
	f("utf-16le", le("one\ntwo\n"), "one", "two")
	f("utf-16be", be("one\ntwo\n"), "one", "two")
	f("utf-16be", "\xfe\xff"+be("one\n"), "one")
	f("utf-16le", le("\u0a0a\u010a\u0a01\n\u0a00\u000d\n"), "\u0a0a\u010a\u0a01", "\u0a00") // halves of them are line ends, and are none
	f("utf-16be", be("\u0a0a\u010a\u0a01\n\u000d\u0a00\n"), "\u0a0a\u010a\u0a01", "\r\u0a00")
	f("utf-16le", "\x3d\xd8\n\x00\x00\xdc\x3d\xd8x\x00\n\x00", "\uFFFD", "\uFFFD\uFFFDx") // halves of pairs
	f("utf-16be", be("whole\n")+"\x00", "whole")                                          // half a character is none
	f("utf-16be", be("\x00\x00one\n"), "\x00\x00one")
}

// What is cut is counted in bytes of the file, what is left is whole characters.
func TestLinesOfUTF16AreCutByTheirText(t *testing.T) {
	f := func(text, want string, cut int) {
		t.Helper()
		for _, step := range []int{1 << 20, 5000} {
			h := newHost(t, File{Path: "a.log"})
			h.cfg.MaxLine = 1 << 10
			h.start().looks(1)
			raw := "\xff\xfe" + encoded(encUTF16LE, text+"\nnext\n")
			for p := range slices.Chunk([]byte(raw), step) {
				h.write("a.log", string(p))
				h.looks(1)
			}
			h.want(want, "next")
			l := h.spool.frames[0].Logs[0].Line(0)
			if got := signal.Lookup(string(l.Attrs), signal.LabelLogCut); got != fmt.Sprint(cut) && (cut > 0 || got != "") {
				t.Errorf("%.10q…: %q bytes cut, want %d", text, got, cut)
			}
		}
	}
	f(strings.Repeat("x", 1024), strings.Repeat("x", 1024), 0)
	f(strings.Repeat("x", 1024)+"\r", strings.Repeat("x", 1024), 0)
	f(strings.Repeat("x", 1025), strings.Repeat("x", 1024), 2)
	f(strings.Repeat("x", 9000), strings.Repeat("x", 1024), 2*(9000-1024))
	f(strings.Repeat("€", 341), strings.Repeat("€", 341), 0)
	f(strings.Repeat("€", 342), strings.Repeat("€", 341), 2)
	f(strings.Repeat("😀", 3000), strings.Repeat("😀", 256), 4*(3000-256))
}

// A program that writes UTF-16 or Latin-1 is read as every other is: through
// rotation, truncation, which takes the mark away, and deaths in between.
func TestEncodingsLastThroughRotationTruncationAndDeath(t *testing.T) {
	for _, enc := range []encoding{encUTF16LE, encUTF16BE, encLatin1} {
		for _, style := range []string{"rename", "copytruncate", "delete"} {
			for every := 2; every < 6; every++ {
				t.Run(fmt.Sprint(encNames[enc], ",", style, ",every=", every), func(t *testing.T) {
					wish := "auto"
					if enc == encLatin1 {
						wish = "latin1"
					}
					h := newHost(t, File{Path: "*.log", Encoding: wish}).start().looks(1)
					h.enc, h.tick = enc, 300*time.Millisecond
					rng := rand.New(rand.NewPCG(5, uint64(every)))
					w := &writer{host: h, name: "ä.log"}
					for range 8 {
						w.lines(1 + rng.IntN(60))
						h.write(w.name, "ä.log ")
						h.dies(rng.IntN(2), every, every%2 == 0)
						w.n++
						h.write(w.name, fmt.Sprintf("line %d\n", w.n))
						w.want = append(w.want, fmt.Sprintf("ä.log line %d", w.n))
						h.dies(1, every, every%2 == 0)
						switch style {
						case "rename":
							w.lines(rng.IntN(9))
							w.rotate(9)
						case "copytruncate":
							w.lines(rng.IntN(9))
							w.rotateByCopy(9)
						case "delete":
							w.remove(w.name)
						}
					}
					h.dies(30, every, false)
					w.check()
				})
			}
		}
	}
}

func TestAStopAndStartKnowsTheEncoding(t *testing.T) {
	for _, stop := range []bool{true, false} {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		h.enc = encUTF16LE
		h.write("a.log", "one\ntwo\n")
		h.looks(2)
		h.must(os.Truncate(h.path("a.log"), 0))
		h.write("a.log", "three\nfo")
		h.looks(1)
		if stop {
			h.stop()
		} else {
			h.kill()
		}
		h.write("a.log", "ur\n")
		h.start().looks(1).want("one", "two", "three", "four")
	}
}

// A file that was there is gone on with at its last line, wherever that begins.
func TestTheEndOfUTF16IsFound(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.enc = encUTF16BE
	h.write("a.log", "old\nbe\u0a0a")
	h.write("long.log", strings.Repeat("\u0a0a", chunkBytes))
	h.start().looks(1)
	h.write("a.log", "gun\n")
	h.looks(1).want("be\u0a0agun")
	h.write("long.log", "\nnext\n")
	h.looks(1).want("be\u0a0agun", "", "next")
}

// A program without O_APPEND goes on where it was: what is before is a hole.
func TestAHoleInUTF16(t *testing.T) {
	for _, enc := range []encoding{encUTF16LE, encUTF16BE} {
		h := newHost(t, File{Path: "*.log"}).start().looks(1)
		h.enc = enc
		h.write("a.log", "one\ntwo\n")
		h.looks(1)
		text := encoded(enc, "one\ntwo\n")
		h.must(os.Truncate(h.path("a.log"), 0))
		h.looks(1)
		f, err := os.OpenFile(h.path("a.log"), os.O_WRONLY, 0)
		h.must(err)
		_, err = f.WriteAt([]byte(encoded(enc, "three\n")), int64(2+len(text)))
		h.must(err)
		h.must(f.Close())
		h.looks(1).want("one", "two", "three")
		if n := h.Stats().Holes.Load(); n != int64(2+len(text)) {
			t.Errorf("a hole of %d bytes, want %d", n, 2+len(text))
		}
	}
}

// Who writes plain text over a file of UTF-16 is believed.
func TestTextOverUTF16(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.enc = encUTF16LE
	h.write("a.log", "one\n")
	h.looks(1)
	h.enc = encAuto
	h.must(os.WriteFile(h.path("a.log"), []byte("two is plain\n"), 0o644))
	h.looks(2).want("one", "two is plain")
}

func TestOnlyEncodingsThereAreAreAccepted(t *testing.T) {
	c := Default()
	c.Files = []File{{Path: "/var/log/a.log", Encoding: "utf-7"}}
	if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), "files[0].encoding: ") {
		t.Errorf("error %v", err)
	}
}

// decoded is the text of p as golang.org/x/text has it, and where there are halves
// of pairs, of which that sometimes takes two for one, as the standard library.
func decoded(t *testing.T, e encoding, p []byte) string {
	t.Helper()
	dec := charmap.ISO8859_1.NewDecoder()
	order := unicode.LittleEndian
	if e == encUTF16BE {
		order = unicode.BigEndian
	}
	if e != encLatin1 {
		dec = unicode.UTF16(order, unicode.IgnoreBOM).NewDecoder()
	}
	text, err := dec.Bytes(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.ContainsRune(text, utf8.RuneError) {
		return string(text)
	}
	var units []uint16
	for u := range slices.Chunk(p, 2) {
		if e == encUTF16BE {
			units = append(units, uint16(u[0])<<8|uint16(u[1]))
		} else {
			units = append(units, uint16(u[1])<<8|uint16(u[0]))
		}
	}
	return string(utf16.Decode(units))
}

// wantRecoded is what the lines of raw are, said in another way.
func wantRecoded(t *testing.T, e encoding, raw []byte, maxLine int) (want []string) {
	t.Helper()
	w := e.width()
	raw = raw[:len(raw)/w*w]
	raw = bytes.TrimPrefix(raw, []byte(e.mark()))
	end := []byte(encoded(e, "\n"))
	for len(raw) > 0 {
		n, ends := 0, 0
		for n < len(raw) && ends == 0 {
			if bytes.Equal(raw[n:n+w], end) {
				ends = w
			} else {
				n += w
			}
		}
		line := decoded(t, e, raw[:n])
		if body, ok := strings.CutSuffix(line, "\r"); ok && ends > 0 && len(body) <= maxLine {
			line = body
		}
		cut := ""
		if len(line) > maxLine {
			k := maxLine
			for k > 0 && !utf8.RuneStart(line[k]) {
				k--
			}
			line = line[:k]
			left := n
			for _, r := range line {
				left -= w * len(utf16.Encode([]rune{r}))
			}
			cut = fmt.Sprint(left)
		}
		want = append(want, line+cut)
		raw = raw[n+ends:]
	}
	return want
}

func FuzzRecoded(f *testing.F) {
	f.Add(byte(0), []byte(encoded(encUTF16LE, "\ufeffone\r\ntwo\n\U0001F600 \u0a0a\n\nlast")), []byte{1, 3}, uint16(4), uint16(3), uint8(2))
	f.Add(byte(1), []byte(encoded(encUTF16BE, "\ufeff\n€€€\U0001F600\n")+"\xd8\x3d\x00\n\xdc\x00"), []byte{255}, uint16(64), uint16(7), uint8(9))
	f.Add(byte(1), []byte("\xdf0\xdf0"), []byte{'0'}, uint16(3), uint16(46), uint8(2))
	f.Add(byte(2), []byte("ein\xe4s\r\n\xff\n"), []byte{5}, uint16(1), uint16(3), uint8(1))
	f.Fuzz(func(t *testing.T, enc byte, text, steps []byte, chunk, maxLine uint16, limit uint8) {
		if len(text) > 1<<12 || len(steps) > 64 {
			return
		}
		e := encUTF16LE + encoding(enc%3)
		got, sum, err := readAll(text, steps, 2+int(chunk), 4+int(maxLine), 1+int(limit), e)
		if err != nil {
			t.Fatal(err)
		}
		if want := wantRecoded(t, e, text, 4+int(maxLine)); !slices.Equal(got, want) {
			t.Fatalf("%v %q:\n got %q\nwant %q", encNames[e], text, got, want)
		}
		whole := e.aligned(int64(len(text)))
		if sum.read != whole || sum.read != sum.body+sum.ends+sum.cut+sum.recoded || sum.lines != int64(len(got)) {
			t.Fatalf("%q: the books do not balance: %+v", text, sum)
		}
	})
}
