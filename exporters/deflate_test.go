package exporters

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
)

// inflated returns what the standard library reads of a deflate stream.
func inflated(t *testing.T, packed []byte) []byte {
	t.Helper()
	got, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWhatIsDeflatedIsReadBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := func(n, of int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.IntN(of))
		}
		return p
	}
	var d deflater // one for all: nothing of the body before may be left
	for name, body := range map[string][]byte{
		"nothing": {}, "a byte": {7}, "few": []byte("abc"), "all": noise(300, 256), "one byte, often": bytes.Repeat([]byte{'x'}, 1_000_000),
		"noise": noise(700_000, 256), "little noise": noise(700_000, 3), "two": noise(600_000, 2),
		"lines": logBody(20_000), "a line": logBody(1),
		"far":        append(append(noise(window, 256), "the end"...), noise(100, 256)...),
		"far, twice": bytes.Repeat(noise(window, 256), 3), "too far": bytes.Repeat(noise(window+1, 256), 3),
		"long matches": bytes.Repeat(append(noise(70_000, 200), bytes.Repeat([]byte("ab"), 40_000)...), 2),
		"skewed":       fibonacci(),
	} {
		if got := inflated(t, d.append(nil, body)); !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes came back of %d", name, len(got), len(body))
		}
		for cut := 1; cut < 40 && cut < len(body); cut++ { // every way a body may end
			if got := inflated(t, d.append(nil, body[len(body)-cut:])); !bytes.Equal(got, body[len(body)-cut:]) {
				t.Errorf("%s: the last %d bytes came back as %d", name, cut, len(got))
			}
		}
	}
	for n := range 70 { // around the edge of a block
		body := logBody(3000)[:blockBytes+blockBytes/8-35+n]
		if got := inflated(t, d.append([]byte("before"), body)[len("before"):]); !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back of %d", len(got), len(body))
		}
	}
}

// fibonacci has bytes so unevenly often that their codes would be longer than any
// may be.
func fibonacci() (body []byte) {
	a, b := 1, 1
	for c := range 26 {
		body = append(body, bytes.Repeat([]byte{byte(c), byte(c * 7)}, a)...)
		a, b = b, a+b
	}
	r := rand.New(rand.NewPCG(3, 4))
	r.Shuffle(len(body), func(i, j int) { body[i], body[j] = body[j], body[i] })
	return body
}

func FuzzDeflate(f *testing.F) {
	f.Add([]byte("abcabcabcabc"), 3)
	f.Add(logBody(3), 300)
	f.Fuzz(func(t *testing.T, piece []byte, times int) {
		times = max(0, min(times, 600_000/(len(piece)+1)))
		body := bytes.Repeat(piece, times)
		for i := range body { // repetitions that are none quite
			if i%257 == 0 {
				body[i] ^= byte(i >> 8)
			}
		}
		var d deflater
		if got := inflated(t, d.append(nil, body)); !bytes.Equal(got, body) {
			t.Errorf("%d bytes came back of %d", len(got), len(body))
		}
	})
}

// A code is complete, and no longer than it may be, whatever is counted.
func TestCodesAreComplete(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var d deflater
	for range 2000 {
		var counts [mostSymbols]uint32
		used := 2 + r.IntN(mostSymbols-2)
		for i := range used {
			counts[r.IntN(mostSymbols)] = 1 + uint32(r.ExpFloat64()*float64(int(1)<<(i%20)))
		}
		for _, most := range []int{9, 15} {
			var to [mostSymbols]code
			d.codes(to[:], counts[:], most)
			sum, n := 0, 0
			for sym, c := range to {
				if size := int(c & 0xff); size > most || (size > 0) != (counts[sym] > 0) {
					t.Fatalf("a code of %d bits for what is there %d times", size, counts[sym])
				} else if size > 0 {
					sum += 1 << (most - size)
					n++
				}
			}
			if n > 1 && sum != 1<<most {
				t.Fatalf("%d codes of %d bits at most: %d of %d", n, most, sum, 1<<most)
			}
		}
	}
}

// logBody is Datadog's JSON of n lines, as the exporter writes it.
func logBody(n int) []byte {
	var body []byte
	for i := range n {
		id := uint64(i) * 0x9e3779b97f4a7c15
		body = fmt.Appendf(body, `{"ddsource":"shop","ddtags":"container_id:%064x,container_name:app,env:prod,image_name:registry.example/shop,`+
			`image_tag:1.4.2,kube_container_name:app,kube_deployment:shop,kube_namespace:shop,pod_name:shop-7d4b9c-00000","hostname":"n1",`+
			`"service":"shop","status":"info","timestamp":%d,"message":"{\"ts\":\"2026-11-23T10:00:%02d.%06dZ\",\"level\":\"info\",`+
			`\"msg\":\"request served\",\"path\":\"/api/v1/items/%d\",\"status\":200,\"took_ms\":%d,\"trace_id\":\"%016x%016x\",\"user\":\"u-%04d\"}"},`,
			42, 1763892000000+i, i%60, id%1e6, id%10_000, id%500, id, ^id, id%10_000)
	}
	return body
}

func BenchmarkDeflate(b *testing.B) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"logs", logBody(6000)},
		{"influx", []byte(strings.Repeat("cpu,host=n1,cpu=cpu0,mode=user value=12.5 1700000000000000000\n", 1000))},
	} {
		var dst []byte
		b.Run(c.name+"/ours", func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			for b.Loop() {
				dst = appendGzip(dst[:0], c.body)
			}
			b.ReportMetric(float64(len(c.body))/float64(len(dst)), "ratio")
		})
		b.Run(c.name+"/klauspost", func(b *testing.B) {
			b.SetBytes(int64(len(c.body)))
			var out bytes.Buffer
			w, _ := kgzip.NewWriterLevel(&out, kgzip.BestSpeed)
			for b.Loop() {
				out.Reset()
				w.Reset(&out)
				_, _ = w.Write(c.body)
				_ = w.Close()
			}
			b.ReportMetric(float64(len(c.body))/float64(out.Len()), "ratio")
		})
	}
}
