package dashboards

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The same against an InfluxDB that others made. `make test` installs it where
// it can (Debian's influxdb); without it there is nothing to test here.
func TestEveryPanelOfGrafanaHasDataInARealInfluxDB(t *testing.T) {
	bin, err := exec.LookPath("influxd")
	if err != nil {
		t.Skip("influxd is not installed: apt-get install influxdb")
	}
	dir, addr, rpc := t.TempDir(), free(t), free(t)
	conf := filepath.Join(dir, "influxd.conf")
	text := fmt.Sprintf("reporting-disabled = true\nbind-address = %q\n[meta]\ndir = %q\n[data]\ndir = %q\nwal-dir = %q\n"+
		"[http]\nbind-address = %q\nlog-enabled = false\n[monitor]\nstore-enabled = false\n", rpc, dir+"/meta", dir+"/data", dir+"/wal", addr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-config", conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	d := database{t, httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})}
	for end := time.Now().Add(time.Minute); ; {
		resp, err := http.Get("http://" + addr + "/ping")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("influxd does not answer: %v", err)
		}
		<-time.After(50 * time.Millisecond) // it has no other way to say that it is there
	}
	if code, answer := d.call(http.MethodPost, "/query?q="+url.QueryEscape("CREATE DATABASE causeway"), ""); code != http.StatusOK {
		t.Fatalf("create database: %d %s", code, answer)
	}
	d.fill()
	d.every(t)
}

// free returns an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
