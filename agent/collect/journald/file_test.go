package journald

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

func TestDataInEachCompression(t *testing.T) {
	plain := []byte("MESSAGE=" + strings.Repeat("as long as need be ", 100))
	l := make([]byte, 8+lz4.CompressBlockBound(len(plain)))
	binary.LittleEndian.PutUint64(l, uint64(len(plain)))
	n, err := lz4.CompressBlock(plain, l[8:], nil)
	if err != nil {
		t.Fatal(err)
	}
	var x bytes.Buffer
	z, err := xz.WriterConfig{NoCheckSum: true}.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	z.Write(plain)
	z.Close()
	d := &reader{max: 1 << 20}
	for flag, p := range map[byte][]byte{flagLZ4: l[:8+n], flagXZ: x.Bytes()} {
		if got, err := d.inflate(flag, p); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("flag %d: %d bytes, %v", flag, len(got), err)
		}
		if _, err := d.inflate(flag, p[:len(p)/2]); err == nil {
			t.Errorf("flag %d: half of it is taken for the whole", flag)
		}
	}
	binary.LittleEndian.PutUint64(l, 1<<40)
	if _, err := d.inflate(flagLZ4, l); !errors.Is(err, errDamaged) {
		t.Errorf("a block that says it has a terabyte: %v", err)
	}
}

// FuzzFile: a file with bytes that anybody chose is read to an end.
func FuzzFile(f *testing.F) {
	p := journal(f, "compact")
	for _, at := range []int{8, 88, 152, 176, 4_000_000} {
		f.Add(uint32(at), uint64(1<<40))
	}
	r, err := openReader(bytes.NewReader(p), 1<<10)
	if err != nil {
		f.Fatal(err)
	}
	_, at, _, _ := r.peek()
	for i := range 12 {
		f.Add(uint32(at)+uint32(i)*8, uint64(at))
		f.Add(uint32(r.h.array)+uint32(i)*8, uint64(r.h.array))
	}
	f.Fuzz(func(t *testing.T, at uint32, v uint64) {
		if int64(at)+8 > int64(len(p)) {
			return
		}
		p := overlay{p, int64(at), binary.LittleEndian.AppendUint64(nil, v)}
		r, err := openReader(p, 1<<10)
		if err != nil {
			return
		}
		_ = r.seek(func(e entry) bool { return e.seqnum >= 3 })
		for n := 0; ; n++ {
			_, at, ok, err := r.peek()
			if err != nil || !ok {
				return
			}
			if n > 1<<20 {
				t.Fatal("no end")
			}
			_, _ = r.fields(at, func([]byte) bool { return true }, func(_, value []byte) {
				if len(value) > 1<<10+nameBytes {
					t.Errorf("a value of %d bytes", len(value))
				}
			})
			r.skip()
		}
	})
}

// overlay is a file with eight bytes changed.
type overlay struct {
	p   []byte
	at  int64
	new []byte
}

func (o overlay) ReadAt(dst []byte, at int64) (int, error) {
	n, err := bytes.NewReader(o.p).ReadAt(dst, at)
	for i := range o.new {
		if j := o.at + int64(i) - at; j >= 0 && j < int64(n) {
			dst[j] = o.new[i]
		}
	}
	return n, err
}

func BenchmarkFollow(b *testing.B) {
	p := journal(b, "compact")
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.journal"), p, 0o600); err != nil {
		b.Fatal(err)
	}
	c := Default()
	c.Path, c.Since = dir, "beginning"
	for b.Loop() {
		s := New(c, &spool{}, "", slog.New(slog.DiscardHandler))
		f := newFollower(s, map[string]uint64{}, &spool{})
		f.list(time.Now())
		if err := f.look(b.Context()); err != nil || s.Stats().Lines.Load() != 100 {
			b.Fatal(err, s.Stats().Lines.Load())
		}
		f.closeAll()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/entry")
}
