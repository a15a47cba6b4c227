package logline

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

const at = 1795440100_000000000 // 2026-11-23T13:21:40Z

// jsonLine is 220 bytes, as structured loggers write them.
const jsonLine = `{"time":"2026-11-23T13:21:01.123456789Z","level":"INFO","logger":"app.http","msg":"request served","method":"GET","path":"/api/v1/orders/8812","status":200,"bytes":5123,"duration_ms":12.75,"user":"u-10293","pod":"shop-7"}`

// cpu returns the processor time this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perLine calls f for each line, again and again, and reports processor time per line.
func perLine(b *testing.B, lines []string, f func(line []byte)) {
	all := make([][]byte, len(lines))
	for i, l := range lines {
		all[i] = []byte(l)
	}
	b.ReportAllocs()
	was := cpu(b)
	for b.Loop() {
		for _, l := range all {
			f(l)
		}
	}
	b.ReportMetric(float64((cpu(b)-was).Nanoseconds())/float64(b.N*len(all)), "cpu-ns/line")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct {
		name string
		f    Format
		line string
	}{
		{"json", JSON, jsonLine},
		{"json_auto", Auto, jsonLine},
		{"json_trace", JSON, `{"time":"2026-11-23T13:21:01.123456789Z","level":"INFO","msg":"request served","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}`},
		{"logfmt", Auto, `time=2026-11-23T13:21:01.123Z level=INFO msg="served it" status=200 took=3ms path=/api/v1/orders/8812`},
		{"klog", Auto, `I1123 13:21:01.123456    1234 kubelet.go:2345] "SyncLoop ADD" source="api" pods=["a/b"]`},
		{"access", Auto, `10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "GET /a/b?c=d HTTP/1.1" 200 5123 "https://x/" "Mozilla/5.0 (X11; Linux x86_64)"`},
		{"syslog", Auto, `Nov 23 13:21:01 node-7 systemd[1]: Started Daily apt upgrade.`},
		{"text", Auto, `2026-11-23 13:21:01,123 [http-nio-8080-exec-1] INFO  com.example.App - order 17 taken by user 10293`},
		{"nothing", Auto, `order 17 taken by user 10293 and sent to the warehouse, all is well`},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := NewParser(c.f)
			perLine(b, []string{c.line}, func(line []byte) { p.Parse(line, at, nil) })
		})
	}
}

// BenchmarkParseJSONMixed reads lines whose parts have different lengths, so
// that the processor cannot learn them.
func BenchmarkParseJSONMixed(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	text := "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"
	word := func(n int) string { return text[:n/2+rng.IntN(n)] }
	lines := make([]string, 2000)
	size := 0
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"time":"2026-11-23T13:21:01.%09dZ","level":%q,"logger":"app.%s","msg":"request %s","method":"GET","path":"/api/%s","status":%d,"bytes":%d,"duration_ms":%.3f,"user":%q,"pod":"shop-%d"}`,
			rng.IntN(1e9), []string{"INFO", "WARN", "DEBUG", "ERROR"}[rng.IntN(4)], word(6), word(8), word(20), 200+rng.IntN(300), rng.IntN(10000), rng.Float64()*100,
			word(8), rng.IntN(100))
		size += len(lines[i])
	}
	b.ReportMetric(float64(size)/float64(len(lines)), "B/line")
	p := NewParser(Auto)
	perLine(b, lines, func(line []byte) { p.Parse(line, at, nil) })
}

func BenchmarkContinues(b *testing.B) {
	f := func(name string, lines ...string) {
		b.Run(name, func(b *testing.B) {
			j := Join{auto: true}.Joiner()
			perLine(b, lines, func(line []byte) { j.Continues(line) })
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
