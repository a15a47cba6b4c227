package tail

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// encoding is how the characters of a file are written. All offsets are those of
// its bytes as they stand, whatever the encoding; only the lines are recoded.
type encoding uint8

// The numbers stand in snapshots.
const (
	encAuto    encoding = iota // not decided yet; read as UTF-8
	encUTF8                    // what is none becomes U+FFFD
	encUTF16LE                 // likewise halves of surrogate pairs
	encUTF16BE
	encLatin1 // ISO 8859-1: every byte is a character
	encEnd
)

// encNames are the words of the configuration, in the order of the constants.
var encNames = [encEnd]string{"auto", "utf-8", "utf-16le", "utf-16be", "latin1"}

func encodingOf(name string) (encoding, error) {
	for e, n := range encNames {
		if n == cmp.Or(name, encNames[encAuto]) {
			return encoding(e), nil
		}
	}
	return encAuto, fmt.Errorf("must be auto, utf-8, utf-16le, utf-16be or latin1, not %q", name)
}

// mark is the byte order mark that a file of the encoding may begin with.
func (e encoding) mark() string {
	switch e {
	case encAuto, encUTF8:
		return "\xef\xbb\xbf"
	case encUTF16LE:
		return "\xff\xfe"
	case encUTF16BE:
		return "\xfe\xff"
	}
	return ""
}

// recoded reports whether lines in e are not simply UTF-8.
func (e encoding) recoded() bool { return e >= encUTF16LE }

// width is how many bytes a line end takes; every line begins at a multiple of
// it, and no character takes less.
func (e encoding) width() int {
	if e == encUTF16LE || e == encUTF16BE {
		return 2
	}
	return 1
}

// aligned is the most of n bytes that may be whole characters.
func (e encoding) aligned(n int64) int64 { return n &^ int64(e.width()-1) }

// unit is the i-th code unit of p, of an encoding of two bytes.
func (e encoding) unit(p []byte, i int) rune {
	if e == encUTF16LE {
		return rune(p[i]) | rune(p[i+1])<<8
	}
	return rune(p[i])<<8 | rune(p[i+1])
}

// newline returns where the first line end in p begins, -1 if there is none. p
// begins between two characters.
func (e encoding) newline(p []byte) int {
	if e.width() == 1 {
		return bytes.IndexByte(p, '\n')
	}
	for at := 0; ; { // a 0x0A may be half of another character
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return -1
		}
		if i = (at + i) &^ 1; i+1 < len(p) && e.unit(p, i) == '\n' {
			return i
		}
		if at = i + 2; at > len(p) {
			return -1
		}
	}
}

// lastNewline returns where the last line end in p begins.
func (e encoding) lastNewline(p []byte) int {
	if e.width() == 1 {
		return bytes.LastIndexByte(p, '\n')
	}
	for p = p[:len(p)&^1]; ; {
		i := bytes.LastIndexByte(p, '\n')
		if i < 0 {
			return -1
		}
		if i &^= 1; e.unit(p, i) == '\n' {
			return i
		}
		p = p[:i]
	}
}

// sniff tells the encoding of a file that begins with p by its mark: encAuto if
// there is none. sure is false if more bytes might make a mark of p.
func sniff(p []byte) (e encoding, sure bool) {
	sure = true
	for _, e := range [...]encoding{encUTF8, encUTF16LE, encUTF16BE} {
		mark := []byte(e.mark())
		if bytes.HasPrefix(p, mark) {
			return e, true
		}
		sure = sure && !bytes.HasPrefix(mark, p)
	}
	return encAuto, sure
}

// decode settles how f is encoded, of which head is the beginning, as far as that
// can be told. was is how the bytes before were encoded, if in another way than
// UTF-8: those that follow a truncation have no mark. They are what they were
// before, unless they are plainly text: that of UTF-16 holds a NUL in each line end.
func (f *file) decode(head []byte, was encoding) {
	if f.pos.enc = f.rule.enc; f.pos.enc != encAuto {
		return
	}
	e, sure := sniff(head)
	f.was = was
	if utf8.Valid(head) && bytes.IndexByte(head, 0) < 0 {
		was = encAuto
	}
	if sure {
		f.pos.enc = cmp.Or(e, was, encUTF8)
	}
}

// encodingBefore is how what stood in f's place was encoded, as far as that is
// known and was not UTF-8: a truncation may have come just before a death, so that
// nothing is known of what stands there now. r is f's own record, if there is one.
func (t *Tailer) encodingBefore(f *file, r *record) encoding {
	if r != nil && r.enc.recoded() {
		return r.enc
	}
	for _, list := range [...][]*record{t.archive.byKey[f.key], t.archive.byPath[f.path], t.archive.byPath[f.family.root]} {
		for _, r := range slices.Backward(list) {
			if r.enc.recoded() {
				return r.enc
			}
		}
	}
	return encAuto
}

// sniff settles how f is encoded once it has bytes enough.
func (f *file) sniff() error {
	if f.pos.enc != encAuto {
		return nil
	}
	var head [headBytes]byte
	n, err := f.src().ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	f.decode(head[:n], f.was)
	return nil
}

// recoder is the taker of a file whose lines are not UTF-8: it makes them so and
// gives them on one by one. What it adds or takes away is booked as recoded, so
// that the others need not know.
type recoder struct {
	enc     encoding
	to      taker
	maxLine int
	sum     *tally
	text    []byte // of one line
}

func (t *recoder) lines(p []byte, off int64, limit int) int {
	took, w := 0, t.enc.width()
	for n := 0; n < limit && took < len(p); n++ {
		i := t.enc.newline(p[took:])
		t.one(p[took:took+i], 0, int64(w), off+int64(took))
		took += i + w
	}
	return took
}

// one gives on a line, and at most max_line bytes of its text: what is cut is
// counted in bytes of the file.
func (t *recoder) one(line []byte, rest, ends, off int64) {
	limit := t.maxLine
	if rest == 0 {
		limit++ // a \r may be the one too many
	}
	text, took, bad := t.enc.appendText(t.text[:0], line, limit)
	if n := len(text); n > t.maxLine && (took < len(line) || ends == 0 || text[n-1] != '\r') {
		text, took, bad = t.enc.appendText(t.text[:0], line, t.maxLine)
	}
	if bad {
		t.sum.repaired++
	}
	if t.text = text; cap(text) > chunkBytes {
		t.text = nil
	}
	end := min(ends, 1)
	diff := int64(took-len(text)) + ends - end
	t.sum.read, t.sum.recoded = t.sum.read+diff, t.sum.recoded+diff
	t.to.one(text, rest+int64(len(line)-took), end, off)
}

// appendText appends the text of p as UTF-8, and returns of how many bytes of p it
// is: of all, or of so many that not more than limit are appended. bad is set if
// something had to be replaced by U+FFFD.
func (e encoding) appendText(dst, p []byte, limit int) (text []byte, took int, bad bool) {
	for w := e.width(); took+w <= len(p); {
		var r rune
		n := w
		switch {
		case e == encLatin1:
			r = rune(p[took])
		default:
			r = e.unit(p, took)
			if utf16.IsSurrogate(r) {
				both := rune(utf8.RuneError)
				if took+4 <= len(p) {
					both = utf16.DecodeRune(r, e.unit(p, took+2))
				}
				if r = both; both != utf8.RuneError {
					n = 4
				} else {
					bad = true
				}
			}
		}
		if r < utf8.RuneSelf {
			if len(dst) == limit {
				return dst, took, bad
			}
			dst = append(dst, byte(r))
		} else {
			if len(dst)+utf8.RuneLen(r) > limit {
				return dst, took, bad
			}
			dst = utf8.AppendRune(dst, r)
		}
		took += n
	}
	return dst, took, bad
}

// recoding returns what is to take the lines of f, if out is to have them.
func (t *Tailer) recoding(f *file, out taker) taker {
	if f.pos.enc.recoded() {
		t.recoder = recoder{enc: f.pos.enc, to: out, maxLine: t.cfg.maxLine(), sum: &t.sum, text: t.recoder.text}
		return &t.recoder
	}
	return out
}
