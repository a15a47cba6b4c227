package newrelic

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/config/secret"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest/nrintake"
)

type sender interface {
	Send(context.Context, []byte) error
	Connect(context.Context) error
	Target() string
}

// served starts a handler and returns a configuration for it.
func served(t *testing.T, h http.Handler) (Config, *http.Client) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := config("sdk")
	c.URL = s.URL
	hc, err := exporters.HTTP{}.Client(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hc.CloseIdleConnections)
	return c, hc
}

func TestCheck(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := Default()
		c.LicenseKey = "0123456789abcdef0123456789abcdefFFFFNRAL"
		change(&c)
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) || err != nil && strings.Contains(err.Error(),
			"456789") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	const eu = "eu01xx6789abcdef0123456789abcdefFFFFNRAL"
	f("", func(*Config) {})
	f("", func(c *Config) { c.Region = "gov" })
	f("", func(c *Config) { c.Region, c.LicenseKey = "eu", eu })
	f("", func(c *Config) { c.URL = "https://proxy.example.com/nr" })
	f("", func(c *Config) { c.URL, c.LicenseKey = "http://localhost:8080", eu })
	f("", func(c *Config) { c.URL = "http://[::1]:8080" })
	f("url: must begin with https://, since", func(c *Config) { c.URL = "http://proxy.example.com" })
	f("url: must hold no password", func(c *Config) { c.URL = "https://u:p@proxy.example.com" })
	f("url: must end before", func(c *Config) { c.URL = "https://metric-api.newrelic.com/metric/v1" })
	f("url: must end before", func(c *Config) { c.URL = "https://otlp.nr-data.net/v1/metrics" })
	f("url: must begin", func(c *Config) { c.URL = "metric-api.newrelic.com" })
	f("url: is no URL", func(c *Config) { c.URL = "https://\x00" })
	f("region: ", func(c *Config) { c.Region = "ap" })
	f("license_key: is required", func(c *Config) { c.LicenseKey = "" })
	f("license_key: must be one line", func(c *Config) { c.LicenseKey = "a\nb" })
	f("license_key: is a user key", func(c *Config) { c.LicenseKey = "NRAK-0123456789" })
	f("license_key: belongs to region eu", func(c *Config) { c.LicenseKey = eu })
	f("license_key: belongs to region us", func(c *Config) { c.Region = "eu" })
	f("user_key: must be one line", func(c *Config) { c.UserKey = "a b" })
	f("account_id: ", func(c *Config) { c.AccountID = -1 })
	f("api: ", func(c *Config) { c.API = "x" })
	f("compression: ", func(c *Config) { c.Compression = "none" })
	f("in_flight: ", func(c *Config) { c.InFlight = 0 })
	f("timeout: ", func(c *Config) { c.Timeout = time.Millisecond })
	f("tags[1]: ", func(c *Config) { c.Tags = []string{"a:b", "a"} })
}

func TestTarget(t *testing.T) {
	f := func(region, api, url string, account int64, want ...string) {
		t.Helper()
		c := config(api)
		c.Region, c.URL, c.AccountID = region, url, account
		for i, make := range []func(string, Config, *http.Client) exporters.Exporter{Metrics, Logs, Events} {
			if got := make("n", c, nil).(sender).Target(); got != want[i] {
				t.Errorf("%s %s: %s, want %s", region, api, got, want[i])
			}
		}
	}
	f("us", "sdk", "", 0, "https://metric-api.newrelic.com/metric/v1", "https://log-api.newrelic.com/log/v1",
		"https://insights-collector.newrelic.com/v1/accounts/events")
	f("eu", "sdk", "", 12, "https://metric-api.eu.newrelic.com/metric/v1", "https://log-api.eu.newrelic.com/log/v1",
		"https://insights-collector.eu01.nr-data.net/v1/accounts/12/events")
	f("us", "otlp", "", 0, "https://otlp.nr-data.net/v1/metrics", "https://otlp.nr-data.net/v1/logs", "https://otlp.nr-data.net/v1/logs")
	f("eu", "otlp", "", 12, "https://otlp.eu01.nr-data.net/v1/metrics", "https://otlp.eu01.nr-data.net/v1/logs",
		"https://insights-collector.eu01.nr-data.net/v1/accounts/12/events")
	f("gov", "otlp", "", 0, "https://gov-otlp.nr-data.net/v1/metrics", "https://gov-otlp.nr-data.net/v1/logs", "https://gov-otlp.nr-data.net/v1/logs")
	f("us", "sdk", "http://127.0.0.1:80/nr/", 12, "http://127.0.0.1:80/nr/metric/v1", "http://127.0.0.1:80/nr/log/v1",
		"http://127.0.0.1:80/nr/v1/accounts/12/events")
	f("us", "otlp", "https://p.example.com/nr", 0, "https://p.example.com/nr/v1/metrics", "https://p.example.com/nr/v1/logs", "https://p.example.com/nr/v1/logs")
}

func TestLimitsOfRequests(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		for _, make := range []func(string, Config, *http.Client) exporters.Exporter{Metrics, Logs, Events} {
			c := config(api)
			c.Compression = "zstd"
			e := make("n", c, nil)
			l := e.Limits()
			encoding := "gzip" // the only one that the JSON APIs document
			if api == "otlp" {
				encoding = "zstd"
			}
			if l.Packed > 1e6 || l.Packed == 0 || l.MaxAge > 48*time.Hour || l.MaxAge == 0 || l.Future > 24*time.Hour || l.Future == 0 || l.Idempotent ||
				l.Encoding != encoding {
				t.Errorf("%s %v: %+v", api, e.Kind(), l)
			}
		}
	}
}

func TestSendClassifies(t *testing.T) {
	for _, api := range []string{"sdk", "otlp"} {
		s := &nrintake.Server{Key: "0123abcd"}
		c, hc := served(t, s)
		c.API = api
		f := func(status int, want exporters.Class, after time.Duration) {
			t.Helper()
			s.Answer(status)
			err := Metrics("n", c, hc).(sender).Send(t.Context(), []byte("x"))
			var e *exporters.Error
			if !errors.As(err, &e) || e.Class != want || e.Status != status || !strings.Contains(e.Words, "as the test wants it") || e.After != after ||
				strings.Contains(err.Error(), "0123abcd") {
				t.Errorf("%s %d: %v, want %v", api, status, err, want)
			}
		}
		f(400, exporters.Permanent, 0)
		f(401, exporters.Hold, 0)
		f(403, exporters.Hold, 0)
		f(404, exporters.Hold, 0)
		f(405, exporters.Hold, 0)
		f(408, exporters.Retry, 0)
		f(411, exporters.Hold, 0)
		f(413, exporters.Permanent, 0)
		f(414, exporters.Hold, 0)
		f(415, exporters.Hold, 0)
		f(429, exporters.Retry, time.Minute)
		f(500, exporters.Retry, 0)
		f(503, exporters.Retry, 0)
	}
	c := config("otlp")
	c.URL = "http://127.0.0.1:1" // nobody listens there
	var e *exporters.Error
	if err := Logs("n", c, http.DefaultClient).(sender).Send(t.Context(), nil); !errors.As(err, &e) || e.Class != exporters.Retry || !e.Unsent ||
		strings.Contains(err.Error(), "abcd") {
		t.Errorf("without a server: %v", err)
	}
	c.LicenseKey = "" // what the SDK makes no request for
	c.API = "sdk"
	if err := Logs("n", c, http.DefaultClient).(sender).Send(t.Context(), nil); !errors.As(err, &e) || e.Class != exporters.Hold || !e.Unsent {
		t.Errorf("without a key: %v", err)
	}
}

func TestPartialSuccess(t *testing.T) {
	f := func(answer string, want int64, words string) {
		t.Helper()
		if n, w := partialSuccess([]byte(answer)); n != want || w != words {
			t.Errorf("%q: %d %q", answer, n, w)
		}
	}
	f("", 0, "")
	f("\x0a\x00", 0, "")
	f("\x0a\x02\x08\x03", 3, "")
	f("\x0a\x06\x08\x03\x12\x02no", 3, "no")
	f("\x0a\x06\x12\x02no\x08\x03", 3, "no")
	f("\x12\x01x\x0a\x04\x12\x02no", 0, "no") // a warning
	f("\x0a\x7f\x08", 0, "")
	f("\x0a\x01\x08", 0, "")
	f("{\"a\":1}", 0, "")
}

func FuzzPartialSuccess(f *testing.F) {
	f.Add([]byte("\x0a\x06\x08\x03\x12\x02no"))
	f.Add([]byte("\x0a\x7f\x08"))
	f.Fuzz(func(t *testing.T, answer []byte) { partialSuccess(answer) })
}

func TestConnect(t *testing.T) {
	connect := func(c Config, hc *http.Client) error { return Metrics("n", c, hc).(sender).Connect(t.Context()) }
	for _, api := range []string{"sdk", "otlp"} {
		s := &nrintake.Server{Key: "0123456789abcdef", UserKey: "NRAK-0123456789ABC"}
		c, hc := served(t, s)
		c.API, c.LicenseKey = api, "0123456789abcdef"
		f := func(want string, change func(*Config)) {
			t.Helper()
			own := c
			if change != nil {
				change(&own)
			}
			err := connect(own, hc)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(),
				"01234567") {
				t.Errorf("%s: %v, want %q", api, err, want)
			}
		}
		f("", nil)
		if n := len(s.Metrics()) + len(s.Errors()); n != 0 {
			t.Errorf("%s: %d things were stored", api, n)
		}
		f("does not take the license key that ends in ffff (403)", func(c *Config) { c.LicenseKey = "fedcba98ffffffff" })
		f("", func(c *Config) { c.UserKey = "NRAK-0123456789ABC" })
		f("", func(c *Config) { c.UserKey, c.AccountID = "NRAK-0123456789ABC", 7 })
		f("license_key is good, but 127.0.0.1", func(c *Config) { c.UserKey = "NRAK-00000000" })
		f("no answer: check region or url", func(c *Config) { c.URL = "http://127.0.0.1:1" })
		for status, want := range map[int]string{400: "did not refuse the key", 401: "INGEST - LICENSE", 429: "try again later", 500: "answered 500"} {
			s.Answer(status)
			f(want, nil)
		}
	}
	c, hc := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>hello</html>")) }))
	if err := connect(c, hc); err == nil || !strings.Contains(err.Error(), "not as New Relic does: check url") {
		t.Errorf("a web page: %v", err)
	}
	c, hc = served(t, http.RedirectHandler("https://elsewhere.invalid", http.StatusFound))
	if err := connect(c, hc); err == nil || !strings.Contains(err.Error(), `redirects to "https://elsewhere.invalid"`) {
		t.Errorf("a redirect: %v", err)
	}
	// NerdGraph says no with 200.
	c, hc = served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/graphql" {
			_, _ = w.Write([]byte(`{"errors":[{"message":"not yours"}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"requestId":"x"}`))
	}))
	c.UserKey = secret.String("NRAK-x")
	if err := connect(c, hc); err == nil || !strings.Contains(err.Error(), "not yours") {
		t.Errorf("NerdGraph: %v", err)
	}
}
