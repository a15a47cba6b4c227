package logline

import (
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-agent/causeway/agent/signal"
)

// What one line may add to its label set. The rest stays in the line, which is
// sent whole.
const (
	maxFields = 32
	maxKey    = 64
	maxValue  = 1024
	maxBytes  = 4096 // keys and values together
)

type field struct{ key, value string }

// fields collects what a line says. Keys and values point into the line, or
// into scratch, until merge.
type fields struct {
	list    [maxFields]field
	n       int
	bytes   int
	scratch []byte // never grows once made: views point into it
	out     []byte
}

// add notes one field. Empty ones, and what goes beyond the limits, are left
// out; a long value is cut between two runes.
func (f *fields) add(key string, value []byte) {
	if len(value) > maxValue {
		value = value[:maxValue]
		for n := 0; n < utf8.UTFMax && len(value) > 0; n++ {
			if r, w := utf8.DecodeLastRune(value); r != utf8.RuneError || w != 1 {
				break
			}
			value = value[:len(value)-1]
		}
	}
	f.put(key, view(value))
}

// put is add for a value that is short.
func (f *fields) put(key, value string) {
	if value == "" || key == "" || len(key) > maxKey || f.n == maxFields || f.bytes+len(key)+len(value) > maxBytes {
		return
	}
	f.list[f.n] = field{key, value}
	f.n++
	f.bytes += len(key) + len(value)
}

// room returns n bytes of scratch to write a value or a key into, nil if the
// line has used up what it may.
func (f *fields) room(n int) []byte {
	if f.scratch == nil {
		f.scratch = make([]byte, 0, maxBytes)
	}
	if len(f.scratch)+n > cap(f.scratch) {
		return nil
	}
	lo := len(f.scratch)
	f.scratch = f.scratch[:lo+n]
	return f.scratch[lo : lo+n : lo+n]
}

// back forgets all fields but the first n.
func (f *fields) back(n int) {
	for _, x := range f.list[n:f.n] {
		f.bytes -= len(x.key) + len(x.value)
	}
	clear(f.list[n:f.n])
	f.n = n
}

// reset forgets the fields, and the line they point into.
func (f *fields) reset() {
	clear(f.list[:f.n])
	f.n, f.bytes = 0, 0
	f.scratch = f.scratch[:0]
}

// merge returns attrs with the fields in it; where both have a key, the line's
// own word counts. The result is valid until the next merge.
func (f *fields) merge(attrs []byte) []byte {
	if f.n == 0 {
		return attrs
	}
	list := f.list[:f.n]
	for i := 1; i < len(list); i++ { // few, and nearly in order
		for j := i; j > 0 && list[j].key < list[j-1].key; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	out := f.out[:0]
	k, v, rest, more := signal.NextLabel(view(attrs))
	for i, x := range list {
		if i+1 < len(list) && list[i+1].key == x.key {
			continue // of equal keys the last one counts
		}
		for more && k < x.key {
			out = signal.AppendLabel(out, k, v)
			k, v, rest, more = signal.NextLabel(rest)
		}
		if more && k == x.key {
			k, v, rest, more = signal.NextLabel(rest)
		}
		out = signal.AppendLabel(out, x.key, x.value)
	}
	for more {
		out = signal.AppendLabel(out, k, v)
		k, v, rest, more = signal.NextLabel(rest)
	}
	f.out = out
	f.reset()
	return out
}

// view returns b as a string without copying it: it lives as long as b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
