package forward

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
)

// answer is the time in which a sender must take an acknowledgement.
const answer = 10 * time.Second

// bind listens at every address, or at none and returns why.
func (s *Source) bind(ctx context.Context) ([]*collect.Socket, error) {
	ls, err := inlet().Listen(ctx, s.conf.Listen, s.conf.TLS)
	if err != nil {
		return nil, err
	}
	var bound []string
	for _, l := range ls {
		bound = append(bound, l.Bound)
	}
	s.mu.Lock()
	s.bound = bound
	s.mu.Unlock()
	return ls, nil
}

// read reads one connection to its end.
func (s *Source) read(ctx context.Context, l *collect.Socket, c net.Conn, b *batcher) {
	st := &s.stats
	c, err := l.Secure(ctx, c)
	if err != nil {
		st.Denied.Add(1)
		return
	}
	r := bufio.NewReaderSize(c, 16<<10)
	if key := s.conf.SharedKey.Reveal(); key != "" {
		c.SetDeadline(time.Now().Add(collect.Handshake))
		if err := greet(r, c, key); err != nil {
			st.Denied.Add(1)
			return
		}
		c.SetDeadline(time.Time{})
	}
	defer context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now().Add(collect.Goodbye)) })()
	x := &conn{b: b, r: r, w: answerer{c}}
	for {
		switch err := x.next(); {
		case err == nil:
		case errors.Is(err, errBusy):
			st.Refused.Add(1)
			return
		case errors.Is(err, errProtocol), errors.Is(err, errMsgpack), errors.Is(err, errTooLong):
			st.Bad.Add(1)
			return
		default: // the end, or the Sink, or a sender that takes no acknowledgement
			return
		}
	}
}

// answerer writes with a deadline.
type answerer struct{ net.Conn }

func (a answerer) Write(p []byte) (int, error) {
	a.SetWriteDeadline(time.Now().Add(answer))
	return a.Conn.Write(p)
}

var errDenied = errors.New("the sender does not know shared_key")

// greet shakes hands: HELO with a nonce, PING with a digest that only who knows
// the key can make, PONG with ours.
func greet(r *bufio.Reader, w io.Writer, key string) error {
	nonce := rand.Text()
	hello := append([]byte{0x92}, packText(nil, "HELO")...)
	hello = append(hello, 0x83)
	hello = packText(packText(hello, "nonce"), nonce)
	hello = packText(packText(hello, "auth"), "")
	hello = packBool(packText(hello, "keepalive"), true)
	if _, err := w.Write(hello); err != nil {
		return err
	}
	p, err := copyValue(nil, r, 64<<10, func(int) bool { return true })
	if err != nil {
		return err
	}
	d := decoder{p: p}
	if !isArray(d.peek()) || d.count(false) != 6 || string(d.text()) != "PING" {
		return errProtocol
	}
	host, salt, digest := string(d.text()), string(d.text()), d.text()
	if d.bad {
		return errProtocol
	}
	ok := subtle.ConstantTimeCompare(digest, []byte(digestOf(salt, host, nonce, key))) == 1
	// Fluentd takes a server of its own name for itself, and refuses it.
	own, _ := os.Hostname()
	own = "causeway." + own
	reason, mine := "", digestOf(salt, own, nonce, key)
	if !ok {
		reason, mine = "shared_key mismatch", ""
	}
	pong := packBool(packText([]byte{0x95}, "PONG"), ok)
	pong = packText(packText(packText(pong, reason), own), mine)
	if _, err := w.Write(pong); err != nil {
		return err
	}
	if !ok {
		return errDenied
	}
	return nil
}

func digestOf(parts ...string) string {
	h := sha512.New()
	for _, p := range parts {
		io.WriteString(h, p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
