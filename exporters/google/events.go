package google

import "github.com/causeway-agent/causeway/agent/signal"

// Encode appends events [lo, hi) of b as a WriteLogEntriesRequest for the log
// causeway-events. The payload is a struct: title, text, source, id, count,
// check and status, of which those that are empty are left out.
func (e *events) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	if !e.conf.Logs {
		return dst, hi, hi - lo
	}
	dst = appendVarint(dst, 5, 1)
	for i := lo; i < hi; i++ {
		dst = e.event(dst, &b.Events[i])
	}
	return dst, hi, 0
}

func (e *events) event(dst []byte, ev *signal.EventItem) []byte {
	var id identity
	id.read(ev.Labels)
	dst = append(dst, 4<<3|bytesType)
	dst, at := open(dst)

	dst = append(dst, 12<<3|bytesType)
	var name int
	dst, name = open(dst)
	dst = append(append(append(dst, e.where.parent...), "/logs/"...), eventLog...)
	dst = shut(dst, name)
	res := e.where.resourceOf("", &id)
	dst = e.where.append(dst, 8, res, &id)
	dst = appendLogLabels(dst, ev.Labels, res, &id, e.own)

	h := hashOf(hashOf(hashOf(hashOf(hashOf(hashSeed, ev.Labels), ev.Source), ev.ID), ev.Title), ev.Text)
	dst = appendInsertID(dst, hashOf(h, ev.Check), uint64(ev.Time)^uint64(ev.Count)<<32^uint64(ev.Status))
	sec, nanos := floorDiv(ev.Time, 1e9)
	dst = appendTime(dst, 9, sec, nanos)
	level := ev.Level
	if ev.Check != "" && level == signal.LevelUnknown {
		level = [...]uint8{6, 4, 3, 4}[min(ev.Status, 3)]
	}
	dst = appendVarint(dst, 10, severity(level))

	var payload int
	dst, payload = openField(dst, 6)
	dst = appendMember(dst, "title", ev.Title, mostLogValue)
	dst = appendMember(dst, "text", ev.Text, mostEntry/2)
	dst = appendMember(dst, "source", ev.Source, mostLogKey)
	dst = appendMember(dst, "id", ev.ID, mostValue)
	if ev.Check != "" {
		dst = appendMember(dst, "check", ev.Check, mostValue)
		dst = appendMember(dst, "status", checkStatus(ev.Status), mostValue)
	}
	var count int
	dst, count = openField(dst, 1)
	dst = appendText(dst, 1, "count", mostKey)
	dst = append(dst, 2<<3|bytesType, 9)
	dst = appendDouble(dst, 2, float64(max(ev.Count, 1)))
	dst = shut(dst, count)
	dst = shut(dst, payload)
	return shut(dst, at)
}

// appendMember appends one field of a Struct that is a string.
func appendMember(dst []byte, key, value string, most int) []byte {
	if value == "" {
		return dst
	}
	dst, at := openField(dst, 1)
	dst = appendText(dst, 1, key, mostKey)
	var v int
	dst, v = openField(dst, 2)
	dst = appendText(dst, 3, value, most)
	dst = shut(dst, v)
	return shut(dst, at)
}
