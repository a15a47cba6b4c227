package datadog

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
)

func TestCheck(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		c.APIKey = "0123"
		change(&c)
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("", func(*Config) {})
	f("", func(c *Config) { c.Site, c.URL = "us5.datadoghq.com", "https://proxy.example.com/dd" })
	f("", func(c *Config) { c.URL = "http://localhost:8080" })
	f("", func(c *Config) { c.URL = "http://[::1]:8080" })
	f("url: must begin with https://, since", func(c *Config) { c.URL = "http://proxy.example.com" })
	f("url: must hold no password", func(c *Config) { c.URL = "https://u:p@proxy.example.com" })
	f("url: must end before", func(c *Config) { c.URL = "https://api.datadoghq.com/api/v2/series" })
	f("url: must begin", func(c *Config) { c.URL = "api.datadoghq.com" })
	f("url: is no URL", func(c *Config) { c.URL = "https://\x00" })
	f("site: must be the name", func(c *Config) { c.Site = "https://datadoghq.com" })
	f("site: must be the name", func(c *Config) { c.Site = "evil.com/x" })
	f("site: must be the name", func(c *Config) { c.Site = "" })
	f("site: must be datadoghq.eu, without app.", func(c *Config) { c.Site = "app.datadoghq.eu" })
	f("api_key: is required", func(c *Config) { c.APIKey = "" })
	f("api_key: must be one line", func(c *Config) { c.APIKey = "a\nb" })
	f("app_key: must be one line", func(c *Config) { c.AppKey = "a b" })
	f("names: ", func(c *Config) { c.Names = "x" })
	f("compression: ", func(c *Config) { c.Compression = "none" })
	f("in_flight: ", func(c *Config) { c.InFlight = 0 })
	f("timeout: ", func(c *Config) { c.Timeout = time.Millisecond })
	f("tags[1]: ", func(c *Config) { c.Tags = []string{"a:b", "a"} })
	f("tags[0]: ", func(c *Config) { c.Tags = []string{"a:!"} })
}

func TestTarget(t *testing.T) {
	f := func(site, url string, want ...string) {
		t.Helper()
		c := Default()
		c.Site, c.URL = site, url
		for i, make := range []func(string, Config, *http.Client) exporters.Exporter{Metrics, Logs, Events} {
			if got := make("n", c, nil).(interface{ Target() string }).Target(); got != want[i] {
				t.Errorf("%s %s: %s, want %s", site, url, got, want[i])
			}
		}
	}
	f("datadoghq.com", "", "https://api.datadoghq.com/api/v2/series", "https://http-intake.logs.datadoghq.com/api/v2/logs", "https://api.datadoghq.com/api/v1/events")
	f("us5.datadoghq.com", "", "https://api.us5.datadoghq.com/api/v2/series", "https://http-intake.logs.us5.datadoghq.com/api/v2/logs", "https://api.us5.datadoghq.com/api/v1/events")
	f("new.example", "", "https://api.new.example/api/v2/series", "https://http-intake.logs.new.example/api/v2/logs", "https://api.new.example/api/v1/events")
	f("datadoghq.eu", "http://127.0.0.1:8125/dd/", "http://127.0.0.1:8125/dd/api/v2/series", "http://127.0.0.1:8125/dd/api/v2/logs", "http://127.0.0.1:8125/dd/api/v1/events")
}

func TestLimits(t *testing.T) {
	c := Default()
	if l := Metrics("n", c, nil).Limits(); l.Packed > 512_000 || l.Packed == 0 || l.Bytes > 5_242_880 || l.Bytes == 0 || l.MaxAge != time.Hour || l.Future != 10*time.Minute || !l.Idempotent || l.Encoding != "zstd" {
		t.Errorf("metrics: %+v", l)
	}
	if l := Logs("n", c, nil).Limits(); l.Items != 1000 || l.Bytes > 5_000_000 || l.MaxAge != 18*time.Hour || l.Idempotent || l.Encoding != "gzip" {
		t.Errorf("logs: %+v", l)
	}
	if l := Events("n", c, nil).Limits(); l.MaxAge != 18*time.Hour || l.Encoding != "" || l.Idempotent {
		t.Errorf("events: %+v", l)
	}
	c.SendLate = true
	if l := Metrics("n", c, nil).Limits(); l.MaxAge != 0 {
		t.Errorf("send_late: %+v", l)
	}
}

// answer is a server that gives one answer, and notes what it was asked.
func answer(t *testing.T, status int, body string) (c Config, asked *[]string) {
	t.Helper()
	asked = new([]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := io.ReadAll(r.Body)
		*asked = append(*asked, fmt.Sprintf("%s %s key=%s encoding=%s length=%d %s", r.Method, r.URL, r.Header.Get("DD-API-KEY"), r.Header.Get("Content-Encoding"), r.ContentLength, p))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c = Default()
	c.URL, c.APIKey = s.URL, "0123456789abcdef"
	return c, asked
}

// The body goes out as it is: the client would compress it once more.
func TestSend(t *testing.T) {
	c, asked := answer(t, 202, `{"errors":[]}`)
	for encoding, want := range map[string]string{"zstd": "zstd1", "gzip": "gzip", "deflate": "deflate"} {
		c.Compression = encoding
		*asked = nil
		if err := Metrics("n", c, http.DefaultClient).Send(t.Context(), []byte("as it is")); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(*asked); got != "[POST /api/v2/series key=0123456789abcdef encoding="+want+" length=8 as it is]" {
			t.Errorf("%s: %s", encoding, got)
		}
	}
}

func TestSendClassifies(t *testing.T) {
	f := func(status int, want exporters.Class) {
		t.Helper()
		c, asked := answer(t, status, `{"errors":["its words"]}`)
		err := Logs("n", c, http.DefaultClient).Send(t.Context(), []byte("[]"))
		var e *exporters.Error
		if !errors.As(err, &e) || e.Class != want || e.Status != status || !strings.Contains(e.Words, "its words") || len(*asked) != 1 {
			t.Errorf("%d: %v after %d requests, want %v", status, err, len(*asked), want)
		}
	}
	f(400, exporters.Permanent)
	f(401, exporters.Hold)
	f(403, exporters.Hold)
	f(408, exporters.Retry)
	f(413, exporters.Permanent)
	f(429, exporters.Retry)
	f(500, exporters.Retry)
	f(503, exporters.Retry)

	c, _ := answer(t, 200, "")
	c.URL = "http://127.0.0.1:1" // nobody listens there
	var e *exporters.Error
	if err := Logs("n", c, http.DefaultClient).Send(t.Context(), []byte("[]")); !errors.As(err, &e) || e.Class != exporters.Retry || !e.Unsent || strings.Contains(err.Error(), "abcdef") {
		t.Errorf("without a server: %v", err)
	}
}

// Datadog takes checks of the last ten minutes; older ones are not sent.
func TestOldChecksAreRefusedHere(t *testing.T) {
	c, asked := answer(t, 202, `{"status":"ok"}`)
	send := func(ago time.Duration) error {
		body := fmt.Sprintf(`%s%d,"check":"a"}]`, checkStart, time.Now().Add(-ago).Unix())
		return Events("n", c, http.DefaultClient).Send(t.Context(), []byte(body))
	}
	if err := send(9 * time.Minute); err != nil || len(*asked) != 1 || !strings.HasPrefix((*asked)[0], "POST /api/v1/check_run ") {
		t.Errorf("a new one: %v, asked %v", err, *asked)
	}
	var e *exporters.Error
	if err := send(11 * time.Minute); !errors.As(err, &e) || e.Class != exporters.Permanent || !e.Whole || len(*asked) != 1 {
		t.Errorf("an old one: %v, asked %v", err, *asked)
	}
}

func TestConnect(t *testing.T) {
	connect := func(c Config) error { return Metrics("n", c, http.DefaultClient).(*metrics).Connect(t.Context()) }
	f := func(status int, body, want string) {
		t.Helper()
		c, asked := answer(t, status, body)
		err := connect(c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%d: %v, want %q", status, err, want)
		}
		if got := fmt.Sprint(*asked); got != "[GET /api/v1/validate key=0123456789abcdef encoding= length=0 ]" {
			t.Errorf("asked %s", got)
		}
	}
	f(200, `{"valid": true}`, "")
	f(200, `<html>hello</html>`, "not as Datadog does: check url")
	f(403, `{"errors":["Forbidden"]}`, "API key that ends in cdef (403)")
	f(401, `{}`, "belongs to site datadoghq.com")
	f(429, ``, "try again later")
	f(302, ``, "redirects")
	f(500, `broken`, "answered 500: broken")
	c, _ := answer(t, 200, "")
	c.URL, c.APIKey = "http://127.0.0.1:1", secret.String("0123456789abcdef")
	if err := connect(c); err == nil || !strings.Contains(err.Error(), "no answer from http://127.0.0.1:1: check site") {
		t.Errorf("without a server: %v", err)
	}
}
