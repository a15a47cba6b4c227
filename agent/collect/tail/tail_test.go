package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// spool is a Sink and the Memory of it: frames in a slice.
type spool struct {
	frames  []*signal.Batch
	deny    int  // the Put after so many fails; 0: none does
	late    bool // it fails after it was stored: the tailer died before it heard of it
	forgets bool // Put is counted and not kept
	lines   int
	synced  uint64
	syncErr error
}

var errDied = errors.New("died")

func (s *spool) Put(_ context.Context, b *signal.Batch) error {
	if s.deny > 0 {
		if s.deny--; s.deny == 0 {
			if s.late {
				s.frames = append(s.frames, b)
			}
			return errDied
		}
	}
	s.lines += b.Len()
	if !s.forgets {
		s.frames = append(s.frames, b)
	}
	return nil
}

func (s *spool) Newest() uint64 { return uint64(len(s.frames)) }

func (s *spool) Sync() error {
	if s.syncErr == nil {
		s.synced = s.Newest()
	}
	return s.syncErr
}

func (s *spool) Replay(after uint64, f func(*signal.Batch)) error {
	for _, b := range s.frames[min(after, s.Newest()):] {
		f(b)
	}
	return nil
}

// text returns all lines in the order of the spool.
func (s *spool) text() []string {
	var all []string
	for _, b := range s.frames {
		for l := range b.LinesIn(0, b.Len()) {
			all = append(all, string(l.Text))
		}
	}
	return all
}

// host is a folder of logs with a tailer that is stepped by hand, a second at a
// time, so that no test waits for anything.
type host struct {
	*testing.T
	*Tailer
	spool *spool
	logs  string // the folder
	state string // where the snapshot is
	cfg   Config
	now   time.Time
	tick  time.Duration // how much later each look is
	log   bytes.Buffer
	enc   encoding // how write encodes; a file that it makes begins with the mark
}

func newHost(t *testing.T, files ...File) *host {
	t.Helper()
	h := &host{T: t, spool: &spool{}, logs: t.TempDir(), state: t.TempDir(), now: time.Now(), tick: time.Second, cfg: Default()}
	h.cfg.Pods.Enabled, h.cfg.Docker.Enabled = "false", "false"
	for _, f := range files {
		f.Path = filepath.Join(h.logs, f.Path)
		h.cfg.Files = append(h.cfg.Files, f)
	}
	return h
}

// start begins a run with what the last one left; stop or kill ends it.
func (h *host) start() *host {
	h.Helper()
	h.Tailer = New(h.cfg, h.spool, h.state, slog.New(slog.NewTextHandler(&h.log, nil)))
	if err := h.begin(h.Context(), h.now); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(h.kill)
	return h
}

// unwatched makes the tailer work without inotify, as on a network file system.
func (h *host) unwatched() *host {
	h.find.watch.close()
	h.find.watch = nil
	return h
}

func (h *host) kill() {
	if h.Tailer != nil {
		h.closeAll()
		h.Tailer = nil
	}
}

func (h *host) stop() {
	h.save(h.now)
	h.kill()
}

// look steps until there is nothing more to do at this moment, which is one tick
// after the last one.
func (h *host) look() error {
	h.now = h.now.Add(h.tick)
	for range 100_000 {
		more, err := h.step(h.Context(), h.now, h.spool)
		if err != nil || !more {
			return err
		}
	}
	h.Fatal("the tailer finds no end")
	return nil
}

func (h *host) looks(n int) *host {
	h.Helper()
	for range n {
		if err := h.look(); err != nil {
			h.Fatal(err)
		}
	}
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.logs, name) }

func (h *host) write(name, text string) {
	h.Helper()
	if h.enc != encAuto {
		mark := ""
		if _, err := os.Stat(h.path(name)); err != nil {
			mark = h.enc.mark()
		}
		text = mark + encoded(h.enc, text)
	}
	f, err := os.OpenFile(h.path(name), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	h.must(err)
	_, err = f.WriteString(text)
	h.must(err)
	h.must(f.Close())
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) rename(from, to string) { h.Helper(); h.must(os.Rename(h.path(from), h.path(to))) }
func (h *host) remove(name string)     { h.Helper(); h.must(os.Remove(h.path(name))) }

func (h *host) copyTruncate(from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.path(from))
	h.must(err)
	h.must(os.WriteFile(h.path(to), text, 0o644))
	h.must(os.Truncate(h.path(from), 0))
}

// want compares all lines so far.
func (h *host) want(lines ...string) {
	h.Helper()
	if got := h.spool.text(); !slices.Equal(got, lines) {
		h.Fatalf("lines:\n got %q\nwant %q", got, lines)
	}
	h.balance()
}

// balance checks the books.
func (h *host) balance() {
	h.Helper()
	if h.Tailer == nil {
		return
	}
	s := h.Stats()
	if r, sum := s.Read.Load(), s.Body.Load()+s.Ends.Load()+s.Framing.Load()+s.Again.Load()+s.Cut.Load()+s.Holes.Load()+s.Recoded.Load(); r != sum {
		h.Fatalf("the books do not balance: read %d, fates %d", r, sum)
	}
}

func TestNewLinesOfAFileThatWasThereAreTaken(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Service: "shop", Source: "nginx", Tags: []string{"team:x"}})
	h.write("a.log", "old\nold too\n")
	h.start().looks(1)
	h.want()
	h.write("a.log", "one\r\ntwo\n\nthree")
	h.looks(1).want("one", "two", "")
	h.write("a.log", " and a half\n")
	h.looks(1).want("one", "two", "", "three and a half")
	want := signal.Labels(signal.LabelLogFile, h.path("a.log"), signal.LabelService, "shop", signal.LabelLogSource, "nginx", "team", "x")
	if got := h.spool.frames[0].Logs[0].Stream.Labels(); got != want {
		t.Errorf("labels %q, want %q", got, want)
	}
}

func TestStartDecidesForFilesThatWereThere(t *testing.T) {
	f := func(start string, age time.Duration, want ...string) {
		t.Helper()
		h := newHost(t, File{Path: "*.log", Start: start})
		h.write("a.log", "old\nbegun")
		h.must(os.Chtimes(h.path("a.log"), h.now.Add(-age), h.now.Add(-age)))
		h.start().looks(1)
		h.write("a.log", " line\n")
		h.write("late.log", "late\n")
		h.looks(2).want(want...)
	}
	f("end", 0, "begun line", "late")
	f("", 0, "begun line", "late")
	f("beginning", time.Hour, "old", "begun line", "late")
	f("10m", time.Minute, "old", "begun line", "late")
	f("10m", time.Hour, "begun line", "late")
}

func TestALineHasItsOwnTime(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"})
	h.start()
	h.write("a.log", strings.Repeat("x\n", 100))
	h.write("b.log", strings.Repeat("y\n", 100))
	h.looks(1)
	seen := map[int64]bool{}
	for _, b := range h.spool.frames {
		for l := range b.LinesIn(0, b.Len()) {
			if seen[l.Time] || l.Level != signal.LevelUnknown || l.Time < h.now.UnixNano() || l.Time > h.now.UnixNano()+1000 {
				t.Fatalf("line at %d, level %d", l.Time, l.Level)
			}
			seen[l.Time] = true
		}
	}
}

func TestPatternsAndExclusions(t *testing.T) {
	f := func(file File, want ...string) {
		t.Helper()
		h := newHost(t, file)
		for _, p := range []string{"a.log", "b.txt", "x/c.log", "x/y/d.log", "x/y/z/e.log", "x/y/e.log.gz"} {
			h.must(os.MkdirAll(filepath.Dir(h.path(p)), 0o755))
			h.write(p, p+"\n")
		}
		h.must(os.Symlink(h.path("x"), h.path("x/y/up"))) // a loop
		out := t.TempDir()
		h.must(os.WriteFile(filepath.Join(out, "out.log"), []byte("out\n"), 0o644))
		h.must(os.Symlink(out, h.path("x/y/out")))
		h.must(os.Symlink(h.path("self"), h.path("self")))
		h.start().looks(1)
		h.write("touch.gz", "") // so that all is scanned again
		h.looks(1)
		got := h.spool.text()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%+v:\n got %q\nwant %q", file, got, want)
		}
	}
	b := func(p string, exclude ...string) File { return File{Path: p, Start: "beginning", Exclude: exclude} }
	f(b("*.log"), "a.log")
	f(b("a.log"), "a.log")
	f(b("*"), "a.log", "b.txt")
	f(b("*/*.log"), "x/c.log")
	f(b("*/y/*.log"), "x/y/d.log")
	f(b("**/*.log"), "a.log", "x/c.log", "x/y/d.log", "x/y/z/e.log")
	f(b("x/**"), "x/c.log", "x/y/d.log", "x/y/z/e.log")
	f(b("x/**/z/*.log"), "x/y/z/e.log")
	f(b("**/*.log", "c.*", "/**/y/d.log"), "a.log", "x/y/z/e.log")
	f(b("[^a].txt"), "b.txt")
}

func TestAFileIsReadOnceThoughTwoPathsLeadToIt(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"}, File{Path: "**/*.log", Start: "beginning"})
	h.write("a.log", "one\n")
	h.must(os.Link(h.path("a.log"), h.path("b.log")))
	h.must(os.Symlink(h.path("a.log"), h.path("c.log")))
	h.start().looks(3).want("one")
}

func TestASymlinkedFileIsFollowed(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"})
	h.must(os.Mkdir(h.path("real"), 0o755))
	h.write("real/x", "one\n")
	h.must(os.Symlink("real/x", h.path("a.log")))
	h.start().looks(1).want("one")
	h.write("real/x", "two\n")
	h.looks(1).want("one", "two")
	h.write("real/y", "three\n")
	h.remove("a.log")
	h.must(os.Symlink("real/y", h.path("a.log")))
	h.looks(2).want("one", "two", "three")
}

func TestAFolderThatComesLater(t *testing.T) {
	h := newHost(t, File{Path: "app/*/x.log"})
	h.start().looks(2)
	h.must(os.MkdirAll(h.path("app/1"), 0o755))
	h.write("app/1/x.log", "one\n")
	h.looks(2).want("one")
	h.must(os.RemoveAll(h.path("app")))
	h.looks(10)
	h.must(os.MkdirAll(h.path("app/2"), 0o755))
	h.write("app/2/x.log", "two\n")
	h.looks(2).want("one", "two")
	if n := len(h.Files()); n != 1 {
		t.Errorf("%d files are followed, want 1", n)
	}
}

func TestLongLinesAreCutAndMarked(t *testing.T) {
	h := newHost(t, File{Path: "a.log"})
	h.cfg.MaxLine = 1 << 10
	h.start().looks(1)
	h.write("a.log", "short\n"+strings.Repeat("x", 1<<10)+"\r\n"+strings.Repeat("y", 1<<10+1)+"\n")
	for range 5 { // a line without an end, five chunks long: nothing of it is kept in memory
		h.write("a.log", strings.Repeat("é", chunkBytes/2))
		h.looks(1)
	}
	h.write("a.log", "\nlast\n")
	h.looks(1).want("short", strings.Repeat("x", 1<<10), strings.Repeat("y", 1<<10), strings.Repeat("é", 1<<9), "last")
	var cut []string
	for _, b := range h.spool.frames {
		for l := range b.LinesIn(0, b.Len()) {
			cut = append(cut, signal.Lookup(string(l.Attrs), signal.LabelLogCut))
		}
	}
	if want := []string{"", "", "1", fmt.Sprint(5*chunkBytes - 1<<10), ""}; !slices.Equal(cut, want) {
		t.Errorf("cut %q, want %q", cut, want)
	}
	if n := h.Stats().CutLines.Load(); n != 2 {
		t.Errorf("%d lines cut, want 2", n)
	}
}

func TestBytesThatAreNoText(t *testing.T) {
	h := newHost(t, File{Path: "a.log"})
	h.start().looks(1)
	h.write("a.log", "a\x00b\nc\xff\xfed\xe2\x82\n\xe2\x82\xac\n")
	h.looks(1).want("a\x00b", "c\uFFFDd\uFFFD", "€")
	if n := h.Stats().Repaired.Load(); n != 1 {
		t.Errorf("%d lines repaired, want 1", n)
	}
}

func TestALastLineWithoutEnd(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start().looks(1)
	h.write("a.log", "prompt> ")
	h.looks(29).want()
	h.looks(3).want("prompt> ")
	h.write("a.log", "typed\n")
	h.looks(1).want("prompt> ", "typed")
	h.write("a.log", "the end")
	h.looks(1)
	h.remove("a.log")
	h.looks(4).want("prompt> ", "typed")
	h.looks(3).want("prompt> ", "typed", "the end")
	if n := len(h.Files()); n != 0 {
		t.Errorf("%d files are followed after the deletion", n)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	h := newHost(t, File{Path: "a.log", Start: "beginning"}, File{Path: "fifo", Start: "beginning"}, File{Path: "b.log", Start: "beginning"})
	h.write("a.log", "one\n")
	h.must(mkfifo(h.path("fifo")))
	h.must(os.Symlink(h.path("b.log"), h.path("b.log")))
	h.start().looks(1).want("one")
	h.write("a.log", "two\n") // and then a folder takes its place
	h.remove("a.log")
	h.must(os.Mkdir(h.path("a.log"), 0o755))
	h.looks(2).want("one", "two")
	why := map[string]string{}
	for _, r := range h.Refused() {
		why[filepath.Base(r.Path)] = r.Why
	}
	if !strings.Contains(why["fifo"], "FIFO") || !strings.Contains(why["a.log"], "folder") || !strings.Contains(why["b.log"], "too many levels") {
		t.Errorf("refused: %q", why)
	}
	h.remove("a.log")
	h.write("a.log", "three\n")
	h.looks(2).want("one", "two", "three")
	if n := strings.Count(h.log.String(), "fifo"); n != 1 {
		t.Errorf("the FIFO was logged %d times", n)
	}
}

func TestAFIFOThatTakesAFilesPlaceIsNotOpened(t *testing.T) {
	h := newHost(t, File{Path: "a.log"})
	h.start().looks(1)
	h.must(mkfifo(h.path("a.log")))
	_, _, err := openFile(h.path("a.log"), key{})
	if !errors.Is(err, errMoved) {
		t.Errorf("openFile: %v", err)
	}
}

func first[K comparable, V any](m map[K]V) (k K) {
	for k = range m {
		break
	}
	return k
}

func TestTheFingerprintGrowsWithTheFile(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start().looks(1)
	for i := range 10 {
		h.write("a.log", strings.Repeat("x", 199)+"\n")
		h.looks(1)
		if n := h.files[first(h.files)].head.n; n != min(200*(i+1), headBytes) {
			t.Errorf("%d lines: a fingerprint of %d bytes", i+1, n)
		}
	}
}

func TestLostEventsCostASecond(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start().looks(1)
	h.write("a.log", "one\n")
	h.looks(2)
	h.write("a.log", "two\n")
	h.write("b.log", "new\n")
	h.find.watch.drain(func(int, change, string) {})
	h.looks(1).want("one", "two", "new")
	h.rename("b.log", "b.log.1")
	h.write("b.log", "newer\n")
	h.find.watch.drain(func(int, change, string) {})
	h.looks(1).want("one", "two", "new", "newer")
}

func TestAFolderThatCannotBeListedKeepsItsFiles(t *testing.T) {
	h := newHost(t, File{Path: "x/*.log"})
	h.must(os.Mkdir(h.path("x"), 0o755))
	h.start().looks(1)
	h.write("x/a.log", "one\n")
	h.looks(1)
	h.rename("x", "away")
	h.write("x", "a file in the folder's place\n")
	h.looks(10)
	if r := h.Refused(); len(r) != 1 || r[0].Path != h.path("x") {
		t.Errorf("refused %+v", r)
	}
	if len(h.files) != 1 {
		t.Errorf("%d files are followed, want 1", len(h.files))
	}
	h.remove("x")
	h.write("away/a.log", "two\n")
	h.rename("away", "x")
	h.looks(2).want("one", "two")
}

func TestStatusTellsWhatIsBehind(t *testing.T) {
	h := newHost(t, File{Path: "*.log"})
	h.start().looks(1)
	h.write("a.log", "one\n")
	h.looks(1)
	h.write("a.log", "two and three\n")
	if s := h.Files(); len(s) != 1 || s[0].Size != 18 || s[0].Offset != 4 || s[0].Behind != 14 || s[0].Lines != 1 || !s[0].Open || s[0].UnreadSince.IsZero() {
		t.Errorf("status %+v", s)
	}
	h.looks(1)
	if s := h.Files(); s[0].Behind != 0 || !s[0].UnreadSince.IsZero() || s[0].LinesLost != 0 {
		t.Errorf("status %+v", s)
	}
	h.write("a.log", "unfinished")
	h.looks(1)
	h.must(os.Truncate(h.path("a.log"), 0))
	h.looks(1)
	if s := h.Files(); s[0].LinesLost != 1 || s[0].Truncations != 1 {
		t.Errorf("status %+v", s)
	}
}

func TestWhatMayNotBeReadIsSaidWithTheRemedy(t *testing.T) {
	if s := remedied(&fs.PathError{Op: "open", Path: "/a.log", Err: fs.ErrPermission}); !strings.HasPrefix(s, "open /a.log: permission denied; let the agent's user read it") {
		t.Error(s)
	}
	if s := remedied(fs.ErrClosed); s != "file already closed" {
		t.Error(s)
	}
}

func TestRunEndsWithItsContextAndGoesOnWhereItWas(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"})
	h.write("a.log", "one\n")
	state := filepath.Join(t.TempDir(), "state")
	for i := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 1)
		done := make(chan error, 1)
		go func() {
			done <- New(h.cfg, h.spool, state, slog.New(slog.DiscardHandler)).Run(ctx, sinkFunc(func(ctx context.Context, b *signal.Batch) error {
				got <- string(b.Logs[0].Line(0).Text)
				return h.spool.Put(ctx, b)
			}))
		}()
		if line, want := <-got, []string{"one", "two"}[i]; line != want {
			t.Errorf("line %q, want %q", line, want)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		h.write("a.log", "two\n")
	}
}

type sinkFunc func(context.Context, *signal.Batch) error

func (f sinkFunc) Put(ctx context.Context, b *signal.Batch) error { return f(ctx, b) }

func TestABlockedPutStopsTheReading(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Start: "beginning"})
	h.write("a.log", strings.Repeat("x\n", 3*batchLines))
	ctx, cancel := context.WithCancel(t.Context())
	in := make(chan int)
	done := make(chan error, 1)
	go func() {
		done <- New(h.cfg, h.spool, filepath.Join(t.TempDir(), "s"), slog.New(slog.DiscardHandler)).Run(ctx, sinkFunc(func(ctx context.Context, b *signal.Batch) error {
			in <- b.Len()
			<-ctx.Done()
			return ctx.Err()
		}))
	}()
	if n := <-in; n != batchLines {
		t.Errorf("the first batch has %d lines", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	select {
	case n := <-in:
		t.Errorf("%d lines more were put while one Put was blocked", n)
	default:
	}
}

func TestCheckNamesEveryMistake(t *testing.T) {
	c := Config{
		Pods:    Pods{Enabled: "maybe", Path: "logs"},
		Files:   []File{{Path: "x.log"}, {Path: "/a/[.log", Exclude: []string{"[", "a**"}, Tags: []string{"env"}, Start: "soon"}, {Path: "/a/[.log"}, {Path: "/"}},
		MaxLine: 1,
	}
	err := c.Check()
	for _, want := range []string{
		"pods.enabled: ", "pods.path: ", "max_line: ", "files[0].path: ", "files[1].path: ", "files[1].exclude[0]: ", "files[1].exclude[1]: ",
		"files[1].tags[0]: ", "files[1].start: ", "files[2].path: \"/a/[.log\" is there already", "files[3].path: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check does not say %q:\n%v", want, err)
		}
	}
	f := func(c Config, want bool) {
		t.Helper()
		if c.Enabled() != want {
			t.Errorf("%+v: enabled %v", c, !want)
		}
	}
	f(Default(), true)
	none := Config{Pods: Pods{Enabled: "false"}, Docker: Docker{Enabled: "false"}}
	f(none, false)
	none.Files = []File{{Path: "/x"}}
	f(none, true)
	if err := Default().Check(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestNamesThatRotationsMake(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got, _ := rotatedFrom(name); got != want {
			t.Errorf("rotatedFrom(%q) = %q, want %q", name, got, want)
		}
	}
	f("app.log.1", "app.log")
	f("app.log.12", "app.log")
	f("app.log-20261123", "app.log")
	f("app.log-20261123.1", "app.log")
	f("app.log.2026-11-23T10:00:00Z", "app.log")
	f("0.log.20261123-101112", "0.log")
	f("app-2.log.1", "app-2.log")
	f("app.log", "")
	f("app-2.log", "")
	f("app.log.old", "")
	f("app.log.", "")
	f(".1", "")
}
