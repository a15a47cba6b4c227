package influx

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxdb/models"
)

// point is one line as a reader understands it.
type point struct {
	name   string
	tags   [][2]string
	fields [][2]string // a value as it was written, a text unquoted with " before it
	time   int64
}

// readLines is a reader of line protocol stricter than any server: what it
// takes, all of them take and understand alike. It refuses bytes whose meaning
// servers do not agree on, tags out of order or twice, and fields twice.
func readLines(s string) (points []point, err error) {
	for n := 1; s != ""; n++ {
		var p point
		if s, err = readLine(s, &p); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		points = append(points, p)
	}
	return points, nil
}

func readLine(s string, p *point) (rest string, err error) {
	if s[0] == '#' || s[0] == '_' {
		return "", errors.New("name is reserved")
	}
	if p.name, s, err = readWord(s, ", "); err != nil {
		return "", fmt.Errorf("measurement: %w", err)
	}
	for s[0] == ',' {
		var k, v string
		if k, s, err = readWord(s[1:], "="); err != nil {
			return "", fmt.Errorf("tag: %w", err)
		}
		if v, s, err = readWord(s[1:], ", "); err != nil {
			return "", fmt.Errorf("tag %s: %w", k, err)
		}
		if n := len(p.tags); n > 0 && p.tags[n-1][0] >= k {
			return "", fmt.Errorf("tag %s after %s", k, p.tags[n-1][0])
		}
		if k == "time" || k[0] == '_' || v == "" {
			return "", fmt.Errorf("tag %q=%q", k, v)
		}
		p.tags = append(p.tags, [2]string{k, v})
	}
	seen := map[string]bool{}
	for {
		var k, v string
		if k, s, err = readWord(s[1:], "="); err != nil {
			return "", fmt.Errorf("field: %w", err)
		}
		if v, s, err = readValue(s[1:]); err != nil {
			return "", fmt.Errorf("field %s: %w", k, err)
		}
		if seen[k] || k == "time" {
			return "", fmt.Errorf("field %s", k)
		}
		seen[k] = true
		p.fields = append(p.fields, [2]string{k, v})
		if s[0] != ',' {
			break
		}
	}
	stamp, rest, found := strings.Cut(s[1:], "\n")
	if !found {
		return "", errors.New("no newline at the end")
	}
	p.time, err = strconv.ParseInt(stamp, 10, 64)
	return rest, err
}

// readWord reads a name up to one of the bytes in stop.
func readWord(s, stop string) (word, rest string, err error) {
	var w strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(", =", s[i+1]) >= 0:
			i++
			w.WriteByte(s[i])
		case c == '\\' && (i+1 == len(s) || s[i+1] == '\\' || s[i+1] < ' ' || strings.IndexByte(stop, s[i+1]) >= 0):
			return "", "", errors.New("a backslash that servers read differently")
		case c < ' ' || c == 0x7f:
			return "", "", fmt.Errorf("control byte %#x", c)
		case strings.IndexByte(stop, c) >= 0:
			if w.Len() == 0 {
				return "", "", errors.New("empty")
			}
			if !validUTF8(w.String()) {
				return "", "", errors.New("no UTF-8")
			}
			return w.String(), s[i:], nil
		case c == ',' || c == ' ' || c == '=' && stop != ", ":
			return "", "", fmt.Errorf("%q is not escaped", c)
		default:
			w.WriteByte(c)
		}
	}
	return "", "", errors.New("cut off")
}

func validUTF8(s string) bool { return strings.ToValidUTF8(s, "") == s }

// readValue reads a field's value, which ends before a comma or a space.
func readValue(s string) (value, rest string, err error) {
	if s == "" {
		return "", "", errors.New("no value")
	}
	if s[0] == '"' {
		var w strings.Builder
		w.WriteByte('"')
		for i := 1; i < len(s)-1; i++ {
			switch s[i] {
			case '\\':
				if i++; s[i] != '"' && s[i] != '\\' {
					return "", "", errors.New("a backslash that servers read differently")
				}
				w.WriteByte(s[i])
			case '"':
				if !validUTF8(w.String()) {
					return "", "", errors.New("no UTF-8")
				}
				return w.String(), s[i+1:], nil
			default:
				w.WriteByte(s[i])
			}
		}
		return "", "", errors.New("no closing quote")
	}
	end := strings.IndexAny(s, ", \n")
	if end <= 0 || s[end] == '\n' {
		return "", "", errors.New("no value, or no time")
	}
	v := s[:end]
	if digits, ok := strings.CutSuffix(v, "i"); ok {
		_, err = strconv.ParseInt(digits, 10, 64)
	} else if _, err = strconv.ParseFloat(v, 64); strings.Trim(v, "0123456789.+-e") != "" {
		err = errors.New("no number: " + v)
	}
	return v, s[end:], err
}

// agree checks that InfluxDB's own parser reads body as readLines does, and
// returns the points.
func agree(t *testing.T, body []byte, precision string) []point {
	t.Helper()
	points, err := readLines(string(body))
	if err != nil {
		t.Fatalf("%v in\n%s", err, body)
	}
	theirs, err := models.ParsePointsWithPrecision(append([]byte(nil), body...), time.Unix(0, 0), precision)
	if err != nil {
		t.Fatalf("InfluxDB: %v", err)
	}
	if len(theirs) != len(points) {
		t.Fatalf("InfluxDB reads %d points, we wrote %d", len(theirs), len(points))
	}
	unit := models.GetPrecisionMultiplier(precision)
	for i, p := range points {
		their := theirs[i]
		if got := string(their.Name()); got != p.name {
			t.Errorf("InfluxDB reads name %q, meant is %q", got, p.name)
		}
		var tags [][2]string
		for _, tag := range their.Tags() {
			tags = append(tags, [2]string{string(tag.Key), string(tag.Value)})
		}
		// It puts them in the order of their escaped keys.
		slices.SortFunc(tags, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
		if fmt.Sprint(tags) != fmt.Sprint(p.tags) {
			t.Errorf("InfluxDB reads tags %q, meant is %q", tags, p.tags)
		}
		if got := their.Time().UnixNano(); got != p.time*unit {
			t.Errorf("InfluxDB reads time %d, meant is %d", got, p.time*unit)
		}
		fields, err := their.Fields()
		if err != nil {
			t.Fatalf("InfluxDB: %v", err)
		}
		var ours, other []string
		for _, f := range p.fields {
			ours = append(ours, f[0]+"="+fmt.Sprint(goValue(f[1])))
		}
		for k, v := range fields {
			other = append(other, k+"="+fmt.Sprint(v))
		}
		sort.Strings(ours)
		sort.Strings(other)
		if a, b := strings.Join(ours, "\n"), strings.Join(other, "\n"); a != b {
			t.Errorf("InfluxDB reads fields\n%s\nmeant is\n%s", b, a)
		}
	}
	return points
}

// goValue returns a value as models.Point.Fields has it.
func goValue(v string) any {
	if text, ok := strings.CutPrefix(v, `"`); ok {
		return text
	}
	if digits, ok := strings.CutSuffix(v, "i"); ok {
		n, _ := strconv.ParseInt(digits, 10, 64)
		return n
	}
	f, _ := strconv.ParseFloat(v, 64)
	return f
}
