package ddintake

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// post gives s a body and returns the status.
func post(s *Server, path, key, body string) int {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Dd-Api-Key", key)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code
}

func TestTheServerRefusesWhatDatadogRefuses(t *testing.T) {
	s := New("k")
	now := time.Now().Unix()
	f := func(what, path, key, body string, want int) {
		t.Helper()
		if got := post(s, path, key, body); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	series := func(name, tag string, at int64) string {
		return fmt.Sprintf(`{"series":[{"metric":%q,"type":3,"points":[{"timestamp":%d,"value":1}],"tags":[%q]}]}`, name, at, tag)
	}
	f("a good series", "/api/v2/series", "k", series("a.b", "x:y", now), 202)
	f("another's key", "/api/v2/series", "other", series("a.b", "x:y", now), 403)
	f("a bad name", "/api/v2/series", "k", series("1a", "x:y", now), 400)
	f("a tag it would change", "/api/v2/series", "k", series("a", "X:y", now), 400)
	f("a point of two hours ago", "/api/v2/series", "k", series("a", "x:y", now-7200), 400)
	f("a point of next hour", "/api/v2/series", "k", series("a", "x:y", now+3600), 400)
	f("no JSON", "/api/v2/series", "k", `{`, 400)
	f("a place that is none", "/api/v9/series", "k", `{}`, 400)
	dist := func(values string) string {
		return fmt.Sprintf(`{"series":[{"points":[[%d,%s]],"type":"distribution","metric":"d","tags":["x:y"],"host":"h"}]}`, now, values)
	}
	f("distribution points", "/api/v1/distribution_points", "k", dist("[1,1,2.5]"), 202)
	f("without values", "/api/v1/distribution_points", "k", dist("[]"), 400)
	f("a number for a list", "/api/v1/distribution_points", "k", dist("1"), 400)
	f("a log", "/api/v2/logs", "k", fmt.Sprintf(`[{"message":"m","timestamp":%d}]`, now*1000), 202)
	f("a log of yesterday", "/api/v2/logs", "k", fmt.Sprintf(`[{"message":"m","timestamp":%d}]`, (now-86400)*1000), 400)
	f("an event", "/api/v1/events", "k", fmt.Sprintf(`{"title":"t","text":"x","date_happened":%d,"alert_type":"info","tags":[]}`, now), 202)
	f("a check", "/api/v1/check_run", "k", fmt.Sprintf(`[{"check":"c","status":0,"host_name":"h","timestamp":%d,"tags":[]}]`, now), 202)
	if a, b, c, d := len(s.Series("a.b")), len(s.Logs()), len(s.Events()), len(s.Checks()); a != 1 || b != 1 || c != 1 || d != 1 {
		t.Errorf("books hold %d series, %d logs, %d events, %d checks", a, b, c, d)
	}
	if v := s.Values(); len(v) != 1 || len(v[0].Values) != 3 || v[0].Values[2] != 2.5 {
		t.Errorf("distribution points: %+v", v)
	}
	if n := len(s.Refused()); n != 9 {
		t.Errorf("%d bodies booked as refused: %q", n, s.Refused())
	}
}

func TestTheLastPointOfASeriesWinsAndIsNoticed(t *testing.T) {
	s := New("k")
	now := time.Now().Unix()
	for _, v := range []int{1, 1, 2} {
		post(s, "/api/v2/series", "k", fmt.Sprintf(`{"series":[{"metric":"m","type":1,"interval":10,"points":[{"timestamp":%d,"value":%d}],"tags":["b:c","a:c"]}]}`, now, v))
	}
	got := s.Series("m")
	if len(got) != 1 || len(got[0].Points) != 1 || got[0].Points[now] != 2 || got[0].Tags[0] != "a:c" {
		t.Errorf("a reader sees %+v", got)
	}
	if s.Overwritten() != 1 {
		t.Errorf("%d counts overwritten, want 1: the same value again is no harm", s.Overwritten())
	}
}
