package tail

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Memory is what the spool still knows of what this package read: hub.Hub
// implements it. It holds only if the spool keeps every log frame that is newer
// than the newest snapshot, delivered or not.
type Memory interface {
	// Newest returns the number of the newest log frame in the spool, 0 if there never was one.
	Newest() uint64
	// Sync makes everything up to Newest survive a power cut.
	Sync() error
	// Replay calls f for each log batch in frames after seq, oldest first, and with
	// nil where frames are missing. The batch is only valid during the call.
	Replay(after uint64, f func(*signal.Batch)) error
}

// record is what is kept of one generation of one file.
type record struct {
	id      string
	key     key
	gen     int64
	head    head
	off     int64
	lanes   [2]int64 // cri: where each iostream goes on, at least off
	edge    []byte   // the bytes before off, if they are known; read-only
	path    string
	root    string
	seen    int64    // Unix seconds
	enc     encoding // if its lines are recoded: what its bytes are to be taken for
	retired bool     // the file is gone, or holds another generation

	used bool // not written: a file has taken it over
}

// state is what a snapshot holds.
type state struct {
	seq      uint64 // all lines up to this frame are accounted for in files
	patterns []string
	files    []record
}

const (
	snapshotName  = "offsets"
	snapshotMagic = "CWTAIL1\n"
)

var errSnapshot = errors.New("snapshot of log offsets is damaged")

// snapshotChunk is how much of a snapshot is in memory while it is written: that of
// ten thousand files has megabytes, and is written every few seconds.
const snapshotChunk = 64 << 10

// writeState writes a snapshot to w and returns its length:
//
//	magic seq count{pattern} count{record} crc32c
//
// with all numbers but the checksum as varints, and strings behind their length.
// records yields n of them, which are valid until the next one.
func writeState(w io.Writer, seq uint64, patterns []string, n int, records iter.Seq[*record]) (length int, err error) {
	buf := append(make([]byte, 0, snapshotChunk), snapshotMagic...)
	buf = binary.AppendUvarint(buf, seq)
	buf = binary.AppendUvarint(buf, uint64(len(patterns)))
	for _, p := range patterns {
		buf = appendString(buf, p)
	}
	buf = binary.AppendUvarint(buf, uint64(n))
	sum := uint32(0)
	put := func() {
		if err == nil {
			sum = crc32.Update(sum, castagnoli, buf)
			_, err = w.Write(buf)
			length += len(buf)
		}
		buf = buf[:0]
	}
	for r := range records {
		if buf = appendRecord(buf, r); len(buf) > snapshotChunk*3/4 {
			put()
		}
	}
	put()
	if err == nil {
		_, err = w.Write(binary.LittleEndian.AppendUint32(buf, sum))
	}
	return length + crc32.Size, err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendRecord(dst []byte, r *record) []byte {
	dst = appendString(dst, r.id)
	for _, v := range [...]uint64{r.key.dev, r.key.ino, uint64(r.gen), uint64(r.head.n), r.head.sum,
		uint64(r.off), uint64(r.lanes[0]), uint64(r.lanes[1]), uint64(r.seen)} {
		dst = binary.AppendUvarint(dst, v)
	}
	flags := byte(r.enc) << 1
	if r.retired {
		flags |= 1
	}
	dst = append(dst, flags)
	dst = append(binary.AppendUvarint(dst, uint64(len(r.edge))), r.edge...)
	dst = appendString(dst, r.path)
	return appendString(dst, r.root)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// parseState is the inverse of writeState. It accepts nothing else.
func parseState(p []byte) (*state, error) {
	body, ok := bytes.CutPrefix(p, []byte(snapshotMagic))
	if !ok || len(body) < 4 {
		return nil, errSnapshot
	}
	body, sum := body[:len(body)-4], binary.LittleEndian.Uint32(p[len(p)-4:])
	if crc32.Checksum(p[:len(p)-4], castagnoli) != sum {
		return nil, errSnapshot
	}
	r := reader{p: body}
	s := &state{seq: r.uint()}
	for range r.count() {
		s.patterns = append(s.patterns, r.string())
	}
	for range r.count() {
		s.files = append(s.files, r.record())
	}
	if r.bad || len(r.p) > 0 {
		return nil, errSnapshot
	}
	return s, nil
}

// reader takes a snapshot apart; bad sticks.
type reader struct {
	p   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.bad, r.p = true, nil
		return 0
	}
	r.p = r.p[n:]
	return v
}

// int reads a number that is never negative.
func (r *reader) int() int64 {
	v := r.uint()
	r.bad = r.bad || v > 1<<63-1
	return int64(v)
}

// count reads how many things follow, each of at least one byte.
func (r *reader) count() int {
	n := r.uint()
	if n > uint64(len(r.p)) {
		r.bad, r.p = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) string() string {
	n := r.count()
	s := string(r.p[:n])
	r.p = r.p[n:]
	return s
}

func (r *reader) record() record {
	rec := record{id: r.string(), key: key{r.uint(), r.uint()}, gen: r.int()}
	rec.head = head{int(min(r.uint(), headBytes+1)), r.uint()}
	rec.off, rec.lanes[0], rec.lanes[1], rec.seen = r.int(), r.int(), r.int(), r.int()
	if len(r.p) == 0 || r.p[0]>>1 >= byte(encEnd) || rec.head.n > headBytes {
		r.bad, r.p = true, nil
		return rec
	}
	rec.enc, rec.retired = encoding(r.p[0]>>1), r.p[0]&1 == 1
	r.p = r.p[1:]
	if edge := r.string(); edge != "" {
		rec.edge = []byte(edge)
	}
	rec.path, rec.root = r.string(), r.string()
	r.bad = r.bad || len(rec.edge) > edgeBytes || int64(len(rec.edge)) > rec.off
	return rec
}

// save writes a snapshot so that after a crash either the old or the new one is
// there, whole. write gives it to a file and returns its length.
func save(dir string, write func(io.Writer) (int, error)) (int, error) {
	p := filepath.Join(dir, snapshotName)
	tmp, err := os.OpenFile(p+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, fmt.Errorf("write log offsets: %w", err)
	}
	n, err := write(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(p+".tmp", p)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return 0, fmt.Errorf("write log offsets: %w", err)
	}
	return n, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// load returns what is known of the files read before: the snapshot, brought
// forward by the frames behind it. A damaged snapshot is set aside and named in
// damaged; then the frames are all there is.
func load(dir string, mem Memory, now time.Time) (s *state, damaged string, err error) {
	s = &state{}
	p := filepath.Join(dir, snapshotName)
	raw, err := os.ReadFile(p)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, "", fmt.Errorf("read log offsets: %w", err)
	default:
		if parsed, perr := parseState(raw); perr == nil {
			s = parsed
		} else {
			damaged = p + ".bad"
			if err := os.Rename(p, damaged); err != nil {
				return nil, "", fmt.Errorf("set the damaged log offsets aside: %w", err)
			}
		}
	}
	if err := s.replay(mem, now); err != nil {
		return nil, damaged, fmt.Errorf("read log offsets out of the spool: %w", err)
	}
	return s, damaged, nil
}

// replay moves each file behind the last line the spool holds of it.
func (s *state) replay(mem Memory, now time.Time) error {
	byGen := make(map[int64]int, len(s.files))
	for i := range s.files {
		byGen[s.files[i].gen] = i
	}
	touched := map[int]bool{}
	gap := false             // frames are missing
	behind := map[int]bool{} // a gap: what the spool has of the file after it is read again
	return mem.Replay(s.seq, func(b *signal.Batch) {
		if b == nil {
			gap = true
			return
		}
		clear(touched)
		for i := range b.Logs {
			blk := &b.Logs[i]
			id, lane, ok := parseIdentity(blk.File)
			if !ok {
				continue // of another reader
			}
			j, known := byGen[id.gen]
			if !known {
				path := signal.Lookup(blk.Stream.Labels(), signal.LabelLogFile)
				j = len(s.files)
				byGen[id.gen] = j
				s.files = append(s.files, record{id: id.String(), key: id.key, gen: id.gen, head: id.head, path: path, root: path, seen: now.Unix(), enc: id.enc})
			}
			if r := &s.files[j]; r.id == "" { // it was empty when the snapshot was taken
				r.id, r.head, r.enc = id.String(), id.head, id.enc
			}
			if r := &s.files[j]; behind[j] || gap && blk.Start > max(r.off, r.lanes[0], r.lanes[1]) {
				behind[j] = true
				continue
			}
			s.files[j].forward(blk.End, lane, touched[j])
			touched[j] = true
		}
	})
}

// forward takes note of a block that ends at end. In one batch the lanes of a
// file each have their block, and a lane without one has nothing pending.
func (r *record) forward(end int64, lane string, again bool) {
	if end <= r.off && lane == "" {
		return
	}
	r.edge = nil
	switch i := laneOf(lane); {
	case i < 0:
		r.off = end
	case again:
		r.lanes[i] = end
		r.off = min(r.lanes[0], r.lanes[1])
	default:
		r.lanes = [2]int64{end, end}
		r.off = end
	}
}

// archive holds what is known of files that no open file stands for: of an
// earlier run, deleted, truncated.
type archive struct {
	byKey  map[key][]*record
	byPath map[string][]*record
	all    []*record
}

const (
	archiveAge = 24 * 60 * 60 // s; a folder that comes back within a day, a volume that was unmounted, is not read twice
	archiveMax = 16384        // of ~250 bytes: 4 MiB
)

func (a *archive) add(r record) {
	if a.byKey == nil {
		a.byKey, a.byPath = map[key][]*record{}, map[string][]*record{}
	}
	p := &r
	a.all = append(a.all, p)
	a.byKey[r.key] = append(a.byKey[r.key], p)
	a.byPath[r.path] = append(a.byPath[r.path], p)
}

// sweep forgets what is too old, used up or too much.
func (a *archive) sweep(now int64) {
	keep := slices.DeleteFunc(slices.Clone(a.all), func(r *record) bool { return r.used || now-r.seen > archiveAge })
	if len(keep) > archiveMax {
		slices.SortFunc(keep, func(x, y *record) int { return int(x.seen - y.seen) })
		keep = keep[len(keep)-archiveMax:]
	}
	if len(keep) == len(a.all) {
		return
	}
	*a = archive{}
	for _, r := range keep {
		a.add(*r)
	}
}
