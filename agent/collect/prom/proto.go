package prom

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causeway-agent/causeway/agent/signal"
)

// The protobuf exposition is a run of MetricFamily messages, each behind its
// length (prometheus.io/docs/instrumenting/exposition_formats, "Protobuf",
// read 2026-11). It is the one that carries native histograms.

var errFamily = errors.New("no metric family")

// Fields of MetricFamily in metrics.proto.
const (
	fieldName   = 1
	fieldType   = 3
	fieldMetric = 4
)

// readProto reads a page of delimited messages, one family in memory at a time.
// A message that is none ends the page: where the next one begins is not known.
func (p *page) readProto(r *bufio.Reader, most int64) error {
	var buf []byte
	for {
		size, err := binary.ReadUvarint(r)
		switch {
		case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: its length: %w", errFamily, err)
		case size > uint64(most):
			return errTooLarge
		}
		if buf, err = readAll(r, buf[:0], int(size)); err != nil {
			return err
		}
		p.lines++
		if err := p.protoFamily(buf); err != nil {
			return err
		}
	}
}

// readAll reads n bytes and lets memory grow with what has come, not with what
// was announced.
func readAll(r io.Reader, buf []byte, n int) ([]byte, error) {
	for len(buf) < n {
		part := min(n-len(buf), max(firstBuffer, len(buf)))
		at := len(buf)
		if cap(buf) < at+part {
			buf = append(buf, make([]byte, part)...)
		} else {
			buf = buf[:at+part]
		}
		if _, err := io.ReadFull(r, buf[at:]); err != nil {
			return buf, fmt.Errorf("a metric family of %d bytes: %w", n, errors.Join(errTruncated, err))
		}
	}
	return buf, nil
}

// protoFamily takes one MetricFamily. Its fields may come in any order, so name
// and type are looked for first.
func (p *page) protoFamily(b []byte) error {
	var name []byte
	typ := dto.MetricType_UNTYPED
	var metrics [][]byte
	for rest := b; len(rest) > 0; {
		num, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return errFamily
		}
		rest = rest[n:]
		n = protowire.ConsumeFieldValue(num, wire, rest)
		if n < 0 {
			return errFamily
		}
		switch {
		case num == fieldName && wire == protowire.BytesType:
			name, _ = protowire.ConsumeBytes(rest)
		case num == fieldType && wire == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(rest)
			typ = dto.MetricType(v)
		case num == fieldMetric && wire == protowire.BytesType:
			m, _ := protowire.ConsumeBytes(rest)
			metrics = append(metrics, m)
		}
		rest = rest[n:]
	}
	if len(name) == 0 {
		return errFamily
	}
	s := unknown
	switch typ {
	case dto.MetricType_COUNTER:
		s = counter
	case dto.MetricType_GAUGE:
		s = gauge
	case dto.MetricType_SUMMARY:
		s = summary
	case dto.MetricType_HISTOGRAM:
		s = histogram
	}
	if err := p.declare(name, s); err != nil {
		return err
	}
	var m dto.Metric
	for _, raw := range metrics {
		if err := (proto.UnmarshalOptions{}).Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("%w: %w", errFamily, err)
		}
		if err := p.protoMetric(name, &m); err != nil {
			return err
		}
	}
	return nil
}

// protoMetric takes one metric: a value or a whole distribution. What it is
// counts, not what its family says it should be.
func (p *page) protoMetric(name []byte, m *dto.Metric) error {
	dist := m.Histogram != nil || m.Summary != nil
	if !dist && m.Counter == nil && m.Gauge == nil && m.Untyped == nil {
		p.malformed(name, errValue)
		return nil
	}
	c, err := p.protoCell(name, m.GetLabel(), dist)
	if err != nil {
		p.malformed(name, err)
		return nil
	}
	pt := point{timed: m.TimestampMs != nil, time: m.GetTimestampMs()}
	switch {
	case m.Histogram != nil:
		return p.protoHistogram(c, m.Histogram, pt)
	case m.Summary != nil:
		return p.protoSummary(c, m.Summary, pt)
	case m.Counter != nil:
		pt.value = m.Counter.GetValue()
		if m.Counter.Exemplar != nil {
			p.tally.Exemplars++
		}
		if c.role == roleCounter {
			p.protoBorn(c, m.Counter.CreatedTimestamp)
		}
	case m.Gauge != nil:
		pt.value = m.Gauge.GetValue()
	default:
		pt.value = m.Untyped.GetValue()
	}
	return p.take(c, pt)
}

// protoCell finds or makes the cell of a metric.
func (p *page) protoCell(name []byte, set []*dto.LabelPair, dist bool) (*cell, error) {
	p.key = append(p.key[:0], 'v')
	if dist {
		p.key[0] = 'd'
	}
	p.key = append(append(p.key, name...), 0)
	for _, l := range set {
		p.key = signal.AppendLabel(p.key, l.GetName(), l.GetValue())
	}
	if c := p.cells[maphash.Bytes(p.seed, p.key)]; c != nil {
		return c, nil
	}
	pairs := p.pairs[:0]
	for i, l := range set {
		for _, before := range set[:i] {
			if before.GetName() == l.GetName() {
				return nil, errTwice
			}
		}
		if l.GetValue() != "" {
			pairs = append(pairs, pair{l.GetName(), l.GetValue()})
		}
	}
	p.pairs = pairs[:0]
	if !dist {
		return p.learn(p.key, string(name), pairs), nil
	}
	c := p.newCell(p.key)
	c.role = roleDist
	labels, as, keep := p.relabel(string(name), "", "", 0, pairs, true)
	if !keep {
		c.role = roleDropped
		return c, nil
	}
	c.series = signal.Draft(signal.Desc{Name: as, Unit: unitOf(as), Type: signal.CumDist, Labels: labels})
	p.own(c)
	return c, nil
}

// protoBorn notes a created timestamp before its sample is taken.
func (p *page) protoBorn(c *cell, at *timestamppb.Timestamp) {
	if at == nil {
		return
	}
	if ms := at.AsTime().UnixMilli(); ms > 0 && ms <= p.at {
		c.start = ms
	}
}

// admit counts a distribution of so many parts, and reports whether it is to be
// given on.
func (p *page) admit(c *cell, parts int) (bool, error) {
	p.last.next = c
	p.last = c
	p.tally.Samples += parts
	again := c.seen == p.number
	if !again {
		c.seen = p.number
		p.alive++
	}
	if c.role == roleDropped {
		p.tally.Dropped += parts
		return false, nil
	}
	if p.tally.Samples-p.tally.Dropped > p.most {
		return false, errTooMany
	}
	if again || c.role != roleDist {
		p.tally.Twins += parts
		return false, nil
	}
	p.tally.Folded += parts
	return true, nil
}

func (p *page) protoSummary(c *cell, s *dto.Summary, pt point) error {
	ok, err := p.admit(c, len(s.Quantile)+2)
	if !ok {
		return err
	}
	p.protoBorn(c, s.CreatedTimestamp)
	h := p.newHist()
	h.Count = s.GetSampleCount()
	if finite(s.GetSampleSum()) {
		h.Sum = s.GetSampleSum()
	}
	for _, q := range s.Quantile {
		if finite(q.GetValue()) && finite(q.GetQuantile()) {
			h.Quantiles = append(h.Quantiles, signal.Quantile{Q: q.GetQuantile(), Value: q.GetValue()})
		}
	}
	p.protoDist(c, h, pt)
	return nil
}

func (p *page) protoDist(c *cell, h *signal.Hist, pt point) {
	at := p.at
	if pt.timed && p.timed {
		at = pt.time
	}
	p.dist(c.series, h, &c.start, &c.value, at)
}

func (p *page) protoHistogram(c *cell, d *dto.Histogram, pt point) error {
	native := d.GetZeroThreshold() > 0 || d.GetZeroCount() > 0 || d.GetZeroCountFloat() > 0 || len(d.PositiveSpan) > 0 || len(d.NegativeSpan) > 0
	parts := 3
	if !native {
		parts = len(d.Bucket) + 3 // the bucket above all bounds is always understood
	}
	ok, err := p.admit(c, parts)
	if !ok {
		return err
	}
	p.protoBorn(c, d.CreatedTimestamp)
	h := p.newHist()
	if finite(d.GetSampleSum()) {
		h.Sum = d.GetSampleSum()
	}
	if native {
		p.native = true
		ok = nativeHistogram(h, d)
	} else {
		ok = p.classicHistogram(h, d)
	}
	if len(d.Exemplars) == 0 { // else the buckets' are among them
		for _, b := range d.Bucket {
			p.protoExemplar(h, b.Exemplar)
		}
	}
	for _, x := range d.Exemplars {
		p.protoExemplar(h, x)
	}
	if !ok {
		p.tally.Broken++
		p.tally.Exemplars += len(h.Exemplars)
		return nil
	}
	p.protoDist(c, h, pt)
	return nil
}

// classicHistogram makes of buckets what fold makes of lines.
func (p *page) classicHistogram(h *signal.Hist, d *dto.Histogram) bool {
	g := &group{count: float64(d.GetSampleCount())}
	if f := d.GetSampleCountFloat(); f > 0 {
		g.count = f
	}
	for _, b := range d.Bucket {
		v := float64(b.GetCumulativeCount())
		if f := b.GetCumulativeCountFloat(); f > 0 {
			v = f
		}
		if math.IsNaN(b.GetUpperBound()) || len(g.bounds) == maxSlots {
			return false
		}
		g.bounds = append(g.bounds, b.GetUpperBound())
		g.values = append(g.values, v)
	}
	p.sortBounds(g)
	return p.foldHistogram(h, g)
}

// maxNative bounds the buckets of one side of a native histogram, which may say
// that it has four billion of them. Client libraries keep to a few hundred.
const maxNative = 10_000

// nativeHistogram translates Prometheus' form into OpenTelemetry's, of which it
// is one: bucket i ends at base^i there and at base^(i+1) here.
func nativeHistogram(h *signal.Hist, d *dto.Histogram) bool {
	if s := d.GetSchema(); s < -4 || s > 8 {
		return false
	}
	h.Exponential, h.Scale = true, d.GetSchema()
	h.Count, h.Zero, h.ZeroWidth = d.GetSampleCount(), d.GetZeroCount(), d.GetZeroThreshold()
	if f := d.GetSampleCountFloat(); f > 0 {
		if !isCount(f) || !isCount(d.GetZeroCountFloat()) {
			return false
		}
		h.Count, h.Zero = uint64(f+0.5), uint64(d.GetZeroCountFloat()+0.5)
	}
	var ok bool
	if h.Pos, ok = spans(d.PositiveSpan, d.PositiveDelta, d.PositiveCount); !ok {
		return false
	}
	h.Neg, ok = spans(d.NegativeSpan, d.NegativeDelta, d.NegativeCount)
	return ok
}

// spans lays runs of buckets out with the empty ones between them.
func spans(spans []*dto.BucketSpan, deltas []int64, floats []float64) (b signal.Buckets, ok bool) {
	count, taken := int64(0), 0
	next := func() (uint64, bool) {
		taken++
		if len(floats) > 0 {
			if taken > len(floats) || !isCount(floats[taken-1]) {
				return 0, false
			}
			return uint64(floats[taken-1] + 0.5), true
		}
		if taken > len(deltas) {
			return 0, false
		}
		count += deltas[taken-1]
		return uint64(count), count >= 0
	}
	for i, s := range spans {
		gap := int64(s.GetOffset())
		switch {
		case i == 0:
			if gap < -1<<30 || gap > 1<<30 {
				return b, false
			}
			b.Offset, gap = s.GetOffset()-1, 0
		case gap < 0:
			return b, false
		}
		if int64(len(b.Counts))+gap+int64(s.GetLength()) > maxNative {
			return b, false
		}
		b.Counts = append(b.Counts, make([]uint64, gap)...)
		for range s.GetLength() {
			n, ok := next()
			if !ok {
				return b, false
			}
			b.Counts = append(b.Counts, n)
		}
	}
	if len(b.Counts) == 0 {
		b.Offset = 0
	}
	return b, true
}
