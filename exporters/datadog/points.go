package datadog

import (
	"bytes"
	"compress/zlib"
	"io"
	"math"
	"strconv"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Distribution points (POST /api/v1/distribution_points; docs.datadoghq.com/api/latest/metrics/#submit-distribution-points,
// read 2026-11) are the values themselves: Datadog makes a sketch of them, of
// which percentiles over any tags can be asked. What we have are buckets of at
// most 1.1 % in width, so each value is its bucket's middle: within 0.55 %.
//
// Two things speak against it, so it has to be asked for (distributions: points):
// a request that comes twice counts its values twice, and a value costs as many
// bytes as a whole gauge. A histogram with bounds of its own is never sent so, as
// nobody knows its values.

// mostValues bounds the values of one series and interval: 2 MB of them. What
// has more goes out as .count, .sum and so on.
const mostValues = 200_000

// pointsStart is how a body of distribution points begins, and no other.
const pointsStart = `{"series":[{"points":`

// valued reports whether s goes out as distribution points.
func (e *metrics) valued(s *signal.Sample) bool {
	if e.conf.Distributions != "points" || s.Hist == nil || s.Series.Desc().Type != signal.Dist {
		return false
	}
	h := s.Hist
	return h.Exponential && h.Count > 0 && h.Count <= mostValues && inBuckets(h) == h.Count
}

func inBuckets(h *signal.Hist) uint64 {
	n := h.Zero
	for _, c := range h.Pos.Counts {
		n += c
	}
	for _, c := range h.Neg.Counts {
		n += c
	}
	return n
}

// points appends a series of distribution points.
func (w *writer) points(h *signal.Hist) {
	start := len(w.dst)
	w.dst = append(w.dst, `{"points":[[`...)
	w.dst = strconv.AppendInt(w.dst, floorDiv(w.time, 1000), 10)
	w.dst = append(w.dst, `,[`...)
	base := math.Exp2(math.Exp2(-float64(h.Scale)))
	repeat := func(v float64, n uint64) {
		if n == 0 {
			return
		}
		if v < h.Min { // not if Min is NaN
			v = h.Min
		}
		if v > h.Max {
			v = h.Max
		}
		at := len(w.dst)
		w.dst = append(appendRounded(w.dst, v), ',')
		for size := len(w.dst) - at; n > 1; n-- {
			w.dst = append(w.dst, w.dst[at:at+size]...)
		}
	}
	for i, n := range h.Neg.Counts {
		repeat(-math.Pow(base, float64(h.Neg.Offset)+float64(i)+0.5), n)
	}
	repeat(0, h.Zero)
	for i, n := range h.Pos.Counts {
		repeat(math.Pow(base, float64(h.Pos.Offset)+float64(i)+0.5), n)
	}
	w.dst[len(w.dst)-1] = ']' // over the last comma
	w.dst = append(w.dst, `]],"type":"distribution","metric":"`...)
	from := len(w.dst)
	if w.dst = appendName(w.dst, w.desc.Name); len(w.dst) == from {
		w.dst = w.dst[:start]
		return
	}
	w.dst = append(w.dst[:min(len(w.dst), from+mostName)], `","tags":[`...)
	none := len(w.dst)
	if w.dst = w.tags.append(w.dst, w.desc.Labels, style{}, &w.memo); len(w.dst) > none {
		w.dst = w.dst[:len(w.dst)-1]
	}
	w.dst = append(w.dst, ']')
	if host := signal.Lookup(w.desc.Labels, signal.LabelHost); host != "" {
		w.dst, _ = appendUpTo(append(w.dst, `,"host":`...), host, mostHost+2)
	}
	w.dst = append(w.dst, `},`...)
}

// holdsPoints reports whether a body, packed by deflate, holds distribution points.
func holdsPoints(body []byte) bool {
	z, err := zlib.NewReader(bytes.NewReader(body))
	if err != nil {
		return false
	}
	var begin [len(pointsStart)]byte
	_, err = io.ReadFull(z, begin[:])
	return err == nil && string(begin[:]) == pointsStart
}
