package prom

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/causeway-agent/causeway/agent/signal"
)

// role says what the lines of a series are for.
type role uint8

const (
	roleGauge    role = iota
	roleCounter       // Series is its own
	roleBucket        // value goes into group, at slot
	roleQuantile      // the same, of a summary
	roleSum           // of group
	roleCount         // of group
	roleBorn          // when group, or the counter of the same labels, was zero
	roleDropped       // by a rule
	roleTwin          // its name and labels are another line's
	roleDist          // a whole distribution: protobuf only
	roleGone          // no longer in the cache
)

// cell is all that is known of one series of a page, in 64 bytes. Its text is
// not kept, only its hash, which is most of what a cell would weigh otherwise,
// and cold memory to compare with. That two of 100,000 series have one hash is as
// likely as 1 in 4·10^9, and the second one would be taken for a repetition of
// the first, and counted as one.
type cell struct {
	hash   uint64 // of name and labels as they stand in the page; the key
	next   *cell  // what followed in the page before: nearly always what follows now
	group  *group // of parts of a distribution
	series signal.Series
	value  float64 // last reading of a counter; count of a dist
	start  int64   // when the counter was zero; of a gauge the last timestamp of its own
	length uint32  // of the text that was hashed
	seen   uint32  // page
	slot   uint16  // in group
	role   role
}

// grace is for how many pages a series that is gone is remembered: one that
// only paused goes on then, and is not taken for one that began anew.
const grace = 10

// page reads the pages of one target, one after another. What it learns of a
// series when it sees it first, the target's labels, its rules and the type
// included, it keeps, so a known line costs a comparison and a number.
//
// The samples of a page are kept back until its end is reached: a page that
// breaks off, or is too large, leaves nothing behind.
type page struct {
	labels string // flat, of the target
	rules  []*relabel.Config
	honor  bool // of equal labels, the page's counts
	timed  bool // the page's timestamps count
	most   int  // samples

	cells    map[uint64]*cell
	seed     maphash.Seed
	owner    map[signal.Series]*cell // counters and gauges by their Series
	groups   map[signal.Series]*group
	families map[string]*family
	format   string // of the pages so far
	pairs    []pair // scratch
	key      []byte // scratch
	flat     []byte // scratch: the page's labels of one series
	set      []byte // scratch: all its labels
	builder  *labels.Builder

	// Of the page being read.
	number   uint32
	good     uint32 // number of the last page that was read to its end
	before   int64  // time of that page
	at       int64  // time of this one, Unix milliseconds
	head     cell   // stands before the first line
	last     *cell
	touched  []*group
	held     [][]held        // of chunk each but the last, from room
	dists    []signal.Sample // distributions
	hists    []signal.Hist   // slabs, of which each distribution gets a piece
	counts   []uint64
	bounds   []float64 // of the last new histogram: nearly always the next one's too
	exemplar []byte    // of the line at hand
	ended    bool      // # EOF was there
	native   bool      // a native histogram was there
	lines    int
	alive    int // cells that were in it
	tally    tally
	bad      *badLine
}

// tally is what became of the samples of one page:
//
//	Samples == Plain + Folded + Born + Dropped + Twins + Old + NaN
type tally struct {
	Samples   int // lines with a value; parts of it in protobuf
	Plain     int // gauges and counters given on
	Folded    int // parts of distributions
	Born      int // _created lines
	Dropped   int // by metric_relabel
	Twins     int // name and labels of another line of the page
	Old       int // with a timestamp not newer than the one before
	NaN       int // value is none, or infinite
	Dists     int // distributions given on
	Broken    int // distributions whose parts make none
	Malformed int // lines that are none
	Exemplars int // left out: a counter's, beyond signal.MaxExemplars, or none
}

func newPage(t *spec, rules []*relabel.Config) *page {
	p := &page{
		labels: t.labels, rules: rules, honor: t.honorLabels, timed: t.honorTimestamps, most: t.maxSamples,
		seed: maphash.MakeSeed(), builder: labels.NewBuilder(labels.EmptyLabels()),
	}
	p.forget()
	return p
}

// forget empties the cache.
func (p *page) forget() {
	p.cells = map[uint64]*cell{}
	p.owner = map[signal.Series]*cell{}
	p.groups = map[signal.Series]*group{}
	p.families = map[string]*family{}
	p.head.next = nil
	p.good = 0
}

// speak says which format follows. The formats write a series differently, so
// what is known of them in one is worth nothing in another.
func (p *page) speak(format string) {
	if p.format != format {
		p.forget()
		p.last, p.format = &p.head, format
	}
}

// begin starts a page whose samples are of time at.
func (p *page) begin(at int64) {
	p.number++
	p.at = at
	p.last = &p.head
	p.touched = p.touched[:0]
	p.drop()
	p.hists, p.counts = nil, nil
	p.ended, p.native, p.bad, p.lines, p.alive = false, false, nil, 0, 0
	p.tally = tally{}
}

var (
	errTooMany   = errors.New("more samples than max_samples")
	errTooLong   = errors.New("a line is longer than 1 MiB")
	errTruncated = errors.New("the page breaks off before # EOF")
	errNoPage    = errors.New("this is no page of metrics")
)

const (
	firstBuffer = 64 << 10
	maxLine     = 1 << 20
)

// readText reads a page in either text format. buf is a buffer to use; it is
// returned, grown perhaps.
func (p *page) readText(r io.Reader, om bool, buf []byte) ([]byte, error) {
	end, want := 0, 1
	for {
		var rerr error
		for got := 0; got < want && rerr == nil; {
			var n int
			n, rerr = r.Read(buf[end : len(buf)-1])
			end += n
			got += n
		}
		if rerr == io.EOF && end > 0 && buf[end-1] != '\n' {
			buf[end] = '\n' // the last line may lack it; one byte is always left for it
			end++
		}
		full := end == len(buf)-1 && len(buf) >= maxLine
		at, err := p.entries(buf[:end], om, rerr == io.EOF || full)
		switch {
		case err != nil:
			return buf, err
		case rerr == io.EOF:
			return buf, p.endText(om)
		case rerr != nil:
			return buf, rerr
		}
		end = copy(buf, buf[at:end])
		if end == len(buf)-1 {
			if len(buf) >= maxLine {
				return buf, errTooLong
			}
			buf = append(buf, make([]byte, len(buf))...)
		}
		// An entry that goes on is looked at again only when it has grown by a
		// part: one that comes byte by byte costs no more than another.
		want = min(end/4+1, len(buf)-1-end)
	}
}

func (p *page) endText(om bool) error {
	if om && !p.ended {
		return errTruncated
	}
	if p.tally.Malformed > p.tally.Samples {
		return fmt.Errorf("%w: %w", errNoPage, p.bad)
	}
	return nil
}

// entries takes as many entries as b holds whole and returns their length. If
// nothing more can follow, one that does not end is no entry.
func (p *page) entries(b []byte, om, last bool) (at int, err error) {
	for at < len(b) {
		n, err := p.entry(b[at:], om)
		switch {
		case err == nil:
		case errors.Is(err, errTooMany):
			return at, err
		case errors.Is(err, errShort) && !last:
			return at, nil
		default:
			n = bytes.IndexByte(b[at:], '\n') + 1
			if n == 0 {
				return at, nil // its end is still to come
			}
			if errors.Is(err, errShort) {
				err = errLabels
			}
			p.malformed(b[at:at+n], err)
		}
		p.lines++
		at += n
	}
	return at, nil
}

func (p *page) malformed(line []byte, err error) {
	p.tally.Malformed++
	if p.bad == nil {
		p.bad = &badLine{p.lines + 1, string(bytes.ToValidUTF8(line[:min(len(line), 80)], []byte("?"))), err}
	}
}

// entry takes the first entry of b and returns its length.
func (p *page) entry(b []byte, om bool) (int, error) {
	if c := p.last.next; c != nil && c.role != roleGone && len(b) > int(c.length) {
		n := int(c.length)
		if (b[n] == ' ' || b[n-1] == '}') && maphash.Bytes(p.seed, b[:n]) == c.hash {
			// Should labels follow after all, they are no number, and the line is
			// looked at as one that is not known.
			if pt, m, err := parsePoint(b[n:], om); err == nil {
				if pt.exemplar > 0 {
					p.exemplar = b[n+m-1-int(pt.exemplar) : n+m-1]
				}
				return n + m, p.take(c, pt)
			}
		}
	}
	skip := 0
	for skip < len(b) && (b[skip] == ' ' || b[skip] == '\t' || b[skip] == '\r') {
		skip++
	}
	switch b = b[skip:]; {
	case len(b) == 0:
		return 0, errShort
	case b[0] == '\n':
		return skip + 1, nil
	case b[0] == '#':
		m, n, err := parseMeta(b)
		if err == nil {
			err = p.meta(m)
		}
		return skip + n, err
	}
	series, err := scanSeries(b)
	if err != nil {
		return 0, err
	}
	pt, n, err := parsePoint(b[len(series):], om)
	if err != nil {
		return 0, err
	}
	c := p.cells[maphash.Bytes(p.seed, series)]
	if c == nil {
		name, pairs, err := parseSeries(series, p.pairs[:0])
		if err != nil {
			return 0, err
		}
		p.pairs = pairs[:0]
		c = p.learn(series, name, pairs)
	}
	n += len(series)
	if pt.exemplar > 0 {
		p.exemplar = b[n-1-int(pt.exemplar) : n-1]
	}
	return skip + n, p.take(c, pt)
}

// meta notes what a TYPE or UNIT line says.
func (p *page) meta(m meta) error {
	switch m.word {
	case "EOF":
		p.ended = true
	case "TYPE":
		s, err := parseSort(m.text)
		if err != nil {
			return err
		}
		return p.declare(m.name, s)
	}
	return nil
}

// declare notes the sort of a family. If it was another one before, the target
// is not what it was: nothing that is known of its series holds.
func (p *page) declare(name []byte, s sort) error {
	f := p.families[string(name)]
	if f == nil {
		f = &family{sort: s}
		p.families[string(name)] = f
	}
	if f.sort != s {
		if f.seen == p.number {
			return nil // declared twice in one page: the first one counts
		}
		p.forget()
		p.last = &cell{}
		f = &family{sort: s}
		p.families[string(name)] = f
	}
	f.seen = p.number
	return nil
}

// take gives a point to its cell.
func (p *page) take(c *cell, pt point) error {
	p.last.next = c
	p.last = c
	p.tally.Samples++
	if pt.exemplar > 0 {
		p.tally.Exemplars++ // until its bucket takes it
	}
	again := c.seen == p.number
	if !again {
		c.seen = p.number
		p.alive++
	}
	if c.role == roleDropped {
		p.tally.Dropped++
		return nil
	}
	if p.tally.Samples-p.tally.Dropped > p.most {
		return errTooMany
	}
	if again || c.role == roleTwin {
		p.tally.Twins++
		return nil
	}
	switch c.role {
	case roleGauge, roleCounter:
		p.plain(c, pt)
	case roleBorn:
		p.tally.Born++
		p.born(c, int64(pt.value*1000))
	default:
		p.tally.Folded++
		c.group.take(p, c, pt)
	}
	return nil
}

// plain gives a gauge or a counter on.
func (p *page) plain(c *cell, pt point) {
	if !finite(pt.value) { // no vendor takes it
		p.tally.NaN++
		return
	}
	if c.role == roleCounter {
		if pt.value < c.value && c.start < p.before {
			c.start = p.before // it started again since
		}
		c.value = pt.value
	}
	at := p.at
	if pt.timed && p.timed {
		at = pt.time
		if c.role == roleGauge {
			if c.start != 0 && at <= c.start {
				p.tally.Old++ // an exporter that shows the same reading again
				return
			}
			c.start = at
		}
	}
	p.tally.Plain++
	n := len(p.held)
	if n == 0 || len(p.held[n-1]) == chunk {
		p.held = append(p.held, *room.Get().(*[]held))
		n++
	}
	p.held[n-1] = append(p.held[n-1], held{c, pt.value, at})
}

// born notes when a distribution, or the counter of the same labels, was zero.
func (p *page) born(c *cell, ms int64) {
	if ms <= 0 || ms > p.at {
		return
	}
	if c.group != nil {
		c.group.start = ms
		return
	}
	if o := p.owner[c.series]; o != nil {
		o.start = ms
	}
}

// held is a sample of a page whose end is not reached yet: what is not in its
// cell, which is less than half of a Sample.
type held struct {
	c     *cell
	value float64
	time  int64
}

func (h *held) sample() signal.Sample {
	s := signal.Sample{Series: h.c.series, Time: h.time, Value: h.value}
	if h.c.role == roleCounter {
		s.Start = min(h.c.start, h.time)
	}
	return s
}

// room holds what samples are held back in.
var room = sync.Pool{New: func() any { return new([]held) }}

func release(h []held) {
	clear(h)
	h = h[:0]
	room.Put(&h)
}

// drop forgets the samples of the page.
func (p *page) drop() {
	for _, h := range p.held {
		release(h)
	}
	p.held, p.dists = nil, nil
}

// end finishes a page that was read to its end: its distributions are put
// together, and what it had no more is forgotten.
func (p *page) end() {
	for _, g := range p.touched {
		p.fold(g)
	}
	p.last.next = nil
	p.good, p.before = p.number, p.at
	p.sweep()
}

// chunk is how many samples a batch has at most: few enough that they are still
// in the processor's cache when they are completed, and when their frame is made.
const chunk = 5000

// batches yields the samples of a page that was read to its end, and more behind
// them. A batch is its receiver's.
func (p *page) batches(more ...signal.Sample) iter.Seq[*signal.Batch] {
	return func(yield func(*signal.Batch) bool) {
		defer p.drop()
		rest := append(p.dists, more...)
		for len(p.held)+len(rest) > 0 {
			var plain []held
			if len(p.held) > 0 {
				plain, p.held = p.held[0], p.held[1:]
			}
			n := min(len(rest), chunk-len(plain))
			b := &signal.Batch{Kind: signal.Metric, Samples: signal.NewSamples(len(plain) + n), Pooled: true}
			for i := range plain {
				b.Add(plain[i].sample())
			}
			b.Samples = append(b.Samples, rest[:n]...)
			rest = rest[n:]
			release(plain)
			if !yield(b) {
				return
			}
		}
	}
}
