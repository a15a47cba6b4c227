// Package execute is empty; package flux, the root of this module, says why it exists.
package execute
