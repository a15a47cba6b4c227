package logline

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

const (
	second   = int64(time.Second)
	day      = 24 * 3600 // seconds
	lastYear = 2261      // the last whole year that nanoseconds in 64 bits reach
	// A number below this many seconds (March 1973) in a field called "time" is
	// a duration more often than a date.
	leastEpoch = 100_000_000
)

// believe returns ns, or 0 if it lies before 1970 or more than a day behind at,
// the time of reading: such a clock is wrong, or it is no clock.
func believe(ns, at int64) int64 {
	if ns <= 0 || at > 0 && ns-at > day*second {
		return 0
	}
	return ns
}

// date is what stands in a stamp, before anyone asked whether it exists.
type date struct{ year, month, day, hour, min, sec int }

// unix returns d in UTC as seconds since 1970; ok is false if the calendar has
// no such day, or the clock no such time. A leap second is the second after it.
func (d date) unix() (s int64, ok bool) {
	if uint(d.month-1) > 11 || uint(d.hour) > 23 || uint(d.min) > 59 || uint(d.sec) > 60 || d.year < 1970 || d.year > lastYear {
		return 0, false
	}
	leap := d.year%4 == 0 && (d.year%100 != 0 || d.year%400 == 0)
	most := 30 + (d.month^d.month>>3)&1
	if d.month == 2 {
		if most = 28; leap {
			most = 29
		}
	}
	if d.day < 1 || d.day > most {
		return 0, false
	}
	// Years begin in March here, so that a leap day is the last of its year;
	// from March on months have 31 30 31 30 31 days, and again.
	y, m := d.year, d.month-3
	if m < 0 {
		y, m = y-1, m+12
	}
	days := y*365 + y/4 - y/100 + y/400 + (153*m+2)/5 + d.day - 719469
	return int64(days)*day + int64(d.hour*3600+d.min*60+d.sec), true
}

// two returns the number that two digits stand for; 200 or more if they are none.
func two(b []byte) int {
	t, o := uint(b[0]-'0'), uint(b[1]-'0')
	if t > 9 || o > 9 {
		return 200
	}
	return int(t*10 + o)
}

// clockAt reads HH:MM:SS at the start of b.
func (d *date) clockAt(b []byte) bool {
	if len(b) < 8 || b[2] != ':' || b[5] != ':' {
		return false
	}
	d.hour, d.min, d.sec = two(b), two(b[3:]), two(b[6:])
	return d.hour|d.min|d.sec < 128
}

// yearAt reads YYYY at the start of b.
func (d *date) yearAt(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	c, y := two(b), two(b[2:])
	d.year = c*100 + y
	return c < 100 && y < 100
}

// monthAt reads Jan … Dec, in any case, at the start of b.
func (d *date) monthAt(b []byte) bool {
	if len(b) < 3 {
		return false
	}
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	x, y, z := b[0]|0x20, b[1]|0x20, b[2]|0x20
	for i := 0; i < len(names); i += 3 {
		if names[i] == x && names[i+1] == y && names[i+2] == z {
			d.month = i/3 + 1
			return true
		}
	}
	return false
}

// dayAt reads a day of one or two digits, the first of which may be a space,
// and returns its length, 0 if there is none.
func (d *date) dayAt(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if b[0] == ' ' && isDigit(b[1]) {
		d.day = int(b[1] - '0')
		return 2
	}
	if d.day = two(b); d.day < 100 {
		return 2
	}
	if isDigit(b[0]) {
		d.day = int(b[0] - '0')
		return 1
	}
	return 0
}

// fraction reads .123456 or ,123 at the start of b as nanoseconds, and returns
// its length; digits below the nanosecond are passed over.
func fraction(b []byte) (ns int64, n int) {
	if len(b) < 2 || b[0] != '.' && b[0] != ',' || !isDigit(b[1]) {
		return 0, 0
	}
	n = 1
	if len(b) >= 9 {
		if v, ok := eightDigits(binary.LittleEndian.Uint64(b[1:])); ok {
			ns, n = v*10, 9
			if len(b) == 9 || !isDigit(b[9]) {
				return ns, n
			}
			ns += int64(b[9] - '0')
			for n = 10; n < len(b) && isDigit(b[n]); {
				n++
			}
			return ns, n
		}
	}
	for ; n < len(b) && isDigit(b[n]); n++ { // less than eight
		ns = ns*10 + int64(b[n]-'0')
	}
	for i := n; i < 10; i++ {
		ns *= 10
	}
	return ns, n
}

// eightDigits returns the number that eight digits stand for, the first of
// which is the lowest byte of w.
func eightDigits(w uint64) (v int64, ok bool) {
	const zeros, tops = 0x3030303030303030, 0xf0f0f0f0f0f0f0f0
	if w&tops != zeros || (w+0x0606060606060606)&tops != zeros {
		return 0, false
	}
	w -= zeros
	w = w*10 + w>>8 // pairs
	const mask = 0x000000ff000000ff
	w = (w&mask*(100+1000000<<32) + w>>16&mask*(1+10000<<32)) >> 32
	return int64(w), true
}

// zone reads Z, +01:00, -0700, +02 at the start of b, or the same or a name
// after one space. n is its length, 0 if there is none, and then the stamp is
// in UTC. A name that means several zones makes known false.
func zone(b []byte) (offset int64, n int, known bool) {
	if len(b) == 0 {
		return 0, 0, true
	}
	switch b[0] {
	case 'Z', 'z':
		if len(b) == 1 || !isLetter(b[1]) {
			return 0, 1, true
		}
	case '+', '-':
		return numericZone(b)
	case ' ':
		if len(b) > 1 && (b[1] == '+' || b[1] == '-') {
			if offset, n, known = numericZone(b[1:]); n >= 5 { // " -1" and " - text" are something else
				return offset, n + 1, known
			}
			return 0, 0, true
		}
		end := 1
		for end < len(b) && end < 7 && 'A' <= b[end] && b[end] <= 'Z' {
			end++
		}
		if end >= 4 && (end == len(b) || !isLetter(b[end]) && !isDigit(b[end])) {
			return namedZone(b[1:end])
		}
	}
	return 0, 0, true
}

func numericZone(b []byte) (offset int64, n int, known bool) {
	if len(b) < 3 {
		return 0, 0, true
	}
	h, m := two(b[1:]), 0
	n = 3
	if len(b) >= 6 && b[3] == ':' && two(b[4:]) < 60 {
		m, n = two(b[4:]), 6
	} else if len(b) >= 5 && two(b[3:]) < 60 {
		m, n = two(b[3:]), 5
	}
	if h > 23 {
		return 0, 0, true
	}
	offset = int64(h*3600 + m*60)
	if b[0] == '-' {
		offset = -offset
	}
	return offset, n, true
}

// namedZone knows the zones whose names mean one thing only.
func namedZone(b []byte) (offset int64, n int, known bool) {
	n = len(b) + 1
	switch string(b) {
	case "UTC", "GMT", "WET":
		return 0, n, true
	case "CET", "WEST":
		return 3600, n, true
	case "CEST", "EET", "SAST":
		return 2 * 3600, n, true
	case "EEST", "MSK":
		return 3 * 3600, n, true
	case "JST", "KST":
		return 9 * 3600, n, true
	case "EST":
		return -5 * 3600, n, true
	case "EDT":
		return -4 * 3600, n, true
	case "CDT":
		return -5 * 3600, n, true
	case "MDT":
		return -6 * 3600, n, true
	case "MST", "PDT":
		return -7 * 3600, n, true
	case "PST":
		return -8 * 3600, n, true
	case "CST", "IST", "BST", "AST": // of America or China, of India, Israel or Ireland, …
		return 0, n, false
	}
	return 0, 0, true // another word
}

// finish adds the fraction and the zone that stand at b[n:].
func (d date) finish(b []byte, n int) (ns int64, end int) {
	s, ok := d.unix()
	if !ok {
		return 0, 0
	}
	frac, w := fraction(b[n:])
	n += w
	offset, w, known := zone(b[n:])
	if !known {
		return 0, n + w
	}
	return (s-offset)*second + frac, n + w
}

// isoAt reads 2026-11-23T13:21:01, with a space or a slash where people put
// one, and a fraction and a zone or without. end is 0 if b does not begin so;
// ns is 0 if it does, but the time is not known from it.
func isoAt(b []byte) (ns int64, end int) {
	if len(b) < 19 || b[4] != b[7] || b[4] != '-' && b[4] != '/' || b[10] != 'T' && b[10] != ' ' && b[10] != 't' {
		return 0, 0
	}
	var d date
	if !d.yearAt(b) || !d.clockAt(b[11:]) {
		return 0, 0
	}
	d.month, d.day = two(b[5:]), two(b[8:])
	if d.year < 1970 || d.year > lastYear { // a date, but none of ours
		if d.month > 12 || d.day > 31 {
			return 0, 0
		}
		_, w := fraction(b[19:])
		_, z, _ := zone(b[19+w:])
		return 0, 19 + w + z
	}
	return d.finish(b, 19)
}

// clock remembers the minute of the last stamp: the next one lies in the same,
// nearly always.
type clock struct {
	minute [16]byte // as it was written
	start  int64    // Unix seconds, 0 if none is remembered
}

// iso is isoAt.
func (c *clock) iso(b []byte) (ns int64, end int) {
	if len(b) < 20 || b[16] != ':' {
		return isoAt(b)
	}
	sec := two(b[17:])
	if c.start == 0 || c.minute != [16]byte(b) {
		start, end := isoAt(b[:19])
		if end == 0 || start <= 0 || sec > 59 {
			return isoAt(b)
		}
		c.minute, c.start = [16]byte(b), start/second-int64(sec)
	}
	if sec > 59 {
		return isoAt(b)
	}
	if b[19] == 'Z' && len(b) == 20 {
		return (c.start + int64(sec)) * second, 20
	}
	frac, w := fraction(b[19:])
	offset, z, known := zone(b[19+w:])
	if !known {
		return 0, 19 + w + z
	}
	return (c.start+int64(sec)-offset)*second + frac, 19 + w + z
}

// stampAt reads any of the stamps that programs put in front of their lines:
//
//	2026-11-23T13:21:01.123Z   2026/11/23 13:21:01   1795440061.123   1795440061123
//	23/Nov/2026:13:21:01 +0000   23-Nov-2026 13:21:01 UTC   23 Nov 2026 13:21:01.123
//	Mon Nov 23 13:21:01.123456 2026   Mon, 23 Nov 2026 13:21:01 GMT   Nov 23 13:21:01
//
// The last gets the year that brings it nearest to at. Without a zone it is
// UTC. The results are isoAt's.
func stampAt(b []byte, at int64) (ns int64, end int) {
	if len(b) < 13 {
		return 0, 0
	}
	switch {
	case isDigit(b[0]):
		if b[4] == '-' || b[4] == '/' {
			return isoAt(b)
		}
		if b[2] == ' ' || b[2] == '/' || b[2] == '-' || b[1] == ' ' {
			return dayFirst(b)
		}
		return epochAt(b)
	case isLetter(b[0]):
		if ns, end = syslogStamp(b, at); end > 0 {
			return ns, end
		}
		if b[3] == ',' && b[4] == ' ' {
			if ns, end = dayFirst(b[5:]); end > 0 {
				return ns, end + 5
			}
		}
		return ctimeAt(b)
	}
	return 0, 0
}

// epochAt reads seconds or milliseconds since 1970, as squid and others write
// them: ten digits and a fraction, or thirteen digits.
func epochAt(b []byte) (ns int64, end int) {
	for end < len(b) && isDigit(b[end]) {
		end++
	}
	digits := end
	if end < len(b) && b[end] == '.' {
		for end++; end < len(b) && isDigit(b[end]); {
			end++
		}
	}
	if digits != 13 && (digits != 10 || end == digits) || end < len(b) && b[end] != ' ' && b[end] != ']' && b[end] != '\t' {
		return 0, 0
	}
	return epoch(b[:end]), end
}

// dayFirst reads 23 Nov 2026 13:21:01, with any one byte between the parts.
func dayFirst(b []byte) (ns int64, end int) {
	var d date
	n := d.dayAt(b)
	if n == 0 || len(b) < n+18 || !d.monthAt(b[n+1:]) || !d.yearAt(b[n+5:]) || !d.clockAt(b[n+10:]) {
		return 0, 0
	}
	return d.finish(b, n+18)
}

// ctimeAt reads Mon Nov 23 13:21:01.123456 2026.
func ctimeAt(b []byte) (ns int64, end int) {
	var d date
	if len(b) < 24 || b[3] != ' ' || b[7] != ' ' || b[10] != ' ' || !d.monthAt(b[4:]) || d.dayAt(b[8:]) != 2 || !d.clockAt(b[11:]) {
		return 0, 0
	}
	frac, w := fraction(b[19:])
	n := 19 + w
	if len(b) < n+5 || b[n] != ' ' || !d.yearAt(b[n+1:]) {
		return 0, 0
	}
	s, ok := d.unix()
	if !ok {
		return 0, 0
	}
	return s*second + frac, n + 5
}

// syslogStamp reads Nov 23 13:21:01 and gives it the year that brings it
// nearest to at; without an at its time is not known.
func syslogStamp(b []byte, at int64) (ns int64, end int) {
	var d date
	if len(b) < 15 || b[3] != ' ' || b[6] != ' ' || !d.monthAt(b) || d.dayAt(b[4:]) != 2 || !d.clockAt(b[7:]) {
		return 0, 0
	}
	frac, w := fraction(b[15:])
	return d.nearest(at, frac), 15 + w
}

// nearest returns the time of d, which has no year, that is nearest to at among
// those one may believe.
func (d date) nearest(at, frac int64) int64 {
	if at <= 0 {
		return 0
	}
	best := int64(0)
	year := time.Unix(0, at).UTC().Year()
	for d.year = year - 1; d.year <= year+1; d.year++ {
		if s, ok := d.unix(); ok {
			if ns := believe(s*second+frac, at); ns != 0 && (best == 0 || distance(ns, at) < distance(best, at)) {
				best = ns
			}
		}
	}
	return best
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// epoch reads a decimal number of seconds, milli-, micro- or nanoseconds since
// 1970, which its size tells apart; 0 if it is none, or none that fits.
func epoch(b []byte) int64 {
	whole, n := uint64(0), 0
	for n < len(b) && isDigit(b[n]) {
		if n == 19 {
			return 0
		}
		whole = whole*10 + uint64(b[n]-'0')
		n++
	}
	frac := int64(0)
	if n > 0 && n < len(b) && b[n] == '.' {
		var w int
		frac, w = fraction(b[n:])
		n += w
	}
	if n == 0 || n < len(b) {
		return exponent(b)
	}
	return scaled(whole, frac)
}

// exponent is epoch for the numbers that encoders write as 1.795e+09.
func exponent(b []byte) int64 {
	if len(b) == 0 || len(b) > 32 || !isDigit(b[0]) {
		return 0
	}
	for i, c := range b { // what has not this form is a date or a version, and an error of ParseFloat's would be allocated
		switch {
		case isDigit(c), c == '.' && i == 1, c|0x20 == 'e' && i > 0, (c == '+' || c == '-') && i > 0 && b[i-1]|0x20 == 'e':
		default:
			return 0
		}
	}
	f, err := strconv.ParseFloat(view(b), 64)
	if err != nil || f < leastEpoch || f > math.MaxInt64/2 {
		return 0
	}
	whole, frac := math.Modf(f)
	return scaled(uint64(whole), int64(frac*1e9))
}

func scaled(whole uint64, frac int64) int64 {
	unit := int64(1)
	switch {
	case whole < leastEpoch:
		return 0
	case whole < 1e11:
		unit = second
	case whole < 1e14:
		unit = second / 1e3
	case whole < 1e17:
		unit = second / 1e6
	}
	const end = 9_214_646_400 // 2262-01-01, in seconds
	if whole >= uint64(end*(second/unit)) && unit == second || whole > uint64(math.MaxInt64/unit)-1 {
		return 0
	}
	return int64(whole)*unit + frac/(second/unit)
}

func isDigit(c byte) bool  { return c-'0' <= 9 }
func isLetter(c byte) bool { return c|0x20-'a' <= 'z'-'a' }
