package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// exported returns the numbers of the frames that Export hands out.
func exported(t *testing.T, m *memFS, since time.Time) []Seq {
	t.Helper()
	var got []Seq
	if err := export(m, "/spool", since, func(seq Seq, frame []byte) error {
		if string(frame) != string(frameOf(seq, 100)) {
			t.Errorf("frame %d is %.40q", seq, frame)
		}
		got = append(got, seq)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestExportReadsBesideARunningSpoolAndChangesNothing(t *testing.T) {
	m := newMemFS()
	s := open(t, "/spool", Options{FS: m, SegmentBytes: 4096, MaxBytes: 1 << 20})
	put(t, s, 50)
	files := func() string {
		list, err := m.ReadDir("/spool")
		slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
		return fmt.Sprint(list, err)
	}
	before := files()
	got := exported(t, m, time.Time{})
	want := make([]Seq, 50)
	for i := range want {
		want[i] = Seq(i + 1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if after := files(); after != before {
		t.Errorf("%s became %s", before, after)
	}
	if got := exported(t, m, time.Now().Add(time.Hour)); got != nil {
		t.Errorf("of the future: %v", got)
	}
	stop := errors.New("enough")
	if err := export(m, "/spool", time.Time{}, func(Seq, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the reader: %v", err)
	}
	put(t, s, 1)
	if got := exported(t, m, time.Time{}); len(got) != 51 {
		t.Errorf("%d frames after one more", len(got))
	}
	m.names["/spool/"+segName(1)].data[headLen+headLen+9] ^= 1 // within the first frame
	if got := exported(t, m, time.Time{}); len(got) != 50 || got[0] != 2 {
		t.Errorf("with a damaged frame: %v", got)
	}
	if err := Export(t.TempDir()+"/nowhere", time.Time{}, nil); err == nil {
		t.Error("a spool that is not there")
	}
}
