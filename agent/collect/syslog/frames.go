package syslog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

const (
	maxFrame   = 16 << 20 // a length above this is taken for no length
	readBuffer = 16 << 10
	maxDigits  = 8
)

var errFrame = errors.New("a length above 16 MiB: not the framing of RFC 6587")

// framer cuts a connection into messages.
type framer struct {
	r       *bufio.Reader
	max     int // bytes of a message
	st      *Stats
	counted bool   // a message with a length came before
	cut     int    // bytes that the last message lacks
	buf     []byte // of a message that does not fit the reader's buffer
}

func newFramer(r io.Reader, max int, st *Stats) *framer {
	return &framer{r: bufio.NewReaderSize(r, readBuffer), max: max, st: st}
}

// next returns the next message without its framing, at most max bytes of it,
// valid until the call after. At the end of the connection it returns what is
// left, and then the error.
func (f *framer) next() ([]byte, error) {
	f.cut = 0
	for { // newlines behind messages that have a length too
		c, err := f.r.Peek(1)
		if err != nil {
			return nil, err
		}
		if c[0] != '\n' && c[0] != '\r' && c[0] != 0 {
			break
		}
		_, _ = f.r.Discard(1)
	}
	n, head, err := f.length()
	switch {
	case err != nil:
		f.st.BadFrames.Add(1)
		return nil, err
	case head > 0:
		f.counted = true
		_, _ = f.r.Discard(head)
		return f.fixed(n)
	}
	if f.counted {
		f.st.Reframed.Add(1)
		f.counted = false
	}
	return f.line()
}

// length reads the number in front of a message; head is its length with the
// space behind it, 0 if the message has none.
func (f *framer) length() (n, head int, err error) {
	for i := 0; ; i++ {
		// One byte more each time: a sender that is slow must not be waited for
		// longer than the answer needs.
		p, perr := f.r.Peek(i + 1)
		if perr != nil {
			return 0, 0, nil // the connection ends here; it is a line
		}
		c := p[i]
		switch {
		case c >= '1' && c <= '9' || c == '0' && i > 0:
			if i >= 2*maxDigits {
				return 0, 0, nil
			}
			if i < maxDigits {
				n = n*10 + int(c-'0')
			}
		case c != ' ' || i == 0:
			return 0, 0, nil
		default:
			if !f.counted {
				if p, perr = f.r.Peek(i + 2); perr != nil || p[i+1] != '<' {
					return 0, 0, nil
				}
			}
			if i > maxDigits || n > maxFrame {
				return 0, 0, errFrame
			}
			return n, i + 1, nil
		}
	}
}

// fixed reads a message of n bytes.
func (f *framer) fixed(n int) ([]byte, error) {
	keep := min(n, f.max)
	if keep <= f.r.Size() {
		p, err := f.r.Peek(keep)
		f.buf = append(f.buf[:0], p...)
		_, _ = f.r.Discard(len(p))
		if err != nil {
			return f.partial(err)
		}
	} else {
		// It grows with what arrives, not with what was announced.
		f.buf = f.buf[:0]
		for len(f.buf) < keep {
			p, err := f.r.Peek(min(keep-len(f.buf), max(1, f.r.Buffered())))
			f.buf = append(f.buf, p...)
			_, _ = f.r.Discard(len(p))
			if err != nil {
				return f.partial(err)
			}
		}
	}
	if n > keep {
		f.st.Cut.Add(1)
		skipped, err := f.r.Discard(n - keep)
		f.st.CutBytes.Add(int64(skipped))
		f.cut = skipped
		if err != nil && len(f.buf) == 0 {
			return nil, err
		}
	}
	return f.buf, nil
}

// partial returns what came of a message whose connection ended.
func (f *framer) partial(err error) ([]byte, error) {
	if len(f.buf) == 0 {
		return nil, err
	}
	f.st.Partial.Add(1)
	return f.buf, nil
}

// line reads a message up to its newline.
func (f *framer) line() ([]byte, error) {
	p, err := f.r.ReadSlice('\n')
	if err == nil && len(p) <= f.max {
		return bytes.TrimRight(p, "\r\n"), nil
	}
	f.buf = f.buf[:0]
	cut := 0
	for {
		room := f.max - len(f.buf)
		if err == nil {
			p = bytes.TrimRight(p, "\r\n")
		}
		f.buf = append(f.buf, p[:min(len(p), room)]...)
		cut += max(0, len(p)-room)
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		p, err = f.r.ReadSlice('\n')
	}
	if cut > 0 {
		f.st.Cut.Add(1)
		f.st.CutBytes.Add(int64(cut))
		f.cut = cut
	}
	if err != nil {
		return f.partial(err)
	}
	return f.buf, nil
}
