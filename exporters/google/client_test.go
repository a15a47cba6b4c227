package google

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/causeway-agent/causeway/agent/signal"
	"github.com/causeway-agent/causeway/exporters"
	"github.com/causeway-agent/causeway/exporters/exporttest"
)

// The bytes that go out are those that Encode wrote, copied where gRPC could
// hold on to them.
func TestCodecGivesTheBody(t *testing.T) {
	plain := bytes.Repeat([]byte{1<<3 | bytesType, 1, 'x'}, 1000)
	for _, body := range [][]byte{plain, exporters.Pack(nil, plain, "gzip"), {}} {
		data, err := written{body}.Marshal(&emptypb.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		got := data.Materialize()
		if !bytes.Equal(got, body) {
			t.Errorf("%d bytes of %d", len(got), len(body))
		}
		if len(body) > 0 && !isPacked(body) && &data[0].ReadOnlyData()[0] == &body[0] {
			t.Error("gRPC has our buffer")
		}
		var w bytes.Buffer
		if err := (packed{}).Do(&w, body); err != nil || !bytes.Equal(unpack(w.Bytes()), unpack(body)) {
			t.Errorf("%v: %d bytes became %d", err, len(body), w.Len())
		}
		if isPacked(body) && !bytes.Equal(w.Bytes(), body) {
			t.Error("compressed once more")
		}
		data.Free()
	}
}

// A connection that is mute is given up, so that the next request has another.
func TestAMuteConnectionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &exporttest.Server{Speak: speak, Read: read}
		s.Start(exporttest.Silent, exporttest.Take, exporttest.Take)
		defer s.Close()
		c := Default()
		c.URL = "http://127.0.0.1:1"
		client := NewClient(c, exporters.HTTP{})
		defer client.Close()
		dials := 0
		client.dial = func(ctx context.Context, _ string) (net.Conn, error) {
			dials++
			return s.Dial(ctx)
		}
		e := Metrics("m", c, gce, client)
		for i, want := range []int{1, 2, 2} {
			x := try(t, e, exporttest.Batch(signal.Metric, i, 1))
			if silent := i == 0; silent != (x != nil) || silent && (x.Class != exporters.Retry || x.Unsent) || dials != want {
				t.Errorf("request %d: %v, %d connections", i, x, dials)
			}
		}
	})
}

func TestAClosedClientSendsNothing(t *testing.T) {
	s, c, client := intake(t, nil)
	b := parse(t, signal.Metric, three)
	e := Metrics("m", c, gce, client)
	if x := try(t, e, b); x != nil {
		t.Fatal(x)
	}
	if err := errors.Join(client.Close(), client.Close()); err != nil {
		t.Error(err)
	}
	if x := try(t, e, b); x == nil || !strings.Contains(x.Error(), "closed") || s.Requests().Series != 1 {
		t.Errorf("%v after %d requests", x, s.Requests().Series)
	}
}

// Through a proxy that wants a password; its refusal holds no password.
func TestProxy(t *testing.T) {
	s, c, _ := intake(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Value
	var open sync.WaitGroup
	t.Cleanup(func() { l.Close(); open.Wait() })
	open.Go(func() {
		for {
			down, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() {
				defer down.Close()
				r := bufio.NewReader(down)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				asked.Store(req.Method + " " + req.Host + " " + req.Header.Get("Proxy-Authorization"))
				if req.Header.Get("Proxy-Authorization") != "Basic dTpz" {
					_, _ = io.WriteString(down, "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
					return
				}
				up, err := net.Dial("tcp", req.Host)
				if err != nil {
					return
				}
				_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
				open.Go(func() { _, _ = io.Copy(up, r); up.Close() })
				_, _ = io.Copy(down, up)
			})
		}
	})
	f := func(proxy string) *exporters.Error {
		client := NewClient(c, exporters.HTTP{ProxyURL: proxy})
		defer client.Close()
		return try(t, Metrics("m", c, gce, client), parse(t, signal.Metric, three))
	}
	if x := f("http://u:s@" + l.Addr().String()); x != nil {
		t.Error(x)
	}
	if want := "CONNECT " + strings.TrimPrefix(s.Addr(), "http://") + " Basic dTpz"; asked.Load() != want {
		t.Errorf("asked %v, want %s", asked.Load(), want)
	}
	if x := f("http://u:other@" + l.Addr().String()); x == nil || x.Class != exporters.Retry || !strings.Contains(x.Error(), "407") || strings.Contains(x.Error(), "other") {
		t.Errorf("with another password: %v", x)
	}
	if x := f("socks5://u:other@127.0.0.1:1"); x == nil || x.Class != exporters.Hold || !strings.Contains(x.Error(), "must be http://") || strings.Contains(x.Error(), "other") {
		t.Errorf("socks5: %v", x)
	}
}

// The files of tls are used, and named where they cannot be.
func TestTLSFiles(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, p []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: p}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, priv := write("cert", "CERTIFICATE", der), write("key", "PRIVATE KEY", pkcs8)
	f := func(files exporters.TLS, want string, check func(c *tls.Config) bool) {
		t.Helper()
		c, err := tlsConfig(files)
		if want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) || want == "" && (err != nil || !check(c)) {
			t.Errorf("%+v: %v, want %q", files, err, want)
		}
	}
	f(exporters.TLS{}, "", func(c *tls.Config) bool { return c == nil })
	f(exporters.TLS{CAFile: cert}, "", func(c *tls.Config) bool { return c.RootCAs != nil && len(c.Certificates) == 0 })
	f(exporters.TLS{CertFile: cert, KeyFile: priv}, "", func(c *tls.Config) bool { return len(c.Certificates) == 1 })
	f(exporters.TLS{CAFile: priv}, "tls.ca_file: ", nil)
	f(exporters.TLS{CAFile: filepath.Join(dir, "none")}, "tls.ca_file: ", nil)
	f(exporters.TLS{CertFile: cert}, "tls.cert_file: ", nil)
}

func FuzzCheckAddress(f *testing.F) {
	for _, s := range []string{"", "a:1", "http://127.0.0.1:80", "http://[::1]:80", "https://a:1", "http://u:p@localhost:1", "a:1/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkAddress(s) != nil || s == "" {
			return
		}
		addr, plain := strings.CutPrefix(s, "http://")
		host, _, err := net.SplitHostPort(addr)
		if err != nil || plain && !loopback(host) {
			t.Errorf("%q passes", s)
		}
	})
}

// BenchmarkDelivered is the whole way of samples into a gRPC server that throws
// them away: encoded, compressed, sent, answered. The server's work is in it.
func BenchmarkDelivered(b *testing.B) {
	s := &exporttest.Server{
		Read:  func(*http.Request, []byte) ([]int, error) { return []int{1}, nil },
		Speak: speak,
	}
	s.Start()
	defer s.Close()
	c := Default()
	c.URL = "http://127.0.0.1:1"
	client := NewClient(c, exporters.HTTP{})
	client.dial = func(ctx context.Context, _ string) (net.Conn, error) { return s.Dial(ctx) }
	defer client.Close()
	e := Metrics("m", c, gke, client)
	batch := nodeBatch(10000)
	var body, packed []byte
	b.ReportAllocs()
	for b.Loop() {
		for lo := 0; lo < batch.Len(); {
			body, lo, _ = e.Encode(body[:0], batch, lo, batch.Len())
			packed = exporters.Pack(packed[:cap(packed)], body, "gzip")
			if err := e.Send(b.Context(), packed); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Len()), "ns/item")
}
