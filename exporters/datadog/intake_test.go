package datadog

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/exporters/exporttest"
	"github.com/causeway-agent/causeway/exporters/exporttest/ddintake"
)

// readFor checks request and body, and returns the numbers of its items.
func readFor(site string) func(r *http.Request, body []byte) ([]int, error) {
	return func(r *http.Request, body []byte) (items []int, err error) {
		in := ddintake.Intake{Now: time.Now()} // of the bubble
		if r.Method != http.MethodPost || r.Header.Get("Dd-Api-Key") != "0123abcd" || r.Header.Get("Content-Type") != "application/json" || r.Host != site {
			return nil, fmt.Errorf("%s %s %s %v", r.Method, r.Host, r.URL, r.Header)
		}
		add := func(text string) {
			n, e := exporttest.Number(text)
			items, err = append(items, n), errors.Join(err, e)
		}
		encoding := r.Header.Get("Content-Encoding")
		switch r.URL.Path {
		case "/api/v2/series":
			if r.ContentLength > 512_000 || encoding != "gzip" && encoding != "zstd1" && encoding != "deflate" {
				return nil, fmt.Errorf("%d bytes packed as %q", r.ContentLength, encoding)
			}
			series, err := in.Series(body)
			if err != nil {
				return nil, err
			}
			for _, s := range series {
				for _, t := range s.Tags {
					if text, ok := strings.CutPrefix(t, "n:"); ok {
						add(text)
					}
				}
			}
		case "/api/v1/distribution_points":
			if encoding != "deflate" {
				return nil, fmt.Errorf("packed as %q", encoding)
			}
			list, err := in.Distributions(body)
			if err != nil {
				return nil, err
			}
			for _, v := range list {
				for _, t := range v.Tags {
					if text, ok := strings.CutPrefix(t, "n:"); ok {
						add(text)
					}
				}
			}
		case "/api/v2/logs":
			if encoding != "gzip" && encoding != "deflate" {
				return nil, fmt.Errorf("packed as %q", encoding)
			}
			list, err := in.Logs(body)
			if err != nil {
				return nil, err
			}
			for _, l := range list {
				add(l["message"].(string))
			}
		case "/api/v1/events":
			if encoding != "" {
				return nil, fmt.Errorf("packed as %q", encoding)
			}
			e, err := in.Event(body)
			if err != nil {
				return nil, err
			}
			add(*e.Title)
		case "/api/v1/check_run":
			list, err := in.Checks(body)
			if err != nil {
				return nil, err
			}
			for _, c := range list {
				add(c.Message)
			}
		default:
			return nil, fmt.Errorf("no such place: %s", r.URL.Path)
		}
		return items, err
	}
}
