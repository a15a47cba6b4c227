package host

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causeway-agent/causeway/agent/signal"
)

// patience is how long one call of Sample waits for all its mounts together. A
// local filesystem answers in microseconds, a network one in milliseconds.
const patience = 2 * time.Second

// mostStuck bounds the questions that hang at once, and with them the kernel
// threads they hold. Beyond it, no mount that is new is asked.
const mostStuck = 64

// filesystems gives the use of mounted filesystems. Each mount is asked in a
// goroutine of its own, because statfs on a dead network mount does not return.
type filesystems struct {
	choice  Filesystems
	root    string
	path    string              // of mountinfo
	ask     func(string) answer // asks the mount at a path; tests put another in its place
	seed    maphash.Seed
	last    uint64               // hash of the mountinfo that mounts was made of
	bad     error                // what was wrong with it
	mounts  []*mount             // those wanted, one for each filesystem
	waiting []*mount             // those asked in this call
	asked   map[string]*question // by mount point: the mounts', and those that still hang
	left    [leftReasons]signal.Series
}

// Reasons for which a wanted mount is left out of a call.
const (
	leftStalled = iota // it did not answer
	leftHidden         // not visible below the root, or covered by another mount
	leftDenied
	leftFailed
	leftReasons
)

// mount is one filesystem that is wanted.
type mount struct {
	mountinfo
	q                      *question
	used, free, reserved   signal.Series
	limit                  signal.Series
	inodesUsed, inodesFree signal.Series
	inodesLimit            signal.Series
}

// question is what is asked at one mount point, one at a time.
type question struct {
	path  string
	reply chan answer // holds one, so that a late one can always be left there
	open  bool        // asked, and the reply not yet taken
	since time.Time   // of the asking
}

// answer is what a mount says of itself. Sizes are bytes.
type answer struct {
	err                    error
	major, minor           uint64 // of the directory that was asked
	total, free, available uint64
	inodes, inodesFree     uint64
}

func newFilesystems(c Filesystems, t *tree) *filesystems {
	f := &filesystems{
		choice: c,
		root:   t.root,
		path:   t.path("proc/1/mountinfo"),
		ask:    askKernel,
		seed:   maphash.MakeSeed(),
		asked:  map[string]*question{},
	}
	for i, reason := range [leftReasons]string{"stalled", "hidden", "denied", "failed"} {
		f.left[i] = gaugeOf(signal.HostMountsLeftOut, "{filesystem}", signal.LabelReason, reason)
	}
	return f
}

// askKernel asks the mount at path. It may never return.
func askKernel(path string) (a answer) {
	var st unix.Stat_t
	if a.err = again(func() error { return unix.Stat(path, &st) }); a.err != nil {
		return a
	}
	a.major, a.minor = uint64(unix.Major(uint64(st.Dev))), uint64(unix.Minor(uint64(st.Dev)))
	var fs unix.Statfs_t
	if a.err = again(func() error { return unix.Statfs(path, &fs) }); a.err != nil {
		return a
	}
	size := uint64(fs.Frsize) // the unit of the counts; Bsize is the preferred size of a transfer
	if size == 0 {
		size = uint64(fs.Bsize)
	}
	a.total, a.free, a.available = fs.Blocks*size, fs.Bfree*size, fs.Bavail*size
	a.inodes, a.inodesFree = fs.Files, fs.Ffree
	return a
}

// again repeats f while a signal interrupts it.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func (f *filesystems) sample(ctx context.Context, p *pass) error {
	found, err := f.list(p.tree)
	if !found {
		return err
	}
	errs := []error{err}
	var left [leftReasons]int
	stuck := 0
	for _, q := range f.asked {
		q.collect()
		if q.open {
			stuck++
		}
	}
	waiting := f.waiting[:0]
	for _, m := range f.mounts {
		switch {
		case m.q.open: // since an earlier call
			left[leftStalled]++
			errs = append(errs, fmt.Errorf("%s (%s) does not answer since %s: check the server behind it, or unmount it with umount -l",
				m.point, m.fstype, m.q.since.UTC().Format(time.RFC3339)))
		case stuck >= mostStuck:
			left[leftStalled]++
			errs = append(errs, fmt.Errorf("%s is not asked, because %d other mounts do not answer", m.point, stuck))
		default:
			m.q.put(f.ask)
			waiting = append(waiting, m)
		}
	}
	f.waiting = waiting
	errs = append(errs, f.wait(ctx, p, &left))
	for i, s := range f.left {
		p.gauge(s, float64(left[i]))
	}
	return errors.Join(errs...)
}

// put asks; the goroutine ends with the answer, or never.
func (q *question) put(ask func(string) answer) {
	q.open = true
	q.since = time.Now()
	go func() { q.reply <- ask(q.path) }()
}

// collect takes a reply that came after its call had given up, if there is one.
func (q *question) collect() {
	if !q.open {
		return
	}
	select {
	case <-q.reply:
		q.open = false
	default:
	}
}

// wait takes the replies to what this call asked, for as long as patience and
// ctx allow, and appends them.
func (f *filesystems) wait(ctx context.Context, p *pass, left *[leftReasons]int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var errs []error
	for _, m := range f.waiting {
		var a answer
		select {
		case a = <-m.q.reply:
			m.q.open = false
		case <-ctx.Done():
			select { // it may have answered while another was waited for
			case a = <-m.q.reply:
				m.q.open = false
			default:
				left[leftStalled]++
				errs = append(errs, fmt.Errorf("%s (%s) did not answer within %v; it is asked again once it has", m.point, m.fstype, patience))
				continue
			}
		}
		switch {
		case a.err == nil && m.other(&a), absent(a.err):
			left[leftHidden]++
		case a.err == unix.EACCES || a.err == unix.EPERM: // some user's private mount
			left[leftDenied]++
		case a.err != nil:
			left[leftFailed]++
			errs = append(errs, fmt.Errorf("ask %s (%s) for its use: %w", m.point, m.fstype, a.err))
		case a.total > 0: // df, too, passes over those that have no room at all
			m.append(p, &a)
		}
	}
	return errors.Join(errs...)
}

// other reports whether an answer came from something else than the mount that
// was asked: the directory below it where the mount is not visible, or a mount
// on top of it. The device number tells, but for filesystems whose subvolumes
// have numbers of their own.
func (m *mount) other(a *answer) bool {
	if m.fstype == "btrfs" || m.fstype == "bcachefs" {
		return false
	}
	return a.major != m.major || a.minor != m.minor
}

func (m *mount) append(p *pass, a *answer) {
	p.gauge(m.used, less(a.total, a.free))
	p.gauge(m.free, float64(a.available))
	p.gauge(m.reserved, less(a.free, a.available)) // for root
	p.gauge(m.limit, float64(a.total))
	if a.inodes > 0 { // btrfs and vfat have none to count
		p.gauge(m.inodesUsed, less(a.inodes, a.inodesFree))
		p.gauge(m.inodesFree, float64(a.inodesFree))
		p.gauge(m.inodesLimit, float64(a.inodes))
	}
}

// list brings mounts up to date with the mounts of process 1. found is false if
// there is no such list.
func (f *filesystems) list(t *tree) (found bool, err error) {
	path := f.path
	text, err := t.read(path)
	if text == nil && filepath.Clean(t.root) == "/" {
		// Only the agent may not look into process 1; its own mounts are the next best.
		path = t.path("proc/self/mountinfo")
		text, err = t.read(path)
	}
	if text == nil {
		f.mounts, f.last = nil, 0
		return false, err
	}
	if hash := maphash.Bytes(f.seed, text); hash != f.last {
		all, err := parseMounts(text)
		f.last, f.bad = hash, inFile(path, err)
		f.choose(all)
	}
	return true, f.bad
}

// parseMounts reads all of mountinfo. A bad line costs itself.
func parseMounts(text []byte) (all []mountinfo, err error) {
	var bad faults
	for n, line := range lines(text) {
		m, err := parseMountinfo(line)
		if err != nil {
			bad.add(atLine(n, line, err))
			continue
		}
		all = append(all, m)
	}
	return all, bad.join()
}

// choose makes mounts anew: of all mounts those that are wanted, each filesystem
// once, however often it is mounted.
func (f *filesystems) choose(all []mountinfo) {
	top := map[string]int{} // by mount point, the last one mounted there
	for i := range all {
		top[all[i].point] = i
	}
	type device struct{ major, minor uint64 }
	best := map[device]int{}
	for i := range all {
		m := &all[i]
		if top[m.point] != i || !f.choice.want(m) {
			continue
		}
		id := device{m.major, m.minor}
		if old, ok := best[id]; !ok || m.better(&all[old]) {
			best[id] = i
		}
	}
	asked := map[string]*question{}
	for point, q := range f.asked {
		if q.open { // it may hang for a mount that is no more, and is not forgotten for that
			asked[point] = q
		}
	}
	f.mounts = nil
	for i := range all {
		m := &all[i]
		if j, ok := best[device{m.major, m.minor}]; !ok || j != i {
			continue
		}
		if asked[m.point] == nil {
			asked[m.point] = &question{path: filepath.Join(f.root, m.point), reply: make(chan answer, 1)}
		}
		f.mounts = append(f.mounts, m.series(asked[m.point]))
	}
	f.asked = asked
}

// want reports whether a mount is chosen by the configuration.
func (c *Filesystems) want(m *mountinfo) bool {
	pass := func(include, exclude []string, name string) bool {
		if len(include) > 0 {
			return matchAny(include, name)
		}
		return !matchAny(exclude, name)
	}
	return pass(c.IncludeTypes, c.ExcludeTypes, m.fstype) && pass(c.IncludeMounts, c.ExcludeMounts, m.point)
}

// better reports whether m stands for its filesystem rather than other does: the
// whole of it rather than a part, then the shorter path.
func (m *mountinfo) better(other *mountinfo) bool {
	if whole := m.root == "/"; whole != (other.root == "/") {
		return whole
	}
	return len(m.point) < len(other.point)
}

// series makes the series of a mount.
func (m *mountinfo) series(q *question) *mount {
	mode := "rw"
	if m.readOnly {
		mode = "ro"
	}
	of := func(name, unit, state string) signal.Series {
		return gaugeOf(name, unit,
			signal.LabelDevice, printable([]byte(m.source)),
			signal.LabelFSMode, mode,
			signal.LabelFSMount, printable([]byte(m.point)),
			signal.LabelFSState, state,
			signal.LabelFSType, printable([]byte(m.fstype)))
	}
	return &mount{
		mountinfo:   *m,
		q:           q,
		used:        of(signal.SystemFilesystemUsage, "By", "used"),
		free:        of(signal.SystemFilesystemUsage, "By", "free"),
		reserved:    of(signal.SystemFilesystemUsage, "By", "reserved"),
		limit:       of(signal.SystemFilesystemLimit, "By", ""),
		inodesUsed:  of(signal.SystemFilesystemInodesUsage, "{inode}", "used"),
		inodesFree:  of(signal.SystemFilesystemInodesUsage, "{inode}", "free"),
		inodesLimit: of(signal.SystemFilesystemInodesLimit, "{inode}", ""),
	}
}
