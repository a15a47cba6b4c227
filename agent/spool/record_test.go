package spool

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
)

func TestEachFieldOfARecordSurvives(t *testing.T) {
	f := func(h header, frame string) {
		t.Helper()
		p := appendRecord(nil, sealOf(7), h, []byte(frame))
		got, ok := parseHeader(p, sealOf(7))
		h.length, h.sum = uint32(len(frame)), got.sum
		if !ok || got != h || string(p[headLen:]) != frame {
			t.Fatalf("%+v becomes %+v, %v", h, got, ok)
		}
		if _, ok := parseHeader(p, sealOf(8)); ok {
			t.Fatal("a record of another segment passes")
		}
	}
	f(header{seq: 1}, "")
	f(header{seq: 1 << 61}, "frame")
	f(header{seq: 7, total: 1 << 61}, "frame")
	f(header{seq: 7, time: -1}, "frame")
	f(header{seq: 7, items: 1<<32 - 1}, "frame")
}

func TestEachFieldOfASegmentHeaderSurvives(t *testing.T) {
	f := func(h segHeader) {
		t.Helper()
		p := appendSegHeader(nil, h)
		if got, ok := parseSegHeader(p, h.start.seq); !ok || got != h || len(p) != headLen {
			t.Fatalf("%+v becomes %+v, %v", h, got, ok)
		}
		if _, ok := parseSegHeader(p, h.start.seq+1); ok {
			t.Fatal("a segment passes under another's name")
		}
	}
	f(segHeader{start: mark{seq: 9}})
	f(segHeader{start: mark{9, 1 << 61}})
	f(segHeader{start: mark{9, 1}, created: -5})
	f(segHeader{start: mark{9, 1}, evicts: true})
}

func somePlaces() []place {
	books := Books{Twice: 3}
	for i := range books.Items {
		books.Items[i] = int64(i)
	}
	sum := uint64(books.Sum())
	return []place{
		{start: mark{1, 0}, spans: []spanPlace{{lo: mark{1, 0}}}},
		{start: mark{5, 10}, reset: true, books: books, spans: []spanPlace{{lo: mark{9, 10 + sum}, seen: mark{11, 99}}}},
		{start: mark{5, 10}, books: books, spans: []spanPlace{
			{lo: mark{6, 10}, hi: mark{8, 12}, seen: mark{7, 11}}, {lo: mark{9, 12 + sum}},
		}},
	}
}

func TestEachFieldOfACursorSurvives(t *testing.T) {
	for _, p := range somePlaces() {
		got, ok := parsePlace(appendPlace(nil, &p))
		if !ok || !reflect.DeepEqual(got, p) {
			t.Fatalf("%+v becomes %+v, %v", p, got, ok)
		}
		p.books.Items[Sent]++
		if _, ok := parsePlace(appendPlace(nil, &p)); ok {
			t.Fatal("books that do not balance pass")
		}
	}
	h := headPlace{head: mark{9, 8}, removed: mark{7, 6}, synced: 5}
	if got, ok := parseHeadPlace(appendHeadPlace(nil, h)); !ok || got != h {
		t.Fatalf("%+v becomes %+v, %v", h, got, ok)
	}
}

func TestTheNewerValidSlotCounts(t *testing.T) {
	m := newMemFS()
	var w slots
	if err := w.create(m, "/spool", "x", len(append(w.payload(), "one"...))); err != nil {
		t.Fatal(err)
	}
	f := func(what, want string) {
		t.Helper()
		var r slots
		file, err := m.Open("/spool/x", 0)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := r.open(file); string(p) != want || ok != (want != "") {
			t.Fatalf("%s: %q, %v; want %q", what, p, ok, want)
		}
	}
	write := func(s string) {
		t.Helper()
		if err := w.write(len(append(w.payload(), s...))); err != nil {
			t.Fatal(err)
		}
	}
	f("new", "one")
	size := len(m.names["/spool/x"].data)
	write("two")
	f("written again", "two")
	write("a longer one, the third")
	f("written a third time", "a longer one, the third")
	if len(m.names["/spool/x"].data) != size {
		t.Fatal("a write needs space that was not there from the first")
	}
	newer := int(w.gen%2) * slotEvery
	m.names["/spool/x"].data[newer+slotHead] ^= 1
	f("the newer one damaged", "two")
	m.names["/spool/x"].data[(newer+slotEvery)%(2*slotEvery)+slotHead] ^= 1
	f("both damaged", "")
}

func TestNamesOfCursorsSurvive(t *testing.T) {
	for _, name := range []string{"a", "datadog/log", "ü%2F..", "..", ".", "A b\x00c", "x.cur"} {
		file, err := curName(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := parseCurName(file); !ok || got != name {
			t.Fatalf("%q becomes %q becomes %q", name, file, got)
		}
	}
	if _, err := curName(""); err == nil {
		t.Fatal("no name passes")
	}
	if _, err := curName(string(bytes.Repeat([]byte("/"), 70))); err == nil {
		t.Fatal("a name too long for a file passes")
	}
	if _, ok := parseCurName("a%2f.cur"); ok {
		t.Fatal("two files may mean one cursor")
	}
}

// FuzzSegment gives a segment's bytes, whatever they are, to all who read them.
func FuzzSegment(f *testing.F) {
	m := smallSpool(f)
	for name, n := range m.names {
		if first, ok := parseSegName(name[len("/spool/"):]); ok && first < 5 {
			f.Add(uint8(first), n.data)
		}
	}
	f.Add(uint8(1), []byte{})
	f.Add(uint8(1), make([]byte, 100))
	f.Fuzz(func(t *testing.T, first uint8, data []byte) {
		if first == 0 || len(data) > 1<<16 {
			return
		}
		m := newMemFS()
		m.names["/spool/"+segName(Seq(first))] = &inode{data: slices.Clone(data)}
		if _, err := inspect(m, "/spool", true); err != nil {
			t.Fatal(err)
		}
		s := open(t, "/spool", Options{FS: m})
		c := cursor(t, s, "a", From{Oldest: true})
		newest := s.Newest()
		if _, err := s.Append(t.Context(), []byte("x"), 1); err != nil && newest < maxTotal-2 && s.Stats().Items < maxTotal-2 {
			t.Fatal(err)
		}
		for range len(data) + 2 {
			seq, _, ok, err := c.Live().TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			var b Books
			b.Items[Sent] = int64(c.find(seq).to.total - c.find(seq).from.total)
			if err := c.Live().Done(seq, b); err != nil {
				t.Fatal(err)
			}
			balanced(t, c)
		}
		if l := balanced(t, c); l.Waiting != 0 {
			t.Fatalf("drained, and yet %+v", l)
		}
		s.Close()
	})
}

// FuzzPlaces gives the payload of a slot, whatever it is, to a spool that opens.
func FuzzPlaces(f *testing.F) {
	for _, p := range somePlaces() {
		f.Add(appendPlace(nil, &p), appendHeadPlace(nil, headPlace{head: mark{9, 8}, removed: mark{7, 6}}))
	}
	f.Fuzz(func(t *testing.T, cur, head []byte) {
		if p, ok := parsePlace(cur); ok && !bytes.Equal(appendPlace(nil, &p), cur) && cur[96]&^1 == 0 {
			t.Fatalf("%x is read as %+v, which is another place", cur, p)
		}
		if len(cur) > slotLen-slotHead || len(head) > slotLen-slotHead {
			return
		}
		m := smallSpool(t)
		for name, payload := range map[string][]byte{"/spool/a.cur": cur, "/spool/HEAD": head} {
			buf := append(make([]byte, slotHead), payload...)
			n := m.names[name]
			clear(n.data)
			copy(n.data, sealSlot(buf, 2))
		}
		if _, err := inspect(m, "/spool", true); err != nil {
			t.Fatal(err)
		}
		s := open(t, "/spool", Options{FS: m})
		c := cursor(t, s, "a", From{})
		for range 20 {
			for _, l := range []*Lane{c.Live(), c.Backlog()} {
				seq, _, ok, err := l.TryNext()
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					if l := c.Lag(); l.In != l.Books.Sum()+l.Waiting {
						t.Fatalf("%+v", l)
					}
					l.Done(seq, sent(seq))
				}
			}
		}
		s.Close()
	})
}
