package exporters

import (
	"fmt"
	"sync"
)

// request is one encoded body.
type request struct {
	body     []byte // as sent
	raw      int    // its length before compression
	next     int    // the first item not in it
	skipped  int
	oversize bool // the one item in [lo, next) does not fit
	release  func()
}

// encode makes a body of as many items from r.Lo on as fit the vendor's limits.
func (d *Delivery) encode(p *parcel, r Range) request {
	lim := d.Exporter.Limits()
	buf := bodies.Get().(*bodyBuffers)
	hi := d.fit.guess(r, lim)
	// Grown by doubling, a body of megabytes would be garbage three times over.
	if n := int(1.1*d.fit.bytesPerItem()*float64(hi-r.Lo)) + 4<<10; cap(buf.raw) < n {
		buf.raw = make([]byte, 0, n)
	}
	for {
		body, next, skipped := d.Exporter.Encode(buf.raw[:0], &p.batch, r.Lo, hi)
		buf.raw = body
		if next <= r.Lo || next > hi {
			if next > hi || hi > r.Lo+1 && next < r.Lo {
				panic(fmt.Sprintf("BUG: %s encoded [%d, %d) up to %d", d.Exporter.Name(), r.Lo, hi, next))
			}
			return request{next: r.Lo + 1, oversize: true, release: func() { bodies.Put(buf) }}
		}
		if skipped == next-r.Lo {
			return request{next: next, skipped: skipped, release: func() { bodies.Put(buf) }}
		}
		if lim.Bytes > 0 && len(body) > lim.Bytes && next-r.Lo > 1 {
			hi = r.Lo + max(1, min((next-r.Lo)/2, int(float64(next-r.Lo)*0.9*float64(lim.Bytes)/float64(len(body)))))
			continue
		}
		packed := Pack(buf.packed, body, lim.Encoding)
		if lim.Encoding != "" {
			buf.packed = packed
		}
		if lim.Packed > 0 && len(packed) > lim.Packed && next-r.Lo > 1 {
			hi = r.Lo + max(1, min((next-r.Lo)/2, int(float64(next-r.Lo)*0.9*float64(lim.Packed)/float64(len(packed)))))
			continue
		}
		d.fit.learn(next-r.Lo, len(body), len(packed))
		return request{
			body: packed, raw: len(body), next: next, skipped: skipped,
			oversize: lim.Bytes > 0 && len(body) > lim.Bytes || lim.Packed > 0 && len(packed) > lim.Packed,
			release:  func() { bodies.Put(buf) },
		}
	}
}

// bodies holds the buffers of requests.
var bodies = sync.Pool{New: func() any { return new(bodyBuffers) }}

type bodyBuffers struct{ raw, packed []byte }

// fitter guesses how many items make a full body from what items weighed so far.
type fitter struct {
	mu          sync.Mutex
	raw, packed float64 // bytes per item, a moving average; 0: nothing known; guarded by mu
}

func (f *fitter) bytesPerItem() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.raw
}

func (f *fitter) guess(r Range, lim Limits) int {
	n := r.Hi - r.Lo
	if lim.Items > 0 {
		n = min(n, lim.Items)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if lim.Bytes > 0 && f.raw > 0 {
		n = min(n, int(0.9*float64(lim.Bytes)/f.raw))
	}
	if lim.Packed > 0 && f.packed > 0 {
		n = min(n, int(0.9*float64(lim.Packed)/f.packed))
	}
	return r.Lo + max(n, 1)
}

func (f *fitter) learn(items, raw, packed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raw == 0 {
		f.raw, f.packed = float64(raw)/float64(items), float64(packed)/float64(items)
		return
	}
	f.raw += (float64(raw)/float64(items) - f.raw) / 8
	f.packed += (float64(packed)/float64(items) - f.packed) / 8
}
