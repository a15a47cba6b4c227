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

func BenchmarkContinues(b *testing.B) {
	f := func(name string, lines ...string) {
		b.Run(name, func(b *testing.B) {
			j := Join{auto: true}.Joiner()
			all := make([][]byte, len(lines))
			for i, l := range lines {
				all[i] = []byte(l)
			}
			n := 0
			for b.Loop() {
				for _, l := range all {
					if j.Continues(l) {
						n++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(all)), "ns/line")
		})
	}
	f("json", jsonLine, jsonLine, jsonLine, jsonLine)
	f("dated", "2026-11-23 13:21:00.001 INFO  [main] c.e.App - started", "2026-11-23 13:21:00.002 INFO  [main] c.e.App - going on")
	f("logfmt", "time=2026-11-23T13:21:01Z level=info msg=one", "level=info ts=1795440061.1 msg=two")
	f("words", "starting up the server now", "Listening on port 8080", "connection from 10.0.0.1 accepted", "done")
	f("java", "2026-11-23 13:21:01.123 ERROR [http-1] c.e.Orders - order 17 failed", "java.lang.IllegalStateException: no stock",
		"\tat com.example.Orders.take(Orders.java:41)", "\tat java.base/java.lang.Thread.run(Thread.java:1583)", "Caused by: java.sql.SQLException: deadlock",
		"\tat com.example.Db.query(Db.java:77) ~[app.jar:1.2]", "\t... 12 common frames omitted")
}
