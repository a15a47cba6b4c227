package tail

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// FileStatus is what status shows of one file.
type FileStatus struct {
	Path        string `json:"path"`
	Stream      string `json:"stream"` // the path its lines are labelled with, which is another one after a rotation
	Size        int64  `json:"size"`   // -1 if there is no file at Path now
	Offset      int64  `json:"offset"`
	Behind      int64  `json:"behind"` // bytes not read yet
	Rotations   int64  `json:"rotations"`
	Truncations int64  `json:"truncations"`
	Lines       int64  `json:"lines"`      // of the stream, since the agent started
	LinesLost   int64  `json:"lines_lost"` // of the stream: unfinished ones that a truncation took away
	Open        bool   `json:"open"`
	Skipped     bool   `json:"skipped,omitempty"` // its pod asks not to be read
	Err         string `json:"error,omitempty"`   // of the last look

	// What is Behind came after this moment; zero if there is none.
	UnreadSince time.Time `json:"unread_since,omitzero"`
}

// Refusal is a path that a pattern names and that is not read.
type Refusal struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// Stats returns the counters; they may be read while Run is at work.
func (t *Tailer) Stats() *Stats { return &t.stats }

// Files returns the state of every file, by path. It asks the file system for
// their sizes, so a file system that hangs keeps the caller, and nobody else.
func (t *Tailer) Files() []FileStatus {
	idle := t.idle.Load()
	t.mu.Lock()
	list := make([]FileStatus, 0, len(t.files))
	for _, f := range t.files {
		if f.ignored && !f.skipped {
			continue
		}
		s := FileStatus{
			Path: f.path, Stream: f.family.root, Offset: f.offset.Load(), Open: !f.isClosed.Load(),
			Rotations: f.family.rotations.Load(), Truncations: f.family.truncations.Load(), Lines: f.family.taken.Load(), Skipped: f.skipped,
			LinesLost: f.family.lost.Load(),
		}
		caught := max(f.caught.Load(), idle) // an idle file is not looked at
		if err := f.err.Load(); err != nil {
			s.Err, caught = *err, f.caught.Load()
		}
		s.UnreadSince = time.Unix(0, caught)
		list = append(list, s)
	}
	t.mu.Unlock()
	for i := range list {
		s := &list[i]
		if info, err := os.Stat(s.Path); err == nil {
			s.Size = info.Size()
			if !s.Skipped {
				s.Behind = max(0, s.Size-s.Offset)
			}
		} else {
			s.Size = -1
		}
		if s.Behind == 0 {
			s.UnreadSince = time.Time{}
		}
	}
	slices.SortFunc(list, func(a, b FileStatus) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Offset, b.Offset))
	})
	return list
}

// Refused returns what a pattern names and is not read, and why.
func (t *Tailer) Refused() []Refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Refusal, 0, len(t.refused))
	for p, why := range t.refused {
		list = append(list, Refusal{p, why})
	}
	slices.SortFunc(list, func(a, b Refusal) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// remedied is an error in words, with what to do about it.
func remedied(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return err.Error() + "; let the agent's user read it and enter its folders (a group, setfacl -R -m u:USER:rX), run the agent as root, or name it in exclude"
	}
	return err.Error()
}

// Trouble returns what troubles the tailer as a whole: a snapshot that was
// damaged or cannot be written, folders that cannot be watched.
func (t *Tailer) Trouble() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.trouble[:]), func(s string) bool { return s == "" })
}

// setTrouble notes the text of one cause, "" if it is over, and logs a change.
func (t *Tailer) setTrouble(cause int, text string) {
	t.mu.Lock()
	old := t.trouble[cause]
	t.trouble[cause] = text
	t.mu.Unlock()
	switch {
	case old == text:
	case text == "":
		t.log.Info("log tailing is in order again", "was", old)
	case old == "":
		t.log.Warn("trouble with log tailing", "err", text)
	}
}

// sayRefused publishes what the last scan refused, and logs what is new in it.
func (t *Tailer) sayRefused() {
	for p, why := range t.find.refused {
		if t.refused[p] != why {
			t.log.Warn("a log path is not read", "path", p, "why", why)
		}
	}
	t.mu.Lock()
	t.refused = t.find.refused
	t.mu.Unlock()
	if t.find.noWatch != nil {
		t.setTrouble(troubleWatch, t.find.noWatch.Error())
	}
}
