package logline

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestFormatsHaveNames(t *testing.T) {
	for f := None; f <= Text; f++ {
		got, err := ParseFormat(f.String())
		if err != nil || got != f {
			t.Errorf("%v: %v %v", f, got, err)
		}
	}
	if _, err := ParseFormat("xml"); err == nil || !strings.Contains(err.Error(), "auto, json, logfmt") {
		t.Errorf("%v does not list the names", err)
	}
	if s := Format(200).String(); s != "invalid" {
		t.Error(s)
	}
}

// TestStamps holds stamps and what is made of them, seen from 2026-11-23T13:21:40Z.
func TestStamps(t *testing.T) {
	var remembered clock
	f := func(in, want string) {
		t.Helper()
		got := "-"
		ns := remembered.stampIn([]byte(in), at)
		if again, fresh := remembered.stampIn([]byte(in), at), new(clock).stampIn([]byte(in), at); again != ns || fresh != ns {
			t.Errorf("%q: %d, then %d, and %d by a fresh clock", in, ns, again, fresh)
		}
		if ns != 0 {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	f("2026-11-23T13:21:01Z", "2026-11-23T13:21:01Z")
	f("2026-11-23t13:21:01z", "2026-11-23T13:21:01Z")
	f("2026-11-23T13:21:01", "2026-11-23T13:21:01Z")
	f("2026-11-23T13:21:01.1234567899+05:30", "2026-11-23T07:51:01.123456789Z")
	f("2026-11-23T13:21:01.12345678Z", "2026-11-23T13:21:01.12345678Z")
	f("2026-11-23T13:21:01.1234567Z", "2026-11-23T13:21:01.1234567Z")
	f("2026-11-23T13:21:01.00000001", "2026-11-23T13:21:01.00000001Z")
	f("2026-11-23T13:21:01.987654321012Z", "2026-11-23T13:21:01.987654321Z")
	f("2026-11-23T13:21:01.1234:678Z", "-")
	f("2026-11-23 13:21:01,5 -0800", "2026-11-23T21:21:01.5Z")
	f("2026-11-23T13:21:01-08", "2026-11-23T21:21:01Z")
	f("2026/11/23 13:21:01", "2026-11-23T13:21:01Z")
	f("2026-11-23 13:21:01.5 +0000 UTC m=+0.013", "2026-11-23T13:21:01.5Z")
	f("2026-11-23 14:21:01 CET", "2026-11-23T13:21:01Z")
	f("2026-11-23 14:21:01 CST", "-") // of which continent?
	f("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z")
	f("2025-02-29T00:00:00Z", "-")
	f("2100-02-29T00:00:00Z", "-")
	f("2000-02-29T23:59:59Z", "2000-02-29T23:59:59Z")
	f("2000-12-31T23:59:60Z", "2001-01-01T00:00:00Z")
	f("2026-11-23T24:00:00Z", "-")
	f("2026-13-01T00:00:00Z", "-")
	f("2026-00-10T00:00:00Z", "-")
	f("2026-11-31T00:00:00Z", "-")
	f("2026-11-23T13:60:00Z", "-")
	f("2026-11-23T13:21:01Zulu", "-")
	f("2026-11-23", "-")
	f("2026-11-23T13:21:0", "-")
	f("0000-00-00T00:00:00Z", "-")
	f("0001-01-01T00:00:00Z", "-")
	f("9999-12-31T23:59:59Z", "-")
	f("1970-01-01T00:00:00Z", "-") // nobody's log, but a field that was never set
	f("1970-01-01T00:00:01Z", "1970-01-01T00:00:01Z")
	f("1970-01-01T00:00:01+01:00", "-")
	f("2261-12-31T23:59:59Z", "-") // after today
	f("2026-11-24T13:21:40Z", "2026-11-24T13:21:40Z")
	f("2026-11-24T13:21:41Z", "-") // more than a day ahead
	f("Mon, 23 Nov 2026 13:21:01 GMT", "2026-11-23T13:21:01Z")
	f("Mon Nov 23 13:21:01 2026", "2026-11-23T13:21:01Z")
	f("Mon Nov  2 13:21:01.5 2026", "2026-11-02T13:21:01.5Z")
	f("23/Nov/2026:13:21:01 +0200", "2026-11-23T11:21:01Z")
	f("3 Nov 2026 13:21:01", "2026-11-03T13:21:01Z")
	f("Nov 23 13:21:01", "2026-11-23T13:21:01Z")
	f("Dec 31 23:59:59", "2025-12-31T23:59:59Z") // the next one is nearer, but nothing is written in advance
	f("Jan  1 00:00:00", "2026-01-01T00:00:00Z")
	f("Feb 29 00:00:00", "-") // neither 2025, 2026 nor 2027 has it
	f("1795440061", "2026-11-23T13:21:01Z")
	f("1795440061.123456789", "2026-11-23T13:21:01.123456789Z")
	f("1795440061123", "2026-11-23T13:21:01.123Z")
	f("1795440061123.456", "2026-11-23T13:21:01.123456Z")
	f("1795440061123456", "2026-11-23T13:21:01.123456Z")
	f("1795440061123456789", "2026-11-23T13:21:01.123456789Z")
	f("1.795440061e9", "2026-11-23T13:21:01Z")
	f("1.795440061123e+12", "2026-11-23T13:21:01.123Z")
	f("50000000000000", "-") // the year 3554 in milliseconds
	f("99999999", "-")
	f("100000000", "1973-03-03T09:46:40Z")
	f("-1795440061", "-")
	f("9223372036854775807", "-")
	f("9223372036854775808", "-")
	f("99999999999999999999", "-")
	f("1e400", "-")
	f("NaN", "-")
	f("", "-")
}

func TestYearsThatFitAreRead(t *testing.T) {
	for year := 1971; year <= lastYear; year++ {
		want := time.Date(year, 3, 1, 12, 30, 45, 0, time.UTC)
		for range 13 {
			in := want.Format("2006-01-02T15:04:05Z")
			if ns, end := isoAt([]byte(in)); ns != want.UnixNano() || end != len(in) {
				t.Fatalf("%s: %d, want %d", in, ns, want.UnixNano())
			}
			want = want.AddDate(0, 1, 1)
			if want.Year() > lastYear {
				break
			}
		}
	}
}

func TestLeapDays(t *testing.T) {
	for year, leap := range map[string]bool{"1972": true, "2000": true, "2023": false, "2024": true, "2100": false, "2200": false} {
		if _, end := isoAt([]byte(year + "-02-29T00:00:00Z")); (end > 0) != leap {
			t.Error(year, end)
		}
	}
}

func TestStampsWithoutAYearGetTheNearest(t *testing.T) {
	f := func(in, now, want string) {
		t.Helper()
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		ns, end := syslogStamp([]byte(in), at.UnixNano())
		if got := time.Unix(0, ns).UTC().Format(time.RFC3339Nano); got != want || end == 0 {
			t.Errorf("%s at %s: %s, want %s", in, now, got, want)
		}
	}
	f("Dec 31 23:59:59", "2027-01-01T00:00:01Z", "2026-12-31T23:59:59Z")
	f("Jan  1 00:00:01", "2026-12-31T23:59:59Z", "2027-01-01T00:00:01Z")
	f("Feb 29 12:00:00", "2024-03-01T00:00:00Z", "2024-02-29T12:00:00Z")
	f("Feb 29 12:00:00", "2025-01-01T00:00:00Z", "2024-02-29T12:00:00Z")
	if ns, end := syslogStamp([]byte("Nov 23 13:21:01"), 0); ns != 0 || end != 15 {
		t.Error("without a time of reading the year is a guess:", ns, end)
	}
}

func TestSeverities(t *testing.T) {
	f := func(want uint8, words ...string) {
		t.Helper()
		for _, w := range words {
			for _, w := range []string{w, strings.ToUpper(w), strings.ToUpper(w[:1]) + w[1:]} {
				if got := levelOf([]byte(w)); got != want {
					t.Errorf("%q: %d, want %d", w, got, want)
				}
			}
		}
	}
	f(0, "emerg", "emergency")
	f(1, "alert")
	f(2, "critical", "crit", "fatal", "panic", "dpanic", "f", "c")
	f(3, "error", "err", "severe", "e", "error+4")
	f(4, "warning", "warn", "wrn", "w")
	f(5, "notice", "note", "n")
	f(6, "info", "information", "informational", "i", "success", "info+2")
	f(7, "debug", "trace", "verbose", "finest", "d", "t", "v", "debug-4")
	f(unknown, "?", "x", "none", "default", "off", "informationally", "info+", "+4", "errors")
	n := func(in string, by int, want uint8) {
		t.Helper()
		if got := levelOfNumber([]byte(in), by); got != want {
			t.Errorf("%s by %d: %d, want %d", in, by, got, want)
		}
	}
	n("0", byPino, 0)
	n("7", byPino, 7)
	n("10", byPino, 7)
	n("20", byPino, 7)
	n("30", byPino, 6)
	n("35", byPino, 6)
	n("40", byPino, 4)
	n("50", byPino, 3)
	n("60", byPino, 2)
	n("100", byPino, 7)
	n("200", byPino, 6)
	n("800", byPino, 0)
	n("801", byPino, unknown)
	n("-1", byPino, unknown)
	n("", byPino, unknown)
	n("99999999999999999999", byPino, unknown)
	n("30", byPython, 4)
	n("50", byPython, 2)
	n("40000", byLogback, 3)
	n("10000", byLogback, 7)
	n("9", byOTel, 6)
	n("24", byOTel, 0)
	n("25", byOTel, unknown)
	n("0", byOTel, unknown)
}

func TestTraceIDs(t *testing.T) {
	f := func(key, in, want string) {
		t.Helper()
		_, out, ok := NewParser(JSON).Parse([]byte(`{"`+key+`":`+in+`}`), at, nil)
		if got := signal.Lookup(string(out), signal.LabelTraceID) + signal.Lookup(string(out), signal.LabelSpanID); !ok || got != want {
			t.Errorf("%s=%s: %q, want %q", key, in, got, want)
		}
	}
	const whole = "4bf92f3577b34da6a3ce929d0e0e4736"
	f("trace_id", `"4bf92f3577b34da6a3ce929d0e0e4736"`, whole)
	f("traceId", `"4BF92F3577B34DA6A3CE929D0E0E4736"`, whole)
	f("trace_id", `"4bf92f35-77b3-4da6-a3ce-929d0e0e4736"`, whole)
	f("trace_id", `"1-4bf92f35-77b34da6a3ce929d0e0e4736"`, whole)
	f("trace_id", `"projects/x"`, "")
	f("logging.googleapis.com/trace", `"projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"`, whole)
	f("trace_id", `"a3ce929d0e0e4736"`, "a3ce929d0e0e4736")
	f("trace_id", `"3ce929d0e0e4736"`, "03ce929d0e0e4736")
	f("traceID", `"92f3577b34da6a3ce929d0e0e4736"`, "00092f3577b34da6a3ce929d0e0e4736")
	f("trace_id", `"00000000000000000000000000000000"`, "")
	f("trace_id", `""`, "")
	f("trace_id", `"not an id at all"`, "")
	f("trace_id", `"4bf92f3577b34da6a3ce929d0e0e4736ff"`, "")
	f("trace_id", `null`, "")
	f("dd.trace_id", `"11803532876627986230"`, "a3ce929d0e0e4736")
	f("dd.trace_id", `11803532876627986230`, "a3ce929d0e0e4736")
	f("dd.trace_id", `"1234567890123456"`, "000462d53c8abac0") // sixteen digits, and still decimal
	f("dd.trace_id", `"4bf92f3577b34da6a3ce929d0e0e4736"`, whole)
	f("dd.trace_id", `"0"`, "")
	f("dd.trace_id", `"18446744073709551616"`, "")
	f("dd.span_id", `"67667974448284343"`, "00f067aa0ba902b7")
	f("span_id", `"00f067aa0ba902b7"`, "00f067aa0ba902b7")
	f("span_id", `"4bf92f3577b34da6a3ce929d0e0e4736"`, "")
	f("traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"`, whole+"00f067aa0ba902b7")
	f("traceparent", `"00-4bf92f3577b34da6a3ce929d0e0e4736"`, "")
}

func TestTheBetterKeyCounts(t *testing.T) {
	f := func(line, want string) {
		t.Helper()
		r, out, ok := NewParser(JSON).Parse([]byte(line), at, nil)
		if got := show(r, out); !ok || got != want {
			t.Errorf("%s: %v %s, want %s", line, ok, got, want)
		}
	}
	f(`{"level":"info","priority":"error"}`, "- info")
	f(`{"priority":"error","level":"info"}`, "- info")
	f(`{"priority":"error","level":"what?"}`, "- error")
	f(`{"level":"info","level":"error"}`, "- error")
	f(`{"date":"2020-01-01T00:00:00Z","time":"2021-01-01T00:00:00Z"}`, "2021-01-01T00:00:00Z -")
	f(`{"time":"2021-01-01T00:00:00Z","date":1795440061}`, "2021-01-01T00:00:00Z -")
	f(`{"time":"2021-01-01T00:00:00Z","date":"2020-01-01T00:00:00Z"}`, "2021-01-01T00:00:00Z -")
	f(`{"time":"2021-01-01T00:00:00Z","date":{"seconds":1795440061}}`, "2021-01-01T00:00:00Z -")
	f(`{"level":"info","severity_number":17}`, "- info")
	f(`{"s":"info"}`, "- -")
	f(`{"time":0.1,"date":"2020-01-01T00:00:00Z"}`, "2020-01-01T00:00:00Z -")
	f(`{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","dd":{"trace_id":"7"}}`, "- - trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
	f(`{"span_id":"00f067aa0ba902b7","dd.span_id":"7"}`, "- - span_id=00f067aa0ba902b7")
	f(`{"dd":{"trace_id":"7"},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}`, "- - trace_id=4bf92f3577b34da6a3ce929d0e0e4736")
}

func TestNothingNestedFoolsJSON(t *testing.T) {
	for _, line := range []string{
		`{"msg":"\"level\":\"error\",\"time\":\"2026-11-23T13:21:01Z\""}`,
		`{"msg":"x","ctx":{"level":"error","time":"2026-11-23T13:21:01Z","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}}`,
		`{"msg":"x","list":[{"level":"error"},"level","error",["time"]]}`,
		`{"log":{"x":{"level":"error"}}}`,
		`{"time":{"$date":{"$date":"2026-11-23T13:21:01Z"}}}`, // and so no line makes us descend for ever
		`{"trace":{"ids":{"id":"4bf92f3577b34da6a3ce929d0e0e4736"}},"level":["error"]}`,
		`{"le\\vel":"error","msg":"\\","x":"\\\"level\":"}`,
	} {
		r, out, ok := NewParser(JSON).Parse([]byte(line), at, nil)
		if got := show(r, out); !ok || got != "- -" {
			t.Errorf("%s: %v %s", line, ok, got)
		}
	}
}

func TestEscapesInJSON(t *testing.T) {
	r, out, ok := NewParser(JSON).Parse([]byte(`{"lev\u0065l":"\u0065rror","\u0074race_id":"4bf92f3577b34da6a3ce929d0e0e\u00344736","ti\me":1795440061}`), at, nil)
	if got := show(r, out); !ok || got != "- error" {
		t.Error(ok, got)
	}
	r, _, _ = NewParser(JSON).Parse([]byte(`{"time":"2026\u002d11-23T13:21:01Z","x\ud83d\ude00":"\ud800","level":"a\ud800\u0041"}`), at, nil)
	if got := show(r, nil); got != "2026-11-23T13:21:01Z -" {
		t.Error(got)
	}
}

func TestALineThatDoesNotParseChangesNothing(t *testing.T) {
	attrs := signal.Labels("log.iostream", "stderr")
	for f := JSON; f <= Text; f++ {
		p := NewParser(f)
		for _, line := range []string{"", " ", "certainly not", "{", `{"level":"error"`, "key", `a="x`, "<", "[", "[]", "<999>x", "\x00\xff"} {
			r, out, ok := p.Parse([]byte(line), at, []byte(attrs))
			if ok || string(out) != attrs || r != (Record{Level: signal.LevelUnknown}) {
				t.Errorf("%v %q: %v %v %q", f, line, ok, r, out)
			}
		}
	}
	if r, out, ok := NewParser(None).Parse([]byte("x"), at, []byte(attrs)); !ok || string(out) != attrs || r != (Record{Level: signal.LevelUnknown}) {
		t.Error("None:", r, ok)
	}
}

func TestFieldsAreMergedInOrder(t *testing.T) {
	f := func(line string, attrs, want string) {
		t.Helper()
		r, out, ok := NewParser(Logfmt).Parse([]byte(line), at, []byte(attrs))
		if got := strings.TrimPrefix(show(r, out), "- - "); !ok || got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	attrs := signal.Labels("b", "1", "d", "1", "f", "1")
	f("c=2", attrs, "b=1 c=2 d=1 f=1")
	f("a=2 g=2", attrs, "a=2 b=1 d=1 f=1 g=2")
	f("f=2 d=2 b=2", attrs, "b=2 d=2 f=2")
	f("d=2 d=3", attrs, "b=1 d=3 f=1")
	f("z=1 y=2 x=3", "", "x=3 y=2 z=1")
	f(`a="" b= c=3`, "", "c=3")
	f("a=1 \x01 b=2 \x00c=3", "", "a=1 b=2 c=3") // once read for ever: a control character is no space
}

func TestFieldsAreBounded(t *testing.T) {
	p := NewParser(Logfmt)
	var line []byte
	for i := range 100 {
		line = append(strconv.AppendInt(append(line, "key"...), int64(i), 10), "=v "...)
	}
	_, out, _ := p.Parse(line, at, nil)
	n := 0
	for range signal.Walk(string(out)) {
		n++
	}
	if n != maxFields {
		t.Error(n, "fields")
	}
	_, out, _ = p.Parse([]byte("a="+strings.Repeat("é", maxValue)+" b=1 "+strings.Repeat("k", maxKey+1)+"=1 c="+strings.Repeat("x", maxValue-1)+"é"), at, nil)
	if v := signal.Lookup(string(out), "a"); v != strings.Repeat("é", maxValue/2) {
		t.Error(len(v), "bytes of a long value")
	}
	if v := signal.Lookup(string(out), "c"); v != strings.Repeat("x", maxValue-1) {
		t.Error("a rune was cut in two:", len(v))
	}
	if signal.Lookup(string(out), "b") != "1" || strings.Contains(string(out), "kk") {
		t.Errorf("%q", out)
	}
	line = line[:0]
	for i := range 9 {
		line = append(strconv.AppendInt(append(line, 'k'), int64(i), 10), `="\\`+strings.Repeat("x", 700)+`" `...)
	}
	if _, out, _ = p.Parse(line, at, nil); len(out) > maxBytes+200 || len(out) < maxBytes-1000 {
		t.Error(len(out), "bytes of fields")
	}
	if _, out, ok := p.Parse([]byte("a=1"), at, nil); !ok || string(out) != signal.Labels("a", "1") {
		t.Errorf("the next line: %q", out)
	}
}

func TestAutoChangesItsMind(t *testing.T) {
	p := NewParser(Auto)
	f := func(line string, ok bool, favourite Format) {
		t.Helper()
		if _, _, got := p.Parse([]byte(line), at, nil); got != ok || p.guess.favourite != favourite {
			t.Errorf("%s: %v, favourite %v; want %v, %v", line, got, p.guess.favourite, ok, favourite)
		}
	}
	f("starting", false, None)
	f("2026-11-23 13:21:01 INFO starting", true, None) // a text is nobody's favourite
	f(`{"level":"info"}`, true, JSON)
	f("level=info msg=x", true, JSON)
	f("level=info msg=x", true, JSON)
	f("level=info msg=x", true, JSON)
	f(`{"level":"info"}`, true, JSON) // which ends the row
	f("level=info msg=x", true, JSON)
	f("level=info msg=x", true, JSON)
	f("plain text", false, JSON)
	f("level=info msg=x", true, JSON)
	f("level=info msg=x", true, Logfmt)
	for range 2 * restless {
		f("plain text", false, Logfmt)
	}
	f("level=info msg=x", true, Logfmt) // the favourite is always tried
}

func TestAutoLooksAgainAfterLinesThatFitNothing(t *testing.T) {
	p := NewParser(Auto)
	for range 100 {
		p.Parse([]byte("plain text"), at, nil)
	}
	n := 1
	for ; n < 100; n++ {
		if _, _, ok := p.Parse([]byte(`{"level":"info"}`), at, nil); ok {
			break
		}
	}
	if n != restless-100%restless+1 {
		t.Error("a stream that turned to JSON is noticed at line", n)
	}
	if _, _, ok := p.Parse([]byte(`{"level":"info"}`), at, nil); !ok {
		t.Error("the next line does not parse")
	}
}

func TestSyslogByNetwork(t *testing.T) {
	f := func(msg, want, body string) {
		t.Helper()
		r, rest, out, ok := ParseSyslog([]byte(msg), at, nil)
		if got := show(r, out); !ok || got != want || string(rest) != body {
			t.Errorf("%q:\n got %v %s | %q\nwant %s | %q", msg, ok, got, rest, want, body)
		}
	}
	const sec = "2026-11-23T13:21:01Z"
	f("<34>1 2026-11-23T13:21:01Z host su - ID47 - \xef\xbb\xbf'su root' failed", sec+" critical syslog.appname=su syslog.facility=auth syslog.hostname=host syslog.msgid=ID47", "'su root' failed")
	f(`<165>1 2026-11-23T13:21:01.003000+00:00 10.0.0.9 app 42 - [ex@32473 iut="3" eventSource="A\]p\\p\"l"][o] text`,
		"2026-11-23T13:21:01.003Z notice ex@32473.eventSource=\"A]p\\\\p\\\"l\" ex@32473.iut=3 syslog.appname=app syslog.facility=local4 syslog.hostname=10.0.0.9 syslog.procid=42", "text")
	f(`<0>1 - - - - - -`, "- emergency syslog.facility=kern", "")
	f(`<13>1 2026-11-23T13:21:01Z h a - - [x y="1"]`, sec+" notice syslog.appname=a syslog.facility=user syslog.hostname=h x.y=1", "")
	f("<34>Nov 23 13:21:01 host su[42]: 'su root' failed\n", sec+" critical syslog.appname=su syslog.facility=auth syslog.hostname=host syslog.procid=42", "'su root' failed")
	f("<30>Nov 23 13:21:01 app[42]: from glibc", sec+" info syslog.appname=app syslog.facility=daemon syslog.procid=42", "from glibc")
	f("<30>app: without a stamp", "- info syslog.appname=app syslog.facility=daemon", "without a stamp")
	f("<190>2026-11-23T13:21:01+00:00 switch-1 %LINK-3-UPDOWN: Interface up", sec+" info syslog.appname=%LINK-3-UPDOWN syslog.facility=local7 syslog.hostname=switch-1", "Interface up")
	f("<191>Nov 23 13:21:01 host no tag here", sec+" debug syslog.facility=local7 syslog.hostname=host", "no tag here")
	f("<6>just text", "- info syslog.facility=kern", "just text")
	f("<6>", "- info syslog.facility=kern", "")
	f("<34>1 nonsense", "- critical syslog.facility=auth", "1 nonsense")
	f(`<34>1 2026-11-23T13:21:01Z h a p m [x y="1" broken`, "- critical syslog.facility=auth", `1 2026-11-23T13:21:01Z h a p m [x y="1" broken`)
	f("<34>1 2026-11-23T13:21:01Z h a p m no data", "- critical syslog.facility=auth", "1 2026-11-23T13:21:01Z h a p m no data")
	f("<34>1 9999-12-31T23:59:59Z h - - - - x", "- critical syslog.facility=auth syslog.hostname=h", "x")

	attrs := signal.Labels("source", "udp")
	for _, msg := range []string{"no header", "<192>x", "<>x", "<1234>x", "<1", ""} {
		r, body, out, ok := ParseSyslog([]byte(msg), at, []byte(attrs))
		if ok || string(body) != msg || string(out) != attrs || r != (Record{Level: signal.LevelUnknown}) {
			t.Errorf("%q: %v %q %q", msg, ok, body, out)
		}
	}
}

func TestNothingAllocatesOnceAStreamRuns(t *testing.T) {
	attrs := []byte(signal.Labels("log.iostream", "stderr"))
	for _, s := range seeds {
		line := []byte(s)
		p, j := NewParser(Auto), Join{auto: true}.Joiner()
		once := func() {
			p.Parse(line, at, attrs)
			p.ParseSyslog(line, at, attrs)
			j.Continues(line)
		}
		once()
		if n := testing.AllocsPerRun(20, once); n != 0 {
			t.Errorf("%s: %v allocations", s, n)
		}
	}
}

// valid reports what is wrong with a flat label set, "" if nothing is.
func valid(set []byte) string {
	rest, prev, first := string(set), "", true
	for rest != "" {
		k, v, more, ok := signal.NextLabel(rest)
		switch {
		case !ok:
			return "no grammar"
		case !first && k <= prev:
			return "not sorted"
		case v == "" || k == "":
			return "empty"
		}
		rest, prev, first = more, k, false
	}
	return ""
}

// seeds are lines of every form.
var seeds = []string{
	jsonLine, `{"a":{"b":[1,"]"]},"level":30,"t":{"$date":"2026-11-23T13:21:01Z"}}`, `{"time":{"seconds":1795440061,"nanos":5},"dd":{"trace_id":"7"}}`,
	`{"date":"2026-11-23","time":"13:21:01","ts":"1.7.0","t":"e"}`, `{"lev\u0065l":"\ud83d\ude00","ts":1.7e9}`, "{}", `{"":""}`, " { } ",
	`time=2026-11-23T13:21:01Z level=info msg="a \"b\"" k=`, `a="\u12`, "I1123 13:21:01.123456    1234 file.go:42] text",
	`10.0.0.9 - - [23/Nov/2026:13:21:01 +0000] "GET /a?b HTTP/1.1" 200 5 "-" "x\"y"`, `[2026-11-23T13:21:01.123Z] "GET /x HTTP/1.1" 503 UF 0 91 12 - "-" "c"`,
	`2026/11/23 13:21:01 [error] 42#43: *7 x, client: 1, server: 2, request: "GET /"`, "[Mon Nov 23 13:21:01.1 2026] [core:error] [pid 42:tid 1] [client 1:2] x",
	`<165>1 2026-11-23T13:21:01Z h a p m [i@1 k="a\]"] x`, "<34>Nov 23 13:21:01 h a[1]: x", "1:M 23 Nov 2026 13:21:01.123 * x", "E, [2026-11-23T13:21:01 #4] ERROR",
	"\x1b[33mWARN\x1b[0m x", "[I 2026-11-23 13:21:01.123 a] x", "Mon, 23 Nov 2026 13:21:01 GMT", "1795440061.1 x", "1:21PM INF x", "2026-11-23 13:21:01 CET x",
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s, int64(at))
	}
	attrs := signal.Labels("a", "1", "log.iostream", "stderr", "trace_id", "x")
	f.Fuzz(func(t *testing.T, text string, at int64) {
		for form := None; form <= Text; form++ {
			// Exactly as long as the text, so that reading behind it is noticed.
			line := bytes.Clone([]byte(text))
			line = line[:len(line):len(line)]
			p := NewParser(form)
			for range 2 {
				r, out, ok := p.Parse(line, at, []byte(attrs))
				if string(line) != text {
					t.Fatalf("%v wrote to the line", form)
				}
				if why := valid(out); why != "" {
					t.Fatalf("%v: %q is %s", form, out, why)
				}
				if !ok && (string(out) != attrs || r != Record{Level: signal.LevelUnknown}) {
					t.Fatalf("%v does not parse, and says %v %q", form, r, out)
				}
				if r.Time < 0 || at > 0 && r.Time-at > int64(24*time.Hour) || r.Level > 7 && r.Level != signal.LevelUnknown {
					t.Fatalf("%v: %v at %d", form, r, at)
				}
				if p.fields.n != 0 || p.fields.bytes != 0 {
					t.Fatalf("%v keeps the line", form)
				}
			}
		}
		msg := []byte(text)
		_, body, out, ok := ParseSyslog(msg, at, []byte(attrs))
		if !bytes.Contains(msg, body) || valid(out) != "" || !ok && (string(body) != strings.TrimRight(text, "\n\x00") || string(out) != attrs) {
			t.Fatalf("syslog: %v %q %q", ok, body, out)
		}
	})
}

// FuzzJSONAgrees compares the one pass with encoding/json: where that reads an
// object, ours does, and finds what stands in the members it names.
func FuzzJSONAgrees(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"level":"info","priority":"error","x":{"level":1},"dd":{"span_id":7,"span_id":"8"},"log":{"level":"warn"},"time":{"nanos":1}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if !json.Valid(line) {
			return
		}
		p := NewParser(JSON)
		got, _, ok := p.Parse(line, at, nil)
		if trimmed := bytes.TrimLeft(line, " \t\r\n"); trimmed[0] != '{' {
			if ok {
				t.Fatalf("%q is no object", line)
			}
			return
		}
		if !ok {
			t.Fatalf("%q is an object", line)
		}
		want := found{at: at, level: unknown, clock: new(clock)}
		members(t, line, func(key string, value json.RawMessage) {
			m := topMember(key)
			if value[0] == '{' && (m.role == roleTime || m.role >= roleLogObject && m.role <= roleDatadogObject) {
				members(t, value, func(key string, value json.RawMessage) { take(t, &want, innerMember(m.role, key), value) })
				return
			}
			take(t, &want, m, value)
		})
		if got != (Record{want.time, want.level}) || p.found.ids != want.ids {
			t.Fatalf("%q: %v %v, encoding/json finds %v %v", line, got, p.found.ids, Record{want.time, want.level}, want.ids)
		}
	})
}

// members calls f for each member of an object, in order.
func members(t *testing.T, object []byte, f func(key string, value json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		f(key.(string), v)
	}
}

func take(t *testing.T, f *found, m member, v json.RawMessage) {
	switch {
	case m.role == idle || v[0] == '{' || v[0] == '[':
	case v[0] == '"':
		var s string
		if err := json.Unmarshal(v, &s); err != nil {
			t.Fatal(err)
		}
		if len(v)-2 <= len((&Parser{}).plain) || !bytes.Contains(v, []byte(`\`)) {
			f.text([]byte(s), m)
		}
	default:
		f.number(v, m)
	}
}
