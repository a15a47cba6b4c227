package influx

import (
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Encode appends events [lo, hi) of b as points of the measurement events,
// which Grafana shows as annotations (fields title, text and, with commas
// between them, tags):
//
//	tags    source, severity, check, and the event's labels
//	fields  title, text, tags, id, count, and status of a service check
//
// Two events of one second must both survive, as lines must: the digits below
// the clock's resolution (and the last three in any case) hold a hash of what
// the event says. An event sent again overwrites itself.
func (e *events) Encode(dst []byte, b *signal.Batch, lo, hi int) (body []byte, next, skipped int) {
	var room [manyTags]tag
	for i := lo; i < hi; i++ {
		ev := &b.Events[i]
		start := len(dst)
		at := eventTime(ev)
		if !inTime(at/1e6) || ev.Title == "" && ev.Text == "" && ev.Check == "" {
			skipped++
			continue
		}
		tags := appendTags(room[:0], ev.Labels, [2]string{}, [2]string{}, e.tags)
		tags = putTag(tags, "source", ev.Source)
		tags = putTag(tags, "check", ev.Check)
		severity := ""
		if ev.Level <= 7 {
			severity, _ = severityOf(ev.Level)
		}
		tags = putTag(tags, "severity", severity)
		dst = appendTagged(append(dst, "events"...), tags)
		if len(dst)-start > maxKey {
			dst = dst[:start]
			skipped++
			continue
		}
		dst = appendText(append(dst, " title="...), ev.Title)
		dst = appendText(append(dst, ",text="...), ev.Text)
		if len(tags) > 0 {
			dst = appendWords(append(dst, ",tags="...), tags)
		}
		if ev.ID != "" {
			dst = appendText(append(dst, ",id="...), ev.ID)
		}
		dst = strconv.AppendUint(append(dst, ",count="...), uint64(max(ev.Count, 1)), 10)
		if ev.Check != "" {
			dst = strconv.AppendUint(append(dst, ",status="...), uint64(ev.Status), 10)
		}
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, at, 10)
		dst = append(dst, '\n')
	}
	return dst, hi, skipped
}

// putTag adds a tag of our own. A label that is called the same gets an
// underscore: "source" is where the event comes from.
func putTag(tags []tag, key, value string) []tag {
	if value == "" {
		return tags
	}
	t := tag{key: key, value: value, label: key}
	if at, found := search(tags, key); found {
		tags[at], t = t, tags[at]
		t.key += "_"
	}
	n := len(tags)
	return insertTag(append(tags, tag{}), n, t)
}

// appendWords appends "key:value,key:value" as one string: the list that
// Grafana splits at commas, so that those within become spaces.
func appendWords(dst []byte, tags []tag) []byte {
	var room [512]byte
	list := room[:0]
	for i := range tags {
		if i > 0 {
			list = append(list, ',')
		}
		for _, s := range [...]string{tags[i].key, ":", tags[i].value} {
			for j := 0; j < len(s); j++ {
				c := s[j]
				if c == ',' {
					c = ' '
				}
				list = append(list, c)
			}
		}
	}
	return appendText(dst, list)
}

// eventTime returns the time at which an event is written.
func eventTime(ev *signal.EventItem) int64 {
	res := int64(1e3)
	if i := resolutionOf(ev.Time); i < len(resolutions) {
		res = resolutions[i]
	}
	h := hash(14695981039346656037, ev.ID)
	h = hash(h, ev.Title)
	h = hash(h, ev.Text)
	return ev.Time - ev.Time%res + int64(h%uint64(res))
}
