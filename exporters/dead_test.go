package exporters

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestALetterKeepsItemsAndWords(t *testing.T) {
	dir := t.TempDir() + "/dlq"
	d, err := OpenDead(dir, MaxDead)
	if err != nil {
		t.Fatal(err)
	}
	b := numbered(7, 2, time.UnixMilli(5))
	d.Bury("dd", signal.Metric, b, &Error{Class: Permanent, Status: 400, Words: "no such unit"})
	d.Bury("dd", signal.Log, nil, &Error{Class: Partial, Status: 400, Dropped: 3, Words: "partial write"})
	letters, err := ListDead(dir)
	if err != nil || len(letters) != 2 {
		t.Fatalf("%v, %v", letters, err)
	}
	if l := letters[0]; l.Destination != "dd" || l.Kind != "metric" || l.Items != 2 || l.Status != 400 || l.Words != "no such unit" {
		t.Errorf("%+v", l)
	}
	if l := letters[1]; l.Kind != "log" || l.Items != 0 || l.Refused != 3 {
		t.Errorf("%+v", l)
	}
	_, again, err := ReadDead(dir, letters[0].ID)
	if err != nil || signal.Format(again) != signal.Format(b) {
		t.Errorf("%v, %s", err, signal.Format(again))
	}
	if _, none, err := ReadDead(dir, letters[1].ID); err != nil || none != nil {
		t.Errorf("%v, %v", none, err)
	}
	if err := d.Discard(letters[0].ID); err != nil {
		t.Error(err)
	}
	if err := d.Discard(letters[0].ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("discarded twice: %v", err)
	}
	reopened, err := OpenDead(dir, MaxDead)
	if err != nil {
		t.Fatal(err)
	}
	if err := reopened.Discard(letters[1].ID); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

func TestTheDeadLetterLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDead(dir, 2000)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		d.Bury("dd", signal.Metric, nil, &Error{Words: strings.Repeat("x", 200)})
	}
	letters, err := ListDead(dir)
	if err != nil || len(letters) < 4 || len(letters) > 6 || d.Lost() != 50-int64(len(letters)) {
		t.Errorf("%d letters, %d lost, %v", len(letters), d.Lost(), err)
	}
}

func TestAnUnreadableLetterIsShownAsSuch(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/1.dead", []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	letters, err := ListDead(dir)
	if err != nil || len(letters) != 1 || !strings.Contains(letters[0].Words, "cannot be read") {
		t.Errorf("%+v, %v", letters, err)
	}
	if _, _, err := ReadDead(dir, "../1"); err == nil {
		t.Error("an id with a path in it was followed")
	}
}

func TestReplaySendsOnceAndSaysWhatTheVendorSaid(t *testing.T) {
	v := &fakeVendor{lim: Limits{Items: 2}}
	d := &Delivery{Exporter: v}
	if err := d.Replay(t.Context(), numbered(0, 5, time.Now())); err != nil || len(v.took) != 5 {
		t.Errorf("%v, took %v", err, v.took)
	}
	v.send = func([]uint32) error { return &Error{Class: Permanent, Status: 400, Words: "still no"} }
	if err := d.Replay(t.Context(), numbered(0, 5, time.Now())); err == nil || !strings.Contains(err.Error(), "still no") {
		t.Errorf("%v", err)
	}
}
