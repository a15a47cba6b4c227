// Package syslog receives what others log by network: RFC 5424 and RFC 3164 over
// UDP, TCP, TLS and Unix datagrams.
//
// The agent runs a Source for each item of collect.logs.syslog; it hands batches
// of lines to the Sink, and has package logline read each message. listen.go
// binds, frames.go cuts a connection into messages, lines.go makes batches of
// them.
//
// On a connection each message may be framed in either way of RFC 6587: by its
// length ("53 <34>1 …") or by a newline behind it. A message that begins with a
// number, a space and "<" has a length; so has, on a connection that had one
// before, whatever begins with a number and a space. Anything else ends at its
// newline. What goes wrong:
//
//   - Longer than max_message: the beginning is taken, the rest passed over, and
//     both counted (Cut, CutBytes), however long the rest is.
//   - A length above 16 MiB, or of more than 8 digits: the connection is closed,
//     as nobody knows where its next message begins (BadFrames).
//   - A length that is wrong shows at the next message, which has none: it is
//     read up to its newline (Reframed).
//   - The connection ends within a message: what there is of it is taken.
//   - No header: the message is taken as it is, at the time it came (Malformed).
//   - A client that is silent, or stops within a message, keeps its connection and
//     at most 16 KiB and max_message; TCP's keep-alive finds those that are dead.
//     One that does not shake hands (TLS) in 10 s is closed. Above 1000 connections
//     a new one is closed (Refused).
//
// What always holds:
//
//  1. Each message that arrives is counted, and becomes one line, or none if
//     there is no text in it: Stats has the equations.
//  2. A line waits for at most 250 ms before it is handed over.
//  3. A Put that blocks stops all reading: a TCP sender waits, and so does one of
//     Unix datagrams. Of UDP the kernel drops what it has no room for; that is
//     counted (Dropped), and Trouble names the remedy.
//  4. When Run is told to stop it hands over what it has read.
//  5. There are at most 4096 streams at a time, one for each address and program;
//     the lines of more go into one labelled overflow=true.
//
// The stream of a line has source.address, the sender's, and the program as
// service.name and log.source unless the configuration says what they are.
// Facility, host, program, process and structured data are the line's own labels.
// Neither UDP nor TCP without TLS say truly who sends: give them no open network.
//
// Memory: one batch of at most 1 MiB and a bit under one mutex; a message allocates
// nothing but its share of that. One goroutine per address and connection and one
// that hands over, and Run waits for all. A line that the Sink refused is lost
// (Lost): no syslog protocol could tell the sender. The package keeps nothing over
// a restart, resolves no names, and relays nothing.
package syslog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
)

// Config is one item of the list collect.logs.syslog of agent.yaml. The zero
// value of a field that has a default stands for it.
type Config struct {
	Listen     []string `yaml:"listen"`      // udp://host:port, tcp://host:port, tls://host:port, unixgram:///path
	Service    string   `yaml:"service"`     // label service.name; default: the program that each message names
	Source     string   `yaml:"source"`      // label log.source; default: the same
	Tags       []string `yaml:"tags"`        // labels, written key:value
	MaxMessage int64    `yaml:"max_message"` // bytes; what is longer is cut. Default 64KiB
	Buffer     int64    `yaml:"buffer"`      // bytes the kernel may hold per UDP socket; net.core.rmem_max bounds it. Default 4MiB
	TLS        TLS      `yaml:"tls"`         // of the addresses tls://
}

// TLS names PEM files.
type TLS = collect.ServerTLS

// Default is an item without addresses: nobody listens unasked.
func Default() Config { return Config{MaxMessage: 64 << 10, Buffer: 4 << 20} }

// filled returns c with its defaults in place of zero values.
func (c Config) filled() Config {
	d := Default()
	if c.MaxMessage == 0 {
		c.MaxMessage = d.MaxMessage
	}
	if c.Buffer == 0 {
		c.Buffer = d.Buffer
	}
	return c
}

// Check returns all complaints, joined.
func (c Config) Check() error {
	c = c.filled()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Listen) == 0 {
		bad("listen: must name an address, udp://127.0.0.1:5514 for instance")
	}
	addresses, wrong := inlet().Check(c.Listen)
	errs = append(errs, wrong...)
	for i, tag := range c.Tags {
		if k, v, ok := strings.Cut(tag, ":"); !ok || k == "" || v == "" {
			bad("tags[%d]: must be written key:value, not %q", i, tag)
		}
	}
	if c.MaxMessage < 1<<10 || c.MaxMessage > maxFrame {
		bad("max_message: must be between 1KiB and 16MiB")
	}
	if c.Buffer < 4<<10 || c.Buffer > 1<<30 {
		bad("buffer: must be between 4KiB and 1GiB")
	}
	return errors.Join(append(errs, c.TLS.Check(addresses))...)
}

// inlet is where it can be listened.
func inlet() collect.Inlet {
	return collect.Inlet{
		Networks: []string{"udp", "tcp", "tls", "unixgram"}, Host: "127.0.0.1:5514", Path: "/run/causeway/syslog.sock", Key: "collect.logs.syslog",
		Taken: func(string) string {
			return "another program listens there, perhaps a syslog daemon: stop it, or set another address in collect.logs.syslog"
		},
	}
}

// Source is the receiver. It implements collect.Source.
type Source struct {
	conf  Config
	stats Stats
	seen  seen // belongs to serve

	trouble collect.Troubles

	mu    sync.Mutex
	bound []string // guarded by mu
}

var _ collect.Source = (*Source)(nil)

// New returns a Source for a Config that has passed Check. It does no I/O.
func New(c Config, log *slog.Logger) *Source {
	return &Source{conf: c.filled(), trouble: collect.Troubles{Log: log, Began: "trouble with syslog", Ended: "syslog is in order again"}}
}

const (
	flushEvery = 250 * time.Millisecond
	watchEvery = 10 * time.Second // between two looks at what the kernel dropped
	farewell   = 5 * time.Second  // in which the Sink may take what was read
)

// Run listens until ctx ends. It returns nil then, and an error if an address
// cannot be listened at or a socket fails; what was received before is handed over.
func (s *Source) Run(ctx context.Context, out collect.Sink) error {
	ls, err := s.bind(ctx)
	if err != nil {
		return err
	}
	return s.serve(ctx, ls, out)
}

// serve reads from ls until ctx ends, and closes ls.
func (s *Source) serve(ctx context.Context, ls []*listener, out collect.Sink) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// What is being put when ctx ends must not be lost with it.
	putting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(reading, func() { time.AfterFunc(farewell, cancel) })()
	b := s.newBatcher(putting, out)
	var wg sync.WaitGroup
	for _, l := range ls {
		wg.Go(func() {
			if err := l.read(reading, b); err != nil {
				stop(fmt.Errorf("read from %v: %w", l.Address, err))
			}
		})
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	watched := time.Now()
	for reading.Err() == nil {
		select {
		case <-reading.Done():
		case now := <-tick.C:
			b.flush()
			if now.Sub(watched) >= watchEvery {
				watched = now
				s.watch(ls)
			}
		}
	}
	wg.Wait()
	b.flush()
	s.watch(ls)
	for _, l := range ls {
		l.close()
	}
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(reading)
}

// labels are those of the configuration.
func (c Config) labels() string {
	pairs := []string{}
	for _, tag := range c.Tags {
		k, v, _ := strings.Cut(tag, ":")
		pairs = append(pairs, k, v)
	}
	return signal.Labels(append(pairs, signal.LabelService, c.Service, signal.LabelLogSource, c.Source)...)
}
