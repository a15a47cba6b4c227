package journald

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// journal returns a file that systemd-journal-remote wrote; testdata/README.md
// says what is in it.
func journal(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".journal.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	p, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// upTo makes p the file as it was when it had n entries.
func upTo(p []byte, n uint64) []byte {
	p = bytes.Clone(p)
	binary.LittleEndian.PutUint64(p[152:], n)
	binary.LittleEndian.PutUint64(p[160:], n)
	p[16] = 1 // online
	return p
}

// spool is a Sink and the Memory of what it took.
type spool struct {
	batches []*signal.Batch
	err     error
}

func (s *spool) Put(_ context.Context, b *signal.Batch) error {
	if s.err != nil {
		return s.err
	}
	s.batches = append(s.batches, b)
	return nil
}

func (s *spool) Newest() uint64 { return uint64(len(s.batches)) }
func (s *spool) Sync() error    { return nil }

func (s *spool) Replay(after uint64, f func(*signal.Batch)) error {
	for _, b := range s.batches[after:] {
		f(b)
	}
	return nil
}

// texts returns the first words of all lines in the order of their time, and
// complains of identities that come twice.
func (s *spool) texts(t *testing.T) []string {
	t.Helper()
	type line struct {
		time int64
		text string
	}
	var all []line
	ids := map[string]bool{}
	for _, b := range s.batches {
		for l := range b.LinesIn(0, b.Len()) {
			id := fmt.Sprint(l.Block.File, l.ID)
			if ids[id] || l.ID < l.Block.Start || l.ID >= l.Block.End {
				t.Errorf("identity %s of %q", id, l.Text)
			}
			ids[id] = true
			f := strings.Fields(string(l.Text))
			all = append(all, line{l.Time, f[1]})
		}
	}
	if !slices.IsSortedFunc(all, func(a, b line) int { return int(a.time - b.time) }) {
		slices.SortStableFunc(all, func(a, b line) int { return int(a.time - b.time) }) // blocks are per unit
	}
	var list []string
	for _, l := range all {
		list = append(list, l.text)
	}
	return list
}

func numbers(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// world is a folder of journals and what follows it.
type world struct {
	t     *testing.T
	conf  Config
	state string
	spool *spool
	src   *Source
	f     *follower
}

func newWorld(t *testing.T) *world {
	c := Default()
	c.Enabled, c.Path, c.Since = "true", t.TempDir(), "beginning"
	return &world{t: t, conf: c, state: t.TempDir(), spool: &spool{}}
}

func (w *world) write(name string, p []byte) {
	w.t.Helper()
	path := filepath.Join(w.conf.Path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600) // in place, as journald writes
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(p, 0); err != nil {
		w.t.Fatal(err)
	}
}

// start begins a life; the one before ended with a kill.
func (w *world) start() {
	w.t.Helper()
	if err := w.conf.Check(); err != nil {
		w.t.Fatal(err)
	}
	if w.f != nil {
		w.f.closeAll()
	}
	w.src = New(w.conf, w.spool, w.state, slog.New(slog.DiscardHandler))
	c, _, err := load(w.state, w.spool)
	if err != nil {
		w.t.Fatal(err)
	}
	w.f = newFollower(w.src, c.Next, w.spool)
	w.t.Cleanup(w.f.closeAll)
}

// step looks once at everything.
func (w *world) step() error {
	w.f.list(time.Unix(1_795_000_100, 0))
	return w.f.look(w.t.Context())
}

func (w *world) mustStep() {
	w.t.Helper()
	if err := w.step(); err != nil {
		w.t.Fatal(err)
	}
	st := w.src.Stats()
	if st.Entries.Load() != st.Lines.Load()+st.Filtered.Load()+st.Empty.Load() {
		w.t.Errorf("the books do not balance: %d entries, %d lines, %d filtered, %d empty", st.Entries.Load(), st.Lines.Load(), st.Filtered.Load(), st.Empty.Load())
	}
}

func (w *world) want(list []string) {
	w.t.Helper()
	if got := w.spool.texts(w.t); !slices.Equal(got, list) {
		w.t.Errorf("got %v\nwant %v", got, list)
	}
}

func TestEntriesOfBothForms(t *testing.T) {
	for _, name := range []string{"regular", "compact"} {
		w := newWorld(t)
		w.write("abc/system.journal", journal(t, name))
		w.start()
		w.mustStep()
		w.want(numbers(1, 100))
		lines := map[string]string{}
		for _, b := range w.spool.batches {
			for l := range b.LinesIn(0, b.Len()) {
				key := strings.Fields(string(l.Text))[1]
				lines[key] = fmt.Sprintf("%s @%d %d %q %s", text(l.Block.Stream.Labels()), l.Time, l.Level, l.Text, text(string(l.Attrs)))
			}
		}
		f := func(key, want string) {
			t.Helper()
			if lines[key] != want {
				t.Errorf("%s: got\n%s\nwant\n%s", name, lines[key], want)
			}
		}
		cron := "log.source=cron service.name=cron systemd.unit=cron.service"
		f("1", cron+` @1795000000000995000 1 "message 1" process.pid=101 syslog.facility=daemon`)
		f("7", cron+` @1795000000006995000 7 "message 7\nof two lines" process.pid=101 syslog.facility=daemon`)
		f("8", `log.source=kubelet service.name=kubelet systemd.unit=kubelet.service `+
			`@1795000000007995000 0 "message 8 `+"\uFFFD"+`" process.pid=102 syslog.facility=daemon`)
		f("9", `container.id=`+strings.Repeat("ab", 32)+` container.image.name=nginx:1 container.name=web log.source=ssh service.name=web systemd.unit=ssh.service `+
			`@1795000000008995000 1 "message 9" code.file.path=a.c code.line.number=7 process.pid=100 syslog.facility=daemon`)
		f("10", cron+` @1795000000009995000 2 "message 10 `+strings.Repeat("long ", 300)+`" process.pid=101 syslog.facility=daemon`)
		if n := w.src.Stats().Damaged.Load(); n != 0 {
			t.Errorf("%s: %d damaged", name, n)
		}
	}
}

func text(set string) string {
	var w []string
	for k, v := range signal.Walk(set) {
		w = append(w, k+"="+v)
	}
	return strings.Join(w, " ")
}

func TestAFileThatGrowsAndIsRotated(t *testing.T) {
	p := journal(t, "compact")
	w := newWorld(t)
	w.write("system.journal", upTo(p, 0))
	w.start()
	for n := range uint64(50) {
		w.write("system.journal", upTo(p, n))
		w.mustStep()
	}
	w.want(numbers(1, 49))
	if err := os.Rename(filepath.Join(w.conf.Path, "system.journal"), filepath.Join(w.conf.Path, "system@1-2-3.journal")); err != nil {
		t.Fatal(err)
	}
	w.write("system@1-2-3.journal", upTo(p, 60)) // what was written before it was archived
	w.write("system.journal", p)                 // goes on in a file of its own
	w.mustStep()
	w.want(numbers(1, 100))
}

func TestWhatIsDeletedIsReadToItsEnd(t *testing.T) {
	p := journal(t, "regular")
	w := newWorld(t)
	w.write("a.journal", upTo(p, 10))
	w.start()
	w.mustStep()
	w.write("a.journal", p)
	if err := os.Remove(filepath.Join(w.conf.Path, "a.journal")); err != nil {
		t.Fatal(err)
	}
	if err := w.f.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mustStep()
	w.want(numbers(1, 100))
	w.mustStep()
	if len(w.f.files) != 0 {
		t.Errorf("%d files are still followed", len(w.f.files))
	}
}

func TestFilesOfOneJournalAreMerged(t *testing.T) {
	p := journal(t, "regular")
	w := newWorld(t)
	w.write("system.journal", upTo(p, 40))
	w.write("user-1000.journal", upTo(p, 60)) // the same numbers, as if it had been copied
	w.start()
	w.mustStep()
	w.want(numbers(1, 60))
}

// renumber gives the entries of p the numbers first, first+2, first+4, …
func renumber(t *testing.T, p []byte, first uint64) []byte {
	t.Helper()
	p = bytes.Clone(p)
	r, err := openReader(bytes.NewReader(p), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for n := first; ; n += 2 {
		_, at, ok, err := r.peek()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return p
		}
		binary.LittleEndian.PutUint64(p[at+16:], n)
		r.skip()
	}
}

// growing is a file whose header says another number of entries each time.
type growing struct {
	p     []byte
	first uint64
	sizes []uint64
}

func (g *growing) ReadAt(dst []byte, at int64) (int, error) {
	if at == 0 && len(dst) == headerSize {
		n := g.sizes[0]
		if len(g.sizes) > 1 {
			g.sizes = g.sizes[1:]
		}
		g.p = upTo(g.p, n)
		binary.LittleEndian.PutUint64(g.p[160:], g.first+2*(n-1))
	}
	return bytes.NewReader(g.p).ReadAt(dst, at)
}

// journald writes an entry to one file and the next to another. Whoever looks at
// the first before and at the second after sees the newer of them alone.
func TestNoEntryIsPassedOverWhileFilesGrow(t *testing.T) {
	p := journal(t, "regular")
	odd, even := renumber(t, p, 1), renumber(t, p, 2)
	w := newWorld(t)
	w.write("user.journal", odd)
	w.write("system.journal", even)
	w.start()
	w.f.list(time.Now())
	for _, f := range w.f.files {
		if filepath.Base(f.path) == "user.journal" {
			f.r.r = &growing{odd, 1, []uint64{49, 50, 51}}
		} else {
			f.r.r = &growing{even, 2, []uint64{50, 51, 51}}
		}
	}
	if err := w.f.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(w.spool.texts(t)); got != 100 {
		t.Errorf("%d lines, want the 100 up to the newest of the first look", got)
	}
	if err := w.f.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(w.spool.texts(t)); got != 102 {
		t.Errorf("%d lines, want 102", got)
	}
}

func TestAKillLosesAndRepeatsNothing(t *testing.T) {
	p := journal(t, "compact")
	w := newWorld(t)
	for n := uint64(1); n <= 100; n++ {
		w.write("system.journal", upTo(p, n))
		if n%3 == 0 {
			w.start() // with what the spool knows, and the snapshot
		} else if w.f == nil {
			w.start()
		}
		if n%7 == 0 {
			w.spool.err = errors.New("closed")
			if w.step() == nil {
				t.Fatal("a Put that failed was taken for done")
			}
			w.spool.err = nil
			w.start()
		}
		w.mustStep()
		if n%10 == 0 {
			w.src.save(w.f)
		}
	}
	w.want(numbers(1, 100))
}

func TestASnapshotIsEnoughWhenTheSpoolIsEmpty(t *testing.T) {
	p := journal(t, "compact")
	w := newWorld(t)
	w.conf.Units = []string{"ssh"}
	w.write("system.journal", upTo(p, 50))
	w.start()
	w.mustStep()
	w.src.save(w.f)
	w.start()
	w.write("system.journal", p)
	w.mustStep()
	if got := w.src.Stats().Entries.Load(); got != 50 {
		t.Errorf("%d entries were looked at, want the 50 new ones", got)
	}
	if err := os.WriteFile(filepath.Join(w.state, cursorName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, damaged, err := load(w.state, w.spool); damaged == "" || err != nil {
		t.Errorf("damaged cursors: %q, %v", damaged, err)
	}
}

func TestWhereANewJournalBegins(t *testing.T) {
	f := func(since string, first, n int) {
		t.Helper()
		w := newWorld(t)
		w.conf.Since = since
		p := journal(t, "regular")
		w.write("system.journal", upTo(p, 90))
		w.start()
		w.f.list(time.Unix(1_795_000_000, 0).Add(100 * time.Millisecond))
		if err := w.f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.write("system.journal", p)
		w.write("other.journal", journal(t, "compact")) // a journal that is new while we look: all of it
		w.mustStep()
		got := w.spool.texts(t)
		if len(got) != n+100 || !slices.Contains(got, fmt.Sprint(first)) {
			t.Errorf("since %s: %d lines", since, len(got)-100)
		}
	}
	f("now", 91, 10)
	f("beginning", 1, 100)
	f("50ms", 50, 51)
}

func TestUnitsAndPriorities(t *testing.T) {
	f := func(priority string, want int, units ...string) {
		t.Helper()
		w := newWorld(t)
		w.conf.Units, w.conf.Priority = units, priority
		w.write("system.journal", journal(t, "regular"))
		w.start()
		w.mustStep()
		if got := len(w.spool.texts(t)); got != want {
			t.Errorf("%v up to %s: %d lines, want %d", units, priority, got, want)
		}
	}
	f("debug", 33, "ssh.service")
	f("debug", 33, "ssh")
	f("debug", 66, "ssh", "kube*")
	f("debug", 0, "none.service")
	f("emerg", 12)
	f("3", 51)
}

func TestALongMessageIsCut(t *testing.T) {
	w := newWorld(t)
	w.conf.MaxLine = 1 << 10
	w.write("system.journal", journal(t, "compact"))
	w.start()
	w.mustStep()
	w.want(numbers(1, 100))
	if got := w.src.Stats().Cut.Load(); got != 10 {
		t.Errorf("%d lines cut, want 10", got)
	}
	for _, b := range w.spool.batches {
		for l := range b.LinesIn(0, b.Len()) {
			if len(l.Text) > 1<<10 || (len(l.Text) == 1<<10) != (signal.Lookup(string(l.Attrs), signal.LabelLogCut) != "") {
				t.Errorf("a line of %d bytes, cut %q", len(l.Text), signal.Lookup(string(l.Attrs), signal.LabelLogCut))
			}
		}
	}
}

func TestDamageStaysWhereItIs(t *testing.T) {
	whole := journal(t, "regular")
	w := newWorld(t)
	p := bytes.Clone(whole)
	r, err := openReader(bytes.NewReader(p), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		r.settle()
		r.skip()
	}
	_, at, _, err := r.peek()
	if err != nil {
		t.Fatal(err)
	}
	p[at] = 77 // entry 21 is no entry any more
	w.write("bad.journal", p)
	w.write("none.journal", []byte(strings.Repeat("no journal ", 100)))
	w.start()
	w.mustStep()
	w.want(numbers(1, 20))
	w.mustStep() // what a look met is said at the next listing
	if tr := w.src.Trouble(); len(tr) != 2 || !strings.Contains(tr[0], "none.journal: not a journal file") || !strings.Contains(tr[1], "is not read to its end") {
		t.Errorf("trouble: %q", tr)
	}
	w.write("good.journal", whole) // what journald goes on with
	w.write("none.journal", whole)
	w.mustStep()
	w.want(numbers(1, 100))
	if tr := w.src.Trouble(); len(tr) != 1 {
		t.Errorf("trouble after one file was mended: %q", tr)
	}
}

func TestConfigComplaints(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	c := Config{Enabled: "yes", Path: "x", Units: []string{"["}, Priority: "bad", Since: "-1h", MaxLine: 1}
	for _, key := range []string{"enabled:", "path:", "units[0]:", "priority:", "since:", "max_line:"} {
		if !strings.Contains("\n"+c.Check().Error(), "\n"+key) {
			t.Errorf("no complaint about %s in\n%v", key, c.Check())
		}
	}
}
