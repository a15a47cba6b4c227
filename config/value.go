package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/causeway-agent/causeway/config/secret"
)

// The errors of this file never contain the value they are about: it may be a
// secret, or come from a variable.

// expand replaces ${VAR}, ${VAR:-default}, ${VAR:?message} and $$ in one parsed
// scalar. A dollar sign before anything else stays, so that patterns need no
// escape. It also returns the contents of the variables, which nobody may print.
func expand(s string, env map[string]string) (value string, contents []string, err error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String(), contents, nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			inside, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", contents, errors.New("${ without a closing brace; a dollar sign is written $$")
			}
			v, own, err := variable(inside, env)
			if err != nil {
				return "", contents, err
			}
			if own {
				contents = append(contents, v)
			}
			b.WriteString(v)
			s = rest
		default:
			b.WriteByte('$')
			s = after
		}
	}
}

// variable resolves what stands between ${ and }. own tells that the value is
// the variable's content and not the text of the file.
func variable(inside string, env map[string]string) (value string, own bool, err error) {
	if strings.Contains(inside, "${") {
		return "", false, errors.New("${…} inside ${…} is not supported")
	}
	end := strings.IndexByte(inside, ':')
	if end < 0 {
		end = len(inside)
	}
	name, form := inside[:end], inside[end:]
	if !variableName(name) {
		return "", false, errors.New("${…} needs a variable's name: letters, digits and underscores; a dollar sign is written $$")
	}
	value, set := env[name]
	switch {
	case form == "" && set:
		return value, true, nil
	case form == "":
		return "", false, fmt.Errorf("the environment variable %s is not set; ${%s:-} makes that an empty value", name, name)
	case strings.HasPrefix(form, ":-"):
		if value == "" {
			return strings.ReplaceAll(form[2:], "$$", "$"), false, nil
		}
		return value, true, nil
	case strings.HasPrefix(form, ":?"):
		if value != "" {
			return value, true, nil
		}
		if form == ":?" {
			form = ":?it is required"
		}
		return "", false, fmt.Errorf("the environment variable %s is not set: %s", name, form[2:])
	}
	return "", false, fmt.Errorf("${%s: must go on with :-default or :?message", name)
}

// variableName tells whether s can name an environment variable.
func variableName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if !(c >= 'a' && c <= 'z' || s[i] == '_' || i > 0 && s[i] >= '0' && s[i] <= '9') {
			return false
		}
	}
	return s != ""
}

// convert is the decoder's hook: it makes of a scalar's text what the field
// wants. Every scalar of the file and of the environment arrives as a string;
// defaults arrive as what they are.
func convert(from, to reflect.Value) (any, error) {
	if from.Kind() == reflect.Slice && to.Kind() == reflect.Slice && from.Len() == 0 {
		return reflect.Zero(to.Type()).Interface(), nil // an empty list is always nil, so that trees can be compared
	}
	if from.Kind() != reflect.String {
		return from.Interface(), nil
	}
	s := from.String()
	switch {
	case to.Type() == reflect.TypeFor[time.Duration]():
		return parseDuration(s)
	case to.Kind() == reflect.String:
		return s, nil
	case to.Kind() == reflect.Bool:
		switch s {
		case "true", "false":
			return s == "true", nil
		}
		return nil, errors.New("must be true or false")
	case to.CanInt():
		n, err := parseSize(s)
		if err == nil && to.OverflowInt(n) {
			err = errors.New("is too large a number here")
		}
		return n, err
	case to.CanFloat():
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, errors.New("must be a number")
		}
		return f, nil
	}
	return from.Interface(), nil
}

// parseDuration reads Go's notation and, before it, days: 10s, 1h30m, 7d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	bad := errors.New("must be a duration like 10s, 5m, 1h30m or 7d")
	if strings.HasPrefix(s, "-") {
		return 0, errors.New("must not be negative")
	}
	var d time.Duration
	if days, rest, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/(24*time.Hour)) {
			return 0, bad
		}
		d = time.Duration(n) * 24 * time.Hour
		if rest == "" {
			return d, nil
		}
		s = rest
	}
	if _, err := strconv.ParseFloat(s, 64); err == nil && s != "0" {
		return 0, errors.New("needs a unit: 10s, 5m, 1h30m or 7d")
	}
	rest, err := time.ParseDuration(s)
	if err != nil || rest < 0 || d+rest < 0 {
		return 0, bad
	}
	return d + rest, nil
}

// printDuration writes d so that parseDuration reads it again, and without the
// units that are zero.
func printDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// sizeUnit returns the bytes of a unit, 0 for an unknown one. kB is 1000 bytes
// and KiB 1024; a bare k, m or g could be either, and is refused.
func sizeUnit(name string) int64 {
	switch strings.ToLower(name) {
	case "", "b":
		return 1
	case "kb":
		return 1e3
	case "mb":
		return 1e6
	case "gb":
		return 1e9
	case "tb":
		return 1e12
	case "kib", "ki": // Ki, Mi, Gi, Ti: Kubernetes' spelling
		return 1 << 10
	case "mib", "mi":
		return 1 << 20
	case "gib", "gi":
		return 1 << 30
	case "tib", "ti":
		return 1 << 40
	}
	return 0
}

// parseSize reads a whole number, with a unit of bytes or without: 100, 64MiB,
// 1.5GB.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := sizeUnit(s[len(number):])
	number = strings.TrimSuffix(number, " ")
	whole, fraction, fractional := strings.Cut(number, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errors.New("is too large a number")
	case err != nil:
		return 0, errors.New("must be a whole number, or a size like 64MiB or 10MB")
	case unit == 0:
		return 0, errors.New("has an unknown unit; sizes end in B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")
	case n > math.MaxInt64/unit-1 && unit > 1 || n < math.MinInt64/unit:
		return 0, errors.New("is too large a number")
	case !fractional:
		return n * unit, nil
	}
	digits := strings.Trim(fraction, "0123456789") == ""
	f, err := strconv.ParseFloat("0."+fraction, 64)
	part := f * float64(unit)
	if !digits || err != nil || strings.HasPrefix(whole, "-") || part != math.Trunc(part) {
		return 0, errors.New("must be a whole number of bytes")
	}
	return n*unit + int64(part), nil
}

// printSize writes n so that parseSize reads it again: in the largest binary
// unit from MiB on that divides it, since smaller numbers may well be counts.
func printSize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}} {
		if n > 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// splitList reads a list as a variable holds it: items separated by commas,
// without the spaces around them.
func splitList(s string) []any {
	var items []any
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// redact takes the hidden contents out of a room's message, also as %q writes
// them. Contents shorter than three bytes are taken out only where they stand in
// quotes: they hide little, and would spoil any text.
func redact(message string, hidden []string) string {
	for _, h := range hidden {
		if h == "" {
			continue
		}
		q := strconv.Quote(h)
		message = strings.ReplaceAll(message, q, strconv.Quote(secret.Mask))
		if len(h) >= 3 {
			message = strings.ReplaceAll(message, q[1:len(q)-1], secret.Mask)
			message = strings.ReplaceAll(message, h, secret.Mask)
		}
	}
	return message
}
