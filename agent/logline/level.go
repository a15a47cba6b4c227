package logline

import "github.com/causeway-agent/causeway/agent/signal"

const unknown = signal.LevelUnknown

// The severities, as syslog numbers them.
const (
	emergency = iota
	alert
	critical
	failure
	warning
	notice
	info
	debug
)

// levelOf returns the severity a word stands for, in any case; unknown if it is
// none. What ends a program (fatal, panic) is critical: syslog's emergency is
// about the whole machine.
func levelOf(word []byte) uint8 {
	if len(word) == 0 || len(word) > 13 {
		return unknown
	}
	var low [13]byte
	for i, c := range word {
		low[i] = c | 0x20
	}
	switch string(low[:len(word)]) {
	case "info", "i", "inf", "information", "informational", "informative", "log", "success", "ok", "audit", "system":
		return info
	case "debug", "d", "dbg", "dbug", "debu", "debug1", "debug2", "debug3", "debug4", "debug5", "config",
		"trace", "t", "trc", "trce", "trac", "verbose", "v", "vrb", "verb", "fine", "finer", "finest":
		return debug
	case "warn", "w", "warning", "wrn", "warni":
		return warning
	case "error", "e", "err", "erro", "eror", "severe", "fail", "failure":
		return failure
	case "notice", "n", "note", "ntc", "noti":
		return notice
	case "fatal", "f", "ftl", "fata", "critical", "crit", "c", "crt", "criti", "panic", "pnc", "dpanic":
		return critical
	case "alert":
		return alert
	case "emerg", "emergency":
		return emergency
	}
	// slog writes what lies between its levels as INFO+2, DEBUG-4.
	for i := 4; i < len(word)-1; i++ {
		if (word[i] == '+' || word[i] == '-') && isDigit(word[i+1]) {
			return levelOf(word[:i])
		}
	}
	return unknown
}

// The meanings that numbers of a severity have.
const (
	byPino    = iota // 10 trace … 60 fatal: bunyan, pino; 0 … 7 as syslog; 100 … 800 as Google
	byPython         // 10 debug … 50 critical
	byLogback        // 5000 trace … 40000 error
	byOTel           // 1 trace … 24 fatal
)

// levelOfNumber returns the severity that the digits b mean.
func levelOfNumber(b []byte, by int) uint8 {
	if len(b) == 0 || len(b) > 5 {
		return unknown
	}
	n := 0
	for _, c := range b {
		if !isDigit(c) {
			return unknown
		}
		n = n*10 + int(c-'0')
	}
	pick := func(steps ...int) uint8 { // the first number of debug, info, notice, warning, error, critical, alert, emergency
		for i := len(steps) - 1; i >= 0; i-- {
			if n >= steps[i] {
				return uint8(debug - i)
			}
		}
		return unknown
	}
	switch {
	case by == byOTel:
		if n > 24 {
			return unknown
		}
		return pick(1, 9, 11, 13, 17, 21, 23, 24)
	case by == byPython:
		return pick(1, 20, 25, 30, 40, 50)
	case by == byLogback:
		return pick(1, 20000, 30000, 30000, 40000)
	case n <= debug:
		return uint8(n)
	case n <= 99:
		return pick(8, 30, 40, 40, 50, 60)
	case n <= 800:
		return pick(100, 200, 300, 400, 500, 600, 700, 800)
	}
	return unknown
}
