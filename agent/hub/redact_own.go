package hub

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// ownPattern is a pattern of people's own.
type ownPattern struct {
	name   int
	re     *regexp.Regexp
	worded bool // it is tried only on lines that have one of its words
}

// find yields what the pattern matches in a line: its first group, if it has one.
func (o *ownPattern) find(line []byte, yield func(from, to int)) {
	for _, m := range o.re.FindAllSubmatchIndex(line, -1) {
		from, to := m[0], m[1]
		if len(m) > 2 {
			from, to = m[2], m[3]
		}
		if from < to { // not the empty match, nor a group that took no part
			yield(from, to)
		}
	}
}

// parseOwn reads an item of process.redact that is not "default".
func parseOwn(item string) (name string, re *regexp.Regexp, err error) {
	name, expr, ok := strings.Cut(item, "=")
	if !ok {
		return "", nil, fmt.Errorf("%q is neither default nor name=REGEXP", item)
	}
	if name == "" || len(name) > mostName || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return "", nil, fmt.Errorf("the name %q must be of 1 to 40 small letters, digits, _ and -: it stands in [redacted:…]", name)
	}
	if name == "line" || slices.Contains(packNames(), name) {
		return "", nil, fmt.Errorf("the name %q is one of the default pack: choose another", name)
	}
	if expr == "" {
		return "", nil, errors.New("no regular expression behind " + name + "=")
	}
	if re, err = regexp.Compile(expr); err != nil {
		return "", nil, fmt.Errorf("pattern %s: %w", name, err)
	}
	return name, re, nil
}

// defaultPack is the word for the default pack.
const defaultPack = "default"

// newRedactor makes a redactor of the items of process.redact, which have passed
// Check. counters returns where what a name replaces is counted.
func newRedactor(items []string, counters func(name string) *atomic.Int64) *redactor {
	r := &redactor{names: packNames()}
	if slices.Contains(items, defaultPack) {
		r.addPack()
	}
	for _, item := range items {
		if item == defaultPack {
			continue
		}
		name, re, err := parseOwn(item)
		if err != nil {
			panic("BUG: a pattern that did not pass Check: " + err.Error())
		}
		o := ownPattern{name: r.nameOf(name), re: re}
		for _, w := range required(re.String()) {
			o.worded = true
			r.add(word{w.text, w.fold, o.name, -1 - len(r.own)}, "")
		}
		r.own = append(r.own, o)
	}
	for _, name := range r.names {
		r.found = append(r.found, counters(name))
	}
	return r
}

func (r *redactor) nameOf(name string) int {
	if i := slices.Index(r.names, name); i >= 0 {
		return i
	}
	r.names = append(r.names, name)
	return len(r.names) - 1
}

// addPack adds the default pack.
func (r *redactor) addPack() {
	r.ats, r.cards = true, true
	add := func(name, text string, fold bool, f finder) {
		r.finders = append(r.finders, f)
		r.add(word{text, fold, r.nameOf(name), len(r.finders) - 1}, "")
	}
	add("private_key", "-----begin ", true, privateKey)
	for _, p := range prefixes() {
		add(p.name, p.prefix, false, prefixed(p.least, p.of))
	}
	r.finders = append(r.finders, jwt)
	var next []byte
	for c := range byte(128) {
		if dashed(c) {
			next = append(next, c)
		}
	}
	r.add(word{"eyJ", false, r.nameOf("jwt"), len(r.finders) - 1}, string(next))
	add("authorization", "bearer ", true, bearer)
	add("authorization", "basic ", true, basic)
	add("authorization", "authorization", true, authorization)
	for _, k := range keys() {
		add(k.name, k.key, true, keyValue(k.name != "password"))
	}
}

// need is text that a match must contain.
type need struct {
	text string
	fold bool
}

// shortestWord is the length from which on a word is certain to be found; see redactor.
const shortestWord = 4

// required returns words of which every match of expr has at least one; none if
// it cannot be said, or if they are too short or too many to be of use.
//
// A word whatever its case is compared by ASCII's rules. RE2 lets (?i)k match
// the sign of the Kelvin too, and s the long s: a line with those is not found.
func required(expr string) []need {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	words := needs(re.Simplify())
	if len(words) > 64 || shortest(words) < shortestWord {
		return nil
	}
	return words
}

func needs(re *syntax.Regexp) []need {
	switch re.Op {
	case syntax.OpLiteral:
		fold := re.Flags&syntax.FoldCase != 0
		var b []byte
		for _, r := range re.Rune {
			if fold && r >= utf8.RuneSelf { // its other cases may be of another length
				break
			}
			b = utf8.AppendRune(b, r)
		}
		if fold {
			b = []byte(strings.ToLower(string(b)))
		}
		return []need{{string(b), fold}}
	case syntax.OpCapture, syntax.OpPlus:
		return needs(re.Sub[0])
	case syntax.OpConcat:
		var best []need
		for _, sub := range re.Sub {
			if n := needs(sub); shortest(n) > shortest(best) || shortest(n) == shortest(best) && len(n) < len(best) {
				best = n
			}
		}
		return best
	case syntax.OpAlternate:
		var all []need
		for _, sub := range re.Sub {
			n := needs(sub)
			if len(n) == 0 {
				return nil
			}
			all = append(all, n...)
		}
		return all
	}
	return nil
}

// shortest returns the length of the shortest of words, 0 if there is none.
func shortest(words []need) int {
	if len(words) == 0 {
		return 0
	}
	n := len(words[0].text)
	for _, w := range words {
		n = min(n, len(w.text))
	}
	return n
}
