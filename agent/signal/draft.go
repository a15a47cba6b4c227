package signal

import (
	"strings"
	"sync"
	"sync/atomic"
	"unique"
	"unsafe"
)

// draft is the record of a series as a collector names it. The hub completes the
// name, and then nearly all of its text stands in memory twice. So a draft lets
// its own go: it is the complete record without what was merged under its labels.
// It is put together again for who asks, which is rare and slow.
type draft struct {
	record
	text  atomic.Pointer[byte]  // labels, name and unit; nil once settled
	full  *record               // no draft; the fields below are of no meaning without it
	under unique.Handle[string] // what was merged under the labels
	own   uint64                // bit i: the labels had key i of under themselves
}

// drafts is what all drafts share.
var drafts struct {
	sync.RWMutex // guards what drafts have besides record and text; taken after a shard's
	texts        slab
}

// Draft returns the Series for d, as Intern does, for who holds many of them that
// the hub will complete.
func Draft(d Desc) Series { return intern(&d, true) }

// Settle says that full is what s is completed to: its labels merged over under.
// It matters to a Draft only.
func Settle(s, full Series, under string) {
	if !s.r.draft || full.r.draft {
		return
	}
	d := s.Desc()
	t := draft{record: *s.r, full: full.r, under: unique.Make(under)}
	i := 0
	for k := range Walk(under) {
		if Lookup(d.Labels, k) != "" && i < 64 {
			t.own |= 1 << i
		}
		i++
	}
	if !t.is(&d) {
		return // a key too many, or an empty value: its text stays
	}
	drafts.Lock()
	defer drafts.Unlock()
	r := draftOf(s.r)
	r.full, r.under, r.own = t.full, t.under, t.own
	r.text.Store(nil)
}

// draftOf returns what r is the head of, which says that it is a draft.
func draftOf(r *record) *draft { return (*draft)(unsafe.Pointer(r)) }

// slab is what the next texts are put into. One by one they would leave holes
// behind when they go, soon after they came.
type slab []byte

const slabSize = 32 << 10

func (s *slab) put(d *Desc) *byte {
	n := max(len(d.Labels)+len(d.Name)+len(d.Unit), 1)
	if len(*s) < n {
		*s = make([]byte, max(n, slabSize))
	}
	text := *s
	putText(text, d)
	*s = text[n:]
	return &text[0]
}

func newDraft(d *Desc) *record {
	t := &draft{record: headOf(d)}
	t.draft = true
	drafts.Lock()
	defer drafts.Unlock()
	t.text.Store(drafts.texts.put(d))
	return &t.record
}

// pieces yields the labels of a settled draft one by one.
func (t *draft) pieces(yield func(label string) bool) {
	set := text(t.full.behind(), 0, t.full.labels)
	key, _, under, more := NextLabel(t.under.Value())
	for i := 0; ; {
		k, _, rest, ok := NextLabel(set)
		if !ok {
			return
		}
		for ; more && key < k; i++ {
			key, _, under, more = NextLabel(under)
		}
		added := more && key == k && (i >= 64 || t.own>>i&1 == 0)
		if !added && !yield(set[:len(set)-len(rest)]) {
			return
		}
		set = rest
	}
}

func (t *draft) desc(room []byte) Desc {
	if text := t.text.Load(); text != nil {
		return t.descAt(unsafe.Pointer(text))
	}
	drafts.RLock()
	defer drafts.RUnlock()
	if cap(room) < int(t.labels) {
		room = make([]byte, 0, t.labels)
	}
	for l := range t.pieces {
		room = append(room, l...)
	}
	d := t.full.descAt(t.full.behind())
	d.Labels = unsafe.String(unsafe.SliceData(room), len(room))
	return d
}

func (t *draft) is(d *Desc) bool {
	if t.typ != d.Type || int(t.labels) != len(d.Labels) {
		return false
	}
	if text := t.text.Load(); text != nil {
		return t.descAt(unsafe.Pointer(text)) == *d
	}
	drafts.RLock()
	defer drafts.RUnlock()
	if f := t.full.descAt(t.full.behind()); f.Name != d.Name || f.Unit != d.Unit {
		return false
	}
	rest, same := d.Labels, true
	for l := range t.pieces {
		if rest, same = strings.CutPrefix(rest, l); !same {
			return false
		}
	}
	return rest == ""
}
