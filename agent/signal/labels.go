package signal

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"unsafe"
)

// A flat label set is a run of pairs, sorted by key, each key once:
//
//	set   = { uvarint(len(key)) key uvarint(len(value)) value }
//
// It is one string: comparable, hashable, walked without allocating.

// AppendLabel appends one pair to a flat label set. The caller appends keys in
// ascending order, or calls Sorted afterwards.
func AppendLabel(dst []byte, key, value string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// Labels returns the flat label set of key, value, key, value, …; pairs with an
// empty value are left out, and of equal keys the last one counts. An odd
// argument at the end is a bug of the caller.
func Labels(pairs ...string) string {
	if len(pairs)%2 != 0 {
		panic("BUG: signal.Labels wants pairs")
	}
	var dst []byte
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			dst = AppendLabel(dst, pairs[i], pairs[i+1])
		}
	}
	return Sorted(string(dst))
}

// Sorted returns set with its pairs in ascending order of their keys; of equal
// keys the last one counts. A set that is in order already is returned as it is.
func Sorted(set string) string {
	prev, inOrder := "", true
	n := 0
	for k := range Walk(set) {
		if n > 0 && k <= prev {
			inOrder = false
		}
		prev = k
		n++
	}
	if inOrder {
		return set
	}
	type pair struct{ k, v string }
	pairs := make([]pair, 0, n)
	for k, v := range Walk(set) {
		pairs = append(pairs, pair{k, v})
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.k, b.k) })
	dst := make([]byte, 0, len(set))
	for i, p := range pairs {
		if i+1 < len(pairs) && pairs[i+1].k == p.k {
			continue
		}
		dst = AppendLabel(dst, p.k, p.v)
	}
	return string(dst)
}

// Walk yields the pairs of a flat label set in order. At the first byte that
// does not fit the grammar it stops.
func Walk(set string) iter.Seq2[string, string] {
	return func(yield func(k, v string) bool) {
		for len(set) > 0 {
			k, v, rest, ok := NextLabel(set)
			if !ok || !yield(k, v) {
				return
			}
			set = rest
		}
	}
}

// NextLabel splits the first pair off a flat label set. ok is false at the end
// and where the set does not fit the grammar. It is Walk for hot loops.
func NextLabel(set string) (key, value, rest string, ok bool) {
	key, rest, ok = lengthPrefixed(set)
	if !ok {
		return "", "", "", false
	}
	value, rest, ok = lengthPrefixed(rest)
	return key, value, rest, ok
}

func lengthPrefixed(s string) (field, rest string, ok bool) {
	if len(s) == 0 {
		return "", "", false
	}
	if n := int(s[0]); n < 0x80 { // nearly always
		if 1+n > len(s) {
			return "", "", false
		}
		return s[1 : 1+n], s[1+n:], true
	}
	n, w := binary.Uvarint(unsafe.Slice(unsafe.StringData(s), len(s)))
	if w <= 0 || n > uint64(len(s)-w) {
		return "", "", false
	}
	return s[w : w+int(n)], s[w+int(n):], true
}

// Lookup returns the value of key in a flat label set, or "" if it has none.
func Lookup(set, key string) string {
	for k, v := range Walk(set) {
		if k == key {
			return v
		}
		if k > key {
			return ""
		}
	}
	return ""
}

// Merge returns the union of two flat label sets; where both have a key, the
// value in over counts.
func Merge(base, over string) string {
	if base == "" {
		return over
	}
	if over == "" {
		return base
	}
	return string(AppendMerge(make([]byte, 0, len(base)+len(over)), base, over))
}

// AppendMerge appends the union of two flat label sets to dst; where both have
// a key, the value in over counts.
func AppendMerge(dst []byte, base, over string) []byte {
	bk, bv, brest, bok := NextLabel(base)
	ok, ov, orest, ook := NextLabel(over)
	for bok || ook {
		switch {
		case !ook || bok && bk < ok:
			dst = AppendLabel(dst, bk, bv)
			bk, bv, brest, bok = NextLabel(brest)
		case !bok || ok < bk:
			dst = AppendLabel(dst, ok, ov)
			ok, ov, orest, ook = NextLabel(orest)
		default:
			dst = AppendLabel(dst, ok, ov)
			bk, bv, brest, bok = NextLabel(brest)
			ok, ov, orest, ook = NextLabel(orest)
		}
	}
	return dst
}
