//go:build peers

package syslog

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What Debian's logger sends, in each of its ways.
func TestLogger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	out := newSink()
	s, _ := start(t, Config{Listen: []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0", "unixgram://" + path}}, out)
	port := func(i int) string {
		_, p, _ := net.SplitHostPort(strings.SplitN(s.Addresses()[i], "://", 2)[1])
		return p
	}
	for i, args := range [][]string{
		{"-d", "-P", port(0), "-n", "127.0.0.1", "--rfc5424"},
		{"-d", "-P", port(0), "-n", "127.0.0.1", "--rfc3164"},
		{"-T", "-P", port(1), "-n", "127.0.0.1", "--rfc5424"},
		{"-T", "-P", port(1), "-n", "127.0.0.1", "--rfc3164"},
		{"-T", "-P", port(1), "-n", "127.0.0.1", "--rfc5424", "--octet-count"},
		{"-T", "-P", port(1), "-n", "127.0.0.1", "--rfc3164", "--octet-count"},
		{"-u", path},
	} {
		run(t, "logger", append(args, "-t", "peer", "-p", "local3.warning", "-i", fmt.Sprintf("message %d", i))...)
	}
	for i, line := range out.wait(t, 7) {
		if !strings.Contains(line, " 4 message ") || !strings.Contains(line, "service.name=peer") || !strings.Contains(line, "syslog.facility=local3") {
			t.Errorf("message %d: %s", i, line)
		}
	}
	if n := s.Stats().Malformed.Load() + s.Stats().Reframed.Load(); n != 0 {
		t.Errorf("%d malformed or reframed", n)
	}
}

// What rsyslogd relays, by UDP, and by TCP in both framings: every message once.
func TestRsyslog(t *testing.T) {
	dir := t.TempDir()
	out := newSink()
	s, _ := start(t, Config{Listen: []string{"tcp://127.0.0.1:0"}}, out)
	_, at, _ := strings.Cut(s.Addresses()[0], "://")
	_, port, _ := net.SplitHostPort(at)
	const each = 5000
	lines := make([]byte, 0, each*100)
	for i := range each {
		lines = fmt.Appendf(lines, "<%d>Nov 23 13:21:01 web01 app[%d]: message %d of many\n", i%192, i, i)
	}
	input := filepath.Join(dir, "in.log")
	if err := os.WriteFile(input, lines, 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`global(workDirectory=%q)
module(load="imfile")
template(name="as" type="string" string="%%rawmsg%%")
ruleset(name="out") {
  action(type="omfwd" target="127.0.0.1" port=%q protocol="tcp" template="as" TCP_Framing="octet-counted")
  action(type="omfwd" target="127.0.0.1" port=%q protocol="tcp" template="as")
}
input(type="imfile" file=%q tag="x" ruleset="out")
`, dir, port, port, input)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	got := out.wait(t, 2*each)
	count := map[string]int{}
	for _, l := range got {
		_, text, _ := strings.Cut(l, " message ")
		text, _, _ = strings.Cut(text, " of many")
		count[text]++
	}
	for i := range each {
		if n := count[fmt.Sprint(i)]; n != 2 {
			t.Errorf("message %d came %d times", i, n)
		}
	}
	if n := s.Stats().Malformed.Load() + s.Stats().Reframed.Load(); n != 0 {
		t.Errorf("%d malformed or reframed", n)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if p, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, p)
	}
}
