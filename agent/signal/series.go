package signal

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"unsafe"
	"weak"
)

// Desc is everything about a series except its values.
type Desc struct {
	Name   string // dotted, OpenTelemetry's where it has one: "system.cpu.time"
	Unit   string // UCUM, as OpenTelemetry writes it: "s", "By", "1", "{packet}"
	Type   Type
	Labels string // flat, sorted: see AppendLabel
}

// Series is an interned Desc: 8 bytes, comparable with ==, fit for a map key.
// The runtime drops a Desc once no Series and no string of it is held, so churn
// needs no eviction code of ours. The zero Series is invalid.
//
// An agent may hold a hundred thousand of them, so what one takes is what the
// agent takes. A Handle of package unique would do the same, with 190 bytes more,
// in eight objects rather than two, and four times as slowly (BenchmarkIntern);
// and a record has no pointer that the garbage collector would have to follow.
type Series struct{ r *record }

// record is the head of a Desc; its labels, name and unit follow in the same
// allocation, which is memory without pointers.
type record struct {
	labels, name, unit uint32 // lengths
	typ                Type
	draft              bool // the record of a draft: the text is elsewhere
}

const recordSize = unsafe.Sizeof(record{})

// Intern returns the Series for d. It keeps copies of d's strings, never the
// strings themselves.
func Intern(d Desc) Series { return intern(&d, false) }

func intern(d *Desc, draft bool) Series {
	h := maphash.String(interned.seed, d.Labels) ^ bits.RotateLeft64(maphash.String(interned.seed, d.Name), 23) + uint64(d.Type)
	return interned.shards[h>>(64-shardBits)].intern(uint32(h), d, draft)
}

// Desc returns what s stands for. Its strings live as long as they are held.
func (s Series) Desc() Desc { return s.DescIn(nil) }

// DescIn is Desc for who has a Draft and room to put its labels together in: they
// are in room[:0] then, or in memory of their own.
func (s Series) DescIn(room []byte) Desc {
	if s.r.draft {
		return draftOf(s.r).desc(room[:0])
	}
	return s.r.descAt(s.r.behind())
}

// Type is Desc().Type, for hot loops.
func (s Series) Type() Type { return s.r.typ }

// Valid reports whether s was made by Intern.
func (s Series) Valid() bool { return s != Series{} }

// behind is where the text of a record begins that is no draft's.
func (r *record) behind() unsafe.Pointer { return unsafe.Add(unsafe.Pointer(r), recordSize) }

// descAt returns what r stands for, whose text is at p.
func (r *record) descAt(p unsafe.Pointer) Desc {
	return Desc{Name: text(p, r.labels, r.name), Unit: text(p, r.labels+r.name, r.unit), Type: r.typ, Labels: text(p, 0, r.labels)}
}

// text returns n bytes at p+from. A pointer behind the last of them would be one
// into somebody else's memory, even to a string of no bytes.
func text(p unsafe.Pointer, from, n uint32) string {
	if n == 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Add(p, from)), n)
}

func headOf(d *Desc) record {
	return record{labels: uint32(len(d.Labels)), name: uint32(len(d.Name)), unit: uint32(len(d.Unit)), typ: d.Type}
}

func putText(to []byte, d *Desc) {
	to = to[copy(to, d.Labels):]
	to = to[copy(to, d.Name):]
	copy(to, d.Unit)
}

func newRecord(d *Desc) *record {
	n := recordSize + uintptr(max(len(d.Labels)+len(d.Name)+len(d.Unit), 1)) // behind is within it always
	words := make([]uint64, (n+7)/8)
	putText(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)[recordSize:], d)
	r := (*record)(unsafe.Pointer(&words[0]))
	*r = headOf(d)
	return r
}

func (r *record) is(d *Desc) bool {
	if r.draft {
		return draftOf(r).is(d)
	}
	return r.descAt(r.behind()) == *d
}

// interned finds the record of a Desc. It refers to records weakly: a place whose
// record is gone is used again when its shard is next made anew.
var interned = struct {
	seed   maphash.Seed
	shards [1 << shardBits]shard
}{seed: maphash.MakeSeed()}

const (
	shardBits = 5
	fewPlaces = 16
)

// shard is a hash table with linear probing. Its number of places is 0 or a power
// of two; some of them are always free, so that every search ends.
type shard struct {
	mu     sync.Mutex
	hashes []uint32 // 0 where the place is free
	refs   []weak.Pointer[record]
	used   int // places that are not free, whether their record is there still or gone
}

func (t *shard) intern(h uint32, d *Desc, draft bool) Series {
	h = max(h, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if 4*(t.used+1) > 3*len(t.hashes) {
		t.anew()
	}
	mask := uint32(len(t.hashes) - 1)
	i := h & mask
	for ; t.hashes[i] != 0; i = (i + 1) & mask {
		if t.hashes[i] != h {
			continue
		}
		if r := t.refs[i].Value(); r != nil && r.is(d) {
			return Series{r}
		}
	}
	var r *record
	if draft {
		r = newDraft(d)
	} else {
		r = newRecord(d)
	}
	t.hashes[i], t.refs[i] = h, weak.Make(r)
	t.used++
	return Series{r}
}

// anew makes the table anew without what is gone, so large that half of it is free.
func (t *shard) anew() {
	alive := 0
	for i, h := range t.hashes {
		if h == 0 {
			continue
		}
		if t.refs[i].Value() == nil {
			t.hashes[i] = 0
			continue
		}
		alive++
	}
	n := fewPlaces
	for n < 2*(alive+1) {
		n *= 2
	}
	hashes, refs := t.hashes, t.refs
	t.hashes, t.refs, t.used = make([]uint32, n), make([]weak.Pointer[record], n), alive
	mask := uint32(n - 1)
	for i, h := range hashes {
		if h == 0 {
			continue
		}
		at := h & mask
		for t.hashes[at] != 0 {
			at = (at + 1) & mask
		}
		t.hashes[at], t.refs[at] = h, refs[i]
	}
}
