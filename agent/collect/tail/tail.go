// Package tail follows log files: plain ones by pattern, those that a container
// runtime writes under /var/log/pods, and Docker's own. It takes every line once,
// in order, through rotation, truncation, deletion, restarts and crashes.
//
// The agent starts one Tailer; it hands batches of lines to its collect.Sink,
// the hub, asks the hub's Memory what the spool still holds of it, and the
// Advisor, if there is one, what a pod wishes. logline says which lines belong
// together.
//
// A file is its device, its inode, the fingerprint of its first up to 1 KiB
// (which grows as a short file grows), and its generation, which a truncation
// ends. What happens to files, and what becomes of hostile ones: README.md.
//
// What always holds:
//
//  1. Offsets ride in the blocks: Start and End of a LogBlock are places in its
//     File, and a file goes on exactly behind the End of its last block in the
//     spool. A crash at any moment loses and repeats nothing between file and
//     spool. What a reader of the spool sends twice is its own affair.
//  2. A snapshot is written only between two Puts, after the spool was synced:
//     it never knows more than the spool that survives a power cut.
//  3. The files of a family (app.log and what it was rotated to) are read one
//     after another, the oldest first. One is begun when no name changed during
//     the scan that found it, or two scans saw the same names; and when the one
//     before it was read to its end since it has bytes. What follows a truncation
//     is begun when a scan that started behind its first bytes has found its place.
//  4. What is pending in memory (pieces of lines, records of several lines) is at
//     most max_line and 1000 lines per stream, and offsets stay before it. An
//     unfinished line of a plain file is read again instead of kept.
//  5. Files take turns of at most 256 KiB; a loud one delays no quiet one by more
//     than one turn of each file.
//  6. read == body + ends + framing + again + cut + holes + recoded (Stats), after
//     every Put.
//  7. Two lines of one stream never have the same time.
//
// Memory and goroutines: Run works in the caller's goroutine alone, reading,
// splitting and putting in turn, so a Put that blocks stops the reading, and that
// is the back-pressure. One more goroutine waits for inotify. Batches are given
// away with Put and never touched again. Stats, Files and Refused may be called
// from anywhere.
//
// Lines are UTF-8. Files in UTF-16 and Latin-1 are recoded line by line as they
// are taken; their offsets stay those of their own bytes.
//
// What remains: a copy of a file shorter than 256 bytes that grew between the
// copying and the truncation is read twice; above the budget of descriptors (half
// of what the process may open) a file that is written and deleted while it is
// closed is lost, and counted as missed; a truncation ends a record of several
// lines; a character that is missing a byte puts all of UTF-16 behind it out of step.
//
// The package does not parse lines: it names the parser on the stream, and the
// hub parses. It reads no compressed files but those of gzip that a rotation
// made. A file system that hangs in a read holds up all files: mount it soft.
// While a Put blocks, files that are rotated away and deleted by their owner are
// lost, as far as they were not open.
package tail

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	batchBytes = 1 << 20
	batchLines = 5000
	gap        = 100 * time.Millisecond // between two looks: ten a second serve any number of writers
	lullGap    = 250 * time.Millisecond // the same after one that found little: what a look costs is the cost then
	lullBytes  = 64 << 10
)

// Stats counts for status and /metrics. The fates of bytes balance after every
// Put: Read == Body + Ends + Framing + Again + Cut + Holes + Recoded.
type Stats struct {
	Lines   atomic.Int64 // lines handed to the Sink
	Read    atomic.Int64 // bytes passed over
	Body    atomic.Int64 // bytes of lines, before repair
	Ends    atomic.Int64 // bytes of line ends
	Framing atomic.Int64 // bytes that a container runtime puts before each line
	Again   atomic.Int64 // bytes of containers' lines that the spool held already at a restart
	Cut     atomic.Int64 // bytes dropped from lines longer than max_line
	Holes   atomic.Int64 // NULs in front of a truncated file
	Recoded atomic.Int64 // bytes that a file's encoding takes more than UTF-8, below 0 if fewer, and byte order marks

	CutLines  atomic.Int64 // lines cut at max_line
	Repaired  atomic.Int64 // lines that were no UTF-8
	Flushed   atomic.Int64 // lines taken without their end
	Joined    atomic.Int64 // lines that were joined to the one before
	Malformed atomic.Int64 // lines that were not what their format says; taken as they were

	Rotations   atomic.Int64
	Truncations atomic.Int64
	Vanished    atomic.Int64 // bytes of unfinished lines that a truncation took away
	Missed      atomic.Int64 // files that were deleted while closed, because there were too many to keep open
	Damaged     atomic.Int64 // compressed files that could not be inflated to their end
	Failures    atomic.Int64 // looks that ended in an error
	Snapshots   atomic.Int64
}

// Tailer follows log files. It is a collect.Source.
type Tailer struct {
	cfg Config
	mem Memory
	adv Advisor // nil: nobody to ask
	dir string
	log *slog.Logger

	stats Stats
	idle  atomic.Int64 // when nothing was left to read, Unix ns

	mu      sync.Mutex
	files   map[key]*file     // changed by Run alone, under mu
	refused map[string]string // guarded by mu
	trouble [3]string         // guarded by mu: what troubles the whole, one text per cause

	// All below belongs to Run.
	find      *finder
	families  map[string]*family
	unsure    map[*family]bool // those with files whose order is not certain
	archive   archive
	queue     []*file
	awake     []*file // those that a sweep looks at closely
	calm      []calm  // those that it asks where they end; others are neither
	next      int     // the place in calm behind the file that is asked next
	leaving   []*file // to be dropped once their lines are in the spool
	heads     heads
	reading   generation
	lastGen   int64
	opened    int
	inflating int   // compressed files that are open
	since     int64 // Unix seconds: what is known of files was noted then, at the latest
	budget    int   // how many files may be open
	swept     time.Time
	scanned   time.Time
	saved     time.Time
	savedLen  int
	changed   bool // since the last snapshot
	lull      bool // the last look found little, and no name had changed

	buf        []byte
	chunk      int
	clock      clock
	sum        tally
	plain      plain
	lanesOut   laneTaker
	recoder    recoder
	block      signal.LogBlock
	batch      *signal.Batch
	batchBytes int
	batchLines int
	inBatch    []*file
}

// The causes of trouble, in the order of Tailer.trouble.
const (
	troubleSnapshot = iota
	troubleDamaged
	troubleWatch
)

// New returns a Tailer that keeps its snapshot in dir.
func New(cfg Config, mem Memory, dir string, log *slog.Logger) *Tailer {
	return &Tailer{cfg: cfg, mem: mem, dir: dir, log: log, chunk: chunkBytes}
}

// Run follows the files until ctx ends, and then returns nil. It returns an
// error if the state of an earlier run cannot be read, or if the Sink refuses a
// batch; run again, it goes on behind the last line the spool holds.
func (t *Tailer) Run(ctx context.Context, out collect.Sink) error {
	if err := t.begin(ctx, time.Now()); err != nil {
		return err
	}
	defer t.closeAll()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		more, err := t.step(ctx, time.Now(), out)
		switch {
		case ctx.Err() != nil && err == nil:
			t.save(time.Now())
			return nil
		case ctx.Err() != nil:
			return nil // what the last Put held is read again
		case err != nil:
			return fmt.Errorf("put log lines: %w", err)
		case more:
			continue
		}
		t.idle.Store(time.Now().UnixNano())
		t.rest(ctx, timer)
	}
}

// rest waits until a look is due.
func (t *Tailer) rest(ctx context.Context, timer *time.Timer) {
	pause := func(d time.Duration, wake <-chan struct{}) {
		timer.Reset(d)
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
	}
	first := gap
	if t.lull {
		first = lullGap
	}
	pause(first, nil)
	switch w := t.find.watch; {
	case w == nil:
		pause(sweepEvery-first, nil)
	case !w.ready():
		pause(sweepEvery-first, w.wake())
	}
}

// begin starts a run: it reads what the run before left.
func (t *Tailer) begin(ctx context.Context, now time.Time) error {
	if err := os.MkdirAll(t.dir, 0o750); err != nil {
		return fmt.Errorf("keep log offsets: %w", err)
	}
	st, damaged, err := load(t.dir, t.mem, now)
	if err != nil {
		return err
	}
	if damaged != "" {
		t.log.Error("the snapshot of log offsets is damaged and set aside; going on from what the spool holds, other files from where start says", "path", damaged)
		t.setTrouble(troubleDamaged, "the snapshot of log offsets was damaged; it is set aside as "+damaged)
	}
	t.mu.Lock()
	t.files = map[key]*file{}
	t.mu.Unlock()
	t.families, t.unsure, t.archive = map[string]*family{}, map[*family]bool{}, archive{}
	t.queue, t.awake, t.calm, t.leaving, t.inBatch = nil, nil, nil, nil, nil
	t.buf = make([]byte, edgeBytes+t.chunk)
	t.opened, t.inflating, t.budget = 0, 0, fdBudget()
	t.find = &finder{rules: t.cfg.rules(), dirs: map[string]*dir{}, byWatch: map[int32]*dir{}, unwatched: map[*dir]bool{}}
	for _, r := range t.find.rules {
		r.known = slices.Contains(st.patterns, r.pattern)
	}
	t.since = 0
	for _, r := range st.files {
		if t.archive.add(r); !r.retired {
			t.since = max(t.since, r.seen)
		}
		t.lastGen = max(t.lastGen, r.gen)
	}
	if t.since == 0 {
		t.since = now.Unix()
	}
	t.newBatch()
	w, err := openWatch(ctx)
	if t.find.watch = w; err != nil {
		t.find.noWatch = err
	}
	return nil
}

// fdBudget is half of what the process may open: the rest is for the spool, the
// network and the other collectors.
func fdBudget() int {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		return 512
	}
	return int(min(max(uint64(lim.Cur)/2, 64), 1<<16)) //nolint:unconvert // the types differ between systems
}

func (t *Tailer) closeAll() {
	for _, f := range t.files {
		t.close(f)
	}
	if t.find.watch != nil {
		t.find.watch.close()
	}
}

// step looks once: at what changed, at what is due, and reads one turn of each
// file that may have more. It reports whether there is more to read at once.
// An error is the Sink's.
func (t *Tailer) step(ctx context.Context, now time.Time, out collect.Sink) (more bool, err error) {
	if t.find.watch != nil {
		t.find.watch.drain(t.event)
	}
	before, still := t.stats.Read.Load(), !t.find.due() && len(t.unsure) == 0
	if now.Sub(t.swept) >= sweepEvery {
		t.swept = now
		t.sweep(now)
	}
	// Where names change all the time, looking at all of them is the cost: ten
	// thousand files are scanned once a second at most.
	if now.Sub(t.scanned) >= min(sweepEvery, time.Duration(len(t.files))*sweepEvery/10_000) && (t.find.due() || len(t.unsure) > 0) {
		t.scanned = now
		t.rescan(now)
	}
	if more, err = t.pass(ctx, now, out); err != nil {
		return false, err
	}
	for _, f := range t.leaving {
		if t.files[f.key] == f && f.gone {
			t.drop(f, now)
		}
	}
	t.leaving = t.leaving[:0]
	t.lull = still && len(t.queue) == 0 && t.stats.Read.Load()-before < lullBytes
	// A snapshot of many files is written less often: the spool knows the rest, of
	// two minutes at least.
	if now.Sub(t.saved) >= min(time.Second*time.Duration(1+t.savedLen>>17), time.Minute) {
		t.save(now)
	}
	return more, nil
}

// event takes note of one event of a watched folder.
func (t *Tailer) event(wd int, c change, name string) {
	if k, ok := t.find.event(wd, c, name); ok {
		if f := t.files[k]; f != nil {
			t.enqueue(f)
		}
	}
}

// pass reads one turn of each file in the queue, and hands over what it got.
func (t *Tailer) pass(ctx context.Context, now time.Time, out collect.Sink) (more bool, err error) {
	round := t.queue
	t.queue = nil
	for _, f := range round {
		f.queued = false
		switch {
		case t.waits(f, now):
			t.enqueue(f)
		case t.take(f, now):
			t.enqueue(f)
			more = true
		}
		if t.batchBytes >= batchBytes || t.batchLines >= batchLines {
			if err := t.flush(ctx, out); err != nil {
				return false, err
			}
		}
	}
	for _, f := range t.queue { // one that waits may go on if that changed in this pass
		more = more || f.after != nil && (f.after.queued && f.after.placed && f.after.after == nil || !f.held())
	}
	return more, t.flush(ctx, out)
}

func (t *Tailer) newBatch() {
	t.batch = &signal.Batch{Kind: signal.Log}
	t.batchBytes, t.batchLines = 0, 0
}

// taker prepares the taker of f's format for one turn.
func (t *Tailer) taker(f *file, now time.Time) taker {
	if f.lanes != nil {
		t.lanesOut = laneTaker{s: f.lanes, maxLine: t.cfg.maxLine(), now: now.UnixNano(), clock: &t.clock, sum: &t.sum,
			text: t.lanesOut.text, stamps: t.lanesOut.stamps}
		t.lanesOut.begin(f.pos.off)
		return &t.lanesOut
	}
	t.block = signal.LogBlock{Stream: f.family.lines(), File: f.id, Start: f.pos.off}
	t.plain = plain{blk: &t.block, maxLine: t.cfg.maxLine(), now: now.UnixNano(), clock: &t.clock, sum: &t.sum}
	return &t.plain
}

// put adds to the batch what a turn of f gave.
func (t *Tailer) put(f *file, out taker) {
	lanes, _ := out.(*laneTaker)
	if f.pos.off == f.done.off && f.pos.scan == f.done.scan && (lanes == nil || !lanes.wrote()) {
		return
	}
	t.inBatch = append(t.inBatch, f)
	f.offset.Store(f.pos.off)
	if lanes != nil {
		t.putLanes(f, lanes)
		return
	}
	t.block.End = f.pos.off
	if len(t.block.Lines) > 0 {
		t.addBlock(f, &t.block)
	}
}

func (t *Tailer) addBlock(f *file, blk *signal.LogBlock) {
	t.batch.Logs = append(t.batch.Logs, *blk)
	t.batchBytes += len(blk.Text)
	t.batchLines += len(blk.Lines)
	f.family.taken.Add(int64(len(blk.Lines)))
}

// flush hands the batch over. After an error nothing of it counts as done.
func (t *Tailer) flush(ctx context.Context, out collect.Sink) error {
	if len(t.batch.Logs) > 0 {
		b := t.batch
		t.newBatch()
		if err := out.Put(ctx, b); err != nil {
			return err
		}
	}
	for i, f := range t.inBatch {
		f.done, t.inBatch[i] = f.pos, nil
		t.changed = true
	}
	t.inBatch = t.inBatch[:0]
	t.sum.moveTo(&t.stats)
	return nil
}

// moveTo adds the counts to st and sets them to 0.
func (s *tally) moveTo(st *Stats) {
	for _, c := range [...]struct {
		to *atomic.Int64
		n  int64
	}{
		{&st.Lines, s.lines}, {&st.Read, s.read}, {&st.Body, s.body}, {&st.Ends, s.ends}, {&st.Framing, s.framing},
		{&st.Again, s.again}, {&st.Cut, s.cut}, {&st.Holes, s.holes}, {&st.Recoded, s.recoded}, {&st.CutLines, s.cutLines},
		{&st.Repaired, s.repaired}, {&st.Flushed, s.flushed}, {&st.Joined, s.joined}, {&st.Malformed, s.malformed},
	} {
		if c.n != 0 {
			c.to.Add(c.n)
		}
	}
	*s = tally{}
}

// save writes a snapshot if there is something new. No Put is under way.
func (t *Tailer) save(now time.Time) {
	t.saved = now
	if !t.changed {
		return
	}
	seq := t.mem.Newest()
	err := t.mem.Sync()
	if err == nil {
		t.savedLen, err = save(t.dir, func(w io.Writer) (int, error) { return t.writeState(w, seq, now) })
	}
	text := ""
	if err != nil {
		text = err.Error()
	} else {
		t.changed = false
		t.stats.Snapshots.Add(1)
	}
	t.setTrouble(troubleSnapshot, text)
}

// writeState writes a snapshot of all that is known.
func (t *Tailer) writeState(w io.Writer, seq uint64, now time.Time) (int, error) {
	var patterns []string
	for _, r := range t.find.rules {
		if r.known {
			patterns = append(patterns, r.pattern)
		}
	}
	n := 0
	for _, f := range t.files {
		n += b2i(f.known())
	}
	for _, r := range t.archive.all {
		n += b2i(!r.used)
	}
	return writeState(w, seq, patterns, n, t.records(now))
}

// known reports whether a snapshot tells of f.
func (f *file) known() bool { return f.settled && !f.ignored }

// records yields what a snapshot holds, each valid until the next one.
func (t *Tailer) records(now time.Time) iter.Seq[*record] {
	return func(yield func(*record) bool) {
		var r record
		for _, f := range t.files {
			if f.known() {
				if r = recordOf(f, &f.done, now, false); !yield(&r) {
					return
				}
			}
		}
		for _, r := range t.archive.all {
			if !r.used && !yield(r) {
				return
			}
		}
	}
}

// room reports whether one more file may be opened, closing idle ones if need be.
func (t *Tailer) room() bool {
	if t.opened >= t.budget {
		t.closeIdle()
	}
	return t.opened < t.budget
}

// closeIdle closes the tenth of the open files that was not read for longest, and
// as many more as are open above the budget.
func (t *Tailer) closeIdle() {
	var idle []*file
	for _, f := range t.files {
		if f.fh != nil && f.settled && f.eof && !f.gone && !f.lanes.pending() {
			idle = append(idle, f)
		}
	}
	slices.SortFunc(idle, func(a, b *file) int { return cmp.Or(b2i(b.rotated)-b2i(a.rotated), a.grown.Compare(b.grown)) })
	for _, f := range idle[:min(len(idle), max((len(idle)+9)/10, t.opened-t.budget+1))] {
		t.close(f)
	}
}
