package influx

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
)

// classify says what an answer to a write means. Beyond exporters.Classify:
//
//	400, 422 "partial write"   Partial, if the words prove which items or how
//	                           many were refused; else Permanent: halved
//	400 with data (v3)         Partial: the lines listed were refused
//	405                        Hold: the server does not speak this dialect
//	500 "retention policy not found"  Hold: a person must create it
//	5xx "hinted handoff queue not empty"  taken: the cluster will sort it out
//
// A 400 is never sent again as it was: it would be refused for ever.
func (c *client) classify(status int, header http.Header, answer, packed []byte) *exporters.Error {
	e := exporters.Classify(status, header, answer)
	if e == nil {
		return nil
	}
	words := message(answer)
	if words != "" {
		e.Words = exporters.Words([]byte(words))
	}
	switch {
	case status >= 500 && strings.Contains(words, "hinted handoff queue not empty"):
		return nil
	case status >= 500 && strings.Contains(words, "retention policy not found"):
		e.Class, e.After, e.Unsent = exporters.Hold, 0, true
	case status == http.StatusMethodNotAllowed:
		e.Class, e.Unsent = exporters.Hold, true
	case status == http.StatusBadRequest || status == http.StatusUnprocessableEntity:
		body, err := unpack(packed, c.limits.Encoding)
		if err != nil {
			return e
		}
		lines := splitLines(body, c.kind)
		dropped, proven := refused(answer, words, lines)
		if proven && dropped > 0 {
			e.Class, e.Dropped = exporters.Partial, dropped
		}
		if c.conf.API == "v1" && strings.HasPrefix(words, "unable to parse") {
			// Version 1 stores what it can: this answer means that it could nothing.
			e.Whole = true
		}
	}
	return e
}

// databaseMissing reports whether an answer says that the database is missing.
func databaseMissing(answer []byte) bool { return bytes.Contains(answer, []byte("database not found")) }

// message returns an answer's text: of {"error":…} (v1, v3) or {"message":…} (v2).
func message(answer []byte) string {
	var m struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &m) != nil {
		return ""
	}
	if m.Message != "" {
		return m.Message
	}
	return m.Error
}

// unpack undoes the compression of a body of ours.
func unpack(packed []byte, encoding string) ([]byte, error) {
	if encoding != "gzip" {
		return packed, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// sentLine is one line of a body that was sent.
type sentLine struct {
	text  []byte // without its newline
	items int
	time  int64
}

// splitLines returns the lines of a body of ours and how many items each one
// holds. Newlines within texts do not end a line.
func splitLines(body []byte, kind signal.Kind) []sentLine {
	var lines []sentLine
	for len(body) > 0 {
		end, fields, last, value := 0, 0, 0, 0
		quoted, behind := false, false // behind: of the first space, where fields are
		for ; end < len(body) && (quoted || body[end] != '\n'); end++ {
			switch c := body[end]; {
			case c == '\\':
				end++
			case c == '"' && (quoted || behind && end == value):
				quoted = !quoted
			case quoted:
			case c == '=':
				value = end + 1
			case c == ' ':
				if behind {
					fields += item(body[:end])
				}
				behind, last = true, end+1
			case c == ',' && behind:
				fields += item(body[:end])
			}
		}
		end = min(end, len(body))
		l := sentLine{text: body[:end], items: 1}
		if kind == signal.Metric {
			l.items = fields
		}
		l.time, _ = strconv.ParseInt(string(body[min(last, end):end]), 10, 64)
		lines = append(lines, l)
		body = body[min(end+1, len(body)):]
	}
	return lines
}

// item returns 1 if the field that ends here is an item, 0 if it came with the
// one before (see derived).
func item(upTo []byte) int {
	if bytes.HasSuffix(upTo, []byte(derived)) {
		return 0
	}
	return 1
}

// refused returns how many items of a body a server refused for good, and
// whether that is proven.
func refused(answer []byte, words string, lines []sentLine) (items int, proven bool) {
	if n, ok := listed(answer, lines); ok {
		return n, true
	}
	at := strings.Index(words, "partial write: ")
	if at < 0 {
		return 0, false
	}
	words = words[at+len("partial write: "):]
	if strings.HasPrefix(words, "unable to parse '") {
		return unparsed(words, lines)
	}
	n, ok := droppedCount(words)
	if !ok || n <= 0 || n > len(lines) {
		return 0, false
	}
	if n == len(lines) && !strings.Contains(words, "conflict") {
		return sum(lines), true
	}
	same := true // whether all lines hold as many items
	for _, l := range lines {
		same = same && l.items == lines[0].items
	}
	switch {
	case strings.Contains(words, "conflict") || strings.Contains(words, "too long"):
		// One field is to blame, and the others of its line are innocent: where
		// a line holds more than one item, halving saves them.
		return n, same && lines[0].items == 1
	case same:
		return n * lines[0].items, true
	case strings.Contains(words, "retention policy"):
		return oldest(lines, n)
	}
	return 0, false
}

// listed counts the items of the lines that a version 3 lists as refused.
func listed(answer []byte, lines []sentLine) (items int, ok bool) {
	var m struct {
		Data json.RawMessage `json:"data"`
	}
	type entry struct {
		Line int    `json:"line_number"` // from 1
		Text string `json:"original_line"`
	}
	if json.Unmarshal(answer, &m) != nil {
		return 0, false
	}
	var list []entry
	if json.Unmarshal(m.Data, &list) != nil || len(list) == 0 {
		return 0, false
	}
	seen := make(map[int]bool, len(list))
	for _, e := range list {
		i := e.Line - 1
		if i < 0 || i >= len(lines) || seen[i] || !strings.HasPrefix(string(lines[i].text), strings.TrimRight(e.Text, "\n.…")) {
			return 0, false // it numbers lines in a way we do not know
		}
		seen[i] = true
		items += lines[i].items
	}
	return items, true
}

// unparsed counts the items of the lines that a version 1 repeats as
// unparsable; it stored the others.
func unparsed(words string, lines []sentLine) (items int, proven bool) {
	rest, found := words, 0
	for _, l := range lines {
		// They are repeated in the order they came in.
		mark := "unable to parse '" + string(l.text) + "'"
		if at := strings.Index(rest, mark); at >= 0 {
			rest = rest[at+len(mark):]
			items += l.items
			found++
		}
	}
	return items, found > 0 && found == strings.Count(words, "unable to parse '")
}

// droppedCount reads N of "… dropped=N", which ends the text or is followed by
// " for database: …" (from 1.12 on).
func droppedCount(words string) (n int, ok bool) {
	at := strings.LastIndex(words, "dropped=")
	if at < 0 {
		return 0, false
	}
	digits := words[at+len("dropped="):]
	if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = digits[:end]
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// oldest counts the items of the n oldest lines: those are the ones beyond a
// retention. Lines of one time are refused together or not at all; if only some
// of them were, we have not understood.
func oldest(lines []sentLine, n int) (items int, proven bool) {
	times := make([]int64, len(lines))
	for i, l := range lines {
		times[i] = l.time
	}
	slices.Sort(times)
	limit := times[n-1]
	if n < len(times) && times[n] == limit {
		return 0, false
	}
	for _, l := range lines {
		if l.time <= limit {
			items += l.items
		}
	}
	return items, true
}

func sum(lines []sentLine) (items int) {
	for _, l := range lines {
		items += l.items
	}
	return items
}
