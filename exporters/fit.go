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
	raw, packed := bodies[0].Get().(*[]byte), bodies[1].Get().(*[]byte)
	release := func() { bodies[1].Put(packed) }
	if lim.Encoding == "" { // the body goes out as it is
		release = func() { bodies[0].Put(raw) }
		bodies[1].Put(packed)
	} else {
		defer bodies[0].Put(raw) // a vendor may be long in answering
	}
	hi := d.fit.guess(r, lim)
	// Grown by doubling, a body of megabytes would be garbage three times over.
	if n := int(1.1 * d.fit.bytesPerItem() * float64(hi-r.Lo)); cap(*raw) < n {
		*raw = make([]byte, 0, (n/bodyStep+1)*bodyStep)
	}
	for {
		body, next, skipped := d.Exporter.Encode((*raw)[:0], &p.batch, r.Lo, hi)
		*raw = body
		if next <= r.Lo || next > hi {
			if next > hi || hi > r.Lo+1 && next < r.Lo {
				panic(fmt.Sprintf("BUG: %s encoded [%d, %d) up to %d", d.Exporter.Name(), r.Lo, hi, next))
			}
			return request{next: r.Lo + 1, oversize: true, release: release}
		}
		if skipped == next-r.Lo {
			return request{next: next, skipped: skipped, release: release}
		}
		if lim.Bytes > 0 && len(body) > lim.Bytes && next-r.Lo > 1 {
			hi = r.Lo + max(1, min((next-r.Lo)/2, int(float64(next-r.Lo)*0.9*float64(lim.Bytes)/float64(len(body)))))
			continue
		}
		out := body
		if lim.Encoding != "" {
			*packed = Pack(*packed, body, lim.Encoding)
			out = *packed
		}
		if lim.Packed > 0 && len(out) > lim.Packed && next-r.Lo > 1 {
			hi = r.Lo + max(1, min((next-r.Lo)/2, int(float64(next-r.Lo)*0.9*float64(lim.Packed)/float64(len(out)))))
			continue
		}
		d.fit.learn(next-r.Lo, len(body), len(out))
		return request{
			body: out, raw: len(body), next: next, skipped: skipped,
			oversize: lim.Bytes > 0 && len(body) > lim.Bytes || lim.Packed > 0 && len(out) > lim.Packed,
			release:  release,
		}
	}
}

// mostBytes is how large a body is made where the vendor takes a larger one: that
// would save nothing more, and each is in memory several times over.
const mostBytes = 1 << 20

// bodyStep rounds the room for bodies up, so that it does for the next one too.
const bodyStep = 128 << 10

// body returns how large a body may be before it is compressed.
func (l *Limits) body() int {
	if l.Bytes > 0 {
		return min(l.Bytes, mostBytes)
	}
	return mostBytes
}

// bodies holds the buffers of bodies before they are packed, and after it.
var bodies = [2]sync.Pool{{New: newBody}, {New: newBody}}

func newBody() any { return new([]byte) }

// fitter guesses how many items make a full body from what items weighed so far.
type fitter struct {
	mu          sync.Mutex
	raw, packed float64 // bytes per item, a moving average; 0: nothing known; guarded by mu
}

func (f *fitter) bytesPerItem() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raw == 0 {
		return usualBytes
	}
	return f.raw
}

// usualBytes is what an item weighs until one was weighed.
const usualBytes = 300

func (f *fitter) guess(r Range, lim Limits) int {
	n := r.Hi - r.Lo
	if lim.Items > 0 {
		n = min(n, lim.Items)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.raw > 0 {
		n = min(n, int(0.9*float64(lim.body())/f.raw))
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
