package forward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// sink keeps the lines it is given, or refuses them.
type sink struct {
	mu    sync.Mutex
	lines []string
	ids   map[string]bool
	err   error
	gate  chan struct{} // if not nil, each Put waits for it
	got   chan int
}

func newSink() *sink { return &sink{ids: map[string]bool{}, got: make(chan int, 1000)} }

func (s *sink) Put(ctx context.Context, b *signal.Batch) error {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	for l := range b.LinesIn(0, b.Len()) {
		id := fmt.Sprint(l.Block.File, l.ID)
		if s.ids[id] || l.ID >= l.Block.End {
			return fmt.Errorf("BUG: the id %s comes twice", id)
		}
		s.ids[id] = true
		s.lines = append(s.lines, fmt.Sprintf("%s @%d %d %s %s", labels(l.Block.Stream.Labels()), l.Time, l.Level, l.Text, labels(string(l.Attrs))))
	}
	s.got <- b.Len()
	return nil
}

func (s *sink) wait(t *testing.T, n int) []string {
	t.Helper()
	for n > 0 {
		n -= <-s.got
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.lines)
	slices.Sort(list)
	return list
}

func labels(set string) string {
	var w []string
	for k, v := range signal.Walk(set) {
		w = append(w, k+"="+v)
	}
	return "{" + strings.Join(w, " ") + "}"
}

// start runs a Source.
func start(t *testing.T, c Config, out *sink) (s *Source, stop func()) {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	s = New(c, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ls, err := s.bind(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, ls, out) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.balance(t)
	})
	t.Cleanup(stop)
	return s, stop
}

func (s *Source) balance(t *testing.T) {
	t.Helper()
	st := s.Stats()
	if st.Records.Load() != st.Lines.Load()+st.Malformed.Load()+st.Empty.Load() || st.Lines.Load() != st.Items.Load()+st.Lost.Load() || s.held.Load() != 0 {
		t.Errorf("the books do not balance: %d records, %d lines, %d malformed, %d empty, %d items, %d lost, %d bytes held",
			st.Records.Load(), st.Lines.Load(), st.Malformed.Load(), st.Empty.Load(), st.Items.Load(), st.Lost.Load(), s.held.Load())
	}
}

func dial(t *testing.T, s *Source) net.Conn {
	t.Helper()
	network, at, _ := strings.Cut(s.Addresses()[0], "://")
	c, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func config() Config {
	c := Default()
	c.Listen = []string{"tcp://127.0.0.1:0"}
	return c
}

// pack writes a value as MessagePack: what a sender does.
func pack(v any) []byte {
	var p []byte
	switch v := v.(type) {
	case nil:
		return []byte{0xc0}
	case bool:
		return packBool(nil, v)
	case string:
		return packText(nil, v)
	case []byte: // bin
		return append(binary.BigEndian.AppendUint32([]byte{0xc6}, uint32(len(v))), v...)
	case int:
		return binary.BigEndian.AppendUint64([]byte{0xd3}, uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64([]byte{0xcb}, math.Float64bits(v))
	case eventTime:
		p = binary.BigEndian.AppendUint32([]byte{0xd7, 0}, v.s)
		return binary.BigEndian.AppendUint32(p, v.ns)
	case []any:
		p = binary.BigEndian.AppendUint32([]byte{0xdd}, uint32(len(v)))
		for _, x := range v {
			p = append(p, pack(x)...)
		}
		return p
	case m: // pairs
		p = binary.BigEndian.AppendUint16([]byte{0xde}, uint16(len(v)/2))
		for _, x := range v {
			p = append(p, pack(x)...)
		}
		return p
	case raw:
		return v
	}
	panic(fmt.Sprintf("BUG: %T", v))
}

type (
	m         []any // a map: key, value, key, value
	raw       []byte
	eventTime struct{ s, ns uint32 }
)

func zip(p []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(p)
	z.Close()
	return b.Bytes()
}

// send gives p to a connection as its whole input.
func send(t *testing.T, c Config, out *sink, p []byte) (s *Source, answer []byte, err error) {
	t.Helper()
	s = New(c, slog.New(slog.DiscardHandler))
	b := s.newBatcher(t.Context(), out)
	var w bytes.Buffer
	x := &conn{b: b, r: bufio.NewReader(bytes.NewReader(p)), w: &w}
	for err == nil {
		err = x.next()
	}
	b.flush()
	s.balance(t)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return s, w.Bytes(), err
}

func TestEveryModeCarriesRecords(t *testing.T) {
	at := eventTime{1_795_000_000, 7}
	a, b := m{"log", "one", "n", 5}, m{"message", "two"}
	two := slices.Concat(pack([]any{at, a}), pack([]any{1_795_000_001, b}))
	want := []string{
		"{fluent.tag=t} @1795000000000000007 255 one {n=5}",
		"{fluent.tag=t} @1795000001000000000 255 two {}",
	}
	for name, msg := range map[string][]byte{
		"Message":                 slices.Concat(pack([]any{"t", at, a}), pack([]any{"t", 1_795_000_001, b, m{"x", 1}})),
		"Forward":                 pack([]any{"t", []any{[]any{at, a}, []any{1_795_000_001, b}}}),
		"PackedForward":           pack([]any{"t", two, m{"size", 2}}),
		"PackedForward as str":    pack([]any{"t", string(two), nil}),
		"CompressedPackedForward": pack([]any{"t", zip(two), m{"compressed", "gzip"}}),
		"compressed, two members": pack([]any{"t", slices.Concat(zip(pack([]any{at, a})), zip(pack([]any{1_795_000_001, b}))), m{"compressed", "gzip"}}),
		"with metadata":           pack([]any{"t", []any{[]any{[]any{at, m{"k", "v"}}, a}, []any{[]any{1_795_000_001, m{}}, b}}}),
		"with heartbeats":         slices.Concat(pack(nil), pack([]any{"t", two}), pack(nil)),
		"other forms of a time":   pack([]any{"t", []any{[]any{raw(append([]byte{0xc7, 8}, pack(at)[1:]...)), a}, []any{1_795_000_001.0, b}}}),
	} {
		out := newSink()
		_, answer, err := send(t, config(), out, msg)
		slices.Sort(out.lines)
		if err != nil || !slices.Equal(out.lines, want) || len(answer) != 0 {
			t.Errorf("%s: %v\n%s", name, err, strings.Join(out.lines, "\n"))
		}
	}
}

func TestRecordsBecomeLines(t *testing.T) {
	f := func(record any, want string) {
		t.Helper()
		c := config()
		c.Service, c.Tags = "shop", []string{"team:infra"}
		out := newSink()
		_, _, err := send(t, c, out, pack([]any{"kube.x", eventTime{5, 0}, record}))
		if err != nil || len(out.lines) != 1 || out.lines[0] != want {
			t.Errorf("%v: %v\ngot  %q\nwant %q", record, err, out.lines, want)
		}
	}
	base := "{fluent.tag=kube.x service.name=shop team=infra} @5000000000 "
	f(m{"log", "text\n"}, base+"255 text {}")
	f(m{"msg", "c", "message", "b", "log", "a"}, base+"255 a {}")
	f(m{"message", "b", "level", "WARN"}, base+"4 b {}")
	f(m{"message", "b", "level", 30}, base+"255 b {level=30}")
	f(m{"message", "x", "b", true, "f", 1.5, "nil", nil, "list", []any{1, "a"}, "deep", m{"er", m{"x", -1}}},
		base+`255 x {b=true deep.er.x=-1 f=1.5 list=[1,"a"]}`)
	f(m{"a", "b", "n", m{"c", []byte{0xff}}}, base+`255 {"a":"b","n":{"c":"/w=="}} {}`)
	f(m{"log", m{"a", 1}}, base+`255 {"log":{"a":1}} {}`)
	f(m{"log", "\xff"}, base+"255 \uFFFD {}")
	f(m{1, 2, "log", "x", "k", "1", "k", "2"}, base+"255 x {k=2}")
	f(m{"log", "x", "container_id", "abc", "container_name", "/web", "source", "stderr"},
		"{container.id=abc container.name=web fluent.tag=kube.x log.iostream=stderr service.name=shop team=infra} @5000000000 255 x {}")
	f(m{"log", "x", "source", "syslog"}, base+"255 x {source=syslog}")
	f(m{"log", "x", "kubernetes", m{"pod_name", "p", "namespace_name", "n", "pod_id", "u", "host", "h", "container_name", "c", "docker_id", "d",
		"container_image", "i", "labels", m{"app", "a"}, "annotations", m{"x", "y"}, "container_hash", "z"}},
		"{container.id=d container.image.name=i fluent.tag=kube.x k8s.container.name=c k8s.namespace.name=n k8s.node.name=h k8s.pod.name=p k8s.pod.uid=u "+
			"service.name=shop team=infra} @5000000000 255 x {}")
}

func TestAChunkIsAcknowledgedOnceTheSinkHasIt(t *testing.T) {
	msg := pack([]any{"t", pack([]any{5, m{"log", "x"}}), m{"chunk", "id1"}})
	out := newSink()
	s, answer, err := send(t, config(), out, msg)
	if err != nil || string(answer) != "\x81\xa3ack\xa3id1" || s.Stats().Acked.Load() != 1 || len(out.lines) != 1 {
		t.Errorf("%v, answer %q, lines %q", err, answer, out.lines)
	}
	out = newSink()
	out.err = errors.New("closed")
	s, answer, err = send(t, config(), out, msg)
	if !errors.Is(err, errSink) || len(answer) != 0 || s.Stats().Acked.Load() != 0 || s.Stats().Lost.Load() != 1 {
		t.Errorf("the Sink refused it: %v, answer %q", err, answer)
	}
	// While the Sink holds it up, there is no answer.
	out = newSink()
	out.gate = make(chan struct{})
	src, _ := start(t, config(), out)
	c := dial(t, src)
	c.Write(msg)
	first := make(chan byte)
	go func() {
		p := make([]byte, 9)
		n, _ := io.ReadFull(c, p)
		first <- byte(n)
	}()
	select {
	case <-first:
		t.Error("acknowledged before Put returned")
	case out.gate <- struct{}{}:
	}
	if n := <-first; n != 9 {
		t.Errorf("%d bytes of an answer", n)
	}
}

func TestWhatIsNoRecordIsLeftOutAlone(t *testing.T) {
	out := newSink()
	s, _, err := send(t, config(), out, pack([]any{"t", []any{
		[]any{5, m{"log", "good"}}, []any{5, "text"}, "x", []any{5}, []any{"time", m{"log", "x"}}, []any{5, m{"log", "\n"}}, []any{6, m{"log", "good too"}},
	}}))
	if err != nil || len(out.lines) != 2 || s.Stats().Malformed.Load() != 4 || s.Stats().Empty.Load() != 1 {
		t.Errorf("%v, %q, malformed %d, empty %d", err, out.lines, s.Stats().Malformed.Load(), s.Stats().Empty.Load())
	}
	s, _, err = send(t, config(), newSink(), pack([]any{"t", []byte("\x92metrics"), m{"fluent_signal", 1}}))
	if err != nil || s.Stats().Foreign.Load() != 1 {
		t.Errorf("metrics: %v", err)
	}
}

func TestWhatIsNoMessageEndsTheConnection(t *testing.T) {
	c := config()
	c.MaxChunk = 64 << 10
	for name, f := range map[string]struct {
		p    []byte
		want error
	}{
		"HTTP":                     {[]byte("GET / HTTP/1.1\r\n\r\n"), errProtocol},
		"no value":                 {[]byte{0xc1}, errMsgpack},
		"no tag":                   {pack([]any{1, 2, m{}}), errProtocol},
		"too few":                  {pack([]any{"t", 5}), errProtocol},
		"too many":                 {pack([]any{"t", 5, m{}, m{}, 1}), errProtocol},
		"an option that is none":   {pack([]any{"t", []any{}, 5}), errProtocol},
		"an unknown compression":   {pack([]any{"t", "x", m{"compressed", "zstd"}}), errProtocol},
		"no gzip":                  {pack([]any{"t", "x", m{"compressed", "gzip"}}), errProtocol},
		"a long string":            {append([]byte{0x92, 0xdb}, 0, 2, 0, 0), errTooLong},
		"a string without end":     {[]byte{0xdb, 0xff, 0xff, 0xff, 0xff}, errTooLong},
		"an array without end":     {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, errTooLong},
		"packed entries cut short": {pack([]any{"t", "\x92\x05"}), errProtocol},
		"gzip that grows":          {pack([]any{"t", zip(bytes.Repeat([]byte{0xc0}, 64*64<<10+1)), m{"compressed", "gzip"}}), errTooLong},
	} {
		if _, _, err := send(t, c, newSink(), f.p); !errors.Is(err, f.want) {
			t.Errorf("%s: %v, want %v", name, err, f.want)
		}
	}
}

func TestWhatHoldsTooMuchInAllIsRefused(t *testing.T) {
	s := New(config(), slog.New(slog.DiscardHandler))
	s.held.Store(heldMost)
	x := &conn{b: s.newBatcher(t.Context(), newSink()), r: bufio.NewReader(bytes.NewReader(pack([]any{"t", make([]byte, 2<<20)})))}
	if err := x.next(); !errors.Is(err, errBusy) || s.held.Load() != heldMost {
		t.Errorf("%v, %d held", err, s.held.Load())
	}
}

func TestFieldsWithoutRoomAreCounted(t *testing.T) {
	record := m{"log", "x"}
	for i := range 40 {
		record = append(record, fmt.Sprintf("k%02d", i), strings.Repeat("v", 50))
	}
	record = append(record, strings.Repeat("k", 65), "v")
	out := newSink()
	s, _, err := send(t, config(), out, pack([]any{"t", 5, record}))
	if err != nil || s.Stats().Left.Load() != 9 || strings.Count(out.lines[0], "=v") != 32 {
		t.Errorf("%v, %d left out: %q", err, s.Stats().Left.Load(), out.lines)
	}
}

func TestSharedKey(t *testing.T) {
	c := config()
	c.SharedKey = "secret"
	out := newSink()
	s, stop := start(t, c, out)
	try := func(key string) (ok bool) {
		t.Helper()
		n := dial(t, s)
		r := bufio.NewReader(n)
		read := func() *decoder {
			p, err := copyValue(nil, r, 1<<16, func(int) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			d := &decoder{p: p}
			d.count(false)
			return d
		}
		d := read()
		if string(d.text()) != "HELO" || d.count(true) != 3 || string(d.text()) != "nonce" {
			t.Fatal("no HELO")
		}
		nonce := string(d.text())
		n.Write(pack([]any{"PING", "me", "salt", digestOf("salt", "me", nonce, key), "", ""}))
		d = read()
		if string(d.text()) != "PONG" {
			t.Fatal("no PONG")
		}
		ok = d.peek() == 0xc3
		d.skip()
		reason, host, digest := string(d.text()), string(d.text()), string(d.text())
		if ok && digest != digestOf("salt", host, nonce, key) || ok != (reason == "") {
			t.Errorf("PONG %q %q %q", reason, host, digest)
		}
		n.Write(pack([]any{"t", 5, m{"log", "by " + key}}))
		n.Close()
		return ok
	}
	if try("guess") {
		t.Error("a wrong key was taken")
	}
	if !try("secret") {
		t.Error("the right key was not taken")
	}
	if got := out.wait(t, 1); len(got) != 1 || !strings.Contains(got[0], "by secret") {
		t.Errorf("%q", got)
	}
	stop()
	if s.Stats().Denied.Load() != 1 {
		t.Errorf("%d denied", s.Stats().Denied.Load())
	}
}

func TestUnixSocketsAndTheEnd(t *testing.T) {
	c := config()
	c.Listen = []string{"unix://" + filepath.Join(t.TempDir(), "s")}
	out := newSink()
	s, stop := start(t, c, out)
	n := dial(t, s)
	n.Write(pack([]any{"t", 5, m{"log", "x"}}))
	stop() // what waits is handed over
	if got := s.Stats().Items.Load(); got != 1 {
		t.Errorf("%d lines", got)
	}
}

func TestConfigComplaints(t *testing.T) {
	if err := Default().Check(); err != nil {
		t.Error(err)
	}
	c := Config{Listen: []string{"24224", "tcp://x", "unix://x", "tls://:1", "tls://:1"}, Tags: []string{"x"}, TLS: TLS{KeyFile: "x"}}
	for _, key := range []string{"listen[0]:", "listen[1]:", "listen[2]:", "listen[4]:", "tags[0]:", "max_chunk:", "max_line:", "tls.cert_file:"} {
		if !strings.Contains("\n"+c.Check().Error(), "\n"+key) {
			t.Errorf("no complaint about %s in\n%v", key, c.Check())
		}
	}
}

// FuzzGreeting: whatever a peer says, it is not let in without the key.
func FuzzGreeting(f *testing.F) {
	ping := packText([]byte{0x96}, "PING")
	for _, s := range []string{"host", "salt", "digest", "", ""} {
		ping = packText(ping, s)
	}
	f.Add(ping)
	f.Add([]byte{0x96, 0xa4, 'P', 'I', 'N', 'G'})
	f.Fuzz(func(t *testing.T, p []byte) {
		if err := greet(bufio.NewReader(bytes.NewReader(p)), io.Discard, "key"); err == nil {
			t.Errorf("%q was let in", p)
		}
	})
}

// FuzzMessages: no bytes make it panic or loop; the books balance; labels are
// flat sets.
func FuzzMessages(f *testing.F) {
	at := eventTime{5, 5}
	rec := m{"log", "x", "a", m{"b", []any{1, nil, 2.5}}, "kubernetes", m{"pod_name", "p"}}
	f.Add(pack([]any{"t", at, rec}))
	f.Add(pack([]any{"t", []any{[]any{at, rec}}, m{"chunk", "c"}}))
	f.Add(pack([]any{"t", pack([]any{at, rec}), m{"size", 1}}))
	f.Add(pack([]any{"t", zip(pack([]any{at, rec})), m{"compressed", "gzip"}}))
	f.Add([]byte{0x93, 0xa1, 't', 5, 0x81, 0xa3, 'l', 'o', 'g', 0xc4, 1, 'x'})
	f.Fuzz(func(t *testing.T, p []byte) {
		out := newSink()
		out.got = make(chan int, 1<<16)
		c := config()
		c.MaxChunk = 64 << 10
		send(t, c, out, p)
		// A record that can be read is JSON.
		d := decoder{p: p}
		if text := d.appendJSON(nil, 0); !d.bad && !json.Valid(text) {
			t.Errorf("%q is no JSON", text)
		}
	})
}

func BenchmarkPackedForward(b *testing.B) {
	var entries []byte
	for i := range 1000 {
		entries = append(entries, pack([]any{eventTime{1_795_000_000, uint32(i)}, m{"log", strings.Repeat("x", 200), "stream", "stdout",
			"kubernetes", m{"pod_name", "p", "namespace_name", "n", "pod_id", "u", "labels", m{"app", "a"}}}})...)
	}
	msg := pack([]any{"kube.x", entries, m{"chunk", "c"}})
	s := New(config(), slog.New(slog.DiscardHandler))
	bt := s.newBatcher(b.Context(), discard{})
	in := bytes.NewReader(nil)
	x := &conn{b: bt, r: bufio.NewReader(in), w: io.Discard}
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		in.Reset(msg)
		if err := x.next(); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Put(context.Context, *signal.Batch) error { return nil }
