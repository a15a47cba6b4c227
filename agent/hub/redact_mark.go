package hub

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/causeway-agent/causeway/agent/signal"
)

// rewrite returns the text with what was found replaced, and moves the ends of
// the lines.
func (s *scanner) rewrite(lines []signal.Line) []byte {
	sortSpans(s.spans)
	text, spans := s.text, slices.Clone(s.spans) // settling uses the scanner again
	out := make([]byte, 0, len(text)+len(spans)*len("[redacted:authorization]"))
	lo := 0
	for i := range lines {
		hi := int(lines[i].End)
		n := 0
		for n < len(spans) && spans[n].line == i {
			n++
		}
		if n == 0 {
			out = append(out, text[lo:hi]...)
		} else {
			out = append(out, s.settle(text[lo:hi:hi], spans[:n], lo)...)
			spans = spans[n:]
		}
		lines[i].End = uint32(len(out))
		lo = hi
	}
	return out
}

func sortSpans(spans []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.from-b.from, b.to-a.to, a.name-b.name) })
}

// settle replaces spans in one line, which begins at base, until no more is found
// in it. What it returns is valid until the next call.
func (s *scanner) settle(line []byte, spans []span, base int) []byte {
	for pass := range mostPasses {
		spans = s.merge(line, spans, base)
		if len(spans) == 0 {
			return line
		}
		out, at := s.out[:0], 0
		for _, sp := range spans {
			out = append(out, line[at:sp.from]...)
			out = s.r.appendMarker(out, sp)
			at = sp.to
			s.r.found[sp.name].Add(1)
		}
		out = append(out, line[at:]...)
		s.out, s.spare = s.spare, out // line is in the one of the two that is not written next
		line, base = out, 0
		if pass == mostPasses-1 {
			break
		}
		s.one[0] = signal.Line{End: uint32(len(line))}
		s.scan(line, s.one[:])
		sortSpans(s.spans)
		spans = s.spans
	}
	return append(s.out[:0], lineMarker...)
}

func (r *redactor) appendMarker(dst []byte, sp span) []byte {
	if sp.how == quoted {
		dst = append(dst, '"')
	}
	dst = append(dst, markerHead...)
	dst = append(dst, r.names[sp.name]...)
	dst = append(dst, ']')
	if sp.how == quoted {
		dst = append(dst, '"')
	}
	return dst
}

// merge makes of sorted spans those of one line that do not overlap, counted from
// its beginning. A marker that a span touches belongs to it as a whole, and a
// span of nothing but markers is none.
func (s *scanner) merge(line []byte, spans []span, base int) []span {
	s.markers = s.r.markers(s.markers[:0], line)
	merged := s.merged[:0]
	for _, sp := range spans {
		sp.from, sp.to = sp.from-base, sp.to-base
		for _, m := range touching(s.markers, sp) {
			if m[0] < sp.from || sp.to < m[1] {
				sp.from, sp.to, sp.how = min(sp.from, m[0]), max(sp.to, m[1]), plain
			}
		}
		if n := len(merged); n > 0 && sp.from < merged[n-1].to {
			last := &merged[n-1]
			if sp.from < last.from || sp.to > last.to {
				last.how = plain
			}
			last.from, last.to = min(last.from, sp.from), max(last.to, sp.to)
			continue
		}
		merged = append(merged, sp)
	}
	s.merged = merged
	kept := merged[:0]
	for _, sp := range merged {
		text := sp.to - sp.from
		for _, m := range touching(s.markers, sp) {
			text -= m[1] - m[0]
		}
		if text > 0 {
			kept = append(kept, sp)
		}
	}
	return kept
}

// touching returns the markers that have a byte in common with sp.
func touching(markers [][2]int, sp span) [][2]int {
	first, _ := slices.BinarySearchFunc(markers, sp.from, func(m [2]int, at int) int { return cmp.Compare(m[1], at+1) })
	last := first
	for last < len(markers) && markers[last][0] < sp.to {
		last++
	}
	return markers[first:last]
}

// markers appends where markers stand in a line.
func (r *redactor) markers(dst [][2]int, line []byte) [][2]int {
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(markerHead))
		if i < 0 {
			return dst
		}
		i += at
		at = i + len(markerHead)
		if n := r.marker(line[i:]); n > 0 {
			dst = append(dst, [2]int{i, i + n})
			at = i + n
		}
	}
}

// marker returns the length of the marker that p begins with, or 0.
func (r *redactor) marker(p []byte) int {
	name, ok := bytes.CutPrefix(p, []byte(markerHead))
	if !ok {
		return 0
	}
	end := bytes.IndexByte(name[:min(len(name), mostName+1)], ']')
	if end < 0 || !slices.Contains(r.names, string(name[:end])) && string(name[:end]) != "line" {
		return 0
	}
	return len(markerHead) + end + 1
}
