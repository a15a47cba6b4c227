package tail

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// compress does what gzip does: NAME.gz is whole before NAME goes.
func (h *host) compress(name string) {
	h.Helper()
	text, err := os.ReadFile(h.path(name))
	h.must(err)
	h.must(os.WriteFile(h.path(name+".tmp"), zipped(text), 0o644))
	h.rename(name+".tmp", name+".gz")
	h.remove(name)
}

func zipped(text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(text)
	_ = z.Close()
	return b.Bytes()
}

// kubelet rotates as the kubelet does: the newest rotated file stays as it is,
// those before it are compressed.
type kubelet struct {
	*writer
	n     int
	plain string
}

func (k *kubelet) rotate() {
	k.Helper()
	k.n++
	name := fmt.Sprintf("%s.20261123-%06d", k.name, k.n)
	k.rename(k.name, name)
	if k.plain != "" {
		k.compress(k.plain)
		k.must(os.Chtimes(k.path(k.plain+".gz"), k.now, k.now)) // made just now
	}
	k.plain = name
	k.write(k.name, "")
}

func TestCompressedFilesAreReadAfterARestart(t *testing.T) {
	for lines := range 4 {
		h := newHost(t, File{Path: "a.log"}).start().looks(1)
		k := &kubelet{writer: &writer{host: h, name: "a.log"}}
		k.lines(200)
		h.looks(1)
		k.lines(lines * 50)
		h.stop()
		h.now = h.now.Add(time.Minute)
		for range 5 {
			k.lines(20)
			k.rotate()
			k.lines(lines)
		}
		h.start().looks(10)
		k.check()
		for range 2 {
			h.stop()
			h.start().looks(10)
			k.check()
		}
	}
}

func TestWhatIsReadIsNotReadAgainWhenItIsCompressed(t *testing.T) {
	h := newHost(t, File{Path: "a.log*"}).start().looks(1)
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	for i := range 12 {
		k.lines(100)
		if i%3 > 0 {
			h.looks(i % 4)
		}
		k.rotate()
		k.lines(1)
		h.looks(i % 8) // the plain file is open, or has long been closed
		k.balance()
	}
	h.looks(10)
	k.check()
}

// The inode of a compressed file that had no turn yet is used again by a plain one.
func TestAnInodeOfACompressedFileThatIsUsedAgain(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	w := &writer{host: h, name: "a.log"}
	w.lines(5)
	h.looks(1)
	h.inflating = inflateMany // no turn for it
	h.must(os.WriteFile(h.path("a.log.20261123-000001.gz"), zipped([]byte("deleted unread\n")), 0o644))
	h.looks(1)
	h.rename("a.log.20261123-000001.gz", "a.log.new")
	h.must(os.Truncate(h.path("a.log.new"), 0))
	h.rename("a.log", "a.log.20261123-000002")
	h.rename("a.log.new", "a.log")
	h.inflating = 0
	w.lines(5)
	h.looks(8)
	w.check()
}

// A file is opened, waits for its turn, and is compressed meanwhile: it is read
// once, and in the place that its name tells.
func TestAFileThatIsCompressedBeforeItsTurn(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	k.lines(20)
	h.looks(1)
	k.rotate()
	k.lines(20)
	h.find.listed = func(string) { // the scan opens a.log, and names change
		h.find.listed = nil
		k.rotate()
		k.lines(20)
		k.rotate()
		k.lines(20)
		k.rotate()
	}
	k.lines(1)
	h.looks(8)
	k.check()
}

func TestFilesCompressedBeforeOurTimeAreLeftAlone(t *testing.T) {
	h := newHost(t, File{Path: "a.log", Start: "beginning"})
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	for range 3 {
		k.lines(10)
		k.rotate()
	}
	k.want = nil
	k.lines(3)
	h.start().looks(2)
	k.check()
	h.stop()
	h.start().looks(2)
	k.check()
}

func TestADamagedCompressedFileIsNamed(t *testing.T) {
	for _, where := range []string{"head", "middle", "short", "sum"} {
		h := newHost(t, File{Path: "a.log"}).start().looks(1)
		rng := rand.New(rand.NewPCG(1, 1))
		var text strings.Builder
		for i := range 5000 {
			fmt.Fprintf(&text, "line %d %x\n", i, rng.Uint64())
		}
		h.write("a.log", text.String()[:2000])
		h.looks(1).stop()
		h.write("a.log", text.String()[2000:])
		h.rename("a.log", "a.log.20261123-000001")
		h.compress("a.log.20261123-000001")
		h.write("a.log", "new\n")
		name := h.path("a.log.20261123-000001.gz")
		raw, err := os.ReadFile(name)
		h.must(err)
		switch where {
		case "head":
			raw[0] = 'x'
		case "middle":
			for i := range 99 {
				raw[len(raw)/2+i] = 0xff
			}
		case "short":
			raw = raw[:len(raw)/2]
		case "sum":
			raw[len(raw)-6] ^= 1
		}
		h.must(os.WriteFile(name, raw, 0o644))
		h.start().looks(10)
		h.balance()
		got := h.spool.text()
		if got[len(got)-1] != "new" {
			t.Errorf("%s: the new file is held up: %q", where, got[len(got)-1])
		}
		if where != "head" && (len(got) < 1000 || !strings.HasPrefix(text.String(), strings.Join(got[:len(got)/3], "\n"))) {
			t.Errorf("%s: %d lines", where, len(got))
		}
		named := 0
		for _, f := range h.Files() {
			if strings.Contains(f.Err, ".gz") {
				named++
			}
		}
		if n := h.Stats().Damaged.Load(); n != 1 || named != 1 || strings.Count(h.log.String(), "cannot read") != 1 {
			t.Errorf("%s: %d damaged, %d named\n%s", where, n, named, h.log.String())
		}
	}
}

// Any way of reading gives the text that was compressed.
func TestInflatedOffsets(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	text := make([]byte, 3<<20)
	for i := range text {
		text[i] = byte(rng.IntN(7))
	}
	name := t.TempDir() + "/x.gz"
	if err := os.WriteFile(name, append(zipped(text[:1<<20]), zipped(text[1<<20:])...), 0o600); err != nil {
		t.Fatal(err)
	}
	fh, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer fh.Close()
	z := &inflater{fh: fh}
	for range 300 {
		off, n := rng.IntN(len(text)+100), rng.IntN(300_000)
		p := make([]byte, n)
		got, err := z.ReadAt(p, int64(off))
		want := text[min(off, len(text)):min(off+n, len(text))]
		if !bytes.Equal(p[:got], want) || (err == io.EOF) != (got < n) && n > 0 {
			t.Fatalf("%d bytes at %d: %d, %v", n, off, got, err)
		}
		if len(z.win) > inflateWindow+400_000 {
			t.Fatalf("a window of %d bytes", len(z.win))
		}
	}
	if err := z.damage(); err != nil {
		t.Error(err)
	}
}

func FuzzInflater(f *testing.F) {
	f.Add(zipped([]byte("one\ntwo\n")), uint16(3))
	f.Add(zipped(make([]byte, 5000))[:20], uint16(0))
	f.Fuzz(func(t *testing.T, raw []byte, off uint16) {
		fh, err := os.Create(t.TempDir() + "/x.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer fh.Close()
		if _, err := fh.Write(raw); err != nil {
			t.Fatal(err)
		}
		z := &inflater{fh: fh}
		p := make([]byte, 2000)
		if n, err := z.ReadAt(p, int64(off)); n < len(p) && err == nil {
			t.Errorf("%d bytes and no error", n)
		}
	})
}

// The inode of a compressed file that is gone may be a new file's before a scan
// came by, which opened the path in vain just before.
func TestANewFileIsNotTakenForACompressedOne(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	h.write("a.log", "one\n")
	h.write("a.log.1", "two\n")
	h.compress("a.log.1")
	h.looks(3).want("two", "one")
	for _, f := range h.files {
		if f.gz {
			f.path = h.path("a.log")
		}
	}
	h.must(os.WriteFile(h.path("a.log.1.gz"), []byte("three\n"), 0o644)) // which keeps the inode
	h.remove("a.log")
	h.rename("a.log.1.gz", "a.log")
	h.looks(3).want("two", "one", "three")
	if strings.Contains(h.log.String(), "cannot read") {
		t.Error(h.log.String())
	}
}

// Files that were renamed, compressed and deleted one after another, before the
// place of any of them was certain, are read in the order of their names.
func TestFilesThatAreCompressedBeforeTheirTurnKeepTheirOrder(t *testing.T) {
	for _, watched := range []bool{true, false} {
		for _, times := range []int{1, 2, 3, 5, 9} {
			t.Run(fmt.Sprintf("watched=%v,times=%d", watched, times), func(t *testing.T) {
				h := newHost(t, File{Path: "a.log"}).start()
				if !watched {
					h.unwatched()
				}
				h.looks(1)
				k := &kubelet{writer: &writer{host: h, name: "a.log"}}
				k.lines(3)
				h.looks(1)
				k.lines(3)
				h.duringListing(times, func() {
					for range 3 { // of which a scan sees one
						k.lines(2)
						k.rotate()
						k.compress(k.plain)
						k.plain = ""
						k.lines(2)
					}
				})
				k.write("other", "")
				h.looks(20)
				k.check()
			})
		}
	}
}

// A file that a scan found is compressed before the scan opens it: its successor
// does not take its place.
func TestAFileThatIsCompressedBeforeItIsOpenedComesBeforeItsSuccessor(t *testing.T) {
	h := newHost(t, File{Path: "*.log"}).start().looks(1)
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	k.lines(3)
	h.looks(1)
	for range 2 {
		k.lines(3)
		k.rotate()
	}
	k.lines(3)
	labels := h.find.rules[0].labels
	h.find.rules[0].labels = func(root string) ([]string, bool) {
		if k.plain != "" && root == h.path("0.log") { // of a family that is new, and comes first in the folder
			k.compress(k.plain)
			k.plain = ""
		}
		return labels(root)
	}
	h.write("0.log", "")
	for range 10 { // a scan in each
		h.now = h.now.Add(10 * time.Millisecond)
		_, err := h.step(h.Context(), h.now, h.spool)
		h.must(err)
	}
	h.looks(4)
	k.check()
}

// A file is put back, since names changed before its first bytes were taken, and
// is compressed meanwhile.
func TestAFileThatIsPutBackAndCompressedIsReadOnce(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	k.lines(40)
	h.beforeReading("a.log", 1, func() { h.write("other", "") })
	h.looks(1)
	k.rotate()
	k.compress(k.plain)
	at := time.Now().Add(-time.Second) // as if it were the older one
	h.must(os.Chtimes(h.path(k.plain+".gz"), at, at))
	k.lines(5)
	h.looks(8)
	k.check()
}

// The inode of a compressed file was given to a plain one, which was renamed again
// before it could be looked at.
func TestAPlainFileIsNotTakenForACompressedOne(t *testing.T) {
	h := newHost(t, File{Path: "a.log"}).start().looks(1)
	k := &kubelet{writer: &writer{host: h, name: "a.log"}}
	k.lines(3)
	h.looks(1).stop()
	k.lines(3)
	k.rotate()
	k.compress(k.plain)
	h.start().looks(3)
	k.check()
	name := k.path(k.plain + ".gz")
	for _, f := range h.files {
		if f.path == name && (f.ignored || !h.another(f, candidate{key: f.key, path: h.path("moved"), root: f.family.root, rule: f.rule, size: f.pos.off}, h.now)) {
			t.Error("it was")
		}
	}
}
