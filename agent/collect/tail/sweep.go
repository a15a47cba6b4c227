package tail

import (
	"path"
	"time"
)

const (
	sweepEvery = time.Second
	recently   = 10 * time.Second // what changed since then is likely to change again
	calmMany   = 2500             // so many calm files are asked where they end in one sweep: a ms of work. Of more, each has its turn
	turnMany   = 256              // so many folders where nothing changed are asked for their time in one sweep, if they are more than twice as many: a ms of work at most. Each has its turn then
	deafFor    = 10 * time.Minute // so long all files and folders are asked in each sweep, once a change came that no event spoke of
	agesEvery  = 30 * time.Second // so often it is asked which folders were not listed for listEvery
)

// calm is an open file of which nothing matters but whether it grows. Nearly all
// files are, so they stand in a row that a sweep runs along: what an inode that is
// in no cache costs is nearly all of it.
type calm struct {
	fd    uintptr
	size  int64 // it was read up to here
	f     *file
	quick bool // see file
}

// resized reports whether an open file ends elsewhere than at size.
func resized(fd uintptr, quick bool, size int64) bool {
	if quick {
		end, err := endOf(fd)
		return err == nil && end != uint32(size)
	}
	end, err := sizeOf(fd)
	return err == nil && end != size
}

// enqueue gives f a turn in the next pass.
func (t *Tailer) enqueue(f *file) {
	if t.rouse(f); !f.queued {
		f.queued = true
		t.queue = append(t.queue, f)
	}
}

// rouse makes the next sweep look at all of f, since something about it changed.
func (t *Tailer) rouse(f *file) {
	if f.calm > 0 {
		last := len(t.calm) - 1
		t.calm[f.calm-1] = t.calm[last]
		t.calm[f.calm-1].f.calm = f.calm
		t.calm[last] = calm{}
		t.calm, f.calm = t.calm[:last], 0
	}
	if !f.awake {
		f.awake = true
		t.awake = append(t.awake, f)
	}
}

// sweep is done once a second: it enqueues the files that no event speaks of, be
// it because an event was lost.
func (t *Tailer) sweep(now time.Time) {
	if t.find.judge(now) {
		t.log.Warn("a log file grew and no event told of it; all files and folders are asked each second, for ten minutes at least")
	}
	t.find.dirtyPolled()
	t.askCalm(now)
	kept, every := t.awake[:0], 1+len(t.awake)/turnMany
	for i, f := range t.awake {
		if f.recent(now) && (i+int(t.find.asking))%every == 0 {
			t.find.ask(path.Dir(f.path)) // where something is written, files are rotated
		}
		if f.awake = t.attend(f, now); f.awake {
			kept = append(kept, f)
		}
	}
	clear(t.awake[len(kept):])
	t.awake = kept
	t.find.dirtyTouched(now)
	t.archive.sweep(now.Unix())
	if t.opened > t.budget { // many came at once, and nothing was idle then
		t.closeIdle()
	}
}

// askCalm asks calm files where they end. It goes backwards: who is roused leaves
// its place to the last one, which was asked before it.
func (t *Tailer) askCalm(now time.Time) {
	turn := min(calmMany, len(t.calm))
	if t.find.mistrusts(now) {
		turn, t.next = len(t.calm), 0
	}
	for ; turn > 0 && len(t.calm) > 0; turn-- {
		if t.next <= 0 || t.next > len(t.calm) {
			t.next = len(t.calm)
		}
		t.next--
		if c := &t.calm[t.next]; resized(c.fd, c.quick, c.size) {
			t.find.suspect(path.Dir(c.f.path))
			t.enqueue(c.f)
		}
	}
}

// recent reports whether f is likely to grow again.
func (f *file) recent(now time.Time) bool { return f.busy && now.Sub(f.grown) < recently }

// attend enqueues f if it is due. It reports whether f is to be looked at in the
// next sweep, too: until then, only its growth matters, or nothing that a sweep
// could see.
func (t *Tailer) attend(f *file, now time.Time) (again bool) {
	partial, quiet := f.pos.scan > f.pos.off || f.lanes.pending(), now.Sub(f.grown)
	switch {
	case f.ignored, f.bad != nil && f.fh == nil:
		return false
	case f.poll, f.gone, !f.settled, f.err.Load() != nil, f.rotated && f.fh != nil,
		partial && quiet >= partialAfter, f.lanes.overdue(now, t.cfg.MultilineWait):
		t.enqueue(f)
		return true
	case f.queued:
		return true
	case f.fh == nil, t.find.watch == nil: // its folder is listed each second, or every few minutes
		return partial
	case !f.gz && resized(f.fd, f.quick, f.pos.scan):
		if f.pos.enc.width() == 1 { // half a character would be suspected forever
			t.find.suspect(path.Dir(f.path))
		}
		t.enqueue(f)
		return true
	case partial, f.gz, f.recent(now):
		return true
	case f.remote: // to ask may be a request to another machine; events are relied on there, or its folder is listed each second
		return false
	}
	t.calm = append(t.calm, calm{f.fd, f.pos.scan, f, f.quick})
	f.calm = int32(len(t.calm))
	return false
}

// suspect takes note of a change in a folder of which no event came yet. It may
// be under way; judge tells.
func (fd *finder) suspect(folder string) {
	if d := fd.dirs[folder]; d != nil && d.wd >= 0 && !d.dirty && !d.suspect {
		d.heard, d.suspect = false, true
		fd.suspects = append(fd.suspects, d)
	}
}

// judge concludes that events do not come if none came of a change that the sweep
// before saw. It reports whether that is news.
func (fd *finder) judge(now time.Time) (news bool) {
	before := fd.deaf
	for _, d := range fd.suspects {
		if d.suspect = false; !d.heard && d.wd >= 0 {
			fd.deaf = now
		}
	}
	clear(fd.suspects)
	fd.suspects = fd.suspects[:0]
	return fd.deaf != before && now.Sub(before) >= deafFor
}

// mistrusts reports whether events are not relied on, because one did not come.
func (fd *finder) mistrusts(now time.Time) bool { return now.Sub(fd.deaf) < deafFor }

// dirtyPolled marks the folders of which no event tells.
func (fd *finder) dirtyPolled() {
	for d := range fd.unwatched {
		if !d.dirty && !d.absent() {
			fd.mark(d)
		}
	}
}

// dirtyTouched marks the folders that changed, though no event spoke of it:
// events may be lost, and a folder whose parent was renamed has none. Those where
// names changed of late are asked each time, and the first ones that the patterns
// name; the others have their turn.
func (fd *finder) dirtyTouched(now time.Time) {
	kept := fd.lively[:0]
	for _, d := range fd.lively {
		if d.lively = fd.asking-d.changed < uint32(recently/sweepEvery); d.lively {
			kept = append(kept, d)
		}
		fd.touch(d)
	}
	clear(fd.lively[len(kept):])
	fd.lively = kept
	for _, r := range fd.rules {
		fd.ask(r.base)
	}
	turn := len(fd.all)
	if turn > 2*turnMany && !fd.mistrusts(now) {
		turn = turnMany
	}
	for range turn {
		fd.next = (fd.next + 1) % len(fd.all)
		fd.touch(fd.all[fd.next])
	}
	fd.asking++
	if now.Sub(fd.aged) < agesEvery {
		return
	}
	fd.aged = now
	for _, d := range fd.all {
		if !d.dirty && now.Sub(d.listed) >= listEvery {
			fd.mark(d)
		}
	}
}

// ask is touch, if the folder is known.
func (fd *finder) ask(folder string) {
	if d := fd.dirs[folder]; d != nil {
		fd.touch(d)
	}
}

// touch asks d for its time, once in a sweep, and marks it if it changed.
func (fd *finder) touch(d *dir) {
	if d.dirty || d.asked == fd.asking {
		return
	}
	d.asked = fd.asking
	if d.racy || d.touched() {
		fd.mark(d)
	}
}
