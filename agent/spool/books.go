package spool

// Fate says what became of an item. Every item appended ends, for each cursor,
// in exactly one fate.
type Fate uint8

// The fates, in the order in which the ledger shows them.
const (
	Sent        Fate = iota // the vendor has it
	Filtered                // left out by the destination's own rules
	TooOld                  // outside the vendor's acceptance window
	Refused                 // the vendor would not have it
	Oversize                // fits no request
	Unsupported             // the vendor has no place for it
	Evicted                 // removed for want of room, for its age, or with its cursor
	Damaged                 // could not be read back, or was lost before it was on disk
	NFates                  // how many there are
)

// String returns the key under which the ledger shows f.
func (f Fate) String() string {
	switch f {
	case Sent:
		return "sent"
	case Filtered:
		return "filtered"
	case TooOld:
		return "too_old"
	case Refused:
		return "refused"
	case Oversize:
		return "oversize"
	case Unsupported:
		return "unsupported"
	case Evicted:
		return "evicted"
	case Damaged:
		return "damaged"
	}
	return "invalid"
}

// Books says what became of items.
type Books struct {
	Items [NFates]int64
	Twice int64 // items that may have been sent twice; no part of the sum
}

// Add adds other to b.
func (b *Books) Add(other Books) {
	for i, n := range other.Items {
		b.Items[i] += n
	}
	b.Twice += other.Twice
}

// Sum returns the number of items b accounts for, whatever their fate.
func (b *Books) Sum() int64 {
	var n int64
	for _, k := range b.Items {
		n += k
	}
	return n
}
