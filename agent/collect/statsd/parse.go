package statsd

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/causeway-agent/causeway/agent/signal"
)

// kind is the type of a metric as its sender means it.
type kind byte

const (
	counter kind = 1 + iota
	gauge
	timer // in milliseconds
	dist  // h and d
	set
)

// Bounds of what is believed. A weight of 1e9 times a value of 1e290, and that
// a billion times, is still a number.
const (
	maxName  = 512
	maxValue = 1e290
	minRate  = 1e-9
)

// metric is one parsed line. Its slices point into the line, except nums,
// which the next parse uses again.
type metric struct {
	kind      kind
	signed    bool // every value has a + or - in front
	dog       bool // has a field that only DogStatsD knows
	weight    float64
	stamp     int64 // Unix seconds, 0 if there is none
	name      []byte
	value     []byte // of a set
	nums      []float64
	tags      []byte
	container []byte
	external  []byte
}

// parseMetric reads one line into m and returns 0, or why it cannot.
func parseMetric(line []byte, m *metric) Reason {
	*m = metric{weight: 1, nums: m.nums[:0]}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || colon > maxName {
		return BadName
	}
	m.name = line[:colon]
	for _, c := range m.name {
		if c < ' ' || c == '|' || c == 0x7f {
			return BadName
		}
	}
	values, rest := cutPipe(line[colon+1:])
	typ, rest := cutPipe(rest)
	switch string(typ) {
	case "c":
		m.kind = counter
	case "g":
		m.kind = gauge
	case "ms":
		m.kind = timer
	case "h", "d":
		m.kind = dist
	case "s":
		m.kind = set
	default:
		return BadType
	}
	if r := m.parseValues(values); r != 0 {
		return r
	}
	for len(rest) > 0 {
		var f []byte
		if f, rest = cutPipe(rest); len(f) == 0 {
			continue
		}
		switch {
		case f[0] == '@':
			rate, ok := parseNumber(f[1:])
			if !ok || !(rate >= minRate && rate <= 1) {
				return BadRate
			}
			m.weight = 1 / rate
		case f[0] == 'T':
			t, ok := parseSeconds(f[1:])
			if !ok || m.kind != counter && m.kind != gauge {
				return BadStamp
			}
			m.stamp = t
		default:
			if m.origin(f) || bytes.HasPrefix(f, []byte("card:")) {
				m.dog = true
			} // a field of a later version is passed over, as the protocol asks
		}
	}
	return 0
}

// origin takes a field that tells where a line comes from. It returns false if f is none.
func (m *metric) origin(f []byte) bool {
	switch {
	case f[0] == '#':
		m.tags = f[1:]
	case len(f) > 1 && f[0] == 'c' && f[1] == ':':
		m.container = f[2:]
	case len(f) > 1 && f[0] == 'e' && f[1] == ':':
		m.external = f[2:]
	default:
		return false
	}
	return true
}

func (m *metric) parseValues(values []byte) Reason {
	if len(values) == 0 {
		return BadValue
	}
	if m.kind == set { // colons are part of the value
		m.value = values
		return 0
	}
	m.signed = true
	for more := true; more; {
		var one []byte
		one, values, more = bytes.Cut(values, []byte{':'})
		v, ok := parseNumber(one)
		if !ok {
			return BadValue
		}
		m.signed = m.signed && (one[0] == '+' || one[0] == '-')
		m.nums = append(m.nums, v)
	}
	return 0
}

func cutPipe(p []byte) (before, after []byte) {
	if i := bytes.IndexByte(p, '|'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return p, nil
}

// parseNumber reads a decimal number of at most maxValue.
func parseNumber(p []byte) (float64, bool) {
	if len(p) == 0 || len(p) > 64 {
		return 0, false
	}
	// Nearly always a few digits: up to 15 of them are exact in a float64.
	if len(p) <= 15 {
		n := int64(0)
		for i, c := range p {
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int64(c-'0')
			if i == len(p)-1 {
				return float64(n), true
			}
		}
	}
	for _, c := range p { // ParseFloat knows words, hexadecimals and underscores too
		if (c < '0' || c > '9') && c != '.' && c != '+' && c != '-' && c != 'e' && c != 'E' {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(p), len(p)), 64)
	return v, err == nil && math.Abs(v) <= maxValue
}

// parseSeconds reads Unix seconds, of which the nanoseconds fit an int64.
func parseSeconds(p []byte) (int64, bool) {
	if len(p) == 0 || len(p) > 10 {
		return 0, false
	}
	n := int64(0)
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n > 0 && n < math.MaxInt64/1_000_000_000
}

// parseEvent reads a line that begins with _e. Its Time is 0 where the line
// has none.
func parseEvent(line []byte, ids *cgroups) (signal.EventItem, bool) {
	e := signal.EventItem{Source: "statsd", Level: 6}
	head, rest, ok := bytes.Cut(line, []byte("}:"))
	head, braced := bytes.CutPrefix(head, []byte("_e{"))
	first, second, comma := bytes.Cut(head, []byte{','})
	title, ok1 := parseLength(first)
	text, ok2 := parseLength(second)
	if !ok || !braced || !comma || !ok1 || !ok2 || title == 0 || len(rest) < title+1+text || rest[title] != '|' {
		return e, false
	}
	e.Title = clean(rest[:title])
	e.Text = strings.ReplaceAll(clean(rest[title+1:title+1+text]), `\n`, "\n")
	rest = rest[title+1+text:]
	if len(rest) > 0 && rest[0] != '|' {
		return e, false
	}
	return e, parseTail(&e, rest, ids)
}

// parseCheck reads a line that begins with _sc. Its Time is 0 where the line
// has none.
func parseCheck(line []byte, ids *cgroups) (signal.EventItem, bool) {
	_, rest := cutPipe(line)
	name, rest := cutPipe(rest)
	status, rest := cutPipe(rest)
	if len(name) == 0 || len(name) > maxName || len(status) != 1 || status[0] < '0' || status[0] > '3' {
		return signal.EventItem{}, false
	}
	e := signal.EventItem{Source: "statsd", Check: clean(name), Status: status[0] - '0'}
	e.Title, e.ID = e.Check, e.Check
	e.Level = [...]uint8{6, 4, 3, 5}[e.Status]
	return e, parseTail(&e, rest, ids)
}

func parseLength(p []byte) (int, bool) {
	n, err := strconv.ParseUint(string(p), 10, 20)
	return int(n), err == nil
}

// parseTail reads the fields behind an event or a check.
func parseTail(e *signal.EventItem, rest []byte, ids *cgroups) bool {
	var m metric
	var labels []byte
	for len(rest) > 0 {
		var f []byte
		f, rest = cutPipe(rest)
		if len(f) == 0 || m.origin(f) {
			continue
		}
		if len(f) < 2 || f[1] != ':' {
			continue // of a later version
		}
		text := clean(f[2:])
		switch f[0] {
		case 'd':
			t, ok := parseSeconds(f[2:])
			if !ok {
				return false
			}
			e.Time = t * 1e9
		case 'h':
			labels = appendTag(labels, signal.LabelHost, text)
		case 'k':
			e.ID = text
		case 'p':
			labels = appendTag(labels, "priority", text)
		case 's':
			labels = appendTag(labels, signal.LabelLogSource, text)
		case 't':
			switch text {
			case "error":
				e.Level = 3
			case "warning":
				e.Level = 4
			case "success":
				e.Level = 5
			}
		case 'm':
			e.Text = strings.ReplaceAll(strings.ReplaceAll(text, `\n`, "\n"), `m\:`, "m:")
		}
	}
	origin, _ := m.labels(ids)
	e.Labels = signal.Merge(signal.Sorted(string(labels)), origin)
	return true
}

// labels returns the flat label set of a line's tags and origin. resolved is
// false if its container is known by an inode that cannot be found.
func (m *metric) labels(ids *cgroups) (_ string, resolved bool) {
	var origin, tags []byte
	resolved = true
	if len(m.container) > 0 {
		var id string
		if id, resolved = ids.container(string(m.container)); id != "" {
			origin = appendTag(origin, signal.LabelContainerID, clean([]byte(id)))
		}
	}
	for rest := m.external; len(rest) > 0; {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte{','})
		key, value, _ := bytes.Cut(part, []byte{'-'})
		switch string(key) {
		case "pu":
			origin = appendTag(origin, signal.LabelPodUID, clean(value))
		case "cn":
			origin = appendTag(origin, signal.LabelK8sContainer, clean(value))
		}
	}
	for rest := m.tags; len(rest) > 0; {
		var tag []byte
		tag, rest, _ = bytes.Cut(rest, []byte{','})
		key, value, _ := strings.Cut(clean(tag), ":")
		if key = strings.TrimSpace(key); key == "" {
			continue
		}
		if key = labelOf(key); key != "" {
			if value == "" { // a label without a value is none to most vendors
				value = "true"
			}
			tags = appendTag(tags, key, value)
		}
	}
	return signal.Merge(signal.Sorted(string(origin)), signal.Sorted(string(tags))), resolved
}

func appendTag(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	return signal.AppendLabel(dst, key, value)
}

// labelOf translates the tags that DogStatsD gives a meaning
// (docs.datadoghq.com/getting_started/tagging/unified_service_tagging); "" is
// for one that is meant for Datadog's own agent.
func labelOf(key string) string {
	switch key {
	case "env":
		return signal.LabelEnv
	case "service":
		return signal.LabelService
	case "version":
		return signal.LabelVersion
	case "host":
		return signal.LabelHost
	case "dd.internal.entity_id":
		return signal.LabelPodUID
	case "dd.internal.card":
		return ""
	}
	return key
}

// clean copies p, with what is no UTF-8 replaced.
func clean(p []byte) string {
	if utf8.Valid(p) {
		return string(p)
	}
	return strings.ToValidUTF8(string(p), "\uFFFD")
}
