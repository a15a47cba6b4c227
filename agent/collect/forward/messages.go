package forward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

var (
	errProtocol = errors.New("not a message of Fluent Forward")
	errSink     = errors.New("the spool does not take it")
)

const (
	heldMost  = 256 << 20 // of messages above 1 MiB, in all
	keepMost  = 1 << 20   // a buffer above that is not kept for the next message
	inflation = 64        // how many times max_chunk a compressed chunk may unpack to
)

// conn reads the messages of one connection.
type conn struct {
	b     *batcher
	r     *bufio.Reader
	w     io.Writer
	buf   []byte
	entry []byte
	key   []byte
	line  line
	held  int64
}

// grow asks whether n bytes more may be held.
func (c *conn) grow(n int) bool {
	c.held += int64(n)
	return c.b.s.held.Add(int64(n)) <= heldMost
}

// release ends holding.
func (c *conn) release() {
	c.b.s.held.Add(-c.held)
	c.held = 0
	if cap(c.buf) > keepMost {
		c.buf = nil
	}
	if cap(c.entry) > keepMost {
		c.entry = nil
	}
}

// next reads and works off one message, and acknowledges it if that is asked for.
func (c *conn) next() (err error) {
	defer c.release()
	max := int(c.b.s.conf.MaxChunk)
	if c.buf, err = copyValue(c.buf[:0], c.r, max, c.grow); err != nil {
		return err
	}
	d := decoder{p: c.buf}
	if d.peek() == 0xc0 { // a heartbeat
		return nil
	}
	if !isArray(d.peek()) {
		return errProtocol
	}
	n := d.count(false)
	if n < 2 || n > 4 || !isText(d.peek()) {
		return errProtocol
	}
	tag := d.text()
	c.b.s.stats.Messages.Add(1)
	body := d.p
	kind := d.peek()
	d.skip()
	var record []byte
	if !isArray(kind) && !isText(kind) { // Message: tag, time, record
		record = d.p
		d.skip()
		n--
	}
	var o option
	if n == 3 {
		o = readOption(&d)
	}
	if d.bad || n > 3 {
		return errProtocol
	}
	if o.foreign {
		c.b.s.stats.Foreign.Add(1)
		return c.ack(o)
	}
	b := c.b
	if o.chunk != nil {
		c.b.s.stats.Chunks.Add(1)
		b = c.b.own()
	}
	switch {
	case record != nil:
		d = decoder{p: body}
		err = c.record(b, tag, &d, record)
	case isArray(kind):
		d = decoder{p: body}
		for range d.count(false) {
			at := d.p
			d.skip()
			if err = c.pair(b, tag, at[:len(at)-len(d.p)]); err != nil {
				break
			}
		}
	default:
		d = decoder{p: body}
		err = c.packed(b, tag, d.text(), o.gzip)
	}
	if err != nil {
		return err
	}
	if o.chunk == nil {
		return nil
	}
	if err := b.flush(); err != nil {
		return fmt.Errorf("%w: %w", errSink, err)
	}
	return c.ack(o)
}

func (c *conn) ack(o option) error {
	if o.chunk == nil {
		return nil
	}
	p := packText(packText([]byte{0x81}, "ack"), string(o.chunk))
	if _, err := c.w.Write(p); err != nil {
		return err
	}
	c.b.s.stats.Acked.Add(1)
	return nil
}

// packed takes the entries that lie back to back in p.
func (c *conn) packed(b *batcher, tag, p []byte, zipped bool) error {
	max := int(b.s.conf.MaxChunk)
	var in io.Reader = bytes.NewReader(p)
	left := &io.LimitedReader{N: int64(max) * inflation}
	if zipped {
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("%w: %v", errProtocol, err)
		}
		in = z // gzip's reader goes on through members back to back, as Fluentd writes them
	}
	left.R = in
	r := bufio.NewReaderSize(left, 16<<10)
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			if left.N <= 0 {
				return errTooLong
			}
			return nil
		} else if err != nil {
			return fmt.Errorf("%w: %v", errProtocol, err)
		}
		var err error
		switch c.entry, err = copyValue(c.entry[:0], r, max, c.grow); {
		case errors.Is(err, errBusy), errors.Is(err, errTooLong):
			return err
		case err != nil: // not the end of the connection, be it io.EOF
			return fmt.Errorf("%w: %v", errProtocol, err)
		}
		if err := c.pair(b, tag, c.entry); err != nil {
			return err
		}
	}
}

// pair takes [time, record].
func (c *conn) pair(b *batcher, tag, entry []byte) error {
	d := decoder{p: entry}
	if !isArray(d.peek()) || d.count(false) != 2 {
		c.b.s.stats.Records.Add(1)
		c.b.s.stats.Malformed.Add(1)
		return nil
	}
	stamp := d
	d.skip()
	return c.record(b, tag, &stamp, d.p)
}

// record makes a line of one record. An error is the Sink's.
func (c *conn) record(b *batcher, tag []byte, stamp *decoder, record []byte) error {
	st := &b.s.stats
	st.Records.Add(1)
	ns, ok := readTime(stamp)
	if !ok || !c.line.read(record) {
		st.Malformed.Add(1)
		return nil
	}
	c.key = append(append(append(c.key[:0], tag...), 0), c.line.labels...)
	if err := b.take(ns, b.all.stream(c.key, string(tag), c.line.labels, st), &c.line); err != nil && b != c.b {
		return fmt.Errorf("%w: %w", errSink, err)
	}
	return nil
}

// readTime reads seconds, an EventTime, or either in front of metadata, as
// Fluent Bit 2 writes them; ns. A time that is none is the time of reading.
func readTime(d *decoder) (ns int64, ok bool) {
	if isArray(d.peek()) {
		if d.count(false) < 1 {
			return 0, false
		}
	}
	const latest = (1<<63 - 1) / 1_000_000_000
	if s, f, isFloat, ok := d.number(); ok {
		if isFloat { // of old senders
			if !(f >= 0 && f < latest) {
				return time.Now().UnixNano(), true
			}
			return int64(f * 1e9), true
		}
		if s <= 0 || s >= latest {
			return time.Now().UnixNano(), true
		}
		return s * 1_000_000_000, true
	}
	p := d.ext()
	if d.bad || len(p) != 8 {
		return 0, false
	}
	s, n := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
	if s == 0 || n >= 1_000_000_000 {
		return time.Now().UnixNano(), true
	}
	return int64(s)*1_000_000_000 + int64(n), true
}

// option is the third part of a message.
type option struct {
	chunk   []byte
	gzip    bool
	foreign bool // metrics or traces
}

func readOption(d *decoder) (o option) {
	if d.peek() == 0xc0 { // some senders write it for none
		d.skip()
		return o
	}
	if !isMap(d.peek()) {
		d.fail()
		return o
	}
	for range d.count(true) {
		key := ""
		if isText(d.peek()) {
			key = string(d.text())
		} else {
			d.skip()
		}
		switch {
		case key == "chunk" && isText(d.peek()):
			o.chunk = d.text()
		case key == "compressed" && isText(d.peek()):
			switch string(d.text()) {
			case "gzip":
				o.gzip = true
			case "text":
			default:
				d.fail()
			}
		case key == "fluent_signal":
			n, _, _, _ := d.number()
			o.foreign = n != 0
		default:
			d.skip()
		}
	}
	return o
}
