package tail

import (
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	chunkBytes  = 256 << 10 // one turn of one file; fits the second-level cache, so that splitting reads no memory twice
	rereadBytes = 4 << 10   // an unfinished line up to this length is read again rather than remembered
	edgeBytes   = 32        // how much before the next byte is compared with what stood there
)

// position is where a reader stands in one generation of a file. The bytes of an
// unfinished line are not kept: the file is the buffer, so ten thousand files
// with half a line each cost nothing, and a line of 1 GiB costs one chunk.
type position struct {
	off   int64           // start of the first line not taken yet
	scan  int64           // [off, scan) holds no newline; scan >= off
	edge  [edgeBytes]byte // what stands before next(); a file that differs there was rewritten
	edgeN int
	long  bool // [off, scan) is at least a chunk: scan goes on, or there would be no end
	enc   encoding
	hole  bool // at the start after a truncation: leading NULs are a hole that the writer left, not text
}

// next is the first byte the next turn looks at.
func (p *position) next() int64 {
	if p.long || p.scan-p.off > rereadBytes {
		return p.scan
	}
	return p.off
}

// at returns the position at off, taking what stands before it on trust.
func at(r io.ReaderAt, off int64) (position, error) {
	p := position{off: off, scan: off}
	n := int(min(off, edgeBytes))
	if _, err := r.ReadAt(p.edge[:n], off-int64(n)); err != nil && err != io.EOF {
		return p, err
	}
	p.edgeN = n
	return p, nil
}

// tally counts the fate of bytes and lines between two Puts. Every byte that off
// passes over has one:
//
//	read == body + ends + framing + again + cut + holes + recoded
type tally struct {
	lines, read, body, ends, cut, holes, recoded int64

	framing, again                                 int64 // of containers' records
	cutLines, repaired, flushed, malformed, joined int64
}

// clock gives each line a time of its own: the same moment never twice. Of a few
// lines none gets a whole microsecond: it would look like the stamp of a coarse
// clock, which a destination may move to tell it from others of its kind, onto
// the next line's place.
type clock struct{ last int64 }

// from returns the first of n consecutive times, none before now.
func (c *clock) from(now int64, n int) int64 {
	t := max(now, c.last+1)
	if below := t % 1000; n < 1000 && (below == 0 || below+int64(n) > 1000) {
		t += (1000-below)%1000 + 1
	}
	c.last = t + int64(n) - 1
	return t
}

// taker makes log lines of the raw lines of one file.
type taker interface {
	// lines takes up to limit lines of p, which ends with a line end; it returns
	// how many bytes it took. off is the place of p in the file.
	lines(p []byte, off int64, limit int) int
	// one takes a line that is longer than a chunk, or that no newline ends.
	// Of its bytes rest are not in line, ends are its line end.
	one(line []byte, rest, ends int64, off int64)
}

// outcome of one turn.
type outcome struct {
	more     bool // the file holds more
	grown    bool // there were bytes not seen before
	replaced bool // what stood before the position is not there any more
}

// turn reads one chunk at p and gives the whole lines in it to out, at most
// limit of them. On an error p has not moved.
func turn(r io.ReaderAt, p *position, buf []byte, out taker, maxLine, limit int, sum *tally) (outcome, error) {
	from := p.next()
	base := from - int64(p.edgeN)
	n, err := r.ReadAt(buf, base)
	if err != nil && err != io.EOF {
		return outcome{}, err
	}
	if n < p.edgeN || !bytes.Equal(buf[:p.edgeN], p.edge[:p.edgeN]) {
		return outcome{replaced: true}, nil
	}
	data := buf[p.edgeN:n]
	data = data[:p.enc.aligned(int64(len(data)))]
	o := outcome{more: n == len(buf), grown: from+int64(len(data)) > p.scan}
	if p.hole {
		k := int(p.enc.aligned(int64(leadingNULs(data))))
		data = data[k:]
		p.off, from = p.off+int64(k), from+int64(k)
		sum.read, sum.holes = sum.read+int64(k), sum.holes+int64(k)
		p.hole = len(data) == 0
	}
	if from == 0 {
		if mark := p.enc.mark(); bytes.HasPrefix(data, []byte(mark)) { // empty for most
			k := len(mark)
			data, p.off, from = data[k:], int64(k), int64(k)
			sum.read, sum.recoded = sum.read+int64(k), sum.recoded+int64(k)
		}
	}
	end, w := from+int64(len(data)), p.enc.width()
	if last := p.enc.lastNewline(data); last >= 0 {
		data = data[:last+w]
		if from > p.off { // the end of a line longer than rereadBytes
			i := p.enc.newline(data)
			if err := long(r, p, from+int64(i), int64(w), maxLine, out); err != nil {
				return outcome{}, err
			}
			data, from, limit = data[i+w:], from+int64(i+w), limit-1
		}
		took := out.lines(data, from, limit)
		p.off, p.long = from+int64(took), false
		if took < len(data) { // the limit was reached: whole lines are left over
			o.more, end = true, p.off
		}
	} else {
		p.long = p.long || o.more
	}
	p.scan = end
	p.remember(buf[:n], base)
	return o, nil
}

// rest takes the unfinished line at p as a line, because nothing will end it.
func rest(r io.ReaderAt, p *position, out taker, maxLine int, sum *tally) error {
	if p.scan == p.off {
		return nil
	}
	if err := long(r, p, p.scan, 0, maxLine, out); err != nil {
		return err
	}
	sum.flushed++
	q, err := at(r, p.scan)
	if err != nil {
		return err
	}
	q.enc = p.enc
	*p = q
	return nil
}

// long gives out the line from p to end, read anew: of its text at most maxLine
// bytes. ends is how long the line end behind it is.
func long(r io.ReaderAt, p *position, end, ends int64, maxLine int, out taker) error {
	total := end - p.off
	line := make([]byte, min(total, int64(maxLine+1)*int64(p.enc.width()))) // one character more: it may be a \r
	if n, err := r.ReadAt(line, p.off); n < len(line) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF // cut off meanwhile; the next look sees a truncated file
		}
		return err
	}
	out.one(line, total-int64(len(line)), ends, p.off)
	return nil
}

// remember keeps the bytes before next(), from buf, whose first byte stands at base.
func (p *position) remember(buf []byte, base int64) {
	i := int(p.next() - base)
	if i < 0 || i > len(buf) {
		return
	}
	p.edgeN = copy(p.edge[:], buf[max(0, i-edgeBytes):i])
}

func leadingNULs(p []byte) int {
	for i, c := range p {
		if c != 0 {
			return i
		}
	}
	return len(p)
}

// plain takes lines as they are.
type plain struct {
	blk     *signal.LogBlock
	maxLine int
	now     int64
	clock   *clock
	sum     *tally
}

func (t *plain) lines(p []byte, _ int64, limit int) int {
	n := min(bytes.Count(p, []byte{'\n'}), limit)
	if n <= 0 {
		return 0
	}
	blk := t.blk
	if blk.Lines == nil { // nearly always: sizes are known, so a block is two allocations
		blk.Reserve(len(p)-n, n)
	}
	valid := utf8.Valid(p) // once for all lines: p begins and ends between lines
	time := t.clock.from(t.now, n)
	took := 0
	var ends int64
	for range n {
		i := bytes.IndexByte(p[took:], '\n')
		line := p[took : took+i]
		took += i + 1
		ends++
		if i > 0 && line[i-1] == '\r' && i-1 <= t.maxLine { // of a line that is cut, the end is dropped anyhow
			line = line[:i-1]
			ends++
		}
		if valid && len(line) <= t.maxLine {
			blk.Text = append(blk.Text, line...)
			blk.Lines = append(blk.Lines, signal.Line{Time: time, End: uint32(len(blk.Text)), AttrEnd: uint32(len(blk.Attrs)), Level: signal.LevelUnknown})
			t.sum.body += int64(len(line))
		} else {
			appendLine(blk, time, line, 0, t.maxLine, t.sum)
		}
		time++
	}
	t.sum.lines += int64(n)
	t.sum.ends += ends
	t.sum.read += int64(took)
	return took
}

func (t *plain) one(line []byte, rest, ends int64, _ int64) {
	t.sum.read += int64(len(line)) + rest + ends
	if n := len(line); rest == 0 && ends > 0 && n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
		ends++
	}
	appendLine(t.blk, t.clock.from(t.now, 1), line, rest, t.maxLine, t.sum)
	t.sum.lines++
	t.sum.ends += ends
}

// appendLine appends a line that may be too long, by itself or by rest bytes
// that are not in it, and may be no UTF-8.
func appendLine(blk *signal.LogBlock, time int64, line []byte, rest int64, maxLine int, sum *tally) {
	if len(line) > maxLine {
		n := maxLine
		for n > 0 && n > maxLine-utf8.UTFMax+1 && !utf8.RuneStart(line[n]) {
			n--
		}
		rest += int64(len(line) - n)
		line = line[:n]
	}
	sum.body += int64(len(line))
	if rest > 0 {
		var num [20]byte
		blk.Attrs = signal.AppendLabel(blk.Attrs, signal.LabelLogCut, string(strconv.AppendInt(num[:0], rest, 10)))
		sum.cutLines++
		sum.cut += rest
	}
	if !utf8.Valid(line) {
		blk.Text = appendRepaired(blk.Text, line)
		sum.repaired++
	} else {
		blk.Text = append(blk.Text, line...)
	}
	blk.Lines = append(blk.Lines, signal.Line{Time: time, End: uint32(len(blk.Text)), AttrEnd: uint32(len(blk.Attrs)), Level: signal.LevelUnknown})
}

// appendRepaired appends p with each run of bytes that are no UTF-8 replaced by
// one U+FFFD, as bytes.ToValidUTF8 does.
func appendRepaired(dst, p []byte) []byte {
	bad := false
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		switch {
		case r != utf8.RuneError || n > 1:
			dst = append(dst, p[:n]...)
			bad = false
		case !bad:
			dst = append(dst, "\uFFFD"...)
			bad = true
		}
		p = p[n:]
	}
	return dst
}
