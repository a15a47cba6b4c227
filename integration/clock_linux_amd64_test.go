package integration

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// stepper makes one running agent believe that the clock was set. Nothing is
// changed in the binary, and nothing for anybody else: Go asks the time through
// a pointer of its runtime to the kernel's vDSO, and in the agent's memory that
// pointer is turned to thirty bytes of ours behind the vDSO's code, which call
// the vDSO and add to the seconds of the wall clock what the test says.
// The monotonic clock runs on, as it does when a machine's clock is set.
type stepper struct {
	mem    *os.File
	offset int64 // where the seconds to add are
}

func stepClock(t *testing.T, n *Node) *stepper {
	t.Helper()
	f, err := elf.Open(n.bin)
	must(t, err)
	defer f.Close()
	symbols, err := f.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		t.Fatalf("%s is stripped; the clock cannot be stepped: build it without -ldflags -s, or unset CAUSEWAY_BIN", n.bin)
	}
	must(t, err)
	var pointer int64
	for _, s := range symbols {
		if s.Name == "runtime.vdsoClockgettimeSym" {
			pointer = int64(s.Value)
		}
	}
	if pointer == 0 {
		t.Fatal("this Go runtime keeps its pointer to the vDSO under another name")
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", n.PID()), os.O_RDWR, 0)
	must(t, err)
	t.Cleanup(func() { mem.Close() })
	word := make([]byte, 8)
	_, err = mem.ReadAt(word, pointer)
	must(t, err)
	clockGettime := binary.LittleEndian.Uint64(word)

	var from, to int64
	for line := range strings.Lines(readText(t, fmt.Sprintf("/proc/%d/maps", n.PID()))) {
		if strings.Contains(line, "[vdso]") {
			_, err = fmt.Sscanf(line, "%x-%x", &from, &to)
			must(t, err)
		}
	}
	if int64(clockGettime) < from || int64(clockGettime) >= to {
		t.Fatalf("the runtime asks %#x for the time, and the vDSO is at %#x to %#x", clockGettime, from, to)
	}
	text := make([]byte, to-from)
	_, err = mem.ReadAt(text, from)
	must(t, err)
	// rdi: the clock, rsi: where the time goes.
	code := []byte{
		0x57,       // push rdi
		0x56,       // push rsi
		0x48, 0xb8, // mov rax, the vDSO's function
	}
	code = binary.LittleEndian.AppendUint64(code, clockGettime)
	code = append(code,
		0x48, 0x83, 0xec, 0x08, // sub rsp, 8: the stack is aligned at a call
		0xff, 0xd0, // call rax
		0x48, 0x83, 0xc4, 0x08, // add rsp, 8
		0x5e,       // pop rsi
		0x5f,       // pop rdi
		0x85, 0xff, // test edi, edi: is it CLOCK_REALTIME
		0x75, 0x0a, // jne over the next two
		0x48, 0x8b, 0x15, 0x04, 0x00, 0x00, 0x00, // mov rdx, [what lies behind this code]
		0x48, 0x01, 0x16, // add [rsi], rdx
		0xc3, // ret
	)
	code = append(code, make([]byte, 8)...)
	// The last page of the vDSO is not full.
	room := len(bytes.TrimRight(text, "\x00"))
	room = (room + 63) &^ 63
	if room+len(code) > len(text) {
		t.Fatalf("no room behind the vDSO's %d bytes", room)
	}
	_, err = mem.WriteAt(code, from+int64(room))
	must(t, err)
	binary.LittleEndian.PutUint64(word, uint64(from)+uint64(room))
	_, err = mem.WriteAt(word, pointer)
	must(t, err)
	return &stepper{mem: mem, offset: from + int64(room) + int64(len(code)) - 8}
}

// set makes the agent's clock differ from the machine's by d.
func (s *stepper) set(t *testing.T, d time.Duration) {
	t.Helper()
	word := binary.LittleEndian.AppendUint64(nil, uint64(int64(d/time.Second)))
	_, err := s.mem.WriteAt(word, s.offset)
	must(t, err)
}

// The clock is set back and forth by an hour, with crashes in between. Nothing is
// lost, nothing is stuck until the hour has passed, and the ledger stays exact.
// What a reader sees in the order of time is the order of a wrong clock.
func TestClockThatStepsByAnHourLosesNothing(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(51, 1))
	n, v := node(t), NewVendor(t)
	n.Configure(n.Text(Plan{Active: []string{"a"}, Destinations: []string{Influx("a", v.URL, "")}, Host: time.Second}))
	first := watching(n, "a")
	l := newLoad(t, n, 10, rng)
	l.writers = append(l.writers, first)
	audit := Audit(n)
	stepped := 0
	for range either(4, 40) {
		n.Start()
		clock := stepClock(t, n)
		for range 6 {
			clock.set(t, []time.Duration{-time.Hour, 0, time.Hour, -time.Second, time.Second}[rng.IntN(5)])
			stepped++
			was := v.Distinct()
			// Not stuck: lines come on, within what a request and its waiting take.
			n.Eventually(20*time.Second, "lines come on after a step of the clock", func() bool { return v.Distinct() > was })
		}
		clock.set(t, time.Hour)
		if s := n.Status(); !s.Agent.Started.Before(time.Now()) {
			t.Errorf("started %v", s.Agent.Started)
		}
		n.Kill() // its youngest frames are an hour ahead of the next life
		v.Rest()
	}
	l.end()
	n.Start()
	total := sum(l.writers...)
	row := n.Settled(largest, "a", "log", total)
	d := Judge(v, l.writers...)
	if d.Lost+d.Visible+d.Foreign != 0 || row.In != total || row.Sent != total {
		t.Errorf("%v, and the ledger says %+v", d, row)
	}
	if d.Mixed == 0 {
		t.Error("no line was out of order: did the clock step at all?")
	}
	audit.Close(t)
	t.Logf("%d steps: %v", stepped, d)
}
