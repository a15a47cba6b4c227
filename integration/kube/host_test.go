//go:build kube

package kube

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// hostIsSeen holds layer 1 of the agent in a pod to what this process, which is
// in none, reads of the machine: its file system, its disk, its network. The pod
// is on a network and a file system of its own.
func hostIsSeen(t *testing.T, c *Cluster, store database) {
	seen := c.mountedLater(t)
	until(t, c, "what is mounted later to be seen in the pod", func() error {
		if all, _ := filepath.Glob("/proc/[0-9]*/mountinfo"); !anyHas(all, " /host"+seen+" ") {
			return fmt.Errorf("no process has /host%s", seen)
		}
		return nil
	})

	root, device := rootDisk(t)
	var size syscall.Statfs_t
	if err := syscall.Statfs("/", &size); err != nil {
		t.Fatal(err)
	}
	total := fmt.Sprintf(`,%d]`, size.Blocks*uint64(size.Bsize))
	answer := store.has(t, c, "the file system of the host", `SELECT last(total) FROM disk WHERE path = '/' GROUP BY device, fstype`,
		total, strconv.Quote(filepath.Base(root.device)), strconv.Quote(root.fstype))
	t.Logf("file system: %s", strings.TrimSpace(answer))

	between(t, c, store, "bytes written", fmt.Sprintf(`SELECT last(write_bytes) FROM diskio WHERE "name" = '%s'`, device), func() uint64 {
		return 512 * column(t, "/proc/diskstats", device, 7)
	})
	cards, _ := filepath.Glob("/sys/class/net/*/device")
	nics := []string{bridge} // no pod has that, but each an eth0 of its own
	for _, card := range cards {
		nics = append(nics, filepath.Base(filepath.Dir(card)))
	}
	for _, nic := range nics {
		between(t, c, store, nic, fmt.Sprintf(`SELECT last(bytes_recv) FROM net WHERE interface = '%s'`, nic), func() uint64 {
			return column(t, "/proc/1/net/dev", nic+":", 1)
		})
	}
}

// mountedLater mounts something on the node, now that the pod runs, and returns where.
func (c *Cluster) mountedLater(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(c.Dir, "later")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.mounts.do(func() error { return syscall.Mount("later", dir, "tmpfs", 0, "size=1m") }); err != nil {
		t.Fatal(err)
	}
	return dir
}

func anyHas(files []string, text string) bool {
	for _, f := range files {
		if all, _ := os.ReadFile(f); strings.Contains(string(all), text) { // a process may be gone
			return true
		}
	}
	return false
}

// mount is what mountinfo says of the root of the machine.
type mount struct{ device, fstype string }

// rootDisk returns the machine's root and the name of the disk that it is on.
func rootDisk(t *testing.T) (m mount, disk string) {
	t.Helper()
	text, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[4] == "/" {
			_, rest, _ := strings.Cut(line, " - ")
			r := strings.Fields(rest)
			m = mount{device: r[1], fstype: r[0]}
			disk, err = filepath.EvalSymlinks("/sys/dev/block/" + f[2])
		}
	}
	if err != nil {
		t.Skip("the machine's root is on no disk: ", err)
	}
	if _, err := os.Stat(filepath.Join(disk, "partition")); err == nil {
		disk = filepath.Dir(disk)
	}
	return m, filepath.Base(disk)
}

// column returns a number of the line of a table of the kernel's that has name
// as one of its fields: that many fields behind it.
func column(t *testing.T, file, name string, behind int) uint64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for i := range fields {
			if fields[i] != name || i+behind >= len(fields) {
				continue
			}
			n, err := strconv.ParseUint(fields[i+behind], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", name, file)
	return 0
}

// between waits for a value of a counter that was read after now, and holds it
// to what the kernel says of the host before and after.
func between(t *testing.T, c *Cluster, store database, what, query string, read func() uint64) {
	t.Helper()
	before := read()
	until(t, c, what, func() error {
		answer, err := store(query)
		if err != nil {
			return err
		}
		var a struct {
			Results []struct{ Series []struct{ Values [][]any } }
		}
		if err := json.Unmarshal([]byte(answer), &a); err != nil {
			return err
		}
		if len(a.Results) == 0 || len(a.Results[0].Series) == 0 {
			return fmt.Errorf("%s: %s", query, answer)
		}
		v, _ := a.Results[0].Series[0].Values[0][1].(float64)
		after := read()
		if uint64(v) < before {
			return fmt.Errorf("%.0f, and the host's were %d", v, before)
		}
		if uint64(v) > after {
			t.Fatalf("%s: %.0f, and the host has %d", what, v, after)
		}
		t.Logf("%s: %d ≤ %.0f ≤ %d", what, before, v, after)
		return nil
	})
}
