package influx

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
)

// Each dialect and kind against every answer.
func TestConformance(t *testing.T) {
	kinds := []func(string, Config, *http.Client) exporters.Exporter{Metrics, Logs, Events}
	for api, c := range map[string]Config{
		"v1": {API: "v1", Database: "d", Username: "u", Password: "p"},
		"v2": {API: "v2", Org: "o", Bucket: "d", Token: "t"},
		"v3": {API: "v3", Database: "d", Token: "t"},
	} {
		for i, make := range kinds {
			t.Run(fmt.Sprint(api, "/", signal.Kinds[i]), func(t *testing.T) {
				exporttest.Run(t, exporttest.Vendor{
					New: func(s *exporttest.Server, hc *http.Client) exporters.Exporter {
						full := Default()
						full.URL, full.API, full.CreateDatabase = s.URL, c.API, "false"
						full.Database, full.Username, full.Password = c.Database, c.Username, c.Password
						full.Org, full.Bucket, full.Token = c.Org, c.Bucket, c.Token
						if err := full.Check(); err != nil {
							t.Fatal(err)
						}
						return make("influx/"+signal.Kinds[i].String(), full, hc)
					},
					Read:   readItems(api),
					Taken:  exporttest.Reply{Status: http.StatusNoContent},
					Refuse: refusals(api),
				})
			})
		}
	}
}

// readItems reads bodies as a strict server of a dialect would.
func readItems(api string) func(r *http.Request, body []byte) ([]int, error) {
	return func(r *http.Request, body []byte) ([]int, error) {
		user, password, _ := r.BasicAuth()
		var good bool
		switch q := r.URL.Query(); api {
		case "v1":
			good = r.URL.Path == "/write" && q.Get("db") == "d" && user+password == "up"
		case "v2":
			good = r.URL.Path == "/api/v2/write" && q.Get("bucket") == "d" && q.Get("org") == "o" && r.Header.Get("Authorization") == "Token t"
		case "v3":
			good = r.URL.Path == "/api/v3/write_lp" && q.Get("db") == "d" && r.Header.Get("Authorization") == "Bearer t"
		}
		if !good || r.Method != http.MethodPost {
			return nil, fmt.Errorf("%s %s", r.Method, r.URL)
		}
		points, err := readLines(string(body))
		if err != nil {
			return nil, err
		}
		var items []int
		for _, p := range points {
			text := strings.TrimPrefix(p.fields[0][1], `"`) // message, title
			for _, tag := range p.tags {
				if tag[0] == "n" {
					text = tag[1]
				}
			}
			n, err := exporttest.Number(text)
			if err != nil {
				return nil, err
			}
			items = append(items, n)
		}
		return items, nil
	}
}

// refusals returns the manners in which servers of a dialect refuse some lines.
func refusals(api string) map[string]func(places, items []int, body []byte) (exporttest.Reply, bool) {
	say := func(status int, v any) exporttest.Reply {
		text, _ := json.Marshal(v)
		return exporttest.Reply{Status: status, Body: string(text)}
	}
	line := func(body []byte, place int) string { return strings.Split(string(body), "\n")[place] }
	type answer = func(places, items []int, body []byte) (exporttest.Reply, bool)
	const conflict = `partial write: field type conflict: input field "value" on measurement "m" is type float, already exists as type integer dropped=%d`
	switch api {
	case "v1":
		return map[string]answer{
			"1.6 conflict": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return say(400, map[string]string{"error": fmt.Sprintf(conflict, len(places))}), true
			},
			"1.13 conflict": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return say(400, map[string]string{"error": fmt.Sprintf(conflict+` for database: "d" for retention policy: "autogen"`, len(places))}), true
			},
			"unparsable": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				var failed []string
				for _, p := range places {
					failed = append(failed, "unable to parse '"+line(body, p)+"': invalid number")
				}
				text := strings.Join(failed, "\n")
				if len(places) == len(items) {
					return say(400, map[string]string{"error": text}), false
				}
				return say(400, map[string]string{"error": "partial write: " + text + " dropped=0"}), true
			},
			"words we do not know": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return say(400, map[string]string{"error": "partial write: the moon is full"}), true
			},
		}
	case "v2":
		return map[string]answer{
			"422": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return say(422, map[string]string{"code": "unprocessable entity", "message": "failure writing points to database: " + fmt.Sprintf(conflict, len(places))}), true
			},
			"400, nothing stored": func(places, items []int, body []byte) (exporttest.Reply, bool) {
				return say(400, map[string]string{"code": "invalid", "message": "unable to parse '" + line(body, places[0]) + "': invalid number"}), false
			},
		}
	}
	return map[string]answer{
		"lines listed": func(places, items []int, body []byte) (exporttest.Reply, bool) {
			var data []map[string]any
			for _, p := range places {
				data = append(data, map[string]any{"line_number": p + 1, "original_line": line(body, p), "error_message": "invalid column type"})
			}
			return say(400, map[string]any{"error": "partial write of line protocol occurred", "data": data}), true
		},
		"nothing stored": func(places, items []int, body []byte) (exporttest.Reply, bool) {
			return say(400, map[string]any{"error": "line protocol parsing error", "data": nil}), false
		},
	}
}
