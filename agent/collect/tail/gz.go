package tail

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

const (
	inflateWindow = 512 << 10 // how much of what was inflated is kept: a chunk, and the line that goes on in it
	inflateStep   = 64 << 10
	inflateTurn   = 8 << 20 // so much is passed over in one turn at most
	inflateMany   = 16      // so many files are inflated at a time; each takes a window and the decoder's 44 KiB
)

// errPassing says that a turn was spent on passing over what was read before.
var errPassing = errors.New("passing over what was read before the file was compressed")

// inflater reads a gzip file as if it were not compressed: offsets are those of
// the text. It goes forward; a read before its window begins anew.
type inflater struct {
	fh   *os.File
	zr   *gzip.Reader
	head []byte // the first headBytes of the text
	win  []byte // the text before pos
	pos  int64
	end  error // why there is no more: io.EOF or what is damaged
}

// ReadAt is io.ReaderAt on the text. Behind a damaged place there is nothing;
// damage says what it is.
func (z *inflater) ReadAt(p []byte, off int64) (int, error) {
	for z.pos < headBytes && z.end == nil {
		z.step()
	}
	if to := off + int64(len(p)); to <= int64(len(z.head)) {
		return copy(p, z.head[off:]), nil
	}
	if off < z.pos-int64(len(z.win)) {
		z.zr, z.win, z.pos, z.end = nil, z.win[:0], 0, nil
	}
	for passed := z.pos; z.pos < off+int64(len(p)) && z.end == nil; z.step() {
		if z.pos < off && z.pos-passed > inflateTurn {
			return 0, errPassing
		}
		if over := len(z.win) - inflateWindow; over > 0 && z.pos-int64(len(z.win)) < off {
			over = min(over, int(off-(z.pos-int64(len(z.win)))))
			z.win = slices.Delete(z.win, 0, over)
		}
	}
	if off >= z.pos {
		return 0, io.EOF
	}
	n := copy(p, z.win[len(z.win)-int(z.pos-off):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// step inflates a little more.
func (z *inflater) step() {
	if z.zr == nil {
		zr, err := gzip.NewReader(io.NewSectionReader(z.fh, 0, 1<<62))
		if err != nil {
			z.end = err
			return
		}
		z.zr, z.win, z.pos = zr, z.win[:0], 0
	}
	z.win = slices.Grow(z.win, inflateStep)
	n, err := io.ReadFull(z.zr, z.win[len(z.win):len(z.win)+inflateStep])
	z.win = z.win[:len(z.win)+n]
	if have := len(z.head); have < headBytes && z.pos == int64(have) {
		z.head = append(z.head, z.win[len(z.win)-n:][:min(n, headBytes-have)]...)
	}
	z.pos += int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.ErrUnexpectedEOF) && z.whole():
		z.end = io.EOF // ReadFull's own word for less than a step
	default:
		z.end = err
	}
}

// whole reports whether the decoder came to the end of the file as it should.
func (z *inflater) whole() bool {
	var one [1]byte
	_, err := z.zr.Read(one[:])
	return errors.Is(err, io.EOF)
}

// damage is nil as long as nothing is known to be wrong with the file.
func (z *inflater) damage() error {
	if z.end == nil || errors.Is(z.end, io.EOF) && !errors.Is(z.end, io.ErrUnexpectedEOF) && z.zr != nil {
		return nil
	}
	return z.end
}

// src is what the text of f is read from.
func (f *file) src() io.ReaderAt {
	switch {
	case f.z != nil:
		return f.z
	case f.rule.faulty != nil:
		return f.rule.faulty(f.path, f.fh)
	case f.quick:
		return local(f.fd)
	}
	return f.fh
}

// uncompressed takes the .gz off a name.
func uncompressed(name string) (plain string, gz bool) { return strings.CutSuffix(name, ".gz") }

// settleGz decides where a compressed file goes on: where its text was left
// before it was compressed. What is being read through an open descriptor, was
// read to its end, or is older than what is known, is left alone.
func (t *Tailer) settleGz(f *file) error {
	if t.wasLeft(f) {
		t.leave(f)
		return nil
	}
	if err := t.heads.read(f.z); err != nil {
		return err
	}
	if err := f.z.damage(); err != nil && t.heads.n == 0 {
		return t.damaged(f, err)
	}
	var unread *file
	for _, a := range f.family.files {
		switch {
		case a == f || a.gz || a.fh == nil:
		case a.head.n > 0 && t.heads.fits(a.head):
			t.leave(f)
			return nil
		case a.gone && a.id == "" && t.compressedTo(a, f.fh, f.z):
			unread = a
		}
	}
	if unread != nil { // it was opened and compressed before its turn: the other one's name says when that is
		t.drop(unread, f.found)
	}
	r, err := t.compressedFrom(f)
	f.decode(t.heads.buf[:t.heads.n], t.encodingBefore(f, r))
	switch {
	case err != nil:
		return err
	case r == nil && f.mtime < (t.since-2)*1e9: // it may have come between the last look and the snapshot
		t.leave(f) // from before our time
		return nil
	case r == nil:
		f.family.rotations.Add(1)
		t.stats.Rotations.Add(1)
		return t.stand(f, 0, [2]int64{})
	case r.lanes[0] <= r.off && r.lanes[1] <= r.off && uint32(r.off) == lengthOf(f.fh):
		t.leave(f)
		return nil
	}
	r.used = true
	f.gen, f.id, f.head = r.gen, r.id, r.head
	t.lastGen = max(t.lastGen, r.gen)
	return t.stand(f, r.off, r.lanes)
}

// follow gives f, which was renamed and compressed unseen, and of which nothing was
// read, the name that the compressed one has: that tells its place.
func (t *Tailer) follow(f *file) {
	if !f.gone || f.id != "" || f.fh == nil || f.path != f.family.root {
		return
	}
	for _, g := range f.family.files {
		if !g.gz || g.gone || g.ignored || g.settled {
			continue
		}
		fh, _, err := openFile(g.path, g.key)
		if err != nil {
			continue // its own look will tell
		}
		found := t.compressedTo(f, fh, &inflater{fh: fh})
		fh.Close()
		if found {
			t.mu.Lock()
			f.path, _ = uncompressed(g.path)
			t.mu.Unlock()
			f.rotated = true
			return
		}
	}
}

// compressedTo reports whether fh, whose text is z, is what a was compressed to,
// as far as the length and the beginning tell.
func (t *Tailer) compressedTo(a *file, fh *os.File, z *inflater) bool {
	var h heads
	info, err := a.fh.Stat()
	return err == nil && uint32(info.Size()) == lengthOf(fh) && h.read(a.fh) == nil && t.heads.read(z) == nil && h.head() == t.heads.head()
}

// compressedFrom returns the record of the file that f was made of.
func (t *Tailer) compressedFrom(f *file) (*record, error) {
	var best *record
	for _, r := range t.archive.all {
		if r.used || r.root != f.family.root || r.head.n == 0 || !t.heads.fits(r.head) || best != nil && best.off >= r.off {
			continue
		}
		edge := make([]byte, len(r.edge)) // one more would tell nothing more
		n, err := f.z.ReadAt(edge, r.off-int64(len(edge)))
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if n == len(r.edge) && bytes.Equal(edge, r.edge) {
			best = r
		}
	}
	return best, nil
}

// lengthOf is the length of the text modulo 2^32, as a gzip file's last bytes
// have it (RFC 1952); of a file in several members that of the last.
func lengthOf(fh *os.File) uint32 {
	info, err := fh.Stat()
	var b [4]byte
	if err != nil || info.Size() < 18 {
		return 0
	}
	if _, err := fh.ReadAt(b[:], info.Size()-4); err != nil {
		return 0
	}
	return binary.LittleEndian.Uint32(b[:])
}

// leftID marks the record of a compressed file that holds nothing to be read;
// its lanes are the file's length and time.
const leftID = "left"

// leave takes f for one that holds nothing to be read, for good.
func (t *Tailer) leave(f *file) {
	t.close(f)
	f.ignored, t.changed = true, true
	if !t.wasLeft(f) {
		t.archive.add(record{
			id: leftID, key: f.key, gen: f.gen, lanes: [2]int64{f.size, f.mtime},
			path: f.path, root: f.family.root, seen: f.found.Unix(), retired: true,
		})
	}
}

// wasLeft reports whether f was taken for such a file before.
func (t *Tailer) wasLeft(f *file) bool {
	return slices.ContainsFunc(t.archive.byKey[f.key], func(r *record) bool {
		return r.id == leftID && r.lanes == [2]int64{f.size, f.mtime}
	})
}

// damaged notes that nothing more can be read of f, once.
func (t *Tailer) damaged(f *file, err error) error {
	if t.close(f); f.bad == nil {
		f.bad = fmt.Errorf("inflate %s: %w; what stands behind that place cannot be read", f.path, err)
		t.stats.Damaged.Add(1)
	}
	return f.bad
}
