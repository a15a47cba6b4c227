package agent

import (
	"slices"
	"strings"
	"testing"
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
