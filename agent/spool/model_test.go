package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// model is the spool as a slice would have it, and the judge of the real one.
type model struct {
	t     testing.TB
	fs    *memFS
	s     *Spool
	o     Options
	rnd   *rand.Rand
	log   []string
	nonce uint64

	frames  map[Seq]modelFrame
	synced  Seq // newest frame that must survive a power cut
	mayRot  map[Seq]bool
	cursors map[string]*modelCursor
}

type modelFrame struct {
	frame []byte
	items int64
}

// modelCursor knows what was done with each frame, as far as that is on disk.
type modelCursor struct {
	c      *Cursor
	start  Seq
	done   map[Seq]Books
	out    map[Seq][]byte // handed out in this life: what Next returned
	handed map[Seq]bool   // handed out in a life that the file remembers
	twice  int64
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(m.log, "\n"))
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) open() {
	m.t.Helper()
	m.o.FS, m.o.SyncEvery = m.fs, -1
	s, err := Open("/spool", m.o)
	if err != nil {
		m.fatalf("Open: %v", err)
	}
	m.s = s
	if got := s.Cursors(); !slices.Equal(got, slices.Sorted(maps.Keys(m.cursors))) {
		m.fatalf("cursors %q on disk, want %q", got, slices.Sorted(maps.Keys(m.cursors)))
	}
	for name, mc := range m.cursors {
		c, err := s.Cursor(name, From{})
		if err != nil {
			m.fatalf("Cursor: %v", err)
		}
		mc.c = c
	}
}

// die ends the process without Close.
func (m *model) die() {
	m.s.closed.Store(true)
	close(m.s.quit)
	m.s.done.Wait()
}

// unfolded are frames whose Done is in memory only, because one before is not done.
func (m *model) unfolded(c *Cursor) map[Seq]bool {
	out := map[Seq]bool{}
	for _, sp := range c.spans {
		for _, t := range sp.tiles {
			if t.done {
				out[t.from.seq] = true
			}
		}
	}
	return out
}

// reborn brings the model's cursors in line with what the file of each one
// remembers, and checks that it remembers all it must.
func (m *model) reborn(was map[string]map[Seq]bool, cut bool) {
	for name, mc := range m.cursors {
		mc.out = map[Seq][]byte{}
		handed := map[Seq]bool{}
		for _, sp := range mc.c.spans {
			for seq := sp.lo.seq; seq < sp.end(m.s.head).seq; seq++ {
				if _, ok := mc.done[seq]; ok {
					if !cut && !was[name][seq] {
						m.fatalf("cursor %s has forgotten that frame %d is done", name, seq)
					}
					delete(mc.done, seq)
				}
				if seq < sp.seen.seq {
					handed[seq] = true
				} else if !cut && mc.handed[seq] && m.frames[seq].frame != nil {
					m.fatalf("cursor %s has forgotten that frame %d was handed out", name, seq)
				}
			}
		}
		mc.handed = handed
		if cut {
			// What came behind the newest frame is forgotten by all, so its
			// numbers are free.
			maps.DeleteFunc(mc.done, func(seq Seq, _ Books) bool { return seq > m.s.Newest() })
			mc.twice = mc.c.Lag().Books.Twice
			if mc.c.start.seq != mc.start {
				m.fatalf("cursor %s begins at %d, not at %d", name, mc.c.start.seq, mc.start)
			}
		}
	}
}

func (m *model) restart(how string) {
	was := map[string]map[Seq]bool{}
	for name, mc := range m.cursors {
		was[name] = m.unfolded(mc.c)
	}
	newest := m.s.Newest()
	inMemory := len(m.s.mem) > 0 || m.s.tailGap == Evicted
	headless := m.s.headBad // the disk has been full from the first
	switch how {
	case "close":
		if err := m.s.Close(); err != nil && !inMemory {
			m.fatalf("Close: %v", err)
		}
		inMemory = len(m.s.mem) > 0 || inMemory
	case "kill":
		m.die()
		m.fs.kill()
	case "cut":
		m.die()
		m.fs.powerCut(m.rnd)
	}
	if inMemory {
		for seq := m.diskEnd(); seq <= newest; seq++ {
			m.mayRot[seq] = true
		}
	}
	if how == "cut" {
		for seq := m.synced + 1; seq <= newest; seq++ {
			m.mayRot[seq] = true
		}
	}
	m.open()
	if how != "cut" && !headless && m.s.Newest() != newest {
		m.fatalf("newest frame is %d, was %d", m.s.Newest(), newest)
	}
	if m.s.Newest() < m.synced {
		m.fatalf("newest frame is %d, but %d was synced", m.s.Newest(), m.synced)
	}
	for seq := range m.frames {
		if seq > m.s.Newest() {
			delete(m.frames, seq) // its number was never known to anybody who is left
			delete(m.mayRot, seq)
		}
	}
	m.reborn(was, how == "cut")
	m.note("  newest %d, items %d, in segments %d to %v", m.s.Newest(), m.s.head.total, len(m.s.segs), m.diskEnd())
}

// diskEnd is the first frame that the disk does not have.
func (m *model) diskEnd() Seq {
	if n := len(m.s.segs); n > 0 && m.s.segs[n-1].end.seq != 0 {
		return m.s.segs[n-1].end.seq
	}
	return 1
}

func (m *model) append(n int) {
	m.nonce++
	frame := binary.LittleEndian.AppendUint64(make([]byte, 0, n+8), m.nonce)
	for len(frame) < n {
		frame = append(frame, byte(m.nonce))
	}
	items := int64(m.nonce % 4)
	m.s.app.Lock()
	seq, full, err := m.s.appendLocked(frame, int(items))
	m.s.app.Unlock()
	if full != nil {
		if m.o.WhenFull != Wait {
			m.fatalf("Append waits though its policy is to drop")
		}
		m.note("append: full")
		return
	}
	if err != nil {
		m.fatalf("Append: %v", err)
	}
	if m.frames[seq].frame != nil {
		m.fatalf("frame number %d is given out twice", seq)
	}
	m.frames[seq] = modelFrame{frame, items}
	m.note("append: %d, %d items", seq, items)
}

func (m *model) next(name string, mc *modelCursor, l *Lane) bool {
	seq, frame, ok, err := l.TryNext()
	if err != nil {
		m.fatalf("TryNext: %v", err)
	}
	if !ok {
		return false
	}
	m.note("%s next: %d", name, seq)
	if !bytes.Equal(frame, m.frames[seq].frame) {
		m.fatalf("frame %d reads %q, was %q", seq, frame, m.frames[seq].frame)
	}
	if _, ok := mc.done[seq]; ok || mc.out[seq] != nil {
		m.fatalf("frame %d is handed out again", seq)
	}
	if mc.handed[seq] {
		mc.twice += m.frames[seq].items
	}
	mc.out[seq], mc.handed[seq] = frame, true
	return true
}

func (m *model) doneOne(name string, mc *modelCursor, pick byte) {
	if len(mc.out) == 0 {
		return
	}
	seqs := slices.Sorted(maps.Keys(mc.out))
	seq := seqs[int(pick)%len(seqs)]
	var b Books
	b.Items[Fate(pick)%Evicted] = m.frames[seq].items
	m.note("%s done: %d", name, seq)
	if !bytes.Equal(mc.out[seq], m.frames[seq].frame) {
		m.fatalf("frame %d has changed while it was handed out", seq)
	}
	if err := mc.c.Live().Done(seq, b); err != nil {
		m.fatalf("Done: %v", err)
	}
	delete(mc.out, seq)
	mc.done[seq] = b
}

// check compares everything that is known of the cursors.
func (m *model) check() {
	m.t.Helper()
	synctest.Wait()
	for name, mc := range m.cursors {
		l := mc.c.Lag()
		if l.In != l.Books.Sum()+l.Waiting || l.Waiting < 0 {
			m.fatalf("cursor %s: in %d, booked %v, waiting %d", name, l.In, l.Books, l.Waiting)
		}
		want := Books{Twice: mc.twice}
		for _, b := range mc.done {
			want.Add(b)
		}
		want.Items[Evicted], want.Items[Damaged] = l.Books.Items[Evicted], l.Books.Items[Damaged]
		if l.Books != want {
			m.fatalf("cursor %s: books %v, want %v", name, l.Books, want)
		}
		if (m.o.WhenFull == Wait || m.o.MaxBytes == 0) && m.o.MemoryBytes == 0 && l.Books.Items[Evicted] > 0 {
			m.fatalf("cursor %s: %d items evicted though nothing may be", name, l.Books.Items[Evicted])
		}
		var rot int64
		for seq := range m.mayRot {
			if seq >= mc.start {
				rot += m.frames[seq].items
			}
		}
		if (m.o.MaxBytes == 0 || m.o.WhenFull == Wait) && m.o.MemoryBytes == 0 && l.Books.Items[Damaged] > rot {
			m.fatalf("cursor %s: %d items damaged, of which only %d could be", name, l.Books.Items[Damaged], rot)
		}
	}
}

// step does what two bytes say.
func (m *model) step(op, arg byte) {
	names := []string{"a", "b", "c/log"}
	name := names[int(arg)%len(names)]
	mc := m.cursors[name]
	switch op % 16 {
	case 0, 1, 2, 3:
		m.append(int(arg) * 2)
	case 4:
		m.note("sync")
		if err := m.s.Sync(); err == nil {
			m.synced = max(m.synced, m.s.Newest())
		} else if !m.fs.full() && m.s.Stats().MemoryFrames == 0 {
			m.fatalf("Sync: %v", err)
		}
	case 5, 6, 7:
		if mc != nil {
			m.next(name, mc, mc.c.Live())
		}
	case 8:
		if mc != nil {
			m.next(name, mc, mc.c.Backlog())
		}
	case 9, 10:
		if mc != nil {
			m.doneOne(name, mc, arg>>2)
		}
	case 11:
		if mc != nil {
			m.note("%s split: %v", name, mc.c.Split())
		}
	case 12:
		m.cursorOp(name, mc, arg)
	case 13:
		how := []string{"close", "kill", "kill", "cut"}[arg%4]
		m.note("%s", how)
		m.restart(how)
	case 14:
		room := []int64{-1, 0, 300}[arg%3]
		m.fs.setRoom(room)
		m.note("room on the disk: %d", room)
	case 15:
		m.note("time passes")
		time.Sleep(time.Duration(arg) * 20 * time.Millisecond)
	}
}

func (m *model) cursorOp(name string, mc *modelCursor, arg byte) {
	full := m.fs.full()
	switch {
	case mc == nil && !full: // a cursor made on a full disk is not on disk, and says so
		from := From{Oldest: arg&4 != 0}
		c, err := m.s.Cursor(name, from)
		if err != nil {
			m.fatalf("Cursor: %v", err)
		}
		m.note("%s begins at %d", name, c.start.seq)
		m.cursors[name] = &modelCursor{c: c, start: c.start.seq, done: map[Seq]Books{}, out: map[Seq][]byte{}, handed: map[Seq]bool{}}
	case mc == nil:
	case arg&8 != 0:
		l := mc.c.Lag()
		l.Books.Items[Evicted] += l.Waiting
		books, in, err := m.s.Forget(name)
		if err != nil || books != l.Books || in != l.In || in != books.Sum() {
			m.fatalf("Forget: %v of %d, %v; want %v of %d", books, in, err, l.Books, l.In)
		}
		if err := m.s.Sync(); err == nil { // so that a power cut does not bring it back
			m.synced = max(m.synced, m.s.Newest())
		}
		delete(m.cursors, name)
		m.note("%s forgotten", name)
	default:
		was := map[string]map[Seq]bool{name: m.unfolded(mc.c)}
		old := mc.c
		c, err := m.s.Cursor(name, From{})
		if err != nil {
			m.fatalf("Cursor: %v", err)
		}
		if _, _, _, err := old.Live().TryNext(); !errors.Is(err, ErrClosed) {
			m.fatalf("a cursor opened anew leaves the old one open: %v", err)
		}
		mc.c = c
		one := &model{t: m.t, s: m.s, log: m.log, frames: m.frames, cursors: map[string]*modelCursor{name: mc}}
		one.reborn(was, false)
		m.note("%s opened anew", name)
	}
}

// drain reads and settles everything, after which nothing may wait.
func (m *model) drain() {
	m.fs.setRoom(-1)
	time.Sleep(3 * time.Second) // for what is in memory to get to the disk
	m.note("drain")
	for name, mc := range m.cursors {
		for m.next(name, mc, mc.c.Backlog()) || m.next(name, mc, mc.c.Live()) {
		}
		for len(mc.out) > 0 {
			m.doneOne(name, mc, 7)
		}
	}
	time.Sleep(3 * time.Second) // for the disk to be tried again now that there is room
	m.check()
	for name, mc := range m.cursors {
		if l := mc.c.Lag(); l.Waiting != 0 || l.Frames != 0 || l.Ranges != 1 {
			m.fatalf("cursor %s: drained, and yet %+v", name, l)
		}
	}
	if len(m.cursors) > 0 && m.s.Stats().Segments > 1 && m.o.Retain == 0 {
		m.fatalf("%d segments stay though every cursor is past them", m.s.Stats().Segments)
	}
	if st := m.s.Stats(); st.Degraded != "" || st.BadSegments+st.BadCursors > 0 && len(m.mayRot) == 0 {
		m.fatalf("at the end: %+v", st)
	}
}

// runModel plays a script: a byte that chooses the options, then pairs of bytes.
func runModel(t *testing.T, script []byte) {
	if len(script) < 2 {
		return
	}
	synctest.Test(t, func(t *testing.T) {
		m := &model{
			t: t, fs: newMemFS(), rnd: rand.New(rand.NewPCG(uint64(script[1]), 1)),
			frames: map[Seq]modelFrame{}, mayRot: map[Seq]bool{}, cursors: map[string]*modelCursor{},
			o: Options{SegmentBytes: 700},
		}
		if script[0]&1 != 0 {
			m.o.MaxBytes = 4000
		}
		if script[0]&2 != 0 {
			m.o.WhenFull = Wait
		}
		if script[0]&4 != 0 {
			m.o.MemoryBytes = 1000
		}
		if script[0]&8 != 0 {
			m.o.Retain = time.Hour
		}
		m.open()
		defer func() { m.s.Close() }()
		for i := 2; i+1 < len(script); i += 2 {
			m.step(script[i], script[i+1])
			m.check()
		}
		m.drain()
	})
}

func TestTheSpoolIsTheModel(t *testing.T) {
	runs, length := 400, 300
	if testing.Short() {
		runs = 100
	}
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		script := make([]byte, 2+2*r.IntN(length))
		for i := range script {
			script[i] = byte(r.IntN(256))
		}
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, script) }) {
			return
		}
	}
}

func FuzzModel(f *testing.F) {
	for seed := range byte(8) {
		r := rand.New(rand.NewPCG(uint64(seed), 9))
		script := []byte{seed, seed}
		for range 120 {
			script = append(script, byte(r.IntN(256)))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1200 {
			return // longer ones find nothing that shorter ones do not
		}
		runModel(t, script)
	})
}
