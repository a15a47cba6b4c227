package integration

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// agentBinary returns the path of the agent, built once per run. CAUSEWAY_BIN names
// one that is built already.
var agentBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CAUSEWAY_BIN"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(buildDir, "causeway")
	// The flags of `make build`, so that it and this share the compiler's work.
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-o", path, "./agent/cmd/causeway")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	// The agent gives back what only its start needed of its own pages. As long as
	// they are not on the disk they count as changed, and stay; and those that the
	// compiler wrote come back two megabytes at a touch. A node has read its image
	// from the disk.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	err = errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	return path, err
})

var buildDir string

// TestMain makes the folder the agent is built into. Tests here wait for timers
// of the agent most of the time, so more of them run at once than there are CPUs.
func TestMain(m *testing.M) {
	flag.Parse()
	explicit := false
	flag.Visit(func(f *flag.Flag) { explicit = explicit || f.Name == "test.parallel" })
	if !explicit {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "causeway-proof-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(buildDir)
	os.Exit(code)
}

// node makes a node with the agent under test.
func node(t *testing.T) *Node {
	t.Helper()
	bin, err := agentBinary()
	if err != nil {
		t.Fatal(err)
	}
	return NewNode(t, bin)
}

// long reports whether this is the long form: CAUSEWAY_SOAK=1.
func long() bool { return os.Getenv("CAUSEWAY_SOAK") != "" }

// either returns what the form of the run asks for.
func either[T any](short, soak T) T {
	if long() {
		return soak
	}
	return short
}
