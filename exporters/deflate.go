package exporters

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// A deflate encoder (RFC 1951) for what exporters write: whole bodies in memory,
// of a few megabytes at most, in which most of an item is what the item before
// had. Compression is a third of what a line costs from its file to its vendor, so
// it is worth an encoder that need not be able to do more. Against a general one at
// its fastest level it keeps no copy of what it has read, looks for matches in the
// body itself, writes no token for each literal but one for each match, and makes
// Huffman codes for a quarter of a megabyte rather than for 32 KiB.
//
// deflater is the state of one body. It is large: Pack keeps some of them.
type deflater struct {
	table [1 << hashBits]uint32 // by the hash of five bytes: where they stood last
	seqs  []seq
	count counts

	lit, dist   [mostSymbols]code
	lengthCodes [mostMatch + 1]code // by the length of a match, with the bits that go behind
	order       []uint32            // scratch of codes
	lengths     []byte              // scratch of header
}

// seq is literals, and behind them a match: a copy of length bytes from distance
// bytes before. A length of 0 is none, at the end of a block.
type seq struct {
	literals uint32
	length   uint16
	distance uint16 // less 1
}

// counts are how often each symbol of the block is there.
type counts struct {
	lit  [mostSymbols]uint32 // literals, the end of the block, lengths
	dist [30]uint32
}

// code is a Huffman code as it is written, lowest bit first: its bits from bit 8
// upwards, how many there are below.
type code uint32

const (
	hashBits    = 15
	window      = 32 << 10 // RFC 1951, 2: the farthest a match may be
	leastMatch  = 4        // three bytes may be one, but gain nothing
	mostMatch   = 258      // RFC 1951, 3.2.5
	mostSymbols = 286
	endOfBlock  = 256
	firstLength = 257

	blockBytes = 256 << 10
	mostStored = 65535
	margin     = 16 // bytes at the end of a block that are not looked at for matches
)

// append appends src to dst as one deflate stream.
func (d *deflater) append(dst, src []byte) []byte {
	clear(d.table[:])
	w := bitWriter{dst: dst}
	for at := 0; ; {
		end := d.block(src, at)
		last := end == len(src)
		d.write(&w, src[at:end], last)
		if at = end; last {
			return w.end()
		}
	}
}

// block finds the sequences of the block that begins at from, and returns where
// it ends.
func (d *deflater) block(src []byte, from int) int {
	d.seqs, d.count = d.seqs[:0], counts{}
	end := min(from+blockBytes, len(src))
	if len(src)-end < blockBytes/8 {
		end = len(src) // a small rest is not worth codes of its own
	}
	table := &d.table
	emitted, limit := from, end-margin
	s := max(from, 1) // there is nothing before the first byte
	for s < limit {
		word := load64(src, s)
		h := hash5(word)
		at := int(table[h])
		table[h] = uint32(s)
		if s-at > window || uint32(word) != load32(src, at) {
			s += 1 + (s-emitted)>>4 // the longer nothing is found, the wider the steps
			continue
		}
		length := leastMatch + matching(src, at+leastMatch, s+leastMatch, end)
		for s > emitted && at > 0 && src[s-1] == src[at-1] {
			s, at, length = s-1, at-1, length+1
		}
		d.found(src[emitted:s], length, s-at)
		s += length
		emitted = s
		if s < limit {
			word := load64(src, s-2)
			table[hash5(word)] = uint32(s - 2)
			table[hash5(word>>8)] = uint32(s - 1)
		}
	}
	if emitted < end {
		d.found(src[emitted:end], 0, 1)
	}
	return end
}

// found adds literals and a match, in pieces if it is longer than one may be.
func (d *deflater) found(literals []byte, length, distance int) {
	for _, c := range literals {
		d.count.lit[c]++
	}
	n := uint32(len(literals))
	ds := distanceSymbol(distance - 1)
	for length > mostMatch {
		piece := min(mostMatch, length-leastMatch)
		d.seqs = append(d.seqs, seq{n, uint16(piece), uint16(distance - 1)})
		d.count.lit[firstLength+int(lengthSymbols[piece])]++
		d.count.dist[ds]++
		length, n = length-piece, 0
	}
	d.seqs = append(d.seqs, seq{n, uint16(length), uint16(distance - 1)})
	if length > 0 {
		d.count.lit[firstLength+int(lengthSymbols[length])]++
		d.count.dist[ds]++
	}
}

// write writes a block, whose bytes are src: as found, or as they are where that
// is shorter.
func (d *deflater) write(w *bitWriter, src []byte, last bool) {
	final := uint64(0)
	if last {
		final = 1
	}
	d.count.lit[endOfBlock] = 1
	d.codes(d.lit[:], d.count.lit[:], 15)
	d.codes(d.dist[:30], d.count.dist[:], 15)
	if d.size() >= 8*len(src) {
		w.stored(src, final)
		return
	}
	w.room(len(src) + 400) // the codes take 330 at most
	w.bits(final|2<<1, 3)
	d.header(w)
	for n := range d.lengthCodes {
		sym := lengthSymbols[n]
		c := d.lit[firstLength+int(sym)]
		d.lengthCodes[n] = c + code(n-int(lengthBase[sym]))<<(8+c&0xff) + code(lengthExtra[sym])
	}
	// What follows is w.code and w.flush, with acc, n and at in registers.
	out, at, acc, n := w.dst[len(w.dst):cap(w.dst)], 0, w.acc, w.n
	for _, s := range d.seqs {
		lit := src[:s.literals]
		src = src[int(s.literals)+int(s.length):]
		for ; len(lit) >= 3; lit = lit[3:] {
			a, b, c := d.lit[lit[0]], d.lit[lit[1]], d.lit[lit[2]]
			acc |= uint64(a>>8) << (n & 63)
			n += uint(a & 0xff)
			acc |= uint64(b>>8) << (n & 63)
			n += uint(b & 0xff)
			acc |= uint64(c>>8) << (n & 63)
			n += uint(c & 0xff)
			binary.LittleEndian.PutUint64(out[at:], acc)
			at += int(n >> 3)
			acc >>= n &^ 7 & 63
			n &= 7
		}
		for _, c := range lit {
			acc |= uint64(d.lit[c]>>8) << (n & 63)
			n += uint(d.lit[c] & 0xff)
		}
		binary.LittleEndian.PutUint64(out[at:], acc)
		at += int(n >> 3)
		acc >>= n &^ 7 & 63
		n &= 7
		if s.length == 0 {
			continue
		}
		l, ds := d.lengthCodes[s.length], distanceSymbol(int(s.distance))
		acc |= uint64(l>>8) << (n & 63)
		n += uint(l & 0xff)
		acc |= uint64(d.dist[ds]>>8) << (n & 63)
		n += uint(d.dist[ds] & 0xff)
		acc |= uint64(s.distance-distanceBase[ds]) << (n & 63)
		n += uint(distanceExtra[ds])
		binary.LittleEndian.PutUint64(out[at:], acc)
		at += int(n >> 3)
		acc >>= n &^ 7 & 63
		n &= 7
	}
	w.dst, w.acc, w.n = w.dst[:len(w.dst)+at], acc, n
	w.code(d.lit[endOfBlock])
	w.flush()
}

// size returns how many bits a block of the present codes takes, its header left out.
func (d *deflater) size() int {
	n := 0
	for i, c := range d.count.lit {
		n += int(c) * int(d.lit[i]&0xff)
		if i >= firstLength {
			n += int(c) * int(lengthExtra[i-firstLength])
		}
	}
	for i, c := range d.count.dist {
		n += int(c) * int(d.dist[i]&0xff+code(distanceExtra[i]))
	}
	return n
}

// codes makes Huffman codes of at most most bits for symbols of which there are so
// many (RFC 1951, 3.2.2).
func (d *deflater) codes(to []code, counts []uint32, most int) {
	order := d.order[:0] // 9 bits of symbol below its count, rarest first
	for sym, n := range counts {
		if to[sym] = 0; n > 0 {
			order = append(order, n<<9|uint32(sym))
		}
	}
	d.order = order
	if len(order) == 0 {
		to[0] = 1 // no distance at all: RFC 1951 wants one code of one bit nevertheless
		return
	}
	slices.Sort(order)
	var per [33]int // codes of each length
	symbols := [mostSymbols]uint16{}
	for i, o := range order {
		symbols[i] = uint16(o & 511)
		order[i] = o >> 9
	}
	leastRedundancy(order)
	for _, n := range order {
		per[min(n, 32)]++
	}
	limit(&per, most)
	var next [16]uint32
	for n, first := 1, uint32(0); n <= most; n++ {
		first = (first + uint32(per[n-1])) << 1
		next[n] = first
	}
	// The rarest have the longest codes; of equal length the lower symbol comes first.
	var length [mostSymbols]uint8
	i := len(order)
	for n := 1; n <= most; n++ {
		for range per[n] {
			i--
			length[symbols[i]] = uint8(n)
		}
	}
	for sym := range to {
		if n := uint(length[sym]); n > 0 {
			to[sym] = code(bits.Reverse32(next[n])>>(32-n)<<8 | uint32(n))
			next[n]++
		}
	}
}

// leastRedundancy replaces counts in ascending order by the lengths of their
// codes (Moffat and Katajainen, In-Place Calculation of Minimum-Redundancy Codes,
// 1995).
func leastRedundancy(a []uint32) {
	n := len(a)
	if n == 1 {
		a[0] = 1
		return
	}
	// Left to right: each place becomes the sum of the two least, and a place that
	// was summed up the index of the sum.
	root, leaf := 0, 0
	least := func(at int) uint32 {
		if leaf >= n || root < at && a[root] < a[leaf] {
			v := a[root]
			a[root] = uint32(at)
			root++
			return v
		}
		leaf++
		return a[leaf-1]
	}
	for at := range n - 1 {
		v := least(at)
		a[at] = v + least(at)
	}
	// Right to left: the depth of each inner node.
	a[n-2] = 0
	for at := n - 3; at >= 0; at-- {
		a[at] = a[a[at]] + 1
	}
	// Right to left: the depths of the leaves.
	free, inner, depth, at := 1, n-2, uint32(0), n-1
	for free > 0 {
		used := 0
		for inner >= 0 && a[inner] == depth {
			used, inner = used+1, inner-1
		}
		for free > used {
			a[at] = depth
			at, free = at-1, free-1
		}
		free, depth = 2*used, depth+1
	}
}

// limit makes no code longer than most bits, and keeps the code complete.
func limit(per *[33]int, most int) {
	for n := most + 1; n < len(per); n++ {
		per[most] += per[n]
		per[n] = 0
	}
	total := 0
	for n := most; n > 0; n-- {
		total += per[n] << (most - n)
	}
	for ; total > 1<<most; total-- {
		per[most]--
		for n := most - 1; n > 0; n-- {
			if per[n] > 0 {
				per[n]--
				per[n+1] += 2
				break
			}
		}
	}
}

// header writes the codes' lengths (RFC 1951, 3.2.7).
func (d *deflater) header(w *bitWriter) {
	lits, dists := mostSymbols, 30
	for d.lit[lits-1] == 0 { // the end of the block has a code
		lits--
	}
	for dists > 1 && d.dist[dists-1] == 0 {
		dists--
	}
	all := d.lengths[:0]
	for _, c := range d.lit[:lits] {
		all = append(all, byte(c))
	}
	for _, c := range d.dist[:dists] {
		all = append(all, byte(c))
	}
	d.lengths = all
	var counts [19]uint32
	runs(all, func(sym byte, _ uint64, _ uint) { counts[sym]++ })
	var table [19]code
	d.codes(table[:], counts[:], 7)
	n := len(lengthOrder)
	for n > 4 && table[lengthOrder[n-1]] == 0 {
		n--
	}
	w.bits(uint64(lits-257)|uint64(dists-1)<<5|uint64(n-4)<<10, 14)
	w.flush()
	for _, sym := range lengthOrder[:n] {
		w.bits(uint64(table[sym]&0xff), 3)
		w.flush()
	}
	runs(all, func(sym byte, more uint64, size uint) {
		w.code(table[sym])
		w.bits(more, size)
		w.flush()
	})
}

// lengthOrder is that of the lengths of the codes for lengths (RFC 1951, 3.2.7).
var lengthOrder = [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// runs calls f for the symbols that lengths are written as: 16 repeats the one
// before 3 to 6 times, 17 and 18 stand for up to 10 and 138 zeros.
func runs(lengths []byte, f func(sym byte, more uint64, size uint)) {
	for i := 0; i < len(lengths); {
		n := 1
		for i+n < len(lengths) && lengths[i+n] == lengths[i] {
			n++
		}
		v := lengths[i]
		i += n
		for ; v == 0 && n >= 11; n -= min(n, 138) {
			f(18, uint64(min(n, 138)-11), 7)
		}
		if v == 0 && n >= 3 {
			f(17, uint64(n-3), 3)
			n = 0
		}
		if v != 0 {
			f(v, 0, 0)
			n--
		}
		for ; v != 0 && n >= 3; n -= min(n, 6) {
			f(16, uint64(min(n, 6)-3), 2)
		}
		for range n {
			f(v, 0, 0)
		}
	}
}

// bitWriter writes bits, the first one lowest (RFC 1951, 3.1.1).
type bitWriter struct {
	dst []byte
	acc uint64
	n   uint // bits in acc: fewer than 8 after flush
}

// room makes room for n bytes, so that flush need not ask.
func (w *bitWriter) room(n int) { w.dst = slices.Grow(w.dst, n+8) }

func (w *bitWriter) bits(v uint64, n uint) {
	w.acc |= v << (w.n & 63)
	w.n += n
}

func (w *bitWriter) code(c code) {
	w.acc |= uint64(c>>8) << (w.n & 63)
	w.n += uint(c & 0xff)
}

// flush takes the whole bytes out of acc. Room for eight was made before. No more
// than 56 bits may be put in between two calls.
func (w *bitWriter) flush() {
	at := len(w.dst)
	binary.LittleEndian.PutUint64(w.dst[at:at+8:cap(w.dst)], w.acc)
	w.dst = w.dst[:at+int(w.n>>3)]
	w.acc >>= w.n &^ 7 & 63
	w.n &= 7
}

func (w *bitWriter) end() []byte {
	w.room(8)
	w.n += 7 // to the end of the byte
	w.flush()
	w.n = 0
	return w.dst
}

// stored writes bytes as they are (RFC 1951, 3.2.4).
func (w *bitWriter) stored(src []byte, final uint64) {
	for {
		part := src[:min(len(src), mostStored)]
		src = src[len(part):]
		last := final
		if len(src) > 0 {
			last = 0
		}
		w.room(16)
		w.bits(last, 3)
		w.dst = w.end()
		w.acc = 0
		w.dst = binary.LittleEndian.AppendUint16(w.dst, uint16(len(part)))
		w.dst = binary.LittleEndian.AppendUint16(w.dst, ^uint16(len(part)))
		if w.dst = append(w.dst, part...); len(src) == 0 {
			return
		}
	}
}

// matching returns how many bytes are the same from a and from b on, of which b is
// the later, before end.
func matching(src []byte, a, b, end int) int {
	n := 0
	for ; b+n+8 <= end; n += 8 {
		if diff := load64(src, a+n) ^ load64(src, b+n); diff != 0 {
			return n + bits.TrailingZeros64(diff)>>3
		}
	}
	for b+n < end && src[a+n] == src[b+n] {
		n++
	}
	return n
}

// load64 and load32 read words whose bytes are there: block and matching see to it.
// With a check for each the search took a third longer. The lowest byte is the first
// one on every machine that the agent is built for.
func load64(p []byte, at int) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(p)), at))
}

func load32(p []byte, at int) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(p)), at))
}

// hash5 is of the five lower bytes of a word.
func hash5(word uint64) uint32 {
	return uint32(word << 24 * 0x9E3779B185EBCA87 >> (64 - hashBits))
}

// What symbols stand for (RFC 1951, 3.2.5): symbol 257+i for lengths from
// lengthBase[i], symbol i for distances, less 1, from distanceBase[i], each with so
// many more bits.
var (
	lengthExtra = [29]uint8{8: 1, 9: 1, 10: 1, 11: 1, 12: 2, 13: 2, 14: 2, 15: 2, 16: 3, 17: 3, 18: 3, 19: 3, 20: 4, 21: 4, 22: 4, 23: 4, 24: 5, 25: 5, 26: 5, 27: 5}
	lengthBase  = func() (base [29]uint16) {
		at := uint16(3)
		for i := range base {
			base[i] = at
			at += 1 << lengthExtra[i]
		}
		base[28] = mostMatch
		return base
	}()
	lengthSymbols = func() (syms [mostMatch + 1]uint8) {
		for i := range lengthBase {
			for n := lengthBase[i]; int(n) < len(syms); n++ {
				syms[n] = uint8(i)
			}
		}
		return syms
	}()
	distanceExtra = func() (extra [30]uint8) {
		for i := 4; i < len(extra); i++ {
			extra[i] = uint8(i/2 - 1)
		}
		return extra
	}()
	distanceBase = func() (base [30]uint16) {
		at := 0
		for i := range base {
			base[i] = uint16(at)
			at += 1 << distanceExtra[i]
		}
		return base
	}()
	// Of a distance below 256, less 1; of others by their upper bits.
	distanceSymbols = func() (syms [512]uint8) {
		for i := range distanceBase {
			for d := int(distanceBase[i]); d < window; d++ {
				if d < 256 {
					syms[d] = uint8(i)
				} else {
					syms[256+d>>7] = uint8(i)
				}
			}
		}
		return syms
	}()
)

// distanceSymbol returns the symbol of a distance, less 1.
func distanceSymbol(d int) uint8 {
	if d < 256 {
		return distanceSymbols[d]
	}
	return distanceSymbols[256+d>>7]
}
