// Package secret holds values that must never be printed: keys, tokens and
// passwords from the configuration.
//
// Rooms keep a String in their Config and call Reveal at the one place where the
// value goes into a request. Printing a String in any way, by fmt, log/slog,
// JSON or YAML, prints a mask. The package imports nothing of ours and does not
// read files: that is config's work.
package secret

import (
	"fmt"
	"log/slog"
)

// Mask is what a String prints as.
const Mask = "***"

// String is a secret. Its zero value is an empty secret, which prints as
// nothing, so that a missing key can be told from a hidden one.
type String string

// Reveal returns the secret itself.
func (s String) Reveal() string { return string(s) }

// Last4 returns the last four characters of a secret of at least 12, else "":
// enough to tell two keys apart, too little to use one.
func (s String) Last4() string {
	if len(s) < 12 {
		return ""
	}
	return string(s[len(s)-4:])
}

// String returns the mask, or nothing for an empty secret.
func (s String) String() string {
	if s == "" {
		return ""
	}
	return Mask
}

// Format prints the mask for every verb, %#v and %x included.
func (s String) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText returns the mask.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the mask.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }
