package host

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestMatch(t *testing.T) {
	f := func(pattern, name string, want bool) {
		t.Helper()
		if got := match(pattern, name); got != want {
			t.Errorf("match(%q, %q) = %v", pattern, name, got)
		}
	}
	f("lo", "lo", true)
	f("lo", "loop0", false)
	f("loop*", "loop", true)
	f("loop*", "loop12", true)
	f("/var/lib/*/pods/*", "/var/lib/kubelet/pods/1/2", true)
	f("*a*b", "xaybzb", true)
	f("*a*b", "xaybz", false)
	f("sd?", "sda", true)
	f("sd?", "sda1", false)
	f("*", "", true)
	f("", "", true)
	f("", "a", false)
	f("?", "", false)
	f(strings.Repeat("*a", 20)+"b", strings.Repeat("a", 2000), false)
}

func TestParseDecimal(t *testing.T) {
	f := func(text string, want float64) {
		t.Helper()
		got, err := parseDecimal([]byte(text))
		if math.IsNaN(want) != (err != nil) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	bad := math.NaN()
	f("0", 0)
	f("1943.15", 1943.15)
	f("-1", -1)
	f("18446744073709551615", 1<<64)
	f("0.005", 0.005)
	f("18446744073709551616", bad)
	f("", bad)
	f("-", bad)
	f(".5", bad)
	f("1.", bad)
	f("1e3", bad)
	f("+1", bad)
	f("1.5.2", bad)
}

func TestParseProcState(t *testing.T) {
	f := func(text string, want int) {
		t.Helper()
		if got, _ := parseProcState([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	f("1 (systemd) S 0 1", procSleeping)
	f("2 (a) R (b) D 1", procBlocked)
	f("2 () Z", procDefunct)
	f("2 (x) t 1", procStopped)
	f("2 (x) I 1", procIdle)
	f("2 (x) R", procRunning)
	f("2 (x) ?", -1)
	f("2 (x)", -1)
	f("2 (x) ", -1)
	f("", -1)
}

func TestParseOSRelease(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := parseOSRelease(text)["NAME"]; got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	f("NAME=Fedora", "Fedora")
	f("A=b\n  NAME=\"Debian GNU/Linux\"\r\n", "Debian GNU/Linux")
	f("NAME='a b'\n", "a b")
	f(`NAME="a \"b\" c"`, `a "b" c`)
	f(`NAME="a \$b"`, `a \$b`)
	f("#NAME=x", "")
	f("NAME", "")
	f("NAME=\"", `"`)
	f("NAME=\xff", "\uFFFD")
}

func TestIdentity(t *testing.T) {
	f := func(root string, want ID) {
		t.Helper()
		got, err := Identity(root)
		want.OSType, want.Arch = "linux", got.Arch
		if err != nil || got != want || got.Arch == "" {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", root, got, err, want)
		}
	}
	f("testdata/linux-4.14", ID{
		Host: "node-a.example.com", HostID: "0123456789abcdef0123456789abcdef", Kernel: "4.14.336-257.562.amzn2.x86_64",
		OSName: "Amazon Linux", OSVersion: "2", OSDescription: "Amazon Linux 2",
	})
	// Its etc/hostname and etc/os-release are links out of the root.
	f("testdata/linux-6.8", ID{
		Host: "node-b", HostID: "fedcba9876543210fedcba9876543210", Kernel: "6.8.0-45-generic",
		OSName: "Ubuntu", OSVersion: "24.04", OSDescription: `Ubuntu 24.04.1 LTS "quoted"`,
	})
	f(t.TempDir(), ID{})

	id, err := Identity("/")
	name, _ := os.Hostname()
	if err != nil || id.Host != name || id.Kernel == "" {
		t.Errorf("this machine: %+v, %v", id, err)
	}
	if signal.Lookup(id.Labels(), signal.LabelKernel) != id.Kernel {
		t.Errorf("labels %q", id.Labels())
	}
}

func TestTCPStatesAreCountedWhereverThePiecesEnd(t *testing.T) {
	text, err := os.ReadFile("testdata/linux-4.14/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want := [11]int{0: 3, 1: 1, 2: 1, 5: 2, 7: 1, 9: 2}
	for size := 1; size <= len(text); size++ {
		if got, err := countTCP(text, size); got != want || err != nil {
			t.Fatalf("pieces of %d: %v, %v", size, got, err)
		}
	}
	if got, err := countTCP(text[:len(text)-1], 100); got != want || err != nil {
		t.Errorf("without the last newline: %v, %v", got, err)
	}
}

func countTCP(text []byte, size int) ([11]int, error) {
	var c tcpCounter
	c.begin()
	for len(text) > 0 {
		n := min(size, len(text))
		c.add(text[:n])
		text = text[n:]
	}
	return c.states, c.end()
}

func FuzzTCP(f *testing.F) {
	text, _ := os.ReadFile("testdata/linux-6.8/proc/1/net/tcp6")
	f.Add(string(text), 7)
	f.Add("head\n a b c 01\n", 1)
	f.Add("\n\n a b c 0G x\n", 3)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = max(size, 1)
		got, err := countTCP([]byte(text), size)
		whole, err2 := countTCP([]byte(text), max(len(text), 1))
		if got != whole || errorText(err) != errorText(err2) {
			t.Errorf("in pieces of %d: %v %v, in one %v %v", size, got, err, whole, err2)
		}
		sum := 0
		for _, n := range got {
			sum += n
		}
		if sum > strings.Count(text, "\n") {
			t.Errorf("%d connections in %d lines", sum, strings.Count(text, "\n"))
		}
	})
}

// FuzzParsers gives every parser the same bytes: none may panic, and what comes
// out must be numbers and names fit for labels.
func FuzzParsers(f *testing.F) {
	for _, kernel := range []string{"linux-4.14", "linux-6.8"} {
		for _, name := range []string{
			"proc/stat", "proc/meminfo", "proc/vmstat", "proc/diskstats", "proc/loadavg", "proc/uptime", "proc/pressure/cpu",
			"proc/sys/fs/file-nr", "proc/1/stat", "proc/net/dev", "proc/net/snmp", "proc/1/net/snmp6", "proc/1/net/sockstat", "usr/lib/os-release",
		} {
			if text, err := os.ReadFile(filepath.Join("testdata", kernel, name)); err == nil {
				f.Add(text)
			}
		}
	}
	pressure := newPressure(&tree{})
	f.Fuzz(func(t *testing.T, text []byte) {
		finite := func(v ...float64) {
			for _, v := range v {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					t.Errorf("got %v", v)
				}
			}
		}
		var s stat
		parseStat(text, &s)
		if s.boot < 0 || s.boot*1000/1000 != s.boot || s.kinds > len(s.softirqs) {
			t.Errorf("boot %d, %d softirqs", s.boot, s.kinds)
		}
		for i := range s.cores {
			share, _ := s.all.share(&s.cores[i].times)
			finite(share[:]...)
		}
		var m meminfo
		parseMeminfo(text, &m)
		if total, used := m.value[memTotal], less(m.value[memTotal], m.value[memFree]); used > float64(total) {
			t.Errorf("%v of %v used", used, total)
		}
		parseVMStat(text, &vmstat{})
		average, _, _ := parseLoad(text)
		finite(average[:]...)
		up, _ := parseUptime(text)
		finite(up)
		parseFileNr(text)
		parseProcState(text)
		count := func(proto, name []byte, v uint64) {}
		parseSNMP(text, count)
		parseSNMP6(text, count)
		parseSockstat(text, count)
		for _, line := range lines(text) {
			if d, ok, err := parseNetdev(line); ok == (err != nil) && !strings.Contains(string(line), "|") || ok && len(d.name) == 0 {
				t.Errorf("%q: %v %v %q", line, ok, err, d.name)
			}
			parseDiskstat(line)
			if _, v, err := pressure.resources[0].parse(line); err == nil {
				finite(v.total, v.average[0], v.average[1], v.average[2])
			}
		}
		for key, value := range parseOSRelease(string(text)) {
			if !utf8.ValidString(value) {
				t.Errorf("%q is %q", key, value)
			}
		}
	})
}
