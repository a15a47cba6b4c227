package logline

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

var levelNames = [...]string{"emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"}

// show writes what was read as "TIME LEVEL {labels}".
func show(r Record, out []byte) string {
	var w strings.Builder
	w.WriteByte('-')
	if r.Time != 0 {
		w.Reset()
		w.WriteString(time.Unix(0, r.Time).UTC().Format(time.RFC3339Nano))
	}
	w.WriteByte(' ')
	if int(r.Level) < len(levelNames) {
		w.WriteString(levelNames[r.Level])
	} else {
		w.WriteByte('-')
	}
	for k, v := range signal.Walk(string(out)) {
		w.WriteString(" " + k + "=")
		if strings.ContainsAny(v, " \"=") {
			v = strconv.Quote(v)
		}
		w.WriteString(v)
	}
	return w.String()
}

// TestCorpus holds lines as programs write them, each read by a fresh Auto.
func TestCorpus(t *testing.T) {
	f := func(program string, form Format, line, want string) {
		t.Helper()
		p := NewParser(Auto)
		r, out, ok := p.Parse([]byte(line), at, nil)
		got := Text
		if p.guess.favourite != None {
			got = p.guess.favourite
		}
		if !ok {
			got = None
		}
		if s := show(r, out); got != form || s != want {
			t.Errorf("%s: %s\n got %v %s\nwant %v %s", program, line, got, s, form, want)
		}
		if form == None {
			return
		}
		// The same, said outright.
		if r, out, ok = NewParser(form).Parse([]byte(line), at, nil); !ok || show(r, out) != want {
			t.Errorf("%s as %v: %s\n got %v %s\nwant %s", program, form, line, ok, show(r, out), want)
		}
	}
	const sec, ms, us = "2026-11-23T13:21:01Z", "2026-11-23T13:21:01.123Z", "2026-11-23T13:21:01.123456Z"

	// JSON.
	f("go slog", JSON, `{"time":"2026-11-23T13:21:01.123456789Z","level":"INFO","msg":"served","status":200}`, "2026-11-23T13:21:01.123456789Z info")
	f("go slog, between levels", JSON, `{"time":"2026-11-23T14:21:01.123+01:00","level":"WARN+2","msg":"x"}`, ms+" warning")
	f("zap", JSON, `{"level":"error","ts":1795440061.123456,"caller":"app/main.go:12","msg":"no stock","stacktrace":"main.main\n\t/app/main.go:12"}`, us+" error")
	f("zap, exponent", JSON, `{"level":"dpanic","ts":1.795440061e+09,"msg":"x"}`, sec+" critical")
	f("etcd", JSON, `{"level":"warn","ts":"2026-11-23T13:21:01.123456Z","logger":"raft","caller":"etcdserver/util.go:170","msg":"apply request took too long","took":"133ms"}`, us+" warning")
	f("zerolog", JSON, `{"level":"debug","time":1795440061,"message":"hi"}`, sec+" debug")
	f("zerolog, milliseconds", JSON, `{"level":"trace","time":1795440061123,"message":"hi"}`, ms+" debug")
	f("logrus", JSON, `{"level":"fatal","msg":"x","time":"2026-11-23T13:21:01Z"}`, sec+" critical")
	f("pino", JSON, `{"level":30,"time":1795440061123,"pid":7,"hostname":"a","msg":"hi"}`, ms+" info")
	f("pino, an error", JSON, `{"level":50,"time":1795440061123,"err":{"type":"Error","level":"info","stack":"Error: {\"level\":10}"},"msg":"x"}`, ms+" error")
	f("bunyan", JSON, `{"name":"app","hostname":"a","pid":7,"level":40,"msg":"x","time":"2026-11-23T13:21:01.123Z","v":0}`, ms+" warning")
	f("winston", JSON, `{"level":"warn","message":"x","timestamp":"2026-11-23T13:21:01.123Z"}`, ms+" warning")
	f("winston with dd-trace", JSON, `{"dd":{"env":"prod","service":"shop","span_id":"5577006791947779410","trace_id":"8674665223082153551"},"level":"info","message":"x"}`,
		"- info span_id=4d65822107fcfd52 trace_id=78629a0f5f3f164f")
	f("logback, logstash encoder", JSON, `{"@timestamp":"2026-11-23T13:21:01.123Z","@version":"1","message":"x","logger_name":"c.e.App","thread_name":"main","level":"ERROR","level_value":40000,"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}`,
		ms+" error span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("log4j2, JsonLayout", JSON, `{"instant":{"epochSecond":1795440061,"nanoOfSecond":0},"thread":"main","level":"INFO","timeMillis":1795440061123,"message":"x"}`, ms+" info")
	f("ecs-logging", JSON, `{"@timestamp":"2026-11-23T13:21:01.123Z","log.level":"warn","message":"x","trace.id":"4BF92F3577B34DA6A3CE929D0E0E4736"}`,
		ms+" warning trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("ecs, nested", JSON, `{"@timestamp":"2026-11-23T13:21:01.123Z","log":{"level":"error","logger":"a"},"trace":{"id":"4bf92f3577b34da6a3ce929d0e0e4736"},"span":{"id":"00f067aa0ba902b7"}}`,
		ms+" error span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("python-json-logger", JSON, `{"asctime": "2026-11-23 13:21:01,123", "levelname": "CRITICAL", "message": "x", "otelTraceID": "0"}`, ms+" critical")
	f("python, by number", JSON, `{"created": 1795440061.123, "levelno": 30, "message": "x"}`, ms+" warning")
	f("structlog", JSON, `{"event": "x", "level": "info", "timestamp": "2026-11-23T13:21:01.123456Z"}`, us+" info")
	f("google", JSON, `{"severity":"NOTICE","timestamp":{"seconds":1795440061,"nanos":123000000},"message":"x","logging.googleapis.com/trace":"projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736","logging.googleapis.com/spanId":"00f067aa0ba902b7"}`,
		ms+" notice span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("opentelemetry", JSON, `{"Timestamp":"1795440061123456000","SeverityNumber":17,"Body":"x","TraceId":"4bf92f3577b34da6a3ce929d0e0e4736","SpanId":"00f067aa0ba902b7"}`,
		us+" error span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("mongodb", JSON, `{"t":{"$date":"2026-11-23T13:21:01.123+00:00"},"s":"W","c":"NETWORK","id":22943,"ctx":"listener","msg":"x"}`, ms+" warning")
	f("serilog", JSON, `{"@t":"2026-11-23T13:21:01.1234567Z","@m":"x","@l":"Warning"}`, "2026-11-23T13:21:01.1234567Z warning")
	f(".net", JSON, `{"Timestamp":"2026-11-23T13:21:01.123Z","EventId":14,"LogLevel":"Critical","Category":"a","Message":"x"}`, ms+" critical")
	f("hashicorp", JSON, `{"@level":"info","@message":"x","@module":"agent","@timestamp":"2026-11-23T13:21:01.123456Z"}`, us+" info")
	f("gelf", JSON, `{"version":"1.1","host":"a","short_message":"x","timestamp":1795440061.123,"level":4}`, ms+" warning")
	f("caddy", JSON, `{"level":"info","ts":1795440061.123456,"logger":"http.log.access","msg":"handled request","request":{"headers":{"Date":["x"]}},"duration":0.1,"status":200}`, us+" info")
	f("kubernetes audit", JSON, `{"kind":"Event","level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestReceivedTimestamp":"2026-11-23T13:21:01Z"}`, "- -")
	f("a traceparent", JSON, `{"msg":"x","traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`,
		"- - span_id=00f067aa0ba902b7 trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("a duration called time", JSON, `{"msg":"x","time":0.035,"level":"info"}`, "- info")

	// logfmt.
	f("go slog, text", Logfmt, `time=2026-11-23T13:21:01.123Z level=INFO msg="served it" status=200 took=3ms`, ms+" info status=200 took=3ms")
	f("logrus, logfmt", Logfmt, `time="2026-11-23T13:21:01Z" level=warning msg="said \"no\"" order=17`, sec+" warning order=17")
	f("go-kit: prometheus", Logfmt, `ts=2026-11-23T13:21:01.123Z caller=main.go:1234 level=info component=tsdb msg="WAL segment loaded"`,
		ms+" info code.file.path=main.go code.line.number=1234 component=tsdb")
	f("grafana", Logfmt, `logger=http.server t=2026-11-23T13:21:01.123456Z level=error msg="no" traceID=4bf92f3577b34da6a3ce929d0e0e4736`,
		us+" error logger=http.server trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f("heroku", Logfmt, `at=info method=GET path="/x y" status=200 msg=done`, `- - at=info method=GET path="/x y" status=200`)
	f("traefik, dockerd", Logfmt, `level=error msg="x" error="dial tcp: refused" time="2026-11-23T13:21:01.123456789Z"`, `2026-11-23T13:21:01.123456789Z error error="dial tcp: refused"`)

	// klog.
	f("kubelet", Klog, `I1123 13:21:01.123456    1234 kubelet.go:2345] "SyncLoop ADD" source="api" pods=["a/b"]`, us+" info code.file.path=kubelet.go code.line.number=2345 thread.id=1234")
	f("kube-apiserver", Klog, `W1123 13:21:01.123456       1 reflector.go:539] k8s.io/client-go: failed to list`, us+" warning code.file.path=reflector.go code.line.number=539 thread.id=1")
	f("kube-proxy", Klog, `E1123 13:21:01.123456       1 server.go:1039] "Failed" err="x"`, us+" error code.file.path=server.go code.line.number=1039 thread.id=1")
	f("klog, fatal", Klog, `F1123 13:21:01.123456       1 main.go:7] x`, us+" critical code.file.path=main.go code.line.number=7 thread.id=1")

	// Web servers.
	f("nginx, combined", Access, `10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "GET /a/b?c=d HTTP/1.1" 200 5123 "https://x/" "Mozilla/5.0 (X11)"`,
		sec+` info client.address=10.0.0.9 http.request.method=GET http.response.body.size=5123 http.response.status_code=200 url.path=/a/b url.query="c=d" user_agent.original="Mozilla/5.0 (X11)"`)
	f("apache, common", Access, `10.0.0.9 - ann [23/Nov/2026:14:21:01 +0100] "POST /login HTTP/1.1" 403 -`,
		sec+" warning client.address=10.0.0.9 http.request.method=POST http.response.status_code=403 url.path=/login user.name=ann")
	f("ingress-nginx", Access, `10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "GET / HTTP/2.0" 502 552 "-" "curl/8.5.0" 91 0.003 [shop-web-80] [] 10.1.0.7:80 0 0.003 502 8f`,
		sec+" error client.address=10.0.0.9 http.request.method=GET http.response.body.size=552 http.response.status_code=502 url.path=/ user_agent.original=curl/8.5.0")
	f("apache, virtual hosts", Access, `www.example.com:80 10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "HEAD / HTTP/1.0" 301 0 "-" "-"`,
		sec+" info client.address=10.0.0.9 http.request.method=HEAD http.response.body.size=0 http.response.status_code=301 url.path=/")
	f("nginx, a request of garbage", Access, `10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "\x16\x03\x01" 400 157 "-" "-"`,
		sec+" warning client.address=10.0.0.9 http.response.body.size=157 http.response.status_code=400")
	f("nginx, IPv6", Access, `2001:db8::9 - - [23/Nov/2026:13:21:01 +0000] "GET / HTTP/1.1" 304 0 "-" "a"`,
		sec+" info client.address=2001:db8::9 http.request.method=GET http.response.body.size=0 http.response.status_code=304 url.path=/ user_agent.original=a")
	f("envoy", Access, `[2026-11-23T13:21:01.123Z] "GET /x HTTP/1.1" 503 UF 0 91 12 - "-" "curl/8.5.0" "req-1" "shop" "10.1.0.7:80"`,
		ms+" error http.request.method=GET http.response.body.size=91 http.response.status_code=503 url.path=/x user_agent.original=curl/8.5.0")
	f("istio", Access, `[2026-11-23T13:21:01.123Z] "GET /x HTTP/2" 200 - via_upstream - "-" 0 91 12 11 "-" "curl/8.5.0" "req-1" "shop" "10.1.0.7:80"`,
		ms+" info http.request.method=GET http.response.body.size=91 http.response.status_code=200 url.path=/x user_agent.original=curl/8.5.0")
	f("nginx, error", NginxError, `2026/11/23 13:21:01 [error] 42#43: *7 open() "/x" failed (2: No such file or directory), client: 10.0.0.9, server: example.com, request: "GET /x?y=1 HTTP/1.1", host: "example.com"`,
		sec+` error client.address=10.0.0.9 http.request.method=GET process.pid=42 server.address=example.com thread.id=43 url.path=/x url.query="y=1"`)
	f("nginx, starting", NginxError, `2026/11/23 13:21:01 [notice] 1#1: nginx/1.27.0`, sec+" notice process.pid=1 thread.id=1")
	f("apache, error", ApacheError, `[Mon Nov 23 13:21:01.123456 2026] [core:error] [pid 42:tid 1403] [client 10.0.0.9:5678] AH00124: Request exceeded the limit`,
		us+" error client.address=10.0.0.9 process.pid=42 thread.id=1403")
	f("apache 2.2, error", ApacheError, `[Mon Nov 23 13:21:01 2026] [notice] caught SIGTERM, shutting down`, sec+" notice")

	// Syslog in files.
	f("systemd", Syslog, `Nov 23 13:21:01 node-7 systemd[1]: Started Daily apt upgrade.`, sec+" - syslog.appname=systemd syslog.procid=1")
	f("the kernel", Syslog, `Nov  3 13:21:01 node-7 kernel: [12345.678901] oom-kill:constraint=CONSTRAINT_MEMCG`, "2026-11-03T13:21:01Z - syslog.appname=kernel")
	f("rsyslog", Syslog, `2026-11-23T13:21:01.123456+00:00 node-7 sshd[812]: Accepted publickey for ann`, us+" - syslog.appname=sshd syslog.procid=812")
	f("dmesg, raw", Syslog, `<3>[ 5.140900] EXT4-fs error`, "- error syslog.facility=kern")
	f("systemd, a prefix", Syslog, `<4>disk is nearly full`, "- warning syslog.facility=kern")
	f("RFC 5424", Syslog, `<165>1 2026-11-23T13:21:01.123Z node-7 app 42 ID7 [id@32473 k="a \"b\"" n="2"] text`,
		ms+` notice id@32473.k="a \"b\"" id@32473.n=2 syslog.appname=app syslog.facility=local4 syslog.msgid=ID7 syslog.procid=42`)

	// Texts with a stamp or a severity.
	f("log4j", Text, `2026-11-23 13:21:01,123 [main] INFO  com.example.App - started`, ms+" info")
	f("logback", Text, `13:21:01.123 [main] WARN  com.example.App - slow`, "- warning")
	f("spring boot", Text, `2026-11-23T14:21:01.123+01:00 ERROR 1 --- [nio-8080-exec-1] c.e.Orders : no stock`, ms+" error")
	f("dropwizard", Text, `WARN  [2026-11-23 13:21:01,123] com.example.App: slow`, ms+" warning")
	f("kafka", Text, `[2026-11-23 13:21:01,123] INFO [KafkaServer id=0] started (kafka.server.KafkaServer)`, ms+" info")
	f("cassandra", Text, `INFO  [main] 2026-11-23 13:21:01,123 CassandraDaemon.java:507 - up`, "- info")
	f("elasticsearch", Text, `[2026-11-23T13:21:01,123][WARN ][o.e.c.Service] [node-1] high disk watermark`, ms+" warning")
	f("python", Text, `2026-11-23 13:21:01,123 - app.orders - ERROR - no stock`, ms+" error")
	f("python, basicConfig", Text, `WARNING:root:slow`, "- warning")
	f("django", Text, `ERROR 2026-11-23 13:21:01,123 views 7 1403 no stock`, ms+" error")
	f("uvicorn", Text, `INFO:     10.0.0.9:5678 - "GET / HTTP/1.1" 200 OK`, "- info")
	f("gunicorn", Text, `[2026-11-23 13:21:01 +0000] [7] [INFO] Listening at: http://0.0.0.0:8000 (7)`, sec+" info")
	f("celery", Text, `[2026-11-23 13:21:01,123: WARNING/MainProcess] slow`, ms+" warning")
	f("loguru", Text, `2026-11-23 13:21:01.123 | SUCCESS  | __main__:<module>:7 - done`, ms+" info")
	f("tornado", Text, `[I 2026-11-23 13:21:01.123 ServerApp] Serving`, ms+" info")
	f("rails", Text, `E, [2026-11-23T13:21:01.123456 #42] ERROR -- : no stock`, us+" error")
	f("go log", Text, `2026/11/23 13:21:01 listening on :8080`, sec+" -")
	f("go log, a word of its text", Text, `2026/11/23 13:21:01 sync with a peer ended, error: EOF`, sec+" -")
	f("go log, microseconds", Text, `2026/11/23 13:21:01.123456 main.go:7: listening`, us+" -")
	f("logrus, a terminal", Text, "\x1b[33mWARN\x1b[0m[0007] slow  order=17", "- warning")
	f("zap, console", Text, "2026-11-23T13:21:01.123Z\terror\tapp/main.go:12\tno stock", ms+" error")
	f("zerolog, console", Text, "\x1b[90m1:21PM\x1b[0m \x1b[32mINF\x1b[0m hi", "- info")
	f("rust tracing", Text, "\x1b[2m2026-11-23T13:21:01.123456Z\x1b[0m \x1b[31mERROR\x1b[0m \x1b[2mapp\x1b[0m: no stock", us+" error")
	f("env_logger", Text, `[2026-11-23T13:21:01Z DEBUG app::stock] take`, sec+" debug")
	f("postgres", Text, `2026-11-23 13:21:01.123 UTC [42] LOG:  checkpoint starting: time`, ms+" info")
	f("postgres, zone", Text, `2026-11-23 14:21:01.123 CET [42] ann@shop FATAL:  password authentication failed`, ms+" critical")
	f("postgres, an ambiguous zone", Text, `2026-11-23 13:21:01.123 IST [42] ERROR:  deadlock detected`, "- error")
	f("mysql", Text, `2026-11-23T13:21:01.123456Z 0 [Warning] [MY-010068] [Server] CA certificate is self signed`, us+" warning")
	f("mariadb", Text, `2026-11-23 13:21:01 0 [Note] mariadbd: ready for connections`, sec+" notice")
	f("redis", Text, `1:M 23 Nov 2026 13:21:01.123 * Ready to accept connections`, ms+" notice")
	f("redis, a warning", Text, `1:M 23 Nov 2026 13:21:01.123 # Can't save in background`, ms+" warning")
	f("php-fpm", Text, `[23-Nov-2026 13:21:01] NOTICE: fpm is running, pid 1`, sec+" notice")
	f("php, errors", Text, `[23-Nov-2026 13:21:01 UTC] PHP Warning:  Undefined variable`, sec+" warning")
	f("laravel", Text, `[2026-11-23 13:21:01] production.ERROR: no stock {"exception":"x"}`, sec+" error")
	f("rabbitmq", Text, `2026-11-23 13:21:01.123456+00:00 [info] <0.222.0> Server startup complete`, us+" info")
	f("haproxy", Text, `[WARNING]  (1) : config : missing timeouts`, "- warning")
	f("haproxy, alert", Text, `[ALERT]    (1) : x`, "- alert")
	f("envoy", Text, `[2026-11-23 13:21:01.123][1][critical][main] [source/server/server.cc:117] x`, ms+" critical")
	f("consul", Text, `2026-11-23T13:21:01.123Z [WARN]  agent.server: slow`, ms+" warning")
	f("coredns", Text, `[ERROR] plugin/errors: 2 example.com. A: read udp: i/o timeout`, "- error")
	f("dmesg -T", Text, `[Mon Nov 23 13:21:01 2026] EXT4-fs (sda1): mounted`, sec+" -")
	f("squid", Text, `1795440061.123     91 10.0.0.9 TCP_MISS/200 512 GET http://x/`, ms+" -")
	f("node", Text, `Error: no stock`, "- error")
	f("go, a panic", Text, "panic: boom\n\ngoroutine 1 [running]:\nmain.main()", "- critical")
	f("go, the runtime", Text, "fatal error: all goroutines are asleep - deadlock!", "- critical")
	f("rust, a panic", Text, "thread 'main' panicked at src/main.rs:2:5:\nboom", "- critical")
	f("python, uncaught", Text, "Traceback (most recent call last):\n  File \"x.py\", line 1\nValueError: x", "- error")
	f("java, uncaught", Text, "Exception in thread \"main\" java.lang.Error: x\n\tat a.B.c(B.java:1)", "- critical")
	f("php, uncaught", Text, "PHP Fatal error:  Uncaught Exception: x", "- critical")
	f(".net", Text, `fail: Shop.Orders[0]`, "- error")
	f("minecraft, java.util", Text, `[13:21:01] [Server thread/WARN]: Can't keep up!`, "- warning")

	// What says nothing.
	for _, line := range []string{
		"Listening on port 8080", "", "   ", "Hello, World", "no error so far", "User INFOGRAM logged in", "+ set -e", "===== start =====",
		"[    0.000000] Linux version 6.8.0", "x=1", "level=info", "I am here", "{broken", `{"a":}`, `{"level":"error"`, "[1,2,3]", "12 monkeys", "<html>",
		"http://example.com/?level=error&msg=x",
	} {
		f("nothing", None, line, "- -")
	}
}
