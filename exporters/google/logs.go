package google

import (
	"strconv"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends lines [lo, hi) of b as a WriteLogEntriesRequest:
//
//	logName      stdout or stderr of a container; else the program, the file's
//	             source, syslog, or causeway
//	resource     as metrics have it (resource.go)
//	labels       what the resource does not say; compute.googleapis.com/resource_name
//	             is the node, as with GKE's own logging; then the line's own labels
//	insertId     of stream, file and place in it: the same when it comes again
//	severity     of the line's level
//	trace        projects/PROJECT/traces/ID where the line names one
//	jsonPayload  if the line is one JSON object; else textPayload
//
// A line that would make its entry too large is cut. Lines of pods are skipped
// where GKE's own logging has them (container_logs).
func (e *logs) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	start := len(dst)
	dst = appendVarint(dst, 5, 1) // partial_success: a bad entry costs itself
	first, written := 0, 0
	for i := range b.Logs {
		blk := &b.Logs[i]
		from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
		if from < to {
			var n int
			dst, n = e.block(dst, blk, from, to)
			written += n
		}
		if first += len(blk.Lines); first >= hi {
			break
		}
	}
	if written == 0 {
		return dst[:start], hi, hi - lo
	}
	return dst, hi, hi - lo - written
}

// block appends lines [from, to) of one block and returns how many those were.
// What all of them have in common is written with the first and copied.
func (e *logs) block(dst []byte, blk *signal.LogBlock, from, to int) (_ []byte, n int) {
	labels := blk.Stream.Labels()
	var id identity
	id.read(labels)
	if !e.conf.Logs || !e.pods && id.pod != "" {
		return dst, 0
	}
	origin := hashOf(hashOf(hashSeed, labels), blk.File)
	var head [2]int
	for i := from; i < to; i++ {
		l := blk.Line(i)
		entry := len(dst)
		dst = append(dst, 4<<3|bytesType)
		var at int
		dst, at = open(dst)
		if head[1] != 0 {
			dst = append(dst, dst[head[0]:head[1]]...)
		} else {
			dst = e.head(dst, labels, &id)
			head = [2]int{at + 2, len(dst)}
		}
		dst = appendInsertID(dst, origin, uint64(l.ID))
		sec, nanos := floorDiv(l.Time, 1e9)
		dst = appendTime(dst, 9, sec, nanos)
		dst = appendVarint(dst, 10, severity(l.Level))
		if len(l.Attrs) > 0 {
			dst = e.attributes(dst, view(l.Attrs), mostEntry/2-(len(dst)-entry))
		}
		dst = appendPayload(dst, l.Text, mostEntry-(len(dst)-entry))
		dst = shut(dst, at)
		if moved := len(dst) - at - 2; moved < 0x80 || moved >= 1<<14 {
			head = [2]int{} // the message was moved, see shut
		}
	}
	return dst, to - from
}

// head appends what the entries of a stream have in common.
func (e *logs) head(dst []byte, labels string, id *identity) []byte {
	dst = append(dst, 12<<3|bytesType)
	var at int
	dst, at = open(dst)
	dst = append(append(dst, e.where.parent...), "/logs/"...)
	dst = appendLogID(dst, logOf(labels))
	dst = shut(dst, at)

	res := e.where.resourceOf("", id)
	dst = e.where.append(dst, 8, res, id)
	return appendLogLabels(dst, labels, res, id, e.own)
}

// logOf returns which log a stream belongs to.
func logOf(labels string) string {
	if stream := signal.Lookup(labels, signal.LabelLogStream); stream != "" {
		return stream
	}
	for _, key := range [...]string{signal.LabelLogSource, signal.LabelAppName, signal.LabelService} {
		if v := signal.Lookup(labels, key); v != "" {
			return v
		}
	}
	return "causeway"
}

// appendLogID appends the name of a log: letters, digits, and _.- (loggingpb,
// LogEntry.log_name); others become _.
func appendLogID(dst []byte, name string) []byte {
	for i := range min(len(name), mostLogName/2) {
		c := name[i]
		if wordByte[c] != c && c != '.' && c != '-' {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendLogLabels appends the labels of an entry that its resource does not say.
// Their keys may be anything: they stay as they are.
func appendLogLabels(dst []byte, labels string, res resource, id *identity, own []ownLabel) []byte {
	node := id.node
	if node == "" {
		node = id.host
	}
	if node != "" && res != k8sNode && res != genericNode {
		dst = appendLogLabel(dst, "compute.googleapis.com/resource_name", node)
	}
	n := 0
	for rest := labels; n < mostLogLabels/2; {
		k, v, next, ok := signal.NextLabel(rest)
		if !ok {
			break
		}
		rest = next
		if k == "" || v == "" || k == signal.LabelNode || res.said(k, id) {
			continue
		}
		dst = appendLogLabel(dst, k, v)
		n++
	}
	for _, l := range own[:min(len(own), mostLogLabels/4)] {
		if signal.Lookup(labels, l.key) == "" {
			dst = appendLogLabel(dst, l.key, l.value)
		}
	}
	return dst
}

func appendLogLabel(dst []byte, key, value string) []byte {
	dst = append(dst, 11<<3|bytesType)
	dst, at := open(dst)
	dst = appendText(dst, 1, key, mostLogKey)
	dst = appendText(dst, 2, value, mostLogValue)
	return shut(dst, at)
}

// attributes appends a line's own labels, in at most most bytes.
func (e *logs) attributes(dst []byte, set string, most int) []byte {
	end := len(dst) + max(most, 0)
	for n := 0; n < mostLogLabels/4; {
		k, v, rest, ok := signal.NextLabel(set)
		if !ok {
			break
		}
		set = rest
		if k == "" || v == "" || len(dst)+3*min(len(k), mostLogKey)+3*min(len(v), mostLogValue)+16 > end {
			continue
		}
		switch {
		case k == signal.LabelTraceID && hexOf(v, 32):
			var at int
			dst, at = openField(dst, 22)
			dst = append(append(append(dst, e.where.parent...), "/traces/"...), v...)
			dst = shut(dst, at)
		case k == signal.LabelSpanID && hexOf(v, 16):
			dst = appendText(dst, 27, v, 16)
		default:
			dst = appendLogLabel(dst, k, v)
			n++
		}
	}
	return dst
}

// hexOf reports whether s is n hexadecimal digits.
func hexOf(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range n {
		if c := s[i] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// appendPayload appends a line, in at most most bytes.
func appendPayload(dst, text []byte, most int) []byte {
	if len(text) > 1 && text[0] == '{' && len(text) < most {
		start := len(dst)
		if with, ok := appendJSON(append(dst, 6<<3|bytesType), text); ok && len(with)-start <= most {
			return with
		}
		dst = dst[:start]
	}
	s := view(text)
	if s == "" {
		return append(dst, 3<<3|bytesType, 0) // an entry must have a payload
	}
	if !utf8.ValidString(s) && 3*len(s) > most {
		s = s[:min(len(s), most/3)] // each bad byte becomes three
	}
	return appendText(dst, 3, s, most-8)
}

// hashSeed and hashPrime are those of FNV-1a.
const (
	hashSeed  = 14695981039346656037
	hashPrime = 1099511628211
)

// hashOf goes on hashing with s, and a byte that tells "a", "bc" from "ab", "c".
func hashOf(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * hashPrime
	}
	return (h ^ 0xff) * hashPrime
}

// appendInsertID appends an insert_id of 32 hexadecimal digits. Entries of one
// time are shown in its order: that of the lines.
func appendInsertID(dst []byte, origin, n uint64) []byte {
	dst = append(dst, 4<<3|bytesType, 32)
	return appendHex(appendHex(dst, origin), n)
}

func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}

// checkStatus returns the name of a service check's outcome.
func checkStatus(s uint8) string {
	names := [...]string{"ok", "warning", "critical", "unknown"}
	if int(s) < len(names) {
		return names[s]
	}
	return strconv.Itoa(int(s))
}
