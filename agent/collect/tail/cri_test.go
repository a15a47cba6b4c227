package tail

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// newNode is a host with a folder of pods' logs.
func newNode(t *testing.T, exclude ...string) *host {
	t.Helper()
	h := newHost(t)
	h.cfg.Pods = Pods{Enabled: "auto", Path: h.logs, ExcludeNamespaces: exclude}
	return h
}

const shop = "prod_shop-1_8d6e/app/0.log"

func (h *host) pod(name string) {
	h.Helper()
	h.must(os.MkdirAll(filepath.Dir(h.path(name)), 0o755))
}

// lane returns the lines of one iostream.
func (s *spool) lane(name string) []string {
	var all []string
	for _, b := range s.frames {
		for l := range b.LinesIn(0, b.Len()) {
			if signal.Lookup(l.Block.Stream.Labels(), signal.LabelLogStream) == name {
				all = append(all, string(l.Text))
			}
		}
	}
	return all
}

func TestContainersLines(t *testing.T) {
	h := newNode(t, "kube-system")
	h.pod(shop)
	h.write(shop, "2026-11-23T10:00:00.000000001Z stdout F from before\n")
	h.pod("kube-system_dns_1/dns/0.log")
	h.write("kube-system_dns_1/dns/0.log", "2026-11-23T10:00:00Z stdout F left out\n")
	h.pod("not-a-pod/x/0.log")
	h.write("not-a-pod/x/0.log", "2026-11-23T10:00:00Z stdout F left out\n")
	h.start().looks(1)
	h.write(shop, "2026-11-23T11:00:00.5+01:00 stderr F oh\n2026-11-23T10:00:01Z stdout F \n2026-11-23T10:00:01Z stdout F same time\n")
	h.write(shop, "9999-11-23T10:00:01Z stdout F far\n0000-01-01T00:00:00Z stdout F long ago\nno record\n")
	h.looks(1)
	h.balance()
	if got, want := h.spool.lane("stdout"), []string{"from before", "", "same time", "far", "long ago", "no record"}; !slices.Equal(got, want) {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := h.spool.lane("stderr"), []string{"oh"}; !slices.Equal(got, want) {
		t.Errorf("stderr %q, want %q", got, want)
	}
	if n := h.Stats().Malformed.Load(); n != 3 {
		t.Errorf("%d malformed, want 3", n)
	}
	labels := signal.Labels(signal.LabelNamespace, "prod", signal.LabelPod, "shop-1", signal.LabelPodUID, "8d6e",
		signal.LabelK8sContainer, "app", signal.LabelLogFile, h.path(shop), signal.LabelLogStream, "stdout")
	if got := h.spool.frames[0].Logs[0].Stream.Labels(); got != labels {
		t.Errorf("labels %q, want %q", got, labels)
	}
	base := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).UnixNano()
	var times []int64
	for l := range h.spool.frames[1].LinesIn(0, 4) {
		times = append(times, l.Time-base)
	}
	if want := []int64{1e9, 1e9 + 1}; !slices.Equal(times[:2], want) {
		t.Errorf("times %d, want %d first", times, want)
	}
}

func TestPartialLinesAreJoinedPerStream(t *testing.T) {
	h := newNode(t)
	h.cfg.MaxLine = 1 << 10
	h.pod(shop)
	h.start().looks(1)
	rec := func(stream, tag, text string) {
		h.write(shop, "2026-11-23T10:00:00.123456789Z "+stream+" "+tag+" "+text+"\n")
	}
	rec("stdout", "P", "a")
	rec("stderr", "P", "x")
	h.looks(1)
	rec("stdout", "P:foo", "b")
	rec("stderr", "F", "y")
	rec("stdout", "F", "c")
	for range 3 {
		rec("stdout", "P", strings.Repeat("l", 500))
	}
	rec("stdout", "F:bar", "end")
	rec("stdout", "P", "never ended")
	h.looks(2)
	h.balance()
	long := strings.Repeat("l", 1<<10)
	if got, want := h.spool.lane("stdout"), []string{"abc", long}; !slices.Equal(got, want) {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := h.spool.lane("stderr"), []string{"xy"}; !slices.Equal(got, want) {
		t.Errorf("stderr %q, want %q", got, want)
	}
	h.remove(shop)
	h.looks(10)
	h.balance()
	if got, want := h.spool.lane("stdout"), []string{"abc", long, "never ended"}; !slices.Equal(got, want) {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if s := h.Stats(); s.CutLines.Load() != 1 || s.Cut.Load() != 1503-1<<10 {
		t.Errorf("%d lines cut by %d bytes", s.CutLines.Load(), s.Cut.Load())
	}
}

// container writes both streams, with partial lines that interleave.
type container struct {
	*host
	rng  *rand.Rand
	n    int
	part [2]string
	want [2][]string
}

func (c *container) records(n int) {
	c.Helper()
	var b strings.Builder
	for range n {
		c.n++
		i := c.rng.IntN(2)
		text := fmt.Sprintf("%s %d;", laneNames[i], c.n)
		tag := "P"
		c.part[i] += text
		if c.rng.IntN(3) > 0 {
			tag = "F"
			c.want[i] = append(c.want[i], c.part[i])
			c.part[i] = ""
		}
		fmt.Fprintf(&b, "%s %s %s %s\n", time.Unix(1e9, int64(c.n)).UTC().Format(time.RFC3339Nano), laneNames[i], tag, text)
	}
	c.write(shop, b.String())
}

func TestADeathAmongPartialLinesLosesAndRepeatsNothing(t *testing.T) {
	for _, late := range []bool{false, true} {
		for every := 2; every < 9; every++ {
			h := newNode(t)
			h.pod(shop)
			h.start().looks(1)
			h.tick = 300 * time.Millisecond
			c := &container{host: h, rng: rand.New(rand.NewPCG(5, uint64(every)))}
			for i := range 25 {
				c.records(c.rng.IntN(40))
				h.dies(1, every, late)
				if i%7 == 6 {
					c.records(c.rng.IntN(9))
					h.rename(shop, fmt.Sprintf("%s.20261123-1000%02d", shop, i))
				}
				h.balance()
			}
			c.end()
			h.dies(8, every, late)
			for i, name := range laneNames {
				got := h.spool.lane(name)
				for j := range min(len(got), len(c.want[i])) {
					if got[j] != c.want[i][j] {
						t.Fatalf("late %v, every %d: %s line %d is %q, want %q", late, every, name, j, got[j], c.want[i][j])
					}
				}
				if len(got) != len(c.want[i]) {
					t.Fatalf("late %v, every %d: %d lines of %s, want %d", late, every, len(got), name, len(c.want[i]))
				}
			}
			ids := map[string]bool{}
			for _, b := range h.spool.frames {
				for l := range b.LinesIn(0, b.Len()) {
					id := fmt.Sprint(l.Block.File, l.ID)
					if ids[id] {
						t.Fatalf("%s names two lines", id)
					}
					ids[id] = true
				}
			}
		}
	}
}

// end ends the lines that are pending.
func (c *container) end() {
	c.Helper()
	for i := range c.part {
		if c.part[i] != "" {
			c.write(shop, "2026-11-23T10:00:00Z "+laneNames[i]+" F \n")
			c.want[i] = append(c.want[i], c.part[i])
			c.part[i] = ""
		}
	}
}

func TestALineThatARotationCutsInTwo(t *testing.T) {
	for restart := range 4 {
		h := newNode(t)
		h.pod(shop)
		h.start().looks(1)
		for i, part := range []string{
			"stdout P one \n2026-11-23T10:00:00Z stderr F err\n", "stderr F err too\n", "stdout P two \n", "stdout F three\n",
		} {
			if i == 1 {
				h.rename(shop, shop+".20261123-100000")
			}
			h.write(shop, "2026-11-23T10:00:00Z "+part)
			h.looks(1)
			if i == restart {
				h.stop()
				h.start()
			}
		}
		h.looks(20)
		h.balance()
		if got, want := h.spool.lane("stdout"), []string{"one two three"}; !slices.Equal(got, want) {
			t.Errorf("restart %d: stdout %q, want %q", restart, got, want)
		}
		if got, want := h.spool.lane("stderr"), []string{"err", "err too"}; !slices.Equal(got, want) {
			t.Errorf("restart %d: stderr %q, want %q", restart, got, want)
		}
		h.stop()
		h.start().looks(20)
		if n := len(h.spool.text()); n != 3 {
			t.Errorf("restart %d: %d lines after another start, want 3", restart, n)
		}
	}
}

func TestPodsThatAreToBeThere(t *testing.T) {
	h := newNode(t)
	h.cfg.Pods.Path += "/nowhere"
	if h.start().looks(1); len(h.Refused()) != 0 {
		t.Errorf("auto: refused %+v", h.Refused())
	}
	h.stop()
	h.cfg.Pods.Enabled = "true"
	if h.start().looks(1); len(h.Refused()) != 1 || !strings.Contains(h.Refused()[0].Why, "pods.path") {
		t.Errorf("true: refused %+v", h.Refused())
	}
}

func TestStamps(t *testing.T) {
	f := func(s string) {
		t.Helper()
		got, ok := parseStamp([]byte(s))
		want, err := time.Parse(time.RFC3339Nano, s)
		if ok != (err == nil) {
			t.Errorf("%q: %v, package time says %v", s, ok, err)
		} else if ok && want.Year() >= 1678 && want.Year() <= 2261 && got != want.UnixNano() {
			t.Errorf("%q: %d, want %d", s, got, want.UnixNano())
		}
	}
	for _, s := range []string{
		"2016-10-06T00:17:09.669794202Z", "2016-10-06T00:17:09Z", "2016-10-06T00:17:09.6Z", "2016-10-06T02:17:09.669794202+02:00",
		"1970-01-01T00:00:00Z", "2000-02-29T23:59:59.999999999Z", "2100-02-28T00:00:00Z", "2100-02-29T00:00:00Z", "2024-02-29T00:00:00Z",
		"2023-02-29T00:00:00Z", "2023-04-31T00:00:00Z", "2023-12-31T00:00:00Z", "2261-12-31T23:59:59Z", "9999-01-01T00:00:00Z", "0000-01-01T00:00:00Z",
		"1969-12-31T23:59:59.5Z", "2023-13-01T00:00:00Z", "2023-00-01T00:00:00Z", "2023-01-01T24:00:00Z", "2023-01-01T00:60:00Z", "2023-01-01T00:00:60Z",
		"2023-01-01T00:00:00.Z", "2023-01-01 00:00:00Z", "", "Z", "2023-01-0aT00:00:00Z",
	} {
		f(s)
	}
	for day := time.Date(1970, 1, 1, 12, 0, 0, 1, time.UTC); day.Year() < 2262; day = day.AddDate(0, 0, 1) {
		if got, ok := parseUTC([]byte(day.Format(time.RFC3339Nano))); !ok || got != day.UnixNano() {
			t.Fatalf("%v: %d %v", day, got, ok)
		}
	}
}

// What is remembered of one stamp changes nothing about the next.
func TestStampsThatFollowEachOther(t *testing.T) {
	all := []string{
		"2026-11-23T10:00:00.1Z", "2026-11-23T10:00:00.123456789Z",
		"2026-11-23T10:00:00.000000001Z", "2026-11-23T10:00:00.9999999999Z", "2026-11-23T10:00:00.Z",
		"2026-11-23T10:00:00.12x4Z", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.5+01:00", "2026-11-23T10:00:01.5Z",
		"2026-11-23T10:00:01.5", "9999-11-23T10:00:01.5Z",
		"1960-11-23T10:00:01.5Z", "2026-02-30T10:00:01.5Z", "0000-00-00T00:00:00.0Z", "",
	}
	for _, first := range all {
		for _, then := range all {
			var s stamps
			s.parse([]byte(first))
			got, ok := s.parse([]byte(then))
			if want, good := parseStamp([]byte(then)); got != want || ok != good {
				t.Errorf("%q behind %q: %d %v, want %d %v", then, first, got, ok, want, good)
			}
		}
	}
}

func FuzzCRI(f *testing.F) {
	f.Add("2016-10-06T00:17:09.669794202Z stdout F text")
	f.Add("2016-10-06T00:17:09Z stderr P:x  a b")
	f.Add("9999-10-06T00:17:09+01:00 stderr F")
	f.Fuzz(func(t *testing.T, s string) {
		var at stamps
		rec, ok := parseCRI([]byte(s), &at)
		if again, good := parseCRI([]byte(s), &at); good != ok || again.time != rec.time {
			t.Errorf("%q: %+v %v, and seen again %+v %v", s, rec, ok, again, good)
		}
		if !ok {
			return
		}
		if !strings.HasSuffix(s, string(rec.text)) || rec.lane < 0 || rec.lane > 1 {
			t.Errorf("%q: %+v", s, rec)
		}
		stamp, _, _ := strings.Cut(s, " ")
		if want, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			t.Errorf("%q was taken: %v", s, err)
		} else if rec.time != 0 && rec.time != want.UnixNano() {
			t.Errorf("%q: %d, want %d", s, rec.time, want.UnixNano())
		}
	})
}

func TestPodsThatLiveBetweenTwoLooksAreRead(t *testing.T) {
	h := newNode(t)
	h.start().looks(1)
	pods := 20
	if os.Getenv("CAUSEWAY_SOAK") != "" {
		pods = 5000
	}
	for i := range pods {
		p := fmt.Sprintf("ns_job-%d_%d/c/0.log", i, i)
		h.pod(p)
		h.write(p, fmt.Sprintf("2026-11-23T10:00:00Z stdout F job %02d\n", i))
		h.looks(1)
		h.must(os.RemoveAll(h.path(strings.Split(p, "/")[0])))
	}
	h.looks(10)
	if n := len(h.spool.text()); n != pods {
		t.Errorf("%d lines, want %d", n, pods)
	}
	if len(h.files) != 0 || len(h.families) != 0 || h.opened != 0 || len(h.find.dirs) > 1 {
		t.Errorf("left over: %d files, %d families, %d open, %d folders", len(h.files), len(h.families), h.opened, len(h.find.dirs))
	}
}
