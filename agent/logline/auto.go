package logline

// When Auto changes its mind.
const (
	// A stream's favourite is the form of the first line that has one. So many
	// lines in a row that do not fit it, and fit one other, make that the favourite.
	strikesOut = 4
	// After so many lines in a row that fit nothing, only each of so many is
	// tried with everything; the favourite is tried with all of them.
	restless = 16
)

// guess is what Auto thinks of a stream.
type guess struct {
	favourite Format // None until a line fitted; never Text, which fits too much
	rival     Format
	strikes   int // lines in a row that fitted the rival
	misfits   int // lines in a row that fitted nothing
}

// auto tries the favourite, and then what the first byte allows.
func (p *Parser) auto(line []byte, at int64) (r Record, ok bool) {
	g := &p.guess
	if g.favourite != None {
		if r, ok = p.as(g.favourite, line, at); ok {
			g.strikes, g.misfits = 0, 0
			return r, true
		}
	}
	if g.misfits >= restless && g.misfits%restless != 0 {
		g.misfits++
		return Record{Level: unknown}, false
	}
	for _, f := range candidates(line) {
		if f == g.favourite || f == None {
			continue
		}
		if r, ok = p.as(f, line, at); ok {
			g.misfits = 0
			g.fits(f)
			return r, true
		}
	}
	g.misfits++
	return Record{Level: unknown}, false
}

// fits notes that a line had the form f, which is not the favourite.
func (g *guess) fits(f Format) {
	if f == Text {
		return
	}
	if f != g.rival {
		g.rival, g.strikes = f, 0
	}
	g.strikes++
	if g.favourite == None || g.strikes >= strikesOut {
		g.favourite, g.rival, g.strikes = f, None, 0
	}
}

// candidates returns the forms that a line may have which begins so, those
// first that are hardest to mistake.
func candidates(line []byte) [5]Format {
	i := skipSpace(line, 0)
	if i == len(line) {
		return [5]Format{}
	}
	switch c := line[i]; {
	case c == '{':
		return [5]Format{JSON}
	case c == '<':
		return [5]Format{Syslog, Text}
	case c == '[':
		return [5]Format{ApacheError, Access, Text}
	case isDigit(c):
		return [5]Format{NginxError, Access, Syslog, Text}
	case c == 'I' || c == 'W' || c == 'E' || c == 'F':
		return [5]Format{Klog, Syslog, Logfmt, Access, Text}
	}
	return [5]Format{Syslog, Logfmt, Access, Text}
}
