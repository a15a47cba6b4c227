package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	File    string // the file's path, or "environment variable NAME"
	Line    int    // from 1; 0 if the problem has no place in the file
	Column  int    // from 1, in characters; 0 with Line
	Key     string // "collect.logs.files[2].path"; empty if the whole file is at fault
	Message string // what is wrong; never a secret, never a variable's content
	Hint    string // what was probably meant: a key, a value; may be empty
}

// String returns "file:line:column: key: message (did you mean hint?)", without
// the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (did you mean " + p.Hint + "?)")
	}
	return b.String()
}

// Errors is everything that is wrong, in the order of the file and then of the
// variables' names.
type Errors []Problem

// Error lists the problems, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted returns e in reading order.
func (e Errors) sorted() Errors {
	inFile := func(p Problem) int {
		if strings.HasPrefix(p.File, variablePlace) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(e, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(inFile(a), inFile(b)), cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Key, b.Key))
	})
	return e
}

// variablePlace precedes a variable's name in Problem.File.
const variablePlace = "environment variable "

// flat returns the errors that err joins, down to the single ones.
func flat(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flat(e)...)
	}
	return all
}

// nearest returns the candidate most like word, or "" if none is like it: at
// most one edit for a short word, a third of its length for a longer one, four.
func nearest(word string, candidates []string) string {
	best, least := "", max(1, min(len(word), 12)/3)+1
	for _, c := range candidates {
		if d := distance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete, replace or swap with their
// neighbour that makes b of a. Longer words than any key are infinitely far.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var d [longest + 1][longest + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
