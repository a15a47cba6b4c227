//go:build peers

package journald

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/agent/signal"
)

// counter is a Sink that ends the run when it has enough lines.
type counter struct {
	spool
	left int
	stop context.CancelFunc
}

func (c *counter) Put(ctx context.Context, b *signal.Batch) error {
	if c.left -= b.Len(); c.left <= 0 {
		c.stop()
	}
	return c.spool.Put(context.WithoutCancel(ctx), b)
}

// What systemd-journal-remote writes while it is followed is taken line by line,
// and is what journalctl shows.
func TestAJournalThatSystemdWrites(t *testing.T) {
	const n = 20_000
	dir := t.TempDir()
	path := filepath.Join(dir, "live.journal")
	cmd := exec.CommandContext(t.Context(), "/lib/systemd/systemd-journal-remote", "-o", path, "-")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		for i := 1; i <= n; i++ {
			if _, err := fmt.Fprintf(in, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=11111111111111111111111111111111\n"+
				"_TRANSPORT=journal\nPRIORITY=%d\n_SYSTEMD_UNIT=u%d.service\nMESSAGE=line %d %s\n\n",
				1795000000000000+i, i, i%8, i%50, i, strings.Repeat("x", i%700)); err != nil {
				wrote <- err
				return
			}
		}
		in.Close()
		wrote <- cmd.Wait()
	}()
	w := newWorld(t)
	w.conf.Path = dir
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &counter{left: n, stop: cancel}
	w.start()
	if err := w.src.Run(ctx, out); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, b := range out.batches {
		for l := range b.LinesIn(0, b.Len()) {
			got[fmt.Sprintf("%d %d %s", l.Time/1000, l.Level, l.Text)] = true
		}
	}
	shown, err := exec.CommandContext(t.Context(), "journalctl", "--file", path, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for d := json.NewDecoder(strings.NewReader(string(shown))); ; {
		var e map[string]string
		if err := d.Decode(&e); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		want = append(want, e["__REALTIME_TIMESTAMP"]+" "+e["PRIORITY"]+" "+e["MESSAGE"])
	}
	if len(got) != n || len(want) != n || len(out.texts(t)) != n {
		t.Errorf("%d lines, journalctl shows %d, want %d", len(got), len(want), n)
	}
	if i := slices.IndexFunc(want, func(s string) bool { return !got[s] }); i >= 0 {
		t.Errorf("there is no %.100s", want[i])
	}
}
