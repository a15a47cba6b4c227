package tail

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// talker writes records of several lines, as a container or as a plain file,
// and rotates at any place.
type talker struct {
	*host
	rng  *rand.Rand
	name string
	cri  bool
	n    int
	want [2][]string
	part [2]bool
	rots int
}

func (w *talker) talk(lines int) {
	w.Helper()
	var b strings.Builder
	for range lines {
		w.n++
		i, tag := 0, "F"
		if w.cri {
			i = w.rng.IntN(2)
			if w.rng.IntN(4) == 0 {
				tag = "P"
			}
		}
		last := len(w.want[i]) - 1
		text := fmt.Sprint("go on ", w.n)
		switch {
		case w.part[i]:
			w.want[i][last] += text
		case last < 0 || w.rng.IntN(3) == 0:
			text = fmt.Sprint("Begin ", w.n)
			w.want[i] = append(w.want[i], text)
		default:
			w.want[i][last] += "\n" + text
		}
		w.part[i] = tag == "P"
		if w.cri {
			fmt.Fprintf(&b, "%s %s %s ", time.Unix(1e9, int64(w.n)).UTC().Format(time.RFC3339Nano), laneNames[i], tag)
		}
		b.WriteString(text + "\n")
	}
	w.write(w.name, b.String())
}

func (w *talker) rotate() {
	w.Helper()
	w.rots++
	w.rename(w.name, fmt.Sprintf("%s.20261123-%06d", w.name, w.rots))
	w.write(w.name, "")
}

func (w *talker) check() {
	w.Helper()
	w.balance()
	for i := range laneNames {
		got := w.spool.text()
		if w.cri {
			got = w.spool.lane(laneNames[i])
		}
		if !w.cri && i == 1 {
			break
		}
		for j := range min(len(got), len(w.want[i])) {
			if got[j] != w.want[i][j] {
				w.Fatalf("record %d of %s is %q, want %q", j, laneNames[i], got[j], w.want[i][j])
			}
		}
		if len(got) != len(w.want[i]) {
			w.Fatalf("%d records of %s, want %d", len(got), laneNames[i], len(w.want[i]))
		}
	}
	ids := map[string]string{}
	for _, b := range w.spool.frames {
		for l := range b.LinesIn(0, b.Len()) {
			id := fmt.Sprint(l.Block.File, "@", l.ID)
			if old, dup := ids[id]; dup && old != string(l.Text) {
				w.Fatalf("%s names %q and %q", id, old, l.Text)
			}
			ids[id] = string(l.Text)
		}
	}
}

// Records of several lines stay whole through reads, partial lines, rotation and
// a death at any Put.
func TestRecordsOfSeveralLines(t *testing.T) {
	for _, cri := range []bool{false, true} {
		for every := range 8 {
			t.Run(fmt.Sprintf("cri=%v,every=%d", cri, every), func(t *testing.T) {
				var h *host
				w := &talker{name: "a.log", cri: cri, rng: rand.New(rand.NewPCG(7, uint64(every)))}
				if cri {
					h, w.name = newNode(t), shop
					h.cfg.Pods.Multiline = "start:^Begin"
					h.pod(shop)
				} else {
					h = newHost(t, File{Path: "a.log", Multiline: "start:^Begin"})
				}
				w.host = h
				h.cfg.MultilineWait = time.Hour
				h.start().looks(1)
				h.tick = 300 * time.Millisecond
				for range 25 {
					w.talk(w.rng.IntN(30))
					step(h, every)
					if w.rng.IntN(3) == 0 {
						w.talk(w.rng.IntN(9))
						w.rotate()
						w.talk(w.rng.IntN(4))
					}
				}
				for i := range w.part {
					if w.cri && w.part[i] {
						w.write(w.name, "2026-11-23T10:00:00Z "+laneNames[i]+" F \n")
					}
				}
				step(h, every)
				h.remove(w.name) // and after five seconds nothing is pending
				h.spool.deny = 0
				h.looks(30)
				w.check()
			})
		}
	}
}

// step looks once, and dies at every so many a Put; 0 never, 1 now and then.
func step(h *host, every int) {
	h.Helper()
	if every < 2 {
		h.looks(1)
		return
	}
	h.dies(1, 1+every, every%2 == 0)
}

func TestARecordHasBounds(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Multiline: "start:^Begin"})
	h.cfg.MaxLine = 1 << 10
	h.start().looks(1)
	h.write("a.log", "Begin\n"+strings.Repeat("x\n", maxJoined+1))
	h.write("b.log", "Begin\n"+strings.Repeat(strings.Repeat("y", 99)+"\n", 20)+strings.Repeat("z", 5000)+"\nend\n")
	h.looks(5)
	h.balance()
	var lens []int
	lines := 0
	for _, s := range h.spool.text() {
		if lens = append(lens, len(s)); len(s) > 1<<10 {
			t.Errorf("a record of %d bytes", len(s))
		}
		lines += 1 + strings.Count(s, "\n")
	}
	if want := maxJoined + 2 + 23; lines != want {
		t.Errorf("%d lines in records of %d bytes, want %d", lines, lens, want)
	}
}

func TestStackTracesOfContainers(t *testing.T) {
	h := newNode(t)
	h.cfg.Pods.Multiline = "auto"
	h.pod(shop)
	h.start().looks(1)
	trace := []string{"panic: boom", "", "goroutine 1 [running]:", "main.main()", "\t/src/main.go:7 +0x1d", "exit status 2"}
	for i, l := range trace {
		h.write(shop, fmt.Sprintf("2026-11-23T10:00:00.%09dZ stderr F %s\n", i+1, l))
		h.write(shop, fmt.Sprintf("2026-11-23T10:00:00.%09dZ stdout F {\"n\":%d}\n", i+1, i))
	}
	h.looks(4)
	h.balance()
	if got := h.spool.lane("stderr"); len(got) == 0 || !strings.HasPrefix(got[0], strings.Join(trace[:5], "\n")) {
		t.Errorf("stderr %q", got)
	}
	if got := h.spool.lane("stdout"); len(got) != len(trace) || slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "\n") }) {
		t.Errorf("stdout %q", got)
	}
}

// A stream that is loud holds back no record of the other one.
func TestAQuietStreamBesideALoudOne(t *testing.T) {
	h := newNode(t)
	h.cfg.Pods.Multiline = "start:^Begin"
	h.pod(shop)
	h.start().looks(1)
	h.write(shop, "2026-11-23T10:00:00Z stderr F Begin\n2026-11-23T10:00:00Z stderr F end\n")
	for i := range 4 {
		h.write(shop, fmt.Sprintf("2026-11-23T10:00:0%dZ stdout F Begin\n", i))
		h.looks(1)
	}
	if got := h.spool.lane("stderr"); !slices.Equal(got, []string{"Begin\nend"}) {
		t.Errorf("stderr %q", got)
	}
}
