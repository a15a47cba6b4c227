package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// MaxFrame is the longest frame a spool takes. It bounds what a reader must
// hold of one frame, and what a length on disk may claim.
const MaxFrame = 64 << 20

const (
	headLen    = 40 // of a record, and of a segment
	version    = 1
	segMagic   = 0x47535743 // "CWSG", little endian
	flagEvicts = 1          // segment flag: what is missing before it was evicted, not lost
)

// castagnoli is a table used as a constant.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is a place between two frames: how many frames came before it, plus one,
// and how many items.
type mark struct{ seq, total uint64 }

func (m mark) before(o mark) bool { return m.seq < o.seq }

// header is what precedes each frame on disk.
type header struct {
	length uint32 // of the frame
	sum    uint32 // CRC-32C of the frame
	seq    uint64
	total  uint64 // items in this spool before this frame
	time   int64  // Unix ms of the append
	items  uint32
}

func (h header) from() mark { return mark{h.seq, h.total} }
func (h header) to() mark   { return mark{h.seq + 1, h.total + uint64(h.items)} }
func (h header) size() int64 {
	return headLen + int64(h.length)
}

// sealOf is what the header checksums of a segment begin with, so that bytes
// of another segment, found inside a frame or by a confused file system, never
// pass for records of this one.
func sealOf(first Seq) uint32 {
	var p [8]byte
	binary.LittleEndian.PutUint64(p[:], first)
	return crc32.Checksum(p[:], castagnoli)
}

// appendRecord appends header and frame; h.length and h.sum are computed here.
func appendRecord(dst []byte, seal uint32, h header, frame []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(frame)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(frame, castagnoli))
	dst = binary.LittleEndian.AppendUint64(dst, h.seq)
	dst = binary.LittleEndian.AppendUint64(dst, h.total)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.time))
	dst = binary.LittleEndian.AppendUint32(dst, h.items)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Update(seal, castagnoli, dst[at:]))
	return append(dst, frame...)
}

// parseHeader reads a record's header; ok is false if its checksum is wrong or
// it claims what cannot be.
func parseHeader(p []byte, seal uint32) (h header, ok bool) {
	if len(p) < headLen {
		return header{}, false
	}
	h = header{
		length: binary.LittleEndian.Uint32(p),
		sum:    binary.LittleEndian.Uint32(p[4:]),
		seq:    binary.LittleEndian.Uint64(p[8:]),
		total:  binary.LittleEndian.Uint64(p[16:]),
		time:   int64(binary.LittleEndian.Uint64(p[24:])),
		items:  binary.LittleEndian.Uint32(p[32:]),
	}
	if h.length > MaxFrame || h.seq == 0 || h.total > maxTotal {
		return header{}, false
	}
	return h, crc32.Update(seal, castagnoli, p[:36]) == binary.LittleEndian.Uint32(p[36:])
}

// maxTotal keeps sums of totals and items within an int64.
const maxTotal = 1 << 62

// segHeader is the first thing in a segment's file.
type segHeader struct {
	start   mark
	created int64 // Unix ms
	evicts  bool  // what is missing before start was evicted
}

func appendSegHeader(dst []byte, h segHeader) []byte {
	at := len(dst)
	var flags uint32
	if h.evicts {
		flags |= flagEvicts
	}
	dst = binary.LittleEndian.AppendUint32(dst, segMagic)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint64(dst, h.start.seq)
	dst = binary.LittleEndian.AppendUint64(dst, h.start.total)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.created))
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseSegHeader reads a segment's header; first is the number in its name.
func parseSegHeader(p []byte, first Seq) (h segHeader, ok bool) {
	if len(p) < headLen || crc32.Checksum(p[:36], castagnoli) != binary.LittleEndian.Uint32(p[36:]) {
		return segHeader{}, false
	}
	if binary.LittleEndian.Uint32(p) != segMagic || binary.LittleEndian.Uint32(p[4:]) != version {
		return segHeader{}, false
	}
	h = segHeader{
		start:   mark{binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:])},
		created: int64(binary.LittleEndian.Uint64(p[24:])),
		evicts:  binary.LittleEndian.Uint32(p[32:])&flagEvicts != 0,
	}
	return h, h.start.seq == first && h.start.total <= maxTotal
}

const segSuffix = ".seg"

func segName(first Seq) string { return fmt.Sprintf("%020d%s", first, segSuffix) }

func parseSegName(name string) (first Seq, ok bool) {
	digits, ok := strings.CutSuffix(name, segSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0
}
