package agent

import (
	"fmt"
	"io"
	"iter"
	"math"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/agent/spool"
	"github.com/causeway-agent/causeway/exporters/stdout"
)

// Export writes the items of one kind in the spool in dataDir that are of since
// or later, as destinations of type stdout write them in JSON, one a line. It
// writes nothing there, and may be called beside a running agent. The zero time
// means all.
func Export(w io.Writer, dataDir string, k signal.Kind, since time.Time) error {
	e := stdout.New("export", k, stdout.Config{Format: "json"}, nil)
	var body []byte
	return spool.Export(spoolDir(dataDir, k), since, func(seq spool.Seq, frame []byte) error {
		var b signal.Batch
		if err := signal.AppendFromFrame(&b, frame); err != nil {
			return fmt.Errorf("frame %d of the %v spool: %w; it was written by another version, or `causeway spool verify` names what is damaged", seq, k, err)
		}
		body = body[:0]
		for lo, hi := range runsSince(&b, since) {
			body, _, _ = e.Encode(body, &b, lo, hi)
		}
		_, err := w.Write(body)
		return err
	})
}

// runsSince yields the runs [lo, hi) of items of since or later: a frame holds
// items of some time before it was written.
func runsSince(b *signal.Batch, since time.Time) iter.Seq2[int, int] {
	var times []int64 // Unix ns
	for i := range b.Samples {
		times = append(times, b.Samples[i].Time*int64(time.Millisecond))
	}
	for l := range b.LinesIn(0, b.Len()) {
		times = append(times, l.Time)
	}
	for i := range b.Events {
		times = append(times, b.Events[i].Time)
	}
	from := int64(math.MinInt64)
	if !since.IsZero() {
		from = since.UnixNano()
	}
	return func(yield func(int, int) bool) {
		for lo := 0; lo < len(times); lo++ {
			if times[lo] < from {
				continue
			}
			hi := lo + 1
			for hi < len(times) && times[hi] >= from {
				hi++
			}
			if !yield(lo, hi) {
				return
			}
			lo = hi
		}
	}
}
