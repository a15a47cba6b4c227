package tail

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"
)

const (
	grace        = 5 * time.Second  // how long a rotated or deleted file must not have grown before it is let go
	partialAfter = 30 * time.Second // how long the last line of a file that is still there may lack its end
	listEvery    = 5 * time.Minute  // each folder is listed, and the files in it compared, this often though nothing spoke of a change
	copyEvidence = 1 << 10          // so many equal bytes are no accident
)

// rescan brings the set of files up to date with the folders. A name that is
// changed while a folder is being looked at may hide a file, or show one twice;
// so it looks again until nothing changed meanwhile, within reason.
func (t *Tailer) rescan(now time.Time) {
	for range 4 {
		if t.scan(now) {
			break
		}
	}
	for _, r := range t.find.rules {
		t.changed = t.changed || !r.known
		r.known = true
	}
	t.sayRefused()
}

// scan looks at the folders once. It reports whether the order of all files
// that it found is certain.
func (t *Tailer) scan(now time.Time) bool {
	found := t.find.scan(now, func(p string) bool { return t.families[p] != nil || t.archive.byPath[p] != nil })
	if t.find.watch != nil {
		t.find.watch.drain(t.event) // a folder that changed since it was listed is dirty again
	}
	round := t.find.round
	for _, c := range found {
		f := t.files[c.key]
		if f != nil && (f.path != c.path && t.another(f, c, now) || f.gz && !c.gz && f.fh == nil && !f.ignored) {
			t.drop(f, now) // its inode is another file's now
			f = nil
		}
		if f == nil {
			f = t.add(c, now)
		}
		f.round, f.gone, f.poll, f.sure = round, false, c.poll, t.find.quiet(c)
		if c.poll {
			t.rouse(f)
		}
		if f.listed.size != c.size || f.listed.mtime != c.mtime {
			f.listed.size, f.listed.mtime = c.size, c.mtime
			t.enqueue(f)
		}
		if f.path != c.path {
			t.mu.Lock()
			f.path = c.path
			t.mu.Unlock()
			f.rotated, f.family.shaken = c.path != f.family.root, round
			t.enqueue(f)
		}
	}
	for _, f := range t.files {
		if f.round != round && !f.gone {
			f.family.shaken = round
			if f.gone, f.grown = true, now; f.ignored {
				t.drop(f, now)
			} else {
				t.enqueue(f)
			}
		}
	}
	for fam := range t.unsure {
		if t.place(fam) {
			delete(t.unsure, fam)
		}
	}
	return len(t.unsure) == 0
}

// another reports whether the inode of f, which is known by another path, is
// that of another file at c.
func (t *Tailer) another(f *file, c candidate, now time.Time) bool {
	switch {
	case f.ignored && f.gz: // logrotate counts its names up
		return f.size != c.size || f.mtime != c.mtime
	case f.ignored:
		return true
	case f.fh != nil: // which keeps its inode from being used again
		return false
	case f.gz != c.gz:
		return true
	case !f.settled: // nothing is known of what it held; a rotated file does not change, and none shrinks
		return f.family.root != c.root || c.size < f.listed.size ||
			f.rotated && (c.size != f.listed.size || c.mtime != f.listed.mtime)
	}
	return !t.stillIs(f, c, now)
}

// stillIs reports whether the closed file f is what stands at c.
func (t *Tailer) stillIs(f *file, c candidate, now time.Time) bool {
	fh, _, err := openFile(c.path, c.key)
	if err != nil {
		return !errors.Is(err, errMoved)
	}
	defer fh.Close()
	return t.heads.read(fh) != nil || t.heads.fits(f.head) && c.size >= f.pos.off
}

// add takes a file up. Where it goes on is settled at its first look.
func (t *Tailer) add(c candidate, now time.Time) *file {
	f := &file{
		key: c.key, rule: c.rule, path: c.path, poll: c.poll, rotated: c.path != c.root, first: !c.rule.known, busy: c.rule.known,
		size: c.size, mtime: c.mtime, gen: t.newGen(now), grown: now, found: now, join: c.rule.join, gz: c.gz, pos: position{enc: c.rule.enc},
	}
	f.isClosed.Store(true)
	f.caught.Store(now.UnixNano())
	fam := t.families[c.root]
	if fam == nil {
		_, ok := c.rule.labels(c.root)
		f.ignored = !ok
		fam = &family{root: c.root, rule: c.rule}
		if ok {
			t.families[c.root] = fam
		}
	}
	f.family = fam
	fam.files = append(fam.files, f)
	fam.shaken = t.find.round
	t.mu.Lock()
	t.files[f.key] = f
	t.mu.Unlock()
	if c.gz && !c.rule.known && !f.ignored {
		t.leave(f) // compressed before our time
	}
	if f.ignored {
		return f
	}
	if f.sibling = c.sibling; c.rule.known {
		fam.unsure = append(fam.unsure, f)
		t.unsure[fam] = true
	} else { // what was there before us is read from where start says, in no order
		if f.placed = true; !c.sibling && (fam.newest == nil || c.path == c.root) {
			fam.newest = f
		}
	}
	t.enqueue(f)
	if c.rule.known && !c.gz && t.opened < t.budget {
		// At once: it may be deleted before it has its turn, and its inode be another
		// file's then.
		if err := t.open(f, now); errors.Is(err, fs.ErrNotExist) || errors.Is(err, errMoved) {
			t.fail(f, err)
			t.drop(f, now)
		}
	}
	return f
}

// settle decides where a file goes on: where an earlier run stopped, behind
// what was read of its original if it is a copy, or as the rule says. It leaves
// the file unsettled where that cannot be told yet.
func (t *Tailer) settle(f *file, now time.Time) error {
	if f.gz {
		return t.settleGz(f)
	}
	info, err := f.fh.Stat()
	if err != nil {
		return err
	}
	f.size, f.mtime = info.Size(), info.ModTime().UnixNano()
	if err := t.heads.read(f.src()); err != nil { // behind Stat: see the end of copied
		return err
	}
	r := t.recall(f)
	if f.decode(t.heads.buf[:t.heads.n], t.encodingBefore(f, r)); r != nil {
		r.used = true
		f.gen, f.id, f.head = r.gen, r.id, r.head
		t.lastGen = max(t.lastGen, r.gen)
		return t.stand(f, r.off, r.lanes)
	}
	var off int64
	switch {
	case f.first:
		if off, err = t.startOf(f, now); err != nil {
			return err
		}
	default:
		decided := false
		if off, decided, err = t.copied(f, now); err != nil || !decided {
			return err
		}
		if off == 0 && f.follows {
			f.family.rotations.Add(1)
			t.stats.Rotations.Add(1)
		}
	}
	return t.stand(f, off, [2]int64{off, off})
}

// inLanes reports whether lines of f may be pending in memory.
func (f *file) inLanes() bool { return f.rule.form != formPlain || f.join.Active() }

// stand sets f at off.
func (t *Tailer) stand(f *file, off int64, lanes [2]int64) error {
	off = f.pos.enc.aligned(off)
	pos, err := at(f.src(), off)
	if err != nil {
		return err
	}
	pos.enc = f.pos.enc
	f.pos, f.done, f.settled, f.like, f.repeats = pos, pos, true, nil, false
	f.offset.Store(off)
	if f.inLanes() {
		f.lanes = newLanes(f.rule.form, f.join, max(lanes[0], off), max(lanes[1], off), f.prev)
	}
	f.prev = nil
	t.changed = true
	return nil
}

// recall returns the record of an earlier run, or of an earlier sight, that f is
// the file of. t.heads is f's.
func (t *Tailer) recall(f *file) *record {
	var best *record
	try := func(r *record) {
		if r.used || r.id == leftID || !t.heads.fits(r.head) || r.off > f.size || best != nil && best.gen > r.gen {
			return
		}
		if n := len(r.edge); n > 0 {
			var edge [edgeBytes]byte
			if _, err := f.fh.ReadAt(edge[:n], r.off-int64(n)); err != nil && err != io.EOF || !bytes.Equal(edge[:n], r.edge) {
				return
			}
		}
		best = r
	}
	for _, r := range t.archive.byKey[f.key] {
		try(r)
	}
	if best == nil { // numbers of devices change when a machine starts again
		for _, r := range t.archive.byPath[f.path] {
			if r.key.ino == f.key.ino && !r.retired && r.head.n > 0 {
				try(r)
			}
		}
	}
	return best
}

// startOf is where a file goes on that was there when its rule was new.
func (t *Tailer) startOf(f *file, now time.Time) (int64, error) {
	switch {
	case f.path != f.family.root: // rotated before our time
	case f.rule.start.beginning:
		return 0, nil
	case f.rule.start.since > 0 && now.UnixNano()-f.mtime <= int64(f.rule.start.since):
		return 0, nil
	}
	// At the start of the line that is being written, if it can be found.
	enc := f.pos.enc
	size := enc.aligned(f.size)
	buf := t.buf[:min(enc.aligned(int64(len(t.buf))), size)]
	n, err := f.fh.ReadAt(buf, size-int64(len(buf)))
	if err != nil && err != io.EOF {
		return 0, err
	}
	if i := enc.lastNewline(buf[:n]); i >= 0 {
		return size - int64(len(buf)) + int64(i+enc.width()), nil
	}
	if int64(n) == size {
		return 0, nil
	}
	return size, nil
}

// take reads one turn of f into the open batch. It reports whether there is
// more to read at once.
func (t *Tailer) take(f *file, now time.Time) (more bool) {
	if f.ignored {
		return false
	}
	more, err := t.look(f, now)
	if errors.Is(err, errPassing) {
		f.eof = false
		return true
	}
	if err != nil {
		t.fail(f, err)
		f.eof = true
		return false
	}
	f.err.Store(nil)
	return more
}

func (t *Tailer) look(f *file, now time.Time) (more bool, err error) {
	f.eof = true
	if f.fh == nil {
		if f.gone {
			if !f.rotated && f.settled {
				t.stats.Missed.Add(1)
			}
			t.drop(f, now)
			return false, nil
		}
		if f.settled {
			info, err := os.Stat(f.path)
			if err != nil {
				return false, err
			}
			if info.Size() == f.size && info.ModTime().UnixNano() == f.mtime {
				if f.lanes.pending() {
					return false, t.atEnd(f, now)
				}
				return false, f.bad
			}
		}
		if f.gz && t.inflating >= inflateMany {
			return false, nil // its turn comes: the sweep asks again
		}
		if err := t.open(f, now); err != nil {
			return false, err
		}
	}
	if !f.settled {
		if !t.advise(f, now) || f.ignored {
			return false, nil
		}
		if err := t.settle(f, now); err != nil {
			return false, err
		}
		if f.ignored {
			return false, nil
		}
		if !f.settled {
			if f.gone && now.Sub(f.grown) >= grace {
				t.drop(f, now)
			}
			return false, nil
		}
	}
	known := f.id != ""
	if err := t.identify(f); err != nil {
		return false, err
	}
	switch {
	case f.id == "":
		return false, t.atEnd(f, now)
	case !known && f.pos.next() == 0 && t.stirred(f):
		f.id, f.head = "", head{}
		t.displace(f)
		return true, nil
	case f.after != nil: // its first bytes came since it was asked whether it has to wait
		return true, nil
	}
	if err := f.sniff(); err != nil {
		return false, err
	}
	o, err := t.turn(f, now)
	if err != nil {
		return false, err
	}
	same := true
	if !o.replaced && o.grown {
		if same, err = t.grow(f); err != nil {
			return false, err
		}
	}
	if o.replaced || !same {
		t.replaced(f, now)
		return true, nil
	}
	if o.grown || o.more {
		f.grown, f.busy = now, f.busy || f.ended
	}
	f.eof = !o.more
	if f.eof {
		return false, t.atEnd(f, now)
	}
	return true, nil
}

// endGz lets go of a compressed file that was read to its end: it never grows.
func (t *Tailer) endGz(f *file) error {
	err := f.z.damage()
	t.close(f)
	if err != nil {
		return t.damaged(f, err)
	}
	return nil
}

// turn gives one chunk of f to the open batch.
func (t *Tailer) turn(f *file, now time.Time) (outcome, error) {
	out, src := t.taker(f, now), f.src()
	if f.z == nil {
		t.reading.ReaderAt, t.reading.head = src, f.head
		src = &t.reading
	}
	o, err := turn(src, &f.pos, t.buf[:f.pos.edgeN+t.chunk], t.recoding(f, out), t.cfg.maxLine(), max(1, batchLines-t.batchLines), &t.sum)
	if errors.Is(err, errReplaced) {
		return outcome{replaced: true}, nil
	}
	t.put(f, out)
	return o, err
}

// atEnd is what is to be done with a file that was read to its end.
func (t *Tailer) atEnd(f *file, now time.Time) error {
	f.caught.Store(now.UnixNano())
	f.ended = true
	quiet := now.Sub(f.grown)
	parted := f.gone || f.rotated
	if f.pos.scan > f.pos.off && (parted && quiet >= grace || quiet >= partialAfter || f.z != nil) {
		out := t.taker(f, now)
		err := rest(f.src(), &f.pos, t.recoding(f, out), t.cfg.maxLine(), &t.sum)
		t.put(f, out)
		if err != nil {
			return err
		}
	}
	if f.lanes != nil {
		t.flushLanes(f, now, parted && quiet >= grace || quiet >= partialAfter)
	}
	switch {
	case f.z != nil:
		return t.endGz(f)
	case quiet < grace || !parted:
	case f.gone:
		t.leaving = append(t.leaving, f) // not before its lines are in the spool
	default:
		t.close(f)
	}
	return nil
}

// replaced begins a new generation: the file was truncated or written anew.
func (t *Tailer) replaced(f *file, now time.Time) {
	if f.lanes != nil {
		t.flushLanes(f, now, true)
	}
	t.retire(f, now)
	if n := f.pos.scan - f.pos.off; n > 0 {
		t.stats.Vanished.Add(n)
		f.family.lost.Add(1)
	}
	t.stats.Truncations.Add(1)
	f.family.truncations.Add(1)
	f.gen, f.id, f.head, f.stirs, f.glimpse = t.newGen(now), "", head{}, 0, head{}
	f.was = f.pos.enc
	f.pos = position{hole: true, enc: f.rule.enc}
	f.done = f.pos
	if f.inLanes() {
		f.lanes = newLanes(f.rule.form, f.join, 0, 0, nil)
	}
	f.grown = now
	f.offset.Store(0)
	t.changed = true
	t.displace(f)
}

// retire keeps what is known of f's generation, for the copy that may appear of
// it, and for the case that its folder comes back.
func (t *Tailer) retire(f *file, now time.Time) {
	if f.settled && f.id != "" {
		r := recordOf(f, &f.pos, now, true)
		r.edge = slices.Clone(r.edge)
		t.archive.add(r)
	}
}

// drop forgets f, as a file that is gone.
func (t *Tailer) drop(f *file, now time.Time) {
	t.retire(f, now)
	t.close(f)
	t.mu.Lock()
	delete(t.files, f.key)
	t.mu.Unlock()
	if f.family.newest == f {
		f.family.newest = nil
	}
	is := func(g *file) bool { return g == f }
	f.family.unsure = slices.DeleteFunc(f.family.unsure, is)
	if f.family.files = slices.DeleteFunc(f.family.files, is); len(f.family.files) == 0 {
		delete(t.families, f.family.root)
	}
	f.eof, f.settled, f.ignored, f.lanes, f.prev, f.after = true, false, true, nil, nil, nil
	t.changed = true
}

// recordOf is what is to be kept of f, read up to pos; its edge is that of pos.
func recordOf(f *file, pos *position, now time.Time, retired bool) record {
	r := record{
		id: f.id, key: f.key, gen: f.gen, head: f.head, off: pos.off, lanes: [2]int64{pos.off, pos.off},
		path: f.path, root: f.family.root, seen: now.Unix(), retired: retired,
	}
	if r.enc = cmp.Or(pos.enc, f.was); !r.enc.recoded() {
		r.enc = encAuto
	}
	if pos.next() == pos.off {
		r.edge = pos.edge[:pos.edgeN]
	}
	if f.lanes != nil {
		r.lanes = f.lanes.committed(pos.off)
		if low := min(r.lanes[0], r.lanes[1]); low < r.off {
			r.off, r.edge = low, nil
		}
	}
	return r
}

// fail notes that f cannot be read now, and says so once.
func (t *Tailer) fail(f *file, err error) {
	text := remedied(err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errMoved) {
		if d := t.find.dirs[path.Dir(f.path)]; d != nil {
			t.find.mark(d) // the next scan knows what became of it
		}
		return
	}
	t.stats.Failures.Add(1)
	if old := f.err.Load(); old == nil || *old != text {
		t.log.Warn("cannot read a log file; trying again every second", "path", f.path, "err", err)
		f.err.Store(&text)
	}
}
