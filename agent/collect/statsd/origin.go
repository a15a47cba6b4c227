package statsd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups finds the container that has a cgroup of a given inode. A client in
// a cgroup namespace of its own knows no other name of itself than that.
type cgroups struct {
	root   string
	ids    map[uint64]string
	walked time.Time
}

// container returns the container id behind the field c:, "" if there is none.
// resolved is false if an inode belongs to no container that can be seen.
func (c *cgroups) container(field string) (id string, resolved bool) {
	if id, ok := strings.CutPrefix(field, "ci-"); ok {
		return id, true
	}
	text, ok := strings.CutPrefix(field, "in-")
	if !ok { // the form of protocol v1.2
		return field, true
	}
	inode, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return "", false
	}
	if id := c.ids[inode]; id != "" {
		return id, true
	}
	if time.Since(c.walked) < time.Second { // senders that nobody knows must not keep us walking
		return "", false
	}
	c.walk()
	id = c.ids[inode]
	c.walked = time.Now()
	return id, id != ""
}

func (c *cgroups) walk() {
	c.ids = map[uint64]string{}
	root := c.root
	// In cgroup v1 each hierarchy counts its own inodes; clients take memory's.
	if _, err := os.Stat(filepath.Join(root, "memory")); err == nil {
		root = filepath.Join(root, "memory")
	}
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() { // folders come and go while we walk
			return nil
		}
		id := containerOf(d.Name())
		if id == "" {
			return nil
		}
		if info, err := d.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				c.ids[uint64(st.Ino)] = id
			}
		}
		return nil
	})
}

// containerOf returns the container id in the name of a cgroup as runtimes
// write it: ID, cri-containerd-ID.scope, crio-ID.scope, docker-ID.scope.
func containerOf(name string) string {
	id := strings.TrimSuffix(name, ".scope")
	id = id[strings.LastIndexByte(id, '-')+1:]
	if len(id) != 64 {
		return ""
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return id
}
