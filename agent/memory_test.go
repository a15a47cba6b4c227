package agent

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOnlyWhatWasNeverWrittenIsGivenBack(t *testing.T) {
	f := func(what, line, dirty string, want ...mapping) {
		t.Helper()
		text := line + "\nSize: 8 kB\nRss: 8 kB\nPrivate_Dirty: " + dirty + " kB\nVmFlags: rd ex mr mw me\n"
		if got := programText(strings.NewReader(text), "/bin/causeway"); !slices.Equal(got, want) {
			t.Errorf("%s: %x", what, got)
		}
	}
	whole := mapping{0x400000, 0x1c00000}
	f("code", "00400000-01c00000 r-xp 00000000 fe:00 12 /bin/causeway", "0", whole)
	f("constants", "00400000-01c00000 r--p 00000000 fe:00 12 /bin/causeway", "0", whole)
	f("what was written before it was sealed", "00400000-01c00000 r--p 00000000 fe:00 12 /bin/causeway", "4")
	f("data", "00400000-01c00000 rw-p 00000000 fe:00 12 /bin/causeway", "0")
	f("what is shared", "00400000-01c00000 r-xs 00000000 fe:00 12 /bin/causeway", "0")
	f("another file", "00400000-01c00000 r-xp 00000000 fe:00 12 /lib/other.so", "0")
	f("no file", "00400000-01c00000 r-xp 00000000 00:00 0", "0")
	f("nonsense", "01c00000-00400000 r-xp 00000000 fe:00 12 /bin/causeway", "0")
}

func TestTheProgramGoesOnWithoutItsPages(t *testing.T) {
	if err := trim(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Repeat("ab", 3); got != "ababab" {
		t.Error(got)
	}
}

func TestALargeHeapIsCollectedBeforeItDoubles(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 10 << 20: 100, 16 << 20: 100, 24 << 20: 60, 48 << 20: 30, 80 << 20: 20, 4 << 30: 10} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d MiB: %d %%, want %d", live>>20, got, want)
		}
	}
	t.Setenv("GOGC", "") // as if it were not set
	paceCollector()
	held := make([]byte, 100<<20)
	for deadline := time.Now().Add(10 * time.Second); ; {
		runtime.GC()
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		if now <= 30 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %% with %d MiB in use", now, len(held)>>20)
		}
	}
	runtime.KeepAlive(held)
}
