package kube

import (
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// cron is a schedule in the five fields of cron(5): a bit per value at which it
// fires. A day must match both days, or either where both are restricted.
type cron struct {
	minute, hour, day, month, weekday uint64
	anyDay, anyWeekday                bool
	every                             time.Duration // of @every; the fields are unused then
}

// words are the schedules that have names.
func words(s string) string {
	switch s {
	case "@yearly", "@annually":
		return "0 0 1 1 *"
	case "@monthly":
		return "0 0 1 * *"
	case "@weekly":
		return "0 0 * * 0"
	case "@daily", "@midnight":
		return "0 0 * * *"
	case "@hourly":
		return "0 * * * *"
	}
	return s
}

var (
	monthNames   = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdayNames = [...]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// parseCron reads a schedule; ok is false where it fits no grammar of CronJobs.
func parseCron(s string) (c cron, ok bool) {
	if rest, found := strings.CutPrefix(s, "@every "); found {
		d, err := time.ParseDuration(strings.TrimSpace(rest))
		return cron{every: max(d, time.Second).Truncate(time.Second)}, err == nil && d > 0
	}
	f := strings.Fields(words(s))
	if len(f) != 5 {
		return cron{}, false
	}
	ok = true
	field := func(s string, lo, hi int, names []string) uint64 {
		set, good := parseCronField(s, lo, hi, names)
		ok = ok && good
		return set
	}
	c.minute = field(f[0], 0, 59, nil)
	c.hour = field(f[1], 0, 23, nil)
	c.day = field(f[2], 1, 31, nil)
	c.month = field(f[3], 1, 12, monthNames[:])
	c.weekday = field(f[4], 0, 7, weekdayNames[:])
	if c.weekday&(1<<7) != 0 { // both 0 and 7 are Sunday
		c.weekday |= 1
	}
	c.anyDay = f[2][0] == '*' || f[2][0] == '?'
	c.anyWeekday = f[4][0] == '*' || f[4][0] == '?'
	return c, ok
}

// parseCronField reads {item ","} item, with item = ("*" | "?" | N ["-" N]) ["/" STEP].
func parseCronField(s string, lo, hi int, names []string) (set uint64, ok bool) {
	for item := range strings.SplitSeq(s, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 || n > 64 {
				return 0, false
			}
			step = n
		}
		from, to := lo, hi
		if span != "*" && span != "?" {
			a, b, isRange := strings.Cut(span, "-")
			if from, ok = cronValue(a, lo, names); !ok {
				return 0, false
			}
			switch {
			case isRange:
				if to, ok = cronValue(b, lo, names); !ok {
					return 0, false
				}
			case !stepped:
				to = from
			}
		}
		if from < lo || to > hi || from > to {
			return 0, false
		}
		for v := from; v <= to; v += step {
			set |= 1 << v
		}
	}
	return set, set != 0
}

func cronValue(s string, lo int, names []string) (int, bool) {
	for i, n := range names {
		if strings.EqualFold(s, n) {
			return lo + i, true
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0
}

// next returns the first moment after t at which c fires, in t's zone. A
// schedule that never comes, such as 30 February, has none within five years.
func (c cron) next(t time.Time) (time.Time, bool) {
	if c.every > 0 {
		return t.Truncate(time.Second).Add(c.every), true
	}
	loc := t.Location()
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, loc)
	for range 5*366 + 1 {
		if c.month&(1<<int(day.Month())) != 0 && c.onDay(day) {
			for h := c.hour; h != 0; h &= h - 1 {
				for m := c.minute; m != 0; m &= m - 1 {
					at := time.Date(day.Year(), day.Month(), day.Day(), bits.TrailingZeros64(h), bits.TrailingZeros64(m), 0, 0, loc)
					if at.After(t) {
						return at, true
					}
				}
			}
		}
		day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, loc)
	}
	return time.Time{}, false
}

func (c cron) onDay(day time.Time) bool {
	d := c.day&(1<<day.Day()) != 0
	w := c.weekday&(1<<int(day.Weekday())) != 0
	if c.anyDay || c.anyWeekday {
		return d && w
	}
	return d || w
}
