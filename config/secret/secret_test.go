package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNothingPrintsASecret(t *testing.T) {
	const key = "0123456789abcdef"
	s := String(key)
	wrapped := struct{ Key String }{s}
	js, err := json.Marshal(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", s, "all", wrapped)
	outputs := []string{
		string(js), log.String(),
		fmt.Sprint(s), fmt.Sprintf("%s %v %+v %#v %q %x %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", wrapped, wrapped, wrapped), fmt.Errorf("with %w and %v", fmt.Errorf("%s", s), s).Error(),
	}
	for _, out := range outputs {
		if strings.Contains(out, key) || strings.Contains(out, fmt.Sprintf("%x", key)) {
			t.Errorf("the secret shows in %q", out)
		}
		if !strings.Contains(out, Mask) {
			t.Errorf("no mask in %q", out)
		}
	}
	if s.Reveal() != key || s.Last4() != "cdef" || String("short").Last4() != "" || fmt.Sprint(String("")) != "" {
		t.Error("Reveal, Last4 or the empty secret is wrong")
	}
}
