package dashboards

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// board is what a stand-in keeps of a dashboard.
type board struct{ title, body string }

// standIn is a product as far as Apply talks to it: it keeps dashboards by id.
type standIn struct {
	boards map[string]board
	writes int
}

func (s *standIn) keep(id, title string, body []byte) {
	s.writes++
	s.boards[id] = board{title, string(body)}
}

// refuse answers as a product does that does not know the key.
func refuse(w http.ResponseWriter) { http.Error(w, `{"errors":["Forbidden"]}`, http.StatusForbidden) }

func answer(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func readBody(r *http.Request, v any) []byte {
	p, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(p, v)
	}
	if err != nil {
		panic(err)
	}
	return p
}

func (s *standIn) datadog(w http.ResponseWriter, r *http.Request) {
	id, one := strings.CutPrefix(r.URL.Path, "/api/v1/dashboard/")
	_, known := s.boards[id]
	var d struct{ Title, Description string }
	switch {
	case r.Header.Get("DD-API-KEY") != "api-key" || r.Header.Get("DD-APPLICATION-KEY") != "app-key":
		refuse(w)
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/dashboard":
		list := []object{}
		for id, b := range s.boards {
			var d struct{ Title, Description string }
			if err := json.Unmarshal([]byte(b.body), &d); err != nil {
				panic(err)
			}
			list = append(list, object{"id": id, "title": d.Title, "description": d.Description})
		}
		answer(w, object{"dashboards": list})
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/dashboard":
		p := readBody(r, &d)
		id = fmt.Sprintf("abc-%d", len(s.boards))
		s.keep(id, d.Title, p)
		answer(w, object{"id": id})
	case r.Method == http.MethodPut && one && known:
		s.keep(id, d.Title, readBody(r, &d))
		answer(w, object{"id": id})
	default:
		http.NotFound(w, r)
	}
}

func (s *standIn) google(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, "/v1/")
	have, known := s.boards[id]
	var d struct{ Name, DisplayName, Etag string }
	etag := func(b board) string { return fmt.Sprint(len(b.body), s.writes) }
	switch {
	case r.Method == http.MethodGet && known:
		answer(w, object{"name": id, "etag": etag(have)})
	case r.Method == http.MethodPost && id == "projects/my-project/dashboards":
		p := readBody(r, &d)
		if _, known := s.boards[d.Name]; known || d.Etag != "" {
			http.Error(w, "ALREADY_EXISTS", http.StatusConflict)
			return
		}
		s.keep(d.Name, d.DisplayName, p)
		answer(w, object{"name": d.Name})
	case r.Method == http.MethodPatch && known:
		p := readBody(r, &d)
		if d.Etag != etag(have) || d.Name != id {
			http.Error(w, "ABORTED: etag", http.StatusConflict)
			return
		}
		s.keep(id, d.DisplayName, p)
		answer(w, object{"name": id})
	default:
		http.NotFound(w, r)
	}
}

func (s *standIn) newrelic(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("API-Key") != "NRAK-user" {
		refuse(w)
		return
	}
	var q struct {
		Query     string
		Variables struct {
			Q, G string
			A    int64
			D    json.RawMessage
		}
	}
	if r.Method != http.MethodPost || r.URL.Path != "/graphql" {
		http.NotFound(w, r)
		return
	}
	readBody(r, &q)
	var d struct{ Name string }
	if len(q.Variables.D) > 0 {
		if err := json.Unmarshal(q.Variables.D, &d); err != nil {
			panic(err)
		}
	}
	switch {
	case strings.Contains(q.Query, "entitySearch"):
		list := []object{}
		for id, b := range s.boards {
			list = append(list, object{"guid": id, "name": b.title})
		}
		answer(w, object{"data": object{"actor": object{"entitySearch": object{"results": object{"entities": list}}}}})
	case strings.Contains(q.Query, "dashboardCreate") && q.Variables.A == 7:
		id := fmt.Sprintf("guid-%d", len(s.boards))
		s.keep(id, d.Name, q.Variables.D)
		answer(w, object{"data": object{"dashboardCreate": object{"entityResult": object{"guid": id}, "errors": nil}}})
	case strings.Contains(q.Query, "dashboardUpdate") && s.boards[q.Variables.G].title != "":
		s.keep(q.Variables.G, d.Name, q.Variables.D)
		answer(w, object{"data": object{"dashboardUpdate": object{"entityResult": object{"guid": q.Variables.G}, "errors": nil}}})
	default:
		answer(w, object{"errors": []object{{"message": "no such thing"}}})
	}
}

func (s *standIn) grafana(w http.ResponseWriter, r *http.Request) {
	id, one := strings.CutPrefix(r.URL.Path, "/api/dashboards/uid/")
	_, known := s.boards[id]
	switch {
	case r.Header.Get("Authorization") != "Bearer glsa-token":
		refuse(w)
	case r.Method == http.MethodGet && one && known:
		answer(w, object{"dashboard": object{"uid": id}})
	case r.Method == http.MethodPost && r.URL.Path == "/api/dashboards/db":
		var v struct {
			Dashboard struct{ UID, Title string }
			Overwrite bool
		}
		p := readBody(r, &v)
		if _, known := s.boards[v.Dashboard.UID]; known && !v.Overwrite {
			http.Error(w, `{"status":"version-mismatch"}`, http.StatusPreconditionFailed)
			return
		}
		s.keep(v.Dashboard.UID, v.Dashboard.Title, p)
		answer(w, object{"status": "success"})
	default:
		http.NotFound(w, r)
	}
}

// startStandIn starts a stand-in that has a dashboard of somebody else's.
func startStandIn(t *testing.T, typ string) (*standIn, *Target) {
	t.Helper()
	s := &standIn{boards: map[string]board{"theirs": {"Causeway: Hosts of ours", `{"title":"theirs","description":"not [causeway:host] ours"}`}}}
	serve := map[string]http.HandlerFunc{"datadog": s.datadog, "googlecloud": s.google, "newrelic": s.newrelic, "influxdb": s.grafana}[typ]
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	v, err := New(destination(typ), Options{URL: server.URL + "/", Token: "glsa-token"})
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func TestApplyTwiceLeavesOneDashboard(t *testing.T) {
	for _, typ := range types() {
		s, v := startStandIn(t, typ)
		theirs := s.boards["theirs"]
		d := load(t, "host")
		first, err := v.Apply(t.Context(), d)
		if err != nil || !first.Made || first.ID == "" {
			t.Errorf("%s: made %+v, %v", typ, first, err)
			continue
		}
		second, err := v.Apply(t.Context(), d)
		if err != nil || second.Made || second.ID != first.ID || len(s.boards) != 2 {
			t.Errorf("%s: again %+v, %v; %d dashboards", typ, second, err, len(s.boards))
		}
		d.Rows[0].Panels[0].Title = "Another name"
		if _, err := v.Apply(t.Context(), d); err != nil || !strings.Contains(s.boards[first.ID].body, "Another name") || len(s.boards) != 2 {
			t.Errorf("%s: changed, %v; %d dashboards", typ, err, len(s.boards))
		}
		if other, err := v.Apply(t.Context(), load(t, "logs")); err != nil || !other.Made || len(s.boards) != 3 {
			t.Errorf("%s: another one %+v, %v; %d dashboards", typ, other, err, len(s.boards))
		}
		if s.boards["theirs"] != theirs {
			t.Errorf("%s: somebody else's dashboard was overwritten", typ)
		}
	}
}

func TestApplySendsWhatRenderShows(t *testing.T) {
	for _, typ := range types() {
		s, v := startStandIn(t, typ)
		d := load(t, "containers")
		r, err := v.Apply(t.Context(), d)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		shown, err := v.Render(d)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := json.Unmarshal([]byte(s.boards[r.ID].body), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(shown, &want); err != nil {
			t.Fatal(err)
		}
		if o := got.(object); o["dashboard"] != nil {
			got = o["dashboard"]
		}
		if a, b := fmt.Sprint(got), fmt.Sprint(want); a != b {
			t.Errorf("%s: sent\n%.300s\nshown\n%.300s", typ, a, b)
		}
	}
}

func TestApplyErrorsSayWhatIsMissingAndNoKey(t *testing.T) {
	f := func(typ string, change func(v *Target), words string) {
		t.Helper()
		s, v := startStandIn(t, typ)
		change(v)
		_, err := v.Apply(t.Context(), load(t, "host"))
		if err == nil || !strings.Contains(err.Error(), words) || s.writes > 0 {
			t.Errorf("%s: %v, want one with %q; %d writes", typ, err, words, s.writes)
			return
		}
		for _, key := range []string{"api-key", "app-key", "NRAK-user", "license-key", "glsa-", "wrong"} {
			if strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v has a key in it", typ, err)
			}
		}
	}
	f("datadog", func(v *Target) { v.product.(*forDatadog).conf.Datadog.AppKey = "" }, "app_key: is required")
	f("datadog", func(v *Target) { v.product.(*forDatadog).conf.Datadog.AppKey = "wrong" }, "403 Forbidden")
	f("newrelic", func(v *Target) { v.product.(*forNewRelic).conf.NewRelic.UserKey = "" }, "user_key: is required")
	f("newrelic", func(v *Target) { v.product.(*forNewRelic).conf.NewRelic.AccountID = 0 }, "account_id: is required")
	f("newrelic", func(v *Target) { v.product.(*forNewRelic).conf.NewRelic.AccountID = 8 }, "no such thing")
	f("influxdb", func(v *Target) { v.product.(*forGrafana).options.Token = "wrong" }, "403 Forbidden")
	f("influxdb", func(v *Target) { v.product.(*forGrafana).options.URL = "" }, "--url: is required")
	f("googlecloud", func(v *Target) { v.product.(*forGoogle).project = "other-project" }, "404 Not Found")
}

func TestOnlyVendorsWithDashboardsHaveATarget(t *testing.T) {
	d := destination("stdout")
	if _, err := New(d, Options{}); err == nil || !strings.Contains(err.Error(), "has no dashboards") {
		t.Errorf("stdout: %v", err)
	}
	d = destination("googlecloud")
	d.Google.Project = "auto"
	if _, err := New(d, Options{}); err == nil || !strings.Contains(err.Error(), "--project") {
		t.Errorf("googlecloud without a project: %v", err)
	}
	if v, err := New(d, Options{Project: "here"}); err != nil || v.product.(*forGoogle).project != "here" {
		t.Errorf("googlecloud with one: %v", err)
	}
}
