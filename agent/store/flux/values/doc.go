// Package values is empty; package flux, the root of this module, says why it exists.
package values
