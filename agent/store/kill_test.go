package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const childDir = "STORE_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child is a store in a process of its own, until it is killed.
func child(dir string) {
	cfg := Default()
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	s, err := Open(cfg, quiet())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Addr())
	fmt.Println(s.Run(context.Background()))
	os.Exit(1)
}

// TestKillNineTakesNothingAcknowledged writes numbered points to a store in
// another process, kills it amid a write, and looks for every number that was
// acknowledged, round after round in the same directory.
func TestKillNineTakesNothingAcknowledged(t *testing.T) {
	const rounds, batches, points = 3, 12, 40
	dir := t.TempDir()
	next := 0       // the first number not sent yet
	var acked []int // first numbers of the batches that were acknowledged
	begun := time.Now().Add(-time.Minute).UnixNano()
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		addr, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || !strings.HasPrefix(addr, "127.0.0.1:") {
			t.Fatalf("child said %q, %v", addr, err)
		}
		// Kill while the writer is somewhere in the batch after the twelfth.
		enough, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for n := 1; ; n++ {
				var b bytes.Buffer
				for i := range points {
					fmt.Fprintf(&b, "m,s=%d id=%di %d\n", i%7, next+i, begun+int64(next+i))
				}
				resp, err := http.Post("http://"+strings.TrimSpace(addr)+"/write?db=causeway", "", &b)
				first := next
				next += points
				if err != nil {
					return // killed
				}
				p, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 204 {
					t.Errorf("round %d: status %d: %s", round, resp.StatusCode, p)
					return
				}
				acked = append(acked, first)
				if n == batches {
					close(enough)
				}
			}
		}()
		select {
		case <-enough:
		case <-stopped:
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-stopped
		_ = cmd.Wait() // says that it was killed

		have := ids(t, dir)
		for _, first := range acked {
			for id := first; id < first+points; id++ {
				if !have[id] {
					t.Fatalf("round %d: number %d was acknowledged and is missing", round, id)
				}
			}
		}
		if len(acked) < (round+1)*batches || next != (len(acked)+round+1)*points {
			t.Errorf("round %d: %d batches acknowledged, %d numbers sent: the kill came at the wrong time", round, len(acked), next)
		}
	}
}

// ids opens the store in dir and returns the numbers it holds.
func ids(t *testing.T, dir string) map[int]bool {
	t.Helper()
	cfg := config(t)
	cfg.Dir = dir
	s, err := Open(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", "http://localhost/query?db=causeway&q=SELECT+id+FROM+m", nil)
	w := &recorder{header: http.Header{}}
	s.Handler().ServeHTTP(w, r)
	var doc struct {
		Results []struct{ Series []struct{ Values [][]any } }
	}
	if err := json.Unmarshal(w.Bytes(), &doc); err != nil || len(doc.Results) != 1 || len(doc.Results[0].Series) != 1 {
		t.Fatalf("%v: %.200s", err, w)
	}
	have := map[int]bool{}
	for _, v := range doc.Results[0].Series[0].Values {
		have[int(v[1].(float64))] = true
	}
	return have
}
