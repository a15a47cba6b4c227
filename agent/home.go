package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/agent/spool"
)

// closedBook is what became of the items of a destination that was removed.
type closedBook struct {
	Name  string      `json:"name"`
	Kind  string      `json:"kind"`
	In    int64       `json:"in"`
	Books spool.Books `json:"books"`
	At    time.Time   `json:"at"`
}

const (
	removedFile = "removed.json"
	closedFile  = "closed-books.jsonl"
)

// removed returns since when each cursor has no destination.
func (h home) removed() (map[string]time.Time, error) {
	m := map[string]time.Time{}
	p, err := os.ReadFile(filepath.Join(h.dir, removedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(p, &m); err != nil {
		return map[string]time.Time{}, fmt.Errorf("%s: %w", removedFile, err)
	}
	return m, nil
}

func (h home) setRemoved(m map[string]time.Time) error {
	p, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(h.dir, removedFile), p)
}

// replaceFile puts p where path is, whole or not at all.
func replaceFile(path string, p []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// bury appends to the books of removed destinations.
func (h home) bury(b closedBook) error {
	p, err := json.Marshal(b)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(h.dir, closedFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(append(p, '\n'))
	return errors.Join(err, f.Close())
}

// closedBooks returns the books of the removed destinations, oldest first. A
// line that cannot be read is passed over: a crash may have cut the last one.
func (h home) closedBooks() ([]closedBook, error) {
	p, err := os.ReadFile(filepath.Join(h.dir, closedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var books []closedBook
	for line := range strings.Lines(string(p)) {
		var b closedBook
		if json.Unmarshal([]byte(line), &b) == nil {
			books = append(books, b)
		}
	}
	return books, nil
}

// cgroupMemoryLimit returns the memory limit of the process' cgroup in bytes, v2
// or v1; 0 if there is none.
func cgroupMemoryLimit() (int64, error) {
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		p, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		text := strings.TrimSpace(string(p))
		if text == "max" {
			return 0, nil
		}
		limit, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if limit > 1<<50 { // v1 says "none" with a number close to the largest there is
			return 0, nil
		}
		return limit, nil
	}
	return 0, nil
}

func stack() []byte { return debug.Stack() }
