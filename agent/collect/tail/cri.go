package tail

import (
	"bytes"
	"time"
)

// piece is one record of a container runtime; text points into it, or into the
// memory that its escapes were taken out to.
type piece struct {
	time    int64 // Unix ns; 0 if the record's own cannot be told in these
	lane    int
	partial bool
	text    []byte
}

// parseCRI takes a record apart:
//
//	2016-10-06T00:17:09.669794202Z stdout P text
//
// (kubernetes/kubernetes, pkg/kubelet/kuberuntime/logs: RFC 3339 with
// nanoseconds, stream, tags divided by colons, of which P and F are known.)
func parseCRI(p []byte, at *stamps) (rec piece, ok bool) {
	i := bytes.IndexByte(p, ' ')
	if i < 0 {
		return rec, false
	}
	stamp, p := p[:i], p[i+1:]
	var stream, tag, text []byte
	if len(p) > 8 && p[6] == ' ' && p[8] == ' ' { // nearly always: both streams have six letters
		stream, tag, text = p[:6], p[7:8], p[9:]
	} else {
		if stream, p, ok = bytes.Cut(p, []byte{' '}); !ok {
			return rec, false
		}
		tag, text, _ = bytes.Cut(p, []byte{' '}) // an empty line may lack the last space
		tag, _, _ = bytes.Cut(tag, []byte{':'})
	}
	if rec.lane = laneOf(string(stream)); rec.lane < 0 {
		return rec, false
	}
	switch string(tag) {
	case "P":
		rec.partial = true
	case "F":
	default:
		return rec, false
	}
	if rec.time, ok = at.parse(stamp); !ok {
		return rec, false
	}
	rec.text = text
	return rec, true
}

// criFraming is how many bytes a record takes at least that are not its text.
const criFraming = len("2016-10-06T00:17:09Z stdout F \n")

// stamps reads the times of records that follow each other. Most are of the same
// second, so that only what is behind the point has to be read.
type stamps struct {
	second [len("2016-10-06T00:17:09.")]byte // as it was written, with the point
	ns     int64
}

// parse is parseStamp.
func (s *stamps) parse(p []byte) (ns int64, ok bool) {
	n := len(s.second)
	if len(p) > n+1 && len(p) <= n+10 && p[len(p)-1] == 'Z' && string(p[:n]) == string(s.second[:]) {
		frac := p[n : len(p)-1]
		for _, c := range frac {
			if c -= '0'; c > 9 {
				return parseStamp(p)
			}
			ns = ns*10 + int64(c)
		}
		for range 9 - len(frac) {
			ns *= 10
		}
		return s.ns + ns, true
	}
	if ns, ok = parseUTC(p); !ok {
		return parseStamp(p)
	}
	if len(p) > n+1 {
		copy(s.second[:], p)
		s.ns = ns - ns%1e9
	}
	return ns, true
}

// parseStamp reads an RFC 3339 time. A time that does not fit into 64 bits of
// nanoseconds (before 1678, after 2261) is good and reads as 0.
func parseStamp(p []byte) (ns int64, ok bool) {
	if ns, ok = parseUTC(p); ok {
		return ns, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(p))
	switch {
	case err != nil:
		return 0, false
	case t.Year() < 1678 || t.Year() > 2261:
		return 0, true
	}
	return t.UnixNano(), true
}

// parseUTC reads what runtimes write nearly always, YYYY-MM-DDTHH:MM:SS.fZ, of
// the years 1970 to 2261, without a time.Time. It leaves the rest to others.
func parseUTC(p []byte) (ns int64, ok bool) {
	if len(p) < 20 || len(p) > 30 || p[4] != '-' || p[7] != '-' || p[10] != 'T' || p[13] != ':' || p[16] != ':' || p[len(p)-1] != 'Z' {
		return 0, false
	}
	bad := false
	num := func(p []byte) (v int64) {
		for _, c := range p {
			bad = bad || c < '0' || c > '9'
			v = v*10 + int64(c-'0')
		}
		return v
	}
	y, m, d := num(p[:4]), num(p[5:7]), num(p[8:10])
	h, min, s := num(p[11:13]), num(p[14:16]), num(p[17:19])
	if frac := p[19 : len(p)-1]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) < 2 {
			return 0, false
		}
		ns = num(frac[1:])
		for range 10 - len(frac) {
			ns *= 10
		}
	}
	if bad || y < 1970 || y > 2261 || m < 1 || m > 12 || d < 1 || d > 28 && d > daysIn(y, m) || h > 23 || min > 59 || s > 59 {
		return 0, false
	}
	return ((days(y, m, d)*24+h)*60+min)*60e9 + s*1e9 + ns, true
}

func daysIn(y, m int64) int64 {
	if m == 12 {
		return 31
	}
	return days(y, m+1, 1) - days(y, m, 1)
}

// days counts from 1970-01-01 in the Gregorian calendar; years begin in March,
// so that the odd day stands last.
func days(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	return 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 1 - 719468
}
