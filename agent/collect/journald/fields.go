package journald

import (
	"bytes"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Labels of journal entries that signal has no name for.
const (
	LabelUnit      = "systemd.unit"
	LabelMessageID = "journald.message_id"
)

// fields of an entry that are asked for; man systemd.journal-fields, and
// docs.docker.com/engine/logging/drivers/journald for CONTAINER_*.
type fields struct {
	message, priority, facility, sent       []byte
	unit, userUnit, identifier, comm        []byte
	container, containerID, image           []byte
	pid, syslogPID, codeFile, codeLine, mid []byte
}

// slot returns where the value of a field goes, nil if nobody asks for it.
func (f *fields) slot(name []byte) *[]byte {
	switch string(name) {
	case "MESSAGE":
		return &f.message
	case "PRIORITY":
		return &f.priority
	case "SYSLOG_FACILITY":
		return &f.facility
	case "_SOURCE_REALTIME_TIMESTAMP":
		return &f.sent
	case "_SYSTEMD_UNIT":
		return &f.unit
	case "_SYSTEMD_USER_UNIT":
		return &f.userUnit
	case "SYSLOG_IDENTIFIER":
		return &f.identifier
	case "_COMM":
		return &f.comm
	case "CONTAINER_NAME":
		return &f.container
	case "CONTAINER_ID_FULL":
		return &f.containerID
	case "IMAGE_NAME":
		return &f.image
	case "_PID":
		return &f.pid
	case "SYSLOG_PID":
		return &f.syslogPID
	case "CODE_FILE":
		return &f.codeFile
	case "CODE_LINE":
		return &f.codeLine
	case "MESSAGE_ID":
		return &f.mid
	}
	return nil
}

func (f *fields) reset() {
	*f = fields{
		message: f.message[:0], priority: f.priority[:0], facility: f.facility[:0], sent: f.sent[:0],
		unit: f.unit[:0], userUnit: f.userUnit[:0], identifier: f.identifier[:0], comm: f.comm[:0],
		container: f.container[:0], containerID: f.containerID[:0], image: f.image[:0],
		pid: f.pid[:0], syslogPID: f.syslogPID[:0], codeFile: f.codeFile[:0], codeLine: f.codeLine[:0], mid: f.mid[:0],
	}
}

// origin tells streams apart.
type origin struct{ unit, identifier, container, containerID, image string }

// stream returns the labels of a stream.
func (o origin) stream() signal.Stream {
	service := o.container
	if service == "" {
		service = strings.TrimSuffix(o.unit, ".service")
	}
	if service == "" {
		service = o.identifier
	}
	return signal.InternStream(signal.Labels(LabelUnit, o.unit, signal.LabelLogSource, o.identifier, signal.LabelService, service,
		signal.LabelContainer, o.container, signal.LabelContainerID, o.containerID, signal.LabelImage, o.image))
}

// facilities lists the names of syslog's facilities, by number.
var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// level returns PRIORITY, or LevelUnknown.
func (f *fields) level() uint8 {
	if len(f.priority) == 1 && f.priority[0] >= '0' && f.priority[0] <= '7' {
		return f.priority[0] - '0'
	}
	return signal.LevelUnknown
}

// time returns when the line was sent, or else when journald took it; ns.
func (f *fields) time(realtime int64) int64 {
	if sent, err := strconv.ParseInt(string(f.sent), 10, 64); err == nil && sent > 0 {
		// A clock that was set meanwhile must not put the line a day away.
		const day = 24 * 60 * 60 * 1_000_000
		if d := realtime - sent; d > -day && d < day {
			realtime = sent
		}
	}
	const latest = (1<<63 - 1) / 1000
	return max(0, min(realtime, latest)) * 1000
}

// attrs appends the line's own labels.
func (f *fields) attrs(dst []byte, cut int) []byte {
	add := func(key string, v []byte) {
		if len(v) > 0 {
			dst = signal.AppendLabel(dst, key, clean(v))
		}
	}
	facility := ""
	if n, err := strconv.Atoi(string(f.facility)); err == nil && n >= 0 && n < len(facilities) {
		facility = facilities[n]
	}
	pid := f.pid
	if len(pid) == 0 {
		pid = f.syslogPID
	}
	// In the order of their keys.
	add("code.file.path", f.codeFile)
	add("code.line.number", f.codeLine)
	add(LabelMessageID, f.mid)
	if cut > 0 {
		dst = signal.AppendLabel(dst, signal.LabelLogCut, strconv.Itoa(cut))
	}
	add("process.pid", pid)
	if facility != "" {
		dst = signal.AppendLabel(dst, signal.LabelFacility, facility)
	}
	return dst
}

// clean makes a label's value of a field: at most 1 KiB, and UTF-8.
func clean(v []byte) string {
	return strings.ToValidUTF8(string(v[:min(len(v), 1<<10)]), "\uFFFD")
}

// origin returns what names the stream.
func (f *fields) origin() origin {
	o := origin{unit: clean(f.unit), identifier: clean(f.identifier), container: clean(f.container), containerID: clean(f.containerID), image: clean(f.image)}
	if u := clean(f.userUnit); u != "" {
		o.unit = u
	}
	if o.identifier == "" {
		o.identifier = clean(f.comm)
	}
	if strings.HasPrefix(o.unit, "session-") && path.Ext(o.unit) == ".scope" {
		o.unit = "" // one for each login
	}
	return o
}

// body returns the message as a line, and by how many bytes it was cut.
func (f *fields) body(maxLine int, st *Stats) (p []byte, cut int) {
	p = bytes.TrimRight(f.message, "\r\n")
	if len(p) > maxLine {
		cut = len(p) - maxLine
		p = p[:maxLine]
		st.Cut.Add(1)
	}
	if !utf8.Valid(p) {
		st.Repaired.Add(1)
		p = bytes.ToValidUTF8(p, []byte("\uFFFD"))
	}
	return p, cut
}
