package host

import (
	"bytes"
	"context"

	"github.com/causeway-agent/causeway/agent/signal"
)

// load gives the load averages, and the number of threads, which only this file
// has without counting.
type load struct {
	path    string
	average [3]signal.Series
	threads signal.Series
}

func newLoad(t *tree) *load {
	return &load{
		path: t.path("proc/loadavg"),
		average: [3]signal.Series{
			gaugeOf(signal.SystemLoad1, "{thread}"),
			gaugeOf(signal.SystemLoad5, "{thread}"),
			gaugeOf(signal.SystemLoad15, "{thread}"),
		},
		threads: gaugeOf(signal.SystemThreadCount, "{thread}"),
	}
}

func (l *load) sample(_ context.Context, p *pass) error {
	text, err := p.tree.read(l.path)
	if text == nil {
		return err
	}
	average, threads, err := parseLoad(text)
	if err != nil {
		return inFile(l.path, err)
	}
	for i, s := range l.average {
		p.gauge(s, average[i])
	}
	p.gauge(l.threads, float64(threads))
	return nil
}

// parseLoad reads "0.28 0.18 0.06 1/92 8197".
func parseLoad(text []byte) (average [3]float64, threads uint64, err error) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	rest := line
	for i := range average {
		var f []byte
		f, rest = cutField(rest)
		if average[i], err = parseDecimal(f); err != nil {
			return average, 0, atLine(1, line, err)
		}
	}
	f, _ := cutField(rest)
	_, total, _ := bytes.Cut(f, []byte{'/'})
	if threads, err = parseUint(total); err != nil {
		return average, 0, atLine(1, line, err)
	}
	return average, threads, nil
}
