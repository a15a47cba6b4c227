package exporters

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Dead is the dead-letter log: what vendors refused for good, with their own
// words. It is a folder with one file per refusal: a line of JSON (Letter), and
// behind it the refused items as one frame. Bury never fails a delivery; what
// it cannot write it counts.
type Dead struct {
	dir string
	max int64 // bytes of all files; the oldest go first

	mu      sync.Mutex
	bytes   int64 // guarded by mu
	last    int64 // number of the newest letter; guarded by mu
	letters []kept
	lost    int64 // letters that could not be written, or were evicted; guarded by mu
}

type kept struct {
	id   string
	size int64
}

// Letter is what is known of one refusal.
type Letter struct {
	ID          string    `json:"id"`
	Time        time.Time `json:"time"`
	Destination string    `json:"destination"`
	Kind        string    `json:"kind"`
	Items       int       `json:"items"`   // in the frame
	Refused     int       `json:"refused"` // more than Items where the vendor did not say which
	Status      int       `json:"status"`
	Words       string    `json:"words"` // the vendor's own, or ours if it never saw the item
}

// MaxDead is the size of the dead-letter log.
const MaxDead = 64 << 20

const deadSuffix = ".dead"

// OpenDead opens the dead-letter log in dir, and makes the folder if need be.
func OpenDead(dir string, maxBytes int64) (*Dead, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("dead-letter log: %w", err)
	}
	d := &Dead{dir: dir, max: maxBytes}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("dead-letter log: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), deadSuffix)
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		d.letters = append(d.letters, kept{id, info.Size()})
		d.bytes += info.Size()
	}
	return d, nil
}

// Bury keeps the items of b, which may be nil, with the vendor's words.
func (d *Dead) Bury(destination string, kind signal.Kind, b *signal.Batch, e *Error) {
	l := Letter{Time: time.Now().UTC(), Destination: destination, Kind: kind.String(), Refused: e.Dropped, Status: e.Status, Words: e.Words}
	if l.Words == "" && e.Err != nil {
		l.Words = e.Err.Error()
	}
	var frame []byte
	if b != nil {
		l.Items = b.Len()
		l.Refused = max(l.Refused, l.Items)
		frame = signal.AppendFrame(nil, b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = max(d.last+1, l.Time.UnixNano()) // distinct, and in order of their names
	l.ID = fmt.Sprintf("%020d", d.last)
	head, err := json.Marshal(l)
	if err != nil {
		panic("BUG: a letter that is no JSON: " + err.Error())
	}
	p := append(append(head, '\n'), frame...)
	d.letters = append(d.letters, kept{l.ID, int64(len(p))})
	d.bytes += int64(len(p))
	for d.bytes > d.max && len(d.letters) > 1 {
		d.removeLocked(0)
		d.lost++
	}
	if err := os.WriteFile(d.path(l.ID), p, 0o640); err != nil {
		d.removeLocked(len(d.letters) - 1)
		d.lost++
	}
}

func (d *Dead) path(id string) string { return filepath.Join(d.dir, id+deadSuffix) }

func (d *Dead) removeLocked(i int) {
	_ = os.Remove(d.path(d.letters[i].id)) // gone already, or gone with the folder
	d.bytes -= d.letters[i].size
	d.letters = slices.Delete(d.letters, i, i+1)
}

// Lost returns how many letters are not kept: evicted by newer ones, or never
// written because the disk would not take them.
func (d *Dead) Lost() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost
}

// Discard removes a letter. An error says that there is none of that id.
func (d *Dead) Discard(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.letters {
		if d.letters[i].id == id {
			d.removeLocked(i)
			return nil
		}
	}
	return fmt.Errorf("dead letter %s: %w", id, fs.ErrNotExist)
}

// ListDead returns the letters in dir, oldest first. It may be called beside a
// running agent. A folder that is not there holds no letters.
func ListDead(dir string) ([]Letter, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("dead-letter log: %w", err)
	}
	var letters []Letter
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), deadSuffix)
		if !ok {
			continue
		}
		l, _, err := ReadDead(dir, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // discarded meanwhile
		}
		if err != nil {
			l = Letter{ID: id, Words: "cannot be read: " + err.Error()}
		}
		letters = append(letters, l)
	}
	slices.SortFunc(letters, func(x, y Letter) int { return cmp.Compare(x.ID, y.ID) })
	return letters, nil
}

// ReadDead returns one letter and its items; nil if the vendor did not say
// which items it refused.
func ReadDead(dir, id string) (Letter, *signal.Batch, error) {
	if id == "" || strings.Trim(id, "0123456789") != "" {
		return Letter{}, nil, fmt.Errorf("dead letter %q: an id is a number, as `causeway dlq ls` shows it", id)
	}
	f, err := os.Open(filepath.Join(dir, id+deadSuffix))
	if err != nil {
		return Letter{}, nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	defer f.Close()
	p, err := io.ReadAll(f)
	if err != nil {
		return Letter{}, nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	head, frame, ok := bytes.Cut(p, []byte("\n"))
	var l Letter
	if err := json.Unmarshal(head, &l); err != nil || !ok {
		return Letter{}, nil, fmt.Errorf("dead letter %s: its first line is no letter", id)
	}
	if len(frame) == 0 {
		return l, nil, nil
	}
	b := &signal.Batch{}
	if err := signal.AppendFromFrame(b, frame); err != nil {
		return l, nil, fmt.Errorf("dead letter %s: %w", id, err)
	}
	return l, b, nil
}

// Replay sends a batch once more, past the queue and its books: a dead letter
// that the vendor may take now. It returns nil if every item was taken, and
// otherwise what the vendor said; it neither waits nor repeats.
func (d *Delivery) Replay(ctx context.Context, b *signal.Batch) error {
	p := &parcel{batch: *b}
	for range b.Len() {
		p.fate = append(p.fate, undecided)
	}
	for lo := 0; lo < b.Len(); {
		req := d.encode(p, Range{lo, b.Len()})
		if req.oversize {
			req.release()
			return fmt.Errorf("item %d is larger than a request may be", lo)
		}
		var err error
		if req.skipped < req.next-lo {
			err = d.Exporter.Send(ctx, req.body)
		}
		req.release()
		if err != nil {
			return err
		}
		lo = req.next
	}
	return nil
}
