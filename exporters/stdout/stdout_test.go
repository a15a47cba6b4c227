package stdout

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

const metrics = `a.b{k="v"} counter By 5 +2 since 1000 @2000 from 500
c gauge - NaN @2000
`

func batch(t *testing.T, k signal.Kind, text string) *signal.Batch {
	t.Helper()
	b, err := signal.Parse(k, text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTextReadsBack(t *testing.T) {
	var out bytes.Buffer
	e := New("c/metric", signal.Metric, Default(), NewWriter(&out))
	b := batch(t, signal.Metric, metrics)
	body, next, skipped := e.Encode(nil, b, 0, b.Len())
	if err := e.Send(t.Context(), body); err != nil || next != 2 || skipped != 0 {
		t.Fatal(err, next, skipped)
	}
	if out.String() != metrics {
		t.Errorf("wrote\n%s", out.String())
	}
}

func TestJSONHasALineForEachItem(t *testing.T) {
	c := Config{Format: "json"}
	f := func(k signal.Kind, text string, want ...string) {
		t.Helper()
		e := New("c", k, c, NewWriter(nil))
		b := batch(t, k, text)
		body, _, _ := e.Encode(nil, b, 0, b.Len())
		lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
		if len(lines) != len(want) {
			t.Fatalf("%d lines: %s", len(lines), body)
		}
		for i, l := range lines {
			if !json.Valid([]byte(l)) || !strings.Contains(l, want[i]) {
				t.Errorf("line %d is %s, want %s in it", i, l, want[i])
			}
		}
	}
	f(signal.Metric, metrics, `"increase":2,"kind":"metric","labels":{"k":"v"},"name":"a.b"`, `"value":"NaN"`)
	f(signal.Log, "log {s=\"t\"} \"f\" 0..4\n  @5000000000 3 \"<b>\" {x=\"y\"}\n", `"labels":{"s":"t","x":"y"},"level":3,"time":"1970-01-01T00:00:05Z"`)
	f(signal.Event, "event @1 - \"s\" \"id\" \"t\" \"x\" {} count=0 check=\"c\" status=2\n", `"check":"c","count":1,"id":"id"`)
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("closed pipe") }

func TestAClosedPipeIsTriedAgain(t *testing.T) {
	var e *exporters.Error
	err := New("c", signal.Metric, Default(), NewWriter(broken{})).Send(t.Context(), []byte("x"))
	if !errors.As(err, &e) || e.Class != exporters.Retry {
		t.Errorf("%v", err)
	}
	if (Config{Format: "xml"}).Check() == nil || Default().Check() != nil {
		t.Error("Check takes xml, or refuses the default")
	}
}
