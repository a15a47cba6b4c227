package signal

import (
	"encoding/binary"
	"strings"
)

func appendHist(dst []byte, h *Hist) []byte {
	dst = binary.AppendUvarint(dst, h.Count)
	dst = appendFloat(dst, h.Sum)
	dst = appendFloat(dst, h.Min)
	dst = appendFloat(dst, h.Max)
	dst = binary.AppendUvarint(dst, uint64(len(h.Bounds)))
	for _, b := range h.Bounds {
		dst = appendFloat(dst, b)
	}
	dst = appendCounts(dst, h.Counts)
	if h.Exponential {
		dst = append(dst, 1)
		dst = binary.AppendVarint(dst, int64(h.Scale))
		dst = binary.AppendUvarint(dst, h.Zero)
		dst = appendFloat(dst, h.ZeroWidth)
		dst = binary.AppendVarint(dst, int64(h.Pos.Offset))
		dst = appendCounts(dst, h.Pos.Counts)
		dst = binary.AppendVarint(dst, int64(h.Neg.Offset))
		dst = appendCounts(dst, h.Neg.Counts)
	} else {
		dst = append(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(h.Quantiles)))
	for _, q := range h.Quantiles {
		dst = appendFloat(appendFloat(dst, q.Q), q.Value)
	}
	what := len(dst)
	dst = append(dst, 0)
	if h.Since != nil {
		dst[what] |= hasSince
		dst = appendHist(dst, h.Since)
	}
	if len(h.Exemplars) > 0 {
		dst[what] |= hasExemplars
		dst = appendExemplars(dst, h.Exemplars)
	}
	return dst
}

// What may follow a distribution. Frames of before there were exemplars have 0 or 1.
const (
	hasSince = 1 << iota
	hasExemplars
)

func (r *reader) hist(depth int) *Hist {
	h := &Hist{Count: r.uvarint(), Sum: r.float(), Min: r.float(), Max: r.float()}
	if n := r.count(8); n > 0 {
		h.Bounds = make([]float64, n)
		for i := range h.Bounds {
			h.Bounds[i] = r.float()
		}
	}
	h.Counts = r.counts()
	if r.byte() == 1 {
		h.Exponential = true
		h.Scale = int32(r.varint())
		h.Zero = r.uvarint()
		h.ZeroWidth = r.float()
		h.Pos = Buckets{Offset: int32(r.varint()), Counts: r.counts()}
		h.Neg = Buckets{Offset: int32(r.varint()), Counts: r.counts()}
	}
	if n := r.count(16); n > 0 {
		h.Quantiles = make([]Quantile, n)
		for i := range h.Quantiles {
			h.Quantiles[i] = Quantile{Q: r.float(), Value: r.float()}
		}
	}
	what := r.byte()
	if what > hasSince|hasExemplars || what&hasSince != 0 && depth > 0 { // an increase has no increase
		r.fail()
		return h
	}
	if what&hasSince != 0 {
		h.Since = r.hist(depth + 1)
	}
	if what&hasExemplars != 0 {
		h.Exemplars = r.exemplars()
	}
	return h
}

func appendExemplars(dst []byte, exemplars []Exemplar) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(exemplars)))
	for i := range exemplars {
		e := &exemplars[i]
		dst = binary.AppendVarint(appendFloat(dst, e.Value), e.Time)
		dst = append(append(dst, e.Trace[:]...), e.Span[:]...)
		dst = appendString(dst, e.Labels)
	}
	return dst
}

// exemplars copies the labels: a Hist lives longer than its frame.
func (r *reader) exemplars() []Exemplar {
	n := r.count(8 + 1 + 16 + 8 + 1)
	if n == 0 {
		return nil
	}
	exemplars := make([]Exemplar, n)
	for i := range exemplars {
		e := &exemplars[i]
		e.Value, e.Time = r.float(), r.varint()
		r.fixed(e.Trace[:])
		r.fixed(e.Span[:])
		e.Labels = strings.Clone(r.view())
	}
	return exemplars
}

func appendCounts(dst []byte, counts []uint64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(counts)))
	for _, c := range counts {
		dst = binary.AppendUvarint(dst, c)
	}
	return dst
}

func (r *reader) counts() []uint64 {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	counts := make([]uint64, n)
	for i := range counts {
		counts[i] = r.uvarint()
	}
	return counts
}
