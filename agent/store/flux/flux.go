// Package flux stands in for github.com/influxdata/flux, which this program
// never runs.
//
// Why it exists: the embedded store uses the query package of InfluxDB 1.x, one
// file of which (query/encode.go) names flux's types in order to throw the
// results of Flux queries away. The real module binds a library written in Rust
// by cgo; with it there would be no static binary, no cross-build and no build
// on a machine that has only Go. So the agent's go.mod replaces the module by
// this one, which declares what encode.go needs to compile and nothing else.
//
// Nobody calls these methods: the store serves InfluxQL only and never makes a
// Flux encoder. The empty packages beside this one (execute, interval, lang,
// memory, runtime, values) exist because packages of InfluxDB that we do not
// build import them, and `go mod tidy` wants to find them all the same.
//
// The names and shapes are those of flux v0.200.0's public interface.
package flux

import "io"

// DialectType names an encoding of query results.
type DialectType string

// MultiResultEncoder writes several results to w and returns the bytes written.
type MultiResultEncoder interface {
	Encode(w io.Writer, results ResultIterator) (int64, error)
}

// ResultIterator walks the results of one query.
type ResultIterator interface {
	More() bool
	Next() Result
	Release()
	Err() error
}

// Result is one named result.
type Result interface {
	Name() string
	Tables() TableIterator
}

// TableIterator calls f for each table.
type TableIterator interface {
	Do(f func(Table) error) error
}

// Table is one table of a result.
type Table interface {
	Do(f func(ColReader) error) error
}

// ColReader is a run of rows of a table.
type ColReader interface {
	Len() int
}
