package dashboards

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Result says what Apply did.
type Result struct {
	Made bool   // false: one that was there was renewed
	ID   string // what the product calls it
}

// caller makes one request with JSON and decodes the answer into out, if that
// is not nil. It returns the status; one that is not 2xx is an error as well.
type caller func(method, url string, header http.Header, in, out any) (status int, err error)

// mostAnswer bounds what is read of an answer: lists of dashboards are long.
const mostAnswer = 32 << 20

// Apply makes the dashboard in the destination's product, or renews the one
// that it made before. The error holds no key.
func (t *Target) Apply(ctx context.Context, d *Dashboard) (Result, error) {
	o, err := t.object(d)
	if err != nil {
		return Result{}, err
	}
	hc, err := t.client(ctx)
	if err != nil {
		return Result{}, err
	}
	call := func(method, address string, header http.Header, in, out any) (int, error) {
		var body io.Reader
		if in != nil {
			p, err := json.Marshal(in)
			if err != nil {
				return 0, err
			}
			body = bytes.NewReader(p)
		}
		req, err := http.NewRequestWithContext(ctx, method, address, body)
		if err != nil {
			return 0, errors.New("url: is no URL") // its text may hold a password
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json")
		resp, err := hc.Do(req)
		if err != nil {
			var ue *url.Error
			if errors.As(err, &ue) {
				err = ue.Err
			}
			return 0, fmt.Errorf("%s %s: %w", method, req.URL.Host, err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
		if err != nil {
			return resp.StatusCode, fmt.Errorf("%s %s: %w", method, req.URL.Host, err)
		}
		if resp.StatusCode/100 != 2 {
			return resp.StatusCode, fmt.Errorf("%s %s%s answers %s: %s", method, req.URL.Host, req.URL.Path, resp.Status, cut(strings.TrimSpace(string(answer))))
		}
		if out != nil {
			if err := json.Unmarshal(answer, out); err != nil {
				return resp.StatusCode, fmt.Errorf("the answer of %s: %w", req.URL.Host, err)
			}
		}
		return resp.StatusCode, nil
	}
	r, err := t.apply(ctx, call, d, o)
	if err != nil {
		return Result{}, fmt.Errorf("dashboard %s: %w", d.Name, err)
	}
	return r, nil
}

// cut shortens what a product says to what fits a line.
func cut(s string) string {
	if len(s) > 500 {
		return strings.ToValidUTF8(s[:500], "") + "…"
	}
	return s
}

// Datadog gives ids itself, so ours is found by the mark in its description.
func (t *forDatadog) apply(_ context.Context, call caller, d *Dashboard, o object) (Result, error) {
	if t.conf.Datadog.AppKey == "" {
		return Result{}, errors.New("app_key: is required for dashboards, of a user or service account with dashboards_write")
	}
	header := http.Header{}
	header.Set("DD-API-KEY", t.conf.Datadog.APIKey.Reveal())
	header.Set("DD-APPLICATION-KEY", t.conf.Datadog.AppKey.Reveal())
	var list struct {
		Dashboards []struct{ ID, Description string }
	}
	if _, err := call(http.MethodGet, t.url+"/api/v1/dashboard", header, nil, &list); err != nil {
		return Result{}, err
	}
	method, address := http.MethodPost, t.url+"/api/v1/dashboard"
	for _, have := range list.Dashboards {
		if strings.HasSuffix(have.Description, ownMark(d)) {
			method, address = http.MethodPut, t.url+"/api/v1/dashboard/"+url.PathEscape(have.ID)
			break
		}
	}
	var made struct{ ID string }
	if _, err := call(method, address, header, o, &made); err != nil {
		return Result{}, err
	}
	return Result{Made: method == http.MethodPost, ID: made.ID}, nil
}

// Google lets us choose the name. An update carries the etag of what it
// replaces, so that two who apply at once do not mix.
func (t *forGoogle) apply(_ context.Context, call caller, _ *Dashboard, o object) (Result, error) {
	name := o["name"].(string)
	var have struct{ Etag, Name string }
	status, err := call(http.MethodGet, t.url+"/v1/"+name, nil, nil, &have)
	switch {
	case status == http.StatusNotFound:
		_, err = call(http.MethodPost, t.url+"/v1/projects/"+t.project+"/dashboards", nil, o, nil)
		return Result{Made: true, ID: name}, err
	case err != nil:
		return Result{}, err
	}
	o["etag"] = have.Etag
	_, err = call(http.MethodPatch, t.url+"/v1/"+name, nil, o, nil)
	return Result{ID: name}, err
}

// New Relic gives guids itself; ours is found by name and account. NerdGraph
// answers 200 to everything, and says in the answer what went wrong.
func (t *forNewRelic) apply(_ context.Context, call caller, _ *Dashboard, o object) (Result, error) {
	c := t.conf.NewRelic
	switch {
	case c.UserKey == "":
		return Result{}, errors.New("user_key: is required for dashboards (NRAK-…)")
	case c.AccountID == 0:
		return Result{}, errors.New("account_id: is required for dashboards")
	}
	header := http.Header{}
	header.Set("API-Key", c.UserKey.Reveal())
	ask := func(query string, variables object, out any) error {
		var answer struct {
			Data   json.RawMessage
			Errors []struct{ Message string }
		}
		if _, err := call(http.MethodPost, t.url+"/graphql", header, object{"query": query, "variables": variables}, &answer); err != nil {
			return err
		}
		if len(answer.Errors) > 0 {
			return fmt.Errorf("nerdgraph: %s", cut(answer.Errors[0].Message))
		}
		return json.Unmarshal(answer.Data, out)
	}
	var found struct {
		Actor struct {
			EntitySearch struct {
				Results struct {
					Entities []struct{ GUID, Name string }
				}
			}
		}
	}
	title := o["name"].(string)
	err := ask(`query($q: String!) {actor {entitySearch(query: $q) {results {entities {guid name}}}}}`,
		object{"q": fmt.Sprintf("type = 'DASHBOARD' AND accountId = %d AND name = '%s'", c.AccountID, title)}, &found)
	if err != nil {
		return Result{}, err
	}
	type outcome struct {
		EntityResult struct{ GUID string }
		Errors       []struct{ Description, Type string }
	}
	var done struct{ DashboardCreate, DashboardUpdate outcome }
	query := `mutation($a: Int!, $d: DashboardInput!) {dashboardCreate(accountId: $a, dashboard: $d) {entityResult {guid} errors {description type}}}`
	variables := object{"a": c.AccountID, "d": o}
	made := true
	for _, e := range found.Actor.EntitySearch.Results.Entities {
		if e.Name == title { // the search also finds names that contain it
			query = `mutation($g: EntityGuid!, $d: DashboardInput!) {dashboardUpdate(guid: $g, dashboard: $d) {entityResult {guid} errors {description type}}}`
			variables, made = object{"g": e.GUID, "d": o}, false
			break
		}
	}
	if err := ask(query, variables, &done); err != nil {
		return Result{}, err
	}
	for _, of := range []outcome{done.DashboardCreate, done.DashboardUpdate} {
		if len(of.Errors) > 0 {
			return Result{}, fmt.Errorf("nerdgraph: %s: %s", of.Errors[0].Type, cut(of.Errors[0].Description))
		}
		if of.EntityResult.GUID != "" {
			return Result{Made: made, ID: of.EntityResult.GUID}, nil
		}
	}
	return Result{}, errors.New("nerdgraph: says neither what it made nor what went wrong")
}

// Grafana lets us choose the uid; overwrite replaces what has it.
func (t *forGrafana) apply(_ context.Context, call caller, _ *Dashboard, o object) (Result, error) {
	if t.options.URL == "" {
		return Result{}, errors.New("--url: is required: the address of Grafana, such as http://127.0.0.1:3000")
	}
	header := http.Header{}
	if t.options.Token != "" {
		header.Set("Authorization", "Bearer "+t.options.Token)
	}
	uid := o["uid"].(string)
	status, err := call(http.MethodGet, t.options.URL+"/api/dashboards/uid/"+uid, header, nil, nil)
	if err != nil && status != http.StatusNotFound {
		return Result{}, err
	}
	made := status == http.StatusNotFound
	in := object{"dashboard": o, "overwrite": true, "message": "causeway dashboards apply"}
	_, err = call(http.MethodPost, t.options.URL+"/api/dashboards/db", header, in, nil)
	return Result{Made: made, ID: uid}, err
}
