package influx

import (
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends lines [lo, hi) of b as points of the measurement syslog, as
// Telegraf's syslog plugin writes them and Chronograf's and Grafana's log views
// read them:
//
//	tags    appname cluster container_name env facility host hostname namespace
//	        node_name pod_name service severity workload_kind workload_name,
//	        those of the configuration
//	fields  message, severity_code, facility_code, version, timestamp (when the
//	        line was written; the point's own time is spread, see spread),
//	        procid, msgid, path, stream, trace_id, span_id, what else is known of
//	        the container and its pod under the names that metrics have as tags
//	        (container_image, deployment_name, pod_uid, …), and every other label
//	        and attribute under its own name
//
// Only labels of which there are few are tags: a tag's value is a series for ever.
func (e *logs) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	first := 0
	for i := range b.Logs {
		blk := &b.Logs[i]
		from, to := max(lo-first, 0), min(hi-first, len(blk.Lines))
		if from < to {
			var left int
			dst, left = e.appendBlock(dst, blk, from, to)
			skipped += left
		}
		if first += len(blk.Lines); first >= hi {
			break
		}
	}
	return dst, hi, skipped
}

// appendBlock appends lines [from, to) of one block. What is the same for all
// lines without attributes of their own is written once and copied.
func (e *logs) appendBlock(dst []byte, blk *signal.LogBlock, from, to int) (body []byte, skipped int) {
	set := labelSet{stream: blk.Stream.Labels()}
	attrs := string(blk.Attrs) // once: then a line's own are a part of it
	sp := newSpread(blk)
	var head, tail [2]int // where in dst the same was written before
	plain := false
	level := uint8(0)
	for i := range to {
		at := sp.next(i)
		if i < from {
			continue
		}
		l := blk.Line(i)
		if !inTime(at / 1e6) {
			skipped++
			continue
		}
		start := len(dst)
		if plain && len(l.Attrs) == 0 && l.Level == level {
			dst = append(dst, dst[head[0]:head[1]]...)
			dst = appendText(append(dst, " message="...), l.Text)
			dst = append(dst, dst[tail[0]:tail[1]]...)
		} else {
			set.line = ""
			if len(l.Attrs) > 0 {
				begin := 0
				if i > 0 {
					begin = int(blk.Lines[i-1].AttrEnd)
				}
				set.line = attrs[begin : begin+len(l.Attrs)]
			}
			dst = e.appendHead(dst, set, l.Level)
			if len(dst)-start > maxKey {
				dst = dst[:start]
				skipped++
				continue
			}
			head = [2]int{start, len(dst)}
			dst = appendText(append(dst, " message="...), l.Text)
			tail[0] = len(dst)
			dst = e.appendFields(dst, set, l.Level)
			tail[1] = len(dst)
			plain, level = len(l.Attrs) == 0, l.Level
		}
		dst = strconv.AppendInt(dst, l.Time, 10)
		dst = append(dst, "i "...)
		dst = strconv.AppendInt(dst, at, 10)
		dst = append(dst, '\n')
	}
	return dst, skipped
}

// labelSet is the labels of a line: those of its stream and its own, of which a
// line's own count where both have a key.
type labelSet struct{ stream, line string }

// next takes the first label off the set; ok is false at the end.
func (s *labelSet) next() (k, v string, ok bool) {
	sk, sv, srest, sok := signal.NextLabel(s.stream)
	lk, lv, lrest, lok := signal.NextLabel(s.line)
	switch {
	case lok && (!sok || lk <= sk):
		if sok && lk == sk {
			s.stream = srest
		}
		s.line = lrest
		return lk, lv, true
	case sok:
		s.stream = srest
		return sk, sv, true
	}
	return "", "", false
}

// severityOf returns a severity and its code. A line of which nobody says how
// grave it is is a notice, as RFC 3164 §4.3.3 has it for one without priority.
func severityOf(level uint8) (string, uint8) {
	names := [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
	if int(level) >= len(names) {
		level = 5
	}
	return names[level], level
}

// facilityOf returns a facility and its code, given either; user where there is none.
func facilityOf(s string) (string, int) {
	names := [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
		"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	for i, n := range names {
		if n == s {
			return n, i
		}
	}
	if s != "" { // an error would be allocated, for each line
		if n, err := strconv.ParseUint(s, 10, 8); err == nil && n < uint64(len(names)) {
			return names[n], int(n)
		}
	}
	return "user", 1
}

// logTag returns the tag a label of a line is written as, "" if it is a field.
func logTag(label string) string {
	switch label {
	case signal.LabelHost, signal.LabelCluster, signal.LabelNode, signal.LabelNamespace, signal.LabelPod,
		signal.LabelK8sContainer, signal.LabelContainer, signal.LabelWorkloadKind, signal.LabelWorkload, signal.LabelEnv, signal.LabelService:
		name, _, _ := tagName(label)
		return name
	}
	return ""
}

// appendHead appends measurement and tags of a line with the given labels.
func (e *logs) appendHead(dst []byte, labels labelSet, level uint8) []byte {
	var room [manyTags]tag
	tags := room[:0]
	var host, app, source, service, container, file string
	facility := ""
	n := 0
	for {
		k, v, ok := labels.next()
		if !ok {
			break
		}
		if v == "" {
			continue
		}
		switch k {
		case signal.LabelHost:
			host = v
		case signal.LabelAppName:
			app = v
		case signal.LabelLogSource:
			source = v
		case signal.LabelService:
			service = v
		case signal.LabelContainer:
			if container == "" {
				container = v
			}
		case signal.LabelK8sContainer:
			container = v
		case signal.LabelLogFile:
			file = v
		case signal.LabelFacility:
			facility = v
		}
		if name := logTag(k); name != "" && name != "container_name" {
			tags = insertTag(append(tags, tag{}), n, tag{key: name, value: v, label: k})
			n++
		}
	}
	add := func(key, value string) {
		if at, found := search(tags, key); value != "" && !found {
			tags = append(tags, tag{})
			copy(tags[at+1:], tags[at:])
			tags[at] = tag{key: key, value: value}
		}
	}
	for _, name := range [...]string{source, service, container, base(file)} {
		if app == "" {
			app = name
		}
	}
	sev, _ := severityOf(level)
	fac, _ := facilityOf(facility)
	add("appname", app)
	add("container_name", container)
	add("facility", fac)
	add("hostname", host)
	add("severity", sev)
	for _, t := range e.tags {
		add(t.key, t.value)
	}
	return appendTagged(append(dst, "syslog"...), tags)
}

// base returns the last part of a path.
func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

// reserved reports whether a line has a tag or field of that name whatever its
// attributes are. An attribute that is called so has another type or another
// meaning, and one key twice would cost the whole line.
func reserved(key string) bool {
	switch key {
	case "message", "severity_code", "facility_code", "version", "timestamp", "procid", "msgid", "path", "stream",
		"severity", "facility", "hostname", "appname", "host", "cluster", "env", "service",
		"node_name", "namespace", "pod_name", "pod_uid", "workload_kind", "workload_name", "deployment_name", "daemonset_name",
		"statefulset_name", "replicaset_name", "replicationcontroller_name", "job_name", "cronjob_name",
		"container_name", "container_id", "container_runtime", "container_image", "container_version", "container_image_id", "cgroup":
		return true
	}
	return false
}

// appendFields appends the fields behind the message, up to "timestamp=".
func (e *logs) appendFields(dst []byte, labels labelSet, level uint8) []byte {
	facility := ""
	for {
		k, v, ok := labels.next()
		if !ok {
			break
		}
		name := k
		switch k {
		case signal.LabelFacility:
			facility = v
			continue
		case signal.LabelProcID:
			name = "procid"
		case signal.LabelMsgID:
			name = "msgid"
		case signal.LabelLogFile:
			name = "path"
		case signal.LabelLogStream:
			name = "stream"
		case signal.LabelAppName:
			continue
		case signal.LabelPodUID, signal.LabelDeployment, signal.LabelDaemonSet, signal.LabelStatefulSet, signal.LabelReplicaSet,
			signal.LabelReplicationController, signal.LabelJob, signal.LabelCronJob, signal.LabelContainerID, signal.LabelRuntime,
			signal.LabelImage, signal.LabelImageTag, signal.LabelImageID, signal.LabelCgroup:
			name, _, _ = tagName(k)
		default:
			if logTag(k) != "" {
				continue
			}
			if name = tidyKey(k); reserved(k) {
				name = "attr_" + k
			}
		}
		if v == "" || name == "" {
			continue
		}
		dst = append(dst, ',')
		dst = appendKey(dst, name)
		dst = append(dst, '=')
		dst = appendText(dst, v)
	}
	_, sev := severityOf(level)
	_, fac := facilityOf(facility)
	dst = strconv.AppendInt(append(dst, ",severity_code="...), int64(sev), 10)
	dst = strconv.AppendInt(append(dst, "i,facility_code="...), int64(fac), 10)
	return append(dst, "i,version=1i,timestamp="...)
}
