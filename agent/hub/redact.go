package hub

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/causeway-agent/causeway/agent/signal"
)

// redactor replaces secrets in text by [redacted:NAME]. It is read-only once made
// and may be used by any number of goroutines.
//
// It goes over a block's text once, all lines at a time. Every secret of the
// default pack, and most patterns of people's own, have a word that must stand
// there ("ghp_", "password"). A word of four bytes or more has three bytes in a
// row that begin at an even place and three that begin at an odd one, so it is
// enough to look every second three bytes up in a small table. A card number is
// thirteen bytes or more of digits and separators, so among the windows of eight
// bytes at every sixth place one consists of nothing else. An address and a
// password in a URL have an @. Only where one of the three says so is anything
// looked at exactly, within its line.
//
// What always holds:
//
//  1. Lines keep their number and order, and nothing is matched across two lines.
//     The one secret of several lines is a private key: its lines are replaced
//     each by itself.
//  2. Redacting twice gives what redacting once gave: a marker is never a secret.
//  3. Where nothing is found nothing is allocated and nothing is written.
type redactor struct {
	grams   [1 << gramBits]uint16 // by slot: 0, or 1 + the index of its list in heads
	heads   [][]head
	words   []word
	finders []finder
	names   []string // of markers, by the index that words and spans carry
	found   []*atomic.Int64
	own     []ownPattern
	ats     bool // addresses and passwords in URLs
	cards   bool
}

const (
	gramBits = 13
	fold     = 0x2020202020202020 // sets the bit that tells upper from lower case
	high3    = 0xE0E0E0E0E0E0E0E0 // digits, blanks and most punctuation have 001 here

	markerHead = "[redacted:"
	lineMarker = markerHead + "line]"

	mostName     = 40  // bytes of a marker's name
	mostPasses   = 8   // what was redacted may, in theory, make a secret of its neighbours
	mostKeyLines = 400 // lines of one private key: 16384 bits take 200
)

// word is text that must be there for a pattern to match.
type word struct {
	text string // lower case where fold is set
	fold bool   // whatever its case
	name int    // of what it gives away
	find int    // index of its finder; -1-i for the own pattern i
}

// head says which word has a gram, and where in it.
type head struct{ word, offset int }

// finder looks at the place in a line where a word stands, and returns what is to
// be replaced; from == to for nothing. It is not asked again before to: without
// that a line of 1 MiB of words would be read once for each of them.
type finder func(line []byte, at, n int) (from, to int, how manner)

// manner is how a span is replaced.
type manner uint8

const (
	plain  manner = iota
	quoted        // a JSON number: the marker needs quotes, or the line is no JSON any more
	opened        // the rest of the line, and the lines behind it, belong to a private key
)

// span is a part of one line that is to be replaced.
type span struct {
	line     int
	from, to int // in the text
	name     int
	how      manner
}

// slot is where the table has the three lower bytes of x.
func slot(x uint32) uint32 { return x << 8 * 0x9E3779B1 >> (32 - gramBits) }

func folded(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// add enters a word: once for the occurrences at even places, once for those at
// odd ones, each time by the three bytes that are the least usual.
func (r *redactor) add(w word, next string) {
	n := len(r.words)
	r.words = append(r.words, w)
	enter := func(g [3]byte, offset int) {
		at := &r.grams[slot(uint32(g[0]|0x20)|uint32(g[1]|0x20)<<8|uint32(g[2]|0x20)<<16)]
		if *at == 0 {
			r.heads = append(r.heads, nil)
			*at = uint16(len(r.heads))
		}
		if h := (head{n, offset}); !slices.Contains(r.heads[*at-1], h) {
			r.heads[*at-1] = append(r.heads[*at-1], h)
		}
	}
	for parity := range 2 {
		best, rarest := -1, -1
		for o := parity; o+3 <= len(w.text); o += 2 {
			if s := rarity(w.text[o]) + rarity(w.text[o+1]) + rarity(w.text[o+2]); s > rarest {
				best, rarest = o, s
			}
		}
		if best >= 0 {
			enter([3]byte{w.text[best], w.text[best+1], w.text[best+2]}, best)
			continue
		}
		for i := range len(next) { // a word of three bytes: with what may stand behind it
			enter([3]byte{w.text[1], w.text[2], next[i]}, 1)
		}
	}
}

// rarity ranks bytes by how seldom logs have them.
func rarity(c byte) int {
	if i := bytes.IndexByte([]byte(` etaoinsrhldcum0f1p"g2:w,.3y45b69-7v8/k=_`), folded(c)); i >= 0 {
		return i
	}
	return 50
}

// scanner is one pass over one text.
type scanner struct {
	r     *redactor
	text  []byte
	lines []signal.Line
	line  int // that holds the place looked at last
	cards int // as far as digits have been looked at
	spans []span

	probing  bool
	suspects []int // probing: the lines that may have something
	ends     []signal.Line

	until   []int // by finder: the place before which it is not asked again
	tried   []int // by own pattern: 1 + the last line it was tried on
	one     [1]signal.Line
	out     []byte
	spare   []byte
	markers [][2]int
	merged  []span
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

func (r *redactor) scanner() *scanner {
	s := scanners.Get().(*scanner)
	s.r = r
	return s
}

func (s *scanner) release() {
	s.r, s.text, s.lines = nil, nil, nil
	scanners.Put(s)
}

// scan finds all that is to be replaced in text, whose lines end where lines say.
func (s *scanner) scan(text []byte, lines []signal.Line) {
	s.text, s.lines, s.spans = text, lines, s.spans[:0]
	s.line, s.cards = 0, 0
	s.tried = slices.Grow(s.tried[:0], len(s.r.own))[:len(s.r.own)]
	clear(s.tried)
	s.until = slices.Grow(s.until[:0], len(s.r.finders))[:len(s.r.finders)]
	clear(s.until)
	s.walk()
	if s.r.ats {
		s.line = 0
		for at := 0; at < len(text); {
			i := bytes.IndexByte(text[at:], '@')
			if i < 0 {
				break
			}
			at += i
			at = max(at+1, s.address(at))
		}
	}
	for i := range s.r.own {
		if s.r.own[i].worded {
			continue
		}
		for s.line = range lines {
			if !s.suspect() {
				s.try(i, s.line)
			}
		}
	}
}

// walk looks at grams and windows; see redactor.
func (s *scanner) walk() {
	t, g := s.text, &s.r.grams
	for p := t; len(p) >= 14; p = p[12:] {
		a, b := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[6:14])
		x, y := a|fold, b|fold
		if g[slot(uint32(x))]|g[slot(uint32(x>>16))]|g[slot(uint32(x>>32))]|
			g[slot(uint32(y))]|g[slot(uint32(y>>16))]|g[slot(uint32(y>>32))] != 0 {
			s.look(len(t) - len(p))
		}
		if a&high3 == fold {
			s.digits(len(t) - len(p))
		}
		if b&high3 == fold {
			s.digits(len(t) - len(p) + 6)
		}
	}
	i := max(0, len(t)-2) / 12 * 12 // the first place that the loop did not look at
	s.look(i)
	for ; i+8 <= len(t); i += 6 {
		if binary.LittleEndian.Uint64(t[i:])&high3 == fold {
			s.digits(i)
		}
	}
}

// look looks at the six grams from i on one by one.
func (s *scanner) look(i int) {
	for p := i; p < i+12 && p+3 <= len(s.text); p += 2 {
		g := slot(uint32(s.text[p]|0x20) | uint32(s.text[p+1]|0x20)<<8 | uint32(s.text[p+2]|0x20)<<16)
		if n := s.r.grams[g]; n != 0 {
			for _, h := range s.r.heads[n-1] {
				s.word(h, p)
			}
		}
	}
}

// bounds moves to the line that holds the byte at p: nearly always on, or not at
// all, but within one step of walk grams come before digits.
func (s *scanner) bounds(p int) (lo, hi int) {
	for s.line > 0 && int(s.lines[s.line-1].End) > p {
		s.line--
	}
	for s.line < len(s.lines) && int(s.lines[s.line].End) <= p {
		s.line++
	}
	if s.line == len(s.lines) {
		return len(s.text), len(s.text)
	}
	return s.begin(s.line), min(int(s.lines[s.line].End), len(s.text))
}

func (s *scanner) begin(line int) int {
	if line == 0 {
		return 0
	}
	return int(s.lines[line-1].End)
}

// word looks whether the word of h stands where its gram was found, at p.
func (s *scanner) word(h head, p int) {
	w := &s.r.words[h.word]
	lo, hi := s.bounds(p)
	at := p - h.offset
	if at < lo || at+len(w.text) > hi {
		return
	}
	for i := range len(w.text) {
		c := s.text[at+i]
		if w.fold {
			c = folded(c)
		}
		if c != w.text[i] {
			return
		}
	}
	if s.suspect() {
		return
	}
	if w.find < 0 {
		s.try(-1-w.find, s.line)
		return
	}
	if at < s.until[w.find] {
		return
	}
	from, to, how := s.r.finders[w.find](s.text[lo:hi:hi], at-lo, len(w.text))
	s.until[w.find] = lo + to
	if from < to {
		s.spans = append(s.spans, span{s.line, lo + from, lo + to, w.name, how})
	}
}

// digits looks at a window that may be in the middle of a card number.
func (s *scanner) digits(p int) {
	if !s.r.cards || p < s.cards {
		return
	}
	for _, c := range s.text[p : p+8] {
		if !ofCard(c) {
			return
		}
	}
	lo, hi := s.bounds(p)
	from, to := p, p
	for from > lo && ofCard(s.text[from-1]) {
		from--
	}
	n := 0
	for to = from; to < hi && ofCard(s.text[to]); to++ {
		if digit(s.text[to]) {
			n++
		}
	}
	if s.cards = max(to, p+1); n < shortestCard {
		return
	}
	cards(s.text[lo:hi:hi], from-lo, to-lo, func(from, to int) {
		if !s.suspect() {
			s.spans = append(s.spans, span{s.line, lo + from, lo + to, nameCard, numberOfJSON(s.text[lo:hi], from)})
		}
	})
}

// address looks at an @, and returns how far there is no other one to look at.
func (s *scanner) address(p int) int {
	lo, hi := s.bounds(p)
	if p >= hi {
		return 0
	}
	if s.suspect() {
		return hi
	}
	name := nameURL
	from, to := urlPassword(s.text[lo:hi:hi], p-lo)
	if from == to {
		name = nameEmail
		from, to = email(s.text[lo:hi:hi], p-lo)
	}
	if from < to {
		s.spans = append(s.spans, span{s.line, lo + from, lo + to, name, plain})
	}
	return lo + to
}

// try applies an own pattern to a line, once.
func (s *scanner) try(own, line int) {
	if s.tried[own] > line {
		return
	}
	s.tried[own] = line + 1
	lo, hi := s.begin(line), int(s.lines[line].End)
	s.r.own[own].find(s.text[lo:hi:hi], func(from, to int) {
		s.spans = append(s.spans, span{line, lo + from, lo + to, s.r.own[own].name, plain})
	})
}

// keyState is what is remembered of a stream between two blocks: how many more
// lines may belong to a private key that has begun.
type keyState struct{ lines int }

// block redacts the lines of a block, and their labels.
func (r *redactor) block(blk *signal.LogBlock, st *keyState) {
	if len(r.words) == 0 && len(r.own) == 0 {
		return
	}
	s := r.scanner()
	defer s.release()
	s.scan(blk.Text, blk.Lines)
	s.keyLines(st)
	if len(s.spans) > 0 {
		blk.Text = s.rewrite(blk.Lines)
	}
	if len(blk.Attrs) > 0 {
		s.labels(blk)
	}
}

// bytes redacts one text. It returns p itself if nothing was found.
func (r *redactor) bytes(p []byte) []byte {
	s := r.scanner()
	defer s.release()
	s.one[0] = signal.Line{End: uint32(len(p))}
	if s.scan(p, s.one[:]); len(s.spans) == 0 {
		return p
	}
	sortSpans(s.spans)
	if out := s.settle(p, s.spans, 0); !bytes.Equal(out, p) {
		return slices.Clone(out)
	}
	return p
}

// string is bytes for a string.
func (r *redactor) string(text string) string {
	if len(r.words) == 0 && len(r.own) == 0 {
		return text
	}
	p := []byte(text)
	if out := r.bytes(p); !bytes.Equal(out, p) {
		return string(out)
	}
	return text
}

// keyLines adds the lines of a private key that goes over several.
func (s *scanner) keyLines(st *keyState) {
	left, next := st.lines, 0
	mark := func() {
		for ; left > 0 && next < len(s.lines); next++ {
			lo, hi := s.begin(next), int(s.lines[next].End)
			end, goesOn := keyLine(s.text[lo:hi])
			if end > 0 {
				s.spans = append(s.spans, span{next, lo, lo + end, namePrivateKey, plain})
			}
			if left--; !goesOn {
				left = 0
				if end == 0 { // it may begin the next key
					return
				}
			}
		}
	}
	mark()
	for i := range s.spans {
		if sp := s.spans[i]; sp.how == opened && sp.line >= next {
			left, next = mostKeyLines, sp.line+1
			mark()
		}
	}
	st.lines = left
}

// labels redacts the labels that lines have of their own: of those lines in whose
// labels there may be something.
func (s *scanner) labels(blk *signal.LogBlock) {
	s.one[0] = signal.Line{End: uint32(len(blk.Attrs))}
	if s.probe(blk.Attrs, s.one[:]); len(s.suspects) == 0 {
		return
	}
	s.ends = s.ends[:0]
	for i := range blk.Lines {
		s.ends = append(s.ends, signal.Line{End: blk.Lines[i].AttrEnd})
	}
	s.probe(blk.Attrs, s.ends)
	slices.Sort(s.suspects)
	old, suspects := blk.Attrs, slices.Clone(s.suspects)
	blk.Attrs = make([]byte, 0, len(old)+64)
	lo := uint32(0)
	for i := range blk.Lines {
		hi := blk.Lines[i].AttrEnd
		for len(suspects) > 0 && suspects[0] < i {
			suspects = suspects[1:]
		}
		if len(suspects) > 0 && suspects[0] == i {
			blk.Attrs = s.r.appendLabels(blk.Attrs, string(old[lo:hi]))
		} else {
			blk.Attrs = append(blk.Attrs, old[lo:hi]...)
		}
		blk.Lines[i].AttrEnd = uint32(len(blk.Attrs))
		lo = hi
	}
}

// probe finds the lines in which there may be something, without looking closely.
func (s *scanner) probe(text []byte, lines []signal.Line) {
	s.suspects = s.suspects[:0]
	s.probing = true
	s.scan(text, lines)
	s.probing = false
}

// suspect takes note, in a probe, that the present line may have something; it
// returns false if a closer look is wanted at once.
func (s *scanner) suspect() bool {
	if s.probing && (len(s.suspects) == 0 || s.suspects[len(s.suspects)-1] != s.line) {
		s.suspects = append(s.suspects, s.line)
	}
	return s.probing
}

// appendLabels appends a flat label set, redacted. What a label is called counts
// as what stands before a value in a line.
func (r *redactor) appendLabels(dst []byte, set string) []byte {
	for k, v := range signal.Walk(set) {
		dst = signal.AppendLabel(dst, k, r.label(k, v))
	}
	return dst
}

func (r *redactor) label(k, v string) string {
	if _, whole, found := bytes.Cut(r.bytes([]byte(k+"=x")), []byte("="+markerHead)); found {
		if r.marker([]byte(v)) == len(v) {
			return v
		}
		return markerHead + string(whole)
	}
	return string(r.bytes([]byte(v)))
}
