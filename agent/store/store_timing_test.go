package store

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// cpu returns the processor time this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite stores batches of 5,000 points, one of each of 5,000 series,
// by HTTP's handler, fsync included.
func BenchmarkWrite(b *testing.B) {
	const series = 5000
	s, err := Open(config(b), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	begun := time.Now().Add(-time.Hour)
	var body []byte
	b.ReportAllocs()
	before := cpu(b)
	for n := 0; b.Loop(); n++ {
		body = body[:0]
		for i := range series {
			body = fmt.Appendf(body, "container,host=node-1,pod=pod-%d,container=c%d usage=%d.5 ", i/4, i%4, n+i)
			body = append(strconv.AppendInt(body, begun.Add(time.Duration(n)*time.Millisecond).UnixNano(), 10), '\n')
		}
		b.SetBytes(int64(len(body)))
		if status, out := ask(b, s, "POST", "/write?db=causeway", bytes.NewReader(bytes.Clone(body))); status != http.StatusNoContent {
			b.Fatalf("%d %s", status, out)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()*1e6/float64(b.N*series), "cpu-s/Mpoint")
}
