package exporttest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// toy is the simplest vendor there is: a line with its number for each item.
// Its faults are what Run must find.
type toy struct {
	url    string
	hc     *http.Client
	limits exporters.Limits
	send   func(ctx context.Context, body []byte) error // in place of post
}

func (v *toy) Name() string             { return "toy/event" }
func (v *toy) Kind() signal.Kind        { return signal.Event }
func (v *toy) Limits() exporters.Limits { return v.limits }

func (v *toy) Encode(dst []byte, b *signal.Batch, lo, hi int) ([]byte, int, int) {
	for _, e := range b.Events[lo:hi] {
		dst = append(append(dst, e.Title...), '\n')
	}
	return dst, hi, 0
}

func (v *toy) Send(ctx context.Context, body []byte) error {
	if v.send != nil {
		return v.send(ctx, body)
	}
	if e := v.post(ctx, body); e != nil {
		return e
	}
	return nil
}

func (v *toy) post(ctx context.Context, body []byte) *exporters.Error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.url+"/in", bytes.NewReader(body))
	if err != nil {
		return &exporters.Error{Err: err}
	}
	if v.limits.Encoding != "" {
		req.Header.Set("Content-Encoding", v.limits.Encoding)
	}
	status, header, answer, err := exporters.Post(ctx, v.hc, req, 1<<20)
	if err != nil {
		var e *exporters.Error
		errors.As(err, &e)
		return e
	}
	e := exporters.Classify(status, header, answer)
	if n, bad := strings.CutPrefix(string(answer), "refused "); e != nil && bad {
		e.Class = exporters.Partial
		e.Dropped, _ = strconv.Atoi(n)
	}
	return e
}

func vendor(change func(v *toy)) Vendor {
	return Vendor{
		New: func(s *Server, hc *http.Client) exporters.Exporter {
			v := &toy{url: s.URL, hc: hc, limits: exporters.Limits{Encoding: "gzip", InFlight: 2}}
			if change != nil {
				change(v)
			}
			return v
		},
		Read: func(_ *http.Request, body []byte) ([]int, error) {
			var items []int
			for line := range strings.Lines(string(body)) {
				n, err := Number(strings.TrimSuffix(line, "\n"))
				if err != nil {
					return nil, err
				}
				items = append(items, n)
			}
			return items, nil
		},
		Refuse: map[string]func(places, items []int, body []byte) (Reply, bool){
			"partial": func(places, _ []int, _ []byte) (Reply, bool) {
				return Reply{Status: 400, Body: "refused " + strconv.Itoa(len(places))}, true
			},
			"all or nothing": func(_, _ []int, _ []byte) (Reply, bool) { return Reply{Status: 400}, false },
		},
	}
}

func TestAGoodVendorPasses(t *testing.T) { Run(t, vendor(nil)) }

// A suite that finds no fault in a faulty vendor is worth nothing.
func TestFaultsAreFound(t *testing.T) {
	n := frames * size
	f := func(fault, says string, v Vendor, s *Server, w want, script ...Answer) {
		t.Helper()
		found := strings.Join(deliver(t, v, s, w, script), "\n")
		if !strings.Contains(found, says) {
			t.Errorf("%s: found %q, want %q", fault, found, says)
		}
	}
	// changing returns a vendor whose errors are changed before Delivery sees them.
	changing := func(change func(e *exporters.Error)) Vendor {
		return vendor(func(v *toy) {
			v.send = func(ctx context.Context, body []byte) error {
				e := v.post(ctx, body)
				if e == nil {
					return nil
				}
				change(e)
				return e
			}
		})
	}
	all := want{sent: n}

	f("drops what it may not send", "booked", changing(func(e *exporters.Error) { e.Class, e.Whole = exporters.Permanent, true }),
		&Server{}, all, Unauthorized)
	f("says sent without sending", "lost", vendor(func(v *toy) {
		v.send = func(ctx context.Context, body []byte) error { _ = v.post(ctx, body); return nil }
	}), &Server{}, all, Broken)
	f("does not wait", "too soon", changing(func(e *exporters.Error) { e.After = 0 }),
		&Server{}, want{sent: n, wait: RetryAfter}, TooManyAfter)
	f("calls gzip what is none", `encoding "gzip"`, vendor(func(v *toy) {
		v.send = func(ctx context.Context, body []byte) error {
			if e := v.post(ctx, body[1:]); e != nil {
				return e
			}
			return nil
		}
	}), &Server{}, all)
	f("counts one too many", "booked", changing(func(e *exporters.Error) { e.Dropped++ }),
		&Server{Bad: func(i int) bool { return i == 5 }, Refuse: vendor(nil).Refuse["partial"]}, want{sent: n - 1, refused: 1})
	f("throws neighbours away", "lost", changing(func(e *exporters.Error) { e.Whole = true }),
		&Server{Bad: func(i int) bool { return i == 5 }, Refuse: vendor(nil).Refuse["all or nothing"]}, want{sent: n - 1, refused: 1})
	f("follows a redirect", "went with them", vendor(func(v *toy) {
		v.hc.CheckRedirect = nil
	}), &Server{}, all, Redirect)
	f("sends what nobody put in", "never put in", vendor(func(v *toy) {
		v.limits.Encoding = ""
		v.send = func(ctx context.Context, body []byte) error {
			if e := v.post(ctx, append(bytes.Clone(body), "item-9999\n"...)); e != nil {
				return e
			}
			return nil
		}
	}), &Server{}, all)
	f("gives up", "acknowledged", vendor(func(v *toy) {
		v.send = func(ctx context.Context, _ []byte) error {
			return &exporters.Error{Class: exporters.Hold, After: 24 * time.Hour}
		}
	}), &Server{}, all)
}
