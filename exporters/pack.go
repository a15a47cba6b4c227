package exporters

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
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
		return deflate(dst, body, &gzips)
	case "deflate":
		return deflate(dst, body, &zlibs)
	case "zstd":
		return zstds.EncodeAll(body, dst[:0])
	}
	panic("BUG: no such encoding: " + encoding)
}

// resetWriter is what gzip and zlib have in common.
type resetWriter interface {
	io.WriteCloser
	Reset(io.Writer)
}

// The compressors are kept: a deflate state is 100 KiB and more. EncodeAll of
// the one zstd encoder may be called from any number of goroutines.
var (
	gzips = sync.Pool{New: func() any { return must(gzip.NewWriterLevel(nil, gzip.BestSpeed)) }}
	zlibs = sync.Pool{New: func() any { return must(zlib.NewWriterLevel(nil, zlib.BestSpeed)) }}
	zstds = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)))
)

func deflate(dst, body []byte, pool *sync.Pool) []byte {
	out := sliceWriter{dst[:0]}
	w := pool.Get().(resetWriter)
	w.Reset(&out)
	_, err := w.Write(body)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		panic(fmt.Sprintf("BUG: compressing in memory: %v", err))
	}
	pool.Put(w)
	return out.p
}

type sliceWriter struct{ p []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.p = append(w.p, p...)
	return len(p), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return v
}
