package tail

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/causeway-agent/causeway/agent/logline"
)

// rule is one pattern of the configuration, made ready.
type rule struct {
	pattern string   // as configured; names the rule in the snapshot
	base    string   // the folder in front of the first wildcard
	segs    []string // the segments behind it, at least one
	exclude [][]string
	start   start
	labels  func(root string) (pairs []string, ok bool) // labels of a file's lines; not ok: left out on purpose
	form    form
	enc     encoding
	join    logline.Join
	parse   string                                       // label causeway.log.parse; "": none
	pod     func(root string) (uid, container string)    // nil where no Advisor is asked
	unless  string                                       // nothing is read while this folder is there
	poll    bool                                         // events are not relied on
	trust   bool                                         // events are relied on whatever the file system
	must    bool                                         // the folder is to be there
	faulty  func(path string, r io.ReaderAt) io.ReaderAt // nil but in tests: a disk that fails
	known   bool                                         // an earlier scan saw its files, so a file it has not seen is new
}

// segments splits a pattern into its literal front and the rest.
func segments(pattern string) (base string, segs []string) {
	parts := strings.Split(strings.TrimPrefix(filepath.Clean(pattern), "/"), "/")
	i := 0
	for i < len(parts)-1 && !strings.ContainsAny(parts[i], `*?[\`) {
		i++
	}
	return "/" + strings.Join(parts[:i], "/"), parts[i:]
}

// matches reports whether the segments of a path match those of a pattern; **
// stands for any number of folders, none included.
func matches(pattern, segs []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := range len(segs) + 1 {
				if matches(pattern[1:], segs[i:]) {
					return true
				}
			}
			return false
		}
		if len(segs) == 0 {
			return false
		}
		if ok, _ := path.Match(pattern[0], segs[0]); !ok {
			return false
		}
		pattern, segs = pattern[1:], segs[1:]
	}
	return len(segs) == 0
}

// excluded reports whether one of the rule's exclusions names the file: by its
// whole path, or, without a slash, by its name.
func (r *rule) excluded(file string) bool {
	for _, x := range r.exclude {
		if len(x) == 1 {
			if ok, _ := path.Match(x[0], path.Base(file)); ok {
				return true
			}
		} else if matches(x, strings.Split(file, "/")) {
			return true
		}
	}
	return false
}

// rotatedFrom returns the name that a rotation made name from: app.log for
// app.log.1, app.log-20261123 and app.log.2026-11-23T10:00. ok is false for a
// name that no rotation makes.
func rotatedFrom(name string) (root string, ok bool) {
	for i := 1; i < len(name)-1; i++ {
		if name[i] != '.' && name[i] != '-' {
			continue
		}
		rest := name[i+1:]
		if strings.Trim(rest, "0123456789.-_:TZ+") == "" && strings.ContainsAny(rest, "0123456789") {
			return name[:i], true
		}
	}
	return "", false
}

// compressed reports whether a file's name says that it holds no text any more.
func compressed(name string) bool {
	switch path.Ext(name) {
	case ".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip":
		return true
	}
	return false
}

// change is what an event says of a folder.
type change uint8

const (
	changedBytes change = iota // of one file
	changedNames               // one came, went or became another
	changedWatch               // the folder is not watched any more
)

// dir is one folder that a pattern looks into.
type dir struct {
	path    string
	entries []entry // by name
	err     error
	listed  time.Time
	changed uint32 // the sweep before it was listed with other names than before
	asked   uint32 // the last sweep in which it was asked whether it was touched
	mtime   int64  // before it was listed, Unix ns
	wd      int32  // -1: looked at once a second
	round   int32  // of the last scan that came by
	dirty   bool   // to be listed again
	poll    bool   // a rule says that events do not tell of all that happens here
	trust   bool   // a rule says that they do
	racy    bool   // it had changed just before it was listed: its time may not tell of a change that followed
	lively  bool   // in finder.lively
	suspect bool   // in finder.suspects
	heard   bool   // an event came since
}

// A file system's clock stands still for up to 10 ms.
const racyWithin = 20 * time.Millisecond

// touched reports whether names came or went since d was listed, as far as the
// folder's time tells.
func (d *dir) touched() bool {
	at, ok := timeOf(d.path)
	return ok == (d.err != nil) || ok && at != d.mtime
}

// absent reports whether d was not there and still is not: that costs one look,
// and not one at all files.
func (d *dir) absent() bool {
	if !errors.Is(d.err, fs.ErrNotExist) {
		return false
	}
	_, err := os.Lstat(d.path)
	return err != nil
}

// entry is one name in a folder.
type entry struct {
	name string
	typ  fs.FileMode
	link bool

	statted bool // those below are filled, and typ is that of the file behind a link
	err     error
	key     key
	size    int64
	mtime   int64 // Unix ns
}

func (d *dir) find(name string) *entry {
	i, ok := slices.BinarySearchFunc(d.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return nil
	}
	return &d.entries[i]
}

// stat fills e, following symbolic links.
func (d *dir) stat(e *entry) {
	if e.statted {
		return
	}
	e.statted = true
	info, err := os.Stat(path.Join(d.path, e.name))
	if err != nil {
		e.err = err
		return
	}
	e.typ, e.size, e.mtime = info.Mode().Type(), info.Size(), info.ModTime().UnixNano()
	e.key = keyOf(info)
}

// key names an inode. It is used again after the file's deletion.
type key struct{ dev, ino uint64 }

func keyOf(info fs.FileInfo) key {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return key{}
	}
	return key{uint64(st.Dev), uint64(st.Ino)} //nolint:unconvert // the types differ between systems
}

// candidate is a file that a rule wants to be read.
type candidate struct {
	rule    *rule
	path    string
	root    string // the path it is rotated from, or its own: what its lines are labelled with
	sibling bool   // only a rotation's name makes it a candidate
	poll    bool   // a link: neither an event nor the folder's listing tells of its growth
	gz      bool   // a rotated file that was compressed
	key     key
	size    int64
	mtime   int64 // Unix ns
}

// finder knows the folders and lists them anew when they changed.
type finder struct {
	rules   []*rule
	dirs    map[string]*dir
	all     []*dir // of dirs, in any order
	byWatch map[int32]*dir
	watch   *watch // nil: every folder is looked at once a second
	noWatch error  // why a folder is not watched
	round   int32
	stale   bool              // a folder is dirty
	rule    *rule             // the one that is walked
	now     time.Time         // of the scan
	count   int               // of what the last one found
	refused map[string]string // path -> why it is not read
	listed  func(dir string)  // nil but in tests: called between the listing of a folder and the looks at its files

	unwatched map[*dir]bool
	lively    []*dir    // those where names changed of late
	suspects  []*dir    // those where something changed of which no event had come
	deaf      time.Time // when it turned out that one did not come
	asking    uint32    // counts sweeps
	next      int       // the place in all of the folder that was asked last
	aged      time.Time // when it was last asked which folders have not been listed for long
}

// event takes note of one event. It returns the inode that the event is about, if
// a rule wants it.
func (fd *finder) event(wd int, c change, name string) (key, bool) {
	if wd < 0 {
		fd.dirtyAll()
		return key{}, false
	}
	d := fd.byWatch[int32(wd)]
	if d == nil {
		return key{}, false
	}
	d.heard = true
	switch {
	case c == changedWatch, name == "": // the folder itself went or moved
		fd.setWatch(d, -1)
		fd.mark(d)
		if c != changedWatch {
			fd.watch.remove(wd)
		}
	case c == changedNames:
		fd.mark(d)
	}
	if e := d.find(name); e != nil && e.statted {
		return e.key, true
	}
	return key{}, false
}

func (fd *finder) dirtyAll() {
	for _, d := range fd.all {
		d.heard = true
		fd.mark(d)
	}
}

// setWatch notes by which number the events of d come; -1: none do.
func (fd *finder) setWatch(d *dir, wd int32) {
	if d.wd >= 0 {
		delete(fd.byWatch, d.wd)
	}
	if d.wd = wd; wd >= 0 {
		fd.byWatch[wd] = d
		delete(fd.unwatched, d)
	} else {
		fd.unwatched[d] = true
	}
}

// quiet reports whether it is certain that the folder of c did not change while
// the scan looked at it. Without events that is never certain.
func (fd *finder) quiet(c candidate) bool {
	d := fd.dirs[path.Dir(c.path)]
	return d != nil && d.wd >= 0 && !d.dirty && !c.poll
}

// due reports whether a scan would find something new, as far as events tell.
func (fd *finder) due() bool { return fd.stale || fd.round == 0 }

// mark makes the next scan list d again.
func (fd *finder) mark(d *dir) {
	d.dirty, fd.stale = true, true
}

// scan returns all files that the rules want now, each inode once, the first
// rule that names it counts. rooted tells whether a path is one that files have
// been rotated from before.
func (fd *finder) scan(now time.Time, rooted func(path string) bool) []candidate {
	fd.round++
	fd.now, fd.stale = now, false
	fd.refused = map[string]string{}
	found := make([]candidate, 0, fd.count)
	seen := make(map[key]bool, fd.count)
	for _, r := range fd.rules {
		if r.unless != "" && fd.list(r.unless).err == nil {
			continue
		}
		fd.rule = r
		fd.walk(r, r.base, r.segs, func(d *dir, last string) {
			for i := range d.entries {
				e := &d.entries[i]
				c, ok := fd.candidate(r, d, e, last, rooted)
				if !ok {
					continue
				}
				if !seen[c.key] {
					seen[c.key] = true
					found = append(found, c)
				}
				if e.link && !c.sibling {
					fd.behind(c, func(c candidate) {
						if !seen[c.key] {
							seen[c.key] = true
							found = append(found, c)
						}
					})
				}
			}
		})
	}
	for _, r := range fd.rules {
		if d := fd.dirs[r.base]; r.must && d != nil && errors.Is(d.err, fs.ErrNotExist) {
			fd.refused[r.base] = "is not there: no kubelet writes logs here, or pods.path is another folder, or it is not mounted into the agent's container"
		}
	}
	fd.all = slices.DeleteFunc(fd.all, func(d *dir) bool {
		if d.round == fd.round {
			return false
		}
		if d.wd >= 0 {
			fd.watch.remove(int(d.wd))
			fd.setWatch(d, -1)
		}
		delete(fd.unwatched, d)
		delete(fd.dirs, d.path)
		return true
	})
	fd.count = len(found)
	if fd.next >= len(fd.all) {
		fd.next = 0
	}
	return found
}

// walk calls f for each folder whose files may match the last segment.
// A ** does not follow symbolic links to folders, so it always ends.
func (fd *finder) walk(r *rule, dir string, segs []string, f func(d *dir, last string)) {
	seg, rest := segs[0], segs[1:]
	d := fd.list(dir)
	switch {
	case seg == "**" && len(rest) == 0:
		f(d, "*")
	case seg == "**":
		fd.walk(r, dir, rest, f)
	case len(rest) == 0:
		f(d, seg)
		return
	}
	for i := range d.entries {
		e := &d.entries[i]
		switch {
		case seg == "**":
			if e.typ.IsDir() && !e.link {
				fd.walk(r, path.Join(dir, e.name), segs, f)
			}
		default:
			if ok, _ := path.Match(seg, e.name); !ok {
				continue
			}
			if e.link {
				d.stat(e)
			}
			if e.typ.IsDir() {
				fd.walk(r, path.Join(dir, e.name), rest, f)
			}
		}
	}
}

// list returns the folder, listed anew if it is dirty. A folder that cannot be
// listed for a reason other than its absence keeps what it held: its files are
// not gone.
func (fd *finder) list(p string) *dir {
	d := fd.dirs[p]
	if d == nil {
		d = &dir{path: p, wd: -1, dirty: true}
		fd.dirs[p] = d
		fd.all = append(fd.all, d)
		fd.unwatched[d] = true
	}
	if d.round == fd.round {
		return d
	}
	d.round = fd.round
	if !d.dirty {
		return d
	}
	first := d.listed.IsZero()
	d.dirty, d.listed = false, fd.now
	if fd.rule != nil {
		d.poll, d.trust = d.poll || fd.rule.poll, d.trust || fd.rule.trust
	}
	fd.watchDir(d) // before listing, so that nothing falls between
	if at, ok := timeOf(p); ok {
		d.mtime, d.racy = at, time.Since(time.Unix(0, at)) < racyWithin
	}
	names, err := os.ReadDir(p)
	d.err = err
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.entries = nil
		return d
	case err != nil:
		fd.refused[p] = remedied(err)
		fd.mark(d)
		return d
	}
	same := !first && slices.EqualFunc(d.entries, names, func(e entry, n fs.DirEntry) bool { return e.name == n.Name() })
	if !same && (fd.rule == nil || fd.rule.known) { // of what is there at first nothing is known to change
		if d.changed = fd.asking; !d.lively {
			d.lively = true
			fd.lively = append(fd.lively, d)
		}
	}
	d.entries = make([]entry, len(names))
	for i, n := range names {
		d.entries[i] = entry{name: n.Name(), typ: n.Type(), link: n.Type()&fs.ModeSymlink != 0}
	}
	if fd.listed != nil {
		fd.listed(p)
	}
	return d
}

// watchDir makes sure that the folder that has this path now is watched.
func (fd *finder) watchDir(d *dir) {
	if fd.watch == nil || d.poll || !d.trust && !watchable(d.path) {
		return
	}
	n, err := fd.watch.add(d.path)
	wd := int32(n)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			fd.noWatch = err
		}
		wd = -1
	}
	if d.wd == wd {
		return
	}
	if d.wd >= 0 {
		fd.watch.remove(int(d.wd))
	}
	if other := fd.byWatch[wd]; other != nil && other != d {
		fd.setWatch(other, -1) // the same folder by two paths: the other one is looked at
	}
	fd.setWatch(d, wd)
}

// candidate decides whether rule r wants the entry e of d.
func (fd *finder) candidate(r *rule, d *dir, e *entry, last string, rooted func(string) bool) (candidate, bool) {
	if e.typ.IsDir() && !e.link && last != e.name {
		return candidate{}, false // a folder in place of a file is only remarkable if it is asked for by name
	}
	plain, gz := uncompressed(e.name)
	if !gz && compressed(e.name) || gz && d.find(plain) != nil { // what is being compressed is still there itself
		return candidate{}, false
	}
	p := path.Join(d.path, e.name)
	own, _ := path.Match(last, e.name)
	own = own && !gz
	c := candidate{rule: r, path: p, root: p, sibling: !own, poll: e.link, gz: gz}
	if name, ok := rotatedFrom(plain); ok {
		root := path.Join(d.path, name)
		if match, _ := path.Match(last, name); match && (d.find(name) != nil || rooted(root)) {
			c.root = root
		}
	}
	if !own && c.root == p || r.excluded(p) {
		return candidate{}, false
	}
	d.stat(e)
	switch {
	case e.err != nil:
		if !c.sibling && !errors.Is(e.err, fs.ErrNotExist) || e.link {
			fd.refused[p] = remedied(e.err)
		}
		return candidate{}, false
	case !e.typ.IsRegular():
		if !c.sibling && (last == e.name || !e.typ.IsDir()) {
			fd.refused[p] = "is a " + kindOf(e.typ) + " and no file; nothing is read from it: name it in exclude"
		}
		return candidate{}, false
	}
	c.key, c.size, c.mtime = e.key, e.size, e.mtime
	return c, true
}

// behind yields the rotated files beside the one that the link c leads to: who
// rotates it leaves the link as it is.
func (fd *finder) behind(c candidate, yield func(candidate)) {
	real, err := filepath.EvalSymlinks(c.path)
	if err != nil {
		return
	}
	d := fd.list(path.Dir(real))
	for i := range d.entries {
		e := &d.entries[i]
		if path.Join(d.path, e.name) == real {
			d.stat(e) // so that its events are known to be of c
			continue
		}
		plain, gz := uncompressed(e.name)
		if gz && d.find(plain) != nil {
			continue
		}
		if name, ok := rotatedFrom(plain); !ok || name != path.Base(real) || c.rule.excluded(path.Join(d.path, e.name)) {
			continue
		}
		if d.stat(e); e.err == nil && e.typ.IsRegular() {
			yield(candidate{rule: c.rule, path: path.Join(d.path, e.name), root: c.path, sibling: true, gz: gz, key: e.key, size: e.size, mtime: e.mtime})
		}
	}
}

func kindOf(t fs.FileMode) string {
	switch {
	case t.IsDir():
		return "folder"
	case t&fs.ModeNamedPipe != 0:
		return "FIFO"
	case t&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}
