package integration

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What judges must be judged first: each fact here is a way to lie that the
// books must not fall for.

func TestVendorReadsLineProtocolToTheLetter(t *testing.T) {
	good := func(line, want string) {
		t.Helper()
		p, n, err := ParsePoint([]byte(line))
		got := fmt.Sprintf("%s %v %v %d", p.Measurement, p.Tags, p.Fields, p.Time)
		if err != nil || n != len(line) || got != want {
			t.Errorf("%q: %v %d %v", line, got, n, err)
		}
	}
	bad := func(line string) {
		t.Helper()
		if p, _, err := ParsePoint([]byte(line)); err == nil {
			t.Errorf("%q was read as %+v", line, p)
		}
	}
	good("cpu,host=a v=1 5\n", "cpu [[host a]] [{v 102 1}] 5")
	good("a\\ b,k\\,x=y\\=z f=1i,g=\"q\\\"\\\\ ,\",h=true -1\n", "a b [[k,x y=z]] [{f 105 1i} {g 115 q\"\\ ,} {h 98 true}] -1")
	good("m f=\"two\nlines\" 1\n", "m [] [{f 115 two\nlines}] 1")
	bad("")
	bad("m\n")
	bad("m f=1\n")           // no time
	bad("m f=1 5")           // no end
	bad("m f=1 05\n")        // a number that is written otherwise
	bad("m f= 5\n")          // no value
	bad("m f=NaN 5\n")       // no number
	bad("m f=0x1 5\n")       // nor that
	bad("m f=1,f=2 5\n")     // twice
	bad("m,a=1,a=2 f=1 5\n") // twice
	bad("m,b=1,a=2 f=1 5\n") // not in order
	bad("m,a= f=1 5\n")      // an empty tag
	bad("m f=\"x 5\n")       // a text without its end
	bad("m f=\"\xff\" 5\n")  // no UTF-8
	bad(" f=1 5\n")          // no measurement
	bad("m f=1 5 6\n")       // more than there may be
	bad("m f=9999999999999999999i 5\n")
}

func FuzzVendorParsePoint(f *testing.F) {
	f.Add([]byte("cpu,host=a v=1 5\n"))
	f.Add([]byte("a\\ b,k\\,x=y\\=z f=1i,g=\"q\\\"\\\\ ,\",h=true -1\nm f=1 5\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, n, err := ParsePoint(body)
		if err != nil {
			return
		}
		if n <= 0 || n > len(body) || p.Measurement == "" || len(p.Fields) == 0 || !strings.HasPrefix(p.Raw, p.Series) {
			t.Errorf("%q: %d %+v", body, n, p)
		}
	})
}

// post sends lines to v as the agent would, and returns the answer's code.
func post(t *testing.T, v *Vendor, body string) int {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte(body))
	z.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.URL+"/write?db=books&precision=ns", &packed)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// logLine is one line as a vendor gets it.
func logLine(seq int, at int64) string {
	return fmt.Sprintf("syslog,host=h message=\"seq=%09d w=a t=1 pad=x.\" %d\n", seq, at)
}

func TestJudgeFindsWhatIsWrong(t *testing.T) {
	f := func(name string, written int, want Verdict, bodies ...string) {
		t.Helper()
		v := NewVendor(t)
		for _, b := range bodies {
			post(t, v, b)
		}
		w := &Writer{Name: "a"}
		w.n.Store(int64(written))
		got := Judge(v, w)
		got.First = ""
		want.Lines = int64(written)
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	f("all there", 2, Verdict{}, logLine(1, 10)+logLine(2, 20))
	f("one lost", 3, Verdict{Lost: 1}, logLine(1, 10)+logLine(3, 30))
	f("the last one lost", 2, Verdict{Lost: 1}, logLine(1, 10))
	f("one sent again", 1, Verdict{Hidden: 1}, logLine(1, 10), logLine(1, 10))
	f("one sent again at another time", 1, Verdict{Visible: 1}, logLine(1, 10), logLine(1, 11))
	f("two at one time", 2, Verdict{Foreign: 1, Mixed: 1}, logLine(1, 10)+logLine(2, 10))
	f("two in the wrong order", 2, Verdict{Mixed: 1}, logLine(1, 20)+logLine(2, 10))
	f("two delivered in the wrong order", 2, Verdict{Late: 1}, logLine(2, 20), logLine(1, 10))
	f("one sent again behind others", 2, Verdict{Hidden: 1}, logLine(1, 10)+logLine(2, 20), logLine(1, 10))
	f("one too many", 1, Verdict{Foreign: 1}, logLine(1, 10)+logLine(2, 20))
	f("a stranger", 1, Verdict{Foreign: 1}, logLine(1, 10)+"syslog message=\"hello\" 5\n")
}

func TestLedgerCheckFindsWhatDoesNotBalance(t *testing.T) {
	f := func(r Row, says, good bool) {
		t.Helper()
		if err := (Ledger{Balanced: says, Destinations: []Row{r}}).Check(); (err == nil) != good {
			t.Errorf("%+v, balanced: %v: %v", r, says, err)
		}
	}
	f(Row{In: 5, Sent: 2, Waiting: 1, Dropped: map[string]int64{"refused": 2}}, true, true)
	f(Row{In: 5, Sent: 2, Waiting: 1, Dropped: map[string]int64{"refused": 1}}, true, false)
	f(Row{In: 5, Sent: 2, Waiting: 3}, false, false)
	f(Row{In: 1, Sent: 2, Waiting: -1}, true, false)
	f(Row{In: 0, Dropped: map[string]int64{"refused": 1, "evicted": -1}}, true, false)
}

func TestAuditorSeesACountFall(t *testing.T) {
	a := &Auditor{errs: map[string]bool{}, last: map[string]Row{}}
	row := func(in, sent int64) Ledger {
		return Ledger{Balanced: true, Destinations: []Row{{Name: "a", Kind: "log", In: in, Sent: sent, Waiting: in - sent}}}
	}
	a.see(row(10, 5))
	a.see(row(11, 6))
	if len(a.errs) != 0 {
		t.Error(a.errs)
	}
	a.see(row(9, 6))
	if len(a.errs) != 1 {
		t.Error("in fell, and nobody minded")
	}
}

// Every answer does to the books what its name says.
func TestVendorAnswers(t *testing.T) {
	three := logLine(1, 10) + logLine(2, 20) + logLine(3, 30)
	second := func(_ string, seq int64) bool { return seq == 2 }
	f := func(name string, a Answer, code int, booked int64) {
		t.Helper()
		v := NewVendor(t).Script(a)
		if got := post(t, v, three); got != code || v.Distinct() != booked {
			t.Errorf("%s: answered %d and booked %d, want %d and %d", name, got, v.Distinct(), code, booked)
		}
	}
	f("take", Take, 204, 3)
	f("refuse", Refuse(503, "x"), 503, 0)
	f("take but", TakeBut(500), 500, 3)
	f("reset early", ResetEarly, 0, 0)
	f("reset late", ResetLate, 0, 3)
	f("truncate", Truncate, 200, 3)
	f("truncate refusal", TruncateRefusal, 500, 0)
	f("read slowly", ReadSlowly, 204, 3)
	f("at most two", AtMost(2), 413, 0)
	f("at most three", AtMost(3), 204, 3)
	f("loathe", Loathe(second), 400, 0)
	f("expire", Expire(1), 400, 2)
	f("misread", Misread(second), 400, 2)
}

// A vendor complains of what no server should have to take.
func TestVendorMindsTheProtocol(t *testing.T) {
	f := func(body string, want int) {
		t.Helper()
		v := NewVendor(t)
		post(t, v, body)
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.violations) != want {
			t.Errorf("%q: %q", body, v.violations)
		}
		v.violations = nil // they were asked for
	}
	f(logLine(1, 10), 0)
	f("", 1)
	f("nonsense\n", 1)
	f("m v=1 5\nm v=1i 6\n", 1)
}

func TestWriterNumbersEveryLine(t *testing.T) {
	f := func(text, writer string, seq int64, ok bool) {
		t.Helper()
		if w, n, _, got := parseNumber(text); got != ok || ok && (w != writer || n != seq) {
			t.Errorf("%q: %s %d %v", text, w, n, got)
		}
	}
	f("seq=000000007 w=a t=5 pad=xx.", "a", 7, true)
	f("seq=000000007 w=a t=5 pad=.", "a", 7, true)
	f("seq=7 w=a t=5 pad=xx.", "", 0, false)
	f("seq=000000000 w=a t=5 pad=.", "", 0, false)
	f("seq=00000000000 w=a t=5 pad=.", "", 0, false)
	f("eq=000000007 w=a t=5 pad=.", "", 0, false)
	f("seq=000000007 w=a t=5", "", 0, false)
	f("seq=000000007 w=a t=5 pad=xx", "", 0, false) // the end is missing
	f("seq=000000007 w=a t=5 pad=x.seq=000000008 w=a t=5 pad=.", "", 0, false)
	if _, _, at, _ := parseNumber("seq=000000007 w=a t=1500000000 pad=."); !at.Equal(time.Unix(1, 5e8)) {
		t.Error(at)
	}
}
