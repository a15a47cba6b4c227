package tail

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causeway-agent/causeway/agent/signal"
)

func TestWhichPodsAreRead(t *testing.T) {
	f := func(p Pods, path string, want bool) {
		t.Helper()
		if got := p.wants(splitPod(path)); got != want {
			t.Errorf("%+v: %s %v", p, path, got)
		}
	}
	f(Pods{}, "prod/shop-1/app", true)
	f(Pods{ExcludeNamespaces: []string{"prod"}}, "prod/shop-1/app", false)
	f(Pods{Include: []string{"prod"}}, "prod/shop-1/app", true)
	f(Pods{Include: []string{"prod"}}, "test/shop-1/app", false)
	f(Pods{Include: []string{"*/shop-*", "x"}}, "prod/shop-1/app", true)
	f(Pods{Include: []string{"*/*/app"}}, "prod/shop-1/proxy", false)
	f(Pods{Exclude: []string{"*/*/istio-proxy"}}, "prod/shop-1/istio-proxy", false)
	f(Pods{Exclude: []string{"*/*/istio-proxy"}}, "prod/shop-1/app", true)
	f(Pods{Include: []string{"prod"}, Exclude: []string{"prod/shop-1"}}, "prod/shop-1/app", false)
}

func splitPod(p string) (ns, pod, container string) {
	s := strings.Split(p, "/")
	return s[0], s[1], s[2]
}

// advisor answers for the pods it knows.
type advisor map[string]Advice

func (a advisor) Advice(uid, container string) (Advice, bool) {
	adv, ok := a[uid+"/"+container]
	return adv, ok
}

func TestAFileWaitsUntilItsPodIsKnown(t *testing.T) {
	h := newNode(t)
	adv := advisor{"2/c": {}, "3/c": {Skip: true}, "5/c": {Multiline: "start:^B"}, "6/c": {Multiline: "nonsense"}}
	rec := func(s string) string { return "2026-11-23T10:00:00Z stdout F " + s + "\n" }
	h.start()
	h.Advise(adv)
	h.looks(1)
	for _, uid := range []string{"1", "2", "3", "4", "6"} {
		p := "ns_pod_" + uid + "/c/0.log"
		h.pod(p)
		h.write(p, rec("of "+uid))
	}
	h.pod("ns_pod_5/c/0.log")
	h.write("ns_pod_5/c/0.log", rec("B")+rec("goes on")+rec("B again"))
	h.looks(1)
	h.remove("ns_pod_4/c/0.log") // it lived less than two seconds
	h.looks(2)
	got := h.spool.text()
	slices.Sort(got)
	if want := []string{"B\ngoes on", "B again", "of 2", "of 6"}; !slices.Equal(got, want) {
		t.Errorf("before the others are known: %q, want %q", got, want)
	}
	adv["1/c"] = Advice{}
	h.looks(1)
	if !slices.Contains(h.spool.text(), "of 1") {
		t.Error("a pod that is known now is not read")
	}
	h.looks(5)
	if !slices.Contains(h.spool.text(), "of 4") {
		t.Error("a pod that is never known is not read after five seconds")
	}
	if slices.Contains(h.spool.text(), "of 3") {
		t.Error("a pod that asks not to be read is read")
	}
	skipped := 0
	for _, f := range h.Files() {
		if f.Skipped {
			skipped++
		}
	}
	if skipped != 1 {
		t.Errorf("%d files are shown as skipped, want 1", skipped)
	}
}

func TestTheParserIsNamedOnTheStream(t *testing.T) {
	for _, parse := range []string{"", "none", "auto", "klog"} {
		h := newHost(t, File{Path: "*.log", Start: "beginning", Parse: parse})
		h.write("a.log", "x\n")
		h.start().looks(1).want("x")
		want := parse
		if parse == "none" {
			want = ""
		}
		if got := signal.Lookup(h.spool.frames[0].Logs[0].Stream.Labels(), signal.LabelParse); got != want {
			t.Errorf("parse %q: label %q", parse, got)
		}
	}
}

func TestAFolderThatIsPolled(t *testing.T) {
	for _, poll := range []string{"true", "auto", "false"} {
		h := newHost(t, File{Path: "x/*.log", Poll: poll})
		h.start().looks(1)
		h.pod("x/a.log")
		w := &writer{host: h, name: "x/a.log"}
		for range 3 {
			w.lines(3)
			w.rotate(9)
			w.lines(3)
			h.looks(2)
			w.check()
		}
		if watched := h.find.dirs[h.path("x")].wd >= 0; watched != (poll != "true") {
			t.Errorf("poll %s: watched %v", poll, watched)
		}
	}
}

// On a file system that others write to, and on those of the kernel, events do
// not tell of all changes.
func TestFileSystemsThatTellOfNoChanges(t *testing.T) {
	if watchable("/proc") || watchable("/sys") || watchable("/nowhere/at/all") {
		t.Error("a file system without events is watched")
	}
	if dir := t.TempDir(); !watchable(dir) {
		t.Logf("%s is on a file system that tells of no changes", dir)
	}
}

func TestJoiningWaitsForQuiet(t *testing.T) {
	h := newHost(t, File{Path: "*.log", Multiline: "start:^[A-Z]"})
	h.start().looks(1)
	h.tick = 100 * time.Millisecond
	h.write("a.log", "A\n one\n")
	h.looks(3).want()
	h.write("a.log", " two\n")
	h.looks(8).want()
	h.looks(20).want("A\n one\n two")
	h.write("a.log", " late\nB\n")
	h.looks(3).want("A\n one\n two", " late")
	h.looks(20).want("A\n one\n two", " late", "B")
}
