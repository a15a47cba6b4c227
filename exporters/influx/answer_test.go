package influx

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// The bodies that the answers are about: lines with one item each, and lines
// with two items, of different times.
const (
	singles = "m,h=a value=1 1000\nm,h=b value=2 2000\nm,h=c value=3 3000\n"
	joined  = "mem,h=a used=1,used_percent=5e0,free=2 1000\nsystem,h=a load1=1 2000\ncpu,h=a time_user=1,usage_user=3e0,time_idle=2,usage_idle=97e0 3000\n"
)

func TestAnswers(t *testing.T) {
	f := func(api, body string, status int, words string, class exporters.Class, dropped int) {
		t.Helper()
		key := "error"
		if api == "v2" {
			key = "message"
		}
		answer, _ := json.Marshal(map[string]string{key: words})
		e := classifyFor(api, body, status, answer)
		if e == nil {
			t.Errorf("%s %d %q: taken", api, status, words)
			return
		}
		if e.Class != class || e.Dropped != dropped {
			t.Errorf("%s %d %q: %v, dropped %d; want %v, %d", api, status, words, e.Class, e.Dropped, class, dropped)
		}
		if words != "" && !strings.HasPrefix(e.Words, words[:min(len(words), 20)]) {
			t.Errorf("words are %q", e.Words)
		}
	}
	const p, r, h, part = exporters.Permanent, exporters.Retry, exporters.Hold, exporters.Partial

	// What a person must mend is held.
	f("v1", singles, 401, "authorization failed", h, 0)
	f("v1", singles, 403, `"w" user is not authorized to write to database "d2"`, h, 0)
	f("v1", singles, 404, `database not found: "nodb"`, h, 0)
	f("v1", singles, 500, "retention policy not found: nope", h, 0)
	f("v2", singles, 404, `bucket "b" not found`, h, 0)
	f("v3", singles, 405, "", h, 0)
	f("v1", singles, 307, "", h, 0)

	// What passes is sent again.
	f("v1", singles, 500, "timeout", r, 0)
	f("v1", singles, 503, "", r, 0)
	f("v2", singles, 429, "", r, 0)
	f("v1", singles, 408, "", r, 0)

	// What is too large is halved.
	f("v1", singles, 413, "Request Entity Too Large", p, 0)

	// Partial writes: the words prove how many items were refused.
	conflict := `partial write: field type conflict: input field "value" on measurement "m" is type float, already exists as type integer dropped=`
	f("v1", singles, 400, conflict+"1", part, 1)
	f("v1", singles, 400, conflict+`2 for database: "d" for retention policy: "autogen"`, part, 2)
	f("v2", singles, 422, "failure writing points to database: "+conflict+"1", part, 1)
	f("v1", singles, 400, "partial write: points beyond retention policy dropped=2", part, 2)
	f("v1", joined, 400, "partial write: points beyond retention policy dropped=1", part, 2) // the oldest line has two items
	f("v1", joined, 400, "partial write: points beyond retention policy dropped=2", part, 3)
	f("v1", joined, 400, "partial write: points beyond retention policy dropped=3", part, 5)
	f("v1", singles, 400, "partial write: max-series-per-database limit exceeded: (1000) dropped=2", part, 2)
	f("v1", singles, 400, "partial write: unable to parse 'm,h=b value=2 2000': invalid number dropped=0", part, 1)
	f("v1", joined, 400, "partial write: unable to parse 'cpu,h=a time_user=1,usage_user=3e0,time_idle=2,usage_idle=97e0 3000': invalid number dropped=0", part, 2)

	// Where they prove nothing, the body is halved, and halving proves it.
	f("v1", joined, 400, "partial write: max-series-per-database limit exceeded: (1000) dropped=2", p, 0)
	f("v1", joined, 400, `partial write: field type conflict: input field "used" on measurement "mem" is type float, already exists as type integer dropped=1`, p, 0)
	f("v1", strings.ReplaceAll(joined, "2000", "1000"), 400, "partial write: points beyond retention policy dropped=1", p, 0)
	f("v1", singles, 400, "partial write: unable to parse 'another line': invalid number dropped=0", p, 0)
	f("v1", singles, 400, "partial write: something new dropped=", p, 0)
	f("v1", singles, 400, conflict+"99", p, 0)
	f("v2", singles, 400, "unable to parse 'm,h=b value=2 2000': invalid number", p, 0)
	f("v3", singles, 400, "line protocol parsing error", p, 0)

	if e := classifyFor("v1", singles, 500, []byte(`{"error":"hinted handoff queue not empty"}`)); e != nil {
		t.Errorf("a cluster that has taken the body: %v", e)
	}
	if e := classifyFor("v1", singles, 400, []byte(`{"error":"unable to parse 'm x': missing fields"}`)); !e.Whole {
		t.Error("version 1 stores what it can: if it stored nothing, halving is in vain")
	}
	if e := classifyFor("v2", singles, 400, []byte(`{"message":"unable to parse 'm x': missing fields"}`)); e.Whole {
		t.Error("version 2 stores nothing if one line is bad: halving saves the others")
	}
}

func TestLinesThatVersion3Lists(t *testing.T) {
	f := func(body, data string, class exporters.Class, dropped int) {
		t.Helper()
		answer := fmt.Sprintf(`{"error":"partial write of line protocol occurred","data":%s}`, data)
		if e := classifyFor("v3", body, 400, []byte(answer)); e.Class != class || e.Dropped != dropped {
			t.Errorf("%s: %v, dropped %d; want %v, %d", data, e.Class, e.Dropped, class, dropped)
		}
	}
	f(singles, `[{"line_number":2,"original_line":"m,h=b value=2 2000","error_message":"invalid column type"}]`, exporters.Partial, 1)
	f(joined, `[{"line_number":1,"original_line":"mem,h=a used=1"},{"line_number":3,"original_line":"cpu,h=a"}]`, exporters.Partial, 4)
	f(singles, `[{"line_number":2,"original_line":"m,h=a value=1 1000"}]`, exporters.Permanent, 0) // another line than it says
	f(singles, `[{"line_number":9,"original_line":""}]`, exporters.Permanent, 0)
	f(singles, `[{"line_number":1,"original_line":"m"},{"line_number":1,"original_line":"m"}]`, exporters.Permanent, 0)
	f(singles, `[]`, exporters.Permanent, 0)
}

func classifyFor(api, body string, status int, answer []byte) *exporters.Error {
	c := Default()
	c.API = api
	cl := newClient("t", signal.Metric, c, nil)
	return cl.classify(status, http.Header{}, answer, exporters.Pack(nil, []byte(body), cl.limits.Encoding))
}

// Whatever a server answers, no more items are booked as refused than were sent.
func FuzzAnswer(f *testing.F) {
	f.Add(400, []byte(`{"error":"partial write: points beyond retention policy dropped=2"}`), []byte(joined))
	f.Add(400, []byte(`{"error":"partial write of line protocol occurred","data":[{"line_number":1,"original_line":"m"}]}`), []byte(singles))
	f.Add(400, []byte(`{"error":"partial write: unable to parse 'm,h=b value=2 2000': x dropped=0"}`), []byte(singles))
	f.Add(422, []byte(`{"message":"partial write: dropped=-1"}`), []byte(`m,h=\"a value="x\"y`+"\n"+`z" 5`))
	f.Fuzz(func(t *testing.T, status int, answer, body []byte) {
		items := sum(splitLines(body, signal.Metric))
		for _, api := range []string{"v1", "v2", "v3"} {
			e := classifyFor(api, string(body), status, answer)
			if e == nil {
				continue
			}
			if e.Dropped < 0 || e.Dropped > items || e.Dropped > 0 && e.Class != exporters.Partial || e.Class == exporters.Partial && len(e.Again) > 0 {
				t.Errorf("%s %d %q about %q: %+v of %d items", api, status, answer, body, e, items)
			}
			if len(e.Words) > 1024 {
				t.Errorf("%d bytes of words", len(e.Words))
			}
		}
	})
}

func TestCheckNamesTheKey(t *testing.T) {
	f := func(change func(*Config), complaint string) {
		t.Helper()
		c := Default()
		change(&c)
		err := c.Check()
		switch {
		case complaint == "" && err != nil:
			t.Errorf("complains: %v", err)
		case complaint != "" && (err == nil || !strings.Contains(err.Error(), complaint)):
			t.Errorf("says %v, want %q", err, complaint)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is shown: %v", err)
		}
	}
	f(func(c *Config) {}, "")
	f(func(c *Config) { c.URL = "127.0.0.1:8086" }, "url: ")
	f(func(c *Config) { c.URL = "http://me:hunter2@host" }, "url: must hold no password")
	f(func(c *Config) { c.URL = "http://host:hunter2" }, "url: is no URL")
	f(func(c *Config) { c.URL = "http://host:8086/write" }, "url: must end before")
	f(func(c *Config) { c.URL = "https://host/proxied/influx/" }, "")
	f(func(c *Config) { c.API = "v4" }, "api: must be")
	f(func(c *Config) { c.Database = "" }, "database: ")
	f(func(c *Config) { c.API = "v2" }, "bucket: is required")
	f(func(c *Config) { c.API = "v2"; c.Bucket = "b"; c.Token = "t" }, "")
	f(func(c *Config) { c.API = "v3"; c.Token = "t" }, "")
	f(func(c *Config) { c.Token = "hunter2" }, "token: belongs")
	f(func(c *Config) { c.Password = "hunter2" }, "username: is missing")
	f(func(c *Config) { c.API = "v3"; c.Username = "u" }, "username: and password belong")
	f(func(c *Config) { c.Embedded = true }, "")
	f(func(c *Config) { c.Embedded = true; c.Listen = "0.0.0.0:8086" }, "listen: ")
	f(func(c *Config) { c.Embedded = true; c.API = "v3" }, "api: ")
	f(func(c *Config) { c.Compression = "zstd" }, "compression: ")
	f(func(c *Config) { c.InFlight = 0 }, "in_flight: ")
	f(func(c *Config) { c.Timeout = 1 }, "timeout: ")
	f(func(c *Config) { c.Retention = -1 }, "retention: ")
	f(func(c *Config) { c.CreateDatabase = "maybe" }, "create_database: ")
	f(func(c *Config) { c.Tags = []string{"env"} }, "tags[0]: ")
}
