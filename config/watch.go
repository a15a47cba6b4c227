package config

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	pollEvery = 10 * time.Second       // where the kernel tells nothing: network file systems, exhausted inotify
	settle    = 250 * time.Millisecond // of quiet before the files are looked at: editors write in several steps
)

// Watch calls changed whenever the content of one of the files has changed, until
// ctx ends: the file itself, or what a symlink on the way to it leads to, as
// when a ConfigMap's ..data is swapped. A touch without a change is none; a
// file that appears or vanishes is one. paths is asked anew before each look,
// so a reload may change it; the list that changed with it is taken as it
// stands. What was changed before the call is not told.
//
// changed is called from Watch's own goroutine, one call at a time.
func Watch(ctx context.Context, paths func() []string, changed func()) {
	last := digests(paths())
	nudges := make(chan struct{}, 1)
	var dirs func([]string)
	if w, err := fsnotify.NewWatcher(); err == nil { // else the poll alone has to do
		var forwarding sync.WaitGroup
		defer forwarding.Wait()
		defer w.Close() // ends forward, before it is waited for
		watched := map[string]bool{}
		dirs = func(files []string) { follow(w, watched, files) }
		dirs(paths())
		nudges <- struct{}{} // for what changed before the folders were watched
		forwarding.Go(func() { passOn(w, nudges) })
	}
	watch(ctx, nudges, last, func() map[string]digest {
		files := paths()
		if dirs != nil {
			dirs(files)
		}
		return digests(files)
	}, changed)
}

// watch is Watch without the disk: look reads the files, a nudge says that it
// may be worth while.
func watch(ctx context.Context, nudges <-chan struct{}, last map[string]digest, look func() map[string]digest, changed func()) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-nudges:
			quiet = time.After(settle) // each further nudge begins the wait anew
			continue
		case <-poll.C:
		case <-quiet:
		}
		quiet = nil
		now := look()
		if differ(last, now) {
			changed()
			// What changed did may have changed the list; contents are compared
			// with those seen before it, so that nothing written meanwhile is missed.
			for path, d := range look() {
				if _, seen := now[path]; !seen {
					now[path] = d
				}
			}
		}
		last = now
	}
}

// differ tells whether a file of both lists has another content.
func differ(last, now map[string]digest) bool {
	for path, d := range now {
		if before, seen := last[path]; seen && before != d {
			return true
		}
	}
	return false
}

// digest stands for a file's content. The zero digest is a file that cannot be read.
type digest [sha256.Size]byte

// digests reads the files.
func digests(files []string) map[string]digest {
	all := make(map[string]digest, len(files))
	for _, path := range files {
		all[path] = digestOf(path)
	}
	return all
}

// digestOf reads one file. Only regular files are read: a pipe would be emptied,
// or block.
func digestOf(path string) (d digest) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return d
	}
	f, err := os.Open(path)
	if err != nil {
		return d
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, maxFile+1)); err != nil {
		return d
	}
	h.Sum(d[:0])
	return d
}

// follow watches the folders of the files, and those their symlinks lead to, and
// no others. Folders, because files are replaced by renaming.
func follow(w *fsnotify.Watcher, watched map[string]bool, files []string) {
	wanted := map[string]bool{}
	for _, path := range files {
		wanted[filepath.Dir(path)] = true
		if real, err := filepath.EvalSymlinks(path); err == nil {
			wanted[filepath.Dir(real)] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(wanted)) {
		// Added again each time: a folder that was replaced is another one now.
		if w.Add(dir) == nil {
			watched[dir] = true
		}
	}
	for dir := range watched {
		if !wanted[dir] {
			_ = w.Remove(dir) // it may be gone already
			delete(watched, dir)
		}
	}
}

// passOn makes a nudge of whatever the kernel tells, errors included: an
// overflow means that something happened.
func passOn(w *fsnotify.Watcher, nudges chan<- struct{}) {
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if e.Op == fsnotify.Chmod {
				continue
			}
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
		}
		select {
		case nudges <- struct{}{}:
		default: // one is waiting
		}
	}
}
