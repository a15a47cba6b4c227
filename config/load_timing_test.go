package config

import "testing"

// BenchmarkLoad reads the shipped file: what a start, and each reload, costs.
func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(shipped, nil); err != nil {
			b.Fatal(err)
		}
	}
}
