package tail

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// laneNames are the two streams that a runtime writes into one file, each with
// its own partial lines, so each with its own place in the file.
var laneNames = [...]string{"stdout", "stderr"}

func laneOf(name string) int {
	return slices.Index(laneNames[:], name)
}

// rule is the pattern of the containers' logs. Their beginning is read: what a
// container said before the agent came is asked for more often than not.
func (p Pods) rule() *rule {
	r := &rule{pattern: path.Join(p.Path, "*", "*", "*.log"), start: start{beginning: true}, cri: true, must: p.Enabled == "true"}
	r.base, r.segs = segments(r.pattern)
	r.stream = func(root string) (string, bool) {
		container := path.Base(path.Dir(root))
		ns, pod, uid, ok := podOf(path.Base(path.Dir(path.Dir(root))))
		if !ok || slices.Contains(p.ExcludeNamespaces, ns) {
			return "", false
		}
		return signal.Labels(signal.LabelNamespace, ns, signal.LabelPod, pod, signal.LabelPodUID, uid,
			signal.LabelK8sContainer, container, signal.LabelLogFile, root), true
	}
	return r
}

// podOf takes the name of a pod's log folder apart: NAMESPACE_POD_UID. None of
// the three may hold an underscore.
func podOf(dir string) (ns, pod, uid string, ok bool) {
	part := strings.Split(dir, "_")
	if len(part) != 3 || part[0] == "" || part[1] == "" || part[2] == "" {
		return "", "", "", false
	}
	return part[0], part[1], part[2], true
}

// laneStream is the stream of one lane of f.
func (f *file) laneStream(i int) signal.Stream {
	if f.cri.streams[i] == (signal.Stream{}) {
		f.cri.streams[i] = signal.InternStream(signal.Merge(f.family.stream.Labels(), signal.Labels(signal.LabelLogStream, laneNames[i])))
	}
	return f.cri.streams[i]
}

// criState is what is pending in one file.
type criState struct {
	lanes   [len(laneNames)]lane
	streams [len(laneNames)]signal.Stream
	prev    *file // the file before the rotation: the first record here may end a line that is pending there
}

type lane struct {
	from int64  // records before this place are in the spool already
	head int64  // where the pending line began; -1: none is pending
	buf  []byte // what there is of it, at most max_line
	rest int64  // bytes of it that were dropped
	time int64
	last int64 // time of the last line

	fresh bool // the file had no record of this lane yet
	lent  bool // what is pending has gone to the next file, but its line is not out yet
	heir  bool // what is pending began in the file before
}

func newCRI(stdout, stderr int64, prev *file) *criState {
	return &criState{prev: prev, lanes: [...]lane{
		{from: stdout, head: -1, fresh: stdout == 0}, {from: stderr, head: -1, fresh: stderr == 0},
	}}
}

func (s *criState) pending() bool {
	return s != nil && (s.lanes[0].pending() || s.lanes[1].pending())
}

func (l *lane) pending() bool { return l.head >= 0 && !l.lent }

// committed is where each lane would go on if the file were read up to off.
func (s *criState) committed(off int64) (at [len(laneNames)]int64) {
	for i := range s.lanes {
		l := &s.lanes[i]
		switch {
		case l.head >= 0:
			at[i] = l.head
		case s.heirOf(i) != nil:
			at[i] = 0 // after a restart, the first record must be seen as the first
		default:
			at[i] = max(off, l.from)
		}
	}
	return at
}

// heirOf returns the lane of the file before that has a line pending which the
// first record here would go on with; nil if there is none.
func (s *criState) heirOf(i int) *lane {
	if !s.lanes[i].fresh || s.prev == nil || s.prev.cri == nil || !s.prev.cri.lanes[i].pending() {
		return nil
	}
	return &s.prev.cri.lanes[i]
}

// criTaker takes the records of the container runtimes' format apart and joins
// partial lines: TIME STREAM TAGS TEXT.
type criTaker struct {
	s       *criState
	blks    [len(laneNames)]signal.LogBlock
	touched [len(laneNames)]bool
	ended   [len(laneNames)]bool // the line pending in the file before is out
	maxLine int
	now     int64
	clock   *clock
	sum     *tally
}

func (t *criTaker) wrote() bool { return t.touched[0] || t.touched[1] }

// gave reports whether the turn gave a line, or put an end to one.
func (t *criTaker) gave() bool {
	for i := range t.blks {
		if t.ended[i] || len(t.blks[i].Lines) > 0 {
			return true
		}
	}
	return false
}

func (t *criTaker) begin(off int64) {
	for i, at := range t.s.committed(off) {
		t.blks[i].Start = at
	}
}

// end closes the block of lane i. It reports whether the spool must hear of it:
// a lane that was written to, or that has a line pending.
func (t *criTaker) end(i int, off int64) bool {
	t.blks[i].End = t.s.committed(off)[i]
	return t.touched[i] || t.s.lanes[i].head >= 0 || t.s.heirOf(i) != nil
}

func (t *criTaker) lines(p []byte, off int64, limit int) int {
	took := 0
	for n := 0; n < limit && took < len(p); n++ {
		i := bytes.IndexByte(p[took:], '\n')
		t.record(p[took:took+i], 0, 1, off+int64(took), len(p))
		took += i + 1
	}
	return took
}

func (t *criTaker) one(line []byte, rest, ends, off int64) {
	t.record(line, rest, ends, off, len(line))
}

// record takes one record at off; size says how much text this turn may give.
func (t *criTaker) record(raw []byte, rest, ends, off int64, size int) {
	rec, ok := parseCRI(raw)
	if !ok {
		rec = criRecord{text: raw, time: t.clock.from(t.now, 1)}
		t.sum.malformed++
	}
	l := &t.s.lanes[rec.lane]
	if off < l.from {
		n := int64(len(raw)) + rest + ends
		t.sum.read, t.sum.again = t.sum.read+n, t.sum.again+n
		return
	}
	t.touched[rec.lane] = true
	if from := t.s.heirOf(rec.lane); from != nil { // a runtime that is told to open another file does not wait for the end of a line
		l.head, l.buf, l.rest, l.time, l.heir = 0, from.buf, from.rest, from.time, true
		from.buf, from.rest, from.lent = nil, 0, true
	}
	l.fresh = false
	if l.lent {
		l.lent, l.head = false, -1
	}
	t.sum.ends += ends
	t.sum.framing += int64(len(raw) - len(rec.text))
	t.sum.read += int64(len(raw)-len(rec.text)) + ends // the text counts as read once its line is whole
	if rec.time == 0 {
		rec.time = t.clock.from(t.now, 1)
		t.sum.malformed++
	}
	blk := &t.blks[rec.lane]
	if blk.Text == nil {
		blk.Text = make([]byte, 0, size)
	}
	if l.head < 0 && !rec.partial {
		t.line(blk, l, rec.time, rec.text, rest)
		return
	}
	if l.head < 0 {
		l.head, l.time = off, rec.time
	}
	keep := rec.text[:min(len(rec.text), max(0, t.maxLine+1-len(l.buf)))]
	l.buf = append(l.buf, keep...)
	l.rest += rest + int64(len(rec.text)-len(keep))
	if !rec.partial {
		t.join(rec.lane)
	}
}

// join gives out the line that is pending in lane i.
func (t *criTaker) join(i int) {
	l := &t.s.lanes[i]
	t.line(&t.blks[i], l, l.time, l.buf, l.rest)
	if l.heir && t.s.prev.cri != nil {
		if from := &t.s.prev.cri.lanes[i]; from.lent {
			from.lent, from.head, t.ended[i] = false, -1, true
		}
	}
	l.head, l.rest, l.heir = -1, 0, false
	if l.buf = l.buf[:0]; cap(l.buf) > chunkBytes {
		l.buf = nil
	}
}

func (t *criTaker) line(blk *signal.LogBlock, l *lane, time int64, text []byte, rest int64) {
	if time <= l.last && l.last-time < 1e6 { // the runtime's clock stood still; a step back is kept as it is
		time = l.last + 1
	}
	l.last = time
	t.sum.read += int64(len(text)) + rest
	appendLine(blk, time, text, rest, t.maxLine, t.sum)
	t.sum.lines++
}

// flushCRI gives out what is pending in f, because nothing will end it.
func (t *Tailer) flushCRI(f *file, now time.Time) {
	if !f.cri.pending() {
		return
	}
	out := t.taker(f, now).(*criTaker)
	for i := range f.cri.lanes {
		if f.cri.lanes[i].pending() {
			out.touched[i] = true
			out.join(i)
			t.sum.flushed++
		}
	}
	t.put(f, out)
}

// criRecord is one record; text points into it.
type criRecord struct {
	time    int64 // Unix ns; 0 if the record's own cannot be told in these
	lane    int
	partial bool
	text    []byte
}

// parseCRI takes a record apart:
//
//	2016-10-06T00:17:09.669794202Z stdout P text
//
// (kubernetes/kubernetes, pkg/kubelet/kuberuntime/logs: RFC 3339 with
// nanoseconds, stream, tags divided by colons, of which P and F are known.)
func parseCRI(p []byte) (rec criRecord, ok bool) {
	stamp, p, ok := bytes.Cut(p, []byte{' '})
	if !ok {
		return rec, false
	}
	stream, p, ok := bytes.Cut(p, []byte{' '})
	if !ok {
		return rec, false
	}
	if rec.lane = laneOf(string(stream)); rec.lane < 0 {
		return rec, false
	}
	tags, text, _ := bytes.Cut(p, []byte{' '}) // an empty line may lack the last space
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(tag) {
	case "P":
		rec.partial = true
	case "F":
	default:
		return rec, false
	}
	if rec.time, ok = parseStamp(stamp); !ok {
		return rec, false
	}
	rec.text = text
	return rec, true
}

// parseStamp reads an RFC 3339 time. A time that does not fit into 64 bits of
// nanoseconds (before 1678, after 2261) is good and reads as 0.
func parseStamp(p []byte) (ns int64, ok bool) {
	if ns, ok = parseUTC(p); ok {
		return ns, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(p))
	switch {
	case err != nil:
		return 0, false
	case t.Year() < 1678 || t.Year() > 2261:
		return 0, true
	}
	return t.UnixNano(), true
}

// parseUTC reads what runtimes write nearly always, YYYY-MM-DDTHH:MM:SS.fZ, of
// the years 1970 to 2261, without a time.Time. It leaves the rest to others.
func parseUTC(p []byte) (ns int64, ok bool) {
	if len(p) < 20 || len(p) > 30 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' || p[len(p)-1] != 'Z' {
		return 0, false
	}
	bad := false
	num := func(p []byte) (v int64) {
		for _, c := range p {
			bad = bad || c < '0' || c > '9'
			v = v*10 + int64(c-'0')
		}
		return v
	}
	y, m, d := num(p[:4]), num(p[5:7]), num(p[8:10])
	h, min, s := num(p[11:13]), num(p[14:16]), num(p[17:19])
	if frac := p[19 : len(p)-1]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) < 2 {
			return 0, false
		}
		ns = num(frac[1:])
		for range 10 - len(frac) {
			ns *= 10
		}
	}
	if bad || y < 1970 || y > 2261 || m < 1 || m > 12 || d < 1 || d > 28 && d > daysIn(y, m) || h > 23 || min > 59 || s > 59 {
		return 0, false
	}
	return ((days(y, m, d)*24+h)*60+min)*60e9 + s*1e9 + ns, true
}

func daysIn(y, m int64) int64 {
	if m == 12 {
		return 31
	}
	return days(y, m+1, 1) - days(y, m, 1)
}

// days counts from 1970-01-01 in the Gregorian calendar; years begin in March,
// so that the odd day stands last.
func days(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	return 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 1 - 719468
}
