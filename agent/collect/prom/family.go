package prom

import "strings"

// sort is the type of a metric family, as the page declares it.
type sort uint8

// The sorts. What is none of the last three is a gauge to us.
const (
	unknown sort = iota
	gauge
	counter
	histogram
	summary
)

// parseSort reads the word behind # TYPE.
func parseSort(word []byte) (sort, error) {
	switch string(word) {
	case "counter":
		return counter, nil
	case "histogram":
		return histogram, nil
	case "summary":
		return summary, nil
	case "gauge", "info", "stateset", "gaugehistogram":
		// A gaugehistogram is how things are now, not what has been counted so
		// far, for which the model has no form: its lines stay what they are.
		return gauge, nil
	case "untyped", "unknown":
		return unknown, nil
	}
	return unknown, errMeta
}

// family is what # TYPE says of the metrics of one name.
type family struct {
	sort sort
	seen uint32 // page
}

// familyOf returns the family that a line of this name belongs to, and what the
// name has behind the family's.
func familyOf(families map[string]*family, name string) (f *family, base, suffix string) {
	if f := families[name]; f != nil {
		return f, name, ""
	}
	if cut := strings.LastIndexByte(name, '_'); cut > 0 {
		base, suffix = name[:cut], name[cut:]
		if f := families[base]; f != nil {
			switch {
			case f.sort == counter && (suffix == "_total" || suffix == "_created"),
				f.sort == histogram && (suffix == "_bucket" || suffix == "_sum" || suffix == "_count" || suffix == "_created"),
				f.sort == summary && (suffix == "_sum" || suffix == "_count" || suffix == "_created"):
				return f, base, suffix
			}
		}
	}
	return &family{}, name, ""
}

// units translates the words of Prometheus' names into UCUM.
// prometheus.io/docs/practices/naming, "Base units", read 2026-11.
func units(word string) string {
	switch word {
	case "seconds":
		return "s"
	case "milliseconds":
		return "ms"
	case "microseconds":
		return "us"
	case "nanoseconds":
		return "ns"
	case "minutes":
		return "min"
	case "hours":
		return "h"
	case "days":
		return "d"
	case "bytes":
		return "By"
	case "bits":
		return "bit"
	case "ratio":
		return "1"
	case "percent":
		return "%"
	case "celsius":
		return "Cel"
	case "meters":
		return "m"
	case "grams":
		return "g"
	case "joules":
		return "J"
	case "watts":
		return "W"
	case "volts":
		return "V"
	case "amperes":
		return "A"
	case "hertz":
		return "Hz"
	}
	return ""
}

// unitOf returns the unit of a metric: the word its name ends in, where that is
// one. A declared unit must be that word too (OpenMetrics 1.0, "Unit"), so a
// family has the same unit in every format.
func unitOf(name string) string {
	name = strings.TrimSuffix(name, "_total")
	return units(name[strings.LastIndexByte(name, '_')+1:])
}
