package spool

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// smallSpool makes a spool of three segments with two cursors, one of them
// split, and closes it.
func smallSpool(t testing.TB) *memFS {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m, SegmentBytes: 500})
	a := cursor(t, s, "a", From{})
	b := cursor(t, s, "b", From{})
	put(t, s, 6)
	take(t, a.Live(), 1, 2)
	done(t, a.Live(), 1)
	if !a.Split() {
		t.Fatal("no split")
	}
	put(t, s, 3)
	take(t, a.Live(), 7)
	done(t, a.Live(), 7)
	take(t, b.Live(), 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

const smallFrames, smallItems = 9, 1 + 2 + 3 + 4 + 0 + 1 + 2 + 3 + 4

// drainAll opens the spool of m, appends one frame, and returns for each cursor
// which frames it is handed and how its books end. Books must balance throughout.
func drainAll(t testing.TB, m *memFS) (got map[string][]Seq, books map[string]Lag, st Stats) {
	t.Helper()
	s, err := Open("/spool", Options{FS: m, SyncEvery: -1, SegmentBytes: 500})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, books = map[string][]Seq{}, map[string]Lag{}
	if _, err := s.Append(t.Context(), frameOf(s.Newest()+1, 100), itemsOf(s.Newest()+1)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		c := cursor(t, s, name, From{Oldest: true})
		for _, l := range []*Lane{c.Backlog(), c.Live()} {
			for {
				seq, frame, ok, err := l.TryNext()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if !bytes.Equal(frame, frameOf(seq, 100)) {
					t.Fatalf("frame %d reads %.60q", seq, frame)
				}
				got[name] = append(got[name], seq)
				done(t, l, seq)
				balanced(t, c)
			}
		}
		books[name] = balanced(t, c)
		if books[name].Waiting != 0 {
			t.Fatalf("drained, and yet %+v", books[name])
		}
	}
	return got, books, s.Stats()
}

func itemsIn(seqs []Seq) (n int64) {
	for _, seq := range seqs {
		n += int64(itemsOf(seq))
	}
	return n
}

// TestEveryFlippedBitIsBookedExactly flips each byte of each file of a small
// spool, in several ways. What cannot be read is booked, and nothing else.
func TestEveryFlippedBitIsBookedExactly(t *testing.T) {
	whole := smallSpool(t)
	wantA, wantB := []Seq{2, 3, 4, 5, 6, 8, 9, 10}, []Seq{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	got, _, _ := drainAll(t, whole.clone())
	if !slices.Equal(got["a"], wantA) || !slices.Equal(got["b"], wantB) {
		t.Fatalf("without damage: %v", got)
	}
	for _, name := range slices.Sorted(maps.Keys(whole.names)) {
		size := len(whole.names[name].data)
		for off := range size {
			if !strings.HasSuffix(name, segSuffix) && (off%slotEvery >= slotLen || !slotUsed(whole, name, off)) {
				continue // between the slots, or the unused rest of one
			}
			for _, mask := range []byte{1, 0x80, 0xff} {
				m := whole.clone()
				m.names[name].data[off] ^= mask
				at := fmt.Sprintf("%s, byte %d, ^%#x", path.Base(name), off, mask)
				got, books, st := drainAll(t, m)
				if t.Failed() {
					t.Fatal(at)
				}
				cursorHit := strings.HasSuffix(name, curSuffix)
				if cursorHit && st.BadCursors != 0 {
					t.Fatalf("%s: one slot is damaged, and the other does not serve", at)
				}
				for c, want := range map[string][]Seq{"a": wantA, "b": wantB} {
					// A slot that is lost brings back the one before: one frame
					// is done again at most.
					if cursorHit {
						if missing := without(want, got[c]); len(missing) > 0 || len(got[c]) > len(want)+1 {
							t.Fatalf("%s: cursor %s is handed %v, want %v", at, c, got[c], want)
						}
						continue
					}
					missing := without(want, got[c])
					if len(missing) > 1 || len(without(got[c], want)) > 0 {
						t.Fatalf("%s: cursor %s is handed %v, want %v", at, c, got[c], want)
					}
					if b := books[c].Books; b.Items[Damaged] != itemsIn(missing) || b.Items[Evicted] != 0 {
						t.Fatalf("%s: cursor %s misses %v, and books %v", at, c, missing, b)
					}
					if books[c].In != smallItems+int64(itemsOf(10)) {
						t.Fatalf("%s: in is %d", at, books[c].In)
					}
					if len(missing) > 0 && st.BadRecords != 1 {
						t.Fatalf("%s: %d damaged places", at, st.BadRecords)
					}
				}
			}
		}
	}
}

func without(a, b []Seq) (out []Seq) {
	for _, seq := range a {
		if !slices.Contains(b, seq) {
			out = append(out, seq)
		}
	}
	return out
}

// TestWhatCannotBeReadIsKept cuts, deletes and overwrites whole stretches.
func TestWhatCannotBeReadIsKept(t *testing.T) {
	whole := smallSpool(t)
	segs := []string{}
	for name := range whole.names {
		if strings.HasSuffix(name, segSuffix) {
			segs = append(segs, name)
		}
	}
	slices.Sort(segs)
	if len(segs) != 3 {
		t.Fatalf("segments: %v", segs)
	}
	// f damages a spool; missing is what cursor b is not handed, bad how many
	// files are kept aside in the end.
	f := func(what string, damage func(m *memFS), missing []Seq, bad int) {
		t.Helper()
		m := whole.clone()
		damage(m)
		got, books, _ := drainAll(t, m)
		want := without([]Seq{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, missing)
		if !slices.Equal(got["b"], want) {
			t.Fatalf("%s: handed %v, want %v", what, got["b"], want)
		}
		if b := books["b"]; b.Books.Items[Damaged] != itemsIn(missing) || b.In != smallItems+int64(itemsOf(10)) {
			t.Fatalf("%s: %+v", what, b)
		}
		kept := 0
		for name := range m.names {
			if strings.HasSuffix(name, badSuffix) {
				kept++
			}
		}
		if kept != bad {
			t.Fatalf("%s: %d files are kept aside, want %d: %v", what, kept, bad, slices.Sorted(maps.Keys(m.names)))
		}
	}
	fill := func(name string, from, to int, b byte) func(*memFS) {
		return func(m *memFS) {
			d := m.names[name].data
			for i := from; i < min(to, len(d)); i++ {
				d[i] = b
			}
		}
	}
	remove := func(names ...string) func(*memFS) {
		return func(m *memFS) {
			for _, name := range names {
				delete(m.names, name)
			}
		}
	}
	cut := func(name string, size int) func(*memFS) {
		return func(m *memFS) { m.names[name].data = m.names[name].data[:size] }
	}
	f("nothing", func(*memFS) {}, nil, 0)
	f("the oldest segment is deleted", remove(segs[0]), []Seq{1, 2, 3}, 0)
	f("a segment in the middle is deleted", remove(segs[1]), []Seq{4, 5, 6}, 0)
	f("the newest segment is deleted", remove(segs[2]), []Seq{7, 8, 9}, 0)
	f("all segments are deleted", remove(segs...), []Seq{1, 2, 3, 4, 5, 6, 7, 8, 9}, 0)
	f("all of the middle is noise", fill(segs[1], 0, 1000, 0xa5), []Seq{4, 5, 6}, 1)
	f("all of the newest is noise", fill(segs[2], 0, 1000, 0xa5), []Seq{7, 8, 9}, 1)
	f("all of the newest is zeros", fill(segs[2], 0, 1000, 0), []Seq{7, 8, 9}, 0)
	f("all of the middle is zeros", fill(segs[1], 0, 1000, 0), []Seq{4, 5, 6}, 1)
	f("a header and a record are noise", fill(segs[1], 0, 100, 0xa5), []Seq{4}, 1)
	f("two records in the middle are noise", fill(segs[1], 100, 250, 0xa5), []Seq{4, 5}, 1)
	f("the newest ends in noise", fill(segs[2], 41+280, 1000, 0xa5), []Seq{9}, 1)
	f("the newest ends in zeros", fill(segs[2], 40+280, 1000, 0), []Seq{9}, 0)
	f("the newest is torn in a frame", cut(segs[2], 40+280+50), []Seq{9}, 0)
	f("the newest is torn in a header", cut(segs[2], 40+280+5), []Seq{9}, 0)
	f("the newest is torn in its own header", cut(segs[2], 5), []Seq{7, 8, 9}, 0)
	f("the newest is empty", cut(segs[2], 0), []Seq{7, 8, 9}, 0)
	f("the middle is torn", cut(segs[1], 40+280+50), []Seq{6}, 0)
	f("HEAD is deleted", remove("/spool/HEAD"), nil, 0)
	f("HEAD is noise", fill("/spool/HEAD", 0, 9000, 0xa5), nil, 1)
	f("the end is copied behind itself", func(m *memFS) {
		n := m.names[segs[2]]
		n.data = append(n.data, n.data[40:]...)
	}, nil, 1)
}

func TestAPageThatCannotBeReadCostsWhatIsOnIt(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m})
	c := cursor(t, s, "a", From{})
	put(t, s, 200)
	m.badFrom, m.badTo = 8192, 12288
	var want, got []Seq
	for seq := Seq(1); seq <= 200; seq++ {
		if off := int64(headLen + 140*(seq-1)); off+140 <= 8192 || off >= 12288 {
			want = append(want, seq)
		}
	}
	for tries := 0; tries < 500; tries++ {
		if seq, _, ok, err := c.Live().TryNext(); ok {
			got = append(got, seq)
		} else if err == nil {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("handed %v, want %v", got, want)
	}
	if l := balanced(t, c); l.Books.Items[Damaged] != l.In-itemsIn(want) {
		t.Fatalf("%+v", l)
	}
}

func TestASegmentOfWhichNothingCountsLeavesItsName(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m})
	put(t, s, 1)
	s.Close()
	m.names["/spool/"+segName(1)].data[headLen+9] ^= 1
	delete(m.names, "/spool/HEAD")
	s = open(t, "/spool", Options{FS: m})
	put(t, s, 2)
	var got []Seq
	if err := s.Scan(0, func(seq Seq, _ []byte) error { got = append(got, seq); return nil }); err != nil || !slices.Equal(got, []Seq{1, 2}) {
		t.Fatalf("scan finds %v, %v", got, err)
	}
	if m.names["/spool/"+segName(1)+badSuffix] == nil {
		t.Fatal("what could not be read is gone")
	}
}

func TestATornTailIsCut(t *testing.T) {
	for _, cut := range []int{1, 39, 40, 41, 139} {
		m := smallSpool(t)
		n := m.names["/spool/"+segName(7)]
		whole := len(n.data)
		n.data = n.data[:whole-140+cut]
		s := open(t, "/spool", Options{FS: m})
		if got := len(n.data); got != whole-140 {
			t.Fatalf("%d bytes of a record: the file is cut to %d, want %d", cut, got, whole-140)
		}
		s.Close()
	}
}

func TestACursorWithBothSlotsDamagedBeginsAtTheOldest(t *testing.T) {
	m := smallSpool(t)
	clear(m.names["/spool/a.cur"].data)
	got, books, st := drainAll(t, m)
	if len(got["a"]) != smallFrames+1 || !books["a"].Reset || st.BadCursors != 1 || m.names["/spool/a.cur.bad"] == nil {
		t.Fatalf("%v, %+v, %+v", got["a"], books["a"], st)
	}
	if books["b"].Reset {
		t.Fatal("the other one is reset too")
	}
	got, books, _ = drainAll(t, m) // and stays that way
	if !books["a"].Reset || len(got["a"]) != 1 {
		t.Fatalf("%v, %+v", got["a"], books["a"])
	}
}

func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	whole := smallSpool(t)
	rep, err := inspect(whole, "/spool", true)
	if err != nil || len(rep.Damage) != 0 || rep.Newest != smallFrames || rep.Items != smallItems || len(rep.Segments) != 3 {
		t.Fatalf("%+v, %v", rep, err)
	}
	if c := rep.Cursors[0]; c.Name != "a" || c.In != smallItems || c.Waiting != smallItems-1-2 || c.Next != 2 || c.Ranges != 2 || c.Books.Sum() != 3 {
		t.Fatalf("%+v", c)
	}
	shallow, err := inspect(whole, "/spool", false)
	if err != nil || len(shallow.Damage) != 0 || shallow.Newest != smallFrames || shallow.Items != smallItems {
		t.Fatalf("%+v, %v", shallow, err)
	}
	for i, g := range shallow.Segments {
		if d := rep.Segments[i]; g.Frames != d.Frames || g.Items != d.Items || g.Bytes != d.Bytes || g.First != d.First {
			t.Fatalf("List says %+v, Verify %+v", g, d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(whole.names)) {
		for off := range whole.names[name].data {
			if !strings.HasSuffix(name, segSuffix) && off%slotEvery >= slotLen {
				continue // between the slots
			}
			m := whole.clone()
			m.names[name].data[off] ^= 0x10
			rep, err := inspect(m, "/spool", true)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(name, segSuffix) || slotUsed(m, name, off) {
				if len(rep.Damage) != 1 || rep.Damage[0].File != name {
					t.Fatalf("%s, byte %d: %+v", path.Base(name), off, rep.Damage)
				}
			}
			if !strings.HasSuffix(name, segSuffix) {
				continue
			}
			got, books, _ := drainAll(t, m)
			missing := without([]Seq{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, got["b"])
			if d := rep.Damage[0]; d.Frames != int64(len(missing)) || d.Items != books["b"].Books.Items[Damaged] {
				t.Fatalf("%s, byte %d: %+v, but missing are %v", path.Base(name), off, d, missing)
			}
		}
	}
	m := whole.clone()
	for name := range m.names {
		if strings.HasSuffix(name, segName(4)) {
			delete(m.names, name)
		}
	}
	rep, err = inspect(m, "/spool", true)
	if err != nil || len(rep.Damage) != 1 || rep.Damage[0].Frames != 3 || rep.Damage[0].Items != itemsIn([]Seq{4, 5, 6}) {
		t.Fatalf("%+v, %v", rep.Damage, err)
	}
}

// slotUsed reports whether a byte belongs to what a slot says, and not to the
// rest of it, which no checksum covers.
func slotUsed(m *memFS, name string, off int) bool {
	d := m.names[name].data
	slot := off / slotEvery * slotEvery
	return off-slot < slotHead+int(d[slot+20])+int(d[slot+21])<<8
}
