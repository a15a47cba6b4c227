package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// eventMark is a place in the stream of events, as it is written on the lease:
// the resource version, which only the API server understands and may forget,
// and the time of the newest event, by which a whole list is cut then.
type eventMark struct {
	version string
	newest  int64 // Unix milliseconds
}

// String returns "NEWEST VERSION".
func (m eventMark) String() string {
	if m == (eventMark{}) {
		return ""
	}
	return strconv.FormatInt(m.newest, 10) + " " + m.version
}

// parseEventMark reads what String wrote. Anybody may write on a lease: what
// does not fit is no mark.
func parseEventMark(s string) (eventMark, bool) {
	newest, version, ok := strings.Cut(s, " ")
	ms, err := strconv.ParseInt(newest, 10, 64)
	if !ok || err != nil || ms < 0 || ms > 1<<45 || len(version) > 256 || strings.ContainsAny(version, " \n\x00") {
		return eventMark{}, false
	}
	return eventMark{version: version, newest: ms}, true
}

// mostKnown bounds how many events are remembered twice over: a series of them
// is told from a repetition by it.
const mostKnown = 10_000

// eventFile remembers where the stream of events was left, and which ones were
// taken; over a restart, where it was left and the latest thousand.
type eventFile struct {
	path  string
	mark  eventMark
	saved time.Time

	passed string // the place that was forgotten; "" is none

	known, older map[string]int32 // UID to count; when known is full it becomes older
	latest       []knownEvent     // a ring
	head         int
	changed      bool
}

type knownEvent struct {
	UID   string `json:"uid"`
	Count int32  `json:"count"`
}

// keptEvents is what the file holds.
type keptEvents struct {
	Version string       `json:"version"` // of the resource
	Newest  int64        `json:"newest"`
	Latest  []knownEvent `json:"latest"`
}

const mostLatest = 1000

func newEventFile(dir string) *eventFile {
	return &eventFile{path: filepath.Join(dir, "events.json"), known: map[string]int32{}}
}

// load reads the file; one that is not there is as good as an empty one.
func (f *eventFile) load() error {
	p, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var k keptEvents
	if err := json.Unmarshal(p, &k); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	m, ok := parseEventMark(eventMark{version: k.Version, newest: k.Newest}.String())
	if !ok {
		return fmt.Errorf("%s: %q is no place in a stream", f.path, k.Version)
	}
	f.mark = m
	for _, e := range k.Latest {
		f.remember(e.UID, e.Count)
	}
	return nil
}

// save writes the file if it has changed, and a second has passed or now is set.
func (f *eventFile) save(now bool) error {
	if !f.changed || !now && time.Since(f.saved) < time.Second {
		return nil
	}
	f.saved = time.Now()
	latest := append(append([]knownEvent{}, f.latest[f.head:]...), f.latest[:f.head]...)
	p, err := json.Marshal(keptEvents{Version: f.mark.version, Newest: f.mark.newest, Latest: latest})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	// A file that is half written reads as no JSON; the lease has the place too.
	if err := os.WriteFile(f.path+".new", p, 0o600); err != nil {
		return err
	}
	if err := os.Rename(f.path+".new", f.path); err != nil {
		return err
	}
	f.changed = false
	return nil
}

// adopt goes on where another agent stopped.
func (f *eventFile) adopt(m eventMark) { f.mark, f.changed = m, true }

// at moves on to a resource version.
func (f *eventFile) at(version string) { f.mark.version, f.changed = version, true }

// forgetPlace is for a place that the API server knows no more. Which events
// come before it is known all the same: versions can be compared.
func (f *eventFile) forgetPlace() {
	f.passed, f.mark.version, f.changed = f.mark.version, "", true
}

// behind reports whether a version is at or before the place that was
// forgotten, as seen in a list. A list that is older than the place is of an
// etcd that was set back, whose versions mean something else.
func (f *eventFile) behind(version, list string) bool {
	ahead, err := resourceversion.CompareResourceVersion(list, f.passed)
	if err != nil || ahead < 0 {
		return false
	}
	n, err := resourceversion.CompareResourceVersion(version, f.passed)
	return err == nil && n <= 0
}

// knows reports whether this count of an event, or a higher one, was taken.
func (f *eventFile) knows(uid string, count int32) bool {
	n, ok := f.known[uid]
	if !ok {
		n, ok = f.older[uid]
	}
	return ok && n >= count
}

// took remembers an event that the Sink has. One from a clock that is ahead
// must not make those that follow look old.
func (f *eventFile) took(uid string, count int32, t time.Time) {
	f.mark.newest = max(f.mark.newest, min(t.UnixMilli(), time.Now().UnixMilli()))
	f.remember(uid, count)
	f.changed = true
}

func (f *eventFile) remember(uid string, count int32) {
	if len(f.known) >= mostKnown {
		f.known, f.older = map[string]int32{}, f.known
	}
	f.known[uid] = count
	e := knownEvent{uid, count}
	if len(f.latest) < mostLatest {
		f.latest = append(f.latest, e)
		return
	}
	f.latest[f.head] = e
	f.head = (f.head + 1) % mostLatest
}
