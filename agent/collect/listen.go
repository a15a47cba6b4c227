package collect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What Sources that listen have in common, so that an address, a certificate
// and a remedy mean the same in every section of agent.yaml.
const (
	MaxConnections = 1000                   // of one Source, of all its streams together
	Handshake      = 10 * time.Second       // in which a sender must have shaken hands
	Goodbye        = 100 * time.Millisecond // in which connections may hand over what they have written, once they are to end
)

// Inlet says where a Source can be listened at, and what its complaints name.
type Inlet struct {
	Networks []string                    // those it knows, of udp, tcp, tls, unix and unixgram, as complaints list them
	Host     string                      // host:port, in a complaint's example
	Path     string                      // of a socket, in a complaint's example
	Key      string                      // of agent.yaml, where another address is set
	Taken    func(network string) string // what to do if somebody listens at an address already
}

// Address is one place to listen at. Its form is network://host:port, or
// network:///path of the networks unix (a stream) and unixgram (datagrams).
type Address struct {
	Network string // udp, tcp, tls, unix or unixgram
	At      string // host:port or path
}

// String returns the address as Parse reads it.
func (a Address) String() string { return a.Network + "://" + a.At }

// Parse reads an address of one of the Inlet's networks. The error says what to
// write instead.
func (in Inlet) Parse(s string) (Address, error) {
	network, at, ok := strings.Cut(s, "://")
	switch {
	case !ok || !slices.Contains(in.Networks, network):
		var forms []string
		for _, n := range in.Networks {
			if isPath(n) {
				forms = append(forms, n+":///path")
			} else {
				forms = append(forms, n+"://host:port")
			}
		}
		last := len(forms) - 1
		return Address{}, fmt.Errorf("must be %s or %s, not %q", strings.Join(forms[:last], ", "), forms[last], s)
	case isPath(network):
		// A socket's address is 108 bytes (unix(7)), the end included.
		if !filepath.IsAbs(at) || len(at) > 107 {
			return Address{}, fmt.Errorf("%q has no absolute path of at most 107 bytes: write %s://%s", s, network, in.Path)
		}
	default:
		if _, _, err := net.SplitHostPort(at); err != nil {
			return Address{}, fmt.Errorf("%q has no host:port: write %s://%s", s, network, in.Host)
		}
	}
	return Address{network, at}, nil
}

func isPath(network string) bool { return network == "unix" || network == "unixgram" }

// Check reads the list of the key listen and returns what is an address, and all
// complaints about what is none or comes twice.
func (in Inlet) Check(listen []string) (good []Address, errs []error) {
	for i, l := range listen {
		if a, err := in.Parse(l); err != nil {
			errs = append(errs, fmt.Errorf("listen[%d]: %w", i, err))
		} else {
			good = append(good, a)
		}
		if slices.Contains(listen[:i], l) {
			errs = append(errs, fmt.Errorf("listen[%d]: %q is there already", i, l))
		}
	}
	return good, errs
}

// ServerTLS names PEM files; without them connections are not encrypted.
type ServerTLS struct {
	CertFile string `yaml:"cert_file"` // our certificate, with key_file
	KeyFile  string `yaml:"key_file"`
	ClientCA string `yaml:"client_ca"` // senders must show a certificate that one of these has signed; empty: anybody may send
}

// Check returns a complaint if c does not fit the addresses: those of the network
// tls need a certificate, and without them nobody does. It begins with c's key, tls.
func (c ServerTLS) Check(listen []Address) error {
	encrypted := slices.ContainsFunc(listen, func(a Address) bool { return a.Network == "tls" })
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("tls.cert_file: a certificate and its key_file are set together")
	case encrypted && c.CertFile == "":
		return errors.New("tls.cert_file: must be set for tls:// addresses")
	case !encrypted && (c.CertFile != "" || c.ClientCA != ""):
		return errors.New("tls: is set, and no address in listen begins with tls://")
	}
	return nil
}

// Config reads the files and returns what c asks for, TLS 1.2 at least; nil for
// connections that are not encrypted. Errors begin with the key, from tls on.
func (c ServerTLS) Config() (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("tls.cert_file: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(c.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("tls.client_ca: %w", err)
		}
		t.ClientCAs, t.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.client_ca: %s holds no PEM certificate", c.ClientCA)
		}
	}
	return t, nil
}

// Socket is one address that is listened at. Either Stream or Packets is set.
type Socket struct {
	Address Address
	Bound   string       // the Address with the port that the kernel chose
	Stream  net.Listener // of tcp, tls and unix; its connections are not encrypted yet
	Packets PacketConn   // of udp and unixgram: *net.UDPConn or *net.UnixConn

	secure *tls.Config // nil: not encrypted
}

// PacketConn is what *net.UDPConn and *net.UnixConn have in common.
type PacketConn interface {
	net.Conn
	net.PacketConn
	syscall.Conn
}

// Listen listens at every address, or at none and returns why, with a remedy.
// The addresses must have passed Check, and so must t. A socket that a dead
// process left behind is replaced; programs of any user may write to ours.
func (in Inlet) Listen(ctx context.Context, listen []string, t ServerTLS) ([]*Socket, error) {
	secure, err := t.Config()
	if err != nil {
		return nil, err
	}
	var ks []*Socket
	for _, text := range listen {
		a, err := in.Parse(text)
		if err != nil {
			panic("BUG: a Config that was not checked: " + err.Error())
		}
		k := &Socket{Address: a, Bound: a.String()}
		if a.Network == "tls" {
			k.secure = secure
		}
		if err := k.open(ctx); err != nil {
			for _, k := range ks {
				k.Close()
			}
			return nil, in.remedy(a, err)
		}
		ks = append(ks, k)
	}
	return ks, nil
}

// remedy says what to do if a cannot be listened at for err.
func (in Inlet) remedy(a Address, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen at %v: %s: %w", a, in.Taken(a.Network), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen at %v: this machine has no such address: set one it has in %s, or 0.0.0.0: %w", a, in.Key, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("listen at %v: not allowed: choose a port above 1023, or a folder that the agent may write to: %w", a, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("listen at %v: make the folder first: %w", a, err)
	}
	return fmt.Errorf("listen at %v: %w", a, err)
}

func (k *Socket) open(ctx context.Context) (err error) {
	a, lc := k.Address, net.ListenConfig{}
	if isPath(a.Network) {
		if err := clearPath(ctx, a); err != nil {
			return err
		}
	}
	switch a.Network {
	case "udp", "unixgram":
		c, err := lc.ListenPacket(ctx, a.Network, a.At)
		if err != nil {
			return err
		}
		k.Packets = c.(PacketConn)
		if a.Network == "udp" {
			k.Bound = "udp://" + c.LocalAddr().String()
		}
	case "unix":
		if k.Stream, err = lc.Listen(ctx, "unix", a.At); err != nil {
			return err
		}
	default:
		if k.Stream, err = lc.Listen(ctx, "tcp", a.At); err != nil {
			return err
		}
		k.Bound = a.Network + "://" + k.Stream.Addr().String()
	}
	if isPath(a.Network) {
		// Programs of any user write to it, as to /dev/log; nobody else reads or lists it.
		if err := os.Chmod(a.At, 0o722); err != nil {
			k.Close()
			return err
		}
	}
	return nil
}

// clearPath removes a socket that a dead process left behind. What is no
// socket, or has a listener, stays.
func clearPath(ctx context.Context, a Address) error {
	info, err := os.Lstat(a.At)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s is there and is no socket: remove it: %w", a.At, syscall.EADDRINUSE)
	}
	c, err := new(net.Dialer).DialContext(ctx, a.Network, a.At)
	if err == nil {
		c.Close()
		return syscall.EADDRINUSE
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket there is in use, or of another sort: %v: %w", err, syscall.EADDRINUSE)
	}
	return os.Remove(a.At)
}

// Close ends listening and removes the socket's file. Nobody reads any more.
func (k *Socket) Close() {
	if k.Stream != nil {
		k.Stream.Close() // removes the file
	}
	if k.Packets != nil {
		k.Packets.Close()
		if k.Address.Network == "unixgram" {
			os.Remove(k.Address.At)
		}
	}
}

// Accept has serve read each connection in a goroutine of its own until ctx ends,
// and after that for a Goodbye those which wait to be accepted; then it waits for
// all of them. serve need not close its connection. open counts those that are
// there, of every Socket that shares it; one above MaxConnections is closed, and
// refused called. Accept returns an error if the socket fails.
func (k *Socket) Accept(ctx context.Context, open *atomic.Int64, refused func(), serve func(net.Conn)) error {
	deadline := k.Stream.(interface{ SetDeadline(time.Time) error }) // *net.TCPListener, *net.UnixListener
	defer context.AfterFunc(ctx, func() { _ = deadline.SetDeadline(time.Now().Add(Goodbye)) })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := k.Stream.Accept()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
			time.Sleep(100 * time.Millisecond) // others hold the descriptors; they will let go
			continue
		case err != nil:
			return err
		}
		if open.Add(1) > MaxConnections {
			open.Add(-1)
			refused()
			c.Close()
			continue
		}
		wg.Go(func() {
			defer open.Add(-1)
			defer c.Close()
			serve(c)
		})
	}
}

// Secure returns c encrypted once its sender has shaken hands, or c itself where
// the address is not one of TLS. An error is the sender's; c is the caller's to close.
func (k *Socket) Secure(ctx context.Context, c net.Conn) (net.Conn, error) {
	if k.secure == nil {
		return c, nil
	}
	t := tls.Server(c, k.secure)
	ctx, cancel := context.WithTimeout(ctx, Handshake)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// Troubles is what is wrong with a Source now, one text for each kind of trouble.
// The kinds are small numbers of the Source's own. What comes and what goes is
// logged, and nothing in between.
type Troubles struct {
	Log   *slog.Logger
	Began string // message of the log when a trouble comes
	Ended string // and when it has gone

	mu    sync.Mutex
	text  []string    // guarded by mu; by kind, "" is none
	ended []time.Time // guarded by mu; by kind, when text ended; zero while it holds
	last  []string    // guarded by mu; by kind, the text that ended
}

// lately is for how long Lately remembers what has ended: a burst of ten
// seconds is over when somebody comes to look.
const lately = 10 * time.Minute

// Set notes what is wrong, "" if nothing is, and logs a change.
func (t *Troubles) Set(kind int, text string) {
	t.mu.Lock()
	if more := kind + 1 - len(t.text); more > 0 {
		t.text = append(t.text, make([]string, more)...)
		t.last = append(t.last, make([]string, more)...)
		t.ended = append(t.ended, make([]time.Time, more)...)
	}
	was := t.text[kind]
	t.text[kind] = text
	if was != "" && text == "" {
		t.last[kind], t.ended[kind] = was, time.Now()
	}
	t.mu.Unlock()
	switch {
	case was == "" && text != "":
		t.Log.Warn(t.Began, "what", text)
	case was != "" && text == "":
		t.Log.Info(t.Ended, "was", was)
	}
}

// Lately returns what is wrong, and what was within ten minutes, with its end.
func (t *Troubles) Lately() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for kind, text := range t.text {
		ago := time.Since(t.ended[kind])
		switch {
		case text != "":
			list = append(list, text)
		case t.last[kind] != "" && ago < lately:
			list = append(list, fmt.Sprintf("%s (over since %v)", t.last[kind], ago.Round(time.Second)))
		}
	}
	return list
}

// List returns what is wrong, in the order of the kinds; nil if nothing is.
func (t *Troubles) List() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, text := range t.text {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}
