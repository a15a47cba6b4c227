package host

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-agent/causeway/agent/signal"
)

// hanging is a mount that answers only when released.
type hanging struct {
	point   string
	calls   int // written by the goroutine that asks, read after synctest.Wait
	release chan answer
}

func (x *hanging) ask(root string) func(string) answer {
	return func(path string) answer {
		point := strings.TrimPrefix(path, root)
		if point != x.point {
			return answers(point)
		}
		x.calls++
		return <-x.release
	}
}

func TestAHungMountIsAskedOnceReportedAndDelaysOneSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture(t, "linux-4.14", nil)
		nfs := &hanging{point: "/mnt/nfs", release: make(chan answer)}
		h.filesystems().ask = nfs.ask(h.tree.root)
		f := func(took time.Duration, stalled float64, nfsSamples, calls int, message string) {
			t.Helper()
			start := time.Now()
			b, err := sample(t, h)
			if d := time.Since(start); d != took {
				t.Errorf("took %v, want %v", d, took)
			}
			v := values(b)
			if got := v[`causeway.host.mounts.left_out{causeway.reason="stalled"}`]; got != stalled {
				t.Errorf("%v stalled, want %v", got, stalled)
			}
			n := 0
			for _, s := range b.Samples {
				if signal.Lookup(s.Series.Desc().Labels, signal.LabelFSMount) == "/mnt/nfs" {
					n++
				}
			}
			if n != nfsSamples {
				t.Errorf("%d samples of the mount, want %d", n, nfsSamples)
			}
			if v[`system.filesystem.limit{system.device="/dev/sda1",system.filesystem.mode="rw",system.filesystem.mountpoint="/",system.filesystem.type="xfs"}`] == 0 {
				t.Error("its neighbour is missing")
			}
			if got := errorText(err); got != message {
				t.Errorf("error %q, want %q", got, message)
			}
			if synctest.Wait(); nfs.calls != calls {
				t.Errorf("asked %d times, want %d", nfs.calls, calls)
			}
		}
		f(patience, 1, 0, 1, "/mnt/nfs (nfs4) did not answer within 2s; it is asked again once it has")
		for range 3 {
			f(0, 1, 0, 1, "/mnt/nfs (nfs4) does not answer since 2000-01-01T00:00:00Z: check the server behind it, or unmount it with umount -l")
		}
		nfs.release <- answer{minor: 50, total: 1} // late: too old to tell anything
		synctest.Wait()
		go func() { nfs.release <- answer{minor: 50, total: 8, free: 4, available: 3, inodes: 2} }()
		f(0, 0, 7, 2, "")
	})
}

func TestAHungMountThatIsUnmountedAndMountedAgainIsNotAskedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := copyTree(t, "linux-4.14")
		h := hostAt(root, nil)
		nfs := &hanging{point: "/mnt/nfs", release: make(chan answer)}
		h.filesystems().ask = nfs.ask(root)
		sample(t, h)
		const line = "42 22 0:50 / /mnt/nfs ro,relatime shared:21 - nfs4 filer:/export/home rw,vers=4.1,hard\n"
		rewrite(t, root, "proc/1/mountinfo", line, "")
		if _, err := sample(t, h); err != nil {
			t.Errorf("a mount that is gone is still complained about: %v", err)
		}
		rewrite(t, root, "proc/1/mountinfo", "43 22", strings.Replace(line, "0:50", "0:77", 1)+"43 22")
		sample(t, h)
		if synctest.Wait(); nfs.calls != 1 {
			t.Errorf("asked %d times, want once", nfs.calls)
		}
		close(nfs.release)
	})
}

func TestHungMountsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := copyTree(t, "linux-4.14")
		h := hostAt(root, nil)
		release := make(chan answer)
		asked := make(chan string, 1000)
		h.filesystems().ask = func(path string) answer { asked <- path; return <-release }
		for round := range 4 { // new mounts each time, all dead
			var text strings.Builder
			for i := range 30 {
				fmt.Fprintf(&text, "%d 1 0:%d / /n/%d rw - nfs4 dead:/ rw\n", i, 1000*round+i, 1000*round+i)
			}
			write(t, root, "proc/1/mountinfo", text.String())
			sample(t, h)
		}
		if n := len(asked); n != 90 { // the third round began with 60
			t.Errorf("%d questions hang, want 90", n)
		}
		b, err := sample(t, h)
		if v := values(b)[`causeway.host.mounts.left_out{causeway.reason="stalled"}`]; v != 30 || !strings.Contains(errorText(err), "is not asked, because 90 other mounts do not answer") {
			t.Errorf("%v stalled, error %v", v, err)
		}
		close(release)
	})
}

func TestAMountThatIsNotVisibleIsLeftOutAndCounted(t *testing.T) {
	b, _ := sample(t, fixture(t, "linux-6.8", nil))
	v := values(b)
	for reason, want := range map[string]float64{"hidden": 1, "denied": 1, "failed": 1, "stalled": 0} {
		if got := v[`causeway.host.mounts.left_out{causeway.reason="`+reason+`"}`]; got != want {
			t.Errorf("%s: %v, want %v", reason, got, want)
		}
	}
	for _, point := range []string{"/mnt/unseen", "/mnt/private", "/mnt/broken", "/mnt/empty"} {
		for series := range v {
			if strings.Contains(series, point) {
				t.Errorf("%s answers with %s", point, series)
			}
		}
	}
}

func TestMountsAreChosenByTypeAndMountPoint(t *testing.T) {
	f := func(change func(*Filesystems), want ...string) {
		t.Helper()
		h := fixture(t, "linux-4.14", func(c *Config) { change(&c.Filesystems) })
		sample(t, h)
		var got []string
		for _, m := range h.filesystems().mounts {
			got = append(got, m.point)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	const disk, kubelet = "/mnt/my disk\\one", "/var/lib/kubelet/pods/11/volumes/kubernetes.io~nfs/data"
	f(func(c *Filesystems) {}, "/", disk, "/mnt/nfs")
	f(func(c *Filesystems) { c.ExcludeTypes = append(c.ExcludeTypes, "nfs*") }, "/", disk)
	f(func(c *Filesystems) { c.ExcludeMounts = nil }, "/", disk, "/mnt/nfs", kubelet)
	f(func(c *Filesystems) { c.IncludeTypes = []string{"nfs?"} }, "/mnt/nfs")
	f(func(c *Filesystems) { c.IncludeTypes = []string{"tmpfs"}; c.IncludeMounts = []string{"/sys/*"} }, "/sys/fs/cgroup")
	f(func(c *Filesystems) { c.IncludeMounts = []string{"/srv/*", "/"} }, "/", "/srv/bound")
	f(func(c *Filesystems) { c.ExcludeMounts = []string{"/mnt*"} }, "/", "/srv/bound", kubelet) // a bind mount stands in
}

func TestTheKernelIsAskedBelowTheRoot(t *testing.T) {
	h := fixture(t, "linux-4.14", nil)
	paths := make(chan string, 10)
	h.filesystems().ask = func(path string) answer { paths <- path; return answer{} }
	sample(t, h)
	close(paths)
	var got []string
	for p := range paths {
		got = append(got, p)
	}
	slices.Sort(got)
	root := h.tree.root
	if want := []string{root, filepath.Join(root, "mnt/my disk\\one"), filepath.Join(root, "mnt/nfs")}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestAskKernelAgreesWithStatfs(t *testing.T) {
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	a := askKernel(dir)
	if a.err != nil || a.total != fs.Blocks*uint64(fs.Frsize) || a.inodes != fs.Files || a.free < a.available {
		t.Errorf("%+v, want the numbers of %+v", a, fs)
	}
	if a := askKernel(dir + "/none"); a.err != unix.ENOENT {
		t.Errorf("a path that does not exist: %v", a.err)
	}
}

func TestParseMountinfo(t *testing.T) {
	f := func(line string, want mountinfo) {
		t.Helper()
		got, err := parseMountinfo([]byte(line))
		if err != nil || got != want {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", line, got, err, want)
		}
	}
	f("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
		mountinfo{major: 98, root: "/mnt1", point: "/mnt2", fstype: "ext3", source: "/dev/root"})
	f("1 0 8:1 / / rw - xfs /dev/sda1 ro,x", mountinfo{major: 8, minor: 1, root: "/", point: "/", readOnly: true, fstype: "xfs", source: "/dev/sda1"})
	f("1 0 8:1 / / ro shared:1 master:2 unbindable - xfs /dev/sda1 rw", mountinfo{major: 8, minor: 1, root: "/", point: "/", readOnly: true, fstype: "xfs", source: "/dev/sda1"})
	f("1 0 0:1 / /a\\040b\\011c\\134d\\012\\043 rw - tmpfs  rw,errors=remount-ro", mountinfo{minor: 1, root: "/", point: "/a b\tc\\d\n#", fstype: "tmpfs"})
	f("1 0 0:1 / /a\\777 rw - t s rw", mountinfo{minor: 1, root: "/", point: "/a\\777", fstype: "t", source: "s"})
	f("1 0 0:1 / /a\\04 rw - t s rw", mountinfo{minor: 1, root: "/", point: "/a\\04", fstype: "t", source: "s"})
	bad := func(line string) {
		t.Helper()
		if m, err := parseMountinfo([]byte(line)); err == nil {
			t.Errorf("%q: got %+v, want an error", line, m)
		}
	}
	bad("")
	bad("36 35 98:0 / /mnt rw master:1 ext3 /dev/root rw")
	bad("36 35 98 / /mnt rw - ext3 /dev/root rw")
	bad("36 35 98:x / /mnt rw - ext3 /dev/root rw")
	bad("36 35 98:0 / mnt rw - ext3 /dev/root rw")
	bad("36 35 98:0 / /mnt rw -")
	bad("36 35 98:0 / /mnt rw - ext3")
}

func FuzzMountinfo(f *testing.F) {
	f.Add("36 35 98:0 /mnt1 /m\\040nt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n")
	f.Add("1 0 0:1 / / rw - tmpfs  rw\n\n1 1 1:1 / /x\\377 ro - a b\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, _ := parseMounts([]byte(text))
		fs := newFilesystems(Filesystems{}, &tree{root: "/r"})
		fs.choose(all)
		if len(fs.mounts) > len(all) {
			t.Errorf("%d mounts of %d lines", len(fs.mounts), len(all))
		}
		for _, m := range fs.mounts {
			if m.q == nil || !strings.HasPrefix(m.q.path, "/r") {
				t.Errorf("%q is asked outside the root: %+v", m.point, m.q)
			}
		}
	})
}
