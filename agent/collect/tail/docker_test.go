package tail

import (
	"bytes"
	stdjson "encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestDockersRecords(t *testing.T) {
	f := func(raw, text string, lane int, partial, ok bool) {
		t.Helper()
		rec, _, good := parseDocker([]byte(raw), nil, &stamps{})
		if good != ok || ok && (string(rec.text) != text || rec.lane != lane || rec.partial != partial || rec.time == 0) {
			t.Errorf("%s: %q %+v %v", raw, rec.text, rec, good)
		}
	}
	const at = `"time":"2026-11-23T10:00:00.123456789Z"}`
	f(`{"log":"text\n","stream":"stdout",`+at, "text", 0, false, true)
	f(`{"log":"a \"b\" \\ \/ \t\u00e9\ud83d\ude00\n","stream":"stderr",`+at, "a \"b\" \\ / \té😀", 1, false, true)
	f(`{"log":"half","stream":"stdout",`+at, "half", 0, true, true)
	f(`{"log":"tty\r\n","stream":"stdout",`+at, "tty", 0, false, true)
	f(`{"log":"\u003chtml\u003e\n","stream":"stdout","attrs":{"a":"b","c":[1,{"d":null}]},`+at, "<html>", 0, false, true)
	f(` { "stream" : "stderr" , "x":-1.5e3, "log" : "\n" , `+at, "", 1, false, true)
	f(`{"log":"lone \ud83d\n","stream":"stdout",`+at, "lone \uFFFD", 0, false, true)
	f(`{"log":"x\n","stream":"stdin",`+at, "", 0, false, false)
	f(`{"log":"x\n","stream":"stdout"}`, "", 0, false, false)
	f(`{"log":"x\n","stream":"stdout",`+at+"x", "", 0, false, false)
	f(`{"log":"x\n`, "", 0, false, false)
	f(`{"log":"\x","stream":"stdout",`+at, "", 0, false, false)
	f(`{"log":"\u12","stream":"stdout",`+at, "", 0, false, false)
	f(`{"log":"x",}`, "", 0, false, false)
	f(`{"x":`+strings.Repeat("[", 1000), "", 0, false, false)
	f(`{}`, "", 0, false, false)
	f(``, "", 0, false, false)
}

// What encoding/json reads in a record, the decoder here reads too.
func TestOrdinaryBytes(t *testing.T) {
	for b := range 256 {
		for at := range 20 {
			p := bytes.Repeat([]byte{'a', 0x80, 0xff, '!', 0x21, 0x7f, '[', ']', '#'}, 3)
			p[at], p[at+1], p[at+3] = byte(b), '!', '"'
			want := at
			if b != '"' && b != '\\' && b >= ' ' {
				want = at + 3
			}
			if got := ordinary(p); got != want {
				t.Errorf("byte %#x at %d: %d, want %d", b, at, got, want)
			}
			if want = min(want, at+2); ordinary(p[:at+2]) != want {
				t.Errorf("byte %#x at %d, nothing behind: %d, want %d", b, at, ordinary(p[:at+2]), want)
			}
		}
	}
}

func FuzzDocker(f *testing.F) {
	f.Add(`{"log":"text\n","stream":"stdout","time":"2026-11-23T10:00:00.123456789Z"}`)
	f.Add(`{"log":"\ud83d\ude00\ud83d \u0000","stream":"stderr","attrs":{"a":[true,1e9]},"time":"2026-11-23T10:00:00+01:00"}`)
	f.Fuzz(func(t *testing.T, s string) {
		rec, _, ok := parseDocker([]byte(s), nil, &stamps{})
		if !utf8.ValidString(s) {
			return // repaired later on
		}
		var want map[string]stdjson.RawMessage
		err := stdjson.Unmarshal([]byte(s), &want)
		if !ok || err != nil {
			var log, stream, at string
			if err == nil && stdjson.Unmarshal(want["log"], &log) == nil && stdjson.Unmarshal(want["stream"], &stream) == nil &&
				stdjson.Unmarshal(want["time"], &at) == nil && laneOf(stream) >= 0 && !strings.Contains(s, "null") && !deep(want) && !strings.Contains(s, `\u00`) {
				if _, good := parseStamp([]byte(at)); good {
					// A later key of the same name counts; an earlier one may have been bad.
					if n := strings.Count(s, `"log"`) + strings.Count(s, `"stream"`) + strings.Count(s, `"time"`); n <= 3 {
						t.Errorf("%s: not taken", s)
					}
				}
			}
			return
		}
		var log, stream string
		if stdjson.Unmarshal(want["log"], &log) != nil || stdjson.Unmarshal(want["stream"], &stream) != nil {
			t.Fatalf("%s: taken as %+v", s, rec)
		}
		text, whole := strings.CutSuffix(log, "\n")
		if whole {
			text = strings.TrimSuffix(text, "\r")
		}
		if string(rec.text) != text || rec.partial == whole || laneNames[rec.lane] != stream {
			t.Errorf("%s: %q, want %q; %+v", s, rec.text, text, rec)
		}
	})
}

// deep reports whether a value is nested deeper than the decoder goes.
func deep(m map[string]stdjson.RawMessage) bool {
	for _, v := range m {
		if bytes.Count(v, []byte{'['})+bytes.Count(v, []byte{'{'}) > jsonDepth {
			return true
		}
	}
	return false
}

func dockerRecord(stream, text string, n int) string {
	log, _ := stdjson.Marshal(text)
	return fmt.Sprintf(`{"log":%s,"stream":%q,"time":"2026-11-23T10:00:00.%09dZ"}`+"\n", log, stream, n)
}

func TestDockersFiles(t *testing.T) {
	h := newHost(t)
	h.cfg.Docker = Docker{Enabled: "auto", Path: h.logs}
	h.pod("abc/abc-json.log")
	h.write("abc/abc-json.log", dockerRecord("stdout", "one\n", 1)+dockerRecord("stdout", "tw", 2)+dockerRecord("stderr", "oh\n", 3))
	h.start().looks(1)
	h.write("abc/abc-json.log", dockerRecord("stdout", "o \"q\"\n", 4)+"{\"log\":\n")
	h.looks(1)
	h.balance()
	if got, want := h.spool.lane("stdout"), []string{"one", `two "q"`, `{"log":`}; !slices.Equal(got, want) {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := h.spool.lane("stderr"), []string{"oh"}; !slices.Equal(got, want) {
		t.Errorf("stderr %q, want %q", got, want)
	}
	if n := h.Stats().Malformed.Load(); n != 1 {
		t.Errorf("%d malformed, want 1", n)
	}
	want := signal.Labels(signal.LabelContainerID, "abc", signal.LabelLogFile, h.path("abc/abc-json.log"), signal.LabelLogStream, "stdout")
	if got := h.spool.frames[0].Logs[0].Stream.Labels(); got != want {
		t.Errorf("labels %q, want %q", got, want)
	}
}

// With the kubelet on Docker the pods' files are links; Docker rotates what they
// lead to, more than once between two looks.
func TestAPodsFileThatIsALinkToDockers(t *testing.T) {
	h := newNode(t)
	docker := t.TempDir()
	h.cfg.Docker = Docker{Enabled: "auto", Path: docker} // left alone: there are pods
	h.must(os.Mkdir(filepath.Join(docker, "abc"), 0o755))
	name := filepath.Join(docker, "abc", "abc-json.log")
	n := 0
	var want []string
	write := func() {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		h.must(err)
		n++
		want = append(want, fmt.Sprint("line ", n))
		_, err = f.WriteString(dockerRecord("stdout", want[n-1]+"\n", n))
		h.must(err)
		h.must(f.Close())
	}
	write()
	h.pod(shop)
	h.must(os.Symlink(name, h.path(shop)))
	h.start().looks(2)
	for range 4 {
		for range 3 {
			write()
			for i := 8; i > 0; i-- {
				_ = os.Rename(fmt.Sprint(name, ".", i), fmt.Sprint(name, ".", i+1))
			}
			h.must(os.Rename(name, name+".1"))
			write()
		}
		h.looks(2)
	}
	h.stop()
	write()
	h.must(os.Rename(name, name+".99"))
	write()
	h.start().looks(3)
	if got := h.spool.text(); !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if got := signal.Lookup(h.spool.frames[0].Logs[0].Stream.Labels(), signal.LabelPod); got != "shop-1" {
		t.Errorf("pod %q", got)
	}
}
