package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// dies steps like looks, and when a Put kills the tailer starts another one.
func (h *host) dies(n, every int, late bool) {
	h.Helper()
	for range n {
		for {
			if h.spool.deny == 0 {
				h.spool.deny, h.spool.late = every, late
			}
			err := h.look()
			if err == nil {
				break
			}
			if !errors.Is(err, errDied) {
				h.Fatal(err)
			}
			h.kill()
			h.spool.deny = 0
			h.start().chunk = 700
			h.buf = h.buf[:edgeBytes+h.chunk]
		}
	}
}

// A tailer that dies at every k-th Put, before or after the spool has the batch,
// loses nothing and repeats nothing.
func TestADeathAtAnyPutLosesAndRepeatsNothing(t *testing.T) {
	for _, style := range []string{"rename", "copytruncate", "delete"} {
		for _, late := range []bool{false, true} {
			for every := 2; every < 8; every++ {
				t.Run(fmt.Sprintf("%s,late=%v,every=%d", style, late, every), func(t *testing.T) {
					h := newHost(t, File{Path: "*.log"}).start().looks(1)
					h.tick = 300 * time.Millisecond
					rng := rand.New(rand.NewPCG(3, uint64(every)))
					a, b := &writer{host: h, name: "a.log"}, &writer{host: h, name: "b.log"}
					for range 10 {
						a.lines(1 + rng.IntN(60))
						b.lines(rng.IntN(3))
						h.write("b.log", "b.log ")
						h.dies(rng.IntN(2), every, late)
						b.n++
						h.write("b.log", fmt.Sprintf("line %d\n", b.n))
						b.want = append(b.want, fmt.Sprintf("b.log line %d", b.n))
						h.dies(1, every, late)
						switch style {
						case "rename":
							a.lines(rng.IntN(9))
							a.rotate(9)
						case "copytruncate":
							a.lines(rng.IntN(9))
							a.rotateByCopy(9)
						case "delete":
							a.remove("a.log")
						}
					}
					h.dies(30, every, late)
					a.check()
					b.check()
				})
			}
		}
	}
}

func TestAStopAndStartGoesOnWhereItWas(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("a.log", "one\ntwo\nthr")
	h.looks(1).stop()
	h.spool.frames = nil // delivered and gone: the snapshot alone must do
	h.write("a.log", "ee\n")
	h.write("b.log", "new\n")
	h.start().looks(1).want("three", "new")
}

// A start in the middle of a copytruncate: the copy is seen before it is whole,
// and before the original has been looked at.
func TestACopyThatIsUnderWayAtAStartIsNotReadAgain(t *testing.T) {
	for _, glob := range []string{"a.log", "a.log*"} {
		for _, saved := range []bool{true, false} {
			h := newHost(t, File{Path: glob}).start().looks(1)
			w := &writer{host: h, name: "a.log"}
			w.lines(300)
			h.looks(1)
			if saved {
				h.stop()
			} else {
				h.kill()
			}
			text, err := os.ReadFile(h.path("a.log"))
			h.must(err)
			h.write("a.log.1", string(text[:len(text)/3]))
			h.start().looks(2)
			h.write("a.log.1", string(text[len(text)/3:]))
			h.looks(1)
			h.must(os.Truncate(h.path("a.log"), 0))
			w.lines(1)
			h.looks(10)
			w.check()
		}
	}
}

func TestASnapshotIsNotAheadOfTheSpool(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("a.log", "one\n")
	h.spool.syncErr = errors.New("disk on fire")
	h.looks(2)
	if why := strings.Join(h.Trouble(), " "); !strings.Contains(why, "disk on fire") {
		t.Errorf("trouble %q", why)
	}
	// The power goes, and with it what was not synced.
	h.kill()
	h.spool.frames = h.spool.frames[:h.spool.synced]
	h.spool.syncErr = nil
	h.start().looks(2).want("one")
	if why := h.Trouble(); len(why) > 0 {
		t.Errorf("trouble %q", why)
	}
}

func TestADamagedSnapshotIsSetAside(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("a.log", "one\n")
	h.write("quiet.log", "")
	h.looks(1).stop()
	p := filepath.Join(h.state, snapshotName)
	raw, err := os.ReadFile(p)
	h.must(err)
	raw[len(raw)/2] ^= 1
	h.must(os.WriteFile(p, raw, 0o600))
	h.write("a.log", "two\n") // the spool knows where a.log goes on
	h.start().looks(1).want("one", "two")
	if why := strings.Join(h.Trouble(), " "); !strings.Contains(why, ".bad") {
		t.Errorf("trouble %q", why)
	}
	if bad, err := os.ReadFile(p + ".bad"); err != nil || string(bad) != string(raw) {
		t.Errorf("the damaged snapshot is not kept: %v", err)
	}
}

func TestADeviceNumberThatChanged(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	h.write("a.log", "one\ntwo\n")
	h.looks(1).stop()
	p := filepath.Join(h.state, snapshotName)
	raw, err := os.ReadFile(p)
	h.must(err)
	st, err := parseState(raw)
	h.must(err)
	for i := range st.files {
		st.files[i].key.dev += 7
	}
	h.must(os.WriteFile(p, appendState(nil, st), 0o600))
	h.write("a.log", "three\n")
	h.start().looks(1).want("one", "two", "three")
}

func TestANewFileThatBeginsAsTheOldOne(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	h.write("a.log", "one\ntwo\n")
	h.looks(1).stop()
	h.rename("a.log", "gone")
	h.write("a.log", "one\ntwo\nthree\n")
	h.start().looks(1).want("one", "two", "one", "two", "three")
}

func TestARotatedFileComesFirstThoughItWasWrittenLast(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(3)
	h.looks(1).stop()
	w.lines(3)
	w.rotate(3)
	w.lines(3)
	h.must(os.Chtimes(h.path("a.log.1"), h.now.Add(time.Hour), h.now.Add(time.Hour)))
	h.start().looks(1)
	w.check()
}

func TestBlocksNameTheirLinesForEver(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	seen := map[string]string{}
	for i := range 12 {
		h.write("a.log", fmt.Sprintf("%d\n\n%d\n", i, i))
		h.looks(1)
		switch i % 3 {
		case 1:
			h.must(os.Truncate(h.path("a.log"), 0))
		case 2:
			h.stop()
			h.start()
		}
	}
	h.looks(2) // what follows a truncation has its place after one more scan
	for n, b := range h.spool.frames {
		for l := range b.LinesIn(0, b.Len()) {
			id := fmt.Sprint(l.Block.File, "@", l.ID)
			if old, dup := seen[id]; dup {
				t.Errorf("%s names %q and line %q of frame %d", id, old, l.Text, n)
			}
			seen[id] = string(l.Text)
		}
	}
	if len(seen) != 36 {
		t.Errorf("%d lines, want 36", len(seen))
	}
}

func TestIdentityRoundTrip(t *testing.T) {
	f := func(id identity) {
		t.Helper()
		for _, lane := range []string{"", "stderr"} {
			s := id.String()
			if lane != "" {
				s += "/" + lane
			}
			if got, l, ok := parseIdentity(s); !ok || got != id || l != lane {
				t.Errorf("%q: %+v %q %v, want %+v", s, got, l, ok, id)
			}
		}
	}
	f(identity{})
	f(identity{key{1<<64 - 1, 2}, 1<<63 - 1, head{1024, 1<<64 - 1}, encAuto})
	f(identity{key{1, 2}, 3, head{4, 5}, encLatin1})
	for _, s := range []string{"", "ino:", "ino:1:2:3:4", "ino:1:2:3:4:5:6", "ino:1:2:3:4:5:1", "ino:1:2:3:4:5:",
		"ino:1:2:3:4:5:2:3", "ino:1:2:3:4:g", "udp:1:2:3:4:5", "ino:1:2:3:ffff:5", "ino:1:2:ffffffffffffffff:4:5"} {
		if id, _, ok := parseIdentity(s); ok {
			t.Errorf("%q was taken for %+v", s, id)
		}
	}
}

func someState() *state {
	return &state{seq: 7, patterns: []string{"/var/log/*.log", ""}, files: []record{
		{id: "ino:1:2:3:4:5", key: key{1, 1<<64 - 1}, gen: 3, head: head{4, 5}, off: 1 << 40, lanes: [2]int64{1, 2}, edge: []byte("edge"), path: "/a", root: "/b", seen: 6, enc: encUTF16BE, retired: true},
		{path: "/x"},
	}}
}

func TestSnapshotRoundTrip(t *testing.T) {
	want := someState()
	got, err := parseState(appendState(nil, want))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	raw := appendState(nil, want)
	for i := range raw {
		for _, p := range [][]byte{raw[:i], append(append([]byte{}, raw[:i]...), append([]byte{raw[i] ^ 0x40}, raw[i+1:]...)...)} {
			if _, err := parseState(p); err == nil {
				t.Fatalf("a snapshot damaged at byte %d was taken", i)
			}
		}
	}
}

// A snapshot is written every few seconds, of as many files as there are: what it
// takes in memory does not grow with them.
func TestASnapshotTakesTheMemoryOfOneRecord(t *testing.T) {
	f := func(files int) (allocs float64, length int) {
		h := newHost(t, File{Path: "*.log", Start: "beginning"})
		for i := range files {
			h.write(fmt.Sprint(i, ".log"), fmt.Sprint(i, "\n"))
		}
		h.start().looks(2)
		allocs = testing.AllocsPerRun(5, func() {
			n, err := h.writeState(io.Discard, 1, h.now)
			h.must(err)
			length = n
		})
		h.must(h.saved())
		return allocs, length
	}
	few, _ := f(1)
	many, length := f(1000)
	if many > few || length < 2*snapshotChunk {
		t.Errorf("%v allocations for a file, %v for 1000; %d bytes", few, many, length)
	}
}

// saved reports whether what a snapshot says can be read again, and is all.
func (h *host) saved() error {
	h.Helper()
	h.changed = true
	h.save(h.now)
	raw, err := os.ReadFile(filepath.Join(h.Tailer.dir, snapshotName))
	if err != nil {
		return err
	}
	st, err := parseState(raw)
	if err == nil && (len(st.files) != len(h.files) || len(raw) != h.savedLen) {
		err = fmt.Errorf("%d files in %d bytes, want %d in %d", len(st.files), len(raw), len(h.files), h.savedLen)
	}
	return err
}

func FuzzSnapshot(f *testing.F) {
	f.Add(appendState(nil, someState()))
	f.Add(appendState(nil, &state{}))
	f.Fuzz(func(t *testing.T, p []byte) {
		// The checksum would keep the fuzzer out: it is made right.
		if n := len(p) - 4; n > 0 {
			p = binary.LittleEndian.AppendUint32(p[:n:n], crc32.Checksum(p[:n], castagnoli))
		}
		s, err := parseState(p)
		if err != nil {
			return
		}
		again, err := parseState(appendState(nil, s))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%v\n got %+v\nwant %+v", err, again, s)
		}
	})
}

func TestReplayMovesFilesOn(t *testing.T) {
	id := identity{key{1, 2}, 3, head{4, 5}, encAuto}
	block := func(lane string, end int64) signal.LogBlock {
		return signal.LogBlock{File: id.String() + lane, End: end, Stream: signal.InternStream(signal.Labels(signal.LabelLogFile, "/x"))}
	}
	f := func(want record, batches ...[]signal.LogBlock) {
		t.Helper()
		mem := &spool{}
		for _, b := range batches {
			mem.frames = append(mem.frames, &signal.Batch{Kind: signal.Log, Logs: append(b, signal.LogBlock{File: "udp:514", End: 99})})
		}
		st := &state{}
		if err := st.replay(mem, time.Unix(9, 0)); err != nil || len(st.files) != 1 {
			t.Fatalf("%v, %d files", err, len(st.files))
		}
		want.id, want.key, want.gen, want.head, want.path, want.root, want.seen = id.String(), id.key, id.gen, id.head, "/x", "/x", 9
		if !reflect.DeepEqual(st.files[0], want) {
			t.Errorf("\n got %+v\nwant %+v", st.files[0], want)
		}
	}
	type blocks = []signal.LogBlock
	f(record{off: 20}, blocks{block("", 10)}, blocks{block("", 20)})
	f(record{off: 20, lanes: [2]int64{20, 20}}, blocks{block("/stdout", 10)}, blocks{block("/stdout", 20)})
	f(record{off: 15, lanes: [2]int64{15, 20}}, blocks{block("/stdout", 10)}, blocks{block("/stdout", 15), block("/stderr", 20)})
	f(record{off: 30, lanes: [2]int64{30, 30}}, blocks{block("/stdout", 15), block("/stderr", 20)}, blocks{block("/stderr", 30)})
}

// A power cut may take frames and leave younger ones: what stood in them is read
// again, and what came after it, too.
func TestAFileGoesOnBeforeAGapInTheSpool(t *testing.T) {
	key := func(gen int64) string { return identity{gen: gen, head: head{n: 1, sum: 1}}.String() }
	blk := func(gen, from, to int64) *signal.Batch {
		return &signal.Batch{Kind: signal.Log, Logs: []signal.LogBlock{{File: key(gen), Start: from, End: to}}}
	}
	for name, c := range map[string]struct {
		frames []*signal.Batch
		want   [2]int64 // of files 1 and 2, which are known up to 100
	}{
		"whole":          {[]*signal.Batch{blk(1, 100, 200), blk(2, 100, 300), blk(1, 200, 400)}, [2]int64{400, 300}},
		"a jump by plan": {[]*signal.Batch{blk(1, 100, 200), blk(1, 250, 400)}, [2]int64{400, 100}},
		"a gap":          {[]*signal.Batch{blk(1, 100, 200), nil, blk(1, 300, 400), blk(2, 100, 300), blk(1, 400, 500)}, [2]int64{200, 300}},
		"a gap at once":  {[]*signal.Batch{nil, blk(1, 150, 200), blk(2, 100, 120), blk(2, 120, 130)}, [2]int64{100, 130}},
	} {
		s := &state{files: []record{{gen: 1, id: key(1), off: 100}, {gen: 2, id: key(2), off: 100}}}
		if err := s.replay(frames(c.frames), time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := [2]int64{s.files[0].off, s.files[1].off}; got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// frames is a spool that holds what it is told.
type frames []*signal.Batch

func (frames) Newest() uint64 { return 0 }
func (frames) Sync() error    { return nil }
func (f frames) Replay(_ uint64, to func(*signal.Batch)) error {
	for _, b := range f {
		to(b)
	}
	return nil
}

// appendState appends a snapshot of s to dst, which is empty.
func appendState(dst []byte, s *state) []byte {
	b := bytes.NewBuffer(dst)
	if n, err := writeState(b, s.seq, s.patterns, len(s.files), func(yield func(*record) bool) {
		for i := range s.files {
			if !yield(&s.files[i]) {
				return
			}
		}
	}); err != nil || n != b.Len() {
		panic(fmt.Sprint(n, b.Len(), err))
	}
	return b.Bytes()
}
