package tail

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"
)

// maxTries is how many scans may find the names of a family changing before its
// files are read all the same: a family that never comes to rest is read too.
const maxTries = 16

// place puts the files that a scan found in line behind those of the family that
// are read already, if their order is certain: no name changed during the scan,
// as far as events tell, or the scan before saw the same names.
func (t *Tailer) place(fam *family) bool {
	sure := !slices.ContainsFunc(fam.files, func(f *file) bool {
		d := t.find.dirs[path.Dir(f.path)]
		return !f.gone && (!f.sure || d == nil || d.dirty) // dirty since: a file that was found was not there to be opened
	})
	if fam.tries++; !sure && fam.shaken == t.find.round && fam.tries < maxTries {
		for _, f := range fam.unsure {
			if d := t.find.dirs[path.Dir(f.path)]; d != nil {
				t.find.mark(d)
			}
		}
		return false
	}
	follows := fam.newest != nil
	t.overtake(fam)
	prev := fam.newest
	for _, f := range fam.unsure {
		t.follow(f)
	}
	slices.SortStableFunc(fam.unsure, func(a, b *file) int {
		if a.path == fam.root && b.path == fam.root { // one after another
			return cmp.Compare(a.round, b.round)
		}
		return cmp.Or(cmp.Compare(b2i(a.path == fam.root), b2i(b.path == fam.root)), byName(a, b), cmp.Compare(a.mtime, b.mtime), olderName(a.path, b.path))
	})
	for a := prev; a != nil; a = a.after {
		if !a.placed {
			prev = nil // it was truncated, or waits for one that was, which is among the unsure itself
			break
		}
	}
	for _, f := range fam.unsure {
		f.after, f.asked, f.placed = prev, false, true
		if len(fam.unsure) > 1 {
			f.stirs = 0 // what stirred were copies of it
		}
		if !f.settled {
			f.prev, f.follows = prev, follows || prev != nil
		}
		prev = f
		t.enqueue(f)
	}
	fam.newest, fam.unsure, fam.tries = prev, nil, 0
	return true
}

// overtake takes the file at the family's own path out of the line if files were
// found beside it and nothing was taken of it yet: they are copies of what it held
// in between, and it holds what came after them.
func (t *Tailer) overtake(fam *family) {
	if !slices.ContainsFunc(fam.unsure, func(f *file) bool { return f.rotated && !f.gz }) {
		return
	}
	i := slices.IndexFunc(fam.files, func(f *file) bool { return f.path == fam.root && !f.gone && !f.ignored && f.placed && f.id == "" })
	if i < 0 {
		return
	}
	o := fam.files[i]
	for _, f := range fam.files {
		if f.after == o {
			f.after = o.after
		}
	}
	if fam.newest == o {
		fam.newest = o.after
	}
	t.unplace(o)
}

// unplace takes f out of the line, and with it all of which it is not known yet
// where they go on: they may hold what comes before others that are to be placed.
func (t *Tailer) unplace(f *file) {
	fam := f.family
	for _, g := range fam.files {
		if (g == f || !g.settled) && !g.ignored && g.placed {
			g.placed, g.after = false, nil
			fam.unsure = append(fam.unsure, g)
			t.unsure[fam] = true
			t.enqueue(g)
		}
	}
}

// displace takes f, which was truncated, out of the line: a copy that holds what
// it lost has to be read before it goes on.
func (t *Tailer) displace(f *file) {
	t.unplace(f)
	if d := t.find.dirs[path.Dir(f.path)]; d != nil {
		t.find.mark(d)
	}
	f.family.shaken = t.find.round + 1 // what the last scan saw is no second opinion
}

// stirred reports whether what stood in f before its first bytes, which t.heads
// has, may be in a copy that is to be read before them: in one that no scan has
// seen, or in one that f did not wait for, since it repeated f or was empty.
// A copy is made before what comes after it is written, so a scan that began when
// these bytes were there has seen it, and so has any if no name changed since.
// A file that is written anew again and again, though no copies of it appear, is
// believed in the end.
func (t *Tailer) stirred(f *file) bool {
	d := t.find.dirs[path.Dir(f.path)]
	if f.path != f.family.root || f.stirs >= maxTries || d == nil {
		return false
	}
	if d.wd >= 0 {
		t.find.watch.drain(t.event)
	} else if !d.dirty && d.touched() {
		t.find.mark(d)
	}
	if (!d.dirty || f.glimpse.n > 0 && t.heads.fits(f.glimpse)) && f.stillRepeats() {
		return false
	}
	f.stirs, f.glimpse = f.stirs+1, t.heads.head()
	return true
}

// waits reports whether f may not be read yet, because its place is not known or
// because an older one is to be read first. A file that waits is kept open, so
// that it may be deleted meanwhile, as far as the budget goes.
func (t *Tailer) waits(f *file, now time.Time) bool {
	if f.ignored || f.placed && f.after == nil {
		return false
	}
	closed := f.fh == nil && !f.gone && !f.gz
	full := closed && !t.room()
	if closed && !full {
		_ = t.open(f, now) // its own turn will tell why not
	}
	switch {
	case !f.placed || f.held():
		return true
	case f.after.ignored || f.after.err.Load() != nil || f.fh == nil && !f.gz && !full:
	case !f.asked:
		// The older one was at its end at some time. Only what it holds now that
		// this one has bytes is certainly all that comes first.
		if f.fh != nil {
			if info, err := f.fh.Stat(); err == nil && info.Size() == 0 {
				return false // it still has to wait when it has bytes: see look
			}
		}
		f.asked, f.after.eof, f.after.repeats = true, false, false
		t.enqueue(f.after)
		return true
	}
	f.after = nil
	return false
}

// held reports whether the file before f still has something to be read first.
func (f *file) held() bool {
	a := f.after
	switch {
	case a.ignored || a.err.Load() != nil: // left out, dropped, or not readable: nothing to wait for
		return false
	case !a.settled:
		return !a.repeats
	}
	return !a.eof
}

// byName compares the dates in the names of two rotated files: a runtime that
// compresses a file writes it anew, so its times say little.
func byName(a, b *file) int {
	x, y := rotationSuffix(a.path), rotationSuffix(b.path)
	if len(x) != len(y) || len(x) < 8 {
		return 0
	}
	return strings.Compare(x, y)
}

// rotationSuffix is what a rotation appended to a file's name: the 20261123 of
// app.log-20261123.
func rotationSuffix(p string) string {
	name, _ := uncompressed(path.Base(p))
	if root, ok := rotatedFrom(name); ok {
		return name[len(root)+1:]
	}
	return ""
}

// olderName compares two names of the same rotation, for files that were last
// written in the same tick: of numbers counted up (NAME.1, NAME.2) the higher is
// the older, of dates the lower.
func olderName(a, b string) int {
	a, _ = uncompressed(a)
	b, _ = uncompressed(b)
	if len(path.Base(a)) == len(path.Base(b)) && len(b)-strings.LastIndexAny(b, ".-") > 4 {
		return strings.Compare(a, b)
	}
	return cmp.Or(len(b)-len(a), strings.Compare(b, a))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
