package logline

import "testing"

const at = 1795440100_000000000 // 2026-11-23T13:21:40Z

// jsonLine is 220 bytes, as structured loggers write them.
const jsonLine = `{"time":"2026-11-23T13:21:01.123456789Z","level":"INFO","logger":"app.http","msg":"request served","method":"GET","path":"/api/v1/orders/8812","status":200,"bytes":5123,"duration_ms":12.75,"user":"u-10293","pod":"shop-7"}`

func BenchmarkParseJSON(b *testing.B) {
	p := NewParser(JSON)
	line := []byte(jsonLine)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if r, _, ok := p.Parse(line, at, nil); !ok || r.Time == 0 {
			b.Fatal(r, ok)
		}
	}
}
