package tail

import (
	"bytes"
	"cmp"
	"io"
	"path"
	"strings"
	"time"
)

// copied tells whether f is a copy of a file that was read, as copytruncate makes
// it, and if so how much of it was read there. decided is false as long as the
// copy may be under way. t.heads is f's.
func (t *Tailer) copied(f *file, now time.Time) (off int64, decided bool, err error) {
	f.repeats = f.size == 0
	if r := t.original(f, now); r != nil {
		f.decode(t.heads.buf[:t.heads.n], r.enc)
		if f.size >= r.off {
			return r.off, true, nil
		}
		// Shorter than what was read of the original: the copy is under way, and
		// the rest of it would be read again. Or else it stays so.
		if f.size != f.alike {
			f.alike, f.grown = f.size, now
		}
		return f.size, now.Sub(f.grown) >= grace, nil
	}
	for _, a := range t.files {
		if a == f || a.fh == nil || a.ignored || f.path == a.family.root || !relatedNames(f.path, a.path) {
			continue
		}
		if !a.settled && (a.path != a.family.root || f.mtime < a.mtime) {
			continue
		}
		same, err := alike(f, a)
		if err != nil {
			return 0, false, err
		}
		if !same {
			continue
		}
		if f.like == nil || f.size != f.alike {
			f.like, f.alike, f.grown = a, f.size, now
		}
		if f.like == a {
			f.likeID = a.id
		}
		if f.size >= copyEvidence || now.Sub(f.grown) < grace {
			f.repeats = f.repeats || f.size >= copyEvidence
			return 0, false, nil
		}
	}
	// The original is truncated when the copy is whole: one that grew meanwhile
	// was compared with what came after.
	if info, err := f.fh.Stat(); err != nil || info.Size() != f.size {
		return 0, false, err
	}
	if f.like != nil && f.alike >= copyEvidence && f.likeID != "" && f.like.id == f.likeID { // it was a copy, and went its own way
		return f.alike, true, nil
	}
	return 0, true, nil // or its original was truncated since, and nothing had been read of it
}

// stillRepeats reports whether the copies that f did not wait for are as they
// were then: empty, or equal to f.
func (f *file) stillRepeats() bool {
	for _, g := range f.family.files {
		if g == f || g.settled || !g.repeats {
			continue
		}
		info, err := g.fh.Stat()
		if err != nil || info.Size() != g.size {
			return false
		}
		if g.size == 0 || g.like != f {
			continue
		}
		if same, err := alike(g, f); err != nil || !same {
			return false
		}
	}
	return true
}

// replacedUnseen returns the records of f's likely originals that were truncated
// since they were looked at.
func (t *Tailer) replacedUnseen(f *file, now time.Time) (recs []*record) {
	var h heads
	for _, a := range t.files {
		if a == f || a.fh == nil || a.gz || !a.settled || a.ignored || a.id == "" || f.path == a.family.root || !relatedNames(f.path, a.path) {
			continue
		}
		var edge [edgeBytes]byte
		p := &a.pos
		n, err := a.fh.ReadAt(edge[:p.edgeN], p.next()-int64(p.edgeN))
		if err != nil && err != io.EOF || h.read(a.fh) != nil {
			continue // its own look will tell
		}
		if !h.fits(a.head) || !bytes.Equal(edge[:n], p.edge[:p.edgeN]) {
			r := recordOf(a, &a.pos, now, true) // read before a's next turn
			recs = append(recs, &r)
		}
	}
	return recs
}

// original returns the record of what f is a copy of.
func (t *Tailer) original(f *file, now time.Time) *record {
	var best *record
	dir := path.Dir(f.path)
	for _, r := range append(t.replacedUnseen(f, now), t.archive.all...) {
		if r.used || r.head.n == 0 || path.Dir(r.path) != dir || f.path == r.root || !relatedNames(f.path, r.path) {
			continue
		}
		h := r.head
		if f.size < int64(h.n) { // its last lines were written between the copy and the truncation: what was known at first must do
			id, _, _ := parseIdentity(r.id)
			h = id.head
		}
		if h.n == 0 || !t.heads.fits(h) {
			continue
		}
		switch {
		case r.off > f.size && h.n < copyEvidence/4:
			continue // too little to go by
		case r.off <= f.size && len(r.edge) > 0:
			var edge [edgeBytes]byte
			n := len(r.edge)
			if _, err := f.fh.ReadAt(edge[:n], r.off-int64(n)); err != nil && err != io.EOF || !bytes.Equal(edge[:n], r.edge) {
				continue
			}
		}
		if best == nil || r.off > best.off {
			best = r
		}
	}
	return best
}

// relatedNames reports whether p may be what someone calls a copy of orig: in
// the same folder, under another name with the original's stem in it.
func relatedNames(p, orig string) bool {
	base := path.Base(orig)
	stem := strings.TrimSuffix(base, path.Ext(base))
	return p != orig && path.Dir(p) == path.Dir(orig) && strings.Contains(path.Base(p), cmp.Or(stem, base))
}

// alike reports whether the file f is, as far as it goes, the same as a. One
// that is longer is not.
func alike(f, a *file) (bool, error) {
	info, err := a.fh.Stat()
	if err != nil || info.Size() < f.size {
		return false, err
	}
	var p, q [headBytes]byte
	for _, from := range [...]int64{0, max(0, f.size-headBytes)} {
		n, err := f.fh.ReadAt(p[:min(headBytes, f.size-from)], from)
		if err != nil && err != io.EOF {
			return false, err
		}
		m, err := a.fh.ReadAt(q[:n], from)
		if err != nil && err != io.EOF {
			return false, err
		}
		if !bytes.Equal(p[:n], q[:m]) {
			return false, nil
		}
	}
	return true, nil
}
