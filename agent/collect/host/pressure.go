package host

import (
	"bytes"
	"context"
	"errors"

	"github.com/causeway-agent/causeway/agent/signal"
)

// pressure gives the kernel's pressure stall information (since 4.20, where it
// is switched on): how long work was held up for want of a resource.
type pressure struct{ resources []pressured }

// pressured is one file of /proc/pressure.
type pressured struct {
	path       string
	some, full stall
}

// stall is the series of one line.
type stall struct {
	time    signal.Series
	average [3]signal.Series
}

func newPressure(t *tree) *pressure {
	var r pressure
	for _, resource := range [...]string{"cpu", "memory", "io", "irq"} {
		of := func(kind string) stall {
			labels := []string{signal.LabelPressure, resource, signal.LabelPressureKind, kind}
			return stall{counterOf(signal.SystemPressureTime, "s", labels...), [3]signal.Series{
				gaugeOf(signal.SystemPressureAvg10, "1", labels...),
				gaugeOf(signal.SystemPressureAvg60, "1", labels...),
				gaugeOf(signal.SystemPressureAvg300, "1", labels...),
			}}
		}
		r.resources = append(r.resources, pressured{t.path("proc/pressure/" + resource), of("some"), of("full")})
	}
	return &r
}

func (r *pressure) sample(_ context.Context, p *pass) error {
	var errs []error
	for i := range r.resources {
		f := &r.resources[i]
		text, err := p.tree.read(f.path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var bad faults
		for n, line := range lines(text) {
			s, v, err := f.parse(line)
			if err != nil {
				bad.add(atLine(n, line, err))
				continue
			}
			p.counter(s.time, v.total)
			for i, series := range s.average {
				p.gauge(series, v.average[i])
			}
		}
		errs = append(errs, inFile(f.path, bad.join()))
	}
	return errors.Join(errs...)
}

// stalled is one line's content: shares of the time, and seconds.
type stalled struct {
	average [3]float64 // of the last 10, 60, 300 s; 0 to 1
	total   float64
}

// parse reads one line and says whose it is.
func (f *pressured) parse(line []byte) (*stall, stalled, error) {
	kind, rest := cutField(line)
	v, err := parseStalled(rest)
	switch {
	case err != nil:
		return nil, v, err
	case string(kind) == "some":
		return &f.some, v, nil
	case string(kind) == "full":
		return &f.full, v, nil
	}
	return nil, v, errors.New("neither some nor full")
}

// parseStalled reads "avg10=0.30 avg60=0.75 avg300=0.73 total=10041850", in
// percent and microseconds.
func parseStalled(p []byte) (v stalled, err error) {
	seen := 0
	for {
		var field []byte
		field, p = cutField(p)
		if len(field) == 0 {
			break
		}
		key, value, _ := bytes.Cut(field, []byte{'='})
		to, scale := &v.total, 1e6
		switch string(key) {
		case "avg10":
			to, scale = &v.average[0], 100
		case "avg60":
			to, scale = &v.average[1], 100
		case "avg300":
			to, scale = &v.average[2], 100
		case "total":
		default:
			continue // of a newer kernel
		}
		u, err := parseDecimal(value)
		if err != nil {
			return v, err
		}
		*to = u / scale
		seen++
	}
	if seen < 4 {
		return v, errShort
	}
	return v, nil
}
