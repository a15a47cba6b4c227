// Package signal is the data model: what a sample, a log line and an event are
// while they travel from a collector to a vendor, and how a batch of them is
// written as one self-contained frame.
//
// Every other package of the agent uses it; it imports nothing of ours.
// Collectors fill a Batch and give it to the hub, the hub completes it and
// writes it with AppendFrame, and each destination reads it back with
// AppendFromFrame and encodes it in its vendor's words.
//
// What always holds:
//
//  1. Times of samples are Unix milliseconds, times of lines and events Unix
//     nanoseconds. A frame's header speaks milliseconds.
//  2. A label set is flat bytes, sorted by key, each key once (labels.go).
//  3. Names and labels follow names.go, which follows OpenTelemetry's semantic
//     conventions; only a vendor's own folder knows that vendor's names.
//  4. AppendFromFrame(AppendFrame(b)) equals b, field by field, and no frame,
//     however damaged, makes the decoder panic, or allocate more than a small
//     multiple of its length (of 64 MiB, if it says that it is compressed).
//
// Memory: a Batch belongs to whoever holds it; passing it on gives it away.
// Text, Attrs and the strings of events decoded from a frame point into that
// frame, or into the batch's own scratch memory, and live as long as both do. Series and Stream are interned and
// may be kept for ever: the runtime drops what nobody refers to.
//
// The package knows nothing of collectors, disks or vendors, and converts no
// values: that is the hub's work.
package signal

import (
	"iter"
	"unique"
)

// Kind tells the three sorts of signal apart. Each has a spool of its own.
type Kind uint8

// The kinds. The zero Kind is invalid, so that a forgotten one is noticed.
const (
	Metric Kind = 1 + iota
	Log
	Event
)

// Kinds lists every kind, in the order in which people are shown them.
var Kinds = [...]Kind{Metric, Log, Event}

// String returns "metric", "log" or "event".
func (k Kind) String() string {
	switch k {
	case Metric:
		return "metric"
	case Log:
		return "log"
	case Event:
		return "event"
	}
	return "invalid"
}

// Type says what a series' values mean.
type Type uint8

// The types. A Counter only grows, or starts again; a Delta is the growth
// during one interval [Start, Time]; a Dist holds the values of one interval; a
// CumDist is to a Dist what a Counter is to a Delta.
const (
	Gauge Type = 1 + iota
	Counter
	Delta
	Dist
	CumDist
)

var typeNames = [...]string{Gauge: "gauge", Counter: "counter", Delta: "delta", Dist: "dist", CumDist: "cumdist"}

// String returns the type's name in lower case.
func (t Type) String() string {
	if int(t) < len(typeNames) && t > 0 {
		return typeNames[t]
	}
	return "invalid"
}

// Sample is one value of one series. Times are Unix milliseconds.
//
// A Counter carries both readings vendors ask for: the total since Start in
// Value, and the increase since Prev in Delta. The hub fills Prev and Delta
// from the sample before, once, so that every Encode can be a pure function.
// A CumDist does the same with Hist and Hist.Since.
type Sample struct {
	Series Series
	Start  int64 // when the counter was zero, or the interval began; 0 for gauges, and where unknown
	Prev   int64 // Counter, CumDist: time of the sample before; 0 if there is none yet
	Time   int64
	Value  float64 // Gauge, Counter: the reading; Delta: the growth; unused otherwise
	Delta  float64 // Counter: increase since Prev; 0 while Prev is 0
	Hist   *Hist   // nil unless Type is Dist or CumDist
}

// Hist is a distribution of values: a histogram with explicit bounds, an
// exponential one, or a summary with ready-made quantiles. Count and Sum always
// hold; of the three shapes any, or none, is filled.
type Hist struct {
	Count uint64
	Sum   float64
	Min   float64 // NaN where unknown
	Max   float64 // NaN where unknown

	// Explicit bounds: Counts[i] values lie in (Bounds[i-1], Bounds[i]], and
	// the last of Counts, one longer than Bounds, lies above them all.
	// Counts are per bucket, never accumulated over buckets.
	Bounds []float64
	Counts []uint64

	// Exponential buckets, as OpenTelemetry defines them: with base 2^(2^-Scale),
	// Pos.Counts[i] values lie in (base^(Pos.Offset+i), base^(Pos.Offset+i+1)].
	Exponential bool
	Scale       int32
	Zero        uint64 // values within ±ZeroWidth
	ZeroWidth   float64
	Pos, Neg    Buckets

	Quantiles []Quantile // summary

	// Since is the increase between the sample's Prev and its Time, of the same
	// shape. CumDist only; nil while Prev is 0. The hub fills it.
	Since *Hist

	// Exemplars are at most MaxExemplars of the interval's values: where there is
	// a Since it has them, and the total none.
	Exemplars []Exemplar
}

// Exemplar is one value of a distribution, and the trace in which it was
// measured. Trace and Span are all zeros where unknown, as in W3C's trace context.
type Exemplar struct {
	Value  float64
	Time   int64 // 0 where unknown
	Trace  [16]byte
	Span   [8]byte
	Labels string // flat, sorted: what else its program says of it
}

// Buckets is a run of consecutive exponential buckets.
type Buckets struct {
	Offset int32
	Counts []uint64
}

// Quantile is one ready-made quantile of a summary: Q in [0,1].
type Quantile struct{ Q, Value float64 }

// Stream names the origin of log lines: an interned flat label set (pod,
// container, file, iostream), comparable with ==.
type Stream struct{ h unique.Handle[string] }

// InternStream returns the Stream for a flat label set; it keeps a copy.
func InternStream(labels string) Stream { return Stream{unique.Make(labels)} }

// Labels returns the flat label set s stands for; empty for the zero Stream.
func (s Stream) Labels() string {
	if s == (Stream{}) {
		return ""
	}
	return s.h.Value()
}

// LogBlock holds consecutive lines of one stream. Bodies lie back to back in
// Text, so a block costs the collector the same few allocations whether it
// holds ten lines or ten thousand.
//
// File, Start and End tie the lines to the bytes they were read from. They are
// what lets a reader go on exactly behind the last spooled line after a crash,
// and what gives each line an identity that a second sending repeats. A block
// may hold no lines at all, if everything in its range was left out on purpose.
type LogBlock struct {
	Stream Stream
	File   string // identity of the file, in the source's own words; or "udp:…" and the like
	Start  int64  // offset of the first byte read for this block; for sources without offsets a running count of lines
	End    int64  // offset behind the last byte read for this block
	Text   []byte
	Lines  []Line
	Attrs  []byte // flat label sets of the lines that have one, back to back

	room *room // that Reserve gave it
}

// Line locates one body in its block. It has no pointers on purpose: the
// garbage collector does not look inside a slice of them.
type Line struct {
	Time    int64  // Unix nanoseconds
	End     uint32 // Text[previous End:End] is the body
	AttrEnd uint32 // Attrs[previous AttrEnd:AttrEnd] is the line's own label set
	Level   uint8  // syslog severity 0..7, LevelUnknown otherwise
}

// LevelUnknown is the Level of a line whose severity nobody stated.
const LevelUnknown = 255

// LogLine is one line as LinesIn yields it; the slices point into the block.
type LogLine struct {
	Block *LogBlock
	Index int   // of the line in its block
	ID    int64 // Block.Start + Index: with Block.File it names this line for ever
	Time  int64 // Unix nanoseconds
	Level uint8
	Text  []byte
	Attrs []byte // flat label set
}

// EventItem is something that happened once: a Kubernetes event, a DogStatsD
// event, the outcome of a service check.
type EventItem struct {
	Time   int64  // Unix nanoseconds
	Labels string // flat, sorted
	Source string // "kubernetes", "statsd", "probe", "causeway"
	ID     string // equal for a repetition of the same occurrence; the vendor's aggregation or insert key
	Title  string
	Text   string
	Level  uint8  // syslog severity 0..7, LevelUnknown otherwise
	Count  uint32 // how often it happened by now; 0 counts as 1

	// Check is the name of a service check, and Status its outcome (0 ok, 1
	// warning, 2 critical, 3 unknown). An event that is no check has no name here.
	Check  string
	Status uint8
}

// Batch is what moves between packages: up to a few thousand items of one kind.
// Whoever holds a Batch owns it; handing it to Put gives it away.
type Batch struct {
	Kind    Kind
	Samples []Sample
	Logs    []LogBlock
	Events  []EventItem
	Pooled  bool // Samples came from NewSamples, and may go back

	scratch []byte // bodies of compressed frames; what was decoded points into it
	lines   []Line // of blocks that were decoded
}

// Len returns the number of items: samples, lines or events.
func (b *Batch) Len() int {
	switch b.Kind {
	case Metric:
		return len(b.Samples)
	case Log:
		n := 0
		for i := range b.Logs {
			n += len(b.Logs[i].Lines)
		}
		return n
	case Event:
		return len(b.Events)
	}
	return 0
}

// Reset empties b for use with another kind, keeping its memory.
func (b *Batch) Reset(k Kind) {
	clear(b.Samples)
	clear(b.Logs)
	clear(b.Events)
	*b = Batch{Kind: k, Samples: b.Samples[:0], Logs: b.Logs[:0], Events: b.Events[:0], scratch: b.scratch[:0], lines: b.lines[:0]}
}

// Add appends one sample of s.
func (b *Batch) Add(s Sample) { b.Samples = append(b.Samples, s) }

// LinesIn yields lines lo to hi-1, counted through all blocks.
func (b *Batch) LinesIn(lo, hi int) iter.Seq[LogLine] {
	return func(yield func(LogLine) bool) {
		first := 0
		for i := range b.Logs {
			blk := &b.Logs[i]
			if first >= hi {
				return
			}
			from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
			first += len(blk.Lines)
			for j := from; j < to; j++ {
				if !yield(blk.Line(j)) {
					return
				}
			}
		}
	}
}

// Line returns line i of the block. It never panics for 0 <= i < len(Lines),
// whatever the ends say: a body outside Text is cut to what there is.
func (blk *LogBlock) Line(i int) LogLine {
	l := &blk.Lines[i]
	var at, attrAt uint32
	if i > 0 {
		at, attrAt = blk.Lines[i-1].End, blk.Lines[i-1].AttrEnd
	}
	return LogLine{
		Block: blk, Index: i, ID: blk.Start + int64(i),
		Time: l.Time, Level: l.Level,
		Text:  cut(blk.Text, at, l.End),
		Attrs: cut(blk.Attrs, attrAt, l.AttrEnd),
	}
}

// Append adds one line to the block, copying body and attrs.
func (blk *LogBlock) Append(time int64, level uint8, body, attrs []byte) {
	blk.Text = append(blk.Text, body...)
	blk.Attrs = append(blk.Attrs, attrs...)
	blk.Lines = append(blk.Lines, Line{Time: time, End: uint32(len(blk.Text)), AttrEnd: uint32(len(blk.Attrs)), Level: level})
}

// cut returns p[from:to], or nothing where that does not exist.
func cut(p []byte, from, to uint32) []byte {
	if from > to || uint64(to) > uint64(len(p)) {
		return nil
	}
	return p[from:to:to]
}
