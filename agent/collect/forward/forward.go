// Package forward receives what Fluentd, Fluent Bit and Docker's fluentd log
// driver send: the Fluent Forward protocol, version 1
// (github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1, read 2026-11).
//
// The agent runs a Source; it hands batches of lines to the Sink. listen.go binds
// and shakes hands, messages.go takes messages apart (Message, Forward,
// PackedForward and CompressedPackedForward; records with metadata as Fluent Bit 2
// writes them), record.go makes lines of records, lines.go batches of them,
// msgpack.go reads MessagePack.
//
// What becomes of a record: the field log, message or msg is the line; level,
// severity or lvl its severity if it is a word for one; what Docker and Fluent
// Bit's kubernetes filter say of the container are labels of its stream; all other
// fields labels of the line (32 of at most 1 KiB, 4 KiB in all, the others are left
// out and counted). A record without a text is the line, as JSON. The tag is the
// label fluent.tag.
//
// What always holds:
//
//  1. A chunk is acknowledged only when the Sink has all of it. If the Sink refuses
//     a part, there is no acknowledgement and the connection is closed; the sender
//     sends it again, and what the Sink had taken comes twice. Without
//     acknowledgements (Fluentd: require_ack_response) a line waits up to 250 ms,
//     and what the Sink refuses is lost, and counted.
//  2. A Put that blocks stops the reading: the sender waits.
//  3. No bytes make it panic, loop, or hold more than max_chunk per connection and
//     256 MiB in all. What is no MessagePack, longer than max_chunk, or unpacks to
//     more than 64 times max_chunk ends the connection (Bad, Refused). A record that
//     is none is left out alone (Malformed).
//  4. With shared_key nobody is read who does not know it; the handshake takes at
//     most 10 s, as does that of TLS.
//  5. When Run is told to stop it hands over what it has read, within 5 s.
//  6. At most 1000 connections, and 4096 streams at a time; lines of more streams
//     go into one labelled overflow=true.
//
// Without shared_key and TLS anybody who reaches the address may send: give it no
// open network.
//
// Memory: one goroutine per address and connection and one that hands over; Run
// waits for all. Heartbeats by UDP are not answered (Fluentd: heartbeat_type tcp or
// none), users and passwords not asked for, metrics and traces of Fluent Bit passed
// over, and counted.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-agent/causeway/agent/collect"
	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/config/secret"
)

// Config is the section collect.logs.forward of agent.yaml. It is off as long as
// it names no address.
type Config struct {
	Listen    []string      `yaml:"listen"`     // tcp://host:port, tls://host:port, unix:///path
	SharedKey secret.String `yaml:"shared_key"` // senders must know it; empty: anybody may send
	Service   string        `yaml:"service"`    // label service.name
	Source    string        `yaml:"source"`     // label log.source
	Tags      []string      `yaml:"tags"`       // labels, written key:value
	MaxChunk  int64         `yaml:"max_chunk"`  // bytes of one message; Fluentd's chunks have 8 MiB, Fluent Bit's 2 MiB
	MaxLine   int64         `yaml:"max_line"`   // bytes; what is longer is cut
	TLS       TLS           `yaml:"tls"`        // of the addresses tls://
}

// TLS names PEM files.
type TLS = collect.ServerTLS

// Default listens nowhere.
func Default() Config { return Config{MaxChunk: 16 << 20, MaxLine: 1 << 20} }

// Enabled reports whether there is an address to listen at.
func (c Config) Enabled() bool { return len(c.Listen) > 0 }

// Check returns all complaints, joined.
func (c Config) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	addresses, wrong := inlet().Check(c.Listen)
	errs = append(errs, wrong...)
	for i, tag := range c.Tags {
		if k, v, ok := strings.Cut(tag, ":"); !ok || k == "" || v == "" {
			bad("tags[%d]: must be written key:value, not %q", i, tag)
		}
	}
	if c.MaxChunk < 64<<10 || c.MaxChunk > 256<<20 {
		bad("max_chunk: must be between 64KiB and 256MiB")
	}
	if c.MaxLine < 1<<10 || c.MaxLine > 16<<20 {
		bad("max_line: must be between 1KiB and 16MiB")
	}
	return errors.Join(append(errs, c.TLS.Check(addresses))...)
}

// inlet is where it can be listened.
func inlet() collect.Inlet {
	return collect.Inlet{
		Networks: []string{"tcp", "tls", "unix"}, Host: "127.0.0.1:24224", Path: "/run/causeway/forward.sock", Key: "collect.logs.forward",
		Taken: func(string) string {
			return "another program listens there, perhaps Fluentd or Fluent Bit: stop it, or set another address in collect.logs.forward"
		},
	}
}

// Source is the receiver. It implements collect.Source.
type Source struct {
	conf  Config
	stats Stats
	seen  [troubles]int64 // belongs to serve
	held  atomic.Int64    // bytes of messages above 1 MiB, of all connections

	trouble collect.Troubles

	mu    sync.Mutex
	bound []string // guarded by mu
}

var _ collect.Source = (*Source)(nil)

// New returns a Source for a Config that has passed Check. It does no I/O.
func New(c Config, log *slog.Logger) *Source {
	return &Source{conf: c, trouble: collect.Troubles{Log: log, Began: "trouble with Fluent Forward", Ended: "Fluent Forward is in order again"}}
}

const (
	flushEvery = 250 * time.Millisecond
	watchEvery = 10 * time.Second
	farewell   = 5 * time.Second // in which the Sink may take what was read
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
func (s *Source) serve(ctx context.Context, ls []*collect.Socket, out collect.Sink) error {
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
			err := l.Accept(reading, &s.stats.Connections, func() { s.stats.Refused.Add(1) }, func(c net.Conn) { s.read(reading, l, c, b) })
			if err != nil {
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
			_ = b.flush()
			if now.Sub(watched) >= watchEvery {
				watched = now
				s.watch()
			}
		}
	}
	wg.Wait()
	_ = b.flush()
	for _, l := range ls {
		l.Close()
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
