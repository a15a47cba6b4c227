package tail

import (
	"bytes"
	"cmp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/logline"
	"github.com/causeway-agent/causeway/agent/signal"
)

// form is how the lines stand in a file.
type form uint8

const (
	formPlain   form = iota // as they are
	formRuntime             // as a container runtime writes them; each record tells which
	formCRI
	formDocker
)

// laneNames are the two streams that a runtime writes into one file, each with
// its own partial lines, so each with its own place in the file. A plain file
// whose lines are joined has the first lane alone.
var laneNames = [...]string{"stdout", "stderr"}

func laneOf(name string) int {
	switch name {
	case laneNames[0]:
		return 0
	case laneNames[1]:
		return 1
	}
	return -1
}

// maxJoined is how many lines one record may have.
const maxJoined = 1000

// lanes is what is pending in one file.
type lanes struct {
	form    form
	join    logline.Join
	lane    [len(laneNames)]lane
	streams [len(laneNames)]signal.Stream
	prev    *file // the file before the rotation: the first line here may go on with what is pending there
}

// lane is one stream in one file. Pieces become lines (part), lines become
// records (rec). The text of both is in memory, at most max_line of it; the
// spool knows no more than where it began, so a crash loses none of it.
type lane struct {
	from   int64 // records before this place are in the spool already
	last   int64 // time of the last line
	seen   int64 // when a line came last, Unix ns
	bytes  int32 // what the last turn gave
	lines  int32
	fresh  bool // the file had no piece of this lane yet
	virgin bool // nor a whole line
	part   pending
	rec    *pending        // nil until needed, as for most
	joiner *logline.Joiner // nil until needed
}

// pending is a line or a record that is not whole yet.
type pending struct {
	head  int64 // where it began; -1: there is none
	buf   []byte
	rest  int64 // bytes of it that were dropped
	time  int64
	loans []loan
	at    int // a record during a turn: where it begins in the block's text; -1: it is in buf
	lines int32
	lent  bool // it has gone to a younger file, but its line is not out yet
	check bool // it may be no UTF-8
}

// loan is what of an older file is in a pending line or record.
type loan struct {
	f   *file
	rec bool // its record, and not the pieces of a line
}

func newLanes(f form, join logline.Join, stdout, stderr int64, prev *file) *lanes {
	s := &lanes{form: f, join: join, prev: prev}
	for i, from := range [...]int64{stdout, stderr} {
		s.lane[i] = lane{from: from, fresh: from == 0, virgin: from == 0, part: pending{head: -1}}
	}
	return s
}

func (p *pending) open() bool { return p != nil && p.head >= 0 && !p.lent }

func (l *lane) pending() bool { return l.part.open() || l.rec.open() }

func (s *lanes) pending() bool {
	return s != nil && (s.lane[0].pending() || s.lane[1].pending())
}

// overdue reports whether a record waits for longer than wait.
func (s *lanes) overdue(now time.Time, wait time.Duration) bool {
	if s == nil {
		return false
	}
	for i := range s.lane {
		if l := &s.lane[i]; l.rec.open() && now.UnixNano()-l.seen >= int64(wait) {
			return true
		}
	}
	return false
}

// head is where the oldest thing in l began that is not in the spool; -1: nothing.
func (l *lane) head() int64 {
	if r := l.rec; r != nil && r.head >= 0 && (l.part.head < 0 || r.head < l.part.head) {
		return r.head
	}
	return l.part.head
}

// committed is where each lane would go on if the file were read up to off.
func (s *lanes) committed(off int64) (at [len(laneNames)]int64) {
	for i := range s.lane {
		l := &s.lane[i]
		switch {
		case s.before(i, (*lane).unsaid) != nil:
			at[i] = 0 // after a restart, the first line must be seen as the first
		case l.head() >= 0:
			at[i] = l.head()
		default:
			at[i] = max(off, l.from)
		}
	}
	return at
}

// unsaid reports whether the spool has not got all of l, though it was lent.
func (l *lane) unsaid() bool { return l.head() >= 0 }

// lender returns the file before that has something pending in lane i which the
// first line here may go on with; nil if there is none.
func (s *lanes) lender(i int) *file { return s.before(i, (*lane).pending) }

// before returns the first file before whose lane i is as wanted. Files that
// hold no line of the lane are passed over.
func (s *lanes) before(i int, is func(*lane) bool) *file {
	for p := s.prev; s.lane[i].virgin && p != nil && p.lanes != nil; p = p.lanes.prev {
		if s = p.lanes; is(&s.lane[i]) {
			return p
		}
	}
	return nil
}

// laneStream is the stream of one lane of f.
func (f *file) laneStream(i int) signal.Stream {
	s := f.lanes
	switch {
	case s.form == formPlain:
		return f.family.lines()
	case s.streams[i] == (signal.Stream{}):
		s.streams[i] = f.family.rule.stream(f.family.root, signal.LabelLogStream, laneNames[i])
	}
	return s.streams[i]
}

// laneID is the name of one lane of f in log blocks.
func (f *file) laneID(i int) string {
	if f.lanes.form == formPlain {
		return f.id
	}
	return f.id + "/" + laneNames[i]
}

// laneTaker takes the records of container runtimes apart, joins the pieces of
// lines, and joins lines to records.
type laneTaker struct {
	s       *lanes
	blks    [len(laneNames)]signal.LogBlock
	touched [len(laneNames)]bool
	others  []other // older files of which the spool must hear
	valid   bool    // the bytes of this call of lines are UTF-8
	maxLine int
	now     int64
	clock   *clock
	sum     *tally
	text    []byte // of a record that had escapes
	stamps  stamps
}

// other is an older file that lent something which is out now, or whose last
// record goes out because nothing here goes on with it.
type other struct {
	f   *file
	blk [len(laneNames)]*signal.LogBlock // nil: without a line
}

// other returns the entry of f.
func (t *laneTaker) other(f *file) *other {
	for i := range t.others {
		if t.others[i].f == f {
			return &t.others[i]
		}
	}
	t.others = append(t.others, other{f: f})
	return &t.others[len(t.others)-1]
}

func (t *laneTaker) wrote() bool { return t.touched[0] || t.touched[1] }

func (t *laneTaker) begin(off int64) {
	for i, at := range t.s.committed(off) {
		t.blks[i].Start = at
	}
}

// close ends the turn: what is pending is kept for the next one, off its block.
// It reports whether the turn gave a line, or put an end to one.
func (t *laneTaker) close() (gave bool) {
	for i := range t.blks {
		if r, blk := t.s.lane[i].rec, &t.blks[i]; r != nil && r.at >= 0 {
			r.buf = append(r.buf[:0], blk.Text[r.at:]...)
			blk.Text, r.at = blk.Text[:r.at], -1
		}
		l, blk := &t.s.lane[i], &t.blks[i]
		l.bytes, l.lines = int32(len(blk.Text)), int32(len(blk.Lines))
		gave = gave || l.lines > 0
	}
	return gave || len(t.others) > 0
}

func (t *laneTaker) lines(p []byte, off int64, limit int) int {
	t.valid = utf8.Valid(p) // once for all: every text begins and ends between two runes then
	n, took := min(bytes.Count(p, []byte{'\n'}), limit), 0
	for ; n > 0; n-- {
		i := bytes.IndexByte(p[took:], '\n')
		raw := p[took : took+i]
		rec, cr := t.parse(raw, true)
		if blk := &t.blks[rec.lane]; blk.Text == nil {
			t.reserve(rec.lane, len(p)-took, n)
		}
		t.record(raw, rec, cr, 0, 1, off+int64(took))
		took += i + 1
	}
	return took
}

func (t *laneTaker) one(line []byte, rest, ends, off int64) {
	t.valid = false
	rec, cr := t.parse(line, rest == 0 && ends > 0)
	t.record(line, rec, cr, rest, ends, off)
}

// reserve makes room for the lines that n records of size bytes may give to lane
// i, so that a block is nearly always two allocations. What the other lane leaves
// is guessed by the turn before.
func (t *laneTaker) reserve(i, size, n int) {
	if t.s.form == formPlain {
		size -= n
	} else {
		size -= n * criFraming
	}
	if t.blks[1-i].Text != nil {
		l := &t.s.lane[i]
		size, n = min(size, int(l.bytes+l.bytes/8+256)), min(n, int(l.lines+l.lines/8+4))
	}
	t.blks[i].Reserve(max(size, 1), n)
}

// parse takes one record apart. cr is how many bytes of a line end raw holds.
func (t *laneTaker) parse(raw []byte, whole bool) (rec piece, cr int64) {
	ok := false
	switch f := t.s.form; {
	case f == formPlain:
		rec = piece{text: raw, time: t.clock.from(t.now, 1)}
		if n := len(raw); whole && n > 0 && raw[n-1] == '\r' {
			rec.text, cr = raw[:n-1], 1
		}
		return rec, cr
	case f == formDocker, f == formRuntime && len(raw) > 0 && raw[0] == '{':
		rec, t.text, ok = parseDocker(raw, t.text[:0], &t.stamps)
	default:
		rec, ok = parseCRI(raw, &t.stamps)
	}
	if !ok {
		t.sum.malformed++
		return piece{text: raw, time: t.clock.from(t.now, 1)}, 0
	}
	if rec.time == 0 {
		rec.time = t.clock.from(t.now, 1)
		t.sum.malformed++
	}
	return rec, 0
}

// record takes one record at off, of which parse has made rec.
func (t *laneTaker) record(raw []byte, rec piece, cr, rest, ends, off int64) {
	l := &t.s.lane[rec.lane]
	if off < l.from {
		n := int64(len(raw)) + rest + ends
		t.sum.read, t.sum.again = t.sum.read+n, t.sum.again+n
		return
	}
	t.touched[rec.lane] = true
	if l.fresh { // a runtime that is told to open another file does not wait for the end of a line
		t.inheritPart(rec.lane)
	}
	l.fresh, l.seen = false, t.now
	l.part.takeBack()
	t.sum.ends += ends + cr
	t.sum.framing += int64(len(raw)-len(rec.text)) - cr
	t.sum.read += int64(len(raw)-len(rec.text)) + ends // the text counts as read once its line is whole
	if l.part.head < 0 && !rec.partial {
		if t.valid && rest == 0 && len(rec.text) <= t.maxLine && !t.s.join.Active() { // nearly always
			l.virgin = false
			n := int64(len(rec.text))
			t.sum.read, t.sum.body, t.sum.lines = t.sum.read+n, t.sum.body+n, t.sum.lines+1
			appendWhole(&t.blks[rec.lane], l.after(rec.time), rec.text)
			return
		}
		whole := pending{head: off, time: rec.time, rest: rest, check: !t.valid}
		t.line(rec.lane, &whole, rec.text)
		return
	}
	if l.part.head < 0 {
		l.part.head, l.part.time = off, rec.time
	}
	keep := rec.text[:min(len(rec.text), max(0, t.maxLine+1-len(l.part.buf)))]
	l.part.buf = append(l.part.buf, keep...)
	l.part.rest += rest + int64(len(rec.text)-len(keep))
	if !rec.partial {
		t.endPart(rec.lane)
	}
}

// inheritPart takes over the line that is pending in an older file.
func (t *laneTaker) inheritPart(i int) {
	f := t.s.lender(i)
	if f == nil {
		return
	}
	if from := &f.lanes.lane[i].part; from.open() {
		t.s.lane[i].part = pending{buf: from.buf, rest: from.rest, time: from.time, loans: []loan{{f: f}}}
		from.buf, from.rest, from.lent = nil, 0, true
	}
}

// takeBack forgets what was lent to the next file: the writer came back.
func (p *pending) takeBack() {
	if p.lent {
		p.lent, p.head = false, -1
	}
}

// endPart makes a line of the pieces that are pending in lane i.
func (t *laneTaker) endPart(i int) {
	p := &t.s.lane[i].part
	whole, buf := *p, p.buf
	whole.check, whole.buf = true, nil
	if *p = (pending{head: -1}); cap(buf) <= chunkBytes {
		p.buf = buf[:0]
	}
	t.line(i, &whole, buf)
}

// line takes a whole line of lane i, which p describes.
func (t *laneTaker) line(i int, p *pending, text []byte) {
	l := &t.s.lane[i]
	if !t.s.join.Active() {
		l.virgin = false
		t.give(&t.blks[i], l, p, text)
		t.settle(i, p.loans)
		return
	}
	if l.rec == nil {
		l.rec = &pending{head: -1, at: -1}
	}
	goesOn := l.virgin && t.inherit(i, text)
	if l.joiner == nil {
		l.joiner = t.s.join.Joiner()
	}
	if !goesOn {
		goesOn = l.joiner.Continues(text)
	}
	l.virgin = false
	l.rec.takeBack()
	r := l.rec
	if r.head >= 0 {
		if blk := &t.blks[i]; r.at < 0 { // begun in an earlier turn
			r.at = len(blk.Text)
			blk.Text = append(blk.Text, r.buf...)
		}
		blk := &t.blks[i]
		if goesOn && r.lines < maxJoined && len(blk.Text)-r.at+1+len(text) <= t.maxLine && p.rest == 0 {
			blk.Text = append(append(blk.Text, '\n'), text...)
			r.lines++
			r.check = r.check || p.check
			r.loans = append(r.loans, p.loans...)
			return
		}
		t.endRec(i)
	}
	blk := &t.blks[i]
	r.at = len(blk.Text)
	blk.Text = append(blk.Text, text...)
	r.head, r.time, r.rest, r.check, r.lines = p.head, p.time, p.rest, p.check, 1 // field by field: a copy of the whole is felt
	if p.loans != nil {
		r.loans = p.loans
	}
}

// inherit is asked for the first whole line of lane i: if it goes on with the
// record that is pending in the file before, that record moves here. If not, it
// is whole, and goes out as a line of that file.
func (t *laneTaker) inherit(i int, text []byte) (goesOn bool) {
	f := t.s.lender(i)
	if f == nil || !f.lanes.lane[i].rec.open() {
		return false
	}
	l, from := &t.s.lane[i], &f.lanes.lane[i]
	if r := from.rec; from.joiner.Continues(text) && r.lines < maxJoined && len(r.buf)+1+len(text) <= t.maxLine {
		l.joiner, from.joiner = from.joiner, nil
		*l.rec = *r
		l.rec.head, l.rec.loans = 0, []loan{{f: f, rec: true}}
		r.buf, r.rest, r.lent = nil, 0, true
		return true
	}
	blk := &signal.LogBlock{Start: f.lanes.committed(f.pos.off)[i]}
	t.give(blk, from, from.rec, from.rec.buf)
	owed := from.rec.loans
	*from.rec = pending{head: -1, at: -1}
	t.other(f).blk[i] = blk
	t.settle(i, owed)
	return false
}

// endRec gives out the record that is pending in lane i.
func (t *laneTaker) endRec(i int) {
	l, blk := &t.s.lane[i], &t.blks[i]
	r := l.rec
	if r.at < 0 {
		t.give(blk, l, r, r.buf)
	} else {
		text := blk.Text[r.at:]
		if r.rest > 0 || r.check || len(text) > t.maxLine {
			text = slices.Clone(text)
			blk.Text = blk.Text[:r.at]
			t.give(blk, l, r, text)
		} else {
			blk.Lines = append(blk.Lines, signal.Line{Time: l.after(r.time), End: uint32(len(blk.Text)), AttrEnd: uint32(len(blk.Attrs)), Level: signal.LevelUnknown})
			t.count(r, len(text))
			t.sum.body += int64(len(text))
		}
	}
	if r.head, r.at = -1, -1; cap(r.buf) > chunkBytes {
		r.buf = nil
	}
	if owed := r.loans; owed != nil {
		r.loans = nil
		t.settle(i, owed)
	}
}

// after returns time, or a moment later if the runtime's clock stood still; a
// step back is kept as it is.
func (l *lane) after(time int64) int64 {
	if time <= l.last && l.last-time < 1e6 {
		time = l.last + 1
	}
	l.last = time
	return time
}

// count books a record: the newlines that were put between its lines were booked
// as line ends, and are in no line's body.
func (t *laneTaker) count(p *pending, n int) {
	joined := int64(max(p.lines-1, 0))
	t.sum.read += int64(n) + p.rest - joined
	t.sum.body -= joined
	t.sum.lines++
	t.sum.joined += joined
}

// give appends a line or record to blk.
func (t *laneTaker) give(blk *signal.LogBlock, l *lane, p *pending, text []byte) {
	t.count(p, len(text))
	if !p.check && p.rest == 0 && len(text) <= t.maxLine {
		appendWhole(blk, l.after(p.time), text)
		t.sum.body += int64(len(text))
		return
	}
	appendLine(blk, l.after(p.time), text, p.rest, t.maxLine, t.sum)
}

// appendWhole appends a line that needs nothing done to it.
func appendWhole(blk *signal.LogBlock, time int64, text []byte) {
	blk.Text = append(blk.Text, text...)
	blk.Lines = append(blk.Lines, signal.Line{Time: time, End: uint32(len(blk.Text)), AttrEnd: uint32(len(blk.Attrs)), Level: signal.LevelUnknown})
}

// settle tells older files that what they lent is out, and those they had it from.
func (t *laneTaker) settle(i int, owed []loan) {
	for _, o := range owed {
		if o.f.lanes == nil {
			continue
		}
		p := &o.f.lanes.lane[i].part
		if o.rec {
			p = o.f.lanes.lane[i].rec
		}
		if p != nil && p.lent {
			inner := p.loans
			p.lent, p.head, p.loans = false, -1, nil
			t.other(o.f)
			t.settle(i, inner)
		}
	}
}

// putLanes adds to the batch what a turn of f gave.
func (t *Tailer) putLanes(f *file, out *laneTaker) {
	if !out.close() {
		return // the spool need not hear of what only began
	}
	for _, o := range out.others {
		at := o.f.lanes.committed(o.f.pos.off)
		for i := range o.f.lanes.width() { // all lanes of a file together: one that is missing has nothing pending
			blk := cmp.Or(o.blk[i], &signal.LogBlock{Start: at[i]})
			blk.Stream, blk.File, blk.End = o.f.laneStream(i), o.f.laneID(i), at[i]
			t.addBlock(o.f, blk)
		}
		t.inBatch = append(t.inBatch, o.f)
	}
	at := f.lanes.committed(f.pos.off)
	for i := range f.lanes.width() {
		// A lane without a block is where the other one is, so one that is elsewhere needs its own.
		if blk := &out.blks[i]; out.touched[i] || at[0] != at[1] {
			blk.End = at[i]
			blk.Stream, blk.File = f.laneStream(i), f.laneID(i)
			t.addBlock(f, blk)
		}
	}
}

// width is how many lanes there are.
func (s *lanes) width() int {
	if s.form == formPlain {
		return 1
	}
	return len(s.lane)
}

// flushLanes gives out what is pending in f, because nothing will end it: pieces
// of lines if parts says so, and records that nothing was added to for long.
func (t *Tailer) flushLanes(f *file, now time.Time, parts bool) {
	if !parts && !f.lanes.overdue(now, t.cfg.MultilineWait) {
		return
	}
	if !f.lanes.pending() {
		return
	}
	out, ok := t.taker(f, now).(*laneTaker)
	if !ok {
		return
	}
	for i := range f.lanes.lane {
		l := &f.lanes.lane[i]
		if parts && l.part.open() {
			out.touched[i] = true
			out.endPart(i)
			t.sum.flushed++
		}
		if l.rec.open() && (parts || now.UnixNano()-l.seen >= int64(t.cfg.MultilineWait)) {
			out.touched[i] = true
			out.endRec(i)
			l.joiner.Reset()
		}
	}
	t.put(f, out)
}
