package journald

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

const (
	batchBytes = 1 << 20
	batchLines = 2000
	maxStreams = 4096
)

// file is one journal file.
type file struct {
	path string
	info os.FileInfo
	fh   *os.File // nil once it is read to its end, and archived, or damaged
	r    *reader
	err  error // why it is not read any more

	head entry // the next entry, if has
	at   uint64
	has  bool
}

// follower goes through all files. It belongs to Run.
type follower struct {
	s       *Source
	out     collect.Sink
	next    map[string]uint64 // by seqnum id: the number of the next entry
	files   []*file
	listed  bool // the folder was read once: what comes later is new
	moved   bool // since next was saved
	streams map[origin]signal.Stream
	f       fields
	attrs   []byte

	// The batch of one seqnum id.
	batch  *signal.Batch
	blocks map[signal.Stream]int
	bytes  int
	lines  int
	passed tally
	lo, hi uint64 // numbers it passes over: [lo, hi)
}

// tally is what becomes of entries, until the Sink has their batch.
type tally struct{ entries, filtered, empty int64 }

func newFollower(s *Source, next map[string]uint64, out collect.Sink) *follower {
	return &follower{s: s, out: out, next: next, streams: map[origin]signal.Stream{}, blocks: map[signal.Stream]int{}}
}

// list looks for files that came and went.
func (w *follower) list(now time.Time) {
	dir := w.s.conf.folder()
	var paths []string
	for _, pattern := range [...]string{"*.journal", "*.journal~", "*/*.journal", "*/*.journal~"} { // ~: journald was not stopped in order
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		paths = append(paths, found...)
	}
	switch _, err := os.ReadDir(dir); {
	case err != nil && (!errors.Is(err, fs.ErrNotExist) || w.s.conf.Enabled == "true"):
		w.s.setTrouble(troubleAbsent, fmt.Sprintf("read journals: %v: mount the host's folder into the agent's container, or set collect.logs.journald.path", err))
	default:
		w.s.setTrouble(troubleAbsent, "")
	}
	trouble := ""
	var fresh []*file
	known := map[*file]bool{}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			continue // it went meanwhile
		}
		if i := slices.IndexFunc(w.files, func(f *file) bool { return os.SameFile(f.info, info) }); i >= 0 {
			w.files[i].path = p
			known[w.files[i]] = true
			continue
		}
		f, err := w.open(p, info)
		switch {
		case errors.Is(err, fs.ErrPermission):
			trouble = fmt.Sprintf("%v: run the agent as root, or as a member of the group systemd-journal", err)
			continue
		case err != nil: // journald may be about to make it: it is tried again
			trouble = fmt.Sprintf("%v: if journald does not mend it soon, move it away", err)
			continue
		}
		known[f] = true
		fresh = append(fresh, f)
		w.files = append(w.files, f)
	}
	w.s.setTrouble(troubleOpen, trouble)
	w.place(fresh, now)
	w.files = slices.DeleteFunc(w.files, func(f *file) bool {
		return !known[f] && f.fh == nil // one that is deleted is read to its end
	})
	for _, f := range w.files {
		if !known[f] && !f.more() {
			f.close()
		}
	}
	w.listed = true
	w.tell()
}

// more reports whether a file that nobody can write to any more has entries left.
func (f *file) more() bool {
	return f.r != nil && f.err == nil && (f.has || f.r.count < f.r.h.entries)
}

// tell says how many files there are, and which are damaged.
func (w *follower) tell() {
	open, text := int64(0), ""
	for _, f := range w.files {
		if f.fh != nil {
			open++
		}
		if f.err != nil {
			text = fmt.Sprintf("%s is not read to its end: %v", f.path, f.err)
		}
	}
	w.s.stats.Files.Store(int64(len(w.files)))
	w.s.stats.Open.Store(open)
	w.s.setTrouble(troubleDamaged, text)
}

func (w *follower) open(p string, info os.FileInfo) (*file, error) {
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", p)
	}
	fh, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	r, err := openReader(fh, int(w.s.conf.MaxLine)+1)
	if err != nil {
		fh.Close()
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return &file{path: p, info: info, fh: fh, r: r}, nil
}

func (f *file) close() {
	if f.fh != nil {
		f.r.close()
		f.fh.Close()
		f.fh, f.has = nil, false
	}
}

func (w *follower) closeAll() {
	for _, f := range w.files {
		f.close()
	}
}

// place moves each file that is new to where its journal goes on, and decides
// where a journal begins that nobody knows yet.
func (w *follower) place(fresh []*file, now time.Time) {
	since, _ := parseSince(w.s.conf.Since)
	begin := map[string]bool{} // journals that are new at the first look
	for _, f := range fresh {
		if f.r == nil {
			continue
		}
		if key := f.r.h.seqnums.String(); !w.listed {
			if _, ok := w.next[key]; !ok {
				begin[key] = true
			}
		}
	}
	if since == 0 {
		for _, f := range fresh {
			if f.r == nil {
				continue
			}
			if key := f.r.h.seqnums.String(); begin[key] && f.r.h.entries > 0 {
				w.next[key] = max(w.next[key], f.r.h.tail+1)
				w.moved = true
			}
		}
	}
	from := now.Add(-since).UnixMicro()
	for _, f := range fresh {
		if f.r == nil {
			continue
		}
		key := f.r.h.seqnums.String()
		next := w.next[key]
		if f.r.h.archived && f.r.h.tail < next {
			f.close()
			continue
		}
		past := func(e entry) bool { return e.seqnum >= next }
		if begin[key] && since > 0 {
			past = func(e entry) bool { return e.realtime >= from }
		}
		if err := f.r.seek(past); err != nil {
			f.fail(err)
		}
	}
}

// fail gives a file up.
func (f *file) fail(err error) {
	f.err = err
	f.close()
}

// look hands over what is new. An error is the Sink's.
func (w *follower) look(ctx context.Context) error {
	// What is newer than the newest entry of the first look may have older ones
	// before it, in another file, that were not visible when that was looked at.
	limit := map[id]uint64{}
	for range 2 {
		for _, f := range w.files {
			if f.fh == nil {
				continue
			}
			if err := f.r.refresh(); err != nil {
				f.fail(err)
			}
		}
		if len(limit) > 0 {
			break
		}
		for _, f := range w.files {
			if f.fh != nil && f.r.h.entries > 0 {
				limit[f.r.h.seqnums] = max(limit[f.r.h.seqnums], f.r.h.tail)
			}
		}
	}
	for key, last := range limit {
		if err := w.take(ctx, key, last); err != nil {
			return err
		}
	}
	return nil
}

// take hands over the entries of one journal up to the number last.
func (w *follower) take(ctx context.Context, key id, last uint64) error {
	var files []*file
	for _, f := range w.files {
		if f.fh != nil && f.r.h.seqnums == key {
			files = append(files, f)
		}
	}
	name := key.String()
	w.begin(w.next[name])
	for {
		var first *file
		for _, f := range files {
			if w.ready(f) && f.head.seqnum <= last && (first == nil || f.head.seqnum < first.head.seqnum) {
				first = f
			}
		}
		if first == nil {
			break
		}
		if first.head.seqnum >= w.hi { // else it was taken from another file
			w.entry(first)
			w.hi = first.head.seqnum + 1
		}
		first.r.skip()
		first.has = false
		if w.bytes >= batchBytes || w.lines >= batchLines || w.passed.entries >= 10*batchLines {
			if err := w.flush(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if f.fh != nil && f.r.h.archived && !f.more() {
			f.close()
		}
	}
	return w.flush(ctx, name)
}

// ready reports whether f has an entry, which is in f.head.
func (w *follower) ready(f *file) bool {
	if f.fh == nil || f.has {
		return f.has
	}
	e, at, ok, err := f.r.peek()
	if err != nil {
		w.s.stats.Damaged.Add(1)
		f.fail(err)
		return false
	}
	f.head, f.at, f.has = e, at, ok && e.seqnum < 1<<62
	return f.has
}

func (w *follower) begin(from uint64) {
	w.batch = &signal.Batch{Kind: signal.Log}
	clear(w.blocks)
	w.bytes, w.lines, w.passed, w.lo, w.hi = 0, 0, tally{}, from, from
}

// entry makes a line of the entry that f is at, or counts why not.
func (w *follower) entry(f *file) {
	w.passed.entries++
	x := &w.f
	x.reset()
	bad, err := f.r.fields(f.at, func(name []byte) bool { return x.slot(name) != nil }, func(name, value []byte) {
		// Of several values the last counts, but of units: a coredump names the
		// one that crashed besides.
		if slot := x.slot(name); slot != nil {
			*slot = append((*slot)[:0], value...)
		}
	})
	w.s.stats.Damaged.Add(int64(bad))
	if err != nil {
		w.s.stats.Damaged.Add(1)
	}
	o := x.origin()
	level := x.level()
	if !w.s.conf.match(o.unit) || level != signal.LevelUnknown && level > w.s.priority {
		w.passed.filtered++
		return
	}
	body, cut := x.body(int(w.s.conf.MaxLine), &w.s.stats)
	if len(body) == 0 {
		w.passed.empty++
		return
	}
	w.attrs = x.attrs(w.attrs[:0], cut)
	w.block(o).Append(x.time(f.head.realtime), level, body, w.attrs)
	w.bytes += len(body) + len(w.attrs)
	w.lines++
}

// block returns the block of o's stream in the batch.
func (w *follower) block(o origin) *signal.LogBlock {
	st, ok := w.streams[o]
	if !ok {
		if len(w.streams) >= maxStreams {
			clear(w.streams) // it only saves making them anew
		}
		st = o.stream()
		w.streams[o] = st
	}
	i, ok := w.blocks[st]
	if !ok {
		i = len(w.batch.Logs)
		w.blocks[st] = i
		w.batch.Logs = append(w.batch.Logs, signal.LogBlock{Stream: st})
	}
	return &w.batch.Logs[i]
}

// flush hands over the batch. The range of numbers it passed over is dealt out
// to its blocks, so that each line has an identity of its own and the last
// block ends where the journal goes on.
func (w *follower) flush(ctx context.Context, name string) error {
	if w.hi == w.lo {
		return nil
	}
	b, lines, passed := w.batch, int64(w.lines), w.passed
	at := w.hi - uint64(w.lines) // numbers only grow, so there are at least as many as lines
	for i := range b.Logs {
		blk := &b.Logs[i]
		blk.File = filePrefix + name
		blk.Start = int64(at)
		at += uint64(len(blk.Lines))
		blk.End = int64(at)
	}
	hi := w.hi
	w.begin(hi)
	if len(b.Logs) > 0 {
		if err := w.out.Put(ctx, b); err != nil {
			return err
		}
	}
	w.next[name] = hi
	w.moved = true
	st := &w.s.stats
	st.Entries.Add(passed.entries)
	st.Filtered.Add(passed.filtered)
	st.Empty.Add(passed.empty)
	st.Lines.Add(lines)
	return nil
}
