package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs one command on a configuration with the given text.
func call(t *testing.T, yaml string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = run(append(args, "-c", path), &out, &errs)
	return code, out.String(), strings.ReplaceAll(errs.String(), path, "agent.yaml")
}

const good = "version: 1\nagent: {data_dir: /nonexistent/causeway, listen: \"127.0.0.1:1\"}\ncollect: {containers: {enabled: false}}\n"

func TestExitCodes(t *testing.T) {
	f := func(want int, words string, yaml string, args ...string) {
		t.Helper()
		code, out, errs := call(t, yaml, args...)
		if code != want || !strings.Contains(out+errs, words) {
			t.Errorf("%v: %d, want %d with %q\n%s%s", args, code, want, words, out, errs)
		}
	}
	f(0, "is valid", good, "validate")
	f(0, "causeway dev", good, "version")
	f(78, "agent.yaml:1:10: version: must be 1", "version: 2\n", "validate")
	f(78, "agent.yaml:2:9: agent.lisen: unknown key (did you mean listen?)", "version: 1\nagent: {lisen: x}\n", "run")
	f(1, "choose a folder this user may write", strings.Replace(good, "/nonexistent", "/proc", 1), "run")
	f(1, "no agent answers on 127.0.0.1:1", good, "status")
	f(1, "no agent answers on 127.0.0.1:1", good, "tap")
	f(1, "none has run with agent.data_dir /nonexistent/causeway", good, "reconcile")
	f(2, "unknown command", good, "frobnicate")
	f(2, "unknown flag", good, "validate", "--frob")
	f(2, "must be text, json or vendor", good, "once", "--format", "xml")
	f(2, "has no such destination", good, "once", "--format", "vendor", "--destination", "x")
	f(2, `unknown command "bogus" for "causeway spool": must be export, ls or verify`, good, "spool", "bogus")
	for _, group := range []string{"config", "dashboards", "kubernetes", "dlq"} {
		f(2, `unknown command "bogus" for "causeway `+group+`"`, good, group, "bogus")
	}
	f(0, "Look into the spool", good, "spool")
	f(2, "--since yesterday: must be how long ago", good, "spool", "export", "--since", "yesterday")
	f(2, "must be metric, log or event", good, "spool", "export", "--kind", "foo")
	f(1, "no such file or directory", good, "spool", "export")
	for _, words := range []string{"status", "reconcile", "spool ls", "spool verify", "dlq ls"} {
		f(2, "must be text or json", good, append(strings.Fields(words), "-o", "xml")...)
	}
	f(2, "must be metric, log or event", good, "tap", "--kind", "foo")
	f(2, "--match x: ", good, "tap", "--match", "x")
	f(2, "must be host or containers", good, "once", "--source", "bogus")
}

func TestTapsLimitCountsItemsNotHeads(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, ": \n\ndata: log {file=\"a\"} \"ino:1\" 0..8\n\ndata:   @1 - \"one\" {}\n\ndata:   @2 - \"two\" {}\n\n")
	}))
	defer server.Close()
	yaml := strings.Replace(good, "127.0.0.1:1", strings.TrimPrefix(server.URL, "http://"), 1)
	code, out, errs := call(t, yaml, "tap", "--kind", "log", "--limit", "1")
	if want := "log {file=\"a\"} \"ino:1\" 0..8\n  @1 - \"one\" {}\n"; code != 0 || out != want {
		t.Errorf("%d, %q, want %q\n%s", code, out, want, errs)
	}
}

func TestOncePrintsWhatWouldBeSent(t *testing.T) {
	code, out, errs := call(t, good, "once", "--source", "host")
	if code != 0 || !strings.Contains(out, "system.memory.usage{") {
		t.Errorf("text: %d %s", code, errs)
	}
	code, out, _ = call(t, good, "once", "--source", "host", "--format", "json")
	var samples []jsonSample
	if err := json.Unmarshal([]byte(out), &samples); err != nil || code != 0 || len(samples) < 50 {
		t.Errorf("json: %d, %d samples, %v", code, len(samples), err)
	}
	code, out, _ = call(t, good, "once", "--source", "host", "--format", "vendor")
	if code != 0 || !strings.Contains(out, "# request 1: POST http://127.0.0.1:8086/write?db=causeway&precision=ms") || !strings.Contains(out, "\nmem,host=") {
		t.Errorf("vendor: %d %.300s", code, out)
	}
}
