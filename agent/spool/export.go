package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Export calls f with every frame in dir that can be read and was appended at
// since or later, oldest first; what is damaged is passed over: Verify names it.
// A frame is valid during the call of f only. An error of f ends Export and is
// returned. It takes no lock and writes nothing, so it is safe beside a running
// agent; what that agent appends or deletes meanwhile, or holds in memory
// because its disk is full, may be missing.
func Export(dir string, since time.Time, f func(seq Seq, frame []byte) error) error {
	return export(disk{}, dir, since, f)
}

func export(fsys FS, dir string, since time.Time, f func(seq Seq, frame []byte) error) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list spool %s: %w", dir, err)
	}
	var firsts []Seq
	for _, e := range entries {
		if first, ok := parseSegName(e.Name); ok {
			firsts = append(firsts, first)
		}
	}
	slices.Sort(firsts)
	var pool chunks
	for i, first := range firsts {
		top := mark{maxTotal, maxTotal}
		if i+1 < len(firsts) {
			top.seq = firsts[i+1]
		}
		if err := exportSegment(fsys, newSegment(dir, first), top, since, &pool, f); err != nil {
			return err
		}
	}
	return nil
}

func exportSegment(fsys FS, g *segment, top mark, since time.Time, pool *chunks, f func(seq Seq, frame []byte) error) error {
	file, err := fsys.Open(g.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the agent has deleted it meanwhile: everybody had it
	}
	if err != nil {
		return fmt.Errorf("read spool segment: %w", err)
	}
	defer file.Close()
	w := newWalker(pool, g.first)
	if w.size, err = file.Size(); err != nil {
		return fmt.Errorf("read spool segment: %w", err)
	}
	w.f, w.max = file, top
	defer w.win.drop()
	for {
		h, is, err := w.header()
		if err != nil {
			is = w.resync()
		}
		switch is {
		case isHole:
			continue
		case isJunk, isTorn, isEnd:
			return nil
		}
		if !timeOf(h.time).Before(since) {
			frame, ok, err := w.body(h)
			if err == nil && ok {
				err = f(h.seq, frame)
				if err != nil {
					return err
				}
			}
		}
		w.pass(h)
	}
}
