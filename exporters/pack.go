package exporters

import (
	"encoding/binary"
	"hash/adler32"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Pack compresses body into dst[:0] and returns it. Encoding is that of
// Limits; "" returns body itself. The fastest level of each is used: a node's
// CPU is dearer than its bandwidth.
func Pack(dst, body []byte, encoding string) []byte {
	switch encoding {
	case "":
		return body
	case "gzip":
		return appendGzip(dst[:0], body)
	case "deflate":
		return appendZlib(dst[:0], body)
	case "zstd":
		return zstds.EncodeAll(body, dst[:0])
	}
	panic("BUG: no such encoding: " + encoding)
}

// The encoders are kept: a deflater is 128 KiB and more. EncodeAll of the one zstd
// encoder may be called from any number of goroutines.
var (
	deflaters = sync.Pool{New: func() any { return new(deflater) }}
	zstds     = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(512<<10))) // with the usual 4 MiB it would hold 8 of them, and find no more
)

// appendGzip appends body as a gzip member (RFC 1952) without a name or a time.
func appendGzip(dst, body []byte) []byte {
	const unix = 3
	dst = append(dst, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unix)
	dst = appendDeflate(dst, body)
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(body))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
}

// appendZlib appends body as a zlib stream (RFC 1950).
func appendZlib(dst, body []byte) []byte {
	dst = append(dst, 0x78, 0x01) // a window of 32 KiB, the fastest level
	dst = appendDeflate(dst, body)
	return binary.BigEndian.AppendUint32(dst, adler32.Checksum(body))
}

func appendDeflate(dst, body []byte) []byte {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	return d.append(dst, body)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return v
}
