package logline

import (
	"slices"
	"strings"
	"testing"
)

// records feeds the lines of all records to a joiner and returns what it made of them.
func records(t *testing.T, join string, lines []string) []string {
	t.Helper()
	how, err := ParseJoin(join)
	if err != nil {
		t.Fatal(err)
	}
	j := how.Joiner()
	var got []string
	for _, line := range lines {
		if j.Continues([]byte(line)) {
			got[len(got)-1] += "\n" + line
		} else {
			got = append(got, line)
		}
	}
	return got
}

// TestAutoJoinsTraces holds records as programs print them: each string is one.
func TestAutoJoinsTraces(t *testing.T) {
	const (
		before = "2026-11-23 13:21:00.001 INFO  [main] c.e.App - started"
		behind = "2026-11-23 13:21:02.001 INFO  [main] c.e.App - going on"
	)
	f := func(name string, want ...string) {
		t.Helper()
		for _, around := range []bool{true, false} {
			want := want
			if around {
				want = slices.Concat([]string{before}, want, []string{behind, behind})
			}
			got := records(t, "auto", strings.Split(strings.Join(want, "\n"), "\n"))
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", name, got, want)
			}
		}
	}
	f("java, logback", `2026-11-23 13:21:01.123 ERROR [http-1] c.e.Orders - order 17 failed
java.lang.IllegalStateException: no stock
	at com.example.Orders.take(Orders.java:41)
	at com.example.Orders.lambda$run$0(Orders.java:17)
	at java.base/java.lang.Thread.run(Thread.java:1583)
	Suppressed: java.io.IOException: close
		at com.example.Pool.close(Pool.java:9)
		... 2 more
Caused by: java.sql.SQLException: deadlock
	at com.example.Db.query(Db.java:77) ~[app.jar:1.2]
	... 12 common frames omitted`)
	f("java, uncaught", `Exception in thread "main" java.lang.NullPointerException: Cannot invoke "String.length()"
	at com.example.Main.main(Main.java:5)`)
	f("java, one after the other", `2026-11-23 13:21:01.123 ERROR [a] x - one
com.example.FooException
	at com.example.A.a(A.java:1)`, `2026-11-23 13:21:01.124 ERROR [a] x - two
com.example.BarError: two
	at com.example.A.b(A.java:2)`)
	f("java, printed without a logger", `2026-11-23 13:21:01.123 WARN x
java.lang.RuntimeException: one
	at com.example.A.a(A.java:1)`, `java.lang.RuntimeException: two
	at com.example.A.a(A.java:1)`)
	f("python, logging.exception", `ERROR:root:order failed
Traceback (most recent call last):
  File "/app/main.py", line 12, in run
    take(order)
    ~~~~^^^^^^^
  File "/app/stock.py", line 4, in take
    raise ValueError("no stock")
  [Previous line repeated 996 more times]
ValueError: no stock`)
	f("python, chained", `ERROR:root:order failed
Traceback (most recent call last):
  File "/app/main.py", line 12, in run
    take(order)
KeyError: 'sku'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/main.py", line 14, in run
    raise app.errors.OrderError from None
app.errors.OrderError

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/main.py", line 20, in <module>
SystemExit: 3`)
	f("python, a group", `ERROR:root:many
  + Exception Group Traceback (most recent call last):
  |   File "/app/main.py", line 3, in <module>
  | ExceptionGroup: many (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------`)
	f("go, panic", `panic: runtime error: index out of range [5] with length 3 [recovered]
	panic: again

goroutine 1 [running]:
main.main.func1()
	/app/main.go:9 +0x1d
panic({0x45e0a0?, 0xc000012030?})
	/usr/local/go/src/runtime/panic.go:770 +0x132
net/http.(*conn).serve(0xc0000a2000, {0x6d1c58, 0xc00008e0f0})
	/usr/local/go/src/net/http/server.go:2009 +0x5f4
created by net/http.(*Server).Serve in goroutine 1
	/usr/local/go/src/net/http/server.go:3086 +0x5cb

goroutine 18 [chan receive, 3 minutes]:
main.wait(...)
	/app/main.go:30
exit status 2`)
	f("go, a signal", `panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45d9a7]

goroutine 1 [running]:
main.main()
	/app/main.go:8 +0x1d`)
	f("go, all asleep", `fatal error: all goroutines are asleep - deadlock!

goroutine 1 [select (no cases)]:
main.main()
	/app/main.go:4 +0x1d`)
	f("go, SIGQUIT", `SIGQUIT: quit
PC=0x46a2e1 m=0 sigcode=0

goroutine 0 [idle]:
runtime.futex()
	/usr/local/go/src/runtime/sys_linux_amd64.s:557 +0x21 fp=0x7ffc sp=0x7ffc pc=0x46a2e1
...additional frames elided...

rax    0xca
rip    0x46a2e1`)
	f("go, net/http recovers", `2026/11/23 13:21:01 http: panic serving 10.0.0.9:41822: boom
goroutine 34 [running]:
net/http.(*conn).serve.func1()
	/usr/local/go/src/net/http/server.go:1947 +0xbe`)
	f("go, zap's console", `2026-11-23T13:21:01.123Z	ERROR	app/main.go:12	order failed	{"order": 17}
main.main
	/app/main.go:12
github.com/example/shop/stock.(*Store).Take
	/app/stock/store.go:88
runtime.main
	/usr/local/go/src/runtime/proc.go:271`)
	f("node, console.error", `order failed TypeError: Cannot read properties of undefined (reading 'sku')
    at take (/app/stock.js:4:17)
    at async Promise.all (index 0) {
  code: 'E_STOCK',
  [cause]: Error: inner
      at new Promise (<anonymous>)
}`)
	f("node, uncaught", `/app/index.js:3
    throw new Error("no stock");
    ^

Error: no stock
    at Object.<anonymous> (/app/index.js:3:11)
    at node:internal/main/run_main_module:28:49

Node.js v22.4.0`)
	f("node, from within", `node:internal/modules/cjs/loader:1148
  throw err;
  ^

Error: Cannot find module 'express'
Require stack:
- /app/index.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1145:15) {
  code: 'MODULE_NOT_FOUND',
  requireStack: []
}`)
	f("ruby", `app.rb:3:in 'Object#take': no stock (RuntimeError)
	from app.rb:7:in 'block in <main>'
	from app.rb:9:in 'Array#each'`)
	f("ruby, rails", `F, [2026-11-23T13:21:01.123456 #42] FATAL -- : RuntimeError (no stock):
app/models/stock.rb:3:in 'Stock#take'
app/controllers/orders_controller.rb:7:in 'OrdersController#create'`)
	f(".net, unhandled", `Unhandled exception. System.InvalidOperationException: no stock
 ---> System.IO.IOException: disk
   at Shop.Stock.Read() in /src/Stock.cs:line 12
   --- End of inner exception stack trace ---
   at Shop.Orders.Take(Int32 n) in /src/Orders.cs:line 41
--- End of stack trace from previous location ---
   at Shop.Program.<Main>(String[] args)`)
	f(".net, the console logger", `info: Microsoft.Hosting.Lifetime[14]
      Now listening on: http://[::]:8080`, `fail: Shop.Orders[0]
      order 17 failed
      System.InvalidOperationException: no stock
         at Shop.Stock.Take() in /src/Stock.cs:line 12`)
	f("php", `PHP Fatal error:  Uncaught Exception: no stock in /app/stock.php:3
Stack trace:
#0 /app/index.php(7): take()
#1 {main}

Next RuntimeException: order in /app/index.php:9
Stack trace:
#0 {main}
  thrown in /app/index.php on line 9`)
	f("php, laravel", `[2026-11-23 13:21:01] production.ERROR: no stock {"exception":"[object] (Exception(code: 0): no stock at /app/Stock.php:3)
[stacktrace]
#0 /app/Orders.php(41): take()
#1 {main}
"} `)
	f("php, xdebug", `PHP Fatal error:  Uncaught Exception: x
PHP Stack trace:
PHP   1. {main}() /app/index.php:0`)
	f("rust", `thread 'main' panicked at src/main.rs:2:5:
no stock
stack backtrace:
   0: rust_begin_unwind
             at /rustc/90b35a6/library/std/src/panicking.rs:645:5
   1: shop::main
note: Some details are omitted, run with `+"`RUST_BACKTRACE=full`"+` for a verbose backtrace.`)
	f("rust, older", `thread 'tokio-runtime-worker' panicked at 'no stock', src/main.rs:2:5
note: run with `+"`RUST_BACKTRACE=1`"+` environment variable to display a backtrace`)
}

// TestAutoLeavesLinesAlone holds lines none of which goes on with the one before.
func TestAutoLeavesLinesAlone(t *testing.T) {
	lines := []string{
		`{"level":"info","msg":"one"}`,
		`{"level":"error","msg":"two","stack":"Error: x\n    at y"}`,
		`java.lang.IllegalStateException: starts a file`,
		`{"msg":"behind an exception"}`,
		"panic: boom",
		`{"msg":"behind a panic"}`,
		"plain text",
		"2026-11-23T13:21:01.123456789Z stdout F \tat com.example.A.a(A.java:1)",
		"level=info msg=one",
		"time=2026-11-23T13:21:01Z level=INFO msg=two",
		"info: user logged in",
		"error: something",
		"example.com/index.html",
		"/var/lib/data.db:12",
		"main.go:12: a compiler says",
		"at the end of the day",
		"from the start",
		"  indented text",
		"\tSELECT 1",
		"  - a: list",
		"Closing connection",
		"Starting up",
		"Error: boom",
		"",
		"goroutine pool has 4 workers:",
		"thread 'a' is fine",
		"10.0.0.1 - - [23/Nov/2026:13:21:01 +0000] \"GET / HTTP/1.1\" 200 5",
	}
	if got := records(t, "auto", lines); !slices.Equal(got, lines) {
		t.Errorf("got %q", got)
	}
}

func TestLinesOfAnotherFormEndATrace(t *testing.T) {
	f := func(want ...string) {
		t.Helper()
		if got := records(t, "auto", strings.Split(strings.Join(want, "\n"), "\n")); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f("Traceback (most recent call last):\n  File \"x.py\", line 1, in f", "2026-11-23 13:21:01 INFO cut off")
	f("thread 'main' panicked at src/main.rs:2:5:", "2026-11-23T13:21:01Z INFO another thread")
	f("/app/index.js:3", "2026-11-23T13:21:01Z INFO no source")
	f("goroutine 1 [running]:\nmain.main()\n\t/app/main.go:8 +0x1d\n", "started again")
	f("x\n\tat com.example.A.a(A.java:1)", "Connection to 10.0.0.1 closed")
}

func TestPatternBeginsARecord(t *testing.T) {
	lines := []string{"a", "[1] one", "  more", "", "[2] two", "and more"}
	want := []string{"a", "[1] one\n  more\n", "[2] two\nand more"}
	if got := records(t, `start:^\[\d+\]`, lines); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNoneJoinsNothing(t *testing.T) {
	lines := []string{"x", "\tat com.example.A.a(A.java:1)", ""}
	if got := records(t, "none", lines); !slices.Equal(got, lines) {
		t.Errorf("got %q", got)
	}
	if (Join{}).Active() {
		t.Error("the zero Join joins something")
	}
}

func TestResetBeginsARecord(t *testing.T) {
	for _, how := range []string{"auto", "start:^x"} {
		join, err := ParseJoin(how)
		if err != nil || !join.Active() {
			t.Fatal(err)
		}
		j := join.Joiner()
		frame := []byte("\tat com.example.A.a(A.java:1)")
		if j.Continues([]byte("x")) || !j.Continues(frame) {
			t.Errorf("%s does not join a frame", how)
		}
		if j.Reset(); j.Continues(frame) {
			t.Errorf("%s: the first line after Reset goes on with something", how)
		}
		if !j.Continues(frame) {
			t.Errorf("%s: the second one does not", how)
		}
	}
}

func TestParseJoinNamesWhatIsWrong(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if _, err := ParseJoin(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", in, err, want)
		}
	}
	f("java", "start:REGEXP")
	f("", "none, auto")
	f("start:(", "missing closing")
}

func FuzzJoiner(f *testing.F) {
	f.Add("x\n\tat a.b(C.java:1)\nCaused by: y\n{\"a\":1}")
	f.Add("panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:1")
	f.Add("/app/i.js:3\n  x\n  ^\n\nError: y\n    at z {\n}\n\nNode.js v1")
	f.Add("Traceback (most recent call last):\n  File \"x\"\nE: y\n\nDuring handling of the above exception, x")
	f.Add("file:///x.mjs:1\n\t\n: \n... \nnode:internal/:")
	f.Fuzz(func(t *testing.T, text string) {
		j := Join{auto: true}.Joiner()
		for i, line := range strings.Split(text, "\n") {
			joined := j.Continues([]byte(line))
			if joined && i == 0 {
				t.Fatal("the first line goes on with something")
			}
			if joined && strings.HasPrefix(line, "{") {
				t.Fatalf("%q was joined", line)
			}
		}
	})
}
